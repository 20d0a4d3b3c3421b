"""The curators' files: what loads, and what is said of each thing that doesn't."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from packaging.version import Version
from policy_samples import NOW, POLICY, POLICY_IN_FORCE, PRODUCTION, PYPI, VETTED, files, policy, wheel

from quarantine.config import shipped
from quarantine.errors import ConfigError, UsageError
from quarantine.model import Ecosystem, IndexPage, parse_name
from quarantine.policy.entries import parse_pattern
from quarantine.policy.files import Mode
from quarantine.policy.load import Upstream, load, policy_sha256, schemas


def problems(policy_text: str = POLICY, pypi: str = PYPI, vetted: str = VETTED, **more: bytes) -> list[str]:
    """What is said of files that don't load."""
    with pytest.raises(ConfigError) as caught:
        load({**files(policy_text, pypi, vetted), **{f"{name}.yaml": data for name, data in more.items()}}, now=NOW)
    return str(caught.value).splitlines()


def test_the_policy_in_force() -> None:
    """Upstreams keep their order, and a stage's keys lie over the common ones."""
    assert POLICY_IN_FORCE.upstreams == (
        Upstream(
            name="acme",
            type=Ecosystem.PYPI,
            url="https://packages.example.org/simple",
            mode=Mode.OPEN,
            minimum_age_days=0,
        ),
        Upstream(name="vetted", type=Ecosystem.PYPI, url="https://vetted.example.org/simple", mode=Mode.CURATED),
        Upstream(name="pypi", type=Ecosystem.PYPI, url=None, mode=Mode.OPEN),
    )
    assert POLICY_IN_FORCE.stages == ("development", "production")
    assert POLICY_IN_FORCE.stage("development").rules.vulnerability.unknown_severity == "review"
    assert PRODUCTION.rules.vulnerability.unknown_severity == "deny"
    assert POLICY_IN_FORCE.upstream_of_reserved("acme-tools") == "acme"
    assert POLICY_IN_FORCE.upstream_of_reserved("acme") is None
    assert [POLICY_IN_FORCE.default_stage(command) for command in ("check", "lock")] == ["development", "production"]


def test_the_longest_reservation_counts() -> None:
    """An exact name is more than a prefix, and a long prefix more than a short one."""
    more = POLICY.replace(
        "default_stage:",
        "  - {name: acme-x-*, upstream: vetted, reason: theirs}\n"
        "  - {name: acme-x-y, upstream: pypi, reason: given away}\ndefault_stage:",
        1,
    )
    loaded = policy(more)

    assert [loaded.upstream_of_reserved(name) for name in ("acme-x", "acme-x-z", "acme-x-y")] == [
        "acme",
        "vetted",
        "pypi",
    ]


def test_an_unknown_stage_or_command_names_what_there_is() -> None:
    """A stage that doesn't exist is a mistake on the command line."""
    with pytest.raises(UsageError) as stage:
        POLICY_IN_FORCE.stage("test")
    with pytest.raises(UsageError) as command:
        POLICY_IN_FORCE.default_stage("doctor")

    assert str(stage.value) == "no stage 'test' in the policy: expected development or production"
    assert str(command.value) == (
        "the policy has no default stage for 'doctor': give --stage, development or production"
    )


def test_the_sha256_is_what_sha256sum_says() -> None:
    """The digest over a policy can be had without this tool: `sha256sum *.yaml | sha256sum`."""
    content = {"b.yaml": b"two", "a.yaml": b"one"}
    lines = f"{sha256(b'one').hexdigest()}  a.yaml\n{sha256(b'two').hexdigest()}  b.yaml\n"

    assert policy_sha256(content) == sha256(lines.encode()).hexdigest()
    assert policy().sha256 == policy_sha256(files())
    assert policy(POLICY + "\n").sha256 != policy().sha256


def test_all_problems_of_all_files_are_reported_together() -> None:
    """A curator sees everything that is wrong at once, each with its place."""
    assert problems(
        POLICY.replace("mode: open, minimum_age_days: 0", "mode: opened, minimum_age_days: -1, colour: red"),
        PYPI.replace("version: 1", "version: 2"),
        VETTED.replace("owner: ann", "owner: {}", 1),
    ) == [
        "policy.yaml:3:110: unknown key 'colour' (upstreams.0)",
        "policy.yaml:3:74: invalid enum value 'opened': expected open or curated (upstreams.0.mode)",
        "policy.yaml:3:88: expected a whole number >= 0 (upstreams.0.minimum_age_days)",
        "pypi.yaml:1:1: invalid enum value 2: expected 1 (version)",
        "vetted.yaml:3:40: expected text, got a mapping (allow.0.owner)",
    ]


UPSTREAM = "  - {name: pypi, type: pypi, mode: open, entries: pypi.yaml}\n"


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (
            "{name: PyPI, type: pypi, mode: open, entries: pypi.yaml}",
            "policy.yaml:5:6: 'PyPI' is no name for an upstream: expected up to 64 of a-z 0-9 . _ -",
        ),
        (
            "{name: acme, type: pypi, mode: open, entries: pypi.yaml}",
            "policy.yaml:5:6: upstream 'acme' stands twice: also in line 3",
        ),
        (
            '{name: a, type: pypi, url: "https://vetted.example.org/simple/", mode: open, entries: pypi.yaml}',
            "policy.yaml:5:27: a pypi upstream of this url stands twice: also in line 4",
        ),
        (
            '{name: a, type: pypi, url: "https://u:geheim@h.example.org/", mode: open, entries: pypi.yaml}',
            "policy.yaml:5:27: a url has no user, password, query or fragment: name the credentials under `credentials`",
        ),
        (
            '{name: a, type: pypi, url: "http://h.example.org/", mode: open, entries: pypi.yaml}',
            "policy.yaml:5:27: http://h.example.org isn't encrypted: expected https (http on this machine's loopback only)",
        ),
        (
            '{name: a, type: pypi, url: "file:///etc", mode: open, entries: pypi.yaml}',
            "policy.yaml:5:27: not a URL: expected one like https://packages.example.org/simple",
        ),
        (
            '{name: a, type: pypi, url: "https://[x", mode: open, entries: pypi.yaml}',
            "policy.yaml:5:27: not a URL: expected one like https://packages.example.org/simple",
        ),
        (
            "{name: a, type: pypi, mode: open, credentials: geheim, entries: pypi.yaml}",
            "policy.yaml:5:39: credentials say where they are kept, not what they are: expected env:NAME or azure",
        ),
        *(
            (
                f'{{name: a, type: {kind}, url: "https://x.example.org/p", mode: open, credentials: "env:{name}", entries: pypi.yaml}}',
                (
                    f"policy.yaml:5:{column}: the variable {name} is another system's, and what it holds goes nowhere else: "
                    "put the secret into a variable of its own, like QUARANTINE_SECRET, and name that"
                ),
            )
            for kind, column in (("pypi", 71), ("conda", 72), ("oci", 70))
            for name in ("AZURE_CLIENT_SECRET", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "System_AccessToken", "HOME")
        ),
        *(
            (
                f'{{name: a, type: pypi, url: "https://{host}/p", mode: open, credentials: azure, entries: pypi.yaml}}',
                (
                    f"policy.yaml:5:{58 + len(host)}: credentials: azure are for feeds of Azure Artifacts, and its tokens go "
                    "to nothing else: expected a url of pkgs.dev.azure.com or NAME.pkgs.visualstudio.com, or env:NAME"
                ),
            )
            for host in (
                "evil.example",
                "pkgs.dev.azure.com.evil.example",
                "evil-pkgs.visualstudio.com",
                "dev.azure.com",
            )
        ),
        ("{name: a, type: conda, mode: open}\n" + UPSTREAM, "policy.yaml:5:5: an upstream of type conda needs its url"),
        (
            "{name: a, type: pypi, mode: curated}\n" + UPSTREAM.replace("mode", 'url: "https://x.example.org", mode'),
            "policy.yaml:5:5: upstream a is curated but has no list: add `entries: FILE`",
        ),
        (
            "{name: a, type: pypi, mode: open, entries: no.yaml}",
            "policy.yaml:5:39: no list 'no.yaml' beside policy.yaml",
        ),
        (
            "{name: a, type: pypi, mode: open, entries: vetted.yaml}",
            "policy.yaml:5:39: list 'vetted.yaml' stands twice: also in line 4",
        ),
    ],
)
def test_upstreams(upstream: str, expected: str) -> None:
    """Every upstream has a name, an address that can be trusted, and a list where it needs one; no secret is repeated."""
    found = problems(POLICY.replace(UPSTREAM, f"  - {upstream}\n"))

    assert found[0] == expected
    assert "geheim" not in "".join(found)


@pytest.mark.parametrize("host", ["pkgs.dev.azure.com", "acme.pkgs.visualstudio.com", "PKGS.dev.azure.com"])
def test_feeds_of_azure_artifacts_take_its_tokens(host: str) -> None:
    """Those of whoever runs this, which go to no other host."""
    upstream = f'{{name: a, type: pypi, url: "https://{host}/p/_packaging/f/pypi/simple", mode: open, credentials: azure, entries: pypi.yaml}}'
    loaded = policy(POLICY.replace(UPSTREAM, f"  - {upstream}\n"))

    assert [upstream.credentials for upstream in loaded.upstreams if upstream.name == "a"] == ["azure"]


def test_loopback_may_do_without_encryption() -> None:
    """An index on this machine may be plain http."""
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80"):
        loaded = policy(POLICY.replace("https://packages.example.org/simple", f"http://{host}/simple/"))

        assert loaded.upstreams[0].url == f"http://{host}/simple"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            '"acme-*", upstream: acme',
            '"acme-*", upstream: mine',
            "policy.yaml:7:22: no upstream 'mine' of type pypi or conda: expected acme or vetted or pypi or mirror",
        ),
        (
            '"acme-*"',
            '"acme*"',
            (
                "policy.yaml:7:6: 'acme*' matches more than whole segments: "
                "expected a name or a prefix that ends in '-*', like 'azureml-*'"
            ),
        ),
        ("check: development", "check: dev", "policy.yaml:8:17: no stage 'dev': expected development or production"),
        (
            "gate: production",
            "gates: production",
            "policy.yaml:8:55: 'gates' judges nothing: expected check and lock and gate",
        ),
        (
            "threshold: {severity: medium}",
            "threshold: {severity: medium, score: 5}",
            "policy.yaml:11:19: a threshold is a severity or a score: expected one of the two",
        ),
        (
            "threshold: {severity: high}",
            "threshold: {}",
            "policy.yaml:16:21: a threshold is a severity or a score: expected one of the two",
        ),
        (
            '["--no-index"]',
            '["--no-index", "--extra-index-url"]',
            (
                "policy.yaml:13:43: '--extra-index-url' can't be called harmless: "
                "only --all-releases, --no-index, --pre, --use-feature can"
            ),
        ),
        (
            "  production: {}",
            "  Production: {}\n  production: {}",
            "policy.yaml:20:3: 'Production' is no name for a stage: expected up to 64 of a-z 0-9 . _ -",
        ),
        (
            "cve-2020-1",
            "MAL-2024-1",
            "policy.yaml:22:6: MAL-2024-1 is malware, which can't be ignored: remove this entry",
        ),
        (
            "cve-2020-1",
            "two words",
            "policy.yaml:22:6: 'two words' is not an advisory's identifier, like CVE-2018-18074",
        ),
        (
            "cve-2020-1",
            "CVE-2020-2",
            "policy.yaml:23:5: CVE-2020-2 of flawed under ignores stands twice: also in line 22",
        ),
        (
            "package: Flawed",
            "package: '\u212aeras'",
            "policy.yaml:22:22: '\\u212aeras' is not a package name: only ASCII letters, digits, '.', '-' and '_' may be used",
        ),
        (
            "stages: [development]",
            "stages: [test]",
            "policy.yaml:24:91: no stage 'test': expected development or production",
        ),
        (
            "stages: [development]",
            "stages: []",
            "policy.yaml:24:91: names no stage: leave `stages` out to mean all of them",
        ),
        (
            "severity: high}",
            "severity: huge}",
            "policy.yaml:16:33: invalid enum value 'huge': expected low, medium, high or critical (stages.development.vulnerability.threshold.severity)",
        ),
        (
            "locked: {required: false}",
            "lock: {required: false}",
            "policy.yaml:18:5: unknown key 'lock' (stages.development)",
        ),
    ],
)
def test_policy_yaml(before: str, after: str, expected: str) -> None:
    """What names something names what exists, and what can't be meant is refused."""
    assert before in POLICY
    assert problems(POLICY.replace(before, after, 1))[0] == expected


ENTRY = "{name: reqests, owner: ann, reason: honest, added: 2026-01-01, expires: 2027-01-01}"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            "{name: '*', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'*' matches more than whole segments: expected a name or a prefix that ends in '-*', like 'azureml-*'",
        ),
        (
            "{name: '-*', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'-*' matches more than whole segments: expected a name or a prefix that ends in '-*', like 'azureml-*'",
        ),
        (
            "{name: 'numpy*', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'numpy*' matches more than whole segments: expected a name or a prefix that ends in '-*', like 'azureml-*'",
        ),
        (
            "{name: 'a*-*', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'a*-*' matches more than whole segments: expected a name or a prefix that ends in '-*', like 'azureml-*'",
        ),
        (
            "{name: n\u0443mpy, owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'n\\u0443mpy' is not a package name: only ASCII letters, digits, '.', '-' and '_' may be used",
        ),
        (
            "{name: a, specifier: '2.0', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'2.0' is not a version specifier (PEP 440): expected one like '>=2.1,<3'",
        ),
        (
            "{name: a, specifier: '===2.0', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "'===2.0' compares text, not versions: write '==' instead of '==='",
        ),
        (
            "{name: a, specifier: 2.0, owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}",
            "expected text, got `float` (allow.0.specifier)",
        ),
        ("{name: a, owner: a, reason: b, added: 2026-01-01}", "missing key `expires` (allow.0)"),
        (
            "{name: a, owner: a, reason: b, added: 2026-01-01, expires: 2026-01-01}",
            "expires 2026-01-01, not after it was added (2026-01-01)",
        ),
        (
            "{name: a, owner: a, reason: b, added: 2026-11-26, expires: 2027-01-01}",
            "added 2026-11-26, which is yet to come",
        ),
        (
            "{name: a, owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01, allow_yanked: true}",
            "allow_yanked needs one name and one version: expected a specifier like '==2.1.0'",
        ),
        (
            "{name: a, specifier: '==2.*', owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01, allow_yanked: true}",
            "allow_yanked needs one name and one version: expected a specifier like '==2.1.0'",
        ),
        (
            f"{ENTRY}\n  - {{name: Reqests, owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01}}",
            "reqests under allow stands twice: also in line 3",
        ),
    ],
)
def test_entries(entry: str, expected: str) -> None:
    """An entry speaks of whole names and real versions, for a time that has begun and ends."""
    (found, *_) = problems(pypi=PYPI.replace(ENTRY, entry))

    assert found.split(": ", 1)[1] == expected
    assert found.startswith(("pypi.yaml:3:", "pypi.yaml:4:"))


def test_popular_names() -> None:
    """A popular name stands once, in whichever spelling."""
    assert problems(pypi=PYPI.replace("popular: [", "popular: [python-dateutil, ")) == [
        "pypi.yaml:11:45: python-dateutil under popular stands twice: also in line 11"
    ]


def test_popular_names_are_names() -> None:
    """What is no package's name can't be a popular one."""
    assert problems(pypi=PYPI.replace("popular: [requests", "popular: [not a name")) == [
        "pypi.yaml:11:11: 'not a name' is not a package name"
    ]


def test_names_and_specifiers_that_are_hostile() -> None:
    """A name without end and a specifier in other digits are refused, not read."""
    of = "owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01"

    assert problems(pypi=PYPI.replace(ENTRY, f"{{name: {'a' * 257}, specifier: '==\u0661', {of}}}"))[:2] == [
        "pypi.yaml:3:6: a name of 257 characters: at most 256 are read",
        "pypi.yaml:3:271: '==\\u0661' is not a version specifier (PEP 440): expected one like '>=2.1,<3'",
    ]


def test_lists_of_other_ecosystems() -> None:
    """Conda's and the registry's names have their own grammar, and so have conda's versions; images' have no order."""
    more = POLICY.replace(
        "reserved:\n",
        "  - {name: forge, type: conda, url: 'https://conda.example.org/forge', mode: open, entries: conda.yaml}\n"
        "  - {name: mar, type: oci, url: 'https://images.example.org', mode: curated, entries: mar.yaml}\nreserved:\n",
    )
    entry = "owner: a, reason: b, added: 2026-01-01, expires: 2027-01-01"

    assert problems(
        more,
        conda=f"version: 1\nallow:\n  - {{name: OpenSSL, {entry}}}\n  - {{name: numpy, specifier: '~=1', {entry}}}\n".encode(),
        mar=f"version: 1\nallow:\n  - {{name: 'azureml*', {entry}}}\n  - {{name: 'h/a:latest', {entry}}}\n  - {{name: a, specifier: '>1', {entry}}}\npopular: [a]\n".encode(),
    ) == [
        "conda.yaml:3:6: 'OpenSSL' is not a conda package's name: expected a-z 0-9 . _ -",
        (
            "conda.yaml:4:19: '~=1' is not a specifier of conda versions: "
            "expected comparisons like '==1.2.3' or '>=5.6.0,<5.6.2'"
        ),
        (
            "mar.yaml:3:6: 'azureml*' matches more than whole segments: "
            "expected a name or a prefix that ends in '/*', like 'azureml/*'"
        ),
        "mar.yaml:4:6: 'h/a:latest' is not an image's path: expected segments of a-z 0-9 . _ - between '/', no host or tag",
        "mar.yaml:5:15: versions of type oci have no order to compare them by: name the whole of it",
        "mar.yaml:6:1: names are compared in lists of type pypi only: remove `popular` here",
    ]


def test_a_list_that_nobody_names_is_a_mistake() -> None:
    """A list without an upstream would be a deny list without effect."""
    assert problems(extra=b"version: 1\n") == [
        (
            "policy.yaml:2:1: no upstream names 'extra.yaml', so it has no effect: "
            "add `entries: extra.yaml` to one, or remove the file"
        )
    ]


def test_without_a_policy() -> None:
    """A folder without policy.yaml is no policy, not an empty one."""
    with pytest.raises(ConfigError) as caught:
        load({"pypi.yaml": b"version: 1\n"}, folder="allowlists")

    assert str(caught.value) == "allowlists/policy.yaml: missing: a folder of allowlists has a policy.yaml"


# --- what the resolver is told ----------------------------------------------------------------------------------------


def test_constraints_of_an_open_index() -> None:
    """Exact deny entries keep the resolver away from a version; everything else waits for the page."""
    more = PYPI.replace(
        "deny:\n",
        "deny:\n  - {name: Demo, specifier: '==1.5', owner: s, reason: r, added: 2026-01-01}\n"
        "  - {name: demo, specifier: '==2.*', owner: s, reason: r, added: 2026-01-01}\n"
        "  - {name: demo, specifier: '==1.4', owner: s, reason: r, added: 2026-01-01, expires: 2026-11-23}\n",
    )

    assert policy(pypi=more).stage("production").constraints() == ("demo!=1.5", "demo!=2.*")


def test_constraints_of_curated_indexes() -> None:
    """Where every index is curated, what a single entry allows is all that the resolver may take."""
    curated = POLICY.replace("mode: open, minimum_age_days: 0", "mode: curated, entries: acme.yaml").replace(
        "type: pypi, mode: open, entries: pypi.yaml", "type: pypi, mode: curated, entries: pypi.yaml"
    )
    acme = b"version: 1\nallow:\n  - {name: delta, owner: a, reason: r, added: 2026-01-01, expires: 2027-01-01}\n"
    loaded = load({**files(curated), "acme.yaml": acme}, now=NOW)

    assert loaded.stage("production").constraints() == ("alpha<2,>=1", "gamma==2.0+cu118", "old==1.0")


def page(name: str, upstream: str, *versions: str) -> IndexPage:
    """An index page with a wheel of each version."""
    return IndexPage(
        upstream=upstream, name=parse_name(name), artifacts=tuple(wheel(name, version) for version in versions)
    )


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (page("worse", "pypi", "1.0", "2.0", "2.0rc1", "0.5"), ("0.5", "1.0", "2.0rc1")),
        (page("bad", "pypi", "1.0", "2.0"), ("1.0", "2.0")),
        (page("lapsed", "pypi", "1.0"), ()),
        (page("alpha", "vetted", "0.9", "1.0", "1.5+evil", "1.6rc1", "2.0"), ("0.9", "1.5+evil", "1.6rc1", "2.0")),
        (page("alpha", "pypi", "0.9", "1.0"), ()),
        (page("beta", "vetted", "1.0"), ("1.0",)),
        (page("demo", "pypi", "1.0"), ()),
    ],
)
def test_refused_versions(of: IndexPage, expected: tuple[str, ...]) -> None:
    """A page's versions that entries refuse are told one by one, so that another version can be resolved."""
    assert PRODUCTION.refused_versions(of) == tuple(map(Version, expected))
    assert PRODUCTION.denies(of.name) or not expected


# --- what ships -------------------------------------------------------------------------------------------------------


def _shipped() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shipped("allowlists").glob("*.yaml")}


def test_the_shipped_policy_loads() -> None:
    """The starting set is valid as it ships, with the repositories and the two stages."""
    loaded = load(_shipped(), now=datetime(2026, 11, 23, 12, tzinfo=UTC))

    assert [(u.name, u.type, u.mode, u.url is None) for u in loaded.upstreams] == [
        ("pypi", "pypi", "open", True),
        ("conda-forge", "conda", "open", False),
        ("mar", "oci", "curated", False),
        ("azureml", "azureml", "curated", False),
    ]
    assert [loaded.default_stage(command) for command in ("check", "lock", "gate")] == [
        "development",
        "production",
        "production",
    ]
    assert [loaded.stage(name).minimum_age.days for name in loaded.stages] == [7, 7]
    assert [loaded.stage(name).rules.vulnerability.threshold.severity for name in loaded.stages] == ["high", "medium"]
    assert [loaded.stage(name).native("conda-forge") for name in loaded.stages] == ["tolerate", "tolerate"]
    assert [loaded.stage(name).native("elsewhere") for name in loaded.stages] == ["deny", "deny"]
    assert loaded.stage("production").conda_constraints() == ("xz[version='>=5.6.2|<5.6.0']",)


def test_the_schemas_accept_what_ships_and_refuse_unknown_keys() -> None:
    """An editor that has the schemas says of these files what the loader says."""
    for name, data in _shipped().items():
        kind = "policy.schema.json" if name == "policy.yaml" else "list.schema.json"
        # dates are text in JSON, which is what a schema speaks of
        document = json.loads(msgspec.json.encode(yaml.safe_load(data)))
        validator = jsonschema.Draft202012Validator(schemas()[kind])

        assert list(validator.iter_errors(document)) == []
        assert [error.validator for error in validator.iter_errors({**document, "colour": "red"})] == [
            "additionalProperties"
        ]


def test_reading_the_shipped_policy_needs_no_files(tmp_path: Path) -> None:
    """Loading is pure: bytes in, policy out, wherever the process stands."""
    assert load(_shipped(), folder=str(tmp_path)).sha256 == policy_sha256(_shipped())


def test_a_pattern_of_images_keeps_to_whole_segments() -> None:
    """`azureml/*` is what lies below azureml, and nobody else's folder that begins like it."""
    pattern = parse_pattern("azureml/*", Ecosystem.OCI)

    assert pattern.matches("azureml/openmpi5.0-ubuntu24.04")
    assert pattern.matches("azureml/a/b")
    assert not any(map(pattern.matches, ("azureml-evil/x", "azureml", "azureml/", "x/azureml/y")))
