"""What a server asks for before it answers: the WWW-Authenticate header (RFC 9110, section 11.6.1), read strictly."""

import re
from dataclasses import dataclass

from quarantine.errors import UpstreamError

__all__ = ["Challenge", "parse_challenges"]

MAX_HEADER = 4096
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# One element of the list: a scheme, a parameter, or a scheme with its first parameter or its only token.
_ELEMENT = re.compile(
    rf"""
    (?: (?P<scheme>{_WORD}) (?: [ ]++ | (?=[ \t]*+(?:,|$)) ) )?
    (?: (?P<name>{_WORD}) [ \t]*+ = [ \t]*+ (?: "(?P<quoted>(?:[^"\\]|\\.)*+)" | (?P<value>{_WORD}) )
      | (?P<token68>[A-Za-z0-9._~+/-]++=*+) )?
    [ \t]*+ (?: , [ \t,]*+ | $ )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to prove who is asking. Scheme and parameter names are in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The value of a parameter, None where it isn't given."""
        return dict(self.parameters).get(name)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header, in order. UpstreamError when it isn't one, or says the same parameter twice."""
    if len(header) > MAX_HEADER or re.search(r"[^\t -~]", header):
        raise _unreadable(header)
    found: list[tuple[str, dict[str, str]]] = []
    here = len(header) - len(header.lstrip(" \t,"))
    while here < len(header):
        element = _ELEMENT.match(header, here)
        if element is None:
            raise _unreadable(header)
        here = element.end()
        if element["scheme"] is not None:
            found.append((element["scheme"].lower(), {}))
        elif not found or element["name"] is None:
            raise _unreadable(header)
        if element["name"] is not None:
            name, parameters = element["name"].lower(), found[-1][1]
            if name in parameters:
                raise _unreadable(header)
            quoted = element["quoted"]
            parameters[name] = element["value"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return tuple(Challenge(scheme, tuple(parameters.items())) for scheme, parameters in found)


def _unreadable(header: str) -> UpstreamError:
    return UpstreamError(f"a WWW-Authenticate header that can't be read (RFC 9110): {header[:100]!a}")
