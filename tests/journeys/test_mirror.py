"""The private mirror as those use it who install from it: real pip, uv and py-rattler, through `mirror serve` and `mirror fetch`."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import sleep

import pytest
from channels import CondaChannel
from house import NOW, House
from mirror_samples import Bytes, Mirror, package, wheel
from network import require_index, surroundings
from servers import Answer
from uv import find_uv_bin

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.adapters.mirror_server import MirrorServer
from quarantine.adapters.uv import default_index_url
from quarantine.archive.conda_index import index_text
from quarantine.cli.mirror import serve_clock
from quarantine.cli.session import Session
from quarantine.pipeline.serve import MirrorShelves

SOLVE = """\
import asyncio, json, os, sys
import rattler
from rattler.exceptions import SolverError
async def main(channel, prefix, cache):
    gateway = rattler.Gateway(cache_dir=cache)
    try:
        records = await rattler.solve(
            [rattler.Channel(channel)], [rattler.MatchSpec("tool")], gateway=gateway,
            platforms=[rattler.Subdir("linux-64"), rattler.Subdir("noarch")],
        )
    except SolverError as error:
        print(json.dumps({"failed": str(error)}))
        return
    await rattler.install(records, target_prefix=prefix, cache_dir=cache)
    print(json.dumps([[r.name.normalized, str(r.version), r.url, r.sha256.hex()] for r in records]))
asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(params=["local", "blobs"])
def mirror(request: pytest.FixtureRequest, home: House) -> Mirror:
    """An empty mirror: in the project's own store, or in private containers."""
    if request.param == "local":
        return local(home)
    from quarantine.adapters.blob_log import BlobLog
    from quarantine.adapters.blob_store import BlobStore

    account = request.getfixturevalue("azurite").storage()
    blobs = BlobStore(account)
    return Mirror(log=BlobLog(account), store=blobs, pages=blobs)


def local(home: House) -> Mirror:
    """The project's own store."""
    store = LocalStore(home.folder / ".quarantine")
    return Mirror(log=LocalLog(home.folder / ".quarantine" / "log"), store=store, pages=store)


class Clock:
    """A time that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def served(mirror: Mirror, project: str = "demo", clock: Clock | None = None) -> Iterator[str]:
    """The mirror on loopback; its address."""
    shelves = MirrorShelves(
        log=mirror.log,
        store=mirror.store,
        pages=mirror.pages,
        policy=lambda _state, _now: mirror.policy,
        project=project,
        stage="development",
        local=True,
        now=clock or Clock(),
    )
    with MirrorServer(shelves, 0, lambda _: None) as server:
        yield server.origin


def run(*argv: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that reads no configuration of this machine's."""
    env = {
        "PATH": os.environ["PATH"],  # noqa: TID251  # what the child needs to start
        "HOME": str(cwd),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
        **variables,
    }
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def pip(*argv: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Real pip, which asks nothing but what it is told to."""
    options = ("--disable-pip-version-check", "--no-cache-dir", "--isolated")
    return run(sys.executable, "-m", "pip", argv[0], *options, *argv[1:], cwd=cwd, **variables)


def uv(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Real uv."""
    return run(os.fsdecode(find_uv_bin()), *argv, "--no-config", "--cache-dir", str(cwd / "uv-cache"), cwd=cwd)


def rattler(channel: str, folder: Path) -> object:
    """What real py-rattler solves and installs from a channel."""
    done = run(sys.executable, "-c", SOLVE, channel, str(folder / "prefix"), str(folder / "rattler-cache"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def conda_package(folder: Path) -> Bytes:
    """A package with one file in it, as a channel would list it."""
    with CondaChannel(folder=folder / "built") as channel:
        channel.add("tool", "1.0", subdir="linux-64", files={"share/tool.txt": b"hello"})
        data = (folder / "built/linux-64/tool-1.0-0.conda").read_bytes()

    def read(start: int, end: int) -> bytes:
        return data[start:end]

    filename = "tool-1.0-0.conda"
    return package(data, filename, index_text(filename, len(data), read), subdir="linux-64")


ACME = wheel("acme-lib", "1.0", requires=["acme-base>=0.5"])
BASE = wheel("acme-base", "0.9")


def test_pip_uv_and_rattler_install_what_is_approved_and_nothing_after_it_is_revoked(
    mirror: Mirror, tmp_path: Path
) -> None:
    """Each of them, from the mirror alone; for another project there is nothing, and after the revocation for nobody."""
    tool = conda_package(tmp_path)
    exception = mirror.published(ACME, BASE, tool)
    clock = Clock()
    with served(mirror, clock=clock) as origin:
        index = ("--index-url", f"{origin}/simple/")
        done = pip("install", *index, "--target", "by-pip", "acme-lib", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in (tmp_path / "by-pip").glob("*.dist-info")) == [
            "acme_base-0.9.dist-info",
            "acme_lib-1.0.dist-info",
        ]
        by_uv = ("pip", "install", "--python", sys.executable, "--default-index", f"{origin}/simple/")
        done = uv(*by_uv, "--target", "by-uv", "acme-lib", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "by-uv/acme_lib.py").is_file()
        assert rattler(f"{origin}/conda", tmp_path) == [
            ["tool", "1.0", f"{origin}/conda/linux-64/tool-1.0-0.conda", tool.file.sha256]
        ]
        assert (tmp_path / "prefix/share/tool.txt").read_bytes() == b"hello"

        with served(mirror, project="another") as elsewhere:
            done = pip("download", "--index-url", f"{elsewhere}/simple/", "acme-lib", cwd=tmp_path)
            assert "No matching distribution found for acme-lib" in done.stderr

        mirror.revoke(exception)
        clock.now += timedelta(seconds=4)
        done = pip("download", *index, "--no-deps", "acme-lib", cwd=tmp_path)
        assert "No matching distribution found for acme-lib" in done.stderr
        done = uv(*by_uv, "--target", "again", "--reinstall", "--refresh", "acme-lib", cwd=tmp_path)
        assert "acme-lib was not found" in done.stderr
        shutil.rmtree(tmp_path / "rattler-cache")
        failed = rattler(f"{origin}/conda", tmp_path)
        assert isinstance(failed, Mapping)
        assert "No candidates were found for tool" in failed["failed"]


def test_the_flat_page_serves_beside_an_index(home: House, tmp_path: Path) -> None:
    """With --find-links, pip and uv take the approved version beside those that the index has, for a name that it owns."""
    mirror = local(home)
    home.index.add("acme-lib", "2.0")
    mirror.published(wheel("acme-lib", "1.0"))
    with served(mirror) as origin:
        options = ("--index-url", home.index.url, "--find-links", f"{origin}/links/")
        for version in ("1.0", "2.0"):
            done = pip("download", *options, "--no-deps", "-d", "got", f"acme-lib=={version}", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        done = uv(
            "pip", "install", "--python", sys.executable, "--default-index", home.index.url, "--find-links",
            f"{origin}/links/", "--target", "by-uv", "acme-lib<2", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [
        "acme_lib-1.0-py3-none-any.whl",
        "acme_lib-2.0-py3-none-any.whl",
    ]
    assert (tmp_path / "by-uv/acme_lib-1.0.dist-info").is_dir()


@pytest.mark.network
def test_pip_of_a_stable_debian_installs_from_both_pages(home: House, tmp_path: Path) -> None:
    """Version 23.0.1 breaks off at a mapping under the old name of core metadata, so that no page has that name (PEP 714)."""
    require_index(tmp_path / "uv")
    url = default_index_url(tmp_path / "uv")
    done = pip("download", "--index-url", url, "--no-deps", "pip==23.0.1", cwd=tmp_path, **surroundings())
    assert done.returncode == 0, done.stderr
    local(home).published(ACME, BASE)
    with served(local(home)) as origin:
        for folder, where in (
            ("simple", ("--index-url", f"{origin}/simple/")),
            ("links", ("--no-index", "--find-links", f"{origin}/links/")),
        ):
            done = run(
                sys.executable, "pip-23.0.1-py3-none-any.whl/pip", "install", "--disable-pip-version-check",
                "--no-cache-dir", "--isolated", *where, "--target", folder, "acme-lib", cwd=tmp_path,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert sorted(path.name for path in (tmp_path / folder).glob("*.dist-info")) == [
                "acme_base-0.9.dist-info",
                "acme_lib-1.0.dist-info",
            ]


def test_a_file_whose_bytes_were_changed_in_the_store_is_never_whole(home: House, tmp_path: Path) -> None:
    """The connection ends before its end, so that pip keeps nothing; `mirror verify` names the file."""
    mirror = local(home)
    mirror.published(BASE)
    stored = home.folder / ".quarantine/files/sha256" / BASE.file.sha256
    stored.chmod(0o600)
    stored.write_bytes(BASE.data[:-1] + b"x")
    with served(mirror) as origin:
        done = pip("download", "--retries", "0", "--index-url", f"{origin}/simple/", "acme-base", cwd=tmp_path)
    verified = home.run("mirror", "verify")

    assert done.returncode != 0
    assert list(tmp_path.glob("*.whl")) == []
    assert verified.status == 3
    assert f"error: a page names the file {BASE.file.sha256}, which isn't there" in verified.err


def test_serve_prints_what_pip_uv_and_conda_are_told_and_ends_by_ctrl_c(home: House) -> None:
    """The command itself, in a process of its own: it can be asked as soon as it has said where, and ends with status 0."""
    local(home).published(BASE)
    process = subprocess.Popen(
        [sys.executable, "-m", "quarantine", "mirror", "serve"],
        cwd=home.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},  # noqa: TID251  # what the child needs
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(8)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    found = re.search(r"http://127\.0\.0\.1:[0-9]+", "".join(lines))
    assert found is not None, err
    origin = found[0]

    assert "".join(lines) + out == (
        "beside the index that is configured:\n"
        f"  pip    PIP_FIND_LINKS={origin}/links/\n"
        f"  uv     UV_FIND_LINKS={origin}/links/\n"
        f"  conda  conda install -c {origin}/conda NAME\n"
        "the mirror alone:\n"
        f"  pip    PIP_INDEX_URL={origin}/simple/\n"
        f"  uv     UV_DEFAULT_INDEX={origin}/simple/\n"
        f"  conda  conda install --override-channels -c {origin}/conda NAME\n"
    )
    assert (process.returncode, err) == (
        0,
        "serving 1 file of project demo in stage development: Ctrl-C ends it\nended\n",
    )


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock of this system counts what it sleeps")
def test_the_server_s_time_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that ended while it was suspended is over when it wakes up."""
    since_boot = [100.0]
    monkeypatch.setattr(time, "clock_gettime", lambda kind: {time.CLOCK_BOOTTIME: since_boot[0]}[kind])
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    now = serve_clock(Session(NOW, {}))
    since_boot[0] += 8 * 60 * 60

    assert now() == NOW + timedelta(hours=8)


# --- fetch ------------------------------------------------------------------------------------------------------------


def locked(home: House, *lines: str) -> str:
    """A list of hashed requirements in the project; its name."""
    home.write("requirements.txt", "".join(f"{line}\n" for line in lines))
    return "requirements.txt"


def pinned(entry: Bytes) -> str:
    """The line that pins a file."""
    return f"{entry.file.name}=={entry.file.version} --hash=sha256:{entry.file.sha256}"


def prepare(home: House, *files: Bytes) -> Mirror:
    """A project with a fresh advisory database, in whose mirror the files are for development and production."""
    home.advise()
    mirror = local(home)
    for stage in ("development", "production"):
        mirror.published(*files, stage=stage)
    return mirror


def test_a_lock_is_fetched_from_the_mirror_and_from_its_owners_and_pip_installs_it_offline(home: House) -> None:
    """The closure lies in the folder with its list, and pip needs no index for it; a second run fetches nothing."""
    public = home.index.add("public-lib", "3.0")
    prepare(home, ACME, BASE)
    lock = locked(home, pinned(ACME), pinned(BASE), f"public-lib==3.0 --hash=sha256:{public.sha256}")
    home.index.asked.clear()

    ran = home.run("mirror", "fetch", "--lock", lock, "--to", "wheels")
    assert (ran.status, ran.err) == (
        0,
        "install: pip install --no-index --find-links wheels --require-hashes -r wheels/requirements.txt\n",
    )
    assert ran.out == "3 files, 0.0 MiB in wheels\n"
    wheels = home.folder / "wheels"
    assert sorted(path.name for path in wheels.iterdir()) == [
        "acme_base-0.9-py3-none-any.whl",
        "acme_lib-1.0-py3-none-any.whl",
        "public_lib-3.0-py3-none-any.whl",
        "requirements.txt",
    ]
    assert [path for path in home.index.paths() if path.endswith(".whl")] == ["/files/public_lib-3.0-py3-none-any.whl"]
    done = pip(
        "install", "--no-index", "--find-links", "wheels", "--require-hashes", "-r", "wheels/requirements.txt",
        "--target", "site", cwd=home.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (home.folder / "site").glob("*.dist-info")) == [
        "acme_base-0.9.dist-info",
        "acme_lib-1.0.dist-info",
        "public_lib-3.0.dist-info",
    ]
    again = home.run("mirror", "fetch", "--lock", lock, "--to", "wheels")
    assert again.out == "3 files, 0.0 MiB, 3 of them there before in wheels\n"


def test_nothing_is_fetched_of_a_lock_that_is_denied(home: House) -> None:
    """After the revocation the verdict is told, the status is its own, and there is no folder."""
    mirror = prepare(home, BASE)
    lock = locked(home, pinned(BASE))
    for exception in mirror.state().cases:
        mirror.revoke(exception)

    ran = home.run("mirror", "fetch", "--lock", lock, "--to", "wheels")

    assert ran.status == 1
    assert ran.err == "error: nothing was fetched: the lock is not allowed now\n"
    assert "acme-base 0.9" in ran.out
    assert not (home.folder / "wheels").exists()


def test_under_another_policy_than_the_expected_one_nothing_is_asked_and_nothing_fetched(home: House) -> None:
    """As of a check: undecided and recorded, and under the one that is expected it is fetched."""
    prepare(home, BASE)
    lock = locked(home, pinned(BASE))
    digest = home.check(lock).json["policy"]["sha256"]
    fetching = ("mirror", "fetch", "--lock", lock, "--to", "wheels", "--expect-policy")
    home.index.asked.clear()

    other = home.run(*fetching, "0" * 64)
    asked, there = [*home.index.asked], (home.folder / "wheels").exists()
    expected = home.run(*fetching, f"sha256:{digest.upper()}")

    assert (other.status, other.err) == (3, "error: nothing was fetched: the lock is not allowed now\n")
    assert f"the policy in force is {digest}, expected {'0' * 64}" in " ".join(other.out.split())
    assert (asked, there) == ([], False)
    assert '"reasons":[{"outcome":"fail","rule":"policy"}]' in home.run("audit", "export").out
    assert (expected.status, expected.out) == (0, "1 file, 0.0 MiB in wheels\n")


@pytest.mark.parametrize(
    ("name", "data", "status", "said"),
    [
        ("notes.txt", b"mine", 2, "wheels holds 'notes.txt', which is nothing of this lock: name a new folder, or an empty one"),
        (
            "acme_base-0.9-py3-none-any.whl",
            b"other bytes",
            3,
            ("wheels/acme_base-0.9-py3-none-any.whl is there with other bytes than were judged: stop and look who changed "
            "it, or take it away"),
        ),
        (
            "requirements.txt",
            b"evil==1.0",
            2,
            "wheels holds a requirements.txt that quarantine didn't write: name a new folder, or an empty one",
        ),
    ],
)  # fmt: skip
def test_a_folder_with_anything_else_in_it_is_left_alone(
    home: House, name: str, data: bytes, status: int, said: str
) -> None:
    """A foreign file is bad input, other bytes under the name of one of the lock are an error; both stay as they are."""
    prepare(home, BASE)
    home.write(f"wheels/{name}", data)

    ran = home.run("mirror", "fetch", "--lock", locked(home, pinned(BASE)), "--to", "wheels")

    assert (ran.status, ran.err) == (status, f"error: {said}\n")
    assert {path.name: path.read_bytes() for path in (home.folder / "wheels").iterdir()} == {name: data}


def test_a_file_that_comes_with_other_bytes_leaves_nothing(home: House) -> None:
    """The owner's server gives what it didn't list: the run ends with an error, and no file and no list is there."""
    public = home.index.add("public-lib", "3.0")
    home.advise()
    lock = locked(home, f"public-lib==3.0 --hash=sha256:{public.sha256}")
    home.index.always(f"/files/{public.filename}", Answer(body=public.data[:-1] + b"x"))

    ran = home.run("mirror", "fetch", "--lock", lock, "--to", "wheels")

    assert (ran.status, ran.err) == (
        3,
        "error: public_lib-3.0-py3-none-any.whl: its bytes don't have the sha256 that pypi lists for it\n",
    )
    assert list((home.folder / "wheels").iterdir()) == []


def test_what_is_missing_in_the_mirror_is_put_back_by_index(home: House) -> None:
    """Pages that were lost or changed are made anew from the log, the bytes from the holding area; then all is as before."""
    mirror = prepare(home, ACME, BASE)
    before = mirror.contents()
    shutil.rmtree(home.folder / ".quarantine/pages/simple/acme-lib")
    mirror.pages.swap("simple/index.html", b"nothing", "text/html", _tag(mirror, "simple/index.html"))
    mirror.store.remove("files", BASE.file.digest)

    broken = home.run("mirror", "verify")
    mended = home.run("mirror", "index")
    verified = home.run("mirror", "verify")

    assert broken.status == 3
    assert (mended.status, mended.out) == (0, "2 files of 2 projects and 0 platforms; 3 pages written\n")
    assert (verified.status, verified.out, verified.err) == (
        0,
        "2 files and 2 core metadata of them, 0.0 MiB, hashed; 0 on no page; 0 problems\n",
        "",
    )
    assert mirror.contents() == before


def _tag(mirror: Mirror, name: str) -> str:
    page = mirror.pages.page(name)
    assert page is not None
    return page.tag


def test_a_conda_lock_is_fetched_as_a_channel(home: House, tmp_path: Path) -> None:
    """Its packages lie in a channel of their own, from which rattler installs without any network."""
    with CondaChannel(folder=home.folder / "public") as channel:
        digest = channel.add("tool", "1.0", subdir="linux-64", files={"share/tool.txt": b"hello"})
        channel.index()
        home.channels = {"forge": channel.url}
        home.advise()
        home.write("environment.yml", f"name: x\nchannels: [{channel.url}]\ndependencies: [tool]\n")
        ran = home.run("check", "environment.yml", "--lock", "conda-lock.yml", "--stage", "development")
        assert ran.status == 0, ran.out
        ran = home.run("mirror", "fetch", "--lock", "conda-lock.yml", "--to", "files", "--stage", "development")
        assert ran.status == 0, ran.err + ran.out
    assert (
        digest.hex == hashlib.sha256((home.folder / "files/channel/linux-64/tool-1.0-0.conda").read_bytes()).hexdigest()
    )
    assert sorted(
        path.relative_to(home.folder / "files").as_posix() for path in (home.folder / "files").rglob("*.*")
    ) == [
        "channel/linux-64/repodata.json",
        "channel/linux-64/tool-1.0-0.conda",
        "channel/noarch/repodata.json",
    ]
    records = rattler((home.folder / "files/channel").as_uri(), tmp_path)
    assert isinstance(records, list)
    assert [record[:2] for record in records] == [["tool", "1.0"]]


def test_fetching_that_is_interrupted_leaves_nothing_half_done(home: House) -> None:
    """Ctrl-C while one file hangs: the other is whole, the rest isn't there, and a later run goes on with it."""
    there, hangs = home.index.add("quick-lib", "1.0"), home.index.add("slow-lib", "1.0")
    home.advise()
    lines = (f"{name}==1.0 --hash=sha256:{file.sha256}" for name, file in (("quick-lib", there), ("slow-lib", hangs)))
    lock = locked(home, *lines)
    home.index.script(f"/files/{hangs.filename}", Answer(hang=True))
    program = (
        "import sys; from datetime import datetime; from quarantine.cli.main import main; "
        f"sys.exit(main(sys.argv[1:], now=datetime.fromisoformat({NOW.isoformat()!r})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "mirror", "fetch", "--lock", lock, "--to", "wheels"],
        cwd=home.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},  # noqa: TID251  # what the child needs
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if f"/files/{hangs.filename}" in home.index.paths() and (home.folder / "wheels" / there.filename).exists():
            break
        sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert (process.returncode, err.strip()) == (130, "interrupted: nothing is left half done")
    assert [path.name for path in (home.folder / "wheels").iterdir()] == [there.filename]
    again = home.run("mirror", "fetch", "--lock", lock, "--to", "wheels")
    assert (again.status, again.out) == (0, "2 files, 0.0 MiB, 1 of them there before in wheels\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["fetch"], "expected --lock LOCK and --to DIR, or --azureml DIR"),
        (["fetch", "--lock", "requirements.txt"], "expected --lock LOCK and --to DIR, or --azureml DIR"),
        (
            ["fetch", "--azureml", "build", "--to", "x"],
            "--azureml names both the lock and the folder: leave out --lock and --to",
        ),
        (["fetch", "--lock", "nothing.txt", "--to", "x"], "nothing.txt: no such file"),
        (
            ["fetch", "--lock", "nothing.txt", "--to", "x", "--expect-policy", ""],
            "--expect-policy '': expected the 64 hexadecimal digits of a sha256",
        ),
        (["serve", "--stage", "nowhere"], "no stage 'nowhere' in the policy: expected development or production"),
    ],
)
def test_what_can_t_be_asked_for_is_said(home: House, argv: list[str], said: str) -> None:
    """Bad input ends with status 2 and a sentence."""
    home.advise()
    ran = home.run("mirror", *argv)

    assert (ran.status, ran.err.splitlines()[0]) == (2, f"error: {said}")
