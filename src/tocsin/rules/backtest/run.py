"""What a rule would have notified over stored history, by the engine that runs it live: the driver, by another clock
and from another source.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.clock import Clock
from tocsin.errors import TocsinError
from tocsin.logstore.interface import LogReader
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.backtest.result import SHOWN, Backtest, Most, Notified, Result
from tocsin.rules.backtest.view import AsIfLive, Recorder
from tocsin.rules.backtest.windows import FEW, Step, WindowReplay
from tocsin.rules.driver.driver import Read
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.driver.outages import OutageCalendar, Outages
from tocsin.rules.driver.replay import Replay
from tocsin.rules.history import micros
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.spec import WindowRule, WindowSpec
from tocsin.rules.ranges import count, head_before, ranges
from tocsin.rules.spec.rule import Rule, of_spec
from tocsin.state.interface import Outcome

__all__ = ["Backtest", "Most", "NotYet", "Notified", "backtest"]

STEP_ROWS = 125_000
"""Rows of one step: they, or what is notified of them with its whole row, are in memory meanwhile."""
TICKS = 50_000
"""Ticks of a window rule in one step, however little came: so many instants are in memory."""
US = timedelta(microseconds=1)

Progress = Callable[[int, int], None]
"""Notified after each step: rows done, rows in all."""


class NotYet(TocsinError):
    """The rule is of a kind that cannot be backtested."""


def backtest(
    rule: Rule,
    reader: LogReader,
    since: datetime,
    until: datetime,
    *,
    clock: Clock,
    as_if_live: bool = False,
    progress: Progress | None = None,
    step_rows: int = STEP_ROWS,
    few: int = FEW,
    ticks: int = TICKS,
    outages: Outages | None = None,
) -> Backtest:
    """Evaluate ``rule``, as if it had come into force at ``since``, over what arrived in [since, until).

    With ``as_if_live`` event times stand for arrival times, for imported history. So ``few`` instants of a window
    rule are
    not read at once, nor more ticks than ``ticks``. ``outages`` is when consumers are known not to have been
    reached; as if live nobody ever was. Only reads. Raises
    NotYet for a rule that cannot be backtested, QueryError and StoreError of the reader.
    """
    if rule.each is not None:
        one = f", for example {rule.each.rules[0].name}" if rule.each.rules else ""
        raise NotYet(f"{rule.name} is one rule for each row of {rule.each.table}: name the row{one}")
    began = clock.monotonic()
    rule = replace(rule, enabled=True)
    log = AsIfLive(reader) if as_if_live else reader
    span = Span(since=since, until=until, rows=step_rows)
    result, total = Result(), count(log, since, until)
    if isinstance(rule.spec, WindowSpec):
        shares = _windows(of_spec(rule, WindowSpec), log, span, result, few, ticks)
    else:
        shares = _driven(rule, log, span, OutageCalendar({} if as_if_live or not outages else outages), result)
    with closing(shares):  # where it is left early, what reads ahead ends at once
        for share in shares:
            if progress:
                progress(round(share * total), total)
            if result.broken:
                break
    return result.result(rule, since, until, as_if_live, total, clock.monotonic() - began)


def _driven(rule: Rule, log: LogReader, span: Span, outages: OutageCalendar, result: Result) -> Generator[float]:
    """Let the driver evaluate ``rule`` over ``span``; yields which share of it is done."""
    recorder = Recorder([])

    def take(outcome: Outcome, evaluation: Evaluation | None) -> None:
        recorder.take(outcome)
        if evaluation is not None:
            result.take(evaluation)

    replay = Replay(rule, log, recorder, head_before(log, span.since), outages, Read(shown=SHOWN), take)
    for part in replay.play(kind_of(rule).candidates(rule, log, span, recorder), lambda: not result.broken):
        if part.note:
            result.note(*part.note)
        yield part.share


def _windows(rule: WindowRule, log: LogReader, span: Span, result: Result, few: int, ticks: int) -> Generator[float]:
    """The same of a window rule, by a loop of its own."""
    recorder = Recorder([])
    rules = RuleSet({rule.name: rule})
    recorder.take(reconcile(rules, {}, head_before(log, span.since).seq, now=span.since))
    replay = WindowReplay(rules, log, recorder, span.since, result.take, few, result.note)
    with closing(replay.play(_steps(log, span, ticks * rule.spec.every))) as steps:
        for step in steps:
            yield step.share


def _steps(log: LogReader, span: Span, longest: timedelta) -> Iterator[Step]:
    begin, done = span.since, 0.0
    for each in ranges(log, span.since, span.until, span.rows):
        everybody = _everybody(log, each.after, each.hi, each.end)
        whole = Step(
            lo=each.after, hi=each.hi, rows=each.rows, end=each.end, share=each.share, source_progress=everybody
        )
        yield from [whole] if each.end - begin <= longest else _parts(log, whole, begin, longest, done)
        begin, done = each.end, each.share


def _parts(log: LogReader, step: Step, begin: datetime, longest: timedelta, done: float) -> Iterator[Step]:
    """A step after ``begin`` in which so little came that it is long, in parts that are not. ``done`` is the share
    of what came before it.
    """
    share_of_row = (step.share - done) / max(step.rows, 1)
    rows_sql, bounds = history.commit_rows(step.lo, step.hi)
    table = log.select(
        "SELECT (epoch_us(IngestedAt) - $begin - 1) // $longest AS part, max(CommitSeq), count(*)"
        f" FROM ({rows_sql}) GROUP BY part ORDER BY part",
        {**bounds, "begin": micros(begin), "longest": longest // US},
    )
    came = {part: (hi, rows) for part, hi, rows in zip(*(c.to_pylist() for c in table.columns), strict=True)}
    lo = step.lo
    for part in range(-((begin - step.end) // longest)):
        hi, rows = came.get(part, (lo, 0))
        done += rows * share_of_row
        yield replace(step, lo=lo, hi=hi, rows=rows, end=min(begin + (part + 1) * longest, step.end), share=done)
        lo = hi


def _everybody(log: LogReader, after: int, hi: int, until: datetime) -> SourceProgress:
    """Every consumer has reported up to the end of the step."""
    rows_sql, bounds = history.commit_rows(after, hi)
    names = log.select(f"SELECT DISTINCT Consumer FROM ({rows_sql})", bounds).column(0).to_pylist()
    return SourceProgress(watermarks=dict.fromkeys(names, until), kinds=dict.fromkeys(names, "http"))
