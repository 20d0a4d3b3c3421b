"""What the pipeline needs of the outside world: roles, not systems.

Every implementation passes the same contract suite (`tests/contract/`). Whatever goes wrong in an implementation
becomes an `UpstreamError` (it did not answer as it must) or an `IntegrityError` (its bytes are wrong), also while a
result is being iterated. None of them answers "nothing found" when it could not look.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.audit.chain import Place, Tail
from quarantine.audit.record import Draft, Entry
from quarantine.exceptions import ExceptionFile, Identity
from quarantine.model import (
    Artifact,
    CondaRecord,
    Digest,
    Finding,
    ImageReference,
    IndexPage,
    MatchSpec,
    Outcome,
    Package,
    PackageFile,
    Receipt,
    Requirement,
    Snapshot,
    Target,
)
from quarantine.policy.entries import Publisher

if TYPE_CHECKING:
    from quarantine.archive.inspection import Inspection  # no check looks into an archive

__all__ = [
    "AdvisoryService",
    "ArtifactStore",
    "Attestations",
    "AuditLog",
    "CondaCandidates",
    "CondaContents",
    "CondaFailed",
    "CondaListing",
    "CondaPackages",
    "CondaRequest",
    "CondaSolution",
    "CondaSolver",
    "Delivery",
    "FileSource",
    "Identities",
    "ImageRegistry",
    "Index",
    "Inspector",
    "Installed",
    "Message",
    "Notifier",
    "OverlayFile",
    "Page",
    "PageStore",
    "PythonResolver",
    "Resolution",
    "ResolutionFailed",
    "ResolutionRequest",
    "ResolvedImage",
    "ResolvedPackage",
    "Tell",
]

Tell = Callable[[str], None]
"""Progress for a person: a short phrase of what is being done now. The null object is `lambda _: None`."""


class ResolutionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be resolved for one target, and within which limits.

    `not_after` is the cutoff on upload times (aware, UTC), None for "as written"; `not_after_by_name` overrides it
    where there is one, with None for no cutoff at all.
    `excluded` names are left out of the resolution together with what only they need.
    `installed` are distributions that are there already: they are used where they fit, and aren't part of the answer.
    `overlay` are approved wheels beside what the upstreams list: no cutoff holds for them, and they own no name that an
    upstream has, unless it is reserved for the mirror.
    """

    requirements: tuple[Requirement, ...]
    constraints: tuple[str, ...] = ()
    target: Target
    not_after: datetime | None = None
    not_after_by_name: tuple[tuple[NormalizedName, datetime | None], ...] = ()
    excluded: frozenset[NormalizedName] = frozenset()
    installed: tuple["Installed", ...] = ()
    overlay: tuple["OverlayFile", ...] = ()


class OverlayFile(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel of the private mirror: what its file name says, its digest, and its core metadata."""

    name: NormalizedName
    version: Version
    filename: str
    digest: Digest
    metadata: bytes


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution that conda installs, and what it requires by its own metadata (core metadata, as bytes)."""

    package: Package
    metadata: bytes | None


class ResolvedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """One package of a solution: the digests of all its files, the upstream it came from, and who pulled it in.

    Of one that the overlay has, the upstream is `MIRROR`, and the digests are those of the overlay's files of that version.
    `direct` is whether the user's file asks for it; `required_by` are the names of other packages of the solution,
    or of installed ones.
    """

    name: NormalizedName
    version: Version
    upstream: str
    digests: frozenset[Digest]
    required_by: tuple[NormalizedName, ...]
    direct: bool


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """A solution. `used` are the names of the `installed` distributions that it stands on."""

    packages: tuple[ResolvedPackage, ...]
    used: frozenset[NormalizedName] = frozenset()


class ResolutionFailed(msgspec.Struct, frozen=True, kw_only=True):
    """There is no solution, and why: the solver's explanation, and what could be read out of it.

    `source_only` names have no usable wheel in the versions asked for; `not_found` names are in no upstream;
    `no_upload_time` names were left out by a cutoff because their upstream gives no upload times.
    """

    explanation: str
    source_only: frozenset[NormalizedName] = frozenset()
    not_found: frozenset[NormalizedName] = frozenset()
    no_upload_time: frozenset[NormalizedName] = frozenset()


class PythonResolver(Protocol):
    """Chooses versions of Python distributions, from wheels and metadata only: no package code runs."""

    def resolve(self, request: ResolutionRequest, tell: Tell) -> Resolution | ResolutionFailed:
        """One solution, or why there is none. UpstreamError when an index fails or the time limit is over."""
        ...


class CondaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What conda is asked to solve. `channels` are upstreams of the policy by name, in the user's order of priority.

    `not_after` is a cutoff (aware, UTC), None for none; it doesn't hold for the files with the digests in `approved`.
    `constraints` are match specs that hold for what is installed.
    """

    channels: tuple[str, ...]
    specs: tuple[MatchSpec, ...]
    target: Target
    not_after: datetime | None = None
    approved: frozenset[Digest] = frozenset()
    constraints: tuple[str, ...] = ()


class CondaSolution(msgspec.Struct, frozen=True, kw_only=True):
    """A solution, in no order. `owners` says for every name which upstream is the first of the policy to have it."""

    records: tuple[CondaRecord, ...]
    owners: Mapping[str, str]


class CondaFailed(msgspec.Struct, frozen=True, kw_only=True):
    """There is no solution, and the solver's explanation. `not_found` names are in none of the channels."""

    explanation: str
    not_found: frozenset[str] = frozenset()


class CondaListing(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a name lists of it: of the files asked for, those that are there.

    `twins` are the owner's records, for the target's platform and for none, that have name, version (as conda compares
    them) and build of another one of `records`, and other bytes: conda asks by these, and can't tell them apart. They
    may be among `records` themselves. A `.tar.bz2` that has its `.conda` beside it is the same build in the old format,
    which no solver takes: it is in neither of both.
    """

    owner: str | None
    records: tuple[CondaRecord, ...] = ()
    twins: tuple[CondaRecord, ...] = ()


class CondaCandidates(msgspec.Struct, frozen=True, kw_only=True):
    """A look for other versions of `name`, that are in `upstream`, satisfy every one of `specs`, and go with `beside`.

    `beside` is the rest of a solution: a candidate's own dependencies must hold for those of them that it names.
    """

    name: str
    upstream: str
    specs: tuple[str, ...]
    beside: tuple[CondaRecord, ...]
    target: Target


class CondaSolver(Protocol):
    """Knows the repodata of the policy's channels, and chooses versions of conda packages by it."""

    def solve(self, request: CondaRequest, tell: Tell) -> CondaSolution | CondaFailed:
        """One solution under strict channel priority, or why there is none. UpstreamError when a channel fails."""
        ...

    def listed(self, wanted: Mapping[str, frozenset[Digest]], target: Target, tell: Tell) -> Mapping[str, CondaListing]:
        """For every name its owner, and the owner's records of it that have one of the digests. UpstreamError."""
        ...

    def candidates(self, request: CondaCandidates, tell: Tell) -> tuple[CondaRecord, ...]:
        """The best build of each version that would do, in ascending order of version. UpstreamError."""
        ...


class CondaContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a conda package's own file list says: the Python distributions in it, None where it can't be read (`why`).

    `last_modified` (aware, UTC) is when the server says that it got the file, None where it doesn't say.
    """

    distributions: tuple[Package, ...] | None
    last_modified: datetime | None = None
    why: str = ""


class CondaPackages(Protocol):
    """Reads conda packages where they lie, as little of each as will do."""

    def contents(self, records: Collection[CondaRecord], tell: Tell) -> Mapping[CondaRecord, CondaContents]:
        """For every record what is inside. A package that can't be read is one without distributions that says why.

        UpstreamError when a channel doesn't answer.
        """
        ...

    def metadata(self, record: CondaRecord, names: Collection[NormalizedName], tell: Tell) -> Mapping[str, bytes]:
        """The core metadata of the distributions in it, by normalised name; all of `names` are there.

        UpstreamError, IntegrityError when they can't be had.
        """
        ...


class ResolvedImage(msgspec.Struct, frozen=True, kw_only=True):
    """What a reference stands for: the digest of its manifest or index, with every platform and the image for it."""

    digest: Digest
    media_type: str
    size: int
    platforms: tuple[tuple[str, Digest], ...] = ()


class ImageRegistry(Protocol):
    """Registries that speak the OCI distribution protocol."""

    def resolve(self, reference: ImageReference, tell: Tell) -> ResolvedImage | None:
        """What the reference stands for now, checked by its digest; None where the registry says it has no such image.

        UpstreamError when the registry can't say, IntegrityError when its bytes aren't those of their digest.
        """
        ...


class Index(Protocol):
    """The project pages of the upstreams, in their order of ownership."""

    def pages(self, names: Collection[NormalizedName], tell: Tell) -> Mapping[NormalizedName, IndexPage | None]:
        """For every name the page of the upstream that owns it: the first, in order, that has it; None where none has.

        A reserved name is looked up in its own upstream alone. UpstreamError when an upstream fails to say whether
        it has a name: an owner that can't be asked is never passed over.
        """
        ...

    def metadata(self, artifacts: Collection[Artifact], tell: Tell) -> Mapping[str, bytes | None]:
        """By filename, the core metadata that the index serves beside each file (PEP 658), verified by its digest.

        None where the index serves none. UpstreamError, IntegrityError.
        """
        ...


class AdvisoryService(Protocol):
    """Knows which flaws and which malware affect a package."""

    def snapshot(self) -> Snapshot:
        """How fresh and how complete it is. UpstreamError when there is none."""
        ...

    def findings(self, packages: Collection[Package], tell: Tell) -> Mapping[Package, tuple[Finding, ...]]:
        """For every package asked about, what affects it (by version, or by the digest of a file), worst first.

        Every package asked about is a key of the answer. UpstreamError when the service can't say.
        """
        ...

    def fixes(self, names: Collection[NormalizedName]) -> Mapping[NormalizedName, frozenset[Version]]:
        """For every name, the versions that an advisory names as fixing a flaw; empty where that is not known."""
        ...


class AuditLog(Protocol):
    """Append-only streams of entries, each chained to the one before."""

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """Writes the drafts as consecutive entries and answers when they are durable, or writes none.

        UpstreamError when it can't be written; IntegrityError when what is there is not a log.
        """
        ...

    def streams(self, container: str | None = None) -> tuple[str, ...]:
        """The names of all streams, or of those of one container, sorted. UpstreamError."""
        ...

    def lines(self, stream: str) -> Iterator[bytes]:
        """The stream's stored lines from the first on, each with its newline, unverified."""
        ...

    def tail(self, stream: str, after: Place) -> Tail:
        """The stream's complete lines after the place, in one moment, and the place behind them; none for an unknown stream.

        IntegrityError when the stream has less than the place says. UpstreamError.
        """
        ...

    def latest(self, stream: str) -> Entry | None:
        """The stream's last entry, None for an empty one. UpstreamError, IntegrityError."""
        ...


class ArtifactStore(Protocol):
    """Bytes by their sha256, in containers. What is stored is never changed."""

    def put(self, container: str, data: bytes) -> Digest:
        """Stores the bytes, durably, unless they are there already. UpstreamError when they can't be.

        IntegrityError when other bytes have taken their name; those stay as they are.
        """
        ...

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        """Stores `size` bytes from where the file stands, durably; False where they are there already.

        They are held to length and digest while they are read: IntegrityError, and nothing stored. What is there already
        is held to the digest, too: IntegrityError, and it stays as it is. UpstreamError.
        """
        ...

    def get(self, container: str, digest: Digest) -> bytes:
        """The bytes of that digest, checked against it. UpstreamError when they aren't there, IntegrityError."""
        ...

    def read(self, container: str, digest: Digest) -> Iterator[bytes]:
        """The same in chunks. After the last one they are checked: IntegrityError then means that none of them counts."""
        ...

    def size(self, container: str, digest: Digest) -> int | None:
        """How many bytes are stored under the digest, None where there are none. UpstreamError."""
        ...

    def remove(self, container: str, digest: Digest) -> bool:
        """Takes the bytes away; False where there were none. UpstreamError."""
        ...

    def digests(self, container: str) -> Iterator[Digest]:
        """Every digest that the container has bytes of, in no order. UpstreamError."""
        ...


class Page(msgspec.Struct, frozen=True):
    """A page as it was read: its bytes, and the tag by which the store knows this very content."""

    data: bytes
    tag: str


class PageStore(Protocol):
    """Named pages, which are replaced whole, by whoever saw what is there.

    A name is a path of segments of letters, digits, `.`, `_` and `-`, such as `simple/numpy/index.json`. What is named
    `decisions/...` lies apart, where only curators write: it is listed by prefixes that begin so, and by no other.
    """

    def page(self, name: str) -> Page | None:
        """The page of that name, None where there is none. UpstreamError."""
        ...

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        """Replaces the page whose tag is `expected` (None: makes it), durably, and answers with its new tag.

        ConflictError when another one is there; then nothing has changed. UpstreamError.
        """
        ...

    def names(self, prefix: str) -> Iterator[str]:
        """The names of the pages that begin with the prefix, in no order. UpstreamError."""
        ...

    def lease(self, name: str) -> AbstractContextManager[None]:
        """Holds what the name stands for, which nobody else then does; it ends with the process that has it.

        ConflictError when somebody else has it for longer than is waited. UpstreamError.
        """
        ...


class FileSource(Protocol):
    """Fetches whole files of the policy's upstreams."""

    def fetch(self, upstream: str, file: PackageFile, to: BinaryIO, max_bytes: int, tell: Tell) -> int:
        """Writes the bytes of a file that the upstream lists, and answers how many there were.

        They are held to the limit, to the size and to the digest that the upstream gives while they come: IntegrityError
        where they differ; nothing that was written counts then. UpstreamError when they can't be had.
        """
        ...

    def provenance(self, upstream: str, url: str, tell: Tell) -> bytes | None:
        """What an index says of a file's provenance (PEP 740), None where it has none. UpstreamError."""
        ...


class Inspector(Protocol):
    """Looks into a file without running any of it."""

    def inspect(self, path: Path, file: ExceptionFile, tell: Tell) -> "Inspection":
        """What was found. A file that can't be looked into has unknown outcomes that say why; nothing is raised."""
        ...


class Attestations(Protocol):
    """Verifies who published a file (PEP 740)."""

    def verify(self, file: ExceptionFile, provenance: bytes | None, expected: Publisher | None, tell: Tell) -> Outcome:
        """What the attestations of a file come to. `provenance` is its provenance object, None where its index has none.

        Nothing is raised: what could not be verified is unknown.
        """
        ...


class Identities(Protocol):
    """Knows who is asking."""

    def who(self, tell: Tell) -> Identity:
        """Who runs this. UpstreamError when that can't be proved as the configuration asks for."""
        ...


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A notification, without secrets. `key` stands for the event: nobody hears of the same one twice."""

    key: str
    title: str
    text: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message on one channel. `channel` names it without its address; `problem` is "" when it arrived."""

    channel: str
    problem: str = ""


class Notifier(Protocol):
    """Tells people."""

    def send(self, message: Message, tell: Tell) -> tuple[Delivery, ...]:
        """What became of the message on every channel. Nothing is raised: a message that is lost changes no verdict."""
        ...
