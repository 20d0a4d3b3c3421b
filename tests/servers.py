"""Loopback servers for the tests: any answer to any path, and a package index of distributions made on the fly."""

import base64
import gzip
import hashlib
import html
import io
import json
import re
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came in. `path` includes the query; headers are looked up in any case, None where absent."""

    method: str
    path: str
    headers: Message
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server sends. `cut` ends the connection after so many bytes of the body; `hang` says nothing at all."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    hang: bool = False


NOT_FOUND = Answer(status=404, headers={"Content-Type": "text/plain"}, body=b"not found")


class WebServer:
    """A threaded HTTP server on 127.0.0.1. Scripted answers go first, then whatever `answer` says."""

    def __init__(
        self, answer: Callable[[Asked], Answer] = lambda _: NOT_FOUND, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._scripts: dict[str, list[Answer]] = {}
        self._fixed: dict[str, Answer] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_port
        self.origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops it; whoever hangs is let go."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def script(self, path: str, *answers: Answer) -> None:
        """The next answers to a path, one request each."""
        self._scripts.setdefault(path, []).extend(answers)

    def always(self, path: str, answer: Answer) -> None:
        """The answer to a path from now on."""
        self._fixed[path] = answer

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [asked.path for asked in self.asked]

    def respond(self, asked: Asked) -> Answer:
        """What is answered to a request; it is written down."""
        with self._lock:
            self.asked.append(asked)
            waiting = self._scripts.get(asked.path)
            if waiting:
                return waiting.pop(0)
        fixed = self._fixed.get(asked.path)
        return self._answer(asked) if fixed is None else fixed

    def wait_for_close(self) -> None:
        """Returns when the server is being closed (after 60 s at the latest)."""
        self._closing.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            answer = server.respond(Asked(method=self.command, path=self.path, headers=self.headers, body=body))
            if answer.hang:
                server.wait_for_close()
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            headers = {"Content-Length": str(len(answer.body)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.close_connection = True

        do_HEAD = do_POST = do_GET  # noqa: N815 - the base class looks for these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """The tests read `asked` instead."""

    return Handler


# --- distributions ----------------------------------------------------------------------------------------------------


def core_metadata(
    name: str,
    version: str,
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    extras: Iterable[str] = (),
) -> bytes:
    """A METADATA file."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [] if requires_python is None else [f"Requires-Python: {requires_python}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {line}" for line in requires]
    return ("\n".join(lines) + "\n").encode()


def make_wheel(name: str, version: str, metadata: bytes, *, tag: str = "py3-none-any") -> bytes:
    """A minimal valid wheel, the same bytes for the same arguments."""
    stem = f"{name.replace('-', '_')}-{version}"
    members = {
        f"{name.replace('-', '_')}.py": b"",
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = [f"{path},sha256={_urlsafe(data)},{len(data)}" for path, data in members.items()]
    members[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return buffer.getvalue()


def make_sdist(name: str, version: str, metadata: bytes, *, setup: str = "") -> bytes:
    """A minimal source distribution whose setup.py is `setup`."""
    stem = f"{name.replace('-', '_')}-{version}"
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path, data in {"PKG-INFO": metadata, "setup.py": setup.encode()}.items():
            member = tarfile.TarInfo(f"{stem}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@dataclass(frozen=True, kw_only=True)
class ServedFile:
    """A file of an index. `metadata` is served beside it (PEP 658) where it isn't None."""

    filename: str
    data: bytes
    upload_time: str | None
    yanked: bool | str
    requires_python: str | None
    metadata: bytes | None

    @property
    def sha256(self) -> str:
        """The hexadecimal digest of its bytes."""
        return hashlib.sha256(self.data).hexdigest()


class IndexServer(WebServer):
    """A package index: `/simple/NAME/` as JSON (PEP 691) or HTML (PEP 503), files under `/files/`.

    With `login` it answers 401 to whoever doesn't send that user and password.
    """

    def __init__(
        self, *, as_html: bool = False, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(self._index, tls=tls)
        self.as_html = as_html
        self._login = None if login is None else "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self.projects: dict[str, list[ServedFile]] = {}
        self.statuses: dict[str, str] = {}
        self.url = f"{self.origin}/simple"

    def add(
        self,
        name: str,
        version: str,
        *,
        requires: Iterable[str] = (),
        extras: Iterable[str] = (),
        requires_python: str | None = None,
        tag: str = "py3-none-any",
        upload_time: str | None = "2024-01-01T00:00:00Z",
        yanked: bool | str = False,
        metadata: bool = True,
    ) -> ServedFile:
        """Adds a wheel. Without `metadata` none is served beside it."""
        text = core_metadata(name, version, requires=requires, requires_python=requires_python, extras=extras)
        return self.add_file(
            name,
            ServedFile(
                filename=f"{name.replace('-', '_')}-{version}-{tag}.whl",
                data=make_wheel(name, version, text, tag=tag),
                upload_time=upload_time,
                yanked=yanked,
                requires_python=requires_python,
                metadata=text if metadata else None,
            ),
        )

    def add_sdist(
        self, name: str, version: str, *, setup: str = "", upload_time: str | None = "2024-01-01T00:00:00Z"
    ) -> ServedFile:
        """Adds a source distribution whose setup.py is `setup`."""
        return self.add_file(
            name,
            ServedFile(
                filename=f"{name.replace('-', '_')}-{version}.tar.gz",
                data=make_sdist(name, version, core_metadata(name, version), setup=setup),
                upload_time=upload_time,
                yanked=False,
                requires_python=None,
                metadata=None,
            ),
        )

    def add_file(self, name: str, file: ServedFile) -> ServedFile:
        """Adds a file as it is."""
        self.projects.setdefault(name, []).append(file)
        return file

    def page_path(self, name: str) -> str:
        """The path of a project's page."""
        return f"/simple/{name}/"

    def page(self, name: str) -> Answer:
        """The project's page as it is served."""
        files = self.projects[name]
        if self.as_html:
            return Answer(headers={"Content-Type": HTML}, body=_html_page(name, files, self.statuses.get(name)))
        return Answer(headers={"Content-Type": JSON}, body=_json_page(name, files, self.statuses.get(name)))

    def _index(self, asked: Asked) -> Answer:
        if self._login is not None and asked.headers.get("Authorization") != self._login:
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="index"'})
        parts = urlsplit(asked.path).path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "simple" and parts[1] in self.projects:
            return self.page(parts[1])
        if len(parts) == 2 and parts[0] == "files":
            return self._file(parts[1], asked)
        return NOT_FOUND

    def _file(self, filename: str, asked: Asked) -> Answer:
        for file in (file for files in self.projects.values() for file in files):
            if file.filename == filename:
                return _ranged(file.data, asked.headers.get("Range"))
            if f"{file.filename}.metadata" == filename and file.metadata is not None:
                return Answer(headers={"Content-Type": "application/octet-stream"}, body=file.metadata)
        return NOT_FOUND


def _ranged(data: bytes, asked: str | None) -> Answer:
    """The bytes, or the one range of them that is asked for."""
    headers = {"Content-Type": "application/octet-stream"}
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
    if found is None:
        return Answer(headers=headers, body=data)
    part = data[int(found[1]) : int(found[2]) + 1]
    headers["Content-Range"] = f"bytes {found[1]}-{int(found[1]) + len(part) - 1}/{len(data)}"
    return Answer(status=206, headers=headers, body=part)


def _json_page(name: str, files: Iterable[ServedFile], status: str | None) -> bytes:
    listed: list[dict[str, object]] = []
    for file in files:
        entry: dict[str, object] = {
            "filename": file.filename,
            "url": f"../../files/{file.filename}",
            "hashes": {"sha256": file.sha256},
            "size": len(file.data),
        }
        if file.upload_time is not None:
            entry["upload-time"] = file.upload_time
        if file.yanked is not False:
            entry["yanked"] = file.yanked
        if file.requires_python is not None:
            entry["requires-python"] = file.requires_python
        if file.metadata is not None:
            entry["core-metadata"] = {"sha256": hashlib.sha256(file.metadata).hexdigest()}
        listed.append(entry)
    page: dict[str, object] = {"meta": {"api-version": "1.1"}, "name": name, "files": listed}
    if status is not None:
        page["project-status"] = {"status": status}
    return json.dumps(page).encode()


def _html_page(name: str, files: Iterable[ServedFile], status: str | None) -> bytes:
    head = '<meta name="pypi:repository-version" content="1.1">'
    head += "" if status is None else f'<meta name="pypi:project-status" content="{html.escape(status)}">'
    links: list[str] = []
    for file in files:
        attributes = f'href="../../files/{file.filename}#sha256={file.sha256}"'
        if file.yanked is not False:
            reason = "" if file.yanked is True else file.yanked
            attributes += f' data-yanked="{html.escape(reason)}"'
        if file.requires_python is not None:
            attributes += f' data-requires-python="{html.escape(file.requires_python)}"'
        if file.metadata is not None:
            attributes += f' data-core-metadata="sha256={hashlib.sha256(file.metadata).hexdigest()}"'
        links.append(f"<a {attributes}>{file.filename}</a><br>")
    body = "\n".join(links)
    return f"<!DOCTYPE html><html><head>{head}<title>{name}</title></head><body>\n{body}\n</body></html>".encode()
