"""In: trees of duckdb_kql, and its functions.
Out: the few of them that tocsin uses, with what it corrects (``extras``) and what it adds (``types``, ``describe``).
Callers: all of ``kql``.
Never: is passed by; no other room imports duckdb_kql.
Start reading at ``upstream.py``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Upstream without its parser, which is loaded when a query needs it.
#
# The parser is 28,000 lines that a grammar was turned into: 0.4 s of CPU at every start, for queries that ``parse``
# mostly reads by itself. Upstream names two classes of it, and only to make one of each for a query.
_CLASSES = ("KqlLexer", "KqlParser")


def without_parser() -> None:
    """Import upstream so that its lexer and parser are loaded when first called. Does nothing where it is imported
    already.
    """
    if "duckdb_kql" in sys.modules:
        return
    names = {f"duckdb_kql._antlr.{name}": name for name in _CLASSES}
    for module, name in names.items():
        stand_in = ModuleType(module)
        setattr(stand_in, name, _made_late(module, name))
        sys.modules[module] = stand_in
    try:
        importlib.import_module("duckdb_kql")
        importlib.import_module("duckdb_kql.lower")
    finally:
        for module in names:
            del sys.modules[module]


def _made_late(module: str, name: str) -> Callable[..., Any]:
    def make(*args: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args)

    return make


without_parser()
