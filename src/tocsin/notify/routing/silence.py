"""Silences: what a person mutes for a time, with a comment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin.notify.routing.matchers import Fields, Matcher, matches

PREVIEW = timedelta(days=7)
"""How far back a preview goes."""


class SilenceState(StrEnum):
    """Where a silence is in its life (Alertmanager's words)."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Alerts that all of ``matchers`` match are not notified of from ``start`` until ``end``."""

    id: str
    matchers: tuple[Matcher, ...]  # at least one that does not match everything
    start: datetime  # UTC
    end: datetime  # UTC, not included
    by: str
    comment: str = ""

    def __post_init__(self) -> None:
        if not self.matchers or matches(self.matchers, {}):
            raise ValueError("a silence must match something in particular: at least one field that is not empty")
        if self.end <= self.start:
            raise ValueError("a silence ends after it starts")

    def state(self, at: datetime) -> SilenceState:
        """Where it is at ``at``."""
        if at < self.start:
            return SilenceState.PENDING
        return SilenceState.ACTIVE if at < self.end else SilenceState.EXPIRED

    def holds(self, fields: Fields, at: datetime) -> bool:
        """Whether an alert of ``fields`` is silenced by it at ``at``."""
        return self.start <= at < self.end and matches(self.matchers, fields)


def silenced(silences: Iterable[Silence], fields: Fields, at: datetime) -> Silence | None:
    """The silence that mutes an alert of ``fields`` at ``at``: of several the one that ends last; None for none."""
    return max((each for each in silences if each.holds(fields, at)), key=lambda each: each.end, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a silence would hide now, and would have hidden lately."""

    now: tuple[str, ...]  # ids of active alerts
    lately: tuple[str, ...]  # ids of alerts that fired within PREVIEW


def preview(
    matchers: tuple[Matcher, ...], alerts: Iterable[tuple[str, Fields, datetime, bool]], at: datetime
) -> Preview:
    """What ``matchers`` match of ``alerts``: (id, fields, when it fired, whether it is active)."""
    found = [(id_, fired, active) for id_, fields, fired, active in alerts if matches(matchers, fields)]
    return Preview(
        now=tuple(id_ for id_, _, active in found if active),
        lately=tuple(id_ for id_, fired, _ in found if at - PREVIEW < fired <= at),
    )
