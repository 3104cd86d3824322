"""The demo's day has everything that the documentation promises of it, and is the same each time."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tocsin.demo.day import (
    EXPERIMENTS,
    FAILING_SWEEP,
    FAILURES,
    FINAL_FAILURES,
    LENGTH,
    SECRET,
    SILENT_RUN,
    STUCK_RUN,
    Day,
    make_day,
)
from tocsin.model.columns import RUN_STATUS_CHANGED
from tocsin.model.event import HEARTBEAT_TYPE, STATUS_TYPE
from tocsin.model.statuses import STATUS_WORDS, TERMINAL, Reason
from tocsin.model.text.redact import redact

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
WIRE = {c.name for c in RUN_STATUS_CHANGED if c.wire}
Event = dict[str, Any]


@pytest.fixture(scope="module")
def day() -> Day:
    return make_day(NOW)


def readable(day: Day) -> Iterator[Event]:
    for payload in day.payloads:
        try:
            yield json.loads(payload)
        except ValueError:
            continue


@pytest.fixture(scope="module")
def events(day: Day) -> list[Event]:
    """Each event once, in the order of posting."""
    once: dict[tuple[str, str, str], Event] = {}
    for e in readable(day):
        once.setdefault((e["source"], e["id"], e["time"]), e)
    return list(once.values())


@pytest.fixture(scope="module")
def statuses(events: list[Event]) -> list[Event]:
    return [e for e in events if e["type"] == STATUS_TYPE and e["data"]["RunId"]]


def time_of(e: Event) -> datetime:
    return datetime.fromisoformat(e["time"])


def test_the_same_end_makes_the_same_day(day: Day) -> None:
    """Byte for byte; another seed makes another day, another end the same one shifted."""
    assert day == make_day(NOW)
    assert day.payloads != make_day(NOW, seed=8).payloads
    later = make_day(NOW + timedelta(days=3))
    assert len(day.payloads) == len(later.payloads)
    assert [e["data"]["RunId"] for e in readable(day)] == [e["data"]["RunId"] for e in readable(later)]


def test_every_payload_is_one_line_and_all_but_one_are_json(day: Day) -> None:
    """Lines of a request body; the broken one must not break its neighbours."""
    assert not any(b"\n" in p for p in day.payloads)
    assert 1 == len(day.payloads) - len(list(readable(day)))


def test_events_are_canonical(events: list[Event]) -> None:
    """CloudEvents 1.0 of our two types; data are wire columns and nothing else."""
    for e in events:
        assert {"specversion", "type", "source", "id", "time", "data"} == set(e)
        assert ("1.0", True) == (e["specversion"], e["type"] in (STATUS_TYPE, HEARTBEAT_TYPE))
        assert set(e["data"]) <= (WIRE if e["type"] == STATUS_TYPE else {"RunId", "Progress"})
        assert e["data"].get("Reason", "") in {r.value for r in Reason}


def test_the_day_ends_now_and_lies_within_a_day(events: list[Event], statuses: list[Event]) -> None:
    """Nothing of the future; every failure young enough to be notified; 300 to 400 runs."""
    assert NOW - timedelta(minutes=2) < max(map(time_of, events)) <= NOW
    failures = [time_of(e) for e in statuses if e["data"]["Status"] == "Failed"]
    assert min(failures) > NOW - LENGTH
    assert 300 <= len({e["data"]["RunId"] for e in statuses}) <= 400


def test_people_and_places_are_all_there(statuses: list[Event]) -> None:
    """Every experiment, owner, target and workspace; names beyond ASCII; addresses that nobody has."""
    for column, wanted in (
        ("ExperimentName", {e.name for e in EXPERIMENTS.values()}),
        ("TriggeringUserName", {e.owner for e in EXPERIMENTS.values()}),
        ("OwnerEmail", {e.email for e in EXPERIMENTS.values()}),
        ("Target", {e.target for e in EXPERIMENTS.values()}),
        ("WorkspaceName", {e.workspace for e in EXPERIMENTS.values()}),
    ):
        assert wanted == {e["data"][column] for e in statuses}
    assert 8 == len(EXPERIMENTS)
    assert all(e.email.endswith("@example.org") for e in EXPERIMENTS.values())
    assert {"Ágnes", "Béla"} <= {e.owner for e in EXPERIMENTS.values()}


def test_statuses_have_the_shape_of_a_working_day(statuses: list[Event]) -> None:
    """Most runs end well; some fail, some are canceled, a few are at work."""
    counts = Counter(e["data"]["Status"] for e in statuses)
    assert 250 <= counts["Completed"] <= 320
    assert 50 <= counts["Failed"] <= 90
    assert 8 <= counts["Canceled"] <= 30
    assert counts["CancelRequested"] == counts["Canceled"]
    for word in ("Queued", "Provisioning", "Preparing", "Running", "Finalizing", "Paused", "NotResponding"):
        assert counts[word] >= 1, word
    assert {"Hibernating", "Evicted"} == set(counts) - STATUS_WORDS


def test_final_failures_are_many_enough_and_not_too_many(statuses: list[Event]) -> None:
    """Each planned one comes; five of them in the last five minutes; no address is near the cap of 30 mails."""
    final = [
        e for e in statuses
        if e["data"]["Status"] == "Failed" and not e["data"]["WillRetry"] and e["data"].get("ParentRunId") != FAILING_SWEEP
    ]  # fmt: skip
    assert len(FINAL_FAILURES) == len(final)
    assert {name for name, _, _ in FINAL_FAILURES} == {e["data"]["ExperimentName"] for e in final}
    assert set(FAILURES) == {key for _, key, _ in FINAL_FAILURES}
    assert {f.reason for f in FAILURES.values()} == {e["data"]["Reason"] for e in final}
    assert len([e for e in final if time_of(e) > NOW - timedelta(minutes=5)]) >= 5
    assert max(Counter(e["data"]["OwnerEmail"] for e in final).values()) <= 10


def test_failures_say_why(statuses: list[Event]) -> None:
    """A reason, a code, a message, and the last 20 lines of the log that end in it."""
    for e in statuses:
        data = e["data"]
        if data["Status"] == "Failed":
            assert data["Message"] and data["ErrorCode"] and data["Reason"]
            assert 20 == len(data["LogTail"].split("\n"))
            assert "{" not in data["LogTail"] + data["Message"]


def test_a_secret_waits_to_be_redacted(statuses: list[Event]) -> None:
    """In the log of a failure that is notified within minutes; nothing of it is left by redaction."""
    fresh = [e["data"] for e in statuses if SECRET in e["data"].get("LogTail", "")]
    assert fresh
    for data in fresh:
        assert SECRET not in redact(data["LogTail"])
        assert "trainer" in redact(data["LogTail"])
    notified = [e for e in statuses if SECRET in e["data"].get("LogTail", "") and not e["data"]["WillRetry"]]
    assert max(map(time_of, notified)) > NOW - timedelta(minutes=5)


def test_work_is_tried_again(statuses: list[Event]) -> None:
    """In the same run and in runs of their own; the last attempt fails or ends well; attempts count up."""
    tries: dict[str, dict[int, Event]] = {}
    for e in statuses:
        if e["data"]["Status"] in ("Failed", "Completed"):
            tries.setdefault(e["data"]["JobKey"], {})[e["data"]["Attempt"]] = e
    again = {job: ends for job, ends in tries.items() if len(ends) > 1}
    assert len(again) >= 20
    kinds = Counter()  # type: Counter[tuple[bool, str]]
    for ends in again.values():
        ordered = [ends[n] for n in sorted(ends)]
        assert [e["data"]["Attempt"] for e in ordered] == list(range(1, len(ordered) + 1))
        assert all(e["data"]["WillRetry"] for e in ordered[:-1])
        kinds[len({e["data"]["RunId"] for e in ordered}) > 1, ordered[-1]["data"]["Status"]] += 1
    assert 4 == len(kinds)
    assert {1, 2, 3, 4} <= {len(ends) for ends in tries.values()}


def test_sweeps_have_children(statuses: list[Event]) -> None:
    """Each child names its parent as parent and root, and lies within its time."""
    runs = {e["data"]["RunId"]: e["data"] for e in statuses}
    children = [r for r in runs.values() if r.get("ParentRunId")]
    parents = {r["ParentRunId"] for r in children}
    assert 8 == len(parents)
    assert len(children) >= 50
    for child in children:
        assert child["RootRunId"] == child["ParentRunId"]
        assert "sweep" == runs[child["ParentRunId"]]["RunType"]


def test_one_run_goes_silent(day: Day, events: list[Event], statuses: list[Event]) -> None:
    """Running, with heartbeats until 47 minutes ago, then nothing."""
    own = [e for e in events if e["data"]["RunId"] == SILENT_RUN]
    assert "Running" == [e for e in statuses if e["data"]["RunId"] == SILENT_RUN][-1]["data"]["Status"]
    beats = [e for e in own if e["type"] == HEARTBEAT_TYPE]
    assert len(beats) >= 3
    assert NOW - timedelta(minutes=90) < max(map(time_of, own)) < NOW - timedelta(minutes=47)
    assert SILENT_RUN == day.silent.id
    assert SILENT_RUN not in {r.id for r in day.running}


def test_one_run_waits_and_one_sweep_fails(statuses: list[Event]) -> None:
    """The one is in the queue for longer than 45 minutes; of the other's trials four have failed, three are at work."""
    (queued,) = [e for e in statuses if e["data"]["RunId"] == STUCK_RUN]
    assert ("Queued", True) == (queued["data"]["Status"], time_of(queued) < NOW - timedelta(minutes=45))
    latest = {
        e["data"]["RunId"]: e["data"]["Status"] for e in statuses if e["data"].get("ParentRunId") == FAILING_SWEEP
    }
    assert {"Completed": 3, "Failed": 4, "Running": 3} == Counter(latest.values())


def test_some_runs_are_at_work_when_the_day_ends(day: Day, statuses: list[Event]) -> None:
    """None of them has ended."""
    assert 8 <= len(day.running) <= 30
    ended = {(e["data"]["RunId"], e["data"]["Attempt"]) for e in statuses if e["data"]["Status"] in TERMINAL}
    assert not ended & {(r.id, r.columns["Attempt"]) for r in day.running}


def test_some_payloads_come_twice_and_some_late(day: Day, events: list[Event]) -> None:
    """As from any real producer: the same bytes again; a Running after its own end."""
    twice = [p for p, n in Counter(day.payloads).items() if n > 1]
    assert len(twice) >= 20
    ended: dict[tuple[str, int], datetime] = {}
    newest = NOW - LENGTH
    late = 0
    after_end = 0
    for e in events:
        late += time_of(e) < newest - timedelta(minutes=15)
        newest = max(newest, time_of(e))
        if e["type"] == STATUS_TYPE:
            key = (e["data"]["RunId"], e["data"].get("Attempt", 0))
            if e["data"]["Status"] in TERMINAL:
                ended[key] = time_of(e)
            after_end += key in ended and time_of(e) < ended[key]
    assert late >= 3
    assert after_end >= 1


def test_two_payloads_cannot_be_read(day: Day, events: list[Event]) -> None:
    """One cut short, one without a run."""
    assert 1 == len([e for e in events if e["type"] == STATUS_TYPE and not e["data"]["RunId"]])
    assert 1 == len(day.payloads) - len(list(readable(day)))
