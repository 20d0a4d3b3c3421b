"""`mirror fetch` beside `pip download`: the same hundred files from the same mirror, in turns within one run.

    python benchmarks/mirror_fetch.py [--files 100] [--rounds 5] [--folder DIR]

The mirror is in a local store. Both are whole commands in processes of their own. `mirror fetch` checks the lock first, and
records the verdict; pip asks `mirror serve` on loopback, with the same list of hashes and without a cache. Prints the median
throughputs and their ratio as JSON; exit status 1 when the ratio is below 0.7.
"""

import argparse
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from house import NOW, House, house
from mirror_samples import Bytes, Mirror, wheel

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.adapters.mirror_server import MirrorServer
from quarantine.pipeline.serve import MirrorShelves

TARGET = 0.7


def main() -> int:
    """Exit status 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="where everything goes, on a local disk [default: a temporary folder]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, house(Path(folder)) as home:
        files = [padded(number) for number in range(options.files)]
        mirror = prepared(home, files)
        size = sum(len(entry.data) for entry in files) / 2**20
        shelves = MirrorShelves(
            log=mirror.log,
            store=mirror.store,
            pages=mirror.pages,
            policy=lambda _state, _now: mirror.policy,
            project="demo",
            stage="production",
            local=True,
            now=lambda: NOW,
        )
        took: dict[str, list[float]] = {"mirror fetch": [], "pip download": []}
        with MirrorServer(shelves, 0, lambda _: None) as server:
            for number in range(options.rounds + 1):
                for what, argv in commands(server.origin).items():
                    shutil.rmtree(home.folder / "got", ignore_errors=True)
                    seconds = timed(home, argv)
                    if number:  # the first one warms up
                        took[what].append(seconds)
                    count = len(list((home.folder / "got").glob("*.whl")))
                    if count != options.files:
                        sys.exit(f"{what}: {count} files came, expected {options.files}")
    speeds = {what: size / statistics.median(seconds) for what, seconds in took.items()}
    # of each round by itself: what else the machine does meanwhile slows down both
    ratio = statistics.median(pip / ours for ours, pip in zip(took["mirror fetch"], took["pip download"], strict=True))
    print(
        json.dumps(
            {
                "files": options.files,
                "MiB": f"{size:.1f}",
                "MiB/s": {what: f"{speed:.1f}" for what, speed in speeds.items()},
                "ratio": f"{ratio:.2f}",
                "target": f">= {TARGET:g}",
            },
            indent=2,
        )
    )
    return 0 if ratio >= TARGET else 1


def padded(number: int) -> Bytes:
    """A wheel of 200 kB to 1 MB, which doesn't compress."""
    chance = random.Random(number)  # noqa: S311  # repeatable, not secret
    entry = wheel(f"package-{number}")
    buffer = io.BytesIO(entry.data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(
            zipfile.ZipInfo(f"package_{number}_data.bin"), chance.randbytes(chance.randint(200_000, 1_000_000))
        )
    return entry.of(buffer.getvalue())


def prepared(home: House, files: list[Bytes]) -> Mirror:
    """A project whose mirror has the files for production, and a lock of them."""
    home.advise()
    store = LocalStore(home.folder / ".quarantine")
    mirror = Mirror(log=LocalLog(home.folder / ".quarantine/log"), store=store, pages=store)
    for start in range(0, len(files), 40):
        mirror.published(*files[start : start + 40], stage="production")
    lines = (f"{e.file.name}=={e.file.version} --hash=sha256:{e.file.sha256}\n" for e in files)
    home.write("requirements.txt", "".join(lines))
    # the commands run at the present time, at which the advisories of the tests are of the future or long gone
    config = home.folder / "quarantine.yaml"
    config.write_text(
        config.read_text().replace("max_age_hours: 96", "max_age_hours: 96, accept_age_until: 2099-01-01")
    )
    return mirror


def commands(origin: str) -> dict[str, list[str]]:
    """The two commands, in the project's folder."""
    ours = (
        "import sys; from datetime import UTC, datetime; from quarantine.cli.main import main; "
        f"sys.exit(main(sys.argv[1:], now=datetime.fromisoformat({NOW.isoformat()!r})))"
    )
    return {
        "mirror fetch": [sys.executable, "-c", ours, "mirror", "fetch", "--lock", "requirements.txt", "--to", "got"],
        "pip download": [
            sys.executable, "-m", "pip", "download", "--quiet", "--isolated", "--disable-pip-version-check", "--no-cache-dir",
            "--no-deps", "--require-hashes", "--index-url", f"{origin}/simple/", "-r", "requirements.txt", "-d", "got",
        ],
    }  # fmt: skip


def timed(home: House, argv: list[str]) -> float:
    """How many seconds the command took, which must end well."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home.folder)}  # noqa: TID251  # what the child needs to start
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=home.folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv[:6])} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
