"""Alerts of sweeps that stay open (`resolve`, `repeat_every`): told again while they do, ended by a later run, or by time.

    commits     c12 of 40 fails      25th fails        Completed churn, a run of its own
                   |                    |                 |
    told        the sweep           again: 50%        recovered; nothing more of this sweep
                   └── each `repeat_every`: again ────────┘

What ends a sweep's alert is an event of a run that stands for itself: by the rule's `to` it has no parent. Neither the sweep's own
children end it, most of which complete, nor its parent as long as it is the same try: `update: [end]` tells of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tocsin.alerts.openings import Opened, Swept, opened_of
from tocsin.alerts.sweeps import Sweep, key_of, sweep_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.collapse import Collapsed
from tocsin.rules.enders import Values, columns_sql
from tocsin.rules.history import Row, listed
from tocsin.rules.memory import Memory
from tocsin.rules.opened import ending_of
from tocsin.rules.rule import Rule


class End(NamedTuple):
    """An event that may end the alert of a sweep."""

    time_us: int  # TimeGenerated, µs since the epoch
    run_id: str
    seq: int  # the commit that brought it
    status: str
    values: Values  # in the columns of `same`


def recovers(rule: Rule) -> bool:
    """Whether the alerts of the rule's sweeps are ended by a later event."""
    return rule.collapse is not None and rule.ending is not None and rule.ending.recovers


def open_sweeps(rule: Rule, memory: Memory) -> list[Opened]:
    """Alerts of sweeps that are open, in the order of their parents."""
    found = (opened_of(state) for state in memory.conditions(rule.name).values())
    return sorted((o for o in found if o is not None and o.sweep is not None), key=lambda o: (o.run_id, o.occurrence))


def ends_of(rule: Rule, opened: Sequence[Opened], reader: LogReader, after: int, hi: int) -> list[End]:
    """What commits in (``after``, ``hi``] brought that may end alerts of ``opened``."""
    collapsed, ending = rule.collapse, ending_of(rule)
    first = {values[0] for one in opened for values in one.same}
    if not isinstance(collapsed, Collapsed) or not first:
        return []
    names = [f"s{i}" for i in range(len(ending.same))]
    table = reader.select(
        f"SELECT epoch_us(TimeGenerated), RunId, CommitSeq, Status, {', '.join(names)} FROM"
        f" (SELECT CommitSeq, {collapsed.column} AS parent, {columns_sql(ending.same)}"
        "  WHERE CommitSeq > $after AND CommitSeq <= $hi AND TimeGenerated > make_timestamp($first::BIGINT)"
        "  AND Status IN (SELECT unnest(($statuses::JSON)::VARCHAR[])))"
        " WHERE parent IN ('', RunId) AND s0 IN (SELECT unnest(($values::JSON)::VARCHAR[]))",
        {
            "after": after,
            "hi": hi,
            "first": min(one.event.time_us for one in opened),
            "statuses": listed(sorted(ending.statuses)),
            "values": listed(sorted(first)),
        },
    )
    columns = [table.column(i).to_pylist() for i in range(4 + len(names))]
    return [End(t, run, seq, status, tuple(values)) for t, run, seq, status, *values in zip(*columns, strict=True)]


def end_of(opened: Opened, ends: Sequence[End], seq: int, memory: Memory) -> End | None:
    """What ends the alert, as far as is known as of commit ``seq``; None where nothing does."""
    sweep = current(opened, memory)
    another_try = None if sweep is None or opened.sweep is None or sweep.begin == opened.sweep.begin else sweep.begin

    def may(end: End) -> bool:
        own = end.run_id == opened.run_id
        return (
            end.seq <= seq
            and end.time_us > opened.event.time_us
            and end.values in opened.same
            and (not own or (another_try is not None and end.seq > another_try))
        )

    return max((end for end in ends if may(end)), default=None)


def current(opened: Opened, memory: Memory) -> Sweep | None:
    """What is remembered of the parent: perhaps of a later try of it."""
    state = memory.condition(opened.rule, key_of(opened.run_id))
    return None if state is None else sweep_of(state)


def opened_sweep(
    rule: Rule,
    sweep: Sweep,
    event: Row,
    *,
    labels: Row,
    keep: Row,
    caused_by: EventKey,
    consumer: str,
    at: datetime,
    commit_seq: int,
    beyond: Mapping[str, object] | bool,
) -> Opened:
    """The alert of a sweep that is told at ``at``; ``event`` is its parent as a row."""
    ending, root = ending_of(rule), event.get("RootRunId")
    same = tuple(_text(name, event) for name in ending.same)
    return Opened(
        rule=rule.name,
        instance=sweep.instance,
        occurrence=sweep.occurrence(rule.name),
        run_id=sweep.parent,
        root_run_id=root if isinstance(root, str) else "",
        event=caused_by,
        commit_seq=commit_seq,
        consumer=consumer,
        severity=rule.severity,
        at=at,
        told_at=at,
        repeats=0,
        labels=labels,
        keep=keep,
        same=(same,) if same and all(same) else (),
        recovers=ending.recovers,
        beyond=beyond,
        sweep=Swept(sweep.begin, sweep.matched, sweep.children),
    )


def _text(name: str, event: Row) -> str:
    value = event.get(name)
    said = value if isinstance(value, str) else ""
    return said or str(event.get("RunId", "")) if name == "JobKey" else said
