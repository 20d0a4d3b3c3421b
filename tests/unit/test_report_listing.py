"""What files are and what they ask for, as a list."""

from packaging.version import Version

from quarantine.errors import Problem
from quarantine.model import (
    Channel,
    CondaSection,
    CuratedEnvironment,
    Digest,
    EnvironmentSpec,
    ImageReference,
    Location,
    LockedPackage,
    MatchSpec,
    Requirement,
    Unverifiable,
    parse_name,
)
from quarantine.report.listing import listing

AT = Location(file="env.yaml", line=2)


def _requirement(name: str) -> Requirement:
    return Requirement(name=parse_name(name), location=AT)


def test_each_file_is_one_line() -> None:
    """Without a width: the file, what it was taken for, and how many of what it asks for, separated by tabs."""
    conda = CondaSection(channels=(Channel(name="forge", location=AT),), specs=(MatchSpec(name="numpy", location=AT),))
    image = ImageReference(host="registry.example.org", path="x", location=AT)
    specs = (
        EnvironmentSpec(
            file="env.yaml",
            format="azureml-environment",
            images=(image,),
            curated=(CuratedEnvironment(registry=None, name="x", version=None, location=AT),),
            parts=(
                EnvironmentSpec(
                    file="conda.yaml",
                    format="conda-environment",
                    conda=conda,
                    requirements=(_requirement("a"), _requirement("b")),
                ),
            ),
            unverifiable=(Unverifiable(location=AT, what="apt-get install x", why="not read"),),
        ),
        EnvironmentSpec(
            file="pylock.toml",
            format="pylock",
            locked=(
                LockedPackage(
                    name=parse_name("a"),
                    version=Version("1"),
                    digests=frozenset({Digest.sha256("0" * 64)}),
                    location=AT,
                ),
            ),
        ),
        EnvironmentSpec(file="requirements.txt", format="requirements"),
    )
    text, unreadable = listing(specs, None, colour=False)
    assert unreadable == 0
    mixed, *others = text.splitlines()
    assert mixed == (
        "env.yaml\tAzure ML environment\t1 conda package, 2 Python packages, 1 image, 1 Azure ML environment, "
        "1 unverifiable step"
    )
    assert others == [
        "pylock.toml\tpylock\t1 Python package, all pinned",
        "requirements.txt\trequirements\tnothing",
    ]


def test_a_refusal_has_its_reasons() -> None:
    """Of a file that can't be read the first three problems are told, with the file where it is another one."""
    problems = (
        Problem(file="a.yml", line=3, column=1, message="not YAML: a tab"),
        Problem(file="b.txt", line=1, message="no requirement"),
        Problem(file="a.yml", message="empty"),
        Problem(file="a.yml", line=9, message="never told"),
    )
    text, unreadable = listing(
        (EnvironmentSpec(file="a.yml", format="conda-environment", unreadable=problems),), 80, colour=False
    )
    assert unreadable == 1
    assert text == (
        "file   taken for          asks for\n"
        "a.yml  conda environment  refused: line 3: not YAML: a tab; b.txt:1: no\n"
        "                          requirement; empty; and 1 more problem\n"
    )
