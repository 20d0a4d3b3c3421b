"""A real Docker Engine for a test: started as root in folders of its own, and stopped afterwards."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
from docker.errors import DockerException
from parts import missing

API = "1.41"
INSTALL = "apt-get install -y docker.io"


@contextmanager
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of a fresh engine that shares nothing with one that may run already.

    Where there is none to start (no dockerd, not root): a failure in CI, a skip on a laptop.
    """
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        missing(f"no Docker Engine can be started here: run `{INSTALL}`, and the tests as root")
    # a socket's path has its limits, and temporary folders of tests are deep
    with TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        socket = folder / "docker.sock"
        with (folder / "log").open("wb") as log:
            engine = subprocess.Popen(
                ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
                 "--host", f"unix://{socket}", "--pidfile", str(folder / "pid"), "--iptables=false", "--bridge=none",
                 "--ip6tables=false"],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            client = _connected(engine, socket, folder / "log")
            try:
                yield client
            finally:
                client.close()
        finally:
            engine.send_signal(signal.SIGTERM)
            try:
                engine.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(engine.pid, signal.SIGKILL)
                engine.wait()


def _connected(engine: "subprocess.Popen[bytes]", socket: Path, log: Path) -> docker.DockerClient:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and engine.poll() is None:
        if socket.exists():
            client = docker.DockerClient(base_url=f"unix://{socket}", version=API, timeout=300)
            try:
                client.ping()
            except (DockerException, OSError):
                client.close()
            else:
                return client
        time.sleep(0.1)
    raise AssertionError(f"dockerd did not start: {log.read_text(errors='replace')[-2000:]}")
