"""A whole build context of an Azure ML environment: what `check --lock azureml=DIR` wrote, with the files beside it.

The image is built by a Dockerfile without any network: conda takes its packages from a channel that is a folder of the
context, pip its wheels from a folder, each held to its sha256. Azure ML's own way, an image and a conda file, would fetch
them again from where they came from.
"""

import json
import re
from collections.abc import Mapping

import yaml

from quarantine.errors import Problem, SpecError
from quarantine.spec.documents import load
from quarantine.spec.text import quote

__all__ = [
    "BUILT_FILES",
    "CONDA_FILE",
    "CONTEXT_HEAD",
    "FOLDER",
    "LOCKED",
    "LOCKED_CONDA",
    "check_context",
    "write_context",
]

CONTEXT_HEAD = "# Written by quarantine"
"""How each file of the context begins, by which it is told from somebody's own."""
LOCKED = "locked.yaml"
"""The environment as it was locked: what is judged again when files are fetched once more."""
LOCKED_CONDA = "conda.yml"
"""The conda file of the lock, where it has packages."""
FOLDER = "packages"
"""The folder of files in the context."""
CONDA_FILE = "environment.yml"
"""What conda is given, in that folder: it knows the format by the name."""
BUILT_FILES = frozenset({"environment.yaml", LOCKED_CONDA, LOCKED, "Dockerfile"})
"""What the context holds beside that folder."""
_INSIDE = f"/opt/quarantine/{FOLDER}"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9.:-]*(?:/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}")
_WIDTH = 1 << 20


def check_context(environment: bytes, conda: bytes | None, file: str = "environment.yaml") -> None:
    """Nothing, raising SpecError where the environment doesn't name the conda file that lies beside it, and no other.

    What it names is what is judged, and what lies beside it is what is built: they must be one file. `file` is what a
    person calls the environment.
    """
    document = load(file, environment)
    if not isinstance(document.value, dict):
        raise _problem(file, "is no mapping: expected what `check --lock azureml=DIR` wrote")
    named = document.value.get("conda_file")
    if conda is None and "conda_file" in document.value:
        found = f"names a conda_file, but there is no {LOCKED_CONDA} beside it"
    elif conda is not None and named != LOCKED_CONDA:
        what = "no conda_file" if named is None else f"the conda_file {quote(str(named))}"
        found = f"names {what}, expected {LOCKED_CONDA}, which lies beside it"
    else:
        return
    line = document.line(("conda_file",))
    raise SpecError([Problem(file=file, line=line, message=f"{found}: lock it again (check --lock azureml=DIR)")])


def write_context(environment: bytes, conda: bytes | None, created_by: str, *, has_python: bool) -> Mapping[str, bytes]:
    """The files of the context by name, to be written in their order: "environment.yaml" comes last.

    `environment` and `conda` are the files of the lock. `has_python` is whether there are wheels. The same gives the same
    bytes. SpecError for a lock that isn't one of ours.
    """
    check_context(environment, conda)
    named = _mapping("environment.yaml", environment)
    name, image = named.get("name"), named.get("image")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _problem("environment.yaml", "has no name that Azure ML takes")
    if not isinstance(image, str) or not _IMAGE.fullmatch(image):
        raise _problem("environment.yaml", "has no image by its digest: lock it again (check --lock azureml=DIR)")
    files = {LOCKED: environment}
    if conda is not None:
        files[LOCKED_CONDA] = conda  # what was judged, whatever lies there now
    specs = None if conda is None else _specs(conda)
    if specs is not None:
        local = {"name": name, "channels": [f"file://{_INSIDE}/channel", "nodefaults"], "dependencies": specs}
        files[f"{FOLDER}/{CONDA_FILE}"] = _yaml(local, created_by)
    files["Dockerfile"] = _dockerfile(name, image, created_by, has_conda=specs is not None, has_python=has_python)
    built = {"$schema": named.get("$schema"), "name": name, "build": {"path": ".", "dockerfile_path": "Dockerfile"}}
    files["environment.yaml"] = _yaml({key: value for key, value in built.items() if value is not None}, created_by)
    return files


def _mapping(file: str, data: bytes) -> Mapping[str, object]:
    value = load(file, data).value
    if not isinstance(value, dict):
        raise _problem(file, "is no mapping: expected what `check --lock azureml=DIR` wrote")
    return value


def _specs(conda: bytes) -> list[str]:
    """The conda packages of the lock: pip's come from the list beside the wheels."""
    listed = _mapping(LOCKED_CONDA, conda).get("dependencies")
    if not isinstance(listed, list):
        raise _problem(LOCKED_CONDA, "has no dependencies: expected what `check --lock azureml=DIR` wrote")
    return [entry for entry in listed if isinstance(entry, str)]


def _dockerfile(name: str, image: str, created_by: str, *, has_conda: bool, has_python: bool) -> bytes:
    prefix = f"/azureml-envs/{name}"
    lines = [
        f"# Written by {created_by}: everything that it installs lies beside it and was judged. Don't edit it.",
        f"FROM {image}",
    ]
    if has_conda or has_python:
        lines.append(f"COPY {FOLDER} {_INSIDE}")
    if has_conda:
        lines += [
            f"ENV AZUREML_CONDA_ENVIRONMENT_PATH={prefix}",
            _run("conda", "env", "create", "--offline", "-p", prefix, "-f", f"{_INSIDE}/{CONDA_FILE}"),
            f"ENV PATH={prefix}/bin:$PATH",
        ]
    if has_python:
        python = f"{prefix}/bin/python" if has_conda else "python"
        options = ("--no-index", "--no-deps", "--no-cache-dir", "--require-hashes", "--find-links", _INSIDE)
        lines.append(_run(python, "-m", "pip", "install", *options, "-r", f"{_INSIDE}/requirements.txt"))
    return ("\n".join(lines) + "\n").encode()


def _run(*argv: str) -> str:
    """An instruction that asks no shell."""
    return f"RUN {json.dumps(argv)}"


def _problem(file: str, message: str) -> SpecError:
    return SpecError([Problem(file=file, message=message)])


def _yaml(content: Mapping[str, object], created_by: str) -> bytes:
    head = f"# Written by {created_by}, beside the files that it is built from. Don't edit it.\n"
    return (head + yaml.safe_dump(dict(content), sort_keys=False, width=_WIDTH)).encode()
