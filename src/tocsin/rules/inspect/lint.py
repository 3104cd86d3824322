"""What is right by the letter and most likely wrong: rules that never match, always fire, say the same, name too
much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tocsin.config.yaml.document import suggest
from tocsin.errors import Problem, QueryError
from tocsin.rules.kinds.base import Finding
from tocsin.rules.kinds.registry import kind_of, kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.language.lint_query import CASELESS, FREE_TEXT, VOCABULARY, Findings, Word, findings
from tocsin.rules.spec.rule import Rule

UNBOUNDED = frozenset({
    "EventId", "Message", "LogTail", "TimeGenerated", "IngestedAt", "CommitSeq", "Url", "StartTime", "EndTime", "DurationMs",
    "Progress", "Raw", "Tags", "Properties",
})  # fmt: skip
"""Columns with another value in nearly every event: a name made of them never comes again."""

Nobody = Callable[[str], bool]
"""Whether nobody behind a receiver's name can be mailed, so that always its fallback is notified."""


def lint(rules: RuleSet, nobody: Nobody = lambda _: False) -> list[Problem]:
    """Warnings about ``rules``, disabled ones too, by file and line."""
    found: list[Problem] = []
    for rule in rules.rules.values():
        for fault in _of(rule, nobody):
            found.append(_problem(rule, fault))
    found += _duplicates(rules)
    for kind in kinds():
        found += (_problem(rule, finding) for rule, finding in kind.lint_all(rules.enabled))
    return sorted(found, key=lambda p: (p.file, p.line))


def _problem(rule: Rule, fault: Finding) -> Problem:
    key = f"{rule.name}: {fault.key}" if fault.key else rule.name
    return Problem(
        file=rule.place.file, line=rule.place.line, key=key, message=fault.message, hint=fault.hint, warning=True
    )


def _of(rule: Rule, nobody: Nobody) -> Iterator[Finding]:
    kind, seen = kind_of(rule), None
    if rule.query:
        try:
            seen = findings(kind.whole_query(rule))
        except QueryError:  # `check` has said so
            return
        words = list(_words(seen.compared))
        yield from words
        if not words:
            yield from _never(seen)
        yield from _texts(seen.compared)
    yield from _names(rule)
    yield from kind.lint(rule, seen)
    for target in rule.info.notify_to:
        if nobody(target):
            yield Finding(
                "notify.to",
                f"nobody behind '{target}' may be mailed, since only events name them: always the fallback is notified",
                "say who may be in smtp.allowed_recipients",
            )


def _never(seen: Findings) -> Iterator[Finding]:
    for field, said in seen.contradictions:
        subject = f"no event has {said}" if field else f"it asks for {said}"
        yield Finding("", f"never matches: {subject}", "join alternatives with or, or list them with in (…)")


def _words(compared: tuple[Word, ...]) -> Iterator[Finding]:
    for word in compared:
        words = VOCABULARY.get(word.column)
        if words is None:
            continue
        known = {w.lower() for w in words} if word.op.endswith("~") else words
        value = word.value.lower() if word.op.endswith("~") else word.value
        if value not in known:
            right = next((w for w in words if w.lower() == word.value.lower()), "")
            hint = f"did you mean '{right}'?" if right else suggest(word.value, sorted(words - {""}))
            yield Finding("", f"'{word.value}' is no {word.column} that an event can have", hint)


def _texts(compared: tuple[Word, ...]) -> Iterator[Finding]:
    for word in compared:
        if word.op not in ("in", "!in") or not word.value:
            continue
        sign = "==" if word.op == "in" else "!="
        if word.column in FREE_TEXT:
            yield Finding(
                "",
                f"compares {word.column}, which is free text, with {sign} '{word.value}': whole, letter for letter",
                f"write {word.column} {'has' if word.op == 'in' else '!has'} '{word.value}'",
            )
        elif word.column in CASELESS:
            yield Finding(
                "",
                f"compares {word.column} with {sign} '{word.value}', so that capital letters count",
                f"write {word.column} {'=~' if word.op == 'in' else '!~'} '{word.value}'",
            )


def _names(rule: Rule) -> Iterator[Finding]:
    for name in rule.by:
        if name in UNBOUNDED:
            yield Finding(
                "by",
                f"{name} has another value in nearly every event, so each one is an instance of its own",
                f"take {name} out of `by`, and carry it with fields" if name != "Raw" else "",
            )


def _duplicates(rules: RuleSet) -> Iterator[Problem]:
    """Enabled rules that find the same: the second rings twice for whatever the first rings for."""
    first: dict[tuple[object, ...], Rule] = {}
    for rule in rules.enabled.values():
        other = first.setdefault(kind_of(rule).sense(rule), rule)
        if other is not rule:
            message = f"finds the same as {other.name} at {other.place}"
            yield _problem(rule, Finding("", message, "one of them can go, or name both receivers in one"))
