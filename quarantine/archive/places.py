"""Where files of a package land in an environment, and which places belong to Python, to installers or to others.

What lies there is run, or decides what is installed next, without anybody importing the package. A place is a path below
the environment, with `site-packages/` and `bin/` for what systems call differently.

Source: the binary distribution format (`.data` folders); Python's documentation of the module site; PEP 829 (`.start`).
"""

import re
import sys
from collections.abc import Collection, Iterable, Mapping

from quarantine.archive.names import shown

__all__ = ["hazards", "is_startup", "landed", "programs", "runs_code"]

SITE = "site-packages"
MAX_PTH_BYTES = 64 * 1024

_SITE = re.compile(r"(?i)(?:local/)?(?:(?:lib|lib64)/(?:(?:python|pypy)[0-9.]+t?/)?)?(?:site|dist)-packages/(.+)")
_BIN = re.compile(r"(?i)(?:local/)?(?:bin|scripts|python-scripts)/(.+)")
_LIBRARY = re.compile(r"(?:(?i:lib|lib64)/(?i:python|pypy)[0-9.]+t?|Lib|DLLs)/.+")
# wherever `import` stands: a byte order mark, form feeds and lone returns end lines for some versions, for others not
_RUNS = re.compile(rb"import[ \t]")
_CODE = (".py", ".pyc", ".pyw", ".pyd", ".so")
_STARTUP = frozenset({"sitecustomize", "usercustomize"})
_LATER = frozenset({"annotationlib", "compression", "_colorize", "_interpreters", "_pyrepl", "_zstd"})
_PYTHON = (sys.stdlib_module_names | _LATER | {"asynchat", "asyncore", "distutils", "imp", "smtpd"}) - {"this"}
"""Modules of the standard library, also of versions that this one isn't."""
_OWNERS: Mapping[str, frozenset[str]] = {
    "pip": frozenset({"pip"}),
    "setuptools": frozenset({"setuptools"}),
    "pkg_resources": frozenset({"setuptools"}),
    "_distutils_hack": frozenset({"setuptools"}),
    "easy_install": frozenset({"setuptools"}),
    "wheel": frozenset({"wheel"}),
    "uv": frozenset({"uv"}),
    "virtualenv": frozenset({"virtualenv"}),
    "_virtualenv": frozenset(),
}
"""Whose a module is that installs others, or that Python imports by a `.pth` file which most environments have."""
_OWN_PTH = {"distutils-precedence.pth": "setuptools"}
_PYTHONS = frozenset({"python", "pypy", "graalpy", "python-freethreading"})
"""Of conda, where Python itself is a package. On an index anybody may have taken the name."""
_PROGRAMS: tuple[tuple[re.Pattern[str], str, frozenset[str]], ...] = (
    (re.compile(r"pip-?[0-9.]*"), "it is an installer", frozenset({"pip"})),
    (re.compile(r"easy_install-?[0-9.]*"), "it is an installer", frozenset({"setuptools"})),
    (re.compile(r"uvx?"), "it is an installer", frozenset({"uv"})),
    (re.compile(r"(?:pythonw?|pypy|pyw?)(?:[0-9]+(?:\.[0-9]+)*t?)?(?:-config)?"), "it is Python itself", frozenset()),
    (re.compile(r"(?:de)?activate(?:_this\.py)?"), "it is run to enter an environment", frozenset()),
)
"""Programs that people and other programs start by name, and what may have them."""
_OF_CONDA = {"it is Python itself": _PYTHONS, "it is run to enter an environment": frozenset({"conda"})}
_NAMED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"conda|mamba|micromamba|pipx|poetry|virtualenv|wheel"), "it is an installer"),
    (re.compile(r"(?:ba|da|z|k|c|tc|fi)?sh|env|sudo|git|ssh|curl|wget|tar|docker"), "it is a program of the system"),
)
"""Those that a package of their own name may have."""
_WINDOWS = re.compile(r"\.(?:exe|com|bat|cmd|ps1|csh|fish|nu|xsh|sh)\Z")
_DATA = frozenset({"share", "etc", "include", "man", "doc", "docs"})
_RUN_FROM_ETC = (
    (re.compile(r"(?i)etc/(?:conda|profile\.d)/.+"), "it is run, or read, to enter an environment"),
    (re.compile(r"(?i)etc/(?:jupyter|ipython)/.+\.i?py"), "Jupyter runs it whenever it starts"),
    (re.compile(r"(?i)etc/ipython/.+\.json"), "it says what IPython runs whenever it starts"),
)
_FIRST, _NEXT, _THEN, _LAST = range(4)
_Hazard = tuple[int, str, str]
"""How bad it is, the place that is told, and why it is none of the package's."""


def landed(path: str) -> str:
    """The place of a path below an environment."""
    if (found := _SITE.fullmatch(path)) is not None:
        return f"{SITE}/{found[1]}"
    if (found := _BIN.fullmatch(path)) is not None:
        return f"bin/{found[1]}"
    return path


def is_startup(place: str) -> bool:
    """Whether Python reads the file whenever it starts. On Windows the environment's own folder has such files, too."""
    folder, slash, file = place.rpartition("/")
    return file.lower().endswith((".pth", ".start")) and (folder == SITE or not slash)


def runs_code(name: str, data: bytes, size: int) -> bool:
    """Whether a file of that name and size, which Python reads at its start, runs code: True where that can't be told."""
    return not name.lower().endswith(".pth") or size > MAX_PTH_BYTES or _RUNS.search(data) is not None


def programs(entry_points: bytes) -> tuple[str, ...]:
    """The names of the programs that installers make of `entry_points.txt`, in all readings of it."""
    found: dict[str, None] = {}
    section = ""
    for line in entry_points.decode("utf-8", "replace").splitlines():
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].strip().lower()
        elif section in ("console_scripts", "gui_scripts") and text and not text.startswith(("#", ";")):
            found[text.partition("=")[0].strip()] = None
            found[re.split("[=:]", text, maxsplit=1)[0].strip()] = None
    return tuple(found)


def hazards(
    name: str,
    places: Mapping[str, str],
    pth: Mapping[str, bool],
    *,
    data: Collection[str] = (),
    made: Iterable[str] = (),
    conda: bool = False,
) -> list[str]:
    """What a package of that name puts where it has no business, the worst first.

    `places` are those of its files, by their names; `pth` has of those that Python reads at its start whether they run
    code. `data` are the names of files that may go to the common folders of an environment only. `made` are programs that
    the installer makes. One of `conda` may hold the metadata of any distribution, and may be Python itself.
    """
    taken = frozenset(places.values())
    found: dict[_Hazard, list[str]] = {}
    for member, place in places.items():
        hazard = _hazard(name, place, pth.get(member, True), taken, conda=conda)
        if hazard is None and member in data:
            hazard = _of_data(place)
        if hazard is not None:
            found.setdefault(hazard, []).append(member)
    said = [(hazard[0], _said(*hazard[1:], members)) for hazard, members in found.items()]
    for program in made:
        hazard = _program(name, f"bin/{program}", conda=conda)
        if "/" in program or "\\" in program or program in ("", ".", ".."):
            hazard = _THEN, program, "that is no name of a program"
        if hazard is not None:
            said.append((hazard[0], f"its entry points make {shown(f'bin/{program}')}: {hazard[2]}"))
    return [text for _, text in sorted(said, key=lambda entry: entry[0])]


def _said(place: str, why: str, members: list[str]) -> str:
    if len(members) == 1:
        return f"its member {shown(members[0])} lands at {shown(place)}: {why}"
    return f"its member {shown(members[0])} and {len(members) - 1} more land in {shown(place)}: {why}"


def _hazard(name: str, place: str, runs: bool, taken: Collection[str], *, conda: bool) -> _Hazard | None:
    root, slash, below = place.partition("/")
    if is_startup(place) and _OWN_PTH.get(below) != name:
        does = "and it runs code" if runs else "and it only adds paths"
        return _FIRST if runs else _NEXT, place, f"Python reads it whenever it starts, {does}"
    if root == "bin" or not slash:
        return _program(name, place, conda=conda)
    if root == SITE:
        return _in_site(name, below, taken, conda=conda)
    if _LIBRARY.fullmatch(place) is not None and place.lower().endswith(_CODE) and not (conda and name in _PYTHONS):
        return _FIRST, place.rpartition("/")[0], "that is where Python's own modules are"
    return None


def _in_site(name: str, below: str, taken: Collection[str], *, conda: bool) -> _Hazard | None:
    """Of a file in site-packages. Systems that ignore case write `PIP/x` into the folder of pip."""
    top, folder, rest = below.partition("/")
    place = f"{SITE}/{top}"
    if folder and top.lower() == "__pycache__":
        module = rest.partition(".")[0]
        if f"{SITE}/{module}.py" not in taken:
            return _FIRST, f"{SITE}/{below}", "Python runs it in the place of another package's module"
        return None
    if not conda and top.lower().endswith((".dist-info", ".egg-info", ".egg-link")):
        return _NEXT, place, "it speaks for a distribution, as its own .dist-info alone may"
    module = top if folder and "." not in top else top.partition(".")[0] if top.lower().endswith(_CODE) else ""
    lowered = module.lower()
    if lowered in _STARTUP:
        return _FIRST, place, "Python runs it whenever it starts"
    if lowered in _OWNERS and name not in _OWNERS[lowered]:
        return _FIRST, place, f"that belongs to {min(_OWNERS[lowered], default='virtualenv')}"
    if module in _PYTHON and below.lower().endswith(_CODE):
        return _NEXT, place, "it has the name of a module of Python's own"
    return None


def _program(name: str, place: str, *, conda: bool) -> _Hazard | None:
    bare = _WINDOWS.sub("", place.removeprefix("bin/").lower())
    for pattern, why, owners in _PROGRAMS:
        if pattern.fullmatch(bare) is not None and name not in (_OF_CONDA.get(why, owners) if conda else owners):
            return _THEN, place, why
    for pattern, why in _NAMED:
        if pattern.fullmatch(bare) is not None and name != bare:
            return _THEN, place, why
    return None


def _of_data(place: str) -> _Hazard | None:
    """Of a file that may go to the common folders of an environment only."""
    root, slash, _ = place.partition("/")
    if root in (SITE, "bin"):
        return None
    for pattern, why in _RUN_FROM_ETC:
        if pattern.fullmatch(place) is not None:
            return _THEN, place, why
    if slash and root in _DATA:
        return None
    return _LAST, root if slash else place, "that is outside of share/, etc/, include/, man/ and doc/"
