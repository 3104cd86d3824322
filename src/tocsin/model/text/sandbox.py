"""Jinja2 as tocsin lets templates use it: sandboxed, and bounded in steps and in size, whatever a template or its
data says.

    source ──parse──► tree, in which loops, joined texts, lists and what is kept in a variable pass through a counter
                                                             │
    render ──► steps left, characters left ◄─────────────────┘──► TooMuch

Whatever makes a value from others counts it: an operator, a filter, a call, a list. What could become large in one
step is measured before the step. So time and memory of one rendering are bounded, and not only the text that it gives.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import lru_cache, wraps
from typing import Any

from jinja2 import ChainableUndefined, StrictUndefined, Template, Undefined, nodes, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tocsin.errors import TocsinError

STEPS = 20_000
"""Turns of all loops and calls of one rendering."""
SIZE = 200_000
"""Characters of one rendered part, and of any value on the way to it."""
WORK = 20 * SIZE
"""Characters of all values that one rendering makes."""
_REPEAT = 10_000
_WIDTH = 200  # characters of an indent or a wrapped line
_BITS = 1024  # of the largest whole number
_WIDE = re.compile(r"%(\([^)]*\))?[^a-zA-Z%]*\d{4,}|%(\([^)]*\))?[^a-zA-Z%]*\*")
_STRETCHING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map", "translate"})
_GONE = ("center", "pprint", "xmlattr", "random", "batch", "slice", "filesizeformat")
_KEPT = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)  # what collects text before it is output


class TooMuch(TocsinError):
    """A template made too many steps or too much text."""


class _Budget(threading.local):
    left = STEPS
    work = WORK


_budget = _Budget()


def _spend(steps: int) -> None:
    _budget.left -= steps
    if _budget.left < 0:
        raise TooMuch(f"its loops and calls make more than {STEPS} turns")


def _make(size: int) -> None:
    """A value of so many characters is about to be made."""
    if size > SIZE:
        raise TooMuch(f"it makes a value of more than {SIZE} characters")
    _budget.work -= size
    if _budget.work < 0:
        raise TooMuch(f"its values have more than {WORK} characters together")


def _weight(value: Any) -> int:
    """Characters of ``value`` as text, about; counting ends where they are too many."""
    if isinstance(value, str):
        return len(value)
    found, stack = 0, [value]
    while stack and found <= SIZE:
        one = stack.pop()
        if isinstance(one, str | bytes):
            found += len(one)
        elif isinstance(one, Mapping):
            stack += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            stack += one
        found += 2
    return found


def _counted(value: Any) -> Any:
    """``value``, counted."""
    _make(_weight(value))
    return value


def _tick(items: Any, cost: int = 1) -> Any:
    """What a ``for`` runs over, its turns counted; ``cost`` is that of the fixed text in one turn."""
    if isinstance(items, Sized):
        _spend(len(items) * cost)
        return items
    return _ticking(items, cost)


def _ticking(items: Iterable[Any], cost: int) -> Iterator[Any]:
    for item in items:
        _spend(cost)
        yield item


def _range(*args: int) -> range:
    steps = range(*args)
    _spend(len(steps))
    return steps


@pass_eval_context
def _joined(context: EvalContext, parts: list[Any]) -> str:
    """``a ~ b``."""
    _make(sum(map(_weight, parts)))
    return markup_join(parts) if context.autoescape else str_join(parts)


# -- what makes much out of little, measured before ---------------------------------------------------------------------


def _text(value: Any) -> str:
    _make(_weight(value))
    return str(value)


def _before_format(value: Any, *args: Any, **named: Any) -> None:
    if _WIDE.search(str(value)):
        raise SecurityError("a format is too wide")


def _before_indent(value: Any, width: int | str = 4, *_: Any, **__: Any) -> None:
    if (len(width) if isinstance(width, str) else width) > _WIDTH:
        raise SecurityError(f"an indent has more than {_WIDTH} characters")


def _before_wordwrap(value: Any, *args: Any, wrapstring: str | None = None, **_: Any) -> None:
    if any(isinstance(each, str) and len(each) > _WIDTH for each in (*args, wrapstring)):
        raise SecurityError(f"the end of a line has more than {_WIDTH} characters")


def _before_replace(value: Any, old: Any, new: Any = "", *_: Any, **__: Any) -> None:
    text, was, now = _text(value), str(old), str(new)
    _make(len(text) + text.count(was) * max(0, len(now) - len(was)))


def _before_join(value: Any, d: Any = "", *_: Any, **__: Any) -> None:
    if isinstance(value, list | tuple):
        _make(_weight(value) + len(value) * len(str(d)))


def _before_sum(value: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, int | float):
        raise SecurityError("a sum starts with a number")


def _before_json(value: Any, indent: int | None = None) -> None:
    if (indent or 0) > 8:
        raise SecurityError("an indent of JSON has more than 8 characters")


_BEFORE: Mapping[str, Callable[..., None]] = {
    "format": _before_format,
    "indent": _before_indent,
    "wordwrap": _before_wordwrap,
    "replace": _before_replace,
    "join": _before_join,
    "sum": _before_sum,
    "tojson": _before_json,
}


def bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result is counted, and measured before where it could become large."""
    before = _BEFORE.get(name)
    passes = hasattr(function, "jinja_pass_arg")

    @wraps(function)
    def counting(*args: Any, **named: Any) -> Any:
        _spend(1)
        values = args[1:] if passes else args
        if values:
            _make(_weight(values[0]))
        if before is not None:
            before(*values, **named)
        return _counted(function(*args, **named))

    return counting


def _larger(operator: str, left: Any, right: Any) -> None:
    """Raises where the operator would make much out of little."""
    if operator == "**":
        raise SecurityError("** is not available")
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _BITS:
            raise SecurityError(f"a whole number has more than {_BITS} bits")
        return
    if operator == "*":
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | list | tuple) and isinstance(times, int) and _weight(text) * times > _REPEAT:
                raise SecurityError(f"a repetition makes more than {_REPEAT} characters")
    if operator == "%" and isinstance(left, str):
        _before_format(left)
        _make(len(left) + left.count("%") * _weight(right))
    if operator == "+" and isinstance(left, str | list | tuple):
        _make(_weight(left) + _weight(right))


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template: no attribute of Python's inner life, no endless loop, no string bomb."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.plain: frozenset[type] = frozenset()  # frozen values without methods
        self.globals = {"range": _range, "dict": lambda *args, **named: _counted(dict(*args, **named))}
        for name in _GONE:
            self.filters.pop(name, None)
        self.add(self.filters)
        self.filters |= {"_tick": _tick, "_joined": _joined, "_counted": _counted}

    def add(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        """Give templates these filters too, bounded."""
        self.filters.update({name: bounded(name, function) for name, function in filters.items()})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what makes much out of little."""
        _larger(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **named: Any) -> Any:
        _spend(1)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            _before_replace(owner, *args)
        if isinstance(owner, str) and name == "join" and args:
            _before_join(args[0], owner)
        return _counted(super().call(context, obj, *args, **named))

    def wrap_str_format(self, value: Any) -> Any:
        """Jinja would let ``'{:9999999}'.format(1)`` through; ``%`` and ``format()`` are measured."""
        found = super().wrap_str_format(value)
        if found is not None:
            raise SecurityError("the method format is not available; write 'text %s' % value")
        return found

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse methods of strings that make them longer."""
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
        for kept in _KEPT:
            for block in tree.find_all(kept):
                for output in block.find_all(nodes.Output):
                    output.nodes = [
                        each if isinstance(each, nodes.TemplateData) else self._through("_counted", each)
                        for each in output.nodes
                    ]
        self._count_in(tree)
        for loop in tree.find_all(nodes.For):
            fixed = sum(len(each.data) for each in loop.find_all(nodes.TemplateData))
            loop.iter = self._through("_tick", loop.iter, nodes.Const(1 + fixed // 2000))
        return tree

    def _count_in(self, node: nodes.Node) -> None:
        """Lists and joined texts below ``node`` pass through a counter."""
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, self._below(value))
            elif isinstance(value, list):
                setattr(node, field, [self._below(v) if isinstance(v, nodes.Node) else v for v in value])

    def _below(self, node: nodes.Node) -> nodes.Node:
        self._count_in(node)
        if isinstance(node, nodes.Concat):
            return self._through("_joined", nodes.List(node.nodes, lineno=node.lineno))
        if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            return self._through("_counted", node)
        return node

    def _through(self, name: str, value: Any, *args: nodes.Node) -> nodes.Filter:
        return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno, environment=self)


def render(template: Template, context: Mapping[str, object], size: int = SIZE) -> str:
    """Render within bounds. Raises TooMuch, or whatever the template raises."""
    _budget.left, _budget.work = STEPS, WORK
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
    except RecursionError as e:
        raise TooMuch("its macros or loops call themselves too deep") from e
    except Exception:  # noqa: BLE001 - raised again by it
        # Jinja rewrites the traceback to the template's own lines.
        template.environment.handle_exception()
    return "".join(parts)


class Words:
    """Short templates inside rules and on-call files: a summary, an address. Compiled once each."""

    def __init__(self, undefined: type[Undefined], filters: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._environment = Sandbox(undefined=undefined)
        self._environment.add(filters or {})
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
