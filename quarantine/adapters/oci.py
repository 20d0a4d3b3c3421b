"""Image registries over the OCI distribution protocol: what a reference stands for, by the digest of its bytes.

Only the registries of the policy are asked. A login goes to the registry that it was given for, and to the token
service that is named for that registry here: never to a host that a server or the configuration names.

Source: OCI distribution-spec 1.1; the token protocol of Docker's registry (distribution, spec/auth/token).
"""

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, assert_never
from urllib.parse import urlencode

import msgspec

from quarantine.archive.image_manifest import (
    ACCEPT,
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    ImageIndex,
    ImageManifest,
    parse_manifest,
    parse_platform,
)
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Digest, ImageReference, is_loopback
from quarantine.ports import ResolvedImage, Tell

if TYPE_CHECKING:
    from quarantine.io.challenge import Challenge
    from quarantine.io.guard import Origin
    from quarantine.io.http import HttpClient, Response

__all__ = ["OciRegistry"]

MAX_TOKEN_BYTES = 256 * 1024
_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Registries whose API is served by another host than the one in their images' names."""
_TOKEN_HOSTS = {"docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Registries whose tokens come from another host. All others give them out themselves, as MAR and ACR do."""
# distribution-spec, section "Pulling manifests"
_PATH = re.compile(r"[a-z0-9]++(?:(?:\.|__?|-++)[a-z0-9]++)*+(?:/[a-z0-9]++(?:(?:\.|__?|-++)[a-z0-9]++)*+)*+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SCOPE = re.compile(r"repository:([^ :]+):(?:pull|metadata_read)(?:,(?:pull|metadata_read))*")
_BEARER = re.compile(r"[!-~]{1,65536}")
_KEPT = (
    "its credentials go to the host that the policy names alone, and `registries` has another one asked: make that the "
    "upstream's url"
)
_ABSENT = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"})


class _Error(msgspec.Struct):
    code: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


class _Token(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None


class OciRegistry:
    """An `ImageRegistry` over HTTP. A tag is resolved once; what it was then, it is as long as this object lives.

    `endpoints` are base URLs by registry host, or by the host of a token service; a registry that isn't named there is
    asked at `https://<host>`. `stand_ins` are others that are asked in their place, without any login. `hosts` are the registries of the policy, which alone are asked. `http` makes a client
    that may ask the origins of some URLs, once it is needed. `logins` are user and password by registry host.
    """

    def __init__(
        self,
        *,
        endpoints: Mapping[str, str],
        hosts: Collection[str],
        http: "Callable[[Collection[str]], HttpClient]",
        logins: Mapping[str, tuple[str, str]],
        stand_ins: Mapping[str, str] | None = None,
        offline: bool = False,
    ) -> None:
        self._endpoints = endpoints
        self._stand_ins = stand_ins or {}
        self._hosts = frozenset(hosts)
        self._make_http = http
        self._logins = logins
        self._offline = offline
        self._known: dict[str, ResolvedImage | None] = {}
        self._authorizations: dict[tuple[str, str], str] = {}

    @cached_property
    def _http(self) -> "HttpClient":
        bases = [self._base(host) for host in sorted(self._hosts)]
        services = [base for host in sorted(self._hosts) if (base := self._token_base(host)) is not None]
        return self._make_http((*bases, *services))

    def resolve(self, reference: ImageReference, tell: Tell) -> ResolvedImage | None:
        """What the reference stands for, checked by its digest; None where the registry says it has no such image.

        With a digest that is what is asked for, whatever the tag. UpstreamError when the registry is no upstream or
        can't say, IntegrityError when its bytes aren't those of their digest.
        """
        asked = _asked(reference)
        name = reference.name + ("@" if reference.digest is not None else ":") + asked
        if name in self._known:
            return self._known[name]
        if reference.host not in self._hosts:
            raise UpstreamError(f"{name}: {reference.host} is no configured upstream, and is not asked")
        if self._offline:
            raise UpstreamError(f"offline: what {name} is can't be asked: check it without --offline")
        tell(f"asking {reference.host} for {reference.path}")
        response = self._get(reference, f"manifests/{asked}", headers={"Accept": ACCEPT}, max_bytes=MAX_MANIFEST_BYTES)
        found = None if self._is_absent(name, response) else self._image(name, reference, response)
        self._known[name] = found
        if found is not None:
            self._known[f"{reference.name}@{found.digest}"] = found
        return found

    def _get(
        self,
        reference: ImageReference,
        asked: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        to_public: bool = False,
    ) -> "Response":
        """The registry's answer: without saying who asks, unless it wants to know (and then with what it gave last)."""
        host, path = reference.host, reference.path
        url = f"{self._base(host)}/v2/{path}/{asked}"
        known = self._authorizations.get((host, path))
        said = headers if known is None else {**headers, "Authorization": known}
        first = self._http.get(url, headers=said, max_bytes=max_bytes, to_public=to_public)
        if first.status != 401:
            return first
        authorization = self._authorization(host, path, first)
        said = {**headers, "Authorization": authorization}
        second = self._http.get(url, headers=said, max_bytes=max_bytes, to_public=to_public)
        if second.status == 200:
            self._authorizations[host, path] = authorization
        return second

    def _image(self, name: str, reference: ImageReference, response: "Response") -> ResolvedImage:
        """What the manifest in an answer says, with the platform of the only image where it is no index."""
        digest = _digest(name, reference.digest, response)
        manifest = parse_manifest(name, response.headers.get("Content-Type", ""), response.body)
        match manifest:
            case ImageIndex():
                platforms = tuple((child.platform, child.digest) for child in manifest.children)
            case ImageManifest():
                platforms = ((self._platform(name, reference, manifest.config), digest),)
            case _:
                assert_never(manifest)
        return ResolvedImage(
            digest=digest, media_type=manifest.media_type, size=len(response.body), platforms=platforms
        )

    def _platform(self, name: str, reference: ImageReference, config: Digest) -> str:
        """What a single image is for: only its configuration says so, a blob, which registries may keep elsewhere."""
        response = self._get(reference, f"blobs/{config}", headers={}, max_bytes=MAX_CONFIG_BYTES, to_public=True)
        if response.status != 200:
            expected = "expected its configuration, which says its platform"
            raise UpstreamError(f"{name}: {response.url} answered {response.status}: {expected}")
        found = _sha256(response.body)
        if found != config:
            raise IntegrityError(f"{name}: its configuration is {config}, the registry's bytes have the digest {found}")
        return parse_platform(name, response.body)

    def _is_absent(self, name: str, response: "Response") -> bool:
        """Whether the registry says that it has no such image; a bare 404 may come from anything in between."""
        match response.status:
            case 200:
                return False
            case 404 if _ABSENT & _codes(response.body):
                return True
            case 404:
                raise UpstreamError(f"{name}: {response.url} answered 404, but not as a registry does")
            case 401 | 403:
                raise UpstreamError(f"{name}: {response.url} answered {response.status}: {self._advice(name)}")
            case status:
                raise UpstreamError(f"{name}: {response.url} answered {status}: expected a manifest")

    def _advice(self, name: str) -> str:
        host = name.partition("/")[0]
        if self._login(host) is not None:
            return "its credentials are wrong, or may not read it"
        if host in self._logins:
            return _KEPT
        return "no such image, or one that needs a login: name its upstream's `credentials` in the policy"

    # --- who is asking ------------------------------------------------------------------------------------------------

    def _authorization(self, host: str, path: str, response: "Response") -> str:
        """The Authorization header that the registry asks for."""
        from quarantine.io.challenge import parse_challenges  # noqa: PLC0415  # few registries ask

        challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        for challenge in challenges:
            if challenge.scheme == "bearer":
                return f"Bearer {self._token(host, path, challenge)}"
        if not any(challenge.scheme == "basic" for challenge in challenges):
            raise UpstreamError(f"{host} answered 401 and asks for neither a Bearer token nor a Basic login")
        login = self._login(host)
        if login is None:
            advice = _KEPT if host in self._logins else "name its upstream's `credentials` in the policy"
            raise UpstreamError(f"{host} asks for a login: {advice}")
        return login

    def _login(self, host: str) -> str | None:
        """The Authorization header with a registry's login, None where it has none, or where another is asked instead."""
        if host not in self._logins or any(map(self._is_replaced, (host, _TOKEN_HOSTS.get(host, host)))):
            return None
        return "Basic " + base64.b64encode(":".join(self._logins[host]).encode()).decode()

    def _is_replaced(self, host: str) -> bool:
        """Whether another origin than the policy's stands in for a host."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # few registries have a login

        return host in self._stand_ins and target_of(self._own(host)).origin != target_of(self._base(host)).origin

    def _token(self, host: str, path: str, challenge: "Challenge") -> str:
        """A token for reading one repository, with the registry's login where there is one."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # few registries ask

        named = challenge.get("realm")
        if named is None:
            raise UpstreamError(f"{host} sends for a token without saying where")
        try:
            realm = target_of(named)
        except UpstreamError as error:
            raise UpstreamError(f"{host} sends for a token to what can't be asked: {error}") from error
        if realm.origin not in self._token_origins(host):
            raise UpstreamError(f"{host} sends for a token to {realm.origin}, which is not its own: refused")
        scope = challenge.get("scope") or f"repository:{path}:pull"
        repository = _SCOPE.fullmatch(scope)
        if repository is None or not f"/{repository[1]}".endswith(f"/{path}"):
            raise UpstreamError(f"{host} wants a token for {scope[:200]!a}: expected 'repository:{path}:pull'")
        login = self._login(host)
        said = {"service": challenge.get("service"), "scope": scope}
        query = urlencode([(key, value) for key, value in said.items() if value is not None])
        response = self._http.get(
            f"{realm.url}{'&' if '?' in realm.path else '?'}{query}",
            headers={} if login is None else {"Authorization": login},
            max_bytes=MAX_TOKEN_BYTES,
        )
        if response.status != 200:
            advice = f": {self._advice(host)}" if response.status in (401, 403) else ""
            raise UpstreamError(f"{host}/{path}: {response.url} answered {response.status} for a token{advice}")
        return _bearer(response)

    def _base(self, host: str) -> str:
        """The base URL of a registry. Only on this machine's loopback may it be unencrypted."""
        from quarantine.io.guard import target_of  # noqa: PLC0415  # what is known asks nobody

        base = self._stand_ins.get(host, self._own(host)).rstrip("/")
        origin = target_of(base).origin
        if origin.scheme != "https" and not is_loopback(origin.host):
            raise UpstreamError(f"the endpoint {origin} of {host} isn't encrypted: expected https")
        return base

    def _own(self, host: str) -> str:
        """Where a registry is asked when nothing stands in for it."""
        return self._endpoints.get(host, f"https://{_HOSTS.get(host, host)}")

    def _token_base(self, host: str) -> str | None:
        """Where a registry's tokens come from, if not from itself. A registry's endpoint has its token service's."""
        service = _TOKEN_HOSTS.get(host)
        named = self._endpoints.keys() | self._stand_ins.keys()
        if service is None or (host in named and service not in named):
            return None
        return self._base(service)

    def _token_origins(self, host: str) -> "frozenset[Origin]":
        from quarantine.io.guard import target_of  # noqa: PLC0415  # few registries ask

        bases = (self._base(host), self._token_base(host))
        return frozenset(target_of(base).origin for base in bases if base is not None)


def _asked(reference: ImageReference) -> str:
    """The digest or the tag to ask for. UpstreamError for what no registry has, which must not become part of a URL."""
    asked = (reference.tag or "latest") if reference.digest is None else str(reference.digest)
    well_formed = _TAG.fullmatch(asked) is not None if reference.digest is None else _is_sha256(reference.digest)
    if len(reference.path) > 255 or _PATH.fullmatch(reference.path) is None or not well_formed:
        raise UpstreamError(f"{str(reference)[:300]!a} is not a reference that a registry can be asked for")
    return asked


def _is_sha256(digest: Digest) -> bool:
    return digest.algorithm == "sha256" and re.fullmatch(r"[0-9a-f]{64}", digest.hex) is not None


def _sha256(data: bytes) -> Digest:
    return Digest.sha256(hashlib.sha256(data).hexdigest())


def _digest(name: str, expected: Digest | None, response: "Response") -> Digest:
    """The digest of a manifest's bytes, which must be every one that is given for them."""
    digest = _sha256(response.body)
    if expected is not None and digest != expected:
        raise IntegrityError(f"{name}: the registry's bytes have the digest {digest}")
    said = response.headers.get("Docker-Content-Digest")
    if said is not None and said != str(digest):
        raise IntegrityError(f"{name}: the registry says that its digest is {said[:100]!a}, its bytes have {digest}")
    return digest


def _codes(body: bytes) -> frozenset[str]:
    """The codes of a registry's errors (distribution-spec, section "Error Codes")."""
    try:
        return frozenset(error.code for error in msgspec.json.decode(body, type=_Errors).errors)
    except (ValueError, RecursionError):
        return frozenset()


def _bearer(response: "Response") -> str:
    try:
        answer = msgspec.json.decode(response.body, type=_Token)
    except (ValueError, RecursionError):
        answer = _Token()
    token = answer.token or answer.access_token or ""
    # it goes into a header
    if _BEARER.fullmatch(token) is None:
        raise UpstreamError(f"{response.url}: an answer without a token that can be used")
    return token
