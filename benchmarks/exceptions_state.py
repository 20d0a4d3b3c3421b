"""How long it takes to read what ten thousand exceptions are, from a store on this machine.

    python benchmarks/exceptions_state.py [--exceptions 10000] [--rounds 7]

The log is written as the process writes it: a request, a dossier, an approval and two steps of the publisher for each. The
pages of the folded state are kept once, as publisher and curators do, and some entries come after them. Every round is a process of
its own; what counts is the time from opening the store until it is known what holds for one project and stage. Exits 1 when
the median is over the target.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.events import publication_draft, request_drafts, request_id, ruling_draft, vetted_draft
from quarantine.audit.record import Draft, new_id
from quarantine.config import shipped
from quarantine.exceptions import (
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Publication,
    PublicationKind,
    Ruling,
    RulingKind,
)
from quarantine.model import Ecosystem
from quarantine.pipeline.state import keep_decisions, keep_state, read_state
from quarantine.policy.decide import grants
from quarantine.policy.load import load

TARGET_SECONDS = 0.5
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ANN = Identity(kind="oidc", issuer="https://issuer.example.org", id="1", name="ann", verified=True)
BOB = Identity(kind="oidc", issuer="https://issuer.example.org", id="2", name="bob", verified=True)
REQUESTS, DECISIONS, PUBLISH = (
    "log-requests/demo-2026-11",
    "log-decisions/decisions-2026-11",
    "log-publish/process-2026-11",
)
BATCH = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exceptions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        return read(arguments.read)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        write(store, arguments.exceptions)
        times = [timed(store) for _ in range(arguments.rounds)]
    median = statistics.median(times)
    print(f"state of {arguments.exceptions} exceptions: {median * 1000:.0f} ms (target {TARGET_SECONDS * 1000:.0f} ms)")
    return 0 if median <= TARGET_SECONDS else 1


def write(store: Path, count: int) -> None:
    """A log of so many published exceptions, the pages of its state, and one more exception after that."""
    log = LocalLog(store / "log")
    for start in range(0, count, BATCH):
        append(log, range(start, min(start + BATCH, count)))
    keep_state(log, LocalStore(store))
    keep_decisions(log, LocalStore(store))
    append(log, range(count, count + 1))


def append(log: LocalLog, numbers: range) -> None:
    drafts: dict[str, list[Draft]] = {REQUESTS: [], DECISIONS: [], PUBLISH: []}
    for number in numbers:
        for stream, draft in entries(number):
            drafts[stream].append(draft)
    for stream, some in drafts.items():
        log.append(stream, some)


def entries(number: int) -> Iterator[tuple[str, Draft]]:
    """All that is written of one exception."""
    name = f"package-{number}"
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name=name,
        version="1.0",
        filename=f"package_{number}-1.0-py3-none-any.whl",
        sha256=sha256(name),
        size=1000,
    )
    request = ExceptionRequest(
        id="0" * 32,
        project="demo",
        stage="production",
        reason="the model needs it",
        files=(file,),
        requester=ANN,
        time=NOW,
        nonce=entry_id(),
    )
    request = replace(request, id=request_id(request))
    yield from ((REQUESTS, draft) for draft in request_drafts(request, [entry_id()]))
    waived = (f"{name} 1.0 vulnerability:CVE-2020-{number}",)
    binding = ExceptionCase(id=request.id, request=request).binding
    dossier = DossierSummary(
        binding=binding,
        time=NOW,
        sha256=sha256(f"dossier {number}"),
        files=(file.sha256,),
        failures=waived,
        policy=sha256(""),
        by=BOB,
    )
    yield PUBLISH, vetted_draft(request, dossier, entry_id())
    ruling = Ruling(
        kind=RulingKind.APPROVE,
        id=entry_id(),
        time=NOW,
        by=BOB,
        reason="looked at",
        policy=sha256(""),
        files=(file.sha256,),
        dossier=dossier.sha256,
        expires_at=NOW + timedelta(days=30),
        waives=waived,
        project=request.project,
        stage=request.stage,
        binding=binding,
    )
    yield DECISIONS, ruling_draft(request, ruling)
    for kind in (PublicationKind.PUBLISHING, PublicationKind.PUBLISHED):
        step = Publication(kind=kind, time=NOW, files=(file.sha256,), metadata=("",))
        yield PUBLISH, publication_draft(request, step, BOB, entry_id())


def timed(store: Path) -> float:
    done = subprocess.run([sys.executable, __file__, "--read", str(store)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def read(store: Path) -> int:
    """Prints how many seconds it takes until it is known what holds."""
    policy = load({path.name: path.read_bytes() for path in shipped("allowlists").iterdir()}, now=NOW)
    start = time.perf_counter()
    state = read_state(LocalLog(store / "log"), LocalStore(store))
    found = grants(state, policy, "demo", "production", NOW, local=False)
    took = time.perf_counter() - start
    assert len(found.live) == len(state.cases)
    print(took)
    return 0


def entry_id() -> str:
    return new_id(NOW, os.urandom(10))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
