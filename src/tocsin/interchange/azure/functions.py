"""Functions of Azure Resource Manager's templates that depend on nothing but their arguments.

Meanings: learn.microsoft.com/azure/azure-resource-manager/templates/template-functions. Text is compared with the case
ignored only where Azure does so.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin

from tocsin.interchange.azure.expressions import ExpressionError

MAX_TEXT = 1024 * 1024
"""Longest text that a function may make, in characters."""
MAX_ITEMS = 10_000
"""Longest list that a function may make."""

Function = Callable[..., Any]


def call(name: str, args: list[Any]) -> Any:
    """The value of a function. Raises ExpressionError for what is unknown, and for arguments that make no sense."""
    function = FUNCTIONS.get(name.lower())
    if function is None:
        raise ExpressionError(f"the function {name}() is not known here")
    try:
        value = function(*args)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as e:
        raise ExpressionError(f"{name}() does not take these arguments: {e}") from e
    return bounded(value)


def bounded(value: Any) -> Any:
    """``value``, unless it is larger than any template needs."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ExpressionError(f"an expression makes a text of {len(value)} characters")
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise ExpressionError(f"an expression makes a list of {len(value)} items")
    return value


def text_of(value: Any) -> str:
    """A value inside a text, as string() and concat() write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    if value is None:
        return ""
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, list | dict) else str(value)
    )


def _concat(*args: Any) -> Any:
    if args and all(isinstance(a, list) for a in args):
        return [item for a in args for item in a]
    return "".join(text_of(a) for a in args)


_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)(?:,(-?\d+))?(?::([^{}]*))?\}")


def _format(template: str, *args: Any) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        if int(match[1]) >= len(args):
            raise ValueError(f"it has no argument {match[1]}")
        value = args[int(match[1])]
        text = f"{value:,}" if match[3] in ("N0", "n0") and isinstance(value, int) else text_of(value)
        width = int(match[2] or 0)
        if abs(width) > MAX_TEXT:
            raise ValueError("it asks for too much room")
        return text.ljust(-width) if width < 0 else text.rjust(width)

    return _HOLE.sub(fill, template)


def _equals(a: Any, b: Any) -> bool:
    return (type(a) is type(b) and a == b) or (_number(a) and _number(b) and a == b)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _empty(value: Any) -> bool:
    if value is None or isinstance(value, str | list | dict):
        return not value
    raise TypeError("it is no text, list or object")


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, Mapping):
        return str(what).lower() in {str(k).lower() for k in where}
    if isinstance(where, str):
        return text_of(what) in where
    return any(_equals(item, what) for item in where)


def _pad_left(value: Any, width: int, fill: str = " ") -> str:
    if width > MAX_TEXT:
        raise ValueError("it asks for too much room")
    return text_of(value).rjust(width, fill)


def _replace(text: str, old: str, new: str) -> str:
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_TEXT:
        raise ValueError("it makes too long a text")
    return text.replace(old, new)


def _range(start: int, count: int) -> list[int]:
    if not 0 <= count <= MAX_ITEMS:
        raise ValueError(f"a count of {count}")
    return list(range(start, start + count))


def _split(text: str, by: str | list[str]) -> list[str]:
    marks = [by] if isinstance(by, str) else by
    return re.split("|".join(re.escape(m) for m in marks), text)


def _substring(text: str, start: int, length: int | None = None) -> str:
    if not 0 <= start <= len(text) or (length is not None and not 0 <= length <= len(text) - start):
        raise ValueError("it reaches beyond the text")
    return text[start:] if length is None else text[start : start + length]


def _union(*args: Any) -> Any:
    if all(isinstance(a, Mapping) for a in args):
        out: dict[str, Any] = {}
        for a in args:
            for key, value in a.items():
                old = out.get(key)
                out[key] = _union(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        return out
    items: list[Any] = []
    for item in (i for a in args for i in a):
        if not any(_equals(item, known) for known in items):
            items.append(item)
    return items


def _intersection(*args: Any) -> Any:
    first, *others = args
    if isinstance(first, Mapping):
        return {k: v for k, v in first.items() if all(k in o and _equals(o[k], v) for o in others)}
    return [item for item in first if all(any(_equals(item, i) for i in o) for o in others)]


def _bool(value: Any) -> bool:
    if isinstance(value, str):
        if value.lower() in ("true", "1"):
            return True
        if value.lower() in ("false", "0"):
            return False
        raise ValueError(f"'{value}' is neither true nor false")
    return bool(value)


def _int(value: Any) -> int:
    return int(value.strip()) if isinstance(value, str) else int(value)


def _json(text: str) -> Any:
    return json.loads(text)


def _items(value: Mapping[str, Any]) -> list[Any]:
    return [{"key": key, "value": value[key]} for key in sorted(value)]


def _flatten(value: list[Any]) -> list[Any]:
    return [item for inner in value for item in (inner if isinstance(inner, list) else [inner])]


def _extreme(pick: Callable[[list[Any]], Any]) -> Function:
    return lambda *args: pick(args[0] if len(args) == 1 and isinstance(args[0], list) else list(args))


def _div(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _index(text: str, what: str, *, last: bool = False) -> int:
    return text.lower().rfind(what.lower()) if last else text.lower().find(what.lower())


def _coalesce(*args: Any) -> Any:
    return next((a for a in args if a is not None), None)


def _shallow_merge(items: list[Any]) -> dict[str, Any]:
    """Of two objects with one key the later's value, whole; null is no object and counts for none."""
    return {key: value for item in items if item is not None for key, value in item.items()}


def _try_get(value: Any, *steps: Any) -> Any:
    """What lies under these keys and indices; null where a step leads nowhere."""
    for step in steps:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = next((value[key] for key in value if str(key).lower() == step.lower()), None)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if 0 <= step < len(value) else None
        else:
            return None
    return value


def _take(value: Any, count: int) -> Any:
    return value[: max(0, count)]


def _skip(value: Any, count: int) -> Any:
    return value[max(0, count) :]


FUNCTIONS: Mapping[str, Function] = {
    "add": lambda a, b: a + b,
    "and": lambda *a: all(_bool(x) for x in a),
    "array": lambda a: a if isinstance(a, list) else [a],
    "base64": lambda a: base64.b64encode(a.encode()).decode(),
    "base64tostring": lambda a: base64.b64decode(a).decode(),
    "bool": _bool,
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda *a: list(a),
    "createobject": lambda *a: dict(zip(a[::2], a[1::2], strict=True)),
    "div": _div,
    "empty": _empty,
    "endswith": lambda a, b: a.lower().endswith(b.lower()),
    "equals": _equals,
    "false": lambda: False,
    "first": lambda a: a[0] if a else ("" if isinstance(a, str) else None),
    "flatten": _flatten,
    "float": float,
    "format": _format,
    "greater": lambda a, b: a > b,
    "greaterorequals": lambda a, b: a >= b,
    "indexof": _index,
    "int": _int,
    "intersection": _intersection,
    "items": _items,
    "join": lambda a, by: by.join(text_of(x) for x in a),
    "json": _json,
    "last": lambda a: a[-1] if a else ("" if isinstance(a, str) else None),
    "lastindexof": lambda a, b: _index(a, b, last=True),
    "length": len,
    "less": lambda a, b: a < b,
    "lessorequals": lambda a, b: a <= b,
    "max": _extreme(max),
    "min": _extreme(min),
    "mod": lambda a, b: a - b * _div(a, b),
    "mul": lambda a, b: a * b if _number(a) and _number(b) else _no_number(),
    "not": lambda a: not _bool(a),
    "null": lambda: None,
    "or": lambda *a: any(_bool(x) for x in a),
    "padleft": _pad_left,
    "range": _range,
    "replace": _replace,
    "shallowmerge": _shallow_merge,
    "skip": _skip,
    "split": _split,
    "startswith": lambda a, b: a.lower().startswith(b.lower()),
    "string": text_of,
    "sub": lambda a, b: a - b,
    "substring": _substring,
    "take": _take,
    "tolower": lambda a: a.lower(),
    "toupper": lambda a: a.upper(),
    "trim": lambda a: a.strip(),
    "true": lambda: True,
    "tryget": _try_get,
    "union": _union,
    "uri": urljoin,
    "uricomponent": lambda a: quote(a, safe=""),
    "uricomponenttostring": unquote,
}


def _no_number() -> Any:
    raise TypeError("it is no number")
