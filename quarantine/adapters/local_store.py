"""Artifacts, evidence and pages as local files.

    ROOT/evidence/sha256/<hex>            bytes, named by their sha256
    ROOT/pages/simple/numpy/index.json    a page, replaced whole
    ROOT/decisions/decisions/NAME         a page of curators, in a folder that only they write

No link is followed from the root on. A file whose name begins with a dot is being written, or was when its writer was
killed: nothing reads it.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from quarantine.errors import ConflictError, IntegrityError, UpstreamError
from quarantine.io.folders import LockHeldError, locked, make_folder, make_root, names, open_file, open_folder, read_at
from quarantine.io.stored import CHUNK_BYTES, checked, digest_hex, measured, page_folder, page_parts, parse_container
from quarantine.model import Digest
from quarantine.ports import Page

__all__ = ["LocalStore", "write_file"]

LOCK_SECONDS = 30.0
_LEASES = "leases"


class LocalStore:
    """Implements `ports.ArtifactStore` and `ports.PageStore` in a folder of a local disk, for its owner alone."""

    def __init__(self, root: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._root = root.absolute()
        self._lock_seconds = lock_seconds

    # --- bytes by their digest ----------------------------------------------------------------------------------------

    def put(self, container: str, data: bytes) -> Digest:
        """Stores the bytes, durably, unless they are there already. UpstreamError when they can't be, IntegrityError."""
        digest = Digest.sha256(sha256(data).hexdigest())
        self.put_file(container, digest, len(data), BytesIO(data))
        return digest

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        """Stores `size` bytes from where the file stands, durably; False where they are there already.

        They are held to length and digest while they are read: IntegrityError, and nothing stored; the same where
        others are there. Of several writers of the same bytes one gets True. UpstreamError.
        """
        parts, name = (parse_container(container), "sha256"), digest_hex(digest)
        path = self._root.joinpath(*parts, name)
        with _translated(f"{path} can't be written", path), self._made(parts) as folder:
            if _size(folder, name) is not None:
                return _added_by_others(folder, name, digest, path)
            chunks = measured(file, digest, size, f"what was to be stored as {container}/{digest}")
            with _temporary(folder, name, chunks) as temporary:
                try:
                    # a second name for the file, which is refused where the name is taken
                    os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                except FileExistsError:
                    return _added_by_others(folder, name, digest, path)
            os.fsync(folder)
            return True

    def get(self, container: str, digest: Digest) -> bytes:
        """The bytes of that digest, checked against it. UpstreamError when they aren't there, IntegrityError."""
        return b"".join(self.read(container, digest))

    def read(self, container: str, digest: Digest) -> Iterator[bytes]:
        """The same in chunks. After the last one they are checked: IntegrityError then means that none of them counts."""
        parts, name = (parse_container(container), "sha256"), digest_hex(digest)
        path = self._root.joinpath(*parts, name)
        with _translated(f"{container}/{digest} can't be read", path):
            with self._opened(parts) as folder:
                descriptor = open_file(folder, name, os.O_RDONLY)
            yield from _checked(descriptor, digest, path)

    def size(self, container: str, digest: Digest) -> int | None:
        """How many bytes are stored under the digest, None where there are none. UpstreamError, IntegrityError."""
        parts, name = (parse_container(container), "sha256"), digest_hex(digest)
        with _translated(f"{container}/{digest} can't be looked up", self._root.joinpath(*parts, name)):
            try:
                with self._opened(parts) as folder:
                    return _size(folder, name)
            except FileNotFoundError:
                return None

    def remove(self, container: str, digest: Digest) -> bool:
        """Takes the bytes away; False where there were none. UpstreamError."""
        parts, name = (parse_container(container), "sha256"), digest_hex(digest)
        with _translated(f"{container}/{digest} can't be removed", self._root.joinpath(*parts, name)):
            try:
                with self._opened(parts) as folder:
                    os.unlink(name, dir_fd=folder)
                    os.fsync(folder)
            except FileNotFoundError:
                return False
        return True

    def digests(self, container: str) -> Iterator[Digest]:
        """Every digest that the container has bytes of, in no order. UpstreamError, IntegrityError."""
        parts = (parse_container(container), "sha256")
        found: list[str] = []
        translated = _translated(f"{container} can't be listed", self._root / container)
        with translated, suppress(FileNotFoundError), self._opened(parts) as folder:
            found = names(folder)
        for name in found:
            with suppress(ValueError):
                yield Digest.sha256(name)

    # --- pages --------------------------------------------------------------------------------------------------------

    def page(self, name: str) -> Page | None:
        """The page of that name, None where there is none; its tag is the sha256 of its bytes. UpstreamError."""
        *folders, last = page_parts(name)
        path = self._root / page_folder(name) / name
        with _translated(f"the page {path} can't be read", path):
            try:
                with self._opened((page_folder(name), *folders)) as folder:
                    return _page(folder, last)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:  # noqa: ARG002  # see there
        """Replaces the page whose tag is `expected` (None: makes it), durably, and answers with its new tag.

        The content type is not kept: who serves these files tells it by their names. ConflictError when another one is
        there; then nothing has changed. UpstreamError.
        """
        *folders, last = page_parts(name)
        path = self._root / page_folder(name) / name
        with (
            _translated(f"the page {path} can't be written", path),
            self._made((page_folder(name), *folders)) as folder,
            locked(folder, shared=False, seconds=self._lock_seconds),
        ):
            there = _page(folder, last)
            if (None if there is None else there.tag) != expected:
                found = "isn't there any more" if there is None else "was written by somebody else meanwhile"
                raise ConflictError(f"the page {name} {found}: read it again, and try again")
            with _temporary(folder, last, (data,)) as temporary:
                os.rename(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return sha256(data).hexdigest()

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """Holds what the name stands for, which nobody else then does; it ends with the process that has it.

        ConflictError when somebody else has it for longer than is waited. UpstreamError.
        """
        path = self._root / _LEASES / name
        with ExitStack() as held:
            with _translated(f"the lease {path} can't be had", path):
                folder = held.enter_context(self._made((_LEASES, *page_parts(name))))
                try:
                    held.enter_context(locked(folder, shared=False, seconds=self._lock_seconds))
                except LockHeldError as error:
                    raise ConflictError(
                        f"somebody else has {name}: wait until they are done ({error.strerror})"
                    ) from error
            yield

    def names(self, prefix: str) -> Iterator[str]:
        """The names of the pages that begin with the prefix, in no order. UpstreamError, IntegrityError."""
        above = prefix.rpartition("/")[0]
        try:
            parts = page_parts(above) if above else ()
        except UpstreamError:
            return  # no page has such a name
        found: list[str] = []
        path = self._root / page_folder(prefix) / above
        with (
            _translated(f"the pages {path} can't be listed", path),
            suppress(FileNotFoundError, NotADirectoryError),
            self._opened((page_folder(prefix), *parts)) as folder,
        ):
            found = _pages_below(folder, "".join(f"{part}/" for part in parts))
        yield from (name for name in found if name.startswith(prefix))

    # --- folders ------------------------------------------------------------------------------------------------------

    def _opened(self, parts: Iterable[str]) -> AbstractContextManager[int]:
        """The descriptor of a folder below the root. FileNotFoundError, IntegrityError when a link is on the way."""
        # the root itself may be a link: it is the owner's to say where it lies
        return _below(open_folder(os.path.realpath(self._root)), parts, lambda folder, part: open_folder(part, folder))

    def _made(self, parts: Iterable[str]) -> AbstractContextManager[int]:
        """The same, made with mode 0700 where it is missing."""
        return _below(make_root(Path(os.path.realpath(self._root))), parts, make_folder)


@contextmanager
def _below(current: int, parts: Iterable[str], step: Callable[[int, str], int]) -> Iterator[int]:
    """The descriptor of the folder that the steps lead to; each folder on the way is closed, and in the end that one."""
    try:
        for part in parts:
            deeper = step(current, part)
            os.close(current)
            current = deeper
        yield current
    finally:
        os.close(current)


def _size(folder: int, name: str) -> int | None:
    try:
        file = open_file(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(file).st_size
    finally:
        os.close(file)


def _checked(descriptor: int, digest: Digest, path: Path) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield from checked(iter(lambda: file.read(CHUNK_BYTES), b""), digest, str(path))


def _added_by_others(folder: int, name: str, digest: Digest, path: Path) -> Literal[False]:
    """False: these bytes are there already. IntegrityError where others have taken their name."""
    for _ in _checked(open_file(folder, name, os.O_RDONLY), digest, path):
        pass
    return False


def _page(folder: int, name: str) -> Page | None:
    try:
        file = open_file(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = read_at(file, 0, os.fstat(file).st_size)
    finally:
        os.close(file)
    return Page(data=data, tag=sha256(data).hexdigest())


def _pages_below(folder: int, above: str) -> list[str]:
    found: list[str] = []
    for name in names(folder):
        if name.startswith("."):
            continue
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.close(open_file(folder, name, os.O_RDONLY))  # a link is no page, and nothing to be passed over
            found.append(above + name)
            continue
        deeper = open_folder(name, folder)
        try:
            found += _pages_below(deeper, f"{above}{name}/")
        finally:
            os.close(deeper)
    return found


@contextmanager
def _temporary(folder: int, name: str, chunks: Iterable[bytes]) -> Iterator[str]:
    """The name of a new file beside `name` that holds the chunks, durably; it is taken away in the end, if still there."""
    temporary = f".{name}.{os.urandom(8).hex()}"
    try:
        file = open_file(folder, temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        with os.fdopen(file, "wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


@contextmanager
def _translated(what: str, path: Path) -> Iterator[None]:
    """Errors of the operating system as ours."""
    try:
        yield
    except IntegrityError as error:
        if "stop and look" in str(error) or "nothing was stored" in str(error):
            raise
        raise IntegrityError(f"{path}: {error}: stop and look who changed it") from error
    except OSError as error:
        raise UpstreamError(f"{what}: {_reason(error)}") from error


def write_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Puts the bytes at the path in one step: a reader sees what was there before, or all of them.

    Survives a power cut once it returns. UpstreamError when it can't be written; then nothing has changed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        temporary = path.parent / f".{path.name[:200]}.{os.urandom(8).hex()}"
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), 0o600 if private else 0o666 & ~_umask())
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UpstreamError(f"{path} can't be written: {_reason(error)}") from error


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
