"""Conda packages from anywhere: an answer or an error of ours, and the same one however the bytes come."""

import bz2
import string

from conda_archives import STEM, conda, info, record, tar, zst
from hypothesis import assume, example, given
from hypothesis import strategies as st

from quarantine.archive.conda import distributions, metadata
from quarantine.archive.conda_zip import members
from quarantine.errors import IntegrityError
from quarantine.model import Package, parse_name, parse_version

APP = parse_name("app")
FILES = {"site-packages/foo-1.0.dist-info/METADATA": b"foo", "site-packages/app-1.0.dist-info/METADATA": b"app"}
GOOD = tar(info(*FILES) | FILES)
WHOLE = conda(GOOD)
FOO = (Package(parse_name("foo"), parse_version("1.0")),)
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._]{0,10}[A-Za-z0-9])?", fullmatch=True)
versions = st.from_regex(
    r"([1-9]!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?", fullmatch=True
)
edits = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=20)


def edited(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The bytes with some of them changed."""
    changed = bytearray(data)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    return bytes(changed)


@given(names, versions, st.sampled_from(["dist-info", "egg-info"]), st.sampled_from(["", "lib/python3.8/"]))
def test_what_an_installer_writes_is_read(name: str, version: str, kind: str, where: str) -> None:
    """Any valid name and version, in the spelling that belongs into a path."""
    path = f"{where}site-packages/{name}-{version}.{kind}/x"
    found = distributions(record(), [zst(tar(info(path)))])
    assert found == (Package(parse_name(name), parse_version(version)),)


@given(st.text(alphabet=string.printable + "\u212a\u0661\u200b", max_size=40))
def test_a_part_of_a_path_is_one_distribution_or_the_list_is_unreadable(text: str) -> None:
    """Nothing that ends like a distribution's folder is passed over."""
    assume("/" not in text and "\\" not in text)
    try:
        found = distributions(record(), [zst(tar(info(f"site-packages/{text}.dist-info/METADATA")))])
    except IntegrityError:
        return
    assert len(found) == 1


@given(st.binary(max_size=2000), st.sampled_from([".conda", ".tar.bz2"]))
def test_any_bytes_are_an_integrity_error(data: bytes, kind: str) -> None:
    """No other exception comes out."""
    for chunk in (data, (zst if kind == ".conda" else bz2.compress)(data)):
        try:
            distributions(record(kind), [chunk])
            metadata(record(kind), [APP], [chunk])
        except IntegrityError:
            continue
        raise AssertionError


@given(edits)
@example([(124, 0xFF), (125, 0xFF)])
def test_a_damaged_tar_file_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    """Headers of every kind of nonsense."""
    data = bz2.compress(edited(GOOD, changes))
    try:
        distributions(record(".tar.bz2"), [data])
        metadata(record(".tar.bz2"), [APP], [data])
    except IntegrityError:
        return


@given(edits)
def test_a_damaged_zip_file_has_the_same_parts_or_none(changes: list[tuple[int, int]]) -> None:
    """Two headers, a checksum and no gaps leave little to change."""
    data = edited(WHOLE, changes)
    expected = members(f"{STEM}.conda", len(WHOLE), lambda start, end: WHOLE[start:end])
    try:
        found = members(f"{STEM}.conda", len(data), lambda start, end: data[start:end])
    except IntegrityError:
        return
    assert found == expected


@given(st.lists(st.integers(1, 200), max_size=50), st.sampled_from([".conda", ".tar.bz2"]))
def test_the_pieces_that_bytes_come_in_do_not_matter(sizes: list[int], kind: str) -> None:
    """Of any sizes, empty ones among them."""
    tarred = tar(info("site-packages/foo-1.0.dist-info/METADATA"))
    data = zst(tarred) if kind == ".conda" else bz2.compress(tarred)
    chunks: list[bytes] = []
    for size in sizes:
        chunks += [data[:size], b""]
        data = data[size:]
    assert distributions(record(kind), [*chunks, data]) == FOO
