"""A policy, items and evidence for the tests of the rules: small, whole, and overridable where a test cares."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace
from packaging.tags import Tag
from packaging.version import Version

from quarantine.model import (
    Artifact,
    Digest,
    Finding,
    Item,
    Outcome,
    Severity,
    Snapshot,
    Target,
    parse_name,
)
from quarantine.policy.load import Policy, StagePolicy, load
from quarantine.policy.rules import Evidence, judge

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LINUX = Target("3.11", "linux-x86_64")
MACOS = Target("3.11", "macos-arm64")
SNAPSHOT = Snapshot(
    sha256="a" * 64, as_of=NOW - timedelta(hours=1), sources=(("osv", 100), ("malware", 3)), complete=True
)

POLICY = """\
version: 1
upstreams:
  - {name: acme, type: pypi, url: "https://packages.example.org/simple", mode: open, minimum_age_days: 0}
  - {name: vetted, type: pypi, url: "https://vetted.example.org/simple", mode: curated, entries: vetted.yaml}
  - {name: pypi, type: pypi, mode: open, entries: pypi.yaml}
reserved:
  - {name: "acme-*", upstream: acme, reason: ours}
default_stage: {check: development, lock: production, gate: production}
rules:
  minimum_age: {days: 7, security_fix_days: 1}
  vulnerability: {threshold: {severity: medium}, unknown_severity: deny}
  typosquat: {action: deny}
  index_option: {harmless: ["--no-index"]}
stages:
  development:
    vulnerability: {threshold: {severity: high}, unknown_severity: review}
    typosquat: {action: review}
    locked: {required: false}
    unverifiable: {action: tolerate}
  production: {}
ignores:
  - {id: cve-2020-1, package: Flawed, reason: unreachable, owner: ann, expires: 2027-01-01}
  - {id: CVE-2020-2, package: flawed, reason: unreachable, owner: ann, expires: 2026-11-23}
  - {id: CVE-2020-3, package: flawed, reason: only here, owner: ann, expires: 2027-01-01, stages: [development]}
"""
PYPI = """\
version: 1
allow:
  - {name: reqests, owner: ann, reason: honest, added: 2026-01-01, expires: 2027-01-01}
  - {name: flaskk, owner: ann, reason: was honest, added: 2026-01-01, expires: 2026-11-23}
  - {name: old, specifier: "==1.0", owner: ann, reason: needed, added: 2026-01-01, expires: 2027-01-01, allow_yanked: true}
deny:
  - {name: bad, owner: sec, reason: steals, added: 2026-01-01}
  - {name: worse, specifier: "<2.0", owner: sec, reason: broken, added: 2026-01-01}
  - {name: lapsed, owner: sec, reason: mended, added: 2026-01-01, expires: 2026-11-23}
  - {name: "evil-*", owner: sec, reason: all of them, added: 2026-01-01}
popular: [requests, flask, Python_DateUtil, numpy]
"""
VETTED = """\
version: 1
allow:
  - {name: alpha, specifier: ">=1,<2", owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01}
  - {name: beta, owner: ann, reason: reviewed, added: 2026-01-01, expires: 2026-11-23}
  - {name: gamma, specifier: "==2.0+cu118", owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01}
  - {name: delta, specifier: "==2.0", owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01}
  - {name: bad, owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01}
  - {name: "azureml-*", owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01}
"""


def files(policy: str = POLICY, pypi: str = PYPI, vetted: str = VETTED) -> Mapping[str, bytes]:
    """The files of a folder of allowlists."""
    return {"policy.yaml": policy.encode(), "pypi.yaml": pypi.encode(), "vetted.yaml": vetted.encode()}


def policy(text: str = POLICY, pypi: str = PYPI, vetted: str = VETTED, now: datetime = NOW) -> Policy:
    """The policy that these files make."""
    return load(files(text, pypi, vetted), now=now)


POLICY_IN_FORCE = policy()
PRODUCTION = POLICY_IN_FORCE.stage("production")
DEVELOPMENT = POLICY_IN_FORCE.stage("development")


def wheel(
    name: str = "demo",
    version: str = "1.0",
    *,
    age: timedelta | None = timedelta(days=30),
    yanked: str | None = None,
    digest: str | None = "1" * 64,
    platform: str = "any",
    now: datetime = NOW,
) -> Artifact:
    """A wheel that was uploaded so long before `now`."""
    return Artifact(
        name=parse_name(name),
        version=Version(version),
        filename=f"{name.replace('-', '_')}-{version}-py3-none-{platform}.whl",
        digest=None if digest is None else Digest.sha256(digest),
        size=1000,
        upload_time=None if age is None else now - age,
        yanked=yanked,
        url=f"https://files.example.org/{name}-{version}.whl",
        tags=frozenset({Tag("py3", "none", platform)}),
    )


def item(
    name: str = "demo",
    version: str | None = "1.0",
    *,
    upstream: str | None = "pypi",
    artifacts: tuple[Artifact, ...] | None = None,
    **more: Any,
) -> Item:
    """An item of the public index with one old wheel, unless told otherwise."""
    if artifacts is None:
        artifacts = () if version is None or upstream is None else (wheel(name, version),)
    return replace(
        Item(
            name=parse_name(name),
            version=None if version is None else Version(version),
            upstream=upstream,
            artifacts=artifacts,
        ),
        **more,
    )


def flaw(
    id_: str = "CVE-2024-1", severity: str = "high", score: str | None = None, fixed: str = "2.0", aliases: str = ""
) -> Finding:
    """A finding, fixed unless `fixed` is empty."""
    return Finding(
        id=id_,
        aliases=tuple(aliases.split()),
        severity=Severity(severity),
        score=score,
        fixed=tuple(fixed.split()),
    )


def judged(
    rule: str,
    of: Item,
    *,
    stage: StagePolicy = PRODUCTION,
    findings: tuple[Finding, ...] | None = (),
    fixes: tuple[str, ...] = (),
    snapshot: Snapshot | None = SNAPSHOT,
    now: datetime = NOW,
    targets: tuple[Target, ...] = (LINUX,),
) -> Outcome:
    """What one rule says of the item."""
    evidence = Evidence(item=of, findings=findings, fixes=frozenset(map(Version, fixes)))
    outcomes = {outcome.rule: outcome for outcome in judge(stage, evidence, snapshot, now, targets)}
    return outcomes[rule]
