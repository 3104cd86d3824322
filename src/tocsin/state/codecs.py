"""Values of ours to rows of the tables and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

from tocsin.errors import StoreError
from tocsin.model.active import Action, ActiveAlert, Audited, Deed, Preference, StoredSilence
from tocsin.model.alert import EventKey, Occurrence, Phase, Transition, Why, instance_key
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.details import Details
from tocsin.model.instants import ABOUT, Instant, Timer, TimerKind
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.remembered import ConditionState, Remembered
from tocsin.model.statuses import Severity
from tocsin.model.text.typed import of_json, to_json
from tocsin.state.interface import Attempted, Backfill, MirrorRow, RuleRecord
from tocsin.state.tables import clean

AnyRow = Row[*tuple[Any, ...]]
T = TypeVar("T")


def iso(t: datetime | None) -> str | None:
    """``2026-11-24T10:31:02.000005Z``."""
    return None if t is None else t.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# -- evaluation --------------------------------------------------------------------------------------------------------


def rule_row(r: RuleRecord) -> dict[str, object]:
    """A row of ``rules``."""
    cursor = r.cursor
    return {
        "name": r.name,
        "meaning": r.meaning,
        "start_seq": r.start_seq,
        "cursor_at": cursor.at if cursor else None,
        "cursor_timer": cursor.timer if cursor else None,
        "cursor_seq": cursor.commit_seq if cursor else None,
    }


def rule_of(row: AnyRow) -> RuleRecord:
    """The value of a row of ``rules``."""
    cursor = None
    if row.cursor_at is not None:
        cursor = Instant(at=row.cursor_at, timer=row.cursor_timer, commit_seq=row.cursor_seq)
    return RuleRecord(name=row.name, meaning=row.meaning, start_seq=row.start_seq, cursor=cursor)


def occurrence_row(o: Occurrence) -> dict[str, object]:
    """A row of ``occurrences``."""
    return {
        "run_id": o.run_id,
        "rule": o.rule,
        "source": o.event.source,
        "event_id": o.event.event_id,
        "time_us": o.event.time_us,
        "phase": o.phase.value,
        "at": o.at,
        "commit_seq": o.commit_seq,
    }


def occurrence_of(row: AnyRow) -> Occurrence:
    """The value of a row of ``occurrences``."""
    return Occurrence(
        rule=row.rule,
        run_id=row.run_id,
        event=EventKey(source=row.source, event_id=row.event_id, time_us=row.time_us),
        phase=Phase(row.phase),
        at=row.at,
        commit_seq=row.commit_seq,
    )


def condition_row(c: ConditionState) -> dict[str, object]:
    """A row of ``conditions``. The instance is kept as its key, so that it reads back to the same key."""
    return {
        "rule": c.rule,
        "instance": c.key,
        "phase": c.phase.value,
        "since": c.since,
        "severity": int(c.severity),
        "value": c.value,
        "data": to_json(c.data),
    }


def condition_of(row: AnyRow) -> ConditionState:
    """The value of a row of ``conditions``."""
    return ConditionState(
        rule=row.rule,
        instance=json.loads(row.instance),
        phase=Phase(row.phase),
        since=row.since,
        severity=Severity(row.severity),
        value=row.value,
        data=_typed(Remembered, row.data),
    )


def timer_row(t: Timer) -> dict[str, object]:
    """A row of ``timers``."""
    return {
        "rule": t.rule,
        "kind": t.kind.value,
        "key": t.key,
        "due": t.due,
        "consumers": sorted(t.consumers),
        "data": {} if t.data is None else to_json(t.data),
    }


def timer_of(row: AnyRow) -> Timer:
    """The value of a row of ``timers``."""
    return Timer(
        rule=row.rule,
        kind=TimerKind(row.kind),
        key=row.key,
        due=row.due,
        consumers=frozenset(row.consumers),
        data=_typed(ABOUT[TimerKind(row.kind)], row.data) if row.data else None,
    )


def backfill_row(c: Backfill) -> dict[str, object]:
    """A row of ``backfills``."""
    return {
        "rule": c.rule,
        "consumer": c.consumer,
        "count": c.count,
        "oldest": c.oldest,
        "newest": c.newest,
        "began": c.began,
    }


def backfill_of(row: AnyRow) -> Backfill:
    """The value of a row of ``backfills``."""
    # Not row.count: a row is a tuple, and tuples have a method of that name.
    return Backfill(**row._mapping)


# -- notify ------------------------------------------------------------------------------------------------------------


def info_row(i: RuleInfo) -> dict[str, object]:
    """A row of ``rule_infos``."""
    return {"version": i.version, "body": msgspec.to_builtins(i)}


def info_of(body: Mapping[str, object]) -> RuleInfo:
    """The value of a row of ``rule_infos``; fields of a newer tocsin are left out."""
    return msgspec.convert(body, RuleInfo)


def intent_row(i: Intent) -> dict[str, object]:
    """A row of ``intents``."""
    return {
        "id": i.id,
        "rule": i.rule,
        "rule_version": i.rule_version,
        "instance": instance_key(i.instance),
        "occurrence": i.occurrence,
        "kind": i.kind.value,
        "ordinal": i.ordinal,
        "severity": int(i.severity),
        "why": i.why.value,
        "value": i.value,
        "run_id": i.run_id,
        "root_run_id": i.root_run_id,
        "commit_seq": i.commit_seq,
        "at": i.at,
        "event_time": i.event_time,
        "labels": i.labels,
        "fields": i.fields,
        "event": i.event,
        "rows": i.rows,
        "data": to_json(i.details),
    }


def intent_of(row: AnyRow) -> Intent:
    """The value of a row of ``intents``."""
    return Intent(
        rule=row.rule,
        rule_version=row.rule_version,
        instance=json.loads(row.instance),
        occurrence=row.occurrence,
        kind=IntentKind(row.kind),
        ordinal=row.ordinal,
        severity=Severity(row.severity),
        why=Why(row.why),
        labels=row.labels,
        fields=row.fields,
        value=row.value,
        run_id=row.run_id,
        root_run_id=row.root_run_id,
        event=row.event,
        rows=tuple(row.rows),
        details=_typed(Details, row.data),
        commit_seq=row.commit_seq,
        at=row.at,
        event_time=row.event_time,
    )


def delivery_row(d: Delivery, now: datetime) -> dict[str, object]:
    """A row of ``deliveries``."""
    return {
        "id": d.id,
        "channel": d.channel,
        "address": d.address,
        "receiver": d.receiver,
        "group_key": d.group,
        "rules": d.rules,
        "severity": d.severity,
        "subject": d.subject,
        "message_id": d.message_id,
        "state": d.state.value,
        "attempt": d.attempt,
        "created_at": d.created_at,
        "next_at": d.next_at,
        "deadline": d.deadline,
        "changed_at": now,
        "reply": clean(d.reply),
        "handle": clean(d.handle),
        "run_id": d.run_id,
        "event_time": d.event_time,
        "ingested_at": d.ingested_at,
        "covers": d.covers,
    }


def delivery_of(row: AnyRow, intents: tuple[str, ...]) -> Delivery:
    """The value of a row of ``deliveries`` and the intents linked with it."""
    return Delivery(
        id=row.id,
        channel=row.channel,
        address=row.address,
        receiver=row.receiver,
        group=row.group_key,
        rules=tuple(row.rules),
        severity=row.severity,
        subject=row.subject,
        message_id=row.message_id,
        message=bytes(row.message),
        state=DeliveryState(row.state),
        attempt=row.attempt,
        created_at=row.created_at,
        next_at=row.next_at,
        deadline=row.deadline,
        reply=row.reply,
        handle=row.handle,
        run_id=row.run_id,
        event_time=row.event_time,
        ingested_at=row.ingested_at,
        covers=row.covers,
        intents=intents,
        changed_at=row.changed_at,
    )


# -- mirror ------------------------------------------------------------------------------------------------------------


def alert_row(t: Transition, alert: str, now: datetime) -> dict[str, object]:
    """A row of the log store's ``Alerts``. ``alert`` is the id of the alert, '' where none has fired."""
    return {
        "Time": iso(now),
        "Rule": t.rule,
        "Instance": t.instance,
        "Occurrence": t.occurrence,
        "From": t.before.value,
        "To": t.after.value,
        "Reason": f"{t.reason.value}, {clean(t.detail)}" if t.detail else t.reason.value,
        "Severity": t.severity.word,
        "Value": t.value,
        "Labels": t.labels,
        "RunId": t.run_id,
        "AlertId": alert,
        "CommitSeq": t.commit_seq,
        "T": iso(t.at),
    }


def action_row(action: Action, alert: ActiveAlert) -> dict[str, object]:
    """A row of the log store's ``Actions`` for what a person did with an alert."""
    return {
        **_deed(Deed(by=action.by, via=action.via, at=action.at)),
        "Kind": action.kind.value,
        "AlertId": alert.id,
        "Rule": alert.rule,
        "RunId": alert.run_id,
        "Until": iso(action.until),
        "Text": clean(action.text),
    }


def silence_action_row(s: StoredSilence, deed: Deed | None) -> dict[str, object]:
    """A row of the log store's ``Actions`` for a silence that was set, or ended by hand."""
    deed = deed or Deed(by=s.by, via="", at=s.created_at)
    return {
        **_deed(deed),
        "Kind": "silence" if deed.at < s.end else "expire",
        "Id": s.id,
        "Matchers": clean(s.matchers),
        "From": iso(s.start),
        "Until": iso(s.end),
        "Text": clean(s.comment),
    }


def preference_action_row(p: Preference, deed: Deed | None) -> dict[str, object]:
    """A row of the log store's ``Actions`` for a subscription or a mute that was set, or ended by hand."""
    return {
        **_deed(deed or Deed(by=p.by, via=p.via, at=p.ended_at or p.at)),
        "Kind": p.kind.value if p.ended_at is None else f"un{p.kind.value}",
        "Id": p.id,
        "Address": clean(p.address),
        "Matchers": clean(p.matchers),
        "Until": iso(p.until),
    }


def audit_row(done: Audited) -> dict[str, object]:
    """A row of the log store's ``Actions`` for what is audited."""
    return {**_deed(done.deed), "Kind": done.kind.value, "Text": clean(done.text)}


def _deed(d: Deed) -> dict[str, object]:
    return {"Time": iso(d.at), "By": clean(d.by), "Via": d.via}


def put_row(d: Delivery, now: datetime) -> dict[str, object]:
    """A row of the log store's ``Notifications`` for a new delivery."""
    return _notification(
        d, d.group, Attempted(id=d.id, state=d.state, attempt=d.attempt, reply=d.reply, next_at=now, at=now)
    )


def attempted_row(d: AnyRow, a: Attempted) -> dict[str, object]:
    """A row of the log store's ``Notifications`` for an attempt; ``d`` is the delivery's row."""
    return _notification(d, d.group_key, a)


def _notification(d: Any, group: str, a: Attempted) -> dict[str, object]:
    return {
        "Time": iso(a.at),
        "Delivery": d.id,
        "Channel": d.channel,
        "Address": d.address,
        "Receiver": d.receiver,
        "Group": group,
        "Rules": d.rules,
        "State": a.state.value,
        "Attempt": a.attempt,
        "Reply": clean(a.reply),
        "Subject": d.subject,
        "MessageId": d.message_id,
    }


def mirror_of(row: AnyRow) -> MirrorRow:
    """The value of a row of ``mirror``."""
    return MirrorRow(seq=row.seq, table=row.table_name, row=row.row)


def _typed(kind: type[T], data: Mapping[str, object]) -> T:
    try:
        return of_json(kind, data)
    except ValueError as e:
        raise StoreError(f"the state was written by another version of tocsin: {e}") from e
