"""Every format over three results: allowed, denied, undecided. `python tests/report_samples.py` draws them anew."""

import pytest
from report_samples import ALLOWED, GOLDEN, documents

from quarantine.errors import UsageError
from quarantine.report.render import FORMATS, render

DOCUMENTS = documents()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_report_is_what_was_reviewed(name: str) -> None:
    """Each report is, to the character, the one that stands in the golden file."""
    assert DOCUMENTS[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_there_is_no_golden_file_without_a_report() -> None:
    """What is no longer drawn is no longer kept."""
    assert {file.name for file in GOLDEN.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_no_report_holds_a_secret(name: str) -> None:
    """Credentials in the URLs of files and in messages are in none of the reports."""
    assert "canary" not in DOCUMENTS[name]


def test_all_formats_end_in_a_newline() -> None:
    """Whatever the format, the document ends its last line."""
    assert {form: render(form, ALLOWED)[-1] for form in FORMATS} == dict.fromkeys(FORMATS, "\n")


def test_an_unknown_format_is_the_users_mistake() -> None:
    """A format that doesn't exist is refused with those that do."""
    with pytest.raises(UsageError) as caught:
        render("pdf", ALLOWED)
    assert str(caught.value) == (
        "'pdf' is not a report format: expected one of text, json, sarif, junit, markdown, cyclonedx"
    )
