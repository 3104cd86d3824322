"""What evaluations remember and decide: rules, occurrences, conditions, timers, backfills, intents, and the cursors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Table, bindparam, case, delete, func, or_, select, update

from tocsin.model.alert import Occurrence, Phase
from tocsin.model.instants import Timer
from tocsin.model.remembered import ConditionState
from tocsin.state import codecs
from tocsin.state.active import ActiveAlerts
from tocsin.state.dialects import Bulk, SqlDialect
from tocsin.state.interface import Backfill, Outcome, RuleRecord, State
from tocsin.state.tables import alerts as alerts_table
from tocsin.state.tables import backfills, conditions, intents, marks, occurrences, rule_infos, rules, timers

_T = bindparam("t", type_=marks.c.timer_t.type)
_SET_CURSOR = update(marks).values(row_cursor=bindparam("cursor"))
_SET_TIMER_T = update(marks).values(
    timer_t=case((or_(marks.c.timer_t.is_(None), marks.c.timer_t < _T), _T), else_=marks.c.timer_t)
)
_RULES = select(rules)
_CONDITIONS = select(conditions).where(conditions.c.rule == bindparam("of"))
_PHASES = select(conditions.c.rule, conditions.c.phase, func.count()).group_by(conditions.c.rule, conditions.c.phase)
_TIMERS = select(timers).order_by(timers.c.due, timers.c.rule, timers.c.kind, timers.c.key)
_BACKFILLS = select(backfills).order_by(backfills.c.rule, backfills.c.consumer)
_MAX_CURSOR = select(
    select(marks.c.row_cursor).scalar_subquery().label("rows"),
    select(func.coalesce(func.max(rules.c.cursor_seq), 0)).scalar_subquery().label("cursors"),
    select(func.coalesce(func.max(rules.c.start_seq), 0)).scalar_subquery().label("starts"),
)
_OF_A_RULE = ((rules, "name"), (occurrences, "rule"), (conditions, "rule"), (timers, "rule"), (backfills, "rule"))


def _gone(dialect: SqlDialect, table: Table, *key: str) -> Bulk:
    return dialect.bulk(delete(table).where(*(table.c[k] == bindparam(k) for k in key)), key)


class Evaluation:
    """Statements of the evaluator, each on the caller's transaction."""

    def __init__(self, dialect: SqlDialect, alerts: ActiveAlerts) -> None:
        self._dialect, self._alerts = dialect, alerts
        self._put_rule = dialect.upsert(rules, ["name"])
        self._put_occurrence = dialect.upsert(
            occurrences, ["run_id", "rule", "source", "event_id", "time_us"], only=["phase"]
        )
        self._put_condition = dialect.upsert(conditions, ["rule", "instance"])
        self._put_timer = dialect.upsert(timers, ["rule", "kind", "key"])
        self._put_backfill = dialect.upsert(backfills, ["rule", "consumer"])
        self._put_info = dialect.insert_new(rule_infos, ["version"])
        self._put_intent = dialect.insert_new(intents, ["id"], without=["seq", "consumed_at"])
        self._condition_gone = _gone(dialect, conditions, "rule", "instance")
        self._timer_gone = _gone(dialect, timers, "rule", "kind", "key")
        self._backfill_gone = _gone(dialect, backfills, "rule", "consumer")
        runs = dialect.texts("runs")
        of_runs = runs.join(occurrences, occurrences.c.run_id == runs.c.value)
        self._notified = (
            select(occurrences)
            .select_from(of_runs)
            .order_by(occurrences.c.time_us, occurrences.c.source, occurrences.c.event_id)
        )
        self._rules_notified_of = select(occurrences.c.run_id, occurrences.c.rule).select_from(of_runs)

    # -- what is remembered ------------------------------------------------------------------------------------------

    def rules(self, tx: Connection) -> dict[str, RuleRecord]:
        """All rules by name."""
        return {row.name: codecs.rule_of(row) for row in tx.execute(_RULES)}

    def notified(self, tx: Connection, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Occurrence]]:
        """Occurrences by (rule, run), in event-time order; pairs without any are left out."""
        wanted = set(pairs)
        found: dict[tuple[str, str], list[Occurrence]] = {}
        if wanted:
            runs = self._dialect.pack(sorted({run for _, run in wanted}))
            for row in tx.execute(self._notified, {"runs": runs}):
                if (row.rule, row.run_id) in wanted:
                    found.setdefault((row.rule, row.run_id), []).append(codecs.occurrence_of(row))
        return found

    def rules_notified_of(self, tx: Connection, run_ids: Iterable[str]) -> dict[str, frozenset[str]]:
        """Rules by run."""
        runs = list(run_ids)
        alone: dict[str, frozenset[str]] = {}  # most runs have one rule: one set serves all of them
        found: dict[str, frozenset[str]] = {}
        if runs:
            for run, rule in tx.execute(self._rules_notified_of, {"runs": self._dialect.pack(runs)}):
                only = alone.get(rule) or alone.setdefault(rule, frozenset((rule,)))
                known = found.get(run)
                found[run] = only if known is None else known | only
        return found

    def conditions(self, tx: Connection, rule: str) -> dict[str, ConditionState]:
        """Instances of a rule by key."""
        return {row.instance: codecs.condition_of(row) for row in tx.execute(_CONDITIONS, {"of": rule})}

    def phases(self, tx: Connection) -> dict[str, dict[Phase, int]]:
        """Counts of instances by rule and phase."""
        found: dict[str, dict[Phase, int]] = {}
        for rule, phase, count in tx.execute(_PHASES):
            found.setdefault(rule, {})[Phase(phase)] = count
        return found

    def timers(self, tx: Connection) -> list[Timer]:
        """All timers by due."""
        return [codecs.timer_of(row) for row in tx.execute(_TIMERS)]

    def backfills(self, tx: Connection) -> list[Backfill]:
        """All backfills."""
        return [codecs.backfill_of(row) for row in tx.execute(_BACKFILLS)]

    def max_cursor(self, tx: Connection) -> int:
        """The greatest CommitSeq of any cursor or rule start."""
        return max(int(n) for n in tx.execute(_MAX_CURSOR).one())

    # -- what is decided ---------------------------------------------------------------------------------------------

    def commit(self, tx: Connection, o: Outcome, now: datetime) -> None:
        """Write an outcome: renamings, then what is gone, then what is put."""
        for old, new in o.rules_renamed:
            self._forget_rule(tx, new)
            for table, column in (*_OF_A_RULE, (intents, "rule"), (alerts_table, "rule")):
                tx.execute(update(table).where(table.c[column] == old).values({column: new}))
        for name in o.rules_gone:
            self._forget_rule(tx, name)
        self._condition_gone.run(tx, [{"rule": r, "instance": i} for r, i in o.conditions_gone])
        self._timer_gone.run(tx, [{"rule": r, "kind": str(k), "key": key} for r, k, key in o.timers_gone])
        self._backfill_gone.run(tx, [{"rule": r, "consumer": c} for r, c in o.backfills_gone])
        self._put_rule.run(tx, [codecs.rule_row(r) for r in o.rules])
        self._put_occurrence.run(tx, [codecs.occurrence_row(x) for x in o.occurrences])
        self._put_condition.run(tx, [codecs.condition_row(c) for c in o.conditions])
        self._put_timer.run(tx, [codecs.timer_row(t) for t in o.timers])
        self._put_backfill.run(tx, [codecs.backfill_row(c) for c in o.backfills])
        self._put_info.run(tx, [codecs.info_row(i) for i in o.infos])
        self._put_intent.run(tx, [codecs.intent_row(i) for i in o.intents])
        self._alerts.evaluated(tx, o.intents, o.transitions, now)
        if o.row_cursor is not None:
            tx.execute(_SET_CURSOR, {"cursor": o.row_cursor})
        if o.timer_t is not None:
            tx.execute(_SET_TIMER_T, {"t": o.timer_t})

    def adopt(self, tx: Connection, head_seq: int) -> None:
        """Move cursors and rule starts to ``head_seq``; drop timers and backfills."""
        tx.execute(_SET_CURSOR, {"cursor": head_seq})
        tx.execute(update(rules).values(start_seq=head_seq))
        tx.execute(update(rules).where(rules.c.cursor_seq.is_not(None)).values(cursor_seq=head_seq))
        tx.execute(delete(timers))
        tx.execute(delete(backfills))

    def _forget_rule(self, tx: Connection, name: str) -> None:
        for table, column in _OF_A_RULE:
            tx.execute(delete(table).where(table.c[column] == name))


class CachedView:
    """A ``StateView``: rules and backfills from memory, occurrences from the state. Only the evaluator writes them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rules = dict(state.rules())
        self._backfills = {(c.rule, c.consumer): c for c in state.backfills()}
        self._conditions: dict[str, dict[str, ConditionState]] = {}  # by rule, read when first asked for
        self._holding = set(state.phases())  # rules that may have some: of ten thousand rows of a table few do

    def rules(self) -> Mapping[str, RuleRecord]:
        """As ``State.rules``."""
        return self._rules

    def backfills(self) -> Sequence[Backfill]:
        """As ``State.backfills``."""
        return list(self._backfills.values())

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """As ``State.conditions``."""
        if rule not in self._conditions:
            self._conditions[rule] = dict(self._state.conditions(rule)) if rule in self._holding else {}
        return self._conditions[rule]

    def notified(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[Occurrence]]:
        """As ``State.notified``."""
        return self._state.notified(pairs)

    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """As ``State.rules_notified_of``."""
        return self._state.rules_notified_of(run_ids)

    def written(self, outcome: Outcome) -> None:
        """``outcome`` is durable now."""
        if outcome.rules_renamed or outcome.rules_gone:
            self.__init__(self._state)  # type: ignore[misc]
            return
        self._rules.update({r.name: r for r in outcome.rules})
        self._backfills.update({(c.rule, c.consumer): c for c in outcome.backfills})
        for gone in outcome.backfills_gone:
            self._backfills.pop(gone, None)
        for state in outcome.conditions:
            self._holding.add(state.rule)
            if state.rule in self._conditions:
                self._conditions[state.rule][state.key] = state
        for rule, key in outcome.conditions_gone:
            self._conditions.get(rule, {}).pop(key, None)
