"""Occurrences: SEMANTICS.md, "Occurrences of event rules" and "A retried run"."""

import itertools
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from tocsin.alerts.decisions import evaluate
from tocsin.alerts.occurrences import RunEvent, in_order, occurrences_of, restarts
from tocsin.model.alert import EventKey, Phase, Why


def event(
    status: str, time: int, source: str = "a", *, attempt: int = 0, id: str = "", seq: int = 1, has_time: bool = True
) -> RunEvent:
    key = EventKey(source=source, event_id=id or f"{status}{time}{source}{attempt}", time_us=time)
    return RunEvent(key=key, attempt=attempt, status=status, commit_seq=seq, has_time=has_time)


def notified(events: Sequence[RunEvent], *statuses: str) -> list[list[str]]:
    matching = {e.key for e in events if e.status in statuses}
    return [[e.key.event_id for e in s.events] for s in occurrences_of(events, matching)]


def test_the_order_of_a_run() -> None:
    """Attempt, TimeGenerated, non-terminal before terminal, Source, EventId."""
    events = [
        event("Failed", 9, attempt=0),
        event("Running", 1, attempt=1, id="z"),
        event("Failed", 1, attempt=1, id="a"),
        event("Failed", 1, attempt=1, id="b"),
        event("Failed", 1, "b", attempt=1, id="a"),
        event("Queued", 2, attempt=1),
    ]
    for order in itertools.permutations(events):
        assert events == in_order(order)


def test_one_occurrence_of_a_terminal_status_whatever_comes_between() -> None:
    """An event that does not reopen the run does not break it: another source, its other end, one that does not
    match.
    """
    events = [
        event("Failed", 1),
        event("Running", 2, "b"),
        event("Canceled", 3, "c"),
        event("Failed", 4, "b"),
        event("Failed", 5),
    ]
    assert [["Failed1a0", "Failed4b0", "Failed5a0"]] == notified(events, "Failed")


def test_statuses_of_one_ending_are_occurrences_of_their_own() -> None:
    events = [event("Failed", 1), event("Canceled", 2, "b"), event("Failed", 3)]
    assert [["Failed1a0", "Failed3a0"], ["Canceled2b0"]] == notified(events, "Failed", "Canceled")


def test_a_later_word_of_the_source_that_ended_it_reopens() -> None:
    assert [["Failed1a0"], ["Failed3a0"]] == notified(
        [event("Failed", 1), event("Running", 2), event("Failed", 3)], "Failed"
    )


def test_any_source_that_said_an_end_may_reopen() -> None:
    """Two sources end the run, either of them may say that it goes on; which of both came first does not matter."""
    for restarter in ("a", "b"):
        events = [event("Failed", 1), event("Failed", 2, "b"), event("Running", 3, restarter), event("Failed", 4)]
        assert [["Failed1a0", "Failed2b0"], ["Failed4a0"]] == notified(events, "Failed")


def test_a_stranger_never_reopens() -> None:
    events = [event("Failed", 1), event("Running", 2, "b"), event("Failed", 3)]
    assert frozenset() == restarts(events)


def test_a_late_or_repeated_event_never_reopens() -> None:
    events = [event("Running", 1), event("Failed", 2), event("Running", 1, id="late")]
    assert frozenset() == restarts(events)


def test_at_equal_times_the_terminal_status_wins() -> None:
    events = [event("Failed", 1), event("Running", 1), event("Failed", 2)]
    assert [["Failed1a0", "Failed2a0"]] == notified(events, "Failed")


def test_a_source_without_times_never_reopens() -> None:
    events = [event("Failed", 1), event("Running", 2, has_time=False), event("Failed", 3)]
    assert [["Failed1a0", "Failed3a0"]] == notified(events, "Failed")


def test_a_greater_attempt_reopens_whoever_says_it() -> None:
    """Also where the failure itself is the first word of the next try."""
    events = [event("Failed", 1, attempt=1), event("Running", 2, "b", attempt=2), event("Failed", 3, attempt=2)]
    assert [["Failed1a1"], ["Failed3a2"]] == notified(events, "Failed")
    assert [["Failed1a1"], ["Failed3a2"]] == notified([events[0], events[2]], "Failed")


def test_another_end_from_the_source_that_ended_it_parts() -> None:
    """A producer that sends ends only: it failed, was done after all, and failed again."""
    events = [event("Failed", 1), event("Completed", 2), event("Failed", 3)]
    assert [["Failed1a0"], ["Failed3a0"]] == notified(events, "Failed")
    assert frozenset() == restarts(events), "the run was never under way again"
    assert [["Failed1a0"], ["Completed2a0"], ["Failed3a0"]] == notified(events, "Failed", "Completed")
    assert [["Failed1a0", "Failed3a0"]] == notified([events[0], event("Completed", 2, "b"), events[2]], "Failed")
    assert [["Failed1a0", "Failed3a0"]] == notified([events[0], event("Completed", 1), events[2]], "Failed")


def test_an_end_that_is_said_again_is_one() -> None:
    assert [["Failed1a0", "Failed2a0", "Failed3a0"]] == notified([event("Failed", n) for n in (1, 2, 3)], "Failed")


def test_the_same_end_that_does_not_match_parts_nothing() -> None:
    """It is said again with other words; only another status ends the run again."""
    events = [event("Failed", n) for n in (1, 2, 3)]
    assert 1 == len(occurrences_of(events, {events[0].key, events[2].key}))


def test_an_end_of_an_earlier_attempt_gives_no_right_to_reopen() -> None:
    events = [event("Failed", 1, attempt=1), event("Failed", 2, "b", attempt=2), event("Running", 3, attempt=2)]
    assert {events[1].key} == restarts(events)


def test_an_occurrence_of_a_passing_status_ends_with_anything_else() -> None:
    rule = ("NotResponding",)
    first, last = event("NotResponding", 1), event("NotResponding", 3)
    assert [["NotResponding1a0", "NotResponding3a0"]] == notified([first, last], *rule)
    for between in (event("Running", 2, "b"), event("Failed", 2, "b")):
        assert [["NotResponding1a0"], ["NotResponding3a0"]] == notified([first, between, last], *rule)


def test_a_passing_event_that_does_not_match_ends_it_too() -> None:
    events = [event("NotResponding", n) for n in (1, 2, 3)]
    matching = {events[0].key, events[2].key}
    assert 2 == len(occurrences_of(events, matching))


# --- the number notified is the number of occurrences, whatever the order
# ------------------------------------------------------


def same_occurrence(x: RunEvent, y: RunEvent, events: Sequence[RunEvent]) -> bool:
    """The oracle: may ``x`` and the next match of its status, ``y``, be one occurrence? Straight from the sentences."""
    between = [e for e in events if x.order < e.order < y.order]
    if not x.terminal:
        return not between
    if y.attempt > x.attempt or any(e.attempt > x.attempt for e in between):
        return False
    return not any(
        e.status != x.status  # the same again is a repetition, whether or not it matches
        and any(
            t.terminal and (t.key.source, t.attempt) == (e.key.source, e.attempt) and t.key.time_us < e.key.time_us
            for t in events
        )
        for e in between
    )


def expected(events: Sequence[RunEvent], matching: set[EventKey]) -> int:
    """How many occurrences the oracle sees."""
    count = 0
    for status in {e.status for e in events}:
        mine = in_order(e for e in events if e.status == status and e.key in matching)
        count += bool(mine) + sum(not same_occurrence(x, y, events) for x, y in itertools.pairwise(mine))
    return count


STATUSES = ("Running", "NotResponding", "Failed", "Canceled")


@st.composite
def histories(draw: st.DrawFn) -> list[RunEvent]:
    found: dict[EventKey, RunEvent] = {}
    for number in range(draw(st.integers(1, 9))):
        made = event(
            draw(st.sampled_from(STATUSES)),
            draw(st.integers(0, 6)),
            draw(st.sampled_from("abc")),
            attempt=draw(st.sampled_from((0, 0, 1, 2))),
            id=draw(st.sampled_from((f"e{number}", "same"))),
        )
        found.setdefault(made.key, made)
    return list(found.values())


@given(histories(), st.data())
def test_any_order_and_split_notifies_as_often_as_there_are_occurrences(
    history: list[RunEvent], data: st.DataObject
) -> None:
    """Notified event by event, in any order, in commits of any size, a rule notifies as many times as the whole has
    occurrences.
    """
    matching = {e.key for e in history if e.status in ("Failed", "NotResponding") and data.draw(st.booleans())}
    arrival = data.draw(st.permutations(history))
    cuts = sorted({*data.draw(st.lists(st.integers(1, len(arrival)))), len(arrival)})
    remembered: dict[EventKey, Phase] = {}
    for cut in cuts:
        for occurrence in occurrences_of(arrival[:cut], matching):
            verdict = evaluate(occurrence, remembered, 0, expired=lambda _: None)
            if verdict.event is not None:
                assert Why.FIRST is verdict.why
                remembered[verdict.event.key] = Phase.FIRED
    assert expected(history, matching) == len(remembered) == len(occurrences_of(history, matching))


# Source b ends the run late, and takes back that a's Running was a restart: with "the Source" read as the first or the
# last one that ended it, three are notified and two are left.
_TAKEN_BACK = [
    event("Failed", 7, "c"), event("Failed", 9, "c"), event("Running", 8), event("Failed", 5), event("Running", 6, "b"),
    event("Failed", 4, "b"),
]  # fmt: skip


@given(st.permutations(_TAKEN_BACK))
@example(_TAKEN_BACK)
def test_a_restart_is_never_taken_back(arrival: list[RunEvent]) -> None:
    """Events only add restarts: occurrences split, they never merge."""
    before: frozenset[EventKey] = frozenset()
    for count in range(len(arrival) + 1):
        now = restarts(arrival[:count])
        assert before <= now
        before = now


@given(histories(), st.data())
def test_restarts_only_grow(history: list[RunEvent], data: st.DataObject) -> None:
    """The same for any history, within one Attempt (a greater Attempt is a restart wherever its first event lies)."""
    arrival = [e for e in data.draw(st.permutations(history)) if e.attempt == 0]
    before: frozenset[EventKey] = frozenset()
    for count in range(len(arrival) + 1):
        now = restarts(arrival[:count])
        assert before <= now
        before = now
