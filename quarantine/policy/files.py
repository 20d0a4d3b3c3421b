"""The files that curators write, as they stand in YAML: shapes only, checked and given a meaning by `load`.

A stage's rules are the common rules with that stage's keys laid over them, so every key has a default, and each
default is the strict one: what a policy doesn't mention is not thereby tolerated.
"""

import enum
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from quarantine.model import Ecosystem

__all__ = [
    "Action",
    "DenyFileEntry",
    "EntryFile",
    "IdentityFile",
    "IgnoreFile",
    "ListFile",
    "Mode",
    "PolicyFile",
    "ProjectFile",
    "PublisherFile",
    "ReservedFile",
    "Rules",
    "Threshold",
    "UpstreamFile",
    "schemas",
]


class Mode(enum.StrEnum):
    """What an upstream lets through: all that passes the rules, or only what its list names."""

    OPEN = "open"
    CURATED = "curated"


class Action(enum.StrEnum):
    """What follows from a doubt: a denial, an undecided verdict that a person has to settle, or a note."""

    DENY = "deny"
    REVIEW = "review"
    TOLERATE = "tolerate"


_Days = Annotated[int, Meta(ge=0, le=3650)]
_Text = Annotated[str, Meta(min_length=1, max_length=500)]


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping whose keys are all known."""


# --- policy.yaml ------------------------------------------------------------------------------------------------------


class UpstreamFile(_Shape, frozen=True, kw_only=True):
    """A repository that packages may come from."""

    name: Annotated[str, Meta(description="how verdicts and this policy call it")]
    type: Ecosystem
    mode: Mode
    url: Annotated[
        str | None,
        Meta(
            description="its address: https, for images with the path that theirs begin with, azureml://registries/NAME; "
            "a pypi upstream without one is the public index"
        ),
    ] = None
    entries: Annotated[str | None, Meta(description="the list of its allow and deny entries, a file beside this")] = (
        None
    )
    credentials: Annotated[str | None, Meta(description="env:NAME or azure; never the secret itself")] = None
    minimum_age_days: Annotated[_Days | None, Meta(description="instead of the stages' minimum age")] = None


class ReservedFile(_Shape, frozen=True, kw_only=True):
    """A private name, or a family of them, that only one upstream may have."""

    name: Annotated[str, Meta(description="a name, or PREFIX-*")]
    upstream: Annotated[str, Meta(description="the only upstream that it may come from")]
    reason: _Text


class IgnoreFile(_Shape, frozen=True, kw_only=True):
    """A flaw that somebody answers for, in one package, for a time."""

    id: Annotated[str, Meta(description="any identifier of the flaw (CVE, GHSA, PYSEC, ...)", min_length=4)]
    package: Annotated[str, Meta(description="the package's exact name")]
    reason: _Text
    owner: _Text
    expires: Annotated[date, Meta(description="without effect from the start of this day (UTC)")]
    stages: Annotated[tuple[str, ...] | None, Meta(description="the stages it holds in; all when left out")] = None


class IdentityFile(_Shape, frozen=True, kw_only=True):
    """Whose tokens count when exceptions are asked for and decided, and when a job says which repository it is of."""

    issuer: Annotated[str, Meta(min_length=1, max_length=512, description="who signs the tokens, to the letter")]
    audience: Annotated[str, Meta(min_length=1, max_length=256, description="what they must be for, to the letter")]
    claim: Annotated[
        str | None, Meta(description="what tells people apart: oid for Entra, actor_id for GitHub, else sub")
    ] = None


class ProjectFile(_Shape, frozen=True, kw_only=True):
    """A project that has exceptions, and the repository that alone may say that it is this project in CI."""

    name: Annotated[str, Meta(description="the project, as verdicts and exceptions call it")]
    repository: Annotated[
        str, Meta(min_length=1, max_length=512, description="OWNER/NAME as the CI system's verified tokens name it")
    ]


class Threshold(_Shape, frozen=True, kw_only=True):
    """Where flaws begin to deny: a severity or a CVSS base score, one of the two."""

    severity: Literal["low", "medium", "high", "critical"] | None = None
    score: Annotated[float, Meta(ge=0, le=10)] | None = None


class VulnerabilityRule(_Shape, frozen=True, kw_only=True):
    """Known flaws."""

    threshold: Threshold = Threshold(severity="low")
    unknown_severity: Annotated[Action, Meta(description="what a flaw of unknown severity comes to")] = Action.DENY
    unless_no_fix: Annotated[bool, Meta(description="tolerate a flaw that no version fixes")] = False


class MinimumAgeRule(_Shape, frozen=True, kw_only=True):
    """How long every file must have been public."""

    days: _Days = 7
    security_fix_days: Annotated[_Days | None, Meta(description="for versions that fix a known flaw")] = None


class TyposquatRule(_Shape, frozen=True, kw_only=True):
    """Names that resemble a well-known one."""

    action: Action = Action.DENY


class LockedRule(_Shape, frozen=True, kw_only=True):
    """Whether only input that pins every file by its digest may pass."""

    required: bool = True


class UnverifiableRule(_Shape, frozen=True, kw_only=True):
    """What a file does that can't be known without running it."""

    action: Action = Action.DENY


class IndexOptionRule(_Shape, frozen=True, kw_only=True):
    """Lines of a user's file that would change where packages come from."""

    harmless: Annotated[tuple[str, ...], Meta(description="options that may stand there, in their long form")] = ()


class CondaRule(_Shape, frozen=True, kw_only=True):
    """Conda packages that hold no Python distribution, so that no advisory about one speaks of them."""

    native: Annotated[Action, Meta(description="what such a package comes to")] = Action.DENY
    channels: Annotated[Mapping[str, Action], Meta(description="upstream -> the same, for what is from there")] = {}


class ExceptionsRule(_Shape, frozen=True, kw_only=True):
    """What an exception needs before it holds, and for how long it may."""

    approvers: Annotated[
        int, Meta(ge=1, le=20, description="how many people must approve, none of whom asked for it")
    ] = 2
    upstreams: Annotated[
        Mapping[str, Annotated[int, Meta(ge=1, le=20)]],
        Meta(description="upstream -> the same, for what is from there; `mirror` for names that no upstream has"),
    ] = {}
    max_days: Annotated[int, Meta(ge=1, le=3650, description="an approval holds no longer")] = 90
    warn_days: Annotated[int, Meta(ge=0, le=365, description="how long before its end people are told")] = 14
    max_file_mib: Annotated[int, Meta(ge=1, le=65536, description="larger files are not vetted")] = 2048


class LicenceRule(_Shape, frozen=True, kw_only=True):
    """Which licences may come in by exception."""

    allowed: Annotated[tuple[str, ...], Meta(description="SPDX identifiers; empty: every licence that is known")] = ()
    unknown: Annotated[Action, Meta(description="what a package without a licence in SPDX form comes to")] = Action.DENY


class ProvenanceRule(_Shape, frozen=True, kw_only=True):
    """Whether what comes in by exception must be attested (PEP 740) by the publisher that an allow entry names."""

    required: bool = True


class Rules(_Shape, frozen=True, kw_only=True):
    """The rules of a stage."""

    vulnerability: VulnerabilityRule = VulnerabilityRule()
    minimum_age: MinimumAgeRule = MinimumAgeRule()
    conda: CondaRule = CondaRule()
    typosquat: TyposquatRule = TyposquatRule()
    locked: LockedRule = LockedRule()
    unverifiable: UnverifiableRule = UnverifiableRule()
    index_option: IndexOptionRule = IndexOptionRule()
    exceptions: ExceptionsRule = ExceptionsRule()
    licence: LicenceRule = LicenceRule()
    provenance: ProvenanceRule = ProvenanceRule()


class PolicyFile(_Shape, frozen=True, kw_only=True):
    """`policy.yaml`."""

    version: Literal[1]
    upstreams: Annotated[tuple[UpstreamFile, ...], Meta(description="in order of ownership", min_length=1)]
    reserved: tuple[ReservedFile, ...] = ()
    default_stage: Annotated[Mapping[str, str], Meta(description="command -> the stage it judges by")]
    rules: Annotated[Rules, Meta(description="what holds in every stage")] = Rules()
    stages: Annotated[Mapping[str, Rules], Meta(description="stage -> what differs there", min_length=1)]
    ignores: tuple[IgnoreFile, ...] = ()
    identities: Annotated[
        tuple[IdentityFile, ...], Meta(description="whose words on exceptions count; a policy for all must say it")
    ] = ()
    projects: Annotated[
        tuple[ProjectFile, ...], Meta(description="which repository is which project, by what CI proves")
    ] = ()


# --- the lists --------------------------------------------------------------------------------------------------------

_SPECIFIER = "which versions: PEP 440, or comparisons of conda versions; every one when left out"


class PublisherFile(_Shape, frozen=True, kw_only=True):
    """Who may publish a project: the repository whose workflow does (PEP 740)."""

    github: Annotated[str | None, Meta(description="OWNER/REPOSITORY on GitHub")] = None
    gitlab: Annotated[str | None, Meta(description="NAMESPACE/PROJECT on GitLab")] = None
    workflow: Annotated[str | None, Meta(description="the workflow's file, like release.yml")] = None
    environment: Annotated[str | None, Meta(description="the environment that the workflow must run in")] = None


class EntryFile(_Shape, frozen=True, kw_only=True):
    """What is allowed, by whom and why."""

    name: Annotated[str, Meta(description="a name, or PREFIX-*; of images the path below the upstream, or PATH/*")]
    specifier: Annotated[str, Meta(description=_SPECIFIER)] = ""
    owner: _Text
    reason: _Text
    added: date
    expires: Annotated[date, Meta(description="without effect from the start of this day (UTC)")]
    allow_yanked: Annotated[bool, Meta(description="only with a specifier of exactly one version")] = False
    publisher: Annotated[
        PublisherFile | None, Meta(description="who must have attested files that come in by exception")
    ] = None


class DenyFileEntry(_Shape, frozen=True, kw_only=True):
    """What is denied whatever else allows it. Without `expires` it holds for good."""

    name: Annotated[str, Meta(description="a name, or PREFIX-*; of images the path below the upstream, or PATH/*")]
    specifier: Annotated[str, Meta(description=_SPECIFIER)] = ""
    owner: _Text
    reason: _Text
    added: date
    expires: date | None = None


class ListFile(_Shape, frozen=True, kw_only=True):
    """The list of an upstream."""

    version: Literal[1]
    allow: tuple[EntryFile, ...] = ()
    deny: tuple[DenyFileEntry, ...] = ()
    popular: Annotated[tuple[str, ...], Meta(description="well-known names that others are compared with")] = ()


def schemas() -> dict[str, dict[str, object]]:
    """The JSON Schema of each kind of file, by the file name that an editor saves it under."""
    return {
        "policy.schema.json": msgspec.json.schema(PolicyFile),
        "list.schema.json": msgspec.json.schema(ListFile),
    }
