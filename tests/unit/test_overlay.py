"""Approved files beside what owners list: whose page they join, and what a resolver is shown."""

from hashlib import sha256

from cases import file
from msgspec.structs import replace
from packaging.utils import NormalizedName
from policy_samples import LINUX, NOW, wheel
from servers import core_metadata

from quarantine.exceptions import MIRROR, ExceptionFile, Grant, Grants
from quarantine.model import Digest, Ecosystem, IndexPage, Target, parse_name
from quarantine.pipeline.overlay import Overlay

DEMO = parse_name("demo")
TEXT = core_metadata("demo", "1.0", requires=["base>=1"], requires_python=">=3.11")
METADATA = sha256(TEXT).hexdigest()


def overlay(*files: ExceptionFile, metadata: str = METADATA, kept: dict[str, str] | None = None) -> Overlay:
    """The overlay of these files, whose metadata is published."""
    live = {
        one.digest: Grant(
            exception="e" * 32,
            file=one,
            waives=frozenset(),
            expires_at=NOW,
            metadata=metadata,
            published_at=NOW,
        )
        for one in files
    }

    def reserved(name: NormalizedName) -> str | None:
        return (kept or {}).get(name)

    return Overlay(Grants(live=live), {Digest("sha256", METADATA): TEXT}.get, reserved)


def page(*versions: str, upstream: str = "pypi") -> IndexPage:
    """A page of old wheels."""
    digests = {"1.0": "1" * 64, "2.0": "2" * 64}
    return IndexPage(upstream=upstream, name=DEMO, artifacts=[wheel(version=v, digest=digests[v]) for v in versions])


def digests(found: IndexPage | None) -> list[str]:
    """The digests on a page, by their first digit."""
    assert found is not None
    return sorted(str(artifact.digest)[7:8] for artifact in found.artifacts)


def test_a_file_joins_the_page_of_the_upstream_that_it_was_approved_for() -> None:
    """Not that of another upstream that has the name now; what was in no upstream joins whoever has it."""
    assert digests(overlay(file()).page(DEMO, page("2.0"))) == ["1", "2"]
    assert digests(overlay(file()).page(DEMO, page("2.0", upstream="acme"))) == ["2"]
    assert digests(overlay(file(upstream=MIRROR)).page(DEMO, page("2.0"))) == ["1", "2"]
    assert digests(overlay(file(digest="3" * 64)).page(DEMO, page("1.0"))) == ["1", "3"]


def test_what_the_owner_lists_itself_stays_as_it_lists_it() -> None:
    """The same page comes back, with the owner's upload times and URLs."""
    listed = page("1.0", "2.0")
    assert overlay(file()).page(DEMO, listed) is listed
    assert overlay(file("other")).page(DEMO, listed) is listed


def test_the_mirror_owns_what_nobody_has() -> None:
    """Unless the name is kept to an upstream; a name kept to the mirror is its own."""
    own = overlay(file()).page(DEMO, None)
    assert own is not None
    assert (own.upstream, digests(own)) == (MIRROR, ["1"])
    assert overlay(file(), kept={"demo": "acme"}).page(DEMO, None) is None
    assert digests(overlay(file(), kept={"demo": MIRROR}).page(DEMO, None)) == ["1"]
    assert overlay().page(DEMO, None) is None


def test_a_file_says_what_its_metadata_says() -> None:
    """Its Pythons, the digest of its metadata, and a URL that no installer can take for an upstream's."""
    found = overlay(file()).page(DEMO, None)
    assert found is not None
    (artifact,) = found.artifacts
    assert (str(artifact.requires_python), artifact.metadata_digest) == (">=3.11", Digest("sha256", METADATA))
    assert (artifact.upload_time, artifact.url) == (NOW, f"mirror:/files/{'1' * 64}/demo-1.0-py3-none-any.whl")
    assert overlay(file()).metadata([artifact, wheel()]) == {"demo-1.0-py3-none-any.whl": TEXT}


def test_a_resolver_is_shown_what_fits() -> None:
    """Wheels for other Pythons and platforms, and what isn't a wheel or isn't published, are not there."""
    windows = replace(file(digest="5" * 64), filename="demo-1.0-cp311-cp311-win_amd64.whl")
    source = replace(file(digest="6" * 64), filename="demo-1.0.tar.gz")
    of_conda = ExceptionFile(
        ecosystem=Ecosystem.CONDA, upstream="forge", name="demo", version="1.0", filename="demo-1.0-0.conda",
        sha256="7" * 64, subdir="noarch", build="0",
    )  # fmt: skip
    every = overlay(file(), windows, source, of_conda)
    assert [shown.digest.hex for shown in every.files(LINUX)] == ["1" * 64]
    assert [shown.digest.hex for shown in every.files(Target("3.11", "windows-x86_64"))] == ["5" * 64, "1" * 64]
    assert every.files(Target("3.10", "linux-x86_64")) == ()
    for unknown in ("", "f" * 64, "../../etc/passwd"):
        waiting = overlay(file(), metadata=unknown)
        assert waiting.files(LINUX) == ()
        assert waiting.page(DEMO, None) is None
    assert not overlay()
    assert overlay(file())


def test_a_packed_page_stays_packed_but_for_what_is_added() -> None:
    """Versions that nothing is added to are unpacked as before, also where a version is spelled differently."""
    unpacked: list[bytes] = []

    def unpack(data: bytes, _: object) -> tuple[object, ...]:
        unpacked.append(data)
        return (wheel(version=data.decode(), digest={"1.0.0": "1", "2.0": "2"}[data.decode()] * 64),)

    packed = IndexPage.packed(
        upstream="pypi",
        name=DEMO,
        files={"1.0.0": b"1.0.0", "2.0": b"2.0"},
        unpack=unpack,  # type: ignore[arg-type]  # it makes artifacts
    )
    joined = packed.joined([wheel(version="1.0", digest="3" * 64)])
    assert unpacked == [b"1.0.0"]
    assert sorted(map(str, joined.versions())) == ["1.0.0", "2.0"]
    assert [str(a.digest)[7:8] for a in joined.of_version(wheel(version="1.0").version)] == ["1", "3"]
    assert (joined.upstream, joined.name, joined.status) == ("pypi", DEMO, "active")
