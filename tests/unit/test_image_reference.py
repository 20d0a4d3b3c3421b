"""Image references: Docker Hub's short forms written out, and what is refused."""

import pytest

from quarantine.model import Digest, ImageReference, Location
from quarantine.spec.image import parse_image, placeholder

HERE = Location(file="Dockerfile", line=3)
HEX = "ab" * 32


def _parsed(text: str) -> ImageReference:
    return parse_image(text, HERE, "FROM")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("foo/bar", "docker.io/foo/bar"),
        ("docker.io/python", "docker.io/library/python"),
        ("index.docker.io/library/python:3", "docker.io/library/python:3"),
        ("localhost/x", "localhost/x"),
        ("LocalHost/x", "localhost/x"),
        ("localhost:5000/team/x:1", "localhost:5000/team/x:1"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x"),
        ("[::1]:5000/x", "[::1]:5000/x"),
        ("MCR.Microsoft.com/azureml/openmpi:20240101", "mcr.microsoft.com/azureml/openmpi:20240101"),
        ("example.org", "docker.io/library/example.org"),
        (f"example.org/a__b/c-d.e@sha256:{HEX}", f"example.org/a__b/c-d.e@sha256:{HEX}"),
        (f"example.org/x:1@sha256:{HEX}", f"example.org/x:1@sha256:{HEX}"),
    ],
)
def test_registry_and_path_are_written_out(text: str, whole: str) -> None:
    """A reference is printed with its host and its whole path, and reads back as the same."""
    parsed = _parsed(text)

    assert str(parsed) == whole
    assert _parsed(whole) == parsed


def test_the_parts_of_a_reference() -> None:
    """Host, path, tag and digest, and where it stood, are told apart."""
    assert _parsed(f"example.org:443/a/b:v1@sha256:{HEX}") == ImageReference(
        host="example.org:443",
        path="a/b",
        tag="v1",
        digest=Digest("sha256", HEX),
        role="FROM",
        location=HERE,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an image reference without a name"),
        ("Python", "'Python' is not an image reference: 'Python' is no segment of a path: it must be lower-case"),
        ("Foo/bar", "'Foo/bar' is not an image reference: 'Foo' is no segment of a path: it must be lower-case"),
        ("a//b", "'a//b' is not an image reference: '' is no segment of a path"),
        ("a..b/c", "'a..b/c' is not an image reference: 'a..b' is no host"),
        ("x/a..b", "'x/a..b' is not an image reference: 'a..b' is no segment of a path"),
        ("example.org/../x", "'example.org/../x' is not an image reference: '..' is no segment of a path"),
        (":tag", "':tag' is not an image reference: '' is no segment of a path"),
        ("a b", "'a b' is not an image reference: it holds a blank or a control character"),
        ("a\x1bb", "'a\\x1bb' is not an image reference: it holds a blank or a control character"),
        ("example.org:0/x", "'example.org:0/x' is not an image reference: '0' is no port"),
        ("example.org:65536/x", "'example.org:65536/x' is not an image reference: '65536' is no port"),
        ("-a.org/x", "'-a.org/x' is not an image reference: '-a.org' is no host"),
        (
            "x:",
            "'x:' is not an image reference: '' is no tag: up to 128 of A-Z a-z 0-9 _ . -, not beginning with '.' or '-'",
        ),
        (
            "x@sha512:ab",
            (
                "'x@sha512:ab' is not an image reference: behind '@' stands 'sha256:' with 64 lower-case hexadecimal digits, "
                "or nothing"
            ),
        ),
        ("docker://x", "'docker://x' is not an image reference: write it without 'docker://'"),
        ("https://example.org/x", "'https://example.org/x' is not an image reference: write it without 'https://'"),
        ("x:{{latest}}", "'x:{{latest}}' is not an image reference: the placeholder '{{latest}}' isn't filled in"),
        ("x:$TAG", "'x:$TAG' is not an image reference: the placeholder '$TAG' isn't filled in"),
        ("<acr>.io/x", "'<acr>.io/x' is not an image reference: the placeholder '<acr>' isn't filled in"),
        (
            HEX,
            f"'{HEX}' is not an image reference: an image's id names nothing in a registry: write its name and digest",
        ),
        (
            "\N{CYRILLIC SMALL LETTER ER}ython",
            (
                "'\\u0440ython' holds CYRILLIC SMALL LETTER ER (U+0440): only ASCII letters, digits, '.', '-' and '_' may be "
                "used in names"
            ),
        ),
    ],
)
def test_what_is_no_reference_is_refused(text: str, message: str) -> None:
    """The message names the text, and what is wrong with it."""
    with pytest.raises(ValueError) as caught:
        _parsed(text)

    assert str(caught.value) == message


def test_an_upper_case_digest_is_refused() -> None:
    """A digest is lower-case, as registries print it."""
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        _parsed(f"x@sha256:{HEX.upper()}")


def test_a_login_is_refused_and_not_shown() -> None:
    """Credentials in a reference are no part of the message."""
    with pytest.raises(ValueError) as caught:
        _parsed("user:canary@example.org/x")

    assert str(caught.value) == (
        "an image reference with a login before '@': registries take their logins from elsewhere"
    )


@pytest.mark.parametrize("text", ["a" * 1025, "a" * 256, f"{'a' * 60}.{'b' * 250}/x", "/".join("a" * 130)])
def test_endless_references_are_refused(text: str) -> None:
    """Length is bounded in all."""
    with pytest.raises(ValueError, match=r"characters|no host"):
        _parsed(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x:{{latest-image-tag}}", "{{latest-image-tag}}"),
        ("${{parent.inputs.image}}", "${{parent.inputs.image}}"),
        ("${ACR}/x", "${ACR}"),
        ("$ACR/x", "$ACR"),
        ("<your-acr>/x", "<your-acr>"),
        ("example.org/x:1", None),
    ],
)
def test_placeholders_are_found(text: str, found: str | None) -> None:
    """What templates, shells and people leave to be filled in is told from a name."""
    assert placeholder(text) == found
