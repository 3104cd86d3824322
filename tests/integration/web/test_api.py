"""The API does what its OpenAPI document says, for everything that the document says."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import HOSTILE, ODD_RUN
from tocsin.web.api import OPERATIONS

Schema = dict[str, Any]
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
def client(lived: Tocsin) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lived.url, timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Schema:
    found: Schema = client.get("/api/v1/openapi.json").json()
    return found


def mismatches(value: Any, schema: Schema, whole: Schema, at: str = "$") -> list[str]:
    """Where ``value`` is not what ``schema`` says; as much of JSON Schema as the document uses, and nothing unknown."""
    if "$ref" in schema:
        return mismatches(value, whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]], whole, at)
    known = {"type", "properties", "required", "items", "enum", "format", "description", "additionalProperties", "minimum",
             "maximum", "default", "maxLength"}  # fmt: skip
    assert set() == set(schema) - known, schema
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names: dict[str, Any] = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None),
    }  # fmt: skip
    if kinds and not any(
        isinstance(value, names[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds
    ):
        return [f"{at}: {value!r} is not {kinds}"]
    out = []
    if "enum" in schema and value not in schema["enum"]:
        out.append(f"{at}: {value!r} is not in {schema['enum']}")
    if schema.get("format") == "date-time" and value is not None and not UTC_TIME.fullmatch(value):
        out.append(f"{at}: {value!r} is not a UTC time")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        out += [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, inner in value.items():
            more = schema.get("additionalProperties", True)
            if name in properties:
                out += mismatches(inner, properties[name], whole, f"{at}.{name}")
            elif more is False:
                out.append(f"{at}.{name} is not in the document")
            elif isinstance(more, dict):
                out += mismatches(inner, more, whole, f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for i, inner in enumerate(value):
            out += mismatches(inner, schema["items"], whole, f"{at}[{i}]")
    return out


def operations() -> list[tuple[str, str]]:
    return [(op.method, op.path) for op in OPERATIONS]


def answered(client: httpx.Client, lived: Tocsin, method: str, path: str) -> httpx.Response:
    """The answer of an operation, with ids that exist."""
    mail = client.get("/api/v1/notifications?limit=1").json()["notifications"][0]["Delivery"]
    if path.startswith("/api/v1/alerts/{id}"):
        path = path.replace("{id}", client.get("/api/v1/alerts/active?limit=1").json()["alerts"][0]["AlertId"])
    silence = {"matchers": 'rule="no-such"', "to": "2099-01-01T00:00Z", "by": "anna", "comment": "test"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    silence["to"] = soon
    if path == "/api/v1/silences/{id}/expire":
        path = path.replace("{id}", client.post("/api/v1/silences", json=silence).json()["SilenceId"])
    wish = {"address": "anna@example.org", "matchers": 'ExperimentName="no-such"', "by": "anna"}
    if path == "/api/v1/subscriptions/{id}/end":
        path = path.replace("{id}", client.post("/api/v1/subscriptions", json=wish).json()["Id"])
    ids = {
        "/api/v1/notifications/{id}": mail,
        "/api/v1/rules/{name}": "run-failed",
        "/api/v1/runs/{id:path}": quote(ODD_RUN, safe=""),
    }
    for shape, id in ids.items():
        path = path.replace(shape, shape[: shape.index("{")] + id)
    bodies = {
        "/api/v1/query": {"query": "Runs | project RunId, StatusSince, Tags"},
        "/api/v1/dead-letters/replay": {"consumer": "nobody"},
        "/api/v1/backtest": {"rule": "run-failed", "from": "7d"},
        "/api/v1/backup": {"directory": str(lived.home.parent / "copy")},
        "/api/v1/export": {"directory": str(lived.home.parent / "tables"), "tables": ["Runs"]},
    }
    if path in ("/api/v1/backup", "/api/v1/export"):  # a command on this machine knows the token of this start
        word = json.loads((lived.home / "data" / "running.json").read_text())["token"]
        return client.post(path, json=bodies[path], headers={"Authorization": f"Bearer {word}"})
    bodies["/api/v1/alerts/acknowledge"] = {"ids": ["no-such"], "by": "anna"}
    bodies["/api/v1/pagerduty"] = {"event": {"event_type": "pagey.ping", "data": {"message": "hello"}, "agent": None}}
    acts = {"by": "anna", "until": soon, "to": "bela", "comment": "looking"}
    bodies |= {
        "/api/v1/subscriptions": wish,
        "/api/v1/silences": silence,
        "/api/v1/silences/preview": {"matchers": silence["matchers"]},
    }
    if method == "POST" and path not in bodies:
        return client.post(path, json=acts if "/alerts/" in path else None)
    return client.request(method, path, json=bodies[path]) if method == "POST" else client.request(method, path)


@pytest.mark.parametrize(("method", "path"), operations(), ids=lambda v: v)
def test_every_operation_answers_what_the_document_says(
    client: httpx.Client, lived: Tocsin, document: Schema, method: str, path: str
) -> None:
    answer = answered(client, lived, method, path)
    code = 400 if path.endswith("/cancel") else 200  # no run of this history is of a system that can be asked to
    assert code == answer.status_code, answer.text
    content = document["paths"][path.replace(":path", "")][method.lower()]["responses"][str(code)]["content"]
    (kind,) = content
    assert answer.headers["content-type"].startswith(kind)
    if kind == "application/json":
        assert [] == mismatches(answer.json(), content[kind]["schema"], document)


def test_the_document_has_every_route_and_no_other(document: Schema) -> None:
    assert {(m, p.replace(":path", "")) for m, p in operations()} == {
        (m.upper(), p) for p, methods in document["paths"].items() for m in methods
    }


def test_every_parameter_of_the_document_is_taken_and_no_other(client: httpx.Client, document: Schema) -> None:
    for path, methods in document["paths"].items():
        if "get" not in methods or "{" in path or not path.startswith("/api/"):
            continue
        for p in methods["get"]["parameters"]:
            schema = p["schema"]
            value = schema.get("default", schema.get("enum", ["x"])[0])
            value = str(value).lower() if isinstance(value, bool) else value
            assert 200 == client.get(path, params={p["name"]: value}).status_code, (path, p["name"])
        refused = client.get(path, params={"no_such": "x"})
        assert 400 == refused.status_code, path
        assert [] == mismatches(refused.json(), {"$ref": "#/components/schemas/Problem"}, document)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/alerts?limit=0", 400),
        ("GET", "/api/v1/alerts?limit=1001", 400),
        ("GET", "/api/v1/alerts?limit=x", 400),
        ("GET", "/api/v1/notifications?state=lost", 400),
        ("GET", "/api/v1/dead-letters?all=perhaps", 400),
        ("GET", "/api/v1/notifications/nothing", 404),
        ("GET", "/api/v1/notifications/nothing/eml", 404),
        ("GET", "/api/v1/runs/nothing", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/query", 405),
        ("DELETE", "/api/v1/alerts", 405),
        ("POST", "/api/v1/query", 400),
        ("POST", "/api/v1/backtest", 400),
    ],
)
def test_refusals_are_problems(client: httpx.Client, document: Schema, method: str, path: str, status: int) -> None:
    """Whatever the client accepts: an API answers programs, also when it refuses."""
    answer = client.request(method, path, headers={"Accept": "text/html"})
    assert status == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert [] == mismatches(answer.json(), {"$ref": "#/components/schemas/Problem"}, document)
    assert status == answer.json()["status"]


# -- queries -----------------------------------------------------------------------------------------------------------


def ask(client: httpx.Client, kql: str) -> httpx.Response:
    return client.post("/api/v1/query", json={"query": kql})


def test_a_query_answers_columns_with_types_and_rows(client: httpx.Client) -> None:
    answer = ask(
        client,
        "RunStatusChanged | where RunId == 'r1' | summarize n = count(), last_time = max(TimeGenerated) by ExperimentName",
    ).json()
    assert [("ExperimentName", "string"), ("n", "long"), ("last_time", "datetime")] == [
        (c["name"], c["type"]) for c in answer["columns"]
    ]
    (row,) = answer["rows"]
    assert ("churn", 3) == (row["ExperimentName"], row["n"])
    assert row["last_time"].endswith("Z")


def test_values_come_through_unharmed(client: httpx.Client) -> None:
    """JSON is JSON: markup, escapes, dynamic values are what was sent."""
    (row,) = ask(client, "Runs | where RunId == 'r1' | project Message, Tags, Url").json()["rows"]
    assert {"env": "<b>prod</b>"} == row["Tags"]
    assert "</td><script>alert(1)</script>" in row["Message"]
    assert HOSTILE.split("\x1b")[0] in row["Message"]


@pytest.mark.parametrize(
    "kql",
    [
        "Runs | where Nothing == 1",
        "Runs | | take 1",
        "",
        "NoTable",
        "duckdb_tables",
        "['/etc/passwd']",
        "Runs; drop table Runs",
    ],
)
def test_a_wrong_query_is_a_problem_and_reads_nothing(client: httpx.Client, kql: str) -> None:
    answer = ask(client, kql)
    assert 400 == answer.status_code
    assert answer.json()["detail"]
    assert "root:" not in answer.text


def test_a_fault_has_its_line_and_column(client: httpx.Client) -> None:
    body = ask(client, "Runs\n| where Nothing == 1").json()
    assert (2, 9) == (body["line"], body["column"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"query": 1}', b'{"query": "Runs", "more": 1}', b"\xff", b'{"kql": "Runs"}']
)
def test_a_body_that_is_no_query_says_so(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/v1/query", content=body)
    assert 400 == answer.status_code
    assert "the body is not what is asked for" in answer.json()["detail"]


# -- other things ------------------------------------------------------------------------------------------------------


def test_lists_are_cut_and_filtered(client: httpx.Client) -> None:
    assert ["r3"] == [r["RunId"] for r in client.get("/api/v1/runs?status=Completed").json()["runs"]]
    assert {"r1", "r3"} == {r["RunId"] for r in client.get("/api/v1/runs?experiment=churn").json()["runs"]}
    assert 1 == len(client.get("/api/v1/runs?limit=1").json()["runs"])
    assert {ODD_RUN} == {a["RunId"] for a in client.get("/api/v1/alerts", params={"run": ODD_RUN}).json()["alerts"]}
    assert ["anna@example.org"] == [
        m["Address"] for m in client.get("/api/v1/notifications?address=anna@example.org").json()["notifications"]
    ]
    assert [] == client.get("/api/v1/notifications?state=failed").json()["notifications"]


def test_a_run_has_its_events_in_order(client: httpx.Client) -> None:
    found = client.get("/api/v1/runs/r1").json()
    assert ["Queued", "Running", "Failed"] == [e["Status"] for e in found["events"]]
    assert ["run-failed"] == [a["Rule"] for a in found["alerts"]]


def test_a_dead_letter_shows_why(client: httpx.Client) -> None:
    (letter,) = client.get("/api/v1/dead-letters").json()["dead_letters"]
    assert ("events", "no_run_id", True) == (letter["Consumer"], letter["Reason"], letter["Whole"])
    assert '"Status"' in letter["Payload"]


def test_the_message_is_given_as_it_goes_out(client: httpx.Client) -> None:
    mail = client.get("/api/v1/notifications?limit=1").json()["notifications"][0]
    answer = client.get(f"/api/v1/notifications/{mail['Delivery']}/eml")
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert mail["MessageId"].encode() in answer.content
    assert b"\r\n\r\n" in answer.content


def test_metrics_are_prometheuss_text(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert 'tocsin_runs_status_changes_total{status="Failed"} 2.0' in answer.text
    assert 200 == client.head("/metrics").status_code
