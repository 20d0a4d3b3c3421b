"""What is decided depends on what was said, not on the order in which it is read; and nobody lets in their own wish."""

import random
from datetime import timedelta

from cases import ANN, BOB, CAT, DAN, DIGEST, FLAW, approval, case, dossier, policy
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from policy_samples import NOW

from quarantine.exceptions import Approved, ExceptionCase, Identity, Joined, Ruling, RulingKind
from quarantine.policy.decide import decide

OTHER = "e" * 64
MALLORY = Identity(kind="entra", id="1000", issuer="https://login.example", name="ann", verified=True)
PEOPLE = st.sampled_from([ANN, BOB, CAT, DAN, MALLORY, replace(BOB, name="ann"), replace(MALLORY, verified=False)])
POLICIES = {n: policy(f"approvers: {n}, max_days: 30") for n in (1, 2, 3)}


@st.composite
def rulings(draw: st.DrawFn) -> tuple[Ruling, ...]:
    """What curators said, each word at a time of its own."""
    said = []
    for minute in draw(st.lists(st.integers(0, 5000), unique=True, max_size=8)):
        kind = draw(
            st.sampled_from([RulingKind.APPROVE] * 6 + [RulingKind.RENEW] * 2 + [RulingKind.REJECT, RulingKind.REVOKE])
        )
        said.append(
            approval(
                draw(PEOPLE),
                kind,
                id=f"r{minute}",
                time=NOW + timedelta(minutes=5 - minute),
                files=draw(st.sampled_from([(DIGEST,)] * 6 + [(OTHER,), ()])),
                dossier=draw(st.sampled_from(["d" * 64] * 6 + [OTHER, None])),
                waives=draw(st.sampled_from([(FLAW,)] * 4 + [(), (FLAW, "demo 1.0 yanked")])),
                expires_at=draw(st.sampled_from([None, NOW, NOW + timedelta(days=1), NOW + timedelta(days=500)])),
            )
        )
    return tuple(sorted(said, key=lambda ruling: ruling.time))


@st.composite
def cases(draw: st.DrawFn) -> ExceptionCase:
    """A case with what was said of it."""
    joined = tuple(Joined(time=NOW, by=by, reason="too") for by in draw(st.lists(PEOPLE, max_size=2)))
    newer = (dossier(FLAW, at=NOW, sha256=OTHER),) if draw(st.booleans()) else ()
    return case(*draw(rulings()), dossiers=(dossier(FLAW), *newer), joined=joined)


@given(cases(), st.sampled_from([1, 2, 3]), st.booleans())
def test_an_exception_never_holds_without_n_people_who_did_not_ask(
    found: ExceptionCase, needed: int, local: bool
) -> None:
    """Approvers are distinct by their keys, none of them asked, all may decide here, and none said no."""
    decision = decide(found, POLICIES[needed], NOW, local=local)
    if isinstance(decision, Approved):
        keys = {by.key for by in decision.approvers}
        approving = [r for r in found.rulings if r.kind in (RulingKind.APPROVE, RulingKind.RENEW)]
        assert len(keys) == needed
        assert found.request is not None
        assert found.request.requester.key not in keys
        assert all(by.verified or local for by in decision.approvers)
        assert len(approving) == len(found.rulings)
        assert decision.expires_at > NOW
        assert FLAW in decision.waives
        assert {by.key for by in decision.approvers} <= {r.by.key for r in approving if r.files == (DIGEST,)}


@given(cases(), st.sampled_from([1, 2, 3]), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_reading_decides_nothing(
    found: ExceptionCase, needed: int, local: bool, chance: random.Random
) -> None:
    """Whatever the order in which people joined and files were listed, the decision is the same."""
    shuffled = list(found.joined)
    chance.shuffle(shuffled)
    same = replace(
        found,
        joined=tuple(shuffled),
        rulings=tuple(
            replace(r, files=tuple(reversed(r.files)), waives=tuple(reversed(r.waives))) for r in found.rulings
        ),
    )
    assert decide(same, POLICIES[needed], NOW, local=local) == decide(found, POLICIES[needed], NOW, local=local)


@given(cases(), st.sampled_from([1, 2, 3]))
def test_one_more_no_is_the_end_of_it(found: ExceptionCase, needed: int) -> None:
    """Added anywhere, a rejection or a revocation lets nothing in."""
    for kind in (RulingKind.REJECT, RulingKind.REVOKE):
        no = approval(DAN, kind, id="no", files=(), dossier=None, expires_at=None, waives=())
        for rulings_ in ((no, *found.rulings), (*found.rulings, no)):
            decision = decide(replace(found, rulings=rulings_), POLICIES[needed], NOW, local=True)
            assert not isinstance(decision, Approved)


@given(cases(), st.integers(0, 40))
def test_what_holds_later_held_before(found: ExceptionCase, days: int) -> None:
    """Time alone only ends an exception, once everything about it has been said."""
    later = decide(found, POLICIES[1], NOW + timedelta(days=days), local=True)
    now = decide(found, POLICIES[1], NOW, local=True)
    if isinstance(later, Approved) and all(r.time <= NOW for r in found.rulings):
        assert isinstance(now, Approved)
