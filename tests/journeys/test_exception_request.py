"""Asking for an exception and deciding on it, through the real command line, with people whom a loopback issuer knows."""

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from channels import CondaChannel
from exception_records import dossier, entry_id, ruling
from house import NOW, House, Ran
from issuer import IssuerServer, times
from osv_records import before

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.events import ruling_draft, vetted_draft
from quarantine.cli.main import main
from quarantine.exceptions import ExceptionCase, ExceptionRequest, Identity, RulingKind
from quarantine.pipeline.state import read_state

HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
FLAWED = before("PYSEC-2024-7", "lib", "2.0", aliases=["CVE-2024-7"], severity=HIGH)
MALWARE = before("MAL-2024-9", "evil", "2.0")
AUDIENCE = "quarantine"
AGE, CVE = "lib 1.0 minimum-age", "lib 1.0 vulnerability:CVE-2024-7"


class Office:
    """A house where the people are known to an issuer: whoever acts shows a token of their own."""

    def __init__(self, home: House, issuer: IssuerServer) -> None:
        self.home = home
        self.issuer = issuer

    def open(self, *records: bytes) -> None:
        """Writes the configuration, with advisories."""
        identity = f"identity: {{kind: oidc, issuer: '{self.issuer.issuer}', audience: {AUDIENCE}, token: 'env:WHO'}}"
        self.home.settings = [identity]
        self.home.advise(FLAWED, MALWARE, *records)

    def run(self, who: str, *argv: str, now: datetime = NOW) -> Ran:
        """Somebody runs `quarantine exception`."""
        claims = {
            "iss": self.issuer.issuer,
            "aud": AUDIENCE,
            "sub": f"id-{who}",
            "preferred_username": who,
            **times(now),
        }
        self.home.variables = {"WHO": self.issuer.sign(claims), "USER": who, "LOGNAME": who}
        return self.home.run("exception", *argv, now=now)

    def person(self, who: str) -> Identity:
        """Who they are in a record."""
        return Identity(kind="oidc", id=f"id-{who}", name=who, issuer=self.issuer.issuer, claim="sub", verified=True)

    @property
    def log(self) -> LocalLog:
        """The log itself, for what has no command, or must not have one."""
        return LocalLog(self.home.folder / ".quarantine" / "log")

    @property
    def cases(self) -> dict[str, ExceptionCase]:
        """All exceptions, as they are folded."""
        return dict(read_state(self.log, LocalStore(self.home.folder / ".quarantine")).cases)

    def asked(self, id_: str) -> ExceptionRequest:
        """A request by its id."""
        request = self.cases[id_].request
        assert request is not None
        return request

    def vet(self, id_: str, *failures: str, now: datetime = NOW) -> None:
        """The publisher's dossier, without the evidence behind it."""
        request = self.asked(id_)
        summary = dossier(request, failures=failures, time=now)
        self.log.append("log-publish/process-2026-11", [vetted_draft(request, summary, entry_id(now))])

    def written(self) -> dict[str, bytes]:
        """All that stands in the log."""
        return {path: data for path, data in self.home.stored().items() if path.startswith(".quarantine/log/log-")}


@pytest.fixture
def office(home: House) -> Iterator[Office]:
    """An index with a package that has a flaw, and one that is malware."""
    home.index.add("app", "1.0", requires=["lib>=1", "evil"])
    home.index.add("lib", "1.0")
    home.index.add("lib", "2.0")
    home.index.add("evil", "1.0")
    with IssuerServer() as issuer:
        built = Office(home, issuer)
        built.open()
        yield built


def _denied(office: Office, text: str = "app==1.0\nlib==1.0\nevil==1.0\n") -> Ran:
    office.home.write("requirements.txt", text)
    ran = office.home.check("requirements.txt")
    assert ran.status == 1, ran.err
    office.home.write("verdict.json", ran.out)
    return ran


def _id(ran: Ran) -> str:
    found = re.match(r"exception ([0-9a-f]{12}) ", ran.out)
    assert found is not None, ran.out + ran.err
    return found[1]


def _ask(office: Office, who: str = "ann", *argv: str) -> str:
    """The whole id of what somebody asks for: lib, if nothing else is said."""
    short = _id(office.run(who, "request", *(argv or ("lib==1.0",)), "--reason", "the model needs it"))
    (whole,) = [id_ for id_ in office.cases if id_.startswith(short)]
    return whole


def test_from_a_denial_to_a_decision(office: Office) -> None:
    """Denied, asked for from the verdict, listed, shown, turned down by who asked in vain, approved by another."""
    _denied(office)
    requested = office.run("ann", "request", "--from", "verdict.json", "--reason", "the model needs it")
    me = _id(requested)
    (whole,) = office.cases
    listed = office.run("carol", "list")
    early = office.run("bob", "approve", me, "--reason", "fine", "--waive", "all")
    office.vet(whole, AGE, CVE)
    shown = office.run("carol", "show", me[:6], "--report", "json")
    seen = office.cases[whole].dossiers[0].sha256[:12]
    own = office.run("ann", "approve", me, "--reason", "I need it", "--waive", "all")
    unnamed = office.run("bob", "approve", me, "--reason", "fine", "--waive", CVE)
    approved = office.run(
        "bob", "approve", me, "--reason", "not reachable", "--waive", CVE, "--waive", AGE, "--expires", "30d"
    )

    assert (requested.status, requested.out) == (
        0,
        f"exception {me} requested: lib 1.0 (1 file), project demo, stage development\n",
    )
    assert "left out: evil 1.0: it is malware, which nobody may let in\n" in requested.err
    assert office.asked(whole).files[0].sha256 == office.home.index.projects["lib"][0].sha256
    assert listed.out == f"{me}\trequested\t0d\tnot vetted\tlib 1.0\tdemo development\tann\n"
    assert (early.status, early.err) == (
        3,
        f"refused: {me}: it wasn't vetted: quarantine exception vet {me}\nnothing was written\n",
    )
    # the test wrote no evidence behind the dossier
    assert (shown.status, shown.json["standing"]["why"]) == (3, "has 0 of 1 approvals")
    assert [one["key"] for one in shown.json["against"]] == [AGE, CVE]
    assert (
        shown.json["next"][0]
        == f"quarantine exception approve {me} --reason 'why' --waive '{AGE}' --waive '{CVE}' --dossier {seen}"
    )
    assert (own.status, own.err) == (
        1,
        f"refused: {me}: {office.person('ann')} asked for it, and whoever asks never approves: somebody else must\nnothing was written\n",
    )
    assert (unnamed.status, unnamed.err) == (
        2,
        (
            f"error: {me}: an approval would waive {AGE}\n"
            f"error: name what you answer for (--waive '{AGE}'), or all of it (--waive all); nothing was written\n"
        ),
    )
    assert (approved.status, approved.out) == (
        0,
        f"exception {me} (lib 1.0): approved until 2026-12-23T12:00:00Z by {office.person('bob')}\n",
    )
    (word,) = office.cases[whole].rulings
    assert (word.by, word.waives) == (office.person("bob"), (AGE, CVE))


def test_an_approval_by_the_requester_is_void_wherever_it_stands(office: Office) -> None:
    """Raw in the requesters' container it is no approval at all; raw in the curators' it doesn't count."""
    whole = _ask(office)
    office.vet(whole)
    request, summary = office.asked(whole), office.cases[whole].dossiers[0]
    forged = ruling(request, summary, by=office.person("bob"), time=NOW)
    own = ruling(request, summary, by=office.person("ann"), time=NOW)
    office.log.append("log-requests/demo-2026-11", [ruling_draft(request, forged)])
    office.log.append("log-decisions/decisions-2026-11", [ruling_draft(request, own)])

    shown = office.run("carol", "show", whole, "--report", "json")
    listed = office.run("carol", "list")

    assert shown.json["standing"]["status"] == "vetted"
    assert shown.json["standing"]["counted"] == []
    assert "warning: 1 entries don't count, since their writers may not write them" in listed.err


def test_the_operating_systems_name_proves_nothing(office: Office) -> None:
    """`USER=boss` is not read; a token of another issuer is refused; a raw local approval doesn't count."""
    whole = _ask(office)
    office.vet(whole)
    office.home.variables = {"USER": "boss", "LOGNAME": "boss", "USERNAME": "boss"}
    without = office.home.run("exception", "approve", whole, "--reason", "I am the boss")
    with IssuerServer() as other:
        claims = {"iss": other.issuer, "aud": AUDIENCE, "sub": "id-bob", **times(NOW)}
        office.home.variables = {"WHO": other.sign(claims), "USER": "boss"}
        foreign = office.home.run("exception", "approve", whole, "--reason", "I am the boss")
    request, summary = office.asked(whole), office.cases[whole].dossiers[0]
    boss = Identity(kind="local", id="uid:0", name="boss")
    office.log.append(
        "log-decisions/decisions-2026-11", [ruling_draft(request, ruling(request, summary, by=boss, time=NOW))]
    )
    shown = office.run("carol", "show", whole, "--report", "json")

    assert (without.status, foreign.status) == (3, 3)
    assert "identity needs the environment variable WHO: it isn't set" in without.err
    assert "the identity token is refused" in foreign.err
    assert (shown.json["standing"]["status"], shown.json["standing"]["counted"]) == ("vetted", [])


def test_reject_renew_and_revoke(office: Office) -> None:
    """One is turned down; another holds, holds longer, and ends."""
    first, second = _ask(office), _ask(office, "ann", "app==1.0")
    office.vet(second)
    rejected = office.run("bob", "reject", first, "--reason", "2.0 has all that you need")
    approved = office.run("bob", "approve", second, "--reason", "fine", "--expires", "2026-12-01")
    later = NOW + timedelta(days=30)
    expired = office.run("carol", "list", "--all", "--status", "expired", now=later)
    renewed = office.run("bob", "renew", second, "--reason", "still needed", "--expires", "400d", now=later)
    revoked = office.run("carol", "revoke", second, "--reason", "its account was taken over", now=later)
    again = office.run("bob", "approve", second, "--reason", "fine", now=later)
    waiting = office.run("carol", "list", now=later)

    assert rejected.out == (
        f"exception {first[:12]} (lib 1.0): rejected on 2026-11-23 by {office.person('bob')}: 2.0 has all that you need\n"
    )
    bob, carol = office.person("bob"), office.person("carol")
    assert approved.out == f"exception {second[:12]} (app 1.0): approved until 2026-12-01T00:00:00Z by {bob}\n"
    assert expired.out == f"{second[:12]}\texpired\t30d\tclean\tapp 1.0\tdemo development\tann\n"
    assert renewed.out == f"exception {second[:12]} (app 1.0): approved until 2027-03-23T12:00:00Z by {bob}\n"
    assert renewed.err == (
        "note: an approval holds for 90 days at most, until 2027-03-23T12:00:00Z\nnote: it replaces what you said before\n"
    )
    assert revoked.out == (
        f"exception {second[:12]} (app 1.0): revoked on 2026-12-23 by {carol}: its account was taken over\n"
    )
    assert (again.status, again.out) == (1, "")
    assert (waiting.out, waiting.err) == ("", "no exceptions (2 in all: --all)\n")
    assert [word.kind for word in office.cases[second].rulings] == [
        RulingKind.APPROVE,
        RulingKind.RENEW,
        RulingKind.REVOKE,
    ]


def test_whoever_asks_for_the_same_joins(office: Office) -> None:
    """Whoever did is told that who asks doesn't approve; asking twice writes nothing."""
    whole = _ask(office)
    joined = office.run("bob", "request", "pkg:pypi/lib@1.0", "--reason", "so does ours")
    before_ = office.written()
    again = office.run("bob", "request", "lib==1.0", "--reason", "once more")
    after = office.written()
    office.vet(whole)
    refused = office.run("bob", "approve", whole, "--reason", "fine")
    approved = office.run("carol", "approve", whole, "--reason", "fine")

    me = whole[:12]
    assert joined.out == f"exception {me} joined: lib 1.0 (1 file), project demo, stage development\n"
    assert (again.status, again.out) == (
        0,
        f"exception {me} is there already: lib 1.0 (1 file), project demo, stage development\n",
    )
    assert after == before_
    assert refused.status == 1
    assert f"the log says that {office.person('bob')} joined, and whoever asks never approves" in refused.err
    assert approved.status == 0, approved.err
    assert len(office.cases) == 1


def test_a_request_travels_as_a_file(office: Office) -> None:
    """Written for its owner alone and not over another; imported by somebody else, who then is who asks, and can't approve it."""
    out = office.run("ann", "request", "lib==1.0", "--reason", "no access from here", "--out", "request.json")
    twice = office.run("ann", "request", "lib==1.0", "--reason", "no access", "--out", "request.json")
    nothing = office.written()
    imported = office.run("bob", "import", "request.json")
    (whole,) = office.cases
    office.vet(whole)
    refused = office.run("bob", "approve", whole, "--reason", "fine")
    approved = office.run("carol", "approve", whole, "--reason", "fine")

    file = office.home.folder / "request.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert (out.status, twice.status, nothing) == (0, 2, {})
    written = "request.json: written, and asked for once somebody imports it, who then is who asks: lib 1.0 (1 file)\n"
    assert (out.out, whole[:12] in out.out + out.err) == (written, False)
    assert twice.err == "error: --out 'request.json' is there already, and is not overwritten: name another file\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert document["schema"] == "quarantine/exception-request/1"
    assert imported.status == 0, imported.err
    assert imported.out == f"exception {whole[:12]} requested: lib 1.0 (1 file), project demo, stage development\n"
    ann = office.person("ann")
    assert f"request.json names {ann}, which nobody has verified: you are who asks\n" in imported.err
    case = office.cases[whole]
    assert case.request is not None
    assert (case.request.requester, [one.by.verified for one in case.joined]) == (office.person("bob"), [False])
    assert refused.status == 1
    assert approved.status == 0


def test_a_forged_request_file_is_refused(office: Office) -> None:
    """One that was changed, and one whose files the owner of the name doesn't list."""
    office.run("ann", "request", "lib==1.0", "--reason", "no access", "--out", "request.json")
    text = (office.home.folder / "request.json").read_text(encoding="utf-8")
    office.home.write("changed.json", text.replace("development", "production"))
    office.home.index.projects["lib"].clear()
    office.home.index.add("lib", "1.0", requires=["more"])
    later = NOW + timedelta(hours=1)
    changed = office.run("bob", "import", "changed.json", now=later)
    swapped = office.run("bob", "import", "request.json", now=later)

    assert changed.err == (
        "error: changed.json:4: the request isn't what its id stands for: it was changed since it was written\n"
    )
    assert (changed.status, swapped.status) == (2, 2)
    assert re.fullmatch(
        r"error: request\.json: pypi doesn't list lib-1\.0-py3-none-any\.whl with sha256:[0-9a-f]{64}: check again, and file "
        r"from the new verdict\n",
        swapped.err,
    )
    assert office.written() == {}


def test_a_wheel_is_attached_to_a_source(office: Office) -> None:
    """A source-only package is asked for as its source; the curator's wheel stands in its place, held by digest."""
    office.home.index.add_sdist("oldlib", "1.0")
    whole = _ask(office, "ann", "oldlib==1.0")
    built = office.home.write("dist/oldlib-1.0-py3-none-any.whl", b"a wheel")
    office.home.write("dist/other-1.0-py3-none-any.whl", b"a wheel")
    other = office.run("bob", "attach-wheel", whole, "dist/other-1.0-py3-none-any.whl")
    missing = office.run("bob", "attach-wheel", whole, "dist/nothing.whl")
    attached = office.run("bob", "attach-wheel", whole, str(built))
    shown = office.run("carol", "show", whole, "--report", "json")

    assert (other.status, missing.status, attached.status) == (2, 2, 0), attached.err
    assert other.err == ("error: 'other-1.0-py3-none-any.whl' is a wheel of other 1.0: expected one of oldlib 1.0\n")
    (file,) = shown.json["files"]
    assert (file["filename"], file["source"]) == (
        "oldlib-1.0-py3-none-any.whl",
        office.home.index.projects["oldlib"][0].sha256,
    )
    assert file["digest"].removeprefix("sha256:") in "".join(office.home.stored())


def test_a_conda_package_is_asked_for_by_its_url(office: Office, tmp_path: Path) -> None:
    """The URL that a verdict has tells one build of one channel; it is held to what the channel lists."""
    with CondaChannel(folder=tmp_path / "channel") as channel:
        channel.add("core", "1.0", build="h1_0", subdir="noarch")
        channel.add("core", "1.0", build="h2_0", subdir="noarch")
        channel.index()
        office.home.channels = {"forge": channel.url}
        office.open()
        url = "pkg:conda/core@1.0?build=h1_0&channel=forge&subdir=noarch&type=conda"
        requested = office.run("ann", "request", url, "--reason", "needed")
        absent = office.run("ann", "request", url.replace("h1_0", "h9_0"), "--reason", "needed")

    (case,) = office.cases.values()
    assert requested.status == 0, requested.err
    assert [(file.filename, file.upstream, file.purl) for file in case.files] == [("core-1.0-h1_0.conda", "forge", url)]
    assert absent.err == (
        "error: forge has no core 1.0 h9_0 (noarch) as .conda for cp311-linux-x86_64: see what it is called there, or file "
        "from a verdict (--from)\n"
    )


def test_offline_a_verdict_is_enough(office: Office) -> None:
    """Without a network its word for the files is taken, and said to be no more than that."""
    _denied(office)
    office.home.index.close()

    ran = office.run("ann", "request", "--from", "verdict.json", "--reason", "needed", "--offline")

    assert ran.status == 0, ran.err
    assert "note: what the verdict says of files was not held to their upstreams; vetting does that\n" in ran.err


def test_a_stale_verdict_is_refused(office: Office) -> None:
    """What the owner no longer lists is told with its line, and nothing is written."""
    _denied(office)
    office.home.index.projects["lib"].clear()
    office.home.index.add("lib", "1.0", requires=["more"])

    ran = office.run("ann", "request", "--from", "verdict.json", "--reason", "needed", now=NOW + timedelta(hours=1))

    assert ran.status == 2
    assert re.match(
        r"error: verdict\.json:\d+: pypi doesn't list lib-1\.0-py3-none-any\.whl with sha256:", ran.err.splitlines()[-1]
    )
    assert office.written().keys() == {path for path in office.written() if "/log-checks/" in path}


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": (
        ("request", "--reason", "x"),
        "error: name packages, or a verdict that doesn't allow some (--from FILE): one of both",
    ),
    "both": (
        ("request", "lib==1.0", "--from", "v.json", "--reason", "x"),
        "error: name packages, or a verdict that doesn't allow some (--from FILE): one of both",
    ),
    "no reason": (("request", "lib==1.0"), "error: Missing option '--reason'."),
    "blank reason": (
        ("request", "lib==1.0", "--reason", " "),
        "error: --reason has 0 characters: expected 1 to 2000, for whoever decides",
    ),
    "stage": (
        ("request", "lib==1.0", "--reason", "x", "--stage", "nowhere"),
        "error: no stage 'nowhere' in the policy: expected development or production",
    ),
    "project": (
        ("request", "lib==1.0", "--reason", "x", "--project", "a/b"),
        "error: not a request: expected `str` matching regex '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\\\\Z' - at `$.project`",
    ),
    "expires": (
        ("request", "lib==1.0", "--reason", "x", "--expires", "soon"),
        "error: --expires 'soon': expected a day, as in 2027-03-01, or a number of days, as in 90d",
    ),
    "expired": (
        ("request", "lib==1.0", "--reason", "x", "--expires", "2026-11-23"),
        "error: --expires '2026-11-23' has passed: expected a day, as in 2027-03-01, or a number of days, as in 90d",
    ),
    "no verdict": (
        ("request", "--from", "v.json", "--reason", "x"),
        "error: v.json: can't be read: no such file or directory",
    ),
    "not a verdict": (
        ("request", "--from", "quarantine.yaml", "--reason", "x"),
        "error: quarantine.yaml:1: not JSON: expecting value",
    ),
    "a folder": (
        ("request", "--from", "allowlists", "--reason", "x"),
        "error: allowlists: is not a regular file: expected a JSON document",
    ),
    "nobody's name": (
        ("request", "nobody==1.0", "--reason", "x"),
        (
            "error: no upstream of the policy has nobody, so there is nothing to ask for: see that its name is right, or let "
            "curators add the upstream that has it"
        ),
    ),
    "no folder": (
        ("request", "lib==1.0", "--reason", "x", "--out", "nowhere/r.json"),
        "error: --out 'nowhere/r.json': there is no folder 'nowhere'",
    ),
    "import": (("import", "quarantine.yaml"), "error: quarantine.yaml:1: not JSON: expecting value"),
    "id": (
        ("show", "lib==1.0"),
        "error: 'lib==1.0' is no id of an exception: expected at least its first 6 hexadecimal digits (quarantine exception list)",
    ),
    "no such id": (
        ("approve", "abcdef", "--reason", "x"),
        "error: no exception abcdef: `quarantine exception list --all` has all that there are",
    ),
    "status": (
        ("list", "--status", "fine"),
        "error: --status 'fine': expected one of approved, expired, published, rejected, requested, revoked, suspended, vetted",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_writes_nothing(office: Office, name: str) -> None:
    """Exit 2, one message that says what is expected, and no file more than before."""
    argv, message = BAD[name]
    stored = {path for path in office.home.stored() if not path.startswith("cache/")}

    ran = office.run("ann", *argv)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines()[0] == message
    assert {path for path in office.home.stored() if not path.startswith("cache/")} == stored


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [("y", 0, ""), ("n", 2, "nothing was written"), ("\x04", 130, "interrupted: nothing is left half done")],
    ids=["yes", "no", "end of input"],
)
def test_a_person_at_a_terminal_is_asked(
    office: Office, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, said: str
) -> None:
    """What an approval would waive is shown, and counts as waived only after a yes."""
    whole = _ask(office)
    office.vet(whole, AGE)
    office.run("bob", "list")  # from here on it is Bob who acts
    master, slave = os.openpty()
    out = io.StringIO()
    with open(slave) as keyboard, open(os.dup(slave), "w") as screen:  # noqa: PTH123  # of descriptors, not of paths
        monkeypatch.setattr("sys.stdin", keyboard)
        os.write(master, f"{answer}\n".encode())
        with chdir(office.home.folder), redirect_stdout(out), redirect_stderr(screen):
            argv = ["exception", "approve", whole, "--reason", "fine"]
            ended = main(argv, now=NOW, environ={**office.home.variables, "NO_COLOR": "1"})
    shown = _all_of(master)
    os.close(master)

    assert ended == status
    assert f"{whole[:12]}: an approval would waive {AGE}" in shown
    assert said in shown
    assert len(office.cases[whole].rulings) == (1 if status == 0 else 0)


def _all_of(master: int) -> str:
    """What a terminal that was left shows: it comes in pieces, and ends in an error (Linux) or in nothing."""
    shown = b""
    with suppress(OSError):
        while piece := os.read(master, 65536):
            shown += piece
    return shown.decode()


def test_the_embedded_default_needs_another_user(home: House) -> None:
    """There the operating system's user asks and decides, unverified, and still not both of it."""
    home.index.add("lib", "1.0")
    home.settle()
    requested = home.run("exception", "request", "lib==1.0", "--reason", "needed")
    me = _id(requested)
    home.variables = {"USER": "boss", "LOGNAME": "boss"}
    refused = home.run("exception", "approve", me, "--reason", "I am the boss")

    assert requested.status == 0
    assert refused.status == 1
    assert re.match(
        rf"refused: {me}: \S+ \(local, unverified\) asked for it, and whoever asks never approves", refused.err
    )


def test_nothing_from_outside_reaches_the_terminal(office: Office) -> None:
    """A reason that would move the cursor, or command a CI system, is shown as what it is."""
    reason = "x\n##vso[task.complete result=Succeeded]\x1b[2J\u202e::add-mask::y"
    me = _id(office.run("ann", "request", "lib==1.0", "--reason", reason))

    for argv in (("show", me), ("show", me, "--report", "markdown"), ("show", me, "--report", "json"), ("list",)):
        ran = office.run("carol", *argv)
        assert ran.status == 0
        assert "##vso" not in ran.out
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", ran.out)


def test_a_check_with_its_reports_in_files_says_what_to_do(office: Office) -> None:
    """The verdict's headline and the next steps, which name the file that was really written, are told on standard error."""
    office.home.index.add("young", "1.0", upload_time="2026-11-22T00:00:00Z")
    office.home.write("requirements.txt", "young==1.0\nlib==1.0\n")
    (office.home.folder / "out").mkdir()

    kept = office.home.run("check", "requirements.txt", "--report", "json=out/of it.json")

    lines = kept.err.splitlines()
    assert (kept.status, kept.out) == (1, "")
    assert lines[0].startswith("DENIED requirements.txt ")
    assert all(line.startswith("next: ") for line in lines[1:])
    assert (
        "next: or file an exception for its 2 refused packages: quarantine exception request --from 'out/of it.json' "
        "--reason 'why the project needs it' --project demo"
    ) in lines
    asked = office.run("ann", "request", "--from", "out/of it.json", "--reason", "the model needs it")
    assert asked.out.endswith("requested: lib 1.0, young 1.0 (2 files), project demo, stage development\n"), asked.err


def test_asking_for_what_nothing_refuses_is_told(office: Office) -> None:
    """It is asked for all the same; where advisories are missing, nothing is said to pass."""
    passing = office.run("ann", "request", "lib==2.0", "lib==1.0", "--reason", "the model needs it")
    (office.home.folder / ".quarantine" / "advisories.sqlite").unlink()
    unknown = office.run("ann", "request", "lib==2.0", "--reason", "the model needs it")

    warning = "warning: nothing in development refuses lib 2.0: a check lets it in without an exception\n"
    assert (passing.status, passing.err.count(warning)) == (0, 1), passing.err
    assert (unknown.status, "warning" in unknown.err) == (0, False), unknown.err


def test_what_nobody_could_rate_is_asked_for_from_the_verdict(office: Office) -> None:
    """An undecided package is named in the next step of the check, and the request holds it."""
    unrated = before("PYSEC-2024-9", "core", "2.0")
    office.home.index.add("core", "1.0")
    office.home.advise(unrated)
    policy = office.home.folder / "allowlists" / "policy.yaml"
    policy.write_text(policy.read_text().replace("unknown_severity: deny", "unknown_severity: review"))
    office.home.write("core.txt", "core==1.0\n")

    checked = office.home.run("check", "core.txt", "--report", "text", "--report", "json=core.json")
    asked = office.run("ann", "request", "--from", "core.json", "--reason", "the model needs it")

    assert checked.status == 3, checked.out
    assert "next: or file an exception, for a person to decide: quarantine exception request core==1.0 " in checked.out
    assert asked.out.endswith(" requested: core 1.0 (1 file), project demo, stage development\n"), asked.err
