"""Holds our findings to pip-audit's: package, version, set of identifiers and aliases.

    python benchmarks/findings_oracle.py ZIP [--osv-url URL] [PINS...]

ZIP holds OSV records; pip-audit asks the OSV service at URL, by default one on loopback that knows the same ZIP. PINS are
files of `name==version` lines, by default the two lists beside this file. Prints counts and every difference; exit 1 on
any.

pip-audit never makes one finding of two PYSEC records, even where they name the same CVE; ours are joined by every
identifier, so its findings are joined the same way before they are compared. Malware records are counted apart:
an OSV service hands them out like flaws, and pip-audit reports them as such; we mark them, and also match them by the
digest of a file, which pip-audit can't.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from osv_service import serve

from quarantine.adapters.osv import OsvDatabase, sync
from quarantine.io.http import HttpClient
from quarantine.model import Finding, Package, parse_name, parse_version
from quarantine.policy.advisories import join_findings

PINS = Path(__file__).with_name("pins")
Findings = dict[Package, set[frozenset[str]]]


def read_pins(path: Path) -> list[Package]:
    """The packages that a file pins."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return [Package(parse_name(name), parse_version(version)) for name, version in pins]


def ours(database: Path, packages: list[Package]) -> Findings:
    """What the local database finds."""
    found = OsvDatabase(database).findings(packages, lambda _: None)
    return {package: {frozenset(finding.ids) for finding in findings} for package, findings in found.items()}


def theirs(url: str, packages: list[Package], folder: Path) -> tuple[Findings, int]:
    """What pip-audit finds, joined by identifiers, and how many findings it reported before that."""
    lock = folder / "pins.txt"
    lock.write_text("".join(f"{p.name}=={p.version} --hash=sha256:{'0' * 64}\n" for p in packages))
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "--disable-pip", "--require-hashes"]
    command += ["-s", "osv", "--osv-url", url, "-f", "json", "--progress-spinner", "off", "--cache-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in {0, 1} or not done.stdout:
        sys.exit(f"pip-audit failed with status {done.returncode}: {done.stderr.decode()}")
    findings: Findings = {}
    reported = 0
    for dependency in json.loads(done.stdout)["dependencies"]:
        package = Package(parse_name(dependency["name"]), parse_version(dependency["version"]))
        raw = [Finding(id=flaw["id"], aliases=tuple(flaw["aliases"])) for flaw in dependency["vulns"]]
        reported += len(raw)
        findings[package] = {frozenset(finding.ids) for finding in join_findings(raw)}
    return findings, reported


def malware(ids: frozenset[str]) -> bool:
    """Whether one of the identifiers is a malware record's."""
    return any(identifier.startswith("MAL-") for identifier in ids)


def compare(name: str, mine: Findings, other: Findings, reported: int) -> bool:
    """Prints the figures and every difference; whether there is none."""
    pairs = {(package.purl, ids) for package, found in mine.items() for ids in found}
    other_pairs = {(package.purl, ids) for package, found in other.items() for ids in found}
    affected = sum(1 for found in mine.values() if found)
    apart = sum(malware(ids) for _, ids in pairs), sum(malware(ids) for _, ids in other_pairs)
    print(f"{name}: {len(mine)} packages, {affected} of them affected")
    print(f"  flaws: ours {len(pairs) - apart[0]}, pip-audit's {len(other_pairs) - apart[1]}")
    print(f"  malware: ours {apart[0]}, pip-audit's {apart[1]}")
    print(f"  pip-audit reported {reported} findings before those that share an identifier were joined")
    unasked = mine.keys() ^ other.keys()
    for purl in sorted(package.purl for package in unasked):
        print(f"  DIFFERENT: only one of the two was asked about, or answered about, {purl}")
    for purl, ids in sorted(pairs ^ other_pairs, key=lambda pair: (pair[0], sorted(pair[1]))):
        side = "only ours" if (purl, ids) in pairs else "only pip-audit's"
        kind = " (malware)" if malware(ids) else ""
        print(f"  DIFFERENT: {side}{kind}: {purl} {' '.join(sorted(ids))}")
    return pairs == other_pairs and not unasked


@contextmanager
def service(archive: Path, url: str | None) -> Iterator[str]:
    """The URL of the service to ask: the one that was given, or one of our own."""
    if url is not None:
        yield url
        return
    server = serve(archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """0 when both found the same in every list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("zip", type=Path)
    parser.add_argument("pins", type=Path, nargs="*", default=[PINS / "current.txt", PINS / "old.txt"])
    parser.add_argument("--osv-url")
    arguments = parser.parse_args()
    now = datetime.now(UTC)  # noqa: TID251  # a program of its own
    same = True
    with tempfile.TemporaryDirectory() as name, service(arguments.zip, arguments.osv_url) as url:
        folder = Path(name)
        with HttpClient(allowed=[], user_agent="benchmark") as http:
            sync(str(arguments.zip), folder / "advisories.sqlite", http, lambda _: None, now)
        for path in arguments.pins:
            packages = read_pins(path)
            other, reported = theirs(url, packages, folder)
            same &= compare(path.name, ours(folder / "advisories.sqlite", packages), other, reported)
    print("the same findings" if same else "the findings differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
