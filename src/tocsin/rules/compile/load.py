"""Rule files → a RuleSet, or every problem of all of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from tocsin.config.project.overlay import RULES
from tocsin.config.yaml.document import Document, KeyPath, load_file, parse, suggest
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.compile.for_each import compile_for_each
from tocsin.rules.compile.rule import compile_rule, once
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.schedule.compile import compile_schedule, is_schedule
from tocsin.rules.kinds.window.compile import compile_window, is_window
from tocsin.rules.kinds.window.sequences import compile_sequence, is_sequence
from tocsin.rules.language.checks import Schema
from tocsin.rules.language.schema import Defaults, RuleFile, RuleModel
from tocsin.rules.language.written import Written
from tocsin.rules.spec.rule import Rule

Compiler = Callable[[Written], Rule | None]


def load_rules(
    files: Sequence[Path],
    schema: Schema,
    *,
    names: Mapping[Path, str] | None = None,
    tables: Mapping[str, pa.Table] | None = None,
    calendars: Mapping[str, Calendar] | None = None,
    warnings: list[Problem] | None = None,
    shipped: Sequence[Path] = (),
) -> RuleSet:
    """All rules of ``files``, laid over those of ``shipped`` (config.project.overlay), checked against ``schema`` (table → column → KQL type, reference tables included).

    ``names`` says what problems call a file; ``tables`` are the rows that ``for_each`` goes over, ``calendars``
    those that
    ``except`` may name (None: not known, each leaves out no day). A rule that is off and faulty is left out,
    with a warning in ``warnings``. Raises ContentError with every problem of every file; then nothing was loaded.
    """
    problems: list[Problem] = []

    def read(paths: Sequence[Path]) -> list[Document]:
        documents = []
        for path in paths:
            try:
                documents.append(load_file(path, (names or {}).get(path)))
            except ConfigurationError as e:
                problems.extend(e.problems)
        return documents

    with _uncollected():
        documents = RULES.apply(read(shipped), read(files), problems)
        rules = load_documents(documents, schema, problems, tables, calendars)
    if any(not p.warning for p in problems):
        raise ConfigurationError(problems)
    if warnings is not None:
        warnings += problems
    return rules


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is made here stays. The collector of garbage would look through it again and again: a quarter of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def load_documents(
    documents: Sequence[Document],
    schema: Schema,
    problems: list[Problem],
    tables: Mapping[str, pa.Table] | None = None,
    calendars: Mapping[str, Calendar] | None = None,
) -> RuleSet:
    """The rules of ``documents`` that are right; what is wrong is added to ``problems``."""
    rules: dict[str, Rule] = {}
    places: dict[str, str] = {}

    def rows(name: str) -> Sequence[Mapping[str, object]]:
        table = (tables or {}).get(name)
        return table.to_pylist() if table is not None else ()

    scheduled = partial(compile_schedule, rows=rows, calendars=calendars)
    each = partial(compile_for_each, rows=rows)
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
            model, whole = _model(document, path, problems)
            if model is None:
                continue
            written = Written(
                model=model, defaults=defaults, schema=schema, document=document, base=path, problems=problems
            )
            rule = _compiler(model, scheduled, each)(written)
            if rule is not None and whole:
                rules.setdefault(rule.name, rule)
    _check_renamings(rules, places, problems)
    _check_exports(rules, problems)
    return RuleSet(rules)


def _compiler(model: RuleModel, scheduled: Compiler, each: Compiler) -> Compiler:
    """What makes a rule of what is written."""
    if is_schedule(model):
        return scheduled
    if model.for_each is not None:
        return each
    if is_window(model):
        return compile_window
    return compile_sequence if is_sequence(model) else compile_rule


def _model(document: Document, path: KeyPath, problems: list[Problem]) -> tuple[RuleModel | None, bool]:
    """The rule at ``path`` as written, and whether it is whole: without keys that are wrong, so that others are
    still checked.
    """
    try:
        return parse(RuleModel, document, path), True
    except ConfigurationError as e:
        problems += once(e.problems)
        index = path[-1]
        data = document.data["rules"][index]
        wrong = {p.key.removeprefix(f"rules[{index}].").split(".")[0].split("[")[0] for p in e.problems}
    if not isinstance(data, Mapping) or wrong & {"name", "when", "query", "sql"}:
        return None, False
    rest: list[object] = [None] * (int(index) + 1)
    rest[int(index)] = {key: value for key, value in data.items() if key not in wrong}
    try:
        return parse(RuleModel, replace(document, data={"rules": rest}), path), False
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


def _check_exports(rules: Mapping[str, Rule], problems: list[Problem]) -> None:
    """A metric is one rule's: two would overwrite each other's series."""
    first: dict[str, Rule] = {}
    for rule in rules.values():
        if rule.window is None or not rule.window.export:
            continue
        other = first.setdefault(rule.window.export, rule)
        if other is not rule:
            message = f"'{rule.window.export}' is also the metric of the rule at {other.place}"
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
