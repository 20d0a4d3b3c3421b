"""What every implementation of the AuditLog port does."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_log import NOON, MemoryLog, draft

from quarantine.adapters.local_log import LocalLog
from quarantine.audit.chain import Head, Verified, genesis, verify
from quarantine.audit.record import line_sha256, parse_entry
from quarantine.errors import UpstreamError
from quarantine.ports import AuditLog

STREAM = "log-checks/local-2026-11"

_LOGS: dict[str, Callable[[Path], AuditLog]] = {
    "local": lambda folder: LocalLog(folder / "log"),
    "local, small segments": lambda folder: LocalLog(folder / "log", max_segment_entries=3),
    "memory": lambda _: MemoryLog(),
}


@pytest.fixture(params=_LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> AuditLog:
    return _LOGS[request.param](tmp_path)


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
