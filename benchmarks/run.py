"""One command that measures quarantine beside its peers, in one run, and prints medians and ratios.

    python benchmarks/run.py [--advisories ZIP] [--rounds N]

Needs the package index for a first, cold run; what is measured is warm. `--advisories` is an OSV export (a zip) that both
sides get: quarantine as its database, pip-audit by a zero-latency OSV service on loopback. Without it a set of 2,664
records of our own making is used.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable
BIN = Path(sys.executable).parent
QUARANTINE = str(BIN / "quarantine")

CONFIG = """\
version: 1
project: benchmark
allowlists: allowlists
targets: [{{python: "3.11", platform: linux-x86_64}}]
advisories: {{source: {source}, accept_age_until: 2099-01-01}}
resolver: {{page_cache_seconds: 86400}}
"""


def main() -> int:
    """Runs every benchmark; exit status 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--advisories", type=Path, metavar="ZIP")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        rows = list(_rows(Path(folder), options.advisories, options.rounds))
    width = max(len(name) for name, *_ in rows)
    print(f"{'':{width}}  {'measured':>10}  {'beside':>10}  {'target':>10}")
    for name, measured, beside, target, good in rows:
        print(f"{name:{width}}  {measured:>10}  {beside:>10}  {target:>10}  {'ok' if good else 'MISSED'}")
    return 0 if all(good for *_, good in rows) else 1


def _rows(work: Path, advisories: Path | None, rounds: int) -> Iterator[tuple[str, str, str, str, bool]]:
    zipped = advisories.resolve() if advisories is not None else _made_records(work / "records.zip")
    with zipfile.ZipFile(zipped) as archive:
        records = len(archive.namelist())
    (work / "quarantine.yaml").write_text(CONFIG.format(source=json.dumps(str(zipped))))
    shutil.copytree(HERE.parent / "allowlists", work / "allowlists")
    shutil.copy(HERE / "environment" / "requirements.txt", work)
    run = _runner(work)

    sync = _median(lambda: run([QUARANTINE, "advisories", "sync"]), rounds)
    yield f"advisories sync of {records} records", f"{sync * 1000:.0f} ms", "", "1500 ms", sync < 1.5

    run([QUARANTINE, "check", "requirements.txt", "--stage", "development", "--lock", "pylock.toml"], ok=(0, 1))
    packages = _lock(work)
    run([QUARANTINE, "check", "pylock.toml"], ok=(0, 1))
    with _stub(zipped) as url:
        pins = _pins(work)
        audit = [str(BIN / "pip-audit"), "-r", str(pins), "--disable-pip", "--require-hashes", "-s", "osv"]
        check_lock, pip_audit = _side_by_side(
            lambda: run([QUARANTINE, "check", "pylock.toml"], ok=(0, 1)),
            lambda: run([*audit, "--osv-url", url, "-f", "json", "--progress-spinner", "off"], ok=(0, 1)),
            rounds,
        )
    yield _ratio(f"check of a lock of {packages} packages, beside pip-audit", check_lock, pip_audit, 0.3)

    uv = _uv(work)
    check_spec, compiled = _side_by_side(
        lambda: run([QUARANTINE, "check", "requirements.txt", "--offline"], ok=(0, 1)), lambda: run(uv), rounds
    )
    limit = 1.5 * compiled + 0.3
    yield (
        "check of its requirements, offline, beside uv pip compile",
        f"{check_spec * 1000:.0f} ms",
        f"{compiled * 1000:.0f} ms",
        f"{limit * 1000:.0f} ms",
        check_spec <= limit,
    )

    shown, click = _side_by_side(
        lambda: run([QUARANTINE, "--help"]), lambda: run([PYTHON, "-c", "import click"]), rounds
    )
    yield (
        "quarantine --help, beside import click",
        f"{shown * 1000:.0f} ms",
        f"{click * 1000:.0f} ms",
        f"{(click + 0.06) * 1000:.0f} ms",
        shown <= click + 0.06,
    )

    peak = _peak_mib(work, [QUARANTINE, "check", "pylock.toml"])
    yield "memory of the check of the lock", f"{peak:.0f} MiB", "", "150 MiB", peak < 150


def _ratio(name: str, ours: float, theirs: float, limit: float) -> tuple[str, str, str, str, bool]:
    ratio = ours / theirs
    return name, f"{ours * 1000:.0f} ms", f"{theirs * 1000:.0f} ms", f"{limit} x", ratio <= limit


def _runner(work: Path) -> "Runner":
    variables = {**os.environ, "QUARANTINE_CACHE": str(work / "cache"), "NO_COLOR": "1"}

    def run(argv: Sequence[str], ok: tuple[int, ...] = (0,)) -> float:
        started = time.perf_counter()
        done = subprocess.run(argv, cwd=work, env=variables, capture_output=True, text=True, check=False)
        took = time.perf_counter() - started
        if done.returncode not in ok:
            raise SystemExit(
                f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return took

    return run


Runner = Callable[..., float]


def _median(action: Callable[[], float], rounds: int) -> float:
    return statistics.median(action() for _ in range(rounds))


def _side_by_side(one: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of both, taken in turns, so that whatever else the machine does falls on both."""
    one(), other()
    times = [(one(), other()) for _ in range(rounds)]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def _lock(work: Path) -> int:
    """How many packages the lock has; writes it from uv where the policy refuses the environment."""
    import tomllib

    lock = work / "pylock.toml"
    if not lock.exists():
        subprocess.run(
            [*_uv(work), "--format", "pylock.toml", "-o", str(lock)], cwd=work, check=True, capture_output=True
        )
    return len(tomllib.loads(lock.read_text())["packages"])


def _uv(work: Path) -> list[str]:
    import uv

    options = ["--no-config", "--no-build", "--no-python-downloads", "--python", PYTHON, "--python-version", "3.11"]
    options += [
        "--python-platform",
        "x86_64-manylinux_2_28",
        "--offline",
        "--cache-dir",
        str(work / "cache" / "uv"),
        "-q",
    ]
    cutoff = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 7 * 86400))
    return [uv.find_uv_bin(), "pip", "compile", "requirements.txt", *options, "--exclude-newer", cutoff]


def _pins(work: Path) -> Path:
    """The lock as hashed requirements, which pip-audit reads without pip."""
    import tomllib

    lines = [
        f"{package['name']}=={package['version']} --hash=sha256:{package['wheels'][0]['hashes']['sha256']}"
        for package in tomllib.loads((work / "pylock.toml").read_text())["packages"]
    ]
    file = work / "pins.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


@contextmanager
def _stub(zipped: Path) -> Iterator[str]:
    """A zero-latency OSV service in a process of its own."""
    child = subprocess.Popen([PYTHON, str(HERE / "osv_service.py"), str(zipped)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait()


def _made_records(path: Path) -> Path:
    """As many records as the PyPA database had in October 2024, about packages that don't exist."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2664):
            name = f"made-up-{number % 900}"
            record = {
                "id": f"PYSEC-0000-{number}",
                "modified": "2026-11-01T00:00:00Z",
                "aliases": [f"CVE-0000-{number}"],
                "details": "a record that the benchmark made",
                "affected": [
                    {
                        "package": {"ecosystem": "PyPI", "name": name},
                        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
                        "versions": [f"1.{minor}" for minor in range(50)],
                    }
                ],
            }
            archive.writestr(f"PYSEC-0000-{number}.json", json.dumps(record))
    return path


def _peak_mib(work: Path, argv: Sequence[str]) -> float:
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    variables = {**os.environ, "QUARANTINE_CACHE": str(work / "cache")}
    done = subprocess.run(
        [PYTHON, "-c", code, *argv], cwd=work, env=variables, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


if __name__ == "__main__":
    sys.exit(main())
