"""The HTTP client of everything that reads from outside: guarded, bounded, patient within limits.

TLS is always verified, against the system's certificate authorities. Where a request may go is `guard`'s business; it is
asked again for every redirect. What a message says about a URL is its host and path: a query may hold a signature.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

from quarantine.errors import UpstreamError
from quarantine.io.guard import Address, Origin, Resolve, Target, judge_addresses, proxy_for, resolve_host, target_of

if TYPE_CHECKING:
    import ssl

    import stamina
    import urllib3

    _Send = Callable[[str, Target, Mapping[str, str], urllib3.Timeout], urllib3.BaseHTTPResponse]

__all__ = ["HttpClient", "Request", "Response", "Streamed"]

MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 30.0
CHUNK_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({429, 502, 503, 504})
# What proves who is asking goes to nobody but the origin it was meant for.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One GET. `also` are origins beyond the configured ones that it may go to, if they lead to public addresses."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    also: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer read whole: the body is decoded, the headers are looked up in any case.

    `url` is where it came from after redirects, without its query.
    """

    status: int
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """An answer whose body is still coming; iterating `chunks` raises UpstreamError when it breaks off."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    chunks: Iterator[bytes] = field(repr=False)


class _TransientError(UpstreamError):
    """Worth another try; `wait` is how many seconds the server asks for, None where it doesn't say."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class HttpClient:
    """Reads URLs of the configured origins ("https://host", "http://host:port"), safe for use by several threads.

    `timeout_seconds` is for connecting and for every silence; `deadline_seconds` for a whole answer with its retries.
    `proxies` has the shape of `urllib.request.getproxies_environment()`: by scheme, and `no` for the exceptions.
    A proxy resolves names itself, so behind one only what resolves here is checked.
    """

    def __init__(
        self,
        *,
        allowed: Collection[str],
        user_agent: str,
        timeout_seconds: float = 15.0,
        deadline_seconds: float = 300.0,
        retries: int = 3,
        backoff_seconds: float = 0.2,
        proxies: Mapping[str, str] = _NO_HEADERS,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._allowed = frozenset(target_of(url).origin for url in allowed)
        self._user_agent = user_agent
        self._timeout = timeout_seconds
        self._deadline = deadline_seconds
        self._attempts = retries + 1
        self._backoff = backoff_seconds
        self._proxies = proxies
        self._resolve = resolve
        self._sends: dict[Origin, list[_Send]] = {}
        self._closers: list[Callable[[], None]] = []
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all idle connections."""
        with self._lock:
            for close in self._closers:
                close()
            self._closers.clear()
            self._sends.clear()

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        max_bytes: int,
        also: Collection[str] = frozenset(),
        to_public: bool = False,
        stop: threading.Event | None = None,
    ) -> Response:
        """The answer to a GET, whatever its status, with at most `max_bytes` of decoded body.

        UpstreamError when it may not go there, when nothing usable comes in time, when the body is longer, and when
        the answer is still 429 or a server error after the retries. With `to_public` a redirect may lead to any host, if
        by https and to public addresses: channels keep their files with others. `stop` ends the retrying early.
        """
        ends = monotonic() + self._deadline
        for attempt in self._attempting(ends, stop):
            with attempt, self._open(url, headers, also, ends, to_public=to_public) as (target, answer):
                body = b"".join(_chunks(target, answer, max_bytes, ends, self._timeout))
                return Response(status=answer.status, url=str(target), headers=answer.headers, body=body)
        raise AssertionError  # pragma: no cover - the last attempt raises

    def post(self, url: str, *, headers: Mapping[str, str] = _NO_HEADERS, max_bytes: int) -> Response:
        """The answer to a POST without a body, asked once: whether the first one was heard isn't known.

        It is no answer to be sent elsewhere. UpstreamError as for `get`.
        """
        ends = monotonic() + self._deadline
        target = target_of(url)
        sent = {"User-Agent": self._user_agent, "Accept-Encoding": "gzip", "Content-Length": "0", **headers}
        answer = self._send(target, sent, (), ends, method="POST")
        try:
            if answer.status in _REDIRECTS:
                raise UpstreamError(f"{target} redirects what was sent to it: refused")
            body = b"".join(_chunks(target, answer, max_bytes, ends, self._timeout))
            return Response(status=answer.status, url=str(target), headers=answer.headers, body=body)
        finally:
            answer.close()

    @contextmanager
    def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        max_bytes: int,
        also: Collection[str] = frozenset(),
        to_public: bool = False,
        deadline_seconds: float | None = None,
    ) -> Iterator[Streamed]:
        """As `get`, with the body in pieces as it comes; only until the headers are there is anything tried again."""
        ends = monotonic() + (self._deadline if deadline_seconds is None else deadline_seconds)
        with ExitStack() as stack:
            for attempt in self._attempting(ends):
                with attempt:
                    target, answer = stack.enter_context(self._open(url, headers, also, ends, to_public=to_public))
            chunks = _chunks(target, answer, max_bytes, ends, self._timeout)
            yield Streamed(status=answer.status, headers=answer.headers, chunks=chunks)

    def get_many(
        self, requests: Sequence[Request], *, max_bytes: int, workers: int = 16
    ) -> Iterator[tuple[Request, Response]]:
        """Every request with its answer, as they come. The first failure is raised and ends the rest.

        The threads are daemons that look at a flag, so Ctrl-C, or leaving the loop early, waits for none of them.
        """
        stop = threading.Event()
        todo: SimpleQueue[Request] = SimpleQueue()
        done: SimpleQueue[tuple[Request, Response | Exception]] = SimpleQueue()
        for request in requests:
            todo.put(request)

        def work() -> None:
            while not stop.is_set():
                try:
                    request = todo.get_nowait()
                except Empty:
                    return
                try:
                    answer: Response | Exception = self.get(
                        request.url, headers=dict(request.headers), max_bytes=max_bytes, also=request.also, stop=stop
                    )
                except Exception as error:  # noqa: BLE001 - raised by the thread that waits for it
                    answer = error
                done.put((request, answer))

        try:
            for number in range(min(workers, len(requests))):
                threading.Thread(target=work, name=f"get-{number}", daemon=True).start()
            for _ in requests:
                request, answer = done.get()
                if isinstance(answer, Exception):
                    raise answer
                yield request, answer
        finally:
            stop.set()

    def _attempting(self, ends: float, stop: threading.Event | None = None) -> "Iterable[stamina.Attempt]":
        import stamina  # noqa: PLC0415 - only a command that reads from outside pays for it
        from stamina.instrumentation import set_on_retry_hooks  # noqa: PLC0415

        set_on_retry_hooks([])  # the default one logs what failed

        def worth_another(error: Exception) -> bool | float:
            if not isinstance(error, _TransientError) or (stop is not None and stop.is_set()):
                return False
            if error.wait is None:
                return True
            return error.wait if error.wait <= min(MAX_RETRY_AFTER_SECONDS, ends - monotonic()) else False

        return stamina.retry_context(
            on=worth_another,
            attempts=self._attempts,
            timeout=max(ends - monotonic(), 0.001),
            wait_initial=self._backoff,
            wait_jitter=self._backoff,
            wait_max=5.0,
        )

    @contextmanager
    def _open(
        self, url: str, headers: Mapping[str, str], also: Collection[str], ends: float, *, to_public: bool
    ) -> "Iterator[tuple[Target, urllib3.BaseHTTPResponse]]":
        target, answer = self._follow(url, headers, also, ends, to_public=to_public)
        try:
            yield target, answer
        finally:
            answer.close()

    def _follow(
        self, url: str, headers: Mapping[str, str], also: Collection[str], ends: float, *, to_public: bool
    ) -> "tuple[Target, urllib3.BaseHTTPResponse]":
        """The first answer that is no redirect; every hop is judged as the first URL was."""
        sent = {"User-Agent": self._user_agent, "Accept-Encoding": "gzip", **headers}
        start = target = target_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(target, sent, also, ends)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return target, answer
            answer.close()
            here, target = target, target_of(location, target)
            if here.origin.scheme == "https" and target.origin.scheme == "http":
                raise UpstreamError(f"{here} redirects from https to http: refused")
            if to_public and target.origin.scheme == "https":
                also = {*also, str(target.origin)}
            if target.origin != here.origin:
                sent = {name: value for name, value in sent.items() if name.lower() not in _SECRET_HEADERS}
        raise UpstreamError(f"{start} redirects more than {MAX_REDIRECTS} times")

    def _send(
        self, target: Target, headers: Mapping[str, str], also: Collection[str], ends: float, method: str = "GET"
    ) -> "urllib3.BaseHTTPResponse":
        import urllib3  # noqa: PLC0415 - only a command that reads from outside pays for it

        errors = urllib3.exceptions
        left = ends - monotonic()
        if left <= 0:
            raise UpstreamError(f"{target}: no complete answer within {self._deadline:g} s")
        timeout = urllib3.Timeout(connect=min(self._timeout, left), read=min(self._timeout, left))
        failed: Exception | None = None
        for send in self._ways(target.origin, also):
            try:
                answer = send(method, target, {**headers, "Host": target.origin.netloc}, timeout)
            except (errors.NewConnectionError, errors.ConnectTimeoutError) as error:
                failed = error  # the host's next address may answer
                continue
            except (errors.HTTPError, OSError) as error:
                raise _failure(target, error, self._timeout) from error
            if answer.status in _TRANSIENT:
                wait = _retry_after(answer.headers)
                answer.close()
                raise _TransientError(f"{target} answered {answer.status}", wait)
            return answer
        if failed is None:
            raise _TransientError(f"{target.origin.host}: no address is known for this name")
        raise _failure(target, failed, self._timeout) from failed

    def _ways(self, origin: Origin, also: Collection[str]) -> "Sequence[_Send]":
        """What sends a request to each address of the origin, once it is known that it may be asked at all."""
        configured = origin in self._allowed
        if not configured and origin not in {target_of(other).origin for other in also}:
            raise UpstreamError(f"{origin} is no configured upstream: a request to it is refused")
        proxy = proxy_for(origin, self._proxies)
        with self._lock:
            known = self._sends.get(origin)
        if known is not None:
            return known
        addresses = self._resolve(origin.host, origin.port)
        judge_addresses(origin.host, addresses, configured=configured)
        with self._lock:
            if proxy is not None:
                ways = [_through_proxy(self._proxy_pools(proxy))]
            else:
                ways = [_to_address(self._pool(origin, address)) for address in addresses]
            return self._sends.setdefault(origin, ways) if ways else ways

    def _pool(self, origin: Origin, address: Address) -> "urllib3.HTTPConnectionPool":
        """Connections to one address of a host; the certificate must be the host's."""
        import urllib3  # noqa: PLC0415 - only a command that reads from outside pays for it

        pool: urllib3.HTTPConnectionPool
        if origin.scheme == "http":
            pool = urllib3.HTTPConnectionPool(str(address), origin.port, maxsize=16)
        else:
            pool = urllib3.HTTPSConnectionPool(
                str(address), origin.port, maxsize=16, ssl_context=self._tls_context(), server_hostname=origin.host
            )
        self._closers.append(pool.close)
        return pool

    def _proxy_pools(self, proxy: str) -> "urllib3.ProxyManager":
        import urllib3  # noqa: PLC0415 - only a command that reads from outside pays for it

        parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = urllib3.make_headers(proxy_basic_auth=unquote(parts.auth)) if parts.auth else None
        address = parts._replace(auth=None).url
        manager = urllib3.ProxyManager(address, proxy_headers=headers, maxsize=16, ssl_context=self._tls_context())
        self._closers.append(manager.clear)
        return manager

    def _tls_context(self) -> "ssl.SSLContext":
        import ssl  # noqa: PLC0415 - only a command that reads from outside pays for it

        if self._tls is None:
            # OpenSSL itself looks at SSL_CERT_FILE and SSL_CERT_DIR
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._tls


def _to_address(pool: "urllib3.HTTPConnectionPool") -> "_Send":
    return lambda method, target, headers, timeout: pool.urlopen(
        method, target.path, headers=headers, timeout=timeout, redirect=False, retries=False, preload_content=False
    )


def _through_proxy(manager: "urllib3.ProxyManager") -> "_Send":
    return lambda method, target, headers, timeout: manager.urlopen(
        method, target.url, headers=headers, timeout=timeout, redirect=False, retries=False, preload_content=False
    )


def _chunks(
    target: Target, answer: "urllib3.BaseHTTPResponse", max_bytes: int, ends: float, timeout: float
) -> Iterator[bytes]:
    """The decoded body, as it comes. What is counted is what leaves the decoder, so a bomb goes off in small pieces."""
    import urllib3  # noqa: PLC0415 - only a command that reads from outside pays for it

    total = 0
    while True:
        if monotonic() > ends:
            raise UpstreamError(f"{target}: no complete answer in time")
        try:
            chunk = answer.read1(CHUNK_BYTES, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _failure(target, error, timeout) from error
        if not chunk:
            return
        total += len(chunk)
        if total > max_bytes:
            raise UpstreamError(f"{target}: more than {max_bytes} bytes")
        yield chunk


def _failure(target: Target, error: Exception, timeout: float) -> UpstreamError:
    """What went wrong, in words that hold no query string."""
    import urllib3  # noqa: PLC0415 - only a command that reads from outside pays for it

    errors = urllib3.exceptions
    origin = target.origin
    match error:
        case errors.ProxyError():
            return _TransientError(f"{origin}: the proxy did not connect ({_cause(error)})")
        case errors.SSLError():
            return UpstreamError(f"{origin}: no trusted TLS connection ({_cause(error)})")
        case errors.DecodeError():
            return UpstreamError(f"{target}: the body is not in the encoding that its headers name")
        case errors.NewConnectionError():  # a kind of ConnectTimeoutError
            return _TransientError(f"{origin}: no connection ({_cause(error)})")
        case errors.ConnectTimeoutError() | errors.ReadTimeoutError():
            return _TransientError(f"{target}: silent for {timeout:g} s")
        case errors.ProtocolError() | OSError():
            return _TransientError(f"{target}: the connection broke off")
        case _:
            return UpstreamError(f"{target}: {type(error).__name__}")


def _cause(error: BaseException) -> str:
    """The system's own word at the bottom of a chain of errors."""
    import ssl  # noqa: PLC0415 - only a command that reads from outside pays for it

    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds (RFC 9110, 10.2.3): a number, or a date, which is held against the server's own Date."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only a command that reads from outside pays for it

    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
