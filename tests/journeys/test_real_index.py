"""The main job on the real index: the example environment of the README, as a person would check it."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from network import require_index

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the module's own; skips where the index can't be reached, but never in CI."""
    folder = tmp_path_factory.mktemp("cache") / "quarantine"
    require_index(folder)
    return folder


def _run(cache: Path, store: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    config = store / "quarantine.yaml"
    if not config.exists():
        text = (ROOT / "quarantine.yaml").read_text()
        text = text.replace("allowlists: allowlists", f"allowlists: {json.dumps(str(ROOT / 'allowlists'))}")
        config.write_text(text.replace("examples/advisories", json.dumps(str(ROOT / "examples/advisories"))))
    variables = {**os.environ, "QUARANTINE_CACHE": str(cache)}  # noqa: TID251  # proxies and certificates
    command = [sys.executable, "-m", "quarantine", "--config", str(config), *argv]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_the_readmes_example_on_the_real_index(cache: Path, tmp_path: Path) -> None:
    """Every file of a real closure has its evidence, and an allowed environment gives a lock that production takes."""
    assert _run(cache, tmp_path, "advisories", "sync").returncode == 0
    lock = tmp_path / "pylock.toml"

    done = _run(cache, tmp_path, "check", "examples/requirements.txt", "--lock", str(lock), "--report", "json")

    assert done.returncode in (0, 1, 3), done.stderr
    verdict = json.loads(done.stdout)
    assert len(verdict["items"]) > 50
    for item in verdict["items"]:
        assert item["upstream"] == "pypi"
        assert item["required_by"] or item["location"]["file"] == "examples/requirements.txt"
        assert item["artifacts"], item["name"]
        for artifact in item["artifacts"]:
            assert artifact["digest"].startswith("sha256:")
            assert artifact["size"] > 0
            assert artifact["upload_time"] < verdict["time"]
    refused = [item["name"] for item in verdict["items"] if item["verdict"] != "allowed"]
    assert (done.returncode == 0) == (refused == []) == lock.exists()
    if lock.exists():
        assert len(tomllib.loads(lock.read_text())["packages"]) == len(verdict["items"])
        assert _run(cache, tmp_path, "check", str(lock), "--stage", "production", "--offline").returncode == 0


def test_the_refused_example_on_the_real_index(cache: Path, tmp_path: Path) -> None:
    """Old pins, a source-only one, a second index and a repository are refused, each at its line, with a way out."""
    assert _run(cache, tmp_path, "advisories", "sync").returncode == 0

    done = _run(cache, tmp_path, "check", "examples/requirements-refused.txt", "--report", "json")

    assert done.returncode == 1, done.stderr
    verdict = json.loads(done.stdout)
    items = {item["name"]: item for item in verdict["items"]}
    failed = {
        name: sorted(reason["rule"] for reason in items[name]["reasons"] if reason["outcome"] == "fail")
        for name in ("numpy", "private-helpers")
    }
    assert failed == {"numpy": ["source-only"], "private-helpers": ["direct-reference"]}
    assert items["numpy"]["nearest"] is not None
    assert [r["location"]["line"] for r in verdict["subjects"][0]["reasons"] if r["rule"] == "index-option"] == [2]
