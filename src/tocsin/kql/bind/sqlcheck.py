"""Is a SQL statement one SELECT over the tables it may read? Judged on DuckDB's own parse tree, not on the text.

Two users: ``sql:`` rules, and KQL that somebody typed, whose translation is checked once more in this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.sqlfunctions import FUNCTIONS, JOINING, LONGER, TABLE_FUNCTIONS
from tocsin.kql.bind.translate import Translation
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.upstream import NOW
from tocsin.kql.schema import KQL_TYPES, Schema, did_you_mean
from tocsin.kql.tokens import MAX_LENGTH, place

MAX_NODES = 50_000
MAX_TIMES = 256
"""Most times that one value may be put into another, all places where values are put side by side multiplied."""
_NODES = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"))
_RELATIONS = frozenset(("BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION"))
_CLASSES = frozenset(
    (
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "PARAMETER",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "WINDOW",
    )
)
_CLOCKS = frozenset(
    (
        *("now", "today", "ago", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp"),
        "transaction_timestamp",
    )
)
_SESSION = frozenset(("user", "current_user", "session_user", "current_role", "current_catalog", "current_schema"))


def check_sql(sql: str, schema: Mapping[str, Mapping[str, str]], row: Mapping[str, str] | None = None) -> Translation:
    """A ``sql:`` query, found harmless: one SELECT over tables of ``schema`` with functions of the allow-list.

    It may bind ``$kqlnow`` (TIMESTAMP, UTC), the time of the evaluation. ``row`` (column -> KQL type) are further names
    that it may use: they stand for one row's values, and are columns of its result; see ``beside``. Raises
    ``QueryError`` where it is refused or does not bind.
    """
    return _checked_sql(sql, Schema.of(schema), tuple((row or {}).items()))


def bare_names(sql: str, schema: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
    """Names of columns in a query that no table's name stands before, folded. Raises as ``check_sql``, but binds
    nothing.
    """
    return frozenset(checked(sql, Schema.of(schema)).bare)


def beside(sql: str, rows: str, what: str = "*") -> str:
    """A query for each of ``rows`` (a SELECT), whose columns are names in it; ``what`` of their columns and its own."""
    return f"SELECT {what} FROM ({rows}) AS tocsin_row, LATERAL (\n{sql}\n) AS tocsin_found"


@lru_cache(maxsize=512)
def _checked_sql(sql: str, schema: Schema, row: tuple[tuple[str, str], ...]) -> Translation:
    check = checked(sql, schema)
    uses_now = NOW in check.parameters
    others = sorted(check.parameters - {NOW})
    if others:
        raise QueryError(f"${others[0]} is no parameter", hint=f"${NOW} is the time of the evaluation")
    parameters: dict[str, object] = {NOW: datetime(2000, 1, 1)} if uses_now else {}
    columns = _beside_row(sql, check, row, parameters) if row else describer(schema).columns(sql, parameters, own=sql)
    return Translation(sql=sql, uses_now=uses_now, tables=frozenset(check.tables), columns=columns)


def _beside_row(
    sql: str, check: Check, row: tuple[tuple[str, str], ...], parameters: Mapping[str, object]
) -> dict[str, str]:
    """The columns of a query with a row's names in it: its own, then the row's."""
    for name, _ in row:
        for table in sorted(check.tables):
            for column in check.schema[table]:
                if column.casefold() == name.casefold():
                    raise QueryError(f"'{name}' is also the column {column} of {table}", hint="call one otherwise")
    listed = ", ".join(f"NULL::{KQL_TYPES[kind]} AS {quoted(name)}" for name, kind in row)
    try:
        whole = beside(sql, f"SELECT {listed}", "tocsin_found.*")
        found = describer(check.schema).columns(whole, parameters, own=sql, before=whole.index(sql))
    except QueryError as fault:
        if "orrelated" not in fault.message:
            raise
        hint = "the table's columns cannot stand there: join the table, as in FROM … JOIN … ON …"
        raise QueryError(fault.message, line=fault.line, column=fault.column, hint=hint) from fault
    for name, _ in row:
        if name.casefold() in map(str.casefold, found):
            raise QueryError(
                f"the query gives a value to '{name}', which is a column of the table", hint="call one otherwise"
            )
    return {**found, **dict(row)}


def checked(sql: str, schema: Schema, *, generated: bool = False) -> Check:
    """The check of one statement. ``generated`` SQL is longer than a person's, and may describe a query (getschema)."""
    if len(sql) > MAX_LENGTH * (64 if generated else 1):
        raise QueryError(f"the query has {len(sql)} characters; at most {MAX_LENGTH} are read")
    tree = describer(schema).parsed(sql)
    if tree.get("error", True):
        message = str(tree.get("error_message", "it is no SELECT"))
        if "Only SELECT" in message:
            raise QueryError("only SELECT is allowed", hint="write one SELECT")
        offset = str(tree.get("position", ""))
        line, column = place(sql, int(offset)) if offset.isdigit() else (0, 0)
        raise QueryError(message.split("\n")[0], line=line, column=column)
    statements = tree.get("statements", [])
    if len(statements) != 1:
        raise QueryError("one statement, please", hint="remove what follows the semicolon")
    check = Check(sql=sql, schema=schema, generated=generated)
    check.query(statements[0]["node"], frozenset())
    return check


@dataclass(slots=True)
class Check:
    """A walk over a parse tree; ``tables`` are those it reads, ``parameters`` those it binds."""

    sql: str
    schema: Schema
    generated: bool
    tables: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)  # columns that no table's name stands before, folded
    visited: int = 0
    times: int = 1
    sources: set[int] = field(default_factory=set)  # calls that stand in FROM, by id
    counted: set[int] = field(default_factory=set)  # calls that are parts of a chain, by id

    def query(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        """A SELECT or what joins SELECTs; ``ctes`` are the names, folded, that it sees around it."""
        if node["type"] not in _NODES:
            raise self._refused("recursive queries are refused" if "RECURSIVE" in node["type"] else node["type"], node)
        if node["type"] == "CTE_NODE":
            self.query(node["query"], ctes)
            ctes = ctes | {str(node["ctename"]).casefold()}
            self.query(node["child"], ctes)
            return
        for entry in node.get("cte_map", {}).get("map", []):
            self.query(entry["value"]["query"]["node"], ctes)
            ctes = ctes | {str(entry["key"]).casefold()}
        if node.get("sample"):
            raise QueryError("samples are refused: an evaluation must come out the same again")
        for key, value in node.items():
            if key != "cte_map":
                self._any(value, ctes)

    def _any(self, value: Any, ctes: frozenset[str]) -> None:
        self.visited += 1
        if self.visited > MAX_NODES * (10 if self.generated else 1):
            raise QueryError("the query is too large")
        if isinstance(value, list):
            for each in value:
                self._any(each, ctes)
        elif isinstance(value, dict):
            kind = value.get("type")
            if "cte_map" in value or kind in ("CTE_NODE", "RECURSIVE_CTE_NODE"):
                self.query(value, ctes)
                return
            if "class" in value:
                self._expression(value)
            elif "query_location" in value and "sample" in value:
                self._relation(value, ctes)
            for each in value.values():
                self._any(each, ctes)

    def _relation(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        kind = node["type"]
        if kind == "SHOW_REF" and self.generated and node.get("show_type") == "DESCRIBE" and node.get("query"):
            return
        if node.get("sample"):
            raise self._refused("samples are refused: an evaluation must come out the same again", node)
        if kind not in _RELATIONS:
            raise self._refused(f"{kind.lower()} is refused", node)
        if kind == "TABLE_FUNCTION":
            called = node.get("function") or {}
            if str(called.get("function_name", "")).lower() not in TABLE_FUNCTIONS:
                raise self._refused(f"the table function {called.get('function_name')} is refused", node)
            self.sources.add(id(called))
        if kind != "BASE_TABLE":
            return
        name = str(node["table_name"])
        if node.get("schema_name") or node.get("catalog_name"):
            raise self._refused("qualified table names are refused", node, "name the table alone")
        if name.casefold() in ctes:
            return
        for known in self.schema:
            if known.casefold() == name.casefold():
                self.tables.add(known)
                return
        raise self._refused(
            f"there is no table {name!r}", node, did_you_mean(name, self.schema, f"there are {', '.join(self.schema)}")
        )

    def _expression(self, node: dict[str, Any]) -> None:
        kind = node["class"]
        if kind not in _CLASSES:
            raise self._refused(f"{str(kind).lower()} is refused", node)
        if kind == "COLUMN_REF" and len(node["column_names"]) == 1 and not self.generated:
            self.bare.add(str(node["column_names"][0]).casefold())
            bare = str(node["column_names"][0]).lower()  # DuckDB reads some bare names as functions
            if bare in _CLOCKS:
                raise self._clock(bare, node)
            if bare in _SESSION:
                raise self._refused(f"{bare} is refused", node)
        if kind == "PARAMETER":
            self.parameters.add(str(node.get("identifier", "")))
        if kind not in ("FUNCTION", "WINDOW"):
            return
        name = str(node["function_name"]).lower()
        if node.get("catalog") or node.get("schema") not in ("", "main", "pg_catalog", None):
            raise self._refused("qualified function names are refused", node)
        if name in _CLOCKS:
            raise self._clock(f"{name}()", node)
        if name not in FUNCTIONS:
            raise self._refused(f"the function {name}() is refused", node, did_you_mean(name, FUNCTIONS))
        if not self.generated:
            self._bounded(name, node)

    def _bounded(self, name: str, node: dict[str, Any]) -> None:
        """Refuses what makes values of any length: DuckDB ends no function within one value, and counts none of its
        memory.
        """
        if name in LONGER and id(node) not in self.sources:
            raise self._refused(
                f"the function {name}() is refused: its result may be of any length", node, LONGER[name]
            )
        if name in JOINING and id(node) not in self.counted:
            self.times *= max(1, sum(part.get("class") != "CONSTANT" for part in self._parts(name, node)))
            if self.times > MAX_TIMES:
                raise self._refused("values are put side by side too often", node, "use concat() for texts")

    def _parts(self, name: str, node: dict[str, Any]) -> list[dict[str, Any]]:
        """What is put side by side: ``a || b || c`` is one row of three."""
        found: list[dict[str, Any]] = []
        stack = list(node.get("children", ()))
        while stack:
            part = stack.pop()
            if name == "||" and part.get("function_name") == name:
                self.counted.add(id(part))
                stack += part.get("children", ())
            else:
                found.append(part)
        return found

    def _clock(self, name: str, node: dict[str, Any]) -> QueryError:
        return self._refused(f"{name} is refused: an evaluation must come out the same again", node, f"use ${NOW}")

    def _refused(self, message: str, node: dict[str, Any], hint: str = "") -> QueryError:
        offset = node.get("query_location", -1)
        if self.generated or not isinstance(offset, int) or not 0 <= offset <= len(self.sql):
            return QueryError(message, hint=hint)
        line, column = place(self.sql, offset)
        return QueryError(message, line=line, column=column, hint=hint)
