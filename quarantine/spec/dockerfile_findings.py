"""What the reading of a Dockerfile gathers, and how what it reads is shown: short, on one line, without secrets."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from quarantine.errors import SpecError
from quarantine.model import (
    Directive,
    EnvironmentSpec,
    ImageReference,
    Location,
    Needs,
    SourceFile,
    Unverifiable,
)
from quarantine.spec.match_spec import hide_token
from quarantine.spec.redact import names_a_secret, redact
from quarantine.spec.text import Problems

__all__ = ["MAX_ENTRIES", "Findings", "shown"]

MAX_ENTRIES = 5000
MAX_AGAIN_BYTES = 2 * 1024 * 1024
MAX_SHOWN = 100
MAX_LOOKED_AT = 1000
MAX_COMMANDS = 10_000
# what looks like a token: letters and digits without any blank, dot, slash or dash
_TOKEN = re.compile(r"(?<!sha256:)\b[A-Za-z0-9_+]{20,}={0,2}")
# passwords without an option that says so: joined to a short one, behind the command, or piped to it
_LOGIN = re.compile(r"(?<!\S)-u[^\s:=-][^\s:]*:\S+|(?<!\S)-[pP][^\s/.$-][^\s/.]{3,}")
_PASSWORD = re.compile(
    r"""(\b(?:sshpass|login|mysql\w*|mariadb\w*|psql|redis-cli|unzip|zip|ldap\w+|openssl)\b[^|;&]*?\s-[pPakw]\s*)("[^"]*"?|'[^']*'?|[^\s'"]+)"""
)
_PIPED = re.compile(
    r"\b(echo|printf)\b[^|;&]*(?=\|[^|].*(?:login|passw|stdin|sudo|secret|token|gpg|openssl|vault))", re.IGNORECASE
)
_OPTION = re.compile(r"""(--?[A-Za-z][A-Za-z0-9-]*)(=| +)("[^"]*"?|'[^']*'?|\S+)""")


def shown(text: str) -> str:
    """A command or instruction as it may be shown: redacted, on one line, cut after 100 characters."""
    line = hide_token(redact(" ".join(text.split()))[:MAX_LOOKED_AT])
    line = _PIPED.sub(r"\1 *** ", line)
    line = _PASSWORD.sub(r"\1***", line)
    line = _LOGIN.sub(lambda found: f"{found[0][:2]}***", line)
    line = _OPTION.sub(_hidden, line)
    line = _TOKEN.sub(lambda found: "***" if _is_token(found[0]) else found[0], line)
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."


def _hidden(found: re.Match[str]) -> str:
    """An option with its value, which is left out where the name says secret, or where it looks like a login."""
    name, separator, value = found[1], found[2], found[3]
    login = name in {"-u", "--user"} and ":" in value
    return f"{name}{separator}***" if login or names_a_secret(name) else found[0]


def _is_token(text: str) -> bool:
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


@dataclass(slots=True, kw_only=True)
class Findings:
    """Gathers what a Dockerfile asks for; used once."""

    file: str
    files: Mapping[str, bytes]
    problems: Problems = field(default_factory=Problems)
    needed: dict[str, Location] = field(default_factory=dict)
    images: list[ImageReference] = field(default_factory=list)
    parts: list[EnvironmentSpec] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    unverifiable: list[Unverifiable] = field(default_factory=list)
    sources: dict[SourceFile, None] = field(default_factory=dict)
    includes: dict[tuple[str, bool], tuple[SourceFile, ...]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    again: int = 0
    commands: int = 0
    searches: int = 0

    def at(self, line: int) -> Location:
        """The place of a line."""
        return Location(file=self.file, line=line)

    def problem(self, line: int, message: str) -> None:
        """Keeps what is wrong with the file."""
        self.problems.add(self.file, line, message)

    def unread(self, line: int, text: str, why: str) -> None:
        """Keeps what can't be known without running it; `text` is shown without its secrets."""
        entry = Unverifiable(location=self.at(line), what=shown(text), why=why)
        if entry not in self.unverifiable[-8:]:
            self.unverifiable.append(entry)

    def directive(self, line: int, option: str, text: str) -> None:
        """Keeps what would change where packages come from; `text` is shown without its secrets."""
        self.directives.append(Directive(option=option, text=shown(text), location=self.at(line)))

    def need(self, path: str, line: int) -> bytes | None:
        """The bytes of a file of the root, None while they aren't there: then it is asked for."""
        data = self.files.get(path)
        if data is None:
            self.needed.setdefault(path, self.at(line))
            return None
        if path in self.read:
            self.again += len(data)
            if self.again > MAX_AGAIN_BYTES:
                self.problem(line, f"{path} is read again by too many lines")
                raise self.problems.error()
        self.read.add(path)
        self.sources[SourceFile(path=path, sha256=hashlib.sha256(data).hexdigest())] = None
        return data

    def spend(self, line: int) -> None:
        """Counts a command, raising SpecError for more of them than any Dockerfile has (variables can multiply them)."""
        self.commands += 1
        if self.commands > MAX_COMMANDS:
            self.problem(line, f"more than {MAX_COMMANDS} commands")
            raise self.problems.error()

    def part(self, answer: EnvironmentSpec | Needs) -> EnvironmentSpec | None:
        """Keeps what a line builds, or what is needed to tell."""
        if isinstance(answer, Needs):
            wanted_by = answer.wanted_by or tuple(Location(file=self.file) for _ in answer.paths)
            for path, location in zip(answer.paths, wanted_by, strict=True):
                self.needed.setdefault(path, location)
            return None
        self.sources.update(dict.fromkeys(answer.sources))
        self.parts.append(answer)
        return answer

    def refused(self, error: SpecError) -> None:
        """Keeps the problems of a file that is read."""
        self.problems.extend(error)

    @property
    def full(self) -> bool:
        """Whether there is more of it than any Dockerfile has."""
        return len(self.parts) + len(self.unverifiable) + len(self.directives) > MAX_ENTRIES
