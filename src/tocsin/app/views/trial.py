"""`notify test`: a receiver of a project directory tried out, whether or not tocsin runs there."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from tocsin.app.project.content import Content
from tocsin.app.project.stores import mail_channel
from tocsin.clock import Clock
from tocsin.config.project.home import Home
from tocsin.config.yaml.document import suggest
from tocsin.errors import TocsinError
from tocsin.notify.channels.base import Setting
from tocsin.notify.channels.registry import Channels
from tocsin.notify.render.mail import MailRenderer
from tocsin.notify.render.templates import Templates
from tocsin.notify.render.views import Presentation
from tocsin.notify.trial import Tried, try_out
from tocsin.notify.values import Recipient


async def try_receiver(home: Home, content: Content, name: str, clock: Clock) -> tuple[Sequence[Tried], Sequence[str]]:
    """(what each of its ways came to, addresses that only an event can name). Raises TocsinError for a name that
    nobody declared.
    """
    settings, oncall = content.settings, content.oncall
    receiver = oncall.receiver_called(name)
    if receiver is None:
        known = [*oncall.receivers, *oncall.people]
        raise TocsinError(f"there is no receiver '{name}'; {suggest(name, known) or 'known are ' + ', '.join(known)}")
    recipients = [
        Recipient(channel=key, address=f"{key}:{name}", receiver=name, because="is tried out")
        for key in receiver.channels
    ]
    open_ends: list[str] = []
    on_call = oncall.on_call(receiver.schedule, clock.now()) if receiver.schedule else ()
    for entry in (*on_call, *receiver.emails):
        if "{" in entry or "(" in entry:
            open_ends.append(entry)
            continue
        person = oncall.people.get(entry)
        address = person.email if person is not None else entry
        recipients.append(Recipient(address=address, receiver=name, because="is tried out"))
    base_url = settings.http.url
    renderer = MailRenderer(
        templates=Templates(home.template_dirs()),
        presentation=Presentation(base_url=base_url, zone=ZoneInfo(settings.timezone)),
        sender=settings.smtp.sender,
        keep_trying=settings.smtp.deadline,
    )
    setting = Setting(directory=home.path, base_url=base_url, clock=clock)
    channels = Channels(mail_channel(settings), lambda: oncall, setting)
    return await try_out(recipients, channels, renderer, clock.now()), open_ends
