"""``for_each: {table: …}``: one rule for each row of a reference table, all of one shape.

    tables/limits.csv              where: "ExperimentName == experiment and DurationMs > longest * 3600000"
    experiment,longest,team
    churn,6,ranking        ──►     slow[churn]:   … ExperimentName == "churn"   and DurationMs > 6 * 3600000
    fraud,2,risk           ──►     slow[fraud]:   … ExperimentName == "fraud"   and DurationMs > 2 * 3600000

What is no query is a template: ``in_status_for: "{{ minutes }}m"`` (``language.lengths``).

Each is a rule of its own to the engine: it starts when its row comes, keeps its state while its row stays, ends when
its row goes. To people it is the one rule: mails, history, metrics and routes have the rule's name, and the row's
columns as fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from tocsin.config.yaml.document import KeyPath
from tocsin.errors import Problem, QueryError
from tocsin.kql.bind.sqlcheck import bare_names
from tocsin.kql.tokens import Token, TokenKind, tokenize
from tocsin.model.alert import fingerprint
from tocsin.rules.compile.pattern import Pattern, probes_of
from tocsin.rules.compile.rule import compile_rule
from tocsin.rules.kinds.registry import AnyKind
from tocsin.rules.language import lengths as each_lengths
from tocsin.rules.language.checks import DUMMY, MOST_ROWS, Faults, Schema, check_test_tables, check_tests, table_columns
from tocsin.rules.language.literals import extension, literal
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import TableRow, Written
from tocsin.rules.spec.rule import ForEachRule, Rule

NAMED = 10
"""So many wrong rows of a table are named."""
_LONGEST = 200


def compile_for_each(written: Written, kind: AnyKind) -> Rule | None:
    """As ``compile_rule``, for a rule with ``for_each:`` of a kind that does not expand it itself."""
    model, schema, faults = written.model, written.schema, written.faults
    assert model.for_each is not None
    before = len(written.problems)
    table = model.for_each.table
    columns = table_columns(table, schema, faults)
    named = _named(model, columns, schema, faults)
    check_tests(model.tests, faults)
    if len(written.problems) > before:
        return None
    naming = tuple(name for name in named if columns[name] == "string") or named
    templates = each_lengths.templates_of(model.when) if model.when else {}
    as_row = replace(written, columns=columns, naming=naming, lengths_differ=bool(templates))

    def compiled(one: RuleModel, row: TableRow, name: str, found: list[Problem]) -> Rule | None:
        return compile_rule(replace(as_row, model=_filled(one, row, name, naming), row=row, problems=found), kind)

    def made(row: TableRow, name: str, found: list[Problem]) -> Rule | None:
        if model.when is None:
            return compiled(model, row, name, found)
        try:
            when = each_lengths.filled(model.when, row)
        except ValueError as e:
            replace(faults, problems=found).add(("for_each",), str(e))
            return None
        return compiled(model.model_copy(update={"when": when}), row, name, found)

    when = each_lengths.as_such(model.when) if model.when else None
    probes = probes_of(columns)
    sample = {**{name: DUMMY.get(kind_, "") for name, kind_ in columns.items()}, **probes}
    such = model.model_copy(update={"when": when})
    rule = compiled(such, sample, model.name, written.problems)
    if rule is None:
        return None
    rule = replace(rule, renamed_from=model.renamed_from)
    check_test_tables(model.tests, {**rule.reference, table: columns}, faults)
    pattern = Pattern.of(kind, rule, columns, probes, model.when)
    used = [name for name in columns if name in named or (templates and name in each_lengths.columns_of(model.when))]
    meaning = fingerprint(rule.meaning, *sorted(map(repr, templates.items()))) if templates else rule.meaning

    def over(found: Sequence[TableRow]) -> tuple[tuple[Rule, ...], list[str]]:
        return _each(found, naming, used, made, replace(rule, meaning=meaning), pattern)

    each, wrong = over(written.rows(table)[:MOST_ROWS])
    for message in wrong[:NAMED]:
        faults.add(("for_each", "table"), message)
    if len(written.problems) > before:
        return None
    return replace(
        rule,
        query=kind.text(such),
        tests=model.tests,
        reference={**rule.reference, table: dict(columns)},
        each=ForEachRule(table=table, rules=each, make=over),
    )


def _named(model: RuleModel, columns: Mapping[str, str], schema: Schema, faults: Faults) -> tuple[str, ...]:
    """Columns of the table that the rule's query names."""
    when = model.when
    if sql := getattr(model, "sql", ""):
        return _named_in_sql(model, sql, columns, schema, faults)
    path: KeyPath = ("query",) if when is None else ("when", "where")
    text = model.query if when is None else when.where
    tokens = tokenize(text)
    named = {token.text for i, token in enumerate(tokens) if _is_name(tokens, i, columns)}
    if when is not None:
        for at, message, hint in each_lengths.faults(when, columns):
            faults.add(at, message, hint)
    for i, token in enumerate(tokens[:-1]):
        if token.kind is TokenKind.NAME and token.text in columns and tokens[i + 1].text == "=":
            faults.add(path, f"gives a value to '{token.text}', which is a column of the table", "call one otherwise")
    if columns and not named:
        where = "`query:`" if when is None else "`where:`"
        faults.add(
            ("for_each", "table"), f"no column of '{model.for_each.table if model.for_each else ''}' is named in {where}",
            f"name one: {', '.join(columns)}",
        )  # fmt: skip
    return tuple(name for name in columns if name in named)


def _named_in_sql(
    model: RuleModel, sql: str, columns: Mapping[str, str], schema: Schema, faults: Faults
) -> tuple[str, ...]:
    """The same of `sql:`, where a name is one in any case."""
    try:
        bare = bare_names(sql, schema)
    except QueryError as e:
        faults.add_query(("sql",), e)
        return ()
    named = tuple(name for name in columns if name.casefold() in bare)
    if columns and not named:
        table = model.for_each.table if model.for_each else ""
        hint = f"name one: {', '.join(columns)}"
        faults.add(("for_each", "table"), f"no column of '{table}' is named in `sql:`", hint)
    return named


def _is_name(tokens: Sequence[Token], i: int, columns: Collection[str]) -> bool:
    """Whether the token stands for a column of the table."""
    token = tokens[i]
    return token.kind is TokenKind.NAME and token.text in columns and not (i and tokens[i - 1].text == ".")


def _with_values(text: str, row: TableRow) -> str:
    """``text`` with the row's values in place of the names of its columns."""
    tokens = tokenize(text)
    parts, at = [], 0
    for i, token in enumerate(tokens):
        if _is_name(tokens, i, dict.fromkeys(row, "")):
            parts += [text[at : token.start], literal(row[token.text])]
            at = token.end
    return "".join([*parts, text[at:]])


def _filled(model: RuleModel, row: TableRow, name: str, naming: Sequence[str]) -> RuleModel:
    """The rule of one row."""
    by = (*naming, *(column for column in model.by if column not in naming))
    changes: dict[str, object] = {"name": name, "renamed_from": "", "for_each": None, "tests": (), "by": by}
    if model.when is not None:
        changes["when"] = model.when.model_copy(update={"where": _with_values(model.when.where, row)})
    elif model.query:
        changes["query"] = _with_values(model.query.rstrip().removesuffix(";"), row) + extension(row)
    return model.model_copy(update=changes)


def _each(
    rows: Sequence[TableRow],
    naming: Sequence[str],
    used: Sequence[str],
    made: Callable[[TableRow, str, list[Problem]], Rule | None],
    base: Rule,
    pattern: Pattern | None,
) -> tuple[tuple[Rule, ...], list[str]]:
    """The rules of ``rows``, and what is wrong with them."""
    found: dict[str, Rule] = {}
    wrong: list[str] = []
    for number, row in enumerate(rows, 1):
        key = ", ".join(str(row.get(column)) for column in naming)[:_LONGEST]
        full = f"{base.name}[{key}]"
        if full in found:
            wrong.append(f"row {number} of the table: is a second one for {key}; {', '.join(naming)} must be different")
            continue
        rule = pattern.filled(base, row) if pattern is not None else None
        if rule is None:
            problems: list[Problem] = []
            rule = made(row, full, problems)
            if rule is None:
                wrong.append(f"row {number} of the table: {problems[0].message if problems else 'makes no rule'}")
                continue
        meaning = fingerprint(base.meaning, *(literal(row.get(column)) for column in used))
        was = f"{base.renamed_from}[{key}]" if base.renamed_from else ""
        found[full] = replace(rule, name=full, info=base.info, meaning=meaning, renamed_from=was)
    return tuple(found.values()), wrong
