"""The error tree: families by who must act.

    QuarantineError            exit 3: evidence or infrastructure is missing
    ├── InputError             exit 2: what the user gave
    │   ├── SpecError          their environment file
    │   ├── ConfigError        their configuration, policy or allowlist
    │   └── UsageError         their command line
    ├── UpstreamError          exit 3: an outside system did not answer, or not as its protocol says
    ├── IntegrityError         exit 3: bytes are not what they must be; stop and look
    └── ConflictError          exit 3: somebody else wrote first

A denial is a value, never an exception. Errors neither log nor exit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ConfigError",
    "ConflictError",
    "InputError",
    "IntegrityError",
    "Problem",
    "QuarantineError",
    "SpecError",
    "UpstreamError",
    "UsageError",
    "install_extra",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a file: where, and what was found and expected. Lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


class QuarantineError(Exception):
    """Root of everything this package raises on purpose."""

    exit_status: ClassVar[int] = 3


class InputError(QuarantineError):
    """What the user gave can't be used: every problem found, each with its place."""

    exit_status: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, self.problems)))


class SpecError(InputError):
    """An environment file can't be read as what it says it is."""


class ConfigError(InputError):
    """Configuration, policy or an allowlist is wrong."""


class UsageError(InputError):
    """The command line asks for something that doesn't exist or doesn't fit together."""


class UpstreamError(QuarantineError):
    """An outside system could not be reached, refused, or broke its protocol."""


class IntegrityError(QuarantineError):
    """Bytes do not match the digest, the link or the signature that they must match."""


class ConflictError(QuarantineError):
    """A conditional write lost against another writer."""


def install_extra(name: str) -> str:
    """What brings an optional part of this package: from where it was installed, and from nowhere else.

    No command here names the package on a public index: whoever has the name there would be installed.
    """
    return f"run pip install '.[{name}]' in the clone that quarantine was installed from"
