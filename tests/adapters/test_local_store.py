"""Files are written whole or not at all, and where no link leads out of the store."""

import os
import stat
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from fakes_log import draft

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore, write_file
from quarantine.errors import IntegrityError, QuarantineError, UpstreamError
from quarantine.io.folders import locked
from quarantine.model import Digest

WHEEL = Digest.sha256(sha256(b"wheel").hexdigest())
NAME = "simple/numpy/index.json"


def test_what_is_stored_is_the_owners_alone(tmp_path: Path) -> None:
    """Evidence may hold what not everybody on the machine should read."""
    digest = LocalStore(tmp_path / "store").put("evidence", b"x")
    path = tmp_path / "store/evidence/sha256" / digest.hex

    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]


def test_what_is_stored_in_a_shared_folder_is_the_groups(tmp_path: Path) -> None:
    """An owner who lets their group into the store lets them into all that is written there; others stay out."""
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2770)
    digest = LocalStore(root).put("evidence", b"x")
    LocalLog(root / "log").append("log-checks/x", [draft()])
    made = [
        root / "evidence/sha256" / digest.hex, root / "evidence", root / "evidence/sha256",
        root / "log/log-checks/x/00000000.jsonl", root / "log/log-checks", root / "log/log-checks/x",
    ]  # fmt: skip

    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o660, 0o2770, 0o2770, 0o660, 0o2770, 0o2770]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_is_the_owners(tmp_path: Path) -> None:
    """Who decides with sudo leaves nothing that the owner of the store can't read."""
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    os.chown(root, 1234, 1234)
    digest = LocalStore(root).put("evidence", b"x")
    LocalLog(root / "log").append("log-decisions/x", [draft()])

    found = {(path.stat().st_uid, path.stat().st_gid) for path in (root, *root.rglob("*"))}
    assert (root / "evidence/sha256" / digest.hex).is_file()
    assert found == {(1234, 1234)}


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


def test_pages_are_the_owners_alone(tmp_path: Path) -> None:
    """Folders 0700, files 0600, whatever the umask allows."""
    mask = os.umask(0)
    try:
        LocalStore(tmp_path / "store").swap(NAME, b"{}", "application/json", None)
    finally:
        os.umask(mask)

    modes = {
        str(path.relative_to(tmp_path)): stat.filemode(path.stat().st_mode) for path in sorted(tmp_path.rglob("*"))
    }
    assert modes == {
        "store": "drwx------",
        "store/pages": "drwx------",
        "store/pages/simple": "drwx------",
        "store/pages/simple/numpy": "drwx------",
        f"store/pages/{NAME}": "-rw-------",
    }


def test_nothing_is_left_beside_what_is_stored(tmp_path: Path) -> None:
    """Neither after a success, nor after a second one, nor after a failure."""
    store = LocalStore(tmp_path)
    store.put("files", b"wheel")
    store.put("files", b"wheel")
    with pytest.raises(IntegrityError):
        store.put_file("files", Digest.sha256("0" * 64), 5, BytesIO(b"wheel"))
    tag = store.swap(NAME, b"1", "text/html", None)
    store.swap(NAME, b"2", "text/html", tag)

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        f"files/sha256/{WHEEL.hex}",
        f"pages/{NAME}",
    ]


def test_what_a_killed_writer_left_is_not_there(tmp_path: Path) -> None:
    """A file that was being written is no page, and no bytes of any digest."""
    store = LocalStore(tmp_path)
    store.put("files", b"wheel")
    store.swap(NAME, b"1", "text/html", None)
    (tmp_path / "files/sha256/.half").write_bytes(b"whe")
    (tmp_path / "pages/simple/.index.json.half").write_bytes(b"{")

    assert list(store.digests("files")) == [WHEEL]
    assert list(store.names("")) == [NAME]


@pytest.mark.parametrize("link", ["files", "files/sha256", f"files/sha256/{WHEEL.hex}"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.put("files", b"wheel"),
        lambda store: store.get("files", WHEEL),
        lambda store: store.size("files", WHEEL),
    ],
)
def test_no_link_is_followed_to_bytes(tmp_path: Path, link: str, ask: Callable[[LocalStore], object]) -> None:
    """Neither a container, nor its folder, nor a file in it may lie elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    LocalStore(elsewhere).put("files", b"wheel")
    place = tmp_path / "store" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere / link)

    with pytest.raises(IntegrityError, match=r"symbolic link|is not a regular file"):
        ask(LocalStore(tmp_path / "store"))


@pytest.mark.parametrize("link", ["pages", "pages/simple", f"pages/{NAME}"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.page(NAME),
        lambda store: store.swap(NAME, b"2", "text/html", sha256(b"1").hexdigest()),
        lambda store: list(store.names("simple/")),
    ],
)
def test_no_link_is_followed_to_a_page(tmp_path: Path, link: str, ask: Callable[[LocalStore], object]) -> None:
    """Neither the folder of the pages, nor one in it, nor a page may lie elsewhere; what is there stays as it is."""
    elsewhere = tmp_path / "elsewhere"
    LocalStore(elsewhere).swap(NAME, b"1", "text/html", None)
    place = tmp_path / "store" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere / link)

    with pytest.raises(IntegrityError, match=r"symbolic link|is not a regular file"):
        ask(LocalStore(tmp_path / "store"))
    assert (elsewhere / "pages" / NAME).read_bytes() == b"1"


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    """Where it lies is its owner's to say."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = LocalStore(tmp_path / "store")

    assert store.get("files", store.put("files", b"wheel")) == b"wheel"
    assert (tmp_path / "disk/files/sha256" / WHEEL.hex).read_bytes() == b"wheel"


def test_a_page_that_somebody_is_writing_is_waited_for(tmp_path: Path) -> None:
    """As long as a lock is waited for, and no longer; then nothing has changed."""
    store = LocalStore(tmp_path, lock_seconds=0.05)
    store.swap("state.json", b"1", "application/json", None)
    folder = os.open(tmp_path / "pages", os.O_RDONLY)
    try:
        with locked(folder, shared=False, seconds=1), pytest.raises(UpstreamError) as caught:
            store.swap("state.json", b"2", "application/json", sha256(b"1").hexdigest())
    finally:
        os.close(folder)

    assert str(caught.value) == (
        f"the page {tmp_path}/pages/state.json can't be written: another process has held its lock for 0.05 s "
        "(`fuser -v` on the folder names it)"
    )
    assert (tmp_path / "pages/state.json").read_bytes() == b"1"


def test_a_page_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """A file system has one thing of a name; a page that isn't there is none all the same."""
    store = LocalStore(tmp_path)
    store.swap("simple", b"1", "text/html", None)

    assert store.page("simple/numpy") is None
    assert list(store.names("simple/")) == []
    with pytest.raises(QuarantineError, match="can't be written: not a directory"):
        store.swap("simple/numpy", b"2", "text/html", None)


def test_a_store_that_can_not_be_made_stores_nothing(tmp_path: Path) -> None:
    """The reason is the operating system's."""
    store = LocalStore(tmp_path / "file")
    (tmp_path / "file").write_text("in the way")

    for ask in (lambda: store.put("files", b"x"), lambda: store.swap("x", b"x", "text/html", None)):
        with pytest.raises(UpstreamError, match="can't be written: "):
            ask()
