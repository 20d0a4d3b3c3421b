"""What one project may have of the mirror in one stage, now: pages and files for whoever serves them on this machine.

The log decides, not the pages: a page is only asked how a file is listed that an exception stands behind, and a file that
none stands behind is refused, whether its bytes are there or not. The log is read again every few seconds, so that a
revocation counts within them, and so does a policy that is published, and an expiry to the second. When the log can't be
read, nothing is served.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace
from packaging.utils import canonicalize_name

from quarantine.errors import QuarantineError, UpstreamError
from quarantine.exceptions import Grant, Grants, State
from quarantine.mirror import channel, simple
from quarantine.mirror.answers import Answer, Document, Kind, Moved, Refusal, Stored, accepted, content_type, segments
from quarantine.mirror.channel import NOARCH, CondaFile
from quarantine.mirror.simple import SimpleFile
from quarantine.model import Digest, Ecosystem
from quarantine.pipeline.mirror_pages import FILES, ROOT_JSON, conda_page, files_of, names_of, records_of, simple_page
from quarantine.pipeline.state import follow_state
from quarantine.policy.decide import clock, grants
from quarantine.policy.stage import Policy
from quarantine.ports import ArtifactStore, AuditLog, PageStore

if TYPE_CHECKING:
    from quarantine.audit.fold import Folded

__all__ = ["MirrorShelves"]

READ_AGAIN = timedelta(seconds=3)
"""How long what was read of the log counts."""
LOOK_AGAIN = timedelta(seconds=60)
"""How long pages count when the log has nothing new."""
WORKERS = 8
_SUFFIX = ".metadata"
_BYTES = "application/octet-stream"


class MirrorShelves:
    """Implements `mirror.answers.Shelves`, for several threads. `now` tells the time (aware, UTC) whenever it is asked.

    `policy` tells the policy in force by what the log says at a time; QuarantineError where none can be had.
    """

    def __init__(
        self,
        *,
        log: AuditLog,
        store: ArtifactStore,
        pages: PageStore,
        policy: Callable[[State, datetime], Policy],
        project: str,
        stage: str,
        local: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._pages = pages
        self._policy = policy
        self._project = project
        self._stage = stage
        self._local = local
        self._now = now
        self._lock = threading.Lock()
        self._folded: Folded | None = None
        self._read_at: datetime | None = None
        self._view: _View | None = None

    @property
    def count(self) -> int:
        """How many files there are. QuarantineError when the log can't be read."""
        return len(self._current().grants.live)

    def answer(self, path: str, accept: str) -> Answer:
        """The answer to a request for a path (as it came, without a query); `accept` is what the client takes."""
        parts = segments(path)
        if parts is None:
            return Refusal(404, "the mirror has no such path")
        try:
            return self._route(parts, accept, self._current())
        except QuarantineError as error:
            return Refusal(503, str(error))

    def _route(self, parts: tuple[str, ...], accept: str, view: "_View") -> Answer:
        match parts:
            case ("simple" | "links" as place,):
                return Moved(f"/{place}/")
            case ("simple", name) if name:
                return Moved(f"/simple/{canonicalize_name(name)}/")
            case ("simple", name, "") if name != canonicalize_name(name):
                return Moved(f"/simple/{canonicalize_name(name)}/")
            case ("simple", "") | ("simple", _, ""):
                kind = accepted(accept)
                if kind is None:
                    return Refusal(406, f"an index page is {simple.JSON_TYPE} or HTML, and the client takes neither")
                return self._index(parts[1], kind, accept, view)
            case ("links", ""):
                return Document(content_type=simple.HTML_TYPE, data=view.links)
            case ("files", sha256, filename) if filename:
                return self._file(sha256, filename, view)
            case ("conda", subdir, "repodata.json"):
                return Document(content_type="application/json", data=view.repodata(subdir))
            case ("conda", subdir, "repodata.json.zst"):
                return Document(content_type="application/zstd", data=channel.compress(view.repodata(subdir)))
            case ("conda", subdir, filename) if filename:
                return self._package(subdir, filename, view)
            case _:
                return Refusal(404, "the mirror has /simple/, /links/, /files/ and /conda/SUBDIR/repodata.json")

    def _index(self, name: str, kind: Kind, accept: str, view: "_View") -> Answer:
        if not name:
            data = simple.root_json(view.names) if kind == "json" else simple.root_html(view.names)
            return Document(content_type=content_type(kind, accept), data=data)
        files = view.project(name)
        if not files:
            return Refusal(404, f"no exception of {self._whom} holds for a file of {name}")
        data = simple.project_json(name, files) if kind == "json" else simple.project_html(name, files)
        return Document(content_type=content_type(kind, accept), data=data)

    def _file(self, sha256: str, filename: str, view: "_View") -> Answer:
        try:
            digest = Digest.sha256(sha256)
        except ValueError:
            return Refusal(404, "a file is asked for by its sha256, as /files/SHA256/NAME")
        grant = view.grants.live.get(digest)
        if grant is None:
            return self._refused(digest, filename, view)
        if grant.file.is_source:
            return Refusal(
                403, f"{filename} is a source distribution, which nobody installs: a curator attaches its wheel"
            )
        if filename == f"{grant.file.filename}{_SUFFIX}" and grant.metadata:
            return self._stored(Digest.sha256(grant.metadata), filename, grant)
        if filename != grant.file.filename:
            return Refusal(404, f"the file of this sha256 is called {grant.file.filename}")
        return self._stored(digest, filename, grant)

    def _package(self, subdir: str, filename: str, view: "_View") -> Answer:
        grant = view.packages.get((subdir, filename))
        if grant is None:
            said = view.why_not(subdir, filename)
            why = f"no exception of {self._whom} holds for {subdir}/{filename}{said and f': {said}'}"
            return Refusal(403 if said else 404, why)
        return self._stored(grant.file.digest, filename, grant)

    def _refused(self, digest: Digest, filename: str, view: "_View") -> Refusal:
        said = view.grants.blocked.get(digest) or view.grants.stopped.get(digest)
        why = f"no exception of {self._whom} holds for {filename.removesuffix(_SUFFIX)}"
        return Refusal(403, f"{why}: {said}") if said else Refusal(404, why)

    def _stored(self, digest: Digest, filename: str, grant: Grant) -> Answer:
        size = self._store.size(FILES, digest)
        if size is None:
            return Refusal(404, f"{filename} is approved and not published yet: `quarantine exception process` does it")
        return Stored(
            content_type=_BYTES,
            sha256=digest.hex,
            size=size,
            published=grant.published_at,
            chunks=lambda: self._store.read(FILES, digest),
        )

    @property
    def _whom(self) -> str:
        return f"project {self._project} in stage {self._stage}"

    # --- what holds now -----------------------------------------------------------------------------------------------

    def _current(self) -> "_View":
        """What holds now. QuarantineError when the log can't be read, or the clock is wrong."""
        with self._lock:
            now = self._now()
            fresh = self._read_at is not None and timedelta(0) <= now - self._read_at < READ_AGAIN
            if self._view is not None and fresh and now < self._view.until:
                return self._view
            folded = follow_state(self._log, self._pages, self._folded)
            wrong = clock(folded.state, now)
            if wrong:
                raise UpstreamError(wrong[0].message)
            unchanged = self._folded is not None and folded.places == self._folded.places
            self._folded, self._read_at = folded, now
            if self._view is None or not unchanged or now >= self._view.until:
                policy = self._policy(folded.state, now)
                held = grants(folded.state, policy, self._project, self._stage, now, local=self._local)
                ends = (grant.expires_at for grant in held.live.values())
                self._view = _View(held, self._pages, until=min((now + LOOK_AGAIN, *ends)))
            return self._view


class _View:
    """What holds until a moment, with the pages as far as they were read for it; a page is read once.

    Two threads may read the same page at once, and come to the same.
    """

    def __init__(self, held: Grants, pages: PageStore, *, until: datetime) -> None:
        self.grants = held
        self.until = until
        self._pages = pages
        self._projects: dict[str, tuple[SimpleFile, ...]] = {}
        self._repodata: dict[str, bytes] = {}

    @cached_property
    def _wheels(self) -> Mapping[str, tuple[Grant, ...]]:
        """The grants for Python files, by project."""
        found: dict[str, tuple[Grant, ...]] = {}
        for grant in self.grants.live.values():
            if grant.file.ecosystem is Ecosystem.PYPI:
                name = canonicalize_name(grant.file.name)
                found[name] = (*found.get(name, ()), grant)
        return found

    @cached_property
    def packages(self) -> Mapping[tuple[str, str], Grant]:
        """The grants for conda packages, by platform and file name."""
        return {
            (grant.file.subdir, grant.file.filename): grant
            for grant in self.grants.live.values()
            if grant.file.ecosystem is Ecosystem.CONDA
        }

    def why_not(self, subdir: str, filename: str) -> str:
        """Why a conda package that the channel still lists isn't let in; "" where nothing is known of it."""
        try:
            channel.subdir_of(subdir)
        except ValueError:
            return ""
        entry = records_of(subdir, self._pages.page(conda_page(subdir))).get(filename)
        if entry is None:
            return ""
        digest = Digest.sha256(entry.sha256)
        return self.grants.blocked.get(digest) or self.grants.stopped.get(digest) or ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The projects that the mirror has, as far as an exception stands behind one of their files."""
        if not self._wheels:
            return ()
        listed = frozenset(names_of(self._pages.page(ROOT_JSON)))
        return tuple(sorted(name for name in self._wheels if name in listed))

    def project(self, name: str) -> tuple[SimpleFile, ...]:
        """The files of a project that exceptions stand behind."""
        if name not in self._projects:
            held = {grant.file.sha256: grant for grant in self._wheels.get(name, ())}
            files = files_of(name, self._pages.page(simple_page(name, "json"))) if held else ()
            self._projects[name] = tuple(_allowed(files, held))
        return self._projects[name]

    @cached_property
    def links(self) -> bytes:
        """All of them on one page."""
        with ThreadPoolExecutor(max_workers=WORKERS) as workers:
            found = list(workers.map(self.project, self._wheels))
        return simple.links_html(file for files in found for file in files)

    def repodata(self, subdir: str) -> bytes:
        """The repodata of a platform: what exceptions stand behind. A platform without any is an empty one."""
        if subdir not in self._repodata:
            try:
                channel.subdir_of(subdir)
            except ValueError:
                return channel.repodata(NOARCH, {})
            there: Mapping[str, CondaFile] = {}
            if any(place == subdir for place, _ in self.packages):
                there = records_of(subdir, self._pages.page(conda_page(subdir)))
            held = {name: entry for name, entry in there.items() if self._holds(subdir, name, entry)}
            if len(self._repodata) < 100:  # a client could ask for platforms without end
                self._repodata[subdir] = channel.repodata(subdir, held)
            else:
                return channel.repodata(subdir, held)
        return self._repodata[subdir]

    def _holds(self, subdir: str, name: str, entry: CondaFile) -> bool:
        grant = self.packages.get((subdir, name))
        return grant is not None and grant.file.sha256 == entry.sha256


def _allowed(files: Iterable[SimpleFile], held: Mapping[str, Grant]) -> Iterable[SimpleFile]:
    """The files that stand on a page and have a grant for these bytes under this name; their metadata is the log's."""
    for file in files:
        grant = held.get(file.sha256)
        if grant is not None and grant.file.filename == file.filename:
            yield replace(file, metadata=grant.metadata)
