"""One Azure ML environment from its denial to a built image: a real channel, the real index, a real registry and engine."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import base_image
import docker
import pytest
import yaml
from channels import CondaChannel, distribution
from engine import docker_engine
from house import NOW, House
from network import require_index, surroundings
from osv_records import before
from registries import DockerRegistry, docker_registry

pytestmark = pytest.mark.network

CRITICAL = {"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}
ENVIRONMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json
name: scoring
image: {registry}/azureml/base:1
conda_file: conda.yaml
"""
CONDA = """\
name: scoring
channels: [acme, nodefaults]
dependencies:
- python=3.11
- fetcher={fetcher}
- pip
- pip:
  - idna=={idna}
"""


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[CondaChannel]:
    """A channel of tiny packages: a Python, a native library, and one that holds requests under another name."""
    with CondaChannel(folder=tmp_path / "channel", name="acme") as made:
        made.add("python", "3.11.9", build="h1_0", subdir="linux-64", depends=["libacme >=1"])
        made.add("pip", "24.0", depends=["python >=3.8"], files=distribution("pip", "24.0"))
        made.add("libacme", "1.2", subdir="linux-64", files={"lib/libacme.so": b"x"})
        made.add("fetcher", "1.0", depends=["python"], files=distribution("requests", "2.19.0"))
        made.add("fetcher", "1.1", depends=["python"], files=distribution("requests", "2.31.0"))
        made.index()
        yield made


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """A Docker Engine of this test's own."""
    with docker_engine() as client:
        yield client


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry of this test's own."""
    with docker_registry(tmp_path / "registry") as running:
        yield running


def test_an_environment_is_denied_mended_allowed_locked_and_built(
    home: House, channel: CondaChannel, registry: DockerRegistry, engine: docker.DockerClient, tmp_path: Path
) -> None:
    """One verdict over image, conda and pip packages; the lock that it writes is what the engine builds."""
    base = _push_base(engine, registry)
    home.channels = {"acme": channel.url}
    home.others = [
        f"{{name: mar, type: oci, url: 'http://{registry.host}', mode: curated, entries: mar.yaml}}",
    ]
    home.lists = {
        "mar.yaml": "version: 1\nallow: [{name: azureml/*, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
    }
    home.public = True
    home.variables = surroundings()
    require_index(tmp_path / "cache")
    home.advise(
        before("PYSEC-2018-28", "requests", "2.20.0", **CRITICAL), before("PYSEC-2024-60", "idna", "3.7", **CRITICAL)
    )
    home.write("environment.yaml", ENVIRONMENT.format(registry=registry.host))
    home.write("conda.yaml", CONDA.format(fetcher="1.0", idna="3.6"))

    denied = home.check("environment.yaml", "--lock", "azureml=build")
    assert denied.status == 1, denied.err
    refused = {i["name"]: i["nearest"] for i in denied.json["items"] if i["verdict"] == "denied"}
    assert refused == {"fetcher": "1.1", "idna": "3.7"}
    assert denied.json["lock"] is None
    assert not (home.folder / "build").exists()

    home.write("conda.yaml", CONDA.format(**refused))
    allowed = home.check("environment.yaml", "--lock", "azureml=build", now=NOW.replace(minute=5))
    assert allowed.status == 0, allowed.out
    assert sorted((i["ecosystem"], i["name"]) for i in allowed.json["items"]) == [
        ("conda", "fetcher"), ("conda", "libacme"), ("conda", "pip"), ("conda", "python"),
        ("oci", f"{registry.host}/azureml/base"), ("pypi", "idna"),
    ]  # fmt: skip
    again = home.check("build/environment.yaml", "--stage", "production", now=NOW.replace(minute=10))
    assert again.status == 0, again.out
    assert again.json["subjects"][0]["locked"] is True

    written = yaml.safe_load((home.folder / "build" / "environment.yaml").read_text())
    assert written["image"] == f"{registry.host}/azureml/base@{base}"
    built = _build(engine, home.folder / "build", written)
    said = engine.containers.run(
        built, [base_image.PYTHON, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import idna; print(idna.__version__)",
                f"/opt/env/lib/python3.{sys.version_info.minor}/site-packages"],
        network_mode="none", remove=True,
    )  # fmt: skip
    assert said.decode().strip() == "3.7"
    seen = engine.containers.run(
        built, [base_image.PYTHON, "-c", "import os; print(sorted(os.listdir('/opt/env/site-packages')))"],
        network_mode="none", remove=True,
    )  # fmt: skip
    assert "requests-2.31.0.dist-info" in seen.decode()


def _push_base(engine: docker.DockerClient, registry: DockerRegistry) -> str:
    """The base image in the registry, by its digest."""
    repository = f"{registry.host}/azureml/base"
    changes = [f"ENV {name}={value}" for name, value in base_image.environment().items()]
    engine.api.import_image_from_data(base_image.root_archive(), repository=repository, tag="1", changes=changes)
    pushed = engine.images.push(repository, tag="1", stream=True, decode=True)
    (digest,) = {line["aux"]["Digest"] for line in pushed if "aux" in line}
    return str(digest)


def _build(engine: docker.DockerClient, folder: Path, environment: dict[str, str]) -> str:
    """What Azure ML does with an environment: its image, and on top of it what its conda file asks for.

    The wheels are fetched before, by their digests, since the build has no index.
    """
    conda = yaml.safe_load((folder / environment["conda_file"]).read_text())
    pip = [line for entry in conda["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    (folder / "pip.txt").write_text("\n".join(pip) + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "-r", "pip.txt", "-d", "wheels"],
        cwd=folder, check=True,
    )  # fmt: skip
    dockerfile = (
        f"FROM {environment['image']}\nCOPY . /build\nCOPY wheels /wheels\n"
        f'RUN ["{base_image.PYTHON}", "/opt/tools/conda.py", "env", "create", "-p", "/opt/env", '
        f'"-f", "/build/{environment["conda_file"]}"]\n'
    )
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(folder, ".")
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile)
        tar.addfile(member, io.BytesIO(dockerfile.encode()))
    context.seek(0)
    image, _ = engine.images.build(fileobj=context, custom_context=True, network_mode="host", rm=True)
    return str(image.id)
