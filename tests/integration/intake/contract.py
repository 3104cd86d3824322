"""What every connector promises; a connector's tests only say how to deliver to it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.integration.intake.behind import Behind
from tests.servers.eventually import eventually
from tocsin.errors import StoreFull, StoreLost
from tocsin.model.event import Batch

Deliver = Callable[[Sequence[bytes]], None]


def event(run: str, status: str = "Running", **more: Any) -> bytes:
    """A canonical event."""
    given = {"id": f"{run}-{status}", "source": "s", "time": "2026-11-23T12:00:00Z", **more}
    return json.dumps({"type": "tocsin.run.status", "data": {"RunId": run, "Status": status}, **given}).encode()


BEAT = b'{"type": "tocsin.run.heartbeat", "source": "s", "data": {"RunId": "r1", "Progress": 0.5}}'


class ConnectorContract:
    """Fixture ``deliver`` hands messages over as a sender would, and again where it is notified to."""

    def test_a_message_is_a_row_once(self, behind: Behind, deliver: Deliver) -> None:
        """Delivered twice it is still one."""
        deliver([event("r1"), event("r1"), event("r2", "Failed")])
        eventually(lambda: behind.count() == 2)
        deliver([event("r1"), event("r3")])
        eventually(lambda: behind.count() == 3)
        assert ["r1", "r2", "r3"] == [row["RunId"] for row in behind.rows()]

    def test_a_bad_message_harms_nobody(self, behind: Behind, deliver: Deliver) -> None:
        """It is a dead letter with its reason, and its neighbours are rows."""
        bad = [
            b'{"type": "tocsin.run.status", "data": {"Status": "Running"}}',
            b'{"type": "other", "data": {}}',
            b'{"type": "tocsin.run.status", "data": {"RunId": "x", "Status": NaN}}',
            b'{"type": "tocsin.run.status", "data": {"RunId": "\\ud800", "Status": "Failed"}}',
            b'{"data": ' + b"[" * 64 + b"]" * 64 + b"}",
        ]
        deliver([event("r1"), *bad, event("r2")])
        eventually(lambda: (behind.count(), behind.count("DeadLetters")) == (2, 5))
        reasons = sorted(letter["Reason"] for letter in behind.rows("DeadLetters", '"Time"'))
        assert ["bad_number", "bad_string", "no_run_id", "not_an_event", "too_deep"] == reasons

    def test_heartbeats_are_no_status_changes(self, behind: Behind, deliver: Deliver) -> None:
        """They go to a table of their own."""
        deliver([BEAT, event("r2")])
        eventually(lambda: (behind.count(), behind.count("Heartbeats")) == (1, 1))

    def test_a_word_that_nobody_knows_is_kept(self, behind: Behind, deliver: Deliver) -> None:
        """As Unknown, with the producer's own."""
        deliver([event("r1", "Exploded")])
        eventually(lambda: behind.count() == 1)
        assert [("Unknown", "Exploded")] == [(row["Status"], row["OriginalStatus"]) for row in behind.rows()]

    def test_a_failing_store_loses_nothing(self, behind: Behind, deliver: Deliver) -> None:
        """Full, then lost: what was not confirmed comes again, and once."""
        append, troubles = behind.store.append, [StoreFull("below the reserve"), StoreLost("gone")]

        def failing(batches: Sequence[Batch]) -> Any:
            if troubles and any(b.messages for b in batches):
                raise troubles.pop(0)
            return append(batches)

        behind.store.append = failing  # type: ignore[method-assign]
        deliver([event(f"r{n}") for n in range(20)])
        eventually(lambda: not troubles and not behind.writer.failures and behind.count() == 20, 30)
        assert sorted(f"r{n}" for n in range(20)) == [row["RunId"] for row in behind.rows("RunStatusChanged", "RunId")]
