"""The zip around a `.conda` file: `metadata.json`, `info-STEM.tar.zst` and `pkg-STEM.tar.zst`, all stored.

Some programs read a zip by its directory, others from its start, header by header. A file that shows them different
members is refused, so that what is judged is what any of them installs.

Source: conda's package specification (version 2); APPNOTE.TXT for the zip.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Collection

import msgspec

from quarantine.archive.ranges import Ranges
from quarantine.errors import IntegrityError

__all__ = ["BLOCK_BYTES", "Members", "members"]

BLOCK_BYTES = 64 * 1024
MAX_READ_BYTES = 16 * 1024 * 1024
# three members need some 300 bytes; a directory of thousands is none of a conda package
MAX_DIRECTORY_BYTES = 4096

_END = struct.Struct("<4s4H2IH")
_LOCATOR_BYTES = 20
_LOCAL = struct.Struct("<4s5H3I2H")
_ZIP64 = struct.Struct("<HHQQ")
_UTF8_NAME = 0x800


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a `.conda` file: the bytes of its info member, and where its pkg member lies (start, end).

    Where `info_last` is False the pkg member comes after the info member, as in files that were made before 2022 ended:
    programs that unpack from the start let files in it take the place of those in the info member.
    """

    info: bytes
    pkg: tuple[int, int]
    info_last: bool


def members(filename: str, size: int, read: Callable[[int, int], bytes]) -> Members:
    """The parts of a `.conda` file of `size` bytes, of which `read(start, end)` gives a range.

    Programs that read a zip by its directory and those that read it from the start must see the same three members, so
    nothing lies between them, before or after, and both headers of each agree. IntegrityError otherwise; and whatever
    `read` raises.
    """
    file = Ranges(size, read, block_bytes=BLOCK_BYTES, max_bytes=MAX_READ_BYTES)
    stem = filename.removesuffix(".conda")
    info, pkg = f"info-{stem}.tar.zst", f"pkg-{stem}.tar.zst"
    try:
        _check_end(filename, size, file)
        with zipfile.ZipFile(file) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            directory = archive.start_dir
        names = sorted(entry.orig_filename for entry in entries)
        if names != sorted({"metadata.json", info, pkg}):
            raise IntegrityError(f"{filename}: its members are {_some(names)}, expected metadata.json, {info}, {pkg}")
        spans: dict[str, tuple[int, int]] = {}
        position = 0
        for entry in entries:
            spans[entry.orig_filename] = _span(filename, file, entry, position)
            position = spans[entry.orig_filename][1]
    except (zipfile.BadZipFile, struct.error, ValueError, EOFError, NotImplementedError) as error:
        raise IntegrityError(f"{filename}: not a readable zip file ({error})") from error
    if position != directory:
        raise IntegrityError(f"{filename}: there are bytes between its members and their directory")
    start, end = spans[info]
    file.seek(start)
    data = file.read(end - start)
    if zlib.crc32(data) != next(entry.CRC for entry in entries if entry.orig_filename == info):
        raise IntegrityError(f"{filename}: the bytes of {info} don't have its checksum")
    return Members(info=data, pkg=spans[pkg], info_last=spans[pkg] < spans[info])


def _check_end(filename: str, size: int, file: Ranges) -> None:
    """Looks at the end record before `zipfile` believes it: no comment, no second form of it, a small directory."""
    # a zip64 locator stands right before the record: it would name another directory, as files over 4 GiB do
    file.seek(max(0, size - _END.size - _LOCATOR_BYTES))
    tail = file.read()
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06":
        raise IntegrityError(f"{filename}: it doesn't end as a zip file does")
    _, _, _, _, _, directory, _, comment = _END.unpack(tail[-_END.size :])
    if comment:
        raise IntegrityError(f"{filename}: its zip directory has a comment")
    if directory > MAX_DIRECTORY_BYTES or tail.startswith(b"PK\x06\x07"):
        raise IntegrityError(f"{filename}: its zip directory is larger than that of three members")


def _span(filename: str, file: Ranges, entry: zipfile.ZipInfo, position: int) -> tuple[int, int]:
    """Where the bytes of a member lie, by a header of its own that says what the directory says."""
    if entry.header_offset != position:
        raise IntegrityError(f"{filename}: there are bytes that belong to none of its members")
    file.seek(position)
    signature, _, flags, method, _, _, crc, stored, unpacked, named, more = _LOCAL.unpack(file.read(_LOCAL.size))
    name, extra = file.read(named), file.read(more)
    if {stored, unpacked} == {0xFFFFFFFF}:
        stored, unpacked = _zip64_sizes(extra)
    if (flags | entry.flag_bits) & ~_UTF8_NAME or method or entry.compress_type:
        raise IntegrityError(f"{filename}: its member {entry.orig_filename} is not simply stored")
    said = (signature, name, crc, stored, unpacked)
    if said != (b"PK\x03\x04", entry.orig_filename.encode(), entry.CRC, entry.compress_size, entry.file_size):
        raise IntegrityError(f"{filename}: its member {entry.orig_filename} has two headers that disagree")
    start = position + _LOCAL.size + named + more
    return start, start + stored


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """Stored and unpacked size (APPNOTE 4.5.3), the only extra field that such a member has; else none that fits."""
    if len(extra) != _ZIP64.size:
        return -1, -1
    kind, length, unpacked, stored = _ZIP64.unpack(extra)
    return (stored, unpacked) if (kind, length) == (1, 16) else (-1, -1)


def _some(names: Collection[str]) -> str:
    return ", ".join(f"{name[:80]!a}" for name in list(names)[:5]) + (", …" if len(names) > 5 else "")
