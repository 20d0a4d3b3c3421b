"""Core metadata, field by field."""

import pytest
from packaging.specifiers import SpecifierSet

from quarantine.archive.metadata import Metadata, parse_metadata
from quarantine.errors import IntegrityError
from quarantine.model import Location, Reference, ReferenceKind, Requirement, Target, parse_name, parse_version

WHERE = Location(file="acme.whl")


def test_whole_metadata() -> None:
    """Name, version, Python versions and requirements with extras and markers; the body is nobody's."""
    text = (
        b"Metadata-Version: 2.1\nName: Ac.Me\nVersion: 1.0\nRequires-Python: >=3.9\n"
        b"Requires-Dist: Beta[X_y,z]>=2,<3\nRequires-Dist: gamma; extra == 'gpu'\n\nRequires-Dist: body>=1\n"
    )
    found = parse_metadata("acme.whl", text)
    gamma = found.requires[1]
    assert found == Metadata(
        name=parse_name("ac-me"),
        version=parse_version("1.0"),
        requires_python=SpecifierSet(">=3.9"),
        requires=(
            Requirement(
                name=parse_name("beta"),
                specifier=SpecifierSet(">=2,<3"),
                extras=(parse_name("x-y"), parse_name("z")),
                location=WHERE,
            ),
            Requirement(name=parse_name("gamma"), marker=gamma.marker, location=WHERE),
        ),
    )
    assert [r.applies_to(Target("3.11", "linux-x86_64")) for r in found.requires] == [True, False]


def test_broken_fields_are_named_and_the_rest_counts() -> None:
    """One bad line doesn't hide the others."""
    text = b"Name: acme\nVersion: one\nRequires-Python: many\nRequires-Dist: ???\nRequires-Dist: beta\n"
    assert parse_metadata("acme.whl", text) == Metadata(
        name=parse_name("acme"),
        version=None,
        requires=(Requirement(name=parse_name("beta"), location=WHERE),),
        problems=(
            "Version: 'one' is not a version (PEP 440)",
            "Requires-Python: 'many' is not a version specifier",
            "Requires-Dist: '???' is not a requirement (PEP 508)",
        ),
    )


@pytest.mark.parametrize(
    ("url", "kind", "text"),
    [
        ("https://user:pw@files.example/b.whl", ReferenceKind.URL, "https://files.example/b.whl"),
        ("git+https://tok@git.example/b@main", ReferenceKind.VCS, "git+https://git.example/b@main"),
    ],
)
def test_direct_references_are_kept_without_credentials(url: str, kind: ReferenceKind, text: str) -> None:
    """A requirement by URL is one, and what its URL would log in with is gone."""
    found = parse_metadata("acme.whl", f"Name: acme\nVersion: 1\nRequires-Dist: b @ {url}\n".encode())
    assert found.requires == (
        Requirement(name=parse_name("b"), reference=Reference(kind=kind, text=text), location=WHERE),
    )


def test_limits() -> None:
    """A megabyte is read, a byte more isn't; ten thousand requirements are, one more isn't."""
    head = b"Name: acme\nVersion: 1\n"
    whole = head + b"Description: " + b"x" * (1024 * 1024 - len(head) - 14) + b"\n"
    many = head + b"Requires-Dist: b\n" * 10_000
    assert [parse_metadata("m", data).name for data in (whole, many)] == ["acme", "acme"]
    with pytest.raises(IntegrityError, match=r"^m: 1048577 bytes of metadata, at most 1048576 are read$"):
        parse_metadata("m", whole + b"x")
    with pytest.raises(IntegrityError, match=r"^m: 10001 requirements, at most 10000 are read$"):
        parse_metadata("m", many + b"Requires-Dist: b\n")
