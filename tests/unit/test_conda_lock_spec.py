"""conda-lock.yml: which entries are kept, with what they say, whatever else a hostile file holds."""

import warnings
from pathlib import Path

import pytest
import yaml
from lock_samples import ARM, LINUX, allowed, conda_item, digest, pip_item, record

from quarantine.model import Target
from quarantine.spec import conda_lock
from quarantine.spec.documents import load
from quarantine.spec.write_conda_lock import write_conda_lock


def test_every_target_has_a_marker() -> None:
    """The marker of a target's platform holds on it, and on no target of another platform."""
    targets = [Target("3.11", platform) for platform in Target.platforms()]
    held = [
        [conda_lock.marker_of(target.conda_subdir).evaluate(other.environment()) for other in targets]
        for target in targets
    ]

    assert held == [[target is other for other in targets] for target in targets]


def test_what_conda_lock_writes_is_read(tmp_path: Path) -> None:
    """A lock that conda-lock itself wrote anew says the same as before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of conda-lock and the conda inside it
        from conda_lock.lockfile import (  # type: ignore[import-untyped]  # it ships no types
            parse_conda_lock_file,
            write_conda_lock_file,
        )
    result = allowed(
        conda_item(record("python", "3.11.9"), LINUX),
        conda_item(record("python", "3.11.9", subdir="linux-aarch64"), ARM),
        pip_item("requests", "2.31.0", targets=(LINUX, ARM)),
        targets=(LINUX, ARM),
    )
    path, again = tmp_path / "conda-lock.yml", tmp_path / "again.yml"
    path.write_bytes(write_conda_lock(result, (LINUX, ARM), "q"))
    write_conda_lock_file(parse_conda_lock_file(path), again, None)
    spec = conda_lock.read("l.yml", {"l.yml": again.read_bytes()}, load("l.yml", again.read_bytes()))
    assert spec.conda is not None
    assert spec.conda.locked is not None
    assert spec.locked is not None

    assert [(package.name, package.platform, package.sha256) for package in spec.conda.locked] == [
        ("python", "linux-64", digest("python-3.11.9-py311_0.conda")),
        ("python", "linux-aarch64", digest("python-3.11.9-py311_0.conda")),
    ]
    assert [(str(package.name), str(package.marker)) for package in spec.locked] == [
        ("requests", 'sys_platform == "linux" and platform_machine == "x86_64"'),
        ("requests", 'sys_platform == "linux" and platform_machine == "aarch64"'),
    ]


def test_environment_variables_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel with a login isn't compared with the environment, and its login is dropped."""
    monkeypatch.setenv("SOME_PASSWORD", "canary")
    lock = yaml.safe_load(write_conda_lock(allowed(conda_item(record("a", "1"))), (LINUX,), "q"))
    lock["metadata"]["channels"] = ["https://user:canary@conda.example.org/channel"]
    data = yaml.safe_dump(lock).encode()
    spec = conda_lock.read("l.yml", {"l.yml": data}, load("l.yml", data))
    assert spec.conda is not None

    assert [channel.name for channel in spec.conda.channels] == ["https://conda.example.org/channel"]
