"""The thread that evaluates rules: commits and timers become instants, in the order of SEMANTICS.md, and outcomes
durable.

    commits   c7(10.001)   c8(10.020)            c9(10.031)
    timers                        D(10.025)
    order     c7, c8, D, c9       each at its T; at equal T the commit first

Before a timer is evaluated the log store is fenced at its T, so that no later commit can be stamped before it. One
state
transaction writes what a step decided together with its cursor: after a kill -9 the step is done again with the same
result.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from tocsin.alerts.active import OCCURRENCE
from tocsin.app.engine import stalled as silence
from tocsin.app.engine.exports import Exporter
from tocsin.app.engine.instants import Instants, until_tick
from tocsin.app.engine.known_series import present_rules
from tocsin.app.engine.notified_until import KEY, expired
from tocsin.app.engine.timers import TimerTable
from tocsin.app.engine.traces import log_alerts
from tocsin.clock import EPOCH, Clock
from tocsin.errors import StoreError
from tocsin.logstore.interface import CommitInfo, LogStore
from tocsin.metrics.registry import Metrics
from tocsin.model import crash
from tocsin.model.alert import ConditionState, Phase, Why, fingerprint
from tocsin.model.details import Details, Trouble
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Kind, Severity
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.deadline_table import DeadlineTable
from tocsin.rules.driver.evaluate import Evaluation, evaluate, schedule_deadlines, standing
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.kinds.registry import kind_of, kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import public_name
from tocsin.rules.timers import Released, due_timers
from tocsin.state.cached import CachedView
from tocsin.state.interface import Outcome, State

log = structlog.get_logger(__name__)

STEP_COMMITS = 1000
"""Commits of one step, at most."""
STEP_ROWS = 20_000
"""Rows of one step, at most (a single larger commit is still one step)."""
WAITING_POLL = 0.25
"""Seconds between looks at timers that wait for a watermark."""
IDLE_POLL = 1.0
"""Seconds between looks when nothing is due."""
SAVE_SECONDS = 1.0
"""How long the cursor may lag in the state behind commits about which nothing was decided: evaluated again, they say
the same.
"""
LATE = timedelta(seconds=5)
"""A timer evaluated later than this after its due time counts as late."""

FIRES = frozenset({Phase.FIRING, Phase.RECOVERING})


def in_order(commits: Sequence[CommitInfo], released: Sequence[Released], cursor: int, floor: datetime) -> Instants:
    """Merge commits and released timers by T, the commit first at equal T; each timer sees the commits before it.

    ``floor`` is the T of the last instant that was evaluated: a timer that comes late is evaluated at it.
    """
    out: list[CommitInfo | Released] = []
    seen, i = cursor, 0
    for timer in sorted(released, key=lambda r: max(r.at, floor)):
        at = max(timer.at, floor)
        while i < len(commits) and commits[i].ingested_at <= at:
            out.append(commits[i])
            seen, i = commits[i].seq, i + 1
        out.append(replace(timer, at=at, commit_seq=seen))
    out.extend(commits[i:])
    return out


class Evaluator:
    """Owns the order of evaluation. ``wake`` may be called from any thread."""

    def __init__(
        self,
        store: LogStore,
        state: State,
        metrics: Metrics,
        clock: Clock,
        *,
        source_progress: Callable[[], SourceProgress],
        notified: Callable[[], None],
        silences: Callable[[], Mapping[str, silence.SourceState]] = dict,
        expect: Callable[[Sequence[datetime]], None] = lambda _: None,
    ) -> None:
        """``expect`` is notified for which times watermarks are waited for, or will be next."""
        self._expect = expect
        self._store, self._state, self._metrics, self._clock = store, state, metrics, clock
        self._source_progress, self._notified, self._silences = source_progress, notified, silences
        self._rules = RuleSet({})
        self._pending: RuleSet | None = None
        self._shortest_wait: timedelta | None = None
        self._view = CachedView(state)
        self._timers = TimerTable(state.timers())
        self._deadlines = DeadlineTable()
        self._scheduled: dict[str, str] = {}  # absence rules in that table → the meaning they were computed with
        self._scheduled_for: RuleSet | None = None
        self._cursor = self._saved = state.row_cursor()
        self._save_by: float | None = None  # monotonic; None: the state has the cursor
        self._floor = state.timer_t() or EPOCH
        until = state.get(KEY)
        self._notified_until = datetime.fromisoformat(until) if until else None
        self.errors: dict[str, str] = {}
        self._active: dict[str, Counter[tuple[str, str]]] = {}  # rule → its active alerts by severity and kind
        self._exporter = Exporter(metrics.exports)
        self._gauge: Counter[tuple[str, str, str]] = (
            Counter()
        )  # the same by the rule's name as written: what the gauge says
        self._wake = threading.Event()
        self._holds = False  # whether anything waits for a watermark
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluator", daemon=True)
        self._swap = threading.Lock()
        if self._floor > EPOCH:
            store.fence(self._floor)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, rules: RuleSet) -> None:
        """Bring ``rules`` into force and start the thread."""
        self._reload(rules)
        self._thread.start()

    def stop(self) -> None:
        """Finish the step under way and end the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
            self._save()

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
        return self._rules

    @property
    def next_deadlines(self) -> Mapping[str, datetime]:
        """When the next deadline of a run comes, by rule; they are in memory only."""
        return self._deadlines.next_of_rules()

    @property
    def lag(self) -> int:
        """Commits that are not evaluated yet."""
        return max(0, self._store.head().seq - self._cursor)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = 0.1
        while not self._stop.is_set():
            self._wake.clear()
            try:
                with self._swap:
                    pending, self._pending = self._pending, None
                if pending is not None:
                    self._save()
                    self._reload(pending)
                worked = self.step()
                if self._save_by is not None and self._clock.monotonic() >= self._save_by:
                    self._save()
                if worked:
                    wait = 0.1
                    continue
                self._wake.wait(self._patience())
            except StoreError as e:
                log.warning("evaluation_waits_for_store", error=str(e), retry_in_s=wait)
                self._stop.wait(wait)
                wait = min(wait * 2, 5.0)
            except Exception:
                log.exception("evaluation_failed", retry_in_s=wait)
                self._stop.wait(wait)
                wait = min(wait * 2, 30.0)

    def _patience(self) -> float:
        held = self._timers.held + self._deadlines.held
        self._metrics.set("tocsin_timers_waiting", held)
        self._metrics.set("tocsin_evaluate_timers", len(self._timers) + len(self._deadlines))
        self._metrics.set("tocsin_evaluate_cursor_lag_commits", self.lag)
        due = self._evaluate_ahead()
        until = IDLE_POLL if due is None else max(0.0, (due - self._clock.now()).total_seconds())
        return min(until, WAITING_POLL if held else IDLE_POLL)

    def _evaluate_ahead(self) -> datetime | None:
        """When something comes due next. Sources are notified of it, and of what is held."""
        self._holds = self._timers.held + self._deadlines.held > 0
        due = min(filter(None, (self._timers.next_due(), self._deadlines.next_due())), default=None)
        held = max(filter(None, (self._timers.last_waiting(), self._deadlines.last_waiting())), default=None)
        # More than the next one: what comes while this thread evaluates, or waits for a commit, is asked about in time
        # too.
        self._expect([*(at for at in (held, due) if at is not None), *self._deadlines.soon()])
        return due

    def step(self) -> bool:
        """Evaluate what is there now; whether there was something."""
        self._evaluate_ahead()
        now = self._clock.now()
        self._schedule_deadlines()
        self._watch_sources(now)
        source_progress = self._source_progress()
        released = due_timers([*self._timers.past(now), *self._deadlines.past(now)], now, source_progress, self._cursor)
        fenced = self._store.fence(max(max(r.at for r in released), self._floor)) if released else None
        commits = self._commits()
        if fenced is not None and commits and commits[-1].seq < fenced.seq:
            released = [
                r for r in released if r.at <= commits[-1].ingested_at
            ]  # the others wait for the commits before them
        instants = until_tick(in_order(commits, released, self._cursor, self._floor), self._shortest_wait)
        if not instants:
            return False
        released = [instant for instant in instants if isinstance(instant, Released)]
        began = self._clock.monotonic()
        settled = self._deadlines.is_settled
        evaluation = evaluate(
            self._rules, instants, self._cursor, self._store, self._view, source_progress, settled=settled
        )
        self._write(evaluation.outcome, evaluation)
        last = instants[-1]
        self._floor = max(self._floor, last.at if isinstance(last, Released) else last.ingested_at)
        kind = "commit" if len(released) < len(instants) else "timer"
        self._metrics.observe("tocsin_rule_evaluation_duration_seconds", self._clock.monotonic() - began, kind=kind)
        self._metrics.set("tocsin_rule_last_evaluation_timestamp_seconds", self._clock.now().timestamp(), kind=kind)
        if skipped := sum(r.skipped for r in released):
            self._metrics.inc("tocsin_evaluate_coalesced_ticks_total", skipped)
            log.warning("ticks_coalesced", ticks=skipped)
        if late := sum(r.at - r.timer.due > LATE for r in released):
            self._metrics.inc("tocsin_evaluate_late_timers_total", late)
        return True

    def _commits(self) -> list[CommitInfo]:
        found = list(self._store.commits(self._cursor, STEP_COMMITS))
        rows = 0
        for i, commit in enumerate(found):
            rows += commit.rows
            if i and rows > STEP_ROWS:
                return found[:i]
        return found

    def _reload(self, rules: RuleSet) -> None:
        """A reload is an instant: what it decides is written before anything is evaluated by the new rules."""
        outcome = reconcile(
            rules,
            self._view.rules(),
            self._store.head().seq,
            now=max(self._clock.now(), self._floor),
            timers=self._timers,
            conditions=self._view.conditions,
        )
        if self._cursor == 0 and not self._view.rules():
            outcome = replace(outcome, row_cursor=self._store.head().seq)
        self._write(outcome)
        if outcome.rules_gone or outcome.rules_renamed:
            self._timers = TimerTable(self._state.timers())
        self._rules = rules
        self._exporter.use(rules, self._view.conditions)
        waits = (kind.shortest_wait(rules.of(kind)) for kind in kinds())
        self._shortest_wait = min((wait for wait in waits if wait is not None), default=None)
        for rule in rules.enabled.values():
            if kind_of(rule).remembers(rule):
                self._count_active(Outcome(conditions=tuple(self._view.conditions(rule.name).values())))
        self._schedule_deadlines()
        self.errors = {name: text for name, text in self.errors.items() if name in rules.enabled}
        present_rules(self._metrics, rules)
        loaded = Counter(rule.word for rule in rules.enabled.values())
        for word in dict.fromkeys(kind.word for kind in kinds()):
            self._metrics.set("tocsin_rules_loaded", loaded[word], kind=word)

    def _watch_sources(self, now: datetime) -> None:
        """Hold sources to their word: the one alert ``source-stalled``."""
        outcome = silence.evaluate_sources(self._silences(), self._view.conditions(silence.RULE), now, self._cursor)
        if outcome is not None:
            self._write(outcome)

    def _schedule_deadlines(self) -> None:
        """Compute the deadlines of absence rules that are new or mean something else; forget those of rules that are
        gone.
        """
        if self._scheduled_for is self._rules:
            return
        wanted = standing(self._rules)
        for name in [name for name, meaning in self._scheduled.items() if wanted.get(name) != meaning]:
            self._deadlines.forget(name)
            del self._scheduled[name]
        fresh = wanted.keys() - self._scheduled.keys()
        if not fresh:
            self._scheduled_for = self._rules
            return
        self._deadlines.unsettle()
        at = max(self._clock.now(), self._floor)
        evaluation = schedule_deadlines(
            self._rules, fresh, at, self._cursor, self._store, self._view, self._source_progress(), list(self._timers)
        )
        self._write(evaluation.outcome, evaluation)
        self._scheduled |= {name: wanted[name] for name in fresh}
        self._scheduled_for = self._rules

    def _write(self, outcome: Outcome, evaluation: Evaluation | None = None) -> None:
        outcome = expired(outcome, self._notified_until)
        fresh = [f for f in evaluation.failures if f.rule not in self.errors] if evaluation else []
        if fresh:  # the first failure of a rule is notified to the admins, in the transaction that keeps its state
            intents, info = _admin_intents([(f.rule, f.error, f.at, f.commit_seq) for f in fresh])
            outcome = replace(outcome, intents=(*outcome.intents, *intents), infos=(*outcome.infos, info))
        if outcome.row_cursor is not None and outcome == Outcome(row_cursor=outcome.row_cursor):
            self._cursor = outcome.row_cursor
            self._save_by = self._save_by or self._clock.monotonic() + SAVE_SECONDS
        else:
            self._commit(outcome)
        self._view.written(outcome)
        log_alerts(outcome.intents)
        self._count_active(outcome)
        for timer in outcome.timers:
            self._timers.put(timer)
        for gone in outcome.timers_gone:
            self._timers.drop((gone[0], str(gone[1]), gone[2]))
        if outcome.intents:
            self._notified()
        if evaluation is not None:
            self._deadlines.take(evaluation.deadlines, evaluation.settles)
            self._exporter.take(evaluation.measured)
            self._count(evaluation)

    def _commit(self, outcome: Outcome) -> None:
        """Make ``outcome`` durable, with the cursor as it is."""
        cursor = self._cursor if outcome.row_cursor is None else outcome.row_cursor
        if cursor != self._saved:
            outcome = replace(outcome, row_cursor=cursor)
        self._state.commit(outcome, self._clock.now())
        self._cursor = self._saved = cursor
        self._save_by = None
        crash.point("after_state_commit")

    def _save(self) -> None:
        if self._cursor != self._saved:
            self._commit(Outcome())

    def _count_active(self, outcome: Outcome) -> None:
        """Update the gauge of active alerts."""
        changed = {c.rule for c in outcome.conditions} | {rule for rule, _ in outcome.conditions_gone}
        for rule in changed | {*outcome.rules_gone} | {name for pair in outcome.rules_renamed for name in pair}:
            known = self._rules.enabled.get(rule)
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
        for (rule, severity), n in evaluation.notified.items():
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
    """tocsin's own trouble, to be notified to ``admin_email``."""
    return Intent(
        rule=ADMIN.name,
        rule_version=ADMIN.version,
        instance={"title": title},
        occurrence=fingerprint(title, detail, at.isoformat()),
        kind=IntentKind.ADMIN,
        severity=Severity.ERROR,
        why=Why.FIRST,
        details=Details(trouble=Trouble(title=title, text=detail)),
        commit_seq=commit_seq,
        at=at,
    )
