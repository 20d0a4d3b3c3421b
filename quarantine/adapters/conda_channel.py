"""Conda packages where they lie: as little of each as tells what it holds, over HTTP, with a cache.

Of a `.conda` file a few ranges are asked for, and all of it only where its pkg member comes last; a `.tar.bz2` file is
streamed to its end. A range can't be held to the digest of the whole file, so the list is as good as the channel's
server; where the whole file came, its sha256 is checked. What a server said counts for that server alone: the same digest elsewhere is asked for again.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
from packaging.utils import NormalizedName

from quarantine.archive.conda import distributions, metadata
from quarantine.archive.conda_zip import BLOCK_BYTES, members
from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.cache import private_folder, read_cached, write_cached
from quarantine.model import CondaRecord, Ecosystem, Package, parse_name, parse_version
from quarantine.policy.stage import Upstream
from quarantine.ports import CondaContents, Tell

if TYPE_CHECKING:
    from quarantine.io.http import HttpClient, Streamed

__all__ = ["CondaChannelPackages"]

MAX_PACKAGE_BYTES = 1024 * 1024 * 1024
MAX_METADATA_STREAM_BYTES = 256 * 1024 * 1024
MAX_ENTRY_BYTES = 16 * 1024 * 1024
STREAM_SECONDS = 600.0
WORKERS = 8
# what is left of a file after its metadata was found is worth reading when it is no more than this: then the digest counts
REST_BYTES = 1024 * 1024
# the number goes up when packages are read more strictly: what was believed before is read again
_CONTENTS, _METADATA = "conda-contents-2", "conda-metadata-2"
_CHUNK_BYTES = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII)


class _RefusedError(UpstreamError):
    """The channel doesn't give out a package that it lists."""


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """What is cached of a package: names and versions of its distributions, and when the server got it."""

    distributions: tuple[tuple[str, str], ...]
    last_modified: datetime | None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A package file within reach. `read` gives a range of it at once, `chunks` one in pieces as they come."""

    size: int
    read: Callable[[int, int], bytes]
    chunks: Callable[[int, int], AbstractContextManager[Iterable[bytes]]]


class CondaChannelPackages:
    """A `CondaPackages` over the channels of the policy.

    `http` makes the client, once it is needed. `logins` are user and password by upstream name, sent to that upstream's
    origin only. A package that its channel lists on another origin is not asked for. With `offline` only the cache is.
    """

    def __init__(
        self,
        *,
        upstreams: Iterable[Upstream],
        http: "Callable[[], HttpClient]",
        cache_dir: Path,
        logins: Mapping[str, tuple[str, str]],
        offline: bool = False,
    ) -> None:
        self._channels = {upstream.name: upstream for upstream in upstreams if upstream.type is Ecosystem.CONDA}
        self._make_http = http
        self._cache_dir = cache_dir
        self._logins = logins
        self._offline = offline
        self._decoder = msgspec.msgpack.Decoder(_Entry)

    @cached_property
    def _http(self) -> "HttpClient":
        return self._make_http()

    def contents(self, records: Collection[CondaRecord], tell: Tell) -> Mapping[CondaRecord, CondaContents]:
        """For every record what is inside. A package that can't be read is one without distributions that says why.

        UpstreamError when a channel doesn't answer.
        """
        folder = self._folder(_CONTENTS)
        found: dict[CondaRecord, CondaContents] = {}
        missing: list[CondaRecord] = []
        for record in dict.fromkeys(records):
            refusal = self._refusal(record)
            cached = None if refusal else self._cached(folder, record)
            if refusal:
                found[record] = CondaContents(distributions=None, why=refusal)
            elif cached is not None:
                found[record] = cached
            else:
                missing.append(record)
        if missing and self._offline:
            raise UpstreamError(
                f"offline: the file lists of {len(missing)} conda packages are not in the cache "
                f"({', '.join(record.filename for record in missing[:5])}): check once without --offline"
            )
        for number, (record, contents) in enumerate(self._read_all(missing), 1):
            tell(f"reading conda packages: {number} of {len(missing)}")
            found[record] = contents
            self._keep(folder, record, contents)
        return {record: found[record] for record in records}

    def metadata(self, record: CondaRecord, names: Collection[NormalizedName], tell: Tell) -> Mapping[str, bytes]:
        """The core metadata of the distributions in it, by normalised name; all of `names` are there.

        UpstreamError, IntegrityError when they can't be had.
        """
        folder = self._folder(_METADATA)
        found: dict[str, bytes] = {}
        for name in names:
            cached = None if record.sha256 is None else read_cached(_path(folder, record, name), MAX_METADATA_BYTES)
            if cached is not None:
                found[name] = cached
        missing = [name for name in dict.fromkeys(names) if name not in found]
        if not missing:
            return found
        if refusal := self._refusal(record):
            raise UpstreamError(refusal)
        if self._offline:
            raise UpstreamError(
                f"offline: the metadata of {len(missing)} distributions in {record.filename} is not in the cache: "
                "check once without --offline"
            )
        tell(f"reading metadata in {record.filename}")
        for name, data in self._read_metadata(record, missing).items():
            found[name] = data
            if record.sha256 is not None:
                write_cached(_path(folder, record, name), data)
        return found

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read_all(self, records: list[CondaRecord]) -> Iterator[tuple[CondaRecord, CondaContents]]:
        if not records:
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # only what is not cached is read

        _ = self._http  # made once, before several ask for it
        with ThreadPoolExecutor(max_workers=WORKERS) as workers:
            yield from zip(records, workers.map(self._read, records), strict=True)

    def _read(self, record: CondaRecord) -> CondaContents:
        last_modified: datetime | None = None
        try:
            with self._start(record, MAX_PACKAGE_BYTES) as answer:
                last_modified = _date(answer)
                if record.filename.endswith(".conda"):
                    with self._source(record, answer, MAX_PACKAGE_BYTES) as source:
                        parts = members(record.filename, source.size, source.read)
                        with closing(_once(source, parts.pkg)) as pkg:
                            found = distributions(record, [parts.info], pkg, info_last=parts.info_last)
                else:
                    whole = _Whole(record, answer, MAX_PACKAGE_BYTES)
                    found = distributions(record, whole)
                    whole.check(everything=True)
        except (IntegrityError, _RefusedError) as error:
            return CondaContents(distributions=None, last_modified=last_modified, why=str(error))
        return CondaContents(distributions=found, last_modified=last_modified)

    def _read_metadata(self, record: CondaRecord, names: Collection[NormalizedName]) -> Mapping[NormalizedName, bytes]:
        with self._start(record, MAX_METADATA_STREAM_BYTES) as answer:
            if not record.filename.endswith(".conda"):
                whole = _Whole(record, answer, MAX_METADATA_STREAM_BYTES)
                found = metadata(record, names, whole)
                whole.check()
                return found
            with self._source(record, answer, MAX_METADATA_STREAM_BYTES) as source:
                start, end = members(record.filename, source.size, source.read).pkg
                with source.chunks(start, end) as chunks:
                    return metadata(record, names, chunks)

    def _start(self, record: CondaRecord, max_bytes: int) -> "AbstractContextManager[Streamed]":
        """The first block of a `.conda` file, the whole of a `.tar.bz2` file."""
        return self._get(record, (0, BLOCK_BYTES) if record.filename.endswith(".conda") else None, max_bytes=max_bytes)

    @contextmanager
    def _source(self, record: CondaRecord, answer: "Streamed", max_bytes: int) -> Iterator[_Source]:
        """The file of which an answer has the first block. Where that is the whole file, it is kept until the end."""
        with ExitStack() as stack:
            if answer.status == 200:
                file = self._spool(stack, record, answer, max_bytes)
                size = file.seek(0, 2)
            else:
                size = _size(record, answer, 0, BLOCK_BYTES)
                head = _at_most(record, answer.chunks, min(size, BLOCK_BYTES))
                file = BytesIO(head)
                if len(head) == size:
                    _check_digest(record, hashlib.sha256(head).hexdigest())
            here = file.seek(0, 2)

            def read(start: int, end: int) -> bytes:
                return _slice(file, start, end) if end <= here else self._range(record, start, end, size)

            def chunks(start: int, end: int) -> AbstractContextManager[Iterable[bytes]]:
                return _pieces(file, start, end) if end <= here else self._streamed(record, start, end, size, max_bytes)

            yield _Source(size=size, read=read, chunks=chunks)

    def _range(self, record: CondaRecord, start: int, end: int, size: int) -> bytes:
        headers = {**self._headers(record), "Range": f"bytes={start}-{end - 1}"}
        answer = self._http.get(record.url, headers=headers, max_bytes=end - start, to_public=True)
        if answer.status != 206 or answer.headers.get("Content-Range", "") != f"bytes {start}-{end - 1}/{size}":
            raise UpstreamError(f"{answer.url} answered {answer.status}: expected another range of its {size} bytes")
        return answer.body

    @contextmanager
    def _streamed(
        self, record: CondaRecord, start: int, end: int, size: int, max_bytes: int
    ) -> Iterator[Iterable[bytes]]:
        with self._get(record, (start, end), max_bytes=max_bytes) as answer:
            if answer.status != 206 or _size(record, answer, start, end) != size:
                raise UpstreamError(f"{record.filename}: its server changed its mind about ranges or its size")
            yield answer.chunks

    def _spool(self, stack: ExitStack, record: CondaRecord, answer: "Streamed", max_bytes: int) -> IO[bytes]:
        """The whole answer in a file without a name, its digest checked."""
        import tempfile  # noqa: PLC0415  # few servers know no ranges

        whole = _Whole(record, answer, max_bytes)
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=self._cache_dir))  # noqa: SIM115  # the stack closes it
            for chunk in whole:
                file.write(chunk)
        except OSError as error:
            raise UpstreamError(f"no room for {record.filename}: {(error.strerror or str(error)).lower()}") from error
        whole.check()
        return file

    @contextmanager
    def _get(self, record: CondaRecord, span: tuple[int, int] | None = None, *, max_bytes: int) -> "Iterator[Streamed]":
        """The answer to a request for the file or a range of it: 200, or 206 where a range was asked for."""
        headers = self._headers(record)
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        # `_Whole` speaks first when there is too much
        limit = max_bytes + 2 * _CHUNK_BYTES
        asked = self._http.stream(
            record.url, headers=headers, max_bytes=limit, to_public=True, deadline_seconds=STREAM_SECONDS
        )
        with asked as answer:
            match answer.status:
                case 200:
                    pass
                case 206 if span is not None:
                    pass
                case 403 | 404 | 410 | 416:
                    raise _RefusedError(f"{record.filename}: {record.upstream} lists it, and answers {answer.status}")
                case 401:
                    raise UpstreamError(
                        f"{record.upstream} answered 401 for {record.filename}: its credentials are missing or wrong"
                    )
                case status:
                    raise UpstreamError(f"{record.upstream} answered {status} for {record.filename}")
            yield answer

    def _headers(self, record: CondaRecord) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if record.upstream in self._logins:
            login = base64.b64encode(":".join(self._logins[record.upstream]).encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        return headers

    def _refusal(self, record: CondaRecord) -> str:
        """Why a record's file is not asked for, empty when it may be."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # a folder without conda files asks nobody

        channel = self._channels.get(record.upstream)
        if channel is None or channel.url is None:
            return f"{record.filename}: {record.upstream} is no configured channel"
        if not record.filename.endswith((".conda", ".tar.bz2")):
            return f"{record.filename}: neither a .conda nor a .tar.bz2 file"
        try:
            origin = target_of(record.url).origin
        except UpstreamError as error:
            return f"{record.filename}: {error}"
        if origin != target_of(channel.url).origin:
            return f"{record.filename}: {record.upstream} lists it on {origin}, which is not the channel's own host"
        return ""

    # --- cache --------------------------------------------------------------------------------------------------------

    def _folder(self, name: str) -> Path:
        return private_folder(private_folder(self._cache_dir) / name)

    def _cached(self, folder: Path, record: CondaRecord) -> CondaContents | None:
        """What was read before; an entry that can't be read is none."""
        if record.sha256 is None:
            return None
        data = read_cached(_path(folder, record), MAX_ENTRY_BYTES)
        try:
            entry = None if data is None else self._decoder.decode(data)
            if entry is None:
                return None
            found = tuple(Package(parse_name(name), parse_version(version)) for name, version in entry.distributions)
        except (msgspec.DecodeError, ValueError):
            return None
        return CondaContents(distributions=found, last_modified=entry.last_modified)

    def _keep(self, folder: Path, record: CondaRecord, contents: CondaContents) -> None:
        if record.sha256 is None or contents.distributions is None:
            return
        entry = _Entry(
            distributions=tuple((package.name, str(package.version)) for package in contents.distributions),
            last_modified=contents.last_modified,
        )
        write_cached(_path(folder, record), msgspec.msgpack.encode(entry))


class _Whole:
    """A file that comes from its start on, counted and hashed. IntegrityError when it is larger than it should be."""

    def __init__(self, record: CondaRecord, answer: "Streamed", max_bytes: int) -> None:
        self._record = record
        self._chunks = answer.chunks
        self._max = max_bytes
        self._count = 0
        self._sha256 = hashlib.sha256()
        self._ended = False
        self._size = record.size
        length = answer.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal() and len(length) < 16:
            self._size = int(length)
            _check_size(record, self._size)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._count += len(chunk)
            self._sha256.update(chunk)
            limit = self._max if self._record.size is None else min(self._max, self._record.size)
            if self._count > limit:
                raise IntegrityError(f"{self._record.filename}: more than {limit} bytes came")
            yield chunk
        self._ended = True

    def check(self, *, everything: bool = False) -> None:
        """Holds the file to what the channel lists, if all of it came, or all but a little that is read now.

        With `everything` the rest is read now, however much that is.
        """
        little = self._size is not None and self._size - self._count <= REST_BYTES
        if not self._ended and (everything or little):
            for _ in self:
                pass
        if self._ended:
            _check_size(self._record, self._count)
            _check_digest(self._record, self._sha256.hexdigest())


def _check_size(record: CondaRecord, size: int) -> None:
    if record.size is not None and record.size != size:
        raise IntegrityError(f"{record.filename}: it has {size} bytes, the channel lists {record.size}")


def _check_digest(record: CondaRecord, sha256: str) -> None:
    if record.sha256 is not None and record.sha256.hex != sha256:
        raise IntegrityError(f"{record.filename}: its sha256 is {sha256}, the channel lists {record.sha256.hex}")


def _size(record: CondaRecord, answer: "Streamed", start: int, end: int) -> int:
    """The size of the whole file, by an answer that gives the range asked for (RFC 9110, section 14.4)."""
    said = answer.headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(said)
    if found is None:
        raise IntegrityError(f"{record.filename}: its server doesn't say how large it is ({said[:80]!a})")
    first, last, size = map(int, found.groups())
    _check_size(record, size)
    if (first, last) != (start, min(end, size) - 1):
        raise IntegrityError(f"{record.filename}: its server gave {said[:80]!a} for a range from {start} to {end - 1}")
    return size


def _at_most(record: CondaRecord, chunks: Iterable[bytes], size: int) -> bytes:
    """The bytes of an answer that must have so many."""
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > size:
            break
    if len(data) != size:
        raise IntegrityError(f"{record.filename}: {len(data)} bytes came for a range of {size}")
    return data


def _date(answer: "Streamed") -> datetime | None:
    """Last-Modified (RFC 9110, section 8.8.2), in UTC; None when it is missing or can't be read."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # only what is not cached is read

    text = answer.headers.get("Last-Modified", "")
    try:
        found = parsedate_to_datetime(text)
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _once(source: _Source, span: tuple[int, int]) -> Generator[bytes]:
    """A range of a file, which is asked for when the first of it is."""
    with source.chunks(*span) as chunks:
        yield from chunks


def _slice(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


@contextmanager
def _pieces(file: IO[bytes], start: int, end: int) -> Iterator[Iterable[bytes]]:
    yield (_slice(file, at, min(at + _CHUNK_BYTES, end)) for at in range(start, end, _CHUNK_BYTES))


def _path(folder: Path, record: CondaRecord, *more: str) -> Path:
    """Where something about a record is cached: under its digest, for this server and what it says of the file."""
    said = [1, record.url, str(record.sha256), record.name, record.version, record.build, record.size, *more]
    return folder / hashlib.sha256(msgspec.msgpack.encode(said)).hexdigest()
