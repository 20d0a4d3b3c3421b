"""The publisher: approved files into the mirror, and out of it when they are no longer.

To publish: (1) say so in the log; (2) the bytes, from the holding area, create-only by digest; (3) their core metadata;
(4) the pages of projects and platforms, JSON before what is made of it; (5) the page of all projects; (6) say in the log
that it is done. To unlist: (1) say so; (2) the pages; (3) the bytes, which stay in the holding area; (4) say that it is done.
The holding area is emptied of what is over by saying so, and then taking it away.

So a reader never sees a link to a file that isn't there, and a crash anywhere is mended by running it again: every step
looks first at what is there. What is there already is not written again, so that a second run writes nothing.
Pages are replaced by compare-and-swap; whoever loses reads the page again and adds to that.
"""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec
from msgspec.structs import replace
from packaging.utils import canonicalize_name

from quarantine.audit.events import PUBLISH, publication_draft
from quarantine.audit.record import EVIDENCE, Draft
from quarantine.errors import ConflictError, IntegrityError, QuarantineError, UpstreamError
from quarantine.exceptions import (
    Approved,
    Dossier,
    DossierFile,
    ExceptionCase,
    Identity,
    Publication,
    PublicationKind,
)
from quarantine.mirror import channel
from quarantine.model import Digest, Ecosystem
from quarantine.pipeline.mirror_pages import FILES, Listing, add, drop, listing_of, metadata_in_use, with_names
from quarantine.ports import ArtifactStore, AuditLog, PageStore, Tell

if TYPE_CHECKING:
    from quarantine.mirror.channel import CondaFile

__all__ = [
    "ENDS",
    "HELD",
    "Changed",
    "Intent",
    "Publisher",
    "drop_held",
    "intent_of",
    "publish_all",
    "store_files",
    "unlist_all",
]

HELD = "held"
"""The container of what was fetched to be vetted."""
STEP_FILES = 150
"""A step of more files is written as several entries: a file and its metadata are 134 bytes of the 32 KiB of a record."""
ENDS = (PublicationKind.PUBLISHING, PublicationKind.PUBLISHED, PublicationKind.UNLISTING, PublicationKind.UNLISTED)
"""The steps that say whether files are in the mirror; the last of them counts."""


class Publisher(msgspec.Struct, frozen=True, kw_only=True):
    """What the publisher works with. `now` (aware, UTC) is the time of its entries; `new_id` gives ids for them."""

    log: AuditLog
    store: ArtifactStore
    pages: PageStore
    by: Identity
    now: datetime
    new_id: Callable[[], str]
    tell: Tell

    def publish(self, case: ExceptionCase, approved: Approved) -> bool:
        """Publishes an exception that holds; whether anything had to be said in the log for it.

        UpstreamError, IntegrityError when its evidence or its bytes are missing or wrong, or can't be written; ConflictError
        when others keep changing the same page, or its file has the name of another one in the channel.
        """
        (changed,) = publish_all(self, [(case, approved)])
        if changed.problem is not None:
            raise changed.problem
        return bool(changed.steps)

    def unlist(self, case: ExceptionCase, why: str, keep: Collection[str]) -> bool:
        """Takes the files of an exception out of the mirror, but for those that others need; whether there were any.

        `keep` are sha256. UpstreamError, IntegrityError, ConflictError when log, pages or files can't be changed.
        """
        (changed,) = unlist_all(self, [(case, why)], keep)
        return bool(changed.steps)


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one exception: the steps that were written for it, and why it couldn't be done, None when it was."""

    exception: str
    steps: tuple[PublicationKind, ...] = ()
    problem: QuarantineError | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that is to be published: its files as vetting described them, and the step that says so."""

    case: ExceptionCase
    found: tuple[DossierFile, ...]
    step: Publication
    written: bool


# --- publishing -------------------------------------------------------------------------------------------------------


def publish_all(publisher: Publisher, cases: Sequence[tuple[ExceptionCase, Approved]]) -> tuple[Changed, ...]:
    """Publishes exceptions that hold; what became of each, in their order.

    One whose evidence or bytes are missing or wrong, or whose file has the name of another one's in the channel, says so
    and holds up no other. UpstreamError, ConflictError when log or pages can't be written; then run it again.
    """
    problems: dict[str, QuarantineError] = {}
    intents: list[Intent] = []
    for case, approved in cases:
        try:
            intents.append(intent_of(publisher.store, publisher.now, case, approved))
        except (IntegrityError, UpstreamError) as error:
            problems[case.id] = error
    # (1)
    steps: dict[str, list[PublicationKind]] = {case.id: [] for case, _ in cases}
    _append(publisher, steps, [(intent.case, intent.step) for intent in intents if not intent.written])
    listings: dict[str, Listing] = {}
    channels: dict[str, dict[str, CondaFile]] = {}
    for number, intent in enumerate(intents, 1):
        publisher.tell(f"publishing {number} of {len(intents)}: {intent.case.id[:12]}")
        try:
            # (2), (3)
            store_files(publisher.store, intent, publisher.tell)
            listing = listing_of(intent.found, intent.step.time, publisher.store)
            channels |= with_names(publisher.pages, channels, listing)
        except (ConflictError, IntegrityError, UpstreamError) as error:
            problems[intent.case.id] = error
            continue
        listings[intent.case.id] = listing
    # (4), (5)
    add(publisher.pages, listings.values())
    # (6)
    done = [
        (intent.case, replace(intent.step, kind=PublicationKind.PUBLISHED, time=publisher.now))
        for intent in intents
        if intent.case.id in listings and not _is_done(intent)
    ]
    _append(publisher, steps, done)
    return tuple(
        Changed(exception=case.id, steps=tuple(steps[case.id]), problem=problems.get(case.id)) for case, _ in cases
    )


def intent_of(store: ArtifactStore, now: datetime, case: ExceptionCase, approved: Approved) -> Intent:
    """What is to be published; of an intent that stands in the log already the time counts, so that pages stay the same."""
    if approved.exception != case.id or case.dossier is None:
        raise IntegrityError(f"exception {case.id[:12]} has no approval that is its own, or no dossier")
    try:
        dossier = Dossier.decode(store.get(EVIDENCE, Digest.sha256(case.dossier.sha256)))
    except ValueError as error:
        raise IntegrityError(f"exception {case.id[:12]}: {error}") from error
    known = {found.file.sha256: found for found in dossier.files}
    if dossier.exception != case.id or not all(file.sha256 in known for file in approved.files):
        raise IntegrityError(f"exception {case.id[:12]}: its dossier is about other files than its approval")
    # what a file is called is what was approved
    found = tuple({file.sha256: replace(known[file.sha256], file=file) for file in approved.files}.values())
    step = Publication(
        kind=PublicationKind.PUBLISHING,
        time=now,
        files=tuple(entry.file.sha256 for entry in found),
        metadata=tuple(entry.metadata for entry in found),
    )
    for before in reversed(case.publications):
        if before.kind in (PublicationKind.UNLISTING, PublicationKind.UNLISTED):
            break
        if before.kind is PublicationKind.PUBLISHING and _same(before, step):
            return Intent(case=case, found=found, step=before, written=True)
    return Intent(case=case, found=found, step=step, written=False)


def _same(one: Publication, other: Publication) -> bool:
    return dict(zip(one.files, one.metadata, strict=False)) == dict(zip(other.files, other.metadata, strict=False))


def _is_done(intent: Intent) -> bool:
    """Whether the log says of just these files that they are published."""
    last = intent.case.last(*ENDS)
    return last is not None and last.kind is PublicationKind.PUBLISHED and _same(last, intent.step)


def _append(
    publisher: Publisher, steps: dict[str, list[PublicationKind]], todo: Sequence[tuple[ExceptionCase, Publication]]
) -> None:
    """Writes steps into the log, all in one go."""
    drafts = list[Draft]()
    for case, step in todo:
        assert case.request is not None  # noqa: S101  # nothing holds, or was published, without
        for start in range(0, max(len(step.files), 1), STEP_FILES):
            end = start + STEP_FILES
            part = replace(step, files=step.files[start:end], metadata=step.metadata[start:end])
            drafts.append(publication_draft(case.request, part, publisher.by, publisher.new_id()))
    if not drafts:
        return
    publisher.log.append(f"{PUBLISH}/process-{publisher.now:%Y-%m}", drafts)
    for case, step in todo:
        steps[case.id].append(step.kind)


def store_files(store: ArtifactStore, intent: Intent, tell: Tell) -> None:
    """Puts bytes and metadata where the mirror serves them from. UpstreamError, IntegrityError."""
    for entry in intent.found:
        if entry.file.is_source:
            continue
        digest = entry.file.digest
        if store.size(FILES, digest) is None:
            size = store.size(HELD, digest)
            if size is None:
                raise UpstreamError(
                    f"{entry.file.filename} is not in the holding area: quarantine exception vet {intent.case.id[:12]} "
                    "brings it there"
                )
            tell(f"publishing {entry.file.filename}")
            store.put_file(FILES, digest, size, _file(store.read(HELD, digest)))
        if entry.metadata:
            metadata = Digest.sha256(entry.metadata)
            if store.size(FILES, metadata) is None:
                store.put(FILES, store.get(EVIDENCE, metadata))


class _Chunks(io.RawIOBase):
    """Chunks as a file that is read from its start to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer)  # type: ignore[arg-type]  # a writable buffer
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _file(chunks: Iterator[bytes]) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Chunks(chunks)))


# --- unlisting --------------------------------------------------------------------------------------------------------


def unlist_all(
    publisher: Publisher, cases: Sequence[tuple[ExceptionCase, str]], keep: Collection[str]
) -> tuple[Changed, ...]:
    """Takes the files of exceptions out of the mirror, each with why; what became of each, in their order.

    `keep` are the sha256 of files that exceptions which hold still need: these stay. UpstreamError, ConflictError when log,
    pages or files can't be changed; then run it again.
    """
    steps: dict[str, list[PublicationKind]] = {case.id: [] for case, _ in cases}
    todo: list[tuple[ExceptionCase, Publication, bool]] = []
    for case, why in cases:
        step = _unlisting(publisher, case, why)
        if step is not None:
            last = case.last(*ENDS)
            todo.append((case, step, last is not None and last.kind is PublicationKind.UNLISTING))
    # (1)
    _append(publisher, steps, [(case, step) for case, step, written in todo if not written])
    # (2)
    kept = frozenset(keep)
    gone = {sha256 for case, step, _ in todo for sha256 in step.files} - kept
    projects, subdirs = _places(case for case, _, _ in todo)
    drop(publisher.pages, projects, subdirs, gone)
    # (3)
    wanted = {
        sha256
        for case, step, _ in todo
        for file, sha256 in zip(step.files, step.metadata, strict=False)
        if file in gone
    }
    for sha256 in sorted(gone):
        publisher.tell(f"removing {sha256[:12]}")
        publisher.store.remove(FILES, Digest.sha256(sha256))
    # the same metadata may be of a file that stays
    for sha256 in sorted(wanted - kept - {""} - metadata_in_use(publisher.pages, projects)):
        publisher.store.remove(FILES, Digest.sha256(sha256))
    # (4)
    _append(
        publisher,
        steps,
        [(case, replace(step, kind=PublicationKind.UNLISTED, time=publisher.now)) for case, step, _ in todo],
    )
    return tuple(Changed(exception=case.id, steps=tuple(steps[case.id])) for case, _ in cases)


def _unlisting(publisher: Publisher, case: ExceptionCase, why: str) -> Publication | None:
    """The step that takes out all that was ever put in for a case; None where nothing was, or all is out."""
    last = case.last(*ENDS)
    if last is None or last.kind is PublicationKind.UNLISTED:
        return None
    files: dict[str, str] = {}
    for step in case.publications:
        if step.kind is PublicationKind.PUBLISHING:
            files |= dict(zip(step.files, step.metadata, strict=False))
    return Publication(
        kind=PublicationKind.UNLISTING,
        time=publisher.now,
        files=tuple(files),
        metadata=tuple(files.values()),
        why=why[:2000],
    )


def _places(cases: Iterable[ExceptionCase]) -> tuple[frozenset[str], frozenset[str]]:
    """The projects and the platforms that the files of the cases are listed under."""
    projects: set[str] = set()
    subdirs: set[str] = set()
    for case in cases:
        asked = () if case.request is None else case.request.files
        for file in (*asked, *(attached.file for attached in case.attached)):
            if file.ecosystem is Ecosystem.PYPI:
                projects.add(canonicalize_name(file.name))
            else:
                subdirs.add(channel.subdir_of(file.subdir))
    return frozenset(projects), frozenset(subdirs)


# --- the holding area -------------------------------------------------------------------------------------------------


def drop_held(publisher: Publisher, cases: Sequence[tuple[ExceptionCase, Collection[str], str]]) -> None:
    """Takes files of exceptions out of the holding area, by their sha256 and each with why.

    The caller knows that nothing needs them any more. What the log says already isn't said again. UpstreamError when the log
    or the store can't be changed; then run it again.
    """
    todo = [
        (
            case,
            Publication(kind=PublicationKind.DROPPED, time=publisher.now, files=tuple(sorted(files)), why=why[:2000]),
        )
        for case, files, why in cases
    ]
    steps: dict[str, list[PublicationKind]] = {case.id: [] for case, _ in todo}
    _append(publisher, steps, [(case, step) for case, step in todo if not _is_said(case, step)])
    for sha256 in sorted({sha256 for _, step in todo for sha256 in step.files}):
        publisher.tell(f"taking {sha256[:12]} out of the holding area")
        publisher.store.remove(HELD, Digest.sha256(sha256))


def _is_said(case: ExceptionCase, step: Publication) -> bool:
    """Whether the log has such a step for these files, and they weren't brought in again after it."""
    last = case.last(step.kind)
    if last is None or not frozenset(step.files) <= frozenset(last.files):
        return False
    return case.dossier is None or case.dossier.time <= last.time
