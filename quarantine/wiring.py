"""Settings -> adapters: the one place that knows which system stands behind which port."""

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarantine import __version__
from quarantine.audit.record import Json
from quarantine.config import Environment, Settings
from quarantine.document import MAX_BYTES
from quarantine.errors import ConfigError, Problem, UpstreamError
from quarantine.model import Ecosystem, parse_name
from quarantine.policy.channels import upstream_of_channel
from quarantine.policy.load import Policy, load
from quarantine.policy.stage import Upstream
from quarantine.ports import AdvisoryService, CondaPackages, CondaSolver, ImageRegistry, Index, PythonResolver

if TYPE_CHECKING:
    from quarantine.adapters.local_log import LocalLog
    from quarantine.adapters.local_store import LocalStore
    from quarantine.io.http import HttpClient
    from quarantine.pipeline.check import CheckPorts

__all__ = [
    "advisory_service",
    "artifact_store",
    "audit_log",
    "check_ports",
    "http_client",
    "local_actor",
    "policy",
    "policy_files",
    "policy_sha256",
    "probe_cache",
    "probe_folder",
    "probe_index",
    "probe_upstream",
    "uv_version",
]

MAX_POLICY_FILES = 100


def policy(settings: Settings, now: datetime) -> Policy:
    """The policy in force. ConfigError with every problem in its files."""
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


def audit_log(settings: Settings) -> "LocalLog":
    """The audit log of the store."""
    from quarantine.adapters.local_log import LocalLog  # noqa: PLC0415  # imported where it is used

    return LocalLog(settings.store / "log")


def artifact_store(settings: Settings) -> "LocalStore":
    """Files and evidence of the store, by their sha256."""
    from quarantine.adapters.local_store import LocalStore  # noqa: PLC0415  # imported where it is used

    return LocalStore(settings.store)


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
    settings: Settings, policy: Policy, environment: Environment, now: datetime, *, offline: bool
) -> "CheckPorts":
    """What a check needs of the outside world."""
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
        log=audit_log(settings),
        store=artifact_store(settings),
        write=write_file,
    )


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
    own = {
        hosts[upstream.name]: f"{urlsplit(upstream.url or '').scheme}://{hosts[upstream.name]}"
        for upstream in registries
    }
    return OciRegistry(
        endpoints={**own, **settings.registries},
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


# --- what doctor asks -------------------------------------------------------------------------------------------------


def local_actor() -> dict[str, Json]:
    """Who runs this, as the operating system says: a name that nobody has verified."""
    import pwd  # noqa: PLC0415  # imported where it is used

    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return {"kind": "local", "name": name, "verified": False}


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
