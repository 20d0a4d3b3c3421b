"""pip-audit as the live source: the real program against a loopback service, and what is made of a bad answer."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from osv_records import KNOWN_FLAW, OsvService, affected, before, bundle, listed, record

from quarantine.adapters.osv import OsvDatabase, sync
from quarantine.adapters.pip_audit import PipAudit
from quarantine.errors import UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Finding, Package, Snapshot, parse_name, parse_version

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
IGNORANT = "pip-audit does not find CVE-2018-18074 in requests 2.19.0: its service knows nothing, so its silence proves nothing"

needs_pip_audit = pytest.mark.skipif(
    find_spec("pip_audit") is None, reason="pip-audit is missing: pip install '.[pip-audit]'"
)


def _package(name: str, version: str) -> Package:
    return Package(parse_name(name), parse_version(version))


def _asking(url: str) -> PipAudit:
    return PipAudit(now=NOW, service_url=url, timeout_seconds=60)


# --- the real program ------------------------------------------------------------------------------------------------


@needs_pip_audit
def test_a_service_that_knows_the_known_is_believed_now() -> None:
    """It is as fresh as the moment, and a malware source, because it showed a piece of malware."""
    with OsvService(listed({})) as service:
        snapshot = _asking(service.url).snapshot()

    assert snapshot == Snapshot(
        sha256=snapshot.sha256, as_of=NOW, sources=(("malware", 1), ("pip-audit", 1)), complete=True
    )
    assert sorted(service.asked) == [("litellm", "1.82.7"), ("requests", "2.19.0")]


@needs_pip_audit
def test_a_service_without_malware_is_no_source_of_it() -> None:
    """So the malware rule stays unknown."""
    with OsvService(lambda name, _: [KNOWN_FLAW] if name == "requests" else []) as service:
        snapshot = _asking(service.url).snapshot()

    assert (snapshot.sources, snapshot.has_malware) == ((("pip-audit", 1),), False)


@needs_pip_audit
def test_a_service_that_knows_nothing_is_not_believed() -> None:
    """An OSV service that answers `{}` to everything looks like a clean world."""
    with OsvService(lambda _name, _version: []) as service:
        pip_audit = _asking(service.url)

        for ask in (pip_audit.snapshot, lambda: pip_audit.findings([_package("a", "1")], lambda _: None)):
            with pytest.raises(UpstreamError) as caught:
                ask()
            assert str(caught.value) == f"{IGNORANT}: look at `advisories.service_url`"


@needs_pip_audit
def test_findings_of_several_versions_of_a_name() -> None:
    """One program run for each version; a local part is not asked about; malware is known by its id."""
    flaw = before("GHSA-1", "a", "2.0", aliases=["CVE-1"], summary="One\x1b[31m line", details="more")
    malware = record("PYSEC-9", affected("a", versions=["3.0"]), aliases=["MAL-9"])
    packages = [_package("a", "1.0"), _package("a", "1.0+cu118"), _package("a", "3.0"), _package("b", "1!2.0rc1")]
    with OsvService(listed({("a", "1.0"): [flaw], ("a", "3.0"): [malware]})) as service:
        found = _asking(service.url).findings(packages, lambda _: None)

    expected = (Finding(id="GHSA-1", aliases=("CVE-1",), fixed=("2.0",), summary="One[31m line"),)
    assert found == {
        packages[0]: expected,
        packages[1]: expected,
        packages[2]: (Finding(id="MAL-9", aliases=("PYSEC-9",), malware=True, summary="N/A"),),
        packages[3]: (),
    }
    assert sorted(service.asked)[:3] == [("a", "1.0"), ("a", "3.0"), ("b", "1!2.0rc1")]


@needs_pip_audit
def test_a_record_that_pip_audit_drops_is_no_clean_answer() -> None:
    """It says so on standard error only."""
    future = record("CVE-1", affected("a", versions=["1.0"]), schema_version="2.0.0")
    with OsvService(listed({("a", "1.0"): [future]})) as service, pytest.raises(UpstreamError) as caught:
        _asking(service.url).findings([_package("a", "1.0")], lambda _: None)

    assert str(caught.value).startswith("pip-audit ended with status 0: ")


@needs_pip_audit
def test_a_service_that_does_not_answer_is_an_error() -> None:
    """With pip-audit's own last word."""
    with pytest.raises(UpstreamError, match=r"^pip-audit ended with status 1 and no result: .*Connection"):
        _asking("http://127.0.0.1:9/").snapshot()


@needs_pip_audit
def test_the_database_and_pip_audit_find_the_same(tmp_path: Path) -> None:
    """Package, version, identifiers: our own matching against an independent list of what is affected."""
    versions = [f"{major}.{minor}" for major in range(3) for minor in range(4)]
    records: list[bytes] = [KNOWN_FLAW]
    answers: dict[tuple[str, str], list[bytes]] = {("requests", "2.19.0"): [KNOWN_FLAW]}
    for number in range(24):
        name, start, end = f"pkg-{number % 6}", number % 5, 5 + number % 7
        hit = versions[start:end]
        events = [{"introduced": hit[0]}, {"fixed": versions[end] if end < len(versions) else "99"}]
        entry = affected(name, ranges=[{"type": "ECOSYSTEM", "events": events}])
        if number % 3 == 0:
            entry = affected(name.replace("-", "_").upper(), versions=hit)
        data = record(f"{'GHSA' if number % 2 else 'PYSEC'}-{number}", entry, aliases=[f"CVE-{number // 2}"])
        records.append(data)
        for version in hit:
            answers.setdefault((name, version), []).append(data)
    (tmp_path / "all.zip").write_bytes(bundle(*records))
    packages = [_package(f"pkg-{number}", version) for number in range(7) for version in versions[::5]]

    with HttpClient(allowed=[], user_agent="tests") as http:
        sync(str(tmp_path / "all.zip"), tmp_path / "db", http, lambda _: None, NOW)
    ours = OsvDatabase(tmp_path / "db").findings(packages, lambda _: None)
    with OsvService(listed(answers)) as service:
        theirs = _asking(service.url).findings(packages, lambda _: None)

    assert _names(ours) == _names(theirs)
    assert sum(map(len, ours.values())) > 20


def _names(found: Mapping[Package, tuple[Finding, ...]]) -> dict[str, set[frozenset[str]]]:
    return {package.purl: {frozenset(finding.ids) for finding in findings} for package, findings in found.items()}


# --- programs that are not pip-audit ---------------------------------------------------------------------------------


def _pretending(tmp_path: Path, code: str, **options: object) -> PipAudit:
    """A service over a program that runs `code`; `pins` are the lines it was given, `answer` prints a result."""
    script = tmp_path / "pretend.py"
    script.write_text(
        "import json, os, sys, time\n"
        "pins = [line.split(' ')[0].split('==') for line in open(sys.argv[sys.argv.index('-r') + 1])]\n"
        "def clean(pins=pins): return [{'name': n, 'version': v, 'vulns': []} for n, v in pins]\n"
        "def known(): return [{'name': n, 'version': v, 'vulns': [{'id': 'CVE-2018-18074', 'fix_versions': [],"
        " 'aliases': [], 'description': ''}] if n == 'requests' else []} for n, v in pins]\n"
        "def answer(dependencies): print(json.dumps({'dependencies': dependencies, 'fixes': []}))\n" + code + "\n"
    )
    return PipAudit(now=NOW, command=[sys.executable, str(script)], **options)  # type: ignore[arg-type]  # test data


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit(2)", "pip-audit ended with status 2: it said nothing"),
        ("answer(known()); sys.exit(3)", "pip-audit ended with status 3: it said nothing"),
        ("print('x'); sys.exit('first\\nlast\\x1b[0m ')", "pip-audit ended with status 1 and no result: last[0m"),
        ("pass", "pip-audit ended with status 0 and no result: it said nothing"),
        ("print('{}')", "pip-audit ended with status 0 and no result: it said nothing"),
        (
            "print(json.dumps({'dependencies': known()})[:-9])",
            "pip-audit ended with status 0 and no result: it said nothing",
        ),
        ("os.kill(os.getpid(), 9)", "pip-audit ended with status -9: it said nothing"),
        ("answer([])", "pip-audit answered about 0 packages, asked about 2: see litellm 1.82.7"),
        ("answer(known()[1:])", "pip-audit answered about 1 packages, asked about 2: see requests 2.19.0"),
        (
            "answer(known() + [{'name': 'b', 'version': '1', 'vulns': []}])",
            "pip-audit answered about 3 packages, asked about 2: see b 1",
        ),
        (
            "answer([{'name': 'litellm', 'skip_reason': 'because'}])",
            "pip-audit did not look at 'litellm': because",
        ),
        ("answer([{'name': 'litellm', 'version': '1.82.7'}])", "pip-audit did not look at 'litellm': no reason given"),
        (
            "answer([{'name': 'litellm', 'version': 'new', 'vulns': []}])",
            "pip-audit's answer about 'litellm' can't be read: 'new' is not a version (PEP 440)",
        ),
        (
            "answer([dict(name='a', version='1', vulns=[dict(id='a b', fix_versions=[], aliases=[], description='')])])",
            "pip-audit's answer about 'a' can't be read: 'a b' is not an identifier",
        ),
        (
            "answer(clean())",
            f"{IGNORANT}: use the local database (`advisories.service: osv`)",
        ),
    ],
)
def test_only_a_whole_answer_counts(tmp_path: Path, code: str, message: str) -> None:
    """A program that crashed, was killed, said half, or spoke of something else, found nothing out."""
    with pytest.raises(UpstreamError) as caught:
        _pretending(tmp_path, code).snapshot()

    assert str(caught.value) == message


def test_a_program_that_hangs_is_stopped(tmp_path: Path) -> None:
    """By our own clock."""
    with pytest.raises(UpstreamError, match=r"was stopped: not done within 0.5 s$"):
        _pretending(tmp_path, "time.sleep(60)", timeout_seconds=0.5).snapshot()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As the runner says it."""
    pip_audit = PipAudit(now=NOW, command=[str(tmp_path / "pip-audit")])

    with pytest.raises(UpstreamError, match=r"^pip-audit can't be started: no such file or directory$"):
        pip_audit.snapshot()


def _environment(tmp_path: Path, passed_on: Mapping[str, str]) -> dict[str, str]:
    seen = tmp_path / "seen.json"
    code = f"open({str(seen)!r}, 'w').write(json.dumps([dict(os.environ), sys.argv[1:]])); answer(known())"
    _pretending(tmp_path, code, environment=passed_on, service_url="http://127.0.0.1:1/q").snapshot()
    environment, arguments = json.loads(seen.read_text())
    home = environment["HOME"]
    assert arguments == _arguments(home)
    assert not Path(home).exists()
    return {name: value for name, value in environment.items() if name not in {"HOME", "LC_CTYPE"}}


def _arguments(home: str) -> Sequence[str]:
    return [
        *("-r", f"{home}/requirements.txt", "--disable-pip", "--require-hashes", "-s", "osv", "-f", "json"),
        *("--desc", "on", "--aliases", "on", "--progress-spinner", "off", "--cache-dir", home),
        *("--osv-url", "http://127.0.0.1:1/q"),
    ]


def test_nothing_of_the_users_environment_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `PIP_AUDIT_*`, nor a netrc, nor pip's configuration; certificates and proxies do."""
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://evil.invalid")
    monkeypatch.setenv("PIP_INDEX_URL", "http://evil.invalid")

    seen = _environment(tmp_path, {"SSL_CERT_FILE": "/ca.pem", "HTTPS_PROXY": "http://proxy.invalid"})

    assert seen == {
        "PATH": "",
        "PIP_CONFIG_FILE": "/dev/null",
        "NO_COLOR": "1",
        "SSL_CERT_FILE": "/ca.pem",
        "REQUESTS_CA_BUNDLE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy.invalid",
    }


def test_it_does_not_know_fixes_by_name() -> None:
    """Empty, as the port has it for what is not known; nothing is asked."""
    a = parse_name("a")

    assert PipAudit(now=NOW, command=["/nonexistent"]).fixes([a]) == {a: frozenset()}
