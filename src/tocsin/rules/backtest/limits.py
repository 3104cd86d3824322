"""A rule's limit over what a backtest found of runs that were taken forward apart: alerts count in the order in
which they were notified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.changes import Change, transition_of
from tocsin.alerts.rate_limit import RateLimit
from tocsin.model.alert import Phase, Why, instance_key
from tocsin.model.details import NONE
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules import limits
from tocsin.rules.backtest.result import SHOWN
from tocsin.rules.backtest.view import Recorder
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.memory import Memory
from tocsin.rules.spec.rule import Rule
from tocsin.state.interface import Outcome


@dataclass(slots=True)
class RateLimited:
    """Takes what evaluations of a rule without its limit decided, in any order; hands it on, as its limit lets it,
    by ``finish``.
    """

    rule: Rule
    take: Callable[[Evaluation], bool]
    found: list[Intent] = field(default_factory=list)

    def __call__(self, evaluation: Evaluation) -> bool:
        """Take it. Returns whether the rule works on."""
        for intent in evaluation.outcome.intents:
            of_limit = {name: intent.event.get(name) for name in (self.rule.limit.per if self.rule.limit else ())}
            shown = {name: intent.event.get(name, "") for name in SHOWN}
            details = replace(NONE, wait=intent.details.wait)
            self.found.append(replace(intent, event={**of_limit, **shown}, details=details, rows=()))
        return self.take(replace(evaluation, outcome=replace(evaluation.outcome, intents=())))

    def finish(self) -> None:
        """All runs have been taken forward."""
        memory = Memory(Recorder([]))
        beyond: dict[tuple[str, str], RateLimit] = {}
        for intent in sorted(self.found, key=_order):
            alert = (instance_key(intent.instance), intent.occurrence)
            held = limits.notify(
                self.rule.name, self.rule.limit, intent, self.rule.info, memory, beyond=beyond.get(alert, False)
            )
            if intent.kind is IntentKind.FIRED:
                beyond[alert] = held
                if held:
                    memory.transitions.append(transition_of(intent.rule, _limited(intent)))
        self.take(Evaluation(outcome=Outcome(intents=tuple(memory.intents), transitions=tuple(memory.transitions))))


def _order(intent: Intent) -> tuple[datetime, datetime, str, int]:
    """As ``deadlines_evaluate`` has it: what was held until the same instant counts in the order in which it was due."""
    wait = intent.details.wait if intent.kind is IntentKind.FIRED else None
    return intent.at, (wait.due if wait is not None else None) or intent.at, intent.run_id, intent.ordinal


def _limited(intent: Intent) -> Change:
    return Change(
        instance=intent.instance, occurrence=intent.occurrence, before=Phase.NONE, after=Phase.FIRING, why=Why.RATE_LIMITED, severity=intent.severity, run_id=intent.run_id, commit_seq=intent.commit_seq, at=intent.at,
    )  # fmt: skip
