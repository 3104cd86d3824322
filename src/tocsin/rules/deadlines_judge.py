"""Absence rules about single runs, over commits and over deadlines that have come.

    commits       Queued (t)                       Running
                    |                                 |
    deadline     put: D = t + 45m      D passes    dropped, or: what fired is over
                                          |
                        held until the watermarks of all consumers that brought the run's events reach D; then the run is
                        read as of this instant, and only what still holds fires

A deadline is judged when everything that was stored by then has been evaluated, so an hour of healthy events that waited
during an outage moves it before anybody is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from tocsin.alerts.conditions import Look, LookKind
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import ConditionState, Phase, Why
from tocsin.model.heard import Heard
from tocsin.rules.absence import Form
from tocsin.rules.absence_tell import Subject, see
from tocsin.rules.deadlines import Deadline
from tocsin.rules.deadlines_due import Due, dues
from tocsin.rules.deadlines_runs import Fact, RunsAt, active_at, rows_of, runs_at, touched
from tocsin.rules.history import listed, micros, moment, plain
from tocsin.rules.memory import Memory
from tocsin.rules.rule import Rule
from tocsin.rules.shapes import Trouble, matches
from tocsin.rules.timers import Released

_US = timedelta(microseconds=1)
_FIRES = (Phase.FIRING, Phase.RECOVERING)


def on_commits(
    rules: Sequence[Rule], commits: Sequence[CommitInfo], after: int, reader: LogReader, memory: Memory, heard: Heard
) -> Trouble:
    """Reckon the deadlines of the runs that ``commits`` touch, and end what fired of those that moved on."""
    hi = commits[-1].seq
    trouble = Trouble()
    if not rules or not any(c.rows or c.heartbeats for c in commits):
        return trouble
    runs = touched(reader, after, hi)
    if runs:
        at = commits[-1].ingested_at
        _reckon(rules, runs_at(reader, runs, hi), runs, at, hi, reader, memory, heard, trouble)
    return trouble


def arm(rules: Sequence[Rule], reader: LogReader, memory: Memory, heard: Heard, at: datetime, hi: int) -> Trouble:
    """Reckon every deadline of ``rules`` as of commit ``hi``: at a start, and of rules that are new or mean something else.

    Runs that later commits touched are left to those.
    """
    trouble = Trouble()
    if not rules:
        return trouble
    fired = {str(s.instance.get("RunId", "")) for rule in rules for s in memory.conditions(rule.name).values()}
    later = set(
        reader.select(
            "SELECT RunId FROM Runs WHERE CommitSeq > $hi AND RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[]))",
            {"hi": hi, "runs": listed(fired)},
        )
        .column(0)
        .to_pylist()
    )
    _reckon(rules, active_at(hi), fired - later, at, hi, reader, memory, heard, trouble, again=True)
    return trouble


def _reckon(
    rules: Sequence[Rule],
    runs: RunsAt,
    ids: Collection[str],
    at: datetime,
    hi: int,
    reader: LogReader,
    memory: Memory,
    heard: Heard,
    trouble: Trouble,
    *,
    again: bool = False,
) -> None:
    """Deadlines of ``runs``. ``ids`` are those that may have had one, or fire. ``again``: no event came, the rule is new."""
    hits = [(hit.rule, hit.run_id) for hit in matches(reader, rules, runs.as_events, runs.params, trouble)]
    facts = runs.facts(reader, sorted({run for _, run in hits})) if hits else {}
    firing = {rule.name: _firing(rule, memory) for rule in rules}
    lazy = {(r.name, run) for r, run in hits if not again and _lazy(r) and run not in firing[r.name]}
    found = dues([(r, run) for r, run in hits if (r.name, run) not in lazy], facts, reader, at, hi, heard)
    ends: list[tuple[Rule, str, ConditionState]] = []
    for rule in rules:
        if rule.name in trouble.rules:
            continue
        states = firing[rule.name]
        for run in ids:
            if (rule.name, run) in lazy:
                assert rule.absence is not None
                fact = facts[run]
                bound = None if fact.progress is None else fact.since_us + rule.absence.length // _US
                memory.put_deadline(Deadline(rule.name, run, bound, sets=bound is None))
            elif (rule.name, run) not in found:
                memory.put_deadline(Deadline(rule.name, run, None))
                if run in states:
                    ends.append((rule, run, states[run]))
    for (name, run), due in found.items():
        state = firing[name].get(run)
        if state is not None and _same_spell(state, due, at):
            if "changed" in state.data:  # it holds by what the rule means now, too
                memory.put_condition(replace(state, data={k: v for k, v in state.data.items() if k != "changed"}))
            continue
        if state is not None:
            ends.append((next(r for r in rules if r.name == name), run, state))
        memory.put_deadline(Deadline(name, run, due.at_us))
    if again:
        ends = [(rule, run, replace(state, data={**state.data, "changed": True})) for rule, run, state in ends]
    _end(ends, at, hi, reader, memory)


def _lazy(rule: Rule) -> bool:
    """Whether what a commit brings can only move the deadline later: then it is reckoned when the one that is set has come,
    not from the run's history at each heartbeat.
    """
    return rule.absence is not None and rule.absence.form is Form.UNCHANGED


def _firing(rule: Rule, memory: Memory) -> dict[str, ConditionState]:
    return {
        str(state.instance.get("RunId", "")): state
        for state in memory.conditions(rule.name).values()
        if state.phase in _FIRES or "closed" in state.data
    }


def _same_spell(state: ConditionState, due: Due, at: datetime) -> bool:
    """Whether what fired still holds: it counts from the same moment, or from one that turned out to be earlier."""
    since = state.data.get("since_us")
    return isinstance(since, int) and due.since_us <= since and due.at_us <= micros(at)


def _end(
    ends: Sequence[tuple[Rule, str, ConditionState]],
    at: datetime,
    hi: int,
    reader: LogReader,
    memory: Memory,
) -> None:
    if not ends:
        return
    rows = runs_at(reader, {run for _, run, _ in ends}, hi).rows(reader, {run for _, run, _ in ends})
    for rule, run, state in sorted(ends, key=lambda e: (e[0].name, e[1])):
        row = rows.get(run, {"RunId": run})
        about = Subject(instance=state.instance, fields=row, run_id=run, data={"ended": plain(at)})
        see(rule, about, state, Look(at=at, holds=False, severity=state.severity, value=state.value), hi, memory)


def on_deadlines(
    released: Sequence[Released], rules: Mapping[str, Rule], reader: LogReader, memory: Memory, heard: Heard
) -> Trouble:
    """Judge deadlines that have come."""
    trouble = Trouble()
    for seq, group in groupby(released, key=lambda r: r.commit_seq):
        _judge(list(group), seq, rules, reader, memory, heard, trouble)
    return trouble


def _judge(
    released: Sequence[Released],
    seq: int,
    rules: Mapping[str, Rule],
    reader: LogReader,
    memory: Memory,
    heard: Heard,
    trouble: Trouble,
) -> None:
    wanted: dict[str, set[str]] = defaultdict(set)
    at = max(r.at for r in released)
    for each in released:
        if each.timer.rule in rules:
            wanted[each.timer.rule].add(each.timer.key)
        else:
            memory.put_deadline(Deadline(each.timer.rule, each.timer.key, None))
    asked = [rules[name] for name in sorted(wanted)]
    ids = sorted(set().union(*wanted.values()))
    if not ids:
        return
    runs = runs_at(reader, ids, seq)
    hits = [
        (hit.rule, hit.run_id)
        for hit in matches(reader, asked, runs.as_events, runs.params, trouble)
        if hit.run_id in wanted[hit.rule.name]
    ]
    facts = runs.facts(reader, sorted({run for _, run in hits})) if hits else {}
    found = dues(hits, facts, reader, at, seq, heard)
    late = {key: due for key, due in found.items() if due.at_us <= micros(at)}
    brought = _consumers(late_runs := sorted({run for _, run in late}), facts, reader, seq)
    signs = _last_signs(late_runs, facts, reader, seq)
    fires: list[tuple[Rule, str, Due]] = []
    for rule in asked:
        for run in sorted(wanted[rule.name]):
            due = found.get((rule.name, run))
            if rule.name in trouble.rules:
                memory.put_deadline(Deadline(rule.name, run, micros(at + _AGAIN)))
            elif due is None:
                memory.put_deadline(Deadline(rule.name, run, None))
            elif due.at_us > micros(at):
                memory.put_deadline(Deadline(rule.name, run, due.at_us))
            elif not heard.has_reached(moment(due.at_us), brought[run]):
                memory.put_deadline(Deadline(rule.name, run, due.at_us, brought[run]))
            else:
                memory.put_deadline(Deadline(rule.name, run, None))
                if not _stale(rule, signs[run], due, at):
                    fires.append((rule, run, due))
    _fire(fires, runs, facts, at, seq, reader, memory)


_AGAIN = timedelta(seconds=30)


def _fire(
    fires: Sequence[tuple[Rule, str, Due]],
    runs: RunsAt,
    facts: Mapping[str, Fact],
    at: datetime,
    seq: int,
    reader: LogReader,
    memory: Memory,
) -> None:
    if not fires:
        return
    rows = runs.rows(reader, {run for _, run, _ in fires})
    for rule, run, due in fires:
        row = rows[run]
        about = Subject(
            instance={name: row.get(name) for name in rule.by},
            fields=row,
            run_id=run,
            data={"due": plain(moment(due.at_us)), "since": plain(moment(due.since_us))},
            event_time=moment(last) if (last := facts[run].last_us) is not None else None,
        )
        before = memory.conditions(rule.name).get(about.key)
        waited = (micros(at) - due.since_us) / 1_000_000
        seen = Look(at=at, kind=LookKind.TICK, holds=True, severity=rule.severity, value=waited, why=Why.DEADLINE)
        see(rule, about, before, seen, seq, memory, {"since_us": due.since_us})


def on_wake(each: Released, rule: Rule, reader: LogReader, memory: Memory) -> None:
    """A firing instance is looked at again: it is told once more, or closed by time."""
    timer = each.timer
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    state = memory.conditions(rule.name).get(timer.key)
    if state is None:
        return
    run = str(state.instance.get("RunId", ""))
    row = runs_at(reader, [run], each.commit_seq).rows(reader, [run]).get(run, {"RunId": run})
    since = state.data.get("since_us")
    waited = (micros(each.at) - since) / 1_000_000 if isinstance(since, int) else state.value
    about = Subject(instance=state.instance, fields=row, run_id=run)
    seen = Look(at=each.at, holds=True, severity=state.severity, value=waited, why=Why.DEADLINE)
    see(rule, about, state, seen, each.commit_seq, memory)


def _consumers(
    runs: Sequence[str], facts: Mapping[str, Fact], reader: LogReader, seq: int
) -> dict[str, frozenset[str]]:
    """Which consumers brought the events of runs."""
    found: dict[str, set[str]] = {run: {facts[run].consumer} - {""} for run in runs}
    if runs:
        rows_sql, params = rows_of(reader, runs, seq)
        table = reader.select(f"SELECT DISTINCT RunId, Consumer FROM ({rows_sql})", params)
        for run, consumer in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            found[run].add(consumer)
    return {run: frozenset(names) for run, names in found.items()}


def _last_signs(runs: Sequence[str], facts: Mapping[str, Fact], reader: LogReader, seq: int) -> dict[str, datetime]:
    """The last sign of life of runs, by the producer's clock: an event's time, or a heartbeat's receipt."""
    signs = {run: facts[run].last_us or 0 for run in runs}
    if runs:
        table = reader.select(
            "SELECT RunId, epoch_us(max(ReceivedAt)) FROM Heartbeats WHERE CommitSeq <= $seq"
            " AND RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[])) GROUP BY RunId",
            {"seq": seq, "runs": listed(runs)},
        )
        for run, us in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            signs[run] = max(signs[run], us)
    return {run: moment(us) for run, us in signs.items()}


def _stale(rule: Rule, sign: datetime, due: Due, at: datetime) -> bool:
    """Whether the run belongs to a past that nobody is told of."""
    assert rule.absence is not None
    length = rule.absence.length or (due.at_us - due.since_us) * _US
    return at - sign > rule.tell_within + length
