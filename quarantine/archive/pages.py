"""Project pages of a package index: JSON (PEP 691, 700, 792) or HTML (PEP 503) -> files by version, packed.

A large page lists tens of thousands of files, of which a check looks at a few. So a page is read once into rows that are
kept as MessagePack, one value for each version, and artifacts are made of those that are asked for. What a page says is
not believed: a file whose name is not a wheel's or an sdist's of the project is left out, as if it weren't there.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from urllib.parse import unquote, urljoin

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import NormalizedName, canonicalize_name, canonicalize_version, parse_sdist_filename
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.model import Artifact, Digest, IndexPage, parse_version, parse_wheel_name

__all__ = ["ACCEPT", "ProjectPage", "parse_page"]

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPES = frozenset({"application/vnd.pypi.simple.v1+html", "text/html"})
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_FILENAME = re.compile(r"[A-Za-z0-9._+!-]{1,255}")
# no userinfo: an address with a login is nobody's to follow
_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-~]*)?")


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says, packed. `base` is what its relative URLs are relative to."""

    name: NormalizedName
    base: str
    status: str
    files: Mapping[str, bytes]

    def of(self, upstream: str) -> IndexPage:
        """The page as the one of an upstream."""
        unpack = partial(_unpack, self.name, self.base)
        return IndexPage.packed(upstream=upstream, name=self.name, files=self.files, unpack=unpack, status=self.status)


class _Row(msgspec.Struct, array_like=True):
    """One file as it is packed; `url` may be relative to the page's base."""

    filename: str
    url: str
    sha256: bytes | None
    size: int | None
    upload_time: str | None
    yanked: str | None
    requires_python: str | None
    has_metadata: bool
    metadata_sha256: bytes | None
    provenance: str | None = None


_Rows = list[_Row]


def parse_page(name: NormalizedName, content_type: str, url: str, body: bytes) -> ProjectPage:
    """The page of a project, read from `url`. UpstreamError when it isn't one, or is of a later major version."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON_TYPE:
        return _parse_json(name, url, body)
    if kind in HTML_TYPES:
        return _parse_html(name, url, body)
    raise UpstreamError(f"the index page of {name} is {kind[:80]!a}: expected {JSON_TYPE} or HTML")


def _check_version(name: NormalizedName, version: str) -> None:
    # PEP 629: clients must fail on a major version that they don't know
    if not re.fullmatch(r"1\.[0-9]{1,9}", version):
        raise UpstreamError(f"the index page of {name} is of version {version[:20]!a} of the simple API: expected 1.x")


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Meta(msgspec.Struct, rename={"api_version": "api-version"}):
    api_version: str


class _Status(msgspec.Struct, frozen=True):
    status: str = "active"


class _File(msgspec.Struct, rename="kebab"):
    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | None = None
    yanked: bool | str = False
    size: int | None = None
    upload_time: str | None = None
    core_metadata: bool | dict[str, str] | None = None
    dist_info_metadata: bool | dict[str, str] | None = None
    provenance: str | None = None


class _Page(msgspec.Struct, rename="kebab"):
    meta: _Meta
    name: str
    files: list[_File]
    project_status: _Status = _Status()


_json = msgspec.json.Decoder(_Page)


def _parse_json(name: NormalizedName, url: str, body: bytes) -> ProjectPage:
    try:
        page = _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(f"the index page of {name} can't be read: {str(error)[:200]}") from error
    _check_version(name, page.meta.api_version)
    if canonicalize_name(page.name) != name:
        raise UpstreamError(f"the index page of {name} is one of {page.name[:80]!a}")
    rows = (_row_of_json(file) for file in page.files)
    return ProjectPage(name=name, base=url, status=_status(page.project_status.status), files=_pack(name, rows))


def _row_of_json(file: _File) -> _Row:
    metadata = file.core_metadata if file.core_metadata is not None else file.dist_info_metadata
    yanked = file.yanked
    return _Row(
        filename=file.filename,
        url=file.url,
        sha256=_sha256(file.hashes.get("sha256")),
        size=file.size if file.size is not None and file.size >= 0 else None,
        upload_time=file.upload_time,
        yanked=yanked if isinstance(yanked, str) else "" if yanked else None,
        requires_python=file.requires_python,
        has_metadata=bool(metadata),
        metadata_sha256=_sha256(metadata.get("sha256")) if isinstance(metadata, dict) else None,
        provenance=file.provenance,
    )


def _status(text: str) -> str:
    return text if re.fullmatch(r"[a-z-]{1,40}", text) else "unreadable"


# --- HTML -------------------------------------------------------------------------------------------------------------

# Only these tags matter. `html.parser` takes minutes for a megabyte of unclosed quotes or comments; this reads on from
# where a broken tag stopped making sense, so its time is linear in the page.
_TAG = re.compile(r"<(a|meta|base)(?=[\s/])", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s=<>"'/]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s<>"'=`]++)))?+""",
)
_TAG_END = re.compile(r"[\s/]*+>")


def _parse_html(name: NormalizedName, url: str, body: bytes) -> ProjectPage:
    base, status, rows = url, "active", list[_Row]()
    for tag, attributes in _tags(_without_comments(body.decode("utf-8", "replace"))):
        match tag:
            case "a":
                row = _row_of_link(attributes)
                rows += [] if row is None else [row]
            case "base":
                base = urljoin(url, attributes.get("href", ""))
            case _ if attributes.get("name") == "pypi:repository-version":
                _check_version(name, attributes.get("content", ""))
            case _ if attributes.get("name") == "pypi:project-status":
                status = _status(attributes.get("content", ""))
            case _:
                pass
    return ProjectPage(name=name, base=base, status=status, files=_pack(name, rows))


def _without_comments(text: str) -> str:
    kept: list[str] = []
    here = 0
    while (start := text.find("<!--", here)) >= 0:
        kept.append(text[here:start])
        end = text.find("-->", start + 4)
        here = len(text) if end < 0 else end + 3
    return "".join([*kept, text[here:]])


def _tags(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The whole tags that matter, with their attributes; of attributes that stand twice the first counts."""
    import html  # noqa: PLC0415  # most indexes speak JSON

    here = 0
    while (start := _TAG.search(text, here)) is not None:
        here = start.end()
        attributes: dict[str, str] = {}
        while (found := _ATTRIBUTE.match(text, here)) is not None:
            here = found.end()
            value = found[2] or found[3] or found[4] or ""
            attributes.setdefault(found[1].lower(), html.unescape(value))
        if _TAG_END.match(text, here):
            yield start[1].lower(), attributes


def _row_of_link(attributes: Mapping[str, str]) -> _Row | None:
    url, _, fragment = attributes.get("href", "").partition("#")
    filename = unquote(url.partition("?")[0].rpartition("/")[2])
    metadata = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata"))
    if not filename:
        return None
    return _Row(
        filename=filename,
        url=url,
        sha256=_sha256(fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None),
        size=None,
        upload_time=None,
        yanked=attributes.get("data-yanked"),
        requires_python=attributes.get("data-requires-python"),
        has_metadata=metadata is not None and metadata != "false",
        metadata_sha256=_sha256(metadata.removeprefix("sha256=")) if metadata is not None else None,
        provenance=attributes.get("data-provenance"),
    )


# --- rows -------------------------------------------------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Rows)


def _sha256(text: str | None) -> bytes | None:
    try:
        return bytes.fromhex(text) if text is not None and len(text) == 64 else None
    except ValueError:
        return None


def _pack(name: NormalizedName, rows: Iterable[_Row]) -> Mapping[str, bytes]:
    """The rows by version, in the spelling that came first. Names are looked at closely only when rows are unpacked."""
    groups: dict[str, tuple[str, _Rows]] = {}
    keys: dict[str, str | None] = {}
    own: dict[str, bool] = {}
    for row in rows:
        project, version = _split(row.filename)
        if project not in own:
            own[project] = canonicalize_name(project) == name
        if version not in keys:
            keys[version] = _version_key(version)
        key = keys[version]
        if key is None or not own[project]:
            continue
        groups.setdefault(key, (str(parse_version(version)), []))[1].append(row)
    return {text: _encoder.encode(group) for text, group in groups.values()}


def _split(filename: str) -> tuple[str, str]:
    """Project and version as a wheel's or an sdist's name has them, empty for other names."""
    if filename.endswith(".whl"):
        parts = filename.split("-")
        return (parts[0], parts[1]) if len(parts) in (5, 6) else ("", "")
    for suffix in (".tar.gz", ".zip"):
        if filename.endswith(suffix):
            project, _, version = filename.removesuffix(suffix).rpartition("-")
            return project, version
    return "", ""


def _version_key(text: str) -> str | None:
    try:
        return canonicalize_version(parse_version(text))
    except ValueError:
        return None


def _unpack(name: NormalizedName, base: str, packed: bytes, digests: Collection[Digest] | None) -> tuple[Artifact, ...]:
    try:
        rows = _decoder.decode(packed)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"the cached index page of {name} is damaged: clear the cache and check again") from error
    if digests is not None:
        wanted = {bytes.fromhex(digest.hex) for digest in digests if digest.algorithm == "sha256"}
        rows = [row for row in rows if row.sha256 in wanted]
    return tuple(artifact for row in rows if (artifact := _artifact(name, base, row)) is not None)


def _artifact(name: NormalizedName, base: str, row: _Row) -> Artifact | None:
    if not _FILENAME.fullmatch(row.filename):
        return None
    try:
        if row.filename.endswith(".whl"):
            (project, version), tags = _wheel(row.filename)
        else:
            (project, version), tags = parse_sdist_filename(row.filename), frozenset()
        url = _absolute(base, row.url)
    except ValueError:
        return None
    if project != name or url is None:
        return None
    return Artifact(
        name=name,
        version=version,
        filename=row.filename,
        digest=None if row.sha256 is None else Digest("sha256", row.sha256.hex()),
        size=row.size,
        upload_time=_instant(row.upload_time),
        yanked=row.yanked,
        url=url.partition("#")[0],
        requires_python=None if row.requires_python is None else _specifier(row.requires_python),
        metadata_digest=None if row.metadata_sha256 is None else Digest("sha256", row.metadata_sha256.hex()),
        has_metadata=row.has_metadata,
        provenance=_provenance(base, row.provenance),
        tags=tags,
    )


def _provenance(base: str, url: str | None) -> str | None:
    """Where the file's attestations are; None where the page doesn't say, or says nothing that can be an address."""
    try:
        return None if url is None else _absolute(base, url)
    except ValueError:
        return None


def _absolute(base: str, url: str) -> str | None:
    """The whole address, None for what is no address that a file may have; ValueError for what is none at all."""
    if _URL.fullmatch(url):
        return url
    joined = urljoin(base, url)
    return joined if _URL.fullmatch(joined) else None


def _wheel(filename: str) -> tuple[tuple[NormalizedName, Version], frozenset[Tag]]:
    """What the name of a wheel says, raising ValueError; its two halves are read once for many files."""
    stem, *tags = filename.removesuffix(".whl").rsplit("-", 3)
    return _stem(stem), _wheel_tags("-".join(tags))


@lru_cache(maxsize=8192)
def _stem(stem: str) -> tuple[NormalizedName, Version]:
    project, version, *_ = parse_wheel_name(f"{stem}-py3-none-any.whl")
    return project, version


@lru_cache(maxsize=1024)  # up to 500 tags each
def _wheel_tags(tags: str) -> frozenset[Tag]:
    return parse_wheel_name(f"x-0-{tags}.whl")[3]


@lru_cache(maxsize=4096)
def _specifier(text: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def _instant(text: str | None) -> datetime | None:
    """An upload time (PEP 700: ISO 8601, UTC, ending in Z); anything else is no upload time."""
    if text is None or not text.endswith("Z"):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
