"""Window rules from what a file says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta

from tocsin.alerts.conditions import ZERO, NoData, Terms
from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import QueryError
from tocsin.kql.bind.sqlcheck import check_sql
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.windowplan import CONDITION, Row, WindowQuery, condition_fault, sql_query, window_query
from tocsin.metrics.exports import label_fault, name_fault
from tocsin.model.alert import fingerprint
from tocsin.model.intent import SUMMARY_WORDS
from tocsin.model.statuses import Kind, Severity
from tocsin.rules.compile.rule import meaning
from tocsin.rules.language.checks import (  # fmt: skip
    Faults,
    Said,
    Schema,
    check_fields,
    check_row_only,
    check_targets,
    check_test_tables,
    check_tests,
    check_texts,
    checked_template,
    checked_templates,
    reference_tables,
    rule_info,
)
from tocsin.rules.language.resolve_policy import closes_after, repeats, resolves_when
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Written
from tocsin.rules.limits import limit_of
from tocsin.rules.spec.rule import FINAL_AFTER, MAX_EVENT_AGE, Life, Rule, Window

EVERY = timedelta(minutes=1)
"""How often a window is evaluated where the rule does not say."""
MOST_INSTANCES = 1000
LONGEST_OVER = timedelta(days=400)

_OFTEN = ("RunId", "RootRunId", "ExperimentName", "DisplayName", "Status", "Message", "Target", "OwnerEmail", "Url")
"""Columns that mails show where a row has them."""
CLEAR = "tocsin_clear"
_SEVERITY = "tocsin_severity_{}"
_COMPARES = re.compile(r"\s*(<=|>=|<|>|==|!=)")
_NUMBERS = frozenset({"int", "long", "real", "decimal"})


def is_window(model: RuleModel) -> bool:
    """Whether the rule is written as a window rule."""
    return model.when is None and (bool(model.sql) or "over" in model.model_fields_set)


def compile_window(written: Written, row: Row | None = None) -> Rule | None:
    """As ``compile.compile_rule``, for a window rule. ``row``: the one that its SQL is about."""
    model, schema, faults, said = written.model, written.schema, written.faults, written.said
    before = len(written.problems)
    check_tests(model.tests, faults)
    check_row_only(model, faults)
    if model.kind not in (None, Kind.WINDOW.value):
        faults.add(("kind",), f"is '{model.kind}', but `over:` makes it a window rule", "write kind: window")
    if "final_after" in model.model_fields_set:
        faults.add(("final_after",), "belongs to an event rule", "leave it out")
    over, every = _over(model, faults), model.every or EVERY
    if every < timedelta(seconds=1):
        faults.add(("every",), "is shorter than a second", "write for example every: 1m")
    lateness = model.lateness or ZERO
    _check_export(model, faults)
    terms = _terms(model, said, faults)
    made, severities = _conditions(model, said, faults)
    labels, annotations = checked_templates(model, written.defaults, None, faults)
    keep = tuple(said(lambda m: m.fields, "fields"))
    summary = checked_template(model.summary, ("summary",), None, faults)
    check_targets(said, faults)
    query: WindowQuery | None = None
    texts = [*labels.values(), *annotations.values(), *([summary] if summary else [])]
    limited = said(lambda m: m.limit, "limit")
    per = {name for name in (limited.per if limited else ()) if name not in labels}
    carried = {*model.by, *keep, *per, *([model.value] if model.value else ())}.union(
        *(t.names for t in labels.values())
    )
    if len(written.problems) == before:
        query = _query(model, schema, row, made, carried.union(_OFTEN, *(text.names for text in texts)))
    named = frozenset().union(*(text.names for text in texts)) - {*labels, *SUMMARY_WORDS}
    if (
        query is None
        or not carried | named <= query.columns.keys()
        or (model.value and not _counts(query, model.value))
    ):
        columns = _columns(model, schema, row, faults)
        for name, condition in made.items():
            _check_condition(_path_of(name), condition, columns, faults)
        checked_templates(model, written.defaults, columns, faults)
        check_fields(columns, model.by, keep, labels, faults)
        check_texts(model, written.defaults, columns, faults)
        _check_value(model, columns, faults)
        if len(written.problems) == before:
            query = _query(model, schema, row, made, None, faults)
    else:
        check_fields(query.columns, model.by, keep, labels, faults)
        check_texts(model, written.defaults, query.columns, faults)
    known = query.columns if query is not None else _columns(model, schema, row, faults) if limited else None
    limit = limit_of(model, said, None if known is None else {*known, *labels}, faults)
    reference = reference_tables(schema, query.tables if query else ())
    if query is not None:
        check_test_tables(model.tests, reference, faults)
    if query is None or over is None or len(written.problems) > before:
        return None
    severity = said(lambda m: m.severity, "severity")
    subject = summary.source if summary else ""
    text = model.query or model.sql
    return Rule(
        name=str(model.name),
        kind=Kind.WINDOW,
        enabled=said(lambda m: m.enabled, "enabled"),
        severity=Severity.of(severity) if isinstance(severity, str) else min(level for level, _ in severities),
        query=text,
        row_plan=None,
        window=Window(
            query=query,
            over=over,
            every=every,
            lateness=lateness,
            terms=terms,
            severities=severities,
            clear=CLEAR if CLEAR in made else "",
            condition=model.condition,
            value=model.value,
            export=model.export.metric if model.export else "",
            beside=frozenset(_OFTEN) - {*model.by, *keep, model.value},
            max_instances=said(lambda m: m.max_instances, "max_instances") or MOST_INSTANCES,
        ),
        limit=limit,
        final=False,
        final_after=FINAL_AFTER,
        max_event_age=said(lambda m: m.max_event_age, "max_event_age") or MAX_EVENT_AGE,
        by=tuple(model.by),
        fields=keep,
        labels=labels,
        info=rule_info(model, said, subject, annotations, condition=True),
        meaning=_meaning(model, text, over, every, lateness, terms, made),
        renamed_from=model.renamed_from,
        tests=model.tests,
        place=written.place,
        reference=reference,
    )


def _meaning(
    model: RuleModel,
    text: str,
    over: timedelta | Life,
    every: timedelta,
    lateness: timedelta,
    terms: Terms,
    made: Mapping[str, str],
) -> str:
    """Hash of what decides which instances fire. How often they are notified, and by which words, does not count."""
    lives = (terms.hold, terms.n_of_m, terms.keep_firing, terms.no_data)
    if model.sql:
        return fingerprint(Kind.WINDOW, text, "\0".join(model.by), repr((over, every, lateness, lives, dict(made))))
    return meaning(Kind.WINDOW, text, model.by, final=repr((over, every, lateness, lives, dict(made))))


def _over(model: RuleModel, faults: Faults) -> timedelta | Life | None:
    if not model.over:
        faults.add(("sql",), "makes a window rule, and it needs `over:`", "add for example over: 1h")
        return None
    if model.over in (Life.RUN.value, Life.ROOT.value):
        return Life(model.over)
    try:
        over = parse_duration(model.over)
    except ValueError as e:
        faults.add(("over",), str(e), "write a duration such as 1h, or run, or root")
        return None
    if not ZERO < over <= LONGEST_OVER:
        faults.add(("over",), f"'{model.over}' is no span that is kept", "between 1s and 400d")
        return None
    return over


def _terms(model: RuleModel, said: Said, faults: Faults) -> Terms:
    close, repeat = closes_after(model, faults), repeats(model, said, faults)
    severity = said(lambda m: m.severity, "severity")
    return Terms(
        hold=model.for_ if isinstance(model.for_, timedelta) else ZERO,
        n_of_m=model.for_ if isinstance(model.for_, tuple) else None,
        keep_firing=model.keep_firing_for or ZERO,
        no_data=NoData(said(lambda m: m.no_data, "no_data") or NoData.KEEP),
        repeat=repeat,
        close_after=close,
        send_resolved=model.send_resolved,
        climbs=not isinstance(severity, str),
    )


def _columns(model: RuleModel, schema: Schema, row: Row | None, faults: Faults) -> Mapping[str, str] | None:
    """Columns that the query gives, None where it is wrong."""
    given = [key for key in ("query", "sql") if key in model.model_fields_set]
    if len(given) != 1:
        faults.add((given[1],) if given else (), "a window rule has `query:` or `sql:`", "write one of them")
        return None
    try:
        if model.sql:
            return check_sql(model.sql, schema, row.columns if row else None).columns
        return translate(model.query, schema).columns
    except QueryError as e:
        faults.add_query((given[0],), e)
        return None


def _conditions(
    model: RuleModel, said: Said, faults: Faults
) -> tuple[dict[str, str], tuple[tuple[Severity, str], ...]]:
    """Conditions over the output: column name → KQL; and those of the severities, worst first."""
    made: dict[str, str] = {}
    if model.condition:
        made[CONDITION] = model.condition
        _check_form(("condition",), model.condition, faults)
    if clear := resolves_when(model, faults):
        made[CLEAR] = clear
        _check_form(("resolve", "when"), clear, faults)
    severity = said(lambda m: m.severity, "severity")
    levels: list[tuple[Severity, str]] = []
    if not isinstance(severity, str):
        if not severity:
            faults.add(("severity",), "names no severity", 'write for example {warning: "> 500"}')
        for word, condition in severity.items():
            level, path = Severity.of(word), ("severity", word)
            name = _SEVERITY.format(int(level))
            if _COMPARES.match(condition):
                if not model.value:
                    faults.add(path, f"'{condition}' compares the value, but there is no `value:`", "name it: value: …")
                    continue
                condition = f"{model.value} {condition.strip()}"
            made[name] = condition
            levels.append((level, name))
            _check_form(path, condition, faults)
    return made, tuple(sorted(levels))


def _check_form(path: KeyPath, condition: str, faults: Faults) -> None:
    if fault := condition_fault(condition):
        faults.add(path, fault, 'write for example "rate < 0.1"')


def _path_of(name: str) -> KeyPath:
    """Where the condition that became the column ``name`` stands."""
    if name == CONDITION:
        return ("condition",)
    return ("resolve", "when") if name == CLEAR else ("severity", Severity(int(name.rpartition("_")[2])).word)


def _counts(query: WindowQuery, value: str) -> bool:
    return query.columns[value] in _NUMBERS


def _check_condition(path: KeyPath, condition: str, columns: Mapping[str, str] | None, faults: Faults) -> None:
    if columns is None or condition_fault(condition):
        return
    schema = {"tocsin_result": dict(columns)}
    try:
        translate(f"tocsin_result | where (\n{condition}\n)", schema)
        translation = translate(f"tocsin_result | project x = (\n{condition}\n)", schema)
    except QueryError as e:
        hint = e.hint or 'write for example "rate < 0.1"'
        faults.add_query(path, QueryError(f"is no condition: {e.message}", line=e.line, column=e.column, hint=hint), 1)
        return
    if translation.columns.get("x") != "bool":
        faults.add(path, "is no condition: it is neither true nor false", 'write for example "rate < 0.1"')


def _check_value(model: RuleModel, columns: Mapping[str, str] | None, faults: Faults) -> None:
    if not model.value or columns is None:
        return
    if model.value not in columns:
        faults.add(("value",), f"'{model.value}' is no field that the query gives", suggest(model.value, columns))
    elif columns[model.value] not in _NUMBERS:
        faults.add(("value",), f"'{model.value}' is a {columns[model.value]}, no number", "name a column of numbers")


def _check_export(model: RuleModel, faults: Faults) -> None:
    if model.export is None:
        return
    message, hint = name_fault(model.export.metric)
    if message:
        faults.add(("export", "metric"), message, hint)
    if not model.value:
        faults.add(("export",), "there is no `value:` to export", "name it: value: …")
    for name in model.by:
        if fault := label_fault(name, model.by):
            faults.add(("by",), f"{fault} of the metric", "give it another name with extend")


def _query(
    model: RuleModel,
    schema: Schema,
    row: Row | None,
    made: Mapping[str, str],
    needs: Collection[str] | None,
    faults: Faults | None = None,
) -> WindowQuery | None:
    """The compiled query; None where it is wrong, which ``faults``, where given, are notified."""
    try:
        if model.sql:
            return sql_query(model.sql, schema, by=model.by, made=made, row=row)
        if model.query:
            # A rule that is off shares with nobody; those of a table are filled in as constants.
            shared = model.enabled or row is not None
            return window_query(model.query, schema, by=model.by, made=made, needs=needs, shared=shared)
    except QueryError as e:
        if faults is not None:
            faults.add_query(("sql",) if model.sql else ("query",), e)
    return None
