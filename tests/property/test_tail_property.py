"""Reading on from a place: whatever was appended, and however the segments rolled."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fakes_log import MemoryLog, draft
from hypothesis import given
from hypothesis import strategies as st

from quarantine.adapters.local_log import LocalLog
from quarantine.audit.chain import Head, Place, follow
from quarantine.ports import AuditLog

STREAM = "log-checks/ml"
appends = st.lists(st.integers(0, 4), max_size=8)


def places(log: AuditLog, sizes: list[int]) -> list[Place]:
    """Appends batches of these sizes; the place after each, and the beginning."""
    found, number = [Place()], 0
    for size in sizes:
        log.append(STREAM, [draft(number + offset) for offset in range(size)])
        number += size
        before = found[-1]
        tail = log.tail(STREAM, before)
        head = before.head
        for entry in follow(STREAM, before.head, tail.lines):
            head = Head(seq=entry.seq, sha256=entry.sha256)
        found.append(Place(segment=tail.segment, offset=tail.offset, head=head))
    return found


def proved(log: AuditLog, sizes: list[int]) -> None:
    """From each place on the tail is just the lines after it, and ends where the log ends."""
    found = places(log, sizes)
    lines = tuple(log.lines(STREAM))
    for number, place in enumerate(found):
        tail = log.tail(STREAM, place)
        assert tail.lines == lines[sum(sizes[:number]) :]
        assert (tail.segment, tail.offset) == (found[-1].segment, found[-1].offset)


@given(appends, st.integers(1, 5), st.integers(100, 2000))
def test_a_local_tail_is_the_lines_after_its_place(sizes: list[int], entries: int, size: int) -> None:
    """For any appends, any limits of the segments, and any place."""
    with TemporaryDirectory() as folder:
        proved(LocalLog(Path(folder), max_segment_entries=entries, max_segment_bytes=size), sizes)


@given(appends)
def test_a_tail_in_memory_is_the_lines_after_its_place(sizes: list[int]) -> None:
    """For any appends, and any place."""
    proved(MemoryLog(), sizes)


@given(appends, st.integers(1, 5), st.integers(0, 60))
def test_an_unfinished_line_is_in_no_tail(sizes: list[int], entries: int, torn: int) -> None:
    """What a crash left behind the last line isn't read, and moves no place."""
    with TemporaryDirectory() as folder:
        log = LocalLog(Path(folder), max_segment_entries=entries)
        found = places(log, sizes)
        segments = sorted(Path(folder).rglob("*.jsonl"))
        if segments:
            with segments[-1].open("ab") as file:
                file.write(b"{" * torn)
        tail = log.tail(STREAM, found[-1])
        assert (tail.lines, tail.segment, tail.offset) == ((), found[-1].segment, found[-1].offset)
