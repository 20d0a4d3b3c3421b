"""What every implementation of the AdvisoryService port does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from fakes_advisories import FakeAdvisories
from osv_records import KNOWN_FLAW, KNOWN_MALWARE, OsvService, before, bundle, listed
from parts import missing

from quarantine.adapters.osv import OsvDatabase, sync
from quarantine.adapters.pip_audit import PipAudit
from quarantine.errors import UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Finding, Package, parse_name, parse_version
from quarantine.ports import AdvisoryService

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FLAW = before("GHSA-1", "known", "2.0", aliases=["CVE-1"])
OTHER = before("PYSEC-2", "known", "1.5")


def _database(folder: Path, _: ExitStack) -> AdvisoryService:
    (folder / "all.zip").write_bytes(bundle(KNOWN_FLAW, KNOWN_MALWARE, FLAW, OTHER))
    with HttpClient(allowed=[], user_agent="tests") as http:
        sync(str(folder / "all.zip"), folder / "advisories.sqlite", http, lambda _: None, NOW)
    return OsvDatabase(folder / "advisories.sqlite")


def _pip_audit(_: Path, stack: ExitStack) -> AdvisoryService:
    if find_spec("pip_audit") is None:
        missing("pip-audit is missing: pip install '.[pip-audit]'")
    answers = {("known", "1.0"): [FLAW, OTHER], ("known", "1.7"): [FLAW]}
    service = stack.enter_context(OsvService(listed(answers)))
    return PipAudit(now=NOW, service_url=service.url)


def _fake(_: Path, __: ExitStack) -> AdvisoryService:
    flaw = Finding(id="GHSA-1", aliases=("CVE-1",), fixed=("2.0",))
    other = Finding(id="PYSEC-2", fixed=("1.5",))
    malware = Finding(id="MAL-2026-2144", malware=True)
    return FakeAdvisories(
        {("known", "1.0"): (flaw, other), ("known", "1.7"): (flaw,), ("litellm", "1.82.7"): (malware,)},
    )


_SERVICES: dict[str, Callable[[Path, ExitStack], AdvisoryService]] = {
    "osv database": _database,
    "pip-audit": _pip_audit,
    "fake": _fake,
}


@pytest.fixture(params=_SERVICES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AdvisoryService]:
    with ExitStack() as stack:
        yield _SERVICES[request.param](tmp_path, stack)


def _package(name: str, version: str) -> Package:
    return Package(parse_name(name), parse_version(version))


def test_every_package_asked_about_is_answered(service: AdvisoryService) -> None:
    """Also one that nothing is known about, also two versions of one name, also a local version."""
    packages = [
        _package("known", "1.0"),
        _package("known", "1.0+cu118"),
        _package("known", "1.7"),
        _package("known", "2.0"),
        _package("unknown", "1.0"),
        _package("litellm", "1.82.7"),
    ]

    found = service.findings(packages, lambda _: None)

    assert {package: [(finding.ids, finding.fixed) for finding in findings] for package, findings in found.items()} == {
        packages[0]: [(("GHSA-1", "CVE-1"), ("2.0",)), (("PYSEC-2",), ("1.5",))],
        packages[1]: [(("GHSA-1", "CVE-1"), ("2.0",)), (("PYSEC-2",), ("1.5",))],
        packages[2]: [(("GHSA-1", "CVE-1"), ("2.0",))],
        packages[3]: [],
        packages[4]: [],
        packages[5]: [(("MAL-2026-2144",), ())],
    }
    assert [finding.malware for finding in found[packages[5]]] == [True]


def test_nothing_asked_is_nothing_answered(service: AdvisoryService) -> None:
    """No package, no name: empty answers."""
    assert (dict(service.findings([], lambda _: None)), dict(service.fixes([]))) == ({}, {})


def test_a_snapshot_says_how_fresh_and_complete_it_is(service: AdvisoryService) -> None:
    """A sha256, an aware moment not in the future, counts by source; the same as long as nothing changed."""
    snapshot = service.snapshot()

    assert len(snapshot.sha256) == 64
    assert snapshot.as_of is not None
    assert snapshot.as_of <= NOW
    assert (snapshot.complete, snapshot.has_malware, snapshot.accepted_until) == (True, True, None)
    assert snapshot.sources == tuple(sorted(snapshot.sources))
    assert service.snapshot() == snapshot


def test_fixes_answer_every_name(service: AdvisoryService) -> None:
    """With versions that an advisory names, where the service can know them."""
    known, unknown = parse_name("known"), parse_name("unknown")

    fixes = service.fixes([known, unknown])

    assert set(fixes) == {known, unknown}
    assert fixes[unknown] == frozenset()
    assert fixes[known] <= {parse_version("1.5"), parse_version("2.0")}


@pytest.mark.parametrize(
    "broken",
    [
        lambda folder: OsvDatabase(folder / "advisories.sqlite"),
        lambda _: PipAudit(now=NOW, command=["/nonexistent/pip-audit"]),
        lambda _: FakeAdvisories(failing="down"),
    ],
    ids=list(_SERVICES),
)
def test_a_service_that_cannot_look_never_answers_nothing(
    broken: Callable[[Path], AdvisoryService], tmp_path: Path
) -> None:
    """It raises UpstreamError."""
    service = broken(tmp_path)

    with pytest.raises(UpstreamError):
        service.snapshot()
    with pytest.raises(UpstreamError):
        service.findings([_package("a", "1")], lambda _: None)
