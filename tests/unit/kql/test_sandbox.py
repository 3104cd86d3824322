"""What a stranger types reads our tables and nothing else, and is checked in bounded time."""

from __future__ import annotations

import time

import pytest

from tocsin.errors import QueryError
from tocsin.kql.bind.sqlcheck import check_sql, checked
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.query import user_query
from tocsin.kql.plan.rowplan import row_plan
from tocsin.kql.schema import schema_with

SCHEMA = schema_with({"prices": {"Target": "string", "usd": "real"}})

HOSTILE_KQL = [
    "['/etc/passwd'] | take 1",
    "['/etc/passwd'] ",
    "['prices\" UNION SELECT * FROM read_text(\"/etc/passwd'] | take 1",
    "['../../etc/passwd']",
    "['s3://bucket/x.parquet']",
    "duckdb_tables",
    "['duckdb_settings()'] | take 1",
    "['information_schema.tables']",
    "information_schema.tables",
    "sqlite_master",
    "pg_catalog.pg_tables",
    "database('information_schema').tables",
    "cluster('x').database('y').z",
    "main.Runs",
    "database('main').Runs",
    "Runs | union ['/etc/passwd']",
    "Runs | join kind=inner (['/etc/passwd']) on RunId",
    "Runs | lookup ['/etc/passwd'] on RunId",
    "Runs | where RunId in (['/etc/passwd'] | project x)",
    "let t = ['/etc/passwd']; t | take 1",
    "print x = toscalar(['/etc/passwd'] | take 1)",
    "union duckdb_*",
    "Runs | extend x = read_text('/etc/passwd')",
    "Runs | extend x = getvariable('x')",
    "Runs | extend x = getenv('HOME')",
    "Runs | extend x = current_setting('threads')",
    "Runs | extend x = nextval('s')",
    "Runs | extend x = ['read_text']('/etc/passwd')",
    "externaldata (x: string) ['https://example.org/x.csv']",
    "Runs | invoke read_csv('x')",
    ".show tables",
    "// comment\n.drop table Runs",
    ".set-or-replace Runs <| prices",
    ".create function f() { Runs }",
    "Runs; Runs",
    "Runs | take 1; .drop table Runs",
    "Runs | take 1; DROP TABLE Runs",
    "set query_now = datetime(2020-01-01); Runs",
    "declare pattern x",
    "restrict access to (Runs)",
    "alias database d = cluster('x').database('y'); d.t",
    "Runs | evaluate python(typeof(*), 'import os')",
    "macro-expand entity_group [database('a'), database('b')] as X (X.Runs)",
    "Runs | make-graph RunId --> ParentRunId | graph-match (a)-[e]->(b) project a.x",
    "Runs | extend __tocsin_rule = 1",
    "prices | extend x = ['a\"); DROP TABLE Runs; --']",
]


@pytest.mark.parametrize("query", HOSTILE_KQL)
def test_hostile_kql_is_refused(query: str) -> None:
    """With an error of the query, never with a translation, never with another exception."""
    with pytest.raises(QueryError):
        user_query(query, SCHEMA)
    with pytest.raises(QueryError):
        row_plan(query, SCHEMA)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ('prices | where Target == "x\' OR 1=1 --"', "x' OR 1=1 --"),
        ("prices | where Target == 'a\"b'", 'a"b'),
        ("prices | where Target == 'CAST($tocsin AS VARCHAR)'", "CAST($tocsin AS VARCHAR)"),
        ("prices | where Target == '{0} {} {1}'", "{0} {} {1}"),
        ("prices | where Target == @'\\path'", "\\path"),
    ],
)
def test_text_stays_text(query: str, kept: str) -> None:
    """Whatever a string holds, it is compared, not executed."""
    import duckdb

    con = duckdb.connect()
    con.execute("CREATE TABLE prices (Target VARCHAR, usd DOUBLE)")
    con.execute("INSERT INTO prices VALUES (?, 1), ('other', 2)", [kept])
    assert [(kept, 1.0)] == con.execute(user_query(query, SCHEMA).sql).fetchall()


def nested(opening: str, inner: str, closing: str, times: int) -> str:
    return opening * times + inner + closing * times


BOMBS = {
    "a megabyte": "a" * 1_000_000,
    "64 KiB of or": "Runs | where " + " or ".join(["Status == 'a'"] * 4_000),
    "3,000 or": "Runs | where " + " or ".join(["Attempt == 1"] * 1_500),
    "brackets": "Runs | where " + "(" * 5_000,
    "closed brackets": "Runs | where " + nested("(", "Status == 'a'", ")", 100),
    "tobool": "print x = " + nested("tobool(", "'a'", ")", 30),
    "isempty": "Runs | extend x = " + nested("isempty(", "Attempt", ")", 30),
    "coalesce": "Runs | extend x = " + nested("coalesce(", "Attempt", ", Attempt)", 30),
    "comparisons": "Runs | where " + nested("(", "Attempt", " == Attempt)", 35),
    "doubling lets": "".join(f"let a{i + 1} = a{i} + a{i}; " for i in range(40)).replace("a0", "1") + "print a40",
    "doubling tables": "let t0 = Runs; " + "".join(f"let t{i + 1} = t{i} | union t{i}; " for i in range(40)) + "t40",
    "chain of plus": "Runs | extend x = " + " + ".join(["Attempt"] * 2_000),
    "open string": "Runs | where Status == '" + "a" * 60_000,
    "many pipes": "Runs" + " | where Attempt > 1" * 1_500,
    "dots": "Runs | where a" + ".b" * 2_900,
    "minus": "Runs | extend x = " + "-" * 5_000 + "Attempt",
    "nested queries": "Runs | where " + nested("RunId in (", "'a'", ")", 39),
    "comments": "//" * 30_000 + "\n",
    "nul": "Runs | where Status == '\0'\0",
    "surrogate": "Runs | where Status == '\ud800'",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_checked_in_bounded_time(name: str) -> None:
    """Refused or translated, but within seconds on a slow machine, and without an exception that is no QueryError."""
    for judge in (user_query, classify, row_plan):
        begun = time.thread_time()  # its own work, however busy the machine is
        try:
            judge(BOMBS[name], SCHEMA)
        except QueryError:
            pass
        assert time.thread_time() - begun < 10


REFUSED_SQL = [
    "SELECT * FROM 'f.csv'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('x')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT content FROM read_blob('x')",
    "SELECT * FROM glob('*')",
    "SELECT * FROM duckdb_tables()",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM main.Runs",
    "SELECT * FROM memory.main.Runs",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('Runs')",
    "SELECT getvariable('x')",
    "SELECT getenv('HOME')",
    "SELECT current_setting('threads')",
    "SELECT main.getvariable('x')",
    "SELECT system.main.sum(1)",
    "SELECT now()",
    "SELECT current_timestamp",
    "SELECT current_date",
    "SELECT localtimestamp",
    "SELECT today()",
    "SELECT current_user",
    "SELECT random()",
    "SELECT gen_random_uuid()",
    "SELECT nextval('s')",
    "SELECT CASE WHEN (SELECT sleep_ms(1)) THEN 1 END",
    "SELECT write_log('x')",
    "SELECT json_execute_serialized_sql('x')",
    "SELECT * FROM Runs TABLESAMPLE 5",
    "SELECT * FROM Runs USING SAMPLE 5",
    "DELETE FROM Runs",
    "DROP TABLE Runs",
    "COPY Runs TO 'x'",
    "ATTACH 'x'",
    "SET threads = 1",
    "INSTALL httpfs",
    "CREATE TABLE x AS SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "PRAGMA version",
    "CALL pragma_version()",
    "DESCRIBE Runs",
    "SELECT * FROM (DESCRIBE Runs)",
    "SELECT * FROM (SHOW TABLES)",
    "SUMMARIZE Runs",
    "PIVOT Runs ON Status USING count(*)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE Runs",
    "",
    ";",
    "WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t) SELECT * FROM t",
    "WITH secret AS (SELECT * FROM secret) SELECT * FROM secret",
    "SELECT * FROM Runs WHERE RunId IN (SELECT column0 FROM 'x.csv')",
    "SELECT * FROM Runs ORDER BY (SELECT 1 FROM nowhere)",
    "SELECT * FROM Runs LIMIT (SELECT 1 FROM nowhere)",
    "SELECT (WITH a AS (SELECT 1) SELECT 1 FROM a), (SELECT 1 FROM a)",
    "SELECT $other",
    "SELECT ?",
    "SELECT nope FROM Runs",
    "VALUES (1), (getvariable('x'))",
    "SELECT list_transform([1], lambda x: getvariable('x'))",
    "SELECT sum(1) OVER (ORDER BY getvariable('x'))",
    "SELECT count(*) FILTER (WHERE getvariable('x')) FROM Runs",
    "SELECT * FROM range(getvariable('x'))",
]


@pytest.mark.parametrize("sql", REFUSED_SQL)
def test_sql_that_is_refused(sql: str) -> None:
    with pytest.raises(QueryError):
        check_sql(sql, SCHEMA)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM Runs",
        "from runs select RUNID",
        "WITH a AS (SELECT Status, count(*) AS n FROM RunStatusChanged WHERE TimeGenerated > $kqlnow - INTERVAL 1 HOUR"
        " GROUP BY ALL) SELECT * FROM a JOIN prices p ON p.Target = a.Status ORDER BY n DESC LIMIT 5",
        "SELECT Tags ->> '$.env', date_trunc('day', TimeGenerated), Message ILIKE '%x%' FROM RunStatusChanged",
        "SELECT RunId, lag(Status) OVER (PARTITION BY RunId ORDER BY TimeGenerated) FROM RunStatusChanged",
        "SELECT * FROM (VALUES (1)) t(a), unnest([1, 2]) u(b), range(3)",
        "SELECT list_transform([1, 2], lambda x: x + 1), [x for x in [1, 2] if x > 1]",
        "SELECT RunId FROM Runs EXCEPT SELECT RunId FROM RunStatusChanged",
        "SELECT * FROM Runs WHERE EXISTS (SELECT 1 FROM prices WHERE prices.Target = Runs.Target)",
    ],
)
def test_sql_that_is_fine(sql: str) -> None:
    assert check_sql(sql, SCHEMA).columns


def test_sql_says_what_it_reads() -> None:
    made = check_sql("SELECT r.RunId FROM RUNS r JOIN prices USING (Target) WHERE LastSeen < $kqlnow", SCHEMA)
    assert (frozenset({"Runs", "prices"}), True, {"RunId": "string"}) == (
        made.tables,
        made.uses_now,
        dict(made.columns),
    )


def test_a_fault_in_sql_has_its_place() -> None:
    with pytest.raises(QueryError) as caught:
        check_sql("SELECT *\nFROM nowhere", SCHEMA)
    assert (2, 6) == (caught.value.line, caught.value.column)


def test_the_second_fence_holds_alone() -> None:
    """Were the first fence to let a file through, the look at the SQL would not."""
    with pytest.raises(QueryError):
        checked('WITH _s0 AS (SELECT * FROM "/etc/passwd") SELECT * FROM _s0', SCHEMA, generated=True)
    assert {"Runs"} == checked(translate("Runs | take 1", SCHEMA).sql, SCHEMA, generated=True).tables


@pytest.mark.parametrize(
    "joined", ["list_zip([x], [x])", "array_append([x], x)", "struct_insert({'a': x}, b := x)", "{'a': x, 'b': x}"]
)
def test_sql_that_doubles_again_and_again_is_refused_before_its_types_are_made(joined: str) -> None:
    """Twenty times twice the type take gigabytes and a minute to bind, and no watchdog looks then."""

    def doubled(times: int) -> str:
        steps = ", ".join(f"t{n + 1} AS (SELECT {joined} AS x FROM t{n})" for n in range(times))
        return f"WITH t0 AS (SELECT RunId AS x FROM Runs), {steps} SELECT x FROM t{times}"

    assert check_sql(doubled(3), SCHEMA).columns
    with pytest.raises(QueryError, match="side by side too often"):
        check_sql(doubled(20), SCHEMA)
