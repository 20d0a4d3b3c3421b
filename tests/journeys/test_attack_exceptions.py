"""Attacks on the exception process, through the real command line: by who asks, by who uploads, and by who writes past it."""

import base64
import json
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from channels import CondaChannel
from exception_records import entry_id, request
from house import NOW, House, Ran
from issuer import IssuerServer, ec_key, encoded, rsa_key, times
from msgspec.structs import replace
from osv_records import before, bundle
from servers import Answer, IndexServer, ServedFile, WebServer, core_metadata, make_wheel
from zips import DEVICE, SYMLINK, Part, built, deflate

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.events import joined_draft, request_drafts, ruling_draft
from quarantine.audit.fold import decode_folded, encode_folded
from quarantine.exceptions import ExceptionCase, ExceptionFile, ExceptionRequest, Identity, Joined, Ruling, RulingKind
from quarantine.model import Ecosystem
from quarantine.pipeline.state import STATE_PAGE, keep_state, read_state

HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
FLAW = before("PYSEC-2024-7", "core", "9.0", severity=HIGH)
FLAWED = "core 1.0 vulnerability:PYSEC-2024-7"
CANARY = "s3cr3tcanary"
DECISIONS, REQUESTS = "log-decisions/decisions-2026-11", "log-requests/demo-2026-11"
HOSTILE = (
    "\n##vso[task.complete result=Succeeded]done\r\n::add-mask::x\u2028::stop-commands::x\x1b]52;c;ZXZpbA==\x07\x1b[2J"
    "\x9b2J\u202egnp.\u2066exe##[section]x #\u200b#vso[x] </testcase><script>x</script>"
)


class Firm:
    """A house whose people an issuer knows; whoever runs a command shows a token of their own."""

    def __init__(self, home: House, issuer: IssuerServer) -> None:
        self.home = home
        self.issuer = issuer
        home.settings = [f"identity: {{kind: oidc, issuer: '{issuer.issuer}', audience: quarantine, token: 'env:WHO'}}"]

    def be(self, who: str, now: datetime = NOW, **claims: object) -> None:
        """Whoever runs the next command; `claims` are others than they have."""
        known = {"iss": self.issuer.issuer, "aud": "quarantine", "sub": f"id-{who}", "preferred_username": who}
        self.home.variables["WHO"] = self.issuer.sign({**known, **times(now), **claims})

    def run(self, who: str, *argv: str, now: datetime = NOW) -> Ran:
        """Somebody runs `quarantine exception`."""
        self.be(who, now)
        return self.home.run("exception", *argv, now=now)

    def ask(self, *packages: str, reason: str = "the model needs it", now: datetime = NOW) -> str:
        """The id of what Ann asks for."""
        known = set(self.cases)
        ran = self.run("ann", "request", *packages, "--reason", reason, now=now)
        assert ran.status == 0, ran
        (new,) = set(self.cases) - known
        return new

    def file_raw(self, *files: ExceptionFile, reason: str = "the model needs it") -> ExceptionRequest:
        """A request that is written into the requesters' container, past everything that the command looks at."""
        asked = request(*files, by=self.person("ann"), reason=reason, time=NOW, stage="development")
        self.log.append(REQUESTS, request_drafts(asked, [entry_id(NOW)]))
        return asked

    def publish(self, *packages: str) -> str:
        """The id of what Ann asks for, Bob approves and the pipeline publishes."""
        id_ = self.ask(*packages)
        self.process()
        assert self.run("bob", "approve", id_, "--reason", "looked at", "--waive", "all").status == 0
        self.process()
        return id_

    def process(self, now: datetime = NOW, status: int = 0) -> Ran:
        """The central pipeline runs."""
        ran = self.run("pipeline", "process", now=now)
        assert ran.status == status, ran
        return ran

    def person(self, who: str) -> Identity:
        """Who they are in a record."""
        return Identity(kind="oidc", id=f"id-{who}", name=who, issuer=self.issuer.issuer, verified=True)

    @property
    def log(self) -> LocalLog:
        """The log itself, for what has no command."""
        return LocalLog(self.home.folder / ".quarantine" / "log")

    @property
    def cases(self) -> dict[str, ExceptionCase]:
        """All exceptions."""
        return dict(read_state(self.log, LocalStore(self.home.folder / ".quarantine")).cases)

    def standing(self, id_: str) -> tuple[str, int]:
        """Where an exception stands, and how many approvals of it count."""
        shown = self.run("carol", "show", id_, "--report", "json").json["standing"]
        return shown["status"], len(shown["counted"])

    def in_mirror(self) -> list[str]:
        """The sha256 of the files that the mirror has."""
        return sorted(path.name for path in (self.home.folder / ".quarantine/files").rglob("*") if path.is_file())


@pytest.fixture
def firm(home: House) -> Iterator[Firm]:
    """An index with two versions of a flawed package."""
    home.index.add("core", "1.0")
    home.index.add("core", "2.0")
    with IssuerServer() as issuer:
        built_ = Firm(home, issuer)
        home.advise(FLAW)
        yield built_


def python(served: ServedFile, name: str = "core", version: str = "1.0", upstream: str = "pypi") -> ExceptionFile:
    """What a request says of a file of an index."""
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=name,
        version=version,
        filename=served.filename,
        sha256=served.sha256,
        size=len(served.data),
    )


# --- approvals --------------------------------------------------------------------------------------------------------


def test_an_approval_is_worth_nothing_for_another_digest(firm: Firm) -> None:
    """Bob's own approval of core 1.0, copied onto a request for other bytes of core 1.0: as it is, and with the digest changed."""
    approved = firm.publish("core==1.0")
    firm.home.index.projects["core"].clear()
    evil = firm.home.index.add("core", "1.0", requires=["idna"])
    later = NOW + timedelta(hours=2)
    other = firm.ask("core==1.0", now=later)
    firm.process(later)
    ruling, case = firm.cases[approved].rulings[0], firm.cases[other]
    assert case.request is not None
    assert case.dossier is not None
    for forged in (
        ruling,
        replace(ruling, files=(evil.sha256,)),
        replace(ruling, dossier=case.dossier.sha256),
    ):
        firm.log.append(DECISIONS, [ruling_draft(case.request, replace(forged, id=entry_id(NOW)))])
    firm.home.write("requirements.txt", f"core==1.0 --hash=sha256:{evil.sha256}\n")

    processed, verdict = firm.process(later), firm.home.check("requirements.txt", now=later)

    assert (firm.cases[other].files[0].sha256, firm.standing(other)) == (evil.sha256, ("vetted", 0))
    assert len(firm.cases[other].rulings) == 3
    assert processed.out.startswith("nothing was due\n")
    assert (verdict.status, verdict.item("core")["exception"]) == (1, None)
    assert evil.sha256 not in firm.in_mirror()


def test_who_writes_the_mirrors_pages_approves_nothing(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept page with a made-up approval and dossier: the approval counts for nothing, and `audit verify` tells the dossier."""
    id_ = firm.ask("core==1.0")
    firm.process()
    case = firm.cases[id_]
    assert case.request is not None
    assert case.dossier is not None
    pages = LocalStore(firm.home.folder / ".quarantine")
    monkeypatch.setattr("quarantine.pipeline.state.KEEP_AFTER", 1)
    keep_state(firm.log, pages)
    kept = pages.page(STATE_PAGE)
    assert kept is not None
    folded = decode_folded(kept.data)
    assert folded is not None
    harmless = replace(case.dossier, failures=())
    ruling = Ruling(
        kind=RulingKind.APPROVE,
        id=entry_id(NOW),
        time=NOW,
        by=firm.person("bob"),
        reason="as if by Bob",
        policy="0" * 64,
        files=case.dossier.files,
        dossier=case.dossier.sha256,
        project=case.request.project,
        stage=case.request.stage,
    )
    made_up = replace(case, dossiers=(harmless,), rulings=(ruling,))
    page = replace(folded, state=replace(folded.state, cases={**folded.state.cases, id_: made_up}))
    sound = firm.home.run("audit", "verify")
    pages.swap(STATE_PAGE, encode_folded(page), "application/octet-stream", kept.tag)

    standing, verified = firm.standing(id_), firm.home.run("audit", "verify")

    assert standing == ("vetted", 0)
    assert sound.status == 0
    assert verified.status == 1
    assert verified.err.splitlines()[-2:] == [
        f"error: {id_[:12]}: the pages state/exceptions.msgpack and decisions/exceptions.msgpack don't say what the log says",
        "take both pages away, and see who wrote to them: they are made anew from the log",
    ]


def test_an_approval_is_worth_nothing_for_another_request(firm: Firm) -> None:
    """The same files for another project: an entry that names the first one's approval counts for nothing there."""
    approved = firm.publish("core==1.0")
    firm.home.project = "other"
    firm.home.settle()
    other = firm.ask("core==1.0")
    firm.process()
    ruling, case = firm.cases[approved].rulings[0], firm.cases[other]
    assert case.request is not None
    firm.log.append(DECISIONS, [ruling_draft(case.request, replace(ruling, id=entry_id(NOW)))])
    firm.home.write("requirements.txt", "core==1.0\n")

    assert firm.standing(other) == ("vetted", 0)
    assert firm.home.check("requirements.txt").status == 1


@pytest.mark.parametrize("joins", [False, True])
def test_one_person_under_two_names_is_one(firm: Firm, joins: bool) -> None:
    """The immutable id counts: a new name, a new mail address, other claims make nobody else of who asked, or who joined."""
    id_ = firm.ask("core==1.0")
    if joins:
        assert firm.run("dan", "request", "core==1.0", "--reason", "me too").status == 0
    firm.process()
    firm.be("boss", sub="id-dan" if joins else "id-ann", name="The Boss", email="boss@example.org")

    ran = firm.home.run("exception", "approve", id_, "--reason", "I am the boss", "--waive", "all")

    assert ran.status == 1
    boss = "boss (oidc of 127.0.0.1)"
    said = f"the log says that {boss} joined" if joins else f"{boss} asked for it"
    assert ran.err.startswith(f"refused: {id_[:12]}: {said}, and whoever asks never approves")
    assert firm.standing(id_) == ("vetted", 0)


def test_no_curator_is_kept_out_by_what_a_requester_writes(firm: Firm) -> None:
    """That somebody joined takes no right but to ask: whoever never did says so, and the log shows it."""
    id_ = firm.ask("core==1.0")
    firm.process()
    asked = firm.cases[id_].request
    assert asked is not None
    forged = [Joined(time=NOW, by=firm.person(who), reason="me too") for who in ("bob", "carol")]
    firm.log.append("log-requests/other-2026-11", [joined_draft(asked, one, entry_id(NOW)) for one in forged])
    argv = ("approve", id_, "--reason", "looked at", "--waive", "all")

    refused = firm.run("bob", *argv)
    approved = firm.run("bob", *argv, "--not-mine")
    shown = firm.run("carol", "show", id_)

    assert refused.status == 1
    assert "if you never did, say so with --not-mine, and it stands in the log" in refused.err
    assert (approved.status, approved.err) == (0, "note: it stands in the log that you say you didn't ask\n")
    assert firm.standing(id_) == ("approved", 1)
    assert "(says they didn't ask) looked at" in shown.out


def _no_signature(firm: Firm, claims: dict[str, object]) -> str:
    return f"{encoded({'alg': 'none', 'kid': 'one'})}.{encoded(claims)}."


def _their_own_key(firm: Firm, claims: dict[str, object]) -> str:
    return firm.issuer.sign(claims, key=rsa_key("mallory"))


def _claims_changed(firm: Firm, claims: dict[str, object]) -> str:
    head, _, signature = firm.issuer.sign({**claims, "sub": "id-ann"}).split(".")
    return f"{head}.{encoded(claims)}.{signature}"


def _another_kind_of_key(firm: Firm, claims: dict[str, object]) -> str:
    return firm.issuer.sign(claims, key=ec_key("mallory"), algorithm="ES256")


def _yesterdays(firm: Firm, claims: dict[str, object]) -> str:
    return firm.issuer.sign({**claims, **times(NOW - timedelta(days=1))})


def _for_another(firm: Firm, claims: dict[str, object]) -> str:
    return firm.issuer.sign({**claims, "aud": "https://management.example.org"})


def _for_nobody(firm: Firm, claims: dict[str, object]) -> str:
    return firm.issuer.sign({**claims, "sub": ""})


@pytest.mark.parametrize(
    "forge",
    [_no_signature, _their_own_key, _claims_changed, _another_kind_of_key, _yesterdays, _for_another, _for_nobody],
)
def test_a_forged_token_decides_nothing(firm: Firm, forge: Callable[[Firm, dict[str, object]], str]) -> None:
    """No token, no identity, no entry; and nothing of it is repeated."""
    id_ = firm.ask("core==1.0")
    firm.process()
    claims: dict[str, object] = {"iss": firm.issuer.issuer, "aud": "quarantine", "sub": "id-bob", **times(NOW)}
    token = forge(firm, claims)
    firm.home.variables |= {"WHO": token, "USER": "bob", "LOGNAME": "bob"}
    stored = firm.home.stored()

    runs = [
        firm.home.run("exception", "approve", id_, "--reason", "I am Bob", "--waive", "all"),
        firm.home.run("exception", "revoke", id_, "--reason", "I am Bob"),
        firm.home.run("exception", "process"),
        firm.home.run("exception", "request", "core==2.0", "--reason", "I am Bob"),
    ]

    assert [ran.status for ran in runs] == [3] * 4
    assert all("the identity token" in ran.err and token not in ran.err for ran in runs)
    after = firm.home.stored()
    assert {path for path in after if path.startswith(".quarantine/") and after[path] != stored.get(path)} == set()


def test_nothing_raw_in_the_requesters_container_decides(firm: Firm) -> None:
    """An approval, a rejection, a renewal and a revocation that a requester writes: ignored, and the list says so."""
    id_ = firm.publish("core==1.0")
    case = firm.cases[id_]
    assert case.request is not None
    for kind in RulingKind:
        forged = replace(case.rulings[0], kind=kind, id=entry_id(NOW))
        firm.log.append(REQUESTS, [ruling_draft(case.request, forged)])

    listed = firm.run("carol", "list")

    assert firm.standing(id_) == ("published", 1)
    assert len(firm.cases[id_].rulings) == 1
    assert "warning: 4 entries don't count, since their writers may not write them" in listed.err


# --- requests ---------------------------------------------------------------------------------------------------------


def _hostile_files() -> dict[str, ExceptionFile]:
    sdist = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream="pypi",
        name="core",
        version="1.0",
        filename="core-1.0.tar.gz",
        sha256="a" * 64,
    )
    conda = replace(sdist, ecosystem=Ecosystem.CONDA, upstream="forge", filename="core-1.0-0.conda", subdir="noarch")
    return {
        "a-path": replace(sdist, name="../../files/core"),
        "spaces": replace(sdist, name="a b"),
        "unicode": replace(sdist, name="\u212aore"),
        "not-normalised": replace(sdist, name="Core"),
        "commands": replace(sdist, name="core\n##vso[task.complete]"),
        "another-file": replace(sdist, filename="other-9.9.tar.gz"),
        "another-upstream": replace(sdist, upstream="nobody"),
        "conda-name": replace(conda, name="[evil name"),
        "conda-path": replace(conda, subdir="../..", build="/../"),
        "conda-upstream": replace(conda, upstream="pypi"),
    }


@pytest.mark.parametrize("what", list(_hostile_files()))
def test_a_forged_request_stops_no_run(firm: Firm, tmp_path: Path, what: str) -> None:
    """Whatever a requester writes past the command: an honest request beside it is vetted, and no odd URL is asked."""
    with CondaChannel(folder=tmp_path / "channel", name="forge") as channel:
        channel.add("other", "1.0")
        channel.index()
        firm.home.channels = {"forge": channel.url}
        firm.home.settle()
        firm.file_raw(_hostile_files()[what])
        honest = firm.ask("core==2.0")
        firm.home.index.asked.clear()

        ran = firm.run("pipeline", "process")

    assert ran.status == 0, ran
    assert firm.standing(honest) == ("vetted", 0)
    assert {status for id_, case in firm.cases.items() if id_ != honest for status in [firm.standing(id_)[0]]} <= {
        "vetted"
    }
    assert all(case.dossier is None or case.dossier.final for id_, case in firm.cases.items() if id_ != honest)
    assert {path.split("/")[1] for path in firm.home.index.paths()} <= {"simple", "files"}
    assert not any(".." in path for path in firm.home.index.paths())


def test_a_request_does_not_choose_how_many_approve(firm: Firm) -> None:
    """A file of the strict upstream that is asked for as the lenient one's: final, whoever approves."""
    firm.home.private["acme"] = IndexServer()
    served = firm.home.private["acme"].add("inhouse", "1.0")
    firm.home.settle()

    asked = firm.file_raw(python(served, "inhouse", upstream="pypi"))
    firm.process()

    assert firm.cases[asked.id].dossier is not None
    ran = firm.run("bob", "approve", asked.id, "--reason", "fine", "--waive", "all")
    assert ran.status == 1
    assert ran.err.startswith(f"refused: {asked.id[:12]}: no approval can waive inhouse 1.0 digest: reject it")


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires", "last", "first"),
    [
        ("2028-02-29", "2028-02-28T23:59:59", "2028-02-29T00:00:00"),
        ("2028-03-01", "2028-02-29T23:59:59", "2028-03-01T00:00:00"),
        ("2028-03-01T00:00:00+14:00", "2028-02-29T09:59:59", "2028-02-29T10:00:00"),
        ("1d", "2028-02-28T11:59:59", "2028-02-28T12:00:00"),
        ("2d", "2028-02-29T11:59:59", "2028-02-29T12:00:00"),
    ],
)
def test_an_approval_ends_at_its_instant_over_a_leap_day(firm: Firm, expires: str, last: str, first: str) -> None:
    """A second before it holds, from then on it doesn't: in UTC, whatever the zone or the calendar."""
    day = datetime(2028, 2, 27, 12, tzinfo=UTC)
    fresh = {"modified": "2028-02-27T08:00:00Z", "severity": HIGH}
    records = (before("PYSEC-2024-7", "core", "9.0", **fresh), before("MAL-2024-1", "nobody", "99"))
    firm.home.write("records.zip", bundle(*records))
    assert firm.home.run("advisories", "sync", now=day).status == 0
    firm.home.write("requirements.txt", "core==1.0\n")
    id_ = firm.ask("core==1.0", now=day)
    firm.process(day)
    approve = ("approve", id_, "--reason", "looked at", "--waive", "all", "--expires", expires)
    approved = firm.run("bob", *approve, now=day)
    before_it, from_it = (datetime.fromisoformat(f"{text}+00:00") for text in (last, first))

    holds, ended = firm.home.check("requirements.txt", now=before_it), firm.home.check("requirements.txt", now=from_it)

    assert approved.status == 0, approved
    assert (holds.status, holds.item("core")["exception"]) == (0, id_)
    assert (ended.status, ended.rules("core")) == (1, ["vulnerability"])


@pytest.mark.parametrize("expires", ["2027-02-29", "2026-11-23", "2026-11-22", "0d", "-1d", "1e3d", "99999d", "soon"])
def test_an_end_that_is_none_or_has_passed_is_refused(firm: Firm, expires: str) -> None:
    """A day that doesn't exist, today, yesterday, and what is no day: exit 2, nothing approved."""
    id_ = firm.ask("core==1.0")
    firm.process()

    ran = firm.run("bob", "approve", id_, "--reason", "x", "--waive", "all", "--expires", expires)

    assert (ran.status, firm.standing(id_)) == (2, ("vetted", 0)), ran


def test_a_clock_that_runs_backwards_decides_nothing_about_exceptions(firm: Firm) -> None:
    """An hour before the newest entry: the pipeline does nothing, nobody approves, and a check is undecided."""
    firm.publish("core==1.0")
    other = firm.ask("core==2.0")
    firm.process()
    firm.home.write("requirements.txt", "core==1.0\n")
    stored = firm.home.stored()
    early = NOW - timedelta(hours=1)

    processed = firm.run("pipeline", "process", now=early)
    approved = firm.run("bob", "approve", other, "--reason", "x", "--waive", "all", now=early)
    checked = firm.home.check("requirements.txt", now=early)

    assert (processed.status, approved.status, checked.status) == (3, 3, 3)
    doubt = "the newest entry about exceptions is of 2026-11-23T12:00:00Z, which is yet to come"
    assert processed.err.startswith(f"error: nothing is done: {doubt}")
    assert approved.err.startswith(f"error: nothing can be approved: {doubt}")
    after = firm.home.stored()
    written = {path for path in after if after[path] != stored.get(path) and path.startswith(".quarantine/log/")}
    assert {path.split("/")[2] for path in written} <= {"log-checks"}


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["other-bytes", "longer", "another-listing", "gone"])
def test_bytes_swapped_between_the_request_and_its_vetting_are_final(firm: Firm, how: str) -> None:
    """What was asked for is a digest: other bytes under the same name are never held, looked into or approved."""
    (served, _) = firm.home.index.projects["core"]
    id_ = firm.ask("core==1.0")
    evil = make_wheel("core", "1.0", core_metadata("core", "1.0", requires=["idna"]))
    if how == "another-listing":
        firm.home.index.projects["core"].remove(served)
        firm.home.index.add("core", "1.0", requires=["idna"])
    elif how == "gone":
        del firm.home.index.projects["core"]
    else:
        body = evil if how == "other-bytes" else served.data + b"x"
        firm.home.index.always(f"/files/{served.filename}", Answer(body=body))

    firm.process(NOW + timedelta(hours=2))
    ran = firm.run("bob", "approve", id_, "--reason", "fine", "--waive", "all", now=NOW + timedelta(hours=2))

    assert ran.status == 1
    assert ran.err.startswith(f"refused: {id_[:12]}: no approval can waive core 1.0 digest: reject it")
    assert [path for path in firm.home.stored() if path.startswith(".quarantine/held/")] == []


def test_held_bytes_that_were_changed_are_never_published(firm: Firm) -> None:
    """Between vetting and publishing somebody writes into the holding area: nothing is listed, and the run says which."""
    id_ = firm.ask("core==1.0")
    firm.process()
    assert firm.run("bob", "approve", id_, "--reason", "fine", "--waive", "all").status == 0
    (held,) = [path for path in (firm.home.folder / ".quarantine/held").rglob("*") if path.is_file()]
    held.chmod(0o600)
    held.write_bytes(held.read_bytes()[:-1] + b"x")

    ran = firm.process(status=3)

    assert ran.err.startswith(f"error: {id_[:12]}: ")
    assert firm.standing(id_) == ("approved", 1)
    assert firm.in_mirror() == []
    assert not (firm.home.folder / ".quarantine/pages/simple/core").exists()


INFO = "core-1.0.dist-info"


def _members(**more: bytes) -> dict[str, bytes]:
    described = b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {
        "core.py": b"x = 1\n",
        **more,
        f"{INFO}/METADATA": core_metadata("core", "1.0"),
        f"{INFO}/WHEEL": described,
    }
    return members | {f"{INFO}/RECORD": _record(members)}


def _record(members: dict[str, bytes]) -> bytes:
    lines = []
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{INFO}/RECORD,,", ""]).encode()


def _parts(members: dict[str, bytes]) -> list[Part]:
    return [Part(name=name.encode(), data=data) for name, data in members.items()]


def _hostile_wheels() -> dict[str, tuple[bytes, str]]:
    """Wheels, each with the key under which what is wrong with it stands."""
    plain = _parts(_members())
    bomb = Part(name=b"zeros", data=bytes(128 * 1024 * 1024), method=8, packed=deflate(bytes(128 * 1024 * 1024)))
    forged = _members() | {"core.py": b"import os\n"}
    unlisted = _members() | {"evil.pth": b"import os\n"}
    return {
        "traversal": (built([*plain, Part(name=b"../../evil.pth", data=b"import os\n")]), "archive"),
        "absolute": (built([*plain, Part(name=b"/etc/cron.d/evil", data=b"x")]), "archive"),
        "backslash": (built([*plain, Part(name=b"..\\evil.py", data=b"x")]), "archive"),
        "symlink": (built([*plain, Part(name=b"link", data=b"/etc/passwd", mode=SYMLINK)]), "archive"),
        "device": (built([*plain, Part(name=b"sda", mode=DEVICE)]), "archive"),
        "two-names": (built([*plain, Part(name=b"core.py", data=b"import os\n")]), "archive"),
        "two-headers": (built([*plain, Part(name=b"a.py", data=b"x", own_name=b"b.py")]), "archive"),
        "prefix": (built(plain, prefix=b"#!/bin/sh\n"), "archive"),
        "suffix": (built(plain, suffix=b"PK\x05\x06"), "archive"),
        "hidden-member": (built([*plain, Part(name=b"hidden.py", data=b"import os\n", listed=False)]), "archive"),
        "bomb": (built([*plain, bomb]), "archive"),
        "record-of-others": (built(_parts(forged)), "record"),
        "record-without": (built(_parts(unlisted)), "record"),
        "no-zip": (b"this is a wheel, trust me", "archive"),
    }


@pytest.mark.parametrize("what", list(_hostile_wheels()))
def test_a_hostile_wheel_is_never_published(firm: Firm, what: str) -> None:
    """Traversal, links, zips that two programs read differently, bombs, forged lists: looked into, told, not let in."""
    data, rule = _hostile_wheels()[what]
    firm.home.index.projects["core"].clear()
    served = ServedFile(
        filename="core-1.0-py3-none-any.whl",
        data=data,
        upload_time="2024-01-01T00:00:00Z",
        yanked=False,
        requires_python=None,
        metadata=core_metadata("core", "1.0"),
    )
    firm.home.index.add_file("core", served)
    id_ = firm.ask("core==1.0")
    firm.process()
    dossier = firm.cases[id_].dossier
    assert dossier is not None

    ran = firm.run("bob", "approve", id_, "--reason", "it is only a zip", "--waive", FLAWED)
    done = firm.process()

    against = dossier.final if rule == "archive" else dossier.failures
    assert f"core 1.0 {rule}" in against, dossier
    assert ran.status == (1 if rule == "archive" else 2), ran
    assert firm.standing(id_) == ("vetted", 0)
    assert (firm.in_mirror(), done.out.startswith("nothing was due")) == ([], True)
    assert not any(path.name == "evil.pth" for path in firm.home.folder.rglob("*"))


# --- what is shown, and what is kept ----------------------------------------------------------------------------------


def _forged(text: str) -> list[str]:
    """The lines that a terminal or a CI system would obey."""
    found = []
    for line in text.split("\n"):
        hidden = {c for c in line if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}} - {"\t"}
        if hidden or "##vso[" in line or "##[" in line or line.lstrip().startswith("::"):
            found.append(line)
    return found


@pytest.mark.parametrize(
    "variables",
    [{}, {"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": "."}, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "summary.md"}],
    ids=["neither", "azure-pipelines", "github-actions"],
)  # fmt: skip
def test_no_text_of_an_exception_is_obeyed(firm: Firm, variables: dict[str, str]) -> None:
    """Reasons, names of people, yanked reasons, metadata and licences: shown, in every command and every message."""
    text = core_metadata("core", "3.0") + f"License: {HOSTILE!r}\nRequires-Dist: {HOSTILE!r}\n".encode()
    firm.home.index.add_file(
        "core",
        ServedFile(
            filename="core-3.0-py3-none-any.whl",
            data=make_wheel("core", "3.0", text),
            upload_time="2024-01-01T00:00:00Z",
            yanked=HOSTILE,
            requires_python=None,
            metadata=None,
        ),
    )
    with WebServer(lambda _: Answer()) as hook:
        firm.home.settings.append("notify: [{name: team, url: 'env:HOOK'}]")
        firm.home.settle()
        firm.home.variables |= {**variables, "HOOK": f"json://127.0.0.1:{hook.port}/hook"}
        served = firm.home.index.projects["core"][-1]
        asked = request(
            python(served, version="3.0"),
            by=replace(firm.person("eve"), name=HOSTILE[:200]),
            reason=HOSTILE,
            time=NOW,
            stage="development",
        )
        firm.log.append(REQUESTS, request_drafts(asked, [entry_id(NOW)]))
        runs = [firm.run("pipeline", "process"), firm.run("pipeline", "process", "--report", "json")]
        runs += [firm.run("carol", "show", asked.id, "--report", form) for form in ("text", "markdown", "json")]
        runs += [firm.run("carol", "list", "--report", form) for form in ("text", "json")]
        runs.append(firm.run("bob", "approve", asked.id, "--reason", HOSTILE, "--waive", "all"))
        runs += [firm.run("bob", "reject", asked.id, "--reason", HOSTILE), firm.run("pipeline", "process")]
        runs += [firm.run("carol", "show", asked.id), firm.home.run("audit", "list"), firm.home.run("audit", "export")]
        messages = [json.loads(sent.body) for sent in hook.asked]

    said = [ran.out for ran in runs] + [ran.err for ran in runs]
    said += [f"{message['title']}\n{message['message']}" for message in messages]
    assert [line for one in said for line in _forged(one)] == []
    assert not any("defect" in ran.err for ran in runs)
    assert len(messages) == 2


def test_a_secret_goes_no_further(home: House) -> None:
    """The index's login, the token, the webhook's address, a URL with a login and a signature in a reason: nowhere else."""
    login = ("ann", CANARY)
    with IssuerServer() as issuer, IndexServer(login=login) as private, WebServer(lambda _: Answer()) as hook:
        home.private["acme"] = private
        home.credentials = "env:ACME"
        firm = Firm(home, issuer)
        home.settings.append("notify: [{name: team, url: 'env:HOOK'}]")
        secrets = {"ACME": ":".join(login), "HOOK": f"json://ann:{CANARY}@127.0.0.1:{hook.port}/{CANARY}"}
        home.variables |= secrets
        private.add("core", "1.0")
        home.advise(FLAW)
        home.write("requirements.txt", "core==1.0\n")
        reason = (
            f"see https://ann:{CANARY}@x.example/y and https://a.blob.core.windows.net/c?sv=1&sig={CANARY}{CANARY} "
            f"Authorization: Bearer {CANARY}"
        )
        tokens = []

        def run(who: str, *argv: str) -> Ran:
            ran = firm.run(who, *argv)
            tokens.append(home.variables["WHO"])
            return ran

        runs = [run("ann", "request", "core==1.0", "--reason", reason)]
        (id_,) = firm.cases
        runs += [run("pipeline", "process"), run("carol", "show", id_), run("carol", "show", id_, "--report", "json")]
        runs += [run("bob", "approve", id_, "--reason", reason, "--waive", "all"), run("pipeline", "process")]
        runs += [home.check("requirements.txt"), run("carol", "list"), home.run("audit", "export")]
        runs += [run("carol", "revoke", id_, "--reason", reason), run("pipeline", "process")]
        bodies = [sent.body.decode() for sent in hook.asked]

    assert [ran.status for ran in runs] == [0] * len(runs), [ran.err for ran in runs]
    texts = [text for ran in runs for text in (ran.out, ran.err)] + bodies
    kept = home.stored()
    assert len(bodies) == 3
    assert [text for text in texts if CANARY in text] == []
    assert [path for path, data in kept.items() if CANARY.encode() in data] == []
    for token in tokens:
        _, payload, signature = token.split(".")
        assert [text for text in texts if signature in text or payload in text] == []
        assert [path for path, data in kept.items() if signature.encode() in data] == []
