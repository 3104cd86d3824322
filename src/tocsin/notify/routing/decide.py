"""Suppression: whether a message goes to one recipient now, and if not, why, until when, and what becomes of it.

Asked at each flush, in this order; the first that holds is the recorded reason:

    inhibition → maintenance → mute and quiet hours → silence → personal mute → cap
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tocsin.notify.routing.inhibit import Inhibitor
from tocsin.notify.routing.matchers import Fields, Matcher, matches
from tocsin.notify.routing.mute import Maintenance, Mute, QuietHours, Silence, Then, maintained, silenced


class Why(StrEnum):
    """Why a message is sent now, or is not; history, pages and logs show the text."""

    SENT = "sent"
    INHIBITED = "inhibited"
    MAINTENANCE = "under maintenance"
    MUTED = "its route is muted"
    QUIET_HOURS = "quiet hours"
    SILENCED = "silenced"
    PERSONAL_MUTE = "muted by the person"
    CAPPED = "over the cap"
    FALLBACK = "nobody else could be notified"  # and who takes their place reads a daily digest


class After(StrEnum):
    """What becomes of a suppressed message."""

    NOTIFY = "notified once when it ends, if it still fires"  # conditions
    DIGEST = "listed in a digest when it ends"  # event alerts
    DROP = "dropped"  # event alerts, where the author says so
    REPORT = "counted for the silence's author"  # event alerts
    NOTHING = "nothing"  # a person's own mute
    SUMMARY = "listed in a summary at the window's end"  # the cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is known of the alert."""

    id: str
    fields: Fields
    condition: bool
    critical: bool
    columns: Fields = field(default_factory=dict)  # of its run: maintenance may match these besides


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalMute:
    """What a person does not want as owner, subscriber or list member."""

    matchers: tuple[Matcher, ...]
    until: datetime | None = None  # UTC; None: for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """How the message reaches its recipient, and what holds for her."""

    escalation: bool = False  # a step of an escalation: mutes, quiet hours and personal mutes do not hold it
    personal: bool = False  # found as owner, subscriber or list member; never a schedule, escalation or page
    mute: Mute | None = None  # the route's
    quiet: QuietHours | None = None
    mutes: Sequence[PersonalMute] = ()
    capped_until: datetime | None = None  # her cap is full until then; UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for everybody at the instant."""

    inhibitor: Inhibitor
    maintenances: Sequence[Maintenance] = ()
    silences: Sequence[Silence] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The reason, by what, until when (None: not known), and what becomes of the message."""

    why: Why
    by: str = ""  # the source's id, file:line, the interval's name, the silence's id
    until: datetime | None = None
    after: After | None = None  # None where it is sent


SENT = Verdict(why=Why.SENT)


def decide(alert: Alert, recipient: Recipient, rules: Rules, at: datetime) -> Verdict:
    """Whether a message about ``alert`` goes to ``recipient`` at ``at``."""
    return (
        _inhibited(alert, rules)
        or _maintained(alert, rules, at)
        or _muted(alert, recipient, at)
        or _silenced(alert, rules, at)
        or _personal(alert, recipient, at)
        or _capped(alert, recipient, at)
        or SENT
    )


def _inhibited(alert: Alert, rules: Rules) -> Verdict | None:
    if (found := rules.inhibitor.inhibited(alert.fields)) is None:
        return None
    return Verdict(why=Why.INHIBITED, by=found.source, after=_after(alert, found.rule.then))


def _maintained(alert: Alert, rules: Rules, at: datetime) -> Verdict | None:
    if (found := maintained(rules.maintenances, {**alert.columns, **alert.fields}, at)) is None:
        return None
    return Verdict(why=Why.MAINTENANCE, by=found.place, until=found.until(at), after=_after(alert, found.then))


def _muted(alert: Alert, recipient: Recipient, at: datetime) -> Verdict | None:
    if recipient.escalation:
        return None
    if recipient.mute is not None and (name := recipient.mute.holds(at)):
        after = _after(alert, recipient.mute.then)
        return Verdict(why=Why.MUTED, by=name, until=recipient.mute.until(at), after=after)
    if recipient.quiet is not None and recipient.quiet.holds(alert.fields, at):
        interval = recipient.quiet.interval
        return Verdict(
            why=Why.QUIET_HOURS, by=interval.name, until=interval.until(at), after=_after(alert, Then.DIGEST)
        )
    return None


def _silenced(alert: Alert, rules: Rules, at: datetime) -> Verdict | None:
    if (found := silenced(rules.silences, alert.fields, at)) is None:
        return None
    after = After.NOTIFY if alert.condition else After.REPORT
    return Verdict(why=Why.SILENCED, by=found.id, until=found.end, after=after)


def _personal(alert: Alert, recipient: Recipient, at: datetime) -> Verdict | None:
    if recipient.escalation or not recipient.personal:
        return None
    for each in recipient.mutes:
        if (each.until is None or at < each.until) and matches(each.matchers, alert.fields):
            return Verdict(why=Why.PERSONAL_MUTE, until=each.until, after=After.NOTHING)
    return None


def _capped(alert: Alert, recipient: Recipient, at: datetime) -> Verdict | None:
    """Critical is never delayed: `critical.py` has its own bound."""
    if alert.critical or recipient.capped_until is None or at >= recipient.capped_until:
        return None
    return Verdict(why=Why.CAPPED, until=recipient.capped_until, after=After.SUMMARY)


def _after(alert: Alert, then: Then) -> After:
    if alert.condition:
        return After.NOTIFY
    return After.DIGEST if then is Then.DIGEST else After.DROP
