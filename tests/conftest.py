"""What holds for the whole suite."""

import os
from collections.abc import Iterator
from pathlib import Path

import azurite as emulator
import pytest
from house import House, house
from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code. In CI the same examples run every time, so that
# a change is blamed for what it breaks; elsewhere each run tries new ones.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # noqa: TID251  # the tests' own switch
)
settings.load_profile("suite")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    """A settled project on an empty loopback index."""
    with house(tmp_path) as built:
        yield built


@pytest.fixture(scope="session")
def azurite() -> Iterator[emulator.Azurite]:
    """A real Azurite on loopback, one for each process of the tests."""
    with emulator.azurite() as running:
        yield running
