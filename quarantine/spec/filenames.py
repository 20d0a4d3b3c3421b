"""The name of a file that a lock names, and the project and version which that name says.

Installers open what the URL or path leads to, so its last segment is the name, whatever else stands beside it.
"""

from functools import lru_cache
from urllib.parse import unquote

from packaging.utils import InvalidSdistFilename, NormalizedName, parse_sdist_filename
from packaging.version import Version

from quarantine.model import parse_wheel_name
from quarantine.spec.text import quote

__all__ = ["file_of", "filename_of", "of_path", "of_url"]

MAX_FILENAME = 255


def filename_of(*, url: str | None, path: str | None, said: str | None) -> str:
    """The one name that a URL, a path and a name give a file, raising ValueError where they disagree or give none."""
    names = {
        "url": None if url is None else of_url(url),
        "path": None if path is None else of_path(path),
        "name": said,
    }
    given = {key: name for key, name in names.items() if name is not None}
    if not given:
        raise ValueError("a file without a url, a path or a name")
    if len(set(given.values())) > 1:
        told = ", ".join(f"{quote(name)} by its {key}" for key, name in given.items())
        raise ValueError(f"a file has two names: {told}; installers differ in which they believe: lock it again")
    return next(iter(given.values()))


def of_url(url: str) -> str:
    """The last segment of a URL's path, decoded."""
    return unquote(url.partition("#")[0].partition("?")[0].rpartition("/")[2])


def of_path(path: str) -> str:
    """The last segment of a path; a backslash separates on one system only, so that none is taken for a separator."""
    return path.rpartition("/")[2]


def file_of(filename: str) -> tuple[NormalizedName, Version]:
    """The project and version of a wheel or sdist, raising ValueError for a name that is neither's, or endless."""
    if len(filename) > MAX_FILENAME:
        raise ValueError(f"a file name of {len(filename)} characters: at most {MAX_FILENAME} are read")
    if filename.isascii() and filename.endswith(".whl"):
        stem, *tags = filename.removesuffix(".whl").rsplit("-", 3)
        try:
            _check_tags("-".join(tags))
            return _stem(stem)
        except ValueError:
            return parse_wheel_name(filename)[:2]  # for its message, or because only a half was too long
    try:
        if filename.isascii():
            return parse_sdist_filename(filename)
    except (InvalidSdistFilename, ValueError):
        pass
    raise ValueError(f"{quote(filename)} is not the name of a wheel or an sdist")


# a package's wheels share one half of their names, and the wheels of many packages the other: each is read once


@lru_cache(maxsize=1024)
def _stem(stem: str) -> tuple[NormalizedName, Version]:
    return parse_wheel_name(f"{stem}-py3-none-any.whl")[:2]


@lru_cache(maxsize=1024)
def _check_tags(tags: str) -> None:
    parse_wheel_name(f"x-0-{tags}.whl")
