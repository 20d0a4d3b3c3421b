"""Where the commands write that copy, move, link and make files: by the options of them that are known."""

import re
from collections.abc import Mapping, Sequence

from quarantine.spec.shell_words import Field

__all__ = ["WRITERS", "written"]

_OPTIONS: Mapping[str, re.Pattern[str]] = {
    "cp": re.compile(r"-[adfHiLnPpRruvxT]+|--(?:archive|force|no-clobber|recursive|update|verbose|preserve(?:=.*)?)"),
    "mv": re.compile(r"-[finuvT]+|--(?:force|no-clobber|verbose)"),
    "ln": re.compile(r"-[finrsvT]+|--(?:force|no-dereference|relative|symbolic|verbose)"),
    "tee": re.compile(r"-[ai]+|--append"),
    "touch": re.compile(r"-[acm]+|--no-create"),
    "truncate": re.compile(r"-s[0-9]+|--size=[0-9]+"),
}
WRITERS = frozenset(_OPTIONS)


def written(name: str, arguments: Sequence[Field]) -> tuple[Sequence[Field], Sequence[Field]] | None:
    """What one of WRITERS takes (or links to), and where it writes; None where its options make that unknown."""
    words: list[Field] = []
    for place, word in enumerate(arguments):
        if word.text == "--" and word.known is not None:
            words += arguments[place + 1 :]
            break
        if name == "truncate" and word.text == "-s":
            continue
        if not word.text.startswith("-"):
            words.append(word)
        elif word.known is None or _OPTIONS[name].fullmatch(word.text) is None:
            return None
    if name in {"tee", "touch", "truncate"}:
        return (), words
    return (words[:-1], words[-1:]) if len(words) > 1 else None
