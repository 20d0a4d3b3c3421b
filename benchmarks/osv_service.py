"""A stand-in for the OSV query service on loopback, with no latency of its own, for peers that ask over HTTP.

    python benchmarks/osv_service.py ZIP        prints its URL, then serves until it is stopped

Which records it hands out is decided by the same code as in a check (`quarantine.policy`), so a comparison of findings
with it shows how the two sides join and report records; give `findings_oracle.py` another service's URL to compare the
matching too.
"""

import sys
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from quarantine.model import parse_name, parse_version
from quarantine.policy.advisories import PYPI, Advisory, affects
from quarantine.policy.osv_record import parse_record

__all__ = ["serve"]

Known = Mapping[str, Sequence[tuple[Advisory, msgspec.Raw]]]
"""By name what each record says about the package, and the record itself."""


class _Package(msgspec.Struct):
    name: str
    ecosystem: str = PYPI


class _Query(msgspec.Struct):
    package: _Package
    version: str


class _Answer(msgspec.Struct, omit_defaults=True):
    vulns: list[msgspec.Raw] = []


def _read(archive: Path) -> Known:
    known: dict[str, list[tuple[Advisory, msgspec.Raw]]] = defaultdict(list)
    with zipfile.ZipFile(archive) as members:
        for member in members.namelist():
            data = members.read(member)
            for advisory in parse_record(data).advisories:
                if advisory.ecosystem == PYPI:
                    known[advisory.name].append((advisory, msgspec.Raw(data)))
    return known


def _answer(known: Known, query: _Query) -> _Answer:
    if query.package.ecosystem != PYPI:
        return _Answer()
    version = parse_version(query.version)
    about = known.get(parse_name(query.package.name), ())
    return _Answer(vulns=[record for advisory, record in about if affects(advisory, version)])


def serve(archive: Path) -> ThreadingHTTPServer:
    """A server of the records in a zip, bound to a free port of loopback and not yet serving."""
    known = _read(archive)
    query = msgspec.json.Decoder(_Query)

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 256 * 1024  # head and body leave together: no wait for an acknowledgement is measured
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            status, answer = HTTPStatus.OK, b""
            try:
                asked = query.decode(self.rfile.read(int(self.headers["Content-Length"])))
                answer = msgspec.json.encode(_answer(known, asked))
            except ValueError as error:
                status, answer = HTTPStatus.BAD_REQUEST, msgspec.json.encode({"message": str(error)})
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing: a line for every request would be measured too."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Service)


def main() -> int:
    if len(sys.argv) != 2:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    with serve(Path(sys.argv[1])) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
