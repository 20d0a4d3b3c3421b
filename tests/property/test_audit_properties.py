"""What holds for every entry and every edit of a log."""

import json
import re
from typing import Any

import msgspec
import rfc8785
from fakes_log import draft
from hypothesis import given
from hypothesis import strategies as st

from quarantine.audit.chain import Head, Tampered, Verified, extend, verify
from quarantine.audit.record import Json, encode_entry, line_sha256, parse_entry
from quarantine.audit.redact import _MARKS, _SHAPES, REDACTED, redact
from quarantine.errors import IntegrityError

STREAM = "log-checks/ml"
_text = st.text(max_size=40)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _text,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_text, children, max_size=4),
    max_leaves=12,
)
_data: st.SearchStrategy[dict[str, Json]] = st.dictionaries(_text, _values, max_size=5)

LINES = [line for line, _ in extend(STREAM, None, [draft(number) for number in range(6)])]
HEAD = Head(seq=5, sha256=line_sha256(LINES[5]))


def _verify(stored: bytes, heads: tuple[Head, ...] = (HEAD,)) -> Verified | Tampered:
    return verify(STREAM, stored.splitlines(keepends=True), heads=heads)


@given(_data, st.integers(0, 2**53 - 1))
def test_entries_round_trip(data: dict[str, Json], seq: int) -> None:
    """Parsing a line and encoding it again gives its bytes; they are canonical, and no text in them is redacted twice."""
    line = encode_entry(draft(data=data), seq=seq, prev="ab" * 32)
    entry = parse_entry(line)

    assert encode_entry(draft(data=entry.data), seq=entry.seq, prev=entry.prev) == line
    assert rfc8785.dumps(json.loads(line)) + b"\n" == line
    assert line.count(b"\n") == 1


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), _values, max_size=6))
def test_the_quick_encoder_agrees_with_the_reference(value: dict[str, Json]) -> None:
    """Where a line is ASCII, sorted msgspec output is RFC 8785."""
    reference = rfc8785.dumps(value)

    if reference.isascii():
        assert msgspec.json.encode(value, order="sorted") == reference


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(line: bytes) -> None:
    """Anything that is not an entry is an IntegrityError and nothing else."""
    try:
        parse_entry(line)
    except IntegrityError:
        return
    raise AssertionError("random bytes were taken for an entry")


@given(st.integers(0, len(b"".join(LINES)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(position: int, difference: int) -> None:
    """Against the head; and by the chain alone in every line but the last."""
    stored = bytearray(b"".join(LINES))
    stored[position] ^= difference

    assert isinstance(_verify(bytes(stored)), Tampered)
    if position < len(stored) - len(LINES[-1]):
        assert isinstance(_verify(bytes(stored), ()), Tampered)


@given(st.integers(0, len(b"".join(LINES)) - 1), st.integers(1, 2000))
def test_any_removed_bytes_are_found(position: int, length: int) -> None:
    """Wherever they are cut out, and however many."""
    stored = b"".join(LINES)

    assert isinstance(_verify(stored[:position] + stored[position + length :]), Tampered)


@given(st.integers(0, len(b"".join(LINES)) - 1), st.binary(min_size=1, max_size=60))
def test_any_inserted_bytes_are_found(position: int, more: bytes) -> None:
    """Wherever they go in, before the end."""
    stored = b"".join(LINES)

    assert isinstance(_verify(stored[:position] + more + stored[position:]), Tampered)


@given(st.lists(st.sampled_from(LINES), max_size=9).filter(lambda lines: lines[: len(LINES)] != LINES))
def test_any_other_order_of_lines_is_found(lines: list[bytes]) -> None:
    """Left out, doubled or moved: only the lines themselves, in their order, hold to the head."""
    assert isinstance(verify(STREAM, lines, heads=[HEAD]), Tampered)


@given(st.integers(0, 5))
def test_every_tail_cut_is_found_by_a_head(kept: int) -> None:
    """And is sound without one: the one edit that a chain can't see."""
    assert isinstance(verify(STREAM, LINES[:kept], heads=[HEAD]), Tampered)
    assert isinstance(verify(STREAM, LINES[:kept]), Verified)


_secret = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=16, max_size=32).map(
    "Canary".__add__
)
_FORMS = (
    "https://user:{}@example.org/simple",
    "git+https://{}@example.org/x.git",
    "https://example.org/c?sv=1&sig={}&se=2",
    "https:%2F%2Fu:{}%40example.org",
    "AccountKey={};x=y",
    "Authorization: Bearer {}",
    "bearer {}",
    "export API_TOKEN='{}'",
    '{{"client_secret": "{}"}}',
    "--password {}",
    "pypi-Ag{}",
    "eyJ{}.{}.{}",
)


@given(_secret, st.sampled_from(_FORMS), st.text(max_size=30), st.text(max_size=30), st.integers(0, 3))
def test_a_secret_is_in_no_stored_byte(secret: str, form: str, before: str, after: str, depth: int) -> None:
    """Whatever text it is surrounded by, and however deep it stands."""
    text = f"{before} {form.replace('{}', secret)} {after}"
    value: Json = text
    for _ in range(depth):
        value = {"nested": [value]}

    line = encode_entry(
        draft(subject=form.replace("{}", secret), data={"message": value, text: 1}), seq=0, prev="ab" * 32
    )

    assert secret.encode() not in line


@given(st.text() | st.lists(st.sampled_from([*_FORMS, "://", "@", "=", '"', " ", "token", "%40", "***"])).map("".join))
def test_redaction_is_done_at_once(text: str) -> None:
    """What was redacted is not changed by redacting it again."""
    once = redact(text)

    assert redact(once) == once


@given(st.from_regex(_SHAPES))
def test_every_shape_of_a_token_holds_a_mark(text: str) -> None:
    """Texts without a mark are passed over quickly, so nothing that the shapes find may lack one."""
    assert any(mark in text for mark in _MARKS)
    assert re.search(_SHAPES, text) is None or REDACTED in redact(text)
