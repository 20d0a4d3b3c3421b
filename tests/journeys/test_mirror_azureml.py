"""A lock for Azure ML made a whole build context: every file in it, and nothing that is fetched while it is built."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from channels import CondaChannel, distribution
from house import NOW, House
from mirror_samples import Mirror, wheel
from registries import DockerRegistry, Made, docker_registry, made_image
from servers import Answer, Asked, WebServer

from quarantine import __version__
from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.errors import SpecError
from quarantine.spec.write_context import check_context, write_context

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


def take_images_from(home: House, url: str) -> None:
    """Images of Azure ML are allowed, and asked for there."""
    home.others = ["{name: mar, type: oci, url: 'https://mcr.microsoft.com', mode: curated, entries: mar.yaml}"]
    home.lists = {
        "mar.yaml": "version: 1\nallow: [{name: azureml/*, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
    }
    home.registries = {"mcr.microsoft.com": url}


def test_a_lock_becomes_a_build_context_that_needs_no_network(home: House, registry: DockerRegistry) -> None:
    """Wheels of the mirror and of the index, the conda packages as a channel, the image by its digest; twice the same."""
    image = made_image()
    registry.push("azureml/base", image, "1")
    take_images_from(home, registry.url)
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


def test_the_conda_file_beside_a_context_is_the_one_that_was_judged() -> None:
    """It is written, too, so that the next fetch judges the same."""
    lock, conda = f"name: x\nimage: {IMAGE}\nconda_file: conda.yml\n".encode(), b"dependencies: [a=1]\n"

    files = write_context(lock, conda, "quarantine 1", has_python=False)

    assert list(files) == ["locked.yaml", "conda.yml", "packages/environment.yml", "Dockerfile", "environment.yaml"]
    assert (files["locked.yaml"], files["conda.yml"]) == (lock, conda)


# --- what is built is what was judged ---------------------------------------------------------------------------------

HEAD = "# Written by quarantine 1\n"
GOOD = made_image()
LOCK = f"{HEAD}name: scoring\nimage: mcr.microsoft.com/azureml/base@{GOOD.digest}\n"
NOTHING = "error: nothing was fetched: the lock is not allowed now"
EVIL = f"{HEAD}name: scoring\nimage: {IMAGE}\n"


def registry_of(image: Made, meanwhile: Callable[[], object] = lambda: None) -> Callable[[Asked], Answer]:
    """Answers of a registry that has one image, and of somebody who does something whenever it is asked."""

    def answer(asked: Asked) -> Answer:
        meanwhile()
        name = asked.path.rpartition("/")[2]
        if name == str(image.digest):
            headers = {"Content-Type": image.media_type, "Docker-Content-Digest": name}
            return Answer(headers=headers, body=image.manifest)
        found = next((data for digest, data in image.blobs.items() if str(digest) == name), None)
        return Answer(status=404) if found is None else Answer(body=found)

    return answer


@pytest.mark.parametrize(
    ("name", "text"),
    [("environment.yaml", EVIL), ("conda.yml", f"{HEAD}dependencies: [evil]\n")],
)
def test_a_file_that_changes_while_it_is_judged_is_not_built(home: House, name: str, text: str) -> None:
    """Also one that comes to be: the context is what was judged, and what nobody judged isn't in it."""
    with WebServer(registry_of(GOOD, lambda: home.write(f"build/{name}", text))) as registry:
        take_images_from(home, registry.origin)
        home.advise()
        home.write("build/environment.yaml", LOCK)

        ran = home.run("mirror", "fetch", "--azureml", "build")

    assert ran.status == 0, ran.err
    built = write_context(LOCK.encode(), None, f"quarantine {__version__}", has_python=False)
    assert {file: data for file, data in context(home).items() if file != "conda.yml"} == built


def test_a_file_that_is_another_one_only_for_the_judge_ends_in_no_context(home: House) -> None:
    """It is there before and afterwards, and what lies there in between would be allowed."""

    def asked_who_runs_this(_: Asked) -> Answer:
        home.write("build/environment.yaml", LOCK)
        return Answer(status=404)

    back = registry_of(GOOD, lambda: home.write("build/environment.yaml", EVIL))
    with WebServer(back) as registry, WebServer(asked_who_runs_this) as machine:
        take_images_from(home, registry.origin)
        home.settings.append(f"identity: {{kind: oidc, issuer: '{machine.origin}', audience: q}}")
        home.advise()
        home.variables = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{machine.origin}/job?a=b",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
        }
        home.write("build/environment.yaml", EVIL)

        ran = home.run("mirror", "fetch", "--azureml", "build")

    assert (ran.status, ran.err.splitlines()[-1]) == (3, NOTHING), ran.out
    assert context(home) == {"environment.yaml": EVIL.encode()}


def test_a_conda_file_that_is_another_one_only_for_the_judge_ends_in_no_context(home: House) -> None:
    """The harmful one is there when it is read, and afterwards; the verdict is on what was read."""
    lock = f"{LOCK}conda_file: conda.yml\n"
    both: list[str] = []

    def asked_who_runs_this(_: Asked) -> Answer:
        home.write("build/conda.yml", both[0])
        return Answer(status=404)

    back = registry_of(GOOD, lambda: home.write("build/conda.yml", both[1]))
    with (
        WebServer(back) as registry,
        WebServer(asked_who_runs_this) as machine,
        CondaChannel(folder=home.folder / "forge", name="forge") as channel,
    ):
        digest = channel.add("good", "1.0", subdir="linux-64", files={"lib/good.so": b"x"})
        channel.index()
        home.channels = {"forge": channel.url}
        take_images_from(home, registry.origin)
        home.settings.append(f"identity: {{kind: oidc, issuer: '{machine.origin}', audience: q}}")
        home.advise()
        home.variables = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{machine.origin}/job?a=b",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
        }
        good = f"good[version='==1.0',build='0',sha256='{digest.hex}']"
        conda = f'{HEAD}name: scoring\nchannels: [{channel.url}, nodefaults]\ndependencies:\n- "{good}"\n'
        both += [conda, f"{conda}- https://evil.example/linux-64/evil-1.0-0.conda\n"]
        home.write("build/environment.yaml", lock)
        home.write("build/conda.yml", both[1])

        ran = home.run("mirror", "fetch", "--azureml", "build")

    assert (ran.status, ran.err.splitlines()[-1]) == (1, NOTHING), ran.out
    assert context(home) == {"environment.yaml": lock.encode(), "conda.yml": both[1].encode()}


def test_the_digest_of_an_environment_is_over_its_conda_file_too(home: House) -> None:
    """Two verdicts on one environment with other conda files are on record as of two things."""
    home.advise()
    environment, first, second = f"{LOCK}conda_file: conda.yml\n", "dependencies: [a]\n", "dependencies: [b]\n"
    home.write("environment.yaml", environment)
    recorded = []
    for conda in (first, second):
        home.write("conda.yml", conda)
        (subject,) = home.check("environment.yaml").json["subjects"]
        recorded.append(subject["sha256"])

    files = [{"environment.yaml": environment, "conda.yml": conda} for conda in (first, second)]
    assert recorded == [
        sha256(
            "".join(f"{sha256(text.encode()).hexdigest()} {name}\n" for name, text in known.items()).encode()
        ).hexdigest()
        for known in files
    ]
    assert recorded[0] != recorded[1]


def test_a_lock_names_no_file_beside_its_own(home: House) -> None:
    """What it would have read, too, could be another file when it is judged."""
    home.advise()
    home.write("build/environment.yaml", f"{LOCK}conda_file: conda.yml\n")
    home.write("build/conda.yml", f"{HEAD}dependencies: [pip, pip: ['-r more.txt']]\n")

    ran = home.run("mirror", "fetch", "--azureml", "build")

    said = "'more.txt' is to be read, too: expected no other files than environment.yaml, conda.yml"
    assert (ran.status, ran.err) == (2, f"error: build/conda.yml:2: {said}\n"), ran.out


def test_a_job_is_no_environment_to_build(home: House) -> None:
    """Of its own `image` nobody judges anything: it would be what the context is built from."""
    job = (
        f"{HEAD}$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json\nname: scoring\n"
        f"image: {IMAGE}\nenvironment: {{image: 'mcr.microsoft.com/azureml/base@{GOOD.digest}'}}\n"
    )
    with WebServer(registry_of(GOOD)) as registry:
        take_images_from(home, registry.origin)
        home.advise()
        home.write("build/environment.yaml", job)

        ran = home.run("mirror", "fetch", "--azureml", "build")

    said = "is no Azure ML environment (azureml-commandJob): lock it again (check --lock azureml=DIR)"
    assert (ran.status, ran.err) == (2, f"error: build/environment.yaml:1: {said}\n"), ran.out
    assert context(home) == {"environment.yaml": job.encode()}


def test_another_conda_file_than_the_one_that_is_built_is_not_judged_for_it(home: House) -> None:
    """The folder's own is harmful, the one that the environment names isn't; nobody is asked about either."""
    lock = f"{LOCK}conda_file: ../conda.yml\n"
    home.advise()
    home.write("conda.yml", "dependencies: []\n")
    home.write("build/conda.yml", f"{HEAD}dependencies: [evil]\n")
    home.write("build/environment.yaml", lock)

    ran = home.run("mirror", "fetch", "--azureml", "build")

    said = "names the conda_file '../conda.yml', expected conda.yml, which lies beside it"
    assert (ran.status, ran.err) == (
        2,
        f"error: build/environment.yaml:4: {said}: lock it again (check --lock azureml=DIR)\n",
    )
    assert sorted(context(home)) == ["conda.yml", "environment.yaml"]


@pytest.mark.parametrize(
    ("named", "conda", "said"),
    [
        ("conda_file: ./conda.yml", b"", "names the conda_file './conda.yml', expected conda.yml, which lies beside it"),
        ("conda_file: {dependencies: []}", b"", "names the conda_file \"{'dependencies': []}\", expected conda.yml, which lies beside it"),
        ("conda_file:", b"", "names no conda_file, expected conda.yml, which lies beside it"),
        ("conda_file: conda.yml", None, "names a conda_file, but there is no conda.yml beside it"),
        ("conda_file:", None, "names a conda_file, but there is no conda.yml beside it"),
    ],
)  # fmt: skip
def test_an_environment_names_the_conda_file_beside_it(named: str, conda: bytes | None, said: str) -> None:
    """Exactly that, and none where there is none; the line says where it doesn't."""
    with pytest.raises(SpecError) as error:
        check_context(f"name: x\nimage: {IMAGE}\n{named}\n".encode(), conda, "build/locked.yaml")

    assert str(error.value) == f"build/locked.yaml:3: {said}: lock it again (check --lock azureml=DIR)"


def test_an_environment_without_a_conda_file_has_none_beside_it() -> None:
    """What isn't named isn't judged; whoever writes the context looks, too."""
    with pytest.raises(SpecError) as error:
        write_context(f"name: x\nimage: {IMAGE}\n".encode(), b"dependencies: []", "quarantine 1", has_python=False)

    assert str(error.value) == (
        "environment.yaml:1: names no conda_file, expected conda.yml, which lies beside it: "
        "lock it again (check --lock azureml=DIR)"
    )
