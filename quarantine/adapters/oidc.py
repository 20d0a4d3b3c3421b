"""Who runs this, as a CI system says it: the token of a job, verified with the keys that the system publishes.

GitHub Actions and Azure Pipelines are asked for a token; of any other system one is taken from a variable.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import msgspec

from quarantine.errors import UpstreamError
from quarantine.exceptions import Identity
from quarantine.io.guard import target_of
from quarantine.io.http import HttpClient, Response
from quarantine.io.tokens import Claims, Issuer, Keys, claimed_text, verify_token
from quarantine.model import is_loopback
from quarantine.ports import Tell

__all__ = [
    "CiClaims",
    "OidcIdentities",
    "TokenSource",
    "azure_pipelines",
    "ci_claims",
    "claimed_project",
    "github_actions",
]

T = TypeVar("T")
MAX_ANSWER_BYTES = 64 * 1024
TokenSource = Callable[[Tell], str]
"""Gives a token; UpstreamError when it can't."""
Open = Callable[[Iterable[str]], HttpClient]
_Reveal = Callable[[], str]


class CiClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says of the job: nothing of it is secret, and "" stands for what it doesn't say.

    `repository` is for reading, `repository_id` stays when it is renamed.
    """

    issuer: str
    repository: str = ""
    repository_id: str = ""
    ref: str = ""
    environment: str = ""
    workflow: str = ""


class _GithubAnswer(msgspec.Struct, frozen=True):
    value: str


class _AzureAnswer(msgspec.Struct, frozen=True):
    token: str = msgspec.field(name="oidcToken")


def github_actions(url: str, bearer: _Reveal, audience: str, http: Open) -> TokenSource:
    """Asks the runner's token service (`ACTIONS_ID_TOKEN_REQUEST_URL`), with the job's own pass."""

    def ask(tell: Tell) -> str:
        _check_encrypted(url, "ACTIONS_ID_TOKEN_REQUEST_URL")
        full = f"{url}{'&' if '?' in url else '?'}audience={quote(audience, safe='')}"
        tell("asking GitHub who this is")
        with http([url]) as client:
            answer = client.get(full, headers=_pass(bearer), max_bytes=MAX_ANSWER_BYTES)
        return _decode("GitHub", answer, _GithubAnswer).value

    return ask


def azure_pipelines(url: str, bearer: _Reveal, service_connection: str, http: Open) -> TokenSource:
    """Asks Azure Pipelines (`SYSTEM_OIDCREQUESTURI`) with the job's access token, in the name of a service connection.

    Without one ("") the token is the pipeline's own.
    """

    def ask(tell: Tell) -> str:
        _check_encrypted(url, "SYSTEM_OIDCREQUESTURI")
        full = f"{url.rstrip('/')}?api-version=7.1"
        if service_connection:
            full += f"&serviceConnectionId={quote(service_connection, safe='')}"
        tell("asking Azure Pipelines who this is")
        with http([url]) as client:
            # without the last header it answers a pass that isn't valid with a page to log in on
            headers = {**_pass(bearer), "Content-Type": "application/json", "X-TFS-FedAuthRedirect": "Suppress"}
            answer = client.post(full, headers=headers, max_bytes=MAX_ANSWER_BYTES)
        return _decode("Azure Pipelines", answer, _AzureAnswer).token

    return ask


def _check_encrypted(url: str, variable: str) -> None:
    """The job's pass goes there, which is as good as the token."""
    origin = target_of(url).origin
    if origin.scheme != "https" and not is_loopback(origin.host):
        raise UpstreamError(f"{variable} isn't encrypted: expected https (http on this machine's loopback only)")


def _pass(bearer: _Reveal) -> dict[str, str]:
    secret = bearer()
    if not secret.isascii() or not secret.isprintable():
        raise UpstreamError("the job's pass to its token service has characters that no header has")
    return {"Authorization": f"Bearer {secret}", "Accept": "application/json"}


def _decode(system: str, answer: Response, type_: type[T]) -> T:
    if answer.status != 200:
        raise UpstreamError(f"{system} gives this job no identity token: it answered {answer.status}")
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # without its cause, which may quote the token
        raise UpstreamError(f"{system} gives this job no identity token: its answer holds none") from None


class OidcIdentities:
    """An `Identities` by the token of a CI job, which is verified once.

    `subject` names the claim that tells who it is. It must never be given to anybody else, and it must tell people
    apart where people are to be told apart, whatever repository they act in: for GitHub `actor_id`, since one person in
    two repositories would be two by `sub`, or by any claim that holds the repository, and could decide on their own request.
    """

    def __init__(self, *, issuer: Issuer, subject: str, source: TokenSource, keys: Keys, now: datetime) -> None:
        self._issuer = issuer
        self._subject = subject
        self._source = source
        self._keys = keys
        self._now = now
        self._claims: Claims | None = None

    def who(self, tell: Tell) -> Identity:
        """Who the job acts for. UpstreamError when there is no token, or none that holds."""
        claims = self._verified(tell)
        subject = claims.get(self._subject)
        if not isinstance(subject, str) or not 0 < len(subject) <= 256 or not subject.isprintable():
            raise UpstreamError(f"the identity token is refused: it names nobody ({self._subject})")
        return Identity(
            kind="oidc",
            id=subject,
            name=_name(claims),
            issuer=self._issuer.issuer,
            claim=self._subject,
            verified=True,
        )

    def job(self, tell: Tell) -> CiClaims:
        """What the job is. UpstreamError as for `who`."""
        return ci_claims(self._verified(tell))

    def _verified(self, tell: Tell) -> Claims:
        if self._claims is None:
            self._claims = verify_token(self._source(tell), (self._issuer,), self._keys, self._now, tell)
        return self._claims


def _first(claims: Claims, *names: str, longest: int = 512) -> str:
    return next((text for text in (claimed_text(claims, name, longest=longest) for name in names) if text), "")


def _name(claims: Claims) -> str:
    """A person and where they act, or the subject, which is written to be read."""
    person = _first(claims, "actor", "user_login", "preferred_username", "email")
    place = claimed_project(claims)
    return (f"{person} in {place}" if person and place else person or _first(claims, "sub", "name"))[:256]


def claimed_project(claims: Claims) -> str:
    """The repository that the job belongs to, as GitHub, GitLab or Azure Pipelines name it; "" where none is named."""
    return _first(claims, "repository", "project_path", "rpo_uri")


def ci_claims(claims: Claims) -> CiClaims:
    """What verified claims say of the job, whichever system made them."""
    return CiClaims(
        issuer=_first(claims, "iss"),
        repository=claimed_project(claims),
        repository_id=_first(claims, "repository_id", "project_id", "rpo_id"),
        ref=_first(claims, "ref", "rpo_ref"),
        environment=_first(claims, "environment"),
        workflow=_first(claims, "job_workflow_ref", "workflow_ref", "ci_config_ref_uri", "def_id"),
    )
