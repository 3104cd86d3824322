"""What `check` says of a schedule: inline tests, gaps, overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin.notify.oncall.schedule import NOBODY, Schedule, on_call_at
from tocsin.notify.oncall.shifts import gaps, overlaps, span_text

AHEAD = timedelta(weeks=4)
"""How far `check` looks for gaps and overlaps."""
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineTest:
    """Who must be on call at an instant."""

    at: datetime  # UTC
    on_call: tuple[str, ...]  # in any order


def run_test(schedule: Schedule, test: InlineTest) -> str:
    """What is wrong: who is on call instead, and why; '' where the test passes."""
    found = on_call_at(schedule, test.at)
    if {each.who for each in found} == set(test.on_call):
        return ""
    wanted = " and ".join(test.on_call) or "nobody"
    instead = "; ".join(each.text for each in found) or NOBODY
    return f"at {test.at.astimezone(UTC):%Y-%m-%dT%H:%MZ} {wanted} should be on call, but {instead}"


def gap_text(schedule: Schedule, now: datetime) -> str:
    """What of the next weeks no layer covers, and who takes it; '' where all is covered."""
    found = gaps(schedule, now, now + AHEAD)
    if not found:
        return ""
    first = found[0]
    who = f"{schedule.uncovered} takes {'it' if len(found) == 1 else 'them'}" if schedule.uncovered else NOBODY
    return f"nothing covers {span_text(first.start, first.end, schedule.zone or _UTC)}{_more(found)}; {who}"


def overlap_text(schedule: Schedule, now: datetime) -> str:
    """What of the next weeks two layers cover with different people, and who wins; '' where there is no such time."""
    found = overlaps(schedule, now, now + AHEAD)
    if not found:
        return ""
    first = found[0]
    of = [each.of or each.who for each in first.covering]
    ends = "all are on call" if schedule.overlap_all else f"{of[-1]} wins"
    when = span_text(first.start, first.end, schedule.zone or _UTC)
    return f"{' and '.join(of)} both cover {when}{_more(found)}; {ends}"


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - 1} more in {AHEAD // timedelta(weeks=1)} weeks" if len(found) > 1 else ""
