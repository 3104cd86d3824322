"""What is right by the letter and most likely wrong: rules that never match, always fire, say the same, name too
much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tocsin.config.yaml.document import suggest
from tocsin.errors import Problem, QueryError
from tocsin.kql.tokens import tokenize
from tocsin.model.statuses import Kind
from tocsin.rules.inspect.lint_query import CASELESS, FREE_TEXT, VOCABULARY, Findings, Word, findings
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import Rule

UNBOUNDED = frozenset({
    "EventId", "Message", "LogTail", "TimeGenerated", "IngestedAt", "CommitSeq", "Url", "StartTime", "EndTime", "DurationMs",
    "Progress", "Raw", "Tags", "Properties",
})  # fmt: skip
"""Columns with another value in nearly every event: a name made of them never comes again."""
_ENDS = frozenset({"Failed", "Canceled", "Completed", "NotResponding"})

Nobody = Callable[[str], bool]
"""Whether nobody behind a receiver's name can be mailed, so that always its fallback is notified."""


@dataclass(frozen=True, slots=True)
class _Fault:
    key: str
    message: str
    hint: str = ""


def lint(rules: RuleSet, nobody: Nobody = lambda _: False) -> list[Problem]:
    """Warnings about ``rules``, disabled ones too, by file and line."""
    found: list[Problem] = []
    for rule in rules.rules.values():
        for fault in _of(rule, nobody):
            found.append(_problem(rule, fault))
    found += _duplicates(rules)
    found += _notified_besides(rules)
    return sorted(found, key=lambda p: (p.file, p.line))


def _problem(rule: Rule, fault: _Fault) -> Problem:
    key = f"{rule.name}: {fault.key}" if fault.key else rule.name
    return Problem(
        file=rule.place.file, line=rule.place.line, key=key, message=fault.message, hint=fault.hint, warning=True
    )


def _of(rule: Rule, nobody: Nobody) -> Iterator[_Fault]:
    if rule.query:
        try:
            seen = findings(rule.whole_query)
        except QueryError:  # `check` has said so
            return
        words = list(_words(seen.compared))
        yield from words
        if not words:
            yield from _never(seen)
        yield from _always(rule, seen)
        yield from _texts(seen.compared)
    yield from _names(rule)
    yield from _final(rule)
    for target in rule.info.notify_to:
        if nobody(target):
            yield _Fault(
                "notify.to",
                f"nobody behind '{target}' may be mailed, since only events name them: always the fallback is notified",
                "say who may be in smtp.allowed_recipients",
            )


def _never(seen: Findings) -> Iterator[_Fault]:
    for field, said in seen.contradictions:
        subject = f"no event has {said}" if field else f"it asks for {said}"
        yield _Fault("", f"never matches: {subject}", "join alternatives with or, or list them with in (…)")


def _words(compared: tuple[Word, ...]) -> Iterator[_Fault]:
    for word in compared:
        words = VOCABULARY.get(word.column)
        if words is None:
            continue
        known = {w.lower() for w in words} if word.op.endswith("~") else words
        value = word.value.lower() if word.op.endswith("~") else word.value
        if value not in known:
            right = next((w for w in words if w.lower() == word.value.lower()), "")
            hint = f"did you mean '{right}'?" if right else suggest(word.value, sorted(words - {""}))
            yield _Fault("", f"'{word.value}' is no {word.column} that an event can have", hint)


def _always(rule: Rule, seen: Findings) -> Iterator[_Fault]:
    if seen.always and rule.kind is Kind.EVENT:
        yield _Fault("", "fires for every event: no condition keeps any out", "say which with where")
    elif seen.always and rule.kind is Kind.WINDOW:
        yield _Fault(
            "", "fires whenever there is any event: nothing is compared", "add for example condition: failed > 3"
        )


def _texts(compared: tuple[Word, ...]) -> Iterator[_Fault]:
    for word in compared:
        if word.op not in ("in", "!in") or not word.value:
            continue
        sign = "==" if word.op == "in" else "!="
        if word.column in FREE_TEXT:
            yield _Fault(
                "",
                f"compares {word.column}, which is free text, with {sign} '{word.value}': whole, letter for letter",
                f"write {word.column} {'has' if word.op == 'in' else '!has'} '{word.value}'",
            )
        elif word.column in CASELESS:
            yield _Fault(
                "",
                f"compares {word.column} with {sign} '{word.value}', so that capital letters count",
                f"write {word.column} {'=~' if word.op == 'in' else '!~'} '{word.value}'",
            )


def _names(rule: Rule) -> Iterator[_Fault]:
    for name in rule.by:
        if name in UNBOUNDED:
            yield _Fault(
                "by",
                f"{name} has another value in nearly every event, so each one is an instance of its own",
                f"take {name} out of `by`, and carry it with fields" if name != "Raw" else "",
            )


def _final(rule: Rule) -> Iterator[_Fault]:
    said = [p for p in rule.prefilter if p.column == "Status" and not p.path] if rule.kind is Kind.EVENT else []
    if rule.final and said and not any({str(v) for v in p.values} & _ENDS for p in said):
        words = ", ".join(str(v) for v in said[0].values)
        yield _Fault("when.final", f"says nothing of {words}: only what ends can be followed by another attempt")


def _duplicates(rules: RuleSet) -> Iterator[Problem]:
    """Enabled rules that find the same: the second rings twice for whatever the first rings for."""
    first: dict[tuple[object, ...], Rule] = {}
    for rule in rules.enabled.values():
        key = _sense(rule)
        other = first.setdefault(key, rule)
        if other is not rule:
            yield _problem(
                rule,
                _Fault(
                    "",
                    f"finds the same as {other.name} at {other.place}",
                    "one of them can go, or name both receivers in one",
                ),
            )


def _notified_besides(rules: RuleSet) -> Iterator[Problem]:
    """Enabled rules that notify each run of what another one collapses."""
    single = {_sense(rule): rule for rule in rules.enabled.values() if rule.kind is Kind.EVENT and not rule.collapse}
    for rule in rules.enabled.values():
        other = single.get(_sense(replace(rule, collapse=None))) if rule.collapse else None
        if other is not None:
            yield _problem(
                rule,
                _Fault(
                    "collapse",
                    f"saves no mail: {other.name} at {other.place} notifies of each run",
                    "disable one of the two",
                ),
            )


def _sense(rule: Rule) -> tuple[object, ...]:
    if rule.kind is Kind.EVENT:
        collapse = rule.collapse.words if rule.collapse else ""
        return (rule.kind, rule.plan.shape, rule.plan.constants, rule.final, collapse)
    return (rule.kind, tuple(t.text for t in tokenize(rule.query)), rule.meaning)
