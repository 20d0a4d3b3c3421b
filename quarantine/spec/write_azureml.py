"""What Azure ML builds an environment from, out of an allowed verdict: a conda file and the environment YAML.

Every conda package is pinned by version, build and sha256, every pip package by version and the sha256 of its wheels, the
image by its digest. conda takes version and build for the package, and its sha256 from the channel's index (its solver
passes over `sha256=`, which stands there for the check of this file). No `channel::` stands before a name: `conda env
create` shortens a channel's URL to its last segments there, which may mean another one.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import yaml

from quarantine.model import CheckResult, Ecosystem, ImageReference, Item
from quarantine.spec.write_conda_lock import channel_urls

__all__ = ["write_azureml"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PLAIN = re.compile(r"[A-Za-z0-9_.+!-]+")
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/environment.schema.json"
_WIDTH = 1 << 20


def write_azureml(
    result: CheckResult, created_by: str, name: str, image: ImageReference | None, order: Sequence[str] = ()
) -> Mapping[str, bytes]:
    """The files by name: "conda.yml" where there are packages, "environment.yaml" where there is an image.

    `name` is made one that Azure ML takes, if it isn't. An image without a digest gets the one that the verdict found it to have. The
    same verdict gives the same bytes. `order` are the policy's names of its channels in their order. ValueError for
    what can't be built from such files: several platforms, an image without a digest, pip packages without conda's `pip`.
    """
    if not _NAME.fullmatch(name):
        name = _NOT_IN_NAMES.sub("-", name)[:255].strip("._-") or "environment"
    conda = _of(result, Ecosystem.CONDA)
    pip = _of(result, Ecosystem.PYPI)
    _check(conda, pip, image)
    files: dict[str, bytes] = {}
    if conda:
        files["conda.yml"] = _yaml(_conda_file(name, conda, pip, order), created_by)
    if image is not None:
        environment: dict[str, object] = {"$schema": _SCHEMA, "name": name, "image": _pinned(image, result)}
        if conda:
            environment["conda_file"] = "conda.yml"
        files["environment.yaml"] = _yaml(environment, created_by)
    return files


def _of(result: CheckResult, ecosystem: Ecosystem) -> tuple[Item, ...]:
    items = (entry.item for entry in result.items if entry.item.ecosystem is ecosystem)
    return tuple(sorted(items, key=lambda item: (item.name, str(item.version))))


def _pinned(image: ImageReference, result: CheckResult) -> str:
    """The image by digest: its own, or that of the verdict."""
    digest = image.digest
    if digest is None:
        same = (item for item in _of(result, Ecosystem.OCI) if (item.name, item.version) == (image.name, image.tag))
        digest = next((artifact.digest for item in same for artifact in item.artifacts if artifact.digest), None)
    if digest is None:
        raise ValueError(f"{image} has no digest: only an image by digest is what was judged")
    return f"{image.name}@{digest}"


def _check(conda: Sequence[Item], pip: Sequence[Item], image: ImageReference | None) -> None:
    """Nothing, raising ValueError where files for Azure ML would not build what was judged."""
    if not conda and not pip and image is None:
        raise ValueError("there is nothing to write: no package and no image")
    platforms = sorted({target.conda_subdir for item in (*conda, *pip) for target in item.targets})
    if len(platforms) > 1:
        raise ValueError(
            f"an Azure ML environment is for one platform, and this verdict is for {' and '.join(platforms)}"
        )
    if len({item.subjects for item in (*conda, *pip)}) > 1:
        raise ValueError("the targets need different packages: check for one target at a time")
    for items in (conda, pip):
        twice = next((a.name for a, b in pairwise(items) if a.name == b.name), None)
        if twice is not None:
            raise ValueError(f"{twice} stands in the verdict twice: check one environment at a time")
    if pip and not any(item.name == "pip" for item in conda):
        raise ValueError(
            "there are pip packages and no conda package `pip`, which conda would choose by itself: add it"
        )


def _conda_file(name: str, conda: Sequence[Item], pip: Sequence[Item], order: Sequence[str]) -> dict[str, object]:
    records = [item.record for item in conda if item.record is not None]
    dependencies: list[object] = [_spec(item) for item in conda]
    if pip:
        dependencies.append({"pip": [_line(item) for item in pip]})
    return {"name": name, "channels": [*channel_urls(records, order), "nodefaults"], "dependencies": dependencies}


def _spec(item: Item) -> str:
    """The match spec of one package: the bracket form, that conda and rattler both read."""
    record = item.record
    if record is None or record.sha256 is None:
        raise ValueError(f"{item.purl} has no sha256 in its channel: it can't be locked")
    if not all(map(_PLAIN.fullmatch, (record.name, record.version, record.build))):
        raise ValueError(f"{item.purl} has a name, version or build that no match spec can hold")
    return f"{record.name}[version='=={record.version}',build='{record.build}',sha256='{record.sha256.hex}']"


def _line(item: Item) -> str:
    """The requirements line of one package, with the sha256 of every wheel that was judged."""
    wheels = [artifact for artifact in item.artifacts if artifact.is_wheel]
    digests = sorted({artifact.digest for artifact in wheels if artifact.digest is not None})
    if not digests or any(artifact.digest is None for artifact in wheels):
        raise ValueError(f"{item.purl} has a file without a sha256: it can't be locked")
    return " ".join((f"{item.name}=={item.version}", *(f"--hash={digest}" for digest in digests)))


def _yaml(content: Mapping[str, object], created_by: str) -> bytes:
    head = f"# Written by {created_by} from a verdict: every package and the image were judged. Don't edit it.\n"
    return (head + yaml.safe_dump(dict(content), sort_keys=False, width=_WIDTH)).encode()
