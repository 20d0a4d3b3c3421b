"""A zero-latency loopback OSV query service for pip-audit: it answers for a package and version from a zip of records.

python benchmarks/osv_service.py ZIP        prints its URL and serves until it is stopped
"""

import json
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Affected = dict[str, list[tuple[dict[str, object], dict[str, object]]]]


def load(archive_path: Path) -> Affected:
    """The records that stand for something, by normalised package name."""
    by_name: Affected = {}
    with zipfile.ZipFile(archive_path) as archive:
        for name in archive.namelist():
            record = json.loads(archive.read(name))
            if record.get("withdrawn"):
                continue
            for affected in record.get("affected", ()):
                if affected["package"]["ecosystem"] == "PyPI":
                    by_name.setdefault(canonicalize_name(affected["package"]["name"]), []).append((affected, record))
    return by_name


def affects(affected: dict[str, object], text: str) -> bool:
    """Whether OSV's evaluation algorithm counts the version as affected."""
    versions, ranges = affected.get("versions"), affected.get("ranges")
    if isinstance(versions, list) and text in versions:
        return True
    try:
        version = Version(text)
    except InvalidVersion:
        return False
    return isinstance(ranges, list) and any(_within(r["events"], version) for r in ranges if r["type"] == "ECOSYSTEM")


def _within(events: list[dict[str, str]], version: Version) -> bool:
    inside = False
    for event in sorted(events, key=lambda e: Version(next(iter(e.values())))):
        kind, bound = next(iter(event.items()))
        if kind == "introduced" and version >= Version(bound):
            inside = True
        elif (kind == "fixed" and version >= Version(bound)) or (kind == "last_affected" and version > Version(bound)):
            inside = False
    return inside


def serve(archive_path: Path) -> ThreadingHTTPServer:
    """The server on a free port of loopback, not yet serving."""
    database = load(archive_path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            candidates = database.get(canonicalize_name(query["package"]["name"]), [])
            found = [record for affected, record in candidates if affects(affected, query["version"])]
            body = json.dumps({"vulns": found} if found else {}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            # one write, so that no delayed acknowledgement is measured
            self.wfile.write(head.encode() + body)

        def log_message(self, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    server = serve(Path(sys.argv[1]))
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
