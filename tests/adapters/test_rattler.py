"""The solver over py-rattler: what its worker is told, what it may know, and what becomes of its answers and failures."""

import base64
import fcntl
import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import zstandard
from servers import NOT_FOUND, Answer, Asked, WebServer

from quarantine.adapters.rattler import MAX_FILE_BYTES, MAX_MEMORY_BYTES, RattlerSolver
from quarantine.errors import UpstreamError
from quarantine.model import CondaRecord, Digest, Ecosystem, Location, MatchSpec, Target
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    CondaCandidates,
    CondaFailed,
    CondaRequest,
    CondaSolution,
)

SECRET = "s3cr3t-canary"
TARGET = Target("3.11", "linux-x86_64")
SHARDS = "repodata_shards.msgpack.zst"
Make = Callable[..., RattlerSolver]
Records = dict[str, dict[str, object]]


def quiet(_: str) -> None:
    """Nobody is told."""


def record(name: str, version: str = "1.0", build: str = "0", *, number: int = 0, **more: object) -> Records:
    """What repodata says of one file."""
    said = {"name": name, "version": version, "build": build, "build_number": number, "depends": []}
    digest = {"sha256": Digest.sha256(f"{number:064x}").hex, "md5": "0" * 32, "size": 3}
    return {f"{name}-{version}-{build}.conda": {**said, **digest, **more}}


class Channel(WebServer):
    """A channel that is repodata alone, with `login` only for who sends that user and password."""

    def __init__(
        self, *records: Records, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(self._repodata, tls=tls)
        self.url = f"{self.origin}/channel"
        self.info: dict[str, object] = {}
        self.login = None if login is None else "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self.files: Mapping[str, Records] = {"noarch": {}, "linux-64": {}}
        for found in records:
            for filename, said in found.items():
                self.files[str(said.get("subdir", "noarch"))][filename] = said

    def _repodata(self, asked: Asked) -> Answer:
        if self.login is not None and asked.headers["Authorization"] != self.login:
            return Answer(status=401)
        subdir = asked.path.removeprefix("/channel/").removesuffix("/repodata.json")
        if subdir not in self.files:
            return NOT_FOUND
        info = {"subdir": subdir, **self.info}
        document = {"info": info, "packages": {}, "packages.conda": self.files[subdir], "repodata_version": 1}
        return Answer(body=json.dumps(document).encode())

    def repodata(self, answer: Answer, subdir: str = "noarch") -> None:
        """What is answered instead of the repodata."""
        self.always(f"/channel/{subdir}/repodata.json", answer)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a solver over channels; all share one cache."""

    def solver(
        *channels: Channel,
        logins: Mapping[str, tuple[str, str]] | None = None,
        seconds: float = 60,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
        upstream_of: Callable[[str], str | None] | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
    ) -> RattlerSolver:
        return RattlerSolver(
            upstreams=[
                Upstream(name="python", type=Ecosystem.PYPI, url="http://127.0.0.1:1/simple", mode=Mode.OPEN),
                *(
                    Upstream(name=name, type=Ecosystem.CONDA, url=channel.url, mode=Mode.OPEN)
                    for name, channel in zip(("first", "second", "third"), channels, strict=False)
                ),
            ],
            cache_dir=tmp_path / "cache",
            environ=environ or {},
            logins=logins or {},
            upstream_of=upstream_of,
            time_limit_seconds=seconds,
            offline=offline,
            max_file_bytes=max_file_bytes,
            max_memory_bytes=max_memory_bytes,
        )

    return solver


def spec(text: str, *, channel: str | None = None, subdir: str | None = None) -> MatchSpec:
    name, _, version = text.partition(" ")
    place = Location(file="environment.yaml", line=1)
    return MatchSpec(name=name, version=version, channel=channel, subdir=subdir, location=place)


def request(*specs: str | MatchSpec, channels: tuple[str, ...] = ("first",), target: Target = TARGET) -> CondaRequest:
    asked = tuple(spec(one) if isinstance(one, str) else one for one in specs)
    return CondaRequest(channels=channels, specs=asked, target=target)


def found(answer: CondaSolution | CondaFailed) -> dict[str, str]:
    """Where each name is from, and its version."""
    assert isinstance(answer, CondaSolution), answer.explanation
    return {r.name: f"{r.upstream} {r.version}" for r in answer.records}


def failed(answer: CondaSolution | CondaFailed) -> CondaFailed:
    assert isinstance(answer, CondaFailed)
    return answer


def failure(solver: RattlerSolver, asked: CondaRequest) -> str:
    with pytest.raises(UpstreamError) as caught:
        solver.solve(asked, quiet)
    return str(caught.value)


# --- solving ----------------------------------------------------------------------------------------------------------


def test_record_is_what_the_channel_lists(make: Make) -> None:
    """Of the times only the server's: the packager's own is dropped."""
    times = {"indexed_timestamp": 1_736_899_200_000, "timestamp": 1_500_000_000_000}
    with Channel(record("core", "1!2.0+a", "py_1", number=1, depends=["__unix"], **times)) as channel:
        answer = make(channel).solve(request("core"), quiet)
        assert answer == CondaSolution(
            records=(
                CondaRecord(
                    upstream="first",
                    subdir="noarch",
                    name="core",
                    version="1!2.0+a",
                    build="py_1",
                    filename="core-1!2.0+a-py_1.conda",
                    url=f"{channel.url}/noarch/core-1!2.0+a-py_1.conda",
                    sha256=Digest.sha256(f"{1:064x}"),
                    md5="0" * 32,
                    size=3,
                    indexed=datetime(2025, 1, 15, tzinfo=UTC),
                    depends=("__unix",),
                ),
            ),
            owners={"core": "first"},
        )


def test_solution_fits_the_oldest_machine_of_the_target(make: Make) -> None:
    """Virtual packages are the target's, not this machine's."""
    with Channel(
        record("core", "1.0", depends=["__glibc >=2.17"]),
        record("core", "2.0", depends=["__glibc >=2.34"]),
        record("gpu", depends=["__cuda >=12"]),
        record("mac", depends=["__osx >=11"]),
    ) as channel:
        solver = make(channel)
        assert found(solver.solve(request("core"), quiet)) == {"core": "first 1.0"}
        assert failed(solver.solve(request("gpu"), quiet)) == CondaFailed(
            explanation="gpu * cannot be installed because there are no viable options: gpu 1.0 would require "
            "__cuda >=12, for which no candidates were found."
        )
        mac = Target("3.11", "macos-arm64")
        assert found(solver.solve(request("mac", target=mac), quiet)) == {"mac": "first 1.0"}


@pytest.mark.parametrize("wanted", ["acme >=2", "acme 99.0"])
def test_name_of_the_first_channel_is_never_taken_from_the_second(make: Make, wanted: str) -> None:
    """Dependency confusion: the solver's library falls through to 99.0 where the user's own spec excludes what is private."""
    with (
        Channel(record("acme", "1.0")) as private,
        Channel(record("acme", "99.0"), record("app", depends=["acme"]), record("new", depends=["acme >=2"])) as public,
    ):
        solver = make(private, public)
        channels = ("first", "second")
        asked = [(wanted,), ("app", wanted), ("new",), ("app",)]
        *answers, plain = (solver.solve(request(*specs, channels=channels), quiet) for specs in asked)
    why = "acme 99.0 is excluded because due to strict channel priority not using this option from"
    assert [(why in failed(answer).explanation, failed(answer).not_found) for answer in answers] == [
        (True, frozenset())
    ] * 3
    assert found(plain) == {"app": "second 1.0", "acme": "first 1.0"}


def test_spec_of_a_channel_is_taken_from_it(make: Make) -> None:
    """By the upstream's name, by its URL, or by what the policy makes of it; the owner is told all the same."""
    with Channel(record("acme", "1.0")) as first, Channel(record("acme", "99.0")) as second:
        for channel, upstream_of in (
            ("second", None),
            (f"{second.url}/", None),
            ("defaults", {"defaults": "second"}.get),
        ):
            asked = request(spec("acme >=1", channel=channel), channels=("first", "second"))
            answer = make(first, second, upstream_of=upstream_of).solve(asked, quiet)
            assert found(answer) == {"acme": "second 99.0"}
            assert isinstance(answer, CondaSolution)
            assert answer.owners == {"acme": "first"}
        missing = make(first, second).solve(request(spec("acme >2", channel="first")), quiet)
        assert failed(missing).not_found == frozenset()


def test_spec_of_a_platform_is_held_to_it(make: Make) -> None:
    """The solver's library reads it and takes another."""
    with Channel(record("core")) as channel:
        answers = [make(channel).solve(request(spec("core", subdir=s)), quiet) for s in ("noarch", "linux-64")]
    assert found(answers[0]) == {"core": "first 1.0"}
    assert answers[1] == CondaFailed(
        explanation="core is asked for from linux-64, and there is one from noarch to be had"
    )


def test_reference_is_not_followed(make: Make) -> None:
    """A spec that is the URL of a package file is left out; nothing is fetched for it."""
    place = Location(file="environment.yaml", line=1)
    from quarantine.model import Reference, ReferenceKind

    with Channel(record("core")) as channel, WebServer() as elsewhere:
        url = Reference(kind=ReferenceKind.URL, text=f"{elsewhere.origin}/evil-1.0-0.conda")
        asked = request("core", MatchSpec(name="evil", reference=url, location=place))
        assert found(make(channel).solve(asked, quiet)) == {"core": "first 1.0"}
        assert elsewhere.asked == []


def test_explanation_is_one_line_without_frames_and_control_characters(make: Make) -> None:
    """What a packager writes into a dependency can't colour, hide or break a line of ours."""
    evil = f"lost\x1b[31m\u202e\n##vso[x] https://joe:{SECRET}@index.example/x?sig={SECRET}"
    with Channel(
        record("app", depends=["core >=2"]), record("core", depends=["nobody >=7"]), record("evil", depends=[evil])
    ) as channel:
        solver = make(channel)
        answers = [solver.solve(request(*specs), quiet) for specs in (("app", "core"), ("nobody >=7",), ("evil",))]
    assert answers == [
        CondaFailed(
            explanation="core * cannot be installed because there are no viable options: core 1.0 would require "
            "nobody >=7, for which no candidates were found."
        ),
        CondaFailed(explanation="No candidates were found for nobody >=7.", not_found=frozenset({"nobody"})),
        CondaFailed(
            explanation="The following packages are incompatible; evil * cannot be installed because there are no "
            "viable options: evil 1.0 is excluded because the dependency 'lost; ##vso[x] https://index.example/x' "
            "failed to parse: invalid package name 'lost ': 'lost ' is not a valid package name. Package names can "
            "only contain 0-9, a-z, A-Z, -, _, or ."
        ),
    ]


def test_twenty_solves_never_fail(make: Make) -> None:
    """The interpreter that holds the library may crash while it ends; the answer is out by then."""
    with Channel(record("app", depends=["core"]), record("core")) as channel:
        solver = make(channel)
        for _ in range(20):
            assert found(solver.solve(request("app"), quiet)) == {"app": "first 1.0", "core": "first 1.0"}


def test_nothing_asked_is_solved_by_nothing(make: Make) -> None:
    """No specs, no records."""
    with Channel(record("core")) as channel:
        assert make(channel).solve(request(), quiet) == CondaSolution(records=(), owners={})


# --- what the worker may know -----------------------------------------------------------------------------------------


def test_login_reaches_its_own_channel_and_nobody_else(make: Make) -> None:
    """Neither another channel of the host nor where a redirect leads gets it; it is in no message."""
    with Channel(record("acme"), login=("joe", SECRET)) as private, Channel(record("core")) as public:
        public.url = f"{public.origin}/channel/"
        asked = request("acme", "core", channels=("first", "second"))
        said = failure(make(private, public, logins={"first": ("joe", SECRET)}), asked)
        assert said == "channel second differs from another one in scheme or port only, and in its login"
        public.url = f"{public.origin}/other"
        public.always("/other/noarch/repodata.json", public.respond(_get("/channel/noarch/repodata.json")))
        public.always("/x", private.respond(_get("/channel/noarch/repodata.json", private.login)))
        away = Answer(status=302, headers={"Location": f"{public.origin}/x"})
        private.script("/channel/noarch/repodata.json", away)
        solver = make(private, public, logins={"first": ("joe", SECRET)})
        for channel in (private, public):
            channel.asked.clear()
        assert found(solver.solve(asked, quiet)) == {"acme": "first 1.0", "core": "second 1.0"}
        assert {one.headers["Authorization"] for one in private.asked} == {private.login}
        assert {one.headers["Authorization"] for one in public.asked} == {None}
        wrong = failure(make(private, public, logins={"first": ("joe", f"{SECRET}x")}, offline=False), request("zed"))
    assert "/x" in public.paths()
    assert wrong.startswith("channel first can't be read: HTTP status client error (401 Unauthorized) for url (http:")
    assert "canary" not in wrong


def shards(base: str, *records: Records) -> dict[str, bytes]:
    """The sharded repodata (CEP 16) of a channel's noarch, by file name. Its index says that the shards are at `base`."""
    names: dict[str, dict[str, Records]] = {}
    for found in records:
        for filename, said in found.items():
            shard = names.setdefault(str(said["name"]), {"packages": {}, "packages.conda": {}})
            digests = {key: bytes.fromhex(str(said[key])) for key in ("sha256", "md5")}
            shard["packages.conda"][filename] = {**said, "subdir": "noarch", **digests}
    packed = {name: zstandard.compress(msgspec.msgpack.encode(shard)) for name, shard in names.items()}
    index = {
        "version": 1,
        "info": {"subdir": "noarch", "base_url": "./", "shards_base_url": base},
        "shards": {name: hashlib.sha256(data).digest() for name, data in packed.items()},
    }
    files = {f"{hashlib.sha256(data).hexdigest()}.msgpack.zst": data for data in packed.values()}
    return {SHARDS: zstandard.compress(msgspec.msgpack.encode(index)), **files}


def test_login_follows_no_shards_to_another_port(make: Make) -> None:
    """Neither those that its own channel names, nor those that another channel puts under its path on its host."""
    core = record("core")
    with (
        Channel(record("acme"), login=("joe", SECRET)) as private,
        Channel() as public,
        WebServer() as other,
    ):
        public.url = f"{public.origin}/public"
        for channel, path, found_there in ((private, "channel", record("acme")), (public, "public", core)):
            # both under the path that the login is for
            for name, data in shards(f"{other.origin}/channel/noarch/", found_there).items():
                (channel if name == SHARDS else other).always(
                    f"/{path if name == SHARDS else 'channel'}/noarch/{name}", Answer(body=data)
                )
        solver = make(private, public, logins={"first": ("joe", SECRET)})
        answer = solver.solve(request("acme", "core", channels=("first", "second")), quiet)
        assert found(answer) == {"acme": "first 1.0", "core": "second 1.0"}
        assert {one.headers["Authorization"] for one in private.asked} == {private.login}
        assert [path for path in private.paths() if "shards" in path] == []
        assert [one.headers["Authorization"] for one in other.asked] == [None]
        assert {one.headers["Authorization"] for one in public.asked} == {None}


def test_login_follows_no_redirect_to_another_port(make: Make) -> None:
    """Though the host and path there are those that it is for."""
    with Channel(record("acme"), login=("joe", SECRET)) as private, Channel(record("acme", "6.6")) as other:
        for subdir in ("noarch", "linux-64"):
            path = f"/channel/{subdir}/repodata.json"
            private.always(path, Answer(status=302, headers={"Location": f"{other.origin}{path}"}))
        solver = make(private, logins={"first": ("joe", SECRET)})
        assert found(solver.solve(request("acme"), quiet)) == {"acme": "first 6.6"}
        assert {one.headers["Authorization"] for one in private.asked} == {private.login}
        assert {one.headers["Authorization"] for one in other.asked} == {None}


@pytest.mark.parametrize("place", ["127.0.0.1:{port}/x/../channel/", "LOCALHOST:{port}/channel"])
def test_login_is_for_the_channel_however_it_is_written(make: Make, place: str) -> None:
    """What is asked for is the URL in its normal form."""
    with Channel(record("acme"), login=("joe", SECRET)) as private:
        private.url = f"http://{place.format(port=private.port)}"
        solver = make(private, logins={"first": ("joe", SECRET)})
        assert found(solver.solve(request("acme"), quiet)) == {"acme": "first 1.0"}


def _get(path: str, login: str | None = None) -> Asked:
    from email.message import Message

    headers = Message()
    if login is not None:
        headers["Authorization"] = login
    return Asked(method="GET", path=path, headers=headers)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="arguments are read from /proc, which is Linux's")
def test_no_secret_in_the_workers_arguments_and_environment(make: Make) -> None:
    """While it runs, anybody on the machine may read its arguments."""
    with Channel(record("acme")) as channel:
        channel.repodata(Answer(hang=True))
        solver = make(channel, logins={"first": ("joe-canary", SECRET)}, seconds=3, environ={"TOKEN": SECRET})
        thread = threading.Thread(target=failure, args=(solver, request("acme")))
        thread.start()
        while not channel.asked:
            time.sleep(0.01)
        every = [process for process in Path("/proc").glob("[0-9]*") if b"rattler_worker" in _read(process / "cmdline")]
        mine = [process for process in every if f"\nPPid:\t{os.getpid()}\n".encode() in _read(process / "status")]
        seen = [(_read(process / "cmdline"), _read(process / "environ")) for process in mine]
        thread.join()
    assert len(seen) == 1
    assert [text for text in seen[0] if b"canary" in text] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_settings_of_the_user_are_not_the_workers(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor configuration, netrc and modules in the home or working folder change anything."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "9.9")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auth.json").write_text('{"127.0.0.1": {"BasicHTTP": {"username": "joe", "password": "x"}}}')
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login joe password x\n")
    (tmp_path / "rattler.py").write_text("raise SystemExit('hijacked')\n")
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')\n")
    with Channel(record("core", "1.0"), record("core", "2.0", depends=["__glibc >=9"])) as channel:
        answer = make(channel, environ={"HOME": str(tmp_path), "CONDA_OVERRIDE_GLIBC": "9.9"}).solve(
            request("core"), quiet
        )
        assert found(answer) == {"core": "first 1.0"}
        assert {asked.headers["Authorization"] for asked in channel.asked} == {None}


def test_no_redirect_leads_the_worker_to_a_host_that_is_not_encrypted(make: Make) -> None:
    """Metadata services of clouds speak plain HTTP only; of such hosts it may ask those alone that the policy names."""
    with Channel(record("core")) as channel, Channel(record("core", "9.0")) as elsewhere:
        # another name of this machine: for the worker another host
        away = f"http://localhost:{elsewhere.port}/channel/noarch/repodata.json"
        channel.repodata(Answer(status=302, headers={"Location": away}))
        said = failure(make(channel, seconds=10), request("core"))
        assert elsewhere.asked == []
    assert said.startswith("channel first can't be read: ")


def test_certificates_are_the_environments(make: Make, tmp_path: Path) -> None:
    """An unknown authority is refused; one from SSL_CERT_FILE holds."""
    context, authority = _certificate(tmp_path)
    with Channel(record("core"), tls=context) as channel:
        said = failure(make(channel, seconds=10), request("core"))
        answer = make(channel, environ={"SSL_CERT_FILE": str(authority)}).solve(request("core"), quiet)
    assert "UnknownIssuer" in said
    assert found(answer) == {"core": "first 1.0"}


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context, and the file with the authority that signed its certificate."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    commands = [
        ["req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *key, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-extfile", "ext", "-out", "server.pem"],
    ]  # fmt: skip
    for command in commands:
        try:
            subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=folder)
        except FileNotFoundError:
            pytest.skip("openssl is missing: apt-get install openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, folder / "ca.pem"


# --- what is no answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NOT_FOUND, "could not find subdir 'noarch' in channel '{url}/'; Caused by: HTTP status client error (404 Not Found) for url ({url}/noarch/repodata.json)"),
        (Answer(status=401), "HTTP status client error (401 Unauthorized) for url ({url}/noarch/repodata.json)"),
        (Answer(status=403), "HTTP status client error (403 Forbidden) for url ({url}/noarch/repodata.json)"),
        (Answer(status=500), "HTTP status server error (500 Internal Server Error) for url ({url}/noarch/repodata.json)"),
        (Answer(body=b"<html>maintenance</html>"), "failed to parse repodata.json; Caused by: expected value at line 1 column 1"),
        (Answer(body=b'{"packages.conda": {"core-1.0-0.conda": {"name": "core"}}}'), "failed to extract repodata records from sparse repodata; Caused by: missing field `build` at line 1 column 16"),
        (Answer(body=b'{"packages": {', cut=14, headers={"Content-Length": "99"}), ""),
    ],
)  # fmt: skip
def test_channel_that_fails_is_no_answer(make: Make, answer: Answer, said: str) -> None:
    """It is named, wherever it stands, and never counts as one that doesn't have the name."""
    with Channel(record("core")) as good, Channel() as bad:
        bad.repodata(answer)
        message = failure(make(good, bad), request("core", channels=("first", "second")))
        assert message.startswith(f"channel second can't be read: {said.format(url=bad.url)}")
        assert "\n" not in message


def test_channel_that_might_own_the_name_must_answer(make: Make) -> None:
    """It stands first in the policy; that the user doesn't ask it changes nothing."""
    with Channel(record("core")) as good, Channel() as bad:
        bad.repodata(NOT_FOUND)
        solver = make(bad, good)
        for channels in (("second",), ("second", "first")):
            message = failure(solver, request("core", channels=channels))
            assert message.startswith("channel first can't be read: could not find subdir 'noarch' in channel ")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_platform_that_fails_is_no_answer(make: Make, status: int) -> None:
    """A channel without the platform says 404; anything else is a failure."""
    with Channel(record("core")) as channel:
        channel.repodata(NOT_FOUND, "linux-64")
        assert found(make(channel).solve(request("core"), quiet)) == {"core": "first 1.0"}
    with Channel(record("core")) as channel:
        channel.repodata(Answer(status=status), "linux-64")
        assert f"{channel.url}/linux-64/repodata.json" in failure(make(channel), request("core"))


def test_nobody_there_is_no_answer(make: Make) -> None:
    """A port where nobody listens."""
    with Channel() as channel:
        pass
    said = failure(make(channel), request("core"))
    assert said.startswith("channel first can't be read: ")
    assert "Connection refused" in said


def test_time_limit_is_no_answer(make: Make) -> None:
    """The channel that hangs is named; one that answered isn't."""
    with Channel(record("core")) as good, Channel() as hanging:
        hanging.repodata(Answer(hang=True))
        began = time.monotonic()
        said = failure(make(good, hanging, seconds=4), request("core", channels=("first", "second")))
        assert time.monotonic() - began < 5
    assert said.startswith("channel second can't be read: ")


MIB = 1024 * 1024


def _bomb(mib: int) -> bytes:
    """Repodata that unpacks to that much."""
    writer = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [b'{"info":{"subdir":"noarch"},"packages":{},"packages.conda":{},"x":"', *[b"a" * MIB] * mib, b'"}']
    return b"".join(map(writer.compress, pieces)) + writer.flush()


@pytest.mark.parametrize("mib", [3, 256])
def test_file_that_unpacks_to_too_much_is_no_answer(make: Make, tmp_path: Path, mib: int) -> None:
    """Its channel is named at once, and nothing of it is left."""
    with Channel(record("core")) as good, Channel() as bad:
        bad.always("/channel/noarch/repodata.json.zst", Answer(body=_bomb(mib)))
        began = time.monotonic()
        said = failure(make(good, bad, max_file_bytes=2 * MIB), request("core", channels=("first", "second")))
        assert time.monotonic() - began < 3
    assert said == "channel second can't be read: a file of it is larger than 2097152 bytes, unpacked"
    left = [path for path in (tmp_path / "cache").rglob("*") if path.stat().st_size > MIB or path.name.startswith(".t")]
    assert left == []


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no limit of what a process can write to in memory")
def test_worker_that_needs_too_much_memory_is_no_answer(make: Make) -> None:
    """Shards are unpacked in memory: whoever it was among the channels, nothing of what the worker did counts."""
    with Channel() as channel:
        channel.always(f"/channel/noarch/{SHARDS}", Answer(body=_bomb(768)))
        said = failure(make(channel, max_memory_bytes=512 * MIB), request("core"))
    assert said.startswith(
        "conda's solver gave no answer that can be read: the worker for first ended with signal 6 and"
    )


def test_half_written_files_are_removed_when_nobody_else_is_at_work(make: Make, tmp_path: Path) -> None:
    """A worker that was killed leaves them; those of one that is at work stay."""
    with Channel(record("core")) as channel:
        solver = make(channel)
        solver.solve(request("core"), quiet)
        folder = tmp_path / "cache" / "rattler"
        before = set(folder.iterdir())
        left = folder / ".tmpAbCdEf"
        left.touch()
        other = os.open(folder, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_SH)
        assert found(solver.solve(request("core"), quiet)) == {"core": "first 1.0"}
        assert left.exists()
        os.close(other)
        assert found(solver.solve(request("core"), quiet)) == {"core": "first 1.0"}
        assert set(folder.iterdir()) == before


def test_offline_answers_from_the_cache_alone(make: Make) -> None:
    """What was read once can be again; a channel that wasn't is no answer."""
    with Channel(record("core")) as channel, Channel(record("core")) as other:
        first = make(channel).solve(request("core"), quiet)
        asked = len(channel.asked)
        assert make(channel, offline=True).solve(request("core"), quiet) == first
        said = failure(make(channel, other, offline=True), request("core", channels=("second",)))
        assert (len(channel.asked), other.asked) == (asked, [])
    assert said.startswith(f"channel second can't be read: no usable repodata cache for {other.url}/")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"core-2.0-0.conda": record("core")["core-1.0-0.conda"]},
            "'core-2.0-0.conda' with the name, version and build of core-1.0-0",
        ),
        (
            record("core", subdir="win-64"),
            "'core-1.0-0.conda' with the platform 'win-64'",
        ),
        (
            record("core", subdir="linux-64"),
            "'core-1.0-0.conda' with a URL of another platform than linux-64",
        ),
    ],
)
def test_record_that_contradicts_itself_is_no_answer(make: Make, files: Records, said: str) -> None:
    """What lies under a name must be that name's, or the bytes that are judged are not those that are installed."""
    with Channel() as channel:
        channel.files["noarch"].update(files)
        assert failure(make(channel), request("core")) == f"channel first lists {said}"


@pytest.mark.parametrize("base", ["ftp://127.0.0.1/x/", "file:///etc/", "http://joe:pw@127.0.0.1/x/"])
def test_files_elsewhere_are_by_http_or_not_at_all(make: Make, base: str) -> None:
    """A channel may name another place for its files (CEP 15); only one that can be asked."""
    with Channel(record("core")) as channel:
        channel.info["base_url"] = "http://127.0.0.1:9/files/"
        answer = make(channel).solve(request("core"), quiet)
        assert isinstance(answer, CondaSolution)
        assert [r.url for r in answer.records] == ["http://127.0.0.1:9/files/core-1.0-0.conda"]
    with Channel(record("core")) as channel:
        channel.info["base_url"] = base
        assert failure(make(channel), request("core")).startswith("channel first lists 'core-1.0-0.conda' with a URL ")


def test_unknown_channel_is_no_answer(make: Make) -> None:
    """Only the policy's channels can be asked."""
    with Channel() as channel:
        said = failure(make(channel), request("core", channels=("elsewhere",)))
    assert said == "'elsewhere' is no conda channel of the policy: expected one of first"


def test_worker_that_does_not_answer_is_no_answer(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Killed, silent, cut off, talkative or lying: the call fails and says how it ended."""
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    endings = {
        "kill -9 $$": "the worker for first ended with signal 9",
        "exit 0": "the worker for first ended with status 0",
        "echo oh no >&2; exit 7": "the worker for first ended with status 7 and said 'oh no'",
        """printf '{"type":"solution","rec'; exit 0""": "the worker for first ended with status 0",
        """printf '{"type":"solution","records":[],"owners":{}}'; exit 3""": "the worker for first ended with status 3",
        """printf '{"type":"records","records":[]}'""": "expected a solution",
        """printf '{"type":"solution","records":[],"owners":{"core":0}}'""": "expected one record and one owner for each name",
    }  # fmt: skip
    with Channel() as channel:
        for script, said in endings.items():
            python.write_text(f"#!/bin/sh\ncat >{tmp_path / 'request'}\n{script}\n")
            python.chmod(0o700)
            assert failure(make(channel), request("core")) == f"conda's solver gave no answer that can be read: {said}"
        whole = """printf '{"type":"solution","records":[],"owners":{}}'; kill -9 $$"""
        python.write_text(f"#!/bin/sh\ncat >/dev/null\n{whole}\n")
        assert make(channel).solve(request("core"), quiet) == CondaSolution(records=(), owners={})
        python.write_text("#!/bin/sh\nsleep 60\n")
        assert failure(make(channel, seconds=0.5), request("core")) == (
            "conda's solver failed: python was stopped: not done within 0.5 s"
        )


# --- candidates and listings ------------------------------------------------------------------------------------------


@pytest.fixture
def versions() -> Iterator[Channel]:
    with Channel(
        record("core", "1.0", "py_0", number=0),
        record("core", "1.0", "py_2", number=2),
        record("core", "1.0", "py_1", number=1),
        record("core", "1.2", "a", indexed_timestamp=1_736_899_200_000),
        record("core", "1.2", "b", indexed_timestamp=1_736_899_300_000),
        record("core", "1.10", constrains=["numpy <2"]),
        record("core", "1.11", depends=["__glibc >=2.34"]),
        record("core", "1.12", depends=["numpy >=1 >>> ???"]),
        record("core", "1.13", subdir="linux-64", depends=["other", "numpy >=2"]),
    ) as channel:
        yield channel


def candidates(solver: RattlerSolver, *specs: str) -> list[str]:
    numpy = CondaRecord(
        upstream="first", subdir="linux-64", name="numpy", version="2.1", build="py311_0", filename="", url=""
    )
    asked = CondaCandidates(name="core", upstream="first", specs=specs, beside=(numpy,), target=TARGET)
    return [f"{r.version} {r.build}" for r in solver.candidates(asked, quiet)]


def test_candidates_are_the_best_build_of_each_version(make: Make, versions: Channel) -> None:
    """The highest number, then the latest; what the rest or the target's machine rules out, or nobody can read, isn't one."""
    solver = make(versions)
    assert candidates(solver) == ["1.0 py_2", "1.2 b", "1.13 0"]
    assert candidates(solver, "core >=1.1", "core <1.13") == ["1.2 b"]
    assert candidates(solver, "core >=1 >>> ???") == []


def test_candidates_are_the_newest_two_hundred(make: Make) -> None:
    """In ascending order."""
    with Channel(*(record("core", f"1.{number}") for number in range(230))) as channel:
        assert candidates(make(channel)) == [f"1.{number} 0" for number in range(30, 230)]


def test_listing_asks_no_channel_after_the_last_owner(make: Make) -> None:
    """Channels are read in order, until every name has its owner; for no names none is."""
    with Channel(record("core")) as first, Channel() as second:
        solver = make(first, second)
        digests = frozenset({Digest.sha256("0" * 64)})
        assert solver.listed({}, TARGET, quiet) == {}
        assert first.asked == []
        listed = solver.listed({"core": digests}, TARGET, quiet)
        assert [(name, one.owner, len(one.records)) for name, one in listed.items()] == [("core", "first", 1)]
        assert second.asked == []


def test_solution_of_the_first_channel_asks_no_other(make: Make) -> None:
    """Only channels that stand before a record's own might own its name."""
    with Channel(record("core")) as first, Channel() as second:
        assert found(make(first, second).solve(request("core"), quiet)) == {"core": "first 1.0"}
        assert second.asked == []
