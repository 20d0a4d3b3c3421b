"""Which store stands behind a configuration."""

from operator import attrgetter
from pathlib import Path

import pytest

from quarantine import wiring
from quarantine.adapters.blob_log import BlobLog
from quarantine.adapters.blob_store import BlobStore
from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.config import Environment, Settings, load_settings, read_environment
from quarantine.errors import UpstreamError

CONNECTION = "AccountName=contoso;AccountKey=Y2FuYXJ5;"


def _settings(folder: Path, store: str, environment: Environment) -> Settings:
    file = folder / "quarantine.yaml"
    file.write_text(f"version: 1\nproject: x\nstore: {store}\n")
    return load_settings(file, environment, folder)


def test_a_folder_is_a_local_store(tmp_path: Path) -> None:
    """The log is in a folder of it."""
    environment = read_environment({})
    settings = _settings(tmp_path, "here", environment)

    assert isinstance(wiring.audit_log(settings, environment), LocalLog)
    assert isinstance(wiring.artifact_store(settings, environment), LocalStore)
    assert isinstance(wiring.page_store(settings, environment), LocalStore)
    assert wiring.probe_store(settings, environment) == str(tmp_path / "here")


@pytest.mark.parametrize("store", ["{account: 'https://contoso.blob.core.windows.net'}", "{connection: 'env:STORE'}"])
def test_an_account_is_a_remote_store(tmp_path: Path, store: str) -> None:
    """By its URL, or by the connection string in a variable; making it asks nobody."""
    environment = read_environment({"STORE": CONNECTION})
    settings = _settings(tmp_path, store, environment)

    log = wiring.audit_log(settings, environment)
    assert isinstance(log, BlobLog)
    assert isinstance(wiring.artifact_store(settings, environment), BlobStore)
    assert isinstance(wiring.page_store(settings, environment), BlobStore)
    assert "Y2FuYXJ5" not in f"{settings} {vars(log)}"


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    """No store is never an empty one."""
    environment = read_environment({})
    settings = _settings(tmp_path, "{connection: 'env:STORE'}", environment)

    with pytest.raises(UpstreamError) as caught:
        wiring.audit_log(settings, environment)
    assert str(caught.value) == "the store needs the environment variable STORE: it isn't set"


def test_everything_that_wiring_offers_is_there() -> None:
    """Names are looked up when they are asked for: each is in the module that is said to have it, and no other is."""
    assert {name for name in wiring.__all__ if callable(getattr(wiring, name))} == set(wiring.__all__)
    with pytest.raises(AttributeError, match=r"^module 'quarantine.wiring' has no attribute 'nothing'$"):
        attrgetter("nothing")(wiring)
