"""Whole files of the upstreams, for the holding area and for build contexts: bounded, and held to what their owner lists.

An index may keep its files on another host than its pages; a channel keeps them on its own, and may redirect to any public
one. Logins go to an upstream's own origin alone.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Ecosystem, PackageFile
from quarantine.policy.stage import Upstream
from quarantine.ports import Tell

if TYPE_CHECKING:
    from quarantine.io.http import HttpClient

__all__ = ["Downloads"]

MAX_PROVENANCE_BYTES = 4 * 1024 * 1024
"""A provenance object holds a few attestations of some kilobytes each."""
STREAM_SECONDS = 1800.0
_TELL_EVERY_BYTES = 4 * 1024 * 1024


class Downloads:
    """Implements `ports.FileSource`. `http` makes the client, once it is needed; `logins` are user and password by upstream.

    `urls` gives the address of every upstream, of the default index too.
    """

    def __init__(
        self,
        *,
        upstreams: Collection[Upstream],
        urls: Callable[[Upstream], str],
        http: "Callable[[], HttpClient]",
        logins: Mapping[str, tuple[str, str]],
    ) -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._urls = urls
        self._make_http = http
        self._logins = logins

    @cached_property
    def _http(self) -> "HttpClient":
        return self._make_http()

    def fetch(self, upstream: str, file: PackageFile, to: BinaryIO, max_bytes: int, tell: Tell) -> int:
        """Writes the bytes of a file that the upstream lists, and answers how many there were.

        IntegrityError where they are more than the limit, or not of the size and the digest that the upstream gives.
        UpstreamError when they can't be had.
        """
        if file.digest is None:
            raise IntegrityError(f"{file.filename}: {upstream} gives no sha256 for it, so nothing can be held to one")
        if file.size is not None and file.size > max_bytes:
            raise IntegrityError(f"{file.filename} has {file.size} bytes, at most {max_bytes} are fetched")
        from quarantine.io.http import CHUNK_BYTES  # noqa: PLC0415  # only what is fetched is asked for

        limit = max_bytes if file.size is None else file.size
        hashed, size, told = hashlib.sha256(), 0, 0
        headers, also, to_public = self._asking(upstream, file.url)
        # one piece more than may come, so that it is this that speaks of it
        with self._http.stream(
            file.url,
            headers=headers,
            max_bytes=limit + CHUNK_BYTES,
            also=also,
            to_public=to_public,
            deadline_seconds=STREAM_SECONDS,
        ) as answer:
            if answer.status != 200:
                raise UpstreamError(f"{upstream} answered {answer.status} for {file.filename}: expected the file")
            for chunk in answer.chunks:
                size += len(chunk)
                if size > limit:
                    raise IntegrityError(f"{file.filename} has more than the {limit} bytes that it may have")
                hashed.update(chunk)
                to.write(chunk)
                if size - told >= _TELL_EVERY_BYTES:
                    told = size
                    tell(f"fetching {file.filename}: {size / 2**20:.0f} MiB")
        if file.size is not None and size != file.size:
            raise IntegrityError(f"{file.filename}: {size} bytes came, {upstream} lists {file.size}")
        if hashed.hexdigest() != file.digest.hex:
            raise IntegrityError(f"{file.filename}: its bytes don't have the sha256 that {upstream} lists for it")
        return size

    def provenance(self, upstream: str, url: str, tell: Tell) -> bytes | None:
        """What the index says of a file's provenance (PEP 740), None where there is none. UpstreamError."""
        tell("fetching provenance")
        headers, also, _ = self._asking(upstream, url)
        answer = self._http.get(url, headers=headers, also=also, max_bytes=MAX_PROVENANCE_BYTES)
        if answer.status in (404, 410):
            return None
        if answer.status != 200:
            raise UpstreamError(f"{upstream} answered {answer.status} for a provenance object: expected one")
        return answer.body

    def _asking(self, name: str, url: str) -> tuple[dict[str, str], frozenset[str], bool]:
        """The headers to ask with, the origin that may be asked beside the configured ones, and whether redirects may leave."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # only what is fetched is asked for

        upstream = self._upstreams.get(name)
        if upstream is None:
            raise UpstreamError(f"{name} is no upstream of the policy: nothing is fetched from it")
        origin, own = target_of(url).origin, target_of(self._urls(upstream)).origin
        if upstream.type is Ecosystem.CONDA and origin != own:
            raise UpstreamError(f"{name} lists a file on {origin}, which is not the channel's own host")
        headers = {"Accept-Encoding": "identity"}
        if name in self._logins and origin == own:
            login = base64.b64encode(":".join(self._logins[name]).encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        return headers, frozenset({str(origin)}), upstream.type is Ecosystem.CONDA
