"""Is a SQL statement one SELECT over the tables it may read? Judged on DuckDB's own parse tree, not on the text.

Two users: ``sql:`` rules, and KQL that somebody typed, whose translation is checked once more in this way.

Both may call pure functions of their arguments, nothing else. An allow-list: what a later DuckDB adds stays out until somebody has looked at it. Left out on purpose are the clock and
chance (an evaluation must come out the same again), settings, variables, sequences, files, sleeping, and the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.translate import Translation
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.upstream import NOW
from tocsin.kql.schema import KQL_TYPES, Schema, did_you_mean
from tocsin.kql.tokens import MAX_LENGTH, place

_OPERATORS = "+ - * / // % ** ^ & | << >> ~ || @ ~~ !~~ ~~* !~~* ~~~ ->> -> ^@ <@ @> && __postfix"
_NUMBERS = """
    abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp factorial
    fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma
    ln log log10 log2 mod multiply nextafter pi pow power radians round round_even roundbankers sign signbit sin sinh sqrt
    subtract tan tanh trunc xor
"""
_TEXT = """
    array_extract ascii bar base64 bin bit_length char_length character_length chr concat concat_ws contains
    damerau_levenshtein decode editdist3 encode ends_with format formatreadabledecimalsize formatreadablesize format_bytes
    from_base64 from_binary from_hex hamming hash hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase
    left left_grapheme len length length_grapheme levenshtein like_escape lower lpad ltrim md5 md5_number md5_number_lower
    md5_number_upper mismatches nfc_normalize not_ilike_escape not_like_escape octet_length ord overlay position prefix printf
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array
    repeat replace reverse right right_grapheme rpad rtrim sha1 sha256 split split_part starts_with str_split str_split_regex
    string_split string_split_regex string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix
    to_base to_base64 to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode url_encode
"""
_TIMES = """
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
    dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day
    make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium
    millisecond minute month monthname nanosecond normalized_interval quarter second strftime strptime time_bucket timezone
    timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds
    to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime week weekday weekofyear year
    yearweek
"""
_NESTED = """
    aggregate apply array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains array_distinct
    array_filter array_has array_has_all array_has_any array_indexof array_intersect array_length array_pop_back
    array_pop_front array_position array_prepend array_push_back array_push_front array_reduce array_resize array_reverse
    array_reverse_sort array_select array_slice array_sort array_to_json array_to_string array_transform array_unique
    array_value array_where array_zip cardinality element_at filter flatten from_json from_json_strict generate_series
    grade_up json json_array json_array_length json_contains json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_group_array json_group_object json_keys json_merge_patch json_object
    json_pretty json_quote json_structure json_transform json_transform_strict json_type json_valid json_value list_aggr
    list_aggregate list_any_value list_append list_apply list_avg list_bool_and list_bool_or list_cat list_concat
    list_contains list_count list_distinct list_element list_extract list_filter list_first list_grade_up list_has
    list_has_all list_has_any list_indexof list_intersect list_last list_max list_median list_min list_mode list_pack
    list_position list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort list_select list_slice
    list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform list_unique list_value list_var_pop
    list_var_samp list_where list_zip map map_concat map_contains map_entries map_extract map_extract_value
    map_from_entries map_keys map_values range reduce row row_to_json struct_concat struct_contains struct_extract
    struct_extract_at struct_has struct_insert struct_keys struct_pack struct_position struct_update struct_values to_json
    unnest
"""
_OTHERS = "alias can_cast_implicitly coalesce constant_or_null error if ifnull nullif typeof try switch"
_AGGREGATES = """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min arg_min_null argmax
    argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp
    entropy favg first fsum geomean geometric_mean group_concat histogram kahan_sum kurtosis kurtosis_pop last list listagg
    mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count
    regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem skewness stddev stddev_pop stddev_samp string_agg sum
    sumkahan var_pop var_samp variance wavg weighted_avg
"""
_WINDOWS = """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number
"""

FUNCTIONS: frozenset[str] = frozenset(
    " ".join((_OPERATORS, _NUMBERS, _TEXT, _TIMES, _NESTED, _OTHERS, _AGGREGATES, _WINDOWS)).split()
)
"""Scalar functions, aggregates and window functions, in lower case."""

LONGER: dict[str, str] = {
    **dict.fromkeys(("bar", "format", "printf"), "concat() and lpad() do"),
    "json_pretty": "leave it as it is",
    **dict.fromkeys(("array_resize", "list_resize"), "list_slice() shortens"),
    **dict.fromkeys(
        ("aggregate", "array_aggr", "array_aggregate", "list_aggr", "list_aggregate"), "list_sum(), list_max(), …"
    ),
    "list_string_agg": "array_to_string()",
    **dict.fromkeys(("generate_series", "range"), "write it in FROM"),
}
"""Of these, what SQL made from KQL may call and a person's may not -> what to write instead: how long their results are
stands in a number that nothing bounds.
"""

_JOINING = """
    || array_append array_prepend array_push_back array_push_front array_value array_zip json_merge_patch list_append list_pack
    list_prepend list_value list_zip map map_concat row struct_concat struct_insert struct_pack struct_update
"""
JOINING: frozenset[str] = frozenset(_JOINING.split())
"""Functions that put their arguments side by side and have no macro that bounds them (the log store's sandbox has the
others). With some the type doubles too, which takes gigabytes before anything runs.
"""

TABLE_FUNCTIONS: frozenset[str] = frozenset(("unnest", "generate_series", "range"))
"""Functions that may stand in FROM: they read nothing but their arguments."""


MAX_NODES = 50_000
MAX_TIMES = 256
"""Most times that one value may be put into another, all places where values are put side by side multiplied."""
_NODES = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"))
_RELATIONS = frozenset(("BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION"))
_CLASSES = frozenset(
    (
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "PARAMETER",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "WINDOW",
    )
)
_CLOCKS = frozenset(
    (
        *("now", "today", "ago", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp"),
        "transaction_timestamp",
    )
)
_SESSION = frozenset(("user", "current_user", "session_user", "current_role", "current_catalog", "current_schema"))


def check_sql(sql: str, schema: Mapping[str, Mapping[str, str]], row: Mapping[str, str] | None = None) -> Translation:
    """A ``sql:`` query, found harmless: one SELECT over tables of ``schema`` with functions of the allow-list.

    It may bind ``$kqlnow`` (TIMESTAMP, UTC), the time of the evaluation. ``row`` (column -> KQL type) are further names
    that it may use: they stand for one row's values, and are columns of its result; see ``beside``. Raises
    ``QueryError`` where it is refused or does not bind.
    """
    return _checked_sql(sql, Schema.of(schema), tuple((row or {}).items()))


def bare_names(sql: str, schema: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
    """Names of columns in a query that no table's name stands before, folded. Raises as ``check_sql``, but binds
    nothing.
    """
    return frozenset(checked(sql, Schema.of(schema)).bare)


def beside(sql: str, rows: str, what: str = "*") -> str:
    """A query for each of ``rows`` (a SELECT), whose columns are names in it; ``what`` of their columns and its own."""
    return f"SELECT {what} FROM ({rows}) AS tocsin_row, LATERAL (\n{sql}\n) AS tocsin_found"


@lru_cache(maxsize=512)
def _checked_sql(sql: str, schema: Schema, row: tuple[tuple[str, str], ...]) -> Translation:
    check = checked(sql, schema)
    uses_now = NOW in check.parameters
    others = sorted(check.parameters - {NOW})
    if others:
        raise QueryError(f"${others[0]} is no parameter", hint=f"${NOW} is the time of the evaluation")
    parameters: dict[str, object] = {NOW: datetime(2000, 1, 1)} if uses_now else {}
    columns = _beside_row(sql, check, row, parameters) if row else describer(schema).columns(sql, parameters, own=sql)
    return Translation(sql=sql, uses_now=uses_now, tables=frozenset(check.tables), columns=columns)


def _beside_row(
    sql: str, check: Check, row: tuple[tuple[str, str], ...], parameters: Mapping[str, object]
) -> dict[str, str]:
    """The columns of a query with a row's names in it: its own, then the row's."""
    for name, _ in row:
        for table in sorted(check.tables):
            for column in check.schema[table]:
                if column.casefold() == name.casefold():
                    raise QueryError(f"'{name}' is also the column {column} of {table}", hint="call one otherwise")
    listed = ", ".join(f"NULL::{KQL_TYPES[kind]} AS {quoted(name)}" for name, kind in row)
    try:
        whole = beside(sql, f"SELECT {listed}", "tocsin_found.*")
        found = describer(check.schema).columns(whole, parameters, own=sql, before=whole.index(sql))
    except QueryError as fault:
        if "orrelated" not in fault.message:
            raise
        hint = "the table's columns cannot stand there: join the table, as in FROM … JOIN … ON …"
        raise QueryError(fault.message, line=fault.line, column=fault.column, hint=hint) from fault
    for name, _ in row:
        if name.casefold() in map(str.casefold, found):
            raise QueryError(
                f"the query gives a value to '{name}', which is a column of the table", hint="call one otherwise"
            )
    return {**found, **dict(row)}


def checked(sql: str, schema: Schema, *, generated: bool = False) -> Check:
    """The check of one statement. ``generated`` SQL is longer than a person's, and may describe a query (getschema)."""
    if len(sql) > MAX_LENGTH * (64 if generated else 1):
        raise QueryError(f"the query has {len(sql)} characters; at most {MAX_LENGTH} are read")
    tree = describer(schema).parsed(sql)
    if tree.get("error", True):
        message = str(tree.get("error_message", "it is no SELECT"))
        if "Only SELECT" in message:
            raise QueryError("only SELECT is allowed", hint="write one SELECT")
        offset = str(tree.get("position", ""))
        line, column = place(sql, int(offset)) if offset.isdigit() else (0, 0)
        raise QueryError(message.split("\n")[0], line=line, column=column)
    statements = tree.get("statements", [])
    if len(statements) != 1:
        raise QueryError("one statement, please", hint="remove what follows the semicolon")
    check = Check(sql=sql, schema=schema, generated=generated)
    check.query(statements[0]["node"], frozenset())
    return check


@dataclass(slots=True)
class Check:
    """A walk over a parse tree; ``tables`` are those it reads, ``parameters`` those it binds."""

    sql: str
    schema: Schema
    generated: bool
    tables: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)  # columns that no table's name stands before, folded
    visited: int = 0
    times: int = 1
    sources: set[int] = field(default_factory=set)  # calls that stand in FROM, by id
    counted: set[int] = field(default_factory=set)  # calls that are parts of a chain, by id

    def query(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        """A SELECT or what joins SELECTs; ``ctes`` are the names, folded, that it sees around it."""
        if node["type"] not in _NODES:
            raise self._refused("recursive queries are refused" if "RECURSIVE" in node["type"] else node["type"], node)
        if node["type"] == "CTE_NODE":
            self.query(node["query"], ctes)
            ctes = ctes | {str(node["ctename"]).casefold()}
            self.query(node["child"], ctes)
            return
        for entry in node.get("cte_map", {}).get("map", []):
            self.query(entry["value"]["query"]["node"], ctes)
            ctes = ctes | {str(entry["key"]).casefold()}
        if node.get("sample"):
            raise QueryError("samples are refused: an evaluation must come out the same again")
        for key, value in node.items():
            if key != "cte_map":
                self._any(value, ctes)

    def _any(self, value: Any, ctes: frozenset[str]) -> None:
        self.visited += 1
        if self.visited > MAX_NODES * (10 if self.generated else 1):
            raise QueryError("the query is too large")
        if isinstance(value, list):
            for each in value:
                self._any(each, ctes)
        elif isinstance(value, dict):
            kind = value.get("type")
            if "cte_map" in value or kind in ("CTE_NODE", "RECURSIVE_CTE_NODE"):
                self.query(value, ctes)
                return
            if "class" in value:
                self._expression(value)
            elif "query_location" in value and "sample" in value:
                self._relation(value, ctes)
            for each in value.values():
                self._any(each, ctes)

    def _relation(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        kind = node["type"]
        if kind == "SHOW_REF" and self.generated and node.get("show_type") == "DESCRIBE" and node.get("query"):
            return
        if node.get("sample"):
            raise self._refused("samples are refused: an evaluation must come out the same again", node)
        if kind not in _RELATIONS:
            raise self._refused(f"{kind.lower()} is refused", node)
        if kind == "TABLE_FUNCTION":
            called = node.get("function") or {}
            if str(called.get("function_name", "")).lower() not in TABLE_FUNCTIONS:
                raise self._refused(f"the table function {called.get('function_name')} is refused", node)
            self.sources.add(id(called))
        if kind != "BASE_TABLE":
            return
        name = str(node["table_name"])
        if node.get("schema_name") or node.get("catalog_name"):
            raise self._refused("qualified table names are refused", node, "name the table alone")
        if name.casefold() in ctes:
            return
        for known in self.schema:
            if known.casefold() == name.casefold():
                self.tables.add(known)
                return
        raise self._refused(
            f"there is no table {name!r}", node, did_you_mean(name, self.schema, f"there are {', '.join(self.schema)}")
        )

    def _expression(self, node: dict[str, Any]) -> None:
        kind = node["class"]
        if kind not in _CLASSES:
            raise self._refused(f"{str(kind).lower()} is refused", node)
        if kind == "COLUMN_REF" and len(node["column_names"]) == 1 and not self.generated:
            self.bare.add(str(node["column_names"][0]).casefold())
            bare = str(node["column_names"][0]).lower()  # DuckDB reads some bare names as functions
            if bare in _CLOCKS:
                raise self._clock(bare, node)
            if bare in _SESSION:
                raise self._refused(f"{bare} is refused", node)
        if kind == "PARAMETER":
            self.parameters.add(str(node.get("identifier", "")))
        if kind not in ("FUNCTION", "WINDOW"):
            return
        name = str(node["function_name"]).lower()
        if node.get("catalog") or node.get("schema") not in ("", "main", "pg_catalog", None):
            raise self._refused("qualified function names are refused", node)
        if name in _CLOCKS:
            raise self._clock(f"{name}()", node)
        if name not in FUNCTIONS:
            raise self._refused(f"the function {name}() is refused", node, did_you_mean(name, FUNCTIONS))
        if not self.generated:
            self._bounded(name, node)

    def _bounded(self, name: str, node: dict[str, Any]) -> None:
        """Refuses what makes values of any length: DuckDB ends no function within one value, and counts none of its
        memory.
        """
        if name in LONGER and id(node) not in self.sources:
            raise self._refused(
                f"the function {name}() is refused: its result may be of any length", node, LONGER[name]
            )
        if name in JOINING and id(node) not in self.counted:
            self.times *= max(1, sum(part.get("class") != "CONSTANT" for part in self._parts(name, node)))
            if self.times > MAX_TIMES:
                raise self._refused("values are put side by side too often", node, "use concat() for texts")

    def _parts(self, name: str, node: dict[str, Any]) -> list[dict[str, Any]]:
        """What is put side by side: ``a || b || c`` is one row of three."""
        found: list[dict[str, Any]] = []
        stack = list(node.get("children", ()))
        while stack:
            part = stack.pop()
            if name == "||" and part.get("function_name") == name:
                self.counted.add(id(part))
                stack += part.get("children", ())
            else:
                found.append(part)
        return found

    def _clock(self, name: str, node: dict[str, Any]) -> QueryError:
        return self._refused(f"{name} is refused: an evaluation must come out the same again", node, f"use ${NOW}")

    def _refused(self, message: str, node: dict[str, Any], hint: str = "") -> QueryError:
        offset = node.get("query_location", -1)
        if self.generated or not isinstance(offset, int) or not 0 <= offset <= len(self.sql):
            return QueryError(message, hint=hint)
        line, column = place(self.sql, offset)
        return QueryError(message, line=line, column=column, hint=hint)
