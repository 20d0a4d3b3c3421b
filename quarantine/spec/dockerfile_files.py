"""Where a file of an image comes from: paths in a stage traced back through COPY, ADD and mounts to the build context.

Whether a source is a file is known once it was read: one whose name is that of a text is asked for where it matters, any
other may be a folder (Dockerfile reference, "COPY": a destination that ends in a slash is a folder, and so is one that
holds several sources). Where two answers remain there is none.

A path in a stage is absolute, or begins with a mark that stands for a folder whose name isn't known (the base image's
working directory).
"""

from collections.abc import Callable, Collection, Sequence

import msgspec

__all__ = [
    "NOTHING", "Copied", "Inline", "Layer", "Traced", "Untraced", "Written", "is_text", "join", "may_fill", "named_as_text",
    "source_in_context", "trace",
]  # fmt: skip

NOTHING = "no COPY or ADD puts it there"
MAX_STEPS = 20_000
MAX_STAGES = 32
MAX_PATH = 4096
_TEXTS = (".txt", ".in", ".yml", ".yaml", ".toml", ".lock", ".cfg", ".conf", ".ini", ".json", ".py", ".sh", ".md")


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a COPY, an ADD or a mount puts into a stage.

    `sources` are paths in the context, or in the stage of number `stage`; `text` is a here-document's. `why` is set where
    its files can't be traced: they come out of an image, a download, a secret. `destination` is None where it isn't known.
    """

    line: int
    sources: tuple[str, ...] = ()
    destination: str | None
    is_folder: bool = False
    stage: int | None = None
    text: bytes | None = None
    unpacks: bool = False
    mount: bool = False
    why: str = ""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Paths that a command writes to, with `below` also below; None for one that isn't known.

    `text` is what it then holds. `links` is whether they are names of one thing from then on.
    """

    line: int
    paths: tuple[str | None, ...]
    text: bytes | None = None
    below: bool = True
    links: bool = False


Layer = Copied | Written


class Traced(msgspec.Struct, frozen=True):
    """The file of the context that a path stands for. `sure` is whether COPY names it itself, not a folder above it."""

    path: str
    sure: bool


class Inline(msgspec.Struct, frozen=True):
    """The text that the Dockerfile itself gives a path, in as many lines as stand before it, and then its own."""

    data: bytes


class Untraced(msgspec.Struct, frozen=True):
    """Why a path can't be traced."""

    why: str


def join(folder: str | None, path: str) -> str | None:
    """The path as it is seen from a folder, without `.` and `..`; None where it isn't known, or longer than any is."""
    if len(path) > MAX_PATH or len(folder or "") > MAX_PATH:
        return None
    if path.startswith("/"):
        root, steps = "", path.split("/")
    elif folder is None:
        return None
    else:
        root, _, below = folder.partition("/")
        steps = [*below.split("/"), *path.split("/")]
    found: list[str] = []
    for step in steps:
        if step == "..":
            if not found and root:
                return None
            found = found[:-1]
        elif step not in {"", "."}:
            found.append(step)
    return f"{root}/{'/'.join(found)}"


def source_in_context(source: str) -> str:
    """A source as a path from the context's root, which it can't leave ("" for the root itself)."""
    return (join("", f"/{source}") or "/")[1:]


def named_as_text(source: str) -> bool:
    """Whether a source has the name of a text file, whatever it is."""
    return source.endswith(_TEXTS)


def is_text(data: bytes) -> bool:
    """Whether ADD takes the bytes for a file, and not for an archive that it unpacks."""
    try:
        return "\0" not in data.decode() and not data.startswith(b"BZh")
    except UnicodeDecodeError:
        return False


def trace(
    path: str,
    layers: Sequence[Layer],
    stages: Sequence[Sequence[Layer]],
    known: Collection[str],
    is_file: Callable[[str], bool],
) -> Traced | Inline | Untraced | None:
    """What the path stands for after the layers, None where nothing is known to put it there.

    `known` are files of the context that are there for certain; `is_file` says whether a source is certain to be one.
    """
    return _Tracer(stages, known, is_file).trace(path, layers)


def may_fill(layer: Layer, path: str) -> bool:
    """Whether a layer may put something at the path, or below it."""
    places = layer.paths if isinstance(layer, Written) else (layer.destination,)
    return any(place is None or _overlap(place, path) for place in places)


class _Tracer:
    """Follows one path; used once."""

    def __init__(
        self, stages: Sequence[Sequence[Layer]], known: Collection[str], is_file: Callable[[str], bool]
    ) -> None:
        self.stages = stages
        self.known = known
        self.is_file = is_file
        self.steps = 0
        self.depth = 0

    def trace(self, path: str, layers: Sequence[Layer]) -> Traced | Inline | Untraced | None:
        """The last layer that puts the path there decides, unless it only may."""
        guesses: list[Traced] = []
        for layer in layers:
            # what is written to one name of a thing is in its others, in whatever order
            if isinstance(layer, Written) and layer.links and self._written(path, layer) is not None:
                return Untraced(f"line {layer.line} gives it, or a folder above it, another name")
        for layer in reversed(layers):
            self.steps += 1
            if self.steps > MAX_STEPS:
                return Untraced("its way through the stages is too long")
            found = self._written(path, layer) if isinstance(layer, Written) else self._copied(path, layer)
            if found is None:
                continue
            if isinstance(found, Traced) and not found.sure and found.path not in self.known:
                guesses.append(found)
                continue
            if not guesses:
                return found
            if isinstance(found, Traced) and all(guess.path == found.path for guess in guesses):
                return found
            if isinstance(found, Traced):
                return Untraced(f"it may be {found.path} or {guesses[0].path} of the context: name the file in a COPY")
            return Untraced(f"it may be {guesses[0].path} of the context, or what was there before: name it in a COPY")
        paths = tuple(dict.fromkeys(guess.path for guess in guesses))
        if len(paths) > 1:
            return Untraced(f"it may be {' or '.join(paths[:3])} of the context: name the file in a COPY")
        return guesses[0] if guesses else None

    def _written(self, path: str, layer: Written) -> Inline | Untraced | None:
        for written in layer.paths:
            if written is not None and not _may_be(path, written, below=layer.below):
                continue
            if layer.text is not None and written == path:
                return Inline(layer.text)
            return Untraced(f"the command at line {layer.line} may write it")
        return None

    def _copied(self, path: str, layer: Copied) -> Traced | Inline | Untraced | None:
        if layer.destination is None:
            return Untraced(f"where line {layer.line} puts its files isn't known")
        below = _below(path, layer.destination)
        if below is None:
            return self._elsewhere(path, layer)
        if layer.text is not None:
            names = {source for source in layer.sources if source == below}
            return Inline(layer.text) if not below or names else None
        if layer.why:
            may = any(self._candidate(source, below, layer) is not None for source in layer.sources)
            return Untraced(layer.why) if may else None
        return self._of_sources(below, layer)

    def _elsewhere(self, path: str, layer: Copied) -> Untraced | None:
        """A destination beside the path; one of the two may begin with a folder that isn't known, and they may be one."""
        destination = layer.destination or "/"
        if destination.partition("/")[0] == path.partition("/")[0]:
            return None
        name = path.rpartition("/")[2]
        ends = {destination.rpartition("/")[2], *(source.rpartition("/")[2] for source in layer.sources)}
        folders = not layer.why and any(not named_as_text(source) for source in layer.sources)
        if name in ends or folders:
            return Untraced(f"line {layer.line} may put another file there: write WORKDIR with an absolute path")
        return None

    def _of_sources(self, below: str, layer: Copied) -> Traced | Inline | Untraced | None:
        found: list[Traced | Inline | Untraced] = []
        for source in layer.sources:
            candidate = self._candidate(source, below, layer)
            if isinstance(candidate, Traced) and layer.stage is not None:
                found.append(self._in_stage(candidate, layer.stage))
            elif candidate is not None:
                found.append(candidate)
        sure = [c for c in found if isinstance(c, Traced | Inline) and (isinstance(c, Inline) or c.sure)]
        traced = sure or found
        if len(set(traced)) > 1:
            return Untraced(f"several sources of line {layer.line} may be it")
        return traced[0] if traced else None

    def _in_stage(self, candidate: Traced, stage: int) -> Traced | Inline | Untraced:
        if self.depth >= MAX_STAGES:
            return Untraced("its way through the stages is too long")
        self.depth += 1
        found = self.trace(f"/{candidate.path}", self.stages[stage])
        self.depth -= 1
        if isinstance(found, Traced):
            return Traced(found.path, found.sure and candidate.sure)
        return Untraced(NOTHING) if found is None else found

    def _candidate(self, source: str, below: str, layer: Copied) -> Traced | Untraced | None:
        """What a source has at a path below the destination ("" for the destination itself)."""
        folder = source.endswith(("/", "/.")) or source in {"", "."}
        clean = source_in_context(source)
        if layer.mount:
            return Traced("/".join(part for part in (clean, below) if part), sure=not below)
        name = clean.rpartition("/")[2]
        if any(mark in clean for mark in "*?[\\"):
            return Untraced(
                f"which files the pattern {source[:60]!a} in line {layer.line} takes isn't known: name them"
            )
        if not folder and clean:
            if below == name or (not below and not layer.is_folder):
                return Traced(clean, sure=True)
            if layer.why and named_as_text(clean):
                return None
            if layer.stage is None and not layer.why:
                if self.is_file(clean):
                    return None
                if layer.unpacks:
                    return Untraced(f"line {layer.line} may unpack an archive over it")
        if not below:
            return None
        return Traced(f"{clean}/{below}" if clean else below, sure=False)


def _below(path: str, folder: str) -> str | None:
    """The path from the folder on: "" for the folder itself, None for what lies elsewhere."""
    if path == folder:
        return ""
    prefix = folder if folder.endswith("/") else f"{folder}/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _overlap(one: str, other: str) -> bool:
    return _below(one, other) is not None or _below(other, one) is not None


def _may_be(path: str, written: str, *, below: bool) -> bool:
    """Whether a path is the written one, or lies below; where one of them begins unknown, whether it may be."""
    if path.partition("/")[0] == written.partition("/")[0]:
        return _below(path, written) is not None if below else path == written
    return path.rpartition("/")[2] == written.rpartition("/")[2]
