"""What a rule would have notified over stored history, by the engine that runs it live: the driver, by another clock
and from another source.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace

from tocsin.clock import Clock
from tocsin.errors import TocsinError
from tocsin.logstore.interface import LogReader
from tocsin.rules.backtest.result import SHOWN, Backtest, Most, Notified, Result
from tocsin.rules.backtest.view import AsIfLive, Recorder
from tocsin.rules.driver.driver import Read
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.driver.outages import OutageCalendar, Outages
from tocsin.rules.driver.replay import Replay
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.ranges import count, head_before
from tocsin.rules.spec.rule import Rule
from tocsin.state.interface import Outcome

__all__ = ["Backtest", "Most", "NotYet", "Notified", "backtest"]

Progress = Callable[[int, int], None]
"""Notified after each step: rows done, rows in all."""


class NotYet(TocsinError):
    """The rule is of a kind that cannot be backtested."""


def backtest(
    rule: Rule,
    reader: LogReader,
    span: Span,
    *,
    clock: Clock,
    as_if_live: bool = False,
    progress: Progress | None = None,
    outages: Outages | None = None,
) -> Backtest:
    """Evaluate ``rule`` over what arrived in ``span``, as if it had come into force at its begin.

    With ``as_if_live`` event times stand for arrival times, for imported history. ``outages`` is when consumers are
    known not to have been reached; as if live nobody ever was. Only reads. Raises NotYet for a rule that cannot be backtested, QueryError and StoreError of the reader.
    """
    if rule.each is not None:
        one = f", for example {rule.each.rules[0].name}" if rule.each.rules else ""
        raise NotYet(f"{rule.name} is one rule for each row of {rule.each.table}: name the row{one}")
    began = clock.monotonic()
    rule = replace(rule, enabled=True)
    log = AsIfLive(reader) if as_if_live else reader
    result, total = Result(), count(log, span.since, span.until)
    shares = _driven(rule, log, span, OutageCalendar({} if as_if_live or not outages else outages), result)
    with closing(shares):  # where it is left early, what reads ahead ends at once
        for share in shares:
            if progress:
                progress(round(share * total), total)
            if result.broken:
                break
    return result.result(rule, span.since, span.until, as_if_live, total, clock.monotonic() - began)


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
