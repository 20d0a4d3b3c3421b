"""The commands around a check, as a person and a pipeline use them: from `init` to a green check, and out again."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from house import NOW, House
from osv_records import OsvService, before, bundle, listed
from parts import missing
from servers import Answer, WebServer

ROOT = Path(__file__).parents[2]
HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
MALWARE = before("MAL-2024-1", "nobody-has-this-malware", "99")
HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]


# --- a project from nothing -------------------------------------------------------------------------------------------


def test_a_new_project_is_green_after_a_sync(home: House) -> None:
    """`init`, `advisories sync` over HTTP, `doctor`, `check --lock`, `check --stage production`: all exit 0."""
    outside = home.folder
    home.variables = {"QUARANTINE_CACHE": str(outside / "new-cache")}
    with WebServer() as osv:
        changed = {"Last-Modified": "Mon, 23 Nov 2026 11:00:00 GMT"}
        osv.always("/all.zip", Answer(headers=changed, body=bundle(HARMLESS, MALWARE)))
        started = home.run("init", "demo", "--advisories", f"{osv.origin}/all.zip")
        home.folder = outside / "demo"
        home.write("requirements.txt", "# mine\napp>=1\n")
        policy = home.folder / "allowlists/policy.yaml"
        shipped = policy.read_text()
        policy.write_text(shipped.replace("type: pypi\n", f"type: pypi\n    url: {home.index.url}\n", 1))
        home.index.add("app", "1.0", requires=["lib"])
        home.index.add("lib", "1.0")
        missing = home.run("doctor", "--offline")
        synced = home.run("advisories", "sync")
    doctor = home.run("doctor")
    checked = home.check("requirements.txt", "--lock", "pylock.toml")
    built = home.check("pylock.toml", "--stage", "production")

    runs = (started, missing, synced, doctor, checked, built)
    assert [ran.status for ran in runs] == [0, 3, 0, 0, 0, 0], [ran.err for ran in runs]
    assert started.err == "next: cd demo && quarantine advisories sync && quarantine check requirements.txt\n"
    assert "MISSING advisories" in missing.out
    assert "MISSING" not in doctor.out
    assert built.json["subjects"][0]["locked"] is True


def test_init_overwrites_nothing(home: House) -> None:
    """One file that is there stops it, be it a dangling link, and then nothing at all is written."""
    for name in ("quarantine.yaml", "allowlists/policy.yaml", ".quarantine/.gitignore"):
        folder = home.folder / f"in-{name.replace('/', '-')}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to("nowhere")

        ran = home.run("init", folder.name)

        assert (ran.status, ran.out) == (2, "")
        assert ran.err == (f"error: {folder.name}/{name} is there already: choose another folder, or move it away\n")
        assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_init_leaves_what_there_is_to_check(home: House) -> None:
    """A project that has requirements gets everything but the example."""
    mine = home.write("mine/requirements.txt", "app\n")

    ran = home.run("init", "mine")

    assert ran.status == 0
    assert (mine.read_text(), (mine.parent / "quarantine.yaml").exists()) == ("app\n", True)


def test_doctor_names_what_is_missing_with_its_mend(home: House) -> None:
    """Exit 2 for a wrong configuration, 3 for anything else; each thing with what to do about it."""
    home.variables = {"QUARANTINE_CACHE": str(home.folder / "cache")}
    no_advisories = home.run("doctor", "--offline")
    home.advise(HARMLESS)
    green = home.run("doctor")
    old = home.run("doctor", "--offline", now=NOW + timedelta(days=9))
    home.index.always("/simple/pip/", Answer(status=403))
    refused = home.run("doctor", now=NOW + timedelta(hours=1))
    home.write("quarantine.yaml", "version: 1\nproject: x\nmode: open\n")
    wrong = home.run("doctor")

    assert [ran.status for ran in (no_advisories, green, old, refused, wrong)] == [3, 0, 3, 3, 2]
    mends = [
        [line.strip() for line in ran.out.splitlines() if line.lstrip().startswith("->")]
        for ran in (no_advisories, green, old, refused, wrong)
    ]
    assert mends == [
        ["-> quarantine advisories sync"],
        [],
        ["-> quarantine advisories sync"],
        ["-> check the network, the proxy variables and the credentials; or work with --offline"],
        ["-> mend the file at the place named"],
    ]
    assert f"MISSING configuration: {home.folder}/quarantine.yaml:3:1: unknown key 'mode'" in wrong.out


# --- help and usage ---------------------------------------------------------------------------------------------------

COMMANDS = [
    (),
    ("check",),
    ("allowlist",),
    ("allowlist", "validate"),
    ("allowlist", "explain"),
    ("allowlist", "publish"),
    ("allowlist", "schema"),
    ("exception",),
    ("exception", "request"),
    ("exception", "import"),
    ("exception", "list"),
    ("exception", "show"),
    ("exception", "vet"),
    ("exception", "attach-wheel"),
    ("exception", "approve"),
    ("exception", "reject"),
    ("exception", "renew"),
    ("exception", "revoke"),
    ("exception", "publish"),
    ("exception", "process"),
    ("mirror",),
    ("mirror", "serve"),
    ("mirror", "fetch"),
    ("mirror", "index"),
    ("mirror", "verify"),
    ("advisories",),
    ("advisories", "sync"),
    ("advisories", "status"),
    ("audit",),
    ("audit", "list"),
    ("audit", "verify"),
    ("audit", "export"),
    ("doctor",),
    ("init",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(home: House, command: tuple[str, ...]) -> None:
    """`--help` needs no configuration, ends with 0, and shows the command in an example."""
    home.write("quarantine.yaml", "not a configuration")

    long, short = home.run(*command, "--help"), home.run(*command, "-h")

    assert (long.status, long.err) == (0, "")
    assert long.out == short.out
    assert re.search(rf"Examples:\n(?: +.*\n)*? +quarantine (?:--config \S+ )?{' '.join(command)}", long.out)


def test_every_command_is_among_them(home: House) -> None:
    """No command is left out above."""
    listed_below = {
        (*command, name)
        for command in ((), ("allowlist",), ("exception",), ("mirror",), ("advisories",), ("audit",))
        for name in re.findall(
            r"^  ([a-z-]+)  ", home.run(*command, "--help").out.partition("Commands:")[2], re.MULTILINE
        )
    }

    assert listed_below == set(COMMANDS) - {()}


USAGE = {
    ("chek",): "error: no command 'chek': did you mean 'check'?\ntry: quarantine --help\n",
    ("check",): "error: Missing argument 'SPEC...'.\ntry: quarantine check --help\n",
    ("check", "a.txt", "--nope"): "error: No such option '--nope'.\ntry: quarantine check --help\n",
    ("check", "a.txt", "--report", "pdf"): (
        "error: --report 'pdf': expected FORMAT or FORMAT=FILE, with FORMAT one of text, json, sarif, junit, "
        "markdown, cyclonedx\n"
    ),
    ("check", "a.txt", "--report", "json", "--report", "sarif"): (
        "error: two reports for standard output: give all but one a file, as in --report sarif=FILE\n"
    ),
    ("check", "a.txt", "--target", "vax"): (
        "error: --target: 'vax' is not a target: expected one like cp311-linux-x86_64\n"
    ),
    ("check", "a.txt", "--stage", "test"): (
        "error: no stage 'test' in the policy: expected development or production\n"
    ),
    ("check", "a.txt", "--lock", "lock.txt"): (
        "error: --lock 'lock.txt': expected pylock.toml or pylock.NAME.toml (PEP 751), conda-lock.yml, or azureml=DIR\n"
    ),
    ("check", "a.txt", "b.txt", "--lock", "pylock.toml"): (
        "error: --lock writes the lock of one environment: check one file at a time\n"
    ),
    ("check", "a.txt", "--lock", "none/pylock.toml"): ("error: --lock 'none/pylock.toml': there is no folder 'none'\n"),
    ("audit", "lst"): "error: No such command 'lst'. Did you mean 'list'?\ntry: quarantine audit --help\n",
}


@pytest.mark.parametrize(("argv", "message"), USAGE.items(), ids=map(" ".join, USAGE))
def test_a_wrong_command_line_is_a_usage_error(home: House, argv: tuple[str, ...], message: str) -> None:
    """Exit 2, with what was expected; nothing is done by halves."""
    home.write("a.txt", "app\n")
    home.write("b.txt", "app\n")
    stored = dict(home.stored())

    ran = home.run(*argv)

    assert (ran.status, ran.out, ran.err) == (2, "", message)
    assert dict(home.stored()) == stored


def test_no_command_is_told_what_there_is(home: House) -> None:
    """The help, on standard error, and exit 2."""
    ran = home.run()

    assert (ran.status, ran.out) == (2, "")
    assert "Examples:" in ran.err


# --- reports ----------------------------------------------------------------------------------------------------------


def test_all_reports_of_one_run(home: House) -> None:
    """Several sinks at once, each valid in its own format, all with the same refusal at the user's line."""
    home.index.add("app", "1.0", requires=["lib"])
    home.index.add("lib", "1.0")
    home.advise(before("PYSEC-2024-7", "lib", "2.0", aliases=["CVE-2024-7"], severity=HIGH))
    home.write("requirements.txt", "# mine\napp\n")
    (home.folder / "out").mkdir()
    kinds = ("json", "sarif", "junit", "markdown", "cyclonedx")

    ran = home.run(
        "check", "requirements.txt", "--report", "text", *(p for k in kinds for p in ("--report", f"{k}=out/{k}"))
    )

    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("DENIED ")
    stored = {kind: (home.folder / "out" / kind).read_text() for kind in kinds}
    verdict = json.loads(stored["json"])
    (denied,) = [item for item in verdict["items"] if item["verdict"] == "denied"]
    assert (denied["name"], verdict["schema"]) == ("lib", "quarantine/verdict/1")
    (result,) = json.loads(stored["sarif"])["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("requirements.txt", 2)
    failed = re.findall(r'<testcase name="([^"]*)"[^>]*>\s*<failure', stored["junit"])
    assert failed == ["verdict", "lib 1.0"]
    assert "CVE-2024-7" in stored["markdown"]
    bom = json.loads(stored["cyclonedx"])
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["purl"] for part in bom["components"]} == {"pkg:pypi/app@1.0", "pkg:pypi/lib@1.0"}
    assert [flaw["id"] for flaw in bom["vulnerabilities"]] == ["PYSEC-2024-7"]


def test_annotations_and_summaries_in_ci(home: House) -> None:
    """Azure Pipelines and GitHub Actions get the refusal at the user's line, and a summary; others get neither."""
    home.index.add_sdist("built", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "# mine\nbuilt\n")

    home.variables = {"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": str(home.folder)}
    azure = home.run("check", "requirements.txt")
    home.variables = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(home.folder / "summary.md")}
    github = home.run("check", "requirements.txt")
    home.variables = {}
    neither = home.run("check", "requirements.txt")

    command, upload = azure.err.splitlines()
    assert command.startswith("##vso[task.logissue type=error;sourcepath=requirements.txt;linenumber=2;")
    summary = Path(upload.removeprefix("##vso[task.uploadsummary]"))
    assert github.err.startswith("::error file=requirements.txt,line=2,")
    assert summary.read_text().splitlines()[0] == (home.folder / "summary.md").read_text().splitlines()[0]
    assert neither.err == ""
    outputs = {re.sub(r"\b[0-9]+( sha256 |:)[0-9a-f]{64}", "", ran.out) for ran in (azure, github, neither)}
    assert len(outputs) == 1


# --- as a process -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Started:
    """The command line as a process of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    def wait(self) -> tuple[int, str, str]:
        """How it ended and what it said."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode(), err.decode()


def _environment(home: House, **variables: str) -> Mapping[str, str]:
    temporary = home.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    path = os.environ["PATH"]  # noqa: TID251  # what the child needs to start
    return {"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "HOME": str(home.folder), **variables}


@contextmanager
def _started(home: House, *argv: str) -> Iterator[Started]:
    process = subprocess.Popen(
        [sys.executable, "-m", "quarantine", *argv],
        cwd=home.folder,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Started(process=process, folder=home.folder)
    finally:
        process.kill()
        process.communicate()


def _naming(text: str) -> list[str]:
    """The processes in whose arguments the text stands."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


@pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are looked for in /proc, which is Linux's"
)
@pytest.mark.parametrize("name", ["requirements.txt", "locked.txt"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(home: House, name: str, number: signal.Signals) -> None:
    """While an index keeps it waiting: it ends at once, without entry, lock, temporary files or a child."""
    served = home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    home.write("locked.txt", f"app==1.0 --hash=sha256:{served.sha256}\n")
    home.index.always("/simple/app/", Answer(hang=True))
    before_it = {name: data for name, data in home.stored().items() if not name.startswith("cache/")}

    with _started(home, "check", name, "--lock", "pylock.toml") as started:
        ends = time.monotonic() + 20
        while not home.index.asked and time.monotonic() < ends:
            time.sleep(0.01)
        started.process.send_signal(number)
        interrupted = time.monotonic()
        status, out, err = started.wait()

    assert home.index.asked != []
    assert time.monotonic() - interrupted < 5
    assert out == ""
    assert (status, err.strip()) == (130, "interrupted: nothing is left half done")
    after = {name: data for name, data in home.stored().items() if not name.startswith("cache/")}
    assert after == before_it
    assert _naming(home.index.url) == []


def test_a_reader_that_goes_away_gets_no_traceback(home: House) -> None:
    """`quarantine check ... | head -0`: the verdict is in the log, and nothing is complained about."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")
    with _started(home, "check", "requirements.txt") as started:
        assert started.process.stdout is not None
        started.process.stdout.close()
        assert started.process.stderr is not None
        said = started.process.stderr.read().decode()
        status = started.process.wait(30)

    assert said == ""
    assert status == 3
    assert home.run("audit", "verify").status == 0


def _on_a_terminal(home: House, *argv: str, **variables: str) -> bytes:
    """What the command shows on a terminal of 100 columns."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "quarantine", *argv],
        cwd=home.folder,
        env=_environment(home, TERM="xterm-256color", COLUMNS="100", **variables),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    shown = b""
    try:
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not piece:
                break
            shown += piece
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return shown


def test_only_a_terminal_gets_escape_sequences(home: House) -> None:
    """Colour and progress on a terminal; none with NO_COLOR, none when piped, and the same verdict everywhere."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n")

    colourful = _on_a_terminal(home, "check", "requirements.txt")
    plain = _on_a_terminal(home, "check", "requirements.txt", NO_COLOR="1")
    piped = home.run("check", "requirements.txt", "--report", "text")

    assert b"\x1b[" in colourful
    assert b"\x1b" not in plain
    assert "\x1b" not in piped.out + piped.err
    words = {word for word in ("ALLOWED", "DENIED", "UNDECIDED") if word.encode() in plain}
    assert len(words) == 1
    assert all(word.encode() in colourful for word in words)


# --- offline, and the live second source ------------------------------------------------------------------------------


def test_offline_asks_nobody(home: House) -> None:
    """A lock whose pages are cached is judged without a request, however old they are; `doctor --offline` asks none."""
    served = home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("locked.txt", f"app==1.0 --hash=sha256:{served.sha256}\n")
    first = home.check("locked.txt")
    asked = len(home.index.asked)

    later = NOW + timedelta(hours=12)
    runs = [home.check("locked.txt", "--offline", now=later), home.run("doctor", "--offline", now=later)]

    assert [ran.status for ran in (first, *runs)] == [0, 0, 0]
    assert runs[0].item("app")["digests"] == first.item("app")["digests"]
    assert len(home.index.asked) == asked


def test_pip_audit_is_a_live_source(home: House) -> None:
    """No database is needed then: what its service knows is judged, and its silence counts if it knows anything."""
    if find_spec("pip_audit") is None:
        missing("pip-audit is missing: pip install '.[pip-audit]'")
    home.index.add("app", "1.0")
    home.index.add("lib", "1.0")
    home.write("requirements.txt", "app\nlib\n")
    flaw = before("GHSA-1", "lib", "2.0", aliases=["CVE-2024-7"], severity=HIGH)
    config = (home.folder / "quarantine.yaml").read_text()

    def asking(service: OsvService) -> str:
        live = f"service: pip-audit, service_url: {service.url}"
        return config.replace("source: records.zip, max_age_hours: 96", live)

    with OsvService(listed({("lib", "1.0"): [flaw]})) as service:
        home.write("quarantine.yaml", asking(service))
        denied = home.check("requirements.txt")
    with OsvService(lambda _name, _version: []) as ignorant:
        home.write("quarantine.yaml", asking(ignorant))
        undecided = home.check("requirements.txt")
    gone = home.check("requirements.txt")

    assert [ran.status for ran in (denied, undecided, gone)] == [1, 3, 3]
    assert denied.rules("lib") == ["vulnerability"]
    assert denied.item("lib")["advisories"][0]["aliases"] == ["CVE-2024-7"]
    assert denied.item("app")["verdict"] == "allowed"
    for ran in (undecided, gone):
        assert ran.json["preconditions"][0]["rule"] == "advisory-snapshot"
    assert not (home.folder / ".quarantine/advisories.sqlite").exists()
