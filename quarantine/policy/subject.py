"""Rules about a file as a whole: whether it pins what it asks for, and what it says beside naming packages.

A file may be a tree: what a Dockerfile's lines install, the conda file of an Azure ML environment. Each of its leaves is
judged, and the outcomes say where in which file they have their reason.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

import msgspec
from msgspec.structs import replace

from quarantine.errors import Problem
from quarantine.model import (
    Directive,
    Ecosystem,
    EnvironmentSpec,
    Location,
    Outcome,
    Reference,
    Unverifiable,
)
from quarantine.policy.case import failed, listing, not_applicable, passed, unknown
from quarantine.policy.channels import upstream_of_channel
from quarantine.policy.files import Action
from quarantine.policy.origin import reference_text
from quarantine.policy.stage import StagePolicy

__all__ = ["judge_spec"]


def judge_spec(stage: StagePolicy, spec: EnvironmentSpec, *, locks: bool, now: datetime) -> tuple[Outcome, ...]:
    """The outcomes of one file and of all its parts; `locks` is whether a lock of it is written, which the verdict is then on."""
    del now  # no rule about a file depends on the time; entries and ages are the items'
    told = (outcome for leaf in spec.leaves for outcome in _leaf(stage, leaf))
    return (_locked(stage, spec, locks=locks), *dict.fromkeys(told))


def _leaf(stage: StagePolicy, leaf: EnvironmentSpec) -> Iterator[Outcome]:
    yield from map(_readable, leaf.unreadable)
    yield from _channels(stage, leaf)
    yield from (_index_option(stage, directive) for directive in leaf.directives)
    for line in leaf.requirements:
        # a named reference among the requirements is an item, which has this rule of its own
        if line.reference is not None and line.name is None:
            yield _reference(line.name, line.reference, line.location)
    for line in leaf.constraints:
        if line.reference is not None:
            yield _reference(line.name, line.reference, line.location)
    for spec in leaf.conda.specs if leaf.conda is not None else ():
        if spec.reference is not None:
            yield _reference(spec.name, spec.reference, spec.location)
    yield from (_unverifiable(stage, entry) for entry in leaf.unverifiable)


def _at(outcome: Outcome, location: Location) -> Outcome:
    return replace(outcome, location=location)


# --- locked -----------------------------------------------------------------------------------------------------------


class _Loose(msgspec.Struct, frozen=True):
    """Something that isn't pinned: what is to be said of it, what would pin it, and where it stands."""

    what: str
    advice: str
    location: Location | None = None


_LOCK = "write a lock with check --lock FILE and build from that"
_DIGEST = "name each image by its digest, which the verdict gives"
_COPIED = "keep what it installs in files of their own, lock those, and install the locks instead"
_VERSION = "name a version of the environment"


def _locked(stage: StagePolicy, spec: EnvironmentSpec, *, locks: bool) -> Outcome:
    """A later build of a file that pins nothing may install something else than what was judged."""
    rule = "locked"
    named = any(leaf.images or leaf.curated for leaf in spec.leaves)
    if not named and not any(_kinds(leaf) for leaf in spec.leaves):
        return not_applicable(rule, f"{spec.file} asks for nothing")
    # no lock can stand for a Dockerfile
    write = _COPIED if any(leaf.format == "dockerfile" for leaf in spec.leaves) else _LOCK
    loose = tuple(dict.fromkeys(found for leaf in spec.leaves for found in _loose(leaf, spec.file, write)))
    if not loose:
        return passed(rule, f"{spec.file} pins {'everything that it names' if named else 'every package by digest'}")
    if locks:
        return passed(rule, f"{spec.file} is being locked: the verdict is on the lock")
    nothing = not spec.parts and not named and all(_kinds(spec).values())
    what = f"{spec.file} pins no digests" if nothing else f"{spec.file}: {listing(found.what for found in loose)}"
    advice = "; ".join(dict.fromkeys(found.advice for found in loose))
    if stage.rules.locked.required:
        outcome = failed(rule, f"{what}, which {stage.name} expects: {advice}")
    else:
        outcome = passed(rule, f"{what}, so a later build may differ from what was judged: {advice}")
    location = next((found.location for found in loose if found.location is not None), None)
    return outcome if location is None else _at(outcome, location)


def _kinds(leaf: EnvironmentSpec) -> dict[str, bool]:
    """The kinds of package that a leaf itself asks for, and whether they are left open."""
    kinds = {}
    if leaf.conda is not None and (leaf.conda.specs or leaf.conda.locked):
        kinds["conda"] = leaf.conda.locked is None
    if leaf.requirements if leaf.locked is None else leaf.locked:
        kinds["pip"] = leaf.locked is None
    return kinds


def _loose(leaf: EnvironmentSpec, file: str, write: str) -> Iterator[_Loose]:
    """What the leaf itself leaves open; `file` is what the outcome speaks of, `write` how its packages are pinned."""
    for kind, open_ in _kinds(leaf).items():
        if open_:
            whose = f"its {kind} packages" if leaf.file == file else f"the {kind} packages of {leaf.file}"
            yield _Loose(f"{whose} have no digests", write)
    for image in leaf.images:
        if image.digest is None:
            yield _Loose(f"{image} has no digest", _DIGEST, image.location)
    for environment in leaf.curated:
        if environment.version is None:
            yield _Loose(f"{environment} names no version", _VERSION, environment.location)


# --- where from -------------------------------------------------------------------------------------------------------


def _channels(stage: StagePolicy, leaf: EnvironmentSpec) -> Iterator[Outcome]:
    """Every channel that a file names, by itself or before a package, is an upstream of the policy."""
    if leaf.conda is None:
        return
    named = [(channel.name, channel.location) for channel in leaf.conda.channels]
    named += [(s.channel, s.location) for s in leaf.conda.specs if s.channel is not None]
    seen = {name for name, _ in named}
    for package in leaf.conda.locked or ():
        # a lock repeats its channels with every package
        if package.channel is not None and package.channel not in seen:
            named.append((package.channel, package.location))
            seen.add(package.channel)
    for name, location in named:
        yield _at(_channel(stage, name), location)


def _meant(name: str) -> str:
    # conda takes it where a file names no channel, so the file need not say it
    return "defaults, which conda takes where no channel is named," if name == "defaults" else name


def _channel(stage: StagePolicy, name: str) -> Outcome:
    rule, policy = "channel", stage.policy
    upstream = upstream_of_channel(policy, name)
    if upstream is not None:
        return passed(rule, f"{name} is the upstream {upstream.name}", channel=name, upstream=upstream.name)
    known = tuple(u.name for u in policy.upstreams if u.type is Ecosystem.CONDA)
    instead = (
        f"name those instead (channels: [{', '.join(known)}, nodefaults])" if known else "take them from elsewhere"
    )
    message = (
        f"{_meant(name)} is no conda channel of the policy ({', '.join(known) or 'it has none'}): {instead}, "
        "or ask the curators to add it as an upstream"
    )
    return failed(rule, message, channel=name, upstreams=known)


def _index_option(stage: StagePolicy, directive: Directive) -> Outcome:
    """A line that would change where packages come from or how they are trusted is judged, never obeyed."""
    rule = "index-option"
    if directive.option in stage.rules.index_option.harmless:
        return _at(
            passed(rule, f"{directive.option} is harmless by policy", option=directive.option), directive.location
        )
    message = (
        f"{directive.text} would change what is installed from where, or how it is trusted: expected none of that in the "
        "file; remove the line, the policy names the upstreams"
    )
    return _at(failed(rule, message, option=directive.option), directive.location)


def _reference(name: str | None, reference: Reference, location: Location) -> Outcome:
    message = (
        f"{name or 'a package without a name'} is taken from {reference_text(reference.kind)} "
        f"({reference.text}): expected a name and a version from an upstream; name those, or file an exception"
    )
    return _at(failed("direct-reference", message, reference=reference.text, kind=reference.kind.value), location)


# --- what can't be known ----------------------------------------------------------------------------------------------


def _readable(problem: Problem) -> Outcome:
    """A file that can't be read may ask for anything."""
    message = f"can't be read, so nothing that it asks for was judged: {problem.message}"
    where = Location(file=problem.file, line=problem.line, column=problem.column)
    return _at(unknown("readable", message), where)


def _unverifiable(stage: StagePolicy, entry: Unverifiable) -> Outcome:
    rule = "unverifiable"
    message = f"{entry.what} can't be verified: {entry.why}"
    match action := stage.rules.unverifiable.action:
        case Action.DENY:
            outcome = failed(
                rule,
                f"{message}: expected none of that in {stage.name}; write it so that it can be read: packages and images by name and version",
            )
        case Action.REVIEW:
            outcome = unknown(rule, f"{message}: somebody has to look at it")
        case Action.TOLERATE:
            outcome = passed(rule, f"{message}: tolerated in {stage.name}")
        case _:
            assert_never(action)
    return _at(outcome, entry.location)
