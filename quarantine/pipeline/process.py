"""What the central pipeline does with exceptions, each time it runs.

(1) Read the log. (2) Look again at what holds, is suspended or waits for a decision, when advisories or policy are others
than it was vetted by: what they say may have become more, or less. (3) Take what ended out of the mirror: expired, revoked,
suspended. (4) Publish what is approved. (5) Say what is about to expire. (6) Vet what is new, and what is named. (7) Empty
the holding area of what is over. (8) Tell people.

Ending comes first, so that nothing stays in the mirror for want of something else; vetting, which takes the longest and is of
files that anybody may ask for, comes after. One exception that fails holds up none of the others, and the next run goes on
where this one stopped: a run over what is done writes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from quarantine.audit.events import delivered_draft, publication_draft
from quarantine.errors import QuarantineError, UpstreamError
from quarantine.exceptions import (
    Approved,
    DossierSummary,
    ExceptionCase,
    Grants,
    Identity,
    Pending,
    Publication,
    PublicationKind,
    Rejected,
    RulingKind,
    State,
    Status,
)
from quarantine.pipeline.publish import ENDS, HELD, Changed, Publisher, drop_held, publish_all, unlist_all
from quarantine.pipeline.state import keep_state
from quarantine.pipeline.vet import Vetting
from quarantine.policy.case import day
from quarantine.policy.decide import clock, decide, grants, rules_of, status
from quarantine.policy.stage import Policy
from quarantine.ports import AuditLog, Message, Notifier, PageStore, Tell

__all__ = ["LEASE", "Done", "Process", "ProcessPorts", "Step", "Trouble"]

VET_SECONDS = 1800.0
"""After this nothing more is vetted in a run: what ended must not wait for a day because somebody asked for a thousand files."""
LEASE = "publisher"
"""What is held while the mirror is changed: two who put a file in and take it out at once could leave a link without one."""
HELD_FOR = timedelta(days=30)
"""How long files of what expired or was revoked stay in the holding area: for a renewal, and for who looks into what they were."""
TOLD_FOR = timedelta(days=14)
"""Nobody is told of what happened longer ago: a channel that is set up today isn't flooded with all of the past."""

_IN_MIRROR = (
    PublicationKind.PUBLISHING,
    PublicationKind.PUBLISHED,
    PublicationKind.UNLISTING,
    PublicationKind.UNLISTED,
)


_T = TypeVar("_T")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done: which exception, what, and a line about it."""

    exception: str
    what: str
    text: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that could not be done, and why; the next run tries it again."""

    exception: str
    text: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did.

    `warnings` are what no run can mend: streams that somebody who may ask has broken. `waiting` counts the exceptions that
    wait for a decision, `postponed` those that weren't vetted for want of time.
    """

    steps: tuple[Step, ...]
    troubles: tuple[Trouble, ...]
    warnings: tuple[str, ...] = ()
    waiting: int
    postponed: int = 0


class ProcessPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything outside that a run needs. Vetting and publishing have their own, and are made when something needs them."""

    log: AuditLog
    pages: PageStore
    vetting: Callable[[], Vetting]
    publisher: Callable[[], Publisher]
    notifier: Notifier


class Process:
    """One run, at one instant, under one policy. `only` are the exceptions that it is about, all of them where it is empty.

    `plain` makes text from outside harmless, for what people are sent. `elapsed` says how long the run takes, in seconds.
    """

    def __init__(
        self,
        *,
        ports: ProcessPorts,
        policy: Policy,
        local: bool,
        now: datetime,
        by: Identity,
        project: str,
        stream: str,
        new_id: Callable[[], str],
        plain: Callable[[str], str],
        elapsed: Callable[[], float],
        tell: Tell,
        only: frozenset[str] = frozenset(),
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._local = local
        self._now = now
        self._by = by
        self._project = project
        self._stream = stream
        self._new_id = new_id
        self._plain = plain
        self._tell = tell
        self._only = only
        self._elapsed = elapsed
        self._postponed = 0
        self._grants: dict[tuple[str, str], Grants] = {}
        self._steps: list[Step] = []
        self._troubles: list[Trouble] = []

    def run(self, *, vet: bool = True, publish: bool = True, notify: bool = True) -> Done:
        """Everything that is due. UpstreamError when the log can't be read, or a clock is wrong; IntegrityError."""
        state = self._read()  # (1)
        if vet:
            again = [self._look_again(case) for case in self._cases(state)]  # (2)
            state = self._read() if any(again) else state
        if publish:
            if any(map(self._due, self._cases(state))):
                with self._ports.pages.lease(LEASE):
                    state = self._read()  # somebody else may have had it until now
                    self._end(self._cases(state), self._needed(state))  # (3)
                    self._publish(self._cases(state))  # (4)
            for case in self._cases(state):
                self._warn(case)  # (5)
        if vet:
            self._vet_all(state)  # (6)
        if publish and not self._only:
            self._drop(state)  # (7)
        if notify:
            self._notify(self._read() if self._steps else state)  # (8)
        state = self._read() if self._steps else state
        waiting = sum(self._status(case) is Status.VETTED for case in state.cases.values())
        return Done(
            steps=tuple(self._steps),
            troubles=tuple(self._troubles),
            warnings=tuple(f"requests are lost: {why}" for why in state.broken),
            waiting=waiting,
            postponed=self._postponed,
        )

    def _read(self) -> State:
        self._tell("reading the log of exceptions")
        state = keep_state(self._ports.log, self._ports.pages)
        doubt = clock(state, self._now)
        if doubt:
            raise UpstreamError(f"nothing is done: {doubt[0].message}")
        return state

    def _cases(self, state: State) -> Iterable[ExceptionCase]:
        """The cases of this run that have a request, the oldest first."""
        cases = (case for case in state.cases.values() if not self._only or case.id in self._only)
        asked = [(case.request.time, case.id, case) for case in cases if case.request is not None]
        return [case for _, _, case in sorted(asked)]

    def _status(self, case: ExceptionCase) -> Status:
        return status(case, decide(case, self._policy, self._now, local=self._local))

    # --- vetting ------------------------------------------------------------------------------------------------------

    def _vet_all(self, state: State) -> None:
        """Vets what waits for it, until the time of the run is over: the rest is for the next one.

        In no order that whoever asks could choose: a request that takes long, or fails each time, comes last as often as
        first.
        """
        turn = f"{self._now:%Y%m%dT%H%M}"
        for case in sorted(self._cases(state), key=lambda case: sha256(f"{turn}{case.id}".encode()).digest()):
            if not self._waits(case):
                continue
            if self._elapsed() > VET_SECONDS:
                self._postponed += 1
                continue
            self._vet(case, state)

    def _waits(self, case: ExceptionCase) -> bool:
        """Whether the case is to be vetted: one that is named is vetted whole, whatever is known of it."""
        decision = decide(case, self._policy, self._now, local=self._local)
        new = isinstance(decision, Pending) and decision.status is Status.REQUESTED
        named = case.id in self._only and not isinstance(decision, Rejected)
        return (new or named) and rules_of(case, self._policy) is not None

    def _vet(self, case: ExceptionCase, state: State) -> None:
        assert case.request is not None  # noqa: S101 - `_cases` looked
        where = (case.request.project, case.request.stage)
        if where not in self._grants:
            self._grants[where] = grants(state, self._policy, *where, self._now, local=self._local)
        summary = self._tried(case, lambda: self._ports.vetting().vet(case, self._grants[where]))
        if summary is not None:
            self._did(case, "vetted", _found(summary))

    def _look_again(self, case: ExceptionCase) -> bool:
        """Whether something else is known of an exception than what it was vetted by."""
        if case.request is None or case.dossier is None:
            return False
        decision = decide(case, self._policy, self._now, local=self._local)
        if not isinstance(decision, Approved) and decision.status not in (Status.VETTED, Status.SUSPENDED):
            return False
        stage, known = case.request.stage, (case.dossier.policy, case.dossier.advisories)
        if self._tried(case, lambda: self._ports.vetting().judged_by(stage)) in (None, known):
            return False
        summary = self._tried(case, lambda: self._ports.vetting().again(case))
        if summary is None:
            return False
        self._did(case, "vetted again", _found(summary))
        return True

    # --- the mirror ---------------------------------------------------------------------------------------------------

    def _needed(self, state: State) -> frozenset[str]:
        """The digests of all files that some exception that holds is for: none of them is taken away."""
        decisions = (decide(case, self._policy, self._now, local=self._local) for case in state.cases.values())
        return frozenset(
            file.sha256 for decision in decisions if isinstance(decision, Approved) for file in decision.files
        )

    def _due(self, case: ExceptionCase) -> bool:
        """Whether there is something to do in the mirror, or to record of it, for the case."""
        decision = decide(case, self._policy, self._now, local=self._local)
        if isinstance(decision, Approved):
            return status(case, decision) is not Status.PUBLISHED
        news = decision.status is Status.SUSPENDED and self._news(case, PublicationKind.SUSPENDED, decision.why)
        return news or _in_mirror(case)

    def _end(self, cases: Iterable[ExceptionCase], needed: frozenset[str]) -> None:
        """Takes out of the mirror what no longer holds."""
        ended: list[tuple[ExceptionCase, str]] = []
        for case in cases:
            decision = decide(case, self._policy, self._now, local=self._local)
            if isinstance(decision, Approved):
                continue
            if decision.status is Status.SUSPENDED and self._news(case, PublicationKind.SUSPENDED, decision.why):
                self._step(case, PublicationKind.SUSPENDED, decision.why)
                self._did(case, "suspended", decision.why)
            if _in_mirror(case):
                ended.append((case, f"{decision.status.value}: {decision.why}"))
        if ended:
            why = {case.id: text for case, text in ended}
            self._changed(ended, unlist_all(self._ports.publisher(), ended, needed), "unlisted", why)

    def _publish(self, cases: Iterable[ExceptionCase]) -> None:
        """Puts into the mirror what holds and isn't there."""
        todo: list[tuple[ExceptionCase, Approved]] = []
        for case in cases:
            decision = decide(case, self._policy, self._now, local=self._local)
            if isinstance(decision, Approved) and status(case, decision) is not Status.PUBLISHED:
                todo.append((case, decision))
        if todo:
            why = {case.id: f"until {day(approved.expires_at)}" for case, approved in todo}
            self._changed(todo, publish_all(self._ports.publisher(), todo), "published", why)

    def _changed(
        self,
        cases: Sequence[tuple[ExceptionCase, object]],
        changed: Sequence[Changed],
        what: str,
        why: Mapping[str, str],
    ) -> None:
        """Takes note of what the publisher did, and of what it couldn't."""
        for (case, _), done in zip(cases, changed, strict=True):
            if done.problem is not None:
                self._troubles.append(Trouble(exception=case.id, text=str(done.problem)))
            elif done.steps:
                self._did(case, what, why[case.id])

    def _warn(self, case: ExceptionCase) -> None:
        """An exception that ends soon is said to, once for each end that it has."""
        decision, rule = decide(case, self._policy, self._now, local=self._local), rules_of(case, self._policy)
        if not isinstance(decision, Approved) or rule is None:
            return
        if self._now < decision.expires_at - timedelta(days=rule.warn_days):
            return
        why = f"expires on {day(decision.expires_at)}"
        if self._news(case, PublicationKind.WARNED, why):
            self._step(case, PublicationKind.WARNED, why)
            self._did(case, "expires soon", why)

    def _news(self, case: ExceptionCase, kind: PublicationKind, why: str) -> bool:
        """Whether the last step of this kind isn't the very same one."""
        last = case.last(kind)
        return last is None or last.why != why

    def _step(self, case: ExceptionCase, kind: PublicationKind, why: str) -> None:
        if case.request is not None:
            step = Publication(kind=kind, time=self._now, why=why[:2000])
            draft = publication_draft(case.request, step, self._by, self._new_id())
            self._ports.log.append(self._stream, [draft])

    # --- the holding area ---------------------------------------------------------------------------------------------

    def _drop(self, state: State) -> None:
        """Takes out of the holding area what is there for exceptions alone that are over."""
        if not any(self._over(case) for case in self._cases(state)):
            return
        try:
            publisher = self._ports.publisher()
            held = frozenset(digest.hex for digest in publisher.store.digests(HELD))
            if not self._droppable(state, held):
                return
            with self._ports.pages.lease(LEASE):
                todo = self._droppable(self._read(), held)
                drop_held(publisher, todo)
        except QuarantineError as error:
            self._troubles.append(Trouble(exception="", text=f"the holding area isn't emptied: {error}"))
            return
        for case, files, why in todo:
            count = "1 file" if len(files) == 1 else f"{len(files)} files"
            self._did(case, "dropped", f"{count} of the holding area, {why}")

    def _droppable(self, state: State, held: frozenset[str]) -> list[tuple[ExceptionCase, frozenset[str], str]]:
        """The cases that are over, with those of their files that are held and that no other case is for, and why.

        None while requests are lost: they may be for the same files.
        """
        if state.broken:
            return []
        over: list[tuple[ExceptionCase, frozenset[str], str]] = []
        wanted: set[str] = set()
        for case in state.cases.values():
            every, files = _every_file(case), self._over(case)
            wanted |= every - files
            if files:
                over.append((case, files & held, self._status(case).value))
        found = [(case, files - wanted, why) for case, files, why in over]
        return [(case, files, why) for case, files, why in found if files]

    def _over(self, case: ExceptionCase) -> frozenset[str]:
        """The sha256 of the files that the case needs in the holding area no longer.

        All that it is for, once it was rejected; a while after it was revoked, or expired and wasn't renewed, so that nothing
        must be fetched again for that. Wheels that were attached nobody could fetch: they stay for as long as one may renew.
        """
        decision = decide(case, self._policy, self._now, local=self._local)
        if case.request is None or _in_mirror(case):
            return frozenset()
        match decision:
            case Rejected(status=Status.REJECTED):
                return _every_file(case)
            case Rejected(at=ended) if self._now - ended >= HELD_FOR:
                return _every_file(case)
            case Pending(status=Status.EXPIRED, expired_at=datetime() as ended) if self._now - ended >= HELD_FOR:
                return _every_file(case) - {attached.file.sha256 for attached in case.attached}
        return frozenset()

    # --- people -------------------------------------------------------------------------------------------------------

    def _notify(self, state: State) -> None:
        """Every event that nobody was told of yet. What can't be delivered is tried again by the next run."""
        for case in self._cases(state):
            for at, message in self._messages(case):
                if message.key in state.delivered or self._now - at > TOLD_FOR:
                    continue
                title, text = self._plain(message.title), "\n".join(map(self._plain, message.text.splitlines()))
                deliveries = self._ports.notifier.send(replace(message, title=title, text=text), self._tell)
                arrived = tuple(delivery.channel for delivery in deliveries if not delivery.problem)
                problems = tuple(
                    f"{delivery.channel}: {delivery.problem}" for delivery in deliveries if delivery.problem
                )
                self._troubles += [Trouble(exception=case.id, text=f"not told: {problem}") for problem in problems]
                if arrived:
                    draft = delivered_draft(
                        message.key, arrived, problems, self._by, self._project, self._now, self._new_id()
                    )
                    self._ports.log.append(self._stream, [draft])

    def _messages(self, case: ExceptionCase) -> Iterable[tuple[datetime, Message]]:
        """What there is to tell of a case, with the time of each."""
        request = case.request
        if request is None:
            return
        what = _what(case)
        where = f"project {request.project}, stage {request.stage}"
        yield (
            request.time,
            Message(
                key=f"{case.id}:requested",
                title=f"exception requested: {what}",
                text=f"{request.requester} asks for {what} ({where}): {request.reason}\nquarantine exception show {case.id[:12]}",
            ),
        )
        for ruling in case.rulings:
            done = {RulingKind.APPROVE: "approved", RulingKind.RENEW: "renewed", RulingKind.REJECT: "rejected"}
            word = done.get(ruling.kind, "revoked")
            yield (
                ruling.time,
                Message(
                    key=f"{case.id}:{word}:{ruling.id}",
                    title=f"exception {word}: {what}",
                    text=f"{what} ({where}) was {word} by {ruling.by}: {ruling.reason}",
                ),
            )
        told = {PublicationKind.SUSPENDED: "suspended", PublicationKind.WARNED: "expires soon"}
        for step in case.publications:
            if step.kind in told:
                yield (
                    step.time,
                    Message(
                        key=f"{case.id}:{step.kind.value}:{step.time:%Y%m%dT%H%M%S}",
                        title=f"exception {told[step.kind]}: {what}",
                        text=f"{what} ({where}): {step.why}\nquarantine exception show {case.id[:12]}",
                    ),
                )

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _tried(self, case: ExceptionCase, act: Callable[[], _T]) -> _T | None:
        """What the act answers; None when it failed, which is kept, and holds up nothing else."""
        try:
            return act()
        except QuarantineError as error:
            self._troubles.append(Trouble(exception=case.id, text=str(error)))
            return None

    def _did(self, case: ExceptionCase, what: str, text: str) -> None:
        self._steps.append(Step(exception=case.id, what=what, text=f"{_what(case)}: {text}"))
        self._tell(f"{what}: {_what(case)}")


def _in_mirror(case: ExceptionCase) -> bool:
    """Whether the publisher has files of the case in the mirror, or began to put them there or to take them out."""
    last = case.last(*ENDS)
    return last is not None and last.kind is not PublicationKind.UNLISTED


def _every_file(case: ExceptionCase) -> frozenset[str]:
    """The sha256 of all that was asked for, and of all that was attached."""
    asked = () if case.request is None else case.request.files
    return frozenset(file.sha256 for file in (*asked, *(attached.file for attached in case.attached)))


def _what(case: ExceptionCase) -> str:
    """What a case is about, in a few words."""
    labels = tuple(dict.fromkeys(file.label for file in case.files))
    return (
        labels[0]
        if len(labels) == 1
        else f"{', '.join(labels[:3])}{'' if len(labels) <= 3 else f' and {len(labels) - 3} more'}"
    )


def _found(summary: DossierSummary) -> str:
    """What vetting came to, in one line."""
    final = tuple(key for key in summary.final if not key.endswith(" source"))
    if summary.final and not final:
        return "needs a wheel, which a curator builds of its source: quarantine exception attach-wheel"
    if final:
        return f"no approval can waive {', '.join(final[:5])}"
    failures = "1 failure" if len(summary.failures) == 1 else f"{len(summary.failures)} failures"
    counts = f"{failures}, {len(summary.unknowns)} unknown"
    return "nothing against it" if not summary.waivable else counts
