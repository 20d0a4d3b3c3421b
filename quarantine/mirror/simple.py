"""What the mirror's package index looks like: pages from files, as JSON (PEP 691, 700) and as HTML (PEP 503), and back.

The JSON page of a project is what later ones are made of; its HTML page says the same. The same files give the same
bytes, in whatever order they come. Addresses are relative, so that a page says the same wherever it is read from.
"""

import html
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from quarantine.errors import IntegrityError
from quarantine.exceptions import DossierFile, Sha256
from quarantine.model import parse_wheel_name

__all__ = [
    "HTML_TYPE",
    "JSON_TYPE",
    "SimpleFile",
    "changed_root_html",
    "links_html",
    "project_html",
    "project_json",
    "read_project",
    "read_root",
    "root_html",
    "root_json",
    "root_link",
    "simple_file",
]

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "text/html; charset=utf-8"
API_VERSION: Literal["1.1"] = "1.1"

_Filename = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}\Z")]
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,254}[a-z0-9])?\Z")]


class SimpleFile(msgspec.Struct, frozen=True, kw_only=True):
    """One wheel of a project. `upload_time` (aware, UTC) is when the mirror took it in.

    `yanked` is the owner's reason, None where it isn't yanked. `metadata` is the sha256 of its core metadata, "" where
    none is served; `requires_python` is "" where it says nothing, or nothing that can be read.
    """

    filename: _Filename
    sha256: Sha256
    size: Annotated[int, Meta(ge=0)]
    upload_time: datetime
    requires_python: str = ""
    yanked: str | None = None
    metadata: str = ""

    @property
    def version(self) -> Version:
        """The version in its file name, which is what installers go by."""
        return parse_wheel_name(self.filename)[1]

    @property
    def place(self) -> str:
        """Its path below `files/`, quoted for an address: the same name may stand for other bytes in another project."""
        return f"{self.sha256}/{quote(self.filename)}"


def simple_file(found: DossierFile, size: int, upload_time: datetime) -> SimpleFile:
    """A file as its dossier describes it."""
    file = found.file
    return SimpleFile(
        filename=file.filename,
        sha256=file.sha256,
        size=size,
        upload_time=upload_time.astimezone(UTC),
        requires_python=_specifier(found.requires_python),
        yanked=found.yanked,
        metadata=found.metadata,
    )


def _specifier(text: str) -> str:
    """The text, "" where it isn't a specifier: installers disagree on what to make of such a file, and read its metadata."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return ""
    return text


# --- the form of the pages --------------------------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A mapping whose keys are all known: nobody but the publisher writes pages."""


class _Meta(_Wire, frozen=True, kw_only=True):
    api_version: Literal["1.1"] = API_VERSION


class _Hash(_Wire, frozen=True, kw_only=True):
    sha256: Sha256


class _File(_Wire, frozen=True, kw_only=True):
    filename: _Filename
    url: str
    hashes: _Hash
    size: Annotated[int, Meta(ge=0)]
    upload_time: Annotated[datetime, Meta(tz=True)]
    requires_python: str | UnsetType = UNSET
    yanked: Literal[True] | str | UnsetType = UNSET
    # PEP 714: never `dist-info-metadata`, the name of old, at which pip up to 23.0 breaks off where a mapping stands
    core_metadata: _Hash | UnsetType = UNSET


class _Project(_Wire, frozen=True, kw_only=True):
    meta: _Meta
    name: _Name
    versions: tuple[str, ...]
    files: tuple[_File, ...]


_project = msgspec.json.Decoder(_Project)


# --- a project's page -------------------------------------------------------------------------------------------------


def _sorted(files: Iterable[SimpleFile]) -> list[SimpleFile]:
    return sorted(set(files), key=lambda file: (file.version, file.filename, file.sha256))


def project_json(name: str, files: Iterable[SimpleFile]) -> bytes:
    """The page as JSON."""
    listed = _sorted(files)
    page = _Project(
        meta=_Meta(),
        name=canonicalize_name(name),
        versions=tuple(dict.fromkeys(str(file.version) for file in listed)),
        files=tuple(map(_wire, listed)),
    )
    return msgspec.json.encode(page)


def _url(file: SimpleFile) -> str:
    return f"../../files/{file.place}"


def _wire(file: SimpleFile) -> _File:
    metadata: _Hash | UnsetType = _Hash(sha256=file.metadata) if file.metadata else UNSET
    return _File(
        filename=file.filename,
        url=_url(file),
        hashes=_Hash(sha256=file.sha256),
        size=file.size,
        upload_time=file.upload_time,
        requires_python=file.requires_python or UNSET,
        yanked=UNSET if file.yanked is None else file.yanked or True,
        core_metadata=metadata,
    )


def read_project(name: str, data: bytes) -> tuple[SimpleFile, ...]:
    """The files on a project's JSON page. IntegrityError for what is no page of ours, of this project."""
    try:
        page = _project.decode(data)
        files = tuple(map(_read, page.files))
    except (ValueError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"the mirror's page of {name!a} can't be read: {str(error)[:200]}") from error
    if page.name != name or any(wire.url != _url(file) for wire, file in zip(page.files, files, strict=True)):
        raise IntegrityError(f"the mirror's page of {name!a} has another name, or an address of no file of its own")
    return files


def _read(file: _File) -> SimpleFile:
    yanked = file.yanked
    parse_wheel_name(file.filename)
    return SimpleFile(
        filename=file.filename,
        sha256=file.hashes.sha256,
        size=file.size,
        upload_time=file.upload_time.astimezone(UTC),
        requires_python=file.requires_python or "",
        yanked=None if yanked is UNSET else "" if yanked is True else yanked,
        metadata="" if file.core_metadata is UNSET else file.core_metadata.sha256,
    )


def project_html(name: str, files: Iterable[SimpleFile]) -> bytes:
    """The page as HTML."""
    links = "".join(f"{_link(file, '../../files')}\n" for file in _sorted(files))
    return _page(f"Links for {canonicalize_name(name)}", links)


def links_html(files: Iterable[SimpleFile]) -> bytes:
    """All of the files on one page, for `--find-links`: installers take these beside what an index has."""
    listed = sorted(set(files), key=lambda file: (file.filename, file.sha256))
    return _page("Links", "".join(f"{_link(file, '../files')}\n" for file in listed))


def _link(file: SimpleFile, base: str) -> str:
    attributes = f'href="{_escape(f"{base}/{file.place}#sha256={file.sha256}")}"'
    if file.requires_python:
        attributes += f' data-requires-python="{_escape(file.requires_python)}"'
    if file.yanked is not None:
        attributes += f' data-yanked="{_escape(file.yanked)}"'
    if file.metadata:
        attributes += f' data-core-metadata="sha256={file.metadata}"'
    return f"<a {attributes}>{_escape(file.filename)}</a><br>"


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _page(title: str, links: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n'
        f"<title>{_escape(title)}</title>\n</head>\n<body>\n{links}</body>\n</html>\n"
    ).encode()


# --- the root ---------------------------------------------------------------------------------------------------------


# The page of all projects is rewritten whenever a project is new, and may name tens of thousands. It is taken apart and put
# together as text, and of the HTML only the links that change are touched: everything else costs more than the writing.
_HEAD, _BETWEEN, _TAIL = f'{{"meta":{{"api-version":"{API_VERSION}"}},"projects":[', '"},{"name":"', "]}"
_FIRST, _LAST = '{"name":"', '"}'
_NOT_IN_NAMES = re.compile(r"[^a-z0-9\n-]")


def root_json(names: Iterable[str]) -> bytes:
    """The list of projects as JSON; `names` are normalised."""
    joined = _BETWEEN.join(sorted(dict.fromkeys(names)))  # quick where they are sorted already
    return (_HEAD + (f"{_FIRST}{joined}{_LAST}" if joined else "") + _TAIL).encode()


def read_root(data: bytes) -> tuple[str, ...]:
    """The names on the JSON page of projects, sorted. IntegrityError for what is no page of ours."""
    text = data.decode("utf-8", "replace")
    body = text.removeprefix(_HEAD).removesuffix(_TAIL)
    names = body.removeprefix(_FIRST).removesuffix(_LAST).split(_BETWEEN) if body else []
    lines = "\n".join(names)
    if (
        len(body) != len(text) - len(_HEAD) - len(_TAIL)
        or (body and not (body.startswith(_FIRST) and body.endswith(_LAST)))
        or _NOT_IN_NAMES.search(lines)
        or (names and any(wrong in f"\n{lines}\n" for wrong in ("\n\n", "\n-", "-\n")))
        or sorted(names) != names
    ):
        raise IntegrityError("the mirror's page of all projects is not one that was published")
    return tuple(names)


def root_html(names: Iterable[str]) -> bytes:
    """The list of projects as HTML."""
    return _page("Projects", "".join(_root_link(name) for name in sorted(set(names))))


def changed_root_html(page: bytes, names: Sequence[str], touched: Iterable[str]) -> bytes:
    """The HTML page with the links of some projects as the sorted `names` have them: there, or not."""
    for name in sorted(touched, reverse=True):
        place, link = bisect_left(names, name), root_link(name)
        wanted = place < len(names) and names[place] == name
        if wanted is (link in page):
            continue
        if not wanted:
            page = page.replace(link, b"")
            continue
        after = root_link(names[place + 1]) if place + 1 < len(names) else _END
        before, found, rest = page.partition(after)
        if not found:
            return root_html(names)  # it isn't as it should be, so nothing of it is kept
        page = before + link + after + rest
    return page


_END = b"</body>"


def _root_link(name: str) -> str:
    return f'<a href="{name}/">{name}</a><br>\n'


def root_link(name: str) -> bytes:
    """What stands on the HTML page of projects for one of them."""
    return _root_link(name).encode()
