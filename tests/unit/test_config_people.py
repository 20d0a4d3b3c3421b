"""Configuration of who is asking, and of who hears of it."""

from pathlib import Path

import pytest

from quarantine.config import IdentitySettings, NotifyChannel, Settings, load_settings, read_environment
from quarantine.errors import ConfigError

TENANT = "11111111-2222-3333-4444-55555555555a"
GITHUB = "https://token.actions.githubusercontent.com"


def load(folder: Path, text: str) -> Settings:
    file = folder / "quarantine.yaml"
    file.write_text(f"version: 1\nproject: demo\n{text}\n")
    return load_settings(file, read_environment({}), folder)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_without_a_word_it_is_the_local_user_and_nobody_hears(tmp_path: Path) -> None:
    """The embedded default."""
    settings = load(tmp_path, "")
    assert (settings.identity, settings.notify) == (IdentitySettings(kind="local"), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{{kind: entra, audience: 'api://q', tenant: {TENANT.upper()}}}",
            IdentitySettings(
                kind="entra", audience="api://q", tenant=TENANT, authority="https://login.microsoftonline.com"
            ),
        ),
        (
            f"{{kind: entra, audience: q, tenant: {TENANT}, authority: 'http://127.0.0.1:1/', token: env:TOKEN}}",
            IdentitySettings(kind="entra", audience="q", tenant=TENANT, authority="http://127.0.0.1:1", token="TOKEN"),
        ),
        *(
            (
                f"{{kind: entra, audience: q, tenant: {TENANT}, authority: '{authority}'}}",
                IdentitySettings(kind="entra", audience="q", tenant=TENANT, authority=authority),
            )
            for authority in ("https://login.microsoftonline.us", "https://login.chinacloudapi.cn")
        ),
        (
            f"{{kind: oidc, audience: q, issuer: '{GITHUB}'}}",
            IdentitySettings(kind="oidc", audience="q", issuer=GITHUB, subject_claim="actor_id"),
        ),
        (
            f"{{kind: oidc, audience: q, issuer: '{GITHUB}/acme'}}",
            IdentitySettings(kind="oidc", audience="q", issuer=f"{GITHUB}/acme", subject_claim="actor_id"),
        ),
        (
            f"{{kind: oidc, audience: q, issuer: '{GITHUB}.evil.example', token: env:ID_TOKEN}}",
            IdentitySettings(
                kind="oidc", audience="q", issuer=f"{GITHUB}.evil.example", token="ID_TOKEN", subject_claim="sub"
            ),
        ),
        (
            f"{{kind: oidc, audience: q, issuer: 'https://vstoken.dev.azure.com/o', service_connection: {TENANT}}}",
            IdentitySettings(
                kind="oidc",
                audience="q",
                issuer="https://vstoken.dev.azure.com/o",
                subject_claim="sub",
                service_connection=TENANT,
            ),
        ),
        (
            "{kind: oidc, audience: q, issuer: 'https://gitlab.example', subject_claim: user_id}",
            IdentitySettings(kind="oidc", audience="q", issuer="https://gitlab.example", subject_claim="user_id"),
        ),
    ],
)
def test_identity_is_read_with_its_defaults(tmp_path: Path, text: str, expected: IdentitySettings) -> None:
    """What isn't given is filled in by kind: GitHub's people are known by their number."""
    assert load(tmp_path, f"identity: {text}").identity == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{kind: saml}",
            ["quarantine.yaml:3:12: invalid enum value 'saml': expected local, entra or oidc (identity.kind)"],
        ),
        ("{knd: local}", ["quarantine.yaml:3:12: unknown key 'knd' (identity)"]),
        (
            "{kind: entra}",
            [
                "quarantine.yaml:3:1: identity of kind entra needs `audience`",
                "quarantine.yaml:3:1: identity of kind entra needs `tenant`",
            ],
        ),
        (
            "{kind: oidc, audience: q}",
            ["quarantine.yaml:3:1: identity of kind oidc needs `issuer`"],
        ),
        (
            "{kind: local, audience: q}",
            ["quarantine.yaml:3:25: `audience` says nothing for identity of kind local: remove it"],
        ),
        (
            f"{{kind: entra, audience: q, tenant: {TENANT}, issuer: 'https://a.example'}}",
            ["quarantine.yaml:3:84: `issuer` says nothing for identity of kind entra: remove it"],
        ),
        (
            "{kind: entra, audience: 'a b', tenant: common}",
            [
                (
                    "quarantine.yaml:3:25: not of the form of `audience`: "
                    "expected the id of an application, or a URL like api://quarantine"
                ),
                (
                    "quarantine.yaml:3:42: not of the form of `tenant`: "
                    "expected the directory's id, like 00000000-0000-0000-0000-000000000000"
                ),
            ],
        ),
        (
            "{kind: oidc, audience: q, issuer: 'http://a.example', token: eyJcanary, subject_claim: 'a b'}",
            [
                (
                    "quarantine.yaml:3:37: http://a.example isn't encrypted: "
                    "expected https (http on this machine's loopback only)"
                ),
                "quarantine.yaml:3:65: not of the form of `token`: expected env:NAME, the variable that has the token",
                "quarantine.yaml:3:83: not of the form of `subject_claim`: expected the name of a claim, like sub",
            ],
        ),
        (
            "{kind: oidc, audience: q, issuer: 'https://u:p@a.example'}",
            ["quarantine.yaml:3:37: an issuer's URL has no user, password, query or fragment"],
        ),
        (
            f"{{kind: entra, audience: q, tenant: {TENANT}, authority: login}}",
            ["quarantine.yaml:3:84: not a URL: expected one like https://login.microsoftonline.com"],
        ),
        *(
            (
                f"{{kind: entra, audience: q, tenant: {TENANT}, authority: 'https://{host}'}}",
                [
                    (
                        f"quarantine.yaml:3:84: {host!r} is no login host of Microsoft Entra: expected "
                        "login.microsoftonline.com or login.microsoftonline.us or login.partner.microsoftonline.cn or "
                        "login.chinacloudapi.cn"
                    )
                ],
            )
            for host in ("evil.example", "login.microsoftonline.com.evil.example", "evil.login.microsoftonline.com")
        ),
    ],
)
def test_what_does_not_go_together_is_said_with_its_place(tmp_path: Path, text: str, said: list[str]) -> None:
    """Every problem at once; a token that stands there itself is not repeated."""
    assert problems(tmp_path, f"identity: {text}") == said


def test_channels_are_read_by_name_and_variable(tmp_path: Path) -> None:
    """In their order."""
    text = "notify: [{name: team, url: env:TEAM}, {name: mail, url: env:MAIL}]"
    assert load(tmp_path, text).notify == (
        NotifyChannel(name="team", variable="TEAM"),
        NotifyChannel(name="mail", variable="MAIL"),
    )


def test_channels_that_are_none_are_said_with_their_place(tmp_path: Path) -> None:
    """A URL that stands there itself is a secret, and is not repeated."""
    text = "notify:\n  - {name: team, url: 'slack://canary'}\n  - {name: team, url: env:TEAM}\n  - {name: 'a b', url: 'env:'}"
    secret = "a channel's URL is a secret, which isn't written down: expected env:NAME"
    assert problems(tmp_path, text) == [
        f"quarantine.yaml:4:18: {secret}",
        "quarantine.yaml:5:6: 'team' stands twice: expected a name of its own",
        "quarantine.yaml:6:6: not a channel's name: expected up to 64 of A-Z a-z 0-9 . _ -",
        f"quarantine.yaml:6:19: {secret}",
    ]


def test_who_is_asked_counts_as_evidence_and_who_hears_does_not(tmp_path: Path) -> None:
    """The digest of the settings changes with the issuer, and not with a channel: that would void what it doesn't touch."""
    plain = load(tmp_path, "").sha256
    heard = load(tmp_path, "notify: [{name: team, url: env:TEAM}]").sha256
    proved = load(tmp_path, "identity: {kind: oidc, audience: q, issuer: 'https://a.example'}").sha256
    assert (heard == plain, proved == plain) == (True, False)
