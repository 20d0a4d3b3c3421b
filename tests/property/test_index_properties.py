"""Pages and metadata from anywhere: an answer or an error of ours, and nothing that isn't the project's."""

import json

from hypothesis import given
from hypothesis import strategies as st

from quarantine.archive.metadata import parse_metadata
from quarantine.archive.pages import parse_page
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import parse_name

ACME = parse_name("acme")
URL = "http://index.example/simple/acme/"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
pieces = st.sampled_from(
    ["<a ", "<a\n", "href=", '"acme-1.0.tar.gz"', "'acme-2.0-py3-none-any.whl#sha256=00'", ">", "</a>", "<!--", "-->", "&gt;", "="]
)  # fmt: skip


@given(st.sampled_from(["text/html", "application/vnd.pypi.simple.v1+json", "text/plain"]), st.binary(max_size=300))
def test_any_bytes_are_a_page_or_an_error(kind: str, data: bytes) -> None:
    """No other exception comes out."""
    try:
        page = parse_page(ACME, kind, URL, data)
    except UpstreamError:
        return
    assert page.of("u").artifacts == ()


@given(st.lists(pieces | st.text(max_size=10), max_size=40))
def test_any_tags_are_read(parts: list[str]) -> None:
    """Whatever the tags are, a file that is found is the project's and lies at an http address."""
    page = parse_page(ACME, "text/html", URL, "".join(parts).encode("utf-8", "replace")).of("u")
    assert {(a.name, a.url.startswith("http")) for a in page.artifacts} <= {(ACME, True)}


@given(json_values, json_values, json_values, st.text(max_size=30))
def test_any_json_is_a_page_or_an_error(hashes: object, yanked: object, time: object, filename: str) -> None:
    """A file whose fields are of wrong kinds makes the page unreadable; odd texts make it less."""
    file = {"filename": filename, "url": "x", "hashes": hashes, "yanked": yanked, "upload-time": time}
    data = json.dumps({"meta": {"api-version": "1.1"}, "name": "acme", "files": [file]}).encode()
    try:
        page = parse_page(ACME, "application/vnd.pypi.simple.v1+json", URL, data)
    except UpstreamError:
        return
    assert all(artifact.name == ACME for artifact in page.of("u").artifacts)


@given(st.binary(max_size=500) | st.text(max_size=200).map(lambda text: b"Name: a\nRequires-Dist: " + text.encode()))
def test_any_bytes_are_metadata_or_an_error(data: bytes) -> None:
    """No other exception comes out, and every requirement has a name."""
    try:
        found = parse_metadata("f", data)
    except IntegrityError:
        return
    assert all(requirement.name for requirement in found.requires)
