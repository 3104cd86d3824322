"""Inline tests of consumer files, run by what runs in production: decode, then a log store in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tocsin.clock import ManualClock
from tocsin.config.yaml.document import resolved
from tocsin.intake.consumer import Consumer, Message, compile_consumer, read_consumer
from tocsin.intake.files import ConsumerTest
from tocsin.intake.formats import write
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.calendars.times import read_time
from tocsin.model.columns import HEARTBEATS, RUN_STATUS_CHANGED, Column, KqlType
from tocsin.model.event import Batch, Receipt

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When the payloads of tests are received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What became of one inline test; ``text`` says what differs, '' where it passed."""

    __test__ = False  # for pytest

    file: str
    line: int
    consumer: str
    name: str
    text: str

    @property
    def passed(self) -> bool:
        """Whether it came out as written."""
        return not self.text


def run_consumer_tests(
    files: Iterable[Path], shown: Mapping[Path, str] | None = None, shipped: Mapping[str, Path] | None = None
) -> list[TestResult]:
    """Run every test of ``files``, called as ``shown`` says and laid over ``shipped``. Raises ContentError for a file that is broken."""
    results: list[TestResult] = []
    with _Bench() as bench:
        for path in files:
            called = (shown or {}).get(path, str(path))
            document, file = read_consumer(path, called, shipped)
            consumer = compile_consumer(path.stem, file, called)
            for i, test in enumerate(file.tests):
                results.append(
                    TestResult(
                        file=called,
                        line=document.line(("tests", i)),
                        consumer=path.stem,
                        name=test.name or f"test {i + 1}",
                        text=bench.run(consumer, test),
                    )
                )
    return results


class _Bench:
    """A log store in memory, recreated where a test's events are those of an earlier one."""

    def __init__(self) -> None:
        self._store: DuckLogStore | None = None

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def run(self, consumer: Consumer, test: ConsumerTest) -> str:
        payload = test.payload if isinstance(test.payload, str) else write(resolved(test.payload)).decode()
        decoded = consumer.decode([Message(payload=payload.encode("utf-8"))], NOW)
        receipt, rows, beats = self._store_it(decoded.batch())
        if receipt.duplicate and len(rows) < len(test.rows):
            self._close()
            receipt, rows, beats = self._store_it(decoded.batch())
        found = [d.reason.value for d in receipt.dead]
        wanted = [d.reason for d in test.dead]
        faults = [
            *_differences("row", test.rows, rows, RUN_STATUS_CHANGED),
            *_differences("heartbeat", test.heartbeats, beats, HEARTBEATS),
        ]
        if found != wanted:
            details = "".join(f"\n  {d.reason}: {d.detail}" for d in receipt.dead)
            faults.append(f"dead letters: expected {wanted or 'none'}, got {found or 'none'}{details}")
        if decoded.filtered != test.filtered:
            faults.append(f"filtered: expected {test.filtered}, got {decoded.filtered}")
        return "\n".join(faults)

    def _store_it(self, batch: Batch) -> tuple[Receipt, list[dict[str, Any]], list[dict[str, Any]]]:
        if self._store is None:
            self._store = DuckLogStore.open(None, clock=ManualClock(NOW))
        commit = self._store.append([batch])
        params = {"seq": commit.seq if commit.seq is not None else -1}
        rows = self._store.select("SELECT * FROM RunStatusChanged WHERE CommitSeq = $seq", params).to_pylist()
        beats = self._store.select("SELECT * FROM Heartbeats WHERE CommitSeq = $seq", params).to_pylist()
        return commit.receipts[0], rows, beats


def _differences(
    what: str, expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> Iterable[str]:
    """Each expected row takes the row that differs least from it; what differs, is missing or left over is said."""
    types = {c.name: c.type for c in columns}
    left = [{name: _comparable(types[name], value) for name, value in row.items() if name in types} for row in rows]
    for number, wanted in enumerate(expected, 1):
        want = {name: _comparable(types[name], resolved(value)) for name, value in wanted.items()}
        if not left:
            yield f"{what} {number} did not come: {dict(wanted)}"
            continue
        best = min(left, key=lambda row: sum(row.get(name) != value for name, value in want.items()))
        left.remove(best)
        for name, value in want.items():
            if best.get(name) != value:
                yield f"{what} {number}, {name}: expected {_shown(value)}, got {_shown(best.get(name))}"
    for row in left:
        brief = {
            n: v for n, v in row.items() if n in ("EventId", "RunId", "Status", "Progress") and v not in (None, "")
        }
        yield f"a {what} that was not expected: {brief}"


def _comparable(kind: KqlType, value: Any) -> Any:
    if value is None:
        return None
    if kind is KqlType.DATETIME:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value
        try:
            return read_time(value)
        except ValueError:
            return value
    if kind is KqlType.DYNAMIC and isinstance(value, str):
        return json.loads(value)
    if kind is KqlType.STRING and not isinstance(value, str):
        return write(value).decode()
    return value


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
