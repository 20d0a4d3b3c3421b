"""The resolver: uv as a subprocess, wheels only, in an environment of our making.

One run gives versions, digests, edges and the index of each package: requirements output with hashes and annotations.
uv gets lines that are rendered from parsed values, never the user's text, and none of the user's uv or pip settings:
no configuration files, no UV_* or PIP_* variables, no netrc (HOME is an empty folder), no credential store.

Distributions that conda installs are given to it as wheels of nothing but metadata, and left out of its answer. So are
approved files, in folders beside the indexes (`--find-links`, which owns no name and knows no cutoff); those whose names
are kept to the mirror are an index of their own, the first.
It does not judge: what uv chose is held against the owners' pages by the caller.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
from packaging.requirements import Requirement as Pep508
from packaging.utils import NormalizedName, canonicalize_name, parse_sdist_filename
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.exceptions import MIRROR
from quarantine.io.cache import private_folder, read_cached, write_cached
from quarantine.model import (
    Digest,
    Ecosystem,
    Package,
    Requirement,
    Target,
    parse_name,
    parse_version,
    parse_wheel_name,
)
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    Installed,
    OverlayFile,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
    Tell,
)

if TYPE_CHECKING:
    from quarantine.io.process import Completed

__all__ = ["UvResolver", "default_index_url"]

MAX_OUTPUT_BYTES = 32 * 1024 * 1024
MAX_EXPLANATION = 2000


def default_index_url(cache_dir: Path) -> str:
    """The URL of the index that uv uses when it is told of none, as uv itself says; remembered for each binary of uv."""
    binary = _binary().stat()
    file = private_folder(cache_dir) / f"default-index-{binary.st_size}-{binary.st_mtime_ns}"
    known = (read_cached(file, 1000) or b"").decode("ascii", "replace")
    if _is_url(known):
        return known
    import tempfile  # noqa: PLC0415  # only a resolution writes anything

    with tempfile.TemporaryDirectory(prefix="quarantine-") as folder:
        command = ["pip", "compile", "-", "--no-config", "--offline", "--no-header", "--emit-index-url", "--no-cache"]
        python = ["--no-python-downloads", "--python", sys.executable]
        done = _uv([*command, *python], {}, Path(folder), b"", 30)
    option, _, url = done.stdout.decode("utf-8", "replace").strip().partition(" ")
    if done.returncode != 0 or option != "--index-url" or not _is_url(url):
        raise UpstreamError(
            "uv does not say which index it uses by default: give every pypi upstream of the policy a url"
        )
    write_cached(file, url.encode())
    return url


def _is_url(text: str) -> bool:
    return re.fullmatch(r"https?://[!-?A-~]+", text) is not None


class UvResolver:
    """A `PythonResolver`. `upstreams` are the policy's, in order of ownership; those of other ecosystems are left out.

    `reserved` says which upstream alone may have a name. `logins` are user and password by upstream name; they reach
    uv in its environment. `environ` is what the process environment says of certificates and proxies. With `offline`
    only what is in the cache counts.
    """

    def __init__(
        self,
        *,
        upstreams: Iterable[Upstream],
        reserved: Callable[[NormalizedName], str | None],
        cache_dir: Path,
        environ: Mapping[str, str],
        logins: Mapping[str, tuple[str, str]],
        time_limit_seconds: float = 90,
        offline: bool = False,
    ) -> None:
        self._upstreams = tuple(upstream for upstream in upstreams if upstream.type is Ecosystem.PYPI)
        self._reserved = reserved
        self._cache_dir = cache_dir
        self._environ = environ
        self._logins = logins
        self._time_limit = time_limit_seconds
        self._offline = offline
        self._url_by_name: dict[str, str] | None = None

    def resolve(self, request: ResolutionRequest, tell: Tell) -> Resolution | ResolutionFailed:
        """One solution, or why there is none. UpstreamError when an index fails or the time limit is over.

        1. Resolve with the indexes in the policy's order; the first that has a name is asked for it alone.
        2. Where that took a reserved name from an index that isn't its own, or failed over one, once more with its own
           index first.
        3. Where it is still taken from elsewhere, its own upstream doesn't have it: the name is not found.
        """
        tell(f"resolving {len(request.requirements)} requirements for {request.target}")
        answer = self._solve(request, self._upstreams)
        match answer:
            case Resolution():
                doubtful = self._strays(answer)
            case ResolutionFailed():
                names = re.findall(_NAME, answer.explanation)
                doubtful = frozenset(filter(self._reserved, _names(names)))
        owners = {self._reserved(name) for name in doubtful}
        order = tuple(sorted(self._upstreams, key=lambda upstream: upstream.name not in owners))
        if order != self._upstreams:  # (2)
            answer = self._solve(request, order)
        strays = self._strays(answer)
        if strays:  # (3)
            missing = ", ".join(sorted(strays))
            return ResolutionFailed(explanation=f"reserved, and not in its own upstream: {missing}", not_found=strays)
        return answer

    def _strays(self, answer: Resolution | ResolutionFailed) -> frozenset[NormalizedName]:
        """The packages that come from an index that may not have their names; approved files come from none."""
        packages = answer.packages if isinstance(answer, Resolution) else ()
        packages = tuple(package for package in packages if package.upstream != MIRROR)
        return frozenset(p.name for p in packages if self._reserved(p.name) not in (None, p.upstream))

    def _solve(self, request: ResolutionRequest, order: Sequence[Upstream]) -> Resolution | ResolutionFailed:
        done = self._run(request, order, extras=True)
        if done.returncode == 0:
            stubs = frozenset(one.package.name for one in request.installed)
            used = stubs & _names(re.findall(_USED, done.stdout.decode("utf-8", "replace"), re.MULTILINE))
            sources = _Sources(
                upstreams={url.rstrip("/"): name for name, url in self._urls().items()},
                direct=frozenset(r.name for r in _wanted(request) if r.name is not None),
                used=used,
                overlay=request.overlay,
            )
            return Resolution(packages=tuple(_packages(done.stdout, sources)), used=used)
        failed = _failure(done, request.installed)
        if re.search(r"there are no versions of [a-z0-9-]+\[", failed.explanation):
            # uv says this of a name that nobody has, too, when it is asked for with an extra
            plain = self._run(request, order, extras=False)
            if plain.returncode != 0:
                return _failure(plain, request.installed)
        return failed

    def _run(self, request: ResolutionRequest, order: Sequence[Upstream], *, extras: bool) -> "Completed":
        options = ["--no-config", "--no-build", "--no-python-downloads", "--python", sys.executable]
        options += ["--generate-hashes", "--emit-index-annotation", "--no-header", "--no-progress", "--color", "never"]
        options += ["--python-version", request.target.python, "--python-platform", request.target.uv_platform]
        options += ["--cache-dir", str(private_folder(self._cache_dir) / "uv"), "--index-strategy", "first-index"]
        options += ["--offline"] if self._offline else []
        kept = {file.name for file in request.overlay if self._reserved(file.name) == MIRROR}
        if request.not_after is not None:
            options += ["--exclude-newer", _timestamp(request.not_after)]
            # an index of files has no upload times, and what is on it was approved
            lifted = {**dict(request.not_after_by_name), **dict.fromkeys(sorted(kept))}
            for name, instant in lifted.items():
                until = "false" if instant is None else _timestamp(instant)
                options += ["--exclude-newer-package", f"{name}={until}"]
        import tempfile  # noqa: PLC0415  # only a resolution writes anything

        from quarantine.io.guard import child_network  # noqa: PLC0415  # a lock resolves nothing

        with tempfile.TemporaryDirectory(prefix="quarantine-") as temporary:
            folder = Path(temporary)
            options += self._index_options(order, self._mirrored(request.overlay, kept, folder))
            options += self._links((file for file in request.overlay if file.name not in kept), folder)
            constraints = _constraints(request.constraints, request.target)
            constraints += _text(self._stubs(request.installed, folder)).decode()
            if constraints:
                (folder / "constraints.txt").write_text(constraints, "utf-8")
                options += ["--constraints", "constraints.txt"]
            if request.excluded:
                (folder / "excludes.txt").write_text("".join(f"{name}\n" for name in sorted(request.excluded)), "utf-8")
                options += ["--excludes", "excludes.txt"]
            lines = [_line(r, extras=extras) for r in _wanted(request)]
            environment = {**child_network(self._environ, self._urls().values()), **self._login_variables(order)}
            return _uv(["pip", "compile", "-", *options], environment, folder, _text(lines), self._time_limit)

    def _stubs(self, installed: Iterable[Installed], temporary: Path) -> Iterator[str]:
        """For every distribution that is there already, the constraint that makes uv take it and nothing else.

        They lie where they can stay, since uv keeps what it read of a file under the file's path: with a new path at
        each run its cache would grow without end.
        """
        from quarantine.archive.stub_wheel import stub_wheel  # noqa: PLC0415  # few resolutions have any

        for one in _by_name(installed):
            path = self._kept("stubs-1", *stub_wheel(one.package, one.metadata), temporary)
            yield f"{one.package.name}@{path.absolute().as_uri()}"

    def _links(self, overlay: Iterable[OverlayFile], temporary: Path) -> Iterator[str]:
        """The options that show uv approved files: each in a folder of its own, since names may be the same."""
        for file in overlay:
            path = self._kept(_OVERLAY, *_stub(file), temporary)
            yield from ("--find-links", path.parent.absolute().as_uri())

    def _mirrored(self, overlay: Iterable[OverlayFile], names: Collection[str], temporary: Path) -> Sequence[str]:
        """The URL of an index of the approved files whose names are kept to the mirror, if there are any."""
        if not names:
            return ()
        root = temporary / "mirror"
        for file in overlay:
            if file.name in names:
                path = self._kept(_OVERLAY, *_stub(file), temporary)
                page = root / file.name / "index.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                with page.open("a", encoding="ascii") as stream:
                    stream.write(f'<a href="{path.absolute().as_uri()}">{file.filename}</a><br>\n')
        return (root.as_uri(),)

    def _kept(self, kind: str, filename: str, data: bytes, temporary: Path) -> Path:
        """Where a stub lies: in the cache, or where that can't be written, for this run only."""
        root = private_folder(private_folder(self._cache_dir) / kind)
        digest = hashlib.sha256(data).hexdigest()
        path = private_folder(root / digest) / filename
        if read_cached(path, len(data)) != data:
            write_cached(path, data)
            if read_cached(path, len(data)) != data:
                path = temporary / kind / digest / filename
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return path

    def _urls(self) -> Mapping[str, str]:
        """The address of every upstream by its name."""
        if self._url_by_name is None:
            self._url_by_name = {
                upstream.name: default_index_url(self._cache_dir) if upstream.url is None else upstream.url
                for upstream in self._upstreams
            }
        return self._url_by_name

    def _index_options(self, order: Sequence[Upstream], before: Sequence[str]) -> list[str]:
        """The default index is the one that uv asks last, so the last upstream becomes it. The names are ours: none collide.

        The URLs `before` are asked first.
        """
        urls = self._urls()
        named = [f"m{number}={url}" for number, url in enumerate(before)]
        named += [f"q{number}={urls[upstream.name]}" for number, upstream in enumerate(order)]
        if not named:
            return ["--no-index"]
        options = [part for index in named[:-1] for part in ("--index", index)]
        return [*options, "--default-index", named[-1]]

    def _login_variables(self, order: Sequence[Upstream]) -> dict[str, str]:
        variables: dict[str, str] = {}
        for number, upstream in enumerate(order):
            if upstream.name in self._logins:
                user, password = self._logins[upstream.name]
                variables |= {f"UV_INDEX_Q{number}_USERNAME": user, f"UV_INDEX_Q{number}_PASSWORD": password}
        return variables


def _binary() -> Path:
    from uv import find_uv_bin  # noqa: PLC0415  # looks for the binary; only what needs it pays for it

    try:
        return Path(find_uv_bin())
    except FileNotFoundError as error:
        raise UpstreamError(
            "uv's binary is missing: install the uv wheel again (pip install --force-reinstall uv)"
        ) from error


def _uv(argv: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes, seconds: float) -> "Completed":
    from quarantine.io.process import run  # noqa: PLC0415  # a lock resolves nothing

    home = folder / "home"
    home.mkdir()
    # the certificates that the operating system trusts, as everywhere else
    fixed = {"HOME": str(home), "TMPDIR": str(folder), "UV_SYSTEM_CERTS": "1", "UV_HTTP_TIMEOUT": "20", "NO_COLOR": "1"}
    return run(
        [str(_binary()), *argv],
        env={**environment, **fixed},
        cwd=folder,
        stdin=stdin,
        timeout_seconds=seconds,
        max_output_bytes=MAX_OUTPUT_BYTES,
    )


# --- what goes in -----------------------------------------------------------------------------------------------------


def _wanted(request: ResolutionRequest) -> list[Requirement]:
    """What is to be resolved: by name, and for this target. Markers are decided here, so none is ever rendered."""
    named = (r for r in request.requirements if r.reference is None and r.name is not None)
    return [r for r in named if r.name not in request.excluded and r.applies_to(request.target)]


def _line(requirement: Requirement, *, extras: bool) -> str:
    extra = f"[{','.join(requirement.extras)}]" if extras and requirement.extras else ""
    return f"{requirement.name}{extra}{requirement.specifier}"


def _by_name(installed: Iterable[Installed]) -> Iterable[Installed]:
    """One for each name. UpstreamError when two versions of one are there: which of them is used can't be known."""
    found: dict[NormalizedName, Installed] = {}
    for one in installed:
        other = found.setdefault(one.package.name, one)
        if other.package.version != one.package.version:
            versions = sorted((other.package.version, one.package.version))
            raise UpstreamError(f"conda installs {one.package.name} in two versions: {versions[0]} and {versions[1]}")
        if other.metadata is None and one.metadata is not None:
            found[one.package.name] = one
    return found.values()


def _constraints(constraints: Iterable[str], target: Target) -> str:
    parsed = map(Pep508, constraints)
    environment = {**target.environment(), "extra": ""}
    holding = (p for p in parsed if p.url is None and (p.marker is None or p.marker.evaluate(environment)))
    return _text(f"{parse_name(p.name)}{p.specifier}" for p in holding).decode()


def _text(lines: Iterable[str]) -> bytes:
    kept = list(lines)
    for line in kept:
        # a line of uv's input may start an option, a comment or another line
        if not re.fullmatch(r"[A-Za-z0-9][!-~]*", line):
            raise UpstreamError(f"{line!a} can't be given to uv: only printable ASCII without spaces is")
    return "".join(f"{line}\n" for line in kept).encode("ascii")


def _timestamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- what comes out ---------------------------------------------------------------------------------------------------


_USED = r"^([a-z0-9-]+) @ file://"


_OVERLAY = "overlay-1"


class _Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where packages may come from: upstreams by their URLs, installed distributions that are used, approved files."""

    upstreams: Mapping[str, str]
    direct: frozenset[NormalizedName]
    used: frozenset[NormalizedName]
    overlay: tuple[OverlayFile, ...]


def _packages(stdout: bytes, sources: _Sources) -> Iterator[ResolvedPackage]:
    """The packages of uv's requirements output, each with its hashes, who pulled it in, and its index.

    Those that are there already are left out; nothing else may come from a file but an approved one.
    """
    for block in re.split(r"\n(?=[^\s#])", stdout.decode("utf-8", "replace").strip()):
        stub = re.match(_USED, block)
        if not block or (stub is not None and stub[1] in sources.used):
            continue
        pin = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", block)
        index = re.search(r"^ +# from (\S+)$", block, re.MULTILINE)
        local = index is not None and index[1].startswith("file://")
        upstream = MIRROR if local else None if index is None else sources.upstreams.get(index[1].rstrip("/"))
        if pin is None or upstream is None:
            raise UpstreamError(f"uv's answer can't be read: expected a pin and its index, found {block[:200]!a}")
        try:
            name, version = parse_name(pin[1]), parse_version(pin[2])
            digests = frozenset(map(Digest.sha256, re.findall(r"--hash=sha256:(\S+)", block)))
            required_by = tuple(sorted({parse_name(who) for who in _via(block)}))
        except ValueError as error:
            raise UpstreamError(f"uv's answer can't be read: {error}") from error
        yield ResolvedPackage(
            name=name,
            version=version,
            upstream=upstream,
            digests=_approved(name, version, digests, sources.overlay) if local else digests,
            required_by=required_by,
            direct=name in sources.direct,
        )


def _approved(
    name: NormalizedName, version: Version, stubs: frozenset[Digest], overlay: Iterable[OverlayFile]
) -> frozenset[Digest]:
    """The digests of the approved files of a version, which uv knows by their stubs. UpstreamError when it took another file."""
    files = {
        Digest.sha256(hashlib.sha256(_stub(file)[1]).hexdigest()): file.digest
        for file in overlay
        if (file.name, file.version) == (name, version)
    }
    if not files or not stubs <= files.keys():
        raise UpstreamError(f"uv's answer can't be read: {name} {version} is from a file that nobody gave it")
    return frozenset(files.values())


def _stub(file: OverlayFile) -> tuple[str, bytes]:
    from quarantine.archive.stub_wheel import stub_wheel  # noqa: PLC0415  # few resolutions have any

    return stub_wheel(Package(file.name, file.version), file.metadata, file.filename, file.digest)


def _via(block: str) -> Iterator[str]:
    """The packages named by `# via`, on its line or one a line below it; files (`-c constraints.txt`) are none."""
    listing = False
    for line in block.splitlines():
        comment = line.strip()
        if comment.startswith("# via"):
            listing = True
            comment = "#   " + comment.removeprefix("# via").strip()
        if listing and comment.startswith("#   "):
            who = comment.removeprefix("#   ").strip().partition("[")[0]
            if who and not who.startswith("-"):
                yield who
        else:
            listing = False


_FRAMES = re.compile("\x1b\\[[0-9;]*m|[\u00d7\u2500-\u257f\u25b6]")
_NAME = r"\b([A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)"
_STUB = r"file://[^\s`]*/(?:stubs-1/[0-9a-f]{64}|quarantine-[^\s`/]+)/([a-z0-9_]+)-([^\s`/-]+)-py3-none-any\.whl"
_NO_SOLUTION = "No solution found when resolving dependencies"
_URL_DEPENDENCY = "was included as a URL dependency"
# An index that refused to answer leaves a name "not found": that is no answer.
_UNASKED = ("could not be queried", "returned a 40", "network was disabled", "was not found in the cache")


def _failure(done: "Completed", installed: Iterable[Installed]) -> ResolutionFailed:
    """Why there is no solution, in uv's sentence. UpstreamError for every failure that isn't the solver's."""
    text = _FRAMES.sub(" ", done.stderr.decode("utf-8", "replace"))
    warnings = re.findall(r"^\s*warning:.*$", text, re.MULTILINE)
    head, *hints = re.split(r"^\s*hint:", re.sub(r"^\s*warning:.*$", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    head = " ".join(head.split()).removeprefix("error: ")
    solver = _NO_SOLUTION in head or _URL_DEPENDENCY in head
    unasked = next((hint for hint in (head, *hints) if any(phrase in hint for phrase in _UNASKED)), None)
    if done.returncode != 1 or not solver or unasked is not None:
        said = _without_secrets(" ".join((unasked or head).split()))[:MAX_EXPLANATION]
        raise UpstreamError(
            f"uv could not resolve: {said or f'it ended with status {done.returncode} and said nothing'}"
        )
    sentence = head.partition(_NO_SOLUTION)[2] or head.partition(" Consider adding ")[0]
    sentence = _without_secrets(re.sub(r"^[: ]*cause: ", "", sentence).replace(" cause: ", ": "))
    said = " ".join(hints)
    return ResolutionFailed(
        explanation=sentence[:MAX_EXPLANATION] + _what_is_there(sentence, installed),
        source_only=_names(re.findall(rf"Wheels are required for `{_NAME}`", said)),
        not_found=_names(re.findall(rf"{_NAME} was not found in the package registry", head)),
        no_upload_time=_without_time(warnings)
        & _names(re.findall(rf"`{_NAME}` was filtered by `exclude-newer`", said)),
    )


def _what_is_there(sentence: str, installed: Iterable[Installed]) -> str:
    """Which of the packages in uv's sentence are there already: it says of those only that no others are to be had."""
    named = _names(re.findall(_NAME, sentence))
    there = sorted({f"{i.package.name} {i.package.version}" for i in installed if i.package.name in named})
    return f" (conda installs {', '.join(there)})" if there else ""


def _names(found: Iterable[str]) -> frozenset[NormalizedName]:
    return frozenset(map(canonicalize_name, found))


def _without_time(warnings: Iterable[str]) -> frozenset[NormalizedName]:
    """The packages whose files uv left out because their index gives no upload time for them."""
    names: set[NormalizedName] = set()
    for warning in warnings:
        file = re.search(r"`([^`]+)` is missing an upload date", warning)
        if file is None:
            continue
        try:
            parse = parse_wheel_name if file[1].endswith(".whl") else parse_sdist_filename
            names.add(parse(file[1])[0])
        except ValueError:
            continue
    return frozenset(names)


def _without_secrets(text: str) -> str:
    """The text with every URL cut down to scheme, host and path, and without the places of stub wheels."""
    text = re.sub(rf"(?:file://)?[^\s`]*/{_OVERLAY}/[0-9a-f]{{64}}", "the approved files", text)
    text = re.sub(_STUB, lambda stub: f"{stub[1].replace('_', '-')} {unquote(stub[2])}, which conda installs", text)
    return re.sub(r"(https?://)(?:[^\s/@`]*@)?([^\s?#`)]*)[^\s`)]*", r"\1\2", text)
