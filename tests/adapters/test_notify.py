"""Messages through the real apprise, to loopback servers: what arrives, what doesn't, and that no secret shows."""

import email
import email.policy
import json
import logging
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from parts import missing
from servers import Answer, WebServer

from quarantine.adapters.notify import AppriseNotifier, Channel
from quarantine.ports import Delivery, Message

# apprise's mail imports what Python 3.13 no longer has, where it is there
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

CANARY = "s3cr3tcanary"
MESSAGE = Message(key="k", title="numpy 1.26.4 <b>waits</b>", text="first :smile:\nsecond \\n $HOME %s {x} *y* & <z>")
KINDS = "expected json, jsons, mailto, mailtos, slack, workflow, workflows"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer(lambda _: Answer()) as running:
        yield running


def channel(url: str | None, name: str = "team") -> Channel:
    return Channel(name=name, variable="TEAM_URL", url=None if url is None else lambda: url)


def send(*channels: Channel, timeout: float = 10.0, message: Message = MESSAGE) -> tuple[Delivery, ...]:
    return AppriseNotifier(channels, timeout_seconds=timeout, backoff_seconds=0.02).send(message, lambda _: None)


def problem(url: str | None, *, timeout: float = 10.0) -> str:
    (delivery,) = send(channel(url), timeout=timeout)
    return delivery.problem


def test_webhook_gets_the_text_as_it_is(server: WebServer) -> None:
    """Title and text arrive unchanged: no markup, escape or emoji in them means anything."""
    assert send(channel(f"json://127.0.0.1:{server.port}/hook")) == (Delivery(channel="team"),)
    (asked,) = server.asked
    body = json.loads(asked.body)
    assert (asked.method, asked.path, body["title"], body["message"], body["attachments"]) == (
        "POST",
        "/hook",
        MESSAGE.title,
        MESSAGE.text,
        [],
    )


def test_webhook_is_given_its_login_and_headers(server: WebServer) -> None:
    """As the URL has them."""
    url = f"json://user:{CANARY}@127.0.0.1:{server.port}/?+X-Key={CANARY}&-q={CANARY}&method=put"
    server_answers = send(channel(url))
    assert server_answers == (Delivery(channel="team", problem="it answered 501"),)
    assert problem(url.replace("&method=put", "")) == ""
    headers = server.asked[-1].headers
    assert (headers["X-Key"], headers["Authorization"], server.paths()) == (
        CANARY,
        "Basic dXNlcjpzM2NyM3RjYW5hcnk=",
        [f"/?q={CANARY}"],
    )


@pytest.mark.parametrize(
    ("status", "tries"), [(500, 3), (502, 3), (503, 3), (429, 3), (408, 3), (400, 1), (401, 1), (404, 1), (410, 1)]
)
def test_what_may_pass_is_tried_three_times(server: WebServer, status: int, tries: int) -> None:
    """What won't isn't; the problem is the last status."""
    server.always("/hook", Answer(status=status, body=CANARY.encode()))
    said = problem(f"json://127.0.0.1:{server.port}/hook")
    assert (said, len(server.asked)) == (f"it answered {status}", tries)


def test_third_try_may_succeed(server: WebServer) -> None:
    """Then it has arrived."""
    server.script("/hook", Answer(status=503), Answer(status=500))
    assert (problem(f"json://127.0.0.1:{server.port}/hook"), len(server.asked)) == ("", 3)


def test_redirect_is_not_followed(server: WebServer) -> None:
    """It would take the message, and what proves who sends it, to wherever the answer says."""
    with WebServer(lambda _: Answer()) as elsewhere:
        server.always("/hook", Answer(status=307, headers={"Location": f"{elsewhere.origin}/x"}))
        said = problem(f"json://127.0.0.1:{server.port}/hook")
    assert (said, elsewhere.asked, len(server.asked)) == ("it answered 307", [], 1)


def test_nobody_there_is_said_without_an_address() -> None:
    """A closed port."""
    with WebServer() as gone:
        pass
    assert problem(f"json://127.0.0.1:{gone.port}/{CANARY}") == "it can't be reached, or did not take the message"


def test_silence_has_an_end_and_is_heard_once(server: WebServer) -> None:
    """The others are told all the same, side by side; who is slow isn't asked again."""
    server.always("/slow", Answer(hang=True))
    began = time.monotonic()
    found = send(
        channel(f"json://127.0.0.1:{server.port}/slow", "slow"),
        channel(f"json://127.0.0.1:{server.port}/slow?+a=b", "slower"),
        channel(f"json://127.0.0.1:{server.port}/hook", "quick"),
        timeout=4.6,  # longer than apprise itself waits
    )
    late = "no answer within 4.6 s: whether it arrived is not known"
    assert found == (
        Delivery(channel="slow", problem=late),
        Delivery(channel="slower", problem=late),
        Delivery(channel="quick"),
    )
    assert (time.monotonic() - began < 7, sorted(server.paths())) == (True, ["/hook", "/slow", "/slow"])


def test_body_that_drips_keeps_nobody() -> None:
    """Neither the caller nor the process: it ends while the channel still talks."""
    script = (
        "import socket, sys, threading, time\n"
        "from quarantine.adapters.notify import AppriseNotifier, Channel\n"
        "from quarantine.ports import Message\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "def drip():\n"
        "    peer, _ = listening.accept()\n"
        "    peer.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n')\n"
        "    while True: time.sleep(0.1); peer.sendall(b'x')\n"
        "threading.Thread(target=drip, daemon=True).start()\n"
        "url = f'json://127.0.0.1:{listening.getsockname()[1]}/'\n"
        "notifier = AppriseNotifier([Channel(name='c', variable='V', url=lambda: url)], timeout_seconds=1)\n"
        "print(notifier.send(Message(key='k', title='t', text='x'), lambda _: None)[0].problem)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("no answer within 1 s: whether it arrived is not known\n", "")
    assert time.monotonic() - began < 10


# --- what isn't taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "syslog://", "rsyslog://127.0.0.1", "dbus://", "kde://", "gnome://", "macosx://", "windows://", "glib://",
        "file:///etc/passwd", "http://127.0.0.1/", "https://hooks.slack.com/services/T1/B1/x", "apprise://127.0.0.1/x",
        "apprises://127.0.0.1/x", "xml://127.0.0.1", "form://127.0.0.1", "exec://x", "JSON://127.0.0.1", "tgram://1/2",
        "include://x", "import://x", "blink1://x", "schan://x", "gntp://127.0.0.1",
    ],
)  # fmt: skip
def test_other_kinds_of_channel_are_refused(url: str) -> None:
    """Those that touch this machine's desktop, files or programs, those that include configuration, and all the rest."""
    assert problem(url) == f"the URL in TEAM_URL is of no kind that is taken: {KINDS}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=/etc/passwd", "blocks, footer, image, mode, timestamp, to"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?:token=x", "blocks, footer, image, mode, timestamp, to"),
        (
            "workflows://127.0.0.1/a/b?Template=/etc/passwd",
            "api-version, id, image, pa, powerautomate, route, routeid, sig, signature, sp, sv, ver, workflow, wrap",
        ),
        (
            "mailtos://u:p@example.org?pgp=sign&pgpprv=/etc/passwd",
            "bcc, cc, from, mode, name, pass, password, reply, smtp, to, user",
        ),
        ("jsons://127.0.0.1/?verify=no", "method"),
        ("jsons://127.0.0.1/?redirect=yes", "method"),
        ("jsons://127.0.0.1/?emojis=yes", "method"),
        ("jsons://127.0.0.1/?format=html", "method"),
        ("jsons://127.0.0.1/?store=yes", "method"),
        ("jsons://127.0.0.1/?rto=9999", "method"),
        ("jsons://127.0.0.1/?retry=9&wait=9", "method"),
        (f"jsons://127.0.0.1/?{CANARY}", "method"),
    ],
)  # fmt: skip
def test_parameters_that_read_files_or_weaken_are_refused(url: str, expected: str) -> None:
    """Whatever isn't listed; the parameter itself isn't repeated, since it may be the secret."""
    assert problem(url) == f"the URL in TEAM_URL has a parameter that is not taken: expected of {expected}"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("json://hook.example/", "jsons"),
        ("json://10.0.0.1/", "jsons"),
        ("mailto://example.org?from=a@example.org&to=b@example.org", "mailtos"),
        ("mailtos://127.0.0.1?smtp=mail.example&mode=insecure&from=a@example.org&to=b@example.org", "mailtos"),
        ("mailto://127.0.0.1?smtp=mail.example&from=a@example.org&to=b@example.org", "mailtos"),
    ],
)
def test_secret_is_sent_nowhere_without_encryption(url: str, kind: str) -> None:
    """But to this machine itself."""
    assert problem(url) == (
        f"the URL in TEAM_URL isn't encrypted: expected {kind} (without encryption on this machine's loopback only)"
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "the environment variable TEAM_URL isn't set"),
        ("json://", "the URL in TEAM_URL can't be read as one of json://"),
        (f"slack://{CANARY}", "the URL in TEAM_URL can't be read as one of slack://"),
        (f"workflows://127.0.0.1/{CANARY}", "the URL in TEAM_URL can't be read as one of workflows://"),
        ("mailto://", "the URL in TEAM_URL can't be read as one of mailto://"),
        ("json://127.0.0.1/a b", "the URL in TEAM_URL has characters that no URL has, or is too long"),
        (
            "json://127.0.0.1/a,\njson://127.0.0.1/b",
            "the URL in TEAM_URL has characters that no URL has, or is too long",
        ),
        ("json://127.0.0.1/" + "a" * 8192, "the URL in TEAM_URL has characters that no URL has, or is too long"),
    ],
)
def test_url_that_is_none_is_said_by_its_variable(url: str | None, said: str) -> None:
    """And isn't repeated."""
    assert problem(url) == said


def test_nothing_is_raised_whatever_goes_wrong() -> None:
    """What a library, or the environment, raises may repeat the URL: it becomes words of our own."""

    def broken() -> str:
        raise RuntimeError(CANARY)

    found = send(Channel(name="team", variable="TEAM_URL", url=broken))
    assert found == (Delivery(channel="team", problem="it did not take the message"),)


def test_without_the_library_it_says_what_to_install() -> None:
    """On every channel; nothing is raised."""
    script = (
        "import sys; sys.modules['apprise'] = None\n"
        "from quarantine.adapters.notify import AppriseNotifier, Channel\n"
        "from quarantine.ports import Message\n"
        "channels = [Channel(name=n, variable='V', url=lambda: 'json://127.0.0.1') for n in 'ab']\n"
        "for d in AppriseNotifier(channels).send(Message(key='k', title='t', text='x'), lambda _: None): print(d)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    advice = "apprise is not installed: run pip install '.[curators]' in the clone that quarantine was installed from"
    assert (done.stdout, done.stderr) == ("".join(f"Delivery(channel='{n}', problem=\"{advice}\")\n" for n in "ab"), "")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_shows_anywhere(
    server: WebServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in deliveries, not in reprs, not on the screen, in no record of any logger at any level."""
    logging.getLogger("apprise").setLevel(1)
    caplog.set_level(1)
    server.always(f"/{CANARY}", Answer(status=500, body=CANARY.encode()))
    place = f"127.0.0.1:{server.port}"
    urls = [
        f"json://{CANARY}:{CANARY}@{place}/{CANARY}",
        f"json://{place}/ok/{CANARY}?+Authorization={CANARY}&-sig={CANARY}",
        f"json://{CANARY}@127.0.0.1:9/{CANARY}",
        f"jsons://{place}/{CANARY}",
        f"json://{CANARY}.example/",
        f"{CANARY}://x",
        f"slack://{CANARY}",
        f"slack://{CANARY}/{CANARY}?mode={CANARY}",
        f"workflows://127.0.0.1:9/{CANARY}/{CANARY}",
        f"mailto://{CANARY}:{CANARY}@127.0.0.1:9?to=a@example.org",
    ]
    try:
        notifier = AppriseNotifier([channel(url, f"c{n}") for n, url in enumerate(urls)], backoff_seconds=0.01)
        shown = f"{notifier!r} {channel(urls[0])!r} {notifier.send(MESSAGE, print)!r}"
    finally:
        logging.getLogger("apprise").setLevel(logging.NOTSET)
    shown += "".join(capfd.readouterr()) + caplog.text + repr([vars(record) for record in caplog.records])
    assert (CANARY in shown, shown.count("Delivery"), len(server.asked)) == (False, len(urls), 4)


def test_others_who_log_are_still_heard(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    """Only what is logged while a message is sent is dropped."""
    problem(f"json://127.0.0.1:{server.port}/")
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).warning("from %s", name)
    assert caplog.messages == ["from apprise", "from urllib3.connectionpool"]


def test_nothing_is_written(server: WebServer, tmp_path: Path) -> None:
    """No folder for state, keys or caches, wherever a home says they belong."""
    script = (
        "from quarantine.adapters.notify import AppriseNotifier, Channel\n"
        "from quarantine.ports import Message\n"
        f"url = 'json://127.0.0.1:{server.port}/'\n"
        "notifier = AppriseNotifier([Channel(name='c', variable='V', url=lambda: url)])\n"
        "print(notifier.send(Message(key='k', title='t', text='x'), lambda _: None))\n"
    )
    (tmp_path / ".apprise").write_text(f"json://127.0.0.1:{server.port}/configured\n")
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "apprise.yml").write_text(f"urls: ['json://127.0.0.1:{server.port}/configured']\n")
    before = sorted(tmp_path.rglob("*"))
    places = {name: str(tmp_path) for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")}
    variables = {**places, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("(Delivery(channel='c', problem=''),)\n", "")
    assert (sorted(tmp_path.rglob("*")), server.paths()) == (before, ["/"])


# --- mail, Teams, Slack -----------------------------------------------------------------------------------------------


class _Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server (RFC 5321) that takes everything, or refuses recipients with a text of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.refuses = refuses
        self.mails: list[bytes] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Mail(socketserver.StreamRequestHandler):
    server: _Mailbox

    def handle(self) -> None:
        self._say("220 tests")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(b"".join(lines))
                self._say("250 taken")
            elif verb == b"RCPT" and self.server.refuses:
                self._say(f"550 {CANARY}")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mailbox(*, refuses: bool = False) -> Iterator[_Mailbox]:
    with _Mailbox(refuses=refuses) as box:
        yield box
        box.shutdown()


def test_mail_is_plain_text() -> None:
    """One part, from and to whom the URL says, with the text as it is."""
    with mailbox() as box:
        said = problem(f"mailto://127.0.0.1:{box.port}?from=gate@example.org&to=team@example.org")
    (data,) = box.mails
    mail = email.message_from_bytes(data, policy=email.policy.default)
    assert (said, mail.get_content_type(), mail["To"], mail["Subject"]) == (
        "",
        "text/plain",
        "team@example.org",
        MESSAGE.title,
    )
    assert "gate@example.org" in mail["From"]
    assert mail.get_content().replace("\r\n", "\n").strip() == MESSAGE.text


def test_mail_header_can_not_be_injected() -> None:
    """A title of several lines stays a subject."""
    message = Message(key="k", title="numpy\r\nBcc: evil@example.org\r\n\r\nbody", text="x")
    with mailbox() as box:
        send(channel(f"mailto://127.0.0.1:{box.port}?from=gate@example.org&to=team@example.org"), message=message)
    mails = [email.message_from_bytes(data, policy=email.policy.default) for data in box.mails]
    assert [(mail["Bcc"], mail["Subject"]) for mail in mails] == [(None, "numpy Bcc: evil@example.org body")]


def test_mail_that_is_refused_is_said_in_our_words() -> None:
    """What a mail server says may hold anything."""
    with mailbox(refuses=True) as box:
        said = problem(f"mailto://127.0.0.1:{box.port}?from=gate@example.org&to=team@example.org")
    assert said == "it can't be reached, or did not take the message"


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    key, pem = folder / "key.pem", folder / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(pem)]
    try:
        subprocess.run(["openssl", "req", "-x509", *kind, *names], check=True, capture_output=True)
    except FileNotFoundError:
        missing("openssl is missing: apt-get install openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context, pem


def test_teams_gets_a_card_that_calls_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By https alone, to a certificate that holds; no mention, no link with a text of its own."""
    context, pem = _certificate(tmp_path)
    text = "<at>boss@example.org</at> [click](https://evil.example) numpy<2"
    with WebServer(lambda _: Answer(status=202), tls=context) as server:
        url = f"workflows://localhost:{server.port}/{'a' * 32}/{CANARY}"
        message = Message(key="k", title="<at>all</at> [x](https://evil.example)", text=text)
        unknown = send(channel(url), message=message)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        found = send(channel(url), message=message)
    (asked,) = server.asked
    card = json.loads(asked.body)["attachments"][0]["content"]
    assert unknown == (Delivery(channel="team", problem="it can't be reached, or did not take the message"),)
    assert (found, card["msteams"]) == ((Delivery(channel="team"),), {"width": "full"})
    assert [block["text"] for block in card["body"] if block["type"] == "TextBlock"] == [
        "‹at›all‹/at› [x] (https://evil.example)",
        r"‹at›boss@example\.org‹/at› \[click\] \(https://evil\.example\) numpy‹2",
    ]


def test_slack_is_asked_at_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody else: seen by the proxy, which says no."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            for _ in range(3):
                peer, _ = proxy.accept()
                seen.append(peer.recv(4096).partition(b" HTTP/")[0])
                peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                peer.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        said = problem("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
        thread.join(10)
    assert (said, seen) == (
        "it can't be reached, or did not take the message",
        [b"CONNECT hooks.slack.com:443"] * 3,
    )


def test_channels_are_told_of_in_words_without_addresses(server: WebServer) -> None:
    """Their names are what a person reads."""
    told: list[str] = []
    channels = [channel(f"json://127.0.0.1:{server.port}/{CANARY}", name) for name in ("team", "mail")]
    AppriseNotifier(channels).send(MESSAGE, told.append)
    assert told == ["telling team, mail"]
