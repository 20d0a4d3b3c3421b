"""What is read of conda's specs is what the solver reads, and everything else is refused in words."""

import rattler
from hypothesis import given
from hypothesis import strategies as st
from rattler.exceptions import InvalidMatchSpecError

from quarantine.model import Location, MatchSpec
from quarantine.spec.match_spec import parse_match_spec

HERE = Location(file="environment.yml", line=1)
SAMPLES = (
    "0.9", "1", "1.0.1_", "1.0.1a", "1.2", "1.2.0", "1.2.3", "1.2.3.4", "1.20", "1.2a", "1.2rc1", "1.2.dev0", "1.2.post1",
    "1.2+cu1", "1.2_3", "1.3", "2.0", "3.8.5", "1!1.2",
)  # fmt: skip
BUILDS = ("py38_0", "0")

_names = st.sampled_from(("numpy", "NumPy", "scikit-learn", "_openmp_mutex", "r.base", "libgcc4"))
_versions = st.sampled_from(
    (
        "1", "1.2", "1.2.3", "2.0", "1!1.2", "1.2rc1", "1.2.dev0", "1.2.post1", "1.2+cu1", "1.2_3", "1.2-3", "1.0.1_",
        "01.2", "v1.0", "latest", "1.2RC1", "1.2.", "1.*.3", "1.*", "1.2.*", "1.2*", "*", "1.2+cu1.*",
    )
)  # fmt: skip
_operators = st.sampled_from(("", "=", "==", "!=", "~=", ">=", "<=", ">", "<", "===", ">= ", "= "))
_terms = st.builds("{}{}".format, _operators, _versions)
_expressions = st.lists(_terms, min_size=1, max_size=3).flatmap(
    lambda terms: st.sampled_from((",", "|", ", ", " ,", " ")).map(lambda mark: mark.join(terms))
)
_builds = st.sampled_from(("", " py38_0", "=py38_0", " =0", "=py38*", " *", "=*", "= 0"))
_bare = st.builds("{}{}{}{}".format, _names, st.sampled_from((" ", "")), _expressions, _builds)
_quoted = st.builds("{}[version='{}']".format, _names, _expressions)
_texts = st.one_of(_bare, _quoted, _names)


def _told(text: str) -> tuple[MatchSpec | None, str]:
    """The spec and its canonical form, or what is said of a text that is none."""
    try:
        spec = parse_match_spec(text, HERE)
    except ValueError as error:
        return None, str(error)
    return spec, str(spec)


def _parsed(text: str) -> MatchSpec | None:
    return _told(text)[0]


def _solvers(text: str, *, strict: bool) -> rattler.MatchSpec | None:
    try:
        return rattler.MatchSpec(text, strict=strict)
    except InvalidMatchSpecError:
        return None


def _matched(spec: rattler.MatchSpec, name: str) -> list[tuple[str, str]]:
    return [
        (version, build)
        for version in SAMPLES
        for build in BUILDS
        if spec.matches(
            rattler.PackageRecord(
                name=rattler.PackageName(name),
                version=rattler.VersionWithSource(version),
                build=rattler.BuildString(build),
                build_number=0,
                subdir="linux-64",
            )
        )
    ]


@given(_texts)
def test_the_solver_reads_what_we_read(text: str) -> None:
    """What is accepted, the solver's strict parser takes in its canonical form, and both its parsers mean the same."""
    spec = _parsed(text)
    if spec is None:
        return
    ours = rattler.MatchSpec(str(spec), strict=True)

    for strict in (True, False):
        theirs = _solvers(text, strict=strict)
        if theirs is not None:
            assert _matched(theirs, spec.name) == _matched(ours, spec.name)


@given(_texts)
def test_the_canonical_form_is_a_fixed_point(text: str) -> None:
    """Read again, it says the same."""
    spec = _parsed(text)

    assert spec is None or parse_match_spec(str(spec), HERE) == spec


@given(_names, st.sampled_from(("1.2", "1.2.3", "2.0", "1!1.2", "1.2rc1")), st.sampled_from(("py38_0", "0")))
def test_every_way_of_pinning_is_one(name: str, version: str, build: str) -> None:
    """Name, version and build can be written in five ways that mean one thing."""
    ways = (
        f"{name} {version} {build}",
        f"{name}={version}={build}",
        f"{name}=={version}={build}",
        f"{name}=={version}[build={build}]",
        f"{name}[version='=={version}', build='{build}']",
    )

    assert {parse_match_spec(way, HERE) for way in ways} == {
        MatchSpec(name=name.lower(), version=f"=={version}", build=build, location=HERE)
    }


@given(st.one_of(st.text(max_size=60), st.text(alphabet="numpy=<>!~*.,|[]()'\"1-_ :/#;@$^\\\t", max_size=60)))
def test_anything_else_is_refused_in_words(text: str) -> None:
    """Any text is a spec, or a refusal of one printable line without credentials; what is accepted is plain ASCII."""
    spec, message = _told(text)

    assert message.isascii()
    assert message.isprintable()
    assert spec is None or _solvers(str(spec), strict=True) is not None
