"""Names of wheels: taken apart within limits, wherever they come from."""

import json
import re

import pytest
from packaging.tags import Tag
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.archive.pages import parse_page
from quarantine.model import parse_wheel_name

X = NormalizedName("x")


def name(*counts: int) -> str:
    """A wheel's name with that many interpreters, ABIs and platforms."""
    parts = (".".join(f"{letter}{number}" for number in range(n)) for letter, n in zip("abc", counts, strict=True))
    return f"x-1-{'-'.join(parts)}.whl"


def test_a_name_is_taken_apart() -> None:
    """Project, version, build and all tags."""
    assert parse_wheel_name("X_y-1.0-3b-py2.py3-none-any.whl") == (
        NormalizedName("x-y"),
        Version("1.0"),
        (3, "b"),
        frozenset({Tag("py2", "none", "any"), Tag("py3", "none", "any")}),
    )


@pytest.mark.parametrize(("counts", "tags"), [((5, 10, 10), 500), ((1, 1, 40), 40)])
def test_many_tags_are_read(counts: tuple[int, int, int], tags: int) -> None:
    """Up to 500 tags a name."""
    assert len(parse_wheel_name(name(*counts))[3]) == tags


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        (name(3, 13, 13), f"'{name(3, 13, 13)[:100]}' stands for more than 500 tags"),
        (
            f"{'x' * 239}-1-py3-none-any.whl",
            f"'{'x' * 100}' is not the name of a wheel: up to 255 of A-Z a-z 0-9 . _ + ! -",
        ),
        ("x.whl", "'x.whl' is not the name of a wheel"),
        ("x-1.tar.gz", "'x-1.tar.gz' is not the name of a wheel"),
        (
            "x-1-1\\y-py3-none-any.whl",
            "'x-1-1\\\\y-py3-none-any.whl' is not the name of a wheel: up to 255 of A-Z a-z 0-9 . _ + ! -",
        ),
        (
            "\u212a-1-py3-none-any.whl",
            "'\\u212a-1-py3-none-any.whl' is not the name of a wheel: up to 255 of A-Z a-z 0-9 . _ + ! -",
        ),
    ],
)
def test_other_names_are_refused(filename: str, message: str) -> None:
    """More tags, other names and other characters are refused, quickly."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_wheel_name(filename)


def test_a_page_without_what_is_beyond_the_limits() -> None:
    """A file whose name stands for too many tags is left out of its page; the others stay."""
    good = "x-1-py3-none-any.whl"
    names = [name(40, 40, 1), name(8, 8, 8), good]
    files = [{"filename": text, "url": f"https://files.example/{text}", "hashes": {}} for text in names]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "x", "files": files}).encode()

    page = parse_page(X, "application/vnd.pypi.simple.v1+json", "https://index.example/simple/x/", body).of("own")

    assert [artifact.filename for artifact in page.of_version(Version("1"))] == [good]
