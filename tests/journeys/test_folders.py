"""A folder through the command line: every environment file below it, each with its verdict, and one over all."""

import sys

import pytest
from house import House

GOOD = "helper==3.0\n"


def _fill(home: House) -> None:
    home.index.add("helper", "3.0")
    home.advise()
    home.write("service/requirements.txt", GOOD)
    home.write("service/Dockerfile", "FROM scratch\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n")
    home.write("training/env.yml", "channels: [nowhere]\ndependencies: [python=3.10]\n")
    home.write("training/values.yml", "learning_rate: 0.1\n")
    home.write("broken/requirements.txt", "one two three\n")
    home.write(".hidden/requirements.txt", "evil\n")
    home.write("node_modules/x/requirements.txt", "evil\n")


def test_every_file_of_a_folder_has_its_verdict(home: House) -> None:
    """What can't be read keeps nothing else from being judged, and leaves the whole undecided at least."""
    _fill(home)
    ran = home.check(".")
    assert ran.status == 1
    assert [(s["file"], s["format"], s["verdict"]) for s in ran.json["subjects"]] == [
        ("broken/requirements.txt", "requirements", "undecided"),
        ("service/Dockerfile", "dockerfile", "allowed"),
        ("service/requirements.txt", "requirements", "allowed"),
        ("training/env.yml", "conda-environment", "denied"),
    ]


def test_a_folder_is_listed_without_a_verdict(home: House) -> None:
    """What the files are and what they ask for; status 2 where one of them can't be read."""
    _fill(home)
    ran = home.run("check", ".", "--list")
    assert ran.status == 2
    assert ran.out == (
        "broken/requirements.txt\trequirements\trefused: line 1: "
        "'one two three' is not a requirement: what follows the name is no version specifier and no marker\n"
        "service/Dockerfile\tDockerfile\t1 Python package\n"
        "service/requirements.txt\trequirements\t1 Python package\n"
        "training/env.yml\tconda environment\t1 conda package\n"
    )
    assert ran.err == "4 files found, 3 read, 1 refused\n"


def test_a_folder_without_environment_files_is_bad_input(home: House) -> None:
    """Nothing to judge is no pass."""
    home.write("empty/readme.md", "nothing\n")
    ran = home.check("empty")
    assert (ran.status, ran.out) == (2, "")
    assert (
        ran.err
        == "error: empty: no environment file was found below this folder: name a file (quarantine check --help says which are read)\n"
    )


def test_without_the_parser_a_dockerfile_is_not_judged_and_all_else_is(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it has no wheel, the file is undecided in a folder, and by itself a check ends with what to install."""
    _fill(home)
    for name in [name for name in sys.modules if name.startswith("quarantine.spec.dockerfile")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, "dockerfile", None)
    said = "Dockerfiles can't be read here: BuildKit's parser isn't installed, since it has no wheel for this kind of machine"
    ran = home.check("service")
    assert ran.status == 3
    assert [(s["file"], s["verdict"]) for s in ran.json["subjects"]] == [
        ("service/Dockerfile", "undecided"),
        ("service/requirements.txt", "allowed"),
    ]
    alone = home.check("service/Dockerfile")
    assert (alone.status, alone.out, said in alone.err) == (3, "", True)
