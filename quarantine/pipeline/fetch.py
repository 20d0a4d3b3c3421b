"""A checked lock's files in a folder, for an installation without any network.

(1) See what the folder holds: nothing of anybody else's is written over, and a file that is there already must be right.
(2) Fetch what is missing, several at a time: what an exception stands behind from the mirror, the rest from the owners of
the names; every file is held to its length and its digest while it comes, and gets its name when it is whole. (3) Write the
channel's index, and last the list that an installer is given.

What it is given is the verdict on the lock, which the caller has made a moment ago: only what was allowed is fetched.
"""

import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import md5, sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import mkdtemp
from typing import BinaryIO, cast

import msgspec

from quarantine.archive.conda_index import index_text
from quarantine.errors import IntegrityError, UpstreamError, UsageError
from quarantine.exceptions import ExceptionFile, Grants
from quarantine.mirror import channel
from quarantine.model import MIRRORED, CheckResult, Digest, Ecosystem, Item, PackageFile, Verdict
from quarantine.ports import ArtifactStore, FileSource, Tell

__all__ = ["CHANNEL", "REQUIREMENTS", "FetchPorts", "Fetched", "Wanted", "fetch", "fetched_files", "requirements"]

FILES = "files"
CHANNEL = "channel"
"""The folder of the conda channel in the folder of files."""
REQUIREMENTS = "requirements.txt"
"""The list that pip is given."""
_HEAD = b"# Written by quarantine"
"""How that list begins, by which it is told from somebody's own."""
WORKERS = 8
MAX_FILE_BYTES = 16 * 1024**3
"""Of a file whose owner doesn't say how long it is; no index takes larger ones."""
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}")
_TEMPORARY = ".quarantine-fetch-"
_CHUNK_BYTES = 1024 * 1024


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is to be there: where in the folder, and what its owner lists.

    `granted` is whether an exception stands behind it, so that the mirror may have it; `owned` whether its owner has it.
    """

    place: str
    upstream: str
    file: PackageFile
    granted: bool
    owned: bool = True
    package: ExceptionFile | None = None

    @property
    def digest(self) -> Digest:
        """The digest that its bytes must have."""
        assert self.file.digest is not None  # noqa: S101  # `wanted` looked
        return self.file.digest


class FetchPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Where files come from, and what writes one in a single step."""

    store: ArtifactStore
    source: Callable[[], FileSource]
    write: Callable[[Path, bytes], None]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: how many files there are now, of how many bytes, and how many of them were there before."""

    files: int
    bytes: int
    kept: int


def fetched_files(result: CheckResult, grants: Grants) -> tuple[Wanted, ...]:
    """The files of an allowed verdict. UsageError, UpstreamError for one that can't be fetched as a whole."""
    if result.verdict is not Verdict.ALLOWED:
        raise UsageError(f"the verdict is {result.verdict.value}: nothing is fetched")
    wanted: dict[str, Wanted] = {}
    for judged in result.items:
        item = judged.item
        if item.ecosystem is Ecosystem.PYPI:
            found = _wheels(item, grants)
        elif item.ecosystem is Ecosystem.CONDA:
            found = (_package(item, grants),)
        else:
            continue
        for one in found:
            there = wanted.setdefault(one.place.casefold(), one)
            if there.digest != one.digest:
                raise UsageError(f"{one.place} would be two files: fetch for one target at a time (--target)")
    return tuple(wanted[place] for place in sorted(wanted))


def _wheels(item: Item, grants: Grants) -> tuple[Wanted, ...]:
    """The wheels of an item: all that some machine of its targets may choose."""
    found = tuple(
        Wanted(
            place=artifact.filename,
            upstream=item.upstream or "",
            file=artifact,
            granted=artifact.digest in grants.live,
            owned=not artifact.is_mirrored,
        )
        for artifact in item.artifacts
        if artifact.is_wheel and artifact.digest is not None and artifact.digest.algorithm == "sha256"
    )
    for one in found:
        if not _FILENAME.fullmatch(one.place):
            raise UpstreamError(f"{item.purl}: {one.place!a} is no name that a file may have")
    if not found:
        raise UpstreamError(f"{item.purl} has no wheel with a sha256: it can't be installed without its index")
    return found


def _package(item: Item, grants: Grants) -> Wanted:
    record = item.record
    if record is None or record.sha256 is None:
        raise UpstreamError(f"{item.purl} has no sha256 in its channel: nothing can be held to it")
    try:
        file = msgspec.convert(
            {
                "ecosystem": "conda",
                "upstream": record.upstream,
                "name": record.name,
                "version": record.version,
                "filename": record.filename,
                "sha256": record.sha256.hex,
                "subdir": channel.subdir_of(record.subdir),
                "build": record.build,
            },
            ExceptionFile,
        )
    except ValueError as error:
        raise UpstreamError(f"{item.purl} can't be a file: {error}") from error
    return Wanted(
        place=f"{CHANNEL}/{file.subdir}/{file.filename}",
        upstream=record.upstream,
        file=PackageFile(
            filename=record.filename, digest=record.sha256, size=record.size, upload_time=None, url=record.url
        ),
        granted=record.sha256 in grants.live,
        owned=not record.url.startswith(MIRRORED),
        package=file,
    )


def requirements(result: CheckResult, created_by: str) -> bytes | None:
    """The list for `pip install --require-hashes`, None where the verdict has no Python package. The same gives the same bytes.

    UsageError where a package would stand there twice.
    """
    lines: dict[str, str] = {}
    for judged in result.items:
        item = judged.item
        if item.ecosystem is not Ecosystem.PYPI:
            continue
        digests = sorted({artifact.digest for artifact in item.artifacts if artifact.is_wheel and artifact.digest})
        line = " \\\n    ".join((f"{item.name}=={item.version}", *(f"--hash={digest}" for digest in digests)))
        if lines.setdefault(item.name, line) != line:
            raise UsageError(f"{item.name} stands in the verdict twice: fetch for one target at a time (--target)")
    if not lines:
        return None
    head = f"# Written by {created_by} beside the files that it names, all of which were judged. Don't edit it.\n"
    return (head + "".join(f"{lines[name]}\n" for name in sorted(lines))).encode()


# --- the folder -------------------------------------------------------------------------------------------------------


def fetch(
    wanted: Sequence[Wanted],
    folder: Path,
    listing: bytes | None,
    ports: FetchPorts,
    tell: Tell,
    *,
    beside: Collection[str] = (),
) -> Fetched:
    """The files, whole and right, in the folder, which is made if it isn't there; `listing` is its requirements.txt.

    `beside` are other files that may be there; a requirements.txt may if there is a listing, and an earlier run wrote it.
    UsageError when the folder holds anything else, IntegrityError when a file that is there, or one that came, is not what
    was judged. UpstreamError when one can't be had. Then, and after an interruption, no file is there that isn't whole.
    """
    # (1)
    _make(folder)
    present = _present(folder, wanted, beside if listing is None else {REQUIREMENTS, *beside})
    missing = [one for one in wanted if one.place not in present]
    # (2)
    temporary = Path(mkdtemp(prefix=_TEMPORARY, dir=folder))
    try:
        _all(missing, folder, temporary, ports, tell)
        # (3)
        _index(wanted, folder, ports.write, tell)
        if listing is not None:
            ports.write(folder / REQUIREMENTS, listing)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Fetched(
        files=len(wanted),
        bytes=sum((folder / one.place).stat().st_size for one in wanted),
        kept=len(present),
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"there is no folder {str(folder.parent)!a}: make it first") from None
    except OSError as error:
        raise UsageError(f"{folder} can't be a folder: {(error.strerror or str(error)).lower()}") from error


def _present(folder: Path, wanted: Collection[Wanted], beside: Collection[str]) -> frozenset[str]:
    """The places of the files that are there and right; what an earlier run that was killed left is taken away."""
    places = {one.place: one for one in wanted}
    own = {*beside, *(f"{place.rsplit('/', 1)[0]}/repodata.json" for place in places if "/" in place)}
    own |= {f"{CHANNEL}/{channel.NOARCH}/repodata.json"} if any("/" in place for place in places) else set()
    found: set[str] = set()
    for path in _walk(folder):
        place = path.relative_to(folder).as_posix()
        if place in places:
            if _sha256(path) != places[place].digest.hex:
                raise IntegrityError(
                    f"{path} is there with other bytes than were judged: stop and look who changed it, or take it away"
                )
            found.add(place)
        elif place not in own:
            raise UsageError(
                f"{folder} holds {place!a}, which is nothing of this lock: name a new folder, or an empty one"
            )
        elif place == REQUIREMENTS and not _is_ours(path):
            raise UsageError(
                f"{folder} holds a {REQUIREMENTS} that quarantine didn't write: name a new folder, or an empty one"
            )
    return frozenset(found)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


def _walk(folder: Path) -> Iterable[Path]:
    """The regular files below the folder. UsageError for anything that is neither file nor folder."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            if entry.name.startswith(_TEMPORARY):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                yield from _walk(Path(entry.path))
        elif stat.S_ISREG(mode):
            yield Path(entry.path)
        else:
            raise UsageError(f"{entry.path} is neither a file nor a folder: name a new folder, or an empty one")


def _sha256(path: Path) -> str:
    hashed = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()


# --- fetching ---------------------------------------------------------------------------------------------------------


class _StoppedError(Exception):
    """Somebody else failed, or the user has had enough."""


class _Guarded:
    """A file that takes no more once all is to stop."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file = file
        self._stop = stop

    def write(self, data: bytes) -> int:
        if self._stop.is_set():
            raise _StoppedError
        return self._file.write(data)


def _all(missing: Sequence[Wanted], folder: Path, temporary: Path, ports: FetchPorts, tell: Tell) -> None:
    """Fetches them; the first failure is raised and ends the rest. The threads are daemons, so that Ctrl-C waits for none."""
    if not missing:
        return
    stop = threading.Event()
    todo: SimpleQueue[tuple[int, Wanted]] = SimpleQueue()
    done: SimpleQueue[Wanted | BaseException] = SimpleQueue()
    # the largest first: then nobody waits for one at the end
    for entry in enumerate(sorted(missing, key=lambda one: -(one.file.size or 0))):
        todo.put(entry)
    source = ports.source() if any(one.owned for one in missing) else None

    def work() -> None:
        while not stop.is_set():
            try:
                number, one = todo.get_nowait()
            except Empty:
                return
            try:
                _one(one, folder, temporary / str(number), ports.store, source, stop)
            except BaseException as error:  # noqa: BLE001  # raised by the thread that waits for it
                done.put(error)
            else:
                done.put(one)

    try:
        for number in range(min(WORKERS, len(missing))):
            threading.Thread(target=work, name=f"fetch-{number}", daemon=True).start()
        for number in range(1, len(missing) + 1):
            came = done.get()
            if isinstance(came, BaseException):
                raise came
            tell(f"fetched {number} of {len(missing)}: {came.file.filename}")
    finally:
        stop.set()


def _one(
    one: Wanted,
    folder: Path,
    temporary: Path,
    store: ArtifactStore,
    source: FileSource | None,
    stop: threading.Event,
) -> None:
    """Fetches one file, and gives it its name."""
    place = folder / one.place
    try:
        with temporary.open("xb") as file:
            guarded = cast("BinaryIO", _Guarded(file, stop))
            if source is None or not one.owned or (one.granted and store.size(FILES, one.digest) is not None):
                _of_mirror(one, store, guarded)
            else:
                source.fetch(one.upstream, one.file, guarded, MAX_FILE_BYTES, lambda _: None)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(place)
    except OSError as error:
        raise UpstreamError(f"{place} can't be written: {(error.strerror or str(error)).lower()}") from error


def _of_mirror(one: Wanted, store: ArtifactStore, to: BinaryIO) -> None:
    size = 0
    for chunk in store.read(FILES, one.digest):
        size += len(chunk)
        to.write(chunk)
    if one.file.size is not None and size != one.file.size:
        raise IntegrityError(f"{one.file.filename}: the mirror has {size} bytes of it, expected {one.file.size}")


# --- the channel ------------------------------------------------------------------------------------------------------


def _index(wanted: Iterable[Wanted], folder: Path, write: Callable[[Path, bytes], None], tell: Tell) -> None:
    """Writes the repodata of the conda packages that are there, each as it describes itself."""
    subdirs: dict[str, dict[str, channel.CondaFile]] = {}
    for one in wanted:
        if one.package is None:
            continue
        tell(f"reading {one.file.filename}")
        records = subdirs.setdefault(one.package.subdir, {})
        records[one.file.filename] = _record(folder / one.place, one.package)
    if subdirs:
        subdirs.setdefault(channel.NOARCH, {})
    for subdir, records in subdirs.items():
        place = folder / CHANNEL / subdir
        place.mkdir(parents=True, exist_ok=True)
        write(place / "repodata.json", channel.repodata(subdir, records))


def _record(path: Path, package: ExceptionFile) -> channel.CondaFile:
    with path.open("rb") as file:
        size = file.seek(0, 2)

        def read(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        text = index_text(package.filename, size, read)
        hashed = md5(usedforsecurity=False)
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
    try:
        return channel.record(package, text, size=size, md5=hashed.hexdigest(), indexed=None)
    except ValueError as error:
        raise IntegrityError(str(error)) from error
