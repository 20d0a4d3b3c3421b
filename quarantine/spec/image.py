"""Image references: the grammar of the distribution project, with Docker Hub's short forms written out.

A first segment is a host when it holds a '.' or a ':', or is `localhost`; anything else is a path on Docker Hub.
"""

import re

from quarantine.model import Digest, ImageReference, Location
from quarantine.spec.text import only_ascii, quote

__all__ = ["parse_image", "placeholder"]

MAX_TEXT = 1024
MAX_NAME = 255
MAX_HOST = 253
_HUB = "docker.io"
# distribution's "reference" package: a path segment is words joined by one '.', one or two '_', or any number of '-'
_SEGMENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLACEHOLDER = re.compile(r"\$?\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$\([^()]*\)|\$[A-Za-z_][A-Za-z0-9_]*|<[^<>]*>|%\([^()]*\)s")


def placeholder(text: str) -> str | None:
    """The first placeholder in a text that somebody or something fills in later (`{{tag}}`, `$TAG`, `<tag>`)."""
    found = _PLACEHOLDER.search(text[:MAX_TEXT])
    return None if found is None else found[0]


def parse_image(text: str, location: Location, role: str = "image") -> ImageReference:
    """The reference that a text stands for, registry and path written out; ValueError says what is wrong with it.

    Without a tag and a digest it stays so, and means `latest`. What `scratch` stands for is the caller's to know.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"an image reference of {len(text)} characters: at most {MAX_TEXT} are read")
    if not text:
        raise ValueError("an image reference without a name")
    only_ascii(text)
    _check_form(text)
    rest, at, given = text.partition("@")
    digest = _digest(text, given) if at else None
    name, tag = _split_tag(rest)
    if tag is not None and _TAG.fullmatch(tag) is None:
        raise _refused(text, f"{quote(tag)} is no tag: up to 128 of A-Z a-z 0-9 _ . -, not beginning with '.' or '-'")
    host, path = _split_host(text, name)
    return ImageReference(host=host, path=path, tag=tag, digest=digest, role=role, location=location)


def _check_form(text: str) -> None:
    """Nothing, raising ValueError for what is a reference of another kind, with what to write in its place."""
    found = placeholder(text)
    if found is not None or "{{" in text or "$" in text:
        raise _refused(text, f"the placeholder {quote(found or '$')} isn't filled in")
    scheme, separator, _ = text.partition("://")
    if separator:
        raise _refused(text, f"write it without {quote(scheme + separator)}")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _refused(text, "it holds a blank or a control character")
    if "/" in text.partition("@")[2]:
        raise ValueError("an image reference with a login before '@': registries take their logins from elsewhere")


def _digest(text: str, given: str) -> Digest:
    algorithm, _, value = given.partition(":")
    if algorithm != "sha256" or _SHA256.fullmatch(value) is None:
        raise _refused(text, "behind '@' stands 'sha256:' with 64 lower-case hexadecimal digits, or nothing")
    return Digest.sha256(value)


def _split_tag(rest: str) -> tuple[str, str | None]:
    """Name and tag: a ':' behind the last '/' begins a tag, any other a port."""
    before, colon, tag = rest.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (rest, None)


def _split_host(text: str, name: str) -> tuple[str, str]:
    """Host and path as distribution tells them apart."""
    first, slash, path = name.partition("/")
    if slash and ("." in first or ":" in first or first.lower() == "localhost"):
        host = _host(text, first.lower())
    else:
        host, path = _HUB, name
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    if len(path) > MAX_NAME or len(host) > MAX_HOST:
        raise _refused(text, f"a name of more than {MAX_NAME} characters")
    for segment in path.split("/"):
        if _SEGMENT.fullmatch(segment) is None:
            advice = ": it must be lower-case" if _SEGMENT.fullmatch(segment.lower()) else ""
            raise _refused(text, f"{quote(segment)} is no segment of a path{advice}")
    if _SHA256.fullmatch(name):
        raise _refused(text, "an image's id names nothing in a registry: write its name and digest")
    return host, path


def _host(text: str, host: str) -> str:
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name = host
    elif _PORT.fullmatch(port) is None or int(port) > 65535:
        raise _refused(text, f"{quote(port)} is no port")
    if _IPV6.fullmatch(name) is None and not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise _refused(text, f"{quote(name)} is no host")
    return _HUB if host == f"index.{_HUB}" else host


def _refused(text: str, why: str) -> ValueError:
    return ValueError(f"{quote(text)} is not an image reference: {why}")
