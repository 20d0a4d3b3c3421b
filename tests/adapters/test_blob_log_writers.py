"""Many writers on one stream, over a network that loses, doubles and delays: nothing forks, nothing stands twice."""

import threading
from collections import Counter
from typing import TYPE_CHECKING

from azurite import Azurite
from fakes_log import draft
from lossy_proxy import FAULTS, at_random, lossy_proxy

from quarantine.adapters.blob_log import BlobLog
from quarantine.audit.chain import Head, Verified, verify
from quarantine.audit.record import parse_entry

if TYPE_CHECKING:
    from quarantine.model import Receipt

STREAM = "log-checks/ml-2026-11"
WRITERS, RECORDS, BATCH = 32, 100, 20


def test_32_writers_over_a_lossy_network(azurite: Azurite) -> None:
    """Every entry that was acknowledged is in the log once, as its receipt says, on one chain; and there is no other."""
    receipts: list[tuple[str, Receipt]] = []
    errors: list[BaseException] = []

    with lossy_proxy(azurite.port, at_random(20261123)) as proxy:
        reader = azurite.storage()

        def write(writer: int) -> None:
            # a client of its own: to the others it is another machine
            log = BlobLog(azurite.storage(reader.prefix, port=proxy.port), max_segment_entries=700)
            try:
                for first in range(0, RECORDS, BATCH):
                    drafts = [draft(writer * 1000 + number) for number in range(first, first + BATCH)]
                    written = log.append(STREAM, drafts)
                    receipts.extend([(one.id, receipt) for one, receipt in zip(drafts, written, strict=True)])
            except BaseException as error:  # noqa: BLE001  # told below
                errors.append(error)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert errors == []
    assert set(proxy.faults) == set(FAULTS)
    log = BlobLog(reader)
    heads = [Head(seq=receipt.seq, sha256=receipt.sha256) for _, receipt in receipts]
    result = verify(STREAM, log.lines(STREAM), heads=heads)
    assert isinstance(result, Verified), result
    assert result.entries == len(receipts) == WRITERS * RECORDS
    entries = [parse_entry(line) for line in log.lines(STREAM)]
    assert [count for count in Counter(entry.id for entry in entries).values() if count != 1] == []
    assert {(entry.id, entry.seq) for entry in entries} == {(one, receipt.seq) for one, receipt in receipts}
    # the entries of one append stand together
    numbers = {one: receipt.seq for one, receipt in receipts}
    batches = [receipts[start : start + BATCH] for start in range(0, len(receipts), BATCH)]
    assert [numbers[batch[-1][0]] - numbers[batch[0][0]] for batch in batches] == [BATCH - 1] * len(batches)
    blobs = list(reader.plain("log-checks").list_blobs())
    assert len(blobs) > 1
    assert [bool(blob.is_append_blob_sealed) for blob in blobs] == [True] * (len(blobs) - 1) + [False]
