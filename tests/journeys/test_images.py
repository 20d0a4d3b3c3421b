"""Images and named environments through the command line: allowlist, digest, platform, and whom is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import NOW, House
from registries import DockerRegistry, docker_registry, made_image, made_index
from servers import Answer, WebServer

ALLOW = "version: 1\nallow: [{name: %s, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
MAR = "{name: mar, type: oci, url: 'https://mcr.microsoft.com', mode: curated, entries: mar.yaml}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry of this test's own."""
    with docker_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def mar(home: House, registry: DockerRegistry) -> House:
    """A project whose Microsoft Artifact Registry is the loopback registry."""
    home.others = [MAR]
    home.lists = {"mar.yaml": ALLOW % "azureml/*"}
    home.registries = {"mcr.microsoft.com": registry.url}
    home.advise()
    return home


def test_an_allowed_image_is_looked_up_once_and_pinned(mar: House, registry: DockerRegistry) -> None:
    """The tag becomes the digest of the index, which the verdict gives to copy."""
    made = made_index(made_image(), made_image(architecture="arm64", variant="v8"))
    registry.push("azureml/base", made, "1")
    mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("environment.yaml")
    assert ran.status == 0, ran.out
    item = ran.item("mcr.microsoft.com/azureml/base")
    assert item["pinned"] == f"mcr.microsoft.com/azureml/base@{made.digest}"
    assert item["platforms"] == ["linux/amd64", "linux/arm64"]
    text = mar.run("check", "environment.yaml")
    assert f"mcr.microsoft.com/azureml/base@{made.digest}" in text.out


def test_production_wants_the_digest(mar: House, registry: DockerRegistry) -> None:
    """A tag may be moved: it isn't locked. The digest is."""
    made = made_image()
    registry.push("azureml/base", made, "1")
    mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("environment.yaml", "--stage", "production")
    assert (ran.status, [rule for rule, _, _ in ran.of_files()]) == (1, ["locked"])
    mar.write("environment.yaml", f"name: x\nimage: mcr.microsoft.com/azureml/base@{made.digest}\n")
    ran = mar.check("environment.yaml", "--stage", "production")
    assert (ran.status, ran.json["subjects"][0]["locked"]) == (0, True)


@pytest.mark.parametrize("path", ["azureml-evil/base", "azureml", "evil/azureml/base"])
def test_a_pattern_matches_whole_segments(mar: House, registry: DockerRegistry, path: str) -> None:
    """`azureml/*` is neither `azureml-evil/base` nor `azureml` itself."""
    registry.push(path, made_image(), "1")
    mar.write("environment.yaml", f"name: x\nimage: mcr.microsoft.com/{path}:1\n")
    ran = mar.check("environment.yaml")
    assert (ran.status, ran.rules(f"mcr.microsoft.com/{path}")) == (1, ["repository"])


def test_an_image_without_the_targets_platform_is_denied(mar: House, registry: DockerRegistry) -> None:
    """An index that has no child for the target can't be run there."""
    registry.push("azureml/base", made_index(made_image(architecture="arm64", variant="v8")), "1")
    mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("environment.yaml")
    assert (ran.status, ran.rules("mcr.microsoft.com/azureml/base")) == (1, ["platform"])


def test_a_single_image_for_another_machine_is_denied(mar: House, registry: DockerRegistry) -> None:
    """Without an index its configuration says what it is for."""
    registry.push("azureml/base", made_image(architecture="arm64", variant="v8"), "1")
    mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("environment.yaml")
    assert (ran.status, ran.rules("mcr.microsoft.com/azureml/base")) == (1, ["platform"])
    assert ran.item("mcr.microsoft.com/azureml/base")["platforms"] == ["linux/arm64"]


def test_a_platform_that_one_file_asks_for_is_not_lost_beside_another(mar: House, registry: DockerRegistry) -> None:
    """The same image, once as it comes and once for other machines: each is judged as it is asked for."""
    made = made_index(made_image(), made_image(architecture="arm64", variant="v8"))
    registry.push("azureml/base", made, "1")
    mar.write("a/Dockerfile", "FROM mcr.microsoft.com/azureml/base:1\n")
    mar.write("b/Dockerfile", "FROM --platform=linux/arm64 mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("a/Dockerfile", "b/Dockerfile")
    assert ran.status == 1
    assert [subject["verdict"] for subject in ran.json["subjects"]] == ["allowed", "denied"]


def test_an_image_that_isnt_there_is_denied(mar: House) -> None:
    """The registry says so itself."""
    mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/none:1\n")
    ran = mar.check("environment.yaml")
    assert (ran.status, ran.rules("mcr.microsoft.com/azureml/none")) == (1, ["integrity"])


def test_a_registry_that_fails_leaves_the_verdict_undecided(mar: House) -> None:
    """No answer is no evidence."""
    with WebServer(lambda _: Answer(status=500)) as broken:
        mar.registries = {"mcr.microsoft.com": broken.origin}
        mar.settle()
        mar.write("environment.yaml", "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
        ran = mar.check("environment.yaml")
    assert ran.status == 3
    assert ran.rules("mcr.microsoft.com/azureml/base", "unknown") == ["integrity"]


@pytest.mark.parametrize("host", ["169.254.169.254", "168.63.129.16", "127.0.0.1:1", "metadata.google.internal"])
def test_no_registry_but_the_policys_is_ever_asked(mar: House, host: str) -> None:
    """An image of a user's file sends no request anywhere: what isn't an upstream is denied unseen."""
    mar.write("environment.yaml", f"name: x\nimage: {host}/latest/meta-data:1\n")
    ran = mar.check("environment.yaml")
    assert (ran.status, ran.rules(f"{host}/latest/meta-data")) == (1, ["repository"])


def test_a_tag_that_moves_during_a_run_stays_what_it_was(mar: House, registry: DockerRegistry) -> None:
    """Two files of one run name the same tag: it is resolved once."""
    made = made_image()
    registry.push("azureml/base", made, "1")
    for name in ("one.yaml", "two.yaml"):
        mar.write(name, "name: x\nimage: mcr.microsoft.com/azureml/base:1\n")
    ran = mar.check("one.yaml", "two.yaml")
    item = ran.item("mcr.microsoft.com/azureml/base")
    assert (ran.status, item["subjects"], item["digests"]) == (0, [0, 1], [str(made.digest)])


def test_a_curated_environment_is_what_the_list_names(home: House) -> None:
    """An environment that is only named passes where curators answer for it, and a label is no pin."""
    home.others = [
        "{name: azureml, type: azureml, url: 'azureml://registries/azureml', mode: curated, entries: az.yaml}"
    ]
    home.lists = {"az.yaml": ALLOW % "sklearn-1.5"}
    home.advise()
    deployment = (
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json\n"
        "name: blue\nendpoint_name: e\nenvironment: azureml://registries/azureml/environments/{}\n"
    )
    home.write("deployment.yml", deployment.format("sklearn-1.5/labels/latest"))
    ran = home.check("deployment.yml")
    assert ran.status == 0, ran.out
    ran = home.check("deployment.yml", "--stage", "production", now=NOW.replace(hour=13))
    assert (ran.status, [rule for rule, _, _ in ran.of_files()]) == (1, ["locked"])
    home.write("deployment.yml", deployment.format("sklearn-1.5/versions/7"))
    assert home.check("deployment.yml", "--stage", "production", now=NOW.replace(hour=14)).status == 0
    home.write("deployment.yml", deployment.format("pytorch-2.2/versions/7"))
    ran = home.check("deployment.yml", now=NOW.replace(hour=15))
    assert (ran.status, ran.rules("pytorch-2.2")) == (1, ["repository"])
