"""Downloads of big files: conditional (RFC 9110 section 13), resumable (section 14), never half a file.

What has arrived of a download lies beside its destination as `NAME.part`, with what the server called it in
`NAME.part.json`; a later run goes on from there, if the server still has the same bytes. What the bytes mean, and
whether they are whole, is for the caller to check once more.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from quarantine.errors import UpstreamError
from quarantine.io.guard import target_of
from quarantine.io.http import HttpClient, Streamed

__all__ = ["Downloaded", "NotModified", "Validators", "download"]

_TELL_EVERY_BYTES = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What a server called the bytes it sent: enough to ask whether they have changed."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """The whole of what the URL names, now at the destination."""

    validators: Validators


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """The server says that what we have is still what it has."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known about a partial download. The URL itself may hold a signature, so its sha256 stands for it."""

    url_sha256: str
    etag: str


def download(
    http: HttpClient,
    url: str,
    destination: Path,
    *,
    have: Validators | None,
    max_bytes: int,
    deadline_seconds: float,
    tell: Callable[[str], None],
) -> Downloaded | NotModified:
    """Fetches the URL to the destination, which is replaced only by the whole of it.

    `have` are the validators of a copy that the caller holds. UpstreamError when the server refuses, breaks off, sends
    more than `max_bytes` or breaks its protocol; what has arrived until then is kept for the next call.
    """
    part = destination.with_name(f"{destination.name}.part")
    note = destination.with_name(f"{part.name}.json")
    for _ in range(2):
        etag = _resumable(part, note, url)
        start = part.stat().st_size if etag is not None else 0
        headers = _headers(have, etag, start)
        with http.stream(
            url, headers=headers, max_bytes=max(max_bytes - start, 0), deadline_seconds=deadline_seconds
        ) as answer:
            if answer.status == 304 and have is not None:
                _forget(part, note)
                return NotModified()
            if answer.status == 200:
                start = 0
                _note(note, url, answer)
            elif answer.status not in {206, 416} or etag is None:
                raise UpstreamError(f"{target_of(url)}: answered {answer.status}, expected 200")
            elif answer.status == 416 or not _continues(answer, etag, start):
                _forget(part, note)  # the server no longer has these bytes: once more, from the beginning
                continue
            _receive(answer, part, start, url, tell)
            part.replace(destination)
            note.unlink(missing_ok=True)
            validators = Validators(etag=answer.headers.get("ETag"), last_modified=answer.headers.get("Last-Modified"))
            return Downloaded(validators=validators)
    raise UpstreamError(f"{target_of(url)}: changed while it was being read: try again")


def _headers(have: Validators | None, etag: str | None, start: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if have is not None and have.etag is not None:
        headers["If-None-Match"] = have.etag
    elif have is not None and have.last_modified is not None:
        headers["If-Modified-Since"] = have.last_modified
    if etag is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    return headers


def _resumable(part: Path, note: Path, url: str) -> str | None:
    """The entity tag of a partial download that can be gone on with; otherwise what there is of one is removed."""
    try:
        known = msgspec.json.decode(note.read_bytes(), type=_Part)
        if known.url_sha256 == _sha256(url) and part.stat().st_size > 0:
            return known.etag
    except (OSError, msgspec.MsgspecError):
        pass  # there is none, or nobody knows what it is
    _forget(part, note)
    return None


def _note(note: Path, url: str, answer: Streamed) -> None:
    """Remembers which bytes are coming. Without a strong entity tag (RFC 9110, 8.8.1) they can't be gone on with."""
    etag = answer.headers.get("ETag", "")
    if etag.startswith('"') and answer.headers.get("Content-Encoding", "identity") == "identity":
        note.write_bytes(msgspec.json.encode(_Part(url_sha256=_sha256(url), etag=etag)))
    else:
        note.unlink(missing_ok=True)


def _continues(answer: Streamed, etag: str, start: int) -> bool:
    """Whether the answer is the rest of the same bytes."""
    placed = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return placed is not None and int(placed[1]) == start and answer.headers.get("ETag", etag) == etag


def _receive(answer: Streamed, part: Path, start: int, url: str, tell: Callable[[str], None]) -> None:
    """Writes the body after the first `start` bytes of the part, and makes sure that it is all there."""
    total = _total(answer)
    size = told = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in answer.chunks:
            file.write(chunk)
            size += len(chunk)
            if size - told >= _TELL_EVERY_BYTES:
                told = size
                of = "" if total is None else f" of {total / 2**20:.1f}"
                tell(f"downloading: {size / 2**20:.1f}{of} MiB")
    if total is not None and size != total:
        raise UpstreamError(f"{target_of(url)}: {size} bytes came, expected {total}: run it again to go on from there")


def _total(answer: Streamed) -> int | None:
    """How many bytes there are in all, where the server says so."""
    placed = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if placed is not None:
        return None if placed[3] == "*" else int(placed[3])
    length = answer.headers.get("Content-Length", "")
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    return int(length[:15]) if length.isascii() and length.isdecimal() and not encoded else None


def _forget(part: Path, note: Path) -> None:
    for path in (part, note):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
