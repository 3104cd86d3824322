"""What a window rule sees at many instants, read at once: the answers that its evaluations at each of them would
have got.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from tocsin.alerts.conditions import NoData
from tocsin.errors import QueryError
from tocsin.kql.plan.windowahead import AheadPlan
from tocsin.kql.plan.windowplan import EVENTS
from tocsin.logstore.interface import Limits, LogReader
from tocsin.model.remembered import ConditionState
from tocsin.rules.history import micros
from tocsin.rules.kinds.window.instance_rows import InstanceRows, Rows, row_key
from tocsin.rules.kinds.window.spec import WindowRule

LIMITS = Limits(seconds=60.0, rows=2_000_000)
_US = timedelta(microseconds=1)
_View = tuple[bool, bool, int | None] | None
"""What decides about an instance: whether it holds, is clear, and how severe it is; None without data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Ticks and commits in the order of their instants; T in µs since the epoch, and the last commit that each sees."""

    times: Sequence[int]
    seqs: Sequence[int]
    rows: Sequence[int]  # of a commit that can matter; 0 of a tick
    before: int  # the last commit before them
    came: int  # rows that came meanwhile

    def __len__(self) -> int:
        return len(self.times)

    def part(self, begin: int, end: int) -> Moments:
        """Those of these numbers."""
        return Moments(
            times=self.times[begin:end],
            seqs=self.seqs[begin:end],
            rows=self.rows[begin:end],
            before=self.seqs[begin - 1] if begin else self.before,
            came=self.came * (end - begin) // len(self),
        )

    def find(self, at: datetime, commit_seq: int) -> int | None:
        """The number of an instant."""
        us = micros(at)
        number = bisect_left(self.times, us)
        while number < len(self.times) and self.times[number] == us:
            if self.seqs[number] == commit_seq:
                return number
            number += 1
        return None


@dataclass(slots=True)
class _Timeline:
    """What rows say of one key as time goes on."""

    since: list[int] = field(default_factory=list)  # moments at which its rows change
    rows: list[tuple[int, ...]] = field(default_factory=list)  # from then on
    news: list[int] = field(default_factory=list)  # moments at which its view changes
    view: _View = None  # the last one

    def rows_at(self, number: int) -> tuple[int, ...]:
        place = bisect_right(self.since, number) - 1
        return self.rows[place] if place >= 0 else ()


class Ahead:
    """What rows say of one rule at each of ``moments``."""

    def __init__(
        self, rule: WindowRule, plan: AheadPlan, moments: Moments, known: Collection[str], reader: LogReader
    ) -> None:
        """Reads. ``known`` are the keys of rows that are remembered before the first of ``moments``.

        Raises QueryError and StoreLost of the reader, and QueryError where it is too much to be read at once.
        """
        window = rule.spec
        assert isinstance(window.over, timedelta)
        self.rule, self.moments, self._shown = rule, moments, plan.columns
        self._every = window.terms.no_data is NoData.ALERT
        lateness = window.lateness // _US
        sql, parameters = plan.bind(
            [t - lateness for t in moments.times],
            moments.seqs,
            reader.table(EVENTS),
            window.over // _US,
            list(known),
            every=self._every,
            reach=window.reach // _US,
        )
        table = reader.select(sql, parameters, LIMITS)
        if table.num_rows >= LIMITS.rows:
            raise QueryError("there are too many rows to be read at once")
        self._timelines: dict[str, _Timeline] = {}
        self._begins: list[int] = []
        self.rises: set[int] = set()
        """Moments at which something holds that did not, or as severely, or of which there was nothing."""
        self._most = 0  # keys that hold at one moment
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
        self._rows = Rows(columns, self._shown)
        self._passed: list[bool | None] = columns["holds"]
        self._clear: list[bool | None] | None = columns[window.clear] if window.clear else None
        self._read(columns["nth"], columns["grp"], columns["key"])

    def seen(self, at: datetime, commit_seq: int, states: Iterable[ConditionState]) -> dict[str, InstanceRows] | None:
        """By row key what an evaluation at this instant sees, with ``states`` remembered; None where it is none of the
        moments.
        """
        number = self.moments.find(at, commit_seq)
        if number is None:
            return None
        known = {row_key(state) for state in states}
        found: dict[str, InstanceRows] = {}
        for key, timeline in self._timelines.items():
            whole = self._every or key in known
            for i in timeline.rows_at(number):
                if whole or self._passed[i]:
                    self._rows.add(self.rule, i, found.setdefault(key, InstanceRows(clear=True)))
        return found

    @property
    def crowded(self) -> bool:
        """Whether at some moment more instances hold than the rule may have: then all of them are evaluated, always."""
        return self._most > self.rule.spec.max_instances

    def begins(self, number: int) -> int:
        """The first moment from ``number`` on at which something begins to hold; the end without."""
        place = bisect_left(self._begins, number)
        return self._begins[place] if place < len(self._begins) else len(self.moments)

    def news(self, key: str, number: int) -> int:
        """The first moment after ``number`` at which an evaluation at ``key`` may see something else; the end
        without.
        """
        timeline = self._timelines.get(key)
        place = bisect_right(timeline.news, number) if timeline is not None else 0
        return timeline.news[place] if timeline is not None and place < len(timeline.news) else len(self.moments)

    def _read(self, since: Sequence[int], groups: Sequence[int], keys: Sequence[str | None]) -> None:
        """The stories of all keys: each moment's groups replace what they said before."""
        said: dict[int, dict[str, tuple[int, ...]]] = {}  # group → key → rows
        parts: dict[str, dict[int, tuple[int, ...]]] = {}  # key → group → rows
        holding = 0
        for number, changed in groupby(range(len(since)), key=since.__getitem__):
            touched: set[str] = set()
            for group, rows in groupby(changed, key=groups.__getitem__):
                for key in said.pop(group, ()):
                    del parts[key][group]
                    touched.add(key)
                now: dict[str, tuple[int, ...]] = {}
                for i in rows:
                    if (key_ := keys[i]) is not None:
                        now[key_] = (*now.get(key_, ()), i)
                for key, mine in now.items():
                    parts.setdefault(key, {})[group] = mine
                touched |= now.keys()
                said[group] = now
            for key in touched:
                holding += self._turn(key, number, tuple(i for mine in parts[key].values() for i in mine))
            self._most = max(self._most, holding)
        self._begins.sort()

    def _turn(self, key: str, number: int, rows: tuple[int, ...]) -> int:
        """A key has these rows from a moment on. Returns by how much that changes the number of those that hold."""
        timeline = self._timelines.setdefault(key, _Timeline())
        timeline.since.append(number)
        timeline.rows.append(rows)
        before, view = timeline.view, self._view(rows)
        if view == before:
            return 0
        timeline.view = view
        timeline.news.append(number)
        held, holds = before is not None and before[0], view is not None and view[0]
        fresh = self._every and before is None  # the day it falls silent is what the rule waits for
        if (holds and not held) or fresh:
            self._begins.append(number)
        if holds or fresh:
            self.rises.add(number)
        return holds - held

    def _view(self, rows: tuple[int, ...]) -> _View:
        if not rows:
            return None
        severities = [s for i in rows if self._passed[i] and (s := self._rows.severity(self.rule, i)) is not None]
        clear = self._clear is None or all(self._clear[i] for i in rows)
        return bool(severities), clear, min(severities, default=None)
