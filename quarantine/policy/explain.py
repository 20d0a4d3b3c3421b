"""What would happen to a package, as far as its name and version alone can tell: for `allowlist explain`.

The same rules judge it as in a check, only that nothing has been fetched: what needs evidence is told, not guessed. A
name may mean something in several ecosystems; each of them has its say.
"""

import re
from datetime import datetime, timedelta
from typing import assert_never

import msgspec
from packaging.version import Version

from quarantine.model import Ecosystem, Item, Outcome, OutcomeKind, parse_version
from quarantine.policy import origin
from quarantine.policy.case import Case
from quarantine.policy.conda_versions import is_conda_version
from quarantine.policy.entries import name_in
from quarantine.policy.files import Action, Mode
from quarantine.policy.stage import Policy, StagePolicy, Upstream

__all__ = ["Explanation", "StageExplanation", "explain"]

_IMAGE = re.compile(
    r"(?:(?P<host>localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(?P<port>:[0-9]+)?/)?"
    r"(?P<path>[^:@]+)(?::(?P<tag>[\w.-]{1,128}))?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


class StageExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage makes of the name. `needs` are rules that need evidence, each with what they ask of it."""

    stage: str
    outcomes: tuple[Outcome, ...]
    needs: tuple[tuple[str, str], ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen to a name in one ecosystem.

    `owners` are the upstreams that it may be from; of Python distributions and conda packages in the order in which
    they are asked: the first that has it owns it. `entries` are the allow and deny entries that speak of it, each as a
    sentence.
    """

    ecosystem: Ecosystem
    name: str
    version: Version | str | None
    reserved_for: str | None
    owners: tuple[Upstream, ...]
    entries: tuple[str, ...]
    stages: tuple[StageExplanation, ...]


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A name in one ecosystem, with what it is called in each upstream that it may be from."""

    ecosystem: Ecosystem
    name: str
    version: Version | str | None
    called: tuple[tuple[Upstream, str], ...]


def explain(policy: Policy, name: str, version: str | None, now: datetime) -> tuple[Explanation, ...]:
    """What every stage would make of it, in every ecosystem that the policy has upstreams of and that has such names.

    `name` is that of a Python distribution or conda package, an image's path with or without its registry and tag, or
    that of a curated Azure ML environment. ValueError where it is none of these.
    """
    found: list[_Asked] = []
    complaint: ValueError | None = None
    for read in (_python, _conda, _image, _curated):
        try:
            asked = read(policy, name, version)
        except ValueError as error:
            complaint = complaint or error
            continue
        if asked is not None:
            found.append(asked)
    if not found:
        raise complaint or ValueError(f"{name!a} is no name in any upstream of the policy")
    return tuple(_explained(policy, asked, now) for asked in found)


# --- what a name may mean ---------------------------------------------------------------------------------------------


def _python(policy: Policy, text: str, version: str | None) -> _Asked | None:
    name = name_in(text, Ecosystem.PYPI)
    exact = None if version is None else parse_version(version)
    return _owned(policy, Ecosystem.PYPI, name, exact)


def _conda(policy: Policy, text: str, version: str | None) -> _Asked | None:
    name = name_in(text.lower() if text.isascii() else text, Ecosystem.CONDA)
    if version is not None and not is_conda_version(version):
        raise ValueError(f"{version!a} is not a version of a conda package")
    return _owned(policy, Ecosystem.CONDA, name, version)


def _owned(policy: Policy, ecosystem: Ecosystem, name: str, version: Version | str | None) -> _Asked | None:
    upstreams = _of(policy, ecosystem)
    reserved_for = policy.upstream_of_reserved(name, ecosystem)
    called = tuple((upstream, name) for upstream in upstreams if reserved_for in (None, upstream.name))
    return _Asked(ecosystem=ecosystem, name=name, version=version, called=called) if upstreams else None


def _image(policy: Policy, text: str, version: str | None) -> _Asked | None:
    """An image by its registry and path, or by its path in each of the policy's registries."""
    parts = _IMAGE.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!a} is not an image: expected PATH, REGISTRY/PATH or either with :TAG")
    path = name_in(parts["path"], Ecosystem.OCI)
    registries = _of(policy, Ecosystem.OCI)
    if parts["host"] is None:
        called = tuple((upstream, f"{upstream.location}/{path}") for upstream in registries)
    else:
        path = f"{parts['host']}{parts['port'] or ''}/{path}"
        called = tuple((upstream, path) for upstream in registries if path.startswith(f"{upstream.location}/"))[:1]
    if not registries or ("/" not in path and not _listed(policy, Ecosystem.OCI, called)):
        # most names are those of packages: as an image's only one that a list speaks of has a meaning
        return None
    return _Asked(ecosystem=Ecosystem.OCI, name=path, version=version or parts["tag"], called=called)


def _curated(policy: Policy, text: str, version: str | None) -> _Asked | None:
    """A curated environment, if a list speaks of it."""
    name = name_in(text, Ecosystem.AZUREML)
    called = tuple((upstream, name) for upstream in _of(policy, Ecosystem.AZUREML))
    if not _listed(policy, Ecosystem.AZUREML, called):
        return None
    return _Asked(ecosystem=Ecosystem.AZUREML, name=name, version=version, called=called)


def _of(policy: Policy, ecosystem: Ecosystem) -> tuple[Upstream, ...]:
    return tuple(upstream for upstream in policy.upstreams if upstream.type is ecosystem)


def _listed(policy: Policy, ecosystem: Ecosystem, called: tuple[tuple[Upstream, str], ...]) -> bool:
    return any(policy.allow_entries(u.name, name) or policy.deny_entries(ecosystem, name) for u, name in called)


# --- what is made of it -----------------------------------------------------------------------------------------------


def _explained(policy: Policy, asked: _Asked, now: datetime) -> Explanation:
    return Explanation(
        ecosystem=asked.ecosystem,
        name=asked.name,
        version=asked.version,
        reserved_for=policy.upstream_of_reserved(asked.name, asked.ecosystem),
        owners=tuple(upstream for upstream, _ in asked.called),
        entries=_entries(policy, asked, now),
        stages=tuple(_stage(policy.stage(stage), asked, now) for stage in policy.stages),
    )


def _entries(policy: Policy, asked: _Asked, now: datetime) -> tuple[str, ...]:
    names = dict.fromkeys(name for _, name in asked.called)
    named = names or {asked.name: None}
    denying = [("denied", entry) for name in named for entry in policy.deny_entries(asked.ecosystem, name)]
    upstreams = _of(policy, asked.ecosystem)
    allowing = [("allowed", e) for u in upstreams for name in named for e in policy.allow_entries(u.name, name)]
    sentences = []
    for verb, entry in (*denying, *allowing):
        ends = "for good" if entry.expires is None else f"until {entry.expires}"
        state = ends if entry.live(now) else f"expired on {entry.expires}"
        sentences.append(f"{verb} by {entry}: {entry.reason}: {entry.owner}, {state}")
    return tuple(sentences)


def _stage(stage: StagePolicy, asked: _Asked, now: datetime) -> StageExplanation:
    outcomes: list[Outcome] = []
    called = asked.called or ((None, asked.name),)
    for upstream, name in called:
        case = _case(stage, asked, name, upstream, now)
        outcomes += [origin.repository(case), origin.allow_entry(case)]
        if asked.ecosystem is Ecosystem.OCI:
            # each registry has an image of its own by that path
            outcomes.append(origin.deny_entry(case))
    case = _case(stage, asked, called[0][1], called[0][0], now)
    if asked.ecosystem is not Ecosystem.OCI:
        outcomes.append(origin.deny_entry(case))
    outcomes += [origin.reserved_name(case), origin.typosquat(case)]
    return StageExplanation(
        stage=stage.name,
        outcomes=tuple(dict.fromkeys(outcome for outcome in outcomes if _says_something(outcome))),
        needs=_needs(stage, asked),
    )


def _says_something(outcome: Outcome) -> bool:
    # that an open upstream lets it through stands with the owners, and supposes that the upstream has it
    opens = outcome.rule == "repository" and outcome.kind is OutcomeKind.PASS
    return not opens and outcome.kind is not OutcomeKind.NOT_APPLICABLE


def _case(stage: StagePolicy, asked: _Asked, name: str, upstream: Upstream | None, now: datetime) -> Case:
    owner = None if upstream is None else upstream.name
    item = Item(ecosystem=asked.ecosystem, name=name, version=asked.version, upstream=owner)
    return Case(stage=stage, item=item, findings=None, fix=False, snapshot=None, now=now)


# --- what a check would need ------------------------------------------------------------------------------------------


def _needs(stage: StagePolicy, asked: _Asked) -> tuple[tuple[str, str], ...]:
    """The rules that need evidence about the version, and what they expect of it in this stage."""
    owners = tuple(upstream for upstream, _ in asked.called)
    match asked.ecosystem:
        case Ecosystem.PYPI:
            needs = _package_needs(stage, owners)
            needs += (
                ("project-status", "a project that its index has not quarantined"),
                ("yanked", "no yanked file, unless an entry takes that version on"),
                ("source-only", "a wheel for every target"),
                ("integrity", "files that the owner lists, by digest"),
            )
        case Ecosystem.CONDA:
            inside = "the Python distributions that it holds, by its own file list"
            needs = (*_package_needs(stage, owners), ("integrity", "a file that the owner lists, by digest"))
            needs += (("native", f"{inside}; without any: {_native(stage, owners)}"),)
        case Ecosystem.OCI:
            needs = (
                ("integrity", "the digest that its registry gives for it"),
                ("platform", "an image for every target"),
            )
        case Ecosystem.AZUREML:
            needs = ()
        case _:
            assert_never(asked.ecosystem)
    pins = {Ecosystem.OCI: "its digest in the file", Ecosystem.AZUREML: "its version in the file, not a label"}
    locked = pins.get(asked.ecosystem, "a file that pins every package by digest")
    return (*needs, *((("locked", locked),) if stage.rules.locked.required else ()))


def _package_needs(stage: StagePolicy, owners: tuple[Upstream, ...]) -> tuple[tuple[str, str], ...]:
    rule = stage.rules.vulnerability
    limit = rule.threshold.severity or f"a score of {rule.threshold.score}"
    unrated = {
        Action.DENY: "an unknown severity is denied",
        Action.REVIEW: "an unknown severity is for a person to settle",
        Action.TOLERATE: "an unknown severity is tolerated",
    }[rule.unknown_severity]
    no_fix = "; a flaw that no version fixes is tolerated" if rule.unless_no_fix else ""
    lane = stage.security_fix_age
    ages = ", ".join(f"{_days(stage.minimum_age_of(upstream.name))} ({upstream.name})" for upstream in owners)
    fix = "" if lane is None else f"; {_days(lane)} for a version that fixes a known flaw"
    curated = any(upstream.mode is Mode.CURATED for upstream in owners)
    return (
        *((("allow-entry", "its version, to hold against the entries of a curated list"),) if curated else ()),
        ("malware", "no malware record, in a source that has such records"),
        ("vulnerability", f"no flaw from {limit} up; {unrated}{no_fix}"),
        ("minimum-age", f"upload times of all its files: at least {ages or _days(stage.minimum_age)}{fix}"),
    )


def _native(stage: StagePolicy, owners: tuple[Upstream, ...]) -> str:
    words = {Action.DENY: "denied", Action.REVIEW: "for a person to settle", Action.TOLERATE: "tolerated"}
    return ", ".join(f"{words[stage.native(upstream.name)]} ({upstream.name})" for upstream in owners)


def _days(age: timedelta) -> str:
    return "1 day" if age == timedelta(days=1) else f"{age.days} days"
