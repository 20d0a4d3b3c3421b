"""The form of one entry of the audit log: a CloudEvents envelope in one line of canonical JSON (RFC 8785).

`encode_entry` writes a line and `parse_entry` reads one back; nothing that the one can't write is accepted by the
other. Every text is redacted before it reaches a line. This module places no entry and links none: see `chain`.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import rfc8785

from quarantine.audit.redact import Json, redact, redact_json
from quarantine.errors import IntegrityError

__all__ = [
    "EVIDENCE",
    "MAX_RECORD_BYTES",
    "VERDICTS",
    "Draft",
    "Entry",
    "Json",
    "encode_entry",
    "evidence_of",
    "line_sha256",
    "new_id",
    "parse_entry",
    "parse_stream",
]

MAX_RECORD_BYTES = 32 * 1024
"""The length of the longest line, newline included: what is bigger belongs into the evidence, by digest."""
MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
"""RFC 7493 section 2.2: integers beyond it are not exact in every reader of JSON."""

EVIDENCE, VERDICTS = "evidence", "verdicts"
"""Containers of what entries name by its sha256: by the publisher and by curators; by whoever checks.

Who may add bytes can take the name of others that are still to come, so nobody else writes where whoever checks does.
"""
_CHECKS = "log-checks"

_STREAM = re.compile(r"log-[a-z0-9-]{1,59}/[a-z0-9][a-z0-9._-]{0,119}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TYPE = re.compile(r"quarantine(?:\.[a-z0-9_-]{1,40}){1,4}\.v[0-9]{1,4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SUBJECT = 2048
_MAX_SOURCE = 512


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry before it has its place in a stream: everything but sequence number and link.

    `time` is aware, UTC. `data` holds no floats and is never mutated; secrets in it are redacted when it is encoded.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str
    data: dict[str, Json]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is stored: `seq` counts from 0 in its stream, `prev` is the sha256 of the line before it.

    `sha256` is that of its own line, newline included: what the next entry's `prev` must be.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str
    seq: int
    prev: str
    data: dict[str, Json]
    sha256: str


class _Wire(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The members of a line, all of them required."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str
    qseq: int
    qprev: str
    data: dict[str, Any]


_decoder = msgspec.json.Decoder(_Wire, strict=True)


def parse_stream(text: str) -> str:
    """A stream's name, `CONTAINER/STREAM`, raising ValueError when it isn't one. It is safe as a path."""
    if _STREAM.fullmatch(text) is None:
        raise ValueError(
            f"{text!a} is not a stream: expected log-CONTAINER/STREAM, in lower case letters, digits, '.', '_' and '-'"
        )
    return text


def evidence_of(stream: str) -> tuple[str, ...]:
    """The containers that may have what an entry of the stream names by its sha256, in the order to look into them.

    A verdict may be older than `verdicts`. Nothing else is ever looked up where whoever checks may write.
    """
    return (VERDICTS, EVIDENCE) if stream.startswith(f"{_CHECKS}/") else (EVIDENCE,)


def new_id(now: datetime, randomness: bytes) -> str:
    """A UUID version 7 (RFC 9562 section 5.7) of the moment and ten random bytes; ValueError for other lengths."""
    if len(randomness) != 10:
        raise ValueError(f"{len(randomness)} random bytes: expected 10")
    milliseconds = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    rand = int.from_bytes(randomness, "big")
    rand_a, rand_b = rand >> 62 & 0xFFF, rand & (1 << 62) - 1
    value = milliseconds << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def line_sha256(line: bytes) -> str:
    """What links to a line: the sha256, in hexadecimal, of its stored bytes, its newline included."""
    return hashlib.sha256(line).hexdigest()


def encode_entry(draft: Draft, *, seq: int, prev: str) -> bytes:
    """The line, with its newline, of a draft at its place, all secrets in it redacted.

    ValueError when the draft can't be an entry: a field out of form, a float, an integer over 2**53 - 1, nesting
    deeper than 32, or a line over MAX_RECORD_BYTES.
    """
    _check_value(draft.data, "data", 1)
    envelope: dict[str, Json] = {
        "specversion": "1.0",
        "id": draft.id,
        "source": redact(draft.source),
        "type": draft.type,
        "time": _format_time(draft.time),
        "subject": redact(draft.subject),
        "qseq": seq,
        "qprev": prev,
        "data": redact_json(draft.data),
    }
    _check_fields(envelope)
    line = _canonical(envelope) + b"\n"
    if len(line) > MAX_RECORD_BYTES:
        raise ValueError(f"a record of {len(line)} bytes: at most {MAX_RECORD_BYTES} fit, the rest belongs to evidence")
    return line


def parse_entry(line: bytes) -> Entry:
    """The entry on a stored line, newline included, raising IntegrityError with the reason for anything else.

    Only what `encode_entry` writes is accepted: the bytes must be the canonical form of what they say, so that a
    duplicate key, white space, an escape or a second spelling of a number can't hide in a line.
    """
    try:
        return _parse(line)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise IntegrityError(f"not an entry of an audit log: {_reason(error)}") from error


def _parse(line: bytes) -> Entry:
    if len(line) > MAX_RECORD_BYTES:
        raise ValueError(f"over {MAX_RECORD_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise ValueError("no newline at its end")
    wire = _decoder.decode(line)
    data = _check_value(wire.data, "data", 1)
    assert isinstance(data, dict)  # noqa: S101 - the decoder's type says so
    envelope: dict[str, Json] = {
        "specversion": wire.specversion,
        "id": wire.id,
        "source": wire.source,
        "type": wire.type,
        "time": wire.time,
        "subject": wire.subject,
        "qseq": wire.qseq,
        "qprev": wire.qprev,
        "data": data,
    }
    _check_fields(envelope)
    time = datetime.fromisoformat(wire.time)
    if _format_time(time) != wire.time:
        raise ValueError(f"time {wire.time!a}: expected the form {_format_time(time)}")
    if _canonical(envelope, quick=line.isascii()) + b"\n" != line:
        raise ValueError("its bytes are not the canonical JSON (RFC 8785) of what they say")
    return Entry(
        id=wire.id,
        source=wire.source,
        type=wire.type,
        time=time,
        subject=wire.subject,
        seq=wire.qseq,
        prev=wire.qprev,
        data=data,
        sha256=line_sha256(line),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH}"
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8"
    text = str(error)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _check_fields(envelope: dict[str, Json]) -> None:
    """Raises ValueError for the first member of an envelope that is not of its form."""
    for name, pattern, expected in (
        ("specversion", re.compile(r"1\.0"), "1.0"),
        ("id", _UUID7, "a UUID version 7"),
        ("type", _TYPE, "quarantine.WORD.vNUMBER"),
        ("qprev", _SHA256, "64 hexadecimal digits"),
    ):
        text = envelope[name]
        if not isinstance(text, str) or pattern.fullmatch(text) is None:
            raise ValueError(f"{name} {text!a}: expected {expected}")
    for name, limit in (("source", _MAX_SOURCE), ("subject", _MAX_SUBJECT)):
        text = envelope[name]
        if not isinstance(text, str) or not 0 < len(text) <= limit:
            raise ValueError(f"{name}: expected 1 to {limit} characters")
    seq = envelope["qseq"]
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_INTEGER:
        raise ValueError(f"qseq {seq!a}: expected a whole number from 0")


def _check_value(value: object, place: str, depth: int) -> Json:
    """The value, when it may stand in a record; ValueError with its place when not."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{place[:80]}: nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"{place}: an integer over 2**53 - 1; write it as text")
        return value
    if isinstance(value, list):
        for index, child in enumerate(value):
            _check_value(child, f"{place}[{index}]", depth + 1)
        return value
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{place}: a key that is not text")  # noqa: TRY004 - callers catch one kind
            _check_value(child, f"{place}.{key}", depth + 1)
        return value
    raise ValueError(
        f"{place}: a {type(value).__name__}; text, whole numbers, booleans, lists and mappings may be used"
    )


def _canonical(value: Json, *, quick: bool = False) -> bytes:
    """RFC 8785. With `quick`, by an encoder that is fifty times faster and agrees wherever all keys are ASCII.

    They differ in the order of keys only: by code point there, by UTF-16 code unit in section 3.2.3.
    """
    return msgspec.json.encode(value, order="sorted") if quick else rfc8785.dumps(value)


def _format_time(time: datetime) -> str:
    """RFC 3339, in UTC with "Z", with six digits of fraction or none."""
    if time.tzinfo is None:
        raise ValueError("time: expected one with a time zone")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
