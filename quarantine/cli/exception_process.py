"""`quarantine exception vet`, `publish` and `process`: what the central pipeline does."""

from typing import TYPE_CHECKING

import click

from quarantine.cli.exception import new_ids
from quarantine.cli.session import Session
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from quarantine.pipeline.process import Done

__all__ = ["process", "publish", "vet"]

_IDS = click.argument("ids", metavar="[ID...]", nargs=-1)
_REPORT = click.option(
    "--report", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="How."
)


@click.command("vet", short_help="Look into the files of new requests.")
@_IDS
@_REPORT
@click.pass_obj
def vet(session: Session, ids: tuple[str, ...], form: str) -> int:
    """Vet exceptions that wait for it: fetch their files into the holding area, look into them, write the dossiers.

    Nothing that is fetched is run. Without an ID, all that wait are vetted, and the others that may hold are held against
    today's advisories once more. With IDs, those are vetted anew, whatever is known of them. Evidence that can't be had
    leaves an exception as it was; run it again.

    \b
    Examples:
      quarantine exception vet
      quarantine exception vet 3f2a1b4c5d6e

    Exit status: 0 done, 2 usage, 3 something could not be vetted.
    """
    return _run(session, ids, form, vet=True)


@click.command("publish", short_help="Bring the mirror in line with what is approved.")
@_IDS
@_REPORT
@click.pass_obj
def publish(session: Session, ids: tuple[str, ...], form: str) -> int:
    """Publish what is approved into the mirror, and take out what expired, was revoked or suspended.

    A run that was broken off is mended by the next one; a run over what is done writes nothing.

    \b
    Examples:
      quarantine exception publish
      quarantine exception publish 3f2a1b4c5d6e

    Exit status: 0 done, 2 usage, 3 something could not be published or taken out.
    """
    return _run(session, ids, form, publish=True)


@click.command("process", short_help="All that is due: vet, publish, expire, notify.")
@_REPORT
@click.pass_obj
def process(session: Session, form: str) -> int:
    """Do all that is due: end what ended, publish what is approved, vet what is new, tell people.

    What holds is looked at again when advisories or policy changed, and what nobody needs any more leaves the holding area.

    This is what a scheduled pipeline runs. One exception that fails holds up none of the others; the next run goes on where
    this one stopped. `notify:` in quarantine.yaml says who is told.

    \b
    Examples:
      quarantine advisories sync && quarantine exception process
      quarantine exception process --report json

    Exit status: 0 done, 3 something could not be done, and will be tried again.
    """
    return _run(session, (), form, vet=True, publish=True, notify=True)


def _run(
    session: Session,
    ids: tuple[str, ...],
    form: str,
    *,
    vet: bool = False,
    publish: bool = False,
    notify: bool = False,
) -> int:
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.ruling import find_case  # noqa: PLC0415
    from quarantine.pipeline.state import read_state  # noqa: PLC0415

    settings, environment = session.settings, session.environment
    only: frozenset[str] = frozenset()
    if ids:
        state = read_state(wiring.audit_log(settings, environment), wiring.page_store(settings, environment))
        only = frozenset(find_case(state, text).id for text in ids)
    in_force = wiring.policies(settings, environment, session.now)
    runner = wiring.process(settings, in_force, environment, session.now, new_ids(session), escape, session.tell, only)
    done = runner.run(vet=vet, publish=publish, notify=notify)
    session.write(_json(done) if form == "json" else _text(done))
    for warning in done.warnings:
        session.say(f"warning: {escape(warning)}")
    for trouble in done.troubles:
        about = f"{trouble.exception[:12]}: " if trouble.exception else ""
        session.say(f"error: {escape(about + trouble.text)}")
    return 3 if done.troubles else 0


def _text(done: "Done") -> str:
    lines = [f"{escape(step.what)}\t{step.exception[:12]}\t{escape(step.text)}" for step in done.steps]
    if not lines:
        lines = ["nothing was due"]
    if done.postponed:
        lines.append(f"{done.postponed} left to be vetted by the next run, for want of time")
    if done.waiting:
        lines.append(f"{done.waiting} waiting for a decision: quarantine exception list --status vetted")
    return "\n".join(lines)


def _json(done: "Done") -> str:
    import msgspec  # noqa: PLC0415  # --help needs none of it

    from quarantine.report.escape import ascii_json  # noqa: PLC0415

    document = {
        "schema": "quarantine/process/1",
        "steps": [{"exception": step.exception, "what": step.what, "text": escape(step.text)} for step in done.steps],
        "troubles": [{"exception": trouble.exception, "text": escape(trouble.text)} for trouble in done.troubles],
        "warnings": [escape(warning) for warning in done.warnings],
        "waiting": done.waiting,
        "postponed": done.postponed,
    }
    return ascii_json(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
