"""What a mail says of a sweep: how many of a parent's runs match, and why. Everything that came from outside is cleaned here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.clock import from_micros
from tocsin.model.alert import Why
from tocsin.model.causes import cut, one_line
from tocsin.model.intent import Intent
from tocsin.notify import context as c
from tocsin.notify.links import run_page, web_link
from tocsin.notify.text import day_time, did, middle, zone_name

IN_SUBJECT = 3
"""So many causes a subject names."""
_TELLS_SWEEP = frozenset({Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED})
CAUSE_FROM = 45
"""Characters after which the first cause has begun, where the parent's name allows it."""


def tells_sweep(intent: Intent) -> bool:
    """Whether it is told of the sweep, not of the parent's own occurrence."""
    said = intent.data.get("sweep")
    return isinstance(said, Mapping) and (bool(said.get("alert")) or intent.why in _TELLS_SWEEP)


def sweep_of(intent: Intent, base_url: str = "") -> c.Sweep | None:
    """What an intent says of its run's children; None where that is nothing. ``base_url`` is that of tocsin's pages, '' for none."""
    said = intent.data.get("sweep")
    if not isinstance(said, Mapping):
        return None
    return c.Sweep(
        matched=_whole(said, "matched"),
        children=_whole(said, "children"),
        did=one_line(str(said.get("did") or ""), 100),
        ended=did(str(said.get("ended") or "")),
        bunches=tuple(_bunch(intent, one, base_url) for one in _listed(said.get("causes"))),
        more=_whole(said, "more"),
    )


def _bunch(intent: Intent, said: Mapping[str, Any], base_url: str) -> c.Bunch:
    cause = one_line(str(said.get("cause") or ""), 300)
    return c.Bunch(
        cause=cause,
        count=_whole(said, "count"),
        examples=tuple(
            c.Line(
                title=one_line(str(run.get("name") or "")),
                name=one_line(str(run.get("name") or "")),
                cause=cause,
                severity=intent.severity.word,
                rule=intent.rule,
                url=web_link(run.get("url")) or run_page(base_url, str(run.get("run") or "")),
                at=_at(run.get("us"), intent.at),
            )
            for run in _listed(said.get("runs"))
        ),
    )


def subject(sweep: c.Sweep, name: str) -> str:
    """``sweep churn: 24 of 100 runs failed: CUDA out of memory (18), timeout (6)``; ``name`` is the parent's."""
    end = f" {sweep.ended}" if sweep.ended else ""
    said = f"{end}: {sweep.matched} of {sweep.children} runs {sweep.did}"
    room = CAUSE_FROM - len("sweep ") - len(said) - len(": ")
    why = causes(sweep)
    return one_line(f"sweep {middle(name, max(room, 16))}{said}{f': {why}' if why else ''}")


def says(sweep: c.Sweep, of_run: c.Says, happened: datetime, zone: ZoneInfo, now: datetime) -> c.Says:
    """The phrases of a mail that tells of a sweep, made of those about its parent."""
    most = " · ".join(f"{bunch.count} × {bunch.cause or 'no reason given'}" for bunch in sweep.bunches[:IN_SUBJECT])
    return replace(
        of_run,
        preheader=" · ".join(filter(None, [of_run.late, most])),
        happened=f"as of {day_time(happened, now, zone)} ({zone_name(zone)})",
        attempt="",
        nearby="",
    )


def causes(sweep: c.Sweep) -> str:
    """The most frequent causes with counts, in one line; '' where nobody said any."""
    said = [f"{cut(bunch.cause, 60)} ({bunch.count})" for bunch in sweep.bunches if bunch.cause]
    return ", ".join(said[:IN_SUBJECT])


def fields(sweep: c.Sweep | None) -> dict[str, object]:
    """Variables of a rule's `summary` about a sweep; '' where it is about none."""
    if sweep is None:
        return dict.fromkeys(("Count", "Children", "Share", "Causes"), "")
    share = f"{100 * sweep.matched / sweep.children:.0f}%" if sweep.children else ""
    return {"Count": sweep.matched, "Children": sweep.children, "Share": share, "Causes": causes(sweep)}


def _listed(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def _whole(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) else 0


def _at(us: object, otherwise: datetime) -> datetime:
    return from_micros(us) if isinstance(us, int) else otherwise
