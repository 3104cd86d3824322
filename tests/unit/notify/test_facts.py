"""What the log store knows around an alert."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.notify.make import intent
from tocsin.clock import ManualClock, micros
from tocsin.errors import QueryTimeout
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Ask, Limits
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import Intent, IntentKind
from tocsin.notify.context import Change, Nearby, RunAttempt
from tocsin.notify.render.facts import StoreFacts
from tocsin.notify.values import NO_FACTS

T0 = datetime(2026, 1, 5, 12, tzinfo=UTC)


def minutes(n: float) -> datetime:
    return T0 + timedelta(minutes=n)


class Log:
    """A store that is filled with status changes."""

    def __init__(self) -> None:
        self.store = DuckLogStore.open(None, clock=ManualClock(T0), reserve=0)
        self.count = 0

    def add(self, at: float, run: str, status: str, **columns: Any) -> None:
        self.append(self.event(at, run, status, **columns))

    def event(self, at: float, run: str, status: str, **columns: Any) -> MappedEvent:
        self.count += 1
        return MappedEvent(
            source="tests", event_id=f"e{self.count}", time=minutes(at), raw=b"{}",
            columns={"RunId": run, "Status": status, "OriginalStatus": status, **columns},
        )  # fmt: skip

    def append(self, *events: MappedEvent) -> None:
        mapped = MappedEvents(consumer="c", events=events, received_us=micros(T0))
        self.store.append([Batch(mapped=(mapped,))])


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    yield made
    made.store.close()


def failed(run: str, at: float, **columns: Any) -> Intent:
    one = intent(
        run=run, event_time=minutes(at), **{"JobKey": run, "Target": "aks-eu", "ExperimentName": "churn", **columns}
    )
    return replace(one, at=minutes(at))


def test_history_last_success_and_neighbours(log: Log) -> None:
    """This run's words in order; its experiment's last success; who else failed in the half hour before, here and in
    all.
    """
    same = {"ExperimentName": "churn", "Target": "aks-eu"}
    log.add(-500, "old", "Running", **same)
    log.add(-400, "old", "Completed", **same)
    log.add(-300, "other", "Completed", ExperimentName="else")
    log.add(0, "r", "Queued", **same)
    log.add(1, "r", "Running", **same)
    log.add(60, "r", "Failed", **same)
    log.add(60, "n1", "Failed", Target="aks-eu")
    log.add(40, "n2", "Failed", Target="aks-us")
    log.add(41, "n2", "Failed", Target="aks-us")
    log.add(20, "long-ago", "Failed", Target="aks-eu")
    log.add(62, "later", "Failed", Target="aks-eu")
    one = failed("r", 60)
    facts = StoreFacts(log.store).facts([one], 5)[one.id]
    assert facts.history == (
        Change(status="Queued", at=minutes(0), attempt=0),
        Change(status="Running", at=minutes(1), attempt=0),
        Change(status="Failed", at=minutes(60), attempt=0),
    )
    assert facts.last_success == minutes(-400)
    assert facts.nearby == Nearby(target=1, everywhere=2)
    assert (facts.attempts, facts.attempts_known) == ((), 0)


def test_attempts_of_one_job_in_several_runs(log: Log) -> None:
    for n, run in enumerate(("a", "b", "c"), 1):
        log.add(n * 100, run, "Running", JobKey="job", Attempt=n)
        log.add(n * 100 + 50, run, "Failed", JobKey="job", Attempt=n)
    one = failed("c", 350, JobKey="job", Attempt=3)
    facts = StoreFacts(log.store).facts([one], 5)[one.id]
    assert facts.attempts == tuple(
        RunAttempt(run=run, attempt=n, status="Failed", started=minutes(n * 100), ended=minutes(n * 100 + 50))
        for n, run in enumerate(("a", "b", "c"), 1)
    )
    assert facts.attempts_known == 3
    assert [c.at for c in facts.history] == [minutes(300), minutes(350)]


def test_attempts_of_one_run_are_distinguished_by_their_number(log: Log) -> None:
    for n in (1, 2):
        log.add(n * 100, "r", "Running", Attempt=n)
        log.add(n * 100 + 50, "r", "Failed", Attempt=n)
    one = failed("r", 250, Attempt=2)
    facts = StoreFacts(log.store).facts([one], 5)[one.id]
    assert facts.attempts == tuple(
        RunAttempt(run="r", attempt=n, status="Failed", started=minutes(n * 100), ended=minutes(n * 100 + 50))
        for n in (1, 2)
    )
    assert facts.attempts_known == 2


def test_a_long_history_shows_its_end(log: Log) -> None:
    log.append(*(log.event(n, "r", "Running" if n % 2 else "Queued") for n in range(20)))
    one = failed("r", 20)
    facts = StoreFacts(log.store).facts([one], 5)[one.id]
    assert (len(facts.history), facts.more_history) == (12, 8)
    assert facts.history[-1].at == minutes(19)


def test_a_hundred_alerts_are_answered_together(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own, by few queries."""
    asked: list[str] = []
    asking = log.store.asking

    @contextmanager
    def counting(limits: Limits) -> Iterator[Ask]:
        def counted(sql: str, params: Mapping[str, object]) -> list[dict[str, Any]]:
            asked.append(sql)
            return ask(sql, params)

        with asking(limits) as ask:
            yield counted

    monkeypatch.setattr(log.store, "asking", counting)
    log.append(
        *(log.event(n / 100, f"r{n}", "Failed", ExperimentName=f"x{n % 7}", Target="aks-eu") for n in range(100))
    )
    intents = [failed(f"r{n}", n / 100, ExperimentName=f"x{n % 7}") for n in range(100)]
    facts = StoreFacts(log.store).facts(intents, 5)
    assert len(facts) == 100
    assert {len(f.history) for f in facts.values()} == {1}
    assert len(asked) == 4


def test_runs_that_nobody_knows_and_alerts_without_a_run(log: Log) -> None:
    """Nothing is made up; nothing fails."""
    stranger, window = failed("stranger", 0, Status="Queued"), intent(run="")
    facts = StoreFacts(log.store).facts([stranger, window], 5)
    assert set(facts) == {stranger.id}
    assert replace(facts[stranger.id], nearby=None) == NO_FACTS


def test_hostile_ids_are_only_values(log: Log) -> None:
    evil = "'); DROP TABLE Runs; --"
    log.add(0, evil, "Failed")
    one = failed(evil, 0)
    assert len(StoreFacts(log.store).facts([one], 5)[one.id].history) == 1


def test_it_ends_in_time(log: Log) -> None:
    """Where the time is up, nothing more is asked; the caller sends the mail without."""
    log.append(*(log.event(n, f"r{n}", "Failed") for n in range(50)))
    with pytest.raises(QueryTimeout):
        StoreFacts(log.store).facts([failed("r1", 1)], 0.0)


def test_a_backfills_summary_knows_its_runs(log: Log) -> None:
    """Those of its rule that expired while it lasted, the newest first, with why they failed."""
    for n, message in enumerate(("disk full", "disk full", "")):
        log.add(n - 5000, f"r{n}", "Failed", ExperimentName="churn", Message=message)
    rows = [transition(f"r{n}", 1) for n in range(3)]
    rows += [transition("r0", 1, Rule="other"), transition("r1", 1, To="fired"), transition("r2", -60)]
    log.store.append_mirror(1, [{**row, "Occurrence": str(i)} for i, row in enumerate(rows)], [])
    one = replace(
        intent(kind=IntentKind.SUMMARY, run="", data={"expired": 3}), occurrence=minutes(0).isoformat(), at=minutes(2)
    )
    found = StoreFacts(log.store).facts([one], 5)[one.id].expired
    assert ["r2", "r1", "r0"] == [line.name for line in found]
    assert ["churn r2 Failed", "churn r1 Failed", "churn r0 Failed"] == [line.title for line in found]
    assert ["", "disk full", "disk full"] == [line.cause for line in found]


def transition(run: str, at: float, **more: str) -> dict[str, object]:
    """A row of Alerts as the state mirrors it."""
    t = minutes(at).isoformat().replace("+00:00", "Z")
    return {
        "Time": t, "Rule": "run-failed", "Instance": {"RunId": run}, "Occurrence": run, "From": "", "To": "expired",
        "Reason": "", "Severity": "error", "Value": None, "Labels": {}, "RunId": run, "AlertId": "", "CommitSeq": 1,
        "T": t, **more,
    }  # fmt: skip
