"""Verdicts with their reasons."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tocsin.alerts.decisions import RunAttempt, Verdict, evaluate, newer_try, why_expired
from tocsin.alerts.occurrences import EventOccurrence, RunEvent
from tocsin.model.alert import EventKey, Phase, Why

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
US = timedelta(microseconds=1)


def occurrence(*seqs: int) -> EventOccurrence:
    """Failed events, one of each commit."""
    return EventOccurrence(
        status="Failed",
        events=tuple(
            RunEvent(key=EventKey(source="a", event_id=f"e{n}", time_us=n), attempt=0, status="Failed", commit_seq=seq)
            for n, seq in enumerate(seqs)
        ),
    )


def verdict(
    of: EventOccurrence, notified: Sequence[int] = (), expired: Sequence[int] = (), *, start: int = 0, old: Sequence[int] = (),
    waits: Sequence[int] = (),
) -> Verdict:  # fmt: skip
    """Evaluate with events by number: notified, recorded expired; ``old`` ones are too old now, ``waits`` may be
    tried again.
    """
    keys = [e.key for e in of.events]
    remembered = {keys[n]: Phase.FIRED for n in notified} | {keys[n]: Phase.EXPIRED for n in expired}
    return evaluate(
        of,
        remembered,
        start,
        expired=lambda e: Why.TOO_OLD if e.key.time_us in old else None,
        waits=lambda e: e.key.time_us in waits,
    )


def test_notified_when_none_of_its_events_has_been_notified() -> None:
    whole = occurrence(1, 2)
    assert Verdict(why=Why.FIRST, event=whole.events[0]) == verdict(whole)
    assert Verdict(why=Why.ALREADY_FIRED) == verdict(whole, notified=[1])


def test_notified_only_if_all_its_events_came_after_the_rules_start() -> None:
    """One from before is remembered by that event, once, so that a split is seen later."""
    whole = occurrence(3, 9)
    assert Verdict(why=Why.BEFORE_START, event=whole.events[0]) == verdict(whole, start=3)
    assert Verdict(why=Why.BEFORE_START) == verdict(whole, expired=[0], start=3)
    assert Why.FIRST is verdict(whole, start=2).why


def test_expired_while_all_its_events_are() -> None:
    """Recorded once, by its first event; a fresh event notifies it, whether it came before or after the old one."""
    whole = occurrence(1, 2)
    assert Verdict(why=Why.TOO_OLD, event=whole.events[0]) == verdict(whole, old=[0, 1])
    assert Verdict(why=Why.TOO_OLD) == verdict(whole, expired=[0], old=[0, 1])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, expired=[0], old=[0])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, old=[0])


def test_what_was_recorded_expired_is_not_notified_when_notify_within_grows() -> None:
    assert Why.TOO_OLD is verdict(occurrence(1), expired=[0]).why


def test_waits_where_nobody_knows_whether_another_attempt_follows() -> None:
    """One event that is surely final notifies the occurrence."""
    whole = occurrence(1, 2)
    assert Verdict(why=Why.AWAITING_ATTEMPT, waiting=whole.events) == verdict(whole, waits=[0, 1])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, waits=[0])


@pytest.mark.parametrize(
    ("age", "why"), [(DAY, None), (DAY + US, Why.TOO_OLD), (-DAY, None)], ids=["just within", "just beyond", "future"]
)
def test_older_than_notify_within(age: timedelta, why: Why | None) -> None:
    assert why is why_expired(NOON - age, NOON, within=DAY)


def test_produced_before_the_consumers_first_start() -> None:
    assert Why.BEFORE_CONSUMER is why_expired(NOON - US, NOON, within=DAY, first_start=NOON)
    assert None is why_expired(NOON, NOON, within=DAY, first_start=NOON)


def test_a_newer_attempt() -> None:
    """By number where both are known, else another run that began later; the same run by number only."""

    def one(run: str, attempt: int = 0, after: int = 0) -> RunAttempt:
        return RunAttempt(run_id=run, attempt=attempt, began=NOON + after * US)

    assert newer_try(one("r", 1), [one("r", 2)])
    assert newer_try(one("r", 1), [one("s", 2, -5)])
    assert not newer_try(one("r", 2), [one("s", 1, 5), one("s", 2, 5)])
    assert newer_try(one("r"), [one("s", 0, 1)])
    assert newer_try(one("r", 1), [one("s", 0, 1)])
    assert not newer_try(one("r"), [one("s", 0, 0), one("s", 0, -1), one("r", 0, 5)])
    assert newer_try(one("r"), [one("r", 1)])
