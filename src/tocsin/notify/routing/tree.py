"""The route tree: which receivers and escalations an alert goes to, each with why.

Alertmanager's: the first child that matches takes the alert, with those after it where it says ``continue``; a node
whose children all pass takes it itself. Ours besides: ``always`` of the root, and what the rule names in ``notify``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tocsin.notify.routing.groups import ALL_FIELDS, GroupTiming
from tocsin.notify.routing.matchers import Fields, Matcher, matches, text_of
from tocsin.notify.routing.mute import Mute

DEFAULT_RECEIVER = "default_receiver"


class Why(StrEnum):
    """Why a receiver gets an alert; `route test` and every message's footer show the text."""

    ALWAYS = "is notified of every alert"
    MATCHED = "its route matches"
    ROOT = "no other route matches"
    RULE = "the rule names it"
    UNROUTED = "no route takes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the tree, with what it inherits filled in."""

    receivers: tuple[str, ...] = ()
    escalation: str = ""
    matchers: tuple[Matcher, ...] = ()  # none: every alert
    goes_on: bool = False  # `continue`
    group_by: tuple[str, ...] = ()  # empty: each alert is its own group
    timing: GroupTiming = field(default_factory=GroupTiming)
    mute: Mute | None = None  # not inherited, as Alertmanager has it
    routes: tuple[Route, ...] = ()
    place: str = ""  # file:line


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One receiver or escalation that gets an alert."""

    receiver: str = ""  # '' for an escalation
    escalation: str = ""  # '' for a receiver
    why: Why
    matched: str = ""  # the matchers of the route, as a person reads them
    route: Route | None = None  # whose grouping and mute apply; None: not grouped, not muted

    @property
    def name(self) -> str:
        """The receiver's or escalation's name."""
        return self.receiver or self.escalation

    @property
    def text(self) -> str:
        """For a person, e.g. ``chat: its route matches team: ranking (rules/oncall/main.yaml:31)``."""
        where = f" ({self.route.place})" if self.route is not None and self.route.place else ""
        what = f" {self.matched}" if self.why is Why.MATCHED else ""
        return f"{self.name}: {self.why}{what}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleNames:
    """What a rule says of who is notified: ``notify: {to, only}``."""

    to: tuple[str, ...] = ()
    only: bool = False


def nodes(root: Route, fields: Fields) -> list[Route]:
    """The nodes that take an alert of ``fields``, in order. The root takes what nothing else does."""
    found: list[Route] = []
    for child in root.routes:
        if matches(child.matchers, fields):
            found += nodes(child, fields)
            if not child.goes_on:
                break
    return found or [root]


def route(root: Route, always: Sequence[str], fields: Fields, names: RuleNames | None = None) -> tuple[Taken, ...]:
    """Who gets an alert of ``fields``, nobody twice. What no route takes goes to ``default_receiver``.

    First what the rule names: these are not grouped. Then ``always``, then the tree, unless the rule says ``only``.
    """
    names = names or RuleNames()
    found = [Taken(receiver=name, why=Why.RULE) for name in names.to]
    if not (names.only and names.to):
        found += [Taken(receiver=name, why=Why.ALWAYS, route=root) for name in always]
        found += [each for node in nodes(root, fields) for each in _taken(node, root)]
    if not found:
        found = [Taken(receiver=DEFAULT_RECEIVER, why=Why.UNROUTED, route=root)]
    kept: dict[tuple[str, str], Taken] = {}
    for each in found:
        kept.setdefault((each.receiver, each.escalation), each)
    return tuple(kept.values())


def _taken(node: Route, root: Route) -> Iterator[Taken]:
    why = Why.ROOT if node is root else Why.MATCHED
    matched = text_of(node.matchers)
    for name in node.receivers:
        yield Taken(receiver=name, why=why, matched=matched, route=node)
    if node.escalation:
        yield Taken(escalation=node.escalation, why=why, matched=matched, route=node)


def walk(root: Route) -> Iterator[Route]:
    """Every node, a parent before its children."""
    yield root
    for child in root.routes:
        yield from walk(child)


def group_values(node: Route, fields: Fields) -> Mapping[str, str]:
    """Fields by which an alert is grouped under ``node``; all of them for ``...``."""
    if ALL_FIELDS in node.group_by:
        return dict(fields)
    return {name: fields.get(name, "") for name in node.group_by}
