"""Frozen dataclasses to JSON and back. Unknown fields are refused; what is at its default is not written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec

T = TypeVar("T")
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


def to_json(value: object) -> dict[str, Any]:
    """A frozen dataclass as JSON takes it."""
    found: dict[str, Any] = {}
    for name, default in _defaults(cast(Any, type(value))):
        mine = getattr(value, name)
        if mine is not default and (default is MISSING or mine != default):
            found[name] = _plain(mine)
    return found


def of_json(kind: type[T], data: Mapping[str, object]) -> T:
    """The dataclass that ``to_json`` wrote. Raises ValueError for what is none, unknown fields included."""
    _check(kind, data)
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as e:
        raise ValueError(str(e)) from None


def _plain(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return msgspec.to_builtins(value)


@cache
def _defaults(kind: type) -> tuple[tuple[str, object], ...]:
    """Fields, each with its default; MISSING where it has none."""
    return tuple((one.name, one.default) for one in fields(cast(Any, kind)))


def _check(kind: type, data: object) -> None:
    known = _parts(kind)
    for name, each in data.items() if isinstance(data, Mapping) else ():
        if name not in known:
            raise ValueError(f"{kind.__name__} has no field '{name}'")
        if (inner := known[name]) is not None:
            for one in each if isinstance(each, list | tuple) else (each,):
                _check(inner, one)


@cache
def _parts(kind: type) -> Mapping[str, type | None]:
    """Fields, each with the dataclass that it is made of; None for others."""
    return {name: _dataclass_in(hint) for name, hint in get_type_hints(kind).items()}


def _dataclass_in(hint: Any) -> type | None:
    if is_dataclass(hint):
        return cast(type, hint)
    return next((found for arg in get_args(hint) if (found := _dataclass_in(arg)) is not None), None)
