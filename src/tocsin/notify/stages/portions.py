"""Which intents a pass takes: whole evaluations, or of a large one a portion, the severest first.

Rendering takes most of a burst's time, and nothing of a pass is sent before all of it is written. Where alerts neither
share groups nor inhibit each other, an evaluation of a thousand failures is notified a portion at a time: the first
mails leave while the rest is rendered. Intents of one run stay together, since an address gets one message of them.

Where more waits than a pass takes, critical alerts that fire overtake all others, with what else their evaluation says
of their run. One that `inhibit:` may hold back keeps its turn: its source may wait before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.model.intent import Intent, IntentHead
from tocsin.model.statuses import Severity
from tocsin.notify.routing.groups import ALL_FIELDS
from tocsin.notify.routing.inhibit import may_be_inhibited
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import matched_by
from tocsin.notify.routing.tree import walk
from tocsin.notify.stages.register import before_a_second
from tocsin.state.interface import State

BATCH = 120
"""Intents of one pass."""
FIRST = 20
"""Intents of the first portion of a large evaluation."""


class Portions:
    """Reads intents from the state, oldest evaluation first."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rest: list[list[IntentHead]] = []  # runs of an evaluation that has begun, the severest first
        self._more = False  # the state has more than ``_rest``

    def forget(self) -> None:
        """Read again: a pass was not written."""
        self._rest = []

    def next(self, rules: OnCallRules) -> tuple[Sequence[Intent], bool]:
        """(what the next pass takes, whether there is more). Raises StoreError."""
        if (self._rest or self._more) and (urgent := _overtaking(self._state.urgent_intents(BATCH), rules)):
            return urgent, True
        size = BATCH
        if not self._rest:
            known = {i.id: i for i in self._state.intents(BATCH)}
            heads, self._more = self._heads([i.head for i in known.values()])
            first = before_a_second(heads)
            more = self._more or len(first) < len(heads)
            if len(first) <= BATCH or not independent(rules):
                return self._whole(first, known), more
            head = [i for i in first if i.evaluation == first[0].evaluation]
            self._more = more or len(head) < len(first)
            if len(head) <= BATCH:
                return self._whole(head, known), self._more
            self._rest, size = _by_run(head), FIRST
        taken: list[IntentHead] = []
        critical = _severity(self._rest[0]) is Severity.CRITICAL
        while self._rest and (len(taken) < size or (critical and _severity(self._rest[0]) is Severity.CRITICAL)):
            taken += self._rest.pop(0)
        return self._whole(taken, {}), self._more or bool(self._rest)

    def _heads(self, found: Sequence[IntentHead]) -> tuple[Sequence[IntentHead], bool]:
        """Oldest intents, evaluations whole, and whether there are more; ``found`` are the first BATCH."""
        limit = BATCH
        while True:
            if len(found) < limit:
                return found, False
            whole = [i for i in found if i.evaluation != found[-1].evaluation]
            if whole or limit >= 100 * BATCH:
                return whole or found, True
            limit *= 10  # one evaluation alone fills the batch
            found = self._state.intent_heads(limit)

    def _whole(self, heads: Sequence[IntentHead], known: Mapping[str, Intent]) -> Sequence[Intent]:
        """What ``heads`` say; ``known`` has been read already."""
        if any(each.id not in known for each in heads):
            known = self._state.intents_called([each.id for each in heads])
        return [known[each.id] for each in heads if each.id in known]


def _overtaking(urgent: Sequence[Intent], rules: OnCallRules) -> Sequence[Intent]:
    """Without what an inhibition may hold back, and what else is said of such a run with it."""
    if not rules.inhibit:
        return urgent
    held = {_together(i) for i in urgent if may_be_inhibited(rules.inhibit, matched_by(i))}
    return [i for i in urgent if _together(i) not in held]


def _together(intent: Intent) -> tuple[object, ...]:
    return (intent.run_id or intent.id, intent.at, intent.commit_seq)


def independent(rules: OnCallRules) -> bool:
    """Whether no alert decides how another is notified: one that came with it may be notified later."""
    return not rules.inhibit and not any(n.group_by and ALL_FIELDS not in n.group_by for n in walk(rules.root))


def _by_run(intents: Sequence[IntentHead]) -> list[list[IntentHead]]:
    runs: dict[str, list[IntentHead]] = {}
    for n, intent in enumerate(intents):
        runs.setdefault(intent.run_id or f"\n{n}", []).append(intent)
    return sorted(runs.values(), key=_severity)


def _severity(run: Sequence[IntentHead]) -> Severity:
    return min(intent.severity for intent in run)
