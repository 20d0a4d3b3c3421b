"""A child process for bytes that nobody trusts: no network, little memory and time, nothing to write to, no environment.

The parent starts it with `ask`; the child's first act is `confine`. Whoever takes over the child through a flaw in a
decompressor or a parser can still read what this user can read, but has nowhere to send it to except the answer, which
is hostile.
"""

import importlib.util
import os
import resource
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from quarantine.errors import UpstreamError

if TYPE_CHECKING:
    from quarantine.io.process import Completed

__all__ = ["Limits", "answer_of", "ask", "confine", "read_request", "reply"]

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_NO_NEW_PRIVILEGES = 38
# Isolated Python, without site-packages and what may be run from there: it is told where the packages are.
_BOOT = "import sys; sys.path += sys.argv[2:]; import importlib; importlib.import_module(sys.argv[1]).main()"
_REFUSED = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.",
    "ctypes.",
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a child may take: address space, processor time, time by the clock, output, and files that it writes."""

    memory_bytes: int = 1024**3
    cpu_seconds: int = 120
    seconds: float = 300.0
    output_bytes: int = 16 * 1024 * 1024
    file_bytes: int = 0


def ask(worker: str, packages: Collection[str], request: bytes, limits: Limits) -> "Completed":
    """How the worker module ended that was given the request on stdin, and what it wrote.

    `packages` are what it imports; those that aren't installed are left out. UpstreamError when it isn't done in time or
    says too much.
    """
    import tempfile  # noqa: PLC0415  # the child itself needs none of these

    from quarantine.io.process import run  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="quarantine-") as empty:
        return run(
            [sys.executable, "-I", "-S", "-c", _BOOT, worker, *_folders(packages)],
            env={"HOME": empty, "TMPDIR": empty, "LC_ALL": "C.UTF-8"},
            cwd=Path(empty),
            stdin=request,
            timeout_seconds=limits.seconds,
            max_output_bytes=limits.output_bytes,
        )


def _folders(packages: Collection[str]) -> list[str]:
    """The folders that hold the packages."""
    found: dict[str, None] = {}
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[str(Path(spec.origin).parents[1])] = None
    return list(found)


def confine(limits: Limits) -> str:
    """Takes from this process what it doesn't need, for good, and says how it is kept from the network.

    "namespace": there is none. "hook": the system gives no namespace of its own to this user, and Python itself refuses
    to open sockets; the hook is there in both cases.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds)
    alone = _leave_network()
    _limit(resource.RLIMIT_NPROC, 0)
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, limits.memory_bytes)
    else:
        _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    sys.addaudithook(_refuse)
    return "namespace" if alone else "hook"


def _limit(which: int, limit: int) -> None:
    """Takes the limit of a resource down, never up, and for good."""
    hard = resource.getrlimit(which)[1]
    lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (lowest, lowest))


def _leave_network() -> bool:
    """Whether this process is now in a network namespace of its own, in which there is nothing."""
    import ctypes  # noqa: PLC0415  # only here

    try:
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        # who may make a namespace needs no user namespace for it, which the system may not allow
        kinds = (_NEW_NETWORK, _NEW_USER | _NEW_NETWORK)
        return any(system.unshare(kind) == 0 for kind in kinds)
    except (OSError, AttributeError):
        return False


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(_REFUSED):
        raise PermissionError(f"{event} is refused here")


def answer_of(done: "Completed") -> bytes:
    """What a child answered that ended well. UpstreamError, which says how it ended, for another one."""
    if done.returncode == 0:
        return done.stdout
    raise UpstreamError(_ended(done))


def _ended(done: "Completed") -> str:
    if done.returncode < 0:
        known = {9: "it was killed", 24: "it took more processor time than it may", 25: "it wrote to a file"}
        return known.get(-done.returncode, f"it was ended by signal {-done.returncode}")
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    return f"it ended with status {done.returncode}" + (f" and said {said!a}" if said else "")


def read_request() -> bytes:
    """What the parent asks; the first thing that a child reads."""
    return sys.stdin.buffer.read()


def reply(data: bytes) -> None:
    """Writes the answer whole and ends the process, without any clean-up."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    os._exit(0)
