"""The store: its audit log, its files and evidence, and its pages, in a local folder or in an account."""

from pathlib import Path
from typing import TYPE_CHECKING

from quarantine.config import Environment, RemoteStore, Settings
from quarantine.errors import UpstreamError
from quarantine.exceptions import State
from quarantine.ports import ArtifactStore, PageStore

if TYPE_CHECKING:
    from quarantine.adapters.blob_log import BlobLog
    from quarantine.adapters.blob_store import BlobStore
    from quarantine.adapters.local_log import LocalLog
    from quarantine.adapters.local_store import LocalStore
    from quarantine.io.azure import BlobAccount

__all__ = [
    "account",
    "artifact_store",
    "audit_log",
    "exception_state",
    "page_store",
    "write_file",
]


def audit_log(settings: Settings, environment: Environment) -> "LocalLog | BlobLog":
    """The audit log of the store."""
    if settings.remote_store is not None:
        from quarantine.adapters.blob_log import BlobLog  # noqa: PLC0415  # imported where it is used

        return BlobLog(account(settings.remote_store, environment))
    from quarantine.adapters.local_log import LocalLog  # noqa: PLC0415  # imported where it is used

    return LocalLog(settings.store / "log")


def artifact_store(settings: Settings, environment: Environment) -> ArtifactStore:
    """Files and evidence of the store, by their sha256."""
    return _store(settings, environment)


def page_store(settings: Settings, environment: Environment) -> PageStore:
    """The pages of the store."""
    return _store(settings, environment)


def _store(settings: Settings, environment: Environment) -> "LocalStore | BlobStore":
    if settings.remote_store is not None:
        from quarantine.adapters.blob_store import BlobStore  # noqa: PLC0415  # imported where it is used

        return BlobStore(account(settings.remote_store, environment))
    from quarantine.adapters.local_store import LocalStore  # noqa: PLC0415  # imported where it is used

    return LocalStore(settings.store)


def account(remote: RemoteStore, environment: Environment) -> "BlobAccount":
    """The account that the store is in. UpstreamError when the variable with its secret isn't set."""
    from quarantine.io.azure import account_of_connection, account_of_url  # noqa: PLC0415  # imported where it is used

    if remote.connection is None:
        return account_of_url(remote.account or "", prefix=remote.prefix)
    name = remote.connection.removeprefix("env:")
    secret = environment.secret(name)
    if secret is None:
        raise UpstreamError(f"the store needs the environment variable {name}: it isn't set")
    return account_of_connection(secret.reveal(), variable=name, prefix=remote.prefix)


def exception_state(settings: Settings, environment: Environment) -> State | None:
    """What all exceptions are, None where nobody ever asked for one. UpstreamError, IntegrityError."""
    log = audit_log(settings, environment)
    if not any(map(log.streams, ("log-requests", "log-decisions", "log-publish"))):
        return None
    from quarantine.pipeline.state import read_state  # noqa: PLC0415  # most stores have no exception yet

    return read_state(log, page_store(settings, environment))


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file in one step. UpstreamError."""
    from quarantine.adapters.local_store import write_file  # noqa: PLC0415  # imported where it is used

    write_file(path, data)
