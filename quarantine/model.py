"""The nouns: what was asked for, what was found, what is known of it, and what was judged.

Immutable values, equal by value. Nothing here reads, writes, or looks at a clock.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NewType, assert_never
from urllib.parse import quote

import msgspec
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    BuildTag,
    InvalidName,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from quarantine.errors import Problem

__all__ = [
    "MIRRORED",
    "Artifact",
    "Channel",
    "CheckResult",
    "CondaRecord",
    "CondaSection",
    "CuratedEnvironment",
    "Digest",
    "Directive",
    "Ecosystem",
    "Elsewhere",
    "EnvironmentSpec",
    "EvidenceValue",
    "Finding",
    "ImageReference",
    "IndexPage",
    "Item",
    "JudgedItem",
    "LetIn",
    "Licences",
    "Location",
    "LockedCondaPackage",
    "LockedFile",
    "LockedPackage",
    "MatchSpec",
    "Needs",
    "Outcome",
    "OutcomeKind",
    "Package",
    "PackageFile",
    "Purl",
    "Receipt",
    "Reference",
    "ReferenceKind",
    "Requirement",
    "Severity",
    "Snapshot",
    "SourceFile",
    "Subject",
    "Target",
    "Unverifiable",
    "Verdict",
    "combine",
    "complaint_about_variable",
    "conda_purl",
    "is_loopback",
    "oci_purl",
    "parse_name",
    "parse_version",
    "parse_wheel_name",
    "pypi_purl",
]

Purl = NewType("Purl", str)
EvidenceValue = str | int | bool | tuple[str, ...] | None

_FILENAME = re.compile(r"[A-Za-z0-9._+!-]{1,255}")
_MAX_TAGS = 500


# --- identity ---------------------------------------------------------------------------------------------------------


def parse_name(text: str) -> NormalizedName:
    """The normalised form of a distribution's name (PEP 503), raising ValueError for anything but a valid ASCII name.

    `canonicalize_name` alone folds U+212A into "k"; only with `validate` are such names refused.
    """
    if not text.isascii():
        raise ValueError(f"{text!a} is not a package name: only ASCII letters, digits, '.', '-' and '_' may be used")
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        raise ValueError(f"{text!a} is not a package name") from None


def parse_wheel_name(filename: str) -> tuple[NormalizedName, Version, BuildTag, frozenset[Tag]]:
    """What a wheel's file name says (binary distribution format), raising ValueError when it isn't one.

    Its three tag sets multiply: a name of 255 characters can stand for half a million tags, so that they are counted
    before they are made. The names of real wheels stand for a few dozen at most.
    """
    if not _FILENAME.fullmatch(filename):
        raise ValueError(f"{filename[:100]!a} is not the name of a wheel: up to 255 of A-Z a-z 0-9 . _ + ! -")
    stem = filename.removesuffix(".whl")
    if math.prod(part.count(".") + 1 for part in stem.rsplit("-", 3)[1:]) > _MAX_TAGS:
        raise ValueError(f"{filename[:100]!a} stands for more than {_MAX_TAGS} tags")
    try:
        return parse_wheel_filename(filename)
    except InvalidWheelFilename:
        raise ValueError(f"{filename[:100]!a} is not the name of a wheel") from None


@lru_cache(maxsize=65536)
def _version(text: str) -> Version:
    return Version(text)


def parse_version(text: str) -> Version:
    """A PEP 440 version, raising ValueError when it isn't one."""
    if not text.isascii():
        raise ValueError(f"{text!a} is not a version (PEP 440)")
    try:
        return _version(text)
    except InvalidVersion:
        raise ValueError(f"{text!a} is not a version (PEP 440)") from None


def pypi_purl(name: str, version: Version | None = None) -> Purl:
    """The package URL of a Python distribution (purl specification, type pypi)."""
    return Purl(f"pkg:pypi/{name}" if version is None else f"pkg:pypi/{name}@{quote(str(version), safe='.')}")


def _quote(text: str, safe: str = ".") -> str:
    # a lone surrogate has no encoding; no name that was looked up has one
    return quote(text, safe=safe, errors="replace")


def conda_purl(name: str, version: str | None = None, **qualifiers: str) -> Purl:
    """The package URL of a conda package (purl specification, type conda): build, channel, subdir and type qualify it."""
    purl = f"pkg:conda/{name}" if version is None else f"pkg:conda/{name}@{_quote(version)}"
    said = "&".join(f"{key}={_quote(value)}" for key, value in sorted(qualifiers.items()) if value)
    return Purl(f"{purl}?{said}" if said else purl)


def oci_purl(name: str, digest: str | None = None, tag: str | None = None) -> Purl:
    """The package URL of an image (purl specification, type oci): `name` is registry and path."""
    last = name.rpartition("/")[2]
    version = "" if digest is None else f"@{_quote(digest)}"
    said = f"repository_url={_quote(name, '/.')}" + ("" if tag is None else f"&tag={_quote(tag)}")
    return Purl(f"pkg:oci/{last}{version}?{said}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or its address: there nobody listens in."""
    if host == "localhost":
        return True
    from ipaddress import ip_address  # noqa: PLC0415  # few runs meet a host without encryption

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_OTHERS = re.compile(
    r"(?:AZURE|AZUREML|ARM|MSI|IDENTITY|AWS|GOOGLE|GCP|CLOUDSDK|GITHUB|GH|ACTIONS|SYSTEM|BUILD|AGENT|RUNNER|ENDPOINT"
    r"|SECUREFILE|VSTS|VSS|TF|CI_(?:JOB|REGISTRY|DEPLOY)|GITLAB|JENKINS|CIRCLE|BITBUCKET|DOCKER|KUBERNETES|SSH|GPG|GIT"
    r"|NPM|PIP|UV|TWINE|POETRY|VAULT|HF|WANDB|MLFLOW|DATABRICKS|OPENAI|ANTHROPIC)_.*"
    r"|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|PYTHON(?:PATH|HOME)|LD_(?:PRELOAD|LIBRARY_PATH)|KUBECONFIG|NETRC"
    r"|PATH|HOME|USER|USERNAME|USERPROFILE|LOGNAME|HOSTNAME|SHELL|PWD|TERM|TMP|TEMP|TMPDIR|APPDATA|LOCALAPPDATA|CI",
    re.IGNORECASE,
)
"""Variables of clouds, CI systems and other tools, whatever they have in them. Systems differ in whether case matters."""


def complaint_about_variable(name: str) -> str | None:
    """Why a configuration can't name this environment variable as that of a secret, None where it can.

    A configuration comes with the code that is judged, and what is in the variable goes to a host that it names: whatever
    CI systems, clouds and other tools keep in variables of theirs is not for it to give away.
    """
    if _OTHERS.fullmatch(name) is None:
        return None
    return (
        f"the variable {name[:100]} is another system's, and what it holds goes nowhere else: put the secret into a variable "
        "of its own, like QUARANTINE_SECRET, and name that"
    )


class Ecosystem(StrEnum):
    """Where a package's name has its meaning."""

    PYPI = "pypi"
    CONDA = "conda"
    OCI = "oci"
    AZUREML = "azureml"


class Digest(msgspec.Struct, frozen=True, order=True):
    """A cryptographic hash of bytes, printed as `sha256:<hex>`."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def sha256(cls, value: str) -> "Digest":
        """A sha256 from its 64 hexadecimal digits; ValueError for anything else."""
        lowered = value.lower()
        if len(lowered) != 64 or not set(lowered) <= set("0123456789abcdef"):
            raise ValueError(f"{value!a} is not a sha256: 64 hexadecimal digits expected")
        return cls("sha256", lowered)


class Location(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A place in a file that the user can open; lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


class Package(msgspec.Struct, frozen=True, order=True):
    """A Python distribution at one version, with the sha256 digests of the files that stand for it."""

    name: NormalizedName
    version: Version
    digests: frozenset[Digest] = frozenset()

    @property
    def purl(self) -> Purl:
        """Its package URL."""
        return pypi_purl(self.name, self.version)


# --- targets ----------------------------------------------------------------------------------------------------------

_LINUX = ("linux_", "manylinux", "musllinux_")
_LATE_PATCH = 99
_CUDA = re.compile(r"[1-9][0-9]?\.[0-9]{1,2}")
_CONDA = {
    # platform -> (conda's name for it, the virtual packages of the oldest machine that the target stands for)
    "linux-x86_64": (
        "linux-64",
        (("__archspec", "1", "x86_64"), ("__glibc", "2.28", "0"), ("__linux", "4.18", "0"), ("__unix", "0", "0")),
    ),
    "linux-aarch64": (
        "linux-aarch64",
        (("__archspec", "1", "aarch64"), ("__glibc", "2.28", "0"), ("__linux", "4.18", "0"), ("__unix", "0", "0")),
    ),
    "macos-arm64": ("osx-arm64", (("__archspec", "1", "m1"), ("__osx", "13.0", "0"), ("__unix", "0", "0"))),
    "windows-x86_64": ("win-64", (("__archspec", "1", "x86_64"), ("__win", "0", "0"))),
}
_OCI = {
    "linux-x86_64": "linux/amd64",
    "linux-aarch64": "linux/arm64",
    "macos-arm64": "linux/arm64",
    "windows-x86_64": "windows/amd64",
}
_PLATFORMS = {
    # platform -> (uv's name for it, machine, marker values, how the platform tags of its wheels begin)
    "linux-x86_64": ("x86_64-manylinux_2_28", ("x86_64",), ("linux", "Linux", "x86_64", "posix"), _LINUX),
    "linux-aarch64": ("aarch64-manylinux_2_28", ("aarch64",), ("linux", "Linux", "aarch64", "posix"), _LINUX),
    "macos-arm64": ("aarch64-apple-darwin", ("arm64",), ("darwin", "Darwin", "arm64", "posix"), ("macosx_",)),
    "windows-x86_64": ("x86_64-pc-windows-msvc", ("win_amd64",), ("win32", "Windows", "AMD64", "nt"), ("win_amd64",)),
}
_MANYLINUX_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class Target(msgspec.Struct, frozen=True, order=True):
    """What an environment is built for: a CPython minor version ("3.10") and one of the known platforms.

    `cuda` is the version of CUDA that the machine's driver has ("12.4"), "" for a machine without one.
    """

    python: str
    platform: str
    cuda: str = ""

    def __post_init__(self) -> None:
        major, dot, minor = self.python.partition(".")
        if not (major == "3" and dot and minor.isdecimal() and minor.isascii()):
            raise ValueError(f"{self.python!a} is not a Python version: expected one like 3.11")
        if self.platform not in _PLATFORMS:
            raise ValueError(f"{self.platform!a} is not a platform: expected one of {', '.join(_PLATFORMS)}")
        if self.cuda and not _CUDA.fullmatch(self.cuda):
            raise ValueError(f"{self.cuda!a} is not a version of CUDA: expected one like 12.4")

    def __str__(self) -> str:
        cuda = f"-cuda{self.cuda}" if self.cuda else ""
        return f"cp{self.python.replace('.', '')}-{self.platform}{cuda}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """The target that is printed as `text` ("cp310-linux-x86_64"); ValueError for anything else."""
        interpreter, _, platform = text.partition("-")
        if not interpreter.startswith("cp3") or not platform:
            raise ValueError(f"{text!a} is not a target: expected one like cp311-linux-x86_64")
        platform, _, cuda = platform.partition("-cuda")
        return cls(f"3.{interpreter[3:]}", platform, cuda)

    @classmethod
    def platforms(cls) -> tuple[str, ...]:
        """The platforms that can be named."""
        return tuple(_PLATFORMS)

    @property
    def uv_platform(self) -> str:
        """What uv's `--python-platform` calls it."""
        return _PLATFORMS[self.platform][0]

    @property
    def conda_subdir(self) -> str:
        """What conda calls the platform ("linux-64")."""
        return _CONDA[self.platform][0]

    @property
    def virtual_packages(self) -> tuple[tuple[str, str, str], ...]:
        """Name, version and build of conda's virtual packages on the oldest machine that the target stands for."""
        cuda = (("__cuda", self.cuda, "0"),) if self.cuda else ()
        return (*cuda, *_CONDA[self.platform][1])

    @property
    def oci_platform(self) -> str:
        """What image indexes call the platform ("linux/amd64"); containers on a Mac run Linux."""
        return _OCI[self.platform]

    def environment(self) -> dict[str, str]:
        """The marker environment (PEP 508) of the target, `extra` left out."""
        sys_platform, system, machine, os_name = _PLATFORMS[self.platform][2]
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": os_name,
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": system,
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": sys_platform,
        }

    def allows(self, marker: Marker | None, extra: str = "") -> bool:
        """Whether a marker holds on some patch release of the target's Python: on its first one, or on a late one.

        Which one will be there isn't known, so what may be installed counts as installed.
        """
        if marker is None:
            return True
        environment = {**self.environment(), "extra": extra}
        if marker.evaluate(environment):
            return True
        late = f"{self.python}.{_LATE_PATCH}"
        return marker.evaluate({**environment, "python_full_version": late, "implementation_version": late})

    def may_be_in(self, pythons: SpecifierSet) -> bool:
        """Whether some patch release of the target's Python is among them."""
        return f"{self.python}.0" in pythons or f"{self.python}.{_LATE_PATCH}" in pythons

    def tags(self) -> frozenset[Tag]:
        """Every wheel tag that every machine of the target installs (PEP 425, PEP 600)."""
        return _tags(self)

    def may_install(self, tags: Iterable[Tag]) -> bool:
        """Whether some machine of the target's kind installs a wheel with these tags.

        Machines may be newer than the oldest ones that the target stands for: a later glibc, musl, a later macOS.
        """
        _, machines, _, beginnings = _PLATFORMS[self.platform]
        endings = (*machines, "universal2") if self.platform.startswith("macos-") else machines
        interpreters = _interpreters(self)
        return any(
            (tag.interpreter, tag.abi) in interpreters
            and (tag.platform == "any" or (tag.platform.startswith(beginnings) and tag.platform.endswith(endings)))
            for tag in tags
        )


@lru_cache(maxsize=64)
def _tags(target: Target) -> frozenset[Tag]:
    machine = _PLATFORMS[target.platform][1][0]
    platforms: list[str] = []
    if target.platform.startswith("linux-"):
        oldest = 5 if machine == "x86_64" else 17
        for minor in range(28, oldest - 1, -1):
            platforms.append(f"manylinux_2_{minor}_{machine}")
            if minor in _MANYLINUX_ALIASES:
                platforms.append(f"{_MANYLINUX_ALIASES[minor]}_{machine}")
        platforms.append(f"linux_{machine}")
    elif target.platform.startswith("macos-"):
        # uv's aarch64-apple-darwin means macOS 13 or later
        platforms += [f"macosx_{major}_0_{arch}" for major in range(13, 10, -1) for arch in (machine, "universal2")]
        platforms += [f"macosx_10_{minor}_universal2" for minor in range(16, 3, -1)]
    else:
        platforms.append(machine)
    version = (3, int(target.python.partition(".")[2]))
    interpreter = f"cp3{version[1]}"
    return frozenset(cpython_tags(version, platforms=platforms)) | frozenset(
        compatible_tags(version, interpreter, platforms)
    )


@lru_cache(maxsize=64)
def _interpreters(target: Target) -> frozenset[tuple[str, str]]:
    """The pairs of interpreter and ABI tags of what the target installs."""
    return frozenset((tag.interpreter, tag.abi) for tag in _tags(target))


# --- asked for --------------------------------------------------------------------------------------------------------


class ReferenceKind(StrEnum):
    """Ways of naming a package by where it lies instead of by name and version."""

    URL = "url"
    VCS = "vcs"
    PATH = "path"


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A direct reference (PEP 508 `name @ …`, `git+…`, a path): judged, never followed. `text` holds no credentials."""

    kind: ReferenceKind
    text: str
    editable: bool = False


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement of a user's file. `name` is None only where a direct reference doesn't say it."""

    name: NormalizedName | None
    specifier: SpecifierSet = SpecifierSet()
    extras: tuple[NormalizedName, ...] = ()
    marker: Marker | None = None
    reference: Reference | None = None
    digests: frozenset[Digest] = frozenset()
    location: Location

    def applies_to(self, target: Target) -> bool:
        """Whether its marker holds on the target (no extra asked for)."""
        return target.allows(self.marker)


class Directive(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the user's file that would change where packages come from or how they are trusted: judged, not obeyed.

    `option` is the long form (`--extra-index-url`), or a word of ours for what is no option (`environment-variable`,
    `include-outside-root`); `text` is the line without credentials.
    """

    option: str
    text: str
    location: Location


class LockedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a lock names."""

    filename: str
    digests: frozenset[Digest]
    size: int | None = None
    url: str | None = None


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package that a lock pins. `files` is empty where a requirements line gives only digests.

    `digests` are all digests that an installer accepts for it; `index` is what the lock says about its origin and
    proves nothing. `requires` are the names of the packages that it pulls in, where the lock says so.
    """

    name: NormalizedName
    version: Version | None
    marker: Marker | None = None
    files: tuple[LockedFile, ...] = ()
    digests: frozenset[Digest] = frozenset()
    index: str | None = None
    requires: tuple[NormalizedName, ...] = ()
    reference: Reference | None = None
    source_only: bool = False
    location: Location


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A conda channel as a user's file names it ("conda-forge", a URL, "defaults"), without credentials."""

    name: str
    location: Location


class MatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One conda package that a user's file asks for (conda's MatchSpec), validated.

    `version` and `build` are as conda writes them ("" for any), canonical and safe to give to a solver. `channel` is what
    stood before `::`. `reference` is set for a spec that is the URL or path of a package file: judged, never followed.
    """

    name: str
    version: str = ""
    build: str = ""
    channel: str | None = None
    subdir: str | None = None
    sha256: Digest | None = None
    md5: str = ""
    reference: Reference | None = None
    location: Location

    def __str__(self) -> str:
        """Conda's bracket form, without the channel: `name[version='>=1.2,<2',build='py38_0']`."""
        sha256 = self.sha256.hex if self.sha256 else ""
        keys = (("version", self.version), ("build", self.build), ("sha256", sha256), ("md5", self.md5))
        said = ",".join(f"{key}='{value}'" for key, value in keys if value)
        return f"{self.name}[{said}]" if said else self.name


class LockedCondaPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A conda package that a lock pins. `platform` is conda's name of the one it is for ("linux-64"), None for any.

    `url` is None where the lock gives name, version, build and sha256 only. Some installers hold a file to its md5 alone,
    so that one counts, too. `requires` are names, where the lock says so.
    """

    name: str
    version: str
    build: str = ""
    platform: str | None = None
    channel: str | None = None
    url: str | None = None
    sha256: Digest | None = None
    md5: str | None = None
    requires: tuple[str, ...] = ()
    location: Location


class CondaSection(msgspec.Struct, frozen=True, kw_only=True):
    """What a file asks of conda. `locked` is set where every package is pinned by name, version, build and sha256.

    Channels stand in the user's order; `defaults` is among them where conda would add it for want of any other.
    """

    channels: tuple[Channel, ...] = ()
    specs: tuple[MatchSpec, ...] = ()
    locked: tuple[LockedCondaPackage, ...] | None = None


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a file builds upon or copies from, with registry and path written out (`docker.io/library/python`).

    Without `tag` and `digest` it means `latest`. `role` says what names it ("FROM", "COPY --from", "image").
    """

    host: str
    path: str
    tag: str | None = None
    digest: Digest | None = None
    platform: str | None = None
    role: str = "image"
    location: Location

    @property
    def name(self) -> str:
        """Registry and path."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return self.name + tag + ("" if self.digest is None else f"@{self.digest}")


class CuratedEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """An Azure ML environment that is named, not described: `azureml://registries/R/environments/N/versions/V`.

    `registry` is None for one of the workspace (`azureml:N:V`). `version` is None for a label ("latest").
    """

    registry: str | None
    name: str
    version: str | None
    label: str | None = None
    location: Location

    def __str__(self) -> str:
        if self.registry is None:
            return f"azureml:{self.name}" + (f":{self.version}" if self.version else f"@{self.label or 'latest'}")
        which = f"versions/{self.version}" if self.version else f"labels/{self.label or 'latest'}"
        return f"azureml://registries/{self.registry}/environments/{self.name}/{which}"


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read to understand a spec, with the sha256 of its bytes."""

    path: str
    sha256: str


class Unverifiable(msgspec.Struct, frozen=True, kw_only=True):
    """Something a spec does that can't be known without running it."""

    location: Location
    what: str
    why: str


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a user's file asks for. Exactly one of `requirements` and `locked` matters: a lock has `locked` set.

    `environments` are the markers that a lock says it was made for, one of which must hold; empty means any.
    With `conda`, the Python distributions are installed into the environment that conda makes. `parts` are what a file
    builds in several steps or takes from other files, each resolved by itself: the environments of a Dockerfile's
    lines, the conda file of an Azure ML environment. `unreadable` says why a file that a folder holds can't be read.
    `name` is what the file calls the environment, "" where it doesn't say. `python` is the CPython minor version that the
    file itself brings, which then counts instead of the target's.
    """

    file: str
    format: str
    name: str = ""
    python: str | None = None
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    directives: tuple[Directive, ...] = ()
    locked: tuple[LockedPackage, ...] | None = None
    requires_python: SpecifierSet = SpecifierSet()
    environments: tuple[Marker, ...] = ()
    conda: CondaSection | None = None
    images: tuple[ImageReference, ...] = ()
    curated: tuple[CuratedEnvironment, ...] = ()
    parts: tuple["EnvironmentSpec", ...] = ()
    unverifiable: tuple[Unverifiable, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    sources: tuple[SourceFile, ...] = ()

    @property
    def leaves(self) -> tuple["EnvironmentSpec", ...]:
        """The spec itself, then its parts, theirs, and so on: each is one thing to resolve and to judge."""
        return (self, *(leaf for part in self.parts for leaf in part.leaves))

    @property
    def is_locked(self) -> bool:
        """Whether all that it and its parts ask for is pinned: every package and image by digest."""
        asks = [leaf for leaf in self.leaves if leaf.requirements or leaf.locked is not None or leaf.conda is not None]
        named = [(image.digest is not None) for leaf in self.leaves for image in leaf.images]
        named += [(environment.version is not None) for leaf in self.leaves for environment in leaf.curated]
        return bool(asks or named) and all(leaf.pins_packages for leaf in asks) and all(named)

    @property
    def pins_packages(self) -> bool:
        """Whether every package that it asks for itself (not its parts) is pinned by digest."""
        return (self.locked is not None or not self.requirements) and (
            self.conda is None or self.conda.locked is not None
        )


class Needs(msgspec.Struct, frozen=True):
    """More files are needed before a spec can be understood: paths relative to the root, `/` between segments.

    `wanted_by` says for each path where it is asked for, so that a missing file can be reported at that line.
    """

    paths: tuple[str, ...]
    wanted_by: tuple[Location, ...] = ()


# --- found ------------------------------------------------------------------------------------------------------------


MIRRORED = "mirror:/"
"""How the URLs of files begin that the private mirror has: where it is served decides who reads them."""


class PackageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an upstream lists: of a distribution, a conda package, or an image's manifest.

    `upload_time` (aware, UTC) is the server's word, None where it gave none.
    """

    filename: str
    digest: Digest | None
    size: int | None
    upload_time: datetime | None
    yanked: str | None = None
    url: str

    @property
    def is_mirrored(self) -> bool:
        """Whether the private mirror has it in the place of its owner."""
        return self.url.startswith(MIRRORED)

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel."""
        return False

    def fits(self, target: Target) -> bool:
        """Whether every machine of the target would install it as a wheel."""
        del target
        return False

    def may_fit(self, target: Target) -> bool:
        """Whether some machine of the target's kind would install it as a wheel."""
        del target
        return False


class Artifact(PackageFile, frozen=True, kw_only=True):
    """A file of a Python distribution, as an index page lists it. `provenance` is the URL of its attestations (PEP 740)."""

    name: NormalizedName
    version: Version
    requires_python: SpecifierSet | None = None
    metadata_digest: Digest | None = None
    has_metadata: bool = False
    provenance: str | None = None
    tags: frozenset[Tag] = frozenset()

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel; otherwise it is a source distribution."""
        return bool(self.tags)

    def fits(self, target: Target) -> bool:
        """Whether every machine of the target would install this wheel."""
        return (
            self.is_wheel
            and not self.tags.isdisjoint(target.tags())
            and (self.requires_python is None or f"{target.python}.0" in self.requires_python)
        )

    def may_fit(self, target: Target) -> bool:
        """Whether some machine of the target's kind would install this wheel: then it is judged."""
        return (
            self.is_wheel
            and (self.requires_python is None or target.may_be_in(self.requires_python))
            and target.may_install(self.tags)
        )


class CondaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A package file as a channel's repodata lists it. `upstream` is the policy's name of the channel.

    `indexed` (aware, UTC) is when the channel's server says that it took the file in, None where it doesn't say.
    `depends` are match specs, as the packager wrote them.
    """

    upstream: str
    subdir: str
    name: str
    version: str
    build: str
    filename: str
    url: str
    sha256: Digest | None = None
    md5: str | None = None
    size: int | None = None
    indexed: datetime | None = None
    depends: tuple[str, ...] = ()

    @property
    def purl(self) -> Purl:
        """Its package URL."""
        kind = "conda" if self.filename.endswith(".conda") else "tar.bz2"
        return conda_purl(
            self.name, self.version, build=self.build, channel=self.upstream, subdir=self.subdir, type=kind
        )


class IndexPage:
    """What one upstream lists for one project. `status` is the project's (PEP 792), "active" where none is given.

    Files whose names are no wheel's and no sdist's are left out. A page may list thousands of files, of which a few
    matter: `packed` pages keep them as bytes, one value a version, and `unpack` makes artifacts of what is asked for.
    """

    __slots__ = ("_files", "_texts", "_unpack", "name", "status", "upstream")

    def __init__(
        self, *, upstream: str, name: NormalizedName, artifacts: Iterable[Artifact] = (), status: str = "active"
    ) -> None:
        files: dict[str, tuple[Artifact, ...]] = {}
        for artifact in artifacts:
            key = canonicalize_version(artifact.version)
            files[key] = (*files.get(key, ()), artifact)
        self.upstream = upstream
        self.name = name
        self.status = status
        self._files: Mapping[str, bytes | tuple[Artifact, ...]] = {str(f[0].version): f for f in files.values()}
        self._unpack: Callable[[bytes, Collection[Digest] | None], tuple[Artifact, ...]] = _nothing
        self._texts: dict[str, str] | None = None

    @classmethod
    def packed(
        cls,
        *,
        upstream: str,
        name: NormalizedName,
        files: Mapping[str, bytes],
        unpack: Callable[[bytes, Collection[Digest] | None], tuple[Artifact, ...]],
        status: str = "active",
    ) -> "IndexPage":
        """A page of packed files: by version, no two keys equal as versions, each holding its files' raw sha256 bytes.

        `unpack` makes the files of one version; of those digests alone, if there are any given.
        """
        page = cls(upstream=upstream, name=name, status=status)
        page._files = files
        page._unpack = unpack
        return page

    def joined(self, artifacts: Iterable[Artifact]) -> "IndexPage":
        """The page with these files beside its own; what it has packed stays packed where nothing is added."""
        page = IndexPage(upstream=self.upstream, name=self.name, status=self.status)
        page._unpack = self._unpack
        files = dict(self._files)
        spelled = {canonicalize_version(text): text for text in files}
        for artifact in artifacts:
            text = spelled.setdefault(canonicalize_version(artifact.version), str(artifact.version))
            known = files.get(text, ())
            files[text] = (*(self._unpack(known, None) if isinstance(known, bytes) else known), artifact)
        page._files = files
        return page

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All its files, version by version; costs seconds on the largest pages."""
        return tuple(artifact for text in self._files for artifact in self._of(text))

    def versions(self) -> tuple[Version, ...]:
        """The versions that it has files of, in no order."""
        return tuple(map(parse_version, self._files))

    def of_version(self, version: Version, digests: Collection[Digest] | None = None) -> tuple[Artifact, ...]:
        """The files of one version; of those with one of the digests alone, if these are given."""
        text = str(version)
        if text not in self._files:
            if self._texts is None:
                self._texts = {canonicalize_version(known): known for known in self._files}
            # 1.0 and 1.0.0 are one version with two spellings
            text = self._texts.get(canonicalize_version(version), text)
        return self._of(text, digests)

    def _of(self, text: str, digests: Collection[Digest] | None = None) -> tuple[Artifact, ...]:
        files = self._files.get(text, ())
        if isinstance(files, bytes):
            return self._unpack(files, digests)
        return files if digests is None else tuple(artifact for artifact in files if artifact.digest in digests)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexPage):
            return NotImplemented
        same = (self.upstream, self.name, self.status) == (other.upstream, other.name, other.status)
        return same and frozenset(self.artifacts) == frozenset(other.artifacts)

    def __hash__(self) -> int:
        return hash((self.upstream, self.name, self.status))

    def __repr__(self) -> str:
        return f"IndexPage(upstream={self.upstream!r}, name={self.name!r}, status={self.status!r}, {len(self._files)} versions)"


def _nothing(_: bytes, __: Collection[Digest] | None) -> tuple[Artifact, ...]:
    return ()


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One package that is to be judged, for one or several subjects (indices into the result's `subjects`).

    `upstream` owns the name, None where nobody has it. `artifacts` are the owner's files that may be installed on some
    machine of the target's kind, and the source distributions that a lock accepts.
    `targets` are those that it would be installed on. `missing_digests` are digests that the user's lock accepts and the owner's page doesn't list. `held_back_from` is
    the newest version that the user's own line would take, where another was chosen, and `held_back_by` says why.
    `elsewhere` are URLs that the user's lock takes files from and that aren't on the host of the owner's files.
    `contradiction` says how two sources of evidence about the item disagree; empty where they don't.
    A conda package has its `record`, and `holds` are the Python distributions inside, None where its file list can't be
    read (then `unread` says why). An image has its `image`, its version is its tag; `platforms` are those that there
    is an image for ("linux/amd64"), empty where none was found. An Azure ML environment that is named has `curated`.
    """

    ecosystem: Ecosystem = Ecosystem.PYPI
    name: str
    version: Version | str | None
    upstream: str | None
    status: str = "active"
    artifacts: tuple[PackageFile, ...] = ()
    missing_digests: frozenset[Digest] = frozenset()
    elsewhere: tuple[str, ...] = ()
    subjects: tuple[int, ...] = (0,)
    targets: tuple[Target, ...] = ()
    required_by: tuple[Purl, ...] = ()
    location: Location | None = None
    record: CondaRecord | None = None
    holds: tuple[Package, ...] | None = ()
    unread: str = ""
    image: ImageReference | None = None
    platforms: tuple[str, ...] = ()
    curated: CuratedEnvironment | None = None
    reference: Reference | None = None
    locked: bool = False
    source_only: bool = False
    held_back_from: Version | str | None = None
    held_back_by: str = ""
    contradiction: str = ""

    @property
    def purl(self) -> Purl:
        """Its package URL."""
        match self.ecosystem:
            case Ecosystem.PYPI:
                return pypi_purl(self.name, self.version if isinstance(self.version, Version) else None)
            case Ecosystem.CONDA:
                version = None if self.version is None else str(self.version)
                return conda_purl(self.name, version) if self.record is None else self.record.purl
            case Ecosystem.OCI:
                digest = next((str(a.digest) for a in self.artifacts if a.digest is not None), None)
                return oci_purl(self.name, digest, None if self.version is None else str(self.version))
            case Ecosystem.AZUREML:
                return Purl(f"pkg:generic/{_quote(self.name)}@{_quote(str(self.version))}")
            case _:
                assert_never(self.ecosystem)

    @property
    def packages(self) -> tuple[Package, ...]:
        """What an advisory service is asked about: itself, or the Python distributions that a conda package holds."""
        match self.ecosystem:
            case Ecosystem.PYPI:
                if not isinstance(self.version, Version):
                    return ()
                digests = frozenset(a.digest for a in self.artifacts if a.digest is not None)
                return (Package(NormalizedName(self.name), self.version, digests),)
            case Ecosystem.CONDA:
                return self.holds or ()
            case Ecosystem.OCI | Ecosystem.AZUREML:
                return ()
            case _:
                assert_never(self.ecosystem)


# --- known ------------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """Qualitative severity (CVSS v3.1 section 5), and its absence."""

    UNKNOWN = "unknown"
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One flaw, or one piece of malware, that affects one package: the records about it joined by their aliases.

    `score` is the CVSS base score as text ("7.5"), None where no record has one. `fixed` are the versions that fix it.
    """

    id: str
    aliases: tuple[str, ...] = ()
    severity: Severity = Severity.UNKNOWN
    score: str | None = None
    fixed: tuple[str, ...] = ()
    malware: bool = False
    summary: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Every identifier it goes by."""
        return (self.id, *self.aliases)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an advisory source. `as_of` is None where the source can't say (then it is never fresh)."""

    sha256: str
    as_of: datetime | None
    sources: tuple[tuple[str, int], ...]
    complete: bool
    accepted_until: datetime | None = None

    @property
    def has_malware(self) -> bool:
        """Whether a source of malware records is in it."""
        return any(name == "malware" and count > 0 for name, count in self.sources)


# --- judged -----------------------------------------------------------------------------------------------------------


class OutcomeKind(StrEnum):
    """What a rule says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's answer, with the evidence it stands on."""

    rule: str
    kind: OutcomeKind
    message: str
    evidence: tuple[tuple[str, EvidenceValue], ...] = ()
    location: Location | None = None


class Licences(msgspec.Struct, frozen=True, kw_only=True):
    """What a package says of its licence: an SPDX expression, words of any kind, classifiers. Nothing is made of them."""

    expression: str | None = None
    text: str | None = None
    classifiers: tuple[str, ...] = ()


class Verdict(StrEnum):
    """What follows from the outcomes."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNDECIDED = "undecided"

    @property
    def exit_status(self) -> int:
        """The process's exit status."""
        return {Verdict.ALLOWED: 0, Verdict.DENIED: 1, Verdict.UNDECIDED: 3}[self]


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Any denied, else any undecided, else allowed; a verdict over nothing is undecided."""
    seen = frozenset(verdicts)
    if Verdict.DENIED in seen:
        return Verdict.DENIED
    if Verdict.UNDECIDED in seen or not seen:
        return Verdict.UNDECIDED
    return Verdict.ALLOWED


class LetIn(msgspec.Struct, frozen=True, kw_only=True):
    """The exception that stands behind every file of an item: its id, the instant that it ends, the failures it waives.

    Of several it is the one that ends first, and `waives` is what all of them do.
    """

    exception: str
    until: datetime
    waives: tuple[str, ...] = ()


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that holds for every file of an item, in another stage than the one that is judged for."""

    exception: str
    stage: str


class JudgedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item with everything known about it and what the rules made of it.

    `nearest` is the nearest version that passes every rule on its own; a local claim that the next resolution proves.
    `exception` is there whenever one stands behind the item, also where it would pass without; `elsewhere` is one that
    holds for its files in another stage of the same project, where the item isn't allowed.
    """

    item: Item
    verdict: Verdict
    findings: tuple[Finding, ...] | None
    outcomes: tuple[Outcome, ...]
    nearest: Version | str | None = None
    exception: LetIn | None = None
    elsewhere: Elsewhere | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One file judged for one target. `sha256` covers the file and all that it includes; `format` is what it was read as."""

    file: str
    sha256: str
    target: Target
    locked: bool
    verdict: Verdict
    outcomes: tuple[Outcome, ...] = ()
    format: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that an entry is in the log: its stream, its sequence number from 0, the sha256 of its line."""

    stream: str
    seq: int
    sha256: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one run, whole. `preconditions` hold what must be so before any evidence counts.

    `default_stage` is what a request for an exception takes when it names no stage, "" where that isn't known.
    `before` and `after` are the options that were given before and after the command, for commands to do next (quoted
    for a shell, each with a space in front). `receipt` is None only until the entry is in the log; `lock` is the path of the lock that was written; `project` is
    who the verdict is for, "" where nobody said. `lock_stage` is the stage that a lock is judged for when nobody names one;
    `kept` is the file that the verdict is written to as JSON, None where it isn't.
    """

    verdict: Verdict
    stage: str
    now: datetime
    subjects: tuple[Subject, ...]
    preconditions: tuple[Outcome, ...]
    items: tuple[JudgedItem, ...]
    policy_sha256: str
    snapshot: Snapshot | None
    unverifiable: tuple[Unverifiable, ...] = ()
    lock: str | None = None
    before: str = ""
    after: str = ""
    receipt: Receipt | None = None
    project: str = ""
    default_stage: str = ""
    lock_stage: str = ""
    kept: str | None = None
