"""What publishing and unlisting come to, in memory."""

import pytest
from fakes_log import MemoryLog
from fakes_store import MemoryStore
from mirror_samples import NOW, TOOL_INDEX, Mirror, package, wheel
from msgspec.structs import replace

from quarantine.audit.record import parse_entry
from quarantine.errors import ConflictError, IntegrityError, UpstreamError
from quarantine.exceptions import PublicationKind, Status
from quarantine.mirror.channel import read_repodata
from quarantine.mirror.simple import read_project, read_root
from quarantine.pipeline.publish import publish_all, unlist_all
from quarantine.policy.decide import decide, status


@pytest.fixture
def mirror() -> Mirror:
    """An empty mirror in memory."""
    store = MemoryStore()
    return Mirror(log=MemoryLog(), store=store, pages=store)


def project(mirror: Mirror, name: str) -> list[str]:
    """The digests on the page of a project."""
    page = mirror.pages.page(f"simple/{name}/index.json")
    assert page is not None
    return [file.sha256 for file in read_project(name, page.data)]


def projects(mirror: Mirror) -> tuple[str, ...]:
    """The names on the page of all projects."""
    page = mirror.pages.page("simple/index.json")
    assert page is not None
    return read_root(page.data)


def test_steps_stand_in_the_log_before_and_after(mirror: Mirror) -> None:
    """The digests of files and metadata with both, and the publisher's name; the exception is then published."""
    entry = wheel("acme")
    exception = mirror.published(entry)
    case = mirror.case(exception)
    steps = [(step.kind, step.files, step.metadata) for step in case.publications]

    files, metadata = (entry.file.sha256,), (entry.found.metadata,)
    assert steps == [(PublicationKind.PUBLISHING, files, metadata), (PublicationKind.PUBLISHED, files, metadata)]
    assert status(case, decide(case, mirror.policy, NOW, local=True)) is Status.PUBLISHED


def test_many_files_are_one_step_of_several_entries(mirror: Mirror) -> None:
    """A record has its limits; what is read of the log is one step all the same, and a second run writes nothing."""
    files = [wheel(f"acme-{number}") for number in range(250)]
    exception = mirror.published(*files)
    case = mirror.case(exception)
    log = mirror.log
    assert isinstance(log, MemoryLog)
    (stream,) = log.streams("log-publish")
    kinds = [parse_entry(line).type for line in log.lines(stream)]

    assert kinds.count("quarantine.exception.publishing.v1") == 2
    assert [len(step.files) for step in case.publications] == [250, 250]
    assert set(case.publications[0].files) == {file.file.sha256 for file in files}
    assert status(case, decide(case, mirror.policy, NOW, local=True)) is Status.PUBLISHED
    assert mirror.publish(exception) is False


def test_a_file_that_others_need_stays_when_one_exception_ends(mirror: Mirror) -> None:
    """Its page and its bytes; when the last one ends, both go, and the project is on no list."""
    entry = wheel("acme")
    one, other = mirror.published(entry), mirror.published(entry, project="another")

    mirror.unlist(one, keep=frozenset({entry.file.sha256}))
    assert project(mirror, "acme") == [entry.file.sha256]
    assert mirror.store.get("files", entry.file.digest) == entry.data
    mirror.unlist(other)
    assert (project(mirror, "acme"), projects(mirror)) == ([], ())
    assert list(mirror.store.digests("files")) == []


def test_metadata_that_another_file_has_too_stays(mirror: Mirror) -> None:
    """Two wheels of one version may say the same of themselves."""
    entry = wheel("acme")
    twin = entry.of(entry.data + b"\0", "acme-1.0-py2-none-any.whl")
    one, _ = mirror.published(entry), mirror.published(twin)

    mirror.unlist(one)

    assert project(mirror, "acme") == [twin.file.sha256]
    assert sorted(digest.hex for digest in mirror.store.digests("files")) == sorted(
        [twin.file.sha256, twin.found.metadata]
    )


def test_what_was_unlisted_can_be_published_again(mirror: Mirror) -> None:
    """With steps of its own, and the time of its own."""
    entry = wheel("acme")
    exception = mirror.published(entry)
    mirror.unlist(exception)
    mirror.publish(exception)

    assert [step.kind.value for step in mirror.case(exception).publications] == [
        "publishing", "published", "unlisting", "unlisted", "publishing", "published",
    ]  # fmt: skip
    assert project(mirror, "acme") == [entry.file.sha256]


def test_one_exception_that_can_t_be_published_holds_up_no_other(mirror: Mirror) -> None:
    """Bytes that are gone from the holding area are told, and the others are in the mirror."""
    good, bad = wheel("good"), wheel("bad")
    first, second = mirror.approve(bad), mirror.approve(good)
    store = mirror.store
    assert isinstance(store, MemoryStore)
    del store.stored["held", bad.file.digest]

    done = publish_all(
        mirror.publisher(), [(mirror.case(exception), mirror.approved(exception)) for exception in (first, second)]
    )

    assert [(changed.exception, [step.value for step in changed.steps]) for changed in done] == [
        (first, ["publishing"]),
        (second, ["publishing", "published"]),
    ]
    assert str(done[0].problem) == (
        f"bad-1.0-py3-none-any.whl is not in the holding area: quarantine exception vet {done[0].exception[:12]} brings it "
        "there"
    )
    assert projects(mirror) == ("good",)
    with pytest.raises(UpstreamError):
        mirror.publish(first)


def test_bytes_that_are_not_what_was_vetted_are_not_published(mirror: Mirror) -> None:
    """The holding area is no proof: they are hashed once more on their way."""
    entry = wheel("acme")
    exception = mirror.approve(entry)
    store = mirror.store
    assert isinstance(store, MemoryStore)
    store.stored["held", entry.file.digest] = entry.data[:-1] + b"x"

    with pytest.raises(IntegrityError):
        mirror.publish(exception)
    assert list(store.digests("files")) == []
    assert store.page("simple/acme/index.json") is None


def test_a_channel_s_name_that_is_taken_is_a_conflict(mirror: Mirror) -> None:
    """Also between two that are published in one go; the first keeps it."""
    one, other = (package(data, "tool-1-0.conda", TOOL_INDEX, subdir="linux-64") for data in (b"one", b"other"))
    first, second = mirror.approve(one), mirror.approve(other)

    done = publish_all(
        mirror.publisher(), [(mirror.case(exception), mirror.approved(exception)) for exception in (first, second)]
    )

    assert done[0].problem is None
    assert isinstance(done[1].problem, ConflictError)
    page = mirror.pages.page("conda/linux-64/repodata.json")
    assert page is not None
    assert [record.sha256 for record in read_repodata("linux-64", page.data).values()] == [one.file.sha256]


def test_a_dossier_of_another_exception_is_refused(mirror: Mirror) -> None:
    """What a page says of a file comes from the evidence that was approved."""
    exception, other = mirror.approve(wheel("acme")), mirror.approve(wheel("other"))
    case = replace(mirror.case(exception), dossiers=mirror.case(other).dossiers)

    with pytest.raises(IntegrityError) as error:
        mirror.publisher().publish(case, mirror.approved(exception))

    assert str(error.value) == f"exception {exception[:12]}: its dossier is about other files than its approval"


def test_nothing_is_said_of_what_never_was_in_the_mirror(mirror: Mirror) -> None:
    """A case that was rejected before has no steps."""
    exception = mirror.approve(wheel("acme"))

    assert mirror.unlist(exception) is False
    (changed,) = unlist_all(mirror.publisher(), [(mirror.case(exception), "rejected")], ())
    assert changed.steps == ()


def test_verify_tells_everything_that_is_wrong(mirror: Mirror) -> None:
    """Each with what to do about it; and nothing of what is right."""
    entry, other = wheel("acme"), wheel("other")
    tool = package(b"tool", "tool-1-0.conda", TOOL_INDEX, subdir="linux-64")
    exception = mirror.published(entry, other, tool)
    assert mirror.verify().problems == ()
    store = mirror.store
    assert isinstance(store, MemoryStore)
    store.stored["files", entry.file.digest] = entry.data + b"x"
    store.pages["simple/other/index.html"] = b"<html>"
    store.pages["simple/index.json"] = store.pages["simple/index.json"].replace(b"other", b"third")
    store.pages["conda/linux-64/repodata.json"] = store.pages["conda/linux-64/repodata.json"].replace(
        tool.file.sha256.encode(), b"0" * 64
    )

    assert mirror.verify().problems == (
        f"sha256:{entry.file.sha256} holds other bytes than its name says: stop and look who changed it",
        "the page simple/other/index.html doesn't say what the JSON beside it says: run `quarantine mirror index`",
        "the page of all projects doesn't name just those that have files: run `quarantine mirror index`",
        "the page simple/index.html doesn't say what the JSON beside it says: run `quarantine mirror index`",
        "the compressed repodata of linux-64 doesn't say what the other says: run `quarantine mirror index`",
        (
            f"exception {exception[:12]} is published, and tool-1-0.conda ({tool.file.sha256[:12]}) is on no page: run "
            "`quarantine mirror index`"
        ),
        f"a page names the file {entry.file.sha256}, which isn't there",
        f"a page names the file {'0' * 64}, which isn't there",
        f"a page names the file {'0' * 64}, for which no exception holds: run `quarantine exception process`",
    )


def test_index_empties_pages_of_nothing_and_leaves_what_is_right(mirror: Mirror) -> None:
    """What doesn't hold any more is listed nowhere; a second run writes nothing."""
    gone, stays = wheel("gone"), wheel("stays")
    ended, _ = mirror.published(gone), mirror.published(stays)
    mirror.revoke(ended)

    first, second = mirror.rebuild(), mirror.rebuild()

    assert (first.files, first.projects, first.written, first.problems) == (1, 1, 4, ())
    assert second.written == 0
    assert (project(mirror, "gone"), project(mirror, "stays"), projects(mirror)) == (
        [],
        [stays.file.sha256],
        ("stays",),
    )


def test_a_source_distribution_is_not_listed_and_not_served(mirror: Mirror) -> None:
    """Nobody may install it as it is; the exception is published all the same, with whatever else it is for."""
    entry, source = wheel("acme"), wheel("sourced")
    source = source.of(b"a source distribution", "sourced-1.0.tar.gz")
    exception = mirror.published(entry, source)
    case = mirror.case(exception)

    assert projects(mirror) == ("acme",)
    assert mirror.store.size("files", source.file.digest) is None
    assert status(case, decide(case, mirror.policy, NOW, local=True)) is Status.PUBLISHED
    assert mirror.verify().problems == ()
