"""Names of rules."""

from __future__ import annotations


def public_name(name: str) -> str:
    """The name as written of a rule that may be one of a row: ``slow`` for ``slow[churn]``."""
    return name.partition("[")[0]
