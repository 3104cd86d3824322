"""Bodies made to take all memory or all of intake's time, sent to a tocsin that runs.

It stays small, answers others meanwhile, says what is wrong, keeps what is good, and stops when it is asked to.
"""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import PROGRAM, event
from tests.integration.web.test_bombs import Feeding, Watching
from tests.servers.eventually import eventually

RESIDENT = 600 << 20
BODY = 16 << 20  # intake.max_body
RECORDS = """\
connector: http
format: records[]
mapping: {RunId: run, Status: state}
"""


def filled(unit: bytes, size: int = BODY - 64) -> bytes:
    return unit * (size // len(unit))


BOMBS = {
    "eight million numbers": ("events", b"[" + filled(b"1,") + b"1]"),
    "objects in an array": ("events", b"[" + filled(b"{},") + b"{}]"),
    "strings in an array": ("events", b"[" + filled(b'"",') + b'""]'),
    "lines": ("events", b"{}\n" + filled(b"1\n")),
    "objects in one event": ("events", b'[{"a":[' + filled(b"{},") + b"{}]}]"),
    "an array in each other": ("events", b"[" + filled(b"[1,") + b"]"),
    "brackets": ("events", b"[" + filled(b"[")),
    "a NaN at the end": ("events", b"[" + filled(b"[[],[]],") + b"NaN]"),
    "never closed": ("events", b"[" + filled(b"1,")),
    "records": ("records", b'{"records":[' + filled(b"{},") + b"{}]}"),
    "records with two texts each": ("records", b'{"records":[' + filled(b'{"aa":"bb"},') + b"{}]}"),
    "a member for each few bytes": ("records", b"{" + filled(b'"a":"b",') + b'"records":[]}'),
    "zeros": ("events", filled(b"\0", 1 << 30)),
}  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    home = tmp_path_factory.mktemp("attacked") / "home"
    home.mkdir()
    tocsin = Tocsin(program=PROGRAM, home=home)
    tocsin.write("consumers/records.yaml", RECORDS)
    tocsin.write("rules/alerts/none.yaml", "rules: []")
    tocsin.start()
    yield tocsin
    tocsin.kill()


def post(tocsin: Tocsin, body: bytes, consumer: str = "events", timeout: float = 60) -> httpx.Response:
    return httpx.post(
        f"{tocsin.url}/intake/{consumer}",
        content=gzip.compress(body, 6),
        headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
        timeout=timeout,
        trust_env=False,
    )


class Asking(threading.Thread):
    """Asks /healthz again and again; how long the slowest answer took."""

    def __init__(self, tocsin: Tocsin) -> None:
        super().__init__(daemon=True)
        self.url, self.slowest, self.answers, self.enough = tocsin.url, 0.0, 0, threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not self.enough.wait(0.05):
                begun = time.monotonic()
                assert 200 == client.get("/healthz").status_code
                self.slowest, self.answers = max(self.slowest, time.monotonic() - begun), self.answers + 1


@pytest.mark.timeout(180)
def test_bodies_of_millions_are_refused_and_cost_little(attacked: Tocsin) -> None:
    """Three at a time: memory stays below 600 MiB, /healthz and small events are answered meanwhile, nothing is kept."""
    asking, feeding, watching = Asking(attacked), Feeding(attacked), Watching(attacked.pid)
    wrong, before = [], attacked.count("DeadLetters")
    for thread in (asking, feeding, watching):
        thread.start()
    with ThreadPoolExecutor(3) as pool:
        sent = [(name, pool.submit(post, attacked, body, consumer)) for name, (consumer, body) in BOMBS.items()]
        for name, future in sent:
            answer = future.result()
            if answer.status_code not in (400, 413) and not (answer.status_code == 202 and answer.json()["dead"] == 1):
                wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            elif answer.status_code != 202:
                assert "application/problem+json" == answer.headers["content-type"]
    for thread in (asking, feeding, watching):
        thread.enough.set()
        thread.join()
    assert [] == wrong
    assert RESIDENT > watching.peak, f"{watching.peak >> 20} MiB"
    assert [] == feeding.refused
    assert feeding.slowest < 5
    assert asking.slowest < 5
    assert asking.answers > 20
    assert 5 > attacked.count("DeadLetters") - before


def test_past_a_hundred_the_dead_are_one_letter_and_the_good_are_kept(attacked: Tocsin) -> None:
    """Over several commits, of whatever kind the dead are."""
    good = [event("1", RunId=f"good-{n}", Status="Running") | {"id": f"good-{n}"} for n in range(6000)]
    dead = [{"type": "tocsin.run.status", "data": {"Status": "Failed"}}] * 3000 + [1] * 4000 + ["\ud800"] * 7
    before = attacked.count("DeadLetters")
    answer = post(attacked, json.dumps([*good[:10], *dead, *good[10:]]).encode())
    assert 202 == answer.status_code, answer.text
    assert (6000, 7007) == (answer.json()["accepted"], answer.json()["dead"])
    assert 10 == len(answer.json()["dead_letters"])
    assert 6000 == attacked.count("RunStatusChanged | where RunId startswith 'good-'")
    assert 101 == attacked.count("DeadLetters") - before
    (further,) = attacked.query("DeadLetters | where Reason == 'further' | project Detail, Consumer")
    assert "6,907 more of this message could not be read" in further["Detail"]
    assert "not_an_event" in further["Detail"]
    counted = {k: v for k, v in attacked.metrics().items() if k.startswith("tocsin_intake_dead_letters_total")}
    assert 7007 <= sum(counted.values())
    done = attacked.run("dead-letters", "replay")
    assert "100 replayed" in done.stderr, done.stderr  # not the one that stands for the rest: it holds one of them


@pytest.mark.timeout(180)
def test_a_backfill_within_the_bound_is_accepted(attacked: Tocsin) -> None:
    """100,000 events in one body are stored in several commits, and nobody is asked to send them again."""
    lines = [
        f'{{"type":"tocsin.run.status","id":"{n}","source":"b","time":"2026-01-01T00:00:00Z","data":{{"RunId":"f{n}","Status":"Failed"}}}}'
        for n in range(100_000)
    ]
    feeding = Feeding(attacked)
    feeding.sent = 1_000_000  # its runs are others than before
    feeding.start()
    answer = post(attacked, "\n".join(lines).encode(), timeout=150)
    feeding.enough.set()
    feeding.join()
    assert 202 == answer.status_code, answer.text
    assert (100_000, 0) == (answer.json()["accepted"], answer.json()["dead"])
    assert 100_000 == attacked.count("RunStatusChanged | where Source == 'b'")
    assert [] == feeding.refused
    one_more = post(attacked, "\n".join([*lines, lines[0]]).encode())
    assert 413 == one_more.status_code
    assert "more than 100,000 events" in one_more.json()["detail"]


@pytest.mark.timeout(120)
def test_it_stops_within_ten_seconds_whatever_is_under_way(tmp_path: Path) -> None:
    """Bodies being decoded and stored, and one whose sender never goes on."""
    home = tmp_path / "home"
    home.mkdir()
    tocsin = Tocsin(program=PROGRAM, home=home)
    tocsin.start()

    def attack(n: int) -> None:
        body = (
            b"["
            + b",".join(
                b'{"type":"tocsin.run.status","data":{"RunId":"%d-%d","Status":"Failed"}}' % (n, i)
                for i in range(99_000)
            )
            + b"]"
        )
        try:
            post(tocsin, body)
        except httpx.TransportError:
            pass  # it went away

    def slow() -> Iterator[bytes]:
        yield b"[1"
        threading.Event().wait(30)

    def slowly() -> None:
        try:
            httpx.post(f"{tocsin.url}/intake/events", content=slow(), timeout=60, trust_env=False)
        except httpx.TransportError:
            pass  # it went away

    threads = [threading.Thread(target=attack, args=(n,), daemon=True) for n in range(4)]
    threads.append(threading.Thread(target=slowly, daemon=True))
    for thread in threads:
        thread.start()
    assert eventually(lambda: tocsin.metrics().get("tocsin_store_commit_seq", 0) > 0, 60)
    begun = time.monotonic()
    assert 0 == tocsin.stop()
    assert time.monotonic() - begun < 10
