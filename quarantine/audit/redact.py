"""Text without its secrets: for records, reports and notifications.

Recognised are URL userinfo, signatures and tokens in queries, `name=value` and header forms whose name says secret,
and the shapes of well-known tokens. What is found is replaced by `***`, and a second pass changes nothing more.

Every pattern is linear: none has a repetition that can fail after a long run, so no run is read twice.
"""

import re

__all__ = ["REDACTED", "Json", "redact", "redact_json"]

Json = str | int | bool | None | list["Json"] | dict[str, "Json"]

REDACTED = "***"

# Texts, which `re` compiles when they are first used and keeps: few runs need any of them.
_URL = r"://([^\s\"'<>]+)"
_URL_END = r"[/?#\\]"
_URL_AT = r"@"
# the same, percent-encoded: a URL as a parameter of another, or as the qualifier of a package URL
_ENCODED_URL = r"(?i)(?::|%3A)%2F%2F([^\s\"'<>]+)"
_ENCODED_SEPARATOR = r"(?i)((?::|%3A)%2F%2F)"
_ENCODED_END = r"(?i)[/?#&\\]|%(?:2F|3F|23|26)"
_ENCODED_AT = r"(?i)@|%40"

_NAMES = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|credentials?"
    r"|(?:api|access|account|secret|private|shared|signing|encryption|subscription|storage|master)[_-]?key"
    r"|shared_?access_?(?:key|signature)|x-amz-(?:signature|credential|security-token)|x-goog-signature)"
)
_VALUE = r"""(?:"[^"]*"?|'[^']*'?|(?:(?!%26)[^\s&;,"'<>])+)"""
_NAMED = rf"(?i)({_NAMES}[\"']?(?:\s{{0,4}}=(?!=)|%3D|(?<=[\"'])\s{{0,4}}:)\s{{0,4}}){_VALUE}"
_QUERY = (
    r"(?i)((?:(?<=[?&;\s\"'])|^|(?<=%3F)|(?<=%26))"
    rf"(?:sig|signature|se|sp|skoid|sktid|skt|ske|key|code|auth|jwt)(?:=|%3D)){_VALUE}"
)
_LABELLED = (
    rf"(?i)((?:(?:pass(?:word|wd)|client[_-]secret|(?:api|access|account)[_-]?key|(?:access|id|refresh)[_-]token)\s{{0,4}}:\s{{0,4}}"
    rf"|--[a-z-]{{0,20}}(?:password|token|secret)\s{{1,4}})){_VALUE}"
)
_HEADER = (
    r"(?i)(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?:(?:basic|bearer|digest|negotiate|token)\s{1,4})?[^\s\"',;]+"
)
_BEARER = r"(?i)(\bbearer\s)\s*[\w.~+/=-]{8,}"
_SHAPES = (
    r"pypi-Ag[\w-]{16,}"  # PyPI API tokens
    r"|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|dckr_pat_[\w-]{20,}"
    r"|xox[abeoprs]-[0-9][\w-]{10,}|sk-(?:proj|ant|svcacct)-[\w-]{16,}|AIza[\w-]{30,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|eyJ[\w-]{16,}(?:\.[\w-]*){0,4}"  # JSON Web Tokens: base64url of '{"'
    r"|[\w.-]{3}[0-9]Q~[\w.~-]{31,}"  # Microsoft Entra client secrets
    r"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}=="  # Azure Storage account keys: 64 bytes in base64
    r"|\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b"  # Azure DevOps personal access tokens
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*"
)
# One of these is in every shape.
_MARKS = (
    "pypi-Ag", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "npm_", "hf_", "dckr_pat_", "xox", "sk-",
    "AIza", "AKIA", "ASIA", "eyJ", "Q~", "==", "AZDO", "-----",
)  # fmt: skip
# What a text must hold for one of the patterns above to match: one of a few marks, or a word.
_WORDS = ("pass", "pwd", "secret", "token", "credential", "key", "signature", "authorization", "bearer")
_SECRET_KEY = rf"(?i)[a-z0-9_]{{0,60}}(?:{_NAMES}|authorization)"


def redact(text: str) -> str:
    """The text with every secret that can be recognised replaced, in time linear in its length."""
    # most texts hold nothing that any of the patterns could begin with, and that is told quickly; only of ASCII, since
    # other letters count as ASCII ones where a pattern doesn't look at case
    plain, lowered = text.isascii(), text.lower()
    if (
        not plain
        or "=" in text
        or "%" in text
        or "://" in text
        or "--" in text
        or any(map(lowered.__contains__, _WORDS))
    ):
        text = _without_named(text)
    if any(map(text.__contains__, _MARKS)):
        text = re.sub(_SHAPES, REDACTED, text)
    return text


def _without_named(text: str) -> str:
    """The text without what a URL, a name or a label before it says is a secret."""
    plain = text.isascii()
    assigned = not plain or "=" in text or "%" in text
    if "://" in text:
        text = re.sub(_URL, _plain_url, text)
    if "%" in text:
        text = re.sub(_ENCODED_URL, _encoded_url, text)
    if assigned or ":" in text:
        text = re.sub(_HEADER, _keep_name, text)
        text = re.sub(_NAMED, _keep_name, text)
    if assigned:
        text = re.sub(_QUERY, _keep_name, text)
    if not plain or ":" in text or "--" in text:
        text = re.sub(_LABELLED, _keep_name, text)
    return re.sub(_BEARER, _keep_name, text) if not plain or "bearer" in text.lower() else text


def redact_json(value: dict[str, Json]) -> dict[str, Json]:
    """The mapping with every text in it redacted, keys too, and made to be valid Unicode.

    A value under a key whose name says secret, and every value in an `env`, is replaced whole. ValueError when two
    keys can't be told apart any more.
    """
    out: dict[str, Json] = {}
    for key, child in value.items():
        clean = _clean(key)
        if clean in out:
            raise ValueError(f"two keys are {clean!a} after redaction")
        out[clean] = _redact_member(clean, child)
    return out


def _redact_member(key: str, value: Json) -> Json:
    if isinstance(value, str) and value and re.fullmatch(_SECRET_KEY, key):
        return REDACTED
    if key.lower() == "env":
        match value:
            case dict():
                return {_clean(name): REDACTED for name in value}
            case list():
                return [_redact_assignment(item) for item in value]
            case _:
                pass
    return _redact_value(value)


def _redact_value(value: Json) -> Json:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return redact_json(value)
    if isinstance(value, list):
        return [_redact_value(child) for child in value]
    return value


def _redact_assignment(item: Json) -> Json:
    """`NAME=value`, as an image's configuration lists its environment, without the value."""
    if isinstance(item, str):
        name, equals, _ = item.partition("=")
        return _clean(name) + equals + REDACTED if equals else REDACTED
    return _redact_value(item)


def _clean(text: str) -> str:
    # a lone surrogate stands for a byte that was not UTF-8, as in the name of a file: JSON has no form for it
    return redact(text if text.isascii() else text.encode("utf-8", "backslashreplace").decode())


def _keep_name(match: re.Match[str]) -> str:
    """The part before the secret, and the secret's quotes, if any, around its replacement."""
    opening = match[0][match.end(1) - match.start() :][:1]
    if opening not in ("'", '"'):
        return match[1] + REDACTED
    closing = opening if match[0].endswith(opening) and match.end() - match.end(1) > 1 else ""
    return f"{match[1]}{opening}{REDACTED}{closing}"


def _plain_url(match: re.Match[str]) -> str:
    return "://" + "://".join(_without_userinfo(piece, _URL_END, _URL_AT) for piece in match[1].split("://"))


def _encoded_url(match: re.Match[str]) -> str:
    # the odd pieces are the separators themselves
    pieces = re.split(_ENCODED_SEPARATOR, match[0])
    return "".join(
        piece if index % 2 else _without_userinfo(piece, _ENCODED_END, _ENCODED_AT)
        for index, piece in enumerate(pieces)
    )


def _without_userinfo(rest: str, ends: str, at: str) -> str:
    """What follows `scheme://`, with the userinfo (RFC 3986 section 3.2.1) replaced.

    A password that holds a raw "/", "?" or "#" ends the authority too early; it shows in a port that is no number.
    """
    end = re.search(ends, rest)
    authority, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    last = _last(at, authority)
    if last is not None:
        return f"{REDACTED}{authority[last.start() :]}{tail}"
    port = authority.partition(":")[2]
    if port and not port.isdecimal() and not authority.startswith("["):
        last = _last(at, tail)
        if last is not None:
            return f"{REDACTED}{tail[last.start() :]}"
    return rest


def _last(pattern: str, text: str) -> re.Match[str] | None:
    found = None
    for found in re.finditer(pattern, text):  # noqa: B007 - the last one is wanted
        pass
    return found
