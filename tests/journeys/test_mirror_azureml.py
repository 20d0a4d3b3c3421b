"""A lock for Azure ML made a whole build context: every file in it, and nothing that is fetched while it is built."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from channels import CondaChannel, distribution
from house import NOW, House
from mirror_samples import Mirror, wheel
from registries import DockerRegistry, docker_registry, made_image

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.errors import SpecError
from quarantine.spec.write_context import write_context

ENVIRONMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json
name: scoring
image: mcr.microsoft.com/azureml/base:1
conda_file: conda.yaml
"""
CONDA = """\
name: scoring
channels: [forge, nodefaults]
dependencies:
- python=3.11
- pip
- pip:
  - acme-lib==1.0
  - public-lib==3.0
"""
SOLVE = """\
import asyncio, json, os, sys
import rattler
async def main(channel, cache, *specs):
    records = await rattler.solve(
        [rattler.Channel(channel)], [rattler.MatchSpec(spec) for spec in specs],
        gateway=rattler.Gateway(cache_dir=cache), platforms=[rattler.Subdir("linux-64"), rattler.Subdir("noarch")],
    )
    print(json.dumps(sorted([r.name.normalized, r.sha256.hex()] for r in records)))
asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""
ACME = wheel("acme-lib", "1.0")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry of this test's own."""
    with docker_registry(tmp_path / "registry") as running:
        yield running


def test_a_lock_becomes_a_build_context_that_needs_no_network(home: House, registry: DockerRegistry) -> None:
    """Wheels of the mirror and of the index, the conda packages as a channel, the image by its digest; twice the same."""
    image = made_image()
    registry.push("azureml/base", image, "1")
    home.others = ["{name: mar, type: oci, url: 'https://mcr.microsoft.com', mode: curated, entries: mar.yaml}"]
    home.lists = {
        "mar.yaml": "version: 1\nallow: [{name: azureml/*, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
    }
    home.registries = {"mcr.microsoft.com": registry.url}
    public = home.index.add("public-lib", "3.0")
    with CondaChannel(folder=home.folder / "forge", name="forge") as channel:
        digests = {
            "python": channel.add("python", "3.11.9", build="h1_0", subdir="linux-64", depends=["libacme >=1"]),
            "pip": channel.add("pip", "24.0", depends=["python >=3.8"], files=distribution("pip", "24.0")),
            "libacme": channel.add("libacme", "1.2", subdir="linux-64", files={"lib/libacme.so": b"x"}),
        }
        channel.index()
        home.channels = {"forge": channel.url}
        home.advise()
        store = LocalStore(home.folder / ".quarantine")
        mirror = Mirror(log=LocalLog(home.folder / ".quarantine/log"), store=store, pages=store)
        mirror.published(ACME, stage="production")
        home.write("environment.yaml", ENVIRONMENT)
        home.write("conda.yaml", CONDA)
        locked = home.run("check", "environment.yaml", "--lock", "azureml=build")
        assert locked.status == 0, locked.out
        before = (home.folder / "build/environment.yaml").read_bytes()

        fetched = home.run("mirror", "fetch", "--azureml", "build")
        assert (fetched.status, fetched.err) == (0, "build: az ml environment create -f build/environment.yaml\n"), (
            fetched.out
        )
        first = context(home)
        again = home.run("mirror", "fetch", "--azureml", "build", now=NOW.replace(minute=5))
        assert again.status == 0, again.out
        assert again.out == "5 files, 0.0 MiB, 5 of them there before in build/packages, judged by locked.yaml\n"

    assert context(home) == first
    assert sorted(first) == [
        "Dockerfile",
        "conda.yml",
        "environment.yaml",
        "locked.yaml",
        "packages/acme_lib-1.0-py3-none-any.whl",
        "packages/channel/linux-64/libacme-1.2-0.conda",
        "packages/channel/linux-64/python-3.11.9-h1_0.conda",
        "packages/channel/linux-64/repodata.json",
        "packages/channel/noarch/pip-24.0-0.conda",
        "packages/channel/noarch/repodata.json",
        "packages/environment.yml",
        "packages/public_lib-3.0-py3-none-any.whl",
        "packages/requirements.txt",
    ]
    assert first["locked.yaml"] == before
    assert yaml.safe_load(first["environment.yaml"]) == {
        "$schema": "https://azuremlschemas.azureedge.net/latest/environment.schema.json",
        "name": "scoring",
        "build": {"path": ".", "dockerfile_path": "Dockerfile"},
    }
    assert first["Dockerfile"].decode().splitlines()[1:] == [
        f"FROM mcr.microsoft.com/azureml/base@{image.digest}",
        "COPY packages /opt/quarantine/packages",
        "ENV AZUREML_CONDA_ENVIRONMENT_PATH=/azureml-envs/scoring",
        (
            'RUN ["conda", "env", "create", "--offline", "-p", "/azureml-envs/scoring", "-f", '
            '"/opt/quarantine/packages/environment.yml"]'
        ),
        "ENV PATH=/azureml-envs/scoring/bin:$PATH",
        (
            'RUN ["/azureml-envs/scoring/bin/python", "-m", "pip", "install", "--no-index", "--no-deps", "--no-cache-dir", '
            '"--require-hashes", "--find-links", "/opt/quarantine/packages", "-r", "/opt/quarantine/packages/requirements.txt"]'
        ),
    ]
    assert first["packages/public_lib-3.0-py3-none-any.whl"] == public.data
    asked = yaml.safe_load(first["packages/environment.yml"])
    assert asked["channels"] == ["file:///opt/quarantine/packages/channel", "nodefaults"]
    packages = home.folder / "build/packages"
    solved = run(SOLVE, (packages / "channel").as_uri(), str(home.folder / "solving"), *asked["dependencies"])
    assert json.loads(solved) == sorted([name, digest.hex] for name, digest in digests.items())
    pip = [
        "-m", "pip", "install", "--isolated", "--no-index", "--no-deps", "--require-hashes", "--find-links", str(packages),
        "-r", str(packages / "requirements.txt"), "--target", str(home.folder / "site"),
    ]  # fmt: skip
    subprocess.run([sys.executable, *pip], check=True, capture_output=True, cwd=home.folder)
    assert sorted(path.name for path in (home.folder / "site").glob("*.py")) == ["acme_lib.py", "public_lib.py"]


def run(program: str, *argv: str) -> str:
    """What a program of Python's prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def context(home: House) -> dict[str, bytes]:
    """Every file of the build context."""
    root = home.folder / "build"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("notes.txt", "mine", "--azureml 'build': the folder holds 'notes.txt', which is nobody's of ours"),
        ("Dockerfile", "FROM scratch", "--azureml 'build': Dockerfile wasn't written by quarantine"),
        (None, "", "--azureml 'build': there is no environment.yaml: run `check --lock azureml=DIR` first"),
    ],
)
def test_a_folder_that_is_no_lock_for_azure_ml_is_left_alone(
    home: House, name: str | None, data: str, said: str
) -> None:
    """Nothing is judged, nothing written."""
    (home.folder / "build").mkdir()
    if name is not None:
        home.write(f"build/{name}", data)

    ran = home.run("mirror", "fetch", "--azureml", "build")

    assert (ran.status, ran.err) == (2, f"error: {said}\n")


IMAGE = "mcr.microsoft.com/azureml/base@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (f"name: x\nimage: {IMAGE}\\nRUN evil", "has no image by its digest: lock it again (check --lock azureml=DIR)"),
        (f'name: x\nimage: "{IMAGE}\\nRUN evil"', "has no image by its digest: lock it again (check --lock azureml=DIR)"),
        ("name: x\nimage: mcr.microsoft.com/azureml/base:1", "has no image by its digest: lock it again (check --lock azureml=DIR)"),
        (f'name: "x\\nRUN evil"\nimage: {IMAGE}', "has no name that Azure ML takes"),
        ("[1]", "is no mapping: expected what `check --lock azureml=DIR` wrote"),
    ],
)  # fmt: skip
def test_nothing_from_the_lock_becomes_an_instruction(environment: str, said: str) -> None:
    """A name or an image with a line of its own in it would be one in the Dockerfile."""
    with pytest.raises(SpecError) as error:
        write_context(environment.encode(), None, "quarantine 1", has_python=False)

    assert str(error.value) == f"environment.yaml: {said}"


def test_an_image_alone_is_a_context_too() -> None:
    """Nothing is copied and nothing installed."""
    files = write_context(f"name: x\nimage: {IMAGE}\n".encode(), None, "quarantine 1", has_python=False)

    assert list(files) == ["locked.yaml", "Dockerfile", "environment.yaml"]
    assert files["Dockerfile"].decode().splitlines()[1:] == [f"FROM {IMAGE}"]
