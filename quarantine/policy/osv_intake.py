"""What has been read of a source of OSV records so far: by id the newest copy, what was unreadable, and what it adds up to.

A source may hold several copies of a record, one for each ecosystem that it names.
"""

import hashlib
from datetime import datetime

from quarantine.policy.advisories import Record, is_malware

__all__ = ["Intake"]

NAMED_UNREADABLE = 20
_Copy = tuple[datetime | None, str, int]


class Intake:
    """Gathers records. `superseded` are the numbers of copies that were taken, until a newer one came.

    `unreadable` names the first of the `unreadable_count` files that hold no record, with what is wrong with each.
    """

    def __init__(self) -> None:
        self._newest: dict[str, _Copy] = {}
        self.superseded: list[int] = []
        self.withdrawn: set[str] = set()
        self.unreadable_count = 0
        self.unreadable: list[str] = []

    @property
    def count(self) -> int:
        """How many different records there are, withdrawn ones among them."""
        return len(self._newest)

    @property
    def malware(self) -> int:
        """How many of them are malware records."""
        return sum(map(is_malware, self._newest))

    def refuse(self, name: str, why: ValueError) -> None:
        """Counts a file that holds no record."""
        self.unreadable_count += 1
        if len(self.unreadable) < NAMED_UNREADABLE:
            self.unreadable.append(f"{name[:200]}: {why}")

    def take(self, record: Record, data: bytes, number: int) -> bool:
        """Whether this copy is to be kept: it is the first, or newer than the one that was kept before.

        Of copies that are equally new the one with the larger digest wins, whatever the order they come in.
        """
        copy = (record.modified, hashlib.sha256(data).hexdigest(), number)
        known = self._newest.get(record.id)
        if known is not None:
            if _age_order(copy) <= _age_order(known):
                return False
            self.superseded.append(known[2])
        self._newest[record.id] = copy
        self.withdrawn.discard(record.id)
        if record.withdrawn:
            self.withdrawn.add(record.id)
        return True

    def sha256(self) -> str:
        """A digest of all records, the same whatever they came in and in what order."""
        total = hashlib.sha256()
        for identifier, (_, digest, _) in sorted(self._newest.items()):
            total.update(f"{identifier} {digest}\n".encode())
        return total.hexdigest()

    def modified(self, now: datetime) -> datetime | None:
        """When the newest record was modified. A date after `now` can't be true and makes nothing fresh."""
        dates = (modified for modified, _, _ in self._newest.values() if modified is not None and modified <= now)
        return max(dates, default=None)


def _age_order(copy: _Copy) -> tuple[float, str]:
    modified, digest, _ = copy
    return 0.0 if modified is None else modified.timestamp(), digest
