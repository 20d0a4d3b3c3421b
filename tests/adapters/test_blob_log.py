"""The audit log as append blobs: what lies where, what is lost on the way, and what is refused."""

from collections.abc import Callable

import pytest
from azurite import Azurite
from fakes_log import draft
from lossy_proxy import lossy_proxy
from servers import Answer, Asked, WebServer

from quarantine.adapters.blob_log import MAX_BLOCK_BYTES, BlobLog
from quarantine.audit.chain import Head, Place, Verified, extend, verify
from quarantine.audit.record import encode_entry
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.azure import BlobAccount, account_of_connection
from quarantine.io.segments import LARGEST_SEGMENT, ROLL_BYTES

STREAM = "log-checks/ml"
ONE = 306
"""The length of one of `draft`'s lines, or a little more."""


@pytest.fixture
def account(azurite: Azurite) -> BlobAccount:
    return azurite.storage()


def written(account: BlobAccount, entries: int, **options: int) -> BlobLog:
    log = BlobLog(account, **options)
    for number in range(entries):
        log.append(STREAM, [draft(number)])
    return log


def blobs(account: BlobAccount) -> dict[str, tuple[int, bool]]:
    """By name, the number of lines, and whether it is sealed."""
    container = account.plain("log-checks")
    return {
        blob.name: (
            container.download_blob(blob.name, offset=None).readall().count(b"\n"),
            bool(blob.is_append_blob_sealed),
        )
        for blob in container.list_blobs()
    }


# --- layout -----------------------------------------------------------------------------------------------------------


def test_a_segment_holds_the_lines_and_nothing_else(account: BlobAccount) -> None:
    """The same bytes as a local log's."""
    written(account, 3)

    chained = extend(STREAM, None, [draft(number) for number in range(3)])
    data = account.plain("log-checks").download_blob("ml/00000000.jsonl").readall()
    assert data == b"".join(line for line, _ in chained)


def test_full_segments_are_sealed(account: BlobAccount) -> None:
    """The next one is named after its first entry, and the chain goes on over all of them."""
    log = written(account, 8, max_segment_entries=3)

    assert blobs(account) == {
        "ml/00000000.jsonl": (3, True),
        "ml/00000003.jsonl": (3, True),
        "ml/00000006.jsonl": (2, False),
    }
    result = verify(STREAM, log.lines(STREAM))
    assert isinstance(result, Verified)
    assert result.entries == 8
    assert log.torn_bytes(STREAM) == 0


def test_after_a_seal_the_next_segment_begins(account: BlobAccount) -> None:
    """Whoever sealed the last one, and however few entries it has."""
    log = written(account, 2)
    account.plain("log-checks").get_blob_client("ml/00000000.jsonl").seal_append_blob()
    log.append(STREAM, [draft(2)])

    assert blobs(account) == {"ml/00000000.jsonl": (2, True), "ml/00000002.jsonl": (1, False)}


def test_an_empty_segment_is_used(account: BlobAccount) -> None:
    """A writer that was stopped between making a segment and its first line leaves it to the next one."""
    log = written(account, 2)
    container = account.plain("log-checks")
    container.get_blob_client("ml/00000000.jsonl").seal_append_blob()
    container.get_blob_client("ml/00000002.jsonl").create_append_blob()

    latest = log.latest(STREAM)
    assert latest is not None
    assert latest.seq == 1
    (receipt,) = log.append(STREAM, [draft(2)])
    assert receipt.seq == 2
    assert blobs(account) == {"ml/00000000.jsonl": (2, True), "ml/00000002.jsonl": (1, False)}


@pytest.mark.parametrize(("line", "place"), [(1, "00000000.jsonl:1"), (4, "00000003.jsonl:1"), (6, "00000003.jsonl:3")])
def test_a_line_has_a_place(account: BlobAccount, line: int, place: str) -> None:
    """Blob and line in it, also of the one that would come next."""
    log = written(account, 5, max_segment_entries=3)

    assert log.place(STREAM, line) == f"{account.url}/{account.prefix}{STREAM}/{place}"


def test_other_blobs_are_no_streams(account: BlobAccount) -> None:
    """What else lies in a container is left alone."""
    log = written(account, 1)
    for name in ("README", "ml/notes.txt", "Upper/00000000.jsonl"):
        account.plain("log-checks").upload_blob(name, b"x")

    assert log.streams() == (STREAM,)
    assert len(list(log.lines(STREAM))) == 1


def test_more_than_a_block_holds_goes_in_several(account: BlobAccount) -> None:
    """Each block is as full as it can be; the receipts are of all of them."""
    log = BlobLog(account, max_block_bytes=3 * (ONE + 20))
    receipts = log.append(STREAM, [draft(number) for number in range(8)])

    properties = account.plain("log-checks").get_blob_client("ml/00000000.jsonl").get_blob_properties()
    assert properties.append_blob_committed_block_count == 3
    assert [receipt.seq for receipt in receipts] == list(range(8))


def test_a_long_log_is_read_while_it_grows(account: BlobAccount) -> None:
    """What was there when reading began comes whole, though a writer appends between two parts of it."""
    log = BlobLog(account)
    log.append(STREAM, [draft(number, data={"text": "x" * 32_000}) for number in range(200)])

    lines = log.lines(STREAM)
    first = next(lines)
    log.append(STREAM, [draft(200)])

    result = verify(STREAM, [first, *lines])
    assert isinstance(result, Verified)
    assert result.entries == 200
    assert len(log.tail(STREAM, Place()).lines) == 201


# --- what is lost on the way ------------------------------------------------------------------------------------------


def is_list(method: str, path: str) -> bool:
    return method == "GET" and "comp=list" in path


def is_append(method: str, path: str) -> bool:
    return method == "PUT" and "comp=appendblock" in path


def is_read(method: str, path: str) -> bool:
    return method == "GET" and "comp=list" not in path


@pytest.mark.parametrize("release", [is_list, is_read, is_append])
@pytest.mark.parametrize("entries", [0, 2])
def test_an_append_that_arrives_late_stands_once(
    azurite: Azurite, release: Callable[[str, str], bool], entries: int
) -> None:
    """Its connection broke; it reaches the service just before the writer's next question, whichever that is."""
    account = azurite.storage()
    written(account, entries)
    held: list[str] = []

    def draw(method: str, path: str) -> str | None:
        if not held and is_append(method, path):
            held.append(path)
            return "held"
        return "released" if held and release(method, path) else None

    with lossy_proxy(azurite.port, draw) as proxy:
        (receipt,) = BlobLog(azurite.storage(account.prefix, port=proxy.port)).append(STREAM, [draft(7)])

    assert proxy.faults["held"] == 1
    assert proxy.faults["released"] >= 1
    head = Head(seq=receipt.seq, sha256=receipt.sha256)
    assert verify(STREAM, BlobLog(account).lines(STREAM), heads=[head]) == Verified(
        stream=STREAM, entries=entries + 1, head=head
    )


@pytest.mark.parametrize("release", [is_list, is_read])
def test_an_append_that_arrives_late_and_lost_is_gone(azurite: Azurite, release: Callable[[str, str], bool]) -> None:
    """Somebody else's entry has its place by then: it is written behind that, once."""
    account = azurite.storage()
    other = written(account, 1)
    held: list[str] = []

    def draw(method: str, path: str) -> str | None:
        if not held and is_append(method, path):
            held.append(path)
            other.append(STREAM, [draft(1)])
            return "held"
        return "released" if held and release(method, path) else None

    with lossy_proxy(azurite.port, draw) as proxy:
        (receipt,) = BlobLog(azurite.storage(account.prefix, port=proxy.port)).append(STREAM, [draft(7)])

    assert proxy.answers["PUT", 412] == 1
    head = Head(seq=2, sha256=receipt.sha256)
    assert verify(STREAM, other.lines(STREAM)) == Verified(stream=STREAM, entries=3, head=head)


@pytest.mark.parametrize("fault", ["answer lost", "sent twice", "request lost"])
def test_one_fault_writes_nothing_twice(azurite: Azurite, fault: str) -> None:
    """Every kind of request of an append goes wrong once in the same way."""
    account = azurite.storage()
    seen: set[str] = set()

    def draw(method: str, path: str) -> str | None:
        kind = f"{method} {path.partition('?')[2]}"
        if kind in seen:
            return None
        seen.add(kind)
        return fault

    with lossy_proxy(azurite.port, draw) as proxy:
        log = BlobLog(azurite.storage(account.prefix, port=proxy.port), max_segment_entries=2)
        receipts = [log.append(STREAM, [draft(number)])[0] for number in range(5)]

    heads = [Head(seq=receipt.seq, sha256=receipt.sha256) for receipt in receipts]
    assert verify(STREAM, BlobLog(account).lines(STREAM), heads=heads) == Verified(
        stream=STREAM, entries=5, head=heads[-1]
    )


def test_an_append_without_an_answer_is_said_to_be_in_doubt(azurite: Azurite) -> None:
    """When the time is up, what isn't known is said not to be known."""
    account = azurite.storage()
    written(account, 1)

    with lossy_proxy(azurite.port, lambda method, path: "request lost" if is_append(method, path) else None) as proxy:
        log = BlobLog(azurite.storage(account.prefix, port=proxy.port), patience_seconds=0.3)
        with pytest.raises(UpstreamError) as caught:
            log.append(STREAM, [draft(1)])

    assert str(caught.value) == (
        f"the audit log {account.url.replace(str(azurite.port), str(proxy.port))}/{account.prefix}{STREAM} can't be "
        "written in 0.3 s (the connection broke off before the answer came): whether the entries are there is not known: "
        "look with `quarantine audit list`"
    )


# --- tampering --------------------------------------------------------------------------------------------------------


def test_a_line_without_its_end_is_tampering(account: BlobAccount) -> None:
    """No append leaves one: nothing is read over it, and nothing written behind it."""
    log = written(account, 2)
    account.plain("log-checks").get_blob_client("ml/00000000.jsonl").append_block(b"{")

    for ask in (
        lambda: log.append(STREAM, [draft(2)]),
        lambda: log.latest(STREAM),
        lambda: list(log.lines(STREAM)),
        lambda: log.torn_bytes(STREAM),
    ):
        with pytest.raises(IntegrityError, match="ends within a line"):
            ask()
    with pytest.raises(IntegrityError, match="ends within a line"):
        log.tail(STREAM, Place())


def test_a_line_that_is_no_entry_stops_the_writers(account: BlobAccount) -> None:
    """What can't be chained to isn't."""
    log = written(account, 1)
    account.plain("log-checks").get_blob_client("ml/00000000.jsonl").append_block(b"{}\n")

    with pytest.raises(IntegrityError, match=f"the audit log {account.url}"):
        log.append(STREAM, [draft(1)])


def test_a_log_that_was_made_anew_is_found_out(account: BlobAccount) -> None:
    """Emptied and written again, it isn't what a reader has seen before."""
    log = written(account, 3)
    tail = log.tail(STREAM, Place())
    latest = log.latest(STREAM)
    assert latest is not None
    place = Place(segment=0, offset=tail.offset, head=Head(seq=2, sha256=latest.sha256))
    account.plain("log-checks").get_blob_client("ml/00000000.jsonl").create_append_blob()

    with pytest.raises(IntegrityError, match="it was cut off: stop and look"):
        log.tail(STREAM, place)
    for number in range(10, 14):
        log.append(STREAM, [draft(number)])
    with pytest.raises(IntegrityError, match="it was replaced: stop and look"):
        log.tail(STREAM, place)


def test_another_kind_of_blob_is_no_segment(account: BlobAccount) -> None:
    """A blob that can be overwritten never counts as a log."""
    log = written(account, 1)
    account.plain("log-checks").upload_blob("ml/00000001.jsonl", b"x\n")

    with pytest.raises(IntegrityError, match="is no append blob"):
        log.append(STREAM, [draft(1)])
    with pytest.raises(IntegrityError, match="is no append blob"):
        list(log.lines(STREAM))


def test_a_number_has_one_name(account: BlobAccount) -> None:
    """A blob whose number is written in another way is no segment: it is left alone."""
    account.make("log-checks")
    container = account.plain("log-checks")
    for name in ("ml/000000000.jsonl", "ml/0000000001.jsonl"):
        container.get_blob_client(name).create_append_blob()
        container.get_blob_client(name).append_block(b"x\n")
    log = BlobLog(account)
    assert (list(log.lines(STREAM)), log.tail(STREAM, Place()).lines) == ([], ())

    log.append(STREAM, [draft(0)])
    log.append(STREAM, [draft(1)])

    result = verify(STREAM, log.lines(STREAM))
    assert isinstance(result, Verified)
    assert result.entries == 2
    assert log.tail(STREAM, Place()).lines == tuple(log.lines(STREAM))


def test_segments_roll_by_size(account: BlobAccount) -> None:
    """A segment at its limit gets no more lines; one block is never split over two."""
    log = BlobLog(account, max_segment_bytes=2 * ONE)
    for number in range(0, 9, 3):
        log.append(STREAM, [draft(number), draft(number + 1), draft(number + 2)])

    assert blobs(account) == {
        "ml/00000000.jsonl": (3, True),
        "ml/00000003.jsonl": (3, True),
        "ml/00000006.jsonl": (3, False),
    }


def test_a_segment_that_is_too_large_is_not_read(account: BlobAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading on refuses it by its size; its lines are given out up to what a segment can have."""
    assert ROLL_BYTES + MAX_BLOCK_BYTES < LARGEST_SEGMENT
    log = written(account, 3)
    lines = list(log.lines(STREAM))
    limit = len(lines[0]) + len(lines[1])
    for module in ("segments", "append_blobs"):
        monkeypatch.setattr(f"quarantine.io.{module}.LARGEST_SEGMENT", limit)

    with pytest.raises(IntegrityError) as error:
        log.tail(STREAM, Place())
    assert str(error.value) == (
        f"the audit log {account.url}/{account.prefix}{STREAM}: 00000000.jsonl has {limit + len(lines[2])} bytes, and no "
        f"append leaves more than {limit}: stop and look who did"
    )
    reading = log.lines(STREAM)
    assert [next(reading), next(reading)] == lines[:2]
    with pytest.raises(IntegrityError, match=f"and no append leaves more than {limit}"):
        next(reading)


def test_all_that_is_read_at_once_is_bounded(account: BlobAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many segments of a size that each may have are too much together."""
    log = written(account, 6, max_segment_entries=2)
    size = len(b"".join(log.lines(STREAM)))
    monkeypatch.setattr("quarantine.io.segments.LARGEST_TAIL", size)
    assert len(log.tail(STREAM, Place()).lines) == 6

    monkeypatch.setattr("quarantine.io.segments.LARGEST_TAIL", size - 1)
    with pytest.raises(IntegrityError) as error:
        log.tail(STREAM, Place())
    assert str(error.value) == (
        f"the audit log {account.url}/{account.prefix}{STREAM}: there are more than {size - 1} bytes to read at once up to "
        "segment 00000004, and no month has as many: stop and look who wrote them"
    )


def test_after_the_last_number_comes_none(account: BlobAccount) -> None:
    """An entry with the largest number that there is leaves no place: that is tampering, and no failure of the service."""
    log = written(account, 1)
    line = encode_entry(draft(1), seq=2**53 - 1, prev="0" * 64)
    account.plain("log-checks").get_blob_client("ml/00000000.jsonl").append_block(line)

    with pytest.raises(IntegrityError, match="no number is left after entry 9007199254740991: stop and look"):
        log.append(STREAM, [draft(1)])


def test_missing_segments_are_missed(account: BlobAccount) -> None:
    """A stream whose first segments are gone takes no more entries."""
    log = written(account, 3, max_segment_entries=3)
    container = account.plain("log-checks")
    container.get_blob_client("ml/00000003.jsonl").create_append_blob()
    container.delete_blob("ml/00000000.jsonl")

    with pytest.raises(IntegrityError, match="the segments before it are missing"):
        log.append(STREAM, [draft(3)])


_LISTED = b"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob><Name>ml/00000000.jsonl</Name>
<Properties><Content-Length>300</Content-Length><BlobType>AppendBlob</BlobType></Properties></Blob></Blobs><NextMarker/>
</EnumerationResults>"""


def test_a_blob_with_a_key_of_somebodys_own_is_tampering() -> None:
    """Nobody else can read it or write to it, which says nothing of the other streams."""

    def answer(asked: Asked) -> Answer:
        if "comp=list" in asked.path:
            return Answer(headers={"content-type": "application/xml"}, body=_LISTED)
        return Answer(status=409, headers={"x-ms-error-code": "BlobUsesCustomerSpecifiedEncryption"})

    with WebServer(answer) as server:
        text = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint={server.origin}/a;"
        log = BlobLog(account_of_connection(text, variable="STORE"), patience_seconds=0.1)
        for use in (
            lambda: log.append(STREAM, [draft()]),
            lambda: log.tail(STREAM, Place()),
            lambda: list(log.lines(STREAM)),
        ):
            with pytest.raises(IntegrityError) as caught:
                use()
            assert str(caught.value) == (
                f"the audit log {server.origin}/a/{STREAM}: a blob of it is encrypted with somebody's own key: no append "
                "made it, stop and look who did"
            )


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_an_error_of_the_store(azurite: Azurite) -> None:
    """Every question says so, and none repeats a part of the connection string."""
    key = "d3JvbmctY2FuYXJ5LWtleQ=="
    text = azurite.connection().replace(azurite.key, key)
    log = BlobLog(account_of_connection(text, variable="STORE"))

    for ask in (
        lambda: log.append(STREAM, [draft()]),
        lambda: list(log.lines(STREAM)),
        log.streams,
        lambda: log.latest(STREAM),
        lambda: log.tail(STREAM, Place()),
    ):
        with pytest.raises(UpstreamError, match="it answered 403 AuthorizationFailure") as caught:
            ask()
        assert key not in f"{caught.value} {caught.value.__cause__} {log!r}"


def test_a_store_that_is_not_there_is_said_to_be_missing() -> None:
    """No answer is an error with its reason, and never an empty log."""
    text = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:9/a;"
    log = BlobLog(account_of_connection(text, variable="STORE"), patience_seconds=0.1)

    with pytest.raises(UpstreamError) as caught:
        log.append(STREAM, [draft()])
    assert str(caught.value) == (
        "the audit log http://127.0.0.1:9/a/log-checks/ml can't be written in 0.1 s (it can't be reached: connection "
        "refused): no entry was written"
    )


def test_reading_makes_nothing(azurite: Azurite) -> None:
    """Containers are made by the first write alone."""
    account = azurite.storage()
    log = BlobLog(account)

    assert (log.streams(), list(log.lines(STREAM)), log.latest(STREAM)) == ((), [], None)
    assert list(account.containers("")) == []
    log.append(STREAM, [draft()])
    assert list(account.containers("")) == ["log-checks"]


def test_nobody_reads_without_a_key(azurite: Azurite) -> None:
    """The container is a private one."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    account = azurite.storage()
    written(account, 1)

    with pytest.raises(HTTPError) as caught:
        urlopen(f"{account.url}/{account.prefix}{STREAM}/00000000.jsonl")
    with caught.value as answer:
        assert answer.code in (401, 403, 404)
