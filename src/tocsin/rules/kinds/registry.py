"""Which kinds of rules there are: the packages beside this module."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, Literal, cast

from pydantic import Field, create_model

from tocsin.rules import kinds as packages
from tocsin.rules.kinds.base import Kind
from tocsin.rules.language.schema import RuleFile, RuleModel, When
from tocsin.rules.spec.rule import Rule

AnyKind = Kind[Any, Any]
_more: list[AnyKind] = []


def kinds() -> tuple[AnyKind, ...]:
    """All kinds, in the order in which they decide."""
    return _ordered(tuple(_more))


@cache
def _ordered(more: tuple[AnyKind, ...]) -> tuple[AnyKind, ...]:
    return tuple(sorted((*_shipped(), *more), key=lambda kind: kind.order))


@cache
def _shipped() -> tuple[AnyKind, ...]:
    found = [m.name for m in pkgutil.iter_modules(packages.__path__) if m.ispkg]
    return tuple(import_module(f"{packages.__name__}.{name}.kind").KIND for name in found)


@contextmanager
def registered(kind: AnyKind) -> Iterator[None]:
    """Meanwhile there is one kind more."""
    _more.append(kind)
    try:
        yield
    finally:
        _more.remove(kind)


def kind_named(name: str) -> AnyKind:
    """A kind by its name. Raises KeyError."""
    for kind in kinds():
        if kind.name == name:
            return kind
    raise KeyError(name)


def kind_of(rule: Rule) -> AnyKind:
    """The kind of a rule."""
    return kind_named(rule.kind)


def rule_model() -> type[RuleModel]:
    """A rule as files have it, with the keys of all kinds."""
    return _models(kinds())[0]


def rule_file() -> type[RuleFile]:
    """A file of ``rules/alerts/``."""
    return _models(kinds())[1]


@cache
def _models(of: tuple[AnyKind, ...]) -> tuple[type[RuleModel], type[RuleFile]]:
    whens = tuple(dict.fromkeys(kind.when for kind in of if kind.when is not When))
    models = tuple(dict.fromkeys(kind.model for kind in of if kind.model is not RuleModel))
    words = tuple(dict.fromkeys(kind.word for kind in of))
    when: type[When] = create_model("When", __base__=whens, __doc__=When.__doc__, __module__=__name__)
    fields: dict[str, Any] = {
        "when": (when | None, RuleModel.model_fields["when"]),
        "kind": (Literal[words] | None, RuleModel.model_fields["kind"]),
    }
    rule: type[RuleModel] = create_model(
        "RuleModel", __base__=models, __doc__=RuleModel.__doc__, __module__=__name__, **fields
    )
    file = create_model(
        "RuleFile", __base__=RuleFile, __doc__=RuleFile.__doc__, __module__=__name__,
        rules=(tuple[rule, ...], Field((), description="the rules")),
    )  # fmt: skip
    return cast(type[RuleModel], rule), cast(type[RuleFile], file)


def rules_json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of ``rules/alerts/``, for editors."""
    schema = rule_file().model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tocsin alert rules", **schema}
