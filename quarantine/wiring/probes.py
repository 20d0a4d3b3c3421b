"""What `quarantine doctor` asks of each part."""

from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from quarantine.config import Environment, Settings
from quarantine.errors import UpstreamError
from quarantine.model import Ecosystem, parse_name
from quarantine.policy.load import Policy
from quarantine.policy.stage import Upstream
from quarantine.wiring.stores import account
from quarantine.wiring.upstreams import http_client, index, logins_of

__all__ = [
    "probe_cache",
    "probe_index",
    "probe_store",
    "probe_upstream",
    "uv_version",
]


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

    return _probe_folder(private_folder(folder))


def _probe_folder(folder: Path) -> str:
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
    folder = _probe_folder(settings.store)
    if settings.remote_store is None:
        return folder
    from quarantine.adapters.blob_store import BlobStore  # noqa: PLC0415  # imported where it is used

    return f"{BlobStore(account(settings.remote_store, environment)).probe()}; {folder} for the advisories"


def probe_index(settings: Settings, policy: Policy, environment: Environment, now: datetime, upstream: Upstream) -> str:
    """What one upstream answers when it is asked for a project that any large one has; UpstreamError when it fails."""
    logins = logins_of((upstream,), environment)
    name = parse_name("pip")
    pages = index(settings, policy, (upstream,), logins, environment, now, offline=False)
    found = pages.pages((name,), lambda _: None)[name]
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
