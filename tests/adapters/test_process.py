"""The runner of other programs, with real ones."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from quarantine.errors import UpstreamError
from quarantine.io.process import Completed, run

# Starts a child of its own that would leave a file behind; then says it is ready, and stays.
PARENT = """
import subprocess, sys, time
code = "import time, pathlib; time.sleep(1); pathlib.Path('survivor').touch()"
subprocess.Popen([sys.executable, "-c", code])
print("ready", flush=True)
"""


def python(
    code: str, folder: Path, *, stdin: bytes = b"", seconds: float = 20, max_bytes: int = 1_000_000
) -> Completed:
    return run(
        [sys.executable, "-c", code],
        env={"ONLY": "this"},
        cwd=folder,
        stdin=stdin,
        timeout_seconds=seconds,
        max_output_bytes=max_bytes,
    )


def test_what_a_program_did(tmp_path: Path) -> None:
    """Exit status, both outputs, the folder and the environment, which holds what was given and nothing else."""
    code = (
        "import os, sys\nprint(sorted(k for k in os.environ if k != 'LC_CTYPE'), os.getcwd())\n"
        "print('oops', file=sys.stderr)\nsys.exit(3)"
    )
    assert python(code, tmp_path) == Completed(returncode=3, stdout=f"['ONLY'] {tmp_path}\n".encode(), stderr=b"oops\n")


def test_input_larger_than_a_pipe_comes_back_whole(tmp_path: Path) -> None:
    """Feeding and reading go on side by side."""
    sent = bytes(range(256)) * 4000
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert python(code, tmp_path, stdin=sent, max_bytes=2_000_000).stdout == sent


def test_program_that_does_not_read_its_input(tmp_path: Path) -> None:
    """It may end without having read it."""
    assert python("pass", tmp_path, stdin=bytes(1_000_000)).returncode == 0


def test_arguments_are_never_a_shells(tmp_path: Path) -> None:
    """What would be syntax to a shell is plain text."""
    text = "$(touch x); `touch y` > z"
    done = run(
        [sys.executable, "-c", "import sys; print(sys.argv[1])", text],
        env={},
        cwd=tmp_path,
        timeout_seconds=20,
        max_output_bytes=1000,
    )
    assert (done.stdout.decode().strip(), list(tmp_path.iterdir())) == (text, [])


def test_time_limit_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """Nothing of the process group is left."""
    with pytest.raises(UpstreamError) as caught:
        python(f"{PARENT}\ntime.sleep(30)", tmp_path, seconds=0.5)
    assert str(caught.value) == f"{Path(sys.executable).name} was stopped: not done within 0.5 s"
    time.sleep(1.2)
    assert not (tmp_path / "survivor").exists()


def test_child_that_keeps_the_output_open_does_not_hold_the_run_up(tmp_path: Path) -> None:
    """The program has ended, a child of its holds the pipe: the time limit counts, and ends that child."""
    with pytest.raises(UpstreamError):
        python(PARENT, tmp_path, seconds=0.5)
    time.sleep(1.2)
    assert not (tmp_path / "survivor").exists()


def test_too_much_output_ends_the_program(tmp_path: Path) -> None:
    """An endless writer is stopped soon after the limit."""
    with pytest.raises(UpstreamError) as caught:
        python("while True: print('x' * 1000)", tmp_path, max_bytes=100_000)
    assert str(caught.value) == f"{Path(sys.executable).name} was stopped: it wrote more than 100000 bytes"


def test_interrupt_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """Ctrl-C comes through, and leaves nothing running."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            python(f"{PARENT}\ntime.sleep(30)", tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    time.sleep(1.2)
    assert not (tmp_path / "survivor").exists()


def test_program_that_is_not_there(tmp_path: Path) -> None:
    """A missing program is an error that names it."""
    with pytest.raises(UpstreamError) as caught:
        run([str(tmp_path / "nothing")], env={}, cwd=tmp_path, timeout_seconds=1, max_output_bytes=1)
    assert str(caught.value) == "nothing can't be started: no such file or directory"
