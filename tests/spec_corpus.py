"""The corpus of environment files: good ones with what they ask for, bad ones with the exact message.

`python tests/spec_corpus.py` draws the `.expected` files anew, to be read before they are kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, LockedPackage, Needs, Requirement
from quarantine.spec.parse import parse

CORPUS = Path(__file__).parent / "corpus"
# the formats that go by the whole name of a file; their samples have names of their own
_NAMES = {"pyproject": "pyproject.toml", "pylock": "pylock.toml", "uv_lock": "uv.lock"}


def samples(kind: str) -> Mapping[str, Path]:
    """The samples of a kind ("accept" or "reject") by folder and name."""
    folder = CORPUS / kind / "spec"
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".expected")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(paths)}


def told(path: Path) -> str:
    """What reading a sample gives, as text: the description of the spec, or the message."""
    name = _NAMES.get(path.parent.name, path.name)
    try:
        answer = parse(name, {name: path.read_bytes()})
    except SpecError as error:
        return f"{error}\n"
    return f"needs {', '.join(answer.paths)}\n" if isinstance(answer, Needs) else "".join(describe(answer))


def expected(path: Path) -> Path:
    """Where what a sample must give stands."""
    return path.with_suffix(".expected")


def describe(spec: EnvironmentSpec) -> Iterator[str]:
    """A spec line by line."""
    yield f"{spec.format}, python {spec.requires_python or 'any'}\n"
    for environment in spec.environments:
        yield f"environment {environment}\n"
    for requirement in spec.requirements:
        yield f"{_place(requirement.location.line)} {_requirement(requirement)}\n"
    for constraint in spec.constraints:
        yield f"{_place(constraint.location.line)} constraint {_requirement(constraint)}\n"
    for package in spec.locked or ():
        yield from _locked(package)
    for directive in spec.directives:
        yield f"{_place(directive.location.line)} directive {directive.option}: {directive.text}\n"
    for entry in spec.unverifiable:
        yield f"{_place(entry.location.line)} unverifiable {entry.what}: {entry.why}\n"


def _place(line: int | None) -> str:
    return f"line {line}:"


def _requirement(requirement: Requirement) -> str:
    parts = [requirement.name or "(no name)"]
    parts += [f"[{','.join(requirement.extras)}]"] if requirement.extras else []
    parts += [str(requirement.specifier)] if requirement.specifier else []
    if requirement.reference is not None:
        editable = "editable " if requirement.reference.editable else ""
        parts.append(f"@ {editable}{requirement.reference.kind} {requirement.reference.text}")
    parts += [f"; {requirement.marker}"] if requirement.marker is not None else []
    return " ".join(parts + [str(digest) for digest in sorted(requirement.digests)])


def _locked(package: LockedPackage) -> Iterator[str]:
    parts = [package.name, str(package.version)]
    parts += [f"; {package.marker}"] if package.marker is not None else []
    parts += [f"from {package.index}"] if package.index is not None else []
    if package.reference is not None:
        editable = "editable " if package.reference.editable else ""
        parts.append(f"@ {editable}{package.reference.kind} {package.reference.text}")
    parts += ["source only"] if package.source_only else []
    parts += [f"requires {', '.join(package.requires)}"] if package.requires else []
    yield f"{_place(package.location.line)} locked {' '.join(parts)}\n"
    for file in package.files:
        yield f"    {file.filename} {file.size} {file.url} {' '.join(map(str, sorted(file.digests)))}\n"
    of_files = {digest for file in package.files for digest in file.digests}
    for digest in sorted(package.digests - of_files):
        yield f"    {digest}\n"


if __name__ == "__main__":
    for kind in ("accept", "reject"):
        for path in samples(kind).values():
            expected(path).write_text(told(path), encoding="utf-8")
