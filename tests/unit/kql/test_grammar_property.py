"""Queries drawn from a grammar of KQL: each is answered or refused with a reason, and the store outlives all of them."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, event
from tocsin.clock import SystemClock
from tocsin.errors import QueryError
from tocsin.kql.plan.query import user_query
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Limits

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TABLES = ("RunStatusChanged", "Runs", "Heartbeats", "Alerts", "DeadLetters", "Nothing")
COLUMNS = ("RunId", "Status", "TimeGenerated", "Tags", "Progress", "DurationMs", "Attempt", "n", "x", "Missing")
FUNCTIONS = (
    "tostring", "tolong", "toint", "todouble", "tobool", "todatetime", "totimespan", "strlen", "tolower", "isempty", "isnotempty", "parse_json", "bin", "ago",
    "startofday", "datetime_add", "datetime_diff", "format_datetime", "split", "strcat", "substring", "indexof", "extract", "replace_string", "iff", "case",
    "coalesce", "bag_keys", "array_length", "pack_array", "hash", "round", "floor", "pow", "sqrt", "log", "abs", "isnull", "make_datetime", "nosuch",
)  # fmt: skip
AGGREGATES = (
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "dcount",
    "make_list",
    "make_set",
    "percentile",
    "arg_max",
    "arg_min",
    "any",
    "countif",
    "sumif",
    "stdev",
)
LITERALS = (
    "1", "0", "-1", "3.5", "1e308", "9223372036854775807", "'a'", "''", "\"b\"", "@'c\\d'", "true", "false", "datetime(2026-01-05)", "datetime(null)", "5m", "1d",
    "0s", "dynamic({})", "dynamic([1,2])", "int(null)", "real(nan)", "guid(00000000-0000-0000-0000-000000000000)", "'é'", "'it''s'", "h'x'",
)  # fmt: skip
OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "and",
    "or",
    "has",
    "!has",
    "contains",
    "startswith",
    "in~",
    "=~",
    "matches regex",
    "between",
)


def _call(args: list[str], name: str) -> str:
    return f"{name}({', '.join(args)})"


def _two(parts: tuple[str, str, str]) -> str:
    left, operator, right = parts
    if operator == "in~":
        return f"({left} in~ ({right}, 'z'))"
    if operator == "between":
        return f"({left} between ({right} .. {right}))"
    return f"({left} {operator} {right})"


expressions: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(COLUMNS + LITERALS),
    lambda inner: (
        st.builds(_call, st.lists(inner, max_size=3), st.sampled_from(FUNCTIONS))
        | st.tuples(inner, st.sampled_from(OPERATORS), inner).map(_two)
        | inner.map(lambda e: f"-({e})")
        | inner.map(lambda e: f"({e})[0]")
        | inner.map(lambda e: f"({e}).a.b")
    ),
    max_leaves=8,
)
names = st.sampled_from(COLUMNS)
aggregates = st.builds(_call, st.lists(expressions, max_size=2), st.sampled_from(AGGREGATES))
stages = st.one_of(
    expressions.map(lambda e: f"where {e}"),
    st.builds(lambda n, e: f"extend {n} = {e}", names, expressions),
    st.lists(names, min_size=1, max_size=3).map(lambda n: f"project {', '.join(n)}"),
    st.builds(lambda a, n: f"summarize x = {a} by {n}", aggregates, expressions),
    st.builds(lambda a: f"summarize {a}", aggregates),
    st.builds(lambda n, e: f"top {n} by {e}", st.integers(0, 5), expressions),
    st.builds(lambda e, w: f"sort by {e} {w}", expressions, st.sampled_from(("asc", "desc", "asc nulls last", ""))),
    st.integers(-1, 5).map(lambda n: f"take {n}"),
    names.map(lambda n: f"distinct {n}"),
    names.map(lambda n: f"mv-expand {n}"),
    st.builds(lambda t, n: f"join kind=leftouter ({t} | take 3) on {n}", st.sampled_from(TABLES), names),
    st.builds(lambda t: f"union ({t} | take 2)", st.sampled_from(TABLES)),
    names.map(lambda n: f"parse {n} with * 'a' x: long 'b'"),
    st.sampled_from(("count", "serialize n = row_number()", "getschema", "render timechart", "project-away x", "evaluate bag_unpack(Tags)", "sample 2", "as T", "|", "where", "no such")),
)  # fmt: skip
queries = st.builds(
    lambda lets, source, found: " | ".join([f"{lets}{source}", *found]),
    st.sampled_from(
        (
            "",
            "",
            "let n = 5; ",
            "let x = Runs | take 3; ",
            "let f = (a: long) { a + 1 }; ",
            "declare query_parameters(n: long = 3); ",
        )
    ),
    st.sampled_from(
        (*TABLES, "print x = 1", "range x from 1 to 3 step 1", "datatable(x: long)[1, 2]", "union Runs, Alerts", "x")
    ),
    st.lists(stages, max_size=5),
)


@pytest.fixture(scope="module")
def store() -> Iterator[DuckLogStore]:
    with closing(DuckLogStore.open(None, clock=SystemClock())) as made:
        put = Bench(made, SystemClock())
        put(*[event(f"r{n}", Status=("Failed", "Running")[n % 2], Tags={"a": {"b": n}}) for n in range(10)])
        yield made


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries)
def test_a_query_is_answered_or_refused(store: DuckLogStore, query: str) -> None:
    """Nothing else is raised, neither by the translation nor by the store."""
    try:
        made = user_query(query, store.schema())
        found = store.select(made.sql, made.parameters(NOW), Limits(seconds=10, rows=100, watched=True))
    except QueryError as refused:
        assert refused.message
        return
    assert list(made.columns) == found.column_names
    found.to_pylist()
