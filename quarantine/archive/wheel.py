"""The core metadata inside a wheel, from a few ranges of its bytes: nothing else of it is read, nothing is unpacked."""

import zipfile
import zlib
from collections.abc import Callable

from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.archive.ranges import Ranges
from quarantine.errors import IntegrityError

__all__ = ["metadata_in_wheel"]

TAIL_BYTES = 64 * 1024
MAX_READ_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 100_000


def metadata_in_wheel(filename: str, size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The METADATA member of a wheel of `size` bytes, of which `read(start, end)` gives a range.

    It is only as good as the bytes that came: a range can't be held to the digest of the whole file. IntegrityError
    when the archive can't be read, has no METADATA or several, or one larger than 1 MiB; and whatever `read` raises.
    """
    file = Ranges(size, read, block_bytes=TAIL_BYTES, max_bytes=MAX_READ_BYTES)
    try:
        with zipfile.ZipFile(file) as archive:
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
