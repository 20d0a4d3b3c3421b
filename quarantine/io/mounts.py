"""Whether a folder lies on a file system that other machines share."""

import errno
import re
from pathlib import Path

__all__ = ["network_filesystem"]

_NETWORK = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fhgfs",
        "fuse",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "panfs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
    }
)
# whatever else is mounted through FUSE may be anything, blob storage and sshfs among it
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuseblk"})
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_filesystem(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the network or user-space file system that a folder lies on, None for a local one.

    `mounts` is the kernel's table (proc_pid_mountinfo(5)); where there is none, as on macOS, nothing is known and the
    answer is None. OSError when the folder's path can't be followed.
    """
    try:
        table = mounts.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    try:
        path = folder.resolve()
    except RuntimeError as error:  # before Python 3.13, for a loop of links
        raise OSError(errno.ELOOP, "a loop of symbolic links", str(folder)) from error
    best, kind = -1, ""
    for line in table.splitlines():
        fields, separator, rest = line.partition(" - ")
        columns = fields.split(" ")
        if not separator or len(columns) < 5:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), columns[4]))
        # of several mounts at one point the last one is on top
        if (path == point or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.partition(" ")[0]
    shared = kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)
    return kind if shared else None
