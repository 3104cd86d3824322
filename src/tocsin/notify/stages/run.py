"""One pass: what has happened goes through the stages, and comes out as drafts and as what is to be remembered.

    intents ──register──► alerts ──suppress──► groups ──flush──► messages ──address──► drafts ──(cap, render)──► outbox
    ends, people ──────────┘  └─────────────► escalations ──advance──► messages ──┘

All of a pass is written in one transaction with its deliveries: a kill -9 before it finds nothing done, after it all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.model.active import ActiveAlert
from tocsin.model.alert import instance_key
from tocsin.model.delivery import DeliveryState, Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.notify.routing.matchers import matches
from tocsin.notify.routing.mute import Silence
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import DEFAULT, RecipientResolver
from tocsin.notify.stages.escalate import Escalations, StepMessage, unanswered
from tocsin.notify.stages.flush import Message, flush
from tocsin.notify.stages.live import CRITICAL, ESCALATION, GROUP, SHIFT, Live
from tocsin.notify.stages.messages import Addressed, Addressing
from tocsin.notify.stages.people import Preferences, RunChange, Taken, act, close, expire, supersede
from tocsin.notify.stages.register import Registering, register
from tocsin.notify.stages.shifts import Handover, handovers
from tocsin.notify.stages.stateful import acknowledgements, any_stateful, ends
from tocsin.notify.stages.suppress import Left, Suppression, silences_of, suppress
from tocsin.state.interface import Kept, NotifyChange, State

Presented = Callable[[Intent], RuleInfo]
_CURSOR = "cursor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What a pass begins with. Ends are read before intents: the intent that says an end is never read too late."""

    ends: Sequence[tuple[str, datetime, str]] = ()
    intents: Sequence[Intent] = ()
    more: bool = False  # there are further intents
    changes: Sequence[RunChange] = ()
    head: int = 0  # the commit up to which ``changes`` goes


@dataclass(slots=True)
class Passed:
    """What a pass comes to."""

    addressed: Addressed = field(default_factory=Addressed)
    direct: list[Intent] = field(default_factory=list)  # about no alert: summaries, own health, digests of a limit
    left: list[Left] = field(default_factory=list)
    released: list[str] = field(default_factory=list)  # sources of inhibitions that have ended
    said: dict[str, tuple[Intent, RuleInfo]] = field(default_factory=dict)
    critical: list[str] = field(default_factory=list)  # addresses whose next common message may be due
    ended: list[ActiveAlert] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    steps: Sequence[StepMessage] = ()
    handovers: Sequence[Handover] = ()
    unanswered: Sequence[ActiveAlert] = ()  # the daily list, where it is due
    fresh: set[str] = field(default_factory=set)  # alerts that fired in this pass
    again: bool = False  # another pass has something to do at once
    unrouted: int = 0  # alerts that fired and that no route takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the stages need from elsewhere."""

    state: State
    oncall: Callable[[], OnCallRules]
    resolver: Callable[[], RecipientResolver]
    registering: Callable[[OnCallRules], Registering]
    presented: Presented


class Stages:
    """The memory, and a pass over it. Not safe from several threads."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._state = needs.state
        self.live = Live(OnCallRules())
        self._suppression = Suppression(OnCallRules(), ())
        self._escalations = Escalations(self.live, self._suppression)
        self._stored: Sequence[object] = ()
        self._changes: datetime | None = None  # when what suppresses changes next
        self.head: int | None = None  # the commit up to which news was taken up; None: there was none yet
        self._all = True  # evaluate every alert again
        self._failed: list[tuple[str, int]] = []
        self._schedules: list[str] = []  # to be evaluated, besides those whose shift ends

    def load(self) -> None:
        """Read the memory from the state. Raises StoreError."""
        kept = self._state.kept()
        rules = self._needs.oncall()
        self.live = Live(rules, self._state.unsettled_alerts(), kept)
        self.head = next((int(k.body["seq"]) for k in kept if k.kind == _CURSOR and k.body), None)
        self._renew(rules)
        for each in list(self.live.escalations.values()):
            if each.state is not None and each.sent and self._all_failed(each.sent[-1].deliveries):
                self._failed.append((each.key, each.sent[-1].ordinal))

    def _renew(self, rules: OnCallRules) -> None:
        self._stored = self._state.silences()
        silences = (*rules.silences, *silences_of(self._state.silences()))
        self._suppression = Suppression(rules, silences)
        self._escalations = Escalations(self.live, self._suppression)
        self._escalations.fit()
        self._schedules = list(dict.fromkeys([*rules.schedules, *self.live.shifts]))
        self._all = True
        self._changes = None

    def delivery_failed(self, id: str) -> None:
        """A delivery failed for good; where it was the last hope of an escalation's message, the next step follows."""
        if (found := self._escalations.message_of(id)) is not None:
            key, sent = found
            if self._all_failed([each for each in sent.deliveries if each != id]):
                self._failed.append((key, sent.ordinal))

    def _all_failed(self, deliveries: Sequence[str]) -> bool:
        states = self._state.states_of(deliveries)
        return all(states.get(id_) is DeliveryState.FAILED for id_ in deliveries)

    @property
    def silences(self) -> Sequence[Silence]:
        """Silences of files and of people."""
        return self._suppression.silences

    def next_due(self) -> datetime | None:
        """When there is something to do next, if nothing happens."""
        return min(filter(None, (self.live.next_due(), self._changes)), default=None)

    # -- a pass ----------------------------------------------------------------------------------------------------------

    def run(self, happened: Happened, now: datetime) -> Passed:
        """Take up what happened and all that is due at ``now``. Raises StoreError; then ``load`` is to be called."""
        if (rules := self._needs.oncall()) is not self.live.rules:
            self.load()
        elif list(self._state.silences()) != list(self._stored):
            self._renew(rules)
        out = Passed()
        live, due = self.live, self.live.due(now)
        steps: list[StepMessage] = []
        touched: dict[str, ActiveAlert] = {}  # alerts of which groups and escalations are asked
        resolved = self._intents(happened.intents, out, touched, steps, now)
        ended = self._ends(happened, resolved, out, now)
        ended += supersede(live, happened.changes, now)
        over = [key for kind, key in due if kind == "alert"]
        ended += close(live, over, now)
        touched |= {alert.id: alert for alert in expire(live, over, now)}
        out.taken = act(live, self._state.actions_new())
        for taken in out.taken:
            touched[taken.alert.id] = taken.alert
            if taken.closed:
                ended.append(taken.alert)
            elif taken.by:
                steps += self._escalations.taken(taken.alert, taken.by, now, taken.until)
        for alert in ended:
            if alert.id not in resolved:
                self._without_notification(alert)
            steps += self._escalations.ended(live.alerts[alert.id], now)
            steps += self._escalations.brief(live.alerts[alert.id], now)
            touched[alert.id] = live.alerts[alert.id]
            out.released.append(alert.id)
        keys, escalating = self._suppress(touched, ended, out, now)
        keys += [key for kind, key in due if kind == GROUP]
        escalating += [key for kind, key in due if kind == ESCALATION]
        messages = flush(live, keys, now)
        for key, ordinal in self._failed:
            steps += self._escalations.failed(key, ordinal, now)
        self._failed = []
        steps += self._escalations.advance(escalating, now)
        out.ended = [live.alerts[alert.id] for alert in ended]
        self._settle(now)
        shifted = [*self._schedules, *(key for kind, key in due if kind == SHIFT)]
        out.handovers, self._schedules = handovers(live, shifted, now), []
        out.unanswered = unanswered(live, now)
        out.steps = steps
        self._address(steps, messages, happened, out, now)
        out.critical = [key for kind, key in due if kind == CRITICAL]
        return out

    def _intents(
        self, intents: Sequence[Intent], out: Passed, touched: dict[str, ActiveAlert], steps: list[StepMessage],
        now: datetime,
    ) -> dict[str, Intent]:  # fmt: skip
        """Register; returns the intents that say an end, by alert."""
        if not intents:
            return {}
        with_ = replace(
            self._needs.registering(self.live.rules), preferences=Preferences.at(self._state.preferences(), now)
        )
        resolved: dict[str, Intent] = {}
        for intent in intents:
            info = self._needs.presented(intent)
            if intent.kind in (IntentKind.ADMIN, IntentKind.SUMMARY):
                out.direct.append(intent)
                continue
            before = self.live.by_key.get(_key(intent))
            severity = self.live.alerts[before].severity if before else None
            alert = register(self.live, intent, info, with_)
            if alert is None or not alert.routes:
                out.direct.append(intent)
            if alert is None:
                continue
            out.said[alert.id] = (intent, info)
            if before is None:
                out.fresh.add(alert.id)
                out.unrouted += any(r.receiver == DEFAULT for r in alert.routes)
            touched[alert.id] = alert
            if intent.kind is IntentKind.RESOLVED:
                resolved[alert.id] = intent
            elif severity is not None and alert.severity < severity:
                steps += self._escalations.rose(alert, now)
        return resolved

    def _ends(
        self, happened: Happened, resolved: Mapping[str, Intent], out: Passed, now: datetime
    ) -> list[ActiveAlert]:
        """Alerts that have ended; of those that no intent says nobody but an escalation's people is notified. One that
        fired in this very pass ends in the next: first people are notified that it fired.
        """
        found: list[ActiveAlert] = []
        for id_, at, why in happened.ends:
            if happened.more and id_ not in resolved:
                continue
            if id_ in out.fresh and id_ not in resolved and self.live.alerts[id_].condition:
                out.again = True
                continue
            if (alert := self.live.end(id_, at, why, known=True)) is not None:
                found.append(alert)
        for id_, intent in resolved.items():
            if id_ in out.fresh:
                self.live.put(replace(self.live.alerts[id_], brief=True))
            if (alert := self.live.end(id_, intent.at, intent.why.value, known=False)) is not None:
                found.append(alert)
        return found

    def _without_notification(self, alert: ActiveAlert) -> None:
        """Groups forget an alert whose end nobody is notified of. An event alert of which something is still to be said
        stays: what superseded or closed it while nobody ran must not swallow it.
        """
        for route in alert.routes:
            if (group := self.live.groups.get(route.group)) is not None:
                if not alert.condition and alert.id not in group.state.notified:
                    continue
                notified = {i: s for i, s in group.state.notified.items() if i != alert.id}
                members = tuple(m for m in group.members if m != alert.id)
                self.live.put_group(replace(group, members=members, state=replace(group.state, notified=notified)))

    def _suppress(
        self, touched: Mapping[str, ActiveAlert], ended: Sequence[ActiveAlert], out: Passed, now: datetime
    ) -> tuple[list[str], list[str]]:
        """(groups, escalations) to ask: of what was touched, and of all where what suppresses has changed."""
        live = self.live
        sources = [alert for alert in (*touched.values(), *ended) if self._may_inhibit(alert)]
        if self._all or sources or (self._changes is not None and self._changes <= now):
            asked = list(live.active())
        else:
            asked = [live.alerts[id_] for id_ in touched if id_ in live.alerts]
        self._all = False
        self._changes = self._suppression.next_change(now)
        before = {(a.id, r.group) for a in asked for r in a.routes if (a.id, r.group) in live.verdicts}
        out.left = suppress(live, self._suppression, [a for a in asked if a.ended_at is None], now)
        after = {(a.id, r.group) for a in asked for r in a.routes if (a.id, r.group) in live.verdicts}
        keys = [group for _, group in before ^ after]
        keys += [r.group for a in (*touched.values(), *ended) for r in a.routes if r.group]
        whole = asked if len(asked) > len(touched) else list(touched.values())
        escalating = [f"{r.escalation}/{a.id}" for a in whole for r in a.routes if r.escalation]
        return keys, escalating

    def _may_inhibit(self, alert: ActiveAlert) -> bool:
        return any(matches(rule.source, alert.fields) for rule in self.live.rules.inhibit)

    def _settle(self, now: datetime) -> None:
        live = self.live
        for alert in [live.alerts[id_] for id_ in sorted(live.over)]:
            waits = [r for r in alert.routes if (g := live.groups.get(r.group)) is not None and alert.id in g.members]
            if not waits:
                live.settle(alert.id)
        self._escalations.forget(now)

    def _address(
        self, steps: Sequence[StepMessage], messages: Sequence[Message], happened: Happened, out: Passed, now: datetime
    ) -> None:
        alerts = {s.alert.id: s.alert for s in steps} | {a.alert.id: a.alert for m in messages for a in m.about}
        alerts |= {each.alert.id: each.alert for each in out.left}
        stateful = (out.ended or out.taken) and any_stateful(self.live.rules)
        if stateful:
            alerts |= {alert.id: alert for alert in (*out.ended, *(each.alert for each in out.taken))}
        missing = {id_: alert for id_, alert in alerts.items() if id_ not in out.said}
        found = self._state.intents_called([alert.intent for alert in missing.values()])
        for id_, alert in missing.items():
            if (intent := found.get(alert.intent)) is not None:
                out.said[id_] = (intent, self._needs.presented(intent))
        knew = {a.alert.id: a.alert for m in messages for a in m.about if self._answers(a.kind, out.said, a.alert.id)}
        notified: dict[str, Sequence[Notified]] = {
            id_: self._state.notified_addresses(a.rule, a.instance, a.occurrence) for id_, a in knew.items()
        }
        preferences = Preferences.at(self._state.preferences() if messages else (), now)
        out.addressed = Addressing(self._needs.resolver(), out.said, notified, preferences).of(steps, messages)
        for step in steps:
            deliveries = [draft.id for draft in out.addressed.steps if draft.flush == step.group]
            self._escalations.sent(step, deliveries)
            if step.steps and not deliveries:  # nobody whom it names has an address: the next step follows
                self._failed.append((step.key, step.ordinal))
                self.live.wake(ESCALATION, step.key, now)
        if stateful:
            out.addressed.stateful += acknowledgements(self._state, out.taken, out.said)
            out.addressed.stateful += ends(self._state, out.ended, out.said)

    @staticmethod
    def _answers(kind: IntentKind | None, said: Mapping[str, tuple[Intent, RuleInfo]], id: str) -> bool:
        own = said[id][0].kind if id in said else None
        return (kind or own) in (IntentKind.RESOLVED, IntentKind.REPEATED)

    def change(self, happened: Happened) -> NotifyChange:
        """What the pass is to write, with what else touched the memory since the last time."""
        change = self.live.change()
        if self.head is None or happened.head > self.head:
            self.head = happened.head
            if change != NotifyChange() or happened.intents:
                cursor = Kept(kind=_CURSOR, key="news", body={"seq": self.head})
                change = replace(change, kept=(*change.kept, cursor))
        return change


def _key(intent: Intent) -> tuple[str, str, str]:
    return intent.rule, instance_key(intent.instance), intent.occurrence
