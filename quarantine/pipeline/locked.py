"""From a lock and one target to the items to judge.

A lock is taken as it stands, and believed as far as the owners of its names list its digests.
"""

from dataclasses import dataclass, replace

from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename

from quarantine.model import (
    EnvironmentSpec,
    IndexPage,
    Item,
    LockedFile,
    LockedPackage,
    Outcome,
    OutcomeKind,
    Purl,
    Target,
    pypi_purl,
)
from quarantine.pipeline.pages import Pages

__all__ = ["Plan", "plan_locked", "unfit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one spec comes to on one target. `outcomes` say why there is no solution, where there is none."""

    items: tuple[Item, ...]
    outcomes: tuple[Outcome, ...] = ()


def unfit(spec: EnvironmentSpec, target: Target) -> tuple[Outcome, ...]:
    """The refusal of a spec that says itself that it isn't for the target; empty for one that may be."""
    environment = {**target.environment(), "extra": ""}
    if f"{target.python}.0" not in spec.requires_python:
        meant = f"Python {spec.requires_python}"
    elif spec.environments and not any(marker.evaluate(environment) for marker in spec.environments):
        meant = " or ".join(f"({marker})" for marker in spec.environments)
    else:
        return ()
    message = f"{spec.file} is for {meant}, not for {target}: choose another target (--target, or targets: in quarantine.yaml)"
    return (Outcome(rule="resolution", kind=OutcomeKind.FAIL, message=message),)


def plan_locked(spec: EnvironmentSpec, target: Target, subject: int, pages: Pages) -> Plan:
    """The items of a lock: what it pins for the target, joined with what the owners' pages list."""
    environment = {**target.environment(), "extra": ""}
    chosen = [p for p in spec.locked or () if p.marker is None or p.marker.evaluate(environment)]
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
    listed = {a.digest: a for a in page.of_version(package.version) if a.digest is not None}
    accepted = package.digests.union(*(file.digests for file in package.files))
    elsewhere = frozenset[object]().union(*(file.digests for file in package.files if not _may_fit(file, target)))
    known = [listed[digest] for digest in accepted if digest in listed]
    artifacts = sorted(
        (artifact for artifact in known if artifact.fits(target)), key=lambda artifact: artifact.filename
    )
    return replace(
        base,
        artifacts=tuple(artifacts),
        # an installer takes a file that has any of the digests, so each that the owner doesn't list is a way in
        missing_digests=accepted - elsewhere - listed.keys(),
        source_only=package.source_only or (bool(known) and not artifacts),
    )


def _may_fit(file: LockedFile, target: Target) -> bool:
    """Whether the target could install a file of this name; a name that says nothing counts as yes."""
    if not file.filename.endswith(".whl"):
        return True
    try:
        return not parse_wheel_filename(file.filename)[3].isdisjoint(target.tags())
    except InvalidWheelFilename:
        return True
