"""Runs by hour: each hour is there, also one in which nothing ended; durations are of completed runs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tocsin.app.views.intake import by_hour
from tocsin.web.sections.intake import plots_of

NOW = datetime(2026, 11, 29, 10, 20, tzinfo=UTC)


class Store:
    """A log store's table in a database of its own."""

    def __init__(self, rows: str) -> None:
        self._con = duckdb.connect()
        self._con.execute("SET TimeZone='UTC'")
        columns = "(TimeGenerated TIMESTAMP, Status VARCHAR, WillRetry BOOLEAN, DurationMs BIGINT)"
        self._con.execute(f"CREATE TABLE RunStatusChanged {columns}")
        self._con.execute(f"INSERT INTO RunStatusChanged VALUES {rows}")

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Any = None) -> pa.Table:
        return self._con.execute(sql, params).to_arrow_table()


STORE = Store("""
  ('2026-11-29 10:05', 'Failed', NULL, 1), ('2026-11-29 10:06', 'Failed', true, 1), ('2026-11-29 10:07', 'Running', NULL, 1),
  ('2026-11-29 08:00', 'Completed', NULL, 60000), ('2026-11-29 08:59', 'Completed', NULL, 180000),
  ('2026-11-29 08:30', 'Completed', NULL, NULL), ('2026-11-29 11:00', 'Failed', NULL, 1), ('2026-11-28 10:00', 'Failed', NULL, 1)
""")  # fmt: skip


def test_each_hour_is_there_and_a_retried_failure_does_not_count() -> None:
    rows = by_hour(STORE, NOW, 3)  # type: ignore[arg-type]
    assert [7, 8, 9, 10] == [row["hour"].hour for row in rows]
    assert [(0, 0, None, None), (0, 3, 60_000, 180_000), (0, 0, None, None), (1, 0, None, None)] == [
        (row["failed"], row["completed"], row["median"], row["p95"]) for row in rows
    ]


def test_plots_end_now_and_leave_out_what_was_not_measured() -> None:
    ended, minutes = plots_of(by_hour(STORE, NOW, 3))  # type: ignore[arg-type]
    assert ((-3.0, -2.0, -1.0, 0.0), (0.0, 0.0, 0.0, 1.0)) == (ended.curves[0].x, ended.curves[0].y)
    assert ((-2.0,), (1.0,)) == (minutes.curves[0].x, minutes.curves[0].y)
    assert 1 == len(plots_of(by_hour(STORE, NOW, 1)))  # type: ignore[arg-type]
