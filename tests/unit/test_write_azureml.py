"""The files that Azure ML builds from: what stands in them, that conda's parsers read them, and what can't be written."""

import warnings
from typing import Any

import pytest
import rattler
import yaml
from lock_samples import ARM, CHANNEL, LINUX, allowed, conda_item, digest, image, image_item, pip_item, record, wheel
from msgspec.structs import replace

from quarantine.model import CheckResult, ImageReference
from quarantine.spec.write_azureml import write_azureml

PYTHON = record("python", "3.11.9", "h1_0")
PIP = record("pip", "24.0", "pyhd8ed1ab_0", subdir="noarch", channel="https://conda.example.org/second", upstream="b")
TORCH = (wheel("torch-2.0-cp311-cp311-manylinux_2_17_x86_64.whl"), wheel("torch-2.0-py3-none-any.whl"))
PINNED = image(None, digest("image"))


def _result() -> CheckResult:
    return allowed(pip_item("torch", "2.0", *TORCH), conda_item(PYTHON), conda_item(PIP))


def test_the_files_are_written_whole() -> None:
    """Channels by URL and no others, exact builds with their digests, hashed pip lines, the image by digest."""
    files = write_azureml(_result(), "quarantine 1.0", "my-env", PINNED, ("b", "channel"))
    hashes = " ".join(f"--hash={found}" for found in sorted(digest(file.filename) for file in TORCH))

    assert yaml.safe_load(files["conda.yml"]) == {
        "name": "my-env",
        "channels": ["https://conda.example.org/second", CHANNEL, "nodefaults"],
        "dependencies": [
            f"pip[version='==24.0',build='pyhd8ed1ab_0',sha256='{digest(PIP.filename).hex}']",
            f"python[version='==3.11.9',build='h1_0',sha256='{digest(PYTHON.filename).hex}']",
            {"pip": [f"torch==2.0 {hashes}"]},
        ],
    }
    assert yaml.safe_load(files["environment.yaml"]) == {
        "$schema": "https://azuremlschemas.azureedge.net/latest/environment.schema.json",
        "name": "my-env",
        "image": f"example.org/base/image@{digest('image')}",
        "conda_file": "conda.yml",
    }
    assert all(data.startswith(b"# Written by quarantine 1.0 from a verdict") for data in files.values())


def test_the_same_verdict_gives_the_same_bytes() -> None:
    """The order of the items says nothing."""
    result = _result()
    turned = allowed(*(entry.item for entry in reversed(result.items)))

    assert write_azureml(result, "q", "x", PINNED) == write_azureml(turned, "q", "x", PINNED)


@pytest.mark.parametrize("version", ["3.11.9", "1!2.0+local_1"])
def test_conda_and_rattler_read_the_specs(version: str) -> None:
    """Version, build and digest are what both of conda's parsers find in a spec, also after conda printed it anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of conda-lock and the conda inside it
        from conda_lock._vendor.conda.models import match_spec
    conda_spec: Any = match_spec.MatchSpec
    found = record("x", version, "h1_0")
    files = write_azureml(allowed(conda_item(found)), "q", "x", None)
    text = yaml.safe_load(files["conda.yml"])["dependencies"][0]
    by_rattler = rattler.MatchSpec(text, strict=True)
    by_conda = conda_spec(str(conda_spec(text)))

    assert (str(by_rattler.version), by_rattler.build) == (f"=={version}", "h1_0")
    assert by_rattler.sha256 == bytes.fromhex(digest(found.filename).hex)
    assert by_conda.get_exact_value("version").removeprefix("==") == version
    assert by_conda.get_exact_value("build") == "h1_0"
    assert by_conda.get_exact_value("sha256") == digest(found.filename).hex


@pytest.mark.parametrize(
    ("given", "name"),
    [("contoso/ml", "contoso-ml"), ("", "environment"), ("//\u212a", "environment"), ("train_", "train_"), ("_x", "x")],
)
def test_a_name_is_made_one_that_azure_ml_takes(given: str, name: str) -> None:
    """What Azure ML takes in no name becomes a hyphen, and a name that it takes stays as it is."""
    files = write_azureml(allowed(), "q", given, PINNED)

    assert {file: yaml.safe_load(data)["name"] for file, data in files.items()} == {"environment.yaml": name}


def test_an_image_gets_the_digest_of_the_verdict() -> None:
    """An image that the user's file names by tag is written by the digest that its registry gave."""
    files = write_azureml(allowed(image_item(image("1"), digest("found"))), "q", "x", image("1"))

    assert yaml.safe_load(files["environment.yaml"])["image"] == f"example.org/base/image@{digest('found')}"


@pytest.mark.parametrize(
    ("result", "base", "message"),
    [
        (allowed(), None, "there is nothing to write: no package and no image"),
        (
            allowed(image_item(image("2"), digest("x"))),
            image("1"),
            "example.org/base/image:1 has no digest: only an image by digest is what was judged",
        ),
        (
            allowed(pip_item("x", "1"), conda_item(PYTHON)),
            PINNED,
            "there are pip packages and no conda package `pip`, which conda would choose by itself: add it",
        ),
        (
            allowed(conda_item(record("a", "1"), LINUX), conda_item(record("b", "1"), ARM)),
            PINNED,
            "an Azure ML environment is for one platform, and this verdict is for linux-64 and linux-aarch64",
        ),
        (
            allowed(conda_item(record("a", "1")), conda_item(record("a", "2"))),
            PINNED,
            "a stands in the verdict twice: check one environment at a time",
        ),
        (
            allowed(conda_item(record("a", "1")), replace(conda_item(record("b", "1")), subjects=(1,))),
            PINNED,
            "the targets need different packages: check for one target at a time",
        ),
        (
            allowed(replace(conda_item(record("a", "1")), record=None)),
            PINNED,
            "pkg:conda/a@1 has no sha256 in its channel: it can't be locked",
        ),
        (
            allowed(conda_item(record("a", "1", "h'];x"))),
            PINNED,
            (
                "pkg:conda/a@1?build=h%27%5D%3Bx&channel=channel&subdir=linux-64&type=conda has a name, version or build "
                "that no match spec can hold"
            ),
        ),
        (
            allowed(conda_item(PIP), pip_item("x", "1", wheel("x-1-py3-none-any.whl", has_digest=False))),
            PINNED,
            "pkg:pypi/x@1 has a file without a sha256: it can't be locked",
        ),
    ],
)
def test_what_cannot_be_written(result: CheckResult, base: ImageReference | None, message: str) -> None:
    """What Azure ML would not build as it was judged is refused."""
    with pytest.raises(ValueError) as caught:
        write_azureml(result, "q", "x", base)

    assert str(caught.value) == message
