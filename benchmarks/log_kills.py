"""Kills writers of one audit log at random moments (SIGKILL) and then holds the log to every receipt they got.

    python benchmarks/log_kills.py                 1,000 kills among 4 writers
    python benchmarks/log_kills.py --kills 50      what the tests run

Each writer notes a receipt after `append` returned. A kill seldom hits the very moment of a write, so after every tenth
one the beginning of a line is put at the end of the log, as a write that was cut short leaves it. In the end every noted receipt must be in the log exactly once, on
one unbroken chain; whatever was left of an unfinished append must have been moved aside and reported. Prints what was
counted as JSON; exit status 1 when anything is lost.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from quarantine.adapters.local_log import LocalLog
from quarantine.audit.chain import RECOVERED, Head, Verified, verify
from quarantine.audit.record import Draft, Json, new_id, parse_entry
from quarantine.io.folders import locked

STREAM = "log-checks/kills"
TIME = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENTRIES_PER_SEGMENT = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is written")
    parser.add_argument("--folder", type=Path, help="where the log goes, on a local disk [default: a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        counted, problems = run(Path(folder), options.kills, options.writers, options.seed)
    print(json.dumps({**counted, "problems": problems}, indent=2))
    return 1 if problems else 0


def run(folder: Path, kills: int, writers: int, seed: int) -> tuple[dict[str, Json], list[str]]:
    """What was counted, and what is wrong with the log after so many kills."""
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    began = time.perf_counter()
    living: dict[int, int] = {number: _spawn(folder, number, chance.random()) for number in range(writers)}
    spawned = writers
    for kill in range(kills):
        time.sleep(chance.uniform(0.001, 0.025))
        name, process = chance.choice(sorted(living.items()))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        del living[name]
        if kill % 10 == 9:
            _tear(folder / "log" / STREAM, chance)
        living[spawned] = _spawn(folder, spawned, chance.random())
        spawned += 1
    for process in living.values():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    counted, problems = _inspect(folder, kills)
    return {"kills": kills, "writers": writers, **counted, "seconds": f"{time.perf_counter() - began:.1f}"}, problems


def _tear(stream: Path, chance: random.Random) -> None:
    """Leaves half a line at the end of the log; only a writer who holds the lock can die so."""
    line = b'{"data":{"outcome":"denied","text":"x x x x x x"},"id":"'
    folder = os.open(stream, os.O_RDONLY)
    try:
        with locked(folder, shared=False, seconds=30), max(stream.glob("*.jsonl")).open("ab") as file:
            file.write(line[: chance.randint(1, len(line))])
    finally:
        os.close(folder)


def _spawn(folder: Path, name: int, seed: float) -> int:
    """A forked process that appends until it is killed."""
    process = os.fork()
    if process:
        return process
    try:
        _write_for_ever(folder, name, random.Random(seed))  # noqa: S311  # repeatable, not secret
    finally:
        os._exit(70)


def _write_for_ever(folder: Path, name: int, chance: random.Random) -> None:
    log = LocalLog(folder / "log", max_segment_entries=ENTRIES_PER_SEGMENT)
    receipts = os.open(folder / f"receipts-{name:06d}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = 0
    while True:
        # now and then more than the kernel copies in one step, so that a kill can come in the middle of it
        count, size = (8, 16_000) if chance.random() < 0.1 else (chance.randint(1, 3), chance.randint(0, 400))
        drafts = [_draft(name, number + offset, size) for offset in range(count)]
        number += count
        for receipt in log.append(STREAM, drafts):
            os.write(receipts, f"{receipt.seq} {receipt.sha256}\n".encode())


def _draft(writer: int, number: int, size: int) -> Draft:
    return Draft(
        id=new_id(TIME, writer.to_bytes(5, "big") + number.to_bytes(5, "big")),
        source="//contoso/ml",
        type="quarantine.verdict.v1",
        time=TIME,
        subject=f"pkg:pypi/writer-{writer}@{number}",
        data={"outcome": "denied", "text": "x " * (size // 2)},
    )


def _receipts(folder: Path) -> Iterator[Head]:
    for file in sorted(folder.glob("receipts-*")):
        for line in file.read_text().splitlines(keepends=True):
            seq, _, sha256 = line.strip().partition(" ")
            if line.endswith("\n"):  # a note can be cut short by a kill too
                yield Head(seq=int(seq), sha256=sha256)


def _inspect(folder: Path, kills: int) -> tuple[dict[str, Json], list[str]]:
    log = LocalLog(folder / "log", max_segment_entries=ENTRIES_PER_SEGMENT)
    torn = log.torn_bytes(STREAM)
    log.append(STREAM, [_draft(10**6, 0, 0)])  # recovers what the last kills left
    receipts = list(_receipts(folder))
    problems: list[str] = []
    result = verify(STREAM, log.lines(STREAM), heads=receipts)
    if not isinstance(result, Verified):
        return {"receipts": len(receipts)}, [f"{log.place(STREAM, result.line)}: {result}"]
    if len(set(receipts)) != len(receipts):
        problems.append("an entry was acknowledged twice")
    entries = [parse_entry(line) for line in log.lines(STREAM)]
    if len({entry.id for entry in entries}) != len(entries):
        problems.append("a draft stands twice in the log")
    reports = sum(entry.type == RECOVERED for entry in entries)
    aside = list((folder / "log" / STREAM).glob("*.torn-*"))
    if reports < len(aside) or any(file.suffix == ".new" for file in aside):
        problems.append(f"{len(aside)} unfinished lines were moved aside, {reports} reported")
    if result.torn_bytes:
        problems.append("an unfinished line is left after an append")
    if len(aside) < kills // 20:
        problems.append(f"only {len(aside)} unfinished lines were met: this shows too little")
    if len(receipts) < kills // 2:
        problems.append(f"only {len(receipts)} receipts: this shows too little")
    return {
        "receipts": len(receipts),
        "entries": len(entries),
        "unacknowledged": len(entries) - len(receipts) - reports - 1,
        "torn_lines_moved_aside": len(aside),
        "torn_bytes_at_the_end": torn,
        "segments": len(list((folder / "log" / STREAM).glob("*.jsonl"))),
    }, problems


if __name__ == "__main__":
    sys.exit(main())
