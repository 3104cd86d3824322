"""Rules with ``collapse:`` over what the row engine has decided: children count for their parent, which is notified
once for all.

    decisions     c1 fails   c2 fails   lone fails   …   c12 fails   the parent ends
                     |          |           |               |               |
    children      counted    counted        |            counted            |
    notified                                 as ever        the parent     again, in full

A run that has no parent is notified as by any event rule. A parent's own failure is, too, unless its end is notified in
the same breath. Several commits at once come to the same as one after the other: each parent is evaluated after each
commit that brought one of its children's occurrences or one of its own events, as of that commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush

from tocsin.alerts.active import ActiveAlert, active_alert_of
from tocsin.alerts.decisions import why_expired
from tocsin.alerts.parents import (
    ParentGroup,
    ResolvePolicy,
    key_of,
    may_notify,
    parent_group_of,
    resolve_policy,
    state_of,
    why_notify,
)
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Why
from tocsin.model.details import EndedBy
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import Parent
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.history import PastEvent, moment, plain, whole_rows
from tocsin.rules.kinds.event.collapsed import Collapsed
from tocsin.rules.kinds.event.decisions import NOTIFIES, Decision, write_limited
from tocsin.rules.kinds.event.parents.active import (
    End,
    active_parent_group,
    current,
    end_of,
    ends_of,
    open_parent_groups,
    recovers,
)
from tocsin.rules.kinds.event.parents.emit import Notification, Notified, notify, summed_up
from tocsin.rules.kinds.event.parents.read import (
    COUNTS,
    Children,
    Expected,
    Matched,
    Place,
    Rows,
    lines_of,
    newest_of,
    parents_of,
)
from tocsin.rules.kinds.event.resolve.active import drop, keep_open
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.memory import Memory, Pair

KEPT = timedelta(days=30)
"""A parent is forgotten so long after anything last happened to it; what came then would be a new sweep."""
MANY = 1000
"""Above so many runs it is quicker to go through the parents that are remembered."""
NOTIFIED_NOW = frozenset({Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED})

Instant = tuple[datetime, int]
"""T, and the last commit seen."""


def terms_of(rule: EventRule) -> Collapsed:
    """What a rule with ``collapse:`` says there."""
    assert rule.spec.collapse is not None
    return rule.spec.collapse


def remembered_parents(rule: EventRule, runs: Collection[str], memory: Memory) -> set[str]:
    """Those of ``runs`` that are parents of which the rule remembers something."""
    if len(runs) > MANY:
        return {str(state.instance.get("RunId")) for state in memory.conditions(rule.name).values()} & set(runs)
    return {run for run in runs if memory.condition(rule.name, key_of(run)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What commits brought; nothing where decisions are a timer's."""

    times: Mapping[int, datetime] = field(default_factory=dict)  # CommitSeq → T
    parents: Mapping[str, Collection[str]] = field(default_factory=dict)  # remembered ones, by rule
    rules: Mapping[str, EventRule] = field(default_factory=dict)


def collapse(
    decisions: Sequence[Decision],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    hi: int,
    brought: Brought,
) -> list[Decision]:
    """What is left to be notified of ``decisions`` one by one; those of children become COLLAPSED, and parent groups
    are notified. ``hi`` is the last commit that any decision sees.
    """
    times, rules = brought.times, brought.rules
    ours = sorted(
        (d for d in decisions if d.rule.spec.collapse is not None and d.why in NOTIFIES), key=lambda d: d.order
    )
    touched = {name: runs for name, runs in brought.parents.items() if runs}
    ends = _ends(rules, times, hi, reader, memory)
    if not ours and not touched and not ends:
        return list(decisions)
    others = [d for d in decisions if d.rule.spec.collapse is None or d.why not in NOTIFIES]
    known = {**rules, **{d.rule.name: d.rule for d in ours}}
    fold = _Fold(reader, memory, source_progress, hi, Rows(reader, hi), ends=ends, times=times)
    fold.learn(ours, touched)
    children = fold.of_children()
    own: dict[Instant, list[Decision]] = defaultdict(list)
    for decision in fold.alone:
        own[(decision.at, decision.commit_seq)].append(decision)
    limited = whole_rows(reader, ((d.event.key, d.event.commit_seq) for d in fold.alone if d.rule.limit is not None))
    fold.foresee(known, children)
    fold.evaluate_at(children.keys() | own.keys())
    fold.evaluate_when({end.seq for of in ends.values() for end in of})
    while fold.instants:
        instant = heappop(fold.instants)
        for (name, parent), of in sorted(children[instant].items(), key=lambda item: item[0]):
            fold.evaluate(known[name], parent, instant, of)
        alone = [fold.parents_own(decision) for decision in own[instant]]
        fold.out += write_limited(alone, memory, reader, source_progress, limited)
        for name in list(fold.ends):
            fold.recover(known[name], instant)
    return [*others, *fold.out]


def _ends(
    rules: Mapping[str, EventRule], times: Mapping[int, datetime], hi: int, reader: LogReader, memory: Memory
) -> dict[str, list[End]]:
    """What commits brought that may end alerts of parent groups that are open, by rule; rules without any are left
    out.
    """
    found = {
        name: ends_of(rule, active, reader, min(times) - 1, hi)
        for name, rule in rules.items()
        if times and recovers(rule) and (active := open_parent_groups(rule, memory))
    }
    return {name: ends for name, ends in found.items() if ends}


def again(
    rule: EventRule, active: ActiveAlert, at: datetime, commit_seq: int, reader: LogReader, memory: Memory
) -> None:
    """Notify an open alert of a parent group once more, as its children stand now; not of an attempt that was begun
    again since.
    """
    parent_group = current(active, memory)
    if parent_group is None or active.parent_group is None or parent_group.begin != active.parent_group.begin:
        return
    fold = _Fold(reader, memory, SourceProgress(), commit_seq, Rows(reader, commit_seq))
    fold.lines = lines_of(reader, {parent_group.parent}, commit_seq)
    parent_group, matched = fold.standing(rule, parent_group, commit_seq)
    now = fold.resolve_policy_of(parent_group.parent, commit_seq)
    notification = Notification(
        parent_group=parent_group,
        why=Why.STILL_FIRING,
        matched=matched,
        ended=now.event.status if now.event is not None else "",
        at=at,
        commit_seq=commit_seq,
        event_time=moment(active.event.time_us),
        computed=parent_group.computed,
        since=active.at,
    )
    notify(rule, notification, fold.rows, memory)
    memory.put_condition(state_of(parent_group.repeated(), rule.name, rule.severity, at))


def forget(timer: Timer, memory: Memory) -> None:
    """Nothing has happened to a parent for long."""
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    memory.drop_condition(timer.rule, timer.key)


@dataclass(slots=True)
class _Fold:
    """What is known while the instants are gone through."""

    reader: LogReader
    memory: Memory
    source_progress: SourceProgress
    hi: int
    rows: Rows
    about: dict[Pair, list[Decision]] = field(default_factory=lambda: defaultdict(list))  # by (rule, parent)
    alone: list[Decision] = field(default_factory=list)  # of runs without a parent
    out: list[Decision] = field(default_factory=list)
    lines: Mapping[str, list[PastEvent]] = field(default_factory=dict)  # events of parents
    notified: dict[Pair, list[Occurrence]] = field(default_factory=dict)  # of children, those decided here too
    places: list[Place] = field(default_factory=list)  # where children may have to be counted
    ends: dict[str, list[End]] = field(default_factory=dict)  # that may end alerts of parent groups, by rule
    times: Mapping[int, datetime] = field(default_factory=dict)  # of the commits, by CommitSeq
    instants: list[Instant] = field(default_factory=list)  # to be evaluated, a heap
    known: set[Instant] = field(default_factory=set)  # those that were ever in it

    def evaluate_at(self, instants: Iterable[Instant]) -> None:
        """Go through these instants too, each once."""
        for instant in set(instants) - self.known:
            self.known.add(instant)
            heappush(self.instants, instant)

    def evaluate_when(self, seqs: Iterable[int]) -> None:
        """Go through the instants of those of the commits that are among ``seqs``."""
        self.evaluate_at({(self.times[seq], seq) for seq in seqs if seq in self.times})

    def of_children(self) -> dict[Instant, dict[Pair, list[Decision]]]:
        """What was decided of children by instant and parent, with the instants at which a parent brought something."""
        children: dict[Instant, dict[Pair, list[Decision]]] = defaultdict(lambda: defaultdict(list))
        for pair, of in self.about.items():
            for decision in of:
                children[(decision.at, decision.commit_seq)][pair].append(decision)
            for seq in {s.event.commit_seq for s in self.lines.get(pair[1], ())} & self.times.keys():
                children[(self.times[seq], seq)][pair]
        return children

    def learn(self, ours: Sequence[Decision], touched: Mapping[str, Collection[str]]) -> None:
        """Find whose children the runs of ``ours`` are, and read the events of their parents, and of those that were
        ``touched``.
        """
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
        found = self.memory.notified(pairs)
        self.notified = {pair: list(found.get(pair, ())) for pair in pairs}
        for name, parents in touched.items():
            for parent in parents:
                self.about[(name, parent)]
        for decision in self.alone:
            if self.memory.condition(decision.rule.name, key_of(decision.run_id)) is not None:
                self.about[(decision.rule.name, decision.run_id)]
        self.lines = lines_of(self.reader, {parent for _, parent in self.about}, self.hi)

    def foresee(
        self, rules: Mapping[str, EventRule], evaluations: Mapping[Instant, Mapping[Pair, Sequence[Decision]]]
    ) -> None:
        """Read at once what is needed at these instants; where alerts end meanwhile, the rest is read when it is
        notified.
        """
        self.places = [(parent, self.resolve_policy_of(parent, self.hi).begin) for _, parent in self.about]
        parent_groups: dict[Pair, ParentGroup | None] = {}
        notified = {pair: list(seen) for pair, seen in self.notified.items()}
        expected: list[Expected] = []
        for instant in sorted(evaluations):
            for pair, decisions in evaluations[instant].items():
                rule, (_, seq) = rules[pair[0]], instant
                before = parent_groups[pair] if pair in parent_groups else self._parent_group(rule, pair[1])
                if before is None and not decisions:
                    continue
                now = self.resolve_policy_of(pair[1], seq)
                parent_group = _counted(before, pair[1], now, decisions, notified)
                if may_notify(parent_group, terms_of(rule).terms, now):
                    children = self._children(rule, parent_group)
                    parent_group = parent_group.counted(len(children.upto(seq)))
                    if why_notify(parent_group, terms_of(rule).terms, now) in NOTIFIED_NOW:
                        expected.append(
                            Expected(pair[1], seq, self._newest(rule, parent_group, children, seq, notified))
                        )
                        parent_group = parent_group.after(now, {})
                parent_groups[pair] = parent_group
        self.rows.expect(expected)

    def evaluate(self, rule: EventRule, parent: str, instant: Instant, children: Sequence[Decision]) -> None:
        """Look at a parent after an instant."""
        at, seq = instant
        before = self._parent_group(rule, parent)
        if before is None and not children:
            return
        now = self.resolve_policy_of(parent, seq)
        self.out += [replace(decision, why=Why.COLLAPSED) for decision in children]
        parent_group = _counted(before, parent, now, children, self.notified)
        if may_notify(parent_group, terms_of(rule).terms, now):
            parent_group = self._evaluate_rule(rule, parent_group, now, instant, children)
        if parent_group != before:
            self.memory.put_condition(state_of(parent_group, rule.name, rule.severity, at))
            self.memory.put_timer(
                Timer(
                    rule=rule.name, kind=TimerKind.CLOSE, key=key_of(parent), due=at + KEPT, data=Parent(parent=parent)
                )
            )

    def parents_own(self, decision: Decision) -> Decision:
        """A run without a parent is notified by itself, with what is known of its children; not where its end has
        been notified.
        """
        rule, parent = decision.rule, decision.run_id
        parent_group = self._parent_group(rule, parent)
        if parent_group is None or not parent_group.matched:
            return decision
        if parent_group.over(self.resolve_policy_of(parent, decision.commit_seq)):
            return replace(decision, why=Why.COLLAPSED)
        parent_group, matched = self.standing(rule, parent_group, decision.commit_seq)
        about = summed_up(rule, parent_group, matched, decision.event.status if decision.event.terminal else "")
        return replace(decision, group=about)

    def _parent_group(self, rule: EventRule, parent: str) -> ParentGroup | None:
        state = self.memory.condition(rule.name, key_of(parent))
        return None if state is None else parent_group_of(state)

    def resolve_policy_of(self, parent: str, seq: int) -> ResolvePolicy:
        """How things stand with a parent as of a commit."""
        return resolve_policy(s.event for s in self.lines.get(parent, ()) if s.event.commit_seq <= seq)

    def _evaluate_rule(
        self, rule: EventRule, parent_group: ParentGroup, now: ResolvePolicy, instant: Instant, decided: Sequence[Decision]
    ) -> ParentGroup:  # fmt: skip
        """Count the children, and notify where it is time to."""
        at, seq = instant
        children = self._children(rule, parent_group)
        parent_group = parent_group.counted(len(children.upto(seq)))
        why = why_notify(parent_group, terms_of(rule).terms, now)
        if why not in NOTIFIED_NOW:
            return parent_group
        caused = [(d.event.key, d.consumer) for d in decided]
        if now.event is not None and not self._expired(rule, parent_group.parent, now, at):
            caused.append((now.event.key, self._consumer(parent_group.parent, now.event.key)))
        if not caused:  # only an end, expired
            return parent_group.ended(now) if parent_group.notified else parent_group
        key, consumer = max(caused, key=lambda each: (each[0].time_us, each[0].source, each[0].event_id))
        notification = Notification(
            parent_group=parent_group,
            why=why,
            matched=self._matched(rule, parent_group, children, seq),
            ended=now.event.status if now.event is not None else "",
            at=at,
            commit_seq=seq,
            event_time=moment(key.time_us),
            computed=parent_group.computed,
        )
        notified = notify(rule, notification, self.rows, self.memory)
        after = parent_group.after(now, notified.instance)
        if notification.kind is IntentKind.FIRED:
            after = replace(after, beyond=notified.beyond)
        self._keep_open(rule, after, notification, notified, key, consumer)
        return after

    def _keep_open(
        self,
        rule: EventRule,
        parent_group: ParentGroup,
        notification: Notification,
        notified: Notified,
        caused_by: EventKey,
        consumer: str,
    ) -> None:
        """What was notified stays open, where the rule says so; notified again, it is repeated so much later."""
        if rule.spec.resolve_policy is None:
            return
        now = active_parent_group(rule, parent_group, notification, notified, caused_by, consumer)
        if notification.kind is IntentKind.FIRED:
            keep_open(now, rule.spec.resolve_policy, self.memory)
            if recovers(rule):
                found = ends_of(rule, [now], self.reader, 0, self.hi)
                self.ends[rule.name] = [*self.ends.get(rule.name, ()), *found]
                self.evaluate_when(end.seq for end in found if end.seq > notification.commit_seq)
            return
        state = self.memory.condition(rule.name, now.state.key)
        before = active_alert_of(state) if state is not None else None
        if before is not None:  # else time has closed it: what is new is notified all the same
            keep_open(
                replace(before, last_notified_at=notification.at, parent_group=now.parent_group),
                rule.spec.resolve_policy,
                self.memory,
            )

    def recover(self, rule: EventRule, instant: Instant) -> None:
        """End open alerts of parent groups of which that is known as of an instant."""
        at, seq = instant
        for active in open_parent_groups(rule, self.memory):
            end = end_of(active, self.ends[rule.name], seq, self.memory)
            if end is None or active.parent_group is None:
                continue
            begin, matched, children = active.parent_group
            drop(active, self.memory)
            parent_group = current(active, self.memory)
            some: list[Matched] = []
            if (
                parent_group is None or parent_group.begin != begin
            ):  # of an earlier try: what was counted then is known, but not of whom
                parent_group = ParentGroup(parent=active.run_id, begin=begin, matched=matched, children=children)
            else:
                parent_group, some = self.standing(rule, parent_group, seq)
                self.memory.put_condition(state_of(replace(parent_group, recovered=True), rule.name, rule.severity, at))
            notification = Notification(
                parent_group=replace(parent_group, instance=active.instance, beyond=active.beyond),
                why=Why.RECOVERED, matched=some, ended="", at=at, commit_seq=seq,
                event_time=moment(active.event.time_us), computed=parent_group.computed,
                ended_by=EndedBy(run=end.run_id, status=end.status, time=moment(end.time_us)),
            )  # fmt: skip
            notify(rule, notification, self.rows, self.memory)

    def standing(self, rule: EventRule, parent_group: ParentGroup, seq: int) -> tuple[ParentGroup, list[Matched]]:
        """A parent group with its children counted as of commit ``seq``, and those that count."""
        children = self._children(rule, parent_group)
        return parent_group.counted(len(children.upto(seq))), self._matched(rule, parent_group, children, seq)

    def _expired(self, rule: EventRule, parent: str, now: ResolvePolicy, at: datetime) -> bool:
        """Whether the parent's end is expired."""
        assert now.event is not None
        key = now.event.key
        first = self.source_progress.expired_before(self._consumer(parent, key))
        return why_expired(moment(key.time_us), at, within=rule.max_event_age, first_start=first) is not None

    def _consumer(self, parent: str, key: EventKey) -> str:
        """That brought an event of a parent."""
        return next(s.consumer for s in self.lines[parent] if s.event.key == key)

    def _children(self, rule: EventRule, parent_group: ParentGroup) -> Children:
        return self.rows.children(terms_of(rule).column, (parent_group.parent, parent_group.begin), self.places)

    def _newest(
        self,
        rule: EventRule,
        parent_group: ParentGroup,
        children: Children,
        seq: int,
        here: Mapping[Pair, Sequence[Occurrence]],
    ) -> dict[str, EventKey]:
        """The newest occurrence of each child that counts; ``here`` are those of runs that were decided here."""
        pairs = {(rule.name, child.run) for child in children.upto(seq)}
        notified = {**self.memory.notified(pairs - here.keys()), **{p: here[p] for p in pairs & here.keys()}}
        return newest_of(notified, parent_group.begin, seq)

    def _matched(self, rule: EventRule, parent_group: ParentGroup, children: Children, seq: int) -> list[Matched]:
        """The children that count, in the order in which it happened."""
        return self.rows.matched(self._newest(rule, parent_group, children, seq, self.notified))


def _counted(
    before: ParentGroup | None,
    parent: str,
    now: ResolvePolicy,
    decisions: Sequence[Decision],
    notified: Mapping[Pair, list[Occurrence]],
) -> ParentGroup:
    """A parent group once occurrences of its children count, once for each child; they are added to ``notified``."""
    parent_group = (before or ParentGroup(parent=parent)).source_progress(now)
    for decision in decisions:
        seen = notified[(decision.rule.name, decision.run_id)]
        again = any(o.phase in COUNTS and o.commit_seq > parent_group.begin for o in seen)
        seen.append(replace(decision, why=Why.COLLAPSED).occurrence)
        if not again:
            computed = parent_group.computed or {name: plain(value) for name, value in decision.computed.items()}
            parent_group = replace(parent_group, matched=parent_group.matched + 1, computed=computed)
    return parent_group
