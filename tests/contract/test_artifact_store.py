"""What every artifact store does."""

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes_store import MemoryStore

from quarantine.adapters.blob_store import BlobStore
from quarantine.adapters.local_store import LocalStore
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest
from quarantine.ports import ArtifactStore

if TYPE_CHECKING:
    from azurite import Azurite

NOTHING = Digest.sha256("0" * 64)
Tamper = Callable[[Digest, bytes], object]
Place = Callable[[Digest], str]
Made = tuple[ArtifactStore, Tamper, Place]


@pytest.fixture(params=["local", "memory", "blobs", "blobs, in blocks"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Each implementation, a way to change behind its back what its container `evidence` holds, and where that lies."""
    if request.param == "local":
        folder = tmp_path / "evidence/sha256"
        return LocalStore(tmp_path), lambda d, data: (folder / d.hex).write_bytes(data), lambda d: str(folder / d.hex)
    if request.param == "memory":
        memory = MemoryStore()
        return memory, lambda digest, data: memory.stored.update({("evidence", digest): data}), str
    running: Azurite = request.getfixturevalue("azurite")
    account = running.storage()
    blobs = BlobStore(account, max_single_put_bytes=0) if "," in request.param else BlobStore(account)
    container = account.plain("evidence")
    return (
        blobs,
        lambda digest, data: container.upload_blob(f"sha256/{digest.hex}", data, overwrite=True),
        lambda digest: f"{account.url}/{container.container_name}/sha256/{digest.hex}",
    )


@pytest.fixture
def store(made: Made) -> ArtifactStore:
    return made[0]


def digest_of(data: bytes) -> Digest:
    return Digest.sha256(sha256(data).hexdigest())


def test_bytes_come_back_by_their_digest(store: ArtifactStore) -> None:
    """The name is the sha256; putting the same bytes again changes nothing; containers are apart."""
    digest = store.put("evidence", b"verdict")

    assert digest == store.put("evidence", b"verdict") == digest_of(b"verdict")
    assert store.get("evidence", digest) == b"verdict"
    with pytest.raises(UpstreamError):
        store.get("files", digest)


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 20_000_000])
def test_a_file_is_streamed_in_and_out(store: ArtifactStore, size: int) -> None:
    """Of any length, from where it stands and no further, as long as its digest says what it is."""
    data = os.urandom(1000) * (size // 1000) + b"x" * (size % 1000)
    file = BytesIO(b"before" + data + b"behind")
    file.seek(6)

    assert store.put_file("files", digest_of(data), size, file) is True
    assert file.read() == b"behind"
    assert b"".join(store.read("files", digest_of(data))) == data
    assert store.size("files", digest_of(data)) == size


def test_a_file_is_stored_once(store: ArtifactStore) -> None:
    """The second time nothing is written, and the answer says so."""
    digest = digest_of(b"wheel")

    assert [store.put_file("files", digest, 5, BytesIO(b"wheel")) for _ in range(2)] == [True, False]
    assert store.get("files", digest) == b"wheel"


def test_of_many_writers_one_stores_it(store: ArtifactStore) -> None:
    """Eight at once: one of them is told that it did."""
    data = os.urandom(100_000)
    answers: list[bool] = []
    start = threading.Barrier(8)

    def write() -> None:
        start.wait()
        answers.append(store.put_file("files", digest_of(data), len(data), BytesIO(data)))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [False] * 7 + [True]
    assert store.get("files", digest_of(data)) == data


@pytest.mark.parametrize(
    ("data", "size", "problem"),
    [
        (b"wheel", 6, "has 5 bytes: expected 6; nothing was stored"),
        (
            b"whee1",
            5,
            f"has sha256 {sha256(b'whee1').hexdigest()}: expected {sha256(b'wheel').hexdigest()}; nothing was stored",
        ),
        (
            b"wheels",
            4,
            f"has sha256 {sha256(b'whee').hexdigest()}: expected {sha256(b'wheel').hexdigest()}; nothing was stored",
        ),
    ],
)
def test_other_bytes_are_not_stored(store: ArtifactStore, data: bytes, size: int, problem: str) -> None:
    """What isn't of the length and the digest it is said to be leaves nothing behind."""
    digest = digest_of(b"wheel")

    with pytest.raises(IntegrityError) as caught:
        store.put_file("files", digest, size, BytesIO(data))

    assert str(caught.value) == f"what was to be stored as files/{digest} {problem}"
    assert store.size("files", digest) is None
    assert list(store.digests("files")) == []


def test_a_file_that_can_not_be_read_is_not_stored(store: ArtifactStore) -> None:
    """An error of the file is one of the store's, and leaves nothing behind."""

    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(UpstreamError, match=r"[Ii]nput/output error"):
        store.put_file("files", digest_of(b"wheel"), 5, Broken())
    assert list(store.digests("files")) == []


def test_what_is_not_there_is_said_to_be_missing(store: ArtifactStore) -> None:
    """No bytes is an error, never empty bytes; no size is none."""
    with pytest.raises(UpstreamError, match="can't be read"):
        store.get("evidence", NOTHING)
    with pytest.raises(UpstreamError, match="can't be read"):
        next(store.read("evidence", NOTHING))
    assert store.size("evidence", NOTHING) is None
    store.put("evidence", b"something")
    with pytest.raises(UpstreamError, match="can't be read"):
        store.get("evidence", NOTHING)
    assert store.size("evidence", NOTHING) is None


def test_changed_bytes_are_never_given_out(made: Made) -> None:
    """Bytes that no longer have their digest stop whoever asks for them, at the end of a stream at the latest."""
    store, tamper, _ = made
    digest = store.put("evidence", b"verdict")
    tamper(digest, b"another verdict")

    with pytest.raises(IntegrityError, match="holds other bytes than its name says"):
        store.get("evidence", digest)
    with pytest.raises(IntegrityError, match="holds other bytes than its name says"):
        list(store.read("evidence", digest))


@pytest.mark.parametrize("squatting", [b"", b"dossie", b"dOssier", b"dossiers", b"x" * 3_000_000])
def test_a_name_that_other_bytes_have_taken_is_not_passed_over(made: Made, squatting: bytes) -> None:
    """Whoever was there first with other bytes is told to who puts the right ones, and stays to be looked at."""
    store, tamper, place = made
    store.put("evidence", b"so that there is a container")
    digest = digest_of(b"dossier")
    tamper(digest, squatting)
    message = f"{place(digest)} holds other bytes than its name says: stop and look who changed it"

    for put in (
        lambda: store.put("evidence", b"dossier"),
        lambda: store.put_file("evidence", digest, 7, BytesIO(b"dossier")),
        lambda: store.get("evidence", digest),
    ):
        with pytest.raises(IntegrityError) as caught:
            put()
        assert str(caught.value) == message
    assert store.size("evidence", digest) == len(squatting)


@pytest.mark.parametrize("first", [b"dossier", b"dOssier"])
def test_who_comes_first_meanwhile_is_held_to_the_digest(made: Made, first: bytes) -> None:
    """The same where the name is taken while the bytes are read: False for the same ones, an error for others."""
    store, tamper, place = made
    store.put("evidence", b"so that there is a container")
    digest = digest_of(b"dossier")

    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            tamper(digest, first)
            return super().read(size)

    if first == b"dossier":
        assert store.put_file("evidence", digest, 7, Slow(b"dossier")) is False
    else:
        with pytest.raises(IntegrityError) as caught:
            store.put_file("evidence", digest, 7, Slow(b"dossier"))
        assert str(caught.value) == (
            f"{place(digest)} holds other bytes than its name says: stop and look who changed it"
        )
    assert store.size("evidence", digest) == len(first)


def test_bytes_can_be_taken_away(store: ArtifactStore) -> None:
    """Once; then they are gone, and can be put there again."""
    digest = store.put("files", b"wheel")

    assert [store.remove("files", digest), store.remove("files", digest)] == [True, False]
    assert store.size("files", digest) is None
    assert store.put_file("files", digest, 5, BytesIO(b"wheel")) is True


def test_a_container_lists_its_digests(store: ArtifactStore) -> None:
    """All of them, and those of no other container."""
    files = {store.put("files", bytes([number])) for number in range(5)}
    store.put("held", b"held")

    assert set(store.digests("files")) == files
    assert list(store.digests("evidence")) == []


@pytest.mark.parametrize("container", ["", "..", "a", "files/x", "Files", "fi--les", "-files", "files-", "x" * 64])
def test_other_names_are_no_containers(store: ArtifactStore, container: str) -> None:
    """A name that could lead elsewhere is refused, whatever is asked."""
    digest = digest_of(b"x")
    for ask in (
        lambda: store.put(container, b"x"),
        lambda: store.get(container, digest),
        lambda: store.size(container, digest),
        lambda: store.remove(container, digest),
        lambda: list(store.digests(container)),
    ):
        with pytest.raises(UpstreamError, match="is not a container of the store"):
            ask()


@pytest.mark.parametrize("digest", [Digest("sha256", "../../x"), Digest("md5", "0" * 32), Digest("sha256", "A" * 64)])
def test_other_digests_name_nothing(store: ArtifactStore, digest: Digest) -> None:
    """Only a sha256 in its one spelling does."""
    for ask in (
        lambda: store.put_file("files", digest, 0, BytesIO()),
        lambda: store.get("files", digest),
        lambda: store.size("files", digest),
        lambda: store.remove("files", digest),
    ):
        with pytest.raises(UpstreamError, match="names nothing in the store"):
            ask()
