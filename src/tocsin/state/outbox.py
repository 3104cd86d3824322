"""Intents that wait, and deliveries from their writing to their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)

from tocsin.model.delivery import EMAIL, Delivery, DeliveryState, Endpoint, Notified
from tocsin.model.intent import Intent, IntentHead, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.state import codecs
from tocsin.state.dialects import SqlDialect
from tocsin.state.interface import Attempted
from tocsin.state.mirrorlog import NOTIFICATIONS, MirrorLog
from tocsin.state.tables import Micros, alerts, clean, deliveries, delivery_intents, intents, messages, rule_infos

_D = deliveries.c
_READY = _D.state == DeliveryState.READY.value
_OPEN = intents.c.consumed_at.is_(None)
_LIVE = _D.state.in_([DeliveryState.READY.value, DeliveryState.HELD.value])
_REACH = [DeliveryState.READY.value, DeliveryState.SENT.value]
_REACHES = _D.state.in_(_REACH)
_ANY_INDEX = _D.state + ""  # any but that of states: nearly all deliveries are sent
_NOT_MAILED = _D.state.in_([DeliveryState.HELD.value, DeliveryState.DROPPED.value])

_WAITING = select(intents).where(_OPEN).order_by(intents.c.seq).limit(bindparam("most"))
_I = intents.c
_HEADS = (
    select(_I.id, _I.rule, _I.instance, _I.occurrence, _I.kind, _I.severity, _I.run_id, _I.at, _I.commit_seq)
    .where(_OPEN)
    .order_by(_I.seq)
    .limit(bindparam("most"))
)
_FIRST_URGENT = (
    select(intents.c.id, intents.c.run_id, intents.c.at, intents.c.commit_seq)
    .where(_OPEN, intents.c.severity == literal_column("0"), intents.c.kind == literal_column("'fired'"))
    .order_by(intents.c.seq)
    .limit(bindparam("most"))
)
"""Literals, so that SQLite takes the index of just these."""
_INFO = select(rule_infos.c.body).where(rule_infos.c.version == bindparam("v"))
_WHOLE = select(deliveries, messages.c.message).join(messages, messages.c.delivery == _D.id)
_BY_CHANNEL = _D.channel == bindparam("channel")
_DUE = (
    _WHOLE.where(_READY, _BY_CHANNEL, _D.next_at <= bindparam("now", type_=Micros))
    .order_by(_D.next_at, _D.seq)
    .limit(bindparam("most"))
)
_URGENT = _D.severity == Severity.CRITICAL.word
_DUE_URGENT = _DUE.where(_URGENT)
_NEXT = select(_D.id, _D.next_at).where(_READY, _BY_CHANNEL).order_by(_D.next_at, _D.seq).limit(bindparam("most"))
_BY_RECEIVER = _D.receiver == bindparam("receiver")
_DUE_BY_RECEIVER, _NEXT_BY_RECEIVER = _DUE.where(_BY_RECEIVER), _NEXT.where(_BY_RECEIVER)
_ENDPOINTS = (
    select(_D.channel, case((_D.channel == EMAIL, ""), else_=_D.receiver).label("receiver")).where(_READY).distinct()
)
_ONE = _WHOLE.where(_D.id == bindparam("one"))
_THIS = deliveries.alias("this")
_READY_WITH = (
    _WHOLE.join(_THIS, and_(_THIS.c.group_key == _D.group_key, _THIS.c.address == _D.address))
    .where(_THIS.c.id == bindparam("one"), _READY)
    .order_by(_D.seq)
)
_ATTEMPTED = (
    update(deliveries)
    .where(_D.id == bindparam("k_id"))
    .values(
        state=bindparam("b_state"),
        attempt=bindparam("b_attempt"),
        reply=bindparam("b_reply"),
        handle=bindparam("b_handle"),
        next_at=bindparam("b_next"),
        changed_at=bindparam("b_at"),
    )
)
_SENT_LATELY = (
    select(_D.address, _D.created_at)
    .where(_D.created_at >= bindparam("since", type_=Micros), ~_NOT_MAILED)
    .order_by(_D.created_at.desc(), _D.seq.desc())
    .limit(bindparam("most"))
)
_NOTIFIED_ADDRESSES = (
    select(_D.channel, _D.address, _D.receiver, _D.message_id, _D.subject, _D.rules)
    .join(delivery_intents, delivery_intents.c.delivery == _D.id)
    .join(intents, intents.c.id == delivery_intents.c.intent)
    .where(
        intents.c.rule == bindparam("rule"),
        intents.c.occurrence == bindparam("occurrence"),
        intents.c.instance == bindparam("instance"),
        intents.c.kind == IntentKind.FIRED.value,
        _REACHES,
    )
    .order_by(_D.seq)
)
_OF_ALERT = (
    _WHOLE.where(
        _D.id.in_(
            select(delivery_intents.c.delivery)
            .join(intents, intents.c.id == delivery_intents.c.intent)
            .where(
                intents.c.rule == bindparam("rule"),
                intents.c.occurrence == bindparam("occurrence"),
                intents.c.instance == bindparam("instance"),
            )
        )
    )
    .order_by(_D.seq)
    .limit(500)
)
_NOTIFIED_GROUP = (
    select(_D.channel, _D.address, _D.receiver, _D.message_id, _D.subject, _D.rules)
    .where(_D.group_key == bindparam("of"), _REACHES)
    .order_by(_D.seq)
)
_HELD_UNTIL = (
    select(_D.address, _D.group_key, func.min(_D.next_at, type_=Micros).label("until"))
    .where(_D.state == DeliveryState.HELD.value)
    .group_by(_D.address, _D.group_key)
)
_LATER = deliveries.alias("later")
_BAD_ADDRESSES = (
    select(_D.address, func.max(_D.reply).label("reply"), func.max(_D.changed_at, type_=Micros).label("at"))
    .where(
        _D.state == DeliveryState.FAILED.value,
        _D.channel == EMAIL,
        _D.reply.like("___ 5.1.%"),  # RFC 3463: the address; 5.1.7 and 5.1.8 are about the sender's
        ~_D.reply.like("___ 5.1.7%"),
        ~_D.reply.like("___ 5.1.8%"),
        ~exists().where(
            _LATER.c.address == _D.address,
            _LATER.c.state + "" == DeliveryState.SENT.value,  # not by the index of states, see ``_ANY_INDEX``
            _LATER.c.changed_at > _D.changed_at,
        ),
    )
    .group_by(_D.address)
    .order_by(_D.address)
    .limit(100)
)
_COUNTS = select(_D.state, func.count()).group_by(_D.state)
_OLDEST = select(func.min(_D.created_at)).where(_READY)
_WAITING_COUNT = select(func.count()).select_from(intents).where(_OPEN)
_BEFORE = bindparam("before", type_=Micros)
_PRUNE: tuple[Any, ...] = (
    delete(deliveries).where(~_LIVE, _D.changed_at < _BEFORE),
    delete(intents).where(
        intents.c.consumed_at < _BEFORE,
        ~exists().where(delivery_intents.c.intent == intents.c.id),
        ~exists().where(
            alerts.c.rule == intents.c.rule, alerts.c.instance == intents.c.instance, alerts.c.ended_at.is_(None)
        ),
    ),
)
_PRUNE_INFOS = delete(rule_infos).where(rule_infos.c.version.not_in(select(intents.c.rule_version)))


def _to(endpoint: Endpoint) -> dict[str, str]:
    """Parameters that name it."""
    return endpoint._asdict() if endpoint.receiver else {"channel": endpoint.channel}


def _firsts(rows: Iterable[codecs.AnyRow]) -> list[Notified]:
    found: dict[tuple[str, str, str], Notified] = {}
    for row in rows:
        about = row.rules[0] if row.rules else ""
        notified = Notified(row.address, row.receiver, row.message_id, row.subject, about, row.channel)
        found.setdefault((row.channel, row.address, row.receiver), notified)
    return list(found.values())


class Outbox:
    """Statements of notify, each on the caller's transaction."""

    def __init__(self, dialect: SqlDialect, mirror: MirrorLog) -> None:
        self._dialect, self._mirror = dialect, mirror
        self._put = dialect.insert_new(deliveries, ["id"], without=["seq"])
        self._put_message = dialect.bulk(insert(messages), ["delivery", "message"])
        self._link = dialect.insert_new(delivery_intents, ["intent", "delivery"])
        self._attempted = dialect.bulk(
            _ATTEMPTED, ["k_id", "b_state", "b_attempt", "b_reply", "b_handle", "b_next", "b_at"]
        )
        ids = select(dialect.texts("ids").c.value)
        self._consume = update(intents).where(intents.c.id.in_(ids), _OPEN).values(consumed_at=bindparam("b_at"))
        self._called = select(intents).where(intents.c.id.in_(ids))
        self._of_runs = select(intents).where(_OPEN, intents.c.run_id.in_(ids)).order_by(intents.c.seq)
        self._known = select(_D.id).where(_D.id.in_(ids))
        self._headers = select(
            _D.id,
            _D.channel,
            _D.address,
            _D.receiver,
            _D.group_key,
            _D.rules,
            _D.subject,
            _D.message_id,
            _D.state,
            _D.attempt,
        ).where(_D.id.in_(ids))
        self._of_groups = (
            select(_D.address, _D.group_key, _D.message_id, _D.subject)
            .where(_D.group_key.in_(select(dialect.texts("groups").c.value)), _ANY_INDEX.in_(_REACH))
            .order_by(_D.created_at, _D.seq)
        )
        self._links = (
            select(delivery_intents.c.delivery, delivery_intents.c.intent)
            .where(delivery_intents.c.delivery.in_(ids))
            .order_by(delivery_intents.c.intent)
        )

    # -- intents -----------------------------------------------------------------------------------------------------

    def intents(self, tx: Connection, limit: int) -> list[Intent]:
        """Intents not consumed, oldest first."""
        return [codecs.intent_of(row) for row in tx.execute(_WAITING, {"most": limit})]

    def intent_heads(self, tx: Connection, limit: int) -> list[IntentHead]:
        """Their heads."""
        return [
            IntentHead(id_, (rule, instance, occurrence), IntentKind(kind), Severity(severity), run, (at, seq))
            for id_, rule, instance, occurrence, kind, severity, run, at, seq in tx.execute(_HEADS, {"most": limit})
        ]

    def urgent(self, tx: Connection, limit: int) -> list[Intent]:
        """Critical alerts that fire, with all that was decided of their runs in the same evaluations, oldest first. One
        is left out whose run has something else to say there: it has its turn.
        """
        first = tx.execute(_FIRST_URGENT, {"most": limit}).all()
        if not first:
            return []
        alone = [row.id for row in first if not row.run_id]
        found = {i.id: i for i in self.intents_called(tx, alone).values()}
        with_them = {(row.run_id, row.at, row.commit_seq) for row in first if row.run_id}
        rows = tx.execute(self._of_runs, {"ids": self._dialect.pack(sorted({run for run, _, _ in with_them}))}).all()
        other = {(r.run_id, r.at, r.commit_seq) for r in rows if r.kind != IntentKind.FIRED.value}
        whole = [r for r in rows if (r.run_id, r.at, r.commit_seq) in with_them - other]
        found |= {r.id: codecs.intent_of(r) for r in whole}
        return sorted(found.values(), key=lambda i: (i.at, i.commit_seq))

    def intents_called(self, tx: Connection, ids: Sequence[str]) -> dict[str, Intent]:
        """Intents by id."""
        if not ids:
            return {}
        return {row.id: codecs.intent_of(row) for row in tx.execute(self._called, {"ids": self._dialect.pack(ids)})}

    def states_of(self, tx: Connection, ids: Sequence[str]) -> dict[str, DeliveryState]:
        """State of each delivery."""
        rows = tx.execute(self._headers, {"ids": self._dialect.pack(ids)})
        return {row.id: DeliveryState(row.state) for row in rows}

    def info(self, tx: Connection, version: str) -> RuleInfo | None:
        """A rule's presentation."""
        body = tx.execute(_INFO, {"v": version}).scalar_one_or_none()
        return None if body is None else codecs.info_of(body)

    # -- deliveries --------------------------------------------------------------------------------------------------

    def put(
        self, tx: Connection, new: Sequence[Delivery], consumed: Sequence[str], listed: Sequence[str], now: datetime
    ) -> None:
        """Write deliveries that are not there yet; mark intents; drop the held ones that are listed."""
        ids = self._dialect.pack([d.id for d in new])
        known = set(tx.execute(self._known, {"ids": ids}).scalars()) if new else set()
        fresh = list({d.id: d for d in reversed(new) if d.id not in known}.values())[::-1]
        if fresh:
            self._put.run(tx, [codecs.delivery_row(d, now) for d in fresh])
            self._put_message.run(tx, [{"delivery": d.id, "message": d.message} for d in fresh])
            self._link.run(tx, [{"intent": i, "delivery": d.id} for d in fresh for i in d.intents])
            self._mirror.log(tx, NOTIFICATIONS, [codecs.put_row(d, now) for d in fresh])
        if consumed:
            tx.execute(self._consume, {"ids": self._dialect.pack(consumed), "b_at": now})
        if listed:
            self._drop(tx, listed, now)

    def _drop(self, tx: Connection, ids: Sequence[str], now: datetime) -> None:
        rows = tx.execute(self._headers, {"ids": self._dialect.pack(ids)}).all()
        dropped = DeliveryState.DROPPED
        self.attempted(
            tx,
            [
                Attempted(id=row.id, state=dropped, attempt=row.attempt, reply="", next_at=now, at=now)
                for row in rows
                if row.state == DeliveryState.HELD
            ],
        )

    def attempted(self, tx: Connection, results: Sequence[Attempted]) -> None:
        """Write results, in their order; what is finished or unknown is left alone."""
        rows = {row.id: row for row in tx.execute(self._headers, {"ids": self._dialect.pack([a.id for a in results])})}
        at: dict[str, tuple[str, int]] = {id_: (row.state, row.attempt) for id_, row in rows.items()}
        changes: list[dict[str, object]] = []
        notes: list[dict[str, object]] = []
        for a in results:
            if a.id not in at or at[a.id][0] not in (DeliveryState.READY, DeliveryState.HELD):
                continue
            changes.append(
                {
                    "k_id": a.id,
                    "b_state": a.state.value,
                    "b_attempt": a.attempt,
                    "b_reply": clean(a.reply),
                    "b_handle": clean(a.handle),
                    "b_next": a.next_at,
                    "b_at": a.at,
                }
            )
            if at[a.id] != (a.state.value, a.attempt):
                notes.append(codecs.attempted_row(rows[a.id], a))
            at[a.id] = (a.state.value, a.attempt)
        self._attempted.run(tx, changes)
        self._mirror.log(tx, NOTIFICATIONS, notes)

    def endpoints(self, tx: Connection) -> set[Endpoint]:
        """Those of what is READY."""
        return {Endpoint(channel, receiver) for channel, receiver in tx.execute(_ENDPOINTS)}

    def due(self, tx: Connection, now: datetime, limit: int, exclude: frozenset[str], to: Endpoint) -> list[Delivery]:
        """READY and due, oldest first; of mails the critical ones before."""
        given = {"now": now, "most": limit + len(exclude), **_to(to)}
        if to.receiver:
            rows = tx.execute(_DUE_BY_RECEIVER, given).all()
        else:
            rows = [*tx.execute(_DUE_URGENT, given), *tx.execute(_DUE, given)]
        fresh = {row.id: row for row in rows if row.id not in exclude}
        return self._whole(tx, list(fresh.values())[:limit])

    def next_due(self, tx: Connection, exclude: frozenset[str], to: Endpoint) -> datetime | None:
        """When the next is due."""
        rows = tx.execute(_NEXT_BY_RECEIVER if to.receiver else _NEXT, {"most": len(exclude) + 1, **_to(to)})
        return next((at for id_, at in rows if id_ not in exclude), None)

    def one(self, tx: Connection, id: str) -> Delivery | None:
        """One delivery."""
        found = self._whole(tx, tx.execute(_ONE, {"one": id}).all())
        return found[0] if found else None

    def of_alert(self, tx: Connection, rule: str, instance: str, occurrence: str) -> list[Delivery]:
        """Messages about an alert, in the order of writing."""
        named = {"rule": rule, "instance": instance, "occurrence": occurrence}
        return self._whole(tx, tx.execute(_OF_ALERT, named))

    def ready_with(self, tx: Connection, id: str) -> list[Delivery]:
        """READY ones of its group and address, in the order of writing."""
        return self._whole(tx, tx.execute(_READY_WITH, {"one": id}).all())

    def newest(
        self, tx: Connection, state: DeliveryState | None, address: str, limit: int, before: datetime | None
    ) -> list[Delivery]:
        """Deliveries, newest first, created before ``before``."""
        asked: list[ColumnElement[bool]] = []
        if state is not None:
            asked.append(_D.state == state.value)
        if address:
            asked.append(_D.address == address)
        if before is not None:
            asked.append(_D.created_at < before)
        query = _WHOLE.where(and_(True, *asked)).order_by(_D.created_at.desc(), _D.seq.desc()).limit(limit)
        return self._whole(tx, tx.execute(query).all())

    def held_until(self, tx: Connection) -> list[tuple[str, str, datetime]]:
        """Address, group and earliest time of what is HELD."""
        return [(row.address, row.group_key, row.until) for row in tx.execute(_HELD_UNTIL)]

    def bad_addresses(self, tx: Connection) -> list[tuple[str, str, datetime]]:
        """Address, what the server said, and when it said so last."""
        return [(row.address, row.reply, row.at) for row in tx.execute(_BAD_ADDRESSES)]

    def sent_lately(self, tx: Connection, since: datetime, most: int) -> list[tuple[str, datetime]]:
        """Address and creation of the newest mails, what is held or dropped left out."""
        rows = tx.execute(_SENT_LATELY, {"since": since, "most": most})
        return [(row.address, row.created_at) for row in rows]

    def threads(self, tx: Connection, pairs: frozenset[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
        """(Message-ID, subject) of the first mail about a group to an address, by (address, group)."""
        found: dict[tuple[str, str], tuple[str, str]] = {}
        if pairs:
            groups = self._dialect.pack(sorted({group for _, group in pairs}))
            for row in tx.execute(self._of_groups, {"groups": groups}):
                if (pair := (row.address, row.group_key)) in pairs:
                    found.setdefault(pair, (row.message_id, row.subject))
        return found

    def notified_addresses(self, tx: Connection, rule: str, instance: str, occurrence: str) -> list[Notified]:
        """An alert's firing mails, the first to each receiver at each address, in the order of their writing."""
        named = {"rule": rule, "instance": instance, "occurrence": occurrence}
        return _firsts(tx.execute(_NOTIFIED_ADDRESSES, named))

    def notified_group(self, tx: Connection, group: str) -> list[Notified]:
        """The same of a group."""
        return _firsts(tx.execute(_NOTIFIED_GROUP, {"of": group}))

    def stats(self, tx: Connection) -> Mapping[str, float]:
        """Counts by state, intents that wait, epoch seconds of the oldest ready delivery."""
        counts: dict[str, float] = {state.value: 0 for state in DeliveryState}
        for state, n in tx.execute(_COUNTS):
            counts[state] = n
        oldest = tx.execute(_OLDEST).scalar_one()
        return {
            **counts,
            "intents": tx.execute(_WAITING_COUNT).scalar_one(),
            "oldest": oldest.timestamp() if oldest else 0.0,
        }

    def prune(self, tx: Connection, before: datetime) -> None:
        """Forget what ended before ``before``, and presentations that no intent names any more."""
        for statement in _PRUNE:
            tx.execute(statement, {"before": before})
        tx.execute(_PRUNE_INFOS)

    def _whole(self, tx: Connection, rows: Iterable[codecs.AnyRow]) -> list[Delivery]:
        found = list(rows)
        links: dict[str, list[str]] = {}
        if found:
            for delivery, intent in tx.execute(self._links, {"ids": self._dialect.pack([r.id for r in found])}):
                links.setdefault(delivery, []).append(intent)
        return [codecs.delivery_of(row, tuple(links.get(row.id, ()))) for row in found]
