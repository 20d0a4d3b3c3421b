"""OSV records made on the fly, bundles of them, and a loopback service that answers pip-audit's queries."""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
MODIFIED = "2026-11-20T08:00:00Z"


def affected(name: str, *, ecosystem: str = "PyPI", **fields: Any) -> Json:
    """One entry of a record's `affected`."""
    return {"package": {"ecosystem": ecosystem, "name": name}, **fields}


def version_range(*events: tuple[str, str], kind: str = "ECOSYSTEM") -> Json:
    """A range with these events, in this order."""
    return {"type": kind, "events": [{name: version} for name, version in events]}


def record(identifier: str, *entries: Json, modified: str = MODIFIED, **fields: Any) -> bytes:
    """A record as JSON."""
    return json.dumps({"id": identifier, "modified": modified, "affected": list(entries), **fields}).encode()


def before(identifier: str, name: str, fixed: str, **fields: Any) -> bytes:
    """A record about everything before a version."""
    return record(identifier, affected(name, ranges=[version_range(("introduced", "0"), ("fixed", fixed))]), **fields)


def bundle(*records: bytes) -> bytes:
    """A zip of records, as the OSV export has it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(records):
            archive.writestr(f"{number}-{json.loads(data)['id']}.json", data)
    return file.getvalue()


# what an OSV service must know before pip-audit's silence is believed
KNOWN_FLAW = record("PYSEC-2018-28", affected("requests", versions=["2.19.0"]), aliases=["CVE-2018-18074"])
KNOWN_MALWARE = record("MAL-2026-2144", affected("litellm", versions=["1.82.7", "1.82.8"]))


class OsvService:
    """A loopback OSV query service: `answer` gives, for a name and a version, the records that affect it."""

    def __init__(self, answer: Callable[[str, str], Sequence[bytes]]) -> None:
        self.asked: list[tuple[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = (query["package"]["name"], query["version"])
                service.asked.append(question)
                vulns = [json.loads(data) for data in answer(*question)]
                body = json.dumps({"vulns": vulns} if vulns else {}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                """The tests read `asked` instead."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/query"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def listed(records: Mapping[tuple[str, str], Sequence[bytes]]) -> Callable[[str, str], Sequence[bytes]]:
    """An answer for `OsvService` that knows these packages, besides what every service must know."""
    known = {("requests", "2.19.0"): [KNOWN_FLAW], ("litellm", "1.82.7"): [KNOWN_MALWARE], **records}
    return lambda name, version: known.get((name, version), [])
