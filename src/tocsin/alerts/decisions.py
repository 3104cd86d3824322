"""Why something is notified or not. Everything a decision knows is an argument, time too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.alerts.occurrences import EventOccurrence, RunEvent
from tocsin.model.alert import EventKey, Phase, Why


def why_expired(
    event_time: datetime, at: datetime, *, within: timedelta, first_start: datetime | None = None
) -> Why | None:
    """Why an event is expired at ``at``; None where it is not.

    ``first_start`` is that of the event's consumer where what was produced before counts as expired (Kafka, files),
    else None.
    """
    if first_start is not None and event_time < first_start:
        return Why.BEFORE_CONSUMER
    return Why.TOO_OLD if at - event_time > within else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with an occurrence. ``event`` names the occurrence; None where there is nothing to remember.

    ``waiting`` are events of which nobody knows yet whether another attempt follows: each is evaluated again at its
    deadline.
    """

    why: Why
    event: RunEvent | None = None
    waiting: tuple[RunEvent, ...] = ()


def evaluate(
    occurrence: EventOccurrence,
    remembered: Mapping[EventKey, Phase],
    start_seq: int,
    *,
    expired: Callable[[RunEvent], Why | None],
    waits: Callable[[RunEvent], bool] = lambda _: False,
) -> Verdict:
    """Whether an occurrence is to be notified now.

    An occurrence is notified once (``remembered`` has a notified or COLLAPSED event of it: ALREADY_FIRED), and only if
    all its events came after the rule's start. One that holds an event from before is remembered by that event
    (BEFORE_START), so that the rule sees it when a late event splits it. It is expired while all its events are; a
    fresh event of an occurrence so far found expired notifies it, so that it does not matter which of them came first.
    """
    if any(remembered.get(e.key) in (Phase.FIRED, Phase.COLLAPSED) for e in occurrence.events):
        return Verdict(why=Why.ALREADY_FIRED)
    known = any(e.key in remembered for e in occurrence.events)
    before = next((e for e in occurrence.events if e.commit_seq <= start_seq), None)
    if before is not None:
        return Verdict(why=Why.BEFORE_START, event=None if known else before)
    reasons = {e.key: expired(e) for e in occurrence.events}
    fresh = [e for e in occurrence.events if reasons[e.key] is None and e.key not in remembered]
    if not fresh:
        oldest = occurrence.events[0]
        return Verdict(why=reasons[oldest.key] or Why.TOO_OLD, event=None if known else oldest)
    sure = [e for e in fresh if not waits(e)]
    if sure:
        return Verdict(why=Why.FIRST, event=sure[0])
    return Verdict(why=Why.AWAITING_ATTEMPT, waiting=tuple(fresh))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAttempt:
    """What is known of one run as an attempt of a piece of work: the events of one (JobKey, RunId, Attempt) up to a
    deadline.
    """

    run_id: str
    attempt: int  # 0 where unknown
    began: datetime  # TimeGenerated of the run's first event


def newer_try(failed: RunAttempt, others: Iterable[RunAttempt]) -> bool:
    """Whether one of ``others`` (attempts of the same JobKey) is a newer attempt than the one that failed.

    By number where both are known; else another run is newer if it began later. A greater number of the same run is
    newer.
    """
    for other in others:
        if (other.attempt and failed.attempt) or other.run_id == failed.run_id:
            if other.attempt > failed.attempt:
                return True
        elif other.began > failed.began:
            return True
    return False
