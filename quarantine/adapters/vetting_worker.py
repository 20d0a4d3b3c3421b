"""The child process that looks into a held file: one request (JSON) on stdin, one answer (JSON) on stdout, and out.

The file is opened before the process is confined; nothing of it is read before that.
"""

import io
import logging
from typing import BinaryIO

import msgspec

from quarantine.archive.inspect import inspect
from quarantine.archive.inspection import Found
from quarantine.exceptions import ExceptionFile
from quarantine.io.confine import Limits, confine, read_request, reply
from quarantine.model import Ecosystem

__all__ = ["Asked", "Described", "Failed", "Looked", "main"]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is asked for, as the parent describes it."""

    ecosystem: Ecosystem
    upstream: str
    name: str
    version: str
    filename: str
    sha256: str
    size: int | None = None
    subdir: str = ""
    build: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Asks what is found in a file at a path."""

    path: str
    file: Described
    limits: Limits


class Looked(msgspec.Struct, frozen=True, kw_only=True, tag="looked"):
    """What was found, and how the process was kept from the network."""

    found: Found
    network: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Why nothing was found out."""

    why: str


# made before there is too little memory to make it
_NO_MEMORY = msgspec.json.encode(Failed(why="it needs more memory than is given to it"))


def main() -> None:
    """Answers the request on stdin; ends the process."""
    asked = msgspec.json.decode(read_request(), type=Asked)
    # what scanners log would reach the parent as output
    logging.disable(logging.CRITICAL)
    with open(asked.path, "rb", buffering=0) as opened:  # noqa: PTH123  # unbuffered, so that nothing is read yet
        network = confine(asked.limits)
        try:
            answer = msgspec.json.encode(_look(_file(asked.file), opened, network))
        except MemoryError:
            answer = _NO_MEMORY
        reply(answer)


def _file(said: Described) -> ExceptionFile:
    if said.ecosystem not in (Ecosystem.PYPI, Ecosystem.CONDA):
        raise ValueError(f"no file of {said.ecosystem} can be looked into")
    return ExceptionFile(
        ecosystem=said.ecosystem,
        upstream=said.upstream,
        name=said.name,
        version=said.version,
        filename=said.filename,
        sha256=said.sha256,
        size=said.size,
        subdir=said.subdir,
        build=said.build,
    )


def _look(file: ExceptionFile, opened: io.FileIO, network: str) -> Looked | Failed:
    stream: BinaryIO = io.BufferedReader(opened, 256 * 1024)
    try:
        return Looked(found=inspect(file, stream), network=network)
    except RecursionError:
        return Failed(why="it is nested too deeply")
    except OSError as error:
        return Failed(why=f"it can't be read ({error.strerror or type(error).__name__})".lower())
