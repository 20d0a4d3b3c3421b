"""The audit commands on a log in a storage account: the same answers as on a local one."""

import pytest
from azurite import Azurite, new_prefix
from fakes_log import draft
from house import House

from quarantine.adapters.blob_log import BlobLog
from quarantine.audit.chain import Head

STREAM = "log-checks/ml-2026-11"


@pytest.fixture
def log(home: House, azurite: Azurite) -> BlobLog:
    """A log of five entries in three segments, which the project's configuration names."""
    prefix = new_prefix()
    home.variables["STORE"] = azurite.connection()
    home.settings.append(f"store: {{connection: 'env:STORE', prefix: {prefix}}}")
    home.settle()
    log = BlobLog(azurite.storage(prefix), max_segment_entries=2)
    for number in range(5):
        log.append(STREAM, [draft(number)])
    return log


def test_a_remote_log_is_verified(home: House, log: BlobLog) -> None:
    """Up to its head, which is printed."""
    latest = log.latest(STREAM)
    assert latest is not None
    head = Head(seq=latest.seq, sha256=latest.sha256)
    ran = home.run("audit", "verify", "--head", f"{STREAM}@{head}")

    assert (ran.status, ran.err) == (0, "")
    assert "5 entries" in ran.out
    assert str(head) in ran.out


def test_a_remote_log_is_listed_and_exported(home: House, log: BlobLog) -> None:
    """The file has the stored bytes."""
    assert len(home.run("audit", "list", "--stream", STREAM, "--limit", "3").out.splitlines()) == 3
    assert home.run("audit", "export", "--out", "log.jsonl").status == 0
    assert (home.folder / "log.jsonl").read_bytes() == b"".join(log.lines(STREAM))


def test_a_remote_log_that_was_edited_is_found_out(home: House, log: BlobLog, azurite: Azurite) -> None:
    """Whoever may write blobs can put other bytes there, and is named by the very line."""
    container = log._account.plain("log-checks")
    blob = container.get_blob_client("ml-2026-11/00000002.jsonl")
    data = blob.download_blob().readall()
    blob.create_append_blob()
    blob.append_block(data.replace(b"numpy", b"nunpy", 1))
    ran = home.run("audit", "verify")

    assert ran.status == 1
    assert f"error: {log.place(STREAM, 4)}: the link does not fit line 3: one of the two was changed" in ran.err


def test_a_remote_log_that_is_out_of_reach_proves_nothing(home: House, log: BlobLog) -> None:
    """No answer is no verification, and no secret is in the message."""
    home.variables["STORE"] = "AccountName=a;AccountKey=Y2FuYXJ5;BlobEndpoint=http://127.0.0.1:9/a"
    ran = home.run("audit", "verify")

    assert (ran.status, ran.out) == (3, "")
    assert "connection refused" in ran.err
    assert "Y2FuYXJ5" not in ran.err
