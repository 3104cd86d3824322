"""Escalations as timelines: what is sent to whom, when, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.oncall import utc
from tocsin.notify.oncall.escalation import (
    ENDS,
    Escalation,
    Message,
    Phase,
    Reach,
    State,
    Step,
    Transition,
    Why,
    acknowledge,
    advance,
    deliveries_failed,
    end,
    fitted,
    next_due,
    severity_rose,
    start,
)

ZERO = utc("2026-12-01T00:00")
M = timedelta(minutes=1)
CRITICAL, ERROR = 0, 1
PAGE = Escalation(
    name="page",
    resume=15 * M,
    steps=(
        Step(notify=("on-call",)),
        Step(notify=("ml-leads",), after=15 * M),
        Step(notify=("head",), after=30 * M, repeat=3, every=10 * M),
    ),
)


def nobody(name: str, at: datetime) -> Sequence[str]:
    return ()


def themselves(name: str, at: datetime) -> Sequence[str]:
    return (name,)


def without(*names: str) -> Reach:
    return lambda name, at: () if name in names else (name,)


@dataclass
class Timeline:
    """An alert's escalation, moved along by the minute."""

    escalation: Escalation = PAGE
    condition: bool = True
    reach: Reach = themselves
    said: list[tuple[int, tuple[str, ...], Why]] = field(default_factory=list)
    last: Transition | None = None

    @property
    def state(self) -> State:
        assert self.last is not None
        return self.last.state

    def did(self, minute: int, made: Transition) -> Transition:
        self.last = made
        if made.message is not None:
            self.said.append((minute, made.message.to, made.message.why))
        return made

    def fire(self, minute: int = 0) -> Transition:
        before = self.last.state if self.last is not None else None
        return self.did(minute, start(self.escalation, ZERO + minute * M, condition=self.condition, before=before))

    def run(self, first: int, last: int) -> None:
        for minute in range(first, last + 1):
            self.did(minute, advance(self.escalation, self.state, ZERO + minute * M, self.reach))

    def ack(self, minute: int, by: str = "anna", severity: int = ERROR) -> Transition:
        return self.did(minute, acknowledge(self.escalation, self.state, by, ZERO + minute * M, severity))

    def end(self, minute: int, why: Why = Why.RESOLVED) -> Transition:
        return self.did(minute, end(self.state, why, ZERO + minute * M))


def test_after_counts_from_the_start_and_the_last_step_repeats() -> None:
    """RULES.md's escalation: `repeat: 3, every: 10m` is once, and three times more."""
    t = Timeline()
    assert Why.STARTED == t.fire().why
    t.run(0, 120)
    assert [
        (0, ("on-call",), Why.STARTED),
        (15, ("ml-leads",), Why.STEP_DUE),
        (30, ("head",), Why.STEP_DUE),
        (40, ("head",), Why.REPEAT_DUE),
        (50, ("head",), Why.REPEAT_DUE),
        (60, ("head",), Why.REPEAT_DUE),
    ] == t.said
    assert Phase.EXHAUSTED is t.state.phase
    assert Why.ALL_DONE == advance(PAGE, t.state, ZERO + 200 * M, themselves).why


def test_who_is_on_call_is_asked_when_a_step_is_due() -> None:
    """The shift changes after 10 minutes."""
    twice = Escalation(name="e", steps=(Step(notify=("on-call",)), Step(notify=("on-call",), after=15 * M)))
    t = Timeline(twice, reach=lambda name, at: ("anna",) if at < ZERO + 10 * M else ("bela",))
    t.fire()
    t.run(0, 20)
    assert [(0, ("anna",), Why.STARTED), (15, ("bela",), Why.STEP_DUE)] == t.said


def test_a_step_that_reaches_nobody_is_followed_by_the_next_at_once() -> None:
    t = Timeline(reach=without("on-call"))
    t.fire()
    t.run(0, 30)
    assert [(0, ("ml-leads",), Why.REACHED_NOBODY), (30, ("head",), Why.STEP_DUE)] == t.said


def test_where_no_step_reaches_anybody_that_is_said_and_it_is_exhausted() -> None:
    once = Escalation(name="e", steps=(Step(notify=("a",)), Step(notify=("b",), after=15 * M)))
    t = Timeline(once, reach=nobody)
    t.fire()
    made = t.did(0, advance(once, t.state, ZERO, nobody))
    assert (Why.NOBODY_LEFT, None, Phase.EXHAUSTED) == (made.why, made.message, made.state.phase)


def test_deliveries_that_all_failed_for_good_bring_the_next_step_at_once() -> None:
    t = Timeline()
    t.fire()
    t.run(0, 2)
    t.did(3, deliveries_failed(PAGE, t.state, (0,), ZERO + 3 * M, themselves))
    t.run(4, 30)
    assert [
        (0, ("on-call",), Why.STARTED),
        (3, ("ml-leads",), Why.DELIVERIES_FAILED),
        (30, ("head",), Why.STEP_DUE),
    ] == t.said


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("acknowledged", Why.ACKNOWLEDGED),
        ("ended", Why.ALREADY_ENDED),
        ("next sent", Why.NOT_DUE),
        ("last", Why.ALL_DONE),
    ],
)
def test_failed_deliveries_change_nothing_any_more(before: str, expected: Why) -> None:
    t = Timeline()
    t.fire()
    t.run(0, 15 if before == "next sent" else 0)
    if before == "acknowledged":
        t.ack(1)
    if before == "ended":
        t.end(1)
    made = deliveries_failed(PAGE, t.state, (2,) if before == "last" else (0,), ZERO + 16 * M, themselves)
    assert (expected, None, t.state) == (made.why, made.message, made.state)


def test_steps_overdue_after_an_outage_are_one_message_to_their_union() -> None:
    t = Timeline()
    t.fire()
    t.run(45, 45)
    assert [(45, ("on-call", "ml-leads", "head"), Why.OVERDUE)] == t.said
    t.run(46, 60)
    assert [(50, ("head",), Why.REPEAT_DUE), (60, ("head",), Why.REPEAT_DUE)] == t.said[1:]


@pytest.mark.parametrize("minute", [0, 10, 15, 29, 45, 90])
def test_an_acknowledgement_in_every_step_stops_it_and_all_reached_are_notified_once(minute: int) -> None:
    t = Timeline()
    t.fire()
    t.run(0, minute)
    reached = tuple(dict.fromkeys(who for _, to, _ in t.said for who in to))
    steps = len(t.said)
    assert Why.ACKNOWLEDGED == t.ack(minute).why
    t.run(minute, minute + 100)
    assert [(minute, reached, Why.ACKNOWLEDGED)] == t.said[steps:]
    assert Why.RESOLVED == t.end(minute + 101).why
    assert steps + 1 == len(t.said)


def test_the_second_to_acknowledge_sees_who_was_first() -> None:
    t = Timeline()
    t.fire()
    t.run(0, 0)
    t.ack(2, "anna")
    made = t.ack(3, "bela")
    assert (Why.ALREADY_ACKNOWLEDGED, None) == (made.why, made.message)
    assert made.state.acknowledged is not None and "anna" == made.state.acknowledged.by


@pytest.mark.parametrize("why", ENDS)
def test_each_end_is_said_once_to_all_whom_a_step_reached(why: Why) -> None:
    t = Timeline()
    t.fire()
    t.run(0, 16)
    t.end(17, why)
    assert (17, ("on-call", "ml-leads"), why) == t.said[-1]
    said = len(t.said)
    assert Why.ALREADY_ENDED == t.end(18).why
    t.run(19, 60)
    assert said == len(t.said)
    assert next_due(PAGE, t.state) is None


def test_an_end_before_anybody_was_reached_is_said_to_nobody() -> None:
    late = Escalation(name="e", steps=(Step(notify=("a",), after=15 * M),))
    t = Timeline(late)
    t.fire()
    t.run(0, 10)
    assert t.end(11).message is None


def test_an_acknowledged_condition_starts_again_after_ack_timeout() -> None:
    """4 h by default; the message says who took it."""
    t = Timeline()
    t.fire()
    t.run(0, 0)
    t.ack(10)
    t.run(11, 249)
    said = len(t.said)
    t.run(250, 265)
    assert [(250, ("on-call",), Why.ACK_TIMEOUT), (265, ("ml-leads",), Why.STEP_DUE)] == t.said[said:]
    made = advance(PAGE, acked(10), ZERO + 250 * M, themselves)
    assert made.message is not None and "acknowledged by anna 00:10 UTC, not resolved" == made.message.note


def acked(minute: int, *, condition: bool = True, escalation: Escalation = PAGE) -> State:
    t = Timeline(escalation, condition=condition)
    t.fire()
    t.run(0, 0)
    return t.ack(minute).state


def test_of_event_alerts_and_where_ack_timeout_is_none_an_acknowledgement_holds() -> None:
    held = replace(PAGE, ack_timeout=None)
    for state, escalation in ((acked(10, condition=False), PAGE), (acked(10, escalation=held), held)):
        assert next_due(escalation, state) is None
        assert Why.ACKNOWLEDGED == advance(escalation, state, ZERO + 10000 * M, themselves).why


def test_a_snooze_ends_when_it_says() -> None:
    t = Timeline(condition=False)
    t.fire()
    t.run(0, 0)
    t.did(5, acknowledge(PAGE, t.state, "anna", ZERO + 5 * M, ERROR, until=ZERO + 65 * M))
    t.run(6, 65)
    assert (65, ("on-call",), Why.ACK_TIMEOUT) == t.said[-1]


def test_an_acknowledgement_ends_when_the_severity_rises() -> None:
    state = acked(10)
    assert Why.NOT_SEVERER == severity_rose(PAGE, state, ZERO + 20 * M, ERROR).why
    made = severity_rose(PAGE, state, ZERO + 20 * M, CRITICAL)
    assert (Why.SEVERITY_ROSE, Phase.RUNNING) == (made.why, made.state.phase)
    assert ZERO + 20 * M == next_due(PAGE, made.state)
    assert Why.NOT_ACKNOWLEDGED == severity_rose(PAGE, made.state, ZERO + 21 * M, CRITICAL).why


def test_an_alert_that_fires_again_within_resume_goes_on_where_it_was() -> None:
    """Resolved at 16, again at 26: 4 of the 15 minutes to the third step are left. Who was notified of the end is
    notified of this.
    """
    t = Timeline()
    t.fire()
    t.run(0, 16)
    t.end(16)
    assert Why.RESUMED == t.fire(26).why
    t.run(26, 40)
    assert [(26, ("on-call", "ml-leads"), Why.RESUMED), (40, ("head",), Why.STEP_DUE)] == t.said[3:]


def test_after_resume_it_starts_again() -> None:
    t = Timeline()
    t.fire()
    t.run(0, 16)
    t.end(16)
    assert Why.STARTED == t.fire(32).why
    t.run(32, 32)
    assert (32, ("on-call",), Why.STARTED) == t.said[-1]


def test_one_that_was_done_stays_done_within_resume() -> None:
    t = Timeline()
    t.fire()
    t.run(0, 61)
    t.end(62)
    assert (Why.RESUMED, Phase.EXHAUSTED) == (t.fire(63).why, t.state.phase)


def test_next_due_is_the_first_instant_at_which_something_happens() -> None:
    t = Timeline()
    t.fire()
    assert ZERO == next_due(PAGE, t.state)
    t.run(0, 0)
    assert ZERO + 15 * M == next_due(PAGE, t.state)
    assert Why.NOT_DUE == advance(PAGE, t.state, ZERO + 15 * M - timedelta(microseconds=1), themselves).why


def test_steps_that_were_edited_meanwhile_fit_what_ran() -> None:
    """A reload: the first step stays done, the second has its new time, a fourth is new."""
    t = Timeline()
    t.fire()
    t.run(0, 0)
    edited = replace(
        PAGE,
        steps=(PAGE.steps[0], replace(PAGE.steps[1], after=5 * M), *PAGE.steps[2:], Step(notify=("d",), after=70 * M)),
    )
    t.escalation, t.last = edited, Transition(state=fitted(edited, t.state), why=Why.NOT_DUE)
    t.run(1, 80)
    assert (5, ("ml-leads",), Why.STEP_DUE) == t.said[1]
    assert (70, ("d",), Why.STEP_DUE) == t.said[-1]
    short = replace(PAGE, steps=PAGE.steps[:1])
    assert Phase.EXHAUSTED is fitted(short, t.state).phase


# -- properties --------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(1, 20), st.sampled_from("abcd")),
    min_size=1,
    max_size=4,
).map(
    lambda drawn: tuple(
        Step(notify=(who,), after=after * M, repeat=repeat, every=every * M if repeat else timedelta(0))
        for after, repeat, every, who in sorted(drawn)
    )
)


@settings(max_examples=examples(60), deadline=None)
@given(STEPS, st.sets(st.sampled_from("abcd")), st.lists(st.integers(0, 150), max_size=8))
def test_nobody_who_can_be_reached_is_left_out_whenever_it_is_run(
    steps: tuple[Step, ...], unreachable: set[str], instants: list[int]
) -> None:
    """Run at any instants, then at the end: each step is done, its person was reached unless nobody can; ordinals
    count the messages;
    the same instant twice sends nothing the second time, as after a kill -9 that came behind the commit.
    """
    escalation, reach = Escalation(name="e", steps=steps), without(*unreachable)
    state = start(escalation, ZERO, condition=True).state
    sent: list[Message] = []
    for minute in [*sorted(instants), 400]:
        made = advance(escalation, state, ZERO + minute * M, reach)
        again = advance(escalation, made.state, ZERO + minute * M, reach)
        assert again.message is None and again.why in (Why.NOT_DUE, Why.ALL_DONE)
        sent += [made.message] if made.message is not None else []
        state = made.state
        due = next_due(escalation, state)
        assert due is None or due > ZERO + minute * M
    assert Phase.EXHAUSTED is state.phase
    assert {step.notify[0] for step in steps} - unreachable == {who for message in sent for who in message.to}
    assert list(range(1, len(sent) + 1)) == [message.ordinal for message in sent]


@settings(max_examples=examples(60), deadline=None)
@given(STEPS)
def test_where_all_are_reached_each_step_comes_at_its_time(steps: tuple[Step, ...]) -> None:
    """By the minute: exactly the minutes that `after`, `repeat` and `every` name, each once."""
    escalation = Escalation(name="e", steps=steps)
    state = start(escalation, ZERO, condition=True).state
    found: dict[int, set[str]] = {}
    for minute in range(200):
        made = advance(escalation, state, ZERO + minute * M, themselves)
        state = made.state
        if made.message is not None:
            found[minute] = set(made.message.to)
    expected: dict[int, set[str]] = {}
    for step in steps:
        for n in range(step.repeat + 1):
            expected.setdefault((step.after + n * step.every) // M, set()).update(step.notify)
    assert expected == found
