"""YAML is read within limits, and every message names line and column."""

from typing import Annotated

import msgspec
import pytest

from quarantine.document import MAX_BYTES, MAX_DEPTH, load_yaml
from quarantine.errors import ConfigError


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    days: Annotated[int, msgspec.Meta(ge=0)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[_Rule]
    named: dict[str, _Rule] = {}


def test_a_document_becomes_a_typed_value() -> None:
    """What fits the type is converted, and places can be asked for."""
    document = load_yaml("p.yaml", b"rules:\n  - days: 3\nnamed:\n  a: {days: 4}\n")

    assert document.to(_File) == _File(rules=[_Rule(days=3)], named={"a": _Rule(days=4)})
    assert document.line(("named", "a")) == 4
    assert str(document.problem(("rules", 0, "nothing"), "here")) == "p.yaml:2:5: here"


_BOMB = b"a: &a [x]\n" + b"".join(b"k%d: [*a, *a, *a]\n" % i for i in range(20))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"rules:\n - days: x", "p.yaml:2:4: expected a whole number, got text (rules.0.days)"),
        (b"rules:\n - dayz: 1", "p.yaml:2:4: unknown key 'dayz' (rules.0)\np.yaml:2:4: missing key `days` (rules.0)"),
        (b"rules:\n - days: -1", "p.yaml:2:4: expected a whole number >= 0 (rules.0.days)"),
        (b"named: {}", "p.yaml:1:1: missing key `rules`"),
        (b"- 1", "p.yaml:1:1: expected a mapping, got a list"),
        (b"a: &x 1\nb: *x", "p.yaml:2:4: an alias (*name): write the value out"),
        (_BOMB, "p.yaml:2:6: an alias (*name): write the value out"),
        (b"a: 1\na: 2", "p.yaml:2:1: 'a' stands twice"),
        (b"1: a", "p.yaml:1:1: a key that is not text"),
        (b"? [a]\n: b", "p.yaml:1:3: a key that is not text"),
        (b"a: !x 1", "p.yaml:1:4: not YAML: could not determine a constructor for the tag '!x'"),
        (b"a: 2026-13-01", "p.yaml:1:4: '2026-13-01' is no value: month must be in 1..12"),
        (b"", "p.yaml: empty: expected a YAML mapping"),
        (b"# nothing\n", "p.yaml: empty: expected a YAML mapping"),
        (b"\xff\xfe", "p.yaml: not UTF-8 (byte 0): expected a YAML file"),
        (b"[" * (MAX_DEPTH + 1), f"p.yaml:1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH}"),
        (b"[" * 900, f"p.yaml:1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH}"),
        (b"x" * (MAX_BYTES + 1), f"p.yaml: more than {MAX_BYTES} bytes: expected a file that people write"),
        (
            b"a: !!python/object/apply:os.system [x]",
            "p.yaml:1:4: a tag of its own ('tag:yaml.org,2002:python/object/apply:os.system'): expected plain YAML",
        ),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(data: bytes, message: str) -> None:
    """Bombs, tags, doubled keys and misfits each give one message with line and column."""
    with pytest.raises(ConfigError) as caught:
        load_yaml("p.yaml", data).to(_File)

    assert str(caught.value) == message


def test_what_only_some_readers_take_for_the_end_of_a_line_is_refused() -> None:
    """Two programs would read two documents."""
    with pytest.raises(ConfigError) as caught:
        load_yaml("x.yml", "a: 1\n# note\u2028b: 2\n".encode())
    assert str(caught.value) == (
        "x.yml:2: holds U+2028, which some readers of YAML take for the end of a line, and others don't: remove it"
    )
