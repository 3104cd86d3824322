"""The contract of the state store. Each method is one transaction.

One ``commit`` writes everything that an evaluation decided: transitions, intents, occurrences, timers and the cursor.
After a crash the evaluation runs again from the old cursor, with the same result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tocsin.model.active import Acted, Action, ActiveAlert, Audited, Deed, OnCallHistory, Preference, StoredSilence
from tocsin.model.alert import EventKey, Occurrence, Phase, Transition
from tocsin.model.delivery import EMAIL, Delivery, DeliveryState, Endpoint, Notified
from tocsin.model.instants import Instant, Timer
from tocsin.model.intent import Intent, IntentHead, RuleInfo
from tocsin.model.remembered import ConditionState


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """What the state keeps of a rule across restarts and reloads."""

    name: str
    meaning: str  # hash of the fields that carry meaning
    start_seq: int  # notifies only what has a greater CommitSeq
    cursor: Instant | None = None  # last instant finished, for window and absence rules and lagging event rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Backfill of one consumer under one rule. It counts expired occurrences until its summary is sent."""

    rule: str
    consumer: str
    count: int
    oldest: datetime
    newest: datetime
    began: datetime  # T of the first expired event


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All decisions of an evaluation of one or more instants. One transaction writes them."""

    row_cursor: int | None = None  # new shared cursor of the event rules, None: unchanged
    rules: tuple[RuleRecord, ...] = ()  # put
    rules_renamed: tuple[tuple[str, str], ...] = ()  # (old, new), first of all: record, alerts and timers move along
    rules_gone: tuple[str, ...] = ()  # forgotten with their occurrences, conditions, timers and backfills
    occurrences: tuple[Occurrence, ...] = ()  # put; of one that is there only the phase changes
    conditions: tuple[ConditionState, ...] = ()  # put
    conditions_gone: tuple[tuple[str, str], ...] = ()  # (rule, instance key)
    timers: tuple[Timer, ...] = ()  # put
    timers_gone: tuple[tuple[str, str, str], ...] = ()  # (rule, kind, key)
    backfills: tuple[Backfill, ...] = ()  # put
    backfills_gone: tuple[tuple[str, str], ...] = ()  # (rule, consumer)
    transitions: tuple[Transition, ...] = ()
    intents: tuple[Intent, ...] = ()
    infos: tuple[RuleInfo, ...] = ()  # those that the intents name; known ones are skipped
    timer_t: datetime | None = None  # T of the last timer instant evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRow:
    """A row for the log store's Alerts or Notifications."""

    seq: int
    table: str
    row: Mapping[str, object]  # JSON-able; times as ISO strings


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """Result of an attempt to send a delivery."""

    id: str
    state: DeliveryState
    attempt: int
    reply: str
    next_at: datetime
    at: datetime
    handle: str = ""  # what the other side calls the message


MAILS = Endpoint(EMAIL, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Memory of a group, an escalation or a cap. ``body`` is JSON-able; None deletes it."""

    kind: str
    key: str
    body: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyChange:
    """Decisions of a pass of notify. One transaction writes them together with its deliveries."""

    alerts: tuple[ActiveAlert, ...] = ()  # what notify keeps of them; an end is never written here
    ended: tuple[tuple[str, datetime, str], ...] = ()  # (id, when, why), of those that have not ended yet
    settled: tuple[str, ...] = ()  # ids of ended ones of which nothing is left to do
    kept: tuple[Kept, ...] = ()
    actions_up_to: int = 0  # the last of people's actions that was taken up
    transitions: tuple[Transition, ...] = ()  # for history


NO_CHANGE = NotifyChange()


class State(ABC):
    """Safe from any thread."""

    # -- pairing -------------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def pair_id(self) -> str:
        """Identity shared with the log store; '' in a state just made."""

    @abstractmethod
    def set_pair_id(self, pair_id: str) -> None:
        """Take over a pair id."""

    @abstractmethod
    def adopt(self, head_seq: int, mirror_seq: int, pair_id: str | None = None) -> None:
        """Move every cursor and rule start to ``head_seq``, drop timers and backfills, raise the mirror sequence to at
        least ``mirror_seq``, and take over ``pair_id`` where one is given. What waits in the outbox stays there.
        """

    @abstractmethod
    def max_cursor(self) -> int:
        """The greatest CommitSeq that any cursor or timer record names."""

    # -- evaluation ----------------------------------------------------------------------------------------------------
    @abstractmethod
    def row_cursor(self) -> int:
        """Shared cursor of the event rules; 0 at first."""

    @abstractmethod
    def timer_t(self) -> datetime | None:
        """T of the last timer instant evaluated; no commit may be stamped at or before it."""

    @abstractmethod
    def rules(self) -> Mapping[str, RuleRecord]:
        """All rules remembered, by name."""

    @abstractmethod
    def notified(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[Occurrence]]:
        """Occurrences remembered for these (rule, run), in event-time order; pairs without any are left out."""

    @abstractmethod
    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """run → rules that remember an occurrence of it; runs without any are left out. Fast for 20,000 ids."""

    @abstractmethod
    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """Instances remembered of a rule, by instance key."""

    @abstractmethod
    def phases(self) -> Mapping[str, Mapping[Phase, int]]:
        """How many instances of each rule are in each phase; rules that remember none are left out."""

    @abstractmethod
    def timers(self) -> Sequence[Timer]:
        """All timers, in order of due."""

    @abstractmethod
    def backfills(self) -> Sequence[Backfill]:
        """All backfills under way."""

    @abstractmethod
    def commit(self, outcome: Outcome, now: datetime) -> None:
        """Write ``outcome`` in one transaction, its transitions also to the mirror log. Durable when it returns.

        Intents that are already there (same id) are left as they are. Raises StoreError; then nothing was kept.
        """

    # -- notify --------------------------------------------------------------------------------------------------------
    @abstractmethod
    def intents(self, limit: int = 1000) -> Sequence[Intent]:
        """Intents that no delivery has consumed yet, oldest first."""

    @abstractmethod
    def intent_heads(self, limit: int) -> Sequence[IntentHead]:
        """Heads of the same, without what they say: a tenth of the cost."""

    @abstractmethod
    def urgent_intents(self, limit: int) -> Sequence[Intent]:
        """Those of critical alerts that fire, the oldest so many, each with what else its evaluation says of its run. None
        of a run of which it says more than that something fires: that has its turn.
        """

    @abstractmethod
    def info(self, version: str) -> RuleInfo | None:
        """The rule presentation called ``version``."""

    @abstractmethod
    def put_deliveries(
        self,
        deliveries: Sequence[Delivery],
        consumed: Sequence[str],
        now: datetime,
        listed: Sequence[str] = (),
        change: NotifyChange = NO_CHANGE,
    ) -> None:
        """Store new deliveries, mark the intents ``consumed`` and write ``change``, at once; mirror rows too. Known
        ids are left as they are.

        ``Delivery.intents`` must name what it notifies of: ``notified_addresses`` answers from it. A mail held back by
        a cap is a HELD delivery; its summary is another. ``listed`` names the HELD deliveries that a summary among
        ``deliveries`` lists: they become DROPPED in the same transaction.
        """

    @abstractmethod
    def intents_called(self, ids: Iterable[str]) -> Mapping[str, Intent]:
        """Intents by id, consumed ones too; unknown ids are left out."""

    @abstractmethod
    def states_of(self, deliveries: Iterable[str]) -> Mapping[str, DeliveryState]:
        """State of each delivery, by id; unknown ids are left out."""

    @abstractmethod
    def notified_group(self, group: str) -> Sequence[Notified]:
        """Who got, or will get, something of a group: the first delivery to each address of each receiver."""

    # -- active alerts -------------------------------------------------------------------------------------------------

    @abstractmethod
    def unsettled_alerts(self) -> Sequence[ActiveAlert]:
        """Alerts of which something may be left to do, in the order of firing."""

    @abstractmethod
    def alerts_ended(self) -> Sequence[tuple[str, datetime, str]]:
        """(id, when, why) of ends that notify has not settled."""

    @abstractmethod
    def actions_new(self) -> Sequence[tuple[int, Action]]:
        """What people did that notify has not taken up, by number."""

    @abstractmethod
    def kept(self) -> Sequence[Kept]:
        """What groups, escalations and caps remember."""

    @abstractmethod
    def act(self, action: Action) -> Acted | None:
        """Write down what a person does with an alert, mirror row too. Durable when it returns; None where there is no such alert."""

    @abstractmethod
    def alert(self, id: str) -> ActiveAlert | None:
        """One alert, also one that has ended."""

    @abstractmethod
    def alerts(self, *, active: bool = True, limit: int = 1000, worst: bool = False) -> Sequence[ActiveAlert]:
        """Alerts, newest first, with ``worst`` the severest before, each with who has it; with ``active`` only those
        that have not ended.
        """

    @abstractmethod
    def active_count(self) -> int:
        """How many alerts have not ended."""

    @abstractmethod
    def deliveries_of(self, alert: ActiveAlert) -> Sequence[Delivery]:
        """Messages about an alert, held and dropped ones too, in the order of writing."""

    @abstractmethod
    def actions_of(self, id: str) -> Sequence[Action]:
        """What people did with an alert, oldest first."""

    @abstractmethod
    def silences(self) -> Sequence[StoredSilence]:
        """All silences that people set, oldest first."""

    @abstractmethod
    def put_silence(self, silence: StoredSilence, deed: Deed | None = None) -> None:
        """Set a silence, or its end; ``deed`` says who did that, and becomes a mirror row."""

    @abstractmethod
    def preferences(self) -> Sequence[Preference]:
        """What people want for themselves, oldest first, what they took back included."""

    @abstractmethod
    def audit(self, done: Sequence[Audited]) -> None:
        """Log these; each becomes a mirror row."""

    @abstractmethod
    def put_preference(self, preference: Preference, deed: Deed | None = None) -> None:
        """Set one, or its end; ``deed`` says who did that, and becomes a mirror row."""

    @abstractmethod
    def oncall_history(self, since: datetime) -> OnCallHistory:
        """Alerts that fired since then, oldest first, what people did, and messages that were sent and say more than an
        end.
        """

    # -- deliveries ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def endpoints(self) -> Collection[Endpoint]:
        """Those of READY deliveries."""

    @abstractmethod
    def due(
        self, now: datetime, limit: int = 100, exclude: Iterable[str] = (), *, to: Endpoint = MAILS
    ) -> Sequence[Delivery]:
        """READY deliveries to one endpoint with ``next_at <= now``, oldest first, but those under way (``exclude``:
        ids).
        """

    @abstractmethod
    def next_due(self, exclude: Iterable[str] = (), *, to: Endpoint = MAILS) -> datetime | None:
        """When the next READY delivery to one endpoint is due, leaving out those under way (``exclude``: ids)."""

    @abstractmethod
    def attempted(self, results: Sequence[Attempted]) -> None:
        """Write what attempts came to, mirror rows too, in one transaction. Finished deliveries stay as they are."""

    @abstractmethod
    def delivery(self, id: str) -> Delivery | None:
        """One delivery."""

    @abstractmethod
    def ready_with(self, id: str) -> Sequence[Delivery]:
        """READY deliveries to the address and of the group of this one, itself among them, in the order of writing."""

    @abstractmethod
    def deliveries(
        self, *, state: DeliveryState | None = None, address: str = "", limit: int = 100, before: datetime | None = None
    ) -> Sequence[Delivery]:
        """Deliveries, newest first."""

    @abstractmethod
    def held_until(self) -> Sequence[tuple[str, str, datetime]]:
        """Address, group and earliest time of what is HELD: a row for each address and group, without messages."""

    @abstractmethod
    def bad_addresses(self) -> Sequence[tuple[str, str, datetime]]:
        """Addresses that a mail server says are none (an enhanced code 5.1.x), and that have got no mail since: the
        address, what was said, and when it was said last; at most 100.
        """

    @abstractmethod
    def sent_lately(self, since: datetime, most: int) -> Sequence[tuple[str, datetime]]:
        """Address and creation of each delivery created since ``since``, the newest first, at most so many (for the
        caps): summaries too, HELD and DROPPED ones not.
        """

    @abstractmethod
    def threads(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[str, str]]:
        """(Message-ID, subject) of the first delivery to an address about a group, by (address, group); pairs without
        any are left out.
        """

    @abstractmethod
    def notified_addresses(self, rule: str, instance: str, occurrence: str) -> Sequence[Notified]:
        """Who got or will get the FIRED intent of an alert, and by which mail: its resolved mail goes there and
        answers that.

        Failed and dropped deliveries do not count. ``instance`` is an instance key.
        """

    @abstractmethod
    def outbox_stats(self) -> Mapping[str, float]:
        """Counts ``ready``, ``sent``, ``failed``, ``dropped``, ``intents`` (not consumed), and ``oldest``: epoch
        seconds of the oldest ready delivery's ``created_at`` (its age is the caller's), 0 where none is ready.
        """

    # -- values of one process or command
    # -------------------------------------------------------------------------------
    @abstractmethod
    def get(self, key: str) -> str | None:
        """A small named value."""

    @abstractmethod
    def put(self, key: str, value: str) -> None:
        """Keep a small named value."""

    # -- mirror --------------------------------------------------------------------------------------------------------
    @abstractmethod
    def mirror_seq(self) -> int:
        """The greatest sequence ever given to a mirror row."""

    @abstractmethod
    def mirror_after(self, seq: int, limit: int = 5000) -> Sequence[MirrorRow]:
        """Mirror rows beyond ``seq``, in order."""

    @abstractmethod
    def prune(self, *, mirrored: int, now: datetime, keep: timedelta) -> None:
        """Forget mirror rows up to ``mirrored`` and finished deliveries, consumed intents older than ``keep``."""

    @abstractmethod
    def backup(self, target: Path) -> None:
        """Copy the state to the file ``target`` as of one moment, while others write. Raises StoreError."""

    @abstractmethod
    def close(self) -> None:
        """Close; a second call does nothing."""


__all__ = ["Attempted", "Backfill", "EventKey", "MirrorRow", "Outcome", "RuleRecord", "State"]
