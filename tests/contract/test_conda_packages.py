"""What every `CondaPackages` must do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from channels import LONG_AGO
from fakes_conda import CondaPackage, CondaWorld, FakeCondaPackages
from servers import Answer

from quarantine.adapters.conda_channel import CondaChannelPackages
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import CondaRecord, Package, parse_name, parse_version
from quarantine.ports import CondaContents, CondaPackages

RecordOf = Callable[[CondaPackage], CondaRecord]
Open = Callable[[CondaWorld], AbstractContextManager[tuple[CondaPackages, RecordOf]]]
APP, LIB = parse_name("app"), parse_name("lib")


def quiet(_: str) -> None:
    """Nobody is told."""


@contextmanager
def fake(world: CondaWorld) -> Iterator[tuple[CondaPackages, RecordOf]]:
    yield FakeCondaPackages(world), lambda package: package.record(owner(world, package))


@contextmanager
def over_http(world: CondaWorld) -> Iterator[tuple[CondaPackages, RecordOf]]:
    with world.served() as served, TemporaryDirectory() as folder:
        for name in world.broken:
            for package in world.channels[name]:
                path = f"/{name}/{package.subdir}/{package.filename}"
                served.channels[name].server.always(path, Answer(status=500))
        allowed = [upstream.url for upstream in served.upstreams if upstream.url is not None]
        with HttpClient(allowed=allowed, user_agent="tests", timeout_seconds=5, retries=0) as http:
            packages = CondaChannelPackages(
                upstreams=served.upstreams, http=lambda: http, cache_dir=Path(folder) / "cache", logins={}
            )
            yield packages, lambda package: served.record(owner(world, package), package)


def owner(world: CondaWorld, package: CondaPackage) -> str:
    return next(name for name, packages in world.channels.items() if package in packages)


@pytest.fixture(params=["fake", "http"])
def open_packages(request: pytest.FixtureRequest) -> Open:
    return {"fake": fake, "http": over_http}[request.param]


def package(name: str, version: str) -> Package:
    return Package(parse_name(name), parse_version(version))


def test_every_record_has_its_contents(open_packages: Open) -> None:
    """Distributions by their own names, none in a native package, and since when the server has the file."""
    recently = datetime(2026, 11, 20, 12, tzinfo=UTC)
    several = CondaPackage(name="stack", version="1.0", distributions=(("zed", "2.0", ()), ("app", "1.0", ())))
    renamed = CondaPackage(
        name="totally-fine",
        version="3",
        subdir="linux-64",
        distributions=(("requests", "2.19.0", ()),),
        uploaded=recently,
    )
    native = CondaPackage(name="openssl", version="3.0", subdir="linux-64", uploaded=None, kind=".tar.bz2")
    world = CondaWorld(channels={"first": (several, native), "second": (renamed,)})
    with open_packages(world) as (packages, record_of):
        asked = [several, renamed, native]
        found = packages.contents([record_of(each) for each in asked], quiet)
        assert found == {
            record_of(several): CondaContents(
                distributions=(package("app", "1.0"), package("zed", "2.0")), last_modified=LONG_AGO
            ),
            record_of(renamed): CondaContents(distributions=(package("requests", "2.19.0"),), last_modified=recently),
            record_of(native): CondaContents(distributions=(), last_modified=None),
        }


def test_nothing_asked_is_nothing_found(open_packages: Open) -> None:
    """An empty answer to an empty question."""
    with open_packages(CondaWorld(channels={"only": (CondaPackage(name="app", version="1.0"),)})) as (packages, _):
        assert packages.contents([], quiet) == {}


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_a_package_that_can_not_be_read_says_why(open_packages: Open, kind: str) -> None:
    """It is one whose contents nobody knows, never one without any; the others are read."""
    bad = CondaPackage(name="bad", version="1.0", distributions=(("app", "1.0", ()),), kind=kind, unreadable=True)
    good = CondaPackage(name="good", version="1.0", distributions=(("app", "1.0", ()),))
    with open_packages(CondaWorld(channels={"only": (bad, good)})) as (packages, record_of):
        found = packages.contents([record_of(bad), record_of(good)], quiet)
        unread = found[record_of(bad)]
        assert (unread.distributions, unread.last_modified, bool(unread.why)) == (None, LONG_AGO, True)
        assert found[record_of(good)].distributions == (package("app", "1.0"),)
        with pytest.raises((UpstreamError, IntegrityError)):
            packages.metadata(record_of(bad), [APP], quiet)


def test_a_channel_that_does_not_answer_is_an_error(open_packages: Open) -> None:
    """Also when the others do."""
    here, there = CondaPackage(name="here", version="1.0"), CondaPackage(name="there", version="1.0")
    world = CondaWorld(channels={"sound": (here,), "failing": (there,)})
    broken = CondaWorld(channels=world.channels, broken=frozenset({"failing"}))
    with open_packages(broken) as (packages, record_of):
        records = [record_of(here), record_of(there)]
        with pytest.raises(UpstreamError):
            packages.contents(records, quiet)
        with pytest.raises(UpstreamError):
            packages.metadata(records[1], [APP], quiet)


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_metadata_of_those_that_are_asked_for(open_packages: Open, kind: str) -> None:
    """By normalised name, what the distribution itself says."""
    stack = CondaPackage(
        name="stack", version="1.0", distributions=(("app", "1.0", ("lib>=2",)), ("lib", "2.0", ())), kind=kind
    )
    with open_packages(CondaWorld(channels={"only": (stack,)})) as (packages, record_of):
        assert packages.metadata(record_of(stack), [APP], quiet) == {
            "app": b"Metadata-Version: 2.1\nName: app\nVersion: 1.0\nRequires-Dist: lib>=2\n"
        }
        assert set(packages.metadata(record_of(stack), [LIB, APP], quiet)) == {"app", "lib"}


def test_metadata_that_is_not_there_is_an_error(open_packages: Open) -> None:
    """All of the names are answered for, or none."""
    app = CondaPackage(name="app", version="1.0", distributions=(("app", "1.0", ()),))
    world = CondaWorld(channels={"only": (app,)})
    with (
        open_packages(world) as (packages, record_of),
        pytest.raises((UpstreamError, IntegrityError)),
    ):
        packages.metadata(record_of(app), [APP, LIB], quiet)
