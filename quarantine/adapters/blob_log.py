"""The audit log as append blobs of a storage account: one container a writer, one blob a segment, one line an entry.

    log-checks/ml-2026-11/00000000.jsonl     a segment, named after the number of its first entry

An append, in this order:

1. lists the stream's segments, and reads the last line of the last one, and no more, which must be an entry;
2. goes on to a new segment where that one is full or sealed: seals it as it stands, and makes the next (If-None-Match: *);
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

import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from quarantine.audit.chain import Head, Place, Tail, extend, head_of
from quarantine.audit.record import MAX_RECORD_BYTES, Draft, Entry, parse_entry, parse_stream
from quarantine.audit.resume import Part, needed, resume, start_of
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.azure import (
    ADD,
    READ,
    Backoff,
    BlobAccount,
    code_of,
    explain,
    is_transient,
    read_range,
    status_of,
    why,
)
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

_SEGMENT = re.compile(r"([0-9]{8,16})\.jsonl")
# an append that came too late, or to a segment that takes no more
_CLOSED = frozenset({"BlobIsSealed", "BlockCountExceedsLimit"})
_BEATEN = frozenset({"AppendPositionConditionNotMet", "ConditionNotMet"}) | _CLOSED


class _Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A blob of a stream: the number of the first entry that belongs into it, and how long it was when it was listed."""

    first: int
    size: int
    sealed: bool

    @property
    def name(self) -> str:
        return f"{self.first:08d}.jsonl"


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An append that was asked for: where, of which bytes, and what they prove once they are there."""

    segment: str
    position: int
    data: bytes
    receipts: tuple[Receipt, ...]


class BlobLog:
    """An audit log in a storage account, for any number of writers anywhere."""

    def __init__(
        self,
        account: BlobAccount,
        *,
        max_segment_entries: int = MAX_SEGMENT_ENTRIES,
        max_block_bytes: int = MAX_BLOCK_BYTES,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._account = account
        self._max_entries = max_segment_entries
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
            there = _segments(container, stream)
            wanted = needed(after, [segment.first for segment in there])
            parts: list[Part] = []
            for segment in there[len(there) - len(wanted) :]:
                size = segment.size if segment == there[-1] else _final_size(container, stream, segment)
                start = min(start_of(after), size) if segment.first == after.segment else 0
                data = _read(container, f"{_folder(stream)}/{segment.name}", start, size)
                parts.append(Part(segment=segment.first, start=start, data=data))
            return resume(after, parts)

    def latest(self, stream: str) -> Entry | None:
        """The stream's last entry, read from its end alone; None for an empty one. UpstreamError, IntegrityError."""
        with self._reading(stream) as container:
            for segment in reversed(_segments(container, stream)):
                if segment.size:
                    return parse_entry(_last_line(container, stream, segment, segment.size))
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
        attempt: _Attempt | None = None
        closed: frozenset[str] = frozenset()
        while True:
            try:
                there = _segments(container, stream)  # (1)
                # looked at after that, and not before: an append that arrives in between would count as somebody else's
                if attempt is not None and _landed(container, stream, attempt):
                    return attempt.receipts
                following = self._prepared(container, stream, there, drafts, closed)  # (2)
                if following is not None:
                    attempt = following
                    blob = container.get_blob_client(f"{_folder(stream)}/{attempt.segment}")
                    blob.append_block(attempt.data, appendpos_condition=attempt.position)  # (3)
                    return attempt.receipts
            except IntegrityError as error:
                raise IntegrityError(f"the audit log {self._url(stream)}: {error}") from error
            except AzureError as error:
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
        there: Sequence[_Segment],
        drafts: Sequence[Draft],
        closed: frozenset[str],
    ) -> _Attempt | None:
        """The append that comes next; None when others changed what it builds on. AzureError, IntegrityError."""
        head = _head(container, stream, there)
        count = 0 if head is None else head.seq + 1
        last = there[-1] if there else None
        sealed = last is not None and (last.sealed or last.name in closed)
        if last is not None and last.size and (sealed or count - last.first >= self._max_entries):
            if not sealed and not _seal(container, stream, last):
                return None
            last = None
        if last is None:
            last = _Segment(first=count, size=0, sealed=False)
            if not _make(container, stream, last):
                return None
        chained = _chained(stream, head, drafts)
        return _Attempt(
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
            there = _segments(container, stream)
            for segment in there:
                size = segment.size if segment == there[-1] else _final_size(container, stream, segment)
                for line in _read_lines(container, f"{_folder(stream)}/{segment.name}", size):
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
            explain(self._account, _container(stream), f"the audit log {stream} can't be read", READ, error)

    def _url(self, stream: str) -> str:
        return f"{self._account.url}/{self._account.prefix}{stream}"


# --- streams and segments ---------------------------------------------------------------------------------------------


def _container(stream: str) -> str:
    return stream.partition("/")[0]


def _folder(stream: str) -> str:
    return stream.partition("/")[2]


def _is_stream(text: str) -> bool:
    try:
        return parse_stream(text) == text
    except ValueError:
        return False


def _chained(stream: str, head: Head | None, drafts: Sequence[Draft]) -> tuple[tuple[bytes, Receipt], ...]:
    try:
        return extend(stream, head, drafts)
    except ValueError as error:
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


def _segments(container: "ContainerClient", stream: str) -> tuple[_Segment, ...]:
    """The segments of a stream in their order; blobs of other names are none. AzureError, IntegrityError."""
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # an extra

    folder = f"{_folder(stream)}/"
    found: list[_Segment] = []
    try:
        for blob in container.list_blobs(name_starts_with=folder):
            match = _SEGMENT.fullmatch(str(blob.name).removeprefix(folder))
            if match is None:
                continue
            if blob.blob_type != "AppendBlob":
                raise IntegrityError(f"{blob.name} is no append blob: no append made it, stop and look who did")
            sealed = bool(blob.is_append_blob_sealed)
            found.append(_Segment(first=int(match[1]), size=int(blob.size), sealed=sealed))
    except ResourceNotFoundError as error:
        if code_of(error) != "ContainerNotFound":
            raise
    return tuple(sorted(found, key=lambda segment: segment.first))


def _final_size(container: "ContainerClient", stream: str, segment: _Segment) -> int:
    """How long a segment is that another one follows: it may have grown while the segments were listed."""
    return int(container.get_blob_client(f"{_folder(stream)}/{segment.name}").get_blob_properties().size)


def _head(container: "ContainerClient", stream: str, there: Sequence[_Segment]) -> Head | None:
    """The last entry of the stream, None for an empty one. AzureError, IntegrityError."""
    if not there:
        return None
    last = there[-1]
    if last.size:
        return head_of(_last_line(container, stream, last, last.size))
    if len(there) == 1:
        if last.first != 0:
            raise IntegrityError(f"{last.name}: the segments before it are missing: stop and look")
        return None
    # its maker has not come to its first line yet, or never will
    before = there[-2]
    size = _final_size(container, stream, before)
    head = head_of(_last_line(container, stream, before, size))
    if head.seq + 1 != last.first:
        raise IntegrityError(f"{last.name}: entry {head.seq} is the last one before it: stop and look")
    return head


def _make(container: "ContainerClient", stream: str, segment: _Segment) -> bool:
    """Makes a segment's blob, False where it is there already. AzureError."""
    from azure.core import MatchConditions  # noqa: PLC0415  # an extra
    from azure.core.exceptions import AzureError  # noqa: PLC0415

    try:
        # without the condition this would empty a log that is there
        container.get_blob_client(f"{_folder(stream)}/{segment.name}").create_append_blob(
            match_condition=MatchConditions.IfMissing
        )
    except AzureError as error:
        # UnauthorizedBlobOverwrite: who may only add blobs named one that is there
        if code_of(error) in {"BlobAlreadyExists", "ConditionNotMet", "UnauthorizedBlobOverwrite"}:
            return False
        raise
    return True


def _seal(container: "ContainerClient", stream: str, segment: _Segment) -> bool:
    """Closes a segment as it stands; False where it has grown meanwhile. AzureError.

    Where that isn't ours to do, or the service can't, the segment stays open, and this is True all the same.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    try:
        container.get_blob_client(f"{_folder(stream)}/{segment.name}").seal_append_blob(
            appendpos_condition=segment.size
        )
    except AzureError as error:
        if code_of(error) in {"AppendPositionConditionNotMet", "ConditionNotMet"}:
            return False
        if status_of(error) in {400, 403, 405, 501}:
            return True
        raise
    return True


# --- bytes ------------------------------------------------------------------------------------------------------------


def _pieces(container: "ContainerClient", name: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a blob from `start` up to `end`, all of them. AzureError, IntegrityError when it is shorter."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    blob = container.get_blob_client(name)
    while start < end:
        try:
            piece = read_range(blob, start, end)
        except AzureError as error:
            if status_of(error) != 416:
                raise
            piece = b""
        if not piece:
            raise IntegrityError(f"{name} ends before byte {end}, where it ended before: it was cut off: stop and look")
        start += len(piece)
        yield piece


def _read(container: "ContainerClient", name: str, start: int, end: int) -> bytes:
    return b"".join(_pieces(container, name, start, end))


def _landed(container: "ContainerClient", stream: str, attempt: _Attempt) -> bool:
    """Whether the bytes of an append are where they were to be. AzureError when that can't be seen."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    blob = container.get_blob_client(f"{_folder(stream)}/{attempt.segment}")
    end = attempt.position + len(attempt.data)
    try:
        return read_range(blob, attempt.position, end) == attempt.data
    except AzureError as error:
        if status_of(error) == 416:  # it ends there
            return False
        raise


def _last_line(container: "ContainerClient", stream: str, segment: _Segment, size: int) -> bytes:
    """The last line of a segment, from its last bytes alone. IntegrityError when no append can have left it so."""
    data = _read(container, f"{_folder(stream)}/{segment.name}", max(0, size - 2 * MAX_RECORD_BYTES), size)
    if not data.endswith(b"\n"):
        raise IntegrityError(f"{segment.name} ends within a line: no append leaves it so, stop and look who did")
    line = data[data.rfind(b"\n", 0, -1) + 1 :]
    seq = head_of(line).seq
    if seq < segment.first:
        raise IntegrityError(f"{segment.name}: its last line is entry {seq}, which belongs elsewhere: stop and look")
    return line


def _read_lines(container: "ContainerClient", name: str, size: int) -> Iterator[bytes]:
    """The lines of a blob up to a size. AzureError, IntegrityError when it ends within one."""
    rest = b""
    for piece in _pieces(container, name, 0, size):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
        while len(rest) > MAX_RECORD_BYTES:
            yield rest[: MAX_RECORD_BYTES + 1]
            rest = rest[MAX_RECORD_BYTES + 1 :]
    if rest:
        raise IntegrityError(f"{name} ends within a line: no append leaves it so, stop and look who did")
