"""Plays the demo: the day that ended now, then a trickle of live activity, so that there is something to watch.

Everything goes through the real HTTP intake, as from any other producer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event

import structlog

from tocsin.clock import Clock
from tocsin.demo.day import EXPERIMENTS, SEED, Day, Experiment, Run, event, failed, make_day, run_of
from tocsin.errors import TocsinError
from tocsin.model.event import HEARTBEAT_TYPE

Post = Callable[[list[bytes]], None]
"""Posts payloads, one line of JSON each. Raises ConnectionError where it must be done again, TocsinError where never.
"""

BATCH = 500
"""Payloads of one request of the day."""
_LIVE_RUNS = 4  # at a time
_FAILS_EVERY = 6  # live runs: the sixth, the twelfth, …
_BEATS = 3  # heartbeats of a live run
_AGAIN = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the intake is tried again; the last for ever

_log = structlog.get_logger(__name__)


class HttpPost:
    """Posts to a consumer of a running tocsin."""

    def __init__(self, base_url: str, *, consumer: str = "events", token: str = "") -> None:
        """``base_url`` as in ``http.base_url``. ``token`` where the intake asks for one."""
        import httpx  # takes a while; only the demo pays for it

        self._away = httpx.TransportError
        self._client = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=30,
            trust_env=False,  # a proxy has no business between us and our own port
        )
        self._path = f"/intake/{consumer}"

    def __call__(self, payloads: list[bytes]) -> None:
        try:
            answer = self._client.post(
                self._path, content=b"\n".join(payloads), headers={"Content-Type": "application/x-ndjson"}
            )
        except self._away as error:
            raise ConnectionError(f"the intake cannot be reached: {error}") from error
        if answer.status_code == 429 or answer.status_code >= 500:
            raise ConnectionError(f"the intake is busy: {answer.status_code}")
        if answer.status_code != 202:
            raise TocsinError(f"the intake refused the demo: {answer.status_code} {answer.text[:200]}")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@dataclass(slots=True, kw_only=True)
class _LiveRun:
    run: Run
    number: int
    stage: int = 0


class Live:
    """Activity after the day, one step at a time: deterministic but for the times it is given."""

    def __init__(self, day: Day, *, seed: int = SEED) -> None:
        self._rng = random.Random(seed)
        self._day = day
        self._steps = 0
        self._started = 0
        self._runs: list[_LiveRun] = []

    def step(self, at: datetime) -> list[bytes]:
        """What happens at ``at``: a run begins, goes on or ends, and one of the day's still running gives a sign of
        life.
        """
        self._steps += 1
        said = [self._beat(at)] if self._day.running else []
        # A run of three advances, in turn; a new one begins where there is room.
        if (len(self._runs) < _LIVE_RUNS and self._steps % 3 != 0) or not self._runs:
            self._runs.append(self._begin())
            live = self._runs[-1]
        else:
            live = self._runs.pop(0)
            self._runs.append(live)
        said.append(self._advance(live, at))
        return said

    def _beat(self, at: datetime) -> bytes:
        run = self._day.running[self._steps % len(self._day.running)]
        progress = round(min(0.99, 0.5 + self._steps / 5000), 4)
        return event(run, at, f"{run.id}/live/{self._steps}", {"Progress": progress}, HEARTBEAT_TYPE)

    def _begin(self) -> _LiveRun:
        self._started += 1
        experiments: Sequence[Experiment] = tuple(EXPERIMENTS.values())
        e = experiments[self._started % len(experiments)]
        return _LiveRun(run=run_of(e, f"{e.name}-live-{self._started}", run_type="training"), number=self._started)

    def _advance(self, live: _LiveRun, at: datetime) -> bytes:
        run, stage = live.run, live.stage
        live.stage += 1
        if stage < 3:
            word = ("Queued", "Preparing", "Running")[stage]
            return event(run, at, f"{run.id}/{word}", {"Status": word})
        if stage < 3 + _BEATS:
            progress = round((stage - 2) / (_BEATS + 1), 2)
            return event(run, at, f"{run.id}/beat/{stage}", {"Progress": progress}, HEARTBEAT_TYPE)
        self._runs.remove(live)
        if live.number % _FAILS_EVERY == 0:
            key = self._rng.choice(run.experiment.failures)
            columns = failed(run, at, key, will_retry=False, rng=self._rng)
            return event(run, at, f"{run.id}/Failed", {"Status": "Failed", **columns})
        return event(run, at, f"{run.id}/Completed", {"Status": "Completed", "Progress": 1.0})


def play(
    post: Post,
    now: datetime,
    *,
    clock: Clock,
    stop: Event,
    every: timedelta = timedelta(seconds=4),
    seed: int = SEED,
    played: Callable[[], None] = lambda: None,
) -> None:
    """Post the day that ended at ``now``, call ``played``, then live activity ``every`` so often until ``stop`` is set.

    For a thread of its own. An intake that is away or busy is tried again until ``stop``: nothing of the day is left
    out.
    Raises TocsinError where the intake refuses the demo for good.
    """
    day = make_day(now, seed)
    for first in range(0, len(day.payloads), BATCH):
        if not _posted(post, list(day.payloads[first : first + BATCH]), stop):
            return
    _log.info("demo_day_played", events=len(day.payloads))
    played()
    live = Live(day, seed=seed)
    while not stop.wait(every.total_seconds()):
        if not _posted(post, live.step(clock.now()), stop):
            return


def _posted(post: Post, payloads: list[bytes], stop: Event) -> bool:
    """Post, again and again where need be; False where ``stop`` came first."""
    attempts = 0
    while not stop.is_set():
        try:
            post(payloads)
        except ConnectionError as error:
            wait = _AGAIN[min(attempts, len(_AGAIN) - 1)]
            if attempts == 0:
                _log.warning("demo_waits", reason=str(error))
            attempts += 1
            if stop.wait(wait):
                return False
        else:
            return True
    return False


__all__ = ["BATCH", "HttpPost", "Live", "Post", "play"]
