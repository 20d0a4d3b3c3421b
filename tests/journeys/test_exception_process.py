"""`exception vet`, `publish` and `process` as commands: what they print, and how they end."""

import pytest
from house import House
from let_in import LetIn, python_file
from osv_records import before
from servers import Answer

from quarantine.model import Digest

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")


@pytest.fixture
def two(home: House) -> tuple[LetIn, LetIn]:
    """Two requests of Ann's, for packages with nothing against them."""
    core, other = home.index.add("core", "1.0"), home.index.add("other", "2.0")
    home.advise(HARMLESS)
    return (
        LetIn(home=home, files=(python_file(core, "core", "1.0"),)),
        LetIn(home=home, files=(python_file(other, "other", "2.0"),)),
    )


def test_vet_and_publish_are_about_what_is_named(home: House, two: tuple[LetIn, LetIn]) -> None:
    """By any beginning of an id; the others are left alone, and a second time nothing is due."""
    one, other = (asked.request.id for asked in two)

    vetted = home.run("exception", "vet", one[:8])
    both = home.run("exception", "vet", "--report", "json")
    published = home.run("exception", "publish", other)

    assert (vetted.status, vetted.out.splitlines()) == (
        0,
        [
            f"vetted\t{one[:12]}\tcore 1.0: nothing against it",
            "1 waiting for a decision: quarantine exception list --status vetted",
        ],
    )
    assert (both.status, both.json) == (
        0,
        {
            "schema": "quarantine/process/1",
            "steps": [{"exception": other, "what": "vetted", "text": "other 2.0: nothing against it"}],
            "troubles": [],
            "warnings": [],
            "waiting": 2,
            "postponed": 0,
        },
    )
    assert (published.status, published.out.splitlines()[0]) == (0, "nothing was due")


def test_an_id_that_is_none_is_refused(home: House, two: tuple[LetIn, LetIn]) -> None:
    """Nothing is vetted then, of the others neither."""
    ran = home.run("exception", "vet", two[0].request.id, "abcdef")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "error: no exception abcdef: `quarantine exception list --all` has all that there are\n"
    assert two[0].store.size("held", Digest.sha256(two[0].files[0].sha256)) is None


def test_what_fails_ends_with_3_and_is_tried_again(home: House, two: tuple[LetIn, LetIn]) -> None:
    """The other one is vetted; the trouble is said by its exception, as text and as JSON."""
    one, other = (asked.request.id for asked in two)
    served = home.index.projects["core"][0]
    data = served.data
    home.index.always(f"/files/{served.filename}", Answer(status=404))

    text, form = home.run("exception", "process"), home.run("exception", "process", "--report", "json")
    home.index.always(f"/files/{served.filename}", Answer(body=data))
    later = home.run("exception", "process")

    trouble = f"pypi answered 404 for {served.filename}: expected the file"
    assert (text.status, text.err) == (3, f"error: {one[:12]}: {trouble}\n")
    assert text.out.splitlines()[0] == f"vetted\t{other[:12]}\tother 2.0: nothing against it"
    assert (form.status, form.json["troubles"]) == (3, [{"exception": one, "text": trouble}])
    assert (later.status, later.out.splitlines()[0]) == (0, f"vetted\t{one[:12]}\tcore 1.0: nothing against it")
