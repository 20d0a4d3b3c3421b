"""Conda environments through the command line: one verdict over channels, what their packages hold, and pip."""

import os
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from channels import CondaChannel, distribution
from house import NOW, House, Ran
from osv_records import before
from registries import docker_registry, made_image

FLAW = before("PYSEC-2018-28", "requests", "2.20.0", aliases=["CVE-2018-18074"], severity=[
    {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
])  # fmt: skip


@pytest.fixture
def channel(home: House, tmp_path: Path) -> Iterator[CondaChannel]:
    """A channel with a Python, a library, and a package that holds a distribution of another name."""
    with CondaChannel(folder=tmp_path / "channel", name="acme") as made:
        made.add("python", "3.10.14", build="h1", subdir="linux-64", depends=["libacme >=1"])
        made.add("pip", "24.0", depends=["python >=3.8"], files=distribution("pip", "24.0"))
        made.add("libacme", "1.2", subdir="linux-64", files={"lib/libacme.so": b"x"})
        made.add("fetcher", "1.0", depends=["python"], files=distribution("requests", "2.19.0"))
        made.add("fetcher", "1.1", depends=["python"], files=distribution("requests", "2.31.0"))
        made.add("model", "0.9", depends=["fetcher", "libacme"], files=distribution("model", "0.9"))
        made.index()
        home.channels = {"acme": made.url}
        home.advise(FLAW)
        yield made


def test_a_vulnerable_distribution_under_another_name_is_found_and_the_nearest_version_is_named(
    home: House, channel: CondaChannel
) -> None:
    """The package's own file list says what it holds; the advisory is about that."""
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [model, fetcher=1.0]\n")
    ran = home.check("environment.yml")
    assert ran.status == 1
    fetcher = ran.item("fetcher")
    assert (fetcher["ecosystem"], fetcher["holds"], fetcher["nearest"]) == (
        "conda",
        ["pkg:pypi/requests@2.19.0"],
        "1.1",
    )
    assert ran.rules("fetcher") == ["vulnerability"]
    assert ran.item("libacme")["holds"] == []
    assert ran.rules("libacme") == []
    assert [item["verdict"] for item in ran.json["items"]] == ["denied", "allowed", "allowed", "allowed"]


def test_the_pip_section_is_resolved_with_condas_python_beside_what_conda_installs(
    home: House, channel: CondaChannel
) -> None:
    """What conda installs is taken as it is, and pip takes what is there already, and what it needs beyond that with the wheels of the solved Python."""
    home.index.add("service", "1.0", requires=["requests >=2.20", "helper"], tag="cp310-cp310-manylinux_2_28_x86_64")
    home.index.add("helper", "3.0")
    home.write(
        "environment.yml",
        "channels: [acme, nodefaults]\ndependencies:\n- python\n- fetcher\n- pip\n- pip:\n  - service\n",
    )
    ran = home.check("environment.yml")
    assert ran.status == 0, ran.err
    assert [(i["ecosystem"], i["name"], i["version"]) for i in ran.json["items"]] == [
        ("conda", "fetcher", "1.1"),
        ("pypi", "helper", "3.0"),
        ("conda", "libacme", "1.2"),
        ("conda", "pip", "24.0"),
        ("conda", "python", "3.10.14"),
        ("pypi", "service", "1.0"),
    ]


def test_what_the_pip_section_needs_and_conda_has_too_old_has_no_solution(home: House, channel: CondaChannel) -> None:
    """The version of conda is what is there: a requirement that it doesn't meet is refused, with the reason."""
    home.index.add("service", "1.0", requires=["requests >=3"])
    home.index.add("requests", "3.0")
    home.write(
        "environment.yml", "channels: [acme, nodefaults]\ndependencies:\n- fetcher\n- pip\n- pip:\n  - service\n"
    )
    ran = home.check("environment.yml")
    assert ran.status == 1
    assert ran.of_files() == [("resolution", "environment.yml", 6)]


def test_a_channel_that_is_no_upstream_is_denied_at_its_line_and_never_asked(
    home: House, channel: CondaChannel
) -> None:
    """`evil::package` and a channel of the file are held against the policy's upstreams."""
    evil = channel.server.origin + "/evil"
    home.write("environment.yml", f"channels:\n- acme\n- {evil}\n- nodefaults\ndependencies:\n- evil::model\n")
    before_it = len(channel.server.asked)
    ran = home.check("environment.yml")
    assert ran.status == 1
    assert [place for place in ran.of_files() if place[0] == "channel"] == [
        ("channel", "environment.yml", 3),
        ("channel", "environment.yml", 6),
    ]
    assert not [path for path in channel.server.paths()[before_it:] if path.startswith("/evil")]


def test_a_public_channel_cant_answer_for_a_private_name(home: House, channel: CondaChannel, tmp_path: Path) -> None:
    """Dependency confusion: the first upstream that has the name owns it, whatever the file's order of channels."""
    with CondaChannel(folder=tmp_path / "public", name="public") as public:
        public.add("model", "99.0", files=distribution("model", "99.0"))
        public.index()
        home.channels = {"acme": channel.url, "public": public.url}
        home.settle()
        home.write("environment.yml", "channels: [public, acme, nodefaults]\ndependencies: [model]\n")
        ran = home.check("environment.yml")
    assert ran.status == 1
    assert (ran.item("model")["upstream"], ran.item("model")["version"]) == ("acme", "99.0")
    assert ran.rules("model") == ["integrity"]


def test_a_file_list_that_cant_be_read_is_unknown(home: House, channel: CondaChannel) -> None:
    """Without its file list nothing is known of a package, so it isn't clean."""
    path = channel.folder / "noarch" / "model-0.9-0.conda"
    path.write_bytes(path.read_bytes()[:-40] + b"\0" * 40)
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [model]\n")
    ran = home.check("environment.yml")
    assert ran.status == 3
    assert ran.item("model")["holds"] is None
    assert "vulnerability" in ran.rules("model", "unknown")


def test_a_packages_age_is_what_its_channel_says_and_not_what_its_packager_wrote(
    home: House, channel: CondaChannel
) -> None:
    """A record of 2015 that the server got yesterday is too young; one that the server doesn't date is unknown."""
    old = 1_420_000_000_000
    channel.add("fresh", "1.0", timestamp=old, uploaded=datetime(2026, 11, 22, tzinfo=UTC))
    channel.add("undated", "1.0", timestamp=old, uploaded=None)
    channel.index()
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [fresh, undated]\n")
    ran = home.check("environment.yml")
    assert ran.rules("fresh") == ["minimum-age"]
    assert (ran.rules("undated"), ran.rules("undated", "unknown")) == ([], ["minimum-age"])


def test_a_native_package_is_denied_where_the_stage_says_so(home: House, channel: CondaChannel) -> None:
    """No advisory speaks of a package without a distribution; the policy says whether that is tolerated."""
    home.settle()
    policy = home.folder / "allowlists" / "policy.yaml"
    policy.write_text(policy.read_text().replace("conda: {native: tolerate}", "conda: {native: deny}"))
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    ran = home.check("environment.yml")
    assert (ran.status, ran.rules("libacme")) == (1, ["native"])


def test_a_lock_is_written_and_passes_production(home: House, channel: CondaChannel) -> None:
    """One conda-lock.yml holds conda and pip packages by sha256; conda-lock reads it, and so does the next check."""
    home.index.add("helper", "3.0")
    home.write(
        "environment.yml",
        "channels: [acme, nodefaults]\ndependencies:\n- python\n- fetcher\n- pip\n- pip:\n  - helper\n",
    )
    ran = home.check("environment.yml", "--lock", "conda-lock.yml")
    assert ran.status == 0, ran.out
    with warnings.catch_warnings():
        # what conda-lock brings of conda warns of its own future
        warnings.simplefilter("ignore")
        from conda_lock.lockfile import parse_conda_lock_file  # type: ignore[import-untyped]

        parsed = parse_conda_lock_file(home.folder / "conda-lock.yml")
    assert sorted((p.manager, p.name, p.version) for p in parsed.package) == [
        ("conda", "fetcher", "1.1"),
        ("conda", "libacme", "1.2"),
        ("conda", "pip", "24.0"),
        ("conda", "python", "3.10.14"),
        ("pip", "helper", "3.0"),
    ]
    assert all(p.hash.sha256 for p in parsed.package)
    again = home.check("conda-lock.yml", "--stage", "production")
    assert again.status == 0, again.out
    assert again.json["subjects"][0]["locked"] is True


def test_a_locked_file_that_was_swapped_is_denied(home: House, channel: CondaChannel) -> None:
    """The owner's index lists other bytes now: the lock's are nobody's."""
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    assert home.check("environment.yml", "--lock", "conda-lock.yml").status == 0
    channel.add("libacme", "1.2", subdir="linux-64", files={"lib/libacme.so": b"evil"})
    channel.index()
    ran = home.check("conda-lock.yml", now=NOW.replace(hour=13))
    assert (ran.status, ran.rules("libacme")) == (1, ["integrity"])


def _pinned(home: House, channels: str, lines: str) -> Ran:
    home.write("pinned.yml", f"channels: [{channels}, nodefaults]\ndependencies:\n{lines}")
    return home.check("pinned.yml", "--stage", "production")


def test_a_pin_holds_only_what_conda_would_take(home: House, channel: CondaChannel, tmp_path: Path) -> None:
    """Conda drops the sha256 of a spec: where another channel or another file answers to the pin, it is none."""
    own = channel.add("liba", "1.2", files=distribution("liba", "1.2"))
    channel.index()
    line = f"- liba[version='==1.2',build='0',sha256='{own.hex}']\n"
    with CondaChannel(folder=tmp_path / "public", name="public") as public:
        public.add("liba", "1.2", files=distribution("requests", "2.19.0"))
        public.index()
        home.channels = {"acme": channel.url, "public": public.url}
        home.settle()
        assert _pinned(home, channel.url, line).status == 0
        for order in (f"{public.url}, {channel.url}", public.url):
            ran = _pinned(home, order, line)
            assert (ran.status, [rule for rule, _, _ in ran.of_files()]) == (1, ["locked"])
            (said,) = [r["message"] for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
            assert said == (
                f"pinned.yml pins other bytes of liba than conda would take: {public.url}/noarch/liba-1.2-0.conda: "
                "lock the environment again, or build from a conda-lock.yml"
            )


def test_a_pin_that_two_files_answer_to_is_none(home: House, channel: CondaChannel) -> None:
    """One name, version and build for every platform and for this one: conda can't tell which is meant."""
    benign = channel.add("libx", "1.2", files=distribution("libx", "1.2"))
    evil = channel.add("libx", "1.2", subdir="linux-64", files=distribution("requests", "2.19.0"))
    channel.index()
    for digest in (benign, evil):
        ran = _pinned(home, channel.url, f"- libx[version='==1.2',build='0',sha256='{digest.hex}']\n")
        assert ran.status == 1
        assert "locked" in [rule for rule, _, _ in ran.of_files()]


def test_what_a_pinned_environment_needs_and_does_not_pin_is_told(home: House, channel: CondaChannel) -> None:
    """Conda would take any version of it."""
    model = channel.add("solo", "1.0", depends=["libacme"], files=distribution("solo", "1.0"))
    channel.index()
    ran = _pinned(home, channel.url, f"- solo[version='==1.0',build='0',sha256='{model.hex}']\n")
    assert (ran.status, [rule for rule, _, _ in ran.of_files()]) == (1, ["locked"])


def test_a_lock_with_another_md5_is_not_the_owners(home: House, channel: CondaChannel) -> None:
    """Some installers hold a file to its md5 alone."""
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    assert home.check("environment.yml", "--lock", "conda-lock.yml").status == 0
    lock = home.folder / "conda-lock.yml"
    lock.write_text(re.sub(r"md5: [0-9a-f]{32}", f"md5: {'f' * 32}", lock.read_text()))
    ran = home.check("conda-lock.yml", now=NOW.replace(hour=13))
    assert (ran.status, ran.rules("libacme", "unknown")) == (3, ["integrity"])


def test_a_file_that_is_a_job_and_a_conda_environment_is_refused(home: House, channel: CondaChannel) -> None:
    """Conda passes over keys that it doesn't know, so it would install what no job says."""
    home.write(
        "job.yml",
        "name: x\nchannels: [acme]\ndependencies: [model]\ncommand: x\n"
        "environment: azureml://registries/azureml/environments/sklearn-1.5/versions/7\n",
    )
    ran = home.check("job.yml")
    assert (ran.status, ran.err) == (
        2,
        "error: job.yml:2: an Azure ML job with `channels`, which conda would install: keep the two apart\n",
    )


def test_a_lock_for_azure_ml_is_of_one_environment_and_replaces_nothing_that_was_read(
    home: House, channel: CondaChannel
) -> None:
    """Several environments make no lock together; the folder of an input is no place for one."""
    image = "mcr.microsoft.com/azureml/base"
    home.write("conda.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    home.write(
        "jobs.yml",
        "$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json\ntype: pipeline\njobs:\n"
        f"  a: {{type: command, command: x, environment: {{image: '{image}:1'}}}}\n"
        f"  b: {{type: command, command: x, environment: {{image: '{image}:2', conda_file: conda.yml}}}}\n",
    )
    ran = home.run("check", "jobs.yml", "--lock", "azureml=build")
    assert (ran.status, ran.err) == (
        2,
        "error: --lock: jobs.yml holds several environments: lock each of them by itself\n",
    )
    home.write("build/conda.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    home.write("one.yaml", f"name: x\nimage: {image}:1\nconda_file: build/conda.yml\n")
    ran = home.run("check", "one.yaml", "--lock", "azureml=build")
    assert (ran.status, ran.err) == (
        2,
        "error: --lock 'azureml=build': the folder holds other files: name a new one, or an empty one\n",
    )


@pytest.mark.parametrize("stranger", ["own file", "folder", "pipe", "another name"])
def test_a_lock_for_azure_ml_takes_the_place_of_its_own_files_alone(
    home: House, channel: CondaChannel, stranger: str
) -> None:
    """It is written again over an earlier one; whatever else stands there is left as it is, and nothing waits for it."""
    made = made_image()
    home.lists = {
        "mar.yaml": "version: 1\nallow: [{name: a/*, owner: o, reason: r, added: 2026-01-01, expires: 2027-06-01}]\n"
    }
    with docker_registry(home.folder / "registry") as registry:
        registry.push("a/base", made, "1")
        home.others = [f"{{name: mar, type: oci, url: '{registry.url}', mode: curated, entries: mar.yaml}}"]
        home.settle()
        home.write("conda.yaml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
        home.write("environment.yaml", f"name: scoring\nimage: {registry.host}/a/base:1\nconda_file: conda.yaml\n")
        for minute in (1, 2):
            ran = home.check("environment.yaml", "--lock", "azureml=build", now=NOW.replace(minute=minute))
            assert ran.status == 0, ran.out
    assert "name: scoring\n" in (home.folder / "build" / "conda.yml").read_text()
    there = home.folder / "build" / "conda.yml"
    there.unlink()
    match stranger:
        case "own file":
            there.write_text("name: mine\n")
        case "folder":
            there.mkdir()
        case "pipe":
            os.mkfifo(there)
        case _:
            (home.folder / "build" / "notes.txt").write_text("mine\n")
    ran = home.run("check", "environment.yaml", "--lock", "azureml=build")
    assert (ran.status, ran.err) == (
        2,
        "error: --lock 'azureml=build': the folder holds other files: name a new one, or an empty one\n",
    )
