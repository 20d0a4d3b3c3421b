"""Which file is read as what, credentials in texts, markers, and the conditions of a lock's packages."""

import pytest
from packaging.markers import Marker

from quarantine.errors import SpecError
from quarantine.model import Target
from quarantine.spec.lock_graph import Edge, conditions
from quarantine.spec.markers import IN_LOCKS, disjunction, parse_marker
from quarantine.spec.options import Option, parse_options, split_options
from quarantine.spec.parse import Format, detect
from quarantine.spec.redact import redact
from quarantine.spec.text import quote

# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("requirements.txt", Format.REQUIREMENTS),
        ("a/b/requirements-dev.txt", Format.REQUIREMENTS),
        ("requirements.in", Format.REQUIREMENTS),
        ("x.y.txt", Format.REQUIREMENTS),
        ("sub/pyproject.toml", Format.PYPROJECT),
        ("pylock.toml", Format.PYLOCK),
        ("pylock.gpu.toml", Format.PYLOCK),
        ("uv.lock", Format.UV_LOCK),
        ("environment.yml", Format.YAML),
        ("conda-lock.yaml", Format.YAML),
        ("Dockerfile", Format.DOCKERFILE),
        ("sub/Dockerfile.gpu", Format.DOCKERFILE),
        ("serve.Dockerfile", Format.DOCKERFILE),
    ],
)
def test_a_name_tells_the_format(path: str, form: Format) -> None:
    """The format goes by the file's name alone."""
    assert detect(path) == form


@pytest.mark.parametrize(
    "name", ["environment.json", "Dokcerfile", "poetry.lock", "pylock..toml", "pylock.a.b.toml", "x.toml", "txt", ""]
)
def test_an_unknown_name_is_told_what_is_known(name: str) -> None:
    """A file of another name is refused with the names that are read."""
    with pytest.raises(SpecError) as caught:
        detect(f"sub/{name}")
    assert str(caught.value) == (
        f"sub/{name}: '{name}' is no kind of file that can be checked: expected requirements*.txt, *.txt, *.in, "
        "pyproject.toml, pylock.toml, pylock.NAME.toml, uv.lock, a conda environment, conda-lock.yml or Azure ML YAML "
        "(*.yml, *.yaml), or a Dockerfile"
    )


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("numpy>=1", "numpy>=1"),
        ("https://host.example/simple", "https://host.example/simple"),
        ("https://user:pw@host.example/simple", "https://host.example/simple"),
        ("https://token@host.example:8443/x", "https://host.example:8443/x"),
        ("https://user:p@ss@host.example/x", "https://host.example/x"),
        ("https://user:p/ss@host.example/x", "https://..."),
        ("https://host.example/x?sv=1&sig=secret#sha256=ab", "https://host.example/x"),
        ("https://host.example/x#token=secret&egg=name", "https://host.example/x"),
        ("https://host.example/?next=https://u:pw@other.example", "https://host.example/"),
        ("https://proxy.example/https://u:pw@other.example/x", "https://proxy.example/.../x"),
        ("git+ssh://git@host.example/x.git@v1", "git+ssh://git@host.example/x.git@v1"),
        ("git+https://host.example/x.git@v1", "git+https://host.example/x.git@v1"),
        ("git+git@host.example:x/y", "git+git@host.example:x/y"),
        ("--index-url=user:pw@host.example/simple", "--index-url=host.example/simple"),
        ("a https://u:pw@b.example c\thttps://u:pw@d.example", "a https://b.example c\thttps://d.example"),
        ("name@https://u:pw@host.example/x", "name@https://host.example/x"),
        ("name @ file:///srv/x", "name @ file:///srv/x"),
        ("name @ file:///srv/a@b/x.whl", "name @ file:///.../x.whl"),
        ("x @ https://user:1/secret@h/x-1-py3-none-any.whl", "x @ https://.../x-1-py3-none-any.whl"),
        ("https://user:1/secret.whl@h", "https://..."),
        ("https://tok/en@h.example/x", "https://..."),
        ("https://user:1?secret@h.example/x", "https://..."),
        ("https://user%3Asecret%40h.example/", "https://..."),
        ("https://user:1%2Fsecret%40h.example/x", "https://..."),
        ("https://h.example/a;jsessionid=secret/b;jsessionid=secret", "https://h.example/.../b"),
        ("https://h.example/secret%40x/b%3Ac", "https://h.example/..."),
        ("-f https://user:pa ss secret@h/x", "-f https://..."),
        ("-f https://to ken@h/x-1.tar.gz y", "-f https://.../x-1.tar.gz y"),
        ("secret@h/x", "h/x"),
        ("numpy@1.0", "numpy@1.0"),
        ("x@./wheels/x.whl", "x@./wheels/x.whl"),
        ("git+https://host.example/group/x@v1.0", "git+https://host.example/group/x@v1.0"),
        ("git+https://host:8443/x.git@v1.0", "git+https://host:8443/x.git@v1.0"),
        ("git+https://user:1/secret@v1.0", "git+https://..."),
        ("https://[::1]:80/x https://h\\x/y", "https://[::1]:80/x https://h/.../y"),
        ("token = secret words", "token = *** words"),
        ("password: 'secret words'", "password: ***"),
        ("my-api-key=secret", "my-api-key=***"),
        ("authorization: bearer secret", "authorization: ***"),
        ("token==1.0", "token==1.0"),
        ("tokenizers=1.0", "tokenizers=1.0"),
    ],
)
def test_credentials_are_left_out(text: str, clean: str) -> None:
    """Userinfo and queries of URLs are not kept; what says which package it is, is."""
    assert redact(text) == clean


def test_quoted_text_is_short_printable_and_clean() -> None:
    """What a message quotes can neither drive a terminal, nor flood it, nor tell a password."""
    assert quote("https://u:pw@host.example/\x1b\u202e" + "x" * 200) == (
        "'https://host.example/\\x1b\\u202e" + "x" * 77 + "...'"
    )


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "requirement", "options", "left"),
    [
        ("a", "a", (), ()),
        ("a-b", "a-b", (), ()),
        ("a --hash=x  --hash y", "a", (("--hash", "x"), ("--hash", "y")), ()),
        ("-r a.txt", "", (("--requirement", "a.txt"),), ()),
        ('-r"a b.txt"', "", (("--requirement", "a b.txt"),), ()),
        ("-r\ta.txt", "", (("--requirement", "a.txt"),), ()),
        ("--find x -C y", "", (("--find-links", "x"), ("--config-settings", "y")), ()),
        ("--pre b --prefer c", "", (("--pre", None), ("--prefer-binary", None)), ("b", "c")),
        ("--pre -- -r a", "", (("--pre", None),), ("-r", "a")),
        ("--index-url=", "", (("--index-url", ""),), ()),
    ],
)
def test_options_are_read_as_pip_reads_them(
    line: str, requirement: str, options: tuple[tuple[str, str | None], ...], left: tuple[str, ...]
) -> None:
    """Requirement, options and what pip drops, with abbreviations and attached values."""
    text, rest = split_options(line)

    assert text == requirement
    assert parse_options(rest) == (tuple(Option(name=name, value=value) for name, value in options), left)


# --- markers and conditions -------------------------------------------------------------------------------------------

LINUX = Target("3.11", "linux-x86_64")
WINDOWS = Target("3.11", "windows-x86_64")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("os_name == 'nt'", 'os_name == "nt"'),
        ("'x' in extras", None),
        ("extra == 'x'", None),
        ("'x' not in dependency_groups", None),
        ("'x' in extras and os_name == 'nt'", 'python_version >= "0" and os_name == "nt"'),
        ("os_name == '\" in extras'", "os_name == '\" in extras'"),
        ("'extras' == os_name", '"extras" == os_name'),
    ],
)
def test_what_no_target_says_is_taken_as_true(text: str, known: str | None) -> None:
    """A lock's comparisons of extras and groups hold, all others stay."""
    marker = parse_marker(text, IN_LOCKS)

    assert (None if marker is None else str(marker)) == known


def test_a_disjunction_holds_where_a_path_holds() -> None:
    """All markers of one path must hold; an empty path holds always; no path never asks."""
    linux, windows = Marker("sys_platform == 'linux'"), Marker("sys_platform == 'win32'")
    old = Marker("python_version < '3.11'")
    either = disjunction([[linux, old], [windows]])

    assert either is not None
    assert [either.evaluate({**target.environment(), "extra": ""}) for target in (LINUX, WINDOWS)] == [False, True]
    assert disjunction([[linux], []]) is None
    assert disjunction([]) is None


def test_conditions_follow_the_edges() -> None:
    """A node is reached by all ways to it, with what stands on them; a free way makes the others superfluous."""
    edges: dict[object, list[Edge]] = {
        "a": [Edge("b", "m"), Edge("c", None)],
        "b": [Edge("d", "n"), Edge("a", None)],
        "c": [Edge("d", "o"), Edge("e", None)],
        "e": [Edge("c", "p")],
        "lost": [Edge("f", None)],
    }

    reached = conditions([Edge("a", None), Edge("e", "q")], edges)

    free = frozenset({frozenset[str]()})
    assert reached == {
        "a": free,
        "b": frozenset({frozenset({"m"})}),
        "c": free,
        "d": frozenset({frozenset({"m", "n"}), frozenset({"o"})}),
        "e": free,
    }


def test_too_many_conditions_are_always() -> None:
    """Where ways to a node are many, or long, it counts as reached always: the safe direction."""
    many = conditions([Edge("a", f"m{number}") for number in range(13)], {})
    long = conditions([Edge(0, "m")], {number: [Edge(number + 1, f"m{number}")] for number in range(9)})

    free = frozenset({frozenset[str]()})
    assert (many["a"], long[8]) == (free, free)


def test_a_condition_that_keeps_changing_is_always() -> None:
    """A node whose condition changes again and again, without ever having many paths, is not gone through for ever."""
    # twelve paths at most at any time: those with one more marker come first, and are then made superfluous together
    stems = [[f"{stem}.{marker}" for marker in range(7)] for stem in range(12)]
    paths = [
        [*markers, *more]
        for stem, markers in enumerate(stems)
        for more in (*([f"more {number}"] for number in range(12 - stem)), [])
    ]
    start: list[Edge] = []
    edges: dict[object, list[Edge]] = {}
    for number, path in enumerate(paths):
        steps = [*path, *[None] * (number + 8 - len(path))]  # longer each time, so that they arrive in this order
        start.append(Edge((number, 0), None))
        for place, marker in enumerate(steps, start=1):
            target = "a" if place == len(steps) else (number, place)
            edges[number, place - 1] = [Edge(target, marker)]

    assert len(paths) == 90
    assert conditions(start, edges)["a"] == frozenset({frozenset[str]()})
