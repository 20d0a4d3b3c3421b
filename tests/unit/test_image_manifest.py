"""Manifests and indexes: what they say, and what is refused."""

import json
from collections.abc import Mapping

import pytest

from quarantine.archive.image_manifest import (
    MAX_MANIFEST_BYTES,
    Child,
    ImageIndex,
    ImageManifest,
    parse_manifest,
    parse_platform,
)
from quarantine.errors import UpstreamError
from quarantine.model import Digest

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
A, B = "a" * 64, "b" * 64


def descriptor(kind: str = MANIFEST, digest: str = f"sha256:{A}", size: int = 7, **more: object) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def platform(os: str = "linux", architecture: str = "amd64", **more: str) -> dict[str, object]:
    return {"os": os, "architecture": architecture, **more}


def manifest(**more: object) -> dict[str, object]:
    plain = {"mediaType": MANIFEST, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)]}
    return {"schemaVersion": 2, **plain, **more}


def index(*children: Mapping[str, object], **more: object) -> dict[str, object]:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children), **more}


def read(document: object, kind: str = INDEX) -> ImageManifest | ImageIndex:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_manifest("r/x:1", kind, body)


def refusal(document: object, kind: str = INDEX) -> str:
    with pytest.raises(UpstreamError) as caught:
        read(document, kind)
    return str(caught.value)


@pytest.mark.parametrize("kind", [MANIFEST, f"{MANIFEST.upper()}; charset=utf-8"])
@pytest.mark.parametrize("more", [{}, {"annotations": {"a": "b"}, "subject": descriptor()}, {"manifests": None}])
def test_manifest_of_one_image(kind: str, more: Mapping[str, object]) -> None:
    """Fields that say nothing of the image are passed over."""
    assert read(manifest(**more), kind) == ImageManifest(media_type=MANIFEST, config=Digest.sha256(A))


def test_media_type_may_be_missing_in_oci_documents() -> None:
    """The image-spec says "should"; the Content-Type then says it alone."""
    said = {key: value for key, value in manifest().items() if key != "mediaType"}
    assert read(said, MANIFEST) == ImageManifest(media_type=MANIFEST, config=Digest.sha256(A))
    assert refusal(said, DOCKER) == f"r/x:1: a manifest whose media type is none, sent as {DOCKER}"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (platform(), "linux/amd64"),
        (platform(variant="v1"), "linux/amd64"),
        (platform(variant="v3"), "linux/amd64/v3"),
        (platform(architecture="arm64", variant="v8"), "linux/arm64"),
        (platform(architecture="arm64", variant="v9"), "linux/arm64/v9"),
        (platform(architecture="arm64", variant=""), "linux/arm64"),
        (platform(architecture="arm", variant="v7"), "linux/arm/v7"),
        (platform(architecture="x86_64"), "linux/amd64"),
        (platform(architecture="aarch64", variant="v8"), "linux/arm64"),
        (platform("windows", **{"os.version": "10.0.17763.1"}), "windows/amd64"),
        (None, "unknown/unknown"),
    ],
)
def test_platform_as_engines_write_it(said: Mapping[str, object] | None, expected: str) -> None:
    """An architecture's first variant and its other names are the architecture."""
    child = Child(digest=Digest.sha256(A), media_type=MANIFEST, size=7, platform=expected)
    assert read(index(descriptor(platform=said))) == ImageIndex(media_type=INDEX, children=(child,))


def test_only_what_no_machine_pulls_is_an_attestation() -> None:
    """An image of a platform that calls itself one is listed (and a bad child can't hide behind the annotation)."""
    mark = {"vnd.docker.reference.type": "attestation-manifest"}
    unknown = platform("unknown", "unknown")
    found = read(
        index(
            descriptor(platform=unknown, annotations=mark),
            descriptor(platform=platform(architecture="arm64"), annotations=mark),
            descriptor(digest=f"sha256:{B}", platform=unknown),
            descriptor(digest=f"sha256:{B}", annotations=mark),
        )
    )
    assert isinstance(found, ImageIndex)
    assert [(c.platform, c.digest.hex) for c in found.children] == [
        ("linux/arm64", A),
        ("unknown/unknown", B),
        ("unknown/unknown", B),
    ]


def test_dockers_manifest_list() -> None:
    """Docker's own form says the same."""
    found = read(index(descriptor(DOCKER, platform=platform()), mediaType=DOCKER_LIST), DOCKER_LIST)
    child = Child(digest=Digest.sha256(A), media_type=DOCKER, size=7, platform="linux/amd64")
    assert found == ImageIndex(media_type=DOCKER_LIST, children=(child,))


@pytest.mark.parametrize(
    ("document", "kind", "said"),
    [
        (manifest(), "text/html", ": the registry sent 'text/html': expected an image manifest or an index"),
        (manifest(), "", ": the registry sent '': expected an image manifest or an index"),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws",
         " is an image of Docker's schema 1, which names no configuration: push it again with a current engine"),
        ({"schemaVersion": 1, "mediaType": INDEX}, INDEX, ": a manifest of schema 1: expected 2"),
        (index(), MANIFEST, f": a manifest whose media type is '{INDEX}', sent as {MANIFEST}"),
        (manifest(mediaType="\u202e"), MANIFEST, f": a manifest whose media type is '\\u202e', sent as {MANIFEST}"),
        (manifest(manifests=[]), MANIFEST, ": a manifest that is an index, or of schema 1, too: refused"),
        (manifest(fsLayers=[]), MANIFEST, ": a manifest that is an index, or of schema 1, too: refused"),
        (manifest(layers=None), MANIFEST, ": a manifest without config or layers"),
        (manifest(config=None), MANIFEST, ": a manifest without config or layers"),
        (manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")), MANIFEST,
         " is no container image: its configuration is 'application/vnd.cncf.helm.config.v1+json'"),
        (manifest(layers=[descriptor(LAYER, "sha256:00")]), MANIFEST,
         " names 'sha256:00': expected a digest like sha256:<64 hex digits>"),
        (manifest(layers=[descriptor(LAYER, size=-1)]), MANIFEST, f" names sha256:{A} with a size of -1 bytes"),
        (index(config=descriptor()), INDEX, ": an index that is a manifest, too: refused"),
        (index(layers=[]), INDEX, ": an index that is a manifest, too: refused"),
        (index(), INDEX, ": an index that lists no image"),
        (index(descriptor(INDEX)), INDEX,
         f" is an index that names another index, sha256:{A}: nested ones are not read"),
        (index(descriptor("application/x")), INDEX,
         f" is an index that names sha256:{A}, which is 'application/x': expected an image"),
        (index(descriptor(digest=f"sha256:{A.upper()}")), INDEX,
         f" names 'sha256:{A.upper()}': expected a digest like sha256:<64 hex digits>"),
        (index(descriptor(digest=f"sha512:{A}{B}")), INDEX,
         f" names 'sha512:{A}{B[:29]}': expected a digest like sha256:<64 hex digits>"),
        (index(descriptor(platform=platform("li/nux"))), INDEX,
         f" names sha256:{A} for 'li/nux/amd64': expected os/architecture"),
        (index(*[descriptor()] * 1001), INDEX, ": an index of 1001 manifests, at most 1000 are read"),
        (b"[" * 100_000, INDEX, ": its manifest can't be read: nested too deeply"),
        (b" " * (MAX_MANIFEST_BYTES + 1), INDEX,
         ": a manifest of 4194305 bytes, at most 4194304 are read"),
        (b"\xff", INDEX, ": its manifest can't be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"schemaVersion": NaN}', INDEX, ": its manifest can't be read: NaN is not JSON"),
        (b"[]", INDEX, ": its manifest can't be read: Expected `object`, got `array`"),
        (index(descriptor(size="7")), INDEX,  # type: ignore[arg-type]  # what a registry may send
         ": its manifest can't be read: Expected `int`, got `str` - at `$.manifests[0].size`"),
    ],
)  # fmt: skip
def test_refused(document: object, kind: str, said: str) -> None:
    """What can't be relied on is no answer, and the message says why."""
    assert refusal(document, kind) == f"r/x:1{said}"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('"manifests": []', "the key 'manifests' stands twice"),
        ('"Manifests": []', "the key 'Manifests' may be taken for 'manifests'"),
        ('"manife\\u017fts": []', "the key 'manife\\u017fts' may be taken for 'manifests'"),
        ('"mediatype": ""', "the key 'mediatype' may be taken for 'mediaType'"),
        ('"x": {"y": 1, "y": 2}', "the key 'y' stands twice"),
    ],
)
def test_keys_that_readers_take_differently(extra: str, said: str) -> None:
    """Go's reader folds case and takes the last: one engine would run what another has scanned."""
    body = json.dumps(index(descriptor())).encode()[:-1] + b", " + extra.encode() + b"}"
    assert refusal(body) == f"r/x:1: its manifest can't be read: {said}"


# --- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (platform(), "linux/amd64"),
        (platform(variant="v1"), "linux/amd64"),
        (platform(variant="v3"), "linux/amd64/v3"),
        (platform(architecture="arm64", variant="v8"), "linux/arm64"),
        (platform(architecture="aarch64"), "linux/arm64"),
        (platform(architecture="arm", variant="v7"), "linux/arm/v7"),
        (platform("windows", **{"os.version": "10.0.17763.1"}), "windows/amd64"),
    ],
)
def test_platform_in_a_configuration_is_written_as_in_an_index(said: Mapping[str, object], expected: str) -> None:
    """So that the same image is for the same, with an index and without."""
    assert parse_platform("r/x:1", json.dumps(said).encode()) == expected


def test_labels_in_a_configuration_may_have_any_name() -> None:
    """Only its outermost keys are its platform."""
    body = b'{"os": "linux", "config": {"Labels": {"OS": "x", "os": "y", "a": "1", "a": "2"}}, "architecture": "amd64"}'
    assert parse_platform("r/x:1", body) == "linux/amd64"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", ": Object missing required field `os`"),
        (b'{"os": "linux"}', ": Object missing required field `architecture`"),
        (b'{"os": "linux", "architecture": null}', ": Expected `str`, got `null` - at `$.architecture`"),
        (b'{"os": "linux", "architecture": "arm", "variant": 7}', ": Expected `str`, got `int` - at `$.variant`"),
        (b'{"os": "linux", "architecture": ""}', ", but 'linux/': expected os/architecture"),
        (b'{"os": "Linux", "architecture": "amd64"}', ", but 'Linux/amd64': expected os/architecture"),
        (b'{"os": "linux", "architecture": "amd64/v2"}', ", but 'linux/amd64/v2': expected os/architecture"),
        (b'{"os": "linux", "architecture": "unknown"}', ", but 'linux/unknown': expected os/architecture"),
        (b'{"os": "unknown", "architecture": "amd64"}', ", but 'unknown/amd64': expected os/architecture"),
        (b'{"os": "linux", "architecture": "\\u202e"}', ", but 'linux/\\u202e': expected os/architecture"),
        (b'{"os": "linux", "architecture": "arm64", "architecture": "amd64"}',
         ": the key 'architecture' stands twice"),
        (b'{"os": "linux", "architecture": "amd64", "Architecture": "arm64"}',
         ": the key 'Architecture' may be taken for 'architecture'"),
        (b'{"o\\u017f": "windows", "os": "linux", "architecture": "amd64"}',
         ": the key 'o\\u017f' may be taken for 'os'"),
        (b"[]", ": expected an object"),
        (b'[["os", "linux"], ["architecture", "amd64"]]', ": expected an object"),
        (b"", ": Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, ": nested too deeply"),
    ],
)  # fmt: skip
def test_configuration_that_names_no_platform(body: bytes, said: str) -> None:
    """Missing, odd, or read differently by others: it is not guessed."""
    with pytest.raises(UpstreamError) as caught:
        parse_platform("r/x:1", body)
    assert str(caught.value) == f"r/x:1: its configuration doesn't say its platform{said}"
