"""What a kind of rules is: a package beside this module that defines a ``Kind`` and says so as ``kind.KIND``.

    file      claims, compile, filled      the rule as it is written → its spec
    engine    gather, on_commits, on_timers, schedule, retry      commits and timers → ``Memory``
    backtest  candidates, apart, decides                          what of a history is evaluated, and what together
    people    explain, lint, preview       what it does, in words

What has a default here need not be said. All SQL of a kind goes through ``Given.reader``; what it decides goes into
``Given.memory``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from tocsin.alerts.conditions import Terms, changed
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.remembered import ConditionState
from tocsin.model.statuses import Severity
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.language.checks import Ends
from tocsin.rules.language.lint_query import Findings
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.written import Head, TableRow, Written
from tocsin.rules.memory import Memory
from tocsin.rules.ranges import commits_in, ranges
from tocsin.rules.spec.rule import Rule, RuleOf, Spec
from tocsin.rules.timers import Released

S = TypeVar("S", bound=Spec)
G = TypeVar("G")
M = TypeVar("M")

Rows = Callable[[Rule, str], Sequence[TableRow]]
"""Rows of a reference table that a rule goes over, by its name."""


STEP_ROWS = 125_000
"""Rows of one step of a backtest: they, or what is notified of them with its whole row, are in memory meanwhile."""
TICKS = 50_000
"""Ticks of a window rule in one part of a history, however little came: so many instants are in memory."""
FEW = 64
"""So few of its instants are not read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an evaluation works with."""

    reader: LogReader
    memory: Memory
    source_progress: SourceProgress
    ahead: Any = None  # what a backtest has read already, for the kind that it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a kind makes of a rule as it is written."""

    spec: Spec | None  # None: something is wrong
    query: str = ""
    columns: Mapping[str, str] | None = None  # that its rows give, with their types; None: not known
    by: tuple[str, ...] = ()
    subject: str = ""  # of the mail, where the rule says none
    severity: Severity | None = None  # where the rule says no single one
    also: frozenset[str] = frozenset()  # what texts of mails may name besides
    ends: Ends = field(default_factory=Ends)
    sql: bool = False  # whether the query is SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """A row of a table, for a rule that was compiled with probes in place of its values."""

    row: TableRow
    values: Mapping[object, object]  # probe → value
    text: Callable[[str], str]  # KQL with the values in place of the probes
    when: When | None  # as it is written


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a rule does, in words; what is '' or empty does not apply."""

    ends: str = ""  # what ends an alert, and after how long it is closed
    repeats: str = "never"  # how often it is notified again meanwhile
    final: str = "no"
    collapse: str = ""
    shape: str = ""
    constants: tuple[object, ...] = ()
    sql: str = ""
    window: Mapping[str, str] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is most likely wrong with a rule."""

    key: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that a schedule expects."""

    instance: Mapping[str, object]
    at: datetime  # UTC
    due: datetime  # its deadline; UTC
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What was seen."""

    rows: Sequence[Mapping[str, object]] = ()
    of: str = ""  # what was evaluated, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The history that a backtest goes over: what arrived in [since, until)."""

    since: datetime
    until: datetime
    rows: int = STEP_ROWS  # of one part, about
    ticks: int = TICKS  # at most so many of a window rule are read at once
    few: int = FEW  # so few are not read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a history, read ahead."""

    commits: Sequence[CommitInfo]  # those that can matter to the rule, in order
    end: datetime  # no commit of a later part is stamped at or before it; UTC
    share: float  # of the history that is done with it
    ahead: Any = None  # for ``Given.ahead``
    note: tuple[str, int] | None = None  # why so many commits were not read together


class Remembered(Protocol):
    """What a replay remembers when the next part is read."""

    @property
    def timers(self) -> Collection[Timer]:
        """Those that are set."""

    @property
    def runs(self) -> set[str]:
        """Runs of which something is remembered, parents of such ones too."""

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """As ``State.conditions``."""

    def forget(self, runs: Iterable[str]) -> None:
        """What was notified of ``runs`` is asked for no more; those that a timer is about are kept."""


class Kind(ABC, Generic[S, G]):
    """Rules of one kind. ``S`` is their spec, ``G`` what is made of all of them once, when they come into force."""

    name: ClassVar[str]  # in the registry; the kind of its specs
    word: ClassVar[str]  # what people call it; several kinds may share one
    called: ClassVar[str]  # in a sentence: a window rule
    how: ClassVar[str]  # what such a rule is written with
    when_how: ClassVar[str] = ""  # the same under `when:`, where that is something else
    order: ClassVar[int] = 100  # kinds decide in this order what a commit brought
    model: ClassVar[type[RuleModel]] = RuleModel  # with the keys that only such rules have
    when: ClassVar[type[When]] = When  # the same under `when:`
    own: ClassVar[frozenset[str]] = frozenset()  # keys that `defaults:` may set too, and only such rules heed
    thresholds: ClassVar[bool] = False  # whether `severity:` may be a threshold for each
    conditions: ClassVar[bool] = True  # whether its instances fire and resolve; else they are events
    expands: ClassVar[bool] = False  # whether one rule goes over all rows of its table
    fills_lengths: ClassVar[bool] = False  # whether ``filled`` fills templates under `when:`

    # -- files ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        """The key that makes a rule one of this kind, and what to call it; None where it is none."""

    @abstractmethod
    def compile(self, written: Written, head: Head) -> Body:
        """What the rule says; everything wrong goes to ``written.faults``."""

    def text(self, model: RuleModel) -> str:
        """The query of the rule as it is written, with the names of a table's columns in it."""
        return model.query

    def doubts(self, rule: RuleOf[S]) -> Iterator[Finding]:
        """What `check` warns of: it works, but perhaps otherwise than its author thinks."""
        yield from ()

    def constants(self, rule: RuleOf[S]) -> tuple[str, Sequence[object]] | None:
        """Text in which all constants of ``rule`` stand, and these as its plan has them. None: rows are compiled one
        by one.
        """
        return None

    def filled(self, rule: RuleOf[S], filling: Filling) -> RuleOf[S] | None:
        """``rule`` with a row's values; None where the row has to be compiled."""
        return None

    def with_rows(self, rule: RuleOf[S], rows: Rows) -> RuleOf[S]:
        """``rule`` over other rows of its table. Raises ValueError where these are wrong."""
        return rule if rule.each is None else replace(rule, each=rule.each.over(rows(rule, rule.each.table)))

    def under(self, rule: RuleOf[S], maintenance: Sequence[Maintenance]) -> RuleOf[S]:
        """``rule`` with the maintenances that may stop its clocks."""
        return rule

    # -- the engine ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def gather(self, rules: tuple[RuleOf[S], ...]) -> G:
        """What is made of all enabled rules of the kind."""

    def remembers(self, rule: RuleOf[S]) -> bool:
        """Whether instances of ``rule`` may be remembered as active alerts."""
        return True

    def on_commits(self, rules: G, commits: Sequence[CommitInfo], after: int, given: Given) -> None:
        """Evaluate ``commits``, which follow commit ``after``."""

    def on_timers(self, rules: G, kind: TimerKind, released: Sequence[Released], given: Given) -> None:
        """Evaluate timers of one kind, in their order. Those that no rule of this kind sets are forgotten."""
        for each in released:
            if each.timer.rule:
                given.memory.drop_timer(each.timer.rule, kind, each.timer.key)

    def retry(self, rules: G, rule: RuleOf[S], released: Released, given: Given) -> None:
        """Evaluate a rule that lags again, from its own cursor on."""

    def standing(self, rules: G) -> Mapping[str, str]:
        """Names under which ``schedule`` sets something, each with what it follows from: where that is another one
        after a reload, it is scheduled again.
        """
        return {}

    def schedule(
        self, rules: G, names: Collection[str], timers: Collection[Timer], at: datetime, commit_seq: int, given: Given
    ) -> None:
        """Set what follows from the log for ``names``, as of commit ``commit_seq``; ``timers`` are those that are
        set.
        """

    def first_timers(self, rules: G, timers: Iterable[Timer], now: datetime) -> Iterable[Timer]:
        """Timers that rules need which come into force, and that are not among ``timers``."""
        return ()

    def shortest_wait(self, rules: G) -> timedelta | None:
        """Delay from a commit to the first timer that it schedules and that decides about later commits. None if it
        schedules none.
        """
        return None

    # -- backtests -----------------------------------------------------------------------------------------------------

    def candidates(self, rule: RuleOf[S], log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
        """The commits of ``span`` that can matter to ``rule``, part by part: perhaps too many, never too few."""
        for part in ranges(log, span.since, span.until, span.rows):
            yield Part(commits=commits_in(log, part.after, part.hi), end=part.end, share=part.share)

    def apart(self, rule: RuleOf[S]) -> timedelta | None:
        """Commits that lie so far apart are not evaluated together: the first may set a timer that comes before the
        second, and that has to be evaluated first. None: no commit sets such a timer.
        """
        return timedelta(0)

    def decides(self, rule: RuleOf[S], timer: Timer, ahead: object) -> bool:
        """Whether ``timer`` changes what later commits of the part come to. If not, it may be evaluated after them."""
        return timer.kind is not TimerKind.BACKFILL

    def changed(self, rule: RuleOf[S], state: ConditionState) -> ConditionState | None:
        """An instance of a rule whose meaning changed; None: it is dropped."""
        return changed(state)

    def severities(self, rule: RuleOf[S]) -> frozenset[Severity]:
        """Severities that its alerts may have."""
        return frozenset({rule.severity})

    def exports(self, rule: RuleOf[S]) -> str:
        """The metric that shows its values; '' for none."""
        return ""

    def shared_timer(self, rule: RuleOf[S]) -> str:
        """Key of the timer that it shares with other rules; '' for none."""
        return ""

    def consumers(self, rule: RuleOf[S]) -> frozenset[str]:
        """Consumers that it names itself."""
        return frozenset()

    # -- people --------------------------------------------------------------------------------------------------------

    def terms(self, rule: RuleOf[S]) -> Terms | None:
        """The life of its conditions; None for a rule about single events."""
        return None

    @abstractmethod
    def explain(self, rule: RuleOf[S]) -> Explained:
        """What it does, in words."""

    def expects(self, rule: RuleOf[S], now: datetime, most: int) -> Iterator[Due]:
        """What a schedule expects after ``now``: ``most`` times of each of ``most`` instances."""
        yield from ()

    def whole_query(self, rule: RuleOf[S]) -> str:
        """KQL of the rows that fire."""
        return rule.query

    def lint(self, rule: RuleOf[S], findings: Findings | None) -> Iterator[Finding]:
        """What is most likely wrong; ``findings`` are of its query."""
        yield from ()

    def sense(self, rule: RuleOf[S]) -> tuple[object, ...]:
        """Two rules of which this is equal find the same."""
        return (rule.kind, rule.meaning)

    def lint_all(self, rules: Mapping[str, Rule]) -> Iterator[tuple[Rule, Finding]]:
        """What is most likely wrong with some of all enabled ``rules`` together."""
        yield from ()

    @abstractmethod
    def preview(self, rule: RuleOf[S], reader: LogReader, at: datetime) -> Preview:
        """What it sees at ``at``, at most some rows; of events the newest first. Raises QueryError."""


def ends_in_words(terms: Terms) -> str:
    """What ends a condition."""
    ends = "when it holds no longer" + ("" if terms.send_resolved else ", which is not notified")
    return ends if terms.close_after is None else f"{ends}; closed after {format_duration(terms.close_after)}"


def repeats_in_words(repeat: timedelta | None) -> str:
    """How often an alert is notified again."""
    return format_duration(repeat) if repeat is not None else "never"


def of_model(model: RuleModel, wanted: type[M]) -> M:
    """``model`` with the keys of one kind: the model of a file has those of all."""
    assert isinstance(model, wanted)
    return model


def of_when(when: When | None, wanted: type[M]) -> M | None:
    """The same of what stands under `when:`."""
    assert when is None or isinstance(when, wanted)
    return when
