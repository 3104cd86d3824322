"""Which commits of a history can matter to an event rule.

part      those with rows of runs of which the rule matches a row, or remembers something; the others would be
          read and left
timers    evaluated after the commits of their part, unless one decides about later commits
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tocsin.errors import QueryError
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.instants import Timer
from tocsin.model.remembered import Parent
from tocsin.rules.history import listed, micros
from tocsin.rules.kinds.base import Part, Remembered, Span
from tocsin.rules.kinds.event.matching import narrowed
from tocsin.rules.kinds.event.parents.collapse import KEPT
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.ranges import Range, commit, commits_in, ranges

_AMONG = "IN (SELECT unnest(($runs::JSON)::VARCHAR[]))"


@dataclass(frozen=True, slots=True)
class Ahead:
    """Parents that may be forgotten in a part, and of which it brings something; None: any."""

    touched: Collection[str] | None


def candidates(rule: EventRule, log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
    """As ``Kind.candidates``. Runs of which nothing more comes are forgotten after their part."""
    done: dict[str, str] = {}
    for part in ranges(log, span.since, span.until, span.rows):
        commits, broken = _commits(log, rule, remembered.runs, part)
        ahead = Ahead(_touched(log, rule, remembered, commits, part))
        note = (str(broken), len(commits)) if broken is not None else None
        yield Part(commits=commits, end=part.end, share=part.share, ahead=ahead, note=note)
        column = rule.spec.collapse.column if rule.spec.collapse else "RunId"
        done |= over(log, column, remembered.runs - done.keys(), part.after, part.hi)
        unneeded = done.keys() - _asked(remembered, rule, done)
        remembered.forget(unneeded)
        for run in unneeded:
            del done[run]


def apart(rule: EventRule) -> timedelta | None:
    """As ``Kind.apart``."""
    found = [KEPT] if rule.spec.collapse is not None else []
    policy = rule.spec.resolve_policy
    if policy is not None and _ends_matter(rule):
        found += [policy.after, policy.repeat or policy.after]
    return min(found, default=None)


def decides(rule: EventRule, timer: Timer, ahead: object) -> bool:
    """As ``Kind.decides``: where a parent is forgotten, or alerts end."""
    if isinstance(timer.data, Parent):
        touched = ahead.touched if isinstance(ahead, Ahead) else None
        return touched is None or timer.data.parent in touched
    return _ends_matter(rule)


def _ends_matter(rule: EventRule) -> bool:
    """Whether what comes later depends on what became of open alerts meanwhile: not where they are only notified
    again, and closed.
    """
    policy = rule.spec.resolve_policy
    return policy is not None and (policy.recovers or rule.spec.collapse is not None)


def _commits(
    log: LogReader, rule: EventRule, known: Collection[str], part: Range
) -> tuple[list[CommitInfo], QueryError | None]:
    """The commits that can matter to the rule, and the last one of the part in any case. All, where the rule cannot be
    asked of all rows at once: the engine finds those that it cannot evaluate.
    """
    broken: QueryError | None = None
    policy = rule.spec.resolve_policy
    ends = policy.statuses if policy is not None else frozenset[str]()  # of events that end alerts of any run
    try:
        runs = _matching_runs(log, rule, part)
        where = f"RunId {_AMONG} OR list_contains(($ends::JSON)::VARCHAR[], Status)"
        params: dict[str, object] = {"runs": listed(runs.union(known)), "ends": listed(ends)}
    except QueryError as e:
        where, params, broken = "", {}, e
    commits = commits_in(log, part.after, part.hi, where, params)
    if part.rows and (not commits or commits[-1].seq < part.hi):
        commits.append(commit(part.hi, micros(part.last), 1))
    return commits, broken


def _matching_runs(log: LogReader, rule: EventRule, part: Range) -> set[str]:
    """Runs of which the rule matches a row. Raises QueryError where that cannot be asked at once."""
    rows_sql, bounds = log.rows_of(part.after, part.hi)
    if rule.spec.below is not None:
        rows_sql, bounds, _ = narrowed(log, [rule], rows_sql, bounds)
    sql, constants = rule.spec.plan.bind(rows_sql, [(0, rule.spec.plan.constants)])
    table = log.select(f'SELECT DISTINCT "RunId" FROM ({sql})', {**bounds, **constants})
    runs = set(table.column(0).to_pylist())
    if rule.spec.collapse is None:
        return runs
    rows_sql, bounds = log.rows_of(part.after, part.hi)
    sql = f"SELECT DISTINCT {rule.spec.collapse.column} FROM ({rows_sql}) WHERE RunId {_AMONG}"
    parents = log.select(sql, {**bounds, "runs": listed(runs)}).column(0).to_pylist()
    return runs | (set(parents) - {""})


def _touched(
    log: LogReader, rule: EventRule, remembered: Remembered, commits: Collection[CommitInfo], part: Range
) -> Collection[str] | None:
    """Parents of which something would be forgotten in the part, and of which it brings something; None where it is
    so long that what it begins may be forgotten in it.
    """
    if rule.spec.collapse is None:
        return ()
    if commits and part.end - min(each.ingested_at for each in commits) >= KEPT:
        return None
    parents = {t.data.parent for t in remembered.timers if isinstance(t.data, Parent) and t.due <= part.end}
    if not parents:
        return ()
    rows_sql, bounds = log.rows_of(part.after, part.hi)
    column = rule.spec.collapse.column
    table = log.select(
        f"SELECT DISTINCT unnest([{column}, RunId]) AS parent FROM ({rows_sql})"
        f" WHERE {column} {_AMONG} OR RunId {_AMONG}",
        {**bounds, "runs": listed(sorted(parents))},
    )
    return parents & set(table.column(0).to_pylist())


def over(log: LogReader, column: str, runs: Collection[str], lo: int, hi: int) -> dict[str, str]:
    """Those of ``runs`` that commits in (lo, hi] touched, and none after these; each with what it has in ``column``."""
    runs_sql, bounds = log.runs_touched(lo, hi)
    sql = f"SELECT RunId, {column} FROM ({runs_sql}) WHERE RunId {_AMONG}"
    table = log.select(sql, {**bounds, "runs": listed(runs)})
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def _asked(remembered: Remembered, rule: EventRule, done: Mapping[str, str]) -> set[str]:
    """Runs among those that are ``done`` of which it is still asked what was notified: alerts of them are open, or
    their parents' groups are remembered. ``done`` gives the parent of each.
    """
    states = remembered.conditions(rule.name).values()
    open_ = {state.data.active.run for state in states if state.data.active is not None}
    parents = {str(state.instance.get("RunId")) for state in states} if rule.spec.collapse is not None else set()
    return {run for run, parent in done.items() if run in open_ or parent in parents}
