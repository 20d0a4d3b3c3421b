"""Times a conda solve through quarantine's solver beside py-rattler called directly, in turns, and prints the ratios.

    python benchmarks/conda_solve.py [--records 50000] [--rounds 9] [--channel URL --spec SPEC ...]

Beside it stands a script that imports py-rattler and solves: a fresh process with the same gateway settings and the
same question, once with an empty cache, once with what that left. Against it are held the solver's call, which starts a
worker process that imports py-rattler and solves, and, without a target, the whole process that makes the call: what
quarantine itself takes to load is no part of a solve, and `check` has loaded it long before.

Without a channel one is made up: versions of packages that need each other the way real ones do, served on loopback as
a static file server does, with and without compression. Both sides must come to the same solution. Exit status 1 when a
ratio is above the target.
"""

import argparse
import functools
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import zstandard

TARGET = 1.3
VERSIONS = 20
SPECS = ("python 3.11.*", "numbered-2400", "numbered-2300", "numbered-2000", "numbered-1500 >=1.10", "numbered-700")

DIRECTLY = """
import asyncio, os, sys
import rattler
from rattler.repo_data.gateway import SourceConfig

async def main(url, cache, specs):
    virtual = [("__archspec", "1", "x86_64"), ("__glibc", "2.28", "0"), ("__linux", "4.18", "0"), ("__unix", "0", "0")]
    found = await rattler.solve(
        [rattler.Channel(url)],
        [rattler.MatchSpec(spec) for spec in specs],
        gateway=rattler.Gateway(cache_dir=cache, default_config=SourceConfig()),
        platforms=["linux-64", "noarch"],
        virtual_packages=[
            rattler.GenericVirtualPackage(rattler.PackageName(n), rattler.Version(v), rattler.BuildString(b))
            for n, v, b in virtual
        ],
        channel_relations="disabled",
    )
    print("\\n".join(sorted(record.file_name for record in found)), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
os._exit(0)
"""

THROUGH_QUARANTINE = """
import sys
import time
from pathlib import Path
from quarantine.adapters.rattler import RattlerSolver
from quarantine.model import Ecosystem, Location, MatchSpec, Target
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import CondaRequest

url, cache, *texts = sys.argv[1:]
specs = [text.partition(" ")[::2] for text in texts]
solver = RattlerSolver(
    upstreams=[Upstream(name="channel", type=Ecosystem.CONDA, url=url, mode=Mode.OPEN)],
    cache_dir=Path(cache),
    environ={},
    logins={},
)
request = CondaRequest(
    channels=("channel",),
    specs=tuple(MatchSpec(name=n, version=v, location=Location(file="benchmark")) for n, v in specs),
    target=Target("3.11", "linux-x86_64"),
)
began = time.perf_counter()
answer = solver.solve(request, lambda _: None)
print(time.perf_counter() - began, file=sys.stderr)
print("\\n".join(sorted(record.filename for record in answer.records)))
"""


def main() -> int:
    """Prints a table; exit status 1 when a ratio is above the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--channel", metavar="URL", help="a channel that is there already [default: one made up]")
    parser.add_argument("--spec", action="append", metavar="SPEC", help="what to solve (`name` or `name VERSIONS`)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; ", end="")
    print(f"quarantine {version('quarantine')}, py-rattler {version('py-rattler')}; medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="conda-solve-") as work:
        folder = Path(work)
        if options.channel is not None:
            return _compare(options.channel, options.spec or ["python"], options.rounds, folder)
        made = make_channel(folder / "channel", options.records)
        print(f"a channel of {made:,} records")
        with served(folder) as origin:
            return _compare(f"{origin}/channel", options.spec or SPECS, options.rounds, folder)


def _compare(url: str, specs: Sequence[str], rounds: int, work: Path) -> int:
    sides = {"py-rattler": DIRECTLY, "quarantine": THROUGH_QUARANTINE}
    took: dict[tuple[str, str], list[float]] = {}
    solutions: set[str] = set()
    for number in range(rounds):
        # whoever goes first finds the machine's caches colder
        for side in sorted(sides, reverse=number % 2 == 1):
            cache = work / f"cache-{side}"
            shutil.rmtree(cache, ignore_errors=True)
            for state in ("cold", "warm"):
                began = time.perf_counter()
                command = [sys.executable, "-c", sides[side], url, str(cache), *specs]
                done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=work)
                took.setdefault((f"{side}, whole process", state), []).append(time.perf_counter() - began)
                if done.stderr:
                    took.setdefault((f"{side}, the call", state), []).append(float(done.stderr))
                solutions.add(done.stdout)
    if len(solutions) != 1:
        print(f"the solutions differ: {solutions}")
        return 1
    print(f"a solution of {len(solutions.pop().split())} packages\n")
    print("| | cache | took | beside | ratio | target |\n|---|---|---|---|---|---|")
    good = True
    for state in ("cold", "warm"):
        theirs = statistics.median(took["py-rattler, whole process", state])
        for what, target in (("the call", TARGET), ("whole process", None)):
            ours = statistics.median(took[f"quarantine, {what}", state])
            missed = target is not None and ours / theirs > target
            good &= not missed
            ratio = f"{ours / theirs:.2f}" + (" (MISSED)" if missed else "")
            print(f"| {what} | {state} | {ours * 1000:.0f} ms | {theirs * 1000:.0f} ms | {ratio} | {target or ''} |")
    return 0 if good else 1


# --- the channel ------------------------------------------------------------------------------------------------------


def make_channel(folder: Path, records: int) -> int:
    """Writes the repodata of a channel, the same for the same number of records; no packages. How many it came to."""
    dice = random.Random(20)  # noqa: S311  # a made-up channel, not a secret
    packages = records // VERSIONS
    data: dict[str, dict[str, object]] = {"linux-64": {}, "noarch": {}}
    for minor in range(8, 14):
        for patch in range(4):
            _add(data, "linux-64", "python", f"3.{minor}.{patch}", ["__glibc >=2.17", "numbered-0", "numbered-1 >=1.3"])
    for number in range(packages):
        # early packages are libraries that many need; later ones are built on them
        needs = sorted({int(number * dice.random() ** 2) for _ in range(dice.randint(0, 6))} if number > 1 else ())
        pure = number > packages // 5 and dice.random() < 0.3
        lowest = {other: dice.randrange(VERSIONS // 2) for other in needs}
        for release in range(VERSIONS):
            depends = [f"numbered-{n} >=1.{min(lowest[n], release)},<2.0a0" for n in needs]
            if number > packages // 10:
                oldest = 8 + release // 8
                depends.append(f"python >=3.{oldest}" if pure else f"python >=3.{oldest},<3.14.0a0")
            depends += [] if pure else ["__glibc >=2.17,<3.0.a0"]
            _add(data, "noarch" if pure else "linux-64", f"numbered-{number}", f"1.{release}", depends)
    for subdir, found in data.items():
        place = folder / subdir
        place.mkdir(parents=True)
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": found, "repodata_version": 1}
        text = json.dumps(document).encode()
        (place / "repodata.json").write_bytes(text)
        (place / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=10).compress(text))
    return sum(map(len, data.values()))


def _add(data: dict[str, dict[str, object]], subdir: str, name: str, release: str, depends: list[str]) -> None:
    build = "pyh0_0" if subdir == "noarch" else "h0_0"
    seed = random.Random(f"{name}-{release}")  # noqa: S311  # a made-up digest
    data[subdir][f"{name}-{release}-{build}.conda"] = {
        "name": name, "version": release, "build": build, "build_number": 0, "depends": depends, "constrains": [],
        "license": "MIT", "subdir": subdir, "size": seed.randrange(10**7), "timestamp": 1_700_000_000_000,
        "md5": f"{seed.getrandbits(128):032x}", "sha256": f"{seed.getrandbits(256):064x}",
        **({"noarch": "python"} if subdir == "noarch" else {}),
    }  # fmt: skip


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nothing is written."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The origin of a static file server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
