"""The holding area: a file that is asked for, brought in whole and checked, before anybody looks into it.

(1) What is held already is taken from there. (2) Else it is fetched from the owner of its name, as that lists it today,
within its limit, held to its length and its digest while it comes. (3) It is put into the store under its digest, and
(4) given out as a file of this machine for as long as it is looked at.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import ExceptionFile
from quarantine.model import PackageFile
from quarantine.ports import ArtifactStore, FileSource, Tell

__all__ = ["HELD", "Held", "hold"]

HELD = "held"
"""The container of the holding area."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the holding area, and where it lies on this machine for now. `md5` is what old conda tools know it by."""

    path: Path
    size: int
    md5: str


@contextmanager
def hold(
    file: ExceptionFile,
    listed: PackageFile | None,
    store: ArtifactStore,
    source: Callable[[], FileSource],
    max_bytes: int,
    tell: Tell,
) -> Iterator[Held]:
    """The file, held. `listed` is what its owner lists under its digest, None where it lists nothing.

    IntegrityError when the bytes aren't those that were asked for, or too many; UpstreamError when they can't be had.
    """
    with TemporaryDirectory(prefix="quarantine-held-") as folder:
        path = Path(folder) / file.filename
        try:
            if store.size(HELD, file.digest) is not None:  # (1)
                size = _taken(file, store, path, max_bytes)
            elif listed is None:
                raise IntegrityError(f"{file.filename}: {file.upstream} lists no file of this digest, and none is held")
            else:  # (2)
                tell(f"fetching {file.filename}")
                with path.open("w+b") as stream:
                    size = source().fetch(file.upstream, listed, stream, max_bytes, tell)
                    stream.seek(0)
                    store.put_file(HELD, file.digest, size, stream)  # (3)
            held = Held(path=path, size=size, md5=_md5(path))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UpstreamError(f"{file.filename} can't be kept on this machine to be looked into: {why}") from error
        yield held  # (4)


def _taken(file: ExceptionFile, store: ArtifactStore, path: Path, max_bytes: int) -> int:
    size = 0
    with path.open("wb") as stream:
        for chunk in store.read(HELD, file.digest):
            size += len(chunk)
            if size > max_bytes:
                raise IntegrityError(f"{file.filename} has more than the {max_bytes} bytes that are looked into")
            stream.write(chunk)
    if file.size is not None and size != file.size:
        raise IntegrityError(f"{file.filename}: {size} bytes are held, {file.size} were asked for")
    return size


def _md5(path: Path) -> str:
    hashed = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            hashed.update(chunk)
    return hashed.hexdigest()
