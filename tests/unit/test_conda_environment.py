"""Conda's environment.yml and MLflow's python_env.yaml: what they ask for, whole, and what they need beside themselves.

Their forms and refusals, one by one, stand in the corpus (`tests/corpus/*/spec/conda_environment`, `python_env`).
"""

import hashlib
from collections.abc import Mapping

import pytest
from packaging.specifiers import SpecifierSet

from quarantine.errors import Problem, SpecError
from quarantine.model import (
    Channel,
    CondaSection,
    Digest,
    Directive,
    EnvironmentSpec,
    Location,
    LockedCondaPackage,
    MatchSpec,
    Needs,
    Requirement,
    SourceFile,
    parse_name,
)
from quarantine.spec import conda_environment, documents, python_env
from quarantine.spec.parse import parse

FILE = "envs/environment.yml"
SHA256 = "0123456789abcdef" * 4
PIP_LOCKED = f"  - pip[version='==24.0',build='py_0',sha256='{SHA256}']\n"


def _read(text: str, more: Mapping[str, str] | None = None) -> EnvironmentSpec | Needs:
    files = {path: content.encode() for path, content in {FILE: text, **(more or {})}.items()}
    return conda_environment.read(FILE, files, documents.load(FILE, files[FILE]))


def _spec(text: str, more: Mapping[str, str] | None = None) -> EnvironmentSpec:
    answer = _read(text, more)
    assert isinstance(answer, EnvironmentSpec)
    return answer


def _at(line: int, file: str = FILE) -> Location:
    return Location(file=file, line=line)


def _source(path: str, text: str) -> SourceFile:
    return SourceFile(path=path, sha256=hashlib.sha256(text.encode()).hexdigest())


def test_a_whole_environment() -> None:
    """Channels, specs, the lines below `pip:` and those of the files that they include, each with its place."""
    text = """name: whole
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.10
  - conda-forge::pip
  - pip:
      - requests>=2
      - --extra-index-url https://user:canary@wheels.example.org/simple
      - -r ../more.txt
"""
    more = {"more.txt": "idna\n"}

    assert _spec(text, more) == EnvironmentSpec(
        file=FILE,
        format="conda-environment",
        name="whole",
        conda=CondaSection(
            channels=(Channel(name="conda-forge", location=_at(3)),),
            specs=(
                MatchSpec(name="python", version="3.10.*", location=_at(6)),
                MatchSpec(name="pip", channel="conda-forge", location=_at(7)),
            ),
        ),
        requirements=(
            Requirement(name=parse_name("requests"), specifier=SpecifierSet(">=2"), location=_at(9)),
            Requirement(name=parse_name("idna"), location=_at(1, "more.txt")),
        ),
        directives=(
            Directive(
                option="--extra-index-url", text="--extra-index-url https://wheels.example.org/simple", location=_at(10)
            ),
        ),
        sources=(_source(FILE, text), _source("more.txt", more["more.txt"])),
    )


def test_includes_are_asked_for() -> None:
    """A file below `pip:` is needed before the environment is understood, and says who wants it."""
    answer = _read("dependencies:\n  - pip\n  - pip:\n    - -r more.txt\n    - -c ../limits.txt\n")

    assert answer == Needs(("envs/more.txt", "limits.txt"), wanted_by=(_at(4), _at(5)))


def test_problems_of_all_files_are_told_together() -> None:
    """Those of conda's part, of the lines below `pip:`, and of the files that these include."""
    with pytest.raises(SpecError) as caught:
        _read(
            "dependencies:\n  - bad spec!!\n  - pip:\n    - numpy=1\n    - -r more.txt\n",
            {"envs/more.txt": "fine\n=nothing\n"},
        )

    assert caught.value.problems == (
        Problem(file=FILE, line=2, message="'spec!!' is not a version: expected one like 1.21.2, 1!2.0 or 2.0+cu118"),
        Problem(file=FILE, line=4, message="'numpy=1' is not a requirement: did you mean 'numpy==1'?"),
        Problem(
            file="envs/more.txt",
            line=2,
            message="'=nothing' is not a requirement: expected package name at the start of dependency specifier",
        ),
    )


def test_an_environment_inside_another_document() -> None:
    """Azure ML writes one below `conda_file`: its lines are those of the whole document."""
    text = "image: example.org/base\nconda_file:\n  channels: [conda-forge]\n  dependencies:\n    - numpy\n    - pip:\n      - idna\n"
    document = documents.load(FILE, text.encode())

    spec = conda_environment.read_at(FILE, {FILE: text.encode()}, document, ("conda_file",))

    assert spec == EnvironmentSpec(
        file=FILE,
        format="conda-environment",
        conda=CondaSection(
            channels=(Channel(name="conda-forge", location=_at(3)),),
            specs=(MatchSpec(name="numpy", location=_at(5)), MatchSpec(name="pip", location=_at(6))),
        ),
        requirements=(Requirement(name=parse_name("idna"), location=_at(7)),),
        sources=(_source(FILE, text),),
    )


def test_what_stands_there_must_be_an_environment() -> None:
    """Text in its place is told with its line."""
    document = documents.load(FILE, b"image: x\nconda_file: 3\n")

    with pytest.raises(SpecError) as caught:
        conda_environment.read_at(FILE, {}, document, ("conda_file",))

    assert str(caught.value) == f"{FILE}:2: a number in the place of a conda environment: expected a mapping"


def test_without_channels_conda_takes_its_own() -> None:
    """That is `defaults`, located at the beginning of the file."""
    spec = _spec("dependencies: [python]\n")

    assert spec.conda == CondaSection(
        channels=(Channel(name="defaults", location=_at(1)),), specs=(MatchSpec(name="python", location=_at(1)),)
    )


def test_an_environment_of_exact_packages_is_a_lock() -> None:
    """Version, build and sha256 of every one; the channel is the only one of the file where a spec names none."""
    spec = _spec(
        f"channels: [conda-forge, nodefaults]\ndependencies:\n{PIP_LOCKED}"
        f"  - other/linux-64::python=3.10.1=h1_0[sha256={SHA256}]\n  - pip:\n    - idna==3.7 --hash=sha256:{SHA256}\n"
    )

    assert spec.conda is not None
    assert spec.conda.locked == (
        LockedCondaPackage(
            name="pip",
            version="24.0",
            build="py_0",
            channel="conda-forge",
            sha256=Digest.sha256(SHA256),
            location=_at(3),
        ),
        LockedCondaPackage(
            name="python",
            version="3.10.1",
            build="h1_0",
            platform="linux-64",
            channel="other",
            sha256=Digest.sha256(SHA256),
            location=_at(4),
        ),
    )
    assert [spec.name for spec in spec.conda.specs] == ["pip", "python"]
    assert [package.name for package in spec.locked or ()] == ["idna"]
    assert spec.pins_packages


NO_LOCKS = {
    "a build that is a glob": "  - a[version='==1',build='0*',sha256='%s']\n",
    "no build": "  - a[version='==1',sha256='%s']\n",
    "a range": "  - a[version='==1|==2',build='0',sha256='%s']\n",
    "a fuzzy version": "  - a[version='=1',build='0',sha256='%s']\n",
    "a file": "  - https://conda.example.org/noarch/a-1-0.conda#%s\n",
    "a name twice": "  - a[version='==1',build='0',sha256='%s']\n  - a\n",
    "pip that is not named": "  - a[version='==1',build='0',sha256='%s']\n  - pip: []\n",
    "an md5": "  - a[version='==1',build='0',sha256='%s']\n  - b[version='==1',build='0',md5='0123456789abcdef0123456789abcdef']\n",
    "pip lines without hashes": "  - pip[version='==24',build='0',sha256='%s']\n  - pip: [idna==3.7]\n",
}


@pytest.mark.parametrize("lines", NO_LOCKS.values(), ids=NO_LOCKS)
def test_anything_less_is_no_lock(lines: str) -> None:
    """One package that is not exact, and the environment is solved."""
    spec = _spec(f"channels: [conda-forge, nodefaults]\ndependencies:\n{lines % SHA256}")

    assert spec.conda is not None
    assert spec.conda.locked is None
    assert not spec.pins_packages


def test_without_nodefaults_nothing_is_locked() -> None:
    """For conda, other channels than those of the file count then."""
    spec = _spec(f"channels: [conda-forge]\ndependencies:\n{PIP_LOCKED}")

    assert spec.conda is not None
    assert spec.conda.locked is None


def test_of_several_channels_none_is_said_to_have_a_locked_package() -> None:
    """Where the spec doesn't say it."""
    spec = _spec(f"channels: [a, b, nodefaults]\ndependencies:\n{PIP_LOCKED}")

    assert spec.conda is not None
    assert [package.channel for package in spec.conda.locked or ()] == [None]


def test_hashed_pip_lines_stay_locked_beside_loose_conda_packages() -> None:
    """Each part of an environment is pinned or not by itself."""
    spec = _spec(f"dependencies:\n  - pip\n  - pip:\n    - idna==3.7 --hash=sha256:{SHA256}\n")

    assert [str(package.version) for package in spec.locked or ()] == ["3.7"]
    assert spec.conda is not None
    assert spec.conda.locked is None


def test_a_backslash_at_the_end_of_an_item_is_refused() -> None:
    """Conda writes the items one below the other, where pip would read `-r other.txt`, and we `-r oth` and `er.txt`."""
    with pytest.raises(SpecError) as caught:
        _read("dependencies:\n  - pip\n  - pip:\n    - '-r oth\\'\n    - er.txt\n", {"envs/oth": "idna\n"})

    assert str(caught.value) == f"{FILE}:4: a requirement of several lines, or a '\\' at its end: write it on one"


def test_only_variables_that_installers_obey_are_judged() -> None:
    """Their values are not kept."""
    spec = _spec(
        "channels: [a]\ndependencies: [pip]\nvariables:\n  PIP_INDEX_URL: https://user:canary@example.org\n"
        "  PIP_PREFER_BINARY: '1'\n  PIP_FOO: '1'\n  PYTHONUNBUFFERED: '1'\n  UV_INDEX: x\n  PIP_CONFIG_FILE: x\n"
    )

    assert spec.directives == tuple(
        Directive(option="environment-variable", text=f"{name} is set", location=_at(line))
        for name, line in (("PIP_INDEX_URL", 4), ("UV_INDEX", 8), ("PIP_CONFIG_FILE", 9))
    )


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *[("my-env_1.0", "my-env_1.0"), ("_x", "_x"), ("a b", ""), ("../x", ""), ("42", ""), ("[a]", ""), ("''", "")],
        *[("a" * 255, "a" * 255), ("a" * 256, ""), ("\u212aeras", "")],
    ],
)
def test_its_name_is_kept_where_it_is_plain(written: str, name: str) -> None:
    """What is no plain name leaves the environment without one."""
    assert _spec(f"name: {written}\nchannels: [a]\ndependencies: [pip]\n").name == name


def test_variables_that_are_no_mapping() -> None:
    """They are refused with their place."""
    with pytest.raises(SpecError) as caught:
        _read("channels: [a]\ndependencies: [pip]\nvariables: [PIP_INDEX_URL]\n")

    assert str(caught.value) == f"{FILE}:3: a list as `variables`: expected a mapping"


def test_limits() -> None:
    """Of channels, dependencies and requirements only so many are read."""
    with pytest.raises(SpecError) as caught:
        _read(f"channels: [{'a,' * 65}]\ndependencies: [{'a,' * 20_001}]\n")

    assert str(caught.value) == (
        f"{FILE}:1: 65 channels: at most 64 are read\n{FILE}:2: 20001 dependencies: at most 20000 are read"
    )


def test_it_is_recognised() -> None:
    """The one way in takes both formats by what they hold, whatever their names."""
    conda = parse("a.yaml", {"a.yaml": b"dependencies: [numpy]\n"})
    mlflow = parse("b.yml", {"b.yml": b"python: 3.8.15\ndependencies: [numpy]\n"})

    assert isinstance(conda, EnvironmentSpec)
    assert isinstance(mlflow, EnvironmentSpec)
    assert (conda.format, mlflow.format) == ("conda-environment", "python-env")


def test_a_python_env() -> None:
    """Both lists are requirements, and the minor version of its Python counts instead of a target's."""
    path, text = (
        "model/python_env.yaml",
        "python: 3.8.15\nbuild_dependencies:\n- pip==21.2.4\ndependencies:\n- -r requirements.txt\n",
    )
    files = {path: text.encode()}

    assert python_env.read(path, files, documents.load(path, files[path])) == Needs(
        ("model/requirements.txt",), wanted_by=(_at(5, path),)
    )
    files["model/requirements.txt"] = b"numpy\n"
    assert python_env.read(path, files, documents.load(path, files[path])) == EnvironmentSpec(
        file=path,
        format="python-env",
        requirements=(
            Requirement(name=parse_name("pip"), specifier=SpecifierSet("==21.2.4"), location=_at(3, path)),
            Requirement(name=parse_name("numpy"), location=_at(1, "model/requirements.txt")),
        ),
        python="3.8",
        sources=(_source(path, text), _source("model/requirements.txt", "numpy\n")),
    )
