"""An exception from its denial to its end: asked for, vetted, approved by somebody else, mirrored, installed, revoked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import NOW, House
from issuer import IssuerServer, times
from osv_records import before

CRITICAL = {"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    with IssuerServer() as running:
        yield running


def be(home: House, issuer: IssuerServer, who: str) -> None:
    claims = {"iss": issuer.issuer, "aud": "quarantine", "sub": f"user-{who}", "name": who, **times(NOW)}
    home.variables["TOKEN"] = issuer.sign(claims)


def test_smoke(home: House, issuer: IssuerServer, tmp_path: Path) -> None:
    home.settings = [f"identity: {{kind: oidc, issuer: '{issuer.issuer}', audience: quarantine, token: 'env:TOKEN'}}"]
    home.index.add("fetcher", "1.0")
    home.index.add("fetcher", "2.0", requires=["idna"])
    home.index.add("idna", "3.7")
    home.advise(before("PYSEC-2024-1", "fetcher", "2.0", **CRITICAL))
    home.write("requirements.txt", "fetcher==1.0\n")
    be(home, issuer, "ann")
    ran = home.check("requirements.txt")
    assert ran.status == 1
    home.write("verdict.json", ran.out)
    ran = home.run("exception", "request", "--from", "verdict.json", "--reason", "need it")
    print(ran)
    be(home, issuer, "pipe")
    ran = home.run("exception", "process")
    print(ran)
    ran = home.run("exception", "list")
    print(ran)
    id_ = ran.out.split("\t")[0]
    print(home.run("exception", "show", id_).out)
    be(home, issuer, "ann")
    print(home.run("exception", "approve", id_, "--reason", "ok", "--waive", "all"))
    be(home, issuer, "bob")
    print(home.run("exception", "approve", id_, "--reason", "ok"))
    print(home.run("exception", "approve", id_, "--reason", "ok", "--waive", "all"))
    be(home, issuer, "pipe")
    print(home.run("exception", "process"))
    print(home.run("exception", "process"))
    ran = home.run("check", "requirements.txt")
    print(ran)
    assert 0
