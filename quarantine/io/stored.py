"""What every store of bytes and pages holds to: which names there are, and that bytes are those of their digest."""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import BinaryIO

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest

__all__ = [
    "CHUNK_BYTES",
    "MAX_PAGE_NAME",
    "checked",
    "digest_hex",
    "measured",
    "page_folder",
    "page_parts",
    "parse_container",
]

CHUNK_BYTES = 1024 * 1024
MAX_PAGE_NAME = 900
"""A blob's name has at most 1,024 characters (Microsoft's "Naming and referencing containers, blobs, and metadata")."""
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def parse_container(text: str) -> str:
    """The name of a container, safe as a folder's; UpstreamError when it isn't one."""
    if len(text) > 63 or _CONTAINER.fullmatch(text) is None:
        raise UpstreamError(
            f"{text!a} is not a container of the store: expected 3 to 63 lower case letters, digits and '-'"
        )
    return text


def digest_hex(digest: Digest) -> str:
    """The hexadecimal digits of a sha256, safe as a file's name; UpstreamError for any other digest."""
    try:
        if digest.algorithm == "sha256" and Digest.sha256(digest.hex) == digest:
            return digest.hex
    except ValueError:
        pass
    raise UpstreamError(f"{str(digest)!a} names nothing in the store: expected sha256: and 64 hexadecimal digits")


def page_parts(name: str) -> tuple[str, ...]:
    """The segments of a page's name, each safe as a file's; UpstreamError when it isn't one."""
    parts = tuple(name.split("/"))
    if len(name) > MAX_PAGE_NAME or not all(map(_SEGMENT.fullmatch, parts)):
        raise UpstreamError(
            f"{name!a} is not the name of a page: expected segments of letters, digits, '.', '_' and '-' that begin with "
            "a letter or a digit, as in simple/numpy/index.json"
        )
    return parts


def page_folder(name: str) -> str:
    """The container of a page: curators' pages lie where only they write, those of the publisher are all others."""
    return "decisions" if name.startswith("decisions/") else "pages"


def measured(file: BinaryIO, digest: Digest, size: int, what: str) -> Iterator[bytes]:
    """The next `size` bytes of a file in chunks; after the last one they are held to length and digest.

    IntegrityError then means that none of them counts. OSError passes through.
    """
    left, total = size, sha256()
    while left > 0:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise IntegrityError(f"{what} has {size - left} bytes: expected {size}; nothing was stored")
        left -= len(chunk)
        total.update(chunk)
        yield chunk
    if total.hexdigest() != digest.hex:
        raise IntegrityError(f"{what} has sha256 {total.hexdigest()}: expected {digest.hex}; nothing was stored")


def checked(chunks: Iterable[bytes], digest: Digest, what: str) -> Iterator[bytes]:
    """The chunks; after the last one they are held to the digest. IntegrityError means that none of them counts."""
    total = sha256()
    for chunk in chunks:
        total.update(chunk)
        yield chunk
    if total.hexdigest() != digest.hex:
        raise IntegrityError(f"{what} holds other bytes than its name says: stop and look who changed it")
