"""Events that a `when:` names, as KQL."""

from __future__ import annotations

from collections.abc import Sequence


def events_query(
    statuses: Sequence[str], where: str, before: Sequence[str] = (), after: Sequence[str] = ()
) -> tuple[str, int]:
    """The query, and the line on which the text of ``where`` begins. Lines ``before`` and ``after`` it are KQL."""
    lines = [*before, "RunStatusChanged"]
    if statuses:
        lines.append(f"| where {status_in(statuses)}")
    begins = len(lines) + 1
    if where:
        lines += ["| where (", where, ")"]
        begins += 1
    return "\n".join([*lines, *after]), begins


def status_in(statuses: Sequence[str]) -> str:
    """A predicate: one of these statuses."""
    quoted = ", ".join(f"'{status}'" for status in statuses)
    return f"Status {f'in ({quoted})' if len(statuses) > 1 else f'== {quoted}'}"
