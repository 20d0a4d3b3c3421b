"""Whatever a conda-lock.yml holds, it is read, or refused with a place."""

from collections.abc import Mapping

import yaml
from hypothesis import given
from hypothesis import strategies as st
from lock_samples import LINUX, allowed, conda_item, record

from quarantine.document import Document
from quarantine.errors import SpecError
from quarantine.spec import conda_lock
from quarantine.spec.write_conda_lock import write_conda_lock


def _told(document: Document) -> list[str]:
    """What is wrong with a document, line by line."""
    try:
        conda_lock.read("l.yml", {"l.yml": b""}, document)
    except SpecError as error:
        return str(error).split("\n")
    return []


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["conda", "pip", "linux-64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_ENTRY: Mapping[str, object] = yaml.safe_load(write_conda_lock(allowed(conda_item(record("a", "1"))), (LINUX,), "q"))


@given(
    st.sampled_from(
        [
            "name",
            "version",
            "manager",
            "platform",
            "dependencies",
            "url",
            "hash",
            "category",
            "optional",
            "build",
            "source",
        ]
    ),
    _PLAIN,
)
def test_no_value_breaks_the_reader(key: str, value: object) -> None:
    """Whatever stands in the place of a value, the file is read or refused."""
    package = {**dict(_ENTRY)["package"][0], key: value}  # type: ignore[index]  # a list of mappings
    document = Document("l.yml", {**_ENTRY, "package": [package]}, {})

    assert all(line.startswith("l.yml:") and line.isascii() for line in _told(document))


@given(st.sampled_from(["version", "metadata", "package"]), _PLAIN)
def test_no_section_breaks_the_reader(key: str, value: object) -> None:
    """The same for the sections of the file."""
    document = Document("l.yml", {**_ENTRY, key: value}, {})

    assert all(line.startswith("l.yml:") and line.isascii() for line in _told(document))
