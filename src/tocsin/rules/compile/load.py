"""Rule files → a RuleSet, or every problem of all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.config.project.overlay import RULES
from tocsin.config.yaml.document import Document, KeyPath, load_file, parse, parse_known, suggest
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.compile.for_each import compile_for_each
from tocsin.rules.compile.rule import claimed, compile_rule, once
from tocsin.rules.kinds.registry import kind_of, rule_model
from tocsin.rules.kinds.ruleset import FaultyRule, RuleSet
from tocsin.rules.language.checks import Schema
from tocsin.rules.language.schema import Defaults, RuleFile, RuleModel
from tocsin.rules.language.written import Written
from tocsin.rules.spec.rule import Rule

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What rules may name besides each other."""

    schema: Schema
    tables: Mapping[str, pa.Table] = field(default_factory=dict)  # whose rows `for_each` goes over
    calendars: Mapping[str, Calendar] | None = None  # for `except`; None: not known, each leaves out no day
    templates: Collection[str] | None = None  # of mails; None: not known
    timezone: str = ""  # of schedules that name none


def load_rules(
    files: Sequence[Path],
    schema: Schema,
    *,
    names: Mapping[Path, str] | None = None,
    tables: Mapping[str, pa.Table] | None = None,
    calendars: Mapping[str, Calendar] | None = None,
    warnings: list[Problem] | None = None,
    timezone: str = "",
) -> RuleSet:
    """All rules of ``files``, checked against ``schema`` (table → column → KQL type, reference tables included).

    ``names`` says what problems call a file; for the others see ``Known``. A rule that is off and faulty is left out,
    with a warning in ``warnings``. Raises ConfigurationError with every problem of every file; then nothing was loaded.
    """
    problems: list[Problem] = []
    known = Known(schema=schema, tables=tables or {}, calendars=calendars, timezone=timezone)
    rules = read_rules(files, known, problems, names=names)
    if any(not p.warning for p in problems):
        raise ConfigurationError(problems)
    if warnings is not None:
        warnings += problems
    return rules


def read_rules(
    files: Sequence[Path],
    known: Known,
    problems: list[Problem],
    *,
    names: Mapping[Path, str] | None = None,
    shipped: Sequence[Path] = (),
) -> RuleSet:
    """The rules of ``files`` that are right, laid over those of ``shipped`` (config.project.overlay); what is wrong is
    added to ``problems``.
    """

    def read(paths: Sequence[Path]) -> list[Document]:
        documents = []
        for path in paths:
            try:
                documents.append(load_file(path, (names or {}).get(path)))
            except ConfigurationError as e:
                problems.extend(e.problems)
        return documents

    own = read(files)
    problems += [_no_rule(document) for document in own if not _rules_in(document)]
    documents = RULES.apply(read(shipped), own, problems)
    return load_documents(
        documents, known.schema, problems, known.tables, known.calendars, known.templates, known.timezone
    )


def load_documents(
    documents: Sequence[Document],
    schema: Schema,
    problems: list[Problem],
    tables: Mapping[str, pa.Table] | None = None,
    calendars: Mapping[str, Calendar] | None = None,
    templates: Collection[str] | None = None,
    timezone: str = "",
) -> RuleSet:
    """The rules of ``documents`` that are right; what is wrong is added to ``problems``."""
    rules: dict[str, Rule] = {}
    faulty: dict[str, FaultyRule] = {}
    places: dict[str, str] = {}

    def rows(name: str) -> Sequence[Mapping[str, object]]:
        table = (tables or {}).get(name)
        return table.to_pylist() if table is not None else ()

    for document in documents:
        defaults = _defaults(document, problems)
        for i, data in enumerate(_entries(document, problems)):
            path: KeyPath = ("rules", i)
            if isinstance(data, Mapping) and isinstance(name := data.get("name"), str):
                where = f"{document.file}:{document.line((*path, 'name'))}"
                if name in places:
                    problems.append(
                        document.problem((*path, "name"), f"'{name}' is also the name of the rule at {places[name]}")
                    )
                places.setdefault(name, where)
            before = len(problems)
            model, whole = _model(document, path, problems)
            if model is None:
                continue
            written = Written(
                model=model, defaults=defaults, schema=schema, document=document, base=path, problems=problems,
                rows=rows, calendars=calendars, timezone=timezone,
            )  # fmt: skip
            _check_template(written, templates)
            rule = _compiled(written)
            if rule is not None and whole:
                rules.setdefault(rule.name, rule)
            elif whole and (faults := tuple(problems[before:])) and all(fault.warning for fault in faults):
                faulty.setdefault(
                    model.name,
                    FaultyRule(name=model.name, place=written.place, tests=len(model.tests), faults=faults),
                )
    _check_renamings(rules, places, problems)
    _check_exports(rules, problems)
    for rule in rules.values():
        for found in kind_of(rule).doubts(rule):
            place = rule.place
            problems.append(
                Problem(
                    file=place.file, line=place.line, key=found.key, message=found.message, hint=found.hint, warning=True
                )
            )  # fmt: skip
    return RuleSet(rules, {name: rule for name, rule in faulty.items() if name not in rules})


def _rules_in(document: Document) -> bool:
    """Whether anything stands under `rules:`, or in another form that is refused later."""
    return document.data is not None and (not isinstance(document.data, Mapping) or bool(document.data.get("rules")))


def _no_rule(document: Document) -> Problem:
    return document.problem(("rules",), "no rule stands in this file", "each begins with `- name:`", warning=True)


def _compiled(written: Written) -> Rule | None:
    if written.model.for_each is None:
        return compile_rule(written)
    kind = claimed(written.model, written.faults)
    if kind is None:
        return None
    return compile_rule(written, kind) if kind.expands else compile_for_each(written, kind)


def _model(document: Document, path: KeyPath, problems: list[Problem]) -> tuple[RuleModel | None, bool]:
    """The rule at ``path`` as written, and whether it is whole: without keys that are wrong, so that others are
    still checked.
    """
    try:
        return parse(rule_model(), document, path), True
    except ConfigurationError as e:
        problems += once(e.problems)
        if (known := parse_known(rule_model(), document, path)) is not None:
            return known, False
        index = path[-1]
        data = document.data["rules"][index]
        wrong = {p.key.removeprefix(f"rules[{index}].").split(".")[0].split("[")[0] for p in e.problems}
    if not isinstance(data, Mapping) or wrong & {"name", "when", "query", "sql"}:
        return None, False
    rest: list[object] = [None] * (int(index) + 1)
    rest[int(index)] = {key: value for key, value in data.items() if key not in wrong}
    try:
        return parse(rule_model(), replace(document, data={"rules": rest}), path), False
    except ConfigurationError:
        return None, False


def _defaults(document: Document, problems: list[Problem]) -> Defaults:
    if not isinstance(document.data, Mapping) or "defaults" not in document.data:
        return Defaults()
    try:
        defaults = parse(Defaults, document, ("defaults",))
    except ConfigurationError as e:
        problems += once(e.problems)
        return Defaults()
    return defaults


def _entries(document: Document, problems: list[Problem]) -> Sequence[object]:
    """The list under ``rules:``; other keys of the file are checked on the way."""
    data = document.data
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        problems.append(document.problem((), "is no file of rules", "it begins with rules:"))
        return ()
    for key in data:
        if key not in RuleFile.model_fields:
            problems.append(
                document.problem((key,), "is not a key that is known here", suggest(str(key), RuleFile.model_fields))
            )
    entries = data.get("rules")
    if entries is None:
        return ()
    if not isinstance(entries, list):
        problems.append(document.problem(("rules",), "must be a list", "each rule begins with `- name:`"))
        return ()
    return entries


def _check_template(written: Written, templates: Collection[str] | None) -> None:
    wanted = written.said(lambda m: m.template, "template")
    if wanted and templates is not None and wanted not in templates:
        written.faults.add(("template",), f"no template is called '{wanted}'", suggest(wanted, templates))


def _check_exports(rules: Mapping[str, Rule], problems: list[Problem]) -> None:
    """A metric is one rule's: two would overwrite each other's series."""
    first: dict[str, Rule] = {}
    for rule in rules.values():
        if not (metric := kind_of(rule).exports(rule)):
            continue
        other = first.setdefault(metric, rule)
        if other is not rule:
            message = f"'{metric}' is also the metric of the rule at {other.place}"
            problems.append(Problem(file=rule.place.file, line=rule.place.line, key="export", message=message))


def _check_renamings(rules: Mapping[str, Rule], places: Mapping[str, str], problems: list[Problem]) -> None:
    heirs: dict[str, Rule] = {}
    for rule in rules.values():
        if not rule.renamed_from:
            continue
        if rule.renamed_from in places:
            fault = f"'{rule.renamed_from}' is still the name of the rule at {places[rule.renamed_from]}"
        elif rule.renamed_from in heirs:
            fault = f"'{rule.renamed_from}' was also the name of the rule at {heirs[rule.renamed_from].place}"
        else:
            heirs[rule.renamed_from] = rule
            continue
        problems.append(Problem(file=rule.place.file, line=rule.place.line, key="renamed_from", message=fault))
