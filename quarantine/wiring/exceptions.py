"""The exception process, from the request to the file that the mirror serves."""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from quarantine.config import Environment, Settings
from quarantine.exceptions import Identity, State
from quarantine.model import Ecosystem
from quarantine.policy.load import Policy
from quarantine.ports import Attestations, Inspector
from quarantine.wiring.in_force import local_users_decide, policy_sha256
from quarantine.wiring.people import identities, notifier
from quarantine.wiring.stores import artifact_store, audit_log, page_store
from quarantine.wiring.upstreams import advisory_service, downloads, index, logins_of, packages, solver, upstreams_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from quarantine.pipeline.central import InForce
    from quarantine.pipeline.process import Process
    from quarantine.pipeline.request import RequestPorts
    from quarantine.pipeline.request_files import Owners
    from quarantine.pipeline.ruling import RulingPorts
    from quarantine.pipeline.serve import MirrorShelves
    from quarantine.pipeline.vet import Vetting
    from quarantine.ports import Tell

__all__ = [
    "mirror_shelves",
    "owners",
    "process",
    "request_ports",
    "ruling_ports",
]


def request_ports(settings: Settings, environment: Environment, now: datetime) -> "RequestPorts":
    """What asking for an exception needs of the outside world."""
    from quarantine.pipeline.request import RequestPorts  # noqa: PLC0415  # imported where it is used

    return RequestPorts(
        log=audit_log(settings, environment),
        pages=page_store(settings, environment),
        identities=identities(settings, environment, now),
    )


def ruling_ports(settings: Settings, environment: Environment, now: datetime) -> "RulingPorts":
    """What deciding on exceptions needs of the outside world."""
    from quarantine.pipeline.ruling import RulingPorts  # noqa: PLC0415  # imported where it is used

    return RulingPorts(
        log=audit_log(settings, environment),
        pages=page_store(settings, environment),
        store=artifact_store(settings, environment),
        identities=identities(settings, environment, now),
    )


def owners(
    settings: Settings,
    policy: Policy,
    environment: Environment,
    now: datetime,
    tell: "Tell",
    *,
    offline: bool = False,
) -> "Owners":
    """Who can say what the owners of names list."""
    from quarantine.pipeline.request_files import Owners  # noqa: PLC0415  # imported where it is used

    upstreams = upstreams_of(policy, Ecosystem.PYPI)
    logins = logins_of(upstreams, environment)
    return Owners(
        index=index(settings, policy, upstreams, logins, environment, now, offline=offline),
        solver=cache(lambda: solver(settings, policy, environment, offline=offline)),
        targets=settings.targets,
        tell=tell,
    )


def _vetting(
    settings: Settings,
    in_force: "InForce",
    environment: Environment,
    now: datetime,
    by: Identity,
    stream: str,
    new_id: "Callable[[], str]",
    tell: "Tell",
) -> "Vetting":
    """What vets files that exceptions are asked for, under the policy in force."""
    from quarantine.pipeline.vet import VetPorts, Vetting  # noqa: PLC0415  # imported where it is used

    policy = in_force.policy
    upstreams = upstreams_of(policy, Ecosystem.PYPI)

    def inspector() -> Inspector:
        from quarantine.adapters.vetting import Vetting as Worker  # noqa: PLC0415  # imported where it is used

        return Worker()

    def attestations() -> Attestations:
        from quarantine.adapters.provenance import Provenance  # noqa: PLC0415  # imported where it is used

        return Provenance()

    return Vetting(
        ports=VetPorts(
            index=index(
                settings, policy, upstreams, logins_of(upstreams, environment), environment, now, offline=False
            ),
            advisories=advisory_service(settings, environment, now),
            solver=cache(lambda: solver(settings, policy, environment, offline=False)),
            packages=cache(lambda: packages(settings, policy, environment, offline=False)),
            source=cache(lambda: downloads(settings, policy, environment)),
            inspector=cache(inspector),
            attestations=attestations(),
            store=artifact_store(settings, environment),
            log=audit_log(settings, environment),
        ),
        policy=policy,
        policy_sha256=policy_sha256(settings, policy),
        targets=settings.targets,
        advisory_max_age=settings.advisory_max_age,
        now=now,
        by=by,
        stream=stream,
        new_id=new_id,
        tell=tell,
    )


def process(
    settings: Settings,
    in_force: "InForce",
    environment: Environment,
    now: datetime,
    new_id: "Callable[[], str]",
    plain: "Callable[[str], str]",
    tell: "Tell",
    only: frozenset[str],
) -> "Process":
    """A run of the central pipeline. UpstreamError when nobody can say who runs it."""
    from time import monotonic  # noqa: PLC0415  # imported where it is used

    from quarantine.audit.events import PUBLISH  # noqa: PLC0415
    from quarantine.pipeline.process import Process, ProcessPorts  # noqa: PLC0415
    from quarantine.pipeline.publish import Publisher  # noqa: PLC0415

    began = monotonic()
    by = identities(settings, environment, now).who(tell)
    log, pages, stream = (
        audit_log(settings, environment),
        page_store(settings, environment),
        f"{PUBLISH}/process-{now:%Y-%m}",
    )
    return Process(
        ports=ProcessPorts(
            log=log,
            pages=pages,
            vetting=cache(lambda: _vetting(settings, in_force, environment, now, by, stream, new_id, tell)),
            publisher=cache(
                lambda: Publisher(
                    log=log,
                    store=artifact_store(settings, environment),
                    pages=pages,
                    by=by,
                    now=now,
                    new_id=new_id,
                    tell=tell,
                )
            ),
            notifier=notifier(settings, environment),
        ),
        policy=in_force.policy,
        local=local_users_decide(settings),
        now=now,
        by=by,
        project=settings.project,
        stream=stream,
        new_id=new_id,
        plain=plain,
        elapsed=lambda: monotonic() - began,
        tell=tell,
        only=only,
    )


def mirror_shelves(
    settings: Settings,
    environment: Environment,
    policy: Policy,
    project: str,
    stage: str,
    now: "Callable[[], datetime]",
) -> "MirrorShelves":
    """What the mirror has for a project and a stage; `now` tells the time whenever it is asked.

    A central policy counts as it is when the log is read; the local folder's as it was when the command began.
    """
    from quarantine.pipeline.central import published_policy  # noqa: PLC0415  # imported where it is used
    from quarantine.pipeline.serve import MirrorShelves  # noqa: PLC0415

    store = artifact_store(settings, environment)

    def in_force(state: State, at: datetime) -> Policy:
        return published_policy(state, store, at)[0] if settings.central_policy else policy

    return MirrorShelves(
        log=audit_log(settings, environment),
        store=store,
        pages=page_store(settings, environment),
        policy=in_force,
        project=project,
        stage=stage,
        local=local_users_decide(settings),
        now=now,
    )
