"""What came of what is expected."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tocsin.logstore.interface import LogReader
from tocsin.rules.kinds.schedule.spec import Item, ScheduleRule
from tocsin.rules.queries import Failures, Hit, matches

ScheduleHit = Hit[ScheduleRule]
Key = tuple[str, str]
"""(rule, item)."""


class Arrivals:
    """Events that were expected, by item: asked as of a commit."""

    def __init__(self) -> None:
        self._of: dict[Key, list[ScheduleHit]] = {}  # by time

    @classmethod
    def of(
        cls,
        items: Iterable[tuple[ScheduleRule, Item]],
        reader: LogReader,
        rows_sql: str,
        params: Mapping[str, object],
        failures: Failures,
    ) -> Arrivals:
        """Those among ``rows_sql``."""
        found = cls()
        alone = [replace(rule, spec=replace(rule.spec, plan=item.plan, items=(item,))) for rule, item in items]
        for hit in matches(reader, alone, rows_sql, params, failures):
            (item,) = hit.rule.spec.items
            insort(found._of.setdefault((hit.rule.name, item.key), []), hit, key=_time)
        return found

    def first(self, rule: ScheduleRule, item: Item, span: tuple[int, int], seq: int) -> ScheduleHit | None:
        """The first that happened in ``span``, µs, both ends included, as of commit ``seq``."""
        hits = self._of.get((rule.name, item.key), [])
        some = hits[bisect_left(hits, span[0], key=_time) : bisect_right(hits, span[1], key=_time)]
        return next((hit for hit in some if hit.commit_seq <= seq), None)

    def brought(self, rule: ScheduleRule, item: Item, from_us: int, seqs: tuple[int, int]) -> ScheduleHit | None:
        """The first that commits in (first, last] of ``seqs`` brought, of those that happened from ``from_us`` on."""
        hits = self._of.get((rule.name, item.key), [])
        some = (hit for hit in hits[bisect_left(hits, from_us, key=_time) :] if seqs[0] < hit.commit_seq <= seqs[1])
        return min(some, key=lambda hit: (hit.commit_seq, hit.key.time_us), default=None)


def _time(hit: ScheduleHit) -> int:
    return hit.key.time_us
