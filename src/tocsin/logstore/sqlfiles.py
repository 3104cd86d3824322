"""Named SQL statements: ``sql/<name>.sql``, one statement a file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """The text of ``sql/<name>.sql`` without its header comment. Raises FileNotFoundError for an unknown name."""
    text = (files("tocsin.logstore") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()


def fold_sql(*, ended: bool = True, sparse: bool = True) -> str:
    """The fold of runs over the relations ``line``, ``placed`` and ``base``, to stand after ``WITH …,``; columns of
    tocsin.runs come out. False, where ``sql/odd_events.sql`` has found so, saves the planning of what is not needed.
    """
    steps = sql("follow_events") if ended else "SELECT *, true AS follows, true AS newest FROM placed"
    said = sql("said_before") if sparse else "FROM base LIMIT 0"
    return f"steps AS MATERIALIZED ({steps}), sums AS MATERIALIZED ({sql('sum_steps')}), said AS ({said}), {sql('fold_runs')}"
