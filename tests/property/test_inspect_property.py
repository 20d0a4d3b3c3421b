"""Held files from anywhere: every check has its answer, whatever the bytes."""

import bz2
import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zips import Part, built

from quarantine.archive.conda_tar import MAX_ENTRIES
from quarantine.archive.inspect import inspect
from quarantine.archive.inspection import CHECKS
from quarantine.archive.zip_strict import StrictZip
from quarantine.errors import IntegrityError
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem, OutcomeKind

GOOD = built(
    [
        Part(name=b"app.py", data=b"x" * 50, method=8),
        Part(name=b"app-1.dist-info/METADATA", data=b"Name: app\nVersion: 1\n"),
        Part(name=b"m.pkl", data=b"\x80\x04]."),
    ]
)
NAMES = ["app-1-py3-none-any.whl", "app-1.tar.gz", "app-1.zip", "app-1-0.conda", "app-1-0.tar.bz2"]
edits = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8)


def asked(filename: str) -> ExceptionFile:
    ecosystem = Ecosystem.CONDA if filename.endswith((".conda", ".tar.bz2")) else Ecosystem.PYPI
    return ExceptionFile(
        ecosystem=ecosystem, upstream="main", name="app", version="1", filename=filename, sha256="0" * 64, build="0"
    )


@pytest.mark.parametrize("filename", NAMES)
@given(data=st.binary(max_size=500))
def test_any_bytes_have_an_answer_to_every_check(filename: str, data: bytes) -> None:
    """And nothing is raised; an archive that can't be read is a fail, and no check over it a pass."""
    for content in (data, gzip.compress(data), bz2.compress(data)):
        outcomes = inspect(asked(filename), io.BytesIO(content)).outcomes

        assert tuple(outcome.rule for outcome in outcomes) == CHECKS
        assert [outcome.kind for outcome in outcomes] == [OutcomeKind.FAIL, *[OutcomeKind.UNKNOWN] * 4]


@given(edits)
def test_a_damaged_zip_file_has_the_same_members_or_none(changes: list[tuple[int, int]]) -> None:
    """Names and times apart, every byte is held by a second header, a size or a checksum."""
    data = bytearray(GOOD)
    for at, byte in changes:
        data[at] = byte
    try:
        archive = StrictZip("x.whl", io.BytesIO(bytes(data)))
        found = [b"".join(archive.chunks(member)) for member in archive.members]
    except IntegrityError:
        return
    original = StrictZip("x.whl", io.BytesIO(GOOD))
    assert found == [b"".join(original.chunks(member)) for member in original.members]


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=100))))
def test_what_is_packed_is_read(files: list[tuple[str, bytes]]) -> None:
    """Any files whose names don't collide come out as they went in."""
    names = [name for name, _ in files]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    data = built(Part(name=name.encode(), data=data, method=8 * (len(data) % 2)) for name, data in files)
    if len(set(names)) != len(names) or not folders.isdisjoint(names):
        with pytest.raises(IntegrityError):
            StrictZip("x.whl", io.BytesIO(data))
        return
    archive = StrictZip("x.whl", io.BytesIO(data))

    assert [(m.name, b"".join(archive.chunks(m)), m.crc) for m in archive.members] == [
        (name, data, zlib.crc32(data)) for name, data in files
    ]
    assert len(archive.members) <= MAX_ENTRIES
