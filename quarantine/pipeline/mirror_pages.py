"""The mirror's pages in the store: what stands on them, and how that is changed while others change it too.

Pages are replaced by compare-and-swap; whoever loses reads the page again and adds to that. The JSON page of a project,
and the plain repodata of a platform, say what is there; what is made of them is written after them.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace
from packaging.utils import canonicalize_name

from quarantine.errors import ConflictError, IntegrityError, UpstreamError
from quarantine.exceptions import DossierFile
from quarantine.mirror import channel, simple
from quarantine.mirror.channel import NOARCH, CondaFile
from quarantine.mirror.simple import SimpleFile
from quarantine.model import Ecosystem
from quarantine.ports import ArtifactStore, Page, PageStore, Tell

__all__ = [
    "FILES",
    "ROOT_HTML",
    "ROOT_JSON",
    "Listing",
    "add",
    "conda_page",
    "drop",
    "files_of",
    "listing_of",
    "metadata_in_use",
    "names_of",
    "once",
    "project_names",
    "recorded",
    "records_of",
    "rewrite",
    "simple_page",
    "subdirs_of",
    "unpacked",
    "with_names",
]

FILES = "files"
"""The container of the bytes that the mirror serves."""
ROOT_JSON, ROOT_HTML = "simple/index.json", "simple/index.html"
"""The pages of all projects."""
MAX_SWAPS = 20
"""How often a page is read again after somebody else replaced it."""
_JSON, _HTML, _ZST = "application/json", simple.HTML_TYPE, "application/zstd"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on the pages for some files: by project, and by platform and file name."""

    simple: Mapping[str, tuple[SimpleFile, ...]] = {}
    conda: Mapping[str, Mapping[str, CondaFile]] = {}

    @property
    def files(self) -> Mapping[str, int]:
        """The sha256 of every file, with its size."""
        files = {file.sha256: file.size for listed in self.simple.values() for file in listed}
        return files | {entry.sha256: entry.size for listed in self.conda.values() for entry in listed.values()}

    @property
    def metadata(self) -> frozenset[str]:
        """The sha256 of every file's core metadata."""
        return frozenset(file.metadata for listed in self.simple.values() for file in listed if file.metadata)


def simple_page(name: str, ending: str) -> str:
    """The name of a project's page in the store; `ending` is "json" or "html"."""
    return f"simple/{name}/index.{ending}"


def conda_page(subdir: str, ending: str = "json") -> str:
    """The name of a platform's repodata in the store; `ending` is "json" or "json.zst"."""
    return f"conda/{subdir}/repodata.{ending}"


def listing_of(found: Iterable[DossierFile], time: datetime, store: ArtifactStore) -> Listing:
    """What stands on the pages for these files, which the mirror has. Source distributions stand on none: nobody installs them.

    IntegrityError, UpstreamError, ConflictError where one can't be listed.
    """
    listed: dict[str, list[SimpleFile]] = {}
    conda: dict[str, dict[str, CondaFile]] = {}
    for entry in found:
        file = entry.file
        if file.is_source:
            continue
        size = store.size(FILES, file.digest)
        if size is None:
            raise UpstreamError(f"{file.filename} ({file.sha256}) is not among the files of the mirror")
        try:
            if file.ecosystem is Ecosystem.PYPI:
                name = canonicalize_name(file.name)
                listed.setdefault(name, []).append(simple.simple_file(entry, size, time))
            else:
                records = {file.filename: channel.conda_file(entry, size, time)}
                conda[file.subdir] = _merged(conda.get(file.subdir, {}), records)
        except ValueError as error:
            raise IntegrityError(f"{file.filename} can't be listed: {error}") from error
    return Listing(simple={name: tuple(files) for name, files in listed.items()}, conda=conda)


def with_names(
    pages: PageStore, channels: Mapping[str, dict[str, CondaFile]], listing: Listing
) -> dict[str, dict[str, CondaFile]]:
    """The channels with these packages. ConflictError where one has other bytes under the name of one of them."""
    found: dict[str, dict[str, CondaFile]] = {}
    for subdir, records in listing.conda.items():
        there = channels.get(subdir)
        if there is None:
            there = records_of(subdir, pages.page(conda_page(subdir)))
        found[subdir] = _merged(there, records)
    return found


def _merged(
    records: Mapping[str, CondaFile], added: Mapping[str, CondaFile], dropped: Iterable[str] = ()
) -> dict[str, CondaFile]:
    try:
        return channel.merged(records, added, dropped)
    except ValueError as error:
        raise ConflictError(str(error)) from error


# --- pages ------------------------------------------------------------------------------------------------------------


def files_of(name: str, page: Page | None) -> tuple[SimpleFile, ...]:
    """What a JSON page of a project lists. IntegrityError."""
    return () if page is None else simple.read_project(name, page.data)


def records_of(subdir: str, page: Page | None) -> dict[str, CondaFile]:
    """What the repodata of a platform lists, by file name. IntegrityError."""
    return {} if page is None else channel.read_repodata(subdir, page.data)


def names_of(page: Page | None) -> tuple[str, ...]:
    """What the JSON page of all projects lists. IntegrityError."""
    return () if page is None else simple.read_root(page.data)


def _swap(pages: PageStore, name: str, kind: str, make: Callable[[Page | None], bytes | None]) -> bool:
    """Replaces a page by what `make` makes of the one that is there; whether it did. None is for leaving it as it is.

    ConflictError when others keep replacing it.
    """
    for _ in range(MAX_SWAPS):
        page = pages.page(name)
        data = make(page)
        if data is None or (page is not None and page.data == data):
            return False
        try:
            pages.swap(name, data, kind, None if page is None else page.tag)
        except ConflictError:
            continue
        return True
    raise ConflictError(
        f"the mirror's page {name} was replaced {MAX_SWAPS} times while it was being written: run it again"
    )


def add(pages: PageStore, listings: Iterable[Listing]) -> None:
    """Puts files on their pages, several exceptions at a time."""
    listed: dict[str, tuple[SimpleFile, ...]] = {}
    conda: dict[str, dict[str, CondaFile]] = {}
    for listing in listings:
        for name, files in listing.simple.items():
            listed[name] = (*listed.get(name, ()), *files)
        for subdir, records in listing.conda.items():
            conda[subdir] = recorded(records)(conda.get(subdir, {}))
    for name, files in sorted(listed.items()):
        _swap_project(pages, name, _adding(name, files))
    if listed:
        _swap_root(pages, added=frozenset(listed))
    if conda:
        _swap_channel(pages, NOARCH, lambda records: records)
    for subdir, records in sorted(conda.items()):
        _swap_channel(pages, subdir, recorded(records))


def _adding(name: str, files: Collection[SimpleFile]) -> Callable[[Page | None], bytes]:
    digests = {file.sha256 for file in files}

    def make(page: Page | None) -> bytes:
        # of several exceptions for one file the first one's time stays: an installer's cutoff must not move
        there = files_of(name, page)
        times = {file.sha256: file.upload_time for file in there}
        merged = [replace(f, upload_time=min(f.upload_time, times.get(f.sha256, f.upload_time))) for f in files]
        return simple.project_json(name, [*(file for file in there if file.sha256 not in digests), *once(merged)])

    return make


def once(files: Iterable[SimpleFile]) -> Iterable[SimpleFile]:
    """Each file once, as it was taken in first."""
    found: dict[str, SimpleFile] = {}
    for file in sorted(files, key=lambda file: (file.upload_time, file.filename)):
        found.setdefault(file.sha256, file)
    return found.values()


def recorded(added: Mapping[str, CondaFile]) -> Callable[[dict[str, CondaFile]], dict[str, CondaFile]]:
    """What adds packages to records; one that is there keeps the time when it was taken in first.

    ConflictError where other bytes have the name of one.
    """

    def make(records: dict[str, CondaFile]) -> dict[str, CondaFile]:
        first = {
            name: replace(
                entry,
                indexed_timestamp=min(
                    (
                        known.indexed_timestamp
                        for known in (entry, records.get(name, entry))
                        if isinstance(known.indexed_timestamp, int)
                    ),
                    default=msgspec.UNSET,
                ),
            )
            for name, entry in added.items()
        }
        return _merged(records, first)

    return make


def _swap_project(pages: PageStore, name: str, make: Callable[[Page | None], bytes | None]) -> bool:
    """Replaces the JSON page of a project, and then the HTML page that is made of it."""
    changed = _swap(pages, simple_page(name, "json"), simple.JSON_TYPE, make)

    def render(_: Page | None) -> bytes | None:
        # read after the page that this replaces: who changes the JSON later renders later
        page = pages.page(simple_page(name, "json"))
        return None if page is None else simple.project_html(name, files_of(name, page))

    return _swap(pages, simple_page(name, "html"), _HTML, render) or changed


def _swap_root(pages: PageStore, *, added: Collection[str] = (), dropped: Collection[str] = ()) -> bool:
    """Puts projects on the pages of all projects, or takes them off; nobody else's page is read for it."""
    touched = frozenset((*added, *dropped))
    known: dict[bytes, list[str]] = {}

    def make(page: Page | None) -> bytes | None:
        names = list(names_of(page))
        for name in touched:
            place = bisect_left(names, name)
            if name in dropped and names[place : place + 1] == [name]:
                del names[place]
            elif name in added and names[place : place + 1] != [name]:
                names.insert(place, name)
        data = simple.root_json(names)
        known[data] = names
        return data

    def render(page: Page | None) -> bytes | None:
        # read after the page that this replaces: who changes the JSON later renders later
        there = pages.page(ROOT_JSON)
        names = () if there is None else known.get(there.data) or names_of(there)
        return simple.root_html(names) if page is None else simple.changed_root_html(page.data, names, touched)

    changed = _swap(pages, ROOT_JSON, simple.JSON_TYPE, make)
    return _swap(pages, ROOT_HTML, _HTML, render) or changed


def _swap_channel(
    pages: PageStore, subdir: str, change: Callable[[dict[str, CondaFile]], dict[str, CondaFile]]
) -> bool:
    """Replaces the repodata of a platform, and then the compressed one that is made of it."""

    def make(page: Page | None) -> bytes | None:
        return channel.repodata(subdir, change(records_of(subdir, page)))

    changed = _swap(pages, conda_page(subdir), _JSON, make)

    def render(page: Page | None) -> bytes | None:
        known = pages.page(conda_page(subdir))
        if known is None or (page is not None and unpacked(page) == known.data):
            return None  # compressed by another version of the library it says the same in other bytes
        return channel.compress(known.data)

    return _swap(pages, conda_page(subdir, "json.zst"), _ZST, render) or changed


def unpacked(page: Page) -> bytes | None:
    """What a compressed page says, None where nothing can be read in it."""
    try:
        return channel.decompress(page.data)
    except IntegrityError:
        return None


def drop(pages: PageStore, projects: Iterable[str], subdirs: Iterable[str], gone: Collection[str]) -> None:
    """Takes files off their pages. A project that has none left is on no page of all projects, and its own is empty."""
    without: list[str] = []
    for name in sorted(projects):

        def make(page: Page | None, name: str = name) -> bytes | None:
            if page is None:
                return None
            return simple.project_json(name, [file for file in files_of(name, page) if file.sha256 not in gone])

        _swap_project(pages, name, make)
        if not files_of(name, pages.page(simple_page(name, "json"))):
            without.append(name)
    if without and pages.page(ROOT_JSON) is not None:
        _swap_root(pages, dropped=without)
    for subdir in sorted(subdirs):
        if pages.page(conda_page(subdir)) is not None:
            _swap_channel(pages, subdir, lambda records: _merged(records, {}, gone))


def metadata_in_use(pages: PageStore, projects: Iterable[str]) -> frozenset[str]:
    """The sha256 of the core metadata that the pages of these projects name."""
    return frozenset(
        file.metadata for name in projects for file in files_of(name, pages.page(simple_page(name, "json")))
    )


def project_names(pages: PageStore) -> Iterator[str]:
    """The projects that have pages; some of them twice."""
    for page in pages.names("simple/"):
        parts = page.split("/")
        if len(parts) == 3:
            yield parts[1]


def subdirs_of(pages: PageStore) -> Iterator[str]:
    """The platforms that have repodata; some of them twice."""
    for page in pages.names("conda/"):
        parts = page.split("/")
        if len(parts) == 3:
            yield parts[1]


def rewrite(
    pages: PageStore,
    projects: Mapping[str, tuple[SimpleFile, ...]],
    subdirs: Mapping[str, Mapping[str, CondaFile]],
    tell: Tell,
) -> int:
    """Writes every page that isn't as it should be; how many that were."""
    names = frozenset(project_names(pages)) | frozenset(projects)
    written = 0

    def put(name: str, kind: str, data: bytes) -> None:
        nonlocal written
        tell(f"writing {name}")
        written += _swap(pages, name, kind, lambda _: data)

    for name in sorted(names):
        put(simple_page(name, "json"), simple.JSON_TYPE, simple.project_json(name, projects.get(name, ())))
        put(simple_page(name, "html"), _HTML, simple.project_html(name, projects.get(name, ())))
    if names:
        put(ROOT_JSON, simple.JSON_TYPE, simple.root_json(projects))
        put(ROOT_HTML, _HTML, simple.root_html(projects))
    platforms = frozenset(subdirs_of(pages)) | frozenset(subdirs)
    for subdir in sorted(platforms | {NOARCH} if platforms else ()):
        data = channel.repodata(subdir, subdirs.get(subdir, {}))
        put(conda_page(subdir), _JSON, data)
        packed = pages.page(conda_page(subdir, "json.zst"))
        if packed is None or unpacked(packed) != data:
            put(conda_page(subdir, "json.zst"), _ZST, channel.compress(data))
    return written
