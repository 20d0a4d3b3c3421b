"""What is too big, no text, or made to exhaust a reader: refused with one message, in every format."""

import tracemalloc

import pytest

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec.parse import parse

MIB = 1024 * 1024
NAMES = ("requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock")


def refusal(name: str, data: bytes) -> str:
    """The message with which a file is refused."""
    with pytest.raises(SpecError) as caught:
        parse(name, {name: data})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("requirements.txt", 10 * MIB),
        ("pyproject.toml", 10 * MIB),
        ("pylock.toml", 32 * MIB),
        ("uv.lock", 32 * MIB),
    ],
)
def test_a_file_of_50_megabytes_is_not_read(name: str, limit: int) -> None:
    """A file above its format's limit is refused before anything looks into it."""
    data = b"#" * 50_000_000

    assert refusal(name, data) == f"{name}: 50000000 bytes: at most {limit} are read"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x00\x00", "binary (a zero byte at offset 4): expected a text file in UTF-8"),
        (b"numpy\ncaf\xe9\n", "not UTF-8 (byte 9): save the file in that encoding"),
        (b"\xed\xa0\x80", "not UTF-8 (byte 0): save the file in that encoding"),
        ("numpy".encode("utf-16"), "UTF-16: expected UTF-8; save the file in that encoding"),
        ("\ufeffnumpy".encode("utf-16-be"), "UTF-16: expected UTF-8; save the file in that encoding"),
        ("numpy".encode("utf-32"), "UTF-32: expected UTF-8; save the file in that encoding"),
        ("\ufeffnumpy".encode("utf-32-be"), "UTF-32: expected UTF-8; save the file in that encoding"),
    ],
)
def test_what_is_no_text_is_refused(name: str, data: bytes, message: str) -> None:
    """Binary files and other encodings are refused with advice, at the line where one can be told."""
    place = f"{name}:2" if b"caf" in data else f"{name}:1" if message.startswith("not") else name

    assert refusal(name, data) == f"{place}: {message}"


@pytest.mark.parametrize("name", NAMES)
def test_a_line_may_not_be_endless(name: str) -> None:
    """A line over 64 KiB is refused with its number and its length."""
    data = b"\n\n" + b"x" * 100_000 + b"\n"

    assert refusal(name, data) == f"{name}:3: a line of 100000 characters: at most 65536 are read"


def test_a_joined_line_may_not_be_endless() -> None:
    """Continuations can't get around the limit on lines."""
    data = (b"x" * 60_000 + b"\\\n") * 5

    assert refusal("r.txt", data) == "r.txt:1: a joined line of 300000 characters: at most 262144 are read"


def test_a_requirement_may_not_be_endless() -> None:
    """A requirement, and a reference, are read up to 16 KiB."""
    data = b"x" * 20_000 + b"\nhttps://host.example/" + b"x" * 20_000 + b"\n"

    assert refusal("r.txt", data) == (
        "r.txt:1: a requirement of 20000 characters: at most 16384 are read\n"
        "r.txt:2: a requirement of 20021 characters: at most 16384 are read"
    )


def test_requirements_are_counted() -> None:
    """More than 20,000 requirements are refused once, at the first one too many."""
    data = b"".join(b"package-%d\n" % number for number in range(20_010))

    assert refusal("r.txt", data) == "r.txt:20001: more than 20000 requirements"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "pyproject.toml",
            b'[project]\nname = "x"\ndependencies = [\n' + b'"a",\n' * 20_001 + b"]\n",
            "pyproject.toml:20004: more than 20000 requirements",
        ),
        (
            "pylock.toml",
            b'lock-version = "1.0"\ncreated-by = "x"\n' + b"[[packages]]\n" * 20_001,
            "pylock.toml:3: more than 20000 packages",
        ),
        ("uv.lock", b"version = 1\n" + b"[[package]]\n" * 20_001, "uv.lock: more than 20000 packages"),
    ],
)
def test_packages_are_counted(name: str, data: bytes, message: str) -> None:
    """The other formats hold no more than 20,000 either."""
    assert refusal(name, data) == message


def test_a_thousand_problems_are_cut() -> None:
    """The first hundred problems are told, and how many more there are."""
    lines = refusal("r.txt", b"=\n" * 1000).split("\n")

    assert len(lines) == 101
    assert lines[-1] == "r.txt: and 900 more problems"


def uv_package(name: str, version: int, dependencies: str = "") -> str:
    """A package of a uv.lock, without files."""
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "x" }}\n'
        f"dependencies = [{dependencies}]\n"
    )


def test_dependencies_of_a_lock_are_counted() -> None:
    """A uv.lock with more than half a million edges is refused at the package that goes beyond it."""
    many = ",".join(['{name="a"}'] * 5_000)
    lock = "version = 1\n" + uv_package("a", 1) + "".join(uv_package(f"p{n}", 1, many) for n in range(101))

    # the first package takes lines 2 to 6, each other one five more
    assert refusal("uv.lock", lock.encode()) == ("uv.lock:502: more than 500000 dependencies of packages on each other")


def test_forks_and_extras_of_a_lock_do_not_multiply() -> None:
    """Every package that depends on one with many forks adds one edge, not one for each fork and extra."""
    extras = ", ".join(f'"e{number}"' for number in range(100))
    wanted = f'{{ name = "a", extra = [{extras}] }}, ' * 10
    lock = "version = 1\n" + "".join(uv_package("a", n) for n in range(64))
    lock += "".join(uv_package(f"p{n}", 1, wanted) for n in range(50))

    # 50 * 10 + 64 * 101 edges in place of 50 * 10 * 64 * 101, which would be over the limit and take 300 MiB
    tracemalloc.start()
    try:
        message = refusal("uv.lock", lock.encode())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert message.split("\n")[0] == "uv.lock:2: package 'a': neither wheels nor an sdist"
    assert peak < 50 * MIB


TAGS = "-".join(".".join(f"{letter}{number}" for number in range(20)) for letter in "abc")
MANY = f"x-1-{TAGS}.whl"


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        (MANY, f"'{MANY[:100]}' stands for more than 500 tags"),
        ("x" * 260 + ".whl", "a file name of 264 characters: at most 255 are read"),
        ("x" * 260 + ".tar.gz", "a file name of 267 characters: at most 255 are read"),
    ],
)
def test_file_names_of_locks_are_bounded(filename: str, message: str) -> None:
    """A name that stands for thousands of tags, or has no end, is refused before anything takes it apart."""
    key, url = ("wheels", f'[{{ url = "https://h.example/{filename}", HASH }}]')
    if not filename.endswith(".whl"):
        key, url = "sdist", url[1:-1]
    sha = "a" * 64
    pylock = 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "x"\nversion = "1"\n'
    uv_lock = 'version = 1\n[[package]]\nname = "x"\nversion = "1"\nsource = { registry = "r" }\n'

    assert refusal("pylock.toml", f"{pylock}{key} = {url}".replace("HASH", f'hashes.sha256 = "{sha}"').encode()) == (
        f"pylock.toml:3: package 'x': {message}"
    )
    assert refusal("uv.lock", f"{uv_lock}{key} = {url}".replace("HASH", f'hash = "sha256:{sha}"').encode()) == (
        f"uv.lock:2: package 'x': {message}"
    )


def test_a_reference_to_a_wheel_of_many_tags_says_no_name() -> None:
    """In a requirements file such a name is not taken apart either: the reference stays without one."""
    answer = parse("r.txt", {"r.txt": f"https://h.example/{MANY}\n".encode()})

    assert isinstance(answer, EnvironmentSpec)
    assert [requirement.name for requirement in answer.requirements] == [None]


# each grows with n, and made some reader of such files quadratic, exponential or recursive
HOSTILE = {
    "spaces before no comment": lambda n: "numpy" + " " * n + "x",
    "hash signs": lambda n: "x#" * (n // 2),
    "quantified": lambda n: "a" * n + "!",
    "dashes": lambda n: "a" + "-" * n,
    "parts of a version": lambda n: "a==" + "1." * (n // 2),
    "local labels": lambda n: "a==1+" + "a." * (n // 2),
    "specifiers": lambda n: "a" + ">=1," * (n // 4),
    "extras": lambda n: "a[" + "b," * (n // 2),
    "parentheses": lambda n: "a; " + "(" * n,
    "marker terms": lambda n: "a; " + "os_name=='x'or " * (n // 15),
    "quotes": lambda n: "--hash " + "'\"" * (n // 2),
    "backslashes": lambda n: "-r " + "\\" * n,
    "variables": lambda n: "${" * (n // 2),
    "options": lambda n: "x " + "-" * n,
    "words behind options": lambda n: "--pre " * (n // 6),
    "at signs": lambda n: "a@b:" * (n // 4),
    "urls in urls": lambda n: "a://b@" * (n // 6),
    "brackets": lambda n: "./" + "[" * (n // 2) + "]" * (n // 2),
    "fragments": lambda n: "https://h.example/x#" + "egg=&" * (n // 5),
    "colons": lambda n: ":" * n,
}


def hostile(shape: str, length: int, name: str) -> bytes:
    """A file with one line of a hostile shape."""
    line = HOSTILE[shape](length)
    quoted = "'''" + line.replace("'", '"') + "'''"
    return (line if name.endswith(".txt") else f"[project]\nname = 'x'\ndependencies = [{quoted}]").encode()


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("length", [15_000, 60_000])
@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_no_line_keeps_the_reader_busy(shape: str, length: int, name: str) -> None:
    """Lines made to exhaust a reader, within the limit on length, end in an answer or a message that names the file."""
    answer: object
    try:
        answer = parse(name, {name: hostile(shape, length, name)})
    except SpecError as error:
        answer = {problem.file for problem in error.problems}

    assert isinstance(answer, EnvironmentSpec | Needs) or answer == {name}


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("length", [100_000, 200_000])
@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_longer_lines_are_not_looked_into(shape: str, length: int, name: str) -> None:
    """The same lines beyond the limit are refused for their length alone."""
    (line,) = refusal(name, hostile(shape, length, name)).split("\n")

    assert line.endswith("characters: at most 65536 are read")


@pytest.mark.parametrize(
    "text",
    [
        "a." * 32_000 + "a = 1",
        "[" + "a." * 32_000 + "a]",
        "a = {" + "a." * 32_000 + "a = 1}",
        '"a".' * 16_000 + "a = 1",
    ],
)
def test_long_keys_are_refused_before_they_are_parsed(text: str) -> None:
    """The standard library's time is quadratic in the parts of a dotted key, so long ones never reach it."""
    assert refusal("pyproject.toml", text.encode()) == "pyproject.toml:1: a key of more than 32 parts"


@pytest.mark.parametrize("text", ["a = " + "[" * 30_000, "a = " + "{a = " * 10_000, "[[a]]\n" * 50_000 + "b = ["])
def test_nesting_ends_in_a_message(text: str) -> None:
    """Deep or broken nesting is one message, whatever the parser runs into."""
    message = refusal("uv.lock", text.encode())

    assert message in {
        "uv.lock: nested too deep",
        "uv.lock: not TOML: invalid value at the end of the file",
    }
