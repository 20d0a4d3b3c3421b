"""The worker process of the conda solver: one request (JSON) on stdin, one answer (JSON) on stdout, and out.

py-rattler's threads can bring the interpreter down while it ends, so that nothing but the answer is left to do in this
process: it is written whole, and then the process is gone without any clean-up. What is answered is the channels' word
as it came; the parent parses and judges it.
"""

import asyncio
import base64
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, TypedDict
from urllib.parse import urlsplit

import rattler
from rattler.exceptions import GatewayError, SolverError
from rattler.networking import AddHeadersMiddleware, RetryMiddleware
from rattler.repo_data.gateway import SourceConfig

__all__ = ["main"]

MAX_CANDIDATES = 200
REPODATA_ENDINGS = ("", ".zst", ".bz2")
RETRIES = 2
GRACE_SECONDS = 0.5
UNSATISFIABLE = "Cannot solve the request because of:"


# --- the request ------------------------------------------------------------------------------------------------------
# The parent renders it from values of its own. Plain dictionaries, since every import here is part of every solve.


class Source(TypedDict):
    """A channel. Sources are spoken of by their place in the policy's order."""

    url: str
    login: tuple[str, str] | None


class Solve(TypedDict):
    """Asks for a solution of the specs, with the sources in this order of priority.

    `names` are those of the specs. Unless they are `pinned` to one channel, they must come from the first that has them.
    `not_after` is in ISO 8601; it doesn't hold for the files that are `approved` (sha256 in hexadecimal digits).
    """

    type: Literal["solve"]
    sources: list[int]
    specs: list[str]
    names: list[str]
    pinned: list[str]
    constraints: list[str]
    not_after: str | None
    approved: list[str]


class Listed(TypedDict):
    """Asks for the owners of names, and for what they list under the digests (sha256 in hexadecimal digits)."""

    type: Literal["listed"]
    wanted: dict[str, list[str]]


class Beside(TypedDict):
    """Another package of a solution."""

    name: str
    version: str
    build: str
    subdir: str


class Candidates(TypedDict):
    """Asks for the records of a name that every spec accepts and that accept what is beside them."""

    type: Literal["candidates"]
    source: int
    name: str
    specs: list[str]
    beside: list[Beside]


class Request(TypedDict):
    """What is asked, of which channels, and within what limits. `virtual` packages are name, version and build.

    Each file that is written has at most `file_bytes`, unpacked; this process has at most `memory_bytes` of its own.
    """

    ask: Solve | Listed | Candidates
    sources: list[Source]
    subdir: str
    virtual: list[tuple[str, str, str]]
    cache_dir: str
    offline: bool
    seconds: float
    file_bytes: int
    memory_bytes: int


# --- the channels -----------------------------------------------------------------------------------------------------


class Channels:
    """The sources, and the gateway to them, which reads each of them once. `asked` are those that are being used."""

    def __init__(self, request: Request) -> None:
        self.sources = request["sources"]
        self.subdirs = [rattler.Subdir(request["subdir"]), rattler.Subdir("noarch")]
        self.channels = [rattler.Channel(source["url"]) for source in request["sources"]]
        self.asked: set[int] = set()
        self._reading: dict[int, asyncio.Task[frozenset[str]]] = {}
        self.urls = [f"{source['url'].rstrip('/')}/" for source in request["sources"]]
        self.places = {channel.base_url: place for place, channel in enumerate(self.channels)}
        self._logins = self._places_of_logins()
        action = "force-cache-only" if request["offline"] else "cache-or-fetch"
        middlewares = [RetryMiddleware(RETRIES), AddHeadersMiddleware(self._headers)]
        # no middleware that looks for logins by itself: neither keychain nor netrc
        client = rattler.Client(middlewares, timeout=max(1, int(request["seconds"])))  # type: ignore[arg-type]  # its lists are invariant
        self.gateway = rattler.Gateway(
            cache_dir=request["cache_dir"],  # type: ignore[arg-type]  # a string will do
            # shards lie where the channel says, maybe on another port of the same host
            per_channel_config={
                channel.base_url: SourceConfig(cache_action=action, sharded_enabled=source["login"] is None)  # type: ignore[arg-type]  # one of its literals
                for channel, source in zip(self.channels, self.sources, strict=True)
            },
            client=client,
        )

    def _places_of_logins(self) -> dict[tuple[str, str], str]:
        """Host and path of each file that a login may be sent for, with the login as a header.

        A request is told by these alone, without scheme and port, so they must be one source's. Any other address that
        a channel names (its own shards, or those of another channel on this one's host) is asked without a login.
        """
        found: dict[tuple[str, str], str | None] = {}
        for channel, source in zip(self.channels, self.sources, strict=True):
            login = source["login"]
            header = None if login is None else f"Basic {base64.b64encode(':'.join(login).encode()).decode('ascii')}"
            # as rattler writes it, which is what it asks for
            parts = urlsplit(channel.base_url)
            for subdir in self.subdirs:
                for ending in REPODATA_ENDINGS:
                    place = (parts.hostname or "", f"{parts.path.rstrip('/')}/{subdir}/repodata.json{ending}")
                    found[place] = header if found.get(place, header) == header else None
        return {place: header for place, header in found.items() if header is not None}

    def _headers(self, host: str, path: str) -> dict[str, str]:
        """What a request is sent with. Redirects don't come here: they keep the header within their origin only."""
        header = self._logins.get((host.lower().strip("[]"), path))
        return {} if header is None else {"Authorization": header}

    async def names(self, place: int) -> frozenset[str]:
        """The names that a source has anything of."""
        return await self.reading(place)

    def reading(self, place: int) -> asyncio.Task[frozenset[str]]:
        """The same, begun and not waited for."""
        self.asked.add(place)
        if place not in self._reading:
            self._reading[place] = asyncio.create_task(self.read(place))
        return self._reading[place]

    async def read(self, place: int) -> frozenset[str]:
        """The same, asked anew: what the gateway has read already it knows."""
        found = await self.gateway.names([self.channels[place]], self.subdirs, channel_relations="disabled")
        return frozenset(name.normalized for name in found)

    async def records(self, place: int, names: Iterable[str]) -> list[rattler.RepoDataRecord]:
        """All that a source has of the names."""
        self.asked.add(place)
        specs = [rattler.MatchSpec(name) for name in names]
        found = await self.gateway.query(
            [self.channels[place]], self.subdirs, specs, recursive=False, channel_relations="disabled"
        )
        return [record for records in found for record in records]

    async def owners(self, names: Mapping[str, int]) -> dict[str, int]:
        """For every name the first source that has it. One that is known to have it comes with it: only those before are asked."""
        owners = {name: place for name, place in names.items() if place < len(self.channels)}
        unowned = dict(names)
        for place in range(len(self.channels)):
            if any(place < known for known in unowned.values()):
                there = await self.names(place)
                for name in [name for name, known in unowned.items() if place < known and name in there]:
                    owners[name] = place
                    del unowned[name]
        return owners


class Undated:
    """A source whose approved files say no time, so that no cutoff holds for them; `times` are what they said.

    All other records are as they came: a name that has young ones only is still this source's.
    """

    def __init__(self, channel: rattler.Channel, gateway: rattler.Gateway, approved: frozenset[str]) -> None:
        self._channel = channel
        self._gateway = gateway
        self._approved = approved
        self.times: dict[str, datetime | None] = {}

    async def fetch_package_records(
        self, platform: rattler.Subdir, name: rattler.PackageName
    ) -> list[rattler.RepoDataRecord]:
        """All records of a name."""
        specs = [rattler.MatchSpec(name.normalized)]
        answer = await self._gateway.query(
            [self._channel], [platform], specs, recursive=False, channel_relations="disabled"
        )
        found = [record for records in answer for record in records]
        for record in found:
            digest = "" if record.sha256 is None else record.sha256.hex()
            if digest in self._approved:
                self.times[digest] = record.indexed_timestamp
                record.indexed_timestamp = None
                record.timestamp = None
        return found

    def package_names(self, platform: rattler.Subdir) -> list[str]:
        """No names: they are asked of the channel."""
        del platform
        return []


# --- the answers ------------------------------------------------------------------------------------------------------


async def answer(request: Request) -> dict[str, object]:
    """The answer to a request; a failure says which sources are to blame, as far as that can be told."""
    channels = Channels(request)
    ask = request["ask"]
    if ask["type"] == "solve":
        answering, names = _solve(ask, request, channels), ask["names"]
    elif ask["type"] == "listed":
        answering, names = _listed(ask, channels), list(ask["wanted"])
    else:
        answering, names = _candidates(ask, request, channels), [ask["name"]]
    blamed: Iterable[int] = ()
    task = asyncio.ensure_future(answering)
    # Python ignores the signal, so that rattler would find out by itself, and begin anew three times
    asyncio.get_running_loop().add_signal_handler(signal.SIGXFSZ, task.cancel)
    try:
        return await asyncio.wait_for(task, request["seconds"])
    except asyncio.CancelledError:
        text = f"a file of it is larger than {request['file_bytes']} bytes, unpacked"
        blamed = await _unread(channels, ()) or channels.asked
    except TimeoutError:
        text = f"not done within {request['seconds']:g} s"
        blamed = await _unread(channels, ())
    except GatewayError as error:
        text = str(error)
        named = [place for place, url in enumerate(channels.urls) if url in text]
        blamed = named or await _unread(channels, names) or channels.asked
    except Exception as error:  # noqa: BLE001  # it has some forty classes of errors, of which none is an answer
        text = str(error)
    return {"type": "error", "text": text, "blamed": sorted(blamed)}


async def _solve(ask: Solve, request: Request, channels: Channels) -> dict[str, object]:
    """A solution under strict channel priority.

    The gateway leaves out what the user's own specs don't match before the solver sees which channel has the name, so
    that `acme >=2` would be taken from a later channel when the first has 1.0 only. Where that was done, once more with
    the bare name among the specs: then all records of the name are seen.
    """
    channels.asked.update(ask["sources"])
    # whatever is found, those before all of them might own its name
    for place in range(min(ask["sources"], default=0)):
        channels.reading(place)
    specs = list(ask["specs"])
    try:
        found = await _solution(specs, ask, request, channels)
        while strays := await _strays(found, specs, ask, channels):
            specs += strays
            found = await _solution(specs, ask, request, channels)
    except SolverError as error:
        if not str(error).startswith(UNSATISFIABLE):
            raise
        there: frozenset[str] = frozenset()
        for place in ask["sources"]:
            there |= await channels.names(place)
        missing = [name for name in ask["names"] if name not in there]
        return {"type": "failed", "explanation": str(error).removeprefix(UNSATISFIABLE), "not_found": missing}
    records = [_record(record, channels) for record in found]
    owners = await channels.owners({record.name.normalized: channels.places[record.channel] for record in found})
    return {"type": "solution", "records": records, "owners": owners}


async def _strays(
    found: Iterable[rattler.RepoDataRecord], specs: Sequence[str], ask: Solve, channels: Channels
) -> list[str]:
    """The names among the user's that were taken from another channel than the first that has them."""
    strays: list[str] = []
    for record in found:
        name = record.name.normalized
        if name in ask["names"] and name not in ask["pinned"] and name not in specs:
            before = ask["sources"][: ask["sources"].index(channels.places[record.channel])]
            if any([name in await channels.names(place) for place in before]):
                strays.append(name)
    return strays


async def _solution(
    specs: Sequence[str], ask: Solve, request: Request, channels: Channels
) -> list[rattler.RepoDataRecord]:
    approved = frozenset(ask["approved"])
    undated = [Undated(channels.channels[place], channels.gateway, approved) for place in ask["sources"]]
    found = await rattler.solve(
        undated if approved else [channels.channels[place] for place in ask["sources"]],
        [rattler.MatchSpec(spec) for spec in specs],
        gateway=channels.gateway,
        platforms=channels.subdirs,
        virtual_packages=[
            rattler.GenericVirtualPackage(
                rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
            )
            for name, version, build in request["virtual"]
        ],
        timeout=timedelta(seconds=request["seconds"]),
        channel_priority=rattler.ChannelPriority.Strict,
        exclude_newer=None if ask["not_after"] is None else datetime.fromisoformat(ask["not_after"]),
        constraints=[rattler.MatchSpec(spec) for spec in ask["constraints"]],
        channel_relations="disabled",
        timestamp_policy="allow-missing",
    )
    times = {digest: time for source in undated for digest, time in source.times.items()}
    for record in found:
        if record.sha256 is not None and record.sha256.hex() in times:
            record.indexed_timestamp = times[record.sha256.hex()]
    return found


async def _listed(ask: Listed, channels: Channels) -> dict[str, object]:
    owners = await channels.owners(dict.fromkeys(ask["wanted"], len(channels.channels)))
    records: list[dict[str, object]] = []
    twins: list[dict[str, object]] = []
    for place in sorted(set(owners.values())):
        found = await channels.records(place, [name for name, owner in owners.items() if owner == place])
        by_build: dict[tuple[str, str], list[rattler.RepoDataRecord]] = {}
        for record in found:
            digest = record.sha256
            if digest is not None and digest.hex() in ask["wanted"].get(record.name.normalized, ()):
                records.append(_record(record, channels))
                by_build.setdefault((record.name.normalized, str(record.build)), []).append(record)
        for record in found:
            asked = by_build.get((record.name.normalized, str(record.build)), ())
            if any(_is_twin(record, other) for other in asked):
                twins.append(_record(record, channels))
    return {"type": "listing", "records": records, "twins": twins, "owners": owners}


def _is_twin(record: rattler.RepoDataRecord, other: rattler.RepoDataRecord) -> bool:
    """Whether conda can't tell it from the other one, of the same name and build: 1.0 and 1.0.0 are one version."""
    same = rattler.Version(str(record.version)) == rattler.Version(str(other.version))
    return same and record.sha256 != other.sha256


async def _candidates(ask: Candidates, request: Request, channels: Channels) -> dict[str, object]:
    specs = [_match_spec(text) for text in ask["specs"]]
    beside = [(other["name"], other["version"], other["build"], other["subdir"]) for other in ask["beside"]]
    beside += [(*virtual, "noarch") for virtual in request["virtual"]]
    others = {name: _package_record(name, version, build, subdir) for name, version, build, subdir in beside}
    best: dict[rattler.Version, rattler.RepoDataRecord] = {}
    for record in await channels.records(ask["source"], [ask["name"]]):
        if record.name.normalized != ask["name"] or not all(
            spec is not None and spec.matches(record) for spec in specs
        ):
            continue
        if not all(_holds(text, others) for text in (*record.depends, *record.constrains)):
            continue
        version = rattler.Version(str(record.version))
        if version not in best or _rank(record) > _rank(best[version]):
            best[version] = record
    chosen = [best[version] for version in sorted(best)][-MAX_CANDIDATES:]
    return {"type": "records", "records": [_record(record, channels) for record in chosen]}


def _holds(text: str, others: Mapping[str, rattler.PackageRecord]) -> bool:
    """Whether a dependency holds for the package that it names, if that is there."""
    name = re.match(r"[A-Za-z0-9_.-]+", text)
    other = None if name is None else others.get(name[0].lower())
    if other is None:
        return True
    spec = _match_spec(text)
    return spec is not None and spec.matches(other)


@lru_cache(maxsize=4096)
def _match_spec(text: str) -> rattler.MatchSpec | None:
    """A packager's spec; None for one that can't be read, which nothing matches."""
    try:
        return rattler.MatchSpec(text)
    except Exception:  # noqa: BLE001  # a spec of a hostile channel
        return None


def _package_record(name: str, version: str, build: str, subdir: str) -> rattler.PackageRecord:
    return rattler.PackageRecord(name, version, rattler.BuildString(build), 0, subdir)


def _rank(record: rattler.RepoDataRecord) -> tuple[int, datetime]:
    """The better of two builds has the higher number, then the later time."""
    return record.build_number, record.indexed_timestamp or record.timestamp or datetime.min.replace(tzinfo=UTC)


def _record(record: rattler.RepoDataRecord, channels: Channels) -> dict[str, object]:
    indexed = record.indexed_timestamp
    return {
        "source": channels.places[record.channel],
        "subdir": record.subdir,
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "filename": record.file_name,
        "url": record.url,
        "sha256": None if record.sha256 is None else record.sha256.hex(),
        "md5": None if record.md5 is None else record.md5.hex(),
        "size": record.size,
        "indexed": None if indexed is None else indexed.isoformat(),
        "depends": record.depends,
    }


# --- whose fault it is ------------------------------------------------------------------------------------------------


async def _unread(channels: Channels, names: Sequence[str]) -> list[int]:
    """The sources in use that can't be read by themselves, or not in a moment: those that were read already can be."""
    places = sorted(channels.asked)
    read = await asyncio.gather(*(_reads(channels, place, names) for place in places))
    return [place for place, well in zip(places, read, strict=True) if not well]


async def _reads(channels: Channels, place: int, names: Sequence[str]) -> bool:
    try:
        await asyncio.wait_for(channels.read(place), GRACE_SECONDS)
        await asyncio.wait_for(channels.records(place, names), GRACE_SECONDS)
    except Exception:  # noqa: BLE001  # whatever it is, it is this source's
        return False
    return True


def _limit(which: int, limit: int) -> None:
    """Takes the limit of a resource down, never up."""
    soft, hard = resource.getrlimit(which)
    known = [other for other in (soft, hard) if other != resource.RLIM_INFINITY]
    resource.setrlimit(which, (min([limit, *known]), hard))


def main() -> None:
    """Answers the request on stdin; ends the process."""
    request: Request = json.loads(sys.stdin.buffer.read())
    _limit(resource.RLIMIT_FSIZE, request["file_bytes"])
    # not the address space, of which threads reserve much that nobody uses; this counts what they can write to
    _limit(resource.RLIMIT_DATA, request["memory_bytes"])
    # a process that dies of these leaves no image of itself, with the logins in it
    _limit(resource.RLIMIT_CORE, 0)
    text = json.dumps(asyncio.run(answer(request)))
    sys.stdout.buffer.write(text.encode("ascii"))
    sys.stdout.buffer.flush()
    os._exit(0)
