"""The thread that evaluates rules: commits and timers become instants, in the order of SEMANTICS.md, and outcomes
durable.

``rules.driver`` says what comes next. One state transaction writes what a step decided together with its cursor: after a
kill -9 the step is done again with the same result.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from tocsin.alerts.active import OCCURRENCE
from tocsin.app.engine import stalled as silence
from tocsin.app.engine.known_series import Exporter, present_rules
from tocsin.app.engine.notified_until import KEY, expired
from tocsin.clock import EPOCH, Clock
from tocsin.errors import StoreError
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.model import crash
from tocsin.model.alert import Phase, Why, fingerprint
from tocsin.model.details import Details, Health
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.remembered import ConditionState
from tocsin.model.statuses import TERMINAL, Kind, Severity
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.driver.driver import Driver, Stores
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.kinds.registry import kind_of, kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import public_name
from tocsin.state.evaluation import CachedView
from tocsin.state.interface import Outcome, State

log = structlog.get_logger(__name__)

WAITING_POLL = 0.25
"""Seconds between checks of timers that wait for a watermark."""
IDLE_POLL = 1.0
"""Seconds between evaluations when nothing is due."""
STOP_SECONDS = 2.5
"""How long a stop waits for the step under way. One of 20,000 events that all match takes longer on a busy machine."""
SAVE_SECONDS = 1.0
"""How long the cursor may lag in the state behind commits about which nothing was decided: evaluated again, they say
the same.
"""
LATE = timedelta(seconds=5)
"""A timer evaluated later than this after its due time counts as late."""

FIRES = frozenset({Phase.FIRING, Phase.RECOVERING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumers:
    """What an evaluator asks about consumers."""

    source_progress: Callable[[], SourceProgress]
    silences: Callable[[], Mapping[str, silence.SourceState]] = dict
    expect: Callable[[Sequence[datetime]], None] = lambda _: (
        None
    )  # for which times watermarks are waited for, or will be next


class Evaluator:
    """Owns the order of evaluation. ``wake`` may be called from any thread."""

    def __init__(
        self,
        store: LogStore,
        state: State,
        metrics: Metrics,
        clock: Clock,
        consumers: Consumers,
        notified: Callable[[], None],
    ) -> None:
        self._store, self._state, self._metrics, self._clock = store, state, metrics, clock
        self._notified, self._consumers = notified, consumers
        self._pending: RuleSet | None = None
        self._view = CachedView(state)
        self._saved = state.row_cursor()
        self._save_by: float | None = None  # monotonic; None: the state has the cursor
        until = state.get(KEY)
        self._notified_until = datetime.fromisoformat(until) if until else None
        self._driver = Driver(
            Stores(log=store, view=self._view, timers=state.timers, reader=store),
            clock,
            consumers.source_progress,
            self._write,
            cursor=self._saved,
            floor=state.timer_t() or EPOCH,
        )
        self.errors: dict[str, str] = {}
        self._active: dict[str, Counter[tuple[str, str]]] = {}  # rule → its active alerts by severity and kind
        self._exporter = Exporter(metrics.exports)
        self._gauge: Counter[tuple[str, str, str]] = (
            Counter()
        )  # the same by the rule's name as written: what the gauge says
        self._wake = threading.Event()
        self.turned_at: datetime | None = None  # when the last turn of the loop that succeeded began; UTC
        self._holds = False  # whether anything waits for a watermark
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluator", daemon=True)
        self._swap = threading.Lock()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, rules: RuleSet) -> None:
        """Bring ``rules`` into force and start the thread."""
        self._reload(rules)
        self._thread.start()

    def stop(self) -> None:
        """Finish the step under way and end the thread. A step that takes longer than a stop may is left: nothing of
        it is written, and the next start does it again.
        """
        ended = self._stop.is_set()
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive() and not ended:
            self._thread.join(STOP_SECONDS)
            if self.left:
                log.warning("evaluation_left", hint="the next start does it again")
            else:
                self._save()

    @property
    def left(self) -> bool:
        """Whether a step goes on although it has been stopped."""
        return self._stop.is_set() and self._thread.is_alive()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def watermarks_moved(self) -> None:
        """A watermark has moved on."""
        if self._holds:
            self._wake.set()

    def reload(self, rules: RuleSet) -> None:
        """Have ``rules`` come into force before the next step."""
        with self._swap:
            self._pending = rules
        self._wake.set()

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._driver.rules

    @property
    def next_deadlines(self) -> Mapping[str, datetime]:
        """When the next deadline of a run comes, by rule; they are in memory only."""
        return self._driver.deadlines.next_of_rules()

    @property
    def lag(self) -> int:
        """Commits that are not evaluated yet."""
        return max(0, self._store.head().seq - self._driver.cursor)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = 0.1
        while not self._stop.is_set():
            self._wake.clear()
            began = self._clock.now()
            try:
                with self._swap:
                    pending, self._pending = self._pending, None
                if pending is not None:
                    self._save()
                    self._reload(pending)
                worked = self.step()
                self.turned_at = began
                if self._save_by is not None and self._clock.monotonic() >= self._save_by:
                    self._save()
                if worked:
                    wait = 0.1
                    continue
                self._wake.wait(self._patience())
            except StoreError as e:
                log.warning("evaluation_waits_for_store", error=str(e), retry_in_s=wait)
                self._wake.wait(wait)  # a commit says that the store is there again: no alert waits longer than that
                wait = min(wait * 2, 5.0)
            except Exception:
                log.exception("evaluation_failed", retry_in_s=wait)
                self._stop.wait(wait)
                wait = min(wait * 2, 30.0)

    def _patience(self) -> float:
        held = self._driver.held
        self._metrics.set("tocsin_timers_waiting", held)
        self._metrics.set("tocsin_evaluate_timers", len(self._driver.timers) + len(self._driver.deadlines))
        due = self._evaluate_ahead()
        until = IDLE_POLL if due is None else max(0.0, (due - self._clock.now()).total_seconds())
        return min(until, WAITING_POLL if held else IDLE_POLL)

    def _evaluate_ahead(self) -> datetime | None:
        """When something comes due next. Sources are notified of it, and of what is held."""
        self._holds = self._driver.held > 0
        due, held = self._driver.next_due, self._driver.last_waiting
        # More than the next one: what comes while this thread evaluates, or waits for a commit, is asked about in time
        # too.
        self._consumers.expect([*(at for at in (held, due) if at is not None), *self._driver.deadlines.soon()])
        return due

    def step(self) -> bool:
        """Evaluate what is there now; whether there was something."""
        self._metrics.set("tocsin_evaluate_cursor_lag_commits", self.lag)
        self._evaluate_ahead()
        self._watch_sources(self._clock.now())
        began = self._clock.monotonic()
        stepped = self._driver.step()
        if stepped is None:
            return False
        released, instants = stepped.released, stepped.instants
        kind = "commit" if len(released) < len(instants) else "timer"
        self._metrics.observe("tocsin_rule_evaluation_duration_seconds", self._clock.monotonic() - began, kind=kind)
        self._metrics.set("tocsin_rule_last_evaluation_timestamp_seconds", self._clock.now().timestamp(), kind=kind)
        if skipped := sum(r.skipped for r in released):
            self._metrics.inc("tocsin_evaluate_coalesced_ticks_total", skipped)
            log.warning("ticks_coalesced", ticks=skipped)
        if late := sum(r.at - r.timer.due > LATE for r in released):
            self._metrics.inc("tocsin_evaluate_late_timers_total", late)
        return True

    def _reload(self, rules: RuleSet) -> None:
        self._driver.reload(rules)
        self._exporter.use(rules, self._view.conditions)
        for rule in rules.enabled.values():
            if kind_of(rule).remembers(rule):
                self._count_active(Outcome(conditions=tuple(self._view.conditions(rule.name).values())))
        self.errors = {name: text for name, text in self.errors.items() if name in rules.enabled}
        present_rules(self._metrics, rules)
        loaded = Counter(rule.word for rule in rules.enabled.values())
        for word in dict.fromkeys(kind.word for kind in kinds()):
            self._metrics.set("tocsin_rules_loaded", loaded[word], kind=word)

    def _watch_sources(self, now: datetime) -> None:
        """Hold sources to their word: the one alert ``source-stalled``."""
        outcome = silence.evaluate_sources(
            self._consumers.silences(), self._view.conditions(silence.RULE), now, self._driver.cursor
        )
        if outcome is not None:
            self._write(outcome)

    def _write(self, outcome: Outcome, evaluation: Evaluation | None = None) -> None:
        outcome = expired(outcome, self._notified_until)
        fresh = [f for f in evaluation.failures if f.rule not in self.errors] if evaluation else []
        if fresh:  # the first failure of a rule is notified to the admins, in the transaction that keeps its state
            intents, info = _admin_intents([(f.rule, f.error, f.at, f.commit_seq) for f in fresh])
            outcome = replace(outcome, intents=(*outcome.intents, *intents), infos=(*outcome.infos, info))
        if outcome.row_cursor is not None and outcome == Outcome(row_cursor=outcome.row_cursor):
            self._save_by = self._save_by or self._clock.monotonic() + SAVE_SECONDS
        else:
            self._commit(outcome, self._driver.cursor if outcome.row_cursor is None else outcome.row_cursor)
        if outcome.intents:
            self._notified()
        self._view.written(outcome)
        log_alerts(outcome.intents)
        self._count_active(outcome)
        if evaluation is not None:
            self._exporter.take(evaluation.measured)
            self._count(evaluation)

    def _commit(self, outcome: Outcome, cursor: int) -> None:
        """Make ``outcome`` durable, with the cursor as it is."""
        if cursor != self._saved:
            outcome = replace(outcome, row_cursor=cursor)
        self._state.commit(outcome, self._clock.now())
        self._saved = cursor
        self._save_by = None
        crash.point("after_state_commit")

    def _save(self) -> None:
        if self._driver.cursor != self._saved:
            self._commit(Outcome(), self._driver.cursor)

    def _count_active(self, outcome: Outcome) -> None:
        """Update the gauge of active alerts."""
        changed = {c.rule for c in outcome.conditions} | {rule for rule, _ in outcome.conditions_gone}
        for rule in changed | {*outcome.rules_gone} | {name for pair in outcome.rules_renamed for name in pair}:
            known = self._driver.rules.enabled.get(rule)
            kind = known.word if known is not None else Kind.ABSENCE.value  # of a source that is stalled
            states = self._view.conditions(rule).values()
            active = Counter((state.severity.word, kind) for state in states if _is_active(state))
            before, written = self._active.pop(rule, Counter()), public_name(rule)
            for severity, kind in before | active:
                key = (written, severity, kind)
                self._gauge[key] += active[severity, kind] - before[severity, kind]
                self._metrics.set("tocsin_alerts_active", self._gauge[key], rule=written, severity=severity, kind=kind)
            if active:
                self._active[rule] = active

    def _count(self, evaluation: Evaluation) -> None:
        for (rule, severity), n in evaluation.fired.items():
            self._metrics.inc("tocsin_alerts_fired_total", n, rule=rule, severity=severity)
        for rule, n in evaluation.expired.items():
            self._metrics.inc("tocsin_alerts_expired_total", n, rule=rule)
        for rule, n in evaluation.limited.items():
            self._metrics.inc("tocsin_alerts_rate_limited_total", n, rule=rule)
        for failure in evaluation.failures:
            self._metrics.inc("tocsin_rule_evaluation_failures_total", rule=public_name(failure.rule))
            self.errors[failure.rule] = failure.error
            log.warning("rule_failed", rule=failure.rule, error=failure.error)


def _is_active(state: ConditionState) -> bool:
    """Whether it is an alert that is active: a condition that fires, or an event alert that is open."""
    return state.phase in FIRES or (state.phase is Phase.FIRED and OCCURRENCE in state.instance)


ADMIN = RuleInfo(name="tocsin", version="tocsin-admin", summary="", template="admin")
"""What tocsin says of itself is notified as a rule of this name."""


def _admin_intents(failures: Sequence[tuple[str, str, datetime, int]]) -> tuple[list[Intent], RuleInfo]:
    return [
        admin_intent(f"rule {rule} failed", error, at, commit_seq) for rule, error, at, commit_seq in failures
    ], ADMIN


def admin_intent(title: str, detail: str, at: datetime, commit_seq: int) -> Intent:
    """tocsin's own health, to be notified to ``admin_email``."""
    return Intent(
        rule=ADMIN.name,
        rule_version=ADMIN.version,
        instance={"title": title},
        occurrence=fingerprint(title, detail, at.isoformat()),
        kind=IntentKind.ADMIN,
        severity=Severity.ERROR,
        why=Why.FIRST,
        details=Details(health=Health(title=title, text=detail)),
        commit_seq=commit_seq,
        at=at,
    )


def log_alerts(intents: Iterable[Intent]) -> None:
    """One line for each thing that is to be notified, once it is durable."""
    for intent in intents:
        event = intent.event or {}
        log.info(
            "alert",
            kind=intent.kind.value,
            rule=intent.rule,
            severity=intent.severity.word,
            run_id=intent.run_id,
            event_id=event.get("EventId", ""),
            commit_seq=intent.commit_seq,
            intent=intent.id,
            people=_people(intent, event),
        )


def _people(intent: Intent, event: Mapping[str, object]) -> dict[str, object]:
    """What a person wants to read of it: the run's name and status, or the instance and its value, and why."""
    if event:
        status = (
            event.get("Status") if event.get("Status") in TERMINAL else ""
        )  # of a parent that goes on it says nothing
        why = event.get("Message") or event.get("Reason")
        return {"name": event.get("ExperimentName"), "run": event.get("DisplayName"), "status": status, "why": why}
    instance = ", ".join(f"{key} {value}" for key, value in intent.instance.items() if value != intent.run_id)
    return {"name": instance, "why": "" if intent.value is None else f"value {intent.value:g}"}
