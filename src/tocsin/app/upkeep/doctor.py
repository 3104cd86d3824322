"""What is wrong with a project directory and what it depends on: configuration, Kafka, mail server, clock, disk, stores.

Each check connects as tocsin itself does, and sends nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from tocsin.app.project.content import gather
from tocsin.app.project.stores import mail_channel, open_log, open_state
from tocsin.app.views.check import check
from tocsin.clock import Clock
from tocsin.config.project.home import Home
from tocsin.config.settings import Settings
from tocsin.config.yaml.durations import in_words
from tocsin.config.yaml.sizes import human_size
from tocsin.errors import ConfigurationError, TocsinError
from tocsin.intake.consumer import Consumer
from tocsin.notify.channels.base import Unreachable
from tocsin.state.pairing import pair

AHEAD = timedelta(seconds=5)
"""How far the newest commit may lie ahead of the clock."""
WAIT = 10.0
"""Seconds to wait for a server."""


Ask = Callable[[str], Sequence[Mapping[str, Any]]]
"""Rows of a KQL query, asked of the running tocsin."""
_WEEK = timedelta(days=7)
_STAMPED_AHEAD = (
    "RunStatusChanged | where isnotnull(GivenTime) and IngestedAt > ago(7d)"
    " | summarize Events = count(), Latest = max(GivenTime) by Consumer | order by Consumer asc"
)
_STAMPED_AHEAD_SQL = (
    "SELECT Consumer, count(*) AS Events, max(GivenTime) AS Latest FROM RunStatusChanged"
    " WHERE GivenTime IS NOT NULL AND IngestedAt > $since GROUP BY Consumer ORDER BY Consumer"
)


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found, and what to do about it; ``fix`` is '' where nothing is to be done."""

    part: str
    level: Level
    text: str
    fix: str = ""


def diagnose(home: Home, clock: Clock, ready: Mapping[str, Any] | None, ask: Ask | None = None) -> list[Finding]:
    """Check everything. ``ready`` is what /readyz of the running tocsin says, and ``ask`` asks it; None where none runs:
    then the caller holds the project directory's lock, and the stores are opened.
    """
    found = list(_configuration(home))
    try:
        settings = home.settings()
    except ConfigurationError:
        return found
    found += _kafka(home, settings)
    found.append(_mail_server(settings))
    found.append(_disk(home, settings))
    found.append(_synchronised())
    found += _stores(home, settings, clock) if ready is None else running(ready, clock)
    if ask is not None:
        found += _stamped_ahead(ask(_STAMPED_AHEAD), settings)
    return found


def _ok(part: str, text: str) -> Finding:
    return Finding(part=part, level=Level.OK, text=text)


def _error(part: str, text: str, fix: str) -> Finding:
    return Finding(part=part, level=Level.ERROR, text=text, fix=fix)


def _warning(part: str, text: str, fix: str) -> Finding:
    return Finding(part=part, level=Level.WARNING, text=text, fix=fix)


def _configuration(home: Home) -> Iterator[Finding]:
    problems = check(home, with_tests=False)
    for problem in problems:
        level = Level.WARNING if problem.warning else Level.ERROR
        shown = replace(problem, file=home.shown(Path(problem.file)) if problem.file else "", hint="")
        yield Finding(part="configuration", level=level, text=str(shown), fix=problem.hint or "correct the file")
    if not problems:
        yield _ok("configuration", "all files are right")


def _kafka(home: Home, settings: Settings) -> Iterator[Finding]:
    if settings.kafka is None:
        yield _ok("kafka", "not used")
        return
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    servers = ", ".join(settings.kafka.bootstrap_servers)
    try:
        client = KafkaConsumer(**settings.kafka.client(), request_timeout_ms=int(WAIT * 1000))
        try:
            topics = set(client.topics())
        finally:
            client.close()
    except (KafkaError, OSError, ValueError) as e:
        yield _error(
            "kafka",
            f"{servers}: {e or type(e).__name__}",
            "check kafka.bootstrap_servers, its security settings and the network",
        )
        return
    yield _ok("kafka", f"{servers} answers, {len(topics)} topics")
    for consumer in _consumers(home, settings):
        wanted = consumer.file.kafka.topics if consumer.file.kafka else ()
        missing = sorted(set(wanted) - topics)
        if missing:
            yield _warning(
                "kafka",
                f"consumer {consumer.name}: there is no topic {', '.join(missing)}",
                "create it, or correct kafka.topics in the consumer's file",
            )


def _mail_server(settings: Settings) -> Finding:
    smtp = settings.smtp
    if smtp.host is None:
        return _ok("mail", "no server is set: mails stay on this machine, on the page /notifications")

    async def shake_hands() -> None:
        connection = await mail_channel(settings).connect()
        await connection.close()

    name = f"{smtp.host}:{smtp.port}"
    try:
        asyncio.run(asyncio.wait_for(shake_hands(), WAIT))
    except Unreachable as e:
        return _error("mail", str(e), "check smtp.host, port, security, username and password")
    except (TimeoutError, OSError) as e:
        return _error("mail", f"{name}: {str(e) or 'no answer in time'}", "check smtp.host, smtp.port and the network")
    how = {"none": "not encrypted", "starttls": "by STARTTLS", "tls": "by TLS"}[smtp.secured]
    return _ok("mail", f"{name} answers, {how}{', login works' if smtp.username else ''}")


def _disk(home: Home, settings: Settings) -> Finding:
    directory = home.store_path(settings).parent
    while not directory.exists():
        directory = directory.parent
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    reserve = max(256 << 20, 2 * settings.store.checkpoint_threshold)
    text = f"{human_size(free)} free at {directory}, intake stops below {human_size(reserve)}"
    fix = "free some space, shorten retention, or `tocsin doctor --compact`"
    if free < reserve:
        return _error("disk", text, fix)
    return _warning("disk", text, fix) if free < 4 * reserve else _ok("disk", text)


def _synchronised() -> Finding:
    """Asks systemd where there is one: rules compare the producers' clocks with ours."""
    if shutil.which("timedatectl") is None:
        return _ok("clock", "whether it is synchronised is unknown: there is no timedatectl")
    done = subprocess.run(
        ["timedatectl", "show", "-p", "NTPSynchronized", "--value"], capture_output=True, text=True, timeout=10
    )
    if done.returncode != 0:
        return _ok("clock", "whether it is synchronised is unknown: systemd does not answer")
    if done.stdout.strip() == "yes":
        return _ok("clock", "synchronised")
    return _warning(
        "clock", "not synchronised", "run chrony or systemd-timesyncd: rules compare producers' clocks with this one"
    )


def _stores(home: Home, settings: Settings, clock: Clock) -> Iterator[Finding]:
    if not home.store_path(settings).exists():
        yield _ok("stores", "not made yet")
        return
    try:
        state = open_state(home, settings, clock)
        try:
            log = open_log(home, settings, clock)
            try:
                verdict = pair(log, state)
                head = log.head()
                since = (clock.now() - _WEEK).replace(tzinfo=None)
                ahead = log.select(_STAMPED_AHEAD_SQL, {"since": since}).to_pylist()
            finally:
                log.close()
        finally:
            state.close()
    except TocsinError as e:
        yield _error("stores", str(e), "restore a backup of both: tocsin restore DIR")
        return
    yield _ok("stores", f"events and state: {verdict.reason.value}, commit {head.seq}")
    yield from _newest(head.ingested_at if head.seq else None, clock)
    yield from _stamped_ahead(ahead, settings)


def running(ready: Mapping[str, Any], clock: Clock) -> Iterator[Finding]:
    """Findings of what /readyz of a running tocsin says."""
    for part in ("store", "state", "files"):
        said = ready.get(part, "ok")
        if said != "ok":
            yield _error("running", f"{part}: {said}", "see the log of the running tocsin")
    for fault in ready.get("degraded", ()):
        yield _error("running", str(fault), "see the log of the running tocsin")
    for bad in ready.get("bad_addresses", ()):
        yield _warning(
            "address",
            f"is none, the mail server says: {bad}",
            "correct it where it stands: rules/oncall, or the event's owner",
        )
    for rule, error in ready.get("rules", {}).get("errors", {}).items():
        yield _error("running", f"rule {rule}: {error}", f"tocsin rules explain {rule}")
    lag = ready.get("evaluation", {}).get("lag_commits", 0)
    if lag > 100:
        yield _warning(
            "running", f"{lag} commits are not evaluated yet", "too many or too slow rules: tocsin rules status"
        )
    if ready.get("ready"):
        yield _ok("running", "ready")
    if "dead_man" in ready:
        yield _dead_man(ready["dead_man"], clock)
    newest = ready.get("ingested_at")
    yield from _newest(datetime.fromisoformat(newest) if newest else None, clock)


def _dead_man(last: Mapping[str, Any] | None, clock: Clock) -> Finding:
    """The last round of the dead-man's switch."""
    part = "dead man"
    if last is None:
        return _ok(part, "no ping yet")
    at = datetime.fromisoformat(last["at"])
    when = f"{timedelta(seconds=round((clock.now() - at).total_seconds()))} ago"
    if last["fault"]:
        return _error(part, f"the probe stood still {when}: {last['fault']}", "see the log of the running tocsin")
    if not last["answered"]:
        return _error(part, f"the ping {when} was not taken", "check dead_man.url and the network")
    return _ok(part, f"pinged {when}")


def _newest(at: datetime | None, clock: Clock) -> Iterator[Finding]:
    if at is None:
        yield _ok("events", "none yet")
        return
    age = clock.now() - at
    if age < -AHEAD:
        yield _error(
            "clock",
            f"the newest event was stored {-age} after now",
            "the clock was set back: until it catches up new events are stamped right after that one",
        )
    else:
        yield _ok("events", f"the newest was stored {timedelta(seconds=round(age.total_seconds()))} ago")


def _stamped_ahead(rows: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[Finding]:
    """Consumers whose producers' clocks are wrong."""
    skew = in_words(settings.intake.max_clock_skew)
    for row in rows:
        yield _warning(
            "clock",
            f"consumer {row['Consumer']}: {row['Events']} events of the last week were stamped more than {skew} ahead, the"
            f" latest {str(row['Latest'])[:19].replace('T', ' ')}Z; their receipt was taken",
            "set the clocks of its producers, or raise intake.max_clock_skew",
        )


def _consumers(home: Home, settings: Settings) -> list[Consumer]:
    content = gather(home, [], settings)
    active = content.active.values() if content else ()
    return [consumer for consumer in active if consumer.connector == "kafka"]
