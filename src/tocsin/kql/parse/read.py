"""The common part of KQL read straight from its tokens into upstream's tree, thirty times as fast as upstream's parser.

Upstream's parser interprets a grammar in Python: 10 ms a query, a second for 100 rules. Most queries are pipelines of a
dozen operators over plain expressions, and these are read here, by recursive descent along the same grammar
(Microsoft's ``Kql.g4``). Whatever is not certain to mean exactly what upstream reads, errors included, is left to
upstream: ``quick`` then says None. A test holds the trees of both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tocsin.kql.parse.expressions import Reader, Unsure
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.tokens import KEYWORDS, Token

_JOINS = frozenset(
    ("inner", "innerunique", "leftouter", "rightouter", "fullouter", "leftanti", "leftsemi", "rightanti", "rightsemi")
)
_LOOKUPS = frozenset(("leftouter", "inner"))
_TYPES = frozenset(("string", "long", "int", "real", "bool", "datetime", "timespan"))
_CHARTS = frozenset(
    ("table", "list", "barchart", "piechart", "timechart", "linechart", "areachart", "columnchart", "card")
)


def quick(text: str, tokens: Sequence[Token]) -> Any | None:
    """The tree of a query, or None where upstream must read it."""
    if not text.isascii():  # names may hold letters that upstream's do not
        return None
    try:
        return _Pipelines(text, tokens).statements()
    except (Unsure, RecursionError):
        return None


class _Pipelines(Reader):
    """Reads statements, pipelines and operators."""

    def statements(self) -> Any:
        """``let`` statements and the query behind them."""
        scalars: dict[str, Any] = {}
        tables: list[tuple[str, Any]] = []
        while self.word == "let":
            self.step()
            name = self.name()
            self.expect("=")
            if name in scalars or any(name == known for known, _ in tables):
                raise Unsure
            if self.word == "materialize":
                self.step()
                self.expect("(")
                tables.append((name, upstream.with_lets(self.pipeline(), scalars)))
                self.expect(")")
            elif self._tabular(scalars):
                tables.append((name, upstream.with_lets(self.pipeline(), scalars)))
            else:
                value = self.expression()
                if isinstance(value, ir.ColumnRef):  # (T) is a table
                    raise Unsure
                scalars[name] = upstream.substituted(value, scalars)
            self.expect(";")
        query = self.pipeline()
        if self.word == ";":
            self.step()
        if self.word:
            raise Unsure
        return upstream.complete(query, scalars, tables)

    def _tabular(self, scalars: dict[str, Any]) -> bool:
        """Whether what a ``let`` binds is a table."""
        after = self.ahead
        if after == "|":
            return True
        return after == ";" and self.kind == "name" and self.word not in KEYWORDS and self.word not in scalars

    def pipeline(self) -> Any:
        """A source and the operators behind it."""
        if self.word == "union":
            self.step()
            first, *others = self._branches()
            operators = [*first.operators, ir.Union(tuple(others))]
            source = first.source
        elif self.word == "print":
            self.step()
            source, operators = ir.PrintSource(self.targets()), []
        else:
            source, operators = ir.TableRef(self.name()), []
        while self.word == "|":
            self.step()
            read = _OPERATORS.get(self.word)
            if read is None or self.kind != "name":
                raise Unsure
            self.step()
            operators += read(self)
        return ir.Query(source, operators)

    def subquery(self) -> Any:
        """A table, or a pipeline in brackets."""
        if self.word != "(":
            return ir.Query(ir.TableRef(self.name()))
        self.step()
        query = self.pipeline()
        self.expect(")")
        return query

    def _branches(self) -> list[Any]:
        if self.ahead in ("=", "*"):  # kind=, withsource=, a pattern
            raise Unsure
        branches = [self.subquery()]
        while self.word == ",":
            self.step()
            if self.ahead == "*":
                raise Unsure
            branches.append(self.subquery())
        return branches

    def _where(self) -> list[Any]:
        return [ir.Where(self.expression())]

    def _project(self) -> list[Any]:
        return [ir.Project(self.targets())]

    def _extend(self) -> list[Any]:
        return [ir.Extend(self.targets())]

    def _distinct(self) -> list[Any]:
        found = [ir.NamedExpr(self.expression())]
        while self.word == ",":
            self.step()
            found.append(ir.NamedExpr(self.expression()))
        return [ir.Distinct(tuple(found))]

    def _summarize(self) -> list[Any]:
        if self.word == "hint":
            raise Unsure
        aggregates = () if self.word == "by" else self.targets()
        by: tuple[Any, ...] = ()
        if self.word == "by":
            self.step()
            by = self.targets()
        return [ir.Summarize(aggregates, by)]

    def _take(self) -> list[Any]:
        return [ir.Take(self._whole())]

    def _whole(self) -> int:
        literal = self.number()
        if literal.kind != "long":
            raise Unsure
        return int(literal.value)

    def _count(self) -> list[Any]:
        if self.word != "as":
            return [ir.Count()]
        self.step()
        return [ir.Count(self.name())]

    def _sort(self) -> list[Any]:
        self.expect("by")
        keys = [self._key()]
        while self.word == ",":
            self.step()
            keys.append(self._key())
        return [ir.Sort(tuple(keys))]

    def _top(self) -> list[Any]:
        count = self._whole()
        self.expect("by")
        return [ir.Top(count, (self._key(),))]

    def _key(self) -> Any:
        expression, ascending, nulls = self.expression(), False, None
        if self.word in ("asc", "desc"):
            ascending = self.word == "asc"
            self.step()
        if self.word == "nulls":
            self.step()
            if self.word not in ("first", "last"):
                raise Unsure
            nulls = self.word == "first"
            self.step()
        return ir.SortKey(expression, ascending, nulls)

    def _project_away(self) -> list[Any]:
        return [ir.ProjectAway(tuple(self._names()))]

    def _project_rename(self) -> list[Any]:
        renames = []
        while True:
            new = self.name()
            self.expect("=")
            renames.append((self.name(), new))
            if self.word != ",":
                return [ir.ProjectRename(tuple(renames))]
            self.step()

    def _names(self) -> list[str]:
        names = [self.name()]
        while self.word == ",":
            self.step()
            names.append(self.name())
        return names

    def _join(self) -> list[Any]:
        kind = self._kind(_JOINS, "innerunique")
        right = self.subquery()
        self.expect("on")
        return [ir.Join(right, self._keys(), kind)]

    def _lookup(self) -> list[Any]:
        kind = self._kind(_LOOKUPS, "leftouter")
        right = self.subquery()
        self.expect("on")
        return [ir.Lookup(right, self._keys(), kind)]

    def _kind(self, known: frozenset[str], otherwise: str) -> str:
        if self.word != "kind":
            return otherwise
        self.step()
        self.expect("=")
        kind = self.word
        if kind not in known:
            raise Unsure
        self.step()
        return kind

    def _keys(self) -> tuple[Any, ...]:
        keys = []
        while True:
            if self.word == "$left":
                left = self._side()
                self.expect("==")
                if self.word != "$right":
                    raise Unsure
                keys.append(ir.JoinKey(left, self._side()))
            else:
                name = self.name()
                keys.append(ir.JoinKey(name, name))
            if self.word != ",":
                return tuple(keys)
            self.step()

    def _side(self) -> str:
        self.step()
        self.expect(".")
        if self.kind != "name":
            raise Unsure
        return self.name()

    def _union(self) -> list[Any]:
        return [ir.Union(tuple(self._branches()))]

    def _mv_expand(self) -> list[Any]:
        """``mv-expand a, b = c.d to typeof(long)``: what has a name of its own is extended first."""
        targets, named = [], []
        while True:
            if self.ahead == "=":
                column = self.name()
                self.step()
                value = self.expression()
                if isinstance(value, ir.ColumnRef):
                    raise Unsure
                named.append(ir.NamedExpr(value, column))
            else:
                column = self.name()
            targets.append(ir.MvExpandTarget(column, None, self._type()))
            if self.word != ",":
                expanded = ir.MvExpand(tuple(targets))
                return [ir.Extend(tuple(named)), expanded] if named else [expanded]
            self.step()

    def _type(self) -> str | None:
        if self.word != "to":
            return None
        self.step()
        if not self.joined(3):
            raise Unsure
        self.expect("typeof")
        self.expect("(")
        kind = self.word
        if kind not in _TYPES:
            raise Unsure
        self.step()
        self.expect(")")
        return kind

    def _render(self) -> list[Any]:
        """How a result is drawn says nothing about it."""
        if self.word not in _CHARTS or self.ahead not in ("", ";"):
            raise Unsure
        self.step()
        return []

    def _parse(self) -> list[Any]:
        if self.word == "kind":
            raise Unsure
        expression = self.expression()
        self.expect("with")
        segments: list[Any] = []
        star = False
        while self.kind == "string" or self.word == "*":
            skip = self.word == "*"
            if skip:
                self.step()
                if self.kind != "string":
                    star = True
                    break
            literal, name, kind = self.text(), None, None
            if self.kind == "name":
                name = self.name()
                if self.word == ":":
                    self.step()
                    kind = self.word
                    if kind not in _TYPES:
                        raise Unsure
                    self.step()
            segments.append(ir.ParseSegment(literal, skip, name, kind))
        if not segments:
            raise Unsure
        return [ir.Parse(expression, tuple(segments), trailing_star=star)]


_OPERATORS: dict[str, Callable[[_Pipelines], list[Any]]] = {
    "count": _Pipelines._count,
    "distinct": _Pipelines._distinct,
    "extend": _Pipelines._extend,
    "filter": _Pipelines._where,
    "join": _Pipelines._join,
    "limit": _Pipelines._take,
    "lookup": _Pipelines._lookup,
    "mv-expand": _Pipelines._mv_expand,
    "order": _Pipelines._sort,
    "parse": _Pipelines._parse,
    "project": _Pipelines._project,
    "project-away": _Pipelines._project_away,
    "project-rename": _Pipelines._project_rename,
    "render": _Pipelines._render,
    "sort": _Pipelines._sort,
    "summarize": _Pipelines._summarize,
    "take": _Pipelines._take,
    "top": _Pipelines._top,
    "union": _Pipelines._union,
    "where": _Pipelines._where,
}
