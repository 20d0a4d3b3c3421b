"""People and service principals by tokens of Microsoft Entra, as a loopback issuer makes them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from issuer import DOCUMENT, IssuerServer, published_keys, rsa_key, times
from servers import Answer

from quarantine.adapters.entra import PUBLIC_AUTHORITY, EntraIdentities, issuers
from quarantine.errors import UpstreamError
from quarantine.exceptions import Identity

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT = "11111111-2222-3333-4444-555555555555"
AUDIENCE = "api://quarantine"
OID = "99999999-8888-7777-6666-555555555555"
OLD = f"https://sts.windows.net/{TENANT}/"


def entra(origin: str) -> Mapping[str, str]:
    """The documents of a tenant: of version 2, and of version 1 with the name that doesn't answer."""
    return {f"/{TENANT}/v2.0{DOCUMENT}": f"{origin}/{TENANT}/v2.0", f"/{TENANT}{DOCUMENT}": OLD}


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer(entra) as running:
        yield running


def quiet(_: str) -> None:
    """Nobody is told."""


def claims(server: IssuerServer, **more: object) -> dict[str, object]:
    """A person's token of version 2."""
    usual = {
        "iss": f"{server.origin}/{TENANT}/v2.0",
        "aud": AUDIENCE,
        "tid": TENANT,
        "oid": OID,
        "sub": "pairwise",
        "preferred_username": "ada@example.org",
        "name": "Ada",
        **times(NOW),
    }
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def identities(
    server: IssuerServer, token: str, folder: Path, asked: list[tuple[str, str]] | None = None
) -> EntraIdentities:
    def credential(scope: str, authority: str) -> str:
        if asked is not None:
            asked.append((scope, authority))
        return token

    return EntraIdentities(
        tenant=TENANT,
        audience=AUDIENCE,
        authority=server.origin,
        keys=published_keys(folder, NOW),
        now=NOW,
        credential=credential,
    )


def refusal(server: IssuerServer, token: str, folder: Path) -> str:
    with pytest.raises(UpstreamError) as caught:
        identities(server, token, folder).who(quiet)
    assert token not in str(caught.value)
    return str(caught.value)


def test_person_is_known_by_object_id(server: IssuerServer, tmp_path: Path) -> None:
    """A token is asked for once, for the configured audience, and the name is what people read."""
    asked: list[tuple[str, str]] = []
    told: list[str] = []
    who = identities(server, server.sign(claims(server)), tmp_path, asked)
    ada = Identity(
        kind="entra",
        id=OID,
        name="ada@example.org",
        issuer=f"{server.origin}/{TENANT}/v2.0",
        claim="oid",
        verified=True,
    )
    assert (who.who(told.append), who.who(told.append)) == (ada, ada)
    assert asked == [(f"{AUDIENCE}/.default", server.origin)]
    assert told == ["asking Microsoft Entra who this is", "asking 127.0.0.1 for its keys"]


def test_tokens_of_version_1_are_verified_with_the_login_hosts_keys(server: IssuerServer, tmp_path: Path) -> None:
    """Their issuer is a name of its own, and the user name is called `upn`; who it is stays the same."""
    token = server.sign(claims(server, iss=OLD, preferred_username=None, upn="ada@old.example", ver="1.0"))
    found = identities(server, token, tmp_path).who(quiet)
    issuer = f"{server.origin}/{TENANT}/v2.0"
    assert found == Identity(kind="entra", id=OID, name="ada@old.example", issuer=issuer, claim="oid", verified=True)
    assert server.paths() == [f"/{TENANT}{DOCUMENT}", "/keys"]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ({"name": "the pipeline"}, "the pipeline"),
        ({"app_displayname": "publisher"}, "publisher"),
        ({"azp": "00000000-aaaa-bbbb-cccc-000000000000"}, "00000000-aaaa-bbbb-cccc-000000000000"),
        ({"appid": "00000000-aaaa-bbbb-cccc-000000000000"}, "00000000-aaaa-bbbb-cccc-000000000000"),
        ({}, ""),
        ({"name": "\u202eboss\n"}, "boss"),
        ({"name": ["boss"]}, ""),
    ],
)
def test_service_principal_is_known_by_object_id(
    server: IssuerServer, tmp_path: Path, named: dict[str, object], name: str
) -> None:
    """It has no user name; what it is called otherwise is for reading, and may be nothing."""
    plain = claims(server, **{"preferred_username": None, "name": None, "idtyp": "app", **named})
    found = identities(server, server.sign(plain), tmp_path).who(quiet)
    assert (found.id, found.name, found.verified) == (OID, name, True)


def test_same_person_under_two_names_is_one(server: IssuerServer, tmp_path: Path) -> None:
    """What tells people apart isn't what they are called."""
    tokens = [server.sign(claims(server, preferred_username=name)) for name in ("ada@example.org", "boss@example.org")]
    found = [identities(server, token, tmp_path).who(quiet) for token in tokens]
    assert found[0].name != found[1].name
    assert found[0].key == found[1].key


@pytest.mark.parametrize("oid", [None, "", 7, ["x"], "x" * 257, "a\nb"])
def test_token_that_names_nobody_is_refused(server: IssuerServer, tmp_path: Path, oid: object) -> None:
    """`sub` does not stand in for the object id: it is another one in every application."""
    assert refusal(server, server.sign(claims(server, oid=oid)), tmp_path) == (
        "the identity token is refused: it names nobody (oid)"
    )


def test_other_tenants_are_refused(server: IssuerServer, tmp_path: Path) -> None:
    """By their issuer, of either version, and by a tenant that differs from the issuer's."""
    other = "aaaaaaaa-2222-3333-4444-555555555555"
    expected = (
        f"the identity token is refused: it is of another issuer: expected {server.origin}/{TENANT}/v2.0 or {OLD}"
    )
    foreign = [f"{server.origin}/{other}/v2.0", f"https://sts.windows.net/{other}/", f"{server.origin}/common/v2.0"]
    said = [refusal(server, server.sign(claims(server, iss=issuer, tid=other)), tmp_path) for issuer in foreign]
    assert said == [expected] * 3
    assert refusal(server, server.sign(claims(server, tid=other)), tmp_path) == (
        f"the identity token is refused: it is of '{other}': expected the tenant {TENANT}"
    )


def test_token_for_something_else_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """One for Azure's management API, which everybody has."""
    token = server.sign(claims(server, aud="https://management.azure.com/"))
    assert refusal(server, token, tmp_path) == (
        "the identity token is refused: it is for 'https://management.azure.com/': expected the audience api://quarantine"
    )


def test_token_that_somebody_made_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """With a key of their own, under an id that the tenant publishes."""
    assert refusal(server, server.sign(claims(server), key=rsa_key("thief")), tmp_path) == (
        "the identity token is refused: its signature is not its issuer's"
    )


def test_login_host_that_does_not_answer_is_no_answer(server: IssuerServer, tmp_path: Path) -> None:
    """Nobody is known then, and the failure is the network's."""
    server.always(f"/{TENANT}/v2.0{DOCUMENT}", Answer(status=503))
    assert (
        refusal(server, server.sign(claims(server)), tmp_path)
        == f"{server.origin}/{TENANT}/v2.0{DOCUMENT} answered 503"
    )


@pytest.mark.parametrize(
    ("authority", "old"),
    [
        (PUBLIC_AUTHORITY, "https://sts.windows.net"),
        ("https://login.microsoftonline.us", "https://sts.windows.net"),
        ("https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn"),
    ],
)
def test_each_cloud_signs_under_its_names(authority: str, old: str) -> None:
    """Of both versions, with the keys of the login host."""
    assert [(each.issuer, each.discovery, each.tenant) for each in issuers(authority, TENANT, AUDIENCE)] == [
        (f"{authority}/{TENANT}/v2.0", f"{authority}/{TENANT}/v2.0{DOCUMENT}", TENANT),
        (f"{old}/{TENANT}/", f"{authority}/{TENANT}{DOCUMENT}", TENANT),
    ]


# --- the real azure-identity ------------------------------------------------------------------------------------------

_ASK = (
    "from quarantine.adapters.entra import default_credential\n"
    f"print(default_credential('{AUDIENCE}/.default', '{PUBLIC_AUTHORITY}'))"
)


def _ask(endpoint: str) -> "subprocess.CompletedProcess[str]":
    variables = {
        "IDENTITY_ENDPOINT": f"{endpoint}/token",
        "IDENTITY_HEADER": "canary-header",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "PATH": "/nonexistent",
    }
    return subprocess.run([sys.executable, "-c", _ASK], env=variables, capture_output=True, text=True, check=False)


def test_machines_identity_gives_the_token(server: IssuerServer) -> None:
    """A managed identity's endpoint, as Azure's hosts have it on loopback, is asked for the audience's token."""
    path = "/token?api-version=2019-08-01&resource=api://quarantine"
    body = {"access_token": "canary-token", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
    server.always(path, Answer(headers={"Content-Type": "application/json"}, body=json.dumps(body).encode()))
    done = _ask(server.origin)
    assert (done.stdout, done.returncode, server.paths()) == ("canary-token\n", 0, [path]), done.stderr


def test_without_an_identity_it_says_what_to_do(server: IssuerServer) -> None:
    """A machine that has none is an upstream that failed; the header that guards the endpoint is not repeated."""
    done = _ask(server.origin)
    last = done.stderr.strip().splitlines()[-1]
    assert "quarantine.errors.UpstreamError: no token of Microsoft Entra for api://quarantine/.default: " in done.stderr
    assert (last.endswith("; run `az login`"), "canary" in done.stdout + done.stderr) == (True, False)


def test_without_the_library_it_says_what_to_install() -> None:
    """The library is an extra; its absence is said, with the command that mends it."""
    code = f"import sys; sys.modules['azure.identity'] = None\n{_ASK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "quarantine.errors.UpstreamError: identity: entra needs azure-identity: "
        "run pip install '.[azure]' in the clone that quarantine was installed from"
    )
