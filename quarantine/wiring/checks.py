"""What a check asks, and where its verdict is recorded."""

from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from quarantine.config import Environment, Settings
from quarantine.exceptions import State
from quarantine.model import Digest, Ecosystem
from quarantine.policy.load import Policy
from quarantine.wiring.stores import artifact_store, audit_log, exception_state, write_file
from quarantine.wiring.upstreams import (
    advisory_service,
    index,
    logins_of,
    packages,
    registry,
    resolver,
    solver,
    upstreams_of,
)

if TYPE_CHECKING:
    from quarantine.pipeline.check import CheckPorts, Records

__all__ = [
    "check_ports",
    "records",
]


def check_ports(
    settings: Settings,
    policy: Policy,
    environment: Environment,
    now: datetime,
    *,
    offline: bool,
    state: State | None = None,
) -> "CheckPorts":
    """What a check needs of the outside world. `state` is what was read of all exceptions already."""
    from quarantine.pipeline.check import CheckPorts  # noqa: PLC0415  # imported where it is used

    upstreams = upstreams_of(policy, Ecosystem.PYPI)
    logins = logins_of(upstreams, environment)
    return CheckPorts(
        resolver=lambda: resolver(settings, policy, upstreams, logins, environment, offline=offline),
        solver=cache(lambda: solver(settings, policy, environment, offline=offline)),
        packages=cache(lambda: packages(settings, policy, environment, offline=offline)),
        registry=cache(lambda: registry(settings, policy, environment, offline=offline)),
        index=index(settings, policy, upstreams, logins, environment, now, offline=offline),
        advisories=advisory_service(settings, environment, now),
        log=audit_log(settings, environment),
        store=artifact_store(settings, environment),
        exceptions=lambda: exception_state(settings, environment) if state is None else state,
        metadata=lambda digest: _published_metadata(digest, settings, environment),
        write=write_file,
    )


def records(settings: Settings, environment: Environment) -> "Records":
    """Where verdicts are recorded; nobody else is asked, and no login is looked up."""
    from quarantine.pipeline.check import Records  # noqa: PLC0415  # imported where it is used

    return Records(log=audit_log(settings, environment), store=artifact_store(settings, environment), write=write_file)


def _published_metadata(digest: Digest, settings: Settings, environment: Environment) -> bytes | None:
    """Core metadata of a published file, None where it isn't there; kept in the cache. UpstreamError, IntegrityError."""
    from quarantine.archive.metadata import MAX_METADATA_BYTES  # noqa: PLC0415  # imported where it is used
    from quarantine.io.cache import private_folder, read_cached, write_cached  # noqa: PLC0415

    file = private_folder(private_folder(settings.cache) / "metadata-1") / digest.hex
    known = read_cached(file, MAX_METADATA_BYTES)
    if known is not None and sha256(known).hexdigest() == digest.hex:
        return known
    store = artifact_store(settings, environment)
    if store.size("files", digest) is None:
        return None
    data = store.get("files", digest)
    write_cached(file, data)
    return data
