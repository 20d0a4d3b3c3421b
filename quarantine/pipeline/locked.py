"""From a lock and one target to the items to judge.

A lock is taken as it stands, and believed as far as the owners of its names list its digests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarantine.model import (
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
from quarantine.pipeline.pages import Pages

if TYPE_CHECKING:
    from packaging.utils import NormalizedName

__all__ = ["Plan", "plan_locked", "unfit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one spec comes to on one target. `outcomes` say why there is no solution, where there is none."""

    items: tuple[Item, ...]
    outcomes: tuple[Outcome, ...] = ()


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


def plan_locked(spec: EnvironmentSpec, target: Target, subject: int, pages: Pages) -> Plan:
    """The items of a lock: what it pins for the target, joined with what the owners' pages list."""
    chosen = [package for package in spec.locked or () if target.allows(package.marker)]
    found = pages.get(package.name for package in chosen if package.reference is None)
    requirers: dict[NormalizedName, list[Purl]] = {}
    for package in chosen:
        for name in package.requires:
            requirers.setdefault(name, []).append(pypi_purl(package.name, package.version))
    items = [
        replace(
            _item(package, found.get(package.name), target, subject),
            required_by=tuple(dict.fromkeys(requirers.get(package.name, ()))),
        )
        for package in chosen
    ]
    return Plan(items=tuple(items), outcomes=unfit(spec, target))


def _item(package: LockedPackage, page: IndexPage | None, target: Target, subject: int) -> Item:
    base = Item(
        name=package.name,
        version=package.version,
        upstream=None if page is None else page.upstream,
        status="active" if page is None else page.status,
        subjects=(subject,),
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
        elsewhere=tuple(sorted(_elsewhere(package, listed))),
        source_only=package.source_only or (bool(known) and not any(artifact.fits(target) for artifact in known)),
    )


def _elsewhere(package: LockedPackage, listed: Mapping[Digest, Artifact]) -> Iterator[str]:
    """The URLs of a lock that lead to another host than the owner's page does: an installer would go there."""
    for file in package.files:
        theirs = {_host(listed[digest].url) for digest in file.digests if digest in listed}
        if file.url is not None and theirs and _host(file.url) not in theirs:
            yield file.url


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return url, None, None
