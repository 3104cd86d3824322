"""Words that people may write for a key of a rule file: what other systems, or drafts of this language, call it."""

from __future__ import annotations

from collections.abc import Mapping

COMMON: Mapping[str, str] = {"keep": "fields", "tell_within": "max_event_age"}
RULE: Mapping[str, str] = {**COMMON, "was": "renamed_from", "clear": "resolve"}
RESOLVE: Mapping[str, str] = {"after": "auto_close"}
LIMIT: Mapping[str, str] = {"told": "max", "in": "window"}
EXPECT: Mapping[str, str] = {"told": "notifications", "resolved_told": "resolved"}
