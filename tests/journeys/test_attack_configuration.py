"""Attacks by the files of whoever is checked: no configuration and no policy beside the code sends a secret where it likes."""

import json

import pytest
from house import House
from issuer import IssuerServer
from osv_records import before
from servers import Answer, IndexServer, WebServer

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
CANARY = "canary-s3cr3t"
TENANT = "11111111-2222-3333-4444-55555555555a"
FORMATS = ("text", "json", "sarif", "junit", "markdown", "cyclonedx")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "store: {account: 'https://evil.example.org'}",
            "'evil.example.org' is no storage account, and tokens go to nothing else",
        ),
        (
            "store: {account: 'https://contoso.blob.core.windows.net.evil.example.org'}",
            "'contoso.blob.core.windows.net.evil.example.org' is no storage account, and tokens go to nothing else",
        ),
        (
            f"identity: {{kind: entra, audience: q, tenant: {TENANT}, authority: 'https://evil.example.org'}}",
            "'evil.example.org' is no login host of Microsoft Entra",
        ),
        (
            "store: {connection: 'env:AZURE_STORAGE_CONNECTION_STRING'}",
            "the variable AZURE_STORAGE_CONNECTION_STRING is",
        ),
        ("notify: [{name: team, url: 'env:GITHUB_TOKEN'}]", "the variable GITHUB_TOKEN is another system's"),
        (
            "identity: {kind: oidc, audience: q, issuer: 'https://a.example.org', token: 'env:SYSTEM_ACCESSTOKEN'}",
            "the variable SYSTEM_ACCESSTOKEN is another system's",
        ),
    ],
)
def test_a_configuration_does_not_choose_who_gets_tokens(home: House, line: str, said: str) -> None:
    """A store, a login host, another system's secret: an error at its line before anybody is asked, and no value of it."""
    home.advise(HARMLESS)
    home.settings.append(line)
    home.settle()
    home.write("requirements.txt", "app\n")
    home.variables = dict.fromkeys(("AZURE_STORAGE_CONNECTION_STRING", "GITHUB_TOKEN", "SYSTEM_ACCESSTOKEN"), CANARY)

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out, said in ran.err, CANARY in ran.err) == (2, "", True, False)
    assert ran.err.startswith(f"error: {home.folder}/quarantine.yaml:9:")
    assert home.index.asked == []


@pytest.mark.parametrize("name", ["ACTIONS_ID_TOKEN_REQUEST_TOKEN", "AZURE_CLIENT_SECRET", "GH_TOKEN", "HOME"])
def test_a_policy_does_not_give_other_systems_secrets_away(home: House, name: str) -> None:
    """`credentials: env:NAME` beside an index of the attacker's: what CI and clouds keep in variables stays there."""
    home.private["evil"] = IndexServer()
    home.credentials = f"env:{name}"
    home.variables = {name: CANARY}
    home.settle()
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out, CANARY in ran.err) == (2, "", False)
    assert f"the variable {name} is another system's, and what it holds goes nowhere else" in ran.err
    assert home.private["evil"].asked == []


def test_under_a_policy_that_nobody_expects_nobody_is_asked(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an index nor who gives tokens, for it or for the job, hears anything: the verdict is undecided, and recorded."""

    def answer(_: object) -> Answer:
        body = {"access_token": CANARY, "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
        return Answer(headers={"Content-Type": "application/json"}, body=json.dumps(body).encode())

    with WebServer(answer) as machine, IssuerServer() as issuer:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.origin}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        home.private["evil"] = IndexServer()
        home.private["evil"].add("app", "1.0")
        home.credentials = "azure"
        home.advise(HARMLESS)
        home.settings.append(f"identity: {{kind: oidc, issuer: '{issuer.issuer}', audience: q}}")
        home.settle()
        home.variables = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{machine.origin}/job?a=b",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": CANARY,
        }
        home.write("requirements.txt", "app\n")
        home.write("reports/.keep", "")
        reports = [part for kind in FORMATS for part in ("--report", f"{kind}=reports/{kind}")]

        ran = home.run("check", "requirements.txt", "--expect-policy", "0" * 64, "--lock", "pylock.toml", *reports)
        asked = [*machine.asked, *issuer.asked, *home.private["evil"].asked, *home.index.asked]
        verdict = json.loads((home.folder / "reports/json").read_bytes())
        digest = verdict["policy"]["sha256"]
        expected = home.check("requirements.txt", "--expect-policy", digest)

        assert (ran.status, asked) == (3, [])
        assert verdict["preconditions"] == [
            {
                "rule": "policy",
                "outcome": "fail",
                "message": f"the policy in force is {digest}, expected {'0' * 64}",
                "evidence": {},
                "location": None,
            }
        ]
        assert (verdict["verdict"], verdict["items"]) == ("undecided", [])
        assert [(one["file"], one["verdict"]) for one in verdict["subjects"]] == [("requirements.txt", "undecided")]
        assert all(
            f"expected {'0' * 64}" in (home.folder / "reports" / kind).read_text() for kind in ("text", "markdown")
        )
        assert not (home.folder / "pylock.toml").exists()
        entries = home.run("audit", "export").out
        assert '"reasons":[{"outcome":"fail","rule":"policy"}]' in entries
        # under the policy that is expected they are
        assert expected.status == 0, expected.err
        assert {one.path.partition("?")[0] for one in machine.asked} == {"/token", "/job"}
        assert home.private["evil"].asked != []


def test_a_stand_in_of_a_registry_gets_no_login(home: House) -> None:
    """`registries:` may have another host asked for an image; the upstream's login isn't for it, however it asks."""
    home.others = [
        "{name: own, type: oci, url: 'https://registry.example.org', mode: open, credentials: 'env:REGISTRY_LOGIN'}"
    ]
    home.variables = {"REGISTRY_LOGIN": f"reader:{CANARY}"}
    home.write("environment.yaml", "name: x\nimage: registry.example.org/base:1\n")
    with WebServer() as evil:
        home.registries = {"registry.example.org": evil.origin}
        home.advise(HARMLESS)
        path = "/v2/base/manifests/1"
        found = []
        for challenge in ('Basic realm="x"', f'Bearer realm="{evil.origin}/token",service="x"'):
            evil.always(path, Answer(status=401, headers={"WWW-Authenticate": challenge}))
            found.append(home.check("environment.yaml"))

        assert [ran.status for ran in found] == [3, 3]
        assert "its credentials go to the host that the policy names alone" in found[0].out
        assert [asked.headers["Authorization"] for asked in evil.asked] == [None] * len(evil.asked)
        assert evil.paths()[-1].startswith("/token?")
        assert not any(CANARY in ran.out + ran.err for ran in found)


def test_a_login_needs_a_host_that_the_policy_names(home: House) -> None:
    """Which index is the default is for uv and a cache to say; a login doesn't go there."""
    home.settle()
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace(f", url: {home.index.url}", ", credentials: 'env:INDEX_LOGIN'"))
    home.variables = {"INDEX_LOGIN": CANARY}
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, home.index.asked) == (2, [])
    assert "credentials go to the host that the policy names: add the upstream's url" in ran.err
