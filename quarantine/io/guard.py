"""Where a request may go: URLs taken apart once, and the addresses that a host name may lead to.

An origin that the policy configures may lie anywhere but on a cloud's metadata services. Any other host, one that a
configured upstream's page named, must lead to public addresses only. The check is made on the addresses that are then
connected to, so a name that changes its answer between check and use gains nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

from quarantine.errors import UpstreamError

__all__ = [
    "Address",
    "Origin",
    "Resolve",
    "Target",
    "child_network",
    "judge_addresses",
    "proxy_for",
    "resolve_host",
    "target_of",
]

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], tuple[Address, ...]]

MAX_URL = 8192
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9.])?")
_UNSAFE = re.compile(r"[^!-~]|[\\\"<>^`{|}]")
# The instance metadata services of the large clouds and Azure's host agent: whoever reaches them has a machine's identity.
_NEVER = frozenset(map(ip_address, ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")))
_DOCUMENTATION = tuple(map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))
_NAT64 = IPv6Network("64:ff9b::/96")
NOWHERE = "http://127.0.0.1:0"
"""A proxy that nobody can be: no program listens on port 0."""
# What a child may know of the environment; certificates and proxies decide whether it reaches anything at all.
_PASSED_ON = frozenset(
    f(name)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for f in (str.upper, str.lower)
)


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Scheme, host and port of a URL (RFC 6454), in lower case."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" if self.port == _PORTS[self.scheme] else f"{self.scheme}://{host}:{self.port}"

    @property
    def netloc(self) -> str:
        """What the Host header says."""
        return str(self).partition("://")[2]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: its origin, and its path with the query. The fragment is dropped."""

    origin: Origin
    path: str

    def __str__(self) -> str:
        """The URL without its query, which may hold a signature."""
        return f"{self.origin}{self.path.partition('?')[0]}"

    @property
    def url(self) -> str:
        """The whole URL; may hold a secret in its query."""
        return f"{self.origin}{self.path}"


def target_of(url: str, base: Target | None = None) -> Target:
    """The parts of an http or https URL, relative to `base` where one is given.

    UpstreamError for anything else: other schemes, credentials in the URL, characters that parsers disagree about.
    """
    if len(url) > MAX_URL or _UNSAFE.search(url):
        raise UpstreamError(f"a URL of {len(url)} characters is too long or has characters that no URL has")
    try:
        parts = urlsplit(url if base is None else urljoin(base.url, url))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UpstreamError("a URL that can't be taken apart: expected https://host/path") from None
    if parts.scheme not in _PORTS:
        raise UpstreamError(f"a URL with the scheme {parts.scheme!a}: only http and https are followed")
    if "@" in parts.netloc:
        raise UpstreamError(
            f"a URL of {host!a} carries credentials: name them under `credentials` in the policy instead"
        )
    if not (_HOST.fullmatch(host) or _literal(host) is not None):
        raise UpstreamError(f"a URL with the host {host!a}: expected a host name or an address")
    query = f"?{parts.query}" if parts.query else ""
    return Target(
        Origin(parts.scheme, host, _PORTS[parts.scheme] if port is None else port), (parts.path or "/") + query
    )


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def resolve_host(host: str, port: int) -> tuple[Address, ...]:
    """The addresses that the system's resolver gives for a name, in its order; empty where it knows none."""
    import socket  # noqa: PLC0415 - only a command that reads from outside pays for it

    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    found = (_literal(str(address[4][0])) for address in answers)
    return tuple(dict.fromkeys(address for address in found if address is not None))


def judge_addresses(host: str, addresses: Iterable[Address], *, configured: bool) -> None:
    """Raises UpstreamError when the host leads to an address that it may not lead to."""
    for address in addresses:
        for form in _forms(address):
            if form in _NEVER or form.is_link_local:
                raise UpstreamError(f"{host} leads to {address}, a link-local or metadata address: refused")
            if not configured and (not form.is_global or form.is_multicast) and not _is_documentation(form):
                raise UpstreamError(
                    f"{host} leads to {address}, which is not public, and is no configured upstream: refused"
                )


def _is_documentation(address: Address) -> bool:
    """Whether it is set aside for documents (RFC 5737): nobody's private network, so nothing to be reached there.

    Laboratories without a way out use these where the public internet would be.
    """
    return any(address in network for network in _DOCUMENTATION)


def _forms(address: Address) -> tuple[Address, ...]:
    """The address, and the IPv4 address that it carries inside (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(form for form in inner if form is not None))


def proxy_for(origin: Origin, proxies: Mapping[str, str]) -> str | None:
    """The proxy of the origin's scheme, None for a host that `no` excepts: itself, a domain above it, or `*`."""
    for entry in proxies.get("no", "").lower().split(","):
        name = entry.strip().lstrip(".")
        if name and (name in {"*", origin.host, origin.netloc} or origin.host.endswith(f".{name}")):
            return None
    return proxies.get(origin.scheme) or proxies.get("all") or None


def child_network(environ: Mapping[str, str], urls: Iterable[str]) -> dict[str, str]:
    """The variables that a child gets which speaks to the upstreams at `urls` by itself: certificates and proxies.

    They keep it from asking anybody without encryption, wherever a page or a redirect sends it: metadata services of
    clouds speak nothing else. The policy lets only loopback hosts do without encryption; those are the exceptions.
    Where all traffic has a proxy, the proxy decides.
    """
    passed_on = {name: value for name, value in environ.items() if name in _PASSED_ON}
    if not {"HTTP_PROXY", "ALL_PROXY"}.isdisjoint(map(str.upper, passed_on)):
        return passed_on
    plain = {parts.hostname or "" for url in urls if (parts := urlsplit(url)).scheme == "http"}
    named = [value for name, value in passed_on.items() if name.upper() == "NO_PROXY"]
    return {**passed_on, "HTTP_PROXY": NOWHERE, "NO_PROXY": ",".join(sorted({*named, *plain}))}
