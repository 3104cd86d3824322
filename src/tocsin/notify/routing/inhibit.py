"""Inhibition: while a source is active, its targets are not notified of.

A source is a firing condition or an active event alert; acknowledged or silenced it still inhibits. Unlike
Alertmanager's, an empty value equals nothing: two alerts without a Target are not on the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tocsin.notify.routing.matchers import Fields, Matcher, matches, text_of
from tocsin.notify.routing.mute import Then


@dataclass(frozen=True, slots=True, kw_only=True)
class InhibitRule:
    """``source`` makes ``target`` needless where both have equal values of ``equal``."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()
    hold: timedelta = timedelta(0)  # how long a target's first message waits for a source
    then: Then = Then.DIGEST  # what becomes of event alerts that were inhibited, once the source ends
    place: str = ""  # file:line

    @property
    def text(self) -> str:
        """For a person."""
        on = f" on the same {' and '.join(self.equal)}" if self.equal else ""
        return f"{text_of(self.source)} inhibits {text_of(self.target)}{on}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibited:
    """By which active alert an alert is inhibited, under which rule."""

    source: str  # the alert's id
    rule: InhibitRule


class Inhibitor:
    """Active alerts that can be sources, found by the values that must be equal: an alert costs the number of rules,
    not of alerts.
    """

    def __init__(self, rules: Sequence[InhibitRule]) -> None:
        self._rules = tuple(rules)
        self._holding = tuple(rule for rule in rules if rule.hold)
        # a rule → values → (sources that are not its target, sources that are), each in the order in which they came
        self._sources: list[dict[tuple[str, ...], tuple[dict[str, None], dict[str, None]]]] = [{} for _ in self._rules]
        self._places: dict[str, list[tuple[int, tuple[str, ...]]]] = {}

    def add(self, alert: str, fields: Fields) -> None:
        """The alert with id ``alert`` is active. Its fields do not change while it is."""
        self.remove(alert)
        places: list[tuple[int, tuple[str, ...]]] = []
        for n, rule in enumerate(self._rules):
            if not matches(rule.source, fields) or (values := _values(rule, fields)) is None:
                continue
            found = self._sources[n].setdefault(values, ({}, {}))
            found[matches(rule.target, fields)][alert] = None
            places.append((n, values))
        if places:
            self._places[alert] = places

    def remove(self, alert: str) -> None:
        """It is not active any more; nothing happens where it was not."""
        for n, values in self._places.pop(alert, ()):
            found = self._sources[n][values]
            for sources in found:
                sources.pop(alert, None)
            if not any(found):
                del self._sources[n][values]

    def inhibited(self, fields: Fields) -> Inhibited | None:
        """By what an alert of ``fields`` is inhibited; None where it is not. One that matches both sides of a rule is
        not inhibited by one that does too.
        """
        for n, rule in enumerate(self._rules):
            if not self._sources[n] or not matches(rule.target, fields) or (values := _values(rule, fields)) is None:
                continue
            only, both = self._sources[n].get(values, ({}, {}))
            candidates: Iterable[str] = only if matches(rule.source, fields) else (*only, *both)
            for source in candidates:
                return Inhibited(source=source, rule=rule)
        return None

    def hold(self, fields: Fields) -> timedelta:
        """How long the first message about an alert of ``fields`` waits for a source that may yet come."""
        if not self._holding:
            return timedelta(0)
        holds = [
            rule.hold for rule in self._holding if matches(rule.target, fields) and _values(rule, fields) is not None
        ]
        return max(holds, default=timedelta(0))


def may_be_inhibited(rules: Iterable[InhibitRule], fields: Fields) -> bool:
    """Whether an alert of ``fields`` is needless by any of ``rules`` once a source is active."""
    return any(matches(rule.target, fields) and _values(rule, fields) is not None for rule in rules)


def _values(rule: InhibitRule, fields: Fields) -> tuple[str, ...] | None:
    """The values that must be equal; None where one is empty."""
    values = tuple(fields.get(name, "") for name in rule.equal)
    return values if all(values) else None
