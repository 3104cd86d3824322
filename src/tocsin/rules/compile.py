"""From what a file says to rules that can be evaluated; every fault with its file, line, key and what would be right."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tocsin.alerts.conditions import Terms
from tocsin.config.document import Document, KeyPath, suggest
from tocsin.errors import Problem, QueryError
from tocsin.kql.classify import classify
from tocsin.kql.rowplan import RowPlan, row_plan
from tocsin.kql.tokens import tokenize
from tocsin.model.alert import fingerprint
from tocsin.model.columns import TABLES
from tocsin.model.intent import RuleInfo
from tocsin.model.statuses import Kind, Severity
from tocsin.rules import absence, baselines, testevents, testtables
from tocsin.rules.rule import FINAL_AFTER, TELL_WITHIN, Place, Rule
from tocsin.rules.schema import NAME, Common, Defaults, InlineTest, RuleModel, When
from tocsin.rules.templates import TemplateFault, TemplateText, checked
from tocsin.rules.unsupported import stray, unsupported, window_only

V = TypeVar("V")
Schema = Mapping[str, Mapping[str, str]]
Fields = Mapping[str, str] | None

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
EVENT_OUT = frozenset({"Raw"})
"""Columns that an alert does not carry."""


@dataclass(slots=True)
class Faults:
    """Collects the problems of one rule."""

    document: Document
    base: KeyPath
    problems: list[Problem]

    def add(self, path: KeyPath, message: str, hint: str = "") -> None:
        """A problem at ``path`` under the rule."""
        self.problems.append(self.document.problem((*self.base, *path), message, hint))

    def add_query(self, path: KeyPath, error: QueryError, skipped: int = 0) -> None:
        """A problem of a query whose text stands at ``path``, after ``skipped`` lines of ours."""
        full = (*self.base, *path)
        line = error.line - skipped
        text = _text_at(self.document, full)
        lines = text.count("\n") + 1
        if not 1 <= line <= lines:
            message, hint = (
                ("is no whole KQL predicate", "are all its brackets and quotes closed?")
                if skipped
                else (error.message, error.hint)
            )
            self.problems.append(self.document.problem(full, message, hint))
            return
        at = self.document.line(full) + (line if "\n" in text else 0)
        where = f" (line {line}, column {error.column})" if error.column and not skipped else ""
        self.problems.append(
            Problem(
                file=self.document.file, line=at, key=self.document.problem(full, "").key,
                message=error.message + where, hint=error.hint,
            )
        )  # fmt: skip


def compile_rule(
    model: RuleModel, defaults: Defaults, schema: Schema, document: Document, base: KeyPath, problems: list[Problem]
) -> Rule | None:
    """The rule at ``base`` of ``document``, or None where something is wrong; then ``problems`` has grown."""
    faults = Faults(document=document, base=base, problems=problems)
    before = len(problems)
    for path in unsupported(model):
        faults.add(path, "is not supported yet", "leave it out until a later version")
    for path in window_only(model):
        faults.add(path, "belongs to a window rule", "one with `query:` and `over:`")
    check_tests(model.tests, faults)
    said = Said(model, defaults)
    plan, query = _plan(model, schema, faults)
    severity = said(lambda m: m.severity, "severity")
    fields = plan.columns if plan else schema.get("RunStatusChanged") if model.when else None
    labels, annotations = checked_templates(model, defaults, fields, faults)
    by = ("RunId", *(name for name in model.by if name != "RunId"))
    keep = tuple(said(lambda m: m.keep, "keep"))
    check_fields(fields, by, keep, labels, faults)
    summary = checked_template(model.summary, ("summary",), None, faults)
    notify = said(lambda m: m.notify, "notify")
    if notify is not None:
        check_targets(notify.to, faults)
    reference = reference_tables(schema, plan.tables if plan else ())
    if plan is not None:
        check_test_tables(model.tests, reference, faults)
    if len(problems) > before or plan is None:
        return None
    if not isinstance(severity, str):  # by the file's defaults, for its window rules
        severity = "warning"
    waits = absence.absence_of(model.when, Terms(tells_end=model.resolve != "never")) if model.when else None
    kind = Kind.ABSENCE if waits else Kind.ROW
    final = bool(model.when and model.when.final)
    final_after = said(lambda m: m.final_after, "final_after") or FINAL_AFTER
    info = RuleInfo(
        name=model.name,
        version="",
        summary=(summary.source if summary else "") or (absence.subject(waits) if waits else ""),
        description=said(lambda m: m.description, "description"),
        runbook=said(lambda m: m.runbook, "runbook"),
        template=said(lambda m: m.template, "template"),
        owner=said(lambda m: m.owner, "owner"),
        annotations={name: text.source for name, text in annotations.items()},
        notify_to=notify.to if notify else (),
        notify_only=bool(notify and notify.only),
        final=final,
    )
    return Rule(
        name=str(model.name),
        kind=kind,
        enabled=said(lambda m: m.enabled, "enabled"),
        severity=Severity.of(severity),
        query=query,
        row_plan=plan,
        absence=waits,
        final=final,
        final_after=final_after,
        tell_within=said(lambda m: m.tell_within, "tell_within") or TELL_WITHIN,
        by=by,
        keep=keep,
        labels=labels,
        info=versioned(info),
        meaning=meaning(kind, query, by, final=absence.words(waits) if waits else f"{final_after}" if final else ""),
        was=model.was,
        tests=model.tests,
        place=Place(file=document.file, line=document.line((*base, "name"))),
        reference=reference,
    )


def meaning(kind: Kind, query: str, by: Sequence[str], *, final: str) -> str:
    """Hash of what decides which alerts there are. Comments and white space of the query do not count."""
    return fingerprint(kind, "\0".join(t.text for t in tokenize(query)), "\0".join(by), final)


def when_query(when: When) -> tuple[str, int]:
    """``when:`` as KQL, and the line on which the text of ``where:`` begins."""
    lines = ["RunStatusChanged"]
    statuses = absence.watched(when) if absence.form_of(when) else when.status
    if statuses:
        quoted = ", ".join(f"'{status}'" for status in statuses)
        lines.append(f"| where Status {f'in ({quoted})' if len(statuses) > 1 else f'== {quoted}'}")
    after: list[str] = []
    if when.duration is not None and when.duration.below:
        before, after = baselines.below_query(when, lines[-1].removeprefix("| where "))
        lines = [*before, *lines]
    begins = len(lines) + 1
    if when.where:
        lines += ["| where (", when.where, ")"]
        begins += 1
    lines += after
    if when.final:
        lines.append("| where isnull(WillRetry) or WillRetry == false")
    return "\n".join(lines), begins


class Said:
    """What a rule says, else its file's defaults."""

    def __init__(self, model: RuleModel, defaults: Defaults) -> None:
        self._model, self._defaults = model, defaults

    def __call__(self, get: Callable[[Common], V], key: str) -> V:
        return get(self._model if key in self._model.model_fields_set else self._defaults)


def _plan(model: RuleModel, schema: Schema, faults: Faults) -> tuple[RowPlan | None, str]:
    given = [key for key in ("when", "query", "sql") if key in model.model_fields_set]
    if len(given) != 1:
        several = f"has {' and '.join(given)}" if given else "says neither `when:` nor `query:`"
        faults.add((given[1],) if given else (), several, "a rule has one of them")
        return None, ""
    if model.sql:
        return None, ""
    path: KeyPath = ("query",)
    query, begins = model.query, 1
    if model.when is not None:
        if any(path[0] == "when" for path in unsupported(model)):
            return None, ""
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
        query, begins = when_query(model.when)
    elif {"over", "every"} & model.model_fields_set:
        return None, query
    try:
        plan = row_plan(query, schema)
    except QueryError as error:
        _explain_query(model, query, error, schema, path, begins - 1, faults)
        return None, query
    kind = Kind.ABSENCE if model.when and absence.form_of(model.when) else Kind.ROW
    if model.kind not in (None, kind.value):
        faults.add(
            ("kind",), f"is '{model.kind}', but what the rule says makes it {'an' if kind is Kind.ABSENCE else 'a'} {kind} rule",
            f"write kind: {kind}",
        )  # fmt: skip
    return plan, query


def _explain_query(
    model: RuleModel, query: str, error: QueryError, schema: Schema, path: KeyPath, skipped: int, faults: Faults
) -> None:
    """Say of a query that is no row query whether it is a window rule in want of ``over:`` or just wrong."""
    try:
        found = classify(query, schema)
    except QueryError as e:
        faults.add_query(path, e, skipped)
        return
    if found.kind is Kind.ROW or path != ("query",):
        faults.add_query(path, error, skipped)
    elif model.kind == Kind.ROW.value:
        faults.add(
            ("kind",), f"is 'row', but the query is no row query: {found.reason}", "write kind: window, with over:"
        )
    else:
        faults.add(
            ("query",), f"this is a window rule, and it needs `over:`: {found.reason}", "add for example over: 1h"
        )


def checked_templates(
    model: RuleModel, defaults: Defaults, fields: Fields, faults: Faults
) -> tuple[dict[str, TemplateText], dict[str, TemplateText]]:
    """Labels and annotations, over ``fields`` of the rule's rows (None: unknown)."""
    names = None if fields is None else frozenset(fields) - EVENT_OUT
    labels: dict[str, TemplateText] = {}
    for name, source in {**defaults.labels, **model.labels}.items():
        if not LABEL.fullmatch(name):
            faults.add(("labels", name), "is no name for a label", "letters, digits and _")
        text = checked_template(source, ("labels", name), names, faults)
        if text is not None:
            labels[name] = text
    annotations: dict[str, TemplateText] = {}
    for name, source in {**defaults.annotations, **model.annotations}.items():
        text = checked_template(source, ("annotations", name), None, faults)
        if text is not None:
            annotations[name] = text
    return labels, annotations


def checked_template(source: str, path: KeyPath, names: frozenset[str] | None, faults: Faults) -> TemplateText | None:
    """The template at ``path``, None where it is wrong; it may use ``names`` (None: any)."""
    try:
        text, used = checked(source)
    except TemplateFault as e:
        faults.add(path, f"is no template: {e}", "write for example {{ ExperimentName }}")
        return None
    if names is not None and (unknown := sorted(used - names)):
        faults.add(path, f"uses '{unknown[0]}', which the query does not give", suggest(unknown[0], names))
        return None
    return text


def check_fields(fields: Fields, by: Sequence[str], keep: Sequence[str], labels: Iterable[str], faults: Faults) -> None:
    """Whether the rule's rows have what it names."""
    if fields is None:
        return
    for key, listed in (("by", by), ("keep", keep)):
        for name in listed:
            if name in EVENT_OUT:
                faults.add((key,), f"'{name}' is too large to be carried", "take what you need with extend")
            elif name not in fields:
                faults.add((key,), f"'{name}' is no field that the query gives", suggest(name, fields))
    for name in labels:
        if name in keep or name in by:
            faults.add(
                ("labels", name), f"is also a field under {'keep' if name in keep else 'by'}", "call it otherwise"
            )


def check_targets(targets: Sequence[str], faults: Faults) -> None:
    """Receivers and addresses under `notify`."""
    if not targets:
        faults.add(("notify", "to"), "names nobody", "give a receiver's name or an address")
    for i, target in enumerate(targets):
        if not (ADDRESS if "@" in target else re.compile(NAME)).fullmatch(target):
            faults.add(("notify", "to", i), f"'{target}' is neither a receiver's name nor an address")


def check_tests(tests: Sequence[InlineTest], faults: Faults) -> None:
    """Events of inline tests."""
    for i, test in enumerate(tests):
        for j, event in enumerate(test.events):
            for column, message, hint in testevents.faults(event):
                faults.add(("tests", i, "events", j, column), message, hint)


def check_test_tables(tests: Sequence[InlineTest], reference: Schema, faults: Faults) -> None:
    """Tables of inline tests against those that the rule reads."""
    for i, test in enumerate(tests):
        for path, message, hint in testtables.faults(test.tables, reference):
            faults.add(("tests", i, "tables", *path), message, hint)


def reference_tables(schema: Schema, names: Iterable[str]) -> Schema:
    """The user's own among the tables called ``names``."""
    return {name: schema[name] for name in sorted(names) if name in schema and name not in TABLES}


def versioned(info: RuleInfo) -> RuleInfo:
    """``info`` with the hash of all it says as its version."""
    parts = [repr(getattr(info, f.name)) for f in dataclasses.fields(info) if f.name != "version"]
    return replace(info, version=fingerprint(*parts))


def _text_at(document: Document, path: KeyPath) -> str:
    data: object = document.data
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, Sequence) and isinstance(part, int) and part < len(data):
            data = data[part]
    return data if isinstance(data, str) else ""


def once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Without what pydantic says twice: the second fault of one key, and of a list the faults of whose items are named."""
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
