"""How long it takes to look into a held wheel of 20 MB: every byte read, unpacked and hashed, in the real child process.

    python benchmarks/vet_wheel.py [--rounds N] [--megabytes N]

The wheel has 1,000 members: half of its bytes can't be packed, as those of libraries and weights, the rest is like code,
and 50 are pickles. Exit status 1 above the target.
"""

import argparse
import base64
import hashlib
import os
import pickle
import platform
import random
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from quarantine.adapters.vetting import Vetting
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem, OutcomeKind

TARGET_SECONDS = 2.0
NAME = "app-1.0-py3-none-any.whl"
INFO = "app-1.0.dist-info"
METADATA = b"Metadata-Version: 2.4\nName: app\nVersion: 1.0\nLicense-Expression: MIT\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: benchmarks\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
MEMBERS, PICKLES = 950, 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / NAME
        _make(path, options.megabytes * 1_000_000)
        file = ExceptionFile(
            ecosystem=Ecosystem.PYPI,
            upstream="pypi",
            name="app",
            version="1.0",
            filename=NAME,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        took = [_round(path, file) for _ in range(options.rounds)]
        size = path.stat().st_size
    median = statistics.median(took)
    good = median <= TARGET_SECONDS
    print(
        f"{median:.2f} s for {size / 1e6:.1f} MB, median of {options.rounds} rounds on {os.cpu_count()} cores with Python "
        f"{platform.python_version()}; target {TARGET_SECONDS:g} s{'' if good else ' (MISSED)'}"
    )
    return 0 if good else 1


def _round(path: Path, file: ExceptionFile) -> float:
    start = time.perf_counter()
    found = Vetting().inspect(path, file, lambda _: None)
    took = time.perf_counter() - start
    assert {outcome.kind for outcome in found.outcomes} == {OutcomeKind.PASS}, found.outcomes
    return took


def _make(path: Path, size: int) -> None:
    """A wheel of about that size, the same one every time."""
    chance = random.Random(1)  # noqa: S311  # filler, the same every time
    words = [f"name_{number} = value_{chance.randrange(10**6)}\n".encode() for number in range(4000)]
    files: dict[str, bytes] = {}
    for number in range(MEMBERS):
        if number % 2:
            files[f"app/part_{number}.so"] = chance.randbytes(2 * size // MEMBERS)
        else:
            files[f"app/module_{number}.py"] = b"".join(chance.choices(words, k=500))
    for number in range(PICKLES):
        files[f"app/data_{number}.pkl"] = pickle.dumps([chance.random() for _ in range(2000)])
    files |= {f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": WHEEL}
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{INFO}/RECORD"] = "\n".join([*lines, f"{INFO}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


if __name__ == "__main__":
    sys.exit(main())
