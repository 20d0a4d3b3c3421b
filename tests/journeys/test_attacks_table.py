"""The table of attacks names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "attacks.md"


def _named() -> set[tuple[str, str]]:
    """File and function of every test that the table names; `::name` is of the file named before it in its row."""
    found: set[tuple[str, str]] = set()
    for row in TABLE.read_text(encoding="utf-8").splitlines():
        file = ""
        for named, test in re.findall(r"`([a-z_/]+\.py)?::(test_[a-z0-9_]+)`", row):
            file = named or file
            found.add((file, test))
    return found


def test_every_test_of_the_table_is_there() -> None:
    """A renamed test is renamed in the table, too."""
    named = _named()
    gone = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if f"\ndef {test}(" not in (TESTS / file).read_text(encoding="utf-8")
    ]

    assert len(named) > 80
    assert gone == []


def test_every_attack_that_is_tried_is_in_the_table() -> None:
    """A new attack gets its row."""
    tried = {
        (f"journeys/{path.name}", test)
        for path in (TESTS / "journeys").glob("test_attack_*.py")
        for test in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    beside = {test for _, test in tried - _named()}

    # what surrounds an attack and is none itself
    assert beside == {"test_clocks_may_differ_by_five_minutes", "test_every_verdict_is_in_the_log"}
