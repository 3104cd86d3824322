"""How mails leave: the contract of a transport, and the one that keeps them here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

from tocsin.errors import TocsinError
from tocsin.model.delivery import Delivery


class Outcome(StrEnum):
    """What one attempt came to."""

    ACCEPTED = "accepted"  # the other side has it
    DEFERRED = "deferred"  # not now: SMTP 4xx
    REFUSED = "refused"  # never: SMTP 5xx
    NETWORK = "network"  # the connection broke; whether it has it is unknown
    TIMEOUT = "timeout"  # it did not answer in time; unknown too


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The other side's answer. ``closed``: the connection cannot be used again."""

    outcome: Outcome
    text: str
    closed: bool = False


class Unreachable(TocsinError):
    """No connection, or it lets nobody in. Says nothing about any mail: all wait, and it is tried again."""


class Connection(ABC):
    """One connection; one mail at a time."""

    @abstractmethod
    async def send(self, delivery: Delivery) -> Reply:
        """Hand over one mail. Does not raise for anything that the other side says or does."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it still seems to be open."""

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye and close; never raises for the network."""


class Transport(ABC):
    """Makes connections."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many connections to keep."""

    @property
    @abstractmethod
    def local(self) -> bool:
        """Whether mails stay on this machine: then any address is allowed."""

    @abstractmethod
    async def connect(self) -> Connection:
        """Connect and log in. Raises Unreachable; then nothing is open."""


class LocalTransport(Transport):
    """The local outbox: a mail has arrived when it is stored. The page /mails and ``tocsin mails`` show it."""

    REPLY = "kept in the local outbox"

    @property
    def workers(self) -> int:
        """Several, so that their marks are written together."""
        return 16

    @property
    def local(self) -> bool:
        """Nothing leaves."""
        return True

    async def connect(self) -> Connection:
        """Always works."""
        return _Here()


class _Here(Connection):
    async def send(self, delivery: Delivery) -> Reply:
        return Reply(outcome=Outcome.ACCEPTED, text=LocalTransport.REPLY)

    @property
    def alive(self) -> bool:
        return True

    async def close(self) -> None:
        pass
