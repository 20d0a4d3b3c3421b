"""Whatever is taken for an image reference is ASCII, and prints as what reads back the same."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from quarantine.model import ImageReference, Location
from quarantine.spec.image import parse_image

HERE = Location(file="f", line=1)
HEX = "0123456789abcdef" * 4

_WORD = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
_PIECES = st.sampled_from(
    ["/", ":", "@", ".", "-", "_", "__", "sha256:", "localhost", "docker.io", "A", "\u212a", "[", "]"]
)


def _parsed(text: str) -> ImageReference | None:
    try:
        return parse_image(text, HERE)
    except ValueError:
        return None


@given(st.one_of(st.text(max_size=60), st.lists(_WORD | _PIECES, max_size=12).map("".join)))
@example("index.docker.io/x")
@example("docker.io/docker.io/x")
@example("[::1]/x:y")
@example("a.b:1/c:2@sha256:" + HEX)
def test_what_is_read_reads_back(text: str) -> None:
    """A reference that is accepted is ASCII and printed in a form that means itself."""
    parsed = _parsed(text)

    if parsed is not None:
        assert text.isascii()
        assert str(parsed).isascii()
        assert parse_image(str(parsed), HERE) == parsed


@given(
    st.sampled_from(["", "example.org/", "localhost:5000/", "docker.io/"]),
    st.lists(_WORD, min_size=1, max_size=4),
    st.sampled_from(["", ":latest", ":v1.0-rc_1"]),
    st.sampled_from(["", f"@sha256:{HEX}"]),
)
def test_what_the_grammar_makes_is_read(host: str, segments: list[str], tag: str, digest: str) -> None:
    """Every reference that is put together by the grammar is accepted, and its path is kept."""
    path = "/".join(segments)
    assume(len(path) != 64)
    parsed = parse_image(f"{host}{path}{tag}{digest}", HERE)

    assert parsed.path.removeprefix("library/") == path.removeprefix("library/")
    assert (parsed.tag, str(parsed.digest)) == (tag[1:] or None, digest[1:] or "None")
