"""From what a file says to rules that can be evaluated; every fault with its file, line, key and what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tocsin.config.yaml.document import KeyPath
from tocsin.errors import Problem, QueryError
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.kql.tokens import tokenize
from tocsin.model.alert import fingerprint
from tocsin.model.columns import RUNS
from tocsin.model.statuses import Kind, Severity
from tocsin.rules.language.checks import (  # fmt: skip
    EVENT,
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
from tocsin.rules.language.resolve_policy import absence_terms, event_resolve_policy
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.stray_keys import stray, window_only
from tocsin.rules.language.written import Written
from tocsin.rules.limits import limit_of
from tocsin.rules.spec import baseline as baselines
from tocsin.rules.spec import deadline as absence
from tocsin.rules.spec.collapse import Collapsed, collapsed
from tocsin.rules.spec.collapse import faults as collapse_faults
from tocsin.rules.spec.rule import FINAL_AFTER, MAX_EVENT_AGE, Rule


def compile_rule(written: Written, *, carries: str = "") -> Rule | None:
    """The rule, or None where something is wrong. ``carries`` is KQL after the query of its `when:`."""
    model, schema, faults, said = written.model, written.schema, written.faults, written.said
    before = len(written.problems)
    for path in window_only(model):
        faults.add(path, "belongs to a window rule", "one with `query:` and `over:`")
    check_tests(model.tests, faults)
    plan, query = _plan(model, schema, faults, carries)
    severity = said(lambda m: m.severity, "severity")
    fields = plan.columns if plan else schema.get("RunStatusChanged") if model.when else None
    labels, annotations = checked_templates(model, written.defaults, fields, faults)
    by = ("RunId", *(name for name in model.by if name != "RunId"))
    keep = tuple(said(lambda m: m.fields, "fields"))
    check_fields(fields, by, keep, labels, faults)
    summary = checked_template(model.summary, ("summary",), None, faults)
    waits = _absence(model, said, faults)
    known = None if fields is None else {*fields, *EVENT, *(column.name for column in RUNS if waits)}
    check_texts(model, written.defaults, known, faults)
    collapse = _collapse(model, faults)
    resolve_policy = None if waits else event_resolve_policy(model, said, plan, faults)
    names = None if fields is None else {*fields, *labels}
    limit = limit_of(model, said, names, faults)
    check_targets(said, faults)
    reference = reference_tables(schema, plan.tables if plan else ())
    if plan is not None:
        check_test_tables(model.tests, reference, faults)
    if len(written.problems) > before or plan is None:
        return None
    if not isinstance(severity, str):  # by the file's defaults, for its window rules
        severity = "warning"
    kind = Kind.ABSENCE if waits else Kind.EVENT
    final = bool(model.when and model.when.final)
    final_after = said(lambda m: m.final_after, "final_after") or FINAL_AFTER
    subject = (summary.source if summary else "") or (
        absence.subject(model.when, waits.length) if waits and model.when else ""
    )
    return Rule(
        name=str(model.name),
        kind=kind,
        enabled=said(lambda m: m.enabled, "enabled"),
        severity=Severity.of(severity),
        query=query,
        row_plan=plan,
        absence=waits,
        below=baselines.below(model.when) if model.when else None,
        collapse=collapse,
        resolve_policy=resolve_policy,
        limit=limit,
        final=final,
        final_after=final_after,
        max_event_age=said(lambda m: m.max_event_age, "max_event_age") or MAX_EVENT_AGE,
        by=by,
        fields=keep,
        labels=labels,
        info=rule_info(
            model,
            said,
            subject,
            annotations,
            final=final,
            condition=waits is not None or (resolve_policy is not None and resolve_policy.recovers),
            ends_itself=resolve_policy is not None,
        ),
        meaning=meaning(
            kind,
            query,
            by,
            final=absence.words(waits) if waits else f"{final_after}" if final else "",
            more=" ".join(
                filter(None, [collapse.words if collapse else "", resolve_policy.words if resolve_policy else ""])
            ),
        ),
        renamed_from=model.renamed_from,
        tests=model.tests,
        place=written.place,
        reference=reference,
    )


def _absence(model: RuleModel, said: Said, faults: Faults) -> absence.Absence | None:
    """What the rule waits for; None for an event rule."""
    if model.when is None or absence.form_of(model.when) is None:
        return None
    return absence.absence_of(model.when, absence_terms(model, said, faults))


def _collapse(model: RuleModel, faults: Faults) -> Collapsed | None:
    """Which runs stand for others; None where each stands for itself."""
    if model.collapse is None:
        return None
    if model.when is not None and absence.form_of(model.when) is not None:
        check_row_only(model, faults)
        return None
    wrong = list(collapse_faults(model.collapse))
    for path, message, hint in wrong:
        faults.add(path, message, hint)
    return None if wrong else collapsed(model.collapse)


def meaning(kind: Kind, query: str, by: Sequence[str], *, final: str, more: str = "") -> str:
    """Hash of what decides which alerts there are. Comments and white space of the query do not count."""
    text = "\0".join(t.text for t in tokenize(query))
    return fingerprint(kind, text, "\0".join(by), final, *([more] if more else []))


def when_query(when: When, *, compared: bool = True) -> tuple[str, int]:
    """``when:`` as KQL, and the line on which the text of ``where:`` begins. Without what runs are compared with,
    where that is to be
    done for many at once (``sooner``).
    """
    lines = ["RunStatusChanged"]
    statuses = absence.watched(when) if absence.form_of(when) else when.status
    if statuses:
        quoted = ", ".join(f"'{status}'" for status in statuses)
        lines.append(f"| where Status {f'in ({quoted})' if len(statuses) > 1 else f'== {quoted}'}")
    after: list[str] = []
    if when.duration is not None and when.duration.below:
        before, after = baselines.below_query(when, lines[-1].removeprefix("| where "))
        lines = [*before, *lines] if compared else lines
        after = after if compared else list(baselines.UNCOMPARED)
    begins = len(lines) + 1
    if when.where:
        lines += ["| where (", when.where, ")"]
        begins += 1
    lines += after
    if when.final:
        lines.append("| where isnull(WillRetry) or WillRetry == false")
    return "\n".join(lines), begins


def _plan(model: RuleModel, schema: Schema, faults: Faults, carries: str) -> tuple[RowPlan | None, str]:
    given = [key for key in ("when", "query", "sql") if key in model.model_fields_set]
    if len(given) != 1:
        several = f"has {' and '.join(given)}" if given else "says neither `when:` nor `query:`"
        faults.add((given[1],) if given else (), several, "a rule has one of them")
        return None, ""
    if model.sql:
        return None, ""
    path: KeyPath = ("query",)
    query, begins = model.query, 1
    asked = query
    if model.when is not None:
        for stray_path, beside in stray(model.when):
            faults.add(stray_path, f"goes with {beside}", "leave it out")
        past = list(baselines.faults(model.when)) if model.when.duration is not None else []
        for below, message, hint in past:
            faults.add(below, message, hint)
        if past:
            return None, ""
        waits = absence.form_of(model.when) is not None
        if waits:
            for below, message, hint in absence.faults(model.when):
                faults.add(below, message, hint)
        elif model.when.for_ is not None:
            faults.add(("when", "for"), "stands without `unchanged`", "write unchanged: Progress beside it")
        elif not model.when.status and not model.when.where:
            faults.add(("when",), "would match every event", "say which `status:` or `where:`")
            return None, ""
        path = ("when", "where") if model.when.where else ("when",)
        query = when_query(model.when)[0] + carries
        asked, begins = when_query(model.when, compared=False)
        asked += carries
    elif {"over", "every"} & model.model_fields_set:
        return None, query
    try:
        plan = row_plan(asked, schema)
    except QueryError as error:
        _explain_query(model, asked, error, schema, path, begins - 1, faults)
        return None, query
    kind = Kind.ABSENCE if model.when and absence.form_of(model.when) else Kind.EVENT
    if model.kind not in (None, kind.value):
        faults.add(
            ("kind",), f"is '{model.kind}', but what the rule says makes it {'an' if kind is Kind.ABSENCE else 'a'} {kind} rule",
            f"write kind: {kind}",
        )  # fmt: skip
    return plan, query


def _explain_query(
    model: RuleModel, query: str, error: QueryError, schema: Schema, path: KeyPath, skipped: int, faults: Faults
) -> None:
    """Say of a query that is no event query whether it is a window rule in want of ``over:`` or just wrong."""
    try:
        found = classify(query, schema)
    except QueryError as e:
        faults.add_query(path, e, skipped)
        return
    if found.kind is Kind.EVENT or path != ("query",):
        faults.add_query(path, error, skipped)
    elif model.kind == Kind.EVENT.value:
        faults.add(
            ("kind",), f"is 'event', but the query is no event query: {found.reason}", "write kind: window, with over:"
        )
    else:
        faults.add(
            ("query",), f"this is a window rule, and it needs `over:`: {found.reason}", "add for example over: 1h"
        )


def once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Without what pydantic says twice: the second fault of one key, and of a list the faults of whose items are
    named.
    """
    seen: set[tuple[int, str]] = set()
    listed = list(problems)
    deeper = {(p.line, p.key) for p in listed}
    for problem in listed:
        place = (problem.line, problem.key)
        shadow = "at least 1 item after validation" in problem.message and any(
            key.startswith(problem.key + "[") for _, key in deeper
        )
        if place not in seen and not shadow:
            seen.add(place)
            yield problem
