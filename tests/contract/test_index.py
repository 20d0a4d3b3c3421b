"""What every `Index` must do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes_index import FakeIndex, Release, World

from quarantine.adapters.simple_index import SimpleIndex
from quarantine.errors import UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import parse_name, parse_version
from quarantine.ports import Index

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
Open = Callable[[World], AbstractContextManager[Index]]


def quiet(_: str) -> None:
    """Nobody is told."""


@contextmanager
def fake(world: World) -> Iterator[Index]:
    yield FakeIndex(world)


def over_http(*, as_html: bool) -> Open:
    @contextmanager
    def opened(world: World) -> Iterator[Index]:
        with world.served(as_html=as_html) as upstreams, TemporaryDirectory() as folder:
            allowed = [upstream.url for upstream in upstreams if upstream.url is not None]
            with HttpClient(allowed=allowed, user_agent="tests", timeout_seconds=5, retries=0) as http:
                yield SimpleIndex(
                    upstreams=upstreams,
                    reserved=world.reservation,
                    http=lambda: http,
                    cache_dir=Path(folder) / "cache",
                    now=NOW,
                    default_url=lambda: "http://index.invalid/simple",
                    logins={},
                )

    return opened


@pytest.fixture(params=["fake", "json", "html"])
def open_index(request: pytest.FixtureRequest) -> Open:
    return {"fake": fake, "json": over_http(as_html=False), "html": over_http(as_html=True)}[request.param]


ACME, BETA, NOBODY = map(parse_name, ("acme", "beta", "nobody"))


def test_first_upstream_that_has_a_name_owns_it(open_index: Open) -> None:
    """A higher version further down the order changes nothing (dependency confusion)."""
    world = World(
        upstreams={
            "private": (Release(name="acme", version="1.0"),),
            "public": (Release(name="acme", version="99.0"), Release(name="beta", version="2.0")),
        }
    )
    with open_index(world) as index:
        found = index.pages([ACME, BETA, NOBODY], quiet)
        assert {name: page and (page.upstream, page.versions()) for name, page in found.items()} == {
            ACME: ("private", (parse_version("1.0"),)),
            BETA: ("public", (parse_version("2.0"),)),
            NOBODY: None,
        }


def test_reserved_name_is_looked_up_in_its_own_upstream_alone(open_index: Open) -> None:
    """Neither an upstream before its own nor one after it can have the name."""
    world = World(
        upstreams={
            "first": (Release(name="acme", version="99.0"), Release(name="beta", version="99.0")),
            "own": (Release(name="acme", version="1.0"),),
            "last": (Release(name="beta", version="77.0"),),
        },
        reserved={"acme": "own", "beta": "own"},
    )
    with open_index(world) as index:
        found = index.pages([ACME, BETA], quiet)
        page = found[ACME]
        assert page is not None
        assert (page.upstream, page.versions(), found[BETA]) == ("own", (parse_version("1.0"),), None)


def test_owner_that_cannot_be_asked_is_never_passed_over(open_index: Open) -> None:
    """A failure of the first upstream is no answer, even where the second has the name."""
    world = World(
        upstreams={"first": (Release(name="acme", version="1.0"),), "second": (Release(name="acme", version="2.0"),)},
        broken=frozenset({"first"}),
    )
    with open_index(world) as index, pytest.raises(UpstreamError):
        index.pages([ACME], quiet)


def test_files_are_found_by_version_and_by_digest(open_index: Open) -> None:
    """Spellings of one version are one version, and a digest finds its file in whatever version it is."""
    short, long, other = (Release(name="acme", version=v) for v in ("1.0", "1.0.0", "2.0"))
    with open_index(World(upstreams={"only": (short, long, other)})) as index:
        page = index.pages([ACME], quiet)[ACME]
        assert page is not None
        by_version = {a.filename for a in page.of_version(parse_version("1"))}
        wanted = frozenset({other.digest, long.digest})
        by_digest = {a.filename for version in page.versions() for a in page.of_version(version, wanted)}
        assert (by_version, by_digest, len(page.artifacts)) == (
            {"acme-1.0-py3-none-any.whl", "acme-1.0.0-py3-none-any.whl"},
            {"acme-1.0.0-py3-none-any.whl", "acme-2.0-py3-none-any.whl"},
            3,
        )


def test_what_is_known_of_a_file(open_index: Open) -> None:
    """Digest, yank, Python versions, tags and metadata digest come through; missing things are None, never a guess."""
    release = Release(
        name="acme", version="1.0", yanked='bad <one> & "more"', requires_python=">=3.9,<4", tag="cp311-cp311-win_amd64"
    )
    plain = Release(name="acme", version="2.0", upload_time=None, metadata=False)
    with open_index(World(upstreams={"only": (release, plain)})) as index:
        page = index.pages([ACME], quiet)[ACME]
        assert page is not None
        (first,), (second,) = page.of_version(parse_version("1.0")), page.of_version(parse_version("2.0"))
        expected = release.artifact()
        assert [
            (a.digest, a.yanked, a.requires_python, a.tags, a.metadata_digest, a.has_metadata) for a in (first, second)
        ] == [
            (expected.digest, expected.yanked, expected.requires_python, expected.tags, expected.metadata_digest, True),
            (plain.digest, None, None, plain.artifact().tags, None, False),
        ]
        assert second.upload_time is None


def test_metadata_is_what_the_file_says_or_nothing(open_index: Open) -> None:
    """A wheel beside which no metadata is served says it itself; a source distribution is never opened."""
    with_it = Release(name="acme", version="1.0", requires=("beta>=2",))
    without = Release(name="acme", version="2.0", requires=("beta>=3",), metadata=False)
    source = Release(name="acme", version="3.0", source=True)
    with open_index(World(upstreams={"only": (with_it, without, source)})) as index:
        page = index.pages([ACME], quiet)[ACME]
        assert page is not None
        assert index.metadata(page.artifacts, quiet) == {
            "acme-1.0-py3-none-any.whl": with_it.core_metadata,
            "acme-2.0-py3-none-any.whl": without.core_metadata,
            "acme-3.0.tar.gz": None,
        }
