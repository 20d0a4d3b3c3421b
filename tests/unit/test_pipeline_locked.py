"""A lock is believed as far as the owner of a name lists its digests."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet

from quarantine.model import (
    Artifact,
    Digest,
    EnvironmentSpec,
    IndexPage,
    Item,
    Location,
    LockedFile,
    LockedPackage,
    Target,
    parse_name,
    parse_version,
)
from quarantine.pipeline.locked import plan_locked, unfit
from quarantine.pipeline.pages import Pages

APP = parse_name("app")
LINUX = Target("3.11", "linux-x86_64")
HERE = Location(file="pylock.toml", line=3)
GOOD, WINDOWS, EVIL, NEWER, SOURCE = (Digest.sha256(letter * 64) for letter in "abcde")
ADVICE = "choose another target (--target, or targets: in quarantine.yaml)"
STRONG = Digest("sha512", "d" * 128)


def _artifact(filename: str, digest: Digest) -> Artifact:
    from packaging.utils import parse_wheel_filename

    return Artifact(
        name=APP,
        version=parse_version("1.0"),
        filename=filename,
        digest=digest,
        size=1,
        upload_time=datetime(2024, 1, 1, tzinfo=UTC),
        yanked=None,
        url=f"https://files.example.org/{filename}",
        tags=parse_wheel_filename(filename)[3],
    )


PURE = _artifact("app-1.0-py3-none-any.whl", GOOD)
LATER = _artifact("app-1.0-cp311-cp311-manylinux_2_39_x86_64.whl", NEWER)
FOR_WINDOWS = _artifact("app-1.0-cp311-cp311-win_amd64.whl", WINDOWS)
SDIST = replace(PURE, filename="app-1.0.tar.gz", digest=SOURCE, tags=frozenset())
PAGE = IndexPage(
    upstream="pypi",
    name=APP,
    artifacts=(PURE, FOR_WINDOWS, LATER, SDIST),
)


class _Index:
    """An index with one page."""

    def __init__(self, page: IndexPage | None) -> None:
        self._page = page

    def pages(self, names: object, tell: object) -> dict[object, IndexPage | None]:
        return {APP: self._page}

    def metadata(self, artifacts: object, tell: object) -> dict[str, bytes | None]:
        raise AssertionError


def _plan(package: LockedPackage, page: IndexPage | None = PAGE) -> Item:
    spec = EnvironmentSpec(file="pylock.toml", format="pylock", locked=(package,))
    (item,) = plan_locked(spec, LINUX, 0, Pages(_Index(page), lambda _: None)).items  # type: ignore[arg-type]  # one name
    return item


def _package(*digests: Digest, files: tuple[LockedFile, ...] = ()) -> LockedPackage:
    return LockedPackage(name=APP, version=parse_version("1.0"), digests=frozenset(digests), files=files, location=HERE)


@pytest.mark.parametrize(
    ("package", "artifacts", "missing"),
    [
        (_package(GOOD), (PURE,), frozenset()),
        (_package(GOOD, WINDOWS), (PURE,), frozenset()),
        (_package(GOOD, EVIL), (PURE,), frozenset({EVIL})),
        (_package(EVIL), (), frozenset({EVIL})),
        # an installer takes a file that matches any digest, and this one the page says nothing about
        (_package(GOOD, STRONG), (PURE,), frozenset({STRONG})),
        (
            _package(files=(LockedFile(filename="app-1.0-py3-none-any.whl", digests=frozenset({GOOD})),)),
            (PURE,),
            frozenset(),
        ),
        (
            _package(
                files=(
                    LockedFile(filename="app-1.0-py3-none-any.whl", digests=frozenset({GOOD})),
                    LockedFile(filename="app-1.0-cp39-cp39-macosx_11_0_arm64.whl", digests=frozenset({EVIL})),
                )
            ),
            (PURE,),
            frozenset({EVIL}),
        ),
        # the name decides which machines install it: another one than the owner's hides a file
        (
            _package(files=(LockedFile(filename="app-1.0-cp27-cp27m-win32.whl", digests=frozenset({GOOD})),)),
            (),
            frozenset({GOOD}),
        ),
        # some Linux machine takes it, though not the oldest that the target stands for
        (_package(GOOD, NEWER), (LATER, PURE), frozenset()),
        # and a source distribution is what an installer without a fitting wheel builds
        (_package(GOOD, SOURCE), (PURE, SDIST), frozenset()),
        (_package(files=(LockedFile(filename="app-1.0.whl", digests=frozenset({EVIL})),)), (), frozenset({EVIL})),
    ],
)
def test_the_files_of_an_item_are_the_owners(
    package: LockedPackage, artifacts: tuple[Artifact, ...], missing: frozenset[Digest]
) -> None:
    """What the lock accepts and the owner lists is judged; what the owner doesn't list is named."""
    item = _plan(package)

    assert (item.artifacts, item.missing_digests, item.upstream, item.location) == (artifacts, missing, "pypi", HERE)
    assert item.source_only is False


def test_a_lock_that_leads_elsewhere_is_told() -> None:
    """An installer asks the URL of the lock: it must be on the host of the owner's files, whatever the digest."""
    places = ("https://files.example.org/other/path.whl", "https://evil.example.org/x.whl", "http://169.254.169.254/x")
    digest = frozenset({GOOD})
    files = tuple(LockedFile(filename=PURE.filename, digests=digest, url=url) for url in places)

    assert _plan(_package(files=files)).elsewhere == ("http://169.254.169.254/x", "https://evil.example.org/x.whl")


def test_only_files_for_other_targets_is_source_only() -> None:
    """A lock whose files the target can't install would make an installer build from source."""
    item = _plan(_package(WINDOWS), IndexPage(upstream="pypi", name=APP, artifacts=(FOR_WINDOWS,)))

    assert (item.artifacts, item.missing_digests, item.source_only) == ((), frozenset(), True)


def test_a_name_that_nobody_has_has_no_owner() -> None:
    """Then there is nothing to hold the digests against, and the repository rule says so."""
    item = _plan(_package(GOOD), page=None)

    assert (item.upstream, item.artifacts) == (None, ())


@pytest.mark.parametrize(
    ("requires_python", "environments", "message"),
    [
        ("", (), None),
        (">=3.10", ('sys_platform == "linux"',), None),
        (
            ">=3.12",
            (),
            f"pylock.toml is for Python >=3.12, not for cp311-linux-x86_64: {ADVICE}",
        ),
        (
            "",
            ('sys_platform == "win32"', 'sys_platform == "darwin"'),
            f'pylock.toml is for (sys_platform == "win32") or (sys_platform == "darwin"), not for {LINUX}: {ADVICE}',
        ),
    ],
)
def test_a_spec_for_something_else_is_refused(
    requires_python: str, environments: tuple[str, ...], message: str | None
) -> None:
    """What a lock says it was made for is held against the target."""
    spec = EnvironmentSpec(
        file="pylock.toml",
        format="pylock",
        locked=(),
        requires_python=SpecifierSet(requires_python),
        environments=tuple(map(Marker, environments)),
    )

    assert [outcome.message for outcome in unfit(spec, LINUX)] == ([] if message is None else [message])
