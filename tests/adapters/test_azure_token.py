"""A feed's token comes from the machine's identity, through the real azure-identity."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ASK = "from quarantine.adapters.azure_token import feed_token; print(feed_token())"


@contextmanager
def _identity_endpoint(status: int) -> Iterator[tuple[str, list[str]]]:
    """A managed identity's endpoint, as Azure's hosts have it on loopback, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(
                {"access_token": "canary-token", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
                if status == 200
                else {"statusCode": status, "message": "no identity"}
            ).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked
        server.shutdown()


def _ask(endpoint: str) -> "subprocess.CompletedProcess[str]":
    variables = {
        "IDENTITY_ENDPOINT": endpoint,
        "IDENTITY_HEADER": "secret",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "PATH": "/nonexistent",
    }
    return subprocess.run([sys.executable, "-c", _ASK], env=variables, capture_output=True, text=True, check=False)


def test_the_machines_identity_gives_the_token() -> None:
    """A managed identity is asked for a token of the feed's audience."""
    with _identity_endpoint(200) as (endpoint, asked):
        done = _ask(endpoint)

    assert (done.stdout, done.returncode) == ("canary-token\n", 0), done.stderr
    assert len(asked) == 1
    assert "resource=499b84ac-1321-427f-aa17-267ca6975798" in asked[0]


def test_without_a_token_it_says_what_to_do() -> None:
    """An identity that gives no token is an upstream that failed, with the way out."""
    with _identity_endpoint(400) as (endpoint, _):
        done = _ask(endpoint)

    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "quarantine.errors.UpstreamError: no token of Microsoft Entra for the feed" in done.stderr
    assert last.endswith("run `az login`")


def test_without_the_library_it_says_what_to_install() -> None:
    """The library is an extra; its absence is said, with the command that mends it."""
    code = f"import sys; sys.modules['azure.identity'] = None; {_ASK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip().splitlines()[-1] == (
        "quarantine.errors.UpstreamError: credentials: azure needs azure-identity: "
        "run pip install '.[azure]' in the clone that quarantine was installed from"
    )
