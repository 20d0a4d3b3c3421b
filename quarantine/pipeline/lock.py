"""The lock that a check writes: which kind fits which spec, and its files."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from quarantine.errors import UsageError
from quarantine.model import CheckResult, EnvironmentSpec, Target

__all__ = ["AZUREML_FILES", "AZUREML_HEAD", "Lock", "LockKind", "fits", "lock_files"]

AZUREML_FILES = frozenset({"environment.yaml", "conda.yml"})
"""What the folder for Azure ML holds."""
AZUREML_HEAD = b"# Written by quarantine"
"""How each of its files begins, by which it is told from somebody's own."""


class LockKind(StrEnum):
    """The kinds of lock."""

    PYLOCK = "pylock.toml"
    CONDA_LOCK = "conda-lock.yml"
    AZUREML = "azureml"


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Where the lock goes: a file, or the folder that Azure ML builds from."""

    kind: LockKind
    path: Path

    def __str__(self) -> str:
        return f"azureml={self.path}" if self.kind is LockKind.AZUREML else str(self.path)


def fits(lock: Lock, specs: Sequence[EnvironmentSpec], working_directory: Path) -> None:
    """Nothing, raising UsageError that names the right kind where the lock can't hold what the specs ask for.

    Nor may it take the place of a file that was read for it.
    """
    if len(specs) != 1:
        raise UsageError(f"--lock writes the lock of one environment, and there are {len(specs)}: check one at a time")
    (spec,) = specs
    leaves = spec.leaves
    if any(leaf.unreadable for leaf in leaves):
        return
    written = (lock.path / name for name in AZUREML_FILES) if lock.kind is LockKind.AZUREML else (lock.path,)
    taken = {(working_directory / path).resolve() for path in written}
    for source in (source for leaf in leaves for source in leaf.sources):
        if (working_directory / source.path).resolve() in taken:
            raise UsageError(f"--lock {lock}: {source.path} is a file that is checked: name another place")
    conda = [leaf for leaf in leaves if leaf.conda is not None]
    images = [image for leaf in leaves for image in leaf.images]
    if spec.format == "dockerfile" or any(leaf.format == "dockerfile" for leaf in leaves):
        raise UsageError(
            f"--lock: {spec.file} is built by a Dockerfile, which no lock can stand for: lock the files that it copies, "
            "and name its images by the digests that the verdict gives"
        )
    one_image = next((leaf for leaf in leaves if leaf.images), spec)
    apart = len(images) > 1 or not all(leaf in one_image.leaves for leaf in conda)
    if apart or len(conda) > 1 or (conda and any(p.requirements or p.locked for p in leaves if p.conda is None)):
        raise UsageError(f"--lock: {spec.file} holds several environments: lock each of them by itself")
    if any(leaf.curated for leaf in leaves):
        raise UsageError(
            f"--lock: {spec.file} names an environment that is kept elsewhere: there is nothing to lock here"
        )
    right = LockKind.CONDA_LOCK if conda else LockKind.PYLOCK
    match lock.kind:
        case LockKind.AZUREML if not images:
            raise UsageError(
                f"--lock {lock}: an Azure ML environment needs an image, and {spec.file} names none: check the Azure ML "
                "environment YAML, with its image and its conda_file"
            )
        case LockKind.AZUREML if not conda and any(leaf.requirements or leaf.locked for leaf in leaves):
            raise UsageError(f"--lock {lock}: {spec.file} has no conda file, which Azure ML builds from")
        case LockKind.PYLOCK if right is LockKind.CONDA_LOCK:
            raise UsageError(f"--lock {lock}: {spec.file} has conda packages: expected conda-lock.yml or azureml=DIR")
        case LockKind.CONDA_LOCK if right is LockKind.PYLOCK:
            raise UsageError(
                f"--lock {lock}: {spec.file} has no conda packages: expected pylock.toml or pylock.NAME.toml"
            )
        case _:
            pass


def lock_files(
    lock: Lock,
    result: CheckResult,
    specs: Sequence[EnvironmentSpec],
    targets: tuple[Target, ...],
    channels: tuple[str, ...],
    created_by: str,
) -> Mapping[Path, bytes]:
    """The files of the lock of an allowed verdict; `channels` are the conda upstreams in order of ownership.

    ValueError where something in it can't be locked, which says what.
    """
    match lock.kind:
        case LockKind.PYLOCK:
            from quarantine.spec.write_pylock import write_pylock  # noqa: PLC0415  # one kind is written in a run

            return {lock.path: write_pylock(result, targets, created_by)}
        case LockKind.CONDA_LOCK:
            from quarantine.spec.write_conda_lock import write_conda_lock  # noqa: PLC0415

            return {lock.path: write_conda_lock(result, targets, created_by, channels)}
        case LockKind.AZUREML:
            from quarantine.spec.write_azureml import write_azureml  # noqa: PLC0415

            image = next((image for spec in specs for leaf in spec.leaves for image in leaf.images), None)
            called = next((leaf.name for spec in specs for leaf in spec.leaves if leaf.name), "") or result.project
            files = write_azureml(result, created_by, called, image, channels)
            return {lock.path / name: data for name, data in files.items()}
