"""Constructs that the translator lacks, against what the KQL reference says they give, nulls and types included."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from tocsin.errors import QueryError
from tocsin.kql.plan.classify import classify
from tocsin.kql.plan.query import user_query
from tocsin.kql.plan.rowplan import row_plan
from tocsin.kql.schema import KQL_TYPES, Schema, schema_with
from tocsin.model.statuses import Kind

SCHEMA = Schema(
    {
        **schema_with(),
        "T": {"k": "string", "n": "long", "x": "real", "t": "datetime", "d": "dynamic", "s": "timespan"},
    }
)
NOW = datetime(2026, 3, 2, 12)
ROWS: list[tuple[Any, ...]] = [
    (
        "a",
        1,
        1.5,
        NOW - timedelta(hours=3),
        '{"p": 1, "q": "one", "list": [1, 2, 3]}',
        timedelta(days=1, hours=2, seconds=5),
    ),
    ("a", 2, None, NOW - timedelta(hours=2), '{"p": 2, "r": null, "list": [4]}', timedelta(0)),
    ("b", 3, 3.5, NOW - timedelta(hours=1), '{"list": []}', None),
    ("", None, 4.5, None, None, timedelta(milliseconds=1500)),
]
MORE_KINDS = {"HUGEINT": int}


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect(config={"threads": 1})
    made.execute("SET TimeZone='UTC'")
    for name, columns in SCHEMA.items():
        made.execute(f'CREATE TABLE "{name}" ({", ".join(f"{c!s} {KQL_TYPES[k]}" for c, k in _quoted(columns))})')
    made.executemany("INSERT INTO T VALUES (?, ?, ?, ?, ?, ?)", ROWS)
    return made


def _quoted(columns: Any) -> list[tuple[str, str]]:
    return [(f'"{name}"', kind) for name, kind in columns.items()]


def _plain(value: Any, kind: str) -> Any:
    if kind == "dynamic" and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, list):
        return [json.loads(v) if kind == "dynamic" and isinstance(v, str) and v[:1] in '"[{' else v for v in value]
    return value


def answer(con: duckdb.DuckDBPyConnection, query: str) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    made = user_query(query, SCHEMA)
    rows = con.execute(made.sql, made.parameters(NOW)).fetchall()
    kinds = list(made.columns.values())
    return dict(made.columns), [tuple(_plain(v, k) for v, k in zip(row, kinds, strict=True)) for row in rows]


H = timedelta(hours=1)
SORTED = "T | where isnotempty(k) | sort by n asc | "


@pytest.mark.parametrize(
    ("query", "columns", "rows"),
    [
        # old names
        ("T | where notempty(k) | count", {"Count": "long"}, [(3,)]),
        ("T | summarize makeset(k) by n | where n == 1", {"n": "long", "set_k": "dynamic"}, [(1, ["a"])]),
        ("T | where k == 'a' | summarize l = makelist(n)", {"l": "dynamic"}, [([1, 2],)]),
        ("T | summarize argmax(n, k)", {"n": "long", "k": "string"}, [(3, "b")]),
        # percentiles
        ("T | summarize percentiles(n, 50, 100)", {"percentile_n_50": "long", "percentile_n_100": "long"}, [(2, 3)]),
        # bin_at: multiples of the size counted from a fixed point
        ("print bin_at(6.5, 2.5, 7)", {"print_0": "real"}, [(4.5,)]),
        ("print a = bin_at(1h, 1d, 12h)", {"a": "timespan"}, [(timedelta(hours=-12),)]),
        # a timespan over and times a number, and the rest
        ("print a = 1d/4, b = 24h/2, c = 1h/1.5, d = 1h/0", dict.fromkeys("abcd", "timespan"),
         [(6 * H, 12 * H, H / 1.5, None)]),
        ("print a = 2*1h, b = 1h*1.5, c = 1d/1h", {"a": "timespan", "b": "timespan", "c": "real"}, [(2 * H, 1.5 * H, 24.0)]),
        ("print a = 1h % 7m, b = -1h % 7m", dict.fromkeys("ab", "timespan"), [(H / 15, H / 20)]),
        ("T | where n == 1 | project a = (now() - t)/2, b = now() - t > 1d/48", {"a": "timespan", "b": "bool"},
         [((NOW - (NOW - 3 * H)) / 2, True)]),
        ("print a = bin_at(datetime(2017-05-15 10:20:00.0), 1d, datetime(1970-01-01 12:00:00.0))", {"a": "datetime"},
         [(datetime(2017, 5, 14, 12),)]),
        ("T | where n == 1 | extend b = bin_at(t, 2h, now()) | project b", {"b": "datetime"}, [(NOW - 4 * H,)]),
        # arithmetic of timespans inside bin, ago, range, range() and make-series
        ("T | where n < 3 | summarize c = count() by bin(t, 1d / 4) | order by t asc",
         {"t": "datetime", "c": "long"}, [(datetime(2026, 3, 2, 6), 2)]),
        ("let w = 2h; T | where n == 1 | project a = bin(t, w / 4 * 3), b = bin(t, -(-2h)), c = bin(t, 30m + 30m)",
         dict.fromkeys("abc", "datetime"), [(datetime(2026, 3, 2, 9), datetime(2026, 3, 2, 8), datetime(2026, 3, 2, 9))]),
        ("print a = bin(7h, 1h * 2), b = bin(1500ms, 500ms), c = bin(1d / 4, 4h), d = floor(-7h, 2 * 1h)",
         dict.fromkeys("abcd", "timespan"), [(6 * H, H / 2400, 4 * H, -8 * H)]),
        ("print a = bin(time(16d), 7d), b = bin(datetime(1970-05-11 13:45:07), 1d), c = bin(4.5, 1)",
         {"a": "timespan", "b": "datetime", "c": "real"}, [(14 * 24 * H, datetime(1970, 5, 11), 4.0)]),
        ("T | where t > ago(2 * 1h) | count", {"Count": "long"}, [(1,)]),
        ("T | where t >= ago(1h * 2) and t >= ago(1d / 12) and t >= ago(-(-2h)) | count", {"Count": "long"}, [(2,)]),
        ("print a = abs(-1h), b = abs(1h - 1d)", dict.fromkeys("ab", "timespan"), [(H, 23 * H)]),
        ("range x from ago(1d) to now() step 1d / 2", {"x": "datetime"}, [(NOW - n * 12 * H,) for n in (2, 1, 0)]),
        ("range x from 1h to 3h step 1h / 2 * 2", {"x": "timespan"}, [(H,), (2 * H,), (3 * H,)]),
        ("range x from 1.0 to 2.0 step 0.5", {"x": "real"}, [(1.0,), (1.5,), (2.0,)]),
        ("range x from 2 * 1h to 1h step 1h", {"x": "timespan"}, []),
        ("print a = range(1, 8, 3), b = range(1, 3), c = range(1.0, 2.0, 0.5), d = range(3, 1, -1), e = range(5, 1)",
         dict.fromkeys("abcde", "dynamic"), [([1, 4, 7], [1, 2, 3], [1.0, 1.5, 2.0], [3, 2, 1], [])]),
        ("print a = range(datetime(2026-01-01), datetime(2026-01-02), 1d / 2), b = range(1h, 1d + 1h, 12 * 1h), c = range(1h, 2h)",
         dict.fromkeys("abc", "dynamic"),
         [([datetime(2026, 1, 1) + n * 12 * H for n in range(3)], ["01:00:00", "13:00:00", "1.01:00:00"], ["01:00:00", "02:00:00"])]),
        ("print x = range(1, 3) | mv-expand x to typeof(long)", {"x": "long"}, [(1,), (2,), (3,)]),
        ("print n = array_length(range(1, 9000000))", {"n": "long"}, [(1 << 20,)]),
        ("T | make-series c = count() on t from ago(6h) to now() step 1d / 8 | project c", {"c": "dynamic"}, [([0, 3],)]),
        ("T | make-series c = count() on t from ago(2 * 3h) to now() + -1h * 0 step 3 * 1h | project c", {"c": "dynamic"}, [([0, 3],)]),
        # column_ifexists
        ("T | where n == 1 | project a = column_ifexists('n', 0), b = column_ifexists('nope', 'none')",
         {"a": "long", "b": "string"}, [(1, "none")]),
        # bags
        ("T | where n == 1 | project x = bag_keys(d)", {"x": "dynamic"}, [(["p", "q", "list"],)]),
        ("T | where n == 1 | project a = bag_keys(d.p), b = bag_has_key(d, 'q'), c = bag_has_key(d, 'z')",
         {"a": "dynamic", "b": "bool", "c": "bool"}, [(None, True, False)]),
        ("T | summarize b = make_bag(d) | project keys = array_sort_asc(bag_keys(b))", {"keys": "dynamic"},
         [(["list", "p", "q", "r"],)]),
        ("T | where n > 5 | summarize b = make_bag(d)", {"b": "dynamic"}, [({},)]),
        ("T | summarize b = make_bag_if(d, n == 2)", {"b": "dynamic"}, [({"p": 2, "r": None, "list": [4]},)]),
        # conditional aggregates
        ("T | summarize a = minif(n, k == 'a'), b = maxif(n, k == 'a'), c = minif(n, k == 'z'), d = make_set_if(k, n > 2),"
         " e = make_list_if(n, n > 1), f = count_distinct(k), g = take_anyif(n, k == 'b')",
         {"a": "long", "b": "long", "c": "long", "d": "dynamic", "e": "dynamic", "f": "long", "g": "long"},
         [(1, 2, None, ["b"], [2, 3], 3, 3)]),
        # functions of rows in an order
        (SORTED + "extend r = row_number(), p = prev(n), q = next(k), c = row_cumsum(n) | project r, p, q, c",
         {"r": "long", "p": "long", "q": "string", "c": "long"}, [(1, None, "a", 1), (2, 1, "b", 3), (3, 2, "", 6)]),
        (SORTED + "extend r = row_number(0), p = prev(n, 2, -1) | project r, p", {"r": "long", "p": "long"},
         [(0, -1), (1, -1), (2, 1)]),
        ("T | where isnotempty(k) | sort by n desc | project n, before = prev(n)", {"n": "long", "before": "long"},
         [(3, None), (2, 3), (1, 2)]),
        ("T | where n == 1 | serialize r = row_number() | project r", {"r": "long"}, [(1,)]),
        # timespans
        ("T | where n == 1 | project a = format_timespan(s, 'd.hh:mm:ss'), b = format_timespan(s, 'dd h')",
         {"a": "string", "b": "string"}, [("1.02:00:05", "01 2")]),
        ("print a = format_timespan(time(29.09:00:05.12345), 'dd.hh:mm:ss:FF'),"
         " b = format_timespan(time(29.09:00:05.12345), 'ddd.h:mm:ss [fffffff]')",
         {"a": "string", "b": "string"}, [("29.09:00:05:12", "029.9:00:05 [1234500]")]),
        # search
        ("T | search 'a' | count", {"Count": "long"}, [(2,)]),
        ("search in (T) 'b' and n > 1 | project n", {"n": "long"}, [(3,)]),
        ("search in (T) k:'a' or 'b' | count", {"Count": "long"}, [(3,)]),
        ("T | where * has 'b' | project n", {"n": "long"}, [(3,)]),
        # mv-expand of an unnamed expression
        ("T | where n == 1 | mv-expand d.list | project d_list", {"d_list": "dynamic"}, [(1,), (2,), (3,)]),
        ("T | where n == 1 | mv-expand d['list'] to typeof(long) | project d_list", {"d_list": "long"}, [(1,), (2,), (3,)]),
        ("print a = '[1, 2]' | mv-expand parse_json(a) | project a", {"a": "dynamic"}, [(1,), (2,)]),
        # mv-apply
        ("T | where n <= 2 | mv-apply e = d.list to typeof(long) on (where e > 1) | project n, e | sort by e asc",
         {"n": "long", "e": "long"}, [(1, 2), (1, 3), (2, 4)]),
        ("T | where n <= 2 | mv-apply e = d.list to typeof(long) on (summarize total = sum(e)) | project n, total | sort by n asc",
         {"n": "long", "total": "long"}, [(1, 6), (2, 4)]),
        ("T | where n <= 2 | mv-apply e = d.list to typeof(long) on (top 2 by e desc) | project n, e | sort by e asc",
         {"n": "long", "e": "long"}, [(1, 2), (1, 3), (2, 4)]),
        ("T | mv-apply e = d.list to typeof(long) on (extend f = e * 2 | where f > 4) | project n, e, f | sort by f asc",
         {"n": "long", "e": "long", "f": "long"}, [(1, 3, 6), (2, 4, 8)]),
        # names that the grammar takes for keywords
        ("T | where n > 2 | project last = n, time = k | where last == 3 and time == 'b'",
         {"last": "long", "time": "string"}, [(3, "b")]),
        # as, sample, columns
        ("T | where k == 'a' | as A | union A | count", {"Count": "long"}, [(4,)]),
        ("T | sample 2 | count", {"Count": "long"}, [(2,)]),
        ("T | where k == 'a' | sample-distinct 5 of k", {"k": "string"}, [("a",)]),
        ("T | where n == 1 | project-keep n, k*", {"k": "string", "n": "long"}, [("a", 1)]),
        ("T | where n == 1 | project-keep n, k, x | project-reorder x, k", {"x": "real", "k": "string", "n": "long"}, [(1.5, "a", 1)]),
        ("T | where k == 'a' | project k | distinct *", {"k": "string"}, [("a",)]),
        # make-series: every bin of a fixed range, beside every key
        ("T | make-series c = count() default = 0 on t from ago(3h) to now() step 1h",
         {"c": "dynamic", "t": "dynamic"}, [([1, 1, 1], [NOW - 3 * H, NOW - 2 * H, NOW - H])]),
        ("T | make-series m = sum(n), c = count() on t from ago(4h) to now() step 2h by k | sort by k asc",
         {"k": "string", "m": "dynamic", "c": "dynamic", "t": "dynamic"},
         [("a", [1, 2], [1, 1], [NOW - 4 * H, NOW - 2 * H]), ("b", [0, 3], [0, 1], [NOW - 4 * H, NOW - 2 * H])]),
        # evaluate, with the columns said
        ("T | where n == 1 | project n, d | evaluate bag_unpack(d) : (n: long, p: long, q: string, z: string)",
         {"n": "long", "p": "long", "q": "string", "z": "string"}, [(1, 1, "one", "")]),
        ("T | where isnotempty(k) | evaluate pivot(k, count()) : (a: long, b: long)", {"a": "long", "b": "long"}, [(2, 1)]),
        ("T | where isnotempty(k) | evaluate pivot(k, sum(n), x) : (x: real, a: long, b: long) | sort by a asc, b desc",
         {"x": "real", "a": "long", "b": "long"}, [(3.5, 0, 3), (1.5, 1, 0), (None, 2, 0)]),
        # a pivot over what an earlier where lets through, what later stages name, and all words of a status
        ("T | where k in ('a', 'b') | project k, n | evaluate pivot(k, sum(n))", {"a": "long", "b": "long"}, [(3, 3)]),
        ("T | evaluate pivot(k, count(), s) | where a == 1 | project a, b | distinct *", {"a": "long", "b": "long"}, [(1, 0)]),
        ("T | where n == 1 | extend Status = 'Failed' | evaluate pivot(Status, max(n), k) | project k, Failed, Queued",
         {"k": "string", "Failed": "long", "Queued": "long"}, [("a", 1, None)]),
        # functions of tables
        ("let f = (a: string, b: long = 1) { T | where k == a and n > b }; f('a') | union (f(b=2, a='b')) | summarize sum(n)",
         {"sum_n": "long"}, [(5,)]),
        ("let least = 2; let f = (X: (n: long), m: long) { let p = m - 1; X | where n > p }; T | where k == 'a' | invoke f(least) | count",
         {"Count": "long"}, [(1,)]),
        ("let all = view () { T | project n }; let f = (m: long) { all | where n >= m }; union withsource=from_ f(3), all | count",
         {"Count": "long"}, [(5,)]),
        ("let twice = (a: long) { a * 2 }; let f = (X: (*)) { (X | extend n = twice(n)) }; f(T | where n == 3) | project n",
         {"n": "long"}, [(6,)]),
        # a fuzzy union leaves out tables that are not there, the first too; where rows come from
        ("union isfuzzy=true Nope, (Nope2 | where a == 1), T | count", {"Count": "long"}, [(4,)]),
        ("union withsource=W isfuzzy=true T, Nope, (T | where n == 1) | summarize count() by W | sort by W asc",
         {"W": "string", "count_": "long"}, [("T", 4), ("union_arg1", 1)]),
        # how a cluster shares the work out says nothing
        ("T | join hint.strategy=broadcast kind=inner (T) on k, n | summarize hint.shufflekey=k hint.num_partitions = 4 c = count() by k"
         " | distinct hint.strategy=shuffle c", {"c": "long"}, [(1,), (2,)]),
        ("T | summarize hint.strategy=partitioned percentiles_array(n, 0, 100)", {"percentiles_array_n": "dynamic"}, [([1, 3],)]),
        ("T | where n == 1 | project k, n | project p = pack_all()", {"p": "dynamic"}, [({"k": "a", "n": 1},)]),
        # top-nested of one level
        ("T | top-nested 1 of k by max(n)", {"k": "string", "aggregated_k": "long"}, [("b", 3)]),
        # times
        ("print a = unixtime_seconds_todatetime(1546300800), b = unixtime_milliseconds_todatetime(1546300800000)",
         {"a": "datetime", "b": "datetime"}, [(datetime(2019, 1, 1), datetime(2019, 1, 1))]),
        ("print a = strcmp('ABC', 'ABC'), b = strcmp('abc', 'ABC'), c = strcmp('ABC', 'abc')",
         {"a": "int", "b": "int", "c": "int"}, [(0, 1, -1)]),
        # shown or not is the display's affair
        ("T | count | render timechart with (title = 'x')", {"Count": "long"}, [(4,)]),
        ("T | make-series c = count() on t from ago(3h) to now() step 1h | mv-expand c to typeof(long) | summarize sum(c)",
         {"sum_c": "long"}, [(3,)]),
    ],
)  # fmt: skip
def test_gives_what_the_reference_says(
    con: duckdb.DuckDBPyConnection, query: str, columns: dict[str, str], rows: list[tuple[Any, ...]]
) -> None:
    assert (columns, rows) == answer(con, query)


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("T | reduce by k", "replace_regex"),
        ("T | scan with (step a: n > 1;)", "prev()"),
        ("T | partition by k (sort by n)", "summarize"),
        ("T | evaluate bag_unpack(d)", "bag_unpack(…) : "),
        ("T | evaluate pivot(k)", "pivot(…) : "),
        ("T | evaluate autocluster()", "summarize"),
        ("externaldata (a: string) ['x.csv']", "tables/"),
        ("T | make-series count() by k", "from ago(1d) to now()"),
        ("declare query_parameters(a: string); T | where k == a", "a: string = 'x'"),
        ("T | extend a = 2 * series_fit_line(d)", "lookup"),
        ("T | top-nested 2 of k with others = 'o' by count()", "without others"),
        ("T | extend a = row_number()", "sort first"),
        ("T | sort by n | where prev(n) == 1", "extend x = prev(…) first"),
        ("T | summarize p = percentiles(n, 5, 50)", "percentile(x, 5)"),
        ("T | extend a = series_decompose_anomalies(d)", "lookup"),
        ("T | mv-apply e = d.list on (take 1)", "mv-expand and summarize"),
        ("T | facet by k", "one query for each"),
        ("T | evaluate bag_unpack(d) | where p == 1", "bag_unpack(…) : "),
        ("T | partition k (take 1)", "partition by RunId"),
        ("let f = (a: long) { T | where n > a }; f()", "call it as f(a)"),
        ("let f = (a: long) { f(a) | where n > a }; f(1)", "write what they do to a table"),
        ("union isfuzzy=true Nope, Nope2 | count", "there are no tables 'Nope' and 'Nope2'"),
        ("T | evaluate pivot(k, count()) | project n", "(Failed: long)"),
        ("T | extend K = 1", "columns 'k' and 'K' differ only in case; give one of them another name"),
        ("T | project-keep nope", "there are"),
    ],
)
def test_what_is_refused_says_what_to_write_instead(query: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        user_query(query, SCHEMA)
    assert hint in str(caught.value)


def test_a_line_is_fitted_as_in_the_example_of_the_reference(con: duckdb.DuckDBPyConnection) -> None:
    """x counts from 1, variances divide by n - 1: so says the example of series_fit_line()."""
    types, rows = answer(
        con,
        "print y = dynamic([2, 5, 6, 8, 11, 15, 17, 18, 25, 26, 30, 30])"
        "| extend before = 1, (RSquare, Slope, Variance, RVariance, Interception, LineFit) = series_fit_line(y), after = 2"
        "| project-away y",
    )
    assert ["int", "real", "real", "real", "real", "real", "dynamic", "int"] == [
        "int" if kind == "long" else kind for kind in types.values()
    ]
    (one, *numbers, line, two) = rows[0]
    assert (1, 2) == (one, two)
    assert [0.9829, 2.7308, 98.6288, 1.6865, -1.6667] == pytest.approx(numbers, abs=1e-4)
    fitted = [1.064, 3.7945, 6.526, 9.256, 11.987, 14.718, 17.449, 20.180, 22.910, 25.641, 28.371, 31.102]
    assert fitted == pytest.approx(line, abs=1e-3)


def test_a_line_of_what_is_no_series_of_numbers_is_null(con: duckdb.DuckDBPyConnection) -> None:
    for value in ("dynamic([])", "dynamic([1])", "dynamic([1, null, 3])", "dynamic(['a', 'b'])", "dynamic({'a': 1})"):
        assert [(None,)] == answer(con, f"print y = {value} | project f = series_fit_line_dynamic(y)")[1], value
    flat = "print y = dynamic([4, 4, 4]) | extend f = series_fit_line_dynamic(y) | project toreal(f.slope), toreal(f.variance)"
    assert [(0.0, 0.0)] == answer(con, flat)[1]


def test_columns_of_a_fitted_line_have_names_of_their_own(con: duckdb.DuckDBPyConnection) -> None:
    types, _ = answer(
        con, "T | make-series n2 = count() on t step 1h | extend series_fit_line(n2) | project-keep series*"
    )
    assert [
        f"series_fit_line_n2_{part}"
        for part in ("rsquare", "slope", "variance", "rvariance", "interception", "line_fit")
    ] == list(types)


def test_a_series_without_ends_goes_from_the_first_step_to_the_last(con: duckdb.DuckDBPyConnection) -> None:
    """The first and the last step that hold something; one end that is said stays."""
    hours = [NOW - timedelta(hours=h) for h in (3, 2, 1)]
    assert [([1, 1, 1], hours)] == answer(con, "T | make-series c = count() on t step 1h")[1]
    assert [([1, 1, 1], hours)] == answer(con, "T | make-series c = count() on t step 2h / 2")[1]
    late = f"datetime({NOW - timedelta(hours=2)})"
    assert [([1, 1], hours[1:])] == answer(con, f"T | make-series c = count() on t from {late} step 1h")[1]
    assert [([1], hours[:1])] == answer(con, f"T | make-series c = count() on t to {late} step 1h")[1]
    both = answer(con, "T | make-series c = count() on t step 1h by k | project k, c")[1]
    assert [("a", [1, 1, 0]), ("b", [0, 0, 1])] == sorted(both)


def test_parameters_with_values_are_lets(con: duckdb.DuckDBPyConnection) -> None:
    query = (
        "declare query_parameters(key: string = 'a', least: long = 2);\nT | where k == key and n >= least | project n"
    )
    assert [(2,)] == answer(con, query)[1]


def test_a_fault_in_a_rewritten_query_has_the_place_in_what_was_written() -> None:
    """The text that is translated is another one; nobody but us has seen it."""
    for query, place in [
        ("T\n| serialize\n| where kk == 1", (3, 9)),
        ("T | as A\n| where (n == 1", (2, 9)),
        ("T\n| make-series count() by k", (2, 3)),
    ]:
        with pytest.raises(QueryError) as caught:
            user_query(query, SCHEMA)
        assert place == (caught.value.line, caught.value.column), str(caught.value)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("RunStatusChanged | where * has 'x'", Kind.EVENT),
        ("RunStatusChanged | search 'x' | project-keep RunId, Status", Kind.EVENT),
        (
            "RunStatusChanged | where notempty(Target) | extend a = column_ifexists('Nope', 1), b = bag_keys(Tags)",
            Kind.EVENT,
        ),
        ("RunStatusChanged | where Status == 'x' | as A", Kind.EVENT),
        ("RunStatusChanged | extend b = bin_at(TimeGenerated, 1h, ingestion_time())", Kind.EVENT),
        ("RunStatusChanged | where Status == 'x' | project-reorder RunId", Kind.EVENT),
        ("RunStatusChanged | evaluate bag_unpack(Tags) | where env == 'prod' | project RunId, env", Kind.EVENT),
        ("RunStatusChanged | where extract_json('$.a', Message) == 'b'", Kind.EVENT),
        ("RunStatusChanged | partition by RunId (where Status == 'Failed')", Kind.EVENT),
        ("RunStatusChanged | partition by RunId (top 1 by TimeGenerated)", Kind.WINDOW),
        ("RunStatusChanged | partition by RunId (summarize count())", Kind.WINDOW),
        ("RunStatusChanged | serialize", Kind.WINDOW),
        ("RunStatusChanged | distinct *", Kind.WINDOW),
        ("RunStatusChanged | make-series count() on TimeGenerated from ago(1h) to now() step 1m", Kind.WINDOW),
        ("RunStatusChanged | mv-apply e = Tags.list on (where e > 1)", Kind.WINDOW),
    ],
)
def test_rewritten_queries_are_rows_or_windows(query: str, kind: Kind) -> None:
    assert kind is classify(query, SCHEMA).kind
    if kind is Kind.EVENT:
        assert row_plan(query, SCHEMA).sql


LEVELS = "datatable(a: string, b: string, n: long)['x', 'p', 5, 'x', 'q', 3, 'x', 'r', 1, 'y', 'p', 4, 'y', 's', 2, 'z', 'p', 1] | "
TEXT = "datatable(m: string, i: long)['7 of 9: done', 1, 'id=5 end', 2, 'none', 3] | "


@pytest.mark.parametrize(
    ("query", "columns", "rows"),
    [
        # a pattern that begins with a column, and one that names a column in brackets
        (TEXT + "parse m with a: long ' of ' b: long ':' rest | where i == 1 | project a, b, rest",
         {"a": "long", "b": "long", "rest": "string"}, [(7, 9, " done")]),
        (TEXT + "parse m with word ' ' rest | where i > 1 | project i, word, rest",
         {"i": "long", "word": "string", "rest": "string"}, [(2, "id=5", "end"), (3, "", "")]),
        (TEXT + "parse-where m with * 'id=' ['my id']: long ' ' * | project ['my id']", {"my id": "long"}, [(5,)]),
        (TEXT + "parse m with x ':' * | project-away x | getschema | count", {"Count": "long"}, [(2,)]),
        # brackets and wildcards
        ("T | where n == 1 | project k, n, x | project-reorder ['x'], k", {"x": "real", "k": "string", "n": "long"},
         [(1.5, "a", 1)]),
        ("T | where n == 1 | project k, n, nn = n + 1 | project-away n*", {"k": "string"}, [("a",)]),
        # a range holds both its ends
        ("T | make-series c = count() default = 0 on t in range(ago(3h), now(), 1h) | project c",
         {"c": "dynamic"}, [([1, 1, 1, 0],)]),
        # a row for each key
        ("T | where k == 'b' | summarize take_any(*) by k | project k, n, x", {"k": "string", "n": "long", "x": "real"},
         [("b", 3, 3.5)]),
        ("T | where k == 'b' | summarize any(*) by k | project n", {"n": "long"}, [(3,)]),
        # other spellings
        ("T | summarize count(n) by k | sort by k asc | take 1", {"k": "string", "count_": "long"}, [("", 1)]),
        ("T | where k notcontains 'a' | count", {"Count": "long"}, [(2,)]),
        ("print p = split('a b', ' ') | project q = tostring(p.[1])", {"q": "string"}, [("b",)]),
        ("print s = array_strcat(dynamic(['a', 'b']), '-')", {"s": "string"}, [("a-b",)]),
        ("print h = tostring(parseurl('https://x.example/y').Host)", {"h": "string"}, [("x.example",)]),
        ("print a = translate('krasp', 'otsku', 'spark'), b = translate('abc', 'x', 'abc'), c = translate('abc', '', 'ab')",
         dict.fromkeys("abc", "string"), [("kusto", "xxx", "")]),
        ("((T)) | count", {"Count": "long"}, [(4,)]),
        ("(T) | count", {"Count": "long"}, [(4,)]),
        ("(T | where k == 'b') | count", {"Count": "long"}, [(1,)]),
        ("let a = 'b'; (T | where k in ((T | where k == a | project k))) | count;", {"Count": "long"}, [(1,)]),
        ("workspace('w').T | count", {"Count": "long"}, [(4,)]),
        ("union app('c').T, table('T') | count", {"Count": "long"}, [(8,)]),
        ("set truncationmaxsize = 1; T | count", {"Count": "long"}, [(4,)]),
        ("search 'nothing' | count", {"Count": "long"}, [(0,)]),
        ("search * | count", {"Count": "long"}, [(0,)]),
        ("set notruncation; T | count", {"Count": "long"}, [(4,)]),
        ("print a = extract(@'(\\d+)', 1, strcat(extract('(a+)', 1, 'aa', typeof(string)), '5'), typeof(int)) + 1",
         {"a": "long"}, [(6,)]),
        ("""print a = extract_json('$.a.b[1]', '{"a": {"b": [1, 2]}}', typeof(int)), b = extractjson("$['x y']", '{"x y": "z"}')""",
         {"a": "int", "b": "string"}, [(2, "z")]),
        # within each key, all together
        ("T | partition by k (top 1 by n) | project k, n | sort by k asc", {"k": "string", "n": "long"},
         [("", None), ("a", 2), ("b", 3)]),
        ("T | partition hint.strategy=native by k { where n > 0 | extend m = n + 1 | summarize m = max(m) } | sort by m asc",
         {"m": "long"}, [(3,), (4,)]),
        ("T | partition by k (take 1 | project n | distinct n | project-rename r = n) | sort by r asc", {"r": "long"},
         [(None,), (1,), (3,)]),
        ("T | partition by k (count) | sort by Count asc", {"Count": "long"}, [(1,), (1,), (2,)]),
        ("T | partition by k (summarize count() by n | where n > 1) | sort by n asc", {"n": "long", "count_": "long"},
         [(2, 1), (3, 1)]),
        # of a bag, what later stages name
        ("T | evaluate bag_unpack(d) | where q == 'one' | project k, q, p", {"k": "string", "q": "dynamic", "p": "dynamic"},
         [("a", "one", 1)]),
        ("T | evaluate bag_unpack(d, 'o_') | summarize c = count() by x = tostring(o_q) | sort by c asc",
         {"x": "string", "c": "long"}, [("one", 1), ("", 3)]),
        # levels, each within those before it
        (LEVELS + "top-nested 2 of a by sum(n), top-nested 1 of b by sum(n) | sort by a asc",
         {"a": "string", "aggregated_a": "long", "b": "string", "aggregated_b": "long"},
         [("x", 9, "p", 5), ("y", 6, "p", 4)]),
        (LEVELS + "top-nested of a by count(), top-nested 1 of b by m = max(n) asc, top-nested of n by c = count()"
         " | sort by a asc | project a, b, m, n, c", {"a": "string", "b": "string", "m": "long", "n": "long", "c": "long"},
         [("x", "r", 1, 1, 1), ("y", "s", 2, 2, 1), ("z", "p", 1, 1, 1)]),
        # what an outer join finds nothing for: '' of a text, null of a number
        ("T | join kind=leftouter (datatable(k: string, w: string, v: long)['a', 'x', 1]) on k | where n == 3 | project w, v",
         {"w": "string", "v": "long"}, [("", None)]),
        ("T | lookup (datatable(k: string, w: string)['a', 'x']) on k | where w == '' | count", {"Count": "long"}, [(2,)]),
        ("T | join kind=rightouter (datatable(k: string)['q']) on k | project k, n, k1",
         {"k": "string", "n": "long", "k1": "string"}, [("", None, "q")]),
    ],
)  # fmt: skip
def test_other_spellings_give_what_they_mean(
    con: duckdb.DuckDBPyConnection, query: str, columns: dict[str, str], rows: list[tuple[Any, ...]]
) -> None:
    assert (columns, rows) == answer(con, query)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("arg('').resources | count", "arg() is not supported; tocsin's queries read its own tables"),
        ("T | extend y = parse_xml(k)", "parse_xml() is not supported; extract()"),
        ("T | where ipv4_is_private(k)", "ipv4_is_private() is not supported; startswith"),
        ("T | extend y = todecimal(k)", "todecimal() is not supported; todouble()"),
        ("T | where k matches regex '(?=a)'", "'(?=a)' is no regular expression: it looks ahead or behind"),
        ("T | make-series c = count() on n in range(1, 5, 1)", "make-series … in range() takes two times and a step"),
    ],
)
def test_what_stays_out_is_refused_in_our_words(query: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        user_query(query, SCHEMA)
    assert message in str(caught.value)
