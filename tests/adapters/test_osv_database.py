"""The local advisory database: what a sync makes of zips and folders, and what is read back."""

import fcntl
import json
import os
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from osv_records import MODIFIED, affected, before, bundle, record

from quarantine.adapters.osv import OsvDatabase, SyncReport, sync
from quarantine.errors import ConflictError, QuarantineError, UpstreamError, UsageError
from quarantine.io.http import HttpClient
from quarantine.model import Digest, Finding, Package, Severity, Snapshot, parse_name, parse_version

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHANGED = datetime.fromisoformat(MODIFIED)
DIGEST = "ab" * 32
MALWARE = record(
    "MAL-1",
    affected(
        "evil",
        versions=["1.0"],
        database_specific={"indicators": {"package_integrity": [{"hashes": {"sha256": DIGEST}}]}},
    ),
)
RECORDS = [before("CVE-1", "a", "2.0"), before("CVE-2", "a", "3.0"), before("CVE-3", "b", "1.0"), MALWARE]
ADVICE = "run `quarantine advisories sync`"


def _sync(source: Path | str, database: Path, now: datetime = NOW) -> SyncReport:
    with HttpClient(allowed=[], user_agent="tests") as http:
        return sync(str(source), database, http, lambda _: None, now)


def _package(name: str, version: str, *digests: str) -> Package:
    return Package(parse_name(name), parse_version(version), frozenset(map(Digest.sha256, digests)))


def _ids(database: Path, *packages: Package) -> list[list[str]]:
    found = OsvDatabase(database).findings(packages, lambda _: None)
    return [[finding.id for finding in found[package]] for package in packages]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "store" / "advisories.sqlite"


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    def write(*records: bytes) -> Path:
        path = tmp_path / "all.zip"
        path.write_bytes(bundle(*records))
        return path

    return write


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_zip_becomes_a_database(archive: Callable[..., Path], database: Path) -> None:
    """The report says what was read; the snapshot is what the database says of itself."""
    source = archive(*RECORDS, before("CVE-4", "a", "9", withdrawn=MODIFIED))

    report = _sync(source, database)

    assert report == SyncReport(
        source=str(source),
        database=database,
        changed=True,
        snapshot=Snapshot(
            sha256=report.snapshot.sha256, as_of=CHANGED, sources=(("malware", 1), ("osv", 4)), complete=True
        ),
        withdrawn=1,
        unreadable_count=0,
        unreadable=(),
    )
    assert OsvDatabase(database).snapshot() == report.snapshot
    assert sorted(path.name for path in database.parent.iterdir()) == [database.name, f"{database.name}.lock"]


def test_a_snapshot_carries_the_configured_leave(archive: Callable[..., Path], database: Path) -> None:
    """An age that is accepted until a day stands in the snapshot, so that every verdict can say so."""
    _sync(archive(*RECORDS), database)

    assert OsvDatabase(database, accepted_until=NOW).snapshot().accepted_until == NOW


def test_findings_are_by_version_and_by_digest(archive: Callable[..., Path], database: Path) -> None:
    """Every package asked about has an answer, also one that nothing is known about."""
    _sync(archive(*RECORDS), database)
    packages = [
        _package("a", "1.0"),
        _package("a", "2.5"),
        _package("b", "1.0"),
        _package("evil", "1.0"),
        _package("renamed", "7", "00" * 32, DIGEST),
        _package("unknown", "1"),
    ]

    assert _ids(database, *packages) == [["CVE-1", "CVE-2"], ["CVE-2"], [], ["MAL-1"], ["MAL-1"], []]


def test_a_finding_is_whole(archive: Callable[..., Path], database: Path) -> None:
    """Aliases joined, severity and score from the vector, fixes later than the version asked about."""
    vector = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}
    _sync(
        archive(
            before("PYSEC-1", "a", "2.0", aliases=["CVE-1", "GHSA-1"], details="First line\nsecond"),
            before("GHSA-1", "a", "2.0.1", severity=[vector], summary="From GitHub", related=["CVE-9"]),
            before("CVE-9", "a", "0.5"),
        ),
        database,
    )
    package = _package("a", "1.0")

    assert OsvDatabase(database).findings([package], lambda _: None)[package] == (
        Finding(
            id="PYSEC-1",
            aliases=("CVE-1", "GHSA-1"),
            severity=Severity.HIGH,
            score="7.5",
            fixed=("2.0", "2.0.1"),
            summary="First line",
        ),
    )


def test_fixes_are_of_all_records_about_a_name(archive: Callable[..., Path], database: Path) -> None:
    """Whatever version is affected; a name that nothing is known about has none."""
    _sync(archive(*RECORDS), database)
    a, unknown = parse_name("a"), parse_name("unknown")

    assert OsvDatabase(database).fixes([a, unknown]) == {
        a: {parse_version("2.0"), parse_version("3.0")},
        unknown: frozenset(),
    }


def test_many_packages_are_asked_about_at_once(archive: Callable[..., Path], database: Path) -> None:
    """More names and digests than one statement takes."""
    _sync(archive(*(before(f"CVE-{n}", f"p{n}", "2") for n in range(2500)), MALWARE), database)
    digests = [f"{n:064x}" for n in range(2000)]
    packages = [_package(f"p{n}", "1") for n in range(2500)] + [_package("other", "1", *digests, DIGEST)]

    assert _ids(database, *packages) == [[f"CVE-{n}"] for n in range(2500)] + [["MAL-1"]]


def test_other_ecosystems_are_kept_apart(archive: Callable[..., Path], database: Path) -> None:
    """A flaw of npm's package says nothing about PyPI's of the same name, but it counts as a record."""
    report = _sync(archive(record("CVE-1", affected("a", ecosystem="npm", versions=["1.0.0"]))), database)

    assert (_ids(database, _package("a", "1.0.0")), report.snapshot.sources) == ([[]], (("malware", 0), ("osv", 1)))


def test_a_folder_gives_the_same_snapshot_as_a_zip(
    tmp_path: Path, archive: Callable[..., Path], database: Path
) -> None:
    """The digest is over the records, whatever they come in; other files, and their order, don't matter."""
    folder = tmp_path / "records" / "deep"
    folder.mkdir(parents=True)
    for number, data in enumerate(reversed(RECORDS)):
        (folder / f"{number}.json").write_bytes(data)
    (folder / "README.md").write_text("no record")

    from_folder = _sync(folder.parent, database)
    from_zip = _sync(archive(*RECORDS), database)

    assert from_folder.snapshot == from_zip.snapshot


def test_the_newest_copy_of_a_record_counts(archive: Callable[..., Path], database: Path) -> None:
    """Whatever its place; a newer withdrawal takes the record back."""
    older = {"modified": "2026-01-01T00:00:00Z"}
    report = _sync(
        archive(
            before("CVE-1", "a", "5", **older),
            before("CVE-1", "a", "2"),
            before("CVE-1", "a", "6", **older),
            before("CVE-2", "b", "5", **older),
            before("CVE-2", "b", "5", withdrawn=MODIFIED),
        ),
        database,
    )

    assert _ids(database, _package("a", "3"), _package("a", "1"), _package("b", "1")) == [[], ["CVE-1"], []]
    assert (report.snapshot.sources, report.withdrawn) == ((("malware", 0), ("osv", 2)), 1)


def test_a_date_in_the_future_makes_nothing_fresh(archive: Callable[..., Path], database: Path) -> None:
    """The newest date that can be true counts; with none of them the age is not known."""
    late = before("CVE-1", "a", "2", modified="2099-01-01T00:00:00Z")
    first = _sync(archive(late, before("CVE-2", "a", "2")), database)
    second = _sync(archive(late), database.with_name("other.sqlite"))

    assert (first.snapshot.as_of, second.snapshot.as_of) == (CHANGED, None)


def test_unreadable_records_make_a_snapshot_incomplete(tmp_path: Path, database: Path) -> None:
    """They are counted, and the first of them named; the others are read."""
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "good.json").write_bytes(RECORDS[0])
    for number in range(30):
        (folder / f"bad{number:02}.json").write_bytes(b"{}")

    report = _sync(folder, database)

    named = tuple(f"bad{n:02}.json: not an OSV record: Object missing required field `id`" for n in range(20))
    assert (report.snapshot.complete, report.unreadable_count, report.unreadable) == (False, 30, named)
    assert OsvDatabase(database).unreadable() == named
    assert _ids(database, _package("a", "1")) == [["CVE-1"]]


def test_the_shipped_example_set_is_read_whole(database: Path) -> None:
    """Real flaws with and without a score, one without a fix, and malware."""
    report = _sync(Path(__file__, "../../../examples/advisories").resolve(), database)

    assert (report.snapshot.complete, report.snapshot.sources) == (True, (("malware", 2), ("osv", 15)))
    packages = [_package("requests", "2.19.0"), _package("litellm", "1.82.7"), _package("mlflow", "2.5.0")]
    assert _ids(database, *packages) == [
        ["PYSEC-2018-28", "PYSEC-2023-74"],
        ["MAL-2026-2144"],
        ["PYSEC-2023-253", "PYSEC-2023-252"],
    ]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_database_that_is_not_there_is_no_clean_answer(database: Path) -> None:
    """It is an error, with the command that mends it."""
    for ask in _questions(OsvDatabase(database)):
        with pytest.raises(UpstreamError) as caught:
            ask()
        assert str(caught.value) == f"{database}: there is no advisory database: {ADVICE}"


def _questions(service: OsvDatabase) -> list[Callable[[], object]]:
    return [
        service.snapshot,
        lambda: service.findings([_package("a", "1")], lambda _: None),
        lambda: service.fixes([parse_name("a")]),
    ]


def _spoil_header(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def _spoil_rows(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE advisory SET content = x'c1'")
        connection.execute("UPDATE meta SET content = '{}'")
    connection.close()


def _cut(path: Path) -> None:
    os.truncate(path, 5000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _without_meta(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil_header, f"the advisory database can't be read (file is not a database): {ADVICE}"),
        (_spoil_rows, f"the advisory database can't be read (Object missing required field `sha256`): {ADVICE}"),
        (_cut, f"the advisory database can't be read (database disk image is malformed): {ADVICE}"),
        (_empty, f"not an advisory database of this version of quarantine: {ADVICE}"),
        (_of_another_version, f"not an advisory database of this version of quarantine: {ADVICE}"),
        (_without_meta, f"the advisory database does not say what it holds: {ADVICE}"),
    ],
)
def test_a_damaged_database_is_no_clean_answer(
    archive: Callable[..., Path], database: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """Whatever is asked of it."""
    _sync(archive(*(before(f"CVE-{n}", f"p{n}", "2") for n in range(200))), database)
    spoil(database)

    for ask in _questions(OsvDatabase(database)):
        with pytest.raises(UpstreamError) as caught:
            ask()
        assert str(caught.value) == f"{database}: {message}"


def test_a_database_that_was_cut_within_a_page_is_no_clean_answer(archive: Callable[..., Path], database: Path) -> None:
    """The engine reads the missing end of a page as zeros, in which records stand no more."""
    _sync(archive(before("CVE-1", "a", "2")), database)
    size = database.stat().st_size
    os.truncate(database, size - 100)

    for ask in _questions(OsvDatabase(database)):
        with pytest.raises(UpstreamError) as caught:
            ask()
        assert str(caught.value) == (
            f"{database}: {size - 100} bytes, expected {size}: the advisory database is cut: {ADVICE}"
        )


def test_a_pipe_in_place_of_a_database_keeps_nobody_waiting(database: Path) -> None:
    """Nor does it count as one."""
    database.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(database)

    for ask in _questions(OsvDatabase(database)):
        with pytest.raises(UpstreamError) as caught:
            ask()
        assert str(caught.value) == f"{database}: not a regular file: expected the advisory database: {ADVICE}"


def test_a_damaged_row_is_no_clean_answer(archive: Callable[..., Path], database: Path) -> None:
    """An advisory that can't be read is not passed over."""
    _sync(archive(*RECORDS), database)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE advisory SET content = x'80' WHERE name = 'a'")
    connection.close()

    with pytest.raises(UpstreamError, match=r"the advisory database can't be read \(Object missing required field"):
        OsvDatabase(database).findings([_package("a", "1")], lambda _: None)


def _damaged(tmp_path: Path) -> Iterator[tuple[Path, type[QuarantineError], str]]:
    """Sources that can't be believed, and what is said about each."""

    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    whole = bundle(*RECORDS)
    path = write("text.zip", b"hello")
    yield path, UsageError, f"{path}: not a zip: expected a zip, a folder of JSON files or an https URL"
    path = tmp_path / "nowhere"
    yield path, UsageError, f"{path}: no such file or folder: expected a zip, a folder of JSON files or an https URL"
    path = write("empty.zip", bundle())
    yield path, UpstreamError, f"{path}: no advisory record in it: the database stays as it is"
    path = tmp_path / "folder"
    path.mkdir()
    yield path, UpstreamError, f"{path}: no advisory record in it: the database stays as it is"
    path = tmp_path / "unreadable"
    path.mkdir()
    (path / "x.json").write_bytes(b"\xff\xfe")
    yield path, UpstreamError, f"{path}: 1 unreadable files and no advisory record in it: the database stays as it is"
    path = write("flipped.zip", whole[:45] + bytes([whole[45] ^ 0xFF]) + whole[46:])
    yield path, UpstreamError, f"{path}: the zip is damaged ("
    path = write("encrypted.zip", _encrypted())
    yield path, UpstreamError, f"{path}: '0-CVE-1.json' is encrypted or in an unusual compression"
    path = tmp_path / "lzma.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as odd:
        odd.writestr("x.json", RECORDS[0])
    yield path, UpstreamError, f"{path}: 'x.json' is encrypted or in an unusual compression"
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as large:
        large.writestr("x.json", bytes(9 * 2**20))
    yield path, UpstreamError, f"{path}: 'x.json' is larger than 8388608 bytes"
    path = tmp_path / "large"
    path.mkdir()
    (path / "x.json").write_bytes(bytes(9 * 2**20))
    yield path, UpstreamError, f"{path}: '{path}/x.json' is larger than 8388608 bytes"
    path = write("one.zip", bundle(RECORDS[0]))
    kept = "the database stays as it is: if this is meant, sync with --replace"
    yield path, UpstreamError, f"{path}: 1 records, less than half of the 4 in the database: {kept}"
    path = write("harmless.zip", bundle(*(before(f"CVE-{n}", "a", "2") for n in range(9))))
    yield path, UpstreamError, f"{path}: 0 malware records, less than half of the 1 in the database: {kept}"
    path = write(
        "old.zip",
        bundle(
            *(before(f"CVE-{n}", "a", "2", modified="2024-01-01T00:00:00Z") for n in range(9)),
            record("MAL-9", affected("b"), modified="2024-01-02T00:00:00Z"),
        ),
    )
    yield path, UpstreamError, f"{path}: of 2024-01-02T00:00:00Z, older than the database ("


def _encrypted() -> bytes:
    """A zip whose only member is marked as encrypted, in its local header and in the directory."""
    data = bytearray(bundle(RECORDS[0]))
    directory = data.index(b"PK\x01\x02")
    for place in (6, directory + 8):
        flags = struct.unpack_from("<H", data, place)[0]
        struct.pack_into("<H", data, place, flags | 1)
    return bytes(data)


def test_a_source_that_cannot_be_believed_replaces_nothing(
    tmp_path: Path, archive: Callable[..., Path], database: Path
) -> None:
    """One clear error each; the database is the one from before, and nothing else is left."""
    _sync(archive(*RECORDS), database)
    kept = database.read_bytes()

    for source, error, message in _damaged(tmp_path):
        with pytest.raises(error) as caught:
            _sync(source, database)
        assert str(caught.value).startswith(message)
        assert database.read_bytes() == kept
        assert sorted(path.name for path in database.parent.iterdir()) == [database.name, f"{database.name}.lock"]


def test_half_of_the_records_is_believed(archive: Callable[..., Path], database: Path) -> None:
    """Only a loss of more than half is not."""
    records = [before(f"CVE-{n}", "a", "2") for n in range(4)]
    _sync(archive(*records), database)

    assert _sync(archive(*records[:2]), database).snapshot.sources == (("malware", 0), ("osv", 2))


def test_what_is_meant_to_be_replaced_is(tmp_path: Path, archive: Callable[..., Path], database: Path) -> None:
    """A smaller and older source is taken when somebody says so; an empty one never is."""
    _sync(archive(*RECORDS), database)
    small = archive(before("CVE-1", "a", "2", modified="2024-01-01T00:00:00Z"))
    (tmp_path / "none").mkdir()

    with HttpClient(allowed=(), user_agent="tests") as http:
        report = sync(str(small), database, http, lambda _: None, NOW, replace=True)
        with pytest.raises(UpstreamError, match="no advisory record in it"):
            sync(str(tmp_path / "none"), database, http, lambda _: None, NOW, replace=True)

    assert report.snapshot.sources == (("malware", 0), ("osv", 1))


def test_a_database_that_cannot_be_read_is_no_measure(archive: Callable[..., Path], database: Path) -> None:
    """A sync mends it, whatever it held."""
    _sync(archive(*RECORDS), database)
    _spoil_header(database)

    assert _sync(archive(RECORDS[0]), database).snapshot.sources == (("malware", 0), ("osv", 1))


def test_one_sync_at_a_time(archive: Callable[..., Path], database: Path) -> None:
    """The second is refused, not interleaved."""
    database.parent.mkdir()
    with database.with_name(f"{database.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(ConflictError) as caught:
            _sync(archive(*RECORDS), database)

    assert str(caught.value) == f"{database}: another sync is running: wait until it is done"
    assert not database.exists()


def test_an_interruption_leaves_nothing(archive: Callable[..., Path], database: Path) -> None:
    """Ctrl-C while records are being read: no half database, and no file of ours."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with HttpClient(allowed=[], user_agent="tests") as http, pytest.raises(KeyboardInterrupt):
        sync(str(archive(*RECORDS)), database, http, interrupt, NOW)

    assert [path.name for path in database.parent.iterdir()] == [f"{database.name}.lock"]


def test_what_a_killed_sync_left_is_in_nobodys_way(archive: Callable[..., Path], database: Path) -> None:
    """The next one starts afresh."""
    database.parent.mkdir()
    database.with_name(f"{database.name}.new").write_bytes(b"half")

    _sync(archive(*RECORDS), database)

    assert _ids(database, _package("b", "0.1")) == [["CVE-3"]]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, archive: Callable[..., Path]) -> None:
    """The store must be a folder."""
    (tmp_path / "store").write_text("")
    database = tmp_path / "store" / "advisories.sqlite"

    with pytest.raises(UpstreamError) as caught:
        _sync(archive(*RECORDS), database)

    assert str(caught.value) == f"{database}: can't be written (File exists)"


def test_a_reader_keeps_the_state_it_opened(archive: Callable[..., Path], database: Path) -> None:
    """A sync replaces the file; it never changes one that is being read."""
    _sync(archive(*RECORDS), database)
    inode = database.stat().st_ino

    _sync(archive(*RECORDS, before("CVE-9", "b", "9")), database)

    assert database.stat().st_ino != inode


def test_snapshots_of_different_records_differ(archive: Callable[..., Path], database: Path) -> None:
    """One changed byte of one record is another snapshot."""
    changed = json.loads(RECORDS[0]) | {"details": "x"}

    first = _sync(archive(*RECORDS), database)
    second = _sync(archive(json.dumps(changed).encode(), *RECORDS[1:]), database, NOW + timedelta(days=1))

    assert first.snapshot.sha256 != second.snapshot.sha256
    assert first.snapshot.as_of == second.snapshot.as_of
