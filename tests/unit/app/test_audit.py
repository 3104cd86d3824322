"""The audit trail costs a bounded amount, whoever fills it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tocsin.app.engine.audit import NEW, Audit
from tocsin.clock import ManualClock
from tocsin.model.active import AuditKind
from tocsin.state.sqlite import SqliteState

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def written(state: SqliteState) -> list[str]:
    return [f"{row.row['Kind']} {row.row['By']} {row.row['Text']}" for row in state.mirror_after(0, 10_000)]


def test_the_same_is_counted_and_a_minute_brings_few_new_ones(tmp_path: Path) -> None:
    """What came meanwhile is said with the next row; what people with a role do is always written."""
    clock = ManualClock(NOW)
    state = SqliteState.open(tmp_path / "state.sqlite", clock=clock)
    audit = Audit(state, clock)
    for _ in range(3):
        audit.note(AuditKind.QUERY, by="anna", via="api", text="Runs")
        audit.note(AuditKind.REPLAY, by="anna", via="api", text="all")
    audit.flush()
    assert ["query anna Runs", *["replay anna all"] * 3] == written(state)
    for n in range(5 * NEW):
        audit.note(AuditKind.REFUSED, by="", via="api", text=f"from 10.0.0.{n}")
    audit.flush()
    assert 4 + NEW - 1 == len(written(state))
    clock.advance(timedelta(hours=1))
    audit.note(AuditKind.QUERY, by="anna", via="api", text="Runs")
    audit.note(AuditKind.LOGIN, by="anna", via="page", text="x" * 10_000)
    audit.flush()
    *_, beyond, again, login = written(state)
    assert f"refused  {4 * NEW + 1} logins, refusals and queries more" in beyond
    assert "query anna Runs (2 times more since the last row)" == again
    assert len(login) < 5000
    state.close()
