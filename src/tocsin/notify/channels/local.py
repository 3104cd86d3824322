"""The local outbox: a mail has arrived when it is stored. The page /notifications and ``tocsin notifications`` show it."""

from __future__ import annotations

from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import DirectChannel, MailChannel, Outcome, Reply


class LocalChannel(MailChannel, DirectChannel):
    """Keeps mails here."""

    REPLY = "kept in the local outbox"

    workers = 16
    """Several, so that their marks are written together."""

    def __init__(self) -> None:
        """Needs nothing."""

    @property
    def local(self) -> bool:
        """Nothing leaves."""
        return True

    async def send(self, delivery: Delivery) -> Reply:
        """It is here already."""
        return Reply(outcome=Outcome.ACCEPTED, text=self.REPLY)
