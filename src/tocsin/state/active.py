"""Active alerts, what people do with them, silences, and what groups and escalations remember.

    evaluation ── FIRED intent, end ──► alerts ◄── routes, suppression ── notify
    person ── acknowledge, snooze ──► alert_actions ──────────────────► notify

Each writes its own columns, so that none waits for another: an end that comes while notify routes is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, exists, func, select, update

from tocsin.model.active import (
    Acknowledgement,
    Acted,
    Action,
    ActionKind,
    ActionTaken,
    ActiveAlert,
    AlertLife,
    Deed,
    MessageSent,
    OnCallHistory,
    Preference,
    PreferenceKind,
    StoredSilence,
    alert_id,
    fired_alert,
)
from tocsin.model.alert import Phase, Transition, instance_key
from tocsin.model.delivery import DeliveryState
from tocsin.model.intent import Intent, IntentKind
from tocsin.state import codecs
from tocsin.state.dialects import SqlDialect
from tocsin.state.interface import Kept, NotifyChange
from tocsin.state.mirrorlog import ACTIONS, ALERTS, MirrorLog
from tocsin.state.tables import (
    Micros,
    alert_actions,
    alerts,
    deliveries,
    delivery_intents,
    intents,
    notify_states,
    preferences,
    silences,
)

_A = alerts.c
_OUTSIDE = ("id", "rule", "instance", "occurrence", "run_id", "severity", "fired_at", "ended_at", "ended_why")
_UNSETTLED = select(alerts).where(_A.settled.is_(False)).order_by(_A.seq)
_CHANGED = (
    select(_A.seq, _A.id, _A.ended_at, _A.ended_why)
    .where(_A.settled.is_(False), _A.ended_at.is_not(None))
    .order_by(_A.seq)
)
_ONE = select(alerts).where(_A.id == bindparam("one"))
_AT = bindparam("b_at", type_=Micros)
_END_INSTANCE = (
    update(alerts)
    .where(
        _A.rule == bindparam("k_rule"),
        _A.instance == bindparam("k_instance"),
        _A.fired_at <= _AT,
        _A.ended_at.is_(None),
    )
    .values(ended_at=_AT, ended_why=bindparam("b_why"))
)
_END = (
    update(alerts)
    .where(_A.id == bindparam("k_id"), _A.ended_at.is_(None))
    .values(ended_at=_AT, ended_why=bindparam("b_why"))
)
_BODY = (
    update(alerts).where(_A.id == bindparam("k_id")).values(severity=bindparam("b_severity"), body=bindparam("b_body"))
)
_ACTIVE_COUNT = select(func.count()).select_from(alerts).where(_A.ended_at.is_(None))
_SETTLE = update(alerts).where(_A.id == bindparam("k_id")).values(settled=bindparam("b_settled"))
_ACTIONS = select(alert_actions).where(alert_actions.c.applied.is_(False)).order_by(alert_actions.c.seq)
_ACTIONS_OF = select(alert_actions).where(alert_actions.c.alert == bindparam("one")).order_by(alert_actions.c.seq)
_APPLIED = (
    update(alert_actions)
    .where(alert_actions.c.seq <= bindparam("k_seq"), alert_actions.c.applied.is_(False))
    .values(applied=True)
)
_FORGET = delete(notify_states).where(
    notify_states.c.kind == bindparam("k_kind"), notify_states.c.key == bindparam("k_key")
)
_FIRES = (
    select(_A.id)
    .where(_A.rule == bindparam("rule"), _A.instance == bindparam("instance"), _A.ended_at.is_(None))
    .order_by(_A.fired_at.desc())
    .limit(1)
)
_SINCE = bindparam("since", type_=Micros)
_LIVES = (
    select(_A.id, _A.rule, _A.fired_at, _A.ended_at, _A.ended_why).where(_A.fired_at >= _SINCE).order_by(_A.fired_at)
)
_TAKEN = (
    select(alert_actions.c.alert, alert_actions.c.kind, alert_actions.c.by, alert_actions.c.at)
    .where(alert_actions.c.at >= _SINCE)
    .order_by(alert_actions.c.seq)
)
_D = deliveries.c
_SAYS_AN_END = exists(
    select(intents.c.id)
    .join(delivery_intents, delivery_intents.c.intent == intents.c.id)
    .where(delivery_intents.c.delivery == _D.id, intents.c.kind == IntentKind.RESOLVED.value)
)
_SENT = (
    select(_D.channel, _D.address, _D.receiver, _D.group_key, _D.rules, _D.created_at)
    .where(_D.created_at >= _SINCE, _D.state == DeliveryState.SENT.value, ~_SAYS_AN_END)
    .order_by(_D.created_at, _D.seq)
)
_ALIVE = frozenset({Phase.FIRED, Phase.FIRING, Phase.RECOVERING, Phase.RESOLVED, Phase.CLOSED})
_ENDS = frozenset({Phase.RESOLVED, Phase.CLOSED})
_TAKES = frozenset({ActionKind.ACKNOWLEDGE, ActionKind.SNOOZE})


class ActiveAlerts:
    """Statements about alerts, each on the caller's transaction."""

    def __init__(self, dialect: SqlDialect, mirror: MirrorLog) -> None:
        self._mirror = mirror
        self._put = dialect.insert_new(alerts, ["id"], without=["seq"])
        self._body = dialect.bulk(_BODY, ["k_id", "b_severity", "b_body"])
        self._end = dialect.bulk(_END, ["k_id", "b_at", "b_why"])
        self._end_instance = dialect.bulk(_END_INSTANCE, ["k_rule", "k_instance", "b_at", "b_why"])
        self._settle = dialect.bulk(_SETTLE, ["k_id", "b_settled"])
        self._keep = dialect.upsert(notify_states, ["kind", "key"])
        self._forget = dialect.bulk(_FORGET, ["k_kind", "k_key"])
        self._act = dialect.bulk(alert_actions.insert(), [c.name for c in alert_actions.columns if c.name != "seq"])
        self._silence = dialect.upsert(silences, ["id"])
        self._preference = dialect.upsert(preferences, ["id"])

    # -- what evaluations say ----------------------------------------------------------------------------------------

    def evaluated(
        self, tx: Connection, intents: Iterable[Intent], transitions: Sequence[Transition], now: datetime
    ) -> None:
        """Alerts that fired, then history, then ends: an outcome may hold all of one alert."""
        fired = [fired_alert(i) for i in intents if i.kind is IntentKind.FIRED]
        self._put.run(tx, [_row(each) for each in fired])
        named = {(each.rule, each.instance): each.id for each in fired}
        self._mirror.log(tx, ALERTS, [codecs.alert_row(t, self._alert_of(tx, t, named), now) for t in transitions])
        ends = [t for t in transitions if t.after in _ENDS]
        self._end.run(
            tx, [{"k_id": _named(t), "b_at": t.at, "b_why": t.reason.value} for t in ends if t.occurrence]
        )  # fmt: skip
        self._end_instance.run(
            tx,
            [
                {"k_rule": t.rule, "k_instance": instance_key(t.instance), "b_at": t.at, "b_why": t.reason.value}
                for t in ends
                if not t.occurrence
            ],
        )

    @staticmethod
    def _alert_of(tx: Connection, t: Transition, fired: Mapping[tuple[str, str], str]) -> str:
        """The alert of a transition: of a condition the one that fires, until its end is written."""
        if t.after not in _ALIVE:
            return ""
        if t.occurrence:
            return _named(t)
        key = (t.rule, instance_key(t.instance))
        return fired.get(key) or tx.execute(_FIRES, {"rule": key[0], "instance": key[1]}).scalar() or ""

    # -- what notify does --------------------------------------------------------------------------------------------

    def unsettled(self, tx: Connection) -> list[ActiveAlert]:
        """Alerts of which something may be left to do, in the order of firing."""
        return [_alert(row) for row in tx.execute(_UNSETTLED)]

    def ended(self, tx: Connection) -> list[tuple[str, datetime, str]]:
        """(id, when, why) of ends that notify has not settled."""
        return [(row.id, row.ended_at, row.ended_why) for row in tx.execute(_CHANGED)]

    def actions(self, tx: Connection) -> list[tuple[int, Action]]:
        """What people did that notify has not taken up, by number."""
        return [(row.seq, _action(row)) for row in tx.execute(_ACTIONS)]

    def change(self, tx: Connection, change: NotifyChange, now: datetime) -> None:
        """What a pass of notify decided."""
        self._body.run(tx, [{"k_id": a.id, "b_severity": a.severity, "b_body": _body(a)} for a in change.alerts])
        self._end.run(tx, [{"k_id": id_, "b_at": at, "b_why": why} for id_, at, why in change.ended])
        self._settle.run(tx, [{"k_id": id_, "b_settled": True} for id_ in change.settled])
        self._keep.run(tx, [{"kind": k.kind, "key": k.key, "body": k.body} for k in change.kept if k.body is not None])
        self._forget.run(tx, [{"k_kind": k.kind, "k_key": k.key} for k in change.kept if k.body is None])
        if change.actions_up_to:
            tx.execute(_APPLIED, {"k_seq": change.actions_up_to})
        self._mirror.log(tx, ALERTS, [codecs.alert_row(t, _named(t), now) for t in change.transitions])

    def kept(self, tx: Connection) -> list[Kept]:
        """What groups, escalations and caps remember."""
        return [Kept(kind=row.kind, key=row.key, body=row.body) for row in tx.execute(select(notify_states))]

    # -- what people do ----------------------------------------------------------------------------------------------

    def act(self, tx: Connection, action: Action) -> Acted | None:
        """Write down what a person does. Of two who acknowledge the second changes nothing. None: no such alert."""
        alert = self.one(tx, action.alert)
        if alert is None:
            return None
        holder = self._holder(tx, alert)
        over = alert.ended_at is not None and action.kind is not ActionKind.COMMENT
        if over or (action.kind is ActionKind.ACKNOWLEDGE and holder is not None):
            return Acted(alert=alert, done=False, acknowledged=holder)
        self._act.run(
            tx,
            [
                {
                    "alert": action.alert, "kind": action.kind.value, "by": action.by, "at": action.at,
                    "until": action.until, "text": action.text, "via": action.via, "applied": False,
                }
            ],
        )  # fmt: skip
        self._mirror.log(tx, ACTIONS, [codecs.action_row(action, alert)])
        return Acted(alert=alert, done=True, acknowledged=self._holder(tx, alert))

    def _holder(self, tx: Connection, alert: ActiveAlert) -> Acknowledgement | None:
        """Who has the alert, what notify has not taken up yet included."""
        new = [row for row in tx.execute(_ACTIONS_OF, {"one": alert.id}) if not row.applied]
        return _held(alert, new)

    def one(self, tx: Connection, id: str) -> ActiveAlert | None:
        """One alert, also one that has ended."""
        row = tx.execute(_ONE, {"one": id}).one_or_none()
        return None if row is None else _alert(row)

    def listed(self, tx: Connection, *, active: bool, limit: int, worst: bool) -> list[ActiveAlert]:
        """Alerts, newest first, with ``worst`` the severest of them before; with ``active`` those that have not
        ended.
        """
        query = select(alerts).order_by(*[_A.severity] * worst, _A.fired_at.desc(), _A.seq.desc()).limit(limit)
        found = [_alert(row) for row in tx.execute(query.where(_A.ended_at.is_(None)) if active else query)]
        new: dict[str, list[codecs.AnyRow]] = {}
        for row in tx.execute(_ACTIONS):
            new.setdefault(row.alert, []).append(row)
        return [_as_acted(a, new[a.id]) if a.id in new else a for a in found]

    def count(self, tx: Connection) -> int:
        """How many are active."""
        return int(tx.execute(_ACTIVE_COUNT).scalar_one())

    def actions_of(self, tx: Connection, id: str) -> list[Action]:
        """What people did with an alert."""
        return [_action(row) for row in tx.execute(_ACTIONS_OF, {"one": id})]

    def history(self, tx: Connection, since: datetime) -> OnCallHistory:
        """What reports on being on call are made of."""
        named = {"since": since}
        return OnCallHistory(
            alerts=[AlertLife(**row._mapping) for row in tx.execute(_LIVES, named)],
            actions=[ActionTaken(**row._mapping) for row in tx.execute(_TAKEN, named)],
            messages=[
                MessageSent(
                    channel=row.channel, address=row.address, receiver=row.receiver, group=row.group_key,
                    rule=row.rules[0] if row.rules else "", created_at=row.created_at,
                )
                for row in tx.execute(_SENT, named)
            ],
        )  # fmt: skip

    def silences(self, tx: Connection) -> list[StoredSilence]:
        """All silences that people set."""
        return [StoredSilence(**row._mapping) for row in tx.execute(select(silences).order_by(silences.c.created_at))]

    def put_silence(self, tx: Connection, silence: StoredSilence, deed: Deed | None) -> None:
        """Set one, or its end, and log who did it."""
        self._silence.run(tx, [_silence_row(silence)])
        self._mirror.log(tx, ACTIONS, [codecs.silence_action_row(silence, deed)])

    def preferences(self, tx: Connection) -> list[Preference]:
        """What people want for themselves, what they took back included."""
        found = tx.execute(select(preferences).order_by(preferences.c.at, preferences.c.id))
        return [Preference(**{**row._mapping, "kind": PreferenceKind(row.kind)}) for row in found]

    def put_preference(self, tx: Connection, preference: Preference, deed: Deed | None) -> None:
        """Set one, or its end, and log who did it."""
        row = {name: getattr(preference, name) for name in (c.name for c in preferences.columns)}
        self._preference.run(tx, [{**row, "kind": preference.kind.value}])
        self._mirror.log(tx, ACTIONS, [codecs.preference_action_row(preference, deed)])

    def prune(self, tx: Connection, before: datetime) -> None:
        """Forget what ended before."""
        tx.execute(delete(alerts).where(_A.settled.is_(True), _A.ended_at < before))
        tx.execute(delete(alert_actions).where(alert_actions.c.at < before, alert_actions.c.applied.is_(True)))
        tx.execute(delete(silences).where(silences.c.end < before))
        tx.execute(delete(preferences).where((preferences.c.ended_at < before) | (preferences.c.until < before)))


def _named(t: Transition) -> str:
    return alert_id(t.rule, instance_key(t.instance), t.occurrence)


def _held(alert: ActiveAlert, new: Iterable[codecs.AnyRow]) -> Acknowledgement | None:
    """Who has it, after actions that notify has not taken up."""
    found = alert.acknowledged
    for row in new:
        if row.kind in _TAKES:
            found = Acknowledgement(by=row.by, at=row.at, until=row.until)
        elif row.kind == ActionKind.UNACKNOWLEDGE:
            found = None
    return found


def _as_acted(alert: ActiveAlert, new: list[codecs.AnyRow]) -> ActiveAlert:
    assigned = [row.text for row in new if row.kind == ActionKind.ASSIGN]
    return replace(alert, acknowledged=_held(alert, new), assigned_to=assigned[-1] if assigned else alert.assigned_to)


def _body(alert: ActiveAlert) -> dict[str, Any]:
    whole: dict[str, Any] = msgspec.to_builtins(alert)
    for name in _OUTSIDE:
        del whole[name]
    return whole


def _row(alert: ActiveAlert) -> dict[str, object]:
    outside = {name: getattr(alert, name) for name in _OUTSIDE}
    return {**outside, "settled": False, "body": _body(alert)}


def _alert(row: codecs.AnyRow) -> ActiveAlert:
    inner = msgspec.convert({**row.body, "id": row.id, "rule": "", "instance": "", "occurrence": "", "run_id": "",
                             "severity": row.severity, "fired_at": row.fired_at}, ActiveAlert)  # fmt: skip
    return replace(inner, **{name: getattr(row, name) for name in _OUTSIDE})


def _action(row: codecs.AnyRow) -> Action:
    return Action(
        alert=row.alert, kind=ActionKind(row.kind), by=row.by, at=row.at, until=row.until, text=row.text, via=row.via
    )


def _silence_row(s: StoredSilence) -> dict[str, object]:
    return {name: getattr(s, name) for name in ("id", "matchers", "start", "end", "by", "comment", "created_at")}
