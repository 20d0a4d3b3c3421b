"""A build stage as its instructions make it, and what of it changes where installers look."""

import re
from dataclasses import dataclass, field

from quarantine.spec.dockerfile_commands import INSTALLERS, environment_effect
from quarantine.spec.dockerfile_files import Layer
from quarantine.spec.dockerfile_findings import Findings
from quarantine.spec.dockerfile_places import CONFIGURATION
from quarantine.spec.shell_words import Field, Missing

__all__ = ["PIP", "PYTHON", "Stage", "is_installer", "judge_configuration", "judge_variable", "value_of"]

MAX_VALUE = 4096
PIP = re.compile(r"pip(?:3(?:\.\d{1,2})?)?")
PYTHON = re.compile(r"python(?:3(?:\.\d{1,2})?)?")
# what is no name is a function to bash
_OF_SHELL = re.compile(
    r"IFS|PS[0-4]|CDPATH|SHELLOPTS|BASHOPTS|BASH_(?!ENV$).*|POSIXLY_CORRECT|GLOBIGNORE|EXECIGNORE|.*[^A-Za-z0-9_.-].*"
)


@dataclass(slots=True, kw_only=True)
class Stage:
    """A build stage as far as it was read: its variables (`environment` are those of ENV), its folder, files and shell."""

    name: str = ""
    variables: dict[str, str | Missing] = field(default_factory=dict)
    environment: set[str] = field(default_factory=set)
    folder: str | None = None
    layers: list[Layer] = field(default_factory=list)
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    channels: list[tuple[str, int]] = field(default_factory=list)

    def lookup(self, name: str) -> str | Missing:
        """What is known of a variable: a base image may set any."""
        return self.variables.get(name, Missing.UNKNOWN)

    def child(self, name: str) -> "Stage":
        """The stage that begins where this one ends: whether it has the values of ARG is the builder's."""
        return Stage(
            name=name,
            variables={
                name: Missing.UNKNOWN if isinstance(value, str) and name not in self.environment else value
                for name, value in self.variables.items()
            },
            environment=set(self.environment),
            folder=self.folder,
            layers=list(self.layers),
            shell=self.shell,
            channels=list(self.channels),
        )


def judge_configuration(path: str, line: int, findings: Findings) -> bool:
    """Whether a file is put where installers look for their configuration; it is kept then."""
    if path.rpartition("/")[2] not in CONFIGURATION:
        return False
    findings.directive(line, "configuration-file", path)
    return True


def judge_variable(name: str, shown: str, line: int, findings: Findings) -> None:
    """Keeps a variable that installers obey, or that changes how shells read their commands."""
    if _OF_SHELL.fullmatch(name) is not None:
        findings.unread(line, f"{name}=...", f"{name} changes how shells read commands")
        return
    match environment_effect(name):
        case "judged":
            findings.directive(line, name, shown)
        case "runs":
            findings.unread(line, f"{name}=...", f"{name} makes every command run something else first")
        case _:
            pass


def is_installer(name: str) -> bool:
    """Whether a command of that name is taken for one that installs."""
    return name in INSTALLERS or PIP.fullmatch(name) is not None or PYTHON.fullmatch(name) is not None


def value_of(word: Field, key: str = "") -> str | Missing:
    """What is known of a variable that is set to a word; `key` stands before it in the word itself, if it does.

    One that is longer than any is, counts as not known.
    """
    if word.unknown or len(word.text) > MAX_VALUE:
        return Missing.UNKNOWN
    return word.text[len(key) + 1 if key else 0 :]
