"""What is asked over the network: indexes, channels, registries and advisories, each with its login."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarantine import __version__
from quarantine.config import Environment, Settings
from quarantine.errors import UpstreamError
from quarantine.model import Ecosystem
from quarantine.policy.channels import upstream_of_channel
from quarantine.policy.load import Policy
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    AdvisoryService,
    CondaPackages,
    CondaSolver,
    FileSource,
    ImageRegistry,
    Index,
    PythonResolver,
)

if TYPE_CHECKING:
    from quarantine.io.http import HttpClient

__all__ = [
    "advisory_service",
    "downloads",
    "http_client",
    "index",
    "logins_of",
    "packages",
    "registry",
    "resolver",
    "solver",
    "upstreams_of",
]


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


def advisory_service(settings: Settings, environment: Environment, now: datetime) -> AdvisoryService:
    """The source of advisories that the configuration names."""
    if settings.advisory_service == "pip-audit":
        from quarantine.adapters.pip_audit import PipAudit  # noqa: PLC0415  # imported where it is used

        return PipAudit(now=now, service_url=settings.advisory_service_url, environment=environment.passed_on)
    from quarantine.adapters.osv import OsvDatabase  # noqa: PLC0415  # imported where it is used

    return OsvDatabase(settings.database, accepted_until=settings.advisory_accepted_until)


def upstreams_of(policy: Policy, ecosystem: Ecosystem) -> tuple[Upstream, ...]:
    """The policy's upstreams of one type, in order of ownership."""
    return tuple(upstream for upstream in policy.upstreams if upstream.type is ecosystem)


def logins_of(upstreams: Collection[Upstream], environment: Environment) -> dict[str, tuple[str, str]]:
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


def resolver(
    settings: Settings,
    policy: Policy,
    upstreams: tuple[Upstream, ...],
    logins: Mapping[str, tuple[str, str]],
    environment: Environment,
    *,
    offline: bool,
) -> PythonResolver:
    """What resolves Python requirements, out of these upstreams."""
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


def index(
    settings: Settings,
    policy: Policy,
    upstreams: tuple[Upstream, ...],
    logins: Mapping[str, tuple[str, str]],
    environment: Environment,
    now: datetime,
    *,
    offline: bool,
) -> Index:
    """The pages of these upstreams."""
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


def solver(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> CondaSolver:
    """What solves conda environments, out of the policy's channels."""
    from quarantine.adapters.rattler import RattlerSolver  # noqa: PLC0415  # imported where it is used

    channels = upstreams_of(policy, Ecosystem.CONDA)

    def upstream_of(channel: str) -> str | None:
        found = upstream_of_channel(policy, channel)
        return None if found is None else found.name

    return RattlerSolver(
        upstreams=channels,
        upstream_of=upstream_of,
        cache_dir=settings.cache,
        environ=environment.passed_on,
        logins=logins_of(channels, environment),
        time_limit_seconds=settings.time_limit_seconds,
        offline=offline,
    )


def packages(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> CondaPackages:
    """What reads packages of the policy's channels."""
    from quarantine.adapters.conda_channel import CondaChannelPackages  # noqa: PLC0415  # imported where it is used

    channels = upstreams_of(policy, Ecosystem.CONDA)
    return CondaChannelPackages(
        upstreams=channels,
        http=lambda: http_client([upstream.url or "" for upstream in channels], environment),
        cache_dir=settings.cache,
        logins=logins_of(channels, environment),
        offline=offline,
    )


def registry(settings: Settings, policy: Policy, environment: Environment, *, offline: bool) -> ImageRegistry:
    """What reads images of the policy's registries."""
    from quarantine.adapters.oci import OciRegistry  # noqa: PLC0415  # imported where it is used

    registries = upstreams_of(policy, Ecosystem.OCI)
    logins = logins_of(registries, environment)
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


def downloads(settings: Settings, policy: Policy, environment: Environment) -> FileSource:
    """What fetches whole files of the policy's indexes and channels."""
    from quarantine.adapters.downloads import Downloads  # noqa: PLC0415  # imported where it is used
    from quarantine.adapters.uv import default_index_url  # noqa: PLC0415

    upstreams = (*upstreams_of(policy, Ecosystem.PYPI), *upstreams_of(policy, Ecosystem.CONDA))

    def address(upstream: Upstream) -> str:
        return default_index_url(settings.cache) if upstream.url is None else upstream.url

    return Downloads(
        upstreams=upstreams,
        urls=address,
        http=lambda: http_client(map(address, upstreams), environment),
        logins=logins_of(upstreams, environment),
    )
