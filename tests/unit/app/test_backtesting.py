"""Backtests over the stores of a project directory."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tocsin.app.engine.watermarks import SourceOutages
from tocsin.app.views import backtest as backtesting
from tocsin.clock import ManualClock
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.base import Span
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_what_is_known_of_a_consumer_that_never_brought_anything_counts(tmp_path: Path) -> None:
    """What it alone may bring is missing only after it could be reached, as live."""
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: r, when: {absent: {status: Running}, cron: '0 * * * *', consumer: nightly}}]")
    clock = ManualClock(NOON + 5 * HOUR)
    notes = SqliteState.open(None, clock=clock)
    source_outages = SourceOutages("nightly", notes, NOON)
    source_outages.note(NOON + 3 * HOUR, NOON + 3 * HOUR)
    found = backtesting.run(
        DuckLogStore.open(None, clock=clock),
        load_rules([path], schema_with({}), names={path: "rules.yaml"}).rules["r"],
        clock,
        notes,
        Span(since=NOON, until=clock.now()),
    )
    assert ["2026-01-05T15:00:00Z"] == [alert["Time"] for alert in found["Alerts"]]
