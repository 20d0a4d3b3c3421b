"""What every implementation of the AuditLog port does."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes_log import NOON, MemoryLog, draft
from msgspec.structs import replace

from quarantine.adapters.blob_log import BlobLog
from quarantine.adapters.local_log import LocalLog
from quarantine.audit.chain import Head, Place, Tail, Verified, follow, genesis, verify
from quarantine.audit.record import line_sha256, parse_entry
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.azure import BlobAccount
from quarantine.ports import AuditLog

if TYPE_CHECKING:
    from azurite import Azurite

STREAM = "log-checks/local-2026-11"

_LOGS: dict[str, Callable[[Path], AuditLog]] = {
    "local": lambda folder: LocalLog(folder / "log"),
    "local, small segments": lambda folder: LocalLog(folder / "log", max_segment_entries=3),
    "memory": lambda _: MemoryLog(),
}
_BLOBS: dict[str, Callable[[BlobAccount], AuditLog]] = {
    "blobs": BlobLog,
    "blobs, small segments": lambda account: BlobLog(account, max_segment_entries=3),
}


@pytest.fixture(params=[*_LOGS, *_BLOBS])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> AuditLog:
    if request.param in _BLOBS:
        running: Azurite = request.getfixturevalue("azurite")
        return _BLOBS[request.param](running.storage())
    return _LOGS[request.param](tmp_path)


def read_on(log: AuditLog, after: Place) -> tuple[Place, tuple[bytes, ...]]:
    """What a reader does who left off at a place: the new lines, proved to follow, and the place behind them."""
    tail = log.tail(STREAM, after)
    head = after.head
    for entry in follow(STREAM, after.head, tail.lines):
        head = Head(seq=entry.seq, sha256=entry.sha256)
    return Place(segment=tail.segment, offset=tail.offset, head=head), tail.lines


def test_a_new_log_has_no_streams(log: AuditLog) -> None:
    """Nothing written, nothing there."""
    assert log.streams() == ()


def test_an_unknown_stream_has_no_lines(log: AuditLog) -> None:
    """A stream that nobody wrote to is empty, and reading it doesn't make it."""
    assert list(log.lines(STREAM)) == []
    assert log.streams() == ()


def test_receipts_prove_the_lines(log: AuditLog) -> None:
    """Each receipt names its entry's sequence number and the sha256 of its stored bytes, over several appends."""
    receipts = (*log.append(STREAM, [draft(0), draft(1)]), *log.append(STREAM, [draft(2)]))

    lines = list(log.lines(STREAM))
    assert [(r.stream, r.seq, r.sha256) for r in receipts] == [
        (STREAM, seq, line_sha256(line)) for seq, line in enumerate(lines)
    ]
    assert len(lines) == 3


def test_the_latest_entry_is_the_last_one(log: AuditLog) -> None:
    """Whatever segment it is in; an empty stream has none."""
    assert log.latest(STREAM) is None
    for number in range(7):
        (receipt,) = log.append(STREAM, [draft(number)])
        latest = log.latest(STREAM)

        assert latest is not None
        assert (latest.seq, latest.sha256, latest.data["number"]) == (number, receipt.sha256, number)


def test_entries_come_back_as_they_were_written(log: AuditLog) -> None:
    """Reading gives every field of every draft, in order, chained from the stream's own genesis."""
    drafts = [draft(number) for number in range(8)]
    for one in drafts:
        log.append(STREAM, [one])

    entries = [parse_entry(line) for line in log.lines(STREAM)]

    assert [(e.id, e.source, e.type, e.time, e.subject, e.data) for e in entries] == [
        (d.id, d.source, d.type, d.time, d.subject, d.data) for d in drafts
    ]
    assert [e.seq for e in entries] == list(range(8))
    assert [e.prev for e in entries] == [genesis(STREAM), *(e.sha256 for e in entries[:-1])]


def test_what_was_written_verifies(log: AuditLog) -> None:
    """A log that only this implementation touched is clean, and its head is the last receipt."""
    for number in range(8):
        (receipt,) = log.append(STREAM, [draft(number)])

    head = Head(seq=receipt.seq, sha256=receipt.sha256)
    assert verify(STREAM, log.lines(STREAM), heads=[head], now=NOON) == Verified(stream=STREAM, entries=8, head=head)


def test_streams_are_apart(log: AuditLog) -> None:
    """Each stream counts from 0, and their names come sorted."""
    first, second = "log-requests/ml", "log-checks/ml"

    (one,) = log.append(first, [draft(0)])
    (two,) = log.append(second, [draft(1)])

    assert (one.seq, two.seq) == (0, 0)
    assert log.streams() == (second, first)
    assert log.streams("log-checks") == (second,)
    assert log.streams("log-decisions") == ()


def test_no_drafts_write_nothing(log: AuditLog) -> None:
    """An empty append makes no stream."""
    assert log.append(STREAM, []) == ()
    assert log.streams() == ()


@pytest.mark.parametrize(
    "name", ["local", "log-checks", "../log-checks/x", "log-checks/..", "log-checks/a/b", "log-checks/A", "files/x", ""]
)
def test_other_names_are_no_streams(log: AuditLog, name: str) -> None:
    """Only CONTAINER/STREAM of safe characters names a stream, for writing and for reading."""
    with pytest.raises(UpstreamError, match="is not a stream"):
        log.append(name, [draft()])
    with pytest.raises(UpstreamError, match="is not a stream"):
        list(log.lines(name))
    with pytest.raises(UpstreamError, match="is not a stream"):
        log.tail(name, Place())
    assert log.streams() == ()


def test_all_or_none_of_the_drafts(log: AuditLog) -> None:
    """When one draft can't be an entry, none of them is written."""
    log.append(STREAM, [draft(0)])

    with pytest.raises(UpstreamError) as error:
        log.append(STREAM, [draft(1), draft(2, data={"text": "x" * 40_000})])

    assert str(error.value) == (
        "an entry can't be written to the audit log: a record of 40287 bytes: at most 32768 fit, "
        "the rest belongs to evidence"
    )
    assert len(list(log.lines(STREAM))) == 1


def test_secrets_are_not_stored(log: AuditLog) -> None:
    """No stored byte shows a credential that a draft carried."""
    log.append(STREAM, [draft(subject="https://user:canary-1@example.org/simple", data={"password": "canary-2"})])

    (line,) = log.lines(STREAM)
    assert b"canary" not in line
    assert parse_entry(line).subject == "https://***@example.org/simple"


def test_reading_is_of_one_moment(log: AuditLog) -> None:
    """An append during reading neither disturbs it nor shows up in it half."""
    log.append(STREAM, [draft(number) for number in range(5)])

    lines = log.lines(STREAM)
    first = next(lines)
    log.append(STREAM, [draft(9)])

    assert verify(STREAM, [first, *lines]) == verify(STREAM, list(log.lines(STREAM))[:5])


def test_threads_do_not_fork_the_chain(log: AuditLog) -> None:
    """32 writers at once: every receipt is on one unbroken chain."""
    receipts: list[tuple[int, str]] = []

    def write(writer: int) -> None:
        for number in range(3):
            (receipt,) = log.append(STREAM, [draft(writer * 100 + number)])
            receipts.append((receipt.seq, receipt.sha256))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    heads = [Head(seq=seq, sha256=sha256) for seq, sha256 in receipts]
    result = verify(STREAM, log.lines(STREAM), heads=heads)
    assert isinstance(result, Verified)
    assert result.entries == len(heads) == 96


# --- reading on -------------------------------------------------------------------------------------------------------


def test_nothing_follows_where_nothing_is(log: AuditLog) -> None:
    """The tail of a stream that nobody wrote to is empty, and asking for it doesn't make the stream."""
    assert log.tail(STREAM, Place()) == Tail(lines=(), segment=0, offset=0)
    assert log.streams() == ()


def test_a_reader_goes_on_where_it_left_off(log: AuditLog) -> None:
    """Each tail has the lines since the last, none twice, over several segments; together they are all lines."""
    place, seen, sizes = Place(), list[bytes](), [1, 0, 2, 5, 0, 3]
    for size in sizes:
        log.append(STREAM, [draft(len(seen) + number) for number in range(size)])
        place, lines = read_on(log, place)
        seen += lines
        assert len(lines) == size

    assert seen == list(log.lines(STREAM))
    assert place.head == Head(seq=10, sha256=line_sha256(seen[-1]))


def test_a_tail_can_begin_anywhere(log: AuditLog) -> None:
    """From every place that a reader ever was at, the lines after it follow."""
    places = [Place()]
    for number in range(8):
        log.append(STREAM, [draft(number)])
        places.append(read_on(log, places[-1])[0])

    lines = tuple(log.lines(STREAM))
    assert [read_on(log, place) for place in places] == [(places[-1], lines[number:]) for number in range(len(places))]


def test_less_than_was_read_before_is_tampering(log: AuditLog) -> None:
    """A place beyond the end, in a segment that isn't there, or in a stream that isn't, was read before: not any more."""
    log.append(STREAM, [draft(0), draft(1)])
    place, _ = read_on(log, Place())

    for beyond in (replace(place, offset=place.offset + 1), replace(place, segment=7)):
        with pytest.raises(IntegrityError, match="cut off"):
            log.tail(STREAM, beyond)
    with pytest.raises(IntegrityError, match="cut off"):
        log.tail("log-checks/another", place)


def test_what_was_read_before_must_still_be_there(log: AuditLog) -> None:
    """The line before the place is the one of the place's head, or nothing is given out."""
    log.append(STREAM, [draft(0), draft(1)])
    place, _ = read_on(log, Place())

    for other in (
        replace(place, head=Head(seq=1, sha256="0" * 64)),
        replace(place, offset=place.offset - 1),
    ):
        with pytest.raises(IntegrityError, match="it was replaced: stop and look"):
            log.tail(STREAM, other)
