"""What a conda package says it is: the text of its own `info/index.json`, for channels that are made of packages."""

from collections.abc import Callable, Iterator
from contextlib import closing

from quarantine.archive.conda_tar import INDEX, Part, content, readable, walk
from quarantine.archive.conda_zip import members
from quarantine.errors import IntegrityError

__all__ = ["index_text"]

MAX_INDEX_BYTES = 1024 * 1024
_CHUNK_BYTES = 256 * 1024


def index_text(filename: str, size: int, read: Callable[[int, int], bytes]) -> str:
    """The text, of a file of `size` bytes of which `read(start, end)` gives a range. IntegrityError where there is none."""
    if filename.endswith(".conda"):
        part, chunks = Part.INFO, iter([members(filename, size, read).info])
    else:
        part, chunks = Part.WHOLE, _chunks(size, read)
    found: list[bytes] = []
    with readable(filename), closing(walk(filename, chunks, part, set())) as walked:
        found = [
            content(filename, tar, member, MAX_INDEX_BYTES) for path, tar, member in walked if path.casefold() == INDEX
        ]
    if len(found) != 1:
        raise IntegrityError(f"{filename}: it has {len(found)} files {INDEX}, expected one")
    try:
        return found[0].decode()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{filename}: its {INDEX} is no text in UTF-8") from error


def _chunks(size: int, read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    for start in range(0, size, _CHUNK_BYTES):
        yield read(start, min(start + _CHUNK_BYTES, size))
