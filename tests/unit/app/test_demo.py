"""Playing the demo: the whole day, then live activity, until it is stopped."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from tocsin.clock import ManualClock
from tocsin.demo import play as demo
from tocsin.demo.day import make_day
from tocsin.demo.play import BATCH, HttpPost, Live, play
from tocsin.errors import TocsinError
from tocsin.model.event import HEARTBEAT_TYPE, STATUS_TYPE

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
AT_ONCE = timedelta(0)


class Intake:
    """Takes what is posted; `away` times it cannot be reached; stops the demo after `enough` payloads."""

    def __init__(self, stop: Event, *, enough: int, away: int = 0) -> None:
        self.stop, self.enough, self.away = stop, enough, away
        self.got: list[bytes] = []
        self.sizes: list[int] = []

    def __call__(self, payloads: list[bytes]) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("refused")
        self.got += payloads
        self.sizes.append(len(payloads))
        if len(self.got) >= self.enough:
            self.stop.set()


def test_the_day_comes_first_then_live_activity() -> None:
    """In order, in batches, and `played` is called between the two."""
    day = make_day(NOW)
    stop, seen = Event(), list[int]()
    intake = Intake(stop, enough=len(day.payloads) + 40)
    play(intake, NOW, clock=ManualClock(NOW), stop=stop, every=AT_ONCE, played=lambda: seen.append(len(intake.got)))
    assert list(day.payloads) == intake.got[: len(day.payloads)]
    assert [len(day.payloads)] == seen
    assert max(intake.sizes) == BATCH
    live = [json.loads(p) for p in intake.got[len(day.payloads) :]]
    assert len(live) >= 40
    assert all(e["time"] == "2026-11-24T10:00:00.000Z" for e in live)


def test_an_intake_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the day is left out, and nothing is posted twice by us."""
    monkeypatch.setattr(demo, "_AGAIN", (0.0,))
    day = make_day(NOW)
    stop = Event()
    intake = Intake(stop, enough=len(day.payloads), away=9)
    play(intake, NOW, clock=ManualClock(NOW), stop=stop, every=AT_ONCE)
    assert list(day.payloads) == intake.got


def test_it_stops_while_the_intake_is_away() -> None:
    """A stop does not wait for an answer."""
    stop = Event()

    def never(payloads: list[bytes]) -> None:
        stop.set()
        raise ConnectionError("refused")

    play(never, NOW, clock=ManualClock(NOW), stop=stop, every=timedelta(hours=1))
    assert stop.is_set()


def steps(n: int) -> list[dict[str, Any]]:
    live = Live(make_day(NOW))
    return [json.loads(p) for i in range(n) for p in live.step(NOW + timedelta(seconds=4 * i))]


def test_live_activity_is_alive() -> None:
    """Each step says something of a run; runs begin and end, most well; a failure comes every few minutes."""
    said = steps(300)  # 20 minutes
    words = Counter(e["data"]["Status"] for e in said if e["type"] == STATUS_TYPE)
    assert {"Queued", "Preparing", "Running", "Completed", "Failed"} == set(words)
    assert 3 <= words["Failed"] <= 10
    assert words["Completed"] >= 4 * words["Failed"]
    assert len({(e["source"], e["id"]) for e in said}) == len(said)
    assert all(e["data"]["LogTail"] for e in said if e["data"].get("Status") == "Failed")


def test_live_runs_live_in_order() -> None:
    """Queued, Preparing, Running, signs of life, one end; no more after it; few at a time."""
    lives: dict[str, list[str]] = {}
    open_now: set[str] = set()
    for e in steps(300):
        run = e["data"]["RunId"]
        if "-live-" in run:
            lives.setdefault(run, []).append(e["data"].get("Status", "beat"))
            ended = lives[run][-1] in ("Completed", "Failed")
            open_now = open_now - {run} if ended else open_now | {run}
            assert len(open_now) <= 4
    whole = [life for life in lives.values() if len(life) == 7]
    assert len(whole) >= 20
    assert all(["Queued", "Preparing", "Running", "beat", "beat", "beat"] == life[:6] for life in whole)
    assert all(len(life) <= 7 for life in lives.values())


def test_the_silent_run_stays_silent() -> None:
    """Those of the day that still run give signs of life; it does not."""
    day = make_day(NOW)
    said = steps(300)
    assert day.silent.id not in {e["data"]["RunId"] for e in said}
    beats = {e["data"]["RunId"] for e in said if e["type"] == HEARTBEAT_TYPE}
    assert {r.id for r in day.running} <= beats


@pytest.fixture
def answering() -> Iterator[ThreadingHTTPServer]:
    """A server that answers with the status of its ``code`` and keeps what it got in ``got``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((self.path, body, self.headers["Authorization"]))  # type: ignore[attr-defined]
            self.send_response(server.code)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"why")

        def log_message(self, format: str, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(202, None), (429, ConnectionError), (503, ConnectionError), (401, TocsinError), (400, TocsinError)],
)
def test_the_poster_notifies_busy_from_refused(
    answering: ThreadingHTTPServer, status: int, error: type[Exception] | None
) -> None:
    """A batch is one body of lines, with the token where there is one."""
    answering.code = status  # type: ignore[attr-defined]
    post = HttpPost(f"http://127.0.0.1:{answering.server_port}", token="t0")
    with pytest.raises(error, match=str(status)) if error else nullcontext():
        post([b"{}", b"[1]"])
    post.close()
    assert [("/intake/events", b"{}\n[1]", "Bearer t0")] == answering.got  # type: ignore[attr-defined]


def test_nobody_listening_means_again(free_port: int) -> None:
    """A real refused connection."""
    post = HttpPost(f"http://127.0.0.1:{free_port}")
    with pytest.raises(ConnectionError, match="cannot be reached"):
        post([b"{}"])
    post.close()
