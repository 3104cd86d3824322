"""A plan shared by rules of one shape finds what each rule's own query finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.kql.schema import KQL_TYPES, Schema, schema_with
from tocsin.logstore.sqlfiles import sql
from tocsin.model.columns import DUCKDB, RUN_STATUS_CHANGED

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})
T0 = datetime(2026, 3, 2, 12)

WORDS = [
    "",
    "Failed",
    "failed",
    "FAILED",
    "Completed",
    "churn",
    "a'b",
    'a"b',
    "5",
    "5.0",
    "é",
    "İ",
    "null",
    "true",
    "%",
]
words = st.sampled_from(WORDS)
scalars = st.one_of(words, st.integers(-3, 7), st.booleans(), st.none(), st.sampled_from([0.5, 5.0]))
objects = st.dictionaries(
    st.sampled_from(["env", "n", "a b"]), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=3
)
rows = st.fixed_dictionaries(
    {
        "Status": words,
        "ExperimentName": words,
        "Target": words,
        "Message": st.sampled_from(["", "CUDA out of memory", "code 5 at x", "code y at z"]),
        "WillRetry": st.sampled_from([True, False, None]),
        "Attempt": st.integers(0, 3),
        "DurationMs": st.one_of(st.none(), st.integers(-5, 5)),
        "Progress": st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0])),
        "Tags": objects,
        "age": st.integers(0, 3),
    }
)


def literal(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


TEXT = ["Status", "ExperimentName", "Target", "Tags.env", "Tags['a b']", "tostring(Tags.env)"]
NUMBER = ["DurationMs", "Attempt", "Progress", "Tags.n"]


@st.composite
def leaves(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A condition as a template with holes, and what this rule puts into them."""
    form = draw(st.integers(0, 6))
    if form == 0:
        op = draw(st.sampled_from(["==", "!=", "=~", "!~", "contains", "startswith", "!contains", "endswith_cs"]))
        return f"{draw(st.sampled_from(TEXT))} {op} {{}}", [literal(draw(words))]
    if form == 1:
        op = draw(st.sampled_from(["in", "!in", "in~"]))
        items = draw(st.lists(words, min_size=1, max_size=3))
        holes = ", ".join("{}" for _ in items)
        return f"{draw(st.sampled_from(TEXT))} {op} ({holes})", [literal(item) for item in items]
    if form == 2:
        op = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
        return f"{draw(st.sampled_from(NUMBER))} {op} {{}}", [str(draw(st.integers(0, 5)))]
    if form == 3:
        return f"{draw(st.sampled_from(NUMBER))} > {{}}", [draw(st.sampled_from(["0.5", "1.0", "4.5"]))]
    if form == 4:
        plain = ["WillRetry", "not(WillRetry)", "isempty(Target)", "isnotempty(Status)", "isnull(DurationMs)"]
        return draw(
            st.sampled_from(
                [
                    *plain,
                    "Message has 'memory'",
                    "TimeGenerated > ago(90m)",
                    "WillRetry == false",
                    "WillRetry != true",
                    "Message has_cs 'CUDA'",
                    "Tags.env has 'b'",
                    "Target !has 'a'",
                    "Status has ''",
                    "strlen(Status) > 4",
                ]
            )
        ), []
    if form == 5:
        return f"{draw(st.sampled_from(['DurationMs', 'Progress', 'Tags.n']))} between ({{}} .. {{}})", ["0", "4"]
    return "iff(Attempt > {}, Status, Target) == {}", [str(draw(st.integers(0, 3))), literal(draw(words))]


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, list[str]]:
    def join(left: tuple[str, list[str]], word: str, right: tuple[str, list[str]]) -> tuple[str, list[str]]:
        return f"({left[0]}) {word} ({right[0]})", [*left[1], *right[1]]

    def negate(inner: tuple[str, list[str]]) -> tuple[str, list[str]]:
        return f"not({inner[0]})", inner[1]

    return draw(
        st.recursive(
            leaves(),
            lambda inner: st.one_of(
                st.builds(join, inner, st.sampled_from(["and", "or"]), inner), st.builds(negate, inner)
            ),
            max_leaves=4,
        )
    )


STEPS = [
    "",
    "| extend Level = {}",
    "| extend Half = DurationMs * {}",
    "| parse Message with 'code ' code:int ' at ' rest",
    "| lookup prices on Target",
    "| lookup kind=inner prices on Target",
    "| extend Target = tolower(Target)",
    "| project Status, ExperimentName, Target, Tags, DurationMs, Attempt, Progress, WillRetry, Message, TimeGenerated",
    "| project-away Url, Raw",
    "| project-rename Where = Target | extend Target = Where",
]
FILLED = {"| extend Level = {}": "'x'", "| extend Half = DurationMs * {}": "2"}


@st.composite
def shapes(draw: st.DrawFn) -> list[str]:
    """Queries of one shape: one template, filled differently."""
    first, second = draw(conditions()), draw(conditions())
    step = draw(st.sampled_from(STEPS))
    template = f"RunStatusChanged | where {first[0]} {step} | where {second[0]}"
    holes = [*first[1], *([FILLED[step]] if step in FILLED else []), *second[1]]
    queries = []
    for _ in range(draw(st.integers(1, 3))):
        values = [draw(words.map(literal)) if hole[0] == "'" else hole for hole in holes]
        queries.append(template.format(*values))
    return queries


class Store:
    """A DuckDB with the tables of a schema."""

    def __init__(self, schema: Schema) -> None:
        self.con = duckdb.connect(":memory:", config={"threads": 1})
        self.con.execute("SET TimeZone='UTC'")
        for name, columns in schema.items():
            listed = ", ".join(f'"{column}" {KQL_TYPES[kind]}' for column, kind in columns.items())
            self.con.execute(f'CREATE TABLE "{name}" ({listed})')
        self.con.execute("INSERT INTO prices VALUES ('churn', 1.5), ('5', 2.5), ('churn', 9.5)")

    def fill(self, events: Sequence[dict[str, Any]]) -> None:
        self.con.execute("DELETE FROM RunStatusChanged")
        for number, event in enumerate(events):
            values: dict[str, Any] = {c.name: "" if DUCKDB[c.type] == "VARCHAR" else None for c in RUN_STATUS_CHANGED}
            values |= {key: value for key, value in event.items() if key != "age"}
            values |= {
                "EventId": f"e{number}",
                "Source": "s",
                "RunId": f"r{number}",
                "TimeGenerated": T0 - timedelta(hours=event["age"]),
                "IngestedAt": T0,
                "CommitSeq": number,
                "Tags": json.dumps(event["Tags"]),
                "Properties": "{}",
                "Raw": "{}",
            }
            marks = ", ".join("?" for _ in values)
            names = ", ".join(f'"{name}"' for name in values)
            self.con.execute(f"INSERT INTO RunStatusChanged ({names}) VALUES ({marks})", list(values.values()))

    def ids(self, query: str) -> set[str]:
        translation = translate(query, SCHEMA)
        return {str(row[0]) for row in self.con.execute(translation.sql, translation.parameters(T0)).fetchall()}

    def planned(self, plans: Sequence[RowPlan]) -> list[tuple[int, str]]:
        sql, parameters = plans[0].bind(
            "SELECT * FROM RunStatusChanged", [(n, p.constants) for n, p in enumerate(plans)]
        )
        answer = self.con.execute(sql, parameters)
        names = [column[0] for column in answer.description]
        assert ["rule_no", "Source", "EventId", "TimeGenerated", "CommitSeq", "RunId", *plans[0].computed] == names
        return [(int(row[0]), str(row[2])) for row in answer.fetchall()]


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(SCHEMA)


@settings(max_examples=examples(60), deadline=None)
@given(events=st.lists(rows, min_size=1, max_size=6), queries=shapes())
@example(
    events=[{"Status": "Failed", "ExperimentName": "", "Target": "", "Message": "", "WillRetry": None, "Attempt": 0}
            | {"DurationMs": None, "Progress": None, "Tags": {"n": "not a number"}, "age": 0}],
    queries=["RunStatusChanged | where Tags.n > 3 | where Status == 'Failed'"],
)  # fmt: skip
def test_a_shared_plan_finds_what_each_query_finds(
    store: Store, events: list[dict[str, Any]], queries: list[str]
) -> None:
    """For each rule of a shape: the same events, each once; every one of them satisfies the prefilter; and what Python
    decides of a row in memory is what DuckDB finds.
    """
    store.fill(events)
    plans = [row_plan(query, SCHEMA) for query in queries]
    assert 1 == len({plan.shape for plan in plans})
    found = store.planned(plans)
    assert len(set(found)) == len(found)
    by_id = {f"e{number}": event for number, event in enumerate(events)}
    for number, (query, plan) in enumerate(zip(queries, plans, strict=True)):
        expected = store.ids(identified(query))
        assert expected == {event for rule, event in found if rule == number}, query
        for event in expected:
            assert all(predicate.holds(by_id[event]) for predicate in plan.prefilter), (query, plan.prefilter)
        decided = {name: plan.matches({**event, "Tags": json.dumps(event["Tags"])}) for name, event in by_id.items()}
        known = {name for name, matches in decided.items() if matches is not None}
        assert expected & known == {name for name in known if decided[name]}, query


DECIDED = (
    "Status == 'Failed'", "Target startswith 'aks'", "Message has 'memory'", "Message !has_cs 'Disk'", "Url endswith 'x'",
    "WorkspaceName =~ 'Research'", "Tags.env == 'prod'", "tostring(Tags.team) in~ ('a', 'b')", "Target !in ('a')",
    "isnotempty(OwnerEmail)", "isempty(OwnerEmail)", "Progress >= 0.1", "Attempt <= 5", "DurationMs != 3",
    "strlen(Message) > 3", "not(WillRetry)", "WillRetry", "isnull(WillRetry) or WillRetry == false", "isnotnull(DurationMs)", "Attempt > 0 or Target contains_cs 'gpu'",
)  # fmt: skip
BEYOND = (
    "Message matches regex 'a.c'",
    "TimeGenerated > ago(1h)",
    "tolower(Target) == 'a'",
    "Tags.n > 3",
    "Attempt % 2 == 0",
)
ROW = {
    "Status": "Failed", "Target": "AKS-eu", "Message": "out of Memory", "Url": "x", "WorkspaceName": "research",
    "Tags": '{"env": "prod", "team": "A"}', "OwnerEmail": "", "Progress": None, "Attempt": 1, "DurationMs": 7,
    "WillRetry": False,
}  # fmt: skip


def test_what_python_decides_of_a_row_in_memory() -> None:
    """Most of what event rules ask; a missing column, letters beyond ASCII and the rest are DuckDB's."""

    def matches(where: str, row: dict[str, Any], more: str = "") -> bool | None:
        return row_plan(f"RunStatusChanged | where {where} {more}", SCHEMA).matches(row)

    wrong = {
        "Message !has_cs 'Disk'": True,
        "isnotempty(OwnerEmail)": False,
        "Progress >= 0.1": False,
        "WillRetry": False,
    }
    assert {where: wrong.get(where, True) for where in DECIDED} == {where: matches(where, ROW) for where in DECIDED}
    assert dict.fromkeys(BEYOND) == {where: matches(where, ROW) for where in BEYOND}
    assert matches("Target =~ 'AKS-EU'", ROW)
    assert None is matches("Target =~ 'aks'", {**ROW, "Target": "äks"})
    assert None is matches("Tags.env == 'prod'", {**ROW, "Tags": '{"env": 5}'})
    assert None is matches("Raw.a == 'b'", ROW)
    assert None is matches("Status == 'Failed'", ROW, "| extend Level = 1")
    assert None is matches("Status == 'Failed'", ROW, "| lookup kind=inner prices on Target")
    assert (
        matches("Status == 'Failed'", ROW, "| project RunId, Status | where RunId != '' or Status == 'Failed'") is None
    )
    assert matches("Status == 'Failed'", ROW, "| project Status | where Status =~ 'FAILED'")


def identified(query: str) -> str:
    """The query, giving the id of each event that it keeps."""
    return query.replace("| project Status", "| project EventId, Status") + " | project EventId"


def test_a_rule_over_azures_table_keeps_the_events_identity(store: Store) -> None:
    """The view has no EventId; the plan goes around it and finds the events that the view's rows come from."""
    store.con.execute("DROP TABLE IF EXISTS AmlRunStatusChangedEvent")
    store.con.execute(sql("create_aml_view"))
    event: dict[str, Any] = {"Status": "Failed", "ExperimentName": "", "Target": "", "Message": "x", "WillRetry": None, "Attempt": 0,
             "DurationMs": 7, "Progress": None, "Tags": {}, "age": 0}  # fmt: skip
    store.fill([event, {**event, "Status": "Completed"}, {**event, "DurationMs": 3}])
    query = "AmlRunStatusChangedEvent | where Status == 'Failed' and toint(DurationMs) > 5 and TimeGenerated > ago(1h)"
    plan = row_plan(f"{query} | project RunId, Level, ms = DurationMs", SCHEMA)
    assert [(0, "e0")] == store.planned([plan])
    assert {"r0"} == store.ids(f"{query} | project RunId")
    assert ("Level", "ms") == plan.computed
