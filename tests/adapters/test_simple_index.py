"""The project pages over HTTP: reading, owning, caching, and everything that can be wrong with a page."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from servers import HTML, JSON, Answer, IndexServer

from quarantine.adapters.simple_index import SimpleIndex
from quarantine.archive.pages import parse_page
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Artifact, Digest, Ecosystem, IndexPage, parse_name, parse_version
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACME = parse_name("acme")
SECRET = "s3cr3t-canary"
Make = Callable[..., SimpleIndex]


def quiet(_: str) -> None:
    """Nobody is told."""


@pytest.fixture
def server() -> Iterator[IndexServer]:
    with IndexServer() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, server: IndexServer) -> Iterator[Make]:
    """Makes an index over servers ("private" is the second), all with one cache."""
    clients: list[HttpClient] = []

    def index(
        *servers: IndexServer,
        now: datetime = NOW,
        offline: bool = False,
        logins: Mapping[str, tuple[str, str]] | None = None,
        reserved: Mapping[str, str] | None = None,
        tell_url: bool = True,
    ) -> SimpleIndex:
        used = servers or (server,)
        names = ("first", "private", "third")
        upstreams = [
            Upstream(name=name, type=Ecosystem.PYPI, url=one.url if tell_url else None, mode=Mode.OPEN)
            for name, one in zip(names, used, strict=False)
        ]
        http = HttpClient(
            allowed=[one.origin for one in used], user_agent="tests", timeout_seconds=2, retries=0, backoff_seconds=0.01
        )
        clients.append(http)
        return SimpleIndex(
            upstreams=[Upstream(name="conda", type=Ecosystem.CONDA, url=None, mode=Mode.OPEN), *upstreams],
            reserved=dict(reserved or {}).get,
            http=lambda: http,
            cache_dir=tmp_path / "cache",
            now=now,
            default_url=lambda: used[0].url,
            logins=logins or {},
            offline=offline,
        )

    yield index
    for client in clients:
        client.close()


def page_of(index: SimpleIndex, name: str = "acme") -> IndexPage:
    page = index.pages([parse_name(name)], quiet)[parse_name(name)]
    assert page is not None
    return page


def failure(index: SimpleIndex) -> str:
    with pytest.raises(UpstreamError) as caught:
        index.pages([ACME], quiet)
    return str(caught.value)


def test_file_of_a_json_page_whole(server: IndexServer, make: Make) -> None:
    """Everything that PEP 691 and 700 say of a file, and the project's status (PEP 792)."""
    served = server.add("acme", "1.0", requires_python=">=3.9", upload_time="2024-05-06T07:08:09.101112Z", yanked="why")
    server.statuses["acme"] = "archived"
    assert served.metadata is not None
    assert page_of(make()) == IndexPage(
        upstream="first",
        name=ACME,
        status="archived",
        artifacts=[
            Artifact(
                name=ACME,
                version=parse_version("1.0"),
                filename="acme-1.0-py3-none-any.whl",
                digest=Digest.sha256(served.sha256),
                size=len(served.data),
                upload_time=datetime(2024, 5, 6, 7, 8, 9, 101112, tzinfo=UTC),
                yanked="why",
                url=f"{server.origin}/files/acme-1.0-py3-none-any.whl",
                requires_python=SpecifierSet(">=3.9"),
                metadata_digest=Digest.sha256(hashlib.sha256(served.metadata).hexdigest()),
                has_metadata=True,
                tags=frozenset({Tag("py3", "none", "any")}),
            )
        ],
    )


def test_file_of_an_html_page_whole(make: Make) -> None:
    """Everything that PEP 503 says of a file; size and upload time are unknown there, not guessed."""
    with IndexServer(as_html=True) as server:
        served = server.add("acme", "1.0", requires_python=">=3.9", yanked=True)
        server.statuses["acme"] = "quarantined"
        page = page_of(make(server))
    assert served.metadata is not None
    assert page == IndexPage(
        upstream="first",
        name=ACME,
        status="quarantined",
        artifacts=[
            Artifact(
                name=ACME,
                version=parse_version("1.0"),
                filename="acme-1.0-py3-none-any.whl",
                digest=Digest.sha256(served.sha256),
                size=None,
                upload_time=None,
                yanked="",
                url=f"{server.origin}/files/acme-1.0-py3-none-any.whl",
                requires_python=SpecifierSet(">=3.9"),
                metadata_digest=Digest.sha256(hashlib.sha256(served.metadata).hexdigest()),
                has_metadata=True,
                tags=frozenset({Tag("py3", "none", "any")}),
            )
        ],
    )


def test_upstream_without_url_has_the_default(server: IndexServer, make: Make) -> None:
    """Its address is what `default_url` says."""
    server.add("acme", "1.0")
    assert page_of(make(tell_url=False)).versions() == (parse_version("1.0"),)


def test_page_counts_for_ten_minutes(server: IndexServer, make: Make) -> None:
    """Within them nothing is asked, after them it is, and so it is when the clock went backwards."""
    server.add("acme", "1.0")
    asked = []
    for seconds in (0, 599, 600, 1199, 1200, 0):
        page_of(make(now=NOW + timedelta(seconds=seconds)))
        asked.append(len(server.asked))
    assert asked == [1, 1, 2, 2, 3, 4]


def test_absence_is_remembered_as_long(server: IndexServer, make: Make) -> None:
    """A name that isn't there isn't asked for again within ten minutes."""
    answers = [make(now=NOW + timedelta(seconds=s)).pages([ACME], quiet) for s in (0, 599, 600)]
    assert (answers, len(server.asked)) == ([{ACME: None}] * 3, 2)


def test_unchanged_page_is_not_sent_again(server: IndexServer, make: Make) -> None:
    """With an ETag the server may say 304, and what was known holds for ten minutes more."""
    server.add("acme", "1.0")
    whole = server.page("acme")
    server.script(
        server.page_path("acme"), replace(whole, headers={**whole.headers, "ETag": '"v1"'}), Answer(status=304)
    )
    first, second, third = (page_of(make(now=NOW + timedelta(seconds=s))) for s in (0, 700, 1200))
    sent = [asked.headers["If-None-Match"] for asked in server.asked]
    assert (first == second == third, sent) == (True, [None, '"v1"'])


def test_unasked_304_is_no_answer(server: IndexServer, make: Make) -> None:
    """Without a page in the cache there is nothing that could be unchanged."""
    server.always(server.page_path("acme"), Answer(status=304))
    assert failure(make()) == f"first: {server.url}/acme/ answered 304"


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x93\x01\xc3\xc0", b"\xff" * 1000])
def test_damaged_cache_entry_is_a_miss(server: IndexServer, make: Make, tmp_path: Path, damage: bytes) -> None:
    """What can't be read is asked for again."""
    server.add("acme", "1.0")
    page_of(make())
    (cached,) = (tmp_path / "cache").glob("pages-2/*/acme")
    cached.write_bytes(damage)
    assert (page_of(make()).versions(), len(server.asked)) == ((parse_version("1.0"),), 2)


def test_offline_takes_what_is_cached_and_not_too_old(server: IndexServer, make: Make) -> None:
    """And says what is missing otherwise."""
    server.add("acme", "1.0")
    page_of(make())
    offline = make(now=NOW + timedelta(seconds=599), offline=True)
    later = make(now=NOW + timedelta(seconds=600), offline=True)
    with pytest.raises(UpstreamError) as missing:
        offline.pages([ACME, parse_name("beta")], quiet)
    with pytest.raises(UpstreamError) as old:
        later.pages([ACME], quiet)
    assert page_of(offline).versions() == (parse_version("1.0"),)
    said = "offline: 1 index pages of first are not in the cache, or older than 0.166667 hours ({}): check once without --offline"
    assert [str(caught.value) for caught in (missing, old)] == [said.format("beta"), said.format("acme")]
    assert len(server.asked) == 1


def test_cache_that_others_can_write_is_refused(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """What lies there decides what is installed."""
    server.add("acme", "1.0")
    page_of(make())
    modes = {path.stat().st_mode & 0o777 for path in [tmp_path / "cache", *(tmp_path / "cache").glob("pages-2/*")]}
    (tmp_path / "cache").chmod(0o777)
    said = failure(make())
    assert modes == {0o700}
    assert said == f"the cache folder {tmp_path / 'cache'} can be written by others: make it yours alone (mode 0700)"


def test_cache_that_is_a_link_is_refused(make: Make, tmp_path: Path) -> None:
    """It could lead anywhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    assert failure(make()) == f"the cache folder {tmp_path / 'cache'} is not a folder: remove it, or name another one"


def body(**changes: object) -> Answer:
    page = {"meta": {"api-version": "1.1"}, "name": "acme", "files": [], **changes}
    return Answer(headers={"Content-Type": JSON}, body=json.dumps(page).encode())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=500), "first: {url} answered 500"),
        (Answer(status=401), "first: {url} answered 401: its credentials are missing or wrong"),
        (Answer(status=403), "first: {url} answered 403: its credentials are missing or wrong"),
        (Answer(status=200, body=b"hello"), "the index page of acme is '': expected " + JSON + " or HTML"),
        (
            Answer(headers={"Content-Type": JSON}, body=b"garbage"),
            "the index page of acme can't be read: JSON is malformed: invalid character (byte 0)",
        ),
        (
            Answer(headers={"Content-Type": JSON}, body=b'{"meta": {"api-version": "1.0"}, "name": "acme"}'),
            "the index page of acme can't be read: Object missing required field `files`",
        ),
        (
            body(files=[{"filename": "acme-1.0.tar.gz", "url": "x", "hashes": {"sha256": 7}}]),
            "the index page of acme can't be read: Expected `str`, got `int` - at `$.files[0].hashes[...]`",
        ),
        (
            body(meta={"api-version": "2.0"}),
            "the index page of acme is of version '2.0' of the simple API: expected 1.x",
        ),
        (body(name="beta"), "the index page of acme is one of 'beta'"),
        (
            Answer(headers={"Content-Type": HTML}, body=b'<meta name="pypi:repository-version" content="2.0">'),
            "the index page of acme is of version '2.0' of the simple API: expected 1.x",
        ),
        (Answer(status=503), "{url} answered 503"),
        (Answer(hang=True), "{url}: silent for 2 s"),
        (Answer(body=b"x" * 100, cut=5, headers={"Content-Type": HTML}), "{url}: the connection broke off"),
        (
            Answer(status=302, headers={"Location": "http://127.0.0.1:9/simple/acme/"}),
            "http://127.0.0.1:9 is no configured upstream: a request to it is refused",
        ),
        (
            Answer(status=302, headers={"Location": "http://169.254.169.254/"}),
            "http://169.254.169.254 is no configured upstream: a request to it is refused",
        ),
    ],
)  # fmt: skip
def test_what_is_no_answer_never_passes_the_name_on(server: IndexServer, make: Make, answer: Answer, said: str) -> None:
    """The second upstream has the name, and is not even asked for it."""
    server.always(server.page_path("acme"), answer)
    with IndexServer() as second:
        second.add("acme", "99.0")
        assert failure(make(server, second)) == said.format(url=f"{server.url}/acme/")
        assert second.asked == []


@pytest.mark.parametrize("status", [404, 410])
def test_only_404_and_410_pass_the_name_on(server: IndexServer, make: Make, status: int) -> None:
    """They say that the upstream doesn't have it."""
    server.always(server.page_path("acme"), Answer(status=status))
    with IndexServer() as second:
        second.add("acme", "2.0")
        assert page_of(make(server, second)).upstream == "private"


def test_reserved_name_is_never_asked_for_elsewhere(server: IndexServer, make: Make) -> None:
    """Not even its existence is told to another index."""
    server.add("acme", "99.0")
    with IndexServer() as own:
        assert make(server, own, reserved={"acme": "private"}).pages([ACME], quiet) == {ACME: None}
        assert (server.paths(), own.paths()) == ([], ["/simple/acme/"])


def test_login_goes_to_its_own_upstream_alone(server: IndexServer, make: Make) -> None:
    """Nobody else gets it, and no message has it."""
    with IndexServer(login=("joe", SECRET)) as private:
        private.add("acme", "1.0")
        page = page_of(make(server, private, logins={"private": ("joe", SECRET)}))
        texts = make(server, private, logins={"private": ("joe", SECRET)}).metadata(page.artifacts, quiet)
        said = failure(make(private, server, logins={"first": ("joe", SECRET + "x")}, now=NOW + timedelta(days=1)))
    assert (page.upstream, list(texts)) == ("private", ["acme-1.0-py3-none-any.whl"])
    assert [asked.headers["Authorization"] for asked in server.asked] == [None]
    assert said == f"first: {private.url}/acme/ answered 401: its credentials are missing or wrong"


@pytest.mark.parametrize(
    "filename",
    [
        "beta-1.0-py3-none-any.whl",
        "acme-1.0.exe",
        "acme-1.0-py3.whl",
        "acme-one-py3-none-any.whl",
        "acme-1.0-py3-none-any.whl.asc",
        "../acme-1.0-py3-none-any.whl",
        "acme-1.0-py3-none-a/y.whl",
        "\u212a-1.0.tar.gz",
        "acme-1.0-py3-none-any\n.whl",
        "acme.tar.gz",
        "",
    ],
)
def test_file_that_is_none_of_the_projects_is_left_out(server: IndexServer, make: Make, filename: str) -> None:
    """A page lists what it likes; only wheels and sdists of its project count."""
    good = {"filename": "acme-1.0.tar.gz", "url": "/a.tar.gz", "hashes": {}}
    server.always(server.page_path("acme"), body(files=[{**good, "filename": filename}, good]))
    assert [artifact.filename for artifact in page_of(make()).artifacts] == ["acme-1.0.tar.gz"]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://u:p@index.example/x", "ftp://index.example/x", "a b", "http://["]
)
def test_file_that_lies_nowhere_is_left_out(server: IndexServer, make: Make, url: str) -> None:
    """A file whose address nobody may follow isn't there."""
    server.always(server.page_path("acme"), body(files=[{"filename": "acme-1.0.tar.gz", "url": url, "hashes": {}}]))
    assert page_of(make()).artifacts == ()


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05.678901Z", datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2024-01-02T03:04:05", None),
        ("yesterday", None),
        ("9999-99-99T00:00:00Z", None),
        (None, None),
    ],
)
def test_upload_time_is_the_servers_or_none(
    server: IndexServer, make: Make, told: str | None, known: datetime | None
) -> None:
    """A time without a zone, or none at all, is unknown."""
    file = {"filename": "acme-1.0.tar.gz", "url": "x", "hashes": {"sha256": "zz"}, "upload-time": told, "size": -1}
    server.always(server.page_path("acme"), body(files=[file]))
    (artifact,) = page_of(make()).artifacts
    assert (artifact.upload_time, artifact.digest, artifact.size) == (known, None, None)


@pytest.mark.parametrize(("told", "known"), [(True, ""), ("", ""), ("why", "why"), (False, None)])
def test_yanked_in_each_of_its_forms(server: IndexServer, make: Make, told: object, known: str | None) -> None:
    """PEP 691: false is not yanked, any text is."""
    server.always(
        server.page_path("acme"),
        body(files=[{"filename": "acme-1.0.tar.gz", "url": "x", "hashes": {}, "yanked": told}]),
    )
    (artifact,) = page_of(make()).artifacts
    assert artifact.yanked == known


def test_metadata_is_verified_and_kept(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """It is fetched once, checked each time; what doesn't match its digest stops everything."""
    served = server.add("acme", "1.0")
    artifacts = page_of(make()).artifacts
    found = [make().metadata(artifacts, quiet) for _ in range(2)]
    assert found == [{"acme-1.0-py3-none-any.whl": served.metadata}] * 2
    (cached,) = (tmp_path / "cache").glob("metadata-1/*")
    cached.write_bytes(b"Name: evil\n")
    assert make().metadata(artifacts, quiet) == found[0]
    path = "/files/acme-1.0-py3-none-any.whl.metadata"
    assert server.paths().count(path) == 2
    cached.unlink()
    server.always(path, Answer(body=b"Name: evil\n"))
    with pytest.raises(IntegrityError) as caught:
        make().metadata(artifacts, quiet)
    assert str(caught.value) == f"{server.origin}{path} does not have the digest that the index page gives for it"


@pytest.mark.parametrize(
    ("answer", "said"),
    [(Answer(status=500), " answered 500: expected the metadata of a file"), (Answer(body=bytes(1024 * 1024 + 1)), ": more than 1048576 bytes")],
)  # fmt: skip
def test_metadata_that_cannot_be_had_is_an_error(server: IndexServer, make: Make, answer: Answer, said: str) -> None:
    """Too much of it, too."""
    server.add("acme", "1.0")
    artifacts = page_of(make()).artifacts
    path = "/files/acme-1.0-py3-none-any.whl.metadata"
    server.always(path, answer)
    with pytest.raises(UpstreamError) as caught:
        make().metadata(artifacts, quiet)
    assert str(caught.value) == f"{server.origin}{path}{said}"


def test_metadata_is_not_fetched_from_a_private_host_that_a_page_names(server: IndexServer, make: Make) -> None:
    """A page can't make the client ask hosts of the inner network."""
    file = {"filename": "acme-1.0-py3-none-any.whl", "hashes": {}, "core-metadata": True}
    server.always(
        server.page_path("acme"), body(files=[{**file, "url": "http://127.0.0.1:9/acme-1.0-py3-none-any.whl"}])
    )
    with pytest.raises(UpstreamError) as caught:
        make().metadata(page_of(make()).artifacts, quiet)
    assert str(caught.value) == (
        "127.0.0.1 leads to 127.0.0.1, which is not public, and is no configured upstream: refused"
    )


def test_progress_is_told(server: IndexServer, make: Make) -> None:
    """How many pages have come, of how many."""
    said: list[str] = []
    make().pages([parse_name(f"p{n}") for n in range(3)], said.append)
    assert said == [f"reading index pages: {n} of 3" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "piece", ["<!--", "<a ", "<a b='", '<a href="x', "</a", "<", "<a x=", "<a" + " " * 50, "<a b c d e", "<meta '\""]
)
def test_hostile_html_takes_linear_time(piece: str) -> None:
    """A megabyte of broken tags is read in well under two seconds, and lists nothing."""
    began = time.monotonic()
    page = parse_page(
        ACME, "text/html", "http://index.example/simple/acme/", (piece * (1_000_000 // len(piece))).encode()
    )
    assert (dict(page.files), time.monotonic() - began < 2) == ({}, True)


def test_html_as_it_is_found() -> None:
    """Quotes of both kinds or none, upper case, comments, a base, escapes and links that are no files."""
    text = """<!doctype html><HTML><base href='https://files.example/d/'>
    <!-- <a href="acme-9.0.tar.gz">old</a> -->
    <A data-requires-python="&gt;=3.8" HREF='acme-1.0.tar.gz#sha256=zz'>x</A>
    <a href=acme-2.0.tar.gz>x</a><a href="../up/acme-3.0+l.1.tar.gz?x=1#md5=1" data-yanked>x</a>
    <a href="https://other.example/acme-4.0%2Bl-py3-none-any.whl">x</a><a>y</a><a href="#top">z</a>"""
    page = parse_page(ACME, "text/html", "http://index.example/simple/acme/", text.encode()).of("u")
    assert {(a.url, str(a.version), a.yanked, str(a.requires_python)) for a in page.artifacts} == {
        ("https://files.example/d/acme-1.0.tar.gz", "1.0", None, ">=3.8"),
        ("https://files.example/d/acme-2.0.tar.gz", "2.0", None, "None"),
        ("https://files.example/up/acme-3.0+l.1.tar.gz?x=1", "3.0+l.1", "", "None"),
        ("https://other.example/acme-4.0%2Bl-py3-none-any.whl", "4.0+l", None, "None"),
    }
