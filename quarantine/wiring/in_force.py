"""The policy in force: the folder of allowlists, or what was published last, and what it is known by."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from quarantine.config import Environment, Settings
from quarantine.document import MAX_BYTES
from quarantine.errors import ConfigError, Problem
from quarantine.exceptions import State
from quarantine.policy.load import Policy, load
from quarantine.wiring.stores import artifact_store, exception_state

if TYPE_CHECKING:
    from quarantine.pipeline.central import InForce

__all__ = [
    "local_users_decide",
    "policies",
    "policy",
    "policy_files",
    "policy_sha256",
]

MAX_POLICY_FILES = 100


def policies(settings: Settings, environment: Environment, now: datetime) -> "InForce":
    """The policy in force: the local folder's, or with a central one what was published last, beside a local one.

    ConfigError with every problem in its files. UpstreamError when the central one can't be had, IntegrityError.
    """
    from quarantine.pipeline.central import InForce, published_policy  # noqa: PLC0415  # imported where it is used

    if not settings.central_policy:
        return InForce(policy=policy(settings, now))
    state = exception_state(settings, environment)
    central, published = published_policy(state or State(), artifact_store(settings, environment), now)
    local = policy(settings, now) if settings.allowlists.is_dir() else None
    return InForce(policy=central, local=local, published=published, state=state)


def policy(settings: Settings, now: datetime) -> Policy:
    """The policy of the local folder. ConfigError with every problem in its files."""
    return load(policy_files(settings.allowlists), now=now, folder=str(settings.allowlists))


def policy_sha256(settings: Settings, policy: Policy) -> str:
    """The sha256 that stands for the policy in force: its files, and the configuration it is applied by."""
    return sha256(f"policy {policy.sha256}\nsettings {settings.sha256}\n".encode()).hexdigest()


def policy_files(folder: Path) -> Mapping[str, bytes]:
    """The YAML files of a folder of allowlists, by name; ConfigError when it can't be read."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
        if len(names) > MAX_POLICY_FILES:
            raise ConfigError([Problem(file=str(folder), message=f"more than {MAX_POLICY_FILES} lists")])
        return {name: _policy_file(folder / name) for name in names}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "expected the folder of allowlists: run `quarantine init`, or set `allowlists:`"
        raise ConfigError([Problem(file=str(error.filename or folder), message=f"{reason}: {advice}")]) from error


def _policy_file(path: Path) -> bytes:
    """The bytes of one list, one more than are read of any: the policy comes with the code that is being judged."""
    if not path.is_file() and path.exists() and not path.is_dir():
        raise ConfigError([Problem(file=str(path), message="is not a regular file: expected YAML")])
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def local_users_decide(settings: Settings) -> bool:
    """Whether users of the operating system may decide on exceptions: on the embedded default alone."""
    return settings.remote_store is None and settings.identity.kind == "local"
