"""Verdicts with their reasons."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tocsin.alerts.decisions import Try, Verdict, judge, newer_try, why_stale
from tocsin.alerts.occurrences import RunEvent, Stretch
from tocsin.model.alert import EventKey, Phase, Why

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
US = timedelta(microseconds=1)


def stretch(*seqs: int) -> Stretch:
    """Failed events, one of each commit."""
    return Stretch(
        status="Failed",
        events=tuple(
            RunEvent(key=EventKey(source="a", event_id=f"e{n}", time_us=n), attempt=0, status="Failed", commit_seq=seq)
            for n, seq in enumerate(seqs)
        ),
    )


def verdict(
    of: Stretch, told: Sequence[int] = (), stale: Sequence[int] = (), *, start: int = 0, old: Sequence[int] = (),
    waits: Sequence[int] = (),
) -> Verdict:  # fmt: skip
    """Judge with events by number: told, recorded stale; ``old`` ones are too old now, ``waits`` may be tried again."""
    keys = [e.key for e in of.events]
    remembered = {keys[n]: Phase.TOLD for n in told} | {keys[n]: Phase.STALE for n in stale}
    return judge(
        of,
        remembered,
        start,
        stale=lambda e: Why.TOO_OLD if e.key.time_us in old else None,
        waits=lambda e: e.key.time_us in waits,
    )


def test_told_when_none_of_its_events_has_been_told() -> None:
    whole = stretch(1, 2)
    assert Verdict(why=Why.FIRST, event=whole.events[0]) == verdict(whole)
    assert Verdict(why=Why.ALREADY_TOLD) == verdict(whole, told=[1])


def test_told_only_if_all_its_events_came_after_the_rules_start() -> None:
    """One from before is remembered by that event, once, so that a split is seen later."""
    whole = stretch(3, 9)
    assert Verdict(why=Why.BEFORE_START, event=whole.events[0]) == verdict(whole, start=3)
    assert Verdict(why=Why.BEFORE_START) == verdict(whole, stale=[0], start=3)
    assert Why.FIRST is verdict(whole, start=2).why


def test_stale_while_all_its_events_are() -> None:
    """Recorded once, by its first event; a fresh event tells it, whether it came before or after the old one."""
    whole = stretch(1, 2)
    assert Verdict(why=Why.TOO_OLD, event=whole.events[0]) == verdict(whole, old=[0, 1])
    assert Verdict(why=Why.TOO_OLD) == verdict(whole, stale=[0], old=[0, 1])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, stale=[0], old=[0])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, old=[0])


def test_what_was_recorded_stale_is_not_told_when_tell_within_grows() -> None:
    assert Why.TOO_OLD is verdict(stretch(1), stale=[0]).why


def test_waits_where_nobody_knows_whether_another_try_follows() -> None:
    """One event that is surely final tells the stretch."""
    whole = stretch(1, 2)
    assert Verdict(why=Why.AWAITING_TRY, waiting=whole.events) == verdict(whole, waits=[0, 1])
    assert Verdict(why=Why.FIRST, event=whole.events[1]) == verdict(whole, waits=[0])


@pytest.mark.parametrize(
    ("age", "why"), [(DAY, None), (DAY + US, Why.TOO_OLD), (-DAY, None)], ids=["just within", "just beyond", "future"]
)
def test_older_than_tell_within(age: timedelta, why: Why | None) -> None:
    assert why is why_stale(NOON - age, NOON, within=DAY)


def test_produced_before_the_consumers_first_start() -> None:
    assert Why.BEFORE_CONSUMER is why_stale(NOON - US, NOON, within=DAY, first_start=NOON)
    assert None is why_stale(NOON, NOON, within=DAY, first_start=NOON)


def test_a_newer_try() -> None:
    """By number where both are known, else another run that began later; the same run by number only."""

    def one(run: str, attempt: int = 0, after: int = 0) -> Try:
        return Try(run_id=run, attempt=attempt, began=NOON + after * US)

    assert newer_try(one("r", 1), [one("r", 2)])
    assert newer_try(one("r", 1), [one("s", 2, -5)])
    assert not newer_try(one("r", 2), [one("s", 1, 5), one("s", 2, 5)])
    assert newer_try(one("r"), [one("s", 0, 1)])
    assert newer_try(one("r", 1), [one("s", 0, 1)])
    assert not newer_try(one("r"), [one("s", 0, 0), one("s", 0, -1), one("r", 0, 5)])
    assert newer_try(one("r"), [one("r", 1)])
