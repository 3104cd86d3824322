"""Bodies with very much in them, sent to a tocsin that runs: what is refused costs nothing, what is taken is taken whole."""

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.servers.eventually import eventually

GIB = 1 << 30


def started(home: Path) -> Tocsin:
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("tocsin.yaml", "")
    return tocsin.start()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    tocsin = started(tmp_path_factory.mktemp("loaded") / "home")
    yield tocsin
    tocsin.kill()


def send(tocsin: Tocsin, body: bytes, consumer: str = "events") -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return httpx.post(
        f"{tocsin.url}/intake/{consumer}", content=gzip.compress(body, 1), headers=headers, timeout=120, trust_env=False
    )


def events(count: int, kind: str) -> bytes:
    line = '{"specversion":"1.0","type":"tocsin.run.status","source":"%s","id":"%d","data":{"RunId":"%s-%d","Status":"Running"}}'
    return ("[" + ",".join(line % (kind, n, kind, n) for n in range(count)) + "]").encode()


def resident(tocsin: Tocsin) -> int:
    return int(Path(f"/proc/{tocsin.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


BOMBS = {
    "ones": b"[" + b"1," * ((8 << 20) - 2) + b"1]",
    "lists": b"[" + b"[]," * (5 << 20) + b"1]",
    "objects": b"[" + b"{}," * 100_000 + b"1]",
    "lines": b"1\n" * (8 << 20),
    "open": b"[" * (16 << 20),
}


@pytest.mark.parametrize("consumer", ["events", "event-grid"])
def test_more_than_may_be_sent_at_once_is_refused_and_nothing_is_kept(loaded: Tocsin, consumer: str) -> None:
    """16 KB of gzip became eight million dead letters, 5 GB of memory, and 503 for everybody for minutes."""
    before = loaded.count("DeadLetters")
    bombs = [body for name, body in BOMBS.items() if name != "open"]
    with ThreadPoolExecutor(13) as threads:
        sent = [threads.submit(send, loaded, bombs[n % len(bombs)], consumer) for n in range(13)]
        most = 0
        while not all(each.done() for each in sent):
            most = max(most, resident(loaded))
            threading.Event().wait(0.05)
    assert {413} == {each.result().status_code for each in sent}
    assert most < GIB
    assert before == loaded.count("DeadLetters")
    assert 413 == send(loaded, BOMBS["open"], consumer).status_code


def test_of_many_dead_ones_a_hundred_are_kept_and_one_stands_for_the_rest(loaded: Tocsin) -> None:
    """Good ones among them are kept. Those that only the store finds dead, over several commits, count as well."""
    good = json.loads(events(3, "among"))
    body = [good[0], *[7] * 5_000, good[1], *[{"data": {"Status": "Failed"}}] * 11_000, good[2]]
    answer = send(loaded, json.dumps(body).encode()).json()
    assert (3, 16_000) == (answer["accepted"], answer["dead"])
    letters = loaded.query("DeadLetters | project Reason, Detail")
    assert 101 == len(letters)
    assert 1 == sum("15900 messages of this body" in row["Detail"] for row in letters)
    metrics = loaded.metrics()
    assert 16_000 == sum(n for name, n in metrics.items() if name.startswith("tocsin_intake_dead_letters_total"))


def test_a_valid_backfill_is_accepted_whole_and_others_do_not_wait_for_it(loaded: Tocsin) -> None:
    """It is several commits. It was answered 503, "send it again", and that again."""
    body = events(30_000, "backfill")
    waits: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(send, loaded, body)
        n = 0
        while not sent.done():
            n, began = n + 1, time.monotonic()
            assert 202 == send(loaded, events(1, f"single-{n}")).status_code
            waits.append(time.monotonic() - began)
    assert (202, 30_000) == (sent.result().status_code, sent.result().json()["accepted"])
    assert 30_000 == loaded.count("RunStatusChanged | where Source == 'backfill'")
    assert max(waits) < 10
    again = send(loaded, body).json()
    assert (0, 30_000) == (again["accepted"], again["duplicate"])


def test_it_stops_within_ten_seconds_whatever_is_under_way(tmp_path: Path) -> None:
    """SIGTERM had no effect while a body was written, and waited for the evaluation of thousands of events that match."""
    loaded = started(tmp_path / "home")
    body = events(60_000, "stopped").replace(b'"Running"', b'"Failed"')
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(send, loaded, body) for _ in range(4)]
        eventually(lambda: loaded.count("RunStatusChanged | where Source == 'stopped'") > 0, 60)
        began = time.monotonic()
        os.kill(loaded.pid, signal.SIGTERM)
        loaded.ended(30)
        took = time.monotonic() - began
        for each in sent:
            if each.exception() is None:
                assert each.result().status_code in (202, 503)
    assert took < 10
