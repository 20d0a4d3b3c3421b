"""Vetting a request: what is fetched, what is asked of whom, and the dossier that says all of it."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from exception_records import NOON, PUBLISHER, entry_id
from fakes_advisories import SNAPSHOT, FakeAdvisories
from fakes_conda import CondaPackage
from fakes_index import FakeIndex, Release, World
from msgspec.structs import replace
from packaging.utils import NormalizedName
from vetting_parts import POLICY_SHA, Desk, FakeAttestations, conda, outcomes_of, policy, python

from quarantine.archive.inspection import CHECKS
from quarantine.audit.events import attached_draft
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import Attached, DossierFile, DossierSummary, ExceptionCase, Grant, Grants
from quarantine.model import Digest, Finding, IndexPage, Licences, Outcome, OutcomeKind, Severity
from quarantine.policy.entries import Publisher
from quarantine.ports import Tell

CORE = Release(name="core", version="1.0")
SDIST = Release(name="core", version="1.0", source=True)
YOUNG_SDIST = Release(name="core", version="1.0", source=True, upload_time="2026-11-22T00:00:00Z")
HIGH = Finding(id="PYSEC-1", aliases=("CVE-1",), severity=Severity.HIGH, score="7.5", fixed=("2.0",))
MALWARE = Finding(id="MAL-1", malware=True)
INSIDE = CondaPackage(name="pack", version="1.0", distributions=(("core", "1.0", ()),))
RULES = [
    "repository",
    "deny-entry",
    "allow-entry",
    "reserved-name",
    "typosquat",
    "direct-reference",
    "project-status",
    "malware",
    "vulnerability",
    "minimum-age",
    "yanked",
    "source-only",
    "integrity",
    "native",
    "platform",
    "exception",
]


def summary(case: ExceptionCase, sha: str, **changed: object) -> DossierSummary:
    """A summary that has nothing against the files of a case, but for what is changed."""
    found = DossierSummary(
        time=NOON,
        sha256=sha,
        files=tuple(file.sha256 for file in case.files),
        policy=POLICY_SHA,
        advisories=SNAPSHOT.sha256,
        binding=case.binding,
        by=PUBLISHER,
    )
    return replace(found, **changed)


def vetted(desk: Desk, case: ExceptionCase, **changed: object) -> DossierSummary:
    """What vetting came to, after it was held against what was expected and what the log now says."""
    found = desk.vetting().vet(case)

    assert found == summary(case, found.sha256, **changed)
    assert case.request is not None
    assert desk.case(case.request).dossiers == (*case.dossiers, found)
    return found


# --- wheels -----------------------------------------------------------------------------------------------------------


def test_a_wheel_with_nothing_against_it() -> None:
    """Every check is answered, the bytes are held, and metadata and the raw report lie beside the dossier by digest."""
    core = Release(name="core", version="1.0", requires=("base",), requires_python=">=3.9")
    desk = Desk(upstreams={"pypi": (core, Release(name="base", version="2.0"))})
    case = desk.ask(python(core))

    found = vetted(desk, case)

    dossier = desk.dossier(found.sha256)
    (file,) = dossier.files
    rules = [outcome.rule for outcome in file.outcomes]
    assert rules == ["digest", *CHECKS, "provenance", "licence", "dependencies", *RULES]
    assert {outcome.kind for outcome in file.outcomes} == {OutcomeKind.PASS, OutcomeKind.NOT_APPLICABLE}
    assert replace(file, outcomes=(), reports=()) == DossierFile(
        file=python(core),
        outcomes=(),
        metadata=sha256(core.core_metadata).hexdigest(),
        requires_python=">=3.9",
        licence="MIT",
        upload_time=datetime(2024, 1, 1, tzinfo=UTC),
        requires=("base",),
        md5=file.md5,
    )
    assert (dossier.exception, dossier.project, dossier.stage, dossier.time) == (case.id, "demo", "production", NOON)
    assert (dossier.policy, dossier.advisories) == (POLICY_SHA, SNAPSHOT.sha256)
    assert desk.store.get("evidence", Digest.sha256(file.metadata)) == core.core_metadata
    assert len(file.reports) == 1
    assert b'"archive is well"' in desk.store.get("evidence", Digest.sha256(file.reports[0]))
    assert (desk.held(), desk.source.fetched) == ([core.digest.hex], [("pypi", "core-1.0-py3-none-any.whl")])
    assert outcomes_of(dossier, "digest", "dependencies") == [
        ("digest", OutcomeKind.PASS, "core-1.0-py3-none-any.whl is what pypi lists, by digest"),
        (
            "dependencies",
            OutcomeKind.PASS,
            "core 1.0 needs 1 package, which has a version that passes, or is asked for",
        ),
    ]


def test_what_is_held_is_not_fetched_again() -> None:
    """Vetting again looks into the bytes that were brought in before."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    vetted(desk, case)

    desk.vetting().vet(case)

    assert desk.source.fetched == [("pypi", "core-1.0-py3-none-any.whl")]
    assert desk.inspector.seen == ["core-1.0-py3-none-any.whl"] * 2


def test_files_are_vetted_each_for_itself() -> None:
    """One file that something is found in says nothing of another one; keys name the package."""
    other = Release(name="other", version="2.0")
    desk = Desk(upstreams={"pypi": (CORE, other)})
    desk.inspector.instead["other-2.0-py3-none-any.whl"] = Outcome(
        rule="pickle", kind=OutcomeKind.UNKNOWN, message="it can't be told"
    )
    desk.inspector.licences["core-1.0-py3-none-any.whl"] = Licences(expression="GPL-3.0-only")
    desk.policy = policy(licence="{allowed: [MIT], unknown: deny}")

    vetted(desk, desk.ask(python(CORE), python(other)), failures=("core 1.0 licence",), unknowns=("other 2.0 pickle",))


@pytest.mark.parametrize(
    ("release", "failures", "unknowns"),
    [
        (Release(name="core", version="1.0", yanked="broken"), ("core 1.0 yanked",), ()),
        (Release(name="core", version="1.0", upload_time="2026-11-20T12:00:00Z"), ("core 1.0 minimum-age",), ()),
        (Release(name="core", version="1.0", upload_time=None), (), ("core 1.0 minimum-age",)),
    ],
    ids=["yanked", "young", "undated"],
)
def test_what_an_owner_says_of_its_file(release: Release, failures: tuple[str, ...], unknowns: tuple[str, ...]) -> None:
    """Yanked, too young, and of no age that anybody knows: an approval must waive it."""
    desk = Desk(upstreams={"pypi": (release,)})

    found = vetted(desk, desk.ask(python(release)), failures=failures, unknowns=unknowns)

    (file,) = desk.dossier(found.sha256).files
    assert file.yanked == release.yanked


def test_a_flaw_is_waived_by_its_id_and_malware_never() -> None:
    """A flaw is a failure of its own; malware is final."""
    desk = Desk(upstreams={"pypi": (CORE,)}, advisories=FakeAdvisories({("core", "1.0"): (MALWARE, HIGH)}))

    found = vetted(
        desk, desk.ask(python(CORE)), failures=("core 1.0 vulnerability:CVE-1",), final=("core 1.0 malware",)
    )

    assert desk.dossier(found.sha256).files[0].findings == (MALWARE, HIGH)


def test_more_than_one_approval_can_name_is_final() -> None:
    """A dossier always fits into its record; the evidence has all of it."""
    many = tuple(replace(HIGH, id=f"CVE-2026-{number:05}", aliases=()) for number in range(400))
    desk = Desk(upstreams={"pypi": (CORE,)}, advisories=FakeAdvisories({("core", "1.0"): many}))

    found = vetted(
        desk,
        desk.ask(python(CORE)),
        final=("more than one approval can name: ask for the packages in several requests",),
    )

    assert len(desk.dossier(found.sha256).files[0].findings) == 400


@pytest.mark.parametrize(
    ("declared", "rule", "failures", "unknowns"),
    [
        (Licences(expression="GPL-3.0-only"), "{allowed: [MIT]}", ("core 1.0 licence",), ()),
        (Licences(), "{unknown: deny}", ("core 1.0 licence",), ()),
        (Licences(), "{unknown: review}", (), ("core 1.0 licence",)),
        (Licences(), "{unknown: tolerate}", (), ()),
        (Licences(expression="MIT OR GPL-3.0-only"), "{allowed: [MIT]}", (), ()),
    ],
)
def test_a_licence_is_held_against_the_policy(
    declared: Licences, rule: str, failures: tuple[str, ...], unknowns: tuple[str, ...]
) -> None:
    """Denied, not told, or allowed: by the stage's rule."""
    desk = Desk(upstreams={"pypi": (CORE,)}, policy=policy(licence=rule))
    desk.inspector.licences["core-1.0-py3-none-any.whl"] = declared

    vetted(desk, desk.ask(python(CORE)), failures=failures, unknowns=unknowns)


def test_an_archive_that_deceives_is_final() -> None:
    """What the inspector holds against the archive itself is waived by nobody."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.inspector.instead["core-1.0-py3-none-any.whl"] = Outcome(
        rule="archive", kind=OutcomeKind.FAIL, message="two members have one name"
    )

    vetted(desk, desk.ask(python(CORE)), final=("core 1.0 archive",))


# --- bytes that aren't what was asked for -----------------------------------------------------------------------------


def test_bytes_that_were_swapped_since_are_not_held() -> None:
    """The index lists the digest still, and serves something else: final, and nothing is looked into or kept."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.source.blobs[CORE.digest.hex] = b"other bytes"

    found = vetted(desk, desk.ask(python(CORE)), final=("core 1.0 digest",))

    assert (desk.held(), desk.inspector.seen) == ([], [])
    assert outcomes_of(desk.dossier(found.sha256), "digest") == [
        (
            "digest",
            OutcomeKind.FAIL,
            "core-1.0-py3-none-any.whl: its bytes don't have the sha256 that pypi lists for it",
        )
    ]


def test_a_file_that_is_too_large_is_not_held() -> None:
    """The limit is the stage's, in MiB."""
    large = b"x" * (1024 * 1024 + 1)
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.source.blobs[CORE.digest.hex] = large

    vetted(desk, desk.ask(python(CORE)), final=("core 1.0 digest",))

    assert desk.held() == []


@pytest.mark.parametrize("kept", [False, True])
def test_a_file_that_vanished_is_nobodys(kept: bool) -> None:
    """Its owner lists other bytes now, or none: final, also where the old ones are in the holding area still."""
    other = Release(name="core", version="1.0", requires=("base",))
    desk = Desk(upstreams={"pypi": (other, Release(name="base", version="1.0"))})
    if kept:
        desk.store.put("held", CORE.data)
    found = vetted(desk, desk.ask(python(CORE)), unknowns=("core 1.0 minimum-age",), final=("core 1.0 digest",))

    (said,) = outcomes_of(desk.dossier(found.sha256), "digest")
    assert said[2] == (
        "core-1.0-py3-none-any.whl: pypi lists no file of this digest any more"
        if kept
        else "core-1.0-py3-none-any.whl: pypi lists no file of this digest, and none is held"
    )
    assert desk.source.fetched == []


def test_a_name_that_nobody_has_any_more_is_nobodys() -> None:
    """The whole project was taken down."""
    desk = Desk(upstreams={"pypi": ()})

    vetted(desk, desk.ask(python(CORE)), failures=("core 1.0 repository",), final=("core 1.0 digest",))


def test_a_request_does_not_choose_whose_file_it_is() -> None:
    """How many must approve goes by the upstream: a file of acme's that is asked for as pypi's is refused, unfetched."""
    desk = Desk(upstreams={"acme": (CORE,), "pypi": (CORE,)})

    found = vetted(desk, desk.ask(python(CORE, "pypi")), final=("core 1.0 digest",))

    assert outcomes_of(desk.dossier(found.sha256), "digest") == [
        (
            "digest",
            OutcomeKind.FAIL,
            "core-1.0-py3-none-any.whl was asked for as pypi's, and acme has the name core",
        )
    ]
    assert (desk.source.fetched, desk.held()) == ([], [])


def test_held_bytes_that_were_changed_are_noticed() -> None:
    """The holding area says what is wrong by the digest: final, and not looked into."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    desk.store.stored["held", CORE.digest] = b"changed"

    vetted(desk, case, final=("core 1.0 digest",))

    assert desk.inspector.seen == []


def test_a_file_that_is_held_must_be_within_the_limit_and_of_its_size() -> None:
    """What lies in the holding area was measured before; a smaller limit of today, or another size, is final."""
    large = b"x" * (1024 * 1024 + 1)
    desk = Desk(upstreams={"pypi": (CORE,)})
    odd = replace(python(CORE), size=1)
    too_large = replace(python(CORE), sha256=sha256(large).hexdigest(), size=None)
    desk.store.put("held", CORE.data)
    desk.store.put("held", large)

    found = [desk.dossier(desk.vetting().vet(desk.ask(file)).sha256) for file in (odd, too_large)]

    assert [outcomes_of(dossier, "digest")[0][2] for dossier in found] == [
        f"core-1.0-py3-none-any.whl: {len(CORE.data)} bytes are held, 1 were asked for",
        "core-1.0-py3-none-any.whl has more than the 1048576 bytes that are looked into",
    ]


def test_a_file_that_its_owner_calls_otherwise_is_final() -> None:
    """The same bytes under another name would be installed as something else."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    other = replace(python(CORE), filename="core-1.0-py2.py3-none-any.whl")
    desk.inspector.metadata[other.filename] = CORE.core_metadata

    found = vetted(desk, desk.ask(other), final=("core 1.0 digest",))

    assert outcomes_of(desk.dossier(found.sha256), "digest") == [
        (
            "digest",
            OutcomeKind.FAIL,
            "pypi calls the file core-1.0-py3-none-any.whl, expected core-1.0-py2.py3-none-any.whl",
        )
    ]


def test_an_inspection_of_other_bytes_is_none() -> None:
    """What the inspector says that it looked into must be what is held."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.inspector.swapped = True

    found = vetted(desk, desk.ask(python(CORE)), final=("core 1.0 digest",))

    assert outcomes_of(desk.dossier(found.sha256), "digest") == [
        ("digest", OutcomeKind.FAIL, "core-1.0-py3-none-any.whl: other bytes were looked into than are held")
    ]


# --- source distributions ---------------------------------------------------------------------------------------------


def test_a_source_distribution_waits_for_its_wheel() -> None:
    """Source is final as it is, and says what to do."""
    desk = Desk(upstreams={"pypi": (SDIST,)})

    found = vetted(desk, desk.ask(python(SDIST)), failures=("core 1.0 source-only",), final=("core 1.0 source",))

    (said,) = outcomes_of(desk.dossier(found.sha256), "source")
    assert said[2] == (
        "core-1.0.tar.gz is source, which would run its own code to be installed: attach a wheel that you built of it "
        "(quarantine exception attach-wheel)"
    )


def attach(desk: Desk, source: Release, wheel: Release = CORE) -> ExceptionCase:
    """A request for the source, in whose place a curator attached the wheel."""
    case = desk.ask(python(source))
    assert case.request is not None
    desk.store.put("held", wheel.data)
    desk.inspector.metadata[wheel.artifact().filename] = wheel.core_metadata
    attached = Attached(time=NOON, by=PUBLISHER, source=source.digest.hex, file=python(wheel))
    desk.log.append("log-decisions/decisions-2026-11", [attached_draft(case.request, attached, entry_id())])
    return desk.case(case.request)


def test_an_attached_wheel_is_vetted_in_the_place_of_its_source() -> None:
    """From the holding area, without attestations, as old as its source, and of its owner's name."""
    desk = Desk(upstreams={"pypi": (SDIST,)})

    found = vetted(desk, attach(desk, SDIST))

    (file,) = (dossier := desk.dossier(found.sha256)).files
    assert (file.file.filename, file.upload_time) == ("core-1.0-py3-none-any.whl", SDIST.artifact().upload_time)
    assert outcomes_of(dossier, "digest", "provenance", "source", "integrity", "minimum-age") == [
        (
            "digest",
            OutcomeKind.PASS,
            (
                f"core-1.0-py3-none-any.whl was attached by {PUBLISHER}, as built of the source "
                f"sha256:{SDIST.digest.hex[:12]}…: its bytes are those that were attached"
            ),
        ),
        ("provenance", OutcomeKind.NOT_APPLICABLE, "only wheels of an index are attested (PEP 740)"),
        ("minimum-age", OutcomeKind.PASS, "the youngest file of core 1.0 is of 2024-01-01, at least 7 days ago"),
        (
            "integrity",
            OutcomeKind.NOT_APPLICABLE,
            "core 1.0: core-1.0-py3-none-any.whl is not listed by pypi: by its digest it is let in, or not at all",
        ),
    ]
    assert (desk.source.fetched, desk.attestations.asked) == ([], [])


@pytest.mark.parametrize(
    ("listed", "failures", "unknowns", "said"),
    [
        (
            (YOUNG_SDIST,),
            ("core 1.0 minimum-age",),
            (),
            (
                "the source of core-1.0-py3-none-any.whl was uploaded 2026-11-22, 36 hours ago: expected at least 7 days; "
                "wait until 2026-11-29T00:00:00Z, or take an older version"
            ),
        ),
        (
            (Release(name="core", version="2.0"),),
            (),
            ("core 1.0 minimum-age",),
            "pypi gives no upload time for the source of core-1.0-py3-none-any.whl: expected one, to tell its age",
        ),
        (
            (Release(name="core", version="1.0", source=True, yanked="broken"),),
            ("core 1.0 yanked",),
            (),
            "the youngest file of core 1.0 is of 2024-01-01, at least 7 days ago",
        ),
    ],
    ids=["young", "not-listed", "yanked"],
)  # fmt: skip
def test_what_an_owner_says_of_the_source_counts_for_the_wheel(
    listed: tuple[Release, ...], failures: tuple[str, ...], unknowns: tuple[str, ...], said: str
) -> None:
    """Its age and its withdrawal; where the owner doesn't list the source, nobody knows how old it is."""
    desk = Desk(upstreams={"pypi": listed})

    found = vetted(desk, attach(desk, SDIST), failures=failures, unknowns=unknowns)

    assert outcomes_of(desk.dossier(found.sha256), "minimum-age")[0][2] == said


def test_an_attached_wheel_that_its_owner_lists_is_the_owners() -> None:
    """Attaching it spares it no question: its attestations are asked for, and its age is its own."""
    young = Release(name="core", version="1.0", upload_time="2026-11-22T00:00:00Z")
    desk = Desk(upstreams={"pypi": (SDIST, young)})

    found = vetted(desk, attach(desk, SDIST, young), failures=("core 1.0 minimum-age",))

    assert outcomes_of(desk.dossier(found.sha256), "digest", "integrity") == [
        ("digest", OutcomeKind.PASS, "core-1.0-py3-none-any.whl is what pypi lists, by digest"),
        ("integrity", OutcomeKind.PASS, "every file of core 1.0 is the owner's, by digest"),
    ]
    assert [name for name, _, _ in desk.attestations.asked] == ["core-1.0-py3-none-any.whl"]


def test_an_attached_wheel_is_looked_at_again_by_the_age_of_its_source() -> None:
    """What the dossier says of it is enough: once it is old enough nothing is against it any more."""
    desk = Desk(upstreams={"pypi": (YOUNG_SDIST,)})
    case = attach(desk, SDIST)
    vetted(desk, case, failures=("core 1.0 minimum-age",))
    assert case.request is not None
    desk.now = NOON + timedelta(days=7)
    desk.advisories = FakeAdvisories(snapshot=replace(SNAPSHOT, as_of=desk.now))

    found = desk.vetting().again(desk.case(case.request))

    assert found is not None
    assert (found.failures, found.unknowns) == ((), ())


# --- conda ------------------------------------------------------------------------------------------------------------


def test_a_conda_package_is_judged_with_what_it_holds() -> None:
    """Flaws of the distributions inside count; what it needs and who attests it is not asked."""
    desk = Desk(upstreams={"pypi": ()}, channel=(INSIDE,), advisories=FakeAdvisories({("core", "1.0"): (HIGH,)}))

    found = vetted(desk, desk.ask(conda(INSIDE)), failures=("pack 1.0 vulnerability:CVE-1",))

    dossier = desk.dossier(found.sha256)
    assert dossier.files[0].holds == ("core==1.0",)
    assert outcomes_of(dossier, "digest", "provenance", "dependencies") == [
        ("digest", OutcomeKind.PASS, "pack-1.0-0.conda is what forge lists, by digest"),
        ("provenance", OutcomeKind.NOT_APPLICABLE, "only wheels of an index are attested (PEP 740)"),
        (
            "dependencies",
            OutcomeKind.NOT_APPLICABLE,
            "what a conda package needs is judged where an environment is solved",
        ),
    ]


def test_a_conda_package_that_holds_more_than_its_channel_showed() -> None:
    """Advisories were asked about the wrong distributions: final."""
    desk = Desk(upstreams={"pypi": ()}, channel=(INSIDE,))
    desk.inspector.holds[INSIDE.filename] = ("core==1.0", "evil==6.6")

    found = vetted(desk, desk.ask(conda(INSIDE)), final=("pack 1.0 digest",))

    assert outcomes_of(desk.dossier(found.sha256), "digest")[1] == (
        "digest",
        OutcomeKind.FAIL,
        (
            "pack-1.0-0.conda holds core==1.0, evil==6.6, and what its channel showed of it core==1.0: advisories were "
            "asked about the wrong ones"
        ),
    )


def test_a_conda_package_that_its_channel_does_not_list() -> None:
    """Final, and nothing is fetched."""
    desk = Desk(upstreams={"pypi": ()}, channel=(CondaPackage(name="pack", version="2.0"),))

    found = desk.vetting().vet(desk.ask(conda(INSIDE)))

    assert "pack 1.0 digest" in found.final
    assert desk.source.fetched == []


# --- who published it, and what it needs ------------------------------------------------------------------------------


class Attested(FakeIndex):
    """An index that says of every file where its provenance is."""

    def pages(self, names: Collection[NormalizedName], tell: Tell) -> Mapping[NormalizedName, IndexPage | None]:
        """The pages, each file with an address."""
        found: dict[NormalizedName, IndexPage | None] = {}
        for name, page in super().pages(names, tell).items():
            files = [] if page is None else [replace(a, provenance=f"https://x/{a.filename}") for a in page.artifacts]
            found[name] = None if page is None else IndexPage(upstream=page.upstream, name=name, artifacts=files)
        return found


_ENTRY = "owner: ann, reason: r, added: 2026-01-01"
_PUBLISHER = "publisher: {github: team/core, workflow: release.yml}"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (f"{{name: core, {_ENTRY}, expires: 2027-01-01, {_PUBLISHER}}}", True),
        (f"{{name: core, {_ENTRY}, expires: 2026-11-23, {_PUBLISHER}}}", False),
        (f'{{name: core, specifier: ">=2", {_ENTRY}, expires: 2027-01-01, {_PUBLISHER}}}', False),
        (f"{{name: core, {_ENTRY}, expires: 2027-01-01}}", False),
    ],
    ids=["named", "expired", "another-version", "nobody"],
)
@pytest.mark.parametrize("required", [False, True])
def test_the_publisher_is_the_one_of_a_live_entry(entries: str, expected: bool, required: bool) -> None:
    """Whoever an allow entry of the version names is expected; where one is required and none named, it fails."""
    desk = Desk(
        upstreams={"pypi": (CORE,)},
        index=Attested(World(upstreams={"pypi": (CORE,)})),
        policy=policy(provenance=f"{{required: {str(required).lower()}}}", entries=f"version: 1\nallow: [{entries}]\n"),
    )
    desk.source.attested["https://x/core-1.0-py3-none-any.whl"] = b"provenance"
    fails = required and not expected

    found = vetted(desk, desk.ask(python(CORE)), failures=("core 1.0 provenance",) if fails else ())

    publisher = Publisher(host="github", repository="team/core", workflow="release.yml") if expected else None
    asked = [("core-1.0-py3-none-any.whl", b"provenance", publisher)]
    assert desk.attestations.asked == ([] if fails else asked)
    (file,) = desk.dossier(found.sha256).files
    assert desk.store.get("evidence", Digest.sha256(file.reports[1])) == b"provenance"


def test_attestations_that_do_not_verify_are_told() -> None:
    """What the verifier says is what stands in the dossier."""
    desk = Desk(upstreams={"pypi": (CORE,)}, attestations=FakeAttestations(OutcomeKind.FAIL))

    vetted(desk, desk.ask(python(CORE)), failures=("core 1.0 provenance",))


@pytest.mark.parametrize(
    ("base", "refused"),
    [
        ((Release(name="base", version="1.0"),), False),
        ((Release(name="base", version="2.0", upload_time="2026-11-22T00:00:00Z"),), True),
        # one version that passes is enough
        ((Release(name="base", version="2.0", upload_time="2026-11-22T00:00:00Z"), Release(name="base", version="1.0")), False),
        ((Release(name="base", version="1.0", source=True),), True),
        ((Release(name="base", version="3.0"),), True),
        ((), True),
    ],
    ids=["passes", "young", "an-older-one", "source", "no-version-fits", "nobody-has-it"],
)  # fmt: skip
def test_what_it_needs_must_pass_by_itself(base: tuple[Release, ...], refused: bool) -> None:
    """A package that would be denied, too, is a failure that names it; for other platforms nothing is needed."""
    core = Release(name="core", version="1.0", requires=("base<3", 'other; sys_platform == "win32"'))
    desk = Desk(upstreams={"pypi": (core, *base)})

    found = vetted(desk, desk.ask(python(core)), failures=("core 1.0 dependencies",) if refused else ())

    (said,) = outcomes_of(desk.dossier(found.sha256), "dependencies")
    assert said[2] == (
        "core 1.0 needs base, which would be denied, too: ask for them in one request"
        if refused
        else "core 1.0 needs 1 package, which has a version that passes, or is asked for"
    )


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        ((), "core 1.0 needs no other package"),
        (("base", "other"), "core 1.0 needs 2 packages, each of which has a version that passes, or is asked for"),
    ],
)
def test_how_many_packages_it_needs_is_said(requires: tuple[str, ...], said: str) -> None:
    """None, or each of several."""
    core = Release(name="core", version="1.0", requires=requires)
    desk = Desk(upstreams={"pypi": (core, *(Release(name=name, version="1.0") for name in requires))})

    found = vetted(desk, desk.ask(python(core)))

    assert outcomes_of(desk.dossier(found.sha256), "dependencies") == [("dependencies", OutcomeKind.PASS, said)]


def test_what_is_asked_for_in_one_request_is_not_missing() -> None:
    """A closure is approved as a whole."""
    core = Release(name="core", version="1.0", requires=("base",))
    base = Release(name="base", version="2.0", yanked="why not")
    desk = Desk(upstreams={"pypi": (core, base)})

    vetted(desk, desk.ask(python(core), python(base)), failures=("base 2.0 yanked",))


@pytest.mark.parametrize(
    ("granted", "upstream", "requires", "failures"),
    [
        (Release(name="base", version="2.0"), "pypi", "base<3", ()),
        (Release(name="base", version="2.0"), "mirror", "base<3", ()),
        (Release(name="base", version="2.0"), "another", "base<3", ("core 1.0 dependencies",)),
        (Release(name="base", version="2.0"), "pypi", "base>=3", ("core 1.0 dependencies",)),
        (Release(name="base", version="2.0", source=True), "pypi", "base<3", ("core 1.0 dependencies",)),
        (Release(name="base", version="2.0", tag="py3-none-win32"), "pypi", "base<3", ("core 1.0 dependencies",)),
        (Release(name="other", version="2.0"), "pypi", "base<3", ("core 1.0 dependencies",)),
    ],
    ids=["holds", "of-the-mirror", "of-another-owner", "another-version", "source", "another-platform", "another-name"],
)  # fmt: skip
def test_what_exceptions_let_in_already_is_not_missing(
    granted: Release, upstream: str, requires: str, failures: tuple[str, ...]
) -> None:
    """A file that is needed, from who owns its name, with a wheel for every target: then it passes, and it is said why."""
    core = Release(name="core", version="1.0", requires=(requires,))
    young = Release(name="base", version="2.0", upload_time="2026-11-22T00:00:00Z")
    desk = Desk(upstreams={"pypi": (core, young)})
    grant = Grant(
        exception="a" * 32, file=python(granted, upstream), waives=frozenset(), expires_at=NOON + timedelta(days=1)
    )

    found = desk.vetting().vet(desk.ask(python(core)), Grants(live={granted.digest: grant}))

    (said,) = outcomes_of(desk.dossier(found.sha256), "dependencies")
    assert found.failures == failures
    assert said[2] == (
        "core 1.0 needs base, which would be denied, too: ask for them in one request"
        if failures
        else "core 1.0 needs 1 package, which has a version that passes, or is asked for, or is let in by an exception (base)"
    )


def test_what_cant_be_read_of_a_wheel_is_unknown() -> None:
    """Without metadata nobody knows what it needs."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.inspector.metadata.clear()

    vetted(desk, desk.ask(python(CORE)), unknowns=("core 1.0 dependencies",))


def test_a_requirement_that_cant_be_read_is_unknown() -> None:
    """A line of its metadata that is no requirement may ask for anything."""
    core = Release(name="core", version="1.0", requires=("base", "!! what"))
    desk = Desk(upstreams={"pypi": (core, Release(name="base", version="1.0"))})

    found = vetted(desk, desk.ask(python(core)), unknowns=("core 1.0 dependencies",))

    (said,) = outcomes_of(desk.dossier(found.sha256), "dependencies")
    assert said[2].startswith("core 1.0: some of what it needs can't be read: Requires-Dist")


# --- evidence that can't be had ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advisories", "message"),
    [
        (
            FakeAdvisories(snapshot=replace(SNAPSHOT, as_of=NOON - timedelta(days=30))),
            "nothing can be vetted: ",
        ),
        (FakeAdvisories(snapshot=replace(SNAPSHOT, as_of=None)), "nothing can be vetted: "),
        (FakeAdvisories(failing="there is no database"), "there is no database"),
    ],
    ids=["stale", "of-no-age", "absent"],
)
def test_without_advisories_there_is_no_dossier(advisories: FakeAdvisories, message: str) -> None:
    """Nothing is fetched, nothing written: the next run tries again."""
    desk = Desk(upstreams={"pypi": (CORE,)}, advisories=advisories)
    case = desk.ask(python(CORE))

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(case)

    assert str(caught.value).startswith(message)
    assert (desk.written(), desk.held()) == ((0, 0), [])


def test_advisories_that_fail_half_way_leave_no_dossier() -> None:
    """Silence about what it needs is no answer either."""

    class Failing(FakeAdvisories):
        def findings(self, packages: Collection, tell: Tell) -> Mapping:  # type: ignore[type-arg]  # as its base's
            if any(package.name == "base" for package in packages):
                raise UpstreamError("the database can't be read")
            return super().findings(packages, tell)

    core = Release(name="core", version="1.0", requires=("base",))
    desk = Desk(upstreams={"pypi": (core, Release(name="base", version="1.0"))}, advisories=Failing())
    case = desk.ask(python(core))

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(case)

    assert str(caught.value) == "nothing can be vetted: the database can't be read"
    assert desk.written()[0] == 0


def test_an_index_that_is_down_leaves_no_dossier() -> None:
    """Whether the file is still listed isn't known then."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    desk.index = FakeIndex(World(upstreams={"pypi": (CORE,)}, broken=frozenset({"pypi"})))
    case = desk.ask(python(CORE))

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(case)

    assert str(caught.value) == "pypi is broken"
    assert (desk.written(), desk.held()) == ((0, 0), [])


def test_a_disk_that_is_full_leaves_no_dossier() -> None:
    """It says nothing about the file: another run may have room for it."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    desk.source.full = True

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(case)

    assert str(caught.value) == (
        "core-1.0-py3-none-any.whl can't be kept on this machine to be looked into: no space left on device"
    )
    assert (desk.written(), desk.held()) == ((0, 0), [])


def test_a_log_that_cant_be_written_leaves_no_dossier() -> None:
    """The evidence lies there and means nothing."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    desk.log.writable = False

    with pytest.raises(UpstreamError):
        desk.vetting().vet(case)

    assert case.request is not None
    assert desk.case(case.request).dossiers == ()


def test_what_nobody_asked_for_in_the_log_is_not_vetted() -> None:
    """A case of which only others speak has no files."""
    desk = Desk(upstreams={"pypi": (CORE,)})

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(ExceptionCase(id="a" * 32))

    assert str(caught.value) == "exception aaaaaaaaaaaa: its request isn't in the log"


# --- again ------------------------------------------------------------------------------------------------------------


def looked_at_again(desk: Desk, case: ExceptionCase, advisories: FakeAdvisories) -> DossierSummary | None:
    assert case.request is not None
    desk.advisories = advisories
    desk.now = NOON + timedelta(hours=1)
    return desk.vetting().again(desk.case(case.request))


def test_looking_again_at_what_did_not_change_writes_nothing() -> None:
    """Though the advisories are others."""
    desk = Desk(upstreams={"pypi": (CORE,)}, advisories=FakeAdvisories({("core", "1.0"): (HIGH,)}))
    case = desk.ask(python(CORE))
    desk.vetting().vet(case)
    before = desk.written()

    found = looked_at_again(
        desk, case, FakeAdvisories({("core", "1.0"): (HIGH,)}, snapshot=replace(SNAPSHOT, sha256="9" * 64))
    )

    assert (found, desk.written()) == (None, before)


@pytest.mark.parametrize("of", ["python", "conda"])
def test_what_is_known_later_makes_a_new_dossier(of: str) -> None:
    """A new flaw and new malware, and what is withdrawn again; nothing is fetched or looked into for it."""
    desk = Desk(upstreams={"pypi": (CORE,)}, channel=(INSIDE,))
    case = desk.ask(python(CORE) if of == "python" else conda(INSIDE))
    label = case.files[0].label
    first = desk.vetting().vet(case)
    fetched, seen = list(desk.source.fetched), list(desk.inspector.seen)
    later = replace(SNAPSHOT, sha256="9" * 64)

    worse = looked_at_again(desk, case, FakeAdvisories({("core", "1.0"): (MALWARE, HIGH)}, snapshot=later))
    better = looked_at_again(desk, case, FakeAdvisories({("core", "1.0"): (HIGH,)}, snapshot=later))
    again = looked_at_again(desk, case, FakeAdvisories(snapshot=later))

    assert worse is not None
    assert better is not None
    assert again is not None
    expected = replace(first, time=NOON + timedelta(hours=1), advisories="9" * 64)
    flaw, bad = (f"{label} vulnerability:CVE-1",), (f"{label} malware",)
    assert worse == replace(expected, sha256=worse.sha256, failures=flaw, final=bad)
    assert better == replace(expected, sha256=better.sha256, failures=flaw)
    assert again == replace(expected, sha256=again.sha256)
    assert case.request is not None
    assert desk.case(case.request).dossiers == (first, worse, better, again)
    assert (desk.source.fetched, desk.inspector.seen) == (fetched, seen)
    old, new = desk.dossier(first.sha256).files[0], desk.dossier(worse.sha256).files[0]
    assert new.findings == (MALWARE, HIGH)
    advised = {"malware", "vulnerability"}
    assert [o for o in new.outcomes if o.rule not in advised] == [o for o in old.outcomes if o.rule not in advised]
    assert replace(new, outcomes=(), findings=()) == replace(old, outcomes=(), findings=())


def test_another_name_for_a_flaw_is_no_later_flaw() -> None:
    """A record that gets its CVE number later is what was waived already; a second flaw beside it isn't."""
    nameless = replace(HIGH, aliases=())
    desk = Desk(upstreams={"pypi": (CORE,)}, advisories=FakeAdvisories({("core", "1.0"): (nameless,)}))
    case = desk.ask(python(CORE))
    vetted(desk, case, failures=("core 1.0 vulnerability:PYSEC-1",))

    same = looked_at_again(desk, case, FakeAdvisories({("core", "1.0"): (HIGH,)}))
    more = looked_at_again(desk, case, FakeAdvisories({("core", "1.0"): (HIGH, replace(HIGH, id="X-2", aliases=()))}))

    assert same is None
    assert more is not None
    assert more.failures == ("core 1.0 vulnerability:PYSEC-1", "core 1.0 vulnerability:X-2")


def test_nothing_is_looked_at_again_that_was_not_looked_at() -> None:
    """A case without a dossier waits to be vetted."""
    desk = Desk(upstreams={"pypi": (CORE,)})

    assert desk.vetting().again(desk.ask(python(CORE))) is None
    assert desk.written() == (0, 0)


def test_a_dossier_that_was_changed_is_noticed() -> None:
    """It isn't the one that the log names."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    first = desk.vetting().vet(case)
    digest = Digest.sha256(first.sha256)
    desk.store.stored["evidence", digest] = desk.store.stored["evidence", digest].replace(b"pass", b"fail")
    assert case.request is not None

    with pytest.raises(IntegrityError):
        desk.vetting().again(desk.case(case.request))


def test_evidence_whose_name_is_taken_fails_nothing() -> None:
    """Other bytes under the digest of a package's metadata leave no dossier, and are no failure of the package."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    assert CORE.core_metadata is not None
    digest = Digest.sha256(sha256(CORE.core_metadata).hexdigest())
    desk.store.stored["evidence", digest] = b"something else"

    with pytest.raises(UpstreamError) as caught:
        desk.vetting().vet(desk.ask(python(CORE)))

    assert str(caught.value) == f"{digest} holds other bytes than its name says: stop and look who changed it"
    assert (desk.written()[0], desk.store.stored["evidence", digest]) == (0, b"something else")


def test_stale_advisories_say_nothing_new() -> None:
    """What was found before stands until they can be trusted."""
    desk = Desk(upstreams={"pypi": (CORE,)})
    case = desk.ask(python(CORE))
    desk.vetting().vet(case)
    before = desk.written()

    with pytest.raises(UpstreamError):
        looked_at_again(desk, case, FakeAdvisories(snapshot=replace(SNAPSHOT, as_of=NOON - timedelta(days=30))))

    assert desk.written() == before
