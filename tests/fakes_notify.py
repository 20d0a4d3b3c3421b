"""A `Notifier` that keeps what it was told."""

from quarantine.ports import Delivery, Message, Tell


class FakeNotifier:
    """Has these channels; those in `broken` lose every message, with the problem that stands there."""

    def __init__(self, *channels: str) -> None:
        self.channels = channels
        self.broken: dict[str, str] = {}
        self.sent: list[Message] = []

    def send(self, message: Message, tell: Tell) -> tuple[Delivery, ...]:
        """What became of it on every channel."""
        if self.channels:
            tell(f"telling {', '.join(self.channels)}")
            self.sent.append(message)
        return tuple(Delivery(channel=name, problem=self.broken.get(name, "")) for name in self.channels)

    @property
    def keys(self) -> list[str]:
        """The keys of what was sent, in order."""
        return [message.key for message in self.sent]
