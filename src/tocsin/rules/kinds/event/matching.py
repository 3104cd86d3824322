"""What event rules match, those that compare a run with its baseline among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tocsin.errors import QueryError
from tocsin.logstore.interface import LogReader, StoredRow
from tocsin.model.alert import EventKey
from tocsin.rules.history import key_of, listed
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.event.shorter import Shorter, shorter
from tocsin.rules.kinds.event.spec import EventHit, EventRule
from tocsin.rules.queries import Failures, Hit
from tocsin.rules.queries import matches as planned


def matches(
    reader: LogReader, rules: Iterable[EventRule], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[EventHit]:
    """As ``queries.matches``."""
    compared: dict[tuple[object, ...], list[EventRule]] = {}
    alone: list[EventRule] = []
    for rule in rules:
        if rule.spec.below is None:
            alone.append(rule)
        else:
            compared.setdefault((rule.spec.plan.shape, *rule.spec.below.past), []).append(rule)
    hits = planned(reader, alone, rows_sql, params, failures)
    for alike in compared.values():
        hits += _shorter(reader, alike, rows_sql, params, failures)
    return hits


def matches_in_memory(
    index: RuleIndex[EventRule], rows: Sequence[StoredRow], takes: Callable[[str], bool]
) -> tuple[list[EventHit], list[EventRule]]:
    """What rules match among ``rows``, as far as that needs no SQL; and the rules that the store has to be asked for,
    of which nothing is among these matches.
    """
    found: list[EventHit] = []
    left: dict[str, EventRule] = {}
    for row in rows:
        for number in index.touched_by(row):
            rule = index.rules[number]
            if rule.name in left or not takes(rule.name):
                continue
            matches = rule.spec.plan.matches(row) if rule.spec.below is None else None
            if matches is None:
                left[rule.name] = rule
            elif matches:
                found.append(Hit(rule=rule, run_id=row["RunId"], key=key_of(row), commit_seq=row["CommitSeq"]))
    return [hit for hit in found if hit.rule.name not in left], list(left.values())


def narrowed(
    reader: LogReader, rules: Sequence[EventRule], rows_sql: str, params: Mapping[str, object]
) -> tuple[str, dict[str, object], Mapping[EventKey, Shorter]]:
    """Those of ``rows_sql`` that ended shorter than its baseline by one of ``rules``, which compare with the same
    past. Raises QueryError.
    """
    found = shorter([rule.spec.below for rule in rules if rule.spec.below], rows_sql, params, reader)
    some = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest(($sooner::JSON)::VARCHAR[]))"
    return some, {**params, "sooner": listed({key.event_id for key in found})}, found


def _shorter(
    reader: LogReader, rules: Sequence[EventRule], rows_sql: str, params: Mapping[str, object], failures: Failures
) -> list[EventHit]:
    try:
        some, more, found = narrowed(reader, rules, rows_sql, params)
    except QueryError as e:
        failures.rules.update({rule.name: e for rule in rules})
        return []
    if not found:
        return []
    hits: list[EventHit] = []
    for hit in planned(reader, rules, some, more, failures):
        below, said = hit.rule.spec.below, found.get(hit.key)
        if below is not None and said is not None and said.than(below.baseline):
            hits.append(replace(hit, computed={**hit.computed, **said.computed(below.baseline)}))
    return hits
