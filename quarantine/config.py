"""Configuration: `quarantine.yaml` and the process environment, read once, into frozen values.

The only module that looks at environment variables. Paths in the file are relative to the file's folder.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from quarantine.document import Document, load_yaml
from quarantine.errors import ConfigError, Problem
from quarantine.model import Target, complaint_about_variable, is_loopback

__all__ = [
    "Environment",
    "IdentitySettings",
    "NotifyChannel",
    "RemoteStore",
    "Secret",
    "Settings",
    "default_settings",
    "find_config",
    "load_settings",
    "read_environment",
    "schema",
    "shipped",
]

CONFIG_NAME = "quarantine.yaml"
LOCAL_STORE = ".quarantine"
MAX_CONFIG_BYTES = 1024 * 1024
OSV_EXPORT = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?")
_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
# a container's name has at most 63 characters, and no two hyphens in a row
_PREFIX = re.compile(r"(?=.{0,24}\Z)(?:[a-z0-9](?:-?[a-z0-9])*-?)?")
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
ENTRA_AUTHORITY = "https://login.microsoftonline.com"
# what proves who this machine is goes there, so none but Entra's own, in each of Azure's clouds
_ENTRA_HOSTS = (
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
)
# kind of identity -> (the keys that it needs, those that it may have)
_OF_KIND = {
    "local": (frozenset[str](), frozenset[str]()),
    "entra": (frozenset({"audience", "tenant"}), frozenset({"authority", "token"})),
    "oidc": (frozenset({"audience", "issuer"}), frozenset({"token", "subject_claim", "service_connection"})),
}
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IDENTITY_FORMS = {
    "audience": re.compile(r"[!-~]{1,256}"),
    "tenant": _UUID,
    "token": _VARIABLE,
    "subject_claim": re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"),
    "service_connection": _UUID,
}
_IDENTITY_EXAMPLES = {
    "authority": ENTRA_AUTHORITY,
    "issuer": GITHUB_ISSUER,
    "audience": "the id of an application, or a URL like api://quarantine",
    "tenant": "the directory's id, like 00000000-0000-0000-0000-000000000000",
    "token": "env:NAME, the variable that has the token",
    "subject_claim": "the name of a claim, like sub",
    "service_connection": "its id, like 00000000-0000-0000-0000-000000000000",
}
_Wrong = Callable[[tuple[str | int, ...], str], None]
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


class Secret:
    """A value that is never printed; `reveal` gives it to the one call that needs it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"


class RemoteStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store in an Azure storage account, as `quarantine.yaml` names it: one of `account` and `connection`.

    With `account` the identity of whoever runs this is used; `connection` is `env:` and the name of the variable that
    holds a connection string, which is never in a value of ours. `prefix` begins the names of all containers.
    """

    account: Annotated[
        str | None, msgspec.Meta(description="the account's URL, like https://NAME.blob.core.windows.net")
    ] = None
    connection: Annotated[
        str | None, msgspec.Meta(description="env:NAME, the variable that holds a connection string")
    ] = None
    prefix: Annotated[str, msgspec.Meta(description="what the names of its containers begin with, like ml-")] = ""


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    python: Annotated[str, msgspec.Meta(description="CPython version, for example '3.11'; quote it")]
    platform: Annotated[str, msgspec.Meta(description=f"one of {', '.join(Target.platforms())}")]
    cuda: Annotated[
        str, msgspec.Meta(description="the CUDA version of its driver, for conda's GPU packages, like '12.4'; quote it")
    ] = ""


class _Advisories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: Annotated[str, msgspec.Meta(description="where `advisories sync` reads: a URL, a zip or a folder")] = (
        OSV_EXPORT
    )
    service: Literal["osv", "pip-audit"] = "osv"
    service_url: Annotated[str | None, msgspec.Meta(description="OSV API that pip-audit asks")] = None
    max_age_hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 366)] = 48
    accept_age_until: Annotated[
        date | None, msgspec.Meta(description="use an older snapshot until this day (UTC); every verdict says so")
    ] = None


class _Resolver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time_limit_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 90
    page_cache_seconds: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 600


class _Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Annotated[
        Literal["local", "entra", "oidc"],
        msgspec.Meta(description="who is asking, and who proves it: nobody, Microsoft Entra, or a CI system's token"),
    ] = "local"
    audience: Annotated[str | None, msgspec.Meta(description="what tokens must be for, to the letter")] = None
    tenant: Annotated[str | None, msgspec.Meta(description="entra: the id of the directory")] = None
    authority: Annotated[str | None, msgspec.Meta(description="entra: the login host's URL, of a sovereign cloud")] = (
        None
    )
    issuer: Annotated[str | None, msgspec.Meta(description="oidc: who signs the tokens, to the letter")] = None
    token: Annotated[
        str | None, msgspec.Meta(description="env:NAME: the variable that has the token; else it is asked for")
    ] = None
    subject_claim: Annotated[
        str | None, msgspec.Meta(description="oidc: the claim that tells who it is; actor_id for GitHub, else sub")
    ] = None
    service_connection: Annotated[
        str | None, msgspec.Meta(description="oidc in Azure Pipelines: the id of the service connection to speak for")
    ] = None


class _Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(description="what records call the channel")]
    url: Annotated[str, msgspec.Meta(description="env:NAME: the variable that has its URL, which holds a secret")]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    project: Annotated[str, msgspec.Meta(description="the project that verdicts and exceptions are filed under")]
    allowlists: str = "allowlists"
    store: Annotated[
        str | RemoteStore, msgspec.Meta(description="a folder on a local disk, or a storage account of Azure")
    ] = LOCAL_STORE
    cache: str | None = None
    targets: Annotated[tuple[_Target, ...], msgspec.Meta(min_length=1, max_length=32)] | None = None
    advisories: _Advisories = _Advisories()
    resolver: _Resolver = _Resolver()
    registries: Annotated[
        Mapping[str, str],
        msgspec.Meta(
            description="host of an image registry -> the URL of what is asked in its place, such as a mirror"
        ),
    ] = {}
    policy: Annotated[
        Literal["central"] | None,
        msgspec.Meta(
            description="central: the policy in force is what curators published in the store, as it always is with one of "
            "Azure; `allowlists` may then only tighten it"
        ),
    ] = None
    identity: _Identity = _Identity()
    notify: Annotated[
        tuple[_Channel, ...], msgspec.Meta(max_length=16, description="channels that hear of exceptions")
    ] = ()


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the process environment says, as far as this tool listens to it.

    `passed_on` are the few variables that a child process gets (certificates and proxies).
    """

    config: Path | None
    cache_home: Path | None
    no_color: bool
    ci: Literal["azure-pipelines", "github-actions"] | None
    github_step_summary: Path | None
    temp_folder: Path | None
    passed_on: Mapping[str, str]
    secrets: Mapping[str, Secret]

    def secret(self, name: str) -> Secret | None:
        """The variable's value, None when it isn't set or is empty."""
        return self.secrets.get(name)


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what proves it. `token` is the name of a variable, "" where tokens are asked for.

    `audience` and `issuer` are held to the letter. `authority` is a URL without a `/` at the end.
    """

    kind: Literal["local", "entra", "oidc"] = "local"
    audience: str = ""
    tenant: str = ""
    authority: str = ""
    issuer: str = ""
    token: str = ""
    subject_claim: str = ""
    service_connection: str = ""


class NotifyChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel by its name, and the variable that holds its URL."""

    name: str
    variable: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force. `file` is None on the embedded default (no `quarantine.yaml` found).

    `central_policy` is whether the policy in force is what was published in the store.
    `store` is the local folder of the advisory database and, where `remote_store` is None, of everything else too.
    `registries` are the URLs, without a `/` at the end, of what is asked in the place of a registry, by its host.
    `sha256` covers all that the file sets, defaults filled in, but the project's name and who hears of exceptions: where
    evidence comes from and what it is held against decides as much as the policy does.
    """

    file: Path | None
    sha256: str
    project: str
    allowlists: Path
    store: Path
    remote_store: RemoteStore | None = None
    cache: Path
    targets: tuple[Target, ...]
    advisory_source: str
    advisory_service: Literal["osv", "pip-audit"]
    advisory_service_url: str | None
    advisory_max_age: timedelta
    advisory_accepted_until: datetime | None
    time_limit_seconds: int
    page_cache_seconds: int
    registries: Mapping[str, str] = {}
    identity: IdentitySettings = IdentitySettings()
    notify: tuple[NotifyChannel, ...] = ()
    central_policy: bool = False

    @property
    def database(self) -> Path:
        """The local advisory database."""
        return self.store / "advisories.sqlite"


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """The parsed process environment (or the given one)."""
    variables = os.environ if environ is None else environ  # noqa: TID251  # this is the module that may
    passed_on = {name: variables[name] for name in _PASSED_ON if variables.get(name)}
    passed_on |= {name.upper(): variables[name.lower()] for name in _PASSED_ON if variables.get(name.lower())}

    def path(name: str) -> Path | None:
        return Path(variables[name]) if variables.get(name) else None

    ci: Literal["azure-pipelines", "github-actions"] | None = None
    if variables.get("TF_BUILD", "").lower() == "true":
        ci = "azure-pipelines"
    elif variables.get("GITHUB_ACTIONS") == "true":
        ci = "github-actions"
    return Environment(
        config=path("QUARANTINE_CONFIG"),
        cache_home=path("QUARANTINE_CACHE"),
        no_color=bool(variables.get("NO_COLOR")) or variables.get("TERM") == "dumb",
        ci=ci,
        github_step_summary=path("GITHUB_STEP_SUMMARY"),
        temp_folder=path("AGENT_TEMPDIRECTORY"),
        passed_on=passed_on,
        secrets={name: Secret(value) for name, value in variables.items() if value},
    )


def find_config(start: Path) -> Path | None:
    """The nearest `quarantine.yaml` in `start` or a folder above it.

    One that can't be read is found too: what would stand in force without it is not what its owner meant.
    """
    for folder in (start, *start.parents):
        candidate = folder / CONFIG_NAME
        if os.path.lexists(candidate):
            return candidate
    return None


def shipped(name: str) -> Path:
    """A folder that ships with the package ("allowlists", "examples"): in the wheel, or beside it in a checkout."""
    inside = Path(__file__).parent / "shipped" / name
    return inside if inside.is_dir() else Path(__file__).parent.parent / name


def load_settings(option: Path | None, environment: Environment, folder: Path) -> Settings:
    """Settings from `option`, `QUARANTINE_CONFIG`, or the nearest `quarantine.yaml` above `folder`, in this order.

    Without any of them the embedded default holds: the shipped allowlists, and this machine's Python as the target.
    ConfigError names file, line and column of what is wrong.
    """
    file = option or environment.config or find_config(folder)
    if file is None:
        return default_settings(folder, environment)
    display = str(file)
    try:
        if not stat.S_ISREG(file.stat().st_mode) and not file.is_dir():
            # a pipe would keep us waiting, a device would never end
            raise ConfigError([Problem(file=display, message="is not a regular file: expected YAML")])
        with file.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [Problem(file=display, message=f"can't be read: {(error.strerror or str(error)).lower()}")]
        ) from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError([Problem(file=display, message=f"larger than {MAX_CONFIG_BYTES} bytes")])
    document = load_yaml(display, data)
    return _settings(document, file.resolve().parent, document.to(_File), environment)


def default_settings(folder: Path, environment: Environment) -> Settings:
    """The embedded default for a folder: the shipped allowlists, and this machine's Python as the target."""
    return _settings(None, folder, _File(version=1, project=_project_name(folder)), environment)


def _settings(document: Document | None, base: Path, parsed: _File, environment: Environment) -> Settings:
    problems: list[Problem] = []

    def wrong(path: tuple[str | int, ...], message: str) -> None:
        problems.append(Problem(file="", message=message) if document is None else document.problem(path, message))

    targets: list[Target] = []
    for index, target in enumerate(parsed.targets or ()):
        try:
            targets.append(Target(target.python, target.platform, target.cuda))
        except ValueError as error:
            wrong(("targets", index), str(error))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", parsed.project):
        wrong(("project",), f"{parsed.project!a} is not a project name: expected up to 64 of A-Z a-z 0-9 . _ -")
    for key, value in (("allowlists", parsed.allowlists), ("store", parsed.store)):
        if isinstance(value, str) and not value.strip():
            wrong((key,), f"{key} is empty: expected a folder")
    if isinstance(parsed.store, RemoteStore):
        for key, complaint in _complaints_about_store(parsed.store):
            wrong(("store", key) if key else ("store",), complaint)
    for host, url in parsed.registries.items():
        if not _HOST.fullmatch(host):
            wrong(("registries", host), f"{host!a} is not a registry's host: expected one like mcr.microsoft.com")
        if (endpoint := _complaint_about_endpoint(url, "a registry", "https://mirror.example.org")) is not None:
            wrong(("registries", host), endpoint)
    identity = _identity(parsed.identity, wrong)
    notify = _channels(parsed.notify, wrong)
    if problems:
        raise ConfigError(problems)
    accepted = parsed.advisories.accept_age_until
    return Settings(
        file=None if document is None else Path(document.file),
        sha256=_digest(parsed),
        project=parsed.project,
        allowlists=shipped("allowlists") if document is None else base / parsed.allowlists,
        store=base / (parsed.store if isinstance(parsed.store, str) else LOCAL_STORE),
        remote_store=parsed.store if isinstance(parsed.store, RemoteStore) else None,
        cache=(base / parsed.cache) if parsed.cache else _cache_home(environment),
        targets=tuple(dict.fromkeys(targets)) or (_this_machine(),),
        advisory_source=_source(parsed.advisories.source, base),
        advisory_service=parsed.advisories.service,
        advisory_service_url=parsed.advisories.service_url,
        advisory_max_age=timedelta(hours=parsed.advisories.max_age_hours),
        advisory_accepted_until=None
        if accepted is None
        else datetime.combine(accepted, time(), UTC) + timedelta(days=1),
        time_limit_seconds=parsed.resolver.time_limit_seconds,
        page_cache_seconds=parsed.resolver.page_cache_seconds,
        registries={host: url.rstrip("/") for host, url in parsed.registries.items()},
        identity=identity,
        notify=notify,
        central_policy=parsed.policy == "central" or isinstance(parsed.store, RemoteStore),
    )


def _identity(parsed: _Identity, wrong: _Wrong) -> IdentitySettings:
    """What the file says of identity; what doesn't go with its kind is told to `wrong`."""
    needed, allowed = _OF_KIND[parsed.kind]
    for key in parsed.__struct_fields__:
        value = getattr(parsed, key)
        if key == "kind" or (value is None and key not in needed):
            continue
        if value is None:
            wrong(("identity",), f"identity of kind {parsed.kind} needs `{key}`")
        elif key not in needed and key not in allowed:
            wrong(("identity", key), f"`{key}` says nothing for identity of kind {parsed.kind}: remove it")
        elif key in ("authority", "issuer"):
            complaint = _complaint_about_endpoint(value, f"an {key}", _IDENTITY_EXAMPLES[key])
            if complaint is None and key == "authority":
                complaint = _complaint_about_authority(value)
            if complaint is not None:
                wrong(("identity", key), complaint)
        elif not _IDENTITY_FORMS[key].fullmatch(value):
            wrong(("identity", key), f"not of the form of `{key}`: expected {_IDENTITY_EXAMPLES[key]}")
        elif key == "token" and (complaint := _complaint_about_variable(value)) is not None:
            wrong(("identity", key), complaint)
    subject = "actor_id" if f"{parsed.issuer}/".startswith(f"{GITHUB_ISSUER}/") else "sub"
    return IdentitySettings(
        kind=parsed.kind,
        audience=parsed.audience or "",
        tenant=(parsed.tenant or "").lower(),
        authority=(parsed.authority or ENTRA_AUTHORITY).rstrip("/") if parsed.kind == "entra" else "",
        issuer=parsed.issuer or "",
        token=(parsed.token or "").removeprefix("env:"),
        subject_claim=parsed.subject_claim or subject if parsed.kind == "oidc" else "",
        service_connection=parsed.service_connection or "",
    )


def _channels(parsed: tuple[_Channel, ...], wrong: _Wrong) -> tuple[NotifyChannel, ...]:
    for index, channel in enumerate(parsed):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", channel.name):
            wrong(("notify", index, "name"), "not a channel's name: expected up to 64 of A-Z a-z 0-9 . _ -")
        elif channel.name in {other.name for other in parsed[:index]}:
            wrong(("notify", index, "name"), f"{channel.name!a} stands twice: expected a name of its own")
        if not _VARIABLE.fullmatch(channel.url):
            # not repeated: somebody may have written the secret itself there
            wrong(("notify", index, "url"), "a channel's URL is a secret, which isn't written down: expected env:NAME")
        elif (complaint := _complaint_about_variable(channel.url)) is not None:
            wrong(("notify", index, "url"), complaint)
    return tuple(NotifyChannel(name=channel.name, variable=channel.url.removeprefix("env:")) for channel in parsed)


def _digest(parsed: _File) -> str:
    unnamed = msgspec.structs.replace(parsed, project="", notify=())
    return sha256(msgspec.json.encode(unnamed, order="deterministic")).hexdigest()


def _complaints_about_store(store: RemoteStore) -> Iterator[tuple[str, str]]:
    """What is wrong with a store's keys, not repeating any secret in them."""
    if (store.account is None) == (store.connection is None):
        yield "", "expected one of account (a URL) and connection (env:NAME)"
    if store.account is not None:
        complaint = _complaint_about_endpoint(store.account, "a store", "https://NAME.blob.core.windows.net")
        if complaint is None:
            from quarantine.io.azure import complaint_about_account  # noqa: PLC0415  # most stores are folders

            complaint = complaint_about_account(urlsplit(store.account).hostname or "")
        if complaint is not None:
            yield "account", complaint
    if store.connection is not None and not _VARIABLE.fullmatch(store.connection):
        yield (
            "connection",
            "connection says which variable holds the connection string, not what it is: expected env:NAME",
        )
    elif store.connection is not None and (complaint := _complaint_about_variable(store.connection)) is not None:
        yield "connection", complaint
    if not _PREFIX.fullmatch(store.prefix):
        yield (
            "prefix",
            f"{store.prefix!a} begins no container's name: expected up to 24 of a-z 0-9 and single '-', like ml-",
        )


def _complaint_about_variable(reference: str) -> str | None:
    """Why `env:NAME` can't name its variable."""
    return complaint_about_variable(reference.removeprefix("env:"))


def _complaint_about_authority(url: str) -> str | None:
    """Why an encrypted URL can't be where logins are asked for."""
    host = urlsplit(url).hostname or ""
    if host in _ENTRA_HOSTS or is_loopback(host):
        return None
    return f"{host[:100]!a} is no login host of Microsoft Entra: expected {' or '.join(_ENTRA_HOSTS)}"


def _complaint_about_endpoint(url: str, owner: str, example: str) -> str | None:
    """What is wrong with the URL of an endpoint, not repeating any secret in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        return f"not a URL: expected one like {example}"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return f"{owner}'s URL has no user, password, query or fragment"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return f"{parts.scheme}://{parts.netloc} isn't encrypted: expected https (http on this machine's loopback only)"
    return None


def _source(text: str, base: Path) -> str:
    return text if "://" in text else str(base / text)


def _cache_home(environment: Environment) -> Path:
    if environment.cache_home is not None:
        return environment.cache_home
    import platformdirs  # noqa: PLC0415  # only where nothing else says

    return platformdirs.user_cache_path("quarantine")


def _this_machine() -> Target:
    import platform  # noqa: PLC0415  # only on the embedded default

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.platform == "darwin":
        return Target(python, "macos-arm64")
    if sys.platform == "win32":
        return Target(python, "windows-x86_64")
    return Target(python, "linux-aarch64" if platform.machine() in ("aarch64", "arm64") else "linux-x86_64")


def _project_name(folder: Path) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")[:64]
    return cleaned or "default"


def schema() -> dict[str, object]:
    """The JSON Schema of `quarantine.yaml`."""
    return msgspec.json.schema(_File)
