"""The nearest version of what is refused: looked for among what its upstream has, and proved by the rules."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar, assert_never

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.model import CondaRecord, Ecosystem, Item, JudgedItem, OutcomeKind, Verdict
from quarantine.pipeline.conda import conda_item
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.pages import Pages
from quarantine.policy.nearest import candidate_item, candidates
from quarantine.ports import CondaCandidates, CondaPackages, CondaSolver, Tell

__all__ = ["Nearest"]

# What refuses a name as such: no other version of it can pass.
_NAME_RULES = frozenset({"repository", "reserved-name", "typosquat", "project-status", "direct-reference", "native"})
# What no other version mends, because it is about the lock.
_LOCK_RULES = frozenset({"integrity"})
_CHUNK = 8
_T = TypeVar("_T")


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """Looks for nearest versions. What conda packages need is made only when one of them is refused."""

    judge: Judge
    pages: Pages
    solver: Callable[[], CondaSolver]
    packages: Callable[[], CondaPackages]
    tell: Tell

    def versions(self, judged: Sequence[JudgedItem]) -> tuple[JudgedItem, ...]:
        """The items again, those that don't pass with the nearest version that would, where there is one to be found."""
        items = tuple(entry.item for entry in judged)
        return tuple(
            replace(entry, nearest=self._nearest(entry.item, items))
            if entry.verdict is not Verdict.ALLOWED and self._another_could_pass(entry)
            else entry
            for entry in judged
        )

    def _another_could_pass(self, entry: JudgedItem) -> bool:
        broken = {o.rule for o in entry.outcomes if o.kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)}
        hopeless = _NAME_RULES | (_LOCK_RULES if entry.item.locked else frozenset())
        # files that the resolver turned down for the sake of other requirements: another version is no way out by itself
        turned_down = bool(entry.item.contradiction and entry.item.artifacts)
        return not (self.judge.void or entry.item.reference is not None or turned_down or broken & hopeless)

    def _nearest(self, item: Item, items: Collection[Item]) -> Version | str | None:
        self.tell(f"{item.name}: looking for the nearest version that passes")
        try:
            for chunk in self._candidates(item, items):
                for candidate in self.judge.judge(chunk):
                    if candidate.verdict is Verdict.ALLOWED:
                        return candidate.item.version
        except UpstreamError:
            # a version that those who require the item may not be able to use is no way out
            return None
        return None

    def _candidates(self, item: Item, items: Collection[Item]) -> Iterator[Sequence[Item]]:
        """The item at other versions, a few at a time, nearest first."""
        match item.ecosystem:
            case Ecosystem.PYPI:
                return self._of_page(item, items)
            case Ecosystem.CONDA:
                return self._of_channel(item, items)
            case Ecosystem.OCI | Ecosystem.AZUREML:
                return iter(())
            case _:
                assert_never(item.ecosystem)

    def _of_page(self, item: Item, items: Collection[Item]) -> Iterator[Sequence[Item]]:
        name = NormalizedName(item.name)
        page = self.pages.one(name)
        if page is None:
            return
        requirers = [other for other in items if other.purl in item.required_by and other.ecosystem is Ecosystem.PYPI]
        needs = self.pages.requirers(frozenset({name}), requirers, item.targets[0]) if requirers else {}
        version = item.version if isinstance(item.version, Version) else None
        wanted = (specifier for _, specifier in needs.get(name, ()))
        for some in _chunks(candidates(page, version, wanted, item.targets)):
            yield [candidate_item(item, page, version, item.targets) for version in some]

    def _of_channel(self, item: Item, items: Collection[Item]) -> Iterator[Sequence[Item]]:
        if item.upstream is None or item.record is None:
            return
        beside = [o.record for o in items if o.record is not None and set(o.subjects) & set(item.subjects)]
        request = CondaCandidates(
            name=item.name,
            upstream=item.upstream,
            specs=tuple(text for record in beside for text in record.depends if _speaks_of(text, item.name)),
            beside=tuple(record for record in beside if record.name != item.name),
            target=item.targets[0],
        )
        records = self.solver().candidates(request, self.tell)
        for some in _chunks(_nearest_first(records, item.record)):
            contents = self.packages().contents(some, self.tell)
            yield [
                replace(
                    conda_item(record, contents[record], item.upstream, item.subjects[0], item.targets[0]),
                    subjects=item.subjects,
                    targets=item.targets,
                )
                for record in some
            ]


def _chunks(found: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (found[start : start + _CHUNK] for start in range(0, len(found), _CHUNK))


def _speaks_of(spec: str, name: str) -> bool:
    return spec.split(maxsplit=1)[0].partition("[")[0] == name if spec.strip() else False


def _nearest_first(ascending: Sequence[CondaRecord], record: CondaRecord) -> Sequence[CondaRecord]:
    """Other versions: those above, from the lowest up, then those below, from the highest down."""
    versions = [other.version for other in ascending]
    if record.version not in versions:
        return list(reversed(ascending))
    here = versions.index(record.version)
    return [*ascending[here + 1 :], *reversed(ascending[:here])]
