"""The live advisory source: pip-audit, by its command line, asking an OSV service about each package.

It knows neither severities nor digests, and the service behind it may be any. Silence of a service that knows nothing
looks like innocence, so before anything is believed it must find a flaw that is known to be there; and it counts as a
source of malware records only when it also knows a piece of malware. pip-audit reads the first page of an answer only.
"""

import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import UpstreamError, install_extra
from quarantine.io.process import run
from quarantine.model import Finding, Package, Snapshot, parse_name, parse_version
from quarantine.policy.advisories import is_malware, join_findings
from quarantine.policy.osv_record import is_identifier, plain_line
from quarantine.ports import Tell

__all__ = ["PipAudit"]

TIMEOUT_SECONDS = 300.0
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# what every source of advisories on PyPI knows: a flaw of 2018, and the takeover of March 2026
_KNOWN_FLAW = (Package(parse_name("requests"), parse_version("2.19.0")), "CVE-2018-18074")
_KNOWN_MALWARE = Package(parse_name("litellm"), parse_version("1.82.7"))
# pip-audit drops a record with one of these, and says so on standard error only
_DROPPED = ("Unsupported OSV schema version", "missing 'affected' list")
_NO_HASH = "0" * 64
_NOTHING: Mapping[str, str] = MappingProxyType({})
_Pin = tuple[NormalizedName, Version]


class _Flaw(msgspec.Struct):
    id: str
    fix_versions: list[str]
    aliases: list[str]
    description: str


class _Dependency(msgspec.Struct):
    name: str
    version: str | None = None
    vulns: list[_Flaw] | None = None
    skip_reason: str | None = None


class _Answer(msgspec.Struct):
    dependencies: list[_Dependency]


_decoder = msgspec.json.Decoder(_Answer)


class PipAudit:
    """An advisory service that asks live. `service_url` is the OSV query API to ask, pip-audit's own default if None.

    `environment` is passed on to it (certificates, proxies), and nothing else of ours. `command` is how it is called.
    """

    def __init__(
        self,
        *,
        now: datetime,
        service_url: str | None = None,
        environment: Mapping[str, str] = _NOTHING,
        command: Sequence[str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._now = now
        self._service_url = service_url
        self._environment = environment
        self._command = command
        self._timeout = timeout_seconds
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Now, when the service has shown that it knows a flaw; the counts are of what it was seen to know.

        UpstreamError when it doesn't answer, or doesn't find the known flaw. The sha256 stands for that proof and the
        moment of it: what else the service knows can't be told.
        """
        if self._snapshot is None:
            package, flaw = _KNOWN_FLAW
            answers = self._ask([_pin(package), _pin(_KNOWN_MALWARE)])
            proof = answers[_pin(package)]
            if not any(flaw in finding.ids for finding in proof):
                raise UpstreamError(
                    f"pip-audit does not find {flaw} in {package.name} {package.version}: "
                    f"its service knows nothing, so its silence proves nothing: {self._advice()}"
                )
            malware = [finding for finding in answers[_pin(_KNOWN_MALWARE)] if finding.malware]
            seen = msgspec.json.encode([self._service_url, self._now, proof, malware])
            self._snapshot = Snapshot(
                sha256=hashlib.sha256(seen).hexdigest(),
                as_of=self._now,
                sources=(*((("malware", len(malware)),) if malware else ()), ("pip-audit", len(proof))),
                complete=True,
            )
        return self._snapshot

    def findings(self, packages: Collection[Package], tell: Tell) -> Mapping[Package, tuple[Finding, ...]]:
        """For every package what affects its version, worst first, of unknown severity.

        A version is asked about without its local part, which no database lists.
        """
        self.snapshot()
        tell(f"asking pip-audit about {len(packages)} packages")
        answers: dict[_Pin, tuple[Finding, ...]] = {}
        for pins in _batches({_pin(package) for package in packages}):
            answers |= self._ask(pins)
        return {package: answers[_pin(package)] for package in packages}

    def fixes(self, names: Collection[NormalizedName]) -> Mapping[NormalizedName, frozenset[Version]]:
        """Nothing: pip-audit can only be asked about versions, not about names."""
        return dict.fromkeys(names, frozenset())

    def _advice(self) -> str:
        if self._service_url is None:
            return "use the local database (`advisories.service: osv`)"
        return "look at `advisories.service_url`"

    def _ask(self, pins: Sequence[_Pin]) -> dict[_Pin, tuple[Finding, ...]]:
        """One run about pins of distinct names: an answer for each of them, and about nothing else."""
        with TemporaryDirectory(prefix="quarantine-pip-audit-") as folder:
            lock = Path(folder, "requirements.txt")
            lines = [f"{name}=={version} --hash=sha256:{_NO_HASH}\n" for name, version in pins]
            lock.write_text("".join(lines), encoding="ascii")
            arguments = ["-r", str(lock), "--disable-pip", "--require-hashes", "-s", "osv", "-f", "json"]
            arguments += ["--desc", "on", "--aliases", "on", "--progress-spinner", "off", "--cache-dir", folder]
            if self._service_url is not None:
                arguments += ["--osv-url", self._service_url]
            done = run(
                [*self._program(), *arguments],
                env=self._variables(folder),
                cwd=Path(folder),
                timeout_seconds=self._timeout,
                max_output_bytes=MAX_OUTPUT_BYTES,
            )
        said = done.stderr.decode(errors="replace")
        if done.returncode not in {0, 1} or any(sign in said for sign in _DROPPED):
            raise UpstreamError(f"pip-audit ended with status {done.returncode}: {_last_line(said)}")
        try:
            answer = _decoder.decode(done.stdout)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamError(
                f"pip-audit ended with status {done.returncode} and no result: {_last_line(said)}"
            ) from error
        return _read(answer, pins)

    def _program(self) -> Sequence[str]:
        if self._command is not None:
            return self._command
        if find_spec("pip_audit") is None:
            raise UpstreamError(f"pip-audit is not installed: {install_extra('pip-audit')}")
        return (sys.executable, "-I", "-m", "pip_audit")

    def _variables(self, home: str) -> dict[str, str]:
        """An environment without the user's pip configuration, netrc and `PIP_AUDIT_*`."""
        variables = {"HOME": home, "PATH": "", "PIP_CONFIG_FILE": "/dev/null", "NO_COLOR": "1", **self._environment}
        if "SSL_CERT_FILE" in self._environment:
            variables["REQUESTS_CA_BUNDLE"] = self._environment["SSL_CERT_FILE"]  # what its HTTP library listens to
        return variables


def _pin(package: Package) -> _Pin:
    return package.name, parse_version(package.version.public)


def _batches(pins: Iterable[_Pin]) -> Iterator[Sequence[_Pin]]:
    """The pins, in as few runs as may be: pip-audit refuses two versions of one name."""
    waiting = sorted(pins)
    while waiting:
        batch = dict(reversed(waiting))
        yield sorted(batch.items())
        waiting = [(name, version) for name, version in waiting if batch[name] != version]


def _read(answer: _Answer, pins: Sequence[_Pin]) -> dict[_Pin, tuple[Finding, ...]]:
    """The findings of every pin; UpstreamError when one was skipped, left out, or added."""
    found: dict[_Pin, tuple[Finding, ...]] = {}
    for dependency in answer.dependencies:
        if dependency.skip_reason is not None or dependency.version is None or dependency.vulns is None:
            raise UpstreamError(
                f"pip-audit did not look at {dependency.name!a}: {dependency.skip_reason or 'no reason given'}"
            )
        try:
            pin = parse_name(dependency.name), parse_version(dependency.version)
            found[pin] = join_findings([_finding(flaw, pin[1]) for flaw in dependency.vulns])
        except ValueError as error:
            raise UpstreamError(f"pip-audit's answer about {dependency.name!a} can't be read: {error}") from error
    if set(found) != set(pins):
        odd = min(set(found) ^ set(pins))
        raise UpstreamError(
            f"pip-audit answered about {len(found)} packages, asked about {len(pins)}: see {odd[0]} {odd[1]}"
        )
    return found


def _finding(flaw: _Flaw, version: Version) -> Finding:
    ids = [flaw.id, *flaw.aliases]
    for identifier in ids:
        if not is_identifier(identifier):
            raise ValueError(f"{identifier[:120]!a} is not an identifier")
    fixes = sorted(fix for fix in map(parse_version, flaw.fix_versions) if fix > version)
    return Finding(
        id=ids[0],
        aliases=tuple(sorted(set(ids[1:]))),
        fixed=tuple(map(str, fixes)),
        malware=is_malware(*ids),
        summary=plain_line(flaw.description),
    )


def _last_line(said: str) -> str:
    lines = [line for line in map(plain_line, said.splitlines()) if line]
    return lines[-1] if lines else "it said nothing"
