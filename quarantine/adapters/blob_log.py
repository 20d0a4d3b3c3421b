"""The audit log as append blobs of a storage account: one container a writer, one blob a segment, one line an entry.

    log-checks/ml-2026-11/00000000.jsonl     a segment, named after the number of its first entry

An append, in this order:

1. lists the stream's segments, and reads the last line of the last one, and no more, which must be an entry;
2. goes on to a new segment where that one is full (40,000 entries or 64 MiB) or sealed: seals it as it stands, and makes the next (If-None-Match: *);
3. appends the new lines in one block, on the condition that the segment is still as long as it was (412 otherwise);
4. answers.

A block is there whole or not at all. Whenever the answer to (3) is anything but a yes, the bytes at that position say
what happened, once the end of the stream is known again: where they are the new lines, they were written, once; where
they are others', the lost request can never succeed any more, and the append starts again behind them; where there are
none, the same bytes are sent again, and should the lost request arrive after all, one of the two fails by its condition.
So nothing is written twice and nothing forks, whatever is lost, late or sent twice on the way.

Who may only add can't seal. Then a full segment stays open, and it is the writers' common limit that keeps them off it.
A last line without its newline was left by no append: nothing is written after it.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quarantine.audit.chain import Head, Place, Tail, extend
from quarantine.audit.record import MAX_INTEGER, Draft, Entry, parse_entry, parse_stream
from quarantine.audit.resume import Part, needed, resume, start_of
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.append_blobs import (
    Attempt,
    BlobSegment,
    blobs_of,
    final_size,
    folder_of,
    landed,
    last_line,
    make_segment,
    own,
    read_bytes,
    read_lines,
    seal_segment,
    segments,
    stream_head,
)
from quarantine.io.azure import (
    ADD,
    READ,
    Backoff,
    BlobAccount,
    code_of,
    explain,
    is_transient,
    status_of,
    why,
)
from quarantine.io.segments import ROLL_BYTES, at_once, bounded
from quarantine.model import Receipt

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob import ContainerClient

__all__ = ["BlobLog"]

MAX_SEGMENT_ENTRIES = 40_000
"""Below the 50,000 blocks that an append blob may have; an append is one block and at least one entry."""
MAX_BLOCK_BYTES = 4 * 1024 * 1024
"""What one block may have in every version of the service (Microsoft's "Append Block")."""
PATIENCE_SECONDS = 120.0
WRITERS = ("log-checks", "log-decisions", "log-publish", "log-requests")
"""Where a log is looked for by whoever may not list an account's containers."""

# a segment takes no more
_CLOSED = frozenset({"BlobIsSealed", "BlockCountExceedsLimit"})
# or an append came too late
_BEATEN = frozenset({"AppendPositionConditionNotMet", "ConditionNotMet"}) | _CLOSED

# who may add blobs can add one with a key that they alone have (Microsoft's "Provide an encryption key on a request")
_KEYED = "BlobUsesCustomerSpecifiedEncryption"


class BlobLog:
    """An audit log in a storage account, for any number of writers anywhere."""

    def __init__(
        self,
        account: BlobAccount,
        *,
        max_segment_entries: int = MAX_SEGMENT_ENTRIES,
        max_segment_bytes: int = ROLL_BYTES,
        max_block_bytes: int = MAX_BLOCK_BYTES,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._account = account
        self._max_entries = max_segment_entries
        self._max_bytes = max_segment_bytes
        self._max_block = max_block_bytes
        self._patience = patience_seconds
        # the threads of one process take turns: losing to each other would cost them more
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """Writes the drafts as consecutive entries and answers when they are durable, or writes none.

        More of them than one block holds (4 MiB) are written block by block: each is consecutive and there whole or
        not at all, between two of them others' entries may stand, and an error says how many of the drafts are in the
        log. UpstreamError when they can't be written; IntegrityError when what is there is not a log.
        """
        sized = [(len(line), draft) for (line, _), draft in zip(_chained(stream, None, drafts), drafts, strict=True)]
        receipts: list[Receipt] = []
        for batch in _batches(sized, self._max_block):
            with self._turns[stream]:
                try:
                    receipts += self._append(stream, batch)
                except UpstreamError as error:
                    if not receipts:
                        raise
                    raise UpstreamError(
                        f"{error}; the first {len(receipts)} of {len(drafts)} are in the log"
                    ) from error
        return tuple(receipts)

    def streams(self, container: str | None = None) -> tuple[str, ...]:
        """The names of all streams, or of those of one container, sorted. UpstreamError."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        found: list[str] = []
        for one in self._containers() if container is None else [container] if _is_stream(f"{container}/x") else []:
            try:
                for item in self._account.patient(one).walk_blobs(delimiter="/"):
                    name = str(item.name)
                    if name.endswith("/") and _is_stream(f"{one}/{name[:-1]}"):
                        found.append(f"{one}/{name[:-1]}")
            except AzureError as error:
                if code_of(error) != "ContainerNotFound":
                    explain(self._account, one, "the streams of the audit log can't be listed", READ, error)
        return tuple(sorted(found))

    def lines(self, stream: str) -> Iterator[bytes]:
        """The stream's stored lines from the first on, each with its newline, unverified; none for an unknown stream.

        What is read is what was there when the first line was asked for, whatever writers do meanwhile. A line that is
        longer than an entry can be comes in pieces, which have no newline. UpstreamError, IntegrityError.
        """
        for _, line in self._numbered(stream):
            yield line

    def tail(self, stream: str, after: Place) -> Tail:
        """The stream's complete lines after the place, and the place behind them; none for an unknown stream.

        No segment before the place is read, and of its own one only the line before it, which must be that of the
        place's head. IntegrityError when the stream has less than the place says, or something else. UpstreamError.
        """
        with self._reading(stream) as container:
            there = segments(container, stream)
            wanted = needed(after, [segment.first for segment in there])
            parts = _parts(container, stream, there, after, len(wanted))
            return resume(after, tuple(at_once(parts)))

    def latest(self, stream: str) -> Entry | None:
        """The stream's last entry, read from its end alone; None for an empty one. UpstreamError, IntegrityError."""
        with self._reading(stream) as container:
            for segment in reversed(segments(container, stream)):
                if segment.size:
                    return parse_entry(last_line(container, stream, segment, segment.size))
        return None

    def torn_bytes(self, stream: str) -> int:
        """The length of an unfinished last line, which no append leaves here: 0. IntegrityError where there is one."""
        self.latest(stream)
        return 0

    def place(self, stream: str, line: int) -> str:
        """Where the stream's line of that number, counted from 1, stands or would stand: `BLOB:LINE`."""
        name, number = "", 0
        for count, (segment, _) in enumerate(self._numbered(stream), 1):
            name, number = segment, number + 1 if segment == name else 1
            if count == line:
                return f"{self._url(stream)}/{name}:{number}"
        return f"{self._url(stream)}/{name}:{number + 1}" if name else self._url(stream)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """One batch, until it is there: every failure is looked into, and what can be tried again is."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        container = self._account.plain(_container(stream))
        backoff = Backoff(self._patience)
        attempt: Attempt | None = None
        closed: frozenset[str] = frozenset()
        while True:
            try:
                there = segments(container, stream)  # (1)
                # looked at after that, and not before: an append that arrives in between would count as somebody else's
                if attempt is not None and landed(container, stream, attempt):
                    return attempt.receipts
                following = self._prepared(container, stream, there, drafts, closed)  # (2)
                if following is not None:
                    attempt = following
                    blob = container.get_blob_client(f"{folder_of(stream)}/{attempt.segment}")
                    blob.append_block(attempt.data, appendpos_condition=attempt.position)  # (3)
                    return attempt.receipts
            except IntegrityError as error:
                raise IntegrityError(f"the audit log {self._url(stream)}: {error}") from error
            except AzureError as error:
                if code_of(error) == _KEYED:
                    raise self._keyed(stream) from None
                if attempt is not None and code_of(error) in _CLOSED:
                    closed |= {attempt.segment}
                self._may_go_on(stream, error, backoff, in_doubt=attempt is not None)
            else:
                if not backoff.wait():
                    raise self._given_up(stream, "others were always faster", in_doubt=attempt is not None)

    def _prepared(
        self,
        container: "ContainerClient",
        stream: str,
        there: Sequence[BlobSegment],
        drafts: Sequence[Draft],
        closed: frozenset[str],
    ) -> Attempt | None:
        """The append that comes next; None when others changed what it builds on. AzureError, IntegrityError."""
        head = stream_head(container, stream, there)
        count = 0 if head is None else head.seq + 1
        last = there[-1] if there else None
        sealed = last is not None and (last.sealed or last.name in closed)
        full = last is not None and (count - last.first >= self._max_entries or last.size >= self._max_bytes)
        if last is not None and last.size and (sealed or full):
            if not sealed and not seal_segment(container, stream, last):
                return None
            last = None
        if last is None:
            last = BlobSegment(first=count, size=0, sealed=False)
            if not make_segment(container, stream, last):
                return None
        chained = _chained(stream, head, drafts)
        return Attempt(
            segment=last.name,
            position=last.size,
            data=b"".join(line for line, _ in chained),
            receipts=tuple(receipt for _, receipt in chained),
        )

    def _may_go_on(self, stream: str, error: "AzureError", backoff: Backoff, *, in_doubt: bool) -> None:
        """Waits where asking again may help; otherwise an UpstreamError. A missing container is made."""
        container, code = _container(stream), code_of(error)
        if code == "ContainerNotFound":
            self._account.make(container)
        elif code not in _BEATEN and not is_transient(error):
            explain(self._account, container, f"the audit log {stream} can't be written", ADD, error)
        if not backoff.wait():
            raise self._given_up(stream, why(error, ADD), in_doubt=in_doubt) from None

    def _given_up(self, stream: str, reason: str, *, in_doubt: bool) -> UpstreamError:
        doubt = (
            "whether the entries are there is not known: look with `quarantine audit list`"
            if in_doubt
            else "no entry was written"
        )
        return UpstreamError(
            f"the audit log {self._url(stream)} can't be written in {self._patience:g} s ({reason}): {doubt}"
        )

    # --- reading ------------------------------------------------------------------------------------------------------

    def _containers(self) -> Sequence[str]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        try:
            return [name for name in self._account.containers("log-") if _is_stream(f"{name}/x")]
        except AzureError as error:
            if status_of(error) == 403:
                return WRITERS  # whoever has a role on these alone; one of them that can't be read is an error
            explain(self._account, "log-", "the containers of the audit log can't be listed", READ, error)

    def _numbered(self, stream: str) -> Iterator[tuple[str, bytes]]:
        """The lines, each with its segment's name."""
        with self._reading(stream) as container:
            there = blobs_of(container, stream)
            for segment in map(own, there):
                size = segment.size if segment == there[-1] else final_size(container, stream, segment)
                for line in read_lines(container, f"{folder_of(stream)}/{segment.name}", size):
                    yield segment.name, line

    @contextmanager
    def _reading(self, stream: str) -> Iterator["ContainerClient"]:
        """A client of the stream's container, and errors as ours."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        try:
            parse_stream(stream)
        except ValueError as error:
            raise UpstreamError(f"the audit log can't be read: {error}") from error
        try:
            yield self._account.patient(_container(stream))
        except IntegrityError as error:
            raise IntegrityError(f"the audit log {self._url(stream)}: {error}") from error
        except AzureError as error:
            if code_of(error) == _KEYED:
                raise self._keyed(stream) from None
            explain(self._account, _container(stream), f"the audit log {stream} can't be read", READ, error)

    def _keyed(self, stream: str) -> IntegrityError:
        return IntegrityError(
            f"the audit log {self._url(stream)}: a blob of it is encrypted with somebody's own key: no append made it, "
            "stop and look who did"
        )

    def _url(self, stream: str) -> str:
        return f"{self._account.url}/{self._account.prefix}{stream}"


# --- streams and segments ---------------------------------------------------------------------------------------------


def _container(stream: str) -> str:
    return stream.partition("/")[0]


def _parts(
    container: "ContainerClient", stream: str, there: Sequence[BlobSegment], after: Place, count: int
) -> Iterator[Part]:
    """What the last so many segments hold, each read when it is asked for. AzureError, IntegrityError."""
    for segment in there[len(there) - count :]:
        size = bounded(segment.name, segment.size if segment == there[-1] else final_size(container, stream, segment))
        start = min(start_of(after), size) if segment.first == after.segment else 0
        data = read_bytes(container, f"{folder_of(stream)}/{segment.name}", start, size)
        yield Part(segment=segment.first, start=start, data=data)


def _is_stream(text: str) -> bool:
    try:
        return parse_stream(text) == text
    except ValueError:
        return False


def _chained(stream: str, head: Head | None, drafts: Sequence[Draft]) -> tuple[tuple[bytes, Receipt], ...]:
    try:
        return extend(stream, head, drafts)
    except ValueError as error:
        if head is not None and head.seq + len(drafts) > MAX_INTEGER:
            raise IntegrityError(f"no number is left after entry {head.seq}: stop and look who wrote it") from error
        raise UpstreamError(f"an entry can't be written to the audit log: {error}") from error


def _batches(sized: Sequence[tuple[int, Draft]], limit: int) -> Iterator[list[Draft]]:
    """The drafts in their order, as many at a time as fit into one block; each at least one."""
    batch, total = list[Draft](), 0
    for length, draft in sized:
        length += 16  # noqa: PLW2901  # a number in the log has more digits than the one it was measured with
        if batch and total + length > limit:
            yield batch
            batch, total = [], 0
        batch.append(draft)
        total += length
    if batch:
        yield batch
