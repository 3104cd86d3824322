"""All channels, one line each, and those that the files in force configure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from tocsin.model.delivery import EMAIL, Endpoint
from tocsin.notify.channels.alertmanager import Alertmanager
from tocsin.notify.channels.apprise import Apprise
from tocsin.notify.channels.base import Channel, Setting
from tocsin.notify.channels.ntfy import Ntfy
from tocsin.notify.channels.pagerduty import PagerDuty
from tocsin.notify.channels.slack import Slack
from tocsin.notify.channels.teams import Teams
from tocsin.notify.channels.webhook import Webhook

CHANNELS: dict[str, type[Channel]] = {}
"""By key of a receiver. Mails are not here: they are addressed to people, and leave as the settings say."""


def register(*channels: type[Channel]) -> None:
    """Make channels known."""
    CHANNELS.update({each.key: each for each in channels})


register(Webhook, Alertmanager, PagerDuty, Slack, Teams, Ntfy, Apprise)


def for_people(key: str) -> bool:
    """Whether people read what it sends: then a cap counts it."""
    return key not in CHANNELS or CHANNELS[key].people


def for_each(key: str) -> bool:
    """Whether each alert is a message of its own."""
    return key in CHANNELS and CHANNELS[key].each


def is_mirror(key: str) -> bool:
    """Whether it shows each alert while it is active, beside caps and digests."""
    return key in CHANNELS and CHANNELS[key].mirror


class Configured(Protocol):
    """The files in force, as far as channels need them."""

    @property
    def channels(self) -> Mapping[str, Mapping[str, Any]]:
        """Options of each receiver's channels, by receiver and key."""
        ...


Files_co = TypeVar("Files_co", bound=Configured, covariant=True)


class Channels(Generic[Files_co]):
    """Channels in use: one a receiver and key, made again when its options change."""

    def __init__(self, mail: Channel, oncall: Callable[[], Files_co], setting: Setting) -> None:
        """``oncall`` are the files in force, with what receivers have below their channels' keys."""
        self.mail, self.oncall, self._setting = mail, oncall, setting
        self._made: dict[Endpoint, tuple[Any, Channel]] = {}

    def __call__(self, endpoint: Endpoint) -> Channel | None:
        """The channel of an endpoint; None where its receiver has it no more."""
        if endpoint.channel == EMAIL:
            return self.mail
        options = self.oncall().channels.get(endpoint.receiver, {}).get(endpoint.channel)
        kind = CHANNELS.get(endpoint.channel)
        if options is None or kind is None:
            self._made.pop(endpoint, None)
            return None
        known = self._made.get(endpoint)
        if known is None or known[0] != options:
            known = options, kind(options, replace(self._setting, receiver=endpoint.receiver))
            self._made[endpoint] = known
        return known[1]

    def mirrors(self) -> list[Endpoint]:
        """Endpoints that are tended also where nothing is to be sent."""
        return [
            Endpoint(key, receiver)
            for receiver, options in self.oncall().channels.items()
            for key in options
            if key in CHANNELS and CHANNELS[key].mirror
        ]
