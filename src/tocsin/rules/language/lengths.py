"""Lengths and numbers of a `when:` that a table's row gives: ``in_status_for: "{{ minutes }}m"``, ``times: "{{ times
}}"``.

They stand in no query, so they are templates, as the schedule of ``absent`` is; what a row makes of them is read as if
it had been written there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.config.yaml.durations import parse_duration
from tocsin.rules.language.schema import Past, PastWhen, When
from tocsin.rules.language.templates import TemplateFault, checked

Fault = tuple[KeyPath, str, str]
_DURATIONS = ("in_status_for", "silent_for", "for_", "within")
_PAST = ("above", "below")
_ANY: Mapping[str, object] = {
    **dict.fromkeys(_DURATIONS, timedelta(minutes=1)), "times": 1, **dict.fromkeys(_PAST, "p50"),
}  # fmt: skip
"""What stands in place of a template while the rule as such is checked."""


def templates_of(when: When) -> dict[str, str]:
    """The templates by field."""
    said: dict[str, object] = {name: getattr(when, name, None) for name in (*_DURATIONS, "times")}
    if (past := _past(when)) is not None:
        said |= {name: getattr(past, name) for name in _PAST}
    return {name: text for name, text in said.items() if isinstance(text, str) and "{{" in text}


def faults(when: When, columns: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the templates as such, whatever a row holds."""
    for name, text in templates_of(when).items():
        try:
            used = checked(text)[1]
        except TemplateFault as e:
            yield _path(name), f"is no template: {e}", "write for example {{ minutes }}m"
            continue
        for unknown in sorted(used - set(columns)):
            yield _path(name), f"uses '{unknown}', which is no column of the table", suggest(unknown, columns)


def columns_of(when: When | None) -> frozenset[str]:
    """Columns that the templates use."""
    return frozenset().union(*(checked(text)[1] for text in templates_of(when).values())) if when else frozenset()


def as_such(when: When) -> When:
    """``when`` with some value in place of each template."""
    return _with(when, {name: _ANY[name] for name in templates_of(when)})


def filled(when: When, row: Mapping[str, object]) -> When:
    """``when`` as ``row`` makes it. Raises ValueError that says what is wrong."""
    values: dict[str, object] = {}
    for name, text in templates_of(when).items():
        try:
            said = checked(text)[0].render(row)
            values[name] = _read(name, said)
        except (TemplateFault, ValueError) as e:
            raise ValueError(f"{'.'.join(map(str, _path(name)[1:]))}: {e}") from e
    return _with(when, values)


def _read(name: str, said: str) -> object:
    if name in _PAST:
        return said
    if name != "times":
        return parse_duration(said)
    if not said.isascii() or not said.isdigit() or int(said) < 1:
        raise ValueError(f"'{said}' is no number of times; write for example 3")
    return int(said)


def _with(when: When, values: Mapping[str, object]) -> When:
    past = {name: value for name, value in values.items() if name in _PAST}
    own = {name: value for name, value in values.items() if name not in _PAST}
    if past and (duration := _past(when)) is not None:
        own["duration"] = duration.model_copy(update=past)
    return when.model_copy(update=own) if own else when


def _past(when: When) -> Past | None:
    return when.duration if isinstance(when, PastWhen) else None


def _path(name: str) -> KeyPath:
    return ("when", "duration", name) if name in _PAST else ("when", name.rstrip("_"))
