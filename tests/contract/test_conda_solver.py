"""What every `CondaSolver` must do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes_conda import CondaPackage, CondaWorld, FakeCondaSolver
from msgspec.structs import replace

from quarantine.adapters.rattler import RattlerSolver
from quarantine.errors import UpstreamError
from quarantine.model import CondaRecord, Digest, Location, MatchSpec, Target
from quarantine.ports import (
    CondaCandidates,
    CondaFailed,
    CondaListing,
    CondaRequest,
    CondaSolution,
    CondaSolver,
)

TARGET = Target("3.11", "linux-x86_64")
CUTOFF = datetime(2026, 1, 1, tzinfo=UTC)
LATE = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A solver over a world, and the record that it has of a package (md5 left out)."""

    solver: CondaSolver
    record: Callable[[str, CondaPackage], CondaRecord]


Open = Callable[[CondaWorld], AbstractContextManager[Opened]]


def quiet(_: str) -> None:
    """Nobody is told."""


@contextmanager
def fake(world: CondaWorld) -> Iterator[Opened]:
    yield Opened(solver=FakeCondaSolver(world), record=lambda upstream, package: package.record(upstream))


@contextmanager
def rattler(world: CondaWorld) -> Iterator[Opened]:
    with world.served() as served, TemporaryDirectory() as folder:
        solver = RattlerSolver(
            upstreams=served.upstreams, cache_dir=Path(folder) / "cache", environ={}, logins={}, time_limit_seconds=60
        )
        yield Opened(solver=solver, record=served.record)


@pytest.fixture(params=["fake", "rattler"])
def open_solver(request: pytest.FixtureRequest) -> Open:
    return {"fake": fake, "rattler": rattler}[request.param]


def spec(text: str) -> MatchSpec:
    name, _, version = text.partition(" ")
    return MatchSpec(name=name, version=version, location=Location(file="environment.yaml", line=1))


def request(*specs: str, channels: tuple[str, ...] = ("only",), not_after: datetime | None = None) -> CondaRequest:
    return CondaRequest(channels=channels, specs=tuple(map(spec, specs)), target=TARGET, not_after=not_after)


def solution(answer: CondaSolution | CondaFailed) -> tuple[set[tuple[str, str, str]], dict[str, str]]:
    """Where each name is from at which version, and the owners."""
    assert isinstance(answer, CondaSolution), answer.explanation
    return {(r.upstream, r.name, r.version) for r in answer.records}, dict(answer.owners)


def without_md5(record: CondaRecord) -> CondaRecord:
    return CondaRecord(**{name: getattr(record, name) for name in record.__struct_fields__ if name != "md5"})


def test_newest_that_fits_with_all_that_it_needs(open_solver: Open) -> None:
    """A solution is whole records: file, URL, digest, size, the server's time and the packager's dependencies."""
    app = CondaPackage(name="app", version="1.0", depends=("core >=1,<3",))
    cores = [CondaPackage(name="core", version=v, subdir="linux-64") for v in ("1.0", "2.0", "3.0")]
    world = CondaWorld(channels={"only": (app, *cores)})
    with open_solver(world) as opened:
        answer = opened.solver.solve(request("app"), quiet)
        assert isinstance(answer, CondaSolution)
        assert {without_md5(record) for record in answer.records} == {
            opened.record("only", app),
            opened.record("only", cores[1]),
        }
        assert answer.owners == {"app": "only", "core": "only"}


def test_other_platforms_packages_do_not_count(open_solver: Open) -> None:
    """Of the target's platform and of none: what is newer on Windows isn't there."""
    packages = [CondaPackage(name="core", version=v, subdir=s) for v, s in (("1.0", "linux-64"), ("2.0", "win-64"))]
    with open_solver(CondaWorld(channels={"only": tuple(packages)})) as opened:
        answer = opened.solver.solve(request("core"), quiet)
        assert solution(answer) == ({("only", "core", "1.0")}, {"core": "only"})


def test_first_channel_of_the_user_that_has_a_name_is_taken_alone(open_solver: Open) -> None:
    """Strict channel priority: private `acme` 1.0 wins over public 99.0, and what neither satisfies has no solution."""
    world = CondaWorld(
        channels={
            "private": (CondaPackage(name="acme", version="1.0"),),
            "public": (CondaPackage(name="acme", version="99.0"), CondaPackage(name="app", version="1.0")),
        }
    )
    channels = ("private", "public")
    with open_solver(world) as opened:
        answers = [opened.solver.solve(request(*s, channels=channels), quiet) for s in (("acme", "app"), ("acme >=2",))]
        assert solution(answers[0]) == (
            {("private", "acme", "1.0"), ("public", "app", "1.0")},
            {"acme": "private", "app": "public"},
        )
        assert isinstance(answers[1], CondaFailed)
        assert (answers[1].not_found, "acme" in answers[1].explanation) == (frozenset(), True)


def test_owner_is_the_policys_first_whatever_the_user_orders(open_solver: Open) -> None:
    """The user's order steers the solution; who owns a name is said of every channel of the policy."""
    acme = [CondaPackage(name="acme", version=version) for version in ("1.0", "99.0")]
    other = CondaPackage(name="other", version="1.0")
    world = CondaWorld(channels={"private": (acme[0],), "public": (acme[1], other), "third": (other,)})
    with open_solver(world) as opened:
        for channels in (("public", "private"), ("public",), ("third", "public")):
            answer = opened.solver.solve(request("acme", "other", channels=channels), quiet)
            where = "third" if "third" in channels else "public"
            assert solution(answer) == (
                {("public", "acme", "99.0"), (where, "other", "1.0")},
                {"acme": "private", "other": "public"},
            )


def test_cutoff_holds_for_the_servers_time(open_solver: Open) -> None:
    """What a channel took in later isn't there; what it doesn't say the time of is, and is judged by other evidence."""
    old = CondaPackage(name="core", version="1.0")
    new = CondaPackage(name="core", version="2.0", uploaded=LATE)
    untimed = CondaPackage(name="free", version="1.0", uploaded=None)
    with open_solver(CondaWorld(channels={"only": (old, new, untimed)})) as opened:
        answers = [opened.solver.solve(request("core", "free", not_after=c), quiet) for c in (None, CUTOFF)]
        assert [solution(answer)[0] for answer in answers] == [
            {("only", "core", version), ("only", "free", "1.0")} for version in ("2.0", "1.0")
        ]
        assert isinstance(answers[0], CondaSolution)
        assert {record.name: record.indexed for record in answers[0].records} == {"core": LATE, "free": None}


def test_no_cutoff_holds_for_an_approved_file(open_solver: Open) -> None:
    """It is there with the time that the server says; other fresh ones aren't, and a name stays its owner's all the same."""
    old, base = CondaPackage(name="core", version="1.0"), CondaPackage(name="base", version="1.0")
    new = CondaPackage(name="core", version="2.0", uploaded=LATE, depends=("base",))
    newer, young = (CondaPackage(name=n, version="3.0", uploaded=LATE) for n in ("core", "base"))
    world = CondaWorld(
        channels={"only": (old, new, newer, base, young), "late": (CondaPackage(name="base", version="9"),)}
    )
    with open_solver(world) as opened:
        listed = opened.solver.solve(request("core ==2.0"), quiet)
        assert isinstance(listed, CondaSolution)
        digest = next(record.sha256 for record in listed.records if record.name == "core")
        assert digest is not None
        asked = replace(request("core", channels=("only", "late"), not_after=CUTOFF), approved=frozenset({digest}))
        answer = opened.solver.solve(asked, quiet)
        assert solution(answer)[0] == {("only", "core", "2.0"), ("only", "base", "1.0")}
        assert isinstance(answer, CondaSolution)
        assert {record.name: record.indexed for record in answer.records}["core"] == LATE


def test_constraints_limit_without_asking(open_solver: Open) -> None:
    """A constraint on a name that nobody asks for adds nothing."""
    packages = [CondaPackage(name=n, version=v) for n, v in (("core", "1.0"), ("core", "2.0"), ("other", "1.0"))]
    asked = CondaRequest(
        channels=("only",), specs=(spec("core"),), target=TARGET, constraints=("core !=2.0", "other >=1")
    )
    with open_solver(CondaWorld(channels={"only": tuple(packages)})) as opened:
        assert solution(opened.solver.solve(asked, quiet))[0] == {("only", "core", "1.0")}


def test_names_that_no_channel_has_are_told(open_solver: Open) -> None:
    """Those alone: a name whose versions don't fit is there. A dependency that nobody has is no name of the user's."""
    packages = (CondaPackage(name="core", version="1.0"), CondaPackage(name="app", version="1.0", depends=("lost",)))
    with open_solver(CondaWorld(channels={"only": packages})) as opened:
        answers = [opened.solver.solve(request(*s), quiet) for s in (("core", "nobody"), ("core >=2",), ("app",))]
        failed = [answer for answer in answers if isinstance(answer, CondaFailed)]
        assert [answer.not_found for answer in failed] == [{"nobody"}, frozenset(), frozenset()]
        assert [word in f.explanation for f, word in zip(failed, ("nobody", "core", "lost"), strict=True)] == [True] * 3


@pytest.mark.parametrize("channels", [("first",), ("second",), ("second", "first")])
def test_channel_that_fails_is_no_answer(open_solver: Open, channels: tuple[str, ...]) -> None:
    """Neither as one that is asked, nor as one that might own a name: a failing first never makes the second the owner."""
    core = CondaPackage(name="core", version="1.0")
    world = CondaWorld(channels={"first": (core,), "second": (core,)}, broken=frozenset({"first"}))
    with open_solver(world) as opened, pytest.raises(UpstreamError, match="first"):
        opened.solver.solve(request("core", channels=channels), quiet)


def test_listing_is_the_owners(open_solver: Open) -> None:
    """By digest, from the owner alone; a digest that only another channel has isn't listed, and a stranger has no owner."""
    mine = CondaPackage(name="acme", version="1.0")
    theirs = [CondaPackage(name="acme", version="99.0"), CondaPackage(name="core", version="1.0", subdir="linux-64")]
    windows = CondaPackage(name="core", version="1.0", subdir="win-64")
    world = CondaWorld(channels={"private": (mine,), "public": (*theirs, windows)})
    with open_solver(world) as opened:
        digests = [opened.record("private", mine).sha256]
        digests += [opened.record("public", package).sha256 for package in (*theirs, windows)]
        wanted = {
            "acme": frozenset(digest for digest in digests if digest is not None),
            "core": frozenset(digest for digest in digests[2:] if digest is not None),
            "nobody": frozenset({Digest.sha256("0" * 64)}),
        }
        listed = opened.solver.listed(wanted, TARGET, quiet)
        found = {
            name: CondaListing(owner=listing.owner, records=tuple(map(without_md5, listing.records)))
            for name, listing in listed.items()
        }
        assert found == {
            "acme": CondaListing(owner="private", records=(opened.record("private", mine),)),
            "core": CondaListing(owner="public", records=(opened.record("public", theirs[1]),)),
            "nobody": CondaListing(owner=None),
        }


def test_listing_tells_what_conda_cannot_tell_apart(open_solver: Open) -> None:
    """Of the owner: name, equal version and build of a file that is asked for, and other bytes, in either place and format."""
    asked = CondaPackage(name="core", version="1.0", subdir="linux-64")
    noarch = CondaPackage(name="core", version="1.0", kind=".tar.bz2")
    spelled = CondaPackage(name="core", version="1.0.0")
    others = (
        CondaPackage(name="core", version="1.0", subdir="linux-64", build="1"),
        CondaPackage(name="core", version="1.1"),
        CondaPackage(name="core", version="1.0", subdir="win-64"),
        CondaPackage(name="corelib", version="1.0"),
    )
    elsewhere = CondaPackage(name="core", version="1.0", depends=("other",))
    world = CondaWorld(channels={"first": (asked, noarch, spelled, *others), "second": (elsewhere,)})
    with open_solver(world) as opened:
        core = opened.record("first", asked)
        twins = [opened.record("first", noarch), opened.record("first", spelled)]
        for wanted, expected in (
            ((core,), twins),
            ((opened.record("first", others[0]),), []),
            ((core, twins[0], opened.record("first", others[1])), [core, *twins]),
        ):
            digests = frozenset(record.sha256 for record in wanted if record.sha256 is not None)
            listing = opened.solver.listed({"core": digests}, TARGET, quiet)["core"]
            assert {without_md5(record) for record in listing.records} == set(wanted)
            assert {without_md5(record) for record in listing.twins} == set(expected)


def test_old_format_beside_the_new_is_not_seen(open_solver: Open) -> None:
    """One build in two formats is no pair of twins: only its .conda is there, which is what conda takes."""
    kinds = [CondaPackage(name="core", version="1.0", kind=kind) for kind in (".conda", ".tar.bz2")]
    with open_solver(CondaWorld(channels={"only": tuple(kinds)})) as opened:
        new, old = (opened.record("only", package) for package in kinds)
        for wanted, expected in ((new, [new]), (old, [])):
            assert wanted.sha256 is not None
            listing = opened.solver.listed({"core": frozenset({wanted.sha256})}, TARGET, quiet)["core"]
            assert (listing.owner, [without_md5(r) for r in listing.records], listing.twins) == ("only", expected, ())


def test_listing_needs_every_channel_before_the_owner(open_solver: Open) -> None:
    """A channel that can't be asked might be the owner."""
    core = CondaPackage(name="core", version="1.0")
    world = CondaWorld(channels={"first": (core,), "second": (core,)}, broken=frozenset({"first"}))
    with open_solver(world) as opened, pytest.raises(UpstreamError, match="first"):
        opened.solver.listed({"core": frozenset({Digest.sha256("0" * 64)})}, TARGET, quiet)


def test_candidates_go_with_the_rest(open_solver: Open) -> None:
    """In ascending order of version: what every requirer accepts, and what accepts the Python that is there."""
    python = CondaPackage(name="python", version="3.11.5", subdir="linux-64")
    cores = [
        CondaPackage(name="core", version=version, depends=(f"python {pythons}", "unrelated >=9"))
        for version, pythons in (("1.0", ">=3.8"), ("1.10", ">=3.8"), ("1.9", ">=3.11,<3.12"), ("1.11", ">=3.12"))
    ]
    newest = CondaPackage(name="core", version="2.0", depends=("python >=3.8",))
    elsewhere = CondaPackage(name="core", version="1.5")
    world = CondaWorld(channels={"only": (python, *cores, newest), "second": (elsewhere,)})
    with open_solver(world) as opened:
        asked = CondaCandidates(
            name="core",
            upstream="only",
            specs=("core >=1.0", "core <2"),
            beside=(opened.record("only", python),),
            target=TARGET,
        )
        found = opened.solver.candidates(asked, quiet)
        assert [without_md5(r) for r in found] == [opened.record("only", cores[place]) for place in (0, 2, 1)]
        unknown = CondaCandidates(name="nobody", upstream="only", specs=(), beside=(), target=TARGET)
        assert opened.solver.candidates(unknown, quiet) == ()
