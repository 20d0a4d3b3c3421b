"""`quarantine allowlist`: what it prints and how it exits."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from policy_samples import NOW, POLICY, PYPI, files, mixed_files

from quarantine.cli.main import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A project with the sample policy."""
    folder = tmp_path / "allowlists"
    folder.mkdir()
    for name, data in files().items():
        (folder / name).write_bytes(data)
    file = tmp_path / "quarantine.yaml"
    file.write_text("version: 1\nproject: demo\n")
    return file


def run(config: Path, *argv: str) -> int:
    """The exit status of `quarantine allowlist`."""
    return main(["allowlist", *argv], now=NOW, environ={"QUARANTINE_CONFIG": str(config)})


def test_validate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid policy is summed up: its digest, its counts, its patterns, and what ends soon."""
    pypi = config.parent / "allowlists" / "pypi.yaml"
    pypi.write_text(
        PYPI.replace(
            "reason: honest, added: 2026-01-01, expires: 2027-01-01",
            "reason: honest, added: 2026-01-01, expires: 2026-12-23",
        )
    )

    status = run(config, "validate")

    out = capsys.readouterr().out.splitlines()
    assert status == 0
    assert out[0] == f"valid: {config.parent / 'allowlists'}"
    assert re.fullmatch("files: sha256 [0-9a-f]{64}", out[1])
    assert re.fullmatch("in force with this configuration: sha256 [0-9a-f]{64}", out[-1])
    assert out[1][-64:] != out[-1][-64:]
    assert out[2:-1] == [
        "stages: development, production",
        "upstream: acme (pypi, open), 0 allow entries",
        "upstream: vetted (pypi, curated), 6 allow entries",
        "upstream: pypi (pypi, open), 3 allow entries",
        "deny entries: 4",
        "popular names: 4",
        "ignored flaws: 3",
        "reserved: acme-* for acme",
        "pattern: allow azureml-* (vetted.yaml:8)",
        "pattern: deny evil-* (pypi.yaml:10)",
        "expired: 2026-11-23 allow beta (vetted.yaml:4), ann",
        "expired: 2026-11-23 allow flaskk (pypi.yaml:4), ann",
        "expired: 2026-11-23 deny lapsed (pypi.yaml:9), sec",
        "expired: 2026-11-23 ignore CVE-2020-2 of flawed (policy.yaml:23), ann",
        "expires: 2026-12-23 allow reqests (pypi.yaml:3), ann",
        f"in force: {config.parent / 'allowlists'}",
    ]


def test_validate_names_every_problem(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy that doesn't load exits 2, with a line for each problem and nothing on standard output."""
    folder = config.parent / "allowlists"
    (folder / "policy.yaml").write_text(POLICY.replace("mode: curated", "mode: cured"))
    (folder / "pypi.yaml").write_text("version: 1\nalow: []\n")

    status = run(config, "validate")

    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err.splitlines() == [
        f"error: {folder}/policy.yaml:4:74: invalid enum value 'cured': expected open or curated (upstreams.1.mode)",
        f"error: {folder}/pypi.yaml:2:1: unknown key 'alow'",
    ]


def test_explain(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name and a version are explained for each stage."""
    status = run(config, "explain", "Worse==1.5")

    out = capsys.readouterr().out.splitlines()
    assert status == 0
    assert out[:4] == [
        "worse 1.5 (Python distribution)",
        "  asked for it: acme (open), then vetted (curated), then pypi (open); the first that has it owns it",
        "  entry: denied by worse<2.0 (pypi.yaml:8): broken: sec, for good",
        "development:",
    ]
    assert (
        "  fail: deny-entry: worse 1.5 is denied by worse<2.0 (pypi.yaml:8): broken: take another version, or ask sec"
        in out
    )
    assert out[out.index("production:") :][-1] == "  needs: locked: a file that pins every package by digest"


def test_explain_a_reserved_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reserved name is said to have one owner."""
    assert run(config, "explain", "acme.tools") == 0

    assert capsys.readouterr().out.splitlines()[:3] == [
        "acme-tools (Python distribution)",
        "  reserved: it may come from acme only",
        "  asked for it: acme (open); the first that has it owns it",
    ]


def test_explain_in_every_ecosystem(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that several ecosystems have is explained for each, an image without an order of owners."""
    for name, data in mixed_files().items():
        (config.parent / "allowlists" / name).write_bytes(data)

    assert run(config, "explain", "XZ==5.6.1") == 0
    both = capsys.readouterr().out.splitlines()
    assert run(config, "explain", "azureml/old") == 0
    image = capsys.readouterr().out.splitlines()

    assert both[0] == "xz 5.6.1 (Python distribution)"
    start = both.index("xz 5.6.1 (conda package)")
    assert both[start + 1 : start + 4] == [
        (
            "  asked for it: forge (open), then lab (curated), then conda-forge (open), then main (open); "
            "the first that has it owns it"
        ),
        "  entry: denied by xz<5.6.2,>=5.6.0 (forge.yaml:5): a back door: sec, for good",
        "development:",
    ]
    assert image[:5] == [
        "azureml/old (image)",
        "  may be from: mar (curated), team (open)",
        "  entry: denied by images.example.org/azureml/old (mar.yaml:6): it is old: sec, for good",
        "  entry: allowed by images.example.org/azureml/* (mar.yaml:3): reviewed: ann, until 2027-01-01",
        "development:",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "\u212aeras",
            (
                "error: '\\u212aeras' is not a package name: only ASCII letters, digits, '.', '-' and '_' may be used: "
                "expected NAME or NAME==VERSION\n"
            ),
        ),
        ("numpy==two", "error: 'two' is not a version (PEP 440): expected NAME or NAME==VERSION\n"),
        ("numpy>=2", "error: 'numpy>=2' is not a package name: expected NAME or NAME==VERSION\n"),
    ],
)
def test_explain_what_is_no_name(name: str, expected: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no package's name is a mistake on the command line."""
    status = run(config, "explain", name)

    assert (status, capsys.readouterr().err) == (2, expected)


def test_schema(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The schemas are valid JSON Schemas, printed or written, one for each kind of file."""
    assert run(config, "schema") == 0
    printed = json.loads(capsys.readouterr().out)
    assert run(config, "schema", "--out", str(tmp_path / "a" / "b")) == 0

    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "a" / "b").iterdir()}
    assert sorted(written) == ["list.schema.json", "policy.schema.json", "quarantine.schema.json"]
    assert written == printed
    for schema in written.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_schema_where_nothing_can_be_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that can't be made is said in one line."""
    status = run(config, "schema", "--out", str(config / "below"))

    assert (status, capsys.readouterr().err) == (
        2,
        f"error: {config}/below: can't be written: not a directory: give another DIR\n",
    )
