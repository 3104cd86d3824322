"""Row rules whose alerts stay open: told again while they do, ended by a later event of the same columns, or by time.

    commits     Failed churn      Completed churn        (event times: the one that ends it is later)
                   |                    |
    told        fired               recovered
                   └── each `repeat_every`: again ──┘ └─ or, after its time: closed, without a word

After each commit that brought events of a run that was told, or events that can end something, the stretches of those runs
are gone through by ``alerts.openings``. Several commits at once come to the same as one after the other. Of a run whose first and
only match they brought nothing is read again: that event is a stretch by itself, whatever else the run said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tocsin.alerts.occurrences import RunEvent, Stretch, stretches
from tocsin.alerts.openings import Ending, Opened, marks, opened_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Phase, Why
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.intent import IntentKind
from tocsin.rules import history, limits
from tocsin.rules.enders import Ender, Enders, enders_of, ending_now, values_of
from tocsin.rules.history import Row, moment, plain, whole_rows
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.opened import (
    columns_for,
    drop,
    ending_of,
    fields_of,
    intent_of,
    keep_open,
    mark,
    opened_alert,
    settle,
    transition_of,
)
from tocsin.rules.rule import Rule
from tocsin.rules.shapes import Hit, Trouble, matches

_TEXTS = frozenset(c.name for c in RUN_STATUS_CHANGED if c.type is KqlType.STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What is known of the runs to be gone through; those that are read."""

    events: Mapping[str, Sequence[RunEvent]]  # by run
    hits: Mapping[Pair, Mapping[EventKey, Hit]]
    values: Mapping[tuple[str, EventKey], Mapping[str, str]]  # columns of `same`, by run and event
    enders: Enders


def on_commits(
    rules: Iterable[Rule],
    pairs: Iterable[Pair],
    alone: Mapping[Pair, Hit],
    times: Mapping[int, datetime],
    after: int,
    reader: LogReader,
    memory: Memory,
    trouble: Trouble,
    rows: Mapping[EventKey, Row],
) -> None:
    """End what the commits of ``times`` (CommitSeq → T), which follow commit ``after``, are the end of.

    ``pairs`` are the runs that they brought events of and that were told of, or may have been, but for those in ``alone``: of these
    they brought the first match, and no other. ``rows`` are some that are known already. A rule that fails is added to
    ``trouble``; then nothing was decided of it.
    """
    recovering = {rule.name: rule for rule in rules if rule.ending is not None and rule.ending.recovers}
    recovering = {name: rule for name, rule in recovering.items() if name not in trouble.rules}
    if not recovering:
        return
    ones = _ones(recovering, alone, after, reader, memory, rows)
    touched = {pair for pair in (*pairs, *alone) if pair[0] in recovering and pair not in ones}
    now = ending_now(recovering.values(), after, max(times), reader, memory)
    waiting = now.waiting - touched - ones.keys()
    _judge_all(recovering, ones, touched, waiting, now.enders, times, after, reader, memory, trouble, rows)


def at_instant(
    rules: Iterable[Rule], pairs: Iterable[Pair], at: datetime, commit_seq: int, reader: LogReader, memory: Memory
) -> Trouble:
    """End what was told at a timer's instant, or is judged anew, where its end is known already."""
    recovering = {rule.name: rule for rule in rules if rule.ending is not None and rule.ending.recovers}
    touched = {pair for pair in pairs if pair[0] in recovering}
    trouble = Trouble()
    if touched:
        times = {commit_seq: at}
        _judge_all(recovering, {}, touched, frozenset(), Enders(), times, commit_seq, reader, memory, trouble, {})
    return trouble


def _judge_all(
    rules: Mapping[str, Rule],
    ones: Mapping[Pair, _One],
    touched: set[Pair],
    waiting: frozenset[Pair],
    enders: Enders,
    times: Mapping[int, datetime],
    after: int,
    reader: LogReader,
    memory: Memory,
    trouble: Trouble,
    known: Mapping[EventKey, Row],
) -> None:
    told = memory.told(touched | waiting)
    if not told and not ones:
        return
    look = _look(rules, touched & told.keys(), told.keys(), ones, enders, after, max(times), reader, trouble)
    ends: list[_End] = []
    open_ = _open(told.keys() | ones.keys(), memory)
    for pair in sorted(told.keys() | ones.keys()):
        if pair[0] in trouble.rules:
            continue
        if pair in ones:
            ends += _judge_one(rules[pair[0]], ones[pair], open_[pair], look.enders, times, memory)
        else:
            ends += _judge(rules[pair[0]], pair[1], told[pair], open_[pair], look, times, reader, memory)
    unread = {e.opened.event: e.opened.commit_seq for e in ends if e.opened.event not in known}
    rows = {**known, **whole_rows(reader, unread.items(), columns_for({e.rule for e in ends}, memory))}
    for end in sorted(ends, key=lambda e: (e.at, e.commit_seq, e.opened.rule, e.opened.run_id, e.opened.occurrence)):
        _tell_end(end, rows.get(end.opened.event, {}), memory)


def _open(pairs: Collection[Pair], memory: Memory) -> dict[Pair, dict[EventKey, Opened]]:
    """What is open of ``pairs``: gone through once, since thousands may be open."""
    found: dict[Pair, dict[EventKey, Opened]] = defaultdict(dict)
    for rule in {name for name, _ in pairs}:
        for state in memory.conditions(rule).values():
            if (rule, state.data.get("run")) in pairs and (opened := opened_of(state)):
                found[(rule, opened.run_id)][opened.event] = opened
    return found


@dataclass(frozen=True, slots=True)
class _One:
    """The first and only match of a run, told by these commits."""

    hit: Hit
    same: tuple[str, ...]  # what it has in the columns of `same`; () where one of them is absent


def _ones(
    rules: Mapping[str, Rule],
    alone: Mapping[Pair, Hit],
    after: int,
    reader: LogReader,
    memory: Memory,
    rows: Mapping[EventKey, Row],
) -> dict[Pair, _One]:
    """Those of ``alone`` that were told, and are known to be alone: nothing is remembered of an earlier match that waits whether
    another try follows.
    """
    plain_ = {name: rule for name, rule in rules.items() if _TEXTS.issuperset(ending_of(rule).same)}
    asked = {pair: hit for pair, hit in alone.items() if pair[0] in plain_ and hit.key in rows}
    if any(plain_[name].final for name, _ in asked):
        waits = "SELECT 1 FROM RunStatusChanged WHERE WillRetry IS NULL AND CommitSeq <= $after LIMIT 1"
        if reader.select(waits, {"after": after}).num_rows:
            asked = {pair: hit for pair, hit in asked.items() if not plain_[pair[0]].final}
    told = memory.told(asked)
    found: dict[Pair, _One] = {}
    for pair, hit in asked.items():
        if any(o.phase is Phase.TOLD for o in told.get(pair, ())):
            row, same = rows[hit.key], ending_of(plain_[pair[0]]).same
            values = tuple(str(row.get(name) or (name == "JobKey" and hit.run_id) or "") for name in same)
            found[pair] = _One(hit, values if all(values) else ())
    return found


def _look(
    rules: Mapping[str, Rule],
    touched: set[Pair],
    pairs: Collection[Pair],
    ones: Mapping[Pair, _One],
    enders: Enders,
    after: int,
    hi: int,
    reader: LogReader,
    trouble: Trouble,
) -> _Look:
    """Read the runs of ``pairs``, and what ended events of those that were touched, and of ``ones``, before commit ``after``."""
    events: dict[str, list[RunEvent]] = defaultdict(list)
    hits: dict[Pair, dict[EventKey, Hit]] = defaultdict(dict)
    values: Mapping[tuple[str, EventKey], Mapping[str, str]] = {}
    if pairs:
        asking = [rules[name] for name in {name for name, _ in pairs}]
        rows_sql, params = history.run_rows(reader, (run for _, run in pairs), hi)
        for seen in history.read(reader, rows_sql, params):
            events[seen.run_id].append(seen.event)
        for hit in matches(reader, asking, rows_sql, params, trouble):
            if (hit.rule.name, hit.run_id) in pairs:
                hits[(hit.rule.name, hit.run_id)][hit.key] = hit
        columns = {name for rule in asking for name in ending_of(rule).same}
        values = values_of(reader, columns, {key for found in hits.values() for key in found}, rows_sql, params)
    since: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for (rule, _), one in ones.items():
        since[rule].append((one.hit.key.time_us, one.same))
    for rule, run in touched:
        for key in hits[(rule, run)]:
            since[rule].append((key.time_us, _same(ending_of(rules[rule]), values, run, key)))
    before = enders_of([(rules[name], asked) for name, asked in since.items()], after, reader)
    return _Look(events=events, hits=hits, values=values, enders=before.and_then(enders))


def _same(
    ending: Ending, values: Mapping[tuple[str, EventKey], Mapping[str, str]], run: str, key: EventKey
) -> tuple[str, ...]:
    """What an event has in the columns of `same`; () where one of them is absent: then nothing is equal to it."""
    found = values.get((run, key), {})
    mine = tuple(found.get(name, "") for name in ending.same)
    return mine if all(mine) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """An alert that recovered."""

    rule: Rule
    opened: Opened
    ender: Ender
    ordinal: int
    computed: Mapping[str, object]
    at: datetime
    commit_seq: int


def _judge_one(
    rule: Rule,
    one: _One,
    open_: Mapping[EventKey, Opened],
    enders: Enders,
    times: Mapping[int, datetime],
    memory: Memory,
) -> list[_End]:
    """As ``_judge``, of a run with one match: a stretch that nothing splits, over by the first event that ends it."""
    hit, ending = one.hit, ending_of(rule)
    opened = open_.get(hit.key)
    if opened is None:
        return []
    opened = replace(opened, same=(one.same,) if one.same else ())
    first = enders.first(ending, one.same, hit.key.time_us) if one.same else None
    seq = max(first, hit.commit_seq) if first is not None else -1
    ender = enders.later(ending, one.same, hit.key.time_us, seq) if seq in times else None
    if ender is None:
        keep_open(opened, ending, memory)
        return []
    drop(opened, memory)
    mark(rule, hit.run_id, hit.key, Phase.CLOSED, times[seq], seq, memory)
    return [
        _End(
            rule=rule, opened=opened, ender=ender, ordinal=0, computed=hit.computed, at=times[seq], commit_seq=seq,
        )
    ]  # fmt: skip


def _judge(
    rule: Rule,
    run: str,
    told: Sequence[Occurrence],
    open_: dict[EventKey, Opened],
    look: _Look,
    times: Mapping[int, datetime],
    reader: LogReader,
    memory: Memory,
) -> list[_End]:
    """Go through a run's stretches after each commit that can have changed something; ``open_`` are its alerts."""
    ending, hits, events = ending_of(rule), look.hits.get((rule.name, run), {}), look.events.get(run, ())
    same = {key: _same(ending, look.values, run, key) for key in hits}
    seen = list(told)
    ends: list[_End] = []
    kept: set[EventKey] = set()  # what is open otherwise than it is remembered
    # of each event, the commit as of which it is over: others that end it change nothing more
    firsts = (look.enders.first(ending, same[key], key.time_us) for key in hits if same[key])
    matched = [e for e in events if e.key in hits]
    begins = min((e.commit_seq for e in matched), default=0)
    relevant = {e.commit_seq for e in events if e.commit_seq >= begins} | {seq for seq in firsts if seq is not None}
    for seq in sorted(relevant & times.keys() if len(times) > 1 else times.keys()):
        matching = {e.key for e in matched if e.commit_seq <= seq}
        if not matching:
            continue
        visible = [e for e in events if e.commit_seq <= seq]
        for stretch in stretches(visible, matching):
            known = marks(seen, seq)
            event = next((e for e in stretch.events if e.key in known.told), None)
            if event is None:
                continue
            opened = open_.get(event.key)
            if stretch.keys & known.ended:
                if opened is not None:  # an earlier part of it was told later, and its end before
                    del open_[event.key]
                    kept.discard(event.key)
                    settle(opened, Why.RECOVERED, times[seq], seq, memory)
                last = next(o.phase for o in reversed(seen) if o.event == event.key)
                if event.key in known.ended and last is not Phase.CLOSED:  # its end was counted first: both are kept
                    seen.append(mark(rule, run, event.key, Phase.CLOSED, times[seq], seq, memory))
                continue
            if opened is None:
                if not known.ended:
                    continue  # told before the rule had an end to wait for, or closed since by time
                opened = _reopened(rule, run, event, hits[event.key], times[seq], seq, reader, memory)
            equal = tuple(sorted({same[e.key] for e in stretch.events if same[e.key]}))
            opened = opened if opened.same == equal else replace(opened, same=equal)
            over = _first_over(stretch, event.key, same, look.enders, ending, seq)
            if over is None:
                if opened != open_.get(event.key):
                    open_[event.key] = opened
                    kept.add(event.key)
                continue
            ended, ender = over
            open_.pop(event.key, None)
            kept.discard(event.key)
            drop(opened, memory)
            phase = Phase.CLOSED if ended == event.key else Phase.RESOLVED
            seen.append(mark(rule, run, ended, phase, times[seq], seq, memory))
            ends.append(
                _End(
                    rule=rule, opened=opened, ender=ender, ordinal=len(known.ended), computed=hits[event.key].computed,
                    at=times[seq], commit_seq=seq,
                )
            )  # fmt: skip
    for key, opened in open_.items():
        if key in kept:
            keep_open(opened, ending, memory)
    return ends


def _first_over(
    stretch: Stretch, told: EventKey, same: Mapping[EventKey, tuple[str, ...]], enders: Enders, ending: Ending, seq: int
) -> tuple[EventKey, Ender] | None:
    """The event of a stretch that is over as of commit ``seq``, the one that was told first of all, and what ended it."""
    keys = sorted((e.key for e in stretch.events), key=lambda k: k != told)
    for key in keys:
        ender = enders.later(ending, same[key], key.time_us, seq) if same[key] else None
        if ender is not None:
            return key, ender
    return None


def _reopened(
    rule: Rule,
    run: str,
    event: RunEvent,
    hit: Hit,
    at: datetime,
    commit_seq: int,
    reader: LogReader,
    memory: Memory,
) -> Opened:
    """What was told and ended as a part of another stretch stands alone now: late events split it. It is open again."""
    row = whole_rows(reader, [(event.key, event.commit_seq)]).get(event.key, {})
    occurrence = Occurrence(
        rule=rule.name, run_id=run, event=event.key, phase=Phase.TOLD, at=at, commit_seq=event.commit_seq
    )  # fmt: skip
    opened = opened_alert(rule, occurrence, {**row, **{name: plain(value) for name, value in hit.computed.items()}}, at)
    memory.transitions.append(transition_of(opened, Phase.RESOLVED, Phase.FIRING, Why.HOLDS_AGAIN, at, commit_seq))
    return opened


def _tell_end(end: _End, row: Row, memory: Memory) -> None:
    opened = end.opened
    memory.transitions.append(
        transition_of(opened, Phase.FIRING, Phase.RESOLVED, Why.RECOVERED, end.at, end.commit_seq)
    )  # fmt: skip
    time = moment(end.ender.time_us)
    data = {
        "recovered_by": end.ender.run_id,
        "status": end.ender.status,
        "time": plain(time),
        "text": f"by run {end.ender.run_id}, {end.ender.status} at {time:%Y-%m-%d %H:%M} UTC",
    }
    fields = fields_of(opened, row, end.computed)
    intent = intent_of(
        end.rule, opened, fields, IntentKind.RESOLVED, Why.RECOVERED, end.ordinal, data, end.at, end.commit_seq
    )
    limits.tell(end.rule.name, end.rule.limit, intent, end.rule.info, memory, beyond=opened.beyond)
