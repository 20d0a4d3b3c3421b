"""Which file systems other machines share."""

from pathlib import Path

import pytest

from quarantine.io.mounts import network_filesystem


def _table(folder: Path, *rows: tuple[str, str]) -> Path:
    file = folder / "mountinfo"
    file.write_text(
        "".join(
            f"{n} 1 0:{n} / {point} rw,relatime shared:{n} - {kind} dev rw\n" for n, (point, kind) in enumerate(rows)
        )
    )
    return file


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.sshfs", "fuse.blobfuse2", "lustre", "ceph", "vboxsf"]
)
def test_shared_ones_are_named(tmp_path: Path, kind: str) -> None:
    """Network file systems, and whatever runs in user space, by their type."""
    assert network_filesystem(tmp_path / "log", _table(tmp_path, ("/", "ext4"), (str(tmp_path), kind))) == kind


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", "fuseblk"])
def test_local_ones_are_not(tmp_path: Path, kind: str) -> None:
    """A disk of this machine, or a container's layers on one."""
    assert network_filesystem(tmp_path, _table(tmp_path, ("/", "nfs"), (str(tmp_path), kind))) is None


def test_the_nearest_mount_decides(tmp_path: Path) -> None:
    """The longest mount point above the folder, on whole names, and the last of several at one point."""
    table = _table(
        tmp_path,
        (str(tmp_path / "a" / "b"), "nfs"),
        ("/", "ext4"),
        (str(tmp_path / "a"), "cifs"),
        (str(tmp_path / "c"), "nfs"),
        (str(tmp_path / "c"), "ext4"),
    )

    found = [network_filesystem(tmp_path / name, table) for name in ("a", "a/b/x", "ab", "c", "d")]
    assert found == ["cifs", "nfs", None, None, None]


def test_a_link_leads_to_where_the_folder_lies(tmp_path: Path) -> None:
    """A local name of a shared folder is a shared folder."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "local").symlink_to(tmp_path / "shared")
    table = _table(tmp_path, ("/", "ext4"), (str(tmp_path / "shared"), "nfs"))

    assert network_filesystem(tmp_path / "local" / "log", table) == "nfs"


def test_names_with_spaces_are_read(tmp_path: Path) -> None:
    """The kernel writes them in octal."""
    table = _table(tmp_path, ("/", "ext4"), (str(tmp_path / "a\\040b"), "nfs"))

    assert network_filesystem(tmp_path / "a b", table) == "nfs"


def test_other_lines_are_passed_over(tmp_path: Path) -> None:
    """A table in another form tells nothing."""
    table = tmp_path / "mountinfo"
    table.write_text("\nnonsense\n1 2 - nfs\n")

    assert network_filesystem(tmp_path, table) is None


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    """As on systems that have no such file."""
    assert network_filesystem(tmp_path, tmp_path / "missing") is None
