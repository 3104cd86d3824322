"""Walking and rebuilding query trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tocsin.kql.upstream import ir


def walk(node: Any) -> list[Any]:
    """Every node of an operator or expression, the queries nested in it left out."""
    found: list[Any] = []
    seen: set[int] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, tuple | list):
            stack.extend(current)
        elif is_dataclass(current) and not isinstance(current, type | ir.Query) and id(current) not in seen:
            seen.add(id(current))
            found.append(current)
            stack.extend(getattr(current, f.name) for f in fields(current))
    return found


def nested_queries(node: Any) -> list[Any]:
    """The queries directly inside an operator or expression."""
    return [
        value
        for each in walk(node)
        for value in (getattr(each, f.name) for f in fields(each))
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
        if isinstance(part, ir.Query) or not is_dataclass(part) or isinstance(part, type):
            return part
        changes = {}
        for f in fields(part):
            value = getattr(part, f.name)
            new = each(value) if is_dataclass(value) or isinstance(value, tuple) else value
            if new is not value:
                changes[f.name] = new
        return change(replace(part, **changes) if changes else part)

    return each(node)
