"""Where a file of an image comes from: paths in a stage traced back through COPY, ADD and mounts to the build context.

Nothing is looked up: whether a source is a file or a folder is told from how it is written, by the rules of COPY
(Dockerfile reference, "COPY": a destination that ends in a slash is a folder, and so is one that holds several sources).
Where two answers remain there is none.

A path in a stage is absolute, or begins with a mark that stands for a folder whose name isn't known (the base image's
working directory).
"""

from collections.abc import Collection, Sequence

import msgspec

__all__ = ["Copied", "Inline", "Traced", "Untraced", "Written", "join", "source_in_context", "trace"]

MAX_STEPS = 20_000
MAX_STAGES = 32
MAX_PATH = 4096
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst")
_FILES = (
    ".txt", ".in", ".yml", ".yaml", ".toml", ".lock", ".cfg", ".conf", ".ini", ".json", ".py", ".sh", ".whl", ".md", ".pem",
)  # fmt: skip


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
    """Paths that a command writes to, with `below` also below; None for one that isn't known. `text` is what it then holds."""

    line: int
    paths: tuple[str | None, ...]
    text: bytes | None = None
    below: bool = True


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


def trace(
    path: str, layers: Sequence[Layer], stages: Sequence[Sequence[Layer]], known: Collection[str]
) -> Traced | Inline | Untraced:
    """What the path stands for after the layers. `known` are files of the context that are there for certain."""
    return _Tracer(stages, known).trace(path, layers)


class _Tracer:
    """Follows one path; used once."""

    def __init__(self, stages: Sequence[Sequence[Layer]], known: Collection[str]) -> None:
        self.stages = stages
        self.known = known
        self.steps = 0
        self.depth = 0

    def trace(self, path: str, layers: Sequence[Layer]) -> Traced | Inline | Untraced:
        """The last layer that puts the path there decides, unless it only may."""
        guesses: list[Traced] = []
        for layer in reversed(layers):
            self.steps += 1
            if self.steps > MAX_STEPS:
                return Untraced("its way through the stages is too long")
            found = self._written(path, layer) if isinstance(layer, Written) else self._copied(path, layer)
            if found is None:
                continue
            if isinstance(found, Traced) and (not found.sure and found.path not in self.known):
                guesses.append(found)
                continue
            if not guesses:
                return found
            if isinstance(found, Traced) and all(guess.path == found.path for guess in guesses):
                return found
            if isinstance(found, Traced):
                return Untraced(f"it may be {found.path} or {guesses[0].path} of the context: name the file in a COPY")
            break
        paths = tuple(dict.fromkeys(guess.path for guess in guesses))
        if len(paths) > 1:
            return Untraced(f"it may be {' or '.join(paths[:3])} of the context: name the file in a COPY")
        return guesses[0] if guesses else Untraced("no COPY or ADD puts it there")

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
        if layer.unpacks and any(source.endswith(_ARCHIVES) for source in layer.sources):
            return Untraced(f"line {layer.line} unpacks an archive over it")
        if layer.why:
            may = any(_candidate(source, below, layer) is not None for source in layer.sources)
            return Untraced(layer.why) if may else None
        return self._of_sources(below, layer)

    def _elsewhere(self, path: str, layer: Copied) -> Untraced | None:
        """A destination beside the path; one of the two may begin with a folder that isn't known, and they may be one."""
        destination = layer.destination or "/"
        if destination.partition("/")[0] == path.partition("/")[0]:
            return None
        name = path.rpartition("/")[2]
        ends = {destination.rpartition("/")[2], *(source.rpartition("/")[2] for source in layer.sources)}
        folders = not layer.why and any(not s.endswith(_FILES) for s in layer.sources)
        if name in ends or folders:
            return Untraced(f"line {layer.line} may put another file there: write WORKDIR with an absolute path")
        return None

    def _of_sources(self, below: str, layer: Copied) -> Traced | Inline | Untraced | None:
        found: list[Traced | Inline | Untraced] = []
        for source in reversed(layer.sources):
            candidate = _candidate(source, below, layer)
            if candidate is None:
                continue
            if isinstance(candidate, Traced) and layer.stage is not None:
                found.append(self._in_stage(candidate, layer.stage))
            else:
                found.append(candidate)
        sure = [c for c in found if isinstance(c, Traced | Inline) and (isinstance(c, Inline) or c.sure)]
        traced = sure or [c for c in found if not isinstance(c, Untraced)] or found
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
        return found


def _candidate(source: str, below: str, layer: Copied) -> Traced | Untraced | None:
    """What a source has at a path below the destination ("" for the destination itself)."""
    folder = source.endswith(("/", "/.")) or source in {"", "."}
    clean = source_in_context(source)
    if layer.mount:
        return Traced("/".join(part for part in (clean, below) if part), sure=not below)
    parent, _, name = clean.rpartition("/")
    if any(mark in parent for mark in "*?["):
        return Untraced(f"the pattern {source[:60]!a} in line {layer.line} isn't followed")
    prefix = f"{parent}/" if parent else ""
    if any(mark in name for mark in "*?["):
        if "[" in name or "\\" in name:
            return Untraced(f"the pattern {source[:60]!a} in line {layer.line} isn't followed")
        return Traced(f"{prefix}{below}", sure=False) if below and "/" not in below and _fits(below, name) else None
    if not folder and clean:
        if below == name or (not below and not layer.is_folder):
            return Traced(clean, sure=True)
        if clean.endswith(_FILES):
            return None
    if not below:
        return None
    return Traced(f"{clean}/{below}" if clean else below, sure=False)


def _below(path: str, folder: str) -> str | None:
    """The path from the folder on: "" for the folder itself, None for what lies elsewhere."""
    if path == folder:
        return ""
    prefix = folder if folder.endswith("/") else f"{folder}/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _may_be(path: str, written: str, *, below: bool) -> bool:
    """Whether a path is the written one, or lies below; where one of them begins unknown, whether it may be."""
    if path.partition("/")[0] == written.partition("/")[0]:
        return _below(path, written) is not None if below else path == written
    return path.rpartition("/")[2] == written.rpartition("/")[2]


def _fits(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern of `*` and `?`, in time that is the product of their lengths at most."""
    at, place, star, mark = 0, 0, -1, 0
    while at < len(name):
        if place < len(pattern) and (pattern[place] in {"?", name[at]}) and pattern[place] != "*":
            at, place = at + 1, place + 1
        elif place < len(pattern) and pattern[place] == "*":
            star, mark, place = place, at, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return not pattern[place:].strip("*")
