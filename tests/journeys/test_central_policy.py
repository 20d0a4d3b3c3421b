"""The judged don't own the judge: a published policy judges, and a local folder may only tighten it."""

import re
import shutil
from datetime import timedelta

import pytest
from exception_records import ANN, ISSUER
from exception_records import BOB as CURATOR
from house import NOW, House
from let_in import BOB, LetIn, python_file
from msgspec.structs import replace
from osv_records import before

from quarantine import wiring
from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.events import policy_draft
from quarantine.audit.record import new_id
from quarantine.config import load_settings, read_environment
from quarantine.exceptions import PolicyPublished
from quarantine.pipeline.central import bundle_of
from quarantine.policy.load import policy_sha256

TRUSTED = [{"issuer": ISSUER, "audience": "quarantine"}]
HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
OF = "owner: ann, reason: reviewed, added: 2026-01-01, expires: 2027-01-01"
CURATED = f"version: 1\nallow: [{{name: app, {OF}}}]\n"
TIGHTER = "version: 1\ndeny: [{name: app, owner: sec, reason: not here, added: 2026-01-01}]\n"


def central(home: House) -> None:
    """The policy in force is the published one from now on."""
    config = home.folder / "quarantine.yaml"
    config.write_text(config.read_text() + "policy: central\n")


def published(home: House, entries: str = CURATED, mode: str = "curated") -> None:
    """A project whose curators published a policy with this list."""
    home.mode, home.entries, home.identities = mode, entries, TRUSTED
    home.index.add("app", "1.0")
    home.index.add("other", "1.0")
    home.advise(HARMLESS)
    home.write("app.txt", "app\n")
    home.write("other.txt", "other\n")
    ran = home.run("allowlist", "publish", "--reason", "reviewed in change 41")
    assert ran.status == 0, ran.err
    central(home)


def relax(home: House, mode: str = "open", entries: str | None = None) -> None:
    """Whoever owns the repository writes a policy of their own beside the code."""
    home.mode, home.entries = mode, entries
    shutil.rmtree(home.folder / "allowlists")
    home.settle()
    central(home)


def test_without_a_published_policy_nothing_is_judged(home: House) -> None:
    """That there is none is said with the command that publishes one; the local folder doesn't stand in for it."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("app.txt", "app\n")
    central(home)

    ran = home.check("app.txt")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err == (
        "error: no policy is in force: none was published in the store yet; a curator does that with "
        "`quarantine allowlist publish --reason WHY`\n"
    )


def test_a_local_open_policy_changes_nothing(home: House) -> None:
    """The published list is curated; that the repository calls the upstream open lets nothing through."""
    published(home)
    before_it = [home.check(f"{name}.txt") for name in ("app", "other")]
    relax(home)

    after = [home.check(f"{name}.txt") for name in ("app", "other")]

    assert [ran.status for ran in before_it] == [0, 1]
    assert [ran.status for ran in after] == [0, 1]
    assert after[1].rules("other") == ["repository"]
    assert after[1].json["policy"] == before_it[1].json["policy"]


def test_a_local_policy_may_tighten_and_says_so(home: House) -> None:
    """What it denies is denied, with its word marked as the local one's."""
    published(home)
    relax(home, entries=TIGHTER)

    ran = home.check("app.txt")

    assert (ran.status, ran.rules("app")) == (1, ["deny-entry"])
    (said,) = [r["message"] for r in ran.item("app")["reasons"] if r["outcome"] == "fail"]
    assert said == "local policy: app 1.0 is denied by app (pypi.yaml:2): not here: use another package, or ask sec"


def test_a_local_policy_may_ask_for_a_lock_where_the_published_one_does_not(home: House) -> None:
    """Rules about the file as a whole are judged by both, too."""
    published(home)
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace("locked: {required: false}", "locked: {required: true}"))

    ran = home.check("app.txt")

    assert ran.status == 1
    (said,) = [r["message"] for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
    assert said.startswith("local policy: app.txt pins no digests")


def test_a_local_policy_has_no_say_in_upstreams(home: House) -> None:
    """An upstream that only the local folder names is never asked, whatever it has."""
    published(home, entries="version: 1\n", mode="open")
    policy = home.folder / "allowlists/policy.yaml"
    own = f'upstreams:\n  - {{name: own, type: pypi, url: "{home.index.origin}/evil/simple", mode: open}}\n'
    policy.write_text(policy.read_text().replace("upstreams:\n", own))
    asked = len(home.index.asked)

    ran = home.check("app.txt")

    assert (ran.status, ran.item("app")["upstream"]) == (0, "pypi")
    assert not [path for path in home.index.paths()[asked:] if "evil" in path]


def test_doctor_says_how_a_policy_is_put_in_force(home: House) -> None:
    """And goes on with everything else that can be told without one."""
    home.settings = ["policy: central"]
    home.settle()

    ran = home.run("doctor")

    lines = ran.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("MISSING policy: "))
    assert (ran.status, lines[at + 1].strip()) == (
        3,
        "-> quarantine allowlist publish --reason WHY, by a curator, whose folder of allowlists is then in force",
    )
    assert [
        name
        for name in ("configuration", "targets", "resolver", "store", "audit log", "identity")
        if f" {name}: " not in ran.out
    ] == []


def test_validate_says_that_a_local_folder_differs(home: House) -> None:
    """What is looser in it has no effect, which nobody should find out by a denial; the two digests have names."""
    published(home)
    same = home.run("allowlist", "validate")
    relax(home)
    other = home.run("allowlist", "validate")

    folder = home.folder / "allowlists"
    assert f"local: {folder}, the same files\n" in same.out
    beside = "what is stricter in it counts beside them, and what is looser has no effect"
    assert f"local: {folder}, other files than those: {beside}\n" in other.out
    digests = re.findall(r"^(?:in force: )?files: sha256 |^in force: files sha256 ", other.out, re.MULTILINE)
    assert digests == ["files: sha256 ", "in force: files sha256 "]


def test_no_local_folder_is_needed(home: House) -> None:
    """Then the published policy is all there is, and `validate` says so."""
    published(home)
    shutil.rmtree(home.folder / "allowlists")

    ran, said = home.check("app.txt"), home.run("allowlist", "validate")

    assert (ran.status, said.status) == (0, 0)
    expected = re.search(r"^in force with this configuration: sha256 ([0-9a-f]{64})$", said.out, re.MULTILINE)
    assert expected is not None
    assert expected[1] == ran.json["policy"]["sha256"]
    assert said.out.endswith("\nlocal: none\n")
    assert home.check("app.txt", "--expect-policy", expected[1]).status == 0
    assert home.check("app.txt", "--expect-policy", "0" * 64).status == 3


def test_the_last_published_policy_is_in_force(home: House) -> None:
    """Publishing again replaces it for everybody."""
    published(home)
    home.entries = TIGHTER
    home.mode = "open"
    home.settle()
    assert home.run("allowlist", "publish", "--reason", "app is bad", now=NOW + timedelta(minutes=1)).status == 0
    relax(home)

    ran = home.check("app.txt", now=NOW + timedelta(minutes=2))

    assert (ran.status, ran.rules("app")) == (1, ["deny-entry"])
    assert "local policy" not in ran.out


def test_an_exception_is_judged_by_the_published_policy(home: House) -> None:
    """That the local folder would take one approval doesn't help where the published policy asks for two."""
    home.mode, home.entries, home.identities = "curated", CURATED, TRUSTED
    other = home.index.add("other", "1.0")
    home.advise(HARMLESS)
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace("approvers: 1", "approvers: 2"))
    assert home.run("allowlist", "publish", "--reason", "two of us").status == 0
    relax(home)
    home.write("other.txt", "other\n")
    case = LetIn(home=home, files=(python_file(other, "other", "1.0"),), by=ANN)
    case.vet("other 1.0 repository")
    case.rule(by=CURATOR)
    case.publish(other)

    ran = home.check("other.txt")

    assert (ran.status, ran.rules("other")) == (1, ["repository"])
    (said,) = [r["message"] for r in ran.item("other")["reasons"] if r["rule"] == "exception"]
    assert "has 1 of 2 approvals" in said


def test_a_mirror_that_is_served_follows_the_published_policy(home: House) -> None:
    """One that asks for more approvals counts in the server that is running already."""
    home.mode, home.entries, home.identities = "curated", CURATED, TRUSTED
    other = home.index.add("other", "1.0")
    home.settle()
    assert home.run("allowlist", "publish", "--reason", "one of us").status == 0
    central(home)
    case = LetIn(home=home, files=(python_file(other, "other", "1.0"),), by=ANN)
    case.vet("other 1.0 repository")
    case.rule(by=CURATOR)
    case.publish(other)
    environment = read_environment(home.variables)
    settings = load_settings(home.folder / "quarantine.yaml", environment, home.folder)
    began = wiring.policies(settings, environment, NOW).policy
    clock = [NOW]
    shelves = wiring.mirror_shelves(settings, environment, began, "demo", "development", lambda: clock[0])
    served = shelves.count
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace("approvers: 1", "approvers: 2"))
    later = NOW + timedelta(minutes=1)
    assert home.run("allowlist", "publish", "--reason", "two of us", now=later).status == 0

    clock[0] = later

    assert (served, shelves.count) == (1, 0)


def test_a_policy_in_the_requesters_container_counts_for_nothing(home: House) -> None:
    """Who may append where decides who is a curator, not what an entry says of its writer."""
    published(home)
    relax(home)
    root = home.folder / ".quarantine"
    files = {path.name: path.read_bytes() for path in (home.folder / "allowlists").iterdir()}
    bundle = LocalStore(root).put("evidence", bundle_of(files))
    forged = PolicyPublished(
        time=NOW, by=BOB, sha256=policy_sha256(files), bundle=bundle.hex, reason="everything is open"
    )
    LocalLog(root / "log").append("log-requests/demo-2026-11", [policy_draft(forged, "demo", new_id(NOW, b"0" * 10))])

    assert home.check("other.txt").status == 1


def test_a_published_policy_whose_files_changed_stops_everything(home: House) -> None:
    """The entry names the bytes: others under that name are tampering, or were never what it says."""
    published(home)
    bundle = bundle_of({"policy.yaml": b"version: 1\n"})
    root = home.folder / ".quarantine"
    digest = LocalStore(root).put("evidence", bundle)
    wrong = PolicyPublished(time=NOW + timedelta(seconds=1), by=BOB, sha256="0" * 64, bundle=digest.hex, reason="x")
    draft = policy_draft(wrong, "demo", new_id(NOW, b"1" * 10))
    LocalLog(root / "log").append("log-decisions/decisions-2026-11", [draft])

    ran = home.check("app.txt")

    assert (ran.status, ran.out) == (3, "")
    assert "stop and look who changed it" in ran.err


@pytest.mark.parametrize("bundle", [b"", b"[]", b'{"policy.yaml": 1}', b'{"policy.yaml": "%%"}'])
def test_a_bundle_that_is_none_stops_everything(home: House, bundle: bytes) -> None:
    """What the entry names must be the files of a policy."""
    published(home)
    root = home.folder / ".quarantine"
    digest = LocalStore(root).put("evidence", bundle)
    wrong = PolicyPublished(time=NOW + timedelta(seconds=1), by=BOB, sha256="0" * 64, bundle=digest.hex, reason="x")
    draft = policy_draft(wrong, "demo", new_id(NOW, b"1" * 10))
    LocalLog(root / "log").append("log-decisions/decisions-2026-11", [draft])

    ran = home.check("app.txt")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error: the bundle of the published policy is none: ")


def test_a_policy_for_all_says_whose_words_count(home: House) -> None:
    """Without it whoever runs a command would choose whom to believe: it is refused, and nothing is recorded."""
    home.settle()

    ran = home.run("allowlist", "publish", "--reason", "first")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"error: {home.folder}/allowlists/policy.yaml doesn't say whose words on exceptions count: add `identities`, a list "
        "of {issuer, audience}; without it, whoever runs a command would choose whom to believe\n"
    )
    assert not (home.folder / ".quarantine/log").exists()


def test_an_approval_by_an_issuer_of_ones_own_counts_for_nothing(home: House) -> None:
    """Neither another issuer than the policy's, nor another claim of the same person's token, is one more approver."""
    home.mode, home.entries, home.identities = "curated", CURATED, TRUSTED
    other = home.index.add("other", "1.0")
    home.advise(HARMLESS)
    assert home.run("allowlist", "publish", "--reason", "for all").status == 0
    central(home)
    home.write("other.txt", "other\n")
    case = LetIn(home=home, files=(python_file(other, "other", "1.0"),), by=ANN)
    case.vet("other 1.0 repository")
    for by in (replace(CURATOR, issuer="https://issuer.example.com"), replace(ANN, id="of-ann", claim="actor_id")):
        case.rule(by=by)
    case.publish(other)
    assert home.check("other.txt").status == 1

    case.rule(by=CURATOR)

    assert home.check("other.txt").status == 0


def test_what_is_no_policy_is_never_published(home: House) -> None:
    """A folder with a mistake in it ends with its place, and nothing is recorded."""
    home.settle()
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace("mode: open", "mode: opne"))

    ran = home.run("allowlist", "publish", "--reason", "typo")

    assert (ran.status, ran.out) == (2, "")
    assert "policy.yaml:3" in ran.err
    assert not (home.folder / ".quarantine" / "log").exists()


def test_publishing_says_where_it_counts(home: House) -> None:
    """Where the configuration doesn't ask for a central policy, the folder judges as before."""
    home.identities = TRUSTED
    home.settle()

    ran = home.run("allowlist", "publish", "--reason", "first")
    empty = home.run("allowlist", "publish", "--reason", " ")

    assert ran.status == 0
    assert ran.out.splitlines()[-1] == (
        "in force where quarantine.yaml says `policy: central`: here it is the folder that judges"
    )
    assert (empty.status, empty.err) == (2, "error: --reason: expected a sentence of at most 2000 characters\n")
