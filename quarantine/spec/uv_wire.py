"""The parts of a uv.lock (version 1) that say what may be installed, as uv writes them; unknown keys are passed over."""

import msgspec

__all__ = ["Dependency", "File", "Lock", "Manifest", "Package", "Requirement", "Source"]


class Source(msgspec.Struct, frozen=True):
    """Where a package comes from: exactly one of these."""

    registry: str | None = None
    git: str | None = None
    url: str | None = None
    path: str | None = None
    directory: str | None = None
    editable: str | None = None
    virtual: str | None = None


class Dependency(msgspec.Struct, frozen=True):
    """An edge; version and source stand there only where the name alone is ambiguous."""

    name: str
    version: str | None = None
    source: Source | None = None
    extra: tuple[str, ...] = ()
    marker: str | None = None


class File(msgspec.Struct, frozen=True):
    """A wheel or an sdist."""

    url: str | None = None
    path: str | None = None
    filename: str | None = None
    hash: str | None = None
    size: int | None = None


class Package(msgspec.Struct, frozen=True, rename="kebab"):
    """A package of one fork or of all."""

    name: str
    source: Source
    version: str | None = None
    dependencies: tuple[Dependency, ...] = ()
    optional_dependencies: dict[str, tuple[Dependency, ...]] = {}
    dev_dependencies: dict[str, tuple[Dependency, ...]] = {}
    sdist: File | None = None
    wheels: tuple[File, ...] = ()


class Requirement(msgspec.Struct, frozen=True):
    """What a script or a workspace without a project of its own asks for."""

    name: str
    marker: str | None = None


class Manifest(msgspec.Struct, frozen=True, rename="kebab"):
    """What the lock was made from, beside the packages themselves."""

    members: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    dependency_groups: dict[str, tuple[Requirement, ...]] = {}


class Lock(msgspec.Struct, frozen=True, rename="kebab"):
    """The outermost table; packages are converted one by one, so that each can have its own problem."""

    version: int
    requires_python: str = ""
    supported_markers: tuple[str, ...] = ()
    manifest: Manifest = Manifest()
    package: tuple[dict[str, object], ...] = ()
