"""Parent groups: the children of one parent under a rule with ``collapse:``, and when the one alert that stands for
them is notified.

    children known     4      12     40     40     40     40
    of them failed     3       5      9     12     20     20
    share             75 %   42 %   23 %   30 %   50 %   50 %
    {failed: 20%, at_least: 10}, update: [50%, end]
    notified                                    1st    2nd    3rd (the parent ended)

Shares are compared as fractions: 7 of 100 are 7 %, whatever a float makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from tocsin.alerts.occurrences import RunEvent, in_order, restarts
from tocsin.model.alert import Phase, Why, fingerprint, instance_key
from tocsin.model.remembered import ConditionState, Counted, RateLimit, Remembered
from tocsin.model.statuses import Severity

NONE = Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a parent group is notified."""

    share: Fraction  # of the children known, 0 < share <= 1
    at_least: int  # and at least so many, >= 1
    updates: tuple[Fraction, ...] = ()  # notified again from these shares on, ascending, each above ``share``
    at_end: bool = False  # and when the parent ends

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.at_least < 1 or any(u <= self.share for u in self.updates):
            raise ValueError(f"no terms of a parent group: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvePolicy:
    """How things stand with a parent, as of some instant."""

    event: RunEvent | None = None  # the terminal event that ended it; None: it goes on, as far as is known
    life: int = 0  # how often it has gone on after an end
    begin: int = 0  # what a greater CommitSeq brought belongs to its newest attempt


def resolve_policy(events: Iterable[RunEvent]) -> ResolvePolicy:
    """How a run of these events stands."""
    ordered = in_order(events)
    reopening = restarts(ordered)
    last: RunEvent | None = None
    life = 0
    for event in ordered:
        if event.key in reopening:
            life += last is not None
            last = None
        if event.terminal:
            last = event
    return ResolvePolicy(event=last, life=life, begin=_begin(ordered))


def _begin(events: Iterable[RunEvent]) -> int:
    """The CommitSeq before the one that brought a greater Attempt than was known; 0 where none did. No Attempt is
    the first.
    """
    greatest: dict[int, int] = {}
    for event in events:
        greatest[event.commit_seq] = max(greatest.get(event.commit_seq, 0), event.attempt)
    known: int | None = None
    begin = 0
    for seq, attempt in sorted(greatest.items()):
        if known is not None and attempt > max(known, 1):
            begin = seq - 1
        known = max(known or 0, attempt)
    return begin


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentGroup:
    """What a rule remembers of one parent and attempt of it."""

    parent: str
    begin: int = 0  # CommitSeq: only what came later counts
    matched: int = 0  # children with an occurrence, each once
    children: int = 0  # known when they were last counted
    notified: int = 0  # how often; the next ordinal
    passed: Fraction = NONE  # the greatest share that was notified
    closed: int | None = None  # the life of the parent whose end was notified, or was expired
    instance: Mapping[str, object] = field(default_factory=dict)  # as it was first notified
    computed: Mapping[str, object] = field(default_factory=dict)  # what the query made of its first child, JSON-able
    beyond: RateLimit = False  # the rule's limit, as of ``ActiveAlert``: no update of it is notified
    recovered: bool = False  # its alert has ended: nobody is notified more of it

    @property
    def share(self) -> Fraction:
        """Of the children known."""
        return Fraction(self.matched, self.children) if self.children else NONE

    def occurrence(self, rule: str) -> str:
        """Name of the one alert."""
        return fingerprint(rule, "collapse", self.parent, str(self.begin))

    def source_progress(self, now: ResolvePolicy) -> ParentGroup:
        """The parent group of the parent as it stands: a greater Attempt begins a new one with what its commit
        brings.
        """
        return self if now.begin == self.begin else ParentGroup(parent=self.parent, begin=now.begin)

    def counted(self, children: int) -> ParentGroup:
        """With the number of children known. A child that matched is known, whatever the log has forgotten since."""
        return replace(self, children=max(children, self.matched))

    def after(self, now: ResolvePolicy, instance: Mapping[str, object]) -> ParentGroup:
        """Once it has been notified as it is."""
        notified = replace(
            self, notified=self.notified + 1, passed=max(self.passed, self.share), instance=self.instance or instance
        )
        return notified.ended(now) if now.event is not None else notified

    def repeated(self) -> ParentGroup:
        """Once it has been notified again as it is, because time has passed."""
        return replace(self, notified=self.notified + 1, passed=max(self.passed, self.share))

    def ended(self, now: ResolvePolicy) -> ParentGroup:
        """Once the end of its parent has been notified, or was expired."""
        return replace(self, closed=now.life)

    def over(self, now: ResolvePolicy) -> bool:
        """Whether the end with which the parent stands has been notified."""
        return now.event is not None and self.closed == now.life


def may_notify(parent_group: ParentGroup, terms: Terms, now: ResolvePolicy) -> bool:
    """Whether counting the children can come to anything: there are never fewer than there were."""
    if parent_group.recovered:
        return False
    ended = now.event is not None
    if parent_group.notified and ended and terms.at_end and not parent_group.over(now):
        return True
    least = (
        terms.share if not parent_group.notified else next((u for u in terms.updates if u > parent_group.passed), None)
    )
    if least is None or not parent_group.matched:
        return False
    enough = parent_group.notified > 0 or ended or parent_group.matched >= terms.at_least
    return enough and parent_group.matched >= least * parent_group.children


def why_notify(parent_group: ParentGroup, terms: Terms, now: ResolvePolicy) -> Why:
    """Whether a parent group whose children are counted is notified now: ENOUGH_CHILDREN, MORE_CHILDREN,
    PARENT_ENDED, else why not.

    ``at_least`` keeps a parent group from ringing while few of its children are known. Once the parent has ended, no
    more will come: where there are fewer than that, it is notified when all of them match.
    """
    ended = now.event is not None
    if not parent_group.notified:
        needed = min(terms.at_least, parent_group.children) if ended else terms.at_least
        enough = 0 < parent_group.matched >= needed and parent_group.share >= terms.share
        return Why.ENOUGH_CHILDREN if enough else Why.TOO_FEW_CHILDREN
    if ended and terms.at_end and not parent_group.over(now):
        return Why.PARENT_ENDED
    if any(parent_group.passed < update <= parent_group.share for update in terms.updates):
        return Why.MORE_CHILDREN
    return Why.ALREADY_FIRED


# -- as it is kept -----------------------------------------------------------------------------------------------------


def key_of(parent: str) -> str:
    """Name under which a rule remembers the parent group of ``parent``."""
    return instance_key(_named(parent))


def _named(parent: str) -> Mapping[str, object]:
    return {"RunId": parent}


def state_of(parent_group: ParentGroup, rule: str, severity: Severity, at: datetime) -> ConditionState:
    """What is stored of a parent group."""
    return ConditionState(
        rule=rule,
        instance=_named(parent_group.parent),
        phase=Phase.CLOSED if parent_group.closed is not None else Phase.FIRED if parent_group.notified else Phase.NONE,
        since=at,
        severity=severity,
        value=float(parent_group.share),
        data=Remembered(
            limit=parent_group.beyond,
            counted=Counted(
                begin=parent_group.begin,
                matched=parent_group.matched,
                children=parent_group.children,
                notified=parent_group.notified,
                passed=parent_group.passed.as_integer_ratio(),
                closed=parent_group.closed,
                instance=parent_group.instance,
                computed=parent_group.computed,
                recovered=parent_group.recovered,
            ),
        ),
    )


def parent_group_of(state: ConditionState) -> ParentGroup:
    """The parent group that was stored."""
    kept = state.data.counted
    assert kept is not None
    return ParentGroup(
        parent=str(state.instance["RunId"]),
        begin=kept.begin,
        matched=kept.matched,
        children=kept.children,
        notified=kept.notified,
        passed=Fraction(*kept.passed),
        closed=kept.closed,
        instance=kept.instance,
        computed=kept.computed,
        beyond=state.data.limit,
        recovered=kept.recovered,
    )
