"""The one way in: bytes of an environment file to what it asks for, or to the files that are still needed."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec.text import quote, refusal

if TYPE_CHECKING:
    from quarantine.document import Document

__all__ = ["Format", "detect", "parse"]


class Format(StrEnum):
    """The kinds of environment file, as far as a file's name tells."""

    REQUIREMENTS = "requirements"
    PYPROJECT = "pyproject"
    PYLOCK = "pylock"
    UV_LOCK = "uv.lock"
    DOCKERFILE = "dockerfile"
    YAML = "yaml"


_KNOWN = (
    "requirements*.txt, *.txt, *.in, pyproject.toml, pylock.toml, pylock.NAME.toml, uv.lock, a conda environment, "
    "conda-lock.yml or Azure ML YAML (*.yml, *.yaml), or a Dockerfile"
)
_KINDS = (
    "a conda environment (`dependencies`), an Azure ML environment (`image`, `build`) or something that has one "
    "(`environment`), conda-lock.yml, or MLflow's python_env.yaml"
)


def parse(path: str, files: Mapping[str, bytes], context: str | None = None) -> EnvironmentSpec | Needs:
    """What the environment file at `path` asks for, or the paths of further files that it includes.

    Paths are relative to the root, with `/` between segments; `files` holds what was read so far, `path` among it.
    `context` is the folder that a Dockerfile copies from, its own folder where it is None. Pure: asked again with more
    files it gives the next answer. Raises SpecError with all problems of all files together.
    """
    # a reader is imported for what it reads: most runs need one of them
    kind = detect(path)
    match kind:
        case Format.REQUIREMENTS:
            from quarantine.spec import requirements  # noqa: PLC0415

            return requirements.read(path, files)
        case Format.PYPROJECT:
            from quarantine.spec import pyproject  # noqa: PLC0415

            return pyproject.read(path, files[path])
        case Format.PYLOCK:
            from quarantine.spec import pylock  # noqa: PLC0415

            return pylock.read(path, files[path])
        case Format.UV_LOCK:
            from quarantine.spec import uv_lock  # noqa: PLC0415

            return uv_lock.read(path, files[path])
        case Format.DOCKERFILE:
            from quarantine.spec import dockerfile  # noqa: PLC0415

            return dockerfile.read(path, files, path.rpartition("/")[0] if context is None else context)
        case Format.YAML:
            from quarantine.spec import documents  # noqa: PLC0415

            return _parse_yaml(path, files, documents.load(path, files[path]))
        case _:
            assert_never(kind)


def _parse_yaml(path: str, files: Mapping[str, bytes], document: "Document") -> EnvironmentSpec | Needs:
    """A YAML file says by its content what it is."""
    from quarantine.spec.recognise import recognise  # noqa: PLC0415

    match recognise(document):
        case "conda-environment":
            from quarantine.spec import conda_environment  # noqa: PLC0415

            return conda_environment.read(path, files, document)
        case "python-env":
            from quarantine.spec import python_env  # noqa: PLC0415

            return python_env.read(path, files, document)
        case "conda-lock":
            from quarantine.spec import conda_lock  # noqa: PLC0415

            return conda_lock.read(path, files, document)
        case "azureml":
            from quarantine.spec import azureml  # noqa: PLC0415

            return azureml.read(path, files, document)
        case _:
            raise refusal(path, f"no kind of environment that can be checked: expected {_KINDS}", 1)


def detect(path: str) -> Format:
    """The format that the file's name says (PEP 751 for pylock), raising SpecError for a name that says none."""
    name = path.rpartition("/")[2]
    parts = name.split(".")
    match parts:
        case ["pyproject", "toml"]:
            return Format.PYPROJECT
        case ["pylock", "toml"]:
            return Format.PYLOCK
        case ["pylock", middle, "toml"] if middle:
            return Format.PYLOCK
        case ["uv", "lock"]:
            return Format.UV_LOCK
        case ["Dockerfile" | "Containerfile", *_] | [*_, "Dockerfile" | "dockerfile"]:
            return Format.DOCKERFILE
        case [*_, _, "txt" | "in"]:
            return Format.REQUIREMENTS
        case [*_, _, "yml" | "yaml"]:
            return Format.YAML
        case _:
            raise refusal(path, f"{quote(name)} is no kind of file that can be checked: expected {_KNOWN}")
