"""Files are written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from quarantine.adapters.local_store import LocalStore, write_file
from quarantine.errors import UpstreamError


def test_what_is_stored_is_the_owners_alone(tmp_path: Path) -> None:
    """Evidence may hold what not everybody on the machine should read."""
    digest = LocalStore(tmp_path / "store").put("evidence", b"x")
    path = tmp_path / "store/evidence/sha256" / digest.hex

    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A file that is there is replaced, with the permissions that new files get, and nothing is left beside it."""
    path = tmp_path / "pylock.toml"
    path.write_bytes(b"old")
    mask = os.umask(0o027)
    try:
        write_file(path, b"new")
    finally:
        os.umask(mask)

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_can_not_be_written_changes_nothing(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    (tmp_path / "in-the-way").write_text("")
    path = tmp_path / "in-the-way" / "pylock.toml"

    with pytest.raises(UpstreamError) as caught:
        write_file(path, b"new")

    assert str(caught.value) == f"{path} can't be written: file exists"
    assert list(tmp_path.iterdir()) == [tmp_path / "in-the-way"]
