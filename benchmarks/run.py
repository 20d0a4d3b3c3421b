"""Measures quarantine beside its peers, in turns within one run, and prints medians and ratios as a Markdown table.

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install '.[pip-audit]'
    /tmp/bench/bin/python benchmarks/run.py [--advisories ZIP] [--rounds 9] [--kills 1000]

Run it with the Python of a fresh environment, installed as a user would. The first run of the resolver fills the cache
from the real index; what is measured after it is warm. Both sides get the same advisories: quarantine as its database,
pip-audit by an OSV service without latency on loopback. Exit status 1 when a target is missed.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
QUARANTINE = str(BIN / "quarantine")
RECORDS = 2664
MINIMUM_AGE_SECONDS = 7 * 86400

CONFIG = """\
version: 1
project: benchmark
allowlists: allowlists
targets: [{{python: "3.11", platform: linux-x86_64}}]
advisories: {{source: {source}, accept_age_until: 2099-01-01}}
resolver: {{page_cache_seconds: 86400}}  # longer than a run of this takes
"""

EPILOG = "See also log_kills.py (what kills do to the audit log), findings_oracle.py (the same findings as pip-audit), pip_lists.py."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the result; `beside` is the peer's figure, empty where there is none."""

    what: str
    measured: str
    beside: str = ""
    result: str
    target: str
    good: bool

    def __str__(self) -> str:
        mark = "" if self.good else " (MISSED)"
        return f"| {self.what} | {self.measured} | {self.beside} | {self.result}{mark} | {self.target} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--advisories", type=Path, metavar="ZIP", help="an OSV export [default: made-up records]")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kills", type=int, default=0, help="kill the writers of an audit log so often, too")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("quarantine", "pip-audit", "uv", "click")), end="; ")
    print(f"medians of {options.rounds} rounds\n")
    print("| | quarantine | beside | result | target |\n|---|---|---|---|---|")
    good = True
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for row in _rows(Bench(Path(folder), options.rounds), options.advisories):
            print(row, flush=True)
            good &= row.good
    if options.kills:
        kills = [sys.executable, str(HERE / "log_kills.py"), "--kills", str(options.kills)]
        good &= subprocess.run(kills, check=False).returncode == 0
    return 0 if good else 1


# --- what is measured -------------------------------------------------------------------------------------------------


def _rows(bench: "Bench", advisories: Path | None) -> Iterator[Row]:
    export = _made_up_records(bench.folder / "records.zip") if advisories is None else advisories.resolve()
    _project(bench.folder, export)
    yield _sync(bench, export)
    packages = _warm(bench)
    yield _lock_beside_pip_audit(bench, export, packages)
    yield _requirements_beside_uv(bench)
    yield _help_beside_click(bench)
    yield _memory(bench)


def _sync(bench: "Bench", export: Path) -> Row:
    with zipfile.ZipFile(export) as archive:
        records = len(archive.namelist())
    (took,) = bench.medians(lambda: bench.run(QUARANTINE, "advisories", "sync"))
    return Row(
        what=f"`advisories sync` of {records:,} records",
        measured=_ms(took),
        result=_ms(took),
        target="1500 ms",
        good=took < 1.5,
    )


def _lock_beside_pip_audit(bench: "Bench", export: Path, packages: int) -> Row:
    audit = [str(BIN / "pip-audit"), "-r", str(_pins(bench.folder)), "--disable-pip", "--require-hashes"]
    audit += ["-f", "json", "--progress-spinner", "off", "-s", "osv", "--osv-url"]
    with _osv_service(export) as url:
        ours, theirs = bench.medians(
            lambda: bench.run(QUARANTINE, "check", "pylock.toml", ok=(0, 1)),
            lambda: bench.run(*audit, url, ok=(0, 1)),
        )
    return Row(
        what=f"`check` of a lock of {packages} packages, beside pip-audit",
        measured=_ms(ours),
        beside=_ms(theirs),
        result=f"{ours / theirs:.2f} of it",
        target="0.3 of it",
        good=ours <= 0.3 * theirs,
    )


def _requirements_beside_uv(bench: "Bench") -> Row:
    ours, theirs = bench.medians(
        lambda: bench.run(QUARANTINE, "check", "requirements.txt", "--offline", ok=(0, 1)),
        lambda: bench.run(*_uv(bench.folder)),
    )
    limit = 1.5 * theirs + 0.3
    return Row(
        what="`check --offline` of its requirements, beside `uv pip compile --offline`",
        measured=_ms(ours),
        beside=_ms(theirs),
        result=_ms(ours),
        target=f"1.5 of it + 300 ms: {_ms(limit)}",
        good=ours <= limit,
    )


def _help_beside_click(bench: "Bench") -> Row:
    ours, theirs = bench.medians(
        lambda: bench.run(QUARANTINE, "--help"), lambda: bench.run(sys.executable, "-c", "import click")
    )
    return Row(
        what="`quarantine --help`, beside `import click`",
        measured=_ms(ours),
        beside=_ms(theirs),
        result=f"{_ms(ours - theirs)} more",
        target="60 ms more",
        good=ours <= theirs + 0.06,
    )


def _memory(bench: "Bench") -> Row:
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, QUARANTINE, "check", "pylock.toml"]
    done = subprocess.run(command, cwd=bench.folder, env=bench.variables, capture_output=True, text=True, check=True)
    peak = int(done.stdout) / 1024
    return Row(
        what="memory of the `check` of the lock (peak)",
        measured=f"{peak:.0f} MiB",
        result=f"{peak:.0f} MiB",
        target="150 MiB",
        good=peak < 150,
    )


# --- how it is measured -----------------------------------------------------------------------------------------------


class Bench:
    """Runs commands in a project folder with caches of its own."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        inherited = os.environ  # noqa: TID251  # a program of its own
        # bytecode is kept, as it is for everybody who doesn't say otherwise
        kept = {name: value for name, value in inherited.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.variables = {**kept, "QUARANTINE_CACHE": str(folder / "cache"), "NO_COLOR": "1"}

    def run(self, *argv: str, ok: tuple[int, ...] = (0,)) -> float:
        """How many seconds the command took; the end of it all when it fails."""
        started = time.perf_counter()
        done = subprocess.run(
            argv, cwd=self.folder, env=self.variables, capture_output=True, text=True, errors="replace", check=False
        )
        took = time.perf_counter() - started
        if done.returncode not in ok:
            sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return took

    def medians(self, *actions: Callable[[], float]) -> Sequence[float]:
        """The median of each, taken in turns, so that whatever else the machine does falls on all; once unmeasured."""
        for action in actions:
            action()
        times = [[action() for action in actions] for _ in range(self.rounds)]
        return [statistics.median(column) for column in zip(*times, strict=True)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


@contextmanager
def _osv_service(export: Path) -> Iterator[str]:
    """The URL of an OSV service without latency, in a process of its own."""
    command = [sys.executable, str(HERE / "osv_service.py"), str(export)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            url = "" if child.stdout is None else child.stdout.readline().strip()
            if not url:
                sys.exit("the OSV service did not start")
            yield url
        finally:
            child.terminate()


# --- the project that is checked --------------------------------------------------------------------------------------


def _project(folder: Path, export: Path) -> None:
    (folder / "quarantine.yaml").write_text(CONFIG.format(source=json.dumps(str(export))))
    shutil.copytree(HERE.parent / "allowlists", folder / "allowlists")
    shutil.copy(HERE / "environment" / "requirements.txt", folder)


def _warm(bench: Bench) -> int:
    """Fills the caches and writes the lock; how many packages it has.

    An environment of today may be denied, for a flaw that was found yesterday: then the lock is uv's own.
    """
    lock = bench.folder / "pylock.toml"
    bench.run(QUARANTINE, "check", "requirements.txt", "--stage", "development", "--lock", "pylock.toml", ok=(0, 1))
    if not lock.exists():
        bench.run(*_uv(bench.folder), "--format", "pylock.toml", "-o", str(lock))
    bench.run(*(option for option in _uv(bench.folder) if option != "--offline"))
    bench.run(QUARANTINE, "check", "pylock.toml", ok=(0, 1))
    return len(tomllib.loads(lock.read_text())["packages"])


def _uv(folder: Path) -> list[str]:
    cutoff = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - MINIMUM_AGE_SECONDS))
    options = ["--no-config", "--no-build", "--no-python-downloads", "--python", sys.executable, "--quiet"]
    options += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--exclude-newer", cutoff]
    options += ["--offline", "--cache-dir", str(folder / "cache" / "uv")]
    return [find_uv_bin(), "pip", "compile", "requirements.txt", *options]


def _pins(folder: Path) -> Path:
    """The lock as hashed requirements, which pip-audit reads without pip."""
    lines = [
        f"{package['name']}=={package['version']} --hash=sha256:{package['wheels'][0]['hashes']['sha256']}\n"
        for package in tomllib.loads((folder / "pylock.toml").read_text())["packages"]
    ]
    file = folder / "pins.txt"
    file.write_text("".join(lines))
    return file


def _made_up_records(path: Path) -> Path:
    """A zip of as many records as PyPA's database had in 2024, of the usual size, about packages that don't exist."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(RECORDS):
            identifier = f"PYSEC-2024-{10_000 + number}"
            affected = {
                "package": {"ecosystem": "PyPI", "name": f"made-up-{number % 900}"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
                "versions": [f"1.{minor}" for minor in range(50)],
            }
            record = {
                "id": identifier,
                "modified": "2026-11-01T00:00:00Z",
                "aliases": [f"CVE-2024-{10_000 + number}"],
                "details": "A record that a benchmark made up. " * 20,
                "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
                "affected": [affected],
            }
            archive.writestr(f"{identifier}.json", json.dumps(record))
    return path


if __name__ == "__main__":
    sys.exit(main())
