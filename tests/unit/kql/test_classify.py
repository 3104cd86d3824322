"""Row or window: SEMANTICS.md, "Two lifetimes of an alert"."""

from __future__ import annotations

import pytest

from tocsin.errors import QueryError
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.prefilter import Op, Predicate
from tocsin.kql.plan.rowplan import row_plan
from tocsin.kql.schema import schema_with
from tocsin.model.statuses import Kind

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}, "vips": {"Email": "string"}})
BASELINE = "let usual = RunStatusChanged | summarize p95 = percentile(DurationMs, 95) by ExperimentName; "


@pytest.mark.parametrize(
    "query",
    [
        "RunStatusChanged",
        "RunStatusChanged | where Status == 'Failed'",
        "AmlRunStatusChangedEvent | where Status == 'Failed'",
        "RunStatusChanged | extend env = tostring(Tags.env) | where env == 'prod' | project RunId, env",
        "RunStatusChanged | parse Message with 'exit code ' code:int * | where code == 137 | project-away Raw",
        "RunStatusChanged | lookup prices on Target | where usd > 5 | project-rename cost = usd",
        "RunStatusChanged | where OwnerEmail in (vips | project Email)",
        BASELINE + "RunStatusChanged | lookup usual on ExperimentName | where DurationMs > 2 * p95",
        "let failed = RunStatusChanged | where Status == 'Failed'; failed | where Target == 'gpu'",
        "let most = 5; RunStatusChanged | where Attempt > most | render table",
    ],
)
def test_row_queries(query: str) -> None:
    assert (Kind.EVENT, True) == (classify(query, SCHEMA).kind, row_plan(query, SCHEMA).sql != "")


@pytest.mark.parametrize(
    ("query", "because"),
    [
        ("RunStatusChanged | summarize count() by Status", "summarize"),
        ("RunStatusChanged | count", "count"),
        ("RunStatusChanged | distinct RunId", "distinct"),
        ("RunStatusChanged | join kind=inner (RunStatusChanged) on RunId", "join"),
        ("RunStatusChanged | mv-expand Tags", "mv-expand"),
        ("RunStatusChanged | sort by TimeGenerated", "sort"),
        ("RunStatusChanged | top 5 by DurationMs", "top"),
        ("RunStatusChanged | take 5", "take"),
        ("RunStatusChanged | union RunStatusChanged", "union"),
        ("Runs | where Status == 'Running'", "Runs holds states"),
        ("Heartbeats | where Progress > 0.5", "Heartbeats holds states"),
        ("prices | where usd > 5", "no events"),
        ("print 1", "no events"),
        ("RunStatusChanged | where RunId in (RunStatusChanged | where Status == 'Failed' | project RunId)", "let"),
        ("RunStatusChanged | lookup Runs on RunId", "rows of Runs"),
        ("RunStatusChanged | where Attempt > toscalar(Runs | summarize max(Attempt))", "rows of Runs"),
    ],
)
def test_window_queries_say_why(query: str, because: str) -> None:
    found = classify(query, SCHEMA)
    assert Kind.WINDOW is found.kind
    assert because in found.reason
    with pytest.raises(QueryError, match="no event query"):
        row_plan(query, SCHEMA)


def _eq(column: str, *values: object, path: tuple[str, ...] = (), op: Op = Op.EQ) -> Predicate:
    return Predicate(column=column, path=path, op=op, values=values)


@pytest.mark.parametrize(
    ("condition", "prefilter"),
    [
        ("Status == 'Failed'", [_eq("Status", "Failed")]),
        ("'Failed' == Status", [_eq("Status", "Failed")]),
        ("Status in ('Failed', 'Canceled', 'Failed')", [_eq("Status", "Failed", "Canceled", op=Op.IN)]),
        ("Status == 'Failed' or Status == 'Canceled'", [_eq("Status", "Failed", "Canceled", op=Op.IN)]),
        ("Tags.env =~ 'Prod'", [_eq("Tags", "prod", path=("env",), op=Op.EQ_CI)]),
        ("Tags['a b'].c == 'x'", [_eq("Tags", "x", path=("a b", "c"))]),
        ("tostring(Tags.env) == 'x'", [_eq("Tags", "x", path=("env",))]),
        ("Target in~ ('A', 'b')", [_eq("Target", "a", "b", op=Op.EQ_CI)]),
        ("WillRetry == false", [_eq("WillRetry", False)]),
        ("Status == 'Failed' and (Target == 'a' and Attempt > 1)", [_eq("Status", "Failed"), _eq("Target", "a")]),
        ("Status == 'Failed' or Target == 'a'", []),
        ("Status != 'Failed'", []),
        ("not(Status == 'Failed')", []),
        ("Status =~ 'É'", []),
        ("Attempt == 1", []),
        ("Tags.n == 5", []),
        ("Tags[0] == 'x'", []),
    ],
)
def test_prefilters(condition: str, prefilter: list[Predicate]) -> None:
    assert prefilter == list(row_plan(f"RunStatusChanged | where {condition}", SCHEMA).prefilter)


@pytest.mark.parametrize(
    ("query", "prefilter"),
    [
        ("RunStatusChanged | extend Status = 'x' | where Status == 'x'", []),
        ("RunStatusChanged | extend s = Status | where s == 'x'", [_eq("Status", "x")]),
        ("RunStatusChanged | project-rename s = Status | where s == 'x'", [_eq("Status", "x")]),
        ("RunStatusChanged | project s = Status, Target | where s == 'x' and Target == 'y'", [_eq("Status", "x"), _eq("Target", "y")]),
        ("RunStatusChanged | project Status = Target | where Status == 'x'", [_eq("Target", "x")]),
        ("RunStatusChanged | parse Message with 'a' Status | where Status == 'x'", []),
        ("RunStatusChanged | lookup prices on Target | where Target == 'x'", [_eq("Target", "x")]),
        ("AmlRunStatusChangedEvent | where Status == 'Failed' and Level == 'Error'", [_eq("Status", "Failed")]),
    ],
)  # fmt: skip
def test_prefilters_follow_names(query: str, prefilter: list[Predicate]) -> None:
    """A name stands for an event's column only until it is given another value."""
    assert prefilter == list(row_plan(query, SCHEMA).prefilter)


def test_what_a_prefilter_cannot_judge_is_tried() -> None:
    predicate = _eq("Tags", "5", path=("n",))
    assert [True, True, False, True, False] == [
        predicate.holds({"Tags": tags}) for tags in ('{"n": "5"}', '{"n": 5}', "{}", {"n": [1]}, {"n": "6"})
    ]


def test_one_shape_for_what_differs_in_constants_alone() -> None:
    """And another one for whatever changes the meaning of the words around them."""
    first = row_plan("RunStatusChanged | where Status == 'Failed' and Attempt > 1 | extend team = 'a'", SCHEMA)
    same = row_plan('RunStatusChanged|where Status=="Canceled" and Attempt>7 // why\n| extend team = "b"', SCHEMA)
    assert (first.shape, first.sql) == (same.shape, same.sql)
    assert (("Failed", 1, "a"), ("Canceled", 7, "b")) == (first.constants, same.constants)
    others = [
        "RunStatusChanged | where Status == 'Failed' and Attempt > 1.5 | extend team = 'a'",
        "RunStatusChanged | where Status =~ 'Failed' and Attempt > 1 | extend team = 'a'",
        "RunStatusChanged | where Status has 'Failed' and Attempt > 1 | extend team = 'a'",
        "RunStatusChanged | where Status has 'Other' and Attempt > 1 | extend team = 'a'",
        "RunStatusChanged | where Tags['a'] == 'Failed' and Attempt > 1 | extend team = 'a'",
        "RunStatusChanged | where Tags['b'] == 'Failed' and Attempt > 1 | extend team = 'a'",
    ]
    assert len(others) == len({row_plan(query, SCHEMA).shape for query in others} - {first.shape})


def test_fields_are_the_events_and_the_computed_ones() -> None:
    plan = row_plan(
        "RunStatusChanged | extend usd = DurationMs * 0.5, Message = toupper(Message) | project usd, Message", SCHEMA
    )
    assert ("usd", "Message") == plan.computed
    assert ("real", "string", "string") == (plan.columns["usd"], plan.columns["Message"], plan.columns["Target"])


@pytest.mark.parametrize("name", ["RunId", "EventId", "Source", "TimeGenerated", "CommitSeq"])
def test_an_identity_is_not_given_away(name: str) -> None:
    with pytest.raises(QueryError, match="identity"):
        row_plan(f"RunStatusChanged | extend {name} = 'x'", SCHEMA)


def test_tables_read_besides_the_rows() -> None:
    assert frozenset() == row_plan("RunStatusChanged | where Status == 'x'", SCHEMA).tables
    plan = row_plan(BASELINE + "RunStatusChanged | lookup usual on ExperimentName | lookup prices on Target", SCHEMA)
    assert frozenset({"RunStatusChanged", "prices"}) == plan.tables


def test_a_rule_of_another_shape_is_not_bound() -> None:
    plan = row_plan("RunStatusChanged | where Status == 'x'", SCHEMA)
    with pytest.raises(ValueError, match="another shape"):
        plan.bind("SELECT * FROM RunStatusChanged", [(1, ("a", "b"))])
