"""Generated events for a rule: its tests' own, changed around the values that the rule names."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from tocsin.config.yaml.document import Plain
from tocsin.config.yaml.durations import format_duration, parse_duration
from tocsin.kql.tokens import TokenKind
from tocsin.model.columns import KqlType
from tocsin.model.statuses import STATUS_WORDS
from tocsin.rules.language import test_events as testevents
from tocsin.rules.language.schema import InlineTest, TestEvent
from tocsin.rules.testing.changes import tokens_of

Event = dict[str, Any]
MOST = 40
"""Most events of a story."""


class Stories:
    """Draws stories about one rule, always the same ones."""

    def __init__(self, entry: Mapping[str, Any], tests: Sequence[InlineTest]) -> None:
        self._random = random.Random(str(entry.get("name")))  # the same each time
        self._tests = tests
        self._lengths, self._words, self._numbers = [timedelta(minutes=1)], ["x"], [1.0]
        rest = {key: value for key, value in entry.items() if key != "tests"}
        for text in _texts(rest):
            for token in tokens_of(text):
                if token.kind is TokenKind.TIMESPAN:
                    self._length(token.text)
                elif token.kind is TokenKind.STRING:
                    self._words.append(token.text[1:-1])
                elif token.kind is TokenKind.NUMBER:
                    self._numbers.append(float(int(token.text, 16) if token.text[:2] in ("0x", "0X") else token.text))
            self._length(text)
        named = {token.text for text in _texts(rest) for token in tokens_of(text)}
        self._columns = sorted(named & set(testevents.TYPES) | {"ExperimentName", "RunId", "Attempt"})
        self._numbers += [n + by for n in self._numbers if n == int(n) for by in (-1, 1) if n + by > 0]
        self._named = sorted(STATUS_WORDS & {*named, *self._words})
        self._statuses = sorted({*self._named, "Failed", "Canceled", "Running"})

    @property
    def after(self) -> timedelta:
        """How long a story goes on after its last event."""
        return min(max(self._lengths) * 3 + timedelta(minutes=10), timedelta(days=2))

    def draw(self, count: int) -> Iterator[InlineTest]:
        """So many stories; fewer where some cannot be."""
        for _ in range(count):
            test = self._random.choice(self._tests) if self._tests and self._random.random() < 0.6 else None
            events = [written(event) for event in test.events] if test else [self._event() for _ in range(3)]
            for _ in range(self._random.randint(0, 4)):
                events = self._random.choice(self._edits)(self, events)[:MOST]
            if (story := test_of(events, test)) is not None:
                yield story

    def _length(self, text: str) -> None:
        try:
            length = parse_duration(text)
        except ValueError:
            return
        if length:
            self._lengths.append(length)

    def _event(self) -> Event:
        pick = self._random
        at = pick.choice(self._lengths) * pick.choice((0, 0.25, 0.5, 1))
        status = pick.choice(self._named if self._named and pick.random() < 0.6 else self._statuses)
        event = {"at": at, "RunId": f"r{pick.randint(1, 3)}", "Status": status}
        for column in self._columns:
            if column != "RunId" and pick.random() < 0.6:
                event = self._with(event, column)
        return event

    def _added(self, events: list[Event]) -> list[Event]:
        return [*events, self._event()]

    def _dropped(self, events: list[Event]) -> list[Event]:
        gone = self._random.randrange(len(events)) if events else 0
        return events[:gone] + events[gone + 1 :]

    def _moved(self, events: list[Event]) -> list[Event]:
        by = self._random.choice(self._lengths) * self._random.choice((-1, -0.6, -0.5, 0.4, 0.6, 1, 1.5))
        return self._one(events, lambda e: {**e, "at": max(e["at"] + by, timedelta(0))})

    def _copied(self, events: list[Event]) -> list[Event]:
        """Others of the same: as many as a threshold may want."""
        if not events:
            return events
        event, n = self._random.choice(events), self._random.choice([*self._numbers, 2, 3])
        run = str(event.get("RunId"))
        return [
            *events,
            *({**event, "RunId": f"{run}-{i}"} for i in range(int(min(n, 20)) + self._random.randint(-1, 1))),
        ]

    def _restated(self, events: list[Event]) -> list[Event]:
        return self._one(events, lambda e: {**e, "Status": self._random.choice(self._statuses)} if "Status" in e else e)

    def _retried(self, events: list[Event]) -> list[Event]:
        retry = self._random.choice((Plain("true"), None))
        return self._one(events, lambda e: {**e, "WillRetry": retry} if "Status" in e else e)

    def _measured(self, events: list[Event]) -> list[Event]:
        return self._one(
            events, lambda e: {**e, "metrics": dict.fromkeys(e["metrics"], self._number())} if "metrics" in e else e
        )

    def _set(self, events: list[Event]) -> list[Event]:
        """Another value in a column that the rule, or the event, names."""

        def put(event: Event) -> Event:
            own = [c for c in event if c in testevents.TYPES and c not in ("TimeGenerated", "EventId")]
            return self._with(event, self._random.choice([*self._columns, *own]))

        return self._one(events, put)

    def _with(self, event: Event, column: str) -> Event:
        kind = testevents.TYPES[column]
        if "Status" not in event or column == "Status":
            return event
        if kind is KqlType.STRING:
            return {**event, column: self._random.choice(self._words)}
        if kind in (KqlType.REAL, KqlType.LONG, KqlType.INT):
            return {**event, column: self._number(whole=kind is not KqlType.REAL)}
        return event

    def _number(self, *, whole: bool = False) -> Plain:
        number = self._random.choice(self._numbers) * self._random.choice((0.5, 0.95, 1, 1, 1, 1.05, 1.5))
        return Plain(round(number)) if whole else Plain(f"{number:g}")

    def _one(self, events: list[Event], change: Callable[[Event], Event]) -> list[Event]:
        at = self._random.randrange(len(events)) if events else -1
        return [change(event) if i == at else event for i, event in enumerate(events)]

    _edits = (_added, _dropped, _moved, _moved, _copied, _restated, _retried, _measured, _set, _set)


def written(event: TestEvent) -> Event:
    """An event as keys and values."""
    more = {"heartbeat": Plain("true")} if event.heartbeat else {"metrics": event.metrics} if event.metrics else {}
    return {"at": event.at, **more, **(event.model_extra or {})}


def test_of(events: Sequence[Event], like: InlineTest | None) -> InlineTest | None:
    """A test of ``events``, with start and tables as in ``like``. None where it would be refused."""
    rest = {"start": like.start, "tables": like.tables} if like else {}
    try:
        made = [TestEvent.model_validate(e) for e in sorted(events, key=lambda e: e["at"])]
        test = InlineTest.model_validate({"name": "story", "events": made, "expect": [{"at": "0s"}], **rest})
    except ValidationError:
        return None
    return None if any(True for event in test.events for _ in testevents.faults(event)) else test


def as_yaml(test: InlineTest) -> str:
    """``test`` as an entry of `tests:`."""
    lines = [f"- name: {json.dumps(test.name, ensure_ascii=False)}"]
    if test.start:
        lines.append(f"  start: {json.dumps(test.start.isoformat())}")
    if test.tables:
        lines.append(f"  tables: {_flow(test.tables)}")
    lines += [
        "  events:" + ("" if test.events else " []"),
        *(f"    - {_flow(written(event))}" for event in test.events),
    ]
    lines += ["  expect:"]
    lines += [f"    - {_flow(expect.model_dump(exclude_none=True))}" for expect in test.expect]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(Plain(key))}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Plain) and re.fullmatch(r"-?[\w.][\w.+-]*", value):
        return str(value)
    return json.dumps(str(value) if isinstance(value, str) else value, ensure_ascii=False, default=str)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(inner)
