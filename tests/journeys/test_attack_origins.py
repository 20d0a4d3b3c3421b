"""Attacks on where packages come from and what they are called: each through the command line, none with its way."""

from collections.abc import Iterator

import pytest
from house import House
from osv_records import before
from servers import Answer, IndexServer

HARMLESS = before("PYSEC-2024-1", "nobody-has-this", "1.0")


@pytest.fixture
def evil() -> Iterator[IndexServer]:
    """An index that nobody configured, with newer versions of everything. No request may ever reach it."""
    with IndexServer() as server:
        for name in ("acme", "app", "evil"):
            server.add(name, "99.0")
        yield server
        assert server.asked == []


# --- dependency confusion ---------------------------------------------------------------------------------------------


def test_a_public_package_never_shadows_a_private_one(home: House) -> None:
    """The private index has acme 1.0, the public one 99.0: 1.0 is taken, and the public one isn't asked."""
    home.private["internal"] = IndexServer()
    home.private["internal"].add("acme", "1.0")
    home.index.add("acme", "99.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "acme\n")

    ran = home.check("requirements.txt", "--lock", "pylock.toml")

    assert ran.status == 0
    assert (ran.item("acme")["version"], ran.item("acme")["upstream"]) == ("1.0", "internal")
    assert "99.0" not in (home.folder / "pylock.toml").read_text()
    assert home.index.asked == []


def test_a_version_that_only_the_public_index_has_is_not_to_be_had(home: House) -> None:
    """Asking for what the owner doesn't have is denied; it isn't looked for elsewhere."""
    home.private["internal"] = IndexServer()
    home.private["internal"].add("acme", "1.0")
    home.index.add("acme", "99.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "acme>=2\n")

    ran = home.check("requirements.txt")

    (reason,) = [r for r in ran.json["subjects"][0]["reasons"] if r["outcome"] == "fail"]
    assert (ran.status, reason["rule"]) == (1, "resolution")
    assert "only acme==1.0 is available" in reason["message"]
    assert home.index.asked == []


def test_a_reserved_name_that_its_owner_lacks_is_denied(home: House) -> None:
    """Asked for by hand or pulled in: the public package of that name is never what is judged."""
    home.private["internal"] = IndexServer()
    home.reserved = [{"name": "acme-*", "upstream": "internal", "reason": "ours"}]
    home.index.add("acme-tools", "99.0")
    home.index.add("acme-core", "99.0")
    home.index.add("app", "1.0", requires=["acme-core"])
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\nAcme_Tools\n")

    ran = home.check("requirements.txt", "--lock", "pylock.toml")

    assert ran.status == 1
    for name in ("acme-tools", "acme-core"):
        assert (ran.item(name)["version"], ran.item(name)["upstream"]) == (None, None)
        assert ran.rules(name) == ["repository", "reserved-name"]
    assert not (home.folder / "pylock.toml").exists()


def test_a_lock_of_the_public_package_is_not_the_owners(home: House) -> None:
    """A lock that pins the public bytes of a private name is denied: its owner lists no such digest."""
    home.private["internal"] = IndexServer()
    home.private["internal"].add("acme", "1.0")
    public = home.index.add("acme", "1.0", requires=["evil"])
    home.advise(HARMLESS)
    home.write("requirements.txt", f"acme==1.0 --hash=sha256:{public.sha256}\n")

    ran = home.check("requirements.txt", "--stage", "production")

    assert (ran.status, ran.rules("acme"), ran.item("acme")["upstream"]) == (1, ["integrity"], "internal")


def test_an_owner_that_refuses_to_answer_is_not_passed_over(home: House) -> None:
    """The private index answers 403: undecided, whatever the public one has."""
    home.private["internal"] = IndexServer()
    home.private["internal"].always("/simple/acme/", Answer(status=403))
    home.index.add("acme", "99.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "acme\n")
    home.write("locked.txt", f"acme==99.0 --hash=sha256:{home.index.projects['acme'][0].sha256}\n")

    assert [home.check(name).status for name in ("requirements.txt", "locked.txt")] == [3, 3]
    assert home.index.asked == []


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "\u212aeras",  # KELVIN SIGN, which lower-cases to k
        "reque\u017fts",  # LATIN SMALL LETTER LONG S, which upper-cases to S
        "ke\u200bras",  # ZERO WIDTH SPACE
        "k\u0435ras",  # CYRILLIC SMALL LETTER IE
        "\uff4eumpy",  # FULLWIDTH LATIN SMALL LETTER N
        "num\u00adpy",  # SOFT HYPHEN
    ],
)
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("requirements.txt", "app\n{name}\n"),
        ("pyproject.toml", '[project]\nname = "x"\nversion = "1"\ndependencies = [\n  "{name}",\n]\n'),
        ("pylock.toml", 'lock-version = "1.0"\ncreated-by = "x"\n\n[[packages]]\nname = "{name}"\nversion = "1.0"\n'),
    ],
)
def test_a_name_is_ascii(home: House, file: str, text: str, name: str) -> None:
    """Look-alikes, and what some function folds to an ordinary name, are bad input; no index hears of them."""
    home.advise(HARMLESS)
    home.write(file, text.format(name=name))

    ran = home.check(file)

    (character,) = [c for c in name if not c.isascii()]
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {file}:")
    assert f"U+{ord(character):04X}" in ran.err or ascii(character)[1:-1] in ran.err
    assert ran.err.isascii()
    assert home.index.asked == []


def test_a_name_close_to_a_known_one_is_to_be_reviewed(home: House) -> None:
    """Near a popular name and on no list: undecided, with the name that was probably meant; listed ones pass."""
    home.entries = "version: 1\npopular: [requests, python-dateutil]\n"
    for name in ("reqeusts", "python-dateutils", "requests"):
        home.index.add(name, "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "reqeusts\npython-dateutils\nrequests\n")

    ran = home.check("requirements.txt")

    assert ran.status == 3
    found = {name: ran.rules(name, "unknown") for name in ("reqeusts", "python-dateutils", "requests")}
    assert found == {"reqeusts": ["typosquat"], "python-dateutils": ["typosquat"], "requests": []}
    (reason,) = [r for r in ran.item("reqeusts")["reasons"] if r["rule"] == "typosquat"]
    assert reason["evidence"] == {"resembles": "requests"}


ALLOW = "{{name: '{name}', specifier: '{specifier}', owner: o, reason: r, added: 2026-01-01, expires: 2027-01-01}}"


def allowing(**specifiers: str) -> str:
    """A list that allows these names."""
    entries = [ALLOW.format(name=name, specifier=specifier) for name, specifier in specifiers.items()]
    return "version: 1\nallow:\n" + "".join(f"  - {entry}\n" for entry in entries)


def test_a_pattern_matches_whole_segments(home: House) -> None:
    """`azureml-*` is neither azureml nor azuremlevil nor evil-azureml-core; `numpy` is not numpy-evil."""
    home.mode = "curated"
    home.entries = allowing(**{"azureml-*": "", "numpy": ""})
    names = ("azureml-core", "numpy", "azureml", "azuremlevil", "evil-azureml-core", "numpy-evil")
    for name in names:
        home.index.add(name, "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "".join(f"{name}\n" for name in names))

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert {name: ran.rules(name) for name in names} == {
        "azureml-core": [],
        "numpy": [],
        **{key: ["repository"] for key in ("azureml", "azuremlevil", "evil-azureml-core", "numpy-evil")},
    }
    assert "pattern: allow azureml-* (pypi.yaml:3)" in home.run("allowlist", "validate").out


def test_a_pattern_within_a_segment_is_an_error(home: House) -> None:
    """`numpy*` would let numpy-evil in: the policy is refused with its place, and nothing is judged."""
    home.entries = allowing(**{"numpy*": ""})
    home.settle()
    home.write("requirements.txt", "numpy-evil\n")

    validated, checked = home.run("allowlist", "validate"), home.check("requirements.txt")

    assert (validated.status, checked.status) == (2, 2)
    assert validated.err == checked.err
    assert validated.err == (
        f"error: {home.folder}/allowlists/pypi.yaml:3:6: 'numpy*' matches more than whole segments: "
        "expected a name or a prefix that ends in '-*', like 'azureml-*'\n"
    )


# --- versions, withdrawn projects -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("app==2.0", []),
        ("app", []),
        ("app==2.0+evil", ["allow-entry"]),
        ("app==2.0.post1", ["allow-entry"]),
        ("lib==1.0", []),
        ("lib==1!0.1", ["allow-entry"]),
        ("lib", []),
    ],
)
def test_a_version_that_shadows_an_allowed_one_is_not_allowed(home: House, line: str, rules: list[str]) -> None:
    """Epochs, local labels and post-releases sort above what curators vetted, and are not what they vetted."""
    home.mode = "curated"
    home.entries = allowing(app="==2.0", lib=">=1,<3")
    for name, version in (("app", "2.0"), ("app", "2.0+evil"), ("app", "2.0.post1"), ("lib", "1.0"), ("lib", "1!0.1")):
        home.index.add(name, version)
    home.advise(HARMLESS)
    home.write("requirements.txt", f"{line}\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules(line.partition("=")[0])) == (1 if rules else 0, rules)
    if not rules:
        assert ran.item(line.partition("=")[0])["version"] == {"app": "2.0", "lib": "1.0"}[line.partition("=")[0]]


def test_a_digest_pin_wins_over_a_shadowing_version(home: House) -> None:
    """`==2.0` also matches 2.0+evil for PEP 440; with a hash, what is judged and locked are the pinned bytes."""
    vetted = home.index.add("app", "2.0")
    home.index.add("app", "2.0+evil")
    home.advise(HARMLESS)
    home.write("requirements.txt", f"app==2.0 --hash=sha256:{vetted.sha256}\n")

    ran = home.check("requirements.txt", "--stage", "production")

    assert (ran.status, ran.item("app")["version"]) == (0, "2.0")
    assert ran.item("app")["digests"] == [f"sha256:{vetted.sha256}"]


def test_yanked_passes_only_by_an_exact_exception_and_quarantined_never(home: House) -> None:
    """An entry for exactly that version takes a yanked release on; nothing takes a quarantined project on."""
    home.index.add("app", "2.0", yanked="broken")
    home.index.add("lib", "1.0")
    home.index.statuses["lib"] = "quarantined"
    home.advise(HARMLESS)
    home.write("requirements.txt", "app==2.0\nlib\n")

    without = home.check("requirements.txt")
    home.entries = allowing(app="==2.0", lib="").replace(
        "expires: 2027-01-01}", "expires: 2027-01-01, allow_yanked: true}", 1
    )
    home.settle()
    excepted = home.check("requirements.txt")

    assert [ran.status for ran in (without, excepted)] == [1, 1]
    assert [ran.rules("app") for ran in (without, excepted)] == [["yanked"], []]
    assert [ran.rules("lib") for ran in (without, excepted)] == [["project-status"], ["project-status"]]


# --- requirements files -----------------------------------------------------------------------------------------------

FORMS = {
    "index-url": "--index-url {evil}/simple",
    "index-url-short": "-i {evil}/simple",
    "index-url-old": "--pypi-url {evil}/simple",
    "extra-index-url": "--extra-index-url {evil}/simple",
    "extra-index-url-abbreviated": "--extra={evil}/simple",
    "find-links": "-f {evil}/files/",
    "trusted-host": "--trusted-host 127.0.0.1",
    "no-binary": "--no-binary :all:",
    "no-index": "--no-index",
    "pre": "--pre",
    "environment-variable-in-a-url": "--index-url https://${{FEED_TOKEN}}@example.org/simple",
    "environment-variable-in-a-name": "evil-${{FEED_TOKEN}}",
    "include-of-a-url": "-r {evil}/more.txt",
    "constraints-of-a-url": "-c {evil}/more.txt",
    "include-outside": "-r ../../more.txt",
    "include-absolute": "-r /more.txt",
    "include-as-file-url": "-r file:///more.txt",
    "build-settings": "lib --config-settings=x=y",
    "build-options": "lib --global-option=x",
}


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS)
def test_a_line_that_changes_where_packages_come_from_is_denied_by_line(
    home: House, evil: IndexServer, line: str
) -> None:
    """It is told with its line and not obeyed; the packages beside it are judged as if it weren't there."""
    home.index.add("app", "1.0")
    home.index.add("lib", "1.0")
    home.advise(HARMLESS)
    home.variables = {"FEED_TOKEN": "canary-token"}
    home.write("requirements.txt", f"# a comment\napp\n{line.format(evil=evil.origin)}\n")

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert set(ran.of_files()) == {("index-option", "requirements.txt", 3)}
    assert (ran.item("app")["verdict"], ran.item("app")["version"]) == ("allowed", "1.0")
    assert "canary-token" not in ran.out + ran.err


REFERENCES = {
    "editable-repository": ("-e git+{evil}/x.git#egg=evil", "evil"),
    "repository": ("evil @ git+{evil}/x.git", "evil"),
    "file-url": ("evil @ file:///evil-99.0-py3-none-any.whl", "evil"),
    "url": ("evil @ {evil}/files/evil-99.0-py3-none-any.whl", "evil"),
    "bare-url": ("{evil}/files/evil-99.0-py3-none-any.whl", "evil"),
    "url-of-an-allowed-name": ("app @ {evil}/files/app-99.0-py3-none-any.whl", "app"),
    "metadata-service": ("evil @ http://169.254.169.254/evil-99.0-py3-none-any.whl", "evil"),
}


@pytest.mark.parametrize(("line", "name"), REFERENCES.values(), ids=REFERENCES)
def test_a_direct_reference_is_denied_by_line(home: House, evil: IndexServer, line: str, name: str) -> None:
    """It has no owner to answer for it; nothing is fetched from where it points."""
    home.index.add("app", "1.0")
    home.index.add("other", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", f"other\n{line.format(evil=evil.origin)}\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.rules(name), ran.item(name)["location"]["line"]) == (1, ["direct-reference"], 2)
    assert ran.item("other")["verdict"] == "allowed"


@pytest.mark.parametrize("line", ["./vendored", "-e .", "../elsewhere/evil", "."])
def test_a_path_is_denied_and_not_looked_into(home: House, line: str) -> None:
    """A folder has a setup.py that would run; it isn't opened."""
    canary = home.folder / "canary"
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("setup.py", f"open({str(canary)!r}, 'w')\n")
    home.write("vendored/setup.py", f"open({str(canary)!r}, 'w')\n")
    home.write("requirements.txt", f"app\n{line}\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.of_files()) == (1, [("direct-reference", "requirements.txt", 2)])
    assert not canary.exists()


def test_a_constraint_does_not_move_a_package(home: House, evil: IndexServer) -> None:
    """A reference in an included constraints file is denied with that file's line."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "app\n-c pins/constraints.txt\n")
    home.write("pins/constraints.txt", f"# pins\napp @ {evil.origin}/files/app-99.0-py3-none-any.whl\n")

    ran = home.check("requirements.txt")

    assert ran.status == 1
    assert set(ran.of_files()) == {
        ("index-option", "pins/constraints.txt", 2),
        ("direct-reference", "pins/constraints.txt", 2),
    }


def test_an_include_is_judged_like_its_file(home: House, evil: IndexServer) -> None:
    """What stands in an included file is denied with that file's name and line."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("requirements.txt", "-r more/base.txt\n")
    home.write("more/base.txt", f"app\n\n--extra-index-url {evil.url}\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.of_files()) == (1, [("index-option", "more/base.txt", 3)])


@pytest.mark.parametrize("target", ["outside.txt", "link/inner.txt"])
def test_a_link_does_not_lead_an_include_out(home: House, target: str) -> None:
    """A symbolic link below the project that leads elsewhere is bad input; what it leads to is not shown."""
    outside = home.folder.parent / f"{home.folder.name}-outside"
    outside.mkdir()
    (outside / "inner.txt").write_text("secret-package==1.0\n")
    (home.folder / "outside.txt").symlink_to(outside / "inner.txt")
    (home.folder / "link").symlink_to(outside)
    home.advise(HARMLESS)
    home.write("requirements.txt", f"-r {target}\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"error: requirements.txt:1: '{target}' leads outside the project: only files below it are read\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r requirements.txt\n", "requirements.txt:1: includes form a cycle: requirements.txt -> requirements.txt"),
        ("app\n-r b.txt\n", "b.txt:2: includes form a cycle: requirements.txt -> b.txt -> requirements.txt"),
    ],
)
def test_a_cycle_ends_in_a_message(home: House, text: str, message: str) -> None:
    """Files that include each other are bad input, told as a chain."""
    home.advise(HARMLESS)
    home.write("requirements.txt", text)
    home.write("b.txt", "lib\n-r requirements.txt\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out, ran.err) == (2, "", f"error: {message}\n")


# --- where requests go ------------------------------------------------------------------------------------------------

LOCK = """\
lock-version = "1.0"
created-by = "somebody"

[[packages]]
name = "app"
version = "1.0"
index = "{url}/simple"

[[packages.wheels]]
name = "app-1.0-py3-none-any.whl"
url = "{url}/app-1.0-py3-none-any.whl"
hashes = {{sha256 = "{sha256}"}}
"""


@pytest.mark.parametrize("away", ["http://169.254.169.254/latest", "http://168.63.129.16", "{evil}/files"])
def test_addresses_in_a_lock_are_not_asked(home: House, evil: IndexServer, away: str) -> None:
    """Pages come from the policy's upstreams alone; bytes that those don't list are denied."""
    home.index.add("app", "1.0")
    home.advise(HARMLESS)
    url = away.format(evil=evil.origin)
    home.write("pylock.toml", LOCK.format(url=url, sha256="0" * 64))

    ran = home.check("pylock.toml")

    assert (ran.status, ran.rules("app"), ran.item("app")["upstream"]) == (1, ["integrity"], "pypi")
    assert home.index.paths() == ["/simple/app/"]


def test_a_redirect_of_an_index_is_judged_again(home: House, evil: IndexServer) -> None:
    """An index that sends its reader to a metadata service, or to a host nobody configured, decides nothing."""
    served = home.index.add("app", "1.0")
    home.advise(HARMLESS)
    home.write("locked.txt", f"app==1.0 --hash=sha256:{served.sha256}\n")
    for away in ("http://169.254.169.254/latest/", "http://168.63.129.16/", f"{evil.url}/app/"):
        home.index.always("/simple/app/", Answer(status=302, headers={"Location": away}))

        ran = home.check("locked.txt")

        assert ran.status == 3
        assert "is no configured upstream: a request to it is refused" in ran.out + ran.err


def test_a_redirect_does_not_lead_the_resolver_away(home: House, evil: IndexServer) -> None:
    """The resolver follows none to another unencrypted host: undecided when its time is over, and nothing was asked."""
    home.index.add("app", "1.0")
    away = f"http://localhost:{evil.port}/simple/app/"
    home.index.always("/simple/app/", Answer(status=302, headers={"Location": away}))
    home.advise(HARMLESS)
    config = home.folder / "quarantine.yaml"
    home.write("quarantine.yaml", config.read_text().replace("time_limit_seconds: 60", "time_limit_seconds: 1"))
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert ran.status == 3
    assert "uv was stopped: not done within 1 s" in ran.out + ran.err


def test_an_unencrypted_upstream_is_refused(home: House) -> None:
    """A policy can't send anybody to a metadata service, either."""
    home.settle()
    policy = home.folder / "allowlists/policy.yaml"
    policy.write_text(policy.read_text().replace(home.index.url, "http://169.254.169.254/simple"))
    home.write("requirements.txt", "app\n")

    ran = home.check("requirements.txt")

    assert (ran.status, ran.out) == (2, "")
    assert "policy.yaml:3:" in ran.err
    assert "http://169.254.169.254 isn't encrypted" in ran.err
    assert home.run("advisories", "sync", "--from", "http://169.254.169.254/all.zip").err == (
        "error: 169.254.169.254 leads to 169.254.169.254, a link-local or metadata address: refused\n"
        "error: a copy of it can be read, too: quarantine advisories sync --from ZIP|FOLDER|URL\n"
    )
