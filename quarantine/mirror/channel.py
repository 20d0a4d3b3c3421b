"""What the mirror's conda channel looks like: `repodata.json` of each platform from packages, and back.

A record is what the package says of itself in its own `info/index.json`, as far as solvers know it, with the digests and the
size that were vetted. `indexed_timestamp` is when the mirror took it in, which solvers take for the server's word on its
age. There are no shards: not every server of blobs answers for them as clients expect.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from quarantine.errors import IntegrityError
from quarantine.exceptions import DossierFile, ExceptionFile, Sha256

__all__ = [
    "MAX_REPODATA_BYTES",
    "NOARCH",
    "CondaFile",
    "compress",
    "conda_file",
    "decompress",
    "merged",
    "read_repodata",
    "record",
    "repodata",
    "subdir_of",
]

NOARCH = "noarch"
"""The platform that every channel must have."""
MAX_REPODATA_BYTES = 256 * 1024 * 1024
"""More than any channel's repodata has unpacked (conda-forge's largest is below); a page of ours is far smaller."""
_LEVEL = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Subdir = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z")]
_Filename = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}\Z")]
_Text = Annotated[str, Meta(max_length=4096)]
_Specs = Annotated[tuple[_Text, ...], Meta(max_length=10_000)]


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """`info/index.json`, as far as solvers and installers read it; what else stands there is left out."""

    name: _Text
    version: _Text
    build: _Text
    build_number: Annotated[int, Meta(ge=0)] = 0
    subdir: _Text | None = None
    depends: _Specs = ()
    constrains: _Specs = ()
    noarch: Literal["python", "generic"] | bool | None = None
    features: _Text | None = None
    track_features: _Text | _Specs | None = None
    license: _Text | None = None
    license_family: _Text | None = None
    python_site_packages_path: _Text | None = None
    timestamp: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class CondaFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of one package in the repodata, without its file name."""

    build: str
    build_number: int
    constrains: tuple[str, ...] | UnsetType = UNSET
    depends: tuple[str, ...]
    features: str | UnsetType = UNSET
    indexed_timestamp: int | UnsetType = UNSET
    license: str | UnsetType = UNSET
    license_family: str | UnsetType = UNSET
    md5: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")] | UnsetType = UNSET
    name: str
    noarch: Literal["python", "generic"] | UnsetType = UNSET
    python_site_packages_path: str | UnsetType = UNSET
    sha256: Sha256
    size: Annotated[int, Meta(ge=0)]
    subdir: _Subdir
    timestamp: int | UnsetType = UNSET
    track_features: str | tuple[str, ...] | UnsetType = UNSET
    version: str

    @property
    def published(self) -> datetime | None:
        """When the mirror took it in (aware, UTC)."""
        return None if self.indexed_timestamp is UNSET else _EPOCH + timedelta(milliseconds=self.indexed_timestamp)


class _Info(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subdir: _Subdir


_Records = Mapping[_Filename, CondaFile]


class _Repodata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    info: _Info
    packages: _Records
    packages_conda: _Records = msgspec.field(name="packages.conda")
    removed: tuple[str, ...] = ()
    repodata_version: Literal[1] = 1


_said = msgspec.json.Decoder(_Said)
_repodata = msgspec.json.Decoder(_Repodata)


def subdir_of(text: str) -> str:
    """A platform's name, safe as a page's; ValueError when it isn't one."""
    try:
        return msgspec.convert(text, _Subdir)
    except msgspec.ValidationError as error:
        raise ValueError(f"{text!a} is not a conda platform: {error}") from error


def conda_file(found: DossierFile, size: int, indexed: datetime) -> CondaFile:
    """The record of a package that was vetted. ValueError where its index says that it is another package."""
    return record(found.file, found.index, size=size, md5=found.md5, indexed=indexed)


def record(file: ExceptionFile, index: str, *, size: int, md5: str, indexed: datetime | None) -> CondaFile:
    """The record of a package by the text of its own index. ValueError where that says that it is another package."""
    try:
        said = _said.decode(index)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file.filename}: its info/index.json can't be read: {error}") from error
    expected, got = (file.name, file.version, file.build), (said.name.lower(), said.version, said.build)
    if got != (file.name.lower(), file.version, file.build or said.build):
        raise ValueError(f"{file.filename}: its info/index.json says {got!a}, expected {expected!a}")
    noarch = said.noarch
    if noarch is True:
        noarch = "generic"  # as old packages say it
    return CondaFile(
        build=said.build,
        build_number=said.build_number,
        constrains=said.constrains or UNSET,
        depends=said.depends,
        features=said.features or UNSET,
        indexed_timestamp=UNSET if indexed is None else (indexed - _EPOCH) // timedelta(milliseconds=1),
        license=said.license or UNSET,
        license_family=said.license_family or UNSET,
        md5=md5 or UNSET,
        name=said.name,
        noarch=noarch or UNSET,
        python_site_packages_path=said.python_site_packages_path or UNSET,
        sha256=file.sha256,
        size=size,
        subdir=subdir_of(file.subdir),
        timestamp=UNSET if said.timestamp is None else said.timestamp,
        track_features=said.track_features or UNSET,
        version=said.version,
    )


# --- repodata ---------------------------------------------------------------------------------------------------------


def repodata(subdir: str, records: Mapping[str, CondaFile]) -> bytes:
    """`repodata.json` of one platform, of its packages by file name."""
    new = {name: records[name] for name in sorted(records) if name.endswith(".conda")}
    old = {name: records[name] for name in sorted(records) if not name.endswith(".conda")}
    return msgspec.json.encode(_Repodata(info=_Info(subdir), packages=old, packages_conda=new))


def read_repodata(subdir: str, data: bytes) -> dict[str, CondaFile]:
    """The packages that `repodata.json` lists, by file name. IntegrityError for what is none of ours, of this platform."""
    try:
        page = _repodata.decode(data)
    except (ValueError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"the mirror's repodata of {subdir} can't be read: {str(error)[:200]}") from error
    records = {**page.packages, **page.packages_conda}
    if {page.info.subdir, *(record.subdir for record in records.values())} != {subdir}:
        raise IntegrityError(f"the mirror's repodata of {subdir} is of another platform")
    return records


def merged(
    records: Mapping[str, CondaFile], added: Mapping[str, CondaFile], dropped: Iterable[str] = ()
) -> dict[str, CondaFile]:
    """The records without those of the dropped digests, and with those that are added.

    ValueError where one that is there has the name of one that is added, and other bytes: a channel can't have both.
    """
    gone = frozenset(dropped)
    kept = {name: entry for name, entry in records.items() if entry.sha256 not in gone}
    for name, entry in added.items():
        there = kept.get(name)
        if there is not None and there.sha256 != entry.sha256:
            raise ValueError(
                f"{entry.subdir}/{name} is in the mirror's channel with other bytes ({there.sha256[:12]}): revoke the "
                "exception that it is there for, or do without this one"
            )
    return {**kept, **added}


# --- compression ------------------------------------------------------------------------------------------------------


class _Zstd(Protocol):
    ZstdError: type[Exception]

    def compress(self, data: bytes, level: int) -> bytes: ...

    def open(self, file: object) -> "_Readable": ...


class _Readable(Protocol):
    def read(self, size: int) -> bytes: ...


def _zstd() -> _Zstd:
    from conda_package_streaming import (  # type: ignore[import-untyped]  # noqa: PLC0415  # few commands write channels
        package_streaming,
    )

    library: _Zstd = package_streaming.zstd
    return library


def compress(data: bytes) -> bytes:
    """The bytes by Zstandard."""
    return _zstd().compress(data, _LEVEL)


def decompress(data: bytes) -> bytes:
    """The bytes that were compressed. IntegrityError for what is no Zstandard, or more than MAX_REPODATA_BYTES."""
    from io import BytesIO  # noqa: PLC0415  # few commands read channels

    library = _zstd()
    try:
        found = library.open(BytesIO(data)).read(MAX_REPODATA_BYTES + 1)
    except (library.ZstdError, EOFError, OSError) as error:
        raise IntegrityError(f"the mirror's compressed repodata can't be read: {error}") from error
    if len(found) > MAX_REPODATA_BYTES:
        raise IntegrityError(f"the mirror's compressed repodata has more than {MAX_REPODATA_BYTES} bytes, unpacked")
    return found
