"""Publishes one file into a mirror of few projects and into one of many, in turns, and compares what it costs.

    python benchmarks/publish.py [--few 10] [--many 10000] [--rounds 31] [--folder DIR]

Both mirrors are in a local store (with its fsync), and get a new project each round: the dearest case, since the page of all
projects changes too. Prints the medians, and the median of the ratios of each round, as JSON; exit status 1 when the ratio is over 2.
"""

import argparse
import hashlib
import io
import json
import statistics
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.record import new_id
from quarantine.exceptions import (
    Approved,
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
)
from quarantine.mirror.simple import JSON_TYPE, SimpleFile, project_html, project_json, root_html, root_json
from quarantine.model import Ecosystem
from quarantine.pipeline.mirror_pages import ROOT_HTML, ROOT_JSON, simple_page
from quarantine.pipeline.publish import Publisher

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WHO = Identity(kind="local", id="uid:1")
TARGET = 2.0


def main() -> int:
    """Exit status 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=10, help="projects of the one mirror")
    parser.add_argument("--many", type=int, default=10_000, help="projects of the other")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument(
        "--folder", type=Path, help="where the mirrors go, on a local disk [default: a temporary folder]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        mirrors = {count: filled(Path(folder) / str(count), count) for count in (options.few, options.many)}
        seconds: dict[int, list[float]] = {count: [] for count in mirrors}
        for number in range(options.rounds + 1):
            for count, publisher in mirrors.items():
                case, approved = prepared(publisher, number)
                began = time.perf_counter()
                publisher.publish(case, approved)
                if number:  # the first one warms up
                    seconds[count].append(time.perf_counter() - began)
    medians = {count: statistics.median(took) for count, took in seconds.items()}
    # of each round by itself: what else the machine does meanwhile slows down both
    ratio = statistics.median(many / few for few, many in zip(seconds[options.few], seconds[options.many], strict=True))
    print(
        json.dumps(
            {
                "milliseconds": {str(count): f"{median * 1000:.1f}" for count, median in medians.items()},
                "ratio": f"{ratio:.2f}",
                "target": f"<= {TARGET:g}",
                "rounds": options.rounds,
            },
            indent=2,
        )
    )
    return 0 if ratio <= TARGET else 1


def filled(folder: Path, count: int) -> Publisher:
    """A mirror with so many projects of one file each, and what publishes into it."""
    store = LocalStore(folder)
    names = [f"project-{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        file = SimpleFile(
            filename=f"{name.replace('-', '_')}-1.0-py3-none-any.whl",
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            size=1000,
            upload_time=NOW,
        )
        # written past the store: ten thousand times its fsync is not what is measured
        for ending, data in (("json", project_json(name, [file])), ("html", project_html(name, [file]))):
            place = folder / "pages" / simple_page(name, ending)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    store.swap(ROOT_JSON, root_json(names), JSON_TYPE, None)
    store.swap(ROOT_HTML, root_html(names), "text/html", None)
    ids = iter(range(1 << 30))
    return Publisher(
        log=LocalLog(folder / "log"),
        store=store,
        pages=store,
        by=WHO,
        now=NOW,
        new_id=lambda: new_id(NOW, next(ids).to_bytes(10, "big")),
        tell=lambda _: None,
    )


def prepared(publisher: Publisher, number: int) -> tuple[ExceptionCase, Approved]:
    """An approved exception for one wheel of a new project, whose bytes are in the holding area."""
    name = f"new-{number}"
    data, metadata = wheel(name)
    held = publisher.store.put("held", data)
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name=name,
        version="1.0",
        filename=f"new_{number}-1.0-py3-none-any.whl",
        sha256=held.hex,
        size=len(data),
    )
    exception = hashlib.sha256(name.encode()).hexdigest()[:32]
    found = DossierFile(file=file, outcomes=(), metadata=publisher.store.put("evidence", metadata).hex)
    dossier = Dossier(
        exception=exception, project="demo", stage="development", time=NOW, policy="a" * 64, files=(found,)
    )
    summary = DossierSummary(
        time=NOW,
        sha256=publisher.store.put("evidence", dossier.encode()).hex,
        files=(held.hex,),
        policy="a" * 64,
        by=WHO,
    )
    request = ExceptionRequest(
        id=exception, project="demo", stage="development", reason="needed", files=(file,), requester=WHO, time=NOW
    )
    approved = Approved(
        exception=exception,
        project="demo",
        stage="development",
        files=(file,),
        expires_at=NOW + timedelta(days=30),
        waives=frozenset(),
        approvers=(WHO,),
        since=NOW,
    )
    return ExceptionCase(id=exception, request=request, dossiers=(summary,)), approved


def wheel(name: str) -> tuple[bytes, bytes]:
    """A wheel of 100 kB, and its metadata."""
    stem = f"{name.replace('-', '_')}-1.0"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.py", b"x" * 100_000)
    return buffer.getvalue(), metadata


if __name__ == "__main__":
    sys.exit(main())
