"""Whatever a package's author wrote, the pages say just that, and nothing beside it."""

import html
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from quarantine.archive.pages import parse_page
from quarantine.mirror.channel import CondaFile, read_repodata, repodata
from quarantine.mirror.simple import JSON_TYPE, SimpleFile, project_html, project_json, read_project
from quarantine.model import parse_name

NAME = parse_name("acme")
URL = "http://127.0.0.1:1/simple/acme/"
# what JSON can carry: no half of a pair of surrogates
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
SHA256 = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
TIME = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # the time zone is beside it


@st.composite
def files(draw: st.DrawFn) -> SimpleFile:
    version = f"{draw(st.integers(0, 30))}.{draw(st.integers(0, 30))}"
    return SimpleFile(
        filename=f"acme-{version}-{draw(st.sampled_from(['py3', 'cp311']))}-none-any.whl",
        sha256=draw(SHA256),
        size=draw(st.integers(0, 2**40)),
        upload_time=draw(TIME),
        requires_python=draw(st.sampled_from(["", ">=3.8", "!=3.9,<4"])),
        yanked=draw(st.none() | TEXT),
        metadata=draw(st.just("") | SHA256),
    )


@given(st.lists(files(), max_size=8, unique_by=lambda file: file.sha256), st.randoms())
def test_pages_say_what_they_were_made_of(listed: list[SimpleFile], chance: object) -> None:
    """Read back they give the same files, in any order the same bytes, and as HTML one link for each file and no more."""
    data = project_json(NAME, listed)

    assert set(read_project(NAME, data)) == set(listed)
    assert project_json(NAME, reversed(listed)) == data
    assert project_html(NAME, reversed(listed)) == project_html(NAME, listed)
    assert project_html(NAME, listed).count(b"<a ") == len(listed)
    json = parse_page(NAME, JSON_TYPE, URL, data).of("mirror").artifacts
    assert {(a.filename, a.yanked, a.size) for a in json} == {(f.filename, f.yanked, f.size) for f in listed}


@given(files())
def test_no_reason_breaks_out_of_its_attribute(file: SimpleFile) -> None:
    """The only tag that a file adds is its own link, and its reason is read back to the letter."""
    page = project_html(NAME, [file]).decode()
    body = page.partition("<body>")[2].partition("</body>")[0].strip()
    (artifact,) = parse_page(NAME, "text/html", URL, page.encode()).of("mirror").artifacts

    assert (body.count("<"), body.count(">")) == (3, 3)
    if file.yanked is None:
        assert artifact.yanked is None
    else:
        # a browser's parser reads some control characters as others
        assert artifact.yanked == html.unescape(html.escape(file.yanked))
    assert str(artifact.digest) == f"sha256:{file.sha256}"


@given(st.dictionaries(st.from_regex(r"[a-z0-9]{1,9}-1-0\.(conda|tar\.bz2)", fullmatch=True), TEXT, max_size=5))
def test_repodata_says_what_it_was_made_of(packages: dict[str, str]) -> None:
    """Whatever stands in a licence or a dependency."""
    records = {
        name: CondaFile(
            build="0", build_number=0, depends=(text,), license=text, name="x", sha256="a" * 64, size=1, subdir="noarch",
            version="1",
        )
        for name, text in packages.items()
    }  # fmt: skip

    assert read_repodata("noarch", repodata("noarch", records)) == records
