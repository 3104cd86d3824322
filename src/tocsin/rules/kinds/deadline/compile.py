"""Absence rules about single runs, from what a file says."""

from __future__ import annotations

from tocsin.errors import QueryError
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.model.columns import RUNS
from tocsin.rules.kinds.base import Body, of_when
from tocsin.rules.kinds.deadline import spec as deadline
from tocsin.rules.kinds.deadline.keys import DeadlineWhen
from tocsin.rules.language.checks import EVENT
from tocsin.rules.language.resolve_policy import wait_terms
from tocsin.rules.language.when_query import events_query
from tocsin.rules.language.written import Head, Written
from tocsin.rules.spec import baseline as baselines


def compile_deadline(written: Written, head: Head) -> Body:
    """As ``Kind.compile``."""
    model, faults = written.model, written.faults
    when = of_when(model.when, DeadlineWhen)
    assert when is not None
    plan, query = _plan(written, when)
    terms = wait_terms(model, written.said, faults)
    spec = deadline.spec_of(when, plan, terms, written.row or {}) if plan is not None else None
    length = None if spec is None or written.lengths_differ else spec.length
    return Body(
        spec=spec,
        query=query,
        columns=plan.columns if plan else written.schema.get("RunStatusChanged"),
        by=("RunId", *(name for name in model.by if name != "RunId")),
        subject=deadline.subject(when, length),
        also=EVENT.union(column.name for column in RUNS),
    )


def text_of(when: DeadlineWhen) -> tuple[str, int]:
    """The runs that are waited for, as KQL about them as events, and the line on which ``where`` begins."""
    return events_query(deadline.watched(when), when.where)


def _plan(written: Written, when: DeadlineWhen) -> tuple[RowPlan | None, str]:
    faults, before = written.faults, len(written.problems)
    for path, message, hint in baselines.faults(when) if when.duration is not None else ():
        faults.add(path, message, hint)
    if len(written.problems) > before:
        return None, ""
    for path, message, hint in deadline.faults(when):
        faults.add(path, message, hint)
    query, begins = text_of(when)
    query += written.extension()
    try:
        return row_plan(query, written.schema), query
    except QueryError as error:
        faults.add_query(("when", "where") if when.where else ("when",), error, begins - 1)
        return None, query
