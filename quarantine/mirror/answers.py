"""What the mirror says to a client: a page, a file, another place, or no and why."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import unquote

import msgspec

from quarantine.mirror.simple import HTML_TYPE, JSON_TYPE

__all__ = [
    "Answer",
    "Document",
    "Kind",
    "Moved",
    "Refusal",
    "Shelves",
    "Stored",
    "accepted",
    "content_type",
    "segments",
]

Kind = Literal["json", "html"]
"""How the pages of an index are written."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,299}")
_MAX_ACCEPT = 1000
_TYPES: dict[str, Kind] = {
    JSON_TYPE: "json",
    "application/vnd.pypi.simple.latest+json": "json",
    "application/vnd.pypi.simple.v1+html": "html",
    "application/vnd.pypi.simple.latest+html": "html",
    "text/html": "html",
    "text/*": "html",
    "*/*": "html",
}


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A page, whole."""

    content_type: str
    data: bytes


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A file by its sha256 (hexadecimal digits), and when the mirror took it in (aware, UTC).

    `chunks` reads it; after the last chunk it is checked: IntegrityError then means that none of them counts.
    """

    content_type: str
    sha256: str
    size: int
    published: datetime | None
    chunks: Callable[[], Iterator[bytes]]


class Moved(msgspec.Struct, frozen=True):
    """The same is at another path, with its first slash."""

    path: str


class Refusal(msgspec.Struct, frozen=True):
    """No: the status of HTTP for it, and why, in a sentence for a person."""

    status: int
    why: str


Answer = Document | Stored | Moved | Refusal


class Shelves(Protocol):
    """What a server of the mirror asks."""

    def answer(self, path: str, accept: str) -> Answer:
        """The answer to a request for a path (as it came, without a query); `accept` is what the client takes."""
        ...


def accepted(accept: str) -> Kind | None:
    """How an index page is written for a client that sends this Accept header; None where it takes neither kind.

    PEP 691: the client's preference counts; of equals, JSON. HTML is what those get that don't say.
    """
    best: tuple[float, bool, Kind] | None = None
    for part in accept[:_MAX_ACCEPT].split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        kind = _TYPES.get(name)
        quality = 1.0
        for parameter in parameters:
            if re.fullmatch(r"q=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", parameter):
                quality = float(parameter[2:])
        if kind is not None and quality > 0:
            best = max(best or (0.0, False, kind), (quality, kind == "json", kind))
    return None if best is None else best[2]


def content_type(kind: Kind, accept: str) -> str:
    """The media type of an index page: the one that the client named, where it named one."""
    if kind == "json":
        return JSON_TYPE
    return "application/vnd.pypi.simple.v1+html" if "simple.v1+html" in accept else HTML_TYPE


def segments(path: str) -> tuple[str, ...] | None:
    """The segments of a path that a client asked for, the last of them "" where it ends in a slash; None for no such path.

    A segment is decoded once, and then holds nothing that any file system or any other server reads as a way elsewhere.
    """
    first, *parts = path.split("/")
    if first or not parts:
        return None
    decoded = tuple(map(unquote, parts))
    return decoded if all(map(_SEGMENT.fullmatch, decoded[:-1])) and _is_last(decoded[-1]) else None


def _is_last(text: str) -> bool:
    return not text or _SEGMENT.fullmatch(text) is not None
