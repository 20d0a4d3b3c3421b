"""What lies in a stage when a RUN begins, and while it is read: files traced, and those that change its commands told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from quarantine.spec.dockerfile_files import (
    Copied,
    Inline,
    Layer,
    Traced,
    Untraced,
    Written,
    is_text,
    may_fill,
    named_as_text,
    source_in_context,
    trace,
)
from quarantine.spec.dockerfile_findings import Findings
from quarantine.spec.dockerfile_places import (
    CONFIGURATION,
    is_sensitive,
    lists_of_folders,
    may_hold_sensitive,
    searched_folders,
)
from quarantine.spec.dockerfile_stage import Stage, is_installer
from quarantine.spec.shell import docker_text

__all__ = ["Layers"]

MAX_SEARCHES = 2000
LAYERS_A_SEARCH = 100
_OF_IMAGE = "it comes out of the image"


@dataclass(slots=True, kw_only=True)
class Layers:
    """The layers of a stage with the mounts of one RUN, below what the RUN itself writes; used for one RUN."""

    stage: Stage
    findings: Findings
    stages: Sequence[Stage]
    context: str
    mounts: Sequence[Copied]
    before: int = field(init=False)
    line: int = 1
    searched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before = len(self.stage.layers)

    def find(self, path: str) -> Traced | Inline | Untraced | None:
        """What a path stands for now, None where nothing is known to have put it there."""
        if self._is_spent(1):
            return Untraced("the file names more files than are traced")
        prefix = f"{self.context}/" if self.context else ""
        known = {name[len(prefix) :] for name in self.findings.files if name.startswith(prefix)}
        layers = [*self.stage.layers[: self.before], *self.mounts, *self.stage.layers[self.before :]]
        return trace(path, layers, [stage.layers for stage in self.stages], known, self.is_file)

    def _is_spent(self, cost: int) -> bool:
        """Whether more was looked for than any Dockerfile needs, with this."""
        self.findings.searches += cost
        return self.findings.searches > MAX_SEARCHES

    def is_file(self, source: str) -> bool:
        """Whether a source is a file and no folder or archive: one with a text's name is asked for."""
        path = f"{self.context}/{source}" if self.context else source
        data = self.findings.files.get(path)
        if data is None and named_as_text(source):
            self.findings.needed.setdefault(path, self.findings.at(self.line))
            return True
        return data is not None and is_text(data)

    # --- what changes commands ---

    def judge(self, line: int) -> None:
        """Keeps what was copied, since the last RUN, to where programs and settings are looked for."""
        self.line = line
        layers = self.stage.layers
        last = next((place for place in reversed(range(len(layers))) if isinstance(layers[place], Written)), -1)
        since = layers[last].line if last >= 0 else 0
        lists = tuple(self._lists())
        for at, name, folder in lists:
            if at <= since:
                continue
            if self._is_spent(len(layers) // LAYERS_A_SEARCH):
                self.findings.unread(line, "RUN", "the file names more files and folders than are looked at")
                break
            filled = next((layer.line for layer in layers if self._may_put(layer, folder)), None)
            if filled:
                why = f"line {filled} may put something into {folder}, where it makes commands look"
                self.findings.unread(at, f"{name}={folder}", why)
        self.searched = {folder for at, _, folder in lists if at <= since}
        for copied in (*layers[last + 1 :], *self.mounts):
            if isinstance(copied, Copied) and (why := self._why(copied)):
                self.findings.unread(copied.line, _shown(copied), why)
        self.searched |= {folder for _, _, folder in lists}
        # a RUN after this one need not look at these
        layers.append(Written(line=line, paths=()))
        self.before = len(layers)

    def _lists(self) -> Iterator[tuple[int, str, str]]:
        """The folders of each PATH and the like that the file sets up to here, in any stage, with line and name."""
        for at, name, value in lists_of_folders(self.findings.files[self.findings.file]):
            if at <= self.line:
                try:
                    known = docker_text(value, self.stage.lookup).text
                except ValueError:
                    known = value
                yield from ((at, name, folder) for folder in searched_folders(name, known, self.stage.folder))

    def _may_put(self, layer: Layer, folder: str) -> bool:
        """Whether a layer may put what isn't an image's own into a folder, or below it."""
        if isinstance(layer, Copied):
            if layer.destination is None or not self._is_foreign(layer):
                return False
            beside = not f"{layer.destination}/".startswith(f"{folder}/")
            return may_fill(layer, folder) and (not beside or self._may_be_folder(layer))
        return may_fill(layer, folder) and None not in layer.paths

    def _is_foreign(self, copied: Copied) -> bool:
        """Whether what is copied isn't out of an image, or of a stage that has nothing but its image's there."""
        if copied.stage is None:
            return not copied.why.startswith(_OF_IMAGE)
        layers = self.stages[copied.stage].layers
        return self._is_spent(len(layers) // LAYERS_A_SEARCH) or any(
            may_fill(layer, f"/{source_in_context(s)}") for layer in layers for s in copied.sources
        )

    def _may_be_folder(self, copied: Copied) -> bool:
        if copied.text is not None:
            return False
        if copied.mount or copied.stage is not None or copied.why:
            return True
        return any(not self.is_file(source_in_context(source)) for source in copied.sources)

    def _why(self, copied: Copied) -> str:
        """Why what is copied may change what later commands do; empty where it doesn't."""
        if not self._is_foreign(copied):
            return ""
        place = copied.destination
        if place is None:
            return "where it puts its files isn't known"
        names = [source_in_context(source).rpartition("/")[2] for source in copied.sources]
        places = [f"{place.rstrip('/')}/{name}" for name in names if name and not copied.mount]
        places += [] if copied.is_folder and places else [place]
        # the instruction itself was kept for these
        places = [path for path in places if not _is_told(path.rpartition("/")[2])]
        if not places:
            return ""
        if any(is_sensitive(path, self.searched) for path in places):
            return "it puts files where programs or settings are looked for"
        if may_hold_sensitive(place, self.searched) and self._may_be_folder(copied):
            return "it may put files where programs or settings are looked for: copy to a folder of the project's own"
        return ""


def _is_told(name: str) -> bool:
    return name in CONFIGURATION or is_installer(name)


def _shown(copied: Copied) -> str:
    verb = "RUN --mount" if copied.mount else "ADD" if copied.unpacks else "COPY"
    return " ".join((verb, *copied.sources, copied.destination or "..."))
