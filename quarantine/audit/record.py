"""The form of one entry of the audit log."""

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Draft", "Json"]

Json = str | int | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry before it has its place in a stream: everything but sequence number and link.

    `time` is aware, UTC. `data` holds no floats and no secrets; it is never mutated.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str
    data: dict[str, Json]
