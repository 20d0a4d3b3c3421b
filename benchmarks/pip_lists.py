"""Checks every pip list below a folder against the real index and counts how they end.

    python benchmarks/pip_lists.py FOLDER --config quarantine.yaml [--python 3.10]

A pip list is a requirements file, or the `pip:` section of a conda environment, which is written out line by line. Each
runs in a process of its own, as a person would run it. A traceback, and a verdict without a reason, are failures.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

QUARANTINE = str(Path(sys.executable).parent / "quarantine")


def main() -> int:
    """Prints a line a list and the counts; exit status 1 when one ends in anything but a verdict or a clear refusal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--python", default="3.10")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    rules: collections.Counter[str] = collections.Counter()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="pip-lists-") as work:
        for number, (shown, path) in enumerate(_lists(options.folder, Path(work))):
            started = time.perf_counter()
            ending, why = _check(path, options.config, options.python)
            failures += ending == "FAILURE"
            counts[ending] += 1
            rules.update(set(why))
            took = time.perf_counter() - started
            print(f"{number:3} {ending:9} {took:5.1f}s {shown}: {'; '.join(sorted(set(why)))[:300]}", flush=True)
    print(f"{sum(counts.values())} lists: " + ", ".join(f"{count} {ending}" for ending, count in counts.most_common()))
    print("rules: " + ", ".join(f"{rule} {count}" for rule, count in rules.most_common()))
    return 1 if failures else 0


def _lists(folder: Path, work: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".txt":
            yield str(path.relative_to(folder)), path
        elif path.suffix in (".yml", ".yaml"):
            try:
                document = yaml.safe_load(path.read_text())
            except yaml.YAMLError:
                continue  # a template, with placeholders where values will be
            for number, lines in enumerate(_pip_sections(document)):
                made = work / f"{path.stem}-{len(list(work.iterdir()))}-requirements.txt"
                made.write_text("\n".join(map(str, lines)) + "\n")
                yield f"{path.relative_to(folder)} (pip section {number + 1})", made


def _pip_sections(value: object) -> Iterator[list[object]]:
    if isinstance(value, dict):
        for key, child in value.items():
            if key == "pip" and isinstance(child, list):
                yield child
            else:
                yield from _pip_sections(child)
    elif isinstance(value, list):
        for child in value:
            yield from _pip_sections(child)


def _check(path: Path, config: Path, python: str) -> tuple[str, list[str]]:
    target = f"cp{python.replace('.', '')}-linux-x86_64"
    argv = [QUARANTINE, "--config", str(config.resolve()), "check", path.name, "--target", target, "--report", "json"]
    done = subprocess.run(argv, cwd=path.parent, capture_output=True, text=True, check=False)
    if "Traceback" in done.stderr or "defect" in done.stderr or done.returncode not in (0, 1, 2, 3):
        return "FAILURE", [done.stderr[-300:]]
    if not done.stdout:
        return ("bad input" if done.returncode == 2 else "undecided"), [done.stderr.strip()]
    verdict = json.loads(done.stdout)
    why = [
        reason["rule"]
        for owner in (*verdict["items"], *verdict["subjects"])
        for reason in owner["reasons"]
        if reason["outcome"] in ("fail", "unknown")
    ]
    if verdict["verdict"] != "allowed" and not why:
        return "FAILURE", ["no reason"]
    return verdict["verdict"], why


if __name__ == "__main__":
    sys.exit(main())
