"""A project on a loopback index, and the command line run inside it: what the journeys are made of."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from osv_records import before, bundle
from servers import IndexServer

from quarantine.cli.main import main

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

POLICY = """\
version: 1
upstreams:
{upstreams}
reserved: {reserved}
identities: {identities}
projects: {projects}
default_stage: {{check: development, lock: production, gate: production}}
rules:
  minimum_age: {{days: 7, security_fix_days: 1}}
  vulnerability: {{threshold: {{severity: high}}, unknown_severity: deny, unless_no_fix: false}}
  typosquat: {{action: review}}
  locked: {{required: true}}
  unverifiable: {{action: review}}
  index_option: {{harmless: []}}
  conda: {{native: tolerate}}
  exceptions: {{approvers: 1, max_days: 90, warn_days: 14}}
  licence: {{unknown: tolerate}}
  provenance: {{required: false}}
stages:
  development: {{locked: {{required: false}}}}
  production: {{}}
ignores: []
"""

CONFIG = """\
version: 1
project: {project}
allowlists: allowlists
cache: cache
targets: [{targets}]
advisories: {{source: records.zip, max_age_hours: 96}}
resolver: {{time_limit_seconds: 60}}
registries: {registries}
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        assert self.out, self.err
        return json.loads(self.out)

    def item(self, name: str) -> Any:
        """The one item of a JSON verdict with this name."""
        (found,) = [item for item in self.json["items"] if item["name"] == name]
        return found

    def rules(self, name: str, outcome: str = "fail") -> list[str]:
        """The rules of an item that have this outcome."""
        return [reason["rule"] for reason in self.item(name)["reasons"] if reason["outcome"] == outcome]

    def of_files(self, outcome: str = "fail") -> list[tuple[str, str, int]]:
        """Rule, file and line of what is said of the files themselves with this outcome."""
        said = [r for subject in self.json["subjects"] for r in subject["reasons"] if r["outcome"] == outcome]
        return [(r["rule"], r["location"]["file"], r["location"]["line"]) for r in said]


@dataclass(kw_only=True)
class House:
    """A project in a folder, with one public loopback index named `pypi`, and others before it by name.

    `channels` are conda upstreams in order of ownership. `others` are lines of more upstreams, `lists` their entries by
    file name. `registries` says which endpoint stands for a registry.
    `settings` are more lines of the configuration. With `public` the index is the real one.
    """

    folder: Path
    index: IndexServer
    private: dict[str, IndexServer] = field(default_factory=dict)
    reserved: list[dict[str, str]] = field(default_factory=list)
    projects: list[dict[str, str]] = field(default_factory=list)
    identities: list[dict[str, str]] = field(default_factory=list)
    targets: tuple[str, ...] = ('{python: "3.11", platform: linux-x86_64}',)
    variables: dict[str, str] = field(default_factory=dict)
    credentials: str | None = None
    entries: str | None = None
    mode: str = "open"
    channels: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)
    registries: dict[str, str] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    project: str = "demo"
    public: bool = False

    def write(self, name: str, text: str | bytes) -> Path:
        """A file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def settle(self) -> None:
        """Writes the configuration and the policy."""
        listed = [
            f"  - {{name: {name}, type: pypi, url: {server.url}, mode: open"
            + (f", credentials: {self.credentials}" if self.credentials else "")
            + "}"
            for name, server in self.private.items()
        ]
        listed.append(
            f"  - {{name: pypi, type: pypi{'' if self.public else f', url: {self.index.url}'}, mode: {self.mode}"
            + (", entries: pypi.yaml" if self.entries is not None else "")
            + "}"
        )
        listed += [
            f"  - {{name: {name}, type: conda, url: {url!r}, mode: open}}" for name, url in self.channels.items()
        ]
        listed += [f"  - {line}" for line in self.others]
        config = CONFIG.format(
            project=self.project, targets=", ".join(self.targets), registries=json.dumps(self.registries)
        )
        self.write("quarantine.yaml", config + "".join(f"{line}\n" for line in self.settings))
        policy = POLICY.format(
            upstreams="\n".join(listed),
            reserved=json.dumps(self.reserved),
            projects=json.dumps(self.projects),
            identities=json.dumps(self.identities),
        )
        self.write("allowlists/policy.yaml", policy)
        if self.entries is not None:
            self.write("allowlists/pypi.yaml", self.entries)
        for name, text in self.lists.items():
            self.write(f"allowlists/{name}", text)

    def advise(self, *records: bytes) -> None:
        """Syncs the advisory database from these records, and one about malware that nobody has."""
        self.settle()
        self.write("records.zip", bundle(*records, before("MAL-2024-1", "nobody-has-this-malware", "99")))
        ran = self.run("advisories", "sync")
        assert ran.status == 0, ran.err

    def run(self, *argv: str, now: datetime = NOW) -> Ran:
        """Runs the command line in the project."""
        out, err = io.StringIO(), io.StringIO()
        variables = {"PATH": os.environ["PATH"], **self.variables}  # noqa: TID251  # what the child needs to start
        with chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
            status = main(argv, now=now, environ=variables)
        return Ran(status=status, out=out.getvalue(), err=err.getvalue())

    def check(self, *argv: str, now: datetime = NOW) -> Ran:
        """Checks, with the verdict as JSON."""
        return self.run("check", *argv, "--report", "json", now=now)

    def stored(self) -> Mapping[str, bytes]:
        """Every file below the project's folder but the index's own, by its path."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """A settled project with an empty index and one advisory about a package that nobody has."""
    with IndexServer() as index:
        built = House(folder=folder, index=index)
        built.settle()
        yield built
        for server in built.private.values():
            server.close()
