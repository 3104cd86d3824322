"""Is a query an event rule or a window rule? The answer comes with its reason, in a sentence for ``rules explain``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.markers import marker
from tocsin.kql.bind.translate import read
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import nested_queries, walk
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, Schema
from tocsin.model.columns import TABLES
from tocsin.model.statuses import Kind

EVENTS = ("RunStatusChanged", "AmlRunStatusChangedEvent")
"""Tables of which a row is an event: only their rows can be notified one by one."""

RANK = f"{HIDDEN}rank_"
"""Functions that number rows within a key."""
_DECIDES = (ir.Where, ir.Extend, ir.Parse, ir.Lookup)
_SHAPES = (ir.Project, ir.ProjectAway, ir.ProjectRename)
_WHY: Mapping[str, str] = {
    "Summarize": "summarize puts several events into one row",
    "Count": "count puts all events into one row",
    "Distinct": "distinct puts several events into one row",
    "Join": "join brings events together with other rows; lookup of a reference table would keep an event rule",
    "Union": "union multiplies rows",
    "MvExpand": "mv-expand multiplies rows",
    "Sort": "sort orders rows",
    "Top": "top orders and cuts rows",
    "Take": "take cuts rows",
    "GetSchema": "getschema asks for columns, not for events",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What kind of rule a query makes, why, and which tables it reads."""

    kind: Kind
    reason: str
    tables: frozenset[str]
    source: str  # the table its rows come from, '' where they come from none


def classify(query: str, schema: Mapping[str, Mapping[str, str]]) -> Classified:
    """ROW where each event is decided alone and keeps its identity, else WINDOW. Raises ``QueryError`` like
    translate.
    """
    with upstream.bounded():
        _, tree = read(query, schema)
        return classified(tree, Schema.of(schema))


def classified(tree: Any, schema: Schema) -> Classified:
    """The same for a tree."""
    flat = inlined(tree)
    lets = {name for name, bound in tree.lets if isinstance(bound, ir.Query)}
    source = flat.source.name if isinstance(flat.source, ir.TableRef) else ""
    tables = frozenset(tables_of(tree) & set(schema))
    reason = _window_reason(flat, source, lets)
    if reason:
        return Classified(kind=Kind.WINDOW, reason=reason, tables=tables, source=source)
    return Classified(
        kind=Kind.EVENT,
        reason=f"each event of {source} is decided alone and keeps its identity",
        tables=tables,
        source=source,
    )


def inlined(tree: Any) -> Any:
    """The tree with a source that only names a tabular ``let`` replaced by that let's own pipeline."""
    lets = {name: bound for name, bound in tree.lets if isinstance(bound, ir.Query)}
    source, operators = tree.source, list(tree.operators)
    seen: set[str] = set()
    while isinstance(source, ir.TableRef) and source.name in lets and source.name not in seen:
        seen.add(source.name)
        bound = lets[source.name]
        if bound.lets:
            break
        source, operators = bound.source, [*bound.operators, *operators]
    return ir.Query(source, operators, tree.lets, tree.parameters)


def tables_of(tree: Any) -> set[str]:
    """Names of all tables that a query or a part of it mentions."""
    found: set[str] = set()
    queries = [tree]
    while queries:
        query = queries.pop()
        found |= {node.name for node in walk(query.source) if isinstance(node, ir.TableRef)}
        queries += [bound for _, bound in query.lets if isinstance(bound, ir.Query)]
        for node in (query.source, *query.operators):
            queries += nested_queries(node)
    return found


def _window_reason(flat: Any, source: str, lets: set[str]) -> str:
    if source not in EVENTS:
        whose = f"{source} holds states, not events" if source in TABLES else "its rows are no events"
        return f"{whose}: only rows of {' or '.join(EVENTS)} can be notified one by one"
    for op in flat.operators:
        name = type(op).__name__
        if marker(op) in ("serialize", "distinct", "pivot"):
            return f"{marker(op)} sees several rows at once"
        if any(isinstance(node, ir.FunctionCall) and node.name.startswith(RANK) for node in walk(op)):
            return "partition cuts rows of each key"
        if not isinstance(op, (*_DECIDES, *_SHAPES)):
            return _WHY.get(name, f"{name} does not keep events apart")
        for nested in nested_queries(op):
            direct = tables_of(replace_lets(nested)) - lets
            events = sorted(direct & set(TABLES))
            if events:
                return (
                    f"it compares events with rows of {events[0]}; name such a baseline with let to keep an event rule"
                )
    return ""


def replace_lets(query: Any) -> Any:
    """A query without its own lets: what it names itself."""
    return replace(query, lets=[])


def must_be_row(query: Classified) -> None:
    """Raises ``QueryError`` for a window query."""
    if query.kind is not Kind.EVENT:
        raise QueryError(f"this is no event query: {query.reason}", hint="a window rule needs over:")
