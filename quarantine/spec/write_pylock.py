"""A pylock.toml (PEP 751) from an allowed verdict: every package pinned, every file by its sha256."""

from collections.abc import Iterable

import tomli_w
from packaging.markers import Marker
from packaging.pylock import Package as LockPackage
from packaging.pylock import PackageWheel, Pylock
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.model import CheckResult, Item, Target

__all__ = ["write_pylock"]


def write_pylock(result: CheckResult, targets: tuple[Target, ...], created_by: str) -> bytes:
    """The lock of an allowed verdict over one spec, for all of its targets.

    A package that only some of the targets need carries the marker of those. Deterministic: the same verdict gives
    the same bytes. ValueError when an item has no file with a sha256; an allowed one always has.
    """
    markers = {index: _marker(subject.target) for index, subject in enumerate(result.subjects)}
    packages = [_package(entry.item, markers) for entry in result.items]
    minimum = min((target.python for target in targets), key=lambda text: int(text.partition(".")[2]))
    lock = Pylock(
        lock_version=Version("1.0"),
        created_by=created_by,
        requires_python=SpecifierSet(f">={minimum}"),
        environments=[Marker(markers[index]) for index in sorted(markers)],
        packages=packages,
    )
    lock.validate()
    return tomli_w.dumps(dict(lock.to_dict())).encode()


def _package(item: Item, markers: dict[int, str]) -> LockPackage:
    wheels = [
        PackageWheel(
            name=artifact.filename,
            upload_time=artifact.upload_time,
            url=artifact.url,
            size=artifact.size,
            hashes={artifact.digest.algorithm: artifact.digest.hex},
        )
        for artifact in item.artifacts
        if artifact.is_wheel and artifact.digest is not None
    ]
    if not wheels or len(wheels) != sum(artifact.is_wheel for artifact in item.artifacts):
        raise ValueError(f"{item.purl} has a file without a sha256: it can't be locked")
    if not isinstance(item.version, Version):
        raise ValueError(f"{item.purl} is no Python distribution of a known version: it can't be locked")  # noqa: TRY004  # a value of the wrong kind, for the caller
    return LockPackage(
        name=NormalizedName(item.name),
        version=item.version,
        marker=None if len(item.subjects) == len(markers) else Marker(_any(markers[i] for i in item.subjects)),
        wheels=wheels,
    )


def _any(markers: Iterable[str]) -> str:
    return " or ".join(f"({marker})" for marker in markers)


def _marker(target: Target) -> str:
    environment = target.environment()
    names = ("python_version", "sys_platform", "platform_machine")
    return " and ".join(f'{name} == "{environment[name]}"' for name in names)
