"""Timers of event rules: which are due, and what is decided when one is released.

Failed (t)            t + final_after = D         watermarks reach D
  |----------------------|- - - - held - - - - - - - -|
                                                      T: is there a newer attempt up to D?
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from tocsin.alerts.active import phases
from tocsin.alerts.decisions import RunAttempt, evaluate, newer_try, why_expired
from tocsin.alerts.occurrences import ends_again, in_order, occurrences_of, restarts
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Phase, Why
from tocsin.model.instants import Timer
from tocsin.model.remembered import Attempt
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.history import PastEvent, moment
from tocsin.rules.kinds.event.commits import waits_for
from tocsin.rules.kinds.event.decisions import Decision, write
from tocsin.rules.kinds.event.matching import matches
from tocsin.rules.kinds.event.parents.collapse import Brought, collapse
from tocsin.rules.kinds.event.resolve import commits as recovery
from tocsin.rules.kinds.event.spec import EventHit, EventRule
from tocsin.rules.memory import Memory
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released

AGAIN = timedelta(seconds=30)
"""How long after a failure a deadline is evaluated again."""


class _Wanted(NamedTuple):
    """A deadline that has come."""

    each: Released
    rule: EventRule
    run: str
    key: EventKey  # of the failure


@dataclass(slots=True)
class _Evaluated:
    """What the log says of the runs and jobs that deadlines are about."""

    seen: Mapping[str, Mapping[EventKey, PastEvent]]  # by run
    hits: Mapping[tuple[str, str], Mapping[EventKey, EventHit]]  # by (rule, run)
    jobs: Mapping[str, Sequence[PastEvent]]  # by JobKey
    began: Mapping[str, datetime]  # by run


def evaluate_deadlines(
    released: Sequence[Released],
    rules: Mapping[str, EventRule],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> Failures:
    """Decide whether no other attempt came, for deadlines of one instant. Returns what failed; deadlines of a rule that
    did are evaluated again later.
    """
    wanted: list[_Wanted] = []
    for each in released:
        rule = rules[each.timer.rule]
        about = _attempt(each.timer)
        wanted.append(_Wanted(each, rule, about.run, about.event))
    if not wanted:
        return Failures()
    failures = Failures()
    evaluated = _evaluate(wanted, reader, failures)
    notified = memory.notified({(rule.name, run) for _, rule, run, _ in wanted})
    decisions: list[Decision] = []
    remembered = {pair: phases(seen) for pair, seen in notified.items()}
    for one in wanted:
        each, rule, run, _ = one
        if rule.name in failures.rules:
            memory.put_timer(replace(each.timer, due=each.at + AGAIN))
            continue
        memory.drop_timer(each.timer.rule, each.timer.kind, each.timer.key)
        known = remembered.setdefault((rule.name, run), {})
        decision = _evaluate_rule(one, evaluated, known, memory.record(rule.name).start_seq, source_progress)
        if decision is not None:
            decisions.append(decision)
            known[decision.event.key] = decision.occurrence.phase
    hi = max(each.commit_seq for each, _, _, _ in wanted)
    write(collapse(decisions, reader, memory, source_progress, hi, Brought()), memory, reader, source_progress, {})
    for (at, seq), group in groupby(sorted(decisions, key=lambda d: d.order), key=lambda d: (d.at, d.commit_seq)):
        notified_now = {(d.rule.name, d.run_id): d.rule for d in group}
        failures.take(recovery.at_instant(notified_now.values(), notified_now.keys(), at, seq, reader, memory))
    return failures


def _evaluate(wanted: Sequence[_Wanted], reader: LogReader, failures: Failures) -> _Evaluated:
    hi = max(each.commit_seq for each, _, _, _ in wanted)
    rows_sql, params = history.run_rows(reader, (run for _, _, run, _ in wanted), hi)
    seen: dict[str, dict[EventKey, PastEvent]] = defaultdict(dict)
    for one in history.read(reader, rows_sql, params):
        seen[one.run_id][one.event.key] = one
    hits: dict[tuple[str, str], dict[EventKey, EventHit]] = defaultdict(dict)
    rules = {rule.name: rule for _, rule, _, _ in wanted}

    for hit in matches(reader, rules.values(), rows_sql, params, failures):
        hits[(hit.rule.name, hit.run_id)][hit.key] = hit
    jobs = _jobs(reader, wanted, seen, hi)
    others = {s.run_id for tries in jobs.values() for s in tries}
    began = {run: span.first for run, span in reader.spans(others | seen.keys()).items()}
    return _Evaluated(seen=seen, hits=hits, jobs=jobs, began=began)


def _jobs(
    reader: LogReader,
    wanted: Sequence[_Wanted],
    seen: Mapping[str, Mapping[EventKey, PastEvent]],
    hi: int,
) -> dict[str, list[PastEvent]]:
    """Events of the same pieces of work, from the first event of the earliest of these runs up to the last deadline."""
    keys = {seen[run][key].job for _, _, run, key in wanted if key in seen.get(run, {})}
    if not keys:
        return {}
    earliest = min(key.time_us for run in seen.values() for key in run)
    sql = (
        "SELECT * FROM RunStatusChanged"
        " WHERE TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND CommitSeq <= $hi AND JobKey IN (SELECT unnest(($jobs::JSON)::VARCHAR[]))"
    )
    params = {
        "first": earliest,
        "last": history.micros(max(_due(each.timer) for each, _, _, _ in wanted)),
        "hi": hi,
        "jobs": history.listed(keys),
    }
    found: dict[str, list[PastEvent]] = defaultdict(list)
    for one in history.read(reader, sql, params):
        found[one.job].append(one)
    return found


def _evaluate_rule(
    wanted: _Wanted,
    evaluated: _Evaluated,
    remembered: Mapping[EventKey, Phase],
    start_seq: int,
    source_progress: SourceProgress,
) -> Decision | None:
    """What a deadline that has come decides; None where nothing is to be notified or remembered."""
    each, rule, run, key = wanted
    seen, hits = evaluated.seen.get(run, {}), evaluated.hits.get((rule.name, run), {})
    failed = seen.get(key)
    if failed is None or key not in hits:
        return None  # deleted meanwhile, or the rule means something else now
    occurrence = next(s for s in occurrences_of((s.event for s in seen.values()), hits.keys()) if key in s.keys)
    verdict = evaluate(
        occurrence,
        remembered,
        start_seq,
        expired=lambda e: _expired(rule, seen[e.key], each.at, source_progress),
        waits=lambda e: waits_for(rule, seen[e.key]),
    )
    why, event = verdict.why, verdict.event
    if why is Why.AWAITING_ATTEMPT:
        if tried_again(failed, seen.values(), evaluated.jobs.get(failed.job, ()), evaluated.began, _due(each.timer)):
            return None
        why, event = Why.NO_ATTEMPT_CAME, failed.event
    if event is None:
        return None
    return Decision(
        rule=rule,
        run_id=run,
        event=event,
        consumer=seen[event.key].consumer,
        why=why,
        at=each.at,
        commit_seq=each.commit_seq,
        computed=hits[event.key].computed,
        due=_due(each.timer),
    )


def _due(timer: Timer) -> datetime:
    """The deadline itself; the timer's own due time is later where it had to be tried again."""
    return moment(_attempt(timer).due_us)


def _attempt(timer: Timer) -> Attempt:
    assert isinstance(timer.data, Attempt)
    return timer.data


def _expired(rule: EventRule, seen: PastEvent, at: datetime, source_progress: SourceProgress) -> Why | None:
    return why_expired(
        moment(seen.event.key.time_us),
        at,
        within=rule.max_event_age + rule.spec.final_after,
        first_start=source_progress.expired_before(seen.consumer),
    )


def tried_again(
    failed: PastEvent, run: Iterable[PastEvent], job: Iterable[PastEvent], began: Mapping[str, datetime], due: datetime
) -> bool:
    """Whether a newer attempt than ``failed`` was under way by ``due``: the run went on, or another run of its job
    came.

    A run goes on also where its source says another end later: what it says last is not that it failed.
    """
    until = history.micros(due)
    ordered = in_order(s.event for s in run if s.event.key.time_us <= until)
    reopening, ended_again = restarts(ordered), ends_again(ordered)
    later = [e for e in ordered if e.order > failed.event.order]
    if any(e.key in reopening or (e.key in ended_again and e.status != failed.event.status) for e in later):
        return True
    here = RunAttempt(run_id=failed.run_id, attempt=failed.event.attempt, began=began[failed.run_id])
    others = [
        RunAttempt(run_id=s.run_id, attempt=s.event.attempt, began=began[s.run_id])
        for s in job
        if s.event.key.time_us <= until and s.run_id in began
    ]
    return newer_try(here, others)
