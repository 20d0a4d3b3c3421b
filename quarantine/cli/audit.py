"""`quarantine audit`: the audit log."""

import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine.cli.session import Session
from quarantine.errors import IntegrityError, QuarantineError, UpstreamError, UsageError
from quarantine.report.escape import ascii_json, escape

if TYPE_CHECKING:
    from quarantine.adapters.blob_log import BlobLog
    from quarantine.adapters.local_log import LocalLog
    from quarantine.audit.chain import Head, Tampered, Verified
    from quarantine.audit.record import Entry, Json
    from quarantine.model import Digest
    from quarantine.ports import ArtifactStore

__all__ = ["command"]

_HEAD_WIDTH = 240
_Found = tuple[str, "Entry", bytes]


@click.group("audit", short_help="The audit log: list, verify and export it.")
def command() -> None:
    """What was decided here, when, by whom and on which evidence: one chained line an entry.

    \b
    Examples:
      quarantine audit list --since 2026-11-01
      quarantine audit verify --head 41:SHA256
      quarantine audit export --out log.jsonl
    """


def _stream_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--stream", "chosen", multiple=True, metavar="STREAM", help="Only this stream, e.g. log-checks/ml; repeatable."
    )(function)


def _filters(function: click.decorators.FC) -> click.decorators.FC:
    since = click.option("--since", metavar="DATE", help="Only entries from this day or time (UTC) on.")
    subject = click.option(
        "--subject",
        metavar="TEXT",
        help="Only entries whose subject contains this text, or of the exception with this id.",
    )
    kind = click.option(
        "--type",
        "kind",
        metavar="TYPE",
        help="Only entries of this type, or of all that begin so, e.g. verdict, exception, exception.approved.",
    )
    return _stream_option(kind(subject(since(function))))


@command.command("list", short_help="Show the newest entries.")
@_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Whole entries, as a JSON document.")
@click.pass_obj
def _list(
    session: Session,
    *,
    chosen: tuple[str, ...],
    kind: str | None,
    subject: str | None,
    since: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """Show the newest entries, the newest last. The chain is verified on the way.

    Exit status: 0 done, 2 no such stream, 3 the log can't be read or was changed.

    \b
    Examples:
      quarantine audit list
      quarantine audit list --type verdict --subject requirements.txt --limit 10
      quarantine audit list --type exception --subject 3f2a1b4c5d6e
      quarantine audit list --stream log-checks/ml-2026-11 --since 2026-11-01 --json
    """
    log, streams = _log(session, chosen)
    types: set[str] = set()
    found = _entries(session, log, streams, kind=kind, subject=subject, since=_instant(since), types=types)
    newest = heapq.nlargest(limit, found, key=lambda item: (item[1].time, item[0], item[1].seq))[::-1]
    if as_json:
        import json  # noqa: PLC0415  # only for --json

        shown = [
            {"stream": stream, "sha256": entry.sha256, "entry": json.loads(line)} for stream, entry, line in newest
        ]
        session.write(ascii_json(json.dumps({"schema": "quarantine/audit-list/1", "entries": shown}, indent=2)))
        return 0
    if not newest:
        there = ", ".join(sorted(types))
        known = kind is None or any(_is_of(kind, f"quarantine.{one}.v1") for one in types)
        session.say("no entries" if known else f"no entries of type {escape(kind or '')}: there are {there or 'none'}")
        return 0
    from quarantine.report.table import table  # noqa: PLC0415  # only when there is something to draw

    headers = ("time", "stream", "seq", "type", "outcome", "subject", "actor")
    session.write(table(headers, [_row(stream, entry) for stream, entry, _ in newest], session.width, session.colour))
    return 0


@command.command("verify", short_help="Prove that every stream is what was written.")
@_stream_option
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="[STREAM@]SEQ:SHA256",
    help="An entry that must be there, as a verdict printed it; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as a JSON document.")
@click.pass_obj
def _verify(session: Session, chosen: tuple[str, ...], heads: tuple[str, ...], as_json: bool) -> int:
    """Prove that every stream is what was written: each entry well-formed, numbered and linked to the one before.

    The evidence that entries name by its sha256 must be there, whole, and the pages on which the state of exceptions is
    kept must say what the log says.

    A tail that was cut off at an entry leaves a chain that is sound in itself: only --head shows that it is gone. Note
    the heads that this prints, or that verdicts print, somewhere else.

    Exit status: 0 everything holds, 1 the log or its evidence was changed, or lacks something, 2 usage, 3 there is
    nothing to verify, or it can't be read.

    \b
    Examples:
      quarantine audit verify
      quarantine audit verify --head 41:3f2a...
      quarantine audit verify --head log-checks/ml-2026-11@41:3f2a... --json
    """
    wanted = [_head(text) for text in heads]
    log, streams = _log(session, chosen)
    named = {stream for stream, _ in wanted if stream is not None}
    streams = tuple(sorted({*streams, *named}))
    if not streams and not wanted:
        raise UpstreamError("there is no audit log yet: nothing was verified")
    results: list[Verified | Tampered] = []
    unreadable = False
    for stream in streams:
        session.tell(f"verifying {stream}")
        try:
            results.append(_verified(session, log, stream, wanted))
        except QuarantineError as error:
            session.say(f"error: {escape(str(error))}")
            unreadable = True
    missing = _missing(wanted, results)
    for head in missing:
        session.say(f"error: the head {head} is in no verified stream: entries are missing, or were replaced")
    session.write(_as_json(results, missing, log) if as_json else _as_text(session, results))
    _explain(session, results, log)
    lost = _without_evidence(session, log, [result.stream for result in results if _is_verified(result)])
    if missing or lost or not all(map(_is_verified, results)):
        return 1
    if not chosen and _kept_otherwise(session, log):
        return 1
    return 3 if unreadable else 0


@command.command("export", short_help="Write whole entries, one JSON line each.")
@_filters
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here, whole or not."
)
@click.pass_obj
def _export(
    session: Session,
    *,
    chosen: tuple[str, ...],
    kind: str | None,
    subject: str | None,
    since: str | None,
    out: Path | None,
) -> int:
    """Write whole entries, one JSON line each, stream after stream. The chain is verified on the way.

    FILE gets the stored bytes. On standard output the same values are written in printable ASCII, since what reads it
    may obey what an entry holds. The streams, with their number of entries, are named on standard error.

    Exit status: 0 done, 2 no such stream, 3 the log can't be read, was changed, or FILE can't be written.

    \b
    Examples:
      quarantine audit export --out log.jsonl
      quarantine audit export --since 2026-11-01 --type verdict | jq .subject
    """
    log, streams = _log(session, chosen)
    counts = dict.fromkeys(streams, 0)

    def counted() -> Iterator[bytes]:
        for stream, _, line in _entries(session, log, streams, kind=kind, subject=subject, since=_instant(since)):
            counts[stream] += 1
            yield line

    if out is None:
        for line in counted():
            session.write(ascii_json(line.decode()))
    else:
        _write_whole(out, counted())
    for stream, count in counts.items():
        session.say(f"{escape(stream)}: {_entries_in(count)}")
    return 0


# --- reading ----------------------------------------------------------------------------------------------------------


def _log(session: Session, chosen: Sequence[str]) -> tuple["LocalLog | BlobLog", tuple[str, ...]]:
    """The log, and the streams asked for, or all of them. UsageError for one that isn't there."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it

    log = wiring.audit_log(session.settings, session.environment)
    streams = log.streams()
    for stream in chosen:
        if stream not in streams:
            there = ", ".join(streams) or "none"
            raise UsageError(f"--stream {stream!a}: no such stream; there are: {there}")
    return log, tuple(sorted(set(chosen))) or streams


def _entries(
    session: Session,
    log: "LocalLog | BlobLog",
    streams: Iterable[str],
    *,
    kind: str | None,
    subject: str | None,
    since: datetime | None,
    types: set[str] | None = None,
) -> Iterator[_Found]:
    """The entries that are asked for, with their stored lines, all of the chain before them verified.

    `types` takes the types of all entries that were looked at.
    """
    from quarantine.audit.chain import entries  # noqa: PLC0415  # --help needs none of it

    for stream in streams:
        session.tell(f"reading {stream}")
        stored, checked = tee(log.lines(stream))
        for entry, line in zip(entries(stream, checked), stored, strict=False):
            if types is not None:
                types.add(_short(entry.type))
            if (
                (kind is None or _is_of(kind, entry.type))
                and (subject is None or subject in entry.subject or _is_about(subject, entry))
                and (since is None or entry.time >= since)
            ):
                yield stream, entry, line


def _verified(
    session: Session, log: "LocalLog | BlobLog", stream: str, wanted: Sequence[tuple[str | None, "Head"]]
) -> "Verified | Tampered":
    from msgspec.structs import replace  # noqa: PLC0415  # --help needs none of it

    from quarantine.audit.chain import Verified, verify  # noqa: PLC0415

    result = verify(
        stream,
        log.lines(stream),
        heads=[head for name, head in wanted if name == stream],
        sought=[head for name, head in wanted if name is None],
        now=session.now,
    )
    return replace(result, torn_bytes=log.torn_bytes(stream)) if isinstance(result, Verified) else result


def _without_evidence(session: Session, log: "LocalLog | BlobLog", streams: Iterable[str]) -> bool:
    """Whether an entry names evidence that isn't there as it was; each such entry is told."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.audit.chain import entries  # noqa: PLC0415
    from quarantine.audit.record import evidence_of  # noqa: PLC0415
    from quarantine.model import Digest  # noqa: PLC0415

    store = wiring.artifact_store(session.settings, session.environment)
    lost = False
    for stream in streams:
        session.tell(f"looking at the evidence of {stream}")
        for entry in entries(stream, log.lines(stream)):
            named = entry.data.get("evidence")
            if not isinstance(named, str):
                continue
            try:
                junk = _look(store, evidence_of(stream), Digest.sha256(named.removeprefix("sha256:")))
            except (ValueError, QuarantineError) as error:
                session.say(f"error: {stream}: entry {entry.seq}: {escape(str(error))}")
                lost = True
                continue
            if junk is not None:
                session.say(
                    f"warning: {stream}: entry {entry.seq}, whose evidence is whole elsewhere: {escape(str(junk))}"
                )
    return lost


def _kept_otherwise(session: Session, log: "LocalLog | BlobLog") -> bool:
    """Whether a kept page says something else of an exception than the log; each such exception is told."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.state import DECISIONS_PAGE, STATE_PAGE, told_otherwise  # noqa: PLC0415

    session.tell("reading the exceptions")
    try:
        ids = told_otherwise(log, wiring.page_store(session.settings, session.environment))
    except IntegrityError as error:
        session.say(f"error: {escape(str(error))}")
        return True
    for id_ in ids:
        session.say(f"error: {id_[:12]}: the pages {STATE_PAGE} and {DECISIONS_PAGE} don't say what the log says")
    if ids:
        session.say("take both pages away, and see who wrote to them: they are made anew from the log")
    return bool(ids)


def _look(store: "ArtifactStore", containers: Sequence[str], digest: "Digest") -> IntegrityError | None:
    """None, where a container has the bytes of the digest whole, or what an earlier one has in their place.

    Where none has them, the IntegrityError of what is there instead, else the UpstreamError of the first container.
    """
    junk: IntegrityError | None = None
    failed: UpstreamError | None = None
    for container in containers:
        try:
            for _ in store.read(container, digest):
                pass
        except IntegrityError as error:
            junk = junk or error
        except UpstreamError as error:
            failed = failed or error
        else:
            return junk
    if junk is not None:
        raise junk
    if failed is not None:
        raise failed
    return None


def _missing(wanted: Sequence[tuple[str | None, "Head"]], results: Sequence["Verified | Tampered"]) -> list["Head"]:
    """The heads without a stream that none of the streams holds."""
    from quarantine.audit.chain import Verified  # noqa: PLC0415  # --help needs none of it

    found = {head for result in results if isinstance(result, Verified) for head in result.found}
    return [head for name, head in wanted if name is None and head not in found]


def _head(text: str) -> tuple[str | None, "Head"]:
    from quarantine.audit.chain import parse_head  # noqa: PLC0415  # --help needs none of it

    try:
        return parse_head(text)
    except ValueError as error:
        raise UsageError(f"--head: {error}") from None


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!a}: expected a day or a time, as in 2026-11-23 or 2026-11-23T12:00Z") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


# --- showing ----------------------------------------------------------------------------------------------------------


def _short(kind: str) -> str:
    """`verdict` of `quarantine.verdict.v1`."""
    return kind.removeprefix("quarantine.").rpartition(".")[0]


def _is_of(kind: str, type_: str) -> bool:
    """Whether a type is the one that is asked for, or one of its family."""
    return type_ == kind or f"{_short(type_)}.".startswith(f"{kind}.")


def _is_about(text: str, entry: "Entry") -> bool:
    """Whether the text is the id of the exception that the entry is about, or its beginning."""
    prefix = text.strip().lower()
    return len(prefix) >= _MIN_ID and _text(entry.data.get("exception")).startswith(prefix)


def _row(stream: str, entry: "Entry") -> tuple[str, ...]:
    actor = entry.data.get("actor")
    name = (actor.get("name") or actor.get("id")) if isinstance(actor, dict) else actor
    time = entry.time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (time, stream, str(entry.seq), _short(entry.type), _outcome(entry), _about(entry), _text(name))


def _about(entry: "Entry") -> str:
    """What the entry is about: of an exception its id, the first of its packages, and how many files there are besides."""
    exception = _text(entry.data.get("exception"))
    if not exception:
        return entry.subject
    files = next((found for found in map(_files, _parts(entry)) if found), 0)
    more = f" ({files} files)" if files > 1 else ""
    return f"{exception[:12]} {entry.subject}{more}"


def _outcome(entry: "Entry") -> str:
    """What came of it, in a few words."""
    data = entry.data
    if isinstance(outcome := data.get("outcome"), str):
        return outcome
    match data:
        case {"dossier": {**dossier}}:
            found = [(dossier.get(name), word) for name, word in _KEYS.items()]
            said = [f"{len(keys)} {word}" for keys, word in found if isinstance(keys, list) and keys]
            return ", ".join(said) or "nothing against it"
        case {"ruling": {"expires_at": str(end)}}:
            return f"until {end[:10]}"
        case {"attached": {"file": {"filename": str(name)}}}:
            return name
        case {"step": {"why": str(why)}} if why:
            return why if len(why) <= _MOST_WHY else f"{why[: _MOST_WHY - 3]}..."
        case {"channels": [*channels]}:
            return f"to {', '.join(map(str, channels))}" if channels else "to nobody"
        case _:
            return ""


_KEYS = {"final": "final", "failures": "failing", "unknowns": "unknown"}
_MOST_WHY = 60
_MIN_ID = 6


def _parts(entry: "Entry") -> "tuple[dict[str, Json], ...]":
    """Where an entry about an exception names files: in its dossier, its ruling, its step, or itself."""
    values = [entry.data.get(name) for name in ("dossier", "ruling", "step")]
    return (*(value for value in values if isinstance(value, dict)), dict(entry.data))


def _files(part: "dict[str, Json]") -> int:
    files = part.get("files")
    return len(files) if isinstance(files, list) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _entries_in(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _is_verified(result: "Verified | Tampered") -> bool:
    from quarantine.audit.chain import Verified  # noqa: PLC0415  # --help needs none of it

    return isinstance(result, Verified)


def _as_text(session: Session, results: Sequence["Verified | Tampered"]) -> str:
    from quarantine.audit.chain import Tampered  # noqa: PLC0415  # --help needs none of it
    from quarantine.report.table import table  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    for result in results:
        if isinstance(result, Tampered):
            rows.append((result.stream, "changed", f"line {result.line}", ""))
        else:
            rows.append((result.stream, "ok", _entries_in(result.entries), str(result.head or "")))
    # a head is there to be copied: a terminal folds a long line without breaking it
    width = None if session.width is None else max(session.width, _HEAD_WIDTH)
    return table(("stream", "state", "extent", "head"), rows, width, session.colour)


def _explain(session: Session, results: Sequence["Verified | Tampered"], log: "LocalLog | BlobLog") -> None:
    """What a person has to know beyond the table."""
    from quarantine.audit.chain import Tampered  # noqa: PLC0415  # --help needs none of it

    for result in results:
        if isinstance(result, Tampered):
            session.say(f"error: {escape(log.place(result.stream, result.line))}: {escape(str(result))}")
            continue
        if result.torn_bytes:
            session.say(
                f"warning: {result.stream}: a torn tail of {result.torn_bytes} bytes, left by a writer that was stopped: "
                "the next append moves it aside"
            )
        for jump in result.first_jumps:
            session.say(f"warning: {result.stream}: {jump}")
        if result.clock_jumps > len(result.first_jumps):
            more = result.clock_jumps - len(result.first_jumps)
            session.say(f"warning: {result.stream}: {_entries_in(more)} more whose time doesn't fit")


def _as_json(results: Sequence["Verified | Tampered"], missing: Sequence["Head"], log: "LocalLog | BlobLog") -> str:
    import json  # noqa: PLC0415  # only for --json

    from quarantine.audit.chain import Tampered  # noqa: PLC0415

    streams: list[dict[str, object]] = []
    for result in results:
        if isinstance(result, Tampered):
            place = log.place(result.stream, result.line)
            detail = {"problem": result.problem, "found": result.found, "expected": result.expected}
            streams.append({"stream": result.stream, "state": "changed", "line": result.line, "place": place, **detail})
            continue
        head = None if result.head is None else {"seq": result.head.seq, "sha256": result.head.sha256}
        counts = {"entries": result.entries, "torn_bytes": result.torn_bytes, "clock_jumps": result.clock_jumps}
        streams.append({"stream": result.stream, "state": "ok", "head": head, **counts})
    document = {"schema": "quarantine/audit-verify/1", "streams": streams, "missing_heads": [str(h) for h in missing]}
    return ascii_json(json.dumps(document, indent=2))


def _write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Puts all of the lines at the path in one step, for its owner alone, or changes nothing there."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except IntegrityError:
        raise
    except OSError as error:
        raise UpstreamError(f"{path} can't be written: {(error.strerror or str(error)).lower()}") from error
