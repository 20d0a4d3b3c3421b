"""Attacks on conda environments, Azure ML YAML and images: what installers must never get, and nobody must be asked."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from channels import CondaChannel, distribution
from house import NOW, House
from registries import DockerRegistry, docker_registry, made_image
from servers import Answer, Asked, WebServer

ALLOW = "version: 1\nallow: [{name: %s, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
MAR = "{name: mar, type: oci, url: 'https://mcr.microsoft.com', mode: curated, entries: mar.yaml}"
IMAGE = "mcr.microsoft.com/azureml/base"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}
CANARY = "hunter2canary"


@pytest.fixture
def stranger() -> Iterator[WebServer]:
    """A host that no policy names."""
    with WebServer() as running:
        yield running


@pytest.fixture
def channel(home: House, tmp_path: Path) -> Iterator[CondaChannel]:
    """A channel with a Python and a few packages."""
    with CondaChannel(folder=tmp_path / "channel", name="acme") as made:
        made.add("python", "3.11.9", build="h1", subdir="linux-64", depends=["libacme >=1"])
        made.add("pip", "24.0", depends=["python >=3.8"], files=distribution("pip", "24.0"))
        made.add("libacme", "1.2", subdir="linux-64", files={"lib/libacme.so": b"x"})
        made.add("carrier", "1.0", depends=["python"], files=distribution("acme-internal", "1.0"))
        made.index()
        home.channels = {"acme": made.url}
        home.index.add("helper", "3.0")
        home.advise()
        yield made


def _settled(home: House, endpoint: str) -> None:
    """A project whose Microsoft Artifact Registry is that endpoint."""
    home.others = [MAR]
    home.lists = {"mar.yaml": ALLOW % "azureml/*"}
    home.registries = {"mcr.microsoft.com": endpoint}
    home.advise()


# --- conda ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("-r bad.txt", "index-option"),
        ("-r ../outside.txt", "index-option"),
        ("--index-url https://evil.example.org/simple", "index-option"),
        ("--extra-index-url=https://evil.example.org/simple", "index-option"),
        ("--find-links wheels", "index-option"),
        ("--no-binary :all:", "index-option"),
        ("${INDEX}", "index-option"),
        ("-e git+https://evil.example.org/x#egg=helper", "direct-reference"),
        ("helper @ https://evil.example.org/helper-3.0-py3-none-any.whl", "direct-reference"),
        ("./helper-3.0-py3-none-any.whl", "direct-reference"),
    ],
)
def test_a_line_of_the_pip_section_is_judged_like_one_of_a_requirements_file(
    home: House, channel: CondaChannel, line: str, rule: str
) -> None:
    """What changes where packages come from is denied at its line, also in a file that the section includes."""
    home.write("bad.txt", "helper\n--index-url https://evil.example.org/simple\n")
    home.write(
        "environment.yml", f"channels: [acme, nodefaults]\ndependencies:\n- python\n- pip\n- pip:\n  - '{line}'\n"
    )
    ran = home.check("environment.yml")
    said = ran.of_files() + [(name, "environment.yml", 6) for name in _rules(ran.json) if name == "direct-reference"]
    place = ("bad.txt", 2) if line == "-r bad.txt" else ("environment.yml", 6)
    assert (ran.status, (rule, *place) in said) == (1, True)


def _rules(verdict: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    reasons = [reason for item in verdict["items"] for reason in item["reasons"]]
    return [reason["rule"] for reason in reasons if reason["outcome"] == "fail"]


@pytest.mark.parametrize(
    "spec",
    [
        "evil::libacme",
        "ACME::libacme",
        "libacme[channel=evil]",
        "acme/label/dev::libacme",
        "https://evil.example.org/c::libacme",
    ],
)
def test_no_form_of_a_spec_names_another_channel(home: House, channel: CondaChannel, spec: str) -> None:
    """A channel before or behind a package is held against the policy's, by its whole name."""
    home.write("environment.yml", f"channels: [acme, nodefaults]\ndependencies:\n- '{spec}'\n")
    ran = home.check("environment.yml")
    assert (ran.status, ran.of_files()) == (1, [("channel", "environment.yml", 3)])


@pytest.mark.parametrize("change", [("127.0.0.1", "127.0.0.1."), ("127.0.0.1", "0127.0.0.1"), ("/acme", "/./acme"),
                                    ("/acme", "/%61cme"), ("/acme", "/acme/label/main"), ("127.0.0.1", "localhost")])  # fmt: skip
def test_a_url_that_only_resembles_a_channels_is_none(
    home: House, channel: CondaChannel, change: tuple[str, str]
) -> None:
    """Trailing dots, other spellings of an address, escapes and labels don't lead to the policy's channel."""
    url = channel.url.replace(*change)
    home.write("environment.yml", f"channels: ['{url}', nodefaults]\ndependencies: [libacme]\n")
    ran = home.check("environment.yml")
    assert (ran.status, ran.of_files()) == (1, [("channel", "environment.yml", 1)])


def test_a_name_inside_a_conda_package_is_reserved_or_denied_like_any_other(home: House, channel: CondaChannel) -> None:
    """A package of any name may carry a private distribution, or one that the curators refuse."""
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [carrier]\n")
    home.reserved = [{"name": "acme-internal", "upstream": "pypi", "reason": "ours"}]
    home.settle()
    ran = home.check("environment.yml")
    assert (ran.status, ran.rules("carrier")) == (1, ["reserved-name"])
    home.reserved = []
    home.entries = "version: 1\ndeny: [{name: acme-internal, reason: bad, owner: ml, added: 2026-01-01}]\n"
    home.settle()
    ran = home.check("environment.yml", now=NOW.replace(hour=13))
    assert (ran.status, ran.rules("carrier")) == (1, ["deny-entry"])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        # the same bytes, said to be somewhere else
        (lambda text, url: text.replace(f"{url}/linux-64/libacme", "https://evil.example.org/c/linux-64/libacme"), 1),
        (lambda text, url: re.sub(r"url: \S*/helper-3", "url: https://evil.example.org/helper-3", text), 1),
        (lambda text, url: text.replace(f"{url}/linux-64/libacme", f"{url}//linux-64/libacme"), 1),
        (lambda text, _: text.replace("- name: helper\n", "- name: helper\n  source: {type: url, url: 'https://e'}\n"), 1),
        # another package, or less of it
        (lambda text, _: text.replace("- name: libacme\n", "- name: other\n"), 2),
        (lambda text, _: re.sub(r"\n {4}sha256: \w+", "", text, count=2), 2),
        (lambda text, _: text.replace("  manager: conda\n", "  manager: conda\n  manager: conda\n", 1), 2),
        (lambda text, _: text.replace("/linux-64/libacme", "/noarch/libacme"), 1),
    ],
    ids=["conda-host", "pip-host", "path", "source", "name", "sha256", "twice", "platform"],
)  # fmt: skip
def test_an_edited_conda_lock_is_refused(
    home: House, channel: CondaChannel, change: Callable[[str, str], str], status: int
) -> None:
    """A lock is what its owners list: the file at its own address, by its own name, with its sha256."""
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies:\n- libacme\n- pip\n- pip:\n  - helper\n")
    assert home.check("environment.yml", "--lock", "conda-lock.yml").status == 0
    text = (home.folder / "conda-lock.yml").read_text()
    edited = change(text, channel.url)
    assert edited != text
    home.write("conda-lock.yml", edited)
    assert home.check("conda-lock.yml", "--stage", "production", now=NOW.replace(hour=13)).status == status


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": None}, {"size": -1}, {"indexed_timestamp": 90_000_000_000_000}, {"indexed_timestamp": 10**30},
        {"indexed_timestamp": "long ago"}, {"subdir": "osx-64"}, {"version": "9"},
    ],
    ids=str,
)  # fmt: skip
def test_a_channel_that_lies_about_a_package_gets_no_yes(
    home: House, channel: CondaChannel, change: dict[str, object]
) -> None:
    """Without a digest, of no size, from the future, or called something else than its file: undecided."""
    path = channel.folder / "linux-64" / "repodata.json"
    repodata = json.loads(path.read_bytes())
    repodata["packages.conda"]["libacme-1.2-0.conda"] |= change
    path.write_text(json.dumps(repodata))
    home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
    assert home.check("environment.yml").status == 3


@pytest.mark.parametrize(
    "text",
    [
        b"channels: [acme]\ndependencies: [&a [x, x], *a]\n",
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\ndependencies: [*b,*b,*b,*b,*b,*b,*b,*b]\n",
        b"dependencies: " + b"[" * 100_000,
        b"channels: [acme]\ndependencies: [libacme]\n---\nchannels: [evil]\ndependencies: [evil]\n",
        b"channels: [acme]\ndependencies: [libacme]\ndependencies: [evil]\n",
        "channels: [acme]\ndependencies: [libacme]\n".encode("utf-16"),
        b"channels: [acme]\n? dependencies\n: !!python/object:os.system [libacme]\n",
    ],
    ids=["alias", "laughs", "depth", "documents", "twice", "utf-16", "tag"],
)
def test_hostile_yaml_of_an_environment_is_refused_at_once(home: House, text: bytes) -> None:
    """What programs read differently, or for ever, is bad input."""
    home.write("environment.yml", text)
    began = time.monotonic()
    ran = home.check("environment.yml")
    assert (ran.status, ran.out) == (2, "")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("name", ["\u212aeras", "\u017fcipy", "num\u200bpy", "n\u0443mpy", "::add-mask::x", "##vso[x]"])
def test_a_name_of_a_conda_package_or_an_image_is_ascii(home: House, name: str) -> None:
    """Letters that fold into others, those that can't be seen, and commands to a CI system name nothing."""
    home.write("environment.yml", f"channels: [acme]\ndependencies: ['{name}']\n")
    home.write("environment.yaml", f"name: e\nimage: 'mcr.microsoft.com/azureml/{name}:1'\n")
    for file in ("environment.yml", "environment.yaml"):
        ran = home.check(file)
        assert (ran.status, ran.out) == (2, "")
        assert not re.search(r"^(##|::)", ran.err, re.MULTILINE)
        assert ran.err.isascii()


# --- images -----------------------------------------------------------------------------------------------------------


def _child(**more: object) -> dict[str, object]:
    platform = {"architecture": "amd64", "os": "linux"}
    return {"mediaType": MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 10, "platform": platform, **more}


@pytest.mark.parametrize(
    ("children", "status"),
    [
        ([], 3),
        ([_child(platform={"architecture": "unknown", "os": "unknown"}, annotations=ATTESTATION)], 3),
        ([_child(mediaType=INDEX)], 3),
        ([{key: value for key, value in _child().items() if key != "platform"}], 1),
    ],
    ids=["none", "attestation", "nested", "unnamed"],
)
def test_an_index_without_an_image_for_the_target_is_no_image(
    home: House, children: list[dict[str, object]], status: int
) -> None:
    """Attestations don't count, an index in an index can hide a platform, and a child must say what it is for."""
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
    with WebServer(lambda _: Answer(headers={"Content-Type": INDEX}, body=body)) as registry:
        _settled(home, registry.origin)
        home.write("environment.yaml", f"name: e\nimage: {IMAGE}:1\n")
        assert home.check("environment.yaml").status == status


def test_a_manifest_is_what_its_bytes_and_its_server_both_call_it(home: House) -> None:
    """A manifest sent as an index, as a page, or with another digest than asked for decides nothing."""
    image = made_image()
    kind = {"value": INDEX}
    with WebServer(lambda _: Answer(headers={"Content-Type": kind["value"]}, body=image.manifest)) as registry:
        for digest, blob in image.blobs.items():
            registry.always(f"/v2/azureml/base/blobs/{digest}", Answer(body=blob))
        _settled(home, registry.origin)
        home.write("environment.yaml", f"name: e\nimage: {IMAGE}:1\n")
        for value, status in ((INDEX, 3), ("text/html", 3), (MANIFEST, 0)):
            kind["value"] = value
            assert home.check("environment.yaml").status == status
        home.write("environment.yaml", f"name: e\nimage: {IMAGE}:1@sha256:{'a' * 64}\n")
        ran = home.check("environment.yaml")
    assert (ran.status, ran.rules(IMAGE, "unknown")) == (3, ["integrity"])


def test_a_tag_that_moves_after_the_check_moves_nothing_that_was_locked(home: House, tmp_path: Path) -> None:
    """The lock has the digest that was judged, and so has the next verdict about it."""
    first, second = made_image(), made_image(variant="v2")
    with docker_registry(tmp_path / "registry") as registry:
        assert isinstance(registry, DockerRegistry)
        registry.push("azureml/base", first, "1")
        _settled(home, registry.url)
        home.write("environment.yaml", f"name: e\nimage: {IMAGE}:1\n")
        assert home.check("environment.yaml", "--lock", "azureml=out").status == 0
        registry.push("azureml/base", second, "1")
        ran = home.check("out/environment.yaml", "--stage", "production", now=NOW.replace(hour=13))
    assert (ran.status, ran.item(IMAGE)["digests"]) == (0, [str(first.digest)])
    assert first.digest != second.digest


@pytest.mark.parametrize(
    "reference",
    [
        "mcr.microsoft.com:443/azureml/base:1", "azureml/base:1", "docker.io/mcr.microsoft.com/azureml/base:1",
        "mcr.microsoft.com.evil.example.org/azureml/base:1", "evil.example.org/mcr.microsoft.com/azureml/base:1",
    ],
)  # fmt: skip
def test_a_reference_that_only_resembles_an_allowed_one_is_denied(home: House, reference: str) -> None:
    """Another port, Docker Hub's short form, and the registry's name within another one are other registries."""
    with WebServer() as registry:
        _settled(home, registry.origin)
        home.write("environment.yaml", f"name: e\nimage: {reference}\n")
        ran = home.check("environment.yaml")
        assert registry.asked == []
    assert (ran.status, _rules(ran.json)) == (1, ["repository"])


def test_an_image_is_found_wherever_azure_ml_would(home: House) -> None:
    """In nested pipelines, in components written out or in files, in schedules: none is passed over."""
    with WebServer() as registry:
        _settled(home, registry.origin)
        evil = "environment: {image: 'evil.example.org/x:1'}"
        home.write("component.yml", f"type: command\ncommand: x\n{evil}\n")
        command = f"{{type: command, command: x, {evil}}}"
        for place in (
            f"jobs: {{a: {{type: pipeline, jobs: {{b: {command}}}}}}}",
            f"jobs: {{a: {{type: command, component: {command}}}}}",
            "jobs: {a: {type: command, component: ./component.yml}}",
            "jobs: {a: {type: command, component: 'file:component.yml'}}",
            f"jobs: {{a: {{type: parallel, task: {{type: run_function, {evil}}}}}}}",
            f"jobs: {{a: {{type: sweep, trial: {command}}}}}",
        ):
            home.write("job.yml", f"type: pipeline\n{place}\n")
            ran = home.check("job.yml")
            assert (ran.status, ran.rules("evil.example.org/x")) == (1, ["repository"]), place


# --- where requests go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["channel", "prefix", "package", "pip", "lock", "image", "build", "conda_file"])
def test_no_url_of_a_users_file_is_requested(
    home: House, channel: CondaChannel, stranger: WebServer, form: str
) -> None:
    """Whatever a file names, its host is asked only if it is an upstream."""
    host = stranger.origin
    plain = f"{host.removeprefix('http://')}/x:1"
    environment = "channels: [{}, nodefaults]\ndependencies: ['{}']\n"
    files = {
        "channel": environment.format(f"acme, '{host}/c'", "libacme"),
        "prefix": environment.format("acme", f"{host}/c::libacme"),
        "package": environment.format("acme", f"{host}/c/linux-64/libacme-1.2-0.conda"),
        "pip": f"channels: [acme, nodefaults]\ndependencies: [python, pip, {{pip: ['x @ {host}/x-1-py3-none-any.whl']}}]\n",
        "lock": _lock(f"{host}/c"),
        "image": f"name: e\nimage: '{plain}'\n",
        "build": f"name: e\nbuild: {{path: '{host}/context.git'}}\n",
        "conda_file": f"name: e\nimage: '{plain}'\nconda_file: '{host}/conda.yml'\n",
    }
    home.write("given.yml", files[form])
    ran = home.check("given.yml")
    assert (ran.status in (1, 3), stranger.asked) == (True, [])


def _lock(url: str) -> str:
    entry = {
        "name": "libacme", "version": "1.2", "manager": "conda", "platform": "linux-64", "dependencies": {},
        "url": f"{url}/linux-64/libacme-1.2-0.conda", "hash": {"md5": "a" * 32, "sha256": "b" * 64},
        "category": "main", "optional": False,
    }  # fmt: skip
    metadata = {
        "content_hash": {"linux-64": "c" * 64}, "channels": [{"url": url, "used_env_vars": []}],
        "platforms": ["linux-64"], "sources": ["environment.yml"],
    }  # fmt: skip
    return json.dumps({"version": 1, "metadata": metadata, "package": [entry]})


def _always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


def test_a_redirect_of_a_registry_or_a_token_service_is_not_followed_away(home: House, stranger: WebServer) -> None:
    """Neither `Location` nor the realm of a challenge leads anywhere but to the registry itself."""
    answers = (
        Answer(status=307, headers={"Location": f"{stranger.origin}/v2/x"}),
        Answer(status=302, headers={"Location": "http://169.254.169.254/metadata/identity"}),
        Answer(status=401, headers={"WWW-Authenticate": f'Bearer realm="{stranger.origin}/token",service="x"'}),
        Answer(status=401, headers={"WWW-Authenticate": 'Bearer realm="http://168.63.129.16/token",service="x"'}),
    )
    for answer in answers:
        with WebServer(_always(answer)) as registry:
            _settled(home, registry.origin)
            home.write("environment.yaml", f"name: e\nimage: {IMAGE}:1\n")
            ran = home.check("environment.yaml")
        assert (ran.status, ran.rules(IMAGE, "unknown")) == (3, ["integrity"])
    assert stranger.asked == []


@pytest.mark.parametrize("host", ["stranger", "http://169.254.169.254", "http://168.63.129.16"])
def test_a_package_is_read_from_its_channel_and_nowhere_else(
    home: House, channel: CondaChannel, stranger: WebServer, host: str
) -> None:
    """A channel that sends for its packages to another host gets no verdict, and that host no request."""
    away = stranger.origin if host == "stranger" else host

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith(".conda"):
            return Answer(status=302, headers={"Location": f"{away}{asked.path}"})
        if asked.path.endswith("repodata.json"):
            return Answer(body=(channel.folder / asked.path.removeprefix("/acme/")).read_bytes())
        return Answer(status=404)

    with WebServer(answer) as front:
        home.channels = {"acme": f"{front.origin}/acme"}
        home.settle()
        home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [libacme]\n")
        ran = home.check("environment.yml")
    assert (ran.status, stranger.asked) == (3, [])


@pytest.mark.parametrize("form", ["userinfo", "token", "prefix", "package", "variables", "pip"])
def test_a_secret_in_an_environment_goes_no_further(home: House, channel: CondaChannel, form: str) -> None:
    """Logins, tokens in paths and values of variables are in no output, no entry and no evidence."""
    login = channel.url.replace("http://", f"http://user:{CANARY}@")
    token = channel.url.replace("/acme", f"/t/{CANARY}/acme")
    text = "channels: ['{}', nodefaults]\ndependencies: ['{}']\n"
    files = {
        "userinfo": text.format(login, "libacme"),
        "token": text.format(token, "libacme"),
        "prefix": text.format("acme", f"{token}::libacme"),
        "package": text.format("acme", f"{login}/linux-64/libacme-1.2-0.conda"),
        "variables": text.format("acme", "libacme") + f"variables: {{PIP_INDEX_URL: 'https://u:{CANARY}@e.example.org'}}\n",
        "pip": "channels: [acme, nodefaults]\ndependencies: [python, pip, "
        f"{{pip: ['--index-url https://u:{CANARY}@e.example.org/simple']}}]\n",
    }  # fmt: skip
    home.write("environment.yml", files[form])
    for report in ("text", "json", "sarif", "junit", "markdown"):
        ran = home.run("check", "environment.yml", "--report", report)
        assert ran.status in (1, 2)
        assert CANARY not in ran.out + ran.err
    stored = {name for name, data in home.stored().items() if CANARY.encode() in data}
    assert stored == {"environment.yml"}
