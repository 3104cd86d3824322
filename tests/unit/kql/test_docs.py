"""docs/kql.md is true: each example works, or is refused, as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tocsin.errors import QueryError
from tocsin.kql.parse.functions import RENAMED
from tocsin.kql.parse.rewrite import REFUSED
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.query import user_query
from tocsin.kql.plan.rowplan import row_plan
from tocsin.kql.sandbox import upstream
from tocsin.kql.schema import schema_with
from tocsin.model.statuses import Kind

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "kql.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```kql ?(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})


@pytest.mark.parametrize(("said", "query"), EXAMPLES)
def test_each_example_does_what_the_page_says(said: str, query: str) -> None:
    if said == "refused":
        with pytest.raises(QueryError):
            user_query(query, SCHEMA)
        return
    assert user_query(query, SCHEMA).columns
    kind = classify(query, SCHEMA).kind
    assert kind is (Kind.WINDOW if said == "window" else Kind.EVENT)
    if kind is Kind.EVENT:
        assert row_plan(query, SCHEMA).sql


def test_the_page_has_examples_of_each_sort() -> None:
    """A typo in a fence would silently take its example out of the test above."""
    assert {"", "window", "refused"} == {said for said, _ in EXAMPLES}
    assert PAGE.count("```kql") == len(EXAMPLES)


def test_each_function_of_the_page_is_known() -> None:
    """And each old name."""
    listed = PAGE.partition("Functions, besides")[2].partition("Old names")[0]
    operators = {"has_any", "has_all"}
    special = {"column_ifexists", "bin_at", "ingestion_time", "row_number", "prev", "next", "row_cumsum", "percentiles"}
    known = upstream.SCALARS | upstream.AGGREGATES | operators | special
    named = {name for name in re.findall(r"`([a-z_0-9]+)`", listed) if name not in ("_if", "extend", "project", "sort")}
    assert set() == named - known
    assert set(RENAMED) - {"columnifexists", "strcat_array_delim"} <= set(re.findall(r"`(\w+)`", PAGE))


def test_each_refused_operator_is_on_the_page() -> None:
    listed = PAGE.partition("What is refused")[2]
    quiet = {"find", "invoke", "consume", "macro-expand", "make-graph", "evaluate"}
    assert [] == [name for name in sorted(set(REFUSED) - quiet) if f"`{name}`" not in listed]
