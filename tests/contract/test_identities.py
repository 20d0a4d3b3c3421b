"""What every `Identities` must do; the real ones stand before loopback issuers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec
import pytest
from fakes_identity import FakeIdentities
from issuer import DOCUMENT, IssuerServer, published_keys, rsa_key, times

from quarantine.adapters.entra import EntraIdentities
from quarantine.adapters.local_user import LocalUser
from quarantine.adapters.oidc import OidcIdentities
from quarantine.errors import UpstreamError
from quarantine.exceptions import Identity
from quarantine.io.tokens import Issuer
from quarantine.ports import Identities
from quarantine.wiring import local_actor

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT = "11111111-2222-3333-4444-555555555555"
Kind = Literal["fake", "local", "entra", "oidc"]


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    def names(origin: str) -> dict[str, str]:
        return {DOCUMENT: origin, f"/{TENANT}/v2.0{DOCUMENT}": f"{origin}/{TENANT}/v2.0"}

    with IssuerServer(names) as running:
        yield running


def build(kind: str, server: IssuerServer, folder: Path, *, forged: bool = False) -> Identities:
    """One of each; a forged one shows a token that somebody made."""
    keys, claims = published_keys(folder, NOW), {"aud": "here", "sub": "job", "oid": "ada", "tid": TENANT, **times(NOW)}
    key = rsa_key("thief") if forged else None
    if kind == "entra":
        token = server.sign({**claims, "iss": f"{server.origin}/{TENANT}/v2.0"}, key=key)
        return EntraIdentities(
            tenant=TENANT, audience="here", authority=server.origin, keys=keys, now=NOW, credential=lambda *_: token
        )
    if kind == "oidc":
        token = server.sign({**claims, "iss": server.issuer}, key=key)
        issuer = Issuer(issuer=server.issuer, audience="here")
        return OidcIdentities(issuer=issuer, subject="sub", source=lambda _: token, keys=keys, now=NOW)
    if kind == "local":
        return LocalUser()
    fake = FakeIdentities()
    if forged:
        fake.person = None
    return fake


@pytest.mark.parametrize("kind", get_args(Kind))
def test_somebody_is_named_in_the_form_of_records(kind: str, server: IssuerServer, tmp_path: Path) -> None:
    """What is written of them is read back as the same, under all constraints; the same one each time."""
    identities = build(kind, server, tmp_path)
    found = identities.who(lambda _: None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Identity) == found == identities.who(lambda _: None)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_who_is_verified_has_an_issuer_and_who_is_local_has_none(
    kind: str, server: IssuerServer, tmp_path: Path
) -> None:
    """Nobody is verified but by somebody."""
    found = build(kind, server, tmp_path).who(lambda _: None)
    assert (found.verified, bool(found.issuer)) == (kind != "local",) * 2


@pytest.mark.parametrize("kind", ["fake", "entra", "oidc"])
def test_who_cannot_prove_it_is_nobody(kind: str, server: IssuerServer, tmp_path: Path) -> None:
    """There is no unverified answer instead."""
    with pytest.raises(UpstreamError) as caught:
        build(kind, server, tmp_path, forged=True).who(lambda _: None)
    assert str(caught.value) == "the identity token is refused: its signature is not its issuer's"


# --- the operating system's user --------------------------------------------------------------------------------------


def test_local_user_is_who_the_kernel_says() -> None:
    """By number, unverified, in the actor of records too."""
    import pwd

    name = pwd.getpwuid(os.getuid()).pw_name
    user = LocalUser().who(lambda _: None)
    assert user == Identity(kind="local", id=f"uid:{os.getuid()}", name=name, verified=False)
    assert local_actor() == {"kind": "local", "id": user.id, "name": name, "verified": False}


def _in_child(code: str, variables: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    return done.stdout


def test_variables_make_nobody_the_boss() -> None:
    """USER, LOGNAME and their like say nothing."""
    code = "from quarantine.adapters.local_user import LocalUser; print(repr(LocalUser().who(lambda _: None)))"
    boss = dict.fromkeys(("USER", "LOGNAME", "USERNAME", "LNAME", "SUDO_USER", "HOME"), "boss")
    assert _in_child(code, boss) == _in_child(code, {}) == f"{LocalUser().who(lambda _: None)!r}\n"


def test_user_that_the_database_does_not_know_has_a_number() -> None:
    """As in a container that runs under a number of its own."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user: run the tests in a container")
    code = (
        "import os, pwd; from quarantine.adapters.local_user import LocalUser\n"
        "os.setuid(54321); print(LocalUser().who(lambda _: None))"
    )
    assert _in_child(code, {}) == "54321 (local, unverified)\n"
