"""JMESPath over payloads: plain paths become generated code, the interpreter does what is left.

Besides JMESPath's own functions there are some for payloads. Every function is null-safe: a null that it cannot take
makes its value null, where JMESPath would fail. Ours say null for whatever else they cannot answer, too.

======================  ================================================================================
``lower(x)``            a string in lower case
``upper(x)``            a string in upper case
``split(x, sep)``       the parts of a string
``segment(x, name)``    what follows ``name`` in a path, any case: ``segment('/a/Runs/7', 'runs')`` is ``'7'``
``coalesce(x, …)``      the first value that is neither null nor an empty string; false and 0 are values
``parse_json(x)``       what a string of JSON holds
``base64_decode(x)``    the text that a string of base64 (the URL's alphabet, too) holds
``format(form, x, …)``  ``form`` with each ``{}`` replaced by the next value; null if one is null or empty
``url(form, x, …)``     the same, each value percent-encoded
======================  ================================================================================
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import jmespath.exceptions
import jmespath.functions
import jmespath.parser
import jmespath.visitor

from tocsin.config.yaml.document import suggest
from tocsin.errors import TocsinError
from tocsin.model.text.strictjson import ReadError, read_json

Getter = Callable[[object], tuple[object, ...]]


class ExpressionFailed(TocsinError):
    """An expression could not be evaluated on this payload. ``index`` says which of the getter's."""

    def __init__(self, index: int, why: str) -> None:
        self.index, self.why = index, why
        super().__init__(why)


_signature: Any = jmespath.functions.signature
_ANY: dict[str, list[str]] = {"types": []}


class _Functions(jmespath.functions.Functions):
    """JMESPath's functions and ours."""

    @_signature(_ANY)  # type: ignore[untyped-decorator]
    def _func_lower(self, value: object) -> object:
        return value.lower() if isinstance(value, str) else None

    @_signature(_ANY)  # type: ignore[untyped-decorator]
    def _func_upper(self, value: object) -> object:
        return value.upper() if isinstance(value, str) else None

    @_signature(_ANY, {"types": ["string"]})  # type: ignore[untyped-decorator]
    def _func_split(self, value: object, separator: str) -> object:
        return value.split(separator) if isinstance(value, str) and separator else None

    @_signature(_ANY, {"types": ["string"]})  # type: ignore[untyped-decorator]
    def _func_segment(self, value: object, name: str) -> object:
        parts = value.split("/") if isinstance(value, str) else []
        wanted = name.lower()
        return next((after for part, after in itertools.pairwise(parts) if part.lower() == wanted), None)

    @_signature(_ANY)  # type: ignore[untyped-decorator]
    def _func_parse_json(self, value: object) -> object:
        try:
            return read_json(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else None
        except ReadError:
            return None

    @_signature(_ANY)  # type: ignore[untyped-decorator]
    def _func_base64_decode(self, value: object) -> object:
        data = base64_bytes(value)
        try:
            return data.decode("utf-8") if data is not None else None
        except UnicodeDecodeError:
            return None

    @_signature({"types": [], "variadic": True})  # type: ignore[untyped-decorator]
    def _func_coalesce(self, *values: object) -> object:
        return next((v for v in values if v is not None and v != ""), None)

    @_signature({"types": ["string"]}, {"types": [], "variadic": True})  # type: ignore[untyped-decorator]
    def _func_format(self, form: str, *values: object) -> object:
        return _filled(form, values, str)

    @_signature({"types": ["string"]}, {"types": [], "variadic": True})  # type: ignore[untyped-decorator]
    def _func_url(self, form: str, *values: object) -> object:
        return _filled(form, values, lambda v: quote(str(v), safe=""))

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        """A null that a function does not take gives null: a field that is absent is no fault of the mapping."""
        try:
            return super().call_function(function_name, resolved_args)
        except jmespath.exceptions.JMESPathTypeError:
            if any(a is None or (isinstance(a, list) and None in a) for a in resolved_args):
                return None
            raise


def _filled(form: str, values: Sequence[object], shown: Callable[[object], str]) -> object:
    pieces = form.split("{}")
    if len(pieces) != len(values) + 1 or any(not isinstance(v, str | int) or v == "" for v in values):
        return None
    return pieces[0] + "".join(shown(v) + piece for v, piece in zip(values, pieces[1:], strict=True))


def base64_bytes(value: object) -> bytes | None:
    """What a string of base64 holds, in either alphabet, with or without its padding; None for anything else."""
    if not isinstance(value, str):
        return None
    text = "".join(value.split()).translate(_URL_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


_URL_ALPHABET = str.maketrans("-_", "+/")


class _AnyCase(jmespath.visitor.TreeInterpreter):
    """Finds a field in any case where it is not there as written."""

    def visit_field(self, node: Any, value: object) -> Any:
        if not isinstance(value, dict):
            return None
        found = value.get(node["value"])
        return found if found is not None else any_case(value, node["value"])


def _options() -> Any:
    return jmespath.visitor.Options(custom_functions=_Functions())


# One of each for all payloads: they keep no state but the methods they found.
_EXACT, _ANY_CASE = jmespath.visitor.TreeInterpreter(_options()), _AnyCase(_options())


def any_case(fields: dict[str, object], name: str) -> object:
    """The last field that is called ``name`` in any case and is not null; None where there is none."""
    wanted = name.lower()
    found = None
    for key, value in fields.items():
        if value is not None and len(key) == len(name) and key.lower() == wanted:
            found = value
    return found


_SLIPS = (
    ("'='", "a comparison is written =="),
    ("/", "there is no arithmetic in it; keep both values under Properties, and divide in KQL"),
    ("+", "there is no arithmetic in it; join texts by format('{}{}', a, b)"),
    ("%", "there is no arithmetic in it; compute in KQL"),
)
"""What is written where JMESPath has nothing of the kind, and what to write."""


def parse(text: str) -> Any:
    """The syntax tree of ``text``. Raises ValueError that says what would be right, also for unknown functions."""
    try:
        tree = jmespath.parser.Parser().parse(text).parsed
    except jmespath.exceptions.JMESPathError as e:
        what = (
            str(e)
            .split("\n")[0]
            .rstrip(": ")
            .removeprefix("Bad jmespath expression: ")
            .removeprefix("Invalid jmespath expression: ")
        )
        what = next((hint for mark, hint in _SLIPS if f"Unknown token {mark}" in what), what)
        raise ValueError(f"'{text}' is no JMESPath: {what}") from e
    _check(tree)
    return tree


def _check(node: Any) -> None:
    if not isinstance(node, dict):
        return
    if node.get("type") == "function_expression" and node["value"] not in _Functions.FUNCTION_TABLE:
        raise ValueError(f"there is no function {node['value']}(); {suggest(node['value'], _Functions.FUNCTION_TABLE)}")
    if node.get("type") == "function_expression":
        _check_arity(node["value"], len(node["children"]))
    for child in node.get("children", ()):
        _check(child)


def _check_arity(name: str, given: int) -> None:
    wanted = _Functions.FUNCTION_TABLE[name]["signature"]
    least = len(wanted)
    if given != least and not (given > least and wanted and wanted[-1].get("variadic")):
        more = " or more" if wanted and wanted[-1].get("variadic") else ""
        raise ValueError(
            f"{name}() takes {least}{more} value{'' if least == 1 and not more else 's'}, here are {given}"
        )


def compile_getter(texts: Sequence[str], *, ignore_case: bool = False) -> Getter:
    """A function from a payload to the values of all ``texts``, in order.

    Plain paths (``data.runId``) share their lookups in generated code. With ``ignore_case`` a field that is not there
    as written is looked for in any case. The function raises ExpressionFailed. Raises ValueError for what is no
    JMESPath.
    """
    code = _Code(ignore_case)
    names = [code.value(parse(text), index) for index, text in enumerate(texts)]
    return code.function(names)


class _Code:
    """Lines of one generated function; each path is looked up once."""

    def __init__(self, ignore_case: bool) -> None:
        self._ignore_case = ignore_case
        self._lines: list[str] = []
        self._known: dict[tuple[str, ...], str] = {(): "payload"}
        self._objects: dict[tuple[str, ...], str] = {}
        self._globals: dict[str, object] = {"EMPTY": {}, "any_case": any_case}

    def value(self, tree: Any, index: int) -> str:
        """A name or literal that holds the value of ``tree``."""
        path = _plain_path(tree)
        if path is not None:
            return self._field(path)
        if tree["type"] == "literal":
            self._globals[f"literal{index}"] = tree["value"]
            return f"literal{index}"
        self._globals[f"evaluate{index}"] = _evaluator(tree, index, ignore_case=self._ignore_case)
        return f"evaluate{index}(payload)"

    def _field(self, path: tuple[str, ...]) -> str:
        if path not in self._known:
            holder = self._object(path[:-1])
            name = f"value{len(self._known)}"
            self._lines.append(f"{name} = {holder}.get({path[-1]!r})")
            if self._ignore_case:
                self._lines.append(f"if {name} is None: {name} = any_case({holder}, {path[-1]!r})")
            self._known[path] = name
        return self._known[path]

    def _object(self, path: tuple[str, ...]) -> str:
        if path not in self._objects:
            value = self._field(path)
            name = f"object{len(self._objects)}"
            self._lines.append(f"{name} = {value} if {value}.__class__ is dict else EMPTY")
            self._objects[path] = name
        return self._objects[path]

    def function(self, names: Sequence[str]) -> Getter:
        body = "".join(f"    {line}\n" for line in self._lines)
        source = f"def get(payload):\n{body}    return ({''.join(f'{n}, ' for n in names)})\n"
        exec(compile(source, "<mapping>", "exec"), self._globals)
        get: Getter = self._globals["get"]  # type: ignore[assignment]
        return get


def _plain_path(tree: Any) -> tuple[str, ...] | None:
    if tree["type"] == "current":
        return ()
    if tree["type"] == "field":
        return (tree["value"],)
    if tree["type"] == "subexpression" and all(child["type"] == "field" for child in tree["children"]):
        return tuple(child["value"] for child in tree["children"])
    return None


def is_plain(text: str) -> bool:
    """Whether ``text`` is a path of field names. Raises ValueError for what is no JMESPath."""
    return bool(_plain_path(parse(text)))


def plain_path(text: str) -> tuple[str, ...]:
    """The field names of a plain path."""
    return _plain_path(parse(text)) or ()


def _evaluator(tree: Any, index: int, *, ignore_case: bool) -> Callable[[object], object]:
    visit = (_ANY_CASE if ignore_case else _EXACT).visit

    def evaluate(payload: object) -> object:
        try:
            return visit(tree, payload)
        except jmespath.exceptions.JMESPathError as e:
            raise ExpressionFailed(index, str(e).split("\n")[0][:200]) from e
        except (ArithmeticError, TypeError, ValueError, AttributeError) as e:  # the interpreter's own holes
            raise ExpressionFailed(index, f"{type(e).__name__}: {e}"[:200]) from e

    return evaluate


def is_true(value: object) -> bool:
    """JMESPath's truth: null, false and what is empty are not; numbers are."""
    return not (value is None or value is False or value == "" or value == [] or value == {})
