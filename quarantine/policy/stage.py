"""The policy in force, and what it says in one stage: names, versions and numbers that the rules and the resolver ask for.

Values only; `load` makes them from the curators' files and `rules` judges by them.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import UsageError
from quarantine.model import Ecosystem, IndexPage
from quarantine.policy.conda_versions import CondaSpecifier
from quarantine.policy.entries import Entry, EntryIndex, NamePattern, end_of
from quarantine.policy.files import Action, Mode, Rules
from quarantine.policy.near import NearNames

__all__ = ["Ignore", "Policy", "Reserved", "StagePolicy", "Trusted", "Upstream"]


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that packages may come from. `url` is None for the public Python index alone.

    `credentials` say where they are to be found ("env:NAME" or "azure"), never what they are.
    """

    name: str
    type: Ecosystem
    url: str | None
    mode: Mode
    credentials: str | None = None
    minimum_age_days: int | None = None

    @property
    def location(self) -> str:
        """Host and path of its url, as image names begin with them ("mcr.microsoft.com"); "" without a url."""
        if self.url is None:
            return ""
        parts = urlsplit(self.url)
        default = ":443" if parts.scheme == "https" else ":80"
        return parts.netloc.lower().removesuffix(default) + parts.path


class Trusted(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens count: of an issuer, for an audience, with the claim that tells people apart."""

    issuer: str
    audience: str
    claim: str


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """A private name of an ecosystem, or a family of them, and the only upstream that may have it."""

    ecosystem: Ecosystem
    pattern: NamePattern
    upstream: str
    reason: str


class Ignore(msgspec.Struct, frozen=True, kw_only=True):
    """A flaw in one package that `owner` answers for. `stages` are where it holds, None for all of them."""

    id: str
    package: NormalizedName
    reason: str
    owner: str
    expires: date
    stages: frozenset[str] | None
    place: str

    def live(self, now: datetime) -> bool:
        """Whether it still holds: it has expired at `now >= expires`."""
        return now < end_of(self.expires)


class Policy(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The policy in force. `sha256` covers the bytes of all its files; `upstreams` stand in order of ownership.

    `as_of` is the instant at which it was read, by which expired entries are told when nobody names another. `projects`
    are projects by the repository, in small letters, that proves in CI to be theirs. `identities` are those whose words on
    exceptions count; `central` is whether this is what curators published for all.
    """

    sha256: str
    upstreams: tuple[Upstream, ...]
    stages: tuple[str, ...]
    reserved: tuple[Reserved, ...]
    ignores: tuple[Ignore, ...]
    popular: frozenset[NormalizedName]
    near: NearNames
    allow: Mapping[str, EntryIndex]
    deny: Mapping[Ecosystem, EntryIndex]
    default_stages: Mapping[str, str]
    rules: Mapping[str, Rules]
    as_of: datetime | None
    projects: Mapping[str, str] = {}
    identities: tuple[Trusted, ...] = ()
    central: bool = False

    def upstream(self, name: str) -> Upstream | None:
        """The upstream of that name."""
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)

    def reservation(self, name: str, ecosystem: Ecosystem = Ecosystem.PYPI) -> Reserved | None:
        """What reserves a name of the ecosystem: the name itself before a prefix, the longest prefix first."""
        key = _key(name)
        found = [r for r in self.reserved if r.ecosystem is ecosystem and r.pattern.matches(key)]
        return max(found, key=lambda r: (not r.pattern.boundary, len(r.pattern.name)), default=None)

    def upstream_of_reserved(self, name: str, ecosystem: Ecosystem = Ecosystem.PYPI) -> str | None:
        """The only upstream that may have the name, None for a name that isn't reserved."""
        reserved = self.reservation(name, ecosystem)
        return None if reserved is None else reserved.upstream

    def allow_entries(self, upstream: str, name: str) -> tuple[Entry, ...]:
        """The upstream's allow entries that speak of the name, expired ones too.

        Images are named with their registry ("mcr.microsoft.com/azureml/x").
        """
        index = self.allow.get(upstream)
        return () if index is None else index.of(_key(name))

    def deny_entries(self, ecosystem: Ecosystem, name: str) -> tuple[Entry, ...]:
        """The deny entries that speak of the name, from every list of the ecosystem, expired ones too."""
        index = self.deny.get(ecosystem)
        return () if index is None else index.of(_key(name))

    def project_of(self, repository: str, claimed: str) -> str:
        """The project that a repository is, by the verified word of its CI system; `claimed` is what its files say.

        UsageError for a repository that calls itself a project of others. One that nobody listed is what it says.
        """
        known = self.projects.get(repository.lower())
        if known is not None:
            return known
        theirs = sorted(place for place, project in self.projects.items() if project == claimed)
        if theirs:
            raise UsageError(
                f"project {claimed} is {_one_of(tuple(theirs))} by the policy, and this runs in {repository!a}: give "
                "`project:` another name, or have the curators list the repository under `projects`"
            )
        return claimed

    def default_stage(self, command: str) -> str:
        """The stage that a command judges by when nobody names one; UsageError where the policy names none for it."""
        stage = self.default_stages.get(command)
        if stage is None:
            raise UsageError(f"the policy has no default stage for {command!a}: give --stage, {_one_of(self.stages)}")
        return stage

    def stage(self, name: str) -> "StagePolicy":
        """The policy in one stage; UsageError names the stages there are."""
        rules = self.rules.get(name)
        if rules is None:
            raise UsageError(f"no stage {name!a} in the policy: expected {_one_of(self.stages)}")
        return StagePolicy(name=name, policy=self, rules=rules)


def _one_of(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def _key(name: str) -> str:
    """The name as entries write it: in small letters everywhere. No letter beyond ASCII becomes another by that."""
    return name.lower() if name.isascii() else name


class StagePolicy(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The policy in one stage."""

    name: str
    policy: Policy
    rules: Rules

    @property
    def minimum_age(self) -> timedelta:
        """How long a file must have been public, where its upstream has no minimum of its own."""
        return timedelta(days=self.rules.minimum_age.days)

    @property
    def security_fix_age(self) -> timedelta | None:
        """The same for a version that fixes a known flaw; None where those are treated like any other."""
        days = self.rules.minimum_age.security_fix_days
        return None if days is None else timedelta(days=days)

    def minimum_age_of(self, upstream: str | None) -> timedelta:
        """How long a file of this upstream must have been public."""
        found = None if upstream is None else self.policy.upstream(upstream)
        if found is None or found.minimum_age_days is None:
            return self.minimum_age
        return timedelta(days=found.minimum_age_days)

    def native(self, upstream: str | None) -> Action:
        """What a conda package without any Python distribution comes to, when it is from this upstream."""
        rule = self.rules.conda
        return rule.native if upstream is None else rule.channels.get(upstream, rule.native)

    def ignores_of(self, package: str) -> tuple[Ignore, ...]:
        """The ignored flaws of a Python distribution that hold in this stage, expired ones too."""
        return tuple(
            ignore
            for ignore in self.policy.ignores
            if ignore.package == package and (ignore.stages is None or self.name in ignore.stages)
        )

    def constraints(self, let_in: Collection[NormalizedName] = ()) -> tuple[str, ...]:
        """PEP 508 lines that keep a resolver to what the entries allow, as far as that can be said without index pages.

        Of the names that exceptions let in something of only deny entries are held to.

        Exact deny entries become `name!=V`. A curated list's entry becomes `name SPEC` where every Python upstream is
        curated and it alone speaks of the name; everything else is left to `refused_versions`.
        """
        lines = [
            f"{entry.pattern}!={clause.version}"
            for entry in self._deny_entries(Ecosystem.PYPI)
            if not entry.pattern.boundary and len(entry.clauses) == 1
            for clause in entry.clauses
            if clause.operator == "=="
        ]
        upstreams = [upstream for upstream in self.policy.upstreams if upstream.type is Ecosystem.PYPI]
        if all(upstream.mode is Mode.CURATED for upstream in upstreams):
            entries = [entry for u in upstreams for entry in self.policy.allow[u.name].entries if self._live(entry)]
            lines += [
                f"{entry.pattern}{entry.specifier}"
                for entry in entries
                if not entry.pattern.boundary
                and entry.pattern.name not in let_in
                and not entry.whole
                and sum(other.pattern.matches(entry.pattern.name) for other in entries) == 1
            ]
        return tuple(sorted(set(lines)))

    def conda_constraints(self) -> tuple[str, ...]:
        """Match specs that keep a solver from the versions that deny entries refuse, where these name versions.

        What is denied whole has no version left to choose: it is solved, and then refused with its reason.
        """
        return tuple(
            sorted(
                f"{entry.pattern}[version='{entry.specifier.complement}']"
                for entry in self._deny_entries(Ecosystem.CONDA)
                if isinstance(entry.specifier, CondaSpecifier) and not entry.whole and not entry.pattern.boundary
            )
        )

    def denies(self, name: NormalizedName) -> bool:
        """Whether entries could refuse some version of the name: then its page is worth asking for."""
        return any(map(self._live, self.policy.deny_entries(Ecosystem.PYPI, name))) or any(
            self._restricts(upstream.name, name)
            for upstream in self.policy.upstreams
            if upstream.type is Ecosystem.PYPI
        )

    def refused_versions(self, page: IndexPage, let_in: Collection[Version] = ()) -> tuple[Version, ...]:
        """The versions of a page that deny entries, or its upstream's curated list, refuse; in ascending order.

        Those that exceptions let in only deny entries refuse.
        """
        versions = frozenset(artifact.version for artifact in page.artifacts)
        denied = tuple(filter(self._live, self.policy.deny_entries(Ecosystem.PYPI, page.name)))
        refused = {version for version in versions if any(entry.denies(version) for entry in denied)}
        if self._restricts(page.upstream, page.name):
            allowed = tuple(filter(self._live, self.policy.allow_entries(page.upstream, page.name)))
            named = versions - frozenset(let_in)
            refused |= {version for version in named if not any(entry.allows(version) for entry in allowed)}
        return tuple(sorted(refused))

    def _restricts(self, upstream: str, name: NormalizedName) -> bool:
        """Whether the upstream is curated and its list speaks of the name."""
        found = self.policy.upstream(upstream)
        return found is not None and found.mode is Mode.CURATED and bool(self.policy.allow_entries(upstream, name))

    def _deny_entries(self, ecosystem: Ecosystem) -> tuple[Entry, ...]:
        index = self.policy.deny.get(ecosystem)
        return () if index is None else tuple(filter(self._live, index.entries))

    def _live(self, entry: Entry) -> bool:
        return self.policy.as_of is None or entry.live(self.policy.as_of)
