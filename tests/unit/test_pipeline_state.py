"""Reading what all exceptions are: what somebody with the least rights can break, and what they can't."""

from collections.abc import Callable
from pathlib import Path

import pytest
from exception_records import (
    BOB,
    CAROL,
    DECISIONS,
    NOON,
    PUBLISH,
    PUBLISHER,
    REQUESTS,
    dossier,
    entry_id,
    request,
    ruling,
    step,
    wheel,
)
from fakes_store import MemoryStore

from quarantine.adapters.local_log import LocalLog
from quarantine.audit import events
from quarantine.audit.fold import decode_folded
from quarantine.errors import IntegrityError
from quarantine.exceptions import ExceptionRequest, Joined, PublicationKind, RulingKind
from quarantine.pipeline.state import KEEP_AFTER, STATE_PAGE, keep_state, read_state


def told(log: LocalLog, asked: ExceptionRequest) -> None:
    """All that is written of an exception that was approved, published and revoked."""
    found = dossier(asked)
    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))
    log.append(PUBLISH, [events.vetted_draft(asked, found, entry_id())])
    log.append(DECISIONS, [events.ruling_draft(asked, ruling(asked, found))])
    log.append(
        PUBLISH, [events.publication_draft(asked, step(asked, PublicationKind.PUBLISHED), PUBLISHER, entry_id())]
    )
    log.append(DECISIONS, [events.ruling_draft(asked, ruling(asked, kind=RulingKind.REVOKE, by=CAROL))])


def rubbish(root: Path) -> None:
    """A stream of its own, with a line that is no entry."""
    (root / "log-requests/evil").mkdir()
    (root / "log-requests/evil/00000000.jsonl").write_bytes(b"x\n")


def nothing(root: Path) -> None:
    """A stream of its own that begins at an entry far away."""
    (root / "log-requests/evil").mkdir()
    (root / "log-requests/evil/99999999.jsonl").write_bytes(b"")


def behind(root: Path) -> None:
    """A line that is no entry, behind those of others."""
    with (root / REQUESTS / "00000000.jsonl").open("ab") as stream:
        stream.write(b"{}\n")


BREAK = {"a line that is none": rubbish, "no first entry": nothing, "a line behind others'": behind}


@pytest.mark.parametrize("break_", BREAK.values(), ids=BREAK)
def test_who_may_ask_can_break_only_what_is_asked_for(tmp_path: Path, break_: Callable[[Path], None]) -> None:
    """What was asked for before, decided and published stays what it is, and the broken stream is named."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)
    before = read_state(log, pages)

    break_(tmp_path)
    after = read_state(log, pages)

    assert after.cases == before.cases
    assert before.broken == ()
    assert all("log-requests" in said for said in after.broken)
    assert len(after.broken) == 1


@pytest.mark.parametrize("stream", [DECISIONS, PUBLISH])
def test_what_others_decide_must_be_sound(tmp_path: Path, stream: str) -> None:
    """A line that is no entry where only curators or the publisher write stops everything."""
    log = LocalLog(tmp_path)
    told(log, request())
    with (tmp_path / stream / "00000000.jsonl").open("ab") as file:
        file.write(b"{}\n")

    with pytest.raises(IntegrityError, match="log-"):
        read_state(log, MemoryStore())


def test_what_is_read_twice_counts_once(tmp_path: Path) -> None:
    """A broken stream is read again from where it was kept: what stands before the break is no second word."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)
    joined = Joined(time=NOON, by=BOB, reason="me too")
    log.append(REQUESTS, [events.joined_draft(asked, joined, entry_id()) for _ in range(KEEP_AFTER)])
    behind(tmp_path)

    first, second = keep_state(log, pages), keep_state(log, pages)

    kept = decode_folded(pages.pages[STATE_PAGE])
    assert kept is not None
    assert first.cases == second.cases == kept.state.cases
    assert first.cases[asked.id].joined == (joined,)


def test_no_flood_of_people_who_join_takes_long_to_read(tmp_path: Path) -> None:
    """The first hundred count; the others are ignored, and said to be."""
    log = LocalLog(tmp_path)
    asked = request(wheel())
    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))
    many = [Joined(time=NOON, by=BOB.__class__(kind="local", id=f"uid:{n}"), reason="x") for n in range(150)]
    log.append(REQUESTS, [events.joined_draft(asked, one, entry_id()) for one in many])

    state = read_state(log, MemoryStore())

    assert len(state.cases[asked.id].joined) == 100
    assert {ignored.why for ignored in state.ignored} == {"more than 100 people who ask for the same"}
