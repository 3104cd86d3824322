"""What a rule sees now, for a person who asks: reads, decides nothing, remembers nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.errors import QueryError
from tocsin.kql.plan.windowplan import window_plan
from tocsin.logstore.interface import Limits, LogReader
from tocsin.rules import history
from tocsin.rules.kinds.window.scope import scope
from tocsin.rules.queries import Failures, matches
from tocsin.rules.spec.rule import Rule, Window

MOST_EVENTS = 20_000
"""How far back, in events, the last matches of an event rule are looked for: an evaluation costs the same in any
store.
"""
SHOWN = 5
_LIMITS = Limits(seconds=10.0, rows=1000)
_SINCE = f"SELECT CommitSeq FROM RunStatusChanged ORDER BY CommitSeq DESC LIMIT 1 OFFSET {MOST_EVENTS - 1}"
_OF_AN_EVENT = ("TimeGenerated", "RunId", "Status", "ExperimentName", "Message")

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was seen."""

    rows: Sequence[Row] = ()  # at most SHOWN; of events the newest first
    of: str = ""  # what was looked at, in words
    error: str = ""  # why nothing could be seen


def last_rows(rule: Rule, reader: LogReader, at: datetime) -> Evaluation:
    """The last rows of ``rule``: of a window what its query gives now, else the newest events that it matches.

    Raises StoreLost; a query that fails says so in the answer.
    """
    try:
        if rule.window is not None:
            return Evaluation(rows=_of_window(rule, rule.window, reader, at), of="the window as it would be seen now")
        return Evaluation(rows=_of_events(rule, reader), of=f"the newest {MOST_EVENTS:,} events")
    except QueryError as e:
        return Evaluation(error=str(e))


def _of_window(rule: Rule, window: Window, reader: LogReader, at: datetime) -> list[Row]:
    plan, head = window_plan([window.query]), reader.head()
    cut = scope(
        plan.built.tables, window.over, window.lateness, at, head.seq, reader, [rule.name], window.reach
    )  # fmt: skip
    sql, parameters = plan.bind([0], cut.tables, ())
    if plan.built.uses_now:
        parameters["kqlnow"] = cut.hi.replace(tzinfo=None)
    table = reader.select(f"SELECT * FROM ({sql}) LIMIT {SHOWN}", {**parameters, **cut.parameters}, _LIMITS)
    names = [name for name in plan.built.columns if name not in window.beside]
    rows: list[Row] = table.select(names).to_pylist()  # dynamic values stay JSON text
    return rows


def _of_events(rule: Rule, reader: LogReader) -> list[Row]:
    found = reader.select(_SINCE).column(0).to_pylist()
    rows_sql, params = history.commit_rows(found[0] if found else 0, reader.head().seq)
    failures = Failures()
    hits = matches(reader, [rule], rows_sql, params, failures)
    if rule.name in failures.rules:
        raise failures.rules[rule.name]
    newest = sorted(hits, key=lambda hit: (hit.key.time_us, hit.commit_seq), reverse=True)[:SHOWN]
    carried = [name for name in rule.carries if name not in _OF_AN_EVENT]
    whole = history.whole_rows(reader, ((hit.key, hit.commit_seq) for hit in newest))
    out: list[Row] = []
    for hit in newest:
        row = {**whole.get(hit.key, {}), **hit.computed, "TimeGenerated": history.moment(hit.key.time_us)}
        out.append({name: row[name] for name in (*_OF_AN_EVENT, *carried) if name in row})
    return out
