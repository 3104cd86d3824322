"""Maintenance as on-call files announce it.

maintenance:
  - {from: 2026-12-01T20:00Z, to: 2026-12-01T23:00Z, match: {Target: aks-eu}, deadlines: pause, settle: 20m,
     except: {severity: ">= critical"}}
  - {during: weekends, match: {team: ranking}, then: drop}

It mutes what it matches, which is notify's; with `deadlines: pause` it also stops the deadlines of absence rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tocsin.config.yaml.document import Document, KeyPath, YamlModel, suggest
from tocsin.config.yaml.durations import Duration
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Maintenance, Wanted
from tocsin.model.columns import RUNS, KqlType
from tocsin.model.statuses import Severity

FIELDS = frozenset({c.name for c in RUNS if c.type is KqlType.STRING} | {"rule", "severity"})
"""What can be matched besides labels."""
LONGEST = timedelta(days=366)
_COMPARED = re.compile(r"(>=|<=|>|<)\s*(\w+)")


def _moment(value: Any) -> Any:
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is no time; write for example 2026-12-01T20:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"'{value}' says no zone; write 2026-12-01T20:00Z, or +01:00 at its end")
    return found.astimezone(UTC)


def _texts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1)]


class MaintenanceModel(YamlModel):
    """A time in which work is known to stand still."""

    from_: Moment | None = Field(
        default=None, alias="from", description="When it begins, with its zone.", examples=["2026-12-01T20:00Z"]
    )
    to: Moment | None = Field(default=None, description="When it ends, with its zone.", examples=["2026-12-01T23:00Z"])
    during: Texts | None = Field(
        default=None, description="Instead of from and to: time intervals.", examples=["weekends"]
    )
    match: dict[str, Texts] = Field(
        default_factory=dict,
        description="What it is about: columns of the run, labels, rule, severity; everything where absent.",
        examples=[{"Target": "aks-eu"}],
    )
    deadlines: Literal["pause"] | None = Field(
        default=None, description="Deadlines of absence rules are paused.", examples=["pause"]
    )
    settle: Duration = Field(default=timedelta(0), description="They stand still so much longer.", examples=["20m"])
    except_: dict[str, Texts] = Field(
        default_factory=dict,
        alias="except",
        description="What goes on all the same.",
        examples=[{"severity": ">= critical"}],
    )
    then: Literal["digest", "drop"] = Field(
        default="digest", description="What becomes of event alerts that it mutes.", examples=["drop"]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A maintenance where it is written."""

    model: MaintenanceModel
    document: Document
    path: KeyPath


def read_maintenance(
    announced: Sequence[Announced], labels: Collection[str] | None, problems: list[Problem]
) -> tuple[Maintenance, ...]:
    """The maintenances that pause deadlines; what is wrong with any goes to ``problems``. ``labels`` are those of all
    rules, None where they are not known.
    """
    found: list[Maintenance] = []
    for each in announced:
        model, document = each.model, each.document
        before = len(problems)
        for path, message, hint in (*_faults_of_time(model), *_faults_of_match(model, labels)):
            problems.append(document.problem((*each.path, *path), message, hint))
        if len(problems) == before and model.deadlines and model.from_ is not None and model.to is not None:
            found.append(
                Maintenance(
                    begin=model.from_,
                    end=model.to,
                    settle=model.settle,
                    match=_wanted(model.match),
                    but=_wanted(model.except_),
                    place=f"{document.file}:{document.line(each.path)}",
                )
            )
    return tuple(found)


_Fault = tuple[KeyPath, str, str]  # where, what is wrong, what would be right


def _faults_of_time(model: MaintenanceModel) -> Iterator[_Fault]:
    if model.from_ is not None and model.to is not None:
        if model.to <= model.from_:
            yield ("to",), "does not come after `from`", ""
        elif model.to - model.from_ > LONGEST:
            yield ("to",), "is more than a year after `from`", "announce a maintenance, or switch the rule off"
        if model.during is not None:
            yield ("during",), "stands beside from: and to:", "write one of them"
    elif model.from_ is not None or model.to is not None:
        missing = "to" if model.to is None else "from"
        yield (missing,), "is missing", f"write {missing}: 2026-12-01T23:00Z beside the other"
    elif model.during is None:
        yield (), "says no time", "write from: and to:, or during: with a time interval"
    elif model.deadlines is not None:
        yield ("deadlines",), "pauses only between from: and to:", "leave deadlines: out, or write from: and to:"


def _faults_of_match(model: MaintenanceModel, labels: Collection[str] | None) -> Iterator[_Fault]:
    for key, said in (("match", model.match), ("except", model.except_)):
        for name, texts in said.items():
            if labels is not None and name not in FIELDS and name not in labels:
                yield (
                    (key, name), f"'{name}' is no column of a run that can be matched, and no rule has such a label",
                    suggest(name, FIELDS | set(labels)),
                )  # fmt: skip
            if name == "severity":
                for text in texts:
                    try:
                        severities(text)
                    except ValueError as e:
                        yield (key, name), str(e), suggest(text.strip("<>= "), [s.word for s in Severity])


def _wanted(said: Mapping[str, Sequence[str]]) -> Wanted:
    return {
        name: frozenset().union(*map(severities, texts)) if name == "severity" else frozenset(map(str, texts))
        for name, texts in said.items()
    }


def severities(text: str) -> frozenset[str]:
    """``>= error`` as the words that are meant. Raises ValueError."""
    compared = _COMPARED.fullmatch(text.strip())
    sign, word = (compared[1], compared[2]) if compared else ("==", text.strip())
    try:
        bound = Severity.of(word)
    except KeyError:
        raise ValueError(f"'{word}' is not a severity") from None
    # Azure's numbers: 0 is the worst
    meant = {">=": range(bound + 1), ">": range(bound), "<=": range(bound, 5), "<": range(bound + 1, 5)}
    return frozenset(s.word for s in Severity if s in meant.get(sign, (bound,)))
