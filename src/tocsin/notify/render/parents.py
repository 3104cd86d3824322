"""What a mail says of a parent group: how many of a parent's runs match, and why. Everything that came from outside
is cleaned here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from tocsin.clock import from_micros
from tocsin.model.alert import Why
from tocsin.model.details import Cause, Child
from tocsin.model.intent import Intent
from tocsin.model.text.causes import cut, one_line
from tocsin.notify import context as c
from tocsin.notify.render.links import is_allowed, run_page, web_link
from tocsin.notify.text import day_time, did, middle, zone_name

IN_SUBJECT = 3
"""So many causes a subject names."""
_WHOLE_GROUP = frozenset({Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED})
CAUSE_FROM = 45
"""Characters after which the first cause has begun, where the parent's name allows it."""


def whole_group(intent: Intent) -> bool:
    """Whether it is notified of the parent group, not of the parent's own occurrence."""
    group = intent.details.group
    return group is not None and (group.alert or intent.why in _WHOLE_GROUP)


def parent_group_of(intent: Intent, base_url: str = "", hosts: Collection[str] = ()) -> c.ParentGroup | None:
    """What an intent says of its run's children; None where that is nothing. ``base_url`` is that of tocsin's pages,
    '' for none; ``hosts`` are those to which addresses of events may lead.
    """
    group = intent.details.group
    if group is None:
        return None
    return c.ParentGroup(
        matched=group.matched,
        children=group.children,
        did=one_line(group.did, 100),
        ended=did(group.ended),
        bunches=tuple(_bunch(intent, one, base_url, hosts) for one in group.causes),
        more=group.more,
    )


def _bunch(intent: Intent, said: Cause, base_url: str, hosts: Collection[str]) -> c.Bunch:
    cause = one_line(said.cause, 300)
    return c.Bunch(
        cause=cause,
        count=said.count,
        examples=tuple(
            c.Line(
                title=one_line(run.name),
                name=one_line(run.name),
                cause=cause,
                severity=intent.severity.word,
                rule=intent.rule,
                url=_link(run, hosts) or run_page(base_url, run.run),
                at=_at(run.us, intent.at),
            )
            for run in said.runs
        ),
    )


def _link(run: Child, hosts: Collection[str]) -> str:
    link = web_link(run.url)
    return link if link and is_allowed(link, hosts) else ""


def subject(parent_group: c.ParentGroup, name: str) -> str:
    """``parent_group churn: 24 of 100 runs failed: CUDA out of memory (18), timeout (6)``; ``name`` is the parent's."""
    end = f" {parent_group.ended}" if parent_group.ended else ""
    said = f"{end}: {parent_group.matched} of {parent_group.children} runs {parent_group.did}"
    room = CAUSE_FROM - len("sweep ") - len(said) - len(": ")
    why = causes(parent_group)
    return one_line(f"sweep {middle(name, max(room, 16))}{said}{f': {why}' if why else ''}")


def says(parent_group: c.ParentGroup, of_run: c.Says, happened: datetime, zone: ZoneInfo, now: datetime) -> c.Says:
    """The phrases of a mail that notifies of a parent group, made of those about its parent."""
    most = " · ".join(
        f"{bunch.count} × {bunch.cause or 'no reason given'}" for bunch in parent_group.bunches[:IN_SUBJECT]
    )
    return replace(
        of_run,
        preheader=" · ".join(filter(None, [of_run.late, most])),
        happened=f"as of {day_time(happened, now, zone)} ({zone_name(zone)})",
        attempt="",
        nearby="",
    )


def causes(parent_group: c.ParentGroup) -> str:
    """The most frequent causes with counts, in one line; '' where nobody said any."""
    said = [f"{cut(bunch.cause, 60)} ({bunch.count})" for bunch in parent_group.bunches if bunch.cause]
    return ", ".join(said[:IN_SUBJECT])


def fields(parent_group: c.ParentGroup | None) -> dict[str, object]:
    """Variables of a rule's `summary` about a parent group; '' where it is about none."""
    if parent_group is None:
        return dict.fromkeys(("Count", "Children", "Share", "Causes"), "")
    share = f"{100 * parent_group.matched / parent_group.children:.0f}%" if parent_group.children else ""
    return {
        "Count": parent_group.matched,
        "Children": parent_group.children,
        "Share": share,
        "Causes": causes(parent_group),
    }


def _at(us: object, otherwise: datetime) -> datetime:
    return from_micros(us) if isinstance(us, int) else otherwise
