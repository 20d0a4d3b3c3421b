"""A run of the central pipeline: what it does in which order, what it leaves alone, and whom it tells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import BinaryIO

import pytest
from exception_records import BOB, CAROL, DECISIONS, NOON, PUBLISH, PUBLISHER, entry_id, request
from fakes_advisories import SNAPSHOT, FakeAdvisories
from fakes_index import Release
from fakes_log import MemoryLog
from fakes_notify import FakeNotifier
from fakes_store import MemoryStore
from msgspec.structs import replace
from vetting_parts import Desk, policy, python

from quarantine.audit.events import attached_draft, request_drafts, ruling_draft
from quarantine.audit.record import Draft
from quarantine.errors import UpstreamError
from quarantine.exceptions import Attached, ExceptionCase, Identity, PublicationKind, Ruling, RulingKind
from quarantine.model import Digest, Finding, Receipt, Severity
from quarantine.pipeline.process import HELD_FOR, TOLD_FOR, Done, Process, ProcessPorts, Step, Trouble
from quarantine.pipeline.publish import Publisher
from quarantine.ports import Message
from quarantine.report.escape import escape

CORE = Release(name="core", version="1.0")
OTHER = Release(name="other", version="2.0")
FLAW = Finding(id="CVE-1", severity=Severity.HIGH, score="7.5", fixed=("2.0",))
DAY = timedelta(days=1)


class CountingLog(MemoryLog):
    """Keeps the type of everything that is appended, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        done = super().append(stream, drafts)
        self.writes += [draft.type.removeprefix("quarantine.").removesuffix(".v1") for draft in drafts]
        return done


class CountingStore(MemoryStore):
    """Keeps what is really put, removed and swapped, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        new = super().put_file(container, digest, size, file)
        self.writes += [f"put {container}"] * new
        return new

    def remove(self, container: str, digest: Digest) -> bool:
        gone = super().remove(container, digest)
        self.writes += [f"remove {container}"] * gone
        return gone

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        self.writes.append(f"swap {name}")
        return super().swap(name, data, content_type, expected)


@dataclass(kw_only=True)
class Mill:
    """A desk with a mirror and people who are told."""

    desk: Desk
    log: CountingLog
    store: CountingStore
    notifier: FakeNotifier = field(default_factory=lambda: FakeNotifier("team"))

    def run(
        self,
        at: datetime = NOON,
        *,
        only: ExceptionCase | None = None,
        vet: bool = True,
        publish: bool = True,
        notify: bool = True,
        elapsed: Callable[[], float] = lambda: 0.0,
    ) -> Done:
        """One run."""
        self.desk.now = at
        process = Process(
            ports=ProcessPorts(
                log=self.log,
                pages=self.store,
                vetting=cache(self.desk.vetting),
                publisher=lambda: Publisher(
                    log=self.log,
                    store=self.store,
                    pages=self.store,
                    by=PUBLISHER,
                    now=at,
                    new_id=lambda: entry_id(at),
                    tell=self.desk.told.append,
                ),
                notifier=self.notifier,
            ),
            policy=self.desk.policy,
            local=False,
            now=at,
            by=PUBLISHER,
            project="demo",
            stream=PUBLISH,
            new_id=lambda: entry_id(at),
            plain=escape,
            elapsed=elapsed,
            tell=self.desk.told.append,
            only=frozenset() if only is None else frozenset({only.id}),
        )
        return process.run(vet=vet, publish=publish, notify=notify)

    def now(self, case: ExceptionCase) -> ExceptionCase:
        """What the log says of a case now."""
        assert case.request is not None
        return self.desk.case(case.request)

    def rule(
        self,
        case: ExceptionCase,
        kind: RulingKind = RulingKind.APPROVE,
        *,
        by: Identity = BOB,
        at: datetime = NOON,
        until: datetime | None = None,
        waives: tuple[str, ...] = (),
        reason: str = "looked at",
    ) -> None:
        """A curator's word: an approval for thirty days, where nothing else is said."""
        current = self.now(case)
        assert current.request is not None
        ruling = Ruling(
            kind=kind,
            id=entry_id(at),
            time=at,
            by=by,
            reason=reason,
            policy="f" * 64,
            files=tuple(file.sha256 for file in current.files),
            dossier=None if current.dossier is None else current.dossier.sha256,
            expires_at=until or at + 30 * DAY,
            waives=waives,
            binding=current.binding,
            project=current.request.project,
            stage=current.request.stage,
        )
        self.log.append(DECISIONS, [ruling_draft(current.request, ruling)])

    def approved(self, *releases: Release, until: datetime | None = None) -> ExceptionCase:
        """An exception that was asked for, vetted and approved, and isn't published."""
        case = self.desk.ask(*(python(release) for release in releases))
        self.run(publish=False, notify=False)
        self.rule(case, until=until)
        return case

    def published(self, *releases: Release, until: datetime | None = None) -> ExceptionCase:
        """The same, published, with everybody told."""
        case = self.approved(*releases, until=until)
        self.run()
        self.notifier.sent.clear()
        self.log.writes.clear()
        self.store.writes.clear()
        return case

    def listed(self) -> bool:
        """Whether the mirror lists core."""
        page = self.store.page("simple/core/index.json")
        return page is not None and b"core-1.0-py3-none-any.whl" in page.data

    def knows(self, *found: Finding, sha: str = "9" * 64, of: str = "core") -> None:
        """From now on the advisories say this of core 1.0."""
        version = "1.0" if of == "core" else "2.0"
        self.desk.advisories = FakeAdvisories({(of, version): found}, snapshot=replace(SNAPSHOT, sha256=sha))


@pytest.fixture
def mill() -> Mill:
    log, store = CountingLog(), CountingStore()
    return Mill(desk=Desk(upstreams={"pypi": (CORE, OTHER)}, log=log, store=store), log=log, store=store)


def step(case: ExceptionCase, what: str, text: str) -> Step:
    return Step(exception=case.id, what=what, text=text)


# --- what a run does --------------------------------------------------------------------------------------------------


def test_a_run_does_all_that_is_due_in_order(mill: Mill) -> None:
    """What ended goes before what is approved comes, what is new is vetted after that, and people hear of it last."""
    ended = mill.published(OTHER)
    approved = mill.approved(CORE)
    mill.rule(ended, RulingKind.REVOKE)
    young = Release(name="new", version="1.0", upload_time="2026-11-22T00:00:00Z")
    mill.desk.upstreams = {"pypi": (CORE, OTHER, young)}
    mill.desk.__post_init__()
    new = mill.desk.ask(python(young))
    mill.log.writes.clear()

    done = mill.run()

    why = f"revoked on 2026-11-23 by {BOB}: looked at"
    assert done == Done(
        steps=(
            step(ended, "unlisted", f"other 2.0: revoked: {why}"),
            step(approved, "published", "core 1.0: until 2026-12-23"),
            step(new, "vetted", "new 1.0: 1 failure, 0 unknown"),
        ),
        troubles=(),
        waiting=1,
    )
    assert mill.log.writes == [
        "exception.unlisting",
        "exception.unlisted",
        "exception.publishing",
        "exception.published",
        "exception.vetted",
        *["notification"] * 4,
    ]
    assert sorted(mill.notifier.keys) == sorted(
        [f"{approved.id}:requested", f"{new.id}:requested"]
        + [f"{case.id}:{word}:{mill.now(case).rulings[-1].id}" for case, word in ((approved, "approved"), (ended, "revoked"))]
    )  # fmt: skip
    assert mill.listed()


def test_a_second_run_writes_nothing(mill: Mill) -> None:
    """No entry, no file, no page, no message: whatever states there are."""
    mill.published(CORE)
    waiting = mill.desk.ask(python(OTHER))
    rejected = mill.desk.ask(python(CORE), python(OTHER))
    mill.run()
    mill.rule(rejected, RulingKind.REJECT)
    mill.run()
    mill.notifier.sent.clear()
    mill.log.writes.clear()
    mill.store.writes.clear()

    done = mill.run(NOON + timedelta(minutes=5))

    assert done == Done(steps=(), troubles=(), waiting=1)
    assert (mill.log.writes, mill.store.writes, mill.notifier.sent) == ([], [], [])
    assert mill.now(waiting).publications == ()


def test_other_advisories_that_change_nothing_write_nothing(mill: Mill) -> None:
    """Every sync is a new snapshot; only what it says counts."""
    mill.published(CORE)
    mill.knows(FLAW, of="other")

    assert mill.run() == Done(steps=(), troubles=(), waiting=0)
    assert (mill.log.writes, mill.store.writes) == ([], [])


def test_only_is_about_those_that_are_named(mill: Mill) -> None:
    """The others wait; their files stay in the mirror all the same."""
    one, two = mill.desk.ask(python(CORE)), mill.desk.ask(python(OTHER))

    done = mill.run(only=two)

    assert done.steps == (step(two, "vetted", "other 2.0: nothing against it"),)
    assert [len(mill.now(case).dossiers) for case in (one, two)] == [0, 1]
    assert mill.notifier.keys == [f"{two.id}:requested"]


def test_what_is_named_is_vetted_anew(mill: Mill) -> None:
    """What couldn't be told the first time may be told now; what was rejected is left alone."""
    case = mill.desk.ask(python(CORE))
    mill.desk.inspector.metadata.clear()
    mill.run()
    mill.desk.__post_init__()

    again = mill.run(only=case)
    mill.rule(case, RulingKind.REJECT)
    rejected = mill.run(only=case)

    assert [summary.unknowns for summary in mill.now(case).dossiers] == [("core 1.0 dependencies",), ()]
    assert again.steps == (step(case, "vetted", "core 1.0: nothing against it"),)
    assert rejected.steps == ()


def test_each_part_of_a_run_can_be_left_out(mill: Mill) -> None:
    """Vetting publishes nothing, publishing vets nothing, and neither tells anybody."""
    new, approved = mill.desk.ask(python(OTHER)), mill.approved(CORE)
    mill.log.writes.clear()

    vetted = mill.run(publish=False, notify=False)
    published = mill.run(vet=False, notify=False)

    assert (vetted.steps, mill.now(new).publications) == ((), ())
    assert published.steps == (step(approved, "published", "core 1.0: until 2026-12-23"),)
    assert mill.notifier.sent == []


# --- what fails -------------------------------------------------------------------------------------------------------


def test_one_that_cant_be_vetted_holds_up_no_other(mill: Mill) -> None:
    """It is told, and tried again by the next run."""
    first, second = mill.desk.ask(python(CORE)), mill.desk.ask(python(OTHER))
    mill.desk.source.down = "core-1.0-py3-none-any.whl"
    failed = mill.run()
    mill.desk.source.down = ""

    later = mill.run()

    assert failed.troubles == (Trouble(exception=first.id, text="pypi answered 503 for core-1.0-py3-none-any.whl"),)
    assert failed.steps == (step(second, "vetted", "other 2.0: nothing against it"),)
    assert later.troubles == ()
    assert later.steps == (step(first, "vetted", "core 1.0: nothing against it"),)


def test_one_whose_bytes_are_gone_holds_up_no_other(mill: Mill) -> None:
    """Publishing says which, and goes on."""
    lost, well = mill.approved(CORE), mill.approved(OTHER)
    del mill.store.stored["held", CORE.digest]

    done = mill.run()

    assert done.troubles == (
        Trouble(
            exception=lost.id,
            text=f"core-1.0-py3-none-any.whl is not in the holding area: quarantine exception vet {lost.id[:12]} brings it there",
        ),
    )
    assert done.steps == (step(well, "published", "other 2.0: until 2026-12-23"),)
    mill.run(only=lost, publish=False)
    assert mill.run().steps == (step(lost, "published", "core 1.0: until 2026-12-23"),)


def test_stale_advisories_vet_nothing_and_end_what_ended(mill: Mill) -> None:
    """Taking out needs no advisories; what holds goes on holding by what was known."""
    ended, holds = mill.published(CORE), mill.desk.ask(python(OTHER))
    mill.rule(ended, RulingKind.REVOKE)
    mill.desk.advisories = FakeAdvisories(failing="there is no database: quarantine advisories sync")

    done = mill.run()

    assert done.troubles == (Trouble(exception=holds.id, text="there is no database: quarantine advisories sync"),)
    assert [entry.what for entry in done.steps] == ["unlisted"]
    assert not mill.listed()


def test_a_clock_before_the_log_does_nothing(mill: Mill) -> None:
    """Nobody knows then what has expired: five minutes are forgiven, more aren't."""
    mill.published(CORE)

    assert mill.run(NOON - timedelta(minutes=5)).troubles == ()
    with pytest.raises(UpstreamError) as caught:
        mill.run(NOON - timedelta(minutes=6))

    assert str(caught.value) == (
        "nothing is done: the newest entry about exceptions is of 2026-11-23T12:00:00Z, which is yet to come: "
        "see whose clock is wrong"
    )
    assert (mill.log.writes, mill.store.writes) == ([], [])


def test_a_log_that_cant_be_written_has_no_effect(mill: Mill) -> None:
    """No entry, no file, no page."""
    mill.approved(CORE)
    mill.store.writes.clear()
    mill.log.writable = False

    with pytest.raises(UpstreamError):
        mill.run()

    assert mill.store.writes == []


def test_a_stage_that_is_no_more_is_left_alone(mill: Mill) -> None:
    """Its requests can't be judged by any rules."""
    asked = request(python(CORE), stage="gone", time=NOON)
    mill.log.append("log-requests/demo-2026-11", request_drafts(asked, [entry_id()]))

    done = mill.run(notify=False)

    assert done == Done(steps=(), troubles=(), waiting=0)


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "held"), [(timedelta(seconds=1), True), (timedelta(0), False)])
def test_an_exception_ends_at_its_very_instant(mill: Mill, before: timedelta, held: bool) -> None:
    """A second before it is in the mirror, and then its files are gone from it; the held bytes stay."""
    end = NOON + 30 * DAY
    case = mill.published(CORE, until=end)

    done = mill.run(end - before, notify=False)

    assert mill.listed() is held
    assert (mill.store.size("files", CORE.digest) is not None) is held
    assert mill.store.size("held", CORE.digest) is not None
    expected = step(case, "unlisted", "core 1.0: expired: expired on 2026-12-23T12:00:00Z")
    assert (expected in done.steps) is not held


def test_a_renewal_puts_back_what_expired(mill: Mill) -> None:
    """The same files, from the holding area."""
    end = NOON + 30 * DAY
    case = mill.published(CORE, until=end)
    mill.run(end)
    mill.rule(case, RulingKind.RENEW, at=end, by=CAROL, until=end + 30 * DAY)

    done = mill.run(end + DAY)

    assert done.steps == (step(case, "published", "core 1.0: until 2027-01-22"),)
    assert mill.listed()
    assert mill.desk.source.fetched == [("pypi", "core-1.0-py3-none-any.whl")]


def test_what_another_exception_needs_stays(mill: Mill) -> None:
    """A file that two are for is in the mirror for as long as one of them holds."""
    one = mill.published(CORE)
    two = mill.desk.ask(python(CORE), python(OTHER))
    mill.run()
    mill.rule(two)
    mill.run()
    mill.rule(one, RulingKind.REVOKE)

    mill.run()
    stays = mill.listed()
    mill.rule(two, RulingKind.REVOKE)
    mill.run()

    assert (stays, mill.listed()) == (True, False)


def test_a_later_flaw_suspends_and_is_told(mill: Mill) -> None:
    """Recorded, taken out, told once; and what is withdrawn later comes back by itself."""
    case = mill.published(CORE)
    mill.knows(FLAW)

    suspended = mill.run(NOON + DAY)
    again = mill.run(NOON + DAY)
    told = list(mill.notifier.sent)
    mill.knows(sha="8" * 64)
    back = mill.run(NOON + DAY + timedelta(hours=1))

    why = "what vetting found on 2026-11-24 is outside of what was waived: core 1.0 vulnerability:CVE-1"
    assert suspended.steps == (
        step(case, "vetted again", "core 1.0: 1 failure, 0 unknown"),
        step(case, "suspended", f"core 1.0: {why}"),
        step(case, "unlisted", f"core 1.0: suspended: {why}"),
    )
    assert again.steps == ()
    assert told == [
        Message(
            key=f"{case.id}:suspended:20261124T120000",
            title="exception suspended: core 1.0",
            text=f"core 1.0 (project demo, stage production): {why}\nquarantine exception show {case.id[:12]}",
        )
    ]
    assert back.steps == (
        step(case, "vetted again", "core 1.0: nothing against it"),
        step(case, "published", "core 1.0: until 2026-12-23"),
    )
    assert mill.listed()


def test_a_flaw_that_is_known_before_it_is_published_suspends_too(mill: Mill) -> None:
    """Approved yesterday, found today: it never comes into the mirror, and people hear why."""
    case = mill.approved(CORE)
    mill.knows(FLAW)

    done = mill.run()

    assert [entry.what for entry in done.steps] == ["vetted again", "suspended"]
    assert [key for key in mill.notifier.keys if ":suspended:" in key] == [f"{case.id}:suspended:20261123T120000"]
    assert mill.now(case).last(PublicationKind.PUBLISHED) is None


def test_what_waits_is_looked_at_again(mill: Mill) -> None:
    """Whoever decides sees what is known today: malware that was withdrawn stands in nobody's way for good."""
    mill.knows(Finding(id="MAL-1", malware=True), sha="8" * 64)
    case = mill.desk.ask(python(CORE))
    first = mill.run(notify=False)
    mill.knows()

    second = mill.run(NOON + DAY, notify=False)

    assert first.steps == (step(case, "vetted", "core 1.0: no approval can waive core 1.0 malware"),)
    assert second.steps == (step(case, "vetted again", "core 1.0: nothing against it"),)


def test_an_end_that_is_near_is_said_once_for_each_end(mill: Mill) -> None:
    """Fourteen days before; a renewal has an end of its own."""
    end = NOON + 30 * DAY
    case = mill.published(CORE, until=end)
    early = mill.run(end - 14 * DAY - timedelta(seconds=1))
    first = mill.run(end - 14 * DAY)
    second = mill.run(end - 13 * DAY)
    mill.rule(case, RulingKind.RENEW, at=end - 12 * DAY, until=end + 30 * DAY)
    renewed = mill.run(end - 12 * DAY)
    third = mill.run(end + 17 * DAY)

    assert [done.steps for done in (early, second, renewed)] == [(), (), ()]
    assert first.steps == (step(case, "expires soon", "core 1.0: expires on 2026-12-23"),)
    assert third.steps == (step(case, "expires soon", "core 1.0: expires on 2027-01-22"),)
    assert [message.title for message in mill.notifier.sent] == [
        "exception expires soon: core 1.0",
        "exception renewed: core 1.0",
        "exception expires soon: core 1.0",
    ]


# --- the holding area -------------------------------------------------------------------------------------------------


def test_what_was_rejected_is_held_no_longer(mill: Mill) -> None:
    """It is said first, and then taken away; a second run writes nothing."""
    case = mill.desk.ask(python(CORE), python(OTHER))
    mill.run()
    mill.rule(case, RulingKind.REJECT)
    mill.run(only=case, vet=False)
    named = mill.desk.held()
    mill.log.writes.clear()
    mill.store.writes.clear()

    done, again = mill.run(), mill.run(NOON + DAY)

    assert named == sorted([CORE.digest.hex, OTHER.digest.hex])
    assert done.steps == (step(case, "dropped", "core 1.0, other 2.0: 2 files of the holding area, rejected"),)
    assert (again.steps, again.troubles, mill.desk.held()) == ((), (), [])
    assert mill.log.writes == ["exception.dropped"]
    assert mill.store.writes == ["remove held", "remove held"]
    (dropped,) = mill.now(case).publications
    assert (dropped.kind, dropped.files) == (
        PublicationKind.DROPPED,
        tuple(sorted([CORE.digest.hex, OTHER.digest.hex])),
    )


def test_what_another_exception_is_for_stays_held(mill: Mill) -> None:
    """Of two requests for one file, the one that is open needs it; and so does one that holds."""
    rejected, _ = mill.desk.ask(python(CORE), python(OTHER)), mill.desk.ask(python(CORE))
    mill.run()
    mill.rule(rejected, RulingKind.REJECT)

    done = mill.run()

    assert done.steps == (step(rejected, "dropped", "core 1.0, other 2.0: 1 file of the holding area, rejected"),)
    assert mill.desk.held() == [CORE.digest.hex]


@pytest.mark.parametrize("revoked", [True, False], ids=["revoked", "expired"])
def test_what_held_once_is_held_for_a_month_more(mill: Mill, revoked: bool) -> None:
    """So that a renewal needs no owner, and who looks into a revocation finds the bytes."""
    case = mill.published(CORE, until=NOON + 2 * DAY)
    ended = NOON if revoked else NOON + 2 * DAY
    if revoked:
        mill.rule(case, RulingKind.REVOKE)
    mill.run(ended)
    mill.run(ended + HELD_FOR - timedelta(seconds=1))
    before = mill.desk.held()

    done = mill.run(ended + HELD_FOR)

    assert before == [CORE.digest.hex]
    why = "revoked" if revoked else "expired"
    assert done.steps == (step(case, "dropped", f"core 1.0: 1 file of the holding area, {why}"),)
    assert mill.desk.held() == []


def test_an_attached_wheel_stays_held_for_as_long_as_it_may_be_renewed(mill: Mill) -> None:
    """Nobody could fetch it again; once its exception is revoked it isn't needed."""
    source = Release(name="core", version="1.0", source=True)
    mill.desk.upstreams = {"pypi": (source,)}
    mill.desk.__post_init__()
    case = mill.desk.ask(python(source))
    assert case.request is not None
    mill.run()
    mill.store.put("held", CORE.data)
    mill.desk.inspector.metadata["core-1.0-py3-none-any.whl"] = CORE.core_metadata
    attached = Attached(time=NOON, by=BOB, source=source.digest.hex, file=python(CORE))
    mill.log.append(DECISIONS, [attached_draft(case.request, attached, entry_id())])
    mill.run()
    mill.rule(case, until=NOON + DAY)
    mill.run()
    mill.run(NOON + DAY)

    mill.run(NOON + DAY + HELD_FOR)
    expired = mill.desk.held()
    mill.rule(case, RulingKind.REVOKE, at=NOON + 40 * DAY)
    mill.run(NOON + 40 * DAY + HELD_FOR)

    assert (expired, mill.desk.held()) == ([CORE.digest.hex], [])


def test_nothing_is_dropped_while_requests_are_lost(mill: Mill) -> None:
    """One of those that can't be read may be for the same file."""
    case = mill.desk.ask(python(CORE))
    mill.run()
    mill.rule(case, RulingKind.REJECT)
    mill.log.stored["log-requests/evil-2026-11"] = [b"no entry"]

    done = mill.run()

    assert [warning.partition(":")[0] for warning in done.warnings] == ["requests are lost"]
    assert done.troubles == ()
    assert mill.desk.held() == [CORE.digest.hex]


def test_a_holding_area_that_cant_be_emptied_holds_up_nothing(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, people are told of the rest, and the next run tries again."""
    case = mill.desk.ask(python(CORE))
    mill.run()
    mill.rule(case, RulingKind.REJECT)
    with monkeypatch.context() as patched:
        patched.setattr(mill.store, "remove", _fails)
        failed = mill.run()
        mill.run()

    later = mill.run()

    assert failed.troubles == (Trouble(exception="", text="the holding area isn't emptied: the store is away"),)
    assert mill.log.writes.count("exception.dropped") == 1
    assert f"{case.id}:rejected" in {key.rpartition(":")[0] for key in mill.notifier.keys}
    assert later.steps == (step(case, "dropped", "core 1.0: 1 file of the holding area, rejected"),)


def _fails(container: str, digest: Digest) -> bool:
    raise UpstreamError("the store is away")


def test_what_exceptions_let_in_for_the_stage_may_be_needed(mill: Mill) -> None:
    """A package that needs what passes by an exception alone isn't told to ask for it again."""
    base = Release(name="base", version="1.0", yanked="broken")
    core = Release(name="core", version="1.0", requires=("base",))
    mill.desk.upstreams = {"pypi": (base, core)}
    mill.desk.__post_init__()
    first = mill.desk.ask(python(base))
    mill.run()
    mill.rule(first, waives=("base 1.0 yanked",))
    mill.run()
    second = mill.desk.ask(python(core))

    done = mill.run()

    assert done.steps == (step(second, "vetted", "core 1.0: nothing against it"),)


# --- people -----------------------------------------------------------------------------------------------------------


def test_people_are_told_of_requests_and_decisions_once(mill: Mill) -> None:
    """By whom, what for, and why."""
    case = mill.desk.ask(python(CORE))
    mill.run()
    mill.rule(case, reason="reviewed it")
    mill.run()
    mill.run()

    ruling = mill.now(case).rulings[0]
    where = "core 1.0 (project demo, stage production)"
    assert mill.notifier.sent == [
        Message(
            key=f"{case.id}:requested",
            title="exception requested: core 1.0",
            text=(
                "ann (oidc of issuer.example.org) asks for core 1.0 (project demo, stage production): the model needs it\n"
                f"quarantine exception show {case.id[:12]}"
            ),
        ),
        Message(
            key=f"{case.id}:approved:{ruling.id}",
            title="exception approved: core 1.0",
            text=f"{where} was approved by bob (oidc of issuer.example.org): reviewed it",
        ),
    ]


def test_what_did_not_arrive_is_sent_again(mill: Mill) -> None:
    """A channel that fails is a trouble of this run, changes nothing else, and is tried by the next."""
    case = mill.desk.ask(python(CORE))
    mill.notifier.broken = {"team": "answered 500"}

    failed = mill.run()
    mill.notifier.broken = {}
    sent = mill.run()
    mill.run()

    assert failed.troubles == (Trouble(exception=case.id, text="not told: team: answered 500"),)
    assert failed.steps == (step(case, "vetted", "core 1.0: nothing against it"),)
    assert sent.troubles == ()
    assert mill.notifier.keys == [f"{case.id}:requested"] * 2
    assert mill.log.writes.count("notification") == 1


def test_what_arrived_somewhere_is_told(mill: Mill) -> None:
    """One of two channels is enough for nobody to hear it twice; the other's failure is said and recorded."""
    mill.notifier = FakeNotifier("team", "mail")
    mill.notifier.broken = {"mail": "no route"}
    case = mill.desk.ask(python(CORE))

    first, second = mill.run(), mill.run()

    assert first.troubles == (Trouble(exception=case.id, text="not told: mail: no route"),)
    assert second.troubles == ()
    assert mill.notifier.keys == [f"{case.id}:requested"]


def test_nobody_to_tell_is_no_trouble(mill: Mill) -> None:
    """Without channels nothing is recorded, so that a channel of tomorrow hears of today."""
    mill.notifier = FakeNotifier()
    case = mill.desk.ask(python(CORE))
    mill.run()
    mill.notifier = FakeNotifier("team")

    mill.run(NOON + DAY)

    assert mill.notifier.keys == [f"{case.id}:requested"]


def test_a_channel_of_today_is_not_flooded_with_the_past(mill: Mill) -> None:
    """What happened two weeks ago is no news."""
    mill.notifier = FakeNotifier()
    case = mill.desk.ask(python(CORE))
    assert case.request is not None
    mill.run()
    mill.notifier = FakeNotifier("team")

    mill.run(case.request.time + TOLD_FOR + timedelta(seconds=1))
    late = list(mill.notifier.sent)
    mill.run(case.request.time + TOLD_FOR)

    assert (late, mill.notifier.keys) == ([], [f"{case.id}:requested"])


def test_what_people_are_sent_is_harmless(mill: Mill) -> None:
    """Control characters, bidi, and commands of CI systems in reasons and names of people stand there as text."""
    hostile = (
        "\x1b]52;c;AAAA\x07 \u202egnp.exe ##vso[task.complete]\r\n::add-mask::x\u2028[click](https://evil.example)"
    )
    who = Identity(kind="oidc", issuer="https://i", id="7", name="\x1b[31meve\u202e", verified=True)
    asked = request(python(CORE), reason=hostile, by=who, time=NOON)
    mill.log.append("log-requests/demo-2026-11", request_drafts(asked, [entry_id()]))

    mill.run()

    (message,) = mill.notifier.sent
    assert message.title == "exception requested: core 1.0"
    assert all(" " <= character <= "~" or character == "\n" for character in message.text)
    assert "##vso" not in message.text
    assert not any(line.lstrip().startswith("::") for line in message.text.splitlines())
    assert "\\x1b[31meve" in message.text


def test_what_is_said_of_a_run_names_what_it_is_about(mill: Mill) -> None:
    """The first three of many packages."""
    releases = [Release(name=f"p{number}", version="1") for number in range(5)]
    mill.desk.upstreams = {"pypi": tuple(releases)}
    mill.desk.__post_init__()
    case = mill.desk.ask(*map(python, releases))

    done = mill.run(notify=False)

    assert done.steps == (step(case, "vetted", "p0 1, p1 1, p2 1 and 2 more: nothing against it"),)


# --- what must not wait -----------------------------------------------------------------------------------------------


def test_what_ended_does_not_wait_for_what_is_new(mill: Mill) -> None:
    """A file that was revoked is out of the mirror before anybody looks into another one."""
    ended = mill.published(CORE)
    mill.rule(ended, RulingKind.REVOKE)
    mill.desk.upstreams = {"pypi": (CORE, OTHER)}
    mill.desk.__post_init__()
    new = mill.desk.ask(python(OTHER))
    told: list[str] = []
    mill.desk.told = told

    done = mill.run()

    assert [(one.exception, one.what) for one in done.steps] == [(ended.id, "unlisted"), (new.id, "vetted")]
    assert not mill.listed()


def test_what_takes_too_long_is_left_to_the_next_run(mill: Mill) -> None:
    """A run has its time for vetting; what is left is counted, and vetted by the next."""
    cases = [mill.desk.ask(python(release)) for release in (CORE, OTHER)]
    hours = iter([0.0, 7200.0])

    first = mill.run(elapsed=lambda: next(hours))
    second = mill.run()

    assert (first.postponed, second.postponed) == (1, 0)
    assert {one.exception for one in (*first.steps, *second.steps) if one.what == "vetted"} == {
        case.id for case in cases
    }


def test_a_deny_entry_reaches_what_is_published(mill: Mill) -> None:
    """A policy that was tightened since is what a file is judged by: nobody can waive a deny entry."""
    case = mill.published(CORE)
    denied = "version: 1\ndeny: [{name: core, owner: sec, reason: backdoor, added: 2026-01-01}]\n"
    mill.desk.policy, mill.desk.policy_sha256 = policy(entries=denied), "d" * 64

    done = mill.run(NOON + DAY)

    why = "what vetting found on 2026-11-24 is outside of what was waived: core 1.0 deny-entry"
    assert done.steps == (
        step(case, "vetted again", "core 1.0: no approval can waive core 1.0 deny-entry"),
        step(case, "suspended", f"core 1.0: {why}"),
        step(case, "unlisted", f"core 1.0: suspended: {why}"),
    )
    assert not mill.listed()
