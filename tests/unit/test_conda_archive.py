"""What a conda package says it holds: names, formats, and everything that can be wrong with the bytes."""

import bz2
import io
import random
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conda_archives import (
    STEM,
    bz2_bomb,
    conda,
    index_json,
    info,
    paths_json,
    record,
    tar,
    tar_bz2,
    tar_of,
    zipped,
    zst,
    zst_bomb,
)

from quarantine.archive.conda import distributions, metadata
from quarantine.archive.conda_zip import Members, members
from quarantine.errors import IntegrityError
from quarantine.model import Package, parse_name, parse_version

APP, LIB = parse_name("app"), parse_name("lib")


def package(name: str, version: str) -> Package:
    return Package(parse_name(name), parse_version(version))


def of_info(*paths: str) -> tuple[Package, ...]:
    return distributions(record(), [zst(tar(info(*paths)))])


def refusal_of_info(data: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        distributions(record(), [data])
    return str(caught.value)


def parts(data: bytes, asked: list[tuple[int, int]] | None = None) -> Members:
    def read(start: int, end: int) -> bytes:
        if asked is not None:
            asked.append((start, end))
        return data[start:end]

    return members(f"{STEM}.conda", len(data), read)


def refusal_of_zip(data: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        parts(data)
    return str(caught.value)


def regular(name: str, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member


def linked(name: str, kind: bytes, to: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("site-packages/foo-1.0.dist-info/METADATA", package("foo", "1.0")),
        ("lib/python3.8/site-packages/foo-1.0.dist-info/METADATA", package("foo", "1.0")),
        ("Lib/site-packages/foo-1.0.dist-info/RECORD", package("foo", "1.0")),
        ("Lib\\site-packages\\foo-1.0.dist-info\\RECORD", package("foo", "1.0")),
        ("site-packages/foo-1.0.dist-info", package("foo", "1.0")),
        ("site-packages/Foo-1.0.DIST-INFO/METADATA", package("foo", "1.0")),
        ("site-packages/ruamel.yaml-0.17.21.dist-info/METADATA", package("ruamel-yaml", "0.17.21")),
        ("site-packages/typing_extensions-4.0.0.dist-info/METADATA", package("typing-extensions", "4.0.0")),
        ("site-packages/foo-bar-1.0.dist-info/METADATA", package("foo-bar", "1.0")),
        ("site-packages/foo-2-1.0.dist-info/METADATA", package("foo-2", "1.0")),
        ("site-packages/torch-2.1.0+cu118.dist-info/METADATA", package("torch", "2.1.0+cu118")),
        ("site-packages/foo-1.0_1.dist-info/METADATA", package("foo", "1.0.post1")),
        ("site-packages/pytz-2013b-py2.7.egg-info/PKG-INFO", package("pytz", "2013b")),
        ("site-packages/foo-1.0-py3.8.egg-info", package("foo", "1.0")),
        ("site-packages/foo-1.0.egg-info/top_level.txt", package("foo", "1.0")),
        ("site-packages/foo-1.0-py3.8-linux-x86_64.egg/EGG-INFO/PKG-INFO", package("foo", "1.0")),
        ("site-packages/pip/_vendor/urllib3-1.26.0.dist-info/METADATA", package("urllib3", "1.26.0")),
        ("opt/tool/third_party/rsa-4.0.dist-info/METADATA", package("rsa", "4.0")),
    ],
)
def test_a_path_names_a_distribution(path: str, expected: Package) -> None:
    """Whatever the layout, the spelling and the format of the metadata."""
    assert of_info("bin/x", path) == (expected,)


@pytest.mark.parametrize("path", ["lib/libcrypto.so.3", "share/model.egg", "bin/dist-info", "foo.dist-info.txt"])
def test_other_paths_name_none(path: str) -> None:
    """A package without distributions holds none, which is known."""
    assert of_info(path) == ()


def test_every_distribution_counts_once_in_order() -> None:
    """Under whatever name the package goes; equal versions are one, in the spelling that came first."""
    assert of_info(
        "site-packages/zlib_ng-2.0.dist-info/METADATA",
        "site-packages/requests-2.19.0.dist-info/METADATA",
        "site-packages/requests-2.19.0.dist-info/RECORD",
        "site-packages/vendored/_vendor/requests-2.19.dist-info/METADATA",
        "site-packages/vendored/_vendor/requests-2.18.0.dist-info/METADATA",
    ) == (package("requests", "2.18.0"), package("requests", "2.19.0"), package("zlib-ng", "2.0"))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("foo.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        (".dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("foo-latest.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("foo.egg-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("~ip-1.0.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("\u212aeras-1.0.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("foo-\u0661.0.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
        ("requests-2.19.0-1.dist-info", "it may be requests 2.19.0.post1 or requests-2-19-0 1"),
        (f"{'a' * 300}-1.0.dist-info", "expected NAME-VERSION (PEP 503, PEP 440)"),
    ],
)
def test_what_looks_like_a_distribution_and_is_none_makes_the_list_unreadable(part: str, why: str) -> None:
    """It is never skipped: the rest of the list says nothing about it."""
    data = zst(tar(info("site-packages/ok-1.0.dist-info/METADATA", f"site-packages/{part}/METADATA")))
    expected = f"app-1.0-0.conda: {part[:100]!a} in its file list is no distribution: {why}"
    assert refusal_of_info(data) == expected


def test_names_of_many_dashes_take_no_time() -> None:
    """Each dash could be the one between name and version; and there are only so many distributions in a package."""
    names = [f"site-packages/{'a-' * 120}{number}-1.0.dist-info/x" for number in range(20_000)]
    data = zst(tar({"info/index.json": index_json(), "info/paths.json": paths_json(names)}))
    started = time.monotonic()
    assert refusal_of_info(data) == "app-1.0-0.conda: it holds more than 1000 distributions"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "lib/../../x", "\\windows\\x", ""])
def test_paths_that_leave_the_environment_make_the_list_unreadable(path: str) -> None:
    """No honest package has any."""
    assert refusal_of_info(zst(tar(info(path)))) == (
        f"app-1.0-0.conda: {path!a} in its file list is no path inside an environment"
    )


# --- file lists -------------------------------------------------------------------------------------------------------


def test_old_packages_list_their_files_as_lines() -> None:
    """`info/files` counts where there is no `info/paths.json`, in both formats, with any line ends."""
    members = {"info/files": b"bin/x\r\nsite-packages/foo-1.0.dist-info/METADATA\n", "info/index.json": index_json()}
    expected = (package("foo", "1.0"),)
    assert distributions(record(), [zst(tar(members))], [zst(tar({}))]) == expected
    assert distributions(record(".tar.bz2"), [tar_bz2(members)]) == expected


def test_paths_json_counts_before_files() -> None:
    """What is installed is what it names."""
    members = info("site-packages/foo-1.0.dist-info/METADATA") | {"info/files": b"site-packages/bar-1.0.dist-info/x\n"}
    assert distributions(record(), [zst(tar(members))]) == (package("foo", "1.0"),)


def test_an_old_package_is_read_to_its_end() -> None:
    """A second list could come at any place, and counts for whoever unpacks it."""
    filler = random.Random(1).randbytes(4 << 20)  # noqa: S311  # filler, the same every time
    data = tar_bz2(info("site-packages/foo-1.0.dist-info/METADATA") | {"lib/x": filler})
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(data), 65536):
            taken.append(start)
            yield data[start : start + 65536]

    assert distributions(record(".tar.bz2"), chunks()) == (package("foo", "1.0"),)
    assert max(taken) + 65536 >= len(data)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "it has no info/index.json"),
        ({"info/index.json": index_json()}, "it has no file list (info/paths.json or info/files)"),
        ({"info/paths.json": paths_json([])}, "it has no info/index.json"),
        (info() | {"info/index.json": b"{"}, "info/index.json can't be read: Input data was truncated"),
        (info() | {"info/index.json": b"\xff"}, None),
        (
            info() | {"info/index.json": b'{"name": "app", "version": 1, "build": "0"}'},
            "info/index.json can't be read: Expected `str`, got `int` - at `$.version`",
        ),
        (
            info() | {"info/index.json": index_json(name="other")},
            "info/index.json says it is 'other' '1.0' '0', the channel lists it as 'app' '1.0' '0'",
        ),
        (
            info() | {"info/index.json": index_json(version="1.1", build="1")},
            "info/index.json says it is 'app' '1.1' '1', the channel lists it as 'app' '1.0' '0'",
        ),
        (
            info() | {"info/paths.json": b'{"paths": [{}], "paths_version": 1}'},
            "info/paths.json can't be read: Object missing required field `_path` - at `$.paths[0]`",
        ),
        (info() | {"info/paths.json": b'{"paths": [{"_path": "\xff"}], "paths_version": 1}'}, None),
        (info() | {"info/paths.json": b'{"x": ' + b"[" * 100_000}, None),
        (info() | {"info/paths.json": paths_json([], version=2)}, "info/paths.json is of version 2, expected 1"),
        ({"info/index.json": index_json(), "info/files": b"\xff"}, "info/files is not UTF-8"),
        (
            info() | {"info/paths.json": b'{"paths": [' + b"{}," * 300_000},
            "info/paths.json lists more than 100000 paths",
        ),
        (
            info() | {"info/paths.json": paths_json([str(n) for n in range(100_001)])},
            "its file list has more than 100000 paths",
        ),
        (
            {"info/index.json": index_json(), "info/files": b"a\n" * 100_001},
            "info/files lists more than 100000 paths",
        ),
        (
            info() | {"info/index.json": b" " * (1024 * 1024 + 1)},
            "its member 'info/index.json' has 1048577 bytes, at most 1048576 are read",
        ),
        (info() | {"../../etc/cron.d/x": b""}, "its member '../../etc/cron.d/x' is no path inside a package"),
        (info() | {"/etc/cron.d/x": b""}, "its member '/etc/cron.d/x' is no path inside a package"),
        (info() | {"./info//paths.json": paths_json([])}, "it has info/paths.json twice"),
        (info() | {"INFO/Paths.json": paths_json([])}, "it has info/paths.json twice"),
    ],
)
def test_an_info_member_that_is_no_package_s_is_refused(members: dict[str, bytes], message: str | None) -> None:
    """Each defect is an integrity error that names the file."""
    said = refusal_of_info(zst(tar(members)))
    assert said.startswith("app-1.0-0.conda: ")
    if message is not None:
        assert said == f"app-1.0-0.conda: {message}"


# --- what installers would take instead ------------------------------------------------------------------------------

EVIL = "site-packages/requests-2.19.0.dist-info/METADATA"
EVIL_LIST = paths_json([EVIL])


def refusal_of_whole(*pairs: tuple[str, bytes] | tuple[tarfile.TarInfo, bytes], more: bytes = b"") -> str:
    """Why a `.tar.bz2` file that has these members behind an honest list is refused."""
    members = [*info("share/readme.txt").items(), *pairs]
    data = tar_of((regular(m, d) if isinstance(m, str) else m, d) for m, d in members) + more
    with pytest.raises(IntegrityError) as caught:
        distributions(record(".tar.bz2"), [bz2.compress(data)])
    return str(caught.value)


@pytest.mark.parametrize("name", ["info/paths.json", "info/index.json", "./info//paths.json", "Info/PATHS.json"])
def test_a_second_list_in_an_old_package_is_refused(name: str) -> None:
    """Wherever it stands: programs that unpack the file end up with the later one."""
    expected = "/".join(part for part in name.split("/") if part not in ("", ".")).lower()
    said = refusal_of_whole(("share/readme.txt", b"x" * 100_000), (EVIL, b""), (name, EVIL_LIST))
    assert said == f"app-1.0-0.tar.bz2: it has {expected} twice"


def test_a_second_list_of_lines_in_an_old_package_is_refused() -> None:
    """`info/files` counts where there is nothing else."""
    members = [("info/index.json", index_json()), ("info/files", b"x\n"), ("x", b""), ("info/files", EVIL.encode())]
    with pytest.raises(IntegrityError) as caught:
        distributions(record(".tar.bz2"), [bz2.compress(tar(members))])
    assert str(caught.value) == "app-1.0-0.tar.bz2: it has info/files twice"


@pytest.mark.parametrize(
    "path",
    [
        EVIL,
        "lib/python3.8/site-packages/requests-2.19.0-py3.8.egg-info",
        "Lib\\Site-Packages\\requests-2.19.0.dist-info\\METADATA",
        "site-packages/app/_vendor/requests-2.19.0.dist-info/METADATA",
        "site-packages/requests-2.19.0.egg/EGG-INFO/PKG-INFO",
    ],
)
def test_a_distribution_that_is_there_and_not_in_the_list_makes_it_unreadable(path: str) -> None:
    """A list that leaves something out is no list."""
    assert refusal_of_whole((path, b"")) == (
        f"app-1.0-0.tar.bz2: its file list leaves out {path.replace(chr(92), '/')!a}, which is there"
    )


def test_what_is_no_part_of_the_environment_may_be_there_unlisted() -> None:
    """Tests and recipes in the info folder, folders, and other files."""
    folder = tarfile.TarInfo("site-packages/old-1.0.egg-info")
    folder.type = tarfile.DIRTYPE
    pairs = [
        *((regular(name, data), data) for name, data in info("lib/x").items()),
        (regular(f"info/test/{EVIL}", b""), b""),
        (folder, b""),
        (regular("share/unlisted", b""), b""),
    ]
    assert distributions(record(".tar.bz2"), [bz2.compress(tar_of(pairs))]) == ()


def test_a_list_that_would_be_written_through_a_link_is_refused() -> None:
    """A folder that is a link to `info`, and a file that is a link to the list."""
    folder, file = linked("share/doc", tarfile.SYMTYPE, "../info"), linked("info/a", tarfile.SYMTYPE, "paths.json")
    said = "app-1.0-0.tar.bz2: its member {!a} would be written through a link"
    assert refusal_of_whole((folder, b""), ("share/doc/paths.json", EVIL_LIST)) == said.format("share/doc/paths.json")
    assert refusal_of_whole((file, b""), ("info/a", EVIL_LIST)) == said.format("info/a")
    assert refusal_of_whole((linked("info", tarfile.SYMTYPE, "share"), b"")) == (
        "app-1.0-0.tar.bz2: its member 'info' is not a folder"
    )


def test_bytes_behind_the_last_member_are_refused() -> None:
    """Not every program takes a damaged header, or zeros, for the end."""
    hidden = tar([("info/paths.json", EVIL_LIST)])
    damaged = b"x" + hidden[1:]
    for more in (hidden, damaged):
        assert refusal_of_whole(more=more) == "app-1.0-0.tar.bz2: there are bytes behind its last member"
    inside = tar(info()).rstrip(b"\0")
    cut = inside + bytes(-len(inside) % 512) + damaged
    with pytest.raises(IntegrityError) as caught:
        distributions(record(), [zst(cut)])
    assert str(caught.value) == "app-1.0-0.conda: there are bytes behind its last member"


def test_members_that_programs_read_differently_are_refused() -> None:
    """A link with bytes of its own, and a size or name that stands in two headers."""
    link = linked("share/x", tarfile.SYMTYPE)
    link.size = 512
    assert refusal_of_whole((link, bytes(512))) == "app-1.0-0.tar.bz2: its member 'share/x' has 512 bytes"
    for key, value in (("size", "0"), ("GNU.sparse.name", "share/y")):
        member = tarfile.TarInfo("share/x")
        member.pax_headers = {key: value}
        said = refusal_of_whole((member, b""))
        assert said.endswith(f" has another {key} in a second header")


PKG = {"share/readme.txt": b""}


@pytest.mark.parametrize("name", ["info/paths.json", "info/files", "info/index.json", "./Info/paths.json"])
def test_a_list_in_a_pkg_member_that_comes_last_is_refused(name: str) -> None:
    """It would take the place of the one that was read. A pkg member that comes first isn't asked for."""
    honest, evil = [zst(tar(info("share/readme.txt")))], [zst(tar(PKG | {name: EVIL_LIST}))]

    def unread() -> Iterator[bytes]:
        raise AssertionError
        yield b""

    with pytest.raises(IntegrityError) as caught:
        distributions(record(), honest, evil, info_last=False)
    assert str(caught.value) == (
        f"app-1.0-0.conda: its pkg member has {name.removeprefix('./').lower()}, which belongs into its info member"
    )
    assert distributions(record(), honest, unread()) == ()


def test_a_pkg_member_that_comes_last_may_have_other_files_of_the_info_folder() -> None:
    """Old programs put those there that they don't know; a distribution that the list leaves out is still refused."""
    honest = [zst(tar(info("share/readme.txt")))]
    pkg = PKG | {"info/licenses/LICENSE": b""}
    assert distributions(record(), honest, [zst(tar(pkg))], info_last=False) == ()
    with pytest.raises(IntegrityError) as caught:
        distributions(record(), honest, [zst(tar(pkg | {EVIL: b""}))], info_last=False)
    assert str(caught.value) == f"app-1.0-0.conda: its file list leaves out {EVIL!a}, which is there"


def test_the_pkg_member_is_looked_at_when_the_info_member_has_no_paths_json() -> None:
    """One there would count before `info/files`, whatever the order."""
    old = [zst(tar({"info/index.json": index_json(), "info/files": b"share/readme.txt\n"}))]
    assert distributions(record(), old, [zst(tar(PKG))]) == ()
    with pytest.raises(IntegrityError, match=r"its pkg member has info/paths\.json"):
        distributions(record(), old, [zst(tar(PKG | {"info/paths.json": EVIL_LIST}))])


def test_a_link_of_the_info_member_is_not_written_through_by_the_pkg_member() -> None:
    """Both are unpacked into one folder."""
    pairs = [*((regular(name, data), data) for name, data in info("share/readme.txt").items())]
    honest = [zst(tar_of([*pairs, (linked("info/a", tarfile.SYMTYPE, "."), b"")]))]
    with pytest.raises(IntegrityError) as caught:
        distributions(record(), honest, [zst(tar({"info/a/paths.json": EVIL_LIST}))], info_last=False)
    assert str(caught.value) == "app-1.0-0.conda: its member 'info/a/paths.json' would be written through a link"


@pytest.mark.parametrize("path", ["share/doc/x", "info/test/paths.json", "info/test/PATHS.json"])
def test_an_info_member_has_its_own_folder_and_one_list_in_it(path: str) -> None:
    """A pkg member that was unpacked before could have made a link of any folder."""
    assert refusal_of_info(zst(tar(info() | {path: EVIL_LIST}))) == (
        f"app-1.0-0.conda: its info member has {path!a}, which doesn't belong there"
    )


def test_an_info_member_may_have_folders_and_links_of_the_environment() -> None:
    """Old programs took whatever is a folder, or a link to one, for a part of it."""
    pairs = [(regular(name, data), data) for name, data in info("lib/x").items()]
    folder = linked("lib/y", tarfile.DIRTYPE)
    assert (
        distributions(record(), [zst(tar_of([*pairs, (linked("lib64", tarfile.SYMTYPE, "lib"), b""), (folder, b"")]))])
        == ()
    )


def test_paths_that_no_system_takes_are_refused() -> None:
    """By length and by depth, in no time."""
    for path in ("x" * 4097, "x/" * 300 + "y"):
        said = refusal_of_whole((path, b""))
        assert said == f"app-1.0-0.tar.bz2: its member {path[:100]!a} has a path of {len(path)} characters"


@pytest.mark.parametrize(
    "path",
    [
        "site-packages/six.py",
        "lib/python3.8/site-packages/six/core.cpython-38-x86_64-linux-gnu.so",
        "Lib\\Site-Packages\\six.PYD",
        "lib/python3.13t/site-packages/__pycache__/six.cpython-313.pyc",
        "site-packages/evil.pth",
        "site-packages/six-1.0-py3.8.egg",
    ],
)
def test_modules_without_a_distribution_are_not_native(path: str) -> None:
    """Nobody knows what they are: that is unreadable, not empty. With a distribution beside them they are its own."""
    assert refusal_of_info(zst(tar(info("bin/x", path)))) == (
        "app-1.0-0.conda: it has Python modules and no distribution to know them by"
    )
    assert of_info(path, "site-packages/six-1.0.dist-info/METADATA") == (package("six", "1.0"),)


def test_python_itself_is_native() -> None:
    """Its modules are its own; what it has in the site-packages folder are no modules."""
    assert of_info(
        "bin/python3.11", "lib/libpython3.11.so", "lib/python3.11/os.py", "lib/python3.11/lib-dynload/_ssl.so",
        "lib/python3.11/site-packages/README.txt", "share/gdb/auto-load/x.py", "lib/site-packages.py",
    ) == ()  # fmt: skip


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_file_list_that_is_no_file_is_refused(kind: bytes) -> None:
    """Links and devices are not followed."""
    data = tar_of([(linked("info/paths.json", kind), b"")])
    assert refusal_of_info(zst(data)) == "app-1.0-0.conda: its member 'info/paths.json' is not a regular file"


GOOD = tar(info("site-packages/foo-1.0.dist-info/METADATA"))


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (".conda", b"", "Compressed file ended before the end-of-stream marker was reached"),
        (".conda", b"no zstd", None),
        (".conda", zst(GOOD)[:-20], None),
        (".conda", zst(b"no tar" * 200), "invalid header"),
        (".conda", zst(GOOD[:700]), None),
        (".tar.bz2", b"", "Compressed file ended before the end-of-stream marker was reached"),
        (".tar.bz2", b"no bz2", "Invalid data stream"),
        (".tar.bz2", bz2.compress(GOOD)[:-30], "Compressed file ended before the end-of-stream marker was reached"),
        (".tar.bz2", bz2.compress(b""), "empty file"),
    ],
)
def test_bytes_that_are_no_compressed_tar_file_are_refused(kind: str, data: bytes, why: str | None) -> None:
    """Truncated or of another kind: an integrity error."""
    with pytest.raises(IntegrityError) as caught:
        distributions(record(kind), [data])
    assert str(caught.value).startswith(f"app-1.0-0{kind}: not a readable conda package (")
    if why is not None:
        assert str(caught.value) == f"app-1.0-0{kind}: not a readable conda package ({why})"


# --- bombs ------------------------------------------------------------------------------------------------------------


def announced(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


BOMBS = {
    "list": ("info/paths.json", 10 << 30, tarfile.REGTYPE),
    "other": ("info/test/big", 10 << 30, tarfile.REGTYPE),
    "long-name": ("././@LongLink", 10 << 30, tarfile.GNUTYPE_LONGNAME),
    "pax": ("pax", 10 << 30, tarfile.XHDTYPE),
    "inside-limits": ("info/paths.json", 32 << 20, tarfile.REGTYPE),
    "negative": ("info/x", -512, tarfile.REGTYPE),
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("list", "its info member unpacks to more than 67108864 bytes"),
        ("other", "its info member unpacks to more than 67108864 bytes"),
        ("long-name", "a header of a member is larger than 262144 bytes"),
        ("pax", "a header of a member is larger than 262144 bytes"),
        ("negative", "its member 'info/x' has -512 bytes"),
    ],
)
def test_an_info_member_that_would_unpack_to_gigabytes_is_refused(name: str, message: str) -> None:
    """By what it announces, before it is unpacked."""
    said = refusal_of_info(zst_bomb(announced(*BOMBS[name]), 512))
    assert said == f"app-1.0-0.conda: {message}"


def test_many_small_members_are_refused() -> None:
    """More members than any package has."""
    header = tarfile.TarInfo("info/x").tobuf()
    assert refusal_of_info(zst(header * 100_001)) == "app-1.0-0.conda: it has more than 100000 members"


def test_an_old_package_that_unpacks_out_of_proportion_is_refused() -> None:
    """At fifty times its size, once that is more than 64 MiB."""
    data = bz2_bomb(announced("lib/zeros", 10 << 30), 256)
    with pytest.raises(IntegrityError) as caught:
        distributions(record(".tar.bz2"), [data])
    assert str(caught.value) == "app-1.0-0.tar.bz2: it unpacks to more than 50 times its size"


CHILD = """
import sys
sys.path[:0] = sys.argv[1:3]
from conda_archives import record
from quarantine.archive.conda import distributions
from quarantine.errors import IntegrityError
try:
    distributions(record(sys.argv[4]), iter(lambda f=open(sys.argv[3], "rb"): f.read(65536), b""))
except IntegrityError as error:
    # the peak of this program alone: what the system counts for the process began before it
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) // 1024, error)
"""


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("header", ["list", "long-name", "pax", "inside-limits"])
def test_a_bomb_goes_off_in_little_memory(tmp_path: Path, kind: str, header: str) -> None:
    """Gigabytes of zeros behind any kind of header are refused under 256 MiB."""
    make = zst_bomb if kind == ".conda" else bz2_bomb
    path = tmp_path / "bomb"
    path.write_bytes(make(announced(*BOMBS[header]), 4096))
    here = Path(__file__).resolve().parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(here), str(here.parent), str(path), kind],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    peak, _, said = ran.stdout.partition(" ")
    assert said.startswith(f"app-1.0-0{kind}: ")
    assert int(peak) < 256


# --- the zip ----------------------------------------------------------------------------------------------------------

FILES = (
    ("metadata.json", b"{}"),
    (f"pkg-{STEM}.tar.zst", b"packed files"),
    (f"info-{STEM}.tar.zst", b"packed info"),
)
PLAIN = zipped(*FILES)


def test_the_parts_of_a_small_file_cost_one_range() -> None:
    """The info member's bytes, and where the other one lies."""
    asked: list[tuple[int, int]] = []
    found = parts(PLAIN, asked)
    start, end = found.pkg
    assert (found.info, PLAIN[start:end], asked) == (b"packed info", b"packed files", [(0, len(PLAIN))])


def test_the_order_of_the_members_is_told() -> None:
    """Programs of before 2023 wrote the info first."""
    for files, info_last in ((FILES, True), (FILES[1:] + FILES[:1], True), (FILES[::-1], False)):
        data = zipped(*files)
        found = parts(data)
        assert (found.info, data[slice(*found.pkg)]) == (b"packed info", b"packed files")
        assert found.info_last == info_last


def test_only_the_ends_of_a_large_file_are_fetched() -> None:
    """The directory, the info member and the headers; the info member at once."""
    large = zipped(FILES[0], (FILES[1][0], bytes(range(256)) * 20_000), (FILES[2][0], bytes(range(256)) * 2000))
    asked: list[tuple[int, int]] = []
    found = parts(large, asked)
    assert found.info == bytes(range(256)) * 2000
    assert sum(end - start for start, end in asked) < 512_000 + 3 * 65536
    assert len(asked) <= 4


def test_a_zip64_member_is_read() -> None:
    """Some programs write the sizes of a member that way."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in FILES:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(data)
    assert parts(buffer.getvalue()).info == b"packed info"


def resealed(data: bytes, extra: bytes, at: int) -> bytes:
    """The zip with bytes put in somewhere, and a directory that knows where everything is now."""
    end = bytearray(data[-22:])
    offset = struct.unpack_from("<I", end, 16)[0]
    struct.pack_into("<I", end, 16, offset + len(extra))
    directory = bytearray(data[offset:-22])
    position = 0
    while position < len(directory):
        (where,) = struct.unpack_from("<I", directory, position + 42)
        struct.pack_into("<I", directory, position + 42, where + (len(extra) if where >= at else 0))
        lengths = struct.unpack_from("<3H", directory, position + 28)
        position += 46 + sum(lengths)
    return data[:at] + extra + data[at:offset] + bytes(directory) + bytes(end)


HIDDEN = zipped((f"info-{STEM}.tar.zst", b"another info"))[:-22]
SECOND = PLAIN.index(b"PK\x03\x04", 4)
DIRECTORY = PLAIN.index(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it doesn't end as a zip file does"),
        (PLAIN[:-1], "it doesn't end as a zip file does"),
        (PLAIN + b"\0", "it doesn't end as a zip file does"),
        (PLAIN[: len(PLAIN) // 2], "it doesn't end as a zip file does"),
        (PLAIN[:-2] + b"\x01\x00", None),
        (HIDDEN + PLAIN, "there are bytes that belong to none of its members"),
        (resealed(PLAIN, HIDDEN, 0), "there are bytes that belong to none of its members"),
        (resealed(PLAIN, HIDDEN, SECOND), "there are bytes that belong to none of its members"),
        (resealed(PLAIN, HIDDEN, DIRECTORY), "there are bytes between its members and their directory"),
        (
            zipped(*FILES[:2]),
            (
                "its members are 'metadata.json', 'pkg-app-1.0-0.tar.zst', "
                "expected metadata.json, info-app-1.0-0.tar.zst, pkg-app-1.0-0.tar.zst"
            ),
        ),
        (
            zipped(*FILES, ("info-app-1.0-0.tar.zst.bak", b"")),
            (
                "its members are 'info-app-1.0-0.tar.zst', 'info-app-1.0-0.tar.zst.bak', 'metadata.json', "
                "'pkg-app-1.0-0.tar.zst', expected metadata.json, info-app-1.0-0.tar.zst, pkg-app-1.0-0.tar.zst"
            ),
        ),
        (
            conda(GOOD, stem="other-1.0-0"),
            (
                "its members are 'info-other-1.0-0.tar.zst', 'metadata.json', 'pkg-other-1.0-0.tar.zst', "
                "expected metadata.json, info-app-1.0-0.tar.zst, pkg-app-1.0-0.tar.zst"
            ),
        ),
        (zipped(*FILES, method=zipfile.ZIP_DEFLATED), "its member metadata.json is not simply stored"),
        (
            PLAIN.replace(b"info-app", b"info-bpp", 1),
            "its member info-app-1.0-0.tar.zst has two headers that disagree",
        ),
        (PLAIN.replace(b"packed info", b"packed lies"), "the bytes of info-app-1.0-0.tar.zst don't have its checksum"),
        (
            zipped(*((f"{n}", b"") for n in range(200))),
            "its zip directory is larger than that of three members",
        ),
    ],
)
def test_a_zip_that_programs_may_read_differently_is_refused(data: bytes, message: str | None) -> None:
    """Hidden, doubled, renamed or packed members, comments, and bytes around them."""
    said = refusal_of_zip(data)
    assert message is None or said == f"app-1.0-0.conda: {message}"


def test_two_members_of_one_name_are_refused() -> None:
    """Programs disagree about which one counts."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(*FILES, FILES[2])
    assert refusal_of_zip(data).startswith("app-1.0-0.conda: its members are 'info-app-1.0-0.tar.zst', 'info-app")


# --- metadata ---------------------------------------------------------------------------------------------------------


def described(*pairs: tuple[str, bytes]) -> list[bytes]:
    return [zst(tar(pairs))]


def test_metadata_of_several_distributions() -> None:
    """From METADATA, PKG-INFO, or the old single file; what isn't asked for is left."""
    chunks = described(
        ("site-packages/other-1.0.dist-info/METADATA", b"other"),
        ("site-packages/app-1.0.dist-info/METADATA", b"app"),
        ("site-packages/lib-1.0-py3.8.egg-info/PKG-INFO", b"lib"),
        ("lib/python3.8/site-packages/old.name-1.0.egg-info", b"old"),
    )
    old = parse_name("old-name")
    assert metadata(record(), [APP, LIB, old], chunks) == {APP: b"app", LIB: b"lib", old: b"old"}


def test_the_environment_s_own_metadata_counts_before_a_vendored_one() -> None:
    """In whichever order they come; where there is only a vendored one, that."""
    chunks = described(
        ("site-packages/pip/_vendor/app-0.9.dist-info/METADATA", b"vendored"),
        ("site-packages/pip/_vendor/lib-0.9.dist-info/METADATA", b"vendored"),
        ("site-packages/app-1.0.dist-info/METADATA", b"own"),
        ("site-packages/pip/_vendor/app-0.8.dist-info/METADATA", b"vendored"),
    )
    assert metadata(record(), [APP, LIB], chunks) == {APP: b"own", LIB: b"vendored"}


def test_reading_stops_when_all_metadata_was_found() -> None:
    """What follows is not asked for."""

    def chunks() -> Iterator[bytes]:
        yield from described(("site-packages/app-1.0.dist-info/METADATA", b"own"), ("x", bytes(100_000)))
        raise AssertionError

    assert metadata(record(), [APP], chunks()) == {APP: b"own"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "it has no metadata of app, lib"),
        ((("site-packages/app-1.0.dist-info/METADATA", b""),), "it has no metadata of lib"),
        (
            (("site-packages/app-1.0.dist-info/METADATA", bytes(1024 * 1024 + 1)),),
            "its member 'site-packages/app-1.0.dist-info/METADATA' has 1048577 bytes, at most 1048576 are read",
        ),
        ((("../x", b""),), "its member '../x' is no path inside a package"),
        (
            (("info/paths.json", b""),),
            "its pkg member has info/paths.json, which belongs into its info member",
        ),
    ],
)
def test_metadata_that_is_not_there_is_an_error(members: tuple[tuple[str, bytes], ...], message: str) -> None:
    """Nothing is made up."""
    with pytest.raises(IntegrityError) as caught:
        metadata(record(), [LIB, APP], described(*members))
    assert str(caught.value) == f"app-1.0-0.conda: {message}"


def test_metadata_that_is_a_link_is_refused() -> None:
    """It could point anywhere."""
    data = zst(tar_of([(linked("site-packages/app-1.0.dist-info/METADATA", tarfile.SYMTYPE), b"")]))
    with pytest.raises(IntegrityError, match="is not a regular file"):
        metadata(record(), [APP], [data])


def test_a_package_that_unpacks_out_of_proportion_has_no_metadata() -> None:
    """A bomb before the metadata stops at the limit."""
    data = zst_bomb(announced("lib/zeros", 10 << 30), 256)
    with pytest.raises(IntegrityError) as caught:
        metadata(record(), [APP], [data])
    assert str(caught.value) == "app-1.0-0.conda: it unpacks to more than 50 times its size"
