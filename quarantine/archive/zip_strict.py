"""A zip file read strictly: whatever program reads it, and from whichever end, sees the members that are seen here.

Some programs read a zip by its directory, others from its start, header by header; some follow the second set of sizes
of large files, some the first; some take the first of two equal names, some the last. A file that could show them
different members is refused, and so is every byte that belongs to none. Nothing is unpacked: the bytes of a member come
in chunks, and are held to their size and checksum.

Source: APPNOTE.TXT; the incident is CVE-2025-54368.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from quarantine.archive.names import Names, check_name, shown
from quarantine.errors import IntegrityError

__all__ = ["MAX_ENTRIES", "Member", "StrictZip"]

MAX_ENTRIES = 100_000
# 100,000 entries with names of 200 bytes and what else belongs to them
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
# deflate packs zeros 1:1000, code and weights hardly 1:10; below 64 MiB no proportion does any harm
MAX_RATIO = 50
FREE_BYTES = 64 * 1024 * 1024

_BLOCK_BYTES = 256 * 1024
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<3L")
_DESCRIPTOR64 = struct.Struct("<L2Q")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x1, 0x8, 0x800
# how hard deflate tried (bits 1 and 2), a size behind the data, a name in UTF-8
_KNOWN_FLAGS = 0x6 | _DESCRIBED | _UTF8
_ZIP64, _UNICODE_NAME, _UNICODE_COMMENT, _AES = 0x0001, 0x7075, 0x6375, 0x9901
_REGULAR, _FOLDER = 0o100000, 0o040000


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of a zip. Its `stored` bytes begin at `start`; unpacked they are `size`. `mode` is POSIX's, or 0."""

    name: str
    folder: bool
    offset: int
    start: int
    stored: int
    size: int
    crc: int
    method: int
    mode: int


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A member as the directory has it."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    offset: int
    mode: int


class StrictZip:
    """A zip file; `members` are all there are, in the order in which they lie in it.

    IntegrityError unless it is of the plain form that has one reading.
    """

    def __init__(self, filename: str, file: BinaryIO) -> None:
        self._filename = filename
        self._file = file
        size = file.seek(0, io.SEEK_END)
        start, end, count = self._directory(size)
        entries = sorted(self._entries(start, end, count), key=lambda entry: entry.offset)
        unpacked = sum(entry.size for entry in entries)
        if unpacked > FREE_BYTES and unpacked > MAX_RATIO * size:
            raise self._bad(f"it unpacks to {unpacked} bytes, which is more than {MAX_RATIO} times its size")
        names = Names(filename)
        found: list[Member] = []
        position = 0
        for entry in entries:
            member, position = self._member(entry, position, start)
            names.add(member.name, folder=member.folder)
            found.append(member)
        names.check()
        if position != start:
            raise self._bad("there are bytes between its members and their directory")
        self.members: tuple[Member, ...] = tuple(found)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The bytes of a member. IntegrityError, at the latest after the last one, when they are not what was said."""
        crc = count = 0
        for chunk in self._inflated(member) if member.method == _DEFLATED else self._range(member):
            crc = zlib.crc32(chunk, crc)
            count += len(chunk)
            yield chunk
        if count != member.size:
            raise self._bad(f"its member {shown(member.name)} has {count} bytes, its headers say {member.size}")
        if crc != member.crc:
            raise self._bad(f"the bytes of its member {shown(member.name)} don't have their checksum")

    def content(self, member: Member, max_bytes: int) -> bytes:
        """All bytes of a member. IntegrityError when they are more than `max_bytes`, or not what was said."""
        if member.size > max_bytes:
            raise self._bad(f"its member {shown(member.name)} has {member.size} bytes, at most {max_bytes} are read")
        return b"".join(self.chunks(member))

    # --- the directory ------------------------------------------------------------------------------------------------

    def _directory(self, size: int) -> tuple[int, int, int]:
        """Where the directory begins and ends, and how many entries it has, by the one record that ends the file."""
        if size < _END.size:
            raise self._bad("it doesn't end as a zip file does")
        end = size - _END.size
        signature, disk, first, here, count, length, start, comment = _END.unpack(self._at(end, _END.size))
        if signature != b"PK\x05\x06":
            raise self._bad(
                "it doesn't end as a zip file does: a comment or other bytes follow its directory, or it is cut"
            )
        if comment:
            raise self._bad("it ends with a comment that isn't there")
        if disk or first or here != count:
            raise self._bad("it is a part of several")
        large = end >= _LOCATOR.size and self._at(end - _LOCATOR.size, 4) == b"PK\x06\x07"
        if large:
            end, count, length, start = self._directory64(end, count, length, start)
        elif count == _FULL16 or _FULL32 in (length, start):
            raise self._bad("its directory's size is said to stand elsewhere, and doesn't")
        if count > MAX_ENTRIES:
            raise self._bad(f"it has {count} members, at most {MAX_ENTRIES} are read")
        if length > MAX_DIRECTORY_BYTES:
            raise self._bad(f"its directory has {length} bytes, at most {MAX_DIRECTORY_BYTES} are read")
        if start + length != end:
            raise self._bad("its directory isn't where its end record says")
        return start, end, count

    def _directory64(self, end: int, count: int, length: int, start: int) -> tuple[int, int, int, int]:
        """The same by the second end record, which only large files have: (4.3.14) one place, no disagreement."""
        _, disk, where, disks = _LOCATOR.unpack(self._at(end - _LOCATOR.size, _LOCATOR.size))
        if disk or disks != 1 or where != end - _LOCATOR.size - _END64.size:
            raise self._bad("its second end record isn't where it must be")
        signature, rest, _, _, disk, first, here, count64, length64, start64 = _END64.unpack(
            self._at(where, _END64.size)
        )
        if signature != b"PK\x06\x06" or rest != _END64.size - 12 or disk or first or here != count64:
            raise self._bad("its second end record is none")
        if count != _FULL16 and _FULL32 not in (length, start):
            raise self._bad("it has a second end record that it doesn't need")
        for short, full, long in ((count, _FULL16, count64), (length, _FULL32, length64), (start, _FULL32, start64)):
            if short not in (full, long):
                raise self._bad("its two end records disagree")
        return where, count64, length64, start64

    def _entries(self, start: int, end: int, count: int) -> Iterator[_Entry]:
        data = self._at(start, end - start)
        position = 0
        for _ in range(count):
            if len(data) - position < _ENTRY.size:
                raise self._bad("its directory has fewer entries than its end record says")
            entry, position = self._entry(data, position)
            yield entry
        if position != len(data):
            raise self._bad("its directory has more in it than its entries")

    def _entry(self, data: bytes, position: int) -> tuple[_Entry, int]:
        (signature, made, _, flags, method, _, _, crc, stored, size, named, more, comment, disk, _, outer, offset) = (
            _ENTRY.unpack_from(data, position)
        )
        position += _ENTRY.size
        raw, extra = data[position : position + named], data[position + named : position + named + more]
        position += named + more + comment
        if signature != b"PK\x01\x02" or position > len(data):
            raise self._bad("its directory can't be read")
        name = self._name(raw, flags)
        if comment or disk:
            raise self._bad(f"its member {shown(name)} has a comment, or lies in another file")
        fields = self._fields(name, extra)
        wanted = [value for value in (size, stored, offset) if value == _FULL32]
        if (_ZIP64 in fields) != bool(wanted) or len(fields.get(_ZIP64, b"")) != 8 * len(wanted):
            raise self._bad(f"its member {shown(name)} has a second set of sizes that it doesn't need, or lacks one")
        large = iter(struct.unpack(f"<{len(wanted)}Q", fields.get(_ZIP64, b"")))
        size, stored, offset = (next(large) if value == _FULL32 else value for value in (size, stored, offset))
        mode = self._mode(name, made >> 8, outer)
        self._check_kind(name, flags, method, stored, size)
        entry = _Entry(
            raw=raw, name=name, flags=flags, method=method, crc=crc, stored=stored, size=size, offset=offset, mode=mode
        )
        return entry, position

    def _name(self, raw: bytes, flags: int) -> str:
        """The name, which is the same in every encoding that a program may take it for."""
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
        except UnicodeDecodeError:
            said = "is not UTF-8" if flags & _UTF8 else "is not ASCII, and not said to be UTF-8"
            raise self._bad(f"the name {raw[:100]!r} of a member {said}") from None
        if not name:
            raise self._bad("it has a member without a name")
        check_name(self._filename, name)
        return name

    def _check_kind(self, name: str, flags: int, method: int, stored: int, size: int) -> None:
        if flags & _ENCRYPTED:
            raise self._bad(f"its member {shown(name)} is encrypted")
        if method not in (_STORED, _DEFLATED):
            raise self._bad(f"its member {shown(name)} is packed by method {method}, expected stored or deflated")
        if flags & ~_KNOWN_FLAGS:
            raise self._bad(f"its member {shown(name)} has the flags {flags:#x}, of which some mean an unusual form")
        if method == _STORED and stored != size:
            raise self._bad(f"its member {shown(name)} is stored and has two sizes, {stored} and {size}")
        if name.endswith("/") and size:
            raise self._bad(f"its folder {shown(name)} has {size} bytes")

    def _mode(self, name: str, system: int, outer: int) -> int:
        """The POSIX mode (system 3, also macOS's 19), 0 where none is given: that of a file or a folder."""
        mode = outer >> 16 if system in (3, 19) else 0
        kind = mode & 0o170000
        if kind not in (0, _FOLDER if name.endswith("/") else _REGULAR):
            raise self._bad(f"its member {shown(name)} is neither a file nor a folder by its mode {mode:#o}")
        return mode & 0o7777

    def _fields(self, name: str, extra: bytes) -> dict[int, bytes]:
        """The extra fields of a header, none of which gives a member another name or other sizes."""
        fields: dict[int, bytes] = {}
        position = 0
        while position < len(extra):
            if len(extra) - position < 4:
                raise self._bad(f"its member {shown(name)} has extra fields that can't be read")
            kind, length = struct.unpack_from("<2H", extra, position)
            value = extra[position + 4 : position + 4 + length]
            position += 4 + length
            if len(value) != length or kind in fields:
                raise self._bad(f"its member {shown(name)} has extra fields that can't be read")
            if kind in (_UNICODE_NAME, _UNICODE_COMMENT, _AES):
                raise self._bad(
                    f"its member {shown(name)} has an extra field {kind:#06x}, by which it has another name"
                )
            fields[kind] = value
        return fields

    # --- the members --------------------------------------------------------------------------------------------------

    def _member(self, entry: _Entry, position: int, directory: int) -> tuple[Member, int]:
        """The member and where the next one begins, by a header of its own that says what the directory says."""
        if entry.offset < position:
            raise self._bad(f"its member {shown(entry.name)} lies inside another one")
        if entry.offset > position:
            raise self._bad(f"there are bytes before its member {shown(entry.name)} that belong to none")
        header = self._at(position, _LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise self._bad(f"its member {shown(entry.name)} has no header of its own")
        _, _, flags, method, _, _, crc, stored, size, named, more = _LOCAL.unpack(header)
        start = position + _LOCAL.size + named + more
        behind = self._at(position + _LOCAL.size, named + more)
        if behind[:named] != entry.raw:
            raise self._bad(f"its member {shown(entry.name)} has another name in a header of its own")
        fields = self._fields(entry.name, behind[named:])
        large = _ZIP64 in fields
        if large:
            # (4.5.3) in a header of a member's own both sizes must be there; some writers say them twice
            second = struct.unpack("<2Q", fields[_ZIP64]) if len(fields[_ZIP64]) == 16 else None
            if second is None or ({stored, size} != {_FULL32} and ((size, stored) != second or flags & _DESCRIBED)):
                raise self._bad(f"its member {shown(entry.name)} has a second set of sizes, and it isn't the first")
            size, stored = second
        end = start + entry.stored
        said: tuple[int, ...] = (flags, method, crc, stored, size)
        listed = (entry.flags, entry.method, entry.crc, entry.stored, entry.size)
        if entry.flags & _DESCRIBED and said == (entry.flags, entry.method, 0, 0, 0):
            end += self._described(entry, end, large=large)
            said = listed
        if said != listed:
            raise self._bad(f"its member {shown(entry.name)} has two headers that disagree")
        if end > directory:
            raise self._bad(f"its member {shown(entry.name)} goes on behind the last one")
        member = Member(
            name=entry.name,
            folder=entry.name.endswith("/"),
            offset=entry.offset,
            start=start,
            stored=entry.stored,
            size=entry.size,
            crc=entry.crc,
            method=entry.method,
            mode=entry.mode,
        )
        return member, end

    def _described(self, entry: _Entry, end: int, *, large: bool) -> int:
        """The length of what stands behind a member whose own header leaves its sizes to that.

        Only packed data say by themselves where they end, so that a reader from the start finds it.
        """
        if entry.method != _DEFLATED:
            raise self._bad(f"its member {shown(entry.name)} is stored, and its size stands behind it")
        form = _DESCRIPTOR64 if large else _DESCRIPTOR
        data = self._at(end, 4 + form.size)
        signed = data[:4] == b"PK\x07\x08"
        if data[4 * signed : 4 * signed + form.size] != form.pack(entry.crc, entry.stored, entry.size):
            raise self._bad(f"its member {shown(entry.name)} has other sizes behind it than in the directory")
        return 4 * signed + form.size

    def _range(self, member: Member) -> Iterator[bytes]:
        """The stored bytes of a member."""
        self._file.seek(member.start)
        left = member.stored
        while left:
            data = self._file.read(min(left, _BLOCK_BYTES))
            if not data:
                raise self._bad(f"its member {shown(member.name)} is cut")
            left -= len(data)
            yield data

    def _inflated(self, member: Member) -> Iterator[bytes]:
        """The unpacked bytes of a member: one deflate stream that ends where its stored bytes do."""
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        count = 0
        try:
            for packed in self._range(member):
                data = packed
                while data and not unpacker.eof:
                    chunk = unpacker.decompress(data, _BLOCK_BYTES)
                    data = unpacker.unconsumed_tail
                    count += len(chunk)
                    if count > member.size:
                        raise self._bad(f"its member {shown(member.name)} unpacks to more than its {member.size} bytes")
                    yield chunk
                if unpacker.eof and (data or unpacker.unused_data):
                    raise self._bad(f"its member {shown(member.name)} has bytes behind its packed data")
            while not unpacker.eof:
                chunk = unpacker.decompress(unpacker.unconsumed_tail, _BLOCK_BYTES)
                count += len(chunk)
                if not chunk:
                    break
                if count > member.size:
                    raise self._bad(f"its member {shown(member.name)} unpacks to more than its {member.size} bytes")
                yield chunk
        except zlib.error as error:
            raise self._bad(f"its member {shown(member.name)} can't be unpacked ({error})") from error
        if not unpacker.eof:
            raise self._bad(f"its member {shown(member.name)} is cut")

    def _at(self, start: int, length: int) -> bytes:
        """A range of the file, shorter at its end."""
        self._file.seek(start)
        return self._file.read(length)

    def _bad(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._filename}: {what}")
