"""Three results of a check, rich enough to show every part of a report; `python tests/report_samples.py` draws them anew.

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
    Digest,
    Finding,
    Item,
    JudgedItem,
    Location,
    Outcome,
    OutcomeKind,
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

__all__ = ["ALLOWED", "DENIED", "GOLDEN", "NOW", "UNDECIDED", "documents", "item", "judged", "steady"]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "corpus" / "golden"
WIDTH = 100
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

DENIED = CheckResult(
    verdict=Verdict.DENIED,
    stage="production",
    project="forecasting",
    now=NOW,
    subjects=(
        Subject(
            file=FILE,
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
            file="locks/pylock.toml", sha256=digest("pylock"), target=LINUX, locked=True, verdict=Verdict.UNDECIDED
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

_SAMPLES: Mapping[str, CheckResult] = {"allowed": ALLOWED, "denied": DENIED, "undecided": UNDECIDED}
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
