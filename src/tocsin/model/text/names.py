"""Names in JSON: those of KQL's columns, so that a program meets one case everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def column_name(name: str) -> str:
    """The column's name of one in Python or YAML: ``next_evaluation`` is ``NextEvaluation``."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def by_columns(facts: Mapping[str, Any]) -> dict[str, Any]:
    """``facts`` under the names of columns; what stands in them stays."""
    return {column_name(name): value for name, value in facts.items()}
