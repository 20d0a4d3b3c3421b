"""From a lock and one target to the items to judge.

A lock is taken as it stands, and believed as far as the owners of its names list its digests.
"""

from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName  # msgspec looks at the annotations

from quarantine.model import (
    MIRRORED,
    Artifact,
    Digest,
    EnvironmentSpec,
    IndexPage,
    Item,
    LockedPackage,
    Outcome,
    OutcomeKind,
    Purl,
    Target,
    pypi_purl,
)
from quarantine.pipeline.pages import Pages, item_on

__all__ = ["Plan", "nothing", "plan_locked", "unclosed", "unfit"]

# Lock files whose installers take what they list and resolve nothing.
_CLOSED = frozenset({"pylock", "uv.lock", "conda-lock"})
_MOST_VERSIONS = 20


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one spec comes to on one target. `outcomes` say why there is no solution, where there is none.

    `used` are the distributions installed by conda that the solution stands on. `target` has the Python that the spec
    brings itself, None where it brings none.
    """

    items: tuple[Item, ...]
    outcomes: tuple[Outcome, ...] = ()
    used: frozenset[NormalizedName] = frozenset()
    target: Target | None = None


def unfit(spec: EnvironmentSpec, target: Target) -> tuple[Outcome, ...]:
    """The refusal of a spec that says itself that it isn't for the target; empty for one that may be."""
    if not target.may_be_in(spec.requires_python):
        meant = f"Python {spec.requires_python}"
    elif spec.environments and not any(map(target.allows, spec.environments)):
        meant = " or ".join(f"({marker})" for marker in spec.environments)
    else:
        return ()
    message = f"{spec.file} is for {meant}, not for {target}: choose another target (--target, or targets: in quarantine.yaml)"
    return (Outcome(rule="resolution", kind=OutcomeKind.FAIL, message=message),)


def nothing(spec: EnvironmentSpec, target: Target, plan: Plan) -> tuple[Outcome, ...]:
    """Why there is nothing to judge, where there is nothing: a verdict over nothing is undecided, and has a reason."""
    said = any(leaf.unverifiable or leaf.unreadable or leaf.conda is not None for leaf in spec.leaves)
    if plan.items or plan.outcomes or said:
        return ()
    message = f"nothing in {spec.file} applies to {target}, so there is nothing to judge: check it for another target"
    return (Outcome(rule="resolution", kind=OutcomeKind.UNKNOWN, message=message),)


def plan_locked(spec: EnvironmentSpec, target: Target, subject: int, pages: Pages) -> Plan:
    """The items of a lock: what it pins for the target, joined with what the owners' pages list."""
    chosen = [package for package in spec.locked or () if target.allows(package.marker)]
    found = pages.get(package.name for package in chosen if package.reference is None)
    requirers: dict[NormalizedName, list[Purl]] = {}
    for package in chosen:
        for name in package.requires:
            requirers.setdefault(name, []).append(pypi_purl(package.name, package.version))
    items: list[Item] = []
    outcomes = list(unfit(spec, target))
    for package in chosen:
        page = found.get(package.name)
        item = _item(package, page, target, subject)
        if item.source_only and page is not None and _has_wheel(page, package, target):
            outcomes.append(_lacks_wheel(spec, package, target))
        else:
            items.append(replace(item, required_by=tuple(dict.fromkeys(requirers.get(package.name, ())))))
    return Plan(items=tuple(items), outcomes=tuple(outcomes))


def unclosed(
    spec: EnvironmentSpec, plan: Plan, target: Target, pages: Pages, installed: Collection[str] = ()
) -> tuple[Outcome, ...]:
    """Why hashed requirements pin less than what gets installed, where they do: some installers resolve the rest.

    A lock file's own formats aren't resolved by anybody; a list of hashed requirements is only as closed as its
    packages' metadata say. `installed` are distributions that are there already. UpstreamError when metadata can't be had.
    """
    if spec.format in _CLOSED:
        return ()
    pinned = {*installed, *(package.name for package in spec.locked or ())}
    required, silent = pages.required(plan.items, target)
    outcomes = [
        Outcome(
            rule="locked",
            kind=OutcomeKind.FAIL,
            message=f"{spec.file} doesn't pin {name}, which {requirers[0].name} requires: "
            "an installer refuses that, or takes any version; lock the file again with all that it needs",
            location=requirers[0].location,
        )
        for name, requirers in sorted(required.items())
        if name not in pinned
    ]
    outcomes += [
        Outcome(
            rule="locked",
            kind=OutcomeKind.UNKNOWN,
            message=f"what {item.name} {item.version} requires can't be read, so whether {spec.file} pins it isn't known",
            location=item.location,
        )
        for item in silent
    ]
    return tuple(outcomes)


def _has_wheel(page: IndexPage, package: LockedPackage, target: Target) -> bool:
    listed = () if package.version is None else page.of_version(package.version)
    return any(artifact.fits(target) for artifact in listed)


def _lacks_wheel(spec: EnvironmentSpec, package: LockedPackage, target: Target) -> Outcome:
    """The refusal of a lock that leaves out the wheel that there is: it was made for something else."""
    return Outcome(
        rule="resolution",
        kind=OutcomeKind.FAIL,
        message=f"{spec.file} lists no wheel of {package.name} {package.version} for {target}, though there is one: "
        "lock it again for this target, or check it for the target that it was made for (--target)",
        location=package.location,
    )


def _item(package: LockedPackage, page: IndexPage | None, target: Target, subject: int) -> Item:
    base = replace(
        item_on(page, package.name, package.version, subject, target),
        location=package.location,
        reference=package.reference,
        locked=True,
        source_only=package.source_only,
    )
    if package.reference is not None or page is None or package.version is None:
        return base
    accepted = package.digests.union(*(file.digests for file in package.files))
    listed = {a.digest: a for a in page.of_version(package.version, accepted) if a.digest is not None}
    # what a lock calls a file decides who installs it, so that must be what its owner calls it
    renamed = {d for file in package.files for d in file.digests if d in listed and listed[d].filename != file.filename}
    known = [artifact for digest, artifact in listed.items() if digest in accepted and digest not in renamed]
    judged = (artifact for artifact in known if artifact.may_fit(target) or not artifact.is_wheel)
    return replace(
        base,
        artifacts=tuple(sorted(judged, key=lambda artifact: artifact.filename)),
        # an installer takes a file that has any of the digests, so each that the owner doesn't list is a way in
        missing_digests=(accepted - listed.keys()) | renamed,
        elsewhere=tuple(sorted(_elsewhere(package, listed, page))),
        source_only=package.source_only or (bool(known) and not any(artifact.fits(target) for artifact in known)),
    )


def _elsewhere(package: LockedPackage, listed: Mapping[Digest, Artifact], page: IndexPage) -> Iterator[str]:
    """The URLs of a lock that lead to another host than the owner's page does: an installer would go there.

    No installer goes to the mirror by a URL. What only the mirror has now may have been where its owner has other files.
    """
    for file in package.files:
        known = [listed[digest] for digest in file.digests if digest in listed]
        if file.url is None or not known or file.url.startswith(MIRRORED):
            continue
        theirs = {_host(artifact.url) for artifact in known}
        if any(artifact.is_mirrored for artifact in known):
            theirs |= {_host(a.url) for version in page.versions()[:_MOST_VERSIONS] for a in page.of_version(version)}
        if _host(file.url) not in theirs:
            yield file.url


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return url, None, None
