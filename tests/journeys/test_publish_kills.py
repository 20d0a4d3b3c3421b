"""Publishing and unlisting that are killed at every step: never a dangling link, and the next run ends as if nothing had been."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import pytest
from fakes_log import MemoryLog
from fakes_store import MemoryStore
from mirror_samples import NOW, Bytes, Mirror, package, wheel

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.record import Draft
from quarantine.mirror.channel import decompress
from quarantine.model import Digest, Receipt

if TYPE_CHECKING:
    from quarantine.ports import PageStore

LATER = NOW + timedelta(hours=1)
INDEX = '{"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}'
FIRST = wheel("acme-base", "0.9")
FILES = (
    wheel("acme", "1.0"),
    wheel("acme", "2.0", yanked="broken"),
    wheel("other"),
    package(b"a conda package", "tool-1-0.conda", INDEX, subdir="linux-64"),
)


class KilledError(BaseException):
    """The process is gone: nothing catches it."""


class Watched:
    """The ports of a publisher that count writes, look at what a reader sees after each, and die before or after one."""

    def __init__(self, mirror: Mirror, *, at: int | None = None, after: bool = False, die: Callable[[], None]) -> None:
        self.writes = 0
        self._inner = mirror
        self._at = at
        self._after = after
        self._die = die

    def _write(self, write: Callable[[], object]) -> object:
        self.writes += 1
        if self.writes == self._at and not self._after:
            self._die()
        done = write()
        assert dangling(self._inner) == []
        if self.writes == self._at:
            self._die()
        return done

    # --- the log ---

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        done = self._write(lambda: self._inner.log.append(stream, drafts))
        assert isinstance(done, tuple)
        return done

    # --- the store ---

    def put(self, container: str, data: bytes) -> Digest:
        done = self._write(lambda: self._inner.store.put(container, data))
        assert isinstance(done, Digest)
        return done

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        return bool(self._write(lambda: self._inner.store.put_file(container, digest, size, file)))

    def remove(self, container: str, digest: Digest) -> bool:
        return bool(self._write(lambda: self._inner.store.remove(container, digest)))

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        return str(self._write(lambda: self._inner.pages.swap(name, data, content_type, expected)))

    def __getattr__(self, name: str) -> object:
        """Reading goes on as it is."""
        for port in (self._inner.store, self._inner.pages, self._inner.log):
            if hasattr(port, name):
                return getattr(port, name)
        raise AttributeError(name)


def dangling(mirror: Mirror) -> list[str]:
    """Every link on every page that leads nowhere."""
    pages = {name: page.data for name in mirror.pages.names("") if (page := mirror.pages.page(name)) is not None}
    wanted: dict[str, str] = {}
    for name, data in pages.items():
        if name in ("simple/index.json", "simple/index.html"):
            projects = re.findall(rb'"name":"([^"]+)"' if name.endswith("json") else rb'<a href="([^"]+)/"', data)
            wanted |= {f"page simple/{project.decode()}/index.html": name for project in projects}
        elif name.startswith("simple/"):
            wanted |= {f"file {digest.decode()}": name for digest in re.findall(rb"files/([0-9a-f]{64})/", data)}
            wanted |= {
                f"file {digest.decode()}": name
                for digest in re.findall(rb'metadata(?:":\{"sha256":"|="sha256=)([0-9a-f]{64})', data)
            }
        elif name.startswith("conda/"):
            text = decompress(data) if name.endswith(".zst") else data
            wanted |= {f"file {digest.decode()}": name for digest in re.findall(rb'"sha256":"([0-9a-f]{64})"', text)}
    there = {f"page {name}" for name in pages} | {f"file {digest.hex}" for digest in mirror.store.digests("files")}
    return sorted(f"{link} on {page}" for link, page in wanted.items() if link not in there)


def killed() -> None:
    raise KilledError


def watching(mirror: Mirror, watched: Watched) -> Mirror:
    """The mirror with its ports watched."""
    ports: dict[str, object] = dict.fromkeys(("log", "store", "pages"), watched)
    return Mirror(policy=mirror.policy, count=mirror.count, **ports)  # type: ignore[arg-type]  # it has all of their methods


@pytest.fixture(params=["memory", "local", "blobs"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Mirror]:
    """Makes mirrors, each with nothing in it."""
    return maker(request.param, tmp_path, request)


def maker(kind: str, folder: Path, request: pytest.FixtureRequest) -> Callable[[], Mirror]:
    number = iter(range(1000))

    def make() -> Mirror:
        if kind == "memory":
            store = MemoryStore()
            return Mirror(log=MemoryLog(), store=store, pages=store)
        if kind == "local":
            root = folder / str(next(number))
            return local(root)
        from quarantine.adapters.blob_log import BlobLog
        from quarantine.adapters.blob_store import BlobStore

        account = request.getfixturevalue("azurite").storage()
        blobs = BlobStore(account)
        return Mirror(log=BlobLog(account), store=blobs, pages=blobs)

    return make


def local(root: Path) -> Mirror:
    """A mirror in a folder."""
    store = LocalStore(root)
    return Mirror(log=LocalLog(root / "log"), store=store, pages=store)


def prepared(mirror: Mirror, files: Sequence[Bytes] = FILES) -> str:
    """One exception is published, another approved; the other one's id."""
    mirror.published(FIRST)
    return mirror.approve(*files)


def stored(mirror: Mirror) -> Mapping[str, bytes]:
    """What a reader sees, compressed pages as what they say."""
    return {name: decompress(data) if name.endswith(".zst") else data for name, data in mirror.contents().items()}


def steps(kind: str) -> list[int]:
    """At which writes a run is killed: all of them where that is quick, some where it isn't."""
    every = list(range(1, 40))
    return every if kind == "memory" else every[::4] if kind == "local" else every[::7]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_publishing_killed_anywhere_is_mended_by_publishing_again(
    make: Callable[[], Mirror], request: pytest.FixtureRequest, after: bool
) -> None:
    """Whatever was written last, no link dangles, and the next run leaves the very bytes of one that was not disturbed."""
    undisturbed = make()
    exception = prepared(undisturbed)
    undisturbed.publish(exception)
    expected = stored(undisturbed)
    kills = 0
    for at in steps(request.node.callspec.params["make"]):
        mirror = make()
        exception = prepared(mirror)
        watched = Watched(mirror, at=at, after=after, die=killed)
        try:
            watching(mirror, watched).publish(exception)
        except KilledError:
            kills += 1
        else:
            break
        # the step in the log is the one write whose time counts
        first = at == 1 and not after
        again = Watched(mirror, die=killed)
        watching(mirror, again).publish(exception, NOW if first else LATER)

        assert stored(mirror) == expected
        assert mirror.verify().problems == ()
        once_more = Watched(mirror, die=killed)
        assert watching(mirror, once_more).publish(exception, LATER) is False
        assert once_more.writes == 0
    assert kills >= 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_unlisting_killed_anywhere_is_mended_by_unlisting_again(
    make: Callable[[], Mirror], request: pytest.FixtureRequest, after: bool
) -> None:
    """Whatever was written last, no link dangles, and the next run leaves just what is left of a run not disturbed."""
    undisturbed = make()
    exception = prepared(undisturbed)
    undisturbed.publish(exception)
    undisturbed.unlist(exception)
    expected = stored(undisturbed)
    kills = 0
    for at in steps(request.node.callspec.params["make"]):
        mirror = make()
        exception = prepared(mirror)
        mirror.publish(exception)
        mirror.revoke(exception)
        try:
            watching(mirror, Watched(mirror, at=at, after=after, die=killed)).unlist(exception)
        except KilledError:
            kills += 1
        else:
            break
        watching(mirror, Watched(mirror, die=killed)).unlist(exception, LATER)

        assert stored(mirror) == expected
        once_more = Watched(mirror, die=killed)
        assert watching(mirror, once_more).unlist(exception, LATER) is False
        assert once_more.writes == 0
        assert all(mirror.store.size("held", file.file.digest) == len(file.data) for file in FILES)
    assert kills >= 3


@pytest.mark.parametrize("at", [1, 2, 5, 9, 14, 18])
def test_a_process_that_is_gone_in_the_middle_leaves_what_the_next_one_ends(tmp_path: Path, at: int) -> None:
    """Without any clean-up at all: the process ends in the middle of a write's step."""
    undisturbed = local(tmp_path / "undisturbed")
    undisturbed.publish(prepared(undisturbed))
    mirror = local(tmp_path / "killed")
    exception = prepared(mirror)
    ended = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "killed"), exception, str(at), str(mirror.count)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )

    assert ended.returncode == 70
    assert dangling(mirror) == []
    mirror.publish(exception, LATER)
    assert stored(mirror) == stored(undisturbed)


def test_two_publishers_at_once_end_with_the_files_of_both(make: Callable[[], Mirror]) -> None:
    """A page that another one replaced in between is read again, and added to."""
    mirror = make()
    one, other = mirror.approve(wheel("acme", "1.0")), mirror.approve(wheel("acme", "2.0"))
    inner, published = mirror.pages, list[str]()

    class Racing:
        """Another publisher comes before each of the first swaps."""

        def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
            if not published:
                published.append(name)
                mirror.publish(other)
            return inner.swap(name, data, content_type, expected)

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

    racing: PageStore = Racing()  # type: ignore[assignment]  # it has all of its methods
    Mirror(log=mirror.log, store=mirror.store, pages=racing, policy=mirror.policy, count=500).publish(one)

    page = mirror.pages.page("simple/acme/index.json")
    assert page is not None
    assert msgspec.json.decode(page.data)["versions"] == ["1.0", "2.0"]
    assert mirror.verify().problems == ()


def die_at(root: Path, exception: str, at: int, count: int) -> None:
    """Publishes in this process, which ends for good after so many writes."""
    mirror = local(root)
    mirror.count = count
    watching(mirror, Watched(mirror, at=at, after=True, die=lambda: os._exit(70))).publish(exception)


if __name__ == "__main__":
    die_at(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
