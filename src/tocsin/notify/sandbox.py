"""Jinja2 as tocsin lets templates use it: sandboxed, and bounded in steps and in size, whatever a template or its
data says.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, StrictUndefined, Template, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from tocsin.errors import TocsinError

STEPS = 20_000
"""Turns of all loops of one rendering."""
SIZE = 200_000
"""Characters of one rendered part."""
_REPEAT = 10_000
_WIDE = re.compile(r"%[^a-zA-Z%]*\d{4,}|%[^a-zA-Z%]*\*")
_STRETCHING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map"})


class TooMuch(TocsinError):
    """A template made too many steps or too much text."""


class _Budget(threading.local):
    left = STEPS


_budget = _Budget()


def _spend(steps: int) -> None:
    _budget.left -= steps
    if _budget.left < 0:
        raise TooMuch(f"its loops make more than {STEPS} turns")


def _tick(items: Any) -> Any:
    """What a ``for`` runs over, its turns counted."""
    if isinstance(items, Sized):
        _spend(len(items))
        return items
    return _ticking(items)


def _ticking(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend(1)
        yield item


def _range(*args: int) -> range:
    steps = range(*args)
    _spend(len(steps))
    return steps


class Sandbox(SandboxedEnvironment):
    """The environment of every template: no attribute of Python's inner life, no endless loop, no string bomb."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.plain: frozenset[type] = frozenset()  # frozen values without methods
        self.globals = {"range": _range, "dict": dict}
        self.filters["_tick"] = _tick
        for name in ("center", "pprint", "xmlattr", "random", "batch", "slice", "filesizeformat"):
            self.filters.pop(name, None)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what makes much out of little."""
        if operator == "**":
            raise SecurityError("** is not available")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int) and len(text) * times > _REPEAT:
                    raise SecurityError(f"a repetition makes more than {_REPEAT} characters")
        if operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise SecurityError("a format is too wide")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse methods of strings that segment."""
        return not (isinstance(obj, str) and attr in _STRETCHING) and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Fields of our own values without the many questions that the sandbox has to ask of others."""
        if type(obj) in self.plain and attribute[:1] != "_":
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_tick", [], [], None, None, lineno=loop.lineno, environment=self)
        return tree


def render(template: Template, context: Mapping[str, object], size: int = SIZE) -> str:
    """Render within bounds. Raises TooMuch, or whatever the template raises."""
    _budget.left = STEPS
    made, parts = 0, []
    scope = template.new_context(dict(context))
    try:
        for part in template.root_render_func(scope):
            made += len(part)
            if made > size:
                raise TooMuch(f"it makes more than {size} characters")
            parts.append(part)
    except (TooMuch, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - raised again by it
        # Jinja rewrites the traceback to the template's own lines.
        template.environment.handle_exception()
    return "".join(parts)


class Words:
    """Short templates inside rules and on-call files: a summary, an address. Compiled once each."""

    def __init__(self, undefined: type[Undefined], filters: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._environment = Sandbox(undefined=undefined)
        self._environment.filters.update(filters or {})
        self.compile = lru_cache(4096)(self._environment.from_string)

    def render(self, source: str, context: Mapping[str, object], size: int = 4000) -> str:
        """Render ``source``. Raises TooMuch, TemplateSyntaxError, or whatever the template raises."""
        if "{" not in source:
            return source
        return render(self.compile(source), context, size)


@lru_cache(1)
def words() -> Words:
    """For addresses: a name that is not there is ''."""
    return Words(ChainableUndefined)


def strict_words(filters: Mapping[str, Callable[..., Any]]) -> Words:
    """For summaries: a name that is not there is an error."""
    return Words(StrictUndefined, filters)
