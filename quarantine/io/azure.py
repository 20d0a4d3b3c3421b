"""Azure Blob storage: the containers of an account, and its errors in words that hold no secret.

Two clients speak to an account. The patient one asks again by itself, which is right for whatever only reads. The plain
one asks once: an append or a conditional write whose answer was lost may have been done, and asking again says that it
was not; its callers look.
"""

import errno
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from quarantine.errors import ConfigError, UpstreamError, install_extra
from quarantine.model import is_loopback

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient

__all__ = [
    "ADD",
    "DELETE",
    "READ",
    "WRITE",
    "Backoff",
    "BlobAccount",
    "account_of_connection",
    "account_of_url",
    "code_of",
    "complaint_about_account",
    "explain",
    "is_transient",
    "read_range",
    "status_of",
    "translated",
    "why",
]

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
PATIENT_RETRIES = 2
"""After about 2 and 4 seconds."""
MAX_RANGE_BYTES = 4 * 1024 * 1024
"""Well below the 32 MiB that the library fetches in one request."""
READ = "Storage Blob Data Reader, or one with blobs/read,"
ADD = "a role with blobs/read and blobs/add/action"
WRITE = "a role with blobs/read, blobs/write and blobs/add/action"
DELETE = "a role with blobs/delete"
_ACCOUNT = re.compile(r"([a-z0-9]{3,24})\.blob\.")
# Azure's clouds, and the form that accounts with partitioned DNS have
_ACCOUNT_HOST = re.compile(
    r"[a-z0-9]{3,24}\.(?:blob\.core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)|z[0-9]{1,2}\.blob\.storage\.azure\.net)"
)
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class BlobAccount:
    """The containers of one storage account, by their names without the prefix that all of them have."""

    def __init__(self, connect: "_Connect", *, prefix: str = "") -> None:
        self._connect = connect
        self.prefix = prefix

    def patient(self, container: str) -> "ContainerClient":
        """A client that asks again when there is no answer: for what may be done twice."""
        return self._patient.get_container_client(self.prefix + container)

    def plain(self, container: str) -> "ContainerClient":
        """A client that asks once: for what may be done once only."""
        return self._plain.get_container_client(self.prefix + container)

    @property
    def url(self) -> str:
        """Where the account is, without anything secret."""
        parts = urlsplit(self._plain.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    def containers(self, beginning: str) -> Iterator[str]:
        """The names of the containers that begin so. AzureError."""
        for found in self._patient.list_containers(name_starts_with=self.prefix + beginning):
            yield str(found.name).removeprefix(self.prefix)

    def make(self, container: str) -> None:
        """Makes a container, which nobody reads without a role; UpstreamError when that is not ours to do."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        try:
            self._patient.create_container(self.prefix + container)
        except AzureError as error:
            if code_of(error) != "ContainerAlreadyExists":
                raise UpstreamError(
                    f"there is no container {self.prefix}{container} in {self.url}, and it can't be made: "
                    f"{why(error, '`Storage Blob Data Contributor` on the account')}; whoever may runs "
                    f"`{self.creation(container)}`"
                ) from error

    def creation(self, container: str) -> str:
        """The command that makes a container."""
        host = _ACCOUNT.match(urlsplit(self.url).netloc)
        name = "NAME" if host is None else host[1]
        return f"az storage container create --auth-mode login --account-name {name} --name {self.prefix}{container}"

    @cached_property
    def _patient(self) -> "BlobServiceClient":
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415  # an extra
        from azure.storage.blob import ExponentialRetry  # noqa: PLC0415

        class Patience(ExponentialRetry):
            """Asks again, but not for an identity: there is none, or there was one at once."""

            def increment(self, settings: dict[str, Any], *args: Any, **options: Any) -> bool:
                if isinstance(options.get("error"), ClientAuthenticationError):
                    return False
                return super().increment(settings, *args, **options)

        return self._connect(
            retry_policy=Patience(
                initial_backoff=0, increment_base=2, retry_total=PATIENT_RETRIES, random_jitter_range=1
            )
        )

    @cached_property
    def _plain(self) -> "BlobServiceClient":
        return self._connect(retry_total=0)


class _Connect:
    """Makes the clients of one account; it shows nothing of what they sign with."""

    def __init__(self, *, url: str | None = None, connection: str | None = None, answer_seconds: float) -> None:
        self._url = url
        self._connection = connection
        self._answer_seconds = answer_seconds

    def __call__(self, **options: Any) -> "BlobServiceClient":
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415  # an extra

        limits: dict[str, Any] = {
            "connection_timeout": CONNECT_SECONDS,
            "read_timeout": self._answer_seconds,
            **options,
        }
        if self._connection is not None:
            return BlobServiceClient.from_connection_string(self._connection, **limits)
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415  # an extra

        return BlobServiceClient(self._url or "", credential=DefaultAzureCredential(), **limits)

    def __repr__(self) -> str:
        return "_Connect(***)"


def complaint_about_account(host: str) -> str | None:
    """Why tokens of whoever runs this can't go to a host, None where it is a storage account's in one of Azure's clouds.

    This machine's loopback may have an emulator.
    """
    if _ACCOUNT_HOST.fullmatch(host) is not None or is_loopback(host):
        return None
    return (
        f"{host[:100]!a} is no storage account, and tokens go to nothing else: expected NAME.blob.core.windows.net, "
        "NAME.blob.core.usgovcloudapi.net, NAME.blob.core.chinacloudapi.cn or NAME.zNN.blob.storage.azure.net"
    )


def account_of_url(url: str, *, prefix: str = "", answer_seconds: float = ANSWER_SECONDS) -> BlobAccount:
    """The account at a URL, by the identity of whoever runs this. UpstreamError when the libraries aren't there.

    ConfigError for another host than an account's.
    """
    _needs_libraries()
    if (complaint := complaint_about_account(urlsplit(url).hostname or "")) is not None:
        raise ConfigError(complaint)
    return BlobAccount(_Connect(url=url, answer_seconds=answer_seconds), prefix=prefix)


def account_of_connection(
    text: str, *, variable: str, prefix: str = "", answer_seconds: float = ANSWER_SECONDS
) -> BlobAccount:
    """The account of a connection string, which an environment variable held. ConfigError when it isn't one."""
    _needs_libraries()
    account = BlobAccount(_Connect(connection=text, answer_seconds=answer_seconds), prefix=prefix)
    # without one of the two the library would ask as nobody
    signs = {part.partition("=")[0].strip().lower() for part in text.split(";")} & {
        "accountkey",
        "sharedaccesssignature",
    }
    try:
        parts = urlsplit(account.url if signs else "")
    except (ValueError, KeyError, AttributeError, TypeError):  # the library's, with parts of the secret in them
        parts = urlsplit("")
    if not parts.hostname:
        raise ConfigError(
            f"the environment variable {variable} holds no connection string of a storage account: expected one as "
            "`az storage account show-connection-string` gives it"
        )
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise ConfigError(
            f"the connection string in {variable} speaks to {parts.hostname} without encryption: expected https (http on "
            "this machine's loopback only)"
        )
    return account


def _needs_libraries() -> None:
    try:
        import azure.identity  # noqa: PLC0415  # an extra: a local store needs none of it
        import azure.storage.blob  # noqa: F401, PLC0415
    except ImportError as error:
        raise UpstreamError(
            f"a store in a storage account needs azure-storage-blob and azure-identity: {install_extra('azure')}"
        ) from error


# --- asking again -----------------------------------------------------------------------------------------------------


class Backoff:
    """Waits between attempts, longer every time and never as long as another writer does, up to a deadline."""

    def __init__(self, seconds: float, *, first: float = 0.01, most: float = 2.0) -> None:
        self._deadline = time.monotonic() + seconds
        self._ceiling = first
        self._most = most

    def wait(self) -> bool:
        """Waits; False, at once, when the time is up."""
        if time.monotonic() >= self._deadline:
            return False
        time.sleep(random.uniform(0, self._ceiling))  # noqa: S311  # keeps writers apart, hides nothing
        self._ceiling = min(self._ceiling * 1.6, self._most)
        return True


# --- errors -----------------------------------------------------------------------------------------------------------


def status_of(error: "AzureError") -> int | None:
    """The status of the answer, None where there was none."""
    return getattr(error, "status_code", None) if getattr(error, "response", None) is not None else None


def code_of(error: "AzureError") -> str:
    """The service's own name for what is wrong, such as BlobNotFound; "" where it gave none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def is_transient(error: "AzureError") -> bool:
    """Whether asking again may help. What was asked for may have been done all the same."""
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415  # an extra

    status = status_of(error)
    if status is None:
        return not isinstance(error, ClientAuthenticationError)
    return status in _TRANSIENT or status < 300  # an answer that broke off


def read_range(blob: "BlobClient", start: int, end: int) -> bytes:
    """The bytes of a blob from `start` up to `end`, or up to its own end, in one request. AzureError.

    One request each, since the library asks for the later parts of a long download on the condition that the blob is as
    it was, and a log that is being written never is.
    """
    from azure.core.exceptions import ServiceResponseError  # noqa: PLC0415  # an extra

    try:
        return bytes(blob.download_blob(offset=start, length=min(end - start, MAX_RANGE_BYTES)).readall())
    except ValueError as error:  # the library's, for an answer without the headers of a part
        raise ServiceResponseError("the answer is no part of a blob", error=error) from error


@contextmanager
def translated(account: BlobAccount, container: str, what: str, role: str) -> Iterator[None]:
    """Errors of the library as ours: what failed, why, and what to do."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    try:
        yield
    except AzureError as error:
        explain(account, container, what, role, error)


def explain(account: BlobAccount, container: str, what: str, role: str, error: "AzureError") -> NoReturn:
    """UpstreamError: what failed, why, and what to do. The library's own words are left out: they repeat URLs."""
    if code_of(error) == "ContainerNotFound":
        reason = f"there is no such container: make it with `{account.creation(container)}`"
    else:
        reason = why(error, role)
    raise UpstreamError(f"{what} in {account.url}/{account.prefix}{container}: {reason}") from None


def why(error: "AzureError", role: str) -> str:
    """What went wrong and what to do about it, where `role` is what an answer of 403 says is missing."""
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415  # an extra

    status, code = status_of(error), code_of(error)
    if status is None:
        if type(error).__name__ == "AzureSigningError":
            return "its account key is not one: look at the connection string"
        if isinstance(error, ClientAuthenticationError):
            return "there is no identity to ask with: run `az login`"
        return _transport(error)
    answer = f"it answered {status} {code}".rstrip()
    if code in {"AuthorizationPermissionMismatch", "InsufficientAccountPermissions", "AuthorizationPermissionDenied"}:
        return f"{answer}: {role} is missing on the container"
    if code == "KeyBasedAuthenticationNotPermitted":
        return f"{answer}: the account takes no keys: set `account:` in place of `connection:`"
    if code == "AuthorizationFailure":
        return f"{answer}: the account's network rules keep this machine out, or its key may not do this"
    if status in (401, 403):
        return f"{answer}: the key or the token is wrong or has expired, or {role} is missing: run `az login`"
    return answer


def _transport(error: BaseException) -> str:
    """Why there was no answer, in the operating system's words where there are any."""
    from azure.core.exceptions import ServiceResponseError  # noqa: PLC0415  # an extra

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError) or "Timeout" in type(seen).__name__:
            return "it did not answer in time"
        if isinstance(seen, OSError) and seen.errno in errno.errorcode and seen.strerror:
            return f"it can't be reached: {seen.strerror.lower()}"
        if type(seen).__name__ == "NameResolutionError":
            return "it can't be reached: its name is not known"
        inner = getattr(seen, "inner_exception", None) or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__ or seen.__context__ or next((a for a in seen.args if isinstance(a, Exception)), None)
        seen = inner
    if isinstance(error, ServiceResponseError):
        return "the connection broke off before the answer came"
    return f"the connection failed ({type(error).__name__})"
