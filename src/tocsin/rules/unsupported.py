"""Keys of the language whose evaluation is not built yet: refused by name, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from tocsin.config.document import KeyPath
from tocsin.rules.schema import Common, InlineTest, RuleModel

RULE = frozenset({
    "sql", "over", "every", "value", "clear", "for", "keep_firing_for", "lateness", "no_data", "repeat_every", "limit",
    "max_instances", "export", "collapse", "for_each",
})  # fmt: skip
WHEN = frozenset({
    "in_status_for", "silent_for", "unchanged", "for", "absent", "cron", "grace", "timezone", "except", "consumer",
    "duration", "after", "times", "within", "by",
})  # fmt: skip
EXPECT = frozenset({"firing", "pending"})
TEST = frozenset({"tables"})


def unsupported(model: Common) -> Iterator[KeyPath]:
    """Paths, from the rule (or defaults), of what is understood but not evaluated yet."""
    yield from _given(model, RULE)
    if not isinstance(model.severity, str):
        yield ("severity",)
    if not isinstance(model, RuleModel):
        return
    if model.resolve not in (None, "never"):
        yield ("resolve",)
    if model.when is not None:
        yield from (("when", *path) for path in _given(model.when, WHEN))
    for i, test in enumerate(model.tests):
        yield from (("tests", i, *path) for path in _in_test(test))


def _in_test(test: InlineTest) -> Iterator[KeyPath]:
    yield from _given(test, TEST)
    for i, expect in enumerate(test.expect):
        yield from (("expect", i, *path) for path in _given(expect, EXPECT))


def _given(model: BaseModel, names: frozenset[str]) -> Iterator[KeyPath]:
    for field in sorted(model.model_fields_set & _fields(type(model), names)):
        yield (type(model).model_fields[field].alias or field,)


@cache
def _fields(model: type[BaseModel], names: frozenset[str]) -> frozenset[str]:
    """Fields whose keys are among ``names``."""
    return frozenset(field for field, info in model.model_fields.items() if (info.alias or field) in names)
