"""Values of a template: parameters, variables, copies, and what only Azure knows, which stays visible as ``${…}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tocsin.interchange.azure.expressions import (
    Call,
    ExpressionError,
    Literal,
    Member,
    Node,
    is_expression,
    parse_expression,
    unescaped,
)
from tocsin.interchange.azure.functions import bounded, call, text_of

MAX_STEPS = 200_000
"""Most calls and values that the evaluation of one file may take."""
MAX_COPIES = 800
"""Most copies that a loop makes: Azure's limit."""

AZURE_ONLY = frozenset({
    "current", "datetimeadd", "datetimefromepoch", "datetimetoepoch", "deployer", "deployment", "environment",
    "extensionresourceid", "field", "guid", "listkeys", "listsecrets", "managementgroup", "managementgroupresourceid",
    "newguid", "pickzones", "providers", "reference", "references", "requestcontext", "resourcegroup", "subscription",
    "subscriptionresourceid", "tenant", "tenantresourceid", "uniquestring", "utcnow",
})  # fmt: skip
"""Functions whose value depends on where and when Azure deploys. ``list…()`` are more of them."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be known here. ``text`` is it inside a text, with ``${…}`` for each part that is missing."""

    text: str
    why: tuple[str, ...]


@dataclass(slots=True)
class Budget:
    """What is left of the steps that a file may take."""

    steps: int = MAX_STEPS

    def spend(self) -> None:
        """Raises ExpressionError where nothing is left."""
        self.steps -= 1
        if self.steps < 0:
            raise ExpressionError(f"takes more than {MAX_STEPS} steps to work out")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a template's expressions may name."""

    parameters: Mapping[str, Any] = field(default_factory=dict)  # values as given; names in lower case
    defaults: Mapping[str, Any] = field(default_factory=dict)  # declared parameters' own, as written; None where none
    nullable: frozenset[str] = frozenset()  # declared parameters that are null where nothing is given
    variables: Mapping[str, Any] = field(default_factory=dict)  # as written
    functions: Mapping[str, Any] = field(default_factory=dict)  # users' own, "namespace.name"
    copies: Mapping[str, int] = field(default_factory=dict)  # loop -> index; '' is the nearest
    lambdas: Mapping[str, Any] = field(default_factory=dict)
    working: frozenset[str] = frozenset()  # what is being worked out, to find circles
    known: dict[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def of(cls, template: Mapping[str, Any], given: Mapping[str, Any], budget: Budget) -> Scope:
        """The scope of a template with parameters that were given."""
        declared = {name.lower(): p.get("defaultValue") for name, p in _objects(template.get("parameters"))}
        functions = {
            f"{space.get('namespace', '')}.{name}".lower(): body
            for space in template.get("functions") or ()
            if isinstance(space, Mapping)
            for name, body in _objects(space.get("members"))
        }
        variables = template.get("variables")
        scope = cls(
            parameters={name.lower(): value for name, value in given.items()},
            defaults=declared,
            nullable=frozenset(n.lower() for n, p in _objects(template.get("parameters")) if p.get("nullable") is True),
            functions=functions,
            budget=budget,
        )
        return replace(scope, variables=_with_copies(variables) if isinstance(variables, Mapping) else {})

    def value(self, raw: Any) -> Any:
        """``raw`` with its expressions worked out. Raises ExpressionError."""
        self.budget.spend()
        if isinstance(raw, str):
            return self._node(parse_expression(raw[1:-1])) if is_expression(raw) else unescaped(raw)
        if isinstance(raw, list):
            return [self.value(item) for item in raw]
        if not isinstance(raw, Mapping):
            return raw
        out: dict[str, Any] = {}
        for key, item in raw.items():
            if key == "copy" and isinstance(item, list):
                for loop in item:
                    out[str(loop.get("name"))] = self._copied(loop)
            else:
                name = self.value(key)
                out[name.text if isinstance(name, Unknown) else str(name)] = self.value(item)
        return out

    def each(self, loop: Mapping[str, Any]) -> Iterator[Scope]:
        """A scope for each round of a copy loop. Raises ExpressionError where the count is not known."""
        name, count = str(loop.get("name", "")), self.value(loop.get("count"))
        if isinstance(count, Unknown):
            raise ExpressionError(f"how many copies there are is not known: {', '.join(count.why)}")
        if not isinstance(count, int) or not 0 <= count <= MAX_COPIES:
            raise ExpressionError(f"a loop of {count} copies")
        for index in range(count):
            yield replace(self, copies={**self.copies, "": index, name.lower(): index})

    def _copied(self, loop: Mapping[str, Any]) -> list[Any]:
        return [scope.value(loop.get("input")) for scope in self.each(loop)]

    def _node(self, node: Node) -> Any:
        self.budget.spend()
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Member):
            return _member(self._node(node.of), self._node(node.key), node.maybe)
        name = node.name.lower()
        if name in _SPECIAL:
            return _SPECIAL[name](self, node)
        if "." in name:
            return self._own(node)
        args = [self._node(arg) for arg in node.args]
        if name in AZURE_ONLY or (name.startswith("list") and name != "list"):
            return Unknown(f"${{{shown(node.name, args)}}}", (f"{node.name}() is known to Azure only",))
        if not any(isinstance(a, Unknown) or _holds_unknown(a) for a in args):
            return call(name, args)
        return _partly(node.name, args)

    def _lookup(self, kind: str, name: str, raw: Any) -> Any:
        key = f"{kind} '{name}'"
        if key in self.working:
            raise ExpressionError(f"{key} is made of itself")
        if key not in self.known:
            inner = replace(self, working=self.working | {key}, copies={}, lambdas={})
            self.known[key] = inner.value(raw)
        return self.known[key]

    def _parameter(self, node: Call) -> Any:
        name = _word(self, node)
        if name.lower() in self.parameters:
            return self.parameters[name.lower()]
        default = self.defaults.get(name.lower())
        if default is None and name.lower() in self.nullable:
            return None
        if default is None:
            missing = "has no value" if name.lower() in self.defaults else "is not declared"
            return Unknown(f"${{{name}}}", (f"parameter '{name}' {missing}",))
        return self._lookup("parameter", name, default)

    def _variable(self, node: Call) -> Any:
        name = _word(self, node)
        found = {key.lower(): raw for key, raw in self.variables.items()}
        if name.lower() not in found:
            raise ExpressionError(f"variable '{name}' is not declared")
        raw = found[name.lower()]
        if isinstance(raw, Mapping) and set(raw) == {_LOOP}:
            return self._copied(raw[_LOOP])
        return self._lookup("variable", name, raw)

    def _own(self, node: Call) -> Any:
        body = self.functions.get(node.name.lower())
        if not isinstance(body, Mapping):
            raise ExpressionError(f"the function {node.name}() is not declared")
        names = [str(p.get("name", "")).lower() for p in body.get("parameters") or ()]
        args = [self._node(arg) for arg in node.args]
        if len(names) != len(args):
            raise ExpressionError(f"{node.name}() takes {len(names)} arguments")
        key = f"function {node.name.lower()}"
        if key in self.working:
            raise ExpressionError(f"{node.name}() calls itself")
        inner = Scope(
            parameters=dict(zip(names, args, strict=True)),
            functions=self.functions,
            budget=self.budget,
            working=self.working | {key},
        )
        return inner.value((body.get("output") or {}).get("value"))


_LOOP = "\0copy"


def _word(scope: Scope, node: Call) -> str:
    if len(node.args) != 1 or not isinstance(name := scope._node(node.args[0]), str):
        raise ExpressionError(f"{node.name}() takes one name")
    return name


def _if(scope: Scope, node: Call) -> Any:
    if len(node.args) != 3:
        raise ExpressionError("if() takes three arguments")
    condition = scope._node(node.args[0])
    if isinstance(condition, Unknown):
        return Unknown(f"${{{shown('if', [condition])}}}", condition.why)
    return scope._node(node.args[1] if call("bool", [condition]) else node.args[2])


def _logic(stops: bool) -> Callable[[Scope, Call], Any]:
    """and(), or(): what is known may decide alone."""

    def decide(scope: Scope, node: Call) -> Any:
        args = [scope._node(arg) for arg in node.args]
        unknown = [a for a in args if isinstance(a, Unknown)]
        if any(call("bool", [a]) is stops for a in args if not isinstance(a, Unknown)):
            return stops
        return Unknown(f"${{{shown(node.name, args)}}}", unknown[0].why) if unknown else not stops

    return decide


def _copy_index(scope: Scope, node: Call) -> Any:
    args = [scope._node(arg) for arg in node.args]
    name = args.pop(0).lower() if args and isinstance(args[0], str) else ""
    if name not in scope.copies:
        raise ExpressionError("copyIndex() outside of its loop")
    return scope.copies[name] + (args[0] if args and isinstance(args[0], int) else 0)


def _resource_id(scope: Scope, node: Call) -> Any:
    """The id with its type and names; whose subscription and group it lies in is Azure's to know."""
    args = [text_of(_text(scope._node(arg))) for arg in node.args]
    at = next((i for i, a in enumerate(args) if "/" in a and not a.startswith("/")), None)
    if at is None:
        return Unknown(f"${{{shown('resourceId', args)}}}", ("resourceId() is known to Azure only",))
    space, *kinds = args[at].split("/")
    pairs = "/".join(f"{kind}/{name}" for kind, name in zip(kinds, args[at + 1 :], strict=False))
    return Unknown(f"${{resourceGroup().id}}/providers/{space}/{pairs}", ("resourceId() is known to Azure only",))


def _lambda_variables(scope: Scope, node: Call) -> Any:
    name = _word(scope, node)
    if name not in scope.lambdas:
        raise ExpressionError(f"lambda variable '{name}' is not declared")
    return scope.lambdas[name]


def _through(scope: Scope, node: Call) -> Any:
    """map() and filter() of a list by a lambda."""
    if len(node.args) != 2 or not isinstance(body := node.args[1], Call) or body.name.lower() != "lambda":
        raise ExpressionError(f"{node.name}() takes a list and a lambda")
    items = scope._node(node.args[0])
    if isinstance(items, Unknown):
        return Unknown(f"${{{shown(node.name, [items])}}}", items.why)
    names = [str(a.value) for a in body.args[:-1] if isinstance(a, Literal)]
    out = []
    for i, item in enumerate(items if isinstance(items, list) else ()):
        given = dict(zip(names, (item, i), strict=False))
        out.append((item, replace(scope, lambdas={**scope.lambdas, **given})._node(body.args[-1])))
    return [made for _, made in out] if node.name.lower() == "map" else [item for item, made in out if made is True]


_SPECIAL: Mapping[str, Callable[[Scope, Call], Any]] = {
    "parameters": Scope._parameter,
    "variables": Scope._variable,
    "if": _if,
    "and": _logic(False),
    "or": _logic(True),
    "copyindex": _copy_index,
    "resourceid": _resource_id,
    "lambdavariables": _lambda_variables,
    "map": _through,
    "filter": _through,
}


def _member(of: Any, key: Any, maybe: bool) -> Any:
    if isinstance(of, Unknown) or isinstance(key, Unknown):
        unknown = of if isinstance(of, Unknown) else key
        inner = _inside(of.text) if isinstance(of, Unknown) else "…"
        step = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{_shown(key)}]"
        return Unknown(f"${{{inner}{step}}}", unknown.why)
    if isinstance(of, Mapping) and isinstance(key, str):
        found = next((k for k in of if str(k).lower() == key.lower()), None)
        if found is not None:
            return of[found]
    elif isinstance(of, list) and isinstance(key, int) and 0 <= key < len(of):
        return of[key]
    if maybe:
        return None
    raise ExpressionError(f"there is no {key!r} in it")


def _partly(name: str, args: list[Any]) -> Any:
    """A function of which not all arguments are known: text that is put together keeps what is known."""
    why = tuple(dict.fromkeys(w for a in args for u in _unknowns(a) for w in u.why))
    lowered = name.lower()
    if lowered in ("concat", "format", "string", "tolower", "trim") and not any(isinstance(a, list) for a in args):
        parts = [_text(a) for a in args]
        done = call("concat" if lowered in ("string", "tolower", "trim") else lowered, parts)
        return Unknown(str(bounded(done)), why)
    if lowered == "concat" and all(isinstance(a, list) for a in args):
        return call("concat", args)
    if lowered in ("createarray", "createobject", "coalesce", "union", "array"):
        return call(lowered, args)
    return Unknown(f"${{{shown(name, args)}}}", why)


def _text(value: Any) -> Any:
    return value.text if isinstance(value, Unknown) else value


def _inside(text: str) -> str:
    match = re.fullmatch(r"\$\{([^${}]*)\}", text)
    return match[1] if match else f"'{text}'"


def _shown(value: Any) -> str:
    if isinstance(value, Unknown):
        return _inside(value.text)
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 40 else f"'{value[:37]}…'"
    return json.dumps(value, default=str)[:40]


def shown(name: str, args: list[Any]) -> str:
    """A call as text, short."""
    return f"{name}({', '.join(_shown(a) for a in args)})".replace("{", "(").replace("}", ")")


def _holds_unknown(value: Any) -> bool:
    return next(_unknowns(value), None) is not None


def _unknowns(value: Any) -> Iterator[Unknown]:
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _unknowns(item)
    elif isinstance(value, list):
        for item in value:
            yield from _unknowns(item)


def _with_copies(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables, with those of ``copy`` by their own names."""
    out = {name: raw for name, raw in variables.items() if name != "copy" or not isinstance(raw, list)}
    for loop in variables.get("copy") or () if isinstance(variables.get("copy"), list) else ():
        if isinstance(loop, Mapping):
            out[str(loop.get("name"))] = {_LOOP: loop}
    return out


def _objects(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, Mapping):
                yield str(name), item
