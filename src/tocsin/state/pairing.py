"""Do the log store and the state belong together?

Log store first, then state: at every commit the state's cursors are at or behind the log, and the log's mirror is at or
behind the state. A restored backup or a deleted file breaks one of these, and evaluating on would either notify
everything again or nothing for ever. So tocsin stops, and ``tocsin up --adopt`` is the way out: cursors move to the
head.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tocsin.errors import PairingError
from tocsin.state.interface import State


class Pairing(StrEnum):
    """What is the matter with two stores; the text says it to a person."""

    PAIRED = "they belong together"
    NEW = "nobody is notified yet: the state takes over the log store's pair id"
    STATE_MISSING = "the log store holds events, but the state has just been made"
    LOG_MISSING = "the state remembers what it notified, but the log store has just been made"
    DIFFERENT = "they come from different project directories or backups"
    LOG_OLDER = "the log store is older than the state, as after restoring only it from a backup"
    STATE_OLDER = "the state is older than the log store, as after restoring only it from a backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingVerdict:
    """What ``check_pairing`` found. ``take`` says that the state must take over the log's pair id before it is used."""

    reason: Pairing
    text: str

    @property
    def ok(self) -> bool:
        """Whether tocsin may go on."""
        return self.reason in (Pairing.PAIRED, Pairing.NEW)

    @property
    def take(self) -> bool:
        """Whether the state must take over the log store's pair id first."""
        return self.reason is Pairing.NEW

    def enforce(self) -> None:
        """Raises PairingError, with what to do, where the stores do not belong together."""
        if not self.ok:
            raise PairingError(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one of the two stores says of itself."""

    pair: str  # the id that both share; '' where it has none yet
    reached: int  # the log store's newest commit; the furthest cursor of the state
    mirror_seq: int  # up to where the state is mirrored in the log
    new: bool  # just made: without a commit, or without a pair id

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with it."""
        return self.new or (self.reached == 0 and self.mirror_seq == 0)


def check_pairing(log: Side, state: Side) -> PairingVerdict:
    """Compare what both stores say of themselves.

    Two empty stores always pair: a crash between making the one and the other costs nothing.
    """
    seen = (
        f"log store: pair {log.pair or 'none'}, commit {log.reached}, mirror {log.mirror_seq}; "
        f"state: pair {state.pair or 'none'}, cursor {state.reached}, mirror {state.mirror_seq}"
    )
    if log.empty and state.empty:
        same = log.pair == state.pair and state.pair != ""
        return _verdict(Pairing.PAIRED if same else Pairing.NEW, seen)
    if state.empty and log.pair != state.pair:
        return _verdict(Pairing.STATE_MISSING, seen)
    if log.empty and (log.pair != state.pair or state.reached > log.reached):
        return _verdict(Pairing.LOG_MISSING, seen)
    if log.pair != state.pair:
        return _verdict(Pairing.DIFFERENT, seen)
    if state.reached > log.reached:
        return _verdict(Pairing.LOG_OLDER, seen)
    if log.mirror_seq > state.mirror_seq:
        return _verdict(Pairing.STATE_OLDER, seen)
    return _verdict(Pairing.PAIRED, seen)


_WAYS_OUT = {
    Pairing.STATE_MISSING: "put data/state.sqlite back",
    Pairing.LOG_MISSING: "put data/events.duckdb back",
    Pairing.DIFFERENT: "put both files back from one backup",
    Pairing.LOG_OLDER: "put back the log store and the state of one backup",
    Pairing.STATE_OLDER: "put back the log store and the state of one backup",
}


def _verdict(reason: Pairing, seen: str) -> PairingVerdict:
    if reason not in _WAYS_OUT:
        return PairingVerdict(reason=reason, text=reason.value)
    text = (
        f"log store and state do not belong together: {reason.value} ({seen}). Either {_WAYS_OUT[reason]}, "
        "or start once with `tocsin up --adopt`: it moves all cursors to the newest event, so that nothing old is notified "
        "and what comes from then on is."
    )
    return PairingVerdict(reason=reason, text=text)


class PairedHead(Protocol):
    """The part of the log store's head that pairing reads."""

    @property
    def seq(self) -> int:
        """CommitSeq of the newest commit."""


class PairedLog(Protocol):
    """The part of the log store that pairing reads."""

    @property
    def pair_id(self) -> str:
        """Identity shared with the state."""

    @property
    def mirror_seq(self) -> int:
        """Up to where the mirror is written."""

    def head(self) -> PairedHead:
        """The newest commit."""


def pair(log: PairedLog, state: State, *, adopt: bool = False) -> PairingVerdict:
    """Check two open stores, and pair them where they are new or ``adopt`` is set; the verdict is the one found before.

    Raises PairingError, with what to do, where they do not belong together and ``adopt`` is not set.
    """
    head = log.head().seq
    verdict = check_pairing(
        Side(pair=log.pair_id, reached=head, mirror_seq=log.mirror_seq, new=head == 0 and log.mirror_seq == 0),
        Side(pair=state.pair_id, reached=state.max_cursor(), mirror_seq=state.mirror_seq(), new=state.pair_id == ""),
    )
    if adopt and not verdict.ok:
        state.adopt(head, log.mirror_seq, log.pair_id)
    else:
        verdict.enforce()
        if verdict.take:
            state.set_pair_id(log.pair_id)
    return verdict


__all__ = ["Pairing", "PairingVerdict", "Side", "check_pairing", "pair"]
