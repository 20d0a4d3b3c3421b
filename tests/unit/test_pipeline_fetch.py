"""What a verdict's files are, what becomes of a folder, and what a package says of itself: without any server."""

import hashlib
from pathlib import Path
from typing import BinaryIO

import conda_archives
import policy_samples
import pytest
from fakes_store import MemoryStore
from msgspec.structs import replace
from report_samples import ALLOWED, LINUX, conda, judged

from quarantine.adapters.local_store import write_file
from quarantine.archive.conda_index import index_text
from quarantine.errors import IntegrityError, UpstreamError, UsageError
from quarantine.exceptions import Grants
from quarantine.model import CheckResult, Digest, Item, PackageFile, Verdict
from quarantine.pipeline.fetch import FetchPorts, Wanted, fetch, fetched_files, requirements
from quarantine.ports import Tell


def of(*items: Item) -> CheckResult:
    """An allowed verdict over these."""
    return replace(ALLOWED, items=tuple(map(judged, items)))


# --- which files ------------------------------------------------------------------------------------------------------


def test_the_files_of_a_verdict_are_its_wheels_and_packages() -> None:
    """Wheels by their names, packages in a channel; images and source distributions are none."""
    source = replace(policy_samples.wheel("demo"), filename="demo-1.0.tar.gz", tags=frozenset())
    demo = policy_samples.item("demo", artifacts=(policy_samples.wheel("demo"), source))
    python = conda("python", "3.11.9")
    assert python.record is not None

    found = fetched_files(of(demo, python), Grants())

    assert [(one.place, one.upstream, one.granted, one.owned) for one in found] == [
        (f"channel/{python.record.subdir}/{python.record.filename}", python.record.upstream, False, True),
        ("demo-1.0-py3-none-any.whl", "pypi", False, True),
    ]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            [policy_samples.item("demo", artifacts=())],
            "pkg:pypi/demo@1.0 has no wheel with a sha256: it can't be installed without its index",
        ),
        (
            [policy_samples.item("demo", artifacts=(policy_samples.wheel("demo", digest=None),))],
            "pkg:pypi/demo@1.0 has no wheel with a sha256: it can't be installed without its index",
        ),
        (
            [
                policy_samples.item(
                    "demo", artifacts=(replace(policy_samples.wheel("demo"), filename="../demo-1.0-py3-none-any.whl"),)
                )
            ],
            "pkg:pypi/demo@1.0: '../demo-1.0-py3-none-any.whl' is no name that a file may have",
        ),
    ],
)
def test_a_file_that_can_t_be_fetched_as_a_whole_is_told(items: list[Item], said: str) -> None:
    """Before anything is fetched."""
    with pytest.raises(UpstreamError) as error:
        fetched_files(of(*items), Grants())

    assert str(error.value) == said


def test_two_packages_of_one_name_are_two_environments() -> None:
    """An installer can be given one of them."""
    one, other = policy_samples.item("demo", "1.0"), policy_samples.item("demo", "2.0")
    twin = policy_samples.item("demo", artifacts=(policy_samples.wheel("demo", digest="2" * 64),))

    with pytest.raises(UsageError) as error:
        requirements(of(one, other), "quarantine 1")
    assert str(error.value) == "demo stands in the verdict twice: fetch for one target at a time (--target)"
    with pytest.raises(UsageError) as error:
        fetched_files(of(one, twin), Grants())
    assert str(error.value) == "demo-1.0-py3-none-any.whl would be two files: fetch for one target at a time (--target)"


def test_nothing_is_fetched_of_what_is_not_allowed() -> None:
    """Whoever asks."""
    with pytest.raises(UsageError):
        fetched_files(replace(ALLOWED, verdict=Verdict.DENIED), Grants())


def test_the_list_for_pip() -> None:
    """Each package once, with the digests of all its wheels; none where there is no Python package."""
    wheels = (policy_samples.wheel("demo"), policy_samples.wheel("demo", digest="2" * 64, platform="linux_x86_64"))

    assert requirements(of(policy_samples.item("demo", artifacts=wheels)), "quarantine 1") == (
        b"# Written by quarantine 1 beside the files that it names, all of which were judged. Don't edit it.\n"
        b"demo==1.0 \\\n    --hash=sha256:" + b"1" * 64 + b" \\\n    --hash=sha256:" + b"2" * 64 + b"\n"
    )
    assert requirements(of(conda("python", "3.11.9")), "quarantine 1") is None
    assert LINUX.conda_subdir == "linux-64"


# --- the folder -------------------------------------------------------------------------------------------------------

DATA = b"the bytes of a wheel"


def wanted(name: str = "demo-1.0-py3-none-any.whl", data: bytes = DATA, *, owned: bool = True) -> Wanted:
    """A file of these bytes."""
    digest = Digest.sha256(hashlib.sha256(data).hexdigest())
    file = PackageFile(filename=name, digest=digest, size=len(data), upload_time=None, url="https://example.org/x")
    return Wanted(place=name, upstream="pypi", file=file, granted=True, owned=owned)


class Source:
    """A `FileSource` that has one file's bytes for whatever is asked."""

    def fetch(self, upstream: str, file: PackageFile, to: BinaryIO, max_bytes: int, tell: Tell) -> int:
        to.write(DATA)
        return len(DATA)

    def provenance(self, upstream: str, url: str, tell: Tell) -> bytes | None:
        return None


def ports(store: MemoryStore) -> FetchPorts:
    return FetchPorts(store=store, source=Source, write=write_file)


def silent(_: str) -> None:
    """Progress for nobody."""


def test_a_file_that_is_approved_and_not_published_yet_comes_from_its_owner(tmp_path: Path) -> None:
    """The mirror is asked first; what only the mirror can have is an error then."""
    store = MemoryStore()
    done = fetch([wanted()], tmp_path / "got", None, ports(store), silent)
    with pytest.raises(UpstreamError):
        fetch([wanted(owned=False)], tmp_path / "other", None, ports(store), silent)

    assert (done.files, done.bytes, done.kept) == (1, len(DATA), 0)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["demo-1.0-py3-none-any.whl"]
    assert list((tmp_path / "other").iterdir()) == []


def test_a_file_of_the_mirror_that_is_wrong_leaves_nothing(tmp_path: Path) -> None:
    """Its digest is held to it, and its length."""
    store = MemoryStore()
    digest = store.put("files", DATA)
    store.stored["files", digest] = DATA[:-1] + b"?"
    with pytest.raises(IntegrityError):
        fetch([wanted()], tmp_path, None, ports(store), silent)
    store.stored["files", digest] = DATA
    longer = wanted()
    with pytest.raises(IntegrityError) as error:
        fetch([replace(longer, file=replace(longer.file, size=3))], tmp_path, None, ports(store), silent)

    assert str(error.value) == "demo-1.0-py3-none-any.whl: the mirror has 20 bytes of it, expected 3"
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_run_left_is_taken_away(tmp_path: Path) -> None:
    """A run that was killed has a folder of its own for what wasn't whole."""
    left = tmp_path / ".quarantine-fetch-abc"
    left.mkdir()
    (left / "0").write_bytes(b"half")

    fetch([wanted()], tmp_path, b"# list\n", ports(MemoryStore()), silent)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo-1.0-py3-none-any.whl", "requirements.txt"]


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        (None, "holds 'requirements.txt', which is nothing of this lock: name a new folder, or an empty one"),
        (
            b"# Written by quarantine 1\n",
            "holds a requirements.txt that quarantine didn't write: name a new folder, or an empty one",
        ),
    ],
)
def test_a_list_that_somebody_else_wrote_is_not_taken_for_ours(
    tmp_path: Path, listing: bytes | None, said: str
) -> None:
    """Whoever installs from the folder would be given it, or its owner would lose it."""
    (tmp_path / "requirements.txt").write_bytes(b"evil==1.0\n")

    with pytest.raises(UsageError) as error:
        fetch([wanted()], tmp_path, listing, ports(MemoryStore()), silent)

    assert str(error.value) == f"{tmp_path} {said}"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"requirements.txt": b"evil==1.0\n"}


def test_a_list_of_an_earlier_run_is_written_again_and_never_left_behind(tmp_path: Path) -> None:
    """It is what this run says; where it says nothing, the old one would be taken for its own."""
    fetch([wanted()], tmp_path, b"# Written by quarantine 1\n", ports(MemoryStore()), silent)
    fetch([wanted()], tmp_path, b"# Written by quarantine 2\n", ports(MemoryStore()), silent)
    assert (tmp_path / "requirements.txt").read_bytes() == b"# Written by quarantine 2\n"

    with pytest.raises(UsageError) as error:
        fetch([wanted()], tmp_path, None, ports(MemoryStore()), silent)

    assert str(error.value) == (
        f"{tmp_path} holds 'requirements.txt', which is nothing of this lock: name a new folder, or an empty one"
    )


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    """It may lead anywhere: what it is called doesn't count."""
    folder = tmp_path / "got"
    folder.mkdir()
    (folder / "demo-1.0-py3-none-any.whl").symlink_to("/etc/passwd")

    with pytest.raises(UsageError) as error:
        fetch([wanted()], folder, None, ports(MemoryStore()), silent)

    assert str(error.value) == (
        f"{folder}/demo-1.0-py3-none-any.whl is neither a file nor a folder: name a new folder, or an empty one"
    )


def test_a_folder_that_can_t_be_is_bad_input(tmp_path: Path) -> None:
    """Its parent must be there, and it must not be a file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError) as error:
        fetch([wanted()], tmp_path / "none/got", None, ports(MemoryStore()), silent)
    assert str(error.value) == f"there is no folder '{tmp_path}/none': make it first"
    with pytest.raises(UsageError) as error:
        fetch([wanted()], tmp_path / "file", None, ports(MemoryStore()), silent)
    assert str(error.value) == f"{tmp_path}/file can't be a folder: file exists"


# --- a package's own index --------------------------------------------------------------------------------------------


def said(data: bytes, filename: str) -> str:
    """What a package of these bytes says it is."""
    return index_text(filename, len(data), lambda start, end: data[start:end])


def test_a_package_s_own_index_of_both_formats() -> None:
    """Read out of the archive, as text."""
    members = conda_archives.info("lib/x")
    text = conda_archives.index_json().decode()

    assert (
        said(conda_archives.conda(conda_archives.tar(members), conda_archives.tar({"lib/x": b""})), "app-1.0-0.conda")
        == text
    )
    assert said(conda_archives.tar_bz2({**members, "lib/x": b""}), "app-1.0-0.tar.bz2") == text


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("info/files", b"")], "it has 0 files info/index.json, expected one"),
        ([("info/index.json", b"{}"), ("info/INDEX.json", b"{}")], "it has 2 files info/index.json, expected one"),
        ([("info/index.json", b"\xff")], "its info/index.json is no text in UTF-8"),
    ],
)
def test_a_package_that_doesn_t_say_what_it_is_is_refused(members: list[tuple[str, bytes]], why: str) -> None:
    """Nor one that says it twice."""
    data = conda_archives.conda(conda_archives.tar(members))

    with pytest.raises(IntegrityError) as error:
        said(data, "app-1.0-0.conda")

    assert str(error.value) == f"app-1.0-0.conda: {why}"
