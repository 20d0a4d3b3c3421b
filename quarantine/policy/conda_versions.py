"""Which versions of a conda package an entry speaks of: clauses of a comparison and a version, in conda's own order.

What a clause may be is checked here without the library, so that loading a policy stays quick; rattler compares.
"""

import re
from functools import lru_cache

import msgspec

__all__ = ["CondaSpecifier", "is_conda_version", "parse_conda_specifier"]

_VERSION = r"(?:[0-9]{1,9}!)?[0-9][0-9a-z]*(?:[._][0-9a-z]+)*(?:\+[0-9a-z]+(?:[._][0-9a-z]+)*)?"
_CLAUSE = re.compile(rf"(==|!=|>=|<=|>|<)[ ]?({_VERSION})")
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_MAX_LENGTH = 256


class CondaSpecifier(msgspec.Struct, frozen=True):
    """Clauses that must all hold, each a comparison and a version; none at all means every version."""

    clauses: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return ",".join(f"{operator}{version}" for operator, version in self.clauses)

    def allows(self, version: str) -> bool:
        """Whether an allow entry reaches this version, which a version that conda can't read never is.

        A local part (`2.0+cu118`) has to be named by a clause with `==`: conda's order puts it below its own release.
        """
        if not self.clauses:
            return True
        if "+" in version and not any(
            operator == "==" and "+" in text and _holds(operator, text, version) for operator, text in self.clauses
        ):
            return False
        return all(_holds(operator, text, version) is True for operator, text in self.clauses)

    def denies(self, version: str) -> bool:
        """Whether a deny entry reaches this version, also without its local part, or can't tell because nobody can read it."""
        public = version.partition("+")[0]
        return all(
            _holds(operator, text, version) is not False or _holds(operator, text, public) is not False
            for operator, text in self.clauses
        )

    @property
    def complement(self) -> str:
        """The conda version specifier of every version that the clauses don't all hold for; "" where there is none."""
        return "|".join(f"{_OPPOSITE[operator]}{version}" for operator, version in self.clauses)


_OPPOSITE = {"==": "!=", "!=": "==", ">=": "<", "<": ">=", "<=": ">", ">": "<="}


def parse_conda_specifier(text: str) -> CondaSpecifier:
    """The clauses of a specifier like ">=5.6.0,<5.6.2", raising ValueError for anything else that conda might read."""
    if not text:
        return CondaSpecifier()
    found = [_CLAUSE.fullmatch(part.strip(" ")) for part in text.split(",")]
    if len(text) > _MAX_LENGTH or _LONG_NUMBER.search(text) or None in found:
        raise ValueError(
            f"{text[:100]!a} is not a specifier of conda versions: expected comparisons like '==1.2.3' or '>=5.6.0,<5.6.2'"
        )
    return CondaSpecifier(tuple(sorted({(clause[1], clause[2]) for clause in found if clause is not None})))


def is_conda_version(text: str) -> bool:
    """Whether it is a version of a conda package, as entries may write one."""
    return len(text) <= _MAX_LENGTH and re.fullmatch(_VERSION, text) is not None


@lru_cache(maxsize=4096)
def _holds(operator: str, text: str, version: str) -> bool | None:
    """Whether the comparison holds by conda's order of versions; None where conda can't read the version."""
    from rattler import Version, VersionSpec  # noqa: PLC0415  # few runs have a conda package that an entry names
    from rattler.exceptions import InvalidVersionError  # noqa: PLC0415

    if len(version) > _MAX_LENGTH:
        return None
    try:
        return VersionSpec(f"{operator}{text}", strict=True).matches(Version(version))
    except InvalidVersionError:
        return None
