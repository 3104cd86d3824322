"""KQL becomes SQL over the schema; what is wrong is notified with its place."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

import duckdb
import pytest

from tocsin.errors import QueryError
from tocsin.kql.bind.translate import translate
from tocsin.kql.schema import KQL_TYPES, schema_with

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})
NOW = datetime(2026, 3, 2, 12)
TESTED = ("1.1", "1.2")  # versions of duckdb-kql: from the first, below the second


def test_the_installed_duckdb_kql_is_one_that_was_tested() -> None:
    """Everything in upstream.py was tried with these versions; another one needs an evaluation and this line."""
    first, below = (tuple(map(int, each.split("."))) for each in TESTED)
    assert first <= tuple(map(int, version("duckdb-kql").split(".")[:2])) < below


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("RunStatusChanged | count", {"Count": "long"}),
        ("// a comment\n// another\nRuns | project RunId, Attempt", {"RunId": "string", "Attempt": "int"}),
        (
            "let since = ago(1h); let bad = dynamic(['Failed']); RunStatusChanged | where TimeGenerated > since"
            " | where Status in (bad) | summarize n = count(), p = percentile(DurationMs, 95) by Target"
            " | extend rate = todouble(n) / 2",
            {"Target": "string", "n": "long", "p": "long", "rate": "real"},
        ),
        (
            "RunStatusChanged | extend env = Tags.env, age = now() - TimeGenerated, ok = Status == 'x' | project env, age, ok",
            {"env": "dynamic", "age": "timespan", "ok": "bool"},
        ),
        ("Runs | lookup prices on Target | project usd", {"usd": "real"}),
        ("RunStatusChanged | summarize arg_max(TimeGenerated, Status) by RunId | render table",
         {"RunId": "string", "TimeGenerated": "datetime", "Status": "string"}),
    ],
)  # fmt: skip
def test_output_columns_have_kql_types(query: str, columns: dict[str, str]) -> None:
    assert columns == dict(translate(query, SCHEMA).columns)


def test_now_is_bound_not_written() -> None:
    """One translation serves every instant."""
    translation = translate("print t = now(), y = ago(1d)", SCHEMA)
    assert translation.uses_now
    answer = duckdb.execute(translation.sql, translation.parameters(NOW)).fetchone()
    assert (NOW, datetime(2026, 3, 1, 12)) == answer
    assert {} == translate("print 1", SCHEMA).parameters(NOW)


@pytest.mark.parametrize(
    ("query", "line", "column", "says"),
    [
        ("RunStatusChanged\n| where Statsu == 'x'", 2, 9, "there is no column 'Statsu' here; did you mean Status?"),
        ("RunStatusChanged | where status == 'x'", 1, 26, "did you mean Status? Names are case-sensitive"),
        ("RunStatusChange | take 1", 1, 1, "there is no table 'RunStatusChange'; did you mean RunStatusChanged?"),
        (
            "let B = Runs; Foo | join (Bar) on RunId | union B, Runs, Foo",
            1,
            15,
            "there are no tables 'Foo' and 'Bar'; there are",
        ),
        ("Runs | extend a = datatable(a:string)['x']", 1, 19, "datatable inside an expression is not supported"),
        ("Runs | extend a = typeof(RunId)", 1, 19, "typeof() here is not supported"),
        ("RunStatusChanged | where tolowr(Status) == 'x'", 1, 26, "no function tolowr(); did you mean tolower?"),
        ("RunStatusChanged | where count() > 1", 1, 26, "is an aggregate"),
        ("RunStatusChanged | where (Status == 'x'", 1, 26, "'(' is never closed"),
        ("RunStatusChanged | where Status == 'x')", 1, 39, "')' closes nothing"),
        ("RunStatusChanged | where Status ==", 1, 35, "the query ends too early"),
        ("Runs | select RunId", 1, 8, "there is no operator 'select'; write project"),
        ("Runs | order StartTime desc", 1, 14, "'order' needs by; write order by StartTime"),
        ("Runs | top 5 StartTime", 1, 14, "'top' needs by; write top 5 by StartTime"),
        ("Runs | where Status == “Failed”", 1, 24, "“ quotes nothing in KQL; write plain quotes"),
        ("Runs | project RunId as id", 1, 22, "a name stands before its value; write id = RunId"),
        ("Runs | summarize count() as n by Status", 1, 26, "a name stands before its value; write n = …"),
        ("Runs | where Tags.env = 'prod'", 1, 23, "write Tags.env == …"),
        ("Runs | where", 1, 8, "the query ends after 'where'"),
        ("Runs\n|", 2, 1, "the query ends after '|'"),
        ("SELECT * FROM Runs", 1, 1, "this is SQL; queries are KQL"),
        ("let most = 5 Runs | take most", 1, 1, "a let ends with ';', and a query follows it"),
        ("RunStatusChanged | wher Status", 1, 20, "there is no operator 'wher'; did you mean where?"),
        ("RunStatusChanged | project RunId | where Status == 'x'", 1, 42, "there are RunId"),
        ("Runs | join kind=inner (prices) on $left.Target == $right.Targt", 1, 59, "did you mean Target?"),
        ("let a = Runs; let b = a | project RunId; b | where Status == ''", 1, 52, "no column 'Status'"),
        ("", 0, 0, "the query is empty"),
        ("// nothing but a comment", 0, 0, "the query is empty"),
        ("print x", 1, 7, "there is no column 'x'"),
        (
            "RunStatusChanged | where Message + 1 == 2",
            1,
            26,
            "'+' computes with numbers and times, but Message is a string",
        ),
        ("RunStatusChanged | extend __tocsin_rule = 1", 1, 27, "tocsin's own"),
        ("set query_now = datetime(2020-01-01); print now()", 0, 0, "set query_now is refused"),
        ("declare query_parameters(a: string); print a", 1, 1, "a has no value"),
    ],
)
def test_an_error_says_where_and_what_would_be_right(query: str, line: int, column: int, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        translate(query, SCHEMA)
    assert (line, column) == (caught.value.line, caught.value.column), str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("print {}d", "a number of the query is too large"),
        ("print {}", "a whole number has at most 64 bits; write real(…)"),
        ("Runs | take {}", "a whole number has at most 64 bits"),
        ("print timespan({}.00:00:00)", "timespan is not supported"),
    ],
    ids=["days", "long", "take", "timespan"],
)
def test_a_number_of_very_many_digits_is_an_error_of_the_query(query: str, says: str) -> None:
    """It was one of tocsin's: Python reads no number of 5,000 digits."""
    with pytest.raises(QueryError) as caught:
        translate(query.format("9" * 5000), SCHEMA)
    assert says in str(caught.value)
    assert "int_max" not in str(caught.value)


def test_a_value_of_another_type_in_a_payload_fails_no_query() -> None:
    """Tags.n > 3 is false for 'abc', as in KQL; it must not be an error for all other rows."""
    con = duckdb.connect()
    con.execute("CREATE TABLE t (Tags JSON)")
    con.execute("""INSERT INTO t VALUES ('{"n": 5}'), ('{"n": "abc"}'), ('{"n": [1]}'), ('{}'), ('{"n": "7"}')""")
    schema = {"t": {"Tags": "dynamic"}}
    for condition, kept in [("Tags.n > 3", 2), ("Tags.n == 5", 1), ("Tags.n in (5, 7)", 2), ("Tags.n between (1 .. 6)", 1),
                            ("Tags.n > ago(1h)", 0), ("Tags.n == true", 1), ("Tags.n", 1)]:  # fmt: skip
        translation = translate(f"t | where {condition} | count", schema)
        assert (kept,) == con.execute(translation.sql, translation.parameters(NOW)).fetchone(), condition


def test_known_types_leave_no_run_time_guards() -> None:
    """Guards by typeof keep a filter from the scan and make the SQL long."""
    query = (
        "RunStatusChanged | where Status == 'Failed' and Target in~ ('a', 'b') and isnotempty(OwnerEmail) and Message has 'x'"
        " and tolower(ExperimentName) startswith 'ch' | extend a = strcat(Status, ' ', Attempt, Tags.env), b = tostring(DurationMs)"
    )
    assert "typeof" not in translate(query, SCHEMA).sql


def test_a_filter_on_status_is_pushed_into_the_scan() -> None:
    """Pushed into the scan: whole row groups are skipped by their zone maps."""
    con = duckdb.connect()
    listed = ", ".join(f'"{name}" {KQL_TYPES[kind]}' for name, kind in SCHEMA["RunStatusChanged"].items())
    con.execute(f"CREATE TABLE RunStatusChanged ({listed})")
    con.execute(
        "INSERT INTO RunStatusChanged BY NAME SELECT i AS CommitSeq, ['Running', 'Failed', 'Canceled'][i % 3 + 1] AS Status, 2 AS Attempt FROM range(3000) t(i)"
    )
    for condition, pushed in [
        ("Status == 'Failed'", "Status='Failed'"),
        ("Status in ('Failed', 'Canceled')", "Status IN ("),
        ("Status == 'Failed' and Attempt > 1 and Message contains 'x'", "Status='Failed'"),
    ]:
        translation = translate(f"RunStatusChanged | where {condition} | project RunId", SCHEMA)
        plan = con.execute(f"EXPLAIN {translation.sql}").fetchall()[0][1]
        assert pushed in plan.partition("Filters:")[2], plan


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_types_notified_are_types_made(name: str) -> None:
    """The types that the typing pass is certain of are those that DuckDB makes: a wrong one would drop a guard."""
    from tocsin.kql.bind.translate import analyse

    columns = SCHEMA[name]
    text = [c for c, kind in columns.items() if kind == "string"]
    number = [c for c, kind in columns.items() if kind in ("int", "long", "real")]
    time = [c for c, kind in columns.items() if kind == "datetime"]
    made = [f"{f}({text[0]})" for f in ("tolower", "toupper", "strlen", "tostring", "toint", "tolong", "todouble", "isempty",
                                        "todatetime", "parse_json", "hash_md5", "tobool", "totimespan", "reverse", "toreal")]  # fmt: skip
    made += [f"strcat({text[0]}, 'a')", f"substring({text[0]}, 1)", f"{text[0]} has 'x'", f"iff({text[0]} == '', 1, 2)"]
    made += [f"coalesce({text[0]}, 'x')", f"case({text[0]} == '', 'a', 'b')", f"extract('a(b)', 1, {text[0]})"]
    made += [
        f"trim('a', {text[0]})",
        f"replace_string({text[0]}, 'a', 'b')",
        f"indexof({text[0]}, 'a')",
        "bag_pack('a', 1)",
    ]
    made += [f"{n} + 1" for n in number] + [f"{n} * 1.5" for n in number] + [f"bin({n}, 5)" for n in number]
    made += [f"abs({n})" for n in number] + [f"-{n}" for n in number] + [f"round({n}, 1)" for n in number]
    made += [f"tolong({n})" for n in number] + [f"tostring({n})" for n in number] + [f"{n} / 2" for n in number]
    for t in time:
        made += [
            f"startofday({t})",
            f"{t} - ago(1h)",
            f"{t} + 1h",
            f"bin({t}, 1h)",
            f"dayofweek({t})",
            f"({t} - now()) / 1h",
        ]
        made += [
            f"datetime_diff('minute', now(), {t})",
            f"format_datetime({t}, 'yyyy')",
            f"endofday({t})",
            f"tostring({t})",
        ]
    query = f"{name} | extend " + ", ".join(f"x{i} = {each}" for i, each in enumerate(made))
    analysed, translation = analyse(query, SCHEMA), translate(query, SCHEMA)
    wrong = {
        made[int(c[1:])] if c[1:].isdigit() else c: (kind, translation.columns[c])
        for c, kind in analysed.columns.items()
        if kind is not None and kind != translation.columns[c]
    }
    assert {} == wrong
    aggregates = (
        [f"min({n})" for n in [*number, *time, *text]] + [f"max({n})" for n in number] + [f"sum({n})" for n in number]
    )
    aggregates += ["count()", f"dcount({text[0]})", f"make_set({text[0]})", f"take_any({text[0]})"] + [
        f"avg({n})" for n in number
    ]
    query = f"{name} | summarize " + ", ".join(f"x{i} = {each}" for i, each in enumerate(aggregates))
    analysed, translation = analyse(query, SCHEMA), translate(query, SCHEMA)
    wrong = {a: (k, translation.columns[c]) for a, (c, k) in zip(aggregates, analysed.columns.items(), strict=True)
             if k is not None and k != translation.columns[c]}  # fmt: skip
    assert {} == wrong


def test_translations_are_kept() -> None:
    """The second time costs no parse: the same object comes back, for an equal schema too."""
    again = schema_with({"prices": {"Target": "string", "usd": "real"}})
    assert translate("Runs | take 3", SCHEMA) is translate("Runs | take 3", again)
    other = schema_with({"prices": {"Target": "string", "usd": "long"}})
    assert "long" == translate("prices | project usd", other).columns["usd"]
    assert "real" == translate("prices | project usd", SCHEMA).columns["usd"]
