"""A conda channel of tiny packages made on the fly, served on loopback the way a static file server does."""

import asyncio
import bz2
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from conda_package_streaming.create import conda_builder  # type: ignore[import-untyped]
from rattler.index.index import index_fs
from servers import NOT_FOUND, Answer, Asked, WebServer

from quarantine.model import Digest

LONG_AGO = datetime(2025, 1, 15, tzinfo=UTC)


def distribution(
    name: str, version: str, requires: Iterable[str] = (), where: str = "site-packages"
) -> dict[str, bytes]:
    """The files that a package has when it holds a Python distribution."""
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    return {
        f"{where}/{name.replace('-', '_')}/__init__.py": b"",
        f"{where}/{name.replace('-', '_')}-{version}.dist-info/METADATA": ("\n".join(lines) + "\n").encode(),
        f"{where}/{name.replace('-', '_')}-{version}.dist-info/RECORD": b"",
    }


@dataclass(kw_only=True)
class CondaChannel:
    """A channel in a folder, and a server for it. Call `index` after the last package.

    `uploaded` is what the server says of a file (Last-Modified) and what the index says of it (`indexed_timestamp`),
    per file name; a missing one is `LONG_AGO`, None means that nobody says.
    """

    folder: Path
    name: str = "channel"
    uploaded: dict[str, datetime | None] = field(default_factory=dict)
    server: WebServer = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "noarch").mkdir(parents=True, exist_ok=True)
        self.server = WebServer(self._answer)

    @property
    def url(self) -> str:
        """Where the channel is."""
        return f"{self.server.origin}/{self.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()

    def add(
        self,
        name: str,
        version: str,
        *,
        build: str = "0",
        subdir: str = "noarch",
        depends: Iterable[str] = (),
        files: Mapping[str, bytes] | None = None,
        uploaded: datetime | None = LONG_AGO,
        timestamp: int = 1_600_000_000_000,
        kind: str = ".conda",
    ) -> Digest:
        """A package in the channel's folder, of the new or (`kind=".tar.bz2"`) the old format; its sha256."""
        stem = f"{name}-{version}-{build}"
        content = dict(files or {})
        index: dict[str, Any] = {
            "name": name, "version": version, "build": build, "build_number": 0, "depends": list(depends),
            "subdir": subdir, "timestamp": timestamp,
        }  # fmt: skip
        if subdir == "noarch":
            index["noarch"] = "python"
        paths = [
            {"_path": p, "path_type": "hardlink", "sha256": hashlib.sha256(d).hexdigest(), "size_in_bytes": len(d)}
            for p, d in content.items()
        ]
        members = {
            **content,
            "info/index.json": json.dumps(index).encode(),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
            "info/files": "".join(f"{p}\n" for p in content).encode(),
        }
        out = self.folder / subdir
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{stem}{kind}"
        path.unlink(missing_ok=True)
        if kind == ".conda":
            with conda_builder(stem, out) as tar:
                for member, data in members.items():
                    _add(tar, member, data)
        else:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for member, data in members.items():
                    _add(tar, member, data)
            path.write_bytes(bz2.compress(buffer.getvalue()))
        self.uploaded[path.name] = uploaded
        return Digest.sha256(hashlib.sha256(path.read_bytes()).hexdigest())

    def index(self) -> None:
        """Writes the channel's repodata: rattler's own index, with the upload times of `uploaded`, and without shards."""
        asyncio.run(index_fs(self.folder, write_zst=False, write_shards=False, force=True))
        for path in self.folder.glob("*/repodata.json"):
            data = json.loads(path.read_bytes())
            for group in ("packages", "packages.conda"):
                for filename, record in data[group].items():
                    record.pop("indexed_timestamp", None)
                    when = self.uploaded.get(filename, LONG_AGO)
                    if when is not None:
                        record["indexed_timestamp"] = int(when.timestamp() * 1000)
            path.write_text(json.dumps(data), encoding="utf-8")

    def _answer(self, asked: Asked) -> Answer:
        relative = asked.path.partition("?")[0].removeprefix(f"/{self.name}/")
        path = self.folder / relative
        if ".." in relative or not path.is_file():
            return NOT_FOUND
        body = path.read_bytes()
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
        when = self.uploaded.get(path.name, LONG_AGO)
        if when is not None:
            headers["Last-Modified"] = format_datetime(when, usegmt=True)
        headers["ETag"] = f'"{path.stat().st_mtime_ns}"'
        wanted = asked.headers.get("Range")
        if wanted is None:
            return Answer(headers=headers, body=body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(body) - int(last))
        end = min(int(last), len(body) - 1) if first and last else len(body) - 1
        headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
        return Answer(status=206, headers=headers, body=body[start : end + 1])


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
