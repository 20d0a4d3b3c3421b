"""Other versions that could stand in for a denied one, nearest first. Whether one passes is for the rules to say."""

from collections.abc import Iterable

from msgspec.structs import replace
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from quarantine.model import IndexPage, Item, Target

__all__ = ["candidate_item", "candidates"]


def candidates(
    page: IndexPage, version: Version | None, specifiers: Iterable[SpecifierSet], targets: Iterable[Target]
) -> tuple[Version, ...]:
    """The page's other versions in order of preference: ascending above `version`, then descending below it.

    Each satisfies every specifier and has, for every target, a wheel that fits and isn't yanked. Pre-releases are
    among them only if `version` is one. Without a version the newest comes first.
    """
    wanted, on = tuple(specifiers), tuple(targets)
    with_pre_releases = version is not None and version.is_prerelease
    fitting: dict[Version, set[Target]] = {}
    for artifact in page.artifacts:
        if artifact.yanked is None:
            fitting.setdefault(artifact.version, set()).update(target for target in on if artifact.fits(target))
    found = sorted(
        candidate
        for candidate, covered in fitting.items()
        if candidate != version
        and covered.issuperset(on)
        and (with_pre_releases or not candidate.is_prerelease)
        and all(specifier.contains(candidate, prereleases=True) for specifier in wanted)
    )
    if version is None:
        return tuple(reversed(found))
    above = [candidate for candidate in found if candidate > version]
    below = [candidate for candidate in reversed(found) if candidate < version]
    return (*above, *below)


def candidate_item(item: Item, page: IndexPage, version: Version, targets: Iterable[Target]) -> Item:
    """The item as it would be at another version of the page: all of its wheels that may be installed."""
    on = tuple(targets)
    return replace(
        item,
        version=version,
        upstream=page.upstream,
        status=page.status,
        artifacts=tuple(a for a in page.of_version(version) if any(a.may_fit(target) for target in on)),
        missing_digests=frozenset(),
        elsewhere=(),
        reference=None,
        locked=False,
        source_only=False,
        held_back_from=None,
        held_back_by="",
        contradiction="",
    )
