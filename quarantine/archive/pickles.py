"""Pickles in a package: what they would call when somebody loads them, read off without loading.

A pickle is a program. picklescan takes it apart and knows which names can do harm and which can't; of a name that it
doesn't know nobody has said that it is harmless, so that such a pickle is undecided. Model files are pickles, or zip files
of pickles. What is looked at: names that end like a pickle's or a model's, and bytes that begin like one's.

Not looked at: pickles of the protocols 0 and 1 under other names, which nothing tells from text, and tar files.
"""

import bz2
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from quarantine.archive.inspection import PICKLE, answer, some
from quarantine.archive.names import shown
from quarantine.errors import install_extra
from quarantine.model import Outcome, OutcomeKind

__all__ = ["Pickles"]

# what is held in memory of one member; picklescan needs several times as much for the pickle in it
MAX_BYTES = 128 * 1024 * 1024
# a file that only may be a pickle is none when this much of it can't be read as one
MAX_DOUBTFUL_BYTES = 1024 * 1024
# picklescan needs some 300 bytes for each
MAX_OPERATIONS = 1_000_000
MAX_NESTED_ENTRIES = 10_000
MAX_DEPTH = 3

_PICKLE_ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".pckl")
_MODEL_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".npy", ".dat", ".data", ".sav", ".model")
_PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".lzma", ".z")
_PACKED_MAGICS = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x5d\x00\x00",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
)
_NAMING = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_TOO_MANY = f"it has more than {MAX_OPERATIONS} operations"
_ZIP, _NUMPY = b"PK\x03\x04", b"\x93NUMPY"
_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(6))


class _Safety(Protocol):
    value: str


class _Global(Protocol):
    module: str
    name: str
    safety: _Safety


class _Result(Protocol):
    globals: list[_Global]


class _Library(Protocol):
    """What is used of `picklescan.scanner`, which ships no types."""

    def scan_pickle_bytes(self, data: io.BytesIO, file_id: str) -> _Result: ...


class Pickles:
    """A scan of the members of one package: each passes `through`, and `outcome` says what it came to."""

    def __init__(self) -> None:
        self._count = 0
        self._missing = False
        self._dangerous: list[str] = []
        self._unknown: list[str] = []
        self._unread: list[str] = []

    def through(self, name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks of a member, which is looked at once they have all passed by."""
        limit = -1
        kept = bytearray()
        size = 0
        for chunk in chunks:
            if not size:
                limit = _wanted(name, chunk)
            size += len(chunk)
            if 0 <= size - len(chunk) < limit:
                kept += chunk[: limit - len(kept)]
            yield chunk
        if not kept:
            return
        if limit == MAX_BYTES and size > limit:
            self._count += 1
            self._unread.append(f"{name} has {size} bytes, at most {MAX_BYTES} are read")
            return
        try:
            self._look(name, bytes(kept), 0)
        except MemoryError:
            self._unread.append(f"{name} needs more memory than there is")

    def outcome(self) -> Outcome:
        """What all members came to."""
        seen = {"scanned": self._count}
        if self._missing:
            return answer(
                PICKLE,
                OutcomeKind.UNKNOWN,
                f"{self._count} members are pickles or may be, and picklescan is not installed: "
                f"{install_extra('curators')}",
                **seen,
            )
        evidence = seen | {
            key: some(texts)
            for key, texts in (("dangerous", self._dangerous), ("unknown", self._unknown), ("unread", self._unread))
            if texts
        }
        if self._dangerous:
            said = f"{self._dangerous[0]}, which can do harm as soon as it is loaded"
            return answer(PICKLE, OutcomeKind.FAIL, said, **evidence)
        if self._unread:
            return answer(PICKLE, OutcomeKind.UNKNOWN, f"a pickle could not be read: {self._unread[0]}", **evidence)
        if self._unknown:
            said = f"{self._unknown[0]}, of which nobody has said that it is harmless: look at it"
            return answer(PICKLE, OutcomeKind.UNKNOWN, said, **evidence)
        good = f"{self._count} pickles call nothing that can do harm" if self._count else "it has no pickles"
        return answer(PICKLE, OutcomeKind.PASS, good, **evidence)

    # --- one member ---------------------------------------------------------------------------------------------------

    def _look(self, name: str, data: bytes, depth: int) -> None:
        lowered = name.lower()
        if depth > MAX_DEPTH:
            self._unread.append(f"{name} lies in more than {MAX_DEPTH} files inside each other")
        elif data.startswith(_ZIP):
            self._look_into_zip(name, data, depth)
        elif data.startswith(_PACKED_MAGICS) and (unpacked := self._unpacked(name, data)) is not None:
            self._look(name, unpacked, depth + 1)
        elif data.startswith(_NUMPY):
            self._look_at_array(name, data)
        else:
            certain = lowered.endswith(_PICKLE_ENDINGS) or data.startswith(_PROTOCOLS)
            self._look_at_pickle(name, data, certain=certain)

    def _look_into_zip(self, name: str, data: bytes, depth: int) -> None:
        left = 2 * MAX_BYTES
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = archive.infolist()
                if len(entries) > MAX_NESTED_ENTRIES:
                    self._unread.append(f"{name} has {len(entries)} members, at most {MAX_NESTED_ENTRIES} are read")
                    return
                for entry in entries:
                    inner = f"{name}/{entry.filename}"
                    with archive.open(entry) as stream:
                        head = stream.read(16)
                        limit = _wanted(entry.filename, head) if head else -1
                        if limit < 0:
                            continue
                        content = head + stream.read(min(limit, left) - len(head) + 1)
                    left -= len(content)
                    if (len(content) > limit and limit == MAX_BYTES) or left < 0:
                        self._unread.append(f"{inner} is larger than is read")
                        return
                    self._look(inner, content[:limit], depth + 1)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
            self._unread.append(f"{name} is a zip file that can't be read ({_said(error)})")

    def _unpacked(self, name: str, data: bytes) -> bytes | None:
        """What a packed file holds, None when it is no packed file after all."""
        unpackers = (lambda: zlib.decompressobj(47), bz2.BZ2Decompressor, lzma.LZMADecompressor)
        for make in unpackers:
            unpacker = make()
            try:
                unpacked = unpacker.decompress(data, MAX_BYTES + 1)
            except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError):
                continue
            if len(unpacked) > MAX_BYTES:
                self._unread.append(f"{name} unpacks to more than {MAX_BYTES} bytes")
                return b""
            return unpacked
        return None

    def _look_at_array(self, name: str, data: bytes) -> None:
        """An array file holds a pickle where its items are objects: type `O`, or `object`, in whatever spelling."""
        length = 2 if data[6:7] == b"\x01" else 4
        end = 8 + length + int.from_bytes(data[8 : 8 + length], "little")
        header = data[8 + length : end].decode("latin-1")
        for word in ("fortran_order", "descr", "shape", "True", "False"):
            header = header.replace(word, "")
        if any(sign in header for sign in ("O", "obj", "\\")):
            self._look_at_pickle(name, data[end:], certain=True)

    def _look_at_pickle(self, name: str, data: bytes, *, certain: bool) -> None:
        names, flaw = _operations(data)
        if not names and not certain:
            return
        self._count += 1
        scan = _library()
        if scan is None:
            self._missing = True
            return
        if flaw:
            self._unread.append(f"{name} ({flaw})")
        if flaw == _TOO_MANY:
            return
        try:
            found = scan.scan_pickle_bytes(io.BytesIO(data), name)
            named = [(str(one.safety.value), f"{one.module}.{one.name}") for one in found.globals]
        except Exception as error:  # noqa: BLE001  # a scanner that fails over hostile bytes has found nothing out
            self._unread.append(f"{name} ({_said(error)})")
            return
        if names and not named:
            self._unread.append(f"{name} (picklescan doesn't find what it calls)")
        for safety, called in sorted(named):
            match safety:
                case "innocuous":
                    continue
                case "dangerous":
                    self._dangerous.append(f"{shown(name)} calls {shown(called)}")
                case _:
                    self._unknown.append(f"{shown(name)} calls {shown(called)}")


def _wanted(name: str, head: bytes) -> int:
    """How many bytes of a member are to be kept, -1 for none."""
    lowered = name.lower()
    bare = lowered
    for ending in _PACKED_ENDINGS:
        bare = bare.removesuffix(ending)
    if lowered.endswith(_PICKLE_ENDINGS) or bare.endswith(_PICKLE_ENDINGS):
        return MAX_BYTES
    if head.startswith((_ZIP, _NUMPY, *_PROTOCOLS)):
        return MAX_BYTES
    if bare.endswith(_MODEL_ENDINGS):
        return MAX_BYTES if head.startswith(_PACKED_MAGICS) else MAX_DOUBTFUL_BYTES
    return -1


def _library() -> _Library | None:
    try:
        from picklescan import scanner  # type: ignore[import-untyped]  # noqa: PLC0415  # of the extra `curators`
    except ImportError:
        return None
    library: _Library = scanner
    return library


def _operations(data: bytes) -> tuple[int, str]:
    """How many names the pickles in some bytes fetch, as far as they can be read; and what keeps that from being all.

    picklescan holds every operation in memory, and takes the end of that for the end of the pickle: what has too many of
    them is not given to it. Behind the first pickle other things may follow, but between its operations none.
    """
    stream = io.BytesIO(data)
    count = names = 0
    first = True
    while stream.tell() < len(data):
        try:
            for operation, _, _ in pickletools.genops(stream):
                count += 1
                names += operation.name in _NAMING
                if count > MAX_OPERATIONS:
                    return names, _TOO_MANY
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # it raises whatever bytes lead it to
            return names, _said(error) if first else ""
        first = False
    return names, ""


def _said(error: Exception) -> str:
    return f"{str(error)[:100]!a}" if str(error) else type(error).__name__
