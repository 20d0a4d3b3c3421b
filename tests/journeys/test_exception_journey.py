"""An exception from its denial to its end: asked for, vetted, approved by somebody else, mirrored, installed, revoked.

The same on the embedded store and in private containers of a real Azurite. Real pip, uv and py-rattler install what was
let in, through a real `mirror serve`, and pip from what `mirror fetch` brought.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from channels import CondaChannel, distribution
from house import NOW, House, Ran
from issuer import IssuerServer, times
from msgspec.structs import replace
from osv_records import before
from uv import find_uv_bin

from quarantine import wiring
from quarantine.audit.events import ruling_draft
from quarantine.config import load_settings, read_environment
from quarantine.exceptions import ExceptionCase, Identity, Ruling, RulingKind, State

CRITICAL = {"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}
FLAWED = ("fetcher 1.0 vulnerability:PYSEC-2024-1", "carrier 1.0 vulnerability:PYSEC-2024-2")
SERVE = """\
import sys
from datetime import datetime
from quarantine.cli.main import main
sys.exit(main(sys.argv[2:], now=datetime.fromisoformat(sys.argv[1])))
"""
SOLVE = """\
import asyncio, json, os, sys
import rattler
async def main(channel, prefix, cache):
    records = await rattler.solve(
        [rattler.Channel(channel)], [rattler.MatchSpec("carrier")], gateway=rattler.Gateway(cache_dir=cache),
        platforms=[rattler.Subdir("linux-64"), rattler.Subdir("noarch")],
    )
    await rattler.install(records, target_prefix=prefix, cache_dir=cache)
    print(json.dumps([f"{r.name.normalized} {r.version}" for r in records]))
asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""


@dataclass(kw_only=True)
class Company:
    """A project with its people, who prove to an issuer who they are."""

    home: House
    issuer: IssuerServer

    def be(self, who: str) -> None:
        """Whoever runs the next command."""
        claims = {"iss": self.issuer.issuer, "aud": "quarantine", "sub": f"id-of-{who}", "name": who, **times(NOW)}
        self.home.variables["TOKEN"] = self.issuer.sign(claims)

    def run(self, who: str, *argv: str, status: int = 0) -> Ran:
        """Runs a command as somebody, with the exit status that it must have."""
        self.be(who)
        ran = self.home.run(*argv)
        assert ran.status == status, ran
        return ran

    def check(self, file: str, status: int) -> Ran:
        """The verdict on a file, as JSON."""
        self.be("ann")
        ran = self.home.check(file)
        assert ran.status == status, ran.out or ran.err
        return ran

    def state(self) -> State:
        """What the log says of all exceptions."""
        environment = read_environment(self.home.variables)
        settings = load_settings(self.home.folder / "quarantine.yaml", environment, self.home.folder)
        found = wiring.exception_state(settings, environment)
        assert found is not None
        return found

    def append_raw(self, stream: str, case: ExceptionCase, ruling: Ruling) -> None:
        """Writes an approval into a stream, past everything that the commands look at."""
        environment = read_environment(self.home.variables)
        settings = load_settings(self.home.folder / "quarantine.yaml", environment, self.home.folder)
        assert case.request is not None
        wiring.audit_log(settings, environment).append(stream, [ruling_draft(case.request, ruling)])

    @contextmanager
    def served(self) -> Iterator[str]:
        """A running `quarantine mirror serve`, ended by Ctrl-C; where it is."""
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **self.home.variables}  # noqa: TID251  # what it needs to start
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, NOW.isoformat(), "mirror", "serve"],
            cwd=self.home.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(2))
            found = re.search(r"http://127\.0\.0\.1:[0-9]+", said)
            assert found is not None, (said, process.stderr and process.stderr.read())
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.returncode == 0


@pytest.fixture(params=["embedded", "azurite"])
def company(request: pytest.FixtureRequest, home: House) -> Iterator[Company]:
    """A project whose store is a folder, or private containers of a storage account."""
    with IssuerServer() as issuer:
        home.settings = [
            f"identity: {{kind: oidc, issuer: '{issuer.issuer}', audience: quarantine, token: 'env:TOKEN'}}"
        ]
        home.identities = [{"issuer": issuer.issuer, "audience": "quarantine"}]
        if request.param == "azurite":
            emulator, prefix = request.getfixturevalue("azurite"), f"j{os.urandom(5).hex()}-"
            home.settings.append(f"store: {{connection: 'env:STORAGE', prefix: {prefix}}}")
            home.variables["STORAGE"] = emulator.connection()
        yield Company(home=home, issuer=issuer)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[CondaChannel]:
    """A channel with a package that holds a flawed distribution."""
    with CondaChannel(folder=tmp_path / "channel", name="acme") as made:
        made.add("carrier", "1.0", subdir="linux-64", files=distribution("carrier", "1.0"))
        made.index()
        yield made


def test_an_exception_from_its_denial_to_its_end(company: Company, channel: CondaChannel, tmp_path: Path) -> None:
    """Denied, asked for, vetted, approved by another, published, installed, allowed, revoked, and gone again."""
    home = company.home
    home.channels = {"acme": channel.url}
    home.index.add("fetcher", "1.0", requires=["helper"])
    home.index.add("helper", "3.0")
    if any(line.startswith("store:") for line in home.settings):
        _publish_policy(company)
    home.advise(
        before("PYSEC-2024-1", "fetcher", "2.0", **CRITICAL), before("PYSEC-2024-2", "carrier", "2.0", **CRITICAL)
    )
    home.write("requirements.txt", "fetcher==1.0\n")
    home.write("environment.yml", "name: e\nchannels: [acme, nodefaults]\ndependencies: [carrier=1.0]\n")

    # denied, and asked for from the verdict: everything of it in one request
    company.be("ann")
    denied = home.check("requirements.txt", "environment.yml")
    assert denied.status == 1, denied
    assert {i["name"] for i in denied.json["items"] if i["verdict"] == "denied"} == {"fetcher", "carrier"}
    home.write("verdict.json", denied.out)
    company.run("ann", "exception", "request", "--from", "verdict.json", "--reason", "the model needs it")
    (case,) = company.state().cases.values()
    assert sorted(file.name for file in case.files) == ["carrier", "fetcher"]

    # vetted, by whoever runs the central pipeline
    company.run("pipeline", "exception", "process")
    (case,) = company.state().cases.values()
    assert case.dossier is not None
    assert set(case.dossier.failures) == set(FLAWED)
    assert (case.dossier.unknowns, case.dossier.final) == ((), ())

    # nobody approves their own, neither by command nor past it
    _approve_own(company, case)
    company.check("requirements.txt", 1)

    # approved by somebody else, and published
    company.run("bob", "exception", "approve", case.id[:12], "--reason", "not reachable in our use", "--waive", "all")
    company.run("pipeline", "exception", "process")
    assert company.run("pipeline", "exception", "process").out == "nothing was due\n"
    company.run("pipeline", "mirror", "verify")

    _install(company, tmp_path)

    # allowed for this project and no other
    allowed = company.check("requirements.txt", 0)
    assert allowed.item("fetcher")["exception"] == case.id
    company.check("environment.yml", 0)
    home.project = "other"
    home.settle()
    company.check("requirements.txt", 1)
    home.project = "demo"
    home.settle()

    # locked, fetched and installed without any network
    locked = company.run("ann", "check", "requirements.txt", "--lock", "pylock.toml", "--stage", "development")
    assert locked.status == 0
    company.run("ann", "mirror", "fetch", "--lock", "pylock.toml", "--to", "wheels", "--stage", "development")
    assert "Successfully installed fetcher-1.0 helper-3.0" in _pip_from(home.folder / "wheels", tmp_path)
    _revoke(company, case, tmp_path)


def _approve_own(company: Company, case: ExceptionCase) -> None:
    """Everything that Ann, who asked, can try: the command, an approval in her own stream, one of her own in the curators'."""
    assert case.request is not None
    assert case.dossier is not None
    refused = company.run("ann", "exception", "approve", case.id[:12], "--reason", "mine", "--waive", "all", status=1)
    assert "whoever asks never approves" in refused.err
    forged = Ruling(
        kind=RulingKind.APPROVE,
        id="0193575d-7c00-7000-8000-000000000001",
        time=NOW,
        by=Identity(kind="oidc", issuer=company.issuer.issuer, id="id-of-bob", name="bob", verified=True),
        reason="as if by Bob",
        policy=case.dossier.policy,
        files=tuple(file.sha256 for file in case.files),
        dossier=case.dossier.sha256,
        expires_at=NOW.replace(year=2027),
        waives=FLAWED,
        project=case.request.project,
        stage=case.request.stage,
        binding=case.binding,
    )
    company.append_raw("log-requests/demo-2026-11", case, forged)
    assert company.state().cases[case.id].rulings == ()
    own = replace(forged, id="0193575d-7c00-7000-8000-000000000002", by=case.request.requester)
    company.append_raw("log-decisions/decisions-2026-11", case, own)


def _install(company: Company, tmp_path: Path) -> None:
    """Real pip, uv and py-rattler install what the mirror serves."""
    with company.served() as origin:
        assert "Successfully installed fetcher-1.0" in _pip(tmp_path, "by-pip", origin)
        assert "fetcher==1.0" in _uv(tmp_path, "by-uv", origin)
        assert _rattler(tmp_path, f"{origin}/conda") == ["carrier 1.0"]
        assert (tmp_path / "prefix/site-packages/carrier/__init__.py").is_file()


def _revoke(company: Company, case: ExceptionCase, tmp_path: Path) -> None:
    """Denied at once, also by the old lock, and gone from the mirror."""
    company.run("carol", "exception", "revoke", case.id[:12], "--reason", "exploited in the wild")
    assert "exception" in company.check("requirements.txt", 1).rules("fetcher")
    assert "exception" in company.check("pylock.toml", 1).rules("fetcher")
    with company.served() as origin:
        assert "No matching distribution found for fetcher==1.0" in _pip(tmp_path, "after", origin, status=1)
    company.run("pipeline", "exception", "process")
    company.run("pipeline", "mirror", "verify")
    assert company.run("pipeline", "exception", "process").out == "nothing was due\n"
    assert company.run("ann", "audit", "verify").status == 0


def _publish_policy(company: Company) -> None:
    """Where the store is shared, curators say which policy is in force."""
    company.home.settle()
    company.run("carol", "allowlist", "publish", "--reason", "to begin with")


def _environment(folder: Path) -> dict[str, str]:
    """Of a program that reads no configuration of this machine's."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PIP_CONFIG_FILE": os.devnull}  # noqa: TID251  # what it needs to start


def _run(folder: Path, *argv: str, status: int = 0) -> str:
    done = subprocess.run(
        argv, cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def _pip(folder: Path, target: str, origin: str, status: int = 0) -> str:
    """Real pip, with nothing but the mirror."""
    options = ["--isolated", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", "--target", target]
    argv = [sys.executable, "-m", "pip", "install", *options, "--index-url", f"{origin}/simple/", "fetcher==1.0"]
    return _run(folder, *argv, status=status)


def _pip_from(wheels: Path, folder: Path) -> str:
    """Real pip, from a folder, by the hashes in it."""
    options = ["--isolated", "--no-cache-dir", "--disable-pip-version-check", "--target", "by-hash"]
    argv = [sys.executable, "-m", "pip", "install", *options, "--no-index", "--find-links", str(wheels)]
    return _run(folder, *argv, "--require-hashes", "-r", str(wheels / "requirements.txt"))


def _uv(folder: Path, target: str, origin: str) -> str:
    """Real uv, with nothing but the mirror."""
    options = ["--no-config", "--no-cache", "--no-deps", "--python", sys.executable, "--target", target]
    return _run(
        folder,
        os.fsdecode(find_uv_bin()),
        "pip",
        "install",
        *options,
        "--default-index",
        f"{origin}/simple/",
        "fetcher==1.0",
    )


def _rattler(folder: Path, channel: str) -> object:
    """Real py-rattler, with nothing but the mirror's channel."""
    out = _run(folder, sys.executable, "-c", SOLVE, channel, str(folder / "prefix"), str(folder / "rattler-cache"))
    return json.loads(out.splitlines()[0])
