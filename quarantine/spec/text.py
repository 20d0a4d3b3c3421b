"""What every format shares: bytes to text within limits, the gathering of problems, and quoting."""

import unicodedata
from collections.abc import Iterator

from quarantine.errors import Problem, SpecError
from quarantine.spec.redact import redact

__all__ = [
    "MAX_BYTES",
    "MAX_LINE",
    "MAX_LOCK_BYTES",
    "MAX_REQUIREMENTS",
    "Problems",
    "decode",
    "escape",
    "only_ascii",
    "quote",
    "refusal",
]

MAX_BYTES = 10 * 1024 * 1024
MAX_LOCK_BYTES = 32 * 1024 * 1024
MAX_LINE = 64 * 1024
MAX_REQUIREMENTS = 20_000
_MAX_PROBLEMS = 100
_MAX_QUOTED = 100
_MAX_SENTENCE = 300

_WIDE = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_UTF_8 = frozenset({"utf-8", "utf8", "utf-8-sig", "u8", "ascii", "us-ascii"})


class Problems:
    """The problems found so far, in order; only the first 100 are told, and how many more there are."""

    __slots__ = ("_dropped", "_found", "_last")

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._dropped = 0
        self._last = ""

    def add(self, file: str, line: int | None, message: str) -> None:
        """Keeps one problem."""
        if len(self._found) < _MAX_PROBLEMS:
            self._found.append(Problem(file=file, line=line, message=message))
        else:
            self._dropped += 1
            self._last = file

    def extend(self, error: SpecError) -> None:
        """Keeps the problems of an error."""
        for problem in error.problems:
            self.add(problem.file, problem.line, problem.message)

    def __bool__(self) -> bool:
        return bool(self._found)

    def error(self) -> SpecError:
        """All problems as one error."""
        more = [Problem(file=self._last, message=f"and {self._dropped} more problems")] if self._dropped else []
        return SpecError([*self._found, *more])

    def check(self) -> None:
        """Nothing, raising SpecError with all problems if there are any."""
        if self:
            raise self.error()


def decode(file: str, data: bytes, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file, raising SpecError for what is too big, no text, or not UTF-8 (with or without a mark).

    A PEP 263 line that names another encoding is refused too: pip would read such a file otherwise than it looks here.
    """
    if len(data) > max_bytes:
        raise refusal(file, f"{len(data)} bytes: at most {max_bytes} are read")
    for mark, encoding in _WIDE.items():
        if data.startswith(mark):
            raise refusal(file, f"{encoding}: expected UTF-8; save the file in that encoding")
    if b"\0" in data:
        raise refusal(file, f"binary (a zero byte at offset {data.index(0)}): expected a text file in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal(file, f"not UTF-8 (byte {error.start}): save the file in that encoding", line) from error
    problems = Problems()
    for number, content in enumerate(text.split("\n"), start=1):
        if len(content) > MAX_LINE:
            problems.add(file, number, f"a line of {len(content)} characters: at most {MAX_LINE} are read")
    for number, encoding in _declared(text):
        problems.add(file, number, f"declares the encoding {quote(encoding)}: only UTF-8 is read; remove that line")
    problems.check()
    return text


def refusal(file: str, message: str, line: int | None = None) -> SpecError:
    """An error of one problem."""
    return SpecError([Problem(file=file, line=line, message=message)])


def _declared(text: str) -> Iterator[tuple[int, str]]:
    """Encodings other than UTF-8 that the first two lines declare, found as pip finds them (PEP 263)."""
    for number, line in enumerate(text.split("\n", 2)[:2], start=1):
        if not line.startswith("#"):
            continue
        places = [place for place in (line.find("coding:"), line.find("coding=")) if place >= 0]
        if places:
            rest = line[min(places) + len("coding:") :].lstrip()
            end = next((i for i, c in enumerate(rest) if not (c.isascii() and (c.isalnum() or c in "-_."))), len(rest))
            if end and rest[:end].lower().replace("_", "-") not in _UTF_8:
                yield number, rest[:end]


# --- quoting ----------------------------------------------------------------------------------------------------------


def quote(text: str) -> str:
    """Text from outside as it may stand in a message: ASCII, escaped, short, and without credentials."""
    clean = redact(text)
    return ascii(clean if len(clean) <= _MAX_QUOTED else f"{clean[:_MAX_QUOTED]}...")


def escape(text: str) -> str:
    """A library's sentence as part of a message: ASCII, escaped, not endless, and without credentials."""
    clean = redact(text)
    return (clean if len(clean) <= _MAX_SENTENCE else f"{clean[:_MAX_SENTENCE]}...").encode("unicode_escape").decode()


def only_ascii(text: str) -> None:
    """Nothing, raising ValueError that names the first character that is not ASCII."""
    if not text.isascii():
        strange = next(character for character in text if not character.isascii())
        name = unicodedata.name(strange, "a character")
        raise ValueError(
            f"{quote(text)} holds {name} (U+{ord(strange):04X}): only ASCII letters, digits, '.', '-' and '_' may be "
            "used in names"
        )
