"""Four results of a check, rich enough to show every part of a report; `python tests/report_samples.py` draws them anew.

The golden files hold what each format makes of them. After a wanted change of a report, run it and review the diff.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace
from packaging.tags import Tag
from packaging.version import Version

from quarantine import __version__
from quarantine.model import (
    Artifact,
    CheckResult,
    CondaRecord,
    CuratedEnvironment,
    Digest,
    Ecosystem,
    Finding,
    ImageReference,
    Item,
    JudgedItem,
    LetIn,
    Location,
    Outcome,
    OutcomeKind,
    Package,
    PackageFile,
    Purl,
    Receipt,
    Reference,
    ReferenceKind,
    Severity,
    Snapshot,
    Subject,
    Target,
    Unverifiable,
    Verdict,
    parse_name,
    pypi_purl,
)
from quarantine.report import annotations
from quarantine.report.render import FORMATS, render

__all__ = [
    "ALLOWED",
    "DENIED",
    "GOLDEN",
    "MIXED",
    "NOW",
    "UNDECIDED",
    "conda",
    "curated",
    "documents",
    "image",
    "item",
    "judged",
    "steady",
]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "corpus" / "golden"
WIDTH = 100
TERMINAL = 80
LINUX = Target("3.11", "linux-x86_64")
FILE = "requirements.txt"


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def wheel(name: str, version: str, *, yanked: str | None = None, day: int = 1) -> Artifact:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Artifact(
        name=parse_name(name),
        version=Version(version),
        filename=filename,
        digest=Digest.sha256(digest(filename)),
        size=12345,
        upload_time=datetime(2026, 10, day, 8, 30, tzinfo=UTC),
        yanked=yanked,
        url=f"https://reader:canary@index.example.org/files/{filename}?sig=canary#sha256={digest(filename)}",
        tags=frozenset({Tag("py3", "none", "any")}),
    )


def item(name: str, version: str | None, *, line: int | None = None, required_by: tuple[str, ...] = ()) -> Item:
    return Item(
        name=parse_name(name),
        version=None if version is None else Version(version),
        upstream="pypi",
        artifacts=() if version is None else (wheel(name, version),),
        location=None if line is None else Location(file=FILE, line=line),
        required_by=tuple(pypi_purl(*_pinned(text)) for text in required_by),
    )


def _pinned(text: str) -> tuple[str, Version | None]:
    name, _, version = text.partition("==")
    return name, Version(version) if version else None


def passed(rule: str, message: str = "nothing against it") -> Outcome:
    return Outcome(rule=rule, kind=OutcomeKind.PASS, message=message)


def judged(of: Item, *against: Outcome, findings: tuple[Finding, ...] | None = ()) -> JudgedItem:
    kinds = {outcome.kind for outcome in against}
    verdict = Verdict.ALLOWED
    if OutcomeKind.FAIL in kinds:
        verdict = Verdict.DENIED
    elif OutcomeKind.UNKNOWN in kinds:
        verdict = Verdict.UNDECIDED
    return JudgedItem(item=of, verdict=verdict, findings=findings, outcomes=(passed("repository"), *against))


HIGH = Finding(
    id="PYSEC-2018-28",
    aliases=("CVE-2018-18074", "GHSA-x84v-xcm2-53pg"),
    severity=Severity.HIGH,
    score="7.5",
    fixed=("2.20.0",),
    summary="credentials are sent along when a redirect leaves the host",
)
LOW = Finding(id="GHSA-aaaa-bbbb-cccc", severity=Severity.LOW, score="3.1", summary="a slow pattern")
MALWARE = Finding(id="MAL-2026-1", malware=True, summary="steals the environment when imported")

SNAPSHOT = Snapshot(
    sha256=digest("snapshot"),
    as_of=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
    sources=(("malware", 3), ("osv", 2661)),
    complete=True,
)

ALLOWED = CheckResult(
    verdict=Verdict.ALLOWED,
    stage="development",
    default_stage="development",
    project="forecasting",
    now=NOW,
    subjects=(
        Subject(
            file=FILE,
            sha256=digest(FILE),
            target=LINUX,
            locked=False,
            verdict=Verdict.ALLOWED,
            outcomes=(passed("locked", "development takes unlocked input"),),
        ),
    ),
    preconditions=(passed("advisory-snapshot", "18 hours old"),),
    items=(
        judged(replace(item("numpy", "2.1.0", line=1), held_back_from=Version("2.2.0"), held_back_by="minimum-age")),
        judged(item("pandas", "2.2.3", line=2), findings=(LOW,)),
        judged(item("python-dateutil", "2.9.0", required_by=("pandas==2.2.3",))),
    ),
    policy_sha256=digest("policy"),
    snapshot=replace(SNAPSHOT, accepted_until=datetime(2027, 1, 1, tzinfo=UTC)),
    lock="pylock.toml",
    receipt=Receipt(stream="log-checks/forecasting-2026-11", seq=41, sha256=digest("line 41")),
)

_URLLIB3 = replace(
    judged(
        item("urllib3", "1.23", required_by=("requests==2.19.0", "botocore==1.0")),
        Outcome(
            rule="vulnerability",
            kind=OutcomeKind.FAIL,
            message="GHSA-aaaa-bbbb-cccc is low (3.1) and reaches the threshold",
            evidence=(("ids", ("GHSA-aaaa-bbbb-cccc",)), ("threshold", "low")),
        ),
        Outcome(rule="minimum-age", kind=OutcomeKind.UNKNOWN, message="pypi gives no upload time for 1 of 2 files"),
        findings=(LOW,),
    ),
    nearest=Version("1.26.20"),
)

LET_IN = replace(
    ALLOWED,
    items=tuple(
        replace(
            entry,
            exception=LetIn(
                exception="5ee7c0de" * 4,
                until=datetime(2027, 2, 1, tzinfo=UTC),
                waives=("minimum-age", f"vulnerability:{LOW.id}"),
            ),
        )
        if entry.item.name == "pandas"
        else entry
        for entry in ALLOWED.items
    ),
)

DENIED = CheckResult(
    verdict=Verdict.DENIED,
    stage="production",
    default_stage="development",
    project="forecasting",
    now=NOW,
    subjects=(
        Subject(
            file=FILE,
            format="requirements",
            sha256=digest(FILE),
            target=LINUX,
            locked=False,
            verdict=Verdict.DENIED,
            outcomes=(
                Outcome(rule="locked", kind=OutcomeKind.FAIL, message="production takes only input with hashes"),
                Outcome(
                    rule="index-option",
                    kind=OutcomeKind.FAIL,
                    message="--extra-index-url https://reader:canary@index.example.org/simple would add an index",
                    evidence=(("option", "--extra-index-url"),),
                    location=Location(file=FILE, line=3),
                ),
            ),
        ),
        Subject(
            file="locks/pylock.toml",
            format="pylock",
            sha256=digest("pylock"),
            target=LINUX,
            locked=True,
            verdict=Verdict.UNDECIDED,
        ),
    ),
    preconditions=(passed("advisory-snapshot", "18 hours old"),),
    items=(
        replace(
            judged(
                item("requests", "2.19.0", line=7),
                Outcome(
                    rule="vulnerability",
                    kind=OutcomeKind.FAIL,
                    message="CVE-2018-18074 is high (7.5), fixed in 2.20.0",
                    evidence=(("ids", ("CVE-2018-18074",)), ("fixed", ("2.20.0",)), ("records", 2), ("score", None)),
                ),
                findings=(HIGH, LOW),
            ),
            nearest=Version("2.31.0"),
        ),
        _URLLIB3,
        judged(
            item("torchtriton", "3.0.0", required_by=("requests==2.19.0",)),
            Outcome(rule="malware", kind=OutcomeKind.FAIL, message="MAL-2026-1 names this version as malware"),
            findings=(MALWARE,),
        ),
        judged(
            replace(
                item("acme-tools", None, line=9),
                upstream=None,
                reference=Reference(kind=ReferenceKind.VCS, text="git+https://git.example.org/acme.git@main"),
            ),
            Outcome(
                rule="direct-reference", kind=OutcomeKind.FAIL, message="a repository's branch has no fixed content"
            ),
        ),
        replace(
            judged(
                item("orphan", "0.1", required_by=("nowhere==1.0",)),
                Outcome(rule="vulnerability", kind=OutcomeKind.UNKNOWN, message="the advisory source did not answer"),
                findings=None,
            ),
            item=replace(item("orphan", "0.1", required_by=("nowhere==1.0",)), subjects=(1,)),
        ),
        judged(item("certifi", "2026.10.18", required_by=("requests==2.19.0",)), findings=(LOW,)),
    ),
    policy_sha256=digest("policy"),
    snapshot=SNAPSHOT,
    unverifiable=(
        Unverifiable(
            location=Location(file="Dockerfile", line=12),
            what="curl https://get.example.org | sh",
            why="what a script does can't be known without running it",
        ),
    ),
    receipt=Receipt(stream="log-checks/forecasting-2026-11", seq=42, sha256=digest("line 42")),
)

UNDECIDED = CheckResult(
    verdict=Verdict.UNDECIDED,
    stage="development",
    default_stage="development",
    now=NOW,
    subjects=(Subject(file=FILE, sha256=digest(FILE), target=LINUX, locked=False, verdict=Verdict.UNDECIDED),),
    preconditions=(
        Outcome(
            rule="advisory-snapshot",
            kind=OutcomeKind.UNKNOWN,
            message="there is no advisory database: run `quarantine advisories sync`",
        ),
    ),
    items=(
        JudgedItem(item=item("numpy", "2.1.0", line=1), verdict=Verdict.UNDECIDED, findings=None, outcomes=()),
        judged(
            item("pandas", "2.2.3", line=2),
            Outcome(rule="vulnerability", kind=OutcomeKind.UNKNOWN, message="no advisories could be read"),
            findings=None,
        ),
    ),
    policy_sha256=digest("policy"),
    snapshot=None,
)


# --- an Azure ML environment, a Dockerfile and a file that can't be read ------------------------------------------------

CONDA_FILE = "training/conda.yaml"
ENVIRONMENT = "training/environment.yaml"
DOCKERFILE = "serving/Dockerfile"


def conda(
    name: str,
    version: str,
    *,
    line: int | None = None,
    holds: tuple[str, ...] | None = (),
    required_by: tuple[str, ...] = (),
) -> Item:
    filename = f"{name}-{version}-h0_0.conda"
    url = f"https://reader:canary@channel.example.org/forge/linux-64/{filename}?sig=canary"
    record = CondaRecord(
        upstream="conda-forge",
        subdir="linux-64",
        name=name,
        version=version,
        build="h0_0",
        filename=filename,
        url=url,
        sha256=Digest.sha256(digest(filename)),
        size=54321,
        indexed=datetime(2026, 9, 1, 7, 0, tzinfo=UTC),
    )
    file = PackageFile(filename=filename, digest=record.sha256, size=54321, upload_time=record.indexed, url=url)
    held = (
        None
        if holds is None
        else tuple(Package(parse_name(n), Version(v)) for n, _, v in (h.partition("==") for h in holds))
    )
    return Item(
        ecosystem=Ecosystem.CONDA,
        name=name,
        version=version,
        upstream="conda-forge",
        artifacts=(file,),
        targets=(LINUX,),
        location=None if line is None else Location(file=CONDA_FILE, line=line),
        required_by=tuple(map(Purl, required_by)),
        record=record,
        holds=held,
        unread="" if holds is not None else "its info/paths.json is no JSON",
    )


def image(
    path: str, *, tag: str | None, at: Location, role: str = "FROM", pinned: bool = False, known: bool = True
) -> Item:
    found = Digest.sha256(digest(path))
    reference = ImageReference(
        host="mcr.microsoft.com", path=path, tag=tag, digest=found if pinned else None, role=role, location=at
    )
    manifest = PackageFile(
        filename=path.rpartition("/")[2],
        digest=found,
        size=1024,
        upload_time=None,
        url=f"https://mcr.microsoft.com/v2/{path}/manifests/{found}",
    )
    return Item(
        ecosystem=Ecosystem.OCI,
        name=reference.name,
        version=tag,
        upstream="mar",
        artifacts=(manifest,) if known else (),
        targets=(LINUX,),
        location=at,
        image=reference,
        platforms=("linux/amd64", "linux/arm64") if known else (),
        locked=pinned,
    )


def curated(name: str, version: str, at: Location) -> Item:
    return Item(
        ecosystem=Ecosystem.AZUREML,
        name=name,
        version=version,
        upstream="curated",
        targets=(LINUX,),
        location=at,
        curated=CuratedEnvironment(registry="azureml", name=name, version=version, location=at),
        locked=True,
    )


def _subject(file: str, kind: str, verdict: Verdict, *against: Outcome, locked: bool = False) -> Subject:
    return Subject(
        file=file, format=kind, sha256=digest(file), target=LINUX, locked=locked, verdict=verdict, outcomes=against
    )


_PYTHON = conda("python", "3.11.9", line=5)
_UNVERIFIABLE = Unverifiable(
    location=Location(file=DOCKERFILE, line=4),
    what="RUN curl -s https://get.example.org/tool.sh | sh",
    why="what a script does can't be known without running it",
)
_TOLERATED = Unverifiable(
    location=Location(file=DOCKERFILE, line=3),
    what="RUN apt-get install -y libgomp1",
    why="packages of the distribution are not read",
)
_NATIVE = (
    "bzip2",
    "ca-certificates",
    "libffi",
    "libgcc",
    "libgomp",
    "libstdcxx",
    "libzlib",
    "ncurses",
    "openssl",
    "tk",
)

MIXED = CheckResult(
    verdict=Verdict.DENIED,
    stage="production",
    default_stage="development",
    project="forecasting",
    now=NOW,
    subjects=(
        _subject(
            ENVIRONMENT,
            "azureml-environment",
            Verdict.DENIED,
            Outcome(
                rule="locked",
                kind=OutcomeKind.FAIL,
                message=f"{ENVIRONMENT}: mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:20261101.v1 has no digest, the "
                f"conda packages of {CONDA_FILE} have no digests, which production expects: name each image by its "
                "digest; write a lock with check --lock FILE and build from that",
                location=Location(file=ENVIRONMENT, line=4),
            ),
            Outcome(
                rule="channel",
                kind=OutcomeKind.FAIL,
                message="evil is no conda channel of the policy (conda-forge): take packages from there, or ask the curators "
                "to add it as an upstream",
                location=Location(file=CONDA_FILE, line=3),
            ),
        ),
        _subject(
            DOCKERFILE,
            "dockerfile",
            Verdict.UNDECIDED,
            Outcome(
                rule="unverifiable",
                kind=OutcomeKind.UNKNOWN,
                message=f"{_UNVERIFIABLE.what} can't be verified: {_UNVERIFIABLE.why}: somebody has to look at it",
                location=_UNVERIFIABLE.location,
            ),
        ),
        _subject(
            "serving/deployment.yml", "azureml-managedOnlineDeployment", Verdict.ALLOWED, passed("locked"), locked=True
        ),
        _subject(
            "experiments/2024/environment.yml",
            "conda-environment",
            Verdict.UNDECIDED,
            Outcome(
                rule="readable",
                kind=OutcomeKind.UNKNOWN,
                message="can't be read, so nothing that it asks for was judged: not YAML: mapping values are not allowed in "
                "this context",
                location=Location(file="experiments/2024/environment.yml", line=7, column=12),
            ),
        ),
    ),
    preconditions=(passed("advisory-snapshot", "18 hours old"),),
    items=(
        *(judged(conda(name, "1.2.3", required_by=(_PYTHON.purl,))) for name in _NATIVE),
        judged(_PYTHON),
        replace(
            judged(
                conda("http-client", "3.1.0", line=7, holds=("requests==2.19.0",)),
                Outcome(
                    rule="vulnerability",
                    kind=OutcomeKind.FAIL,
                    message="http-client 3.1.0 has CVE-2018-18074 (high, 7.5) in requests 2.19.0: expected none from "
                    "medium up; take a version that holds requests 2.20.0 or later",
                    evidence=(("ids", ("CVE-2018-18074",)), ("fixed", ("2.20.0",))),
                ),
                findings=(HIGH,),
            ),
            nearest="3.2.0",
        ),
        replace(
            judged(
                conda("pandas", "1.5.3", holds=("pandas==1.5.3",), required_by=(conda("mlflow", "2.9.2").purl,)),
                Outcome(rule="minimum-age", kind=OutcomeKind.FAIL, message="pandas 1.5.3 is 2 days old: expected 7"),
            ),
            nearest="1.5.2",
        ),
        judged(conda("mlflow", "2.9.2", line=8, holds=("mlflow==2.9.2", "mlflow-skinny==2.9.2"))),
        judged(
            conda("odd", "1.0", holds=None, required_by=(conda("mlflow", "2.9.2").purl,)),
            *(
                Outcome(
                    rule=rule,
                    kind=OutcomeKind.UNKNOWN,
                    message=f"odd 1.0: its file list can't be read, so what it holds is not known ({rule}): "
                    "its info/paths.json is no JSON",
                )
                for rule in ("malware", "vulnerability", "native")
            ),
            findings=None,
        ),
        judged(replace(item("azureml-core", "1.57.0"), location=Location(file=CONDA_FILE, line=11), targets=(LINUX,))),
        judged(
            image(
                "azureml/openmpi5.0-ubuntu24.04", tag="20261101.v1", at=Location(file=ENVIRONMENT, line=4), role="image"
            )
        ),
        replace(
            judged(
                image(
                    "azureml/minimal-ubuntu22.04-py39-cpu-inference",
                    tag="latest",
                    at=Location(file=DOCKERFILE, line=1),
                    known=False,
                ),
                Outcome(
                    rule="repository", kind=OutcomeKind.UNKNOWN, message="mcr.microsoft.com answered 429 five times"
                ),
            ),
            item=replace(
                image(
                    "azureml/minimal-ubuntu22.04-py39-cpu-inference",
                    tag="latest",
                    at=Location(file=DOCKERFILE, line=1),
                    known=False,
                ),
                subjects=(1,),
            ),
        ),
        judged(
            replace(image("azureml/base", tag=None, at=Location(file=DOCKERFILE, line=2), pinned=True), subjects=(1,))
        ),
        judged(
            replace(
                curated("sklearn-1.5", "31", Location(file="serving/deployment.yml", line=6)),
                subjects=(2,),
            )
        ),
    ),
    policy_sha256=digest("policy"),
    snapshot=SNAPSHOT,
    unverifiable=(_TOLERATED, _UNVERIFIABLE),
    receipt=Receipt(stream="log-checks/forecasting-2026-11", seq=43, sha256=digest("line 43")),
)

_SAMPLES: Mapping[str, CheckResult] = {
    "allowed": ALLOWED,
    "let-in": LET_IN,
    "denied": DENIED,
    "mixed": MIXED,
    "undecided": UNDECIDED,
}
_ENDINGS = {
    "text": "txt",
    "json": "json",
    "sarif": "sarif",
    "junit": "xml",
    "markdown": "md",
    "cyclonedx": "cdx.json",
}
_OTHERS: Mapping[str, Callable[[CheckResult], str]] = {
    "wide.txt": lambda result: render("text", result, width=WIDTH),
    "narrow.txt": lambda result: render("text", result, width=TERMINAL),
    "azure.txt": annotations.azure_pipelines,
    "github.txt": annotations.github,
}


def documents() -> Mapping[str, str]:
    """Every golden file's name and what must be in it."""
    drawn = {}
    for name, result in _SAMPLES.items():
        for form in FORMATS:
            drawn[f"{name}.{_ENDINGS[form]}"] = steady(render(form, result))
        for ending, report in _OTHERS.items():
            drawn[f"{name}.{ending}"] = report(result)
    return drawn


def steady(document: str) -> str:
    """The document without what differs between versions of the tool: its version, and a serial number made of it."""
    document = document.replace(f'"{__version__}"', '"0.0.0"')
    return re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn:uuid:00000000-0000-0000-0000-000000000000", document)


def write_golden() -> None:
    """Draws all golden files anew."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (GOLDEN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_golden()
