"""A cache file of packed values gives what it holds now, or says that it can't."""

from pathlib import Path

import msgspec
import pytest

from quarantine.errors import UpstreamError
from quarantine.io.packed import PackedFile, write_packed

HEAD = msgspec.msgpack.encode(["head", 1])
VALUES = {"1.0": b"one", "2.0": b"", "3.0": b"three" * 10_000}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_packed(tmp_path / "page", HEAD, VALUES)
    return tmp_path / "page"


def opened(path: Path) -> PackedFile:
    packed = PackedFile.open(path)
    assert packed is not None
    return packed


def test_what_was_written_is_there(path: Path) -> None:
    """The head and every value, by name and in order; nothing else."""
    packed = opened(path)

    assert (packed.head, list(packed.items()), len(packed)) == (HEAD, list(VALUES.items()), 3)
    assert (packed.get("4.0"), "4.0" in packed, "2.0" in packed) == (None, False, True)


def test_large_index_is_read_whole(tmp_path: Path) -> None:
    """An index that is longer than the first piece that is read."""
    values = {f"{number}.0": str(number).encode() for number in range(20_000)}
    write_packed(tmp_path / "page", HEAD, values)

    assert dict(opened(tmp_path / "page")) == values


def test_file_that_was_replaced_gives_its_new_values(path: Path) -> None:
    """Another process may have read the page again; what it no longer has is not there."""
    packed = opened(path)
    write_packed(path, HEAD, {"0.5": b"new", "2.0": b"other"})

    assert (packed["2.0"], packed.get("1.0"), list(packed)) == (b"other", None, ["0.5", "2.0"])


@pytest.mark.parametrize("damage", [b"", b"qpk1", b"garbage" * 100, b"qpk1\x00\x00\x00\x02\xff\xff"])
def test_damaged_file_is_no_file(path: Path, damage: bytes) -> None:
    """It is opened as one that isn't there."""
    path.write_bytes(damage)

    assert PackedFile.open(path) is None


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_file_that_is_damaged_while_it_is_used_is_an_error(path: Path, change: object) -> None:
    """A value that was there can't turn into none."""
    packed = opened(path)
    assert callable(change)
    change(path)

    with pytest.raises(UpstreamError) as caught:
        packed["1.0"]
    assert str(caught.value) == f"{path} can't be read any more: clear the cache and check again"
