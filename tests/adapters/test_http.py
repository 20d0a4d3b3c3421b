"""The guarded HTTP client, against loopback servers."""

import base64
import gzip
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest
from servers import Answer, Asked, WebServer

from quarantine.errors import UpstreamError
from quarantine.io.guard import Address
from quarantine.io.http import HttpClient, Request

SECRET = "s3cr3t-canary"


def hello(asked: Asked) -> Answer:
    return Answer(headers={"Content-Type": "text/plain", "X-Path": asked.path}, body=b"hello")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer(hello) as running:
        yield running


def client(*allowed: str, retries: int = 2, timeout: float = 5, deadline: float = 20) -> HttpClient:
    return HttpClient(
        allowed=allowed,
        user_agent="quarantine/tests",
        timeout_seconds=timeout,
        deadline_seconds=deadline,
        retries=retries,
        backoff_seconds=0.01,
    )


def refusal(http: HttpClient, url: str, *, also: frozenset[str] = frozenset(), max_bytes: int = 1000) -> str:
    with http, pytest.raises(UpstreamError) as caught:
        http.get(url, max_bytes=max_bytes, also=also)
    return str(caught.value)


def test_answer_comes_whole_with_headers_in_any_case(server: WebServer) -> None:
    """Status, address, headers and body come through; who asks says so."""
    with client(server.origin) as http:
        response = http.get(f"{server.origin}/a?b=c", max_bytes=5)
    seen = (response.status, response.url, response.headers["x-PATH"], response.body)
    assert seen == (200, f"{server.origin}/a", "/a?b=c", b"hello")
    assert (server.asked[0].method, server.asked[0].headers["User-Agent"]) == ("GET", "quarantine/tests")


def test_status_is_the_callers_business(server: WebServer) -> None:
    """404 and 500 are answers, not errors."""
    server.script("/", Answer(status=404), Answer(status=500))
    with client(server.origin) as http:
        assert [http.get(server.origin, max_bytes=10).status for _ in range(2)] == [404, 500]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "http://169.254.169.254 is no configured upstream"),
        ("http://168.63.129.16/machine", "http://168.63.129.16 is no configured upstream"),
        ("http://[::ffff:169.254.169.254]/", "http://[::ffff:169.254.169.254] is no configured upstream"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1 is no configured upstream"),
        ("http://localhost/", "http://localhost is no configured upstream"),
        ("file:///etc/passwd", "a URL with the scheme 'file': only http and https are followed"),
        ("gopher://index.example/", "a URL with the scheme 'gopher': only http and https are followed"),
        ("http://user:pw@index.example/", "a URL of 'index.example' carries credentials"),
        ("http://index.example\\@127.0.0.1/", "characters that no URL has"),
        ("http://index.example/a\r\nHost: x", "characters that no URL has"),
        ("http://ind\u212aex.example/", "characters that no URL has"),
        ("http://index.example:port/", "a URL that can't be taken apart"),
        ("http:///nowhere", "a URL with the host ''"),
        ("http://exa%6dple/", "a URL with the host 'exa%6dple'"),
    ],
)
def test_only_configured_origins_are_asked(url: str, reason: str) -> None:
    """Whatever a user's URL names (SSRF), nothing is sent there, and the refusal says why."""
    assert reason in refusal(client("https://index.example"), url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "10.1.2.3", "192.168.0.1", "172.16.9.9", "100.64.0.1", "0.0.0.0", "224.0.0.1", "[fc00::1]",
        "2130706433", "0x7f000001", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]", "[2002:0a00:0001::1]",
    ],
)  # fmt: skip
def test_host_that_a_page_names_must_be_public(host: str) -> None:
    """A file's host that isn't configured is refused when it is private, in every spelling of the address."""
    said = refusal(client("https://index.example"), f"http://{host}:81/x", also=frozenset({f"http://{host}:81"}))
    assert said.endswith("which is not public, and is no configured upstream: refused")


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "168.63.129.16", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200"]
)
@pytest.mark.parametrize("configured", [True, False])
def test_metadata_services_are_refused_even_when_configured(host: str, configured: bool) -> None:
    """No configuration makes a cloud's metadata service an upstream."""
    origin = f"http://{host}"
    said = refusal(client(*[origin] * configured), f"{origin}/", also=frozenset({origin}))
    assert said.endswith("a link-local or metadata address: refused")


def test_name_that_leads_to_a_private_address_is_refused() -> None:
    """The addresses of the name count, all of them, not its looks."""
    answers: Mapping[str, tuple[Address, ...]] = {
        "files.example": (ip_address("8.8.8.8"), ip_address("10.0.0.7")),
        "index.example": (ip_address("169.254.169.254"),),
    }
    http = HttpClient(allowed=["https://index.example"], user_agent="t", resolve=lambda host, _: answers[host])
    also = frozenset({"https://files.example"})
    assert [refusal(http, "https://files.example/a", also=also), refusal(http, "https://index.example/a")] == [
        "files.example leads to 10.0.0.7, which is not public, and is no configured upstream: refused",
        "index.example leads to 169.254.169.254, a link-local or metadata address: refused",
    ]


def test_connection_goes_to_the_address_that_was_checked(server: WebServer) -> None:
    """A name is resolved once, and what was judged is what is connected to (no DNS rebinding); the host stays named."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> tuple[Address, ...]:
        asked.append(host)
        return (ip_address("127.0.0.1"),)

    origin = f"http://index.example:{server.port}"
    with HttpClient(allowed=[origin], user_agent="t", resolve=resolve) as http:
        bodies = [http.get(f"{origin}/{n}", max_bytes=10).body for n in range(2)]
    assert (bodies, asked) == ([b"hello", b"hello"], ["index.example"])
    assert server.asked[0].headers["Host"] == f"index.example:{server.port}"


def test_next_address_is_tried_when_the_first_does_not_answer(server: WebServer) -> None:
    """Of a name's addresses one that answers is enough."""
    origin = f"http://index.example:{server.port}"
    addresses = (ip_address("127.0.0.2"), ip_address("::1"), ip_address("127.0.0.1"))
    with HttpClient(allowed=[origin], user_agent="t", retries=0, resolve=lambda *_: addresses) as http:
        assert http.get(f"{origin}/", max_bytes=10).body == b"hello"


@pytest.mark.parametrize("target", ["http://169.254.169.254/x", "http://127.0.0.1:9/x", "http://localhost/x"])
def test_redirect_is_judged_like_a_first_url(server: WebServer, target: str) -> None:
    """A configured upstream can't send the client to a host that isn't one."""
    server.always("/", Answer(status=302, headers={"Location": target}))
    origin = target.removesuffix("/x")
    assert refusal(client(server.origin), server.origin) == (
        f"{origin} is no configured upstream: a request to it is refused"
    )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://files.example/x", "http://files.example is no configured upstream: a request to it is refused"),
        (
            "https://169.254.169.254/x",
            "169.254.169.254 leads to 169.254.169.254, a link-local or metadata address: refused",
        ),
        (
            "https://inside.example/x",
            "inside.example leads to 10.0.0.7, which is not public, and is no configured upstream: refused",
        ),
        ("https://files.example/x", "https://files.example"),
    ],
)
def test_a_redirect_to_public_hosts_is_allowed_where_it_is_asked_for(server: WebServer, target: str, said: str) -> None:
    """Only by https, and only to public addresses: the last of these is tried, and nobody is there."""
    answers = {"127.0.0.1": "127.0.0.1", "files.example": "192.0.2.7", "inside.example": "10.0.0.7"}
    server.always("/", Answer(status=302, headers={"Location": target}))
    http = HttpClient(
        allowed=[server.origin],
        user_agent="t",
        retries=0,
        timeout_seconds=0.1,
        resolve=lambda host, _: (ip_address(answers.get(host, host)),),
    )
    with http, pytest.raises(UpstreamError) as caught:
        http.get(server.origin, max_bytes=10, to_public=True)
    # how nobody answers is the network's affair
    assert str(caught.value) == said if said.endswith("refused") else str(caught.value).startswith(said)


def test_redirects_within_an_origin_are_followed_up_to_five(server: WebServer) -> None:
    """The final address is told; a loop ends."""
    server.always("/a", Answer(status=301, headers={"Location": "/b/c?q=1"}))
    server.always("/b/c?q=1", Answer(status=307, headers={"Location": "d"}))
    server.always("/loop", Answer(status=302, headers={"Location": "/loop"}))
    with client(server.origin) as http:
        assert http.get(f"{server.origin}/a", max_bytes=10).url == f"{server.origin}/b/d"
    said = refusal(client(server.origin), f"{server.origin}/loop")
    assert said == f"{server.origin}/loop redirects more than 5 times"
    assert server.paths().count("/loop") == 6


def test_credentials_stay_with_their_origin(server: WebServer) -> None:
    """A redirect to another configured origin loses them, one within the origin doesn't."""
    with WebServer(hello) as other, client(server.origin, other.origin) as http:
        server.always("/a", Answer(status=302, headers={"Location": "/b"}))
        server.always("/b", Answer(status=302, headers={"Location": f"{other.origin}/c"}))
        http.get(
            f"{server.origin}/a", headers={"Authorization": SECRET, "Cookie": SECRET, "Accept": "x/y"}, max_bytes=10
        )
    sent = [(a.path, a.headers.get("Authorization"), a.headers.get("Cookie")) for a in server.asked + other.asked]
    assert sent == [("/a", SECRET, SECRET), ("/b", SECRET, SECRET), ("/c", None, None)]
    assert other.asked[0].headers["Accept"] == "x/y"


def test_post_is_sent_once_and_nowhere_else(server: WebServer) -> None:
    """Its answer is bounded; neither a redirect nor a failure that may pass makes a second request."""
    server.always("/moved", Answer(status=307, headers={"Location": "/a"}))
    server.always("/busy", Answer(status=503))
    said = []
    with client(server.origin) as http:
        answer = http.post(f"{server.origin}/a", headers={"Authorization": SECRET}, max_bytes=5)
        for path, limit in (("moved", 5), ("busy", 5), ("a", 4)):
            with pytest.raises(UpstreamError) as caught:
                http.post(f"{server.origin}/{path}", max_bytes=limit)
            said.append(str(caught.value))
        with pytest.raises(UpstreamError) as refused:
            http.post("http://169.254.169.254/", max_bytes=5)
    assert (answer.status, answer.body) == (200, b"hello")
    assert [*said, str(refused.value)] == [
        f"{server.origin}/moved redirects what was sent to it: refused",
        f"{server.origin}/busy answered 503",
        f"{server.origin}/a: more than 4 bytes",
        "http://169.254.169.254 is no configured upstream: a request to it is refused",
    ]
    sent = [(asked.method, asked.path, asked.headers["Content-Length"]) for asked in server.asked]
    assert sent == [("POST", path, "0") for path in ("/a", "/moved", "/busy", "/a")]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_failures_are_tried_again(server: WebServer, status: int) -> None:
    """Two failures, then the answer."""
    server.script("/", Answer(status=status, headers={"Retry-After": "0"}), Answer(status=status))
    with client(server.origin) as http:
        assert (http.get(server.origin, max_bytes=10).body, len(server.asked)) == (b"hello", 3)


def test_failure_that_does_not_pass_is_an_error(server: WebServer) -> None:
    """After the retries the last status is told."""
    server.always(f"/?sig={SECRET}", Answer(status=503))
    assert refusal(client(server.origin), f"{server.origin}/?sig={SECRET}") == f"{server.origin}/ answered 503"


def test_retry_after_is_honoured_within_bounds(server: WebServer) -> None:
    """A second is waited for; an hour is not."""
    server.script("/", Answer(status=429, headers={"Retry-After": "1"}))
    began = time.monotonic()
    with client(server.origin) as http:
        http.get(server.origin, max_bytes=10)
    waited = time.monotonic() - began
    server.script("/", Answer(status=429, headers={"Retry-After": "3600"}))
    assert refusal(client(server.origin), server.origin) == f"{server.origin}/ answered 429"
    assert (0.9 < waited < 5, len(server.asked)) == (True, 3)


def test_silence_has_an_end(server: WebServer) -> None:
    """A server that says nothing is given up after the timeout."""
    server.always("/", Answer(hang=True))
    assert (
        refusal(client(server.origin, retries=0, timeout=0.3), server.origin) == f"{server.origin}/: silent for 0.3 s"
    )


def test_deadline_covers_the_retries(server: WebServer) -> None:
    """However many retries there are, the whole ends in time."""
    server.always("/", Answer(hang=True))
    began = time.monotonic()
    refusal(client(server.origin, retries=50, timeout=0.3, deadline=1), server.origin)
    assert time.monotonic() - began < 3


def test_body_that_breaks_off_is_read_again(server: WebServer) -> None:
    """A short body is never taken for a whole one."""
    cut = Answer(body=b"x" * 100, cut=10)
    server.script("/", cut)
    server.always("/cut", cut)
    with client(server.origin) as http:
        assert http.get(server.origin, max_bytes=10).body == b"hello"
    assert refusal(client(server.origin), f"{server.origin}/cut") == f"{server.origin}/cut: the connection broke off"


def test_body_is_bounded_as_it_comes_out_of_the_decoder(server: WebServer) -> None:
    """100 MiB of zeros in 100 kB are stopped at the limit, without having been held in memory."""
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    server.always("/", Answer(headers={"Content-Encoding": "gzip"}, body=bomb))
    server.always("/small", Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"x" * 2000)))
    server.always("/bad", Answer(headers={"Content-Encoding": "gzip"}, body=b"no gzip"))
    assert refusal(client(server.origin), server.origin) == f"{server.origin}/: more than 1000 bytes"
    with client(server.origin) as http:
        assert http.get(f"{server.origin}/small", max_bytes=2000).body == b"x" * 2000
    assert refusal(client(server.origin), f"{server.origin}/bad") == (
        f"{server.origin}/bad: the body is not in the encoding that its headers name"
    )


def test_nobody_there() -> None:
    """A closed port and an unknown name are told apart."""
    with WebServer() as gone:
        pass
    unknown = HttpClient(allowed=["http://x.invalid"], user_agent="t", retries=0, resolve=lambda *_: ())
    assert [refusal(client(gone.origin, retries=0), gone.origin), refusal(unknown, "http://x.invalid/")] == [
        f"{gone.origin}: no connection (Connection refused)",
        "x.invalid: no address is known for this name",
    ]


def test_stream_gives_pieces_and_breaks_with_an_error(server: WebServer) -> None:
    """What comes is passed on at once; when the rest doesn't come, iterating fails."""
    server.always("/cut", Answer(body=b"x" * 1000, cut=600))
    with client(server.origin) as http:
        with http.stream(server.origin, max_bytes=10) as whole:
            assert (whole.status, b"".join(whole.chunks)) == (200, b"hello")
        with http.stream(f"{server.origin}/cut", max_bytes=5000) as broken:
            assert next(broken.chunks) == b"x" * 600
            with pytest.raises(UpstreamError, match=r"/cut: the connection broke off$"):
                next(broken.chunks)


def test_many_are_read_side_by_side(server: WebServer) -> None:
    """Every request gets its own answer."""
    requests = [Request(url=f"{server.origin}/{n}") for n in range(40)]
    with client(server.origin) as http:
        found = {request.url: response.headers["X-Path"] for request, response in http.get_many(requests, max_bytes=10)}
    assert found == {f"{server.origin}/{n}": f"/{n}" for n in range(40)}


def test_first_failure_ends_the_rest_at_once(server: WebServer) -> None:
    """One request fails while others hang: nobody waits for them."""
    server.always("/bad", Answer(body=b"x" * 100))
    for n in range(3):
        server.always(f"/{n}", Answer(hang=True))
    requests = [Request(url=f"{server.origin}/{name}") for name in ("0", "1", "2", "bad")]
    began = time.monotonic()
    with client(server.origin, timeout=30) as http, pytest.raises(UpstreamError, match="more than 10 bytes"):
        list(http.get_many(requests, max_bytes=10))
    assert time.monotonic() - began < 3


def test_interrupt_stops_a_run_within_a_second(server: WebServer) -> None:
    """Ctrl-C while 4 requests hang ends the process, traceback and all, without waiting for the timeout."""
    server.always("/", Answer(hang=True))
    script = (
        "from quarantine.io.http import *\n"
        f"http = HttpClient(allowed=['{server.origin}'], user_agent='t', timeout_seconds=60)\n"
        f"list(http.get_many([Request(url='{server.origin}/')] * 4, max_bytes=1))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    while len(server.asked) < 4:
        time.sleep(0.02)
    began = time.monotonic()
    child.send_signal(2)
    _, said = child.communicate(timeout=30)
    assert (b"KeyboardInterrupt" in said, time.monotonic() - began < 2) == (True, True)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context, and the file with its self-signed certificate."""
    key, pem = folder / "key.pem", folder / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(pem)]
    try:
        subprocess.run(["openssl", "req", "-x509", *kind, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is missing: apt-get install openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context, pem


def test_tls_is_verified_against_the_system_and_for_the_right_host(tmp_path: Path) -> None:
    """An unknown authority is refused; one from SSL_CERT_FILE holds for its own name and no other."""
    context, pem = certificate(tmp_path, "index.example")
    with WebServer(hello, tls=context) as server:
        names = [f"https://{host}:{server.port}" for host in ("index.example", "other.example")]
        here = (ip_address("127.0.0.1"),)
        http = HttpClient(allowed=names, user_agent="t", retries=0, resolve=lambda *_: here)
        refused = refusal(http, f"{names[0]}/")
        script = (
            "from ipaddress import ip_address\nfrom quarantine.io.http import *\n"
            f"http = HttpClient(allowed={names}, user_agent='t', retries=0, "
            "resolve=lambda *_: (ip_address('127.0.0.1'),))\n"
            f"for name in {names}:\n"
            "    try: print(http.get(name, max_bytes=9).body)\n"
            "    except Exception as error: print(error)\n"
        )
        environment = {"SSL_CERT_FILE": str(pem), "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
        )
    assert refused == f"{names[0]}: no trusted TLS connection (self-signed certificate)"
    assert done.stdout.splitlines() == [
        "b'hello'",
        f"{names[1]}: no trusted TLS connection (Hostname mismatch, certificate is not valid for 'other.example'.)",
    ]


def test_no_way_back_from_https_to_http(tmp_path: Path, server: WebServer) -> None:
    """A redirect that drops TLS is refused, also between configured origins."""
    context, pem = certificate(tmp_path, "index.example")
    with WebServer(lambda _: Answer(status=302, headers={"Location": server.origin}), tls=context) as secure:
        origin = f"https://index.example:{secure.port}"
        script = (
            "from ipaddress import ip_address\nfrom quarantine.io.http import *\n"
            f"http = HttpClient(allowed=['{origin}', '{server.origin}'], user_agent='t', retries=0, "
            "resolve=lambda *_: (ip_address('127.0.0.1'),))\n"
            f"try: http.get('{origin}/a', max_bytes=9)\nexcept Exception as error: print(error)\n"
        )
        environment = {"SSL_CERT_FILE": str(pem), "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
        )
    assert (done.stdout.strip(), server.asked) == (f"{origin}/a redirects from https to http: refused", [])


def test_proxy_gets_the_whole_url_and_its_exceptions_do_not(server: WebServer) -> None:
    """Requests go through the proxy of their scheme, with its login, unless the host is excepted."""
    with WebServer(hello) as proxy:
        proxies = {"http": f"http://user:{SECRET}@127.0.0.1:{proxy.port}", "no": ".internal.example, other.example"}
        names = ["http://index.example:81", f"http://a.internal.example:{server.port}"]
        here = (ip_address("127.0.0.1"),)
        with HttpClient(allowed=names, user_agent="t", retries=0, proxies=proxies, resolve=lambda *_: here) as http:
            bodies = [http.get(f"{name}/x", max_bytes=10).body for name in names]
    assert (bodies, proxy.paths(), server.paths()) == ([b"hello"] * 2, ["http://index.example:81/x"], ["/x"])
    logins = [asked.headers["Proxy-Authorization"] for asked in proxy.asked + server.asked]
    assert logins == ["Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode(), None]


def test_retrying_ends_when_the_run_is_over(server: WebServer) -> None:
    """A worker that nobody waits for any more doesn't ask again."""
    server.always("/", Answer(status=503))
    stop = threading.Event()
    stop.set()
    with client(server.origin, retries=50) as http, pytest.raises(UpstreamError):
        http.get(server.origin, max_bytes=10, stop=stop)
    assert len(server.asked) == 1
