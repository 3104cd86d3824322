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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tocsin.alerts.decisions import why_stale
from tocsin.alerts.sweeps import Ending, Sweep, ending, key_of, may_tell, state_of, sweep_of, why_tell
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import Occurrence, Phase, Why
from tocsin.model.heard import Heard
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.collapse import Collapsed
from tocsin.rules.decisions import TELLS, Decision
from tocsin.rules.history import Seen, moment, plain
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.rule import Rule
from tocsin.rules.sweeps_read import Children, Matched, children_of, lines_of, matched_of, parents_of
from tocsin.rules.sweeps_tell import Telling, summed_up, tell

KEPT = timedelta(days=30)
"""A parent is forgotten so long after anything last happened to it; what came then would be a new sweep."""
MANY = 1000
"""Above so many runs it is quicker to go through the parents that are remembered."""
TOLD_NOW = frozenset({Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED})
COUNTS = frozenset({Phase.TOLD, Phase.COLLAPSED})

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
    if not ours and not touched:
        return list(decisions)
    others = [d for d in decisions if d.rule.collapse is None or d.why not in TELLS]
    known = {**(rules or {}), **{d.rule.name: d.rule for d in ours}}
    fold = _Fold(reader, memory, heard, hi)
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
    for instant in sorted(children.keys() | own.keys()):
        for (name, parent), of in sorted(children[instant].items(), key=lambda item: item[0]):
            fold.look(known[name], parent, instant, of)
        for decision in own[instant]:
            fold.parents_own(decision)
    return [*others, *fold.out]


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
    about: dict[Pair, list[Decision]] = field(default_factory=lambda: defaultdict(list))  # by (rule, parent)
    alone: list[Decision] = field(default_factory=list)  # of runs without a parent
    out: list[Decision] = field(default_factory=list)
    lines: Mapping[str, list[Seen]] = field(default_factory=dict)  # events of parents
    told: dict[Pair, list[Occurrence]] = field(default_factory=dict)  # of children, those decided here too
    counted: dict[tuple[str, str, int], Children] = field(default_factory=dict)  # by (column, parent, begin)

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

    def look(self, rule: Rule, parent: str, instant: Instant, children: Sequence[Decision]) -> None:
        """Look at a parent after an instant."""
        at, seq = instant
        before = self._sweep(rule, parent)
        if before is None and not children:
            return
        now = self._ending(parent, seq)
        sweep = (before or Sweep(parent=parent)).heard(now)
        for decision in children:
            sweep = self._count(sweep, decision)
        if may_tell(sweep, terms_of(rule).terms, now):
            sweep = self._judge(rule, sweep, now, instant, children)
        if sweep != before:
            self.memory.put_condition(state_of(sweep, rule.name, rule.severity, at))
            self.memory.put_timer(
                Timer(rule=rule.name, kind=TimerKind.CLOSE, key=key_of(parent), due=at + KEPT, data={"sweep": parent})
            )

    def parents_own(self, decision: Decision) -> None:
        """A run without a parent is told by itself, with what is known of its children; not where its end has been told."""
        rule, parent = decision.rule, decision.run_id
        sweep = self._sweep(rule, parent)
        if sweep is None or not sweep.matched:
            self.out.append(decision)
            return
        if sweep.over(self._ending(parent, decision.commit_seq)):
            self.out.append(replace(decision, why=Why.COLLAPSED))
            return
        children = self._children(rule, sweep)
        sweep = sweep.counted(len(children.upto(decision.commit_seq)))
        ended = decision.event.status if decision.event.terminal else ""
        about = summed_up(rule, sweep, self._matched(rule, sweep, children, decision.commit_seq), ended)
        self.out.append(replace(decision, about={"sweep": about}))

    def _sweep(self, rule: Rule, parent: str) -> Sweep | None:
        state = self.memory.condition(rule.name, key_of(parent))
        return None if state is None else sweep_of(state)

    def _ending(self, parent: str, seq: int) -> Ending:
        return ending(s.event for s in self.lines.get(parent, ()) if s.event.commit_seq <= seq)

    def _count(self, sweep: Sweep, decision: Decision) -> Sweep:
        """A child's occurrence counts, once for each child."""
        collapsed = replace(decision, why=Why.COLLAPSED)
        self.out.append(collapsed)
        seen = self.told[(decision.rule.name, decision.run_id)]
        again = any(o.phase in COUNTS and o.commit_seq > sweep.begin for o in seen)
        seen.append(collapsed.occurrence)
        if again:
            return sweep
        computed = sweep.computed or {name: plain(value) for name, value in decision.computed.items()}
        return replace(sweep, matched=sweep.matched + 1, computed=computed)

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
        caused = [moment(d.event.key.time_us) for d in decided]
        if now.event is not None and not self._stale(rule, sweep.parent, now, at):
            caused.append(moment(now.event.key.time_us))
        if not caused:  # only an end, too old to tell
            return sweep.ended(now) if sweep.told else sweep
        telling = Telling(
            sweep=sweep,
            why=why,
            matched=self._matched(rule, sweep, children, seq),
            ended=now.event.status if now.event is not None else "",
            at=at,
            commit_seq=seq,
            event_time=max(caused),
            computed=sweep.computed,
        )
        instance = tell(rule, telling, self.reader, self.memory)
        return sweep.after(now, instance)

    def _stale(self, rule: Rule, parent: str, now: Ending, at: datetime) -> bool:
        """Whether the parent's end is too old to tell."""
        assert now.event is not None
        key = now.event.key
        consumer = next(s.consumer for s in self.lines[parent] if s.event.key == key)
        first = self.heard.stale_before(consumer)
        return why_stale(moment(key.time_us), at, within=rule.tell_within, first_start=first) is not None

    def _children(self, rule: Rule, sweep: Sweep) -> Children:
        column = terms_of(rule).column
        place = (column, sweep.parent, sweep.begin)
        if place not in self.counted:
            wanted = {sweep.parent} if sweep.begin else {sweep.parent, *(parent for _, parent in self.about)}
            for parent, found in children_of(self.reader, column, wanted, sweep.begin, self.hi).items():
                self.counted[(column, parent, sweep.begin)] = found
        return self.counted[place]

    def _matched(self, rule: Rule, sweep: Sweep, children: Children, seq: int) -> list[Matched]:
        """The children that count, each by its newest occurrence."""
        pairs = {(rule.name, child.run) for child in children.upto(seq)}
        told = {**self.memory.told(pairs - self.told.keys()), **{p: self.told[p] for p in pairs & self.told.keys()}}
        newest = {
            run: max(counting, key=lambda key: (key.time_us, key.source, key.event_id))
            for (_, run), seen in told.items()
            if (counting := [o.event for o in seen if o.phase in COUNTS and sweep.begin < o.commit_seq <= seq])
        }
        return matched_of(self.reader, newest, seq)
