"""Absence rules by a schedule, from what a file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.config.calendars.named import days, days_faults
from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.errors import QueryError
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.kinds.base import Body, of_when
from tocsin.rules.kinds.schedule import spec as schedule
from tocsin.rules.kinds.schedule.keys import ScheduleWhen
from tocsin.rules.language.checks import DUMMY, MOST_ROWS, Faults, Schema, table_columns
from tocsin.rules.language.resolve_policy import wait_terms
from tocsin.rules.language.written import Head, Written


def compile_schedule(written: Written, head: Head) -> Body:
    """As ``Kind.compile``."""
    model, schema, faults = written.model, written.schema, written.faults
    when = of_when(model.when, ScheduleWhen)
    assert when is not None
    before = len(written.problems)
    for path, message, hint in schedule.faults(when):
        faults.add(path, message, hint)
    table = model.for_each.table if model.for_each else ""
    columns = table_columns(table, schema, faults)
    calendar = _calendar(when, written.calendars, faults)
    by = tuple(model.by) or (schedule.columns_of(when, tuple(columns)) if table else ())
    terms = wait_terms(model, written.said, faults)
    nothing = Body(spec=None, columns=columns, by=by)
    if len(written.problems) > before:
        return nothing
    plan, query = _plan(when, columns, schema, faults)
    found: Sequence[Mapping[str, object]] = written.rows(table)[:MOST_ROWS] if table else ({},)
    zone = written.defaults.timezone or written.timezone
    items, wrong = schedule.items_of(schedule.Expected(when, by, schema, calendar, zone), found)
    for path, message, hint in wrong:
        faults.add(path, message, hint)
    if plan is None or wrong:
        return nothing
    spec = schedule.ScheduleSpec(
        plan=plan,
        when=when,
        by=by,
        table=table,
        schema=schema,
        calendar=calendar,
        zone=zone,
        items=items,
        terms=terms,
    )
    return Body(spec=spec, query=query, columns=columns, by=by, subject=schedule.subject(when, by))


def _plan(when: ScheduleWhen, columns: Mapping[str, str], schema: Schema, faults: Faults) -> tuple[RowPlan | None, str]:
    """The plan as such, also where the table has no row yet."""
    query, begins = schedule.schedule_query(when, {name: DUMMY.get(kind, "") for name, kind in columns.items()})
    try:
        return row_plan(query, schema), query
    except QueryError as e:
        path: KeyPath = ("when", "absent", "where")
        faults.add_query(path if when.absent and when.absent.where else ("when", "absent"), e, begins - 1)
        return None, query


def _calendar(when: ScheduleWhen, calendars: Mapping[str, Calendar] | None, faults: Faults) -> Calendar:
    """The days that do not count. They are no part of a rule's meaning: next year's holidays change nothing that
    fires today.
    """
    said = when.except_
    if isinstance(said, str):
        if said and calendars is not None and said not in calendars:
            faults.add(
                ("when", "except"), f"no calendar is called '{said}'",
                suggest(said, calendars) or "calendars stand in rules/oncall/; or write {country: HU}, {dates: [2026-12-24]}",
            )  # fmt: skip
        return (calendars or {}).get(said, Calendar())
    wrong = list(days_faults(said))
    for path, message, hint in wrong:
        faults.add(("when", "except", *path), message, hint)
    return Calendar() if wrong else days(said)
