"""Exceptions in the check: approved files beside the owner's, for one project and stage, always visible, never for good."""

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from channels import CondaChannel, distribution
from house import NOW, House
from let_in import BOB, LetIn, conda_file, python_file, wheel_of
from osv_records import before
from servers import ServedFile

from quarantine.exceptions import MIRROR, RulingKind

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
FLAW = before("PYSEC-2024-7", "core", "2.0", aliases=["CVE-2024-7"], severity=HIGH)
FLAWED = "core 1.0 vulnerability:PYSEC-2024-7"
FRESH = "2026-11-22T00:00:00Z"


def pin(name: str, version: str, *files: ServedFile) -> str:
    """A line that pins a version to these files."""
    return f"{name}=={version} {' '.join(f'--hash=sha256:{file.sha256}' for file in files)}\n"


# --- the resolver -----------------------------------------------------------------------------------------------------


def test_an_approved_version_leaves_the_owners_versions_resolvable(home: House) -> None:
    """One exception hijacks no name: with 1.0 approved, `>=2` is the owner's, and 1.0 resolves for who asks for it."""
    home.index.add("core", "2.0")
    home.index.add("app", "1.0", requires=["core>=2"])
    home.advise(HARMLESS)
    old = wheel_of("core", "1.0")
    case = LetIn(home=home, files=(python_file(old, "core", "1.0"),)).approved(old)
    home.write("new.txt", "core>=2\napp\n")
    home.write("old.txt", "core==1.0\n")

    new, pinned = home.check("new.txt"), home.check("old.txt")

    assert (new.status, new.item("core")["version"], new.item("core")["upstream"]) == (0, "2.0", "pypi"), new.err
    assert new.item("core")["exception"] is None
    item = pinned.item("core")
    assert (pinned.status, item["upstream"], item["digests"]) == (0, "pypi", [f"sha256:{old.sha256}"])
    assert (item["exception"], item["exception_until"], item["exception_waives"]) == (
        case.request.id,
        "2026-12-23T12:00:00Z",
        [],
    )


def test_an_approved_fresh_file_is_reachable_though_the_cutoff_holds_for_the_rest(home: House) -> None:
    """What was let in despite its age is what resolves, also for who only requires it; other fresh files stay behind."""
    fresh = home.index.add("core", "2.0", requires=["base"], upload_time=FRESH)
    home.index.add("core", "1.0")
    home.index.add("base", "1.0")
    home.index.add("base", "2.0", upload_time=FRESH)
    home.index.add("app", "1.0", requires=["core"])
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    before_it = home.check("requirements.txt")
    LetIn(home=home, files=(python_file(fresh, "core", "2.0"),)).approved(fresh, failures=("core 2.0 minimum-age",))

    after = home.check("requirements.txt")

    assert before_it.item("core")["version"] == "1.0"
    assert [after.item(name)["version"] for name in ("core", "base")] == ["2.0", "1.0"]
    assert (after.status, after.item("core")["exception_waives"]) == (0, ["minimum-age"])
    (waived,) = [r for r in after.item("core")["reasons"] if r["rule"] == "minimum-age"]
    assert waived["outcome"] == "pass"
    assert waived["message"].startswith("waived by exception ")


def test_a_version_is_not_taken_for_an_approved_file_when_another_file_may_be_installed(home: House) -> None:
    """Of a fresh version one of two wheels is approved: unlocked it is left alone, and a lock takes just that one."""
    home.index.add("core", "1.0")
    approved = home.index.add("core", "2.0", upload_time=FRESH)
    home.index.add("core", "2.0", tag="cp311-cp311-manylinux_2_17_x86_64", upload_time=FRESH)
    home.advise(HARMLESS)
    LetIn(home=home, files=(python_file(approved, "core", "2.0"),)).approved(
        approved, failures=("core 2.0 minimum-age",)
    )
    home.write("requirements.txt", "core\n")
    home.write("pinned.txt", "core==2.0\n")

    loose, pinned = home.check("requirements.txt"), home.check("pinned.txt")
    locked = home.check("requirements.txt", "--lock", "pylock.toml", "--stage", "development")

    assert (loose.status, loose.item("core")["version"]) == (0, "1.0")
    assert (pinned.status, pinned.rules("core")) == (1, ["minimum-age"])
    assert (locked.status, locked.item("core")["digests"]) == (0, [f"sha256:{approved.sha256}"])


def test_every_wheel_that_some_machine_may_install_is_let_in_and_locked(home: House) -> None:
    """One for newer machines than the target stands for, and one for a later patch release, are among them."""
    home.index.add("core", "1.0")
    tags = ("manylinux_2_17_x86_64", "manylinux_2_39_x86_64", "musllinux_1_2_x86_64")
    wheels = [home.index.add("core", "2.0", tag=f"cp311-cp311-{tag}", upload_time=FRESH) for tag in tags]
    wheels.append(home.index.add("core", "2.0", requires_python=">=3.11.4", upload_time=FRESH))
    home.advise(HARMLESS)
    files = tuple(sorted(python_file(wheel, "core", "2.0") for wheel in wheels))
    LetIn(home=home, files=files).approved(*wheels, failures=("core 2.0 minimum-age",))
    home.write("requirements.txt", "core\n")

    loose = home.check("requirements.txt")
    locked = home.check("requirements.txt", "--lock", "pylock.toml", "--stage", "development")

    assert [ran.item("core")["version"] for ran in (loose, locked)] == ["2.0", "2.0"]
    assert (loose.status, len(loose.item("core")["digests"])) == (0, 4)
    assert (locked.status, len(locked.item("core")["digests"])) == (0, 3)


def test_a_deny_entry_wins_over_an_approval(home: House) -> None:
    """What curators deny by list later is refused, whatever was approved before; the resolver goes around it."""
    home.entries = "version: 1\n"
    old = wheel_of("core", "1.0")
    home.index.add("core", "2.0")
    home.advise(HARMLESS)
    LetIn(home=home, files=(python_file(old, "core", "1.0"),)).approved(old)
    home.write("requirements.txt", "core<=2\n")
    home.write("pinned.txt", "core==1.0\n")
    allowed = home.check("pinned.txt")
    home.entries = 'version: 1\ndeny: [{name: core, specifier: "==1.0", owner: sec, reason: bad, added: 2026-01-01}]\n'
    home.settle()

    around, denied = home.check("requirements.txt"), home.check("pinned.txt")

    assert allowed.status == 0
    assert (around.status, around.item("core")["version"]) == (0, "2.0")
    assert (denied.status, denied.rules("core")) == (1, ["deny-entry"])


def test_a_version_outside_a_curated_list_resolves_when_it_is_approved(home: House) -> None:
    """The list names `<2`; with 2.0 let in, that one is taken, and 3.0 still isn't."""
    home.mode = "curated"
    of = "owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01"
    home.entries = f'version: 1\nallow: [{{name: core, specifier: "<2", {of}}}]\n'
    home.index.add("core", "1.0")
    second = home.index.add("core", "2.0")
    home.index.add("core", "3.0")
    home.advise(HARMLESS)
    LetIn(home=home, files=(python_file(second, "core", "2.0"),)).approved(second, failures=("core 2.0 allow-entry",))
    home.write("requirements.txt", "core\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.item("core")["version"], ran.item("core")["exception_waives"]) == (
        0,
        "2.0",
        ["allow-entry"],
    )


# --- whose names, whose files -----------------------------------------------------------------------------------------


def test_a_wheel_that_a_curator_built_of_a_source_only_package_resolves_and_locks(home: House) -> None:
    """The attached wheel joins the owner's versions; its lock is allowed, and says that the file is the mirror's."""
    sdist = home.index.add_sdist("core", "1.0")
    home.index.add("base", "1.0")
    home.index.add("app", "1.0", requires=["core"])
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    before_it = home.check("requirements.txt")
    built = wheel_of("core", "1.0", "base", tag="cp311-cp311-manylinux_2_28_x86_64", python=">=3.11")
    source = python_file(sdist, "core", "1.0")
    case = LetIn(home=home, files=(source,))
    case.attach(source, python_file(built, "core", "1.0"))
    case.approved(built)

    locked = home.check("requirements.txt", "--lock", "pylock.toml", "--stage", "development")
    again = home.check("pylock.toml")

    assert (before_it.status, before_it.rules("core")) == (1, ["source-only"])
    assert (locked.status, again.status) == (0, 0), locked.out
    assert [item["name"] for item in locked.json["items"]] == ["app", "base", "core"]
    core = tomllib.loads((home.folder / "pylock.toml").read_text())["packages"][2]
    assert core["wheels"][0]["url"] == f"mirror:/files/{built.sha256}/{built.filename}"
    assert (again.item("core")["upstream"], again.item("core")["exception"]) == ("pypi", case.request.id)
    other = home.check("pylock.toml", "--target", "cp310-linux-x86_64")
    assert (other.status, other.rules("core")) == (1, ["source-only"])


def test_a_lock_stays_good_when_its_owner_takes_the_file_away(home: House) -> None:
    """What was let in is the mirror's from then on; a lock that sends an installer to a third place is still refused."""
    home.index.add("core", "2.0")
    served = home.index.add("core", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "core==1.0\n")
    locked = home.check("requirements.txt", "--lock", "pylock.toml", "--stage", "development")
    lock = (home.folder / "pylock.toml").read_text()
    home.write("pylock.evil.toml", lock.replace(home.index.origin, "https://evil.example"))
    home.index.projects["core"].remove(served)
    later = NOW + timedelta(hours=1)
    gone = home.check("pylock.toml", now=later)
    LetIn(home=home, files=(python_file(served, "core", "1.0"),)).approved(served)

    ran, evil = home.check("pylock.toml", now=later), home.check("pylock.evil.toml", now=later)

    assert [one.status for one in (locked, gone, ran, evil)] == [0, 1, 0, 1]
    assert (gone.rules("core"), evil.rules("core")) == (["integrity"], ["integrity"])


def test_an_attached_wheel_beside_conda_packages_is_locked_with_them(home: House, tmp_path: Path) -> None:
    """A conda lock names it, too, and is allowed with it."""
    sdist = home.index.add_sdist("core", "1.0")
    built = wheel_of("core", "1.0")
    source = python_file(sdist, "core", "1.0")
    with CondaChannel(folder=tmp_path / "channel", name="acme") as channel:
        channel.add("python", "3.11.9", build="h1", subdir="linux-64")
        channel.add("pip", "24.0", depends=["python"], files=distribution("pip", "24.0"))
        channel.index()
        home.channels = {"acme": channel.url}
        home.advise(HARMLESS)
        case = LetIn(home=home, files=(source,))
        case.attach(source, python_file(built, "core", "1.0"))
        case.approved(built)
        home.write(
            "environment.yml", "channels: [acme, nodefaults]\ndependencies:\n- python\n- pip\n- pip:\n  - core\n"
        )
        locked = home.check("environment.yml", "--lock", "conda-lock.yml", "--stage", "development")
        again = home.check("conda-lock.yml")

    assert (locked.status, again.status) == (0, 0), locked.err + again.err
    assert again.item("core")["exception"] == case.request.id


def test_the_mirror_owns_a_name_that_nobody_has(home: House) -> None:
    """It is the mirror's only for as long as no upstream has the name."""
    home.advise(HARMLESS)
    own = wheel_of("inhouse", "1.0")
    file = python_file(own, "inhouse", "1.0", MIRROR)
    LetIn(home=home, files=(file,)).approved(own, failures=("inhouse 1.0 repository",))
    home.write("requirements.txt", "inhouse\n")

    ours = home.check("requirements.txt")
    home.index.add("inhouse", "9.0")
    theirs = home.check("requirements.txt", now=NOW + timedelta(hours=1))

    assert (ours.status, ours.item("inhouse")["upstream"]) == (0, MIRROR), ours.out
    assert [r["outcome"] for r in ours.item("inhouse")["reasons"] if r["rule"] == "minimum-age"] == ["not-applicable"]
    assert (theirs.item("inhouse")["upstream"], theirs.item("inhouse")["version"]) == ("pypi", "9.0")


def test_a_name_kept_to_the_mirror_is_never_anybody_elses(home: House) -> None:
    """Dependency confusion: a public 99.0 of a reserved name is not looked at, by name or as a dependency."""
    home.reserved = [{"name": "inhouse", "upstream": "mirror", "reason": "ours"}]
    home.index.add("inhouse", "99.0")
    home.index.add("app", "1.0", requires=["inhouse"])
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    without = home.check("requirements.txt")
    own = wheel_of("inhouse", "1.0")
    LetIn(home=home, files=(python_file(own, "inhouse", "1.0", MIRROR),)).approved(own)

    ran = home.check("requirements.txt")

    assert (without.status, without.rules("inhouse")) == (1, ["repository", "reserved-name"])
    item = ran.item("inhouse")
    assert (ran.status, item["version"], item["upstream"]) == (0, "1.0", MIRROR), ran.out
    assert item["digests"] == [f"sha256:{own.sha256}"]


def test_an_approved_file_never_takes_a_name_that_is_kept_to_another_upstream(home: House) -> None:
    """What was approved of a public project doesn't become the private one's."""
    home.index.add("other", "1.0")
    home.reserved = [{"name": "inhouse", "upstream": "pypi", "reason": "ours"}]
    home.advise(HARMLESS)
    own = wheel_of("inhouse", "1.0")
    LetIn(home=home, files=(python_file(own, "inhouse", "1.0", MIRROR),)).approved(own)
    home.write("requirements.txt", "inhouse==1.0\n")

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert ran.rules("inhouse") == ["repository", "reserved-name"]


# --- what it is for, and for how long ---------------------------------------------------------------------------------


def flawed(home: House, *, until: timedelta = timedelta(days=30)) -> tuple[LetIn, ServedFile]:
    """A vulnerable version that was let in, in a file that pins it."""
    served = home.index.add("core", "1.0")
    home.index.add("core", "2.0")
    home.advise(FLAW)
    home.write("locked.txt", pin("core", "1.0", served))
    case = LetIn(home=home, files=(python_file(served, "core", "1.0"),))
    return case.approved(served, failures=(FLAWED,), until=NOW + until), served


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (timedelta(hours=-24), 0),
        (timedelta(seconds=-1), 0),
        (timedelta(0), 1),
        (timedelta(hours=20), 1),
    ],
)
def test_an_exception_ends_at_its_very_instant(home: House, after: timedelta, status: int) -> None:
    """A day and a second before its end it holds; from its end on it counts for nothing."""
    flawed(home, until=timedelta(0))

    ran = home.check("locked.txt", now=NOW + after)

    assert (ran.status, ran.rules("core")) == (status, ["vulnerability"] * status)
    (said,) = [r["message"] for r in ran.item("core")["reasons"] if r["rule"] == "exception"]
    assert ("expired on 2026-11-23T12:00:00Z" in said) == (status == 1)


def test_an_approval_holds_no_longer_than_todays_policy_lets_it(home: House) -> None:
    """Every check judges again: a shorter maximum ends it, and so does a stage that asks for more people."""
    flawed(home)
    allowed = home.check("locked.txt")
    policy = home.folder / "allowlists/policy.yaml"
    text = policy.read_text()
    policy.write_text(text.replace("max_days: 90", "max_days: 1"))
    shorter = home.check("locked.txt")
    policy.write_text(text.replace("approvers: 1", "approvers: 2"))
    more = home.check("locked.txt")

    assert [ran.status for ran in (allowed, shorter, more)] == [0, 1, 1]


def test_an_approval_is_for_just_the_digest_that_was_approved(home: House) -> None:
    """Swapped bytes under the same name: the approved ones still pass, the others are judged like any, and denied."""
    home.index.add("other", "1.0")
    first = home.index.add("core", "1.0")
    home.advise(FLAW)
    LetIn(home=home, files=(python_file(first, "core", "1.0"),)).approved(first, failures=(FLAWED,))
    home.index.projects["core"].clear()
    swapped = home.index.add("core", "1.0", requires=["other"])
    home.write("ours.txt", pin("core", "1.0", first))
    home.write("theirs.txt", pin("core", "1.0", swapped))
    home.write("both.txt", pin("core", "1.0", first, swapped) + pin("other", "1.0", home.index.projects["other"][0]))
    home.write("loose.txt", "core==1.0\n")

    ours, theirs, both, loose = (home.check(f"{name}.txt") for name in ("ours", "theirs", "both", "loose"))
    locking = home.check("loose.txt", "--lock", "pylock.toml", "--stage", "development")

    assert [ran.status for ran in (ours, theirs, both, loose, locking)] == [0, 1, 1, 1, 0]
    assert [ran.rules("core") for ran in (theirs, both, loose)] == [["vulnerability"]] * 3
    assert locking.item("core")["digests"] == [f"sha256:{first.sha256}"]


def test_another_project_and_another_stage_are_not_helped(home: House) -> None:
    """An exception is for the project and the stage that it was asked for; that it holds in another stage is told."""
    case, _ = flawed(home)
    config = (home.folder / "quarantine.yaml").read_text()

    own, stage = home.check("locked.txt"), home.check("locked.txt", "--stage", "production")
    home.write("quarantine.yaml", config.replace("project: demo", "project: other"))
    project = home.check("locked.txt")

    assert [ran.status for ran in (own, stage, project)] == [0, 1, 1]
    assert (stage.item("core")["exception"], project.item("core")["exception"]) == (None, None)
    assert project.rules("core") == ["vulnerability"]
    known = {"exception": case.request.id, "stage": "development"}
    assert [ran.item("core")["exception_elsewhere"] for ran in (own, stage, project)] == [None, known, None]


# --- what was let in and isn't any more -------------------------------------------------------------------------------


def test_what_was_revoked_is_denied_from_an_old_lock(home: House) -> None:
    """Also where nothing else speaks against it: the lock is refused, with who revoked it and why."""
    served = home.index.add("core", "1.0")
    home.advise(HARMLESS)
    case = LetIn(home=home, files=(python_file(served, "core", "1.0"),)).approved(served)
    home.write("requirements.txt", "core\n")
    locked = home.check("requirements.txt", "--lock", "pylock.toml", "--stage", "development")
    case.rule(RulingKind.REVOKE)

    ran = home.check("pylock.toml")

    assert (locked.status, ran.status, ran.rules("core")) == (0, 1, ["exception"])
    (said,) = [r["message"] for r in ran.item("core")["reasons"] if r["rule"] == "exception"]
    assert said == (
        f"core 1.0: exception {case.request.id[:12]} is revoked (revoked on 2026-11-21 by {BOB}: looked at): "
        "take another version, or file a new exception"
    )


def test_an_attached_wheel_that_was_revoked_is_nobodys_file_any_more(home: House) -> None:
    """An old lock names bytes that the owner never listed, and the refusal says what became of their exception."""
    sdist = home.index.add_sdist("core", "1.0")
    home.advise(HARMLESS)
    built = wheel_of("core", "1.0")
    source = python_file(sdist, "core", "1.0")
    case = LetIn(home=home, files=(source,))
    case.attach(source, python_file(built, "core", "1.0"))
    case.approved(built)
    home.write("locked.txt", pin("core", "1.0", built))
    allowed = home.check("locked.txt")
    case.rule(RulingKind.REVOKE)

    ran = home.check("locked.txt")

    assert (allowed.status, ran.status, ran.rules("core")) == (0, 1, ["integrity", "exception"])
    (said,) = [r["message"] for r in ran.item("core")["reasons"] if r["rule"] == "integrity"]
    assert f"exception {case.request.id[:12]} is revoked" in said


def test_a_failure_that_is_found_later_suspends_it(home: House) -> None:
    """The newest dossier has more against the file than was waived: until somebody looks again it doesn't come in."""
    case, _ = flawed(home)
    case.vet(FLAWED, "core 1.0 vulnerability:CVE-2026-9")

    ran = home.check("locked.txt")

    assert (ran.status, ran.rules("core")) == (1, ["vulnerability", "exception"])


def test_what_an_exception_stands_behind_is_seen_in_every_report(home: House) -> None:
    """Also where the item would pass without it."""
    served = home.index.add("core", "2.0")
    home.advise(HARMLESS)
    case = LetIn(home=home, files=(python_file(served, "core", "2.0"),)).approved(served)
    home.write("locked.txt", pin("core", "2.0", served))
    reports = {kind: home.run("check", "locked.txt", "--report", kind).out for kind in ("text", "markdown", "sarif")}
    reports["cyclonedx"] = home.run("check", "locked.txt", "--report", "cyclonedx").out

    short = case.request.id[:12]
    assert f"let in: core 2.0: exception {short} until 2026-12-23T12:00:00Z\n" in reports["text"]
    assert f"| core 2.0 | {short} | 2026-12-23T12:00:00Z | nothing |" in reports["markdown"]
    assert f"core 2.0: let in by exception {short} until 2026-12-23T12:00:00Z" in reports["sarif"]
    assert case.request.id in reports["cyclonedx"]


# --- what can't be known ----------------------------------------------------------------------------------------------


def test_exceptions_that_cant_be_read_leave_it_undecided(home: House) -> None:
    """Without them neither what is let in nor what is stopped can be told."""
    flawed(home)
    log = home.folder / ".quarantine" / "log" / "log-decisions"
    moved = log.with_name("elsewhere")
    log.rename(moved)
    log.write_bytes(b"")

    ran = home.check("locked.txt")

    assert (ran.status, ran.err) == (3, "")
    assert [p["rule"] for p in ran.json["preconditions"] if p["outcome"] == "unknown"] == ["exceptions"]


def test_an_entry_of_tomorrow_leaves_it_undecided(home: House) -> None:
    """By a clock that is before what curators wrote no expiry can be told."""
    flawed(home)

    ran = home.check("locked.txt", now=NOW - timedelta(days=3))

    assert ran.status == 3
    assert "clock" in [p["rule"] for p in ran.json["preconditions"] if p["outcome"] == "unknown"]


# --- conda ------------------------------------------------------------------------------------------------------------


def test_an_approved_conda_package_is_waived_and_reachable(home: House, tmp_path: Path) -> None:
    """A fresh build of a channel is what the solver takes once it is let in; fresh neighbours stay behind."""
    with CondaChannel(folder=tmp_path / "channel", name="acme") as channel:
        fresh_time = NOW - timedelta(days=1)
        channel.add("tool", "1.0", files=distribution("tool", "1.0"))
        digest = channel.add("tool", "2.0", depends=["lib"], files=distribution("tool", "2.0"), uploaded=fresh_time)
        channel.add("lib", "1.0", files=distribution("lib", "1.0"))
        channel.add("lib", "2.0", files=distribution("lib", "2.0"), uploaded=fresh_time)
        channel.index()
        home.channels = {"acme": channel.url}
        home.advise(HARMLESS)
        home.write("environment.yml", "channels: [acme, nodefaults]\ndependencies: [tool]\n")
        before_it = home.check("environment.yml")
        file = conda_file("tool", "2.0", digest, "acme")
        case = LetIn(home=home, files=(file,))
        case.vet("tool 2.0 minimum-age")
        case.rule()
        after = home.check("environment.yml")
        locked = home.check("environment.yml", "--lock", "conda-lock.yml", "--stage", "development")
        again = home.check("conda-lock.yml")
        case.rule(RulingKind.REVOKE)
        revoked = home.check("conda-lock.yml")

    assert (before_it.status, before_it.item("tool")["version"]) == (0, "1.0")
    assert after.item("tool")["artifacts"][0]["upload_time"] == "2026-11-22T12:00:00Z"
    assert [after.item(name)["version"] for name in ("tool", "lib")] == ["2.0", "1.0"], after.out
    assert (after.status, after.item("tool")["exception"]) == (0, case.request.id)
    assert [ran.status for ran in (locked, again, revoked)] == [0, 0, 1]
    assert revoked.rules("tool") == ["minimum-age", "exception"]
