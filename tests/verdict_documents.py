"""Verdicts as a check writes them (`quarantine/verdict/1`), reduced to what a request reads, for tests to spoil."""

import json
from typing import Any

__all__ = ["advisory", "conda_item", "document", "encoded", "item", "reason"]


def reason(rule: str = "vulnerability", outcome: str = "fail") -> dict[str, Any]:
    """What one rule said."""
    return {"rule": rule, "outcome": outcome, "message": "why", "evidence": {}, "location": None}


def advisory(*, malware: bool = False) -> dict[str, Any]:
    """A flaw, or malware."""
    return {"id": "CVE-2024-1", "aliases": [], "severity": "high", "malware": malware}


def item(name: str = "numpy", version: str | None = "1.26.4", **changed: Any) -> dict[str, Any]:
    """A denied Python distribution with one wheel; `changed` are members that are otherwise."""
    usual: dict[str, Any] = {
        "purl": f"pkg:pypi/{name}" if version is None else f"pkg:pypi/{name}@{version}",
        "ecosystem": "pypi",
        "name": name,
        "version": version,
        "upstream": "pypi",
        "verdict": "denied",
        "artifacts": [
            {"filename": f"{name}-{version}-py3-none-any.whl", "digest": f"sha256:{'a' * 64}", "size": 100, "url": "u"}
        ],
        "advisories": [],
        "reasons": [reason()],
        "added": "by a later version",
    }
    return usual | changed


def conda_item(name: str = "openssl", version: str = "3.0.1", **changed: Any) -> dict[str, Any]:
    """A denied conda package."""
    usual = {
        "purl": f"pkg:conda/{name}@{version}?build=h0_1&channel=forge&subdir=linux-64&type=conda",
        "ecosystem": "conda",
        "upstream": "forge",
        "artifacts": [
            {"filename": f"{name}-{version}-h0_1.conda", "digest": f"sha256:{'b' * 64}", "size": None, "url": "u"}
        ],
    }
    return item(name, version, **(usual | changed))


def document(*items: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A verdict over these items."""
    usual: dict[str, Any] = {
        "schema": "quarantine/verdict/1",
        "verdict": "denied",
        "stage": "production",
        "project": "demo",
        "items": list(items),
    }
    return usual | changed


def encoded(value: object) -> bytes:
    """The bytes of a document, indented as a check writes it."""
    return json.dumps(value, indent=2).encode() + b"\n"
