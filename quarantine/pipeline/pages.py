"""What the indexes say, each page asked for once in a run, and who requires what by the metadata they serve."""

import re
from collections.abc import Iterable, Mapping

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from quarantine.archive.metadata import parse_metadata
from quarantine.model import IndexPage, Item, Requirement, Target
from quarantine.ports import Index, Tell

__all__ = ["Pages", "Requirers"]

Requirers = Mapping[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]]
"""For a name, the items that require it, and the versions of it that each accepts."""


class Pages:
    """The index, remembered for as long as a run takes."""

    def __init__(self, index: Index, tell: Tell) -> None:
        self._index = index
        self._tell = tell
        self._seen: dict[NormalizedName, IndexPage | None] = {}

    def get(self, names: Iterable[NormalizedName]) -> Mapping[NormalizedName, IndexPage | None]:
        """The owner's page of every name, None where nobody has it. UpstreamError when an upstream can't say."""
        wanted = tuple(dict.fromkeys(names))
        missing = tuple(name for name in wanted if name not in self._seen)
        if missing:
            self._seen |= self._index.pages(missing, self._tell)
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
        by_file = self._by_file(items)
        found: dict[NormalizedName, tuple[Item, ...]] = {}
        silent: list[Item] = []
        for filename, text in self._metadata(by_file).items():
            if text is None:
                silent.append(by_file[filename])
                continue
            for line in parse_metadata(filename, text).requires:
                if line.name is not None and line.applies_to(target):
                    found[line.name] = (*found.get(line.name, ()), by_file[filename])
        return found, tuple(silent)

    def _by_file(self, items: Iterable[Item]) -> Mapping[str, Item]:
        """One wheel of each item: all wheels of a version are built from one source, and say the same."""
        wheels = ((item, next((a for a in item.artifacts if a.is_wheel), None)) for item in items)
        return {wheel.filename: item for item, wheel in wheels if wheel is not None}

    def _metadata(self, by_file: Mapping[str, Item]) -> Mapping[str, bytes | None]:
        wheels = [
            artifact for name, item in by_file.items() for artifact in item.artifacts if artifact.filename == name
        ]
        return self._index.metadata(wheels, self._tell)

    def requirers(self, names: frozenset[NormalizedName], items: Iterable[Item], target: Target) -> Requirers:
        """Which of the items require each of the names on the target. UpstreamError when metadata can't be had."""
        by_file = self._by_file(items)
        texts = self._metadata(by_file)
        found: dict[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]] = {}
        for filename, text in texts.items():
            if text is None:
                continue
            lines = [line for line in parse_metadata(filename, text).requires if line.name in names]
            plain = [line for line in lines if line.applies_to(target)]
            # which extras were asked for isn't known here: they count for what isn't required without one
            optional = [line for line in lines if line.name not in {other.name for other in plain}]
            for line in (*plain, *(line for line in optional if _applies_with_an_extra(line, target))):
                if line.name is not None:
                    found[line.name] = (*found.get(line.name, ()), (by_file[filename], line.specifier))
        return found


def _applies_with_an_extra(required: Requirement, target: Target) -> bool:
    """Whether its marker holds for some extra that it names."""
    extras = re.findall(r"""extra == ["']([A-Za-z0-9._-]+)["']""", str(required.marker))
    return any(target.allows(required.marker, extra) for extra in extras)
