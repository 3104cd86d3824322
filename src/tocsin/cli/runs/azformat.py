"""Output as in az: ``--query`` JMESPath over what is printed, ``-o`` json, jsonc, none, table, tsv, yaml, yamlc."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin.cli.common import fail, table, visible

FORMATS = ("json", "jsonc", "none", "table", "tsv", "yaml", "yamlc")


def check_format(name: str) -> str:
    """``name`` where it is a format; else the command ends with 2."""
    if name not in FORMATS:
        fail(f"-o {name!r} is no format", ", ".join(FORMATS), 2)
    return name


def queried(value: Any, query: str) -> Any:
    """What the JMESPath ``query`` finds in ``value``; the whole where it is ''. Ends with 2 where it is wrong."""
    if not query:
        return value
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(query, value)
    except JMESPathError as e:
        fail(
            f"--query: {str(e).splitlines()[0]}: {query}",
            "quote it for the shell, e.g. --query \"[?tags.quality=='good']\"",
            2,
        )


def emit(value: Any, form: str) -> None:
    """Print ``value`` (of JSON's types) in a format of FORMATS."""
    if form == "none":
        return
    value = _finite(value)
    if form in ("json", "jsonc"):
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        print(_colored(text, "json") if form == "jsonc" else text)
    elif form in ("yaml", "yamlc"):
        import yaml  # type: ignore[import-untyped]

        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")
        print(_colored(text, "yaml") if form == "yamlc" else text)
    elif form == "tsv":
        for row in value if isinstance(value, list) else [value]:
            print("\t".join(_cell(cell) for cell in _cells(row)))
    else:
        _print_table(value)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _colored(text: str, language: str) -> str:
    """With colours where stdout is a terminal, as az has them."""
    if not sys.stdout.isatty():
        return text
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console()
    with console.capture() as captured:
        console.print(Syntax(text, language, background_color="default", word_wrap=True))
    return captured.get().rstrip("\n")


def _cells(row: Any) -> list[Any]:
    if isinstance(row, Mapping):
        return list(row.values())
    return list(row) if isinstance(row, list) else [row]


def _cell(value: Any) -> str:
    """Nested values are left out, as in az."""
    if value is None or isinstance(value, Mapping | list):
        return ""
    return visible(str(value)).replace("\t", " ").replace("\n", " ")


def _print_table(value: Any) -> None:
    rows: Sequence[Any] = value if isinstance(value, list) else [] if value is None else [value]
    if not rows:
        return
    if not all(isinstance(row, Mapping) for row in rows):
        table(["Result"] if not isinstance(rows[0], list) else [f"Column{i + 1}" for i in range(len(rows[0]))],
              [[_cell(cell) for cell in _cells(row)] for row in rows])  # fmt: skip
        return
    keys = {key: None for row in rows for key, cell in row.items() if not isinstance(cell, Mapping | list)}
    table([_heading(key) for key in keys], [[_cell(row.get(key)) for key in keys] for row in rows])


def _heading(key: str) -> str:
    """``run_id`` as RunId; az capitalises the first letter."""
    return "".join(part[:1].upper() + part[1:] for part in str(key).split("_"))
