"""Absence rules about single runs, over deadlines that have come.

    deadline     D passes
                    |
                 held until the watermarks of all consumers that brought the run's events reach D; then the run is read as of
                 this instant, and only what still holds fires

A deadline is judged when everything that was stored by then has been evaluated, so an hour of healthy events that waited
during an outage moves it before anybody is told. What commits do to deadlines is in ``deadlines_reckon``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.alerts.conditions import Look, LookKind
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import Why
from tocsin.model.heard import Heard
from tocsin.rules import clocks
from tocsin.rules.absence_tell import Subject, see, wait_said
from tocsin.rules.deadlines import Deadline
from tocsin.rules.deadlines_due import Due, When, consumers_of, dues
from tocsin.rules.deadlines_reckon import hits_of
from tocsin.rules.deadlines_runs import AsOf, Fact, RunsAt, beats_of, runs_at
from tocsin.rules.history import micros, moment, plain
from tocsin.rules.memory import Memory
from tocsin.rules.rule import Rule
from tocsin.rules.shapes import Trouble
from tocsin.rules.timers import Released

_US = timedelta(microseconds=1)
_AGAIN = timedelta(seconds=30)
"""How long after a failure a deadline is looked at again."""


def on_deadlines(
    released: Sequence[Released], rules: Mapping[str, Rule], reader: LogReader, memory: Memory, heard: Heard
) -> Trouble:
    """Judge deadlines that have come, each at its own T and as of its own commit."""
    trouble = Trouble()
    for wave in _waves(released):
        _judge(wave, rules, reader, memory, heard, trouble)
    return trouble


def _waves(released: Sequence[Released]) -> Iterator[list[Released]]:
    """Released timers in parts, in their order, in each of which a run is looked at as of one instant."""
    whens: dict[str, When] = {}
    wave: list[Released] = []
    for each in released:
        when = When(each.commit_seq, each.at)
        if whens.setdefault(each.timer.key, when) != when:
            yield wave
            whens, wave = {each.timer.key: when}, []
        wave.append(each)
    if wave:
        yield wave


def _judge(
    released: Sequence[Released],
    rules: Mapping[str, Rule],
    reader: LogReader,
    memory: Memory,
    heard: Heard,
    trouble: Trouble,
) -> None:
    whens: dict[str, When] = {}
    wanted: dict[tuple[str, str], Rule] = {}
    for each in released:
        rule, run = rules.get(each.timer.rule), each.timer.key
        if rule is None:
            memory.put_deadline(Deadline(each.timer.rule, run, None))
        else:
            whens[run], wanted[(rule.name, run)] = When(each.commit_seq, each.at), rule
    if not wanted:
        return
    asked = list({rule.name: rule for rule in wanted.values()}.values())
    runs = runs_at(reader, {run: when.seq for run, when in whens.items()})
    facts = runs.facts(reader)
    hits = [hit for hit in hits_of(asked, runs, facts, reader, trouble) if (hit[0].name, hit[1]) in wanted]
    found = dues(hits, facts, reader, whens, heard)
    late = {run: whens[run].seq for (_, run), due in found.items() if due.at_us <= micros(whens[run].at)}
    brought = consumers_of(facts, reader, late)
    signs = last_signs(late, facts, reader)
    fires: list[tuple[Rule, str, Due]] = []
    for (name, run), rule in wanted.items():
        at, due = whens[run].at, found.get((name, run))
        if name in trouble.rules:
            memory.put_deadline(Deadline(name, run, micros(at + _AGAIN)))
        elif due is None:
            memory.put_deadline(Deadline(name, run, None))
        elif due.at_us > micros(at):
            memory.put_deadline(Deadline(name, run, due.at_us))
        elif not heard.has_reached(moment(due.at_us), brought[run]):
            memory.put_deadline(Deadline(name, run, due.at_us, brought[run]))
        else:
            memory.put_deadline(Deadline(name, run, None))
            if not is_stale(rule, signs[run], due, at):
                fires.append((rule, run, due))
    _fire(fires, runs, facts, whens, reader, memory)


def _fire(
    fires: Sequence[tuple[Rule, str, Due]],
    runs: RunsAt,
    facts: Mapping[str, Fact],
    whens: Mapping[str, When],
    reader: LogReader,
    memory: Memory,
) -> None:
    if not fires:
        return
    rows = runs.rows(reader, {run for _, run, _ in fires})
    states = {rule.name: memory.conditions(rule.name) for rule, _, _ in fires}
    for rule, run, due in fires:
        row, when = rows[run], whens[run]
        about = Subject(
            instance={name: row.get(name) for name in rule.by},
            fields=row,
            run_id=run,
            data=wait_said(rule, due.since_us, due=plain(moment(due.at_us)), **clocks.said(due.stood_us)),
            event_time=moment(last) if (last := facts[run].last_us) is not None else None,
        )
        before = states[rule.name].get(about.key)
        waited = (micros(when.at) - due.since_us) / 1_000_000
        seen = Look(at=when.at, kind=LookKind.TICK, holds=True, severity=rule.severity, value=waited, why=Why.DEADLINE)
        see(rule, about, before, seen, when.seq, memory, {"since_us": due.since_us})


def on_wakes(
    released: Sequence[Released], rules: Mapping[str, Rule], reader: LogReader, memory: Memory, heard: Heard
) -> None:
    """Firing instances are told once more, or closed by time; not before it is heard whether their runs moved on."""
    for wave in _waves(released):
        states = {each.timer.rule: memory.conditions(each.timer.rule) for each in wave}
        awake = []
        for each in wave:
            timer = each.timer
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            state = states[timer.rule].get(timer.key)
            if state is not None:
                awake.append((each, rules[timer.rule], state, str(state.instance.get("RunId", ""))))
        if not awake:
            continue
        as_of = {run: each.commit_seq for each, _, _, run in awake}
        runs = runs_at(reader, as_of)
        rows, facts = runs.rows(reader, as_of.keys()), runs.facts(reader)
        brought = consumers_of(facts, reader, {run: seq for run, seq in as_of.items() if run in facts})
        for each, rule, state, run in awake:
            if not heard.has_reached(each.timer.due, waits_for := brought.get(run, frozenset())):
                memory.put_timer(replace(each.timer, consumers=waits_for))
                continue
            since = state.data.get("since_us")
            waited = (micros(each.at) - since) / 1_000_000 if isinstance(since, int) else state.value
            row, data = rows.get(run, {"RunId": run}), wait_said(rule, since)
            about = Subject(instance=state.instance, fields=row, data=data, run_id=run)
            seen = Look(at=each.at, holds=True, severity=state.severity, value=waited, why=Why.DEADLINE)
            see(rule, about, state, seen, each.commit_seq, memory)


def last_signs(as_of: AsOf, facts: Mapping[str, Fact], reader: LogReader) -> dict[str, datetime]:
    """The last sign of life of runs, by the producer's clock: an event's time, or a heartbeat's receipt."""
    signs = {run: facts[run].last_us or 0 for run in as_of}
    if as_of:
        sql, params = beats_of(as_of)
        table = reader.select(f"SELECT RunId, epoch_us(max(ReceivedAt)) FROM ({sql}) GROUP BY RunId", params)
        for run, us in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            signs[run] = max(signs[run], us)
    return {run: moment(us) for run, us in signs.items()}


def is_stale(rule: Rule, sign: datetime, due: Due, at: datetime) -> bool:
    """Whether the run belongs to a past that nobody is told of."""
    assert rule.absence is not None
    own = rule.absence.length
    length = own + due.stood_us * _US if own else (due.at_us - due.since_us) * _US
    return at - sign > rule.tell_within + length
