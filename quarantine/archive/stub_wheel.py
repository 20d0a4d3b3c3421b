"""Wheels that hold nothing but metadata, standing for distributions that something else installs.

A resolver that is given one knows the version that is there and what it requires, and never looks for another.
"""

import base64
import hashlib
import io
import zipfile

from quarantine.archive.metadata import MAX_METADATA_BYTES, MAX_REQUIRES
from quarantine.errors import UpstreamError
from quarantine.model import Digest, Package

__all__ = ["stub_wheel"]


def stub_wheel(
    package: Package, metadata: bytes | None, filename: str | None = None, stands_for: Digest | None = None
) -> tuple[str, bytes]:
    """File name and bytes of a wheel without modules: the same bytes for the same arguments.

    Of `metadata` (core metadata) only what it requires is taken over, as it stands there; Name and Version are the
    package's. It isn't asked which Python it is for: that is known before. Without a `filename` (of a wheel of the package)
    it is a pure one. Those that stand for different bytes differ. UpstreamError when `metadata` can't be read.
    """
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    required = (
        ()
        if metadata is None
        else _required(package, metadata, "conda installs" if filename is None else "an exception lets in")
    )
    lines = ["Metadata-Version: 2.1", f"Name: {package.name}", f"Version: {package.version}", *required]
    tag = "py3-none-any" if filename is None else "-".join(filename.removesuffix(".whl").rsplit("-", 3)[1:])
    wheel = f"Wheel-Version: 1.0\nGenerator: quarantine\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if stands_for is not None:
        wheel += f"Stands-For: {stands_for}\n"
    members = {
        f"{stem}.dist-info/METADATA": "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
        f"{stem}.dist-info/WHEEL": wheel.encode(),
    }
    record = [f"{path},sha256={_urlsafe(data)},{len(data)}\n" for path, data in members.items()]
    record.append(f"{stem}.dist-info/RECORD,,\n")
    members[f"{stem}.dist-info/RECORD"] = "".join(record).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path)  # of 1980
            member.create_system = 3  # whatever system this runs on
            archive.writestr(member, data)
    return filename or f"{stem}-py3-none-any.whl", buffer.getvalue()


def _required(package: Package, metadata: bytes, by: str) -> list[str]:
    """The header lines that say what it requires, one line each, whatever they were folded like."""
    what = f"{package.name} {package.version}, which {by}"
    if len(metadata) > MAX_METADATA_BYTES:
        raise UpstreamError(f"{what}: {len(metadata)} bytes of metadata, at most {MAX_METADATA_BYTES} are read")
    from packaging.metadata import parse_email  # noqa: PLC0415  # it loads the whole email package

    try:
        raw, unread = parse_email(metadata)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UpstreamError(f"{what}: not core metadata ({type(error).__name__})") from error
    if "name" not in raw:
        raise UpstreamError(f"{what}: not core metadata (no Name)")
    requires = raw.get("requires_dist", [])
    if len(requires) > MAX_REQUIRES:
        raise UpstreamError(f"{what}: {len(requires)} requirements, at most {MAX_REQUIRES} are read")
    if not {"requires-dist", "provides-extra"}.isdisjoint(unread):
        raise UpstreamError(f"{what}: its metadata doesn't say readably what it requires")
    fields = [
        *(("Provides-Extra", extra) for extra in raw.get("provides_extra", [])),
        *(("Requires-Dist", r) for r in requires),
    ]
    return [f"{name}: {' '.join(text.split())}" for name, text in fields]


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
