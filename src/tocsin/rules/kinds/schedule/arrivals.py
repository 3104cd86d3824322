"""What came of what is expected: read of a few commits live, of a part of the history in a backtest."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from tocsin.logstore.interface import LogReader
from tocsin.model.remembered import Scheduled
from tocsin.rules.history import micros
from tocsin.rules.kinds.base import Part, Remembered, Span
from tocsin.rules.kinds.schedule.spec import Item, ScheduleRule
from tocsin.rules.queries import Failures, Hit, matches
from tocsin.rules.ranges import commits_in, head_before, ranges

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

    def take(self, more: Arrivals) -> None:
        """Those that came later."""
        for key, hits in more._of.items():
            self._of[key] = sorted([*self._of.get(key, ()), *hits], key=_time)

    def forget(self, before_us: int) -> None:
        """Those that happened before."""
        for hits in self._of.values():
            del hits[: bisect_left(hits, before_us, key=_time)]

    @property
    def seqs(self) -> set[int]:
        """The commits that brought them."""
        return {hit.commit_seq for hits in self._of.values() for hit in hits}

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


def candidates(rule: ScheduleRule, log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
    """The commits that bring what is expected, with what they bring.

    What happened before the first window that is waited for, and before the begin of what fires, is forgotten.
    """
    items = [(rule, item) for item in rule.spec.items]
    arrivals = Arrivals()
    for number, part in enumerate(ranges(log, span.since, span.until, span.rows)):
        begins = [timer.data.from_us for timer in remembered.timers if isinstance(timer.data, Scheduled)]
        if not number:  # the rule is not in force yet
            firsts = [(item, item.schedule.first(span.since)) for item in rule.spec.items]
            begins = [micros(at - item.schedule.early) for item, at in firsts if at is not None]
        first = min(begins, default=micros(span.since))
        if not number:
            begin = head_before(log, span.since).seq
            earlier = "TimeGenerated >= make_timestamp($first::BIGINT) AND CommitSeq <= $begin"
            arrivals.take(_read(items, log, earlier, {"first": first, "begin": begin}))
        arrivals.forget(first)
        new = _read(items, log, "CommitSeq > $lo AND CommitSeq <= $hi", {"lo": part.after, "hi": part.hi})
        arrivals.take(new)
        seqs = {"seqs": str(sorted(new.seqs))}
        among = "CommitSeq IN (SELECT unnest(($seqs::JSON)::BIGINT[]))"
        yield Part(
            commits=commits_in(log, part.after, part.hi, among, seqs), end=part.end, share=part.share, ahead=arrivals
        )


def _read(
    items: Iterable[tuple[ScheduleRule, Item]], log: LogReader, where: str, params: Mapping[str, object]
) -> Arrivals:
    failures = Failures()
    found = Arrivals.of(items, log, f"SELECT * FROM RunStatusChanged WHERE {where}", params, failures)
    for error in failures.rules.values():
        raise error
    return found
