"""A source distribution looked into: a plain tar.gz or zip file of one folder, whose PKG-INFO tells of the package.

Nothing of it is built or run. Members that would be written elsewhere, through a link, or over each other are refused.

Source: the source distribution format (PEP 625, PEP 643, PEP 721).
"""

import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from quarantine.archive.conda_tar import MAX_HEADER_BYTES, Fed, Meter, check_member, content
from quarantine.archive.inspection import ARCHIVE, CONTENTS, METADATA, RECORD, Found, answer, complete, judged
from quarantine.archive.metadata import MAX_METADATA_BYTES, Metadata, parse_metadata
from quarantine.archive.names import Names, check_name, shown, within
from quarantine.archive.pickles import Pickles
from quarantine.archive.wheel_inspect import licences_of, metadata_problems
from quarantine.archive.zip_strict import MAX_ENTRIES, StrictZip
from quarantine.errors import IntegrityError
from quarantine.exceptions import ExceptionFile
from quarantine.model import Licences, OutcomeKind, parse_version

__all__ = ["inspect_sdist"]

_BLOCK_BYTES = 64 * 1024


def inspect_sdist(file: ExceptionFile, stream: BinaryIO) -> Found:
    """What is found in a source distribution. Nothing is raised for what is wrong with it."""
    scan = Pickles()
    try:
        walked = _zip(file, stream, scan) if file.filename.endswith(".zip") else _tar(file, stream, scan)
    except IntegrityError as error:
        refused = answer(ARCHIVE, OutcomeKind.FAIL, str(error).removeprefix(f"{file.filename}: "))
        return Found(outcomes=complete(file, [refused], "its archive is refused"))
    count, tops, described = walked
    problems: list[str] = []
    parsed: Metadata | None = None
    if len(tops) != 1 or not _is_folder_of(file, *tops):
        problems.append(
            f"its members lie in {', '.join(map(shown, sorted(tops)[:5]))}, expected one folder of its name"
        )
    data = described.get(f"{next(iter(tops), '')}/PKG-INFO")
    if data is None:
        problems.append("it has no PKG-INFO")
    else:
        try:
            parsed = parse_metadata("PKG-INFO", data)
            problems += metadata_problems(file, parsed, "PKG-INFO")
        except IntegrityError as error:
            problems.append(str(error))
    kind = "zip" if file.filename.endswith(".zip") else "tar.gz"
    outcomes = [
        answer(ARCHIVE, OutcomeKind.PASS, f"a plain {kind} file of {count} members", members=count),
        judged(METADATA, problems, "file name, folder and PKG-INFO agree"),
        answer(RECORD, OutcomeKind.NOT_APPLICABLE, "source distributions have no list of their files"),
        answer(CONTENTS, OutcomeKind.NOT_APPLICABLE, "what it installs is only known once it is built"),
        scan.outcome(),
    ]
    return Found(
        outcomes=complete(file, outcomes, ""),
        metadata=None if parsed is None else data,
        licences=Licences() if parsed is None else licences_of(parsed),
    )


def _is_folder_of(file: ExceptionFile, top: str) -> bool:
    try:
        name, version = parse_sdist_filename(f"{top}.tar.gz")
        return name == file.name and version == parse_version(file.version)
    except (InvalidSdistFilename, ValueError):
        return False


def _zip(file: ExceptionFile, stream: BinaryIO, scan: Pickles) -> tuple[int, set[str], dict[str, bytes]]:
    archive = StrictZip(file.filename, stream)
    described: dict[str, bytes] = {}
    for member in archive.members:
        if _is_description(member.name):
            described[member.name] = archive.content(member, MAX_METADATA_BYTES)
        for _ in scan.through(member.name, archive.chunks(member)):
            pass
    tops = {member.name.partition("/")[0] for member in archive.members}
    return len(archive.members), tops, described


def _is_description(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/PKG-INFO")


def _tar(file: ExceptionFile, stream: BinaryIO, scan: Pickles) -> tuple[int, set[str], dict[str, bytes]]:
    filename = file.filename
    names = Names(filename)
    links: set[str] = set()
    there: set[str] = set()
    tops: set[str] = set()
    described: dict[str, bytes] = {}
    count = end = 0
    fed = Fed(iter(lambda: stream.read(_BLOCK_BYTES), b""))
    stream.seek(0)
    meter = Meter(filename, _Inflated(filename, fed), fed)
    try:
        with tarfile.open(fileobj=meter, mode="r|", encoding="utf-8", bufsize=_BLOCK_BYTES) as tar:  # type: ignore[call-overload]  # it only reads
            for member in tar:
                end = tar.offset
                count += 1
                if count > MAX_ENTRIES:
                    raise IntegrityError(f"{filename}: it has more than {MAX_ENTRIES} members")
                name = _judged(filename, member, names, links, there)
                tops.add(name.partition("/")[0])
                meter.allowed = end + MAX_HEADER_BYTES
                if _is_description(name) and member.isreg():
                    described[name] = content(filename, tar, member, MAX_METADATA_BYTES)
                elif member.isreg():
                    for _ in scan.through(name, _chunks(tar, member)):
                        pass
                tar.members = []  # it would keep every one of them
        if meter.drain() > end:
            raise IntegrityError(f"{filename}: there are bytes behind its last member")
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise IntegrityError(
            f"{filename}: not a readable tar.gz file ({str(error)[:100] or type(error).__name__})"
        ) from error
    names.check()
    return count, tops, described


def _judged(filename: str, member: tarfile.TarInfo, names: Names, links: set[str], there: set[str]) -> str:
    """The name of a member that is written where it says, and over nothing."""
    check_member(filename, member)
    name = member.name
    check_name(filename, name)
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()) or member.issparse():
        raise IntegrityError(f"{filename}: its member {shown(name)} is neither a file, a folder nor a link")
    if any(name[:at] in links for at, letter in enumerate(name) if letter == "/"):
        raise IntegrityError(f"{filename}: its member {shown(name)} would be written through a link")
    if member.issym() and not within(name, member.linkname):
        raise IntegrityError(f"{filename}: its link {shown(name)} leads out of it, to {shown(member.linkname)}")
    if member.islnk() and member.linkname not in there:
        raise IntegrityError(f"{filename}: its link {shown(name)} leads to {shown(member.linkname)}, no file before it")
    names.add(name, folder=member.isdir())
    if member.issym():
        links.add(name)
    if member.isreg():
        there.add(name)
    return name


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    while stream is not None and (chunk := stream.read(_BLOCK_BYTES)):
        yield chunk


class _Inflated:
    """The bytes in a gzip file of one part, behind which nothing follows."""

    def __init__(self, filename: str, fed: Fed) -> None:
        self._filename = filename
        self._fed = fed
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. IntegrityError, zlib.error, EOFError."""
        while not self._unpacker.eof:
            data = self._unpacker.unconsumed_tail or self._fed.read(_BLOCK_BYTES)
            if not data:
                raise EOFError("it is cut")
            if found := self._unpacker.decompress(data, size):
                return found
        if self._unpacker.unused_data or self._fed.read(1):
            raise IntegrityError(f"{self._filename}: there are bytes behind its packed data")
        return b""
