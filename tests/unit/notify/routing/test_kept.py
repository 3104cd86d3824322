"""What escalations, groups and addresses remember is kept as JSON and is the same after a restart."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from tests.oracle.oncall import utc
from tocsin.notify.oncall.escalation import Escalation, State, Step, acknowledge, advance, end, start
from tocsin.notify.oncall.escalation import Why as End
from tocsin.notify.routing.critical import CriticalState
from tocsin.notify.routing.groups import GroupState

AT = utc("2026-12-01T00:00:00.000001")
MINUTE = timedelta(minutes=1)


def escalations() -> list[State]:
    page = Escalation(name="p", steps=(Step(notify=("a",)), Step(notify=("b",), after=15 * MINUTE)))
    fired = start(page, AT, condition=True).state
    sent = advance(page, fired, AT, lambda name, at: [name]).state
    taken = acknowledge(page, sent, "anna", AT + MINUTE, 1).state
    return [fired, sent, taken, end(taken, End.RESOLVED, AT + 2 * MINUTE).state]


GROUP = GroupState(
    first_flush=AT, flushed_at=AT, last_notified_at=AT, notified={"a": 1}, held=frozenset({"a"}), repeats=2
)
KEPT = [
    *escalations(),
    GROUP,
    replace(GROUP, flushed_at=None),
    CriticalState(alone_at=(AT,), together_at=AT, waiting=("x",)),
]


@pytest.mark.parametrize("state", KEPT, ids=lambda state: type(state).__name__)
def test_it_is_read_as_it_was_written(state: State | GroupState | CriticalState) -> None:
    assert state == msgspec.json.decode(msgspec.json.encode(state), type=type(state))
