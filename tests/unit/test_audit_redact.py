"""Secrets are taken out of text."""

import base64
import time

import pytest

from quarantine.audit.redact import redact, redact_json

_KEY = base64.b64encode(bytes(range(64))).decode()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:canary@example.org/simple", "https://***@example.org/simple"),
        ("https://canary@example.org", "https://***@example.org"),
        ("git+https://canary@example.org/x.git@v1", "git+https://***@example.org/x.git@v1"),
        ("https://u:p@ss:canary@example.org/", "https://***@example.org/"),
        ("https://u:can/ary@example.org/x", "https://***@example.org/x"),
        ("https://u:can#ary@example.org/x", "https://***@example.org/x"),
        ("--index-url=https://u:canary@a.example/ --find-links http://u:canary@b.example", None),
        ("https://a.example/?next=https://u:canary@b.example/", "https://a.example/?next=https://***@b.example/"),
        ("<https://u:canary@a.example>", "<https://***@a.example>"),
        (
            "pkg:pypi/x@1.0?download_url=https:%2F%2Fu:canary%40a.example%2Fx",
            "pkg:pypi/x@1.0?download_url=https:%2F%2F***%40a.example%2Fx",
        ),
        ("https%3A%2F%2Fu%3Acanary%40a.example%2Fx", "https%3A%2F%2F***%40a.example%2Fx"),
        ("https://a.example/c?sv=2024&sig=canary%2B1%3D&x=1", "https://a.example/c?sv=2024&sig=***&x=1"),
        ("https://a.example/c?sig=canary", "https://a.example/c?sig=***"),
        ("https://a.example/c?se=2026&sp=r&sig=canary", "https://a.example/c?se=***&sp=***&sig=***"),
        ("?sv=1%26sig%3Dcanary%26x", "?sv=1%26sig%3D***%26x"),
        ("SharedAccessSignature=sr=x&sig=canary", "SharedAccessSignature=***&sig=***"),
        (f"AccountName=a;AccountKey={_KEY};Suffix=b", "AccountName=a;AccountKey=***;Suffix=b"),
        (f"the key {_KEY} works", "the key *** works"),
        ("Authorization: Bearer canary.canary", "Authorization: ***"),
        ("authorization:  basic   Y2FuYXJ5", "authorization:  ***"),
        ("{'Authorization': 'Bearer canary123'}", "{'Authorization': '***'}"),
        ("sent bearer canary-token-1", "sent bearer ***"),
        ("AZURE_CLIENT_SECRET=canary", "AZURE_CLIENT_SECRET=***"),
        ('password="can ary" next', 'password="***" next'),
        ('password="canary and no end', 'password="***'),
        ('{"password": "canary", "a": "b"}', '{"password": "***", "a": "b"}'),
        ("password: canary", "password: ***"),
        ("twine upload --password canary", "twine upload --password ***"),
        ("pypi-AgEIcHlwaS5vcmcCJGNhbmFyeQ", "***"),
        ("ghp_canarycanarycanary00", "***"),
        ("github_pat_11CANARY_canarycanary", "***"),
        ("glpat-canarycanarycanary00", "***"),
        ("hf_" + "Canary" * 6, "***"),
        ("AKIA" + "CANARY00" * 2, "***"),
        ("eyJhbGciOiJub25lIiwidHlwIjoi.eyJjYW5hcnkiOiIxIn0.c2ln", "***"),
        ("abc8Q~" + "canary_~-." * 4, "***"),
        ("A" * 76 + "AZDO" + "1234", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----", "***-----END RSA PRIVATE KEY-----"),
    ],
)
def test_secrets_go(text: str, clean: str | None) -> None:
    """Every form of credential is replaced, the rest stays, and a second pass changes nothing."""
    result = redact(text)

    assert "canary" not in result.lower()
    assert clean is None or result == clean
    assert redact(result) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pkg:pypi/numpy@2.1.0",
        "pkg:pypi/token@1.0",
        "mytoken==1.0 is denied",
        "https://example.org:8443/simple/x/",
        "https://[::1]:8443/x@1",
        "sha256:" + "0f" * 32,
        "git@example.org: permission denied",
        "CVE-2018-18074 affects requests 2.19.0; fixed in 2.20.0",
        "pypi-attestations 0.0.28 by its maintainers",
        "the bearer of news",
        "numpy>=1.20,<2; python_version < '3.12'",
        "log-checks/local-2026-11@41:" + "ab" * 32,
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Names, versions, digests and plain addresses are evidence, and are kept."""
    assert redact(text) == text


def test_all_of_a_mapping_is_redacted() -> None:
    """At any depth, in keys and in values; by the name of a key, and the environment of an image whole."""
    assert redact_json(
        {
            "upstream": {"urls": ["https://u:canary@a.example/", 1, None, True]},
            "https://u:canary@b.example/": "x",
            "client_secret": "canary",
            "token": {"kind": "pat", "n": 3},
            "Env": ["PATH=/bin", "S=canary", "canary", 1],
            "env": {"S": "canary"},
        }
    ) == {
        "upstream": {"urls": ["https://***@a.example/", 1, None, True]},
        "https://***@b.example/": "x",
        "client_secret": "***",
        "token": {"kind": "pat", "n": 3},
        "Env": ["PATH=***", "S=***", "***", 1],
        "env": {"S": "***"},
    }


@pytest.mark.parametrize(
    "piece",
    [
        "://a:x", "https://", "http://:a@", "@", "%", "%3A%2F%2F", "%26", "eyJ", "eyJa.", "a", "A", "aA0+", "a.-8Q~", "0Q~",
        "password=", 'password="', "token%3D", "?sig=%26", "sig=", "authorization:", "bearer ", "bearer          ", " ",
        "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "pypi-Ag", "ghp_", "--a", "--password ", "\"'", "sk-proj-", "=", "\n",
    ],
)  # fmt: skip
def test_no_text_makes_it_slow(piece: str) -> None:
    """A hundred thousand characters of any of the patterns' own pieces take milliseconds; backtracking would take hours.

    The bound is wide and the fastest of three runs counts, so that a busy machine doesn't decide.
    """
    text = (piece * 100_000)[:100_000] + "!"
    fastest = float("inf")
    for _ in range(3):
        before = time.process_time()
        redact(text)
        fastest = min(fastest, time.process_time() - before)

    assert fastest < 1
