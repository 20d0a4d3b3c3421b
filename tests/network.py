"""What the tests that speak to the real package index share."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from parts import missing

from quarantine.adapters.uv import default_index_url


def require_index(cache: Path) -> None:
    """Skips where the index can't be reached, but never in CI."""
    host = urlsplit(default_index_url(cache)).hostname or ""
    try:
        socket.create_connection((host, 443), timeout=10).close()
    except OSError as error:
        missing(f"the package index can't be reached ({error}): connect to a network to run this")


def surroundings() -> dict[str, str]:
    """The variables of this machine that decide whether anything is reached: proxies and certificates."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
    every = (*names, *(name.lower() for name in names))
    return {name: os.environ[name] for name in every if os.environ.get(name)}  # noqa: TID251  # the tests' own
