"""Rules about a file as a whole: whether it pins what it asks for, and what it says beside naming packages."""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from quarantine.model import Directive, EnvironmentSpec, Location, Outcome, Reference, Requirement, Unverifiable
from quarantine.policy.case import failed, not_applicable, passed, unknown
from quarantine.policy.files import Action
from quarantine.policy.origin import reference_text
from quarantine.policy.stage import StagePolicy

__all__ = ["judge_spec"]


def judge_spec(stage: StagePolicy, spec: EnvironmentSpec, *, locks: bool, now: datetime) -> tuple[Outcome, ...]:
    """The outcomes of one file; `locks` is whether a lock of it is being written, which the verdict is then on."""
    del now  # no rule about a file depends on the time; entries and ages are the items'
    return (
        _locked(stage, spec, locks=locks),
        *(_index_option(stage, directive) for directive in spec.directives),
        # a named reference among the requirements is an item, which has this rule of its own
        *(_reference(r, r.reference) for r in spec.requirements if r.reference is not None and r.name is None),
        *(_reference(r, r.reference) for r in spec.constraints if r.reference is not None),
        *(_unverifiable(stage, entry) for entry in spec.unverifiable),
    )


def _at(outcome: Outcome, location: Location) -> Outcome:
    return replace(outcome, location=location)


def _locked(stage: StagePolicy, spec: EnvironmentSpec, *, locks: bool) -> Outcome:
    """A later build of a file that pins nothing may install something else than what was judged."""
    rule = "locked"
    asks = spec.requirements if spec.locked is None else spec.locked
    if not asks:
        return not_applicable(rule, f"{spec.file} asks for nothing")
    if spec.locked is not None:
        return passed(rule, f"{spec.file} pins every package by digest")
    if locks:
        return passed(rule, f"{spec.file} is being locked: the verdict is on the lock")
    advice = "write a lock with check --lock FILE and build from that"
    if stage.rules.locked.required:
        return failed(rule, f"{spec.file} pins no digests, which {stage.name} expects: {advice}")
    return passed(rule, f"{spec.file} pins no digests, so a later build may differ from what was judged: {advice}")


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


def _reference(requirement: Requirement, reference: Reference) -> Outcome:
    message = (
        f"{requirement.name or 'a package without a name'} is taken from {reference_text(reference.kind)} "
        f"({reference.text}): expected a name and a version from an upstream; name those, or file an exception"
    )
    return _at(
        failed("direct-reference", message, reference=reference.text, kind=reference.kind.value), requirement.location
    )


def _unverifiable(stage: StagePolicy, entry: Unverifiable) -> Outcome:
    rule = "unverifiable"
    message = f"{entry.what} can't be verified: {entry.why}"
    match action := stage.rules.unverifiable.action:
        case Action.DENY:
            outcome = failed(
                rule, f"{message}: expected none of that in {stage.name}; name packages and versions instead"
            )
        case Action.REVIEW:
            outcome = unknown(rule, f"{message}: somebody has to look at it")
        case Action.TOLERATE:
            outcome = passed(rule, f"{message}: tolerated in {stage.name}")
        case _:
            assert_never(action)
    return _at(outcome, entry.location)
