"""Held files are looked into in a child process that has no network, little memory and little time."""

import hashlib
import json
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from network import require_index, surroundings
from servers import core_metadata, make_wheel
from zips import Part, built

from quarantine.adapters.vetting import Vetting
from quarantine.archive.inspection import CHECKS, Inspection
from quarantine.errors import UpstreamError
from quarantine.exceptions import ExceptionFile
from quarantine.io.confine import Limits
from quarantine.model import Ecosystem, Licences, OutcomeKind, parse_wheel_name

NAME = "app-1.0-py3-none-any.whl"
METADATA = core_metadata("app", "1.0", requires=["lib<2"])
WHEEL = make_wheel("app", "1.0", METADATA)


def held(folder: Path, data: bytes, filename: str = NAME) -> tuple[Path, ExceptionFile]:
    """A file in a folder, under a name that says nothing, and what was asked for."""
    path = folder / "held"
    path.write_bytes(data)
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name="app",
        version="1.0",
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return path, file


def quiet(_: str) -> None:
    """Tells nobody."""


def inspected(folder: Path, data: bytes, vetting: Vetting | None = None, filename: str = NAME) -> Inspection:
    path, file = held(folder, data, filename)
    return (vetting or Vetting()).inspect(path, file, quiet)


def test_a_wheel_is_looked_into(tmp_path: Path) -> None:
    """By a child; what the file is, the parent says itself."""
    path, file = held(tmp_path, WHEEL)
    told: list[str] = []

    found = Vetting().inspect(path, file, told.append)

    assert [(outcome.rule, outcome.kind) for outcome in found.outcomes] == [(rule, OutcomeKind.PASS) for rule in CHECKS]
    assert (found.filename, found.sha256, found.size) == (NAME, file.sha256, len(WHEEL))
    assert (found.metadata, found.requires, found.licences) == (METADATA, ("lib<2",), Licences())
    assert told == [f"looking into {NAME}"]


def test_a_dangerous_pickle_is_found_by_the_child(tmp_path: Path) -> None:
    """Picklescan works under its limits."""
    evil = b"cos\nsystem\n(S'true'\ntR."
    members = {"app/m.pkl": evil, "app-1.0.dist-info/RECORD": b""}
    found = inspected(tmp_path, built(Part(name=name.encode(), data=data) for name, data in members.items()))

    (said,) = [outcome for outcome in found.outcomes if outcome.rule == "pickle"]
    assert (said.kind, said.message) == (
        OutcomeKind.FAIL,
        "'app/m.pkl' calls 'os.system', which can do harm as soon as it is loaded",
    )


def test_other_bytes_are_not_looked_into(tmp_path: Path) -> None:
    """What was swapped since it was fetched has no answer but its digest."""
    path, file = held(tmp_path, WHEEL)
    path.write_bytes(b"other")

    found = Vetting().inspect(path, file, quiet)

    digest = hashlib.sha256(b"other").hexdigest()
    assert (found.sha256, found.size) == (digest, 5)
    assert {outcome.kind for outcome in found.outcomes} == {OutcomeKind.UNKNOWN}
    assert found.outcomes[0].message == (
        f"{NAME} could not be inspected: it has the sha256 {digest}, expected {file.sha256}"
    )


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is missing here, which says nothing about it."""
    path, file = held(tmp_path, WHEEL)
    path.unlink()

    with pytest.raises(UpstreamError, match=r"^held can't be read: no such file or directory$"):
        Vetting().inspect(path, file, quiet)


@pytest.mark.parametrize(
    ("vetting", "why"),
    [
        (Vetting(Limits(seconds=0.01)), f"{Path(sys.executable).name} was stopped: not done within 0.01 s"),
        (Vetting(Limits(output_bytes=10)), f"{Path(sys.executable).name} was stopped: it wrote more than 10 bytes"),
        (Vetting(Limits(cpu_seconds=0)), "it was killed"),
        (Vetting(Limits(memory_bytes=1024 * 1024)), "it needs more memory than is given to it"),
        (Vetting(worker="this"), None),
        (Vetting(worker="no_such_module"), None),
    ],
)
def test_a_child_that_gives_no_answer_has_found_nothing_out(tmp_path: Path, vetting: Vetting, why: str | None) -> None:
    """Too slow, too talkative, killed, out of memory, or out of its mind: unknown, every check of it."""
    found = inspected(tmp_path, WHEEL, vetting)

    assert [(outcome.rule, outcome.kind) for outcome in found.outcomes] == [
        (rule, OutcomeKind.UNKNOWN) for rule in CHECKS
    ]
    said = found.outcomes[0].message
    if why is not None:
        assert said == f"{NAME} could not be inspected: {why}"
    else:
        assert said.startswith(f"{NAME} could not be inspected: it ended with status 1 and said ")


def looked_as(**changes: object) -> dict[str, object]:
    """What a child answers that found everything well, but for these."""
    outcomes = [{"rule": rule, "kind": "pass", "message": "good"} for rule in CHECKS]
    return {"type": "looked", "network": "hook", "found": {"outcomes": outcomes, **changes}}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("nothing", "the child's answer can't be read"),
        ("", "the child's answer can't be read"),
        (json.dumps({"type": "looked"}), "the child's answer can't be read"),
        (json.dumps(looked_as() | {"more": 1}), "the child's answer can't be read"),
        (json.dumps(looked_as(outcomes=[])), "the child's answer leaves checks out"),
        (json.dumps(looked_as(metadata="AAAA" * 400_000)), "the child's answer has metadata that can't be read"),
        (json.dumps({"type": "failed", "why": "tired"}), "tired"),
        (json.dumps(looked_as()), None),
    ],
)
def test_the_childs_word_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, why: str | None
) -> None:
    """Whoever has taken it over can say what it likes, but not what the file is, and not less than every check."""
    (tmp_path / "answer").write_text(answer)
    boot = f"import sys; sys.stdin.read(); print(open({str(tmp_path / 'answer')!r}).read())"
    monkeypatch.setattr("quarantine.io.confine._BOOT", boot)

    first = inspected(tmp_path, WHEEL).outcomes[0]

    expected = (OutcomeKind.PASS, "good")
    if why is not None:
        expected = (OutcomeKind.UNKNOWN, f"{NAME} could not be inspected: {why}")
    assert (first.kind, first.message) == expected


# --- bombs ------------------------------------------------------------------------------------------------------------

GIB = 1024**3
MEASURE = """
import hashlib, resource, sys
from pathlib import Path
from quarantine.adapters.vetting import Vetting
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem
path = Path(sys.argv[1])
file = ExceptionFile(ecosystem=Ecosystem.PYPI, upstream="pypi", name="app", version="1.0", filename=sys.argv[2],
                     sha256=hashlib.sha256(path.read_bytes()).hexdigest())
found = Vetting().inspect(path, file, lambda _: None)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
for outcome in found.outcomes:
    print(outcome.rule, outcome.kind, outcome.message, sep="|")
"""


def zeros(count: int, *, wbits: int = -15) -> bytes:
    """Packed zeros, whole mebibytes of them: the same flushed piece over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + piece * (count // (1 << 20) - 1) + packer.flush()


def measured(folder: Path, data: bytes, filename: str = NAME) -> tuple[int, dict[str, tuple[str, str]]]:
    """The memory that the child had at most, in MiB, and what it found."""
    path = folder / "bomb"
    path.write_bytes(data)
    argv = [sys.executable, "-c", MEASURE, str(path), filename]
    first, *lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    parted = [line.split("|", 2) for line in lines]
    return int(first), {rule: (kind, message) for rule, kind, message in parted}


def test_ten_gibibytes_of_zeros_cost_no_memory(tmp_path: Path) -> None:
    """Said as they are: refused before anything is unpacked."""
    bomb = Part(name=b"app/zeros", method=8, packed=zeros(10 * GIB), size=0xFFFFFFFF, extra=b"\1\0\x08\0" + (10 * GIB).to_bytes(8, "little"), own_size=0xFFFFFFFF, own_stored=0xFFFFFFFF)  # fmt: skip
    memory, found = measured(tmp_path, built([bomb]))

    assert memory < 256
    assert found["archive"][0] == "fail"
    assert found["archive"][1].startswith("it unpacks to 10737418240 bytes, which is more than 50 times its size")


def test_a_lying_bomb_costs_no_memory(tmp_path: Path) -> None:
    """Said to be small: stopped where it is larger than that."""
    bomb = Part(name=b"app-1.0.dist-info/RECORD", data=b"x" * 100, method=8, packed=zeros(10 * GIB))
    memory, found = measured(tmp_path, built([bomb]))

    assert memory < 256
    assert found["archive"] == ("fail", "its member 'app-1.0.dist-info/RECORD' unpacks to more than its 100 bytes")


def test_a_bomb_inside_a_model_costs_no_memory(tmp_path: Path) -> None:
    """A model is a zip file, too: what is in it is read up to a limit."""
    inner = built(
        [Part(name=b"data.txt", method=8, packed=zeros(4 * GIB - (1 << 20)), size=4 * GIB - (1 << 20), crc=0)]
    )
    parts = [Part(name=b"app/m.pt", data=inner), Part(name=b"app-1.0.dist-info/RECORD")]
    memory, found = measured(tmp_path, built(parts))

    assert memory < 256
    assert found["pickle"][0] == "pass"


def test_a_tar_bomb_costs_no_memory(tmp_path: Path) -> None:
    """A source distribution that unpacks to ten gibibytes."""
    memory, found = measured(tmp_path, zeros(10 * GIB, wbits=31), "app-1.0.tar.gz")

    assert memory < 256
    assert found["archive"] == ("fail", "it unpacks to more than 50 times its size")


def test_a_call_behind_many_operations_is_not_missed(tmp_path: Path) -> None:
    """Picklescan would run out of memory before it comes to it, and say that there is nothing."""
    large = b"\x80\x04" + b"N0" * (16 * 1024 * 1024) + b"cos\nsystem\n(S'true'\ntR."
    memory, found = measured(
        tmp_path, built([Part(name=b"app/m.pkl", data=large), Part(name=b"app-1.0.dist-info/RECORD")])
    )

    assert memory < 256
    assert found["pickle"] == (
        "unknown",
        "a pickle could not be read: app/m.pkl (it has more than 1000000 operations)",
    )


# --- confinement ------------------------------------------------------------------------------------------------------

TRY = """
import json, os, socket, subprocess, sys
from quarantine.io.confine import Limits, confine
sender = socket.socket()
known = confine(Limits(memory_bytes=256 * 1024 * 1024))
def tried(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"
port = int(sys.argv[1])
print(json.dumps({
    "network": known,
    "old socket": tried(lambda: sender.connect(("127.0.0.1", port))),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", port), 2)),
    "bind": tried(lambda: socket.socket().bind(("127.0.0.1", 0))),
    "lookup": tried(lambda: socket.getaddrinfo("localhost", 80)),
    "program": tried(lambda: subprocess.run(["true"])),
    "shell": tried(lambda: os.system("true")),
    "fork": tried(os.fork),
    "write": tried(lambda: open(sys.argv[2], "wb", 0).write(b"x")),
    "memory": tried(lambda: bytes(512 * 1024 * 1024)),
    "files": tried(lambda: [open("/dev/null") for _ in range(100)]),
}))
"""


def test_a_confined_process_reaches_nobody(tmp_path: Path) -> None:
    """A server that listens on loopback hears nothing; no program is started, nothing written, little held."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        argv = [sys.executable, "-W", "ignore", "-c", TRY, str(server.getsockname()[1]), str(tmp_path / "written")]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        with pytest.raises(TimeoutError):
            server.accept()
    said = json.loads(done.stdout)

    assert said.pop("network") in ("namespace", "hook")
    assert said == {
        "old socket": "PermissionError",
        "connect": "PermissionError",
        "bind": "PermissionError",
        "lookup": "PermissionError",
        "program": "PermissionError",
        "shell": "PermissionError",
        "fork": "PermissionError",
        "write": "OSError",
        "memory": "MemoryError",
        "files": "OSError",
    }
    assert (tmp_path / "written").read_bytes() == b""


NAMESPACE = """
import sys
from quarantine.io import confine
confine._refuse = lambda event, arguments: None
print(confine.confine(confine.Limits()))
import socket
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)
except OSError as error:
    print(error.strerror)
"""


def test_the_namespace_alone_has_no_network() -> None:
    """Code that isn't Python's, which no hook sees, finds a machine without a network, even loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", NAMESPACE, str(server.getsockname()[1])]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    known, *said = done.stdout.splitlines()
    if known == "hook":
        pytest.skip("this system gives no network namespace to this user: the hook alone refuses")

    assert said == ["Network is unreachable"]


# --- real wheels ------------------------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("requirement", ["requests==2.32.3", "six==1.17.0", "setuptools==80.9.0"])
def test_real_wheels_pass(tmp_path: Path, requirement: str) -> None:
    """What the public index has is plain in every respect."""
    require_index(tmp_path)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", requirement]
    subprocess.run(argv, cwd=tmp_path, env=surroundings(), check=True, capture_output=True)
    (path,) = tmp_path.glob("*.whl")
    name, version, _, _ = parse_wheel_name(path.name)
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name=name,
        version=str(version),
        filename=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )

    found = Vetting().inspect(path, file, quiet)

    assert [(outcome.rule, outcome.kind) for outcome in found.outcomes] == [(rule, OutcomeKind.PASS) for rule in CHECKS]
