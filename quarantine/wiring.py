"""Settings -> adapters: the one place that knows which system stands behind which port."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarantine import __version__
from quarantine.audit.record import Json
from quarantine.config import Environment, RemoteStore, Settings
from quarantine.document import MAX_BYTES
from quarantine.errors import ConfigError, Problem, UpstreamError, UsageError
from quarantine.exceptions import Identity, State
from quarantine.model import Digest, Ecosystem, parse_name
from quarantine.policy.channels import upstream_of_channel
from quarantine.policy.load import Policy, load
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    AdvisoryService,
    ArtifactStore,
    Attestations,
    CondaPackages,
    CondaSolver,
    FileSource,
    Identities,
    ImageRegistry,
    Index,
    Inspector,
    Notifier,
    PageStore,
    PythonResolver,
)

if TYPE_CHECKING:
    from quarantine.adapters.blob_log import BlobLog
    from quarantine.adapters.blob_store import BlobStore
    from quarantine.adapters.local_log import LocalLog
    from quarantine.adapters.local_store import LocalStore
    from quarantine.adapters.oidc import TokenSource
    from quarantine.io.azure import BlobAccount
    from quarantine.io.http import HttpClient
    from quarantine.pipeline.central import InForce, Proven
    from quarantine.pipeline.check import CheckPorts, Records
    from quarantine.pipeline.process import Process
    from quarantine.pipeline.request import RequestPorts
    from quarantine.pipeline.request_files import Owners
    from quarantine.pipeline.ruling import RulingPorts
    from quarantine.pipeline.serve import MirrorShelves
    from quarantine.pipeline.vet import Vetting
    from quarantine.ports import Tell

__all__ = [
    "actor",
    "advisory_service",
    "artifact_store",
    "audit_log",
    "check_ports",
    "downloads",
    "exception_state",
    "http_client",
    "identities",
    "local_actor",
    "local_users_decide",
    "mirror_shelves",
    "notifier",
    "owners",
    "page_store",
    "policies",
    "policy",
    "policy_files",
    "policy_sha256",
    "probe_cache",
    "probe_folder",
    "probe_index",
    "probe_store",
    "probe_upstream",
    "process",
    "proven",
    "records",
    "request_ports",
    "ruling_ports",
    "uv_version",
    "vetting",
]

MAX_POLICY_FILES = 100


def policies(settings: Settings, environment: Environment, now: datetime) -> "InForce":
    """The policy in force: the local folder's, or with a central one what was published last, beside a local one.

    ConfigError with every problem in its files. UpstreamError when the central one can't be had, IntegrityError.
    """
    from quarantine.pipeline.central import InForce, published_policy  # noqa: PLC0415  # imported where it is used

    if not settings.central_policy:
        return InForce(policy=policy(settings, now))
    state = exception_state(settings, environment)
    central, published = published_policy(state or State(), artifact_store(settings, environment), now)
    local = policy(settings, now) if settings.allowlists.is_dir() else None
    return InForce(policy=central, local=local, published=published, state=state)


def exception_state(settings: Settings, environment: Environment) -> State | None:
    """What all exceptions are, None where nobody ever asked for one. UpstreamError, IntegrityError."""
    log = audit_log(settings, environment)
    if not any(map(log.streams, ("log-requests", "log-decisions", "log-publish"))):
        return None
    from quarantine.pipeline.state import read_state  # noqa: PLC0415  # most stores have no exception yet

    return read_state(log, page_store(settings, environment))


def local_users_decide(settings: Settings) -> bool:
    """Whether users of the operating system may decide on exceptions: on the embedded default alone."""
    return settings.remote_store is None and settings.identity.kind == "local"


def policy(settings: Settings, now: datetime) -> Policy:
    """The policy of the local folder. ConfigError with every problem in its files."""
    return load(policy_files(settings.allowlists), now=now, folder=str(settings.allowlists))


def policy_sha256(settings: Settings, policy: Policy) -> str:
    """The sha256 that stands for the policy in force: its files, and the configuration it is applied by."""
    return sha256(f"policy {policy.sha256}\nsettings {settings.sha256}\n".encode()).hexdigest()


def policy_files(folder: Path) -> Mapping[str, bytes]:
    """The YAML files of a folder of allowlists, by name; ConfigError when it can't be read."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
        if len(names) > MAX_POLICY_FILES:
            raise ConfigError([Problem(file=str(folder), message=f"more than {MAX_POLICY_FILES} lists")])
        return {name: _policy_file(folder / name) for name in names}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "expected the folder of allowlists: run `quarantine init`, or set `allowlists:`"
        raise ConfigError([Problem(file=str(error.filename or folder), message=f"{reason}: {advice}")]) from error


def _policy_file(path: Path) -> bytes:
    """The bytes of one list, one more than are read of any: the policy comes with the code that is being judged."""
    if not path.is_file() and path.exists() and not path.is_dir():
        raise ConfigError([Problem(file=str(path), message="is not a regular file: expected YAML")])
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def audit_log(settings: Settings, environment: Environment) -> "LocalLog | BlobLog":
    """The audit log of the store."""
    if settings.remote_store is not None:
        from quarantine.adapters.blob_log import BlobLog  # noqa: PLC0415  # imported where it is used

        return BlobLog(_account(settings.remote_store, environment))
    from quarantine.adapters.local_log import LocalLog  # noqa: PLC0415  # imported where it is used

    return LocalLog(settings.store / "log")


def artifact_store(settings: Settings, environment: Environment) -> ArtifactStore:
    """Files and evidence of the store, by their sha256."""
    return _store(settings, environment)


def page_store(settings: Settings, environment: Environment) -> PageStore:
    """The pages of the store."""
    return _store(settings, environment)


def _store(settings: Settings, environment: Environment) -> "LocalStore | BlobStore":
    if settings.remote_store is not None:
        from quarantine.adapters.blob_store import BlobStore  # noqa: PLC0415  # imported where it is used

        return BlobStore(_account(settings.remote_store, environment))
    from quarantine.adapters.local_store import LocalStore  # noqa: PLC0415  # imported where it is used

    return LocalStore(settings.store)


def _account(remote: RemoteStore, environment: Environment) -> "BlobAccount":
    from quarantine.io.azure import account_of_connection, account_of_url  # noqa: PLC0415  # imported where it is used

    if remote.connection is None:
        return account_of_url(remote.account or "", prefix=remote.prefix)
    name = remote.connection.removeprefix("env:")
    secret = environment.secret(name)
    if secret is None:
        raise UpstreamError(f"the store needs the environment variable {name}: it isn't set")
    return account_of_connection(secret.reveal(), variable=name, prefix=remote.prefix)


def advisory_service(settings: Settings, environment: Environment, now: datetime) -> AdvisoryService:
    """The source of advisories that the configuration names."""
    if settings.advisory_service == "pip-audit":
        from quarantine.adapters.pip_audit import PipAudit  # noqa: PLC0415  # imported where it is used

        return PipAudit(now=now, service_url=settings.advisory_service_url, environment=environment.passed_on)
    from quarantine.adapters.osv import OsvDatabase  # noqa: PLC0415  # imported where it is used

    return OsvDatabase(settings.database, accepted_until=settings.advisory_accepted_until)


def http_client(urls: Iterable[str], environment: Environment, *, patient: bool = True) -> "HttpClient":
    """A client that may ask the origins of these URLs, and no other; without patience it asks once, and not for long."""
    from quarantine.io.http import HttpClient  # noqa: PLC0415  # imported where it is used

    proxies = {
        name.removesuffix("_PROXY").lower(): value
        for name, value in environment.passed_on.items()
        if name.endswith("_PROXY")
    }
    agent = f"quarantine/{__version__}"
    if patient:
        return HttpClient(allowed=tuple(urls), user_agent=agent, proxies=proxies)
    return HttpClient(allowed=tuple(urls), user_agent=agent, proxies=proxies, timeout_seconds=5, retries=0)


def check_ports(
    settings: Settings,
    policy: Policy,
    environment: Environment,
    now: datetime,
    *,
    offline: bool,
    state: State | None = None,
) -> "CheckPorts":
    """What a check needs of the outside world. `state` is what was read of all exceptions already."""
    from quarantine.adapters.local_store import write_file  # noqa: PLC0415  # imported where it is used
    from quarantine.pipeline.check import CheckPorts  # noqa: PLC0415

    upstreams = _of(policy, Ecosystem.PYPI)
    logins = _logins(upstreams, environment)
    return CheckPorts(
        resolver=lambda: _resolver(settings, policy, upstreams, logins, environment, offline=offline),
        solver=cache(lambda: _solver(settings, policy, environment, offline=offline)),
        packages=cache(lambda: _packages(settings, policy, environment, offline=offline)),
        registry=cache(lambda: _registry(settings, policy, environment, offline=offline)),
        index=_index(settings, policy, upstreams, logins, environment, now, offline=offline),
        advisories=advisory_service(settings, environment, now),
        log=audit_log(settings, environment),
        store=artifact_store(settings, environment),
        exceptions=lambda: exception_state(settings, environment) if state is None else state,
        metadata=lambda digest: _published_metadata(digest, settings, environment),
        write=write_file,
    )


def records(settings: Settings, environment: Environment) -> "Records":
    """Where verdicts are recorded; nobody else is asked, and no login is looked up."""
    from quarantine.pipeline.check import Records  # noqa: PLC0415  # imported where it is used

    return Records(log=audit_log(settings, environment), store=artifact_store(settings, environment), write=write_file)


def _published_metadata(digest: Digest, settings: Settings, environment: Environment) -> bytes | None:
    """Core metadata of a published file, None where it isn't there; kept in the cache. UpstreamError, IntegrityError."""
    from quarantine.archive.metadata import MAX_METADATA_BYTES  # noqa: PLC0415  # imported where it is used
    from quarantine.io.cache import private_folder, read_cached, write_cached  # noqa: PLC0415

    file = private_folder(private_folder(settings.cache) / "metadata-1") / digest.hex
    known = read_cached(file, MAX_METADATA_BYTES)
    if known is not None and sha256(known).hexdigest() == digest.hex:
        return known
    store = artifact_store(settings, environment)
    if store.size("files", digest) is None:
        return None
    data = store.get("files", digest)
    write_cached(file, data)
    return data


def _of(policy: Policy, ecosystem: Ecosystem) -> tuple[Upstream, ...]:
    """The policy's upstreams of one type, in order of ownership."""
    return tuple(upstream for upstream in policy.upstreams if upstream.type is ecosystem)


def _solver(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> CondaSolver:
    from quarantine.adapters.rattler import RattlerSolver  # noqa: PLC0415  # imported where it is used

    channels = _of(policy, Ecosystem.CONDA)

    def upstream_of(channel: str) -> str | None:
        found = upstream_of_channel(policy, channel)
        return None if found is None else found.name

    return RattlerSolver(
        upstreams=channels,
        upstream_of=upstream_of,
        cache_dir=settings.cache,
        environ=environment.passed_on,
        logins=_logins(channels, environment),
        time_limit_seconds=settings.time_limit_seconds,
        offline=offline,
    )


def _packages(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> CondaPackages:
    from quarantine.adapters.conda_channel import CondaChannelPackages  # noqa: PLC0415  # imported where it is used

    channels = _of(policy, Ecosystem.CONDA)
    return CondaChannelPackages(
        upstreams=channels,
        http=lambda: http_client([upstream.url or "" for upstream in channels], environment),
        cache_dir=settings.cache,
        logins=_logins(channels, environment),
        offline=offline,
    )


def _registry(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> ImageRegistry:
    from quarantine.adapters.oci import OciRegistry  # noqa: PLC0415  # imported where it is used

    registries = _of(policy, Ecosystem.OCI)
    logins = _logins(registries, environment)
    hosts = {upstream.name: urlsplit(upstream.url or "").netloc for upstream in registries}
    # all others are asked where registries of their name are
    own = {
        hosts[upstream.name]: f"http://{hosts[upstream.name]}"
        for upstream in registries
        if urlsplit(upstream.url or "").scheme == "http"
    }
    return OciRegistry(
        endpoints=own,
        # they come with the code that is judged: asked for what is public, told nothing
        stand_ins=settings.registries,
        hosts=frozenset(hosts.values()),
        http=lambda urls: http_client(urls, environment),
        logins={hosts[name]: login for name, login in logins.items()},
        offline=offline,
    )


def _logins(upstreams: Collection[Upstream], environment: Environment) -> dict[str, tuple[str, str]]:
    """User and password by upstream. A variable holds `user:password`, or a token that needs no user."""
    logins: dict[str, tuple[str, str]] = {}
    for upstream in upstreams:
        if upstream.credentials is None:
            continue
        kind, _, name = upstream.credentials.partition(":")
        if kind == "azure" and upstream.type is not Ecosystem.PYPI:
            raise UpstreamError(
                f"upstream {upstream.name}: credentials: azure are for Python feeds; put a token into a variable and name "
                "it (env:NAME), for a registry as `az acr login --expose-token` gives it"
            )
        if kind == "azure":
            from quarantine.adapters.azure_token import feed_token  # noqa: PLC0415  # imported where it is used

            logins[upstream.name] = ("azure", feed_token())
            continue
        secret = environment.secret(name)
        if secret is None:
            raise UpstreamError(f"upstream {upstream.name} needs the environment variable {name}: it isn't set")
        user, colon, password = secret.reveal().partition(":")
        logins[upstream.name] = (user, password) if colon else ("token", user)
    return logins


def _resolver(
    settings: Settings,
    policy: Policy,
    upstreams: tuple[Upstream, ...],
    logins: Mapping[str, tuple[str, str]],
    environment: Environment,
    *,
    offline: bool,
) -> PythonResolver:
    from quarantine.adapters.uv import UvResolver  # noqa: PLC0415  # imported where it is used

    return UvResolver(
        upstreams=upstreams,
        reserved=policy.upstream_of_reserved,
        cache_dir=settings.cache,
        environ=environment.passed_on,
        logins=logins,
        time_limit_seconds=settings.time_limit_seconds,
        offline=offline,
    )


def _index(
    settings: Settings,
    policy: Policy,
    upstreams: tuple[Upstream, ...],
    logins: Mapping[str, tuple[str, str]],
    environment: Environment,
    now: datetime,
    *,
    offline: bool,
) -> Index:
    from quarantine.adapters.simple_index import SimpleIndex  # noqa: PLC0415  # imported where it is used

    def default_url() -> str:
        from quarantine.adapters.uv import default_index_url  # noqa: PLC0415  # imported where it is used

        return default_index_url(settings.cache)

    return SimpleIndex(
        upstreams=upstreams,
        reserved=policy.upstream_of_reserved,
        http=lambda: http_client([upstream.url or default_url() for upstream in upstreams], environment),
        cache_dir=settings.cache,
        now=now,
        # offline nothing newer is to be had: what is as fresh as the advisories must be will do
        max_age_seconds=max(settings.page_cache_seconds, settings.advisory_max_age.total_seconds() if offline else 0),
        offline=offline,
        default_url=default_url,
        logins=logins,
    )


# --- people -----------------------------------------------------------------------------------------------------------


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


# --- exceptions -------------------------------------------------------------------------------------------------------


def request_ports(settings: Settings, environment: Environment, now: datetime) -> "RequestPorts":
    """What asking for an exception needs of the outside world."""
    from quarantine.pipeline.request import RequestPorts  # noqa: PLC0415  # imported where it is used

    return RequestPorts(
        log=audit_log(settings, environment),
        pages=page_store(settings, environment),
        identities=identities(settings, environment, now),
    )


def ruling_ports(settings: Settings, environment: Environment, now: datetime) -> "RulingPorts":
    """What deciding on exceptions needs of the outside world."""
    from quarantine.pipeline.ruling import RulingPorts  # noqa: PLC0415  # imported where it is used

    return RulingPorts(
        log=audit_log(settings, environment),
        pages=page_store(settings, environment),
        store=artifact_store(settings, environment),
        identities=identities(settings, environment, now),
    )


def owners(
    settings: Settings,
    policy: Policy,
    environment: Environment,
    now: datetime,
    tell: "Tell",
    *,
    offline: bool = False,
) -> "Owners":
    """Who can say what the owners of names list."""
    from quarantine.pipeline.request_files import Owners  # noqa: PLC0415  # imported where it is used

    upstreams = _of(policy, Ecosystem.PYPI)
    logins = _logins(upstreams, environment)
    return Owners(
        index=_index(settings, policy, upstreams, logins, environment, now, offline=offline),
        solver=cache(lambda: _solver(settings, policy, environment, offline=offline)),
        targets=settings.targets,
        tell=tell,
    )


def vetting(
    settings: Settings,
    in_force: "InForce",
    environment: Environment,
    now: datetime,
    by: Identity,
    stream: str,
    new_id: "Callable[[], str]",
    tell: "Tell",
) -> "Vetting":
    """What vets files that exceptions are asked for, under the policy in force."""
    from quarantine.pipeline.vet import VetPorts, Vetting  # noqa: PLC0415  # imported where it is used

    policy = in_force.policy
    upstreams = _of(policy, Ecosystem.PYPI)

    def inspector() -> Inspector:
        from quarantine.adapters.vetting import Vetting as Worker  # noqa: PLC0415  # imported where it is used

        return Worker()

    def attestations() -> Attestations:
        from quarantine.adapters.provenance import Provenance  # noqa: PLC0415  # imported where it is used

        return Provenance()

    return Vetting(
        ports=VetPorts(
            index=_index(settings, policy, upstreams, _logins(upstreams, environment), environment, now, offline=False),
            advisories=advisory_service(settings, environment, now),
            solver=cache(lambda: _solver(settings, policy, environment, offline=False)),
            packages=cache(lambda: _packages(settings, policy, environment, offline=False)),
            source=cache(lambda: downloads(settings, policy, environment)),
            inspector=cache(inspector),
            attestations=attestations(),
            store=artifact_store(settings, environment),
            log=audit_log(settings, environment),
        ),
        policy=policy,
        policy_sha256=policy_sha256(settings, policy),
        targets=settings.targets,
        advisory_max_age=settings.advisory_max_age,
        now=now,
        by=by,
        stream=stream,
        new_id=new_id,
        tell=tell,
    )


def downloads(settings: Settings, policy: Policy, environment: Environment) -> FileSource:
    """What fetches whole files of the policy's indexes and channels."""
    from quarantine.adapters.downloads import Downloads  # noqa: PLC0415  # imported where it is used
    from quarantine.adapters.uv import default_index_url  # noqa: PLC0415

    upstreams = (*_of(policy, Ecosystem.PYPI), *_of(policy, Ecosystem.CONDA))

    def address(upstream: Upstream) -> str:
        return default_index_url(settings.cache) if upstream.url is None else upstream.url

    return Downloads(
        upstreams=upstreams,
        urls=address,
        http=lambda: http_client(map(address, upstreams), environment),
        logins=_logins(upstreams, environment),
    )


def process(
    settings: Settings,
    in_force: "InForce",
    environment: Environment,
    now: datetime,
    new_id: "Callable[[], str]",
    plain: "Callable[[str], str]",
    tell: "Tell",
    only: frozenset[str],
) -> "Process":
    """A run of the central pipeline. UpstreamError when nobody can say who runs it."""
    from time import monotonic  # noqa: PLC0415  # imported where it is used

    from quarantine.audit.events import PUBLISH  # noqa: PLC0415
    from quarantine.pipeline.process import Process, ProcessPorts  # noqa: PLC0415
    from quarantine.pipeline.publish import Publisher  # noqa: PLC0415

    began = monotonic()
    by = identities(settings, environment, now).who(tell)
    log, pages, stream = (
        audit_log(settings, environment),
        page_store(settings, environment),
        f"{PUBLISH}/process-{now:%Y-%m}",
    )
    return Process(
        ports=ProcessPorts(
            log=log,
            pages=pages,
            vetting=cache(lambda: vetting(settings, in_force, environment, now, by, stream, new_id, tell)),
            publisher=cache(
                lambda: Publisher(
                    log=log,
                    store=artifact_store(settings, environment),
                    pages=pages,
                    by=by,
                    now=now,
                    new_id=new_id,
                    tell=tell,
                )
            ),
            notifier=notifier(settings, environment),
        ),
        policy=in_force.policy,
        local=local_users_decide(settings),
        now=now,
        by=by,
        project=settings.project,
        stream=stream,
        new_id=new_id,
        plain=plain,
        elapsed=lambda: monotonic() - began,
        tell=tell,
        only=only,
    )


# --- the mirror -------------------------------------------------------------------------------------------------------


def mirror_shelves(
    settings: Settings,
    environment: Environment,
    policy: Policy,
    project: str,
    stage: str,
    now: "Callable[[], datetime]",
) -> "MirrorShelves":
    """What the mirror has for a project and a stage; `now` tells the time whenever it is asked.

    A central policy counts as it is when the log is read; the local folder's as it was when the command began.
    """
    from quarantine.pipeline.central import published_policy  # noqa: PLC0415  # imported where it is used
    from quarantine.pipeline.serve import MirrorShelves  # noqa: PLC0415

    store = artifact_store(settings, environment)

    def in_force(state: State, at: datetime) -> Policy:
        return published_policy(state, store, at)[0] if settings.central_policy else policy

    return MirrorShelves(
        log=audit_log(settings, environment),
        store=store,
        pages=page_store(settings, environment),
        policy=in_force,
        project=project,
        stage=stage,
        local=local_users_decide(settings),
        now=now,
    )


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file in one step. UpstreamError."""
    from quarantine.adapters.local_store import write_file  # noqa: PLC0415  # imported where it is used

    write_file(path, data)


# --- what doctor asks -------------------------------------------------------------------------------------------------


def local_actor() -> dict[str, Json]:
    """Who runs this, as the operating system says: a user that nobody has verified."""
    from quarantine.adapters.local_user import LocalUser  # noqa: PLC0415  # imported where it is used

    user = LocalUser().who(lambda _: None)
    return {"kind": user.kind, "id": user.id, "name": user.name, "verified": user.verified}


def uv_version() -> str:
    """Uv's version and where it is; UpstreamError when its wheel isn't installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  # imported where it is used

    try:
        return f"uv {version('uv')}"
    except PackageNotFoundError:
        raise UpstreamError("uv is not installed") from None


def probe_cache(folder: Path) -> str:
    """The folder, after it was found to be ours alone and writable; UpstreamError otherwise."""
    from quarantine.io.cache import private_folder  # noqa: PLC0415  # imported where it is used

    return probe_folder(private_folder(folder))


def probe_folder(folder: Path) -> str:
    """The folder, after a file was written to it and taken away; UpstreamError when that can't be done."""
    import tempfile  # noqa: PLC0415  # imported where it is used

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UpstreamError(f"{folder}: {(error.strerror or str(error)).lower()}") from error
    return str(folder)


def probe_store(settings: Settings, environment: Environment) -> str:
    """Where the store is, after its local folder was written to and its account was asked; UpstreamError otherwise."""
    folder = probe_folder(settings.store)
    if settings.remote_store is None:
        return folder
    from quarantine.adapters.blob_store import BlobStore  # noqa: PLC0415  # imported where it is used

    return f"{BlobStore(_account(settings.remote_store, environment)).probe()}; {folder} for the advisories"


def probe_index(settings: Settings, policy: Policy, environment: Environment, now: datetime, upstream: Upstream) -> str:
    """What one upstream answers when it is asked for a project that any large one has; UpstreamError when it fails."""
    logins = _logins((upstream,), environment)
    index = _index(settings, policy, (upstream,), logins, environment, now, offline=False)
    name = parse_name("pip")
    found = index.pages((name,), lambda _: None)[name]
    place = "the default index" if upstream.url is None else urlsplit(upstream.url).hostname or ""
    return f"{place} answers" if found is not None else f"{place} answers (it has no project {name})"


def probe_upstream(settings: Settings, environment: Environment, upstream: Upstream) -> str:
    """What a channel or a registry answers when it is asked for what every one has; UpstreamError when it fails."""
    parts = urlsplit(upstream.url or "")
    if upstream.type is Ecosystem.CONDA:
        url = f"{upstream.url}/noarch/repodata.json"
    else:
        base = settings.registries.get(parts.netloc, f"{parts.scheme}://{parts.netloc}")
        url = f"{base}/v2/"
    with (
        http_client([url], environment, patient=False) as http,
        http.stream(url, headers={"Range": "bytes=0-0"}, max_bytes=1, to_public=True) as answer,
    ):
        # what wants a login is there, too
        if answer.status not in (200, 206, 401, 403):
            raise UpstreamError(f"{url} answered {answer.status}")
        return f"{parts.hostname} answers"
