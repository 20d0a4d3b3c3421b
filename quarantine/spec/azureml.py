"""Azure ML YAML (CLI v2): environments, and the jobs, components and deployments that name or hold them.

Read by the schema of Azure ML's own client (azure-ai-ml): an environment has an `image` or a `build` context, and with an
image a `conda_file`. What those lead to becomes a part of the spec, each read by the reader of its format; what is only
named (`azureml:NAME:VERSION`) stays a name, for an allowlist to know; what is elsewhere or not filled in is listed as
unverifiable with its line. Of a job's command and its variables only that counts which changes the environment while it
runs. Keys that have nothing to do with the environment are not looked at.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from quarantine.document import Document
from quarantine.errors import SpecError
from quarantine.model import (
    CuratedEnvironment,
    Directive,
    EnvironmentSpec,
    ImageReference,
    Location,
    Needs,
    SourceFile,
    Unverifiable,
)
from quarantine.spec.documents import Step, load
from quarantine.spec.image import parse_image, placeholder
from quarantine.spec.paths import folder_in_root, is_remote, path_in_root
from quarantine.spec.recognise import mapping
from quarantine.spec.redact import redact
from quarantine.spec.text import Problems, quote, refusal

__all__ = ["read"]

MAX_DEPTH = 8
MAX_ENVIRONMENTS = 256
MAX_INCLUDES = 512
_SCHEMA = re.compile(r"/([A-Za-z][A-Za-z0-9]{0,63})\.schema\.json\Z")
_TYPE = re.compile(r"[a-z][a-z_]{0,39}")

# azure-ai-ml: EnvironmentSchema; the second line are those that the service writes and the client drops when it reads
_ENVIRONMENT_KEYS = frozenset(
    {"$schema", "name", "version", "description", "tags", "properties", "image", "build", "conda_file"}
    | {"inference_config", "os_type", "datastore"}
    | {"id", "creation_context", "latest_version", "auto_delete_setting", "intellectual_property", "resourceGroup"}
)
_CONDA_KEYS = frozenset({"channels", "dependencies"})
_EXPECTED_KEYS = (
    "name",
    "version",
    "image",
    "build",
    "conda_file",
    "description",
    "tags",
    "os_type",
    "inference_config",
)
_BUILD_KEYS = frozenset({"path", "dockerfile_path"})
# where other jobs, components and environments stand within one
_NESTED = ("component", "trial", "task", "create_job", "body")

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_NAMED = re.compile(rf"(?:azureml:)?({_WORD})(?:[:]({_WORD})|@({_WORD}))?")
_REGISTRY = re.compile(
    rf"azureml://registries/({_WORD})/environments?/({_WORD})(?:/versions/({_WORD})|/labels/({_WORD}))?"
)
_EXPECTED = "expected azureml:NAME:VERSION, the path of an environment YAML, or a mapping with image or build"


def read(path: str, files: Mapping[str, bytes], document: Document) -> EnvironmentSpec | Needs:
    """What an Azure ML YAML asks for, or the files that are still needed to tell.

    Raises SpecError with every problem of all files together, and for a document that names no environment.
    """
    reader = _Reader(files=files)
    value = mapping(document.value)
    if value is None:
        raise refusal(path, "not an Azure ML YAML: expected a mapping", 1)
    kind = _kind(value)
    both = sorted(value.keys() & _CONDA_KEYS)
    if kind != "environment" and both:
        # conda passes over keys that it doesn't know, and Azure ML's client may, so each would install something else
        line = document.line((both[0],))
        raise refusal(path, f"an Azure ML {kind} with `{both[0]}`, which conda would install: keep the two apart", line)
    scope = _Scope(document=document, path=path, chain=(path,))
    if kind == "environment":
        spec = reader.environment(scope, value, ())
    else:
        reader.asset(scope, value, ())
        spec = reader.spec(scope, f"azureml-{kind}", scope.found)
    if reader.needed:
        return Needs(tuple(reader.needed), wanted_by=tuple(reader.needed.values()))
    reader.problems.check()
    if kind != "environment" and scope.found.empty:
        raise refusal(path, f"an Azure ML {kind} that names no environment: nothing to check", 1)
    return spec


def _kind(value: Mapping[str, object]) -> str:
    """What the YAML describes: by its schema, its type, or its keys."""
    schema, kind = value.get("$schema"), value.get("type")
    if isinstance(schema, str) and (found := _SCHEMA.search(schema)):
        return found[1]
    if isinstance(kind, str) and _TYPE.fullmatch(kind):
        return kind
    if "endpoint_name" in value:
        return "deployment"
    return "environment" if value.keys() & {"image", "build", "conda_file"} else "job"


@dataclass(slots=True, kw_only=True)
class _Found:
    """What one environment, or one document of jobs, comes to."""

    images: list[ImageReference] = field(default_factory=list)
    curated: list[CuratedEnvironment] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    unverifiable: list[Unverifiable] = field(default_factory=list)
    parts: list[EnvironmentSpec] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.images or self.curated or self.directives or self.unverifiable or self.parts)


@dataclass(slots=True, kw_only=True)
class _Scope:
    """The document that is being read, the files that led to it, and what was found in it so far."""

    document: Document
    path: str
    chain: tuple[str, ...]
    found: _Found = field(default_factory=_Found)

    def at(self, at: tuple[Step, ...]) -> Location:
        return Location(file=self.path, line=self.document.line(at))


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Follows a document to everything that it leads to; used once."""

    files: Mapping[str, bytes]
    problems: Problems = field(default_factory=Problems)
    needed: dict[str, Location] = field(default_factory=dict)
    environments: int = 0
    includes: int = 0

    def spec(self, scope: _Scope, format_: str, found: _Found, name: str = "") -> EnvironmentSpec:
        """The spec of what was found."""
        digest = hashlib.sha256(self.files[scope.path]).hexdigest()
        return EnvironmentSpec(
            file=scope.path,
            format=format_,
            name=name,
            images=tuple(found.images),
            curated=tuple(found.curated),
            directives=tuple(found.directives),
            unverifiable=tuple(found.unverifiable),
            parts=tuple(found.parts),
            sources=(SourceFile(path=scope.path, sha256=digest),),
        )

    # --- jobs, components, deployments --------------------------------------------------------------------------------

    def asset(self, scope: _Scope, value: Mapping[str, object], at: tuple[Step, ...]) -> None:
        """Adds the environments of a job, component, deployment or schedule, and of those within it."""
        if value.get("command") is not None:
            self._command(scope, value["command"], (*at, "command"))
        if "environment_variables" in value:
            from quarantine.spec.conda_environment import redirecting_variables  # noqa: PLC0415  # most jobs have none

            path = (*at, "environment_variables")
            scope.found.directives += redirecting_variables(scope.path, scope.document, path, self.problems)
        if "environment" in value:
            self._environment_of(scope, value["environment"], (*at, "environment"))
        jobs = mapping(value.get("jobs"))
        for name, job in (jobs or {}).items():
            self._nested(scope, job, (*at, "jobs", name))
        for key in _NESTED:
            if key in value:
                self._nested(scope, value[key], (*at, key))

    def _nested(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        """A job or component within another: written out, in a file, or registered with Azure ML."""
        inner = mapping(value)
        if inner is not None:
            self.asset(scope, inner, at)
        elif isinstance(value, str) and not value.startswith("${{parent."):
            if value.startswith("azureml:") or is_remote(value) or placeholder(value) is not None:
                self._unverifiable(scope, at, value, "its environment does not stand in this file")
                return
            included = self._included(scope, value, at)
            if included is not None:
                inner = mapping(included.document.value)
                if inner is None:
                    self._problem(included, (), "not an Azure ML YAML: expected a mapping")
                    return
                self.asset(included, inner, ())
                if not included.found.empty:
                    scope.found.parts.append(self.spec(included, f"azureml-{_kind(inner)}", included.found))

    def _command(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        """What a job's command installs while it runs."""
        if not isinstance(value, str):
            self._problem(scope, at, "command: expected the text of a command")
            return
        from quarantine.spec.conda_environment import redirects  # noqa: PLC0415
        from quarantine.spec.dockerfile_findings import shown  # noqa: PLC0415  # files of environments have no command
        from quarantine.spec.job_command import read_command  # noqa: PLC0415

        found = read_command(value)
        location = scope.at(at)
        scope.found.unverifiable += [
            Unverifiable(location=location, what=f"{at[-1]}: {shown(text)}", why=why) for text, why in found.commands
        ]
        scope.found.directives += [
            Directive(option="environment-variable", text=f"{redact(name)[:100]} is set", location=location)
            for name in found.variables
            if redirects(name)
        ]

    def _environment_of(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        """What stands behind an `environment:` key."""
        self.environments += 1
        if self.environments > MAX_ENVIRONMENTS:
            self._problem(scope, at, f"more than {MAX_ENVIRONMENTS} environments")
        elif (inner := mapping(value)) is not None:
            scope.found.parts.append(self.environment(scope, inner, at))
        elif not isinstance(value, str) or not value:
            self._problem(scope, at, f"no environment: {_EXPECTED}")
        elif placeholder(value) is not None:
            self._unverifiable(scope, at, value, "which environment that will be is not known yet")
        elif not _is_path(value):
            self._named(scope, value, at)
        else:
            included = self._included(scope, value, at)
            if included is not None and (inner := mapping(included.document.value)) is not None:
                scope.found.parts.append(self.environment(included, inner, ()))
            elif included is not None:
                self._problem(included, (), "not an Azure ML environment: expected a mapping")

    def _named(self, scope: _Scope, value: str, at: tuple[Step, ...]) -> None:
        """An environment that is registered with Azure ML."""
        if found := _REGISTRY.fullmatch(value):
            registry, name, version, label = found.groups()
        elif value.startswith("azureml:/"):
            self._unverifiable(
                scope,
                at,
                value,
                "an environment by its resource id: write azureml:NAME:VERSION for the workspace's own",
            )
            return
        elif (found := _NAMED.fullmatch(value)) and value.startswith(("azureml:", "AzureML-")):
            registry, (name, version, label) = None, found.groups()
        else:
            self._problem(scope, at, f"{quote(value)} is no environment: {_EXPECTED}")
            return
        location = scope.at(at)
        scope.found.curated.append(
            CuratedEnvironment(registry=registry, name=name, version=version, label=label, location=location)
        )

    # --- environments -------------------------------------------------------------------------------------------------

    def environment(self, scope: _Scope, value: Mapping[str, object], at: tuple[Step, ...]) -> EnvironmentSpec:
        """The spec of an environment that is written out; what is wrong with it is noted."""
        found = _Found()
        own = _Scope(document=scope.document, path=scope.path, chain=scope.chain, found=found)
        self._check_keys(own, value, at)
        if "image" in value and "build" in value:
            self._problem(own, (*at, "build"), "an environment with image and build: Azure ML takes one of them")
        elif "image" in value:
            self._image(own, value["image"], (*at, "image"))
        elif "build" in value:
            self._build(own, value["build"], (*at, "build"))
        else:
            self._problem(own, at, "an environment without image and without build: Azure ML wants one of them")
        if "conda_file" in value:
            if "build" in value and "image" not in value:
                message = "conda_file goes with image: a build context installs what its Dockerfile says"
                self._problem(own, (*at, "conda_file"), message)
            else:
                self._conda_file(own, value["conda_file"], (*at, "conda_file"))
        name = value.get("name")
        called = name if isinstance(name, str) and re.fullmatch(_WORD, name) else ""
        return self.spec(own, "azureml-environment", found, called)

    def _check_keys(self, scope: _Scope, value: Mapping[str, object], at: tuple[Step, ...]) -> None:
        for key in value:
            if key in {"channels", "dependencies"}:
                message = f"{key!a} in an Azure ML environment: it belongs into the conda file, under conda_file"
                self._problem(scope, (*at, key), message)
            elif key not in _ENVIRONMENT_KEYS:
                self._problem(scope, (*at, key), _unknown(key))
        system = value.get("os_type")
        if system is not None and str(system).lower() not in {"linux", "windows"}:
            self._problem(scope, (*at, "os_type"), f"os_type {quote(str(system))}: expected linux or windows")

    def _image(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        if not isinstance(value, str) or not value.strip():
            self._problem(scope, at, "image: expected the text of an image reference")
        elif placeholder(value) is not None or "{{" in value:
            self._unverifiable(scope, at, value, "which image that will be is not known until it is filled in")
        else:
            try:
                scope.found.images.append(parse_image(value.strip(), scope.at(at), "image"))
            except ValueError as error:
                self._problem(scope, at, str(error))

    def _conda_file(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        from quarantine.spec import conda_environment  # noqa: PLC0415  # most jobs have none

        if mapping(value) is not None:
            self._read_part(scope, lambda: conda_environment.read_at(scope.path, self.files, scope.document, at))
        elif not isinstance(value, str) or not value:
            self._problem(scope, at, "conda_file: expected the path of a conda environment file, or its content")
        elif placeholder(value) is not None or is_remote(value):
            self._unverifiable(scope, at, value, "a conda file that is not among the files here")
        else:
            included = self._included(scope, value, at)
            if included is not None:
                self._read_part(scope, lambda: conda_environment.read(included.path, self.files, included.document))

    def _build(self, scope: _Scope, value: object, at: tuple[Step, ...]) -> None:
        """The Dockerfile of a build context."""
        build = mapping(value)
        folder, dockerfile = (None, None) if build is None else (build.get("path"), build.get("dockerfile_path"))
        for key in build or {}:
            if key not in _BUILD_KEYS:
                self._problem(scope, (*at, key), f"unknown key {quote(key)} in build: expected path, dockerfile_path")
        if not isinstance(folder, str) or not folder:
            self._problem(scope, at, "build: expected a mapping with the path of the folder to build from")
        elif not isinstance(dockerfile, str | None) or dockerfile == "":
            self._problem(scope, (*at, "dockerfile_path"), "dockerfile_path: expected the path of a Dockerfile")
        elif placeholder(folder) is not None or _is_elsewhere(folder):
            self._unverifiable(scope, (*at, "path"), folder, "a build context that is not among the files here")
        elif dockerfile is not None and placeholder(dockerfile) is not None:
            self._unverifiable(
                scope, (*at, "dockerfile_path"), dockerfile, "which Dockerfile that will be is not known"
            )
        else:
            self._dockerfile(scope, folder, dockerfile, at)

    def _dockerfile(self, scope: _Scope, folder: str, dockerfile: str | None, at: tuple[Step, ...]) -> None:
        place = (*at, "path" if dockerfile is None else "dockerfile_path")
        try:
            context = folder_in_root(scope.path, folder.removeprefix("file:"))
            inside = f"{context}/" if context else ""
            path = None if context is None else path_in_root(f"{inside}Dockerfile", dockerfile or "Dockerfile")
        except ValueError as error:
            self._problem(scope, place, str(error))
            return
        if context is None or path is None or not path.startswith(inside):
            self._outside(scope, f"build: {folder if context is None else dockerfile}", place)
        elif path not in self.files:
            self.needed.setdefault(path, scope.at(place))
        else:
            from quarantine.spec import dockerfile as reader  # noqa: PLC0415  # it brings BuildKit's parser with it

            self._read_part(scope, lambda: reader.read(path, self.files, context))

    # --- files --------------------------------------------------------------------------------------------------------

    def _included(self, scope: _Scope, value: str, at: tuple[Step, ...]) -> _Scope | None:
        """The YAML file that a path leads to; None when it isn't there yet or can't be had, which is noted."""
        try:
            path = path_in_root(scope.path, value.removeprefix("file:"))
        except ValueError as error:
            self._problem(scope, at, str(error))
            return None
        if path is None:
            self._outside(scope, f"{at[-1]}: {value}", at)
        elif path in scope.chain:
            cycle = " -> ".join((*scope.chain[scope.chain.index(path) :], path))
            self._problem(scope, at, f"includes form a cycle: {quote(cycle)[1:-1]}")
        elif len(scope.chain) >= MAX_DEPTH:
            self._problem(scope, at, f"includes are nested deeper than {MAX_DEPTH}")
        elif self.includes >= MAX_INCLUDES:
            self._problem(scope, at, f"more than {MAX_INCLUDES} files are included")
        elif path not in self.files:
            self.needed.setdefault(path, scope.at(at))
        else:
            self.includes += 1
            try:
                return _Scope(document=load(path, self.files[path]), path=path, chain=(*scope.chain, path))
            except SpecError as error:
                self.problems.extend(error)
        return None

    def _read_part(self, scope: _Scope, reads: Callable[[], EnvironmentSpec | Needs]) -> None:
        """Adds what another reader makes of its file as a part."""
        try:
            answer = reads()
        except SpecError as error:
            self.problems.extend(error)
            return
        if isinstance(answer, Needs):
            wanted = answer.wanted_by or (Location(file=scope.path),) * len(answer.paths)
            for path, location in zip(answer.paths, wanted, strict=True):
                self.needed.setdefault(path, location)
        else:
            scope.found.parts.append(answer)

    def _outside(self, scope: _Scope, text: str, at: tuple[Step, ...]) -> None:
        scope.found.directives.append(
            Directive(option="include-outside-root", text=redact(text), location=scope.at(at))
        )

    def _unverifiable(self, scope: _Scope, at: tuple[Step, ...], value: str, why: str) -> None:
        # in a name that is registered with Azure ML no login stands before the "@"
        shown = value if value.startswith("azureml:") and _NAMED.fullmatch(value) else quote(value)[1:-1]
        what = f"{at[-1]}: {shown}"
        scope.found.unverifiable.append(Unverifiable(location=scope.at(at), what=what, why=why))

    def _problem(self, scope: _Scope, at: tuple[Step, ...], message: str) -> None:
        self.problems.add(scope.path, scope.document.line(at), message)


def _unknown(key: str) -> str:
    """What to say of a key that no Azure ML environment has."""
    near = difflib.get_close_matches(key[:40].lower(), sorted(_ENVIRONMENT_KEYS), n=1, cutoff=0.75)
    hint = f"did you mean `{near[0]}`?" if near else f"expected {', '.join(_EXPECTED_KEYS)}"
    return f"unknown key {quote(key)} in an Azure ML environment: {hint}"


def _is_path(value: str) -> bool:
    """Whether the text behind `environment:` is the path of a file: the client takes what begins so, or ends so."""
    return value.startswith(("file:", "./", "../")) or (
        not value.startswith("azureml:") and value.lower().endswith((".yml", ".yaml"))
    )


def _is_elsewhere(folder: str) -> bool:
    """Whether a build context is a repository or a URL, which Azure ML or Docker would fetch."""
    return is_remote(folder) or folder.startswith(("git@", "azureml:")) or folder.partition("#")[0].endswith(".git")
