"""Queries that make much of little: which are held to a bound, that the bound holds, and that functions stay what
they are.
"""

import time
from collections.abc import Iterator

import duckdb
import pytest

from tocsin.clock import SystemClock
from tocsin.errors import QueryError, QueryTimeout
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Limits
from tocsin.logstore.query.macros import MOST_GROWN, growth
from tocsin.logstore.query.select import ReadCursor

ASKED = Limits(seconds=5.0, rows=100, watched=True)
LONG = "repeat(RunId, 2000)"


@pytest.fixture(scope="module")
def store() -> Iterator[DuckLogStore]:
    """An empty store."""
    with_nothing = DuckLogStore.open(None, clock=SystemClock())
    yield with_nothing
    with_nothing.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT RunId, concat(Status, ' ', Message) FROM Runs",
        "SELECT replace(Message, 'abc', 'x'), regexp_replace(Message, '^\\s+', '', 'g') FROM Runs",
        "SELECT lpad(RunId, 6, '0'), str_split(Message, ',') FROM Runs",
        "SELECT json_object('a', RunId, 'b', Message), strftime(LastSeen, '%Y-%m-%d') FROM Runs",
        "SELECT 'repeat(x, 1000)', \"replace\" FROM Runs -- repeat(x, 1000)",
        f"SELECT * FROM Runs WHERE Message <> '{'x' * 5000}'",
        " || ".join(f"regexp_escape('{n}')" for n in range(30)),
        "SELECT * REPLACE (epoch_us(LastSeen) AS CommitSeq) FROM Runs",
        "SELECT r.* REPLACE (epoch_us(LastSeen) AS CommitSeq) FROM Runs AS r",
    ],
)
def test_what_stays_short_runs_as_it_is(sql: str) -> None:
    assert 0 == growth(sql).room


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT REPEAT(RunId, 3) FROM Runs",
        'SELECT "repeat"(RunId, 3) FROM Runs',
        "SELECT RunId.repeat(3) FROM Runs",
        "SELECT replace(Message, 'a', 'bb') FROM Runs",
        "SELECT replace(Message, 'a', RunId) FROM Runs",
        "SELECT \"SELECT\" * replace(Message, 'a', RunId) FROM Runs",
        "SELECT 5 * REPLACE(Message, 'a', RunId), SELECT(5) * REPLACE(Message, 'a', RunId) FROM Runs",
        "SELECT lpad(RunId, Attempt, '0') FROM Runs",
        "SELECT lpad(RunId, 65, '0') FROM Runs",
        "SELECT array_to_string(AttemptNumbers, ',') FROM Runs",
        "SELECT str_split(LogTail, '') FROM RunStatusChanged",
        "SELECT str_split(LogTail, Target) FROM RunStatusChanged",
        "SELECT E'\\'', repeat(RunId, 3) -- '",
        "SELECT 1 -- a comment\r, repeat(RunId, 3) FROM Runs",
        "SELECT 1 /* /* */ , repeat(RunId, 3) */ FROM Runs",
        "SELECT list_reduce([RunId, RunId], lambda x, y: concat(x, y)) FROM Runs",
        f"SELECT concat(RunId, '{'x' * 5000}') FROM Runs",
        "WITH a AS (SELECT concat(RunId, RunId, RunId, RunId) AS b FROM Runs), c AS (SELECT concat(b, b, b, b, b) AS d FROM a)"
        " SELECT concat(d, d, d, d, d, d, d, d, d, d, d, d, d) FROM c",
    ],
)
def test_what_may_become_long_is_held_to_a_bound(sql: str) -> None:
    assert 0 < growth(sql).room <= MOST_GROWN


def test_many_calls_share_the_room() -> None:
    one, two = "SELECT repeat(RunId, 3) FROM Runs", "SELECT repeat(RunId, 3), repeat(JobKey, 3) FROM Runs"
    assert growth(one).room == 2 * growth(two).room
    with pytest.raises(QueryError, match="more than 64 calls"):
        growth(f"SELECT {', '.join(['repeat(RunId, 3)'] * 65)} FROM Runs")


@pytest.mark.parametrize("format", ["RunId", f"'{'%A' * 40}'"])
def test_a_format_of_times_is_fixed_and_short(format: str) -> None:
    with pytest.raises(QueryError, match="format of times"):
        growth(f"SELECT strftime(LastSeen, {format}) FROM Runs")


SAME = """
    concat('a', NULL, 1) | concat('a') | concat([1], [2]) | concat(DATE '2020-01-01', 1.5, true) | concat_ws('-', 'a', NULL, 'b')
    concat_ws(NULL, 'a', 'b') | json_array() | json_array('a') | json_array('a', 1, NULL, '{"a": 1}'::JSON)
    json_object() | json_object('a', 1, 'b', '{"a": 1}'::JSON, 'c', NULL) | list_concat([1], [2]) | list_concat(NULL, [2])
    array_cat(['a'], ['b']) | repeat('ab', 3) | repeat('ab', NULL) | repeat(NULL, 3) | repeat('ab', -3) | repeat([1], 2)
    replace('a.b', '.', '::') | replace('aaa', '', 'b') | replace(NULL, 'a', 'b') | replace('aXa', 'a', '')
    regexp_replace('abc', 'b', '\\0\\0', 'g') | regexp_replace('abc', 'b', 'x') | regexp_replace('aBB', 'b', 'x', 'gi')
    regexp_replace(NULL, 'b', 'x', 'g') | lpad('a', 5, 'xy') | rpad('a', 5, 'é') | lpad('abc', 2, 'x') | lpad(NULL, 2, 'x')
    array_to_string(['1', NULL, '2'], '-') | array_to_string([1, 2], coalesce(CASE typeof('-') WHEN 'JSON' THEN '' ELSE '-' END, ''))
    str_split('a,b', ',') | string_split('abc', '') | str_split(NULL, ',')
    regexp_split_to_array('a1b2c', '[0-9]') | regexp_extract_all('abab', 'a(.)', 1) | regexp_extract_all('abab', 'a')
    to_hex(255) | hex('ab') | to_base64('ab'::BLOB) | url_encode('a b') | translate('abc', 'ab', 'xy') | bin(5)
    regexp_escape('a.b') | json_quote('a"') | 'a' || 'b' | 1 || 'b' | [1] || [2] | NULL || 'a' | '\\x41'::BLOB || 'B'::BLOB
"""
CALLS = [call.strip() for line in SAME.strip().splitlines() for call in line.split(" | ")]


@pytest.mark.parametrize("call", CALLS)
def test_a_bound_function_gives_what_it_gave(call: str) -> None:
    """Value and type, where there is room."""
    con = duckdb.connect()
    sql = f"SELECT {call} AS a, typeof({call}) AS b"
    bound = ReadCursor(con).cursor(growth(f"{sql}, repeat('a', 1)"))
    assert con.execute(sql).fetchall() == bound.execute(sql).fetchall()


GROWING = [
    f"SELECT {LONG} FROM Runs",
    "SELECT repeat(RunId, 9000000000000000000) FROM Runs",
    "SELECT replace(repeat(RunId, 500), 'r', 'rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr') FROM Runs",
    "SELECT regexp_replace(repeat(RunId, 500), '.', 'rrrrrrrrrrrrrrrrrrrrrr', 'g') FROM (FROM Runs LIMIT 50)",
    "SELECT regexp_replace(repeat(RunId, 500), '.*', '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0', 'g') FROM Runs",
    "SELECT lpad(RunId, 9000, 'x') FROM Runs",
    "SELECT lpad(RunId, 3000, '€') FROM Runs",
    "SELECT array_to_string(str_split(repeat(RunId, 200), ''), 'long delimiters') FROM Runs",
    "SELECT str_split(repeat(RunId, 500), '') FROM Runs",
    "SELECT regexp_extract_all(repeat(RunId, 800), '.') FROM Runs",
    "SELECT list_reduce(str_split(repeat(RunId, 20), ''), lambda x, y: concat(x, x)) FROM Runs",
    f"SELECT concat(x, x, x) FROM (SELECT concat(RunId, '{'x' * 5000}') AS x FROM Runs)",
    f"SELECT x || x || x FROM (SELECT concat(RunId, '{'x' * 9000}') AS x FROM Runs)",
    "WITH " + ", ".join(f"t{n + 1} AS (SELECT concat(x, x) AS x FROM t{n})" for n in range(20)).replace(
        "FROM t0", "FROM (SELECT RunId AS x FROM Runs) t0", 1
    ) + " SELECT x FROM t20",
    "WITH " + ", ".join(f"t{n + 1} AS (SELECT json_array(x, x) AS x FROM t{n})" for n in range(20)).replace(
        "FROM t0", "FROM (SELECT RunId AS x FROM Runs) t0", 1
    ) + " SELECT x FROM t20",
]  # fmt: skip


@pytest.mark.parametrize("sql", GROWING)
@pytest.mark.parametrize("limits", [ASKED, Limits(seconds=5.0), None], ids=["asked", "a rule's", "our own"])
def test_what_becomes_too_long_is_an_error(store: DuckLogStore, sql: str, limits: Limits | None) -> None:
    """It names the function, and how much longer a value may become; no row is needed that is long in itself."""
    runs = "WITH Runs AS (SELECT 'run-' || i AS RunId FROM range(5000) t(i))"
    with pytest.raises(
        QueryError, match=r"would make a value \d+ bytes longer than .*; this query may by \d+|out of range|Overflow"
    ):
        store.select(f"{runs}, {sql[5:]}" if sql.startswith("WITH ") else f"{runs} {sql}", None, limits)


def test_long_texts_that_grow_little_are_fine(store: DuckLogStore) -> None:
    """What is long already stays what it is: an event's log may be a megabyte."""
    sql = "SELECT strlen(concat('> ', replace($text, 'a', 'bb'))) AS n, repeat('-', 3) AS line"
    found = store.select(sql, {"text": "x" * 1_000_000 + "a" * 100}, ASKED).to_pylist()
    assert [{"n": 1_000_202, "line": "---"}] == found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list(i) FROM range(1000000000) t(i)",
        "SELECT string_agg(i::VARCHAR, ',') FROM range(1000000000) t(i)",
        "SELECT quantile_cont(i, 0.5) FROM range(1000000000) t(i)",
        "SELECT mode(i) FROM range(1000000000) t(i)",
    ],
)
def test_an_aggregate_that_takes_too_much_is_ended(store: DuckLogStore, sql: str) -> None:
    with pytest.raises(QueryError, match="too much memory"):
        store.select(sql, None, Limits(seconds=60, watched=True))


def test_a_large_answer_is_an_error(store: DuckLogStore) -> None:
    sql = "SELECT $text AS text FROM range(20000)"
    with pytest.raises(QueryError, match=r"the answer has more than 32\.0 MiB|too much memory"):
        store.select(sql, {"text": "x" * 4_000}, Limits(rows=20_000, watched=True))


def test_what_cannot_be_interrupted_is_given_up() -> None:
    """One comparison of two long texts takes seconds and looks at no clock. Who asked is notified in time, and
    others are
    answered meanwhile.
    """
    store = DuckLogStore.open(None, clock=SystemClock())
    texts = {"a": "a" * 45_000, "b": "b" * 45_000}
    begun = time.monotonic()
    with pytest.raises(QueryTimeout, match="cannot be interrupted"):
        store.select("SELECT levenshtein($a, $b) AS n", texts, Limits(seconds=0.1, watched=True))
    assert time.monotonic() - begun < 2.5
    assert [{"one": 1}] == store.select("SELECT 1 AS one", None, ASKED).to_pylist()
    store.close()
