"""Tables for people, lines for programs."""

import re

from quarantine.report.table import table

HEADERS = ("name", "why")
ROWS = (("numpy", "it is on the list"), ("pandas", "its newest version is younger than seven days"))


def test_piped_rows_are_tab_separated_without_headers() -> None:
    """Without a width each row is one line of cells, of the same form whatever the terminal."""
    assert table(HEADERS, ROWS, None, colour=False) == (
        "numpy\tit is on the list\npandas\tits newest version is younger than seven days\n"
    )


def test_a_table_fits_its_width() -> None:
    """With a width the headers stand above columns, and long cells are wrapped within their own."""
    assert table(HEADERS, ROWS, 30, colour=False) == (
        "name    why\n"
        "numpy   it is on the list\n"
        "pandas  its newest version is\n"
        "        younger than seven\n"
        "        days\n"
    )


def test_no_rows_are_no_text() -> None:
    """An empty table has no headers either."""
    assert table(HEADERS, (), 80, colour=True) == ""
    assert table(HEADERS, (), None, colour=False) == ""


def test_only_colour_brings_escape_sequences() -> None:
    """Escape sequences are written when colour is asked for, and never by a cell."""
    rows = (("\x1b[31mred", "[bold]not markup[/bold] :smile:"),)
    plain = table(HEADERS, rows, 80, colour=False)
    assert plain == "name         why\n\\x1b[31mred  [bold]not markup[/bold] :smile:\n"
    coloured = table(HEADERS, rows, 80, colour=True)
    assert "\x1b[1m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m| +(?=\n|\x1b)", "", coloured).startswith("name")


def test_a_cell_adds_no_line_and_no_column_when_piped() -> None:
    """A newline or a tab within a cell is shown, not obeyed."""
    assert table(HEADERS, (("a\tb", "c\nd"),), None, colour=False) == "a\\x09b\tc\\x0ad\n"


def test_wrapping_makes_no_command_of_a_word() -> None:
    """A `::` that wrapping brings to the start of a line is not left there for a CI system."""
    drawn = table(("x",), (("a" * 20 + "::add-mask::secret",),), 20, colour=False)
    assert drawn == "x\n" + "a" * 20 + "\n\\x3a:add-mask::secret\n"


def test_a_tiny_terminal_gets_a_narrow_table() -> None:
    """A width too small to draw in is taken as twenty columns."""
    assert table(HEADERS, ROWS, 1, colour=False) == table(HEADERS, ROWS, 20, colour=False)
