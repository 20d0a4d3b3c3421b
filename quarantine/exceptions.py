"""The nouns of the exception process: who asks for which files, what was found of them, who decided what, what became of it.

An exception is a fold over what was written of it (`audit.fold`); these are the values that the fold holds, and their
constraints are what a record from outside must keep to. Whether one counts is decided in `policy.decide` alone.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Literal, NewType, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from quarantine.model import (
    Digest,
    Ecosystem,
    Finding,
    Outcome,
    Purl,
    conda_purl,
    parse_name,
    parse_version,
    parse_wheel_name,
    pypi_purl,
)

__all__ = [
    "EXCEPTION_ID",
    "MAX_FILES",
    "MIRROR",
    "Approved",
    "Attached",
    "Decision",
    "Dossier",
    "DossierFile",
    "DossierSummary",
    "ExceptionCase",
    "ExceptionFile",
    "ExceptionId",
    "ExceptionRequest",
    "Grant",
    "Grants",
    "Identity",
    "Ignored",
    "Joined",
    "Pending",
    "PolicyPublished",
    "Publication",
    "PublicationKind",
    "Rejected",
    "Ruling",
    "RulingKind",
    "Sha256",
    "State",
    "Status",
]

ExceptionId = NewType("ExceptionId", str)
"""32 hexadecimal digits of the sha256 over what was asked for, so that no other request can pass for it."""
EXCEPTION_ID = re.compile(r"[0-9a-f]{32}")

MAX_FILES = 250
"""Of one exception: their digests, and what is waived of them, must fit into the one record of an approval."""
MIRROR = "mirror"
"""What the private mirror is called where upstreams are named. No upstream of a policy may have the name."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Id = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Project = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
_Stage = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
_Filename = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}\Z")]
_Key = Annotated[str, Meta(min_length=1, max_length=500)]
_Instant = Annotated[datetime, Meta(tz=True)]


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A value as it stands in a record: what is absent has its default, what is unknown is refused.

    None of them can be part of a cycle, so the collector needs not look at them: ten thousand are read in a third of the time.
    """


# --- who --------------------------------------------------------------------------------------------------------------


class Identity(_Value, frozen=True, kw_only=True):
    """Who did something. `id` is immutable where `issuer` gave it; `name` is for reading, and proves nothing.

    `claim` is what of a token the id is ("oid", "actor_id", "sub"): one person has another id in each. `local` is the operating system's user, which nobody has verified. The other kinds stand on a token whose signature,
    issuer, audience and expiry were verified when the record was written.
    """

    kind: Literal["local", "entra", "oidc"]
    id: _Name
    name: Annotated[str, Meta(max_length=256)] = ""
    issuer: Annotated[str, Meta(max_length=512)] = ""
    claim: Annotated[str, Meta(max_length=64)] = ""
    verified: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What tells people apart: never the name."""
        return self.issuer, self.id

    def __str__(self) -> str:
        try:
            where = urlsplit(self.issuer).hostname
        except ValueError:  # whoever may write a record writes any issuer
            where = "no host"
        by = "" if where is None else f" of {where}"
        return f"{self.name or self.id} ({self.kind}{by}{'' if self.verified else ', unverified'})"


# --- asked for --------------------------------------------------------------------------------------------------------


class ExceptionFile(_Value, frozen=True, kw_only=True):
    """One file that an exception is for: known by its sha256, described by the rest.

    `upstream` owns the name; it is `MIRROR` for a name that no upstream has. `subdir` and `build` are a conda package's.
    """

    ecosystem: Ecosystem
    upstream: _Name
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    version: Annotated[str, Meta(min_length=1, max_length=100)]
    filename: _Filename
    sha256: Sha256
    size: Annotated[int, Meta(ge=0)] | None = None
    subdir: Annotated[str, Meta(max_length=64)] = ""
    build: Annotated[str, Meta(max_length=128)] = ""

    def __lt__(self, other: Self) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[str | int, ...]:
        size = -1 if self.size is None else self.size
        return (
            self.ecosystem, self.upstream, self.name, self.version, self.filename, self.sha256, size, self.subdir, self.build,
        )  # fmt: skip

    @property
    def digest(self) -> Digest:
        """Its digest."""
        return Digest("sha256", self.sha256)

    @property
    def is_source(self) -> bool:
        """Whether it is a source distribution, which nobody may install as it is."""
        return self.ecosystem is Ecosystem.PYPI and not self.filename.endswith(".whl")

    @property
    def purl(self) -> Purl:
        """The package URL of its package."""
        if self.ecosystem is Ecosystem.PYPI:
            return pypi_purl(self.name, parse_version(self.version))
        kind = "conda" if self.filename.endswith(".conda") else "tar.bz2"
        return conda_purl(
            self.name, self.version, build=self.build, channel=self.upstream, subdir=self.subdir, type=kind
        )

    @property
    def label(self) -> str:
        """Name and version, for messages."""
        return f"{self.name} {self.version}"

    def check(self) -> None:
        """Raises ValueError when its parts contradict each other, or it is no package."""
        if self.ecosystem not in (Ecosystem.PYPI, Ecosystem.CONDA):
            raise ValueError(f"{self.filename!a} is of type {self.ecosystem}: exceptions are for packages")
        if self.ecosystem is Ecosystem.PYPI:
            if parse_name(self.name) != self.name:
                raise ValueError(f"{self.name!a} is not the normalised form of a package name")
            version = parse_version(self.version)
            if self.filename.endswith(".whl"):
                name, of_file, _, _ = parse_wheel_name(self.filename)
                if name != self.name or of_file != version:
                    raise ValueError(f"{self.filename!a} is not a wheel of {self.label}")
        elif not self.filename.endswith((".conda", ".tar.bz2")) or not self.subdir:
            raise ValueError(f"{self.filename!a} is not a conda package of a platform")


class ExceptionRequest(_Value, frozen=True, kw_only=True):
    """What somebody asks for. `until` is the expiry that they wish for; `nonce` makes two equal wishes two requests."""

    id: _Id
    project: _Project
    stage: _Stage
    reason: _Text
    files: Annotated[tuple[ExceptionFile, ...], Meta(min_length=1, max_length=MAX_FILES)]
    requester: Identity
    time: _Instant
    until: _Instant | None = None
    nonce: _Name = ""

    def __post_init__(self) -> None:
        """Raises ValueError where it names one file twice, or more files than one may have, however it was made."""
        if len(self.files) > MAX_FILES:
            raise ValueError(f"it names {len(self.files)} files: expected {MAX_FILES} at most")
        if len({file.sha256 for file in self.files}) < len(self.files):
            raise ValueError("it names one file twice: expected each sha256 once")


class Joined(_Value, frozen=True, kw_only=True):
    """Somebody else who asked for the same files, for the same project and stage."""

    time: _Instant
    by: Identity
    reason: _Text


class Attached(_Value, frozen=True, kw_only=True):
    """A wheel that a curator built of a source distribution. `source` is the sha256 of the file that it stands for."""

    time: _Instant
    by: Identity
    source: Sha256
    file: ExceptionFile


# --- found ------------------------------------------------------------------------------------------------------------


class DossierFile(_Value, frozen=True, kw_only=True):
    """What vetting found of one file: each check with its outcome, and what a page of the mirror says of it.

    `metadata` is the sha256 of its core metadata in the evidence store, "" where it has none. `upload_time` and `yanked`
    are the owner's word, on its source where a curator attached a wheel. `index` is the JSON text of a conda package's own `info/index.json`, `md5` its digest of old.
    `requires` are the packages that it needs, as its metadata says; `holds` are the Python distributions inside a conda
    package, as `name==version`.
    """

    file: ExceptionFile
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...] = ()
    metadata: str = ""
    requires_python: str = ""
    licence: str = ""
    yanked: str | None = None
    upload_time: datetime | None = None
    requires: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    index: str = ""
    md5: str = ""
    reports: tuple[str, ...] = ()


class Dossier(_Value, frozen=True, kw_only=True):
    """The evidence about one exception, as it is kept in the evidence store (`quarantine/dossier/1`).

    `reports` of a file are the sha256 of raw reports beside it.
    """

    schema: Literal["quarantine/dossier/1"] = "quarantine/dossier/1"
    exception: _Id
    project: str
    stage: str
    time: _Instant
    policy: Sha256
    advisories: str = ""
    files: tuple[DossierFile, ...]

    def encode(self) -> bytes:
        """The bytes that stand for it: the same dossier has the same bytes."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def decode(cls, data: bytes) -> "Dossier":
        """The dossier in the bytes, raising ValueError where they are none."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a dossier: {error}") from error


class DossierSummary(_Value, frozen=True, kw_only=True):
    """What vetting came to, with the whole dossier in the evidence store under `sha256`.

    `failures` and `unknowns` are the keys of what an approval would waive (`policy.waivers`); `final` are those that no
    approval can. `files` are the digests that were vetted. `policy` and `advisories` say what they were judged by.
    """

    time: _Instant
    sha256: Sha256
    files: tuple[Sha256, ...]
    failures: tuple[_Key, ...] = ()
    unknowns: tuple[_Key, ...] = ()
    final: tuple[_Key, ...] = ()
    policy: Sha256
    advisories: Annotated[str, Meta(max_length=128)] = ""
    binding: Annotated[str, Meta(max_length=64)] = ""
    by: Identity

    @property
    def waivable(self) -> frozenset[str]:
        """What an approval must waive to have an effect."""
        return frozenset((*self.failures, *self.unknowns))


# --- decided ----------------------------------------------------------------------------------------------------------


class RulingKind(StrEnum):
    """What a curator can say. A renewal is an approval that comes after another."""

    APPROVE = "approve"
    REJECT = "reject"
    RENEW = "renew"
    REVOKE = "revoke"


class Ruling(_Value, frozen=True, kw_only=True):
    """One curator's word on one exception. An approval binds files, a dossier, an expiry and the failures it waives.

    `binding` is that of the case: of its request and files, by all that was said of them. `project` and `stage` are those of the request, so
    that what stops an exception stops it whatever becomes of the request.
    """

    kind: RulingKind
    id: _Name
    time: _Instant
    by: Identity
    reason: _Text
    policy: Sha256
    files: tuple[Sha256, ...] = ()
    dossier: Sha256 | None = None
    expires_at: _Instant | None = None
    waives: tuple[_Key, ...] = ()
    binding: Annotated[str, Meta(max_length=64)] = ""
    project: Annotated[str, Meta(max_length=64)] = ""
    stage: Annotated[str, Meta(max_length=64)] = ""


# --- what became of it ------------------------------------------------------------------------------------------------


class PublicationKind(StrEnum):
    """Steps of the publisher, each recorded before it is taken or after."""

    PUBLISHING = "publishing"
    PUBLISHED = "published"
    UNLISTING = "unlisting"
    UNLISTED = "unlisted"
    SUSPENDED = "suspended"
    WARNED = "warned"
    DROPPED = "dropped"


class Publication(_Value, frozen=True, kw_only=True):
    """A step of the publisher, with the digests of the `files` concerned.

    `metadata` are the digests of their core metadata, in the same order, "" where there is none.
    """

    kind: PublicationKind
    time: _Instant
    files: tuple[Sha256, ...] = ()
    metadata: tuple[str, ...] = ()
    why: Annotated[str, Meta(max_length=2000)] = ""


class PolicyPublished(_Value, frozen=True, kw_only=True):
    """A policy that curators put in force. `bundle` is the sha256 of its files in the evidence store."""

    time: _Instant
    by: Identity
    sha256: Sha256
    bundle: Sha256
    reason: _Text


class ExceptionCase(_Value, frozen=True, kw_only=True):
    """Everything that the log says of one exception. Each tuple is in the order of time.

    `request` is None while only others speak of it: streams are read one by one, and in no order.
    """

    id: _Id
    request: ExceptionRequest | None = None
    joined: tuple[Joined, ...] = ()
    attached: tuple[Attached, ...] = ()
    dossiers: tuple[DossierSummary, ...] = ()
    rulings: tuple[Ruling, ...] = ()
    publications: tuple[Publication, ...] = ()

    @property
    def requesters(self) -> frozenset[tuple[str, str]]:
        """The keys of all who asked for it, as far as they say so themselves."""
        asked = () if self.request is None else (self.request.requester,)
        return frozenset(identity.key for identity in (*asked, *(joined.by for joined in self.joined)))

    @property
    def binding(self) -> str:
        """What stands for the request and the files with all that is said of them; "" without a request.

        The id stands for the request, too, but a kept page could have another one under it.
        """
        if self.request is None:
            return ""
        return sha256(msgspec.json.encode((self.id, self.request, self.files))).hexdigest()

    @property
    def files(self) -> tuple[ExceptionFile, ...]:
        """The files that are vetted and approved: attached wheels stand in the place of their source distributions.

        One counts only where it is a wheel of just the source that was asked for, and no bytes that are there already.
        """
        if self.request is None:
            return ()
        if not self.attached:
            return tuple(sorted(self.request.files))
        files = {file.sha256: file for file in self.request.files}
        sources = {sha: file for sha, file in files.items() if file.is_source}
        wheels: dict[str, ExceptionFile] = {}
        replaced: set[str] = set()
        for attached in self.attached:
            source, wheel = sources.get(attached.source), attached.file
            if source is None or wheel.is_source or wheel.sha256 in files or wheel.sha256 in wheels:
                continue
            if (wheel.upstream, wheel.name, wheel.version) == (source.upstream, source.name, source.version):
                wheels[wheel.sha256] = wheel
                replaced.add(attached.source)
        return tuple(sorted((*(file for sha, file in files.items() if sha not in replaced), *wheels.values())))

    @property
    def dossier(self) -> DossierSummary | None:
        """The newest dossier."""
        return self.dossiers[-1] if self.dossiers else None

    def last(self, *kinds: PublicationKind) -> Publication | None:
        """The publisher's newest step of one of these kinds."""
        return next((step for step in reversed(self.publications) if step.kind in kinds), None)

    def listed(self) -> Mapping[str, tuple[str, datetime]]:
        """The files that are in the mirror, or on their way into it: metadata and time of the step that says so, by sha256.

        A step of many files stands in several entries.
        """
        found: dict[str, tuple[str, datetime]] = {}
        for step in self.publications:
            if step.kind is PublicationKind.PUBLISHING:
                found |= {file: (text, step.time) for file, text in zip(step.files, step.metadata, strict=False)}
            elif step.kind in (PublicationKind.UNLISTING, PublicationKind.UNLISTED):
                found = {file: said for file, said in found.items() if file not in step.files}
        return found

    def published(self) -> frozenset[str]:
        """The sha256 of the files that the publisher said to be in the mirror, and didn't begin to take out."""
        found: set[str] = set()
        for step in self.publications:
            if step.kind is PublicationKind.PUBLISHED:
                found |= set(step.files)
            elif step.kind in (PublicationKind.UNLISTING, PublicationKind.UNLISTED):
                found -= set(step.files)
        return frozenset(found)


class Ignored(_Value, frozen=True, kw_only=True):
    """An entry that doesn't count, and why: written by the wrong role, or not of its form."""

    stream: str
    seq: int
    why: str


class State(_Value, frozen=True, kw_only=True):
    """What all exceptions are now, as far as streams were read. `delivered` are the keys of notifications that arrived.

    `broken` says of streams of requests from where on they can't be read. `as_of` is the latest time that an entry of the
    publisher has: a clock before it is wrong.
    """

    cases: Mapping[str, ExceptionCase] = {}
    policies: tuple[PolicyPublished, ...] = ()
    delivered: frozenset[str] = frozenset()
    ignored: tuple[Ignored, ...] = ()
    broken: tuple[str, ...] = ()
    as_of: _Instant | None = None


# --- what a decision comes to -----------------------------------------------------------------------------------------


class Status(StrEnum):
    """Where an exception stands."""

    REQUESTED = "requested"
    VETTED = "vetted"
    APPROVED = "approved"
    PUBLISHED = "published"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REJECTED = "rejected"


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that holds: only `policy.decide` makes one, and nothing is published without.

    `expires_at` (aware, UTC) is the instant from which it no longer holds; `waives` are the failures that it waives.
    `since` is when the last approval that it needed was given.
    """

    exception: str
    project: str
    stage: str
    files: tuple[ExceptionFile, ...]
    expires_at: datetime
    waives: frozenset[str]
    approvers: tuple[Identity, ...]
    since: datetime


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that doesn't hold, but could: requested, vetted, suspended or expired. `why` says what it waits for.

    `counted` are those whose approvals count, of `needed`. `expired_at` is set for one that held once.
    """

    status: Status
    why: str
    counted: tuple[Identity, ...] = ()
    needed: int = 0
    expired_at: datetime | None = None


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that never holds again: rejected or revoked, by whom and why."""

    status: Status
    why: str
    by: Identity
    at: datetime


Decision = Approved | Pending | Rejected
"""What `policy.decide` makes of a case."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """An approved file as a check sees it: by which exception, until when, and which failures it waives."""

    exception: str
    file: ExceptionFile
    waives: frozenset[str]
    expires_at: datetime
    metadata: str = ""
    published_at: datetime | None = None


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What exceptions come to for one project and stage, by digest. `stopped` says of others why they don't count.

    `blocked` are those that were revoked or suspended: they never pass, whatever else allows them.
    """

    live: Mapping[Digest, Grant] = {}
    stopped: Mapping[Digest, str] = {}
    blocked: Mapping[Digest, str] = {}
