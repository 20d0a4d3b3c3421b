"""BuildKit's parser: instructions with their lines, and the place in the file of every character of a command.

The parser gives neither the lines of a command's words nor the flags of an ONBUILD; both are found again in the text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from quarantine.errors import UpstreamError
from quarantine.spec.text import escape, refusal

try:
    import dockerfile  # type: ignore[import-not-found]  # a compiled module without types
except ImportError as error:
    raise UpstreamError(
        "Dockerfiles can't be read here: BuildKit's parser isn't installed, since it has no wheel for this kind of "
        "machine; run pip install dockerfile (which needs Go), or check on another one"
    ) from error

__all__ = ["HEREDOC", "Heredoc", "Instruction", "Lines", "Source"]

MAX_LINES = 20_000
MAX_INSTRUCTIONS = 2000
MAX_SEARCHED = 100_000
MAX_JOINED = 32 * 1024
MAX_NESTED = 32
_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(\S[^\r\n]*)")
# a here-document that is the whole of a word, or of a command: its delimiter is one word, quoted in any way
HEREDOC = re.compile(r"""[0-9]*<<(-?)(?:[^\s"'\\<]|"[^"<]*"|'[^'<]*'|\\[^<])+""")
_SEVERAL = re.compile(rf"{HEREDOC.pattern}[ \t]")
_MAY_BE_ONLY = re.compile(r"[0-9]*<<-?[^<]*")
_FLAT_VARIABLE = re.compile(r"\$\{[^${}'\"\\`]*\}")
_LEADING_TABS = re.compile(r"(?m)^\t+")
_ONBUILD = re.compile(r"^\s*onbuild\s+", re.IGNORECASE)
_PARSE_ERROR = re.compile(r"(?:dockerfile )?parse error on line \d+: ")

Lines = Callable[[int], int]
"""The line of a place in a text."""


class Heredoc(Protocol):
    """A here-document as the library gives it."""

    name: str
    content: str


class Instruction(Protocol):
    """An instruction as the library gives it."""

    cmd: str | None
    sub_cmd: str | None
    json: bool
    original: str
    start_line: int
    end_line: int
    flags: tuple[str, ...]
    value: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]


class Source:
    """The text of a Dockerfile, its parser directives, and its instructions.

    `syntax` is the image of the program that reads it, with its line. Raises SpecError for what the parser doesn't take.
    """

    def __init__(self, file: str, text: str) -> None:
        if text.count("\n") > MAX_LINES:
            raise refusal(file, f"{text.count(chr(10))} lines: at most {MAX_LINES} are read")
        self.lines = [line.removesuffix("\r") for line in text.split("\n")]
        self.escape = "\\"
        self.syntax: tuple[str, int] | None = None
        self._directives()
        self._check_lengths(file)
        try:
            self.instructions = _instructions(text)
        except dockerfile.GoParseError as error:
            message = str(error)
            raise refusal(file, f"not a Dockerfile: {_message(message)}", _line_of_error(text, message)) from None
        if len(self.instructions) > MAX_INSTRUCTIONS:
            raise refusal(file, f"{len(self.instructions)} instructions: at most {MAX_INSTRUCTIONS} are read")

    def _check_lengths(self, file: str) -> None:
        """Nothing, raising SpecError for an endless instruction, or for variables in the defaults of others without end.

        The parser's time grows with the square of the one, and with the cube of the other.
        """
        length, nested, first, goes_on = 0, 0, 1, False
        for number, line in enumerate(self.lines, start=1):
            if goes_on and (not line.strip() or line.lstrip().startswith("#")):
                continue  # neither ends an instruction
            length, nested, first = (length, nested, first) if goes_on else (0, 0, number)
            length += len(line)
            nested += _nested(line)
            if nested > MAX_NESTED:
                raise refusal(file, f"more than {MAX_NESTED} variables within each other", first)
            if length > MAX_JOINED:
                raise refusal(file, f"an instruction of more than {MAX_JOINED} characters", first)
            goes_on = line.rstrip(" \t").endswith(self.escape)

    def _directives(self) -> None:
        """The parser directives: they stand at the top, before any other line; behind `#!` only `syntax` is one."""
        seen: set[str] = set()
        start = 1 if self.lines[0].startswith("#!") else 0
        for number, line in enumerate(self.lines[start:], start=start + 1):
            found = _DIRECTIVE.fullmatch(line.strip())
            if found is None or found[1].lower() in seen:
                return
            seen.add(found[1].lower())
            value = found[2].strip()
            if found[1].lower() == "escape" and not start and value in {"`", "\\"}:
                self.escape = value
            elif found[1].lower() == "syntax":
                self.syntax = value.split()[0], number

    def script(self, command: Instruction) -> tuple[str, Lines]:
        """The text that the shell gets of a RUN, and the line of each place in it.

        A here-document that is the whole command is the script itself.
        """
        header = command.value[0].strip()
        of_header = self._lines_of(command, header)
        if not command.heredocs:
            return header, of_header
        end = command.end_line
        only = HEREDOC.fullmatch(header)
        if ("$" in header and only) or (_MAY_BE_ONLY.fullmatch(header) and not (only or _SEVERAL.match(header))):
            raise ValueError("a here-document whose end isn't plain: write a word of letters")
        if only is not None:
            text = command.heredocs[0].content
            text = _LEADING_TABS.sub("", text) if only[1] else text
            first = end - text.count("\n")
            return text, lambda place: first + text.count("\n", 0, place)
        whole = header + "".join(f"\n{document.content}{document.name}" for document in command.heredocs)
        last = whole.count("\n")

        def line_of(place: int) -> int:
            return of_header(place) if place <= len(header) else end - last + whole.count("\n", 0, place)

        return whole, line_of

    def _lines_of(self, command: Instruction, text: str) -> Lines:
        """The line of each place of an instruction over several lines, joined here as the parser joins them."""
        joined: list[str] = []
        starts: list[tuple[int, int]] = []
        length = 0
        for number in range(command.start_line, command.end_line + 1):
            line = self.lines[number - 1]
            if joined and (not line.strip() or line.lstrip().startswith("#")):
                continue
            part = line if joined else line.lstrip()
            bare = part.rstrip(" \t")
            goes_on = bare.endswith(self.escape) and bare[-2:-1] != self.escape
            starts.append((length, number))
            joined.append(bare[:-1] if goes_on else part)
            length += len(joined[-1])
            if not goes_on:
                break
        offset = "".join(joined).rfind(text)
        if offset < 0:
            return lambda _: command.start_line
        return lambda place: starts[bisect_right(starts, (offset + place, len(self.lines))) - 1][1]

    def lines_as_instructions(self, command: Instruction, known: Collection[str]) -> bool:
        """Whether a builder without here-documents would take those of a command for instructions."""
        goes_on = True
        for line in self.lines[command.start_line - 1 : command.end_line]:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if not goes_on and text.split()[0].upper() not in known:
                return False
            goes_on = text.endswith(self.escape)
        return True

    def onbuild(self, command: Instruction) -> Instruction | None:
        """The instruction behind ONBUILD, None where it can't be told from the text; ValueError for what is none."""
        lines = self.lines[command.start_line - 1 : command.end_line]
        first = _ONBUILD.sub("", lines[0], count=1)
        if first == lines[0] or first.split()[:1] == [self.escape]:
            return None
        head = "# escape=`\n" if self.escape == "`" else ""
        # the lines before it are kept empty, so that the numbers stay
        padding = "\n" * (command.start_line - 1 - head.count("\n"))
        try:
            return _instructions(f"{head}{padding}{first}\n" + "\n".join(lines[1:]))[0]
        except dockerfile.GoParseError as error:
            raise ValueError(_message(str(error))) from None


def _instructions(text: str) -> Sequence[Instruction]:
    commands: Sequence[Instruction] = dockerfile.parse_string(text)
    return commands


def _nested(line: str) -> int:
    """How many `${` of a line hold more than a name with a plain default."""
    return _FLAT_VARIABLE.sub("", _FLAT_VARIABLE.sub("", line)).count("${") if "${" in line else 0


def _message(message: str) -> str:
    message = _PARSE_ERROR.sub("", message)
    return escape(message if message[1:2].isupper() else message[:1].lower() + message[1:]) or "unreadable"


def _line_of_error(text: str, message: str) -> int | None:
    """The line with which the parser begins to give up in this way; none for what is wrong with the whole."""
    if "no instructions" in message or len(text) > MAX_SEARCHED:
        return None
    lines = text.split("\n")
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _instructions("\n".join(lines[:middle]))
            low = middle
        except dockerfile.GoParseError as error:
            low, high = (low, middle) if str(error) == message else (middle, high)
    return high
