"""Attacks by text: commands to a terminal or a CI system in anything that a report shows, and secrets that leak."""

import json
import unicodedata
from pathlib import Path

import pytest
from house import House, Ran
from osv_records import before, bundle
from servers import JSON, Answer, IndexServer

HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")
FILES = ("json", "sarif", "junit", "markdown", "cyclonedx")
REPORTS = tuple(part for kind in FILES for part in ("--report", f"{kind}=reports/{kind}"))
ATTACKS = {
    "azure": "\n##vso[task.complete result=Succeeded]done",
    "azure-format": "##[section]x",
    "github": "\r\n::add-mask::secret",
    "github-separator": "\u2028::stop-commands::x",
    "terminal": "\x1b]52;c;ZXZpbA==\x07\x1b[2J",
    "terminal-8-bit": "\x9b2J\x9d0;x\x9c",
    "bidi": "\u202egnp.\u2066exe",
    "zero-width": "#\u200b#vso[task.complete]##\u200bvso[x]",
    "markup": "</testcase><!--]]>\n# title\n<script>x</script>",
}
EVERYTHING = "".join(ATTACKS.values())
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
CI = {
    "azure-pipelines": {"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": "agent"},
    "github-actions": {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "agent/summary.md"},
    "neither": {},
}


@pytest.fixture(params=CI)
def ci(home: House, request: pytest.FixtureRequest) -> House:
    """The project inside each CI system, and outside of any."""
    (home.folder / "agent").mkdir()
    (home.folder / "reports").mkdir()
    home.variables = {
        name: str(home.folder / value) if value.startswith("agent") else value
        for name, value in CI[request.param].items()
    }
    return home


def _forged(text: str) -> list[str]:
    """The lines that a terminal or a CI system would obey, other than our own annotations."""
    lines = []
    for line in text.split("\n"):
        if {character for character in line if unicodedata.category(character) in _HIDDEN} - {"\t"}:
            lines.append(line)
        if line.startswith(("##vso[task.logissue ", "##vso[task.uploadsummary]")):
            line = line[2:]  # noqa: PLW2901  # our own; what follows must hold no other
        elif line.startswith(("::error ", "::warning ")):
            continue
        if "##vso[" in line or "##[" in line or line.lstrip().startswith("::"):
            lines.append(line)
    return lines


def _assert_harmless(home: House, *runs: Ran) -> None:
    texts = {f"{name} of {number}": text for number, ran in enumerate(runs) for name, text in _texts(ran)}
    for folder in ("agent", "reports"):
        for path in (home.folder / folder).iterdir():
            texts[path.name] = path.read_text(encoding="utf-8")
    assert {name: found for name, text in texts.items() if (found := _forged(text))} == {}
    assert all("defect" not in ran.err for ran in runs)


def _texts(ran: Ran) -> list[tuple[str, str]]:
    return [("out", ran.out), ("err", ran.err)]


# --- commands ---------------------------------------------------------------------------------------------------------


def test_texts_of_an_index_are_shown_and_not_obeyed(ci: House) -> None:
    """A yanked reason, a project's status, a file's name, a requirement in metadata, the solver's own words."""
    ci.index.add("app", "1.0", yanked=EVERYTHING)
    ci.index.add("lib", "1.0")
    ci.index.statuses["lib"] = EVERYTHING
    ci.index.add("other", "1.0", requires=["lib @ https://e.example/##vso[task.complete]/::add-mask::x"])
    ci.advise(HARMLESS)
    ci.write("requirements.txt", "app==1.0\nlib\n")
    ci.write("other.txt", "other\n")

    ran = ci.run("check", "requirements.txt", "--report", "text", *REPORTS)
    other = ci.run("check", "other.txt", "--report", "text")

    assert (ran.status, other.status) == (1, 1)
    _assert_harmless(ci, ran, other, ci.run("audit", "list"), ci.run("audit", "export"))
    verdict = json.loads((ci.folder / "reports/json").read_text())
    assert [item["name"] for item in verdict["items"]] == ["app", "lib"]


def test_texts_of_an_advisory_are_shown_and_not_obeyed(ci: House) -> None:
    """Aliases, summary and details of one that counts, the identifier of one that is refused for it."""
    ci.index.add("app", "1.0")
    entry = {"summary": EVERYTHING, "details": EVERYTHING, "aliases": ["CVE-2024-7", "GHSA-##vso[x]", EVERYTHING]}
    ci.advise(before("PYSEC-2024-7", "app", "2.0", severity=HIGH, **entry))
    ci.write("requirements.txt", "app\n")
    refused = before(f"OSV-{EVERYTHING}", "app", "3.0")
    ci.write("bad.zip", bundle(before("PYSEC-2024-7", "app", "2.0"), before("MAL-2024-1", "x", "9"), refused))

    ran = ci.run("check", "requirements.txt", "--report", "text", *REPORTS)
    synced = ci.run("advisories", "sync", "--from", "bad.zip")

    assert (ran.status, synced.status) == (1, 3)
    assert "CVE-2024-7" in ran.out
    assert "is not an identifier" in synced.err
    _assert_harmless(ci, ran, synced, ci.run("advisories", "status"), ci.run("check", "requirements.txt"))


@pytest.mark.parametrize(
    "form",
    [
        "app{text}",
        "app=={text}",
        "app @ https://x.example/{text}",
        "--index-url https://x.example/{text}",
        "--extra-index-url={text}",
        "-r {text}",
        "-e {text}",
        "app ; python_version < '{text}'",
        "app --hash=sha256:{text}",
        "app[{text}]",
        "--{text}",
        "${{{text}}}",
    ],
)
def test_texts_of_a_requirements_file_are_shown_and_not_obeyed(ci: House, form: str) -> None:
    """In whatever place they stand, whether the file is judged or refused."""
    ci.index.add("app", "1.0")
    ci.advise(HARMLESS)
    runs = []
    for text in (*ATTACKS.values(), EVERYTHING):
        ci.write("requirements.txt", form.format(text=text) + "\n")
        runs.append(ci.run("check", "requirements.txt", "--report", "text", *REPORTS))

    assert {1, 2} & {ran.status for ran in runs}
    _assert_harmless(ci, *runs)


def test_texts_of_toml_are_shown_and_not_obeyed(ci: House) -> None:
    """Escapes of TOML bring any character into any key and value of a pyproject.toml or a lock."""
    ci.index.add("app", "1.0")
    ci.advise(HARMLESS)
    quoted = json.dumps(EVERYTHING).replace("\\u007f", "").replace("\x7f", "")
    runs = []
    for file, text in {
        "pyproject.toml": '[project]\nname = "x"\nversion = "1"\ndependencies = ["app"]\n[tool.uv.sources]\n'
        f"{quoted} = {{url = {quoted}}}\n[[tool.uv.index]]\nurl = {quoted}\n[tool.poetry.source]\nx = {quoted}\n",
        "pylock.toml": f'lock-version = "1.0"\ncreated-by = {quoted}\n[[packages]]\nname = {quoted}\nversion = "1"\n',
        "pylock.x.toml": 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "app"\nversion = "1"\n'
        f'[packages.archive]\nurl = {quoted}\nhashes = {{sha256 = "{"0" * 64}"}}\n',
        "uv.lock": f'version = 1\n[[package]]\nname = "app"\nversion = "1"\nsource = {{git = {quoted}}}\n',
    }.items():
        ci.write(file, text)
        runs.append(ci.run("check", file, "--report", "text", *REPORTS))

    assert {ran.status for ran in runs} <= {1, 2, 3}
    assert 1 in {ran.status for ran in runs}
    _assert_harmless(ci, *runs)


@pytest.mark.parametrize("text", [text for text in ATTACKS.values() if "/" not in text])
def test_file_names_are_shown_and_not_obeyed(ci: House, text: str) -> None:
    """A file of a pull request may be called anything: judged, refused, missing, and in the log."""
    ci.index.add("app", "1.0", yanked=True)
    ci.advise(HARMLESS)
    ci.write(f"{text}.txt", "app==1.0\n")
    ci.write(f"{text}bad.txt", "app==\n")

    runs = [
        ci.run("check", f"{text}.txt", "--report", "text", *REPORTS),
        ci.run("check", f"{text}bad.txt"),
        ci.run("check", f"{text}missing.txt"),
        ci.run("-v", "check", f"./{text}.txt"),
    ]

    assert [ran.status for ran in runs] == [1, 2, 2, 1]
    _assert_harmless(ci, *runs, ci.run("audit", "list"), ci.run("audit", "list", "--json"), ci.run("audit", "export"))


def test_arguments_are_shown_and_not_obeyed(ci: House) -> None:
    """A pipeline may hand on what somebody else wrote."""
    ci.advise(HARMLESS)
    ci.write("requirements.txt", "app\n")
    text = ATTACKS["azure"] + ATTACKS["github"] + ATTACKS["terminal"]
    runs = [
        ci.run(*argv)
        for argv in (
            (text,),
            ("check", f"--{text}"),
            ("check", "requirements.txt", "--report", text),
            ("check", "requirements.txt", "--stage", text),
            ("check", "requirements.txt", "--target", text),
            ("check", "requirements.txt", "--lock", text),
            ("check", "requirements.txt", "--expect-policy", text),
            ("--config", text, "check", "requirements.txt"),
            ("allowlist", "explain", text),
            ("allowlist", "explain", f"app=={text}"),
            ("allowlist", "schema", "--out", f"reports/{text}"),
            ("audit", "verify", "--head", text),
            ("audit", "list", "--stream", text),
            ("advisories", "sync", "--from", text),
            ("advisories", "sync", "--from", f"https://{text}"),
            ("init", f"project{text}"),
            ("init", f"project{text}"),
        )
    ]

    (written,) = (ci.folder / "reports").iterdir()
    for path in written.iterdir():
        path.unlink()
    written.rmdir()
    assert {ran.status for ran in runs} <= {0, 2, 3}
    _assert_harmless(ci, *runs)


def test_a_configuration_is_shown_and_not_obeyed(ci: House) -> None:
    """Keys and values of quarantine.yaml and of the policy come with the repository, too."""
    ci.write("requirements.txt", "app\n")
    quoted = json.dumps(EVERYTHING.replace("\u2028", "").replace("\x7f", ""))
    runs = []
    for file, text in (
        ("quarantine.yaml", f"version: 1\n{quoted}: x\n"),
        ("quarantine.yaml", f"version: 1\nproject: {quoted}\n"),
        ("quarantine.yaml", f"version: 1\nproject: x\nallowlists: {quoted}\n"),
        ("allowlists/policy.yaml", f"version: 1\n{quoted}: x\n"),
        ("allowlists/pypi.yaml", f"version: 1\nallow: [{{name: {quoted}}}]\n"),
        ("allowlists/pypi.yaml", f"version: 1\npopular: [{quoted}]\n"),
    ):
        ci.entries = "version: 1\n"
        ci.settle()
        ci.write(file, text)
        runs += [ci.run("check", "requirements.txt"), ci.run("doctor", "--offline")]

    assert {ran.status for ran in runs} == {2}
    _assert_harmless(ci, *runs)


# --- secrets ----------------------------------------------------------------------------------------------------------

CANARY = "canary-9f8e7d6c5b4a"


def _assert_secret(home: House, *runs: Ran, but: tuple[str, ...] = ()) -> None:
    """The canary is in no output and in no stored file but those named."""
    assert [text for ran in runs for _, text in _texts(ran) if CANARY in text] == []
    assert [name for name, data in home.stored().items() if CANARY.encode() in data and name not in but] == []


def test_a_login_reaches_its_index_and_nothing_else(home: House) -> None:
    """`credentials: env:NAME`: used against its own index alone; right or wrong, it is told and stored nowhere."""
    home.private["internal"] = IndexServer(login=("reader", CANARY))
    home.private["internal"].add("acme", "1.0", requires=["lib"])
    home.index.add("lib", "1.0")
    home.credentials = "env:FEED_LOGIN"
    home.variables = {"FEED_LOGIN": f"reader:{CANARY}"}
    home.advise(HARMLESS)
    home.write("requirements.txt", "acme\n")
    (home.folder / "reports").mkdir()

    good = home.run("-v", "check", "requirements.txt", "--lock", "pylock.toml", "--report", "text", *REPORTS)
    locked = home.run("-v", "check", "pylock.toml", "--stage", "production")
    doctor = home.run("doctor")
    home.variables = {"FEED_LOGIN": f"reader:wrong-{CANARY}"}
    home.write("quarantine.yaml", (home.folder / "quarantine.yaml").read_text().replace("cache: cache", "cache: new"))
    bad = [home.run("-v", "check", name) for name in ("requirements.txt", "pylock.toml")]
    home.variables = {}
    unset = home.run("check", "requirements.txt")

    assert [ran.status for ran in (good, locked, doctor, *bad, unset)] == [0, 0, 0, 3, 3, 3], good.err
    assert "FEED_LOGIN" in unset.out + unset.err
    assert {asked.headers["Authorization"] for asked in home.index.asked} == {None}
    _assert_secret(home, good, locked, doctor, *bad, unset)


SECRETS = [
    "--index-url https://user:{canary}@x.example/simple",
    "--extra-index-url=https://{canary}@x.example/simple",
    "-f https://x.example/wheels?sv=2024&sig={canary}&se=1",
    "-r https://user:{canary}@x.example/more.txt",
    "-e git+https://{canary}@x.example/r.git#egg=evil",
    "evil @ git+ssh://git:{canary}@x.example/r.git",
    "evil @ https://user:{canary}@x.example/evil-1.0-py3-none-any.whl",
    "evil @ https://x.example/evil-1.0-py3-none-any.whl?sv=2024&sig={canary}&se=1",
    "evil @ https://x.example/evil-1.0-py3-none-any.whl?X-Amz-Signature={canary}",
    "https://user:{canary}@x.example/evil-1.0-py3-none-any.whl",
    "--index-url https://user:{canary}@x.example --nonsense",
    "not a line https://user:{canary}@x.example/",
    "app --config-settings=password={canary}",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_in_a_requirements_line_goes_no_further(home: House, line: str) -> None:
    """Userinfo and signatures are left out of every report, message, evidence and entry."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    (home.folder / "reports").mkdir()
    home.write("requirements.txt", f"app\n{line.format(canary=CANARY)}\n")

    ran = home.run("-v", "check", "requirements.txt", "--report", "text", *REPORTS)

    assert ran.status in (1, 2)
    assert "requirements.txt:2" in ran.out + ran.err
    _assert_secret(home, ran, home.run("audit", "export"), but=("requirements.txt",))


def test_a_secret_in_toml_goes_no_further(home: House) -> None:
    """Nor do those of pyproject.toml's tables and of a lock's addresses."""
    served = home.index.add("app", "1.0")
    home.advise(HARMLESS)
    (home.folder / "reports").mkdir()
    home.write(
        "pyproject.toml",
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["app"]\n'
        f'[[tool.uv.index]]\nurl = "https://user:{CANARY}@x.example/simple"\n'
        f'[tool.uv.sources]\nother = {{url = "https://x.example/?sig={CANARY}"}}\n',
    )
    home.write(
        "pylock.toml",
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "app"\nversion = "1.0"\n'
        f'index = "https://user:{CANARY}@x.example/simple"\n[[packages.wheels]]\n'
        f'url = "https://user:{CANARY}@x.example/app-1.0-py3-none-any.whl?sig={CANARY}"\n'
        f'hashes = {{sha256 = "{served.sha256}"}}\n',
    )

    runs = [home.run("-v", "check", name, "--report", "text", *REPORTS) for name in ("pyproject.toml", "pylock.toml")]

    assert runs[0].status == 1
    _assert_secret(home, *runs, but=("pyproject.toml", "pylock.toml"))


def test_a_signature_in_an_address_of_advisories_goes_no_further(home: House) -> None:
    """`advisories sync --from` a signed URL: neither what it says nor the database holds the signature."""
    with IndexServer() as server:
        server.always(f"/all.zip?sv=1&sig={CANARY}", Answer(body=bundle(HARMLESS, before("MAL-1", "x", "9"))))
        runs = [
            home.run("-v", "advisories", "sync", "--from", f"{server.origin}/all.zip?sv=1&sig={CANARY}"),
            home.run("-v", "advisories", "sync", "--from", f"{server.origin}/none.zip?sv=1&sig={CANARY}"),
            home.run("advisories", "status"),
        ]

    assert [ran.status for ran in runs] == [0, 3, 0], runs[0].err
    _assert_secret(home, *runs)


def test_what_a_page_or_a_redirect_signs_is_in_no_report(home: House) -> None:
    """An index that answers with signed addresses: reports, evidence and the log name the file without them."""
    served = home.index.add("app", "1.0", yanked=True)
    page = json.loads(home.index.page("app").body)
    page["files"][0]["url"] = f"{home.index.origin}/files/{served.filename}?sv=1&sig={CANARY}"
    home.index.always("/simple/app/", Answer(headers={"Content-Type": JSON}, body=json.dumps(page).encode()))
    home.advise(HARMLESS)
    (home.folder / "reports").mkdir()
    home.write("requirements.txt", f"app==1.0 --hash=sha256:{served.sha256}\n")

    ran = home.run("-v", "check", "requirements.txt", "--report", "text", *REPORTS)

    assert ran.status == 1
    cache = tuple(name for name in home.stored() if name.startswith("cache/"))
    _assert_secret(home, ran, home.run("audit", "export"), but=cache)
    assert {(home.folder / name).stat().st_mode & 0o077 for name in cache} == {0}
    assert Path(home.folder / "cache").stat().st_mode & 0o077 == 0
