"""requirements.txt, with everything that pip knows of it, and nothing of it obeyed.

Lines are joined and cut as pip does it: a backslash at the end joins the next one, `#` after a blank begins a comment.
What pip and uv read differently is refused, since a verdict speaks of both: a form feed or U+2028, which ends a line for
pip alone, and a comment before a backslash, which goes on in the next line for pip alone. What pip would do beyond installing named versions becomes a `Directive` or a
`Reference`; environment variables are never expanded; includes are followed inside the root only.

A file in which every requirement is pinned and hashed is a lock. Hashes on only some are a problem: pip refuses it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from quarantine.errors import SpecError
from quarantine.model import Directive, EnvironmentSpec, Location, Needs, Requirement, SourceFile
from quarantine.spec.hashed import as_lock
from quarantine.spec.options import Effect, Option, effect, parse_options, split_options
from quarantine.spec.paths import is_remote, path_in_root
from quarantine.spec.redact import redact
from quarantine.spec.requirement import digest, parse_requirement
from quarantine.spec.text import MAX_REQUIREMENTS, Problems, decode, quote

__all__ = ["Line", "logical_lines", "read", "read_lines"]

MAX_DEPTH = 16
MAX_FILES = 256
MAX_LOGICAL_LINE = 256 * 1024
_LINE_END = re.compile(r"\r\n?|\n")
_ENDS_FOR_PIP = re.compile(r"[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A logical line without its comment, and the number (from 1, as editors count) of its first physical line."""

    number: int
    text: str
    comment: str = ""
    fault: tuple[int, str] | None = None
    """What installers read differently in it: the number of the physical line, and why."""


def read(file: str, files: Mapping[str, bytes]) -> EnvironmentSpec | Needs:
    """What a requirements file and all that it includes ask for, or the files that are still needed to tell.

    Raises SpecError with every problem of all files together.
    """
    reader = _Reader(files=files)
    reader.read(file, constraint=False, chain=())
    return _answer(file, reader)


def read_lines(file: str, lines: Iterable[tuple[int, str]], files: Mapping[str, bytes]) -> EnvironmentSpec | Needs:
    """The same for lines that stand in another file (an environment.yml's `pip:`, a Dockerfile), each with its number.

    An include means what it would mean in `file`. The `sources` are the files that are included.
    """
    reader = _Reader(files=files)
    reader.lines(file, lines)
    return _answer(file, reader)


def _answer(file: str, reader: "_Reader") -> EnvironmentSpec | Needs:
    if reader.needed:
        return Needs(tuple(reader.needed), wanted_by=tuple(reader.needed.values()))
    problems = reader.problems
    locked = as_lock(reader.requirements, reader.via, problems, required=reader.require_hashes)
    if not reader.requirements and not reader.directives and not problems:
        problems.add(file, None, "no requirements found")
    problems.check()
    return EnvironmentSpec(
        file=file,
        format="requirements",
        requirements=() if locked is not None else tuple(reader.requirements),
        constraints=tuple(reader.constraints),
        directives=tuple(reader.directives),
        locked=locked,
        sources=tuple(reader.sources),
    )


# --- lines ------------------------------------------------------------------------------------------------------------


def logical_lines(text: str) -> Iterator[Line]:
    """The logical lines of a requirements file; comments alone on a line come too, with an empty `text`."""
    joined: list[str] = []
    lines = _LINE_END.split(text)
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            joined.append(line.strip("\\"))
            continue
        # a comment ends a continuation, and must stay a comment when it is joined to something
        joined.append(f" {line}" if comment else line)
        yield _without_comment(number - len(joined) + 1, joined)
        joined = []
    if joined:
        yield _without_comment(len(lines) - len(joined) + (1 if lines[-1] else 0), joined)


def _without_comment(number: int, joined: Sequence[str]) -> Line:
    """The line that physical lines, the first of them at `number`, are joined to."""
    line = "".join(joined)
    start = line.find("#")
    while start > 0 and not line[start - 1].isspace():
        start = line.find("#", start + 1)
    fault = _fault(number, joined, len(line) if start < 0 else start)
    if start < 0:
        return Line(number=number, text=line.strip(), fault=fault)
    return Line(number=number, text=line[:start].strip(), comment=line[start + 1 :].strip(), fault=fault)


def _fault(number: int, joined: Sequence[str], comment: int) -> tuple[int, str] | None:
    """What pip and uv read differently in a line of several physical ones, whose comment begins at an offset."""
    end = 0
    for place, part in enumerate(joined, start=number):
        if (found := _ENDS_FOR_PIP.search(part)) is not None:
            name = f"U+{ord(found[0]):04X}"
            return (
                place,
                f"holds {name}, which some installers take for the end of a line or a blank, and others don't: remove it",
            )
        end += len(part)
        if comment < end and place < number + len(joined) - 1:
            return place, (
                "a comment before the '\\' at the end of its line, which hides the next line from some installers: "
                "remove the backslash, or the comment"
            )
    return None


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Gathers what a file and its includes ask for; used once."""

    files: Mapping[str, bytes]
    problems: Problems = field(default_factory=Problems)
    needed: dict[str, Location] = field(default_factory=dict)
    seen: set[tuple[str, bool]] = field(default_factory=set)
    sources: dict[SourceFile, None] = field(default_factory=dict)
    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    via: list[tuple[str, ...]] = field(default_factory=list)
    require_hashes: bool = False
    full: bool = False

    def read(self, file: str, *, constraint: bool, chain: tuple[str, ...]) -> None:
        """Reads one file that is there; a file included twice in the same role says nothing new."""
        if (file, constraint) in self.seen:
            return
        self.seen.add((file, constraint))
        data = self.files[file]
        self.sources[SourceFile(path=file, sha256=hashlib.sha256(data).hexdigest())] = None
        try:
            text = decode(file, data)
        except SpecError as error:
            self.problems.extend(error)
            return
        notes: list[str] = []
        open_notes = False
        for line in logical_lines(text):
            if line.fault is not None:
                self.problems.add(file, *line.fault)
            elif line.text:
                self._close_notes(notes, open_notes=open_notes)
                before = len(self.requirements)
                self._line(line, constraint=constraint, chain=(*chain, file))
                open_notes = len(self.requirements) > before
                notes = []
            notes.append(line.comment)
            if self.full:
                break
        self._close_notes(notes, open_notes=open_notes)

    def lines(self, file: str, lines: Iterable[tuple[int, str]]) -> None:
        """Reads lines of another file, each as one logical line."""
        for number, text in lines:
            if "\n" in text or "\r" in text or text.rstrip().endswith("\\"):
                # an installer would join the next line to a backslash
                self.problems.add(file, number, "a requirement of several lines, or a '\\' at its end: write it on one")
                continue
            for line in logical_lines(text):
                if line.fault is not None:
                    self.problems.add(file, number, line.fault[1])
                elif line.text:
                    self._line(replace(line, number=number), constraint=False, chain=(file,))
            if self.full:
                break

    def _close_notes(self, notes: list[str], *, open_notes: bool) -> None:
        """Keeps the comments that followed a requirement; compilers note there who pulled it in."""
        if open_notes:
            self.via[-1] = tuple(notes)

    def _line(self, line: Line, *, constraint: bool, chain: tuple[str, ...]) -> None:
        location = Location(file=chain[-1], line=line.number)
        if len(line.text) > MAX_LOGICAL_LINE:
            self._problem(
                location, f"a joined line of {len(line.text)} characters: at most {MAX_LOGICAL_LINE} are read"
            )
            return
        variable = "${" in line.text
        if variable:
            # pip would put the value of an environment variable here: what it is can't be known
            self._directive("environment-variable", f"{_variables(line.text)} in: {line.text}", location)
        text, option_text = split_options(line.text)
        try:
            options, left = parse_options(option_text) if option_text else ((), ())
        except ValueError as error:
            self._problem(location, str(error))
            return
        editable = any(effect(option) is Effect.EDITABLE for option in options)
        strange = next((option for option in options if "#" in (option.value or "") and not editable), None)
        if strange is not None:
            # pip wants a blank before a comment, uv takes the value to end here and passes over the options behind it
            self._problem(location, f"a '#' in the value of {strange.name}, where a comment begins for some installers")
        elif left and not (editable and left[0].startswith(";")):
            self._problem(location, _ignored(left, option_text))
        elif text:
            self._requirement(text, options, location, constraint=constraint, variable=variable)
        else:
            for option in options:
                self._option(option, location, constraint=constraint, chain=chain, variable=variable)
            if any(effect(option) is Effect.HASH for option in options) and not editable:
                self._problem(location, "--hash without a requirement: does the line before lack its '\\' at the end?")

    def _requirement(
        self, text: str, options: tuple[Option, ...], location: Location, *, constraint: bool, variable: bool
    ) -> None:
        """A requirement with the options behind it; pip ignores most of those there, other installers need not."""
        hashes = [option.value or "" for option in options if effect(option) is Effect.HASH]
        for option in options:
            match effect(option):
                case Effect.EDITABLE | Effect.INCLUDE | Effect.CONSTRAIN:
                    self._problem(location, f"{option.name} behind a requirement: give it a line of its own")
                case Effect.JUDGED:
                    self._directive(option.name, str(option), location)
                case Effect.REQUIRE_HASHES:
                    self.require_hashes = True
                case Effect.HASH | Effect.HARMLESS:
                    pass
        if variable:
            return
        try:
            digests = frozenset(map(digest, hashes))
            requirement = parse_requirement(text, location, digests=digests)
        except ValueError as error:
            self._problem(location, str(error))
            return
        self._keep(requirement, constraint=constraint)

    def _option(
        self, option: Option, location: Location, *, constraint: bool, chain: tuple[str, ...], variable: bool
    ) -> None:
        """An option on a line without a requirement."""
        match effect(option):
            case Effect.JUDGED:
                self._directive(option.name, str(option), location)
            case Effect.REQUIRE_HASHES:
                self.require_hashes = True
            case Effect.EDITABLE if not variable:
                try:
                    self._keep(parse_requirement(option.value or "", location, editable=True), constraint=constraint)
                except ValueError as error:
                    self._problem(location, str(error))
            case Effect.INCLUDE | Effect.CONSTRAIN if not variable:
                # pip: `-r` inside a constraints file is a requirements file again
                self._include(option, location, constraint=effect(option) is Effect.CONSTRAIN, chain=chain)
            case _:
                pass

    def _include(self, option: Option, location: Location, *, constraint: bool, chain: tuple[str, ...]) -> None:
        value = option.value or ""
        if is_remote(value):
            self._directive("remote-include", str(option), location)
            return
        try:
            path = path_in_root(chain[-1], value)
        except ValueError as error:
            self._problem(location, str(error))
            return
        if path is None:
            self._directive("include-outside-root", str(option), location)
        elif path in chain:
            cycle = " -> ".join((*chain[chain.index(path) :], path))
            self._problem(location, f"includes form a cycle: {cycle}")
        elif len(chain) > MAX_DEPTH:
            self._problem(location, f"includes are nested deeper than {MAX_DEPTH}: {' -> '.join((*chain, path))}")
        elif len(self.seen) + len(self.needed) >= MAX_FILES:
            self._problem(location, f"more than {MAX_FILES} files are included")
        elif path not in self.files:
            self.needed.setdefault(path, location)
        else:
            self.read(path, constraint=constraint, chain=chain)

    def _keep(self, requirement: Requirement, *, constraint: bool) -> None:
        if len(self.requirements) + len(self.constraints) >= MAX_REQUIREMENTS:
            self._problem(requirement.location, f"more than {MAX_REQUIREMENTS} requirements")
            self.full = True
        elif not constraint:
            self.requirements.append(requirement)
            self.via.append(())
        elif requirement.name is None:
            self._problem(requirement.location, "a constraint without a name: pip refuses it")
        elif requirement.extras:
            self._problem(requirement.location, f"a constraint with extras ({', '.join(requirement.extras)})")
        else:
            self.constraints.append(requirement)
            if requirement.reference is not None:
                # pip takes the package from there as soon as anything needs it
                text = f"{requirement.name} @ {requirement.reference.text}"
                self._directive("constraint-reference", text, requirement.location)

    def _directive(self, option: str, text: str, location: Location) -> None:
        self.directives.append(Directive(option=option, text=redact(text), location=location))

    def _problem(self, location: Location, message: str) -> None:
        self.problems.add(location.file, location.line, message)


def _variables(text: str) -> str:
    """The variables that a line names; pip reads those of capital letters, other tools may read more."""
    names = (part.partition("}")[0] for part in text.split("${")[1:])
    return ", ".join(dict.fromkeys(f"${{{name[:64]}}}" for name in names))


def _ignored(left: tuple[str, ...], whole: str) -> str:
    # they may be the rest of a login with a blank in it, which shows in the whole only
    words = quote(" ".join(left)) if redact(whole) == whole else "something"
    if left[0] == "-":
        return "'-' begins a list item of YAML: conda environments are not read as requirements"
    return f"{words} stands behind an option, where pip ignores it: give it a line of its own"
