"""Keys that belong to another kind of rule: refused where they would be ignored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from tocsin.config.yaml.document import KeyPath
from tocsin.rules.language.schema import RuleModel, When

ROW_ONLY = frozenset({"collapse"})
"""Keys of rules about single events."""
WINDOW_ONLY = frozenset({
    "sql", "over", "every", "value", "condition", "for", "keep_firing_for", "lateness", "no_data", "max_instances",
    "export",
})  # fmt: skip
"""Keys of window rules."""
SCHEDULE_KEYS = frozenset({"cron", "grace", "timezone", "except", "consumer"})
"""Keys of an absence rule by a schedule."""
SEQUENCE = frozenset({"within", "by", "look_back"})
"""Keys of a sequence."""


def window_only(model: RuleModel) -> Iterator[KeyPath]:
    """Paths of what only a window rule can have."""
    yield from _given(model, WINDOW_ONLY)
    if "severity" in model.model_fields_set and not isinstance(model.severity, str):
        yield ("severity",)


def row_only(model: RuleModel) -> Iterator[KeyPath]:
    """Paths of what only a rule about single events can have."""
    yield from _given(model, ROW_ONLY)


def stray(when: When) -> Iterator[tuple[KeyPath, str]]:
    """(path, what it goes with) of what only rules of another form can have."""
    yield from ((("when", *path), "absent") for path in _given(when, SCHEDULE_KEYS))
    yield from ((("when", *path), "after and times") for path in _given(when, SEQUENCE))


def _given(model: BaseModel, names: frozenset[str]) -> Iterator[KeyPath]:
    for field in sorted(model.model_fields_set & _fields(type(model), names)):
        yield (type(model).model_fields[field].alias or field,)


@cache
def _fields(model: type[BaseModel], names: frozenset[str]) -> frozenset[str]:
    """Fields whose keys are among ``names``."""
    return frozenset(field for field, info in model.model_fields.items() if (info.alias or field) in names)
