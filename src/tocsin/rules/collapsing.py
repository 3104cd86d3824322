"""Rules with ``collapse:`` over what the row engine has decided: children count for their parent, which is told once for all.

    decisions     c1 fails   c2 fails   lone fails   …   c12 fails   the parent ends
                     |          |           |               |               |
    children      counted    counted        |            counted            |
    told                                 as ever        the parent     again, in full

A run that has no parent is told as by any row rule. A parent's own failure is, too, unless its end is told in the same breath.
Several commits at once come to the same as one after the other: each parent is looked at after each commit that brought one
of its children's occurrences or one of its own events, as of that commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush

from tocsin.alerts.decisions import why_stale
from tocsin.alerts.openings import Opened, opened_of
from tocsin.alerts.sweeps import Ending, Sweep, ending, key_of, may_tell, state_of, sweep_of, why_tell
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Why
from tocsin.model.heard import Heard
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.rules.collapse import Collapsed
from tocsin.rules.decisions import TELLS, Decision, write_limited
from tocsin.rules.history import Seen, moment, plain, whole_rows
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.opened import drop, keep_open
from tocsin.rules.rule import Rule
from tocsin.rules.sweeps_open import End, current, end_of, ends_of, open_sweeps, opened_sweep, recovers
from tocsin.rules.sweeps_read import COUNTS, Children, Expected, Matched, Place, Rows, lines_of, newest_of, parents_of
from tocsin.rules.sweeps_tell import Telling, Told, summed_up, tell

KEPT = timedelta(days=30)
"""A parent is forgotten so long after anything last happened to it; what came then would be a new sweep."""
MANY = 1000
"""Above so many runs it is quicker to go through the parents that are remembered."""
TOLD_NOW = frozenset({Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED})

Instant = tuple[datetime, int]
"""T, and the last commit seen."""


def terms_of(rule: Rule) -> Collapsed:
    """What a rule with ``collapse:`` says there."""
    assert rule.collapse is not None
    return rule.collapse


def remembered_parents(rule: Rule, runs: Collection[str], memory: Memory) -> set[str]:
    """Those of ``runs`` that are parents of which the rule remembers something."""
    if len(runs) > MANY:
        return {str(state.instance.get("RunId")) for state in memory.conditions(rule.name).values()} & set(runs)
    return {run for run in runs if memory.condition(rule.name, key_of(run)) is not None}


def collapse(
    decisions: Sequence[Decision],
    reader: LogReader,
    memory: Memory,
    heard: Heard,
    hi: int,
    *,
    times: Mapping[int, datetime] | None = None,
    parents: Mapping[str, Collection[str]] | None = None,
    rules: Mapping[str, Rule] | None = None,
) -> list[Decision]:
    """What is left to be told of ``decisions`` one by one; those of children become COLLAPSED, and sweeps are told.

    Of commits, ``times`` says when each was, and ``parents`` names by rule the remembered parents that they brought events of.
    ``hi`` is the last commit that any decision sees.
    """
    ours = sorted((d for d in decisions if d.rule.collapse is not None and d.why in TELLS), key=lambda d: d.order)
    touched = {name: runs for name, runs in (parents or {}).items() if runs}
    ends = _ends(rules or {}, times or {}, hi, reader, memory)
    if not ours and not touched and not ends:
        return list(decisions)
    others = [d for d in decisions if d.rule.collapse is None or d.why not in TELLS]
    known = {**(rules or {}), **{d.rule.name: d.rule for d in ours}}
    fold = _Fold(reader, memory, heard, hi, Rows(reader, hi), ends=ends, times=times or {})
    fold.learn(ours)
    for name, runs in touched.items():
        for run in runs:
            fold.about[(name, run)]
    for decision in fold.alone:
        if memory.condition(decision.rule.name, key_of(decision.run_id)) is not None:
            fold.about[(decision.rule.name, decision.run_id)]
    fold.lines = lines_of(reader, {parent for _, parent in fold.about}, hi)
    own: dict[Instant, list[Decision]] = defaultdict(list)
    children: dict[Instant, dict[Pair, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for pair, of in fold.about.items():
        for decision in of:
            children[(decision.at, decision.commit_seq)][pair].append(decision)
        for seq in {s.event.commit_seq for s in fold.lines.get(pair[1], ())} & (times or {}).keys():
            assert times is not None
            children[(times[seq], seq)][pair]
    for decision in fold.alone:
        own[(decision.at, decision.commit_seq)].append(decision)
    limited = whole_rows(reader, ((d.event.key, d.event.commit_seq) for d in fold.alone if d.rule.limit is not None))
    fold.foresee(known, children)
    fold.look_at(children.keys() | own.keys())
    fold.look_when({end.seq for of in ends.values() for end in of})
    while fold.instants:
        instant = heappop(fold.instants)
        for (name, parent), of in sorted(children[instant].items(), key=lambda item: item[0]):
            fold.look(known[name], parent, instant, of)
        alone = [fold.parents_own(decision) for decision in own[instant]]
        fold.out += write_limited(alone, memory, reader, heard, limited)
        for name in list(fold.ends):
            fold.recover(known[name], instant)
    return [*others, *fold.out]


def _ends(
    rules: Mapping[str, Rule], times: Mapping[int, datetime], hi: int, reader: LogReader, memory: Memory
) -> dict[str, list[End]]:
    """What commits brought that may end alerts of sweeps that are open, by rule; rules without any are left out."""
    found = {
        name: ends_of(rule, opened, reader, min(times) - 1, hi)
        for name, rule in rules.items()
        if times and recovers(rule) and (opened := open_sweeps(rule, memory))
    }
    return {name: ends for name, ends in found.items() if ends}


def again(rule: Rule, opened: Opened, at: datetime, commit_seq: int, reader: LogReader, memory: Memory) -> None:
    """Tell an open alert of a sweep once more, as its children stand now; not of a try that was begun anew since."""
    sweep = current(opened, memory)
    if sweep is None or opened.sweep is None or sweep.begin != opened.sweep.begin:
        return
    fold = _Fold(reader, memory, Heard(), commit_seq, Rows(reader, commit_seq))
    fold.lines = lines_of(reader, {sweep.parent}, commit_seq)
    sweep, matched = fold.standing(rule, sweep, commit_seq)
    now = fold.ending_of(sweep.parent, commit_seq)
    telling = Telling(
        sweep=sweep,
        why=Why.STILL_FIRING,
        matched=matched,
        ended=now.event.status if now.event is not None else "",
        at=at,
        commit_seq=commit_seq,
        event_time=moment(opened.event.time_us),
        computed=sweep.computed,
        said={"since": plain(opened.at)},
    )
    tell(rule, telling, fold.rows, memory)
    memory.put_condition(state_of(sweep.repeated(), rule.name, rule.severity, at))


def forget(timer: Timer, memory: Memory) -> None:
    """Nothing has happened to a parent for long."""
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    memory.drop_condition(timer.rule, timer.key)


@dataclass(slots=True)
class _Fold:
    """What is known while the instants are gone through."""

    reader: LogReader
    memory: Memory
    heard: Heard
    hi: int
    rows: Rows
    about: dict[Pair, list[Decision]] = field(default_factory=lambda: defaultdict(list))  # by (rule, parent)
    alone: list[Decision] = field(default_factory=list)  # of runs without a parent
    out: list[Decision] = field(default_factory=list)
    lines: Mapping[str, list[Seen]] = field(default_factory=dict)  # events of parents
    told: dict[Pair, list[Occurrence]] = field(default_factory=dict)  # of children, those decided here too
    places: list[Place] = field(default_factory=list)  # where children may have to be counted
    ends: dict[str, list[End]] = field(default_factory=dict)  # that may end alerts of sweeps, by rule
    times: Mapping[int, datetime] = field(default_factory=dict)  # of the commits, by CommitSeq
    instants: list[Instant] = field(default_factory=list)  # to be looked at, a heap
    known: set[Instant] = field(default_factory=set)  # those that were ever in it

    def look_at(self, instants: Iterable[Instant]) -> None:
        """Go through these instants too, each once."""
        for instant in set(instants) - self.known:
            self.known.add(instant)
            heappush(self.instants, instant)

    def look_when(self, seqs: Iterable[int]) -> None:
        """Go through the instants of those of the commits that are among ``seqs``."""
        self.look_at({(self.times[seq], seq) for seq in seqs if seq in self.times})

    def learn(self, ours: Sequence[Decision]) -> None:
        """Find whose children the runs of ``ours`` are."""
        named: dict[str, Mapping[str, tuple[tuple[int, str], ...]]] = {}
        for column in {terms_of(d.rule).column for d in ours}:
            runs = {d.run_id for d in ours if terms_of(d.rule).column == column}
            named[column] = parents_of(self.reader, column, runs, self.hi)
        for decision in ours:
            said = named[terms_of(decision.rule).column].get(decision.run_id, ())
            parent = next((parent for seq, parent in reversed(said) if seq <= decision.commit_seq), None)
            if parent is None:
                self.alone.append(decision)
            else:
                self.about[(decision.rule.name, parent)].append(decision)
        pairs = {(d.rule.name, d.run_id) for d in ours}
        found = self.memory.told(pairs)
        self.told = {pair: list(found.get(pair, ())) for pair in pairs}

    def foresee(self, rules: Mapping[str, Rule], looks: Mapping[Instant, Mapping[Pair, Sequence[Decision]]]) -> None:
        """Read at once what is needed at these instants; where alerts end meanwhile, the rest is read when it is told."""
        self.places = [(parent, self.ending_of(parent, self.hi).begin) for _, parent in self.about]
        sweeps: dict[Pair, Sweep | None] = {}
        told = {pair: list(seen) for pair, seen in self.told.items()}
        expected: list[Expected] = []
        for instant in sorted(looks):
            for pair, decisions in looks[instant].items():
                rule, (_, seq) = rules[pair[0]], instant
                before = sweeps[pair] if pair in sweeps else self._sweep(rule, pair[1])
                if before is None and not decisions:
                    continue
                now = self.ending_of(pair[1], seq)
                sweep = _counted(before, pair[1], now, decisions, told)
                if may_tell(sweep, terms_of(rule).terms, now):
                    children = self._children(rule, sweep)
                    sweep = sweep.counted(len(children.upto(seq)))
                    if why_tell(sweep, terms_of(rule).terms, now) in TOLD_NOW:
                        expected.append(Expected(pair[1], seq, self._newest(rule, sweep, children, seq, told)))
                        sweep = sweep.after(now, {})
                sweeps[pair] = sweep
        self.rows.expect(expected)

    def look(self, rule: Rule, parent: str, instant: Instant, children: Sequence[Decision]) -> None:
        """Look at a parent after an instant."""
        at, seq = instant
        before = self._sweep(rule, parent)
        if before is None and not children:
            return
        now = self.ending_of(parent, seq)
        self.out += [replace(decision, why=Why.COLLAPSED) for decision in children]
        sweep = _counted(before, parent, now, children, self.told)
        if may_tell(sweep, terms_of(rule).terms, now):
            sweep = self._judge(rule, sweep, now, instant, children)
        if sweep != before:
            self.memory.put_condition(state_of(sweep, rule.name, rule.severity, at))
            self.memory.put_timer(
                Timer(rule=rule.name, kind=TimerKind.CLOSE, key=key_of(parent), due=at + KEPT, data={"sweep": parent})
            )

    def parents_own(self, decision: Decision) -> Decision:
        """A run without a parent is told by itself, with what is known of its children; not where its end has been told."""
        rule, parent = decision.rule, decision.run_id
        sweep = self._sweep(rule, parent)
        if sweep is None or not sweep.matched:
            return decision
        if sweep.over(self.ending_of(parent, decision.commit_seq)):
            return replace(decision, why=Why.COLLAPSED)
        sweep, matched = self.standing(rule, sweep, decision.commit_seq)
        about = summed_up(rule, sweep, matched, decision.event.status if decision.event.terminal else "")
        return replace(decision, about={"sweep": about})

    def _sweep(self, rule: Rule, parent: str) -> Sweep | None:
        state = self.memory.condition(rule.name, key_of(parent))
        return None if state is None else sweep_of(state)

    def ending_of(self, parent: str, seq: int) -> Ending:
        """How things stand with a parent as of a commit."""
        return ending(s.event for s in self.lines.get(parent, ()) if s.event.commit_seq <= seq)

    def _judge(
        self, rule: Rule, sweep: Sweep, now: Ending, instant: Instant, decided: Sequence[Decision]
    ) -> Sweep:  # fmt: skip
        """Count the children, and tell where it is time to."""
        at, seq = instant
        children = self._children(rule, sweep)
        sweep = sweep.counted(len(children.upto(seq)))
        why = why_tell(sweep, terms_of(rule).terms, now)
        if why not in TOLD_NOW:
            return sweep
        caused = [(d.event.key, d.consumer) for d in decided]
        if now.event is not None and not self._stale(rule, sweep.parent, now, at):
            caused.append((now.event.key, self._consumer(sweep.parent, now.event.key)))
        if not caused:  # only an end, too old to tell
            return sweep.ended(now) if sweep.told else sweep
        key, consumer = max(caused, key=lambda each: (each[0].time_us, each[0].source, each[0].event_id))
        telling = Telling(
            sweep=sweep,
            why=why,
            matched=self._matched(rule, sweep, children, seq),
            ended=now.event.status if now.event is not None else "",
            at=at,
            commit_seq=seq,
            event_time=moment(key.time_us),
            computed=sweep.computed,
        )
        told = tell(rule, telling, self.rows, self.memory)
        after = sweep.after(now, told.instance)
        if telling.kind is IntentKind.FIRED:
            after = replace(after, beyond=told.beyond)
        self._keep_open(rule, after, telling, told, key, consumer)
        return after

    def _keep_open(
        self, rule: Rule, sweep: Sweep, telling: Telling, told: Told, caused_by: EventKey, consumer: str
    ) -> None:
        """What was told stays open, where the rule says so; told again, it is repeated so much later."""
        if rule.ending is None:
            return
        now = opened_sweep(
            rule, sweep, told.event, labels=told.labels, keep=told.keep, caused_by=caused_by, consumer=consumer,
            at=telling.at, commit_seq=telling.commit_seq, beyond=told.beyond,
        )  # fmt: skip
        if telling.kind is IntentKind.FIRED:
            keep_open(now, rule.ending, self.memory)
            if recovers(rule):
                found = ends_of(rule, [now], self.reader, 0, self.hi)
                self.ends[rule.name] = [*self.ends.get(rule.name, ()), *found]
                self.look_when(end.seq for end in found if end.seq > telling.commit_seq)
            return
        state = self.memory.condition(rule.name, now.state.key)
        before = opened_of(state) if state is not None else None
        if before is not None:  # else time has closed it: what is new is told all the same
            keep_open(replace(before, told_at=telling.at, sweep=now.sweep), rule.ending, self.memory)

    def recover(self, rule: Rule, instant: Instant) -> None:
        """End open alerts of sweeps of which that is known as of an instant."""
        at, seq = instant
        for opened in open_sweeps(rule, self.memory):
            end = end_of(opened, self.ends[rule.name], seq, self.memory)
            if end is None or opened.sweep is None:
                continue
            begin, matched, children = opened.sweep
            drop(opened, self.memory)
            sweep = current(opened, self.memory)
            some: list[Matched] = []
            if (
                sweep is None or sweep.begin != begin
            ):  # of an earlier try: what was counted then is known, but not of whom
                sweep = Sweep(parent=opened.run_id, begin=begin, matched=matched, children=children)
            else:
                sweep, some = self.standing(rule, sweep, seq)
                self.memory.put_condition(state_of(replace(sweep, recovered=True), rule.name, rule.severity, at))
            time = moment(end.time_us)
            said = {
                "recovered_by": end.run_id, "status": end.status, "time": plain(time),
                "text": f"by run {end.run_id}, {end.status} at {time:%Y-%m-%d %H:%M} UTC",
            }  # fmt: skip
            telling = Telling(
                sweep=replace(sweep, instance=opened.instance, beyond=opened.beyond),
                why=Why.RECOVERED, matched=some, ended="", at=at, commit_seq=seq,
                event_time=moment(opened.event.time_us), computed=sweep.computed, said=said,
            )  # fmt: skip
            tell(rule, telling, self.rows, self.memory)

    def standing(self, rule: Rule, sweep: Sweep, seq: int) -> tuple[Sweep, list[Matched]]:
        """A sweep with its children counted as of commit ``seq``, and those that count."""
        children = self._children(rule, sweep)
        return sweep.counted(len(children.upto(seq))), self._matched(rule, sweep, children, seq)

    def _stale(self, rule: Rule, parent: str, now: Ending, at: datetime) -> bool:
        """Whether the parent's end is too old to tell."""
        assert now.event is not None
        key = now.event.key
        first = self.heard.stale_before(self._consumer(parent, key))
        return why_stale(moment(key.time_us), at, within=rule.tell_within, first_start=first) is not None

    def _consumer(self, parent: str, key: EventKey) -> str:
        """That brought an event of a parent."""
        return next(s.consumer for s in self.lines[parent] if s.event.key == key)

    def _children(self, rule: Rule, sweep: Sweep) -> Children:
        return self.rows.children(terms_of(rule).column, (sweep.parent, sweep.begin), self.places)

    def _newest(
        self, rule: Rule, sweep: Sweep, children: Children, seq: int, here: Mapping[Pair, Sequence[Occurrence]]
    ) -> dict[str, EventKey]:
        """The newest occurrence of each child that counts; ``here`` are those of runs that were decided here."""
        pairs = {(rule.name, child.run) for child in children.upto(seq)}
        told = {**self.memory.told(pairs - here.keys()), **{p: here[p] for p in pairs & here.keys()}}
        return newest_of(told, sweep.begin, seq)

    def _matched(self, rule: Rule, sweep: Sweep, children: Children, seq: int) -> list[Matched]:
        """The children that count, in the order in which it happened."""
        return self.rows.matched(self._newest(rule, sweep, children, seq, self.told))


def _counted(
    before: Sweep | None, parent: str, now: Ending, decisions: Sequence[Decision], told: Mapping[Pair, list[Occurrence]]
) -> Sweep:
    """A sweep once occurrences of its children count, once for each child; they are added to ``told``."""
    sweep = (before or Sweep(parent=parent)).heard(now)
    for decision in decisions:
        seen = told[(decision.rule.name, decision.run_id)]
        again = any(o.phase in COUNTS and o.commit_seq > sweep.begin for o in seen)
        seen.append(replace(decision, why=Why.COLLAPSED).occurrence)
        if not again:
            computed = sweep.computed or {name: plain(value) for name, value in decision.computed.items()}
            sweep = replace(sweep, matched=sweep.matched + 1, computed=computed)
    return sweep
