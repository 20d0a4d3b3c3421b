"""`quarantine allowlist`: the curators' files."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine.cli.session import Session
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from quarantine.policy.entries import Entry
    from quarantine.policy.explain import Explanation
    from quarantine.policy.load import Policy

__all__ = ["command"]

_SOON = timedelta(days=30)


@click.group("allowlist", short_help="The curated lists: validate them, explain what would happen to a name.")
def command() -> None:
    """The policy and the lists of what is allowed and denied, kept in git and reviewed like code.

    \b
    Examples:
      quarantine allowlist validate
      quarantine allowlist explain numpy
      quarantine allowlist publish --reason "reviewed in change 41"
      quarantine allowlist schema --out .vscode/schemas
    """


@command.command("validate")
@click.pass_obj
def _validate(session: Session) -> int:
    """Check the files of the folder of allowlists, all of them, and say what they come to.

    Every problem is named with file, line and column. What is printed else: the sha256 of the files, how many entries each
    upstream has, the patterns among them (look at those twice), and what has expired or will within 30 days. Then which
    policy is in force: that of the folder, or the one that was published in the store, which the folder may only tighten.
    Verdicts, and `check --expect-policy`, name the sha256 that is in force with this configuration: it covers both.

    Exit status: 0 valid, 2 not valid, 3 the policy in force can't be read.

    \b
    Examples:
      quarantine allowlist validate
      quarantine --config other/quarantine.yaml allowlist validate
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it

    settings = session.settings
    if settings.central_policy and not settings.allowlists.is_dir():
        session.write("\n".join(map(escape, _in_force(session))))
        return 0
    policy = wiring.policy(settings, session.now)
    lines = [
        f"valid: {settings.allowlists}",
        f"files: sha256 {policy.sha256}",
        f"stages: {', '.join(policy.stages)}",
    ]
    lines += _upstreams(policy)
    lines += [f"reserved: {reserved.pattern} for {reserved.upstream}" for reserved in policy.reserved]
    entries = _entries(policy)
    lines += [f"pattern: {verb} {entry}" for verb, entry in entries if entry.pattern.boundary]
    lines += _ending(policy, entries, session.now)
    lines += _in_force(session)
    session.write("\n".join(map(escape, lines)))
    return 0


def _in_force(session: Session) -> list[str]:
    """Which policy judges, and by what sha256 `--expect-policy` knows it."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.report.view import timestamp  # noqa: PLC0415

    settings = session.settings
    found = wiring.policies(settings, session.environment, session.now)
    with_settings = f"in force with this configuration: sha256 {wiring.policy_sha256(settings, found.policy)}"
    if found.published is None:
        return [f"in force: {settings.allowlists}", with_settings]
    published = found.published
    lines = [
        f"in force: published {timestamp(published.time)} by {published.by}: {published.reason}",
        f"in force: files sha256 {published.sha256}",
        with_settings,
    ]
    if found.local is None:
        return [*lines, "local: none"]
    if found.local.sha256 == published.sha256:
        return [*lines, f"local: {settings.allowlists}, the same files"]
    beside = "what is stricter in it counts beside them, and what is looser has no effect"
    return [*lines, f"local: {settings.allowlists}, other files than those: {beside}"]


@command.command("publish")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the record.")
@click.pass_obj
def _publish(session: Session, reason: str) -> int:
    """Put the folder of allowlists in force for everybody who uses the store.

    Its files are validated, stored as evidence, and named in the curators' log, where only curators can write. From then
    on every check with a central policy is judged by them; what a folder beside the code says can only tighten that.

    \b
    Examples:
      quarantine allowlist publish --reason "reviewed in change 41"
      quarantine --config curators/quarantine.yaml allowlist publish --reason "numpy 2 denied"

    Exit status: 0 published, 2 not valid, 3 it can't be recorded.
    """
    import os  # noqa: PLC0415  # --help needs none of it

    from quarantine import wiring  # noqa: PLC0415
    from quarantine.audit.record import new_id  # noqa: PLC0415
    from quarantine.errors import UsageError  # noqa: PLC0415
    from quarantine.pipeline.central import publish_policy  # noqa: PLC0415

    text, most = reason.strip(), 2000
    if not 0 < len(text) <= most:
        raise UsageError(f"--reason: expected a sentence of at most {most} characters")
    settings, environment = session.settings, session.environment
    # read as a policy first: what can't be judged by is never put in force
    files = wiring.policy_files(settings.allowlists)
    policy = wiring.policy(settings, session.now)
    if not policy.identities:
        raise UsageError(
            f"{settings.allowlists}/policy.yaml doesn't say whose words on exceptions count: add `identities`, a list of "
            "{issuer, audience}; without it, whoever runs a command would choose whom to believe"
        )
    published, receipt = publish_policy(
        files,
        wiring.identities(settings, environment, session.now).who(session.tell),
        text,
        settings.project,
        session.now,
        new_id(session.now, os.urandom(10)),
        wiring.audit_log(settings, environment),
        wiring.artifact_store(settings, environment),
    )
    lines = [
        f"published: {settings.allowlists} by {published.by}",
        f"files: sha256 {published.sha256}",
        f"in force with this configuration: sha256 {wiring.policy_sha256(settings, policy)}",
        f"audit: {receipt.stream} entry {receipt.seq} sha256 {receipt.sha256}",
    ]
    if not settings.central_policy:
        lines.append("in force where quarantine.yaml says `policy: central`: here it is the folder that judges")
    session.write("\n".join(map(escape, lines)))
    return 0


def _upstreams(policy: "Policy") -> list[str]:
    lines = []
    for upstream in policy.upstreams:
        index = policy.allow.get(upstream.name)
        count = 0 if index is None else len(index.entries)
        lines.append(f"upstream: {upstream.name} ({upstream.type}, {upstream.mode}), {count} allow entries")
    denied = sum(len(index.entries) for index in policy.deny.values())
    popular, ignores = len(policy.popular), len(policy.ignores)
    return [*lines, f"deny entries: {denied}", f"popular names: {popular}", f"ignored flaws: {ignores}"]


def _entries(policy: "Policy") -> "list[tuple[str, Entry]]":
    allowing = [("allow", entry) for index in policy.allow.values() for entry in index.entries]
    return allowing + [("deny", entry) for index in policy.deny.values() for entry in index.entries]


def _ending(policy: "Policy", entries: "list[tuple[str, Entry]]", now: datetime) -> list[str]:
    """What has expired, or will soon: whoever owns it is to renew or remove it."""
    from quarantine.policy.entries import end_of  # noqa: PLC0415  # --help needs none of it

    ends = [(entry.expires, f"{verb} {entry}", entry.owner) for verb, entry in entries if entry.expires is not None]
    ends += [(i.expires, f"ignore {i.id} of {i.package} ({i.place})", i.owner) for i in policy.ignores]
    return [
        f"{'expired' if end_of(day) <= now else 'expires'}: {day} {what}, {owner}"
        for day, what, owner in sorted(ends)
        if end_of(day) <= now + _SOON
    ]


@command.command("explain")
@click.argument("name", metavar="NAME[==VERSION]")
@click.pass_obj
def _explain(session: Session, name: str) -> int:
    """Say what would happen to a package in each stage, and why, from the policy alone: nothing is fetched.

    Which upstreams may own it, whether the name is reserved, which entries speak of it, which well-known name it
    resembles, and which rules need evidence that only a check has. NAME is that of a Python distribution or a conda
    package (often it is both), the path of an image, with or without its registry, or that of a curated Azure ML
    environment that a list speaks of.

    \b
    Examples:
      quarantine allowlist explain numpy
      quarantine allowlist explain litellm==1.82.7
      quarantine allowlist explain reqeusts
      quarantine allowlist explain mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04
      quarantine allowlist explain sklearn-1.5

    Exit status: 0 said, 2 no name that the policy has upstreams for.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.errors import UsageError  # noqa: PLC0415
    from quarantine.policy.explain import explain  # noqa: PLC0415

    text, equals, version = name.partition("==")
    policy = wiring.policies(session.settings, session.environment, session.now).policy
    try:
        explanations = explain(policy, text.strip(), version.strip() if equals else None, session.now)
    except ValueError as error:
        raise UsageError(f"{error}: expected NAME or NAME==VERSION") from None
    lines = [line for explanation in explanations for line in _told(explanation)]
    session.write("\n".join(map(escape, lines)))
    return 0


_KINDS = {
    "pypi": "Python distribution",
    "conda": "conda package",
    "oci": "image",
    "azureml": "Azure ML environment",
}


def _told(explanation: "Explanation") -> list[str]:
    label = explanation.name if explanation.version is None else f"{explanation.name} {explanation.version}"
    lines = [f"{label} ({_KINDS[explanation.ecosystem]})"]
    if explanation.reserved_for is not None:
        lines.append(f"  reserved: it may come from {explanation.reserved_for} only")
    upstreams = [f"{upstream.name} ({upstream.mode})" for upstream in explanation.owners]
    if explanation.ecosystem in ("pypi", "conda"):
        lines.append(f"  asked for it: {', then '.join(upstreams) or 'no upstream'}; the first that has it owns it")
    else:
        lines.append(f"  may be from: {', '.join(upstreams) or 'no upstream'}")
    lines += [f"  entry: {entry}" for entry in explanation.entries]
    for stage in explanation.stages:
        lines.append(f"{stage.stage}:")
        lines += [f"  {outcome.kind}: {outcome.rule}: {outcome.message}" for outcome in stage.outcomes]
        lines += [f"  needs: {rule}: {what}" for rule, what in stage.needs]
    return lines


@command.command("schema")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write one file each there."
)
@click.pass_obj
def _schema(session: Session, out: Path | None) -> int:
    """Print the JSON Schemas of quarantine.yaml, policy.yaml and the lists, for an editor to complete and check them by.

    \b
    Examples:
      quarantine allowlist schema
      quarantine allowlist schema --out .vscode/schemas

    Exit status: 0 done, 2 DIR can't be written.
    """
    from quarantine.config import schema  # noqa: PLC0415  # --help needs none of it
    from quarantine.errors import UsageError  # noqa: PLC0415
    from quarantine.policy.files import schemas  # noqa: PLC0415

    every = {"quarantine.schema.json": schema(), **schemas()}
    if out is None:
        session.write(json.dumps(every, indent=2))
        return 0
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in every.items():
            (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            session.write(escape(str(out / name)))
    except OSError as error:
        raise UsageError(
            f"{out}: can't be written: {(error.strerror or str(error)).lower()}: give another DIR"
        ) from error
    return 0
