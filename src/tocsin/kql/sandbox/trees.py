"""Walking and rebuilding query trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from tocsin.kql.sandbox.upstream import ir


@cache
def parts(kind: type) -> tuple[str, ...] | None:
    """Names of the fields of a node of this type; None for what is no node."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) and issubclass(kind, ir.Node) else None


def walk(node: Any) -> list[Any]:
    """Every node of an operator or expression, the queries nested in it left out."""
    found: list[Any] = []
    seen: set[int] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, tuple | list):
            stack.extend(current)
            continue
        names = parts(current.__class__)
        if names is not None and id(current) not in seen and not isinstance(current, ir.Query):
            seen.add(id(current))
            found.append(current)
            stack.extend([getattr(current, name) for name in names])
    return found


def nested_queries(node: Any) -> list[Any]:
    """The queries directly inside an operator or expression."""
    return [
        value
        for each in walk(node)
        for value in (getattr(each, name) for name in parts(each.__class__) or ())
        for value in (value if isinstance(value, tuple | list) else (value,))
        if isinstance(value, ir.Query)
    ]


def rebuilt(node: Any, change: Callable[[Any], Any]) -> Any:
    """``node`` with ``change`` applied to every part from the leaves up; nested queries stay as they are."""
    memo: dict[int, Any] = {}

    def each(part: Any) -> Any:
        if id(part) not in memo:
            memo[id(part)] = _inside(part)
        return memo[id(part)]

    def _inside(part: Any) -> Any:
        if isinstance(part, tuple):
            items = tuple(each(item) for item in part)
            return items if any(a is not b for a, b in zip(items, part, strict=True)) else part
        names = parts(part.__class__)
        if names is None or isinstance(part, ir.Query):
            return part
        changes = {}
        for name in names:
            value = getattr(part, name)
            new = each(value) if isinstance(value, ir.Node | tuple) else value
            if new is not value:
                changes[name] = new
        return change(replace(part, **changes) if changes else part)

    return each(node)
