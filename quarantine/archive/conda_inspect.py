"""A conda package looked into, whole: the files in it are those that its list names, with the digests that stand there.

Source: conda's package specification.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import BinaryIO

import msgspec

from quarantine.archive.conda import MAX_INDEX_BYTES, MAX_LIST_BYTES, distributions
from quarantine.archive.conda_tar import FILES, INDEX, PATHS, Part, content, readable, walk
from quarantine.archive.conda_zip import members
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
from quarantine.archive.names import check_name, shown, within
from quarantine.archive.pickles import Pickles
from quarantine.archive.places import MAX_PTH_BYTES, hazards, is_startup, landed, programs, runs_code
from quarantine.archive.zip_strict import Member, StrictZip
from quarantine.errors import IntegrityError
from quarantine.exceptions import ExceptionFile
from quarantine.model import CondaRecord, Licences, Outcome, OutcomeKind

__all__ = ["inspect_conda"]

ABOUT = "info/about.json"
LINK = "info/link.json"
_LISTED = {
    INDEX: MAX_INDEX_BYTES,
    LINK: MAX_INDEX_BYTES,
    ABOUT: MAX_INDEX_BYTES,
    PATHS: MAX_LIST_BYTES,
    FILES: MAX_LIST_BYTES,
}
_BLOCK_BYTES = 64 * 1024
_SCRIPT = re.compile(r"(?:bin|Scripts)/\.?[^/]+-(?:pre-link|post-link|pre-unlink)\.(?:sh|bat)")
_ACTIVATION = re.compile(r"etc/conda/(?:de)?activate\.d/.+")


class _Index(msgspec.Struct, frozen=True):
    """`info/index.json`, or `info/about.json`: what is read of them here."""

    license: str | None = None
    depends: tuple[str, ...] = ()


class _Path(msgspec.Struct, frozen=True):
    """A file in `info/paths.json`. What a link leads to has no digest of its own."""

    path: str = msgspec.field(name="_path")
    path_type: str = "hardlink"
    sha256: str | None = None
    size_in_bytes: int | None = None


class _Paths(msgspec.Struct, frozen=True):
    paths: tuple[_Path, ...]


class _Noarch(msgspec.Struct, frozen=True):
    entry_points: tuple[str, ...] = ()


class _Link(msgspec.Struct, frozen=True):
    """`info/link.json`: of which programs are made where the package is installed."""

    noarch: _Noarch | None = None


class _Seen:
    """What passes by of a package: digests and sizes of its files, links, and the files that describe it.

    `pth` has of the files that Python reads at its start whether they run code.
    """

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.count = 0
        self.files: dict[str, tuple[str, int]] = {}
        self.links: dict[str, str] = {}
        self.described: dict[str, bytes] = {}
        self.pth: dict[str, bool] = {}
        self.scan = Pickles()
        self._through: set[str] = set()

    def take(self, chunks: Iterable[bytes], part: Part) -> None:
        """Reads a compressed tar file to its end. IntegrityError when it could be read in two ways."""
        with readable(self.filename), closing(walk(self.filename, chunks, part, self._through)) as found:
            for path, tar, member in found:
                self.count += 1
                if not member.isdir():
                    check_name(self.filename, path)
                    self._take(path, tar, member)

    def _take(self, path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if path in self.files or path in self.links:
            raise IntegrityError(f"{self.filename}: it has {shown(path)} twice")
        if member.issym():
            if not within(path, member.linkname):
                said = f"its link {shown(path)} leads out of it, to {shown(member.linkname)}"
                raise IntegrityError(f"{self.filename}: {said}")
            self.links[path] = member.linkname
        elif member.islnk():
            if member.linkname not in self.files:
                said = f"its link {shown(path)} leads to {shown(member.linkname)}, no file before it"
                raise IntegrityError(f"{self.filename}: {said}")
            self.files[path] = self.files[member.linkname]
        elif not member.isreg() or member.issparse():
            raise IntegrityError(f"{self.filename}: its member {shown(path)} is neither a file, a folder nor a link")
        elif path in _LISTED:
            self.described[path] = content(self.filename, tar, member, _LISTED[path])
            self.files[path] = "", member.size
        else:
            hashing = hashlib.sha256()
            startup, kept = is_startup(landed(path)), b""
            for chunk in self.scan.through(path, _chunks(tar, member)):
                hashing.update(chunk)
                if startup and len(kept) < MAX_PTH_BYTES:
                    kept += chunk
            if startup:
                self.pth[path] = runs_code(path, kept, member.size)
            self.files[path] = hashing.hexdigest(), member.size


def inspect_conda(file: ExceptionFile, stream: BinaryIO) -> Found:
    """What is found in a conda package. Nothing is raised for what is wrong with it."""
    record = CondaRecord(
        upstream=file.upstream,
        subdir=file.subdir,
        name=file.name,
        version=file.version,
        build=file.build,
        filename=file.filename,
        url=file.filename,
    )
    seen = _Seen(file.filename)
    try:
        info, pkg, info_last = _parts(file.filename, stream)
        seen.take(info(), Part.WHOLE if pkg is None else Part.INFO)
        if pkg is not None:
            seen.take(pkg(), Part.PKG)
    except IntegrityError as error:
        refused = answer(ARCHIVE, OutcomeKind.FAIL, _without(file.filename, error))
        return Found(outcomes=complete(file, [refused], "its archive is refused"))
    holds: tuple[str, ...] = ()
    problems: list[str] = []
    try:
        found = distributions(record, info(), () if pkg is None else pkg(), info_last=info_last)
        holds = tuple(f"{package.name}=={package.version}" for package in found)
    except IntegrityError as error:
        problems.append(_without(file.filename, error))
    index, about = (_index(seen.described.get(name), name, problems) for name in (INDEX, ABOUT))
    outcomes = [
        answer(ARCHIVE, OutcomeKind.PASS, f"a plain conda package of {seen.count} members", members=seen.count),
        judged(METADATA, problems, f"{INDEX} and the file list agree with what was asked for", holds=some(holds)),
        _listed(seen),
        _contents(file, seen),
        seen.scan.outcome(),
    ]
    return Found(
        outcomes=complete(file, outcomes, ""),
        requires=index.depends,
        holds=holds,
        index=_text(seen.described.get(INDEX)),
        licences=Licences(text=index.license or about.license),
    )


_Chunks = Callable[[], Iterable[bytes]]


def _parts(filename: str, stream: BinaryIO) -> tuple[_Chunks, _Chunks | None, bool]:
    """The info part and the pkg part of a `.conda` file, or the whole of another one; each can be read again."""
    if not filename.endswith(".conda"):
        return (lambda: _blocks(stream)), None, True

    def read(start: int, end: int) -> bytes:
        stream.seek(start)
        return stream.read(end - start)

    archive = StrictZip(filename, stream)
    parts = members(filename, stream.seek(0, io.SEEK_END), read)
    stem = filename.removesuffix(".conda")
    by_name: dict[str, Member] = {member.name: member for member in archive.members}
    for _ in archive.chunks(by_name["metadata.json"]):
        pass
    info, pkg = by_name[f"info-{stem}.tar.zst"], by_name[f"pkg-{stem}.tar.zst"]
    return (lambda: archive.chunks(info)), (lambda: archive.chunks(pkg)), parts.info_last


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(0)
    while block := stream.read(_BLOCK_BYTES):
        yield block


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    while stream is not None and (chunk := stream.read(_BLOCK_BYTES)):
        yield chunk


def _index(data: bytes | None, name: str, problems: list[str]) -> _Index:
    if data is None:
        return _Index()
    try:
        return msgspec.json.decode(data, type=_Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"{name} can't be read: {str(error)[:200]}")
        return _Index()


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "replace")


def _listed(seen: _Seen) -> Outcome:
    """Whether the files are those of `info/paths.json`."""
    installed = {path for path in (*seen.files, *seen.links) if not path.startswith("info/")}
    if PATHS not in seen.described:
        said = f"it has no {PATHS}, so that nobody says what its {len(installed)} files must be"
        return answer(RECORD, OutcomeKind.UNKNOWN, said)
    try:
        listed = msgspec.json.decode(seen.described[PATHS], type=_Paths).paths
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return answer(RECORD, OutcomeKind.FAIL, f"{PATHS} can't be read: {str(error)[:200]}")
    problems: list[str] = []
    undigested = 0
    by_path: dict[str, _Path] = {}
    for entry in listed:
        if entry.path in by_path:
            problems.append(f"{PATHS} lists {shown(entry.path)} twice")
        by_path[entry.path] = entry
    for path, entry in by_path.items():
        if path in seen.links or entry.path_type == "directory":
            continue
        if path not in seen.files:
            problems.append(f"{PATHS} lists {shown(path)}, which isn't there")
            continue
        digest, size = seen.files[path]
        undigested += entry.sha256 is None
        if entry.sha256 is not None and entry.sha256 != digest:
            problems.append(f"{PATHS} has another sha256 of {shown(path)}")
        elif entry.size_in_bytes is not None and entry.size_in_bytes != size:
            problems.append(f"{PATHS} says that {shown(path)} has {entry.size_in_bytes} bytes, it has {size}")
    problems += [f"{PATHS} leaves out {shown(path)}, which is there" for path in sorted(installed - by_path.keys())]
    if undigested and not problems:
        return answer(RECORD, OutcomeKind.UNKNOWN, f"{PATHS} has no sha256 of {undigested} of {len(by_path)} files")
    return judged(RECORD, problems, f"{PATHS} lists all {len(installed)} files with their digests")


def _contents(file: ExceptionFile, seen: _Seen) -> Outcome:
    """What a person should know: programs that are run at installing and activating, files that Python runs by itself."""
    installed = [path for path in (*seen.files, *seen.links) if not path.startswith("info/")]
    groups = {
        "link_scripts": [path for path in seen.files if _SCRIPT.fullmatch(path)],
        "activation": [path for path in seen.files if _ACTIVATION.fullmatch(path)],
        "pth": [path for path in installed if path.lower().endswith(".pth")],
    }
    evidence = {key: some(paths) for key, paths in groups.items() if paths}
    said = "nothing of it is run by itself"
    if evidence:
        counted = ", ".join(f"{len(groups[key])} {key.replace('_', ' ')}" for key in evidence)
        said = f"parts of it are run by themselves, at installing or starting: {counted}"
    problems: list[str] = []
    made: tuple[str, ...] = ()
    try:
        link = msgspec.json.decode(seen.described.get(LINK, b"{}"), type=_Link)
        made = programs("\n".join(("[console_scripts]", *(link.noarch or _Noarch()).entry_points)).encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        problems.append(f"{LINK} can't be read: {str(error)[:200]}")
    places = {path: landed(path) for path in installed}
    problems += hazards(file.name, places, seen.pth, made=made, conda=True)
    return judged(CONTENTS, problems, said, **evidence)


def _without(filename: str, error: IntegrityError) -> str:
    return str(error).removeprefix(f"{filename}: ")
