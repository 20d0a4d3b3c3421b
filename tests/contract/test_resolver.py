"""What every `PythonResolver` must do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes_index import Release, World
from fakes_resolver import FakeResolver
from packaging.markers import Marker
from packaging.requirements import Requirement as Pep508
from servers import core_metadata

from quarantine.adapters.uv import UvResolver
from quarantine.errors import UpstreamError
from quarantine.exceptions import MIRROR
from quarantine.model import (
    Location,
    Package,
    Reference,
    ReferenceKind,
    Requirement,
    Target,
    parse_name,
    parse_version,
)
from quarantine.ports import (
    Installed,
    OverlayFile,
    PythonResolver,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
)

CUTOFF = datetime(2025, 1, 1, tzinfo=UTC)
LATE = "2025-06-01T00:00:00Z"
TARGET = Target("3.11", "linux-x86_64")
Open = Callable[[World], AbstractContextManager[PythonResolver]]


def quiet(_: str) -> None:
    """Nobody is told."""


@contextmanager
def fake(world: World) -> Iterator[PythonResolver]:
    yield FakeResolver(world)


@contextmanager
def uv(world: World) -> Iterator[PythonResolver]:
    with world.served() as upstreams, TemporaryDirectory() as folder:
        yield UvResolver(
            upstreams=upstreams,
            reserved=world.reservation,
            cache_dir=Path(folder) / "cache",
            environ={},
            logins={},
            time_limit_seconds=60,
        )


@pytest.fixture(params=["fake", "uv"])
def open_resolver(request: pytest.FixtureRequest) -> Open:
    return {"fake": fake, "uv": uv}[request.param]


def asked(line: str) -> Requirement:
    parsed = Pep508(line)
    return Requirement(
        name=parse_name(parsed.name),
        specifier=parsed.specifier,
        extras=tuple(map(parse_name, sorted(parsed.extras))),
        marker=parsed.marker,
        location=Location(file="requirements.txt", line=1),
    )


def request(*lines: str, not_after: datetime | None = None, **more: object) -> ResolutionRequest:
    requirements = tuple(map(asked, lines))
    return ResolutionRequest(requirements=requirements, target=TARGET, not_after=not_after, **more)  # type: ignore[arg-type]  # spelled out by the callers


def there(name: str, version: str, *requires: str, metadata: bool = True) -> Installed:
    """A distribution that conda installs."""
    text = core_metadata(name, version, requires=requires, extras=["gpu"]) if metadata else None
    return Installed(package=Package(parse_name(name), parse_version(version)), metadata=text)


def found(release: Release, upstream: str, *, by: tuple[str, ...] = (), direct: bool = True) -> ResolvedPackage:
    return ResolvedPackage(
        name=parse_name(release.name),
        version=parse_version(release.version),
        upstream=upstream,
        digests=frozenset({release.digest}),
        required_by=tuple(map(parse_name, by)),
        direct=direct,
    )


def test_newest_versions_with_who_pulled_them_in(open_resolver: Open) -> None:
    """A solution names version, upstream, digests, and every package that asks for another."""
    app = Release(name="app", version="1.0", requires=("core>=1", "extra-tool"))
    tool = Release(name="extra-tool", version="3.0", requires=("core<3",))
    old, core, new = (Release(name="core", version=v) for v in ("1.0", "2.0", "3.0"))
    world = World(upstreams={"one": (app, core, old), "two": (tool, new)})
    with open_resolver(world) as resolver:
        assert resolver.resolve(request("app"), quiet) == Resolution(
            packages=(
                found(app, "one"),
                found(core, "one", by=("app", "extra-tool"), direct=False),
                found(tool, "two", by=("app",), direct=False),
            )
        )


def test_first_upstream_that_has_a_name_owns_it(open_resolver: Open) -> None:
    """Private `acme` 1.0 wins over public 99.0 (dependency confusion)."""
    private = Release(name="acme", version="1.0")
    world = World(upstreams={"private": (private,), "public": (Release(name="acme", version="99.0"),)})
    with open_resolver(world) as resolver:
        assert resolver.resolve(request("acme"), quiet) == Resolution(packages=(found(private, "private"),))


@pytest.mark.parametrize("line", ["acme", "acme==1.0", "app"])
def test_reserved_name_comes_from_its_own_upstream_wherever_that_stands(open_resolver: Open, line: str) -> None:
    """The public index comes first and has a higher `acme`; the private one has the name."""
    own = Release(name="acme", version="1.0")
    app = Release(name="app", version="5.0", requires=("acme",))
    world = World(
        upstreams={"public": (Release(name="acme", version="99.0"), app), "private": (own,)},
        reserved={"acme": "private"},
    )
    with open_resolver(world) as resolver:
        answer = resolver.resolve(request(line), quiet)
        assert isinstance(answer, Resolution)
        assert found(own, "private", by=("app",) * (line == "app"), direct=line != "app") in answer.packages


def test_reserved_name_never_falls_through(open_resolver: Open) -> None:
    """A reserved name that its own upstream doesn't have is not found, though another index offers it."""
    world = World(
        upstreams={"private": (Release(name="other", version="1.0"),), "public": (Release(name="acme", version="9"),)},
        reserved={"acme": "private"},
    )
    with open_resolver(world) as resolver:
        answer = resolver.resolve(request("acme"), quiet)
        assert isinstance(answer, ResolutionFailed)
        assert answer.not_found == {"acme"}


def test_cutoff_holds_for_the_file_and_can_be_lifted_by_name(open_resolver: Open) -> None:
    """What was uploaded after the cutoff isn't there, except for names that have a later one."""
    old, new = Release(name="core", version="1.0"), Release(name="core", version="2.0", upload_time=LATE)
    with open_resolver(World(upstreams={"only": (old, new)})) as resolver:
        lifted = ((parse_name("core"), datetime(2026, 1, 1, tzinfo=UTC)),)
        answers = [
            resolver.resolve(request("core"), quiet),
            resolver.resolve(request("core", not_after=CUTOFF), quiet),
            resolver.resolve(request("core", not_after=CUTOFF, not_after_by_name=lifted), quiet),
        ]
        assert answers == [Resolution(packages=(found(release, "only"),)) for release in (new, old, new)]


def test_file_without_upload_time_is_never_old_enough(open_resolver: Open) -> None:
    """Under a cutoff it can't be chosen, and the failure says why."""
    untimed = Release(name="core", version="1.0", upload_time=None)
    with open_resolver(World(upstreams={"only": (untimed,)})) as resolver:
        answer = resolver.resolve(request("core", not_after=CUTOFF), quiet)
        assert isinstance(answer, ResolutionFailed)
        assert answer == ResolutionFailed(
            explanation=answer.explanation, no_upload_time=frozenset({parse_name("core")})
        )


def test_source_only_and_unknown_names_are_told_and_can_be_left_out(open_resolver: Open) -> None:
    """With what fails excluded, the rest resolves."""
    app = Release(name="app", version="1.0", requires=("source",))
    source = Release(name="source", version="1.0", source=True)
    with open_resolver(World(upstreams={"only": (app, source)})) as resolver:
        first = resolver.resolve(request("app"), quiet)
        second = resolver.resolve(request("nobody"), quiet)
        assert isinstance(first, ResolutionFailed)
        assert isinstance(second, ResolutionFailed)
        assert first == ResolutionFailed(explanation=first.explanation, source_only=frozenset({parse_name("source")}))
        assert second == ResolutionFailed(explanation=second.explanation, not_found=frozenset({parse_name("nobody")}))
        excluded = first.source_only | second.not_found
        rest = resolver.resolve(request("app", "nobody", excluded=excluded), quiet)
        assert rest == Resolution(packages=(found(app, "only"),))


def test_constraints_limit_without_asking(open_resolver: Open) -> None:
    """A constraint on a name that nobody asks for adds nothing."""
    releases = tuple(Release(name="core", version=v) for v in ("1.0", "2.0")), (Release(name="other", version="1"),)
    with open_resolver(World(upstreams={"only": (*releases[0], *releases[1])})) as resolver:
        answer = resolver.resolve(request("core", constraints=("core!=2.0", "other==1")), quiet)
        assert answer == Resolution(packages=(found(releases[0][0], "only"),))


def test_unsatisfiable_is_explained(open_resolver: Open) -> None:
    """The explanation names the package at fault; nothing else is claimed."""
    with open_resolver(World(upstreams={"only": (Release(name="core", version="1.0"),)})) as resolver:
        answer = resolver.resolve(request("core>=7"), quiet)
        assert isinstance(answer, ResolutionFailed)
        assert "core" in answer.explanation
        assert answer == ResolutionFailed(explanation=answer.explanation)


def test_wheels_for_other_platforms_and_pythons_do_not_count(open_resolver: Open) -> None:
    """The newest version that the target can install is taken."""
    usable = Release(name="core", version="1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    windows = Release(name="core", version="2.0", tag="cp311-cp311-win_amd64")
    later = Release(name="core", version="3.0", requires_python=">=3.13")
    with open_resolver(World(upstreams={"only": (usable, windows, later)})) as resolver:
        assert resolver.resolve(request("core"), quiet) == Resolution(packages=(found(usable, "only"),))


def test_only_what_is_named_for_this_target_is_resolved(open_resolver: Open) -> None:
    """Markers that don't hold and direct references are left out; nothing is fetched for them."""
    core = Release(name="core", version="1.0")
    elsewhere = Requirement(
        name=parse_name("nobody"), marker=Marker('sys_platform == "win32"'), location=Location(file="f", line=1)
    )
    direct = Requirement(
        name=parse_name("evil"),
        reference=Reference(kind=ReferenceKind.URL, text="http://127.0.0.1:9/evil-1.0-py3-none-any.whl"),
        location=Location(file="f", line=2),
    )
    with open_resolver(World(upstreams={"only": (core,)})) as resolver:
        wanted = ResolutionRequest(requirements=(asked("core"), elsewhere, direct), target=TARGET)
        assert resolver.resolve(wanted, quiet) == Resolution(packages=(found(core, "only"),))


def test_index_that_fails_is_no_answer(open_resolver: Open) -> None:
    """A failing first index never makes the second the owner."""
    core = Release(name="core", version="1.0")
    world = World(upstreams={"first": (core,), "second": (core,)}, broken=frozenset({"first"}))
    with open_resolver(world) as resolver, pytest.raises(UpstreamError):
        resolver.resolve(request("core"), quiet)


def test_installed_distribution_is_used_and_not_part_of_the_answer(open_resolver: Open) -> None:
    """Whoever needs it gets that version, though newer ones are to be had; a cutoff has no say in it."""
    app = Release(name="app", version="1.0", requires=("core>=2",))
    old, new = Release(name="tool", version="1.0", requires=("core",)), Release(name="core", version="9.0")
    with open_resolver(World(upstreams={"only": (app, old, new)})) as resolver:
        installed = (there("core", "2.0+cu118", metadata=False), there("unused", "1.0", "nobody"))
        answers = [
            resolver.resolve(request("app", "core", "tool", installed=installed, not_after=cutoff), quiet)
            for cutoff in (None, CUTOFF)
        ]
        assert (
            answers
            == [Resolution(packages=(found(app, "only"), found(old, "only")), used=frozenset({parse_name("core")}))] * 2
        )


def test_what_only_installed_distributions_need_is_part_of_the_answer(open_resolver: Open) -> None:
    """Pip would install it, too; their own needs among each other are met by what is there."""
    app, base = Release(name="app", version="1.0", requires=("core",)), Release(name="base", version="1.0")
    extra = Release(name="extra", version="1.0")
    with open_resolver(World(upstreams={"only": (app, base, extra)})) as resolver:
        installed = (
            there("core", "2.0", "base>=1", "below", "extra ; extra == 'gpu'", "nobody ; sys_platform == 'win32'"),
            there("below", "3.0", "core"),
        )
        answer = resolver.resolve(request("app", installed=installed), quiet)
        assert answer == Resolution(
            packages=(found(app, "only"), found(base, "only", by=("core",), direct=False)),
            used=frozenset(map(parse_name, ("core", "below"))),
        )


@pytest.mark.parametrize(
    ("line", "requires"), [("core>=3", ()), ("app", ()), ("core", ("base>=2",)), ("core", ("nobody",))]
)
def test_what_conda_installs_is_not_replaced(open_resolver: Open, line: str, requires: tuple[str, ...]) -> None:
    """A requirement that it doesn't meet, or that it has itself and nobody meets, is a failure, and told as one."""
    app = Release(name="app", version="1.0", requires=("core>=3",))
    core, base = Release(name="core", version="3.0"), Release(name="base", version="1.0")
    with open_resolver(World(upstreams={"only": (app, core, base)})) as resolver:
        answer = resolver.resolve(request(line, installed=(there("core", "2.0", *requires),)), quiet)
        assert isinstance(answer, ResolutionFailed)
        assert "conda installs core 2.0" in answer.explanation
        assert "file:" not in answer.explanation


# --- approved files beside the upstreams' ---


def approved(release: Release) -> OverlayFile:
    """A wheel that an exception lets in."""
    artifact = release.artifact()
    return OverlayFile(
        name=artifact.name,
        version=artifact.version,
        filename=artifact.filename,
        digest=release.digest,
        metadata=release.core_metadata,
    )


def test_an_approved_file_is_beside_the_owners_and_owns_nothing(open_resolver: Open) -> None:
    """What the owner has newer is taken as before; who asks for the approved version gets it, with what it requires."""
    old = Release(name="core", version="1.0", requires=("base",))
    new, base = Release(name="core", version="2.0"), Release(name="base", version="1.0")
    app = Release(name="app", version="1.0", requires=("core>=2",))
    with open_resolver(World(upstreams={"first": (new,), "second": (app, base)})) as resolver:
        overlay = (approved(old),)
        assert resolver.resolve(request("app", overlay=overlay), quiet) == Resolution(
            packages=(found(app, "second"), found(new, "first", by=("app",), direct=False))
        )
        assert resolver.resolve(request("core<2", overlay=overlay), quiet) == Resolution(
            packages=(found(base, "second", by=("core",), direct=False), found(old, MIRROR))
        )


def test_no_cutoff_holds_for_an_approved_file_and_constraints_do(open_resolver: Open) -> None:
    """It is there whenever it was uploaded; what is denied is not."""
    old = Release(name="core", version="1.0")
    new = Release(name="core", version="2.0", upload_time=LATE)
    newer = Release(name="core", version="3.0", upload_time=LATE)
    with open_resolver(World(upstreams={"only": (old, new, newer)})) as resolver:
        overlay = (approved(new),)
        asked_for = request("core", overlay=overlay, not_after=CUTOFF)
        assert resolver.resolve(asked_for, quiet) == Resolution(packages=(found(new, MIRROR),))
        denied = request("core", overlay=overlay, not_after=CUTOFF, constraints=("core!=2.0",))
        assert resolver.resolve(denied, quiet) == Resolution(packages=(found(old, "only"),))


def test_all_approved_files_of_a_version_are_named(open_resolver: Open) -> None:
    """The digests are those of every wheel of it that was let in, and two of one name don't get in each other's way."""
    plain = Release(name="core", version="1.0")
    rebuilt = Release(name="core", version="1.0", requires=("base",))
    native = Release(name="core", version="1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    base = Release(name="base", version="1.0")
    with open_resolver(World(upstreams={"only": (base,)})) as resolver:
        overlay = tuple(map(approved, (plain, rebuilt, native)))
        answer = resolver.resolve(request("core", overlay=overlay), quiet)
        assert isinstance(answer, Resolution)
        core = next(package for package in answer.packages if package.name == "core")
        assert core.upstream == MIRROR
        assert core.digests == {plain.digest, rebuilt.digest, native.digest}


def test_a_name_kept_to_the_mirror_is_asked_of_nobody_else(open_resolver: Open) -> None:
    """A higher version of an index is no candidate, under a cutoff or without; nor is it when nothing is approved."""
    own = Release(name="ours", version="1.0")
    app = Release(name="app", version="1.0", requires=("ours",))
    world = World(upstreams={"only": (app, Release(name="ours", version="99.0"))}, reserved={"ours": MIRROR})
    with open_resolver(world) as resolver:
        answers = [
            resolver.resolve(request("app", overlay=(approved(own),), not_after=cutoff), quiet)
            for cutoff in (None, CUTOFF)
        ]
        assert answers == [Resolution(packages=(found(app, "only"), found(own, MIRROR, by=("app",), direct=False)))] * 2
        without = resolver.resolve(request("app"), quiet)
        assert isinstance(without, ResolutionFailed)
        assert without.not_found == {"ours"}
