"""What the channels of mails have in common. They stand for the settings `smtp`, not for a receiver."""

from __future__ import annotations

from tocsin.model.delivery import EMAIL
from tocsin.notify.channels.base import Channel, Message, Notification


class MailChannel(Channel):
    """A channel that takes RFC 5322."""

    key = EMAIL

    def render(self, notification: Notification) -> Message:
        """By the templates."""
        return notification.mails.message(notification)
