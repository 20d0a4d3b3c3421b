"""JSON text to typed values, within limits, with the line of what is wrong: for documents that this tool wrote itself.

Whoever hands one in may have changed it. Keys that stand twice, numbers that JSON doesn't have and deep nesting are
refused; keys that a type doesn't know are left to the type.
"""

import json
import re
from typing import TypeVar

import msgspec

from quarantine.errors import Problem, SpecError

__all__ = ["JsonText", "load_json"]

MAX_DEPTH = 64
T = TypeVar("T")
Step = str | int

_PATH = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")
_SPACE = re.compile(r"[ \t\n\r]*")
_DEEP = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]')


class JsonText:
    """A document as plain values, and the text that says where each of them stands."""

    __slots__ = ("_text", "file", "value")

    def __init__(self, file: str, text: str, value: object) -> None:
        self.file = file
        self.value = value
        self._text = text

    def problem(self, path: tuple[Step, ...], message: str) -> Problem:
        """A problem at the value that the path leads to, or at the nearest one above it."""
        return Problem(file=self.file, line=self._text.count("\n", 0, _place(self._text, path)) + 1, message=message)

    def to(self, type_: type[T]) -> T:
        """The document as a value of a msgspec type, raising SpecError with the line of what doesn't fit."""
        try:
            return msgspec.convert(self.value, type_, strict=True)
        except msgspec.ValidationError as error:
            text = str(error)
            found = _PATH.search(text)
            inner = "" if found is None else found[1]
            steps = tuple(name or int(index) for name, index in _STEP.findall(inner))
            message = _PATH.sub("", text)
            where = inner.lstrip(".") or "the document"
            raise SpecError([self.problem(steps, f"{where}: {message[:1].lower()}{message[1:]}")]) from None


def load_json(file: str, data: bytes, max_bytes: int) -> JsonText:
    """The document in `data`, raising SpecError with the line of whatever is not plain JSON."""

    def fail(message: str, line: int | None = None) -> SpecError:
        return SpecError([Problem(file=file, line=line, message=message)])

    if len(data) > max_bytes:
        raise fail(f"more than {max_bytes} bytes: expected a document of this tool")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail(f"not UTF-8 (byte {error.start}): expected a JSON document of this tool") from None
    if (deep := _too_deep(text)) is not None:
        raise fail(f"nested deeper than {MAX_DEPTH}", text.count("\n", 0, deep) + 1)
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise fail(f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}", error.lineno) from None
    except ValueError as error:
        raise fail(f"not JSON: {str(error)[:200]}") from None
    return JsonText(file, text, value)


def _too_deep(text: str) -> int | None:
    """Where the text goes deeper than is read; None where it doesn't. Its time is in proportion to the text."""
    depth = 0
    for token in _DEEP.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return token.start()
    return None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!a} stands twice in one object")
    return members


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")


_decoder = json.JSONDecoder()


def _place(text: str, path: tuple[Step, ...]) -> int:
    """Where the value begins that the path leads to, in a text that is JSON."""
    at = _after_space(text, 1 if text.startswith("\ufeff") else 0)
    for step in path:
        found = _child(text, at, step)
        if found is None:
            return at
        at = found
    return at


def _child(text: str, at: int, step: Step) -> int | None:
    """Where the member or the element of the container at `at` begins; None where it has none such."""
    if text[at] != ("{" if isinstance(step, str) else "["):
        return None
    count, at = 0, _after_space(text, at + 1)
    while text[at] not in "]}":
        name: Step = count
        if isinstance(step, str):
            name, at = _decoder.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
        if name == step:
            return at
        at = _after_space(text, _decoder.raw_decode(text, at)[1])
        count += 1
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return None


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
