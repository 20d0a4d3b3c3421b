"""What `pip`, `uv` and `pipx` install by a command of a Dockerfile: their arguments read as their own parsers read them.

The packages that a command names, its options and the files it reads become lines of a requirements file, one part a
command. What an option makes of the rest and isn't known here leaves the command unread.
"""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from quarantine.errors import SpecError
from quarantine.model import Directive, EnvironmentSpec, Needs
from quarantine.spec import pylock, pyproject, requirements, uv_lock
from quarantine.spec.dockerfile_commands import of_one_word
from quarantine.spec.dockerfile_files import NOTHING, Inline, Untraced
from quarantine.spec.dockerfile_install import (
    Install,
    Kind,
    Located,
    Options,
    option_line,
    parse_options,
    path_from,
    unfilled,
    unknown_words,
)
from quarantine.spec.dockerfile_pip_options import PIP_INSTALL, PIP_SHORT, UV_INSTALL, UV_SHORT, UV_SYNC
from quarantine.spec.options import split_options
from quarantine.spec.origins import origins
from quarantine.spec.requirement import is_reference
from quarantine.spec.requirements import logical_lines
from quarantine.spec.shell_words import Field
from quarantine.spec.text import quote
from quarantine.spec.toml import load_toml

__all__ = ["pip", "pipx", "uv"]

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")

_PIP_HARMLESS = frozenset(
    {
        "uninstall",
        "list",
        "show",
        "freeze",
        "check",
        "cache",
        "debug",
        "inspect",
        "hash",
        "help",
        "index",
        "search",
        "completion",
    }
)
_UV_PIP_HARMLESS = frozenset({"uninstall", "list", "show", "freeze", "check", "tree"})
_UV_VENV = re.compile(
    r"[^-].*|-[pqn]|--python(?:=.*)?|--system-site-packages|--clear|--allow-existing|--relocatable|--no-project|--quiet"
    r"|--no-config|--no-cache|--prompt(?:=.*)?"
)
_BACKEND = "it builds a project in the image: its build backend, which its pyproject.toml names, is fetched and run"


# --- commands ---------------------------------------------------------------------------------------------------------


def pip(words: Sequence[Field], install: Install) -> str | None:
    """Reads the arguments of pip; None when they were, else why they can't be."""
    command, before, after = _command(words, PIP_INSTALL, PIP_SHORT)
    if command in {"install", "download", "wheel"}:
        return _install([*before, *after], install, PIP_INSTALL, PIP_SHORT, abbreviate=True)
    if command == "config":
        return _config(after, install)
    if not command and not after:
        return None if all(word.known is not None for word in before) else "its arguments aren't known"
    return None if command in _PIP_HARMLESS else f"what `pip {command[:20]}` does isn't known here"


def _config(words: Sequence[Field], install: Install) -> str | None:
    names = [word for word in words if not word.text.startswith("-")]
    if names and names[0].known in {"set", "edit"}:
        install.judged("pip config", " ".join(word.text for word in names))
        return None
    return None if names and names[0].known in {"list", "get", "unset", "debug"} else "its arguments aren't known"


def pipx(words: Sequence[Field], install: Install) -> str | None:
    """Reads the arguments of pipx, which installs each package into an environment of its own."""
    command, before, after = _command(words, PIP_INSTALL, PIP_SHORT)
    if command == "ensurepath" or (not command and not after):
        return None
    if command != "install":
        return f"what `pipx {command[:20]}` does isn't known here"
    table = {
        **dict.fromkeys(("--force", "--include-deps", "--global", "--verbose", "--quiet", "--system-site-packages"), Kind.FLAG),
        **dict.fromkeys(("--python", "--suffix"), Kind.VALUE),
        "--index-url": Kind.LINE,
        "--preinstall": Kind.EXTRA,
        "--pip-args": Kind.UNREAD,
    }  # fmt: skip
    return _install([*before, *after], install, table, {"f": "--force", "i": "--index-url"})


def uv(words: Sequence[Field], install: Install) -> str | None:
    """Reads the arguments of uv: its pip interface, its projects and its tools."""
    command, before, after = _command(words, UV_INSTALL, UV_SHORT)
    match command:
        case "pip" | "tool":
            return _uv_pip(command, before, after, install)
        case "sync":
            return _uv_sync([*before, *after], install)
        case "add":
            install.unread("it resolves the whole project anew: check its pyproject.toml")
            return _install([*before, *after], install, UV_INSTALL, UV_SHORT)
        case "":
            return None if all(word.known is not None for word in before) else "its arguments aren't known"
        case "cache" | "help":
            return None
        case "version" | "self" if [word.known for word in (*before, *after)] in ([], ["version"], ["--short"]):
            return None
        case "venv" if all(_UV_VENV.fullmatch(word.text) and of_one_word(word) for word in (*before, *after)):
            return None
        case _:
            return f"what `uv {command[:20]}` does isn't known here"


def _uv_pip(group: str, before: list[Field], words: Sequence[Field], install: Install) -> str | None:
    command, between, after = _command(words, UV_INSTALL, UV_SHORT)
    rest = [*before, *between, *after]
    if command == "sync" and group == "pip":
        options = parse_options(rest, UV_INSTALL, UV_SHORT)
        files = [("--requirement", Kind.FILE, word) for word in options.words]
        options.given += files
        options.words = []
        return _gather(options, install)
    if command == "install":
        _uv_settings(rest, install)
        return _install(rest, install, UV_INSTALL, UV_SHORT)
    harmless = _UV_PIP_HARMLESS if group == "pip" else {"list", "uninstall", "dir", "update-shell"}
    return None if command in harmless else f"what `uv {group} {command[:20]}` does isn't known here"


def _uv_settings(words: Sequence[Field], install: Install) -> None:
    """Keeps that uv obeys `uv.toml` and `pyproject.toml` of its folder and those above, where a COPY may have put one."""
    if any(word.known == "--no-config" for word in words):
        return
    above = [step for step in (install.folder or "").split("/")[1:] if step]
    for up in range(len(above) + 1):
        for name in ("uv.toml", "pyproject.toml"):
            match install.locate(Field(text="../" * up + name)):
                case Located(sure=True, path=path) if name == "pyproject.toml":
                    data = install.findings.need(path, install.line)
                    if data is not None:
                        _origins(path, data, install)
                case Untraced(why=why) if why == NOTHING:
                    pass
                case _:
                    install.unread(
                        f"uv obeys {name}, which a COPY may have put there: write --no-config, or name it in a COPY"
                    )
                    return


def _origins(path: str, data: bytes, install: Install) -> None:
    """Keeps what the tables of tools in a pyproject.toml say of where packages come from."""
    try:
        directives, unverifiable = origins(load_toml(path, data))
    except SpecError as error:
        install.findings.refused(error)
        return
    install.findings.directives += directives
    install.findings.unverifiable += unverifiable


def _command(
    words: Sequence[Field], table: dict[str, Kind], short: dict[str, str]
) -> tuple[str, list[Field], list[Field]]:
    """The first word that is neither an option nor an option's value, with what stands before and behind it."""
    place = 0
    while place < len(words):
        word = words[place]
        if not word.text.startswith("-"):
            return (word.known or word.text), list(words[:place]), list(words[place + 1 :])
        name = word.text if word.text.startswith("--") else short.get(word.text[1:2], "")
        takes = table.get(name) in {Kind.VALUE, Kind.LINE, Kind.JUDGED, Kind.UNREAD}
        place += 2 if takes and (word.text.startswith("--") or len(word.text) == 2) else 1
    return "", list(words), []


# --- install ----------------------------------------------------------------------------------------------------------


def _install(
    words: Sequence[Field], install: Install, table: dict[str, Kind], short: dict[str, str], *, abbreviate: bool = False
) -> str | None:
    options = parse_options(words, table, short, abbreviate=abbreviate)
    return None if options.has("--help") else _gather(options, install)


def _gather(options: Options, install: Install) -> str | None:
    """One part of everything that the options and words of a command ask for."""
    if options.why:
        return options.why
    gathered = _Lines(install)
    for name, kind, value in options.given:
        gathered.option(name, kind, value)
    for word in options.words:
        gathered.word(word)
    gathered.keep()
    return None


class _Lines:
    """The lines of a requirements file that say what a command says; used once."""

    def __init__(self, install: Install) -> None:
        self.install = install
        self.lines: list[tuple[int, str]] = []
        self.directives: list[Directive] = []
        self.asks = False
        self.refused = False

    def option(self, name: str, kind: Kind, value: Field | None) -> None:
        """Keeps one option."""
        install = self.install
        text = "" if value is None else value.text
        match kind:
            case Kind.FLAG:
                pass
            case Kind.VALUE | Kind.CHANNEL:
                if value is not None and not of_one_word(value):
                    install.unread_word(value, f"{unknown_words(value)} isn't known, and may be several words")
            case Kind.LINE_FLAG:
                self._line(name)
            case Kind.JUDGED_FLAG:
                install.judged(name, None)
            case Kind.JUDGED:
                install.judged(name, text)
            case Kind.LINE:
                if value is None or unfilled(value) or "#" in text or "$" in text:
                    install.judged(name, text)
                else:
                    self._line(option_line(_SAME.get(name, name), text), value)
            case Kind.FILE | Kind.CONSTRAINTS | Kind.EDITABLE | Kind.EXTRA:
                if value is not None:
                    self._named(kind, value)
            case Kind.UNREAD | Kind.UNREAD_FLAG:
                self.asks = True
                install.unread(f"what {name} makes it install isn't read")

    def _named(self, kind: Kind, value: Field) -> None:
        self.asks = True
        if kind is Kind.EXTRA:
            for part in value.text.split(","):
                self.word(replace(value, text=part))
        elif kind is Kind.EDITABLE:
            if not self._project(value):
                self._line(option_line("--editable", value.text), value)
        elif not self.install.remote(value):
            self._file(value, constraint=kind is Kind.CONSTRAINTS)

    def word(self, word: Field) -> None:
        """Keeps one word: a requirement, or a project by its path."""
        self.asks = True
        if why := unfilled(word):
            self.install.unread_word(word, why)
        elif not self._project(word):
            bad = split_options(word.text)[1] or any(mark in word.text for mark in ("\n", "\r", " #", "\t#"))
            if bad or word.text.endswith("\\") or not word.text.strip():
                self._refuse(word)
            else:
                self._line(word.text, word)

    def _refuse(self, word: Field) -> None:
        self.refused = True
        self.install.findings.problem(self.install.line_at(word), f"{quote(word.text)} is not a requirement")

    def _line(self, text: str, word: Field | None = None) -> None:
        line = self.install.line if word is None else self.install.line_at(word)
        self.lines.append((line, text))

    def _file(self, word: Field, *, constraint: bool) -> None:
        """A file of requirements or constraints, by the form that its name says."""
        install = self.install
        match install.locate(word):
            case Untraced(why=why):
                install.untraced(word, why)
            case Inline(data=data):
                self._inline(data, constraint=constraint)
            case Located(path=path, place=place):
                name = path.rpartition("/")[2]
                if name == "pyproject.toml" or (name.startswith("pylock.") and name.endswith(".toml")):
                    self._toml(path, name)
                elif name in {"setup.py", "setup.cfg"}:
                    install.unread(f"what {path} asks for is known only to those who run it")
                elif install.findings.need(path, install.line_at(word)) is not None:
                    self._included(path, place, self.install.line_at(word), constraint=constraint)

    def _toml(self, path: str, name: str) -> None:
        data = self.install.findings.need(path, self.install.line)
        if data is not None:
            read = pyproject.read if name == "pyproject.toml" else pylock.read
            self.install.keep(lambda: self.install.findings.part(read(path, data)))

    def _included(self, path: str, place: str, number: int, *, constraint: bool) -> None:
        option = "--constraint" if constraint else "--requirement"
        line = (number, option_line(option, path_from(self.install.findings.file, path)))
        self.lines.append(line)
        findings = self.install.findings
        if (path, constraint) not in findings.includes:
            # a constraint alone asks for nothing, which would be refused
            alone = [line, (number, "pip")] if constraint else [line]
            try:
                answer = requirements.read_lines(findings.file, alone, findings.files)
            except SpecError:
                return  # it is refused below, with the rest of the command
            if isinstance(answer, Needs):
                return
            findings.includes[path, constraint] = answer.sources
        self.install.agree(path, place, findings.includes[path, constraint])

    def _inline(self, data: bytes, *, constraint: bool) -> None:
        """The lines of a here-document."""
        lines = [line for line in logical_lines(data.decode()) if line.text]
        if constraint or any(line.fault or line.text.startswith(("-r", "-c", "--req", "--con")) for line in lines):
            self.install.unread("the here-document that it reads names further files")
        else:
            self.lines += [(line.number, line.text) for line in lines]

    def _project(self, word: Field) -> bool:
        """Whether a word names a folder, with a project in it that pip would build."""
        text = word.text
        bare = text.partition("[")[0] if text.endswith("]") else text
        if word.known is None or not is_reference(text) or "@" in text or ":" in text or bare.endswith(_ARCHIVES):
            return False
        project(self.install, replace(word, text=bare or "."))
        return True

    def keep(self) -> None:
        """Keeps the part, if the command asks for anything."""
        findings = self.install.findings
        if not self.asks:
            findings.problem(self.install.line, f"{quote(self.install.text)} names nothing to install")
        if not self.lines or self.refused:
            return

        def read() -> EnvironmentSpec | None:
            return findings.part(requirements.read_lines(findings.file, self.lines, findings.files))

        try:
            read()
        except SpecError as error:
            # a file of requirements may be empty, and a command may have options alone
            if [problem.message for problem in error.problems] != ["no requirements found"]:
                findings.refused(error)


_SAME = {"--config-setting": "--config-settings"}


# --- projects ---------------------------------------------------------------------------------------------------------


def project(install: Install, folder: Field) -> None:
    """Keeps what a project of the context asks for, where its pyproject.toml is named in a COPY or was read already."""
    found = install.locate(replace(folder, text=f"{folder.text}/pyproject.toml"))
    if isinstance(found, Located) and found.sure:
        data = install.findings.need(found.path, install.line)
        if data is not None:
            install.keep(lambda: install.findings.part(pyproject.read(found.path, data)))
        install.unread(_BACKEND)
        return
    install.unread(f"{_BACKEND}, and its dependencies aren't read: check its pyproject.toml as well")


def _uv_sync(words: Sequence[Field], install: Install) -> str | None:
    """`uv sync` installs what uv.lock says; without one it resolves, and what then comes out isn't in the context."""
    options = parse_options(words, UV_SYNC, UV_SHORT)
    if options.why or options.words:
        return options.why or f"{options.words[0].text[:40]!a} isn't known here"
    for name, kind, value in options.given:
        if kind in {Kind.JUDGED, Kind.JUDGED_FLAG, Kind.LINE, Kind.LINE_FLAG}:
            install.judged(name, None if value is None else value.text)
        elif kind in {Kind.UNREAD, Kind.UNREAD_FLAG, Kind.FILE, Kind.EXTRA}:
            return f"what {name} makes it install isn't read"
    held = options.has("--locked", "--frozen", "--check") or any(
        install.variable(name) in {"1", "true"} for name in ("UV_LOCKED", "UV_FROZEN")
    )
    if not options.has("--no-install-project", "--no-install-workspace", "--no-install-local"):
        install.unread(f"{_BACKEND}: write --no-install-project to leave it out")
    found = install.locate(Field(text="uv.lock"))
    if not isinstance(found, Located):
        why = found.why if isinstance(found, Untraced) else "it stands in the Dockerfile"
        return f"its uv.lock can't be traced to a file of the build context: {why}"
    if not held and not found.sure:
        return "whether there is a uv.lock in the context isn't known: write --locked"
    if options.has("--upgrade", "--upgrade-package", "--upgrade-group"):
        return "it installs newer versions than uv.lock says"
    data = install.findings.need(found.path, install.line)
    if data is not None:
        install.keep(lambda: install.findings.part(uv_lock.read(found.path, data)))
    return None
