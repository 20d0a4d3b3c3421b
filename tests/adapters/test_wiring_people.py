"""Settings and environment to who is asking and who is told, on loopback servers."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from issuer import DOCUMENT, IssuerServer, times
from servers import Answer, Asked, WebServer

from quarantine.config import Environment, Settings, load_settings, read_environment
from quarantine.errors import ConfigError, UpstreamError
from quarantine.ports import Delivery, Message
from quarantine.wiring import identities, notifier

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    def names(origin: str) -> dict[str, str]:
        return {DOCUMENT: origin, f"/{TENANT}/v2.0{DOCUMENT}": f"{origin}/{TENANT}/v2.0"}

    with IssuerServer(names) as running:
        yield running


def configured(folder: Path, text: str, variables: Mapping[str, str]) -> tuple[Settings, Environment]:
    file = folder / "quarantine.yaml"
    file.write_text(f"version: 1\nproject: demo\ncache: cache\n{text}\n")
    environment = read_environment(variables)
    return load_settings(file, environment, folder), environment


def who(folder: Path, text: str, variables: Mapping[str, str]) -> str:
    settings, environment = configured(folder, text, variables)
    return str(identities(settings, environment, NOW).who(lambda _: None))


def refusal(folder: Path, text: str, variables: Mapping[str, str]) -> str:
    with pytest.raises((UpstreamError, ConfigError)) as caught:
        who(folder, text, variables)
    return str(caught.value)


def test_local_user_is_not_enough_for_a_store_of_many(tmp_path: Path) -> None:
    """Whoever else reads its records has no reason to believe this machine."""
    text = "store: {account: 'https://acme.blob.core.windows.net'}"
    assert who(tmp_path, "", {"USER": "boss"}).endswith(" (local, unverified)")
    assert refusal(tmp_path, text, {}) == (
        f"{tmp_path / 'quarantine.yaml'}: identity of kind local proves nothing to others who use the store: "
        "expected entra or oidc"
    )


def test_entra_takes_a_token_from_a_variable(server: IssuerServer, tmp_path: Path) -> None:
    """And verifies it with the keys of the configured login host."""
    claims = {
        "iss": f"{server.origin}/{TENANT}/v2.0",
        "aud": "q",
        "tid": TENANT,
        "oid": "ada",
        "upn": "ada@example.org",
    }
    text = f"identity: {{kind: entra, audience: q, tenant: {TENANT}, authority: '{server.origin}', token: env:TOKEN}}"
    token = server.sign({**claims, **times(NOW)})
    assert who(tmp_path, text, {"TOKEN": token}) == "ada@example.org (entra of 127.0.0.1)"
    assert refusal(tmp_path, text, {}) == "identity needs the environment variable TOKEN: it isn't set"


def test_oidc_takes_a_token_from_where_it_runs(server: IssuerServer, tmp_path: Path) -> None:
    """From the variable that is named, from GitHub, from Azure Pipelines; elsewhere it says what to do."""
    token = server.sign({"iss": server.issuer, "aud": "q", "sub": "job", **times(NOW)})
    text = f"identity: {{kind: oidc, audience: q, issuer: '{server.issuer}'"

    def answer(asked: Asked) -> Answer:
        if asked.headers["Authorization"] != "Bearer canary":
            return Answer(status=401)
        return Answer(body=json.dumps({"value" if asked.method == "GET" else "oidcToken": token}).encode())

    with WebServer(answer) as service:
        github = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{service.origin}/github?a=b",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "canary",
        }
        azure = {"TF_BUILD": "True", "SYSTEM_OIDCREQUESTURI": f"{service.origin}/ado", "SYSTEM_ACCESSTOKEN": "canary"}
        found = [
            who(tmp_path, f"{text}, token: env:GIVEN}}", {"GIVEN": token}),
            who(tmp_path, f"{text}}}", github),
            who(tmp_path, f"{text}, service_connection: {TENANT}}}", azure),
        ]
    assert found == ["job (oidc of 127.0.0.1)"] * 3
    assert service.paths() == ["/github?a=b&audience=q", f"/ado?api-version=7.1&serviceConnectionId={TENANT}"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {},
            (
                "identity: oidc finds no CI system that gives tokens here: expected GitHub Actions or Azure Pipelines; "
                "of others name the variable that has the token (`token: env:NAME`)"
            ),
        ),
        (
            {"GITHUB_ACTIONS": "true"},
            (
                "identity needs the environment variable ACTIONS_ID_TOKEN_REQUEST_URL: it isn't set; "
                "give the job the permission `id-token: write`"
            ),
        ),
        (
            {"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://tokens.example"},
            (
                "identity needs the environment variable ACTIONS_ID_TOKEN_REQUEST_TOKEN: it isn't set; "
                "give the job the permission `id-token: write`"
            ),
        ),
        (
            {"TF_BUILD": "True"},
            "identity needs the environment variable SYSTEM_OIDCREQUESTURI: it isn't set",
        ),
        (
            {"TF_BUILD": "True", "SYSTEM_OIDCREQUESTURI": "https://tokens.example"},
            (
                "identity needs the environment variable SYSTEM_ACCESSTOKEN: it isn't set; "
                "map it: `env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}`"
            ),
        ),
    ],
)
def test_job_without_what_it_needs_says_how_to_get_it(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """By the variable that isn't there."""
    assert refusal(tmp_path, "identity: {kind: oidc, audience: q, issuer: 'https://a.example'}", variables) == said


def test_channels_get_their_urls_from_the_environment(tmp_path: Path) -> None:
    """One that isn't set is a delivery that failed, and without channels nobody is told."""
    message = Message(key="k", title="t", text="x")
    with WebServer(lambda _: Answer()) as server:
        text = "notify: [{name: team, url: env:TEAM}, {name: mail, url: env:MAIL}]"
        settings, environment = configured(tmp_path, text, {"TEAM": f"json://127.0.0.1:{server.port}/hook"})
        found = notifier(settings, environment).send(message, lambda _: None)
        nobody = notifier(*configured(tmp_path, "", {})).send(message, lambda _: None)
    assert (found, nobody, server.paths()) == (
        (Delivery(channel="team"), Delivery(channel="mail", problem="the environment variable MAIL isn't set")),
        (),
        ["/hook"],
    )
