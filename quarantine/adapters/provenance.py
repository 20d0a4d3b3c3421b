"""Who published a file, by its attestations (PEP 740), verified offline against the publisher that curators expect.

An attestation proves that some workflow of some repository signed this very file. That counts only where somebody has
said which repository it must be: what a bundle, or the index, says about itself proves nothing. The verification runs in
a child process without network (`io.confine`).
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from quarantine.archive.inspection import answer, some
from quarantine.errors import UpstreamError, install_extra
from quarantine.exceptions import ExceptionFile
from quarantine.io.confine import Limits, answer_of, ask
from quarantine.model import Ecosystem, EvidenceValue, Outcome, OutcomeKind
from quarantine.policy.entries import Publisher
from quarantine.ports import Tell

__all__ = ["PROVENANCE", "Provenance"]

PROVENANCE = "provenance"
MAX_PROVENANCE_BYTES = 1024 * 1024
# sigstore keeps its trust root in files of some kilobytes below HOME
LIMITS = Limits(seconds=60.0, cpu_seconds=60, file_bytes=1024 * 1024, output_bytes=1024 * 1024)
PUBLISH = "PYPI_PUBLISH_V1"
"""What pypi-attestations calls the attestation of an upload (PEP 740)."""

_WORKER = "quarantine.adapters.provenance_worker"
_PACKAGES = ("quarantine", "msgspec", "packaging", "pypi_attestations", "sigstore", "pydantic", "cryptography")


class _Claim(msgspec.Struct, frozen=True):
    kind: str = ""
    repository: str = ""
    workflow: str | None = None
    workflow_filepath: str | None = None

    def __str__(self) -> str:
        parts = (self.repository, self.workflow or self.workflow_filepath)
        return f"{self.kind}:{'/'.join(part for part in parts if part)}".lower()


class _Bundle(msgspec.Struct, frozen=True):
    publisher: _Claim
    attestations: tuple[msgspec.Raw, ...]


class _Object(msgspec.Struct, frozen=True):
    """A provenance object: as much of it as says whether there is anything to verify."""

    attestation_bundles: tuple[_Bundle, ...]


class _Verified(msgspec.Struct, frozen=True, tag="verified", forbid_unknown_fields=True):
    kinds: tuple[str, ...]
    environments: tuple[str, ...]
    refused: tuple[str, ...]


class _Refused(msgspec.Struct, frozen=True, tag="refused", forbid_unknown_fields=True):
    why: tuple[str, ...]


class _Missing(msgspec.Struct, frozen=True, tag="missing", forbid_unknown_fields=True):
    name: str


_Answer = _Verified | _Refused | _Missing


class Provenance:
    """Verifies attestations. `limits` are what the child process may take."""

    def __init__(self, limits: Limits = LIMITS, *, worker: str = _WORKER) -> None:
        self._limits = limits
        self._worker = worker

    def verify(self, file: ExceptionFile, provenance: bytes | None, expected: Publisher | None, tell: Tell) -> Outcome:
        """What the attestations of a file come to. `provenance` is its provenance object, None where its index has none.

        Nothing is raised: what could not be verified is unknown.
        """
        if file.ecosystem is not Ecosystem.PYPI:
            return _said(
                OutcomeKind.NOT_APPLICABLE, f"{file.filename} is no Python distribution: it has no attestations"
            )
        if provenance is None:
            return _unattested(file, expected, "its index has none of it")
        if len(provenance) > MAX_PROVENANCE_BYTES:
            said = f"its provenance object has {len(provenance)} bytes, at most {MAX_PROVENANCE_BYTES} are read"
            return _said(OutcomeKind.FAIL, f"{file.filename}: {said}")
        try:
            found = msgspec.json.decode(provenance, type=_Object)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _said(OutcomeKind.FAIL, f"{file.filename}: its provenance object can't be read: {str(error)[:200]}")
        claims = [str(bundle.publisher)[:200] for bundle in found.attestation_bundles if bundle.attestations]
        if not claims:
            return _unattested(file, expected, "its provenance object is empty")
        if expected is None:
            said = (
                f"{file.filename} is attested by {claims[0]!a}, and no entry of a list says who must have published it"
            )
            return answer(PROVENANCE, OutcomeKind.NOT_APPLICABLE, said, claimed=some(claims))
        tell(f"verifying who published {file.filename}")
        return self._verified(file, provenance, expected, claims)

    def _verified(self, file: ExceptionFile, provenance: bytes, expected: Publisher, claims: list[str]) -> Outcome:
        request = {
            "filename": file.filename,
            "sha256": file.sha256,
            "provenance": provenance,
            "host": expected.host,
            "repository": expected.repository,
            "workflow": None if expected.workflow is None else _workflow(expected),
            "limits": self._limits,
        }
        try:
            done = ask(self._worker, _PACKAGES, msgspec.json.encode(request), self._limits)
            said: _Answer = msgspec.json.decode(answer_of(done), type=_Answer)
        except UpstreamError as error:
            return _said(
                OutcomeKind.UNKNOWN, f"{file.filename}: its attestations could not be verified: {str(error)[:300]}"
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _said(
                OutcomeKind.UNKNOWN, f"{file.filename}: its attestations could not be verified: no readable answer"
            )
        evidence: dict[str, EvidenceValue] = {"expected": str(expected), "claimed": some(claims)}
        match said:
            case _Missing():
                what = f"{file.filename}: nothing here verifies attestations: {install_extra('curators')}"
                return answer(PROVENANCE, OutcomeKind.UNKNOWN, what, **evidence)
            case _Refused():
                why = said.why[0][:300] if said.why else "none was looked at"
                what = f"{file.filename} is not attested by {expected}: {why!a}"
                return answer(PROVENANCE, OutcomeKind.FAIL, what, **evidence)
            case _Verified():
                return _counted(file, expected, said, evidence)


def _counted(
    file: ExceptionFile, expected: Publisher, said: _Verified, evidence: Mapping[str, EvidenceValue]
) -> Outcome:
    if PUBLISH not in said.kinds:
        what = f"{file.filename} has attestations of {expected}, and none of having published it"
        return answer(PROVENANCE, OutcomeKind.FAIL, what, **evidence)
    # no certificate says in which environment a workflow ran; the index does, which checked it when it took the file in
    if expected.environment is not None and said.environments != (expected.environment,):
        found = ", ".join(name or "none" for name in said.environments)[:200]
        what = f"{file.filename} was published from the environment {found!a}, expected {expected.environment!a}"
        return answer(PROVENANCE, OutcomeKind.FAIL, what, **evidence)
    what = f"{file.filename} was published by {expected}: its attestation is verified"
    return answer(PROVENANCE, OutcomeKind.PASS, what, kinds=some(said.kinds), **evidence)


def _unattested(file: ExceptionFile, expected: Publisher | None, why: str) -> Outcome:
    if expected is None:
        return _said(
            OutcomeKind.NOT_APPLICABLE, f"{file.filename} has no attestations, and no entry of a list asks for any"
        )
    what = f"{file.filename} has no attestations, expected one of {expected}: {why}"
    return answer(PROVENANCE, OutcomeKind.FAIL, what, expected=str(expected))


def _workflow(expected: Publisher) -> str:
    """The workflow as certificates have it: on GitHub its file name, on GitLab its path."""
    named = expected.workflow or ""
    return PurePosixPath(named).name if expected.host == "github" else named


def _said(kind: OutcomeKind, message: str) -> Outcome:
    return answer(PROVENANCE, kind, message)
