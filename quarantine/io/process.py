"""The runner of other programs: an argument list, an environment of our making, a clock of our own, bounded output.

Never a shell. A child leads a process group of its own, which is killed whole when its time is over, when it says too
much, and when this process is interrupted. Secrets travel in the environment only: arguments can be read by everyone
on a machine.
"""

import contextlib
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO

from quarantine.errors import UpstreamError

__all__ = ["Completed", "run"]

READ_BYTES = 64 * 1024
# A pipe takes this much without blocking once it is writable (POSIX, PIPE_BUF is at least 512).
WRITE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended: its exit status (negative: the signal that ended it) and what it wrote."""

    returncode: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: bytes = b"",
    timeout_seconds: float,
    max_output_bytes: int,
) -> Completed:
    """What the program did, whatever its exit status. `env` is its whole environment.

    UpstreamError when it can't be started, is not done in time, or writes more than `max_output_bytes` in all. No part
    of what it wrote is believed then.
    """
    name = Path(argv[0]).name
    try:
        child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UpstreamError(f"{name} can't be started: {reason}") from error
    try:
        stdout, stderr = _converse(child, stdin, name, timeout_seconds, max_output_bytes)
    except BaseException:
        _kill_group(child)
        raise
    finally:
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
    return Completed(returncode=child.returncode, stdout=stdout, stderr=stderr)


def _converse(
    child: subprocess.Popen[bytes], stdin: bytes, name: str, timeout_seconds: float, max_output_bytes: int
) -> tuple[bytes, bytes]:
    """Feeds and reads the child until it has closed its output and ended."""
    assert child.stdin is not None  # noqa: S101 - asked for above
    assert child.stdout is not None  # noqa: S101 - asked for above
    assert child.stderr is not None  # noqa: S101 - asked for above
    ends = monotonic() + timeout_seconds
    output: dict[IO[bytes], bytearray] = {child.stdout: bytearray(), child.stderr: bytearray()}
    unsent = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for pipe in output:
            selector.register(pipe, selectors.EVENT_READ, pipe)
        selector.register(child.stdin, selectors.EVENT_WRITE, child.stdin)
        while selector.get_map():
            left = ends - monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise UpstreamError(f"{name} was stopped: not done within {timeout_seconds:g} s")
            for key, _ in ready:
                stream: IO[bytes] = key.data
                if stream is child.stdin:
                    unsent = _feed(child.stdin, unsent)
                    if not unsent:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                    continue
                piece = os.read(key.fd, READ_BYTES)
                if not piece:
                    selector.unregister(stream)
                output[stream] += piece
                if sum(map(len, output.values())) > max_output_bytes:
                    raise UpstreamError(f"{name} was stopped: it wrote more than {max_output_bytes} bytes")
    try:
        child.wait(max(ends - monotonic(), 0.0))
    except subprocess.TimeoutExpired as error:
        raise UpstreamError(f"{name} was stopped: not done within {timeout_seconds:g} s") from error
    return bytes(output[child.stdout]), bytes(output[child.stderr])


def _feed(pipe: IO[bytes], unsent: memoryview) -> memoryview:
    """What is left to send after one write; nothing, when the reader has gone."""
    try:
        return unsent[os.write(pipe.fileno(), unsent[:WRITE_BYTES]) :]
    except BrokenPipeError:
        return unsent[len(unsent) :]


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    # It has not been waited for, so its number is still its own, and so is its group's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
