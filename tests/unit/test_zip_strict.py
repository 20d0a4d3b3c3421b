"""A zip file has one reading, or is refused: what each program would see is what was seen here."""

import io
import struct
import time
import zipfile
import zlib

import pytest
from zips import DEVICE, FOLDER, REGULAR, SYMLINK, Part, built, deflate

from quarantine.archive.zip_strict import Member, StrictZip
from quarantine.errors import IntegrityError

A = Part(name=b"a.py", data=b"print()")
B = Part(name=b"b/c.py", data=b"x" * 1000, method=8)


def read(data: bytes) -> dict[str, bytes]:
    """Every member of a zip file with its bytes."""
    archive = StrictZip("x.whl", io.BytesIO(data))
    return {member.name: b"".join(archive.chunks(member)) for member in archive.members}


def refusal(data: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        read(data)
    said = str(caught.value)
    assert said.startswith("x.whl: ")
    return said.removeprefix("x.whl: ")


def described(part_data: bytes, *, signed: bool = True, crc: int | None = None, large: bool = False) -> bytes:
    """What stands behind a member whose own header leaves its sizes to that."""
    form = "<L2Q" if large else "<3L"
    said = zlib.crc32(part_data) if crc is None else crc
    return (b"PK\x07\x08" if signed else b"") + struct.pack(form, said, len(deflate(part_data)), len(part_data))


def streamed(data: bytes, **changes: object) -> Part:
    """A member as programs write it that can't go back."""
    fields: dict[str, object] = {
        "name": b"a",
        "data": data,
        "method": 8,
        "flags": 8,
        "own_crc": 0,
        "own_size": 0,
        "own_stored": 0,
        "behind": described(data),
    }
    return Part(**(fields | changes))  # type: ignore[arg-type]  # the names are those of the class


def zip64_end(parts_count: int, length: int, start: int, *, where: int | None = None, wrong: int = 0) -> bytes:
    """The second end record with its locator, and a first one that says nothing."""
    at = start + length if where is None else where
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, parts_count, parts_count, length + wrong, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def with_zip64_end(*, where: int | None = None, wrong: int = 0) -> bytes:
    """One member, and an end record in its second form."""
    whole = built([A])
    bare = built([A], end=b"")
    length, start = struct.unpack_from("<2L", whole, len(whole) - 10)
    return bare + zip64_end(1, length, start, where=where, wrong=wrong)


def written(method: int) -> bytes:
    """What Python's own library writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a/b.txt", b"hello" * 100)
        archive.writestr("c.txt", b"")
    return buffer.getvalue()


# --- accepted ---------------------------------------------------------------------------------------------------------

LARGE_OWN = struct.pack("<2H2Q", 1, 16, len(A.data), len(A.data))
LARGE_LISTED = struct.pack("<2HQ", 1, 8, len(A.data))
TIMES = struct.pack("<2HBL", 0x5455, 5, 1, 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (built([]), {}),
        (built([A]), {"a.py": b"print()"}),
        # said twice, and the same
        (built([Part(name=A.name, data=A.data, own_extra=LARGE_OWN)]), {"a.py": b"print()"}),
        (built([A, B]), {"a.py": b"print()", "b/c.py": b"x" * 1000}),
        (written(zipfile.ZIP_STORED), {"a/b.txt": b"hello" * 100, "c.txt": b""}),
        (written(zipfile.ZIP_DEFLATED), {"a/b.txt": b"hello" * 100, "c.txt": b""}),
        (built([Part(name=b"b/", mode=FOLDER), B]), {"b/": b"", "b/c.py": b"x" * 1000}),
        (built([Part(name="\u00e9.py".encode(), flags=0x800)]), {"\u00e9.py": b""}),
        (built([Part(name=b"a", mode=REGULAR, extra=TIMES, own_extra=TIMES)]), {"a": b""}),
        (built([streamed(b"hello")]), {"a": b"hello"}),
        (built([streamed(b"hello", behind=described(b"hello", signed=False))]), {"a": b"hello"}),
        (
            built([Part(name=A.name, data=A.data, own_size=0xFFFFFFFF, own_stored=0xFFFFFFFF, own_extra=LARGE_OWN)]),
            {"a.py": b"print()"},
        ),
        (
            built([Part(name=A.name, data=A.data, size=0xFFFFFFFF, extra=LARGE_LISTED, own_size=7)]),
            {"a.py": b"print()"},
        ),
        (with_zip64_end(), {"a.py": b"print()"}),
        (built([Part(name=b"a", mode=SYMLINK, system=0)]), {"a": b""}),
    ],
)
def test_a_plain_file_is_read(data: bytes, expected: dict[str, bytes]) -> None:
    """Whatever writes plain zip files, the forms that large and streamed ones have among them."""
    assert read(data) == expected


def test_a_member_is_described() -> None:
    """Where it lies, how it is packed and what it may do."""
    (member,) = StrictZip("x.whl", io.BytesIO(built([Part(name=b"a", data=b"hi", mode=0o100755)]))).members

    assert member == Member(
        name="a", folder=False, offset=0, start=31, stored=2, size=2, crc=zlib.crc32(b"hi"), method=0, mode=0o755
    )


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "it doesn't end as a zip file does"),
        (b"x" * 100, "it doesn't end as a zip file does: a comment or other bytes follow its directory, or it is cut"),
        (
            built([A], suffix=b"x"),
            "it doesn't end as a zip file does: a comment or other bytes follow its directory, or it is cut",
        ),
        (
            built([A], comment=b"hello"),
            "it doesn't end as a zip file does: a comment or other bytes follow its directory, or it is cut",
        ),
        (
            built([A]) + built([B]),
            "its directory isn't where its end record says",
        ),
        (built([A], prefix=b"#!/bin/sh\n"), "there are bytes before its member 'a.py' that belong to none"),
        (built([A], gap=b"x"), "there are bytes between its members and their directory"),
        (
            built([A, Part(name=b"b", before=b"x")]),
            "there are bytes before its member 'b' that belong to none",
        ),
        (
            built([A, Part(name=b"hidden", listed=False)]),
            "there are bytes between its members and their directory",
        ),
        (built([A], tail=b"x"), "its directory has more in it than its entries"),
        (built([A], count=2), "its directory has fewer entries than its end record says"),
        (built([A, B], count=1), "its directory has more in it than its entries"),
        (built([A], count=0xFFFF), "its directory's size is said to stand elsewhere, and doesn't"),
        (built([A], start=1), "its directory isn't where its end record says"),
        (built([A], length=1), "its directory isn't where its end record says"),
        (built([A, Part(name=b"b", offset=0)]), "its member 'b' lies inside another one"),
        (built([A, Part(name=b"b", offset=3)]), "its member 'b' lies inside another one"),
        (built([Part(name=b"a", data=b"abc", stored=9, size=9)]), "its member 'a' goes on behind the last one"),
        (built([Part(name=b"a", own_name=b"b")]), "its member 'a' has another name in a header of its own"),
        (built([Part(name=b"a", own_crc=1)]), "its member 'a' has two headers that disagree"),
        (built([Part(name=b"a", data=b"x", own_size=2)]), "its member 'a' has two headers that disagree"),
        (built([Part(name=b"a", data=b"x", own_stored=0)]), "its member 'a' has two headers that disagree"),
        (built([Part(name=b"a", data=b"x", own_method=8)]), "its member 'a' has two headers that disagree"),
        (built([Part(name=b"a", own_flags=0x800)]), "its member 'a' has two headers that disagree"),
        (built([Part(name=b"a", data=b"x", crc=1)]), "the bytes of its member 'a' don't have their checksum"),
        (built([Part(name=b"a", data=b"xy", size=3)]), "its member 'a' is stored and has two sizes, 2 and 3"),
        (built([Part(name=b"a", flags=1)]), "its member 'a' is encrypted"),
        (built([Part(name=b"a", flags=0x40)]), "its member 'a' has the flags 0x40, of which some mean an unusual form"),
        (
            built([Part(name=b"a", flags=0x2000)]),
            "its member 'a' has the flags 0x2000, of which some mean an unusual form",
        ),
        (built([Part(name=b"a", method=14)]), "its member 'a' is packed by method 14, expected stored or deflated"),
        (built([Part(name=b"a", comment=b"x")]), "its member 'a' has a comment, or lies in another file"),
        (built([A, A]), "its members 'a.py' and 'a.py' have the same name"),
        (built([A, Part(name=b"A.PY")]), "its members 'a.py' and 'A.PY' have the same name"),
        (
            built([Part(name="\u00e9".encode(), flags=0x800), Part(name="e\u0301".encode(), flags=0x800)]),
            "its members '\\xe9' and 'e\\u0301' have the same name",
        ),
        (built([Part(name=b"a"), Part(name=b"a/b")]), "its member 'a' is a file and a folder"),
        (built([Part(name=b"b/c"), Part(name=b"B")]), "its member 'B' is a file and a folder"),
        (built([Part(name=b"")]), "it has a member without a name"),
        (built([Part(name=b"/etc/passwd")]), "its member '/etc/passwd' has an absolute path"),
        (built([Part(name=b"../a")]), "its member '../a' leads out of its folder"),
        (built([Part(name=b"a/../../b")]), "its member 'a/../../b' leads out of its folder"),
        (built([Part(name=b"a//b")]), "its member 'a//b' has an empty part in its path"),
        (built([Part(name=b"./a")]), "its member './a' has an empty part in its path"),
        (built([Part(name=b"C:/a")]), "its member 'C:/a' begins with the letter of a drive"),
        (
            built([Part(name=b"a\\b")]),
            "its member 'a\\\\b' has a backslash in its name, which separates folders on one system only",
        ),
        (built([Part(name=b"a\0.py")]), "its member 'a\\x00.py' has control characters in its name"),
        (built([Part(name=b"a\x1b[2J")]), "its member 'a\\x1b[2J' has control characters in its name"),
        (
            built([Part(name="a\u202eyp.exe".encode(), flags=0x800)]),
            "its member 'a\\u202eyp.exe' has control characters in its name",
        ),
        (built([Part(name=b"\x82")]), "the name b'\\x82' of a member is not ASCII, and not said to be UTF-8"),
        (built([Part(name=b"\xff", flags=0x800)]), "the name b'\\xff' of a member is not UTF-8"),
        (built([Part(name=b"x" * 5000)]), f"its member '{'x' * 100}' has a path of 5000 characters"),
        (built([Part(name=b"a", mode=SYMLINK)]), "its member 'a' is neither a file nor a folder by its mode 0o120777"),
        (built([Part(name=b"a", mode=DEVICE)]), "its member 'a' is neither a file nor a folder by its mode 0o20600"),
        (built([Part(name=b"a", mode=FOLDER)]), "its member 'a' is neither a file nor a folder by its mode 0o40755"),
        (built([Part(name=b"a/", data=b"x")]), "its folder 'a/' has 1 bytes"),
        (
            built([Part(name=b"a", extra=struct.pack("<2H", 0x7075, 0))]),
            "its member 'a' has an extra field 0x7075, by which it has another name",
        ),
        (built([Part(name=b"a", extra=b"abc")]), "its member 'a' has extra fields that can't be read"),
        (built([Part(name=b"a", own_extra=b"\1\2\3\4")]), "its member 'a' has extra fields that can't be read"),
        (
            built([Part(name=A.name, data=A.data, extra=LARGE_LISTED)]),
            "its member 'a.py' has a second set of sizes that it doesn't need, or lacks one",
        ),
        (
            built([Part(name=A.name, size=0xFFFFFFFF)]),
            "its member 'a.py' has a second set of sizes that it doesn't need, or lacks one",
        ),
        (
            built(
                [Part(name=A.name, data=A.data, own_extra=struct.pack("<2H2Q", 1, 16, len(A.data) + 1, len(A.data)))]
            ),
            "its member 'a.py' has a second set of sizes, and it isn't the first",
        ),
        (with_zip64_end(where=0), "its second end record isn't where it must be"),
        (with_zip64_end(wrong=1), "its directory isn't where its end record says"),
        (built([streamed(b"hi", behind=b"")]), "its member 'a' has other sizes behind it than in the directory"),
        (
            built([streamed(b"hi", behind=described(b"hi", crc=1))]),
            "its member 'a' has other sizes behind it than in the directory",
        ),
        (
            built([streamed(b"hi", method=0, behind=described(b"hi"))]),
            "its member 'a' is stored, and its size stands behind it",
        ),
        (
            built([Part(name=b"a", data=b"hi", method=8, packed=deflate(b"hi") + b"x")]),
            "its member 'a' has bytes behind its packed data",
        ),
        (built([Part(name=b"a", data=b"hi", method=8, packed=deflate(b"hi")[:-1])]), "its member 'a' is cut"),
        (
            built([Part(name=b"a", data=b"hi", method=8, packed=deflate(b"hello"))]),
            "its member 'a' unpacks to more than its 2 bytes",
        ),
        (
            built([Part(name=b"a", data=b"hello", method=8, packed=deflate(b"hi"))]),
            "its member 'a' has 2 bytes, its headers say 5",
        ),
        (
            built([Part(name=b"a", data=b"x", method=8, packed=b"\xff\xff")]),
            "its member 'a' can't be unpacked (Error -3 while decompressing data: invalid block type)",
        ),
        (
            built([Part(name=b"a", method=8, packed=b"\3\0", size=100 * 1024 * 1024)]),
            "it unpacks to 104857600 bytes, which is more than 50 times its size",
        ),
    ],
)
def test_what_has_two_readings_is_refused(data: bytes, expected: str) -> None:
    """Each forgery with what is wrong with it."""
    assert refusal(data) == expected


def test_a_second_end_record_must_be_needed() -> None:
    """Programs differ in which of the two they believe."""
    whole = built([A])
    bare = built([A], end=b"")
    length, start = struct.unpack_from("<2L", whole, len(whole) - 10)
    data = bare + zip64_end(1, length, start)[:76] + whole[-22:]

    assert refusal(data) == "it has a second end record that it doesn't need"


def test_end_records_that_disagree_are_refused() -> None:
    """The first one says something else than the second."""
    data = bytearray(with_zip64_end())
    struct.pack_into("<L", data, len(data) - 10, 7)

    assert refusal(bytes(data)) == "its two end records disagree"


def test_a_lie_about_the_size_stops_at_the_size() -> None:
    """A stream of a gigabyte that is said to be small isn't unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    data = built([Part(name=b"a", data=b"x", method=8, packed=packed)])
    begin = time.perf_counter()

    assert refusal(data) == "its member 'a' unpacks to more than its 1 bytes"
    assert time.perf_counter() - begin < 1


def test_only_so_many_members_are_read() -> None:
    """100,000 of them, and no more, whatever the second end record says."""
    data = bytearray(with_zip64_end())
    struct.pack_into("<2Q", data, len(data) - 22 - 20 - 32, 100_001, 100_001)

    assert refusal(bytes(data)) == "it has 100001 members, at most 100000 are read"


def test_a_large_directory_is_read_in_time() -> None:
    """Of 65,534 members, each in folders of its own."""
    data = built([Part(name=f"{n % 97}/{n}/x".encode()) for n in range(65_534)])
    begin = time.perf_counter()

    assert len(StrictZip("x.whl", io.BytesIO(data)).members) == 65_534
    assert time.perf_counter() - begin < 5


def test_content_is_limited() -> None:
    """A file that is asked for whole is read only where it is small enough."""
    archive = StrictZip("x.whl", io.BytesIO(built([B])))

    assert archive.content(archive.members[0], 1000) == b"x" * 1000
    with pytest.raises(IntegrityError, match=r"^x\.whl: its member 'b/c\.py' has 1000 bytes, at most 999 are read$"):
        archive.content(archive.members[0], 999)
