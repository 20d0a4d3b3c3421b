"""What the indexes say, each page asked for once in a run, and who requires what by the metadata they serve."""

import re
from collections.abc import Iterable, Iterator, Mapping

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.archive.metadata import parse_metadata
from quarantine.model import Artifact, IndexPage, Item, Requirement, Target
from quarantine.pipeline.overlay import Overlay
from quarantine.ports import Index, Tell

__all__ = ["Pages", "Requirers", "item_on"]

Requirers = Mapping[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]]
"""For a name, the items that require it, and the versions of it that each accepts."""


class Pages:
    """The index, remembered for as long as a run takes, with what exceptions let in beside what it lists."""

    def __init__(self, index: Index, tell: Tell, overlay: Overlay | None = None) -> None:
        self.overlay = Overlay(None, lambda _: None, lambda _: None) if overlay is None else overlay
        self._index = index
        self._tell = tell
        self._seen: dict[NormalizedName, IndexPage | None] = {}

    def get(self, names: Iterable[NormalizedName]) -> Mapping[NormalizedName, IndexPage | None]:
        """The owner's page of every name, None where nobody has it. UpstreamError when an upstream can't say."""
        wanted = tuple(dict.fromkeys(names))
        missing = tuple(name for name in wanted if name not in self._seen)
        if missing:
            found = self._index.pages(missing, self._tell)
            self._seen |= {name: self.overlay.page(name, page) for name, page in found.items()}
        return {name: self._seen[name] for name in wanted}

    def one(self, name: NormalizedName) -> IndexPage | None:
        """The owner's page of one name."""
        return self.get((name,))[name]

    def required(
        self, items: Iterable[Item], target: Target
    ) -> tuple[Mapping[NormalizedName, tuple[Item, ...]], tuple[Item, ...]]:
        """Every name that the items require on the target, with those that do; and the items that don't say.

        UpstreamError when metadata can't be had.
        """
        found: dict[NormalizedName, tuple[Item, ...]] = {}
        silent: list[Item] = []
        for item, lines in self._requires(items):
            if lines is None:
                silent.append(item)
            for line in lines or ():
                if line.name is not None and line.applies_to(target):
                    found[line.name] = (*found.get(line.name, ()), item)
        return found, tuple(silent)

    def requirers(self, names: frozenset[NormalizedName], items: Iterable[Item], target: Target) -> Requirers:
        """Which of the items require each of the names on the target. UpstreamError when metadata can't be had."""
        found: dict[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]] = {}
        for item, every in self._requires(items):
            lines = [line for line in every or () if line.name in names]
            plain = [line for line in lines if line.applies_to(target)]
            # which extras were asked for isn't known here: they count for what isn't required without one
            optional = [line for line in lines if line.name not in {other.name for other in plain}]
            for line in (*plain, *(line for line in optional if _applies_with_an_extra(line, target))):
                if line.name is not None:
                    found[line.name] = (*found.get(line.name, ()), (item, line.specifier))
        return found

    def _requires(self, items: Iterable[Item]) -> Iterator[tuple[Item, tuple[Requirement, ...] | None]]:
        """What each item that has a wheel requires by its metadata; None where nobody serves it.

        One wheel speaks for an item: all wheels of a version are built from one source.
        """
        chosen = (
            (item, next((a for a in item.artifacts if isinstance(a, Artifact) and a.is_wheel), None)) for item in items
        )
        wheels = {wheel.filename: (item, wheel) for item, wheel in chosen if wheel is not None}
        known = self.overlay.metadata(wheel for _, wheel in wheels.values())
        listed = [wheel for _, wheel in wheels.values() if wheel.filename not in known]
        for filename, text in {**self._index.metadata(listed, self._tell), **known}.items():
            yield wheels[filename][0], None if text is None else parse_metadata(filename, text).requires


def item_on(
    page: IndexPage | None, name: NormalizedName, version: Version | None, subject: int, target: Target
) -> Item:
    """A package of a subject as its owner's page has it; nobody's where there is no page. Its files are to be added."""
    return Item(
        name=name,
        version=version,
        upstream=None if page is None else page.upstream,
        status="active" if page is None else page.status,
        subjects=(subject,),
        targets=(target,),
    )


def _applies_with_an_extra(required: Requirement, target: Target) -> bool:
    """Whether its marker holds for some extra that it names."""
    extras = re.findall(r"""extra == ["']([A-Za-z0-9._-]+)["']""", str(required.marker))
    return any(target.allows(required.marker, extra) for extra in extras)
