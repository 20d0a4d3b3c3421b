"""`quarantine audit`: what it prints and how it exits."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from exception_records import DECISIONS as CURATORS
from exception_records import PUBLISH, PUBLISHER, REQUESTS, dossier, entry_id, request, ruling, step, wheel
from fakes_log import NOON, draft

from quarantine.adapters.local_log import LocalLog
from quarantine.audit.events import (
    delivered_draft,
    publication_draft,
    request_drafts,
    ruling_draft,
    vetted_draft,
)
from quarantine.audit.record import Json, parse_entry
from quarantine.cli.main import main
from quarantine.exceptions import PublicationKind

CHECKS, DECISIONS = "log-checks/ml-2026-11", "log-decisions/ml"
ASKED = request(wheel("aaa", "1.0"), wheel())
EVIL = "numpy\n##vso[task.complete]\x1b[2J\u202egpj"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "quarantine.yaml").write_text("version: 1\nproject: ml\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(folder: Path) -> LocalLog:
    """Three verdicts on three days, and a decision that its writer dates between them."""
    log = LocalLog(folder / ".quarantine" / "log")
    for number in range(3):
        actor: Json = {"kind": "local", "name": f"user{number}"}
        one = draft(
            number,
            time=NOON + timedelta(days=number - 3),
            subject=f"requirements-{number}.txt",
            data={"outcome": "denied", "actor": actor},
        )
        log.append(CHECKS, [one])
    log.append(DECISIONS, [draft(9, time=NOON - timedelta(days=1, hours=1), data={})])
    return log


def _run(*arguments: str) -> int:
    return main(["audit", *arguments], now=NOON, environ={})


def _segment(folder: Path) -> Path:
    return folder / ".quarantine" / "log" / CHECKS / "00000000.jsonl"


_ROWS = [
    f"2026-11-20T12:00:00Z\t{CHECKS}\t0\tverdict\tdenied\trequirements-0.txt\tuser0\n",
    f"2026-11-21T12:00:00Z\t{CHECKS}\t1\tverdict\tdenied\trequirements-1.txt\tuser1\n",
    f"2026-11-22T11:00:00Z\t{DECISIONS}\t0\tverdict\t\tpkg:pypi/numpy@2.1.0\t\n",
    f"2026-11-22T12:00:00Z\t{CHECKS}\t2\tverdict\tdenied\trequirements-2.txt\tuser2\n",
]


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((), [0, 1, 2, 3]),
        (("--limit", "2"), [2, 3]),
        (("--stream", DECISIONS), [2]),
        (("--stream", DECISIONS, "--stream", CHECKS), [0, 1, 2, 3]),
        (("--since", "2026-11-22"), [2, 3]),
        (("--since", "2026-11-22T13:00:00+02:00"), [2, 3]),
        (("--since", "2026-11-22T12:00Z"), [3]),
        (("--type", "verdict"), [0, 1, 2, 3]),
        (("--type", "quarantine.verdict.v1", "--subject", "numpy"), [2]),
        (("--type", "verdict", "--subject", "pandas"), []),
    ],
)
def test_list_shows_what_is_asked_for(
    log: LocalLog, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], rows: list[int]
) -> None:
    """The newest entries of all streams in the order of their times, tab-separated when piped."""
    assert _run("list", *arguments) == 0

    assert capsys.readouterr() == ("".join(_ROWS[row] for row in rows), "" if rows else "no entries\n")


def test_list_names_the_types_that_there_are(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """A type that no entry has may be a slip: what could have been meant is said."""
    log.append(REQUESTS, request_drafts(ASKED, ["01900000-0000-7000-8000-000000000001"]))

    assert _run("list", "--type", "decision") == 0

    assert capsys.readouterr().err == "no entries of type decision: there are exception.requested, verdict\n"


def test_exceptions_are_listed_by_their_ids(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Each entry says which exception it is about, of how many files, and what came of it; an id, or its beginning, finds them."""
    found = dossier(ASKED, failures=["numpy 1.26.4 minimum-age"], unknowns=["numpy 1.26.4 licence", "a"])
    word = ruling(ASKED, found)
    end = step(ASKED, PublicationKind.UNLISTED, why="revoked")
    log.append(REQUESTS, request_drafts(ASKED, [entry_id()]))
    log.append(PUBLISH, [vetted_draft(ASKED, found, entry_id())])
    log.append(CURATORS, [ruling_draft(ASKED, word)])
    log.append(PUBLISH, [publication_draft(ASKED, end, PUBLISHER, entry_id())])
    log.append(PUBLISH, [delivered_draft("key", ["team"], [], PUBLISHER, "demo", NOON, entry_id())])

    assert _run("list", "--type", "exception", "--subject", ASKED.id[:8].upper()) == 0

    time, me = "2026-11-23T12:00:00Z", f"{ASKED.id[:12]} {ASKED.files[0].purl} (2 files)"
    assert capsys.readouterr().out.splitlines() == [
        f"{time}\t{CURATORS}\t0\texception.approved\tuntil 2026-12-23\t{me}\tbob",
        f"{time}\t{PUBLISH}\t0\texception.vetted\t1 failing, 2 unknown\t{me}\tpipeline",
        f"{time}\t{PUBLISH}\t1\texception.unlisted\trevoked\t{me}\tpipeline",
        f"{time}\t{REQUESTS}\t0\texception.requested\t\t{me}\tann",
    ]
    assert _run("list", "--type", "exception.approved") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert _run("list", "--type", "notification") == 0
    assert "\tnotification\tto team\tkey\tpipeline\n" in capsys.readouterr().out


def test_list_as_json_has_whole_entries(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """With their stream and the sha256 of their line."""
    assert _run("list", "--json", "--stream", DECISIONS) == 0

    (line,) = log.lines(DECISIONS)
    assert json.loads(capsys.readouterr().out) == {
        "schema": "quarantine/audit-list/1",
        "entries": [{"stream": DECISIONS, "sha256": parse_entry(line).sha256, "entry": json.loads(line)}],
    }


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("export",)])
def test_what_an_entry_holds_is_shown_harmless(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """No control, no change of direction and no CI command comes out of a record."""
    LocalLog(folder / ".quarantine" / "log").append(CHECKS, [draft(subject=EVIL, data={"outcome": EVIL})])

    assert _run(*command) == 0
    out = capsys.readouterr().out
    assert "numpy" in out
    assert [needle for needle in ("##", "\x1b", "\u202e", "\n##") if needle in out] == []


def test_verify_prints_what_holds(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stream with its entries and its head; heads of any stream are looked for in all of them."""
    heads = {stream: parse_entry(list(log.lines(stream))[-1]).sha256 for stream in log.streams()}

    assert _run("verify", "--head", f"0:{heads[DECISIONS]}", "--head", f"{CHECKS}@2:{heads[CHECKS]}") == 0
    assert capsys.readouterr() == (
        f"{CHECKS}\tok\t3 entries\t2:{heads[CHECKS]}\n{DECISIONS}\tok\t1 entry\t0:{heads[DECISIONS]}\n",
        "",
    )


def test_verify_finds_an_edit(folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, with file and line, what was found and what was expected."""
    segment = _segment(folder)
    before = [parse_entry(line).sha256 for line in log.lines(CHECKS)]
    segment.write_bytes(segment.read_bytes().replace(b"user1", b"userX"))
    after = [parse_entry(line).sha256 for line in log.lines(CHECKS)]
    assert _run("verify", "--stream", CHECKS) == 1

    problem = (
        f"the link does not fit line 2: one of the two was changed: found qprev {before[1]}, expected qprev {after[1]}"
    )
    assert capsys.readouterr() == (f"{CHECKS}\tchanged\tline 3\t\n", f"error: {segment}:3: {problem}\n")


def test_verify_as_json_says_the_same(folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """State, place and problem of a changed stream; entries and head of a sound one; heads that are nowhere."""
    segment = _segment(folder)
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[1:]))
    (line,) = log.lines(DECISIONS)

    assert _run("verify", "--json", "--head", f"7:{'ab' * 32}") == 1
    assert json.loads(capsys.readouterr().out) == {
        "schema": "quarantine/audit-verify/1",
        "streams": [
            {
                "stream": CHECKS,
                "state": "changed",
                "line": 1,
                "place": f"{segment}:1",
                "problem": "entries are missing",
                "found": "qseq 1",
                "expected": "qseq 0",
            },
            {
                "stream": DECISIONS,
                "state": "ok",
                "head": {"seq": 0, "sha256": parse_entry(line).sha256},
                "entries": 1,
                "torn_bytes": 0,
                "clock_jumps": 0,
            },
        ],
        "missing_heads": [f"7:{'ab' * 32}"],
    }


def test_verify_misses_a_tail_that_was_cut_only_without_its_head(
    folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head that a verdict printed, with or without its stream, holds the log to it."""
    sha256 = parse_entry(list(log.lines(CHECKS))[-1]).sha256
    segment = _segment(folder)
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:2]))

    assert _run("verify") == 0
    capsys.readouterr()
    assert _run("verify", "--head", f"2:{sha256}") == 1
    assert capsys.readouterr().err == (
        f"error: the head 2:{sha256} is in no verified stream: entries are missing, or were replaced\n"
    )
    assert _run("verify", "--head", f"{CHECKS}@2:{sha256}") == 1
    assert capsys.readouterr().err == (
        f"error: {segment}:3: the end of the log is missing: found 2 entries, expected entry 2 of the head\n"
    )


def test_verify_misses_a_stream_that_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head of it is proof enough that it was there."""
    assert _run("verify", "--head", f"{CHECKS}@2:{'ab' * 32}") == 1
    assert capsys.readouterr().err == (
        f"error: {_segment(folder).parent}: the end of the log is missing: found 0 entries, expected entry 2 of the head\n"
    )


def test_verify_tells_of_a_torn_tail_and_of_clocks(
    folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither is an edit; both are worth a look."""
    for number in range(24):
        log.append(DECISIONS, [draft(20 + number, time=NOON - timedelta(days=number % 2 * 2))])
    with _segment(folder).open("ab") as file:
        file.write(b'{"data')

    assert _run("verify") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        f"warning: {CHECKS}: a torn tail of 6 bytes, left by a writer that was stopped: the next append moves it aside"
    )
    assert lines[1] == (
        f"warning: {DECISIONS}: line 3: 2026-11-21T12:00:00Z is 2 days, 0:00:00 before the entry above it"
    )
    assert lines[-1] == f"warning: {DECISIONS}: 2 entries more whose time doesn't fit"


def test_verify_of_nothing_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3: no log is not a clean log."""
    assert _run("verify") == 3
    assert capsys.readouterr() == ("", "error: there is no audit log yet: nothing was verified\n")


def test_verify_of_what_can_not_be_read_goes_on_with_the_rest(
    folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, unless something else was proven to be changed."""
    segment = _segment(folder)
    segment.unlink()
    segment.mkdir()

    assert _run("verify") == 3
    out, err = capsys.readouterr()
    assert out.startswith(f"{DECISIONS}\tok\t1 entry\t0:")
    assert err == f"error: the audit log {segment.parent}: 00000000.jsonl is not a regular file\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("verify", "--head", "41"),
            "--head: '41' is not a head: expected [STREAM@]SEQ:SHA256, as a verdict prints it",
        ),
        (
            ("list", "--since", "soon"),
            "--since 'soon': expected a day or a time, as in 2026-11-23 or 2026-11-23T12:00Z",
        ),
        (("list", "--stream", "x"), f"--stream 'x': no such stream; there are: {CHECKS}, {DECISIONS}"),
        (("export", "--stream", "x"), f"--stream 'x': no such stream; there are: {CHECKS}, {DECISIONS}"),
    ],
)
def test_bad_options_are_usage_errors(
    log: LocalLog, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    """Exit 2, with what was expected."""
    assert _run(*arguments) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_export_writes_the_stored_bytes(folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """To a file of one's own, stream after stream; what was taken from which stream is told."""
    out = folder / "log.jsonl"

    assert _run("export", "--out", str(out)) == 0
    assert out.read_bytes() == b"".join(line for stream in log.streams() for line in log.lines(stream))
    assert out.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr() == ("", f"{CHECKS}: 3 entries\n{DECISIONS}: 1 entry\n")


def test_export_to_standard_output_has_the_same_values(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document a line, for the entries asked for."""
    assert _run("export", "--since", "2026-11-22") == 0

    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown == [json.loads(list(log.lines(CHECKS))[2]), json.loads(next(log.lines(DECISIONS)))]


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("export", "--out", "log.jsonl")])
def test_a_changed_log_is_neither_shown_nor_exported(
    folder: Path, log: LocalLog, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """Exit 3 with the line of it, and no file is left behind, whole or half."""
    segment = _segment(folder)
    segment.write_bytes(segment.read_bytes().replace(b'"qseq":1', b'"qseq":2'))
    before = sorted(folder.iterdir())

    assert _run(*command) == 3
    problem = "entries are missing: found qseq 2, expected qseq 1: stop and look"
    assert capsys.readouterr() == ("", f"error: the audit log {CHECKS} was changed at line 2: {problem}\n")
    assert sorted(folder.iterdir()) == before


def test_an_export_that_can_not_be_written_says_so(log: LocalLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, with the file and the reason."""
    assert _run("export", "--out", "missing/log.jsonl") == 3
    assert capsys.readouterr() == ("", "error: missing/log.jsonl can't be written: no such file or directory\n")
