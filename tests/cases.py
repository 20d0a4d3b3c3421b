"""Cases of the exception process, made of values: whole, and overridable where a test cares."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace
from policy_samples import NOW, POLICY, PYPI, VETTED
from policy_samples import policy as policy_of

from quarantine.audit.events import request_id
from quarantine.exceptions import (
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Ruling,
    RulingKind,
)
from quarantine.model import Ecosystem
from quarantine.policy.stage import Policy

ANN, BOB, CAT, DAN = (
    Identity(kind="local", id=f"100{n}", name=name) for n, name in enumerate(("ann", "bob", "cat", "dan"))
)
PUBLISHER = Identity(kind="local", id="2000", name="publisher")
DIGEST = "1" * 64
FLAW = "demo 1.0 vulnerability:CVE-2024-1"


def policy(text: str = "") -> Policy:
    """The sample policy with one approver for `development`, and what else stands for exceptions there."""
    rules = f"  development:\n    exceptions: {{{text or 'approvers: 1, max_days: 30'}}}\n"
    return policy_of(POLICY.replace("  development:\n", rules), PYPI, VETTED)


def file(name: str = "demo", version: str = "1.0", digest: str = DIGEST, upstream: str = "pypi") -> ExceptionFile:
    """A wheel."""
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=name,
        version=version,
        filename=f"{name}-{version}-py3-none-any.whl",
        sha256=digest,
    )


def request(
    *files: ExceptionFile, by: Identity = ANN, stage: str = "development", project: str = "demo"
) -> ExceptionRequest:
    """A request of three days ago."""
    asked = ExceptionRequest(
        id="0" * 32,
        project=project,
        stage=stage,
        reason="needed",
        files=files or (file(),),
        requester=by,
        time=NOW - timedelta(days=3),
        nonce="n",
    )
    return replace(asked, id=request_id(asked))


def dossier(
    *failures: str,
    files: Iterable[str] = (DIGEST,),
    final: tuple[str, ...] = (),
    at: datetime = NOW - timedelta(days=2),
    sha256: str = "d" * 64,
) -> DossierSummary:
    """What vetting found two days ago."""
    return DossierSummary(
        time=at, sha256=sha256, files=tuple(files), failures=failures, final=final, policy="a" * 64, by=PUBLISHER
    )


def approval(by: Identity = BOB, kind: RulingKind = RulingKind.APPROVE, **more: object) -> Ruling:
    """An approval of yesterday, for all that the sample dossier has, to the end of the year."""
    given: dict[str, object] = {
        "kind": kind,
        "id": f"ruling-{by.id}-{kind}",
        "time": NOW - timedelta(days=1),
        "by": by,
        "reason": "looked at",
        "policy": "a" * 64,
        "files": (DIGEST,),
        "dossier": "d" * 64,
        "expires_at": NOW + timedelta(days=10),
        "waives": (FLAW,),
        "project": "demo",
        "stage": "development",
    }
    return Ruling(**{**given, **more})  # type: ignore[arg-type]  # spelled out by the callers


def case(*rulings: Ruling, dossiers: tuple[DossierSummary, ...] | None = None, **more: object) -> ExceptionCase:
    """A case that was asked for by Ann and vetted, with one failure."""
    asked = request()
    known = (dossier(FLAW),) if dossiers is None else dossiers
    given = {"id": asked.id, "request": asked, "dossiers": known, "rulings": rulings, **more}
    made = ExceptionCase(**given)  # type: ignore[arg-type]  # spelled out by the callers
    return replace(
        made,
        dossiers=tuple(replace(one, binding=one.binding or made.binding) for one in made.dossiers),
        rulings=tuple(replace(one, binding=one.binding or made.binding) for one in made.rulings),
    )
