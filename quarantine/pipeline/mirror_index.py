"""The care of the mirror: its pages made anew from the log, and everything in it held to what it must be."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from quarantine.errors import ConflictError, IntegrityError, QuarantineError
from quarantine.exceptions import Approved, ExceptionCase, PublicationKind, State
from quarantine.mirror import simple
from quarantine.mirror.channel import NOARCH, CondaFile
from quarantine.pipeline.mirror_pages import (
    FILES,
    ROOT_HTML,
    ROOT_JSON,
    Listing,
    conda_page,
    files_of,
    listing_of,
    names_of,
    once,
    project_names,
    recorded,
    records_of,
    rewrite,
    simple_page,
    subdirs_of,
    unpacked,
)
from quarantine.pipeline.publish import ENDS, intent_of, store_files
from quarantine.policy.decide import decide
from quarantine.policy.stage import Policy
from quarantine.ports import ArtifactStore, PageStore, Tell

if TYPE_CHECKING:
    from quarantine.mirror.simple import SimpleFile

__all__ = ["Rebuilt", "Verified", "rebuild", "verify"]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a mirror holds after its pages were made anew, how many of them had to be written, and what couldn't be listed."""

    files: int
    projects: int
    platforms: int
    written: int
    problems: tuple[str, ...] = ()


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and everything that is wrong.

    `metadata` are the core metadata that pages name, which lie beside the `files`, and `bytes` the size of both together.
    `unlinked` are those of the files that no page has, which nobody is served.
    """

    files: int
    metadata: int
    bytes: int
    unlinked: int
    problems: tuple[str, ...] = ()


def rebuild(
    store: ArtifactStore, pages: PageStore, state: State, policy: Policy, now: datetime, tell: Tell, *, local: bool
) -> Rebuilt:
    """Makes all pages anew from the log: what was published and holds now. Only what differs is written.

    UpstreamError, ConflictError when pages can't be written.
    """
    problems: list[str] = []
    listings: list[Listing] = []
    for case, approved in _published(state, policy, now, local=local):
        tell(f"reading exception {case.id[:12]}")
        try:
            intent = intent_of(store, now, case, approved)
            store_files(store, intent, tell)
            listings.append(listing_of(intent.found, intent.step.time, store))
        except QuarantineError as error:
            problems.append(str(error))
    projects: dict[str, tuple[SimpleFile, ...]] = {}
    subdirs: dict[str, dict[str, CondaFile]] = {}
    for listing in listings:
        for name, files in listing.simple.items():
            projects[name] = tuple(once((*projects.get(name, ()), *files)))
        for subdir, records in listing.conda.items():
            try:
                subdirs[subdir] = recorded(records)(subdirs.get(subdir, {}))
            except ConflictError as error:
                problems.append(str(error))
    written = rewrite(pages, projects, subdirs, tell)
    return Rebuilt(
        files=len({sha256 for listing in listings for sha256 in listing.files}),
        projects=len(projects),
        platforms=len(subdirs),
        written=written,
        problems=tuple(problems),
    )


def _published(state: State, policy: Policy, now: datetime, *, local: bool) -> Iterator[tuple[ExceptionCase, Approved]]:
    """The exceptions that hold and of which the log says that they are in the mirror, or were on the way there."""
    for case in state.cases.values():
        last = case.last(*ENDS)
        if last is None or last.kind in (PublicationKind.UNLISTING, PublicationKind.UNLISTED):
            continue
        decision = decide(case, policy, now, local=local)
        if isinstance(decision, Approved):
            yield case, decision


def verify(
    store: ArtifactStore, pages: PageStore, state: State, policy: Policy, now: datetime, tell: Tell, *, local: bool
) -> Verified:
    """Reads every file and every page of the mirror, and says everything that isn't as it must be. Nothing is written.

    UpstreamError when the store can't be read at all.
    """
    problems: list[str] = []
    sizes, damaged = _hashed(store, tell)
    problems += damaged
    listing = _pages_read(pages, problems, tell)
    approved = set[str]()
    listed = listing.files
    for case in state.cases.values():
        decision = decide(case, policy, now, local=local)
        if not isinstance(decision, Approved):
            continue
        approved |= {file.sha256 for file in decision.files}
        last = case.last(*ENDS)
        if last is not None and last.kind is PublicationKind.PUBLISHED:
            problems += [
                f"exception {case.id[:12]} is published, and {file.filename} ({file.sha256[:12]}) is on no page: run "
                "`quarantine mirror index`"
                for file in decision.files
                if file.sha256 not in listed and not file.is_source
            ]
    for sha256, size in listed.items():
        if sha256 not in sizes:
            problems.append(f"a page names the file {sha256}, which isn't there")
        elif sizes[sha256] != size:
            problems.append(f"a page says that the file {sha256} has {size} bytes: it has {sizes[sha256]}")
        if sha256 not in approved:
            problems.append(
                f"a page names the file {sha256}, for which no exception holds: run `quarantine exception process`"
            )
    problems += [
        f"a page names the metadata {sha256}, which isn't there" for sha256 in listing.metadata if sha256 not in sizes
    ]
    files = sizes.keys() - listing.metadata
    return Verified(
        files=len(files),
        metadata=len(sizes) - len(files),
        bytes=sum(sizes.values()),
        unlinked=len(files - listed.keys()),
        problems=tuple(dict.fromkeys(problems)),
    )


def _hashed(store: ArtifactStore, tell: Tell) -> tuple[dict[str, int], list[str]]:
    """The size of every file whose bytes are those of its digest, and what is wrong with the others."""
    sizes: dict[str, int] = {}
    problems: list[str] = []
    for number, digest in enumerate(store.digests(FILES), 1):
        tell(f"hashing file {number}: {digest.hex[:12]}")
        try:
            sizes[digest.hex] = sum(len(chunk) for chunk in store.read(FILES, digest))
        except QuarantineError as error:
            problems.append(str(error))
    return sizes, problems


def _pages_read(pages: PageStore, problems: list[str], tell: Tell) -> Listing:
    """What all pages list; what is wrong with one of them is added to the problems."""
    mend = "run `quarantine mirror index`"
    listed: dict[str, tuple[SimpleFile, ...]] = {}
    conda: dict[str, dict[str, CondaFile]] = {}

    def same(name: str, expected: bytes) -> None:
        page = pages.page(name)
        if page is None or page.data != expected:
            problems.append(f"the page {name} doesn't say what the JSON beside it says: {mend}")

    for name in sorted(frozenset(project_names(pages))):
        tell(f"reading the page of {name}")
        try:
            files = files_of(name, pages.page(simple_page(name, "json")))
        except IntegrityError as error:
            problems.append(f"{error}: {mend}")
            continue
        listed[name] = files
        same(simple_page(name, "html"), simple.project_html(name, files))
    try:
        names = names_of(pages.page(ROOT_JSON))
    except IntegrityError as error:
        problems.append(f"{error}: {mend}")
    else:
        if set(names) != {name for name, files in listed.items() if files}:
            problems.append(f"the page of all projects doesn't name just those that have files: {mend}")
        if names:
            same(ROOT_HTML, simple.root_html(names))
    for subdir in sorted(frozenset(subdirs_of(pages))):
        tell(f"reading the repodata of {subdir}")
        page, packed = pages.page(conda_page(subdir)), pages.page(conda_page(subdir, "json.zst"))
        try:
            conda[subdir] = records_of(subdir, page)
        except IntegrityError as error:
            problems.append(f"{error}: {mend}")
            continue
        if page is None or packed is None or unpacked(packed) != page.data:
            problems.append(f"the compressed repodata of {subdir} doesn't say what the other says: {mend}")
    if conda and NOARCH not in conda:
        problems.append(f"the channel has no {NOARCH}, without which clients refuse it: {mend}")
    return Listing(simple=listed, conda=conda)
