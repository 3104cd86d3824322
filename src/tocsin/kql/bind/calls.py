"""Calls that upstream takes in fewer forms than KQL has, as calls of functions of ours (``extras``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import rebuilt
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN

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


def bounded(source: Any) -> Any:
    """A ``range`` that ends with an error where it would give too many values. Raises for one of fractions."""
    kinds = {type_of(bound, {}) for bound in (source.start, source.stop, source.step)}
    if "real" in kinds:  # upstream would round them
        raise QueryError("range takes whole numbers or times", hint=f"extend {source.name} = {source.name} * 0.5")
    name = "until_time" if kinds & {"datetime", "timespan"} else "until_number"
    return replace(source, stop=ir.FunctionCall(HIDDEN + name, (source.start, source.stop, source.step)))


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
