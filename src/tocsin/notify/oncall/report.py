"""What being on call was like: pages by person, nights, how soon alerts were taken and resolved, noise by rule.

A page is what an escalation's step or a schedule's receiver sends to a person: its mail and its push are one page. A
pager such as PagerDuty pages whoever its receiver's schedule had on call, else it stands for itself, by its receiver's
name; one incident is one page.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.model.active import ActionKind, Ended, MessageSent, OnCallHistory
from tocsin.model.calendars.wallclock import local
from tocsin.model.delivery import EMAIL
from tocsin.notify.channels.registry import for_each

PAGES = "escalation/"
"""What the group of an escalation's messages begins with."""
NIGHT = (time(22), time(7))
"""From when until when it is night, by the person's clock."""
_TAKES = (ActionKind.ACKNOWLEDGE.value, ActionKind.SNOOZE.value)
_UNANSWERED = (Ended.AUTO_CLOSED.value, Ended.SUPERSEDED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who is who, by the on-call files."""

    person: Callable[[str], str]  # who is called so, or has this address; '' for nobody
    zone: Callable[[str], ZoneInfo]  # of a person
    scheduled: Collection[str]  # receivers that a schedule fills
    on_call: Callable[[str, datetime], Sequence[str]] = lambda receiver, at: ()  # whom a receiver's schedule had then


@dataclass(frozen=True, slots=True)
class Page:
    """One page of one person."""

    person: str
    at: datetime  # UTC
    rule: str


def pages(messages: Sequence[MessageSent], known: Known) -> list[Page]:
    """Those among ``messages``, oldest first."""
    found: dict[tuple[str, str, datetime | None], Page] = {}
    by_pager: dict[tuple[str, str], Page] = {}
    for each in messages:
        if for_each(each.channel):
            for who in known.on_call(each.receiver, each.created_at) or (each.receiver,):
                by_pager.setdefault((who, each.group), Page(who, each.created_at, each.rule))
            continue
        escalated = each.group.startswith(PAGES)
        direct = each.receiver in known.scheduled or each.channel != EMAIL
        who = known.person(each.address) or (each.address if each.channel == EMAIL else "")
        if not (escalated or direct) or not who:
            continue
        key = (who, each.group, None if escalated else each.created_at)
        found.setdefault(key, Page(who, each.created_at, each.rule))
    one_by_one = list(found.values())
    with_it = set(one_by_one)  # a pager beside a mail of the same moment is one page
    return sorted([*one_by_one, *(p for p in by_pager.values() if p not in with_it)], key=lambda page: page.at)


def is_night(at: datetime, zone: ZoneInfo) -> bool:
    """Whether ``at`` is night by the clock of ``zone``."""
    clock = local(at, zone).time()
    return clock >= NIGHT[0] or clock < NIGHT[1]


def report(history: OnCallHistory, known: Known, since: datetime, until: datetime) -> dict[str, Any]:
    """All of it as JSON and tables show it; lengths of time in seconds, None where nothing was measured."""
    paged = pages([m for m in history.messages if m.created_at < until], known)
    alerts = {a.id: a for a in history.alerts if a.fired_at < until}
    taken: dict[str, tuple[str, datetime]] = {}
    acted: set[str] = set()
    for action in history.actions:
        acted.add(action.alert)
        if action.kind in _TAKES and action.alert in alerts:
            taken.setdefault(action.alert, (known.person(action.by) or action.by, action.at))
    to_take = {id_: at - alerts[id_].fired_at for id_, (_, at) in taken.items()}
    to_end = [
        a.ended_at - a.fired_at for a in alerts.values() if a.ended_at is not None and a.ended_why not in _UNANSWERED
    ]
    by_rule = _by_rule(history, alerts, taken, acted, Counter(p.rule for p in paged), until)
    return {
        "From": since, "To": until, "Alerts": len(alerts), "Pages": len(paged),
        "NightPages": sum(is_night(p.at, known.zone(p.person)) for p in paged),
        "Acknowledged": len(taken), "TimeToAcknowledge": _spread(to_take.values()),
        "TimeToResolve": _spread(to_end), "People": _by_person(paged, known, taken, to_take), "Rules": by_rule,
    }  # fmt: skip


def _by_person(
    paged: Sequence[Page], known: Known, taken: Mapping[str, tuple[str, datetime]], to_take: Mapping[str, timedelta]
) -> list[dict[str, Any]]:
    got: dict[str, list[Page]] = defaultdict(list)
    for page in paged:
        got[page.person].append(page)
    took: dict[str, list[timedelta]] = defaultdict(list)
    for id_, (who, _) in taken.items():
        took[who].append(to_take[id_])
    rows: list[dict[str, Any]] = [
        {
            "Person": who, "Pages": len(got.get(who, ())),
            "NightPages": sum(is_night(p.at, known.zone(who)) for p in got.get(who, ())),
            "Timezone": known.zone(who).key, "Acknowledged": len(took.get(who, ())),
            "TimeToAcknowledge": _spread(took.get(who, ())),
        }
        for who in {**got, **took}
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["Pages"], row["Person"]))


def _by_rule(
    history: OnCallHistory, alerts: Mapping[str, Any], taken: Mapping[str, object], acted: Collection[str],
    paged: Mapping[str, int], until: datetime,
) -> list[dict[str, Any]]:  # fmt: skip
    """Noise: alerts of a rule that ended, and for which nobody did anything."""
    messages = Counter(m.rule for m in history.messages if m.created_at < until and m.rule)
    fired, ended, noise, had = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for alert in alerts.values():
        fired[alert.rule] += 1
        had[alert.rule] += alert.id in taken
        if alert.ended_at is not None:
            ended[alert.rule] += 1
            noise[alert.rule] += alert.id not in acted
    rows: list[dict[str, Any]] = [
        {
            "Rule": rule, "Alerts": fired[rule], "Messages": messages[rule], "Pages": paged.get(rule, 0),
            "Acknowledged": had[rule], "Ended": ended[rule], "NobodyActed": noise[rule],
            "Noise": noise[rule] / ended[rule] if ended[rule] else None,
        }
        for rule in fired | messages
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["Pages"], -row["Messages"], row["Rule"]))


def _spread(lengths: Collection[timedelta]) -> dict[str, float | None]:
    """Median and 90th percentile, by nearest rank: a value that was measured."""
    found = sorted(each.total_seconds() for each in lengths)
    if not found:
        return {"Median": None, "P90": None}
    return {"Median": statistics.median_low(found), "P90": found[-(-len(found) * 9 // 10) - 1]}
