"""Where things come from, for every spelling: no image, channel or version slips over a boundary that an entry draws."""

import re
import time

from hypothesis import assume, example, given
from hypothesis import strategies as st
from policy_samples import MIXED_POLICY, NOW, conda, image, judged, mixed_files, reference
from rattler import Version, VersionSpec

from quarantine.errors import ConfigError
from quarantine.model import OutcomeKind
from quarantine.policy.channels import upstream_of_channel, upstream_of_image
from quarantine.policy.conda_versions import is_conda_version, parse_conda_specifier
from quarantine.policy.explain import explain
from quarantine.policy.load import load

PRODUCTION = MIXED_POLICY.stage("production")
SEGMENT = st.from_regex(r"[a-z0-9]{1,4}([._-][a-z0-9]{1,3}){0,2}", fullmatch=True)
PATH = st.lists(st.sampled_from(["azureml", "python"]) | SEGMENT, min_size=1, max_size=4).map("/".join)
VERSION = st.from_regex(r"([0-9]!)?[0-9]{1,3}[a-c]?([._][0-9a-z]{1,3}){0,3}(\+[0-9a-z]{1,3})?", fullmatch=True)
CLAUSES = st.lists(st.tuples(st.sampled_from(["==", "!=", "<", ">", "<=", ">="]), VERSION), min_size=1, max_size=3)


@given(PATH)
def test_a_pattern_of_images_reaches_what_is_below_it_alone(path: str) -> None:
    """`azureml/*` allows a path exactly if its first segment is azureml and there is another one."""
    outcome = judged("repository", image(f"images.example.org/{path}"), stage=PRODUCTION)
    below = path.startswith("azureml/")

    assert (outcome.kind is OutcomeKind.PASS) is (below or path == "python")


@given(SEGMENT, PATH)
def test_no_neighbour_of_a_pattern_is_allowed(end: str, path: str) -> None:
    """What only begins like an allowed folder, or ends like one, is somebody else's."""
    for other in (f"azureml{end}/{path}", f"azureml-{end}/{path}", f"{end}/azureml/{path}", f"{end}azureml/{path}"):
        assert judged("repository", image(f"images.example.org/{other}"), stage=PRODUCTION).kind is OutcomeKind.FAIL


@given(st.sampled_from(["images.example.org", "registry.example.org/ml/base"]), SEGMENT, PATH)
def test_a_registry_is_its_host_and_path(location: str, end: str, path: str) -> None:
    """Below its location everything is a registry's, beside it nothing is, whatever comes before or after."""
    inside = upstream_of_image(MIXED_POLICY, reference(f"{location}/{path}"))

    assert inside is not None
    assert inside.location == location
    host, _, base = location.partition("/")
    for text in (f"{end}.{host}/{base}/{path}", f"{host}.{end}/{base}/{path}", f"{host}:{443}/{base}/{path}"):
        assert upstream_of_image(MIXED_POLICY, reference(text.replace("//", "/"))) is None
    if base:
        assert upstream_of_image(MIXED_POLICY, reference(f"{location}{end}/{path}")) is None


@given(st.text(max_size=40) | st.text(alphabet="azureml/.-_:@", max_size=20))
def test_whatever_stands_as_a_path_is_in_a_registry_only_as_a_path(text: str) -> None:
    """Dots, slashes and other signs never lead out of a folder: such a path is in no registry."""
    found = upstream_of_image(MIXED_POLICY, reference("images.example.org/x"))
    assert found is not None

    named = upstream_of_image(MIXED_POLICY, reference(f"images.example.org/{text.partition(':')[0]}"))
    grammar = re.fullmatch(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*", text.partition(":")[0])

    assert (named is found) is (grammar is not None)


@given(st.sampled_from(["forge", "lab"]), st.sampled_from(["linux-64", "noarch", "win-64"]), SEGMENT)
def test_a_channel_is_its_address(name: str, subdir: str, end: str) -> None:
    """An address with or without a subdir and a slash is one channel; one that goes on is another."""
    url = f"https://conda.example.org/{name}"
    for same in (url, f"{url}/", f"{url}/{subdir}", f"{url}/{subdir}/", url.replace("conda.e", "CONDA.E")):
        found = upstream_of_channel(MIXED_POLICY, same)
        assert found is not None
        assert found.name == name
    assume(end not in ("linux-64", "noarch", "win-64"))
    for other in (f"{url}{end}", f"{url}-{end}", f"{url}/label/{end}", f"{url}/../{end}", url.replace("https", "http")):
        assert upstream_of_channel(MIXED_POLICY, other) is None


@given(st.text(max_size=60))
@example("https://conda.example.org/forge\n")
@example("https://conda.example.org\\@evil.example/forge")
def test_whatever_stands_as_a_channel_is_answered(text: str) -> None:
    """Any text is an upstream or none; an upstream is never found in an address of another host."""
    found = upstream_of_channel(MIXED_POLICY, text)
    foreign = upstream_of_channel(MIXED_POLICY, f"https://evil.example/{text}")

    assert found is None or text.strip("/") != ""
    assert foreign is None


@given(CLAUSES, VERSION)
def test_conda_versions_are_compared_as_conda_does(clauses: list[tuple[str, str]], version: str) -> None:
    """What is written is what conda's library makes of it; a deny entry reaches at least what an allow entry does."""
    text = ",".join(f"{operator}{bound}" for operator, bound in clauses)
    specifier = parse_conda_specifier(text)
    contained = VersionSpec(text, strict=True).matches(Version(version))

    assert is_conda_version(version)
    assert specifier.denies(version) or not contained
    assert contained or not specifier.allows(version)
    assert specifier.denies(version) or not specifier.allows(version)
    if "+" not in version:
        assert specifier.allows(version) is specifier.denies(version) is contained


@given(CLAUSES, VERSION)
def test_the_complement_is_what_is_left(clauses: list[tuple[str, str]], version: str) -> None:
    """What a solver is told to keep to is every version that the entry doesn't speak of."""
    text = ",".join(f"{operator}{bound}" for operator, bound in clauses)
    specifier = parse_conda_specifier(text)
    assume("+" not in text + version)

    assert VersionSpec(specifier.complement, strict=True).matches(Version(version)) is not specifier.denies(version)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_conda_version_is_judged(version: str, specifier: str) -> None:
    """No version, however written, makes the rules fail, and none that can't be read passes a deny entry."""
    of = conda("xz", version, artifacts=())
    outcome = judged("deny-entry", of, stage=PRODUCTION)

    assert outcome.kind in (OutcomeKind.PASS, OutcomeKind.FAIL)
    try:
        parsed = parse_conda_specifier(specifier)
    except ValueError:
        return
    assert parsed.denies(version) or not parsed.allows(version)


@given(st.text(max_size=40), st.none() | st.text(max_size=10))
def test_any_name_is_explained_or_refused(name: str, version: str | None) -> None:
    """Whatever is asked about, the answer is an explanation or why it is no name."""
    refused = None
    try:
        explanations = explain(MIXED_POLICY, name, version, NOW)
    except ValueError as error:
        refused = str(error)
        explanations = ()

    assert bool(explanations) is (refused is None)


@given(
    st.sampled_from(["policy", "forge", "mar", "azureml"]),
    st.binary(max_size=100) | st.text(max_size=100).map(str.encode),
)
def test_any_bytes_are_a_policy_or_an_error(name: str, data: bytes) -> None:
    """Whatever stands in a list of whichever kind, the answer is a policy or an error that names the file."""
    problems = None
    try:
        load({**mixed_files(), f"{name}.yaml": data}, now=NOW)
    except ConfigError as error:
        problems = error.problems

    assert problems != ()


def test_the_cost_of_hostile_names_is_bounded() -> None:
    """A path, a channel and a version of 100,000 characters are answered at once."""
    started = time.perf_counter()
    for text in ("a" * 100_000, "a-" * 50_000, "a/" * 50_000, "1." * 50_000, "9" * 100_000):
        upstream_of_image(MIXED_POLICY, reference(f"images.example.org/{text}!"))
        upstream_of_channel(MIXED_POLICY, f"{text}!")
        upstream_of_channel(MIXED_POLICY, f"https://conda.example.org/{text}")
        assert judged("deny-entry", conda("xz", text), stage=PRODUCTION).kind is OutcomeKind.FAIL

    assert time.perf_counter() - started < 1
