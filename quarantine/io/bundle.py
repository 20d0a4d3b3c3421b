"""The JSON files of a zip or of a folder, read one by one, within limits. Nothing is unpacked."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from quarantine.errors import UpstreamError

__all__ = ["folder_files", "zip_files"]

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_TOTAL_BYTES = 8 * 1024**3


def folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path relative to the folder, and bytes, of every `*.json` below it, in the order of their paths.

    UpstreamError when one can't be read, and for more, or larger ones, than the limits allow.
    """
    total = 0
    for number, path in enumerate(sorted(path for path in folder.rglob("*.json") if path.is_file())):
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UpstreamError(f"{path}: can't be read ({error.strerror})") from error
        total += len(data)
        _within_limits(str(folder), str(path), number + 1, len(data), total)
        yield path.relative_to(folder).as_posix(), data


def zip_files(path: Path, shown: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every `*.json` member, in the archive's order. A name is for messages only: it is no path.

    `shown` is what messages call the archive. UpstreamError for a damaged archive (every member's CRC is checked),
    an encrypted or unusually compressed member, and more, or larger members, than the limits allow.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".json")]
            total = 0
            for member in members:
                total += member.file_size
                _within_limits(shown, member.filename, len(members), member.file_size, total)
                if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise UpstreamError(f"{shown}: {member.filename!a} is encrypted or in an unusual compression")
                yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise UpstreamError(f"{shown}: the zip is damaged ({error})") from error
    except OSError as error:
        raise UpstreamError(f"{shown}: can't be read ({error.strerror or error})") from error


def _within_limits(source: str, name: str, count: int, size: int, total: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UpstreamError(f"{source}: {name!a} is larger than {MAX_FILE_BYTES} bytes")
    if count > MAX_FILES:
        raise UpstreamError(f"{source}: more than {MAX_FILES} files")
    if total > MAX_TOTAL_BYTES:
        raise UpstreamError(f"{source}: more than {MAX_TOTAL_BYTES} bytes in its files")
