"""One pass over a query's tree: are its names known, which types do its columns have, and the same tree with types
in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind import markers
from tocsin.kql.bind import rowfunctions as windows
from tocsin.kql.bind.bounds import MAX_READS, check_size, check_tree, expression_size
from tocsin.kql.bind.rowfunctions import REGEXES, bounded, counted, timed
from tocsin.kql.bind.simplify import coerced, in_filter, simplified, truth
from tocsin.kql.bind.typecheck import Fault, condition_fault, fault_of
from tocsin.kql.parse.slips import place_of_expression
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import regex_fault
from tocsin.kql.sandbox.extras import INSTEAD
from tocsin.kql.sandbox.trees import nested_queries, parts, walk
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, did_you_mean
from tocsin.kql.tokens import Token, place_of

Tables = Mapping[str, Types]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A query's text and tokens, to say where something stands."""

    text: str
    tokens: tuple[Token, ...]

    def error(self, message: str, name: str = "", hint: str = "") -> QueryError:
        """An error about ``name``, at its first place in the text."""
        line, column = place_of(self.text, self.tokens, name) if name else (0, 0)
        return QueryError(message, line=line, column=column, hint=hint)

    def fault(self, fault: Fault, node: Any) -> QueryError:
        """An error about the expression ``node``, at its first place in the text."""
        line, column = place_of_expression(self.text, self.tokens, node)
        return QueryError(fault.message, line=line, column=column, hint=fault.hint)


@dataclass(slots=True)
class Pass:
    """The pass; ``tables`` are those of the schema, ``read`` collects which of them the query names."""

    text: Text
    read: set[str] = field(default_factory=set)
    reads: int = 0  # how often tables are read, a let counted wherever it is used
    costs: dict[str, int] = field(default_factory=dict)  # of each let: how often it reads tables
    root: Any = None  # the whole query

    def query(self, query: Any, tables: Tables) -> tuple[Any, dict[str, str | None]]:
        """The typed tree of ``query`` and its output columns. Raises ``QueryError`` for unknown names."""
        known = dict(tables)
        lets = []
        for name, bound in query.lets:
            if not isinstance(bound, ir.Query):
                lets.append((name, bound))
                continue
            before = self.reads
            body, known[name] = self.query(bound, _without(known, name, tables))
            self.costs[name] = self.reads - before
            lets.append((name, body))
        first, after = counted(upstream.resolve_lets(query.source, []))
        source, columns = self.source(first, known, frozenset(name for name, _ in query.lets))
        operators = []
        order: windows.Order = None
        for each in (*after, *query.operators):
            if markers.marker(each) == "serialize":
                order = order or ()
                continue
            check_tree(each)
            op = markers.resolved(upstream.resolve_lets(each, list(columns)), columns)
            given = columns
            typed, columns = self.operator(windows.windowed(op, columns, order), columns, known)
            operators += [typed, *_filled(op, given, columns)]
            order = windows.after(op, order)
        return ir.Query(source, operators, lets, query.parameters), columns

    def source(self, source: Any, tables: Tables, lets: frozenset[str]) -> tuple[Any, dict[str, str | None]]:
        source = markers.by_columns(upstream.resolve_lets(source, []), {})
        check_tree(source)
        self._check_names(source, {})
        self.reads += self.costs.get(source.name, 1) if isinstance(source, ir.TableRef) else 1
        if self.reads > MAX_READS:
            raise QueryError(f"the query reads tables more than {MAX_READS} times")
        match source:
            case ir.TableRef(name=name, database=database, cluster=cluster):
                if database is not None or cluster is not None:
                    raise self.text.error("cluster() and database() are refused", "database", "name the table alone")
                if name not in tables:
                    raise self._unknown(name, tables)
                self.read.add(name)
                return source, dict(tables[name])
            case ir.WildcardTableRef(database=None):
                names = upstream.source_columns(source, tables)
                self.read |= set(upstream.wildcard_tables(source, tables))
                return source, dict.fromkeys(names)
            case ir.DataTable(columns=columns):
                return self._nested(source, {}, tables), {name: _plain(kind) for name, kind in columns}
            case ir.RangeSource() | ir.PrintSource():
                made = bounded(source) if isinstance(source, ir.RangeSource) else source
                rebuilt = self._nested(made, {}, tables)
                check_size(rebuilt)
                names = upstream.source_columns(source, tables)
                if isinstance(source, ir.PrintSource):
                    kinds = [type_of(each.expr, {}) for each in source.expressions]
                    return rebuilt, dict(zip(names, kinds, strict=True))
                return rebuilt, {names[0]: type_of(source.start, {})}
        raise QueryError(f"{type(source).__name__} is no source that tocsin reads", hint="start with a table")

    def operator(self, op: Any, columns: dict[str, str | None], tables: Tables) -> tuple[Any, dict[str, str | None]]:
        """The operator with types in its expressions, and the columns that it makes."""
        check_tree(op)
        self._check_names(op, columns)
        typed, made = self._typed(op, columns, tables)
        if not isinstance(op, ir.Where):  # whose parts were checked before they became SQL
            check_size(typed)
        return typed, made

    def _typed(self, op: Any, columns: dict[str, str | None], tables: Tables) -> tuple[Any, dict[str, str | None]]:
        names = upstream.operator_columns(op, list(columns), _names(tables))
        made: dict[str, str | None]
        match op:
            case ir.Where(predicate=predicate):
                return self._where(predicate, columns, tables), columns
            case ir.Project() | ir.Extend() | ir.Distinct():
                targets = upstream.target_names(op, list(columns))
                kinds = {n: type_of(e.expr, columns) for n, e in zip(targets, op.expressions, strict=True)}
                made = {name: kinds[name] if name in kinds else columns.get(name) for name in names}
                return self._named(op, "expressions", targets, columns, tables), made
            case ir.Summarize():
                return self._summarize(op, columns, tables, names)
            case ir.Parse(segments=segments):
                kinds = {s.name: _plain(s.type or "string") for s in segments if s.name}
                made = {name: kinds[name] if name in kinds else columns.get(name) for name in names}
                return self._nested(op, columns, tables), made
            case ir.ProjectRename(renames=renames):
                old = {new: before for before, new in renames}
                return op, {name: columns.get(old.get(name, name)) for name in names}
            case ir.Join(right=right) | ir.Lookup(right=right):
                body, theirs = self.query(right, tables)
                for key in op.keys:
                    self._check_column(key.right, theirs)
                return replace(op, right=body), _joined(op, names, columns, theirs)
            case ir.Union(branches=branches):
                bodies = [self.query(branch, tables) for branch in branches]
                every = [columns, *(made for _, made in bodies)]
                made = {n: "string" if n == op.with_source else _common(n, every) for n in names}
                return replace(op, branches=tuple(body for body, _ in bodies)), made
            case ir.MvExpand(targets=targets):
                kinds = {t.name or t.column: _plain(t.to_type) if t.to_type else None for t in targets}
                return op, {name: kinds[name] if name in kinds else columns.get(name) for name in names}
            case ir.Count():
                return op, dict.fromkeys(names, "long")
            case ir.GetSchema():
                return op, {name: "int" if name == "ColumnOrdinal" else "string" for name in names}
        return self._nested(op, columns, tables), {name: columns.get(name) for name in names}

    def _where(self, predicate: Any, columns: Types, tables: Tables) -> Any:
        nested = self._nested(predicate, columns, tables)
        if fault := condition_fault(nested, columns, "the condition"):
            raise self.text.fault(fault, predicate)
        typed = truth(nested, columns)
        expression_size(typed)
        return ir.Where(in_filter(typed))

    def _named(self, op: Any, key: str, names: Sequence[str], columns: Types, tables: Tables) -> Any:
        """``op`` with every target under its explicit name: a typed column no longer notifies its own."""
        targets = tuple(
            ir.NamedExpr(self._nested(each.expr, columns, tables), name)
            for each, name in zip(getattr(op, key), names, strict=True)
        )
        return replace(op, **{key: targets})

    def _summarize(
        self, op: Any, columns: Types, tables: Tables, names: list[str]
    ) -> tuple[Any, dict[str, str | None]]:
        keys, aggregates = upstream.summarize_names(op, list(columns))
        kinds: dict[str, str | None] = {n: type_of(e.expr, columns) for n, e in zip(keys, op.by, strict=True)}
        rebuilt = []
        for each, made in zip(op.aggregates, aggregates, strict=True):
            if isinstance(each.expr, ir.FunctionCall) and each.expr.name.lower() in ("arg_max", "arg_min"):
                kinds.update({name: columns.get(name) for name in made if name not in kinds})
                rebuilt.append(each)
                continue
            kinds[made[0]] = type_of(each.expr, columns)
            rebuilt.append(ir.NamedExpr(self._nested(each.expr, columns, tables), made[0]))
        by = self._named(op, "by", keys, columns, tables).by
        return replace(op, aggregates=tuple(rebuilt), by=by), {name: kinds.get(name) for name in names}

    def _nested(self, node: Any, columns: Types, tables: Tables) -> Any:
        """``node`` with its column references typed, and the queries inside it gone through. Shared nodes stay
        shared.
        """
        memo: dict[int, Any] = {}

        def rebuild(each: Any) -> Any:
            if id(each) in memo:
                return memo[id(each)]
            made: Any = each
            if isinstance(each, ir.ColumnRef):
                kind = columns.get(each.name)
                made = upstream.typed(each.name, kind) if kind is not None else each
            elif isinstance(each, ir.Query):
                made, _ = self.query(each, tables)
            elif isinstance(each, tuple):
                items = tuple(rebuild(item) for item in each)
                made = items if any(a is not b for a, b in zip(items, each, strict=True)) else each
            elif (names := parts(each.__class__)) is not None:
                changes = {}
                for name in names:
                    value = getattr(each, name)
                    new = rebuild(value) if isinstance(value, ir.Node | tuple) else value
                    if new is not value:
                        changes[name] = new
                made = replace(each, **changes) if changes else each
                if fault := fault_of(made, columns):
                    raise self.text.fault(fault, each)
                made = simplified(timed(coerced(made, columns), columns), columns)
            memo[id(each)] = made
            return made

        return rebuild(node)

    def _check_names(self, op: Any, columns: Types) -> None:
        """Raises ``QueryError`` where ``op`` names a column or function that is not there."""
        summarizing = isinstance(op, ir.Summarize)
        for node in walk(op):
            match node:
                case ir.ColumnRef(name=name) | ir.MvExpandTarget(column=name):
                    self._check_column(name, columns)
                case ir.BinaryOp(op="matches regex", right=ir.Literal(value=str() as pattern)):
                    self._check_regex(pattern)
                case ir.FunctionCall(name=name, args=args):
                    self._check_function(name, summarizing)
                    place = REGEXES.get(name.lower(), len(args))
                    if place < len(args) and isinstance(written := getattr(args[place], "value", None), str):
                        self._check_regex(written)
                case ir.ProjectAway(columns=gone):
                    for name in gone:
                        self._check_column(name, columns)
                case ir.ProjectRename(renames=renames):
                    for name, _ in renames:
                        self._check_column(name, columns)
                case ir.JoinKey(left=name):
                    self._check_column(name, columns)
                case ir.GraphCall() | ir.MakeGraph():
                    raise self.text.error("graph operators are refused", hint="use join")

    def _check_column(self, name: str, columns: Types) -> None:
        if name not in columns:
            visible = [each for each in columns if not each.startswith(HIDDEN)]
            listed = (
                f"there are {', '.join(visible)}"
                if len(visible) <= 12
                else f"getschema lists those there are; a text needs quotes: '{name}'"
            )
            listed = "write isnull(…) or isempty(…)" if name == "null" else listed
            raise self.text.error(f"there is no column {name!r} here", name, did_you_mean(name, visible, listed))

    def _check_regex(self, pattern: str) -> None:
        if fault := regex_fault(pattern):
            raise self.text.error(f"{pattern!r} is no regular expression: {fault}", pattern, "escape brackets: \\\\(")

    def _check_function(self, name: str, summarizing: bool) -> None:
        lowered = name.lower()
        if lowered in upstream.SCALARS or (summarizing and lowered in upstream.AGGREGATES):
            return
        if lowered in upstream.AGGREGATES:
            raise self.text.error(f"{name}() is an aggregate", name, "aggregates stand in summarize")
        if lowered in INSTEAD:
            raise self.text.error(f"{name}() is not supported", name, INSTEAD[lowered])
        if lowered.startswith("series_"):
            raise self.text.error(f"{name}() is not supported", name, "compare with a baseline: summarize, then lookup")
        known = {k for k in upstream.SCALARS | (upstream.AGGREGATES if summarizing else frozenset()) if k[0] != "_"}
        raise self.text.error(f"there is no function {name}()", name, did_you_mean(name, known))

    def _unknown(self, name: str, tables: Tables) -> QueryError:
        """That there is no such table, nor others that the query names: one look is enough to correct all."""
        others = [each for each in named_tables(self.root) if each not in tables] if self.root is not None else []
        missing = list(dict.fromkeys([name, *others]))
        if len(missing) == 1:
            return self.text.error(f"there is no table {name!r}", name, self._tables_hint(name, tables))
        listed = f"{', '.join(map(repr, missing[:-1]))} and {missing[-1]!r}"
        visible = ", ".join(each for each in tables if not each.startswith(HIDDEN))
        return self.text.error(f"there are no tables {listed}", name, f"there are {visible}")

    @staticmethod
    def _tables_hint(name: str, tables: Tables) -> str:
        visible = [each for each in tables if not each.startswith(HIDDEN)]
        return did_you_mean(name, visible, f"there are {', '.join(visible)}")


def named_tables(query: Any) -> list[str]:
    """Tables that ``query`` names, those nested in it included; names of its lets are none."""
    lets = {name for name, _ in query.lets}
    inner = [bound for _, bound in query.lets if isinstance(bound, ir.Query)]
    inner += [nested for each in query.operators for nested in nested_queries(each)]
    own = [query.source.name] if isinstance(query.source, ir.TableRef) else []
    return [name for name in [*own, *(name for each in inner for name in named_tables(each))] if name not in lets]


def _names(tables: Tables) -> Mapping[str, list[str]]:
    return {name: list(columns) for name, columns in tables.items()}


def _without(known: dict[str, Types], name: str, tables: Tables) -> Tables:
    """A let's own body sees the table that it hides, not itself."""
    return {**known, name: tables[name]} if name in tables else {k: v for k, v in known.items() if k != name}


def _plain(kind: str) -> str | None:
    """A declared type by its plain name; None for those that our columns never have."""
    names = {"date": "datetime", "time": "timespan", "boolean": "bool", "double": "real", "int64": "long"}
    plain = names.get(kind.lower(), kind.lower())
    return (
        plain if plain in ("string", "datetime", "long", "int", "real", "bool", "dynamic", "timespan", "guid") else None
    )


_FILLS = {"leftouter": (False, True), "rightouter": (True, False), "fullouter": (True, True)}
"""Kind of a join -> whether rows may lack the left side's columns, and the right one's."""


def _filled(op: Any, before: Types, after: Types) -> list[Any]:
    """What makes the texts '' that an outer join found nothing for: a text is never null."""
    left, right = _FILLS.get(op.kind, (False, False)) if isinstance(op, ir.Join | ir.Lookup) else (False, False)
    names = [n for n, kind in after.items() if kind == "string" and (left if n in before else right)]
    empty = ir.Literal("", "string")
    values = [ir.NamedExpr(ir.FunctionCall("coalesce", (ir.ColumnRef(name), empty)), name) for name in names]
    return [ir.Extend(tuple(values))] if values else []


def _joined(op: Any, names: list[str], left: Types, right: Types) -> dict[str, str | None]:
    """Types after a join: the left's columns come first under their own names, then the right's in order."""
    if isinstance(op, ir.Join) and op.kind.startswith("right") and op.kind != "rightouter":
        return {name: right.get(name) for name in names}
    dropped = {key.right for key in op.keys} if isinstance(op, ir.Lookup) else set()
    theirs = [kind for name, kind in right.items() if name not in dropped]
    made = [*left.values(), *theirs]
    return dict(zip(names, made, strict=False))


def _common(name: str, every: Sequence[Types]) -> str | None:
    kinds = {columns[name] for columns in every if name in columns}
    return kinds.pop() if len(kinds) == 1 else None
