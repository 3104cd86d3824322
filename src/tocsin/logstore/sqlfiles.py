"""Named SQL statements: ``sql/<name>.sql``, one statement a file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """The text of ``sql/<name>.sql`` without its header comment. Raises FileNotFoundError for an unknown name."""
    text = (files("tocsin.logstore") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
