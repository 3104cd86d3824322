"""Fourth stage: escalations of alerts, and the daily list of alerts that nobody took.

The state of each step is written in one transaction with its message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tocsin.model.active import ActiveAlert, Ended
from tocsin.notify.oncall import escalation as esc
from tocsin.notify.oncall.escalation import Why
from tocsin.notify.oncall.report import PAGES
from tocsin.notify.routing.decide import Why as Suppressed
from tocsin.notify.stages.live import DAILY, DAY, ESCALATION, Escalating, Live, Sent
from tocsin.notify.stages.suppress import Suppression

ENDS = "escalation-end/"
"""What the group of messages begins with that say that an escalation ended."""
_KEPT = 20
"""Messages of one escalation whose deliveries are known: of older ones none is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMessage:
    """One message of an escalation."""

    alert: ActiveAlert
    escalation: str
    because: str  # of its route
    ordinal: int
    to: tuple[str, ...]  # people, receivers, addresses
    why: Why
    steps: tuple[int, ...]  # from 0; none of an end
    note: str = ""

    @property
    def group(self) -> str:
        """What its mails have in common. That of an end is no page: reports do not count it."""
        pages = self.steps or self.why is Why.RESUMED
        return f"{PAGES if pages else ENDS}{self.key}/{self.ordinal}"

    @property
    def key(self) -> str:
        """Of its escalation."""
        return f"{self.escalation}/{self.alert.id}"


class Escalations:
    """Runs them over a memory."""

    def __init__(self, live: Live, suppression: Suppression) -> None:
        self._live, self._suppression = live, suppression
        self._rules = live.rules.escalations

    def fit(self) -> None:
        """After a start or a reload: steps may have been edited; one whose escalation is gone ends, and nobody is notified."""
        for key, each in list(self._live.escalations.items()):
            escalation = self._rules.get(each.name)
            if escalation is None or each.alert not in self._live.alerts:
                if each.state is None or each.state.ended_at is None or escalation is None:
                    self._live.forget_escalation(key)
                continue
            if each.state is not None:
                each = replace(each, state=esc.fitted(escalation, each.state))
                self._live.put_escalation(each)
            self._wake(each)

    def advance(self, keys: Iterable[str], at: datetime) -> list[StepMessage]:
        """Start what may start, and run what is due."""
        found: list[StepMessage] = []
        for key in dict.fromkeys(keys):
            each = self._live.escalations.get(key)
            escalation = self._rules.get(each.name) if each is not None else None
            alert = self._live.alerts.get(each.alert) if each is not None else None
            if each is None or escalation is None or alert is None or alert.ended_at is not None:
                continue
            found += self._advance(each, escalation, alert, at)
        return found

    def _advance(
        self, each: Escalating, escalation: esc.Escalation, alert: ActiveAlert, at: datetime
    ) -> list[StepMessage]:
        verdict = self._suppression.verdict(self._live, alert, "", at, escalation=True)
        if verdict.why is Suppressed.SILENCED:
            if each.state is None or each.silenced:
                return []
            return self._take(replace(each, silenced=True), alert, esc.end(each.state, Why.SILENCED, at))
        if each.state is None or (each.silenced and each.state.phase is esc.Phase.ENDED):
            hold = self._live.inhibitor.hold(alert.fields)
            ready = alert.fired_at + hold if hold else at
            if verdict.why is not Suppressed.SENT or at < ready:
                self._live.wake(ESCALATION, each.key, max(ready, at) if at < ready else verdict.until)
                return []
            done = esc.start(escalation, at, condition=alert.condition, before=self._before(each, escalation, at))
            if each.state is not None:  # it goes on counting: an ordinal names a message
                done = _counted_on(done, each.state.ordinal)
            found = self._take(replace(each, silenced=False), alert, done)
            each = self._live.escalations[each.key]
            return found + self._step(each, escalation, alert, at)
        return self._step(each, escalation, alert, at)

    def _step(
        self, each: Escalating, escalation: esc.Escalation, alert: ActiveAlert, at: datetime
    ) -> list[StepMessage]:
        assert each.state is not None
        due = esc.next_due(escalation, each.state)
        if due is None or due > at:
            self._wake(each)
            return []
        was_taken = each.state.phase is esc.Phase.ACKNOWLEDGED
        done = esc.advance(escalation, each.state, at, self._live.rules.reach)
        if was_taken and done.state.phase is not esc.Phase.ACKNOWLEDGED:
            self._live.put(replace(self._live.alerts[alert.id], acknowledged=None))
        return self._take(each, alert, done)

    def _before(self, each: Escalating, escalation: esc.Escalation, at: datetime) -> esc.State | None:
        """How an earlier alert of the same instance ended its escalation, where that is not long ago."""
        ended = [
            other
            for other in self._live.escalations.values()
            if (other.name, other.rule, other.instance) == (each.name, each.rule, each.instance)
            and other.alert != each.alert
            and other.state is not None
            and other.state.ended_at is not None
        ]
        last = max(ended, key=lambda o: o.state.ended_at if o.state and o.state.ended_at else at, default=None)
        return last.state if last is not None else None

    def taken(self, alert: ActiveAlert, by: str, at: datetime, until: datetime | None) -> list[StepMessage]:
        """Somebody has acknowledged the alert: whom its steps reached is notified once."""
        found: list[StepMessage] = []
        for each in self._live.escalations_of(alert):
            escalation = self._rules.get(each.name)
            if escalation is not None and each.state is not None:
                done = esc.acknowledge(escalation, each.state, by, at, alert.severity, until=until)
                found += self._take(each, alert, done)
        return found

    def rose(self, alert: ActiveAlert, at: datetime) -> list[StepMessage]:
        """The alert's severity is another: an acknowledgement of a less severe one ends."""
        mine = self._live.escalations_of(alert)
        taken = not mine and alert.acknowledged is not None
        for each in mine:
            escalation = self._rules.get(each.name)
            if escalation is None or each.state is None:
                continue
            done = esc.severity_rose(escalation, each.state, at, alert.severity)
            if done.why is Why.SEVERITY_ROSE:
                taken = True
                self._take(each, alert, done)
        if taken:
            self._live.put(replace(self._live.alerts[alert.id], acknowledged=None))
        return self.advance([each.key for each in self._live.escalations_of(alert)], at)

    def ended(self, alert: ActiveAlert, at: datetime) -> list[StepMessage]:
        """The alert ended: whom a step reached is notified once."""
        found: list[StepMessage] = []
        for each in self._live.escalations_of(alert):
            if each.state is None:
                self._live.forget_escalation(each.key)
            else:
                found += self._take(each, alert, esc.end(each.state, _end_of(alert), at))
        return found

    def brief(self, alert: ActiveAlert, at: datetime) -> list[StepMessage]:
        """The alert was over before its escalation could start: the people of its first step are notified of that."""
        if not alert.brief or alert.ended_at is None:
            return []
        found: list[StepMessage] = []
        for route in alert.routes:
            escalation = self._rules.get(route.escalation)
            if escalation is None:
                continue
            to = tuple(who for name in escalation.steps[0].notify for who in self._live.rules.reach(name, at))
            found.append(
                StepMessage(
                    alert=alert, escalation=escalation.name, because=route.because, ordinal=1, to=to, why=Why.RESOLVED,
                    steps=(), note=f"was firing {alert.fired_at:%H:%M}-{alert.ended_at:%H:%M} UTC, resolved",
                )
            )  # fmt: skip
        return found

    def failed(self, key: str, ordinal: int, at: datetime) -> list[StepMessage]:
        """Every delivery of message ``ordinal`` failed for good."""
        each = self._live.escalations.get(key)
        escalation = self._rules.get(each.name) if each is not None else None
        alert = self._live.alerts.get(each.alert) if each is not None else None
        if each is None or escalation is None or alert is None or each.state is None:
            return []
        steps = next((sent.steps for sent in each.sent if sent.ordinal == ordinal), ())
        if not steps:
            return []
        done = esc.deliveries_failed(escalation, each.state, steps, at, self._live.rules.reach)
        return self._take(each, alert, done)

    def sent(self, step: StepMessage, deliveries: Sequence[str]) -> None:
        """A message became these deliveries."""
        if (each := self._live.escalations.get(step.key)) is None:
            return
        known = [replace(s, deliveries=tuple(deliveries)) if s.ordinal == step.ordinal else s for s in each.sent]
        self._live.put_escalation(replace(each, sent=tuple(known)))

    def message_of(self, delivery: str) -> tuple[str, Sent] | None:
        """(key of its escalation, the message) of a delivery; None of another's."""
        for key, each in self._live.escalations.items():
            for sent in each.sent:
                if delivery in sent.deliveries:
                    return key, sent
        return None

    def _take(self, each: Escalating, alert: ActiveAlert, done: esc.Transition) -> list[StepMessage]:
        message = done.message
        sent = each.sent
        if message is not None:
            sent = (*sent[-_KEPT:], Sent(ordinal=message.ordinal, steps=message.steps))
        after = replace(each, state=done.state, sent=sent)
        if after != each:
            self._live.put_escalation(after)
        self._mark(each.name, alert.id, done.state.phase is esc.Phase.EXHAUSTED)
        self._wake(after)
        if message is None:
            return []
        return [
            StepMessage(
                alert=alert, escalation=each.name, because=each.because, ordinal=message.ordinal, to=message.to,
                why=message.why, steps=message.steps, note=message.note,
            )
        ]  # fmt: skip

    def _mark(self, escalation: str, alert: str, exhausted: bool) -> None:
        """An alert says which of its escalations has run out of steps."""
        known = self._live.alerts.get(alert)
        if known is not None and exhausted != (known.exhausted == escalation):
            self._live.put(replace(known, exhausted=escalation if exhausted else ""))

    def _wake(self, each: Escalating) -> None:
        escalation = self._rules.get(each.name)
        if escalation is None:
            return
        if each.state is None:
            alert = self._live.alerts.get(each.alert)
            self._live.wake(ESCALATION, each.key, alert.fired_at if alert is not None else None)
        else:
            self._live.wake(ESCALATION, each.key, esc.next_due(escalation, each.state))

    def forget(self, at: datetime) -> None:
        """Drop what ended too long ago to be resumed."""
        for key, each in list(self._live.escalations.items()):
            escalation = self._rules.get(each.name)
            state = each.state
            over = state is not None and state.ended_at is not None and each.alert not in self._live.alerts
            if over and (
                escalation is None or state is None or state.ended_at is None
                or at - state.ended_at > escalation.resume
            ):  # fmt: skip
                self._live.forget_escalation(key)


def _counted_on(done: esc.Transition, after: int) -> esc.Transition:
    message = done.message
    return replace(
        done, state=replace(done.state, ordinal=done.state.ordinal + after),
        message=replace(message, ordinal=message.ordinal + after) if message is not None else None,
    )  # fmt: skip


def _end_of(alert: ActiveAlert) -> Why:
    if alert.ended_why.startswith(Ended.SUPERSEDED):
        return Why.SUPERSEDED
    if alert.ended_why.startswith(Ended.CLOSED) or alert.ended_why == Ended.AUTO_CLOSED:
        return Why.CLOSED
    return Why.RESOLVED


def unanswered(live: Live, at: datetime) -> tuple[ActiveAlert, ...]:
    """What is to be listed now, the severest first; nothing where the list is not due."""
    found = [live.alerts[id_] for id_ in live.exhausted]
    last = live.daily.get("")
    if not found:
        if last is not None:
            live.put_daily(None)
        return ()
    if last is not None and at - last.at < DAY:
        return ()
    live.put_daily(at)
    live.wake(DAILY, "", at + DAY)
    return tuple(sorted(found, key=lambda a: (a.severity, a.fired_at))) if last is not None else ()
