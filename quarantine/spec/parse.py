"""The one way in: bytes of an environment file to what it asks for, or to the files that are still needed."""

from collections.abc import Mapping
from enum import StrEnum

from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec.text import quote, refusal

__all__ = ["Format", "detect", "parse"]


class Format(StrEnum):
    """The kinds of environment file."""

    REQUIREMENTS = "requirements"
    PYPROJECT = "pyproject"
    PYLOCK = "pylock"
    UV_LOCK = "uv.lock"


_KNOWN = "requirements*.txt, *.txt, *.in, pyproject.toml, pylock.toml, pylock.NAME.toml or uv.lock"


def parse(path: str, files: Mapping[str, bytes]) -> EnvironmentSpec | Needs:
    """What the environment file at `path` asks for, or the paths of further files that it includes.

    Paths are relative to the root, with `/` between segments; `files` holds what was read so far, `path` among it. Pure:
    asked again with more files it gives the next answer. Raises SpecError with all problems of all files together.
    """
    # a reader is imported for what it reads: most runs need one of them
    match detect(path):
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
        case [*_, _, "txt" | "in"]:
            return Format.REQUIREMENTS
        case _:
            raise refusal(path, f"{quote(name)} is no kind of file that can be checked: expected {_KNOWN}")
