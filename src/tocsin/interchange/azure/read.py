"""Reads single values of Azure's rules; what is wrong or unknown is said with its key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeGuard

from tocsin.interchange.azure.resources import Found
from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.report import Lost, Refused
from tocsin.interchange.words import OPERATORS, iso_duration, number_text, rule_name, severity_of
from tocsin.rules.language.schema import NAME


@dataclass(slots=True)
class Notes:
    """What was kept and what was lost of one resource, as it is read."""

    kept: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    off: str = ""

    def keep(self, key: str, value: Any, became: str) -> None:
        """``key`` was kept."""
        shown = value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value).lower()
        self.kept.append(f"{key} {shown} -> {became}" if value != "" else f"{key} -> {became}")

    def lose(self, key: str, why: str) -> None:
        """``key`` was not kept, or only nearly."""
        self.lost.append(Lost(key=key, why=why))

    def disable(self, why: str) -> None:
        """The rule is off, for the first such reason."""
        self.off = self.off or why


def name_of(found: Found, p: Mapping[str, Any], stem: str, notes: Notes) -> str:
    """The rule's name: Azure's display name where it can be one, else the resource's, else ``stem``."""
    display = p.get("displayName")
    if isinstance(display, str) and len(display) <= 128 and re.fullmatch(NAME, display):
        return display
    raw = found.name.text if isinstance(found.name, Unknown) else found.name
    name = rule_name(raw.rsplit("/", 1)[-1])
    if not name:
        name = rule_name(stem) or "imported"
        why = why_unknown(found.name) if isinstance(found.name, Unknown) else "it has no name"
        notes.lose("name", f"{why}; named after its file")
    elif name != raw:
        notes.lose("name", f"'{raw}' written as '{name}'")
    return name


def enabled(value: Any, notes: Notes) -> bool:
    """Whether it is enabled; where only Azure knows, it is not."""
    if isinstance(value, Unknown):
        notes.disable(f"whether it is enabled: {why_unknown(value)}")
        return False
    on = str(value).lower() != "false"
    notes.keep("enabled", on, f"enabled: {str(on).lower()}")
    return on


def severity(value: Any, notes: Notes) -> str:
    """Azure's 0 to 4 as our word."""
    said = "" if value is None else str(value)
    if isinstance(value, Unknown) or said not in ("0", "1", "2", "3", "4"):
        why = (
            why_unknown(value)
            if isinstance(value, Unknown)
            else f"'{said}' is none of 0 to 4"
            if said
            else "is not said"
        )
        notes.lose("severity", f"{why}; taken for warning")
        return "warning"
    notes.keep("severity", said, f"severity: {severity_of(int(said))}")
    return severity_of(int(said))


def duration(p: Mapping[str, Any], key: str) -> timedelta:
    """A duration that must be there. Raises Refused."""
    value = known(p.get(key), key)
    found = iso_duration(value) if isinstance(value, str) else None
    if not found:
        raise Refused(f"{key}: '{value}' is no duration" if value else f"{key} is missing")
    return found


def operator(value: Any, key: str) -> str:
    """A comparison as KQL writes it. Raises Refused."""
    word = str(known(value, key)).lower()
    if word not in OPERATORS:
        raise Refused(f"{key}: '{word}' is none of {', '.join(sorted(OPERATORS))}")
    return OPERATORS[word]


def number(value: Any, key: str) -> str:
    """A number as KQL writes it. Raises Refused."""
    try:
        return number_text(float(known(value, key)))
    except (TypeError, ValueError, OverflowError) as e:
        raise Refused(f"{key}: '{value}' is no number") from e


def whole(value: Any, key: str, least: int, most: int) -> int:
    """A whole number within bounds. Raises Refused."""
    digits = str(known(value, key))
    if not digits.isdecimal() or not least <= int(digits[:9]) <= most:
        raise Refused(f"{key}: '{digits}' is no whole number from {least} to {most}")
    return int(digits)


def flag(value: Any, otherwise: bool, key: str, notes: Notes) -> bool:
    """True or false, also where it is written as text; ``otherwise`` where it is not known."""
    if isinstance(value, Unknown):
        notes.lose(key, f"{why_unknown(value)}; taken for {str(otherwise).lower()}")
        return otherwise
    return otherwise if value is None else str(value).lower() == "true"


def text(value: Any, key: str, notes: Notes) -> str:
    """A text, with ``${…}`` for what only Azure knows; '' where there is none."""
    if isinstance(value, Unknown):
        notes.lose(key, f"holds ${{…}}, which is yours to fill in: {why_unknown(value)}")
        return value.text
    return value if isinstance(value, str) else ""


def known(value: Any, key: str) -> Any:
    """``value``, unless only Azure knows it. Raises Refused."""
    if isinstance(value, Unknown):
        hint = "; give it with --parameters" if any(w.startswith("parameter") for w in value.why) else ""
        raise Refused(f"{key}: {why_unknown(value)}{hint}")
    return value


def why_unknown(value: Any) -> str:
    """Why a value is not known."""
    return ", ".join(value.why) if isinstance(value, Unknown) else ""


def is_map(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether it is an object."""
    return isinstance(value, Mapping)


def type_of(found: Found) -> str:
    """Type and API version of a resource."""
    return f"{found.type} {found.api}".strip()


def text_of_name(found: Found) -> str:
    """A resource's name, with ``${…}`` for what only Azure knows."""
    return found.name.text if isinstance(found.name, Unknown) else found.name
