"""Every sample of the corpus: the good ones give what was reviewed, the bad ones the exact message."""

import pytest
from spec_corpus import CORPUS, expected, samples, told

ACCEPT = samples("accept")
REJECT = samples("reject")


@pytest.mark.parametrize("name", ACCEPT)
def test_a_good_file_is_understood(name: str) -> None:
    """A file of the accepting corpus asks for exactly what stands beside it."""
    assert told(ACCEPT[name]) == expected(ACCEPT[name]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REJECT)
def test_a_bad_file_is_refused(name: str) -> None:
    """A file of the rejecting corpus is refused with exactly the message beside it."""
    message = expected(REJECT[name]).read_text(encoding="utf-8")

    assert told(REJECT[name]) == message


@pytest.mark.parametrize("name", REJECT)
def test_every_message_begins_with_the_file(name: str) -> None:
    """Every line of a message says which file it speaks of, and stays on one printable line."""
    file = told(REJECT[name]).partition(":")[0]
    lines = told(REJECT[name]).removesuffix("\n").split("\n")

    assert [line for line in lines if not line.startswith(f"{file}:") or not line.isascii()] == []
    assert "".join(lines).isprintable()


@pytest.mark.parametrize("name", ACCEPT)
def test_no_credential_is_kept(name: str) -> None:
    """The canary in the URLs of the samples is in nothing that is read from them."""
    assert "canary" not in told(ACCEPT[name])


@pytest.mark.parametrize("name", REJECT)
def test_no_credential_is_in_a_message(name: str) -> None:
    """Nor is it in what is said of the bad ones."""
    assert "canary" not in told(REJECT[name])


def test_the_corpus_is_whole() -> None:
    """There are a hundred bad files at least, and no expectation without a file."""
    orphans = [
        path
        for kind in ("accept", "reject")
        for path in (CORPUS / kind / "spec").rglob("*.expected")
        if path not in {expected(sample) for sample in samples(kind).values()}
    ]

    assert len(REJECT) >= 100
    assert orphans == []
