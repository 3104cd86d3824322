"""Requests drawn from tocsin's own OpenAPI document, right and wrong ones: each answer is one that the document knows."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acceptance.harness import Tocsin
from tests.integration.lived import live
from tests.oracle.effort import examples
from tocsin.web.api import OPERATIONS
from tocsin.web.openapi import document

DOCUMENT: dict[str, Any] = document(OPERATIONS, "http://127.0.0.1")
ELSEWHERE = ("/api/v1/backup", "/api/v1/export")  # they write where a body says
ASKED = [
    (method, path, found)
    for path, methods in DOCUMENT["paths"].items()
    for method, found in methods.items()
    if path not in ELSEWHERE
]
WORDS = (
    "run-failed", "r1", "Failed", "RunStatusChanged | take 1", "Runs | where", "print datetime(9999-12-31) + 1d", "30d", "2026-01-05", "9999-12-31T23:59:59-23:59",
    "0001-01-01", "-1d", "1e99d", "ready", "text", "true", "1", "0", "-1", "1001", "99999999999999999999", "9" * 5000, "٣", "a/b", "..", "%00", "\x00", "😀", "é" * 300, "",
)  # fmt: skip
texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin with a little history, whatever becomes of it."""
    tocsin = live(tmp_path_factory.mktemp("fuzzed") / "home")
    yield tocsin
    tocsin.kill()


def of_schema(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a schema of the document, as a client that read it makes them."""
    if "$ref" in schema:
        return of_schema(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], depth + 1)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return st.one_of([of_schema(each, depth + 1) for each in schema[key]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([of_schema({**schema, "type": each}, depth + 1) for each in kind])
    match kind:
        case "object" if depth < 6 and schema.get("properties"):
            properties = {name: of_schema(inner, depth + 1) for name, inner in schema["properties"].items()}
            needed = {name: inner for name, inner in properties.items() if name in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional={n: i for n, i in properties.items() if n not in needed})
        case "array" if depth < 6:
            return st.lists(of_schema(schema.get("items", {}), depth + 1), max_size=3)
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return texts
    return anything


def said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(("method", "path", "found"), ASKED, ids=[f"{method} {path}" for method, path, _ in ASKED])
@settings(max_examples=examples(14), deadline=None)
@given(data=st.data())
def test_an_operation_answers_as_it_says(
    fuzzed: Tocsin, method: str, path: str, found: dict[str, Any], data: st.DataObject
) -> None:
    where, params = path, dict[str, str]()
    for parameter in found.get("parameters", ()):
        value = data.draw(of_schema(parameter["schema"]) | texts, label=parameter["name"])
        if parameter["in"] == "path":
            where = where.replace("{" + parameter["name"] + "}", quote(said(value), safe="") or "-")
        elif data.draw(st.booleans()):
            params[parameter["name"]] = said(value)
    content: bytes | None = None
    if "requestBody" in found:
        schema = found["requestBody"]["content"]["application/json"]["schema"]
        value = data.draw(of_schema(schema) | anything, label="body")
        content = data.draw(st.just(json.dumps(value).encode()) | st.binary(max_size=30), label="sent")
    with httpx.Client(base_url=fuzzed.url, timeout=60, trust_env=False) as client:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        answer = client.request(method, where, params=params, content=content, headers=headers)
    known = set(found["responses"]) | {"400", "404", "405"}
    assert str(answer.status_code) in known, (answer.status_code, answer.text[:300])
    assert answer.status_code < 500 or answer.status_code == 504, answer.text[:300]
    kind = answer.headers["content-type"].partition(";")[0]
    if answer.status_code >= 400:
        assert "application/problem+json" == kind
        assert answer.status_code == answer.json()["status"]
    elif kind == "application/json" and "application/json" in found["responses"][str(answer.status_code)]["content"]:
        schema = found["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": DOCUMENT["components"]})
