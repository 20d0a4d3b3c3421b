"""Static reading of shell words: what a shell would make of them, or that it can't be told."""

import time
from collections.abc import Mapping

import pytest

from quarantine.spec.shell import docker_text, parse
from quarantine.spec.shell_words import Field, Missing, assigned_value, expand

VARIABLES: Mapping[str, str | Missing] = {
    "A": "one",
    "TWO": "first  second",
    "EMPTY": "",
    "STAR": "*",
    "IFS": "-",
    "MANY": "w " * 100,
    "NONE": Missing.UNSET,
}


def lookup(name: str) -> str | Missing:
    """What the variables of these tests are."""
    return VARIABLES.get(name, Missing.UNKNOWN)


def fields(text: str) -> list[Field]:
    """The fields of the only command of a script."""
    script = parse(text)
    assert script.rest is None
    return [found for statement in script.statements for word in statement.words for found in expand(word, lookup)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\" e\\ f", ["a b", "c d", "e f"]),
        ("a'b'\"c\"d", ["abcd"]),
        ("'' \"\" $EMPTY \"$EMPTY\"", ["", "", ""]),
        ('"a\\"b\\\\c\\d\\$e"', ['a"b\\c\\d$e']),
        ("$A ${A} x${A}y '$A' \\$A", ["one", "one", "xoney", "$A", "$A"]),
        ('$TWO "$TWO" x$TWO', ["first", "second", "first  second", "xfirst", "second"]),
        ('${NONE:-d e} "${NONE:-d e}" ${EMPTY:-f} ${EMPTY-g}', ["d", "e", "d e", "f"]),
        ("${A:+set} ${EMPTY:+set} ${EMPTY+there} ${NONE:+set}", ["set", "there"]),
        ("${NONE:-${A}-${NONE:-x}}", ["one-x"]),
        ("a # b c", ["a"]),
        ("a#b '#c'", ["a#b", "#c"]),
        ("a\\\nb c\\\n d", ["ab", "c", "d"]),
        ('$ a$ "$"', ["$", "a$", "$"]),
        ("! a {} }", ["a", "{}", "}"]),
    ],
)  # fmt: skip
def test_words_are_split_as_a_shell_splits_them(text: str, words: list[str]) -> None:
    """Quotations, escapes, comments and known variables give the words that a shell gives a command."""
    found = fields(text)

    assert [field.known for field in found] == words


@pytest.mark.parametrize(
    ("text", "unknown", "several", "pattern"),
    [
        ("$X", ("X",), True, False),
        ('"a$X"', ("X",), False, False),
        ("$NONE", ("NONE",), True, False),
        ("${X:-d}", ("X",), True, False),
        ("${A%x}", ("${A%x}",), True, False),
        ("$1", ("$1",), True, False),
        ("~/x", ("HOME",), False, False),
        ("a{b,c}", ("{...}",), True, False),
        ("{1..3}", ("{...}",), True, False),
        ("$_", ("_",), True, False),
        ("$IFS", ("IFS",), True, False),
        ("r[a].txt", (), False, True),
        ("$MANY", ("w ...",), True, False),
        ("*.whl", (), False, True),
        ("$STAR", (), False, True),
    ],
)
def test_what_cannot_be_told_is_marked(text: str, unknown: tuple[str, ...], several: bool, pattern: bool) -> None:
    """A word with a variable that isn't known, or with a pattern, has no known text."""
    (field,) = fields(text)

    assert (field.known, field.unknown, field.several, field.pattern) == (None, unknown, several, pattern)


def test_operators_stand_before_their_commands() -> None:
    """Every simple command knows which operator stands before it; ends of lines are those of commands."""
    script = parse("a && b || c; d | e |& f &\n\n# x\ng &&\n h\n")

    told = [(s.operator, [found.text for word in s.words for found in expand(word, lookup)]) for s in script.statements]

    assert told == [
        ("", ["a"]), ("&&", ["b"]), ("||", ["c"]), (";", ["d"]), ("|", ["e"]), ("|", ["f"]), ("&", ["g"]), ("&&", ["h"]),
    ]  # fmt: skip


def test_assignments_and_redirections_are_no_words() -> None:
    """Assignments before a command, and redirections anywhere, are kept beside its words."""
    (statement,) = parse("A=1 B='x y' cmd >out a>=1 2>&1 </in C=2").statements

    assert [name for name, _ in statement.assignments] == ["A", "B"]
    assert [word.literal for word in statement.words] == ["cmd", "a", "C=2"]
    assert [(r.operator, r.target.literal) for r in statement.redirects] == [
        (">", "out"), (">", "=1"), (">&", "1"), ("<", "/in"),
    ]  # fmt: skip


def test_the_value_of_an_assignment_is_not_split() -> None:
    """Behind the `=` of an assignment a value with blanks stays one."""
    (statement,) = parse("V=$TWO").statements
    word = statement.assignments[0][1]

    assert word is not None
    assert assigned_value(word, lookup).known == "first  second"


def test_here_documents_belong_to_their_commands() -> None:
    """Each here-document is that of the command with its delimiter, whatever else stands on the line."""
    script = parse("cat <<A >x && bash <<-'B' && c\n1 $X\nA\n\t2\n\tB\nd")

    told = [(s.words[0].literal, [(h.text, h.literal) for h in s.heredocs]) for s in script.statements]

    assert told == [("cat", [("1 $X\n", False)]), ("bash", [("\t2\n", True)]), ("c", []), ("d", [])]


@pytest.mark.parametrize(
    "text", ["a $(b)", 'a "`b`"', "a $((1))", "V=$(b)", "a <<E\n$(b)\nE\n", "a ${V:-$(b)}", "a ${V#$(b)}", 'a "${V@P}"', "a ${V:W}", "a ${!V}",
     "a ${V[1]}", "a ${V:=b}", "a ${ b; }", "a <<E\n${V@P}\nE\n"],
)  # fmt: skip
def test_substitutions_are_marked(text: str) -> None:
    """A command in whose words, or here-document, others run says so."""
    (statement,) = parse(text).statements

    assert statement.substitutes


@pytest.mark.parametrize(
    ("text", "rest", "why"),
    [
        ("a; if b; then c; fi", "if b; then c; fi", "`if` isn't read statically"),
        ("a\nfor x in y; do z; done", "for x in y; do z; done", "`for` isn't read statically"),
        ("a && (b)", "(b)", "a group of commands, or a function, isn't read statically"),
        ("f() { a; }", "f() { a; }", "a group of commands, or a function, isn't read statically"),
        ("a; b 'c", "b 'c", "a quotation that isn't closed"),
        ('a; b "c', 'b "c', "a quotation that isn't closed"),
        ("a; b $'c'", "b $'c'", "$ before a quotation means different things to different shells"),
        ("a; b <(c)", "b <(c)", "a substitution of commands isn't read statically"),
        ("a;; b", "a;; b", "`case` isn't read statically"),
        ("a; b >", "b >", "a redirection to nothing"),
        ("a; b ${c:-", "b ${c:-", "a '${' without its '}'"),
        ("a; b $[c]", "b $[c]", "$[ means different things to different shells"),
        ("a; b <<E <c\nE\n", "b <<E <c\nE\n", "a here-document beside another input"),
        ("a; b 3<<E\nE\n", "b 3<<E\nE\n", "a here-document that isn't the command's input"),
        ("a; b {c}>d", "b {c}>d", "`{NAME}` before a redirection means different things to different shells"),
        ("a; b <<$X\n", "b <<$X\n", "a here-document whose end isn't plain"),
    ],
)
def test_reading_ends_where_it_must(text: str, rest: str, why: str) -> None:
    """What isn't read is the script from there on, with the reason."""
    script = parse(text)

    assert (script.rest if script.rest is None else text[script.rest :], script.why) == (rest, why)


@pytest.mark.parametrize(
    ("text", "rest", "why"),
    [
        ("a & b; c", "b; c", "what runs in the background isn't read in its order"),
        ("a; b &>c d", "b &>c d", "&> means different things to different shells: write > and 2>&1"),
        ("a; b &>>c; d", "b &>>c; d", "&>> means different things to different shells: write > and 2>&1"),
        ("X=a; X=b : ; c", "X=b : ; c", "whether the assignment outlasts its command isn't known"),
        ("X=b $C; d", "X=b $C; d", "whether the assignment outlasts its command isn't known"),
        ("a; unset X; b", "unset X; b", "what unset changes isn't read"),
        ("a; 'unset' -f X", "'unset' -f X", "what unset changes isn't read"),
        ("set -exo pipefail; set -C; a", "set -C; a", "what set changes isn't read"),
        ("set -o noclobber", "set -o noclobber", "what set changes isn't read"),
        ("shopt -s extglob; a", "shopt -s extglob; a", "what shopt changes isn't read"),
        ("cd /a/..; b", "cd /a/..; b", "whether the folder is changed isn't known"),
        ("cd $A && b; c", "cd $A && b; c", "whether the folder is changed isn't known"),
        ("a; test -v X", "test -v X", "test -v may run what its argument holds"),
        ("time cd a; b", "time cd a; b", "`time` is a part of the language to some shells, and a program to others"),
        ("a ${X:=b}; c", "a ${X:=b}; c", "an assignment in ${...} isn't read"),
        ("a || cat <<E >b\nE\n", "cat <<E >b\nE\n", "whether the file is written isn't known"),
        ("a && cat <<E >b; c\nE\n", "cat <<E >b; c\nE\n", "whether the file is written isn't known"),
        ("exit 0; cat <<E >b\nE\n", "cat <<E >b\nE\n", "whether the file is written isn't known"),
    ],
)
def test_what_shells_may_read_otherwise_leaves_the_rest_in_doubt(text: str, rest: str, why: str) -> None:
    """The commands behind it are read all the same, and the script from there on counts as not read."""
    script = parse(text)

    assert (script.rest if script.rest is None else text[script.rest :], script.why) == (rest, why)
    assert script.statements[-1].end >= (script.rest or 0)


@pytest.mark.parametrize(
    "text",
    ["set -eux; a", "set +x -o pipefail && a", "cd /a/.. && b && c", "cd a; b", "time a b", "a &", "X=b a", "a ${X%.*} ${#X}",
     "mkdir a && cat <<E >b && c\nE\n", "cat <<E >b\nE\nc", "[ -f a ] && b", "exec a"],
)  # fmt: skip
def test_what_is_ordinary_leaves_nothing_in_doubt(text: str) -> None:
    """What nearly every file has is read to its end."""
    assert parse(text).rest is None


def test_an_assignment_before_a_keyword_makes_it_a_program() -> None:
    """`X=a time !` sets X for a program `time`, which may not be passed over."""
    (statement,) = parse("X=a time !").statements

    assert [word.literal for word in statement.words] == ["time", "!"]


def test_a_script_of_too_many_commands_is_read_up_to_there() -> None:
    """Two thousand commands are read; what follows is not."""
    script = parse("a;" * 2001)

    assert (len(script.statements), script.rest, script.why) == (2000, 4000, "more than 2000 commands in one")


@pytest.mark.parametrize(
    ("text", "escape", "expected"),
    [
        ("a-$A", "\\", "a-one"),
        ('"$A b"', "\\", "one b"),
        ("'$A' \\$A", "\\", "$A $A"),
        ("`$A", "`", "$A"),
        ("c:\\x $(a) `b`", "\\", "c:x $(a) `b`"),
        ("${NONE:-x y}", "\\", "x y"),
        ("$TWO *", "\\", "first  second *"),
    ],
)
def test_words_of_instructions_follow_docker(text: str, escape: str, expected: str) -> None:
    """Docker replaces variables and removes quotes; it splits nothing and runs nothing."""
    assert docker_text(text, lookup, escape).known == expected


def test_docker_leaves_what_nobody_sets() -> None:
    """A variable without a value stays as it is written, and is named."""
    assert docker_text("a:${NONE}-$X", lookup) == Field(text="a:${NONE}-$X", unknown=("NONE", "X"))


@pytest.mark.parametrize(
    "text",
    [
        "${" * 50_000, "$(" * 50_000, "'\"" * 50_000, "a;" * 50_000, "${a:-" * 20_000, "<<a " * 25_000 + "\n",
        "\\" * 100_000, "{a," * 33_000, "`\\" * 50_000, "1" * 100_000, "x <<a\n" * 1000 + "b\n" * 47_000, '"$A"' * 25_000,
    ],
)  # fmt: skip
def test_hostile_scripts_cost_little(text: str) -> None:
    """A hundred thousand characters made to be slow take no longer than any others."""
    begun = time.perf_counter()
    for statement in parse(text).statements:
        for word in statement.words:
            expand(word, lookup)

    assert time.perf_counter() - begun < 1.0


def test_values_do_not_multiply() -> None:
    """A word of many variables ends at 64 KiB; the rest of it isn't known."""
    (statement,) = parse("$BIG" * 100).statements
    (field,) = expand(statement.words[0], lambda _: "x" * 4096)

    assert (field.known, field.unknown, len(field.text)) == (None, ("BIG",), 16 * 4096 + 84 * len("$BIG"))
