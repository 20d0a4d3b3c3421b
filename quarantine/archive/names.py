"""The names of the members of an archive: plain paths below one folder, each of them one file on every system.

What unpacks an archive writes where the names say. Systems disagree about what a name is (letters of either case,
composed characters, separators), so that a name which could be read in two ways is refused.
"""

import re
import unicodedata
from pathlib import PurePosixPath

from quarantine.errors import IntegrityError

__all__ = ["Names", "check_name", "shown", "within"]

# what Linux takes; and more folders than any package has in each other
MAX_NAME = 4096
MAX_DEPTH = 256
_DRIVE = re.compile(r"[A-Za-z]:")


def shown(name: str) -> str:
    """A name for a message: quoted, ASCII, at most 100 characters of it."""
    return f"{name[:100]!a}"


def check_name(filename: str, name: str) -> None:
    """Raises IntegrityError unless the name is a relative path of plain segments. One `/` may end that of a folder."""
    if len(name) > MAX_NAME or name.count("/") > MAX_DEPTH:
        raise IntegrityError(f"{filename}: its member {shown(name)} has a path of {len(name)} characters")
    wrong = _flaw(name)
    if wrong:
        raise IntegrityError(f"{filename}: its member {shown(name)} {wrong}")


def _flaw(name: str) -> str:
    if not name.isprintable() and any(unicodedata.category(letter) in {"Cc", "Cf", "Cs"} for letter in name):
        return "has control characters in its name"
    if "\\" in name:
        return "has a backslash in its name, which separates folders on one system only"
    if name.startswith("/"):
        return "has an absolute path"
    if _DRIVE.match(name):
        return "begins with the letter of a drive"
    segments = name.removesuffix("/").split("/")
    if ".." in segments:
        return "leads out of its folder"
    if "" in segments or "." in segments:
        return "has an empty part in its path"
    return ""


class Names:
    """The names that were seen in an archive, as every system would know them."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._above: set[str] = set()

    def add(self, name: str, *, folder: bool) -> None:
        """Takes a member's name. IntegrityError when another one has it already."""
        known = _folded(name.removesuffix("/"))
        taken = self._folders if folder else self._files
        if known in taken:
            said = f"{shown(taken[known])} and {shown(name)} have the same name"
            raise IntegrityError(f"{self._filename}: its members {said}")
        taken[known] = name
        above = known.rpartition("/")[0]
        while above and above not in self._above:
            self._above.add(above)
            above = above.rpartition("/")[0]

    def check(self) -> None:
        """Raises IntegrityError when a name stands for a file and for a folder."""
        for known in sorted(self._files.keys() & (self._folders.keys() | self._above)):
            raise IntegrityError(f"{self._filename}: its member {shown(self._files[known])} is a file and a folder")


def _folded(name: str) -> str:
    """The form that two names share where some system takes them for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def within(name: str, target: str) -> bool:
    """Whether a link of that name leads to a place inside the archive."""
    if not target or target.startswith("/") or "\\" in target or _DRIVE.match(target):
        return False
    depth = len(PurePosixPath(name).parts) - 1
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return False
    return True
