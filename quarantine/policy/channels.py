"""Which upstream of the policy a channel, an image or a curated environment is, as a user's file names it.

What can't be told for certain is no upstream: a name that only looks like one is refused, not followed.
"""

import re
from urllib.parse import urlsplit

from quarantine.model import CuratedEnvironment, Ecosystem, ImageReference
from quarantine.policy.entries import IMAGE_PATH
from quarantine.policy.stage import Policy, Upstream

__all__ = ["upstream_of_channel", "upstream_of_curated", "upstream_of_image"]

_ALIAS = "https://conda.anaconda.org"
_DEFAULTS = "https://repo.anaconda.com"
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*")
_SUBDIR = re.compile(r"noarch|(?:linux|osx|win|freebsd|emscripten|wasi|zos)-[a-z0-9_]+")


def upstream_of_channel(policy: Policy, name: str) -> Upstream | None:
    """The conda upstream that a channel's name or URL stands for, as conda reads it; None where it is none.

    The policy's own name for an upstream comes first. `NAME` is below conda's channel alias, `defaults` is the main
    channel of Anaconda, `pkgs/NAME` another of theirs. A label is a channel of its own, but for `main` on the alias.
    """
    channels = [upstream for upstream in policy.upstreams if upstream.type is Ecosystem.CONDA]
    for upstream in channels:
        if upstream.name == name:
            return upstream
    address = _address(name)
    if address is None:
        return None
    return next((u for u in channels if u.url is not None and _normalised(u.url) == address), None)


def _address(name: str) -> str | None:
    if "://" in name:
        return _normalised(name)
    name = name.rstrip("/")
    if _CHANNEL.fullmatch(name) is None:
        return None
    if name == "defaults":
        name = "pkgs/main"
    return _normalised(f"{_DEFAULTS if name.startswith('pkgs/') else _ALIAS}/{name}")


def _normalised(url: str) -> str | None:
    """A channel's URL without what doesn't tell it from another; None for what is no plain URL of a channel."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    path = parts.path.strip("/")
    segments = path.split("/") if path else []
    if parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
        return None
    if not {"", ".", ".."}.isdisjoint(segments):
        return None
    if len(segments) > 1 and _SUBDIR.fullmatch(segments[-1]):
        segments = segments[:-1]
    default = {"https": 443, "http": 80}.get(parts.scheme)
    host = parts.hostname.lower() if port in (None, default) else f"{parts.hostname.lower()}:{port}"
    address = f"{parts.scheme}://{host}"
    if address == _ALIAS and len(segments) > 2 and segments[-2:] == ["label", "main"]:
        segments = segments[:-2]
    return "/".join((address, *segments))


def upstream_of_image(policy: Policy, reference: ImageReference) -> Upstream | None:
    """The first registry of the policy that an image is in: its host, and its path up to the end of a segment."""
    if IMAGE_PATH.fullmatch(reference.path) is None:
        return None
    name = f"{reference.host.lower()}/{reference.path}"
    registries = (upstream for upstream in policy.upstreams if upstream.type is Ecosystem.OCI)
    return next((u for u in registries if name.startswith(f"{u.location}/")), None)


def upstream_of_curated(policy: Policy, environment: CuratedEnvironment) -> Upstream | None:
    """The Azure ML registry of the policy that an environment is in; none for an environment of a workspace."""
    if environment.registry is None:
        return None
    url = f"azureml://registries/{environment.registry.lower()}"
    return next((u for u in policy.upstreams if u.type is Ecosystem.AZUREML and u.url == url), None)
