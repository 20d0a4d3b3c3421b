"""The form of an entry."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from fakes_log import NOON, draft

from quarantine.audit.record import (
    MAX_RECORD_BYTES,
    Draft,
    Entry,
    Json,
    encode_entry,
    evidence_of,
    line_sha256,
    new_id,
    parse_entry,
    parse_stream,
)
from quarantine.errors import IntegrityError

PREV = "ab" * 32
ID = "019aa2f0-0000-7abc-8123-456789abcdef"


def _draft(**changes: object) -> Draft:
    fields: dict[str, object] = {
        "id": ID,
        "source": "//contoso/ml",
        "type": "quarantine.verdict.v1",
        "time": NOON,
        "subject": "pkg:pypi/numpy@2.1.0",
        "data": {"outcome": "denied", "reasons": []},
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]  # a table of wrong values is the point


def test_a_line_is_canonical_json_in_a_cloud_event() -> None:
    """The exact bytes of an entry: keys sorted, no white space, one newline."""
    line = encode_entry(_draft(), seq=41, prev=PREV)

    assert line == (
        b'{"data":{"outcome":"denied","reasons":[]},"id":"019aa2f0-0000-7abc-8123-456789abcdef","qprev":"'
        + PREV.encode()
        + b'","qseq":41,"source":"//contoso/ml","specversion":"1.0","subject":"pkg:pypi/numpy@2.1.0",'
        b'"time":"2026-11-23T12:00:00Z","type":"quarantine.verdict.v1"}\n'
    )


def test_a_line_reads_back() -> None:
    """What was encoded is what is parsed, with the sha256 of the line."""
    line = encode_entry(_draft(), seq=41, prev=PREV)

    assert parse_entry(line) == Entry(
        id=ID,
        source="//contoso/ml",
        type="quarantine.verdict.v1",
        time=NOON,
        subject="pkg:pypi/numpy@2.1.0",
        seq=41,
        prev=PREV,
        data={"outcome": "denied", "reasons": []},
        sha256=line_sha256(line),
    )


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOON, "2026-11-23T12:00:00Z"),
        (NOON + timedelta(microseconds=1200), "2026-11-23T12:00:00.001200Z"),
        (datetime(2026, 11, 23, 13, 0, tzinfo=timezone(timedelta(hours=1))), "2026-11-23T12:00:00Z"),
        (datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), "2024-02-29T23:59:59Z"),
    ],
)
def test_times_are_in_utc(time: datetime, text: str) -> None:
    """One spelling a moment: UTC, "Z", six digits of fraction or none."""
    line = encode_entry(_draft(time=time), seq=0, prev=PREV)

    assert json.loads(line)["time"] == text
    assert parse_entry(line).time == time


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "1"}, "id '1': expected a UUID version 7"),
        ({"id": "019aa2f0-0000-4abc-8123-456789abcdef"}, "expected a UUID version 7"),
        ({"type": "verdict"}, "type 'verdict': expected quarantine.WORD.vNUMBER"),
        ({"type": "quarantine.verdict.v1\n"}, "expected quarantine.WORD.vNUMBER"),
        ({"source": ""}, "source: expected 1 to 512 characters"),
        ({"subject": ""}, "subject: expected 1 to 2048 characters"),
        ({"subject": "x" * 2049}, "subject: expected 1 to 2048 characters"),
        ({"time": datetime(2026, 11, 23)}, "time: expected one with a time zone"),  # noqa: DTZ001 - what is refused
        (
            {"data": {"score": 7.5}},
            "data.score: a float; text, whole numbers, booleans, lists and mappings may be used",
        ),
        ({"data": {"a": [1, {"b": 2**53}]}}, "data.a[1].b: an integer over 2**53 - 1; write it as text"),
        ({"data": {"a": -(2**53)}}, "data.a: an integer over 2**53 - 1; write it as text"),
        ({"data": {1: "a"}}, "data: a key that is not text"),
        ({"data": {"a": ("b",)}}, "data.a: a tuple; text, whole numbers, booleans, lists and mappings may be used"),
        ({"data": {"a": "x" * MAX_RECORD_BYTES}}, "a record of 33052 bytes: at most 32768 fit"),
        ({"data": {"https://a@h": 1, "https://b@h": 2}}, "two keys are 'https://***@h' after redaction"),
    ],
)
def test_what_is_no_entry_is_not_encoded(changes: dict[str, object], message: str) -> None:
    """A draft that is out of form is refused, by name."""
    with pytest.raises(ValueError) as error:
        encode_entry(_draft(**changes), seq=0, prev=PREV)

    assert message in str(error.value)


def test_nesting_is_limited() -> None:
    """Deep data is refused before anything recurses into it."""
    data: dict[str, Json] = {}
    for _ in range(5000):
        data = {"a": data}

    with pytest.raises(ValueError, match="nested deeper than 32"):
        encode_entry(_draft(data=data), seq=0, prev=PREV)


@pytest.mark.parametrize(("seq", "prev"), [(-1, PREV), (2**53, PREV), (True, PREV), (0, "AB" * 32), (0, "ab")])
def test_a_place_has_a_form(seq: int, prev: str) -> None:
    """Sequence numbers are whole and not negative, links are sha256s in lower case."""
    with pytest.raises(ValueError, match=r"^q(seq|prev) "):
        encode_entry(_draft(), seq=seq, prev=prev)


def test_a_name_that_is_not_unicode_is_stored_legibly() -> None:
    """A lone surrogate, as in the name of a file that is not UTF-8, becomes a visible escape."""
    line = encode_entry(_draft(data={"file": "caf\udce9.txt"}), seq=0, prev=PREV)

    assert parse_entry(line).data == {"file": "caf\\udce9.txt"}


_LINE = encode_entry(_draft(data={"n": 1, "t": "ä"}), seq=0, prev=PREV)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "no newline at its end"),
        (_LINE[:-1], "no newline at its end"),
        (b"\n", "input data was truncated"),
        (_LINE + b"\n", "its bytes are not the canonical JSON (RFC 8785) of what they say"),
        (_LINE[:-1] + b"\r\n", "its bytes are not the canonical"),
        (b" " + _LINE, "its bytes are not the canonical"),
        (_LINE.replace(b'"n":1', b'"n":1.0'), "data.n: a float"),
        (_LINE.replace(b'"n":1', b'"n":1e0'), "data.n: a float"),
        (_LINE.replace(b'"n":1', b'"n":-0'), "its bytes are not the canonical"),
        (_LINE.replace(b'"n":1', b'"n":9007199254740992'), "data.n: an integer over 2**53 - 1"),
        (_LINE.replace(b'"n":1', b'"n":1' + b"0" * 400), "data.n: a"),
        (_LINE.replace(b'"n":1', b'"n":1,"n":1'), "its bytes are not the canonical"),
        (_LINE.replace(b'"n":1', b'"n":NaN'), "JSON is malformed"),
        (_LINE.replace(b'"n":1,"t"', b'"t":1,"n"'), "its bytes are not the canonical"),
        (_LINE.replace("ä".encode(), b"\\u00e4"), "its bytes are not the canonical"),
        (_LINE.replace("ä".encode(), b"\xe4"), "a text in it is not UTF-8"),
        (_LINE.replace("ä".encode(), b"\\ud800"), "surrogate pair"),
        (_LINE.replace(b'"n":1', b'"n":' + b"[" * 10_000 + b"]" * 10_000), "nested deeper than 32"),
        (_LINE.replace(b'"n":1', b'"n":' + b"[" * 40 + b"]" * 40), "nested deeper than 32"),
        (_LINE.replace(b'"specversion":"1.0"', b'"specversion":"1.1"'), "specversion '1.1': expected 1.0"),
        (_LINE.replace(b'"qseq":0', b'"qseq":"0"'), "expected `int`, got `str`"),
        (_LINE.replace(b'"qseq":0', b'"qseq":true'), "expected `int`, got `bool`"),
        (_LINE.replace(b'"qseq":0,', b""), "object missing required field `qseq`"),
        (_LINE.replace(b'"qseq":0,', b'"qseq":0,"qsew":0,'), "object contains unknown field `qsew`"),
        (_LINE.replace(b"12:00:00Z", b"12:00:00+00:00"), "expected the form 2026-11-23T12:00:00Z"),
        (_LINE.replace(b"12:00:00Z", b"12:00:00.5Z"), "expected the form 2026-11-23T12:00:00.500000Z"),
        (_LINE.replace(b"12:00:00Z", b"12:00:00"), "time: expected one with a time zone"),
        (_LINE.replace(b"12:00:00Z", b"25:00:00Z"), "hour must be in 0..23"),
        (b'{"data":' + b"[" * 40_000 + b"\n", "over 32768 bytes"),
        (b"[]\n", "expected `object`, got `array`"),
        (b"null\n", "expected `object`, got `null`"),
        (b"\x00" * 64 + b"\n", "JSON is malformed"),
    ],
)
def test_only_what_encode_writes_is_parsed(line: bytes, message: str) -> None:
    """Every other spelling of an entry, and everything that is none, is an IntegrityError with its reason."""
    with pytest.raises(IntegrityError) as error:
        parse_entry(line)

    assert str(error.value).startswith("not an entry of an audit log: ")
    assert message in str(error.value)


def test_ids_sort_by_time() -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10, and 74 of the 80 random bits."""
    now = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)

    assert new_id(now, bytes(10)) == "017f22e2-79b0-7000-8000-000000000000"
    assert new_id(now, b"\xff" * 10) == "017f22e2-79b0-7fff-bfff-ffffffffffff"
    assert new_id(now, b"\xff" * 10) < new_id(now + timedelta(milliseconds=1), bytes(10))


def test_ids_need_ten_random_bytes() -> None:
    """Less randomness would be padded to something predictable."""
    with pytest.raises(ValueError, match="9 random bytes: expected 10"):
        new_id(NOON, bytes(9))


def test_only_verdicts_are_looked_up_where_verdicts_are_written() -> None:
    """What decides and what is published is evidence of those who decide and publish; a verdict may be older."""
    streams = ["log-checks/ml", "log-decisions/ml", "log-publish/ml", "log-requests/ml", "log-checks-of-others/ml"]

    assert [evidence_of(stream) for stream in streams] == [("verdicts", "evidence"), *[("evidence",)] * 4]


@pytest.mark.parametrize("name", ["log-checks/local-2026-11", "log-a/b", "log-decisions/a..b_c.1"])
def test_streams_have_safe_names(name: str) -> None:
    """A container and a stream in it."""
    assert parse_stream(name) == name


@pytest.mark.parametrize(
    "name", ["log-checks/", "log-/x", "log-a/.x", "log-a/..", "log-a/b\n", "log-a/b/c", "LOG-a/b", "log-a/ä", "pages/x"]
)
def test_other_names_are_refused(name: str) -> None:
    """Nothing that could leave its folder, hide in it, or differ on a file system without cases."""
    with pytest.raises(ValueError, match="is not a stream: expected log-CONTAINER/STREAM"):
        parse_stream(name)


def test_the_drafts_of_tests_are_entries() -> None:
    """The shared example is of the form that it stands for."""
    assert parse_entry(encode_entry(draft(7), seq=0, prev=PREV)).data == {"outcome": "denied", "number": 7}
