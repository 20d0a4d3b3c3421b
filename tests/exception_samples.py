"""Exceptions with their evidence, to be shown. `python tests/exception_samples.py` draws the golden pages anew."""

from datetime import timedelta
from pathlib import Path

from exception_records import ANN, BOB, CAROL, NOON, POLICY_SHA, PUBLISHER, wheel
from msgspec.structs import replace
from policy_samples import POLICY, policy

from quarantine.exceptions import (
    Attached,
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Joined,
    Publication,
    PublicationKind,
    Ruling,
    RulingKind,
)
from quarantine.model import Ecosystem, Finding, Outcome, OutcomeKind, Severity
from quarantine.policy.decide import decide
from quarantine.policy.load import Policy
from quarantine.report.exception import FORMATS, listed, render_list, render_page

__all__ = ["CASES", "DOSSIERS", "GOLDEN", "HOSTILE", "RULES", "documents"]

GOLDEN = Path(__file__).parent / "corpus" / "golden-exceptions"
RULES: Policy = policy(POLICY.replace("rules:\n", "rules:\n  exceptions: {approvers: 1, max_days: 90}\n", 1))
AT = NOON + timedelta(days=2)
HOSTILE = "line\n##vso[task.complete]\x1b[2J\u202egpj ::add-mask::x <img src=x> [a](http://x) `b` sig=canary|"

NUMPY = wheel()
OPENSSL = ExceptionFile(
    ecosystem=Ecosystem.CONDA,
    upstream="conda-forge",
    name="openssl",
    version="3.0.1",
    filename="openssl-3.0.1-h0_1.conda",
    sha256="b" * 64,
    size=12_345_678,
    subdir="linux-64",
    build="h0_1",
)
SOURCE = ExceptionFile(
    ecosystem=Ecosystem.PYPI,
    upstream="pypi",
    name="old-lib",
    version="1.0",
    filename="old_lib-1.0.tar.gz",
    sha256="c" * 64,
)
BUILT = replace(SOURCE, filename="old_lib-1.0-py3-none-any.whl", sha256="d" * 64, size=2000)


def _outcome(rule: str, kind: str, message: str, **evidence: str | tuple[str, ...]) -> Outcome:
    return Outcome(rule=rule, kind=OutcomeKind(kind), message=message, evidence=tuple(evidence.items()))


def _request(
    number: int, *files: ExceptionFile, by: Identity = ANN, reason: str = "the model needs it"
) -> ExceptionRequest:
    return ExceptionRequest(
        id=f"{number}a1b2c3d4e5f".ljust(32, "0"),
        project="demo",
        stage="production",
        reason=reason,
        files=tuple(sorted(files)),
        requester=by,
        time=NOON + timedelta(minutes=number),
        until=NOON + timedelta(days=60),
        nonce=str(number),
    )


def _dossier(request: ExceptionRequest, *files: DossierFile) -> Dossier:
    return Dossier(
        exception=request.id,
        project=request.project,
        stage=request.stage,
        time=NOON + timedelta(hours=2),
        policy=POLICY_SHA,
        advisories="a" * 64,
        files=files,
    )


def _summary(
    dossier: Dossier,
    failures: tuple[str, ...] = (),
    unknowns: tuple[str, ...] = (),
    final: tuple[str, ...] = (),
) -> DossierSummary:
    return DossierSummary(
        time=dossier.time,
        sha256="1" * 64,
        files=tuple(entry.file.sha256 for entry in dossier.files),
        failures=failures,
        unknowns=unknowns,
        final=final,
        policy=POLICY_SHA,
        advisories="a" * 64,
        by=PUBLISHER,
    )


def _ruling(kind: RulingKind, request: ExceptionRequest, summary: DossierSummary, **more: object) -> Ruling:
    usual = Ruling(
        kind=kind,
        id=f"word-{kind.value}",
        time=NOON + timedelta(days=1),
        by=BOB,
        reason="read its source",
        policy=POLICY_SHA,
        files=summary.files,
        dossier=summary.sha256 if kind in (RulingKind.APPROVE, RulingKind.RENEW) else None,
        waives=tuple(sorted(summary.waivable)),
        expires_at=NOON + timedelta(days=30),
        project=request.project,
        stage=request.stage,
    )
    return replace(usual, **more)


FLAW = Finding(
    id="PYSEC-2024-1",
    aliases=("CVE-2024-1",),
    severity=Severity.CRITICAL,
    score="9.8",
    fixed=("2.0",),
    summary="arrays run code",
)
_ASKED = _request(1, NUMPY, OPENSSL)
WAITING_DOSSIER = _dossier(
    _ASKED,
    DossierFile(
        file=NUMPY,
        outcomes=(
            _outcome("digest", "pass", "it is what pypi lists, by digest"),
            _outcome("vulnerability", "fail", "1 flaw of high severity or more", ids=("CVE-2024-1",), fixed=("2.0",)),
            _outcome("minimum-age", "fail", "public for 2 days, expected 7"),
            _outcome("provenance", "unknown", "it has no attestation"),
            _outcome("licence", "pass", "BSD-3-Clause is allowed"),
            _outcome("dependencies", "unknown", "needs old-lib, which would need an exception too", names=("old-lib",)),
        ),
        findings=(FLAW,),
        metadata="2" * 64,
        licence="BSD-3-Clause",
        requires=("old-lib>=1",),
        reports=("3" * 64,),
    ),
    DossierFile(
        file=OPENSSL,
        outcomes=(
            _outcome("digest", "pass", "it is what conda-forge lists, by digest"),
            _outcome("licence", "fail", "LicenseRef-odd is not allowed"),
        ),
        licence="LicenseRef-odd",
    ),
)
_WAITING = _summary(
    WAITING_DOSSIER,
    failures=("numpy 1.26.4 minimum-age", "numpy 1.26.4 vulnerability:CVE-2024-1", "openssl 3.0.1 licence"),
    unknowns=("numpy 1.26.4 dependencies", "numpy 1.26.4 provenance"),
)
_BAD = _request(2, wheel("evil", "1.0"))
BAD_DOSSIER = _dossier(
    _BAD,
    DossierFile(
        file=wheel("evil", "1.0"),
        outcomes=(
            _outcome("malware", "fail", "MAL-2024-1 names it"),
            _outcome("archive", "fail", "setup/../../x leaves the archive"),
        ),
        findings=(Finding(id="MAL-2024-1", malware=True, summary="steals keys"),),
    ),
)
_SOURCE = _request(3, SOURCE, by=CAROL)
_LIVE = _request(4, NUMPY)
LIVE_DOSSIER = _dossier(_LIVE, DossierFile(file=NUMPY, outcomes=(_outcome("minimum-age", "fail", "2 days of 7"),)))
_HELD = _summary(LIVE_DOSSIER, failures=("numpy 1.26.4 minimum-age",))
_HOSTILE = _request(
    5,
    replace(NUMPY, version="1.26.4"),
    by=replace(ANN, name=HOSTILE[:200], id="evil\u202e"),
    reason=HOSTILE,
)
HOSTILE_DOSSIER = _dossier(
    _HOSTILE,
    DossierFile(
        file=NUMPY,
        outcomes=(
            _outcome(HOSTILE, "fail", HOSTILE, ids=(HOSTILE,)),
            _outcome("provenance", "unknown", HOSTILE),
            _outcome("licence", "pass", HOSTILE),
            _outcome("archive", "pass", HOSTILE),
        ),
        findings=(Finding(id=HOSTILE, aliases=(HOSTILE,), fixed=(HOSTILE,), summary=HOSTILE),),
        licence=HOSTILE,
        requires=(HOSTILE,),
        reports=(HOSTILE,),
    ),
)


def _bound(case: ExceptionCase) -> ExceptionCase:
    """The case, with its dossiers and rulings bound to it."""
    return replace(
        case,
        dossiers=tuple(replace(dossier, binding=case.binding) for dossier in case.dossiers),
        rulings=tuple(replace(ruling, binding=case.binding) for ruling in case.rulings),
    )


_CASES: dict[str, ExceptionCase] = {
    "requested": ExceptionCase(id=_SOURCE.id, request=_SOURCE),
    "waiting": ExceptionCase(
        id=_ASKED.id,
        request=_ASKED,
        joined=(Joined(time=NOON + timedelta(hours=1), by=CAROL, reason="so does ours"),),
        dossiers=(_WAITING,),
        rulings=(_ruling(RulingKind.APPROVE, _ASKED, _WAITING, by=ANN, reason="I need it"),),
    ),
    "final": ExceptionCase(
        id=_BAD.id, request=_BAD, dossiers=(_summary(BAD_DOSSIER, final=("evil 1.0 archive", "evil 1.0 malware")),)
    ),
    "attached": ExceptionCase(
        id=_SOURCE.id,
        request=_SOURCE,
        attached=(Attached(time=NOON + timedelta(hours=3), by=BOB, source=SOURCE.sha256, file=BUILT),),
    ),
    "published": ExceptionCase(
        id=_LIVE.id,
        request=_LIVE,
        dossiers=(_HELD,),
        rulings=(_ruling(RulingKind.APPROVE, _LIVE, _HELD),),
        publications=(
            Publication(kind=PublicationKind.PUBLISHING, time=NOON + timedelta(days=1), files=(NUMPY.sha256,)),
            Publication(kind=PublicationKind.PUBLISHED, time=NOON + timedelta(days=1), files=(NUMPY.sha256,)),
        ),
    ),
    "revoked": ExceptionCase(
        id=_LIVE.id,
        request=_LIVE,
        dossiers=(_HELD,),
        rulings=(
            _ruling(RulingKind.APPROVE, _LIVE, _HELD),
            _ruling(
                RulingKind.REVOKE, _LIVE, _HELD, time=NOON + timedelta(days=2), by=CAROL, waives=(), expires_at=None
            ),
        ),
    ),
    "hostile": ExceptionCase(
        id=_HOSTILE.id,
        request=_HOSTILE,
        dossiers=(
            _summary(HOSTILE_DOSSIER, failures=(f"numpy 1.26.4 {HOSTILE}",), unknowns=("numpy 1.26.4 provenance",)),
        ),
    ),
}
CASES = {name: _bound(case) for name, case in _CASES.items()}
DOSSIERS: dict[str, Dossier] = {
    "waiting": WAITING_DOSSIER,
    "final": BAD_DOSSIER,
    "published": LIVE_DOSSIER,
    "hostile": HOSTILE_DOSSIER,
}
_ENDINGS = {"text": "txt", "json": "json", "markdown": "md"}


def documents() -> dict[str, str]:
    """Every page in every format, and the lists, by the name of the golden file."""
    drawn: dict[str, str] = {}
    for name, case in CASES.items():
        decision, dossier = decide(case, RULES, AT, local=False), DOSSIERS.get(name)
        lost = "evidence/sha256:11 can't be read: no such file or directory" if name == "revoked" else ""
        for form in FORMATS:
            drawn[f"{name}.{_ENDINGS[form]}"] = render_page(form, case, decision, dossier, lost=lost)
    every = [(case, decide(case, RULES, AT, local=False)) for case in CASES.values()]
    for order in ("age", "risk"):
        rows = listed(every, order)
        drawn[f"list.{order}.txt"] = render_list("text", rows, AT, width=None, colour=False)
        drawn[f"list.{order}.narrow.txt"] = render_list("text", rows, AT, width=80, colour=False)
        drawn[f"list.{order}.json"] = render_list("json", rows, AT, width=None, colour=False)
    return drawn


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (GOLDEN / name).write_text(text, encoding="utf-8")
