"""A long run: events, queries, pages, reloads and mails, in which memory, handles, threads and files level off."""

import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import RUN_FAILED, Tocsin
from tests.servers.eventually import eventually
from tests.servers.smtp import SmtpServer

EVENTS_A_SECOND = 200
AT_ONCE = 20  # events of a body
FAILS = 100  # one of so many runs
LOOKS = 60  # over the whole run
GROWS = 1.1
"""How much more the second half of a run may take at most than its first, the first fifth aside."""
SPREAD = 3
"""Handles, threads and files that come and go."""
CHECKPOINTS = {"checkpoint_threshold": "16MiB"}
"""Rows are held in memory until the write-ahead log is written into the file: by default, 128 MiB, only once in ten minutes."""
QUERIES = (
    "Runs | summarize n = count() by Status",
    "RunStatusChanged | where TimeGenerated > ago(1m) | summarize n = count() by bin(TimeGenerated, 10s), Status",
    "Runs | join kind=inner (RunStatusChanged | where Status == 'Failed') on RunId | take 10 | project RunId, Message",
    "Alerts | summarize n = count() by To",
    "RunStatusChanged | where Message has 'broke' | top 5 by TimeGenerated",
)
PAGES = ("/", "/runs", "/alerts", "/notifications", "/charts", "/metrics", "/api/v1/runs?limit=100")


@dataclass(frozen=True, slots=True)
class Taken:
    """What the process takes at one moment."""

    mib: int
    handles: int
    threads: int
    files: int  # of the project directory

    @classmethod
    def by(cls, tocsin: Tocsin) -> "Taken":
        process = Path(f"/proc/{tocsin.pid}")
        pages = int((process / "statm").read_text().split()[1])
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE") >> 20,
            len(list((process / "fd").iterdir())),
            len(list((process / "task").iterdir())),
            sum(1 for _ in tocsin.home.rglob("*")),
        )


def most(looks: list[Taken]) -> Taken:
    return Taken(*map(max, zip(*map(astuple, looks), strict=True)))


def body(number: int) -> list[dict[str, object]]:
    """Events of the runs that begin with this body, and of those that began with the last one and end."""
    at_once, at = AT_ONCE // 2, datetime.now(UTC).isoformat()
    running = [("Running", number * at_once + n) for n in range(at_once)]
    ended = [("Completed" if run % FAILS else "Failed", run) for _, run in running]
    return [
        {
            "specversion": "1.0", "type": "tocsin.run.status", "source": "long", "id": f"{run} {status}", "time": at,
            "data": {"RunId": f"run-{run}", "Status": status, "ExperimentName": f"e{run % 50}", "Message": f"{run} broke " + "x" * 300},
        }
        for status, run in running + ended
    ]  # fmt: skip


@pytest.mark.parametrize(
    "seconds", [pytest.param(n, id=name, marks=pytest.mark.soak) for n, name in ((600, "minutes"), (3600, "hour"))]
)
def test_what_it_takes_levels_off(make_tocsin: MakeTocsin, smtp: SmtpServer, seconds: int) -> None:
    """Every event is stored, each failure mailed once; the second half of the run takes no more than its first."""
    tocsin = make_tocsin(smtp=smtp, store=CHECKPOINTS).start()
    over, faults = threading.Event(), list[str]()

    def each(pause: float, step: Callable[[httpx.Client, int], httpx.Response | None]) -> threading.Thread:
        def repeat() -> None:
            with httpx.Client(base_url=tocsin.url, timeout=60, trust_env=False) as client:
                due = time.monotonic()
                for n in itertools.count():
                    answer = step(client, n)
                    if answer is not None and answer.status_code not in (200, 202):
                        faults.append(f"{answer.request.url}: {answer.status_code} {answer.text[:200]}")
                    due += pause
                    if over.wait(max(0.0, due - time.monotonic())):
                        return

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        return thread

    sent: list[int] = []

    def post(client: httpx.Client, n: int) -> httpx.Response:
        answer = client.post("/intake/events", json=body(n))
        sent.append(n)
        return answer

    def reload(client: httpx.Client, n: int) -> None:
        tocsin.write("rules/alerts/rules.yaml", f"{RUN_FAILED}# {n}\n")
        tocsin.write(
            "rules/alerts/rate.yaml",
            "rules:\n  - name: rate\n    query: RunStatusChanged | summarize n = count() by ExperimentName\n"
            f"    over: 1m\n    every: 10s\n    condition: n > {10**6 + n}\n",
        )

    threads = [
        each(AT_ONCE / EVENTS_A_SECOND, post),
        each(0.5, lambda client, n: client.post("/api/v1/query", json={"query": QUERIES[n % len(QUERIES)]})),
        each(2.0, lambda client, n: client.get(PAGES[n % len(PAGES)], headers={"Accept": "text/html"})),
        each(5.0, reload),
    ]
    looks: list[Taken] = []
    for _ in range(LOOKS):
        over.wait(seconds / LOOKS)
        looks.append(Taken.by(tocsin))
    over.set()
    for thread in threads:
        thread.join(60)
    before, after = most(looks[LOOKS // 5 : 3 * LOOKS // 5]), most(looks[3 * LOOKS // 5 :])
    print(
        f"{len(sent) * AT_ONCE} events in {seconds} s, at most before and after: {before}, {after}; {[t.mib for t in looks]}"
    )
    assert not faults, faults[:5]
    failed = -(-len(sent) * (AT_ONCE // 2) // FAILS)
    smtp.wait_for(failed, 60, to="ops@example.org")
    tocsin.idle()
    assert failed == len(smtp.messages(to="ops@example.org"))
    assert len(sent) * AT_ONCE == tocsin.count("RunStatusChanged")
    assert eventually(lambda: tocsin.metrics()["tocsin_config_last_reload_successful"] == 1, 10)
    assert after.mib <= GROWS * before.mib, (before, after)
    assert after.handles <= before.handles + SPREAD, (before, after)
    assert after.threads <= before.threads + SPREAD, (before, after)
    assert after.files <= before.files + SPREAD, (before, after)


def test_queries_keep_no_checkpoint_off(make_tocsin: MakeTocsin) -> None:
    """What counts DuckDB's memory left its answer open: from the first query on the write-ahead log only grew."""
    most = 1 << 20
    tocsin = make_tocsin(store={"checkpoint_threshold": f"{most >> 10}KiB"}).start()
    log = tocsin.home / "data" / "events.duckdb.wal"
    largest = 0
    with httpx.Client(base_url=tocsin.url, timeout=60, trust_env=False) as client:
        for n in range(100):
            assert 202 == client.post("/intake/events", json=body(n)).status_code
            assert 200 == client.post("/api/v1/query", json={"query": QUERIES[n % len(QUERIES)]}).status_code
            largest = max(largest, log.stat().st_size if log.exists() else 0)
    assert largest > most // 4  # there was something to write, which an idle store does
    eventually(lambda: not log.exists() or log.stat().st_size < most // 4)
