"""Attacks on the audit log, through the command line: every kind of edit is found, and clocks that run backwards."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from house import NOW, House
from osv_records import before

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
STREAM = "log-checks/demo-2026-11"
Lines = list[bytes]


@pytest.fixture
def logged(home: House) -> House:
    """A project whose log has six verdicts."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    for number in range(6):
        assert home.check("requirements.txt", now=NOW + timedelta(minutes=number)).status == 0
    return home


def _segment(home: House) -> Path:
    (segment,) = (home.folder / ".quarantine/log" / STREAM).glob("*.jsonl")
    return segment


EDITS: dict[str, tuple[Callable[[Lines], Lines], int]] = {
    "a value changed": (lambda lines: [*lines[:2], lines[2].replace(b'"allowed"', b'"denied"'), *lines[3:]], 4),
    "a value changed in the first": (lambda lines: [lines[0].replace(b"demo", b"demi"), *lines[1:]], 2),
    "blanks added": (lambda lines: [*lines[:2], lines[2].replace(b",", b", "), *lines[3:]], 3),
    "an entry taken out": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "the first taken out": (lambda lines: lines[1:], 1),
    "two entries swapped": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
    "all reversed": (lambda lines: lines[::-1], 1),
    "an entry repeated": (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
    "an entry of another place put in": (lambda lines: [*lines[:3], lines[0], *lines[3:]], 4),
    "an empty line put in": (lambda lines: [*lines[:3], b"\n", *lines[3:]], 4),
    "rubbish put in": (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], 4),
    "rubbish added": (lambda lines: [*lines, b"not an entry\n"], 7),
    "a sequence number changed": (
        lambda lines: [*lines[:3], lines[3].replace(b'"qseq":3', b'"qseq":4'), *lines[4:]],
        4,
    ),
    "line ends changed": (lambda lines: [line.replace(b"\n", b"\r\n") for line in lines], 1),
    "two lines joined": (lambda lines: [*lines[:2], lines[2].rstrip(b"\n"), *lines[3:]], 3),
    "a NUL put in": (lambda lines: [*lines[:2], b"\0" + lines[2], *lines[3:]], 3),
    "keys repeated": (lambda lines: [*lines[:2], lines[2].replace(b"{", b'{"data":{},', 1), *lines[3:]], 3),
}


@pytest.mark.parametrize(("edit", "line"), EDITS.values(), ids=EDITS)
def test_an_edit_is_found_at_its_line(logged: House, edit: Callable[[Lines], Lines], line: int) -> None:
    """`audit verify` ends with 1 and names file and line; nothing shows or exports such a log, or repairs it."""
    segment = _segment(logged)
    lines = segment.read_bytes().splitlines(keepends=True)
    edited = edit(lines)
    assert edited != lines
    segment.write_bytes(b"".join(edited))

    verified, exported = logged.run("audit", "verify"), logged.run("audit", "export")

    assert (verified.status, exported.status) == (1, 3)
    assert verified.out == f"{STREAM}\tchanged\tline {line}\t\n"
    assert verified.err.startswith(f"error: {segment}:{line}: ")
    assert segment.read_bytes() == b"".join(edited)


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_a_cut_tail_is_found_by_the_head_that_a_verdict_printed(logged: House, kept: int) -> None:
    """A shorter log is sound in itself; the head, which stands in every verdict, shows what is gone."""
    printed = logged.check("requirements.txt", now=NOW + timedelta(hours=1)).json["audit"]
    head = f"{printed['seq']}:{printed['sha256']}"
    whole = logged.run("audit", "verify", "--head", head)
    segment = _segment(logged)
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:kept]))

    cut = logged.run("audit", "verify", "--head", head)
    named = logged.run("audit", "verify", "--head", f"{STREAM}@{head}")

    assert [ran.status for ran in (whole, cut, named)] == [0, 1, 1]
    assert f"{head} is in no verified stream" in cut.err


def test_a_log_that_was_written_anew_does_not_have_the_head(logged: House) -> None:
    """Whoever may write to the folder can replace all of it, but can't make the printed head come out."""
    printed = logged.check("requirements.txt", now=NOW + timedelta(hours=1)).json["audit"]
    _segment(logged).unlink()
    for number in range(8):
        logged.check("requirements.txt", now=NOW + timedelta(hours=1, minutes=number))

    ran = logged.run("audit", "verify", "--head", f"{printed['seq']}:{printed['sha256']}")

    assert ran.status == 1


def test_a_torn_tail_is_told_and_recovered(logged: House) -> None:
    """What a killed writer left is no edit: it is moved aside, reported in the log, and the next verdict counts."""
    segment = _segment(logged)
    with segment.open("ab") as file:
        file.write(b'{"data":{"act')

    before_it = logged.run("audit", "verify")
    ran = logged.check("requirements.txt", now=NOW + timedelta(hours=1))
    after = logged.run("audit", "verify")
    listed = logged.run("audit", "list")

    assert (before_it.status, ran.status, after.status) == (0, 0, 0)
    assert "a torn tail of 13 bytes" in before_it.err
    assert ran.json["audit"]["seq"] == 7
    assert "log.recovered" in listed.out


def test_no_verdict_is_added_to_a_log_whose_end_is_no_entry(logged: House) -> None:
    """A last line that ends in a newline and is no entry wasn't left by a crash: undecided, and nothing is written."""
    segment = _segment(logged)
    segment.write_bytes(segment.read_bytes() + b'{"data":{}}\n')
    stored = segment.read_bytes()

    ran = logged.check("requirements.txt", "--lock", "pylock.toml")

    assert (ran.status, ran.json["preconditions"][-1]["rule"]) == (3, "audit-log")
    assert segment.read_bytes() == stored
    assert not (logged.folder / "pylock.toml").exists()


def test_every_verdict_is_in_the_log(logged: House) -> None:
    """Allowed, denied and undecided, each with policy, advisories, reasons and the digest of the whole verdict."""
    logged.index.add_sdist("built", "1.0")
    logged.write("denied.txt", "built\n")
    denied = logged.check("denied.txt", now=NOW + timedelta(hours=1))
    undecided = logged.check("requirements.txt", "--expect-policy", "0" * 64, now=NOW + timedelta(hours=1))

    entries = [line for line in logged.run("audit", "export").out.splitlines() if line]

    assert [ran.status for ran in (denied, undecided)] == [1, 3]
    assert len(entries) == 8
    assert '"outcome":"denied"' in entries[6]
    assert '"rule":"source-only"' in entries[6]
    assert '"outcome":"undecided"' in entries[7]
    for entry, ran in zip(entries[6:], (denied, undecided), strict=True):
        assert ran.json["policy"]["sha256"] in entry
    assert denied.json["advisories"]["sha256"] in entries[6]
    # under a policy that nobody expects, nobody is asked
    assert (undecided.json["advisories"], '"advisories":null' in entries[7]) == (None, True)


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_clocks_may_differ_by_five_minutes(logged: House) -> None:
    """Two machines write one stream; neither is refused, and nothing is said about it."""
    logged.check("requirements.txt", now=NOW + timedelta(hours=1))

    ran = logged.check("requirements.txt", now=NOW + timedelta(minutes=55))

    assert ran.status == 0
    assert logged.run("audit", "verify", now=NOW + timedelta(hours=1)).err == ""


def test_a_clock_that_ran_backwards_stands_in_the_log(logged: House) -> None:
    """`audit verify` tells every entry that is dated before the one above it."""
    logged.check("requirements.txt", now=NOW + timedelta(hours=1))
    logged.check("requirements.txt", now=NOW)

    ran = logged.run("audit", "verify", now=NOW + timedelta(hours=2))

    assert ran.err == (f"warning: {STREAM}: line 8: 2026-11-23T12:00:00Z is 1:00:00 before the entry above it\n")


def test_a_clock_that_runs_backwards_decides_nothing(logged: House) -> None:
    """An entry that is more than five minutes newer than now: one of the clocks lies, so no age or expiry can be told."""
    logged.check("requirements.txt", now=NOW + timedelta(hours=1))

    ran = logged.check("requirements.txt", "--lock", "pylock.toml", now=NOW)

    assert (ran.status, ran.json["verdict"]) == (3, "undecided")
    assert not (logged.folder / "pylock.toml").exists()


@pytest.mark.parametrize("kind", ["changed", "taken away"])
def test_evidence_that_is_not_what_it_was_is_found(logged: House, kind: str) -> None:
    """An entry names the whole verdict by its sha256: without it, or with another one, the log proves less."""
    (file, *_) = sorted((logged.folder / ".quarantine/verdicts/sha256").iterdir())
    assert logged.run("audit", "verify").status == 0
    if kind == "changed":
        file.write_bytes(file.read_bytes().replace(b"denied", b"alowed").replace(b"allowed", b"denied!"))
    else:
        file.unlink()

    ran = logged.run("audit", "verify")

    assert ran.status == 1
    assert f"error: {STREAM}: entry " in ran.err
    assert file.name in ran.err


def test_a_check_writes_only_where_verdicts_go(logged: House) -> None:
    """Whoever may check needs no right where the publisher and curators write, so they can take no name there."""
    written = {path.split("/")[1] for path in logged.stored() if path.startswith(".quarantine/")}

    assert written - {"advisories.sqlite", "advisories.sqlite.lock"} == {"log", "verdicts"}


def test_a_verdict_from_before_there_were_verdicts_counts(logged: House) -> None:
    """It lies in `evidence`: other bytes under its digest in `verdicts` are told, and don't take it away."""
    verdicts, evidence = (logged.folder / ".quarantine" / name / "sha256" for name in ("verdicts", "evidence"))
    evidence.mkdir(parents=True)
    for file in verdicts.iterdir():
        file.rename(evidence / file.name)
    (first, *_) = sorted(evidence.iterdir())
    junk = f"{verdicts / first.name} holds other bytes than its name says: stop and look who changed it\n"

    before = logged.run("audit", "verify")
    (verdicts / first.name).write_bytes(b"something else")
    after = logged.run("audit", "verify")
    first.unlink()
    alone = logged.run("audit", "verify")
    (verdicts / first.name).unlink()
    gone = logged.run("audit", "verify")

    assert (before.status, before.err) == (0, "")
    warned = re.fullmatch(rf"warning: {STREAM}: entry \d+, whose evidence is whole elsewhere: (.+\n)", after.err)
    assert (after.status, warned and warned[1]) == (0, junk)
    assert alone.status == 1
    assert re.fullmatch(rf"error: {STREAM}: entry \d+: {re.escape(junk)}", alone.err)
    assert gone.status == 1
    assert f"verdicts/sha256:{first.name} can't be read: no such file or directory\n" in gone.err
