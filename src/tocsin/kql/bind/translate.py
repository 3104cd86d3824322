"""KQL to DuckDB SQL, checked against a schema.

Where DuckDB refuses the SQL, the expression that it minds is looked for (``placed``): some types only DuckDB knows.
``union isfuzzy=true`` leaves out each branch that names a table that is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.bounds import MAX_WHOLE, check_shape
from tocsin.kql.bind.scope import Pass, Text, named_tables
from tocsin.kql.parse import slips
from tocsin.kql.parse.read import quick
from tocsin.kql.parse.rewrite import rewritten
from tocsin.kql.parse.slips import place_of_expression
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.trees import parts, walk
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, KQL_TYPES, Schema
from tocsin.kql.tokens import TokenKind, place, tokenize, unclosed

MAX_REPAIRS = 10
_NAMES = frozenset(
    ("card", "date", "first", "flags", "kind", "last", "limit", "others", "table", "time", "timeline", "title")
)
_SURE = frozenset(("where", "project", "extend", "summarize", "join", "union", "by", "on", "and", "or", "let"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A query as SQL. It binds ``$kqlnow`` (TIMESTAMP, UTC) where ``uses_now``."""

    sql: str
    uses_now: bool
    tables: frozenset[str]  # of the schema, that it reads
    columns: Mapping[str, str]  # output columns in order -> KQL type

    def parameters(self, now: datetime) -> dict[str, object]:
        """What to bind when now() shall mean ``now`` (UTC, naive or aware)."""
        if not self.uses_now:
            return {}
        return {upstream.NOW: now.replace(tzinfo=None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """A query's tree with types in it, before it becomes SQL."""

    text: Text
    tree: Any
    tables: frozenset[str]
    columns: Mapping[str, str | None]


def read(query: str, tables: Collection[str] = ()) -> tuple[Text, Any]:
    """A query's tokens and its tree as written, but for branches of a fuzzy union that are not among ``tables``, where
    given. Raises ``QueryError`` where it does not parse or is refused outright.
    """
    text, tree = _read(query)
    return text, without_missing(tree, tables) if tables and "isfuzzy" in query else tree


def _read(query: str) -> tuple[Text, Any]:
    tokens = tokenize(query)
    text = Text(text=query, tokens=tokens)
    if not tokens:
        raise QueryError("the query is empty", hint="start with a table, e.g. RunStatusChanged | take 10")
    first = tokens[0]
    if first.text.startswith("."):
        line, column = place(query, first.start)
        raise QueryError("management commands are refused", line=line, column=column, hint="write a query")
    for token in tokens:
        if token.kind is not TokenKind.PUNCT and HIDDEN in token.text:
            raise text.error(f"names with {HIDDEN} are tocsin's own", token.text)
    slips.check(query, tokens)
    try:
        changed = rewritten(query, tokens)
        if changed is query:
            return text, _tree(query)
        return text, _lowered(changed, query)
    except upstream.SyntaxFault as fault:
        bracket = unclosed(tokens)
        if bracket is None:
            raise
        line, column = place(query, bracket.start)
        closes = bracket.text in ")]}"
        what = "closes nothing" if closes else "is never closed"
        raise QueryError(f"{bracket.text!r} {what}", line=line, column=column) from fault


def _tree(text: str) -> Any:
    """The tree of ``text``. A word that stops the parser may be a name that it takes for a keyword (``time``,
    ``last``): bracketed it is one, and where the whole then parses, that was meant.
    """
    if (tree := quick(text, tokenize(text))) is not None:
        return tree
    first: QueryError | None = None
    for _ in range(MAX_REPAIRS):
        try:
            return upstream.lower(text)
        except upstream.SyntaxFault as fault:
            first = first or fault
            at = (fault.line, fault.column)
            words = [t for t in tokenize(text) if t.kind is TokenKind.NAME]
            word = next((t for t in words if place(text, t.start) == at), None)
            if word is None or word.text in _SURE:  # the parser may stop long before the name that it stumbles over
                word = next((t for t in words if t.text in _NAMES and place(text, t.start) > at), None)
            if word is None:
                break
            text = f"{text[: word.start]}['{word.text}']{text[word.end :]}"
    raise first or QueryError("the query does not parse")


def _lowered(text: str, query: str) -> Any:
    """The tree of a rewritten query. What is wrong is notified at its place in what was written, or without a place."""
    try:
        return _tree(text)
    except QueryError as fault:
        upstream.check_syntax(query)
        raise QueryError(fault.message, hint=fault.hint) from fault


def analyse(query: str, schema: Schema) -> Analysed:
    """Parse, check names against the schema, and type a query."""
    text, tree = read(query, schema)
    check_shape(tree)
    each = Pass(text, root=tree)
    typed, columns = each.query(tree, schema)
    return Analysed(text=text, tree=typed, tables=frozenset(each.read & set(schema)), columns=columns)


def translate(query: str, schema: Mapping[str, Mapping[str, str]]) -> Translation:
    """DuckDB SQL of a KQL query over ``schema`` (table -> column -> KQL type).

    Raises ``QueryError`` with line and column where it does not parse, names what is not there, uses what cannot be
    translated, or compares what has no comparison.
    """
    return _remembered(query, Schema.of(schema))


def translate_once(query: str, schema: Schema) -> Translation:
    """As ``translate``, but nothing is remembered: for queries that anybody may send."""
    with upstream.bounded():
        analysed = analyse(query, schema)
        sql, uses_now = upstream.render(analysed.tree, schema)
        if len(sql) > MAX_WHOLE:
            raise QueryError("the query is too large", hint="join or extend less in one query, or project first")
        parameters: dict[str, object] = {upstream.NOW: upstream.PINNED} if uses_now else {}
        try:
            columns = describer(schema).columns(sql, parameters)
        except QueryError as fault:
            raise placed(fault, analysed.text, analysed.tree, schema) from fault
    return Translation(sql=sql, uses_now=uses_now, tables=analysed.tables, columns=columns)


_remembered = lru_cache(maxsize=2048)(translate_once)


def placed(fault: QueryError, text: Text, tree: Any, schema: Schema) -> QueryError:
    """``fault``, which DuckDB found in the typed ``tree``, with the place of the smallest expression that has it."""
    columns: dict[str, str] = {}
    for number, op in enumerate(tree.operators):
        try:
            columns_after = _columns(
                ir.Query(tree.source, tree.operators[: number + 1], tree.lets, tree.parameters), schema
            )
        except QueryError:
            for node in (*_refused(op, columns, schema), op):
                line, column = place_of_expression(text.text, text.tokens, node)
                if line:
                    return QueryError(fault.message, line=line, column=column, hint=fault.hint)
            return fault
        columns = columns_after
    return fault


def _columns(query: Any, schema: Schema) -> dict[str, str]:
    sql, uses_now = upstream.render(query, schema)
    return describer(schema).columns(sql, {upstream.NOW: upstream.PINNED} if uses_now else {})


def _refused(op: Any, columns: dict[str, str], schema: Schema) -> Iterator[Any]:
    """Expressions of ``op`` that DuckDB refuses alone, the smallest first."""
    row = ", ".join(f"NULL::{KQL_TYPES[kind]} AS {quoted(name)}" for name, kind in columns.items()) or "1"
    for node in reversed(walk(op)):
        sql = None if isinstance(node, ir.Operator) else upstream.render_scalar(node)
        if sql is None:
            continue
        try:
            describer(schema).columns(f"SELECT {upstream.finish(sql)} FROM (SELECT {row})", {})
        except QueryError:
            yield node


def without_missing(query: Any, tables: Collection[str]) -> Any:
    """The tree of ``query`` over ``tables``, also inside its lets, joins and unions.

    A union of which nothing would be left stays as it is, so that its tables are named as unknown.
    """
    known, lets = set(tables), []
    for name, bound in query.lets:
        lets.append((name, without_missing(bound, known) if isinstance(bound, ir.Query) else bound))
        known.add(name)
    operators = [_inside(op, known) for op in query.operators]
    return _fuzzy(ir.Query(query.source, operators, lets, query.parameters), known)


def _inside(op: Any, known: Collection[str]) -> Any:
    changes: dict[str, Any] = {}
    for name in parts(op.__class__) or ():
        value = getattr(op, name)
        if isinstance(value, ir.Query):
            changes[name] = without_missing(value, known)
        elif isinstance(value, tuple) and value and all(isinstance(each, ir.Query) for each in value):
            changes[name] = tuple(without_missing(each, known) for each in value)
    return replace(op, **changes) if changes else op


def _fuzzy(query: Any, known: Collection[str]) -> Any:
    at = next((i for i, op in enumerate(query.operators) if isinstance(op, ir.Union) and op.isfuzzy), -1)
    if at < 0:
        return query
    union = query.operators[at]
    every = [ir.Query(query.source, query.operators[:at]), *union.branches]
    first, *others = [each for each in every if set(known).issuperset(named_tables(each))] or every
    united = [replace(union, branches=tuple(others), isfuzzy=False)] if others or union.with_source else []
    rest = [*first.operators, *united, *query.operators[at + 1 :]]
    return _fuzzy(ir.Query(first.source, rest, query.lets, query.parameters), known)
