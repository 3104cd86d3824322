"""The life of a condition, each step with its reason."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.alerts.conditions import (
    NO_DATA_CLOSES,
    Evaluation,
    EvaluationKind,
    NoData,
    Step,
    Terms,
    changed,
    evaluate,
    gone,
    matters,
)
from tocsin.model.alert import Phase, Why
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import ConditionState
from tocsin.model.statuses import Severity

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
TICK, EARLY, DEADLINE = EvaluationKind.TICK, EvaluationKind.EARLY, EvaluationKind.DEADLINE


class Instance:
    """One instance, looked at again and again; times are minutes after noon."""

    def __init__(self, **terms: object) -> None:
        self.terms = Terms(**terms)  # type: ignore[arg-type]
        self.state: ConditionState | None = None
        self.notified: list[tuple[IntentKind, int]] = []

    def evaluate(self, minute: float, holds: bool = True, **seen: object) -> Step:
        return self.at(NOON + minute * MINUTE, holds, **seen)

    def at(self, at: datetime, holds: bool = True, **seen: object) -> Step:
        step = evaluate(
            self.state,
            Evaluation(at=at, holds=holds, **seen),  # type: ignore[arg-type]
            self.terms,
            rule="rate",
            instance={"ExperimentName": "churn"},
        )
        self.state = step.state
        if step.notify is not None:
            self.notified.append((step.notify.kind, step.notify.ordinal))
        return step

    def whys(self, *ticks: bool) -> list[Why]:
        return [self.evaluate(minute, holds).why for minute, holds in enumerate(ticks)]


def test_fires_at_once_and_ends_with_the_reason() -> None:
    one = Instance()
    fired = one.evaluate(0, value=0.4)
    assert (Phase.NONE, Phase.FIRING, Why.THRESHOLD) == (fired.before, fired.after, fired.why)
    assert fired.notify is not None and fired.occurrence == "2026-01-05T12:00:00Z"
    assert Why.NOTHING_NEW is one.evaluate(1).why
    ended = one.evaluate(2, False)
    assert (Phase.FIRING, Phase.RESOLVED, Why.RECOVERED) == (ended.before, ended.after, ended.why)
    assert ended.notify is not None and (IntentKind.RESOLVED, fired.occurrence) == (
        ended.notify.kind, ended.occurrence
    )  # fmt: skip
    assert one.state is None


def test_each_firing_has_a_name_of_its_own() -> None:
    one = Instance()
    names = []
    for minute in (0, 2):
        names.append(one.evaluate(minute).occurrence)
        one.evaluate(minute + 1, False)
    assert ["2026-01-05T12:00:00Z", "2026-01-05T12:02:00Z"] == names


def test_each_step_of_a_firing_says_which_it_is() -> None:
    """From firing to its end; history shows it as the alert's occurrence."""
    one = Instance()
    steps = [one.evaluate(0, False), one.evaluate(1), one.evaluate(2), one.evaluate(3, False), one.evaluate(4)]
    first, second = "2026-01-05T12:01:00Z", "2026-01-05T12:04:00Z"
    assert ["", first, first, first, second] == [step.occurrence for step in steps]


def test_pending_until_for_has_passed() -> None:
    """A condition fires at the end of its `for`, not one µs before."""
    one = Instance(hold=5 * MINUTE)
    began = one.evaluate(0)
    assert (Phase.PENDING, Why.MUST_HOLD_LONGER, NOON + 5 * MINUTE) == (began.after, began.why, began.wake)
    assert Phase.PENDING is one.at(NOON + 5 * MINUTE - MICROSECOND).after
    assert Phase.FIRING is one.evaluate(5, kind=DEADLINE).after


def test_pending_is_dropped_when_it_holds_no_longer() -> None:
    one = Instance(hold=5 * MINUTE)
    one.evaluate(0)
    fell = one.evaluate(1, False)
    assert (Phase.NONE, Why.HELD_TOO_SHORT, None) == (fell.after, fell.why, fell.state)
    assert Phase.PENDING is one.evaluate(4).after
    assert Phase.NONE is one.evaluate(9, False, kind=DEADLINE).after


def test_two_of_three_ticks() -> None:
    one = Instance(n_of_m=(2, 3))
    assert [Why.MUST_HOLD_LONGER, Why.NOTHING_NEW, Why.THRESHOLD] == one.whys(True, False, True)
    other = Instance(n_of_m=(2, 3))
    assert [Why.MUST_HOLD_LONGER, Why.NOTHING_NEW, Why.NOTHING_NEW, Why.HELD_TOO_SHORT] == other.whys(
        True, False, False, False
    )


def test_an_eager_evaluation_never_counts_and_never_ends() -> None:
    counted = Instance(n_of_m=(2, 3))
    counted.evaluate(0)
    assert Phase.PENDING is counted.evaluate(0.5, kind=EARLY).after
    one = Instance()
    assert Phase.FIRING is one.evaluate(0, kind=EARLY).after
    assert Phase.FIRING is one.evaluate(0.5, False, kind=EARLY).after
    waits = Instance(hold=5 * MINUTE)
    waits.evaluate(0, kind=EARLY)
    assert Phase.PENDING is waits.evaluate(1, False, kind=EARLY).after


def test_recovering_lasts_keep_firing_for() -> None:
    one = Instance(keep_firing=10 * MINUTE)
    one.evaluate(0)
    assert (Phase.RECOVERING, Why.HOLDS_NO_LONGER) == ((s := one.evaluate(1, False)).after, s.why)
    assert NOON + 11 * MINUTE == s.wake
    assert (Phase.FIRING, Why.HOLDS_AGAIN) == ((s := one.evaluate(5)).after, s.why)
    one.evaluate(6, False)
    assert Phase.RECOVERING is one.evaluate(15, False).after
    assert (Phase.RESOLVED, Why.RECOVERED) == ((s := one.evaluate(16, False)).after, s.why)
    assert [(IntentKind.FIRED, 0), (IntentKind.RESOLVED, 0)] == one.notified


def test_ends_only_when_clear() -> None:
    one = Instance()
    one.evaluate(0)
    assert (Phase.FIRING, Why.NOT_RESOLVED_YET) == ((s := one.evaluate(1, False, clear=False)).after, s.why)
    assert Phase.RESOLVED is one.evaluate(2, False).after


def test_no_data_keeps_a_firing_one_for_a_day_without_a_notification() -> None:
    one = Instance(repeat=60 * MINUTE)
    one.evaluate(0)
    assert Phase.FIRING is one.evaluate(1, False, data=False).after
    assert Phase.FIRING is one.at(NOON + MINUTE + NO_DATA_CLOSES - MICROSECOND, False, data=False).after
    ended = one.at(NOON + MINUTE + NO_DATA_CLOSES, False, data=False)
    assert (Phase.RESOLVED, Why.NO_DATA, None) == (ended.after, ended.why, ended.notify)
    assert [(IntentKind.FIRED, 0)] == one.notified


def test_data_between_begins_the_day_of_silence_again() -> None:
    one = Instance()
    one.evaluate(0)
    one.evaluate(1, False, data=False)
    one.evaluate(2)
    one.evaluate(3, False, data=False)
    assert Phase.FIRING is one.at(NOON + 2 * MINUTE + NO_DATA_CLOSES, False, data=False).after


def test_no_data_lets_a_recovering_one_go_on_and_drops_a_pending_one() -> None:
    one = Instance(keep_firing=10 * MINUTE)
    one.evaluate(0)
    one.evaluate(1, False)
    ended = one.evaluate(11, False, data=False)
    assert (Phase.RESOLVED, Why.RECOVERED) == (ended.after, ended.why)
    pending = Instance(hold=5 * MINUTE)
    pending.evaluate(0)
    assert Phase.NONE is pending.evaluate(1, False, data=False).after


def test_no_data_ok_ends_it_without_a_notification() -> None:
    one = Instance(no_data=NoData.OK)
    one.evaluate(0)
    ended = one.evaluate(1, False, data=False)
    assert (Phase.RESOLVED, Why.NO_DATA, None) == (ended.after, ended.why, ended.notify)


def test_no_data_alert_fires_for_what_was_seen_before() -> None:
    one = Instance(no_data=NoData.ALERT)
    assert Phase.NONE is one.evaluate(0, False).after
    assert one.state is not None  # known now
    fired = one.evaluate(1, False, data=False)
    assert (Phase.FIRING, Why.NO_DATA) == (fired.after, fired.why)
    assert (Phase.RESOLVED, Why.RECOVERED) == ((s := one.evaluate(2, False)).after, s.why)
    assert Phase.FIRING is one.evaluate(3, False, data=False).after


def test_notified_again_only_when_it_gets_worse_than_ever_notified() -> None:
    one = Instance(climbs=True)
    one.evaluate(0, severity=Severity.WARNING)
    worse = one.evaluate(1, severity=Severity.CRITICAL)
    assert (Why.WORSE, True) == (worse.why, worse.changed)
    assert Why.NOTHING_NEW is one.evaluate(2, severity=Severity.WARNING).why
    assert Why.NOTHING_NEW is one.evaluate(3, severity=Severity.CRITICAL).why
    assert [(IntentKind.FIRED, 0), (IntentKind.FIRED, 1)] == one.notified


def test_repeated_while_it_fires() -> None:
    one = Instance(repeat=240 * MINUTE)
    first = one.evaluate(0)
    assert NOON + 240 * MINUTE == first.wake
    assert Why.NOTHING_NEW is one.evaluate(239).why
    assert Why.STILL_FIRING is one.evaluate(240).why
    assert Why.STILL_FIRING is one.evaluate(480, False, clear=False).why
    assert [(IntentKind.FIRED, 0), (IntentKind.REPEATED, 1), (IntentKind.REPEATED, 2)] == one.notified
    never = Instance(repeat=None)
    never.evaluate(0)
    assert Why.NOTHING_NEW is never.evaluate(100_000).why


def test_closed_after_its_time_and_silent_until_it_holds_no_longer() -> None:
    one = Instance(close_after=60 * MINUTE)
    one.evaluate(0)
    ended = one.evaluate(60)
    assert (Phase.RESOLVED, Why.AUTO_CLOSED, None) == (ended.after, ended.why, ended.notify)
    assert not one.evaluate(61).changed
    one.evaluate(62, False)
    assert one.state is None
    assert Phase.FIRING is one.evaluate(63).after


def test_resolve_never_ends_without_a_notification() -> None:
    one = Instance(send_resolved=False)
    one.evaluate(0)
    assert (Phase.RESOLVED, None) == ((s := one.evaluate(1, False)).after, s.notify)


def test_an_edit_of_meaning_keeps_what_still_fires_and_closes_the_others_without_a_notification() -> None:
    stays, ends, pending = Instance(), Instance(), Instance(hold=MINUTE)
    for each in (stays, ends, pending):
        each.evaluate(0)
        assert each.state is not None
        each.state = changed(each.state)
    assert pending.state is None
    assert Why.NOTHING_NEW is stays.evaluate(1).why
    ended = ends.evaluate(1, False, clear=False)
    assert (Phase.RESOLVED, Why.RULE_CHANGED, None) == (ended.after, ended.why, ended.notify)
    assert Why.NOT_RESOLVED_YET is stays.evaluate(2, False, clear=False).why


def test_a_rule_that_goes_leaves_an_ending_of_what_was_seen() -> None:
    one = Instance()
    one.evaluate(0)
    assert one.state is not None
    change = gone(one.state, Why.RULE_GONE, at=NOON, commit_seq=7)
    assert change is not None
    assert (Phase.FIRING, Phase.RESOLVED, Why.RULE_GONE, "2026-01-05T12:00:00Z") == (
        change.before, change.after, change.why, change.occurrence,
    )  # fmt: skip


def test_a_value_alone_is_not_worth_a_write() -> None:
    one = Instance()
    first = one.evaluate(0, value=1.0).state
    assert not matters(first, one.evaluate(1, value=2.0).state)
    assert matters(first, one.evaluate(2, False).state)


def test_terms_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="N of M"):
        Terms(n_of_m=(3, 2))
    with pytest.raises(ValueError, match="N of M"):
        Terms(n_of_m=(1, 2), hold=MINUTE)


# -- the oracle: everything from the whole history of ticks, slowly ----------------------------------------------------

Tick = tuple[bool, bool, bool]
"""(holds, clear, data)."""


def oracle(ticks: list[Tick], terms: Terms) -> list[tuple[int, str]]:
    """(minute, "fired" | "resolved" | "closed") by SEMANTICS.md's sentences, read off the history of ticks at 0, 1,
    2, … min.
    """
    out: list[tuple[int, str]] = []
    start = 0
    while (fired := _fires(ticks, start, terms)) is not None:
        out.append((fired, "fired"))
        end = _ends(ticks, fired, terms)
        if end is None:
            break
        out.append(end)
        start = end[0] + 1
    return out


def _truth(tick: Tick) -> bool:
    return tick[0] and tick[2]


def _fires(ticks: list[Tick], start: int, terms: Terms) -> int | None:
    for now in range(start, len(ticks)):
        held = [_truth(t) for t in ticks[start : now + 1]]
        if not held[-1]:
            continue
        if terms.n_of_m is not None:
            n, m = terms.n_of_m
            if sum(held[-m:]) >= n:
                return now
            continue
        since = now
        while since > start and held[since - 1 - start]:
            since -= 1
        if (now - since) * MINUTE >= terms.hold:
            return now
    return None


def _ends(ticks: list[Tick], fired: int, terms: Terms) -> tuple[int, str] | None:
    recovering: int | None = None
    for now in range(fired + 1, len(ticks)):
        _, clear, data = ticks[now]
        if _truth(ticks[now]):
            recovering = None
        elif recovering is not None:
            if (now - recovering) * MINUTE >= terms.keep_firing:
                return now, "resolved"
        elif not data:
            if terms.no_data is NoData.OK:
                return now, "closed"
        elif clear:
            if not terms.keep_firing:
                return now, "resolved"
            recovering = now
    return None


TERMS = st.builds(
    Terms,
    hold=st.integers(0, 3).map(lambda n: n * MINUTE),
    keep_firing=st.integers(0, 3).map(lambda n: n * MINUTE),
    no_data=st.sampled_from([NoData.KEEP, NoData.OK]),
) | st.builds(
    Terms,
    n_of_m=st.tuples(st.integers(1, 3), st.integers(0, 2)).map(lambda p: (p[0], p[0] + p[1])),
    keep_firing=st.integers(0, 3).map(lambda n: n * MINUTE),
    no_data=st.sampled_from([NoData.KEEP, NoData.OK]),
)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30), TERMS)
def test_any_history_of_ticks_says_what_the_sentences_say(ticks: list[Tick], terms: Terms) -> None:
    one = Instance()
    one.terms = terms
    got: list[tuple[int, str]] = []
    for minute, (holds, clear, data) in enumerate(ticks):
        step = one.evaluate(minute, holds, clear=clear, data=data)
        if step.after is Phase.FIRING and step.before in (Phase.NONE, Phase.PENDING):
            got.append((minute, "fired"))
        if step.after is Phase.RESOLVED:
            got.append((minute, "resolved" if step.notify else "closed"))
    assert oracle(ticks, terms) == got


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(EvaluationKind)), max_size=30), TERMS)
def test_what_is_notified_comes_in_pairs_and_eager_evaluations_end_nothing(
    evaluations: list[tuple[bool, EvaluationKind]], terms: Terms
) -> None:
    """Fired and resolved alternate; an eager evaluation never leaves firing, whatever came before."""
    one = Instance()
    one.terms = terms
    for minute, (holds, kind) in enumerate(evaluations):
        was = one.state.phase if one.state else Phase.NONE
        step = one.evaluate(minute, holds, kind=kind)
        if kind is EARLY and was in (Phase.FIRING, Phase.PENDING):
            assert step.after in (was, Phase.FIRING)
    kinds = [kind for kind, _ in one.notified]
    assert all(a is not b for a, b in pairwise(kinds))
