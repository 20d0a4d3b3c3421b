"""TOML to plain values within limits, with the lines that messages need.

The standard library's parser keeps no places, so lines are found by a light scan of the text. The scan decides nothing:
where it is fooled (a header inside a multi-line string) only a line number is off.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from quarantine.spec.text import MAX_BYTES, Problems, decode, escape, refusal

__all__ = ["Toml", "load_toml"]

MAX_DOTS = 32
_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")
_STRING = re.compile(r'"([^"\n]*)"|\'([^\'\n]*)\'')
_KEY = re.compile(r"""[ \t]*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*([=.])""")


class Toml:
    """A TOML document and where its parts stand; lines count from 1."""

    __slots__ = ("_arrays", "_keys", "_lines", "_literals", "file", "value")

    def __init__(self, file: str, value: Mapping[str, object], text: str) -> None:
        self.file = file
        self.value = value
        self._lines = text.split("\n")
        self._arrays: dict[tuple[str, ...], list[int]] = {}
        self._keys: dict[tuple[str, ...], int] | None = None
        self._literals: dict[str, list[int]] | None = None
        for number, line in enumerate(self._lines, start=1):
            if "[[" in line and (bare := line.lstrip()).startswith("[["):
                self._arrays.setdefault(_header(bare), []).append(number)

    def _key_lines(self) -> Mapping[tuple[str, ...], int]:
        """The first line of every key and of every table's header, looked for when one is asked for."""
        if self._keys is None:
            self._keys = {}
            header: tuple[str, ...] = ()
            for number, line in enumerate(self._lines, start=1):
                bare = line.lstrip()
                path = header
                if bare.startswith("["):
                    path = header = _header(bare)
                elif (found := _KEY.match(line)) is not None:
                    dotted = found[4] == "."
                    key = _parts(line.partition("=")[0]) if dotted else (found[1] or found[2] or found[3] or "",)
                    path = (*header, *key)
                for length in range(1, len(path) + 1):
                    self._keys.setdefault(path[:length], number)
        return self._keys

    def array_lines(self, *path: str) -> Sequence[int]:
        """The lines of the headers `[[path]]`, in order."""
        return self._arrays.get(path, ())

    def line(self, *path: str) -> int | None:
        """The line of a key or of its table's header, else that of the nearest thing above it."""
        lines = self._key_lines()
        for length in range(len(path), 0, -1):
            if path[:length] in lines:
                return lines[path[:length]]
        return None

    def item_lines(self, items: Sequence[object], *path: str) -> Sequence[int | None]:
        """The lines of the strings in the list at the path; that of the key where one can't be found."""
        start = self.line(*path)
        if self._literals is None:
            self._literals = {}
            for number, line in enumerate(self._lines, start=1):
                for found in _STRING.finditer(line):
                    self._literals.setdefault(found[1] if found[1] is not None else found[2], []).append(number)
        cursor = start or 1
        places: list[int | None] = []
        used: dict[str, int] = {}
        for item in items:
            place = start
            if isinstance(item, str) and item in self._literals:
                lines = self._literals[item]
                index = used[item] = max(used.get(item, -1) + 1, bisect_left(lines, cursor))
                if index < len(lines):
                    place = cursor = lines[index]
            places.append(place)
        return places


def load_toml(file: str, data: bytes, max_bytes: int = MAX_BYTES) -> Toml:
    """The document in `data`, raising SpecError with the line of what is no TOML or beyond the limits."""
    text = decode(file, data, max_bytes)
    _refuse_long_keys(file, text)
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise refusal(file, "nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _PLACE.search(message[-100:])
        line = None if found is None else int(found[1])
        plain = _PLACE.sub("", message).replace("(at end of document)", "at the end of the file")
        raise refusal(file, f"not TOML: {plain[:1].lower()}{escape(plain[1:])}", line) from error
    except ValueError as error:
        # the interpreter's own limits, such as that on the digits of a number
        raise refusal(file, "a number or date that is beyond what can be read") from error
    if not value:
        raise refusal(file, "no requirements found: the file holds nothing")
    return Toml(file, value, text)


def _refuse_long_keys(file: str, text: str) -> None:
    """Refuses dotted keys of many parts: the parser's time is quadratic in them (19 s for one line of 64 KiB)."""
    problems = Problems()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_DOTS and _STRING.sub("", line).partition("#")[0].count(".") > MAX_DOTS:
            problems.add(file, number, f"a key of more than {MAX_DOTS} parts")
    problems.check()


def _header(line: str) -> tuple[str, ...]:
    return _parts(line.lstrip("[").partition("]")[0])


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split(".", MAX_DOTS))
