"""The audit log as local files: one folder a stream, one or more segments in it, one line an entry.

    ROOT/log-checks/local-2026-11/00000000.jsonl          a segment, named after the number of its first entry
    ROOT/log-checks/local-2026-11/00000000.jsonl.torn-0   the end of an unfinished append, moved aside

An append, in this order:

1. takes the lock (flock) of the stream's folder;
2. reads the last line, and no more, which must be an entry;
3. moves an unfinished last line aside, to be reported in the log before anything else;
4. writes the new lines and waits until they are on the disk (fsync);
5. answers.

So an entry that was acknowledged survives a crash at any moment, and one that was not is there whole or not at all. Of
several entries appended at once a crash may keep the first few. A last line that ends in a newline but is no entry was
not left by a crash: nothing is repaired then, and nothing written. No link is followed from the root on.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quarantine.audit.chain import Head, Place, Tail, extend, head_of
from quarantine.audit.record import MAX_INTEGER, MAX_RECORD_BYTES, Draft, Entry, parse_entry, parse_stream
from quarantine.audit.resume import needed, resume, start_of
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.folders import locked, make_folder, make_root, names, open_file, open_folder, read_at
from quarantine.io.mounts import network_filesystem
from quarantine.io.segments import (
    LARGEST_APPEND,
    ROLL_BYTES,
    Ending,
    Segment,
    append_lines,
    at_once,
    move_aside,
    read_lines,
    read_part,
    recoveries,
    reported,
    segments,
    sync_file,
)
from quarantine.model import Receipt

__all__ = ["LocalLog"]

MAX_SEGMENT_ENTRIES = 40_000
LOCK_SECONDS = 30.0


class LocalLog:
    """An audit log in a folder of a local disk, for any number of threads and processes of one machine."""

    def __init__(
        self,
        root: Path,
        *,
        max_segment_entries: int = MAX_SEGMENT_ENTRIES,
        max_segment_bytes: int = ROLL_BYTES,
        lock_seconds: float = LOCK_SECONDS,
        mounts: Path = Path("/proc/self/mountinfo"),
    ) -> None:
        self._root = root.absolute()
        self._max_entries = max_segment_entries
        self._max_bytes = max_segment_bytes
        self._lock_seconds = lock_seconds
        self._mounts = mounts

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """Writes the drafts as consecutive entries and answers when they are on the disk, or writes none.

        UpstreamError when that can't be done; IntegrityError when what is there is not a log.
        """
        size = sum(len(line) for line, _ in _chained(stream, None, drafts))
        if size > LARGEST_APPEND:
            raise UpstreamError(
                f"{size} bytes can't be written to the audit log at once: expected {LARGEST_APPEND} at most"
            )
        if not drafts:
            return ()
        with self._translated(stream):
            self._refuse_network()
            folder = self._create(stream)
            with _closing(folder), _that_stream_alone(), locked(folder, shared=False, seconds=self._lock_seconds):
                # the first step is done: nobody else appends from here on
                return self._append(folder, stream, drafts)

    def streams(self, container: str | None = None) -> tuple[str, ...]:
        """The names of all streams, or of those of one container, sorted. UpstreamError, IntegrityError.

        A link that is called like a stream is one that can't be read: it says nothing of the others.
        """
        found: list[str] = []
        with self._translated(""):
            try:
                root = open_folder(self._root)
            except FileNotFoundError:
                return ()
            with _closing(root):
                for name in names(root):
                    if name.startswith("log-") and container in (None, name):
                        found += self._streams_of(root, name)
        return tuple(sorted(found))

    def lines(self, stream: str) -> Iterator[bytes]:
        """The stream's stored lines from the first on, each with its newline, unverified; none for an unknown stream.

        What is read is what was complete when the first line was asked for, whatever writers do meanwhile. The end of
        an unfinished append is not a line: see `torn_bytes`. A line that is longer than an entry can be comes in
        pieces, which have no newline. UpstreamError, IntegrityError.
        """
        for _, line in self._numbered(stream):
            yield line

    def tail(self, stream: str, after: Place) -> Tail:
        """The stream's complete lines after the place, and the place behind them; none for an unknown stream.

        No segment before the place is read, and of its own one only the line before it, which must be that of the
        place's head. IntegrityError when the stream has less than the place says, or something else. UpstreamError.
        """
        with self._reading(stream) as folder:
            if folder is None:
                needed(after, ())
                return Tail(lines=(), segment=0, offset=0)
            there, complete, _ = self._snapshot(folder, stream)
            wanted = needed(after, [segment.first for segment in there])
            parts = (
                read_part(
                    folder,
                    segment,
                    start_of(after) if segment.first == after.segment else 0,
                    complete if segment == there[-1] else None,
                )
                for segment in there[len(there) - len(wanted) :]
            )
            return resume(after, tuple(at_once(parts)))

    def latest(self, stream: str) -> Entry | None:
        """The stream's last complete entry, read from its end alone; None for an empty one."""
        with self._reading(stream) as folder:
            if folder is None:
                return None
            with locked(folder, shared=True, seconds=self._lock_seconds):
                for segment in reversed(segments(folder)):
                    file = open_file(folder, segment.name, os.O_RDONLY)
                    try:
                        line = self._tail(file, stream, segment).line
                    finally:
                        os.close(file)
                    if line:
                        self._head(stream, segment, line)
                        return parse_entry(line)
        return None

    def torn_bytes(self, stream: str) -> int:
        """The length of an unfinished last line, 0 where there is none. UpstreamError, IntegrityError."""
        with self._reading(stream) as folder:
            return 0 if folder is None else self._snapshot(folder, stream)[2]

    def place(self, stream: str, line: int) -> str:
        """Where the stream's line of that number, counted from 1, stands or would stand: `FILE:LINE`."""
        name, number = "", 0
        for count, (segment, _) in enumerate(self._numbered(stream), 1):
            name, number = segment, number + 1 if segment == name else 1
            if count == line:
                return f"{self._root / stream / name}:{number}"
        return f"{self._root / stream / name}:{number + 1}" if name else str(self._root / stream)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _append(self, folder: int, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        there = segments(folder)
        head, size = self._end(folder, stream, there) if there else (None, 0)
        reports = recoveries(folder, drafts[0])
        chained = _chained(stream, head, (*reports.values(), *drafts))
        count = 0 if head is None else head.seq + 1
        segment = there[-1] if there else Segment(first=0)
        if size and (count - segment.first >= self._max_entries or size >= self._max_bytes):
            sync_file(folder, segment.name)  # its last lines may be of a writer who was killed before this step
            segment = Segment(first=count)
        append_lines(folder, segment.name, b"".join(line for line, _ in chained))  # (4)
        for name in reports:
            reported(folder, name)
        return tuple(receipt for _, receipt in chained[len(reports) :])

    def _end(self, folder: int, stream: str, there: Sequence[Segment]) -> tuple[Head | None, int]:
        """The head, and the size of the last segment after an unfinished line was moved out of it: (2) and (3)."""
        last = there[-1]
        file = open_file(folder, last.name, os.O_RDWR)
        try:
            tail = self._tail(file, stream, last)
            if tail.torn:
                move_aside(folder, file, last.name, tail)
        finally:
            os.close(file)
        if tail.line:
            return self._head(stream, last, tail.line), tail.complete
        if len(there) == 1:
            if last.first != 0:
                raise self._broken(stream, last, "the segments before it are missing")
            return None, 0
        # a crash came between the making of this segment and its first line
        before = there[-2]
        file = open_file(folder, before.name, os.O_RDONLY)
        try:
            earlier = self._tail(file, stream, before)
        finally:
            os.close(file)
        if earlier.torn or not earlier.line:
            raise self._broken(stream, before, "it does not end in an entry, and another segment follows")
        head = self._head(stream, before, earlier.line)
        if head.seq + 1 != last.first:
            raise self._broken(stream, last, f"entry {head.seq} is the last one before it")
        return head, 0

    def _head(self, stream: str, segment: Segment, line: bytes) -> Head:
        try:
            head = head_of(line)
        except IntegrityError as error:
            raise self._broken(stream, segment, f"its last line is {error}") from error
        if head.seq < segment.first:
            raise self._broken(stream, segment, f"its last line is entry {head.seq}, which belongs elsewhere")
        return head

    # --- reading ------------------------------------------------------------------------------------------------------

    def _numbered(self, stream: str) -> Iterator[tuple[str, bytes]]:
        """The complete lines, each with its segment's name."""
        with self._reading(stream) as folder:
            if folder is None:
                return
            there, complete, _ = self._snapshot(folder, stream)
            for segment in there:
                limit = complete if segment == there[-1] else None
                for line in read_lines(folder, segment.name, limit):
                    yield segment.name, line

    def _snapshot(self, folder: int, stream: str) -> tuple[tuple[Segment, ...], int, int]:
        """The segments, how much of the last one is complete, and how many bytes stand after that.

        Under the lock no append is under way, and what is complete then never changes any more.
        """
        with locked(folder, shared=True, seconds=self._lock_seconds):
            there = segments(folder)
            if not there:
                return (), 0, 0
            file = open_file(folder, there[-1].name, os.O_RDONLY)
            try:
                size = os.fstat(file).st_size
                tail = self._tail(file, stream, there[-1])
            except IntegrityError:
                return there, size, 0  # whoever reads the lines meets it
            finally:
                os.close(file)
        return there, tail.complete, len(tail.torn)

    def _tail(self, file: int, stream: str, segment: Segment) -> Ending:
        """The end of a segment, from its last bytes alone. IntegrityError when no append can have left it so."""
        size = os.fstat(file).st_size
        start = max(0, size - 2 * MAX_RECORD_BYTES)
        data = read_at(file, start, size)
        end = data.rfind(b"\n") + 1
        if len(data) - end >= MAX_RECORD_BYTES:
            raise self._broken(stream, segment, f"no line ends in its last {MAX_RECORD_BYTES} bytes")
        begin = data.rfind(b"\n", 0, max(0, end - 1)) + 1
        return Ending(complete=start + end, line=data[begin:end], torn=data[end:])

    # --- folders and errors -------------------------------------------------------------------------------------------

    def _create(self, stream: str) -> int:
        """The open folder of a stream, made when missing, for its owner alone."""
        container, name = stream.split("/")
        with _closing(make_root(self._root)) as root, _closing(make_folder(root, container)) as folder:
            try:
                return make_folder(folder, name)
            except (NotADirectoryError, PermissionError) as error:
                if name not in names(folder):
                    raise
                raise _told(error) from error

    @contextmanager
    def _reading(self, stream: str) -> Iterator[int | None]:
        """The open folder of a stream, None when there is no such stream; errors as ours."""
        try:
            parse_stream(stream)
        except ValueError as error:
            raise UpstreamError(f"the audit log can't be read: {error}") from error
        with self._translated(stream):
            folder = self._open(*stream.split("/"))
            if folder is None:
                yield None
                return
            with _closing(folder), _that_stream_alone():
                yield folder

    def _open(self, container: str, name: str) -> int | None:
        try:
            with (
                _closing(open_folder(self._root)) as root,
                _closing(open_folder(container, root)) as folder,
                _that_stream_alone(),
            ):
                return open_folder(name, folder)
        except FileNotFoundError:
            return None

    def _streams_of(self, root: int, container: str) -> Iterator[str]:
        with _closing(open_folder(container, root)) as folder, os.scandir(folder) as found:
            for item in found:
                try:
                    stream = parse_stream(f"{container}/{item.name}")
                except ValueError:
                    continue
                # nothing is followed here: whoever reads a link as a stream is told
                if item.is_symlink() or item.is_dir(follow_symlinks=False):
                    yield stream

    def _refuse_network(self) -> None:
        kind = network_filesystem(self._root, self._mounts)
        if kind is not None:
            raise UpstreamError(
                f"the audit log {self._root} lies on a file system of type {kind}, where locks and fsync can't be "
                "relied on: name a folder on a local disk (`store` in quarantine.yaml)"
            )

    def _broken(self, stream: str, segment: Segment, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._root / stream / segment.name}: {why}. No append leaves it so, and nothing is written to it now: "
            "see what `quarantine audit verify` says"
        )

    @contextmanager
    def _translated(self, stream: str) -> Iterator[None]:
        """Errors of the operating system as ours, naming the stream."""
        try:
            yield
        except IntegrityError as error:
            if str(self._root) in str(error):
                raise
            raise IntegrityError(f"the audit log {self._root / stream}: {error}") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UpstreamError(f"the audit log {self._root / stream} can't be used: {reason}") from error


@contextmanager
def _closing(folder: int) -> Iterator[int]:
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _that_stream_alone() -> Iterator[None]:
    """What somebody put in the place of a stream or its files, or keeps from us there, as an IntegrityError.

    Where a folder is shared, anybody can; it is no failure of the disk, and says nothing of the other streams.
    """
    try:
        yield
    except (NotADirectoryError, PermissionError) as error:
        raise _told(error) from error


def _told(error: NotADirectoryError | PermissionError) -> IntegrityError:
    if isinstance(error, NotADirectoryError):
        return IntegrityError("it is not a folder: no append made it, stop and look who did")
    return IntegrityError("its rights, or those of a file in it, keep you from it: look who made it")


def _chained(stream: str, head: Head | None, drafts: Sequence[Draft]) -> tuple[tuple[bytes, Receipt], ...]:
    try:
        return extend(stream, head, drafts)
    except ValueError as error:
        if head is not None and head.seq + len(drafts) > MAX_INTEGER:
            raise IntegrityError(f"no number is left after entry {head.seq}: stop and look who wrote it") from error
        raise UpstreamError(f"an entry can't be written to the audit log: {error}") from error
