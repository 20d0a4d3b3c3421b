"""Looking into held files, each in a child process of its own without network and with limits (`io.confine`).

What the child says is as hostile as the file: it is parsed strictly, and says nothing of what the file is. Its digest
and size are taken here. A child that gave no answer has found nothing out: that is "unknown", never a pass.
"""

import hashlib
from pathlib import Path

import msgspec

from quarantine.archive.inspection import ARCHIVE, CHECKS, Found, Inspection, answer
from quarantine.archive.metadata import parse_metadata
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import ExceptionFile
from quarantine.io.confine import Limits, answer_of, ask
from quarantine.model import Outcome, OutcomeKind
from quarantine.ports import Tell

__all__ = ["Vetting"]

_WORKER = "quarantine.adapters.vetting_worker"
_PACKAGES = ("quarantine", "msgspec", "packaging", "conda_package_streaming", "zstandard", "picklescan")
_READ_BYTES = 1024 * 1024


class _Looked(msgspec.Struct, frozen=True, kw_only=True, tag="looked", forbid_unknown_fields=True):
    found: Found
    network: str


class _Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed", forbid_unknown_fields=True):
    why: str


class Vetting:
    """Looks into held files. `limits` are what the child process may take for one."""

    def __init__(self, limits: Limits | None = None, *, worker: str = _WORKER) -> None:
        self._limits = Limits() if limits is None else limits
        self._worker = worker

    def inspect(self, path: Path, file: ExceptionFile, tell: Tell) -> Inspection:
        """What is found in the file at the path, every check answered. UpstreamError when it can't be read here."""
        tell(f"looking into {file.filename}")
        sha256, size = _digest(path)
        if sha256 != file.sha256:
            outcomes = _unknown(file, f"it has the sha256 {sha256}, expected {file.sha256}")
            return Inspection(filename=file.filename, sha256=sha256, size=size, outcomes=outcomes)
        found = self._found(path, file)
        return Inspection(
            filename=file.filename,
            sha256=sha256,
            size=size,
            outcomes=found.outcomes,
            metadata=found.metadata,
            requires=found.requires,
            holds=found.holds,
            index=found.index,
            licences=found.licences,
        )

    def _found(self, path: Path, file: ExceptionFile) -> Found:
        request = {"path": str(path.absolute()), "file": file, "limits": self._limits}
        try:
            done = ask(self._worker, _PACKAGES, msgspec.json.encode(request), self._limits)
            said: _Looked | _Failed = msgspec.json.decode(answer_of(done), type=_Looked | _Failed)
        except UpstreamError as error:
            return Found(outcomes=_unknown(file, str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Found(outcomes=_unknown(file, "the child's answer can't be read"))
        if isinstance(said, _Failed):
            return Found(outcomes=_unknown(file, said.why))
        if said.found.metadata is not None and not _readable(said.found.metadata):
            return Found(outcomes=_unknown(file, "the child's answer has metadata that can't be read"))
        if tuple(outcome.rule for outcome in said.found.outcomes) != CHECKS:
            return Found(outcomes=_unknown(file, "the child's answer leaves checks out"))
        return said.found


def _unknown(file: ExceptionFile, why: str) -> tuple[Outcome, ...]:
    why = why[:300]
    first = answer(ARCHIVE, OutcomeKind.UNKNOWN, f"{file.filename} could not be inspected: {why}")
    return (
        first,
        *(
            answer(rule, OutcomeKind.UNKNOWN, f"{file.filename} was not looked into: {why}")
            for rule in CHECKS
            if rule != ARCHIVE
        ),
    )


def _readable(metadata: bytes) -> bool:
    try:
        parse_metadata("METADATA", metadata)
    except IntegrityError:
        return False
    return True


def _digest(path: Path) -> tuple[str, int]:
    hashing = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(_READ_BYTES):
                hashing.update(block)
            return hashing.hexdigest(), stream.tell()
    except OSError as error:
        raise UpstreamError(f"{path.name} can't be read: {(error.strerror or 'unknown error').lower()}") from error
