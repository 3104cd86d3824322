"""Event rules, from what a file says."""

from __future__ import annotations

from tocsin.config.yaml.document import KeyPath
from tocsin.errors import QueryError
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.model.statuses import Kind as QueryKind
from tocsin.rules.kinds.base import Body, of_model, of_when
from tocsin.rules.kinds.event.collapsed import Collapsed, collapsed
from tocsin.rules.kinds.event.collapsed import faults as collapse_faults
from tocsin.rules.kinds.event.ends import ends_of
from tocsin.rules.kinds.event.keys import EventModel, EventWhen
from tocsin.rules.kinds.event.spec import FINAL_AFTER, EventSpec
from tocsin.rules.language.checks import EVENT, Ends, Faults
from tocsin.rules.language.when_query import events_query, status_in
from tocsin.rules.language.written import Head, Written
from tocsin.rules.spec import baseline as baselines


def compile_event(written: Written, head: Head) -> Body:
    """As ``Kind.compile``."""
    model, faults, said = of_model(written.model, EventModel), written.faults, written.said
    when = of_when(model.when, EventWhen)
    plan, query = _plan(written, model, when)
    collapse = _collapse(model, faults)
    resolve_policy = ends_of(model, said, plan, faults)
    finals = when.finals if when is not None else None
    spec = None
    if plan is not None:
        spec = EventSpec(
            plan=plan,
            finals=finals,
            final_after=said(lambda m: m.final_after, "final_after") or FINAL_AFTER,
            below=baselines.below(when) if when is not None else None,
            collapse=collapse,
            resolve_policy=resolve_policy,
        )
    columns = written.schema.get("RunStatusChanged") if when is not None else None
    return Body(
        spec=spec,
        query=query,
        columns=plan.columns if plan else columns,
        by=("RunId", *(name for name in model.by if name != "RunId")),
        also=EVENT,
        ends=Ends(
            condition=resolve_policy is not None and resolve_policy.recovers,
            itself=resolve_policy is not None,
            final=finals is not None,
        ),
    )


def _collapse(model: EventModel, faults: Faults) -> Collapsed | None:
    """Which runs stand for others; None where each stands for itself."""
    if model.collapse is None:
        return None
    wrong = list(collapse_faults(model.collapse))
    for path, message, hint in wrong:
        faults.add(path, message, hint)
    return None if wrong else collapsed(model.collapse)


def text_of(when: EventWhen, *, compared: bool = True) -> tuple[str, int]:
    """``when:`` as KQL, and the line on which the text of ``where:`` begins. Without what runs are compared with,
    where that is to be done for many at once (``shorter``).
    """
    before: list[str] = []
    after: list[str] = []
    statuses = when.status or ()
    if when.duration is not None and when.duration.below:
        before, after = baselines.below_query(when, status_in(statuses))
        before, after = (before, after) if compared else ([], list(baselines.UNCOMPARED))
    if when.finals is not None:
        others = "" if not when.finals or set(statuses) <= when.finals else "Status != 'Failed' or "
        after = [*after, f"| where {others}isnull(WillRetry) or WillRetry == false"]
    return events_query(statuses, when.where, before, after)


def _plan(written: Written, model: EventModel, when: EventWhen | None) -> tuple[RowPlan | None, str]:
    faults = written.faults
    path: KeyPath = ("query",)
    query, asked, begins = model.query, model.query, 1
    if when is not None:
        past = list(baselines.faults(when)) if when.duration is not None else []
        for below, message, hint in past:
            faults.add(below, message, hint)
        if past:
            return None, ""
        if not when.status and not when.where:
            faults.add(("when",), "would match every event", "say which `status:` or `where:`")
            return None, ""
        path = ("when", "where") if when.where else ("when",)
        query = text_of(when)[0] + written.extension()
        asked, begins = text_of(when, compared=False)
        asked += written.extension()
    elif "every" in model.model_fields_set:
        return None, query  # it is no event rule: what it says of time has been refused
    try:
        return row_plan(asked, written.schema), query
    except QueryError as error:
        _explain_query(written, asked, error, path, begins - 1)
        return None, query


def _explain_query(written: Written, query: str, error: QueryError, path: KeyPath, skipped: int) -> None:
    """Say of a query that is no event query whether it is a window rule in want of ``over:`` or just wrong."""
    faults = written.faults
    try:
        found = classify(query, written.schema)
    except QueryError as e:
        faults.add_query(path, e, skipped)
        return
    if found.kind is QueryKind.EVENT or path != ("query",):
        faults.add_query(path, error, skipped)
    elif written.model.kind == EventSpec.word:
        message = f"is 'event', but the query is no event query: {found.reason}"
        faults.add(("kind",), message, "write kind: window, with over:")
    else:
        message = f"this is a window rule, and it needs `over:`: {found.reason}"
        faults.add(("query",), message, "add for example over: 1h")
