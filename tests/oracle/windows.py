"""The oracle of window rules: what must be notified instant after instant, from the sentences of the semantics, slow
and obvious.

It knows nothing of the engine. At each instant it counts again all rows that had arrived by then.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SILENT_CLOSES = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row that passes the prefilter. What counts is counted for its group."""

    id: str
    time: datetime
    group: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A rule that counts rows of each group, and fires from `least` on."""

    over: timedelta
    every: timedelta
    lateness: timedelta = timedelta(0)
    least: int = 2
    clear_below: int | None = None  # `resolve: {when: "n < …"}`
    hold: timedelta | None = None  # `for: 5m`
    of_ticks: tuple[int, int] | None = None  # `for: 2 of 3`
    keep_firing: timedelta = timedelta(0)
    no_data: str = "keep"
    repeat: timedelta = 4 * HOUR
    levels: tuple[int, ...] = ()  # from these counts on it gets worse
    send_resolved: bool = True  # False: `send_resolved: false`


Notified = tuple[datetime, str, str]
"""T, what (fired, worse, repeated, resolved, closed), group."""
Marks = Mapping[str, datetime | None]


@dataclass
class Instance:
    """What is known of a group."""

    phase: str = ""  # '', pending, firing, recovering
    since: datetime = EPOCH
    last_notified_at: datetime = EPOCH
    level: int = 0
    ticks: list[bool] = field(default_factory=list)  # whether it held, since it last ended
    silent_since: datetime | None = None
    changed: bool = False
    held: bool = False


class Windows:
    """One rule, taken through its instants in order."""

    def __init__(self, terms: Terms, start: datetime) -> None:
        self.terms = terms
        self.notified: list[Notified] = []
        self.instances: dict[str, Instance] = {}
        self._rows: dict[tuple[str, datetime], Row] = {}
        self._tick = next_tick(start, terms.every)
        self._held_due: datetime | None = None
        self._held_for: frozenset[str] = frozenset()

    def phases(self) -> dict[str, str]:
        return {group: one.phase for group, one in self.instances.items() if one.phase}

    def reload(self, terms: Terms) -> None:
        """An edit of meaning: what fires is closed by its next tick unless it still fires; what is pending is
        dropped.
        """
        before, self.terms = self.terms, terms
        if fires_by(terms) == fires_by(before):
            return
        for group, one in list(self.instances.items()):
            if one.phase in ("firing", "recovering"):
                one.changed = True
            else:
                del self.instances[group]

    def drain(self, now: datetime, commits: Sequence[tuple[datetime, Sequence[Row]]], marks: Marks) -> None:
        """All that is due by `now`, by T; at equal T the commit first."""
        waiting = list(commits)
        released = False
        while True:
            if self._tick < now - HOUR:  # ticks of more than an hour ago are one
                while self._tick + self.terms.every <= now - HOUR:
                    self._tick += self.terms.every
            due: list[tuple[datetime, int, datetime, str]] = []
            if waiting:
                due.append((waiting[0][0], 0, EPOCH, "commit"))
            if self._tick <= now:
                due.append((self._tick, 1, self._tick, "tick"))
            if self.terms.hold is not None:
                ends = [one.since + self.terms.hold for one in self.instances.values() if waits_for_end(one)]
                due += [(at, 2, at, "for") for at in ends if at <= now]
            if self._held_due is not None and not released and not unreached(self._held_due, self._held_for, marks):
                due.append((now, 1, self._held_due, "release"))
            if not due:
                return
            at, _, _, what = min(due)
            if what == "commit":
                self._commit(at, waiting.pop(0)[1])
            elif what == "tick":
                self._tick += self.terms.every
                self._evaluate(at, self._groups(at), marks, counted=True)
            elif what == "for":
                assert self.terms.hold is not None
                mine = [
                    g for g, one in self.instances.items() if waits_for_end(one) and one.since + self.terms.hold == at
                ]
                self._evaluate(at, mine, marks, counted=False)
            else:
                released = True
                self._release(at, marks)

    # -- looks ---------------------------------------------------------------------------------------------------------

    def _commit(self, at: datetime, rows: Sequence[Row]) -> None:
        """Rows that are there already are no rows. It evaluates early where there is no lateness: that begins, and
        ends nothing.
        """
        new = [row for row in rows if (row.id, row.time) not in self._rows]
        self._rows.update({(row.id, row.time): row for row in new})
        if not new or self.terms.lateness or self.terms.of_ticks is not None:
            return
        for group in self._groups(at):
            word = self._word(group, at)
            one = self.instances.setdefault(group, Instance())
            if word != "no data":
                one.silent_since = None
                one.since = at if one.since is EPOCH else one.since  # seen: known from now on
            if word == "holds":
                self._holds(group, one, at, early=True)

    def _evaluate(self, at: datetime, groups: Collection[str], marks: Marks, *, counted: bool) -> None:
        """A tick or the end of a `for`. What would end, or has no data, waits for the consumers that are not reached
        up to it.
        """
        absent = unreached(at, marks.keys(), marks)
        for group in groups:
            one = self.instances.setdefault(group, Instance())
            word = self._word(group, at)
            if absent and self._must_wait(group, one, word):
                if not one.held:
                    one.held, self._held_due, self._held_for = True, at, absent
                continue
            one.held = False
            self._evaluate_rule(group, one, word, at, tick=counted)

    def _release(self, at: datetime, marks: Marks) -> None:
        """What waited is evaluated by all that is stored. What has arrived may end before T: it must be the same at
        both.
        """
        source_progress = min([at, *(mark for name in self._held_for if (mark := marks.get(name)) is not None)])
        due, self._held_due = self._held_due, None
        assert due is not None
        for group, one in self.instances.items():
            if not one.held:
                continue
            word = self._word(group, at)
            if self._must_wait(group, one, word) and self._word(group, source_progress) != word:
                self._held_due = at
                continue
            one.held = False
            self._evaluate_rule(group, one, word, at, tick=True)

    def _must_wait(self, group: str, one: Instance, word: str) -> bool:
        known = bool(one.phase) or bool(one.ticks) or (self.terms.no_data == "alert" and one.since is not EPOCH)
        return (one.phase in ("firing", "recovering") and word != "holds") or (word == "no data" and known)

    def _evaluate_rule(self, group: str, one: Instance, word: str, at: datetime, *, tick: bool) -> None:
        terms = self.terms
        if word != "no data":
            one.silent_since = None
            if one.since is EPOCH:
                one.since = at  # seen: known from now on
        holds = word == "holds" or (word == "no data" and terms.no_data == "alert" and one.since is not EPOCH)
        if tick and terms.of_ticks is not None:
            one.ticks.append(holds)
        if holds:
            self._holds(group, one, at, early=False)
            return
        if one.phase == "pending":
            if terms.of_ticks is None or not any(one.ticks[-terms.of_ticks[1] :]):
                one.phase = ""
            return
        if not one.phase or not tick:
            return
        if one.changed:
            self._ends(group, at, "closed")
        elif one.phase == "recovering":
            if at - one.since >= terms.keep_firing:
                self._ends(group, at, "resolved")
        elif word == "no data":
            if terms.no_data == "ok":
                self._ends(group, at, "closed")
            elif one.silent_since is None:
                one.silent_since = at
            elif at - one.silent_since >= SILENT_CLOSES:
                self._ends(group, at, "closed")
        elif word == "not clear":
            self._repeat(group, one, at)
        elif terms.keep_firing:
            one.phase, one.since = "recovering", at
        else:
            self._ends(group, at, "resolved")

    def _holds(self, group: str, one: Instance, at: datetime, *, early: bool) -> None:
        terms = self.terms
        level = sum(self._count(group, at) >= least for least in terms.levels)
        if not one.phase:
            one.phase, one.since = "pending", at
        if one.phase == "pending":
            enough = terms.hold is None or at - one.since >= terms.hold
            if terms.of_ticks is not None:
                n, m = terms.of_ticks
                enough = sum(one.ticks[-m:]) >= n
            if enough:
                one.phase, one.since, one.last_notified_at, one.level = "firing", at, at, level
                self.notified.append((at, "fired", group))
            return
        one.changed = False
        again, one.phase = one.phase == "recovering", "firing"
        if again:
            one.since = at
        if level > one.level:
            one.level, one.last_notified_at = level, at
            self.notified.append((at, "worse", group))
        elif not early and not again:
            self._repeat(group, one, at)

    def _repeat(self, group: str, one: Instance, at: datetime) -> None:
        if at - one.last_notified_at >= self.terms.repeat:
            one.last_notified_at = at
            self.notified.append((at, "repeated", group))

    def _ends(self, group: str, at: datetime, word: str) -> None:
        self.instances[group] = Instance(since=self.instances[group].since if self.terms.no_data == "alert" else EPOCH)
        self.notified.append((at, word if self.terms.send_resolved else "closed", group))

    # -- what is in a window -------------------------------------------------------------------------------------------

    def _window(self, group: str, at: datetime) -> list[Row]:
        end = at - self.terms.lateness
        return [r for r in self._rows.values() if r.group == group and end - self.terms.over < r.time <= end]

    def _count(self, group: str, at: datetime) -> int:
        return sum(row.counts for row in self._window(group, at))

    def _word(self, group: str, at: datetime) -> str:
        if not self._window(group, at):  # no data is of the whole window, but where each known group is asked of
            others = self.terms.no_data != "alert" and any(self._window(row.group, at) for row in self._rows.values())
            return "clear" if others else "no data"
        if self._count(group, at) >= self.terms.least:
            return "holds"
        if self.terms.clear_below is not None and self._count(group, at) >= self.terms.clear_below:
            return "not clear"
        return "clear"

    def _groups(self, at: datetime) -> list[str]:
        """Those that have rows in the window, and those that are known."""
        return sorted({row.group for row in self._rows.values() if self._window(row.group, at)} | self.instances.keys())


def fires_by(terms: Terms) -> Terms:
    """What decides which instances fire: how often they are notified and whether their end is, is no part of it."""
    return replace(terms, repeat=4 * HOUR, send_resolved=True)


def waits_for_end(one: Instance) -> bool:
    """Whether it is pending, and what it waits for was not looked at yet."""
    return one.phase == "pending" and not one.held


def next_tick(at: datetime, every: timedelta) -> datetime:
    """The first multiple of `every` since the epoch that is later."""
    return EPOCH + ((at - EPOCH) // every + 1) * every


def unreached(at: datetime, names: Collection[str], marks: Marks) -> frozenset[str]:
    """Which of these are not reached up to `at`."""
    return frozenset(name for name in names if (mark := marks[name]) is None or mark < at)
