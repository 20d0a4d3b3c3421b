"""Conda packages put together by hand, right or wrong in every part."""

import bz2
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping

from conda_package_streaming.package_streaming import zstd  # type: ignore[import-untyped]  # ships no types

from quarantine.model import CondaRecord

STEM = "app-1.0-0"


def record(kind: str = ".conda") -> CondaRecord:
    """What a channel lists for the package."""
    return CondaRecord(
        upstream="main",
        subdir="noarch",
        name="app",
        version="1.0",
        build="0",
        filename=f"{STEM}{kind}",
        url=f"https://channel.example/main/noarch/{STEM}{kind}",
    )


def index_json(name: str = "app", version: str = "1.0", build: str = "0") -> bytes:
    """`info/index.json`."""
    return json.dumps({"name": name, "version": version, "build": build, "build_number": 0}).encode()


def paths_json(paths: Iterable[str], version: int = 1) -> bytes:
    """`info/paths.json`."""
    entries = [{"_path": path, "path_type": "hardlink", "size_in_bytes": 0} for path in paths]
    return json.dumps({"paths": entries, "paths_version": version}).encode()


def info(*paths: str) -> dict[str, bytes]:
    """The info members of a package that has these paths."""
    return {"info/index.json": index_json(), "info/paths.json": paths_json(paths)}


def tar(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """A tar file of regular files."""
    pairs = members.items() if isinstance(members, Mapping) else members
    return tar_of((_regular(name, data), data) for name, data in pairs)


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar file of members of any kind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _regular(name: str, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member


def zst(data: bytes) -> bytes:
    """A zstandard frame."""
    packed: bytes = zstd.compress(data)
    return packed


def zst_bomb(header: bytes, mebibytes: int) -> bytes:
    """Zstandard frames of some bytes, and of so many zeros behind them."""
    return zst(header) + zst(bytes(1 << 20)) * mebibytes


def bz2_bomb(header: bytes, mebibytes: int) -> bytes:
    """The same as bzip2 streams."""
    return bz2.compress(header) + bz2.compress(bytes(1 << 20)) * mebibytes


def conda(info_tar: bytes, pkg_tar: bytes = b"", *, stem: str = STEM) -> bytes:
    """A `.conda` file of two tar files."""
    return zipped(
        ("metadata.json", b'{"conda_pkg_format_version": 2}'),
        (f"pkg-{stem}.tar.zst", zst(pkg_tar or tar({}))),
        (f"info-{stem}.tar.zst", zst(info_tar)),
    )


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def tar_bz2(members: Mapping[str, bytes]) -> bytes:
    """A `.tar.bz2` file."""
    return bz2.compress(tar(members))
