"""Window rules from what a file says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from tocsin.alerts.conditions import ZERO, NoData, Terms
from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import QueryError
from tocsin.kql.bind.sqlcheck import check_sql
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.windowplan import CONDITION, Row, WindowQuery, condition_fault, sql_query, window_query
from tocsin.metrics.table import label_fault, name_fault
from tocsin.model.intent import SUMMARY_WORDS
from tocsin.model.statuses import Severity
from tocsin.rules.kinds.base import Body, of_model
from tocsin.rules.kinds.window.keys import WindowModel
from tocsin.rules.kinds.window.spec import Life, WindowSpec
from tocsin.rules.language.checks import Faults, Said, Schema
from tocsin.rules.language.resolve_policy import closes_after, repeats
from tocsin.rules.language.written import Head, Written

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


def compile_window(written: Written, head: Head) -> Body:
    """As ``Kind.compile``."""
    model, schema, faults, said = of_model(written.model, WindowModel), written.schema, written.faults, written.said
    before = len(written.problems)
    row = _beside(written) if model.sql else None
    over, every = _over(model, faults), model.every or EVERY
    if every < timedelta(seconds=1):
        faults.add(("every",), "is shorter than a second", "write for example every: 1m")
    _check_export(model, faults)
    terms = _terms(model, said, faults)
    made, severities = _conditions(model, said, faults)
    limited = said(lambda m: m.limit, "limit")
    per = {name for name in (limited.per if limited else ()) if name not in head.labels}
    carried = head.carried(model.by).union(per, [model.value] if model.value else ())
    query: WindowQuery | None = None
    columns: Mapping[str, str] | None = None
    if len(written.problems) == before:
        query = _query(model, schema, row, made, carried.union(_OFTEN, head.names))
    named = head.names - {*head.labels, *SUMMARY_WORDS}
    if (
        query is None
        or not carried | named <= query.columns.keys()
        or (model.value and not _counts(query, model.value))
    ):
        columns = _columns(model, schema, row, faults)
        for name, condition in made.items():
            _check_condition(_path_of(name), condition, columns, faults)
        _check_value(model, columns, faults)
        fits = columns is not None and carried <= columns.keys()  # else that is said, not what follows from it
        query = _query(model, schema, row, made, None, faults) if fits and len(written.problems) == before else None
    spec = None
    if query is not None and over is not None:
        spec = WindowSpec(
            query=query,
            over=over,
            every=every,
            lateness=model.lateness or ZERO,
            terms=terms,
            severities=severities,
            clear=CLEAR if CLEAR in made else "",
            condition=model.condition,
            value=model.value,
            export=model.export.metric if model.export else "",
            beside=frozenset(_OFTEN) - {*model.by, *head.fields, model.value},
            max_instances=said(lambda m: m.max_instances, "max_instances") or MOST_INSTANCES,
            made=tuple(made.items()),
        )
    return Body(
        spec=spec,
        query=model.query or model.sql,
        columns=columns if query is None else query.columns,
        by=tuple(model.by),
        severity=min((level for level, _ in severities), default=None),
        sql=bool(model.sql),
    )


def _beside(written: Written) -> Row | None:
    """The table's row as SQL is given it: what is not there is '' or NULL."""
    row, columns = written.row, written.columns
    if row is None:
        return None
    values = ("" if kind == "string" and row.get(name) is None else row.get(name) for name, kind in columns.items())
    return Row(columns=dict(columns), values=tuple(v.isoformat(" ") if isinstance(v, datetime) else v for v in values))


def resolves_when(model: WindowModel, faults: Faults) -> str:
    """The condition on which a firing instance of a window rule resolves; '' where it resolves when it no longer
    fires.
    """
    if model.resolve is None:
        return ""
    if not isinstance(model.resolve.when, str):
        faults.add(
            ("resolve", "when"),
            "belongs to an event rule",
            'a window rule has a condition: resolve: {when: "rate < 0.1"}',
        )
        return ""
    if not model.condition:
        faults.add(
            ("resolve", "when"), "needs `condition:`: a row that the query cut cannot be asked",
            'write the last where as condition: "rate > 0.2"',
        )  # fmt: skip
    return model.resolve.when


def _over(model: WindowModel, faults: Faults) -> timedelta | Life | None:
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


def _terms(model: WindowModel, said: Said, faults: Faults) -> Terms:
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


def _columns(model: WindowModel, schema: Schema, row: Row | None, faults: Faults) -> Mapping[str, str] | None:
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
    model: WindowModel, said: Said, faults: Faults
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


def _check_value(model: WindowModel, columns: Mapping[str, str] | None, faults: Faults) -> None:
    if not model.value or columns is None:
        return
    if model.value not in columns:
        faults.add(("value",), f"'{model.value}' is no field that the query gives", suggest(model.value, columns))
    elif columns[model.value] not in _NUMBERS:
        faults.add(("value",), f"'{model.value}' is a {columns[model.value]}, no number", "name a column of numbers")


def _check_export(model: WindowModel, faults: Faults) -> None:
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
    model: WindowModel,
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
