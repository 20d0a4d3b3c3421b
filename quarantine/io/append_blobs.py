"""The segments of a stream of the audit log as append blobs: how they are found, read, made and sealed.

Everything takes the client of a stream's container. AzureError passes through, for the caller to look into.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from quarantine.audit.chain import Head, head_of
from quarantine.audit.record import MAX_RECORD_BYTES
from quarantine.errors import IntegrityError
from quarantine.io.azure import code_of, read_range, status_of
from quarantine.io.segments import LARGEST_SEGMENT, bounded, first_of
from quarantine.model import Receipt

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

__all__ = [
    "Attempt",
    "BlobSegment",
    "blobs_of",
    "final_size",
    "folder_of",
    "landed",
    "last_line",
    "make_segment",
    "own",
    "read_bytes",
    "read_lines",
    "seal_segment",
    "segments",
    "stream_head",
]


class BlobSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A blob of a stream: the number of the first entry that belongs into it, and how long it was when it was listed.

    `foreign` is one of such a name that no append can have made.
    """

    first: int
    size: int
    sealed: bool
    foreign: bool = False

    @property
    def name(self) -> str:
        """The last part of the blob's name."""
        return f"{self.first:08d}.jsonl"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An append that was asked for: where, of which bytes, and what they prove once they are there."""

    segment: str
    position: int
    data: bytes
    receipts: tuple[Receipt, ...]


def folder_of(stream: str) -> str:
    """What the names of a stream's blobs begin with, without the slash."""
    return stream.partition("/")[2]


def segments(container: "ContainerClient", stream: str) -> tuple[BlobSegment, ...]:
    """The segments of a stream in their order. AzureError; IntegrityError when one of them is something else."""
    found = blobs_of(container, stream)
    for segment in found:
        own(segment)
    return found


def own(segment: BlobSegment) -> BlobSegment:
    """The segment; IntegrityError for a blob that is none."""
    if segment.foreign:
        raise IntegrityError(f"{segment.name} is no append blob: no append made it, stop and look who did")
    return segment


def blobs_of(container: "ContainerClient", stream: str) -> tuple[BlobSegment, ...]:
    """What is called like a segment of the stream, in order; blobs of other names are none. AzureError."""
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # an extra

    folder = f"{folder_of(stream)}/"
    found: list[BlobSegment] = []
    try:
        for blob in container.list_blobs(name_starts_with=folder):
            first = first_of(str(blob.name).removeprefix(folder))
            if first is None:
                continue
            sealed, foreign = bool(blob.is_append_blob_sealed), blob.blob_type != "AppendBlob"
            found.append(BlobSegment(first=first, size=int(blob.size), sealed=sealed, foreign=foreign))
    except ResourceNotFoundError as error:
        if code_of(error) != "ContainerNotFound":
            raise
    return tuple(sorted(found, key=lambda segment: segment.first))


def final_size(container: "ContainerClient", stream: str, segment: BlobSegment) -> int:
    """How long a segment is that another one follows: it may have grown while the segments were listed."""
    return int(container.get_blob_client(f"{folder_of(stream)}/{segment.name}").get_blob_properties().size)


def stream_head(container: "ContainerClient", stream: str, there: Sequence[BlobSegment]) -> Head | None:
    """The last entry of the stream, None for an empty one. AzureError, IntegrityError."""
    if not there:
        return None
    last = there[-1]
    if last.size:
        return head_of(last_line(container, stream, last, last.size))
    if len(there) == 1:
        if last.first != 0:
            raise IntegrityError(f"{last.name}: the segments before it are missing: stop and look")
        return None
    # its maker has not come to its first line yet, or never will
    before = there[-2]
    size = final_size(container, stream, before)
    head = head_of(last_line(container, stream, before, size))
    if head.seq + 1 != last.first:
        raise IntegrityError(f"{last.name}: entry {head.seq} is the last one before it: stop and look")
    return head


def make_segment(container: "ContainerClient", stream: str, segment: BlobSegment) -> bool:
    """Makes a segment's blob, False where it is there already. AzureError."""
    from azure.core import MatchConditions  # noqa: PLC0415  # an extra
    from azure.core.exceptions import AzureError  # noqa: PLC0415

    try:
        # without the condition this would empty a log that is there
        container.get_blob_client(f"{folder_of(stream)}/{segment.name}").create_append_blob(
            match_condition=MatchConditions.IfMissing
        )
    except AzureError as error:
        # UnauthorizedBlobOverwrite: who may only add blobs named one that is there
        if code_of(error) in {"BlobAlreadyExists", "ConditionNotMet", "UnauthorizedBlobOverwrite"}:
            return False
        raise
    return True


def seal_segment(container: "ContainerClient", stream: str, segment: BlobSegment) -> bool:
    """Closes a segment as it stands; False where it has grown meanwhile. AzureError.

    Where that isn't ours to do, or the service can't, the segment stays open, and this is True all the same.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    try:
        container.get_blob_client(f"{folder_of(stream)}/{segment.name}").seal_append_blob(
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


def read_bytes(container: "ContainerClient", name: str, start: int, end: int) -> bytes:
    """The bytes of a blob from `start` up to `end`. AzureError, IntegrityError when it is shorter."""
    return b"".join(_pieces(container, name, start, end))


def landed(container: "ContainerClient", stream: str, attempt: Attempt) -> bool:
    """Whether the bytes of an append are where they were to be. AzureError when that can't be seen."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    blob = container.get_blob_client(f"{folder_of(stream)}/{attempt.segment}")
    end = attempt.position + len(attempt.data)
    try:
        return read_range(blob, attempt.position, end) == attempt.data
    except AzureError as error:
        if status_of(error) == 416:  # it ends there
            return False
        raise


def last_line(container: "ContainerClient", stream: str, segment: BlobSegment, size: int) -> bytes:
    """The last line of a segment, from its last bytes alone. IntegrityError when no append can have left it so."""
    data = read_bytes(container, f"{folder_of(stream)}/{segment.name}", max(0, size - 2 * MAX_RECORD_BYTES), size)
    if not data.endswith(b"\n"):
        raise IntegrityError(f"{segment.name} ends within a line: no append leaves it so, stop and look who did")
    line = data[data.rfind(b"\n", 0, -1) + 1 :]
    seq = head_of(line).seq
    if seq < segment.first:
        raise IntegrityError(f"{segment.name}: its last line is entry {seq}, which belongs elsewhere: stop and look")
    return line


def read_lines(container: "ContainerClient", name: str, size: int) -> Iterator[bytes]:
    """The lines of a blob up to a size. AzureError, IntegrityError when it ends within one.

    IntegrityError, too, behind those that a segment can have: what stands before them is read all the same.
    """
    rest = b""
    for piece in _pieces(container, name, 0, min(size, LARGEST_SEGMENT)):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
        while len(rest) > MAX_RECORD_BYTES:
            yield rest[: MAX_RECORD_BYTES + 1]
            rest = rest[MAX_RECORD_BYTES + 1 :]
    bounded(name, size)
    if rest:
        raise IntegrityError(f"{name} ends within a line: no append leaves it so, stop and look who did")
