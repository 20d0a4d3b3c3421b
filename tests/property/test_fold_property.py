"""The fold: any interleaving of the streams is the same state, what is in the wrong place never matters, page + tail = all.

Two entries of one case have times of their own here, unless they stand in one stream: within a stream the order is the log's.
"""

from datetime import timedelta
from hashlib import sha256

from cases import ANN, BOB, CAT, FLAW, PUBLISHER, approval, dossier, file, request
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from policy_samples import NOW

from quarantine.audit.chain import Head, Place, extend
from quarantine.audit.events import (
    attached_draft,
    delivered_draft,
    joined_draft,
    policy_draft,
    publication_draft,
    request_drafts,
    request_id,
    ruling_draft,
    vetted_draft,
)
from quarantine.audit.fold import Folded, decode_folded, encode_folded, fold
from quarantine.audit.record import Draft, Entry, new_id, parse_entry
from quarantine.exceptions import (
    Attached,
    ExceptionRequest,
    Joined,
    PolicyPublished,
    Publication,
    PublicationKind,
    RulingKind,
    State,
)

REQUESTS, DECISIONS, PUBLISH = (
    "log-requests/demo-2026-11",
    "log-decisions/decisions-2026-11",
    "log-publish/process-2026-11",
)
STREAMS = (REQUESTS, DECISIONS, PUBLISH, "log-requests/other-2026-11", "log-decisions/decisions-2026-10")


def many(number: int, files: int) -> ExceptionRequest:
    """A request of so many files; each number is another request."""
    named = tuple(file(f"p{i}", digest=sha256(f"{number} {i}".encode()).hexdigest()) for i in range(files))
    asked = replace(request(*named), nonce=str(number))
    return replace(asked, id=request_id(asked))


ASKED = (many(0, 1), many(1, 1), many(2, 95))  # the last one is three entries


def drafts(kind: str, asked: ExceptionRequest, minute: int) -> tuple[str, tuple[Draft, ...]]:
    """What somebody writes at that minute, and where it belongs."""
    time, entry = NOW + timedelta(minutes=minute), new_id(NOW, minute.to_bytes(10, "big"))
    match kind:
        case "request":
            ids = [new_id(NOW, (minute * 100 + n).to_bytes(10, "big")) for n in range(3)]
            return REQUESTS, request_drafts(asked, ids)
        case "join":
            return REQUESTS, (joined_draft(asked, Joined(time=time, by=CAT, reason="too"), entry),)
        case "attach":
            built = file(asked.files[0].name, digest=sha256(entry.encode()).hexdigest())
            found = Attached(time=time, by=BOB, source=asked.files[0].sha256, file=built)
            return DECISIONS, (attached_draft(asked, found, entry),)
        case "vet":
            found_ = replace(dossier(FLAW, at=time), sha256=sha256(entry.encode()).hexdigest())
            return PUBLISH, (vetted_draft(asked, found_, entry),)
        case "publish":
            step = Publication(kind=PublicationKind.PUBLISHED, time=time, files=(asked.files[0].sha256,))
            return PUBLISH, (publication_draft(asked, step, PUBLISHER, entry),)
        case "policy":
            put = PolicyPublished(time=time, by=BOB, sha256="a" * 64, bundle="b" * 64, reason="now")
            return DECISIONS, (policy_draft(put, "demo", entry),)
        case "tell":
            return PUBLISH, (delivered_draft(entry, ["mail"], [], PUBLISHER, "demo", time, entry),)
        case _:
            said = approval(BOB if minute % 2 else ANN, RulingKind(kind), id=entry, time=time)
            return DECISIONS, (ruling_draft(asked, said),)


KINDS = ("request", "join", "attach", "vet", "publish", "policy", "tell", *RulingKind)


@st.composite
def logs(draw: st.DrawFn, *, stray: bool = False) -> dict[str, list[Entry]]:
    """Streams of linked entries about a few exceptions; with `stray` some stand where their writer may not write."""
    lines: dict[str, list[Entry]] = {}
    heads: dict[str, Head | None] = {}
    steps = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(ASKED)), min_size=1, max_size=14))
    for minute, (kind, asked) in enumerate(steps):
        stream, written = drafts(kind, asked, minute)
        if stray and draw(st.booleans()):
            stream = draw(st.sampled_from(STREAMS))
        for line, receipt in extend(stream, heads.get(stream), written):
            lines.setdefault(stream, []).append(parse_entry(line))
            heads[stream] = Head(seq=receipt.seq, sha256=receipt.sha256)
    return lines


def merged(draw: st.DrawFn, lines: dict[str, list[Entry]]) -> list[tuple[str, Entry]]:
    """One way to read the streams: each from its beginning, in any turns."""
    left = {stream: list(entries) for stream, entries in lines.items()}
    read = []
    while left:
        stream = draw(st.sampled_from(sorted(left)))
        read.append((stream, left[stream].pop(0)))
        if not left[stream]:
            del left[stream]
    return read


def told(folded: Folded) -> tuple[State, frozenset[object]]:
    """The state, and what was ignored in no order."""
    return replace(folded.state, ignored=()), frozenset(folded.state.ignored)


@settings(deadline=None)
@given(st.data())
def test_any_interleaving_is_the_same_state(data: st.DataObject) -> None:
    """Streams are read one by one and in no order."""
    lines = data.draw(logs(stray=True))
    one, other = (fold(Folded(), {}, data.draw(st.composite(merged)(lines))) for _ in range(2))
    assert told(one) == told(other)
    assert one.partial == other.partial


@settings(deadline=None)
@given(st.data())
def test_a_page_and_what_came_after_it_are_the_whole(data: st.DataObject) -> None:
    """Wherever the page was kept, also in the middle of a request."""
    read = data.draw(st.composite(merged)(data.draw(logs(stray=True))))
    cut = data.draw(st.integers(0, len(read)))
    places = {stream: Place(head=Head(seq=entry.seq, sha256=entry.sha256)) for stream, entry in read[:cut]}
    page = decode_folded(encode_folded(fold(Folded(), places, read[:cut])))
    assert page is not None
    assert page.places == places
    again = fold(page, {}, read[cut:])
    whole = fold(Folded(), {}, read)
    assert (again.state, again.partial) == (whole.state, whole.partial)


@settings(deadline=None)
@given(st.data())
def test_what_stands_in_the_wrong_place_never_matters(data: st.DataObject) -> None:
    """An approval that a requester appends is void: the state is what it is without it, and it is named."""
    lines = data.draw(logs())
    read = data.draw(st.composite(merged)(lines))
    whole = fold(Folded(), {}, read)
    stray = []
    for number, kind in enumerate(data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))):
        right, written = drafts(kind, data.draw(st.sampled_from(ASKED)), 10_000 + number)
        wrong = data.draw(st.sampled_from([s for s in STREAMS if s.partition("/")[0] != right.partition("/")[0]]))
        stray += [(wrong, parse_entry(line)) for line, _ in extend(wrong, None, written)]
    for entry in stray:
        read.insert(data.draw(st.integers(0, len(read))), entry)
    with_them = fold(Folded(), {}, read)
    assert replace(with_them.state, ignored=()) == replace(whole.state, ignored=())
    assert len(with_them.state.ignored) == len(whole.state.ignored) + len(stray)
    assert all("only what stands in" in one.why for one in with_them.state.ignored)
