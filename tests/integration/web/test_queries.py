"""Queries that anybody may send: what they may cost, and what another site's page may not make a browser ask."""

import time

import httpx
import pytest

from tests.acceptance.harness import Tocsin


def _nested(levels: int) -> str:
    query = "Runs"
    for _ in range(levels):
        query = f"Runs | join ({query}) on RunId"
    return query


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (_nested(34), "nested more than 12 deep"),
        ("Runs" + " | join Runs on RunId" * 59, "too large"),
        ("Runs" + " | join Runs on RunId" * 70, "reads tables more than 60 times"),
        ("Runs" + "".join(f" | extend a{n} = 1" for n in range(1000)), "more than 150 operators"),
        ("Runs" + " | where RunId in (Runs" * 20 + " | project RunId)" * 20, "nested more than 12 deep"),
        ("".join(f"let a{n} = a{n - 1} | join a{n - 1} on RunId; " if n else "let a0 = Runs; " for n in range(9)) + "a8",
         "reads tables more than 60 times"),
    ],
    ids=["nested", "wide", "many", "long", "in", "lets"],
)  # fmt: skip
def test_a_query_that_would_become_too_much_is_refused_at_once(lived: Tocsin, query: str, why: str) -> None:
    """34 nested joins (0.8 KB) took 3.4 s and a megabyte of SQL, a thousand extends (14 KB) over five minutes."""
    began = time.monotonic()
    answer = httpx.post(f"{lived.url}/api/v1/query", json={"query": query}, timeout=60, trust_env=False)
    assert 400 == answer.status_code
    assert why in answer.json()["detail"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_another_sites_page_runs_no_query(lived: Tocsin, headers: dict[str, str]) -> None:
    """A picture that points to /query would run what it likes. A person who follows a link sees the query, not run."""
    asked = {"kql": "print found = 600 * 7007"}
    with httpx.Client(base_url=lived.url, trust_env=False) as browser:
        refused = browser.get("/query", params=asked, headers=headers)
        assert 403 == refused.status_code
        assert "press Run" in refused.text and "600 * 7007" in refused.text
        assert "4204200" not in refused.text  # no number that the clock at the foot of the page could hold
        ours = browser.get("/query", params=asked, headers={"Sec-Fetch-Site": "same-origin"})
        assert (200, True) == (ours.status_code, "4204200" in ours.text)
        assert 200 == browser.get("/query", headers=headers).status_code
        assert 403 == browser.get("/query.csv", params=asked, headers=headers).status_code
        file = browser.get("/query.csv", params=asked)
        assert ("found\r\n4204200\r\n", True) == (file.text, file.headers["content-type"].startswith("text/csv"))
        assert 400 == browser.get("/query.csv", params={"kql": "Nothing"}).status_code


@pytest.mark.parametrize(
    "headers",
    [{"Host": "[::1"}, {"Host": "a:b:c"}, {"Host": "x:99999"}, {"Origin": "http://[::1"}, {"Origin": "http://x:port"}],
    ids=["open bracket", "two colons", "large port", "origin", "origin port"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/api/v1/runs", "/intake/events"])
def test_what_is_no_host_or_origin_is_a_bad_request(
    lived: Tocsin, guarded: Tocsin, path: str, headers: dict[str, str]
) -> None:
    """It was a 500, with and without tokens."""
    for tocsin in (lived, guarded):
        answer = httpx.post(f"{tocsin.url}{path}", headers=headers, content=b"{}", timeout=30, trust_env=False)
        assert (400, "application/problem+json") == (answer.status_code, answer.headers["content-type"])


@pytest.mark.parametrize(
    "query",
    ["print datetime(9999-12-31) + 1d", "print datetime(0001-01-01) - 1d", "print todatetime('infinity')", "print make_datetime(99999, 1, 1)",
     "print datetime_add('year', 100000, now())", "print startofweek(datetime(0001-01-01))"],
)  # fmt: skip
def test_a_datetime_beyond_the_calendar_is_a_wrong_query(lived: Tocsin, query: str) -> None:
    """It was a 500: DuckDB counts on where Python's calendar ends."""
    with httpx.Client(base_url=lived.url, trust_env=False) as client:
        answer = client.post("/api/v1/query", json={"query": query})
        assert (400, "outside the years 1 to 9999") == (answer.status_code, answer.json()["detail"][-27:])
        assert 200 == client.get("/query", params={"kql": query}).status_code


@pytest.mark.parametrize(
    ("since", "until"), [("9999-12-31T23:59:59-23:59", ""), ("0001-01-01T00:00:00+23:59", "2026-01-01")]
)
def test_a_range_beyond_the_calendar_is_a_bad_request(lived: Tocsin, since: str, until: str) -> None:
    asked = {"rule": "run-failed", "from": since, "to": until}
    answer = httpx.post(f"{lived.url}/api/v1/backtest", json=asked, timeout=60, trust_env=False)
    assert 400 == answer.status_code
    assert "is no time" in answer.json()["detail"]
