"""What programs get: JSON that any reader takes, times in UTC, problems that say what would be right."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from starlette.types import Message

from tocsin.web.answers import encode, problem, rows_answer
from tocsin.web.ports import ColumnInfo


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 5, 12), '"2026-01-05T12:00:00Z"'),
        (datetime(2026, 1, 5, 12, 0, 0, 1, tzinfo=UTC), '"2026-01-05T12:00:00.000001Z"'),
        (datetime(2026, 1, 5, 12, tzinfo=timezone(timedelta(hours=2))), '"2026-01-05T10:00:00Z"'),
        (date(2026, 1, 5), '"2026-01-05"'),
        (float("nan"), "null"),
        (float("inf"), "null"),
        (Decimal("1.5"), "1.5"),
        (2**60, "1152921504606846976"),
        (b"\x00\xff", '"AP8="'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({"a": [None, True, (1, 2)]}, '{"a":[null,true,[1,2]]}'),
        ("\u2028</script>ő", '"\u2028</script>ő"'),
    ],
)
def test_values_are_json_of_one_form(value: Any, text: str) -> None:
    assert text == encode(value).decode()


def sent(response: Any) -> tuple[list[bytes], Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    asyncio.run(response({"type": "http", "method": "GET", "headers": []}, receive, send))
    return [m["body"] for m in messages if m["type"] == "http.response.body" and m["body"]], messages[0]


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 1000])
def test_rows_are_streamed_and_whole(count: int) -> None:
    """Whatever the number, the pieces are one JSON text; a large answer comes in several."""
    columns: list[ColumnInfo] = [{"name": "n", "type": "long"}]
    rows = [{"n": i} for i in range(count)]
    pieces, _ = sent(rows_answer(columns, rows))
    assert {"columns": columns, "rows": rows} == json.loads(b"".join(pieces))
    assert len(pieces) >= 2 + count // 200


def test_a_problem_is_rfc_9457() -> None:
    response = problem(400, "The query is wrong", "unknown column", line=1, column=7)
    assert "application/problem+json" == response.headers["content-type"]
    assert {
        "type": "about:blank", "title": "The query is wrong", "status": 400, "detail": "unknown column", "line": 1, "column": 7,
    } == json.loads(bytes(response.body))  # fmt: skip
