"""Messages to people, by apprise: webhooks, Teams, Slack and mail.

A channel is a URL that holds a secret. What comes back of a failure is put into words of our own, and what the libraries
log while a message is sent is dropped, since both may repeat the URL. Of apprise only the classes below are used: no
configuration file, plugin folder, attachment or template is read, nothing is stored, no program is started.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from quarantine.errors import install_extra
from quarantine.model import is_loopback
from quarantine.ports import Delivery, Message, Tell

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

__all__ = ["AppriseNotifier", "Channel"]

TIMEOUT_SECONDS = 15.0
ATTEMPTS = 3
MAX_URL = 8192
_THREADS = "notify-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Where a message goes. `url` gives the secret URL; None says that `variable`, which should hold it, isn't set."""

    name: str
    variable: str
    url: Callable[[], str] | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """A class of apprise, and the parameters of its URLs that may stand there, by name or by first character.

    Those that read files (`template`, `pgpprv`, …) or turn a safeguard off (`verify`, `redirect`) are none of them.
    """

    module: str
    name: str
    parameters: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()


_JSON = _Service(module="custom_json", name="NotifyJSON", parameters=frozenset({"method"}), prefixes=("+", ":", "-"))
_MAIL = _Service(
    module="email",
    name="NotifyEmail",
    parameters=frozenset({"from", "to", "cc", "bcc", "reply", "name", "smtp", "mode", "user", "pass", "password"}),
    prefixes=("+",),
)
_SLACK = _Service(
    module="slack", name="NotifySlack", parameters=frozenset({"mode", "to", "footer", "image", "timestamp", "blocks"})
)
_TEAMS = _Service(
    module="workflows",
    name="NotifyWorkflows",
    parameters=frozenset(
        {"id", "workflow", "signature", "sig", "ver", "api-version", "pa", "powerautomate", "route", "routeid", "wrap"}
        | {"image", "sp", "sv"}  # the last two stand in the URLs that Microsoft gives, and are not read
    ),
)
_SERVICES: Mapping[str, _Service] = {
    "json": _JSON,
    "jsons": _JSON,
    "mailto": _MAIL,
    "mailtos": _MAIL,
    "slack": _SLACK,
    "workflow": _TEAMS,
    "workflows": _TEAMS,
}
_SCHEME = re.compile(r"([a-z]{1,20})://")
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
# Statuses below 500 after which another try may succeed (RFC 9110, 15.5).
_PASSING = frozenset({408, 425, 429})


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """A channel that can't be used, and why, in words that hold no secret."""


class _Failed(Exception):  # noqa: N818  # never leaves this module
    """A try that failed. `passing` is whether another one may succeed."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class _Deaf(logging.Filter):
    """Drops what the libraries log while a message is sent, after a look for the status of an answer in it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        if not threading.current_thread().name.startswith(_THREADS):
            return True
        found = _STATUS.search(record.getMessage())
        if found is not None:
            self.seen.status = int(found[1])
        return False


_deaf = _Deaf()
_LOGGERS = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "charset_normalizer", "asyncio")


class AppriseNotifier:
    """A `Notifier` that tells all channels side by side; each has `timeout_seconds` for its three tries."""

    def __init__(
        self,
        channels: Iterable[Channel],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        backoff_seconds: float = 0.5,
    ) -> None:
        self._channels = tuple(channels)
        self._timeout = timeout_seconds
        self._backoff = backoff_seconds

    def send(self, message: Message, tell: Tell) -> tuple[Delivery, ...]:
        """What became of the message on every channel, in their order. Nothing is raised.

        The threads are daemons: a channel that never ends keeps nobody from leaving.
        """
        if not self._channels:
            return ()
        tell(f"telling {', '.join(channel.name for channel in self._channels)}")
        ends = monotonic() + self._timeout
        waiting: list[tuple[Channel, SimpleQueue[str]]] = []
        for number, channel in enumerate(self._channels):
            said: SimpleQueue[str] = SimpleQueue()
            waiting.append((channel, said))
            threading.Thread(
                target=self._tell, args=(channel, message, ends, said), name=f"{_THREADS}{number}", daemon=True
            ).start()
        return tuple(Delivery(channel=channel.name, problem=self._outcome(said, ends)) for channel, said in waiting)

    def _outcome(self, said: "SimpleQueue[str]", ends: float) -> str:
        try:
            return said.get(timeout=max(ends - monotonic(), 0.0))
        except Empty:
            return f"no answer within {self._timeout:g} s: whether it arrived is not known"

    def _tell(self, channel: Channel, message: Message, ends: float, said: "SimpleQueue[str]") -> None:
        try:
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_deaf)  # one that is there already stays the only one
            service = _service(channel)
            # longer than anybody waits: who is slow may have heard, and doesn't hear it twice
            service.socket_read_timeout = self._timeout + 1.0
            service.request_rate_per_sec = 0  # it is told one message, and the waiting between tries is ours
            self._try(service, _plain(message, channel), ends)
        except (_Refused, _Failed) as error:
            said.put(str(error))
        except Exception:  # noqa: BLE001  # whatever a library raises may repeat the URL
            said.put("it did not take the message")
        else:
            said.put("")

    def _try(self, service: "NotifyBase", message: Message, ends: float) -> None:
        import stamina  # noqa: PLC0415  # only where somebody is told
        from stamina.instrumentation import set_on_retry_hooks  # noqa: PLC0415

        set_on_retry_hooks([])  # the default one logs what failed
        for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, _Failed) and error.passing,
            attempts=ATTEMPTS,
            timeout=max(ends - monotonic(), 0.001),
            wait_initial=self._backoff,
            wait_jitter=self._backoff,
        ):
            with attempt:
                _send(service, message)


def _service(channel: Channel) -> "NotifyBase":
    """What sends to the channel. _Refused when its URL isn't set, isn't one of the kinds, or asks for more than it may."""
    if channel.url is None:
        raise _Refused(f"the environment variable {channel.variable} isn't set")
    url = channel.url().strip()
    found = _SCHEME.match(url)
    kind = None if found is None else _SERVICES.get(found[1])
    if found is None or kind is None:
        raise _Refused(f"the URL in {channel.variable} is of no kind that is taken: expected {', '.join(_SERVICES)}")
    if len(url) > MAX_URL or any(character.isspace() or not character.isprintable() for character in url):
        raise _Refused(f"the URL in {channel.variable} has characters that no URL has, or is too long")
    try:
        type_ = getattr(import_module(f"apprise.plugins.{kind.module}"), kind.name)
    except ImportError:
        raise _Refused(f"apprise is not installed: {install_extra('curators')}") from None
    unreadable = _Refused(f"the URL in {channel.variable} can't be read as one of {found[1]}://")
    parsed = type_.parse_url(url)
    if not isinstance(parsed, dict):
        raise unreadable
    # as apprise read them: another reading of the same URL could miss one
    if not all(key in kind.parameters or key.startswith(kind.prefixes) for key in parsed["qsd"]):
        expected = ", ".join(sorted(kind.parameters))
        raise _Refused(f"the URL in {channel.variable} has a parameter that is not taken: expected of {expected}")
    try:
        service: NotifyBase = type_(**{**parsed, "asset": _asset()})
    except Exception:  # noqa: BLE001  # what it raises repeats the URL
        raise unreadable from None
    if not _is_encrypted(service, kind):
        raise _Refused(
            f"the URL in {channel.variable} isn't encrypted: expected {found[1].rstrip('s')}s "
            "(without encryption on this machine's loopback only)"
        )
    return service


def _asset() -> "AppriseAsset":
    from apprise import AppriseAsset, NotifyFormat  # noqa: PLC0415  # an extra

    return AppriseAsset(
        storage_mode="memory",
        secure_logging=True,
        allow_templates=False,
        service_timeout=0,  # the thread that we wait for is our own
        async_mode=False,
        body_format=NotifyFormat.TEXT,
        interpret_emojis=False,
        interpret_escapes=False,
        pgp_autogen=False,
        pem_autogen=False,
        http_redirects=False,  # it would take the message, and what is in the headers, to wherever the answer says
    )


def _is_encrypted(service: "NotifyBase", kind: _Service) -> bool:
    if kind is _JSON:
        return bool(service.secure) or is_loopback(str(service.host))
    if kind is _MAIL:
        mode, host = getattr(service, "secure_mode", ""), getattr(service, "smtp_host", "") or service.host
        return mode in ("ssl", "starttls") or is_loopback(str(host))
    return True


def _plain(message: Message, channel: Channel) -> Message:
    """The message without what Slack and Teams take for mentions and links: nobody is called, and no text hides an address."""
    url = "" if channel.url is None else channel.url()
    if not url.strip().startswith(("slack:", "workflow")):
        return message

    def plain(text: str) -> str:
        return text.replace("<", "\u2039").replace(">", "\u203a").replace("](", "] (")

    return Message(key=message.key, title=plain(message.title), text=plain(message.text))


def _send(service: "NotifyBase", message: Message) -> None:
    from apprise import Apprise, NotifyFormat  # noqa: PLC0415  # an extra

    _deaf.seen.status = None
    sender = Apprise(asset=service.asset)
    sender.add(service)
    if sender.notify(title=message.title, body=message.text, body_format=NotifyFormat.TEXT):
        return
    status = _deaf.seen.status
    if status is None:
        raise _Failed("it can't be reached, or did not take the message", passing=True)
    raise _Failed(f"it answered {status}", passing=status in _PASSING or status >= 500)
