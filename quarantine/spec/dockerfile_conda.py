"""What `conda`, `mamba` and `micromamba` install by a command of a Dockerfile, and which channels they are given.

Specs on the command line are one part a command; environment files and locks are read as what they are.
"""

import hashlib
import re
from collections.abc import Sequence

from msgspec.structs import replace

from quarantine.errors import SpecError
from quarantine.model import Channel, CondaSection, EnvironmentSpec, Location, MatchSpec, Needs, SourceFile
from quarantine.spec import conda_environment, conda_lock, documents
from quarantine.spec.dockerfile_commands import of_one_word
from quarantine.spec.dockerfile_files import Inline, Untraced
from quarantine.spec.dockerfile_install import Install, Kind, Located, Options, parse_options, unfilled
from quarantine.spec.match_spec import channel_name, parse_match_spec
from quarantine.spec.recognise import recognise
from quarantine.spec.shell_words import Field
from quarantine.spec.text import decode

__all__ = ["conda", "conda_lock_install", "configured_channels"]

_TABLE = {
    **dict.fromkeys(
        ("--yes", "--quiet", "--verbose", "--debug", "--dry-run", "--json", "--no-deps", "--only-deps", "--freeze-installed",
         "--no-update-deps", "--update-deps", "--update-specs", "--satisfied-skip-solve", "--force-reinstall", "--copy",
         "--offline", "--strict-channel-priority", "--no-channel-priority", "--override-channels", "--no-default-packages",
         "--download-only", "--show-channel-urls", "--no-shortcuts", "--use-index-cache", "--prune", "--force", "--dev",
         "--always-softlink", "--no-pyc", "--allow-softlinks", "--always-copy", "--no-always-copy", "--no-env",
         "--retry-clean-cache", "--update-all-deps", "--skip-flexible-solve", "--no-py-pin", "--no-extra-safety-checks",
         "--help", "--version", "--shortcuts", "--no-banner", "--no-rc"),
        Kind.FLAG,
    ),
    **dict.fromkeys(
        ("--name", "--prefix", "--solver", "--root-prefix", "--log-level", "--channel-priority", "--experimental",
         "--safety-checks", "--extra-safety-checks", "--cacert-path", "--console", "--download-threads", "--category",
         "--micromamba", "--conda", "--mamba"),
        Kind.VALUE,
    ),
    "--channel": Kind.CHANNEL,
    "--file": Kind.FILE,
    **dict.fromkeys(("--insecure", "--use-local", "--no-pin"), Kind.JUDGED_FLAG),
    **dict.fromkeys(
        ("--repodata-fn", "--subdir", "--platform", "--ssl-verify", "--ssl_verify", "--channel-alias", "--rc-file"),
        Kind.JUDGED,
    ),
    **dict.fromkeys(("--clone", "--revision"), Kind.UNREAD),
    **dict.fromkeys(("--all", "--update-all"), Kind.UNREAD_FLAG),
}  # fmt: skip
_SHORT = {
    "y": "--yes", "q": "--quiet", "v": "--verbose", "d": "--dry-run", "n": "--name", "p": "--prefix", "c": "--channel",
    "f": "--file", "k": "--insecure", "C": "--use-index-cache", "r": "--root-prefix", "h": "--help", "O": "--override-channels",
    "m": "--no-env", "S": "--satisfied-skip-solve", "V": "--version",
}  # fmt: skip
_HARMLESS = frozenset(
    {"info", "list", "init", "activate", "deactivate", "remove", "uninstall", "search", "notices", "compare", "help", "export"}
)  # fmt: skip
_ENV_HARMLESS = frozenset({"list", "export", "remove"})
# what else they may be told could name a channel or a file to write
_HARMLESS_OPTIONS = re.compile(
    r"[^-].*|-[ynpqaf]+|--(?:yes|name|prefix|quiet|all|force|json|envs|explicit|export|no-builds)"
)
# settings of conda that say nothing of where packages come from
_SETTINGS = frozenset(
    {"always_yes", "auto_activate", "auto_activate_base", "auto_update_conda", "changeps1", "channel_priority",
     "notify_outdated_conda", "remote_connect_timeout_secs", "remote_max_retries", "remote_read_timeout_secs", "report_errors",
     "show_channel_urls", "solver", "quiet", "always_copy", "allow_softlinks", "anaconda_upload", "plugins.auto_accept_tos",
     "env_prompt", "number_channel_notices", "default_threads", "fetch_threads"}
)  # fmt: skip
_DEFAULTS = "defaults"


def conda(tool: str, words: Sequence[Field], install: Install) -> str | None:
    """Reads the arguments of conda, or of one that has its commands; None when they were, else why they can't be."""
    place = next((i for i, word in enumerate(words) if not word.text.startswith("-")), len(words))
    if any(word.known is None for word in words[: place + 1]):
        return "its arguments aren't known"
    command = words[place].text if place < len(words) else ""
    rest = [*words[:place], *words[place + 1 :]]
    match command:
        case "install" | "create" | "update" | "upgrade":
            return _install(tool, rest, install)
        case "env":
            return _env(tool, rest, install)
        case "config":
            return _config(rest, install)
        case "" | "clean":
            return None
        case _ if command in _HARMLESS and _is_plain(rest, command):
            return None
        case _:
            return f"what `{tool} {command[:20]}` does isn't known here"


def conda_lock_install(words: Sequence[Field], install: Install) -> str | None:
    """Reads the arguments of `conda-lock`, of which `install` takes a lock file."""
    if not words or words[0].known != "install":
        return "what it makes is known only to those who run it"
    options = parse_options(words[1:], _TABLE, _SHORT)
    if options.why or len(options.words) > 1:
        return options.why or "more than one lock file"
    _file(options.words[0] if options.words else Field(text="conda-lock.yml"), install)
    return None


def _is_plain(words: Sequence[Field], command: str) -> bool:
    texts = [word.text for word in words]
    writes = command == "export" and any(text.startswith(("-f", "--file")) for text in texts)
    return not writes and all(_HARMLESS_OPTIONS.fullmatch(text) for text in texts) and all(map(of_one_word, words))


def _env(tool: str, words: Sequence[Field], install: Install) -> str | None:
    command = next((word.known or "" for word in words if not word.text.startswith("-")), "")
    if command in _ENV_HARMLESS and _is_plain(words, command):
        return None
    if command not in {"create", "update"}:
        return f"what `{tool} env {command[:20]}` does isn't known here"
    at = next(i for i, word in enumerate(words) if word.text == command)
    options = parse_options([*words[:at], *words[at + 1 :]], _TABLE, _SHORT)
    if options.why or options.words:
        return options.why or f"{options.words[0].text[:40]!a} isn't known here"
    _settings(options, install)
    files = options.values("--file")
    for file in files or (Field(text="environment.yml"),):
        _file(file, install)
    return None


def _config(words: Sequence[Field], install: Install) -> str | None:
    """`conda config`: which of its settings change where packages come from."""
    texts = [word.text for word in words if word.text not in {"--system", "--env", "--yes", "-y", "--force"}]
    match texts:
        case ["--show" | "--show-sources" | "--get" | "--describe" | "--validate", *_]:
            return None
        case ["--set", key, _] if key in _SETTINGS:
            return None
        case ["--remove" | "--remove-key", "channels", *_]:
            # without a channel it goes by what is built into it
            install.judged("conda config", " ".join(texts))
            return None
        case ["set" | "append" | "prepend" | "list" | "sources" | "remove" | "remove-key", *_] if texts[0] == "list":
            return None
        case _:
            install.judged("conda config", " ".join(texts))
            return None


def configured_channels(words: Sequence[Field]) -> tuple[str, ...]:
    """The channels that a `conda config` puts before or behind those that are there."""
    texts = [word.text for word in words]
    return tuple(
        value
        for verb, key, value in zip(texts, texts[1:], texts[2:], strict=False)
        if verb in {"--add", "--append", "--prepend", "append", "prepend"} and key == "channels"
    )


# --- install ----------------------------------------------------------------------------------------------------------


def _install(tool: str, words: Sequence[Field], install: Install) -> str | None:
    options = parse_options(words, _TABLE, _SHORT)
    if options.why:
        return options.why
    if options.has("--help"):
        return None
    _settings(options, install)
    for file in options.values("--file"):
        _file(file, install, channels=_channels(tool, options, install))
    specs: list[MatchSpec] = []
    for word in options.words:
        if why := unfilled(word):
            install.unread_word(word, why)
            continue
        line = install.line_at(word)
        try:
            specs.append(parse_match_spec(word.text, install.findings.at(line)))
        except ValueError as error:
            install.findings.problem(line, str(error))
    if specs:
        _part(tuple(specs), _channels(tool, options, install), install)
    return None


def _settings(options: Options, install: Install) -> None:
    """Keeps what options change beside naming packages."""
    for name, kind, value in options.given:
        if kind in {Kind.JUDGED, Kind.JUDGED_FLAG}:
            install.judged(name, None if value is None else value.text)
        elif kind in {Kind.UNREAD, Kind.UNREAD_FLAG}:
            install.unread(f"what {name} makes it install isn't known")


def _channels(tool: str, options: Options, install: Install) -> tuple[Channel, ...]:
    """The channels in the order of their priority: those of the command, those configured, and conda's own default.

    conda puts `defaults` behind those of a command where none are configured; micromamba has no default.
    """
    found: dict[str, Channel] = {}
    for value in options.values("--channel"):
        if why := unfilled(value):
            install.unread_word(value, why)
            continue
        for name in value.text.split(","):
            _channel(name, install.line_at(value), found, install)
    if not options.has("--override-channels"):
        for name, line in install.channels:
            _channel(name, line, found, install)
        if not install.channels and tool != "micromamba":
            found.setdefault(_DEFAULTS, Channel(name=_DEFAULTS, location=install.findings.at(install.line)))
    return tuple(found.values())


def _channel(text: str, line: int, found: dict[str, Channel], install: Install) -> None:
    try:
        name = channel_name(text)
    except ValueError as error:
        install.findings.problem(line, str(error))
        return
    if name != text.strip(" ").rstrip("/") and "://" in text:
        install.findings.directive(line, "channel-credentials", name)
    found.setdefault(name, Channel(name=name, location=install.findings.at(line)))


def _part(specs: tuple[MatchSpec, ...], channels: tuple[Channel, ...], install: Install) -> None:
    if not channels and any(spec.channel is None and spec.reference is None for spec in specs):
        install.unread("no channel is named, and which ones its configuration has isn't known")
    install.findings.part(
        EnvironmentSpec(
            file=install.findings.file,
            format="conda-environment",
            conda=CondaSection(channels=channels, specs=specs),
        )
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _file(word: Field, install: Install, channels: tuple[Channel, ...] | None = None) -> None:
    """An environment file, a lock, or (with `channels`) a list of specs."""
    if install.remote(word):
        return
    match install.locate(word):
        case Untraced(why=why):
            install.untraced(word, why)
        case Inline(data=data):
            if word.text.endswith((".yml", ".yaml")):
                _inline(data, install)
            else:
                install.unread("the here-document that it reads isn't YAML")
        case Located(path=path, place=place):
            data = install.findings.need(path, install.line) or b""
            if path in install.findings.needed:
                return
            if path.endswith((".yml", ".yaml")):
                _yaml(path, place, data, install)
            elif channels is not None:
                install.keep(lambda: _list(path, data, channels, install))
            else:
                install.unread(f"{path} is neither an environment file nor a lock")


def _yaml(path: str, place: str, data: bytes, install: Install) -> None:
    findings = install.findings
    try:
        document = documents.load(path, data)
        answer: EnvironmentSpec | Needs
        if recognise(document) == "conda-lock":
            answer = conda_lock.read(path, findings.files, document)
        else:
            answer = conda_environment.read(path, findings.files, document)
    except SpecError as error:
        findings.refused(error)
        return
    spec = findings.part(answer)
    if spec is not None:
        install.agree(path, place, spec.sources)


def _inline(data: bytes, install: Install) -> None:
    """An environment that a here-document holds, in lines of the Dockerfile."""
    findings = install.findings
    files = {**findings.files, findings.file: data}
    try:
        answer = conda_environment.read(findings.file, files, documents.load(findings.file, data))
    except SpecError as error:
        findings.refused(error)
        return
    if isinstance(answer, Needs) or len(answer.sources) > 1:
        install.unread("the here-document that it reads names further files")
    else:
        findings.parts.append(replace(answer, sources=()))


def _list(path: str, data: bytes, channels: tuple[Channel, ...], install: Install) -> None:
    """A list of specs, one a line (`conda list --export`, `--explicit`)."""
    specs: list[MatchSpec] = []
    findings = install.findings
    text = decode(path, data)
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith(("#", "@")):
            continue
        try:
            specs.append(parse_match_spec(bare, Location(file=path, line=number)))
        except ValueError as error:
            findings.problems.add(path, number, str(error))
    if not specs:
        return
    source = SourceFile(path=path, sha256=hashlib.sha256(data).hexdigest())
    part = EnvironmentSpec(
        file=path,
        format="conda-environment",
        conda=CondaSection(channels=channels, specs=tuple(specs)),
        sources=(source,),
    )
    findings.part(part)
