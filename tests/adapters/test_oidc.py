"""CI jobs by the tokens of their system, against loopback servers that speak as GitHub and Azure Pipelines do."""

import json
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from issuer import IssuerServer, published_keys, rsa_key, times
from servers import Answer, Asked, WebServer

from quarantine.adapters.oidc import (
    CiClaims,
    OidcIdentities,
    TokenSource,
    azure_pipelines,
    ci_claims,
    claimed_project,
    github_actions,
)
from quarantine.errors import UpstreamError
from quarantine.exceptions import Identity
from quarantine.io.http import HttpClient
from quarantine.io.tokens import Issuer

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUDIENCE = "https://quarantine.example"
PASS = "canary-pass"
CONNECTION = "11111111-2222-3333-4444-555555555555"
GITHUB = {
    "sub": "repo:acme/models:environment:production",
    "repository": "acme/models",
    "repository_id": "4711",
    "actor": "ada",
    "actor_id": "17",
    "ref": "refs/heads/main",
    "environment": "production",
    "job_workflow_ref": "acme/models/.github/workflows/train.yml@refs/heads/main",
}
AZURE = {
    "sub": "p://acme/ml/train",
    "org_id": "o",
    "prj_id": "p",
    "def_id": "12",
    "rpo_id": "99",
    "rpo_uri": "https://dev.azure.com/acme/ml/_git/models",
    "rpo_ref": "refs/heads/main",
}


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as running:
        yield running


def quiet(_: str) -> None:
    """Nobody is told."""


def client(urls: Iterable[str]) -> HttpClient:
    return HttpClient(
        allowed=tuple(urls), user_agent="quarantine/tests", retries=1, backoff_seconds=0.01, timeout_seconds=5
    )


def identities(
    server: IssuerServer, source: TokenSource, folder: Path, *, subject: str = "sub", audience: str = AUDIENCE
) -> OidcIdentities:
    return OidcIdentities(
        issuer=Issuer(issuer=server.issuer, audience=audience),
        subject=subject,
        source=source,
        keys=published_keys(folder, NOW),
        now=NOW,
    )


def signed(server: IssuerServer, claims: dict[str, str], **more: object) -> str:
    return server.sign({"iss": server.issuer, "aud": AUDIENCE, **times(NOW), **claims, **more})


def refusal(server: IssuerServer, source: TokenSource, folder: Path) -> str:
    with pytest.raises(UpstreamError) as caught:
        identities(server, source, folder).who(quiet)
    assert PASS not in str(caught.value)
    return str(caught.value)


# --- GitHub Actions ---------------------------------------------------------------------------------------------------


def test_github_is_asked_for_a_token_of_the_audience(server: IssuerServer, tmp_path: Path) -> None:
    """With the job's pass, once; who it is, is the person behind the job, wherever they started it."""
    token = signed(server, GITHUB)

    def answer(asked: Asked) -> Answer:
        ours = asked.headers["Authorization"] == f"Bearer {PASS}"
        return Answer(body=json.dumps({"value": token, "count": 1}).encode()) if ours else Answer(status=401)

    with WebServer(answer) as service:
        source = github_actions(f"{service.origin}/token?api-version=2.0", lambda: PASS, AUDIENCE, client)
        who = identities(server, source, tmp_path, subject="actor_id")
        found = [who.who(quiet), who.who(quiet)]
        job = who.job(quiet)
    ada = Identity(
        kind="oidc", id="17", name="ada in acme/models", issuer=server.issuer, claim="actor_id", verified=True
    )
    assert found == [ada, ada]
    assert [(asked.method, asked.path) for asked in service.asked] == [
        ("GET", "/token?api-version=2.0&audience=https%3A%2F%2Fquarantine.example")
    ]
    assert job == CiClaims(
        issuer=server.issuer,
        repository="acme/models",
        repository_id="4711",
        ref="refs/heads/main",
        environment="production",
        workflow="acme/models/.github/workflows/train.yml@refs/heads/main",
    )


def test_one_person_in_two_repositories_is_one(server: IssuerServer, tmp_path: Path) -> None:
    """Else they could ask in the one and approve in the other; two people in one repository are two."""
    elsewhere = {**GITHUB, "repository": "acme/curation", "repository_id": "4712", "sub": "repo:acme/curation"}
    tokens = [signed(server, GITHUB), signed(server, elsewhere), signed(server, {**GITHUB, "actor_id": "18"})]
    keys = [identities(server, lambda _, t=token: t, tmp_path, subject="actor_id").who(quiet).key for token in tokens]  # type: ignore[misc]  # the default binds the loop's variable
    assert keys == [(server.issuer, "17"), (server.issuer, "17"), (server.issuer, "18")]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"value": 7}', b"<html>canary-token</html>", b"\xff"])
def test_answer_without_a_token_is_none(server: IssuerServer, tmp_path: Path, body: bytes) -> None:
    """Of either system, and it isn't repeated."""
    with WebServer(lambda _: Answer(body=body)) as service:
        github = refusal(server, github_actions(f"{service.origin}/t", lambda: PASS, AUDIENCE, client), tmp_path)
        azure = refusal(server, azure_pipelines(f"{service.origin}/t", lambda: PASS, "", client), tmp_path)
    assert (github, azure) == (
        "GitHub gives this job no identity token: its answer holds none",
        "Azure Pipelines gives this job no identity token: its answer holds none",
    )


def test_service_that_refuses_or_fails_is_said(server: IssuerServer, tmp_path: Path) -> None:
    """By its status; one that isn't there is the network's failure."""
    with WebServer(lambda _: Answer(status=403)) as service:
        sources = [
            github_actions(f"{service.origin}/t?sig=canary", lambda: PASS, AUDIENCE, client),
            azure_pipelines(f"{service.origin}/t", lambda: PASS, "", client),
        ]
        said = [refusal(server, source, tmp_path) for source in sources]
    said += [refusal(server, source, tmp_path) for source in sources]
    assert said == [
        "GitHub gives this job no identity token: it answered 403",
        "Azure Pipelines gives this job no identity token: it answered 403",
        f"{service.origin}: no connection (Connection refused)",
        f"{service.origin}: no connection (Connection refused)",
    ]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://tokens.example/t", " isn't encrypted: expected https (http on this machine's loopback only)"),
        ("file:///etc/passwd", "a URL with the scheme 'file': only http and https are followed"),
    ],
)
def test_pass_is_sent_nowhere_without_encryption(server: IssuerServer, tmp_path: Path, url: str, why: str) -> None:
    """It is as good as the token."""
    said = [
        refusal(server, github_actions(url, lambda: PASS, AUDIENCE, client), tmp_path),
        refusal(server, azure_pipelines(url, lambda: PASS, "", client), tmp_path),
    ]
    names = ("ACTIONS_ID_TOKEN_REQUEST_URL", "SYSTEM_OIDCREQUESTURI") if why.startswith(" ") else ("", "")
    assert said == [f"{name}{why}" for name in names]


@pytest.mark.parametrize("bad", ["a\r\nHost: evil.example", "a\nb", "é"])
def test_pass_that_is_no_header_is_refused(server: IssuerServer, tmp_path: Path, bad: str) -> None:
    """A variable may hold anything."""
    with WebServer() as service:
        said = refusal(server, github_actions(f"{service.origin}/t", lambda: bad, AUDIENCE, client), tmp_path)
    assert (said, service.asked) == ("the job's pass to its token service has characters that no header has", [])


# --- Azure Pipelines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "query"),
    [("", "?api-version=7.1"), (CONNECTION, f"?api-version=7.1&serviceConnectionId={CONNECTION}")],
)
def test_azure_pipelines_is_asked_for_a_token(
    server: IssuerServer, tmp_path: Path, connection: str, query: str
) -> None:
    """By POST, in the name of a service connection where there is one; its token names a pipeline."""
    token = signed(server, AZURE)
    posts = _Posts(token)
    with posts.server as service:
        source = azure_pipelines(f"{service.origin}/oidctoken/", lambda: PASS, connection, client)
        who = identities(server, source, tmp_path)
        found, job = who.who(quiet), who.job(quiet)
    assert found == Identity(
        kind="oidc",
        id="p://acme/ml/train",
        name="p://acme/ml/train",
        issuer=server.issuer,
        claim="sub",
        verified=True,
    )
    assert posts.seen == [("POST", f"/oidctoken{query}", f"Bearer {PASS}", "Suppress")]
    assert job == CiClaims(
        issuer=server.issuer,
        repository="https://dev.azure.com/acme/ml/_git/models",
        repository_id="99",
        ref="refs/heads/main",
        workflow="12",
    )


class _Posts:
    """Azure Pipelines' token service."""

    def __init__(self, token: str) -> None:
        self.seen: list[tuple[str, str, str | None, str | None]] = []
        self._token = token
        self.server = WebServer(self._answer)

    def _answer(self, asked: Asked) -> Answer:
        headers = asked.headers
        self.seen.append((asked.method, asked.path, headers["Authorization"], headers["X-TFS-FedAuthRedirect"]))
        return Answer(body=json.dumps({"oidcToken": self._token}).encode())


def test_what_is_posted_follows_no_redirect(server: IssuerServer, tmp_path: Path) -> None:
    """Nor is it sent again after a failure: nobody knows whether it was heard."""
    with WebServer(lambda _: Answer(status=307, headers={"Location": "/elsewhere"})) as service:
        said = refusal(server, azure_pipelines(f"{service.origin}/t", lambda: PASS, "", client), tmp_path)
        service.always("/t?api-version=7.1", Answer(status=503))
        failed = refusal(server, azure_pipelines(f"{service.origin}/t", lambda: PASS, "", client), tmp_path)
    assert (said, failed, service.paths()) == (
        f"{service.origin}/t redirects what was sent to it: refused",
        f"{service.origin}/t answered 503",
        ["/t?api-version=7.1"] * 2,
    )


# --- any --------------------------------------------------------------------------------------------------------------


def test_token_that_is_given_is_verified_like_any_other(server: IssuerServer, tmp_path: Path) -> None:
    """Expected issuer and audience are the configuration's, whatever a CI system hands out."""
    good, forged = signed(server, {"sub": "project:7"}), server.sign({"iss": server.issuer}, key=rsa_key("thief"))
    other = signed(server, {"sub": "project:7"}, aud="https://elsewhere.example")
    assert identities(server, lambda _: good, tmp_path).who(quiet).id == "project:7"
    assert [refusal(server, lambda _, t=token: t, tmp_path) for token in (forged, other)] == [  # type: ignore[misc]  # as above
        "the identity token is refused: its signature is not its issuer's",
        f"the identity token is refused: it is for 'https://elsewhere.example': expected the audience {AUDIENCE}",
    ]


@pytest.mark.parametrize("subject", [None, "", 17, ["17"], "x" * 257, "a\u202eb"])
def test_token_that_names_nobody_is_refused(server: IssuerServer, tmp_path: Path, subject: object) -> None:
    """`sub` doesn't stand in for the claim that is configured."""
    token = signed(server, GITHUB, actor_id=subject)
    with pytest.raises(UpstreamError) as caught:
        identities(server, lambda _: token, tmp_path, subject="actor_id").who(quiet)
    assert str(caught.value) == "the identity token is refused: it names nobody (actor_id)"


@pytest.mark.parametrize(
    ("claims", "repository", "said"),
    [
        (GITHUB, "acme/models", "acme/models"),
        (AZURE, "https://dev.azure.com/acme/ml/_git/models", "https://dev.azure.com/acme/ml/_git/models"),
        ({"project_path": "acme/lab", "project_id": "5"}, "acme/lab", "acme/lab"),
        ({"repository": "a\u202e\nb"}, "ab", "ab"),
        ({"repository": ["acme/models"]}, "", ""),
        ({}, "", ""),
    ],
)
def test_project_is_read_from_claims(claims: dict[str, object], repository: str, said: str) -> None:
    """As each system names it, cleaned of what can't be printed; nothing where none is named."""
    assert (claimed_project(claims), ci_claims(claims).repository) == (repository, said)


def test_neither_token_nor_pass_is_logged_or_shown(
    server: IssuerServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """At whatever level, from the first request to the last."""
    caplog.set_level(logging.DEBUG)
    posts = _Posts(signed(server, AZURE))
    with posts.server as service:
        who = identities(server, azure_pipelines(f"{service.origin}/t", lambda: PASS, "", client), tmp_path)
        shown = f"{who.who(quiet)!r} {who!r} {who.job(quiet)!r}"
    said = caplog.text + "".join(capsys.readouterr()) + shown
    assert [secret for secret in (PASS, *posts._token.split(".")) if secret in said] == []
