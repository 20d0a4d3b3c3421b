"""Times the reading of a folder of environment files, and prints how many were read, with the reason of each refusal.

    python benchmarks/read_folder.py [FOLDER] [--rounds 9]

What is timed is a whole process: `quarantine check FOLDER --list`, which finds the files, reads them and judges nothing.
Without a folder one is made up of 188 files of the kinds that data scientists write. Exit status 1 above the target.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET_SECONDS = 2.0
FILES = 188
QUARANTINE = [sys.executable, "-m", "quarantine"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as made:
        if options.folder is None:
            _make(Path(made))
        folder = options.folder or Path(made)
        took, done = zip(*(_run(folder) for _ in range(options.rounds)), strict=True)
    refused = [line for line in done[-1].stdout.splitlines() if "\trefused: " in line]
    for line in refused:
        file, _, reason = line.split("\t")
        print(f"{file}: {reason}")
    median = statistics.median(took)
    good = median <= TARGET_SECONDS
    print(done[-1].stderr.strip())
    print(
        f"{median:.2f} s, median of {options.rounds} rounds on {os.cpu_count()} cores with Python "
        f"{platform.python_version()}; target {TARGET_SECONDS:g} s{'' if good else ' (MISSED)'}"
    )
    return 0 if good else 1


def _run(folder: Path) -> "tuple[float, subprocess.CompletedProcess[str]]":
    start = time.perf_counter()
    done = subprocess.run(
        [*QUARANTINE, "check", ".", "--list"], cwd=folder, capture_output=True, text=True, check=False
    )
    return time.perf_counter() - start, done


def _make(folder: Path) -> None:
    """Environments in the proportions of a repository of examples."""
    conda = "name: e\nchannels: [conda-forge]\ndependencies:\n- python=3.10\n- pip\n- pip:\n" + "".join(
        f"  - package-{n}=={n}.0\n" for n in range(12)
    )
    for number in range(FILES):
        below = folder / f"project-{number}"
        below.mkdir()
        match number % 6:
            case 0 | 1 | 2 | 3:
                (below / "conda.yaml").write_text(conda)
            case 4:
                (below / "requirements.txt").write_text("".join(f"package-{n}>={n}\n" for n in range(20)))
            case _:
                (below / "environment.yaml").write_text(
                    f"name: e\nimage: mcr.microsoft.com/azureml/base:{number}\nconda_file:\n  dependencies: [python]\n"
                )


if __name__ == "__main__":
    sys.exit(main())
