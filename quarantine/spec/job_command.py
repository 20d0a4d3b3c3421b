"""Which commands of a job's script install packages, or run what they download, while the job runs.

The script is read as a Dockerfile's is, without running any of it. What a job does beside is its own business, so that
only commands that are known to install, or that may be anything, are told. Where reading ends (loops, functions,
substitutions) the text itself is searched for the names of installers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from quarantine.spec import shell
from quarantine.spec.dockerfile_commands import HARMLESS, harmless, unwrapped
from quarantine.spec.dockerfile_stage import PIP, PYTHON
from quarantine.spec.shell import Statement
from quarantine.spec.shell_words import Field, Missing, expand

__all__ = ["JobCommands", "read_command"]

INSTALLS = "it installs when the job runs, which a check before the build doesn't see"
ANYTHING = "which command runs in the job isn't known"
MAX_DEPTH = 6
MAX_WRAPPERS = 16
MAX_WORDS = 10_000
MAX_WITHIN = 16
MAX_FETCHES = 100

# what Azure ML fills in before a shell sees the script; a character that stands in no script keeps its place
_FILLED = "\ue000"
_EXPRESSION = re.compile(r"\$?\{\{[^{}]*\}\}|(?<!\$)\{[A-Za-z_][A-Za-z0-9_.-]*\}")
_OPTIONAL = re.compile(r"\$\[\[([^\[\]]*)\]\]")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.+-]+|\[")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_FETCHERS = frozenset({"curl", "wget", "aria2c", "git"})
_RUNNERS = _SHELLS | {
    ".",
    "source",
    "Rscript",
    "perl",
    "ruby",
    "node",
    "julia",
    "java",
    "torchrun",
    "accelerate",
    "deepspeed",
}
_PROGRAM = (".py", ".sh", ".bash", ".R", ".pl", ".rb", ".js", ".jl", ".jar")
_SYSTEM = frozenset({"apt", "apt-get", "aptitude", "apk", "yum", "dnf", "microdnf", "zypper", "dpkg"})
# installers -> the subcommands of them that install nothing; all others may
_IDLE: Mapping[str, frozenset[str]] = {
    "pip": frozenset({"list", "freeze", "show", "check", "cache", "debug", "help", "inspect", "hash", "index", "uninstall"}),
    "conda": frozenset(
        {"activate", "deactivate", "info", "list", "init", "search", "clean", "remove", "uninstall", "shell.bash", "export",
         "env list", "env export", "env remove", "config --show", "config --get"}
    ),
    "uv": frozenset({"version", "help", "cache", "tree", "pip list", "pip freeze", "pip show", "pip check", "pip tree"}),
    "pipx": frozenset({"list", "environment", "uninstall", "help"}),
    "uvx": frozenset(),
    "npx": frozenset(),
    "pip-sync": frozenset(),
    "easy_install": frozenset(),
}  # fmt: skip
_INSTALLING_VERBS = frozenset({"install", "download", "wheel"})
# programs that do much else -> the subcommands of them that install
_VERBS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("npm", "yarn", "pnpm"), frozenset({"install", "i", "ci", "add", "exec", "x", "dlx", "update", "upgrade"})),
    **dict.fromkeys(("poetry", "pipenv", "pdm", "rye"), frozenset({"install", "add", "update", "sync", "self", "lock"})),
    **dict.fromkeys(("pixi", "hatch"), frozenset({"install", "add", "update", "run", "shell", "global", "env", "exec"})),
    **dict.fromkeys(("gem", "brew", "snap", "spack", "conda-lock", "cpan", "cpanm"), frozenset({"install", "update"})),
    "rpm": frozenset({"-i", "-U", "-ivh", "-Uvh", "--install", "--upgrade"}),
    "cargo": frozenset({"install", "add"}),
    "go": frozenset({"install", "get"}),
    "piptools": frozenset({"sync"}),
}  # fmt: skip
_RUN_WITHIN = frozenset({"poetry", "pipenv", "pdm", "conda", "mamba", "micromamba"})
_MODULES = frozenset(
    {"pip", "pip3", "uv", "pipx", "conda", "easy_install", "piptools", "poetry", "pipenv", "pdm", "hatch"}
)
# where only the text can be searched
_TOOL = re.compile(
    r"(?<![\w-])(?:pip[0-9.]*|uv|pipx|conda|mamba|micromamba|poetry|pipenv|pdm|pixi|apt|apt-get|apk|dnf|yum|npm|yarn|gem)\b"
)
_VERB = re.compile(r"\b(?:install|download|add|create|update|sync|run)\b")
_AT_ONCE = re.compile(r"(?<![\w-])(?:uvx|npx|easy_install|pip-sync)\b|\binstall[._]packages\b")
_FETCH = re.compile(r"(?<![\w-])(?:curl|wget|urlopen|urlretrieve|git\s+clone)\b")
_RUN = re.compile(r"(?<![\w.-])(?:(?:ba|da|z|a)?sh|python[0-9.]*|source|eval|exec)\b|(?:^|[\s;&|(])\.\s|\bchmod\b")


class JobCommands(msgspec.Struct, frozen=True):
    """What a script does to a job's environment: commands with the reason to tell them, and the variables it sets."""

    commands: tuple[tuple[str, str], ...]
    variables: tuple[str, ...]


def read_command(text: str) -> JobCommands:
    """The commands of a job's script that install, download and run, or may do either, in their order."""
    reader = _Reader()
    reader.script(_filled(text), text)
    told = dict.fromkeys((shown, why) for _, shown, why in sorted(reader.told, key=lambda entry: entry[0]))
    return JobCommands(tuple(told), tuple(dict.fromkeys(reader.variables)))


def _filled(text: str) -> str:
    """The script with a word in the place of each expression, as long as that is."""
    text = _EXPRESSION.sub(lambda found: _FILLED * len(found[0]), text.replace(_FILLED, "?"))
    return _OPTIONAL.sub(lambda found: f"   {found[1]}  ", text)


class _Fetch(msgspec.Struct):
    """A command that downloads, and the names of what may come of it."""

    place: int
    shown: str
    names: frozenset[str]
    entered: bool = False


class _Reader:
    """Reads the commands of one script and of those within it; used once."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, str]] = []
        self.variables: list[str] = []
        self.fetches: list[_Fetch] = []
        self.depth = 0

    def script(self, text: str, original: str, at: int | None = None) -> None:
        """Every pipeline of a script; `at` is the place of the command that holds it, if one does."""
        if self.depth >= MAX_DEPTH:
            self._tell(at or 0, original, "scripts in scripts, too deep to be read")
            return
        self.depth += 1
        script = shell.parse(text)
        pipeline: list[Statement] = []
        for place, statement in enumerate(script.statements):
            pipeline.append(statement)
            following = script.statements[place + 1].operator if place + 1 < len(script.statements) else ";"
            if following != "|":
                self._pipeline(pipeline, text, original, at)
                pipeline = []
        if script.rest is not None:
            # those that were read behind it are told already
            rest = max(script.rest, script.statements[-1].end if script.statements else 0)
            if _may_install(text[rest:]):
                self._tell(rest if at is None else at, original[rest:], INSTALLS)
        self.depth -= 1

    def _tell(self, place: int, shown: str, why: str) -> None:
        self.told.append((place, re.sub(f"{_FILLED}+", "${{...}}", shown).strip(), why))

    def _pipeline(self, statements: Sequence[Statement], text: str, original: str, at: int | None) -> None:
        start, end = statements[0].start, statements[-1].end
        place = start if at is None else at
        whole = "\n".join([text[start:end], *(doc.text for found in statements for doc in found.heredocs)])
        reasons = [self._statement(found, original, place) for found in statements]
        why = next((reason for reason in reasons if reason is not None), None)
        if why is None and any(statement.substitutes for statement in statements) and _may_install(whole):
            why = INSTALLS
        if why is None and len(statements) > 1 and _feeds(statements) and (_FETCH.search(whole) or _may_install(whole)):
            why = INSTALLS
        if why is not None:
            self._tell(place, original[start:end], why)

    def _statement(self, statement: Statement, original: str, place: int) -> str | None:
        """Why a command of a pipeline is to be told, None where it isn't."""
        self.variables += [name for name, _ in statement.assignments]
        fields: list[Field] = []
        for word in statement.words:
            fields += expand(word, _unknown)
            if len(fields) > MAX_WORDS:
                return ANYTHING
        if not fields:
            return None
        name = _name(fields[0])
        if name == "export":
            self.variables += [word.text.partition("=")[0] for word in fields[1:] if "=" in word.text]
        if name in _SHELLS:
            for heredoc in statement.heredocs:
                self.script(heredoc.text, heredoc.text, place)
        elif (
            name is not None and PYTHON.fullmatch(name) and any(_code_installs(doc.text) for doc in statement.heredocs)
        ):
            return INSTALLS
        shown = original[statement.start : statement.end]
        redirected = [word for found in statement.redirects for word in expand(found.target, _unknown)]
        return self._command(fields, redirected, shown, place)

    def _command(
        self, fields: Sequence[Field], redirected: Sequence[Field], shown: str, place: int, *, inner: bool = False
    ) -> str | None:
        """Why a command is to be told by its words; those of one within another (`inner`) are looked at once only."""
        for _ in range(MAX_WRAPPERS):
            wrapped = unwrapped(fields)
            if wrapped is None:
                break
            self.variables += [key for key, _ in wrapped.variables]
            fields = wrapped.words
        name, arguments = _name(fields[0]), fields[1:]
        if name is None:
            return ANYTHING
        if name in _FETCHERS:
            if len(self.fetches) >= MAX_FETCHES:
                return "whether a later command runs one of so many downloads isn't known"
            self.fetches.append(_Fetch(place, shown, frozenset(_fetched(name, [*arguments, *redirected]))))
            return None
        if name == "cd":
            self._enter(arguments)
        if name == "eval":
            return self._inner(" ".join(word.text for word in arguments), place)
        if name in _SHELLS and (script := _script(arguments)) is not None:
            return self._inner(script.text, place)
        if name in HARMLESS and not _is_path(fields[0]):
            return None
        self._runs(name, fields)
        if PYTHON.fullmatch(name):
            return _python(arguments)
        if _installs(name, arguments):
            return INSTALLS
        if not inner and name not in _SHELLS:
            return self._within(arguments, shown, place)
        return None

    def _within(self, words: Sequence[Field], shown: str, place: int) -> str | None:
        """The same for a command among the words of another, which may run it (`xargs pip install`)."""
        places = (number for number, word in enumerate(words) if _may_run(_name(word)))
        for number in islice(places, MAX_WITHIN):
            why = self._command(words[number:], (), shown, place, inner=True)
            if why is not None:
                return why
        return None

    def _inner(self, script: str, place: int) -> str | None:
        """Reads a script that is an argument; its commands are told by themselves."""
        self.script(script, script, place)
        return None

    # --- what is downloaded -------------------------------------------------------------------------------------------

    def _enter(self, arguments: Sequence[Field]) -> None:
        segments = {segment for word in arguments for segment in word.text.split("/")}
        for fetch in self.fetches:
            fetch.entered = fetch.entered or bool(segments & fetch.names)

    def _runs(self, name: str, fields: Sequence[Field]) -> None:
        """Tells the downloads that a command runs, by the names in its path or in that of its script."""
        paths = [fields[0].text]
        if name in _RUNNERS or PYTHON.fullmatch(name):
            arguments = [word.text for word in fields[1:]]
            paths += [text for text in arguments if text.endswith(_PROGRAM)]
            paths += [text for text in arguments if not text.startswith("-")][:1]
        segments = {segment for path in paths for segment in path.split("/")}
        for fetch in [fetch for fetch in self.fetches if fetch.entered or segments & fetch.names]:
            self._tell(fetch.place, fetch.shown, INSTALLS)
            self.fetches.remove(fetch)


def _unknown(_: str) -> Missing:
    return Missing.UNKNOWN


# --- words ------------------------------------------------------------------------------------------------------------


def _name(word: Field) -> str | None:
    """The name of a command, whatever folder it is in; None where it isn't known."""
    last = word.text.rpartition("/")[2]
    if word.known is not None and _FILLED not in last:
        return last
    return last if _PLAIN_NAME.fullmatch(last) else None


def _is_path(word: Field) -> bool:
    return "/" in word.text and not word.text.startswith(("/bin/", "/usr/bin/", "/usr/sbin/", "/sbin/"))


def _may_run(name: str | None) -> bool:
    """Whether a command of that name is worth a look where it isn't the first word."""
    return name is not None and (_is_installer(name) or name in _SHELLS or PYTHON.fullmatch(name) is not None)


def _is_installer(name: str) -> bool:
    return (
        PIP.fullmatch(name) is not None or name in {"mamba", "micromamba"} or name in (_IDLE.keys() | _VERBS | _SYSTEM)
    )


def _subcommands(words: Sequence[Field]) -> Iterator[str]:
    """The first word that is no option, and both it and the next; "?" stands for one that isn't known."""
    texts = ["?" if word.known is None or _FILLED in word.text else word.text for word in words]
    place = next((place for place, text in enumerate(texts) if not text.startswith("-")), None)
    if place is not None:
        yield texts[place]
        yield " ".join(texts[place : place + 2])


def _installs(name: str, words: Sequence[Field]) -> bool:
    """Whether an installer's words make it install, or can't be told not to."""
    if PIP.fullmatch(name):
        name = "pip"
    elif name in {"mamba", "micromamba"}:
        name = "conda"
    if name in {"R", "Rscript"}:
        return any("install" in word.text and "(" in word.text for word in words)
    if name in _SYSTEM:
        return bool(words) and not harmless(name, words)
    found = list(_subcommands(words))
    if name in _VERBS:
        if name in _RUN_WITHIN and found[:1] == ["run"]:
            return False
        return (name == "yarn" and not words) or any(word.text in _VERBS[name] for word in words[:4])
    if name not in _IDLE or (name in _RUN_WITHIN and found[:1] == ["run"]):
        return False
    if not found:
        return False
    return _IDLE[name].isdisjoint(found) or (name == "pip" and any(word.text in _INSTALLING_VERBS for word in words))


def _python(words: Sequence[Field]) -> str | None:
    """Why a call of Python is to be told: a module that installs, or code that does; scripts are the job's own."""
    place = 0
    while place < len(words) and words[place].text.startswith("-") and words[place].text != "-":
        text = words[place].text
        place += 1
        letter = next((number for number, one in enumerate(text) if one in "cmWX"), None)
        if text.startswith("--") or letter is None:
            continue
        value = text[letter + 1 :]
        if not value:
            value = words[place].text if place < len(words) else ""
            place += 1
        if text[letter] == "c":
            return INSTALLS if _code_installs(value) else None
        if text[letter] == "m":
            module = value.partition(".")[0]
            if _FILLED in module or "$" in module:
                return ANYTHING
            return INSTALLS if module in _MODULES and _installs(module, words[place:]) else None
    script = words[place].text.rpartition("/")[2] if place < len(words) else ""
    if script == "setup.py" and any(word.text in {"install", "develop"} for word in words[place:]):
        return INSTALLS
    return INSTALLS if script == "get-pip.py" else None


def _script(words: Sequence[Field]) -> Field | None:
    """The script behind a shell's `-c`, None where there is none."""
    flagged = False
    for word in words:
        if word.text[:1] in {"-", "+"} and len(word.text) > 1:
            flagged = flagged or (not word.text.startswith("--") and "c" in word.text)
        elif flagged:
            return word
        elif word.text not in {"pipefail", "errexit", "nounset", "xtrace"}:
            return None
    return None


def _fetched(name: str, words: Sequence[Field]) -> Iterator[str]:
    """The names under which what is downloaded may come to lie."""
    if name == "git" and not any(word.text in {"clone", "pull", "fetch", "checkout", "submodule"} for word in words):
        return
    for word in words:
        text = word.text.partition("=")[2] if word.text.startswith("--") else word.text
        last = text.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".git")
        if last and not last.startswith("-") and last not in {".", ".."}:
            yield last


# --- text -------------------------------------------------------------------------------------------------------------


def _feeds(statements: Sequence[Statement]) -> bool:
    """Whether a pipeline ends in, or goes through, something that runs what it is given."""
    names = []
    for statement in statements[1:]:
        fields = [field for word in statement.words for field in expand(word, _unknown)]
        for _ in range(MAX_WRAPPERS):
            wrapped = unwrapped(fields)
            if wrapped is None:
                break
            fields = list(wrapped.words)
        names.append(_name(fields[0]) if fields else None)
    return any(name is None or name in _RUNNERS or PYTHON.fullmatch(name) or name == "sudo" for name in names)


def _may_install(text: str) -> bool:
    """Whether a text that isn't read as commands names an installer, or a download and something that runs it."""
    tool = _TOOL.search(text)
    if tool is not None and _VERB.search(text, tool.end()):
        return True
    return _AT_ONCE.search(text) is not None or (_FETCH.search(text) is not None and _RUN.search(text) is not None)


def _code_installs(text: str) -> bool:
    """The same for Python code."""
    return _may_install(text) or re.search(r"\bensurepip\b", text) is not None
