"""Which two stores belong together."""

from dataclasses import dataclass, replace

import pytest

from tests.unit.state.builders import NOW
from tocsin.clock import ManualClock
from tocsin.errors import PairingError
from tocsin.state.interface import Outcome
from tocsin.state.pairing import Pairing, Side, check_pairing, pair
from tocsin.state.sqlite import SqliteState

LOG = Side(pair="p", reached=100, mirror_seq=40, new=False)
STATE = Side(pair="p", reached=90, mirror_seq=50, new=False)
NEW_LOG = Side(pair="n", reached=0, mirror_seq=0, new=True)
NEW_STATE = Side(pair="", reached=0, mirror_seq=0, new=True)
UNUSED = replace(STATE, reached=0, mirror_seq=0)


@pytest.mark.parametrize(
    ("log", "state", "reason"),
    [
        (LOG, STATE, Pairing.PAIRED),
        (LOG, replace(STATE, reached=100, mirror_seq=40), Pairing.PAIRED),
        (LOG, replace(STATE, reached=0, mirror_seq=40), Pairing.PAIRED),
        # The first events came, no evaluation has been written yet.
        (replace(LOG, mirror_seq=0), UNUSED, Pairing.PAIRED),
        # tocsin's own mails before any event.
        (replace(LOG, reached=0, mirror_seq=0), replace(STATE, reached=0), Pairing.PAIRED),
        (NEW_LOG, NEW_STATE, Pairing.NEW),
        (replace(NEW_LOG, pair="p"), UNUSED, Pairing.PAIRED),
        # A crash between making the two, or the log recreated before anything was notified.
        (NEW_LOG, UNUSED, Pairing.NEW),
        (LOG, NEW_STATE, Pairing.STATE_MISSING),
        (replace(LOG, mirror_seq=0), NEW_STATE, Pairing.STATE_MISSING),
        (NEW_LOG, STATE, Pairing.LOG_MISSING),
        (replace(NEW_LOG, pair="p"), STATE, Pairing.LOG_MISSING),
        (LOG, replace(STATE, pair="q"), Pairing.DIFFERENT),
        (LOG, replace(STATE, reached=101), Pairing.LOG_OLDER),
        (replace(LOG, mirror_seq=51), STATE, Pairing.STATE_OLDER),
    ],
)
def test_reasons(log: Side, state: Side, reason: Pairing) -> None:
    """Pair ids agree, no cursor beyond the log, the log's mirror not beyond the state's."""
    verdict = check_pairing(log, state)
    assert reason == verdict.reason
    assert (reason in (Pairing.PAIRED, Pairing.NEW)) == verdict.ok
    assert (reason is Pairing.NEW) == verdict.take


@pytest.mark.parametrize(
    ("log", "state"),
    [(LOG, NEW_STATE), (NEW_LOG, STATE), (LOG, replace(STATE, pair="q")), (LOG, replace(STATE, reached=101))],
)
def test_a_refusal_says_what_to_do(log: Side, state: Side) -> None:
    """What was seen, which file to put back, and the command that goes on."""
    verdict = check_pairing(log, state)
    with pytest.raises(PairingError, match=r"tocsin up --adopt") as raised:
        verdict.enforce()
    assert verdict.reason.value in str(raised.value)
    assert "commit 0" in str(raised.value) or "commit 100" in str(raised.value)


@dataclass
class Head:
    seq: int


@dataclass
class Log:
    pair_id: str
    seq: int = 0
    mirror_seq: int = 0

    def head(self) -> Head:
        return Head(self.seq)


def test_two_new_stores_pair_and_stay_paired() -> None:
    """Also when the first try ended before the state took the id."""
    state = SqliteState.open(None, clock=ManualClock(NOW))
    log = Log("p")
    assert Pairing.NEW == pair(log, state).reason
    assert "p" == state.pair_id
    log.seq = 5
    state.commit(Outcome(row_cursor=5), NOW)
    assert Pairing.PAIRED == pair(log, state).reason
    state.close()


def test_adopting_is_the_way_out() -> None:
    """A deleted log store: refused, then adopted once, then paired."""
    state = SqliteState.open(None, clock=ManualClock(NOW))
    state.set_pair_id("old")
    state.commit(Outcome(row_cursor=500), NOW)
    log = Log("new", seq=0)
    with pytest.raises(PairingError, match=r"put data/events\.duckdb back"):
        pair(log, state)
    assert ("old", 500) == (state.pair_id, state.row_cursor())
    assert Pairing.LOG_MISSING == pair(log, state, adopt=True).reason
    assert ("new", 0) == (state.pair_id, state.row_cursor())
    assert Pairing.PAIRED == pair(log, state).reason
    state.close()


def test_adopting_what_belongs_together_changes_nothing() -> None:
    """`--adopt` left on a command line does not skip what is still to be notified."""
    state = SqliteState.open(None, clock=ManualClock(NOW))
    log = Log("p", seq=9)
    state.set_pair_id("p")
    state.commit(Outcome(row_cursor=4), NOW)
    assert Pairing.PAIRED == pair(log, state, adopt=True).reason
    assert 4 == state.row_cursor()
    state.close()
