"""Attacks on the evidence: bytes, code, clocks, advisories, and the policy itself."""

import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from house import NOW, House
from osv_records import before, bundle
from servers import Answer, IndexServer, ServedFile

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
SECOND = timedelta(seconds=1)


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_bytes_swapped_after_the_lock_are_refused(home: House) -> None:
    """The lock holds the digest; when the index lists other bytes under that name, the lock passes no more."""
    served = home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    assert home.check("requirements.txt", "--lock", "pylock.toml").status == 0
    home.index.projects["app"] = [
        ServedFile(
            filename=served.filename,
            data=served.data + b"more",
            upload_time=served.upload_time,
            yanked=False,
            requires_python=None,
            metadata=served.metadata,
        )
    ]

    ran = home.check("pylock.toml", "--stage", "production", now=NOW + timedelta(seconds=601))

    (reason,) = [r for r in ran.item("app")["reasons"] if r["outcome"] == "fail"]
    assert (ran.status, reason["rule"]) == (1, "integrity")
    assert reason["evidence"]["missing"] == [f"sha256:{served.sha256}"]


def test_metadata_that_is_not_what_the_page_says_decides_nothing(home: House) -> None:
    """Dependencies are read from metadata by digest: a swapped text leaves the verdict open, and locks nothing."""
    served = home.index.add("app", "1.0", requires=["lib"])
    home.index.add_sdist("lib", "1.0")
    home.index.always(
        f"/files/{served.filename}.metadata", Answer(body=b"Metadata-Version: 2.1\nName: app\nVersion: 1.0\n\n")
    )
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt", "--lock", "pylock.toml")

    assert ran.status == 3
    assert "Hash mismatch for package metadata" in ran.out + ran.err
    assert not (home.folder / "pylock.toml").exists()


def test_a_url_in_a_wheels_metadata_is_not_followed(home: House) -> None:
    """A dependency from a URL has no owner: nothing resolves, it says so, and the URL isn't asked."""
    with IndexServer() as evil:
        evil.add("lib", "1.0")
        home.index.add("app", "1.0", requires=[f"lib @ {evil.origin}/files/lib-1.0-py3-none-any.whl"])
        home.advise(HARMLESS)
        home.write("requirements.txt", "app==1.0\n")

        ran = home.check("requirements.txt", "--lock", "pylock.toml")

        assert evil.asked == []
    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
    assert (ran.status, reason["rule"]) == (1, "resolution")
    assert "Package `lib` was included as a URL dependency" in reason["message"]
    assert not (home.folder / "pylock.toml").exists()


# --- code -------------------------------------------------------------------------------------------------------------


def test_no_code_of_a_source_distribution_runs(home: House) -> None:
    """Asked for, pulled in, locked or the project's own: a setup.py that touches a file has not touched it."""
    canary = home.folder / "canary"
    touch = f"open({str(canary)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='built', version='1.0')\n"
    served = home.index.add_sdist("built", "1.0", setup=touch)
    home.index.add("app", "1.0", requires=["built"])
    home.advise(HARMLESS)
    home.write("setup.py", touch)
    home.write("asked.txt", "built\n")
    home.write("pulled.txt", "app\n")
    home.write("locked.txt", f"built==1.0 --hash=sha256:{served.sha256}\n")
    home.write("editable.txt", "-e .\n")
    home.write(
        "pyproject.toml",
        '[project]\nname = "own"\nversion = "1"\ndependencies = ["built"]\n'
        '[build-system]\nrequires = ["built"]\nbuild-backend = "setup"\nbackend-path = ["."]\n',
    )

    ran = {
        name: home.check(name) for name in ("asked.txt", "pulled.txt", "locked.txt", "editable.txt", "pyproject.toml")
    }

    assert not canary.exists()
    assert {name: one.status for name, one in ran.items()} == dict.fromkeys(ran, 1)
    for name in ("asked.txt", "pulled.txt", "locked.txt", "pyproject.toml"):
        assert ran[name].rules("built") == ["source-only"]
    assert [path for path in home.index.paths() if path.endswith(".tar.gz")] == []


def test_dependencies_that_only_code_can_tell_are_not_guessed(home: House) -> None:
    """Dynamic dependencies are computed by a build backend, which isn't run: undecided, with the line."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("pyproject.toml", '[project]\nname = "own"\nversion = "1"\ndynamic = ["dependencies"]\n')

    ran = home.check("pyproject.toml")

    assert (ran.status, ran.of_files("unknown")) == (3, [("unverifiable", "pyproject.toml", 4)])


# --- age and expiry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upload_time", "status"),
    [("2024-02-22T12:00:00Z", 0), ("2024-02-22T12:00:01Z", 1), ("2024-03-01T12:00:00Z", 3)],
)
def test_the_age_of_a_file_over_a_leap_day(home: House, upload_time: str, status: int) -> None:
    """Seven days are seven days, to the second; a file from the future has no age."""
    served = home.index.add("app", "1.0", upload_time=upload_time)
    now = datetime(2024, 2, 29, 12, tzinfo=UTC)
    home.settle()
    home.write("records.zip", bundle(before("MAL-2024-1", "nobody", "9", modified="2024-02-29T00:00:00Z")))
    assert home.run("advisories", "sync", now=now).status == 0
    home.write("requirements.txt", f"app==1.0 --hash=sha256:{served.sha256}\n")

    assert home.check("requirements.txt", now=now).status == status


LEAP = datetime(2028, 2, 29, tzinfo=UTC)


def _at(home: House, now: datetime, *flaws: bytes) -> None:
    """Advisories that are fresh at this moment."""
    stamp = f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    home.write("records.zip", bundle(*flaws, before("MAL-2024-1", "nobody", "9", modified=stamp)))
    assert home.run("advisories", "sync", now=now).status == 0


def test_an_allow_entry_has_expired_at_the_start_of_its_day(home: House) -> None:
    """Until the last second of 28 February it allows; on 29 February it doesn't, whatever the year before said."""
    home.mode = "curated"
    home.entries = (
        "version: 1\nallow:\n  - {name: app, owner: someone, reason: r, added: 2026-01-01, expires: 2028-02-29}\n"
    )
    home.index.add("app", "1.0")
    home.settle()
    home.write("requirements.txt", "app\n")

    found = {}
    for now in (LEAP - SECOND, LEAP, LEAP + timedelta(hours=24)):
        _at(home, now)
        ran = home.check("requirements.txt", now=now)
        found[now] = (ran.status, ran.rules("app"))

    assert list(found.values()) == [(0, []), (1, ["allow-entry"]), (1, ["allow-entry"])]


def test_a_deny_entry_and_an_ignore_end_on_their_day(home: House) -> None:
    """A deny entry denies up to its end; an ignored flaw counts again from its end on."""
    home.entries = (
        "version: 1\ndeny:\n  - {name: app, owner: someone, reason: r, added: 2026-01-01, expires: 2028-02-29}\n"
    )
    home.index.add("app", "1.0")
    home.index.add("lib", "1.0")
    home.settle()
    policy = home.folder / "allowlists/policy.yaml"
    ignore = "{id: CVE-2024-7, package: lib, reason: r, owner: someone, expires: 2028-02-29}"
    policy.write_text(policy.read_text().replace("ignores: []", f"ignores: [{ignore}]"))
    home.write("requirements.txt", "app\nlib\n")
    flaw = before("PYSEC-2024-7", "lib", "2.0", aliases=["CVE-2024-7"], severity=HIGH)

    found = []
    for now in (LEAP - SECOND, LEAP):
        _at(home, now, flaw)
        ran = home.check("requirements.txt", now=now)
        found.append((ran.rules("app"), ran.rules("lib")))

    assert found == [(["deny-entry"], []), ([], ["vulnerability"])]


def test_a_day_that_does_not_exist_is_an_error(home: House) -> None:
    """2027 has no 29 February: the policy is refused at that place, and nothing is judged."""
    home.entries = "version: 1\nallow:\n  - {name: app, owner: o, reason: r, added: 2026-01-01, expires: 2027-02-29}\n"
    home.settle()
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"error: {home.folder}/allowlists/pypi.yaml:3:66: '2027-02-29' is no value: day is out of range for month\n"
    )


def test_an_accepted_age_of_advisories_ends_on_its_day(home: House) -> None:
    """`accept_age_until` holds through that day in UTC, is told in the verdict, and not a second longer."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    config = home.folder / "quarantine.yaml"
    config.write_text(config.read_text().replace("max_age_hours: 96", "accept_age_until: 2028-02-29"))
    home.write("requirements.txt", "app\n")
    end = LEAP + timedelta(days=1)

    last, after = (home.check("requirements.txt", now=now) for now in (end - SECOND, end))

    assert (last.status, after.status) == (0, 3)
    assert last.json["advisories"]["accepted_until"] == "2028-03-01T00:00:00Z"


def test_a_clock_before_the_advisories_decides_nothing(home: House) -> None:
    """Advisories from the future show that the clock is wrong."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt", now=NOW - timedelta(days=10))

    assert (ran.status, ran.json["preconditions"][0]["rule"]) == (3, "advisory-snapshot")
    assert "which is yet to come: see whose clock is wrong" in ran.json["preconditions"][0]["message"]


# --- advisories -------------------------------------------------------------------------------------------------------


def _cut(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def _cut_a_little(database: Path) -> None:
    os.truncate(database, database.stat().st_size - 1)


def _rewritten(sql: str) -> Callable[[Path], None]:
    def rewrite(database: Path) -> None:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute(sql)
        connection.close()

    return rewrite


def _piped(database: Path) -> None:
    database.unlink()
    os.mkfifo(database)


def _a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda database: database.write_bytes(b""),
    "cut": _cut,
    "cut by a byte": _cut_a_little,
    "no database": lambda database: database.write_bytes(b"{}" * 5000),
    "without meta": _rewritten("DELETE FROM meta"),
    "without a table": _rewritten("DROP TABLE advisory"),
    "renamed table": _rewritten("ALTER TABLE malicious_file RENAME TO other"),
    "foreign rows": _rewritten("UPDATE advisory SET content = x'c1', ecosystem = 'PyPI', name = 'app'"),
    "a pipe": _piped,
    "a folder": _a_folder,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_advisories_that_can_not_be_read_decide_nothing(home: House, damage: Callable[[Path], object]) -> None:
    """Undecided, recorded as such, with what to run; nothing is locked."""
    home.index.add("app", "1.0")
    home.advise()
    home.write("requirements.txt", "app\n")
    damage(home.folder / ".quarantine/advisories.sqlite")

    ran = home.check("requirements.txt", "--lock", "pylock.toml")

    (failed,) = [one for one in ran.json["preconditions"] if one["outcome"] != "pass"]
    assert (ran.status, ran.json["verdict"], failed["rule"]) == (3, "undecided", "advisory-snapshot")
    assert "advisories sync" in failed["message"]
    assert not (home.folder / "pylock.toml").exists()
    assert '"outcome":"undecided"' in home.run("audit", "export").out


def test_no_malware_records_no_verdict(home: House) -> None:
    """A source that never had any can't show that there is none."""
    home.index.add("app", "1.0")
    home.settle()
    home.write("records.zip", bundle(HARMLESS))
    home.run("advisories", "sync")
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules("app", "unknown")) == (3, ["malware"])


# --- the judged own the judge -----------------------------------------------------------------------------------------


def test_a_policy_beside_the_code_does_not_pass_for_the_expected_one(home: House) -> None:
    """Whatever is loosened in the repository that is checked: with the digest pinned, nothing is allowed or locked."""
    home.index.add("app", "1.0", upload_time="2026-11-23T00:00:00Z")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app==1.0\n")
    strict = home.check("requirements.txt")
    digest = strict.json["policy"]["sha256"]
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace("days: 7", "days: 0"))

    loose = home.check("requirements.txt")
    pinned = home.check("requirements.txt", "--expect-policy", digest, "--lock", "pylock.toml")

    assert [ran.status for ran in (strict, loose, pinned)] == [1, 0, 3]
    (failed,) = [one for one in pinned.json["preconditions"] if one["outcome"] != "pass"]
    assert failed["rule"] == "policy"
    assert failed["message"] == f"the policy in force is {loose.json['policy']['sha256']}, expected {digest}"
    assert not (home.folder / "pylock.toml").exists()


@pytest.mark.parametrize("digest", ["", "0", "x" * 64, "sha256:"])
def test_a_pin_that_is_no_digest_pins_nothing_open(home: House, digest: str) -> None:
    """An empty variable in a pipeline doesn't become "any policy will do"."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    assert home.check("requirements.txt", "--expect-policy", digest).status in (2, 3)


def test_a_configuration_that_can_not_be_read_is_not_passed_over(home: House) -> None:
    """A quarantine.yaml that is a dangling link, a pipe or a folder doesn't let the embedded default stand in for it."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    config = home.folder / "quarantine.yaml"
    makes: dict[str, Callable[[], None]] = {
        "link": lambda: config.symlink_to("nowhere.yaml"),
        "pipe": lambda: os.mkfifo(config),
        "folder": config.mkdir,
    }
    found = {}
    for name, make in makes.items():
        config.unlink(missing_ok=True)
        make()
        ran = home.check("requirements.txt")
        found[name] = (ran.status, ran.out, ran.err)

    assert found == {
        "link": (2, "", f"error: {config}: can't be read: no such file or directory\n"),
        "pipe": (2, "", f"error: {config}: is not a regular file: expected YAML\n"),
        "folder": (2, "", f"error: {config}: can't be read: is a directory\n"),
    }


# --- YAML -------------------------------------------------------------------------------------------------------------

_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
HOSTILE_YAML = {
    "billion laughs": (_LAUGHS, ":2:8: an alias (*name): write the value out"),
    "merge keys": ("a: &a {b: 1}\nc:\n  <<: *a\n", ":3:7: an alias (*name): write the value out"),
    "depth": ("a: " + "[" * 500, ":1:35: nested deeper than 32"),
    # the parser may have a limit of its own, which speaks first
    "more depth": ("a: " + "[" * 100_000, "nest"),
    "duplicate keys": ("version: 1\nversion: 1\n", ":2:1: 'version' stands twice"),
    "tags": ("version: !!python/object/apply:os.system [id]\n", ":1:10: a tag of its own"),
    "not UTF-8": (b"version: \xff\n", ": not UTF-8 (byte 9): expected a YAML file"),
    "50 MB": ("#" * 50_000_000, "bytes"),
    "unknown key": ("version: 1\nmode: open\n", ":2:1: unknown key 'mode'"),
    "binary": (bytes(range(256)), ": not UTF-8 (byte 128): expected a YAML file"),
    "empty": ("", ": empty: expected a YAML mapping"),
}


@pytest.mark.parametrize("file", ["quarantine.yaml", "allowlists/policy.yaml", "allowlists/pypi.yaml"])
@pytest.mark.parametrize(("text", "message"), HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_hostile_yaml_is_refused_at_once(home: House, file: str, text: str | bytes, message: str) -> None:
    """Exit 2 within a second, with the place; nothing is judged, recorded or asked."""
    home.entries = "version: 1\n"
    home.settle()
    home.write(file, text)
    home.write("requirements.txt", "app\n")
    before_it = home.stored()

    started = time.process_time()
    ran = home.check("requirements.txt")

    assert time.process_time() - started < 1
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {home.folder}/{file}")
    assert message in ran.err
    assert home.stored() == before_it
    assert home.index.asked == []


# --- slow patterns ----------------------------------------------------------------------------------------------------

N = 15_000
SLOW = {
    "letters": "a" * N + "!",
    "separators": "app" + "-." * (N // 2) + "!",
    "blanks": "app" + " " * N + "x",
    "extras": "app[" + "a," * (N // 2) + "!",
    "brackets": "app ; " + "(" * N,
    "specifiers": "app" + ">=1," * (N // 4) + "!",
    "userinfo": "app @ https://" + "a@" * (N // 2),
    "variables": "${" * (N // 2),
    "options": "app" + " --hash" * (N // 7),
    "hashes": "=app" + " #" * (N // 2),
    "digits": "app==" + "1." * (N // 2) + "x",
    "quotes": "--index-url " + "'\\" * (N // 2),
    "continuations": "\\\n" * N + "!",
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_line_is_slow_to_refuse(home: House, text: str) -> None:
    """Within the length that is read at all, no repetition makes a pattern backtrack; longer lines aren't looked at."""
    home.settle()
    home.write("requirements.txt", f"{text}\n")
    home.write("long.txt", f"{text * 7}\n")
    home.check("long.txt")  # imports are not what is measured

    started = time.process_time()
    statuses = {home.check(name).status for name in ("requirements.txt", "long.txt")}

    assert time.process_time() - started < 0.5
    assert statuses <= {2, 3}
    assert home.index.asked == []
