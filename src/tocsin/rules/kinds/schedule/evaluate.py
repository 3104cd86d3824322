"""Absence rules by a schedule, over deadlines and commits.

schedule                               S                                    S2
window                 [ S - early ──── S ──── grace ──── D ]        [ S2 - early ── …
                                                         evaluated when all consumers have reported up to D
came          at D + 8m: it ends as "38 min late", counted from S, and may also meet S2
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.alerts.conditions import Evaluation, ended_by
from tocsin.config.yaml.durations import in_words
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import Phase, Why
from tocsin.model.details import Wait
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.remembered import ConditionState, Missed, Scheduled
from tocsin.model.statuses import TERMINAL
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.history import Row, micros, moment, whole_rows
from tocsin.rules.kinds import pausing
from tocsin.rules.kinds.schedule.arrivals import Arrivals, ScheduleHit
from tocsin.rules.kinds.schedule.spec import Item, ScheduleRule
from tocsin.rules.kinds.waiting import Subject, see
from tocsin.rules.memory import Memory
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released

AGAIN = timedelta(seconds=30)
IN_TIME = "came in time, and was received late"
_US = timedelta(microseconds=1)
EVERYBODY = frozenset({"*"})
"""Held until it is known who is to be waited for."""


def schedule_deadlines(
    rules: Iterable[ScheduleRule], timers: Collection[Timer], memory: Memory, at: datetime, commit_seq: int
) -> None:
    """Set the deadlines of ``rules`` that are new or mean something else; end without a notification what is expected no more.

    ``timers`` are those that are set. A new schedule begins with its first window that begins at ``at`` or later.
    """
    known = {(t.rule, t.key): t for t in timers if t.kind is TimerKind.DEADLINE}
    for rule in rules:
        items = {item.key: item for item in rule.spec.items}
        for (name, key), timer in known.items():
            if name == rule.name and key not in items:
                memory.drop_timer(timer.rule, timer.kind, timer.key)
        for key, item in items.items():
            at_work = known.get((rule.name, key))
            if at_work is None or scheduled_of(at_work).meaning != item.meaning:
                _wait(rule, item, item.schedule.first(at), memory)
            elif _moved(at_work, item, at):
                _wait(rule, item, item.schedule.after(at), memory)
            elif (due := due_of(rule, item, _scheduled(at_work))) != at_work.due:
                memory.put_timer(replace(at_work, due=due))
        for key, state in memory.conditions(rule.name).items():
            if key not in items or _left_out(state, items[key]):
                _without_notification(rule, state, at, commit_seq, memory)
            elif (again := _waits_again(rule, items[key], state, at)) is not None:
                _without_notification(rule, state, at, commit_seq, memory, Why.MAINTENANCE)
                _wait(rule, items[key], again, memory)


def still_missing(
    rules: Iterable[ScheduleRule], reader: LogReader, memory: Memory, at: datetime, commit_seq: int
) -> Failures:
    """What fires of ``rules`` that mean something else now goes on where it is missing by what they mean now: a
    scheduled time of theirs whose grace is over, and nothing came. Else it ends without a notification.
    """
    failures = Failures()
    cases: list[tuple[_Case, ConditionState]] = []
    for rule in rules:
        for item in rule.spec.items:
            state = memory.condition(rule.name, item.key)
            if state is None or state.data.missed is None or state.data.life.changed is not Why.RULE_CHANGED:
                continue
            scheduled = moment(state.data.missed.scheduled_us)
            due = due_of(rule, item, scheduled)
            if item.schedule.after(scheduled - _US) != scheduled or due > at:
                _without_notification(rule, state, at, commit_seq, memory)
                continue
            timer = deadline(rule, item, scheduled)
            cases.append(
                (_Case(rule, item, timer, at, scheduled_of(timer).from_us, micros(scheduled), micros(due)), state)
            )
    arrivals = _arrivals([case for case, _ in cases], reader, commit_seq, failures)
    for case, state in cases:
        if case.first(arrivals, commit_seq) is not None:
            _without_notification(case.rule, state, at, commit_seq, memory)
        elif case.rule.name not in failures.rules:
            after = ended_by(state, None)
            missed = replace(case.missed, missed=missed_of(state))
            memory.put_condition(replace(after, data=replace(after.data, missed=missed)))
    return failures


def _waits_again(rule: ScheduleRule, item: Item, state: ConditionState, at: datetime) -> datetime | None:
    """The scheduled time that an instance fires about, where a maintenance that was announced since stops its clock."""
    if not fires(state) or state.data.missed is None:
        return None
    scheduled = moment(state.data.missed.scheduled_us)
    return scheduled if scheduled + item.schedule.grace <= at < due_of(rule, item, scheduled) else None


def _scheduled(timer: Timer) -> datetime:
    """The scheduled time that a deadline is about."""
    return moment(scheduled_of(timer).at_us)


def due_of(rule: ScheduleRule, item: Item, scheduled: datetime) -> datetime:
    """When the grace of a scheduled time is over; maintenance stops its clock."""
    still = pausing.spans_of(rule, item.fields)
    return moment(pausing.runs_out(micros(scheduled), micros_of(item.schedule.grace), still))


def _moved(timer: Timer, item: Item, at: datetime) -> bool:
    """Whether the calendar says something else of what lies ahead. What was scheduled before ``at`` is evaluated by its
    grace, unless its day counts no more.
    """
    scheduled = _scheduled(timer)
    if scheduled <= at:
        return not item.schedule.counts(scheduled)
    return item.schedule.after(at) != scheduled


def _left_out(state: ConditionState, item: Item) -> bool:
    """Whether what fires is about a day that counts no more."""
    missed = state.data.missed
    return missed is not None and not item.schedule.counts(moment(missed.scheduled_us))


def _without_notification(
    rule: ScheduleRule,
    state: ConditionState,
    at: datetime,
    commit_seq: int,
    memory: Memory,
    why: Why = Why.RULE_CHANGED,
) -> None:
    changed = ended_by(state, why)
    about = Subject(instance=state.instance, fields={})
    see(rule, about, changed, Evaluation(at=at, holds=False, severity=state.severity), commit_seq, memory)


def _wait(rule: ScheduleRule, item: Item, scheduled: datetime | None, memory: Memory) -> None:
    """Set the deadline of a scheduled time; None: there is none any more."""
    if scheduled is None:
        memory.drop_timer(rule.name, TimerKind.DEADLINE, item.key)
    else:
        memory.put_timer(deadline(rule, item, scheduled))


def scheduled_of(timer: Timer) -> Scheduled:
    """What a deadline is about."""
    assert isinstance(timer.data, Scheduled)
    return timer.data


def deadline(rule: ScheduleRule, item: Item, scheduled: datetime) -> Timer:
    """The timer that evaluates whether what is ``scheduled`` came."""
    consumer = rule.spec.consumer
    return Timer(
        rule=rule.name,
        kind=TimerKind.DEADLINE,
        key=item.key,
        due=due_of(rule, item, scheduled),
        consumers=frozenset({consumer}) if consumer else frozenset(),
        data=Scheduled(at_us=micros(scheduled), from_us=micros(scheduled - item.schedule.early), meaning=item.meaning),
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """A deadline that has come."""

    rule: ScheduleRule
    item: Item
    timer: Timer
    at: datetime
    from_us: int  # its window, both ends included
    scheduled_us: int
    due_us: int

    @property
    def missed(self) -> Missed:
        """What is kept of an instance that fires about it."""
        return Missed(from_us=self.from_us, scheduled_us=self.scheduled_us, due_us=self.due_us)

    def first(self, arrivals: Arrivals, seq: int) -> ScheduleHit | None:
        """The first event from the begin of its window on, in time or late, as of commit ``seq``."""
        return arrivals.first(self.rule, self.item, (self.from_us, micros(self.at)), seq)


def _arrivals(cases: Sequence[_Case], reader: LogReader, seq: int, failures: Failures) -> Arrivals:
    """What came from the begins of their windows on."""
    if not cases:
        return Arrivals()
    sql = (
        "SELECT * FROM RunStatusChanged WHERE TimeGenerated >= make_timestamp($first::BIGINT)"
        " AND TimeGenerated <= make_timestamp($last::BIGINT) AND CommitSeq <= $seq"
    )
    params = {"first": min(c.from_us for c in cases), "last": max(micros(c.at) for c in cases), "seq": seq}
    return Arrivals.of([(case.rule, case.item) for case in cases], reader, sql, params, failures)


def on_deadlines(
    released: Sequence[Released],
    rules: Mapping[str, ScheduleRule],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> Failures:
    """Evaluate deadlines that have come, and set the next ones."""
    failures = Failures()
    cases = _cases(released, rules, memory, source_progress)
    seq = max(each.commit_seq for each in released)
    arrivals = _arrivals(cases, reader, seq, failures)
    for case in cases:
        if case.rule.name in failures.rules:
            memory.put_timer(replace(case.timer, due=case.at + AGAIN))
            continue
        state = memory.condition(case.rule.name, case.item.key)
        _wait(case.rule, case.item, case.item.schedule.after(moment(case.scheduled_us)), memory)
        first = case.first(arrivals, seq)
        if first is None or first.key.time_us > case.due_us:
            if fires(state):
                assert state is not None
                missed = replace(state.data.missed or case.missed, missed=missed_of(state) + 1)
                memory.put_condition(replace(state, data=replace(state.data, missed=missed)))
            elif case.at - moment(case.due_us) <= case.rule.max_event_age:
                _missing(case, state, seq, memory)
        state = memory.condition(case.rule.name, case.item.key)
        if first is not None and state is not None:  # in time, or late, but before anybody was notified
            _arrived(case.rule, state, first, case.at, seq, reader, memory)
    return failures


def _cases(
    released: Sequence[Released],
    rules: Mapping[str, ScheduleRule],
    memory: Memory,
    source_progress: SourceProgress,
) -> list[_Case]:
    """Those of the deadlines that are to be evaluated now; the others are set again, or forgotten."""
    cases: list[_Case] = []
    for each in released:
        timer = each.timer
        rule = rules.get(timer.rule)
        item = next((i for i in rule.spec.items if i.key == timer.key), None) if rule else None
        if rule is None or item is None:
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            continue
        due_us = micros(due_of(rule, item, _scheduled(timer)))
        if moment(due_us) > each.at:
            memory.put_timer(replace(timer, due=moment(due_us)))
            continue
        if not source_progress.has_reached(moment(due_us), waits_for := _waits_for(rule, source_progress)):
            memory.put_timer(replace(timer, consumers=waits_for))
            continue
        cases.append(
            _Case(rule, item, timer, each.at, scheduled_of(timer).from_us, micros(_scheduled(timer)), due_us)
        )  # fmt: skip
    return cases


def missed_of(state: ConditionState) -> int:
    """How many scheduled times were missed since it fires."""
    return state.data.missed.missed if state.data.missed is not None else 1


def fires(state: ConditionState | None) -> bool:
    """Whether an earlier miss is still notified; one more changes nothing of it, and repeats have their own time."""
    return state is not None and state.phase in (Phase.FIRING, Phase.RECOVERING)


def _waits_for(rule: ScheduleRule, source_progress: SourceProgress) -> frozenset[str]:
    """Consumers that may bring what is expected."""
    consumer = rule.spec.consumer
    return frozenset({consumer}) if consumer else frozenset(source_progress.watermarks) or EVERYBODY


def micros_of(length: timedelta) -> int:
    """``length`` in µs."""
    return length // timedelta(microseconds=1)


def _wait_of(rule: ScheduleRule, item: Item | None, scheduled_us: int, missed: int = 1) -> Wait:
    """What an intent says of what it waits for."""
    absent, scheduled = rule.spec.when.absent, moment(scheduled_us)
    statuses = tuple((absent.status if absent is not None else None) or ())
    wait = Wait(form="absent", statuses=statuses, scheduled=scheduled, missed=missed)
    if item is None:
        return wait
    due = due_of(rule, item, scheduled)
    stood = micros(due) - scheduled_us - micros_of(item.schedule.grace)
    return replace(wait, due=due, zone=item.schedule.zone, stood=pausing.stood(stood))


def _missing(case: _Case, state: ConditionState | None, seq: int, memory: Memory) -> None:
    late = (micros(case.at) - case.scheduled_us) / 1_000_000
    if state is not None and state.phase is Phase.RESOLVED:
        state = None  # an earlier miss was closed by time; this is another one
    about = Subject(
        instance=case.item.instance,
        fields=case.item.fields,
        wait=_wait_of(case.rule, case.item, case.scheduled_us),
        remember={"missed": case.missed} if state is None or state.phase is not Phase.FIRING else {},
    )
    seen = Evaluation(at=case.at, holds=True, severity=case.rule.severity, value=late, why=Why.DEADLINE)
    see(case.rule, about, state, seen, seq, memory)


def on_commits(
    rules: Sequence[ScheduleRule],
    commits: Sequence[CommitInfo],
    after: int,
    reader: LogReader,
    memory: Memory,
) -> Failures:
    """End what fires where the expected has come after all."""
    failures = Failures()
    firing: list[tuple[ScheduleRule, Item, ConditionState]] = []
    for rule in rules:
        states = memory.conditions(rule.name)
        items = {item.key: item for item in rule.spec.items} if states else {}
        firing += [(rule, items[key], state) for key, state in states.items() if key in items and fires(state)]
    if not firing or not any(c.rows for c in commits):
        return failures
    hi = commits[-1].seq
    sql, params = reader.rows_of(after, hi)
    arrivals = Arrivals.of([(rule, item) for rule, item, _ in firing], reader, sql, params, failures)
    times = {c.seq: c.ingested_at for c in commits}
    for rule, item, state in firing:
        found = arrivals.brought(rule, item, state.data.missed.from_us if state.data.missed else 0, (after, hi))
        if found is not None:
            at = times.get(found.commit_seq, commits[-1].ingested_at)
            _arrived(rule, state, found, at, found.commit_seq, reader, memory)
    return failures


def _arrived(
    rule: ScheduleRule,
    state: ConditionState,
    hit: ScheduleHit,
    at: datetime,
    seq: int,
    reader: LogReader,
    memory: Memory,
) -> None:
    """The expected came after all: the alert ends, and says how late it was."""
    row = whole_rows(reader, [(hit.key, hit.commit_seq)]).get(hit.key, {})
    missed = state.data.missed
    scheduled, due = (missed.scheduled_us, missed.due_us) if missed is not None else (micros(at), micros(at))
    late = late_text(row, hit.key.time_us, scheduled) if hit.key.time_us > due else IN_TIME
    wait = replace(_wait_of(rule, _item(rule, state), scheduled, missed_of(state)), late=late)
    about = Subject(
        instance=state.instance,
        fields={**row, **_fields(rule, state)},
        wait=wait,
        run_id=hit.run_id,
        event_time=moment(hit.key.time_us),
    )
    by = (hit.key.time_us - scheduled) / 1_000_000
    see(rule, about, state, Evaluation(at=at, holds=False, severity=state.severity, value=by), seq, memory)


def _fields(rule: ScheduleRule, state: ConditionState) -> Mapping[str, object]:
    """What the alert of an instance may carry."""
    item = _item(rule, state)
    return item.fields if item is not None else state.instance


def _item(rule: ScheduleRule, state: ConditionState) -> Item | None:
    return next((item for item in rule.spec.items if item.key == state.key), None)


def late_text(row: Row, time_us: int, scheduled_us: int) -> str:
    """``started 38 min late``: by the run's start where the event ends it and knows when it began, else by the event."""
    start = row.get("StartTime")
    word, us = "came", time_us
    if row.get("Status") not in TERMINAL:
        word = "started"
    elif isinstance(start, str) and micros(datetime.fromisoformat(start)) > scheduled_us:
        word, us = "started", micros(datetime.fromisoformat(start))
    return f"{word} {in_words(timedelta(microseconds=us - scheduled_us))} late"


def on_wake(each: Released, rule: ScheduleRule, memory: Memory, source_progress: SourceProgress) -> None:
    """A firing instance is notified once more, or closed by time; not before it has reported whether the expected
    has come.
    """
    timer = each.timer
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    state = memory.conditions(rule.name).get(timer.key)
    if state is None:
        return
    if not source_progress.has_reached(timer.due, waits_for := _waits_for(rule, source_progress)):
        memory.put_timer(replace(timer, consumers=waits_for))
        return
    scheduled = state.data.missed.scheduled_us if state.data.missed is not None else micros(each.at)
    wait = _wait_of(rule, _item(rule, state), scheduled, missed_of(state))
    about = Subject(instance=state.instance, fields=_fields(rule, state), wait=wait)
    late = (micros(each.at) - scheduled) / 1_000_000
    seen = Evaluation(at=each.at, holds=True, severity=state.severity, value=late, why=Why.DEADLINE)
    see(rule, about, state, seen, each.commit_seq, memory)
