"""A real Azurite, Microsoft's emulator of Blob storage, on loopback, with an account and a key of its own."""

import base64
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from parts import missing

from quarantine.io.azure import BlobAccount, account_of_connection

START_SECONDS = 60
ROOT = Path(__file__).parent.parent
_LISTENING = re.compile(r"listens on http://127\.0\.0\.1:([0-9]+)")
_INSTALL = "npm install --no-save --prefix .azurite azurite@3.35.0"


@dataclass(frozen=True, kw_only=True)
class Azurite:
    """A running Azurite: where it listens, and the one account in it."""

    port: int
    account: str
    key: str = field(repr=False)

    def connection(self, port: int | None = None) -> str:
        """The connection string, also for something on another port that hands requests on to it."""
        endpoint = f"http://127.0.0.1:{port or self.port}/{self.account}"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};BlobEndpoint={endpoint};"
        )

    def storage(self, prefix: str | None = None, *, port: int | None = None, answer_seconds: float = 20) -> BlobAccount:
        """The account, seen through a prefix; by default one that nobody else has."""
        return account_of_connection(
            self.connection(port),
            variable="AZURITE",
            prefix=new_prefix() if prefix is None else prefix,
            answer_seconds=answer_seconds,
        )


def new_prefix() -> str:
    """What the containers of one test begin with."""
    return f"t{secrets.token_hex(6)}-"


@contextmanager
def azurite() -> Iterator[Azurite]:
    """A running Azurite. It keeps everything in memory and forgets it in the end; nothing in it is public."""
    program = _program()
    account, key = "quarantinetests", base64.b64encode(secrets.token_bytes(32)).decode()
    with TemporaryDirectory() as folder:
        options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]
        process = subprocess.Popen(
            [program, *options, "--skipApiVersionCheck", "--disableTelemetry"],
            cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},  # noqa: TID251  # node's own variables
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield Azurite(port=_port(process), account=account, key=key)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _program() -> str:
    """Where Azurite is: named by AZURITE, installed beside the project, or on the PATH."""
    named = os.environ.get("AZURITE")  # noqa: TID251  # the tests' own switch
    folders = [ROOT / ".azurite", ROOT]
    places = [
        named,
        *(str(folder / "node_modules/.bin/azurite-blob") for folder in folders),
        shutil.which("azurite-blob"),
    ]
    for place in places:
        if place is not None and os.access(place, os.X_OK):
            return place
    return missing(f"Azurite isn't here: install Node.js, and run {_INSTALL}")


def _port(process: "subprocess.Popen[str]") -> int:
    """The port that it says it listens on. What it prints later is read and dropped, so that it never waits for us."""
    assert process.stdout is not None
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    printed = ""
    for line in process.stdout:
        printed += line
        if (match := _LISTENING.search(line)) is not None:
            timer.cancel()
            threading.Thread(target=_drop, args=(process.stdout,), daemon=True).start()
            return int(match[1])
    timer.cancel()
    return missing(f"Azurite does not start: {printed.strip()!r}; install it again: {_INSTALL}")


def _drop(stream: TextIO) -> None:
    with stream:
        for _ in stream:
            pass
