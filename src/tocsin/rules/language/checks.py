"""What rules of every kind say in the same way: who is notified, in which words, with which fields. Every fault with
its place.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tocsin.config.yaml.document import Document, KeyPath, suggest
from tocsin.errors import Problem, QueryError
from tocsin.model.alert import fingerprint
from tocsin.model.columns import RUN_STATUS_CHANGED, TABLES
from tocsin.model.intent import AUTO_CLOSE, SUMMARY_WORDS, RuleInfo
from tocsin.rules.language import test_events as testevents
from tocsin.rules.language import test_tables as testtables
from tocsin.rules.language.schema import NAME, Common, Defaults, InlineTest, RuleModel
from tocsin.rules.language.templates import TemplateFault, TemplateText, checked

V = TypeVar("V")
Schema = Mapping[str, Mapping[str, str]]

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
MOST_ROWS = 10_000
"""Rows of a table that `for_each` goes over."""
DUMMY: Mapping[str, object] = {"string": "", "long": 0, "int": 0, "real": 0.0, "bool": False}
"""A value of each type, for a table without rows."""
EVENT = frozenset(c.name for c in RUN_STATUS_CHANGED)
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
        self.problems.append(self.document.problem((*self.base, *path), message, hint, warning=self._off))

    def add_query(self, path: KeyPath, error: QueryError, skipped: int = 0) -> None:
        """A problem of a query whose text stands at ``path``, after ``skipped`` lines of ours."""
        full = (*self.base, *path)
        line = error.line - skipped
        text = _text_at(self.document, full)
        if not 1 <= line <= text.count("\n") + 1:
            outside = bool(skipped and error.line)  # it stumbles over what we put after the text
            message, hint = (
                ("is no whole KQL predicate", "are all its brackets and quotes closed?")
                if outside
                else (error.message, error.hint)
            )
            self.add(path, message, hint)
            return
        at, column = self.document.place(full, text, line, error.column)
        problem = self.document.problem(full, error.message, error.hint, warning=self._off)
        self.problems.append(replace(problem, line=at, column=column))

    @property
    def _off(self) -> bool:
        """Whether the rule is switched off, by itself or its file: an imported one may wait for its tables, or for a
        translation.
        """
        said = _value_at(self.document, (*self.base, "enabled"))
        if said is None:
            said = _value_at(self.document, ("defaults", "enabled"))
        return str(said).lower() == "false"


class Said:
    """What a rule says, else its file's defaults."""

    def __init__(self, model: RuleModel, defaults: Defaults) -> None:
        self._model, self._defaults = model, defaults

    def __call__(self, get: Callable[[Common], V], key: str) -> V:
        return get(self._model if key in self._model.model_fields_set else self._defaults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What rules of every kind say in the same way."""

    labels: Mapping[str, TemplateText]
    annotations: Mapping[str, TemplateText]
    fields: tuple[str, ...]
    summary: str  # '' where the rule has none

    @staticmethod
    def of(model: RuleModel, defaults: Defaults, faults: Faults) -> Head:
        """What ``model`` says, as far as it is right."""
        labels = templates(model.labels, defaults.labels, "labels", faults)
        for name in labels:
            if not LABEL.fullmatch(name):
                faults.add(("labels", name), "is no name for a label", "letters, digits and _")
        summary = checked_template(model.summary, ("summary",), faults)
        return Head(
            labels=labels,
            annotations=templates(model.annotations, defaults.annotations, "annotations", faults),
            fields=tuple(Said(model, defaults)(lambda m: m.fields, "fields")),
            summary=summary.source if summary else "",
        )

    @property
    def names(self) -> frozenset[str]:
        """What its texts take from a row."""
        texts = (*self.labels.values(), *self.annotations.values(), TemplateText(self.summary))
        return frozenset().union(*(text.names for text in texts))

    def carried(self, by: Iterable[str]) -> frozenset[str]:
        """Columns that the rule's rows must have for its alerts."""
        return frozenset((*by, *self.fields)).union(*(text.names for text in self.labels.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How the alerts of a rule end, for those who are notified."""

    condition: bool = True  # they resolve; else they are active until superseded or closed
    itself: bool = False  # the rule closes its event alerts
    final: bool = False  # only the last attempt counts


def rule_info(model: RuleModel, said: Said, head: Head, subject: str, ends: Ends) -> RuleInfo:
    """What mails say of the rule, with the hash of all of it as its version."""
    notify = said(lambda m: m.notify, "notify")
    info = RuleInfo(
        name=model.name,
        version="",
        summary=head.summary or subject,
        description=said(lambda m: m.description, "description"),
        runbook=said(lambda m: m.runbook, "runbook"),
        template=said(lambda m: m.template, "template"),
        owner=said(lambda m: m.owner, "owner"),
        annotations={name: text.source for name, text in head.annotations.items()},
        notify_to=notify.to if notify else (),
        notify_only=bool(notify and notify.only),
        final=ends.final,
        condition=ends.condition,
        repeats=said(lambda m: m.repeat_every, "repeat_every") is not None,
        auto_close=0.0 if ends.itself else AUTO_CLOSE,
    )
    parts = [repr(getattr(info, f.name)) for f in dataclasses.fields(info) if f.name != "version"]
    return replace(info, version=fingerprint(*parts))


def templates(own: Mapping[str, str], defaults: Mapping[str, str], key: str, faults: Faults) -> dict[str, TemplateText]:
    """The templates under ``key`` that are none the worse for their form."""
    found: dict[str, TemplateText] = {}
    for name, source in {**defaults, **own}.items():
        text = checked_template(source, (key, name), faults)
        if text is not None:
            found[name] = text
    return found


def checked_template(source: str, path: KeyPath, faults: Faults) -> TemplateText | None:
    """The template at ``path``, None where it is wrong."""
    try:
        return checked(source)[0]
    except TemplateFault as e:
        faults.add(path, f"is no template: {e}", "write for example {{ ExperimentName }}")
        return None


def check_texts(model: RuleModel, defaults: Defaults, fields: Iterable[str] | None, faults: Faults) -> None:
    """Whether `summary` and `annotations` name what their mails will know: ``fields``, labels, and words of tocsin's."""
    if fields is None:  # the query is wrong
        return
    names = frozenset((*fields, *model.by, *defaults.labels, *model.labels, *SUMMARY_WORDS)) - EVENT_OUT
    texts: dict[KeyPath, str] = {
        ("annotations", k): v for k, v in {**defaults.annotations, **model.annotations}.items()
    }
    for path, source in (("summary",), model.summary), *texts.items():
        try:
            unknown = checked(source)[1] - names
        except TemplateFault:
            continue  # is a fault already
        for name in sorted(unknown):
            faults.add(path, f"uses '{name}', which no mail of this rule knows", suggest(name, names))


def check_fields(fields: Mapping[str, str], by: Sequence[str], head: Head, faults: Faults) -> None:
    """Whether the rule's rows have what it names."""
    names = frozenset(fields) - EVENT_OUT
    for label, text in head.labels.items():
        for name in sorted(text.names - names):
            faults.add(("labels", label), f"uses '{name}', which the query does not give", suggest(name, names))
    for key, listed in (("by", by), ("fields", head.fields)):
        for name in listed:
            if name in EVENT_OUT:
                faults.add((key,), f"'{name}' is too large to be carried", "take what you need with extend")
            elif name not in fields:
                faults.add((key,), f"'{name}' is no field that the query gives", suggest(name, fields))
    for name in head.labels:
        if name in head.fields or name in by:
            where = "fields" if name in head.fields else "by"
            faults.add(("labels", name), f"is also a field under {where}", "call it otherwise")


def check_targets(said: Said, faults: Faults) -> None:
    """Receivers and addresses under `notify`."""
    notify = said(lambda m: m.notify, "notify")
    if notify is None:
        return
    if not notify.to:
        faults.add(("notify", "to"), "names nobody", "give a receiver's name or an address")
    for i, target in enumerate(notify.to):
        if not (ADDRESS if "@" in target else re.compile(NAME)).fullmatch(target):
            faults.add(("notify", "to", i), f"'{target}' is neither a receiver's name nor an address")


def table_columns(table: str, schema: Schema, faults: Faults) -> Mapping[str, str]:
    """Columns of the table that `for_each` goes over, {} where it is none or there is none."""
    if not table:
        return {}
    if table not in schema:
        faults.add(("for_each", "table"), f"there is no table '{table}'", suggest(table, schema) or "put it in tables/")
        return {}
    for name in schema[table]:
        if name in EVENT:
            faults.add(
                ("for_each", "table"), f"its column '{name}' is also a column of events",
                f"call it otherwise, so that where: can compare the two: {name} == {name.lower()}_",
            )  # fmt: skip
    return schema[table]


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


def _text_at(document: Document, path: KeyPath) -> str:
    data = _value_at(document, path)
    return data if isinstance(data, str) else ""


def _value_at(document: Document, path: KeyPath) -> object:
    data: object = document.data
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, Sequence) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data
