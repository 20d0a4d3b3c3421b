"""An advisory service without anything behind it."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.model import Finding, Package, Snapshot
from quarantine.ports import Tell

__all__ = ["SNAPSHOT", "FakeAdvisories"]

SNAPSHOT = Snapshot(
    sha256="0" * 64,
    as_of=datetime(2026, 11, 23, 6, tzinfo=UTC),
    sources=(("malware", 1), ("osv", 1)),
    complete=True,
)


class FakeAdvisories:
    """Knows what it is told, by name and version; `failing` is what every question is answered with, if given."""

    def __init__(
        self,
        known: Mapping[tuple[str, str], tuple[Finding, ...]] | None = None,
        *,
        fixes: Mapping[str, frozenset[Version]] | None = None,
        snapshot: Snapshot = SNAPSHOT,
        failing: str | None = None,
    ) -> None:
        self._known = {(name, Version(version)): found for (name, version), found in (known or {}).items()}
        self._fixes = fixes or {}
        self._snapshot = snapshot
        self._failing = failing

    def snapshot(self) -> Snapshot:
        """The snapshot that it was made with."""
        self._answerable()
        return self._snapshot

    def findings(self, packages: Collection[Package], tell: Tell) -> Mapping[Package, tuple[Finding, ...]]:
        """What was said about the public version of each package."""
        self._answerable()
        return {package: self._known.get((package.name, Version(package.version.public)), ()) for package in packages}

    def fixes(self, names: Collection[NormalizedName]) -> Mapping[NormalizedName, frozenset[Version]]:
        """The fixes that were given."""
        self._answerable()
        return {name: self._fixes.get(name, frozenset()) for name in names}

    def _answerable(self) -> None:
        if self._failing is not None:
            raise UpstreamError(self._failing)
