"""From an environment file to a verdict, a lock and a record, on a loopback index."""

import tomllib
from datetime import timedelta

import pytest
from house import NOW, House
from osv_records import affected, before, record

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]


def test_allowed_then_locked_then_allowed_in_production(home: House) -> None:
    """An unlocked environment is allowed in development; its lock is allowed in production; all of it is recorded."""
    home.index.add("app", "1.0", requires=["lib>=1"])
    home.index.add("lib", "1.2")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    checked = home.check("requirements.txt")
    unlocked = home.check("requirements.txt", "--stage", "production")
    locked = home.check("requirements.txt", "--lock", "pylock.toml")
    again = home.check("pylock.toml", "--stage", "production")

    assert [ran.status for ran in (checked, unlocked, locked, again)] == [0, 1, 0, 0], checked.err
    assert checked.item("lib")["required_by"] == ["pkg:pypi/app@1.0"]
    assert checked.item("app")["location"]["line"] == 1
    assert [r["rule"] for r in unlocked.json["subjects"][0]["reasons"] if r["outcome"] == "fail"] == ["locked"]
    lock = tomllib.loads((home.folder / "pylock.toml").read_text())
    digest = home.index.projects["lib"][0].sha256
    assert [(p["name"], p["version"]) for p in lock["packages"]] == [("app", "1.0"), ("lib", "1.2")]
    assert lock["packages"][1]["wheels"][0]["hashes"] == {"sha256": digest}
    assert again.item("lib")["digests"] == [f"sha256:{digest}"]
    assert again.json["subjects"][0]["locked"] is True
    assert again.json["audit"]["seq"] == 3
    head = f"{again.json['audit']['seq']}:{again.json['audit']['sha256']}"
    assert home.run("audit", "verify", "--head", head).status == 0


def test_a_denial_helps(home: House) -> None:
    """Rule, evidence, who pulled it in, the nearest version and the exception command stand in the verdict."""
    home.index.add("app", "1.0", requires=["lib>=1,<3"])
    for version in ("1.0", "2.0", "3.0"):
        home.index.add("lib", version)
    home.advise(before("PYSEC-2024-7", "lib", "2.0", aliases=["CVE-2024-7"], severity=HIGH))
    home.write("requirements.txt", "app==1.0\nlib==1.0\n")

    ran = home.check("requirements.txt")
    text = home.run("check", "requirements.txt")

    item = ran.item("lib")
    assert ran.status == 1
    assert item["nearest"] == "2.0"
    assert item["location"]["line"] == 2
    assert item["required_by"] == ["pkg:pypi/app@1.0"]
    assert item["advisories"][0]["aliases"] == ["CVE-2024-7"]
    assert item["advisories"][0]["score"] == "9.8"
    assert ran.rules("lib") == ["vulnerability"]
    assert item["exception_request"].startswith("quarantine exception request lib==1.0 --reason ")
    assert "requirements.txt:2: lib==2.0" in text.out


def test_the_nearest_version_satisfies_who_requires_it(home: House) -> None:
    """A version that another package of the environment can't use is never proposed."""
    home.index.add("app", "1.0", requires=["lib<2"])
    for version in ("1.0", "1.5", "2.0"):
        home.index.add("lib", version)
    home.advise(record("PYSEC-2024-7", affected("lib", versions=["1.0", "1.5"]), severity=HIGH))
    home.write("requirements.txt", "app\nlib==1.0\n")

    assert home.check("requirements.txt").item("lib")["nearest"] is None


def test_a_fresh_release_is_held_back_and_said_to_be(home: House) -> None:
    """The resolver takes what is old enough; the verdict names the version that was held back, and why."""
    home.index.add("app", "1.0")
    home.index.add("app", "2.0", upload_time="2026-11-22T00:00:00Z")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert ran.status == 0
    assert ran.item("app")["version"] == "1.0"
    assert ran.item("app")["held_back_from"] == "2.0"
    assert ran.item("app")["held_back_by"] == "minimum-age"


def test_a_pinned_fresh_release_is_denied_and_its_neighbours_are_not(home: House) -> None:
    """Only what the user names is let past the cutoff, and then judged; what it requires stays old enough."""
    home.index.add("app", "2.0", requires=["lib"], upload_time="2026-11-22T00:00:00Z")
    home.index.add("lib", "1.0")
    home.index.add("lib", "2.0", upload_time="2026-11-22T00:00:00Z")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app==2.0\n")

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert ran.rules("app") == ["minimum-age"]
    assert (ran.item("lib")["version"], ran.item("lib")["verdict"]) == ("1.0", "allowed")


def test_a_new_file_of_an_old_release_is_denied(home: House) -> None:
    """The age is the file's: a wheel added yesterday to a release of 2024 is young."""
    home.index.add("app", "1.0")
    home.index.add("app", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64", upload_time="2026-11-22T00:00:00Z")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app==1.0\n")
    lines = " ".join(f"--hash=sha256:{file.sha256}" for file in home.index.projects["app"])
    home.write("locked.txt", f"app==1.0 {lines}\n")

    unlocked, locked = home.check("requirements.txt"), home.check("locked.txt")
    locking = home.check("requirements.txt", "--lock", "pylock.toml")

    assert (unlocked.status, unlocked.rules("app")) == (1, ["minimum-age"])
    assert (locked.status, locked.rules("app")) == (1, ["minimum-age"])
    # a lock takes what the cutoff leaves, and then only that file is what the verdict speaks of
    assert locking.status == 0
    assert locking.item("app")["digests"] == [f"sha256:{home.index.projects['app'][0].sha256}"]


def test_a_security_fix_has_its_own_lane(home: House) -> None:
    """A fix that an advisory names is taken after a day, when the version before it is flawed."""
    home.index.add("app", "1.0")
    home.index.add("app", "1.1", upload_time="2026-11-21T00:00:00Z")
    home.index.add("app", "1.2", upload_time="2026-11-22T20:00:00Z")
    home.advise(before("PYSEC-2024-7", "app", "1.1", severity=HIGH))
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.item("app")["version"]) == (0, "1.1")


def test_no_upload_time_is_never_old_enough(home: House) -> None:
    """An index that doesn't say when a file came leaves the verdict open, whoever asks for the file."""
    home.index.add("app", "1.0", requires=["lib"], upload_time=None)
    home.index.add("lib", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules("app", "unknown")) == (3, ["minimum-age"])
    assert ran.item("lib")["verdict"] == "allowed"


def test_source_only_is_a_denied_item(home: House) -> None:
    """A package without a wheel, asked for or pulled in, is denied by name, with who needs it; the rest is judged."""
    home.index.add("app", "1.0", requires=["built<2"])
    home.index.add_sdist("built", "1.0")
    home.index.add_sdist("built", "2.0")
    home.index.add_sdist("other", "3.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\nother\n")

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert ran.item("app")["verdict"] == "allowed"
    assert (ran.item("built")["version"], ran.rules("built")) == ("1.0", ["source-only"])
    assert ran.item("built")["required_by"] == ["pkg:pypi/app@1.0"]
    assert (ran.item("other")["version"], ran.item("other")["location"]["line"]) == ("3.0", 2)


def test_what_can_not_be_satisfied_is_explained_and_pins_are_judged(home: House) -> None:
    """Conflicting requirements give the solver's sentence, and every pin that exists is judged all the same."""
    home.index.add("app", "1.0", requires=["lib<2"])
    home.index.add("lib", "1.0")
    home.index.add("lib", "2.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app==1.0\nlib==2.0\n")

    ran = home.check("requirements.txt")

    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
    assert ran.status == 1
    assert reason["rule"] == "resolution"
    assert "depend on lib<2" in reason["message"]
    assert ran.item("lib")["verdict"] == "allowed"


def test_a_name_that_nobody_has_is_denied_by_name(home: House) -> None:
    """A requirement that is in no upstream is an item of its own; the others are judged."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\nno-such-thing-at-all\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules("no-such-thing-at-all")) == (1, ["repository"])
    assert ran.item("app")["verdict"] == "allowed"


def test_several_targets_give_one_verdict_and_one_lock(home: House) -> None:
    """Each target is resolved for itself; the lock carries markers for what only some of them need."""
    home.targets = ('{python: "3.10", platform: linux-x86_64}', '{python: "3.12", platform: linux-x86_64}')
    home.index.add("app", "1.0", requires=['backport ; python_version < "3.11"'])
    home.index.add("backport", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    locked = home.check("requirements.txt", "--lock", "pylock.toml")
    again = home.check("pylock.toml", "--stage", "production")

    assert [s["target"] for s in locked.json["subjects"]] == ["cp310-linux-x86_64", "cp312-linux-x86_64"]
    assert (locked.item("app")["subjects"], locked.item("backport")["subjects"]) == ([0, 1], [0])
    assert again.status == 0
    assert (again.item("app")["subjects"], again.item("backport")["subjects"]) == ([0, 1], [0])


def test_several_files_give_one_verdict(home: House) -> None:
    """Any denied file denies; each file has its own verdict."""
    home.index.add("app", "1.0")
    home.index.add_sdist("built", "1.0")
    home.advise(HARMLESS)
    home.write("good.txt", "app\n")
    home.write("bad.txt", "built\n")

    ran = home.check("good.txt", "bad.txt")

    assert ran.status == 1
    assert [s["verdict"] for s in ran.json["subjects"]] == ["allowed", "denied"]


def test_no_advisories_no_verdict(home: House) -> None:
    """Without a database, or with an old one, everything is undecided, and it says what to run."""
    home.index.add("app", "1.0")
    home.write("requirements.txt", "app\n")

    missing = home.run("check", "requirements.txt")
    home.advise(HARMLESS)
    stale = home.check("requirements.txt", now=NOW + timedelta(days=3))

    assert missing.status == 3
    assert "advisories sync" in missing.out
    assert (stale.status, stale.json["preconditions"][0]["rule"]) == (3, "advisory-snapshot")


def test_a_verdict_that_can_not_be_recorded_does_not_count(home: House) -> None:
    """With a log that can't be written the verdict is undecided and no lock is written."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    home.write(".quarantine/log", "in the way")

    ran = home.check("requirements.txt", "--lock", "pylock.toml")

    assert (ran.status, ran.json["verdict"]) == (3, "undecided")
    assert ran.json["preconditions"][-1]["rule"] == "audit-log"
    assert not (home.folder / "pylock.toml").exists()


def test_an_unexpected_policy_decides_nothing(home: House) -> None:
    """CI can pin the policy; any other one leaves the verdict open."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    digest = home.check("requirements.txt").json["policy"]["sha256"]

    expected = home.check("requirements.txt", "--expect-policy", digest)
    other = home.check("requirements.txt", "--expect-policy", "0" * 64)

    assert (expected.status, other.status) == (0, 3)


@pytest.mark.parametrize("status", [500, 403])
def test_an_index_that_fails_decides_nothing(home: House, status: int) -> None:
    """An upstream that can't say whether it has a name is never passed over."""
    from servers import Answer

    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    home.index.always("/simple/app/", Answer(status=status))

    ran = home.check("requirements.txt")

    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "unknown"]
    assert (ran.status, ran.json["verdict"], reason["rule"]) == (3, "undecided", "resolution")
    assert reason["message"].startswith("what requirements.txt comes to on cp311-linux-x86_64 is not known: ")


def test_offline_uses_what_is_cached(home: House) -> None:
    """After one run the same check needs no network; what isn't cached is undecided."""
    home.index.add("app", "1.0")
    home.index.add("other", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    home.write("other.txt", "other\n")
    assert home.check("requirements.txt").status == 0
    asked = len(home.index.asked)

    cached, missing = home.check("requirements.txt", "--offline"), home.check("other.txt", "--offline")

    assert (cached.status, missing.status) == (0, 3)
    assert len(home.index.asked) == asked


def test_hashed_requirements_that_pin_too_little_are_no_lock(home: House) -> None:
    """What a pinned package requires and the file doesn't pin would be chosen by whoever installs it."""
    app = home.index.add("app", "1.0", requires=["lib", 'other ; sys_platform == "win32"'])
    lib = home.index.add("lib", "1.0")
    home.advise(HARMLESS)
    home.write("open.txt", f"app==1.0 --hash=sha256:{app.sha256}\n")
    home.write("closed.txt", f"app==1.0 --hash=sha256:{app.sha256}\nlib==1.0 --hash=sha256:{lib.sha256}\n")

    pins_too_little, closed = home.check("open.txt"), home.check("closed.txt", "--stage", "production")

    assert pins_too_little.of_files("fail") == [("locked", "open.txt", 1)]
    assert (pins_too_little.status, closed.status) == (1, 0)


def test_known_malware_that_was_taken_down_is_named(home: House) -> None:
    """A pin that the index no longer has is held against entries and advisories all the same."""
    home.index.add("app", "1.0")
    home.advise(before("MAL-2024-9", "app", "0.9"))
    home.write("requirements.txt", "app==0.8\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules("app"), ran.item("app")["nearest"]) == (1, ["malware"], "1.0")


def test_nothing_for_this_target_has_a_reason(home: House) -> None:
    """A verdict over nothing is undecided, and says why."""
    home.advise(HARMLESS)
    home.write("requirements.txt", 'app ; sys_platform == "win32"\n')

    ran = home.check("requirements.txt")

    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "unknown"]
    said = "nothing in requirements.txt applies to cp311-linux-x86_64, so there is nothing to judge"
    assert (ran.status, reason["message"]) == (3, f"{said}: check it for another target")


def test_a_lock_for_something_else_says_so(home: House) -> None:
    """Where there is a wheel that the lock leaves out, the lock is to be mended, not the version."""
    home.index.add("app", "1.0", tag="cp311-cp311-win_amd64")
    home.index.add("app", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    home.advise(HARMLESS)
    windows = home.index.projects["app"][0].sha256
    home.write("requirements.txt", f"app==1.0 --hash=sha256:{windows}\n")

    ran = home.check("requirements.txt")

    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
    assert (ran.status, reason["rule"], ran.json["items"]) == (1, "resolution", [])
    assert reason["message"].startswith(
        "requirements.txt lists no wheel of app 1.0 for cp311-linux-x86_64, though there"
    )


@pytest.mark.parametrize(
    "changed",
    [
        ("store: .other\n", ""),
        ("", '{python: "3.11", platform: windows-x86_64}'),
    ],
)
def test_the_expected_policy_covers_the_configuration(home: House, changed: tuple[str, str]) -> None:
    """Who brings another store, with advisories of their own, or another target, brings another policy."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    digest = home.check("requirements.txt").json["policy"]["sha256"]
    added, target = changed
    configuration = (home.folder / "quarantine.yaml").read_text()
    home.write("quarantine.yaml", added + configuration.replace(home.targets[0], target or home.targets[0]))

    ran = home.check("requirements.txt", "--expect-policy", digest)

    assert (ran.status, [p["rule"] for p in ran.json["preconditions"]][-1]) == (3, "policy")
