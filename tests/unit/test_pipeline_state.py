"""Reading what all exceptions are: what somebody with the least rights can break, and what they can't."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
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
from msgspec.structs import replace
from policy_samples import POLICY, policy

from quarantine.adapters.local_log import LocalLog
from quarantine.audit import events
from quarantine.audit.fold import Folded, decode_folded, encode_folded
from quarantine.audit.record import Draft, Json
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import (
    Approved,
    ExceptionCase,
    ExceptionRequest,
    Joined,
    Pending,
    PolicyPublished,
    PublicationKind,
    RulingKind,
    State,
)
from quarantine.pipeline.state import (
    DECISIONS_PAGE,
    KEEP_AFTER,
    STATE_PAGE,
    keep_decisions,
    keep_state,
    read_log,
    read_state,
    told_otherwise,
)
from quarantine.policy.decide import decide

ONE = policy(POLICY.replace("rules:\n", "rules:\n  exceptions: {approvers: 1, max_days: 90, max_file_mib: 1}\n", 1))


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
    assert first.cases == second.cases
    assert first.cases[asked.id].joined == kept.state.cases[asked.id].joined == (joined,)


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


def test_who_writes_the_pages_of_the_mirror_makes_up_no_approval(tmp_path: Path) -> None:
    """Of the publisher's page counts what requesters and the publisher say: no ruling, no wheel, no policy."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)
    keep(log, pages, asked)
    before = read_log(log)
    kept = decode_folded(pages.pages[STATE_PAGE])
    assert kept is not None
    (case,) = kept.state.cases.values()
    made_up = replace(case, rulings=(ruling(asked, case.dossier),))
    policy = PolicyPublished(time=NOON, by=BOB, sha256="0" * 64, bundle="1" * 64, reason="x")
    state = replace(kept.state, cases={asked.id: made_up}, policies=(policy,))

    pages.pages[STATE_PAGE] = encode_folded(replace(kept, state=state))
    after = read_state(log, pages)

    assert (after.cases, after.policies) == (before.cases, ())


def test_who_decides_writes_no_dossier(tmp_path: Path) -> None:
    """Of the curators' page counts what they decide: no request, no dossier, no step of the publisher."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))
    before = read_state(log, pages)
    found = dossier(asked)
    case = replace(before.cases[asked.id], request=request(wheel()), dossiers=(found,))

    pages.pages[DECISIONS_PAGE] = encode_folded(Folded(state=State(cases={asked.id: case}, as_of=NOON)))

    assert read_state(log, pages) == before


def test_each_keeps_what_they_may_say(tmp_path: Path) -> None:
    """Two pages, of which each holds places of its own streams; together they are the whole state."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)

    keep(log, pages, asked)

    others, decided = decode_folded(pages.pages[STATE_PAGE]), decode_folded(pages.pages[DECISIONS_PAGE])
    assert others is not None
    assert decided is not None
    assert set(others.places) == {REQUESTS, PUBLISH}
    assert set(decided.places) == {DECISIONS}
    assert others.state.cases[asked.id].rulings == ()
    assert decided.state.cases[asked.id].dossiers == ()
    assert read_state(log, pages) == read_log(log)


def test_a_decision_counts_though_its_page_cannot_be_kept(tmp_path: Path) -> None:
    """The page is a shortcut: who may not write it decides all the same."""
    log = LocalLog(tmp_path)
    asked = request()
    told(log, asked)
    many(log, DECISIONS, asked)

    assert keep_decisions(log, ReadOnly()) == read_log(log)


def test_a_stream_that_a_page_knows_and_that_is_gone_is_told(tmp_path: Path) -> None:
    """Nothing is decided from what is left of a log."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)
    keep(log, pages, asked)
    shutil.rmtree(tmp_path / DECISIONS)

    with pytest.raises(IntegrityError, match=DECISIONS):
        read_state(log, pages)


class ReadOnly(MemoryStore):
    """Pages that nobody may write."""

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        raise UpstreamError(f"the page {name} can't be written: {len(data)} {content_type} {expected}")


def keep(log: LocalLog, pages: MemoryStore, asked: ExceptionRequest) -> None:
    """Both pages, after as many entries as it takes for them to be kept."""
    log.append(PUBLISH, [events.vetted_draft(asked, dossier(asked), entry_id()) for _ in range(KEEP_AFTER)])
    many(log, DECISIONS, asked)
    keep_state(log, pages)
    keep_decisions(log, pages)


def many(log: LocalLog, stream: str, asked: ExceptionRequest) -> None:
    """So many rulings that a page is kept."""
    log.append(stream, [events.ruling_draft(asked, ruling(asked, kind=RulingKind.REJECT)) for _ in range(KEEP_AFTER)])


def no_form(draft: Draft, **changed: Json) -> Draft:
    """An entry of a request that no command writes."""
    return replace(draft, data={**draft.data, **changed})


def twice(draft: Draft) -> Draft:
    """One file with two sizes."""
    files = draft.data["files"]
    assert isinstance(files, list)
    assert isinstance(files[0], dict)
    return no_form(draft, files=[{**files[0], "size": 5}, {key: it for key, it in files[0].items() if key != "size"}])


def far(draft: Draft) -> Draft:
    """An end for which there is no day ten years later."""
    time = datetime(9999, 6, 1, tzinfo=UTC)
    return replace(no_form(draft, time="9999-06-01T00:00:00Z", until="9999-07-01T00:00:00Z"), time=time)


def nowhere(draft: Draft) -> Draft:
    """An end of no time zone."""
    return no_form(draft, until="2026-12-01T00:00:00")


NO_FORM = {
    "one file twice": (twice, "names one file twice"),
    "far away": (far, "that calls itself"),
    "no time zone": (nowhere, "timezone"),
}


@pytest.mark.parametrize(("forge", "why"), NO_FORM.values(), ids=NO_FORM)
def test_a_request_of_no_form_keeps_nobody_from_reading(
    tmp_path: Path, forge: Callable[[Draft], Draft], why: str
) -> None:
    """It counts for nothing, and what others asked for and decided is what it was."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)
    before = read_state(log, pages)
    (draft,) = events.request_drafts(request(wheel(name="other")), [entry_id()])

    log.append(REQUESTS, [forge(draft)])

    after = read_state(log, pages)
    assert after.cases == before.cases
    (ignored,) = after.ignored
    assert why in ignored.why


def test_a_request_in_parts_has_no_more_files_than_one(tmp_path: Path) -> None:
    """Every part for itself is sound, and together they are more than an approval can name."""
    log = LocalLog(tmp_path)
    asked = request(*(wheel(name=f"p{number}") for number in range(40)))
    (draft,) = events.request_drafts(asked, [entry_id()])
    more = [
        [msgspec.to_builtins(wheel(name=f"p{part}-{number}")) for number in range(40)] for part in range(7)
    ]  # 280 files
    drafts = [
        replace(no_form(draft, part=part, parts=7, files=files), id=entry_id()) for part, files in enumerate(more)
    ]

    log.append(REQUESTS, drafts)

    state = read_state(log, MemoryStore())
    assert state.cases == {}
    assert [ignored.why for ignored in state.ignored] == ["it names 280 files: expected 250 at most"]


def test_who_asks_as_somebody_of_no_issuer_has_a_name_all_the_same(tmp_path: Path) -> None:
    """An address that is none breaks no page on which it stands."""
    log = LocalLog(tmp_path)
    asked = request(by=replace(BOB, kind="oidc", issuer="https://[x", verified=True))

    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))

    (case,) = read_state(log, MemoryStore()).cases.values()
    assert case.request is not None
    assert str(case.request.requester) == "bob (oidc of no host)"


PAGES = {
    "nothing": b"",
    "deep": b"\x81\xa1x" + b"\x91" * 200_000 + b"\xc0",
    "no text": b"\x81\xa6places\x81\xa2\xff\xfe\xc0",
    "a time of no zone": msgspec.msgpack.encode({"state": {"as_of": "2026-01-01T00:00:00"}}),
}


@pytest.mark.parametrize("name", [STATE_PAGE, DECISIONS_PAGE])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_of_no_form_is_no_page(tmp_path: Path, name: str, page: bytes) -> None:
    """The log is read from its start."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    told(log, request())

    pages.pages[name] = page

    assert read_state(log, pages) == read_log(log)


def changed_page(log: LocalLog, pages: MemoryStore, asked: ExceptionRequest, change: Callable[[State], State]) -> State:
    """What all exceptions are once somebody has changed the publisher's page."""
    keep(log, pages, asked)
    kept = decode_folded(pages.pages[STATE_PAGE])
    assert kept is not None
    pages.pages[STATE_PAGE] = encode_folded(replace(kept, state=change(kept.state)))
    return read_state(log, pages)


def test_the_order_of_a_page_counts_for_nothing(tmp_path: Path) -> None:
    """The newest dossier is the newest, wherever somebody has put it."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))
    newest = dossier(asked, failures=["core 1.0 malware"], time=NOON + timedelta(hours=1))
    log.append(PUBLISH, [events.vetted_draft(asked, newest, entry_id())])

    def turned(state: State) -> State:
        case = state.cases[asked.id]
        return replace(state, cases={asked.id: replace(case, dossiers=case.dossiers[::-1])})

    assert changed_page(log, pages, asked, turned).cases[asked.id].dossier == newest


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"as_of": datetime(9999, 1, 1, tzinfo=UTC)}, "the newest entry"),
        ({"delivered": frozenset({"decided"})}, "notifications"),
    ],
)
def test_what_a_page_says_beside_exceptions_is_held_to_the_log(
    tmp_path: Path, changed: dict[str, Any], what: str
) -> None:
    """The newest time, and the notifications that arrived."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    told(log, asked)

    changed_page(log, pages, asked, lambda state: replace(state, **changed))

    assert told_otherwise(log, pages) == (what,)


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: replace(asked, requester=CAROL),
        lambda asked: replace(asked, files=(replace(asked.files[0], upstream="softer"),)),
        lambda asked: replace(asked, until=NOON + timedelta(days=3000)),
    ],
    ids=["who asks", "whose file it is", "until when"],
)
def test_an_approval_is_for_the_request_that_was_seen(
    tmp_path: Path, change: Callable[[ExceptionRequest], ExceptionRequest]
) -> None:
    """A page that has another request under the id makes the approval void."""
    log, pages = LocalLog(tmp_path), MemoryStore()
    asked = request()
    found = dossier(asked)
    log.append(REQUESTS, events.request_drafts(asked, [entry_id()]))
    log.append(PUBLISH, [events.vetted_draft(asked, found, entry_id())])
    word = ruling(asked, found)

    def forged(state: State) -> State:
        case = state.cases[asked.id]
        return replace(state, cases={asked.id: replace(case, request=change(asked), dossiers=(found,))})

    case = replace(changed_page(log, pages, asked, forged).cases[asked.id], rulings=(word,))
    sound = replace(read_log(log).cases[asked.id], rulings=(word,))
    assert isinstance(decide(sound, ONE, NOON, local=True), Approved)
    assert case.request == change(asked)
    assert case.binding != word.binding == ExceptionCase(id=asked.id, request=asked).binding
    assert isinstance(decide(case, ONE, NOON, local=True), Pending)
