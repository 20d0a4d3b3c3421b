"""What every `Notifier` must do; the real one tells webhooks on loopback."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from fakes_notify import FakeNotifier
from servers import Answer, WebServer

from quarantine.adapters.notify import AppriseNotifier, Channel
from quarantine.ports import Delivery, Message, Notifier

MESSAGE = Message(key="k", title="numpy waits", text="somebody asks for numpy 1.26.4")


@dataclass
class World:
    """Builds notifiers, of whose channels those named `broken` lose everything."""

    server: WebServer | None
    told: list[str] = field(default_factory=list)

    def build(self, *channels: str) -> Notifier:
        if self.server is None:
            fake = FakeNotifier(*channels)
            fake.broken = {"broken": "it answered 404"}
            return fake
        urls = {name: f"json://127.0.0.1:{self.server.port}/{name}" for name in channels}
        self.server.always("/broken", Answer(status=404))
        return AppriseNotifier(
            [Channel(name=name, variable=name.upper(), url=lambda url=url: url) for name, url in urls.items()],  # type: ignore[misc]  # the default binds the loop's variable
            backoff_seconds=0.01,
        )


@pytest.fixture(params=["fake", "apprise"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield World(None)
        return
    with WebServer(lambda _: Answer()) as server:
        yield World(server)


def test_every_channel_is_accounted_for_in_order(world: World) -> None:
    """One that fails doesn't keep the others from hearing, and nothing is raised."""
    found = world.build("first", "broken", "last").send(MESSAGE, world.told.append)
    assert found == (
        Delivery(channel="first"),
        Delivery(channel="broken", problem="it answered 404"),
        Delivery(channel="last"),
    )
    assert world.told == ["telling first, broken, last"]


def test_without_channels_nobody_is_told(world: World) -> None:
    """There is nothing to account for."""
    assert (world.build().send(MESSAGE, world.told.append), world.told) == ((), [])


def test_message_can_be_sent_again(world: World) -> None:
    """Who must not hear of it twice is for the caller to know."""
    notifier = world.build("team")
    assert [notifier.send(MESSAGE, world.told.append) for _ in range(2)] == [(Delivery(channel="team"),)] * 2
