"""Absence rules about single runs, over commits: which deadlines they set, move and drop, and what they end.

    commits       Queued (t)                       Running
                    |                                 |
    deadline     put: D = t + 45m                  dropped, or: what fired is over

A condition holds at an instant if the run, as of it, is waited for and its deadline has passed: what fired goes on
while it holds, whichever moment it counts from.

Several commits at once: of a run that fires, each commit that touched it is evaluated, since it may end there and begin
again; of any other, only the last one matters, as a deadline is evaluated when all commits before it have been
evaluated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from tocsin.alerts.conditions import Evaluation, ended_by
from tocsin.logstore.interface import CommitInfo, LogReader, Touched
from tocsin.model.alert import Phase, Why
from tocsin.model.remembered import ConditionState
from tocsin.model.statuses import TERMINAL
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.deadline_table import Deadline, Settled
from tocsin.rules.history import listed, moment
from tocsin.rules.kinds.deadline.due import Due, When, due_by_past, due_deadlines, is_expired, last_signs
from tocsin.rules.kinds.deadline.generated import GeneratedRules, first_of
from tocsin.rules.kinds.deadline.replay.histories import Known
from tocsin.rules.kinds.deadline.runs import (
    Fact,
    RunsAt,
    active_at,
    as_left,
    count_active,
    runs_at,
    touched,
    touches,
    us_of,
)
from tocsin.rules.kinds.deadline.said import wait_of
from tocsin.rules.kinds.deadline.spec import DeadlineRule, Form
from tocsin.rules.kinds.waiting import Subject, see
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.queries import Failures, matches
from tocsin.rules.spec.rule import public_name

_US = timedelta(microseconds=1)
TOGETHER = 2_000
"""Runs that are computed together: what is read of them is in memory meanwhile."""
_FIRES = (Phase.FIRING, Phase.RECOVERING)
_NEVER = 1 << 62
"""Later than every time, µs."""


def on_commits(
    generated_rules: Sequence[GeneratedRules],
    commits: Sequence[CommitInfo],
    after: int,
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> Failures:
    """Compute the deadlines of the runs that ``commits`` touch, and end what fired of those that moved on."""
    failures = Failures()
    if not generated_rules or not any(c.rows or c.heartbeats for c in commits):
        return failures
    last = commits[-1]
    left = reader.recent_runs(after, last.seq)
    changed = (
        touched(reader, after, last.seq) if left is None else {run: us_of(each.least) for run, each in left.items()}
    )
    fired: set[str] = set()
    if len(commits) > 1:
        fired = {run for generated in generated_rules for _, run in generated.firing(memory, changed.keys())}
    if fired:
        times = {c.seq: c.ingested_at for c in commits}
        seqs = touches(reader, fired, after, last.seq)
        for n in range(max(map(len, seqs.values()), default=0)):
            whens = {run: When(each[n], times[each[n]]) for run, each in seqs.items() if n < len(each)}
            compute(generated_rules, Moved(whens=whens), reader, memory, source_progress, failures)
    when = When(last.seq, last.ingested_at)
    whole, beaten = set(changed), set[str]()
    if left is not None:
        beaten = {run for run, each in left.items() if each.row is None}
        whole -= beaten
        beaten -= _put_off(generated_rules, {run: left[run] for run in beaten if left[run].seen is not None}, memory)
    for those, known in ((whole, left), (beaten, None)):
        runs = iter(sorted(those))
        while some := list(islice(runs, TOGETHER)):
            moved = Moved(whens=dict.fromkeys(some, when), changed=changed, left=known, whole=those is whole)
            compute(generated_rules, moved, reader, memory, source_progress, failures)
    return failures


def _put_off(generated_rules: Sequence[GeneratedRules], beaten: Mapping[str, Touched], memory: Memory) -> set[str]:
    """Of ``beaten``, of which only heartbeats came, those that need not be computed: their deadlines of silence move,
    and nothing else. To read their rows would be most of the work that a heartbeat makes.
    """
    calm = {run for run, each in beaten.items() if memory.settled(run, each.progress)}
    if calm:
        calm -= {run for generated in generated_rules for _, run in generated.firing(memory, calm)}
    for generated in generated_rules:
        silence = generated.silence
        for run in calm if silence is not None else ():
            seen = us_of(beaten[run].seen)
            if silence is not None and seen is not None:
                memory.put_deadline(Deadline(generated.name, run, seen + silence // _US, not_before=True))
    return calm


def _settle(
    generated_rules: Sequence[GeneratedRules],
    facts: Mapping[str, Fact],
    hits: Sequence[tuple[DeadlineRule, str]],
    lazy: Mapping[Pair, Deadline],
    set_: Collection[Pair],
    memory: Memory,
) -> None:
    """Say of runs that were computed what heartbeats can do. ``hits`` are the absence rules for them, ``lazy`` and
    ``set_`` those of them whose deadlines are set, to a bound or as they come.
    """
    heed = any(generated.heeds for generated in generated_rules)
    silent = {run: not heed and fact.status not in TERMINAL for run, fact in facts.items()}
    said = dict(silent)
    for rule, run in hits:
        pair = (rule.name, run)
        if pair in lazy:
            said[run] &= lazy[pair].due_us is not None
        elif pair not in set_ or rule.spec.form is Form.LONGER:
            # the baseline may have come down, so that such a deadline comes sooner
            silent[run] = said[run] = False
    for run in facts:
        memory.settle(Settled(run, silent=silent[run], any=said[run]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Runs that something moved, each at its own instant. Their rows are read where neither ``left`` nor ``known``."""

    whens: Mapping[str, When]
    changed: Mapping[str, int | None] = field(default_factory=dict)  # the least time of what is new of them
    left: Mapping[str, Touched] | None = None  # how they are as of those instants
    whole: bool = True  # whether their rows will be asked for
    known: Known | None = None  # the histories of all of them


def compute(
    generated_rules: Sequence[GeneratedRules],
    moved: Moved,
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    failures: Failures,
) -> None:
    """Deadlines of the runs that ``moved``."""
    whens, changed, left, known = moved.whens, moved.changed, moved.left, moved.known
    as_of = {run: when.seq for run, when in whens.items()}
    if known is not None:
        runs = known.runs_at(as_of)
    elif left is None:
        runs = runs_at(reader, as_of, whole=moved.whole)
    else:
        runs = as_left(left, whens)
    facts = runs.facts(reader)
    all_hits = hits_of(generated_rules, runs, facts, reader, failures)
    hits = [hit for hit in all_hits if memory.follows(hit[0].name)]
    fires = {
        pair: state for generated in generated_rules for pair, state in generated.firing(memory, whens.keys()).items()
    }
    lazy = {
        (rule.name, run): bounds
        for rule, run in hits
        if (rule.name, run) not in fires and (bounds := _bounds(rule, run, facts[run], changed.get(run))) is not None
    }
    past = known.past(as_of) if known is not None and any(due_by_past(rule) for rule, _ in hits) else None
    found = due_deadlines(
        [(r, run) for r, run in hits if (r.name, run) not in lazy], facts, reader, whens, source_progress, past, runs
    )
    failed = {public_name(name) for name in failures.rules}
    over = {pair: state for pair, state in fires.items() if pair[0] not in failures.rules}
    waits: dict[Pair, list[Deadline]] = defaultdict(list)  # by written rule and run
    for rule, run in hits:
        pair, due = (rule.name, run), found.get((rule.name, run))
        if pair in fires and due is not None and moment(due.at_us) <= whens[run].at:
            _goes_on(over.pop(pair, fires[pair]), due, memory)
        elif pair in lazy:
            waits[(public_name(rule.name), run)].append(lazy[pair])
        elif due is not None:
            waits[(public_name(rule.name), run)].append(Deadline(rule.name, run, due.at_us, by=facts[run].consumer))
    for generated in generated_rules:
        for run in whens:
            first = first_of(generated.name, run, waits.get((generated.name, run), ()), failed=generated.name in failed)
            if first is not None:
                memory.put_deadline(first)
    ready = {pair for pair in found if pair not in fires} if not failed else frozenset()
    _settle(generated_rules, facts, all_hits, lazy if not failed else {}, ready, memory)
    rules = {rule.name: rule for generated in generated_rules for rule in generated.rules} if over else {}
    _end([(rules[name], run, state) for (name, run), state in over.items()], whens, runs, reader, memory)


def schedule_deadlines(
    generated_rules: Sequence[GeneratedRules],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    at: datetime,
    hi: int,
) -> Failures:
    """Compute every deadline of ``generated_rules`` as of commit ``hi``: at a start, and of rules that are new or
    mean something else.

    Runs that later commits touched are left to those, and runs of long ago to nobody. What fires goes on, but for what
    a changed rule does not hold of any more, and what waits again since a maintenance was announced.
    """
    failures = Failures()
    if not generated_rules:
        return failures
    fires = {pair: state for generated in generated_rules for pair, state in generated.firing(memory).items()}
    by_name = {rule.name: rule for generated in generated_rules for rule in generated.rules}
    fired = {run for _, run in fires}
    fired -= _later(fired, hi, reader)
    when, found = When(hi, at), dict[Pair, Due]()
    parts = -(-count_active(reader, hi) // TOGETHER)
    for part in range(parts):
        runs = active_at(hi, part, parts)
        facts = runs.facts(reader)
        computed_of = due_deadlines(
            hits_of(generated_rules, runs, facts, reader, failures),
            facts,
            reader,
            dict.fromkeys(facts, when),
            source_progress,
            runs=runs,
        )
        past = {run: hi for (_, run), due in computed_of.items() if moment(due.at_us) <= at}
        signs = last_signs(past, facts, reader)
        waits: dict[Pair, list[Deadline]] = defaultdict(list)
        for (name, run), computed in computed_of.items():
            if (name, run) in fires:
                found[(name, run)] = computed
            elif run not in past or not is_expired(by_name[name], signs[run], computed, at):
                waits[(public_name(name), run)].append(Deadline(name, run, computed.at_us, by=facts[run].consumer))
        _put_first(waits, memory)
    ends: list[_End] = []
    again: dict[Pair, list[Deadline]] = defaultdict(list)
    for (name, run), state in fires.items():
        if name in failures.rules or run not in fired:
            continue
        due = found.get((name, run))
        holds = due is not None and moment(due.at_us) <= at
        paused = due is not None and not holds and moment(due.at_us - due.stood_us) <= at
        if due is not None and (holds or (state.data.life.changed is None and not paused)):
            _goes_on(state, due, memory)
            continue
        why = Why.MAINTENANCE if paused else Why.RULE_CHANGED
        ends.append((by_name[name], run, ended_by(state, why)))
        if due is not None:
            again[(public_name(name), run)].append(Deadline(name, run, due.at_us))
    _put_first(again, memory)
    if ends:
        _end(ends, dict.fromkeys(fired, when), runs_at(reader, {run: hi for _, run, _ in ends}), reader, memory)
    return failures


def _put_first(waits: Mapping[Pair, Sequence[Deadline]], memory: Memory) -> None:
    """Put the first of each written rule and run; one that is set already stays, if it is earlier."""
    for (generated, run), of in waits.items():
        first = first_of(generated, run, of)
        assert first is not None
        assert first.due_us is not None
        memory.put_deadline(first._replace(or_us=first.due_us))


_End = tuple[DeadlineRule, str, ConditionState]
"""A rule, a run, and what fired of it."""


def hits_of(
    generated_rules: Sequence[GeneratedRules],
    runs: RunsAt,
    facts: Mapping[str, Fact],
    reader: LogReader,
    failures: Failures,
) -> list[tuple[DeadlineRule, str]]:
    """Which rules wait for which of ``runs``. Only a rule that asks for more than statuses needs a query."""
    rules = [rule for generated in generated_rules for rule in generated.about(runs, reader)]
    simple = [rule for rule in rules if rule.spec.anyone]
    hits = [(rule, run) for rule in simple for run, fact in facts.items() if fact.status in rule.spec.statuses]
    others = [rule for rule in rules if rule not in simple]
    if not others:
        return hits
    return hits + [(hit.rule, hit.run_id) for hit in matches(reader, others, runs.as_events, runs.params, failures)]


def _later(runs: Collection[str], hi: int, reader: LogReader) -> set[str]:
    """Those of ``runs`` that commits beyond ``hi`` touched."""
    if not runs:
        return set()
    sql = "SELECT RunId FROM Runs WHERE CommitSeq > $hi AND RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[]))"
    return set(reader.select(sql, {"hi": hi, "runs": listed(sorted(runs))}).column(0).to_pylist())


def _bounds(rule: DeadlineRule, run: str, fact: Fact, new_us: int | None) -> Deadline | None:
    """Not before when the deadline can come, where the run's history need not be read for it at each heartbeat: it is
    computed when that has come. None: it must be computed now.

    What is new cannot move the last change, or the begin of the time in the statuses, before its own least time.
    """
    if rule.spec.form is not Form.UNCHANGED:
        return None
    if fact.progress is None:
        return Deadline(rule.name, run, None)  # it never said how far it is
    if fact.first_us is None:
        return None
    length = rule.spec.length // _US
    due = _NEVER if new_us is None else new_us + length
    return Deadline(rule.name, run, due, or_us=fact.first_us + length, by=fact.consumer)


def _goes_on(state: ConditionState, due: Due, memory: Memory) -> None:
    after = ended_by(state, None)
    if state.phase in _FIRES:
        after = replace(after, data=replace(after.data, since_us=due.since_us))
    if after != state:
        memory.put_condition(after)


def _end(ends: Sequence[_End], whens: Mapping[str, When], runs: RunsAt, reader: LogReader, memory: Memory) -> None:
    if not ends:
        return
    rows = runs.rows(reader, {run for _, run, _ in ends})
    for rule, run, state in sorted(ends, key=lambda e: (e[0].name, e[1])):
        when = whens[run]
        row = {**rows.get(run, {"RunId": run}), **rule.spec.row}
        wait = replace(wait_of(rule, state.data.since_us), ended=when.at)
        about = Subject(instance=state.instance, fields=row, run_id=run, wait=wait)
        see(
            rule,
            about,
            state,
            Evaluation(at=when.at, holds=False, severity=state.severity, value=state.value),
            when.seq,
            memory,
        )
