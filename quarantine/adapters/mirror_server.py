"""A server of the mirror for this machine alone: loopback, read-only, for pip, uv and conda, which need no credential for it.

What there is, and for whom, is the business of the shelves that it asks; this speaks HTTP (RFC 9110) and keeps to limits.
A file's bytes are hashed as they are read from the store, and the last of them are held back until the digest is right: a
wrong one ends the connection before its end, so that no client takes the file for whole.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from email.utils import format_datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import Self

from quarantine.errors import IntegrityError, QuarantineError, UpstreamError
from quarantine.mirror.answers import Answer, Document, Moved, Refusal, Shelves, Stored

__all__ = ["MirrorServer"]

MAX_THREADS = 64
"""Of clients at once; uv asks with up to 50 connections. Others wait until one of these goes."""
REQUEST_SECONDS = 15.0
"""For a whole request, and for the silence before it: who sends a byte now and then doesn't keep a thread."""
SEND_SECONDS = 60.0
"""For a client to take a chunk of a file."""
MAX_PATH = 2048
_ADDRESS = "127.0.0.1"
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)


class MirrorServer:
    """Serves the shelves on 127.0.0.1 until it is closed; port 0 is any free one. UpstreamError where it can't be had.

    `tell` hears, one line each, of files that were refused and of bytes that were wrong.
    """

    def __init__(self, shelves: Shelves, port: int, tell: Callable[[str], None]) -> None:
        try:
            self._server = _Server(shelves, port, tell)
        except (OSError, OverflowError) as error:
            reason = str(getattr(error, "strerror", None) or error).lower()
            raise UpstreamError(f"port {port} of {_ADDRESS} can't be had: {reason}") from error
        self.port: int = self._server.server_port
        self.origin = f"http://{_ADDRESS}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="mirror").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Bounded in threads; connections that say nothing for too long are shut."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    # another process that has the port must be told of, not shared with
    allow_reuse_port = False

    def __init__(self, shelves: Shelves, port: int, tell: Callable[[str], None]) -> None:
        self.shelves = shelves
        self.tell = tell
        self._slots = threading.BoundedSemaphore(MAX_THREADS)
        self._waiting: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((_ADDRESS, port), _Handler)
        self.hosts = frozenset({f"{_ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"})
        if self.server_port == 80:
            self.hosts |= {_ADDRESS, "localhost"}

    @property
    def crowded(self) -> bool:
        """Whether other clients are waiting for a thread."""
        if self._slots.acquire(blocking=False):
            self._slots.release()
            return False
        return True

    def server_bind(self) -> None:
        """Binds without asking for the host's name, which may ask a network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]  # of an IPv4 address

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Gives a client a thread, once there is one."""
        while not self._slots.acquire(timeout=0.1):
            self.service_actions()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """The client's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def waits(self, connection: socket.socket, seconds: float | None) -> None:
        """Notes that a request must be there within so many seconds; None that it is."""
        with self._lock:
            if seconds is None:
                self._waiting.pop(connection, None)
            else:
                self._waiting[connection] = monotonic() + seconds

    def service_actions(self) -> None:
        """Shuts connections whose time is over; their threads then end."""
        now = monotonic()
        with self._lock:
            late = [connection for connection, ends in self._waiting.items() if ends < now]
            for connection in late:
                del self._waiting[connection]
        for connection in late:
            _shut(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are no error of ours."""


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it is shut already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "quarantine"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = REQUEST_SECONDS
    # so that a small answer is one packet
    wbufsize = 64 * 1024

    def handle_one_request(self) -> None:
        """Reads one request and answers it."""
        self.server.waits(self.connection, REQUEST_SECONDS)
        try:
            super().handle_one_request()
        finally:
            self.server.waits(self.connection, None)

    def do_GET(self) -> None:
        """Answers a request for a path."""
        self.server.waits(self.connection, None)
        self.connection.settimeout(SEND_SECONDS)
        try:
            self._answer()
        except (OSError, ValueError):
            self.close_connection = True
        else:
            self.connection.settimeout(REQUEST_SECONDS)

    do_HEAD = do_GET  # noqa: N815  # the base class looks for this name

    def _refuse_method(self) -> None:
        self.close_connection = True
        self._say(Refusal(405, "the mirror is only read: expected GET or HEAD"), ("Allow", "GET, HEAD"))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815  # the same

    def _answer(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            # a page from elsewhere, whose name was made to lead here, must not read what this machine's user may
            self.close_connection = True
            return self._say(Refusal(421, f"expected to be asked as {_ADDRESS}:{self.server.server_port}"))
        if self.headers.get("Transfer-Encoding") is not None or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True
            return self._say(Refusal(400, "a request of this mirror has no body"))
        path, _, _ = self.path.partition("?")
        if len(path) > MAX_PATH:
            return self._say(Refusal(414, "the path is too long"))
        if self.server.crowded:
            self.close_connection = True
        answer = self.server.shelves.answer(path, ",".join(self.headers.get_all("Accept", [])))
        return self._say(answer)

    def _say(self, answer: Answer, *more: tuple[str, str]) -> None:
        match answer:
            case Document(content_type=kind, data=data):
                tag = f'"{sha256(data).hexdigest()}"'
                if self._is_known(tag):
                    return self._head(304, None, "", [("ETag", tag), ("Vary", "Accept")])
                self._head(200, len(data), kind, [("ETag", tag), ("Vary", "Accept"), *more])
                return self._body(data)
            case Stored():
                return self._file(answer)
            case Moved(path=path):
                return self._head(301, 0, "", [("Location", path)])
            case Refusal(status=status, why=why):
                if status in (403, 503):
                    self.server.tell(f"refused {self.path[:200]}: {why}")
                data = f"{why}\n".encode()
                self._head(status, len(data), "text/plain; charset=utf-8", more)
                return self._body(data)

    def _is_known(self, tag: str) -> bool:
        """Whether the client says that it has this very content (RFC 9110, section 13.1.2)."""
        known = {part.strip().removeprefix("W/") for part in self.headers.get("If-None-Match", "").split(",")}
        return tag in known

    def _head(self, status: int, length: int | None, kind: str, headers: Sequence[tuple[str, str]]) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers:
            self.send_header(name, value)
        # what holds now may not hold in a moment: who keeps an answer must ask whether it still does
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _body(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    # --- files --------------------------------------------------------------------------------------------------------

    def _file(self, file: Stored) -> None:
        tag = f'"sha256:{file.sha256}"'
        headers = [("ETag", tag), ("Accept-Ranges", "bytes")]
        if file.published is not None:
            headers.append(("Last-Modified", format_datetime(file.published, usegmt=True)))
        if self._is_known(tag):
            return self._head(304, None, "", headers)
        start, end, status = self._span(file, tag)
        if status == 416:
            return self._head(416, 0, "", [*headers, ("Content-Range", f"bytes */{file.size}")])
        if status == 206:
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{file.size}"))
        self._head(status, end - start, file.content_type, headers)
        if self.command == "HEAD":
            return self.wfile.flush()
        try:
            for piece in _held_back(_part(file, start, end)):
                self.wfile.write(piece)
            return self.wfile.flush()
        except QuarantineError as error:
            # the status is sent, so that all that is left to say is that this isn't the end of the file
            self.close_connection = True
            self.server.tell(f"ended {self.path[:200]} before its end: {error}")
            return None

    def _span(self, file: Stored, tag: str) -> tuple[int, int, int]:
        """From where to where of the file, and the status of HTTP that says so (RFC 9110, section 14)."""
        found = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if found is None or self.command == "HEAD" or self.headers.get("If-Range", tag) != tag:
            return 0, file.size, 200
        first, last = found.groups()
        if not first and not last:
            return 0, file.size, 200
        start = int(first) if first else max(0, file.size - int(last))
        end = min(int(last) + 1, file.size) if first and last else file.size
        return (start, end, 206) if start < end else (0, 0, 416)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nobody reads a log of what was served."""


def _part(file: Stored, start: int, end: int) -> Iterator[bytes]:
    """The bytes of the file between two places; all of it is read, since only all of it can be held to its digest."""
    here = 0
    for chunk in file.chunks():
        piece = chunk[max(start - here, 0) : max(end - here, 0)]
        here += len(chunk)
        if piece:
            yield piece
    if here != file.size:
        raise IntegrityError(f"{file.sha256} has {here} bytes, and had {file.size}")


def _held_back(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, each when the next one is there, the last when it is known to be the last."""
    held: bytes | None = None
    for piece in pieces:
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
