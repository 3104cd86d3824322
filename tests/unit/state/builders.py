"""Real values for tests of the state, with what does not matter filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tocsin.model.alert import EventKey, Occurrence, Phase, Transition, Why
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.remembered import Attempt, ConditionState
from tocsin.model.statuses import Severity
from tocsin.state.interface import Attempted, Backfill, RuleRecord, State

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LATER = NOW + timedelta(hours=1)
ANNA, BELA = "anna@example.org", "bela@example.org"


def occurrence(run: str, rule: str = "run-failed", n: int = 0, **fields: Any) -> Occurrence:
    key = EventKey(source="trainer", event_id=f"{run}-{n}", time_us=1_700_000_000_000_000 + n)
    values: dict[str, Any] = {"phase": Phase.FIRED, "at": NOW, "commit_seq": 7} | fields
    return Occurrence(rule=rule, run_id=run, event=key, **values)


def transition(run: str, rule: str = "run-failed", **fields: Any) -> Transition:
    values: dict[str, Any] = {
        "instance": {"RunId": run},
        "occurrence": f"o-{run}",
        "before": Phase.NONE,
        "after": Phase.FIRED,
        "reason": Why.FIRST,
        "severity": Severity.ERROR,
        "run_id": run,
        "commit_seq": 7,
        "at": NOW,
    }
    return Transition(rule=rule, **(values | fields))


def intent(run: str, rule: str = "run-failed", **fields: Any) -> Intent:
    values: dict[str, Any] = {
        "rule_version": "v1",
        "instance": {"RunId": run},
        "occurrence": f"o-{run}",
        "kind": IntentKind.FIRED,
        "severity": Severity.ERROR,
        "why": Why.FIRST,
        "run_id": run,
        "commit_seq": 7,
        "at": NOW,
    }
    return Intent(rule=rule, **(values | fields))


def condition(instance: dict[str, object], rule: str = "cost", **fields: Any) -> ConditionState:
    values: dict[str, Any] = {"phase": Phase.PENDING, "since": NOW, "severity": Severity.WARNING}
    return ConditionState(rule=rule, instance=instance, **(values | fields))


def delivery(id: str, **fields: Any) -> Delivery:
    values: dict[str, Any] = {
        "address": ANNA,
        "receiver": "owner",
        "group": "run:r1",
        "rules": ("run-failed",),
        "severity": "error",
        "subject": f"subject of {id}",
        "message_id": f"<{id}@tocsin>",
        "message": f"Subject: {id}\r\n\r\nbody\r\n".encode(),
        "state": DeliveryState.READY,
        "created_at": NOW,
        "next_at": NOW,
        "deadline": NOW + timedelta(days=1),
    }
    return Delivery(id=id, **(values | fields))


def attempted(id: str, state: DeliveryState = DeliveryState.SENT, attempt: int = 1, **fields: Any) -> Attempted:
    values: dict[str, Any] = {"reply": "250 2.0.0 Ok", "next_at": NOW, "at": NOW + SECOND}
    return Attempted(id=id, state=state, attempt=attempt, **(values | fields))


def timer(key: str, due: datetime = NOW, rule: str = "run-failed", kind: TimerKind = TimerKind.FINAL_AFTER) -> Timer:
    return Timer(
        rule=rule,
        kind=kind,
        key=key,
        due=due,
        consumers=frozenset({"kafka", "http"}),
        data=Attempt(run="r1", event=EventKey("a", "e1", 7), due_us=9),
    )


def backfill(consumer: str, count: int = 3, rule: str = "run-failed") -> Backfill:
    return Backfill(rule=rule, consumer=consumer, count=count, oldest=NOW - MINUTE, newest=NOW, began=NOW)


def record(name: str, **fields: object) -> RuleRecord:
    values: dict[str, object] = {"meaning": "abc", "start_seq": 3}
    return RuleRecord(name=name, **(values | fields))  # type: ignore[arg-type]


def states_of(state: State) -> list[tuple[object, object, object]]:
    """What Notifications will say: (delivery, state, attempt)."""
    rows = [m.row for m in state.mirror_after(0) if m.table == "Notifications"]
    return [(r["Delivery"], r["State"], r["Attempt"]) for r in rows]
