"""What every artifact store does."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from fakes_store import MemoryStore

from quarantine.adapters.local_store import LocalStore
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest
from quarantine.ports import ArtifactStore

Tamper = Callable[[Digest, bytes], object]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ArtifactStore, Tamper]:
    """Each implementation, and a way to change behind its back what it holds in the container `evidence`."""
    if request.param == "local":
        return LocalStore(tmp_path), lambda d, data: (tmp_path / "evidence/sha256" / d.hex).write_bytes(data)
    memory = MemoryStore()
    return memory, lambda digest, data: memory.stored.update({("evidence", digest): data})


def test_bytes_come_back_by_their_digest(store: tuple[ArtifactStore, Tamper]) -> None:
    """The name is the sha256; putting the same bytes again changes nothing; containers are apart."""
    digest = store[0].put("evidence", b"verdict")

    assert digest == store[0].put("evidence", b"verdict") == Digest.sha256(sha256(b"verdict").hexdigest())
    assert store[0].get("evidence", digest) == b"verdict"
    with pytest.raises(UpstreamError):
        store[0].get("files", digest)


def test_what_is_not_there_is_said_to_be_missing(store: tuple[ArtifactStore, Tamper]) -> None:
    """No bytes is an error, never empty bytes."""
    with pytest.raises(UpstreamError, match="no such file or directory"):
        store[0].get("evidence", Digest.sha256("0" * 64))


def test_changed_bytes_are_never_given_out(store: tuple[ArtifactStore, Tamper]) -> None:
    """Bytes that no longer have their digest stop whoever asks for them."""
    digest = store[0].put("evidence", b"verdict")
    store[1](digest, b"another verdict")

    with pytest.raises(IntegrityError, match="holds other bytes than its name says"):
        store[0].get("evidence", digest)
