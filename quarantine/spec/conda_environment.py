"""Conda's environment.yml: channels, match specs, and the `pip:` section with all that a requirements file can hold.

Nothing of it is obeyed: channels are names for the policy to find, what pip would do beyond installing named versions
becomes a directive. Keys that conda ignores are refused, except for those that only describe: a misspelt `dependencies`
asks for something that nobody installs.
"""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from quarantine.document import Document
from quarantine.errors import SpecError
from quarantine.model import (
    Channel,
    CondaSection,
    Directive,
    EnvironmentSpec,
    Location,
    LockedCondaPackage,
    MatchSpec,
    Needs,
    SourceFile,
)
from quarantine.spec import requirements
from quarantine.spec.documents import Step
from quarantine.spec.match_spec import channel_name, hide_token, parse_match_spec
from quarantine.spec.options import Effect, Option, effect
from quarantine.spec.redact import redact
from quarantine.spec.text import MAX_REQUIREMENTS, Problems, quote

__all__ = ["installed_by_pip", "pip_lines", "read", "read_at", "redirecting_variables", "redirects"]

Path = tuple[Step, ...]
MAX_CHANNELS = 64
_KNOWN = ("name", "channels", "dependencies", "variables", "prefix", "platforms", "category")
_DESCRIBE = frozenset({"description", "version", "tags", "author", "authors", "maintainers", "license", "$schema"})
_PIP_KEYS = frozenset({"pip", "pip_dependencies", "pip_requirements", "requirements", "pypi-dependencies"})
# conda puts the values of environment variables into channels; on Windows those of %NAME% too
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+|%\w+%", re.ASCII)
# settings of installers, beside pip's options, that change where a later installation takes packages from
_SETTINGS = frozenset(
    {
        "CONDARC", "CONDA_CHANNELS", "CONDA_CHANNEL_ALIAS", "CONDA_DEFAULT_CHANNELS", "PIP_CONFIG_FILE",
        "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_STRATEGY",
        "UV_INDEX_URL", "UV_INSECURE_HOST", "UV_OVERRIDE",
    }
)  # fmt: skip
_KEEPS_ORIGINS = frozenset({Effect.HARMLESS, Effect.HASH, Effect.REQUIRE_HASHES})
# a name that every tool takes; conda itself takes more
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_PINNED = re.compile(r"==[0-9a-z!._+-]+")


def read(path: str, files: Mapping[str, bytes], document: Document) -> EnvironmentSpec | Needs:
    """What a conda environment file and all that its `pip:` section includes ask for, or the files still needed.

    Raises SpecError with every problem of all files together.
    """
    return read_at(path, files, document, ())


def read_at(path: str, files: Mapping[str, bytes], document: Document, at: Path) -> EnvironmentSpec | Needs:
    """The same for a conda environment that stands inside another document (Azure ML's inline `conda_file`)."""
    value = _at(document, at)
    problems = Problems()
    if not isinstance(value, dict):
        problems.add(path, document.line(at), f"{_kind(value)} in the place of a conda environment: expected a mapping")
        raise problems.error()
    reader = _Reader(path, document, at, problems)
    reader.keys(value)
    channels = reader.channels(value.get("channels"))
    specs, pip = reader.dependencies(value)
    variables = redirecting_variables(path, document, (*at, "variables"), problems)
    name = value.get("name")
    lines = () if pip is None else pip_lines(path, document, pip, problems)
    answer = installed_by_pip(path, lines, files, problems)
    if isinstance(answer, Needs):
        return answer
    hashed = answer.locked is not None or not answer.requirements
    return msgspec.structs.replace(
        answer,
        format="conda-environment",
        name=name if isinstance(name, str) and _NAME.fullmatch(name) else "",
        conda=CondaSection(
            channels=channels,
            specs=specs,
            # without `nodefaults` conda adds channels of its own to those of the file
            locked=_locked(specs, channels) if hashed and _only_named(value.get("channels")) else None,
        ),
        directives=(*reader.directives, *variables, *answer.directives),
    )


def pip_lines(path: str, document: Document, at: Path, problems: Problems) -> Sequence[tuple[int, str]]:
    """The lines of a list of requirements with their numbers; what is no line is added to `problems`."""
    value = _at(document, at)
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.add(path, document.line(at), f"{_kind(value)} below `{at[-1]}`: expected a list of requirements")
        return ()
    lines: list[tuple[int, str]] = []
    for index, item in enumerate(value):
        line = document.line((*at, index))
        if not isinstance(item, str):
            problems.add(path, line, f"{_kind(item)} among the requirements: {_as_text(item)}")
        else:
            lines.append((line, item))
    return lines


def installed_by_pip(
    path: str, lines: Sequence[tuple[int, str]], files: Mapping[str, bytes], problems: Problems
) -> EnvironmentSpec | Needs:
    """What requirement lines of the file ask for, the file itself first among the sources, or the files still needed.

    Raises SpecError with these lines' problems and all that were found before them.
    """
    empty = EnvironmentSpec(file=path, format="requirements")
    try:
        answer = requirements.read_lines(path, lines, files) if lines else empty
    except SpecError as error:
        problems.extend(error)
        answer = empty
    if isinstance(answer, Needs):
        return answer
    problems.check()
    own = SourceFile(path=path, sha256=hashlib.sha256(files[path]).hexdigest())
    return msgspec.structs.replace(answer, sources=(own, *(source for source in answer.sources if source != own)))


def redirecting_variables(path: str, document: Document, at: Path, problems: Problems) -> tuple[Directive, ...]:
    """The environment variables of a mapping that an installer would obey, without their values; others do no harm."""
    value = _at(document, at)
    if not isinstance(value, dict):
        if value is not None:
            problems.add(path, document.line(at), f"{_kind(value)} as `{at[-1]}`: expected a mapping")
        return ()
    return tuple(
        Directive(
            option="environment-variable",
            text=f"{redact(name)[:100]} is set",
            location=Location(file=path, line=document.line((*at, name))),
        )
        for name in value
        if redirects(name)
    )


def redirects(variable: str) -> bool:
    """Whether an installer takes the variable for an option that the policy judges (pip: PIP_INDEX_URL)."""
    prefix, _, option = variable.partition("_")
    if prefix != "PIP" or variable in _SETTINGS:
        return variable in _SETTINGS
    try:
        return effect(Option(name=f"--{option.lower().replace('_', '-')}")) not in _KEEPS_ORIGINS
    except KeyError:
        return False


class _Reader:
    """Reads the parts of one environment, gathering problems."""

    __slots__ = ("_at", "_document", "_file", "_problems", "directives")

    def __init__(self, file: str, document: Document, at: Path, problems: Problems) -> None:
        self._file = file
        self._document = document
        self._at = at
        self._problems = problems
        self.directives: list[Directive] = []

    def keys(self, value: Mapping[str, object]) -> None:
        """Adds a problem for each key that conda does not know, unless it only describes."""
        for key in value:
            if key not in _KNOWN and key not in _DESCRIBE:
                self._problem((key,), _unknown(key))

    def channels(self, value: object) -> tuple[Channel, ...]:
        """The channels in the user's order, each once; `defaults` where none is named, as conda has it."""
        if value is None:
            value = []
        if not isinstance(value, list):
            self._problem(("channels",), f"{_kind(value)} as `channels`: expected a list, such as `- conda-forge`")
            return ()
        if len(value) > MAX_CHANNELS:
            self._problem(("channels",), f"{len(value)} channels: at most {MAX_CHANNELS} are read")
            return ()
        found: dict[str, Channel] = {}
        for index, item in enumerate(value):
            path = ("channels", index)
            channel = self._channel(path, item)
            if channel is not None and channel.name != "nodefaults":
                found.setdefault(channel.name, channel)
        if not value:
            return (Channel(name="defaults", location=self._location(("channels",))),)
        if not found and not self.directives and not self._problems:
            self._problem(("channels",), "no channel beside `nodefaults`: name the one to take packages from")
        return tuple(found.values())

    def _channel(self, path: Path, item: object) -> Channel | None:
        if not isinstance(item, str):
            self._problem(path, f"{_kind(item)} among the channels: expected a name such as conda-forge, or a URL")
            return None
        location = self._location(path)
        shown = hide_token(redact(item.strip()))
        if _VARIABLE.search(item):
            # conda would put the value there: which channel it is can't be known
            text = f"{', '.join(dict.fromkeys(_VARIABLE.findall(item)))} in the channel"
            self.directives.append(Directive(option="environment-variable", text=text, location=location))
            return None
        try:
            name = channel_name(item)
        except ValueError as error:
            self._problem(path, str(error))
            return None
        if shown != item.strip():
            self.directives.append(Directive(option="channel-credentials", text=shown, location=location))
        return Channel(name=name, location=location)

    def dependencies(self, value: Mapping[str, object]) -> tuple[tuple[MatchSpec, ...], Path | None]:
        """The specs, and the path of the `pip:` list where there is one; conda adds pip itself then."""
        items = value.get("dependencies")
        if "dependencies" not in value:
            self._problem((), "no `dependencies`: expected a conda environment with a list of packages")
            return (), None
        if not isinstance(items, list) or not items:
            self._problem(("dependencies",), f"{_kind(items)} as `dependencies`: expected a list of packages")
            return (), None
        if len(items) > MAX_REQUIREMENTS:
            self._problem(("dependencies",), f"{len(items)} dependencies: at most {MAX_REQUIREMENTS} are read")
            return (), None
        specs: list[MatchSpec] = []
        pip: Path | None = None
        for index, item in enumerate(items):
            path = ("dependencies", index)
            match item:
                case str():
                    specs.extend(self._spec(path, item))
                case {"pip": _} if len(item) == 1 and pip is None:
                    pip = (*self._at, *path, "pip")
                case {"pip": _} if len(item) == 1:
                    self._problem(path, "a second `pip:`, of which conda installs the last one only: write one list")
                case _:
                    self._problem(path, _no_spec(item))
        if pip is not None and not any(spec.name == "pip" for spec in specs):
            specs.append(MatchSpec(name="pip", location=Location(file=self._file, line=self._document.line(pip))))
        return tuple(specs), pip

    def _spec(self, path: Path, item: str) -> Iterator[MatchSpec]:
        try:
            yield parse_match_spec(item, self._location(path))
        except ValueError as error:
            self._problem(path, str(error))

    def _location(self, path: Path) -> Location:
        return Location(file=self._file, line=self._document.line((*self._at, *path)))

    def _problem(self, path: Path, message: str) -> None:
        self._problems.add(self._file, self._document.line((*self._at, *path)), message)


# --- locks ------------------------------------------------------------------------------------------------------------


def _only_named(channels: object) -> bool:
    return isinstance(channels, list) and "nodefaults" in channels


def _locked(specs: Sequence[MatchSpec], channels: Sequence[Channel]) -> tuple[LockedCondaPackage, ...] | None:
    """The packages of specs that are all exact by version, build and sha256, each name once; None for any others."""
    if not specs or len({spec.name for spec in specs}) < len(specs) or not all(map(_is_pinned, specs)):
        return None
    only = channels[0].name if len(channels) == 1 else None
    return tuple(
        LockedCondaPackage(
            name=spec.name,
            version=spec.version.removeprefix("=="),
            build=spec.build,
            platform=spec.subdir,
            channel=spec.channel or only,
            sha256=spec.sha256,
            md5=spec.md5 or None,
            location=spec.location,
        )
        for spec in specs
    )


def _is_pinned(spec: MatchSpec) -> bool:
    return (
        spec.reference is None
        and spec.sha256 is not None
        and spec.build != ""
        and "*" not in spec.build
        and _PINNED.fullmatch(spec.version) is not None
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _at(document: Document, at: Path) -> object:
    value = document.value
    for step in at:
        match value:
            case dict() if step in value:
                value = value[step]
            case list() if isinstance(step, int) and step < len(value):
                value = value[step]
            case _:
                return None
    return value


def _kind(value: object) -> str:
    """What a value is, to somebody who writes YAML."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return f"the text {quote(value)}"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return f"a mapping ({quote(next(iter(value)))}: ...)" if value else "an empty mapping"
        case _:
            return "a date"


def _as_text(value: object) -> str:
    if isinstance(value, dict) and value:
        return "write it as one text, with quotes if it holds ': '"
    return "write a name, with quotes around what YAML takes for something else"


def _no_spec(item: object) -> str:
    """What is wrong with an item of `dependencies` that is neither text nor `pip:`."""
    if isinstance(item, dict) and "pip" in item:
        return "keys beside `pip:`: give it an item of its own, and indent its list below it"
    if isinstance(item, dict) and item:
        name = next(iter(item))
        if name.startswith("sel("):
            return "a selector, which only mamba reads: write a file for each platform"
        return f"{_kind(item)} among the dependencies: expected text such as numpy=1.21, or `pip:` with a list"
    return f"{_kind(item)} among the dependencies: {_as_text(item)}"


def _unknown(key: str) -> str:
    """What to say of a key that conda ignores."""
    if key.lower() in _PIP_KEYS:
        return f"unknown key {quote(key)}, which conda ignores: `pip:` is an item of `dependencies`, with its list below it"
    near = difflib.get_close_matches(key[:40].lower(), _KNOWN, n=1, cutoff=0.75)
    hint = f"did you mean `{near[0]}`?" if near else f"expected {', '.join(_KNOWN)}"
    return f"unknown key {quote(key)}, which conda ignores: {hint}"
