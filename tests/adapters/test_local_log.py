"""The audit log as local files: what lies where, what a crash leaves, and what is refused."""

import fcntl
import hashlib
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_log import draft

from quarantine.adapters.local_log import LocalLog
from quarantine.audit.chain import Head, Place, Tampered, Verified, extend, verify
from quarantine.audit.record import Entry, encode_entry, parse_entry
from quarantine.errors import IntegrityError, QuarantineError, UpstreamError
from quarantine.io.segments import LARGEST_APPEND, LARGEST_SEGMENT, ROLL_BYTES

STREAM = "log-checks/ml"
ROOT = Path(__file__).parents[2]


def _log(folder: Path, entries: int = 0, **options: int) -> LocalLog:
    log = LocalLog(folder / "log", **options)  # type: ignore[arg-type]  # whole numbers all of them
    for number in range(entries):
        log.append(STREAM, [draft(number)])
    return log


def _segment(folder: Path, first: int = 0) -> Path:
    return folder / "log" / STREAM / f"{first:08d}.jsonl"


def _entries(log: LocalLog) -> list[Entry]:
    return [parse_entry(line) for line in log.lines(STREAM)]


def _verified(log: LocalLog) -> Verified:
    result = verify(STREAM, log.lines(STREAM))
    assert isinstance(result, Verified)
    return result


# --- layout -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_folder_of_segments_for_its_owner_alone(tmp_path: Path) -> None:
    """Folders 0700, files 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        _log(tmp_path, 1)
    finally:
        os.umask(before)

    modes = {
        str(path.relative_to(tmp_path)): stat.filemode(path.stat().st_mode) for path in sorted(tmp_path.rglob("*"))
    }
    assert modes == {
        "log": "drwx------",
        "log/log-checks": "drwx------",
        "log/log-checks/ml": "drwx------",
        "log/log-checks/ml/00000000.jsonl": "-rw-------",
    }


def test_a_segment_holds_the_lines_and_nothing_else(tmp_path: Path) -> None:
    """So that `tail -n 1 FILE | sha256sum` is the head."""
    log = _log(tmp_path, 3)

    chained = extend(STREAM, None, [draft(number) for number in range(3)])
    assert _segment(tmp_path).read_bytes() == b"".join(line for line, _ in chained)
    assert list(log.lines(STREAM)) == [line for line, _ in chained]


def test_segments_roll_by_entries(tmp_path: Path) -> None:
    """A new file every so many entries, named after the first in it; the chain goes on over all of them."""
    log = _log(tmp_path, 8, max_segment_entries=3)

    counts = {path.name: len(path.read_bytes().splitlines()) for path in _segment(tmp_path).parent.iterdir()}
    assert counts == {"00000000.jsonl": 3, "00000003.jsonl": 3, "00000006.jsonl": 2}
    assert _verified(log).entries == 8


def test_segments_roll_by_size(tmp_path: Path) -> None:
    """A segment at its limit gets no more lines; one append is never split over two."""
    log = _log(tmp_path, max_segment_bytes=900)
    for number in range(0, 9, 3):
        log.append(STREAM, [draft(number), draft(number + 1), draft(number + 2)])

    counts = {path.name: len(path.read_bytes().splitlines()) for path in _segment(tmp_path).parent.iterdir()}
    assert counts == {"00000000.jsonl": 3, "00000003.jsonl": 3, "00000006.jsonl": 3}
    assert _verified(log).entries == 9


def test_other_files_are_no_streams(tmp_path: Path) -> None:
    """What else lies in the folder is left alone."""
    log = _log(tmp_path, 1)
    (tmp_path / "log" / "pages").mkdir()
    (tmp_path / "log" / "log-checks" / "README").write_text("x")
    (tmp_path / "log" / "log-checks" / ".hidden").mkdir()
    (_segment(tmp_path).parent / "notes.txt").write_text("x")

    assert log.streams() == (STREAM,)
    assert _verified(log).entries == 1


@pytest.mark.parametrize(
    ("line", "place"),
    [(1, "00000000.jsonl:1"), (4, "00000003.jsonl:1"), (5, "00000003.jsonl:2"), (6, "00000003.jsonl:3")],
)
def test_a_line_has_a_place(tmp_path: Path, line: int, place: str) -> None:
    """File and line in it, also of the one that would come next."""
    log = _log(tmp_path, 5, max_segment_entries=3)

    assert log.place(STREAM, line) == str(_segment(tmp_path).parent / place)


def test_an_empty_stream_has_a_place(tmp_path: Path) -> None:
    """Its folder."""
    assert _log(tmp_path).place(STREAM, 1) == str(tmp_path / "log" / STREAM)


# --- what a crash leaves ----------------------------------------------------------------------------------------------


def _tear(folder: Path, fragment: bytes, first: int = 0) -> None:
    with _segment(folder, first).open("ab") as file:
        file.write(fragment)


def test_an_unknown_stream_has_no_torn_tail(tmp_path: Path) -> None:
    """It has nothing at all, and asking doesn't make it; nor has one that was made and not written to yet."""
    log = _log(tmp_path)
    assert (log.torn_bytes(STREAM), log.streams()) == (0, ())

    _segment(tmp_path).parent.mkdir(parents=True)
    assert (log.torn_bytes(STREAM), list(log.lines(STREAM))) == (0, [])


def test_an_unfinished_line_is_no_line(tmp_path: Path) -> None:
    """Readers tell its length and read the rest; they change nothing."""
    log = _log(tmp_path, 2)
    _tear(tmp_path, b'{"data":{')

    assert log.torn_bytes(STREAM) == 9
    assert _verified(log).entries == 2
    assert _segment(tmp_path).read_bytes().endswith(b'\n{"data":{')


def test_an_unfinished_line_is_moved_aside_and_reported_first(tmp_path: Path) -> None:
    """The next append keeps its bytes in a file and says so in the log, before its own entries."""
    log = _log(tmp_path, 2)
    _tear(tmp_path, b'{"data":{')

    (receipt,) = log.append(STREAM, [draft(2)])

    entries = _entries(log)
    assert [(e.seq, e.type, e.subject) for e in entries[2:]] == [
        (2, "quarantine.log.recovered.v1", "00000000.jsonl.torn-0"),
        (3, "quarantine.verdict.v1", "pkg:pypi/numpy@2.1.0"),
    ]
    assert entries[2].data == {
        "file": "00000000.jsonl.torn-0",
        "bytes": 9,
        "sha256": hashlib.sha256(b'{"data":{').hexdigest(),
    }
    assert (receipt.seq, receipt.sha256) == (3, entries[3].sha256)
    assert _segment(tmp_path).with_suffix(".jsonl.torn-0").read_bytes() == b'{"data":{'
    assert (_verified(log).entries, log.torn_bytes(STREAM)) == (4, 0)


def test_every_unfinished_line_is_kept(tmp_path: Path) -> None:
    """Each in a file of its own, also where the very first append was cut short."""
    log = _log(tmp_path, 1)
    _segment(tmp_path).write_bytes(b"{")
    log.append(STREAM, [draft(0)])
    _tear(tmp_path, b"\x00\x00")
    log.append(STREAM, [draft(1)])

    assert [(e.seq, e.data.get("file"), e.data.get("number")) for e in _entries(log)] == [
        (0, "00000000.jsonl.torn-0", None),
        (1, None, 0),
        (2, "00000000.jsonl.torn-1", None),
        (3, None, 1),
    ]


def test_a_line_moved_aside_is_reported_even_after_another_crash(tmp_path: Path) -> None:
    """When the writer died between moving it and reporting it, the next one reports it."""
    log = _log(tmp_path, 1)
    aside = _segment(tmp_path).with_suffix(".jsonl.torn-0.new")
    aside.write_bytes(b"{")

    log.append(STREAM, [draft(1)])
    log.append(STREAM, [draft(2)])

    assert [(e.data.get("file"), e.data.get("number")) for e in _entries(log)] == [
        (None, 0),
        ("00000000.jsonl.torn-0", None),
        (None, 1),
        (None, 2),
    ]
    assert not aside.exists()


def test_a_new_segment_without_a_line_is_filled(tmp_path: Path) -> None:
    """A crash right after it was made leaves it empty, or with half a line."""
    log = _log(tmp_path, 3, max_segment_entries=3)
    _segment(tmp_path, 3).touch()
    log.append(STREAM, [draft(3)])
    _segment(tmp_path, 3).write_bytes(b"{")
    log.append(STREAM, [draft(4)])

    assert [e.data.get("number", e.data.get("file")) for e in _entries(log)] == [0, 1, 2, "00000003.jsonl.torn-0", 4]
    assert _verified(log).entries == 5


def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    """Four writers killed at random moments: every receipt is in the log once, on one chain (1,000 in benchmarks/)."""
    done = subprocess.run(
        [sys.executable, "benchmarks/log_kills.py", "--kills", "50", "--folder", str(tmp_path)],
        cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    counted = json.loads(done.stdout)
    assert (counted["kills"], counted["problems"]) == (50, [])
    assert counted["receipts"] >= 25


# --- what is refused --------------------------------------------------------------------------------------------------


def _last_line_changed(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes()[:-2] + b"]\n")


def _garbage_line(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + b"garbage\n")


def _endless_line(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + b"x" * 40_000)


def _endless_line_ended(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + b"x" * 40_000 + b"\n")


def _segments_before_missing(segment: Path) -> None:
    segment.rename(segment.with_name("00000003.jsonl"))
    segment.with_name("00000003.jsonl").write_bytes(b"")


def _renamed(segment: Path) -> None:
    segment.rename(segment.with_name("00000009.jsonl"))


def _next_segment_after_a_gap(segment: Path) -> None:
    segment.with_name("00000009.jsonl").touch()


def _next_segment_after_half_a_line(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes()[:-5])
    segment.with_name("00000003.jsonl").touch()


_BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "last line changed": (_last_line_changed, "00000000.jsonl", "its last line is not an entry of an audit log: "),
    "garbage line": (_garbage_line, "00000000.jsonl", "its last line is not an entry of an audit log: "),
    "endless line": (_endless_line, "00000000.jsonl", "no line ends in its last 32768 bytes"),
    "endless line, ended": (_endless_line_ended, "00000000.jsonl", "its last line is not an entry of an audit log: "),
    "segments before missing": (_segments_before_missing, "00000003.jsonl", "the segments before it are missing"),
    "renamed": (_renamed, "00000009.jsonl", "its last line is entry 2, which belongs elsewhere"),
    "after a gap": (_next_segment_after_a_gap, "00000009.jsonl", "entry 2 is the last one before it"),
    "after half a line": (
        _next_segment_after_half_a_line,
        "00000000.jsonl",
        "it does not end in an entry, and another segment follows",
    ),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_nothing_is_added_to_what_is_no_log(tmp_path: Path, name: str) -> None:
    """An end that no append leaves stops every append, and not a byte is changed, not even to repair it."""
    edit, file, message = _BROKEN[name]
    log = _log(tmp_path, 3)
    edit(_segment(tmp_path))
    stored = {path.name: path.read_bytes() for path in _segment(tmp_path).parent.iterdir()}

    with pytest.raises(IntegrityError) as error:
        log.append(STREAM, [draft(3)])

    assert str(error.value).startswith(f"{_segment(tmp_path).with_name(file)}: {message}")
    assert str(error.value).endswith(
        ". No append leaves it so, and nothing is written to it now: see what `quarantine audit verify` says"
    )
    assert {path.name: path.read_bytes() for path in _segment(tmp_path).parent.iterdir()} == stored


def _line_changed(folder: Path) -> None:
    segment = _segment(folder, 3)
    segment.write_bytes(segment.read_bytes().replace(b'"number":4', b'"number":7'))


def _segment_removed(folder: Path) -> None:
    _segment(folder, 3).unlink()


def _first_segment_removed(folder: Path) -> None:
    _segment(folder, 0).unlink()


def _segments_swapped(folder: Path) -> None:
    first, second = _segment(folder, 0), _segment(folder, 3)
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


def _newline_removed(folder: Path) -> None:
    segment = _segment(folder, 0)
    segment.write_bytes(segment.read_bytes()[:-1])


def _segment_emptied(folder: Path) -> None:
    _segment(folder, 3).write_bytes(b"")


def _endless(folder: Path) -> None:
    _endless_line(_segment(folder, 6))


def _other_stream(folder: Path) -> None:
    LocalLog(folder / "log").append("log-requests/ml", [draft(1)])
    shutil.rmtree(_segment(folder).parent)
    (folder / "log" / "log-requests" / "ml").rename(_segment(folder).parent)


_EDITS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "line changed": (_line_changed, "00000003.jsonl:3", "the link does not fit line 5: one of the two was changed"),
    "segment removed": (_segment_removed, "00000006.jsonl:1", "entries are missing"),
    "first segment removed": (_first_segment_removed, "00000003.jsonl:1", "entries are missing"),
    "segments swapped": (_segments_swapped, "00000000.jsonl:1", "entries are missing"),
    "newline removed": (_newline_removed, "00000000.jsonl:3", "a line has no newline at its end"),
    "segment emptied": (_segment_emptied, "00000006.jsonl:1", "entries are missing"),
    "endless line": (_endless, "00000006.jsonl:3", "a line has no newline at its end"),
    "another stream": (_other_stream, "00000000.jsonl:1", "the first entry is of another stream, or was changed"),
}


@pytest.mark.parametrize("name", _EDITS)
def test_edits_of_files_are_found_at_their_place(tmp_path: Path, name: str) -> None:
    """Whatever is done to the segments, verifying stops at the file and line of it."""
    edit, place, problem = _EDITS[name]
    log = _log(tmp_path, 8, max_segment_entries=3)
    edit(tmp_path)

    result = verify(STREAM, log.lines(STREAM))

    assert isinstance(result, Tampered)
    assert result.problem == problem
    assert log.place(STREAM, result.line) == str(_segment(tmp_path).parent / place)


def test_a_removed_last_segment_needs_a_head(tmp_path: Path) -> None:
    """Like every tail that is cut off at an entry."""
    log = _log(tmp_path, 8, max_segment_entries=3)
    head = _verified(log).head
    assert head is not None
    _segment(tmp_path, 6).unlink()

    assert _verified(log).entries == 6
    assert isinstance(verify(STREAM, log.lines(STREAM), heads=[head]), Tampered)


def test_a_pipe_in_place_of_a_segment_is_refused_at_once(tmp_path: Path) -> None:
    """It doesn't hold anybody up."""
    log = _log(tmp_path, 1)
    _segment(tmp_path).unlink()
    os.mkfifo(_segment(tmp_path))

    for use in (lambda: log.append(STREAM, [draft(1)]), lambda: list(log.lines(STREAM))):
        with pytest.raises(IntegrityError, match=r"00000000\.jsonl is not a regular file"):
            use()


@pytest.mark.parametrize("part", ["log", "log/log-checks", "log/log-checks/ml", "log/log-checks/ml/00000000.jsonl"])
def test_no_link_is_followed(tmp_path: Path, part: str) -> None:
    """Neither for writing nor for reading, at any level."""
    log = _log(tmp_path, 1)
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / part).rename(elsewhere)
    (tmp_path / part).symlink_to(elsewhere)

    for use in (
        lambda: log.append(STREAM, [draft(1)]),
        lambda: list(log.lines(STREAM)),
        lambda: log.torn_bytes(STREAM),
    ):
        with pytest.raises(IntegrityError, match=r"is (a symbolic link|not a regular file)"):
            use()
    if part in {"log", "log/log-checks"}:
        with pytest.raises(IntegrityError, match="is a symbolic link"):
            log.streams()
    else:
        assert log.streams() == (STREAM,)


# --- what others put into a folder that is shared -----------------------------------------------------------------------


def test_a_number_has_one_name(tmp_path: Path) -> None:
    """A file whose number is written in another way is no segment: it is left alone, before and behind those that are."""
    log = _log(tmp_path)
    _segment(tmp_path).parent.mkdir(parents=True)
    (_segment(tmp_path).parent / "000000000.jsonl").write_bytes(b"x\n")
    assert (list(log.lines(STREAM)), log.tail(STREAM, Place()).lines) == ([], ())

    log.append(STREAM, [draft(0)])
    (_segment(tmp_path).parent / "0000000001.jsonl").write_bytes(b"x\n")
    log.append(STREAM, [draft(1)])

    assert _verified(log).entries == 2
    assert log.tail(STREAM, Place()).lines == tuple(log.lines(STREAM))


def test_a_link_is_a_stream_that_can_not_be_read(tmp_path: Path) -> None:
    """It is told by whoever reads it, and keeps nobody from the other streams; one with another name is none."""
    log = _log(tmp_path, 1)
    for name in ("evil", "Upper", "nowhere"):
        (tmp_path / "log/log-checks" / name).symlink_to(tmp_path / name)
    (tmp_path / "evil").mkdir()

    assert log.streams("log-checks") == ("log-checks/evil", STREAM, "log-checks/nowhere")
    assert _verified(log).entries == 1
    for stream in ("log-checks/evil", "log-checks/nowhere"):
        name = stream.removeprefix("log-checks/")
        for use in (
            lambda stream=stream: log.tail(stream, Place()),
            lambda stream=stream: list(log.lines(stream)),
            lambda stream=stream: log.append(stream, [draft()]),
        ):
            with pytest.raises(IntegrityError) as error:
                use()
            assert str(error.value) == (
                f"the audit log {tmp_path / 'log' / stream}: {name} is a symbolic link: expected a folder"
            )


def test_a_file_in_place_of_a_stream_is_tampering(tmp_path: Path) -> None:
    """Also where the stream was read before."""
    log = _log(tmp_path, 1)
    shutil.rmtree(_segment(tmp_path).parent)
    _segment(tmp_path).parent.write_text("x")

    assert log.streams() == ()
    for use in (
        lambda: log.append(STREAM, [draft(1)]),
        lambda: list(log.lines(STREAM)),
        lambda: log.tail(STREAM, Place()),
    ):
        with pytest.raises(IntegrityError) as error:
            use()
        assert str(error.value) == (
            f"the audit log {tmp_path / 'log' / STREAM}: it is not a folder: no append made it, stop and look who did"
        )


@pytest.mark.parametrize("part", ["", "00000000.jsonl"], ids=["its folder", "its segment"])
def test_a_stream_that_is_kept_from_others_is_tampering(part: str) -> None:
    """Rights that shut others out break that stream alone, for reading and for writing."""
    with tempfile.TemporaryDirectory() as folder:  # one that other users may reach
        log = _log(Path(folder), 1)
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o777)
        shut = Path(folder) / "log" / STREAM / part
        shut.chmod(0)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # root is shut out by nothing
        try:
            assert log.streams() == (STREAM,)
            for use in (
                lambda: log.append(STREAM, [draft(1)]),
                lambda: list(log.lines(STREAM)),
                lambda: log.tail(STREAM, Place()),
            ):
                with pytest.raises(IntegrityError) as error:
                    use()
                assert str(error.value) == (
                    f"the audit log {Path(folder) / 'log' / STREAM}: its rights, or those of a file in it, keep you from "
                    "it: look who made it"
                )
        finally:
            os.seteuid(before)
            shut.chmod(0o700)


def test_a_container_that_is_kept_from_others_is_an_upstream_error() -> None:
    """Whose store it is hasn't shared it: that is no word about a stream."""
    with tempfile.TemporaryDirectory() as folder:
        log = _log(Path(folder), 1)
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o777)
        shut = Path(folder) / "log" / "log-checks"
        shut.chmod(0)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            for use in (lambda: log.append(STREAM, [draft(1)]), lambda: list(log.lines(STREAM)), log.streams):
                with pytest.raises(UpstreamError, match="can't be used: permission denied"):
                    use()
        finally:
            os.seteuid(before)
            shut.chmod(0o700)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["zeros", "zeros and a newline"])
def test_a_segment_that_is_too_large_is_not_read(tmp_path: Path, end: bytes) -> None:
    """A hole of 20 GiB takes no memory, and what stands before it comes line by line."""
    log = _log(tmp_path, 2)
    lines = list(log.lines(STREAM))
    size = 20 * 2**30
    with _segment(tmp_path).open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)

    with pytest.raises(IntegrityError) as error:
        log.tail(STREAM, Place())
    assert str(error.value) == (
        f"the audit log {tmp_path / 'log' / STREAM}: 00000000.jsonl has {size + len(end)} bytes, and no append leaves more "
        "than 268435456: stop and look who did"
    )
    reading = log.lines(STREAM)
    assert [next(reading), next(reading)] == lines


def test_lines_end_where_a_segment_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before that are given out, and then it is told."""
    log = _log(tmp_path, 3)
    lines = list(log.lines(STREAM))
    monkeypatch.setattr("quarantine.io.segments.LARGEST_SEGMENT", len(lines[0]) + len(lines[1]))

    seen: list[bytes] = []
    with pytest.raises(IntegrityError, match="and no append leaves more than"):
        seen.extend(log.lines(STREAM))
    reading = log.lines(STREAM)
    assert [next(reading), next(reading)] == lines[:2]
    with pytest.raises(IntegrityError, match="and no append leaves more than"):
        next(reading)


def test_all_that_is_read_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many segments of a size that each may have are too much together; the last of them isn't touched."""
    log = _log(tmp_path, 6, max_segment_entries=2)
    size = len(b"".join(log.lines(STREAM)))
    monkeypatch.setattr("quarantine.io.segments.LARGEST_TAIL", size)
    assert len(log.tail(STREAM, Place()).lines) == 6

    limit = _segment(tmp_path).stat().st_size + 1
    monkeypatch.setattr("quarantine.io.segments.LARGEST_TAIL", limit)
    _segment(tmp_path, 4).unlink()
    _segment(tmp_path, 4).symlink_to(tmp_path)
    (_segment(tmp_path).parent / "00000006.jsonl").touch()
    with pytest.raises(IntegrityError) as error:
        log.tail(STREAM, Place())
    assert str(error.value) == (
        f"the audit log {tmp_path / 'log' / STREAM}: there are more than {limit} bytes to read at once up to segment "
        "00000002, and no month has as many: stop and look who wrote them"
    )


def test_no_writer_of_ours_leaves_too_large_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written at once is bounded, so that with what a segment holds before, it can be read."""
    assert ROLL_BYTES + LARGEST_APPEND < LARGEST_SEGMENT
    log = _log(tmp_path, 1)
    monkeypatch.setattr("quarantine.adapters.local_log.LARGEST_APPEND", 500)

    with pytest.raises(UpstreamError) as error:
        log.append(STREAM, [draft(1), draft(2)])

    assert str(error.value).endswith("bytes can't be written to the audit log at once: expected 500 at most")
    assert _verified(log).entries == 1


def test_a_torn_line_that_is_longer_than_one_is_refused(tmp_path: Path) -> None:
    """No crash leaves a hole of 20 GiB beside a segment: it is not read."""
    log = _log(tmp_path, 1)
    with _segment(tmp_path).with_suffix(".jsonl.torn-0.new").open("wb") as file:
        file.truncate(20 * 2**30)

    with pytest.raises(IntegrityError) as error:
        log.append(STREAM, [draft(1)])
    assert str(error.value) == (
        f"the audit log {tmp_path / 'log' / STREAM}: 00000000.jsonl.torn-0.new has 21474836480 bytes, more than a line: "
        "stop and look who made it"
    )


def test_after_the_last_number_comes_none(tmp_path: Path) -> None:
    """An entry with the largest number that there is leaves no place: that is tampering, and no failure of the disk."""
    log = _log(tmp_path, 1)
    _segment(tmp_path).write_bytes(encode_entry(draft(0), seq=2**53 - 1, prev="0" * 64))

    with pytest.raises(IntegrityError, match="no number is left after entry 9007199254740991: stop and look"):
        log.append(STREAM, [draft(1)])


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """Its locks and its fsync can't be relied on; nothing is made there."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:21 / {tmp_path} rw - nfs4 server:/x rw\n")
    log = LocalLog(tmp_path / "log", mounts=mounts)

    with pytest.raises(UpstreamError) as error:
        log.append(STREAM, [draft()])

    assert str(error.value) == (
        f"the audit log {tmp_path / 'log'} lies on a file system of type nfs4, where locks and fsync can't be relied on: "
        "name a folder on a local disk (`store` in quarantine.yaml)"
    )
    assert not (tmp_path / "log").exists()


def test_a_folder_that_can_not_be_made_is_an_upstream_error(tmp_path: Path) -> None:
    """For every use of it; a log that can't be read is not an empty one."""
    (tmp_path / "log").write_text("a file")
    log = LocalLog(tmp_path / "log")

    uses: list[Callable[[], object]] = [
        lambda: log.append(STREAM, [draft()]),
        log.streams,
        lambda: list(log.lines(STREAM)),
        lambda: log.torn_bytes(STREAM),
    ]
    for use in uses:
        with pytest.raises(
            UpstreamError, match=r"^the audit log .*/log.* can't be used: (file exists|not a directory)$"
        ):
            use()


def test_a_loop_of_links_is_an_upstream_error(tmp_path: Path) -> None:
    """A root that leads nowhere can't be made."""
    (tmp_path / "a").symlink_to(tmp_path / "log")
    (tmp_path / "log").symlink_to(tmp_path / "a")

    with pytest.raises(UpstreamError, match=r"^the audit log .*/log/log-checks/ml can't be used: "):
        _log(tmp_path, 1)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was written of an append that failed is taken back; the next one goes on as if it had not been."""
    log = _log(tmp_path, 2)
    size = _segment(tmp_path).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        with pytest.raises(UpstreamError) as error:
            log.append(STREAM, [draft(2), draft(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert str(error.value) == f"the audit log {tmp_path / 'log' / STREAM} can't be used: file too large"
    assert _segment(tmp_path).stat().st_size == size
    assert log.append(STREAM, [draft(2)])[0].seq == 2
    assert [entry.type for entry in _entries(log)] == ["quarantine.verdict.v1"] * 3


def test_a_writer_does_not_wait_for_ever(tmp_path: Path) -> None:
    """Somebody who holds the lock and does nothing makes an error, not a hang."""
    log = LocalLog(tmp_path / "log", lock_seconds=0.05)
    log.append(STREAM, [draft()])
    folder = os.open(_segment(tmp_path).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        uses: list[Callable[[], object]] = [lambda: log.append(STREAM, [draft(1)]), lambda: list(log.lines(STREAM))]
        for use in uses:
            with pytest.raises(UpstreamError) as error:
                use()
            assert str(error.value) == (
                f"the audit log {tmp_path / 'log' / STREAM} can't be used: another process has held its lock for "
                "0.05 s (`fuser -v` on the folder names it)"
            )
    finally:
        os.close(folder)


def test_a_place_on_the_chain_is_not_taken_twice(tmp_path: Path) -> None:
    """Two logs of one folder, as two processes have them, take turns on one chain."""
    one, two = _log(tmp_path), _log(tmp_path)

    receipts = [log.append(STREAM, [draft(number)])[0] for number, log in enumerate([one, two, two, one])]

    assert [receipt.seq for receipt in receipts] == [0, 1, 2, 3]
    heads = [Head(seq=receipt.seq, sha256=receipt.sha256) for receipt in receipts]
    assert isinstance(verify(STREAM, one.lines(STREAM), heads=heads), Verified)


def test_only_the_end_is_read_to_append(tmp_path: Path) -> None:
    """An edit further up doesn't stop work: it stays to be found by verifying."""
    log = _log(tmp_path, 3)
    segment = _segment(tmp_path)
    segment.write_bytes(b"?" + segment.read_bytes()[1:])

    log.append(STREAM, [draft(3)])

    with pytest.raises(QuarantineError):
        _entries(log)
    assert isinstance(verify(STREAM, log.lines(STREAM)), Tampered)


def test_the_largest_entries_fit_and_come_back(tmp_path: Path) -> None:
    """Lines of exactly the limit, many at once, are read again by the next append."""
    room = 32 * 1024 - len(encode_entry(draft(data={"t": ""}), seq=0, prev="0" * 64))
    log = _log(tmp_path)
    for _ in range(3):
        log.append(STREAM, [draft(data={"t": "x" * room}) for _ in range(3)])

    assert {len(line) for line in log.lines(STREAM)} == {32 * 1024}
    assert _verified(log).entries == 9
