"""METADATA is read out of a wheel by ranges, within limits."""

import io
import random
import zipfile

import pytest
from servers import core_metadata, make_wheel

from quarantine.archive.wheel import TAIL_BYTES, metadata_in_wheel
from quarantine.errors import IntegrityError


def _read(data: bytes, asked: list[tuple[int, int]] | None = None) -> bytes:
    def read(start: int, end: int) -> bytes:
        if asked is not None:
            asked.append((start, end))
        return data[start:end]

    return metadata_in_wheel("app-1.0-py3-none-any.whl", len(data), read)


def _zip(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def test_the_metadata_of_a_small_wheel_costs_one_range() -> None:
    """A wheel smaller than a block is fetched whole, once."""
    text = core_metadata("app", "1.0", requires=["lib<2"])
    wheel = make_wheel("app", "1.0", text)
    asked: list[tuple[int, int]] = []

    assert _read(wheel, asked) == text
    assert asked == [(0, len(wheel))]


def test_only_the_end_of_a_large_wheel_is_fetched() -> None:
    """The directory and the member, wherever they lie; not the megabytes before them."""
    filler = random.Random(1).randbytes(4 * 1024 * 1024)  # noqa: S311  # filler, the same every time
    late = _zip(("app/data.bin", filler), ("app-1.0.dist-info/METADATA", b"Name: app\n"))
    early = _zip(("app-1.0.dist-info/METADATA", b"Name: app\n"), ("app/data.bin", filler))
    asked: list[tuple[int, int]] = []

    assert _read(late) == _read(early, asked) == b"Name: app\n"
    assert sum(end - start for start, end in asked) <= 3 * TAIL_BYTES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable wheel (File is not a zip file)"),
        (b"PK" * 1000, "not a readable wheel (File is not a zip file)"),
        (_zip(("app/__init__.py", b"")), "0 METADATA members, expected one"),
        (_zip(("app/app-1.0.dist-info/METADATA", b"")), "0 METADATA members, expected one"),
        (
            _zip(("a-1.dist-info/METADATA", b""), ("b-1.dist-info/METADATA", b"")),
            "2 METADATA members, expected one",
        ),
        (_zip(("a-1.dist-info/METADATA", b"\0" * (1024 * 1024 + 1))), "METADATA larger than 1048576 bytes"),
        (
            _zip(("a-1.dist-info/METADATA", b"x"), compression=zipfile.ZIP_LZMA),
            "METADATA is encrypted or in an unusual compression",
        ),
        (_zip(("a-1.dist-info/METADATA", b"x")).replace(b"METADATA", b"METADATB", 1), None),
    ],
)
def test_what_is_no_plain_wheel_is_refused(data: bytes, message: str | None) -> None:
    """Each defect is an integrity error that names the file."""
    with pytest.raises(IntegrityError) as caught:
        _read(data)

    assert str(caught.value).startswith("app-1.0-py3-none-any.whl: ")
    if message is not None:
        assert str(caught.value) == f"app-1.0-py3-none-any.whl: {message}"


def test_a_short_answer_is_refused() -> None:
    """A server that sends less than the range asked for is not believed."""
    with pytest.raises(IntegrityError, match="10 bytes came for a range of 65536"):
        metadata_in_wheel("app-1.0-py3-none-any.whl", 1_000_000, lambda _start, _end: b"x" * 10)


def test_a_directory_spread_over_the_whole_file_is_refused() -> None:
    """What would fetch a large wheel bit by bit stops at a limit."""
    record = b"PK\x05\x06" + b"\0" * 4 + b"\xff" * 4 + (100_000_000).to_bytes(4, "little") + b"\0" * 6
    size = 1 << 40

    def read(start: int, end: int) -> bytes:
        return record.rjust(end - start, b"\0") if end == size else b"\0" * (end - start)

    with pytest.raises(IntegrityError, match="spread over more than 16777216 bytes"):
        metadata_in_wheel("app-1.0-py3-none-any.whl", size, read)
