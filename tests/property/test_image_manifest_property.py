"""Manifests and challenges from anywhere: a value or an error of ours, and nothing hidden."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quarantine.archive.image_manifest import ACCEPT, ImageIndex, ImageManifest, parse_manifest, parse_platform
from quarantine.errors import UpstreamError
from quarantine.io.challenge import parse_challenges

KINDS = ACCEPT.split(", ")
kinds = st.sampled_from(KINDS)
keys = st.sampled_from(
    ["schemaVersion", "mediaType", "manifests", "config", "layers", "digest", "size", "platform", "os", "Manifests"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | kinds
    | st.just("sha256:" + "a" * 64)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=5),
    max_leaves=15,
)
words = st.from_regex(r"[a-z0-9][a-z0-9.]{0,5}", fullmatch=True)


def read(kind: str, body: bytes) -> ImageManifest | ImageIndex | None:
    try:
        return parse_manifest("r/x:1", kind, body)
    except UpstreamError as error:
        assert str(error).isascii()  # noqa: PT017  # what it says is ours alone
        return None


@given(kinds | st.text(max_size=20), st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_an_error(kind: str, body: bytes) -> None:
    """No other exception comes out; random bytes are no manifest."""
    assert read(kind, body) is None


@given(kinds, st.dictionaries(keys, documents, max_size=6))
def test_any_document_is_a_manifest_or_an_error(kind: str, document: dict[str, Any]) -> None:
    """What is read is of the kind that was served."""
    found = read(kind, json.dumps({"schemaVersion": 2, **document}).encode())
    assert found is None or found.media_type == kind


@given(
    st.dictionaries(st.sampled_from(["os", "architecture", "variant", "OS"]), words | documents, max_size=4).map(
        lambda document: json.dumps(document).encode()
    )
    | st.binary(max_size=300)
)
def test_any_bytes_are_a_platform_or_an_error(body: bytes) -> None:
    """A platform is plain words: it goes into messages."""
    try:
        found = parse_platform("r/x:1", body)
    except UpstreamError as error:
        assert str(error).isascii()  # noqa: PT017  # what it says is ours alone
        return
    assert re.fullmatch(r"[a-z0-9._-]+/[a-z0-9._-]+(/[a-z0-9._-]+)?", found)


@given(st.sampled_from(KINDS[:2]), st.lists(st.tuples(words, words, words | st.just("")), min_size=1, max_size=8))
def test_every_child_is_listed(kind: str, platforms: list[tuple[str, str, str]]) -> None:
    """As many as the index has, in its order, each with its own digest."""
    listed = [
        {
            "mediaType": KINDS[2],
            "digest": f"sha256:{number:064x}",
            "size": number,
            "platform": {"os": os, "architecture": architecture, "variant": variant},
        }
        for number, (os, architecture, variant) in enumerate(platforms)
    ]
    found = read(kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": listed}).encode())
    assert isinstance(found, ImageIndex)
    assert [int(child.digest.hex, 16) for child in found.children] == list(range(len(platforms)))


@given(st.text(max_size=60) | st.text(alphabet='Bearer basic=",\\ ~', max_size=60))
def test_any_header_is_challenges_or_an_error(header: str) -> None:
    """No other exception comes out."""
    try:
        found = parse_challenges(header)
    except UpstreamError:
        return
    assert all(challenge.scheme == challenge.scheme.lower() != "" for challenge in found)


@given(st.lists(st.tuples(words, st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20)), min_size=1, unique_by=lambda pair: pair[0]))  # fmt: skip
def test_challenge_reads_back(parameters: list[tuple[str, str]]) -> None:
    """Whatever stands in quotes is read as it was meant, commas and quotes included."""
    said = ", ".join(name + '="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for name, value in parameters)
    (found,) = parse_challenges(f"Bearer {said}")
    assert (found.scheme, list(found.parameters)) == ("bearer", parameters)
