"""Zip files put together field by field, right or wrong in every one of them."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

REGULAR, FOLDER, SYMLINK, DEVICE = 0o100644, 0o040755, 0o120777, 0o020600


@dataclass(frozen=True, kw_only=True)
class Part:
    """A member: what it holds, and what its two headers say otherwise than they should."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    crc: int | None = None
    size: int | None = None
    stored: int | None = None
    mode: int = 0
    system: int = 3
    extra: bytes = b""
    comment: bytes = b""
    listed: bool = True
    before: bytes = b""
    behind: bytes = b""
    offset: int | None = None
    # what the member's own header says instead
    own_name: bytes | None = None
    own_crc: int | None = None
    own_size: int | None = None
    own_stored: int | None = None
    own_method: int | None = None
    own_flags: int | None = None
    own_extra: bytes = b""

    @property
    def body(self) -> bytes:
        """The bytes as they lie in the file."""
        if self.packed is not None:
            return self.packed
        return deflate(self.data) if self.method == 8 else self.data


def deflate(data: bytes) -> bytes:
    """A deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


def built(
    parts: Iterable[Part],
    *,
    prefix: bytes = b"",
    gap: bytes = b"",
    suffix: bytes = b"",
    comment: bytes = b"",
    count: int | None = None,
    start: int | None = None,
    length: int | None = None,
    tail: bytes = b"",
    end: bytes | None = None,
) -> bytes:
    """The zip file. `end` stands in place of its end record, `tail` at the end of its directory, `gap` before that."""
    file = bytearray(prefix)
    directory = bytearray()
    listed = 0
    for part in parts:
        crc = _or(part.crc, zlib.crc32(part.data))
        size, stored = _or(part.size, len(part.data)), _or(part.stored, len(part.body))
        file += part.before
        at = len(file)
        own = part.name if part.own_name is None else part.own_name
        file += struct.pack(
            "<4s5H3L2H",
            b"PK\x03\x04",
            20,
            _or(part.own_flags, part.flags),
            _or(part.own_method, part.method),
            0,
            0,
            _or(part.own_crc, crc),
            _or(part.own_stored, stored),
            _or(part.own_size, size),
            len(own),
            len(part.own_extra),
        )
        file += own + part.own_extra + part.body + part.behind
        if not part.listed:
            continue
        listed += 1
        directory += struct.pack(
            "<4s6H3L5H2L",
            b"PK\x01\x02",
            part.system << 8 | 20,
            20,
            part.flags,
            part.method,
            0,
            0,
            crc,
            stored,
            size,
            len(part.name),
            len(part.extra),
            len(part.comment),
            0,
            0,
            part.mode << 16,
            _or(part.offset, at),
        )
        directory += part.name + part.extra + part.comment
    file += gap
    at = len(file)
    file += directory + tail
    if end is not None:
        return bytes(file + end)
    number = _or(count, listed)
    said = (number, number, _or(length, len(directory + tail)), _or(start, at), len(comment))
    return bytes(file) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *said) + comment + suffix
