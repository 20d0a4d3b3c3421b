"""Includes, roles and the forms of a requirements file that must be judged: over several files at once."""

import hashlib
from collections.abc import Mapping

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from quarantine.errors import SpecError
from quarantine.model import (
    Directive,
    EnvironmentSpec,
    Location,
    Needs,
    Reference,
    ReferenceKind,
    Requirement,
    SourceFile,
)
from quarantine.spec.parse import parse
from quarantine.spec.requirements import Line, logical_lines


def read(files: Mapping[str, str], path: str = "r.txt") -> EnvironmentSpec:
    """The spec that a set of files gives."""
    answer = parse(path, {name: text.encode() for name, text in files.items()})
    assert isinstance(answer, EnvironmentSpec)
    return answer


def refusal(files: Mapping[str, str], path: str = "r.txt") -> str:
    """The message with which a set of files is refused."""
    with pytest.raises(SpecError) as caught:
        parse(path, {name: text.encode() for name, text in files.items()})
    return str(caught.value)


def names(spec: EnvironmentSpec) -> tuple[list[str | None], list[str | None]]:
    """The names that are required, and those that are only constrained."""
    return [r.name for r in spec.requirements], [r.name for r in spec.constraints]


# --- includes ---------------------------------------------------------------------------------------------------------


def test_missing_files_are_asked_for_together() -> None:
    """All files that are still missing are named at once, each with the line that wants it."""
    answer = parse("sub/r.txt", {"sub/r.txt": b"-r a.txt\nnumpy=1\n-c ../c.txt\n-ra.txt\n--requirement=deep/b.txt\n"})

    assert answer == Needs(
        ("sub/a.txt", "c.txt", "sub/deep/b.txt"),
        wanted_by=(
            Location(file="sub/r.txt", line=1),
            Location(file="sub/r.txt", line=3),
            Location(file="sub/r.txt", line=5),
        ),
    )


def test_included_files_are_read_in_place() -> None:
    """What an include asks for stands where the include stands, with its own file and line, and every file is told."""
    files = {"r.txt": "a\n-r sub/b.txt\nd\n", "sub/b.txt": "\nb\n-r c.txt\n", "sub/c.txt": "c\n"}

    spec = read(files)

    assert [(r.name, str(r.location)) for r in spec.requirements] == [
        ("a", "r.txt:1"),
        ("b", "sub/b.txt:2"),
        ("c", "sub/c.txt:1"),
        ("d", "r.txt:3"),
    ]
    assert spec.sources == tuple(
        SourceFile(path=path, sha256=hashlib.sha256(files[path].encode()).hexdigest())
        for path in ("r.txt", "sub/b.txt", "sub/c.txt")
    )


def test_constraints_stay_apart() -> None:
    """`-c` only constrains; `-r` inside a constraints file requires, as pip has it; one file may be both."""
    files = {
        "r.txt": "a\n-c c.txt\n-r both.txt\n-c both.txt\n",
        "c.txt": "b<2\n-r d.txt\n",
        "d.txt": "d\n",
        "both.txt": "e\n",
    }

    assert names(read(files)) == (["a", "d", "e"], ["b", "e"])


def test_a_file_included_twice_counts_once() -> None:
    """Two ways to one file are no cycle and give its requirements once."""
    files = {"r.txt": "-r a.txt\n-r b.txt\n-r a.txt\n", "a.txt": "-r c.txt\n", "b.txt": "-r c.txt\n", "c.txt": "c\n"}

    assert names(read(files)) == (["c"], [])


def test_a_cycle_is_told_as_a_chain() -> None:
    """A cycle is a problem at the line that closes it, with the way round."""
    files = {"r.txt": "-r a.txt\n", "a.txt": "x\n-c sub/b.txt\n", "sub/b.txt": "-r ../a.txt\n"}

    assert refusal(files) == "sub/b.txt:1: includes form a cycle: a.txt -> sub/b.txt -> a.txt"


def test_includes_end_at_a_depth() -> None:
    """Sixteen levels of includes are followed, not more."""
    files = {f"{level}.txt": f"-r {level + 1}.txt\np{level}\n" for level in range(20)}
    chain = " -> ".join(f"{level}.txt" for level in range(18))

    assert refusal(files, "0.txt") == f"16.txt:1: includes are nested deeper than 16: {chain}"


def test_includes_are_counted() -> None:
    """A file can't make the reader ask for any number of files."""
    files = {"r.txt": "".join(f"-r {number}.txt\n" for number in range(300))}
    answer = parse("r.txt", {"r.txt": files["r.txt"].encode()})
    assert isinstance(answer, Needs)
    files |= dict.fromkeys(answer.paths, "")

    assert len(answer.paths) == 255
    assert refusal(files).split("\n")[0] == "r.txt:256: more than 256 files are included"


def test_problems_of_all_files_come_together() -> None:
    """One error tells what is wrong with a file and with everything that it includes."""
    files = {"r.txt": "a=1\n-r b.txt\n-r c.txt\nd==\n", "b.txt": "\n--frob\n", "c.txt": "\0"}

    assert refusal(files) == (
        "r.txt:1: 'a=1' is not a requirement: did you mean 'a==1'?\n"
        "b.txt:2: '--frob' is no option of a requirements file\n"
        "c.txt: binary (a zero byte at offset 0): expected a text file in UTF-8\n"
        "r.txt:4: 'd==' is not a requirement: what follows the name is no version specifier and no marker"
    )


def test_hashes_are_all_or_nothing_over_all_files() -> None:
    """A hash in an included file asks for one on every requirement of every file; constraints need none."""
    pin = f"a==1 --hash=sha256:{'a' * 64}\n"

    spec = read({"r.txt": f"{pin}-r b.txt\n-c c.txt\n", "b.txt": pin.replace("a==", "b=="), "c.txt": "d<3\n"})

    assert [package.name for package in spec.locked or ()] == ["a", "b"]
    assert names(spec) == ([], ["d"])
    assert refusal({"r.txt": f"{pin}-r b.txt\n", "b.txt": "b==1\n"}) == (
        "b.txt:1: b has no --hash, but others have one: pip wants one on every requirement"
    )


# --- constraints ------------------------------------------------------------------------------------------------------


def test_a_constraint_can_move_a_package() -> None:
    """A constraint with a reference says where pip takes the package from: it is a directive too."""
    spec = read({"r.txt": "a\n-c c.txt\n", "c.txt": "a @ https://user:pw@host.example/a-1.zip\n"})

    assert spec.directives == (
        Directive(
            option="constraint-reference",
            text="a @ https://host.example/a-1.zip",
            location=Location(file="c.txt", line=1),
        ),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a[x]<2", "a constraint with extras (x)"),
        ("./x.zip", "a constraint without a name: pip refuses it"),
        ("-e .", "a constraint without a name: pip refuses it"),
    ],
)
def test_constraints_that_pip_refuses(line: str, message: str) -> None:
    """What can't be a constraint for pip is a problem."""
    assert refusal({"r.txt": "a\n-c c.txt\n", "c.txt": f"{line}\n"}) == f"c.txt:1: {message}"


# --- dangerous forms, one file each -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "option", "text"),
    [
        ("--index-url https://evil.example/simple", "--index-url", "--index-url https://evil.example/simple"),
        ("-ihttps://evil.example/simple", "--index-url", "--index-url https://evil.example/simple"),
        ("--ind https://evil.example", "--index-url", "--index-url https://evil.example"),
        ("--extra-index-url=https://u:p@e.example/", "--extra-index-url", "--extra-index-url https://e.example/"),
        ("--trusted-host evil.example", "--trusted-host", "--trusted-host evil.example"),
        ("--find-links /srv/wheels", "--find-links", "--find-links /srv/wheels"),
        ("--index-url ${URL}", "environment-variable", "${URL} in: --index-url ${URL}"),
        ("numpy==${lower}", "environment-variable", "${lower} in: numpy==${lower}"),
        ("-r ../../x", "include-outside-root", "--requirement ../../x"),
        ("-r /etc/passwd", "include-outside-root", "--requirement /etc/passwd"),
        ("-c file:///etc/passwd", "include-outside-root", "--constraint file:///etc/passwd"),
        ("-r https://evil.example/r.txt", "remote-include", "--requirement https://evil.example/r.txt"),
        ("-r HTTP:evil.example/r.txt", "remote-include", "--requirement HTTP:evil.example/r.txt"),
        ("-r ftp://evil.example/r.txt", "remote-include", "--requirement ftp://evil.example/r.txt"),
    ],
)
def test_an_option_is_told_and_not_obeyed(line: str, option: str, text: str) -> None:
    """Every option that changes where packages come from is a directive with its line, in a file that is still read."""
    spec = read({"r.txt": f"safe\n{line}\n"})

    assert spec.directives[0] == Directive(option=option, text=text, location=Location(file="r.txt", line=2))
    assert names(spec) == (["safe"], [])


@pytest.mark.parametrize(
    ("line", "name", "reference"),
    [
        (
            "-e git+https://token@evil.example/x.git",
            None,
            Reference(kind=ReferenceKind.VCS, text="git+https://evil.example/x.git", editable=True),
        ),
        ("x @ file:///srv/x.whl", "x", Reference(kind=ReferenceKind.PATH, text="file:///srv/x.whl")),
        (
            "https://evil.example/numpy-2.0-py3-none-any.whl",
            "numpy",
            Reference(kind=ReferenceKind.URL, text="https://evil.example/numpy-2.0-py3-none-any.whl"),
        ),
        ("../../x", None, Reference(kind=ReferenceKind.PATH, text="../../x")),
    ],
)
def test_a_reference_is_told_and_not_followed(line: str, name: str | None, reference: Reference) -> None:
    """A requirement by place is kept with its place, and with its name only where the text says it."""
    assert read({"r.txt": f"{line}\n"}).requirements == (
        Requirement(
            name=None if name is None else NormalizedName(name),
            reference=reference,
            location=Location(file="r.txt", line=1),
        ),
    )


@pytest.mark.parametrize(
    "option", ["--index-url https://evil.example", "--extra-index-url https://evil.example", "--pre"]
)
def test_an_option_behind_a_requirement_is_told(option: str) -> None:
    """Such an option is judged wherever it stands: pip ignores it there, other installers need not."""
    spec = read({"r.txt": f"numpy {option}\n"})

    assert ([d.text for d in spec.directives], names(spec)) == ([option], (["numpy"], []))


def test_two_spellings_are_one_name() -> None:
    """Names are compared in their normalised form."""
    spec = read({"r.txt": "Typing_Extensions\ntyping.extensions\ntyping--extensions\n"})

    assert set(names(spec)[0]) == {"typing-extensions"}


@pytest.mark.parametrize("version", ["1!0.1", "2.0+evil", "1.0.post99"])
def test_versions_that_shadow_others_are_kept_as_written(version: str) -> None:
    """Epochs, local labels and post releases are not folded into the version that they resemble."""
    (requirement,) = read({"r.txt": f"x=={version}\n"}).requirements

    assert requirement.specifier == SpecifierSet(f"=={version}")


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\n", [Line(number=1, text="a")]),
        ("a # b # c", [Line(number=1, text="a", comment="b # c")]),
        ("a#b\t#c", [Line(number=1, text="a#b", comment="c")]),
        ("#a", [Line(number=1, text="", comment="a")]),
        ("a\\\nb\\\nc\nd", [Line(number=1, text="abc"), Line(number=4, text="d")]),
        ("a \\\n  # b\nc", [Line(number=1, text="a", comment="b"), Line(number=3, text="c")]),
        ("# a\\\nb", [Line(number=1, text="", comment="a\\"), Line(number=2, text="b")]),
        ("a\\", [Line(number=1, text="a")]),
        ("\\a\\\nb", [Line(number=1, text="ab")]),
        ("a\\\\\nb", [Line(number=1, text="ab")]),
        ("a\rb\r\nc", [Line(number=1, text="a"), Line(number=2, text="b"), Line(number=3, text="c")]),
        ("a # x\\", [Line(number=1, text="a", comment="x")]),
        ("a\nb \\\nc # x \\\n", [Line(number=1, text="a"), Line(number=2, text="b c", comment="x")]),
        ("\n\na", [Line(number=1, text=""), Line(number=2, text=""), Line(number=3, text="a")]),
    ],
)
def test_lines_are_joined_and_cut_as_pip_does(text: str, lines: list[Line]) -> None:
    """Continuations, comments and odd line ends give pip's lines, numbered as an editor numbers them."""
    assert list(logical_lines(text)) == lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a==1 # x \\\nb==2\n", 1),
        ("a==1 \\\n --pre # x \\\n --pre\n", 2),
        ("a # x \\\n\\\n# y\n", 1),
        ("c\ra #x\\\r\nb", 2),
    ],
)
def test_a_comment_may_not_hide_a_line(text: str, line: int) -> None:
    """What uv would read on the line after a comment, and pip wouldn't, is refused at the comment."""
    assert refusal({"r.txt": text}) == (
        f"r.txt:{line}: a comment before the '\\' at the end of its line, which hides the next line from some "
        "installers: remove the backslash, or the comment"
    )


@pytest.mark.parametrize("mark", "\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029")
def test_what_only_some_take_for_a_line_end_is_refused(mark: str) -> None:
    """A line end of Python's that is none to uv is refused wherever it stands, and lines are counted as editors do."""
    assert refusal({"r.txt": f"a\nb # x{mark}c\nd \\\n=={mark}1\n"}) == (
        f"r.txt:2: holds U+{ord(mark):04X}, which some installers take for the end of a line or a blank, and others "
        "don't: remove it\n"
        f"r.txt:4: holds U+{ord(mark):04X}, which some installers take for the end of a line or a blank, and others "
        "don't: remove it"
    )
