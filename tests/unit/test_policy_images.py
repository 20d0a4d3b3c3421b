"""Images and curated environments: which upstream they are in, what its list says of them, and for which platforms."""

import pytest
from msgspec.structs import replace
from policy_samples import (
    LINUX,
    MACOS,
    MIXED,
    MIXED_POLICY,
    NOW,
    SNAPSHOT,
    conda,
    curated,
    image,
    item,
    judged,
    mixed_files,
    reference,
)

from quarantine.errors import ConfigError
from quarantine.model import CuratedEnvironment, Digest, Item, PackageFile, Target, Verdict
from quarantine.policy.channels import upstream_of_channel, upstream_of_curated, upstream_of_image
from quarantine.policy.load import load
from quarantine.policy.rules import Evidence, judge, verdict

PRODUCTION = MIXED_POLICY.stage("production")
MAR = "images.example.org/azureml/openmpi:1"
BY_DIGEST = f"{MAR}@sha256:{'e' * 64}"


def told(rule: str, of: Item, **known: object) -> str:
    """The rule's kind of answer and its message on one line."""
    outcome = judged(rule, of, stage=PRODUCTION, **known)  # type: ignore[arg-type]  # the tables name the arguments
    return f"{outcome.kind}: {outcome.message}"


@pytest.mark.parametrize(
    "of", [image(MAR), image(MAR, digest="e" * 64), curated("acpt-pytorch"), image("registry.example.org/ml/base/y")]
)
def test_what_a_list_names_is_allowed(of: Item) -> None:
    """An image of the list that its registry has passes, and so does a curated environment; their contents wait for gate."""
    outcomes = judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, NOW)

    assert verdict(outcomes) is Verdict.ALLOWED


def test_what_is_inside_is_not_judged_before_the_build() -> None:
    """No rule about packages claims anything about an image or a curated environment."""
    silent = ("typosquat", "project-status", "malware", "vulnerability", "minimum-age", "yanked", "source-only")

    for rule in silent:
        assert told(rule, image(MAR)) == "not-applicable: what an image holds is judged after the build, by gate"
        assert told(rule, curated("acpt-x")) == (
            "not-applicable: what an Azure ML environment holds is in its image, which gate judges"
        )


REPOSITORY = [
    (image(MAR), f"pass: {MAR} is from mar, whose list names it"),
    (image(MAR, digest="e" * 64), f"pass: {BY_DIGEST} is from mar, whose list names it"),
    (image("images.example.org/python"), "pass: images.example.org/python is from mar, whose list names it"),
    (
        image("images.example.org/azureml-evil/x:1"),
        (
            "fail: images.example.org/azureml-evil/x:1 is from mar, which is curated, and no entry of its list names "
            "images.example.org/azureml-evil/x: ask its curators for an entry, or file an exception"
        ),
    ),
    (
        image("images.example.org/azureml:1"),
        (
            "fail: images.example.org/azureml:1 is from mar, which is curated, and no entry of its list names "
            "images.example.org/azureml: ask its curators for an entry, or file an exception"
        ),
    ),
    (
        image("docker.io/library/python:3.11"),
        (
            "fail: docker.io/library/python:3.11 is in no registry of the policy (mar, team): "
            "take an image from there, or file an exception"
        ),
    ),
    (
        image("registry.example.org/ml/base/y:1"),
        "pass: registry.example.org/ml/base/y:1 is from team, which is open",
    ),
    (
        image("registry.example.org/ml/baseline/y:1"),
        (
            "fail: registry.example.org/ml/baseline/y:1 is in no registry of the policy (mar, team): "
            "take an image from there, or file an exception"
        ),
    ),
    (
        curated("acpt-pytorch"),
        "pass: azureml://registries/azureml/environments/acpt-pytorch/versions/3 is from azureml, whose list names it",
    ),
    (
        curated("acptevil"),
        (
            "fail: azureml://registries/azureml/environments/acptevil/versions/3 is from azureml, which is curated, "
            "and no entry of its list names acptevil: ask its curators for an entry, or file an exception"
        ),
    ),
    (
        curated("sklearn-1.5", registry="other"),
        (
            "fail: azureml://registries/other/environments/sklearn-1.5/versions/3 is in no registry of the policy (azureml): "
            "take an environment from there, or describe it by its image and its conda_file"
        ),
    ),
    (
        curated("sklearn-1.5", registry=None),
        (
            "fail: azureml:sklearn-1.5:3 is in a workspace, which is no registry of the policy (azureml): "
            "take an environment from there, or describe it by its image and its conda_file"
        ),
    ),
]


@pytest.mark.parametrize(("of", "expected"), REPOSITORY)
def test_repository(of: Item, expected: str) -> None:
    """Host and path decide where an image is from, on whole segments; an environment is its registry's, or nobody's."""
    assert told("repository", of) == expected


ENTRIES = [
    ("allow-entry", image(MAR), f"pass: {MAR} is allowed by images.example.org/azureml/* (mar.yaml:3): reviewed"),
    (
        "allow-entry",
        image("images.example.org/python"),
        "pass: images.example.org/python is allowed by images.example.org/python (mar.yaml:4): reviewed",
    ),
    (
        "allow-entry",
        image("images.example.org/pythons:1"),
        "not-applicable: no allow entry names images.example.org/pythons",
    ),
    (
        "deny-entry",
        image("images.example.org/azureml/old:1"),
        (
            "fail: images.example.org/azureml/old:1 is denied by images.example.org/azureml/old (mar.yaml:6): it is old: "
            "use another image, or ask sec"
        ),
    ),
    (
        "deny-entry",
        image("registry.example.org/ml/base/x/y:1"),
        (
            "fail: registry.example.org/ml/base/x/y:1 is denied by registry.example.org/ml/base/x/* (team.yaml:3): "
            "withdrawn: use another image, or ask sec"
        ),
    ),
    # the same path in another registry is another image
    ("deny-entry", image("images.example.org/x/y:1"), "pass: no deny entry reaches images.example.org/x/y:1"),
    (
        "allow-entry",
        curated("SKLEARN-1.5", None, label="latest"),
        (
            "pass: azureml://registries/azureml/environments/SKLEARN-1.5/labels/latest is allowed by "
            "sklearn-1.5 (azureml.yaml:4): reviewed"
        ),
    ),
    (
        "allow-entry",
        curated("acpt-x", None),
        (
            "pass: azureml://registries/azureml/environments/acpt-x/labels/latest is allowed by "
            "acpt-* (azureml.yaml:3): reviewed"
        ),
    ),
    (
        "deny-entry",
        curated("ACPT-Old"),
        (
            "fail: azureml://registries/azureml/environments/ACPT-Old/versions/3 is denied by acpt-old (azureml.yaml:6): "
            "it is old: use another environment, or ask sec"
        ),
    ),
]


@pytest.mark.parametrize(("rule", "of", "expected"), ENTRIES)
def test_entries(rule: str, of: Item, expected: str) -> None:
    """A list's names are paths in its own registry, and no way of writing them slips past a deny entry."""
    assert told(rule, of) == expected


NONE = PackageFile(filename="x", digest=None, size=None, upload_time=None, url="https://images.example.org/v2/x")


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (image(MAR), f"pass: {MAR} is sha256:{'d' * 64} in mar"),
        (
            image(MAR, artifacts=()),
            f"fail: mar has no such image as {MAR}: check its path, its tag and its digest",
        ),
        (image(MAR, artifacts=(), contradiction="429 for a minute"), f"unknown: {MAR}: 429 for a minute"),
        (image(MAR, artifacts=(NONE,)), "unknown: mar gives no sha256 for x: expected one, to know the bytes by"),
        (
            image("docker.io/library/python:3"),
            "not-applicable: no registry was asked for docker.io/library/python",
        ),
        (
            curated("acpt-x"),
            "not-applicable: a registry of Azure ML keeps each version of an environment as it is",
        ),
    ],
)
def test_integrity(of: Item, expected: str) -> None:
    """An image is known by the digest that its registry gives; one that isn't there is refused."""
    assert told("integrity", of) == expected


BOTH = ("linux/amd64", "linux/arm64/v8")


@pytest.mark.parametrize(
    ("of", "targets", "expected"),
    [
        (image(MAR, platforms=BOTH), (LINUX, MACOS), f"pass: {MAR} has an image for every target"),
        (
            image(MAR, platforms=BOTH),
            (LINUX, Target("3.11", "windows-x86_64")),
            (
                f"fail: {MAR} has no image for windows/amd64, only for linux/amd64, linux/arm64/v8: "
                "take one that has, or another target"
            ),
        ),
        (
            image(MAR, platforms=("linux/arm64",)),
            (LINUX, MACOS),
            f"fail: {MAR} is for linux/arm64 only: take one for linux/amd64, or another target",
        ),
        (image(MAR), (LINUX,), f"pass: {MAR} has an image for every target"),
        (image(MAR, platforms=()), (LINUX,), f"unknown: {MAR}: its platform is not known"),
        (image(MAR, artifacts=(), platforms=()), (LINUX,), f"not-applicable: no registry was found to have {MAR}"),
        (image(MAR, platforms=BOTH), (), f"unknown: {MAR}: no target is known to run it on"),
        (image(MAR, platforms=BOTH, platform="linux/amd64"), (LINUX,), f"pass: {MAR} has an image for every target"),
        (image(MAR, platforms=BOTH, platform="Linux/x86_64"), (LINUX,), f"pass: {MAR} has an image for every target"),
        (
            image(MAR, platforms=BOTH, platform="linux/arm64"),
            (LINUX,),
            (
                f"fail: {MAR} is asked for as linux/arm64, but judged for cp311-linux-x86_64: "
                "leave the platform out, or name its target in quarantine.yaml"
            ),
        ),
        (item(), (LINUX,), "not-applicable: only images are for a platform"),
    ],
)
def test_platform(of: Item, targets: tuple[Target, ...], expected: str) -> None:
    """There is an image for every target, and what the file asks for is what was judged."""
    assert told("platform", of, targets=targets) == expected


def test_only_conda_packages_are_native() -> None:
    """An image holds no distribution that is known, and is not a native package for that."""
    assert told("native", image(MAR)) == "not-applicable: only conda packages may be native"
    assert told("native", item()) == "not-applicable: only conda packages may be native"


def test_a_kind_without_any_upstream() -> None:
    """A policy without a registry has none to name."""
    text = (
        MIXED.replace("type: oci", "type: conda").replace(", entries: mar.yaml", "").replace(", entries: team.yaml", "")
    )
    files = mixed_files(
        text.replace('https://Images.example.org", mode: curated', 'https://i.example.org", mode: open')
    )
    loaded = load({name: data for name, data in files.items() if name not in ("mar.yaml", "team.yaml")}, now=NOW)

    outcome = judged("repository", image("docker.io/library/x:1"), stage=loaded.stage("production"))
    assert outcome.message == (
        "docker.io/library/x:1 is in no registry of the policy (it has none): take an image from there, or file an exception"
    )


# --- which upstream it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("forge", "forge"),
        ("lab", "lab"),
        ("conda-forge", "conda-forge"),
        ("conda-forge/", "conda-forge"),
        ("conda-forge/linux-64", "conda-forge"),
        ("conda-forge/noarch", "conda-forge"),
        ("conda-forge/label/main", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/", "conda-forge"),
        ("HTTPS://Conda.Anaconda.ORG:443/conda-forge/osx-arm64/", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/label/main/noarch", "conda-forge"),
        ("https://conda.example.org/lab", "lab"),
        ("defaults", "main"),
        ("pkgs/main", "main"),
        ("main", "main"),
        ("https://repo.anaconda.com/pkgs/main/win-64", "main"),
        ("conda-forge/label/broken", None),
        ("conda-forge/label/main/x", None),
        ("https://conda.example.org/forge/label/main", None),
        ("https://conda.anaconda.org/conda-forge-evil", None),
        ("https://conda.anaconda.org/Conda-Forge", None),
        ("http://conda.anaconda.org/conda-forge", None),
        ("https://conda.anaconda.org:8443/conda-forge", None),
        ("https://conda.anaconda.org/evil/../conda-forge", None),
        ("https://conda.anaconda.org//conda-forge", "conda-forge"),
        ("https://conda.anaconda.org/t/token/conda-forge", None),
        ("https://user@conda.anaconda.org/conda-forge", None),
        ("https://conda.anaconda.org/conda-forge?x", None),
        ("https://conda.anaconda.org.evil.example/conda-forge", None),
        ("https://conda.anaconda.org:x/conda-forge", None),
        ("https://[conda", None),
        ("x/../conda-forge", None),
        ("./conda-forge", None),
        ("/conda-forge", None),
        ("file:///conda-forge", None),
        ("conda-forge[linux-64]", None),
        ("pkgs/r", None),
        ("pypi", None),
        ("mar", None),
        ("", None),
    ],
)
def test_channels(name: str, expected: str | None) -> None:
    """A channel is the upstream whose name or address it is, as conda reads it, and no other that looks like one."""
    found = upstream_of_channel(MIXED_POLICY, name)

    assert (None if found is None else found.name) == expected


def test_the_name_defaults_is_the_policys_first() -> None:
    """An upstream that is called `defaults` is what a file means by that."""
    text = MIXED.replace("name: main,", "name: defaults,").replace(
        "repo.anaconda.com/pkgs/main", "conda.example.org/all"
    )
    found = upstream_of_channel(load(mixed_files(text), now=NOW), "defaults")

    assert found is not None
    assert found.url == "https://conda.example.org/all"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("images.example.org/azureml/x", "mar"),
        ("IMAGES.example.org/azureml/x", "mar"),
        ("images.example.org/evil", "mar"),
        ("images.example.org.evil.example/azureml/x", None),
        ("evil.example/images.example.org/azureml/x", None),
        ("images.example.org/azureml/../evil", None),
        ("images.example.org/", None),
        ("images.example.org//x", None),
        ("registry.example.org/ml/base/x", "team"),
        ("registry.example.org/ml/base", None),
        ("registry.example.org/ml/bases/x", None),
        ("registry.example.org/ml", None),
        ("registry.example.org:5000/ml/base/x", None),
    ],
)
def test_images(text: str, expected: str | None) -> None:
    """An image is in the registry of its host, below the registry's path, on a segment boundary."""
    found = upstream_of_image(MIXED_POLICY, reference(text))

    assert (None if found is None else found.name) == expected


def test_a_registry_on_another_port() -> None:
    """A port that isn't the scheme's own is part of the host; one that is, is not."""
    text = MIXED.replace("https://Images.example.org", "https://images.example.org:443").replace(
        "https://registry.example.org/ml/base", "http://127.0.0.1:5000"
    )
    loaded = load(mixed_files(text), now=NOW)

    assert [upstream.location for upstream in loaded.upstreams if upstream.type == "oci"] == [
        "images.example.org",
        "127.0.0.1:5000",
    ]
    assert [upstream.location for upstream in loaded.upstreams if upstream.url is None] == [""]
    found = upstream_of_image(loaded, reference("127.0.0.1:5000/x/y"))
    assert found is not None
    assert found.name == "team"


@pytest.mark.parametrize(
    ("registry", "expected"), [("azureml", "azureml"), ("AzureML", "azureml"), ("azureml2", None), (None, None)]
)
def test_curated(registry: str | None, expected: str | None) -> None:
    """An environment is in the registry that it names; a workspace is no upstream of anybody's."""
    named = CuratedEnvironment(registry=registry, name="x", version="1", location=reference("a/b").location)
    found = upstream_of_curated(MIXED_POLICY, named)

    assert (None if found is None else found.name) == expected


# --- upstreams in the policy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "azureml://registries/azureml",
            "https://ml.example.org",
            "policy.yaml:12:36: not a registry of Azure ML: expected one like azureml://registries/azureml",
        ),
        (
            "azureml://registries/azureml",
            "azureml://registries/a/environments/b",
            "policy.yaml:12:36: not a registry of Azure ML: expected one like azureml://registries/azureml",
        ),
        (
            "mode: curated, entries: azureml.yaml",
            "mode: curated, credentials: azure, entries: azureml.yaml",
            "policy.yaml:12:88: nothing is fetched from an azureml upstream: remove credentials",
        ),
        (
            "mode: curated, entries: mar.yaml",
            "mode: curated, minimum_age_days: 7, entries: mar.yaml",
            "policy.yaml:10:78: nothing of type oci has an age here: remove minimum_age_days",
        ),
        (
            "registry.example.org/ml/base",
            "registry.example.org/ML/base",
            "policy.yaml:11:29: 'ML/base' is no path of images: expected segments of a-z 0-9 . _ - between '/'",
        ),
        (
            "https://Images.example.org",
            "https://registry.example.org/ml/base/",
            "policy.yaml:11:29: an oci upstream of this url stands twice: also in line 10",
        ),
        (
            "https://Images.example.org",
            "https://[x",
            "policy.yaml:10:28: not a URL: expected one like https://packages.example.org/simple",
        ),
        (
            '"lab-*", upstream: lab',
            '"Lab-*", upstream: lab',
            "policy.yaml:14:6: 'Lab' is not a conda package's name: expected a-z 0-9 . _ -",
        ),
        (
            '"lab-*", upstream: lab',
            '"lab-*", upstream: mar',
            "policy.yaml:14:21: no upstream 'mar' of type pypi or conda: expected acme or vetted or pypi or forge or lab or conda-forge or main or mirror",
        ),
    ],
)
def test_what_upstreams_are_refused(before: str, after: str, expected: str) -> None:
    """An address is one of its kind, and nothing stands with an upstream that has no effect there."""
    assert before in MIXED
    with pytest.raises(ConfigError) as caught:
        load(mixed_files(MIXED.replace(before, after, 1)), now=NOW)

    assert str(caught.value).splitlines()[0] == expected


def test_one_name_may_be_reserved_in_two_ecosystems() -> None:
    """A private name is reserved for the index in one ecosystem and for the channel in the other."""
    loaded = load(mixed_files(MIXED.replace('"lab-*"', '"acme-*"')), now=NOW)
    stage = loaded.stage("production")

    assert judged("reserved-name", item("acme-x", upstream="acme"), stage=stage).kind == "pass"
    assert judged("reserved-name", conda("acme-x", "1", upstream="lab"), stage=stage).kind == "pass"
    assert judged("reserved-name", conda("acme-x", "1", upstream="forge"), stage=stage).kind == "fail"


def test_an_image_by_digest_alone() -> None:
    """A digest needs no tag to be allowed by an entry."""
    of = image("images.example.org/azureml/x", digest="e" * 64)

    assert (of.version, told("allow-entry", of)) == (
        None,
        (
            f"pass: images.example.org/azureml/x@sha256:{'e' * 64} is allowed by images.example.org/azureml/* "
            "(mar.yaml:3): reviewed"
        ),
    )
    missing = replace(of, artifacts=(), missing_digests=frozenset({Digest.sha256("e" * 64)}))
    assert judged("integrity", missing, stage=PRODUCTION).kind == "fail"
