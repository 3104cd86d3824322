"""A process killed at any moment leaves whole outcomes or none."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.state.committer import WIDTH
from tests.unit.state.builders import NOW
from tocsin.clock import ManualClock
from tocsin.model.delivery import DeliveryState
from tocsin.state.sqlite import SqliteState

KILLS = 12


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """What was said to be committed is there, what is there is whole, and the next process goes on from it."""
    path = tmp_path / "state.sqlite"
    moments = random.Random(20_260_301)
    said = 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.state.committer", str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _commit in range(moments.randint(1, 12)):
            said = int(child.stdout.readline())
        _let_it_work(moments.randint(0, 40))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        child.stdout.close()
        said = int(rest[-1]) if rest else said
        _check(path, said)
    assert said > KILLS


def _let_it_work(thousands: int) -> None:
    """Let a random segment of time pass, some milliseconds, by counting."""
    for _ in range(thousands * 20_000):
        pass


def _check(path: Path, said: int) -> None:
    state = SqliteState.open(path, clock=ManualClock(NOW))
    try:
        n = state.row_cursor()
        assert n >= said
        runs = {f"r{k}-{i}" for k in range(1, n + 1) for i in range(WIDTH)}
        assert runs == set(state.rules_notified_of(runs))
        mirrored = state.mirror_after(0, limit=10**6)
        alerts = [m.row["RunId"] for m in mirrored if m.table == "Alerts"]
        assert len(runs) == len(alerts) and runs == set(alerts)
        waiting = {i.run_id for i in state.intents(10**6)}
        written = {d.id: d for d in state.deliveries(limit=10**6)}
        # Each intent waits, or its delivery is written: never both, never neither.
        assert not waiting & {id_.removeprefix("d-") for id_ in written}
        assert runs == waiting | {id_.removeprefix("d-") for id_ in written}
        assert all(len(d.message) == 5000 and len(d.intents) == 1 for d in written.values())
        notes = [(m.row["Delivery"], m.row["State"]) for m in mirrored if m.table == "Notifications"]
        ready = [(id_, "ready") for id_ in written]
        sent = [(id_, "sent") for id_, d in written.items() if d.state is DeliveryState.SENT]
        assert sorted(notes) == sorted(ready + sent)
        assert [m.seq for m in mirrored] == list(range(1, state.mirror_seq() + 1))
    finally:
        state.close()
