"""docs/grafana.md: its queries, sent as the Infinity data source sends them, give the columns that they name."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import Tocsin

GUIDE = Path(__file__).parents[3] / "docs" / "grafana.md"
NUMBERED = {"timestamp": str, "string": str, "number": int | float}


def queries() -> list[dict[str, Any]]:
    """The query models of the guide."""
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)]


@pytest.fixture(scope="module")
def client(lived: Tocsin) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lived.url, timeout=60, trust_env=False) as made:
        yield made


def as_infinity(client: httpx.Client, query: dict[str, Any], at: datetime) -> httpx.Response:
    """A query as the plugin's backend sends it: macros replaced, parameters appended, the body raw."""
    macros = {
        "${__from}": str(int((at - timedelta(hours=1)).timestamp() * 1000)),
        "${__to}": str(int((at + timedelta(hours=1)).timestamp() * 1000)),
    }
    options = query["url_options"]
    return client.request(
        options["method"],
        query["url"].removeprefix("http://tocsin:8700"),
        params={each["key"]: macros.get(each["value"], each["value"]) for each in options["params"]},
        content=options["data"].encode(),
        headers={"Content-Type": options["body_content_type"], "Accept": "application/json;q=0.9,text/plain"},
    )


@pytest.mark.parametrize("query", queries(), ids=["table", "timeseries", "annotations"])
def test_a_query_of_the_guide_gives_its_columns(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = as_infinity(client, query, datetime.now(UTC))
    assert 200 == answer.status_code, answer.text
    rows = answer.json()[query["root_selector"]]
    assert rows
    for row in rows:
        for column in query["columns"]:
            value = row[column["selector"]]
            assert value is None or isinstance(value, NUMBERED[column["type"]]), column
    assert {} == {c["selector"]: 0 for c in query["columns"] if all(row[c["selector"]] is None for row in rows)}


def test_the_range_cuts(client: httpx.Client) -> None:
    """A range of yesterday has none of today's runs."""
    for query in queries():
        assert [] == as_infinity(client, query, datetime.now(UTC) - timedelta(days=1)).json()["rows"]


def test_a_dashboard_of_12_panels_waits_instead_of_being_refused(client: httpx.Client) -> None:
    slow = "range x from 1 to 200000 step 1 | count"

    def ask(_: int) -> int:
        return client.post("/api/v1/query", content=slow, headers={"Content-Type": "text/plain"}).status_code

    with ThreadPoolExecutor(12) as pool:
        assert [200] * 12 == list(pool.map(ask, range(12)))


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"from": "noon"}, "from: 'noon' is no time"),
        ({"to": "9" * 16}, "to: "),
        ({"timespan": "hours"}, "timespan: 'hours' is neither text nor seconds"),
        ({"since": "1d"}, "'since' is no parameter here"),
    ],
)
def test_a_wrong_parameter_is_named(client: httpx.Client, parameters: dict[str, str], fault: str) -> None:
    answer = client.post("/api/v1/query", params=parameters, json={"query": "Runs"})
    assert 400 == answer.status_code
    assert fault in answer.json()["detail"]


def test_a_fault_keeps_its_line_beside_a_range(client: httpx.Client) -> None:
    body = client.post("/api/v1/query", params={"from": "1d"}, json={"query": "Runs\n| where Nothing == 1"}).json()
    assert (2, 9) == (body["line"], body["column"])


def test_timespans_are_text_or_seconds(client: httpx.Client) -> None:
    kql = {"query": "print wait = 26h"}
    assert [{"wait": "1.02:00:00"}] == client.post("/api/v1/query", json=kql).json()["rows"]
    seconds = client.post("/api/v1/query", params={"timespan": "seconds"}, json=kql).json()
    assert [{"wait": 93_600.0}] == seconds["rows"]


def test_text_that_is_not_utf8_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/query", content=b"\xff", headers={"Content-Type": "text/plain"})
    assert 400 == answer.status_code
