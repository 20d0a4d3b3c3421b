"""What every `ImageRegistry` must do; the real adapter asks a real registry on loopback."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from fakes_registry import FakeRegistry
from registries import (
    DockerRegistry,
    Made,
    TokenService,
    docker_registry,
    made_attestation,
    made_image,
    made_index,
    sha256,
)

from quarantine.adapters.oci import OciRegistry
from quarantine.errors import UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Digest, ImageReference, Location
from quarantine.ports import ImageRegistry, ResolvedImage

HOST = "registry.example"


class Pushes(Protocol):
    """Where images are put."""

    def push(self, path: str, made: Made, *tags: str) -> Digest: ...


@dataclass(frozen=True)
class World:
    """Where to push, and what answers for it."""

    server: Pushes
    images: ImageRegistry


def quiet(_: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def client(*allowed: str) -> HttpClient:
    return HttpClient(allowed=allowed, user_agent="quarantine/tests", retries=0, timeout_seconds=10)


def real(url: str, *, logins: dict[str, tuple[str, str]] | None = None) -> OciRegistry:
    return OciRegistry(endpoints={HOST: url}, hosts=[HOST], http=lambda urls: client(*urls), logins=logins or {})


@pytest.fixture(params=["fake", "docker-registry"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        registry = FakeRegistry(HOST)
        return World(registry, registry)
    running: DockerRegistry = request.getfixturevalue("server")
    return World(running, real(running.url))


def named(path: str, *, tag: str | None = None, digest: Digest | None = None, host: str = HOST) -> ImageReference:
    return ImageReference(host=host, path=path, tag=tag, digest=digest, location=Location(file="Dockerfile", line=1))


@pytest.mark.parametrize("docker", [False, True])
def test_tag_stands_for_the_digest_of_its_manifest(world: World, docker: bool) -> None:
    """Digest, media type and size are those of the bytes that were pushed, the platform is its configuration's."""
    made = made_image({"a": b"1"}, docker=docker)
    world.server.push("azureml/plain", made, "1.0")
    assert world.images.resolve(named("azureml/plain", tag="1.0"), quiet) == ResolvedImage(
        digest=sha256(made.manifest),
        media_type=made.media_type,
        size=len(made.manifest),
        platforms=(("linux/amd64", sha256(made.manifest)),),
    )


@pytest.mark.parametrize("docker", [False, True])
def test_index_stands_for_itself_and_lists_its_images(world: World, docker: bool) -> None:
    """Every child is listed with its platform, whichever machine asks."""
    amd = made_image({"a": b"1"}, docker=docker)
    arm = made_image({"a": b"2"}, architecture="arm64", docker=docker)
    old = made_image({"a": b"3"}, architecture="arm", variant="v7", docker=docker)
    made = made_index(amd, arm, old, docker=docker)
    world.server.push("azureml/many", made, "1.0")
    assert world.images.resolve(named("azureml/many", tag="1.0"), quiet) == ResolvedImage(
        digest=made.digest,
        media_type=made.media_type,
        size=len(made.manifest),
        platforms=(("linux/amd64", amd.digest), ("linux/arm64", arm.digest), ("linux/arm/v7", old.digest)),
    )


def test_attestations_are_no_images(world: World) -> None:
    """What BuildKit puts beside an image isn't listed."""
    amd = made_image()
    made = made_index(amd, made_attestation())
    world.server.push("azureml/attested", made, "1.0")
    found = world.images.resolve(named("azureml/attested", tag="1.0"), quiet)
    assert found is not None
    assert found.platforms == (("linux/amd64", amd.digest),)


def test_child_of_an_index_can_be_asked_for_by_its_digest(world: World) -> None:
    """It is an image like any other."""
    amd = made_image({"a": b"child"})
    world.server.push("azureml/child", made_index(amd), "1.0")
    assert world.images.resolve(named("azureml/child", digest=amd.digest), quiet) == amd.resolved


@pytest.mark.parametrize(
    ("os", "architecture", "variant"), [("linux", "arm64", None), ("linux", "arm", "v7"), ("windows", "amd64", None)]
)
def test_single_image_says_what_it_is_for(world: World, os: str, architecture: str, variant: str | None) -> None:
    """By its tag and by its digest."""
    made = made_image(os=os, architecture=architecture, variant=variant)
    world.server.push("azureml/single", made, "1.0")
    platform = "/".join(filter(None, (os, architecture, variant)))
    for reference in (named("azureml/single", digest=made.digest), named("azureml/single", tag="1.0")):
        found = world.images.resolve(reference, quiet)
        assert found is not None
        assert found.platforms == ((platform, made.digest),)


def test_image_that_names_no_platform_is_no_answer(world: World) -> None:
    """As an attestation, which somebody may ask for by its digest."""
    made = made_attestation()
    world.server.push("azureml/unnamed", made_index(made_image(), made), "1.0")
    with pytest.raises(UpstreamError) as caught:
        world.images.resolve(named("azureml/unnamed", digest=made.digest), quiet)
    said = f"{HOST}/azureml/unnamed@{made.digest}: its configuration doesn't say its platform"
    assert str(caught.value).startswith(said)


def test_without_a_tag_it_is_latest(world: World) -> None:
    """As engines take it."""
    made = made_image({"a": b"latest"})
    world.server.push("azureml/latest", made, "latest")
    assert world.images.resolve(named("azureml/latest"), quiet) == made.resolved


def test_digest_counts_and_not_the_tag_beside_it(world: World) -> None:
    """The tag has moved on since; the reference has not."""
    first, second = made_image({"a": b"first"}), made_image({"a": b"second"})
    world.server.push("azureml/moved", first, "1.0")
    world.server.push("azureml/moved", second, "1.0")
    assert world.images.resolve(named("azureml/moved", tag="1.0", digest=first.digest), quiet) == first.resolved


def test_tag_that_moves_is_what_it_was(world: World) -> None:
    """A tag is resolved once: what was judged stays what is meant, and so does what wasn't there."""
    first, second = made_image({"b": b"first"}), made_image({"b": b"second"})
    world.server.push("azureml/moving", first, "1.0")
    before = [world.images.resolve(named("azureml/moving", tag=tag), quiet) for tag in ("1.0", "2.0")]
    world.server.push("azureml/moving", second, "1.0", "2.0")
    after = [world.images.resolve(named("azureml/moving", tag=tag), quiet) for tag in ("1.0", "2.0")]
    assert before == after == [first.resolved, None]


@pytest.mark.parametrize(
    "reference",
    [
        named("azureml/nothing", tag="1.0"),
        named("azureml/there", tag="2.0"),
        named("azureml/there", digest=sha256(b"nothing")),
        named("azureml/there", tag="1.0", digest=sha256(b"nothing")),
    ],
    ids=str,
)
def test_what_the_registry_does_not_have_is_none(world: World, reference: ImageReference) -> None:
    """No such repository, no such tag, no such digest."""
    world.server.push("azureml/there", made_image(), "1.0")
    assert world.images.resolve(reference, quiet) is None


def test_registry_that_is_no_upstream_is_not_asked(world: World) -> None:
    """A user's file sends no request to a host of its choosing."""
    with pytest.raises(UpstreamError) as caught:
        world.images.resolve(named("azureml/x", tag="1", host="evil.example"), quiet)
    assert str(caught.value) == ("evil.example/azureml/x:1: evil.example is no configured upstream, and is not asked")


@pytest.mark.parametrize("kind", ["fake", "docker-registry"])
def test_registry_that_fails_is_no_answer(tmp_path: Path, kind: str) -> None:
    """Whether it has a tag isn't known any more; what was resolved before still is."""
    made = made_image()
    first, again, other = named("azureml/x", tag="1.0"), named("azureml/x", tag="1.0"), named("azureml/x", tag="2.0")
    images: ImageRegistry
    if kind == "fake":
        images = fake = FakeRegistry(HOST)
        fake.push("azureml/x", made, "1.0")
        before = images.resolve(first, quiet)
        fake.broken = True
    else:
        with docker_registry(tmp_path) as running:
            running.push("azureml/x", made, "1.0")
            images = real(running.url)
            before = images.resolve(first, quiet)
    assert (before, images.resolve(again, quiet)) == (made.resolved, made.resolved)
    with pytest.raises(UpstreamError):
        images.resolve(other, quiet)


def test_registry_with_a_login(tmp_path: Path) -> None:
    """The real one asks for it with a Basic challenge; without it, or with a wrong one, there is no answer."""
    made = made_image()
    with docker_registry(tmp_path, with_login=True) as running:
        running.push("azureml/x", made, "1.0")
        assert running.login is not None
        reader = {HOST: running.login}
        assert real(running.url, logins=reader).resolve(named("azureml/x", tag="1.0"), quiet) == made.resolved
        said = []
        for logins in ({}, {HOST: ("reader", "wr0ng-canary")}):
            with pytest.raises(UpstreamError) as caught:
                real(running.url, logins=logins).resolve(named("azureml/x", tag="1.0"), quiet)
            said.append(str(caught.value))
    wrong = "its credentials are wrong, or may not read it"
    assert said == [
        f"{HOST} asks for a login: name its upstream's `credentials` in the policy",
        f"{HOST}/azureml/x:1.0: {running.url}/v2/azureml/x/manifests/1.0 answered 401: {wrong}",
    ]


@pytest.mark.parametrize("login", [None, ("joe", "s3cret-canary")])
def test_registry_with_a_token_service(tmp_path: Path, login: tuple[str, str] | None) -> None:
    """The real one sends for a token, and takes the one that its service gives out for reading that repository."""
    made = made_image()
    with docker_registry(tmp_path) as running:
        running.push("library/x", made, "1.0")
    reference = named("library/x", tag="1.0", host="docker.io")
    with TokenService(tmp_path, login=login) as tokens, docker_registry(tmp_path, tokens=tokens) as running:
        images = OciRegistry(
            endpoints={"docker.io": running.url, "auth.docker.io": tokens.origin},
            hosts=["docker.io"],
            http=lambda urls: client(*urls),
            logins={} if login is None else {"docker.io": login},
        )
        assert images.resolve(reference, quiet) == made.resolved
        assert images.resolve(named("library/x", tag="2.0", host="docker.io"), quiet) is None
        assert tokens.paths() == ["/token?service=tests&scope=repository%3Alibrary%2Fx%3Apull"]
        with pytest.raises(UpstreamError) as caught:
            real(running.url).resolve(named("library/x", tag="1.0"), quiet)
    assert str(caught.value) == f"{HOST} sends for a token to {tokens.origin}, which is not its own: refused"
