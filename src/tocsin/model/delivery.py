"""What goes out: one message to one address, rendered once, stored before its first attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class DeliveryState(StrEnum):
    """Where a delivery is."""

    READY = "ready"  # waits for its attempt, or for the next one
    SENT = "sent"  # accepted by the server, or laid into the local outbox
    FAILED = "failed"  # refused for good, or past its deadline
    DROPPED = "dropped"  # an author's `then: drop`, or counted into a summary
    HELD = "held"  # beyond a cap; waits until `next_at` to be listed in a summary, then is DROPPED


EMAIL = "email"
"""The channel of mails."""


class Endpoint(NamedTuple):
    """One other side: it has its own connections, and is up or down by itself."""

    channel: str
    receiver: str  # '' of mails: one server takes those of all receivers


class Notified(NamedTuple):
    """A message that notified of an alert that fires: the one that ends it goes to the same address, and answers it."""

    address: str
    receiver: str
    message_id: str
    subject: str
    rule: str  # the one that it is about; it may name others
    channel: str = EMAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one address. ``message`` is byte-equal in every attempt."""

    id: str
    channel: str = EMAIL
    address: str  # of channels without addresses "channel:receiver"
    receiver: str
    group: str  # what threads it: the run, or the group's key
    rules: tuple[str, ...]
    severity: str
    subject: str
    message_id: str
    message: (
        bytes  # as the channel sends it: of mails RFC 5322, CRLF; of one that was HELD its line of the summary, JSON
    )
    state: DeliveryState
    attempt: int = 0  # attempts so far
    created_at: datetime  # UTC
    next_at: datetime  # UTC; when the next attempt is due
    deadline: datetime  # UTC; when retrying ends
    reply: str = ""  # the server's last words
    handle: str = ""  # what the other side calls the message, where a later one answers or edits it
    run_id: str = ""
    event_time: datetime | None = None  # of the event that it notifies, for latency
    ingested_at: datetime | None = None
    covers: int = 1  # how many intents it notifies of
    intents: tuple[str, ...] = ()  # their ids: whom a resolved mail goes to is found by them
    changed_at: datetime | None = field(default=None, compare=False)  # UTC; when its state changed, as read

    @property
    def endpoint(self) -> Endpoint:
        """The other side that takes it."""
        return Endpoint(self.channel, "" if self.channel == EMAIL else self.receiver)
