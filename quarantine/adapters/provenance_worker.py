"""The child process that verifies attestations (PEP 740): one request (JSON) on stdin, one answer (JSON) on stdout.

Certificates, signatures and logs are verified by pypi-attestations and sigstore, offline, with the trust root that comes
inside sigstore's own wheel: HOME is an empty folder, so that no other one is found.
"""

import logging
from typing import TYPE_CHECKING, Literal

import msgspec

from quarantine.io.confine import Limits, confine, read_request, reply

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from pypi_attestations import GitHubPublisher, GitLabPublisher
    from sigstore.verify.policy import VerificationPolicy

__all__ = ["Asked", "Missing", "Refused", "Verified", "main"]

MAX_ATTESTATIONS = 20
_ISSUERS = {"github": "https://token.actions.githubusercontent.com", "gitlab": "https://gitlab.com"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Asks whether the publisher attested the file. Without a workflow any of the repository's will do."""

    filename: str
    sha256: str
    provenance: bytes
    host: Literal["github", "gitlab"]
    repository: str
    workflow: str | None
    limits: Limits


class Verified(msgspec.Struct, frozen=True, kw_only=True, tag="verified"):
    """The kinds of attestations that the publisher made of this file, by their names, and why others don't count."""

    kinds: tuple[str, ...]
    environments: tuple[str, ...]
    refused: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """Why there is no attestation that counts."""

    why: tuple[str, ...]


class Missing(msgspec.Struct, frozen=True, kw_only=True, tag="missing"):
    """The library that isn't installed."""

    name: str


class _AnyWorkflow:
    """A sigstore policy: some workflow of one repository."""

    def __init__(self, host: str, repository: str) -> None:
        from sigstore.verify import policy  # noqa: PLC0415  # of the extra `curators`

        origin = f"https://{host}.com/{repository}"
        self._all = policy.AllOf([policy.OIDCIssuerV2(_ISSUERS[host]), policy.OIDCSourceRepositoryURI(origin)])

    def verify(self, cert: "Certificate") -> None:
        """Raises sigstore's VerificationError unless the certificate is of the repository."""
        self._all.verify(cert)


def main() -> None:
    """Answers the request on stdin; ends the process."""
    asked = msgspec.json.decode(read_request(), type=Asked)
    logging.disable(logging.CRITICAL)
    confine(asked.limits)
    reply(msgspec.json.encode(_verify(asked)))


def _verify(asked: Asked) -> Verified | Refused | Missing:
    try:
        import pypi_attestations as library  # noqa: PLC0415  # of the extra `curators`, and slow to load
        from pydantic import ValidationError  # noqa: PLC0415
        from sigstore.errors import Error  # noqa: PLC0415
    except ImportError as error:
        return Missing(name=(error.name or "pypi_attestations").partition(".")[0])
    try:
        provenance = library.Provenance.model_validate_json(asked.provenance)
        file = library.Distribution(name=asked.filename, digest=asked.sha256)
    except (ValidationError, ValueError, RecursionError):
        return Refused(why=("the provenance object is not of its form (PEP 740)",))
    identity = _identity(asked)
    kinds: list[str] = []
    environments: set[str] = set()
    refused: list[str] = []
    every = [(bundle, one) for bundle in provenance.attestation_bundles for one in bundle.attestations]
    for bundle, attestation in every[:MAX_ATTESTATIONS]:
        try:
            kinds.append(library.AttestationType(attestation.verify(identity, file, offline=True)[0]).name)
            environments.add(getattr(bundle.publisher, "environment", None) or "")
        except (library.AttestationError, Error, ValueError, KeyError, TypeError, IndexError) as error:
            refused.append(" ".join(str(error).split())[:300] or type(error).__name__)
    if not kinds:
        return Refused(why=tuple(refused))
    return Verified(kinds=tuple(sorted(kinds)), environments=tuple(sorted(environments)), refused=tuple(refused))


def _identity(asked: Asked) -> "VerificationPolicy | GitHubPublisher | GitLabPublisher":
    import pypi_attestations as library  # noqa: PLC0415  # of the extra `curators`

    if asked.workflow is None:
        return _AnyWorkflow(asked.host, asked.repository)
    if asked.host == "github":
        return library.GitHubPublisher(repository=asked.repository, workflow=asked.workflow)
    return library.GitLabPublisher(repository=asked.repository, workflow_filepath=asked.workflow)
