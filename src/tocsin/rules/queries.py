"""Runs row queries: one SQL for all rules of a shape. What fails is found by halving: first the rule, then the rows.

A rule whose query cannot run at all (a reference table is gone, it takes too long) is in ``Failures.rules``. One that
runs but for a few rows (a sum that overflows) goes on without them: an alert of every other run must not wait for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tocsin.errors import QueryError, QueryTimeout
from tocsin.logstore.interface import Limits, LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.history import listed
from tocsin.rules.spec.rule import PlanSpec, RuleOf

LIMITS = Limits(seconds=30.0, rows=10_000_000)
ATTEMPTS = 64
"""Queries that may be spent on finding the rows on which one rule fails."""

R = TypeVar("R", bound=RuleOf[PlanSpec])


@dataclass(frozen=True, slots=True)
class Hit(Generic[R]):
    """An event that a rule matches; ``computed`` are the fields that the query made."""

    rule: R
    run_id: str
    key: EventKey
    commit_seq: int
    computed: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Failures:
    """What failed: whole rules by name; and ids of events that a rule could not evaluate and went on without."""

    rules: dict[str, QueryError] = field(default_factory=dict)
    events: dict[str, tuple[QueryError, list[str]]] = field(default_factory=dict)  # by rule

    def take(self, other: Failures) -> None:
        """Add what else failed."""
        self.rules.update(other.rules)
        self.events.update(other.events)


def matches(
    reader: LogReader, rules: Iterable[R], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[Hit[R]]:
    """What ``rules`` match among ``rows_sql``. A rule that fails has no hits, and is in ``failures``."""
    by_shape: dict[str, list[R]] = {}
    for rule in rules:
        by_shape.setdefault(rule.spec.plan.shape, []).append(rule)
    return [hit for alike in by_shape.values() for hit in _run(reader, alike, rows_sql, params, failures)]


def _run(
    reader: LogReader, rules: Sequence[R], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[Hit[R]]:
    try:
        return _select(reader, rules, rows_sql, params)
    except QueryTimeout as e:
        if len(rules) == 1:
            failures.rules[rules[0].name] = e
            return []
    except QueryError as e:
        if len(rules) == 1:
            return _without_culprits(reader, rules[0], rows_sql, params, e, failures)
    half = len(rules) // 2
    first = _run(reader, rules[:half], rows_sql, params, failures)
    return first + _run(reader, rules[half:], rows_sql, params, failures)


def _select(reader: LogReader, rules: Sequence[R], rows_sql: str, params: Mapping[str, object]) -> list[Hit[R]]:
    plan = rules[0].spec.plan
    sql, constants = plan.bind(rows_sql, [(i, rule.spec.plan.constants) for i, rule in enumerate(rules)])
    for name, value in constants.items():
        if isinstance(value, list):  # see history.listed
            sql = sql.replace(f"${name}::", f"(${name}::JSON)::")
            constants[name] = json.dumps(value, ensure_ascii=False)
    names = "".join(f', "{name}"' for name in plan.computed)
    table = reader.select(
        f'SELECT rule_no, "RunId", "Source", "EventId", "CommitSeq", epoch_us("TimeGenerated"){names} FROM ({sql})',
        {**params, **constants},
        LIMITS,
    )
    columns = [table.column(i).to_pylist() for i in range(6)]
    computed = [(name, table.column(6 + i).to_pylist()) for i, name in enumerate(plan.computed)]
    return [
        Hit(
            rule=rules[number],
            run_id=run_id,
            key=EventKey(source=source, event_id=event_id, time_us=time_us),
            commit_seq=seq,
            computed={name: values[i] for name, values in computed},
        )
        for i, (number, run_id, source, event_id, seq, time_us) in enumerate(zip(*columns, strict=True))
    ]


def _without_culprits(
    reader: LogReader, rule: R, rows_sql: str, params: Mapping[str, object], error: QueryError, failures: Failures
) -> list[Hit[R]]:
    """The rule's hits among the rows that it can evaluate; where it can evaluate none, it fails as a whole."""
    spent = 0

    def hits_of(ids: Sequence[str]) -> list[Hit[R]] | None:
        nonlocal spent
        spent += 1
        some = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest(($some::JSON)::VARCHAR[]))"
        try:
            return _select(reader, [rule], some, {**params, "some": listed(ids)})
        except QueryTimeout:
            raise
        except QueryError:
            return None

    hits: list[Hit[R]] = []
    culprits: list[str] = []
    try:
        works = hits_of([]) is not None
        ids = reader.select(f"SELECT DISTINCT EventId FROM ({rows_sql})", params).column(0).to_pylist() if works else []
        waiting: list[list[str]] = [sorted(ids)]
        while works and waiting and spent < ATTEMPTS:
            part = waiting.pop()
            found = hits_of(part)
            if found is not None:
                hits += found
            elif len(part) == 1:
                culprits += part
            else:
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
    except QueryTimeout as e:
        failures.rules[rule.name] = e
        return []
    if not works or waiting:
        failures.rules[rule.name] = error
        return []
    failures.events[rule.name] = (error, culprits)
    return hits
