"""`quarantine advisories sync` and `status`, from the command line to the exit status."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from osv_records import before, bundle, record
from servers import Answer, WebServer

from quarantine.adapters.osv import OsvDatabase
from quarantine.cli.main import main

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
MALWARE = record("MAL-1", {"package": {"ecosystem": "PyPI", "name": "evil"}})
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty project and gives its status, output and messages."""
    monkeypatch.chdir(tmp_path)

    def command(*argv: str, now: datetime = NOW) -> tuple[int, str, str]:
        status = main(["advisories", *argv], now=now, environ={})
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "all.zip"
    path.write_bytes(bundle(before("CVE-1", "a", "2"), MALWARE))
    return path


def _described(database: Path, age: str = "2 h") -> str:
    sha256 = OsvDatabase(database).snapshot().sha256
    return (
        f"as of: 2026-11-20T08:00:00Z ({age} old)\nrecords: 1 malware, 1 osv\ncomplete: yes\nsha256: {sha256}\n"
    )  # fmt: skip


def test_sync_says_what_it_read(run: Run, tmp_path: Path, archive: Path) -> None:
    """The source, its age, its counts, and where it lies now; no word on standard error."""
    database = tmp_path / ".quarantine" / "advisories.sqlite"

    assert run("sync", "--from", "all.zip") == (
        0,
        f"read: all.zip\n{_described(database)}withdrawn: 0\ndatabase: {database}\n",
        "",
    )


def test_sync_reads_the_configured_source(run: Run, tmp_path: Path) -> None:
    """Over HTTP, and asks only for what has changed."""
    body = bundle(before("CVE-1", "a", "2"), MALWARE)
    with WebServer() as server:
        server.script(
            "/all.zip",
            Answer(headers={"ETag": '"1"', "Last-Modified": "Fri, 20 Nov 2026 08:00:00 GMT"}, body=body),
            Answer(status=304),
        )
        (tmp_path / "quarantine.yaml").write_text(
            f"version: 1\nproject: demo\nadvisories: {{source: '{server.origin}/all.zip'}}\n"
        )

        first, second = run("sync"), run("sync")

    described = _described(tmp_path / ".quarantine" / "advisories.sqlite")
    assert (first[0], first[1].splitlines()[0]) == (0, f"read: {server.origin}/all.zip")
    assert (second[0], second[1].splitlines()[0]) == (0, f"unchanged: {server.origin}/all.zip")
    assert described in first[1]
    assert described in second[1]


def test_sync_of_a_source_that_is_not_there_is_a_usage_error(run: Run) -> None:
    """Exit 2, one line."""
    assert run("sync", "--from", "nowhere") == (
        2,
        "",
        "error: nowhere: no such file or folder: expected a zip, a folder of JSON files or an https URL\n",
    )


def test_sync_with_unreadable_records_is_not_done(run: Run, tmp_path: Path) -> None:
    """They are named, escaped, and the status is that of missing evidence."""
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "good.json").write_bytes(MALWARE)
    (folder / "\x1b[2Jbad.json").write_bytes(b"[]")

    status, out, said = run("sync", "--from", "records")

    assert (status, "complete: no\n" in out) == (3, True)
    assert said == (
        "error: 1 records could not be read: no verdict can stand on this database\n"
        "error: \\x1b[2Jbad.json: not an OSV record: Expected `object`, got `array`\n"
    )


def test_status_of_a_fresh_database_is_good(run: Run, tmp_path: Path, archive: Path) -> None:
    """Where it is, its age and its counts."""
    run("sync", "--from", "all.zip")
    database = tmp_path / ".quarantine" / "advisories.sqlite"

    assert run("status") == (0, f"database: {database}\n{_described(database)}", "")


def test_status_of_an_old_database_is_missing_evidence(run: Run, tmp_path: Path, archive: Path) -> None:
    """Exit 3, with what to do; a leave in the configuration is announced and makes it good."""
    run("sync", "--from", "all.zip")
    database = tmp_path / ".quarantine" / "advisories.sqlite"
    later = NOW + timedelta(days=30)

    status, out, said = run("status", now=later)
    (tmp_path / "quarantine.yaml").write_text("version: 1\nproject: demo\nadvisories: {accept_age_until: 2027-01-31}\n")
    accepted = run("status", now=later)

    assert (status, out) == (3, f"database: {database}\n{_described(database, '30 days')}")
    assert said.startswith("error: ")
    assert accepted == (
        0,
        f"database: {database}\n{_described(database, '30 days')}age accepted until: 2027-02-01T00:00:00Z\n",
        "",
    )


def test_status_without_a_database_is_missing_evidence(run: Run, tmp_path: Path) -> None:
    """Exit 3, and the command that mends it."""
    database = tmp_path / ".quarantine" / "advisories.sqlite"

    assert run("status") == (
        3,
        "",
        f"error: {database}: there is no advisory database: run `quarantine advisories sync`\n",
    )


@pytest.mark.parametrize("command", [["sync"], ["status"]])
def test_help_has_examples(run: Run, command: list[str]) -> None:
    """Every help text shows how the command is used."""
    status, out, _ = run(*command, "--help")

    assert (status, f"quarantine advisories {command[0]}" in out.partition("Examples:")[2]) == (0, True)


def test_sync_without_access_says_that_a_copy_will_do(run: Run) -> None:
    """Exit 3, with the option that reads a copy of the source from somewhere else."""
    with WebServer() as server:
        source = f"{server.origin}/all.zip"
        server.script("/all.zip", Answer(status=403))
        status, _, err = run("sync", "--from", source)

    assert status == 3
    assert err.splitlines()[-1] == (
        "error: a copy of it can be read, too: quarantine advisories sync --from ZIP|FOLDER|URL"
    )
