"""Who is asking, what proves it, and how people are told."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from quarantine.audit.record import Json
from quarantine.config import Environment, Settings
from quarantine.errors import ConfigError, Problem, UpstreamError, UsageError
from quarantine.policy.load import Policy
from quarantine.ports import Identities, Notifier
from quarantine.wiring.upstreams import http_client

if TYPE_CHECKING:
    from quarantine.adapters.oidc import TokenSource
    from quarantine.io.http import HttpClient
    from quarantine.pipeline.central import Proven
    from quarantine.ports import Tell

__all__ = [
    "actor",
    "identities",
    "local_actor",
    "notifier",
    "proven",
]


def identities(settings: Settings, environment: Environment, now: datetime) -> Identities:
    """What knows who is asking, as the configuration has it. UpstreamError when what proves it isn't there.

    ConfigError where others would have to take this machine's word for it.
    """
    from quarantine.io.tokens import Issuer, PublishedKeys  # noqa: PLC0415  # imported where it is used

    wanted = settings.identity
    if wanted.kind == "local":
        if settings.remote_store is not None:
            advice = "identity of kind local proves nothing to others who use the store: expected entra or oidc"
            raise ConfigError([Problem(file=str(settings.file), message=advice)])
        from quarantine.adapters.local_user import LocalUser  # noqa: PLC0415  # imported where it is used

        return LocalUser()
    keys = PublishedKeys(http=lambda urls: http_client(urls, environment), cache_dir=settings.cache, now=now)
    if wanted.kind == "entra":
        from quarantine.adapters.entra import EntraIdentities, default_credential  # noqa: PLC0415

        def given(_scope: str, _authority: str) -> str:
            return _secret(environment, wanted.token)

        return EntraIdentities(
            tenant=wanted.tenant,
            audience=wanted.audience,
            authority=wanted.authority,
            keys=keys,
            now=now,
            credential=given if wanted.token else default_credential,
        )
    from quarantine.adapters.oidc import OidcIdentities  # noqa: PLC0415  # imported where it is used

    return OidcIdentities(
        issuer=Issuer(issuer=wanted.issuer, audience=wanted.audience),
        subject=wanted.subject_claim,
        source=_token_source(settings, environment),
        keys=keys,
        now=now,
    )


def actor(settings: Settings, environment: Environment, now: datetime, tell: "Tell") -> dict[str, Json]:
    """Who runs a check, as it stands in the log: verified where that can be proved here, else the system's user, who isn't."""
    if settings.identity.kind != "local":
        try:
            who = identities(settings, environment, now).who(tell)
        except UpstreamError:
            return local_actor()
        return {"kind": who.kind, "id": who.id, "name": who.name, "issuer": who.issuer, "verified": who.verified}
    return local_actor()


def local_actor() -> dict[str, Json]:
    """Who runs this, as the operating system says: a user that nobody has verified."""
    from quarantine.adapters.local_user import LocalUser  # noqa: PLC0415  # imported where it is used

    user = LocalUser().who(lambda _: None)
    return {"kind": user.kind, "id": user.id, "name": user.name, "verified": user.verified}


def proven(settings: Settings, environment: Environment, policy: Policy, now: datetime, tell: "Tell") -> "Proven":
    """For which project and stage something runs, as far as CI proves it; what it doesn't is what the configuration says.

    Only a token of a CI system proves any of it, and where the policy lists projects, jobs must have one: what stands in
    the files of a pull request proves nothing. UsageError for a repository that calls itself a project of others, and
    where nothing is proven in CI; UpstreamError where the token can't be had.
    """
    from quarantine.pipeline.central import Proven  # noqa: PLC0415  # imported where it is used

    if not policy.projects:
        return Proven(project=settings.project)
    wanted = settings.identity
    if wanted.kind != "oidc":
        if environment.ci is None:
            return Proven(project=settings.project)
        raise UsageError(
            "the policy lists which repository is which project, and nothing proves here which one this is: set "
            "`identity: {kind: oidc, ...}` in quarantine.yaml, so that the CI system's token says it"
        )
    if environment.ci is None and not (wanted.token and environment.secret(wanted.token)):
        return Proven(project=settings.project)
    if not any((known.issuer, known.audience) == (wanted.issuer, wanted.audience) for known in policy.identities):
        raise UsageError(
            f"tokens of {wanted.issuer} for {wanted.audience} prove nothing here: expected one of the policy's `identities`"
        )
    from quarantine.adapters.oidc import OidcIdentities  # noqa: PLC0415  # imported where it is used

    people = identities(settings, environment, now)
    assert isinstance(people, OidcIdentities)  # noqa: S101  # the kind says so
    job = people.job(tell)
    stage = job.environment if job.environment in policy.stages else None
    if not job.repository:
        raise UsageError(f"the token of {wanted.issuer} names no repository, so it proves no project: expected a job's")
    return Proven(project=policy.project_of(job.repository, settings.project), stage=stage)


def _token_source(settings: Settings, environment: Environment) -> "TokenSource":
    """Where the CI system's token comes from: the named variable, or the system that this runs in."""
    from quarantine.adapters.oidc import azure_pipelines, github_actions  # noqa: PLC0415  # imported where it is used

    wanted = settings.identity

    def open_(urls: Iterable[str]) -> "HttpClient":
        return http_client(urls, environment)

    if wanted.token:
        return lambda _: _secret(environment, wanted.token)
    if environment.ci == "github-actions":
        advice = "give the job the permission `id-token: write`"
        return github_actions(
            _secret(environment, "ACTIONS_ID_TOKEN_REQUEST_URL", advice),
            lambda: _secret(environment, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", advice),
            wanted.audience,
            open_,
        )
    if environment.ci == "azure-pipelines":
        return azure_pipelines(
            _secret(environment, "SYSTEM_OIDCREQUESTURI"),
            lambda: _secret(
                environment, "SYSTEM_ACCESSTOKEN", "map it: `env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}`"
            ),
            wanted.service_connection,
            open_,
        )
    raise UpstreamError(
        "identity: oidc finds no CI system that gives tokens here: expected GitHub Actions or Azure Pipelines; "
        "of others name the variable that has the token (`token: env:NAME`)"
    )


def _secret(environment: Environment, name: str, advice: str = "") -> str:
    secret = environment.secret(name)
    if secret is None:
        raise UpstreamError(f"identity needs the environment variable {name}: it isn't set{advice and f'; {advice}'}")
    return secret.reveal()


def notifier(settings: Settings, environment: Environment) -> Notifier:
    """What tells people of exceptions; with no channel configured it tells nobody."""
    from quarantine.adapters.notify import AppriseNotifier, Channel  # noqa: PLC0415  # imported where it is used

    secrets = {channel.variable: environment.secret(channel.variable) for channel in settings.notify}
    return AppriseNotifier(
        Channel(name=channel.name, variable=channel.variable, url=None if secret is None else secret.reveal)
        for channel in settings.notify
        for secret in (secrets[channel.variable],)
    )
