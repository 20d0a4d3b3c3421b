"""Places of an image where a file that is put there changes what later commands do: programs, libraries and settings."""

import re
from collections.abc import Collection
from functools import lru_cache
from itertools import islice

from quarantine.spec.dockerfile_files import join

__all__ = ["CONFIGURATION", "PROGRAMS", "is_sensitive", "lists_of_folders", "may_hold_sensitive", "searched_folders"]

MAX_LISTS = 50
PROGRAMS = frozenset(
    {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/conda/bin",
     "/opt/conda/condabin"}
)  # fmt: skip
_ROOTS = PROGRAMS | {
    "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt/conda/conda-meta", "/opt/conda/etc", "/opt/conda/lib", "/proc",
    "/sys", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/etc", "/usr/local/lib",
    "/usr/local/lib64",
}  # fmt: skip
_ETC_OF_NO_PROGRAM = frozenset({"/etc/hostname", "/etc/locale.gen", "/etc/localtime", "/etc/motd", "/etc/timezone"})
CONFIGURATION = frozenset(
    {"pip.conf", "pip.ini", ".condarc", "condarc", ".mambarc", "mambarc", "uv.toml", ".pydistutils.cfg"}
)
_NAMES = (
    frozenset(
        """
    .bash_login .bash_profile .bashrc .conda .condarc.d .config .gitconfig .netrc .pip .profile .pypirc .zprofile .zshenv
    .zshrc activate.d condarc.d dist-packages profile.d pyvenv.cfg site-packages sitecustomize.py usercustomize.py
    """.split()  # noqa: SIM905
    )
    | CONFIGURATION
)
# variables that name folders in which commands look for programs, libraries or settings, and where below them
_SEARCHED = {
    "PATH": ("",),
    "PYTHONPATH": ("",),
    "LD_LIBRARY_PATH": ("",),
    "VIRTUAL_ENV": ("/bin",),
    "HOME": ("/.config", "/.pip"),
}
_LISTS = re.compile(rf"""(?<![\w${{])({"|".join(_SEARCHED)})(?:=|[ \t]+(?=[/$"']))("[^"]*"|'[^']*'|[^\s;&|]*)""")
_HOME = re.compile(r"/(?:root|home/[^/]+)")


def is_sensitive(path: str, searched: Collection[str] = ()) -> bool:
    """Whether a path is that of a program, a library or a setting, or below a folder of such.

    A path below a folder that isn't known counts as one from the root. `searched` are further folders of programs.
    """
    path = f"/{path.partition('/')[2]}"
    steps = path.split("/")
    above = {"/".join(steps[:count]) for count in range(2, len(steps) + 1)}
    if not above.isdisjoint(_ETC_OF_NO_PROGRAM):
        return False
    return (
        not above.isdisjoint(_ROOTS)
        or not above.isdisjoint(searched)
        or not _NAMES.isdisjoint(steps)
        or steps[-1].endswith(".pth")
    )


def may_hold_sensitive(path: str, searched: Collection[str] = ()) -> bool:
    """Whether a folder at the path may have such a place in it."""
    path = f"/{path.partition('/')[2]}".rstrip("/")
    folders = (*_ROOTS, *searched)
    return (
        path in {"", "/home"}
        or _HOME.fullmatch(path) is not None
        or is_sensitive(path, searched)
        or any(folder.startswith(f"{path}/") for folder in folders)
    )


@lru_cache(maxsize=4)
def lists_of_folders(dockerfile: bytes) -> tuple[tuple[int, str, str], ...]:
    """Where a Dockerfile sets a variable that names folders, in whatever instruction: line, name and value as written."""
    text = dockerfile.decode(errors="replace")
    found = islice(_LISTS.finditer(text), MAX_LISTS)
    return tuple((text.count("\n", 0, each.start()) + 1, each[1], each[2].strip("\"'")) for each in found)


def searched_folders(name: str, value: str, folder: str | None) -> tuple[str, ...]:
    """The folders in which one of these variables makes commands look, without those whose place isn't known."""
    found = [join(folder, part) for part in value.split(":") if part and "$" not in part]
    places = [place.rstrip("/") + end for place in found if place is not None for end in _SEARCHED[name]]
    return tuple(place for place in places if place and place not in PROGRAMS)
