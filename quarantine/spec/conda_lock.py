"""conda-lock.yml, validated by conda-lock's own models and held to what a gate needs beyond them: a sha256 for every file.

conda-lock fetches what the URL of an entry leads to, so its last segments are the platform, the name, the version and the
build; an entry that says otherwise is refused. Packages of all categories and platforms are kept.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from packaging.markers import Marker

from quarantine.document import Document
from quarantine.model import (
    MIRRORED,
    Channel,
    CondaSection,
    Digest,
    EnvironmentSpec,
    Location,
    LockedCondaPackage,
    LockedFile,
    LockedPackage,
    Reference,
    ReferenceKind,
    SourceFile,
    parse_name,
    parse_version,
)
from quarantine.spec.conda_lock_wire import Entry, InvalidLockError, Lock, validated
from quarantine.spec.filenames import file_of, of_url
from quarantine.spec.recognise import mapping
from quarantine.spec.redact import redact
from quarantine.spec.text import MAX_REQUIREMENTS, Problems, escape, quote, refusal

__all__ = ["check_url", "marker_of", "read"]

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9_.+!]{1,64}")
_BUILD = re.compile(r"[A-Za-z0-9_.+]{1,64}")
_ENDINGS = (".conda", ".tar.bz2")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# conda's name of a platform -> `sys_platform` and `platform_machine` there (PEP 508)
_MARKERS = {
    "linux-64": ("linux", "x86_64"),
    "linux-32": ("linux", "i686"),
    "linux-aarch64": ("linux", "aarch64"),
    "linux-armv7l": ("linux", "armv7l"),
    "linux-ppc64le": ("linux", "ppc64le"),
    "linux-s390x": ("linux", "s390x"),
    "linux-riscv64": ("linux", "riscv64"),
    "osx-64": ("darwin", "x86_64"),
    "osx-arm64": ("darwin", "arm64"),
    "win-32": ("win32", "x86"),
    "win-64": ("win32", "AMD64"),
    "win-arm64": ("win32", "ARM64"),
}

_Tell = Callable[[str], None]
"""Keeps a message at the entry that is being read."""


def read(path: str, files: Mapping[str, bytes], document: Document) -> EnvironmentSpec:
    """What a conda-lock.yml (version 1, or 2 as far as it is settled) locks. SpecError with every problem of the file."""
    problems = Problems()
    value = mapping(document.value)
    if value is None:
        raise refusal(path, "not a conda-lock.yml: expected a mapping", 1)
    lock = _validated(path, document, value, problems)
    line = document.line(("metadata", "channels"))
    conda: list[LockedCondaPackage] = []
    pip: list[LockedPackage] = []
    seen: dict[tuple[str, str, str], tuple[str, str | None, str | None]] = {}
    for index, entry in enumerate(lock.packages):
        location = Location(file=path, line=document.line(("package", index)))

        def tell(message: str, entry: Entry = entry, location: Location = location) -> None:
            problems.add(path, location.line, f"package {quote(entry.name)}: {message}")

        key, content = (entry.manager, entry.name, entry.platform), (entry.url, entry.hash.sha256, entry.hash.md5)
        known = seen.setdefault(key, content)
        if known is not content:  # once a category
            if known != content:
                tell(f"stands twice for {quote(entry.platform)}, with different files: lock it again")
        elif entry.manager == "conda":
            if entry.name.startswith("__"):
                # conda-lock writes none and passes over them, other installers take them for packages
                tell("a virtual package, which is the machine's and nobody's file: lock it again")
            else:
                conda.append(_conda(entry, location, tell))
        elif (package := _pip(entry, location, tell)) is not None:
            pip.append(package)
    if not lock.packages:
        problems.add(path, document.line(("package",)), "no requirements found: the lock holds no packages")
    markers = [_marker_of(name, path, document, problems) for name in lock.platforms]
    problems.check()
    return EnvironmentSpec(
        file=path,
        format="conda-lock",
        locked=tuple(pip),
        conda=CondaSection(
            channels=tuple(Channel(name=redact(url), location=Location(file=path, line=line)) for url in lock.channels),
            locked=tuple(conda),
        ),
        environments=tuple(marker for marker in markers if marker is not None),
        sources=(SourceFile(path=path, sha256=hashlib.sha256(files[path]).hexdigest()),),
    )


def marker_of(platform: str) -> Marker:
    """The marker that holds on what conda calls `platform`, raising ValueError for one that is not known."""
    if platform not in _MARKERS:
        raise ValueError(f"{quote(platform)} is not a platform of conda: expected one of {', '.join(_MARKERS)}")
    system, machine = _MARKERS[platform]
    return Marker(f'sys_platform == "{system}" and platform_machine == "{machine}"')


def _marker_of(platform: str, path: str, document: Document, problems: Problems) -> Marker | None:
    try:
        return marker_of(platform)
    except ValueError as error:
        problems.add(path, document.line(("metadata", "platforms")), str(error))
        return None


# --- validation -------------------------------------------------------------------------------------------------------


def _validated(path: str, document: Document, value: Mapping[str, object], problems: Problems) -> Lock:
    """The lock by conda-lock's models, raising SpecError with all that these refuse."""
    packages = value.get("package")
    if isinstance(packages, list) and len(packages) > MAX_REQUIREMENTS:
        raise refusal(path, f"more than {MAX_REQUIREMENTS} packages", document.line(("package",)))
    version = value.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version not in {1, 2}:
        what = "without a version" if version is None else f"of version {quote(str(version))}"
        raise refusal(path, f"a conda-lock.yml {what}: expected version 1", document.line(("version",)))
    for index, entry in enumerate(packages if isinstance(packages, list) else ()):
        if isinstance(entry, dict) and entry.get("manager") not in ("conda", "pip"):  # the models fail to say so
            who = f"package {quote(entry['name'])}" if isinstance(entry.get("name"), str) else f"package {index}"
            problems.add(path, document.line(("package", index)), f"{who}, manager: expected conda or pip")
    problems.check()
    content = {key: part for key, part in value.items() if key != "version"}
    metadata = mapping(content.get("metadata"))
    if metadata is not None and isinstance(channels := metadata.get("channels"), list):
        # a channel that is only text would be looked up in the environment variables
        written = [{"url": c, "used_env_vars": []} if isinstance(c, str) else c for c in channels]
        content["metadata"] = {**metadata, "channels": written}
    try:
        return validated(version, content)
    except InvalidLockError as error:
        for place, message in error.found:
            problems.add(path, document.line(place), _said(place, message, packages))
        raise problems.error() from None


def _said(place: tuple[int | str, ...], message: str, packages: object) -> str:
    """The model's message with the name of the package in place of its number."""
    index = place[1] if len(place) > 1 and place[0] == "package" else None
    entry = packages[index] if isinstance(packages, list) and isinstance(index, int) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    where = ".".join(str(step) for step in (place if index is None else place[2:]))
    who = f"package {quote(name)}" if isinstance(name, str) else f"package {index}" if index is not None else ""
    prefix = ", ".join(part for part in (who, escape(where)) if part)
    return f"{prefix}: {escape(message[:1].lower() + message[1:])}"


# --- packages ---------------------------------------------------------------------------------------------------------


def _conda(entry: Entry, location: Location, tell: _Tell) -> LockedCondaPackage:
    check_url(entry.url, tell)
    if entry.platform not in _MARKERS:
        tell(f"{quote(entry.platform)} is not a platform of conda: expected one of {', '.join(_MARKERS)}")
    base, _, filename = entry.url.rpartition("/")
    channel, _, subdir = base.rpartition("/")
    name, version, build = _stem(of_url(filename), tell)
    said = (entry.name, entry.version, entry.build if entry.build is not None else build)
    if (name, version, build) != said and name:
        tell(f"its file is {quote(filename)}, but the entry says {quote('-'.join(said))}: lock it again")
    if subdir not in {entry.platform, "noarch"}:
        tell(f"an entry for {quote(entry.platform)} with a file for {quote(subdir)}: lock it again")
    return LockedCondaPackage(
        name=name,
        version=version,
        build=build,
        platform=entry.platform,
        channel=redact(channel),
        url=redact(entry.url),
        sha256=_sha256(entry, tell),
        md5=None if entry.hash.md5 is None else entry.hash.md5.lower(),
        requires=tuple(sorted(name for name in entry.dependencies if not name.startswith("__"))),
        location=location,
    )


def _stem(filename: str, tell: _Tell) -> tuple[str, str, str]:
    """Name, version and build by the name of a package file; empty where it isn't one."""
    ending = next((ending for ending in _ENDINGS if filename.endswith(ending)), None)
    parts = [] if ending is None else filename.removesuffix(ending).rsplit("-", 2)
    if len(parts) == 3:
        name, version, build = parts
        if _NAME.fullmatch(name) and _VERSION.fullmatch(version) and _BUILD.fullmatch(build):
            return name, version, build
    tell(f"{quote(filename)} is not the name of a conda package: expected NAME-VERSION-BUILD.conda or .tar.bz2")
    return "", "", ""


def _pip(entry: Entry, location: Location, tell: _Tell) -> LockedPackage | None:
    """One pip package; None, and told, where its name, version or platform can't be read."""
    try:
        name, version, marker = parse_name(entry.name), parse_version(entry.version), marker_of(entry.platform)
    except ValueError as error:
        tell(str(error))
        return None
    digest = _sha256(entry, tell)
    digests = frozenset() if digest is None else frozenset({digest})
    reference = _reference(entry)
    filename = of_url(entry.url)
    if reference is None:
        check_url(entry.url, tell)
        try:
            if file_of(filename) != (name, version):
                tell(f"its file is {quote(filename)}, but the entry says {quote(f'{name} {version}')}: lock it again")
        except ValueError as error:
            tell(str(error))
    return LockedPackage(
        name=name,
        version=version,
        marker=marker,
        files=() if reference else (LockedFile(filename=filename, digests=digests, url=redact(entry.url)),),
        digests=digests,
        requires=tuple(sorted({parse_name(n) for n in entry.dependencies if _is_name(n)})),
        reference=reference,
        source_only=reference is None and not filename.endswith(".whl"),
        location=location,
    )


def _reference(entry: Entry) -> Reference | None:
    """Where a package is from that the user's own requirement takes from elsewhere than an index."""
    if entry.url.partition("+")[0] in {"git", "hg", "svn", "bzr"}:
        return Reference(kind=ReferenceKind.VCS, text=redact(entry.url))
    if entry.source is not None:
        return Reference(kind=ReferenceKind.URL, text=redact(entry.source.url))
    if ("://" not in entry.url and not entry.url.startswith(MIRRORED)) or entry.url.lower().startswith("file:"):
        return Reference(kind=ReferenceKind.PATH, text=redact(entry.url))
    return None


def _is_name(name: str) -> bool:
    """Whether a dependency has the name of a distribution; those of conda packages need not."""
    try:
        parse_name(name)
    except ValueError:
        return False
    return True


def _sha256(entry: Entry, tell: _Tell) -> Digest | None:
    if entry.hash.sha256 is None:
        tell("no sha256: md5 alone proves nothing; lock it again with a conda-lock that writes one")
        return None
    try:
        return Digest.sha256(entry.hash.sha256)
    except ValueError as error:
        tell(str(error))
        return None


def check_url(url: str, tell: _Tell) -> None:
    """Tells, if anything, what makes a URL unfit for a lock: a login, a variable, a way that anybody on it can change."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        tell("its url can't be read")
        return
    if "@" in parts.netloc or "/t/" in parts.path:
        tell("its url carries a login: registries and channels take it from elsewhere")
    elif "$" in url or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        tell(f"the url {quote(url)} holds more than a plain address: conda-lock expands variables in it")
    elif "?" in url or "#" in url:
        tell(f"the url {quote(url)} has a query or a fragment: expected the plain address of a file")
    elif (
        parts.scheme != "https"
        and not (parts.scheme == "http" and host in _LOOPBACK)
        # nobody is asked by such a URL: what is the mirror's comes by its digest
        and not url.startswith(MIRRORED)
    ):
        tell(f"the url {quote(url)} is not https")
