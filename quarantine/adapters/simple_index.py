"""The project pages of the upstreams, over HTTP, with a cache that makes a second check quick.

Ownership is decided here: the first upstream, in the policy's order, that has a page for a name owns it. Only 404 and
410 say that an upstream doesn't have a name; whatever else goes wrong is an error, and never passes the name on.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.archive.pages import ACCEPT, ProjectPage, parse_page
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.cache import private_folder, read_cached, write_cached
from quarantine.io.packed import PackedFile, write_packed
from quarantine.model import Artifact, Ecosystem, IndexPage
from quarantine.policy.stage import Upstream
from quarantine.ports import Tell

if TYPE_CHECKING:
    from quarantine.io.http import HttpClient, Request, Response

__all__ = ["SimpleIndex"]

MAX_PAGE_BYTES = 64 * 1024 * 1024
_ABSENT = frozenset({404, 410})


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What an upstream said about a name, but for its files; when, in seconds since 1970. `found` is False for none."""

    fetched: float
    found: bool
    etag: str | None = None
    base: str = ""
    status: str = "active"


class _Entry(msgspec.Struct, frozen=True):
    """What an upstream said about a name; a page's files by version, packed."""

    head: _Head
    files: Mapping[str, bytes]


class SimpleIndex:
    """An `Index` over the simple repository API (PEP 503, 691, 700, 714, 792).

    `reserved` says which upstream alone may have a name. `http` makes the client, once it is needed. `default_url`
    gives the address of an upstream without one. `logins` are user and password by upstream name, sent to that
    upstream's origin only. A page counts for `max_age_seconds` after it was read; with `offline` the network is not
    asked for others.
    """

    def __init__(
        self,
        *,
        upstreams: Iterable[Upstream],
        reserved: Callable[[NormalizedName], str | None],
        http: "Callable[[], HttpClient]",
        cache_dir: Path,
        now: datetime,
        default_url: Callable[[], str],
        logins: Mapping[str, tuple[str, str]],
        max_age_seconds: float = 600,
        offline: bool = False,
    ) -> None:
        self._upstreams = tuple(upstream for upstream in upstreams if upstream.type is Ecosystem.PYPI)
        self._reserved = reserved
        self._make_http = http
        self._cache_dir = cache_dir
        self._now = now.timestamp()
        self._default_url = default_url
        self._logins = logins
        self._max_age = max_age_seconds
        self._offline = offline
        self._head = msgspec.msgpack.Decoder(_Head)

    @cached_property
    def _http(self) -> "HttpClient":
        return self._make_http()

    def pages(self, names: Collection[NormalizedName], tell: Tell) -> Mapping[NormalizedName, IndexPage | None]:
        """For every name the page of the upstream that owns it: the first, in order, that has it; None where none has.

        UpstreamError when an upstream fails to say whether it has a name.
        """
        found: dict[NormalizedName, IndexPage | None] = dict.fromkeys(names)
        for upstream in self._upstreams:
            mine = [n for n, page in found.items() if page is None and self._reserved(n) in (None, upstream.name)]
            for name, entry in self._entries(upstream, mine, tell).items():
                if entry.head.found:
                    page = ProjectPage(name=name, base=entry.head.base, status=entry.head.status, files=entry.files)
                    found[name] = page.of(upstream.name)
        return found

    def metadata(self, artifacts: Collection[Artifact], tell: Tell) -> Mapping[str, bytes | None]:
        """By filename, the core metadata that the index serves beside each file (PEP 658), verified by its digest.

        Where it serves none, what a wheel itself says, read from ranges of its bytes; that can't be verified without
        the whole file. None where neither is to be had. UpstreamError, IntegrityError.
        """
        folder = private_folder(private_folder(self._cache_dir) / "metadata-1")
        found: dict[str, bytes | None] = {artifact.filename: None for artifact in artifacts}
        missing: dict[str, Artifact] = {}
        for artifact in artifacts:
            if not artifact.has_metadata:
                continue
            cached: bytes | None = None
            if artifact.metadata_digest is not None:
                cached = read_cached(folder / artifact.metadata_digest.hex, MAX_METADATA_BYTES)
            if cached is not None and _is(artifact, cached):
                found[artifact.filename] = cached
            else:
                missing[_metadata_url(artifact.url)] = artifact
        if missing and self._offline:
            raise UpstreamError(f"offline: the metadata of {len(missing)} files is not in the cache")
        requests = [self._metadata_request(url) for url in missing]
        answers = self._http.get_many(requests, max_bytes=MAX_METADATA_BYTES) if requests else ()
        for number, (request, response) in enumerate(answers, 1):
            tell(f"reading metadata: {number} of {len(requests)}")
            artifact = missing[request.url]
            if response.status in _ABSENT:
                continue
            if response.status != 200:
                raise UpstreamError(f"{response.url} answered {response.status}: expected the metadata of a file")
            if not _is(artifact, response.body):
                raise IntegrityError(f"{response.url} does not have the digest that the index page gives for it")
            found[artifact.filename] = response.body
            if artifact.metadata_digest is not None:
                write_cached(folder / artifact.metadata_digest.hex, response.body)
        bare = [a for a in artifacts if a.is_wheel and not a.has_metadata and a.digest is not None]
        return {**found, **self._inside_wheels(bare, folder, tell)}

    def _inside_wheels(self, artifacts: Collection[Artifact], folder: Path, tell: Tell) -> Mapping[str, bytes | None]:
        """By filename, the METADATA in each wheel. A wheel that can't be read has none: nobody's verdict hangs on it."""
        found: dict[str, bytes | None] = {}
        missing: list[Artifact] = []
        for artifact in artifacts:
            cached = read_cached(folder / f"wheel-{artifact.digest}", MAX_METADATA_BYTES)
            found[artifact.filename] = cached
            if cached is None:
                missing.append(artifact)
        if missing and self._offline:
            raise UpstreamError(f"offline: the metadata of {len(missing)} files is not in the cache")
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # only what is not cached is read

        with ThreadPoolExecutor(max_workers=8) as workers:
            for number, (artifact, text) in enumerate(
                zip(missing, workers.map(self._inside_wheel, missing), strict=True), 1
            ):
                tell(f"reading metadata inside wheels: {number} of {len(missing)}")
                found[artifact.filename] = text
                if text is not None:
                    write_cached(folder / f"wheel-{artifact.digest}", text)
        return found

    def _inside_wheel(self, artifact: Artifact) -> bytes | None:
        from quarantine.archive.wheel import metadata_in_wheel  # noqa: PLC0415  # few indexes leave it to this

        request = self._metadata_request(artifact.url)

        def ask(start: int, end: int) -> "Response":
            headers = {**dict(request.headers), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
            response = self._http.get(artifact.url, headers=headers, max_bytes=end - start, also=request.also)
            if response.status != 206:
                raise UpstreamError(f"{response.url} answered {response.status}: expected a range of its bytes")
            return response

        try:
            size = artifact.size or _total(ask(0, 1))
            return metadata_in_wheel(artifact.filename, size, lambda start, end: ask(start, end).body)
        except (IntegrityError, UpstreamError):
            return None

    def _metadata_request(self, url: str) -> "Request":
        """Files may lie on another host than the pages; only a file on an upstream's own host gets its login."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # a check of what is cached asks nobody
        from quarantine.io.http import Request  # noqa: PLC0415

        origin = target_of(url).origin
        near = [u for u in self._upstreams if u.name in self._logins and target_of(self._url(u)).origin == origin]
        # several upstreams of one host: the one whose address the file's is most like
        owner = max(near, key=lambda upstream: _shared_prefix(self._url(upstream), url), default=None)
        headers = () if owner is None else self._login_header(owner)
        return Request(url=url, headers=headers, also=frozenset({str(origin)}))

    def _entries(
        self, upstream: Upstream, names: Collection[NormalizedName], tell: Tell
    ) -> Mapping[NormalizedName, _Entry]:
        """What the upstream says about each name, from the cache where that is fresh enough."""
        if not names:
            return {}
        folder = self._folder(upstream)
        entries: dict[NormalizedName, _Entry] = {}
        stale: dict[NormalizedName, _Entry | None] = {}
        for name in names:
            cached = self._cached(folder, name)
            if cached is not None and 0 <= self._now - cached.head.fetched < self._max_age:
                entries[name] = cached
            else:
                stale[name] = cached
        if stale and self._offline:
            some = ", ".join(list(stale)[:5])
            raise UpstreamError(
                f"offline: {len(stale)} index pages of {upstream.name} are not in the cache, or older than "
                f"{self._max_age / 3600:g} hours ({some}): check once without --offline"
            )
        asked = {f"{self._url(upstream)}/{name}/": name for name in stale}
        requests = [self._page_request(upstream, url, stale[name]) for url, name in asked.items()]
        answers = self._http.get_many(requests, max_bytes=MAX_PAGE_BYTES) if requests else ()
        for number, (request, response) in enumerate(answers, 1):
            tell(f"reading index pages: {number} of {len(requests)}")
            name = asked[request.url]
            entry = self._read(upstream, name, response, stale[name])
            write_packed(folder / name, msgspec.msgpack.encode(entry.head), entry.files)
            entries[name] = entry
        return entries

    def _page_request(self, upstream: Upstream, url: str, known: _Entry | None) -> "Request":
        from quarantine.io.http import Request  # noqa: PLC0415  # a check of what is cached asks nobody

        headers = (("Accept", ACCEPT), *self._login_header(upstream))
        if known is not None and known.head.etag is not None:
            headers = (*headers, ("If-None-Match", known.head.etag))
        return Request(url=url, headers=headers)

    def _read(self, upstream: Upstream, name: NormalizedName, response: "Response", known: _Entry | None) -> _Entry:
        if response.status in _ABSENT:
            return _Entry(_Head(fetched=self._now, found=False), {})
        if response.status == 304 and known is not None and known.head.etag is not None:
            return replace(known, head=msgspec.structs.replace(known.head, fetched=self._now))
        if response.status != 200:
            hint = ": its credentials are missing or wrong" if response.status in (401, 403) else ""
            raise UpstreamError(f"{upstream.name}: {response.url} answered {response.status}{hint}")
        page = parse_page(name, response.headers.get("Content-Type", ""), response.url, response.body)
        etag = response.headers.get("ETag", "")
        head = _Head(
            fetched=self._now,
            found=True,
            etag=etag if etag and etag.isascii() and etag.isprintable() else None,
            base=page.base,
            status=page.status,
        )
        return _Entry(head, page.files)

    def _cached(self, folder: Path, name: NormalizedName) -> _Entry | None:
        """What was said last; an entry that can't be read is none."""
        packed = PackedFile.open(folder / name)
        try:
            return None if packed is None else _Entry(self._head.decode(packed.head), packed)
        except msgspec.DecodeError:
            return None

    def _folder(self, upstream: Upstream) -> Path:
        root = private_folder(private_folder(self._cache_dir) / "pages-2")
        # the default index needs no address as long as nothing is asked of it
        place = "" if upstream.url is None else upstream.url.rstrip("/")
        return private_folder(root / hashlib.sha256(place.encode()).hexdigest()[:16])

    def _url(self, upstream: Upstream) -> str:
        return (self._default_url() if upstream.url is None else upstream.url).rstrip("/")

    def _login_header(self, upstream: Upstream) -> tuple[tuple[str, str], ...]:
        if upstream.name not in self._logins:
            return ()
        login = base64.b64encode(":".join(self._logins[upstream.name]).encode()).decode()
        return (("Authorization", f"Basic {login}"),)


def _is(artifact: Artifact, metadata: bytes) -> bool:
    digest = artifact.metadata_digest
    return digest is None or hashlib.sha256(metadata).hexdigest() == digest.hex


def _shared_prefix(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _total(response: "Response") -> int:
    """The size of the whole file, by an answer that gives a range of it (RFC 9110, section 14.4)."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if not (total.isascii() and total.isdecimal() and len(total) < 16):
        raise UpstreamError(f"{response.url} doesn't say how large it is")
    return int(total)


def _metadata_url(url: str) -> str:
    """Where a file's metadata lies (PEP 658): beside the file, so before the query of a signed address."""
    path, mark, query = url.partition("?")
    return f"{path}.metadata{mark}{query}"
