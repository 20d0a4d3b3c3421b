"""Dockerfiles, with BuildKit's own parser: the images that they build upon, and what their lines install.

- Variables have the values that the file gives them: defaults of ARG, and ENV. A global ARG is seen by FROM alone until a
  stage declares it again; a stage that builds on another has its variables, files and folder.
- Every image is named: by FROM, COPY --from, RUN --mount and the `# syntax` line. A stage's name or number is no image.
- What RUN installs is read from its commands (`dockerfile_run`). What only a build can tell is listed as unverifiable.

Source: the Dockerfile reference, and the parser that the library `dockerfile` wraps.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import msgspec

from quarantine.model import EnvironmentSpec, Needs, SourceFile
from quarantine.spec import shell
from quarantine.spec.dockerfile_files import Copied, join, source_in_context
from quarantine.spec.dockerfile_findings import Findings
from quarantine.spec.dockerfile_parse import HEREDOC, Heredoc, Instruction, Lines, Source
from quarantine.spec.dockerfile_run import run
from quarantine.spec.dockerfile_stage import Stage, is_installer, judge_configuration, judge_variable, value_of
from quarantine.spec.image import parse_image
from quarantine.spec.paths import is_remote
from quarantine.spec.shell_words import Field, Missing
from quarantine.spec.text import decode, quote

__all__ = ["read"]

MAX_BYTES = 512 * 1024
MAX_COUNT = 1000
_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")
_INSTALLS = re.compile(
    r"\b(?:pip[0-9.]*|uv|pipx|conda|mamba|micromamba|poetry|apt|apt-get|apk|dnf|yum|npm)\b.*\b(?:install|add|create)\b|\buvx\b",
    re.DOTALL,
)
_VARIABLE = re.compile(r"[^=\s]+")
_FRONTENDS = frozenset({"docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"})
_PLATFORM_ARGUMENTS = frozenset(
    f"{who}{what}" for who in ("TARGET", "BUILD") for what in ("PLATFORM", "OS", "ARCH", "VARIANT")
)
_PLATFORM = re.compile(r"[a-z0-9]+(?:/[a-z0-9]+){0,2}")
_INSTALL_NOTHING = frozenset(
    {"CMD", "ENTRYPOINT", "EXPOSE", "LABEL", "USER", "VOLUME", "HEALTHCHECK", "STOPSIGNAL", "MAINTAINER"}
)
_KNOWN = _INSTALL_NOTHING | {"ADD", "ARG", "COPY", "ENV", "FROM", "ONBUILD", "RUN", "SHELL", "WORKDIR"}
_COPY_FLAGS = frozenset({"--from", "--chown", "--chmod", "--link", "--checksum", "--keep-git-dir", "--unpack"})


def read(path: str, files: Mapping[str, bytes], context: str) -> EnvironmentSpec | Needs:
    """What a Dockerfile asks for, each installing line a part of its own; or the files of the context still needed.

    `context` is the folder of the build context, relative to the root ("" for the root itself). Raises SpecError with
    every problem of the file and of those that its lines read.
    """
    data = files[path]
    text = decode(path, data, MAX_BYTES)
    findings = Findings(file=path, files=files)
    source = SourceFile(path=path, sha256=hashlib.sha256(data).hexdigest())
    findings.sources[source] = None
    _Reader(findings, Source(path, text), context.strip("/")).read()
    findings.problems.check()
    if findings.needed:
        return Needs(tuple(findings.needed), wanted_by=tuple(findings.needed.values()))
    return EnvironmentSpec(
        file=path,
        format="dockerfile",
        directives=tuple(findings.directives),
        images=tuple(findings.images),
        parts=tuple(findings.parts),
        unverifiable=tuple(findings.unverifiable),
        sources=tuple(findings.sources),
    )


class _Reader:
    """Reads the instructions in their order; used once."""

    def __init__(self, findings: Findings, source: Source, context: str) -> None:
        self.findings = findings
        self.source = source
        self.context = context
        self.stages: list[Stage] = []
        self.names: dict[str, int] = {}
        self.later: frozenset[str] = frozenset()
        self.globals: dict[str, str | Missing] = dict.fromkeys(_PLATFORM_ARGUMENTS, Missing.UNKNOWN)
        self.note = ""

    def read(self) -> None:
        """Everything that the file says."""
        self._syntax()
        commands = self.source.instructions
        self.later = frozenset(
            c.value[2].lower() for c in commands if c.cmd and c.cmd.upper() == "FROM" and len(c.value) == 3
        )
        for command in commands:
            name = (command.cmd or "").upper()
            if name not in _KNOWN:
                self._unknown(command)
            elif not self.stages and name not in {"FROM", "ARG"}:
                self._problem(command, f"{name} before the first FROM: only ARG may stand there")
            else:
                self._instruction(name, command)
            if self.findings.full:
                self._problem(command, "more commands than a Dockerfile has")
                break
        if not self.stages and not self.findings.problems:
            self.findings.problems.add(
                self.findings.file, None, "no FROM: a Dockerfile builds upon an image, or scratch"
            )

    def _problem(self, command: Instruction, message: str) -> None:
        self.findings.problem(command.start_line, message)

    def _unknown(self, command: Instruction) -> None:
        near = get_close_matches((command.cmd or "").upper()[:32], sorted(_KNOWN), n=1)
        advice = f": did you mean {near[0]}?" if near else ": expected FROM, RUN, COPY or another one of Docker's"
        self._problem(command, f"{quote(command.cmd or '')} is no instruction of a Dockerfile{advice}")

    def _syntax(self) -> None:
        """The image of the program that reads the file, where it names one."""
        if self.source.syntax is None:
            return
        text, line = self.source.syntax
        self._image(text, line, "# syntax")
        if self.findings.images and self.findings.images[-1].name not in _FRONTENDS:
            why = "another program than Docker's reads the file then: remove the line, or have the curators list its image"
            self.findings.unread(line, f"# syntax={text}", why)

    def _instruction(self, name: str, command: Instruction) -> None:
        if command.heredocs and self.source.lines_as_instructions(command, _KNOWN):
            why = "a builder without here-documents takes its lines for instructions"
            self.findings.unread(command.start_line, command.original, why)
        try:
            match name:
                case "FROM":
                    self._from(command)
                case "ARG":
                    self._arg(command)
                case "ENV":
                    self._env(command)
                case "WORKDIR":
                    self._workdir(command)
                case "COPY" | "ADD":
                    self._copy(name, command)
                case "RUN":
                    self._run(command)
                case "SHELL":
                    self._shell(command)
                case "ONBUILD":
                    self._onbuild(command)
                case "CMD" | "ENTRYPOINT" | "HEALTHCHECK" if _INSTALLS.search(" ".join(command.value)):
                    self.findings.unread(command.start_line, command.original, "it installs when the container runs")
                case _:
                    pass
        except ValueError as error:
            self._problem(command, f"{name}: {error}")

    def _expand(self, text: str) -> Field:
        """A word of an instruction with the variables of the stage in it."""
        return shell.docker_text(text, self.stages[-1].lookup, self.source.escape)

    # --- images ---

    def _image(self, text: str, line: int, role: str, platform: str | None = None) -> None:
        if (found := _PLACEHOLDER.search(text)) is not None:
            why = f"the placeholder {found[0][:60]} isn't filled in: name the image with its tag"
            self.findings.unread(line, f"{role} {text}", why)
            return
        try:
            image = parse_image(text, self.findings.at(line), role)
        except ValueError as error:
            name, at, _ = text.partition("@")
            # what stands behind an "@" and is no digest may be a secret
            why = "behind '@' stands no digest" if at else str(error)
            self.findings.unread(line, f"{role} {name}{'@***' if at else ''}", why)
            return
        self.findings.images.append(msgspec.structs.replace(image, platform=platform))

    def _from(self, command: Instruction) -> None:
        words = command.value
        if len(words) not in {1, 3} or (len(words) == 3 and words[1].upper() != "AS"):
            self._problem(command, "FROM expects IMAGE, or IMAGE AS NAME")
            words = words[:1] or ("scratch",)
        name = words[2].lower() if len(words) == 3 else ""
        if name and _STAGE.fullmatch(name) is None:
            self._problem(
                command, f"{quote(words[2])} is not the name of a stage: expected letters, digits, '_', '.', '-'"
            )
        flags = dict(flag.partition("=")[::2] for flag in command.flags)
        for flag in flags.keys() - {"--platform"}:
            self._problem(command, f"unknown flag {quote(flag)} of FROM")
        base = shell.docker_text(words[0], self._global, self.source.escape)
        platform = shell.docker_text(flags.get("--platform", ""), self._global, self.source.escape)
        stage = self._stage_of(name, base, command.start_line, platform.known)
        if name:
            self.names[name] = len(self.stages)
        self.stages.append(stage)

    def _global(self, name: str) -> str | Missing:
        return self.globals.get(name, Missing.UNSET)

    def _stage_of(self, name: str, base: Field, line: int, platform: str | None) -> Stage:
        """The new stage on its base: an earlier stage, nothing, or an image."""
        if base.unknown:
            names = ", ".join(f"${unknown}" for unknown in base.unknown)
            why = f"nothing in the file says what {names} is, so that its image is known only to the build"
            self.findings.unread(line, f"FROM {base.text}", why)
        elif base.text.lower() in self.names:
            return self.stages[self.names[base.text.lower()]].child(name)
        elif base.text == "scratch":
            return Stage(name=name, folder="/")
        else:
            platform = platform if platform and _PLATFORM.fullmatch(platform) else None
            self._image(base.text, line, "FROM", platform)
        # which folder an image works in isn't known: it has a mark for a name
        return Stage(name=name, folder=f"base{len(self.stages)}/")

    def _source_stage(self, text: str, line: int, role: str) -> int | None:
        """The number of the stage that a `from` names, None for an image, which is kept."""
        if "$" in text:
            self.findings.unread(line, f"{role}={text}", "variables aren't replaced there: name a stage or an image")
            return None
        if text.isdecimal() and text.isascii():
            if int(text[:6]) < len(self.stages) - 1:
                return int(text)
            self.findings.problem(line, f"{role}={text[:20]}: there is no earlier stage of that number")
            return None
        number = self.names.get(text.lower())
        if number is not None and number < len(self.stages) - 1:
            return number
        if text.lower() in self.later:
            why = "it names no earlier stage but a later one, or itself, of which builders make different things"
            self.findings.unread(line, f"{role}={text}", why)
        else:
            self._image(text, line, role)
        return None

    # --- variables ---

    def _arg(self, command: Instruction) -> None:
        stage = self.stages[-1] if self.stages else None
        if not command.value:
            self._problem(command, "ARG without a name")
        for word in command.value:
            name, equals, text = word.partition("=")
            lookup = self._global if stage is None else stage.lookup
            if "$" in name:
                self._unnamed(command, word)
                continue
            key = shell.docker_text(name, lookup, self.source.escape).text
            if not key or _VARIABLE.fullmatch(key) is None:
                self._problem(command, f"{quote(name)} is not the name of a variable" if name else "ARG without a name")
                continue
            value: str | Missing
            if equals:
                found = shell.docker_text(text, lookup, self.source.escape)
                value = value_of(found)
                told = found.text
            else:
                value = self.globals.get(key, Missing.UNSET)
                told = value if isinstance(value, str) else "..."
            if stage is not None and value is not Missing.UNSET:
                judge_variable(key, f"{key}={told}", command.start_line, self.findings)
            if stage is None:
                self.globals[key] = value
            else:
                self._limit(command, len(stage.variables), "variables")
                self._declare(stage, key, value, given=bool(equals) or isinstance(value, str))

    def _declare(self, stage: Stage, name: str, value: str | Missing, *, given: bool) -> None:
        """Keeps an ARG of a stage.

        ENV overrides it by the reference, while builders take the later one: what both agree on is known.
        """
        before = stage.variables.get(name, Missing.UNSET)
        # one without a value is what it was before, or not set at all: builders differ
        doubtful = given if name in stage.environment else value is Missing.UNSET
        if doubtful and before != value:
            stage.variables[name] = Missing.UNKNOWN
        elif name not in stage.environment:
            stage.variables[name] = value

    def _unnamed(self, command: Instruction, word: str) -> None:
        self.findings.unread(command.start_line, f"{command.cmd} {word}", "which variable it sets isn't known")

    def _env(self, command: Instruction) -> None:
        stage = self.stages[-1]
        found: dict[str, Field] = {}
        for name, text in zip(command.value[::2], command.value[1::2], strict=False):
            # all values of a line are told before any of them counts
            if "$" in name:
                self._unnamed(command, f"{name}={text}")
            else:
                found[self._expand(name).text] = self._expand(text)
        for name, value in found.items():
            if not name:
                self._problem(command, "ENV without a name")
                continue
            judge_variable(name, f"{name}={value.text}", command.start_line, self.findings)
            stage.variables[name] = value_of(value)
            stage.environment.add(name)
        self._limit(command, len(stage.variables), "variables")

    def _limit(self, command: Instruction, count: int, what: str) -> None:
        """Nothing, raising SpecError for more of something than any Dockerfile has."""
        if count > MAX_COUNT:
            self._problem(command, f"more than {MAX_COUNT} {what}")
            raise self.findings.problems.error()

    def _workdir(self, command: Instruction) -> None:
        stage = self.stages[-1]
        if not command.value or not command.value[0].strip():
            self._problem(command, "WORKDIR without a folder")
            return
        found = self._expand(command.value[0].strip())
        # a folder that isn't known has a mark for a name, of which each line has another
        stage.folder = f"line{command.start_line}/" if found.unknown else join(stage.folder, found.text)

    def _shell(self, command: Instruction) -> None:
        if not command.json or not command.value:
            self._problem(command, 'SHELL expects a list, such as ["/bin/bash", "-c"]')
        else:
            self.stages[-1].shell = tuple(command.value)

    # --- files ---

    def _copy(self, name: str, command: Instruction) -> None:
        line = command.start_line
        flags = dict(flag.partition("=")[::2] for flag in command.flags)
        heredocs = iter(command.heredocs)
        if len(command.value) < 2:
            self._problem(command, f"{name} expects a source and a destination")
            return
        words = [self._expand(word) for word in command.value]
        target = words[-1]
        why = next((f"{flag} of line {line} isn't followed" for flag in sorted(flags.keys() - _COPY_FLAGS)), "")
        stage: int | None = None
        if "--from" in flags:
            stage = self._source_stage(flags["--from"], line, f"{name} --from")
            why = why or ("" if stage is not None else f"it comes out of the image that line {line} names")
        destination = None if target.unknown else join(self.stages[-1].folder, target.text)
        folder = target.text.endswith(("/", "/.")) or target.text in {".", ".."} or len(words) > 2
        configures = not target.unknown and judge_configuration(target.text, line, self.findings)
        copied = Copied(
            line=line, destination=destination, is_folder=folder, stage=stage, unpacks=name == "ADD", why=why
        )
        self._limit(command, len(words) + len(self.stages[-1].layers), "files and folders to copy")
        for raw, word in zip(command.value[:-1], words[:-1], strict=True):
            if not configures and "<<" not in raw:
                judge_configuration(word.text, line, self.findings)
            self._source(name, command, raw, word, copied, heredocs, flags)

    def _source(
        self,
        name: str,
        command: Instruction,
        raw: str,
        word: Field,
        copied: Copied,
        heredocs: Iterator[Heredoc],
        flags: Mapping[str, str],
    ) -> None:
        """One source of a COPY or an ADD."""
        layers = self.stages[-1].layers
        line = command.start_line
        if raw.lstrip("0123456789").startswith("<<"):
            layers.append(self._heredoc(command, raw, next(heredocs, None), copied))
            return
        command_name = (word.text if copied.is_folder else copied.destination or "").rpartition("/")[2]
        if is_installer(command_name) and "--from" not in flags:
            self.findings.unread(line, command.original, f"it puts something else in the place of {command_name}")
        if name == "ADD" and (is_remote(word.text) or word.text.startswith(("git@", "git:"))):
            checked = f" with {flags['--checksum'][:80]}" if "--checksum" in flags else ""
            self.findings.directive(line, "remote-add", f"{word.text}{checked}")
            file = word.text.partition("?")[0].partition("#")[0].rpartition("/")[2]
            remote = f"line {line} fetches it from elsewhere"
            layers.append(
                msgspec.structs.replace(copied, sources=(file if not file.endswith(".git") else "",), why=remote)
            )
        elif word.unknown:
            if name == "ADD":
                self.findings.unread(line, command.original, "whether it adds a file or a download isn't known")
            unknown = ", ".join(f"${part}" for part in word.unknown)
            layers.append(msgspec.structs.replace(copied, sources=("",), why=f"{unknown} in line {line} isn't known"))
        else:
            layers.append(msgspec.structs.replace(copied, sources=(word.text,)))

    def _heredoc(self, command: Instruction, raw: str, heredoc: Heredoc | None, copied: Copied) -> Copied:
        """A file whose text stands in the instruction."""
        found = HEREDOC.fullmatch(raw)
        if found is None or heredoc is None:
            return msgspec.structs.replace(
                copied, sources=("",), why=f"{raw[:60]} of line {command.start_line} isn't read"
            )
        name, text = heredoc.name, heredoc.content
        if found[1]:
            text = re.sub(r"(?m)^\t+", "", text)
        literal = "'" in raw or '"' in raw
        if not literal and ("$" in text or self.source.escape in text):
            return msgspec.structs.replace(
                copied, sources=(name,), why=f"the text of line {command.start_line} has variables"
            )
        # the last of them ends at the instruction's last line
        place = next(place for place, document in enumerate(command.heredocs) if document is heredoc)
        after = sum(document.content.count("\n") + 1 for document in command.heredocs[place:])
        return msgspec.structs.replace(copied, sources=(name,), text=b"\n" * (command.end_line - after) + text.encode())

    def _mount(self, flag: str, line: int) -> Copied | None:
        """What a RUN --mount puts before its command, None for what holds no files."""
        fields = dict(part.partition("=")[::2] for part in flag.partition("=")[2].split(","))
        fields = {key.lower(): value for key, value in fields.items()}
        kind = fields.get("type", "bind")
        target = next((fields[key] for key in ("target", "dst", "destination") if key in fields), "")
        stage: int | None = None
        why = ""
        if "from" in fields:
            stage = self._source_stage(fields["from"].strip("\"'"), line, "RUN --mount from")
            why = "" if stage is not None else f"it comes out of the image that line {line} mounts"
        if kind in {"ssh", "tmpfs"}:
            return None
        if kind == "secret":
            target = target or f"/run/secrets/{fields.get('id', '')}"
            judge_configuration(target, line, self.findings)
        if kind != "bind":
            why = f"a mount of type {kind[:20]} in line {line} is known only to the build"
        place, source = self._expand(target), self._expand(fields.get("source", fields.get("src", "")))
        if source.unknown:
            why = f"the source of the mount in line {line} isn't known"
        destination = None if place.unknown else join(self.stages[-1].folder, place.text)
        judge_configuration(place.text, line, self.findings)
        # a mount's source lies at its target itself, be it a file or a folder
        sources = (source_in_context(source.text),) if kind == "bind" else ("",)
        return Copied(line=line, sources=sources, destination=destination, stage=stage, why=why, mount=True)

    # --- commands ---

    def _run(self, command: Instruction) -> None:
        line = command.start_line
        mounts: list[Copied] = []
        for flag in command.flags:
            if flag.startswith("--mount="):
                mount = self._mount(flag, line)
                if mount is not None:
                    mounts.append(mount)
            elif not flag.startswith(("--network", "--security")):
                self._problem(command, f"unknown flag {quote(flag.partition('=')[0])} of RUN")
        if not command.value:
            self._problem(command, "RUN without a command")
            return
        words: tuple[str, ...] | str = command.value
        line_of: Lines = lambda _: line  # noqa: E731
        if not command.json:
            words, line_of = self.source.script(command)
        if isinstance(words, str) and command.heredocs and words.startswith("#!"):
            self.findings.unread(line, words.partition("\n")[0], "what the script does isn't read")
            return
        run(
            words,
            self.stages[-1],
            self.findings,
            stages=self.stages,
            context=self.context,
            mounts=mounts,
            line_of=line_of,
            note=self.note,
        )

    def _onbuild(self, command: Instruction) -> None:
        """What a build upon this image does first, read as if this one did it."""
        try:
            inner = self.source.onbuild(command)
        except ValueError as error:
            self._problem(command, f"ONBUILD: {error}")
            return
        if inner is None:
            self.findings.unread(command.start_line, command.original, "an ONBUILD over several lines isn't read")
            return
        name = (inner.cmd or "").upper()
        if name in {"ONBUILD", "FROM", "MAINTAINER"}:
            self._problem(command, f"ONBUILD may not stand before {name}")
        elif name not in _KNOWN:
            self._unknown(inner)
        elif name not in {"ENV", "ARG", "WORKDIR", "SHELL"}:
            self.note = "ONBUILD "
            self._instruction(name, inner)
            self.note = ""
