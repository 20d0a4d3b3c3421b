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

    def requirers(self, names: frozenset[NormalizedName], items: Iterable[Item], target: Target) -> Requirers:
        """Which of the items require each of the names on the target. UpstreamError when metadata can't be had."""
        by_file = {item.artifacts[0].filename: item for item in items if item.artifacts}
        texts = self._index.metadata([item.artifacts[0] for item in by_file.values()], self._tell)
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
