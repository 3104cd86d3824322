"""Absence rules by a schedule, from what a file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tocsin.config.calendars.named import days, days_faults
from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.errors import QueryError
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.model.alert import fingerprint
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.statuses import Kind, Severity
from tocsin.rules.language.checks import (  # fmt: skip
    DUMMY,
    MOST_ROWS,
    Faults,
    Schema,
    check_fields,
    check_row_only,
    check_targets,
    check_test_tables,
    check_tests,
    check_texts,
    checked_template,
    checked_templates,
    rule_info,
    table_columns,
)
from tocsin.rules.language.resolve_policy import absence_terms
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.stray_keys import window_only
from tocsin.rules.language.written import Written
from tocsin.rules.limits import limit_of
from tocsin.rules.spec import schedule as schedules
from tocsin.rules.spec.rule import FINAL_AFTER, MAX_EVENT_AGE, Rule

Rows = Callable[[str], Sequence[Mapping[str, object]]]
"""The rows of a reference table by its name."""


def is_schedule(model: RuleModel) -> bool:
    """Whether the rule waits by a schedule."""
    return model.when is not None and model.when.absent is not None


def compile_schedule(written: Written, rows: Rows, calendars: Mapping[str, Calendar] | None = None) -> Rule | None:
    """As ``compile.compile_rule``, for an absence rule by a schedule. ``calendars`` are those with a name; None: not
    known.
    """
    model, schema, faults, said = written.model, written.schema, written.faults, written.said
    when = model.when
    assert when is not None and when.absent is not None
    before = len(written.problems)
    for path in window_only(model):
        faults.add(path, "belongs to a window rule", "one with `query:` and `over:`")
    for path, message, hint in schedules.faults(when):
        faults.add(path, message, hint)
    if model.kind not in (None, Kind.ABSENCE.value):
        faults.add(("kind",), f"is '{model.kind}', but `absent` makes it an absence rule", "write kind: absence")
    check_tests(model.tests, faults)
    check_row_only(model, faults)
    table = model.for_each.table if model.for_each else ""
    columns = table_columns(table, schema, faults)
    calendar = _calendar(when, calendars, faults)
    by = tuple(model.by) or (schedules.columns_of(when, tuple(columns)) if table else ())
    labels, annotations = checked_templates(model, written.defaults, columns, faults)
    keep = tuple(said(lambda m: m.fields, "fields"))
    check_fields(columns, by, keep, labels, faults)
    check_texts(model, written.defaults, {*columns, *by}, faults)
    summary = checked_template(model.summary, ("summary",), None, faults)
    terms = absence_terms(model, said, faults)
    limit = limit_of(model, said, {*columns, *by, *labels}, faults)
    check_targets(said, faults)
    reference = {table: dict(columns)} if table else {}
    check_test_tables(model.tests, reference, faults)
    if len(written.problems) > before:
        return None
    plan, query = _plan(when, columns, schema, faults)
    found: Sequence[Mapping[str, object]] = rows(table)[:MOST_ROWS] if table else ({},)
    items, wrong = schedules.items_of(when, found, by, schema, calendar)
    for path, message, hint in wrong:
        faults.add(path, message, hint)
    if plan is None or len(written.problems) > before:
        return None
    severity = said(lambda m: m.severity, "severity")
    subject = (summary.source if summary else "") or schedules.subject(when, by)
    return Rule(
        name=str(model.name),
        kind=Kind.ABSENCE,
        enabled=said(lambda m: m.enabled, "enabled"),
        severity=Severity.of(severity if isinstance(severity, str) else "warning"),
        query=query,
        row_plan=plan,
        scheduled=schedules.Scheduled(
            when=when,
            by=by,
            table=table,
            schema=schema,
            calendar=calendar,
            items=items,
            terms=terms,
        ),
        limit=limit,
        final=False,
        final_after=FINAL_AFTER,
        max_event_age=said(lambda m: m.max_event_age, "max_event_age") or MAX_EVENT_AGE,
        by=by,
        fields=keep,
        labels=labels,
        info=rule_info(model, said, subject, annotations, condition=True),
        meaning=fingerprint(Kind.ABSENCE, query, when.cron, when.grace, when.timezone, *by),
        renamed_from=model.renamed_from,
        tests=model.tests,
        place=written.place,
        reference=reference,
    )


def _plan(when: When, columns: Mapping[str, str], schema: Schema, faults: Faults) -> tuple[RowPlan | None, str]:
    """The plan as such, also where the table has no row yet."""
    query, begins = schedules.schedule_query(when, {name: DUMMY.get(kind, "") for name, kind in columns.items()})
    try:
        return row_plan(query, schema), query
    except QueryError as e:
        path: KeyPath = ("when", "absent", "where")
        faults.add_query(path if when.absent and when.absent.where else ("when", "absent"), e, begins - 1)
        return None, query


def _calendar(when: When, calendars: Mapping[str, Calendar] | None, faults: Faults) -> Calendar:
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
