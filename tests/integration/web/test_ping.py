"""Ping URLs: one curl makes a run event, in healthchecks.io's forms; the key in the path is a token."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.web.conftest import TOKENS
from tests.servers.eventually import eventually

KEY = TOKENS["producer"]
API = {"Authorization": f"Bearer {TOKENS['viewer']}"}


@pytest.fixture
def client(guarded: Tocsin) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=30, trust_env=False) as made:
        yield made


def events(client: httpx.Client, job: str) -> list[dict[str, Any]]:
    kql = f"RunStatusChanged | where JobKey == '{job}' | sort by TimeGenerated asc"
    found = client.post("/api/v1/query", json={"query": kql}, headers=API).json()["rows"]
    return list(found)


def ping(client: httpx.Client, path: str, **more: Any) -> None:
    answer = client.request("POST" if more.get("content") else "GET", f"/ping/{KEY}/{path}", **more)
    assert (200, "OK") == (answer.status_code, answer.text), answer.text


def test_a_start_and_its_end_are_one_run(client: httpx.Client) -> None:
    """Without `rid`; the next start is another run, also where the last one has not ended."""
    ping(client, "backup/start")
    ping(client, "backup", content=b"12 tables\ndone\n")
    ping(client, "backup/start")
    ping(client, "backup/start")
    ping(client, "backup/3", content=b"disk full")
    first, done, second, third, failed = events(client, "backup")
    assert first["RunId"] == done["RunId"] and third["RunId"] == failed["RunId"]
    assert 3 == len({first["RunId"], second["RunId"], third["RunId"]})
    assert ("Completed", "12 tables\ndone") == (done["Status"], done["LogTail"])
    assert ("Failed", "3", "exit status 3") == (failed["Status"], failed["ErrorCode"], failed["Message"])
    assert done["DurationMs"] is not None


def test_rid_pairs_what_overlaps(client: httpx.Client) -> None:
    for what in ("etl/start?rid=a", "etl/start?rid=b", "etl/fail?rid=a", "etl?rid=b"):
        ping(client, what)
    assert {("etl/a", "Running"), ("etl/a", "Failed"), ("etl/b", "Running"), ("etl/b", "Completed")} == {
        (e["RunId"], e["Status"]) for e in events(client, "etl")
    }


def test_an_end_alone_is_a_run_of_its_own_and_a_log_is_a_heartbeat(client: httpx.Client) -> None:
    ping(client, "alone/log")  # of nothing: accepted, as healthchecks.io does
    ping(client, "alone/0")
    ping(client, "alone/0")
    assert ["Completed", "Completed"] == [e["Status"] for e in events(client, "alone")]
    ping(client, "alone/start?rid=x")
    ping(client, "alone/log?rid=x")

    def beats() -> bool:
        rows = client.post(
            "/api/v1/query", json={"query": "Heartbeats | where RunId == 'alone/x'"}, headers=API
        ).json()["rows"]
        return len(rows) == 1

    eventually(beats, within=10)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ping/wrong/backup", 401),
        (f"/ping/{TOKENS['metrics']}/backup", 403),
        (f"/ping/{KEY}/backup/256", 404),
        (f"/ping/{KEY}/backup/finish", 404),
        (f"/ping/{KEY}/two words", 400),
        (f"/ping/{KEY}/backup?rid=a%20b", 400),
        (f"/ping/{KEY}", 404),
    ],
)
def test_what_is_no_ping_is_refused(client: httpx.Client, path: str, status: int) -> None:
    assert status == client.get(path).status_code


def test_a_page_of_another_site_pings_nothing(lived: Tocsin) -> None:
    """Without tokens the key is not looked at, and a browser of this machine could be made to fetch it."""
    with httpx.Client(base_url=lived.url, trust_env=False) as made:
        assert 403 == made.get("/ping/any/job/fail", headers={"Sec-Fetch-Site": "cross-site"}).status_code
