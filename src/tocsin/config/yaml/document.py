"""YAML with line numbers and source text, validated by pydantic models; all faults of a file come at once.

Plain (unquoted) scalars arrive as ``Plain``, a ``str`` of the source text, so that a RunId ``1e5`` or ``007`` stays
what was written; pydantic's lax mode turns it into numbers and bools where a model asks for them, ``resolved`` does
where none does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tocsin.config.yaml import fast as fastyaml
from tocsin.errors import ConfigurationError, Problem

KeyPath = tuple[str | int, ...]
Loc = tuple[str | int, ...]  # pydantic's: with names of union members
M = TypeVar("M", bound=BaseModel)

MAX_DEPTH = 64
MAX_NODES = 1_000_000


class YamlModel(BaseModel):
    """Base of every model of a file that people write."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    FORMER: ClassVar[Mapping[str, str]] = {}
    """Words that users of other systems, or of an earlier version, write for a key: word -> key."""


class Plain(str):
    """Source text of an unquoted scalar."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """A parsed file: ``data`` of dicts, lists, ``Plain``, ``str`` and None, and the line of each key path."""

    file: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    text: str = ""

    def line(self, path: KeyPath) -> int:
        """The 1-based line of ``path``, or of its nearest parent that is known."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, path: KeyPath, value: str, line: int, column: int) -> tuple[int, int]:
        """Line and column in the file of a place (1-based) in ``value``, the text at ``path``. The column is 0 where
        escapes or folded lines hide it.
        """
        listed = value.split("\n")
        source = self.text.splitlines()
        first = self.line(path) - 1
        wanted = listed[line - 1]
        before = wanted[: column - 1]
        key = f"{path[-1]}:" if path else ""
        for number in range(first, min(first + len(listed) + 2, len(source))):
            start = source[number].find(key) + len(key) if number == first and key in source[number] else 0
            for escaped in _ESCAPES:
                at = source[number].find(escaped(wanted), start) if wanted.strip() else -1
                if at >= 0 and (number > first or len(listed) == 1):
                    return number + 1, at + len(escaped(before)) + 1
        return first + 1 + (line if len(listed) > 1 else 0), 0

    def problem(self, path: KeyPath, message: str, hint: str = "", *, warning: bool = False) -> Problem:
        """A problem at ``path``."""
        return Problem(
            file=self.file, line=self.line(path), key=dotted(path), message=message, hint=hint, warning=warning
        )


_ESCAPES: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: text.replace("'", "''"),
    lambda text: text.replace("\\", "\\\\").replace('"', '\\"'),
)
"""How a text may be written in YAML: as it is, in single quotes, in double quotes."""


def dotted(path: Iterable[str | int]) -> str:
    """``('rules', 0, 'when')`` as ``rules[0].when``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def load(text: str, file: str) -> Document:
    """Parse YAML. Raises ContentError with file and line for what is no YAML, for duplicate keys and for aliases
    that explode.
    """
    if (quick := fastyaml.read(text, Plain, MAX_DEPTH, MAX_NODES)) is not None:
        return Document(file, *quick, text)
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True  # found below, with both lines
    document = Document(file=file, data=None, text=text)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        what = " ".join(str(p) for p in (e.context, e.problem) if p)
        raise ConfigurationError(
            [Problem(file=file, line=mark.line + 1 if mark else 0, message=f"not valid YAML: {what}")]
        ) from e
    except (YAMLError, ValueError, RecursionError) as e:
        raise ConfigurationError([Problem(file=file, message=f"not valid YAML: {e}")]) from e
    problems: list[Problem] = []
    if root is not None:
        document.data = _build(root, (), document, problems, [0])
    if problems:
        raise ConfigurationError(problems)
    return document


def load_file(path: Path, name: str | None = None) -> Document:
    """Parse the YAML file at ``path``; problems call it ``name``. Raises ContentError, also where it cannot be read."""
    shown = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError([Problem(file=shown, message=f"cannot be read: {e}")]) from e
    return load(text, shown)


def _build(node: Node, path: KeyPath, document: Document, problems: list[Problem], count: list[int]) -> Any:
    count[0] += 1
    if count[0] > MAX_NODES or len(path) > MAX_DEPTH:
        raise ConfigurationError(
            [Problem(file=document.file, line=node.start_mark.line + 1, message="too large or too deeply nested")]
        )
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, ScalarNode):
        if node.style is None:
            return None if node.value in ("", "~", "null", "Null", "NULL") else Plain(node.value)
        return str(node.value)
    if isinstance(node, SequenceNode):
        return [_build(child, (*path, i), document, problems, count) for i, child in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            problems.append(
                Problem(file=document.file, line=line, key=dotted(path), message="a key must be a plain word")
            )
            continue
        key = str(key_node.value)
        if key in out:
            problems.append(Problem(
                file=document.file, line=line, key=dotted((*path, key)),
                message=f"given twice, first on line {document.lines[(*path, key)]}",
            ))  # fmt: skip
            continue
        document.lines[(*path, key)] = line
        out[key] = _build(value_node, (*path, key), document, problems, count)
    return out


_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def resolved(value: Any) -> Any:
    """``value`` with every ``Plain`` read as YAML 1.2 would: numbers, true/false, else text."""
    if isinstance(value, Plain):
        if value in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return value.lower() == "true"
        if _INT.fullmatch(value):
            return int(value)
        if _FLOAT.fullmatch(value):
            return float(value)
        return str(value)
    if isinstance(value, Mapping):
        return {k: resolved(v) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(v) for v in value]
    return value


def parse(model: type[M], document: Document, path: KeyPath = ()) -> M:
    """Validate what stands at ``path``. Raises ContentError with every fault, each with its line and what would be
    right.
    """
    data = _at(document, path)
    try:
        return model.model_validate(data)
    except ValidationError as e:
        errors = [*e.errors(), *_across(model, data, e.errors())]
        raise ConfigurationError([_problem(document, path, error, model) for error in errors]) from e


def parse_known(model: type[M], document: Document, path: KeyPath = ()) -> M | None:
    """What stands at ``path``, without keys that are unknown; None where anything else is wrong."""
    data = _at(document, path)
    try:
        return model.model_validate(data)
    except ValidationError as e:
        unknown = _unknown(e.errors())
    try:
        return model.model_validate(_without(data, unknown)) if unknown else None
    except ValidationError:
        return None


def _at(document: Document, path: KeyPath) -> Any:
    data = document.data
    for part in path:
        data = data[part]
    return data


def _across(model: type[BaseModel], data: Any, errors: Sequence[Any]) -> list[Any]:
    """Faults of several fields together, which pydantic does not look for beside an unknown key. A misspelt key counts as
    the one that is meant.
    """
    if not (unknown := _unknown(errors)):
        return []
    try:
        model.model_validate(_without(data, [(loc, _meant(model, loc)) for loc, _ in unknown]))
    except ValidationError as e:
        said = {(error["loc"], error["msg"]) for error in errors}
        return [x for x in e.errors() if x["type"] == "value_error" and (x["loc"], x["msg"]) not in said]
    return []


def _unknown(errors: Sequence[Any]) -> list[tuple[Loc, str]]:
    return [(error["loc"], "") for error in errors if error["type"] == "extra_forbidden"]


def _meant(model: type[BaseModel], loc: Loc) -> str:
    """The key that was meant by the unknown one at ``loc``; '' where none is near."""
    owner, word = _model_at(model, loc[:-1]), str(loc[-1])
    return getattr(owner, "FORMER", {}).get(word) or _nearest(word, _keys(owner))


def _without(data: Any, places: Iterable[tuple[Loc, str]]) -> Any:
    """``data`` but for what stands at ``places``, each with another name for its key, '' for none. Names of union members
    in them are passed over, as in ``_real``.
    """
    below: dict[str | int, list[tuple[Loc, str]]] = {}
    for place, name in places:
        while place and not _has(data, place[0]):
            place = place[1:]
        if place:
            below.setdefault(place[0], []).append((place[1:], name))
    if isinstance(data, list):
        return [_without(v, below.get(i, ())) for i, v in enumerate(data)] if below else data
    if not isinstance(data, Mapping):
        return data
    out: dict[Any, Any] = {}
    for key, value in data.items():
        named = next((name for place, name in below.get(key, ()) if not place), None)
        if named is None:
            out[key] = _without(value, below.get(key, ()))
        elif named and named not in data:
            out[named] = value
    return out


def _has(data: Any, part: str | int) -> bool:
    return (
        part in data
        if isinstance(data, Mapping)
        else isinstance(part, int) and isinstance(data, list) and part < len(data)
    )


def _problem(document: Document, base: KeyPath, error: Any, model: type[BaseModel]) -> Problem:
    path: KeyPath = (*base, *(_real(document, base, error["loc"])))
    message, hint = str(error["msg"]).removeprefix("Value error, "), ""
    if error["type"] == "extra_forbidden":
        message = "is not a key that is known here"
        owner = _model_at(model, error["loc"][:-1])
        former = getattr(owner, "FORMER", {}).get(str(path[-1]))
        hint = f"did you mean '{former}'?" if former else suggest(str(path[-1]), _keys(owner))
    elif error["type"] in ("enum", "literal_error"):
        expected = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        message = f"{error['input']!r} is none of {', '.join(expected)}"
        hint = suggest(str(error["input"]), expected)
    elif error["type"] == "missing":
        message = "is missing"
    elif (plain := _in_plain_words(error)) is not None:
        message = plain
    elif "; " in message:
        message, hint = message.split("; ", 1)
    return document.problem(path, message, hint)


def _in_plain_words(error: Any) -> str | None:
    """What pydantic says, with the bad value and in the words of a file. Secrets are text, of which no value is
    shown.
    """
    kind, bounds = str(error["type"]), error.get("ctx", {})
    given = f"'{error['input']}'" if isinstance(error["input"], str | int | float) else "this"
    words = {
        "int_parsing": f"{given} is not a whole number",
        "int_from_float": f"{given} is not a whole number",
        "float_parsing": f"{given} is not a number",
        "bool_parsing": f"{given} is neither true nor false",
        "string_type": "must be text",
        "model_type": "must be keys and values",
        "model_attributes_type": "must be keys and values",
        "dict_type": "must be keys and values",
        "list_type": "must be a list",
        "tuple_type": "must be a list",
        "greater_than": f"must be more than {bounds.get('gt')}",
        "greater_than_equal": f"must be {bounds.get('ge')} or more",
        "less_than": f"must be less than {bounds.get('lt')}",
        "less_than_equal": f"must be {bounds.get('le')} or less",
        "too_short": "must not be empty" if bounds.get("min_length") == 1 else None,
        "string_too_short": "must not be empty" if bounds.get("min_length") == 1 else None,
    }
    return words.get(kind)


def _real(document: Document, base: KeyPath, loc: Iterable[str | int]) -> KeyPath:
    """``loc`` without the names of union members that pydantic puts into it; a missing key at the end stays."""
    data = _at(document, base)
    out: list[str | int] = []
    parts = list(loc)
    for i, part in enumerate(parts):
        if _has(data, part):
            data = data[part]
            out.append(part)
        elif i == len(parts) - 1 and isinstance(data, Mapping) and re.fullmatch(r"\w+", str(part)):
            out.append(part)
    return tuple(out)


def _model_at(model: type[BaseModel], loc: Iterable[str | int]) -> Any:
    current: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        match = next((f for n, f in fields.items() if n == part or f.alias == part), None)
        if match is None:
            continue
        current = _model_in(match.annotation) or current
    return current


def _keys(model: Any) -> list[str]:
    return [f.alias or n for n, f in getattr(model, "model_fields", {}).items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for arg in getattr(annotation, "__args__", ()):
        if (found := _model_in(arg)) is not None:
            return found
    return None


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` where something known is near, else the list of what is known."""
    known = list(known)
    if near := _nearest(word, known):
        return f"did you mean '{near}'?"
    return f"known are {', '.join(sorted(known))}" if known and len(known) <= 40 else ""


def _nearest(word: str, known: Iterable[str]) -> str:
    lowered = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1)
    return lowered[near[0]] if near else ""


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(Generic[T]):
    """A model where it is written."""

    model: T
    document: Document
    path: KeyPath

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.document.file}:{self.document.line(self.path)}"

    def problem(self, path: KeyPath, message: str, hint: str = "", *, warning: bool = False) -> Problem:
        """A problem of it, ``path`` from it on."""
        return self.document.problem((*self.path, *path), message, hint, warning=warning)
