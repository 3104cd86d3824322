"""Mutants of rules: each has one change, and a good test fails with it.

A mutant that the tests of its rule let live is compared with the rule over generated events. Where both do the same,
it is equivalent: no test can be asked to kill it. Where they differ, the story that shows it becomes a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from tocsin.clock import SystemClock
from tocsin.config.yaml.document import Document, KeyPath
from tocsin.model.intent import IntentKind
from tocsin.rules.compile.load import Known, load_documents
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.language.schema import Expect, InlineTest
from tocsin.rules.spec.rule import Rule
from tocsin.rules.testing.changes import Change, changed, changes
from tocsin.rules.testing.run import START, Presents, event_rows, run_test, stops
from tocsin.rules.testing.simulator import Simulator, Step
from tocsin.rules.testing.stories import Stories, as_yaml, test_of, written
from tocsin.state.sqlite import SqliteState

STORIES = 40
"""Over so many generated stories a survivor is compared with its rule."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A rule with one change, and what became of it."""

    rule: str
    change: Change
    file: str
    line: int  # of the change
    fate: Fate
    killed_by: str = ""  # name of a test
    test: str = ""  # YAML of one that would kill it


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a test can see at an instant."""

    notifications: int = 0
    resolved: int = 0
    firing: tuple[tuple[tuple[str, Any], ...], ...] = ()
    pending: tuple[tuple[tuple[str, Any], ...], ...] = ()


_Outcome = dict[timedelta, _Seen]


def mutate(document: Document, known: Known, presents: Presents | None = None, stories: int = STORIES) -> list[Mutant]:
    """The mutants of the rules of ``document``. Raises ValueError where a test fails without any change."""
    found: list[Mutant] = []
    with closing(SqliteState.open(None, clock=SystemClock())) as state:
        for index, entry in enumerate(document.data["rules"]):
            rule = _compiled(document, entry, known)
            if rule is not None:
                found += _Mutation(document, index, rule, known, presents, state, stories).mutants()
    return found


def _compiled(document: Document, entry: Mapping[str, Any], known: Known) -> Rule | None:
    """The rule of ``entry``; None where it is refused."""
    alone = replace(document, data={**document.data, "rules": [entry]})
    rules = load_documents(
        [alone], known.schema, [], known.tables, known.calendars, known.templates, known.timezone
    ).rules
    return next(iter(rules.values()), None)


class _Mutation:
    """The mutants of one rule."""

    def __init__(
        self,
        document: Document,
        index: int,
        rule: Rule,
        known: Known,
        presents: Presents | None,
        state: SqliteState,
        count: int,
    ) -> None:
        self._document, self._path, self._known = document, ("rules", index), known
        self._entry: Mapping[str, Any] = document.data["rules"][index]
        self._rule, self._presents, self._state = rule, presents, state
        stories = Stories(self._entry, rule.tests)
        self._after = stories.after
        self._drawn = list(stories.draw(count))
        self._outcomes: dict[int, _Outcome] = {}

    def mutants(self) -> list[Mutant]:
        if failing := self._killer(self._rule):
            raise ValueError(f"{self._rule.name}: the test '{failing}' fails already")
        found = []
        for change in changes(self._entry):
            entry = changed(self._entry, change.path, change.value)
            other = _compiled(self._document, {k: v for k, v in entry.items() if k != "tests"}, self._known)
            if other is not None and entry != self._entry:
                found.append(self._judged(change, replace(other, tests=self._rule.tests)))
        return found

    def _judged(self, change: Change, other: Rule) -> Mutant:
        killer, test, fate = self._killer(other), "", Fate.KILLED
        if not killer:
            story = self._difference(other)
            fate = Fate.EQUIVALENT if story is None else Fate.SURVIVED
            test = self._test(story, other, change) if story is not None else ""
        return Mutant(
            rule=self._rule.name, change=change, file=self._document.file, line=self._line(change), fate=fate,
            killed_by=killer, test=test,
        )  # fmt: skip

    def _killer(self, rule: Rule) -> str:
        for test in self._rule.tests:
            if not run_test(rule, test, self._state, self._presents).passed:
                return test.name
        return ""

    def _difference(self, other: Rule) -> InlineTest | None:
        """The first story in which ``other`` does something else."""
        for number, story in enumerate(self._drawn):
            if number not in self._outcomes:
                self._outcomes[number] = self._outcome(self._rule, story)
            if self._outcome(other, story) != self._outcomes[number]:
                return story
        return None

    def _test(self, story: InlineTest, other: Rule, change: Change) -> str:
        """A test that holds for the rule and fails for ``other``, of as few events as may be; '' where there is none."""
        story = self._shrunk(story, other)
        right, wrong = self._outcome(self._rule, story), self._outcome(other, story)
        before, beside = _Seen(), _Seen()
        for at in sorted({*right, *wrong}):
            before, beside = right.get(at, before), wrong.get(at, beside)
            if (expect := _expect(at, before, beside)) is not None:
                test = story.model_copy(update={"name": f"kills {change.said}", "expect": (expect,)})
                passes = [run_test(rule, test, self._state).passed for rule in (self._rule, other)]
                if passes == [True, False]:
                    return as_yaml(test)
        return ""

    def _shrunk(self, story: InlineTest, other: Rule) -> InlineTest:
        number = 0
        while number < len(story.events):
            events = [written(event) for i, event in enumerate(story.events) if i != number]
            less = test_of(events, story)
            if less is not None and self._outcome(self._rule, less) != self._outcome(other, less):
                story = less
            else:
                number += 1
        return story

    def _outcome(self, rule: Rule, story: InlineTest) -> _Outcome:
        start, end = story.start or START, max((e.at for e in story.events), default=timedelta(0)) + self._after
        one = RuleSet({rule.name: kind_of(rule).under(replace(rule, enabled=True), ())})
        steps: list[Step] = []
        with Simulator(one, start, story.tables, self._state) as simulator:
            for at, events, _ in stops(story):
                steps += simulator.advance(start + at)
                if events:
                    steps += simulator.arrive(event_rows(story, events, start))
            steps += simulator.advance(start + end)
        outcome: _Outcome = {}
        phases: dict[tuple[tuple[str, Any], ...], str] = {}
        notified = resolved = 0
        for step in steps:
            done = step.evaluation.outcome
            for transition in done.transitions:
                phases[tuple(transition.instance.items())] = str(transition.after)
            kinds = [intent.kind for intent in done.intents if not intent.limited]
            notified += sum(kind in (IntentKind.FIRED, IntentKind.REPEATED) for kind in kinds)
            resolved += sum(kind is IntentKind.RESOLVED for kind in kinds)
            if done.transitions or kinds:
                firing, pending = _in(phases, "firing", "recovering"), _in(phases, "pending")
                outcome[step.at - start] = _Seen(notified, resolved, firing, pending)
        seen = [_Seen(), *outcome.values()]
        return {at: now for (at, now), before in zip(outcome.items(), seen, strict=False) if now != before}

    def _line(self, change: Change) -> int:
        path: KeyPath = (*self._path, *change.path)
        value: Any = self._entry
        for part in change.path:
            value = value.get(part) if isinstance(value, Mapping) else value[part]
        if not isinstance(value, str) or "\n" not in value:
            return self._document.line(path)
        line, column = value.count("\n", 0, change.offset) + 1, change.offset - value.rfind("\n", 0, change.offset)
        return self._document.place(path, value, line, column)[0]


def _in(phases: Mapping[tuple[tuple[str, Any], ...], str], *words: str) -> tuple[tuple[tuple[str, Any], ...], ...]:
    return tuple(sorted((instance for instance, phase in phases.items() if phase in words), key=repr))


def _expect(at: timedelta, right: _Seen, wrong: _Seen) -> Expect | None:
    """What the rule does at ``at`` and its mutant does not. None where they do the same."""
    said: dict[str, Any] = {}
    for name in ("notifications", "resolved", "firing", "pending"):
        wanted = getattr(right, name)
        if wanted != getattr(wrong, name):
            said[name] = wanted if isinstance(wanted, int) else [dict(instance) for instance in wanted]
    return Expect.model_validate({"at": at, **said}) if said else None
