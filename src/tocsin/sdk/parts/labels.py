"""Tags, properties and alerts of a run."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.parts.described import Described
from tocsin.sdk.text import clean, string_value, string_values, warn_once

LEVELS = ("critical", "error", "warning", "informational", "verbose")
_alerted: dict[tuple[str, str], float] = {}


class Labelled(Described):
    """What people and programs say of a Run."""

    def alert(
        self, title: str, text: str = "", level: str = "warning", wait_duration: float | timedelta = 60.0
    ) -> None:
        """Send an alert of this run by tocsin's routes, without a rule of your own.

        ``level``: critical, error, warning, informational or verbose (W&B's INFO, WARN and ERROR too). The same title
        again within ``wait_duration`` (seconds, or a timedelta) is left out.
        """
        word = {"info": "informational", "warn": "warning"}.get(clean(level).lower(), clean(level).lower())
        if word not in LEVELS:
            raise UserErrorException(f"level: {clean(level)[:40]!r} is none of {', '.join(LEVELS)}")
        seconds = wait_duration.total_seconds() if isinstance(wait_duration, timedelta) else float(wait_duration)
        now = self._session.store.clock.monotonic()
        key = (self.id, clean(title))
        if key in _alerted and now - _alerted[key] < seconds:
            return
        _alerted[key] = now
        said = {
            "alert.title": clean(title)[:500],
            "alert.text": clean(text)[:8000],
            "alert.level": word,
            "alert.id": uuid.uuid4().hex,
        }
        message = f"{said['alert.title']}: {said['alert.text']}" if text else said["alert.title"]
        properties = {**self._row().property_values, **said}
        try:
            self._session.store.alert(self.id, {"Message": message, "Properties": properties})
        except sqlite3.Error as e:
            warn_once("alert", "an alert cannot be kept: %s", e)

    # --- labels ---

    def tag(self, key: str, value: str | None = None) -> None:
        """Set a tag, or a simple string tag whose value is None."""
        self._relabel("t", {clean(key): string_value(key, value, "tag")})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags; others stay."""
        self._relabel("t", string_values(tags, "tag"))

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        """Remove tags by key."""
        self._relabel("t", {}, [clean(k) for k in ([tags] if isinstance(tags, str) else tags)])

    def get_tags(self) -> dict[str, str | None]:
        """Its tags."""
        return self._row().tag_values

    tags = property(get_tags, doc="Its tags.")

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which never change. Raises UserErrorException for a key that has another value."""
        given = string_values(properties, "property")
        before = self.get_properties()
        for key, value in given.items():
            if key in before and before[key] != value:
                raise UserErrorException(
                    f"the property {key!r} is {before[key]!r} and cannot become {value!r}: properties never change"
                )
        self._relabel("p", given)

    def get_properties(self) -> dict[str, str | None]:
        """Its properties."""
        return self._row().property_values

    properties = property(get_properties, doc="Its properties.")

    def _relabel(self, kind: str, put: Mapping[str, str | None], drop: Sequence[str] = ()) -> None:
        if "" in put:
            raise UserErrorException("a tag or property needs a key")
        try:
            self._session.store.relabel(self.id, kind, put, drop)
        except sqlite3.Error as e:
            warn_once("labels", "tags and properties cannot be kept: %s", e)
