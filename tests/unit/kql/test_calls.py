"""Forms of calls that upstream lacks, against the KQL reference; and what is refused, with what to write instead."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.kql.test_constructs import SCHEMA, answer, con
from tocsin.errors import QueryError
from tocsin.kql.bind.translate import translate

__all__ = ["con"]

H = timedelta(hours=1)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("split('a,b,c', ',', 1)", ["b"]),
        ("indexof('abcabc', 'c', 3)", 5),
        ("indexof('abcabc', 'c', -1)", 5),
        ("indexof('abcabc', 'a', 4)", -1),
        ("extract('([0-9]+)', 1, 'took 42 s', typeof(long))", 42),
        ("extract('([0-9]+)', 1, 'took long', typeof(long))", None),
        # the reference's example: weeks begin on Sunday
        ("datetime_diff('week', datetime(2017-10-29 00:00), datetime(2017-09-30 23:59))", 5),
        ("datetime_diff('week', datetime(2017-09-30 23:59), datetime(2017-10-29 00:00))", -5),
        ("datetime_utc_to_local(datetime(2026-07-01 12:00), 'Europe/Budapest')", datetime(2026, 7, 1, 14)),
        ("datetime_local_to_utc(datetime(2026-01-01 12:00), 'Europe/Budapest')", datetime(2026, 1, 1, 11)),
        ("set_union(dynamic([1, 2, 1]), dynamic([2, 3]))", [1, 2, 3]),
        ("set_intersect(dynamic(['a', 'b']), dynamic(['b', 'c']))", ["b"]),
        ("set_difference(dynamic(['a', 'b']), dynamic(['b', 'c']))", ["a"]),
        ("url_encode('a b')", "a%20b"),
        ("url_decode('a%20b')", "a b"),
        ("tohex(255)", "ff"),
        ("string_size('hé')", 3),
        ("tostring(parse_json('not json'))", "not json"),
        ('parse_json(\'{"a": {"b": 1}}\').a.b', 1),
    ],
)
def test_scalars(con: duckdb.DuckDBPyConnection, expression: str, value: object) -> None:
    """A value is what the reference says."""
    _, ((got,),) = answer(con, f"print x = {expression}")
    assert value == (json.loads(got) if isinstance(value, list) and isinstance(got, str) else got)


@pytest.mark.parametrize(
    ("query", "columns", "rows"),
    [
        ("T | summarize make_list(n, 2)", {"list_n": "dynamic"}, [([1, 2],)]),
        ("T | summarize l = make_list_if(n, n > 1, 1)", {"l": "dynamic"}, [([2],)]),
        ("T | summarize n = array_length(make_set(k, 2))", {"n": "long"}, [(2,)]),
        ("T | summarize avg(t - ago(3h))", {"avg_": "timespan"}, [(H,)]),
        (
            "T | summarize sum(s), sumif(s, n == 2), avgif(s, n > 5)",
            {"sum_s": "timespan", "sumif_s": "timespan", "avgif_s": "timespan"},
            [(timedelta(days=1, hours=2, seconds=6.5), timedelta(0), None)],
        ),
        ("T | summarize hours = avg(t - ago(3h)) / 1h by k | where k == 'b'", None, [("b", 2.0)]),
        ("T | sort by k asc | count as rows_", {"rows_": "long"}, [(4,)]),
    ],
)
def test_aggregates(
    con: duckdb.DuckDBPyConnection, query: str, columns: dict[str, str] | None, rows: list[object]
) -> None:
    """As many values as are asked for; sums and means of times are times."""
    got, found = answer(con, query)
    assert rows == found
    assert columns is None or columns == got


@pytest.mark.parametrize(
    "query",
    [
        "range i from 1 to 3000000000 step 1 | count",
        "range i from 1 to 5 step 0",
        "range t from ago(20d) to now() step 1s | count",
        "T | make-series c = count() on t from ago(900d) to now() step 1s",
        "T | extend y = toscalar(range i from 1 to 30000000 step 1 | count)",
    ],
)
def test_a_range_of_millions_is_an_error(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """It is one value to DuckDB, which neither its memory limit nor an interrupt stops: it would end the process."""
    with pytest.raises(duckdb.Error, match="a range gives at most 1,000,000 values"):
        answer(con, query)


@pytest.mark.parametrize(
    ("expression", "length"),
    [
        ("strrep('ab', 3)", 6),
        ("strrep('0123456789', 1000000000)", 10_240),
        ("strrep('x', -1)", 0),
    ],
)
def test_a_text_is_repeated_within_reason(con: duckdb.DuckDBPyConnection, expression: str, length: int) -> None:
    """KQL repeats at most 1,024 times; how long repeats of repeats may be is the store's to bound."""
    assert [(length,)] == answer(con, f"print n = strlen({expression})")[1]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("countof('aaaa', 'a')", 4),
        ("countof('aaaa', 'aa')", 3),
        ("countof('ababa', 'aba')", 2),
        ("countof('abab', 'ab')", 2),
        ("countof('ααxα', 'α')", 3),
        ("countof('', 'x')", 0),
        ("countof('aaaa', strcat('a', 'a'))", 3),
        ("countof('ababa', strcat('ab', 'a'))", 2),
        ("countof('ααxα', strcat('', 'α'))", 3),
        ("countof('a', strcat('a', 'a'))", 0),
        ("countof('a', strcat('', ''))", 0),
        ("countof(strrep('xy', 900), strcat('x', 'y'))", 900),
        ("strcat_array(split('a,b,c', ','), ' - ')", "a - b - c"),
        ("strcat_array(dynamic(['a', true, null, [1, 2]]), '-')", "a-true--[1,2]"),
        ("strcat_array(dynamic('abc'), '-')", "abc"),
    ],
)
def test_calls_of_ours_give_what_kql_gives(con: duckdb.DuckDBPyConnection, expression: str, value: object) -> None:
    """Texts that overlap themselves are counted wherever they begin."""
    assert [(value,)] == answer(con, f"print x = {expression}")[1]


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_counted_is_wherever_it_begins(con: duckdb.DuckDBPyConnection, text: str, wanted: str) -> None:
    expected = sum(text.startswith(wanted, at) for at in range(len(text)))
    said = [f"countof('{text}', '{wanted}')", f"countof('{text}', strcat('{wanted}', ''))"]
    assert [(expected, expected)] == answer(con, f"print x = {said[0]}, y = {said[1]}")[1]


@pytest.mark.parametrize("wanted", ["'aa'", "strrep('a', 2)", "strrep('a', 1023)"])
def test_what_may_overlap_itself_is_counted_in_short_texts(con: duckdb.DuckDBPyConnection, wanted: str) -> None:
    """Elsewhere it would take minutes that nothing interrupts."""
    counted = f"countof(strcat(strrep('a', 1024), '%s'), {wanted})"
    assert 2 <= answer(con, f"print x = {counted % ''}")[1][0][0]
    with pytest.raises(duckdb.Error, match="texts of up to 1,024 characters"):
        answer(con, f"print x = {counted % 'a'}")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("range i from 5 to 1 step -2", [(5,), (3,), (1,)]),
        ("range i from 1 to 1000000 step 1 | count", [(1_000_000,)]),
        ("range t from ago(2h) to now() step 1h | count", [(3,)]),
        ("let n = toscalar(T | count); range i from 1 to n step 1 | count", [(4,)]),
    ],
)
def test_other_ranges_are_as_they_were(con: duckdb.DuckDBPyConnection, query: str, rows: list[object]) -> None:
    """Both ends included, backwards too."""
    assert rows == answer(con, query)[1]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("T | where k matches regex '(a'", "line 1, column 27: '(a' is no regular expression"),
        ("T | extend y = extract('[', 1, k)", "'[' is no regular expression"),
        ("T | extend y = replace_regex(k, '(', '-')", "'(' is no regular expression"),
        ("T | extend y = hash(k)", "hash() is not supported; hash_md5()"),
        ("T | where rand() < 0.1", "rand() is not supported; the same events must always give the same answer"),
        ("materialized_view('T')", "materialized_view is not supported; name the table"),
        ("restrict access to (T); T", "restrict is not supported"),
        ("T | summarize make_list(n, k)", "make_list() takes a fixed number of values to keep"),
    ],
)
def test_what_is_refused_says_so_before_it_runs(query: str, message: str) -> None:
    """An error at check, not in the night when the rule meets its first row."""
    with pytest.raises(QueryError) as refused:
        translate(query, SCHEMA)
    assert message in str(refused.value)
    assert "Wave" not in str(refused.value)


def test_a_bag_of_very_many_keys_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    """Each key is looked for among all entries: 60,000 of them took minutes that nothing interrupts. Of few keys any
    number will do.
    """
    bag = "range i from 1 to 40000 step 1 | summarize b = make_bag(bag_pack(tostring(%s), i)) | project n = array_length(bag_keys(b))"
    assert [(100,)] == answer(con, bag % "i % 100")[1]
    with pytest.raises(duckdb.Error, match="so many keys"):
        answer(con, bag % "i")
