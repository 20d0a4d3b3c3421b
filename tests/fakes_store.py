"""An artifact store and a page store in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO, Literal

from quarantine.errors import ConflictError, UpstreamError
from quarantine.io.stored import checked, digest_hex, measured, page_folder, page_parts, parse_container
from quarantine.model import Digest
from quarantine.ports import Page

__all__ = ["MemoryStore"]


class MemoryStore:
    """An `ArtifactStore` and a `PageStore` that forget; what they hold is there for a test to look at or to change."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, Digest], bytes] = {}
        self.pages: dict[str, bytes] = {}
        self.content_types: dict[str, str] = {}
        self._lock = threading.Lock()
        self._leases: dict[str, threading.Lock] = {}

    def put(self, container: str, data: bytes) -> Digest:
        digest = Digest.sha256(sha256(data).hexdigest())
        self.put_file(container, digest, len(data), BytesIO(data))
        return digest

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        parse_container(container)
        digest_hex(digest)
        if (container, digest) in self.stored:
            return self._added_by_others(container, digest)
        try:
            data = b"".join(measured(file, digest, size, f"what was to be stored as {container}/{digest}"))
        except OSError as error:
            raise UpstreamError(f"{container}/{digest} can't be written: {error}") from error
        with self._lock:
            if (container, digest) in self.stored:
                return self._added_by_others(container, digest)
            self.stored[container, digest] = data
        return True

    def _added_by_others(self, container: str, digest: Digest) -> Literal[False]:
        for _ in self.read(container, digest):
            pass
        return False

    def get(self, container: str, digest: Digest) -> bytes:
        return b"".join(self.read(container, digest))

    def read(self, container: str, digest: Digest) -> Iterator[bytes]:
        digest_hex(digest)
        data = self.stored.get((parse_container(container), digest))
        if data is None:
            raise UpstreamError(f"{container}/{digest} can't be read: no such file or directory")
        yield from checked((data[start : start + 4096] for start in range(0, len(data), 4096)), digest, str(digest))

    def size(self, container: str, digest: Digest) -> int | None:
        digest_hex(digest)
        data = self.stored.get((parse_container(container), digest))
        return None if data is None else len(data)

    def remove(self, container: str, digest: Digest) -> bool:
        digest_hex(digest)
        return self.stored.pop((parse_container(container), digest), None) is not None

    def digests(self, container: str) -> Iterator[Digest]:
        parse_container(container)
        yield from [digest for other, digest in self.stored if other == container]

    def page(self, name: str) -> Page | None:
        page_parts(name)
        data = self.pages.get(name)
        return None if data is None else Page(data=data, tag=sha256(data).hexdigest())

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        with self._lock:
            there = self.page(name)
            if (None if there is None else there.tag) != expected:
                raise ConflictError(
                    f"the page {name} was written by somebody else meanwhile: read it again, and try again"
                )
            self.pages[name] = data
            self.content_types[name] = content_type
        return sha256(data).hexdigest()

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        page_parts(name)
        lock = self._leases.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=0.2):
            raise ConflictError(f"somebody else has {name}: wait until they are done")
        try:
            yield
        finally:
            lock.release()

    def names(self, prefix: str) -> Iterator[str]:
        folder = page_folder(prefix)
        yield from [name for name in self.pages if name.startswith(prefix) and page_folder(name) == folder]
