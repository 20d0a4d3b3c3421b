"""The conda solver: py-rattler in a worker process, in an environment of our making.

The worker (`rattler_worker`) gets specs that are rendered from parsed values, the policy's channels, and none of the
user's conda settings: no configuration files, no CONDA_* or RATTLER_* variables, neither netrc nor keychain (HOME is an
empty folder). Logins reach it on stdin. What it answers is the channels' word, and is parsed here record by record.

py-rattler itself follows the redirects of a configured channel, and the address of the shards that its index names, to
any host: what comes from there counts as the channel's. `io.guard.child_network` keeps it from asking anybody but the
policy's loopback hosts without encryption. A login goes to the repodata files of its own channel only (which for its
sake has no shards), and with a redirect only within its origin. What a worker may write and hold in memory is limited,
so that a small file can't unpack to a large one at will; what one leaves half-written is removed.

It does not judge: that a record's channel doesn't own its name is said, not refused.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from quarantine.errors import UpstreamError
from quarantine.io.cache import private_folder
from quarantine.model import CondaRecord, Digest, Ecosystem, MatchSpec, Target
from quarantine.policy.stage import Upstream
from quarantine.ports import CondaCandidates, CondaFailed, CondaListing, CondaRequest, CondaSolution, Tell

if TYPE_CHECKING:
    from quarantine.io.process import Completed

__all__ = ["RattlerSolver"]

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
MAX_FILE_BYTES = 1024**3
MAX_MEMORY_BYTES = 8 * 1024**3
MAX_EXPLANATION = 2000
# Isolated Python, without site-packages and what may be run from there: it is told where the packages are.
_BOOT = "import sys; sys.path += sys.argv[1:]; from quarantine.adapters.rattler_worker import main; main()"
_PACKAGES = ("quarantine", "rattler")
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9_.+!]{1,128}")
_BUILD = re.compile(r"[A-Za-z0-9_.+]{1,128}")
_ENDINGS = (".conda", ".tar.bz2")


class _Record(msgspec.Struct, frozen=True):
    source: int
    subdir: str
    name: str
    version: str
    build: str
    filename: str
    url: str
    sha256: str | None
    md5: str | None
    size: int | None
    indexed: datetime | None
    depends: tuple[str, ...]


class _Solution(msgspec.Struct, frozen=True, tag="solution"):
    records: tuple[_Record, ...]
    owners: dict[str, int]


class _Failed(msgspec.Struct, frozen=True, tag="failed"):
    explanation: str
    not_found: frozenset[str]


class _Listing(msgspec.Struct, frozen=True, tag="listing"):
    records: tuple[_Record, ...]
    twins: tuple[_Record, ...]
    owners: dict[str, int]


class _Records(msgspec.Struct, frozen=True, tag="records"):
    records: tuple[_Record, ...]


class _Error(msgspec.Struct, frozen=True, tag="error"):
    text: str
    blamed: tuple[int, ...]


_Answer = _Solution | _Failed | _Listing | _Records | _Error


class RattlerSolver:
    """A `CondaSolver`. `upstreams` are the policy's, in order of ownership; those of other ecosystems are left out.

    `upstream_of` says which upstream stands behind a channel as users write it; without it that is the one of that name
    or URL. `logins` are user and password by upstream name. `environ` is what the process environment says of
    certificates and proxies. With `offline` only what is in the cache counts. No file of a channel may be larger than
    `max_file_bytes`, unpacked; a worker that needs more than `max_memory_bytes` ends.
    """

    def __init__(
        self,
        *,
        upstreams: Iterable[Upstream],
        cache_dir: Path,
        environ: Mapping[str, str],
        logins: Mapping[str, tuple[str, str]],
        upstream_of: Callable[[str], str | None] | None = None,
        time_limit_seconds: float = 90,
        offline: bool = False,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
    ) -> None:
        conda = [upstream for upstream in upstreams if upstream.type is Ecosystem.CONDA]
        self._url_by_name = {upstream.name: upstream.url for upstream in conda if upstream.url is not None}
        self._names = tuple(self._url_by_name)
        self._upstream_of = self._by_name_or_url if upstream_of is None else upstream_of
        self._cache_dir = cache_dir
        self._environ = environ
        self._logins = logins
        self._time_limit = time_limit_seconds
        self._offline = offline
        self._limits = {"file_bytes": max_file_bytes, "memory_bytes": max_memory_bytes}

    def solve(self, request: CondaRequest, tell: Tell) -> CondaSolution | CondaFailed:
        """One solution under strict channel priority, or why there is none. UpstreamError when a channel fails."""
        tell(f"solving {len(request.specs)} conda specs for {request.target}")
        specs = [spec for spec in request.specs if spec.reference is None]
        ask = {
            "type": "solve",
            "sources": [self._place(name) for name in request.channels],
            "specs": [self._rendered(spec, request.channels) for spec in specs],
            "names": sorted({spec.name for spec in specs if not spec.name.startswith("__")}),
            "pinned": sorted({spec.name for spec in specs if self._pin(spec, request.channels) is not None}),
            "constraints": request.constraints,
            "not_after": None if request.not_after is None else request.not_after.astimezone(UTC),
            "approved": [] if request.not_after is None else sorted(digest.hex for digest in request.approved),
        }
        answer = self._ask(ask, request.target)
        if isinstance(answer, _Failed):
            return CondaFailed(explanation=_clean(answer.explanation), not_found=answer.not_found)
        if not isinstance(answer, _Solution):
            raise _unreadable("expected a solution")
        records = tuple(self._parsed(record, request.target) for record in answer.records)
        misplaced = _misplaced(specs, records)
        if misplaced is not None:
            return CondaFailed(explanation=misplaced)
        owners = {name: self._names[place] for name, place in answer.owners.items()}
        if owners.keys() != {record.name for record in records} or len(owners) != len(records):
            raise _unreadable("expected one record and one owner for each name")
        return CondaSolution(records=records, owners=owners)

    def listed(self, wanted: Mapping[str, frozenset[Digest]], target: Target, tell: Tell) -> Mapping[str, CondaListing]:
        """For every name its owner, its records that have one of the digests, and their twins. UpstreamError."""
        if not wanted:
            return {}
        tell(f"looking up {len(wanted)} conda packages in their channels")
        hexes = {name: sorted(digest.hex for digest in digests) for name, digests in wanted.items()}
        answer = self._ask({"type": "listed", "wanted": hexes}, target)
        if not isinstance(answer, _Listing):
            raise _unreadable("expected a listing")
        if any(answer.owners.get(record.name) != record.source for record in (*answer.records, *answer.twins)):
            raise _unreadable("expected records of owners only")
        records = [self._parsed(record, target) for record in answer.records]
        twins = [self._parsed(record, target) for record in answer.twins]
        owners = {name: self._names[place] for name, place in answer.owners.items()}
        return {
            name: CondaListing(
                owner=owners.get(name),
                records=tuple(r for r in records if r.name == name and r.sha256 in digests),
                twins=tuple(r for r in twins if r.name == name),
            )
            for name, digests in wanted.items()
        }

    def candidates(self, request: CondaCandidates, tell: Tell) -> tuple[CondaRecord, ...]:
        """The best build of each version that would do, in ascending order of version: the newest 200. UpstreamError."""
        tell(f"looking for other versions of {request.name}")
        beside = [
            {"name": other.name, "version": other.version, "build": other.build, "subdir": other.subdir}
            for other in request.beside
        ]
        source = self._place(request.upstream)
        ask = {
            "type": "candidates",
            "source": source,
            "name": request.name,
            "specs": request.specs,
            "beside": beside,
        }
        answer = self._ask(ask, request.target)
        if not isinstance(answer, _Records) or any(
            (r.source, r.name) != (source, request.name) for r in answer.records
        ):
            raise _unreadable("expected records of the name")
        return tuple(self._parsed(record, request.target) for record in answer.records)

    # --- what goes in -------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> int:
        if name not in self._url_by_name:
            raise UpstreamError(f"{name!a} is no conda channel of the policy: expected one of {', '.join(self._names)}")
        return self._names.index(name)

    def _by_name_or_url(self, channel: str) -> str | None:
        asked = channel.rstrip("/")
        urls = self._url_by_name.items()
        return next((name for name, url in urls if asked in (name, url.rstrip("/"))), None)

    def _pin(self, spec: MatchSpec, channels: Sequence[str]) -> str | None:
        """The upstream that the spec is to be taken from, where it is one of those asked."""
        upstream = None if spec.channel is None else self._upstream_of(spec.channel)
        return upstream if upstream in channels else None

    def _rendered(self, spec: MatchSpec, channels: Sequence[str]) -> str:
        """The spec in brackets, with the channel that it is kept to."""
        text, upstream = str(spec), self._pin(spec, channels)
        if upstream is None:
            return text
        pin = f"channel='{self._url_by_name[upstream]}'"
        return f"{text[:-1]},{pin}]" if text.endswith("]") else f"{text}[{pin}]"

    def _ask(self, ask: Mapping[str, object], target: Target) -> _Answer:
        """What the worker answers. UpstreamError when it gives none, and when its answer is an error."""
        import tempfile  # noqa: PLC0415  # only a solve needs the rest

        from quarantine.io.guard import child_network  # noqa: PLC0415
        from quarantine.io.process import run  # noqa: PLC0415

        self._check_logins()
        folder = private_folder(self._cache_dir) / "rattler"
        request = {
            "ask": ask,
            "sources": [{"url": url, "login": self._logins.get(name)} for name, url in self._url_by_name.items()],
            "subdir": target.conda_subdir,
            "virtual": target.virtual_packages,
            "cache_dir": str(private_folder(folder)),
            "offline": self._offline,
            **self._limits,
            # the rest is for the interpreter to start, and for the worker to say whose fault it was
            "seconds": self._time_limit - min(5.0, self._time_limit / 2),
        }
        with _tidied(folder), tempfile.TemporaryDirectory(prefix="quarantine-") as home:
            environment = child_network(self._environ, self._url_by_name.values())
            try:
                done = run(
                    [sys.executable, "-I", "-S", "-c", _BOOT, *_folders()],
                    env={**environment, "HOME": home, "TMPDIR": home},
                    cwd=Path(home),
                    stdin=msgspec.json.encode(request),
                    timeout_seconds=self._time_limit,
                    max_output_bytes=MAX_OUTPUT_BYTES,
                )
            except UpstreamError as error:
                raise UpstreamError(f"conda's solver failed: {error}") from error
        answer = _answer(done, self._names)
        if isinstance(answer, _Error):
            raise UpstreamError(self._complaint(answer))
        return answer

    def _check_logins(self) -> None:
        """Raises UpstreamError where the worker couldn't tell by host and path whom a login is for."""
        logins: dict[tuple[str | None, str], tuple[str, str] | None] = {}
        for name, url in self._url_by_name.items():
            place = (urlsplit(url).hostname, urlsplit(url).path.rstrip("/"))
            if logins.setdefault(place, self._logins.get(name)) != self._logins.get(name):
                raise UpstreamError(f"channel {name} differs from another one in scheme or port only, and in its login")

    # --- what comes out -----------------------------------------------------------------------------------------------

    def _complaint(self, error: _Error) -> str:
        said = _clean(error.text)
        if not error.blamed:
            return f"conda's solver failed: {said}"
        names = " or ".join(self._names[place] for place in error.blamed)
        return f"channel {names} can't be read: {said}"

    def _parsed(self, found: _Record, target: Target) -> CondaRecord:
        """The record, with every field of the form that it must have. UpstreamError."""
        if not 0 <= found.source < len(self._names):
            raise _unreadable("expected records of the channels that were asked")
        upstream = self._names[found.source]
        wrong = _flaw(found, self._url_by_name[upstream], target)
        if wrong:
            raise UpstreamError(f"channel {upstream} lists {found.filename[:100]!a} with {wrong}")
        return CondaRecord(
            upstream=upstream,
            subdir=found.subdir,
            name=found.name,
            version=found.version,
            build=found.build,
            filename=found.filename,
            url=found.url,
            sha256=None if found.sha256 is None else Digest.sha256(found.sha256),
            md5=found.md5,
            size=found.size,
            indexed=None if found.indexed is None else found.indexed.astimezone(UTC),
            depends=found.depends,
        )


def _folders() -> list[str]:
    """The folders that hold the packages that the worker needs."""
    found: dict[str, None] = {}
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise UpstreamError(f"the package {name} is missing: install quarantine again with what it requires")
        found[str(Path(spec.origin).parents[1])] = None
    return list(found)


@contextlib.contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """A turn of a worker. Before and after it the cache is tidied, unless another one is at work there."""
    import fcntl  # noqa: PLC0415  # only a solve needs it

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _tidy(folder, descriptor)
        # without locks (some network file systems have none) nothing is taken away
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        _tidy(folder, descriptor)
        os.close(descriptor)


def _tidy(folder: Path, descriptor: int) -> None:
    import fcntl  # noqa: PLC0415  # only a solve needs it

    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for half_written in folder.glob(".tmp*"):
            half_written.unlink()


def _answer(done: "Completed", names: Iterable[str]) -> _Answer:
    """What the worker wrote. That stands once it is whole, also when a signal ended the process after it."""
    try:
        answer: _Answer = msgspec.json.decode(done.stdout, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        said = _clean(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])[:300]
        ended = f"the worker for {' or '.join(names)} ended with {how}"
        raise _unreadable(ended + (f" and said {said!a}" if said else "")) from error
    if done.returncode > 0:
        raise _unreadable(f"the worker for {' or '.join(names)} ended with status {done.returncode}")
    return answer


def _unreadable(detail: str) -> UpstreamError:
    return UpstreamError(f"conda's solver gave no answer that can be read: {detail}")


def _flaw(found: _Record, channel: str, target: Target) -> str:
    """What is wrong with a record, empty where nothing is."""
    from quarantine.io.guard import target_of  # noqa: PLC0415  # only a solve pays for it

    for value, form, what in (
        (found.name, _NAME, "name"),
        (found.version, _VERSION, "version"),
        (found.build, _BUILD, "build"),
    ):
        if not form.fullmatch(value):
            return f"the {what} {value[:100]!a}"
    if found.subdir not in (target.conda_subdir, "noarch"):
        return f"the platform {found.subdir[:100]!a}"
    stem = f"{found.name}-{found.version}-{found.build}"
    if found.filename not in [f"{stem}{ending}" for ending in _ENDINGS]:
        return f"the name, version and build of {stem}"
    try:
        place = target_of(found.url)
    except UpstreamError as error:
        return str(error)
    path = unquote(place.path)
    if "?" in path or "#" in found.url or path.rpartition("/")[2] != found.filename:
        return "a URL of another file"
    base = f"{channel.rstrip('/')}/"
    # files may lie elsewhere (CEP 15), but then with what is nobody's promise
    if found.url.startswith(base) and not found.url.startswith(f"{base}{found.subdir}/"):
        return f"a URL of another platform than {found.subdir}"
    if found.size is not None and found.size < 0:
        return "a size below zero"
    return ""


def _misplaced(specs: Iterable[MatchSpec], records: Iterable[CondaRecord]) -> str | None:
    """Why a solution isn't one: the solver reads a spec's platform, and doesn't keep to it."""
    subdirs = {record.name: record.subdir for record in records}
    for spec in specs:
        if spec.subdir is not None and subdirs.get(spec.name, spec.subdir) != spec.subdir:
            return f"{spec.name} is asked for from {spec.subdir}, and there is one from {subdirs[spec.name]} to be had"
    return None


_CONTROL = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_BRANCHES = re.compile("^[\\s\u2500-\u257f\u00d7\u25b6]+")


def _clean(text: str) -> str:
    """What the solver says as one line: its tree unrolled, no control characters, every URL without its secrets."""
    lines = (_CONTROL.sub(" ", _BRANCHES.sub("", line)) for line in text.split("\n"))
    said = ""
    for line in filter(None, (" ".join(line.split()) for line in lines)):
        said += ("" if not said else " " if said.endswith((":", "require")) else "; ") + line
    return _without_secrets(said)[:MAX_EXPLANATION]


def _without_secrets(text: str) -> str:
    """The text with every URL cut down to scheme, host and path."""
    return re.sub(r"(https?://)(?:[^\s/@`]*@)?([^\s?#`)'\"]*)[^\s`)'\"]*", r"\1\2", text)
