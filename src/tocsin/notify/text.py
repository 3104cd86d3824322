"""Words and numbers as a mail shows them: lengths, times, causes, one-line headers, 72 columns."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime, timedelta, tzinfo

from tocsin.config.yaml.durations import in_words
from tocsin.model.text.causes import ANSI, BIDI, cut, one_line

CAUSE_WITHIN = 45
"""Characters within which a default subject has begun to say the cause."""
WIDTH = 72
length = in_words
"""A length as mails say it: ``45 s``, ``12 min``, ``6 h 12``."""

_CONTROL = re.compile(f"[{BIDI}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def middle(text: str, length: int) -> str:
    """``text`` cut in its middle, so that beginning and end stay."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return cut(text, length - tail) + text[-tail:] if tail else cut(text, length)


def shown(text: str, length: int = 2000) -> str:
    """``text`` for a body: terminal colours, controls and bidi controls off, line breaks as ``\\n``, cut at
    ``length``.
    """
    text = text[: length * 4].replace("\r\n", "\n").replace("\r", "\n")
    return cut(_CONTROL.sub("", ANSI.sub("", text)), length)


def isolate(text: str) -> str:
    """``text`` between bidi isolates where it holds right-to-left letters, so that it turns nothing around it."""
    return f"\u2068{text}\u2069" if _RTL.search(text) else text


def moment(value: object) -> datetime | None:
    """A time as an event carries it: a datetime, or ISO text; None for anything else."""
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def right_to_left(text: str) -> bool:
    """Whether ``text`` is mostly of a right-to-left script, for ``dir``."""
    return len(_RTL.findall(text)) * 2 > sum(c.isalpha() for c in text)


def clock_time(t: datetime, zone: tzinfo) -> str:
    """``08:15`` in ``zone``."""
    return t.astimezone(zone).strftime("%H:%M")


def day_time(t: datetime, now: datetime, zone: tzinfo) -> str:
    """``08:15``, ``yesterday 02:14``, ``Mon 02:14`` within a week, else ``2026-01-05 02:14``; days are those of
    ``zone``.
    """
    there, today = t.astimezone(zone), now.astimezone(zone).date()
    days = (today - there.date()).days
    if days == 0:
        return f"{there:%H:%M}"
    if days == 1:
        return f"yesterday {there:%H:%M}"
    if 1 < days < 7:
        return f"{there:%a %H:%M}"
    return f"{there:%Y-%m-%d %H:%M}"


def at_day_time(t: datetime, now: datetime, zone: tzinfo) -> str:
    """As ``day_time``, in a sentence: ``at 08:15``, ``yesterday at 02:14``, ``on Mon at 02:14``."""
    day, _, clock = day_time(t, now, zone).rpartition(" ")
    return f"{day if day == 'yesterday' else f'on {day}'} at {clock}" if day else f"at {clock}"


def zone_name(zone: tzinfo) -> str:
    """``Budapest`` for Europe/Budapest, ``UTC`` for UTC."""
    name = str(zone)
    return name.rpartition("/")[2].replace("_", " ") if "/" in name else name


_DID = {"Failed": "failed", "Canceled": "was canceled", "Completed": "completed", "NotResponding": "stopped responding"}


def did(status: str) -> str:
    """``failed`` for Failed; another status by its word: ``is Queued``."""
    return _DID.get(status, f"is {status}" if status else "")


def default_subject(*, name: str, status: str, ran: timedelta | None, why: str, rule: str) -> str:
    """``churn failed after 6 h 12: CUDA out of memory``; the cause begins well within 45 characters."""
    name, verb = one_line(name, 300), did(status)
    if not verb:
        return one_line(f"{name}: {rule}" if name else rule)
    after = f" after {length(ran)}" if ran is not None and status in ("Failed", "Canceled", "Completed") else ""
    if not why:
        return one_line(f"{middle(name, 90)} {verb}{after}".strip())
    room = CAUSE_WITHIN - 15
    if len(name) + 1 + len(verb) + len(after) + 2 > room:
        after = after if len(name) + 1 + len(verb) + len(after) + 2 <= room + 5 else ""
    name = middle(name, max(room - len(verb) - len(after) - 3, 12))
    return one_line(f"{name} {verb}{after}: {why}".strip())


def wrap(text: str, indent: str = "") -> str:
    """``text`` in lines of 72 columns behind ``indent``; line breaks in it stay, long words are not torn."""
    out: list[str] = []
    for line in text.split("\n"):
        if len(line) + len(indent) <= WIDTH and line.isascii():
            out.append(f"{indent}{line}".rstrip())
        elif _WIDE.search(line):
            out += [f"{indent}{part}" for part in _by_columns(line, WIDTH - len(indent))]
        else:
            out += textwrap.wrap(
                line, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                break_on_hyphens=False,
            ) or [""]  # fmt: skip
    return "\n".join(out)


_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]"
)


def _by_columns(line: str, width: int) -> list[str]:
    """``line`` cut where its columns run out; wide letters take two, and Latin words are kept whole where they fit."""
    parts, used, current = [], 0, ""
    for piece in re.findall(r"[!-~]+|.", line):
        columns = sum(2 if _WIDE.match(c) else 1 for c in piece)
        if used + columns > width and current:
            parts.append(current.rstrip())
            current, used = "", 0
        current, used = current + piece, used + columns
    return [*parts, current.rstrip()] if current.strip() or not parts else parts
