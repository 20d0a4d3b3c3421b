"""Text from a user's file without the credentials in it.

What can't be read as a URL beyond doubt is left out rather than shown: a password may hold the "/", "?", "#" or blank
at which a parser takes the host to end, and may be percent-encoded. Every step is linear in the text.
"""

import re
from collections.abc import Iterator, Sequence

__all__ = ["names_a_secret", "redact"]

_WORDS = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|credential|authorization|session[_-]?id|signature"
    r"|(?:api|access|account|private|shared)[_-]?key)s?"
)
# one "=" or ":"; two or more of them compare versions, and a package may be named so
_NAMED = re.compile(
    rf"""({_WORDS}["']?\s{{0,4}}(?:=(?!=)|:(?!/))\s{{0,4}})"""
    r"""(?:"[^"]*"?|'[^']*'?|(?:(?:basic|bearer|token)\s{1,4})?[^\s"',;]+)""",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(rf"{_WORDS}\Z", re.IGNORECASE)
_BLANK = re.compile(r"(\s+)")
_SCHEME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-"
_HOST = re.compile(r"(?:git@)?(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]*\])(?::[0-9]{0,5})?")
_AUTHORITY_END = re.compile(r"[/?#\\]")
# nearly all of a lock's URLs: nothing in them can be a login
_PLAIN = re.compile(r"https://[A-Za-z0-9.-]+/[A-Za-z0-9._+/-]*")
_AT = re.compile("@|%40")
_DOUBTFUL = re.compile(r"[@;\\]|%40|%3A", re.IGNORECASE)
_REVISION = re.compile(r"[\w./~+-]+@[\w./+-]+", re.ASCII)
_FILES = (".whl", ".tar.gz", ".zip")


def redact(text: str) -> str:
    """The text with each URL as `scheme://host/path`: no userinfo, query, fragment or parameters.

    Of a path that may hold a login only the last segment stays, of an unreadable URL only the scheme, and in both the
    name of a file. `git@`, which is no secret, and a VCS reference's `@revision` stay. The values of assignments whose
    names say secret are `***`. Doing it twice changes nothing more.
    """
    if _PLAIN.fullmatch(text):
        return text
    if "@" in text or "://" in text:
        text = "".join(_redact_words(_BLANK.split(text)))
    if "=" in text or ":" in text:
        text = _NAMED.sub(r"\1***", text)
    return text


def names_a_secret(key: str) -> bool:
    """Whether a key's name says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None


def _redact_words(words: Sequence[str]) -> Iterator[str]:
    ends = _userinfo_ends(words)
    place = 0
    while place < len(words):
        word = words[place]
        end = ends[place]
        if "://" not in word:
            yield _bare(word)
        elif "@" not in word.partition("://")[2] and end is not None:
            # a password with a blank in it: userinfo goes on up to the next "@"
            before, scheme, _ = _parts(word)
            yield f"{_bare(before)}{scheme}://{_unreadable(_AT.split(words[end])[-1])}"
            place = end
        else:
            before, scheme, rest = _parts(word)
            yield f"{_bare(before)}{scheme}://{_after_scheme(scheme, rest)}"
        place += 1


def _userinfo_ends(words: Sequence[str]) -> Sequence[int | None]:
    """For each word the next one with an "@" in it, if no URL begins between them."""
    ends: list[int | None] = [None] * len(words)
    nearest: int | None = None
    for place in range(len(words) - 1, -1, -1):
        ends[place] = nearest
        if "://" in words[place]:
            nearest = None
        elif _AT.search(words[place]):
            nearest = place
    return ends


def _parts(word: str) -> tuple[str, str, str]:
    """What stands before a URL, its scheme, and what follows `://`."""
    head, _, rest = word.partition("://")
    before = head.rstrip(_SCHEME)
    return before, head[len(before) :], rest


def _bare(word: str) -> str:
    """A word without a scheme: `user:password@host` and `user@host/path` lose what is before the "@"."""
    before, at, after = word.rpartition("@")
    if not at or not before or before == "git" or before.endswith("+git"):
        return word
    if ":" in before or ("/" in after and not after.startswith((".", "/"))):
        return f"{before[: before.rfind('=') + 1]}{after}"
    return word


def _after_scheme(scheme: str, rest: str) -> str:
    """What follows `://` of one URL, as far as it may be shown."""
    found = _AUTHORITY_END.search(rest)
    end = len(rest) if found is None else found.start()
    authority, tail = rest[:end], rest[end:]
    path = tail.partition("#")[0].partition("?")[0]
    user, at, host = authority.rpartition("@")
    revision = "+" in scheme and _REVISION.fullmatch(path) is not None
    sure = not authority or (":" not in authority and "." in authority) or (revision and ".git@" in path)
    if at:
        authority = f"git@{host}" if user == "git" else host
    elif "@" in tail and not sure:
        # "user:1/2@host": what looks like a host with a port may be a login
        return _unreadable(path)
    if _HOST.fullmatch(authority) is None:
        return _unreadable(path)
    if revision or not _DOUBTFUL.search(path):
        return f"{authority}{path}"
    last = _last(path)
    return f"{authority}/...{'/' if last else ''}{last}"


def _unreadable(path: str) -> str:
    last = _last(path)
    return f".../{last}" if last.endswith(_FILES) else "..."


def _last(path: str) -> str:
    """The last segment of a path without its parameters, empty when it is doubtful itself."""
    last = path.rpartition("/")[2].partition(";")[0]
    return "" if _DOUBTFUL.search(last) else last
