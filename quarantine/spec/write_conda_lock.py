"""A conda-lock.yml from an allowed verdict: conda and pip packages of every platform, each by its sha256."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

import yaml

from quarantine.model import Artifact, CheckResult, CondaRecord, Digest, Ecosystem, Item, Target
from quarantine.spec.conda_lock import check_url
from quarantine.spec.conda_lock_wire import written

__all__ = ["channel_urls", "write_conda_lock"]

_DEPENDENCY = re.compile(r"(?:[^\s\[]*::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_MANYLINUX = re.compile(r"_(\d{1,3})_(\d{1,3})_")
_WIDTH = 1 << 20


def write_conda_lock(
    result: CheckResult, targets: Sequence[Target], created_by: str, order: Sequence[str] = ()
) -> bytes:
    """The lock (format version 1) of an allowed verdict, for all of its targets: the same verdict gives the same bytes.

    `order` are the policy's names of its channels in their order, which the lock's channels follow. ValueError for what
    the format can't hold: a package without md5 or sha256, two of one name for one platform, nothing at all.
    """
    items = [entry.item for entry in result.items if entry.item.ecosystem in (Ecosystem.CONDA, Ecosystem.PYPI)]
    if not items:
        raise ValueError("there are no packages to lock")
    requirers = _requirers(items)
    entries: dict[tuple[str, str, str], dict[str, object]] = {}
    for item in sorted(items, key=lambda item: (item.ecosystem, item.name, str(item.version))):
        for target in sorted(item.targets):
            entry = _entry(item, target, requirers)
            key = (item.ecosystem.value, item.name, target.conda_subdir)
            if entries.setdefault(key, entry) != entry:
                raise ValueError(
                    f"{item.name} has two versions or files for {target.conda_subdir}: a conda-lock.yml holds one "
                    "environment a platform; write a lock for each target"
                )
    platforms = sorted({target.conda_subdir for target in (*targets, *(t for item in items for t in item.targets))})
    packages = list(entries.values())
    channels = channel_urls((item.record for item in items if item.record is not None), order)
    content = written(
        packages,
        {
            "content_hash": {platform: _content_hash(platform, packages) for platform in platforms},
            "channels": [{"url": url, "used_env_vars": []} for url in channels],
            "platforms": platforms,
            "sources": list(dict.fromkeys(subject.file for subject in result.subjects)),
            "custom_metadata": {"created_by": created_by},
        },
    )
    head = "# Written by quarantine: every package of it was judged. Install it with conda-lock, or micromamba.\n"
    return (head + yaml.safe_dump(content, sort_keys=False, width=_WIDTH)).encode()


def channel_urls(records: Iterable[CondaRecord], order: Sequence[str] = ()) -> tuple[str, ...]:
    """The URLs of the channels that records are from, in the policy's order, those that it doesn't name last."""
    places = {name: place for place, name in enumerate(order)}
    found = {(places.get(record.upstream, len(places)), _channel(record)) for record in records}
    return tuple(dict.fromkeys(url for _, url in sorted(found)))


def _channel(record: CondaRecord) -> str:
    end = f"/{record.subdir}/"
    channel, separator, _ = record.url.rpartition(end)
    if not separator:
        raise ValueError(f"{record.purl} lies at no channel: its URL has no folder {record.subdir}")
    return channel


# --- packages ---------------------------------------------------------------------------------------------------------


def _entry(item: Item, target: Target, requirers: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, object]:
    """One package for one target, as conda-lock's models take it."""
    common: dict[str, object] = {"name": item.name, "platform": target.conda_subdir, "categories": {"main"}}

    def refuse(message: str) -> None:
        raise ValueError(f"{item.purl} can't be locked: {message}")

    if item.ecosystem is Ecosystem.CONDA:
        found = _conda(item)
        check_url(str(found["url"]), refuse)
        return common | found
    wheel, digest = _wheel(item, target)
    check_url(wheel.url, refuse)
    return common | {
        "manager": "pip",
        "version": str(item.version),
        "dependencies": dict.fromkeys(requirers.get((item.purl, target.conda_subdir), ()), "*"),
        "url": wheel.url,
        "hash": {"sha256": digest.hex},
    }


def _conda(item: Item) -> dict[str, object]:
    record = item.record
    if record is None:
        raise ValueError(f"{item.purl} has no record in a channel: it can't be locked")
    if record.sha256 is None or record.md5 is None:
        missing = " and ".join(
            name for name, value in (("sha256", record.sha256), ("md5", record.md5)) if value is None
        )
        raise ValueError(f"{item.purl} has no {missing} in its channel, and conda-lock wants both: it can't be locked")
    return {
        "manager": "conda",
        "version": record.version,
        "build": record.build,
        "dependencies": _dependencies(record.depends),
        "url": record.url,
        "hash": {"md5": record.md5, "sha256": record.sha256.hex},
    }


def _dependencies(depends: Iterable[str]) -> dict[str, str]:
    """Match specs as conda-lock keeps them: name to constraint, several for one name joined."""
    found: dict[str, str] = {}
    for text in depends:
        match = _DEPENDENCY.fullmatch(text.strip())
        if match is not None:
            name, constraint = match[1], match[2].strip()
            found[name] = ",".join(filter(None, (found.get(name, ""), constraint)))
    return found


def _requirers(items: Iterable[Item]) -> dict[tuple[str, str], list[str]]:
    """For every package and platform, the names of the pip packages that it requires there."""
    found: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if item.ecosystem is Ecosystem.PYPI:
            for purl in item.required_by:
                for target in item.targets:
                    found.setdefault((purl, target.conda_subdir), []).append(item.name)
    return {key: sorted(set(names)) for key, names in found.items()}


def _wheel(item: Item, target: Target) -> tuple[Artifact, Digest]:
    """The wheel that an installer would take: one that every machine of the target installs, the most specific first."""
    wheels = [artifact for artifact in item.artifacts if isinstance(artifact, Artifact) and artifact.may_fit(target)]
    if not wheels:
        raise ValueError(f"{item.purl} has no wheel for {target}: it can't be locked")
    best = max(wheels, key=lambda wheel: (wheel.fits(target), _specificity(wheel, target), wheel.filename))
    if best.digest is None:
        raise ValueError(f"{item.purl} has a file without a sha256: it can't be locked")
    return best, best.digest


def _specificity(wheel: Artifact, target: Target) -> tuple[bool, bool, bool, tuple[int, int], str]:
    """How early an installer takes a wheel: by its own platform, its ABI, its interpreter, the newest glibc."""
    own = f"cp{target.python.replace('.', '')}"
    return max(
        (
            tag.platform != "any",
            tag.abi == own,
            tag.interpreter == own,
            (0, 0) if (found := _MANYLINUX.search(tag.platform)) is None else (int(found[1]), int(found[2])),
            str(tag),
        )
        for tag in wheel.tags
    )


def _content_hash(platform: str, packages: Iterable[Mapping[str, object]]) -> str:
    """What conda-lock compares to see whether a platform was locked from the same input: here, its files."""
    files = [
        [package["manager"], package["name"], package["url"]] for package in packages if package["platform"] == platform
    ]
    return hashlib.sha256(json.dumps(sorted(files, key=str)).encode()).hexdigest()
