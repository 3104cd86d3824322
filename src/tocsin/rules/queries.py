"""Runs row queries: one SQL for all rules of a shape. What fails is found by halving: first the rule, then the rows.

A rule whose query cannot run at all (a reference table is gone, it takes too long) is in ``Failures.rules``. One
that runs but
for a few rows (a sum that overflows) goes on without them: an alert of every other run must not wait for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tocsin.errors import QueryError, QueryTimeout
from tocsin.logstore.interface import Limits, LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.history import listed
from tocsin.rules.kinds.event.shorter import Shorter, shorter
from tocsin.rules.spec.rule import Rule

LIMITS = Limits(seconds=30.0, rows=10_000_000)
TRIES = 64
"""Queries that may be spent on finding the rows on which one rule fails."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that a rule matches; ``computed`` are the fields that the query made."""

    rule: Rule
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
    reader: LogReader, rules: Iterable[Rule], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[Hit]:
    """What ``rules`` match among ``rows_sql``. A rule that fails has no hits, and is in ``failures``."""
    by_shape: dict[tuple[object, ...], list[Rule]] = {}
    for rule in rules:
        by_shape.setdefault((rule.plan.shape, *(rule.below.past if rule.below else ())), []).append(rule)
    hits: list[Hit] = []
    for alike in by_shape.values():
        if any(rule.below for rule in alike):
            hits += _shorter(reader, alike, rows_sql, params, failures)
        else:
            hits += _run(reader, alike, rows_sql, params, failures)
    return hits


def narrowed(
    reader: LogReader, rules: Sequence[Rule], rows_sql: str, params: Mapping[str, object]
) -> tuple[str, dict[str, object], Mapping[EventKey, Shorter]]:
    """Those of ``rows_sql`` that ended shorter than its baseline by one of ``rules``, which compare with the same
    past. Raises QueryError.
    """
    found = shorter([rule.below for rule in rules if rule.below], rows_sql, params, reader)
    some = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest(($sooner::JSON)::VARCHAR[]))"
    return some, {**params, "sooner": listed({key.event_id for key in found})}, found


def _shorter(
    reader: LogReader, rules: Sequence[Rule], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[Hit]:
    try:
        some, more, found = narrowed(reader, rules, rows_sql, params)
    except QueryError as e:
        failures.rules.update({rule.name: e for rule in rules})
        return []
    if not found:
        return []
    hits: list[Hit] = []
    for hit in _run(reader, rules, some, more, failures):
        below, said = hit.rule.below, found.get(hit.key)
        if below is not None and said is not None and said.than(below.baseline):
            hits.append(replace(hit, computed={**hit.computed, **said.computed(below.baseline)}))
    return hits


def _run(
    reader: LogReader, rules: Sequence[Rule], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[Hit]:
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


def _select(reader: LogReader, rules: Sequence[Rule], rows_sql: str, params: Mapping[str, object]) -> list[Hit]:
    plan = rules[0].plan
    sql, constants = plan.bind(rows_sql, [(i, rule.plan.constants) for i, rule in enumerate(rules)])
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
    reader: LogReader, rule: Rule, rows_sql: str, params: Mapping[str, object], error: QueryError, failures: Failures
) -> list[Hit]:
    """The rule's hits among the rows that it can evaluate; where it can evaluate none, it fails as a whole."""
    spent = 0

    def hits_of(ids: Sequence[str]) -> list[Hit] | None:
        nonlocal spent
        spent += 1
        some = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest(($some::JSON)::VARCHAR[]))"
        try:
            return _select(reader, [rule], some, {**params, "some": listed(ids)})
        except QueryTimeout:
            raise
        except QueryError:
            return None

    hits: list[Hit] = []
    culprits: list[str] = []
    try:
        works = hits_of([]) is not None
        ids = reader.select(f"SELECT DISTINCT EventId FROM ({rows_sql})", params).column(0).to_pylist() if works else []
        waiting: list[list[str]] = [sorted(ids)]
        while works and waiting and spent < TRIES:
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
