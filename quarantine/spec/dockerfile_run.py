"""What the RUN instructions of a Dockerfile install, read from their commands without running any.

Each command is harmless, or read (pip, uv, conda and their kin), or unverifiable: what is in no list is never passed
over. All commands of a line count, whether or not they would be reached, since which ones are isn't known.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from quarantine.spec import shell
from quarantine.spec.dockerfile_commands import (
    BUILTINS,
    INSTALLERS,
    harmless,
    name_of,
    unwrapped,
    why_unread,
)
from quarantine.spec.dockerfile_conda import conda, conda_lock_install, configured_channels
from quarantine.spec.dockerfile_files import NOTHING, Copied, Inline, Traced, Untraced, Written, join
from quarantine.spec.dockerfile_findings import Findings
from quarantine.spec.dockerfile_install import Install
from quarantine.spec.dockerfile_layers import Layers
from quarantine.spec.dockerfile_pip import pip, pipx, uv
from quarantine.spec.dockerfile_places import PROGRAMS, is_sensitive, may_hold_sensitive
from quarantine.spec.dockerfile_stage import (
    PIP,
    PYTHON,
    Stage,
    is_installer,
    judge_configuration,
    judge_variable,
    value_of,
)
from quarantine.spec.dockerfile_writers import WRITERS, written
from quarantine.spec.shell import Statement
from quarantine.spec.shell_words import Field, Missing, assigned_value, expand

__all__ = ["run"]

MAX_DEPTH = 6
MAX_WRAPPERS = 16
MAX_WORDS = 10_000
MAX_EXPANDED = 1024 * 1024
MAX_NAMED = 50
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_CHANGES_SHELL = frozenset(
    {".", "source", "eval", "read", "declare", "typeset", "readonly", "local", "let", "mapfile", "readarray", "getopts",
     "printf", "builtin", "exec", "alias", "trap", "pushd", "popd"}
)  # fmt: skip
# commands that fill the folder that they name
_FETCHERS = frozenset({"git", "tar", "unzip", "rsync", "cpio", "bsdtar", "7z"})
_VENV = re.compile(r"[^-].*|--system-site-packages|--clear|--copies|--symlinks|--without-pip|--prompt(?:=.*)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSIONED = re.compile(r"[\d.]+\Z")
_SINKS = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/fd/1", "/dev/fd/2"})
_SHELL_FLAG = re.compile(r"[-+][a-zA-Z]+")


def run(
    text: str | Sequence[str],
    stage: Stage,
    findings: Findings,
    *,
    stages: Sequence[Stage],
    context: str,
    mounts: Sequence[Copied],
    line_of: Callable[[int], int],
    note: str = "",
) -> None:
    """Reads one RUN: a script for the stage's shell, or (a list) the words of one command.

    `line_of` gives the line of a place in the script; `mounts` are there for this command only. What it writes is kept in
    the stage's layers. `note` stands before what can't be verified.
    """
    line = line_of(0)
    layers = Layers(stage=stage, findings=findings, stages=stages, context=context, mounts=mounts)
    layers.judge(line)
    reader = _Run(stage=stage, findings=findings, layers=layers, context=context, note=note)
    if isinstance(text, str):
        words = [Field(text=word) for word in stage.shell]
        why = reader.command([*words, Field(text=text)], line, text, line_of=line_of)
        shown = text
    else:
        shown = " ".join(text)
        why = reader.command([Field(text=word) for word in text], line, shown)
    if why is not None:
        findings.unread(line, note + shown, why)


@dataclass(slots=True, kw_only=True)
class _Run:
    """Reads the commands of one RUN; used once."""

    stage: Stage
    findings: Findings
    layers: Layers
    context: str
    note: str
    folder: str | None = None
    variables: dict[str, str | Missing] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)
    depth: int = 0

    def __post_init__(self) -> None:
        self.folder = self.stage.folder
        self.variables = dict(self.stage.variables)

    def lookup(self, name: str) -> str | Missing:
        """What is known of a variable now."""
        return self.variables.get(name, Missing.UNKNOWN)

    def find(self, path: str) -> Traced | Inline | Untraced:
        """What a path of the stage stands for now."""
        return self.layers.find(path) or Untraced(NOTHING)

    # --- scripts ---

    def script(self, text: str, line_of: Callable[[int], int]) -> None:
        """Every command of a script; a pipeline is told as one."""
        if self.depth >= MAX_DEPTH:
            self.findings.unread(line_of(0), self.note + text, "scripts in scripts, too deep to be read")
            return
        self.depth += 1
        script = shell.parse(text)
        pipeline: list[Statement] = []
        chain = _Chain()
        for place, statement in enumerate(script.statements):
            following = script.statements[place + 1].operator if place + 1 < len(script.statements) else ";"
            pipeline.append(statement)
            chain.enter(statement.operator, self)
            if following != "|":
                self._pipeline(pipeline, text, line_of, chain)
                pipeline = []
        chain.leave(self)
        if script.rest is not None:
            self.findings.unread(line_of(script.rest), self.note + text[script.rest :], script.why)
            self.variables = {}
            self.folder = None
        self.depth -= 1

    def _pipeline(
        self, statements: Sequence[Statement], text: str, line_of: Callable[[int], int], chain: "_Chain"
    ) -> None:
        whole = text[statements[0].start : statements[-1].end]
        line = line_of(statements[0].start)
        self.findings.spend(line)
        variables, folder = self.variables, self.folder
        reasons: list[str | None] = []
        for statement in statements:
            if len(statements) > 1:
                # each command of a pipeline has a shell of its own
                self.variables, self.folder = dict(variables), folder
            reasons.append(self._statement(statement, text, line_of, chain))
        if len(statements) > 1:
            self.variables, self.folder = variables, folder
        why = next((reason for reason in reasons if reason is not None), None)
        if why is not None:
            self.findings.unread(line, self.note + whole, why)

    def _statement(self, statement: Statement, text: str, line_of: Callable[[int], int], chain: "_Chain") -> str | None:
        line = line_of(statement.start)
        shown = text[statement.start : statement.end]
        fields = self._fields(statement)
        assigned = self._assigned(statement)
        for name, value in assigned:
            judge_variable(name, f"{name}={value.text}", line, self.findings)
        why = self._redirects(statement, fields, line_of)
        command = name_of(fields[0]) if fields else None
        if not fields:
            for name, value in assigned:
                self._set(name, value, chain)
        elif command in BUILTINS:
            why = self._builtin(command, fields, line, chain) or why
        if statement.substitutes:
            if command is not None and is_installer(command):
                # what it names beside is read all the same
                self.command(fields, line, shown, assigned=assigned, words_at=line_of)
            return "a substitution runs commands whose output isn't known"
        if not fields or command in BUILTINS:
            return why
        if command in _SHELLS and statement.heredocs:
            return self._fed(fields, statement, line_of)
        unread = self.command(fields, line, shown, assigned=assigned, words_at=line_of)
        if unread is not None and command in _CHANGES_SHELL:
            self.variables, self.folder = {}, None
        return unread or why

    def _fields(self, statement: Statement) -> list[Field]:
        """The command's words after expansion; where they are more than any command has, one that isn't known."""
        fields: list[Field] = []
        size = 0
        for word in statement.words:
            found = expand(word, self.lookup)
            size += sum(len(part.text) for part in found)
            fields += found
            if len(fields) > MAX_WORDS or size > MAX_EXPANDED:
                return [Field(text="a command of so many words", unknown=("...",))]
        return fields

    def _assigned(self, statement: Statement) -> list[tuple[str, Field]]:
        """The assignments before a command; a value is never split."""
        found: list[tuple[str, Field]] = []
        for name, word in statement.assignments:
            value = Field(text="", unknown=("+=",)) if word is None else assigned_value(word, self.lookup)
            found.append((name, value))
        return found

    def _set(self, name: str, value: Field, chain: "_Chain") -> None:
        if name not in self.stage.variables:
            self.local.add(name)
        self.variables[name] = value_of(value)
        chain.changed(self, [name])

    def _builtin(self, name: str, fields: Sequence[Field], line: int, chain: "_Chain") -> str | None:
        """The commands that change what later ones of the same script see; why that can't be told, if it can't."""
        arguments = [word for word in fields[1:] if not word.text.startswith("-")]
        if name == "cd":
            known = arguments[0].known if len(arguments) == 1 else None
            self.folder = None if known is None or known == "-" else join(self.folder, known)
            chain.moved(self)
            return None
        for word in arguments:
            key, equals, value = word.text.partition("=")
            if _NAME.fullmatch(key) is None:
                self.variables = {}
                return "which variable it sets isn't known"
            if name == "unset":
                self._set(key, Field(text=""), chain)
            elif equals:
                judge_variable(key, word.text, line, self.findings)
                self._set(key, Field(text=value, unknown=word.unknown), chain)
            if name == "export":
                self.local.discard(key)
        return None

    def _redirects(self, statement: Statement, fields: Sequence[Field], line_of: Callable[[int], int]) -> str | None:
        """The files that a command's output goes to; why that can't be told, if it can't."""
        line = line_of(statement.start)
        why: str | None = None
        for redirect in statement.redirects:
            if ">" not in redirect.operator:
                continue
            text: bytes | None = None
            if redirect.operator == ">" and [word.text for word in fields] == ["cat"] and len(statement.heredocs) == 1:
                text = _literal(statement, line_of)
            targets = expand(redirect.target, self.lookup)
            if redirect.operator != ">&" or not all(word.text.isdigit() or word.text == "-" for word in targets):
                why = self._wrote(targets, line, text) or why
        return why

    def _wrote(
        self,
        targets: Sequence[Field],
        line: int,
        text: bytes | None = None,
        *,
        below: bool = True,
        folders: bool = False,
    ) -> str | None:
        """Keeps what a command writes; why that may change what later ones do, if it may.

        `folders` is whether a folder of any content may come to lie there. A text counts where nothing else can be there.
        """
        why: str | None = None
        for target in targets:
            path = self._path(target)
            if path in _SINKS:
                continue
            if not judge_configuration(target.text, line, self.findings):
                why = why or self._may_change(target.text, path, folders=folders)
            if text is not None and (path is None or self.layers.find(path) is not None):
                text = None
            if path is None:
                # the folder isn't known, but the name may be
                name = target.text.rpartition("/")[2]
                path = None if "$" in name or not name or target.pattern else f"?/{name}"
            self.stage.layers.append(Written(line=line, paths=(path,), text=text, below=below))
        return why

    def _may_change(self, text: str, path: str | None, *, folders: bool) -> str | None:
        """Why what is written to a path may change what later commands do, None where it doesn't."""
        command = text.rstrip("/").rpartition("/")[2]
        if is_installer(command):
            return f"it puts something else in the place of {command}"
        if path is None:
            return f"where it writes isn't known: {text[:60]!a}"
        searched = self.layers.searched
        if is_sensitive(path, searched) or (folders and may_hold_sensitive(path, searched)):
            return "it writes where programs or settings are looked for"
        return None

    def _path(self, word: Field) -> str | None:
        """The path in the stage that a word names, None where it isn't known."""
        return None if word.known is None or not word.text else join(self.folder, word.text)

    def _fed(self, fields: Sequence[Field], statement: Statement, line_of: Callable[[int], int]) -> str | None:
        """A shell that reads its script from a here-document."""
        heredoc = statement.heredocs[-1]
        if len(statement.heredocs) > 1 or any(not _SHELL_FLAG.fullmatch(word.text) for word in fields[1:]):
            return "the script that it is fed isn't read"
        if not heredoc.literal and any(mark in heredoc.text for mark in "$`\\"):
            return "the script that it is fed depends on variables"
        self._inner(heredoc.text, lambda place: line_of(heredoc.start + place), dict(self.variables))
        return None

    # --- commands ---

    def command(
        self,
        fields: Sequence[Field],
        line: int,
        shown: str,
        *,
        line_of: Callable[[int], int] | None = None,
        assigned: Sequence[tuple[str, Field]] = (),
        words_at: Callable[[int], int] | None = None,
    ) -> str | None:
        """Reads a command by its words; None when it is known what it installs, else why it isn't."""
        set_here = {key: value_of(value) for key, value in assigned}
        outer: dict[str, str | Missing] | None = self.variables
        for _ in range(MAX_WRAPPERS):
            wrapped = unwrapped(fields)
            if wrapped is None:
                break
            for key, word in wrapped.variables:
                judge_variable(key, word.text, line, self.findings)
            if wrapped.clears:
                outer, set_here = None, {}
            set_here |= {key: value_of(word, key) for key, word in wrapped.variables}
            fields = wrapped.words
            if name_of(fields[0]) in BUILTINS:
                self.variables, self.folder = {}, None
                return "what a wrapped cd, export or unset changes isn't read"
        name = name_of(fields[0])
        if name is None:
            return f"which command {fields[0].text[:40]} stands for isn't known"
        arguments = fields[1:]
        if "/" in fields[0].text and fields[0].text.rpartition("/")[0] not in PROGRAMS:
            path = self._path(fields[0])
            if path is None or self.layers.find(path) is not None:
                self._may_write(name, arguments, line)
                return "what the program does isn't read: it comes out of a COPY or another command"
        if name in _SHELLS:
            return self._shell(arguments, line, line_of, (outer or {}) | set_here)
        if name in INSTALLERS or is_installer(name):
            why = self._installer(name, arguments, self._install(line, shown, words_at))
        elif name in {".", "source"} and harmless(name, arguments):
            path = self._path(arguments[0])
            bare = "/" not in arguments[0].text
            why = None if bare or (path and self.layers.find(path) is None) else "what the script does isn't read"
        elif harmless(name, arguments):
            return self._writer(name, arguments, line) if name in WRITERS else None
        else:
            why = why_unread(name)
        if why is not None:
            self._may_write(name, arguments, line)
        return why

    def _install(self, line: int, shown: str, words_at: Callable[[int], int] | None) -> Install:
        return Install(
            findings=self.findings,
            line=line,
            text=self.note + shown,
            folder=self.folder,
            context=self.context,
            find=self.find,
            variable=self.lookup,
            channels=tuple(self.stage.channels),
            line_of=words_at,
        )

    def _shell(
        self,
        arguments: Sequence[Field],
        line: int,
        line_of: Callable[[int], int] | None,
        variables: dict[str, str | Missing],
    ) -> str | None:
        """A shell with a script in its arguments (`-c`); any other reads one that isn't read here."""
        place = 0
        while place < len(arguments) and arguments[place].text[:1] in {"-", "+"}:
            text = arguments[place].text
            place += 1
            if text.startswith("--"):
                if text not in {"--login", "--norc", "--noprofile", "--posix"}:
                    return "what the script does isn't read"
                continue
            if text[1:].endswith("o") and text != "-c":
                place += 1
            if "c" in text[1:]:
                break
        else:
            return "what the script does isn't read"
        # options may stand between -c and the script
        while place < len(arguments) and _SHELL_FLAG.fullmatch(arguments[place].text):
            place += 2 if arguments[place].text.endswith("o") else 1
        if place >= len(arguments) or arguments[place].known is None:
            return "the script that it runs depends on what isn't known"
        self._inner(arguments[place].text, (lambda _: line) if line_of is None else line_of, variables)
        return None

    def _inner(self, text: str, line_of: Callable[[int], int], variables: dict[str, str | Missing]) -> None:
        """A script that another shell runs: it sees what is exported, and changes nothing here."""
        before = self.variables, self.folder, self.local
        self.variables = {key: Missing.UNKNOWN if key in self.local else value for key, value in variables.items()}
        self.local = set()
        self.script(text, line_of)
        self.variables, self.folder, self.local = before

    def _installer(self, name: str, arguments: Sequence[Field], install: Install) -> str | None:
        if PYTHON.fullmatch(name):
            return self._python(arguments, install)
        if PIP.fullmatch(name):
            return pip(arguments, install)
        match name:
            case "uv":
                return uv(arguments, install)
            case "pipx":
                return pipx(arguments, install)
            case "conda" | "mamba" | "micromamba":
                if arguments and arguments[0].text == "config":
                    self.stage.channels += [(channel, install.line) for channel in configured_channels(arguments)]
                return conda(name, arguments, install)
            case "conda-lock":
                return conda_lock_install(arguments, install)
            case _:
                return why_unread(name)

    def _python(self, arguments: Sequence[Field], install: Install) -> str | None:
        """`python -m pip` and the like; scripts and programs of one line aren't read."""
        place = 0
        while place < len(arguments) and arguments[place].text in {"-u", "-I", "-s", "-E", "-B", "-O", "-q", "-P"}:
            place += 1
        texts = [word.text for word in arguments[place:]]
        rest = arguments[place + 2 :]
        match texts:
            case ["--version" | "-V" | "-VV"]:
                return None
            case ["-m", "pip" | "pip3", *_]:
                return pip(rest, install)
            case ["-m", "uv", *_]:
                return uv(rest, install)
            case ["-m", "pipx", *_]:
                return pipx(rest, install)
            case ["-m", "conda", *_]:
                return conda("conda", rest, install)
            case ["-m", "venv", *options] if all(_VENV.fullmatch(text) for text in options):
                return None
            case ["-m", "virtualenv", *_] if harmless("virtualenv", rest):
                return None
            case ["-m", "compileall", *_]:
                return None
            case ["-m", "ensurepip", *_]:
                return None
            case _:
                return "what the program installs is known only when it runs"

    def _may_write(self, name: str, arguments: Sequence[Field], line: int) -> None:
        """A command that isn't read may write every file that it names; some also what lies below a folder."""
        known = [word.text for word in arguments if word.known is not None]
        named = [text.partition("=")[2] if text.startswith("-") else text for text in known]
        named = [text for text in named if "://" not in text and text.strip("/")][:MAX_NAMED]
        # where the folder isn't known the name counts
        paths = tuple(join(self.folder, text) or f"?/{text.rstrip('/').rpartition('/')[2]}" for text in named)
        if paths:
            self.stage.layers.append(Written(line=line, paths=paths, below=name in _FETCHERS))

    def _writer(self, name: str, arguments: Sequence[Field], line: int) -> str | None:
        """A command that changes files: a path that it may have written is traced no further."""
        found = written(name, arguments)
        if found is None:
            self.stage.layers.append(Written(line=line, paths=(None,)))
            return "what it writes with these options isn't known"
        sources, targets = found
        if not sources:
            return self._wrote(targets, line)
        if name == "ln" and _same_program(sources, targets[0]):
            return None
        recursive = name == "mv" or any(set(word.text) & set("raR") for word in arguments if word.text.startswith("-"))
        named = [source for source in sources if source.known is not None]
        if targets[0].known is not None:
            # into a folder, or onto a file of that name
            folder = targets[0].text.rstrip("/")
            names = [source.text.rstrip("/").rpartition("/")[2] for source in named]
            targets = [*targets, *(Field(text=f"{folder}/{last}") for last in names)]
        folders = recursive or len(named) < len(sources)
        why = self._wrote(targets, line, below=folders or name == "ln", folders=folders and name != "ln")
        if name == "ln":
            self._linked(sources, targets, line)
        return why or next(
            (f"it takes {word.text} away" for word in named if name == "mv" and is_installer(word.text)), None
        )

    def _linked(self, sources: Sequence[Field], targets: Sequence[Field], line: int) -> None:
        """A file or folder with another name: what is written to one of them is in both from then on."""
        paths = [self._path(word) for word in (*sources, *targets)]
        for source, target in ((source, target) for source in sources for target in targets):
            # a link's text is seen from the folder that the link is in
            beside = self._path(target)
            if source.known is not None and not source.text.startswith("/") and beside is not None:
                paths.append(join(beside.rpartition("/")[0] or "/", source.text))
        self.stage.layers.append(Written(line=line, paths=tuple(paths), links=True))


def _same_program(sources: Sequence[Field], target: Field) -> bool:
    """Whether a link gives another version's name to the program itself (`python` to `python3.11`)."""
    names = [word.text.rpartition("/")[2] for word in (*sources, target)]
    folders = {word.text.rpartition("/")[0] for word in (*sources, target) if "/" in word.text}
    bare = {_VERSIONED.sub("", name) for name in names}
    return len(sources) == 1 and len(bare) == 1 and is_installer(names[0]) and folders <= PROGRAMS and bool(folders)


def _literal(statement: Statement, line_of: Callable[[int], int]) -> bytes | None:
    """A here-document's text, below as many lines as stand before it in the file; None where it isn't literal."""
    heredoc = statement.heredocs[0]
    if not heredoc.literal and any(mark in heredoc.text for mark in "$`\\"):
        return None
    return b"\n" * (line_of(heredoc.start) - 1) + heredoc.text.encode()


@dataclass(slots=True)
class _Chain:
    """Commands joined by `&&` and `||`: what a later one of them sets may not have happened when the chain is over."""

    place: int = 0
    after_or: bool = False
    names: set[str] = field(default_factory=set)
    has_moved: bool = False
    may_have_moved: bool = False

    def enter(self, operator: str, reader: _Run) -> None:
        """The next command, behind its operator."""
        if operator not in {"&&", "||", "|"}:
            self.leave(reader)
            return
        if operator == "||":
            # what is behind it runs where something before it didn't
            self._forget(reader)
            self.after_or = True
            reader.folder = None if self.has_moved else reader.folder
        self.place += operator != "|"

    def leave(self, reader: _Run) -> None:
        """The end of the chain."""
        self._forget(reader)
        if self.may_have_moved:
            reader.folder = None
        self.place, self.after_or, self.has_moved, self.may_have_moved = 0, False, False, False

    def _forget(self, reader: _Run) -> None:
        for name in self.names:
            reader.variables[name] = Missing.UNKNOWN
        self.names = set()

    def changed(self, reader: _Run, names: Sequence[str]) -> None:
        """Variables were set by the command that it is at."""
        if self.place:
            self.names |= set(names)
        if self.after_or:
            for name in names:
                reader.variables[name] = Missing.UNKNOWN

    def moved(self, reader: _Run) -> None:
        """The folder was changed by the command that it is at."""
        self.has_moved = True
        self.may_have_moved = self.may_have_moved or bool(self.place)
        if self.after_or:
            reader.folder = None
