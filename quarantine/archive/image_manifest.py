"""Image manifests, indexes and configurations: bytes -> what they say, checked.

Registries and engines are written in Go, whose JSON reader takes the last of several keys that are alike, in any case.
A document in which two readers could see two different images is refused: keys that are alike, a document that is a
manifest and an index at once (CVE-2021-41190), a media type that isn't the one it is served as.

Source: OCI image-spec 1.1 (manifest.md, image-index.md, descriptor.md, config.md); Docker's Image Manifest Version 2, Schema 2.
"""

import json
import re
from collections.abc import Mapping, Sequence

import msgspec

from quarantine.errors import UpstreamError
from quarantine.model import Digest

__all__ = [
    "ACCEPT",
    "MAX_CONFIG_BYTES",
    "MAX_MANIFEST_BYTES",
    "Child",
    "ImageIndex",
    "ImageManifest",
    "parse_manifest",
    "parse_platform",
]

# distribution-spec: registries should limit manifests to 4 MiB, and need take none that is larger
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_CHILDREN = 1000
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = f"{OCI_INDEX}, {DOCKER_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_SCHEMA_1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{suffix}" for suffix in ("json", "prettyjws"))
_CONFIGS = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})
# what BuildKit writes beside the images of an index: no platform, and never what a pull gets
_REFERENCE_TYPE, _ATTESTATION = "vnd.docker.reference.type", "attestation-manifest"
_NOT_SAID = "unknown"
_UNKNOWN = f"{_NOT_SAID}/{_NOT_SAID}"
# containerd takes these for the same
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_IMPLIED_VARIANTS = frozenset({("amd64", "v1"), ("arm64", "v8"), ("arm64", "8")})
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """One image of an index. `platform` is like "linux/amd64" or "linux/arm/v7", "unknown/unknown" where it isn't said."""

    digest: Digest
    media_type: str
    size: int
    platform: str


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of one image. `config` is the digest of its configuration, which names its platform."""

    media_type: str
    config: Digest


class ImageIndex(msgspec.Struct, frozen=True, kw_only=True):
    """An index, or Docker's manifest list: at least one image, attestations left out, in the index's order."""

    media_type: str
    children: tuple[Child, ...]


class _Platform(msgspec.Struct):
    os: str = _NOT_SAID
    architecture: str = _NOT_SAID
    variant: str = ""


class _Descriptor(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Document(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str | None = None
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    fs_layers: object = None


class _Config(msgspec.Struct):
    os: str
    architecture: str
    variant: str = ""


_KEYS = {
    name.casefold(): name
    for type_ in (_Document, _Descriptor, _Platform)
    for name in (field.encode_name for field in msgspec.structs.fields(type_))
}
_CONFIG_KEYS = {name: name for name in _Config.__struct_fields__}


def parse_manifest(what: str, content_type: str, body: bytes) -> ImageManifest | ImageIndex:
    """What the registry sent for the image `what`, by its Content-Type. UpstreamError when it can't be relied on."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _SCHEMA_1:
        raise UpstreamError(
            f"{what} is an image of Docker's schema 1, which names no configuration: push it again with a current engine"
        )
    if kind not in _INDEXES | _MANIFESTS:
        raise UpstreamError(f"{what}: the registry sent {kind[:80]!a}: expected an image manifest or an index")
    document = _read(what, body)
    if document.schema_version != 2:
        raise UpstreamError(f"{what}: a manifest of schema {document.schema_version}: expected 2")
    if document.media_type != kind and not (document.media_type is None and kind in {OCI_INDEX, OCI_MANIFEST}):
        said = "none" if document.media_type is None else f"{document.media_type[:80]!a}"
        raise UpstreamError(f"{what}: a manifest whose media type is {said}, sent as {kind}")
    return _index(what, kind, document) if kind in _INDEXES else _manifest(what, kind, document)


def parse_platform(what: str, body: bytes) -> str:
    """The platform in the configuration of the image `what`, as a `Child` has it. UpstreamError when it says none."""
    try:
        # only its outermost keys say it: below are labels, of any name
        pairs = json.loads(body.decode("utf-8"), object_pairs_hook=tuple, parse_constant=_no_constant)
        if not isinstance(pairs, tuple):
            raise ValueError("expected an object")  # noqa: TRY004, TRY301  # as the other ways to be no configuration
        said = msgspec.convert(_unambiguous(pairs, _CONFIG_KEYS), _Config, strict=True)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise UpstreamError(f"{what}: its configuration doesn't say its platform: {why}") from error
    words = _words(said)
    if _NOT_SAID in words or not all(map(_WORD.fullmatch, words)):
        found = f"{'/'.join(words)[:100]!a}: expected os/architecture"
        raise UpstreamError(f"{what}: its configuration doesn't say its platform, but {found}")
    return "/".join(words)


def _read(what: str, body: bytes) -> _Document:
    if len(body) > MAX_MANIFEST_BYTES:
        raise UpstreamError(f"{what}: a manifest of {len(body)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unambiguous, parse_constant=_no_constant)
        return msgspec.convert(value, _Document, strict=True)
    except (ValueError, RecursionError) as error:  # msgspec's and json's errors are ValueErrors
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise UpstreamError(f"{what}: its manifest can't be read: {said}") from error


def _unambiguous(pairs: Sequence[tuple[str, object]], known: Mapping[str, str] = _KEYS) -> dict[str, object]:
    """An object that every reader reads alike."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!a} stands twice")
        if known.get(key.casefold(), key) != key:
            raise ValueError(f"the key {key[:80]!a} may be taken for {known[key.casefold()]!a}")
        found[key] = value
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _manifest(what: str, kind: str, document: _Document) -> ImageManifest:
    if document.manifests is not None or document.fs_layers is not None:
        raise UpstreamError(f"{what}: a manifest that is an index, or of schema 1, too: refused")
    if document.config is None or document.layers is None:
        raise UpstreamError(f"{what}: a manifest without config or layers")
    if document.config.media_type not in _CONFIGS:
        raise UpstreamError(f"{what} is no container image: its configuration is {document.config.media_type[:80]!a}")
    for layer in document.layers:
        _digest(what, layer)
    return ImageManifest(media_type=kind, config=_digest(what, document.config))


def _index(what: str, kind: str, document: _Document) -> ImageIndex:
    if any(part is not None for part in (document.config, document.layers, document.fs_layers)):
        raise UpstreamError(f"{what}: an index that is a manifest, too: refused")
    listed = document.manifests or []
    if len(listed) > MAX_CHILDREN:
        raise UpstreamError(f"{what}: an index of {len(listed)} manifests, at most {MAX_CHILDREN} are read")
    children = tuple(_child(what, descriptor) for descriptor in listed if not _is_attestation(what, descriptor))
    if not children:
        raise UpstreamError(f"{what}: an index that lists no image")
    return ImageIndex(media_type=kind, children=children)


def _is_attestation(what: str, descriptor: _Descriptor) -> bool:
    """Only what no machine pulls: an image of a platform stays one, whatever it is annotated with."""
    annotated = (descriptor.annotations or {}).get(_REFERENCE_TYPE) == _ATTESTATION
    is_manifest = descriptor.media_type in _MANIFESTS
    return annotated and is_manifest and descriptor.platform is not None and _platform(what, descriptor) == _UNKNOWN


def _child(what: str, descriptor: _Descriptor) -> Child:
    digest = _digest(what, descriptor)
    if descriptor.media_type in _INDEXES:
        raise UpstreamError(f"{what} is an index that names another index, {digest}: nested ones are not read")
    if descriptor.media_type not in _MANIFESTS:
        raise UpstreamError(
            f"{what} is an index that names {digest}, which is {descriptor.media_type[:80]!a}: expected an image"
        )
    platform = _platform(what, descriptor)
    return Child(digest=digest, media_type=descriptor.media_type, size=descriptor.size, platform=platform)


def _digest(what: str, descriptor: _Descriptor) -> Digest:
    found = _DIGEST.fullmatch(descriptor.digest)
    if found is None:
        raise UpstreamError(f"{what} names {descriptor.digest[:100]!a}: expected a digest like sha256:<64 hex digits>")
    if descriptor.size < 0:
        raise UpstreamError(f"{what} names {descriptor.digest} with a size of {descriptor.size} bytes")
    return Digest.sha256(found[1])


def _platform(what: str, descriptor: _Descriptor) -> str:
    words = _words(descriptor.platform or _Platform())
    if not all(map(_WORD.fullmatch, words)):
        raise UpstreamError(f"{what} names {descriptor.digest} for {'/'.join(words)[:100]!a}: expected os/architecture")
    return "/".join(words)


def _words(said: _Platform | _Config) -> list[str]:
    """As containerd writes it: an architecture's first variant is not told apart from the architecture."""
    architecture = _ARCHITECTURES.get(said.architecture, said.architecture)
    is_plain = not said.variant or (architecture, said.variant) in _IMPLIED_VARIANTS
    return [said.os, architecture] if is_plain else [said.os, architecture, said.variant]
