"""Mistakes in conditions: each is refused with its place, in KQL's words, and with what would be right."""

import duckdb
import pytest

from tocsin.errors import QueryError
from tocsin.kql.bind.sqlcheck import check_sql
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.rowplan import row_plan
from tocsin.kql.schema import schema_with
from tocsin.logstore.query.refusals import refusal

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})

MISTAKES = [
    # what other languages write
    ("Status = 'Failed'", 8, "'=' gives a name to a value; a comparison is written '=='; write Status == …"),
    ("Attempt > 1 and (Status = 'Failed')", 25, "a comparison is written '=='"),
    ("Status === 'Failed'", 8, "write =="),
    ("Status is null", 8, "'is' is no operator; write isnull(…)"),
    ("Status like 'F%'", 8, "write contains, startswith"),
    ("Status == 'a' && Attempt == 1", 15, "'&&' is no operator; write and"),
    ("Status == 'a' || Attempt == 1", 15, "'||' is no operator; write or"),
    ("Status == 'a' AND Attempt == 1", 15, "'AND' is no operator; write and"),
    ("!(Status == 'a')", 1, "write not(…)"),
    ("not Status == 'a'", 1, "'not' is a function"),
    ("Attempt => 1", 9, "write >="),
    ("Attempt =< 1", 9, "write <="),
    ("Status ~= 'x'", 8, "write =~"),
    ("Status in 'a'", 11, "'in' takes a list; write in ('a')"),
    ("Status == 'a' Attempt == 1", 15, "'Attempt' is no operator; put and, or"),
    ("Status == Failed", 11, "a text needs quotes: 'Failed'"),
    ("Status == null", 11, "write isnull(…)"),
    ("tolowr(Status) == 'failed'", 1, "there is no function tolowr(); did you mean tolower?"),
    # no condition
    ("Status", 1, "the condition is neither true nor false: Status is a string; write Status == …"),
    ("3", 1, "the condition is neither true nor false: 3 is a long"),
    ("'Failed'", 1, "neither true nor false"),
    ("1h", 1, "neither true nor false"),
    ("strlen(Status)", 1, "neither true nor false: strlen() is a long"),
    ("Attempt == 1 and Status", 1, "a side of 'and' is neither true nor false: Status is a string"),
    ("Status or Attempt == 1", 1, "a side of 'or'"),
    ("not(Attempt)", 1, "neither true nor false: Attempt is an int"),
    ("iff(Status, true, false)", 1, "a condition of iff()"),
    # types
    ("Attempt == 'x'", 1, "'==' compares values of different types: Attempt is an int, 'x' is a string"),
    ("Attempt > '3'", 1, "write 3 without quotes"),
    ("Status == 3", 1, "write '3'"),
    ("Status > 3", 1, "Status is a string, 3 is a long"),
    ("Status == Attempt", 1, "convert one side: tostring(…)"),
    ("TimeGenerated > '2026-01-01'", 1, "write datetime(2026-01-31) or ago(1h)"),
    ("EndTime - StartTime > 5", 1, "write a timespan such as 5m"),
    ("WillRetry == 'true'", 1, "write true or false"),
    ("Status in ('a', 1)", 1, "'in' compares values of different types"),
    ("Attempt between ('a' .. 'b')", 1, "'between' compares values of different types"),
    ("Attempt has 'x'", 1, "'has' compares texts, but Attempt is an int; write tostring(Attempt)"),
    ("Status =~ 5", 1, "write '5'"),
    ("Status + 1 == 2", 1, "texts are joined with strcat(…)"),
    ("StartTime + 5 > now()", 1, "'+' does not go with these types"),
    ("Status.x == 1", 1, "there is nothing inside Status, which is a string; write parse_json(Status)"),
    ("startofday(Status) > ago(1d)", 1, "startofday() takes a datetime, but Status is a string"),
    ("round(Status) > 1", 1, "round() takes a number"),
    ("iff(Status == 'a', 1, 'x') == 1", 1, "iff() gives values of different types"),
    ("split(Status, ',') > 3", 7, "a dynamic cannot be compared with a long"),  # of which only DuckDB knows the type
]


@pytest.mark.parametrize(("condition", "column", "says"), MISTAKES)
def test_a_mistake_in_a_condition_is_refused_at_its_place(condition: str, column: int, says: str) -> None:
    """In an event rule, which wraps it, as in a query that somebody types."""
    with pytest.raises(QueryError) as event:
        row_plan(f"RunStatusChanged\n| where (\n{condition}\n)", SCHEMA)
    with pytest.raises(QueryError) as asked:
        translate(f"RunStatusChanged\n| where {condition}", SCHEMA)
    for caught, line, left in ((event.value, 3, 0), (asked.value, 2, len("| where "))):
        assert says in str(caught)
        assert (line, column + left) == (caught.line, caught.column), str(caught)
        assert not {"VARCHAR", "BIGINT", "INTEGER", "explicit cast", "SEM0"} & set(str(caught).split()), str(caught)


@pytest.mark.parametrize(
    "condition",
    [
        "Status == 'Failed' and Attempt > 1 or WillRetry",
        "Tags.env == 3 and Tags.n > 'a' and Tags.on",  # a path may hold anything
        "Status in ((RunStatusChanged | summarize n = count() by Status | where n > 1 | project Status))",
        "RunId in (prices | extend x = usd * 2 | distinct Target)",
        "TimeGenerated between (ago(1h) .. now()) and StartTime between (ago(2h) .. 1h)",
        "TimeGenerated between (datetime(2026-01-01 10:00) .. datetime(2026-01-02T00:00:00Z))",
        "(EndTime - StartTime) / 1s > 5 and EndTime - StartTime > 2 * 1h and DurationMs * 1ms > 5m",
        "Message matches regex 'a b' and Message !contains 'is' and Message !has_cs 'like'",
        "Status !in~ ('a', 'b') and Message has_any ('is', 'null') and isnotempty(Tags['is null'])",
        "iff(Attempt > 1, Tags.a, dynamic(1)) == 1 and case(Attempt > 1, 1, WillRetry, 2, 3) > 1",
        "toint(Status) == 1 and tostring(Attempt) has '1' and strcat(Status, Attempt) == 'Failed1'",
        "WillRetry == 1 and dynamic({'is': 'null'}).is == 'null' // Status = 'Failed'",
    ],
)
def test_what_kql_allows_stays_allowed(condition: str) -> None:
    translate(f"RunStatusChanged\n| where {condition}\n| take 1", SCHEMA)


def test_types_are_checked_in_every_operator() -> None:
    for query, says in (
        ("Runs | extend a = 'x' + 1", "line 1, column 19: '+' computes with numbers"),
        ("Runs | summarize a = sum(Status)", "line 1, column 22: sum() takes a number or timespan"),
        ("Runs | summarize a = countif(Status) by RunId", "line 1, column 22: a condition of countif()"),
        ("Runs | project a = iff(Attempt, 1, 2)", "a condition of iff()"),
        ("Runs | extend a = split(Status, ',') | extend b = a + 1", "line 1, column 51: a function or operator"),
        ("let n = 'x'; Runs | where Attempt == n", "Attempt is an int, 'x' is a string"),
        ("Runs | join kind=inner (prices | where usd == 'x') on Target", "line 1, column 40: '=='"),
    ):
        with pytest.raises(QueryError) as caught:
            translate(query, SCHEMA)
        assert says in str(caught.value), query


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select RunId from Runs\nwhere Status > 3", "line 2, column 14: a string cannot be compared with a long"),
        ("select nope from Runs", "line 1, column 8: there is no column 'nope' here"),
        ("select sum(Status) from Runs", "line 1, column 8: sum does not take string; convert one: CAST(… AS …)"),
        ("select Attempt from Runs group by Status", "'Attempt' is neither in GROUP BY nor inside an aggregate"),
    ],
)
def test_a_fault_of_sql_has_its_place_and_our_types(sql: str, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        check_sql(sql, SCHEMA)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT CAST(x AS INTEGER) FROM (SELECT 'abc' AS x)", "'abc' is no int"),
        ("SELECT CAST(x AS TIMESTAMP) FROM (SELECT 'abc' AS x)", "'abc' is no datetime"),
        ("SELECT CAST(x AS JSON) FROM (SELECT '{' AS x)", "a text is no JSON"),
        ("SELECT x * x FROM (SELECT 9000000000000000000 AS x)", "a number becomes too large"),
        ("SELECT error('s() would grow')", "s() would grow"),
        ("SELECT nothing_of_the_kind(1)", "tocsin cannot run this query"),
    ],
)
def test_what_duckdb_says_while_it_runs_is_said_in_our_words(sql: str, says: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute(sql).fetchall()
    assert says == refusal(str(caught.value)).message
