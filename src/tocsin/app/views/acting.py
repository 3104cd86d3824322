"""What people do: acknowledge, snooze, assign and close alerts, set and expire silences. By command, API, page or link.

Each is one durable transaction of the state. Where tocsin runs, notify is woken; where it does not, its next start takes
up what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from tocsin.clock import Clock
from tocsin.config.yaml.document import suggest
from tocsin.errors import TocsinError
from tocsin.model.active import Action, ActionKind, ActiveAlert, Deed, Preference, PreferenceKind, StoredSilence
from tocsin.model.alert import fingerprint
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent
from tocsin.model.statuses import Severity, Status
from tocsin.model.text.causes import cut
from tocsin.model.text.redact import redact
from tocsin.notify.addresses import BadAddress, parse_address, same
from tocsin.notify.channels.pagerduty import keys_of
from tocsin.notify.routing.matchers import BadMatcher, Matcher, Op, matches, parse_matchers
from tocsin.notify.routing.mute import PREVIEW, Silence
from tocsin.notify.text import moment
from tocsin.state.interface import State

log = structlog.get_logger(__name__)
Row = dict[str, Any]
LONGEST = timedelta(days=366)
"""How far ahead a silence may end."""
_MOST = 10_000
_LONGEST = 2000
"""Characters of a value of a row."""
_WORDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "severity": ("severity", tuple(each.word for each in Severity)), "Status": ("status", tuple(Status)),
}  # fmt: skip
"""Fields of alerts that have no other values."""
_NEAR, _SHOWN = 1000, 20
"""Newest active alerts among which those of a group are looked for, and how many of them are shown."""


class NoSuchAlert(TocsinError):
    """There is no alert of that id, or several begin with it."""


class NoSuchMessage(TocsinError):
    """There is no message of that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """On the state of a project directory. ``woken`` is called when there is something to take up, with new deliveries."""

    state: State
    clock: Clock
    woken: Callable[[Sequence[Delivery]], None] = lambda made: None
    may_mail: Callable[[str], bool] = lambda address: True  # whether an address may subscribe

    # -- alerts ----------------------------------------------------------------------------------------------------------

    def alerts(self, *, active: bool = True, limit: int = 100, worst: bool = False) -> list[Row]:
        """Active alerts, or all that are kept, newest first; with ``worst`` the severest of them before."""
        return [row_of(alert) for alert in self.state.alerts(active=active, limit=limit, worst=worst)]

    def count(self) -> int:
        """How many alerts are active."""
        return self.state.active_count()

    def alert(self, id: str) -> Row:
        """One alert with what people did and whom it went to. Raises NoSuchAlert."""
        found = self.found(id)
        intent = self.state.intents_called([found.intent]).get(found.intent)
        messages = self.state.deliveries_of(found)
        actions = [
            {"At": a.at, "Kind": a.kind.value, "By": a.by, "Until": a.until, "Text": a.text, "Via": a.via}
            for a in self.state.actions_of(found.id)
        ]
        routes = [
            {"Receiver": r.receiver or None, "Escalation": r.escalation or None, "Because": r.because}
            for r in found.routes
        ]
        return {
            **row_of(found), "Actions": actions, "Routes": routes,
            "Notifications": [_message_row(d) for d in messages],
            "Rows": _rows(intent),
            "Timeline": timeline(
                found, self.state.actions_of(found.id), messages, intent.event if intent is not None else {}
            ),
            "Others": [row_of(other) for other in self._others(found)],
        }  # fmt: skip

    def _others(self, alert: ActiveAlert) -> list[ActiveAlert]:
        """Active alerts of the same groups, as many as a page shows."""
        groups = {r.group for r in alert.routes} - {""}
        near = self.state.alerts(limit=_NEAR) if groups else ()
        return [a for a in near if a.id != alert.id and groups & {r.group for r in a.routes}][:_SHOWN]

    def of_groups(self, ids: Sequence[str]) -> list[str]:
        """``ids`` and those of every active alert of their groups."""
        active, chosen = self.state.alerts(limit=_MOST), set(ids)
        groups = {r.group for alert in active if alert.id in chosen for r in alert.routes} - {""}
        return list(dict.fromkeys([*ids, *(a.id for a in active if groups & {r.group for r in a.routes})]))

    def of_incident(self, key: str) -> list[str]:
        """The active alerts of PagerDuty's incident ``key``."""
        return [alert.id for alert in self.state.alerts(limit=_MOST) if key in keys_of(alert)]

    def found(self, id: str) -> ActiveAlert:
        """The alert ``id``, of which the beginning is enough. Raises NoSuchAlert."""
        if (exact := self.state.alert(id)) is not None:
            held = [a for a in self.state.alerts(limit=_MOST) if a.id == id]
            return held[0] if held else exact
        near = [a for a in self.state.alerts(active=False, limit=_MOST) if len(id) >= 4 and a.id.startswith(id)]
        if len(near) != 1:
            raise NoSuchAlert(f"{'several alerts begin with' if near else 'there is no alert'} '{id[:40]}'")
        return near[0]

    def act(
        self, kind: ActionKind, id: str, by: str, *, until: datetime | None = None, text: str = "", via: str
    ) -> Row:
        """Do it; ``done`` is false where somebody was first, or the alert has ended: then nothing changed.

        Raises NoSuchAlert, and TocsinError for what makes no sense.
        """
        if not by.strip():
            raise TocsinError("it is not said who does it; say by: a name or an address")
        now = self.clock.now()
        if kind is ActionKind.SNOOZE and (until is None or until <= now):
            raise TocsinError("a snooze ends in the future; say for how long")
        alert = self.state.alert(id) or self.found(id)
        action = Action(alert=alert.id, kind=kind, by=by.strip()[:200], at=now, until=until, text=text[:2000], via=via)
        acted = self.state.act(action)
        if acted is None:
            raise NoSuchAlert(f"there is no alert '{id[:40]}'")
        self.woken(())
        return {**row_of(replace(acted.alert, acknowledged=acted.acknowledged)), "Done": acted.done}

    def act_all(self, kind: ActionKind, ids: Sequence[str], by: str, *, text: str = "", via: str) -> Row:
        """Do it to each; those that somebody had already, that have ended or are unknown change nothing.

        Raises TocsinError for what makes no sense.
        """
        done: list[str] = []
        rest: list[str] = []
        for id_ in dict.fromkeys(ids):
            try:
                acted = self.act(kind, id_, by, text=text, via=via)
            except NoSuchAlert:
                rest.append(id_)
                continue
            (done if acted["Done"] else rest).append(acted["AlertId"])
        return {"Done": len(done), "NotDone": len(rest), "Changed": done, "Unchanged": rest}

    # -- what a person gets --------------------------------------------------------------------------------------------

    def preferences(self, *, ended: bool = False) -> list[Row]:
        """What people want for themselves, newest first; with ``ended`` what is over too."""
        now = self.clock.now()
        return [_preference_row(p, now) for p in reversed(self.state.preferences()) if ended or p.holds(now)]

    def prefer(
        self, kind: PreferenceKind, address: str, matchers: str, *, by: str, via: str, until: datetime | None = None
    ) -> Row:
        """Subscribe ``address`` to what matches, or mute it for ``address``. What holds already is left as it is.

        Raises TocsinError for what makes no sense, and for a subscription of whom mails may not go to.
        """
        now, box = self.clock.now(), same(self._address(address))
        try:
            if matches(_meant(matchers), {}):
                raise TocsinError("it must match something in particular: at least one field that is not empty")
        except BadMatcher as e:
            raise TocsinError(str(e)) from e
        if until is not None and until <= now:
            raise TocsinError("it ends in the future, or never")
        if kind is PreferenceKind.SUBSCRIBE and not self.may_mail(box):
            raise TocsinError(f"smtp.allowed_recipients does not allow {box} to be mailed")
        for known in self.state.preferences():
            if known.holds(now) and (known.kind, known.address, known.matchers, known.until) == (
                kind,
                box,
                matchers,
                until,
            ):
                return _preference_row(known, now)
        id_ = fingerprint(kind.value, box, matchers, now.isoformat())[:12]
        made = Preference(
            id=id_, kind=kind, address=box, matchers=matchers, at=now, until=until, by=by.strip()[:200] or box, via=via
        )
        self.state.put_preference(made)
        self.woken(())
        log.info("preference_set", kind=kind.value, address=box, matchers=matchers, by=made.by, via=via)
        return _preference_row(made, now)

    def take_back(self, id: str, *, by: str, via: str) -> Row:
        """End a subscription or a mute; ``by`` is '' where that is not known. Raises TocsinError where there is none that holds."""
        now = self.clock.now()
        found = [p for p in self.state.preferences() if id and p.id.startswith(id) and p.holds(now)]
        if len(found) != 1:
            raise TocsinError(f"{'several begin with' if found else 'no subscription or mute is called'} '{id[:40]}'")
        ended = replace(found[0], ended_at=now)
        self.state.put_preference(ended, Deed(by=by.strip()[:200], via=via, at=now))
        self.woken(())
        log.info("preference_ended", kind=ended.kind.value, address=ended.address, matchers=ended.matchers, via=via)
        return _preference_row(ended, now)

    def _address(self, text: str) -> str:
        try:
            return parse_address(text)
        except BadAddress as e:
            raise TocsinError(f"'{text[:80]}' {e}") from e

    def unsubscribe(self, matchers: str, address: str, *, undo: bool = False, via: str) -> None:
        """``address`` gets nothing of what matches any more as owner or list member, or, with ``undo``, again."""
        if not undo:
            self.prefer(PreferenceKind.MUTE, address, matchers, by=address, via=via)
            return
        for mute in self._mutes(matchers, address):
            self.take_back(mute.id, by=address, via=via)

    def unsubscribed(self, matchers: str, address: str) -> bool:
        """Whether ``address`` has unsubscribed from just this."""
        return bool(self._mutes(matchers, address))

    def _mutes(self, matchers: str, address: str) -> list[Preference]:
        box, now = same(address), self.clock.now()
        every = self.state.preferences()
        wanted = (PreferenceKind.MUTE, box, matchers)
        return [p for p in every if (p.kind, p.address, p.matchers) == wanted and p.holds(now)]

    # -- messages ------------------------------------------------------------------------------------------------------

    def resend(self, id: str) -> Delivery:
        """Send a message that is done with once more, to the same address, under an identity of its own.

        Raises TocsinError where there is none, or it still waits.
        """
        old, now = self.state.delivery(id), self.clock.now()
        if old is None:
            raise NoSuchMessage(f"there is no message '{id[:40]}'")
        if old.state not in (DeliveryState.SENT, DeliveryState.FAILED):
            why = {DeliveryState.READY: "waits to be sent already"}.get(old.state, "is a line of a list, not a message")
            raise TocsinError(f"it {why}")
        name = fingerprint("resend", old.id, now.isoformat())
        message_id = old.message_id.replace(old.id, name) if old.id in old.message_id else f"<{name}@tocsin>"
        made = replace(
            old, id=name, message_id=message_id, state=DeliveryState.READY, attempt=0, reply="", created_at=now,
            next_at=now, deadline=now + max(old.deadline - old.created_at, timedelta(hours=1)),
            message=old.message.replace(old.message_id.encode(), message_id.encode(), 1), event_time=None,
            ingested_at=None,
        )  # fmt: skip
        self.state.put_deliveries([made], [], now)
        self.woken([made])
        return made

    # -- silences --------------------------------------------------------------------------------------------------------

    def silences(self, *, expired: bool = False) -> list[Row]:
        """Silences that people set, the one that ends first first; with ``expired`` those that are over too."""
        now = self.clock.now()
        found = [_silence_row(each, now) for each in self.state.silences()]
        return sorted((s for s in found if expired or s["State"] != "expired"), key=lambda s: s["To"])

    def add_silence(
        self, matchers: str, start: datetime | None, end: datetime, by: str, comment: str, *, via: str
    ) -> Row:
        """Set one. Raises TocsinError that says what is wrong with it."""
        now = self.clock.now()
        start = start or now
        for word, said in (("by", by), ("comment", comment)):
            if not said.strip():
                raise TocsinError(f"{word} is empty; a silence says who set it and why")
        if end <= now or end - now > LONGEST:
            raise TocsinError("a silence ends in the future, within a year")
        id_ = fingerprint(matchers, by, start.isoformat(), end.isoformat(), now.isoformat())[:12]
        silence = StoredSilence(
            id=id_, matchers=matchers, start=start, end=end, by=by.strip()[:200], comment=comment.strip()[:2000],
            created_at=now,
        )  # fmt: skip
        try:
            Silence(id=id_, matchers=_meant(matchers), start=start, end=end, by=by)
        except (BadMatcher, ValueError) as e:
            raise TocsinError(str(e)) from e
        self.state.put_silence(silence, Deed(by=silence.by, via=via, at=now))
        self.woken(())
        return _silence_row(silence, now)

    def expire_silence(self, id: str, *, by: str, via: str) -> Row:
        """End one now; ``by`` is '' where that is not known. Raises TocsinError where there is none that is not over."""
        now = self.clock.now()
        found = [s for s in self.state.silences() if s.id.startswith(id) and id and s.end > now]
        if len(found) != 1:
            raise TocsinError(
                f"{'several silences begin with' if found else 'no silence in force is called'} '{id[:40]}'"
            )
        ended = replace(found[0], end=now, start=min(found[0].start, now - timedelta(microseconds=1)))
        self.state.put_silence(ended, Deed(by=by.strip()[:200], via=via, at=now))
        self.woken(())
        return _silence_row(ended, now)

    def preview(self, matchers: str) -> Mapping[str, Any]:
        """What a silence would hide now, and would have hidden in the last 7 days. Raises TocsinError."""
        try:
            wanted = _meant(matchers)
        except BadMatcher as e:
            raise TocsinError(str(e)) from e
        now = self.clock.now()
        hit = [a for a in self.state.alerts(active=False, limit=_MOST) if matches(wanted, a.fields)]
        return {
            "Matchers": matchers,
            "Now": [row_of(a) for a in hit if a.ended_at is None],
            "Last7Days": sum(a.fired_at > now - PREVIEW for a in hit),
        }


def _meant(text: str) -> tuple[Matcher, ...]:
    """The matchers of ``text``. Raises BadMatcher where it is none, or can never match: a misspelt severity or status."""
    found = parse_matchers(text)
    for each in found:
        kind, words = _WORDS.get(each.name, ("", ()))
        if words and each.op in (Op.EQUAL, Op.NOT_EQUAL) and each.value and each.value not in words:
            raise BadMatcher(f"'{each.value}' is no {kind}; {suggest(each.value, words)}")
    return found


def row_of(alert: ActiveAlert) -> Row:
    """An alert as JSON and tables show it."""
    held = alert.acknowledged
    return {
        "AlertId": alert.id,
        "Rule": alert.rule,
        "Severity": Severity(alert.severity).word,
        "Title": alert.title,
        "RunId": alert.run_id,
        "Kind": "condition" if alert.condition else "event",
        "Since": alert.fired_at,
        "AcknowledgedBy": held.by if held is not None else None,
        "AcknowledgedAt": held.at if held is not None else None,
        "Until": held.until if held is not None else None,
        "AssignedTo": alert.assigned_to or None,
        "Suppressed": alert.suppressed or None,
        "Exhausted": alert.exhausted or None,
        "EndedAt": alert.ended_at,
        "EndedWhy": alert.ended_why or None,
        "Fields": dict(alert.fields),
    }


def _rows(intent: Intent | None) -> list[Row]:
    """The first rows for which an alert fired: those of the query, else the event."""
    if intent is None:
        return []
    rows = intent.rows[:_SHOWN] or ((intent.event,) if intent.event else ())
    return [{name: _clean(value) for name, value in row.items() if value not in (None, "", {}, [])} for row in rows]


def _clean(value: Any) -> Any:
    return cut(redact(value), _LONGEST) if isinstance(value, str) else value


def _message_row(d: Delivery) -> Row:
    return {
        "Delivery": d.id, "Channel": d.channel, "Address": d.address, "Receiver": d.receiver, "Subject": d.subject,
        "State": d.state.value, "Time": d.created_at, "ChangedAt": d.changed_at, "Reply": d.reply,
    }  # fmt: skip


def _preference_row(p: Preference, now: datetime) -> Row:
    return {
        "Id": p.id, "Kind": p.kind.value, "Address": p.address, "Matchers": p.matchers, "From": p.at, "To": p.until,
        "By": p.by, "Via": p.via, "EndedAt": p.ended_at, "State": "active" if p.holds(now) else "ended",
    }  # fmt: skip


def _silence_row(s: StoredSilence, now: datetime) -> Row:
    state = "expired" if s.end <= now else "pending" if s.start > now else "active"
    return {
        "SilenceId": s.id, "Matchers": s.matchers, "From": s.start, "To": s.end, "By": s.by, "Comment": s.comment,
        "State": state,
    }  # fmt: skip


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DID = {
    ActionKind.ACKNOWLEDGE: "acknowledged",
    ActionKind.UNACKNOWLEDGE: "let go",
    ActionKind.SNOOZE: "snoozed",
    ActionKind.ASSIGN: "assigned",
    ActionKind.COMMENT: "commented",
    ActionKind.CLOSE: "closed",
}
_STATES = {
    DeliveryState.READY: "waits to be sent",
    DeliveryState.SENT: "accepted",
    DeliveryState.FAILED: "failed for good",
    DeliveryState.DROPPED: "not sent by itself",
    DeliveryState.HELD: "waits to be a line of a list",
}


def timeline(
    alert: ActiveAlert, actions: Iterable[Action], messages: Iterable[Delivery], event: Mapping[str, object]
) -> list[dict[str, Any]]:
    """What happened: ``At``, ``What``, and more ``Detail`` of it. ``event`` is the row for which it fired, if one."""
    found: list[dict[str, Any]] = []
    if (stored := moment(event.get("IngestedAt"))) is not None:
        found.append(_step(stored, "stored", f"as a row of commit {event.get('CommitSeq', '')}".rstrip()))
    found.append(_step(alert.fired_at, "evaluated, fired", alert.title))
    if alert.event_us:
        found.append(_step(_EPOCH + timedelta(microseconds=alert.event_us), "event", "by the clock of who sent it"))
    for d in messages:
        to = f"{d.subject} → {d.address}"
        found.append(_step(d.created_at, "message", to))
        if d.changed_at is not None and (d.state is not DeliveryState.READY or d.attempt):
            detail = f"{d.address}: {d.reply}" if d.reply else d.address
            found.append(_step(d.changed_at, _STATES[d.state], detail))
    found += [_step(a.at, f"{_DID[a.kind]} by {a.by}", _more(a)) for a in actions]
    if alert.ended_at is not None:
        found.append(_step(alert.ended_at, "ended", alert.ended_why))
    return sorted(found, key=lambda step: step["At"])


def _more(action: Action) -> str:
    parts = [f"to {action.text}" if action.kind is ActionKind.ASSIGN else action.text]
    if action.until is not None:
        parts.append(f"until {action.until:%Y-%m-%d %H:%M} UTC")
    if action.via:
        parts.append(f"by {action.via}")
    return ", ".join(filter(None, parts))


def _step(at: datetime, what: str, detail: str) -> dict[str, Any]:
    return {"At": at, "What": what, "Detail": detail}
