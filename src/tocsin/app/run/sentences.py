"""Log lines as sentences, for people who watch a terminal: when, what happened, which run, why, whom it was sent to.

What comes out of events stands in the field ``people`` of a log line, which is for the person before the terminal alone:
``structured`` leaves it out, so no payload gets into collected logs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any

from tocsin.model.text.causes import one_line

PEOPLE = "people"
_NAMES = ("delivery", "intent", "intents", "event_id", "commit_seq", "message_id", "attempt", "timestamp", "level")
"""Fields that lead from one log line to another; no person reads them."""
_WIDTH = 200  # characters of a field's text
_RESET, _DIM = "\x1b[0m", "\x1b[2m"
_COLOURS = {
    "critical": "\x1b[1;31m", "error": "\x1b[31m", "warning": "\x1b[33m", "resolved": "\x1b[32m", "sent": "\x1b[36m",
}  # fmt: skip

Line = MutableMapping[str, Any]


def structured(logger: object, method: str, line: Line) -> Line:
    """``line`` without what is for people alone: a processor of structlog."""
    line.pop(PEOPLE, None)
    return line


def sentences(*, colour: bool) -> Callable[[object, str, Line], str]:
    """The last processor of structlog: a sentence for each line. ``colour`` is left out where NO_COLOR is set."""
    coloured = colour and not os.environ.get("NO_COLOR")

    def sentence(logger: object, method: str, line: Line) -> str:
        at = datetime.fromisoformat(str(line["timestamp"])).astimezone()
        people: Mapping[str, Any] = line.pop(PEOPLE, {})
        what, text, tone = _said(str(line.pop("event")), line, people)
        trace = line.get("exception", "")
        head = f"{at:%H:%M:%S}"
        if coloured:
            head, what = f"{_DIM}{head}{_RESET}", f"{_COLOURS.get(tone, '')}{what:<9}{_RESET}"
        return f"{head}  {what:<9}  {text}" + (f"\n{trace}" if trace else "")

    return sentence


def _said(event: str, line: Mapping[str, Any], people: Mapping[str, Any]) -> tuple[str, str, str]:
    """What happened in a word, the sentence, and the tone in which it is coloured."""
    if event == "alert":
        kind = str(line["kind"])
        tone = "resolved" if kind == "resolved" else str(line["severity"])
        return kind, f"{_subject(line, people)} ({line['rule']}, {line['severity']})", tone
    if event == "delivery_sent":
        mailed = line["channel"] == "email"
        to = people.get("address", "") if mailed else line["receiver"]
        return (
            "mailed" if mailed else "sent",
            f"{one_line(str(to))}: {one_line(people.get('subject', ''), _WIDTH)}",
            "sent",
        )
    level = str(line.get("level", "info"))
    words = one_line(event.replace("_", " "))
    fields = ", ".join(
        f"{name.replace('_', ' ')} {_value(value)}"
        for name, value in line.items()
        if name not in (*_NAMES, "exception") and value not in ("", None, (), [])
    )
    return level if level != "info" else "tocsin", f"{words}: {fields}" if fields else words, level


def _subject(line: Mapping[str, Any], people: Mapping[str, Any]) -> str:
    """The experiment and the run, its status and why; of a rule about several runs what its instance is."""
    run = people.get("run") or line.get("run_id", "")
    name, run, status, why = (
        one_line(str(each or ""), _WIDTH) for each in (people.get("name"), run, people.get("status"), people.get("why"))
    )
    said = " ".join(filter(None, (" / ".join(filter(None, (name, run))), status.lower())))
    return ": ".join(filter(None, (said, why)))


def _value(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return f"{len(value)}" if len(value) > 4 else " ".join(one_line(str(each)) for each in value)
    return one_line(str(value), _WIDTH)
