"""Absence rules about single runs, over deadlines that have come.

    deadline     D passes
                    |
                 held until the watermarks of all consumers that brought the run's events reach D; then the run is
read as of
                 this instant, and only what still holds fires

A deadline is evaluated when everything that was stored by then has been evaluated, so an hour of healthy events that
waited during an outage moves it before anybody is notified. What commits do to deadlines is in ``deadlines_compute``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.alerts.changes import Change
from tocsin.alerts.conditions import Evaluation, EvaluationKind
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import Phase, Why
from tocsin.model.instants import Timer
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.backfills import count_expired
from tocsin.rules.deadline_table import Deadline
from tocsin.rules.emit import emit
from tocsin.rules.history import Row, micros, moment
from tocsin.rules.kinds import pausing
from tocsin.rules.kinds.deadline.commits import hits_of
from tocsin.rules.kinds.deadline.due import Due, When, consumers_of, due_deadlines, is_expired, last_signs
from tocsin.rules.kinds.deadline.few import Past
from tocsin.rules.kinds.deadline.generated import GeneratedRules, first_of
from tocsin.rules.kinds.deadline.replay.histories import Known
from tocsin.rules.kinds.deadline.runs import FEW, AsOf, Fact, RunsAt, runs_at
from tocsin.rules.kinds.deadline.said import wait_of
from tocsin.rules.kinds.deadline.spec import DeadlineRule, Form
from tocsin.rules.kinds.waiting import Subject, see
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.queries import Failures
from tocsin.rules.spec.rule import public_name
from tocsin.rules.timers import Released

_AGAIN = timedelta(seconds=30)
"""How long after a failure a deadline is evaluated again."""


def on_deadlines(
    released: Sequence[Released],
    generated_rules: Mapping[str, GeneratedRules],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    known: Known | None = None,
) -> Failures:
    """Evaluate deadlines of ``generated_rules``, by name, that have come, each at its own T and as of its own commit.
    ``known`` are the histories of all their runs, for who has them.
    """
    failures = Failures()
    for wave in _waves(released):
        _evaluate_rule(wave, generated_rules, reader, memory, source_progress, failures, known)
    return failures


def _waves(released: Sequence[Released]) -> Iterator[list[Released]]:
    """Released timers in parts, in their order, in each of which a run is evaluated as of one instant."""
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


def _evaluate_rule(
    released: Sequence[Released],
    generated_rules: Mapping[str, GeneratedRules],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    failures: Failures,
    known: Known | None,
) -> None:
    whens, wanted = _wanted(released, generated_rules, memory)
    if not wanted:
        return
    asked = [generated_rules[name] for name in dict.fromkeys(name for name, _ in wanted)]
    notified = {pair for generated in asked if not generated.alone for pair in generated.firing(memory, whens.keys())}
    as_of = {run: when.seq for run, when in whens.items()}
    runs = runs_at(reader, as_of) if known is None else known.runs_at(as_of)
    facts = runs.facts(reader)
    hits = [
        (rule, run)
        for rule, run in hits_of(asked, runs, facts, reader, failures)
        if (public_name(rule.name), run) in wanted and (rule.name, run) not in notified
    ]
    past = _past(hits, facts, reader, whens) if known is None else known.past(as_of)
    found = due_deadlines(hits, facts, reader, whens, source_progress, past, runs)
    late = {run: whens[run].seq for (_, run), due in found.items() if due.at_us <= micros(whens[run].at)}
    brought = consumers_of(facts, reader, late, past)
    signs = _signs(hits, late, found, facts, reader, whens)
    fires: list[_Case] = []
    expired: list[_Case] = []
    waits: dict[Pair, list[Deadline]] = {pair: [] for pair in wanted}
    failed = {public_name(name) for name in failures.rules}
    for name, run in wanted:
        if name in failed:
            waits[(name, run)].append(Deadline(name, run, micros(whens[run].at + _AGAIN)))
    for rule, run in hits:
        pair, at, due = (public_name(rule.name), run), whens[run].at, found.get((rule.name, run))
        if due is None:
            continue
        if due.at_us > micros(at):
            waits[pair].append(Deadline(pair[0], run, due.at_us))
        elif not source_progress.has_reached(moment(due.at_us), brought[run]):
            waits[pair].append(Deadline(pair[0], run, due.at_us, brought[run]))
        elif not is_expired(rule, signs[run], due, at):
            fires.append((rule, run, due))
        elif generated_rules[pair[0]].alone or moment(due.at_us) >= wanted[pair].due:  # else it was passed over before
            expired.append((rule, run, due))
    for (name, run), of in waits.items():
        again = [each for each in of if not each.consumers] if name in failed else of
        memory.put_deadline(first_of(name, run, again) or Deadline(name, run, None))
    _pass_over(expired, runs, facts, whens, reader, memory, source_progress)
    _fire(fires, runs, facts, whens, reader, memory)


def _wanted(
    released: Sequence[Released], generated_rules: Mapping[str, GeneratedRules], memory: Memory
) -> tuple[dict[str, When], dict[Pair, Timer]]:
    """When runs are evaluated, and the timers by written rule and run; those of rules that are gone are dropped."""
    whens: dict[str, When] = {}
    wanted: dict[Pair, Timer] = {}
    for each in released:
        generated, run = public_name(each.timer.rule), each.timer.key
        if generated not in generated_rules:
            memory.put_deadline(Deadline(generated, run, None))
        else:
            whens[run], wanted[(generated, run)] = When(each.commit_seq, each.at), each.timer
    return whens, wanted


def _past(
    hits: Sequence[tuple[DeadlineRule, str]], facts: Mapping[str, Fact], reader: LogReader, whens: Mapping[str, When]
) -> Past | None:
    """What the log says of the runs, where they are so few that it is best read at once."""
    runs = {run: whens[run].seq for _, run in hits}
    if not 0 < len(runs) <= FEW:
        return None
    still = any(rule.spec.form is Form.UNCHANGED for rule, _ in hits)
    return Past.read(reader, runs, facts, beats=still)


def _signs(
    hits: Sequence[tuple[DeadlineRule, str]],
    late: AsOf,
    found: Mapping[Pair, Due],
    facts: Mapping[str, Fact],
    reader: LogReader,
    whens: Mapping[str, When],
) -> dict[str, datetime]:
    """The last sign of life of runs. Heartbeats are only asked for where the events are expired."""
    signs = {run: moment(facts[run].last_us or 0) for run in late}
    doubtful = {
        run: late[run]
        for rule, run in hits
        if run in late
        and (due := found.get((rule.name, run))) is not None
        and is_expired(rule, signs[run], due, whens[run].at)
    }
    return signs | last_signs(doubtful, facts, reader)


_Case = tuple[DeadlineRule, str, Due]
"""A rule, a run, and the deadline that has passed."""


def _pass_over(
    expired: Sequence[_Case],
    runs: RunsAt,
    facts: Mapping[str, Fact],
    whens: Mapping[str, When],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> None:
    """What is expired is recorded, and counted for the one word about all of it."""
    rows = runs.rows(reader, {run for _, run, _ in expired}) if expired else {}
    for rule, run, due in expired:
        row, when = {**rows[run], **rule.spec.row}, whens[run]
        change = Change(
            instance={name: row.get(name) for name in rule.by},
            before=Phase.NONE,
            after=Phase.EXPIRED,
            why=Why.TOO_OLD,
            severity=rule.severity,
            value=(micros(when.at) - due.since_us) / 1_000_000,
            fields={name: row.get(name) for name in rule.fields},
            labels=labels_of(rule, row),
            run_id=run,
            commit_seq=when.seq,
            at=when.at,
        )
        emit(memory, rule, change)
        count_expired(rule, facts[run].consumer, moment(due.at_us), when.at, memory, source_progress)


def _fire(
    fires: Sequence[_Case],
    runs: RunsAt,
    facts: Mapping[str, Fact],
    whens: Mapping[str, When],
    reader: LogReader,
    memory: Memory,
) -> None:
    if not fires:
        return
    rows = runs.rows(reader, {run for _, run, _ in fires})
    # in the order in which a limit is to count them, also where all were held until the same instant
    for rule, run, due in sorted(fires, key=lambda case: (whens[case[1]].at, case[2].at_us, case[1], case[0].name)):
        row, when = {**rows[run], **rule.spec.row}, whens[run]
        about = Subject(
            instance={name: row.get(name) for name in rule.by},
            fields=row,
            run_id=run,
            remember={"since_us": due.since_us},
            wait=replace(wait_of(rule, due.since_us), due=moment(due.at_us), stood=pausing.stood(due.stood_us)),
            event_time=moment(last) if (last := facts[run].last_us) is not None else None,
        )
        before = memory.condition(rule.name, about.key)
        waited = (micros(when.at) - due.since_us) / 1_000_000
        seen = Evaluation(
            at=when.at, kind=EvaluationKind.TICK, holds=True, severity=rule.severity, value=waited, why=Why.DEADLINE
        )
        see(rule, about, before, seen, when.seq, memory)


@dataclass(frozen=True, slots=True)
class Standing:
    """A run of which something fires."""

    row: Row | None  # as an alert carries it; None: nothing is known of it
    brought: frozenset[str]  # the consumers that brought its events


def standing(as_of: AsOf, reader: LogReader, known: Known | None = None) -> dict[str, Standing]:
    """The runs as of their commits."""
    runs = runs_at(reader, as_of) if known is None else known.runs_at(as_of)
    rows, facts = runs.rows(reader, as_of.keys()), runs.facts(reader)
    past = None if known is None else known.past(as_of)
    brought = consumers_of(facts, reader, {run: seq for run, seq in as_of.items() if run in facts}, past)
    return {run: Standing(rows.get(run), brought.get(run, frozenset())) for run in as_of}


def on_wakes(
    released: Sequence[Released],
    rules: Mapping[str, DeadlineRule],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    stand: Callable[[AsOf, LogReader], Mapping[str, Standing]] = standing,
) -> None:
    """Firing instances are notified once more, or closed by time; not before it has reported whether their runs
    moved on.

    ``stand`` is for who knows already how runs stand.
    """
    for wave in _waves(released):
        awake = []
        for each in wave:
            timer = each.timer
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            state = memory.condition(timer.rule, timer.key)
            if state is not None:
                awake.append((each, rules[timer.rule], state, str(state.instance.get("RunId", ""))))
        if not awake:
            continue
        stands = stand({run: each.commit_seq for each, _, _, run in awake}, reader)
        for each, rule, state, run in awake:
            if not source_progress.has_reached(each.timer.due, stands[run].brought):
                memory.put_timer(replace(each.timer, consumers=stands[run].brought))
                continue
            since = state.data.since_us
            value = (micros(each.at) - since) / 1_000_000 if since is not None else state.value
            about = Subject(
                instance=state.instance,
                fields={**(stands[run].row or {"RunId": run}), **rule.spec.row},
                wait=wait_of(rule, since),
                run_id=run,
            )
            seen = Evaluation(at=each.at, holds=True, severity=state.severity, value=value, why=Why.DEADLINE)
            see(rule, about, state, seen, each.commit_seq, memory)
