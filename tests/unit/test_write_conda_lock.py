"""The conda-lock.yml of a verdict: what stands in it, who can read it, and what can't be locked."""

import warnings
from pathlib import Path

import pytest
import yaml
from lock_samples import ARM, CHANNEL, LINUX, allowed, conda_item, digest, pip_item, record, wheel
from msgspec.structs import replace

from quarantine.model import CheckResult, EnvironmentSpec, Target
from quarantine.spec import conda_lock
from quarantine.spec.documents import load
from quarantine.spec.write_conda_lock import channel_urls, write_conda_lock

PYTHON = record("python", "3.11.9", "h1_0", depends=["__glibc >=2.17", "libzlib >=1.2,<2", "libzlib !=1.2.5"])
NATIVE = record("libzlib", "1.2.13", "h2_0")
TORCH = wheel("torch-2.0+cu118-cp311-cp311-manylinux_2_17_x86_64.whl")
OLDER = wheel("torch-2.0+cu118-cp311-cp311-manylinux_2_5_x86_64.whl")
PURE = wheel("torch-2.0+cu118-py3-none-any.whl")


def _result() -> CheckResult:
    torch = pip_item("torch", "2.0+cu118", PURE, TORCH, OLDER)
    needed = pip_item("filelock", "3.1", requirers=[torch.purl])
    return allowed(torch, conda_item(PYTHON), needed, conda_item(NATIVE))


def _read(data: bytes) -> EnvironmentSpec:
    return conda_lock.read("conda-lock.yml", {"conda-lock.yml": data}, load("conda-lock.yml", data))


def test_a_lock_is_written_whole() -> None:
    """Each package stands there with its file and digests, under the channel and the platform, and with no date."""
    data = write_conda_lock(_result(), (LINUX,), "quarantine 1.0")
    lock = yaml.safe_load(data)

    assert data.startswith(b"# Written by quarantine")
    assert lock["version"] == 1
    assert lock["metadata"] == {
        "content_hash": {"linux-64": lock["metadata"]["content_hash"]["linux-64"]},
        "channels": [{"url": CHANNEL, "used_env_vars": []}],
        "platforms": ["linux-64"],
        "sources": ["environment.yaml"],
        "custom_metadata": {"created_by": "quarantine 1.0"},
    }
    assert [(entry["manager"], entry["name"]) for entry in lock["package"]] == [
        ("conda", "libzlib"),
        ("conda", "python"),
        ("pip", "filelock"),
        ("pip", "torch"),
    ]
    assert lock["package"][1] == {
        "name": "python",
        "version": "3.11.9",
        "manager": "conda",
        "platform": "linux-64",
        "dependencies": {"__glibc": ">=2.17", "libzlib": ">=1.2,<2,!=1.2.5"},
        "url": PYTHON.url,
        "hash": {"md5": PYTHON.md5, "sha256": digest(PYTHON.filename).hex},
        "category": "main",
        "optional": False,
        "build": "h1_0",
    }
    assert lock["package"][3] == {
        "name": "torch",
        "version": "2.0+cu118",
        "manager": "pip",
        "platform": "linux-64",
        "dependencies": {"filelock": "*"},
        "url": TORCH.url,
        "hash": {"sha256": digest(TORCH.filename).hex},
        "category": "main",
        "optional": False,
    }


def test_the_same_verdict_gives_the_same_bytes() -> None:
    """The order of the items says nothing, and nothing else does either."""
    result = _result()
    turned = allowed(*(entry.item for entry in reversed(result.items)))

    assert write_conda_lock(result, (LINUX,), "q") == write_conda_lock(turned, (LINUX,), "q")


def test_conda_lock_reads_it(tmp_path: Path) -> None:
    """conda-lock's own reader takes the file, and renders from it what conda and pip install."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of conda-lock and the conda inside it
        from conda_lock.conda_lock import render_lockfile_for_platform  # type: ignore[import-untyped]  # no types
        from conda_lock.lockfile import parse_conda_lock_file  # type: ignore[import-untyped]  # no types
    path = tmp_path / "conda-lock.yml"
    path.write_bytes(write_conda_lock(_result(), (LINUX,), "q"))
    lock = parse_conda_lock_file(path)
    lines = render_lockfile_for_platform(
        lockfile=lock,
        include_dev_dependencies=False,
        extras=None,
        kind="explicit",
        platform="linux-64",
        suppress_warning_for_pip_and_explicit=True,
    )

    assert [line for line in lines if not line.startswith("# ") or line.startswith("# pip")] == [
        "@EXPLICIT",
        f"{NATIVE.url}#{NATIVE.md5}",
        f"{PYTHON.url}#{PYTHON.md5}",
        f"# pip filelock @ https://files.example.org/filelock-3.1-py3-none-any.whl#sha256={digest('filelock-3.1-py3-none-any.whl').hex}",
        f"# pip torch @ {TORCH.url}#sha256={digest(TORCH.filename).hex}",
    ]


def test_our_own_reader_reads_it() -> None:
    """What was written is read back as a lock of just these packages."""
    spec = _read(write_conda_lock(_result(), (LINUX,), "q"))
    assert spec.conda is not None
    assert spec.locked is not None
    assert spec.conda.locked is not None

    assert spec.is_locked
    assert [(package.name, package.version, package.build, package.sha256) for package in spec.conda.locked] == [
        ("libzlib", "1.2.13", "h2_0", digest(NATIVE.filename)),
        ("python", "3.11.9", "h1_0", digest(PYTHON.filename)),
    ]
    assert [
        (str(package.name), str(package.version), set(package.digests), list(package.requires))
        for package in spec.locked
    ] == [
        ("filelock", "3.1", {digest("filelock-3.1-py3-none-any.whl")}, []),
        ("torch", "2.0+cu118", {digest(TORCH.filename)}, ["filelock"]),
    ]
    assert [channel.name for channel in spec.conda.channels] == [CHANNEL]


def test_a_lock_holds_every_platform() -> None:
    """A package of two targets stands there for both platforms, each with its own wheel; others for theirs alone."""
    arm = wheel("torch-2.0-cp311-cp311-manylinux_2_17_aarch64.whl")
    x86 = wheel("torch-2.0-cp311-cp311-manylinux_2_17_x86_64.whl")
    result = allowed(
        conda_item(record("tzdata", "2024a", "h_0", subdir="noarch"), LINUX, ARM),
        conda_item(record("python", "3.11.9", "h1_0"), LINUX),
        conda_item(record("python", "3.11.9", "h1_0", subdir="linux-aarch64"), ARM),
        pip_item("torch", "2.0", arm, x86, targets=(LINUX, ARM)),
        targets=(LINUX, ARM),
    )
    lock = yaml.safe_load(write_conda_lock(result, (LINUX, ARM), "q"))

    assert [(entry["name"], entry["platform"], entry["url"].rpartition("/")[2]) for entry in lock["package"]] == [
        ("python", "linux-64", "python-3.11.9-h1_0.conda"),
        ("python", "linux-aarch64", "python-3.11.9-h1_0.conda"),
        ("tzdata", "linux-64", "tzdata-2024a-h_0.conda"),
        ("tzdata", "linux-aarch64", "tzdata-2024a-h_0.conda"),
        ("torch", "linux-64", x86.filename),
        ("torch", "linux-aarch64", arm.filename),
    ]
    assert lock["metadata"]["platforms"] == ["linux-64", "linux-aarch64"]


def test_channels_follow_the_policy() -> None:
    """The channels stand in the order of the policy, one that it doesn't name last."""
    records = [
        record("a", "1", channel="https://a.example.org/x", upstream="late"),
        record("b", "1", channel="https://b.example.org/x", upstream="early"),
        record("c", "1", channel="https://0.example.org/x", upstream="unnamed"),
    ]

    assert channel_urls(records, ("early", "late")) == (
        "https://b.example.org/x",
        "https://a.example.org/x",
        "https://0.example.org/x",
    )


OTHER = Target("3.12", "linux-x86_64")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (allowed(), "there are no packages to lock"),
        (
            allowed(replace(conda_item(record("zlib", "1")), record=None)),
            "pkg:conda/zlib@1 has no record in a channel: it can't be locked",
        ),
        (
            allowed(conda_item(replace(record("zlib", "1"), url="https://conda.example.org/zlib-1-py311_0.conda"))),
            (
                "pkg:conda/zlib@1?build=py311_0&channel=channel&subdir=linux-64&type=conda lies at no channel: its URL has no "
                "folder linux-64"
            ),
        ),
        (
            allowed(conda_item(record("zlib", "1", "0$HOME"))),
            (
                "pkg:conda/zlib@1?build=0%24HOME&channel=channel&subdir=linux-64&type=conda can't be locked: the url "
                "'https://conda.example.org/channel/linux-64/zlib-1-0$HOME.conda' holds more than a plain address: conda-lock "
                "expands variables in it"
            ),
        ),
        (
            allowed(conda_item(record("zlib", "1", has_md5=False))),
            (
                "pkg:conda/zlib@1?build=py311_0&channel=channel&subdir=linux-64&type=conda has no md5 in its channel, and "
                "conda-lock wants both: it can't be locked"
            ),
        ),
        (
            allowed(pip_item("x", "1", wheel("x-1-py3-none-any.whl", has_digest=False))),
            "pkg:pypi/x@1 has a file without a sha256: it can't be locked",
        ),
        (
            allowed(pip_item("x", "1", wheel("x-1-cp311-cp311-win_amd64.whl"))),
            "pkg:pypi/x@1 has no wheel for cp311-linux-x86_64: it can't be locked",
        ),
        (
            allowed(conda_item(record("zlib", "1")), conda_item(record("zlib", "2"), OTHER)),
            (
                "zlib has two versions or files for linux-64: a conda-lock.yml holds one environment a platform; write a "
                "lock for each target"
            ),
        ),
    ],
)
def test_what_cannot_be_locked(result: CheckResult, message: str) -> None:
    """A package without its digests, and one that stands there twice, are refused by name."""
    with pytest.raises(ValueError) as caught:
        write_conda_lock(result, (LINUX,), "q")

    assert str(caught.value) == message
