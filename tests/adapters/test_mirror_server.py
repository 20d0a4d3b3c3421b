"""The loopback server of the mirror, as clients see it, well-behaved ones and others."""

import http.client
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from fakes_log import MemoryLog
from fakes_store import MemoryStore
from mirror_samples import NOW, Mirror, package, wheel

from quarantine.adapters import mirror_server
from quarantine.adapters.mirror_server import MirrorServer
from quarantine.errors import UpstreamError
from quarantine.mirror.channel import decompress, read_repodata
from quarantine.mirror.simple import JSON_TYPE, read_project, read_root
from quarantine.pipeline.serve import MirrorShelves

INDEX = '{"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}'
ACME = wheel("acme-lib", "1.0")
OTHER = wheel("other")
TOOL = package(b"a conda package", "tool-1-0.conda", INDEX, subdir="linux-64")
# three chunks of the store in memory, and some
BIG = wheel("big", extra=b"\n" + b"x" * 14_000)


@dataclass(frozen=True, kw_only=True)
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(kw_only=True)
class Served:
    """A mirror in memory and its server. `now` is what its clock says; `told` is what it said to a person."""

    mirror: Mirror
    store: MemoryStore
    port: int = 0
    now: datetime = NOW
    told: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET", host: str | None = None, **headers: str) -> Got:
        """Asks for a path; headers have `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return Got(status=answer.status, headers=dict(answer.headers), body=answer.read())
        finally:
            connection.close()

    def file(self, entry: object = ACME) -> str:
        """The path of a wheel."""
        file = getattr(entry, "file", ACME.file)
        return f"/files/{file.sha256}/{file.filename}"


@contextmanager
def serving(*, project: str = "demo") -> Iterator[Served]:
    """A server of what is approved for the project in development."""
    store = MemoryStore()
    served = Served(mirror=Mirror(log=MemoryLog(), store=store, pages=store), store=store)
    shelves = MirrorShelves(
        log=served.mirror.log,
        store=store,
        pages=store,
        policy=lambda _state, _now: served.mirror.policy,
        project=project,
        stage="development",
        local=True,
        now=lambda: served.now,
    )
    with MirrorServer(shelves, 0, served.told.append) as server:
        served.port = server.port
        yield served


@pytest.fixture
def served() -> Iterator[Served]:
    """A server with one published exception: two wheels and a conda package."""
    with serving() as running:
        running.mirror.published(ACME, BIG, TOOL)
        yield running


# --- pages ------------------------------------------------------------------------------------------------------------


def test_an_index_page_is_written_as_the_client_takes_it(served: Served) -> None:
    """JSON for who asks for it, else HTML; an answer says that it depends on that."""
    json = served.get("/simple/acme-lib/", Accept=f"{JSON_TYPE}, text/html;q=0.1")
    html = served.get("/simple/acme-lib/", Accept="text/html")
    neither = served.get("/simple/acme-lib/", Accept="image/png")

    assert (json.status, json.headers["Content-Type"], json.headers["Vary"]) == (200, JSON_TYPE, "Accept")
    assert [file.sha256 for file in read_project("acme-lib", json.body)] == [ACME.file.sha256]
    assert (html.status, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(rb'href="\.\./\.\.(/files/[^"#]+)', html.body) == [served.file().encode()]
    assert (neither.status, neither.body) == (
        406,
        b"an index page is application/vnd.pypi.simple.v1+json or HTML, and the client takes neither\n",
    )


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/simple", "/simple/"),
        ("/simple/acme-lib", "/simple/acme-lib/"),
        ("/simple/Acme.Lib/", "/simple/acme-lib/"),
        ("/simple/Acme_Lib", "/simple/acme-lib/"),
        ("/links", "/links/"),
    ],
)
def test_another_spelling_of_a_path_leads_to_the_one_that_is(served: Served, path: str, location: str) -> None:
    """Installers follow; they ask for the name as the user wrote it."""
    got = served.get(path)

    assert (got.status, got.headers["Location"], got.body) == (301, location, b"")


def test_the_page_of_all_projects_and_the_flat_page_have_what_is_approved(served: Served) -> None:
    """Of this project and stage alone."""
    served.mirror.published(OTHER, project="another")

    assert read_root(served.get("/simple/", Accept=JSON_TYPE).body) == ("acme-lib", "big")
    assert re.findall(rb'href="\.\.(/files/[^"#]+)', served.get("/links/").body) == [
        served.file(ACME).encode(),
        served.file(BIG).encode(),
    ]


def test_conda_s_pages(served: Served) -> None:
    """The platform with the package, packed and not; any other platform is an empty one, so that clients go on."""
    plain = served.get("/conda/linux-64/repodata.json")
    packed = served.get("/conda/linux-64/repodata.json.zst")

    assert plain.headers["Content-Type"] == "application/json"
    assert [record.sha256 for record in read_repodata("linux-64", plain.body).values()] == [TOOL.file.sha256]
    assert decompress(packed.body) == plain.body
    for subdir in ("noarch", "osx-arm64"):
        assert read_repodata(subdir, served.get(f"/conda/{subdir}/repodata.json").body) == {}
    assert served.get("/conda/linux-64/repodata_shards.msgpack.zst").status == 404
    assert served.get("/conda/linux-64/tool-1-0.conda").body == TOOL.data


def test_an_answer_that_is_known_is_not_sent_again(served: Served) -> None:
    """By its entity tag; of a file that is its digest."""
    page = served.get("/simple/")
    again = served.get("/simple/", If_None_Match=f'"x", W/{page.headers["ETag"]}')
    file = served.get(served.file(), If_None_Match=f'"sha256:{ACME.file.sha256}"')

    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", page.headers["ETag"])
    assert (file.status, file.body) == (304, b"")


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_and_its_metadata(served: Served) -> None:
    """With length, tag and the time when it was published; kept answers must be asked about again."""
    got = served.get(served.file())
    headers = {
        name: got.headers[name]
        for name in ("Content-Length", "ETag", "Last-Modified", "Accept-Ranges", "Cache-Control")
    }

    assert got.body == ACME.data
    assert headers == {
        "Content-Length": str(len(ACME.data)),
        "ETag": f'"sha256:{ACME.file.sha256}"',
        "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
    }
    assert served.get(f"{served.file()}.metadata").body == ACME.metadata


def test_head_says_what_get_would(served: Served) -> None:
    """Without a body."""
    for path in ("/simple/", served.file()):
        got, head = served.get(path), served.get(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5000-9999", 5000, 10_000),
        ("bytes=8000-", 8000, None),
        ("bytes=-100", -100, None),
        ("bytes=0-99999999", 0, None),
    ],
)
def test_a_range_of_a_file(served: Served, asked: str, start: int, end: int | None) -> None:
    """One range is answered with just that (RFC 9110, section 14)."""
    got = served.get(served.file(BIG), Range=asked)
    expected = BIG.data[start:end]
    first = start % len(BIG.data)

    assert (got.status, got.body) == (206, expected)
    assert got.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(BIG.data)}"


@pytest.mark.parametrize(
    ("asked", "more", "status"),
    [
        ("bytes=999999-", {}, 416),
        ("bytes=5-4", {}, 416),
        ("bytes=0-1,3-4", {}, 200),
        ("items=0-1", {}, 200),
        ("bytes=-", {}, 200),
        ("bytes=0-1", {"If_Range": '"another"'}, 200),
    ],
)
def test_a_range_that_isn_t_one(served: Served, asked: str, more: dict[str, str], status: int) -> None:
    """Beyond the end it is refused; what isn't understood, or is of other bytes, is answered with the whole file."""
    got = served.get(served.file(BIG), Range=asked, **more)

    assert (got.status, got.body) == (status, BIG.data if status == 200 else b"")


@pytest.mark.parametrize("asked", [None, "bytes=0-9", "bytes=8000-"])
def test_wrong_bytes_end_the_connection_before_their_end(served: Served, asked: str | None) -> None:
    """The last chunk never comes, also of a range whose own bytes are right: nobody takes it for whole."""
    served.store.stored["files", BIG.file.digest] = BIG.data[:9000] + b"?" + BIG.data[9001:]

    with pytest.raises(http.client.IncompleteRead):
        served.get(served.file(BIG), **({} if asked is None else {"Range": asked}))

    assert len(served.told) == 1
    assert served.told[0].startswith(f"ended {served.file(BIG)} before its end: ")


# --- what is not served -----------------------------------------------------------------------------------------------


def test_a_file_without_an_exception_that_holds_is_refused_though_its_bytes_are_there(served: Served) -> None:
    """Asked for by its digest; the answer says why, and who serves is told."""
    assert served.get(served.file(OTHER)).status == 404
    exception = served.mirror.published(OTHER)
    assert served.get(served.file(OTHER)).status == 404  # until the log is read again
    served.now += timedelta(seconds=4)
    assert served.get(served.file(OTHER)).status == 200
    served.mirror.revoke(exception, NOW + timedelta(seconds=1))
    served.now += timedelta(seconds=4)
    refused = served.get(served.file(OTHER))

    assert served.store.stored["files", OTHER.file.digest] == OTHER.data
    assert (refused.status, refused.body.decode()) == (
        403,
        (
            f"no exception of project demo in stage development holds for {OTHER.file.filename}: exception {exception[:12]} is "
            "revoked (revoked on 2026-11-23 by bob (local, unverified): looked at)\n"
        ),
    )
    assert served.told == [f"refused {served.file(OTHER)}: {refused.body.decode().strip()}"]
    assert served.get("/simple/other/").status == 404


def test_an_exception_ends_to_the_second(served: Served) -> None:
    """What was read of the log a second ago doesn't make it longer."""
    served.mirror.approve(OTHER, days=1)
    served.mirror.publish(list(served.mirror.state().cases)[-1])
    served.now = NOW + timedelta(days=1) - timedelta(seconds=1)
    before = served.get(served.file(OTHER)).status
    served.now += timedelta(seconds=1)

    assert (before, served.get(served.file(OTHER)).status) == (200, 403)


def test_a_conda_package_that_is_revoked_says_so_as_long_as_it_is_listed(served: Served) -> None:
    """It is gone from the repodata at once; whoever asks for it still is told why."""
    exception = next(iter(served.mirror.state().cases))
    served.mirror.revoke(exception)
    served.now += timedelta(seconds=4)
    refused = served.get("/conda/linux-64/tool-1-0.conda")

    assert read_repodata("linux-64", served.get("/conda/linux-64/repodata.json").body) == {}
    assert (refused.status, refused.body.decode()) == (
        403,
        (
            "no exception of project demo in stage development holds for linux-64/tool-1-0.conda: exception "
            f"{exception[:12]} is revoked (revoked on 2026-11-23 by bob (local, unverified): looked at)\n"
        ),
    )


def test_another_project_has_nothing() -> None:
    """Neither page nor file, though the bytes are there."""
    with serving(project="another") as served:
        served.mirror.published(ACME, TOOL)

        assert served.get(served.file()).status == 404
        assert served.get("/simple/acme-lib/").body == (
            b"no exception of project another in stage development holds for a file of acme-lib\n"
        )
        assert served.get("/conda/linux-64/tool-1-0.conda").status == 404
        assert read_root(served.get("/simple/", Accept=JSON_TYPE).body) == ()


def test_a_page_can_list_nothing_that_no_exception_stands_behind(served: Served) -> None:
    """Somebody who can write pages can't let anything in."""
    served.mirror.approve(OTHER, project="another")
    served.store.put("files", OTHER.data)
    page = served.store.pages["simple/acme-lib/index.json"]
    served.store.pages["simple/acme-lib/index.json"] = page.replace(
        ACME.file.sha256.encode(), OTHER.file.sha256.encode()
    )
    served.now += timedelta(minutes=2)

    assert served.get("/simple/acme-lib/").status == 404
    assert served.get(f"/files/{OTHER.file.sha256}/{ACME.file.filename}").status == 404


def test_what_is_approved_and_not_published_yet_says_so(served: Served) -> None:
    """It is a matter of the next run of the pipeline."""
    served.mirror.approve(OTHER)
    served.now += timedelta(seconds=4)

    assert served.get(served.file(OTHER)).body == (
        f"{OTHER.file.filename} is approved and not published yet: `quarantine exception process` does it\n".encode()
    )


def test_a_log_that_can_t_be_read_serves_nothing(served: Served) -> None:
    """Also what was served a moment ago."""
    log = served.mirror.log
    assert isinstance(log, MemoryLog)
    assert served.get(served.file()).status == 200
    (stream,) = log.streams("log-decisions")
    log.stored[stream] = [line.replace(b"approve", b"APPROVE") for line in log.stored[stream]]
    log.stored[stream] += log.stored[stream]
    served.now += timedelta(seconds=4)

    assert served.get(served.file()).status == 503
    assert served.get("/simple/").status == 503


def test_a_clock_before_the_newest_entry_serves_nothing(served: Served) -> None:
    """Then no expiry can be told."""
    served.now = NOW - timedelta(days=1)
    got = served.get("/simple/")

    assert (got.status, got.body) == (
        503,
        b"the newest entry about exceptions is of 2026-11-23T12:00:00Z, which is yet to come: see whose clock is wrong\n",
    )


# --- hostile clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/files/../../etc/passwd",
        "/files/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/simple/%2e%2e/",
        "//etc/passwd",
        "/files/" + "a" * 64 + "/%00",
        "/files/zz/x.whl",
        "/conda/../repodata.json",
        "/conda/linux-64/",
        "/",
    ],
)
def test_a_path_that_leads_elsewhere_leads_nowhere(served: Served, path: str) -> None:
    """There are no folders behind a path, and no listing of one."""
    assert served.get(path).status == 404


@pytest.mark.parametrize(
    "host", ["", "evil.example.org", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example.org:{port}"]
)
def test_a_host_that_is_not_this_one_is_refused(served: Served, host: str) -> None:
    """A name that was made to lead here (DNS rebinding) would let a page from elsewhere read what this user may."""
    got = served.get("/simple/", host=host.format(port=served.port))

    assert (got.status, got.body) == (421, f"expected to be asked as 127.0.0.1:{served.port}\n".encode())


def test_localhost_is_this_host(served: Served) -> None:
    """In any case."""
    assert served.get("/simple/", host=f"LocalHost:{served.port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(served: Served, method: str) -> None:
    """The mirror is only read."""
    got = served.get("/simple/", method)

    assert (got.status, got.headers["Allow"]) == (405, "GET, HEAD")


def test_a_body_is_refused_and_the_connection_ended(served: Served) -> None:
    """What follows it could be read as another request."""
    got = served.get("/simple/", Content_Length="5")

    assert (got.status, got.headers["Connection"]) == (400, "close")


def test_a_client_that_never_ends_its_request_is_shut_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it sends a byte now and then; others are served meanwhile."""
    monkeypatch.setattr(mirror_server, "REQUEST_SECONDS", 0.6)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as slow:
        slow.sendall(b"GET /simple/ HTTP/1.1\r\n")
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.1):
                try:
                    slow.sendall(b"X")
                except OSError:
                    return

        thread = threading.Thread(target=dribble)
        thread.start()
        assert served.get("/simple/").status == 200
        try:
            ended = slow.recv(1000)
        except ConnectionResetError:
            ended = b""
        stop.set()
        thread.join()

    assert ended == b""


def test_more_clients_than_threads_are_all_served(served: Served) -> None:
    """Those that come later wait until others are gone."""
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(served.get("/simple/").status)) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert got == [200] * 100


def test_it_listens_on_loopback_alone_and_says_when_its_port_is_taken(served: Served) -> None:
    """No other machine can ask it."""
    shelves = MirrorShelves(
        log=served.mirror.log,
        store=served.store,
        pages=served.store,
        policy=lambda _state, _now: served.mirror.policy,
        project="demo",
        stage="development",
        local=True,
        now=lambda: NOW,
    )
    with pytest.raises(UpstreamError) as error:
        MirrorServer(shelves, served.port, served.told.append)

    assert str(error.value) == f"port {served.port} of 127.0.0.1 can't be had: address already in use"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", served.port), timeout=5)
