"""Files and pages as block blobs: what the service keeps, and what is lost on the way."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO

import pytest
from azurite import Azurite
from lossy_proxy import lossy_proxy

from quarantine.adapters.blob_store import BLOCK_BYTES, BlobStore
from quarantine.errors import ConfigError, ConflictError, IntegrityError, UpstreamError
from quarantine.io.azure import BlobAccount, account_of_connection, account_of_url
from quarantine.model import Digest

WHEEL = Digest.sha256(sha256(b"wheel").hexdigest())
NAME = "simple/numpy/index.json"


@pytest.fixture
def account(azurite: Azurite) -> BlobAccount:
    return azurite.storage()


Behind = contextlib.AbstractContextManager[BlobAccount]


def is_write(method: str, path: str) -> bool:
    """Whether this is what makes a blob: not the making of its container, and not one of its blocks."""
    return method == "PUT" and "restype=container" not in path and "comp=block&" not in path


@pytest.fixture(params=["answer lost", "sent twice", "request lost", "arrives late"])
def lossy(request: pytest.FixtureRequest, azurite: Azurite, account: BlobAccount) -> Behind:
    """The account behind a network on which the first write goes wrong."""
    for container in ("files", "pages"):
        account.make(container)

    @contextlib.contextmanager
    def behind() -> Iterator[BlobAccount]:
        done: list[str] = []

        def draw(method: str, path: str) -> str | None:
            if done or not is_write(method, path):
                return None
            done.append(path)
            return str(request.param)

        with lossy_proxy(azurite.port, draw) as proxy:
            yield azurite.storage(account.prefix, port=proxy.port)
        assert len(done) == 1

    return behind()


@pytest.mark.parametrize("max_single_put_bytes", [1000, 0])
def test_who_stored_a_file_is_told_so(account: BlobAccount, lossy: Behind, max_single_put_bytes: int) -> None:
    """Whatever became of the answer: a write that was done is never said to be another's."""
    with lossy as broken:
        store = BlobStore(broken, max_single_put_bytes=max_single_put_bytes)
        assert store.put_file("files", WHEEL, 5, BytesIO(b"wheel")) is True
    assert BlobStore(account).get("files", WHEEL) == b"wheel"


def test_who_made_a_page_is_told_so(account: BlobAccount, lossy: Behind) -> None:
    """Whatever became of the answer, its tag is the page's."""
    with lossy as broken:
        tag = BlobStore(broken).swap(NAME, b"{}", "application/json", None)

    page = BlobStore(account).page(NAME)
    assert page is not None
    assert page.tag == tag


def test_who_replaced_a_page_is_told_so(account: BlobAccount, lossy: Behind) -> None:
    """The second of two that send the same bytes is told that it lost, all the same."""
    store = BlobStore(account)
    first = store.swap(NAME, b"1", "application/json", None)
    with lossy as broken:
        second = BlobStore(broken).swap(NAME, b"2", "application/json", first)

    page = store.page(NAME)
    assert page is not None
    assert (page.data, page.tag) == (b"2", second)
    with pytest.raises(ConflictError):
        store.swap(NAME, b"2", "application/json", first)


def test_a_page_keeps_its_content_type(account: BlobAccount) -> None:
    """The one that its last writer gave it, with which pip reads it."""
    store = BlobStore(account)
    tag = store.swap(NAME, b"{}", "application/vnd.pypi.simple.v1+json", None)
    store.swap(NAME, b"{1}", "application/vnd.pypi.simple.v1+json", tag)

    kept = account.plain("pages").get_blob_client(NAME).get_blob_properties().content_settings.content_type
    assert kept == "application/vnd.pypi.simple.v1+json"


def test_nothing_is_readable_before_it_was_checked(account: BlobAccount) -> None:
    """Blocks that were staged for other bytes are no blob."""
    data = b"x" * (BLOCK_BYTES + 1)
    with pytest.raises(IntegrityError, match="nothing was stored"):
        BlobStore(account, max_single_put_bytes=0).put_file("files", WHEEL, len(data), BytesIO(data))

    container = account.plain("files")
    assert list(container.list_blobs()) == []
    uncommitted = container.get_blob_client(f"sha256/{WHEEL.hex}").get_block_list("uncommitted")[1]
    assert [block.size for block in uncommitted] == [BLOCK_BYTES]


def test_other_blobs_are_not_listed(account: BlobAccount) -> None:
    """What isn't named by a digest, or as a page, is none of ours."""
    store = BlobStore(account)
    digest = store.put("files", b"wheel")
    store.swap(NAME, b"{}", "application/json", None)
    account.plain("files").upload_blob("sha256/README", b"x")
    account.plain("pages").upload_blob(".hidden/x", b"x")

    assert list(store.digests("files")) == [digest]
    assert list(store.names("")) == [NAME]


def test_the_store_says_what_is_not_there_yet(account: BlobAccount) -> None:
    """Where it is, and the containers that the first write makes."""
    store = BlobStore(account)
    store.put("files", b"x")

    prefix = account.prefix
    assert store.probe() == (
        f"{account.url} answers; made when first written to: {prefix}evidence, {prefix}verdicts, {prefix}pages, "
        f"{prefix}decisions, {prefix}log-checks"
    )


def test_every_question_is_answered_with_an_error_of_ours(azurite: Azurite) -> None:
    """A key that isn't the account's: what failed, what was answered, and nothing of the key."""
    key = "d3JvbmctY2FuYXJ5LWtleQ=="
    store = BlobStore(account_of_connection(azurite.connection().replace(azurite.key, key), variable="STORE"))

    for ask in (
        lambda: store.put("files", b"x"),
        lambda: store.get("files", WHEEL),
        lambda: list(store.read("files", WHEEL)),
        lambda: store.size("files", WHEEL),
        lambda: store.remove("files", WHEEL),
        lambda: list(store.digests("files")),
        lambda: store.page(NAME),
        lambda: store.swap(NAME, b"x", "text/html", None),
        lambda: list(store.names("")),
        store.probe,
    ):
        with pytest.raises(UpstreamError, match=r"it answered 403") as caught:
            ask()
        assert key not in f"{caught.value} {store!r} {vars(store)}"


def test_a_signature_is_never_repeated() -> None:
    """A connection string may sign with a SAS, which stands in every URL that the library speaks to."""
    text = "BlobEndpoint=http://127.0.0.1:9/a;SharedAccessSignature=sv=2026&sig=canary"
    account = account_of_connection(text, variable="STORE")

    with pytest.raises(UpstreamError) as caught:
        BlobStore(account, patience_seconds=0).remove("files", WHEEL)
    assert str(caught.value) == (
        f"files/{WHEEL} can't be removed in http://127.0.0.1:9/a/files: it can't be reached: connection refused"
    )
    assert "canary" not in f"{account!r} {vars(account)} {account.url}"


@pytest.mark.parametrize("text", ["", "canary", "AccountName=a", "BlobEndpoint=;AccountKey=canary"])
def test_what_is_no_connection_string_is_refused(text: str) -> None:
    """The variable is named, and nothing of what is in it."""
    with pytest.raises(ConfigError) as caught:
        account_of_connection(text, variable="STORE")

    assert str(caught.value) == (
        "the environment variable STORE holds no connection string of a storage account: expected one as `az storage "
        "account show-connection-string` gives it"
    )


def test_a_connection_without_encryption_stays_on_this_machine() -> None:
    """Anywhere else everybody on the way could read it."""
    text = "AccountName=a;AccountKey=Y2FuYXJ5;BlobEndpoint=http://blobs.example.org/a"

    with pytest.raises(ConfigError) as caught:
        account_of_connection(text, variable="STORE")
    assert str(caught.value) == (
        "the connection string in STORE speaks to blobs.example.org without encryption: expected https (http on this "
        "machine's loopback only)"
    )


def test_a_key_that_is_none_is_said_to_be_none() -> None:
    """What can't sign asks nobody."""
    account = account_of_connection("AccountName=a;AccountKey=canary-", variable="STORE")

    with pytest.raises(UpstreamError) as caught:
        BlobStore(account).page("x")
    assert str(caught.value) == (
        "the page x can't be read in https://a.blob.core.windows.net/pages: its account key is not one: look at the "
        "connection string"
    )


def test_an_account_says_how_its_containers_are_made() -> None:
    """The command names the account, the container and the caller's own login."""
    account = account_of_url("https://contoso.blob.core.windows.net", prefix="ml-")

    assert account.creation("files") == (
        "az storage container create --auth-mode login --account-name contoso --name ml-files"
    )


def test_no_token_goes_to_another_host_than_an_accounts() -> None:
    """Whoever names it: the identity is that of whoever runs this."""
    with pytest.raises(ConfigError) as caught:
        account_of_url("https://contoso.blob.core.windows.net.evil.example.org")
    assert str(caught.value) == (
        "'contoso.blob.core.windows.net.evil.example.org' is no storage account, and tokens go to nothing else: expected "
        "NAME.blob.core.windows.net, NAME.blob.core.usgovcloudapi.net, NAME.blob.core.chinacloudapi.cn or "
        "NAME.zNN.blob.storage.azure.net"
    )


def test_without_an_identity_it_says_what_to_do() -> None:
    """No credential of this machine gives a token: run `az login`."""
    code = (
        "from quarantine.adapters.blob_store import BlobStore\n"
        "from quarantine.io.azure import account_of_url\n"
        "BlobStore(account_of_url('https://contoso.blob.core.windows.net')).page('x')\n"
    )
    variables = {"PATH": "/nonexistent", "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)

    assert done.stderr.strip().splitlines()[-1] == (
        "quarantine.errors.UpstreamError: the page x can't be read in https://contoso.blob.core.windows.net/pages: "
        "there is no identity to ask with: run `az login`"
    )


def test_without_the_library_it_says_what_to_install() -> None:
    """The library is an extra; its absence is said, with the command that mends it."""
    code = (
        "import sys\nsys.modules['azure.storage.blob'] = None\n"
        "from quarantine.io.azure import account_of_url\n"
        "account_of_url('https://contoso.blob.core.windows.net')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip().splitlines()[-1] == (
        "quarantine.errors.UpstreamError: a store in a storage account needs azure-storage-blob and azure-identity: "
        "run pip install '.[azure]' in the clone that quarantine was installed from"
    )
