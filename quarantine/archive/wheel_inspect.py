"""A wheel looked into: its file name, `.dist-info` folder, METADATA and WHEEL tell of one package, RECORD of every file.

Source: the binary distribution format; the core metadata specification.
"""

import base64
import binascii
import csv
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import BinaryIO

import msgspec
from packaging.tags import Tag, parse_tag

from quarantine.archive.inspection import (
    ARCHIVE,
    CONTENTS,
    METADATA,
    RECORD,
    Found,
    answer,
    complete,
    judged,
    some,
)
from quarantine.archive.metadata import MAX_METADATA_BYTES, Metadata, parse_metadata
from quarantine.archive.names import shown
from quarantine.archive.pickles import Pickles
from quarantine.archive.places import MAX_PTH_BYTES, SITE, hazards, is_startup, landed, programs, runs_code
from quarantine.archive.zip_strict import Member, StrictZip
from quarantine.errors import IntegrityError
from quarantine.exceptions import ExceptionFile
from quarantine.model import Licences, Outcome, OutcomeKind, parse_name, parse_version, parse_wheel_name

__all__ = ["inspect_wheel", "licences_of", "metadata_problems"]

MAX_RECORD_BYTES = 32 * 1024 * 1024
MAX_WHEEL_BYTES = 64 * 1024
MAX_ENTRY_POINTS_BYTES = 1024 * 1024

# the specification asks for sha256 or better; what can be forged proves nothing
_HASHES = ("sha256", "sha384", "sha512")
_MANY_LINUX = re.compile(r"(?:manylinux(?:1|2010|2014|_[0-9]+_[0-9]+)|musllinux_[0-9]+_[0-9]+)_(?=.)")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_SCHEMES = {"purelib": SITE, "platlib": SITE, "scripts": "bin", "headers": "include", "data": ""}
"""Where what lies in a folder of NAME.data goes."""


class _Listed(msgspec.Struct, frozen=True):
    """A line of RECORD: algorithm, digest and size, each empty where none is given."""

    algorithm: str
    digest: bytes
    size: int | None


def inspect_wheel(file: ExceptionFile, stream: BinaryIO) -> Found:
    """What is found in a wheel, every member of which is read once. Nothing is raised for what is wrong with it."""
    try:
        archive = StrictZip(file.filename, stream)
        info = _info(file, archive.members)
        files = {member.name: member for member in archive.members if not member.folder}
        metadata = _content(archive, files, f"{info}/METADATA", MAX_METADATA_BYTES)
        described = _content(archive, files, f"{info}/WHEEL", MAX_WHEEL_BYTES)
        recorded = _content(archive, files, f"{info}/RECORD", MAX_RECORD_BYTES)
        listed, problems = ({}, [f"it has no {info}/RECORD"]) if recorded is None else _lines(info, recorded)
        entry_points = _content(archive, files, f"{info}/entry_points.txt", MAX_ENTRY_POINTS_BYTES)
        scan = Pickles()
        pth: dict[str, bool] = {}
        for member in archive.members:
            problems += _read(archive, member, listed, scan, pth)
    except IntegrityError as error:
        refused = answer(ARCHIVE, OutcomeKind.FAIL, _without(file.filename, error))
        return Found(outcomes=complete(file, [refused], "its archive is refused"))
    problems += _unlisted(info, files, listed) if recorded is not None else []
    parsed, wrong = _parsed(file, metadata)
    of_wheel, note = _wheel_problems(file, described)
    wrong = [*_info_problems(file, info), *wrong, *of_wheel]
    noted, agree = ({"note": note}, "agree but for the kind of Linux") if note else ({}, "agree")
    outcomes = [
        answer(ARCHIVE, OutcomeKind.PASS, f"a plain zip file of {len(archive.members)} members", members=len(files)),
        judged(METADATA, wrong, f"file name, {info}, METADATA and WHEEL {agree}", **noted),
        judged(RECORD, problems, f"RECORD lists all {len(files)} files with their digests"),
        _contents(file, info, files, pth, programs(entry_points or b"")),
        scan.outcome(),
    ]
    return Found(
        outcomes=complete(file, outcomes, ""),
        metadata=None if parsed is None else metadata,
        requires=() if parsed is None else tuple(str(one) for one in _requires(metadata)),
        licences=Licences() if parsed is None else licences_of(parsed),
    )


def licences_of(metadata: Metadata) -> Licences:
    """What core metadata say of the licence."""
    return Licences(
        expression=metadata.license_expression, text=metadata.license, classifiers=metadata.license_classifiers
    )


def metadata_problems(file: ExceptionFile, metadata: Metadata, where: str) -> list[str]:
    """In what core metadata speak of something else than the file, and what of them can't be read."""
    problems = [f"{where} can't be read: {problem}" for problem in metadata.problems]
    if metadata.name is not None and metadata.name != file.name:
        problems.append(f"{where} says that it is {metadata.name}, expected {file.name}")
    if metadata.version is not None and metadata.version != parse_version(file.version):
        problems.append(f"{where} says that it is version {metadata.version}, expected {file.version}")
    return problems


# --- members ----------------------------------------------------------------------------------------------------------


def _info(file: ExceptionFile, members: Iterable[Member]) -> str:
    """The one `.dist-info` folder."""
    tops = {member.name.partition("/")[0] for member in members if "/" in member.name}
    found = sorted(top for top in tops if top.lower().endswith(".dist-info"))
    if len(found) != 1:
        said = ", ".join(map(shown, found[:5])) or "none"
        raise IntegrityError(f"{file.filename}: expected one .dist-info folder, found {said}")
    return found[0]


def _content(archive: StrictZip, files: Mapping[str, Member], name: str, max_bytes: int) -> bytes | None:
    return archive.content(files[name], max_bytes) if name in files else None


def _read(
    archive: StrictZip, member: Member, listed: Mapping[str, _Listed], scan: Pickles, pth: dict[str, bool]
) -> list[str]:
    """Reads a member, and says what is wrong with what RECORD says of it."""
    line = listed.get(member.name)
    hashing = hashlib.new(line.algorithm) if line is not None and line.algorithm in _HASHES else None
    startup = is_startup(_place(member.name) or "")
    kept = b""
    for chunk in scan.through(member.name, archive.chunks(member)):
        if hashing is not None:
            hashing.update(chunk)
        if startup and len(kept) < MAX_PTH_BYTES:
            kept += chunk
    if startup:
        pth[member.name] = runs_code(member.name, kept, member.size)
    if line is None:
        return []
    if hashing is not None and hashing.digest() != line.digest:
        return [f"RECORD has another {line.algorithm} of {shown(member.name)}"]
    if line.size is not None and line.size != member.size:
        return [f"RECORD says that {shown(member.name)} has {line.size} bytes, it has {member.size}"]
    return []


# --- RECORD -----------------------------------------------------------------------------------------------------------


def _lines(info: str, data: bytes) -> tuple[dict[str, _Listed], list[str]]:
    """What RECORD lists by path, and what is wrong with its lines."""
    listed: dict[str, _Listed] = {}
    problems: list[str] = []
    try:
        for row in csv.reader(data.decode().splitlines(), strict=True):
            if not row:
                continue
            if len(row) != 3:
                problems.append(f"RECORD has a line of {len(row)} fields, expected path, hash and size")
                continue
            if row[0] in listed:
                problems.append(f"RECORD lists {shown(row[0])} twice")
                continue
            listed[row[0]], problem = _line(info, *row)
            problems += [problem] if problem else []
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(f"RECORD can't be read: {str(error)[:100]}")
    return listed, problems


def _line(info: str, path: str, said: str, size: str) -> tuple[_Listed, str]:
    bare = path in {f"{info}/{name}" for name in ("RECORD", *_SIGNATURES)}
    algorithm, _, encoded = said.partition("=")
    if bare and not said:
        return _Listed("", b"", None), ""
    if algorithm not in _HASHES:
        what = f"the hash {algorithm[:20]!a}" if said else "no hash"
        return _Listed("", b"", None), f"RECORD has {what} of {shown(path)}, expected sha256 or a stronger one"
    try:
        digest = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return _Listed("", b"", None), f"RECORD has a hash of {shown(path)} that can't be read"
    number = int(size) if size.isascii() and size.isdecimal() and len(size) < 16 else None
    problem = "" if number is not None or not size else f"RECORD has the size {size[:20]!a} of {shown(path)}"
    return _Listed(algorithm, digest, number), problem


def _unlisted(info: str, files: Mapping[str, Member], listed: Mapping[str, _Listed]) -> list[str]:
    """Files that RECORD doesn't have, and files that only RECORD has."""
    free = {f"{info}/{name}" for name in ("RECORD", *_SIGNATURES)}
    more = [
        f"RECORD leaves out {shown(name)}, which is there" for name in files if name not in listed and name not in free
    ]
    less = [f"RECORD lists {shown(name)}, which isn't there" for name in listed if name not in files]
    return more + less


# --- what it says of itself -------------------------------------------------------------------------------------------


def _parsed(file: ExceptionFile, data: bytes | None) -> tuple[Metadata | None, list[str]]:
    if data is None:
        return None, ["it has no METADATA"]
    try:
        metadata = parse_metadata("METADATA", data)
    except IntegrityError as error:
        return None, [str(error)]
    return metadata, metadata_problems(file, metadata, "METADATA")


def _requires(data: bytes | None) -> list[str]:
    from packaging.metadata import parse_email  # noqa: PLC0415  # it loads the whole email package

    return [] if data is None else parse_email(data)[0].get("requires_dist", [])


def _info_problems(file: ExceptionFile, info: str) -> list[str]:
    stem = info[: -len(".dist-info")]
    name, _, version = stem.partition("-")
    try:
        agrees = parse_name(name) == file.name and parse_version(version) == parse_version(file.version)
    except ValueError:
        agrees = False
    return [] if agrees else [f"its folder {shown(info)} is not that of {file.name} {file.version}"]


def _wheel_problems(file: ExceptionFile, data: bytes | None) -> tuple[list[str], str]:
    """What WHEEL says otherwise than the file name, or doesn't say; and what a person should know though it isn't wrong."""
    if data is None:
        return ["it has no WHEEL"], ""
    try:
        lines = [line.partition(":") for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return ["WHEEL is not UTF-8"], ""
    if not all(colon for _, colon, _ in lines):
        return ["WHEEL has a line without a colon"], ""
    fields: dict[str, list[str]] = {}
    for key, _, value in lines:
        fields.setdefault(key.strip().lower(), []).append(value.strip())
    problems: list[str] = []
    version = fields.get("wheel-version", [])
    if len(version) != 1 or not version[0].startswith("1."):
        problems.append(f"WHEEL is of version {', '.join(version)[:40]!a}, expected 1.x")
    if fields.get("root-is-purelib", [""])[0].lower() not in ("true", "false"):
        problems.append("WHEEL doesn't say whether its root is purelib")
    try:
        tags = _tags(fields.get("tag", []))
        named = parse_wheel_name(file.filename)[3]
    except ValueError as error:
        return [*problems, f"WHEEL has a tag that can't be read: {str(error)[:100]}"], ""
    if tags == named:
        return problems, ""
    said = ", ".join(sorted(map(str, tags))[:5]) or "none"
    differs = f"WHEEL has the tags {said}; its file name says {', '.join(sorted(map(str, named))[:5])}"
    if _is_renamed(tags, named):
        return (
            problems,
            f"{differs}: the same but for the kind of Linux, as where a wheel was renamed after it was built",
        )
    return [*problems, differs], ""


def _is_renamed(tags: frozenset[Tag], named: frozenset[Tag]) -> bool:
    """Whether a wheel that was built for this Linux is called one for many of them, and nothing else differs.

    Big projects build with `linux_x86_64` and rename the file once they have looked into its libraries. An installer goes by
    the file name alone, so that WHEEL can't make it take the wheel for another interpreter or machine.
    """
    built = {(tag.interpreter, tag.abi, tag.platform.removeprefix("linux_")) for tag in tags}
    called = {(tag.interpreter, tag.abi, _MANY_LINUX.sub("", tag.platform)) for tag in named}
    return (
        built == called
        and all(tag.platform.startswith("linux_") for tag in tags)
        and all(_MANY_LINUX.match(tag.platform) for tag in named)
    )


def _tags(lines: Iterable[str]) -> frozenset[Tag]:
    found: set[Tag] = set()
    for line in lines:
        if line.count(".") > 100 or len(found) > 1000:
            raise ValueError("it stands for too many")
        found |= parse_tag(line)
    return frozenset(found)


# --- what it installs -------------------------------------------------------------------------------------------------


def _place(name: str) -> str | None:
    """Where a member goes: members of NAME.data say so by a folder. None for a place that doesn't exist."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data") or not rest:
        return f"{SITE}/{name}"
    scheme, _, below = rest.partition("/")
    if scheme not in _SCHEMES or not below:
        return None
    return landed(below) if scheme == "data" else f"{_SCHEMES[scheme]}/{below}"


def _contents(
    file: ExceptionFile, info: str, files: Iterable[str], pth: Mapping[str, bool], made: Collection[str]
) -> Outcome:
    """What a person should know: names beside the package's own, files that Python runs by itself, programs."""
    places: dict[str, str] = {}
    tops: dict[str, None] = {}
    schemes: dict[str, list[str]] = {scheme: [] for scheme in ("scripts", "data", "headers")}
    problems: list[str] = []
    foreign: dict[str, None] = {}
    own = f"{info[: -len('.dist-info')]}.data"
    for name in files:
        top, _, rest = name.partition("/")
        if top == info:
            continue
        place = _place(name)
        if place is None:
            problems.append(f"its member {shown(name)} goes to a place that doesn't exist")
            continue
        places[name] = place
        if top.endswith(".data") and rest and top.lower() != own.lower():
            foreign[top] = None
        if rest and top.endswith(".data") and (scheme := rest.partition("/")[0]) in schemes:
            schemes[scheme].append(name)
        folder, _, below = place.partition("/")
        if folder == SITE:
            tops[below.partition("/")[0]] = None
    problems += [f"its folder {shown(top)} is not {shown(own)}: installers differ in where it goes" for top in foreign]
    problems = [*hazards(file.name, places, pth, data=schemes["data"], made=made), *problems]
    mine = file.name.replace("-", "_")
    beside = [top for top in tops if top.partition(".")[0].lower().replace("-", "_") not in (mine, f"_{mine}")]
    read = [f"{name}{' (runs code)' if runs else ''}" for name, runs in pth.items()]
    evidence = {
        key: some(names)
        for key, names in (("top_level", list(tops)), ("beside", beside), ("pth", read), *schemes.items())
        if names
    }
    said = f"it installs {_some(len(tops), 'name')} at the top level"
    if pth:
        said += f", {_some(len(pth), '.pth file')} that Python reads whenever it starts"
    if schemes["scripts"]:
        said += f", {_some(len(schemes['scripts']), 'program')}"
    return judged(CONTENTS, problems, said, **evidence)


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _without(filename: str, error: IntegrityError) -> str:
    return str(error).removeprefix(f"{filename}: ")
