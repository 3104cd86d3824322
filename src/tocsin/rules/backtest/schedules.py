"""Backtests of absence rules by a schedule: deadlines by which nothing had come, in the order of their instants.

    scheduled   S1   D1         S2   D2         S3   D3
    came           x                       x               [S2, D2]: nothing, so D2 fires; x after D2 ends it
    evaluated        -               D2               D3   a deadline by which something had come is passed over

What is expected is looked up once for a part of the history. A deadline by which nothing had come, the commits that
bring what a firing
instance waits for, and its repeats are evaluated one after the other by the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tocsin.logstore.interface import LogReader
from tocsin.model.alert import Phase
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.backtest.view import Recorder, commit
from tocsin.rules.backtest.watermarks import OutageCalendar, Outages
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.history import listed, micros, moment
from tocsin.rules.kinds.schedule import evaluate as absence_judge
from tocsin.rules.kinds.schedule.spec import Item, ScheduleRule
from tocsin.rules.memory import Memory, RuleFailure
from tocsin.rules.queries import Failures, matches
from tocsin.rules.timers import Released
from tocsin.state.interface import RuleRecord

PART = 500_000
"""Rows of the history that are evaluated together, about."""
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Came:
    """An event that was expected."""

    at_us: int  # when it arrived
    seq: int
    time_us: int  # when it happened


@dataclass(slots=True)
class _Line:
    """One thing that is expected, on its way."""

    item: Item
    deadline: Timer | None  # the next one
    came: list[_Came] = field(default_factory=list)  # that may count for it, in order of arrival


def play(
    rule: ScheduleRule,
    log: LogReader,
    since: datetime,
    until: datetime,
    outages: Outages,
    take: Callable[[Evaluation], bool],
    part_done: Callable[[float], None],
) -> None:
    """As ``backtest.deadlines.play``, for an absence rule by a schedule."""
    timeline = _Timeline(rule, log, OutageCalendar(outages), take, until)
    parts = list(_parts(log, since, until))
    timeline.begin(since)
    for number, (begin, end) in enumerate(parts, 1):
        timeline.bring(begin, end)
        if not timeline.go_on(end):
            return
        part_done(number / len(parts))


def _parts(log: LogReader, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    table = log.select(
        "SELECT count(*) FROM RunStatusChanged WHERE IngestedAt >= make_timestamp($since::BIGINT)"
        " AND IngestedAt < make_timestamp($until::BIGINT)",
        {"since": micros(since), "until": micros(until)},
    )
    parts = max(1, -(-int(table.column(0)[0].as_py()) // PART))
    for n in range(parts):
        yield since + n * (until - since) / parts, since + (n + 1) * (until - since) / parts


class _Timeline:
    """All that a rule waits for, in the order of instants."""

    def __init__(
        self,
        rule: ScheduleRule,
        log: LogReader,
        silences: OutageCalendar,
        take: Callable[[Evaluation], bool],
        until: datetime,
    ) -> None:
        self._rule, self._log, self._silences, self._take, self._until = rule, log, silences, take, until
        self._recorder = Recorder([RuleRecord(name=rule.name, meaning=rule.meaning, start_seq=0)])
        self._lines: dict[str, _Line] = {}
        self._coming: list[tuple[_Came, str]] = []  # of this part, with the key of its item; in order
        self._at_us = 0  # where this part begins
        self._works = True

    def begin(self, since: datetime) -> None:
        """The rule comes into force."""
        for item in self._rule.spec.items:
            self._lines[item.key] = _Line(item, self._deadline(item, item.schedule.first(since)))
        first = min(
            (int(str(line.deadline.data["from_us"])) for line in self._lines.values() if line.deadline), default=None
        )
        if first is not None:
            for came, key in self._found("TimeGenerated >= make_timestamp($first::BIGINT) AND IngestedAt < make_timestamp($end::BIGINT)",
                                         {"first": first, "end": micros(since)}):  # fmt: skip
                self._lines[key].came.append(came)

    def bring(self, begin: datetime, end: datetime) -> None:
        """What arrived in [begin, end)."""
        self._at_us = micros(begin)
        self._coming = self._found(
            "IngestedAt >= make_timestamp($begin::BIGINT) AND IngestedAt < make_timestamp($end::BIGINT)",
            {"begin": micros(begin), "end": micros(end)},
        )

    def go_on(self, end: datetime) -> bool:
        """Everything before ``end``. Returns whether the rule works on."""
        arrivals = iter([*self._coming, None])
        arrival = next(arrivals)
        while self._works:
            timer, at = self._next_timer()
            if arrival is not None and (at is None or moment(arrival[0].at_us) <= at):
                self._arrives(*arrival)
                arrival = next(arrivals)
            elif timer is not None and at is not None and at < end:
                self._comes_due(timer, at)
            else:
                break
        return self._works

    def _next_timer(self) -> tuple[Timer | None, datetime | None]:
        timers = [line.deadline for line in self._lines.values() if line.deadline is not None]
        timers += [t for t in self._recorder.due(self._until) if t.kind is not TimerKind.DEADLINE]
        found = [(self._release(timer), timer.kind.value, timer.key) for timer in timers]
        if not found:
            return None, None
        at, kind, key = min(found)
        return next(t for t in timers if (t.kind.value, t.key) == (kind, key)), at

    def _release(self, timer: Timer) -> datetime:
        """When everybody reported up to its due time."""
        consumer = self._rule.spec.consumer
        at, held = timer.due, None
        while at != held:
            held, at = at, self._silences.hold(at, {consumer} if consumer else self._silences.names)
        return at

    def _arrives(self, came: _Came, key: str) -> None:
        line = self._lines[key]
        line.came.append(came)
        state = self._recorder.conditions(self._rule.name).get(key)
        if state is None or state.phase not in (Phase.FIRING, Phase.RECOVERING):
            return
        if came.time_us < int(str(state.data.get("from_us", 0))):
            return
        memory = Memory(self._recorder)
        failures = absence_judge.on_commits(
            [self._rule], [commit(came.seq, came.at_us, 1)], came.seq - 1, self._log, memory
        )
        self._decided(memory, failures, moment(came.at_us), came.seq)

    def _comes_due(self, timer: Timer, at: datetime) -> None:
        line = self._lines[timer.key]
        state = self._recorder.conditions(self._rule.name).get(timer.key)
        if timer.kind is not TimerKind.DEADLINE:
            memory, seq = Memory(self._recorder), self._as_of(at)
            absence_judge.on_wake(
                Released(timer=timer, at=at, commit_seq=seq), self._rule, memory, self._silences.source_progress(at)
            )
            self._decided(memory, Failures(), at, seq)
            return
        scheduled, start = int(str(timer.data["at_us"])), int(str(timer.data["from_us"]))
        due = micros(absence_judge.due_of(self._rule, line.item, moment(scheduled)))
        in_time = any(start <= c.time_us <= due for c in line.came)
        if state is not None or not in_time:  # it ends or begins, or one more was missed
            memory, seq = Memory(self._recorder), self._as_of(at)
            each = Released(timer=timer, at=at, commit_seq=seq)
            failures = absence_judge.on_deadlines(
                [each], {self._rule.name: self._rule}, self._log, memory, self._silences.source_progress(at)
            )
            self._decided(memory, failures, at, seq)
        line.deadline = self._deadline(line.item, line.item.schedule.after(moment(scheduled)))
        if line.deadline is not None:
            start = int(str(line.deadline.data["from_us"]))
            line.came = [c for c in line.came if c.time_us >= start]

    def _deadline(self, item: Item, scheduled: datetime | None) -> Timer | None:
        return None if scheduled is None else absence_judge.deadline(self._rule, item, scheduled)

    def _decided(self, memory: Memory, failures: Failures, at: datetime, seq: int) -> None:
        for name, error in failures.rules.items():
            memory.failures.append(RuleFailure(rule=name, error=str(error), at=at, commit_seq=seq))
        outcome = memory.outcome()
        self._recorder.take(outcome)
        self._works = self._take(Evaluation(outcome=outcome, failures=tuple(memory.failures))) and self._works

    def _as_of(self, at: datetime) -> int:
        """The last commit that had come by ``at``."""
        table = self._log.select(
            "SELECT max(CommitSeq) FROM RunStatusChanged WHERE IngestedAt <= make_timestamp($at::BIGINT)"
            " AND IngestedAt >= make_timestamp($begin::BIGINT)",
            {"at": micros(at), "begin": self._at_us},
        )
        found = table.column(0)[0].as_py()
        if found is None:
            table = self._log.select(
                "SELECT max(CommitSeq) FROM RunStatusChanged WHERE IngestedAt <= make_timestamp($at::BIGINT)",
                {"at": micros(at)},
            )
            found = table.column(0)[0].as_py()
        return int(found or 0)

    def _found(self, where: str, params: dict[str, object]) -> list[tuple[_Came, str]]:
        """What is expected of the events that ``where`` says, in order of arrival."""
        standing = [
            replace(self._rule, spec=replace(self._rule.spec, plan=line.item.plan)) for line in self._lines.values()
        ]
        keys = dict(zip(map(id, standing), self._lines, strict=True))
        failures = Failures()
        hits = matches(self._log, standing, f"SELECT * FROM RunStatusChanged WHERE {where}", params, failures)
        for error in failures.rules.values():
            raise error
        stamps = self._log.select(
            f"SELECT CommitSeq, epoch_us(min(IngestedAt)) FROM RunStatusChanged WHERE {where}"
            " AND CommitSeq IN (SELECT unnest(($seqs::JSON)::BIGINT[])) GROUP BY CommitSeq",
            {**params, "seqs": listed(str(hit.commit_seq) for hit in hits)},
        )
        at = dict(zip(stamps.column(0).to_pylist(), stamps.column(1).to_pylist(), strict=True))
        found = [(_Came(at[h.commit_seq], h.commit_seq, h.key.time_us), keys[id(h.rule)]) for h in hits]
        return sorted(found, key=lambda f: (f[0].seq, f[0].time_us, f[1]))
