"""The oracle's own tests: each is an example that a person can check against the semantics by eye."""

import ast
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.oracle.events import Event, Histories, moved, parts, sent_twice, shuffled
from tests.oracle.oracle import differences, is_expired, occurrences, occurrences_of, status_is, stored

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FINAL = status_is("Failed", final=True)


def event(status: str, minute: int, id: str = "", **more: object) -> Event:
    name = id or f"{status.lower()}-{minute}-{more.get('source', '')}"
    return Event(run="r", status=status, id=name, time=NOON + timedelta(minutes=minute), **more)  # type: ignore[arg-type]


def notified(events: list[Event], rule: object = FINAL) -> list[list[str]]:
    return [[e.id for e in s.events] for s in occurrences_of(events, rule)]  # type: ignore[arg-type]


def test_it_does_not_know_the_engine() -> None:
    """No module of the oracle imports tocsin: what it says is a second opinion."""
    for file in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "tocsin"], file


def test_the_example_of_the_rule_language() -> None:
    """Failed once, its duplicate, a late Running: one."""
    failed = event("Failed", 5, "e1")
    assert [["e1"]] == notified([event("Running", 0), failed, failed, event("Running", 4)])


def test_nothing_matches() -> None:
    assert [] == notified([event("Running", 0), event("Completed", 5)])
    assert {} == occurrences([event("Running", 0)], FINAL)


def test_an_attempt_that_is_repeated_is_not_final() -> None:
    """Failed with WillRetry is not notified, the last attempt's failure is, once."""
    events = [
        event("Running", 0, attempt=1),
        event("Failed", 1, "first", attempt=1, will_retry=True),
        event("Running", 2, attempt=2),
        event("Failed", 3, "second", attempt=2),
    ]
    assert [["second"]] == notified(events)
    assert [["first"], ["second"]] == notified(events, status_is("Failed", final=False))


def test_an_end_notified_twice_is_one() -> None:
    """Two Failed of the source that ended the run, with a stranger's Running between them, are one occurrence."""
    events = [event("Failed", 1, "a"), event("Running", 2, source="/watcher"), event("Failed", 3, "b")]
    assert [["a", "b"]] == notified(events)


def test_its_own_source_reopens_it() -> None:
    """A strictly later Running of the source that ended it opens a new life, which can fail again."""
    events = [event("Failed", 1, "a"), event("Running", 2), event("Failed", 3, "b")]
    assert [["a"], ["b"]] == notified(events)


def test_at_equal_times_the_terminal_status_wins() -> None:
    """A Running with the time of its Failed comes before it and reopens nothing."""
    events = [event("Failed", 1, "a"), event("Running", 1), event("Failed", 2, "b")]
    assert [["a", "b"]] == notified(events)


def test_a_greater_attempt_reopens_whoever_says_so() -> None:
    events = [event("Failed", 1, "a", attempt=1), event("Running", 2, source="/watcher", attempt=2),
              event("Failed", 3, "b", attempt=2)]  # fmt: skip
    assert [["a"], ["b"]] == notified(events)


def test_attempt_goes_before_time() -> None:
    """A clock that was set back between two attempts changes nothing."""
    events = [event("Failed", 9, "a", attempt=1), event("Running", 2, attempt=2), event("Failed", 3, "b", attempt=2)]
    assert [["a"], ["b"]] == notified(events)


def test_an_occurrence_of_a_passing_status_is_broken_by_anything() -> None:
    """NotResponding, Running, NotResponding are two; two in a row are one."""
    rule = status_is("NotResponding")
    assert [["a"], ["b"]] == notified(
        [event("NotResponding", 1, "a"), event("Running", 2), event("NotResponding", 3, "b")], rule
    )
    assert [["a", "b"]] == notified([event("NotResponding", 1, "a"), event("NotResponding", 3, "b")], rule)


def test_two_statuses_are_two_occurrences() -> None:
    rule = status_is("NotResponding", "Failed")
    assert [["a"], ["b"]] == notified([event("NotResponding", 1, "a"), event("Failed", 2, "b")], rule)


def test_any_source_that_has_ended_the_run_reopens_it() -> None:
    """Whether it was the first or the last to end it does not matter; a source that has not ended it reopens nothing."""
    ends = [event("Failed", 1, "a"), event("Failed", 2, "w", source="/watcher")]
    for source in ("/trainer", "/watcher"):
        assert [["a", "w"], ["b"]] == notified([*ends, event("Running", 3, source=source), event("Failed", 4, "b")])
    assert [["a", "w", "b"]] == notified([*ends, event("Running", 3, source="/other"), event("Failed", 4, "b")])


def test_a_source_that_ends_it_again_with_another_status_parts() -> None:
    """Failed, Completed, Failed of one source are two failures; of two sources they are one, and so is a repetition."""
    first, last = event("Failed", 1, "a"), event("Failed", 3, "b")
    assert [["a"], ["b"]] == notified([first, event("Completed", 2), last])
    assert [["a", "b"]] == notified([first, event("Completed", 2, source="/watcher"), last])
    assert [["a", "b"]] == notified([first, event("Failed", 2, "other", will_retry=True), last])


def test_order_and_duplicates_do_not_matter() -> None:
    """Every order of a small history gives the same, and so does a large one in any order."""
    events = [event("Failed", 1, "a"), event("Running", 2), event("Failed", 3, "b"), event("Failed", 4, "c")]
    for order in itertools.permutations(events):
        assert [["a"], ["b", "c"]] == notified([*order, order[0]])
    history = Histories(1, NOON).runs(50)
    for seed in range(5):
        assert occurrences(history, FINAL) == occurrences(shuffled(sent_twice(history, seed), seed), FINAL)


def test_stored_once() -> None:
    """Sent again it is the same row; with another producer time it is another row."""
    first = event("Failed", 1, "a")
    assert 1 == len(stored([first, first]))
    assert 2 == len(stored([first, moved(first, timedelta(seconds=1))]))
    assert [["a", "a"]] == notified([first, moved(first, timedelta(seconds=1))])


def test_expired() -> None:
    (occurrence,) = occurrences_of([event("Failed", 1)], FINAL)
    assert not is_expired(occurrence, NOON + timedelta(hours=24))
    assert is_expired(occurrence, NOON + timedelta(hours=25))


def test_differences_name_the_run() -> None:
    due = occurrences([event("Failed", 1, "a")], FINAL)
    assert [] == differences(due, ["r"])
    assert ["r: notified 0 times instead of 1 (Failed a)"] == differences(due, [])
    assert [
        "r: notified 2 times instead of 1 (Failed a)",
        "x: notified 1 times instead of 0 (nothing to notify)",
    ] == differences(due, ["r", "r", "x"])


def test_histories_hold_what_they_promise() -> None:
    """The same seed gives the same; there are tries, reopened runs, doubled ends and strangers in it."""
    history = Histories(7, NOON).runs(200)
    assert history == Histories(7, NOON).runs(200)
    found = occurrences(history, FINAL)
    assert 40 < len(found) < 80
    assert any(len(lives) > 1 for lives in found.values())
    assert any(len(life.events) > 1 for lives in found.values() for life in lives)
    assert any(e.will_retry for e in history) and any(e.source == "/watcher" for e in history)
    assert history == [e for piece in parts(history, 3, 40) for e in piece]
    assert len(history) == len(stored(history))
