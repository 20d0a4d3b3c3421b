"""Artifacts and evidence as local files, named by their sha256."""

import os
from hashlib import sha256
from pathlib import Path

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest

__all__ = ["LocalStore", "write_file"]


class LocalStore:
    """Implements `ports.ArtifactStore` in a folder: `<container>/sha256/<hex>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, container: str, data: bytes) -> Digest:
        """Stores the bytes, durably, unless they are there already. UpstreamError when they can't be."""
        digest = Digest.sha256(sha256(data).hexdigest())
        path = self._path(container, digest)
        if not path.exists():
            write_file(path, data, private=True)
        return digest

    def get(self, container: str, digest: Digest) -> bytes:
        """The bytes of that digest, checked against it. UpstreamError when they aren't there, IntegrityError."""
        path = self._path(container, digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UpstreamError(f"{container}/{digest} can't be read: {_reason(error)}") from error
        if sha256(data).hexdigest() != digest.hex:
            raise IntegrityError(f"{path} holds other bytes than its name says: stop and look who changed it")
        return data

    def _path(self, container: str, digest: Digest) -> Path:
        return self._root / container / digest.algorithm / digest.hex


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
