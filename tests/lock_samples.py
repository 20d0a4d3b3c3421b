"""Allowed verdicts over conda and pip packages, to write locks of."""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import md5, sha256

from packaging.utils import canonicalize_name
from packaging.version import Version

from quarantine.model import (
    Artifact,
    CheckResult,
    CondaRecord,
    Digest,
    Ecosystem,
    ImageReference,
    Item,
    JudgedItem,
    Location,
    PackageFile,
    Purl,
    Subject,
    Target,
    Verdict,
    parse_wheel_name,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LINUX = Target("3.11", "linux-x86_64")
ARM = Target("3.11", "linux-aarch64")
CHANNEL = "https://conda.example.org/channel"


def digest(text: str) -> Digest:
    """The sha256 that stands for a file of that name."""
    return Digest("sha256", sha256(text.encode()).hexdigest())


def record(
    name: str,
    version: str,
    build: str = "py311_0",
    *,
    subdir: str = "linux-64",
    depends: Iterable[str] = (),
    channel: str = CHANNEL,
    upstream: str = "channel",
    has_md5: bool = True,
) -> CondaRecord:
    """A package file of a channel."""
    filename = f"{name}-{version}-{build}.conda"
    return CondaRecord(
        upstream=upstream,
        subdir=subdir,
        name=name,
        version=version,
        build=build,
        filename=filename,
        url=f"{channel}/{subdir}/{filename}",
        sha256=digest(filename),
        md5=md5(filename.encode(), usedforsecurity=False).hexdigest() if has_md5 else None,
        depends=tuple(depends),
    )


def conda_item(found: CondaRecord, *targets: Target) -> Item:
    """The item of a conda package."""
    return Item(
        ecosystem=Ecosystem.CONDA,
        name=found.name,
        version=found.version,
        upstream=found.upstream,
        targets=targets or (LINUX,),
        record=found,
    )


def wheel(filename: str, *, has_digest: bool = True) -> Artifact:
    """A wheel of an index."""
    name, version, _, tags = parse_wheel_name(filename)
    return Artifact(
        filename=filename,
        digest=digest(filename) if has_digest else None,
        size=1000,
        upload_time=NOW,
        url=f"https://files.example.org/{filename}",
        name=name,
        version=version,
        tags=tags,
    )


def pip_item(
    name: str, version: str, *wheels: Artifact, requirers: Iterable[Purl] = (), targets: tuple[Target, ...] = (LINUX,)
) -> Item:
    """The item of a Python distribution."""
    return Item(
        name=canonicalize_name(name),
        version=Version(version),
        upstream="pypi",
        artifacts=wheels or (wheel(f"{name}-{version}-py3-none-any.whl"),),
        targets=targets,
        required_by=tuple(requirers),
    )


def image_item(image: ImageReference, found: Digest) -> Item:
    """The item of an image that its registry resolved."""
    file = PackageFile(filename="x", digest=found, size=1, upload_time=None, url="https://example.org/v2/")
    return Item(
        ecosystem=Ecosystem.OCI, name=image.name, version=image.tag, upstream="mar", image=image, artifacts=(file,)
    )


def image(tag: str | None = "1", pinned: Digest | None = None) -> ImageReference:
    """A base image."""
    return ImageReference(
        host="example.org",
        path="base/image",
        tag=tag,
        digest=pinned,
        location=Location(file="environment.yaml", line=2),
    )


def allowed(*items: Item, targets: tuple[Target, ...] = (LINUX,)) -> CheckResult:
    """An allowed verdict over the items."""
    return CheckResult(
        verdict=Verdict.ALLOWED,
        stage="production",
        now=NOW,
        subjects=tuple(
            Subject(file="environment.yaml", sha256="0" * 64, target=target, locked=False, verdict=Verdict.ALLOWED)
            for target in targets
        ),
        preconditions=(),
        items=tuple(JudgedItem(item=item, verdict=Verdict.ALLOWED, findings=(), outcomes=()) for item in items),
        policy_sha256="0" * 64,
        snapshot=None,
        project="contoso/ml",
    )
