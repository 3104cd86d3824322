"""What a rule about single events sees now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tocsin.logstore.interface import LogReader
from tocsin.rules import history
from tocsin.rules.kinds.base import Preview
from tocsin.rules.queries import Failures, Hit
from tocsin.rules.spec.rule import PlanSpec, RuleOf

MOST_EVENTS = 20_000
"""How far back, in events, the last matches are looked for: a preview costs the same in any store."""
SHOWN = 5
_SINCE = f"SELECT CommitSeq FROM RunStatusChanged ORDER BY CommitSeq DESC LIMIT 1 OFFSET {MOST_EVENTS - 1}"
_OF_AN_EVENT = ("TimeGenerated", "RunId", "Status", "ExperimentName", "Message")

R = TypeVar("R", bound=RuleOf[PlanSpec])
Matches = Callable[[LogReader, Iterable[R], str, Mapping[str, object], Failures], list[Hit[Any]]]


def of_events(rule: R, reader: LogReader, matches: Matches[R]) -> Preview:
    """The newest events that ``rule`` matches. Raises QueryError."""
    found = reader.select(_SINCE).column(0).to_pylist()
    rows_sql, params = reader.rows_of(found[0] if found else 0, reader.head().seq)
    failures = Failures()
    hits = matches(reader, [rule], rows_sql, params, failures)
    if rule.name in failures.rules:
        raise failures.rules[rule.name]
    newest = sorted(hits, key=lambda hit: (hit.key.time_us, hit.commit_seq), reverse=True)[:SHOWN]
    carried = [name for name in rule.carries if name not in _OF_AN_EVENT]
    whole = history.whole_rows(reader, ((hit.key, hit.commit_seq) for hit in newest))
    out: list[Mapping[str, object]] = []
    for hit in newest:
        row = {**whole.get(hit.key, {}), **hit.computed, "TimeGenerated": history.moment(hit.key.time_us)}
        out.append({name: row[name] for name in (*_OF_AN_EVENT, *carried) if name in row})
    return Preview(rows=out, of=f"the newest {MOST_EVENTS:,} events")
