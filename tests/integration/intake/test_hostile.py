"""500 requests made to hurt, to each way in: every one gets an answer that is no 5xx, and a good event after it is stored."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.data.make_hostile import COUNT, Hostile, made, read
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event

CONSUMERS = ("events", "event-grid", "github-actions", "airflow", "prefect")
MOST = 700 << 20
"""Bytes that the process may have in memory afterwards."""


@pytest.fixture(scope="module")
def hostile() -> list[Hostile]:
    return read()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    home = tmp_path_factory.mktemp("attacked") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("tocsin.yaml", "admin_email: [ops@example.org]")
    yield tocsin.start()
    tocsin.kill()


def sent(client: httpx.Client, consumer: str, each: Hostile) -> httpx.Response | None:
    """The answer; None where the connection is closed, since it was no HTTP."""
    try:
        return client.post(f"/intake/{consumer}", content=each.body, headers=each.headers)
    except (httpx.RemoteProtocolError, httpx.LocalProtocolError):
        return None


def test_the_corpus_is_what_its_script_makes(hostile: list[Hostile]) -> None:
    assert COUNT == len(hostile) == len({each.name for each in hostile})
    assert made() == hostile


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_nothing_sent_breaks_anything(attacked: Tocsin, hostile: list[Hostile], consumer: str) -> None:
    statuses: Counter[int] = Counter()
    refused = {}
    chosen = hostile if consumer == "events" else hostile[:: len(CONSUMERS)]
    with httpx.Client(base_url=attacked.url, timeout=60, trust_env=False) as client, ThreadPoolExecutor(8) as threads:
        for each, answer in zip(chosen, threads.map(lambda one: sent(client, consumer, one), chosen), strict=True):
            statuses[answer.status_code if answer is not None else 400] += 1
            if answer is not None and answer.status_code >= 500:
                refused[each.name] = answer.text
            elif answer is not None and answer.status_code == 202:
                assert {"accepted", "dead"} <= answer.json().keys(), each.name
        assert {} == refused
        assert {202, 400} <= statuses.keys() <= {202, 400, 413, 415, 431}, statuses
        good = client.post(
            "/intake/events", json=event(str(CONSUMERS.index(consumer)), RunId=f"good {consumer}", Status="Running")
        )
        assert (202, 1) == (good.status_code, good.json()["accepted"])
        assert 200 == client.get("/readyz").status_code
    assert 1 == attacked.count(f"Runs | where RunId == 'good {consumer}'")


def test_what_came_of_it_is_read_by_pages_and_queries(attacked: Tocsin) -> None:
    """And the log says nothing of what broke, since nothing did."""
    with httpx.Client(base_url=attacked.url, timeout=60, trust_env=False) as client:
        for path in (
            "/",
            "/runs",
            "/runs?limit=1000",
            "/alerts",
            "/notifications",
            "/rules",
            "/api/v1/runs?limit=1000",
            "/api/v1/dead-letters?limit=1000",
        ):
            assert 200 == client.get(path, headers={"Accept": "text/html"}).status_code, path
        for run in client.get("/api/v1/runs?limit=1000").json()["runs"]:
            if len(run["RunId"]) > 2_000:  # no address holds it
                continue
            page = client.get(f"/runs/{quote(run['RunId'], safe='')}")
            assert page.status_code in (200, 404, 431), run["RunId"][:100]
    for table in ("RunStatusChanged", "Runs", "DeadLetters", "Heartbeats"):
        attacked.query(f"{table} | take 10000")
    resident = int(Path(f"/proc/{attacked.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < MOST
    log = attacked.log.read_text()
    assert "Traceback" not in log
    assert all(
        line.isprintable() for line in log.splitlines()
    )  # nothing sent writes lines of its own, or moves a cursor
