"""Everything that tocsin takes from duckdb-kql: the one module to look at when it is upgraded.

Taken are its parser, its tree (``ir``), its renderer, and what it knows of names. Its tree carries no types; ours go in
as ``typed`` columns, which its renderer reads as declared parameters of a known kind, so that every decision it makes
by static type (string context, dynamic or not, real division) is made right, and no run-time type guard is emitted.
``finish`` turns these markers into the columns that they stand for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from duckdb_kql import ir as ir
from duckdb_kql import schema as _schema
from duckdb_kql.errors import KqlError, KqlSchemaError, KqlSyntaxError, KqlUnsupportedError
from duckdb_kql.lower import _pipeline_scope, _resolve_in_subqueries, _substitute, _substitute_query
from duckdb_kql.lower import _string_value as string_value
from duckdb_kql.lower import lower as _lower
from duckdb_kql.parser import parse as _parse
from duckdb_kql.translate import _SPECIAL_FORMS, naming, render_expr
from duckdb_kql.translate import clock as _clock
from duckdb_kql.translate import summarize_names as _summarize_names
from duckdb_kql.translate import to_sql as _to_sql
from duckdb_kql.translate.functions import AGGREGATE_FUNCTIONS, SCALAR_FUNCTIONS
from duckdb_kql.translate.functions import _a as _aggregate_spec
from duckdb_kql.translate.functions import _f as _scalar_spec

from tocsin.errors import QueryError
from tocsin.kql.sandbox import extras

NOW = "kqlnow"
"""Name of the bind parameter that now() and ago() read."""


def _format_timespan(call: Any) -> str:
    if len(call.args) != 2 or not isinstance(call.args[1], ir.Literal):
        raise QueryError("format_timespan takes a timespan and a fixed format")
    return extras.format_timespan(render_expr(call.args[0]), str(call.args[1].value))


# Its tables of functions are how it is extended; only names that it does not have are added.
for _name, (_template, _arities) in extras.SCALARS.items():
    SCALAR_FUNCTIONS.setdefault(_name, _scalar_spec(_name, "template", _template, _arities))
for _name, (_template, _arities, _prefix) in extras.AGGREGATES.items():
    AGGREGATE_FUNCTIONS.setdefault(_name, _aggregate_spec(_name, _template, _arities, name_prefix=_prefix))
_SPECIAL_FORMS.setdefault("format_timespan", _format_timespan)


class SyntaxFault(QueryError):
    """A query that does not parse: what stands around the place may notify more."""


SCALARS: frozenset[str] = (frozenset(SCALAR_FUNCTIONS) | frozenset(_SPECIAL_FORMS)) - frozenset(AGGREGATE_FUNCTIONS)
"""Scalar functions that the renderer knows, in lower case."""
AGGREGATES: frozenset[str] = frozenset(AGGREGATE_FUNCTIONS)
"""Aggregates that ``summarize`` knows, in lower case."""

_MARK = f"tocsin{secrets.token_hex(6)}"  # no text of a user can contain it
_MARKED = re.compile(rf"CAST\(\${_MARK}_((?:[0-9a-f][0-9a-f])*) AS [A-Z]+\)")
_FAULTS = (KqlError, RecursionError, ValueError, ArithmeticError, AssertionError)
"""What upstream raises of a query that it does not expect; of a number of 5,000 digits too."""
PINNED = datetime(2000, 1, 1)
"""Any instant: only that now() is pinned matters, its value is bound later."""


def plain_string(token: str) -> str:
    """The value of a plain string literal as written, quotes and escapes included."""
    return str(string_value(token))


def typed(name: str, kind: str) -> Any:
    """The column ``name`` of KQL type ``kind``, as the renderer is notified of it."""
    return ir.Parameter(name, kind, f"{_MARK}_{name.encode().hex()}")


def finish(sql: str) -> str:
    """``sql`` with the markers of typed columns turned into quoted column names."""

    def column(match: re.Match[str]) -> str:
        name = bytes.fromhex(match.group(1)).decode().replace('"', '""')
        return f'"{name}"'

    return _MARKED.sub(column, sql)


@contextmanager
def bounded() -> Iterator[None]:
    """Notifies a query that is nested deeper than Python recurses as an error of the query."""
    try:
        yield
    except RecursionError as fault:
        raise QueryError(
            "the query is too long a chain or nested too deep", hint="use in (…) for many values"
        ) from fault


def lower(text: str) -> Any:
    """The tree of a query. Raises ``QueryError`` with the place of the fault."""
    with _clock(PINNED) as active:
        try:
            query = _lower(text)
        except _FAULTS as fault:
            raise notified(fault) from fault
        if active.moment != PINNED:
            raise QueryError("set query_now is refused", hint="tocsin pins now() itself")
    return query


def substituted(expr: Any, scalars: Mapping[str, Any]) -> Any:
    """An expression in which names bound by ``let`` are their values."""
    return _substitute(expr, dict(scalars)) if scalars else expr


def with_lets(query: Any, scalars: Mapping[str, Any]) -> Any:
    """A pipeline in which a name bound by ``let`` may be its value, or a column."""
    return _substitute_query(query, _pipeline_scope(dict(scalars))) if scalars else query


def complete(query: Any, scalars: Mapping[str, Any], tables: Sequence[tuple[str, Any]]) -> Any:
    """A query behind its ``let`` statements, as ``lower`` makes it."""
    names = {name for name, _ in tables}
    whole = _resolve_in_subqueries(with_lets(query, scalars), names)
    whole.lets.extend((name, _resolve_in_subqueries(bound, names)) for name, bound in tables)
    return whole


def check_syntax(text: str) -> None:
    """Raises ``QueryError`` with its place where ``text`` does not parse."""
    try:
        _parse(text)
    except _FAULTS as fault:
        raise notified(fault) from fault


def render(query: Any, tables: Mapping[str, Iterable[str]]) -> tuple[str, bool]:
    """SQL of a tree over ``tables`` (name -> columns), and whether it reads ``$kqlnow``."""
    with _clock(PINNED) as active:
        try:
            sql = str(_to_sql(query, {name: list(columns) for name, columns in tables.items()}))
        except _FAULTS as fault:
            raise notified(fault) from fault
        return finish(sql), active.used


def render_scalar(expr: Any) -> str | None:
    """SQL of an expression that stands alone, still with markers; None where it cannot be rendered alone."""
    with _clock(PINNED):
        try:
            return render_expr(expr)
        except (QueryError, *_FAULTS):
            return None


def operator_columns(op: Any, columns: Sequence[str], tables: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of the columns that ``op`` makes of ``columns``."""
    try:
        return list(_schema._operator_columns(op, list(columns), _lists(tables)))
    except KqlError as fault:
        raise notified(fault) from fault


def source_columns(source: Any, tables: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of a source's columns."""
    try:
        return list(_schema._source_columns(source, _lists(tables)))
    except KqlError as fault:
        raise notified(fault) from fault


def wildcard_tables(source: Any, tables: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of the tables that a pattern (``union Run*``) stands for."""
    try:
        return list(_schema.match_wildcard(source, _lists(tables)))
    except KqlError as fault:
        raise notified(fault) from fault


def target_names(op: Any, columns: Sequence[str]) -> list[str]:
    """Output names of the targets of a project, extend or distinct, as KQL makes them up."""
    try:
        if isinstance(op, ir.Project):
            return list(naming.project_names(op.expressions))
        if isinstance(op, ir.Extend):
            return list(naming.extend_names(op.expressions, list(columns)))
        return list(naming.distinct_names(op.expressions))
    except KqlError as fault:
        raise notified(fault) from fault


def summarize_names(op: Any, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Names of a summarize's keys, and of each aggregate's columns."""
    try:
        keys, aggregates = _summarize_names(op, list(columns))
    except KqlError as fault:
        raise notified(fault) from fault
    return list(keys), [list(names) for names in aggregates]


def resolve_lets(node: Any, columns: Sequence[str]) -> Any:
    """An operator or source in which each name bound by ``let`` is a column or its value."""
    try:
        if isinstance(node, ir.Operator):
            return _schema.resolve_let_refs(node, list(columns))
        return _schema.resolve_source_let_refs(node)
    except KqlError as fault:
        raise notified(fault) from fault


def _lists(tables: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: list(columns) for name, columns in tables.items()}


def notified(fault: Exception) -> QueryError:
    """Upstream's error as ours: with 1-based line and column, without its internals."""
    if isinstance(fault, RecursionError):
        return QueryError("the query is nested too deep")
    if isinstance(fault, KqlSyntaxError):
        if not fault.diagnostics:
            return SyntaxFault(str(fault))
        first = fault.diagnostics[0]
        return SyntaxFault(_plain(first.message), line=first.span.line, column=first.span.column + 1)
    if isinstance(fault, ArithmeticError):
        return QueryError("a number of the query is too large")
    if isinstance(fault, KqlUnsupportedError):
        line, column = (fault.span.line, fault.span.column + 1) if fault.span else (0, 0)
        if fault.construct == "literal:long":
            return QueryError("a whole number has at most 64 bits", line=line, column=column, hint="write real(…)")
        what = _words(fault.construct)
        hint = fault.hint or ""
        hint = "" if "wave" in hint.lower() or "int_max_str_digits" in hint else hint
        if what.startswith("the let function "):
            hint = "only functions of values work: write out what it does to a table"
        return QueryError(f"{what} is not supported", line=line, column=column, hint=extras.INSTEAD.get(what, hint))
    if isinstance(fault, KqlSchemaError) and (fault.hint or "").startswith("unknown table; "):
        return QueryError(f"there is no table '{fault.name}'", hint="put it in tables/, or name another one")
    if isinstance(fault, KqlSchemaError) and (alike := _ALIKE.search(fault.hint or "")):
        return QueryError(
            f"columns {alike[1]} and {alike[2]} differ only in case", hint="give one of them another name"
        )
    if isinstance(fault, KqlSchemaError):
        return QueryError(f"{fault.name}: {fault.hint}" if fault.hint else f"{fault.name} is wrong here")
    if isinstance(fault, AssertionError):  # upstream met what it does not expect
        return QueryError("the query is not supported", hint="write functions of tables out")
    return QueryError(str(fault))


_ALIKE = re.compile(r"columns ('[^']*') and ('[^']*') differ only in case")
_KINDS = ("expression:", "operator:", "function:", "source:")
_CLASS = re.compile(r"(?:[A-Z][a-z]+){2,}")
_CALLED = {
    "LetFunctionBody": "a let that is a function of tables",
    "DataTableExpression": "datatable inside an expression",
    "TypeLiteralExpression": "typeof() here",
    "ParenthesizedExpression": "an expression in brackets as a table",
}
"""Names of upstream's classes, which nobody wrote in a query -> what was written."""


def _words(construct: str) -> str:
    """What cannot be translated, as somebody wrote it."""
    what = next((construct.removeprefix(kind) for kind in _KINDS if construct.startswith(kind)), construct)
    if (called := _CALLED.get(what)) is not None:
        return called
    if _CLASS.fullmatch(what):
        return "such a " + re.sub(r"(?<=[a-z])(?=[A-Z])", " ", what).lower()
    return what.replace("let function:", "the let function ")


def _plain(message: str) -> str:
    """A parser's message without the list of everything that it would have taken instead."""
    if message.startswith(("mismatched input", "extraneous input")):
        word = message.split("'")[1] if "'" in message else "this"
        return "the query ends too early" if word == "<EOF>" else f"'{word}' does not fit here"
    if message.startswith("no viable alternative at input"):
        word = message.rpartition("input")[2].strip().strip("'")
        last = word.split()[-1] if word.split() else word
        return "the query ends too early" if last == "<EOF>" else f"'{last[-40:]}' does not fit here"
    if message.startswith("token recognition error"):
        return f"cannot read {message.rpartition(':')[2].strip()}"
    if message.startswith("missing "):
        return message.replace("<EOF>", "the end")
    return message
