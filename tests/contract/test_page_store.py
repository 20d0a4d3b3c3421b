"""What every page store does."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes_store import MemoryStore

from quarantine.adapters.blob_store import BlobStore
from quarantine.adapters.local_store import LocalStore
from quarantine.errors import ConflictError, UpstreamError
from quarantine.ports import Page, PageStore

if TYPE_CHECKING:
    from azurite import Azurite

NAME = "simple/numpy/index.json"
JSON = "application/json"


@pytest.fixture(params=["local", "memory", "blobs"])
def pages(request: pytest.FixtureRequest, tmp_path: Path) -> PageStore:
    if request.param == "local":
        return LocalStore(tmp_path, lock_seconds=0.2)
    if request.param == "memory":
        return MemoryStore()
    running: Azurite = request.getfixturevalue("azurite")
    return BlobStore(running.storage(), lease_wait_seconds=0.2)


def test_a_page_is_made_read_and_replaced(pages: PageStore) -> None:
    """Each write answers with the tag that the next reader sees, and the next writer names."""
    assert pages.page(NAME) is None
    first = pages.swap(NAME, b"{}", JSON, None)
    assert pages.page(NAME) == Page(data=b"{}", tag=first)
    second = pages.swap(NAME, b'{"a": 1}', JSON, first)

    assert pages.page(NAME) == Page(data=b'{"a": 1}', tag=second)
    assert first != second


def test_an_empty_page_is_a_page(pages: PageStore) -> None:
    """No bytes are something else than no page."""
    tag = pages.swap(NAME, b"", JSON, None)

    assert pages.page(NAME) == Page(data=b"", tag=tag)


@pytest.mark.parametrize("expected", [None, "first", '"0x0"'])
def test_who_saw_another_page_changes_nothing(pages: PageStore, expected: str | None) -> None:
    """A writer that expects none, an older one, or one that never was, loses."""
    first = pages.swap(NAME, b"1", JSON, None)
    second = pages.swap(NAME, b"2", JSON, first)

    with pytest.raises(ConflictError, match=f"^the page {NAME} .*: read it again, and try again$"):
        pages.swap(NAME, b"3", JSON, first if expected == "first" else expected)
    assert pages.page(NAME) == Page(data=b"2", tag=second)


def test_a_page_that_is_not_there_can_not_be_replaced(pages: PageStore) -> None:
    """Who expects a page where there is none loses, and makes none."""
    with pytest.raises(ConflictError):
        pages.swap("other.json", b"x", JSON, pages.swap(NAME, b"1", JSON, None))
    assert pages.page("other.json") is None


def test_no_update_is_lost(pages: PageStore) -> None:
    """Eight writers add to one page until all of what they have is in it."""
    pages.swap(NAME, b"", JSON, None)

    def add(writer: int) -> None:
        for number in range(4):
            while True:
                page = pages.page(NAME)
                assert page is not None
                try:
                    pages.swap(NAME, page.data + bytes([writer * 4 + number]), JSON, page.tag)
                except ConflictError:
                    continue
                break

    threads = [threading.Thread(target=add, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    page = pages.page(NAME)
    assert page is not None
    assert sorted(page.data) == list(range(32))


def test_of_many_who_make_a_page_one_does(pages: PageStore) -> None:
    """Eight at once, all with the same bytes: one is told that it made it."""
    made: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        with suppress(ConflictError):
            made.append(pages.swap(NAME, b"mine", JSON, None))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    page = pages.page(NAME)
    assert page is not None
    assert made == [page.tag]


def test_pages_are_listed_by_how_their_names_begin(pages: PageStore) -> None:
    """A prefix is of characters, not of segments."""
    for name in (NAME, "simple/numba/index.json", "simple/index.json", "state.json"):
        pages.swap(name, b"x", JSON, None)

    assert sorted(pages.names("")) == sorted([NAME, "simple/numba/index.json", "simple/index.json", "state.json"])
    assert sorted(pages.names("simple/num")) == ["simple/numba/index.json", NAME]
    assert sorted(pages.names("simple/numpy/")) == [NAME]
    assert list(pages.names("conda/")) == list(pages.names("../")) == []


def test_without_pages_there_are_no_names(pages: PageStore) -> None:
    """Nothing written, nothing listed."""
    assert list(pages.names("")) == []


@pytest.mark.parametrize(
    "name", ["", "/x", "x/", "x//y", "../x", "x/../y", ".x", "x/.y", "a b", "a\\b", "x\n", "ä", "x/" * 460 + "x", "-x"]
)
def test_other_names_are_no_pages(pages: PageStore, name: str) -> None:
    """A name that could lead elsewhere is refused, for reading and for writing."""
    with pytest.raises(UpstreamError, match="is not the name of a page"):
        pages.page(name)
    with pytest.raises(UpstreamError, match="is not the name of a page"):
        pages.swap(name, b"x", JSON, None)


def test_one_has_a_lease_at_a_time(pages: PageStore) -> None:
    """Whoever comes second is told to wait; once it is given back, also by a failure, the next one has it."""
    with pages.lease("publisher"):
        with (
            pytest.raises(ConflictError, match=r"^somebody else has publisher: wait until they are done"),
            pages.lease("publisher"),
        ):
            raise AssertionError
        with pages.lease("another"):
            pass
    with pytest.raises(KeyError), pages.lease("publisher"):
        raise KeyError
    with pages.lease("publisher"):
        pass
    assert list(pages.names("")) == []


def test_curators_pages_lie_apart(pages: PageStore) -> None:
    """They are read by their name, and listed by a prefix that begins with theirs alone."""
    tag = pages.swap("decisions/state.json", b"1", JSON, None)
    pages.swap("state.json", b"2", JSON, None)

    assert pages.page("decisions/state.json") == Page(data=b"1", tag=tag)
    assert list(pages.names("")) == ["state.json"]
    assert list(pages.names("decisions/")) == ["decisions/state.json"]
