"""From what a file says to a rule: the head once for all kinds, the rest by the kind that claims it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cache

from pydantic import BaseModel

from tocsin.alerts.conditions import ZERO
from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.errors import Problem
from tocsin.kql.tokens import tokenize
from tocsin.model.alert import fingerprint
from tocsin.model.statuses import Severity
from tocsin.rules.kinds.base import Body
from tocsin.rules.kinds.registry import AnyKind, kinds
from tocsin.rules.language.checks import (  # fmt: skip
    Faults,
    Head,
    Said,
    check_fields,
    check_targets,
    check_test_tables,
    check_tests,
    check_texts,
    reference_tables,
    rule_info,
)
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.written import Written
from tocsin.rules.spec.limit import Limit
from tocsin.rules.spec.rule import MAX_EVENT_AGE, Rule, RuleOf

DEFAULT = "event"
"""The kind of a rule that none claims."""


def claimed(model: RuleModel, faults: Faults) -> AnyKind | None:
    """The kind of a rule; None where two claim it, or where it has no query."""
    given = [key for key in ("when", "query", "sql") if key in model.model_fields_set]
    found = [(kind, claim) for kind in kinds() if (claim := kind.claims(model)) is not None]
    for _, (path, _) in found[1:]:
        faults.add(path, f"stands beside {found[0][1][0][-1]}", "a rule has one of them")
    if len(given) > 1 or not (given or found):
        several = f"has {' and '.join(given)}" if given else "says neither `when:` nor `query:`"
        faults.add((given[1],) if given else (), several, "a rule has one of them")
    elif len(found) <= 1:
        return found[0][0] if found else next(kind for kind in kinds() if kind.name == DEFAULT)
    return None


def compile_rule(written: Written, kind: AnyKind | None = None) -> Rule | None:
    """The rule, or None where something is wrong with it."""
    model, faults, said = written.model, written.faults, written.said
    before = len(written.problems)
    check_tests(model.tests, faults)
    head = Head.of(model, written.defaults, faults)
    check_targets(said, faults)
    kind = kind or claimed(model, faults)
    if kind is None:
        return None
    for path, message, hint in _strays(kind, model):
        faults.add(path, message, hint)
    body = kind.compile(written, head)
    if body.spec is not None and model.kind not in (None, kind.word):
        because = claim[1] if (claim := kind.claims(model)) else "what the rule says"
        faults.add(("kind",), f"is '{model.kind}', but {because} makes it {kind.called}", f"write kind: {kind.word}")
    if body.columns is not None:
        check_fields(body.columns, body.by, head, faults)
        check_texts(model, written.defaults, {*body.columns, *body.by, *body.also}, faults)
    names = None if body.columns is None else {*body.columns, *body.by, *head.labels}
    limit = _limit_of(model, said, names, faults)
    reference = reference_tables(written.schema, body.spec.tables if body.spec else ())
    if model.for_each is not None and kind.expands:
        reference = {**reference, model.for_each.table: dict(written.schema.get(model.for_each.table, {}))}
    if body.spec is not None:
        check_test_tables(model.tests, reference, faults)
    if body.spec is None or len(written.problems) > before:
        return None
    severity = said(lambda m: m.severity, "severity")
    return RuleOf(
        name=model.name,
        enabled=said(lambda m: m.enabled, "enabled"),
        severity=Severity.of(severity)
        if isinstance(severity, str)
        else Severity.WARNING
        if body.severity is None
        else body.severity,
        query=body.query,
        spec=body.spec,
        limit=limit,
        max_event_age=said(lambda m: m.max_event_age, "max_event_age") or MAX_EVENT_AGE,
        by=body.by,
        fields=head.fields,
        labels=head.labels,
        info=rule_info(model, said, head, body.subject, body.ends),
        meaning=_meaning(kind, body),
        renamed_from=model.renamed_from,
        tests=model.tests,
        place=written.place,
        reference=reference,
    )


def _meaning(kind: AnyKind, body: Body) -> str:
    """Hash of what decides which alerts there are. Comments and white space of KQL do not count."""
    assert body.spec is not None
    text = body.query if body.sql else "\0".join(t.text for t in tokenize(body.query))
    return fingerprint(kind.name, text, "\0".join(body.by), *body.spec.words)


def _strays(kind: AnyKind, model: RuleModel) -> Iterator[tuple[KeyPath, str, str]]:
    """Keys that only rules of other kinds have."""
    others = [other for other in kinds() if other is not kind]
    for key in _given(model, kind.model, RuleModel):
        yield (key,), *_belongs(o for o in others if key in _keys(o.model))
    for key in sorted(model.model_fields_set & {key for other in others for key in other.own} - kind.own):
        yield (key,), *_belongs(o for o in others if key in o.own)
    if not kind.thresholds and "severity" in model.model_fields_set and not isinstance(model.severity, str):
        yield ("severity",), *_belongs(o for o in others if o.thresholds)
    for key in _given(model.when, kind.when, When) if model.when is not None else ():
        owner = next(other for other in others if key in _keys(other.when))
        yield ("when", key), f"belongs to {owner.called}", f"one with {owner.when_how or owner.how}"


def _belongs(owners: Iterator[AnyKind]) -> tuple[str, str]:
    owner = next(owners)
    return f"belongs to {owner.called}", f"one with {owner.how}"


def _given(model: BaseModel, mine: type[BaseModel], common: type[BaseModel]) -> list[str]:
    """Keys that ``model`` gives and that neither ``mine`` nor ``common`` has."""
    info = type(model).model_fields
    given = (info[name].alias or name for name in model.model_fields_set - common.model_fields.keys())
    return sorted(key for key in given if key not in _keys(mine))


@cache
def _keys(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(info.alias or name for name, info in model.model_fields.items())


def once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Without what pydantic says twice: the second fault of one key, and of a list the faults of whose items are
    named.
    """
    seen: set[tuple[int, str]] = set()
    listed = list(problems)
    deeper = {(p.line, p.key) for p in listed}
    for problem in listed:
        place = (problem.line, problem.key)
        shadow = "at least 1 item after validation" in problem.message and any(
            key.startswith(problem.key + "[") for _, key in deeper
        )
        if place not in seen and not shadow:
            seen.add(place)
            yield problem


def _limit_of(model: RuleModel, said: Said, fields: Collection[str] | None, faults: Faults) -> Limit | None:
    """What the rule says; ``fields`` are those of its rows and labels (None: not known)."""
    limit = said(lambda m: m.limit, "limit")
    if limit is None:
        return None
    at = ("limit",) if "limit" in model.model_fields_set else ()
    if not limit.per:
        faults.add((*at, "per"), "names no field", "write for example per: ExperimentName")
    for name in limit.per if fields is not None else ():
        if name not in (fields or ()):
            faults.add((*at, "per"), f"'{name}' is no field of the rule's alerts", suggest(name, fields or ()))
    if limit.window <= ZERO:
        faults.add((*at, "window"), "must be longer than nothing", "write for example window: 1d")
    return Limit(per=limit.per, most=limit.max, span=limit.window, digest=limit.then == "digest")
