"""The resolver over uv: what uv is told, what it may know, and what becomes of its failures."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import SpecifierSet
from servers import HTML, JSON, Answer, IndexServer, core_metadata

from quarantine.adapters.uv import UvResolver, default_index_url
from quarantine.errors import UpstreamError
from quarantine.model import Digest, Ecosystem, Location, Package, Requirement, Target, parse_name, parse_version
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    Installed,
    OverlayFile,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
)

SECRET = "s3cr3t-canary"
TARGET = Target("3.11", "linux-x86_64")
Make = Callable[..., UvResolver]


def quiet(_: str) -> None:
    """Nobody is told."""


@pytest.fixture
def server() -> Iterator[IndexServer]:
    with IndexServer() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, server: IndexServer) -> Make:
    """Makes a resolver over servers; all share one cache."""

    def resolver(
        *servers: IndexServer,
        logins: Mapping[str, tuple[str, str]] | None = None,
        seconds: float = 60,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> UvResolver:
        return UvResolver(
            upstreams=[
                Upstream(name=name, type=Ecosystem.PYPI, url=one.url, mode=Mode.OPEN)
                for name, one in zip(("first", "second"), servers or (server,), strict=False)
            ],
            reserved=lambda _: None,
            cache_dir=tmp_path / "cache",
            environ=environ or {},
            logins=logins or {},
            time_limit_seconds=seconds,
            offline=offline,
        )

    return resolver


def request(
    *lines: str,
    target: Target = TARGET,
    constraints: tuple[str, ...] = (),
    installed: tuple[Installed, ...] = (),
    overlay: tuple[OverlayFile, ...] = (),
) -> ResolutionRequest:
    asked = [
        Requirement(
            name=parse_name(parsed.name),
            specifier=parsed.specifier,
            extras=tuple(map(parse_name, sorted(parsed.extras))),
            location=Location(file="requirements.txt", line=1),
        )
        for parsed in map(Pep508, lines)
    ]
    return ResolutionRequest(
        requirements=tuple(asked), target=target, constraints=constraints, installed=installed, overlay=overlay
    )


def there(name: str, version: str, metadata: bytes | None) -> Installed:
    """A distribution that conda installs."""
    return Installed(package=Package(parse_name(name), parse_version(version)), metadata=metadata)


def versions(answer: Resolution | ResolutionFailed) -> Mapping[str, str]:
    assert isinstance(answer, Resolution), answer.explanation
    return {package.name: str(package.version) for package in answer.packages}


def failure(resolver: UvResolver, asked: ResolutionRequest) -> str:
    with pytest.raises(UpstreamError) as caught:
        resolver.resolve(asked, quiet)
    return str(caught.value)


def test_sdist_code_does_not_run(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """A canary setup.py that would touch a file leaves none, whether it is asked for, pulled in, or merely newest."""
    canary = tmp_path / "canary"
    setup = f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
    server.add_sdist("evil", "1.0", setup=setup)
    server.add("app", "1.0", requires=["evil"])
    server.add_sdist("mixed", "2.0", setup=setup)
    server.add("mixed", "1.0")
    answers = [make().resolve(request(line), quiet) for line in ("evil", "app", "mixed")]
    failed = [answer for answer in answers if isinstance(answer, ResolutionFailed)]
    assert [(answer.source_only, answer.not_found) for answer in failed] == [
        (frozenset({parse_name("evil")}), frozenset())
    ] * 2
    assert (versions(answers[2]), canary.exists()) == ({"mixed": "1.0"}, False)
    assert [path for path in server.paths() if path.endswith(".tar.gz")] == []


def test_every_file_of_a_version_has_its_digest_in_the_answer(server: IndexServer, make: Make) -> None:
    """Wheels for other platforms and the sdist, too, since any lock may name them."""
    files = [
        server.add("core", "1.0"),
        server.add("core", "1.0", tag="cp311-cp311-win_amd64"),
        server.add_sdist("core", "1.0"),
    ]
    assert make().resolve(request("Core"), quiet) == Resolution(
        packages=(
            ResolvedPackage(
                name=parse_name("core"),
                version=parse_version("1.0"),
                upstream="first",
                digests=frozenset(Digest.sha256(file.sha256) for file in files),
                required_by=(),
                direct=True,
            ),
        )
    )


def test_extras_and_markers_are_those_of_the_target(server: IndexServer, make: Make) -> None:
    """What an extra pulls in is in the solution, what another platform or Python needs isn't."""
    server.add(
        "app",
        "1.0",
        extras=["gpu"],
        requires=["cuda; extra == 'gpu'", "winapi; sys_platform == 'win32'", "old; python_version < '3.11'"],
    )
    for name in ("cuda", "winapi", "old"):
        server.add(name, "1.0")
    solved = [
        make().resolve(request("app[gpu]"), quiet),
        make().resolve(request("app", target=Target("3.10", "windows-x86_64")), quiet),
    ]
    assert [set(versions(answer)) for answer in solved] == [{"app", "cuda"}, {"app", "winapi", "old"}]
    assert isinstance(solved[0], Resolution)
    assert {p.name: (p.direct, p.required_by) for p in solved[0].packages} == {
        "app": (True, ()),
        "cuda": (False, ("app",)),
    }


def test_settings_of_the_user_are_not_uvs(
    server: IndexServer, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither UV_* and PIP_* variables nor configuration files in the working or home folder change anything."""
    server.add("acme", "1.0")
    with IndexServer() as evil:
        evil.add("acme", "99.0")
        for name in (
            "UV_INDEX_URL",
            "UV_DEFAULT_INDEX",
            "UV_EXTRA_INDEX_URL",
            "UV_INDEX",
            "PIP_INDEX_URL",
            "UV_FIND_LINKS",
        ):
            monkeypatch.setenv(name, evil.url)
        monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        for place in (tmp_path, tmp_path / ".config/uv"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "uv.toml").write_text(f'index-url = "{evil.url}"\n')
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login joe password {SECRET}\n")
        surroundings = {"UV_INDEX_URL": evil.url, "UV_EXTRA_INDEX_URL": evil.url, "HOME": str(tmp_path)}
        assert versions(make(environ=surroundings).resolve(request("acme"), quiet)) == {"acme": "1.0"}
        assert evil.asked == []
    assert {asked.headers["Authorization"] for asked in server.asked} == {None}


def test_login_reaches_its_own_index_and_nobody_else(make: Make, server: IndexServer) -> None:
    """It is in no argument of the child, in no request to another index, and in no message."""
    with IndexServer(login=("joe", SECRET)) as private:
        private.add("acme", "1.0", requires=["core"])
        server.add("core", "2.0")
        logins = {"first": ("joe", SECRET)}
        solved = versions(make(private, server, logins=logins).resolve(request("acme"), quiet))
        said = failure(make(private, server, logins={"first": ("joe", f"{SECRET}x")}), request("acme>=0"))
    assert solved == {"acme": "1.0", "core": "2.0"}
    assert {asked.headers["Authorization"] for asked in server.asked} == {None}
    assert said == (
        f"uv could not resolve: An index URL ({private.url}) could not be queried due to a lack of valid "
        "authentication credentials (401 Unauthorized)"
    )


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="arguments are read from /proc, which is Linux's")
def test_no_secret_in_the_childs_arguments(server: IndexServer, make: Make) -> None:
    """While uv runs, anybody on the machine may read its arguments."""
    server.add("acme", "1.0")
    server.always(server.page_path("acme"), Answer(hang=True))
    resolver = make(logins={"first": ("joe-canary", SECRET)}, seconds=1)
    failures: list[str] = []
    thread = threading.Thread(target=lambda: failures.append(failure(resolver, request("acme"))))
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    every = [_arguments(process) for process in Path("/proc").glob("[0-9]*")]
    thread.join()
    seen = [line for line in every if server.url.encode() in line]
    assert (len(seen), [line for line in seen if b"canary" in line]) == (1, [])
    assert failures == ["uv was stopped: not done within 1 s"]


def _arguments(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_time_limit_is_no_answer(server: IndexServer, make: Make) -> None:
    """A resolution that isn't done in time is undecided."""
    server.always(server.page_path("acme"), Answer(hang=True))
    assert failure(make(seconds=0.5), request("acme")) == "uv was stopped: not done within 0.5 s"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=403), "An index ({url}) returned a 403 Forbidden error. Check that the index URL is correct"),
        (Answer(status=410), "Failed to fetch: {url}/acme/"),
        (Answer(headers={"Content-Type": JSON}, body=b"garbage"), "Received some unexpected JSON from `{url}/acme/`"),
        (Answer(headers={"Content-Type": "text/plain"}, body=b"x"), 'Unsupported `Content-Type` "text/plain"'),
    ],
)  # fmt: skip
def test_index_that_fails_is_no_answer(server: IndexServer, make: Make, answer: Answer, said: str) -> None:
    """The second index has the name; the failure of the first still counts."""
    server.always(server.page_path("acme"), answer)
    with IndexServer() as second:
        second.add("acme", "99.0")
        found = failure(make(server, second), request("acme"))
    assert found.startswith(f"uv could not resolve: {said.format(url=server.url)}")


def test_metadata_that_is_not_the_pages_is_no_answer(server: IndexServer, make: Make) -> None:
    """Uv checks PEP 658 metadata against the page's digest; what it says is passed on without its frames."""
    served = server.add("acme", "1.0")
    page = json.loads(server.page("acme").body)
    page["files"][0]["core-metadata"] = {"sha256": "0" * 64}
    server.always(server.page_path("acme"), Answer(headers={"Content-Type": JSON}, body=json.dumps(page).encode()))
    said = failure(make(), request("acme"))
    assert "Hash mismatch for package metadata" in said
    assert served.metadata is not None


def test_offline_answers_from_the_cache_alone(server: IndexServer, make: Make) -> None:
    """What was resolved once can be again; anything else is no answer."""
    server.add("acme", "1.0")
    server.add("beta", "1.0")
    first = make().resolve(request("acme"), quiet)
    asked = len(server.asked)
    assert make(offline=True).resolve(request("acme"), quiet) == first
    said = failure(make(offline=True), request("beta"))
    assert said == (
        "uv could not resolve: No solution found when resolving dependencies cause: Because beta was not found "
        "in the cache and you require beta, we can conclude that your requirements are unsatisfiable."
    )
    assert len(server.asked) == asked


def test_explanation_is_the_solvers_sentence(server: IndexServer, make: Make) -> None:
    """Without the hints, which advise what this tool forbids, and without paths and addresses."""
    server.add("left", "1.0", requires=["core>=2"])
    server.add("right", "1.0", requires=["core<2"])
    server.add("core", "1.0")
    server.add("core", "2.0")
    with IndexServer() as second:
        answer = make(server, second).resolve(request("left", "right"), quiet)
    assert answer == ResolutionFailed(
        explanation="Because all versions of right depend on core<2 and all versions of left depend on core>=2, we can "
        "conclude that all versions of left and all versions of right are incompatible. And because you require left "
        "and right, we can conclude that your requirements are unsatisfiable."
    )


def test_unknown_name_with_an_extra_is_not_found(make: Make) -> None:
    """Uv words this differently from an unknown name without one."""
    answer = make().resolve(request("nobody[extra]"), quiet)
    assert isinstance(answer, ResolutionFailed)
    assert answer.not_found == {"nobody"}


def test_direct_reference_in_metadata_is_not_followed(server: IndexServer, make: Make) -> None:
    """A package that pulls in another by URL doesn't resolve; the URL is never asked."""
    with IndexServer() as elsewhere:
        elsewhere.add("evil", "1.0")
        url = f"{elsewhere.origin}/files/evil-1.0-py3-none-any.whl?sig={SECRET}"
        server.add("app", "1.0", requires=[f"evil @ {url}"])
        answer = make().resolve(request("app"), quiet)
        assert elsewhere.asked == []
    assert answer == ResolutionFailed(
        explanation="Failed to resolve dependencies for package `app==1.0`: Package `evil` was included as a URL "
        "dependency. URL dependencies must be expressed as direct requirements or constraints."
    )


@pytest.mark.parametrize("specifier", ["===1.0\u00e9", "==1.0"])
def test_only_plain_lines_reach_uv(server: IndexServer, make: Make, specifier: str) -> None:
    """What isn't printable ASCII is refused before uv sees it."""
    server.add("acme", "1.0")
    odd = Requirement(name=parse_name("acme"), specifier=SpecifierSet(specifier), location=Location(file="f"))
    asked = ResolutionRequest(requirements=(odd,), target=TARGET)
    if specifier.isascii():
        assert versions(make().resolve(asked, quiet)) == {"acme": "1.0"}
    else:
        assert failure(make(), asked) == (
            "'acme===1.0\\xe9' can't be given to uv: only printable ASCII without spaces is"
        )


def test_constraints_hold_where_their_markers_do(server: IndexServer, make: Make) -> None:
    """A constraint for another platform doesn't bind."""
    for version in ("1.0", "2.0", "3.0"):
        server.add("core", version)
    lines = ("core!=3.0", "core<2 ; sys_platform == 'win32'", "core<3.0 ; python_version >= '3.9'")
    assert versions(make().resolve(request("core", constraints=lines), quiet)) == {"core": "2.0"}


def test_yanked_only_by_exact_version(server: IndexServer, make: Make) -> None:
    """A yanked version isn't chosen, unless it is pinned (PEP 592)."""
    server.add("core", "1.0")
    server.add("core", "2.0", yanked="broken")
    found = [versions(make().resolve(request(line), quiet)) for line in ("core", "core==2.0")]
    assert found == [{"core": "1.0"}, {"core": "2.0"}]


def test_html_index_without_metadata_is_enough(make: Make) -> None:
    """An old index, whose wheels must be looked into."""
    with IndexServer(as_html=True) as old:
        old.add("app", "1.0", requires=["core"], metadata=False)
        old.add("core", "1.0", metadata=False)
        assert versions(make(old).resolve(request("app"), quiet)) == {"app": "1.0", "core": "1.0"}


def test_nothing_asked_is_solved_by_nothing(make: Make, server: IndexServer) -> None:
    """No requirements, no packages, no request."""
    assert make().resolve(request(), quiet) == Resolution(packages=())
    assert server.asked == []


def test_hostile_index_texts_stay_text(server: IndexServer, make: Make) -> None:
    """A page can't write its own lines into the answer: what it says about a yanked file stays out of it."""
    reason = "x\nevil==6.6.6 \\\n    --hash=sha256:00\n    # from http://evil.example/simple"
    server.add("acme", "1.0", yanked=reason)
    answer = make().resolve(request("acme==1.0"), quiet)
    assert versions(answer) == {"acme": "1.0"}


def test_default_index_is_what_uv_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once and remembered; the environment has no say, a damaged memory neither."""
    monkeypatch.setenv("UV_INDEX_URL", "http://evil.example/simple")
    first = default_index_url(tmp_path / "cache")
    (remembered,) = (tmp_path / "cache").iterdir()
    stored = remembered.read_text()
    remembered.write_text("garbage")
    again = default_index_url(tmp_path / "cache")
    assert (stored, again, first.startswith("https://"), "evil" in first) == (first, first, True, False)


def test_cutoff_in_the_past_leaves_nothing(server: IndexServer, make: Make) -> None:
    """With times on everything, a cutoff before all of them is no lack of upload times."""
    server.add("acme", "1.0")
    asked = ResolutionRequest(
        requirements=request("acme").requirements, target=TARGET, not_after=datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert make().resolve(asked, quiet) == ResolutionFailed(
        explanation="Because there are no versions of acme and you require acme, we can conclude that your requirements "
        "are unsatisfiable."
    )


def test_html_content_type_alone_does_not_make_a_page(server: IndexServer, make: Make) -> None:
    """An HTML page without links has no versions; that is the owner's word, and the next index isn't asked."""
    server.always(server.page_path("acme"), Answer(headers={"Content-Type": HTML}, body=b"<html>maintenance</html>"))
    with IndexServer() as second:
        second.add("acme", "99.0")
        answer = make(server, second).resolve(request("acme"), quiet)
        assert isinstance(answer, ResolutionFailed)
        assert second.asked == []


def test_no_redirect_leads_uv_to_a_host_that_is_not_encrypted(make: Make, server: IndexServer) -> None:
    """Metadata services of clouds speak plain HTTP only; of such hosts uv may ask those alone that the policy names."""
    with IndexServer() as elsewhere:
        elsewhere.add("acme", "1.0")
        # another name of this machine: for uv another host
        away = f"http://localhost:{elsewhere.port}/simple/acme/"
        server.always(server.page_path("acme"), Answer(status=302, headers={"Location": away}))
        said = failure(make(seconds=2), request("acme"))
        assert elsewhere.asked == []
    assert server.asked != []
    assert said == "uv was stopped: not done within 2 s"


def test_conflict_with_what_conda_installs_is_told_in_words(server: IndexServer, make: Make) -> None:
    """With the version that is there, which uv's sentence leaves out, and no path of a stub."""
    server.add("lib", "1.0", requires=["core<2"])
    server.add("core", "1.0")
    core = there("core", "2.0+cu118", core_metadata("core", "2.0+cu118"))
    assert make().resolve(request("lib", installed=(core,)), quiet) == ResolutionFailed(
        explanation="Because only core>=2 is available and all versions of lib depend on core<2, we can conclude that "
        "all versions of lib cannot be used. And because you require lib, we can conclude that your requirements are "
        "unsatisfiable. (conda installs core 2.0+cu118)"
    )


def test_stubs_do_not_fill_the_cache(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """What uv remembers of a file it remembers under its path, so that is the same at each run."""
    server.add("lib", "1.0", requires=["core"])
    asked = request("lib", installed=(there("core", "1.0", None),))

    def cached() -> set[Path]:
        return set((tmp_path / "cache").rglob("*"))

    make().resolve(asked, quiet)
    before = cached()
    assert versions(make().resolve(asked, quiet)) == {"lib": "1.0"}
    assert cached() == before
    (stub,) = (tmp_path / "cache").glob("stubs-1/*/*")
    stub.write_bytes(b"damaged")
    assert versions(make().resolve(asked, quiet)) == {"lib": "1.0"}
    assert stub.name == "core-1.0-py3-none-any.whl"


def test_cache_that_keeps_no_stubs_is_no_failure(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """They then lie in the temporary folder, and messages don't say where."""
    server.add("lib", "1.0", requires=["core<2"])
    core = there("core", "2.0", None)
    make().resolve(request("lib", installed=(core,)), quiet)
    (stub,) = (tmp_path / "cache").glob("stubs-1/*/*")
    stub.unlink()
    stub.mkdir()
    answer = make().resolve(request("core>=2", installed=(core,)), quiet)
    assert answer == Resolution(packages=(), used=frozenset({parse_name("core")}))


def test_hostile_metadata_of_an_installed_distribution_is_not_followed(
    server: IndexServer, make: Make, tmp_path: Path
) -> None:
    """A reference in it is refused as in any package's; other fields of it, and odd line ends, reach nobody."""
    server.add("app", "1.0", requires=["core"])
    server.add("base", "1.0")
    evil = tmp_path / "evil-1.0-py3-none-any.whl"
    evil.write_bytes(server.add("evil", "1.0").data)
    refers = there("core", "1.0", core_metadata("core", "1.0", requires=[f"evil @ {evil.as_uri()}"]))
    odd = b"Metadata-Version: 9.9\nName: other\nVersion: 7\nRequires-Python: >=4\nRequires-Dist: base\x0b\n  >=1\n"
    answers = [make().resolve(request("app", installed=(one,)), quiet) for one in (refers, there("core", "1.0", odd))]
    assert answers[0] == ResolutionFailed(
        explanation="Failed to resolve dependencies for package `core==1.0`: Package `evil` was included as a URL "
        "dependency. URL dependencies must be expressed as direct requirements or constraints. (conda installs core 1.0)"
    )
    assert versions(answers[1]) == {"app": "1.0", "base": "1.0"}


def test_distribution_that_two_conda_packages_hold(server: IndexServer, make: Make) -> None:
    """The same version twice is one; the metadata that is there counts."""
    server.add("base", "1.0")
    both = (there("core", "1.0", None), there("core", "1.0.0", core_metadata("core", "1.0.0", requires=["base"])))
    answers = [make().resolve(request("core", installed=pair), quiet) for pair in (both, both[::-1])]
    assert [versions(answer) for answer in answers] == [{"base": "1.0"}] * 2


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ([there("core", "1.0", b"x" * (1024 * 1024 + 1))],
         "core 1.0, which conda installs: 1048577 bytes of metadata, at most 1048576 are read"),
        ([there("core", "1.0", b"Name: core\n" + b"Requires-Dist: a\n" * 10_001)],
         "core 1.0, which conda installs: 10001 requirements, at most 10000 are read"),
        ([there("core", "1.0", b"<html>")],
         "core 1.0, which conda installs: not core metadata (no Name)"),
        ([there("core", "1.0", b"Name: core\nRequires-Dist: \xff\n")],
         "core 1.0, which conda installs: its metadata doesn't say readably what it requires"),
        ([there("core", "1.0", None), there("core", "1.0.0", None), there("core", "0.9", None)],
         "conda installs core in two versions: 0.9 and 1.0"),
    ],
)  # fmt: skip
def test_installed_distribution_that_cannot_be_known(
    server: IndexServer, make: Make, installed: list[Installed], said: str
) -> None:
    """What it requires, or which version it is, isn't guessed."""
    assert failure(make(), request("app", installed=tuple(installed))) == said
    assert server.asked == []


# --- approved files ---------------------------------------------------------------------------------------------------


def approved(name: str, version: str, metadata: bytes | None = None, tag: str = "py3-none-any") -> OverlayFile:
    """A wheel that an exception lets in."""
    return OverlayFile(
        name=parse_name(name),
        version=parse_version(version),
        filename=f"{name}-{version}-{tag}.whl",
        digest=Digest.sha256("1" * 64),
        metadata=core_metadata(name, version) if metadata is None else metadata,
    )


def test_approved_files_do_not_fill_the_cache(server: IndexServer, make: Make, tmp_path: Path) -> None:
    """They lie where they lay before; one that was damaged is written anew, and where that fails they lie elsewhere."""
    server.add("lib", "1.0", requires=["core"])
    asked = request("lib", overlay=(approved("core", "1.0+cu118"),))

    def cached() -> set[Path]:
        return set((tmp_path / "cache").rglob("*"))

    make().resolve(asked, quiet)
    before = cached()
    assert versions(make().resolve(asked, quiet)) == {"core": "1.0+cu118", "lib": "1.0"}
    assert cached() == before
    (stub,) = (tmp_path / "cache").glob("overlay-1/*/*")
    stub.write_bytes(b"damaged")
    assert versions(make().resolve(asked, quiet)) == {"core": "1.0+cu118", "lib": "1.0"}
    stub.unlink()
    stub.mkdir()
    assert versions(make().resolve(asked, quiet)) == {"core": "1.0+cu118", "lib": "1.0"}
    assert stub.name == "core-1.0+cu118-py3-none-any.whl"


def test_a_wheel_with_several_tags_is_read_by_its_name(make: Make) -> None:
    """Its stub has the tags that the file has, and only what fits the target is taken."""
    many = approved("core", "1.0", tag="cp311.cp312-abi3.cp311-manylinux_2_17_x86_64.manylinux2014_x86_64")
    assert versions(make().resolve(request("core", overlay=(many,)), quiet)) == {"core": "1.0"}
    windows = approved("core", "1.0", tag="cp311-cp311-win_amd64")
    assert isinstance(make().resolve(request("core", overlay=(windows,)), quiet), ResolutionFailed)


def test_hostile_metadata_of_an_approved_file_is_not_followed(make: Make, tmp_path: Path) -> None:
    """What it requires by URL is not fetched: that is no requirement that a resolution could meet."""
    canary = tmp_path / "evil-1.0-py3-none-any.whl"
    canary.write_bytes(b"")
    text = core_metadata("core", "1.0", requires=[f"evil @ {canary.as_uri()}"])
    answer = make().resolve(request("core", overlay=(approved("core", "1.0", text),)), quiet)
    assert answer == ResolutionFailed(
        explanation="Failed to resolve dependencies for package `core==1.0`: Package `evil` was included as a URL "
        "dependency. URL dependencies must be expressed as direct requirements or constraints."
    )


def test_metadata_of_an_approved_file_that_cant_be_read_is_no_answer(make: Make) -> None:
    """What it requires isn't known then."""
    said = failure(make(), request("core", overlay=(approved("core", "1.0", b"\x00"),)))
    assert said == "core 1.0, which an exception lets in: not core metadata (no Name)"
