"""Plans of window queries: what fires becomes a column, and rules of a shape share one SQL that says what each
notifies alone.
"""

from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.kql.plan.windowplan import WindowPlan, condition_fault, sql_query, window_plan, window_query
from tocsin.kql.sandbox.describe import quoted
from tocsin.kql.schema import KQL_TYPES, Schema, schema_with

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})
NOW = datetime(2026, 1, 5, 12)
RATE = """
RunStatusChanged
| where Status in ('Completed', 'Failed')
| where ExperimentName == '{}'
| summarize failed = countif(Status == 'Failed'), n = count() by Target
| where n >= {} and failed > {}
"""


def store(schema: Schema, rows: list[tuple[str, str, str]]) -> duckdb.DuckDBPyConnection:
    """Tables of the schema, RunStatusChanged with (Status, ExperimentName, Target)."""
    con = duckdb.connect()
    for name, columns in schema.items():
        listed = ", ".join(f"{quoted(column)} {KQL_TYPES[kind]}" for column, kind in columns.items())
        con.execute(f"CREATE TABLE {quoted(name)} ({listed})")
    for status, experiment, target in rows:
        con.execute(
            "INSERT INTO RunStatusChanged BY NAME"
            " SELECT ? AS Status, ? AS ExperimentName, ? AS Target, ?::TIMESTAMP AS TimeGenerated",
            [status, experiment, target, NOW - timedelta(minutes=1)],
        )
    return con


def rows(con: duckdb.DuckDBPyConnection, plan: WindowPlan, *, every: bool = False) -> list[tuple[object, ...]]:
    sql, parameters = plan.bind(range(len(plan.constants)), {}, [], every=every)
    if plan.built.uses_now:
        parameters["kqlnow"] = NOW
    return sorted(con.execute(sql, parameters).fetchall())


def test_the_last_wheres_say_what_fires_the_first_choose_the_data() -> None:
    query = window_query(RATE.format("a", 2, 0), SCHEMA, by=["Target"], made={"tocsin_clear": "failed < 1"})
    con = store(SCHEMA, [("Failed", "a", "x"), ("Completed", "a", "x"), ("Completed", "a", "y"), ("Failed", "b", "z")])
    assert {"Target": "string", "failed": "long", "n": "long"} == query.columns
    plan = window_plan([query])
    assert [(0, "x", True, False, "x", 1, 2)] == rows(con, plan)
    assert [(0, "x", True, False, "x", 1, 2), (0, "y", False, True, "y", 0, 1)] == rows(con, plan, every=True)
    assert [("Status", ("Completed", "Failed")), ("ExperimentName", ("a",))] == [
        (p.column, p.values) for p in query.prefilter
    ]


def test_a_fuzzy_union_leaves_out_what_is_not_there() -> None:
    text = "union isfuzzy=true AmlComputeJobEvent, RunStatusChanged | summarize n = count() by Target | where n > 1"
    plan = window_plan([window_query(text, SCHEMA, by=["Target"])])
    assert [(0, "x", True, "x", 2)] == rows(store(SCHEMA, [("Failed", "a", "x")] * 2), plan)


def test_a_known_instance_is_seen_though_it_does_not_hold() -> None:
    plan = window_plan([window_query(RATE.format("a", 5, 0), SCHEMA, by=["Target"])])
    con = store(SCHEMA, [("Failed", "a", "x"), ("Failed", "a", "y")])
    sql, parameters = plan.bind([0], {}, [(0, "y")])
    assert [(0, "y", False, "y", 1, 1)] == con.execute(sql, parameters).fetchall()


def test_what_differs_joins_as_late_as_it_can() -> None:
    """Rules that differ in a threshold alone aggregate once."""
    plan = window_plan([window_query(RATE.format("a", n, 0), SCHEMA, by=["Target"]) for n in (1, 2)])
    first, _, after = plan.built.sql.partition('CROSS JOIN "constants"')
    assert ("count(*)" in first, "count(*)" in after, ((1,), (2,))) == (True, False, plan.constants)


@given(
    st.lists(
        st.tuples(st.sampled_from(["Failed", "Completed", "Queued"]), st.sampled_from("ab"), st.sampled_from("xy")),
        max_size=12,
    ),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=4),
)
def test_together_they_find_what_each_finds_alone(
    events: list[tuple[str, str, str]], rules: list[tuple[str, int, int]]
) -> None:
    con = store(SCHEMA, events)
    queries = [window_query(RATE.format(*rule), SCHEMA, by=["Target"]) for rule in rules]
    assert 1 == len({q.shape for q in queries})
    alone = [(n, *row[1:]) for n, q in enumerate(queries) for row in rows(con, window_plan([q]), every=True)]
    assert sorted(alone) == rows(con, window_plan(queries), every=True)


@pytest.mark.parametrize(
    "query",
    [
        "RunStatusChanged | where Target == '{}' | summarize n = count() | where n < 5",
        "RunStatusChanged | where Target == '{}' | top 3 by TimeGenerated",
        "RunStatusChanged | where Target == '{}' | summarize arg_max(TimeGenerated, *) by RunId",
        "RunStatusChanged | where Target == '{}' | sort by TimeGenerated | extend before = prev(Status)",
    ],
)
def test_what_would_mix_rules_is_not_shared(query: str) -> None:
    queries = [window_query(query.format(name), SCHEMA) for name in "xy"]
    assert 2 == len({q.shape for q in queries})


def test_only_columns_that_somebody_needs_are_read() -> None:
    query = window_query("Runs | where Status == 'Running' | extend x = 1", SCHEMA, by=["RunId"], needs=["Url"])
    assert ["RunId", "Url", "Status", "x"] == list(query.columns)
    whole = window_query("Runs | where Status == 'Running'", SCHEMA, by=["RunId"])
    assert len(SCHEMA["Runs"]) == len(whole.columns)


def test_states_are_no_events() -> None:
    """An instance that is in no log any more has no data; one that is in no state any more does not hold."""
    assert window_query("RunStatusChanged | summarize count() by RunId", SCHEMA).events
    assert not window_query("Runs | where Status == 'Running'", SCHEMA).events
    assert not sql_query("SELECT RunId FROM RunStatusChanged", SCHEMA).events


def test_sql_may_use_the_time_and_conditions() -> None:
    query = sql_query(
        "SELECT Target, count(*) AS n FROM RunStatusChanged WHERE TimeGenerated < $kqlnow GROUP BY 1", SCHEMA,
        by=["Target"], made={"tocsin_clear": "n < 2"},
    )  # fmt: skip
    con = store(SCHEMA, [("Failed", "a", "x"), ("Failed", "a", "y"), ("Failed", "a", "y")])
    assert [(0, "x", True, True, "x", 1), (0, "y", True, False, "y", 2)] == rows(con, window_plan([query]))


@pytest.mark.parametrize("condition", ["n < 5 | take 1", "n < 5)", "(n < 5", "a = 1, b = 2", "n; print 1"])
def test_a_condition_is_one_expression(condition: str) -> None:
    assert condition_fault(condition)
    assert "" == condition_fault("n < 5 and (a or b in ('x', 'y'))")
