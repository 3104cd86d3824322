"""The channels of a project directory."""

from __future__ import annotations

from tocsin.config.settings import Settings
from tocsin.notify.channels.base import Channel
from tocsin.notify.channels.local import LocalChannel
from tocsin.notify.channels.smtp import SmtpChannel, SmtpOptions


def mail_channel(settings: Settings) -> Channel:
    """How mails leave. Raises OSError where `smtp.ca_file` cannot be read."""
    smtp = settings.smtp
    if smtp.host is None:
        return LocalChannel()
    return SmtpChannel(
        SmtpOptions(
            host=smtp.host,
            port=smtp.port,
            security=smtp.secured,
            username=smtp.username or "",
            password=smtp.password.get_secret_value() if smtp.password else "",
            ca_file=smtp.ca_file or "",
            sender=smtp.sender,
            timeout=smtp.timeout.total_seconds(),
            connections=smtp.connections,
        )
    )
