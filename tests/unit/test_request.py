"""Asking for exceptions: which files, who asks, who joins, and requests that travel as files."""

import itertools
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from exception_records import DECISIONS, NOON, REQUESTS, ruling, wheel
from fakes_conda import CondaPackage, CondaWorld, FakeCondaSolver
from fakes_identity import ALICE, BOB, CAROL, FakeIdentities
from fakes_index import FakeIndex, Release, World
from fakes_log import MemoryLog
from fakes_store import MemoryStore
from msgspec.structs import replace
from policy_samples import LINUX, policy

from quarantine.audit.events import request_id, ruling_draft
from quarantine.audit.record import new_id
from quarantine.errors import SpecError, UpstreamError, UsageError
from quarantine.exceptions import ExceptionFile, ExceptionRequest, Identity, RulingKind, State
from quarantine.model import Ecosystem, parse_version
from quarantine.pipeline.request import (
    Already,
    Filed,
    JoinedTo,
    RequestPorts,
    Wish,
    draft_request,
    encode_request,
    file_request,
    import_request,
    parse_request,
)
from quarantine.pipeline.request_files import Owners, can_be_asked, files_of, held_to_owners
from quarantine.pipeline.state import read_state
from quarantine.spec.asked import CondaAsked, PythonAsked
from quarantine.spec.verdict_file import LeftOut, Refused

POLICY = policy()
NUMPY = PythonAsked(name="numpy", version=parse_version("1.26.4"))


def quiet(_: str) -> None:
    """Says nothing."""


def ids() -> Callable[[], str]:
    """Ids that differ."""
    numbers = itertools.count(1)
    return lambda: new_id(NOON, next(numbers).to_bytes(10, "big"))


def wish(reason: str = "the model needs it", **changed: object) -> Wish:
    """A wish of the project demo for production."""
    usual = Wish(
        project="demo",
        stage="production",
        reason=reason,
        until=None,
        now=NOON,
        policy=POLICY,
        local=False,
        new_id=ids(),
        nonce="n1",
    )
    return replace(usual, **changed)


class Desk:
    """A store in memory, and somebody who asks."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.people = FakeIdentities(ALICE)
        self.ports = RequestPorts(log=self.log, pages=MemoryStore(), identities=self.people)

    @property
    def state(self) -> State:
        """What all exceptions are now."""
        return read_state(self.log, self.ports.pages)


def owners(*releases: Release, conda: CondaWorld | None = None) -> Owners:
    """An index that has these, and channels."""
    index = FakeIndex(World(upstreams={"pypi": releases}))
    solver = FakeCondaSolver(conda or CondaWorld(channels={}))
    return Owners(index=index, solver=lambda: solver, targets=(LINUX,), tell=quiet)


def as_file(release: Release) -> ExceptionFile:
    """A release as it is asked for."""
    found = release.artifact()
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name=found.name,
        version=str(found.version),
        filename=found.filename,
        sha256=release.digest.hex,
        size=found.size,
    )


# --- which files ------------------------------------------------------------------------------------------------------

LINUX_WHEEL = Release(name="numpy", version="1.26.4", tag="cp311-cp311-manylinux_2_17_x86_64")
MAC_WHEEL = Release(name="numpy", version="1.26.4", tag="cp311-cp311-macosx_11_0_arm64")
PURE_WHEEL = Release(name="numpy", version="1.26.4")
SOURCE = Release(name="numpy", version="1.26.4", source=True)


@pytest.mark.parametrize(
    ("releases", "expected"),
    [
        ((LINUX_WHEEL, MAC_WHEEL, PURE_WHEEL, SOURCE), (LINUX_WHEEL, PURE_WHEEL)),
        ((SOURCE,), (SOURCE,)),
        ((MAC_WHEEL, SOURCE), (SOURCE,)),
    ],
    ids=["wheels", "source only", "no wheel for the target"],
)
def test_files_of_a_version(releases: tuple[Release, ...], expected: tuple[Release, ...]) -> None:
    """All wheels that a target may install; where there is none, the source distribution."""
    found = files_of([NUMPY], owners(*releases))

    assert {file.sha256 for file in found} == {release.digest.hex for release in expected}
    assert {(file.upstream, file.name, file.version) for file in found} == {("pypi", "numpy", "1.26.4")}


def test_every_package_without_files_is_told() -> None:
    """Names that nobody has, versions that the owner doesn't have, and wheels for other machines only."""
    asked = [
        PythonAsked(name="nobody", version=parse_version("1")),
        PythonAsked(name="numpy", version=parse_version("9")),
        NUMPY,
    ]

    with pytest.raises(UsageError) as caught:
        files_of(asked, owners(MAC_WHEEL))

    assert str(caught.value).splitlines() == [
        (
            "no upstream of the policy has nobody, so there is nothing to ask for: see that its name is right, or let curators add "
            "the upstream that has it"
        ),
        "pypi has no numpy 9: it has 1.26.4",
        (
            "none of the 1 files of numpy 1.26.4 may be installed on cp311-linux-x86_64: name the target that needs it in "
            "quarantine.yaml (targets:)"
        ),
    ]


def test_a_file_is_held_to_its_owner() -> None:
    """The page must list the very digest under the very name; what it says of the size is taken over."""
    file = as_file(LINUX_WHEEL)
    swapped = replace(file, sha256="d" * 64)
    renamed = replace(file, filename="numpy-1.26.4-cp311-cp311-manylinux_2_99_x86_64.whl")
    larger = replace(file, size=1 + (file.size or 0))
    moved = replace(file, upstream="acme")
    groups = [([one], NUMPY) for one in (file, swapped, renamed, larger, moved)]

    found, problems = held_to_owners(groups, owners(LINUX_WHEEL))

    again = "check again, and file from the new verdict"
    assert found == (file,)
    assert problems == (
        (1, f"pypi doesn't list {file.filename} with sha256:{'d' * 64}: {again}"),
        (2, f"pypi doesn't list {renamed.filename} with {file.digest}: {again}"),
        (3, f"pypi doesn't list {file.filename} with {file.digest}: {again}"),
        (4, f"numpy 1.26.4 is said to be from acme, and pypi has the name now: {again}"),
    )


def test_what_no_approval_can_waive_is_not_asked_for() -> None:
    """A package that curators deny by list is left out; one whose exception was revoked may be asked for again."""
    usual = Refused(asked=NUMPY, upstream="pypi", files=(wheel(),), rules=frozenset({"vulnerability"}), line=1)
    again = replace(usual, rules=frozenset({"exception"}))
    denied = replace(usual, rules=frozenset({"deny-entry", "vulnerability", "integrity"}))

    kept, left_out = can_be_asked([usual, again, denied])

    assert kept == (usual, again)
    assert left_out == (LeftOut(label="numpy 1.26.4", why="no approval can waive deny-entry, integrity"),)


def test_what_could_not_be_told_is_asked_for_where_an_approval_can_waive_it() -> None:
    """An undecided package is a person's to decide; bytes that couldn't be compared are not."""
    unrated = Refused(
        asked=NUMPY, upstream="pypi", files=(wheel(),), rules=frozenset({"vulnerability"}), line=1, undecided=True
    )
    unseen = replace(unrated, rules=frozenset({"integrity", "minimum-age"}))

    kept, left_out = can_be_asked([unrated, unseen])

    why = "it is undecided, and no approval can waive what isn't known of integrity: mend the evidence, and check again"
    assert (kept, left_out) == ((unrated,), (LeftOut(label="numpy 1.26.4", why=why),))


FORGE = CondaWorld(
    channels={"forge": (CondaPackage(name="core", version="1.0", build="h1_0", subdir="linux-64"),), "other": ()}
)
CORE = CondaAsked(name="core", version="1.0", build="h1_0", subdir="linux-64", channel="forge", kind=".conda")


def test_a_conda_file_is_held_to_its_channel() -> None:
    """By digest, and by all of its names."""
    record = FORGE.channels["forge"][0].record("forge")
    assert record.sha256 is not None
    file = ExceptionFile(
        ecosystem=Ecosystem.CONDA,
        upstream="forge",
        name="core",
        version="1.0",
        filename=record.filename,
        sha256=record.sha256.hex,
        subdir="linux-64",
        build="h1_0",
    )
    other = replace(file, build="h1_1")
    nowhere = replace(file, subdir="linux-ppc64le")

    found, problems = held_to_owners([([file], CORE), ([other], CORE), ([nowhere], CORE)], owners(conda=FORGE))

    assert [one.sha256 for one in found] == [file.sha256]
    assert problems == (
        (1, f"forge doesn't list {file.filename} with {file.digest}: check again, and file from the new verdict"),
        (
            2,
            (
                "'linux-ppc64le' is no platform that anything is built for here: expected noarch, linux-64, linux-aarch64, "
                "osx-arm64, win-64"
            ),
        ),
    )


def test_another_channels_package_is_not_asked_for() -> None:
    """The first channel that has a name owns it, whatever the URL says."""
    with pytest.raises(UsageError) as caught:
        files_of([replace(CORE, channel="other"), replace(CORE, name="nobody")], owners(conda=FORGE))

    assert str(caught.value).splitlines() == [
        "core is forge's: what other has under that name is never installed",
        (
            "no channel of the policy has nobody, so there is nothing to ask for: see that its name is right, or let curators add "
            "the channel that has it"
        ),
    ]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_request_is_written_and_stands_for_itself() -> None:
    """What was asked for is in the log under the id that it has."""
    desk = Desk()

    filed = file_request((wheel(),), wish(until=NOON + timedelta(days=30)), desk.ports, quiet)

    assert isinstance(filed, Filed)
    case = desk.state.cases[filed.request.id]
    assert case.request == filed.request
    assert filed.request == ExceptionRequest(
        id=request_id(filed.request),
        project="demo",
        stage="production",
        reason="the model needs it",
        files=(wheel(),),
        requester=ALICE,
        time=NOON,
        until=NOON + timedelta(days=30),
        nonce="n1",
    )
    assert list(desk.log.stored) == [REQUESTS]


def test_a_closure_of_hundreds_of_files_is_one_request() -> None:
    """It is written as several entries, all or none of them."""
    desk = Desk()
    files = tuple(sorted(wheel(f"package{number}") for number in range(250)))

    filed = file_request(files, wish(), desk.ports, quiet)

    assert len(desk.log.stored[REQUESTS]) == 7
    assert desk.state.cases[filed.request.id].files == files


def test_nobody_keeps_others_from_asking() -> None:
    """Where every stream that can be foreseen is broken, the request goes into one that can't."""
    desk = Desk()
    broken = (REQUESTS, *(f"{REQUESTS}.{number}" for number in range(2, 10)))
    desk.log.stored = {stream: [b"x\n"] for stream in broken}

    first = file_request((wheel(),), wish(), desk.ports, quiet)
    second = file_request((wheel("scipy"),), wish(), desk.ports, quiet)

    assert desk.state.cases.keys() == {first.request.id, second.request.id}
    # the random part of the id that its entry has
    assert sorted(set(desk.log.stored) - set(broken)) == [f"{REQUESTS}.000000000001"]
    assert [desk.log.stored[stream] for stream in broken] == [[b"x\n"]] * 9


def test_who_asks_twice_is_told_so() -> None:
    """The same files for the same project and stage by the same person: nothing is written."""
    desk = Desk()
    first = file_request((wheel(),), wish(), desk.ports, quiet)
    before = dict(desk.log.stored)

    again = file_request((wheel(),), wish("once more", nonce="n2"), desk.ports, quiet)

    assert again == Already(request=first.request)
    assert desk.log.stored == before


def test_somebody_else_joins() -> None:
    """They are with those who ask from then on, and there is one exception."""
    desk = Desk()
    first = file_request((wheel(),), wish(), desk.ports, quiet)
    desk.people.person = BOB

    joined = file_request((wheel(),), wish("so does ours", nonce="n2"), desk.ports, quiet)

    (case,) = desk.state.cases.values()
    assert joined == JoinedTo(request=first.request)
    assert [(one.by, one.reason) for one in case.joined] == [(BOB, "so does ours")]
    assert case.requesters == {ALICE.key, BOB.key}


@pytest.mark.parametrize(
    ("by", "file"),
    [
        (replace(ALICE, verified=False), wheel()),
        (ALICE, replace(wheel(), filename="numpy-1.26.4-py2-none-any.whl")),
        (ALICE, replace(wheel(), size=7)),
    ],
    ids=["an identity that doesn't count", "another name", "another size"],
)
def test_nobody_joins_what_others_made_up(by: Identity, file: ExceptionFile) -> None:
    """What can't be approved, or says something else of the same bytes, keeps nobody from asking."""
    desk = Desk()
    desk.people.person = by
    file_request((file,), wish(), desk.ports, quiet)
    desk.people.person = BOB

    filed = file_request((wheel(),), wish("so does ours", nonce="n2"), desk.ports, quiet)

    assert isinstance(filed, Filed)
    assert filed.request.files == (wheel(),)
    assert len(desk.state.cases) == 2


@pytest.mark.parametrize(
    "changed",
    [{"project": "other"}, {"stage": "development"}],
    ids=["another project", "another stage"],
)
def test_other_wishes_are_requests_of_their_own(changed: dict[str, Any]) -> None:
    """An exception is for one project and one stage."""
    desk = Desk()
    file_request((wheel(),), wish(), desk.ports, quiet)

    other = file_request((wheel(),), wish(nonce="n2", **changed), desk.ports, quiet)

    assert isinstance(other, Filed)
    assert len(desk.state.cases) == 2


def test_what_ended_is_asked_for_anew() -> None:
    """Nobody joins an exception that was rejected."""
    desk = Desk()
    first = file_request((wheel(),), wish(), desk.ports, quiet)
    word = ruling(first.request, kind=RulingKind.REJECT, by=CAROL)
    desk.log.append(DECISIONS, [ruling_draft(first.request, word)])

    again = file_request((wheel(),), wish(nonce="n2"), desk.ports, quiet)

    assert isinstance(again, Filed)
    assert again.request.id != first.request.id


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reason": " \n "}, "--reason has 0 characters: expected 1 to 2000, for whoever decides"),
        ({"reason": "x" * 2001}, "--reason has 2001 characters: expected 1 to 2000, for whoever decides"),
        ({"stage": "nowhere"}, "no stage 'nowhere' in the policy: expected development or production"),
        (
            {"project": "../x"},
            "not a request: expected `str` matching regex '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\\\\Z' - at `$.project`",
        ),
    ],
)
def test_a_wish_that_is_none_is_refused(changed: dict[str, object], message: str) -> None:
    """Nothing is written of it."""
    desk = Desk()

    with pytest.raises(UsageError) as caught:
        file_request((wheel(),), replace(wish(), **changed), desk.ports, quiet)

    assert str(caught.value) == message
    assert desk.log.stored == {}


def test_a_request_of_too_many_files_is_refused() -> None:
    """And one of none."""
    for files, message in (
        ((), "there is no file to ask for an exception for"),
        ((wheel(),) * 251, "251 files are more than one request may have: expected 250 at most; ask for them in parts"),
    ):
        with pytest.raises(UsageError) as caught:
            draft_request(files, wish(), ALICE)
        assert str(caught.value) == message


def test_nobody_asks_without_an_identity() -> None:
    """An identity that can't be proved stops it before anything is written."""
    desk = Desk()
    desk.people.person = None

    with pytest.raises(UpstreamError):
        file_request((wheel(),), wish(), desk.ports, quiet)

    assert desk.log.stored == {}


def test_a_secret_in_a_reason_reaches_nothing() -> None:
    """It is redacted before the id is made of it, so that what is stored still is what its id stands for."""
    desk = Desk()

    filed = file_request((wheel(),), wish("see https://user:canary@example.org/x?sig=canary"), desk.ports, quiet)

    assert desk.state.cases[filed.request.id].request == filed.request
    assert b"canary" not in b"".join(desk.log.stored[REQUESTS]) + encode_request(filed.request)


# --- requests as files ------------------------------------------------------------------------------------------------


def test_a_request_travels_as_a_file() -> None:
    """What is read is what was written."""
    request = draft_request((wheel(),), wish(until=NOON + timedelta(days=3)), ALICE)

    assert parse_request("request.json", encode_request(request)) == request


@pytest.mark.parametrize(
    ("place", "new", "message"),
    [
        (
            "reason",
            "somebody else's",
            "request.json:4: the request isn't what its id stands for: it was changed since it was written",
        ),
        (
            "stage",
            "development",
            "request.json:4: the request isn't what its id stands for: it was changed since it was written",
        ),
        (
            "id",
            "0" * 32,
            "request.json:4: the request isn't what its id stands for: it was changed since it was written",
        ),
        ("files", [], "request.json:8: request.files: expected `array` of length >= 1"),
        ("approved", True, "request.json:3: request: object contains unknown field `approved`"),
    ],
)
def test_a_file_that_was_changed_is_refused(place: str, new: object, message: str) -> None:
    """A request file asks for what its sender asked for, or for nothing."""
    document = json.loads(encode_request(draft_request((wheel(),), wish(), ALICE)))
    document["request"][place] = new

    with pytest.raises(SpecError) as caught:
        parse_request("request.json", json.dumps(document, indent=2).encode())

    assert str(caught.value) == message


def test_a_file_with_a_wheel_of_something_else_is_refused() -> None:
    """Even where its id is right."""
    wrong = replace(wheel(), filename="evil-1.0-py3-none-any.whl")
    request = draft_request((wrong,), wish(), ALICE)

    with pytest.raises(SpecError) as caught:
        parse_request("request.json", encode_request(request))

    assert str(caught.value) == "request.json:9: 'evil-1.0-py3-none-any.whl' is not a wheel of numpy 1.26.4"


def test_the_importer_asks_and_the_claimed_one_may_not_approve() -> None:
    """The name in a file was verified by nobody: it gains nothing by it, and loses what a requester loses."""
    desk = Desk()
    desk.people.person = BOB
    document = draft_request((wheel(),), wish(), ALICE)

    done = import_request(document, wish(nonce="n2"), desk.ports, quiet)

    (case,) = desk.state.cases.values()
    assert isinstance(done, Filed)
    assert done.request.requester == BOB
    assert [one.by for one in case.joined] == [replace(ALICE, verified=False)]
    assert case.requesters == {ALICE.key, BOB.key}


def test_an_import_joins_what_is_asked_for() -> None:
    """Both are with those who ask; a second import of the file writes nothing."""
    desk = Desk()
    desk.people.person = CAROL
    first = file_request((wheel(),), wish(), desk.ports, quiet)
    document = draft_request((wheel(),), wish(), ALICE)
    desk.people.person = BOB

    done = import_request(document, wish(nonce="n2"), desk.ports, quiet)
    again = import_request(document, wish(nonce="n3"), desk.ports, quiet)

    (case,) = desk.state.cases.values()
    assert (done, again) == (JoinedTo(request=first.request), Already(request=first.request))
    assert case.requesters == {ALICE.key, BOB.key, CAROL.key}


def test_whoever_imports_their_own_file_is_named_once() -> None:
    """They are who asks, verified now."""
    desk = Desk()
    document = draft_request((wheel(),), wish(), replace(ALICE, verified=False))

    import_request(document, wish(nonce="n2"), desk.ports, quiet)

    (case,) = desk.state.cases.values()
    assert case.request is not None
    assert (case.request.requester, case.joined) == (ALICE, ())


def test_a_clock_is_not_read() -> None:
    """The time of a request is the instant of its command."""
    instant: datetime = NOON + timedelta(hours=1)

    assert draft_request((wheel(),), wish(now=instant), ALICE).time == instant


def test_a_file_is_asked_for_once() -> None:
    """Two sizes of one file, as a file of requests may have them, are no request, and nothing is written."""
    desk = Desk()

    with pytest.raises(UsageError) as caught:
        file_request((wheel(), replace(wheel(), size=5)), wish(), desk.ports, quiet)
    assert str(caught.value) == "not a request: it names one file twice: expected each sha256 once"
    assert desk.log.stored == {}
