"""conda-lock's own models, typed: the one place that touches them. Importing them costs half a second and more."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Entry", "InvalidLockError", "Lock", "validated", "written"]


class Hashes(Protocol):
    """The digests of a file, in hexadecimal."""

    md5: str | None
    sha256: str | None


class Source(Protocol):
    """Where the user's own requirement takes a package from, when it says a URL."""

    url: str


class Entry(Protocol):
    """One package for one platform."""

    name: str
    version: str
    manager: str
    platform: str
    dependencies: dict[str, str]
    url: str
    hash: Hashes
    source: Source | None
    build: str | None


class Lock(NamedTuple):
    """A lock's packages, the URLs or names of its channels, and its platforms."""

    packages: tuple[Entry, ...]
    channels: tuple[str, ...]
    platforms: tuple[str, ...]


class InvalidLockError(ValueError):
    """What the models refuse: the path of each value, and why."""

    def __init__(self, found: Sequence[tuple[tuple[int | str, ...], str]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(message for _, message in found))


def validated(version: int, content: Mapping[str, object]) -> Lock:
    """The content of a lock of format version 1 or 2 (without the version), raising InvalidLockError."""
    first, second = _models()
    lock = _put(first if version == 1 else second, content)
    channels = tuple(channel.url for channel in lock.metadata.channels)
    return Lock(tuple(lock.package), channels, tuple(lock.metadata.platforms))


def written(packages: Sequence[Mapping[str, object]], metadata: Mapping[str, object]) -> dict[str, object]:
    """A lock of format version 1 as conda-lock writes it, in its order, as plain values; InvalidLockError."""
    _, second = _models()
    lock = _put(second, {"package": [dict(package) for package in packages], "metadata": dict(metadata)})
    lock.alphasort_inplace()
    lock.filter_virtual_packages_inplace()
    plain: dict[str, object] = lock.to_v1().dict_for_output()
    return plain


def _models() -> tuple[Any, Any]:
    """The models of both format versions."""
    with warnings.catch_warnings():
        # conda-lock, and the conda inside it, warn of how they are made
        warnings.simplefilter("ignore")
        from conda_lock.lockfile.v1.models import Lockfile as First  # type: ignore[import-untyped]  # noqa: PLC0415
        from conda_lock.lockfile.v2prelim.models import Lockfile as Second  # type: ignore[import-untyped]  # noqa: PLC0415
    return First, Second


def _put(model: Any, content: Mapping[str, object]) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidLockError([(found["loc"], found["msg"]) for found in told]) from None
