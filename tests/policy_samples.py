"""A policy, items and evidence for the tests of the rules: small, whole, and overridable where a test cares."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace
from packaging.tags import Tag
from packaging.version import Version

from quarantine.model import (
    Artifact,
    CuratedEnvironment,
    Digest,
    Ecosystem,
    Finding,
    ImageReference,
    Item,
    Location,
    Outcome,
    Package,
    PackageFile,
    Severity,
    Snapshot,
    Target,
    parse_name,
)
from quarantine.policy.channels import upstream_of_curated, upstream_of_image
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


# every kind of upstream at once
MIXED = POLICY.replace(
    "reserved:\n",
    """\
  - {name: forge, type: conda, url: "https://conda.example.org/forge", mode: open, entries: forge.yaml}
  - {name: lab, type: conda, url: "https://conda.example.org/lab/", mode: curated, entries: lab.yaml}
  - {name: conda-forge, type: conda, url: "https://conda.anaconda.org/conda-forge", mode: open}
  - {name: main, type: conda, url: "https://repo.anaconda.com/pkgs/main", mode: open}
  - {name: mar, type: oci, url: "https://Images.example.org", mode: curated, entries: mar.yaml}
  - {name: team, type: oci, url: "https://registry.example.org/ml/base", mode: open, entries: team.yaml}
  - {name: azureml, type: azureml, url: "azureml://registries/azureml", mode: curated, entries: azureml.yaml}
reserved:
  - {name: "lab-*", upstream: lab, reason: of the lab}
""",
).replace("  index_option:", "  conda: {native: deny, channels: {forge: tolerate, lab: review}}\n  index_option:")
_OF = "owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01"
LISTS = {
    "forge.yaml": f"""\
version: 1
allow:
  - {{name: held, specifier: "==2.0,<3", {_OF}}}
deny:
  - {{name: xz, specifier: ">=5.6.0,<5.6.2", owner: sec, reason: a back door, added: 2026-01-01}}
  - {{name: miner, owner: sec, reason: it mines, added: 2026-01-01}}
""",
    "lab.yaml": f"""\
version: 1
allow:
  - {{name: "lab-*", {_OF}}}
  - {{name: solver, specifier: ">=1.2,<2", {_OF}}}
""",
    "mar.yaml": f"""\
version: 1
allow:
  - {{name: "azureml/*", {_OF}}}
  - {{name: python, {_OF}}}
deny:
  - {{name: azureml/old, owner: sec, reason: it is old, added: 2026-01-01}}
""",
    "team.yaml": """\
version: 1
deny:
  - {name: "x/*", owner: sec, reason: withdrawn, added: 2026-01-01}
""",
    "azureml.yaml": f"""\
version: 1
allow:
  - {{name: "acpt-*", {_OF}}}
  - {{name: sklearn-1.5, {_OF}}}
deny:
  - {{name: acpt-old, owner: sec, reason: it is old, added: 2026-01-01}}
""",
}


def mixed_files(text: str = MIXED, **lists: str) -> Mapping[str, bytes]:
    """The files of a folder of allowlists with every kind of upstream; `lists` stand in for lists, by name."""
    given = {f"{name}.yaml": content for name, content in lists.items()}
    return {**files(text), **{name: content.encode() for name, content in {**LISTS, **given}.items()}}


MIXED_POLICY = load(mixed_files(), now=NOW)
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
            targets=(LINUX,),
        ),
        **more,
    )


HERE = Location(file="environment.yaml", line=7)


def package(text: str) -> Package:
    """A Python distribution, from `NAME VERSION`."""
    name, version = text.split()
    return Package(parse_name(name), Version(version))


def conda(
    name: str = "demo",
    version: str | None = "1.0",
    *holds: str,
    upstream: str | None = "forge",
    age: timedelta | None = timedelta(days=30),
    **more: Any,
) -> Item:
    """A conda package of one old file that holds these distributions, unless told otherwise."""
    file = PackageFile(
        filename=f"{name}-{version}-0.conda",
        digest=Digest.sha256("c" * 64),
        size=1000,
        upload_time=None if age is None else NOW - age,
        url=f"https://conda.example.org/forge/noarch/{name}-{version}-0.conda",
    )
    base = Item(
        ecosystem=Ecosystem.CONDA,
        name=name,
        version=version,
        upstream=upstream,
        artifacts=() if version is None or upstream is None else (file,),
        holds=tuple(map(package, holds)),
        targets=(LINUX,),
    )
    return replace(base, **more)


def reference(text: str, digest: str | None = None, platform: str | None = None) -> ImageReference:
    """An image reference, from `HOST/PATH[:TAG]`."""
    host, _, path = text.partition("/")
    path, _, tag = path.partition(":")
    return ImageReference(
        host=host,
        path=path,
        tag=tag or None,
        digest=None if digest is None else Digest.sha256(digest),
        platform=platform,
        location=HERE,
    )


def image(text: str, *, platform: str | None = None, digest: str | None = None, **more: Any) -> Item:
    """The item of an image that its registry has, unless told otherwise."""
    named = reference(text, digest, platform)
    upstream = upstream_of_image(MIXED_POLICY, named)
    manifest = PackageFile(
        filename="x", digest=Digest.sha256("d" * 64), size=1, upload_time=None, url="https://images.example.org/v2/x"
    )
    base = Item(
        ecosystem=Ecosystem.OCI,
        name=named.name,
        version=named.tag,
        upstream=None if upstream is None else upstream.name,
        artifacts=() if upstream is None else (manifest,),
        platforms=() if upstream is None else ("linux/amd64",),
        image=named,
        targets=(LINUX,),
    )
    return replace(base, **more)


def curated(name: str, version: str | None = "3", registry: str | None = "azureml", label: str | None = None) -> Item:
    """The item of an Azure ML environment that is named."""
    named = CuratedEnvironment(registry=registry, name=name, version=version, label=label, location=HERE)
    upstream = upstream_of_curated(MIXED_POLICY, named)
    return Item(
        ecosystem=Ecosystem.AZUREML,
        name=name,
        version=version or label,
        upstream=None if upstream is None else upstream.name,
        curated=named,
        targets=(LINUX,),
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
    fix: bool = False,
    snapshot: Snapshot | None = SNAPSHOT,
    now: datetime = NOW,
    targets: tuple[Target, ...] = (LINUX,),
) -> Outcome:
    """What one rule says of the item."""
    evidence = Evidence(item=replace(of, targets=targets), findings=findings, fix=fix)
    outcomes = {outcome.rule: outcome for outcome in judge(stage, evidence, snapshot, now)}
    return outcomes[rule]
