"""A configuration of Alertmanager as an on-call file, with what could not be kept.

Form: prometheus.io/docs/alerting/latest/configuration. Read are route, receivers, inhibit_rules and time intervals.
Secrets are not copied, but for what a webhook's URL holds: the file names files to write them into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tocsin.config.yaml.document import Document, KeyPath, dotted
from tocsin.config.yaml.durations import format_duration
from tocsin.errors import ConfigurationError, Problem
from tocsin.interchange.alertmanager.receivers import Converted, convert, receiver_name
from tocsin.interchange.azure.read import is_map
from tocsin.interchange.emit import comment, mapping
from tocsin.interchange.prometheus.promql import seconds_of
from tocsin.interchange.prometheus.read import SEVERITY_WORDS
from tocsin.interchange.report import Lost
from tocsin.model.columns import RUN_STATUS_CHANGED
from tocsin.notify.render.alerts import snake
from tocsin.notify.routing.matchers import BadMatcher, Op, matcher, parse_matchers
from tocsin.notify.routing.oncall_file import OWNER

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NOBODY = "never-notified"
"""The time interval that mutes routes to receivers that notify nobody."""
_OWN = frozenset({"rule", "severity"})
_COLUMNS = {snake(column.name): column.name for column in RUN_STATUS_CHANGED}
"""Labels that alerts of tocsin have in Alertmanager -> columns."""
_ROUTE = frozenset({
    "active_time_intervals", "continue", "group_by", "group_interval", "group_wait", "match", "match_re", "matchers",
    "mute_time_intervals", "receiver", "repeat_interval", "routes",
})  # fmt: skip
_EVERY = ['rule!=""']
"""What a side without matchers stands for in Alertmanager: every alert."""
_INHIBITS = frozenset({
    "equal", "source_match", "source_match_re", "source_matchers", "target_match", "target_match_re", "target_matchers",
})  # fmt: skip
_KINDS = ("Alertmanager", "AlertmanagerConfig", "ConfigMap", "Secret", "PrometheusRule")
"""Objects of Kubernetes that have to do with it."""
_GLOBAL = {
    "resolve_timeout": "alerts here end by their rules, not by a time without news",
    "http_config": "proxies and credentials are not known here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallImported:
    """The file as data, and what was kept and lost."""

    file: str
    data: Mapping[str, Any]
    kept: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()
    fields: tuple[str, ...] = ()  # that rules must carry, or `check` refuses the file


@dataclass(slots=True)
class _Reading:
    document: Document
    lost: list[Lost] = field(default_factory=list)
    fields: dict[str, None] = field(default_factory=dict)
    receivers: dict[str, tuple[str, ...]] = field(default_factory=dict)  # theirs → ours; none: nobody can be notified
    intervals: set[str] = field(default_factory=set)  # theirs
    nobody: set[str] = field(default_factory=set)  # theirs that notify nobody on purpose
    muted: bool = False  # a route goes to one of these
    problems: list[Problem] = field(default_factory=list)

    def lose(self, path: KeyPath, why: str, more: str = "") -> None:
        key = f"line {self.document.line(path)}, {dotted(path)}{more}"
        self.lost.append(Lost(key=key, why=why))

    def wrong(self, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, message, hint))

    def field(self, label: str) -> str:
        """Our name of a label. One that tocsin's mirror makes of a column is that column."""
        if label == "alertname":
            return "rule"
        name = _COLUMNS.get(label, label)
        if name != label and name not in self.fields:
            self.lost.append(Lost(key=f"label {label}", why=f"is {name} here"))
        if name not in _OWN and name != "...":
            self.fields[name] = None
        return name

    def unread(self, path: KeyPath, data: Mapping[str, Any], known: frozenset[str]) -> None:
        """Say which keys nothing is made of."""
        for key in data:
            if key not in known:
                self.lose((*path, key), "is not known here")


def import_configuration(document: Document) -> OnCallImported:
    """All of it. Raises ConfigurationError for what Alertmanager would refuse."""
    data = document.data
    if not is_map(data) or not is_map(data.get("route")) or not isinstance(data.get("receivers"), list):
        message, hint = "is no configuration of Alertmanager", "it has route: and receivers:"
        if is_map(data) and (kind := str(data.get("kind"))) in _KINDS:
            message = f"is an object of Kubernetes ({kind}), which is not read"
            hint = "import the alertmanager.yaml that is made of it or lies in it"
        raise ConfigurationError([document.problem((), message, hint)])
    reading = _Reading(document)
    receivers = _receivers(reading, data)
    intervals = _intervals(reading, data)
    route = _route(reading, ("route",), data["route"], "", root=True)
    if route.pop("nobody", False):
        route["routes"] = [*route.get("routes", ()), _muted({})]
    inhibit = [
        _inhibit(reading, (key, i), rule)
        for key in ("inhibit_rules",)
        for i, rule in enumerate(data.get(key) or ())
        if is_map(rule)
    ]
    if reading.muted:
        intervals.append({"name": NOBODY, "times": ["00:00-24:00"]})
    for key, value in (data.get("global") or {}).items():
        why = "is smtp: of tocsin.yaml" if key.startswith("smtp_") else _GLOBAL.get(key, "")
        if why and value is not None:
            reading.lose(("global", key), why)
    if data.get("templates"):
        reading.lose(("templates",), "templates of Go; ours are Jinja's, in templates/")
    for key in data:
        if key not in ("global", "templates", "route", "receivers", "inhibit_rules", *_INTERVALS):
            reading.lose((key,), "is not known here")
    if reading.problems:
        raise ConfigurationError(reading.problems)
    whole = {"receivers": receivers, "time_intervals": intervals, "route": route, "inhibit": inhibit}
    kept = [f"{len(receivers)} receivers", f"{_count(route)} routes", f"{len(inhibit)} inhibitions",
            f"{len(intervals)} time intervals"]  # fmt: skip
    return OnCallImported(
        file=document.file, data={key: value for key, value in whole.items() if value}, kept=tuple(kept),
        lost=tuple(reading.lost), fields=tuple(reading.fields),
    )  # fmt: skip


def _count(route: Mapping[str, Any]) -> int:
    return 1 + sum(map(_count, route.get("routes", ())))


# -- receivers and times -----------------------------------------------------------------------------------------------


def _receivers(reading: _Reading, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    taken: set[str] = set()
    globals_ = data.get("global") or {}
    for i, receiver in enumerate(data["receivers"]):
        if not is_map(receiver) or not receiver.get("name"):
            reading.wrong(("receivers", i), "has no name")
            continue
        theirs = str(receiver["name"])
        name = free_name(receiver_name(theirs), taken)
        if name != theirs:
            reading.lose(("receivers", i, "name"), f"'{theirs}' is called '{name}' here")
        made: Converted = convert(name, receiver, globals_)
        for key, why in made.lost:
            reading.lose(("receivers", i), why, f".{key}")
        names = [name, *(free_name(f"{name}-{n}", taken) for n in range(2, len(made.parts) + 1))]
        out += [{"name": each, **part} for each, part in zip(names, made.parts, strict=False)]
        reading.receivers[theirs] = tuple(names[: len(made.parts)])
        if made.none:
            reading.nobody.add(theirs)
        elif not made.parts:
            reading.lose(("receivers", i), "has no channel that is known here: its routes notify who is above them")
    return out


def free_name(name: str, taken: set[str]) -> str:
    """``name``, with a number where it is taken; taken from now on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found


_INTERVALS = ("time_intervals", "mute_time_intervals")


def _intervals(reading: _Reading, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for key in _INTERVALS:
        for i, each in enumerate(data.get(key) or ()):
            if not is_map(each):
                continue
            entries = each.get("time_intervals") or []
            reading.intervals.add(str(each.get("name")))
            out.append(named(receiver_name(str(each.get("name"))), entries))
            for j, entry in enumerate(entries):
                if is_map(entry) and entry.get("location") == "Local":
                    place = (key, i, "time_intervals", j, "location")
                    reading.lose(place, "is the zone of Alertmanager's machine; UTC is taken: write timezone:")
    return out


# -- routes ------------------------------------------------------------------------------------------------------------


def _route(
    reading: _Reading, path: KeyPath, route: Mapping[str, Any], above: str, *, root: bool = False
) -> dict[str, Any]:
    theirs = str(route["receiver"]) if route.get("receiver") is not None else above
    if theirs and theirs not in reading.receivers:
        reading.wrong((*path, "receiver"), f"'{theirs}' is no receiver", _known(reading.receivers))
    reading.unread(path, route, _ROUTE)
    out: dict[str, Any] = {}
    if matchers := _matchers(reading, path, route, ("match", "match_re", "matchers")):
        out["matchers"] = matchers
        if root:
            reading.wrong(path, "the root route matches every alert", "give its matchers to a route below it")
    ours = reading.receivers.get(theirs, ())
    if ours and (theirs != above or root):
        out["receiver"] = ours[0] if len(ours) == 1 else list(ours)
    if str(route.get("continue")).lower() == "true":
        out["continue"] = True
    out |= _grouping(reading, path, route, root)
    for key, ours_key in (("mute_time_intervals", "mute"), ("active_time_intervals", "active")):
        if names := route.get(key):
            for name in names:
                if str(name) not in reading.intervals:
                    reading.wrong((*path, key), f"'{name}' is no time interval", _known(reading.intervals))
            out[ours_key] = {"during": [receiver_name(str(each)) for each in names], "then": "drop"}
    children = [
        _route(reading, (*path, "routes", i), child, theirs)
        for i, child in enumerate(route.get("routes") or ())
        if is_map(child)
    ]
    if theirs in reading.nobody:
        reading.muted = True
        out = {**out, "nobody": True} if root else _muted(out)
    return {**out, "routes": children} if children else out


def _known(names: Iterable[str]) -> str:
    return f"known are {', '.join(sorted(names)) or 'none'}"


def _grouping(reading: _Reading, path: KeyPath, route: Mapping[str, Any], root: bool) -> dict[str, Any]:
    """Labels and times; at the root Alertmanager's defaults, which are not ours."""
    out: dict[str, Any] = {}
    if isinstance(by := route.get("group_by"), list) and by:
        out["group_by"] = [reading.field(str(label)) for label in by]
    elif root:
        why = "without it Alertmanager makes one group of a route; here each alert is its own"
        reading.lose((*path, "group_by"), why)
    for key, default in (("group_wait", "30s"), ("group_interval", "5m"), ("repeat_interval", "4h")):
        if (given := route.get(key) or (default if root else None)) is not None:
            out[key] = _duration(reading, (*path, key), str(given))
    return out


def _muted(route: dict[str, Any]) -> dict[str, Any]:
    """A route that notifies nobody. It names a receiver of its own: one that other routes name may be notified."""
    kept = {k: v for k, v in route.items() if k != "active"}
    return {**kept, "receiver": OWNER, "mute": {"during": [NOBODY], "then": "drop"}}


def _duration(reading: _Reading, path: KeyPath, text: str) -> str:
    if (seconds := seconds_of(text)) is None:
        reading.wrong(path, f"'{text}' is no duration", "write 5m")
        return text
    return format_duration(timedelta(seconds=seconds))


def _matchers(reading: _Reading, path: KeyPath, data: Mapping[str, Any], keys: tuple[str, str, str]) -> list[str]:
    """Those of the three keys in which Alertmanager has them, in its syntax, with our names and severities."""
    equal, pattern, listed = keys
    found = [(str(k), Op.EQUAL, str(v), (*path, equal, k)) for k, v in (data.get(equal) or {}).items()]
    found += [(str(k), Op.MATCHES, str(v), (*path, pattern, k)) for k, v in (data.get(pattern) or {}).items()]
    texts = data.get(listed) or ()
    for i, text in enumerate([texts] if isinstance(texts, str) else texts):
        try:
            found += [(m.name, m.op, m.value, (*path, listed, i)) for m in parse_matchers(str(text))]
        except BadMatcher as e:
            reading.wrong((*path, listed, i), str(e))
    return [_matcher(reading, *each) for each in found]


def _matcher(reading: _Reading, label: str, op: Op, value: str, path: KeyPath) -> str:
    name = reading.field(label)
    try:
        matcher(name, op, value)
    except BadMatcher as e:
        reading.wrong(path, str(e))
    if name == "severity":
        value = _severity(reading, op, value, path)
    written = name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{written}{op}{json.dumps(value, ensure_ascii=False)}"


def _severity(reading: _Reading, op: Op, value: str, path: KeyPath) -> str:
    """Our word for a severity of theirs, which are free texts."""
    ours = SEVERITY_WORDS.get(value.lower()) if op in (Op.EQUAL, Op.NOT_EQUAL) else None
    words = value.strip("^$()").split("|") if ours is None else []
    if words and all(word.lower() in SEVERITY_WORDS for word in words):
        ours = "|".join(dict.fromkeys(SEVERITY_WORDS[word.lower()] for word in words))
    if ours is None:
        reading.lose(path, f"severities here are critical, error, warning, informational, verbose; '{value}' is none")
        return value
    if ours != value and value.strip("^$()") != ours:
        reading.lose(path, f"'{value}' is {ours} here")
    return ours


# -- inhibition --------------------------------------------------------------------------------------------------------


def _inhibit(reading: _Reading, path: KeyPath, rule: Mapping[str, Any]) -> dict[str, Any]:
    sides = {
        side: _matchers(reading, path, rule, (f"{side}_match", f"{side}_match_re", f"{side}_matchers"))
        for side in ("source", "target")
    }
    reading.unread(path, rule, _INHIBITS)
    out: dict[str, Any] = {side: {"matchers": found or _EVERY} for side, found in sides.items()}
    out["then"] = "drop"
    if equal := [reading.field(str(label)) for label in rule.get("equal") or ()]:
        out["equal"] = equal
        reading.lose((*path, "equal"), "a label that both lack is equal in Alertmanager; here it equals nothing")
    return out


def file_text(found: OnCallImported, about: str) -> str:
    """The on-call file; comments say what could not be kept."""
    lines = list(comment(f"# From {about}."))
    lines += [line for lost in found.lost for line in comment(f"# Not kept: {lost}", "# ")]
    return "\n".join([*lines, "", *mapping(found.data, 0)]) + "\n"


_DAYS = {
    day: day[:3] for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
}  # fmt: skip


def interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``time_intervals``, without its name."""
    out: dict[str, Any] = {}
    times = [t for t in entry.get("times") or () if is_map(t)]
    if times:
        out["times"] = [f"{t.get('start_time', '00:00')}-{t.get('end_time', '24:00')}" for t in times]
    if weekdays := entry.get("weekdays"):
        out["weekdays"] = [_weekdays(str(each)) for each in weekdays]
    for key in ("days_of_month", "months", "years"):
        if listed := entry.get(key):
            out[key] = [str(each).lower() for each in listed]
    if location := entry.get("location"):
        out["timezone"] = "UTC" if str(location) in ("UTC", "Local") else str(location)
    return out


def _weekdays(text: str) -> str:
    first, _, last = text.strip().lower().partition(":")
    words = [_DAYS.get(word, word) for word in (first, last) if word]
    return "-".join(words)


def named(name: str, entries: list[Any]) -> dict[str, Any]:
    """A named one of ours."""
    found = [interval(each) for each in entries if is_map(each)]
    return {"name": name, **found[0]} if len(found) == 1 else {"name": name, "any_of": found}
