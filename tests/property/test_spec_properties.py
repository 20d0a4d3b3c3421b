"""What holds for every environment file, whatever its bytes."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName, canonicalize_name

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, Location, Needs, Requirement
from quarantine.spec.parse import parse
from quarantine.spec.redact import redact
from quarantine.spec.requirement import parse_pep508
from quarantine.spec.toml import load_toml

FORMATS = st.sampled_from(["requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock"])
_words = st.sampled_from(
    [
        "numpy", "==", ">=1", "1.0", " ", "\t", "\n", "\\\n", "\r\n", "#", ";", "[", "]", "(", ")", "{", "}", "@", "://",
        "https", "git+", "--hash=", "sha256:", "a" * 64, "-r ", "-c", "-e ", "--index-url ", "'", '"', "=", ".", "/", "..",
        "os_name", "extra", "${X}", "\u212a", "\x00", "\x0c", "\u2028", "[project]\n", "[[packages]]\n", "[[package]]\n",
        "name = ", "version = 1\n", 'lock-version = "1.0"\n', 'created-by = "x"\n', "dependencies = [", "]\n", "source = ",
        '{ registry = "x" }', "wheels = [", "hash = ", "marker = ", "dynamic = ", "[tool.uv]\n", "[dependency-groups]\n",
    ]
)  # fmt: skip
_documents = st.binary(max_size=200) | st.lists(_words, max_size=30).map("".join).map(str.encode)

_keys = st.sampled_from(
    [
        "name", "version", "source", "registry", "git", "editable", "virtual", "wheels", "sdist", "url", "hash", "hashes",
        "sha256", "dependencies", "marker", "extra", "optional-dependencies", "dev-dependencies", "size", "vcs",
        "directory", "archive", "path", "type", "commit-id", "include-group", "dynamic", "requires-python", "index",
    ]
)  # fmt: skip
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["numpy", "1.0", "a" * 64, "."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
_tops = st.dictionaries(
    st.sampled_from(
        [
            "project", "dependency-groups", "tool", "packages", "package", "version", "lock-version", "created-by",
            "environments", "requires-python", "manifest", "supported-markers",
        ]
    ),
    _values | st.lists(st.dictionaries(_keys, _values, max_size=6), max_size=3) | st.dictionaries(_keys, _values, max_size=6),
    max_size=6,
)  # fmt: skip


@given(name=FORMATS, data=_documents)
def test_any_bytes_end_in_an_answer(name: str, data: bytes) -> None:
    """Whatever a file holds, it is a spec, a wish for more files, or a SpecError that has problems."""
    try:
        answer: object = parse(name, {name: data})
    except SpecError as error:
        answer = error.problems

    assert isinstance(answer, EnvironmentSpec | Needs | tuple)
    assert answer


@given(name=st.sampled_from(["pyproject.toml", "pylock.toml", "uv.lock"]), document=_tops)
def test_any_document_ends_in_an_answer(name: str, document: dict[str, object]) -> None:
    """The same for TOML of any shape, which random bytes seldom are."""
    data = _toml(document).encode()

    try:
        answer: object = parse(name, {name: data})
    except SpecError as error:
        answer = error.problems

    assert isinstance(answer, EnvironmentSpec | tuple)
    assert answer


def _toml(document: dict[str, object]) -> str:
    """A document as TOML, every value inline."""
    return "".join(f"{key} = {_inline(value)}\n" for key, value in document.items())


def _inline(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08X}" for c in value) + '"'
        case dict():
            return "{" + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case None:
            return "1.5"
        case _:
            return str(value)


# --- requirements -----------------------------------------------------------------------------------------------------

_names = st.lists(st.text("abcXYZ019", min_size=1, max_size=6), min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from("-_.").map(lambda mark: mark.join(parts))
)
_versions = st.from_regex(
    r"(?:[1-9]!)?[0-9]{1,3}(?:\.[0-9]{1,2}){0,3}(?:a1|rc2)?(?:\.post3)?(?:\.dev4)?", fullmatch=True
)
_specifiers = st.lists(
    st.builds(str.__add__, st.sampled_from(["==", "!=", ">=", "<=", ">", "<", "==="]), _versions), max_size=3
)
_markers = st.sampled_from(
    [
        "",
        'python_version < "3.12"',
        'sys_platform == "linux" or os_name == "nt"',
        '(os_name == "nt" or os_name == "posix") and python_full_version >= "3.10"',
        '"linux" in sys_platform',
    ]
)
HERE = Location(file="r.txt", line=1)


def _rendered(requirement: Requirement) -> str:
    """A requirement as a line of a file."""
    extras = f"[{', '.join(requirement.extras)}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker is not None else ""
    digests = "".join(f" --hash={digest}" for digest in sorted(requirement.digests))
    reference = f" @ {requirement.reference.text}" if requirement.reference is not None else ""
    return f"{requirement.name}{extras}{reference or requirement.specifier}{marker}{digests}"


@given(
    name=_names,
    extras=st.lists(_names, max_size=2),
    specifiers=_specifiers,
    marker=_markers,
    url=st.sampled_from(["", "https://host.example/x-1.zip#sha256=" + "a" * 64, "git+https://host.example/x.git@v1"]),
)
def test_what_is_rendered_is_read_back(
    name: str, extras: list[str], specifiers: list[str], marker: str, url: str
) -> None:
    """Reading a requirement, writing it as a line and reading that gives the same requirement."""
    body = f" @ {url} " if url else ",".join(specifiers)
    condition = f" ; {marker}" if marker else ""
    first = parse_pep508(f"{name}[{','.join(extras)}]{body}{condition}", HERE)
    line = _rendered(first)

    answer = parse("r.txt", {"r.txt": line.encode()})

    assert isinstance(answer, EnvironmentSpec)
    assert answer.requirements == (first,)


@given(name=_names, marks=st.lists(st.sampled_from("-_."), min_size=6, max_size=6), upper=st.booleans())
def test_two_spellings_are_one_requirement(name: str, marks: list[str], upper: bool) -> None:
    """However a name is spelt, the requirement is the same."""
    rest = iter(marks)
    other = "".join(next(rest, "-") if character in "-_." else character for character in name)
    other = other.upper() if upper else other.lower()

    one, two = (parse_pep508(text, HERE) for text in (name, other))

    assert one == two
    assert one.name == NormalizedName(canonicalize_name(name))


@given(
    user=st.text("abc", min_size=1, max_size=4),
    rest=st.lists(st.sampled_from(["x", "/", "?", "#", "@", ":", "&", "=", " ", "https://", "'", "."]), max_size=8).map(
        "".join
    ),
)
def test_a_password_in_userinfo_never_stays(user: str, rest: str) -> None:
    """What stands between a scheme and the host is left out, whatever follows; doing it twice changes nothing more."""
    text = f"https://{user}:canary@host.example/{rest}"

    assert "canary" not in redact(text)


@given(
    before=st.lists(
        st.sampled_from(["u", "1", "/", "?", "#", " ", "\\", ";", ".", "-", "%2F"]), min_size=1, max_size=4
    ).map("".join),
    after=st.sampled_from(["@h/x-1-py3-none-any.whl", "@h.example", "@h:1/x;y", "%40h/", "@h/?x#y"]),
    prefix=st.sampled_from(["", "x @ ", "-f ", "--index-url=", "git+", "x@"]),
)
def test_a_password_is_hidden_whatever_it_holds(before: str, after: str, prefix: str) -> None:
    """A colon and an "@" make a login, encoded or not, whatever stands between them."""
    text = f"{prefix}https://user:{before}canary{after}"
    clean = redact(text)

    assert "canary" not in clean
    assert redact(clean) == clean


@given(data=st.lists(_words, max_size=30).map("".join))
def test_the_scan_for_lines_decides_nothing(data: str) -> None:
    """Values come from the standard library's parser alone."""
    try:
        document = load_toml("x.toml", data.encode())
    except SpecError as error:
        assert error.problems  # noqa: PT017
        return

    assert document.value == tomllib.loads(data.removeprefix("\ufeff"))
