"""How often a rule fired, notified and resolved: the numbers of `rules status`, pages and metrics are the same."""

from collections.abc import Mapping
from datetime import UTC, datetime

from tocsin.app.views.rules import _COUNTS
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.alert import Phase, Transition, Why
from tocsin.model.statuses import Severity

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def row(before: str, after: str, reason: str = "condition met", **more: object) -> Mapping[str, object]:
    return {
        "Time": "2026-01-05T12:00:00Z", "Rule": "r", "Instance": {}, "Occurrence": "", "From": before, "To": after,
        "Reason": reason, "Severity": "error", "Value": None, "Labels": {}, "RunId": "", "AlertId": "", "CommitSeq": 1,
        "T": "2026-01-05T12:00:00Z", **more,
    }  # fmt: skip


def test_status_and_metric_count_the_same_transitions() -> None:
    """Whatever the phases before and after are."""
    store = DuckLogStore.open(None, clock=ManualClock(NOON), reserve=0)
    pairs = [(before, after) for before in Phase for after in Phase]
    store.append_mirror(1, [row(b.value, a.value, Rule=f"{b}>{a}") for b, a in pairs], [])
    found = store.select(_COUNTS, {"rule": "", "limited": Why.RATE_LIMITED.value}).to_pylist()
    store.close()
    assert {f"{b}>{a}" for b, a in pairs if transition(b, a).begins} == {r["Rule"] for r in found if r["Fired"]}


def transition(before: Phase, after: Phase) -> Transition:
    return Transition(
        rule="r", instance={}, occurrence="", before=before, after=after, reason=Why.FIRST, severity=Severity.ERROR,
        commit_seq=1, at=NOON,
    )  # fmt: skip


def test_a_firing_is_counted_once_whatever_becomes_of_it() -> None:
    """Recovering and firing again, or getting worse, is the same alert; one beyond a limit fired and was not notified."""
    store = DuckLogStore.open(None, clock=ManualClock(NOON), reserve=0)
    life = (
        ["", "pending"],
        ["pending", "firing"],
        ["firing", "firing"],
        ["firing", "recovering"],
        ["recovering", "firing"],
    )
    rows = [row(*step) for step in (*life, ["firing", "recovering"], ["recovering", "resolved"])]
    rows += [row("", "fired"), row("", "fired", Why.RATE_LIMITED.value), row("", "expired"), row("", "fired", Rule="s")]
    store.append_mirror(1, rows, [])
    (found,) = store.select(_COUNTS, {"rule": "r", "limited": Why.RATE_LIMITED.value}).to_pylist()
    store.close()
    assert (3, 2, 1) == (found["Fired"], found["Notified"], found["Resolved"])
    assert found["LastFired"] is not None
