"""prev, next, row_number and row_cumsum: functions of rows in an order.

KQL's rows keep the order of the last sort; SQL's do not, so each call is given that order again in its OVER.

``adapted`` writes calls that upstream takes in fewer forms than KQL has, as calls of functions of ours (``extras``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.simplify import Sql
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import rebuilt, walk
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN

Order = tuple[tuple[str, str], ...] | None
"""Columns and directions of the last sort; () for rows in an order that no column gives, None for rows in none."""

FUNCTIONS = frozenset(("prev", "next", "row_number", "row_cumsum"))


def after(op: Any, order: Order) -> Order:
    """The order of the rows that ``op`` makes of rows in ``order``."""
    match op:
        case ir.Sort(keys=keys) | ir.Top(keys=keys):
            plain = [(key.expr.name, _direction(key)) for key in keys if isinstance(key.expr, ir.ColumnRef)]
            return tuple(plain) if len(plain) == len(keys) else ()
        case ir.Where() | ir.Take():
            return order
        case ir.Extend() | ir.Parse() | ir.Project() | ir.ProjectAway() | ir.ProjectRename() | ir.MvExpand():
            return _kept(op, order)
    return None


def _kept(op: Any, order: Order) -> Order:
    if not order:
        return order
    names: set[str | None] = {name for name, _ in order}
    match op:
        case ir.Extend(expressions=targets):
            given = {target.name for target in targets}
            lost = names if None in given else given & names
        case ir.Project(expressions=targets):
            same = {t.expr.name for t in targets if isinstance(t.expr, ir.ColumnRef) and t.name in (None, t.expr.name)}
            lost = names - same
        case ir.ProjectAway(columns=gone):
            lost = names & set(gone)
        case _:
            lost = names
    return () if lost else order


def _direction(key: Any) -> str:
    first = key.ascending if key.nulls_first is None else key.nulls_first
    return f"{'ASC' if key.ascending else 'DESC'} NULLS {'FIRST' if first else 'LAST'}"


def windowed(op: Any, columns: Types, order: Order) -> Any:
    """``op`` with its calls over ``order``. Raises ``QueryError`` where rows have none, or ``op`` cannot hold them."""
    names = {n.name.lower() for n in walk(op) if isinstance(n, ir.FunctionCall)} & FUNCTIONS
    if not names:
        return op
    name = sorted(names)[0]
    if not isinstance(op, ir.Extend | ir.Project):
        raise QueryError(f"{name}() works in extend and project only", hint=f"extend x = {name}(…) first")
    if order is None:
        raise QueryError(f"{name}() needs rows in an order", hint="sort first, or serialize")
    keys = ", ".join(f"{_column(column)} {direction}" for column, direction in order)
    over = f"OVER (ORDER BY {keys}" if keys else "OVER ("
    return rebuilt(op, lambda node: _call(node, columns, over))


def _column(name: str) -> str:
    return str(upstream.render_scalar(ir.ColumnRef(name)))


def _call(node: Any, columns: Types, over: str) -> Any:
    if not isinstance(node, ir.FunctionCall) or node.name.lower() not in FUNCTIONS:
        return node
    name = node.name.lower()
    args: tuple[Any, ...] = node.args
    if name == "row_number":
        if len(args) > 1 or not all(isinstance(arg, ir.Literal) for arg in args):
            raise QueryError("row_number() takes a first number alone", hint="summarize and join to restart it")
        start = int(args[0].value) if args else 1
        return Sql(f"(row_number() {over}) + {start - 1})", "long")
    if not args or not isinstance(args[0], ir.ColumnRef) or args[0].name not in columns:
        raise QueryError(f"{name}() takes a column", hint=f"extend x = … first, then {name}(x)")
    column, kind = _column(args[0].name), columns[args[0].name]
    if name == "row_cumsum":
        if len(args) > 1:
            raise QueryError("row_cumsum() cannot restart", hint="one query for each part")
        return Sql(f"sum({column}) {over} ROWS UNBOUNDED PRECEDING)", "real" if kind == "real" else "long")
    if not all(isinstance(arg, ir.Literal) for arg in args[1:]):
        raise QueryError(f"{name}() takes a fixed offset and default")
    offset = int(args[1].value) if len(args) > 1 else 1
    default = upstream.render_scalar(args[2]) if len(args) > 2 else "''" if kind == "string" else "NULL"
    word = "lag" if name == "prev" else "lead"
    return (
        Sql(f"{word}({column}, {offset}, {default}) {over})", str(kind))
        if kind
        else ir.RenderedAggregate(f"{word}({column}, {offset}, {default}) {over})")
    )


REGEXES = {"extract": 0, "extract_all": 0, "replace_regex": 1, "trim": 0, "trim_start": 0, "trim_end": 0}
"""Functions -> which argument is a regular expression."""

_MOST = {"make_list": 2, "make_set": 2, "make_list_if": 3, "make_set_if": 3}
"""Aggregates -> with how many arguments the last one says how many values are kept."""
_SPANS = frozenset(("avg", "avgif", "sum", "sumif"))


def adapted(node: Any) -> Any:
    """A call in a form that upstream lacks, as one that there is; any other node as it is."""
    if not isinstance(node, ir.FunctionCall):
        return node
    name, args = node.name.lower(), node.args
    match name, args:
        case "datetime_diff", (ir.Literal(value=str() as part), later, earlier) if part.lower() == "week":
            return ir.FunctionCall(f"{HIDDEN}weeks", (later, earlier))
        case "split", (text, delimiter, index):
            picked = ir.PathAccess(ir.FunctionCall(node.name, (text, delimiter)), (ir.PathStep(index=index),))
            return ir.FunctionCall("pack_array", (picked,))
        case "strcat_array", (array, ir.Literal(kind="string")):
            return ir.FunctionCall(f"{HIDDEN}strcat_array", (array, args[1]))
        case "strrep", (text, times):
            return ir.FunctionCall(f"{HIDDEN}strrep", (text, times))
        case "countof", (text, ir.Literal(value=str() as wanted, kind="string")) if wanted and not _overlaps(wanted):
            return ir.FunctionCall(f"{HIDDEN}countof", (text, args[1]))
        case "countof", (text, wanted):
            return ir.FunctionCall(f"{HIDDEN}countof_any", (text, wanted))
        case "indexof", (text, wanted, start):
            return ir.FunctionCall(f"{HIDDEN}indexof", (text, wanted, start))
        case "indexof", (_, _, _, *_):
            raise QueryError(
                "indexof() takes a text, what to look for, and where to begin", hint="substring() it first"
            )
    return node


def _overlaps(text: str) -> bool:
    """Whether ``text`` can begin before another of its kind has ended, as in KQL it counts then too."""
    return any(text.startswith(text[at:]) for at in range(1, len(text)))


_BINNED = {"datetime": ("bin_time", "1970-01-01"), "timespan": ("bin_span", "0s")}
"""Type of what is binned -> our function, and from where KQL counts the bins."""
_RANGES = {"datetime": "range_time", "timespan": "range_span", "real": "range_real"}


def timed(node: Any, columns: Types) -> Any:
    """``bin``, ``abs`` and ``range()`` of times, whose form depends on types; any other node as it is.

    Upstream takes a size for a timespan only where it is a literal (``bin(TimeGenerated, 1d / 4)`` is none), and the
    bin of a timespan for whole seconds.
    """
    match node:
        case ir.FunctionCall(name=name, args=(value, size)) if name.lower() in ("bin", "floor"):
            kind = type_of(value, columns) or "datetime"
            written = isinstance(size, ir.Literal) and kind == "datetime"
            if type_of(size, columns) == "timespan" and kind in _BINNED and not written:
                function, start = _BINNED[kind]
                return ir.FunctionCall(HIDDEN + function, (value, size, ir.Literal(start, kind)))
        case ir.FunctionCall(name=name, args=(value,)) if (
            name.lower() == "abs" and type_of(value, columns) == "timespan"
        ):
            return ir.FunctionCall(f"{HIDDEN}span_abs", (value,))
        case ir.FunctionCall(name=name, args=(start, stop, *step)) if name.lower() == "range" and len(step) < 2:
            kinds = {type_of(each, columns) for each in (start, stop, *step)}
            kind = next((each for each in _RANGES if each in kinds), "long")
            by = (
                step[0] if step else ir.Literal(1, "long") if kind in ("long", "real") else ir.Literal("1h", "timespan")
            )
            return ir.FunctionCall(HIDDEN + _RANGES.get(kind, "range_number"), (start, stop, by))
    return node


def bounded(source: Any) -> Any:
    """A ``range`` that ends with an error where it would give too many values."""
    kinds = {type_of(bound, {}) for bound in (source.start, source.stop, source.step)}
    name = "until_time" if "datetime" in kinds else "until_number"
    return replace(source, stop=ir.FunctionCall(HIDDEN + name, (source.start, source.stop, source.step)))


def counted(source: Any) -> tuple[Any, list[Any]]:
    """A ``range`` over fractions or timespans as one over whole numbers, and the operator that turns these into its
    values; any other source as it is. DuckDB's series are of whole numbers and of times.
    """
    if not isinstance(source, ir.RangeSource) or type_of(source.start, {}) == "datetime":
        return source, []
    if type_of(source.start, {}) is None and type_of(source.step, {}) == "timespan":  # from toscalar(…)
        return replace(source, start=ir.FunctionCall("todatetime", (source.start,))), []
    if not {type_of(bound, {}) for bound in (source.start, source.stop, source.step)} & {"real", "timespan"}:
        return source, []
    steps = ir.BinaryOp("/", ir.BinaryOp("-", source.stop, source.start), source.step)
    last = ir.FunctionCall("tolong", (ir.FunctionCall("bin", (ir.FunctionCall("todouble", (steps,)), _ONE)),))
    value = ir.BinaryOp("+", source.start, ir.BinaryOp("*", ir.ColumnRef(source.name), source.step))
    numbers = replace(source, start=ir.Literal(0, "long"), stop=last, step=_ONE)
    return numbers, [ir.Extend((ir.NamedExpr(value, source.name),))]


_ONE = ir.Literal(1, "long")


def aggregates(op: Any, columns: Types) -> Any:
    """A ``summarize`` with the aggregates that upstream takes otherwise, under the names that KQL gives them."""
    names: list[list[str]] = []
    made = []
    for number, each in enumerate(op.aggregates):
        changed = rebuilt(each.expr, lambda node: _aggregate(node, columns))
        if changed is not each.expr:
            names = names or upstream.summarize_names(op, list(columns))[1]
            each = ir.NamedExpr(changed, each.name or names[number][0])
        made.append(each)
    return replace(op, aggregates=tuple(made))


def _aggregate(node: Any, columns: Types) -> Any:
    if not isinstance(node, ir.FunctionCall) or not node.args:
        return node
    name = node.name.lower()
    if len(node.args) == _MOST.get(name):
        most = node.args[-1]
        if not isinstance(most, ir.Literal) or most.kind not in ("long", "int"):
            raise QueryError(f"{name}() takes a fixed number of values to keep", hint=f"{name}(x, 100)")
        return ir.FunctionCall(f"{HIDDEN}{name}_most", node.args)
    if name in _SPANS and type_of(node.args[0], columns) == "timespan":
        return ir.FunctionCall(f"{HIDDEN}{name}_span", node.args)
    return node
