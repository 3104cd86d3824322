"""Rules as plain data, with their file's defaults: what an export starts from and an import ends with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin.config.yaml.document import Document, load_file, parse, resolved
from tocsin.errors import ConfigurationError, Problem
from tocsin.rules.kinds.registry import rule_model
from tocsin.rules.language.schema import Defaults

LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPED = frozenset({"events", "tables", "firing", "pending"})
"""Keys of inline tests under which a number is something else than its text."""
_FLAGS = frozenset({"enabled", "final", "only", "send_resolved"})
"""Keys whose value is true or false, not its text."""


def rules_of_files(files: Sequence[Path], names: Mapping[Path, str]) -> list[dict[str, Any]]:
    """Every rule of ``files``, validated, defaults included. Raises ContentError with every problem."""
    problems: list[Problem] = []
    out: list[dict[str, Any]] = []
    for path in files:
        try:
            out += rules_of_document(load_file(path, names.get(path)))
        except ConfigurationError as e:
            problems += e.problems
    if problems:
        raise ConfigurationError(problems)
    return out


def rules_of_document(document: Document) -> Iterator[dict[str, Any]]:
    """The same for one file."""
    data = document.data if isinstance(document.data, Mapping) else {}
    defaults: Mapping[str, Any] = {}
    if "defaults" in data:
        parse(Defaults, document, ("defaults",))
        defaults = data["defaults"] or {}
    entries = data.get("rules")
    for i, entry in enumerate(entries if isinstance(entries, list) else ()):
        parse(rule_model(), document, ("rules", i))
        yield as_data(with_defaults(entry, defaults))


def with_defaults(rule: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the rule says, else its file; ``labels`` and ``annotations`` are merged."""
    out = {**{k: v for k, v in defaults.items() if k not in rule}, **rule}
    for key in ("labels", "annotations"):
        if defaults.get(key) and rule.get(key):
            out[key] = {**defaults[key], **rule[key]}
    return {"name": out.pop("name"), **out}


def as_data(value: Any, *, typed: bool = False) -> Any:
    """YAML's values as JSON can hold them; the text of numbers that are not meant as such stays."""
    if isinstance(value, Mapping):
        return {
            str(k): v == "true" if k in _FLAGS and v in ("true", "false") else as_data(v, typed=typed or k in _TYPED)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [as_data(v, typed=typed) for v in value]
    if not isinstance(value, str):
        return value
    if typed:
        number = resolved(value)
        text = str(number).lower() if isinstance(number, bool) else str(number)
        if not isinstance(number, str) and text == value:
            return number
    return str(value)
