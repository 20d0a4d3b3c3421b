"""Configuration: from file and environment to frozen settings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quarantine.config import (
    RemoteStore,
    Secret,
    Settings,
    find_config,
    load_settings,
    read_environment,
    schema,
    shipped,
)
from quarantine.errors import ConfigError
from quarantine.model import Target, complaint_about_variable

EMPTY = read_environment({})


def _write(folder: Path, text: str) -> Path:
    file = folder / "quarantine.yaml"
    file.write_text(text)
    return file


def test_a_file_gives_settings_with_paths_beside_it(tmp_path: Path) -> None:
    """Relative paths are relative to the configuration file, and every default is filled in."""
    file = _write(
        tmp_path,
        "version: 1\nproject: demo\ncache: c\ntargets:\n  - {python: '3.10', platform: linux-x86_64}\n"
        "advisories: {source: advisories, accept_age_until: 2027-01-31}\n",
    )

    settings = load_settings(file, EMPTY, tmp_path)

    assert settings.file == file
    assert settings.project == "demo"
    assert settings.allowlists == tmp_path / "allowlists"
    assert settings.store == tmp_path / ".quarantine"
    assert settings.database == tmp_path / ".quarantine" / "advisories.sqlite"
    assert settings.cache == tmp_path / "c"
    assert settings.targets == (Target("3.10", "linux-x86_64"),)
    assert settings.advisory_source == str(tmp_path / "advisories")
    assert settings.advisory_service == "osv"
    assert settings.advisory_max_age == timedelta(hours=48)
    assert settings.advisory_accepted_until == datetime(2027, 2, 1, tzinfo=UTC)
    assert settings.time_limit_seconds == 90
    assert settings.page_cache_seconds == 600


def test_without_a_file_the_embedded_default_holds(tmp_path: Path) -> None:
    """No configuration at all means the shipped allowlists and this machine as the target."""
    settings = load_settings(None, read_environment({"QUARANTINE_CACHE": str(tmp_path / "cache")}), tmp_path)

    assert settings.file is None
    assert settings.allowlists == shipped("allowlists")
    assert settings.store == tmp_path / ".quarantine"
    assert settings.cache == tmp_path / "cache"
    assert len(settings.targets) == 1


@pytest.mark.parametrize(
    ("text", "central"),
    [
        ("", False),
        ("policy: central\n", True),
        ("store: {account: 'https://demo.blob.core.windows.net'}\n", True),
    ],
)
def test_who_judges(tmp_path: Path, text: str, central: bool) -> None:
    """With a store that others share it is never the folder beside the code; it needn't be elsewhere."""
    file = _write(tmp_path, f"version: 1\nproject: demo\n{text}")
    assert load_settings(file, EMPTY, tmp_path).central_policy == central


def test_the_nearest_file_upward_is_found(tmp_path: Path) -> None:
    """A configuration above the working directory is in force there."""
    file = _write(tmp_path, "version: 1\nproject: demo\n")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)

    assert find_config(folder) == file


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    """QUARANTINE_CONFIG is used where no option is given."""
    file = _write(tmp_path, "version: 1\nproject: named\n")

    assert load_settings(None, read_environment({"QUARANTINE_CONFIG": str(file)}), Path("/")).project == "named"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2\nproject: x\n", "1:1: invalid enum value 2: expected 1 (version)"),
        ("version: 1\n", "1:1: missing key `project`"),
        ("version: 1\nproject: x\nstor: y\n", "3:1: unknown key 'stor'"),
        ("version: 1\nproject: a/b\n", "2:1: 'a/b' is not a project name: expected up to 64 of A-Z a-z 0-9 . _ -"),
        ("version: 1\nproject: x\nstore: ''\n", "3:1: store is empty: expected a folder"),
        (
            "version: 1\nproject: x\ntargets:\n  - {python: 3.10, platform: linux-x86_64}\n",
            "4:6: expected text, got `float` (targets.0.python)",
        ),
        (
            "version: 1\nproject: x\ntargets:\n  - {python: '3.10', platform: amiga}\n",
            "4:5: 'amiga' is not a platform: expected one of linux-x86_64, linux-aarch64, macos-arm64, windows-x86_64",
        ),
        (
            "version: 1\nproject: x\ntargets:\n  - {python: '2.7', platform: linux-x86_64}\n",
            "4:5: '2.7' is not a Python version: expected one like 3.11",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake names file, line and column, what was found and what is expected."""
    file = _write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load_settings(file, EMPTY, tmp_path)

    assert str(caught.value) == f"{file}:{message}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "'Images/x': https://m.example.org",
            "4:3: 'Images/x' is not a registry's host: expected one like mcr.microsoft.com",
        ),
        ("i.example.org: m.example.org", "4:3: not a URL: expected one like https://mirror.example.org"),
        ("i.example.org: 'https://[m'", "4:3: not a URL: expected one like https://mirror.example.org"),
        (
            "i.example.org: http://m.example.org",
            "4:3: http://m.example.org isn't encrypted: expected https (http on this machine's loopback only)",
        ),
        (
            "i.example.org: https://u:geheim@m.example.org",
            "4:3: a registry's URL has no user, password, query or fragment",
        ),
        ("i.example.org: 5", "4:3: expected text, got a whole number (registries.i.example.org)"),
    ],
)
def test_what_is_asked_in_a_registrys_place(tmp_path: Path, entry: str, message: str) -> None:
    """A registry's stand-in is a host and an encrypted address, and no secret is repeated."""
    file = _write(tmp_path, f"version: 1\nproject: x\nregistries:\n  {entry}\n")

    with pytest.raises(ConfigError) as caught:
        load_settings(file, EMPTY, tmp_path)

    assert str(caught.value) == f"{file}:{message}"


def test_where_evidence_comes_from_is_in_the_digest(tmp_path: Path) -> None:
    """A registry's stand-in changes the digest of the configuration, the order of two of them doesn't."""
    first, second = "a.example.org: https://m.example.org/", "127.0.0.1:5000: http://127.0.0.1:5001"

    def settings(*entries: str) -> Settings:
        lines = "".join(f"  {entry}\n" for entry in entries)
        return load_settings(_write(tmp_path, f"version: 1\nproject: x\nregistries:\n{lines}"), EMPTY, tmp_path)

    both = settings(first, second)
    assert both.registries == {"a.example.org": "https://m.example.org", "127.0.0.1:5000": "http://127.0.0.1:5001"}
    assert both.sha256 == settings(second, first).sha256
    assert both.sha256 != settings(first).sha256


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        (
            "{account: 'https://contoso.blob.core.windows.net', prefix: ml-}",
            RemoteStore(account="https://contoso.blob.core.windows.net", prefix="ml-"),
        ),
        ("{account: 'http://127.0.0.1:10000/a'}", RemoteStore(account="http://127.0.0.1:10000/a")),
        *(
            (f"{{account: 'https://{host}'}}", RemoteStore(account=f"https://{host}"))
            for host in (
                "contoso.blob.core.usgovcloudapi.net",
                "contoso.blob.core.chinacloudapi.cn",
                "contoso.z42.blob.storage.azure.net",
            )
        ),
        ("{connection: 'env:STORE_1'}", RemoteStore(connection="env:STORE_1")),
    ],
)
def test_a_store_may_be_an_account(tmp_path: Path, text: str, remote: RemoteStore) -> None:
    """What is local is then beside the configuration; which account it is is part of the digest."""
    local = load_settings(_write(tmp_path, "version: 1\nproject: x\n"), EMPTY, tmp_path)
    settings = load_settings(_write(tmp_path, f"version: 1\nproject: x\nstore: {text}\n"), EMPTY, tmp_path)

    assert settings.remote_store == remote
    assert settings.database == tmp_path / ".quarantine" / "advisories.sqlite"
    assert local.remote_store is None
    assert settings.sha256 != local.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{prefix: ml-}", "3:1: expected one of account (a URL) and connection (env:NAME)"),
        (
            "{account: 'https://contoso.blob.core.windows.net', connection: 'env:X'}",
            "3:1: expected one of account (a URL) and connection (env:NAME)",
        ),
        (
            "{account: 'http://a.example.org'}",
            "3:9: http://a.example.org isn't encrypted: expected https (http on this machine's loopback only)",
        ),
        (
            "{account: 'https://a.example.org?sig=geheim'}",
            "3:9: a store's URL has no user, password, query or fragment",
        ),
        ("{account: contoso}", "3:9: not a URL: expected one like https://NAME.blob.core.windows.net"),
        (
            "{connection: 'AccountKey=geheim'}",
            "3:9: connection says which variable holds the connection string, not what it is: expected env:NAME",
        ),
        (
            "{connection: 'env:X', prefix: Ml--}",
            "3:30: 'Ml--' begins no container's name: expected up to 24 of a-z 0-9 and single '-', like ml-",
        ),
        ("{connection: 'env:X', key: geheim}", "3:1: object contains unknown field `key` (store)"),
    ],
)
def test_a_wrong_store_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With its place, what is expected, and no secret."""
    file = _write(tmp_path, f"version: 1\nproject: x\nstore: {text}\n")

    with pytest.raises(ConfigError) as caught:
        load_settings(file, EMPTY, tmp_path)

    assert str(caught.value) == f"{file}:{message}"


ACCOUNTS = (
    "tokens go to nothing else: expected NAME.blob.core.windows.net, NAME.blob.core.usgovcloudapi.net, "
    "NAME.blob.core.chinacloudapi.cn or NAME.zNN.blob.storage.azure.net"
)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "contoso.blob.core.windows.net.evil.example.org",
        "evil.example.org.blob.core.windows.net",
        "contoso.queue.core.windows.net",
        "contoso.blob.core.windows.net.",
        "evil-contoso.blob.core.windows.net",
        "contoso.z1.blob.storage.azure.net.evil.example.org",
        "contoso.blob.storage.azure.net",
        "169.254.169.254",
    ],
)
def test_a_store_is_a_storage_account_and_nothing_else(tmp_path: Path, host: str) -> None:
    """A pull request doesn't choose who gets the tokens of whoever checks it."""
    file = _write(tmp_path, f"version: 1\nproject: x\nstore: {{account: 'https://{host}'}}\n")

    with pytest.raises(ConfigError) as caught:
        load_settings(file, EMPTY, tmp_path)

    assert str(caught.value) == f"{file}:3:9: {host!r} is no storage account, and {ACCOUNTS}"


@pytest.mark.parametrize(
    "name", ["AZURE_CLIENT_SECRET", "GITHUB_TOKEN", "SYSTEM_ACCESSTOKEN", "system_accesstoken", "PATH"]
)
@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("store: {{connection: 'env:{}'}}", 9),
        ("identity: {{kind: oidc, audience: q, issuer: 'https://a.example', token: 'env:{}'}}", 66),
        ("notify: [{{name: team, url: 'env:{}'}}]", 23),
    ],
)
def test_secrets_of_other_systems_are_not_for_a_configuration_to_name(
    tmp_path: Path, text: str, column: int, name: str
) -> None:
    """Wherever it may name a variable: what clouds and CI systems keep in theirs stays there."""
    file = _write(tmp_path, f"version: 1\nproject: x\n{text.format(name)}\n")

    with pytest.raises(ConfigError) as caught:
        load_settings(file, read_environment({name: "canary"}), tmp_path)

    assert str(caught.value) == (
        f"{file}:3:{column}: the variable {name} is another system's, and what it holds goes nowhere else: put the secret "
        "into a variable of its own, like QUARANTINE_SECRET, and name that"
    )


@pytest.mark.parametrize(
    "name",
    ["AZURE_X", "ARM_X", "MSI_X", "IDENTITY_X", "AWS_X", "GOOGLE_X", "GCP_X", "GITHUB_X", "GH_X", "ACTIONS_X", "SYSTEM_X", "BUILD_X",
     "AGENT_X", "RUNNER_X", "TF_X", "CI_JOB_X", "DOCKER_X", "SSH_X", "PATH", "HOME", "HTTPS_PROXY", "Gh_Token"],
)  # fmt: skip
def test_variables_of_other_systems(name: str) -> None:
    """By how they begin, in any case of their letters."""
    assert complaint_about_variable(name) is not None


@pytest.mark.parametrize(
    "name", ["QUARANTINE_STORE", "FEED_TOKEN", "ACME_INDEX_TOKEN", "ARMS", "MY_GITHUB_TOKEN", "PATHS", "AZURE"]
)
def test_variables_of_nobody_else(name: str) -> None:
    """A name that has the name of a system in it, or begins alike, is its owner's to give away."""
    assert complaint_about_variable(name) is None


def test_where_the_store_is_is_in_the_digest(tmp_path: Path) -> None:
    """Another account, another prefix and another variable are another configuration."""
    texts = [
        "{account: 'https://aaa.blob.core.windows.net'}",
        "{account: 'https://bbb.blob.core.windows.net'}",
        "{account: 'https://aaa.blob.core.windows.net', prefix: ml-}",
        "{connection: 'env:A'}",
        "{connection: 'env:B'}",
        "elsewhere",
    ]
    digests = {
        load_settings(_write(tmp_path, f"version: 1\nproject: x\nstore: {text}\n"), EMPTY, tmp_path).sha256
        for text in texts
    }

    assert len(digests) == len(texts)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    """A configuration that was named but isn't there is an error, never the default."""
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "none.yaml", EMPTY, tmp_path)

    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: can't be read: no such file or directory"


def test_a_secret_is_never_printed() -> None:
    """Neither the secret nor the environment that holds it shows its value."""
    environment = read_environment({"FEED_TOKEN": "canary-value"})
    secret = environment.secret("FEED_TOKEN")

    assert isinstance(secret, Secret)
    assert secret.reveal() == "canary-value"
    assert "canary-value" not in f"{secret!r} {secret} {environment!r}"


@pytest.mark.parametrize(
    ("variables", "ci"),
    [({}, None), ({"TF_BUILD": "True"}, "azure-pipelines"), ({"GITHUB_ACTIONS": "true"}, "github-actions")],
)
def test_the_ci_system_is_recognised(variables: dict[str, str], ci: str | None) -> None:
    """Each system says by its own variable that it is there."""
    assert read_environment(variables).ci == ci


def test_proxies_and_certificates_are_passed_on_in_upper_case() -> None:
    """A child process gets these few variables, whichever case they came in, and no other."""
    environment = read_environment({"https_proxy": "http://p:1", "SSL_CERT_FILE": "/c", "UV_INDEX_URL": "http://evil"})

    assert dict(environment.passed_on) == {"SSL_CERT_FILE": "/c", "HTTPS_PROXY": "http://p:1"}


def test_the_schema_knows_every_key() -> None:
    """Editors get the keys that the reader accepts."""
    definitions = schema()["$defs"]

    assert isinstance(definitions, dict)
    assert sorted(definitions["_File"]["properties"]) == [
        "advisories", "allowlists", "cache", "identity", "notify", "policy", "project", "registries", "resolver",
        "store", "targets", "version",
    ]  # fmt: skip
