"""Watermarks: up to when a source has been reached."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.intake.watermark import GraceWatermark, KafkaWatermark, Partition, StallWatch, Wanted, move_on
from tocsin.model.event import Position

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_kafka_reaches_a_time_with_the_end_seen_then() -> None:
    """Not before the position is there, and records that came later do not count."""
    mark = KafkaWatermark()
    assert None is mark.stored({("t", 0): 5})
    mark.sampled(at(0), {("t", 0): 10})
    assert None is mark.stored({("t", 0): 9})
    mark.sampled(at(1), {("t", 0): 20})
    assert at(0) == mark.stored({("t", 0): 10})
    assert at(0) == mark.stored({("t", 0): 19})
    assert at(1) == mark.stored({("t", 0): 25})


def test_kafka_needs_every_partition() -> None:
    """A partition that another member has, or of which nothing is stored, holds it; an empty one does not."""
    mark = KafkaWatermark()
    mark.sampled(at(0), {("t", 0): 10, ("t", 1): 3, ("t", 2): 0})
    assert None is mark.stored({("t", 0): 10})
    assert at(0) == mark.stored({("t", 0): 10, ("t", 1): 3})


def test_kafka_outlives_a_long_backlog_and_a_clock_set_back() -> None:
    """Samples are thinned, never lost altogether; the watermark never goes back."""
    mark = KafkaWatermark()
    for minute in range(5000):
        mark.sampled(at(minute), {("t", 0): minute})
    reached = mark.stored({("t", 0): 2500})
    assert reached is not None and at(2400) < reached <= at(2500)
    assert at(4999) == mark.stored({("t", 0): 4999})
    mark.sampled(at(10), {("t", 0): 5000})
    assert at(4999) == mark.stored({("t", 0): 5000})


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
def test_kafka_never_says_more_than_is_stored(steps: list[tuple[int, int]]) -> None:
    """Whatever the order of samples and commits: at the watermark's sample, everything then produced is stored."""
    mark, end, stored = KafkaWatermark(), 0, 0
    ends: dict[datetime, int] = {}
    for minute, (produced, committed) in enumerate(steps):
        end += produced
        ends[at(minute)] = end
        mark.sampled(at(minute), {("t", 0): end})
        stored = min(end, stored + committed)
        reached = mark.stored({("t", 0): stored})
        assert reached is None or ends[reached] <= stored
        newest = max((t for t, e in ends.items() if e <= stored), default=None)
        assert newest == reached


@pytest.mark.parametrize(
    ("outage", "wait"), [(0, 2), (1, 2), (40, 40), (60, 60), (600, 60)]
)  # fmt: skip
def test_grace_is_the_outage_within_bounds(outage: float, wait: float) -> None:
    """At least 2 min, at most an hour; inside it nothing is known, afterwards all."""
    mark = GraceWatermark(at(0), at(-outage))
    assert [None, at(wait), at(wait + 9)] == [mark.at(at(wait - 0.001)), mark.at(at(wait)), mark.at(at(wait + 9))]


def test_a_source_that_breaks_its_word_stands_still() -> None:
    """At its last word, until it speaks again; to the minute it promised it is believed."""
    watch = StallWatch(timedelta(minutes=15), at(0))
    watch.source_progress(at(5))
    assert (False, at(20)) == (watch.silent(at(20)), watch.hold(at(20), at(20)))
    assert (True, at(5)) == (watch.silent(at(21)), watch.hold(at(21), at(21)))
    assert at(3) == watch.hold(at(3), at(21))
    assert None is watch.hold(None, at(21))
    watch.source_progress(at(22))
    assert at(23) == watch.hold(at(23), at(23))


def test_a_source_that_promises_nothing_is_never_silent() -> None:
    """No expectation, no judgement."""
    watch = StallWatch(None, at(0))
    assert (None, False) == (watch.breaks_at(), watch.silent(at(9999)))


def ask(wanted: Wanted, after: float) -> bool:
    return wanted.asks(NOON + timedelta(seconds=after))


def test_a_time_that_is_waited_for_is_asked_about_when_it_comes() -> None:
    """Once: later questions are for what comes later."""
    wanted = Wanted()
    wanted.expect([NOON + timedelta(seconds=1)])
    assert (ask(wanted, 0.9), ask(wanted, 1)) == (False, True)
    wanted.asked(NOON + timedelta(seconds=1))
    assert not ask(wanted, 2)


def test_what_was_asked_about_before_it_came_is_asked_about_again() -> None:
    wanted = Wanted()
    wanted.asked(NOON + timedelta(seconds=0.5))
    wanted.expect([NOON + timedelta(seconds=0.7), NOON + timedelta(seconds=5)])
    assert (ask(wanted, 0.69), ask(wanted, 0.71)) == (False, True)


def test_questions_keep_a_pause() -> None:
    wanted = Wanted()
    wanted.asked(NOON)
    wanted.expect([NOON + timedelta(milliseconds=1)])
    assert (ask(wanted, 0.019), ask(wanted, 0.02)) == (False, True)


def test_records_are_waited_for_no_longer_than_until_something_is_to_be_done() -> None:
    wanted, longest, ms = Wanted(), timedelta(milliseconds=200), timedelta(milliseconds=1)
    assert longest == wanted.patience(NOON, longest)
    wanted.expect([NOON + 120 * ms])
    assert 120 * ms == wanted.patience(NOON, longest)
    assert ms == wanted.patience(NOON + 121 * ms, longest)
    wanted.asked(NOON + 121 * ms)
    assert longest == wanted.patience(NOON + 122 * ms, longest)


def test_what_is_noted_late_does_not_go_back() -> None:
    def position(upto: int, *, reset: bool = False) -> Position:
        return Position(cluster="c", topic="t", topic_id="id", partition=0, start=0, next=upto, reset=reset)

    stored: dict[Partition, int] = {}
    for positions, upto in (([position(5)], 5), ([position(3)], 5), ([position(9), position(7)], 9)):
        move_on(stored, positions)
        assert stored == {("id", 0): upto}
    move_on(stored, [position(2, reset=True)])
    assert stored == {("id", 0): 2}
