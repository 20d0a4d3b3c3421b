"""Files that may be thrown away at any time, in folders that nobody else can write to."""

import contextlib
import os
import stat
from pathlib import Path

from quarantine.errors import UpstreamError

__all__ = ["private_folder", "read_cached", "write_cached"]


def private_folder(path: Path) -> Path:
    """The folder, made with its parents when missing (mode 0700).

    UpstreamError when it is a link, belongs to somebody else or can be written by others: what lies there decides what
    is installed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UpstreamError(
            f"the cache folder {path} can't be used: {(error.strerror or str(error)).lower()}"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise UpstreamError(f"the cache folder {path} is not a folder: remove it, or name another one")
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UpstreamError(f"the cache folder {path} can be written by others: make it yours alone (mode 0700)")
    return path


def read_cached(path: Path, max_bytes: int) -> bytes | None:
    """The bytes of a file, None when it can't be read or is larger."""
    try:
        # unbuffered, since a buffered read makes room for all that it is asked for, however small the file is
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(size) if size <= max_bytes else None
    except OSError:
        return None


def write_cached(path: Path, data: bytes) -> None:
    """Puts the file there whole or not at all. A cache that can't be written is no error: the next run asks again."""
    import tempfile  # noqa: PLC0415  # only what is new is written

    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
