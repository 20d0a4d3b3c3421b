"""The core metadata inside a wheel, from a few ranges of its bytes: nothing else of it is read, nothing is unpacked."""

import io
import zipfile
import zlib
from collections.abc import Callable

from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.errors import IntegrityError

__all__ = ["metadata_in_wheel"]

TAIL_BYTES = 64 * 1024
MAX_READ_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 100_000


class _Ranges(io.RawIOBase):
    """A file of which only the ranges that are read are fetched, at least `TAIL_BYTES` at a time, aligned."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._read = read
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        data = self._range(self._position, end)
        self._position = end
        return data

    def _range(self, start: int, end: int) -> bytes:
        # blocks are counted from the end of the file, so that its directory is in the first one
        first, last = (self._size - end) // TAIL_BYTES, (self._size - start - 1) // TAIL_BYTES
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if (len(self._blocks) + len(missing)) * TAIL_BYTES > MAX_READ_BYTES:
            raise IntegrityError(f"its directory and metadata are spread over more than {MAX_READ_BYTES} bytes")
        for number in missing:
            low, high = max(0, self._size - (number + 1) * TAIL_BYTES), self._size - number * TAIL_BYTES
            block = self._read(low, high)
            if len(block) != high - low:
                raise IntegrityError(f"{len(block)} bytes came for a range of {high - low}")
            self._blocks[number] = block
        low = max(0, self._size - (last + 1) * TAIL_BYTES)
        data = b"".join(self._blocks[number] for number in range(last, first - 1, -1))
        return data[start - low : end - low]


def metadata_in_wheel(filename: str, size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The METADATA member of a wheel of `size` bytes, of which `read(start, end)` gives a range.

    It is only as good as the bytes that came: a range can't be held to the digest of the whole file. IntegrityError
    when the archive can't be read, has no METADATA or several, or one larger than 1 MiB; and whatever `read` raises.
    """
    try:
        with zipfile.ZipFile(_Ranges(size, read)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ENTRIES:
                raise IntegrityError(f"{filename}: more than {MAX_ENTRIES} members")
            found = [m for m in members if m.filename.count("/") == 1 and m.filename.endswith(".dist-info/METADATA")]
            if len(found) != 1:
                raise IntegrityError(f"{filename}: {len(found)} METADATA members, expected one")
            (member,) = found
            if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise IntegrityError(f"{filename}: METADATA is encrypted or in an unusual compression")
            with archive.open(member) as stream:
                data = stream.read(MAX_METADATA_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{filename}: not a readable wheel ({error})") from error
    if len(data) > MAX_METADATA_BYTES:
        raise IntegrityError(f"{filename}: METADATA larger than {MAX_METADATA_BYTES} bytes")
    return data
