"""A proxy on loopback that loses answers and requests, sends requests twice, and lets them arrive late."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answered = tuple[int, list[tuple[str, str]], bytes]

FAULTS = {
    "answer lost": 0.05,  # the server did it, and nobody is told
    "request lost": 0.03,  # the server never hears of it
    "sent twice": 0.05,  # the answer is the second one's
    "arrives late": 0.03,  # the connection breaks first, and then the server does it
    "slow": 0.05,
}
"""What goes wrong, and how often."""
Draw = Callable[[str, str], str | None]
"""What goes wrong with a request, by its method and path: one of FAULTS, or "held" (the connection breaks, and the
request waits for one that is "released": it arrives just before that), or None."""


@dataclass(frozen=True, kw_only=True)
class LossyProxy:
    """A running proxy: its port, what it did wrong, and how the server answered, by method and status."""

    port: int
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)


def at_random(seed: int) -> Draw:
    """Faults as often as FAULTS says; the same seed draws the same ones."""
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    words, weights = [None, *FAULTS], [1 - sum(FAULTS.values()), *FAULTS.values()]
    return lambda _method, _path: chance.choices(words, weights)[0]


@contextmanager
def lossy_proxy(upstream: int, draw: Draw) -> Iterator[LossyProxy]:
    """A proxy before a server on another loopback port."""
    drawing = threading.Lock()
    late: list[threading.Thread] = []
    held: list[Callable[[], object]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = self.draw()
            if fault == "request lost":
                self.broken()
                return
            if fault == "held":
                held.append(lambda: self.forward(body, 0))
                self.broken()
                return
            while fault == "released" and held:
                held.pop()()
            if fault == "arrives late":
                late.append(threading.Thread(target=self.forward, args=(body, 0.05)))
                late[-1].start()
                self.broken()
                return
            answer = self.forward(body, 0.05 if fault == "slow" else 0)
            if fault == "sent twice":
                answer = self.forward(body, 0)
            if fault == "answer lost":
                self.broken()
                return
            status, headers, content = answer
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            # of a HEAD it is what a GET would have
            declared = next((value for name, value in headers if name.lower() == "content-length"), None)
            self.send_header("content-length", declared or "0" if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = handle_one  # noqa: N815  # the names that the base class looks for

        def draw(self) -> str | None:
            with drawing:
                fault = draw(self.command, self.path)
                if fault is not None:
                    proxy.faults[fault] += 1
            return fault

        def forward(self, body: bytes, seconds: float) -> Answered:
            time.sleep(seconds)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            with closing(http.client.HTTPConnection("127.0.0.1", upstream)) as connection:
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
            with drawing:
                proxy.answers[self.command, answer.status] += 1
            return answer.status, answer.getheaders(), content

        def broken(self) -> None:
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy = LossyProxy(port=server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
            for thread in late:
                thread.join()
