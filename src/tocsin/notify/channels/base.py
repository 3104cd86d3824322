"""The base of all channels. A channel renders a notification, sends the message, and interprets the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tocsin.clock import Clock, SystemClock
from tocsin.errors import TocsinError
from tocsin.model.delivery import EMAIL, Delivery
from tocsin.model.intent import Intent, RuleInfo
from tocsin.notify.context import Mail


class Outcome(StrEnum):
    """Result of one attempt to send."""

    ACCEPTED = "accepted"  # the other side has it
    LATER = "later"  # not now: SMTP 4xx, HTTP 429 and 5xx
    NEVER = "never"  # SMTP 5xx, HTTP 4xx
    NETWORK = "network"  # the connection broke; whether it has it is unknown
    TIMEOUT = "timeout"  # it did not answer in time; unknown too


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Answer of the server to one message."""

    outcome: Outcome
    text: str
    closed: bool = False  # the connection cannot be used again
    after: timedelta | None = None  # of LATER: how long the other side asks to wait
    handle: str = ""  # of ACCEPTED: what the other side calls the message


class Unreachable(TocsinError):
    """The server cannot be reached or refuses the login. No message failed: all wait, and the sender connects again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notification as a channel sends it."""

    body: bytes  # the same in every attempt
    subject: str  # one line, for lists
    problem: str = ""  # why a template of the user's was replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """The input of ``Channel.render``."""

    delivery: Delivery  # all of it but the message; its subject is what the message should be called
    seen: Mail  # what templates see: everything ready to be shown
    mails: Mails  # who makes mails of it
    alerts: tuple[tuple[Intent, RuleInfo], ...] = ()  # those it is about, the severest first; none of summaries
    thread: tuple[str, str] | None = None  # (Message-ID, subject) of the message that it answers
    template: str = ""  # of mails; '' for the default
    subject: str = ""  # of mails; '' for the template's
    prefix: str = ""  # before that: "recovered: "
    plain: str = ""  # of mails: the text, instead of a template
    to_name: str = ""
    grouped: Mapping[str, str] = field(default_factory=dict)  # the values that its group is of
    over: bool = False  # of a summary: that it is over, where each alert is an incident
    acknowledged: str = ""  # who has taken the alert: of channels that take an acknowledgement

    @property
    def at(self) -> datetime:
        """Time of the rendering, UTC."""
        return self.delivery.created_at


class Mails(Protocol):
    """Writes mails."""

    def message(self, notification: Notification) -> Message:
        """The notification as RFC 5322."""


async def _no_handle(delivery: str) -> str:
    return ""


async def _no_past(address: str) -> Sequence[Delivery]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What tocsin gives a channel beside its options."""

    receiver: str = ""
    directory: Path = Path()  # the project directory: `*_file` lie relative to it
    base_url: str = ""  # of tocsin's own pages; '' where there are none
    clock: Clock = field(default_factory=SystemClock)
    handle: Callable[[str], Awaitable[str]] = _no_handle  # what the other side calls the message of a delivery
    past: Callable[[str], Awaitable[Sequence[Delivery]]] = _no_past  # deliveries to an address, newest first

    def now(self) -> datetime:
        """UTC."""
        return self.clock.now()

    def secret(self, file: str) -> str:
        """The content of a `*_file`, its trailing newline cut. Raises Unreachable."""
        try:
            return (self.directory / file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise Unreachable(f"{file} cannot be read: {getattr(e, 'strerror', None) or e}") from e


class Connection(ABC):
    """One connection to a server. It sends one message at a time."""

    @abstractmethod
    async def send(self, delivery: Delivery) -> Reply:
        """Hand over one message. Raises Unreachable where nothing was handed over, and for nothing else that the other
        side says or does.
        """

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the connection seems open."""

    @abstractmethod
    async def close(self) -> None:
        """Log out and close the connection. Raises nothing for errors of the network."""


class Channel(ABC):
    """Sends messages to one endpoint: one key of one receiver."""

    key: ClassVar[str]
    """Key of a receiver in rules/oncall/*.yaml, and channel of its deliveries."""
    Options: ClassVar[Any]
    """Type of what stands below that key, for pydantic; its docstring says what the channel does."""
    example: ClassVar[object] = None
    """What may stand there."""
    people: ClassVar[bool] = True
    """Whether people read its messages one by one: then there is a cap. Programs get every one."""
    each: ClassVar[bool] = False
    """Whether it keeps a state an alert, so that each alert is a message of its own, and summaries are none."""
    acknowledges: ClassVar[bool] = False
    """Of one that keeps a state an alert: whether an acknowledgement is part of it."""
    mirror: ClassVar[bool] = False
    """Whether ``tend`` is called each minute, also where nothing is to be sent."""
    workers: int = 2
    """How many connections to keep: so many messages are on their way at once."""

    def __init__(self, options: Any, setting: Setting) -> None:
        """Keep the options. No connection is opened."""
        self.setting = setting

    @property
    def local(self) -> bool:
        """Whether messages stay on this machine: then any address is allowed."""
        return False

    @abstractmethod
    def render(self, notification: Notification) -> Message:
        """Render the message. The same notification gives the same bytes. An exception is a fault of tocsin."""

    @abstractmethod
    async def connect(self) -> Connection:
        """Connect and log in. Raises Unreachable; then nothing is open."""

    def ends(self, delivery: Delivery) -> bool:
        """Whether this delivery only resolves an alert that an earlier delivery reported."""
        return False

    async def tend(self) -> None:
        """Refresh the active alerts at the other system. Called each minute. Raises nothing for its errors."""
        return None


class MailChannel(Channel):
    """A channel that sends mails (RFC 5322). The settings `smtp` configure it, not a receiver."""

    key = EMAIL

    def render(self, notification: Notification) -> Message:
        """By the templates."""
        return notification.mails.message(notification)


class DirectChannel(Channel):
    """A channel without a lasting connection."""

    @abstractmethod
    async def send(self, delivery: Delivery) -> Reply:
        """As ``Connection.send``."""

    async def connect(self) -> Connection:
        """Always works."""
        return _Direct(self)


class _Direct(Connection):
    def __init__(self, channel: DirectChannel) -> None:
        self._channel = channel

    async def send(self, delivery: Delivery) -> Reply:
        return await self._channel.send(delivery)

    @property
    def alive(self) -> bool:
        return True

    async def close(self) -> None:
        pass
