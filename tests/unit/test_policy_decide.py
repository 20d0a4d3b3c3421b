"""What is decided about an exception: every way in which an approval does not count, and what holds otherwise."""

from datetime import UTC, datetime, timedelta

import pytest
from cases import ANN, BOB, CAT, DAN, DIGEST, FLAW, approval, case, dossier, file, policy, request
from msgspec.structs import replace
from policy_samples import NOW

from quarantine.exceptions import (
    Approved,
    Attached,
    ExceptionCase,
    Grant,
    Grants,
    Identity,
    Joined,
    Pending,
    Publication,
    PublicationKind,
    Rejected,
    RulingKind,
    State,
    Status,
)
from quarantine.model import Digest, Outcome, OutcomeKind
from quarantine.policy.decide import clock, decide, grants, is_known, status
from quarantine.policy.stage import Trusted

ENTRA = Identity(kind="entra", id="0f1e", issuer="https://login.example/t/v2.0", name="bob", claim="oid", verified=True)
LEAP = datetime(2028, 2, 29, 12, tzinfo=UTC)


def test_an_approval_that_counts_holds_until_its_end() -> None:
    """It says for whom, for which files, what it waives, who gave it and when."""
    approved = case(approval())
    assert decide(approved, policy(), NOW, local=True) == Approved(
        exception=approved.id,
        project="demo",
        stage="development",
        files=(file(),),
        expires_at=NOW + timedelta(days=10),
        waives=frozenset({FLAW}),
        approvers=(BOB,),
        since=NOW - timedelta(days=1),
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param(case(), "has 0 of 1 approvals", id="nobody"),
        pytest.param(case(approval(ANN)), "has 0 of 1 approvals", id="self-approval"),
        pytest.param(
            case(approval(replace(ANN, name="another name"))), "has 0 of 1 approvals", id="the same key, another name"
        ),
        pytest.param(case(approval(files=("2" * 64,))), "has 0 of 1 approvals", id="other digests (replay)"),
        pytest.param(case(approval(files=(DIGEST, "2" * 64))), "has 0 of 1 approvals", id="more digests"),
        pytest.param(case(approval(files=())), "has 0 of 1 approvals", id="no digests"),
        pytest.param(case(approval(dossier="e" * 64)), "has 0 of 1 approvals", id="a dossier that nobody wrote"),
        pytest.param(case(approval(dossier=None)), "has 0 of 1 approvals", id="no dossier"),
        pytest.param(case(approval(time=NOW + timedelta(minutes=6))), "has 0 of 1 approvals", id="dated in the future"),
        pytest.param(case(approval(), dossiers=()), "waits to be vetted", id="never vetted"),
        pytest.param(
            case(approval(), dossiers=(dossier(FLAW, files=("2" * 64,)),)),
            "waits to be vetted",
            id="other files were vetted",
        ),
        pytest.param(
            case(approval(waives=())),
            f"what vetting found on 2026-11-21 is outside of what was waived: {FLAW}",
            id="a failure that it doesn't waive",
        ),
        pytest.param(
            case(approval(), dossiers=(dossier(FLAW, final=("demo 1.0 malware",)),)),
            "what vetting found on 2026-11-21 is outside of what was waived: demo 1.0 malware",
            id="a failure that none can waive",
        ),
        pytest.param(
            case(dossiers=(dossier(FLAW, final=("demo 1.0 malware",)),)),
            "no approval can waive demo 1.0 malware",
            id="a failure that none can waive, and nobody tried",
        ),
        pytest.param(
            replace(case(approval()), request=None), "its request isn't in the log", id="a request that isn't there"
        ),
        pytest.param(
            replace(case(approval()), request=replace(request(), stage="staging")),
            "the policy has no stage 'staging' any more",
            id="a stage that is gone",
        ),
    ],
)
def test_what_does_not_count(changed: ExceptionCase, why: str) -> None:
    """Whatever else is right, the exception doesn't hold, and says what it waits for."""
    decision = decide(changed, policy(), NOW, local=True)
    assert isinstance(decision, Pending)
    assert decision.why == why


@pytest.mark.parametrize(
    ("by", "local", "counts"),
    [
        (BOB, True, True),
        (BOB, False, False),
        (ENTRA, False, True),
        (ENTRA, True, True),
        (replace(ENTRA, verified=False), True, False),
        (replace(ENTRA, verified=False), False, False),
    ],
)
def test_outside_of_the_embedded_default_only_verified_identities_count(
    by: Identity, local: bool, counts: bool
) -> None:
    """`USER=boss` is nobody elsewhere; a token that wasn't verified is nobody anywhere."""
    assert is_known(by, policy(), local=local) == counts


@pytest.mark.parametrize(
    ("by", "counts"),
    [
        (ENTRA, True),
        (replace(ENTRA, issuer="https://issuer.example.com"), False),
        (replace(ENTRA, claim="sub"), False),
        (replace(ENTRA, verified=False), False),
        (BOB, False),
    ],
    ids=[
        "the policy's",
        "an issuer of their own",
        "another claim of the same token",
        "unverified",
        "the system's user",
    ],
)
@pytest.mark.parametrize("central", [False, True])
def test_where_the_policy_names_identities_no_other_counts(by: Identity, counts: bool, central: bool) -> None:
    """One person has an id in every claim of a token, and as many as they like at an issuer of their own."""
    named = Trusted(issuer=ENTRA.issuer, audience="quarantine", claim=ENTRA.claim)
    judging = replace(policy(), identities=(named,), central=central)

    assert is_known(by, judging, local=True) == counts


def test_a_central_policy_that_names_none_knows_nobody() -> None:
    """Whoever runs a command never chooses for others whom to believe."""
    assert not is_known(ENTRA, replace(policy(), central=True), local=False)


def test_what_somebody_asked_for_whom_nobody_knows_is_never_approved() -> None:
    """Else one person could ask by one id, and approve by another."""
    asked = request(by=replace(ENTRA, id="of-mallory", issuer="https://issuer.example.com"))
    judging = replace(policy(), identities=(Trusted(issuer=ENTRA.issuer, audience="q", claim=ENTRA.claim),))
    found = case(approval(ENTRA), id=asked.id, request=asked)

    decision = decide(found, judging, NOW, local=False)

    assert (decision.status if isinstance(decision, Pending) else None) is Status.VETTED
    assert "whose identity the policy doesn't know" in getattr(decision, "why", "")


def test_that_somebody_joined_takes_away_nobodys_right() -> None:
    """It is what anybody may write of anybody: an approval that stands doesn't fall by it."""
    found = case(approval(BOB), joined=(Joined(time=NOW - timedelta(days=3), by=BOB, reason="me too"),))

    assert isinstance(decide(found, policy(), NOW, local=True), Approved)


def test_a_revocation_stays_one_whatever_is_said_of_it() -> None:
    """A rejection that is dated before it doesn't lift it; nor does it when the request is lost."""
    revoked = approval(CAT, RulingKind.REVOKE, project="demo", stage="development")
    rejected = approval(DAN, RulingKind.REJECT, time=revoked.time - timedelta(days=1))
    found = case(approval(BOB), revoked, rejected)
    lost = replace(found, request=None)

    assert decide(found, policy(), NOW, local=True).status is Status.REVOKED  # type: ignore[union-attr]  # it is no approval
    for each in (found, lost):
        said = grants(State(cases={each.id: each}), policy(), "demo", "development", NOW, local=True)
        assert (said.live, list(said.blocked)) == ({}, [Digest.sha256(DIGEST)])


def test_other_bytes_under_an_approved_digest_are_other_files() -> None:
    """Attaching bytes that are there already, as if they were of another package, changes no file and no name."""
    sdist = replace(file(), filename="padder-1.0.tar.gz", name="padder", sha256="3" * 64)
    asked = request(file(), sdist)
    liar = replace(file(), filename="padder-1.0-py3-none-any.whl", name="padder")
    found = ExceptionCase(
        id=asked.id, request=asked, attached=(Attached(time=NOW, by=CAT, source="3" * 64, file=liar),)
    )

    assert found.files == tuple(sorted((file(), sdist)))


def test_the_same_id_of_another_issuer_is_somebody_else() -> None:
    """People are told apart by issuer and id together."""
    twin = replace(ENTRA, id=ANN.id)
    assert isinstance(decide(case(approval(twin)), policy(), NOW, local=True), Approved)


@pytest.mark.parametrize(
    ("end", "now", "holds"),
    [
        (NOW, NOW - timedelta(hours=24), True),
        (NOW, NOW - timedelta(microseconds=1), True),
        (NOW, NOW, False),
        (NOW, NOW + timedelta(hours=24), False),
        (LEAP, LEAP - timedelta(hours=24), True),
        (LEAP, LEAP - timedelta(microseconds=1), True),
        (LEAP, LEAP, False),
        (LEAP, LEAP + timedelta(hours=24), False),
    ],
)
def test_it_expires_at_exactly_its_end(end: datetime, now: datetime, holds: bool) -> None:
    """Expired is `now >= expires_at`, on a leap day as on any other; before it, it holds."""
    given = case(
        approval(time=end - timedelta(days=3), expires_at=end), dossiers=(dossier(FLAW, at=end - timedelta(days=4)),)
    )
    decision = decide(given, policy(), now, local=True)
    assert isinstance(decision, Approved) == holds
    if isinstance(decision, Pending):
        assert (decision.status, decision.expired_at) == (Status.EXPIRED, end)


@pytest.mark.parametrize("asked", [NOW + timedelta(days=365), None])
def test_it_holds_no_longer_than_the_policy_lets_it(asked: datetime | None) -> None:
    """An approval for a year, or without an end, ends after the maximum, by today's policy."""
    given = case(approval(expires_at=asked))
    longest = decide(given, policy(), NOW, local=True)
    assert isinstance(longest, Approved)
    assert longest.expires_at == NOW + timedelta(days=29)
    shorter = decide(given, policy("approvers: 1, max_days: 1"), NOW, local=True)
    assert isinstance(shorter, Pending)
    assert (shorter.status, shorter.expired_at) == (Status.EXPIRED, NOW)


def test_n_people_must_approve() -> None:
    """One of two is not enough, nor is one who says it twice; what counts is what all of them waive, to the first end."""
    two = policy("approvers: 2, max_days: 30")
    again = approval(BOB, RulingKind.RENEW, id="again", time=NOW)
    first = decide(case(approval(BOB)), two, NOW, local=True)
    twice = decide(case(approval(BOB), again), two, NOW, local=True)
    both = case(
        approval(BOB, waives=(FLAW, "demo 1.0 yanked")), approval(CAT, expires_at=NOW + timedelta(days=5), time=NOW)
    )
    decision = decide(both, two, NOW, local=True)
    assert (first, twice) == (
        Pending(status=Status.VETTED, why="has 1 of 2 approvals", counted=(BOB,), needed=2),
        Pending(status=Status.VETTED, why="has 1 of 2 approvals", counted=(BOB,), needed=2),
    )
    assert isinstance(decision, Approved)
    assert decision.expires_at == NOW + timedelta(days=5)
    assert decision.waives == {FLAW}
    assert decision.since == NOW
    assert set(decision.approvers) == {BOB, CAT}


def test_an_upstream_may_ask_for_more_people() -> None:
    """The strictest of the upstreams that the files are from says how many."""
    per_upstream = policy("approvers: 1, max_days: 30, upstreams: {vetted: 2}")
    plain, strict = file(), file("other", digest="2" * 64, upstream="vetted")
    asked = request(plain, strict)
    both = (DIGEST, "2" * 64)
    given = case(approval(files=both), dossiers=(dossier(FLAW, files=both),), id=asked.id, request=asked)
    decision = decide(given, per_upstream, NOW, local=True)
    assert isinstance(decision, Pending)
    assert (decision.why, decision.needed) == ("has 1 of 2 approvals", 2)
    assert isinstance(decide(case(approval()), per_upstream, NOW, local=True), Approved)


@pytest.mark.parametrize(
    ("kind", "expected"), [(RulingKind.REJECT, Status.REJECTED), (RulingKind.REVOKE, Status.REVOKED)]
)
@pytest.mark.parametrize("before", [True, False])
def test_a_rejection_and_a_revocation_are_final(kind: RulingKind, expected: Status, before: bool) -> None:
    """Whoever approves or renews it before or after."""
    said = approval(CAT, kind, files=(), dossier=None, expires_at=None, waives=())
    others = (approval(BOB), approval(BOB, RulingKind.RENEW, time=NOW))
    decision = decide(case(*((said, *others) if before else (*others, said))), policy(), NOW, local=True)
    assert decision == Rejected(
        status=expected,
        why=f"{expected.value} on 2026-11-22 by cat (local, unverified): looked at",
        by=CAT,
        at=NOW - timedelta(days=1),
    )


def test_a_later_failure_suspends_it_until_it_is_waived() -> None:
    """The newest dossier counts; a renewal that waives what it has lets the files in again."""
    found = dossier(FLAW, "demo 1.0 vulnerability:CVE-2026-9", at=NOW - timedelta(hours=1), sha256="e" * 64)
    suspended = case(approval(), dossiers=(dossier(FLAW), found))
    renewal = approval(
        BOB, RulingKind.RENEW, dossier="e" * 64, time=NOW, waives=(FLAW, "demo 1.0 vulnerability:CVE-2026-9")
    )
    decision = decide(suspended, policy(), NOW, local=True)
    assert isinstance(decision, Pending)
    assert (decision.status, decision.why) == (
        Status.SUSPENDED,
        "what vetting found on 2026-11-23 is outside of what was waived: demo 1.0 vulnerability:CVE-2026-9",
    )
    renewed = case(*suspended.rulings, renewal, dossiers=suspended.dossiers)
    assert isinstance(decide(renewed, policy(), NOW, local=True), Approved)


def test_what_vetting_no_longer_finds_needs_no_waiver() -> None:
    """An approval of an older dossier holds on while the newer one has nothing beyond it."""
    newer = dossier(at=NOW, sha256="e" * 64)
    assert isinstance(decide(case(approval(), dossiers=(dossier(FLAW), newer)), policy(), NOW, local=True), Approved)


def test_a_wheel_attached_later_needs_a_new_approval() -> None:
    """The files are others now: what was approved was not this one."""
    built = file(digest="3" * 64)
    attached = Attached(time=NOW, by=BOB, source=DIGEST, file=built)
    asked = request(replace(file(), filename="demo-1.0.tar.gz"))
    changed = replace(case(approval(), id=asked.id, request=asked), attached=(attached,))
    decision = decide(changed, policy(), NOW, local=True)
    assert isinstance(decision, Pending)
    assert (decision.status, decision.why) == (Status.REQUESTED, "waits to be vetted")


def test_status_is_published_while_the_files_are_in_the_mirror() -> None:
    """Approved before, published then, approved again once they are being taken away, or once there are others."""
    steps = [
        Publication(kind=kind, time=NOW - timedelta(minutes=9 - number), files=(DIGEST,))
        for number, kind in enumerate(
            (PublicationKind.PUBLISHING, PublicationKind.PUBLISHED, PublicationKind.UNLISTING)
        )
    ]
    said = []
    for number in range(4):
        given = case(approval(), publications=tuple(steps[:number]))
        said.append(status(given, decide(given, policy(), NOW, local=True)))
    assert said == [Status.APPROVED, Status.APPROVED, Status.PUBLISHED, Status.APPROVED]
    stopped = case()
    assert status(stopped, decide(stopped, policy(), NOW, local=True)) is Status.VETTED


def test_grants_are_for_one_project_and_stage() -> None:
    """What holds is live, what was revoked or suspended is blocked, everything else only says why it doesn't count."""
    held = case(
        approval(),
        publications=(Publication(kind=PublicationKind.PUBLISHING, time=NOW, files=(DIGEST,), metadata=("m",)),),
    )
    gone_of = request(file("gone", digest="2" * 64))
    gone = replace(case(approval(CAT, RulingKind.REVOKE)), id=gone_of.id, request=gone_of)
    waits_of = request(file("waits", digest="4" * 64))
    waits = replace(case(dossiers=()), id=waits_of.id, request=waits_of)
    state = State(cases={one.id: one for one in (held, gone, waits)})
    assert grants(state, policy(), "demo", "development", NOW, local=True) == Grants(
        live={
            Digest("sha256", DIGEST): Grant(
                exception=held.id,
                file=file(),
                waives=frozenset({FLAW}),
                expires_at=NOW + timedelta(days=10),
                metadata="m",
                published_at=NOW,
            )
        },
        stopped={
            Digest("sha256", "4" * 64): f"exception {waits.id[:12]} is requested (waits to be vetted)",
        },
        blocked={
            Digest("sha256", "2" * 64): (
                f"exception {gone.id[:12]} is revoked (revoked on 2026-11-22 by cat (local, unverified): looked at)"
            )
        },
    )
    assert grants(state, policy(), "demo", "production", NOW, local=True) == Grants()
    assert grants(state, policy(), "other", "development", NOW, local=True) == Grants()


def test_one_exception_that_holds_is_enough_for_a_file() -> None:
    """Of two that hold the one that holds longer counts; one that was revoked doesn't block what another lets in."""
    longer_of, revoked_of = request(by=CAT), replace(request(), nonce="again")
    longer = case(approval(expires_at=NOW + timedelta(days=20)), id="1" * 32, request=longer_of)
    revoked = case(approval(CAT, RulingKind.REVOKE), id="2" * 32, request=revoked_of)
    first = case(approval())
    for order in ((first, longer, revoked), (revoked, longer, first)):
        found = grants(State(cases={c.id: c for c in order}), policy(), "demo", "development", NOW, local=True)
        assert [grant.expires_at for grant in found.live.values()] == [NOW + timedelta(days=20)]
        assert (found.stopped, found.blocked) == ({}, {})


def test_a_clock_before_what_was_written_is_a_doubt() -> None:
    """An entry may be five minutes ahead, as clocks differ; further ahead no expiry can be told."""
    near, far = (State(as_of=NOW + timedelta(minutes=minutes)) for minutes in (5, 6))
    assert clock(State(), NOW) == clock(near, NOW) == ()
    assert clock(far, NOW) == (
        Outcome(
            rule="clock",
            kind=OutcomeKind.UNKNOWN,
            message="the newest entry about exceptions is of 2026-11-23T12:06:00Z, which is yet to come: "
            "see whose clock is wrong",
        ),
    )
