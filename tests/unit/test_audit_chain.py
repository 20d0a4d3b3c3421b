"""The links of a stream, and every way in which stored lines can stop being what was written."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fakes_log import NOON, draft

from quarantine.audit.chain import (
    ClockJump,
    Head,
    Tampered,
    Verified,
    entries,
    extend,
    genesis,
    head_of,
    parse_head,
    recovered,
    verify,
)
from quarantine.audit.record import encode_entry, line_sha256
from quarantine.errors import IntegrityError
from quarantine.model import Receipt

STREAM = "log-checks/ml"
OTHER = "log-decisions/ml"


def _lines(count: int = 6, stream: str = STREAM) -> list[bytes]:
    return [line for line, _ in extend(stream, None, [draft(number) for number in range(count)])]


LINES = _lines()
HEAD = Head(seq=5, sha256=line_sha256(LINES[5]))


def test_the_first_link_is_the_streams_name() -> None:
    """So that no stream can stand in for another, even an untouched one."""
    assert genesis(STREAM) == hashlib.sha256(b"quarantine.log.v1:log-checks/ml").hexdigest()


def test_extending_goes_on_from_a_head() -> None:
    """Drafts become the same lines, whether appended at once or one after another."""
    first = extend(STREAM, None, [draft(0), draft(1)])
    second = extend(STREAM, head_of(first[-1][0]), [draft(2)])

    assert [line for line, _ in (*first, *second)] == _lines(3)
    assert second[0][1] == Receipt(stream=STREAM, seq=2, sha256=line_sha256(second[0][0]))


def test_only_a_stream_can_be_extended() -> None:
    """A name that is none has no chain."""
    with pytest.raises(ValueError, match="'x' is not a stream"):
        extend("x", None, [draft()])


def test_a_head_is_that_of_an_entry() -> None:
    """Any other last line has none."""
    with pytest.raises(IntegrityError, match="not an entry of an audit log: no newline at its end"):
        head_of(LINES[0][:-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"41:{'ab' * 32}", (None, Head(seq=41, sha256="ab" * 32))),
        (f"41:sha256:{'AB' * 32}", (None, Head(seq=41, sha256="ab" * 32))),
        (f"log-checks/ml@0:{'ab' * 32}", ("log-checks/ml", Head(seq=0, sha256="ab" * 32))),
    ],
)
def test_heads_are_read(text: str, expected: tuple[str | None, Head]) -> None:
    """As a verdict prints them, with or without the stream."""
    assert parse_head(text) == expected


@pytest.mark.parametrize("text", ["", "41", "ab" * 32, f"-1:{'ab' * 32}", f"41:{'ab' * 31}", f"1:{'ab' * 32}\n"])
def test_what_is_no_head_is_refused(text: str) -> None:
    """With the form that is expected."""
    with pytest.raises(ValueError, match=r"is not a head: expected \[STREAM@\]SEQ:SHA256"):
        parse_head(text)


def test_a_head_of_what_is_no_stream_is_refused() -> None:
    """The stream's name is checked too."""
    with pytest.raises(ValueError, match="'x' is not a stream"):
        parse_head(f"x@1:{'ab' * 32}")


def test_a_recovery_is_reported_as_an_entry() -> None:
    """It takes time and source of what is appended after it, and says what was moved where."""
    report = recovered(draft(), draft(1).id, file="00000000.jsonl.torn-0", sha256="ab" * 32, size=7)

    assert (report.type, report.time, report.source, report.subject, report.data) == (
        "quarantine.log.recovered.v1",
        NOON,
        "//contoso/ml",
        "00000000.jsonl.torn-0",
        {"file": "00000000.jsonl.torn-0", "bytes": 7, "sha256": "ab" * 32},
    )


def test_an_untouched_stream_verifies() -> None:
    """With its number of entries and its head."""
    assert verify(STREAM, LINES, heads=[HEAD], now=NOON) == Verified(stream=STREAM, entries=6, head=HEAD)


def test_an_empty_stream_verifies() -> None:
    """It has no head, and no head fits it."""
    assert verify(STREAM, []) == Verified(stream=STREAM, entries=0, head=None)
    assert verify(STREAM, [], heads=[HEAD]) == Tampered(
        stream=STREAM,
        line=1,
        problem="the end of the log is missing",
        found="0 entries",
        expected="entry 5 of the head",
    )


def test_earlier_heads_hold_too() -> None:
    """A log that has grown since still has every head it had."""
    heads = [Head(seq=seq, sha256=line_sha256(line)) for seq, line in enumerate(LINES)]

    assert verify(STREAM, LINES, heads=heads) == Verified(stream=STREAM, entries=6, head=HEAD)


def test_sought_heads_are_only_reported() -> None:
    """A head that may be of another stream is found, or not, without a fault."""
    elsewhere = Head(seq=3, sha256="ab" * 32)

    assert verify(STREAM, LINES, sought=[HEAD, elsewhere]) == Verified(
        stream=STREAM, entries=6, head=HEAD, found=frozenset({HEAD})
    )
    misplaced = Head(seq=4, sha256=HEAD.sha256)
    assert verify(STREAM, LINES, sought=[misplaced]) == Verified(stream=STREAM, entries=6, head=HEAD)


def _changed(index: int, old: bytes, new: bytes) -> Callable[[], list[bytes]]:
    assert old in LINES[index]
    return lambda: [line.replace(old, new) if at == index else line for at, line in enumerate(LINES)]


def _relinked() -> list[bytes]:
    """Entry 2 replaced, and everything after it chained anew: sound in itself."""
    return [
        line for line, _ in extend(STREAM, None, [draft(number if number != 2 else 99) for number in range(len(LINES))])
    ]


_SHA = [line_sha256(line) for line in LINES]
_EDITS: dict[str, tuple[Callable[[], list[bytes]], int, str, str, str]] = {
    "a changed value": (
        _changed(2, b"denied", b"alowed"),
        4,
        "the link does not fit line 3: one of the two was changed",
        f"qprev {_SHA[2]}",
        f"qprev {line_sha256(LINES[2].replace(b'denied', b'alowed'))}",
    ),
    "a changed first line": (
        _changed(0, b"denied", b"alowed"),
        2,
        "the link does not fit line 1: one of the two was changed",
        f"qprev {_SHA[0]}",
        f"qprev {line_sha256(LINES[0].replace(b'denied', b'alowed'))}",
    ),
    "a changed link": (
        _changed(3, _SHA[2].encode(), b"00" * 32),
        4,
        "the link does not fit line 3: one of the two was changed",
        f"qprev {'00' * 32}",
        f"qprev {_SHA[2]}",
    ),
    "white space": (
        _changed(2, b'"number":', b'"number": '),
        3,
        "not an entry of an audit log: its bytes are not the canonical JSON (RFC 8785) of what they say",
        f"{len(LINES[2]) + 1} bytes",
        "an entry",
    ),
    "a carriage return": (
        _changed(5, b"\n", b"\r\n"),
        6,
        "not an entry of an audit log: its bytes are not the canonical JSON (RFC 8785) of what they say",
        f"{len(LINES[5]) + 1} bytes",
        "an entry",
    ),
    "the first removed": (lambda: LINES[1:], 1, "entries are missing", "qseq 1", "qseq 0"),
    "one removed": (lambda: LINES[:2] + LINES[3:], 3, "entries are missing", "qseq 3", "qseq 2"),
    "the middle removed": (lambda: LINES[:1] + LINES[5:], 2, "entries are missing", "qseq 5", "qseq 1"),
    "one duplicated": (
        lambda: [*LINES[:3], LINES[2], *LINES[3:]],
        4,
        "an entry stands twice or out of order",
        "qseq 2",
        "qseq 3",
    ),
    "two swapped": (
        lambda: [*LINES[:2], LINES[3], LINES[2], *LINES[4:]],
        3,
        "entries are missing",
        "qseq 3",
        "qseq 2",
    ),
    "one inserted": (
        lambda: [*LINES[:3], encode_entry(draft(99), seq=3, prev=_SHA[2]), *LINES[3:]],
        5,
        "an entry stands twice or out of order",
        "qseq 3",
        "qseq 4",
    ),
    "garbage inserted": (
        lambda: [*LINES[:3], b"rm -rf\n", *LINES[3:]],
        4,
        "not an entry of an audit log: JSON is malformed: invalid character (byte 0)",
        "7 bytes",
        "an entry",
    ),
    "an empty line": (
        lambda: [*LINES[:3], b"\n", *LINES[3:]],
        4,
        "not an entry of an audit log: input data was truncated",
        "1 bytes",
        "an entry",
    ),
    "two lines joined": (
        lambda: [*LINES[:2], LINES[2][:-1] + LINES[3], *LINES[4:]],
        3,
        "not an entry of an audit log: JSON is malformed: trailing characters (byte 307)",
        f"{len(LINES[2]) + len(LINES[3]) - 1} bytes",
        "an entry",
    ),
    "an unfinished line in the middle": (
        lambda: [*LINES[:2], LINES[2][:50], *LINES[3:]],
        3,
        "a line has no newline at its end",
        "50 bytes",
        "a whole entry",
    ),
    "a line longer than any entry": (
        lambda: [*LINES, b"x" * 40_000],
        7,
        "a line has no newline at its end",
        "40000 bytes",
        "a whole entry",
    ),
    "another stream's lines": (
        lambda: _lines(6, OTHER),
        1,
        "the first entry is of another stream, or was changed",
        f"qprev {genesis(OTHER)}",
        f"qprev {genesis(STREAM)}",
    ),
}


@pytest.mark.parametrize("name", _EDITS)
def test_edits_are_found_by_the_chain_alone(name: str) -> None:
    """Each with its line, and what was found and expected there."""
    edit, line, problem, found, expected = _EDITS[name]

    assert verify(STREAM, edit()) == Tampered(stream=STREAM, line=line, problem=problem, found=found, expected=expected)


def test_entries_are_given_out_when_they_proved_to_be_in_place() -> None:
    """All of an untouched stream, in order."""
    assert [entry.data["number"] for entry in entries(STREAM, LINES)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", _EDITS)
def test_no_entry_is_given_out_from_an_edit_on(name: str) -> None:
    """Reading stops at the line where verifying stops, with the reason."""
    edit, line, problem, _, _ = _EDITS[name]
    reading = entries(STREAM, edit())
    given = [next(reading).seq for _ in range(line - 1)]

    with pytest.raises(IntegrityError) as error:
        next(reading)

    assert given == list(range(line - 1))
    if not problem.startswith("a line has no newline"):
        assert str(error.value).startswith(f"the audit log {STREAM} was changed at line {line}: {problem}")
    assert str(error.value).endswith(": stop and look")


def test_a_cut_tail_needs_a_head() -> None:
    """The chain of what is left is sound; only a head from elsewhere shows that entries are gone."""
    cut = LINES[:4]

    assert verify(STREAM, cut) == Verified(stream=STREAM, entries=4, head=Head(seq=3, sha256=_SHA[3]))
    assert verify(STREAM, cut, heads=[HEAD]) == Tampered(
        stream=STREAM,
        line=5,
        problem="the end of the log is missing",
        found="4 entries",
        expected="entry 5 of the head",
    )


def test_a_rewritten_tail_needs_a_head() -> None:
    """Whoever can chain everything anew is found by any head from after the change."""
    rewritten = _relinked()

    assert isinstance(verify(STREAM, rewritten), Verified)
    assert verify(STREAM, rewritten, heads=[HEAD]) == Tampered(
        stream=STREAM,
        line=6,
        problem="the entry is not the one of the head",
        found=f"sha256 {line_sha256(rewritten[5])}",
        expected=f"sha256 {_SHA[5]}",
    )


def test_two_heads_of_one_entry_cannot_both_hold() -> None:
    """They are evidence of a fork, whichever of them is on this chain."""
    rival = Head(seq=5, sha256="ab" * 32)

    assert verify(STREAM, LINES, heads=[rival, HEAD]) == Tampered(
        stream=STREAM,
        line=6,
        problem="two heads name this entry",
        found=f"sha256 {rival.sha256}",
        expected=f"sha256 {HEAD.sha256}",
    )


def test_a_torn_tail_is_no_entry_and_no_fault() -> None:
    """What a crash left of an append is told apart from an edit, unless a head says that it was a whole entry."""
    torn = [*LINES[:5], LINES[5][:100]]

    assert verify(STREAM, torn) == Verified(stream=STREAM, entries=5, head=Head(seq=4, sha256=_SHA[4]), torn_bytes=100)
    assert isinstance(verify(STREAM, torn, heads=[HEAD]), Tampered)


def _timed(*minutes: int) -> Iterator[bytes]:
    drafts = [draft(at, time=NOON + timedelta(minutes=minute)) for at, minute in enumerate(minutes)]
    return (line for line, _ in extend(STREAM, None, drafts))


def test_clocks_may_differ_by_five_minutes() -> None:
    """Five minutes back, or ahead of now, is what writers' clocks may differ by."""
    result = verify(STREAM, _timed(0, 10, 5, 0, 5), now=NOON + timedelta(minutes=5))

    assert isinstance(result, Verified)
    assert result.clock_jumps == 0


def test_times_that_run_backwards_are_reported() -> None:
    """With their line, and against which time; so are times that have not come yet."""
    result = verify(STREAM, _timed(0, 10, 4, 20), now=NOON + timedelta(minutes=12))

    assert isinstance(result, Verified)
    assert result.clock_jumps == 2
    assert [str(jump) for jump in result.first_jumps] == [
        "line 3: 2026-11-23T12:04:00Z is 0:06:00 before the entry above it",
        "line 4: 2026-11-23T12:20:00Z is 0:08:00 after the present",
    ]
    assert result.first_jumps[0] == ClockJump(
        line=3, time=NOON + timedelta(minutes=4), against=NOON + timedelta(minutes=10)
    )


def test_of_many_jumps_ten_are_kept() -> None:
    """All are counted, in constant memory."""
    result = verify(STREAM, _timed(*([60, 0] * 25)))

    assert isinstance(result, Verified)
    assert (result.clock_jumps, len(result.first_jumps)) == (25, 10)


def test_a_fault_reads_as_one_line() -> None:
    """What it was, what was found and what was expected."""
    assert str(verify(STREAM, LINES[1:])) == "entries are missing: found qseq 1, expected qseq 0"
    assert str(HEAD) == f"5:{_SHA[5]}"
