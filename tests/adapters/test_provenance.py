"""Attestations count only where somebody has said who must have made them, and only when they verify."""

import base64
import json
import sys
from pathlib import Path

import pytest

from quarantine.adapters.provenance import Provenance
from quarantine.exceptions import ExceptionFile
from quarantine.io.confine import Limits
from quarantine.model import Ecosystem, Outcome, OutcomeKind
from quarantine.policy.entries import Publisher

NAME = "app-1.0-py3-none-any.whl"
ACME = Publisher(host="github", repository="acme/app", workflow="release.yml")


def asked(ecosystem: Ecosystem = Ecosystem.PYPI, filename: str = NAME) -> ExceptionFile:
    assert ecosystem in (Ecosystem.PYPI, Ecosystem.CONDA)
    return ExceptionFile(
        ecosystem=ecosystem, upstream="pypi", name="app", version="1.0", filename=filename, sha256="0" * 64
    )


def provenance(*attestations: object, kind: str = "GitHub") -> bytes:
    """A provenance object of one bundle."""
    publisher = {"kind": kind, "repository": "acme/app", "workflow": "release.yml", "environment": None}
    bundle = {"publisher": publisher, "attestations": attestations}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}).encode()


def forged() -> dict[str, object]:
    """An attestation whose form is right, and whose certificate is none."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": NAME, "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": None,
    }
    return {
        "version": 1,
        "verification_material": {
            "certificate": base64.b64encode(b"no certificate").decode(),
            "transparency_entries": [{"logIndex": "1"}],
        },
        "envelope": {
            "statement": base64.b64encode(json.dumps(statement).encode()).decode(),
            "signature": base64.b64encode(b"no signature").decode(),
        },
    }


def verified(data: bytes | None, expected: Publisher | None, adapter: Provenance | None = None) -> tuple[str, str]:
    said = (adapter or Provenance()).verify(asked(), data, expected, lambda _: None)
    assert said.rule == "provenance"
    return said.kind.value, said.message


CLAIM = "github:acme/app/release.yml"


@pytest.mark.parametrize(
    ("data", "expected", "kind", "message"),
    [
        (None, None, "not-applicable", "has no attestations, and no entry of a list asks for any"),
        (
            None,
            ACME,
            "fail",
            f"has no attestations, expected one of {CLAIM}: its index has none of it",
        ),
        (
            b'{"version":1,"attestation_bundles":[]}',
            ACME,
            "fail",
            f"has no attestations, expected one of {CLAIM}: its provenance object is empty",
        ),
        (
            provenance(),
            ACME,
            "fail",
            f"has no attestations, expected one of {CLAIM}: its provenance object is empty",
        ),
        (provenance(), None, "not-applicable", "has no attestations, and no entry of a list asks for any"),
        (
            provenance(forged()),
            None,
            "not-applicable",
            f"is attested by '{CLAIM}', and no entry of a list says who must have published it",
        ),
        (provenance({}), ACME, "fail", f"is not attested by {CLAIM}: 'the provenance object is not of its form (PEP 740)'"),
        (provenance(forged()), ACME, "fail", f"is not attested by {CLAIM}: 'invalid X.509 certificate'"),
        (provenance(forged(), kind="Nobody"), ACME, "fail", f"is not attested by {CLAIM}: 'the provenance object is not of its form (PEP 740)'"),
        (
            provenance(forged()),
            Publisher(host="gitlab", repository="acme/app"),
            "fail",
            "is not attested by gitlab:acme/app: 'invalid X.509 certificate'",
        ),
    ],
)  # fmt: skip
def test_only_what_is_expected_and_verifies_counts(
    data: bytes | None, expected: Publisher | None, kind: str, message: str
) -> None:
    """An empty set is none; what a bundle says about itself is only evidence; what doesn't verify fails."""
    assert verified(data, expected) == (kind, f"{NAME} {message}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"nothing", "its provenance object can't be read: JSON is malformed: invalid character (byte 4)"),
        (b"[]", "its provenance object can't be read: Expected `object`, got `array`"),
        (b'{"x":' + b"[" * 100_000, "its provenance object can't be read: "),
        (b" " * (1024 * 1024 + 1), "its provenance object has 1048577 bytes, at most 1048576 are read"),
    ],
)
def test_what_is_no_provenance_object_fails(data: bytes, message: str) -> None:
    """Somebody serves it as one."""
    kind, said = verified(data, ACME)

    assert (kind, said[: len(NAME) + 2 + len(message)]) == ("fail", f"{NAME}: {message}")


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        (Provenance(Limits(seconds=0.01)), f"{Path(sys.executable).name} was stopped: not done within 0.01 s"),
        (Provenance(Limits(cpu_seconds=0)), "it was killed"),
    ],
)
def test_a_child_that_gives_no_answer_has_verified_nothing(adapter: Provenance, why: str) -> None:
    """That is unknown, neither good nor bad."""
    assert verified(provenance(forged()), ACME, adapter) == (
        "unknown",
        f"{NAME}: its attestations could not be verified: {why}",
    )


def test_an_answer_that_cannot_be_read_has_verified_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child read hostile certificates: its word is parsed strictly."""
    monkeypatch.setattr("quarantine.io.confine._BOOT", "import sys; sys.stdin.read(); print('verified')")

    assert verified(provenance(forged()), ACME) == (
        "unknown",
        f"{NAME}: its attestations could not be verified: no readable answer",
    )


def test_without_the_libraries_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the way to install them is said."""
    monkeypatch.setattr("quarantine.adapters.provenance._PACKAGES", ("quarantine", "msgspec"))
    monkeypatch.setattr("quarantine.io.confine._BOOT", _BOOT_WITHOUT)

    assert verified(provenance(forged()), ACME) == (
        "unknown",
        f"{NAME}: nothing here verifies attestations: run pip install '.[curators]' in the clone that quarantine was installed from",
    )


_BOOT_WITHOUT = (
    "import sys; sys.path += sys.argv[2:]; sys.modules['pypi_attestations'] = None; import importlib; "
    "importlib.import_module(sys.argv[1]).main()"
)


def test_a_conda_package_has_no_attestations() -> None:
    """PEP 740 speaks of Python distributions alone."""
    file = asked(Ecosystem.CONDA, "app-1.0-0.conda")

    assert Provenance().verify(file, None, ACME, lambda _: None) == Outcome(
        rule="provenance",
        kind=OutcomeKind.NOT_APPLICABLE,
        message="app-1.0-0.conda is no Python distribution: it has no attestations",
    )
