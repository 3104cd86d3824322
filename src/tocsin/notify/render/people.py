"""What chats and phones show of a notification: a title, a few lines, links, a colour."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.model.text.tails import last_lines
from tocsin.notify.channels.base import Notification
from tocsin.notify.context import Mail
from tocsin.notify.render import alerts

COLOURS: Mapping[str, str] = {
    "critical": "#b3001b",
    "error": "#d9480f",
    "warning": "#e8a200",
    "informational": "#2b6cb0",
    "verbose": "#6b7280",
}
RESOLVED_COLOUR = "#2f9e44"
LOG_LINES = 8


def over(notification: Notification) -> bool:
    """Whether it says that everything it is about is over."""
    return notification.over or (
        bool(notification.alerts) and all(alerts.resolved(intent) for intent, _ in notification.alerts)
    )


def colour(notification: Notification) -> str:
    """By severity; of an end the same for all."""
    return RESOLVED_COLOUR if over(notification) else COLOURS[notification.seen.alert.severity]


def lines(notification: Notification) -> list[str]:
    """What is wrong and since when, whose, alone or with others; of a summary its reasons with counts."""
    seen = notification.seen
    found = [seen.alert.cause if seen.alert.cause not in notification.delivery.subject else ""]
    says = seen.says
    found += [
        says.happened,
        says.waited,
        says.ended,
        says.attempt,
        says.where,
        says.nearby,
        says.last_success,
        says.late,
        says.since,
    ]
    found += [f"also {each.rule} ({each.severity}): {each.title}" for each in seen.others]
    if seen.alert.value is not None:
        found.append(f"value {seen.alert.value:g}")
    if seen.summary is not None:
        for bunch in seen.summary.bunches:
            examples = ", ".join(filter(None, (line.name for line in bunch.examples)))
            found.append(f"{bunch.count} × {bunch.cause or 'no reason given'}{f' ({examples})' if examples else ''}")
        if seen.summary.more:
            found.append(f"and {seen.summary.more} more")
    return [*filter(None, found), *seen.lines, *seen.notes]


def log(seen: Mail) -> list[str]:
    """The last lines of the run's log."""
    return last_lines("\n".join(seen.run.log), LOG_LINES, 4_000) if seen.run is not None else []


def links(seen: Mail) -> list[tuple[str, str]]:
    """What to do, with words for it."""
    named = (
        ("Open run", seen.links.run),
        ("Acknowledge", seen.links.acknowledge),
        ("Silence", seen.links.silence),
        ("Runbook", seen.rule.runbook),
        ("Rule", seen.links.rule),
    )
    return [(words, url) for words, url in named if url]


def fit(text: str, most: int) -> str:
    """``text`` cut to ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
