"""Whole files of upstreams, against loopback servers: bounded, held to size and digest, and asked for where they may lie."""

import base64
import gzip
import hashlib
import io
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

import pytest
from servers import Answer, WebServer

from quarantine.adapters.downloads import MAX_PROVENANCE_BYTES, Downloads
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.guard import Address
from quarantine.io.http import HttpClient
from quarantine.model import Digest, Ecosystem, PackageFile
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream

NAME = "core-1.0-py3-none-any.whl"
DATA = b"bytes of a wheel " * 40_000
LIMIT = 10 * 1024 * 1024
LOGIN = f"Basic {base64.b64encode(b'ann:s3cr3t-canary').decode()}"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        running.always("/files/core.whl", Answer(body=DATA))
        yield running


@pytest.fixture
def elsewhere() -> Iterator[WebServer]:
    with WebServer() as running:
        running.always("/core.whl", Answer(body=DATA))
        yield running


def quiet(_: str) -> None:
    """Tells nobody."""


def downloads(
    server: WebServer,
    *others: WebServer,
    kind: Ecosystem = Ecosystem.PYPI,
    logins: Mapping[str, tuple[str, str]] | None = None,
) -> Downloads:
    """Fetches from one upstream called `repo`; `others` are hosts that the client may ask beside it."""
    upstream = Upstream(name="repo", type=kind, url=f"{server.origin}/simple", mode=Mode.OPEN)
    allowed = [server.origin, *(other.origin for other in others)]
    return Downloads(
        upstreams=[upstream],
        urls=lambda one: one.url or "",
        http=lambda: HttpClient(
            allowed=allowed, user_agent="quarantine/tests", retries=1, backoff_seconds=0.01, timeout_seconds=5
        ),
        logins=logins or {},
    )


def listed(url: str, *, data: bytes | None = DATA, size: int | None = len(DATA)) -> PackageFile:
    """What an upstream lists: a file with the digest of these bytes, none for None."""
    digest = None if data is None else Digest.sha256(hashlib.sha256(data).hexdigest())
    return PackageFile(filename=NAME, digest=digest, size=size, upload_time=None, url=url)


def refused(
    source: Downloads, file: PackageFile, error: type[Exception], *, upstream: str = "repo", limit: int = LIMIT
) -> str:
    with pytest.raises(error) as caught:
        source.fetch(upstream, file, io.BytesIO(), limit, quiet)
    return str(caught.value)


def test_a_file_comes_whole(server: WebServer) -> None:
    """Its bytes, and how many they are; without a size in the list the limit alone bounds it."""
    for size in (len(DATA), None):
        to = io.BytesIO()

        came = downloads(server).fetch("repo", listed(f"{server.origin}/files/core.whl", size=size), to, LIMIT, quiet)

        assert (came, to.getvalue()) == (len(DATA), DATA)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"
    assert server.asked[0].headers["Authorization"] is None


def test_what_is_fetched_is_said_as_it_comes(server: WebServer) -> None:
    """Every few MiB, so that a large file isn't silent."""
    large = bytes(9 * 1024 * 1024)
    server.always("/files/core.whl", Answer(body=large))
    told: list[str] = []

    downloads(server).fetch(
        "repo", listed(f"{server.origin}/files/core.whl", data=large, size=None), io.BytesIO(), LIMIT, told.append
    )

    assert len(told) == 2
    assert all(line.startswith(f"fetching {NAME}: ") for line in told)


@pytest.mark.parametrize(
    ("body", "size", "message"),
    [
        (DATA + b"x", len(DATA), f"{NAME} has more than the {len(DATA)} bytes that it may have"),
        (DATA * 3, len(DATA), f"{NAME} has more than the {len(DATA)} bytes that it may have"),
        (DATA[:-1], len(DATA), f"{NAME}: {len(DATA) - 1} bytes came, repo lists {len(DATA)}"),
        (b"", len(DATA), f"{NAME}: 0 bytes came, repo lists {len(DATA)}"),
        (DATA[:-1] + b"x", len(DATA), f"{NAME}: its bytes don't have the sha256 that repo lists for it"),
        (DATA[:-1], None, f"{NAME}: its bytes don't have the sha256 that repo lists for it"),
        (bytes(LIMIT + 1), None, f"{NAME} has more than the {LIMIT} bytes that it may have"),
        (bytes(LIMIT * 2), None, f"{NAME} has more than the {LIMIT} bytes that it may have"),
    ],
    ids=["one-more", "thrice", "one-less", "nothing", "others", "shorter-unsized", "limit-and-one", "limit-twice"],
)
def test_other_bytes_than_listed_are_refused(server: WebServer, body: bytes, size: int | None, message: str) -> None:
    """Longer, shorter, others, and as many as one likes: the bytes are to blame, not the network."""
    server.always("/files/core.whl", Answer(body=body))

    assert refused(downloads(server), listed(f"{server.origin}/files/core.whl", size=size), IntegrityError) == message


def test_what_never_ends_ends_at_the_limit(server: WebServer) -> None:
    """A server that promises a terabyte is hung up on after what the file may have, and little more was written."""
    server.always(
        "/files/core.whl", Answer(headers={"Content-Length": str(2**40)}, body=bytes(2 * LIMIT), cut=2 * LIMIT)
    )
    to = io.BytesIO()

    with pytest.raises(IntegrityError) as caught:
        downloads(server).fetch("repo", listed(f"{server.origin}/files/core.whl"), to, LIMIT, quiet)

    assert str(caught.value) == f"{NAME} has more than the {len(DATA)} bytes that it may have"
    assert len(to.getvalue()) <= len(DATA)


def test_a_packed_answer_counts_unpacked(server: WebServer) -> None:
    """A server that packs though it was asked not to: what leaves the decoder is counted, and is held to the digest."""
    url = f"{server.origin}/files/core.whl"
    server.always("/files/core.whl", Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(2**28), 1)))

    assert refused(downloads(server), listed(url), IntegrityError) == (
        f"{NAME} has more than the {len(DATA)} bytes that it may have"
    )


def test_a_connection_that_breaks_off_is_no_answer(server: WebServer) -> None:
    """Nobody knows then what the bytes would have been: another run may have them."""
    server.always("/files/core.whl", Answer(body=DATA, cut=1000))

    said = refused(downloads(server), listed(f"{server.origin}/files/core.whl"), UpstreamError)

    assert said == f"{server.origin}/files/core.whl: the connection broke off"


@pytest.mark.parametrize("status", [204, 206, 401, 404, 410, 418])
def test_any_other_status_is_no_file(server: WebServer, status: int) -> None:
    """Whatever its body is: what an upstream lists and doesn't serve can't be had."""
    server.always("/files/core.whl", Answer(status=status, body=b"" if status == 204 else DATA))

    said = refused(downloads(server), listed(f"{server.origin}/files/core.whl"), UpstreamError)

    assert said == f"repo answered {status} for {NAME}: expected the file"


def test_nothing_is_asked_for_a_file_that_cant_be_held_to_anything(server: WebServer) -> None:
    """No digest, a size beyond the limit, an upstream that the policy doesn't have."""
    url, source = f"{server.origin}/files/core.whl", downloads(server)

    said = [
        refused(source, listed(url, data=None), IntegrityError),
        refused(source, listed(url), IntegrityError, limit=len(DATA) - 1),
        refused(source, listed(url), UpstreamError, upstream="nobody"),
    ]

    assert said == [
        f"{NAME}: repo gives no sha256 for it, so nothing can be held to one",
        f"{NAME} has {len(DATA)} bytes, at most {len(DATA) - 1} are fetched",
        "nobody is no upstream of the policy: nothing is fetched from it",
    ]
    assert server.asked == []


# --- where files may lie, and who gets a login ------------------------------------------------------------------------


def test_a_login_goes_to_the_upstreams_own_origin_alone(server: WebServer, elsewhere: WebServer) -> None:
    """An index may keep its files on another host, which learns nothing of who asks."""
    source = downloads(server, elsewhere, logins={"repo": ("ann", "s3cr3t-canary")})

    for url in (f"{server.origin}/files/core.whl", f"{elsewhere.origin}/core.whl"):
        to = io.BytesIO()
        source.fetch("repo", listed(url), to, LIMIT, quiet)
        assert to.getvalue() == DATA

    assert [asked.headers["Authorization"] for asked in (*server.asked, *elsewhere.asked)] == [LOGIN, None]


def test_a_redirect_takes_no_login_along(server: WebServer, elsewhere: WebServer) -> None:
    """Also where the other host may be asked."""
    server.always("/files/core.whl", Answer(status=302, headers={"Location": f"{elsewhere.origin}/core.whl"}))
    source = downloads(server, elsewhere, logins={"repo": ("ann", "s3cr3t-canary")})

    source.fetch("repo", listed(f"{server.origin}/files/core.whl"), io.BytesIO(), LIMIT, quiet)

    assert [asked.headers["Authorization"] for asked in (*server.asked, *elsewhere.asked)] == [LOGIN, None]


def test_a_channel_keeps_its_files_on_its_own_host(server: WebServer, elsewhere: WebServer) -> None:
    """A conda index that names another one is lying, or was changed."""
    source = downloads(server, elsewhere, kind=Ecosystem.CONDA)

    said = refused(source, listed(f"{elsewhere.origin}/core.whl"), UpstreamError)

    assert said == f"repo lists a file on {elsewhere.origin}, which is not the channel's own host"
    assert elsewhere.asked == []


@pytest.mark.parametrize("kind", [Ecosystem.PYPI, Ecosystem.CONDA])
@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:9/x", "http://10.0.0.7/x", "http://[fd00:ec2::254]/"]
)  # fmt: skip
def test_no_page_leads_to_a_private_host(server: WebServer, kind: Ecosystem, url: str) -> None:
    """Neither as the address of a file, nor by a redirect, of an index or a channel."""
    server.always("/files/core.whl", Answer(status=302, headers={"Location": url}))
    source = downloads(server, kind=kind)

    direct = refused(source, listed(url), UpstreamError)
    redirected = refused(source, listed(f"{server.origin}/files/core.whl"), UpstreamError)

    expected = "which is not the channel's own host" if kind is Ecosystem.CONDA else ": refused"
    assert direct.endswith(expected)
    assert redirected.endswith("is no configured upstream: a request to it is refused")
    assert server.paths() == ["/files/core.whl"]


def test_a_public_name_that_leads_to_a_metadata_service_is_refused(server: WebServer) -> None:
    """The address counts, not the name that a page gives."""

    def resolve(host: str, _: int) -> tuple[Address, ...]:
        return (ip_address("169.254.169.254" if host == "files.example" else host),)

    upstream = Upstream(name="repo", type=Ecosystem.PYPI, url=f"{server.origin}/simple", mode=Mode.OPEN)
    source = Downloads(
        upstreams=[upstream],
        urls=lambda one: one.url or "",
        http=lambda: HttpClient(allowed=[server.origin], user_agent="t", resolve=resolve),
        logins={},
    )

    assert refused(source, listed("https://files.example/core.whl"), UpstreamError) == (
        "files.example leads to 169.254.169.254, a link-local or metadata address: refused"
    )


# --- provenance -------------------------------------------------------------------------------------------------------


def test_provenance_is_what_the_index_says(server: WebServer) -> None:
    """Its bytes as they are; none where the index has none, or has it no more."""
    server.script("/provenance", Answer(body=b'{"version": 1}'), Answer(status=404), Answer(status=410))
    source, told = downloads(server), list[str]()

    found = [source.provenance("repo", f"{server.origin}/provenance", told.append) for _ in range(3)]

    assert found == [b'{"version": 1}', None, None]
    assert told == ["fetching provenance"] * 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=500), "repo answered 500 for a provenance object: expected one"),
        (Answer(status=403), "repo answered 403 for a provenance object: expected one"),
        (Answer(status=503), "{origin}/provenance answered 503"),
        (
            Answer(body=bytes(MAX_PROVENANCE_BYTES + 1)),
            f"{{origin}}/provenance: more than {MAX_PROVENANCE_BYTES} bytes",
        ),
        (Answer(body=b"{}", headers={"Content-Length": "3"}, cut=2), "{origin}/provenance: the connection broke off"),
        (
            Answer(status=302, headers={"Location": "http://169.254.169.254/"}),
            "http://169.254.169.254 is no configured upstream: a request to it is refused",
        ),
    ],
    ids=["500", "403", "503", "huge", "cut", "redirect"],
)
def test_provenance_that_cant_be_had_is_not_none(server: WebServer, answer: Answer, message: str) -> None:
    """A failure is never read as "it has none"."""
    server.always("/provenance", answer)

    with pytest.raises(UpstreamError) as caught:
        downloads(server).provenance("repo", f"{server.origin}/provenance", quiet)

    assert str(caught.value) == message.format(origin=server.origin)


def test_provenance_elsewhere_gets_no_login(server: WebServer, elsewhere: WebServer) -> None:
    """As a file gets none."""
    elsewhere.always("/provenance", Answer(body=b"{}"))
    source = downloads(server, elsewhere, logins={"repo": ("ann", "s3cr3t-canary")})

    assert source.provenance("repo", f"{elsewhere.origin}/provenance", quiet) == b"{}"
    assert [asked.headers["Authorization"] for asked in elsewhere.asked] == [None]
