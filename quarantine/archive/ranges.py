"""A file of which only the ranges that are read are fetched: what `zipfile` needs to look into a distant archive."""

import io
from collections.abc import Callable

from quarantine.errors import IntegrityError

__all__ = ["Ranges"]


class Ranges(io.RawIOBase):
    """A file of `size` bytes, of which `read(start, end)` gives a range.

    At least `block_bytes` are fetched at a time, aligned to the end, and kept; what needs more than `max_bytes` of them
    is an IntegrityError, and so is a range that comes short.
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes], *, block_bytes: int, max_bytes: int) -> None:
        self._size = size
        self._read = read
        self._block = block_bytes
        self._max = max_bytes
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read starts."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to an offset from the start, from here, or from the end; never before the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end, all of them for a negative size."""
        end = self._size if size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        data = self._range(self._position, end)
        self._position = end
        return data

    def _range(self, start: int, end: int) -> bytes:
        # blocks are counted from the end of the file, so that its directory is in the first one
        first, last = (self._size - end) // self._block, (self._size - start - 1) // self._block
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if (len(self._blocks) + len(missing)) * self._block > self._max:
            raise IntegrityError(f"its directory and metadata are spread over more than {self._max} bytes")
        while missing:
            # neighbours come with one read
            run = [number for at, number in enumerate(missing) if number == missing[0] + at]
            missing = missing[len(run) :]
            self._fetch(run[0], run[-1])
        low = self._low(last)
        data = b"".join(self._blocks[number] for number in range(last, first - 1, -1))
        return data[start - low : end - low]

    def _fetch(self, first: int, last: int) -> None:
        low, high = self._low(last), self._high(first)
        data = self._read(low, high)
        if len(data) != high - low:
            raise IntegrityError(f"{len(data)} bytes came for a range of {high - low}")
        for number in range(first, last + 1):
            self._blocks[number] = data[self._low(number) - low : self._high(number) - low]

    def _low(self, number: int) -> int:
        return max(0, self._size - (number + 1) * self._block)

    def _high(self, number: int) -> int:
        return self._size - number * self._block
