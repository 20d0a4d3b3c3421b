"""Core metadata (`METADATA`, `PKG-INFO`): bytes -> what a distribution says it is and needs.

Read field by field: what a broken field says is left out and named, the others still count.
Source: the core metadata specification, of which `packaging.metadata` reads the raw fields.
"""

import msgspec
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import IntegrityError
from quarantine.model import Location, Reference, ReferenceKind, Requirement, parse_name, parse_version

__all__ = ["MAX_METADATA_BYTES", "Metadata", "parse_metadata"]

MAX_METADATA_BYTES = 1024 * 1024
MAX_REQUIRES = 10_000
MAX_LICENCE = 1000
MAX_CLASSIFIERS = 50
_VCS = ("git+", "hg+", "svn+", "bzr+")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a distribution says of itself. A field that is absent or unreadable is None, or missing from `requires`.

    The licence stands in up to three places: as an SPDX expression, as words of any kind, and as classifiers.
    `problems` names the fields that can't be read.
    """

    name: NormalizedName | None
    version: Version | None
    requires: tuple[Requirement, ...] = ()
    requires_python: SpecifierSet | None = None
    license_expression: str | None = None
    license: str | None = None
    license_classifiers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def parse_metadata(file: str, data: bytes) -> Metadata:
    """The metadata in `data`; `file` names its source in locations and messages.

    IntegrityError when it is larger than 1 MiB or is no list of header fields at all.
    """
    if len(data) > MAX_METADATA_BYTES:
        raise IntegrityError(f"{file}: {len(data)} bytes of metadata, at most {MAX_METADATA_BYTES} are read")
    from packaging.metadata import parse_email  # noqa: PLC0415  # it loads the whole email package

    try:
        raw, _ = parse_email(data)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise IntegrityError(f"{file}: not core metadata ({type(error).__name__})") from error
    problems: list[str] = []
    name = version = requires_python = None
    try:
        name = parse_name(raw.get("name", ""))
    except ValueError as error:
        problems.append(f"Name: {error}")
    try:
        version = parse_version(raw.get("version", ""))
    except ValueError as error:
        problems.append(f"Version: {error}")
    try:
        if "requires_python" in raw:
            requires_python = SpecifierSet(raw["requires_python"])
    except InvalidSpecifier:
        problems.append(f"Requires-Python: {raw['requires_python']!a} is not a version specifier")
    lines = raw.get("requires_dist", [])
    if len(lines) > MAX_REQUIRES:
        raise IntegrityError(f"{file}: {len(lines)} requirements, at most {MAX_REQUIRES} are read")
    requires: list[Requirement] = []
    for line in lines:
        try:
            requires.append(_requirement(file, line))
        except (InvalidRequirement, ValueError):
            problems.append(f"Requires-Dist: {line[:200]!a} is not a requirement (PEP 508)")
    return Metadata(
        name=name,
        version=version,
        requires=tuple(requires),
        requires_python=requires_python,
        license_expression=_short(raw.get("license_expression")),
        license=_short(raw.get("license")),
        license_classifiers=_licences(raw.get("classifiers", [])),
        problems=tuple(problems),
    )


def _short(text: str | None) -> str | None:
    """The text, cut: whole licences stand in this field too, and are no identifiers."""
    return None if text is None else text[:MAX_LICENCE].strip() or None


def _licences(classifiers: list[str]) -> tuple[str, ...]:
    return tuple(line[:MAX_LICENCE] for line in classifiers if line.startswith("License ::"))[:MAX_CLASSIFIERS]


def _requirement(file: str, line: str) -> Requirement:
    parsed = Pep508(line)
    reference = None
    if parsed.url is not None:
        kind = ReferenceKind.VCS if parsed.url.startswith(_VCS) else ReferenceKind.URL
        reference = Reference(kind=kind, text=_without_userinfo(parsed.url))
    return Requirement(
        name=parse_name(parsed.name),
        specifier=parsed.specifier,
        extras=tuple(sorted(parse_name(extra) for extra in parsed.extras)),
        marker=parsed.marker,
        reference=reference,
        location=Location(file=file),
    )


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else url
