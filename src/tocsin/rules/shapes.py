"""Runs row queries: one SQL for all rules of a shape. A rule that fails does not take its neighbours down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.errors import QueryError
from tocsin.logstore.interface import Limits, LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.rule import Rule

LIMITS = Limits(seconds=30.0, rows=10_000_000)


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that a rule matches; ``computed`` are the fields that the query made."""

    rule: Rule
    run_id: str
    key: EventKey
    commit_seq: int
    computed: Mapping[str, object] = field(default_factory=dict)


def matches(
    reader: LogReader,
    rules: Iterable[Rule],
    rows_sql: str,
    params: Mapping[str, object],
    failed: Callable[[Rule, QueryError], None],
) -> list[Hit]:
    """What ``rules`` match among ``rows_sql``. ``failed`` is told of each rule whose query DuckDB refuses; it has no hits."""
    by_shape: dict[str, list[Rule]] = {}
    for rule in rules:
        by_shape.setdefault(rule.plan.shape, []).append(rule)
    hits: list[Hit] = []
    for alike in by_shape.values():
        _run(reader, alike, rows_sql, params, failed, hits)
    return hits


def _run(
    reader: LogReader,
    rules: Sequence[Rule],
    rows_sql: str,
    params: Mapping[str, object],
    failed: Callable[[Rule, QueryError], None],
    hits: list[Hit],
) -> None:
    plan = rules[0].plan
    sql, constants = plan.bind(rows_sql, [(i, rule.plan.constants) for i, rule in enumerate(rules)])
    wanted = ", ".join(f'"{name}"' for name in ("RunId", "Source", "EventId", "CommitSeq"))
    listed = "".join(f', "{name}"' for name in plan.computed)
    sql = f'SELECT rule_no, {wanted}, epoch_us("TimeGenerated") AS time_us{listed} FROM ({sql})'
    try:
        table = reader.select(sql, {**params, **constants}, LIMITS)
    except QueryError as e:
        if len(rules) == 1:
            failed(rules[0], e)
            return
        half = len(rules) // 2
        _run(reader, rules[:half], rows_sql, params, failed, hits)
        _run(reader, rules[half:], rows_sql, params, failed, hits)
        return
    columns = [table.column(i).to_pylist() for i in range(6)]
    computed = [(name, table.column(6 + i).to_pylist()) for i, name in enumerate(plan.computed)]
    for i, (number, run_id, source, event_id, seq, time_us) in enumerate(zip(*columns, strict=True)):
        hits.append(
            Hit(
                rule=rules[number],
                run_id=run_id,
                key=EventKey(source=source, event_id=event_id, time_us=time_us),
                commit_seq=seq,
                computed={name: values[i] for name, values in computed},
            )
        )
