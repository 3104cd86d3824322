"""Functions of KQL that the translator lacks, as DuckDB SQL. ``{0}`` is the first operand.

Meanings are those of the KQL reference: a bag is a JSON object, a function of something else is null.
"""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.errors import QueryError

_ENTRIES = "map_entries(json_transform({0}, '\"MAP(VARCHAR, JSON)\"'))"
MOST_LOOKED_UP = 100_000_000
"""Entries of bags that are looked at for all keys of ``make_bag``: a second, in one step that cannot be interrupted."""
# The entries of all bags, then the first value of each key.
_BAG = (
    "list_transform([coalesce(flatten(list("
    + _ENTRIES
    + ") FILTER (WHERE json_type({0}) = 'OBJECT'%s)), [])], lambda _all: "
    f"CASE WHEN len(_all) * list_unique(list_transform(_all, lambda _kv: _kv.key)) > {MOST_LOOKED_UP} "
    "THEN error('make_bag() of so many keys takes too long: let fewer rows reach it') ELSE "
    "to_json(map_from_entries(list_transform(list_distinct(list_transform(_all, lambda _kv: _kv.key)), "
    "lambda _key: {{'k': _key, 'v': list_filter(_all, lambda _kv: _kv.key = _key)[1].value}}))) END)[1]"
)
_SET = (
    "to_json(coalesce(list_distinct(flatten(list(CASE WHEN json_type(TRY_CAST({0} AS JSON)) = 'ARRAY' "
    "THEN CAST(to_json({0}) AS JSON[]) ELSE [to_json({0})] END) FILTER (WHERE {0} IS NOT NULL AND {1}))), []))"
)
_SET_OF = _SET.removeprefix("to_json(").removesuffix(")")  # as a list
_LIST_OF = "coalesce(list({0}) FILTER (WHERE {0} IS NOT NULL), [])"
_ARRAY = "CAST(to_json({%d}) AS JSON[])"
_ONCE = "to_json(list_transform([%s], lambda _l: list_filter(_l, lambda _x, _i: list_position(_l, _x) = _i AND %s))[1])"
_SUNDAY = "epoch_us(date_trunc('day', {%d}) - to_days(CAST(dayofweek({%d}) AS INTEGER)))"  # the one before, or that day
_INDEX = (
    "list_transform([greatest(0, CASE WHEN {2} < 0 THEN length({0}) + {2} ELSE {2} END)], lambda _at: "
    "CASE strpos(substr({0}, _at + 1), {1}) WHEN 0 THEN -1 ELSE strpos(substr({0}, _at + 1), {1}) - 1 + _at END)[1]"
)
MOST_VALUES, MOST_REPEATS = 1_000_000, 1024
"""What a query may make out of nothing: values of a range, repeats of a text (as in KQL). How long values become is for
the log store's sandbox to bound.
"""
_TOO_MANY = f"error('a range gives at most {MOST_VALUES:,} values: take a longer step')"
MOST_COUNTED = 1024
"""Characters of a text in which something is counted that can overlap itself, and of what is counted."""
_TOO_LONG = f"error('countof() of what may overlap itself takes texts of up to {MOST_COUNTED:,} characters: substring() it first')"
_APART = "CAST(coalesce((strlen({0}) - strlen(replace({0}, {1}, ''))) // strlen({1}), 0) AS BIGINT)"
_BINNED = "CAST(floor((epoch_us({0}) - epoch_us({2})) / epoch_us({1})) * epoch_us({1}) AS BIGINT)"

# Least squares over y at x = 1, 2, …; variances divide by n - 1, as the reference's example does. Nothing for fewer
# than two.
_FIT = (
    "list_transform([CASE WHEN json_type(to_json({0})) = 'ARRAY' THEN TRY_CAST(to_json({0}) AS DOUBLE[]) END], lambda _y: "
    "list_transform([{{'y': _y, 'n': len(_y), 'mean': list_avg(_y), 'mid': (len(_y) + 1) / 2.0}}], lambda _m: "
    "list_transform([{{"
    "'xx': list_sum(list_transform(range(1, _m.n + 1), lambda _i: (_i - _m.mid) ** 2)), "
    "'xy': list_sum(list_transform(range(1, _m.n + 1), lambda _i: (_i - _m.mid) * (_m.y[_i] - _m.mean))), "
    "'yy': list_sum(list_transform(_m.y, lambda _v: (_v - _m.mean) ** 2))}}], lambda _s: "
    "CASE WHEN _m.n >= 2 AND len(list_filter(_m.y, lambda _v: _v IS NULL)) = 0 THEN to_json({{"
    "'rsquare': CASE WHEN _s.yy = 0 THEN 1.0 ELSE _s.xy ** 2 / (_s.xx * _s.yy) END, 'slope': _s.xy / _s.xx, "
    "'variance': _s.yy / (_m.n - 1), 'rvariance': (_s.yy - _s.xy ** 2 / _s.xx) / (_m.n - 1), "
    "'interception': _m.mean - _s.xy / _s.xx * _m.mid, "
    "'line_fit': list_transform(range(1, _m.n + 1), lambda _i: _m.mean + _s.xy / _s.xx * (_i - _m.mid))}}) END"
    ")[1])[1])[1]"
)

_NO_NETWORK = "startswith, or matches regex"
_ONLY_TABLES = "tocsin's queries read its own tables and yours in tables/"
INSTEAD = {
    "adx": _ONLY_TABLES,
    "arg": _ONLY_TABLES,
    "bin_auto": "bin(x, 1h)",
    "extract_json": "parse_json(text).name",
    "extractjson": "parse_json(text).name",
    "pack_dictionary": "bag_pack('Status', Status, …)",
    "ingestion_time": "the column IngestedAt",
    "geo_distance_2points": "extend the distance by sqrt(), sin() and cos()",
    "geo_point_to_geohash": "round() both coordinates",
    "has_ipv4": "has",
    "has_ipv4_prefix": "hasprefix",
    "ipv4_compare": _NO_NETWORK,
    "ipv4_is_in_any_range": _NO_NETWORK,
    "ipv4_is_in_range": _NO_NETWORK,
    "ipv4_is_match": _NO_NETWORK,
    "ipv4_is_private": _NO_NETWORK,
    "ipv4_lookup": "lookup",
    "ipv6_is_match": _NO_NETWORK,
    "parse_csv": "split(x, ',')",
    "parse_ipv4": _NO_NETWORK,
    "parse_user_agent": "extract()",
    "parse_version": "split(x, '.')",
    "parse_xml": "extract(), or send JSON and use parse_json()",
    "percentilew": "percentile()",
    "resource": _ONLY_TABLES,
    "todecimal": "todouble()",
    "workspace": _ONLY_TABLES,
    "hash": "hash_md5() or hash_sha256(), which are the same everywhere",
    "hash_many": "hash_md5(strcat(…))",
    "new_guid": "the same events must always give the same answer; use EventId",
    "rand": "the same events must always give the same answer; take some with where hash_md5(RunId) startswith '0'",
    "row_rank_dense": "row_number() after sort",
    "row_rank_min": "row_number() after sort",
    "row_window_session": "prev() after sort, then iff(t - prev > 30m, …)",
    "tdigest": "percentile()",
    "hll": "dcount()",
    "materialized_view": "name the table",
    "external_table": "put the file into tables/ of the project directory and name it as a table",
}
"""Functions that are refused -> what to write instead, or why."""

_AS_TEXT = (  # of _f + _i * _s microseconds, as KQL writes a timespan inside a dynamic value: 1.02:00:00
    "list_transform([_f + _i * _s], lambda _u: CASE WHEN _u < 0 THEN '-' ELSE '' END || CASE WHEN abs(_u) >= 86400000000 "
    "THEN CAST(abs(_u) // 86400000000 AS VARCHAR) || '.' ELSE '' END "
    "|| CAST(to_microseconds(abs(_u) % 86400000000) AS VARCHAR))[1]"
)
MOST_LISTED = 1 << 20
"""Most elements of an array that ``range()`` gives. Source: the reference of range()."""


def _listed(step: str, first: str, last: str, value: str) -> str:
    """SQL of a list of ``value`` of ``_f`` (the first), ``_s`` (the step) and ``_i`` (0, 1, …), both ends included; as
    in KQL it has as many as fit where there are more than ``MOST_LISTED``.
    """
    steps = f"least({MOST_LISTED}, greatest(0, 1 + CAST(floor((_l - _f) / nullif(_s, 0)) AS BIGINT)))"
    named = (
        f"list_transform([{first}], lambda _f: list_transform([{last}], lambda _l: list_transform([{step}], lambda _s: "
    )
    return f"{named}list_transform(range(0, {steps}), lambda _i: {value}))[1])[1])[1]"


SCALARS: dict[str, tuple[str, tuple[int, ...]]] = {
    "bag_has_key": ("coalesce(json_type({0}) = 'OBJECT' AND list_contains(json_keys({0}), {1}), FALSE)", (2,)),
    "bag_keys": ("(CASE WHEN json_type({0}) = 'OBJECT' THEN to_json(json_keys({0})) END)", (1,)),
    "datetime_local_to_utc": ("(({0} AT TIME ZONE {1}) AT TIME ZONE 'UTC')", (2,)),
    "datetime_utc_to_local": ("(({0} AT TIME ZONE 'UTC') AT TIME ZONE {1})", (2,)),
    "series_fit_line_dynamic": (_FIT, (1,)),
    "range": ("generate_series({0}, {1}, 1)", (2, 3)),  # written anew by the types of its arguments: calls.timed
    "set_difference": (_ONCE % (_ARRAY % 0, f"NOT list_contains({_ARRAY % 1}, _x)"), (2,)),
    "set_intersect": (_ONCE % (_ARRAY % 0, f"list_contains({_ARRAY % 1}, _x)"), (2,)),
    "set_union": (_ONCE % (f"list_concat({_ARRAY % 0}, {_ARRAY % 1})", "TRUE"), (2,)),
    "strcmp": ("(CASE WHEN {0} < {1} THEN -1 WHEN {0} > {1} THEN 1 ELSE 0 END)", (2,)),
    "string_size": ("octet_length(encode({0}))", (1,)),
    "translate": (
        "CASE WHEN {1} = '' THEN translate({2}, {0}, '') "
        "ELSE translate({2}, {0}, rpad({1}, greatest(length({0}), length({1}))::INT, right({1}, 1))) END",
        (3,),
    ),
    "tohex": ("lower(to_hex(CAST({0} AS BIGINT)))", (1,)),
    "url_decode": ("url_decode({0})", (1,)),
    "url_encode": ("url_encode({0})", (1,)),
    "unixtime_microseconds_todatetime": ("make_timestamp(CAST({0} AS BIGINT))", (1,)),
    "unixtime_milliseconds_todatetime": ("make_timestamp(CAST({0} * 1000 AS BIGINT))", (1,)),
    "unixtime_seconds_todatetime": ("make_timestamp(CAST({0} * 1000000 AS BIGINT))", (1,)),
    # Names that users cannot write: what rewritten queries call.
    "__tocsin_bin_number": ("({2} + floor(({0} - {2}) / {1}) * {1})", (3,)),
    "__tocsin_bin_span": ("({2} + to_microseconds(" + _BINNED + "))", (3,)),
    "__tocsin_bin_time": ("({2} + to_microseconds(" + _BINNED + "))", (3,)),
    # DuckDB's intervals have days apart from hours, and no quotient by a number
    "__tocsin_span_over": ("to_microseconds(CAST(round(epoch_us({0}) / NULLIF({1}, 0)) AS BIGINT))", (2,)),
    "__tocsin_span_rest": (
        "to_microseconds(((epoch_us({0}) % NULLIF(epoch_us({1}), 0)) + abs(epoch_us({1}))) "
        "% NULLIF(abs(epoch_us({1})), 0))",
        (2,),
    ),
    "__tocsin_span_abs": ("to_microseconds(abs(epoch_us({0})))", (1,)),
    "__tocsin_span_times": ("to_microseconds(CAST(round(epoch_us({0}) * {1}) AS BIGINT))", (2,)),
    # of a text that does not overlap itself
    "__tocsin_countof": (_APART, (2,)),
    # of any; to look at every place takes time by the square of how long the text is, and cannot be interrupted
    "__tocsin_countof_any": (
        "CASE WHEN {1} IS NULL THEN NULL WHEN {1} = '' OR strlen({1}) > strlen(coalesce({0}, '')) THEN 0 "
        f"WHEN length({{1}}) > {MOST_COUNTED} THEN {_TOO_LONG} "
        "WHEN len(list_filter(range(1, length({1})), lambda _k: starts_with({1}, substr({1}, _k + 1)))) = 0 "
        f"THEN {_APART} WHEN length({{0}}) > {MOST_COUNTED} THEN {_TOO_LONG} "
        "ELSE CAST(len(list_filter(range(1, length({0}) - length({1}) + 2), "
        "lambda _i: substr({0}, _i, length({1})) = {1})) AS BIGINT) END",
        (2,),
    ),
    "__tocsin_default": ("coalesce({0}, {1})", (2,)),
    "__tocsin_indexof": (_INDEX, (3,)),
    "__tocsin_number": ("row_number() OVER ()", (0,)),
    "__tocsin_range_number": (
        _listed("CAST({2} AS BIGINT)", "CAST({0} AS BIGINT)", "CAST({1} AS BIGINT)", "_f + _i * _s"),
        (3,),
    ),
    "__tocsin_range_real": (
        _listed("CAST({2} AS DOUBLE)", "CAST({0} AS DOUBLE)", "CAST({1} AS DOUBLE)", "_f + _i * _s"),
        (3,),
    ),
    "__tocsin_range_span": (
        _listed("epoch_us({2})", "epoch_us({0})", "epoch_us({1})", _AS_TEXT),
        (3,),
    ),
    "__tocsin_range_time": (
        _listed("epoch_us({2})", "epoch_us({0})", "epoch_us({1})", "make_timestamp(_f + _i * _s)"),
        (3,),
    ),
    "__tocsin_rank_asc": ("row_number() OVER (PARTITION BY {0} ORDER BY {1} ASC NULLS FIRST)", (2,)),
    "__tocsin_rank_desc": ("row_number() OVER (PARTITION BY {0} ORDER BY {1} DESC NULLS LAST)", (2,)),
    # With a fixed delimiter as it is: DuckDB wants a constant, which upstream's CASE over its type is not on every
    # cursor.
    "__tocsin_strcat_array": (
        "CASE WHEN json_type(to_json({0})) = 'ARRAY' THEN array_to_string("
        "list_transform(TRY_CAST(to_json({0}) AS JSON[]), lambda _sa: coalesce(_sa ->> '$', '')), {1}) "
        "ELSE coalesce(to_json({0}) ->> '$', '') END",
        (2,),
    ),
    "__tocsin_strrep": (
        f"repeat({{0}}, CAST(greatest(0, least({{1}}, {MOST_REPEATS})) AS BIGINT))",
        (2,),
    ),
    # As a subquery: DuckDB would fold a constant list into a value, which takes fifty bytes for each number of it.
    "__tocsin_until_number": (
        f"(SELECT CASE WHEN ({{1}} - {{0}}) / {{2}} > {MOST_VALUES} THEN {_TOO_MANY} ELSE {{1}} END)",
        (3,),
    ),
    "__tocsin_until_time": (
        f"(SELECT CASE WHEN (epoch_us({{1}}) - epoch_us({{0}})) / epoch_us({{2}}) > {MOST_VALUES} THEN {_TOO_MANY} ELSE {{1}} END)",
        (3,),
    ),
    "__tocsin_weeks": (f"CAST(({_SUNDAY % (0, 0)} - {_SUNDAY % (1, 1)}) // 604800000000 AS BIGINT)", (2,)),
}
"""Name -> template and numbers of arguments."""

AGGREGATES: dict[str, tuple[str, tuple[int, ...], str]] = {
    "count_distinct": ("count(DISTINCT {0})", (1,), "count_distinct"),
    "count_distinctif": ("count(DISTINCT {0}) FILTER (WHERE {1})", (2,), "count_distinctif"),
    "make_bag": (_BAG % "", (1, 2), "bag"),
    "make_bag_if": (_BAG % " AND {1}", (2, 3), "bag"),
    "make_list_if": ("coalesce(list({0}) FILTER (WHERE {0} IS NOT NULL AND {1}), [])", (2, 3), "list"),
    "make_list_with_nulls": ("coalesce(list({0}), [])", (1,), "list"),
    "make_set_if": (_SET, (2, 3), "set"),
    "maxif": ("max({0}) FILTER (WHERE {1})", (2,), "maxif"),
    "minif": ("min({0}) FILTER (WHERE {1})", (2,), "minif"),
    "stdevp": ("coalesce(stddev_pop({0}), 0.0)", (1,), "stdevp"),
    "take_anyif": ("any_value({0}) FILTER (WHERE {1})", (2,), "take_anyif"),
    "variancep": ("coalesce(var_pop({0}), 0.0)", (1,), "variancep"),
    "__tocsin_avg_span": ("to_microseconds(CAST(avg(epoch_us({0})) AS BIGINT))", (1,), "avg"),
    "__tocsin_avgif_span": ("to_microseconds(CAST(avg(epoch_us({0})) FILTER (WHERE {1}) AS BIGINT))", (2,), "avgif"),
    "__tocsin_make_list_most": (f"{_LIST_OF}[1:{{1}}]", (2,), "list"),
    "__tocsin_make_list_if_most": (
        f"{_LIST_OF.replace(' IS NOT NULL', ' IS NOT NULL AND {1}')}[1:{{2}}]",
        (3,),
        "list",
    ),
    "__tocsin_make_set_most": (f"to_json(({_SET_OF.replace(' AND {1}', '')})[1:{{1}}])", (2,), "set"),
    "__tocsin_make_set_if_most": (f"to_json(({_SET_OF})[1:{{2}}])", (3,), "set"),
    "__tocsin_sum_span": ("to_microseconds(CAST(coalesce(sum(epoch_us({0})), 0) AS BIGINT))", (1,), "sum"),
    "__tocsin_sumif_span": (
        "to_microseconds(CAST(coalesce(sum(epoch_us({0})) FILTER (WHERE {1}), 0) AS BIGINT))",
        (2,),
        "sumif",
    ),
    "__tocsin_list": ("list({0} ORDER BY {1})", (2,), "list"),
}
"""Name -> template, numbers of arguments, prefix of an unnamed result's name."""

_DELIMITERS = " /-:,.[]_"


def format_timespan(value: str, pattern: str) -> str:
    """``format_timespan(value, 'd.hh:mm:ss')``: d, h or H, m, s, f and F stand for parts, repeated for their digits."""
    pieces: Sequence[str] = [
        _part("abs(u) // 86400000000", run) if run[0] == "d" else _element(run) for run in _runs(pattern)
    ]
    return f"list_transform([epoch_us({value})], lambda u: {' || '.join(pieces)})[1]"


def _runs(pattern: str) -> list[str]:
    if not pattern:
        raise QueryError("format_timespan needs a format", hint="'d.hh:mm:ss'")
    runs: list[str] = []
    for char in pattern:
        if char not in "dhHmsfF" + _DELIMITERS:
            raise QueryError(f"format_timespan does not know {char!r}", hint="d, h, m, s, f, F and / - : , . _ [ ] do")
        if runs and runs[-1][0] == char and char not in _DELIMITERS:
            runs[-1] += char
        else:
            runs.append(char)
    return runs


def _element(run: str) -> str:
    match run[0]:
        case "h" | "H":
            return _part("abs(u) // 3600000000 % 24", run)
        case "m":
            return _part("abs(u) // 60000000 % 60", run)
        case "s":
            return _part("abs(u) // 1000000 % 60", run)
        case "f" | "F":
            digits = f"substr(lpad(CAST(abs(u) % 1000000 AS VARCHAR), 6, '0') || '0', 1, {len(run)})"
            return digits if run[0] == "f" else f"rtrim({digits}, '0')"
    return f"'{run}'"


def _part(number: str, run: str) -> str:
    text = f"CAST({number} AS VARCHAR)"
    return (
        text
        if len(run) == 1
        else f"CASE WHEN len({text}) < {len(run)} THEN lpad({text}, {len(run)}, '0') ELSE {text} END"
    )
