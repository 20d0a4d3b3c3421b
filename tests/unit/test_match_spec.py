"""Conda's MatchSpec: every form of it, what is refused and why, and that the solver reads what we make of it the same.

What a file of specs gives, form by form, stands in the corpus (`tests/corpus/*/spec/conda_environment`).
"""

import time
from collections.abc import Callable

import pytest
import rattler

from quarantine.model import Digest, Location, MatchSpec, Reference, ReferenceKind
from quarantine.spec.match_spec import channel_name, hide_token, parse_match_spec

HERE = Location(file="environment.yml", line=3)
SHA256 = "0123456789abcdef" * 4
VERSIONS = (
    "0.9",
    "1.2",
    "1.2.0",
    "1.2.3",
    "1.20",
    "1.8",
    "1.8.4",
    "1.9",
    "1.21",
    "1.21.2",
    "2",
    "2.0",
    "2.0.1",
    "1!2.0rc1+local_1",
)
BUILDS = ("py38_0", "py27_0", "py38h_0", "0")

# form -> (the canonical form, whether the solver's strict parser takes the form as it is)
FORMS = {
    "numpy": "numpy",
    "numpy *": "numpy",
    "numpy=*": "numpy",
    "NumPy": "numpy",
    "numpy 1.8*": "numpy[version='1.8.*']",
    "numpy 1.8.*": "numpy[version='1.8.*']",
    "numpy=1.21": "numpy[version='1.21.*']",
    "numpy =1.2": "numpy[version='1.2.*']",
    "numpy = 1.2": "numpy[version='1.2.*']",
    "numpy=1.2.*": "numpy[version='1.2.*']",
    "numpy==1.2.*": "numpy[version='1.2.*']",
    "numpy==1.21.2": "numpy[version='==1.21.2']",
    "numpy 1.21.2": "numpy[version='==1.21.2']",
    "numpy=1.21.2=py38h_0": "numpy[version='==1.21.2',build='py38h_0']",
    "numpy==1.21.2=py38h_0": "numpy[version='==1.21.2',build='py38h_0']",
    "numpy 1.8 py27_0": "numpy[version='==1.8',build='py27_0']",
    "numpy 1.8=py27_0": "numpy[version='==1.8',build='py27_0']",
    "numpy 1.8 *": "numpy[version='==1.8']",
    "numpy 1.8.* py38*": "numpy[version='1.8.*',build='py38*']",
    "numpy=1.8.* py38*": "numpy[version='1.8.*',build='py38*']",
    "numpy=*=py38_0": "numpy[build='py38_0']",
    "numpy >=1.8,<2|2.0": "numpy[version='>=1.8,<2|==2.0']",
    "numpy >= 1.8, < 2": "numpy[version='>=1.8,<2']",
    "numpy>=1.8,<1.9": "numpy[version='>=1.8,<1.9']",
    "numpy>=1.8.*": "numpy[version='>=1.8']",
    "numpy<1.9.*": "numpy[version='<1.9']",
    "numpy ~=1.8": "numpy[version='~=1.8']",
    "numpy !=1.8": "numpy[version='!=1.8']",
    "numpy !=1.8.*": "numpy[version='!=1.8.*']",
    "numpy=1.8|1.9": "numpy[version='1.8.*|==1.9']",
    "numpy=1.2,<1.2.3": "numpy[version='1.2.*,<1.2.3']",
    "numpy 1!2.0RC1+Local_1": "numpy[version='==1!2.0rc1+local_1']",
    "numpy[version='>=1.8,<2',build=py27_0]": "numpy[version='>=1.8,<2',build='py27_0']",
    'numpy[version="1.8"]': "numpy[version='==1.8']",
    "numpy[version==1.8]": "numpy[version='1.8.*']",
    "numpy 1.8[build=py38*]": "numpy[version='==1.8',build='py38*']",
    f"numpy[sha256={SHA256}]": f"numpy[sha256='{SHA256}']",
    f"numpy[md5={SHA256[:32].upper()}]": f"numpy[md5='{SHA256[:32]}']",
    f"numpy[version='==1.8',build='py38_0',sha256='{SHA256}']": (
        f"numpy[version='==1.8',build='py38_0',sha256='{SHA256}']"
    ),
}


def _matched(spec: rattler.MatchSpec) -> list[tuple[str, str]]:
    """The records of numpy that the solver's spec takes."""
    return [
        (version, build)
        for version in VERSIONS
        for build in BUILDS
        if spec.matches(
            rattler.PackageRecord(
                name=rattler.PackageName("numpy"),
                version=rattler.VersionWithSource(version),
                build=rattler.BuildString(build),
                build_number=0,
                subdir="linux-64",
            )
        )
    ]


@pytest.mark.parametrize(("text", "canonical"), FORMS.items(), ids=FORMS)
def test_every_form_has_one_canonical_form(text: str, canonical: str) -> None:
    """A form is read as conda reads it, and read again its canonical form says the same."""
    spec = parse_match_spec(text, HERE)

    assert str(spec) == canonical
    assert parse_match_spec(canonical, HERE) == spec


@pytest.mark.parametrize("text", FORMS)
def test_the_solver_reads_the_canonical_form_as_it_reads_the_form(text: str) -> None:
    """The strict parser takes the canonical form, and it matches the records that the lenient one finds for the form."""
    canonical = rattler.MatchSpec(str(parse_match_spec(text, HERE)), strict=True)
    original = rattler.MatchSpec(text, strict=False)

    assert (str(canonical.sha256), str(canonical.md5)) == (str(original.sha256), str(original.md5))
    if canonical.sha256 is None and canonical.md5 is None:
        assert _matched(canonical) == _matched(original) != []


def test_a_channel_and_a_subdir_stand_before_the_name() -> None:
    """They are kept apart from what the solver is given."""
    spec = parse_match_spec("conda-forge/linux-64::NumPy=1.2", HERE)

    assert spec == MatchSpec(name="numpy", version="1.2.*", channel="conda-forge", subdir="linux-64", location=HERE)


def test_a_channel_is_a_url_or_stands_in_brackets() -> None:
    """Both say the same."""
    before = parse_match_spec("https://conda.example.org/team/noarch::tool", HERE)
    inside = parse_match_spec("tool[channel='https://conda.example.org/team/', subdir=noarch]", HERE)

    assert (
        before
        == inside
        == MatchSpec(name="tool", channel="https://conda.example.org/team", subdir="noarch", location=HERE)
    )


def test_the_url_of_a_package_file_is_a_reference() -> None:
    """Its name says name, version and build; logins and tokens are not kept."""
    url = f"https://user:canary@conda.example.org/t/canary-1/c/linux-64/my-tool-1.2-py_0.conda#{SHA256}"
    spec = parse_match_spec(url, HERE)

    assert spec == MatchSpec(
        name="my-tool",
        version="==1.2",
        build="py_0",
        sha256=Digest.sha256(SHA256),
        reference=Reference(
            kind=ReferenceKind.URL, text="https://conda.example.org/t/***/c/linux-64/my-tool-1.2-py_0.conda"
        ),
        location=HERE,
    )


def test_the_path_of_a_package_file_is_a_reference() -> None:
    """The same for a file on the user's disk."""
    spec = parse_match_spec("../built/tool-0.1-0.tar.bz2", HERE)

    assert spec == MatchSpec(
        name="tool",
        version="==0.1",
        build="0",
        reference=Reference(kind=ReferenceKind.PATH, text="../built/tool-0.1-0.tar.bz2"),
        location=HERE,
    )


READ_DIFFERENTLY = {
    "bad spec!!": "'spec!!' is not a version: expected one like 1.21.2, 1!2.0 or 2.0+cu118",
    "numpy=1.2 py38_0": "'=1.2 py38_0' is read in two ways: write '=1.2=py38_0', or '1.2.* py38_0'",
    "numpy 1.2 =py38_0": "the blank before '=' in '1.2 =py38_0' is read in several ways: remove it",
    "numpy (>=1.2)": ("'(>=1.2)' has parentheses, which conda loses: write the alternatives out, as in >=1.8,<2|>=2.2"),
    "numpy !=1.2*": "'!=1.2*' is read in several ways: write !=1.2.*",
    "numpy >1.2.*": "'>1.2.*' is read in several ways: write >1.2",
    "numpy ~=1.2+cu1": ("'~=1.2+cu1': '~=' wants parts with a '.' between them and nothing else, such as ~=1.0"),
    "numpy 1.2 if linux": "'numpy 1.2 if linux' has a condition, which conda drops: write a file for each platform",
}


@pytest.mark.parametrize(("text", "message"), READ_DIFFERENTLY.items(), ids=READ_DIFFERENTLY)
def test_what_conda_and_the_solver_read_differently_is_refused(text: str, message: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ValueError) as caught:
        parse_match_spec(text, HERE)

    assert str(caught.value) == message


CHANNELS = {
    "conda-forge": "conda-forge",
    " nvidia/label/cuda-11.8 ": "nvidia/label/cuda-11.8",
    "https://conda.example.org/team/": "https://conda.example.org/team",
    "https://user:canary@conda.example.org/team": "https://conda.example.org/team",
    "https://conda.example.org/t/canary/team": "https://conda.example.org/t/***/team",
    "file:///srv/channel": "file:///srv/channel",
    "./channel": "./channel",
    "C:\\channel": "C:\\channel",
}


@pytest.mark.parametrize(("text", "name"), CHANNELS.items(), ids=CHANNELS)
def test_a_channel_is_named_without_its_login(text: str, name: str) -> None:
    """A name, a URL or a path; doing it twice changes nothing more."""
    assert channel_name(text) == name
    assert channel_name(name) == name


def test_a_token_of_conda_is_hidden_wherever_it_stands() -> None:
    """Conda looks for `/t/` in the whole of a URL."""
    assert (
        hide_token("https://host/a/t/canary/b and https://host/t/canary")
        == "https://host/a/t/***/b and https://host/t/***"
    )


@pytest.mark.parametrize(
    "text",
    [
        "n" * 100_000,
        "numpy " + "1." * 50_000,
        "numpy " + ">=1," * 25_000,
        "numpy[" + "a=b," * 25_000 + "]",
        "numpy " + "*" * 100_000,
        "/t/" * 33_000 + "::numpy",
        "https://" + "a/" * 50_000 + "x-1-0.conda",
        "(" * 50_000 + ")" * 50_000,
        " " * 100_000 + "x",
        "a" + " " * 100_000 + "x",
        "-" * 100_000 + ".conda",
    ],
)
def test_long_texts_are_read_in_no_time(text: str) -> None:
    """10^5 characters of anything take less than 100 ms, and are a refusal or a name."""
    start = time.perf_counter()
    told = [_told(parse_match_spec, text), _told(channel_name, text)]

    assert time.perf_counter() - start < 0.1
    assert [len(message) < 400 for message in told] == [True, True]


def _told(read: Callable[..., object], text: str) -> str:
    try:
        return str(read(text, HERE) if read is parse_match_spec else read(text))
    except ValueError as error:
        return str(error)
