"""An artifact store in memory."""

from hashlib import sha256

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest

__all__ = ["MemoryStore"]


class MemoryStore:
    """An `ArtifactStore` that forgets; `stored` is there for a test to look at or to change."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, Digest], bytes] = {}

    def put(self, container: str, data: bytes) -> Digest:
        digest = Digest.sha256(sha256(data).hexdigest())
        self.stored.setdefault((container, digest), data)
        return digest

    def get(self, container: str, digest: Digest) -> bytes:
        data = self.stored.get((container, digest))
        if data is None:
            raise UpstreamError(f"{container}/{digest} can't be read: no such file or directory")
        if sha256(data).hexdigest() != digest.hex:
            raise IntegrityError(
                f"{container}/{digest} holds other bytes than its name says: stop and look who changed it"
            )
        return data
