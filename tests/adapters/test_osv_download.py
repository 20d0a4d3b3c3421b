"""The advisory database over HTTP: conditional, resumed, and never half."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from osv_records import before, bundle
from servers import Answer, WebServer

from quarantine.adapters.osv import OsvDatabase, SyncReport, sync
from quarantine.errors import UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Package, parse_name, parse_version

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SERVED = datetime(2026, 11, 23, 6, tzinfo=UTC)
LAST_MODIFIED = "Mon, 23 Nov 2026 06:00:00 GMT"
ETAG = '"v1"'
BODY = bundle(*(before(f"CVE-{n}", "a", f"{n}.0") for n in range(1, 400)))
PATH = "/PyPI/all.zip"
WHOLE = Answer(headers={"ETag": ETAG, "Last-Modified": LAST_MODIFIED}, body=BODY)
CUT = Answer(headers={"ETag": ETAG, "Last-Modified": LAST_MODIFIED}, body=BODY, cut=10_000)


def _rest(start: int, etag: str = ETAG, body: bytes = BODY) -> Answer:
    headers = {"ETag": etag, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
    return Answer(status=206, headers=headers, body=body[start:])


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "store" / "advisories.sqlite"


@pytest.fixture
def fetch(server: WebServer, database: Path) -> Callable[..., SyncReport]:
    def run(path: str = PATH, told: list[str] | None = None) -> SyncReport:
        tell = (lambda _: None) if told is None else told.append
        with HttpClient(allowed=[server.origin], user_agent="tests", retries=0, timeout_seconds=5) as http:
            return sync(f"{server.origin}{path}", database, http, tell, NOW)

    return run


def _asked(server: WebServer) -> list[dict[str, str]]:
    """What mattered in each request."""
    names = ("If-None-Match", "If-Modified-Since", "Range", "If-Range")
    return [{name: asked.headers[name] for name in names if name in asked.headers} for asked in server.asked]


def _files(database: Path) -> list[str]:
    return sorted(path.name.removeprefix(database.name) for path in database.parent.iterdir())


def _known(database: Path) -> int:
    package = Package(parse_name("a"), parse_version("0.1"))
    return len(OsvDatabase(database).findings([package], lambda _: None)[package])


def test_an_export_is_fetched_as_of_its_last_change(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """The server's Last-Modified is the age; the signature in a URL stands nowhere."""
    server.always(f"{PATH}?sig=secret", WHOLE)
    told: list[str] = []

    report = fetch(f"{PATH}?sig=secret", told)

    assert (report.source, report.changed, report.snapshot.as_of) == (f"{server.origin}{PATH}", True, SERVED)
    assert (_known(database), _files(database)) == (399, ["", ".lock"])
    assert told == [f"asking {server.origin}{PATH}", f"reading {server.origin}{PATH}: 0 records"]
    assert b"secret" not in database.read_bytes()
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_an_unchanged_export_is_not_fetched_again(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """The database stays, with the age it had."""
    server.script(PATH, WHOLE, Answer(status=304, headers={"ETag": ETAG}))
    first = fetch()
    kept = database.read_bytes()

    second = fetch()

    assert _asked(server) == [{}, {"If-None-Match": ETAG}]
    assert (second.changed, second.snapshot, second.source) == (False, first.snapshot, first.source)
    assert database.read_bytes() == kept


def test_without_an_entity_tag_the_date_is_offered(server: WebServer, fetch: Callable[..., SyncReport]) -> None:
    """And without either the export is fetched again."""
    dated = Answer(headers={"Last-Modified": LAST_MODIFIED}, body=BODY)
    server.script(PATH, Answer(body=BODY), dated, dated)

    reports = [fetch() for _ in range(3)]

    assert _asked(server) == [{}, {}, {"If-Modified-Since": LAST_MODIFIED}]
    assert [report.changed for report in reports] == [True, True, True]


def test_another_url_is_asked_without_condition(server: WebServer, fetch: Callable[..., SyncReport]) -> None:
    """What one server calls its bytes means nothing to another."""
    server.always(PATH, WHOLE)
    server.always("/other.zip", WHOLE)

    fetch()
    fetch("/other.zip")

    assert _asked(server) == [{}, {}]


def test_a_download_that_broke_off_is_gone_on_with(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """Only the rest is asked for, on condition that the bytes are still the same."""
    server.script(PATH, CUT, _rest(10_000))

    with pytest.raises(UpstreamError, match="the connection broke off"):
        fetch()
    assert _files(database) == [".download.part", ".download.part.json", ".lock"]
    fetch()

    assert _asked(server) == [{}, {"Range": "bytes=10000-", "If-Range": ETAG}]
    assert (_known(database), _files(database)) == (399, ["", ".lock"])


def test_a_resumed_download_is_conditional_too(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """When the export turns out to be the one that is known, the part is thrown away."""
    changed = Answer(headers={"ETag": '"v2"'}, body=BODY, cut=10_000)
    server.script(PATH, WHOLE, changed, Answer(status=304))
    fetch()
    with pytest.raises(UpstreamError):
        fetch()

    report = fetch()

    assert _asked(server)[2] == {"If-None-Match": ETAG, "Range": "bytes=10000-", "If-Range": '"v2"'}
    assert (report.changed, _files(database)) == (False, ["", ".lock"])


def test_a_changed_export_starts_from_the_beginning(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """The server answers with the whole (RFC 9110, 13.1.5), which replaces what there was."""
    server.script(PATH, CUT, Answer(headers={"ETag": '"v2"'}, body=BODY))

    with pytest.raises(UpstreamError):
        fetch()
    fetch()

    assert (_known(database), _files(database)) == (399, ["", ".lock"])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=416, headers={"Content-Range": f"bytes */{len(BODY)}"}),
        _rest(9_000),
        _rest(10_000, etag='"v2"'),
        Answer(status=206, headers={"ETag": ETAG}, body=BODY[10_000:]),
        Answer(status=206, headers={"Content-Range": "bytes 10000-x/y"}, body=BODY[10_000:]),
    ],
    ids=["416", "another place", "other bytes", "no place", "odd place"],
)
def test_an_answer_that_does_not_go_on_starts_over(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport], answer: Answer
) -> None:
    """The part is dropped and the whole is asked for, at once."""
    server.script(PATH, CUT, answer, WHOLE)

    with pytest.raises(UpstreamError):
        fetch()
    fetch()

    assert _asked(server)[2] == {}
    assert (_known(database), _files(database)) == (399, ["", ".lock"])


@pytest.mark.parametrize("etag", ['W/"v1"', ""], ids=["weak", "none"])
def test_bytes_without_a_strong_name_are_not_gone_on_with(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport], etag: str
) -> None:
    """A weak entity tag does not promise the same bytes (RFC 9110, 8.8.1)."""
    named = {"ETag": etag} if etag else {}
    server.script(PATH, Answer(headers=named, body=BODY, cut=10_000), WHOLE)

    with pytest.raises(UpstreamError):
        fetch()
    fetch()

    assert _asked(server) == [{}, {}]
    assert _known(database) == 399


def test_a_part_of_another_url_is_not_gone_on_with(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """It is dropped."""
    server.script(PATH, CUT)
    server.always("/other.zip", WHOLE)

    with pytest.raises(UpstreamError):
        fetch()
    fetch("/other.zip")

    assert _asked(server) == [{}, {}]
    assert _known(database) == 399


def test_a_rest_that_is_short_is_kept_for_the_next_time(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """The size in Content-Range is held against what came."""
    short = Answer(
        status=206,
        headers={"ETag": ETAG, "Content-Range": f"bytes 10000-19999/{len(BODY)}"},
        body=BODY[10_000:20_000],
    )
    server.script(PATH, CUT, short, _rest(20_000))

    with pytest.raises(UpstreamError):
        fetch()
    with pytest.raises(UpstreamError) as caught:
        fetch()
    fetch()

    assert str(caught.value) == (
        f"{server.origin}{PATH}: 20000 bytes came, expected {len(BODY)}: run it again to go on from there"
    )
    assert _asked(server)[2]["Range"] == "bytes=20000-"
    assert _known(database) == 399


def test_a_resumed_file_that_makes_no_zip_is_thrown_away(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport]
) -> None:
    """A server that sent the rest of something else: an error, and the next run starts afresh."""
    other = bytes(len(BODY))
    server.script(PATH, CUT, _rest(10_000, body=other), WHOLE)

    with pytest.raises(UpstreamError, match="the connection broke off"):
        fetch()
    with pytest.raises(UpstreamError, match="the zip is damaged"):
        fetch()
    assert _files(database) == [".lock"]
    fetch()

    assert _known(database) == 399


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=404), "answered 404, expected 200"),
        (Answer(status=206, headers={"Content-Range": "bytes 0-4/5"}, body=b"12345"), "answered 206, expected 200"),
        (Answer(status=304), "answered 304, expected 200"),
        (Answer(body=b"<html>please log in</html>"), "the zip is damaged (File is not a zip file)"),
        (Answer(body=BODY[: len(BODY) // 2]), "the zip is damaged (File is not a zip file)"),
        (Answer(body=bundle()), "no advisory record in it: the database stays as it is"),
        (Answer(status=503), "answered 503"),
    ],
)
def test_a_bad_answer_replaces_nothing(
    server: WebServer, database: Path, fetch: Callable[..., SyncReport], answer: Answer, message: str
) -> None:
    """One clear error, which names the source."""
    server.script(PATH, WHOLE)
    fetch()
    kept = database.read_bytes()
    server.always("/other.zip", answer)

    with pytest.raises(UpstreamError) as caught:
        fetch("/other.zip")

    assert str(caught.value) == f"{server.origin}/other.zip{' ' if message.startswith('answered 5') else ': '}{message}"
    assert (database.read_bytes(), _files(database)) == (kept, ["", ".lock"])


@pytest.mark.parametrize(
    ("last_modified", "as_of"),
    [
        ("Wed, 01 Jan 2098 00:00:00 GMT", NOW),
        ("yesterday", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("Mon, 23 Nov 2026 06:00:00 -0000", datetime(2026, 11, 20, 8, tzinfo=UTC)),
    ],
)
def test_a_last_change_that_cannot_be_true_makes_nothing_fresher(
    server: WebServer, fetch: Callable[..., SyncReport], last_modified: str, as_of: datetime
) -> None:
    """At most now; without a date that can be read, the newest record's."""
    server.always(PATH, Answer(headers={"Last-Modified": last_modified}, body=BODY))

    assert fetch().snapshot.as_of == as_of


def test_progress_is_told(server: WebServer, fetch: Callable[..., SyncReport]) -> None:
    """A line for about every MiB, with the size where the server gives it."""
    noise = Random(1).randbytes(1_300_000).hex()  # noqa: S311  # bytes that don't compress below 1.3 MB
    body = bundle(before("CVE-1", "a", "1", details=noise))
    server.always(PATH, Answer(body=body))
    told: list[str] = []

    fetch(PATH, told)

    (line,) = [text for text in told if text.startswith("downloading")]
    assert line.endswith(f" of {len(body) / 2**20:.1f} MiB")
    assert told.index(line) == 1


def test_other_hosts_are_not_asked(server: WebServer, database: Path) -> None:
    """The client that is given decides where a request may go."""
    with (
        HttpClient(allowed=["https://example.org"], user_agent="tests") as http,
        pytest.raises(UpstreamError, match="is no configured upstream: a request to it is refused"),
    ):
        sync(f"{server.origin}{PATH}", database, http, lambda _: None, NOW)

    assert server.asked == []
