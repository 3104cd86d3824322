"""Groups as timelines: what a group sends, when, and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.oncall import utc
from tocsin.notify.routing.groups import (
    GroupState,
    GroupTiming,
    Member,
    Why,
    flush,
    group_key,
    hold,
    next_flush,
    opened,
)

ZERO = utc("2026-12-01T00:00")
M = timedelta(minutes=1)
DEFAULT = GroupTiming()
CRITICAL, ERROR, WARNING = 0, 1, 2
Sent = tuple[float, Why, tuple[str, ...], tuple[str, ...]]


@dataclass
class Timeline:
    """One group, flushed whenever it is due."""

    timing: GroupTiming = DEFAULT
    members: dict[str, Member] = field(default_factory=dict)
    state: GroupState | None = None
    sent: list[Sent] = field(default_factory=list)

    def put(self, minute: float, *ids: str, **change: object) -> None:
        """Alerts fire, or change, at ``minute``; flushes that are due before it are done."""
        self.run(minute, upto=False)
        at = ZERO + minute * M
        for id_ in ids:
            known = self.members.get(id_) or Member(id=id_, severity=ERROR, ready_at=at, condition=True)
            self.members[id_] = replace(known, **change)  # type: ignore[arg-type]
        if self.state is None:
            self.state = opened(self.timing, at)
        self.state = hold(self.state, self.members.values())
        self._flush(at)

    def run(self, minute: float, *, upto: bool = True) -> None:
        """Do what is due until ``minute``."""
        until = ZERO + minute * M
        while self.state is not None:
            due = next_flush(self.state, self.timing, self.members.values())
            if due is None or due > until or (due == until and not upto):
                return
            self._flush(due)

    def _flush(self, at: datetime) -> None:
        assert self.state is not None
        found = flush(self.state, self.timing, self.members.values(), at)
        self.state = found.state
        if found.firing or found.resolved:
            self.sent.append(((at - ZERO) / M, found.why, found.firing, found.resolved))
        for id_ in found.resolved:
            del self.members[id_]


def test_the_first_alert_goes_at_once_and_those_after_it_at_the_next_interval() -> None:
    """`group_wait: 0s`, `group_interval: 5m`."""
    t = Timeline()
    t.put(0, "a")
    t.put(1, "b")
    t.put(2, "c")
    t.run(60)
    assert [(0, Why.FIRST, ("a",), ()), (5, Why.NEW_ALERTS, ("b", "c", "a"), ())] == t.sent


def test_group_wait_gathers_the_first_and_group_interval_starts_when_it_has_elapsed() -> None:
    t = Timeline(GroupTiming(wait=0.5 * M))
    t.put(0, "a")
    t.put(0.25, "b")
    t.put(3, "c")
    t.run(60)
    assert [(0.5, Why.FIRST, ("a", "b"), ()), (5.5, Why.NEW_ALERTS, ("c", "a", "b"), ())] == t.sent


def test_an_alert_that_ends_before_group_wait_is_not_notified_of() -> None:
    t = Timeline(GroupTiming(wait=1 * M))
    t.put(0, "a")
    t.put(0.5, "a", resolved=True)
    t.run(60)
    assert [] == t.sent


def test_a_resolved_alert_goes_out_at_the_next_interval() -> None:
    t = Timeline()
    t.put(0, "a")
    t.put(0, "b")
    t.put(7, "a", resolved=True)
    t.run(60)
    assert [
        (0, Why.FIRST, ("a",), ()),
        (5, Why.NEW_ALERTS, ("b", "a"), ()),
        (10, Why.RESOLVED, ("b",), ("a",)),
    ] == t.sent


def test_a_condition_repeats_by_repeat_interval_rounded_up_to_the_interval() -> None:
    t = Timeline(GroupTiming(repeat=12 * M))
    t.put(0, "a")
    t.run(40)
    assert [(0, Why.FIRST), (15, Why.REPEAT), (30, Why.REPEAT)] == [s[:2] for s in t.sent]


def test_something_new_sets_the_repeat_back() -> None:
    t = Timeline(GroupTiming(repeat=15 * M))
    t.put(0, "a")
    t.put(9, "b")
    t.run(40)
    assert [(0, Why.FIRST), (10, Why.NEW_ALERTS), (25, Why.REPEAT), (40, Why.REPEAT)] == [s[:2] for s in t.sent]


def test_repeats_back_off_up_to_their_most() -> None:
    """`repeat_interval: 1h`, `repeat_backoff: 2`, `repeat_max: 4h`."""
    t = Timeline(GroupTiming(repeat=60 * M, backoff=2, repeat_max=240 * M))
    t.put(0, "a")
    t.run(16 * 60)
    assert [0, 60, 180, 420, 660, 900] == [s[0] for s in t.sent]


@pytest.mark.parametrize("change", [{"condition": False}, {"acknowledged": True}], ids=["event alert", "acknowledged"])
def test_event_alerts_and_acknowledged_ones_are_not_repeated(change: dict[str, object]) -> None:
    t = Timeline(GroupTiming(repeat=15 * M))
    t.put(0, "a", **change)
    t.run(600)
    assert 1 == len(t.sent)
    never = Timeline(GroupTiming(repeat=None))
    never.put(0, "a")
    never.run(600)
    assert 1 == len(never.sent)


def test_a_severer_alert_than_any_flushes_the_group_at_once() -> None:
    t = Timeline()
    t.put(0, "a", severity=WARNING)
    t.put(1, "b", severity=WARNING)
    t.put(2, "c", severity=CRITICAL)
    t.put(3, "d", severity=CRITICAL)
    t.run(20)
    expected = [
        (0, Why.FIRST, ("a",), ()),
        (2, Why.SEVERER, ("b", "c", "a"), ()),
        (5, Why.NEW_ALERTS, ("d", "a", "b", "c"), ()),
    ]
    assert expected == t.sent


def test_one_whose_severity_rises_above_all_flushes_at_once() -> None:
    t = Timeline()
    t.put(0, "a", severity=ERROR)
    t.put(2, "a", severity=CRITICAL)
    assert [(0, Why.FIRST), (2, Why.SEVERER)] == [s[:2] for s in t.sent]


def test_before_its_first_message_a_group_waits_for_severe_ones_too() -> None:
    t = Timeline(GroupTiming(wait=1 * M))
    t.put(0, "a", severity=WARNING)
    t.put(0.5, "b", severity=CRITICAL)
    t.run(20)
    assert [(1, Why.FIRST, ("a", "b"), ())] == t.sent


def test_a_target_of_an_inhibition_is_held_and_the_others_are_not() -> None:
    """`hold: 2m`."""
    t = Timeline()
    t.put(0, "held", ready_at=ZERO + 2 * M)
    t.run(10)
    assert [(2, Why.FIRST, ("held",), ())] == t.sent
    t = Timeline()
    t.put(0, "held", ready_at=ZERO + 2 * M)
    t.put(0, "free")
    t.run(10)
    assert [(0, Why.FIRST, ("free",), ()), (5, Why.NEW_ALERTS, ("held", "free"), ())] == t.sent


def test_what_is_suppressed_is_not_sent_and_once_that_ends_it_is_as_a_group() -> None:
    """300 consequences while cluster-down fires: one message, with all that still fire."""
    t = Timeline()
    names = [f"c{n}" for n in range(300)]
    t.put(0, *names, suppressed=True)
    t.put(20, *names[41:], resolved=True)
    t.run(29)
    assert [] == t.sent
    t.put(30, *names[:41], suppressed=False)
    t.run(90)
    assert [(30, Why.SUPPRESSION_ENDED, tuple(names[:41]), ())] == t.sent


@pytest.mark.parametrize("what", ["suppressed", "acknowledged"])
def test_one_that_was_notified_of_is_notified_of_again_when_a_suppression_ends(what: str) -> None:
    """A silence of four minutes, between two flushes, counts too."""
    t = Timeline()
    t.put(0, "a")
    t.put(6, "a", **{what: True})
    t.put(9, "a", **{what: False})
    t.run(100)
    assert [(0, Why.FIRST), (9, Why.SUPPRESSION_ENDED)] == [s[:2] for s in t.sent]


def test_a_silence_does_not_hurry_the_others() -> None:
    t = Timeline()
    t.put(0, "a")
    t.put(1, "b")
    t.put(2, "a", suppressed=True)
    t.run(20)
    assert [(0, Why.FIRST, ("a",), ()), (5, Why.NEW_ALERTS, ("b",), ())] == t.sent


def test_the_end_of_a_silenced_alert_is_not_sent_and_of_an_acknowledged_one_is() -> None:
    for change, resolved in (({"suppressed": True}, []), ({"acknowledged": True}, [(5, Why.RESOLVED, (), ("a",))])):
        t = Timeline()
        t.put(0, "a")
        t.put(1, "a", **change)
        t.put(2, "a", resolved=True)
        t.run(20)
        assert [(0, Why.FIRST, ("a",), ()), *resolved] == t.sent


def test_why_nothing_is_sent() -> None:
    member = Member(id="a", severity=ERROR, ready_at=ZERO, condition=False)
    state = flush(opened(DEFAULT, ZERO), DEFAULT, [member], ZERO).state
    assert Why.NOTHING_NEW == flush(state, DEFAULT, [member], ZERO + 5 * M).why
    assert Why.NOTHING_FIRES == flush(opened(DEFAULT, ZERO), DEFAULT, [], ZERO).why
    other = replace(member, id="b", ready_at=ZERO + 1 * M)
    assert Why.NOT_DUE == flush(state, DEFAULT, [member, other], ZERO + 1 * M).why


def test_a_group_is_named_by_receiver_and_values_not_by_its_route() -> None:
    key = group_key("chat", {"rule": "a", "Target": "b"})
    assert key == group_key("chat", {"Target": "b", "rule": "a"})
    others = [
        group_key("mail", {"rule": "a", "Target": "b"}),
        group_key("chat", {"rule": "a", "Target": ""}),
        group_key("chat", {"rule": "a"}),
        group_key("chat", {"rule": "a", "Target": "b"}, "alert-1"),
        group_key("chat", {"rule": "a=b", "Target": ""}),
        group_key("chat", {"rule": "a", "=b": "Target"}),
    ]
    assert 7 == len({key, *others})


# -- properties --------------------------------------------------------------------------------------------------------

CHANGES = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from("abc"),
        st.sampled_from(
            [
                {},
                {"suppressed": True},
                {"suppressed": False},
                {"resolved": True},
                {"acknowledged": True},
                {"severity": 0},
            ]
        ),
    ),
    max_size=12,
).map(lambda drawn: sorted(drawn, key=lambda each: each[0]))


@settings(max_examples=examples(100), deadline=None)
@given(CHANGES, st.integers(0, 3))
def test_whatever_happens_nothing_is_sent_for_nothing_and_what_fires_is_sent(
    changes: Iterable[tuple[int, str, dict[str, object]]], wait: int
) -> None:
    """No message without something new, resolved or due to repeat; who still fires unsuppressed at the end was
    notified of; who
    was not is not resolved to anybody.
    """
    t = Timeline(GroupTiming(wait=wait * M, repeat=None))
    for minute, name, change in changes:
        t.put(minute, name, **change)
    t.run(200)
    notified: set[str] = set()
    for _, why, firing, resolved in t.sent:
        assert why not in (Why.REPEAT, Why.NOT_DUE, Why.NOTHING_NEW, Why.NOTHING_FIRES)
        assert set(resolved) <= notified
        assert not set(resolved) & set(firing)
        notified |= set(firing)
        notified -= set(resolved)
    left = {m.id for m in t.members.values() if not m.suppressed and not m.resolved}
    assert left <= notified
    assert t.state is None or next_flush(t.state, t.timing, t.members.values()) is None
