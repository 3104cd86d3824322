"""The order in which commits and timers are evaluated (SEMANTICS.md, Instants)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tocsin.clock import EPOCH
from tocsin.logstore.interface import CommitInfo
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.driver.instants import in_order
from tocsin.rules.driver.timer_table import TimerTable, key_of
from tocsin.rules.timers import Released

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def commit(seq: int, at: int) -> CommitInfo:
    return CommitInfo(seq=seq, ingested_at=START + timedelta(seconds=at), rows=1, heartbeats=0)


def timer(key: str, due: int) -> Timer:
    return Timer(rule="r", kind=TimerKind.FINAL_AFTER, key=key, due=START + timedelta(seconds=due))


def released(key: str, at: int) -> Released:
    return Released(timer=timer(key, at), at=START + timedelta(seconds=at), commit_seq=0)


def shown(instants: object) -> list[str]:
    assert isinstance(instants, list)
    return [
        f"c{i.seq}" if isinstance(i, CommitInfo) else f"{i.timer.key}@{(i.at - START).seconds} sees c{i.commit_seq}"
        for i in instants
    ]


def test_a_timer_waits_for_commits_stamped_before_it() -> None:
    """At equal T the commit comes first."""
    got = in_order([commit(7, 1), commit(8, 20), commit(9, 31)], [released("d", 20)], 6, EPOCH)
    assert ["c7", "c8", "d@20 sees c8", "c9"] == shown(got)


def test_a_timer_before_every_commit_sees_what_was_evaluated_before() -> None:
    got = in_order([commit(7, 30)], [released("d", 20)], 6, EPOCH)
    assert ["d@20 sees c6", "c7"] == shown(got)


def test_a_timer_that_comes_late_is_evaluated_at_the_last_instant() -> None:
    """T never goes back: what was evaluated up to 25 s is not evaluated again as of 20 s."""
    got = in_order([commit(7, 30)], [released("d", 20)], 6, START + timedelta(seconds=25))
    assert ["d@25 sees c6", "c7"] == shown(got)


@given(st.lists(st.integers(0, 50), max_size=8), st.lists(st.integers(0, 50), max_size=8), st.integers(0, 50))
def test_t_never_goes_back_and_every_timer_sees_the_commits_up_to_its_t(
    commits: list[int], timers: list[int], floor: int
) -> None:
    floor_at = START + timedelta(seconds=floor)
    infos = [commit(i + 1, at + 51) for i, at in enumerate(sorted(commits))]
    got = in_order(infos, [released(str(i), at) for i, at in enumerate(timers)], 0, floor_at)
    times = [i.ingested_at if isinstance(i, CommitInfo) else i.at for i in got]
    assert times == sorted(times)
    assert len(got) == len(commits) + len(timers)
    for instant in got:
        if isinstance(instant, Released):
            assert instant.commit_seq == max((c.seq for c in infos if c.ingested_at <= instant.at), default=0)


def test_timers_come_when_due_and_once() -> None:
    table = TimerTable([timer("a", 10), timer("b", 20)])
    assert START + timedelta(seconds=10) == table.next_due()
    assert ["a"] == [t.key for t in table.past(START + timedelta(seconds=15))]
    assert ["a"] == [t.key for t in table.past(START + timedelta(seconds=15))], "held until it is dropped"
    assert 1 == table.held
    table.drop(key_of(timer("a", 10)))
    assert START + timedelta(seconds=20) == table.next_due()
    assert [] == table.past(START + timedelta(seconds=15))


def test_a_timer_set_again_counts_at_its_new_due_time_only() -> None:
    table = TimerTable([timer("a", 10)])
    assert 1 == len(table.past(START + timedelta(seconds=15)))
    table.put(timer("a", 30))
    assert [] == table.past(START + timedelta(seconds=20))
    assert START + timedelta(seconds=30) == table.next_due()
    assert 1 == len(table)
