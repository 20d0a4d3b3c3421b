"""What the mirror's pages look like, to the byte, and what is read back from them."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from mirror_samples import NOW, package, wheel
from msgspec.structs import replace

from quarantine.archive.pages import parse_page
from quarantine.errors import IntegrityError
from quarantine.mirror.answers import accepted, segments
from quarantine.mirror.channel import (
    CondaFile,
    compress,
    conda_file,
    decompress,
    merged,
    read_repodata,
    repodata,
    subdir_of,
)
from quarantine.mirror.simple import (
    JSON_TYPE,
    SimpleFile,
    links_html,
    project_html,
    project_json,
    read_project,
    read_root,
    root_html,
    root_json,
    root_link,
    simple_file,
)
from quarantine.model import parse_name

A, B, C = "a" * 64, "b" * 64, "c" * 64
OLD = SimpleFile(filename="acme_lib-1.0-py3-none-any.whl", sha256=A, size=12, upload_time=NOW)
NEW = SimpleFile(
    filename="acme_lib-1.10+cu1-py3-none-any.whl",
    sha256=B,
    size=34,
    upload_time=NOW + timedelta(milliseconds=5),
    requires_python=">=3.8,<4",
    yanked='broken "here" & <there>',
    metadata=C,
)

PROJECT_JSON = (
    '{"meta":{"api-version":"1.1"},"name":"acme-lib","versions":["1.0","1.10+cu1"],"files":['
    '{"filename":"acme_lib-1.0-py3-none-any.whl",'
    f'"url":"../../files/{A}/acme_lib-1.0-py3-none-any.whl",'
    f'"hashes":{{"sha256":"{A}"}},"size":12,"upload-time":"2026-11-23T12:00:00Z"}},'
    '{"filename":"acme_lib-1.10+cu1-py3-none-any.whl",'
    f'"url":"../../files/{B}/acme_lib-1.10%2Bcu1-py3-none-any.whl",'
    f'"hashes":{{"sha256":"{B}"}},"size":34,"upload-time":"2026-11-23T12:00:00.005000Z",'
    '"requires-python":">=3.8,<4","yanked":"broken \\"here\\" & <there>",'
    f'"core-metadata":{{"sha256":"{C}"}}}}]}}'
)
PROJECT_HTML = f"""\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="1.1">
<title>Links for acme-lib</title>
</head>
<body>
<a href="../../files/{A}/acme_lib-1.0-py3-none-any.whl#sha256={A}">acme_lib-1.0-py3-none-any.whl</a><br>
<a href="../../files/{B}/acme_lib-1.10%2Bcu1-py3-none-any.whl#sha256={B}" data-requires-python="&gt;=3.8,&lt;4" \
data-yanked="broken &quot;here&quot; &amp; &lt;there&gt;" \
data-core-metadata="sha256={C}">acme_lib-1.10+cu1-py3-none-any.whl</a><br>
</body>
</html>
"""


def test_a_project_s_page_as_json() -> None:
    """PEP 691, with upload times and sizes (PEP 700), and the new name alone of PEP 714; in the order of versions."""
    assert project_json("Acme.Lib", [NEW, OLD, NEW]).decode() == PROJECT_JSON


def test_a_project_s_page_as_html() -> None:
    """PEP 503: everything from outside is escaped, and every address says the digest."""
    assert project_html("Acme.Lib", [NEW, OLD]).decode() == PROJECT_HTML


def test_the_flat_page_has_everything_one_folder_up() -> None:
    """For --find-links, which looks one folder up for files."""
    page = links_html([NEW, OLD]).decode()

    assert page == PROJECT_HTML.replace("../../files", "../files").replace("Links for acme-lib", "Links")


def test_the_page_of_all_projects() -> None:
    """As JSON and as HTML, sorted; a link to one of them is told by its own text."""
    assert root_json(["numpy", "acme-lib"]) == (
        b'{"meta":{"api-version":"1.1"},"projects":[{"name":"acme-lib"},{"name":"numpy"}]}'
    )
    assert root_html(["numpy", "acme-lib"]).decode().partition("<body>")[2] == (
        '\n<a href="acme-lib/">acme-lib</a><br>\n<a href="numpy/">numpy</a><br>\n</body>\n</html>\n'
    )
    assert root_link("numpy") in root_html(["numpy", "acme-lib"])
    assert root_link("lib") not in root_html(["numpy", "acme-lib"])
    assert read_root(root_json(["numpy", "acme-lib"])) == ("acme-lib", "numpy")


def test_our_own_reader_of_indexes_reads_both_pages() -> None:
    """What the check's reader makes of them is what was written; HTML has no sizes and no upload times."""
    name, url = parse_name("acme-lib"), "http://127.0.0.1:1/simple/acme-lib/"
    json = parse_page(name, JSON_TYPE, url, project_json(name, [OLD, NEW])).of("mirror").artifacts
    html = parse_page(name, "text/html", url, project_html(name, [OLD, NEW])).of("mirror").artifacts

    assert [
        (
            a.filename,
            str(a.digest),
            a.size,
            a.upload_time,
            a.yanked,
            str(a.requires_python or ""),
            str(a.metadata_digest),
        )
        for a in json
    ] == [
        (OLD.filename, f"sha256:{A}", 12, NOW, None, "", "None"),
        (NEW.filename, f"sha256:{B}", 34, NEW.upload_time, NEW.yanked, "<4,>=3.8", f"sha256:{C}"),
    ]
    assert [a.url for a in json] == [
        f"http://127.0.0.1:1/files/{A}/acme_lib-1.0-py3-none-any.whl",
        f"http://127.0.0.1:1/files/{B}/acme_lib-1.10%2Bcu1-py3-none-any.whl",
    ]
    assert html == tuple(replace(artifact, size=None, upload_time=None) for artifact in json)


def test_our_own_page_is_read_back() -> None:
    """What was written is what is read, so that the next file can be added to it."""
    assert read_project("acme-lib", project_json("acme-lib", [NEW, OLD])) == (OLD, NEW)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"name":"acme-lib"', '"name":"other"', "has another name, or an address of no file of its own"),
        (f"files/{A}", f"files/{B}", "has another name, or an address of no file of its own"),
        ("../../files", "https://example.org/files", "has another name, or an address of no file of its own"),
        ('"size":12', '"size":-1', "can't be read: Expected `int` >= 0 - at `$.files[0].size`"),
        ('"size":12', '"size":12,"more":1', "can't be read: Object contains unknown field `more` - at `$.files[0]`"),
        ('"1.1"', '"2.0"', "can't be read: Invalid enum value '2.0' - at `$.meta.api-version`"),
        (
            "acme_lib-1.0-py3-none-any.whl",
            "acme_lib-1.0.tar.gz",
            "can't be read: 'acme_lib-1.0.tar.gz' is not the name of a wheel",
        ),
        (
            '"core-metadata"',
            '"dist-info-metadata"',
            "can't be read: Object contains unknown field `dist-info-metadata` - at `$.files[1]`",
        ),
    ],
)  # fmt: skip
def test_a_page_that_isn_t_ours_is_refused(old: str, new: str, said: str) -> None:
    """Nobody but the publisher writes pages: what differs in any way is told, and not served."""
    with pytest.raises(IntegrityError) as error:
        read_project("acme-lib", PROJECT_JSON.replace(old, new, 1).encode())

    assert str(error.value).startswith(f"the mirror's page of 'acme-lib' {said}")


def test_a_page_of_all_projects_that_isn_t_ours_is_refused() -> None:
    """A name that is no project's would be a link to elsewhere."""
    with pytest.raises(IntegrityError) as error:
        read_root(root_json(["numpy"]).replace(b"numpy", b"../../x"))

    assert str(error.value) == "the mirror's page of all projects is not one that was published"


def test_a_file_as_its_dossier_describes_it() -> None:
    """Name and digest are the file's, size and time the mirror's, the rest what vetting found."""
    entry = wheel("acme-lib", "1.0.0", yanked="old")

    assert simple_file(replace(entry.found, requires_python="not a specifier"), 7, NOW) == SimpleFile(
        filename="acme_lib-1.0.0-py3-none-any.whl",
        sha256=entry.file.sha256,
        size=7,
        upload_time=NOW,
        yanked="old",
        metadata=entry.found.metadata,
    )


# --- conda ------------------------------------------------------------------------------------------------------------

INDEX = (
    '{"name": "tool", "version": "1.0", "build": "py_0", "build_number": 3, "depends": ["python >=3.8"], "subdir": "noarch", '
    '"noarch": "python", "license": "MIT", "timestamp": 1600000000000, "arch": null, "anything": {"else": 1}}'
)
TOOL = package(b"bytes", "tool-1.0-py_0.conda", INDEX)
RECORD = CondaFile(
    build="py_0",
    build_number=3,
    depends=("python >=3.8",),
    indexed_timestamp=1795435200000,
    license="MIT",
    md5="4b3a6218bb3e3a7303e8a171a60fcf92",
    name="tool",
    noarch="python",
    sha256=TOOL.file.sha256,
    size=5,
    subdir="noarch",
    timestamp=1600000000000,
    version="1.0",
)


def test_a_package_s_record_is_its_own_index_with_what_was_vetted() -> None:
    """What solvers read is kept, the rest left out; the mirror's own word on its age is when it took it in."""
    assert conda_file(TOOL.found, 5, NOW) == RECORD
    assert RECORD.published == datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_repodata_as_channels_have_it() -> None:
    """Both formats of packages, sorted, of one platform; the same records give the same bytes."""
    old = replace(RECORD, build="0", sha256=A, md5="0" * 32)
    data = repodata("noarch", {"tool-1.0-py_0.conda": RECORD, "tool-1.0-0.tar.bz2": old})

    assert msgspec.json.decode(data) == {
        "info": {"subdir": "noarch"},
        "packages": {"tool-1.0-0.tar.bz2": msgspec.json.decode(msgspec.json.encode(old))},
        "packages.conda": {"tool-1.0-py_0.conda": msgspec.json.decode(msgspec.json.encode(RECORD))},
        "removed": [],
        "repodata_version": 1,
    }
    assert read_repodata("noarch", data) == {"tool-1.0-py_0.conda": RECORD, "tool-1.0-0.tar.bz2": old}
    assert repodata("noarch", {"tool-1.0-0.tar.bz2": old, "tool-1.0-py_0.conda": RECORD}) == data
    assert decompress(compress(data)) == data


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (INDEX.replace('"tool"', '"other"'), "its info/index.json says ('other', '1.0', 'py_0'), expected ('tool', '1.0', 'py_0')"),
        (INDEX.replace('"1.0"', '"2.0"'), "its info/index.json says ('tool', '2.0', 'py_0'), expected ('tool', '1.0', 'py_0')"),
        ("", "its info/index.json can't be read: Input data was truncated"),
        ('{"name": 1}', "its info/index.json can't be read: Expected `str`, got `int` - at `$.name`"),
    ],
)  # fmt: skip
def test_a_package_that_calls_itself_another_is_refused(index: str, said: str) -> None:
    """Its own index must be of the package that was approved."""
    with pytest.raises(ValueError) as error:
        conda_file(replace(TOOL.found, index=index), 5, NOW)

    assert str(error.value) == f"tool-1.0-py_0.conda: {said}"


def test_a_channel_can_t_have_two_files_of_one_name() -> None:
    """The one that is there stays; who wants the other is told what to do."""
    other = replace(RECORD, sha256=B)

    with pytest.raises(ValueError) as error:
        merged({"tool.conda": RECORD}, {"tool.conda": other})

    assert str(error.value) == (
        f"noarch/tool.conda is in the mirror's channel with other bytes ({RECORD.sha256[:12]}): revoke the exception that it is "
        "there for, or do without this one"
    )
    assert merged({"tool.conda": RECORD}, {"tool.conda": other}, {RECORD.sha256}) == {"tool.conda": other}


def test_repodata_of_another_platform_is_refused() -> None:
    """Also where a single record is of another."""
    with pytest.raises(IntegrityError) as error:
        read_repodata("linux-64", repodata("noarch", {}))
    with pytest.raises(IntegrityError):
        read_repodata("linux-64", repodata("linux-64", {"tool.conda": RECORD}))

    assert str(error.value) == "the mirror's repodata of linux-64 is of another platform"


@pytest.mark.parametrize("text", ["", "..", "Linux-64", "linux/64", "linux-64\n"])
def test_what_is_no_platform_names_no_page(text: str) -> None:
    """A platform is the name of a page, too."""
    with pytest.raises(ValueError):
        subdir_of(text)


def test_what_is_no_zstandard_is_refused() -> None:
    """Not whatever the library says of it."""
    with pytest.raises(IntegrityError):
        decompress(b"not compressed")


# --- what a client asks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "html"),
        ("*/*", "html"),
        ("text/html", "html"),
        (JSON_TYPE, "json"),
        (f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01", "json"),
        (f"{JSON_TYPE};q=0.1, text/html;q=0.9", "html"),
        (f"{JSON_TYPE};q=0, text/html", "html"),
        (f"text/html, {JSON_TYPE}", "json"),
        ("application/vnd.pypi.simple.latest+json", "json"),
        ("image/png", None),
        (f"{JSON_TYPE};q=0", None),
    ],
)
def test_the_client_s_preference_decides_how_a_page_is_written(accept: str, kind: str | None) -> None:
    """PEP 691: by quality, of equals JSON; HTML for those that don't say."""
    assert accepted(accept) == kind


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/simple/", ("simple", "")),
        ("/simple/acme/", ("simple", "acme", "")),
        (f"/files/{A}/x-1%2Bcu.whl", ("files", A, "x-1+cu.whl")),
        ("/", ("",)),
        ("", None),
        ("simple/", None),
        ("//simple/", None),
        ("/simple/../etc/", None),
        ("/simple/%2e%2e/x", None),
        ("/simple/a%2fb/", None),
        ("/simple/a%5cb/", None),
        ("/simple/a%00/", None),
        ("/simple/%252e%252e/", None),
        ("/simple/ä/", None),
        ("http://elsewhere/simple/", None),
    ],
)
def test_a_path_is_taken_apart_once(path: str, parts: tuple[str, ...] | None) -> None:
    """Whatever any server or file system reads as a way elsewhere is no path."""
    assert segments(path) == parts
