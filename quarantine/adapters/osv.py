"""The local advisory database: OSV records in one SQLite file, read by name and by file digest.

A sync writes a new file and puts it in the old one's place, so a reader sees one whole state or the other. A record is
digested at sync time into one small row for each package that it names, and a check reads only the rows it asks for.
"""

import fcntl
import hashlib
import os
import sqlite3
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import ConflictError, UpstreamError, UsageError
from quarantine.model import Finding, Package, Snapshot
from quarantine.policy.advisories import PYPI, Advisory, find, fixes_of
from quarantine.ports import Tell

if TYPE_CHECKING:
    from quarantine.io.http import HttpClient
    from quarantine.policy.osv_intake import Intake

__all__ = ["OsvDatabase", "SyncReport", "sync"]

MAX_DOWNLOAD_BYTES = 1024**3
DOWNLOAD_DEADLINE_SECONDS = 3600.0
_APPLICATION_ID = 0x51415256
_SCHEMA = 1
_TABLES = """
CREATE TABLE meta (content BLOB NOT NULL);
CREATE TABLE advisory (
    ecosystem TEXT NOT NULL, name TEXT NOT NULL, record INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (ecosystem, name, record)
) WITHOUT ROWID;
CREATE TABLE malicious_file (
    sha256 TEXT NOT NULL, record INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (sha256, record)
) WITHOUT ROWID;
"""
_PARAMETERS = 900  # an old SQLite takes 999 in one statement
_BATCH = 2000
_SYNC = "run `quarantine advisories sync`"
_advisories = msgspec.msgpack.Decoder(Advisory)


class _Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the database says about itself. The source's URL may hold a signature: its sha256 stands for it."""

    sha256: str
    as_of: datetime | None
    records: int
    malware: int
    withdrawn: int
    unreadable: int
    unreadable_named: tuple[str, ...]
    url_sha256: str | None
    etag: str | None
    last_modified: str | None


# --- reading ----------------------------------------------------------------------------------------------------------


class OsvDatabase:
    """An advisory service over the local database. Until `accepted_until` its age is accepted by configuration."""

    def __init__(self, path: Path, *, accepted_until: datetime | None = None) -> None:
        self._path = path
        self._accepted_until = accepted_until

    def snapshot(self) -> Snapshot:
        """How fresh and how complete it is; UpstreamError when there is none or it can't be read."""
        with self._open() as (_, meta):
            return _snapshot(meta, self._accepted_until)

    def unreadable(self) -> tuple[str, ...]:
        """The first of the records that the last sync could not read, each with what was wrong."""
        with self._open() as (_, meta):
            return meta.unreadable_named

    def findings(self, packages: Collection[Package], tell: Tell) -> Mapping[Package, tuple[Finding, ...]]:
        """For every package what affects it, worst first; UpstreamError when the database can't be read."""
        tell(f"looking up advisories of {len(packages)} packages")
        digests = {digest.hex for package in packages for digest in package.digests if digest.algorithm == "sha256"}
        with self._open() as (database, _):
            by_name = self._by_name(database, {package.name for package in packages})
            by_file: dict[str, list[Advisory]] = {}
            for sha256, content in _select(
                database, "SELECT sha256, content FROM malicious_file WHERE sha256", digests
            ):
                by_file.setdefault(sha256, []).append(_advisories.decode(content))
        about_files = [advisory for advisories in by_file.values() for advisory in advisories]
        return {package: find(package, [*by_name.get(package.name, ()), *about_files]) for package in packages}

    def fixes(self, names: Collection[NormalizedName]) -> Mapping[NormalizedName, frozenset[Version]]:
        """For every name the versions that some advisory about it names as a fix."""
        with self._open() as (database, _):
            by_name = self._by_name(database, names)
        return {name: fixes_of(by_name.get(name, ())) for name in names}

    def _by_name(self, database: sqlite3.Connection, names: Collection[str]) -> dict[str, list[Advisory]]:
        found: dict[str, list[Advisory]] = {}
        query = f"SELECT name, content FROM advisory WHERE ecosystem = '{PYPI}' AND name"  # noqa: S608  # a constant
        for name, content in _select(database, query, names):
            found.setdefault(name, []).append(_advisories.decode(content))
        return found

    @contextmanager
    def _open(self) -> Iterator[tuple[sqlite3.Connection, _Meta]]:
        """The database, read-only, with what it says about itself; all its errors, also later ones, translated."""
        try:
            status = self._path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UpstreamError(f"{self._path}: not a regular file: expected the advisory database: {_SYNC}")
            # immutable: a sync replaces the file, so nobody ever writes to the one that is open
            uri = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
                yield database, _read_meta(database, self._path, status.st_size)
        except FileNotFoundError:
            raise UpstreamError(f"{self._path}: there is no advisory database: {_SYNC}") from None
        except (OSError, sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamError(f"{self._path}: the advisory database can't be read ({error}): {_SYNC}") from error


def _read_meta(database: sqlite3.Connection, path: Path, size: int) -> _Meta:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (schema,) = database.execute("PRAGMA user_version").fetchone()
    if (application, schema) != (_APPLICATION_ID, _SCHEMA):
        raise UpstreamError(f"{path}: not an advisory database of this version of quarantine: {_SYNC}")
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (page_size,) = database.execute("PRAGMA page_size").fetchone()
    if size != pages * page_size:
        # the engine reads what is missing of a page as zeros: records would vanish without a word
        raise UpstreamError(
            f"{path}: {size} bytes, expected {pages * page_size}: the advisory database is cut: {_SYNC}"
        )
    rows = database.execute("SELECT content FROM meta").fetchall()
    if len(rows) != 1:
        raise UpstreamError(f"{path}: the advisory database does not say what it holds: {_SYNC}")
    return msgspec.json.decode(rows[0][0], type=_Meta)


def _select(database: sqlite3.Connection, query: str, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The rows whose key is among `keys`, asked for in as few statements as the engine takes."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), _PARAMETERS):
        some = ordered[start : start + _PARAMETERS]
        yield from database.execute(f"{query} IN ({','.join('?' * len(some))})", some)


def _snapshot(meta: _Meta, accepted_until: datetime | None = None) -> Snapshot:
    return Snapshot(
        sha256=meta.sha256,
        as_of=meta.as_of,
        sources=(("malware", meta.malware), ("osv", meta.records - meta.malware)),
        complete=meta.unreadable == 0,
        accepted_until=accepted_until,
    )


# --- syncing ----------------------------------------------------------------------------------------------------------


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync did. `unreadable` names the first of the `unreadable_count` records that could not be read."""

    source: str
    database: Path
    changed: bool
    snapshot: Snapshot
    withdrawn: int
    unreadable_count: int
    unreadable: tuple[str, ...]


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where records come from: what messages call it, and for a URL what its server said about the bytes."""

    shown: str
    url_sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None


def sync(
    source: str, database: Path, http: "HttpClient", tell: Tell, now: datetime, *, replace: bool = False
) -> SyncReport:
    """Reads a source into the database and says what is in it; on any error the database stays as it was.

    `source` is an http(s) URL of a zip, a zip, or a folder of JSON files. A URL is asked only for what has changed,
    and a download that broke off is gone on with. A source with no usable record is refused, and so is, but for
    `replace`, one that is older than the database or holds less than half of its records, of all or of malware.
    UsageError, UpstreamError; ConflictError while another sync runs.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(database):
            if source.startswith(("http://", "https://")):
                return _sync_url(source, database, http, tell, now, replace=replace)
            return _rebuild(_local_records(source), _Origin(shown=source), database, tell, now, replace=replace)
    except OSError as error:
        raise UpstreamError(f"{database}: can't be written ({error.strerror or error})") from error


def _sync_url(url: str, database: Path, http: "HttpClient", tell: Tell, now: datetime, *, replace: bool) -> SyncReport:
    from quarantine.io.bundle import zip_files  # noqa: PLC0415  # a check needs none of it
    from quarantine.io.download import NotModified, Validators, download  # noqa: PLC0415
    from quarantine.io.guard import target_of  # noqa: PLC0415

    shown, url_sha256 = str(target_of(url)), hashlib.sha256(url.encode()).hexdigest()
    meta = _known(database)
    have = None
    if meta is not None and meta.url_sha256 == url_sha256 and (meta.etag or meta.last_modified):
        have = Validators(etag=meta.etag, last_modified=meta.last_modified)
    archive = database.with_name(f"{database.name}.download")
    tell(f"asking {shown}")
    got = download(
        http,
        url,
        archive,
        have=have,
        max_bytes=MAX_DOWNLOAD_BYTES,
        deadline_seconds=DOWNLOAD_DEADLINE_SECONDS,
        tell=tell,
    )
    if isinstance(got, NotModified):
        if meta is None:  # pragma: no cover - nothing was offered, so `download` does not say so
            raise UpstreamError(f"{shown}: says that nothing changed, but nothing was known")
        return _report(meta, shown, database, changed=False)
    try:
        origin = _Origin(
            shown=shown, url_sha256=url_sha256, etag=got.validators.etag, last_modified=got.validators.last_modified
        )
        return _rebuild(zip_files(archive, shown), origin, database, tell, now, replace=replace)
    finally:
        archive.unlink(missing_ok=True)


def _report(meta: _Meta, source: str, database: Path, *, changed: bool) -> SyncReport:
    return SyncReport(
        source=source,
        database=database,
        changed=changed,
        snapshot=_snapshot(meta),
        withdrawn=meta.withdrawn,
        unreadable_count=meta.unreadable,
        unreadable=meta.unreadable_named,
    )


@contextmanager
def _exclusive(database: Path) -> Iterator[None]:
    """Keeps a second sync of the same database out. The lock goes with the process, however it ends."""
    with database.with_name(f"{database.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"{database}: another sync is running: wait until it is done") from None
        yield


def _known(database: Path) -> _Meta | None:
    """What the present database says about itself; None when there is none that can be read."""
    try:
        with OsvDatabase(database)._open() as (_, meta):  # noqa: SLF001  # the same module
            return meta
    except UpstreamError:
        return None


def _local_records(source: str) -> Iterator[tuple[str, bytes]]:
    from zipfile import is_zipfile  # noqa: PLC0415  # a check needs none of it

    from quarantine.io.bundle import folder_files, zip_files  # noqa: PLC0415

    path = Path(source)
    if path.is_dir():
        return folder_files(path)
    if not path.exists():
        raise UsageError(f"{source}: no such file or folder: expected a zip, a folder of JSON files or an https URL")
    if not path.is_file() or not is_zipfile(path):
        raise UsageError(f"{source}: not a zip: expected a zip, a folder of JSON files or an https URL")
    return zip_files(path, source)


# --- building ---------------------------------------------------------------------------------------------------------


def _rebuild(
    records: Iterable[tuple[str, bytes]], origin: _Origin, database: Path, tell: Tell, now: datetime, *, replace: bool
) -> SyncReport:
    """Writes a new database from the records and puts it in the old one's place, or leaves no trace."""
    fresh = database.with_name(f"{database.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            meta = _fill(connection, records, origin, tell, now)
        _believe(meta, None if replace else _known(database), origin.shown)
        _replace(fresh, database)
    except sqlite3.Error as error:
        raise UpstreamError(f"{fresh}: can't be written ({error})") from error
    finally:
        fresh.unlink(missing_ok=True)
    return _report(meta, origin.shown, database, changed=True)


def _believe(meta: _Meta, before: _Meta | None, source: str) -> None:
    """UpstreamError for a source that can't be what it says: with nothing in it, most of it gone, or a step back."""
    if meta.records == 0:
        what = f"{meta.unreadable} unreadable files and no" if meta.unreadable else "no"
        raise UpstreamError(f"{source}: {what} advisory record in it: the database stays as it is")
    if before is None:
        return
    kept = "the database stays as it is: if this is meant, sync with --replace"
    for what, now, then in (("", meta.records, before.records), ("malware ", meta.malware, before.malware)):
        if now * 2 < then:
            raise UpstreamError(f"{source}: {now} {what}records, less than half of the {then} in the database: {kept}")
    if before.as_of is not None and (meta.as_of is None or meta.as_of < before.as_of):
        age = "of unknown age" if meta.as_of is None else f"of {meta.as_of:%Y-%m-%dT%H:%M:%SZ}"
        raise UpstreamError(f"{source}: {age}, older than the database ({before.as_of:%Y-%m-%dT%H:%M:%SZ}): {kept}")


def _replace(fresh: Path, database: Path) -> None:
    """Makes the new file durable, then the database (rename is atomic)."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(database)
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fill(
    connection: sqlite3.Connection, records: Iterable[tuple[str, bytes]], origin: _Origin, tell: Tell, now: datetime
) -> _Meta:
    from quarantine.policy.osv_intake import Intake  # noqa: PLC0415  # a check reads no records
    from quarantine.policy.osv_record import parse_record  # noqa: PLC0415

    connection.executescript(
        f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = {_APPLICATION_ID};"
        f"PRAGMA user_version = {_SCHEMA}; {_TABLES} BEGIN"
    )
    intake = Intake()
    rows: list[tuple[str, str, int, bytes]] = []
    files: list[tuple[str, int, bytes]] = []
    for number, (name, data) in enumerate(records):
        if number % 5000 == 0:
            tell(f"reading {origin.shown}: {number} records")
        try:
            record = parse_record(data)
        except ValueError as error:
            intake.refuse(name, error)
            continue
        if not intake.take(record, data, number):
            continue
        for advisory in record.advisories:
            encoded = msgspec.msgpack.encode(advisory)
            rows.append((advisory.ecosystem, advisory.name, number, encoded))
            files.extend((digest, number, encoded) for digest in advisory.digests)
        if len(rows) >= _BATCH:
            _insert(connection, rows, files)
    _insert(connection, rows, files)
    for table in ("advisory", "malicious_file"):
        connection.executemany(
            f"DELETE FROM {table} WHERE record = ?",  # noqa: S608  # constants
            [(number,) for number in intake.superseded],
        )
    meta = _describe(intake, origin, now)
    connection.execute("INSERT INTO meta VALUES (?)", (msgspec.json.encode(meta),))
    connection.execute("COMMIT")
    return meta


def _insert(
    connection: sqlite3.Connection, rows: list[tuple[str, str, int, bytes]], files: list[tuple[str, int, bytes]]
) -> None:
    """Writes what has gathered and empties both lists."""
    connection.executemany("INSERT INTO advisory VALUES (?, ?, ?, ?)", rows)
    connection.executemany("INSERT OR IGNORE INTO malicious_file VALUES (?, ?, ?)", files)
    rows.clear()
    files.clear()


def _describe(intake: "Intake", origin: _Origin, now: datetime) -> _Meta:
    as_of = intake.modified(now)
    if origin.last_modified is not None:
        as_of = _http_date(origin.last_modified, now) or as_of
    return _Meta(
        sha256=intake.sha256(),
        as_of=as_of,
        records=intake.count,
        malware=intake.malware,
        withdrawn=len(intake.withdrawn),
        unreadable=intake.unreadable_count,
        unreadable_named=tuple(intake.unreadable),
        url_sha256=origin.url_sha256,
        etag=origin.etag,
        last_modified=origin.last_modified,
    )


def _http_date(text: str, now: datetime) -> datetime | None:
    """A Last-Modified header (RFC 9110 section 8.8.2), at most `now`; None for one that is no date."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # a check needs none of it

    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(instant, now) if instant.tzinfo is not None else None
