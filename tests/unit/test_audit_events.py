"""What entries of the exception process say, and which of them count."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from exception_records import (
    ANN,
    BOB,
    CAROL,
    DECISIONS,
    NOON,
    POLICY_SHA,
    PUBLISH,
    PUBLISHER,
    REQUESTS,
    dossier,
    entry_id,
    request,
    ruling,
    sha256,
    step,
    stored,
    wheel,
)
from msgspec.structs import replace

from quarantine.audit import events
from quarantine.audit.fold import Folded, fold
from quarantine.audit.record import Draft
from quarantine.exceptions import Attached, Identity, Joined, PolicyPublished, PublicationKind, RulingKind

ASKED = request()
FOUND = dossier(ASKED, failures=["numpy 1.26.4 minimum-age"])
JOINED = Joined(time=NOON, by=CAROL, reason="so does ours")
ATTACHED = Attached(time=NOON, by=BOB, source=sha256("sdist"), file=wheel())
POLICY = PolicyPublished(time=NOON, by=BOB, sha256=POLICY_SHA, bundle=sha256("bundle"), reason="first")
WORD = ruling(ASKED, FOUND, waives=["numpy 1.26.4 minimum-age"])
PUBLISHED = step(ASKED, PublicationKind.PUBLISHED)

DRAFTS: dict[str, tuple[str, Callable[[], Draft], object]] = {
    "joined": (REQUESTS, lambda: events.joined_draft(ASKED, JOINED, entry_id()), (ASKED.id, JOINED)),
    "attached": (DECISIONS, lambda: events.attached_draft(ASKED, ATTACHED, entry_id()), (ASKED.id, ATTACHED)),
    "vetted": (PUBLISH, lambda: events.vetted_draft(ASKED, FOUND, entry_id()), (ASKED.id, FOUND)),
    "approve": (DECISIONS, lambda: events.ruling_draft(ASKED, WORD), (ASKED.id, WORD)),
    "published": (
        PUBLISH,
        lambda: events.publication_draft(ASKED, PUBLISHED, PUBLISHER, entry_id()),
        (ASKED.id, PUBLISHED),
    ),
    "policy": (DECISIONS, lambda: events.policy_draft(POLICY, "demo", entry_id()), ("", POLICY)),
    "delivered": (
        PUBLISH,
        lambda: events.delivered_draft("k", ["team"], [], PUBLISHER, "demo", NOON, entry_id()),
        ("", events.Delivered(key="k")),
    ),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_what_is_written_is_what_is_read(name: str) -> None:
    """Every kind of entry comes back as the value that it was made of, with the exception that it is about."""
    stream, draft, expected = DRAFTS[name]

    ((_, entry),) = stored(stream, [draft()])

    assert events.meaning(stream, entry) == expected


@pytest.mark.parametrize("name", [*DRAFTS, "requested"])
def test_an_entry_counts_only_where_its_role_writes(name: str) -> None:
    """In any other container it is void, and the reason names both."""
    right, draft, _ = DRAFTS.get(name, (REQUESTS, lambda: events.request_drafts(ASKED, [entry_id()])[0], None))

    for stream in {REQUESTS, DECISIONS, PUBLISH, "log-checks/demo-2026-11"} - {right}:
        ((_, entry),) = stored(stream, [draft()])
        with pytest.raises(ValueError, match="only what stands in") as error:
            events.meaning(stream, entry)
        container = stream.partition("/")[0]
        assert str(error.value) == f"{entry.type} in {container}: only what stands in {right.partition('/')[0]} counts"


def test_entries_about_other_things_mean_nothing_here() -> None:
    """A verdict is none of the process's."""
    draft = replace(DRAFTS["joined"][1](), type="quarantine.verdict.v1")
    ((_, entry),) = stored(REQUESTS, [draft])

    assert events.meaning(REQUESTS, entry) is None


def test_a_request_of_many_files_is_written_in_parts_and_read_as_one() -> None:
    """No part alone is a request; together they are, also where a reader stops between them."""
    asked = request(*(wheel(f"package-{number}", "1.0") for number in range(95)))
    drafts = events.request_drafts(asked, [entry_id() for _ in range(3)])
    entries = stored(REQUESTS, drafts)

    assert len(drafts) == 3
    first = fold(Folded(), {}, entries[:2])
    assert first.state.cases == {}
    assert fold(first, {}, entries[2:]).state.cases[asked.id].request == asked
    assert fold(first, {}, entries[2:]).partial == {}


def test_nobody_can_take_a_part_out_of_a_request_or_put_one_in() -> None:
    """Parts under its id that others append, before or after, in its stream or another, are void and change nothing."""
    asked = request(*(wheel(f"package-{number}", "1.0") for number in range(95)))
    real = events.request_drafts(asked, [entry_id() for _ in range(3)])
    forged = [
        replace(draft, id=entry_id(), data={**draft.data, "parts": 4 if number else 2})
        for number, draft in enumerate(real)
    ]
    elsewhere = "log-requests/another-2026-11"

    for entries in (
        [*stored(elsewhere, forged), *stored(REQUESTS, real)],
        [*stored(REQUESTS, [*forged, *real, *forged]), *stored(elsewhere, real[1:])],
        [*stored(REQUESTS, [real[2], *real, real[1]])],
    ):
        assert fold(Folded(), {}, entries).state.cases[asked.id].request == asked


@pytest.mark.parametrize(
    "forge",
    [
        lambda asked: replace(asked, files=(wheel("numpy", "1.26.5"),)),
        lambda asked: replace(asked, requester=CAROL),
        lambda asked: replace(asked, project="other"),
        lambda asked: replace(asked, stage="development"),
        lambda asked: replace(asked, reason="another"),
        lambda asked: replace(asked, until=NOON + timedelta(days=9)),
    ],
)
def test_no_other_request_passes_for_one(forge: Callable[[object], object]) -> None:
    """The id stands for all that is asked: an entry that uses it for anything else is ignored, and says so."""
    forged = events.request_drafts(forge(ASKED), [entry_id()])  # type: ignore[arg-type]  # a lambda a case

    folded = fold(Folded(), {}, stored(REQUESTS, forged))

    assert folded.state.cases == {}
    assert [ignored.why for ignored in folded.state.ignored] == [f"a request that calls itself {ASKED.id} and isn't it"]


def test_a_secret_in_a_reason_is_redacted_and_the_request_still_is_itself() -> None:
    """The id is over what is stored, so redaction doesn't break it."""
    asked = request(reason="see https://user:canary@example.org/x?sig=canary")

    state = fold(Folded(), {}, stored(REQUESTS, events.request_drafts(asked, [entry_id()]))).state

    kept = state.cases[asked.id].request
    assert kept is not None
    assert kept.reason == "see https://***@example.org/x?sig=***"


def test_an_entry_speaks_for_its_own_writer_only() -> None:
    """A ruling whose entry is by somebody else, of another time, or of another kind than its type, is ignored."""
    draft = DRAFTS["approve"][1]()
    other = Identity(kind="oidc", id="7", issuer="https://elsewhere.example.org", verified=True)
    drafts = [
        replace(draft, data={**draft.data, "actor": {"kind": other.kind, "id": other.id}}),
        replace(draft, time=NOON + timedelta(hours=1)),
        replace(draft, type="quarantine.exception.revoked.v1"),
    ]

    state = fold(Folded(), {}, stored(DECISIONS, drafts)).state

    assert state.cases == {}
    assert [ignored.why for ignored in state.ignored] == [
        "quarantine.exception.approved.v1: names another writer or time than its entry does",
        "quarantine.exception.approved.v1: names another writer or time than its entry does",
        f"quarantine.exception.revoked.v1: says approve {WORD.id}, expected its own kind and id",
    ]


def test_data_that_is_not_of_its_form_is_ignored_with_its_place() -> None:
    """One broken entry neither stops the fold nor counts."""
    good = events.ruling_draft(ASKED, ruling(ASKED, FOUND, kind=RulingKind.REJECT))
    broken = replace(good, data={**good.data, "exception": "not an id"})
    more = replace(good, data={**good.data, "more": 1})

    state = fold(Folded(), {}, stored(DECISIONS, [broken, more, good])).state

    assert [(i.seq, i.why) for i in state.ignored] == [
        (0, "quarantine.exception.rejected.v1: Expected `str` matching regex '^[0-9a-f]{32}\\\\Z' - at `$.exception`"),
        (1, "quarantine.exception.rejected.v1: Object contains unknown field `more`"),
    ]
    assert [r.kind for r in state.cases[ASKED.id].rulings] == [RulingKind.REJECT]


def test_a_file_that_contradicts_itself_is_no_file() -> None:
    """A wheel's name must be that of the package it is asked for."""
    liar = replace(wheel(), filename="pandas-1.26.4-py3-none-any.whl")
    folded = fold(Folded(), {}, stored(REQUESTS, events.request_drafts(request(liar, by=ANN), [entry_id()])))

    assert [ignored.why for ignored in folded.state.ignored] == [
        "'pandas-1.26.4-py3-none-any.whl' is not a wheel of numpy 1.26.4"
    ]
