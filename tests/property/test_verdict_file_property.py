"""Verdict files that somebody spoiled: a request reads them, or refuses them in one way."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_documents import conda_item, document, encoded, item

from quarantine.errors import SpecError
from quarantine.pipeline.request import parse_request
from quarantine.spec.verdict_file import parse_verdict

T = TypeVar("T")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["pkg:pypi/x@1", "denied", "pypi"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, child in inside for place in _places(child, (*at, key)))]


def _put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    first, rest = place[0], place[1:]
    if isinstance(value, dict):
        return value | {first: _put(value[first], rest, new)}
    return [_put(child, rest, new) if index == first else child for index, child in enumerate(value)]


def _tried(parse: Callable[[str, bytes], T], file: str, data: bytes) -> tuple[T | None, str]:
    """What is read, or what the refusal says."""
    try:
        return parse(file, data), ""
    except SpecError as error:
        return None, str(error)


WHOLE = document(item(), conda_item(), item("flask", "3.0", verdict="allowed"))


@given(place=st.sampled_from(_places(WHOLE)), new=VALUES)
def test_a_spoiled_verdict_is_read_or_refused(place: tuple[Any, ...], new: Any) -> None:
    """With any one value exchanged, what comes out are files of the right form, or a SpecError that names the file."""
    data = encoded(_put(WHOLE, place, new))

    found, message = _tried(parse_verdict, "verdict.json", data)

    assert message == "" or message.startswith("verdict.json:")
    for refused in () if found is None else found.refused:
        for file in refused.files:
            assert file.name == refused.asked.name
            assert "/" not in file.filename


@given(cut=st.integers(0, len(encoded(WHOLE)) - 2))
def test_a_verdict_that_was_cut_off_is_refused(cut: int) -> None:
    """Nothing is asked for out of the beginning of a file."""
    with pytest.raises(SpecError, match=r"^verdict\.json:"):
        parse_verdict("verdict.json", encoded(WHOLE)[:cut])


@given(data=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_are_a_request_by_chance(data: bytes) -> None:
    """Whatever a request file holds instead of a request is refused as the user's file."""
    with pytest.raises(SpecError, match=r"^request\.json:"):
        parse_request("request.json", data)
