"""What every journey starts from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, house


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    """A settled project on an empty loopback index."""
    with house(tmp_path) as built:
        yield built
