"""All attacks at once on one tocsin: a well-behaved producer's event still becomes a mail within 2 s, in less than 1 GiB."""

import gzip
import itertools
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Tocsin
from tests.servers.smtp import SmtpServer

GIB = 1 << 30
MAILED_WITHIN = 2.0
"""Seconds from the request of a well-behaved producer to the mail, at most, on a machine of which nobody else wants a core."""
BUSY = 3
"""How many times as long it may take where other tests run beside it."""
TOKEN = "a-long-token-for-everything"
EACH_SECOND = 1.0


def _nested(table: str, levels: int) -> str:
    query = table
    for _ in range(levels):
        query = f"{table} | join kind=inner ({query}) on RunId"
    return query


QUERIES = (
    _nested("Runs", 34),
    _nested("RunStatusChanged", 11) + " | count",
    "RunStatusChanged | extend k = 1 | join kind=inner (RunStatusChanged | extend k = 1) on k | summarize make_list(Message), make_list(Raw)",
    "RunStatusChanged | extend k = 1 | join kind=inner (RunStatusChanged | extend k = 1) on k | sort by Message, RunId1",
    "RunStatusChanged | summarize make_set(Message), dcount(RunId) by bin(TimeGenerated, 1ms), RunId, EventId, Message",
    "Runs | where RunId in (" + ", ".join(f"'{n}'" for n in range(2500)) + ")",
)
BOMBS = tuple(
    gzip.compress(body, 9, mtime=0)
    for body in (
        b"[" + b"1," * (4 << 20) + b"1]",
        b"[" + b"{}," * 90_000 + b"{}]",
        b"[" * (16 << 20),
        b"[" + b"1," * 90_000 + b"1]",
    )
)


@dataclass
class Attack:
    """What attackers do until they are stopped, each in threads of their own, and what they were answered."""

    tocsin: Tocsin
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, name: str, step: Callable[[httpx.Client, int], int | None], count: int) -> None:
        """Repeat ``step`` in ``count`` threads."""

        def repeat(first: int) -> None:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=self.tocsin.url, headers=headers, timeout=60, trust_env=False) as client:
                for n in itertools.count(first):
                    if self.ended.is_set():
                        return
                    with suppress(httpx.TransportError, OSError):
                        if (status := step(client, n)) is not None:
                            self.answers[name, status] += 1
                    self.ended.wait(0.01)

        for first in range(count):
            self.threads.append(threading.Thread(target=repeat, args=(first,), daemon=True))
            self.threads[-1].start()

    def end(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(60)


def bomb(client: httpx.Client, n: int) -> int:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return client.post("/intake/events", content=BOMBS[n % len(BOMBS)], headers=headers).status_code


def ask(client: httpx.Client, n: int) -> int:
    query = f"{QUERIES[n % len(QUERIES)]} | where 'asked' != '{n}'"
    return client.post("/api/v1/query", json={"query": query}).status_code


def come_in(client: httpx.Client, n: int) -> int:
    """Without a token; the file is gone meanwhile."""
    return httpx.get(client.base_url.join("/api/v1/runs"), trust_env=False, timeout=60).status_code


def long_head(client: httpx.Client, _: int) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), 10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        for _ in range(90):
            connection.sendall(b"x" * (1 << 20))


def lie_idle(client: httpx.Client, _: int) -> None:
    """A connection that says half a head, and is held."""
    held = socket.create_connection((client.base_url.host, client.base_url.port or 0), 10)
    held.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
    held.settimeout(5)
    with suppress(TimeoutError):
        held.recv(1000)
    held.close()


@pytest.mark.parametrize(
    ("seconds", "within"),
    [
        pytest.param(5, BUSY * MAILED_WITHIN, id="short"),
        pytest.param(300, MAILED_WITHIN, id="long", marks=pytest.mark.soak),
    ],
)
def test_a_well_behaved_producer_is_served_under_all_attacks_at_once(
    make_tocsin: MakeTocsin, smtp: SmtpServer, seconds: int, within: float
) -> None:
    """Bombs, hostile queries, endless heads, idle connections, and the tokens file deleted: its events become mails in
    time, in bounded memory; strangers stay out, and the store is never lost."""
    tocsin = make_tocsin(smtp=smtp)
    tokens = tocsin.write("tokens.yaml", f"tokens: [{{name: all, token: {TOKEN}, roles: [admin]}}]")
    tocsin.begin()
    tocsin.wait_ready()
    attack, most, late = Attack(tocsin), 0, {}
    with httpx.Client(
        base_url=tocsin.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
    ) as producer:

        def post(run: str, status: str) -> None:
            data = {"RunId": run, "Status": status, "ExperimentName": run, "Message": f"{run} broke {'x' * 500}"}
            event = {
                "specversion": "1.0",
                "type": "tocsin.run.status",
                "source": "good",
                "id": f"{run} {status}",
                "data": data,
            }
            answer = producer.post("/intake/events", json=event)
            assert 202 == answer.status_code, answer.text

        for n in range(50):
            post(f"before-{n}", "Running")
        attack.begin("bomb", bomb, 3)
        attack.begin("query", ask, 4)
        attack.begin("head", long_head, 2)
        attack.begin("idle", lie_idle, 40)
        attack.begin("stranger", come_in, 1)
        tokens.unlink()
        try:
            ends = time.monotonic() + seconds
            for n in itertools.count():
                if time.monotonic() >= ends:
                    break
                began = time.time()
                post(f"run-{n}", "Failed")
                (mail,) = [m for m in smtp.wait_for(n + 1, 30, to="ops@example.org") if f"run-{n} " in m.subject + " "]
                late[n] = mail.accepted_at - began
                most = max(
                    most, int(Path(f"/proc/{tocsin.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                )
                attack.ended.wait(EACH_SECOND)
        finally:
            attack.ended.set()
            tocsin.kill()  # what attackers wait for need not be waited for
            attack.end()
    print(f"mails after {max(late.values()):.2f} s at most, {most >> 20} MiB, {dict(attack.answers)}")
    assert not [status for (_, status) in attack.answers if status in (500, 502)]
    assert {401} == {status for (name, status) in attack.answers if name == "stranger"}
    assert "store_lost" not in tocsin.log.read_text()
    assert most < GIB
    assert max(late.values()) <= within, late
