"""The corpus of environment files: good ones with what they ask for, bad ones with the exact message.

The folder of a sample says its format. What a sample `NAME.EXT` includes lies in the folder `NAME.files` beside it.
`python tests/spec_corpus.py [FORMAT ...]` draws the `.expected` files anew, to be read before they are kept.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from quarantine.errors import SpecError
from quarantine.model import (
    CondaSection,
    EnvironmentSpec,
    ImageReference,
    Location,
    LockedCondaPackage,
    LockedPackage,
    MatchSpec,
    Needs,
    Reference,
    Requirement,
)
from quarantine.spec import documents
from quarantine.spec.parse import parse

CORPUS = Path(__file__).parent / "corpus"
Reader = Callable[[str, Mapping[str, bytes]], EnvironmentSpec | Needs]
# the formats that go by the whole name of a file; their samples have names of their own
_NAMES = {
    "conda_environment": "environment.yml",
    "conda_lock": "conda-lock.yml",
    "dockerfile": "Dockerfile",
    "python_env": "python_env.yaml",
    "pyproject": "pyproject.toml",
    "pylock": "pylock.toml",
    "uv_lock": "uv.lock",
}
_MOST_ROUNDS = 20


def _of_document(module: str) -> Reader:
    """The reader of a YAML format, which is told from others by what the document holds: `module.read` of `spec`."""

    def read(path: str, files: Mapping[str, bytes]) -> EnvironmentSpec | Needs:
        reader = importlib.import_module(f"quarantine.spec.{module}")
        answer = reader.read(path, files, documents.load(path, files[path]))
        assert isinstance(answer, (EnvironmentSpec, Needs))
        return answer

    return read


_YAML = ("azureml", "conda_environment", "conda_lock", "python_env")
_READERS: Mapping[str, Reader] = {kind: _of_document(kind) for kind in _YAML}


def name_of(path: Path) -> str:
    """The name under which a sample is read."""
    return _NAMES.get(path.parent.name, path.name)


def samples(kind: str) -> Mapping[str, Path]:
    """The samples of a kind ("accept" or "reject") by folder and name."""
    folder = CORPUS / kind / "spec"
    paths = (path for path in folder.glob("*/*") if path.is_file() and path.suffix != ".expected")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(paths)}


def told(path: Path) -> str:
    """What reading a sample gives, as text: the description of the spec, or the message."""
    name = name_of(path)
    files = {name: path.read_bytes()}
    read = _READERS.get(path.parent.name, parse)
    folder = path.with_suffix(".files")
    try:
        answer = read(name, files)
        for _ in range(_MOST_ROUNDS):
            if not isinstance(answer, Needs) or not all((folder / wanted).is_file() for wanted in answer.paths):
                break
            files |= {wanted: (folder / wanted).read_bytes() for wanted in answer.paths}
            answer = read(name, files)
    except SpecError as error:
        return f"{error}\n"
    return f"needs {', '.join(answer.paths)}\n" if isinstance(answer, Needs) else "".join(describe(answer))


def expected(path: Path) -> Path:
    """Where what a sample must give stands."""
    return path.with_suffix(".expected")


def describe(spec: EnvironmentSpec, indent: str = "") -> Iterator[str]:
    """A spec line by line, its parts with everything of theirs indented."""
    for line in _lines(spec):
        yield f"{indent}{line}\n"
    for part in spec.parts:
        yield f"{indent}part {part.file}\n"
        yield from describe(part, f"{indent}    ")


def _lines(spec: EnvironmentSpec) -> Iterator[str]:
    yield f"{spec.format}, python {spec.python or spec.requires_python or 'any'}"
    if len(spec.sources) > 1:
        yield f"sources {', '.join(source.path for source in spec.sources)}"
    for environment in spec.environments:
        yield f"environment {environment}"
    for image in spec.images:
        yield _image(image, spec.file)
    for curated in spec.curated:
        yield f"{_place(curated.location, spec.file)} curated {curated}"
    if spec.conda is not None:
        yield from _conda(spec.conda, spec.file)
    for requirement in spec.requirements:
        yield f"{_place(requirement.location, spec.file)} {_requirement(requirement)}"
    for constraint in spec.constraints:
        yield f"{_place(constraint.location, spec.file)} constraint {_requirement(constraint)}"
    for package in spec.locked or ():
        yield from _locked(package, spec.file)
    for directive in spec.directives:
        yield f"{_place(directive.location, spec.file)} directive {directive.option}: {directive.text}"
    for entry in spec.unverifiable:
        yield f"{_place(entry.location, spec.file)} unverifiable {entry.what}: {entry.why}"
    for problem in spec.unreadable:
        yield f"unreadable {problem}"


def _place(location: Location, file: str) -> str:
    return f"line {location.line}:" if location.file == file else f"{location}:"


def _conda(section: CondaSection, file: str) -> Iterator[str]:
    for channel in section.channels:
        yield f"{_place(channel.location, file)} channel {channel.name}"
    for spec in section.specs:
        yield f"{_place(spec.location, file)} conda {_match_spec(spec)}"
    for package in section.locked or ():
        yield from _locked_conda(package, file)


def _match_spec(spec: MatchSpec) -> str:
    parts = [str(spec)]
    parts += [f"of {spec.channel}"] if spec.channel is not None else []
    parts += [f"for {spec.subdir}"] if spec.subdir is not None else []
    return " ".join(parts + _reference(spec.reference))


def _locked_conda(package: LockedCondaPackage, file: str) -> Iterator[str]:
    parts = [package.name, package.version, package.build]
    parts += [f"for {package.platform}"] if package.platform is not None else []
    parts += [f"of {package.channel}"] if package.channel is not None else []
    parts += [f"from {package.url}"] if package.url is not None else []
    parts += [str(package.sha256)] if package.sha256 is not None else []
    parts += [f"requires {', '.join(package.requires)}"] if package.requires else []
    yield f"{_place(package.location, file)} locked conda {' '.join(filter(None, parts))}"


def _image(image: ImageReference, file: str) -> str:
    parts = [f"image {image}"]
    parts += [f"for {image.platform}"] if image.platform is not None else []
    return f"{_place(image.location, file)} {' '.join(parts)} by {image.role}"


def _reference(reference: Reference | None) -> list[str]:
    if reference is None:
        return []
    editable = "editable " if reference.editable else ""
    return [f"@ {editable}{reference.kind} {reference.text}"]


def _requirement(requirement: Requirement) -> str:
    parts = [requirement.name or "(no name)"]
    parts += [f"[{','.join(requirement.extras)}]"] if requirement.extras else []
    parts += [str(requirement.specifier)] if requirement.specifier else []
    parts += _reference(requirement.reference)
    parts += [f"; {requirement.marker}"] if requirement.marker is not None else []
    return " ".join(parts + [str(digest) for digest in sorted(requirement.digests)])


def _locked(package: LockedPackage, file: str) -> Iterator[str]:
    parts = [package.name, str(package.version)]
    parts += [f"; {package.marker}"] if package.marker is not None else []
    parts += [f"from {package.index}"] if package.index is not None else []
    parts += _reference(package.reference)
    parts += ["source only"] if package.source_only else []
    parts += [f"requires {', '.join(package.requires)}"] if package.requires else []
    yield f"{_place(package.location, file)} locked {' '.join(parts)}"
    for listed in package.files:
        digests = " ".join(map(str, sorted(listed.digests)))
        yield f"    {listed.filename} {listed.size} {listed.url} {digests}"
    of_files = {digest for listed in package.files for digest in listed.digests}
    for digest in sorted(package.digests - of_files):
        yield f"    {digest}"


if __name__ == "__main__":
    for kind in ("accept", "reject"):
        for path in samples(kind).values():
            if len(sys.argv) == 1 or path.parent.name in sys.argv[1:]:
                expected(path).write_text(told(path), encoding="utf-8")
