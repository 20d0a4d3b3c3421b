"""Files and folders reached by open descriptors, so that no symbolic link on the way is ever followed.

Every name is a single one, relative to an open folder. What a link stands for is an IntegrityError; every other error
of the operating system passes through as OSError, for the caller to say what it means.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quarantine.errors import IntegrityError

__all__ = [
    "LockHeldError",
    "locked",
    "make_folder",
    "make_root",
    "names",
    "open_file",
    "open_folder",
    "read_at",
    "write_all",
]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK, so that a pipe in a file's place can't hold us up
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


_SHARED = stat.S_ISGID | stat.S_IRWXG
"""What only who shares a folder with a group gives it: many folders have rights of a group by chance."""


class LockHeldError(OSError):
    """Another process held a lock for the whole time that was allowed."""


def open_folder(path: Path | str, parent: int | None = None) -> int:
    """The descriptor of a folder. FileNotFoundError, IntegrityError when it is a link, OSError."""
    try:
        return os.open(path, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR} and _is_link(path, parent):
            raise IntegrityError(f"{path} is a symbolic link: expected a folder") from error
        raise


def open_file(folder: int, name: str, flags: int) -> int:
    """The descriptor of a regular file, made for whom the folder is where the flags say so. IntegrityError for anything else."""
    try:
        file = _opened(folder, name, flags | _FILE)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise IntegrityError(f"{name} is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise IntegrityError(f"{name} is not a regular file")
    return file


def _opened(folder: int, name: str, flags: int) -> int:
    if not flags & os.O_CREAT:
        return os.open(name, flags, dir_fd=folder)
    while True:
        if not flags & os.O_EXCL:
            with suppress(FileNotFoundError):
                return os.open(name, flags & ~os.O_CREAT, dir_fd=folder)
        try:
            file = os.open(name, flags | os.O_EXCL, 0o600, dir_fd=folder)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            continue  # somebody else made it meanwhile
        _as_parent(file, folder, 0o600)
        return file


def _as_parent(made: int, parent: int, rights: int) -> None:
    """Gives what was made with the rights of its owner to the group that shares its folder, and what root made to its owner.

    A store is its owner's alone until they let their group in (chmod 2770); what anybody writes into it then is for all.
    """
    kept = os.fstat(parent)
    if kept.st_mode & _SHARED == _SHARED and not kept.st_mode & stat.S_IWOTH:
        os.fchmod(made, rights | rights >> 3 | (stat.S_ISGID if rights & stat.S_IXUSR else 0))
    if os.geteuid() == 0 and kept.st_uid != 0:
        os.fchown(made, kept.st_uid, kept.st_gid)


def make_root(path: Path) -> int:
    """The descriptor of a folder of that path, made with its parents (mode 0700), durably, where they are missing."""
    for folder in (*reversed(path.parents), path):
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            if not folder.is_dir():
                raise
            continue
        above, made = os.open(folder.parent, _FOLDER & ~os.O_NOFOLLOW), open_folder(folder)
        try:
            _as_parent(made, above, 0o700)
            os.fsync(above)
        finally:
            os.close(made)
            os.close(above)
    return open_folder(path)


def make_folder(parent: int, name: str) -> int:
    """The descriptor of the folder in `parent`, made for whom that is where it is missing, and there to stay."""
    made = False
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    folder = open_folder(name, parent)
    if made:
        _as_parent(folder, parent, 0o700)
    with os.scandir(folder) as entries:
        empty = next(entries, None) is None
    if empty:
        # also when somebody else made it, who may have been killed before they came to this
        os.fsync(parent)
    return folder


def names(folder: int) -> list[str]:
    """What a folder holds, sorted."""
    return sorted(os.listdir(folder))


def read_at(file: int, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end`, or up to the end of the file."""
    parts: list[bytes] = []
    while start < end:
        part = os.pread(file, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def write_all(file: int, data: bytes) -> None:
    """Writes all of the bytes, however many calls that takes, and waits until they are on the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)


@contextmanager
def locked(folder: int, *, shared: bool, seconds: float) -> Iterator[None]:
    """Holds the flock(2) of an open folder, LockHeldError when others have it for so many seconds.

    It goes when the descriptor is closed, also by the death of its process. Two descriptors of one folder exclude each
    other, in one process too.
    """
    waited, pause = 0.0, 0.001
    while True:
        try:
            fcntl.flock(folder, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited >= seconds:
                reason = f"another process has held its lock for {seconds:g} s (`fuser -v` on the folder names it)"
                raise LockHeldError(errno.EWOULDBLOCK, reason) from None
        else:
            break
        time.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, 0.02)
    try:
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


def _is_link(path: Path | str, parent: int | None) -> bool:
    return stat.S_ISLNK(os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode)
