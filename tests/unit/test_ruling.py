"""A curator's word: who may say it, what it binds, what it waives, and the wheel that stands for a source."""

import io
import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from exception_records import DECISIONS, NOON, PUBLISH, REQUESTS, dossier, entry_id, request, ruling, wheel
from fakes_identity import ALICE, BOB, CAROL, FakeIdentities
from fakes_log import MemoryLog
from fakes_store import MemoryStore
from msgspec.structs import replace
from policy_samples import POLICY, policy

from quarantine.audit.chain import Head, Place, entries
from quarantine.audit.events import joined_draft, request_drafts, ruling_draft, vetted_draft
from quarantine.audit.fold import Folded, encode_folded
from quarantine.audit.record import new_id
from quarantine.errors import IntegrityError, UpstreamError, UsageError
from quarantine.exceptions import (
    Approved,
    DossierSummary,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Joined,
    Pending,
    Rejected,
    RulingKind,
    State,
    Status,
)
from quarantine.model import Digest, Ecosystem, Verdict
from quarantine.pipeline.ruling import (
    AttachedWheel,
    AttachRequest,
    Refused,
    Ruled,
    RulingPorts,
    RulingRequest,
    Unwaived,
    attach_wheel,
    find_case,
    rule,
)
from quarantine.pipeline.state import STATE_PAGE, read_state

ONE = policy(POLICY.replace("rules:\n", "rules:\n  exceptions: {approvers: 1, max_days: 90, max_file_mib: 1}\n", 1))
TWO = policy()
AGE, CVE, PROVENANCE = "numpy 1.26.4 minimum-age", "numpy 1.26.4 vulnerability:CVE-1", "numpy 1.26.4 provenance"
SHA = "e" * 64


def quiet(_: str) -> None:
    """Says nothing."""


class Desk:
    """A store in memory with a request by Alice; Bob speaks."""

    def __init__(self, asked: ExceptionRequest | None = None) -> None:
        self.log, self.store = MemoryLog(), MemoryStore()
        self.people = FakeIdentities(BOB)
        self.ports = RulingPorts(log=self.log, pages=self.store, store=self.store, identities=self.people)
        self.numbers = itertools.count(1)
        self.asked = asked or request(by=ALICE)
        self.ask(self.asked)

    def ask(self, asked: ExceptionRequest) -> None:
        """Another request."""
        self.log.append(REQUESTS, request_drafts(asked, [entry_id()]))

    def vet(self, asked: ExceptionRequest | None = None, **found: Any) -> DossierSummary:
        """A dossier of the publisher."""
        of = asked or self.asked
        summary = dossier(of, **found)
        self.log.append(PUBLISH, [vetted_draft(of, summary, entry_id(summary.time))])
        return summary

    def join(self, *people: Identity) -> None:
        """Somebody writes that these asked for the same."""
        joined = [Joined(time=NOON, by=by, reason="me too") for by in people]
        self.log.append(REQUESTS, [joined_draft(self.asked, one, entry_id()) for one in joined])

    @property
    def state(self) -> State:
        """What all exceptions are now."""
        return read_state(self.log, self.store)

    def rule(
        self, kind: RulingKind, *ids: str, by: Identity | None = BOB, **changed: Any
    ) -> tuple[Ruled, ...] | Refused | Unwaived:
        """What comes of somebody's word; the request's id where none is given."""
        self.people.person = by
        usual = RulingRequest(
            kind=kind,
            ids=ids or (self.asked.id[:12],),
            reason="looked at",
            policy=ONE,
            policy_sha256=SHA,
            now=NOON,
            local=False,
            new_id=self.new_id,
        )
        return rule(replace(usual, **changed), self.ports, quiet)

    def new_id(self) -> str:
        """An id that no other entry has."""
        return new_id(NOON, next(self.numbers).to_bytes(10, "big"))


def ruled(done: tuple[Ruled, ...] | Refused | Unwaived) -> Ruled:
    """The one ruling that was written."""
    assert isinstance(done, tuple), done
    (one,) = done
    return one


# --- approving --------------------------------------------------------------------------------------------------------


def test_an_approval_binds_what_it_is_about() -> None:
    """The files, the dossier, the policy, an expiry and what it waives stand in the record, and it holds."""
    desk = Desk()
    found = desk.vet(failures=[AGE, CVE], unknowns=[PROVENANCE])

    done = ruled(desk.rule(RulingKind.APPROVE, waive_all=True, expires_at=NOON + timedelta(days=30)))

    (word,) = desk.state.cases[desk.asked.id].rulings
    assert word == done.ruling
    assert (word.kind, word.by, word.reason, word.policy, word.time) == (
        RulingKind.APPROVE,
        BOB,
        "looked at",
        SHA,
        NOON,
    )
    assert (word.files, word.dossier) == ((wheel().sha256,), found.sha256)
    assert (word.expires_at, word.waives) == (NOON + timedelta(days=30), (AGE, PROVENANCE, CVE))
    assert isinstance(done.decision, Approved)
    assert sorted(desk.log.stored) == [DECISIONS, PUBLISH, REQUESTS]


def test_several_people_must_approve() -> None:
    """The first approval is one of two; the second makes it hold."""
    desk = Desk()
    desk.vet()

    first = ruled(desk.rule(RulingKind.APPROVE, policy=TWO))
    second = ruled(desk.rule(RulingKind.APPROVE, by=CAROL, policy=TWO))

    assert first.decision == Pending(status=Status.VETTED, why="has 1 of 2 approvals", counted=(BOB,), needed=2)
    assert isinstance(second.decision, Approved)


@pytest.mark.parametrize(
    ("by", "why"),
    [
        (
            ALICE,
            "alice@example.org (entra of login.example) asked for it, and whoever asks never approves: somebody else must",
        ),
        (
            replace(ALICE, name="boss@example.org"),
            "boss@example.org (entra of login.example) asked for it, and whoever asks never approves: somebody else must",
        ),
        (
            Identity(kind="local", id="uid:1000", name="boss"),
            (
                "boss (local, unverified) may not decide here: only an identity that was verified, and that the policy knows, "
                "may (`identity` in quarantine.yaml, `identities` in the policy)"
            ),
        ),
        (
            replace(BOB, verified=False),
            (
                "bob@example.org (entra of login.example, unverified) may not decide here: only an identity that was verified, "
                "and that the policy knows, may (`identity` in quarantine.yaml, `identities` in the policy)"
            ),
        ),
    ],
    ids=["requester", "requester by another name", "local user", "unverified"],
)
def test_who_may_not_approve(by: Identity, why: str) -> None:
    """Whoever asked, by the immutable id, and whoever nobody verified; nothing is written."""
    desk = Desk()
    desk.vet()
    before = dict(desk.log.stored)

    done = desk.rule(RulingKind.APPROVE, by=by)

    assert done == Refused(case=desk.state.cases[desk.asked.id], why=why, verdict=Verdict.DENIED)
    assert desk.log.stored == before


JOINED = "bob@example.org (entra of login.example)"


@pytest.mark.parametrize("kind", [RulingKind.APPROVE, RulingKind.RENEW])
def test_whoever_is_said_to_have_joined_says_that_they_did_not(kind: RulingKind) -> None:
    """Whoever may ask could write it of anybody: it turns nobody away who denies it, and who does is on the record."""
    desk = Desk()
    desk.vet()
    if kind is RulingKind.RENEW:
        desk.rule(RulingKind.APPROVE, by=BOB)
    desk.join(BOB, CAROL)
    before = dict(desk.log.stored)

    refused = desk.rule(kind)
    after = dict(desk.log.stored)
    done = ruled(desk.rule(kind, not_mine=True))

    why = (
        f"the log says that {JOINED} joined, and whoever asks never approves: somebody else must; if you never did, say so with "
        f"--not-mine, and it stands in the log (who wrote it: quarantine audit list --subject {desk.asked.id[:12]})"
    )
    case = replace(desk.state.cases[desk.asked.id], rulings=done.case.rulings[:-1])
    assert refused == Refused(case=case, why=why, verdict=Verdict.DENIED)
    assert after == before
    assert isinstance(done.decision, Approved)
    assert desk.state.cases[desk.asked.id].rulings[-1].reason == "(says they didn't ask) looked at"
    assert done.notes[0] == "it stands in the log that you say you didn't ask"


def test_whoever_asked_cannot_deny_it() -> None:
    """Their request is theirs; of somebody who isn't said to have joined there is nothing to put on the record."""
    desk = Desk()
    desk.vet()

    refused = desk.rule(RulingKind.APPROVE, by=ALICE, not_mine=True)
    done = ruled(desk.rule(RulingKind.APPROVE, by=BOB, not_mine=True))

    assert isinstance(refused, Refused)
    assert refused.why.endswith(" asked for it, and whoever asks never approves: somebody else must")
    assert done.ruling is not None
    assert (done.ruling.reason, done.notes) == ("looked at", ())


def test_a_reason_has_room_for_what_is_put_before_it() -> None:
    """A longer one than fits could not be read again."""
    desk = Desk()
    desk.vet()
    desk.join(BOB)

    with pytest.raises(UsageError) as caught:
        desk.rule(RulingKind.APPROVE, not_mine=True, reason="x" * 1978)
    done = ruled(desk.rule(RulingKind.APPROVE, not_mine=True, reason="x" * 1977))

    assert str(caught.value) == "--reason has 1978 characters: with --not-mine at most 1977"
    assert isinstance(done.decision, Approved)


def test_local_users_decide_on_the_embedded_default() -> None:
    """There nobody else is to be convinced."""
    desk = Desk()
    desk.vet()

    done = ruled(desk.rule(RulingKind.APPROVE, by=Identity(kind="local", id="uid:7", name="bob"), local=True))

    assert isinstance(done.decision, Approved)


@pytest.mark.parametrize(
    ("waive", "left"),
    [
        (frozenset[str](), (AGE, PROVENANCE, CVE)),
        (frozenset({CVE}), (AGE, PROVENANCE)),
        (frozenset({AGE, CVE}), (PROVENANCE,)),
    ],
)
def test_what_is_not_named_is_not_waived(waive: frozenset[str], left: tuple[str, ...]) -> None:
    """Every failure and everything that isn't known must be answered for; nothing is written before."""
    desk = Desk()
    desk.vet(failures=[AGE, CVE], unknowns=[PROVENANCE])
    before = dict(desk.log.stored)

    done = desk.rule(RulingKind.APPROVE, waive=waive)

    assert done == Unwaived(cases=((desk.state.cases[desk.asked.id], left),))
    assert desk.log.stored == before


def test_all_named_one_by_one() -> None:
    """The same as naming all of it."""
    desk = Desk()
    desk.vet(failures=[AGE, CVE])

    assert isinstance(ruled(desk.rule(RulingKind.APPROVE, waive=frozenset({AGE, CVE}))).decision, Approved)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "numpy 1.26.4 licence",
            "--waive 'numpy 1.26.4 licence' is nothing that vetting found: expected 'numpy 1.26.4 minimum-age'",
        ),
        ("numpy 1.26.4 malware", "--waive 'numpy 1.26.4 malware': no approval can waive it"),
    ],
)
def test_a_key_that_is_none_is_refused(key: str, message: str) -> None:
    """A waiver for something else than what vetting found would say nothing."""
    desk = Desk()
    desk.vet(failures=[AGE], final=["numpy 1.26.4 malware"])

    with pytest.raises(UsageError) as caught:
        desk.rule(RulingKind.APPROVE, waive=frozenset({key}))
    assert str(caught.value) == message


def test_an_approval_is_of_what_was_looked_at() -> None:
    """Vetting that finds the same again takes nothing away; one that finds something else must be looked at first."""
    desk = Desk()
    seen = desk.vet(failures=[AGE], time=NOON - timedelta(hours=2))
    dossiers = frozenset({seen.sha256[:12]})
    desk.vet(failures=[AGE], time=NOON - timedelta(hours=1))
    same = ruled(desk.rule(RulingKind.APPROVE, waive_all=True, dossiers=dossiers))
    desk.vet(failures=[AGE, CVE])

    changed = desk.rule(RulingKind.APPROVE, waive_all=True, dossiers=dossiers)

    assert isinstance(same.decision, Approved)
    assert isinstance(changed, Refused)
    me = desk.asked.id[:12]
    why = f"vetting found something else since dossier {seen.sha256[:12]}: quarantine exception show {me}"
    assert (changed.why, changed.verdict) == (why, Verdict.UNDECIDED)


@pytest.mark.parametrize("text", ["ab", "0" * 12])
def test_a_dossier_that_is_none_is_refused(text: str) -> None:
    """Too short a beginning, or one of no dossier of the exception."""
    desk = Desk()
    desk.vet(failures=[AGE])

    with pytest.raises(UsageError) as caught:
        desk.rule(RulingKind.APPROVE, waive_all=True, dossiers=frozenset({text}))
    assert str(caught.value) == (
        f"--dossier '{text}' is no dossier of {desk.asked.id[:12]}: expected at least the first 6 hexadecimal digits of the "
        "one that exception show names"
    )


def test_what_is_final_stays_so() -> None:
    """No option lets it in."""
    desk = Desk()
    desk.vet(failures=[AGE], final=["numpy 1.26.4 malware"])

    done = desk.rule(RulingKind.APPROVE, waive_all=True)

    assert isinstance(done, Refused)
    assert (done.why, done.verdict) == ("no approval can waive numpy 1.26.4 malware: reject it", Verdict.DENIED)


def test_nothing_is_approved_before_it_is_vetted() -> None:
    """The evidence is missing, which is no denial; a dossier of other files is none."""
    desk = Desk()
    unvetted = desk.rule(RulingKind.APPROVE, waive_all=True)
    desk.vet(files=[wheel("other", "1.0")])
    of_others = desk.rule(RulingKind.APPROVE, waive_all=True)

    me = desk.asked.id[:12]
    assert isinstance(unvetted, Refused)
    assert isinstance(of_others, Refused)
    assert (unvetted.why, unvetted.verdict) == (f"it wasn't vetted: quarantine exception vet {me}", Verdict.UNDECIDED)
    assert of_others.why == f"its files changed since it was vetted: quarantine exception vet {me}"


@pytest.mark.parametrize(
    ("until", "expires_at", "expected", "notes"),
    [
        (None, None, 90, ()),
        (20, None, 20, ()),
        (400, None, 90, ("an approval holds for 90 days at most, until 2027-02-21T12:00:00Z",)),
        (20, 40, 40, ()),
        (None, 91, 90, ("an approval holds for 90 days at most, until 2027-02-21T12:00:00Z",)),
    ],
)
def test_when_an_approval_ends(
    until: int | None, expires_at: int | None, expected: int, notes: tuple[str, ...]
) -> None:
    """As said, else as asked for, else as long as the policy lets it, and never longer."""

    def days(number: int | None) -> datetime | None:
        return None if number is None else NOON + timedelta(days=number)

    desk = Desk(request(by=ALICE, until=days(until)))
    desk.vet()

    done = ruled(desk.rule(RulingKind.APPROVE, expires_at=days(expires_at)))

    assert done.ruling is not None
    assert (done.ruling.expires_at, done.notes) == (days(expected), notes)


def test_an_end_that_has_passed_is_refused() -> None:
    """Said or asked for."""
    desk = Desk(request(by=ALICE, time=NOON - timedelta(days=3), until=NOON - timedelta(days=1)))
    desk.vet()
    me = desk.asked.id[:12]

    for expires_at, message in (
        (None, f"{me} was asked for until 2026-11-22T12:00:00Z, which has passed: give --expires"),
        (NOON, "--expires is 2026-11-23T12:00:00Z, which has passed: expected a later day, or one like 90d"),
    ):
        with pytest.raises(UsageError) as caught:
            desk.rule(RulingKind.APPROVE, expires_at=expires_at)
        assert str(caught.value) == message


def test_several_are_looked_at_before_one_is_written() -> None:
    """One that can't be approved keeps all of them from being written."""
    desk = Desk()
    own = request(wheel("torch", "2.0"), by=BOB)
    desk.ask(own)
    desk.vet()
    desk.vet(own)
    before = dict(desk.log.stored)

    done = desk.rule(RulingKind.APPROVE, desk.asked.id, own.id)

    assert isinstance(done, Refused)
    assert done.case.id == own.id
    assert desk.log.stored == before


def test_several_are_written_together() -> None:
    """The same one twice is ruled on once."""
    desk = Desk()
    other = request(wheel("torch", "2.0"), by=CAROL)
    desk.ask(other)
    desk.vet()
    desk.vet(other)

    done = desk.rule(RulingKind.APPROVE, desk.asked.id, other.id[:6], desk.asked.id[:8])

    assert isinstance(done, tuple)
    assert [one.case.id for one in done] == [desk.asked.id, other.id]
    assert len(desk.log.stored[DECISIONS]) == 2


def test_a_clock_that_is_behind_approves_nothing() -> None:
    """With the newest entry yet to come no expiry can be told; to reject is safe."""
    desk = Desk()
    desk.vet(time=NOON + timedelta(hours=1))

    with pytest.raises(UpstreamError) as caught:
        desk.rule(RulingKind.APPROVE)
    rejected = ruled(desk.rule(RulingKind.REJECT))

    assert str(caught.value) == (
        "nothing can be approved: the newest entry about exceptions is of 2026-11-23T13:00:00Z, which is yet to come: see whose "
        "clock is wrong"
    )
    assert isinstance(rejected.decision, Rejected)


# --- renewing and stopping --------------------------------------------------------------------------------------------


def test_a_renewal_comes_after_an_approval() -> None:
    """Without one there is nothing to renew; after one it lets the exception hold longer, until then."""
    desk = Desk(request(by=ALICE, until=NOON + timedelta(days=5)))
    desk.vet()
    early = desk.rule(RulingKind.RENEW)
    desk.rule(RulingKind.APPROVE)
    later = NOON + timedelta(days=6)
    renewed = ruled(desk.rule(RulingKind.RENEW, now=later))

    assert isinstance(early, Refused)
    assert early.why == (
        f"it was never approved, so there is nothing to renew: quarantine exception approve {desk.asked.id[:12]}"
    )
    assert isinstance(renewed.decision, Approved)
    assert renewed.decision.expires_at == later + timedelta(days=90)
    assert renewed.notes == ("it replaces what you said before",)


@pytest.mark.parametrize(
    ("kind", "by", "status"),
    [
        (RulingKind.REJECT, CAROL, Status.REJECTED),
        (RulingKind.REVOKE, CAROL, Status.REVOKED),
        (RulingKind.REJECT, ALICE, Status.REJECTED),
    ],
    ids=["rejected", "revoked", "withdrawn by who asked"],
)
def test_what_is_stopped_stays_so(kind: RulingKind, by: Identity, status: Status) -> None:
    """Nothing approves it again, and saying it twice writes nothing."""
    desk = Desk()
    desk.vet()
    if kind is RulingKind.REVOKE:
        desk.rule(RulingKind.APPROVE)
    stopped = ruled(desk.rule(kind, by=by))
    before = dict(desk.log.stored)

    again = ruled(desk.rule(kind, by=by))
    approved = desk.rule(RulingKind.APPROVE)

    why = f"{status.value} on 2026-11-23 by {by}: looked at"
    assert stopped.decision == Rejected(status=status, why=why, by=by, at=NOON)
    assert (again.ruling, again.notes) == (None, (f"{why}: nothing was written",))
    assert isinstance(approved, Refused)
    assert (approved.why, approved.verdict) == (f"{why}: it never holds again, so ask for a new one", Verdict.DENIED)
    assert desk.log.stored == before


def test_what_never_held_is_rejected_not_revoked() -> None:
    """A revocation would deny files that nobody ever let in, also where the policy lets them in by itself."""
    desk = Desk()
    new = desk.rule(RulingKind.REVOKE)
    desk.vet()
    vetted = desk.rule(RulingKind.REVOKE)
    own = ruling(desk.asked, desk.vet(), by=ALICE)
    desk.log.append("log-decisions/decisions-2026-11", [ruling_draft(desk.asked, own)])
    approved_by_who_asked = desk.rule(RulingKind.REVOKE)
    before = dict(desk.log.stored)

    me = desk.asked.id[:12]
    why = (
        "it never held, and a revocation would deny its files also where they pass by themselves: quarantine exception "
        f"reject {me}"
    )
    for refused in (new, vetted, approved_by_who_asked):
        assert isinstance(refused, Refused)
        assert (refused.why, refused.verdict) == (why, Verdict.DENIED)
    assert desk.log.stored == before
    assert [word.kind for word in desk.state.cases[desk.asked.id].rulings] == [RulingKind.APPROVE]


def test_what_held_once_can_be_revoked() -> None:
    """Also where it has expired since."""
    desk = Desk()
    desk.vet()
    desk.rule(RulingKind.APPROVE, expires_at=NOON + timedelta(days=1))

    revoked = ruled(desk.rule(RulingKind.REVOKE, now=NOON + timedelta(days=2)))

    assert isinstance(revoked.decision, Rejected)
    assert revoked.decision.status is Status.REVOKED


def test_what_holds_is_revoked_not_rejected() -> None:
    """A rejection would hide that it held."""
    desk = Desk()
    desk.vet()
    desk.rule(RulingKind.APPROVE)

    rejected = desk.rule(RulingKind.REJECT)
    revoked = ruled(desk.rule(RulingKind.REVOKE))

    assert isinstance(rejected, Refused)
    assert rejected.why == "it is approved until 2027-02-21T12:00:00Z: revoke it"
    assert isinstance(revoked.decision, Rejected)


def test_a_reason_is_needed_and_holds_no_secret() -> None:
    """Blanks are none; what is recognised as a secret is redacted."""
    desk = Desk()

    with pytest.raises(UsageError) as caught:
        desk.rule(RulingKind.REJECT, reason="  ")
    desk.rule(RulingKind.REJECT, reason="token=canary-1234")

    assert str(caught.value) == "--reason has 0 characters: expected 1 to 2000, for whoever reads the log"
    assert b"canary" not in b"".join(desk.log.stored[DECISIONS])


# --- ids --------------------------------------------------------------------------------------------------------------


def _state(ids: Iterable[str]) -> State:
    desk = Desk()
    case = desk.state.cases[desk.asked.id]
    return State(cases={id_: replace(case, id=id_) for id_ in ids})


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (
            "abc12",
            "'abc12' is no id of an exception: expected at least its first 6 hexadecimal digits (quarantine exception list)",
        ),
        (
            "numpy==1.0",
            "'numpy==1.0' is no id of an exception: expected at least its first 6 hexadecimal digits (quarantine exception list)",
        ),
        ("dddddd", "no exception dddddd: `quarantine exception list --all` has all that there are"),
        ("abcdef", "abcdef is the beginning of several exceptions: abcdef000000, abcdef111111"),
        ("cccccc", f"cccccc is the beginning of several exceptions: {'c' * 16 + '0' * 0}1111, {'c' * 16}2222"),
    ],
)
def test_a_prefix_that_names_no_one_exception(prefix: str, message: str) -> None:
    """Too short, none, or several: these are told apart."""
    state = _state(
        ["abcdef" + "0" * 26, "abcdef" + "1" * 26, "c" * 16 + "1111" + "0" * 12, "c" * 16 + "2222" + "0" * 12]
    )

    with pytest.raises(UsageError) as caught:
        find_case(state, prefix)
    assert str(caught.value) == message


def test_a_prefix_names_one_exception() -> None:
    """As soon as it is the beginning of one alone, in whatever case."""
    state = _state(["abcdef" + "0" * 26, "abcdef" + "1" * 26])

    assert find_case(state, " ABCDEF1 ").id == "abcdef" + "1" * 26


# --- attached wheels --------------------------------------------------------------------------------------------------

SOURCE = ExceptionFile(
    ecosystem=Ecosystem.PYPI,
    upstream="pypi",
    name="old-lib",
    version="1.0",
    filename="old_lib-1.0.tar.gz",
    sha256="5" * 64,
    size=10,
)
BUILT = "old_lib-1.0-py3-none-any.whl"


def _attach(desk: Desk, filename: str = BUILT, data: bytes = b"a wheel") -> AttachedWheel | Refused:
    asked = AttachRequest(
        id=desk.asked.id[:12],
        filename=filename,
        file=io.BytesIO(data),
        policy=ONE,
        now=NOON,
        local=False,
        new_id=desk.new_id,
    )
    return attach_wheel(asked, desk.ports, quiet)


def test_a_wheel_takes_the_place_of_its_source() -> None:
    """Its bytes are held by digest, it is on the record, and it waits to be vetted."""
    desk = Desk(request(SOURCE, by=ALICE))
    desk.vet(failures=["old-lib 1.0 source"])
    unbuilt = desk.rule(RulingKind.APPROVE, waive_all=True)

    done = _attach(desk)

    digest = sha256(b"a wheel").hexdigest()
    built = replace(SOURCE, filename=BUILT, sha256=digest, size=7)
    assert isinstance(unbuilt, Refused)
    assert unbuilt.why == (
        f"it has no wheel to install: build one, and quarantine exception attach-wheel {desk.asked.id[:12]} FILE"
    )
    assert isinstance(done, AttachedWheel)
    assert (done.file, done.source, done.already) == (built, SOURCE, False)
    assert desk.state.cases[desk.asked.id].files == (built,)
    assert desk.store.get("held", Digest.sha256(digest)) == b"a wheel"
    assert isinstance(desk.rule(RulingKind.APPROVE, waive_all=True), Refused)


def test_the_same_wheel_twice_is_one() -> None:
    """The second time nothing is written."""
    desk = Desk(request(SOURCE, by=ALICE))
    _attach(desk)
    before = dict(desk.log.stored)

    again = _attach(desk)

    assert isinstance(again, AttachedWheel)
    assert again.already
    assert desk.log.stored == before


@pytest.mark.parametrize(
    ("filename", "data", "message"),
    [
        (
            "old_lib-1.0.tar.gz",
            b"x",
            "'old_lib-1.0.tar.gz' is not the name of a wheel: expected the wheel that was built of the source",
        ),
        (
            "old_lib-1.1-py3-none-any.whl",
            b"x",
            "'old_lib-1.1-py3-none-any.whl' is a wheel of old-lib 1.1: expected one of old-lib 1.0",
        ),
        (
            "evil-1.0-py3-none-any.whl",
            b"x",
            "'evil-1.0-py3-none-any.whl' is a wheel of evil 1.0: expected one of old-lib 1.0",
        ),
        (BUILT, b"", f"'{BUILT}' is empty: expected a wheel"),
        (BUILT, b"x" * (1024 * 1024 + 1), f"'{BUILT}' is larger than 1 MiB: larger files are not vetted"),
    ],
    ids=["sdist", "version", "name", "empty", "large"],
)
def test_a_file_that_is_no_wheel_of_the_source(filename: str, data: bytes, message: str) -> None:
    """Is refused before anything is stored."""
    desk = Desk(request(SOURCE, by=ALICE))

    with pytest.raises(UsageError) as caught:
        _attach(desk, filename, data)

    assert str(caught.value) == message
    assert desk.store.stored == {}


def test_a_request_of_wheels_needs_none() -> None:
    """There is nothing that an attached one could stand for."""
    desk = Desk()

    with pytest.raises(UsageError) as caught:
        _attach(desk, "numpy-1.26.4-py3-none-any.whl")

    assert str(caught.value) == (
        f"{desk.asked.id[:12]} asks for no source distribution, so there is nothing that a wheel could stand for"
    )


def test_nothing_is_attached_to_what_ended() -> None:
    """A rejected request stays rejected."""
    desk = Desk(request(SOURCE, by=ALICE))
    desk.rule(RulingKind.REJECT)

    done = _attach(desk)

    assert isinstance(done, Refused)
    assert done.verdict is Verdict.DENIED
    assert desk.store.stored == {}


# --- spoilt pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RulingKind.REJECT, RulingKind.REVOKE])
def test_what_ends_an_exception_needs_no_page(kind: RulingKind) -> None:
    """A page that names what the log doesn't have stops approvals, and takes nobody's right to end something."""
    desk = Desk()
    desk.vet()
    if kind is RulingKind.REVOKE:
        ruled(desk.rule(RulingKind.APPROVE))
    gone = Place(segment=0, offset=100, head=Head(seq=9, sha256="0" * 64))
    spoilt = encode_folded(Folded(places={f"{PUBLISH.partition('/')[0]}/gone": gone}))
    desk.store.swap(STATE_PAGE, spoilt, "application/octet-stream", None)

    with pytest.raises(IntegrityError):
        desk.rule(RulingKind.APPROVE)
    done = ruled(desk.rule(kind))

    assert isinstance(done.decision, Rejected)


def test_nobody_approves_what_a_page_made_of_a_request() -> None:
    """The request under the id isn't the one that the id stands for: nothing is written."""
    desk = Desk()
    desk.vet()
    case = desk.state.cases[desk.asked.id]
    forged = replace(case, request=replace(desk.asked, requester=CAROL))
    heads = {}
    for stream in (REQUESTS, PUBLISH):
        (*_, last) = entries(stream, desk.log.lines(stream))
        tail = desk.log.tail(stream, Place())
        heads[stream] = Place(segment=tail.segment, offset=tail.offset, head=Head(seq=last.seq, sha256=last.sha256))
    page = encode_folded(Folded(places=heads, state=State(cases={case.id: forged})))
    desk.store.swap(STATE_PAGE, page, "application/octet-stream", None)

    with pytest.raises(IntegrityError) as caught:
        desk.rule(RulingKind.APPROVE)
    assert str(caught.value) == (
        f"what is asked for as {case.id[:12]} isn't what was: see who writes to state/exceptions.msgpack, and take it away"
    )
    assert DECISIONS not in desk.log.stored
