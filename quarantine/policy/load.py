"""The curators' files -> the policy in force, or every problem in them with its place.

Reading is pure: the caller brings the bytes of `policy.yaml` and of the lists beside it. What passes here is consistent:
every upstream, stage and list that is named exists, every pattern keeps to whole segments, every list has an effect.
"""

import re
from collections.abc import Hashable, Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec

from quarantine.document import Document, load_yaml
from quarantine.errors import ConfigError, Problem
from quarantine.exceptions import MIRROR
from quarantine.model import Ecosystem, complaint_about_variable, is_loopback, parse_name
from quarantine.policy.entries import IMAGE_PATH, EntryIndex, parse_pattern
from quarantine.policy.files import ListFile, Mode, PolicyFile, Rules, UpstreamFile, schemas
from quarantine.policy.lists import EntryList, Path, Problems, read_list
from quarantine.policy.near import NearNames
from quarantine.policy.stage import Ignore, Policy, Reserved, StagePolicy, Trusted, Upstream

__all__ = ["POLICY_NAME", "Policy", "StagePolicy", "Upstream", "load", "policy_sha256", "schemas"]

POLICY_NAME = "policy.yaml"
COMMANDS = ("check", "lock", "gate")  # `lock` is `check` with `--lock`
MAY_BE_HARMLESS = ("--all-releases", "--no-index", "--pre", "--use-feature")
"""Options that add no place to install from, weaken no check and make no installer run a package's code."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CREDENTIALS = re.compile(r"azure|env:[A-Za-z_][A-Za-z0-9_]*")
_AZURE_FEEDS = re.compile(r"pkgs\.dev\.azure\.com|[a-z0-9-]+\.pkgs\.visualstudio\.com")
_AZUREML_REGISTRY = re.compile(r"azureml://registries/[a-z0-9][a-z0-9_-]{1,32}")
ENTRA_HOSTS = frozenset(
    {"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "sts.windows.net"}
)
_FLAW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{3,127}")


def load(files: Mapping[str, bytes], *, now: datetime | None = None, folder: str = "") -> Policy:
    """The policy that these files make: their bytes by name, `policy.yaml` and the lists that it names.

    `now` (aware, UTC) is the instant at which it is read. `folder` stands before the names in messages. ConfigError
    has every problem that was found, each with file, line and column.
    """
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    if POLICY_NAME not in files:
        missing = "missing: a folder of allowlists has a policy.yaml"
        raise ConfigError([Problem(file=prefix + POLICY_NAME, message=missing)])
    problems = Problems()
    lists: dict[str, tuple[Document, ListFile] | None] = {}
    head: tuple[Document, PolicyFile] | None = None
    for name in sorted(files):
        try:
            document = load_yaml(prefix + name, files[name])
            if name == POLICY_NAME:
                head = document, document.to(PolicyFile)
            else:
                lists[name] = document, document.to(ListFile)
        except ConfigError as error:
            problems.found += error.problems
            lists.setdefault(name, None)
    if head is None:
        raise ConfigError(problems.found)
    policy = _policy(*head, lists, digest=policy_sha256(files), now=now, problems=problems)
    if problems.found:
        raise ConfigError(problems.found)
    return policy


def policy_sha256(files: Mapping[str, bytes]) -> str:
    """The sha256 over a policy's files: over what `sha256sum` prints for them, sorted by name."""
    lines = (f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()


def _policy(
    document: Document,
    file: PolicyFile,
    lists: Mapping[str, tuple[Document, ListFile] | None],
    *,
    digest: str,
    now: datetime | None,
    problems: Problems,
) -> Policy:
    """The whole policy; worth nothing once there are problems."""
    upstreams = _upstreams(document, file.upstreams, problems)
    entries = _lists(document, file.upstreams, upstreams, lists, now, problems)
    of_pypi = [entries[u.name] for u in upstreams if u.type is Ecosystem.PYPI and u.name in entries]
    popular = frozenset(name for found in of_pypi for name in found.popular)
    allowed = {e.pattern.name for found in of_pypi for e in found.allow.entries if not e.pattern.boundary}
    denied = {
        ecosystem: EntryIndex(
            {
                entry: None
                for upstream in upstreams
                if upstream.type is ecosystem and upstream.name in entries
                for entry in entries[upstream.name].deny
            }
        )
        for ecosystem in Ecosystem
    }
    return Policy(
        sha256=digest,
        upstreams=upstreams,
        stages=tuple(file.stages),
        reserved=_reserved(document, file, problems),
        ignores=_ignores(document, file, problems),
        popular=popular,
        near=NearNames(popular | allowed),
        allow={name: found.allow for name, found in entries.items()},
        deny=denied,
        default_stages=_default_stages(document, file, problems),
        rules=_stages(document, file, problems),
        as_of=now,
        projects=_projects(document, file, problems),
        identities=_identities(document, file, problems),
    )


# --- upstreams, their lists, reserved names ---------------------------------------------------------------------------


def _upstreams(document: Document, files: tuple[UpstreamFile, ...], problems: Problems) -> tuple[Upstream, ...]:
    names: dict[Hashable, Path] = {}
    urls: dict[Hashable, Path] = {}
    upstreams = []
    for index, file in enumerate(files):
        path: Path = ("upstreams", index)
        if _NAME.fullmatch(file.name) is None:
            problems.add(
                document,
                (*path, "name"),
                f"{file.name!a} is no name for an upstream: expected up to 64 of a-z 0-9 . _ -",
            )
        if file.name == MIRROR:
            message = f"{MIRROR!a} is what the mirror of approved exceptions is called: give the upstream another name"
            problems.add(document, (*path, "name"), message)
        problems.once(document, (*path, "name"), names, file.name, f"upstream {file.name!a}")
        url = None if file.url is None else file.url.rstrip("/")
        if (complaint := _complaint_about_url(file)) is not None:
            problems.add(document, (*path, "url"), complaint)
        else:
            article = "an" if file.type in (Ecosystem.OCI, Ecosystem.AZUREML) else "a"
            what = f"{article} {file.type} upstream {'without a url' if url is None else 'of this url'}"
            problems.once(document, (*path, "url"), urls, (file.type, url), what)
        if file.credentials is not None and _CREDENTIALS.fullmatch(file.credentials) is None:
            # what stands there may be the secret itself, so it isn't repeated
            problems.add(
                document,
                (*path, "credentials"),
                "credentials say where they are kept, not what they are: expected env:NAME or azure",
            )
        elif file.credentials is not None and (complaint := _complaint_about_credentials(file)) is not None:
            problems.add(document, (*path, "credentials"), complaint)
        _without_effect(document, path, file, problems)
        upstreams.append(
            Upstream(
                name=file.name,
                type=file.type,
                url=url,
                mode=file.mode,
                credentials=file.credentials,
                minimum_age_days=file.minimum_age_days,
            )
        )
    return tuple(upstreams)


def _complaint_about_url(file: UpstreamFile) -> str | None:
    """What is wrong with an upstream's address, not repeating any secret in it."""
    if file.url is None:
        return None if file.type is Ecosystem.PYPI else f"an upstream of type {file.type} needs its url"
    if file.type is Ecosystem.AZUREML:
        known = _AZUREML_REGISTRY.fullmatch(file.url.rstrip("/")) is not None
        return None if known else "not a registry of Azure ML: expected one like azureml://registries/azureml"
    try:
        parts = urlsplit(file.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "not a URL: expected one like https://packages.example.org/simple"
    if not host or port == 0 or not file.url.isascii() or any(c.isspace() or not c.isprintable() for c in file.url):
        return "not a URL: expected one like https://packages.example.org/simple"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return "a url has no user, password, query or fragment: name the credentials under `credentials`"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return f"{parts.scheme}://{parts.netloc} isn't encrypted: expected https (http on this machine's loopback only)"
    path = parts.path.strip("/")
    if file.type is Ecosystem.OCI and path and IMAGE_PATH.fullmatch(path) is None:
        return f"{path!a} is no path of images: expected segments of a-z 0-9 . _ - between '/'"
    return None


def _complaint_about_credentials(file: UpstreamFile) -> str | None:
    """Why these credentials can't go to this upstream: a policy may come with the code that is judged."""
    if file.url is None:
        return "credentials go to the host that the policy names: add the upstream's url"
    if file.credentials != "azure":
        return complaint_about_variable((file.credentials or "").removeprefix("env:"))
    if file.type is not Ecosystem.PYPI or _complaint_about_url(file) is not None:
        return None  # said elsewhere
    host = urlsplit(file.url or "").hostname or ""
    if _AZURE_FEEDS.fullmatch(host) is not None or is_loopback(host):
        return None
    return (
        "credentials: azure are for feeds of Azure Artifacts, and its tokens go to nothing else: expected a url of "
        "pkgs.dev.azure.com or NAME.pkgs.visualstudio.com, or env:NAME"
    )


def _without_effect(document: Document, path: Path, file: UpstreamFile, problems: Problems) -> None:
    """What stands with an upstream and can mean nothing there."""
    if file.minimum_age_days is not None and file.type in (Ecosystem.OCI, Ecosystem.AZUREML):
        message = f"nothing of type {file.type} has an age here: remove minimum_age_days"
        problems.add(document, (*path, "minimum_age_days"), message)
    if file.credentials is not None and file.type is Ecosystem.AZUREML:
        problems.add(
            document, (*path, "credentials"), "nothing is fetched from an azureml upstream: remove credentials"
        )


def _lists(
    document: Document,
    files: tuple[UpstreamFile, ...],
    upstreams: tuple[Upstream, ...],
    lists: Mapping[str, tuple[Document, ListFile] | None],
    now: datetime | None,
    problems: Problems,
) -> dict[str, EntryList]:
    found: dict[str, EntryList] = {}
    used: dict[Hashable, Path] = {}
    for index, (file, upstream) in enumerate(zip(files, upstreams, strict=True)):
        path: Path = ("upstreams", index, "entries")
        if file.entries is None:
            if file.mode is Mode.CURATED:
                problems.add(document, path, f"upstream {file.name} is curated but has no list: add `entries: FILE`")
            continue
        problems.once(document, path, used, file.entries, f"list {file.entries!a}")
        if file.entries == POLICY_NAME or file.entries not in lists:
            problems.add(document, path, f"no list {file.entries!a} beside {POLICY_NAME}")
            continue
        known = lists[file.entries]
        if known is not None:
            named_below = file.type is Ecosystem.OCI and _complaint_about_url(file) is None
            below = upstream.location if named_below else ""
            found[file.name] = read_list(*known, file.type, below, now, problems)
    for name in sorted(lists.keys() - used.keys() - {POLICY_NAME}):
        message = f"no upstream names {name!a}, so it has no effect: add `entries: {name}` to one, or remove the file"
        problems.add(document, ("upstreams",), message)
    return found


def _reserved(document: Document, file: PolicyFile, problems: Problems) -> tuple[Reserved, ...]:
    known = {u.name: u.type for u in file.upstreams if u.type in (Ecosystem.PYPI, Ecosystem.CONDA)}
    # the mirror has what curators let in, so names of distributions may be kept to that
    known[MIRROR] = Ecosystem.PYPI
    seen: dict[Hashable, Path] = {}
    reserved = []
    for index, item in enumerate(file.reserved):
        path: Path = ("reserved", index)
        ecosystem = known.get(item.upstream, Ecosystem.PYPI)
        if item.upstream not in known:
            expected = f"expected {' or '.join(known)}"
            problems.add(
                document, (*path, "upstream"), f"no upstream {item.upstream!a} of type pypi or conda: {expected}"
            )
        try:
            pattern = parse_pattern(item.name, ecosystem)
        except ValueError as error:
            problems.add(document, (*path, "name"), str(error))
            continue
        problems.once(document, path, seen, (ecosystem, pattern), f"{pattern} under reserved")
        reserved.append(Reserved(ecosystem=ecosystem, pattern=pattern, upstream=item.upstream, reason=item.reason))
    return tuple(reserved)


def _identities(document: Document, file: PolicyFile, problems: Problems) -> tuple[Trusted, ...]:
    """Whose tokens count: one claim of each issuer, since one person has another id in each."""
    seen: dict[Hashable, Path] = {}
    for index, item in enumerate(file.identities):
        path: Path = ("identities", index)
        problems.once(document, (*path, "issuer"), seen, item.issuer, f"issuer {item.issuer!a}")
        parts = urlsplit(item.issuer)
        if not parts.hostname or (parts.scheme != "https" and not is_loopback(parts.hostname)):
            message = f"{item.issuer!a} is no issuer: expected an https URL, as it stands in the tokens"
            problems.add(document, (*path, "issuer"), message)
    return tuple(
        Trusted(issuer=item.issuer, audience=item.audience, claim=item.claim or claim_of(item.issuer))
        for item in file.identities
    )


def claim_of(issuer: str) -> str:
    """The claim that tells people apart in the tokens of an issuer, where nobody names another one."""
    host = urlsplit(issuer).hostname or ""
    if host == "token.actions.githubusercontent.com":
        return "actor_id"
    return "oid" if host in ENTRA_HOSTS else "sub"


def _projects(document: Document, file: PolicyFile, problems: Problems) -> dict[str, str]:
    """The project of each repository; a project may have several."""
    seen: dict[Hashable, Path] = {}
    found: dict[str, str] = {}
    if file.projects and not file.identities:
        message = "whose tokens prove which repository a job is of isn't said: add `identities`"
        problems.add(document, ("projects",), message)
    for index, item in enumerate(file.projects):
        path: Path = ("projects", index)
        if _PROJECT.fullmatch(item.name) is None:
            message = f"{item.name!a} is not a project name: expected up to 64 of A-Z a-z 0-9 . _ -"
            problems.add(document, (*path, "name"), message)
        key = item.repository.lower()
        problems.once(document, (*path, "repository"), seen, key, f"repository {item.repository!a}")
        found[key] = item.name
    return found


# --- stages and ignores -----------------------------------------------------------------------------------------------


def _default_stages(document: Document, file: PolicyFile, problems: Problems) -> dict[str, str]:
    for command, stage in file.default_stage.items():
        path: Path = ("default_stage", command)
        if command not in COMMANDS:
            problems.add(document, path, f"{command!a} judges nothing: expected {' and '.join(COMMANDS)}")
        if stage not in file.stages:
            problems.add(document, path, f"no stage {stage!a}: expected {' or '.join(file.stages)}")
    for command in COMMANDS:
        if command not in file.default_stage:
            problems.add(document, ("default_stage",), f"no default stage for {command}: add `{command}: STAGE`")
    return dict(file.default_stage)


def _stages(document: Document, file: PolicyFile, problems: Problems) -> dict[str, Rules]:
    """Each stage's rules: the common ones with the stage's own keys laid over them."""
    common = _mapping(document.value, "rules")
    upstreams = {upstream.name: upstream.type for upstream in file.upstreams}
    _check_rules(document, ("rules",), common, upstreams, problems)
    stages = {}
    for name in file.stages:
        if _NAME.fullmatch(name) is None:
            problems.add(
                document, ("stages", name), f"{name!a} is no name for a stage: expected up to 64 of a-z 0-9 . _ -"
            )
        own = _mapping(_mapping(document.value, "stages"), name)
        _check_rules(document, ("stages", name), own, upstreams, problems)
        merged = {rule: {**_mapping(common, rule), **_mapping(own, rule)} for rule in {**common, **own}}
        stages[name] = msgspec.convert(merged, Rules)
    return stages


def _check_rules(
    document: Document, path: Path, rules: Mapping[str, object], upstreams: Mapping[str, Ecosystem], problems: Problems
) -> None:
    threshold = _mapping(rules, "vulnerability").get("threshold")
    if isinstance(threshold, dict) and sum(value is not None for value in threshold.values()) != 1:
        where = (*path, "vulnerability", "threshold")
        problems.add(document, where, "a threshold is a severity or a score: expected one of the two")
    harmless = _mapping(rules, "index_option").get("harmless")
    for index, option in enumerate(harmless if isinstance(harmless, list) else ()):
        if option not in MAY_BE_HARMLESS:
            where = (*path, "index_option", "harmless", index)
            problems.add(document, where, f"{option!a} can't be called harmless: only {', '.join(MAY_BE_HARMLESS)} can")
    may_have = [name for name, kind in upstreams.items() if kind in (Ecosystem.PYPI, Ecosystem.CONDA)] + [MIRROR]
    for name in _mapping(_mapping(rules, "exceptions"), "upstreams"):
        if name not in may_have:
            where = (*path, "exceptions", "upstreams", name)
            problems.add(
                document, where, f"no upstream {name!a} of type pypi or conda: expected {' or '.join(may_have)}"
            )
    channels = tuple(name for name, kind in upstreams.items() if kind is Ecosystem.CONDA)
    for name in _mapping(_mapping(rules, "conda"), "channels"):
        if name not in channels:
            expected = f"expected {' or '.join(channels)}" if channels else "there is none in upstreams"
            where = (*path, "conda", "channels", name)
            problems.add(document, where, f"no upstream {name!a} of type conda: {expected}")


def _mapping(value: object, key: str) -> dict[str, object]:
    """The mapping under a key, of a document whose shape has been checked; empty where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _ignores(document: Document, file: PolicyFile, problems: Problems) -> tuple[Ignore, ...]:
    seen: dict[Hashable, Path] = {}
    ignores = []
    for index, item in enumerate(file.ignores):
        path: Path = ("ignores", index)
        if _FLAW_ID.fullmatch(item.id) is None:
            problems.add(document, (*path, "id"), f"{item.id!a} is not an advisory's identifier, like CVE-2018-18074")
        elif item.id.upper().startswith("MAL-"):
            problems.add(document, (*path, "id"), f"{item.id} is malware, which can't be ignored: remove this entry")
        for stage in item.stages or ():
            if stage not in file.stages:
                problems.add(document, (*path, "stages"), f"no stage {stage!a}: expected {' or '.join(file.stages)}")
        if item.stages == ():
            problems.add(document, (*path, "stages"), "names no stage: leave `stages` out to mean all of them")
        try:
            package = parse_name(item.package)
        except ValueError as error:
            problems.add(document, (*path, "package"), str(error))
            continue
        stages = None if item.stages is None else frozenset(item.stages)
        problems.once(document, path, seen, (item.id.upper(), package, stages), f"{item.id} of {package} under ignores")
        ignores.append(
            Ignore(
                id=item.id,
                package=package,
                reason=item.reason,
                owner=item.owner,
                expires=item.expires,
                stages=stages,
                place=f"{document.file.rpartition('/')[2]}:{document.line(path)}",
            )
        )
    return tuple(ignores)
