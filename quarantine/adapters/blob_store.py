"""Artifacts, evidence and pages as block blobs of a storage account.

    evidence/sha256/<hex>                bytes, named by their sha256, made once (If-None-Match: *)
    pages/simple/numpy/index.json        a page, replaced whole while its ETag is the one that was read (If-Match)
    decisions/decisions/NAME             a page of curators, in a container that only they write

Every write carries a name of its own in the blob's metadata. When an answer is lost, that name says whether the write
was done. Nothing is readable under a digest before its bytes were held to it.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from quarantine.errors import ConflictError, UpstreamError
from quarantine.io.azure import (
    ADD,
    DELETE,
    READ,
    WRITE,
    Backoff,
    BlobAccount,
    code_of,
    explain,
    is_transient,
    status_of,
    translated,
)
from quarantine.io.stored import checked, digest_hex, measured, page_folder, page_parts, parse_container
from quarantine.model import Digest
from quarantine.ports import Page

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobLeaseClient, BlobProperties

__all__ = ["BlobStore"]

MAX_SINGLE_PUT_BYTES = 64 * 1024 * 1024
"""What is larger goes up in blocks, which takes `blobs/write`; up to here `blobs/add/action` will do."""
BLOCK_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 60.0
LEASE_SECONDS = 60
"""The longest that a lease of a process that was killed keeps others waiting; renewed three times as often."""
_LEASES = "leases"
_BYTES = "application/octet-stream"
_OWN = ("evidence", "verdicts", "files", "pages", "decisions", "log-checks")
_NOT_THERE = frozenset({"BlobNotFound", "ContainerNotFound", "ResourceNotFound"})
# UnauthorizedBlobOverwrite: who may only add blobs named one that is there
_LOST = frozenset(
    {"BlobAlreadyExists", "BlobNotFound", "ConditionNotMet", "InvalidBlockList", "UnauthorizedBlobOverwrite"}
)
_Write = Callable[..., Mapping[str, Any]]


class BlobStore:
    """Implements `ports.ArtifactStore` and `ports.PageStore` in a storage account."""

    def __init__(
        self,
        account: BlobAccount,
        *,
        max_single_put_bytes: int = MAX_SINGLE_PUT_BYTES,
        patience_seconds: float = PATIENCE_SECONDS,
        lease_wait_seconds: float = LEASE_SECONDS + 15,
    ) -> None:
        self._account = account
        self._max_single_put = max_single_put_bytes
        self._patience = patience_seconds
        self._lease_wait = lease_wait_seconds

    def probe(self) -> str:
        """Where the store is, and which of its containers aren't there yet. UpstreamError when it can't be read."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        absent: list[str] = []
        for container in _OWN:
            try:
                next(iter(self._account.patient(container).list_blob_names(results_per_page=1)), None)
            except AzureError as error:
                if code_of(error) != "ContainerNotFound":
                    explain(self._account, container, "blobs can't be listed", READ, error)
                absent.append(self._account.prefix + container)
        answers = f"{self._account.url} answers"
        return f"{answers}; made when first written to: {', '.join(absent)}" if absent else answers

    # --- bytes by their digest ----------------------------------------------------------------------------------------

    def put(self, container: str, data: bytes) -> Digest:
        """Stores the bytes, durably, unless they are there already. UpstreamError when they can't be, IntegrityError."""
        digest = Digest.sha256(sha256(data).hexdigest())
        self.put_file(container, digest, len(data), BytesIO(data))
        return digest

    def put_file(self, container: str, digest: Digest, size: int, file: BinaryIO) -> bool:
        """Stores `size` bytes from where the file stands, durably; False where they are there already.

        They are held to length and digest while they are read: IntegrityError, and nothing stored; the same where
        others are there. Of several writers of the same bytes one gets True. UpstreamError.
        """
        name = _name(digest)
        if self.size(container, digest) is not None:
            return self._added_by_others(container, digest)
        try:
            chunks = measured(file, digest, size, f"what was to be stored as {container}/{digest}")
            if size <= self._max_single_put:
                data = b"".join(chunks)
                tag = self._write(container, name, lambda blob, **how: blob.upload_blob(data, length=size, **how), ADD)
            else:
                blocks = self._stage(container, name, chunks)
                tag = self._write(container, name, lambda blob, **how: _commit(blob, blocks, **how), WRITE)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UpstreamError(f"what was to be stored as {container}/{digest} can't be read: {reason}") from error
        return True if tag is not None else self._added_by_others(container, digest)

    def get(self, container: str, digest: Digest) -> bytes:
        """The bytes of that digest, checked against it. UpstreamError when they aren't there, IntegrityError."""
        return b"".join(self.read(container, digest))

    def read(self, container: str, digest: Digest) -> Iterator[bytes]:
        """The same in chunks. After the last one they are checked: IntegrityError then means that none of them counts."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        name, what = _name(digest), f"{container}/{digest}"
        blob = self._account.patient(parse_container(container)).get_blob_client(name)
        try:
            yield from checked(
                blob.download_blob().chunks(), digest, f"{self._account.url}/{blob.container_name}/{name}"
            )
        except AzureError as error:
            if code_of(error) in _NOT_THERE:
                raise UpstreamError(f"{what} can't be read: there is no such blob in {self._account.url}") from None
            explain(self._account, container, f"{what} can't be read", READ, error)

    def size(self, container: str, digest: Digest) -> int | None:
        """How many bytes are stored under the digest, None where there are none. UpstreamError."""
        name = _name(digest)
        with translated(self._account, container, f"{container}/{digest} can't be looked up", READ):
            found = _properties(self._account.patient(parse_container(container)).get_blob_client(name))
        return None if found is None else int(found.size)

    def remove(self, container: str, digest: Digest) -> bool:
        """Takes the bytes away; False where there were none. UpstreamError."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        blob = self._account.plain(parse_container(container)).get_blob_client(_name(digest))
        backoff, unanswered = Backoff(self._patience), False
        while True:
            try:
                blob.delete_blob(delete_snapshots="include")
            except AzureError as error:
                if code_of(error) in _NOT_THERE:
                    return unanswered
                unanswered = unanswered or is_transient(error)
                if not is_transient(error) or not backoff.wait():
                    explain(self._account, container, f"{container}/{digest} can't be removed", DELETE, error)
            else:
                return True

    def digests(self, container: str) -> Iterator[Digest]:
        """Every digest that the container has bytes of, in no order. UpstreamError."""
        for name in self._names(parse_container(container), "sha256/", f"{container} can't be listed"):
            try:
                yield Digest.sha256(name.removeprefix("sha256/"))
            except ValueError:
                continue

    # --- pages --------------------------------------------------------------------------------------------------------

    def page(self, name: str) -> Page | None:
        """The page of that name, None where there is none; its tag is its ETag. UpstreamError."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        page_parts(name)
        container = page_folder(name)
        try:
            return _page(self._account.patient(container).get_blob_client(name))
        except AzureError as error:
            if code_of(error) in _NOT_THERE:
                return None
            explain(self._account, container, f"the page {name} can't be read", READ, error)

    def swap(self, name: str, data: bytes, content_type: str, expected: str | None) -> str:
        """Replaces the page whose tag is `expected` (None: makes it), durably, and answers with its new tag.

        ConflictError when another one is there; then nothing has changed. UpstreamError.
        """
        from azure.core import MatchConditions  # noqa: PLC0415  # an extra

        page_parts(name)

        def write(blob: "BlobClient", **how: Any) -> Mapping[str, Any]:
            if expected is not None:
                how |= {"overwrite": True, "etag": expected, "match_condition": MatchConditions.IfNotModified}
            return blob.upload_blob(data, length=len(data), **how)

        tag = self._write(page_folder(name), name, write, WRITE, content_type)
        if tag is None:
            found = "is there already" if expected is None else "was written by somebody else meanwhile, or is gone"
            raise ConflictError(f"the page {name} {found}: read it again, and try again")
        return tag

    def names(self, prefix: str) -> Iterator[str]:
        """The names of the pages that begin with the prefix, in no order. UpstreamError."""
        for name in self._names(page_folder(prefix), prefix, "the pages can't be listed"):
            try:
                page_parts(name)
            except UpstreamError:
                continue
            yield name

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """Holds what the name stands for, which nobody else then does; it ends a minute after its process at the latest.

        ConflictError when somebody else has it for longer than that. UpstreamError.
        """
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        page_parts(name)
        what = f"the lease {name} can't be had"
        self._write(_LEASES, name, lambda blob, **how: blob.upload_blob(b"", length=0, **how), WRITE)
        blob = self._account.plain(_LEASES).get_blob_client(name)
        backoff = Backoff(self._lease_wait)
        while True:
            try:
                held = blob.acquire_lease(lease_duration=LEASE_SECONDS)
                break
            except AzureError as error:
                if code_of(error) != "LeaseAlreadyPresent" and not is_transient(error):
                    explain(self._account, _LEASES, what, WRITE, error)
                if not backoff.wait():
                    raise ConflictError(f"somebody else has {name}: wait until they are done") from error
        done = Event()
        renewing = Thread(target=_renew, args=(held, done), name=f"lease-{name}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            with suppress(AzureError):  # then it ends by itself
                held.release()

    # --- how ----------------------------------------------------------------------------------------------------------

    def _added_by_others(self, container: str, digest: Digest) -> Literal[False]:
        """False: these bytes are there already. IntegrityError where others have taken their name, UpstreamError."""
        for _ in self.read(container, digest):
            pass
        return False

    def _names(self, container: str, prefix: str, what: str) -> Iterator[str]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        try:
            for name in self._account.patient(container).list_blob_names(name_starts_with=prefix or None):
                yield str(name)
        except AzureError as error:
            if code_of(error) != "ContainerNotFound":
                explain(self._account, container, what, READ, error)

    def _stage(self, container: str, name: str, chunks: Iterator[bytes]) -> list[str]:
        """The ids of the blocks that hold the chunks; nobody can read them before they are committed."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

        blob = self._account.patient(parse_container(container)).get_blob_client(name)
        own, ids = os.urandom(8), list[str]()
        for block in _in_blocks(chunks):
            ids.append(b64encode(own + len(ids).to_bytes(4, "big")).decode())
            try:
                blob.stage_block(ids[-1], block, length=len(block))
            except AzureError as error:
                if code_of(error) != "ContainerNotFound":
                    explain(self._account, container, f"{container}/{name} can't be written", WRITE, error)
                self._account.make(container)
                with translated(self._account, container, f"{container}/{name} can't be written", WRITE):
                    blob.stage_block(ids[-1], block, length=len(block))
        return ids

    def _write(self, container: str, name: str, write: _Write, role: str, content_type: str = _BYTES) -> str | None:
        """The new ETag; None when the condition of the write doesn't hold, since somebody else was first.

        An answer that was lost, or that came to a request which a proxy had sent twice, says nothing: the blob does.
        """
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra
        from azure.storage.blob import ContentSettings  # noqa: PLC0415

        what, own = f"{container}/{name} can't be written", os.urandom(16).hex()
        how = {"metadata": {"write": own}, "content_settings": ContentSettings(content_type=content_type)}
        blob = self._account.plain(parse_container(container)).get_blob_client(name)
        backoff, made = Backoff(self._patience), False
        while True:
            try:
                return str(write(blob, **how)["etag"])
            except AzureError as error:
                failed = error
            if code_of(failed) == "ContainerNotFound" and not made:
                self._account.make(container)
                made = True
                continue
            lost = code_of(failed) in _LOST
            if not lost and not is_transient(failed):
                explain(self._account, container, what, role, failed)
            with translated(self._account, container, what, role):
                found = _properties(self._account.patient(container).get_blob_client(name))
            if found is not None and found.metadata.get("write") == own:
                return str(found.etag)
            if lost and (found is not None or code_of(failed) != "InvalidBlockList"):
                return None
            if lost or not backoff.wait():
                explain(self._account, container, what, role, failed)


def _renew(held: "BlobLeaseClient", done: Event) -> None:
    """Renews a lease until it is given back. One that can't be renewed ends; what is done under it is done create-only."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    while not done.wait(LEASE_SECONDS / 3):
        with suppress(AzureError):
            held.renew()


def _name(digest: Digest) -> str:
    return f"sha256/{digest_hex(digest)}"


def _properties(blob: "BlobClient") -> "BlobProperties | None":
    """What is known of a blob, None where there is none. AzureError."""
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # an extra

    try:
        return blob.get_blob_properties()
    except ResourceNotFoundError:
        return None


def _page(blob: "BlobClient") -> Page:
    """The bytes of a page with the ETag of these very bytes. AzureError.

    Asked for all of an empty blob, the library asks twice, and takes the ETag of the second answer for that of nothing:
    a page that was written in between would count as read. Asked for what stands from its first byte on, it says that
    there is none.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra

    while True:
        try:
            answer = blob.download_blob(offset=0)
            return Page(data=bytes(answer.readall()), tag=str(answer.properties.etag))
        except AzureError as error:
            if code_of(error) == "ConditionNotMet":
                continue  # it was replaced between two parts of it
            if status_of(error) != 416:
                raise
        properties = blob.get_blob_properties()
        if not properties.size:
            return Page(data=b"", tag=str(properties.etag))


def _commit(blob: "BlobClient", ids: Sequence[str], **how: Any) -> Mapping[str, Any]:
    from azure.core import MatchConditions  # noqa: PLC0415  # an extra
    from azure.storage.blob import BlobBlock  # noqa: PLC0415

    blocks = [BlobBlock(block_id=block) for block in ids]
    return blob.commit_block_list(blocks, match_condition=MatchConditions.IfMissing, **how)


def _in_blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of BLOCK_BYTES."""
    parts, size = list[bytes](), 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= BLOCK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
