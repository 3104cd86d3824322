"""``rules backtest``: over the log store of a project directory, running or not."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tocsin.app.engine.watermarks import Notes, spans_of
from tocsin.clock import Clock
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import TocsinError
from tocsin.logstore.interface import LogReader
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.spec.rule import Rule

if TYPE_CHECKING:
    from tocsin.rules.backtest.run import Progress  # with its neighbours a tenth of a start's imports

_one = threading.Lock()


def run(
    reader: LogReader,
    rule: Rule,
    clock: Clock,
    notes: Notes,
    span: Span,
    *,
    as_if_live: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The backtest of ``rule``, as ``backtest.report.as_json`` gives it.

    ``notes`` know when consumers could not be reached. One at a time in a process. Raises NotYet, QueryError,
    StoreError, and TocsinError where one runs already.
    """
    from tocsin.rules.backtest.report import as_json
    from tocsin.rules.backtest.run import backtest

    if not _one.acquire(blocking=False):
        raise TocsinError("a backtest runs already; ask again when it is done")
    try:
        names = set(reader.select("SELECT DISTINCT Consumer FROM Runs WHERE Consumer <> ''").column(0).to_pylist())
        names |= kind_of(rule).consumers(rule)
        outages = {name: spans for name in names if (spans := spans_of(name, notes, clock.now()))}
        return as_json(
            backtest(rule, reader, span, clock=clock, as_if_live=as_if_live, progress=progress, outages=outages)
        )
    finally:
        _one.release()


def span_of(reader: LogReader, since: str, until: str, as_if_live: bool, now: datetime) -> Span:
    """From one moment to another (``moment_of``); '' is where history begins, and now. Raises StoreError, and
    TocsinError for what is no range.
    """
    begin = moment_of(since, now) if since else _first(reader, as_if_live, now)
    end = moment_of(until, now) if until else now
    if begin >= end:
        raise TocsinError(f"the range is empty: from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}")
    return Span(since=begin, until=end)


def moment_of(text: str, now: datetime) -> datetime:
    """``2026-01-05``, ``2026-01-05T12:00Z``, or how long ago: ``30d``. UTC where no zone is given. Raises
    TocsinError.
    """
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise TocsinError(f"'{text}' is no time; write 2026-01-05, 2026-01-05T12:00Z, or 30d for 30 days ago") from None


def _first(reader: LogReader, as_if_live: bool, now: datetime) -> datetime:
    """Where history begins."""
    column = "TimeGenerated" if as_if_live else "IngestedAt"
    found = reader.select(f"SELECT min({column}) FROM RunStatusChanged").column(0)[0].as_py()
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) else now.replace(hour=0, minute=0, second=0)
