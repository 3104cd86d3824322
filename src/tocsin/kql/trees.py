"""Walking and rebuilding query trees."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
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
