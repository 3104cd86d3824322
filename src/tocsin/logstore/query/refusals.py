"""DuckDB's refusals in our words: a query's author knows KQL's types, not the casts and overloads of the SQL it
becomes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tocsin.errors import QueryError
from tocsin.model.columns import as_kql

_CLASS = re.compile(r"^(?:[A-Z][A-Za-z ]*(?:Error|Exception): )+")
_CONVERT = "convert one: tostring(…), tolong(…), todatetime(…), …"
_Made = Callable[[re.Match[str]], tuple[str, str]]


def refusal(message: str, sql: str = "", skipped: int = 0) -> QueryError:
    """What DuckDB's ``message`` says of a query. ``sql``: the author's own, where it is SQL, after ``skipped``
    characters of ours: then names of functions are the author's, and the place is known.
    """
    said, offset = _said(message)
    line, column = (0, 0)
    if sql and offset >= skipped:
        before = sql[: offset - skipped]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    for pattern, make in _PATTERNS:
        if match := pattern.search(said):
            text, hint = make(match)
            hint = hint.replace(_CONVERT, "convert one: CAST(… AS …)") if sql else hint
            if sql and "f" in match.groupdict():
                text = f"{match['f']} does not take {_kinds(match['types'])}"
            return QueryError(text, line=line, column=column, hint=hint)
    if sql or message.startswith("Invalid Input Error: "):  # what error() raises, in our macros too, is said so
        return QueryError(" ".join(said.split("\n")[0].split()), line=line, column=column)
    return QueryError(
        "tocsin cannot run this query", hint="simplify its expressions, and convert values where types differ"
    )


def _said(message: str) -> tuple[str, int]:
    """DuckDB's message without its class, the echoed SQL and its candidates; and the place in the SQL, -1 where none
    is said.
    """
    text = _CLASS.sub("", message.strip())
    offset = -1
    if text.startswith("{"):
        try:
            known: dict[str, Any] = json.loads(text)
        except ValueError:
            known = {}
        text = str(known.get("exception_message", text))
        offset = int(known.get("position", -1))
    return _CLASS.sub("", text.split("\n\nLINE ")[0].split("\nCandidate")[0].split("\n\tCandidate")[0].strip()), offset


def _kind(name: str) -> str:
    word = name.strip().removesuffix("_LITERAL").strip()
    return {"STRING": "string", "INTEGER": "long", "INT32": "int", "INT64": "long", '"NULL"': "null"}.get(
        word, as_kql(word)
    )


def _kinds(listed: str) -> str:
    """``VARCHAR, DECIMAL(2,1)`` as KQL's types."""
    bare = re.sub(r"\([^()]*\)", "", listed)
    return ", ".join(_kind(each) for each in bare.split(",") if each.strip()) or "nothing"


def _types(match: re.Match[str]) -> tuple[str, str]:
    return f"a function or operator gets values that it does not take: {_kinds(match['types'])}", _CONVERT


def _two(text: str) -> _Made:
    return lambda match: (text.format(_kind(match["a"]), _kind(match["b"])), _CONVERT)


_PATTERNS: tuple[tuple[re.Pattern[str], _Made], ...] = tuple(
    (re.compile(pattern, re.DOTALL), make)
    for pattern, make in (
        (r"Cannot compare values of type (?P<a>.+?) and (?:of )?(?:type )?(?P<b>.+?) - an", _two("a {} cannot be compared with a {}")),
        (r"Cannot mix values of type (?P<a>.+?) and (?P<b>.+?) in ", _two("a {} and a {} stand where values have one type")),
        (r"argument types '(?P<f>.+?)\((?P<types>.*)\)'", _types),
        (r"best candidate function for the function call \"(?P<f>.+?)\((?P<types>.*)\)\"", _types),
        (
            r"Could not convert string '(?P<v>.*?)' to '?(?P<a>\w+)",
            lambda m: (f"'{m['v']}' is no {_kind(m['a'])}", _CONVERT),
        ),
        (
            r"invalid (?P<a>timestamp|date|interval)[^\"]*\"(?P<v>.*?)\"",
            lambda m: (f"'{m['v']}' is no {_kind(m['a'].upper())}", "write for example 2026-01-31T12:00:00Z"),
        ),
        (
            r"Could not convert string '(?P<v>.*?)' to INTERVAL",
            lambda m: (f"'{m['v']}' is no timespan", "write for example 5m"),
        ),
        (r"[Uu]nimplemented type for cast \((?P<a>.+?) -> (?P<b>.+?)\)", _two("a {} cannot become a {}")),
        (r"Malformed JSON", lambda m: ("a text is no JSON", "tolong(), tostring() and parse_json() take any text")),
        (r"Overflow|out of range|Out of Range", lambda m: ("a number becomes too large", "todouble(…) holds larger ones")),
        (r"[Dd]ivision by zero", lambda m: ("a division by zero", "divide where the divisor is not 0: iff(n != 0, a / n, 0)")),
        (r"Table with name (?P<c>\S+) does not exist", lambda m: (f"there is no table '{m['c']}'", "")),
        (
            r"Referenced column \"(?P<c>.+?)\" not found",
            lambda m: (f"there is no column '{m['c']}' here", ""),
        ),
        (
            r"[Cc]olumn \"(?P<c>.+?)\" must appear in the GROUP BY",
            lambda m: (f"'{m['c']}' is neither in GROUP BY nor inside an aggregate", "add it to GROUP BY, or write max(…)"),
        ),
        (r"syntax error at or near \"(?P<c>.*?)\"", lambda m: (f"'{m['c']}' does not fit here", "")),
        (r"syntax error at end of input", lambda m: ("the query ends too early", "")),
    )
)  # fmt: skip
