"""Subscriptions and personal mutes: what people want for themselves, beside what files say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from tocsin.model.active import ActiveAlert, Preference, PreferenceKind
from tocsin.notify.routing.matchers import BadMatcher, Matcher, matches, parse_matchers, text_of


@lru_cache(maxsize=10_000)
def _matchers(text: str) -> tuple[Matcher, ...] | None:
    """None for what cannot be read any more: it matches nothing."""
    try:
        return parse_matchers(text)
    except BadMatcher:
        return None


def _matches(preference: Preference, alert: ActiveAlert) -> bool:
    wanted = _matchers(preference.matchers)
    return wanted is not None and matches(wanted, {**alert.columns, **alert.fields})


@dataclass(frozen=True, slots=True)
class Preferences:
    """Those that hold at an instant."""

    subscriptions: tuple[Preference, ...] = ()
    mutes: tuple[Preference, ...] = ()

    @classmethod
    def at(cls, stored: Iterable[Preference], at: datetime) -> Preferences:
        """Of all that is stored those that hold at ``at``."""
        found = [each for each in stored if each.holds(at)]
        return cls(
            tuple(each for each in found if each.kind is PreferenceKind.SUBSCRIBE),
            tuple(each for each in found if each.kind is PreferenceKind.MUTE),
        )

    def subscribers(self, alert: ActiveAlert) -> Sequence[tuple[str, str]]:
        """(address, why it is notified), each address once."""
        found: dict[str, str] = {}
        for each in self.subscriptions:
            if each.address not in found and _matches(each, alert):
                found[each.address] = f"you subscribed to {text_of(_matchers(each.matchers) or ())}"
        return list(found.items())

    def muted(self, address: str, alert: ActiveAlert) -> bool:
        """Whether the person at ``address`` does not want to be notified of ``alert``."""
        wanted = address.lower()
        return any(each.address == wanted and _matches(each, alert) for each in self.mutes)


NO_PREFERENCES = Preferences()
