"""Rules about where a package comes from and what it is called."""

from typing import assert_never

from quarantine.exceptions import MIRROR
from quarantine.model import Ecosystem, Outcome, Package, ReferenceKind
from quarantine.policy.case import Case, failed, not_applicable, passed, unknown
from quarantine.policy.entries import Entry
from quarantine.policy.files import Action, Mode
from quarantine.policy.waivers import covered

__all__ = [
    "allow_entry",
    "deny_entry",
    "direct_reference",
    "project_status",
    "repository",
    "reserved_name",
    "typosquat",
]


def repository(case: Case) -> Outcome:
    """An upstream of the policy owns the name, and lets it through: being open, or naming it in its list."""
    rule, name, policy = "repository", case.item.name, case.stage.policy
    if case.item.reference is not None:
        return not_applicable(rule, f"{case.label} is a direct reference: no upstream is asked for it")
    known = tuple(upstream.name for upstream in policy.upstreams if upstream.type is case.item.ecosystem)
    if case.item.upstream is None:
        return failed(rule, _nowhere(case, ", ".join(known) or "it has none"), upstreams=known)
    if case.item.upstream == MIRROR:
        return _mirrored(case)
    upstream = policy.upstream(case.item.upstream)
    if upstream is None:
        message = f"{case.label} is from {case.item.upstream}, which is no upstream of the policy: expected {', '.join(known)}"
        return failed(rule, message, upstream=case.item.upstream, upstreams=known)
    match upstream.mode:
        case Mode.OPEN:
            return passed(rule, f"{case.label} is from {upstream.name}, which is open", upstream=upstream.name)
        case Mode.CURATED:
            if policy.allow_entries(upstream.name, name):
                return passed(
                    rule, f"{case.label} is from {upstream.name}, whose list names it", upstream=upstream.name
                )
            message = (
                f"{case.label} is from {upstream.name}, which is curated, and no entry of its list names {name}: "
                "ask its curators for an entry, or file an exception"
            )
            return failed(rule, message, upstream=upstream.name)
        case _:
            assert_never(upstream.mode)


def _mirrored(case: Case) -> Outcome:
    """What the mirror alone has comes in by an exception for every file of it, or not at all."""
    if case.grants is not None and covered(case.item, case.grants):
        return passed("repository", f"{case.label} is from the mirror, by an exception", upstream=MIRROR)
    message = (
        f"{case.label} is in no upstream but the mirror, and no exception of this project and stage is for every file "
        "of it: lock it so that only those count that one is for, or file an exception"
    )
    return failed("repository", message, upstream=MIRROR)


def _nowhere(case: Case, known: str) -> str:
    match case.item.ecosystem:
        case Ecosystem.PYPI | Ecosystem.CONDA:
            return (
                f"{case.item.name} is in no upstream of the policy ({known}): check its spelling, or file an exception"
            )
        case Ecosystem.OCI:
            return f"{case.label} is in no registry of the policy ({known}): take an image from there, or file an exception"
        case Ecosystem.AZUREML:
            curated = case.item.curated
            where = "in a workspace, which is" if curated is None or curated.registry is None else "in"
            return (
                f"{case.label} is {where} no registry of the policy ({known}): take an environment from there, "
                "or describe it by its image and its conda_file"
            )
        case _:
            assert_never(case.item.ecosystem)


def allow_entry(case: Case) -> Outcome:
    """From a curated upstream only what an entry allows that hasn't expired; from an open one entries aren't needed."""
    rule, version = "allow-entry", case.item.version
    upstream = None if not case.located else case.stage.policy.upstream(case.item.upstream or "")
    entries = () if upstream is None else case.stage.policy.allow_entries(upstream.name, case.item.name)
    if upstream is None or not entries:
        return not_applicable(rule, f"no allow entry names {case.item.name}")
    if version is None and case.item.ecosystem in (Ecosystem.PYPI, Ecosystem.CONDA):
        if upstream.mode is Mode.OPEN:
            return not_applicable(rule, f"{upstream.name} is open: no allow entry is needed")
        return unknown(rule, f"{case.label}: its version is not known, so no allow entry can be held against it")
    # an image may go by its digest alone, and entries of images and environments name all of their versions
    reaching = tuple(entry for entry in entries if entry.allows(version or ""))
    for entry in reaching:
        if entry.live(case.now):
            return passed(rule, f"{case.label} is allowed by {entry}: {entry.reason}", **_evidence(entry))
    if upstream.mode is Mode.OPEN:
        return not_applicable(rule, f"no allow entry reaches {case.label}, and {upstream.name} is open: none is needed")
    if reaching:
        entry = reaching[-1]
        message = f"{case.label}: the allow entry {entry} expired on {entry.expires}: ask {entry.owner} to renew it"
        return failed(rule, message, **_evidence(entry))
    allowed = ", ".join(str(entry) for entry in entries)
    advice = "take a version that they allow"
    if "+" in str(version):
        advice = "a local version needs an entry that names it with '=='"
    return failed(
        rule,
        f"{case.label} is outside the allow entries of {upstream.name}: {allowed}: {advice}",
        entries=tuple(entry.place for entry in entries),
    )


def deny_entry(case: Case) -> Outcome:
    """No deny entry reaches it, nor a Python distribution inside it, from whichever list, whatever else allows it."""
    rule, version = "deny-entry", case.item.version
    entries = case.stage.policy.deny_entries(case.item.ecosystem, case.item.name)
    live = tuple(entry for entry in entries if entry.live(case.now))
    for entry in live:
        if entry.whole or (version is not None and entry.denies(version)):
            message = f"{case.label} is denied by {entry}: {entry.reason}: {_instead(case, entry)}"
            return failed(rule, message, **_evidence(entry))
    for package in _inside(case):
        for entry in case.stage.policy.deny_entries(Ecosystem.PYPI, package.name):
            if entry.live(case.now) and entry.denies(package.version):
                held = f"{case.label} holds {package.name} {package.version}, which is denied by {entry}"
                return failed(rule, f"{held}: {entry.reason}: {_instead(case, entry)}", **_evidence(entry))
    if version is None and live:
        message = f"{case.label}: its version is not known, and some versions are denied by {live[0]}: name a version"
        return unknown(rule, message, **_evidence(live[0]))
    return passed(rule, f"no deny entry reaches {case.label}")


def _inside(case: Case) -> tuple[Package, ...]:
    """The Python distributions in a conda package, as far as they are known."""
    return (case.item.holds or ()) if case.item.ecosystem is Ecosystem.CONDA else ()


def _instead(case: Case, entry: Entry) -> str:
    what = {Ecosystem.OCI: "image", Ecosystem.AZUREML: "environment"}.get(case.item.ecosystem, "package")
    return f"{f'use another {what}' if entry.whole else 'take another version'}, or ask {entry.owner}"


def _evidence(entry: Entry) -> dict[str, str | None]:
    expires = None if entry.expires is None else entry.expires.isoformat()
    return {"entry": entry.place, "owner": entry.owner, "expires": expires}


def reserved_name(case: Case) -> Outcome:
    """A private name comes from its own upstream or not at all, also when it is only held by a conda package."""
    rule, name, policy = "reserved-name", case.item.name, case.stage.policy
    reserved = policy.reservation(name, case.item.ecosystem)
    if reserved is None:
        for package in _inside(case):
            held = policy.reservation(package.name)
            if held is not None:
                message = (
                    f"{case.label} from {case.item.upstream} holds {package.name}, which is reserved for {held.upstream} "
                    f"({held.pattern}: {held.reason}): take it from there, or reserve {name} for {case.item.upstream}"
                )
                return failed(rule, message, reserved_for=held.upstream, pattern=str(held.pattern))
        return not_applicable(rule, f"{name} is not a reserved name")
    evidence = {"reserved_for": reserved.upstream, "pattern": str(reserved.pattern)}
    if case.located and case.item.upstream == reserved.upstream:
        return passed(rule, f"{name} is reserved for {reserved.upstream}, where it is from", **evidence)
    found = f"is from {case.item.upstream}" if case.located else "is not there"
    message = (
        f"{name} is reserved for {reserved.upstream} ({reserved.pattern}: {reserved.reason}) but {found}: "
        f"{'file an exception for your own' if reserved.upstream == MIRROR else f'publish it in {reserved.upstream}'}, "
        "or rename what is not yours"
    )
    return failed(rule, message, **evidence)


def typosquat(case: Case) -> Outcome:
    """The name resembles no well-known one, or stands on a list itself."""
    rule, name, policy = "typosquat", case.item.name, case.stage.policy
    if case.item.ecosystem is not Ecosystem.PYPI:
        return not_applicable(rule, "only names of Python distributions are compared")
    listed = (
        name in policy.popular
        or policy.reservation(name) is not None
        or any(
            entry.live(case.now)
            for upstream in policy.upstreams
            if upstream.type is Ecosystem.PYPI
            for entry in policy.allow_entries(upstream.name, name)
        )
    )
    if listed:
        return passed(rule, f"{name} is on a list of the policy")
    alike = policy.near.like(name)
    if not alike:
        return passed(rule, f"{name} resembles no well-known name")
    near = min(alike, key=lambda known: (known not in policy.popular, known))
    message = f"{name} resembles {near}, which is listed, and is on no list itself"
    advice = f"write {near} if that is meant, else ask the curators to list {name}"
    match action := case.stage.rules.typosquat.action:
        case Action.DENY:
            return failed(rule, f"{message}: {advice}", resembles=near)
        case Action.REVIEW:
            return unknown(rule, f"{message}: {advice}", resembles=near)
        case Action.TOLERATE:
            return passed(rule, f"{message}: tolerated in {case.stage.name}", resembles=near)
        case _:
            assert_never(action)


def direct_reference(case: Case) -> Outcome:
    """It is named by name and version, not by where it lies: a URL, a repository or a path has no owner to answer for it."""
    reference = case.item.reference
    if reference is None:
        return passed("direct-reference", f"{case.label} is named by name and version")
    return failed(
        "direct-reference",
        f"{case.item.name} is taken from {reference_text(reference.kind)} ({reference.text}): "
        "expected a name and a version from an upstream; name those, or file an exception",
        reference=reference.text,
        kind=reference.kind.value,
    )


def reference_text(kind: ReferenceKind) -> str:
    """What a kind of reference is called in messages."""
    match kind:
        case ReferenceKind.URL:
            return "a URL"
        case ReferenceKind.VCS:
            return "a version control system"
        case ReferenceKind.PATH:
            return "a path"
        case _:
            assert_never(kind)


def project_status(case: Case) -> Outcome:
    """Its owner's index hasn't quarantined the project (PEP 792). Archived and deprecated ones pass with a note."""
    rule, status = "project-status", case.item.status
    if case.item.ecosystem is not Ecosystem.PYPI:
        return not_applicable(rule, "only indexes of Python distributions tell the status of a project")
    if not case.located:
        return not_applicable(rule, f"no upstream's page of {case.item.name} was read")
    match status:
        case "active":
            return passed(rule, f"{case.item.name} is an active project", status=status)
        case "archived" | "deprecated":
            message = f"{case.item.name} is {status} by its maintainers: plan to replace it"
            return passed(rule, message, status=status)
        case "quarantined":
            message = f"{case.item.name} is quarantined by {case.item.upstream}: remove it from the environment"
            return failed(rule, message, status=status)
        case _:
            message = f"{case.item.name} has the status {status!a}, which means nothing here: ask {case.item.upstream}"
            return unknown(rule, message, status=status)
