"""The running tocsin: wires the stations by values of ``model`` and owns their life cycle.

Start, from the bottom up: stores, pairing, rules (a reload is an instant), evaluator, writer, mirror, sources; notify
and the web server run in the caller's event loop. Stop, from the top down, so that what was taken is committed,
evaluated and kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from starlette.routing import BaseRoute

from tocsin import __version__
from tocsin.app.engine.allocator import set_apart
from tocsin.app.engine.audit import Audit
from tocsin.app.engine.evaluator import ADMIN, Consumers, Evaluator, admin_intent
from tocsin.app.engine.known_series import present_channels
from tocsin.app.engine.mirror import Mirror
from tocsin.app.engine.sources import Sources
from tocsin.app.engine.writer import Writer
from tocsin.app.project.content import Content
from tocsin.app.project.stores import link_signer, mail_channel, open_log, open_state, put_tables
from tocsin.app.run.deadman import OLDEST, DeadMan, Parts
from tocsin.app.run.measuring import Housekeeping, Measuring
from tocsin.app.run.reload import Reloader
from tocsin.app.runs.actions import MOST_EVENTS, RunActions
from tocsin.app.runs.actions import Ports as RunPorts
from tocsin.app.runs.draining import Draining
from tocsin.app.runs.folders import Folders
from tocsin.app.runs.views import Views
from tocsin.app.upkeep.backup import back_up, export_parquet
from tocsin.app.views.intake import consumers
from tocsin.app.views.read import Reading
from tocsin.clock import Clock
from tocsin.config.content import packaged
from tocsin.config.project.home import Home
from tocsin.config.project.instance import running
from tocsin.config.project.tokens import Tokens, lost
from tocsin.config.settings import Settings
from tocsin.errors import ConfigurationError, StoreError, TocsinError
from tocsin.intake.connectors.ping import PingIntake
from tocsin.intake.replay import replay
from tocsin.metrics.registry import Metrics
from tocsin.model.active import AuditKind
from tocsin.model.event import Commit
from tocsin.model.text.signed import Signer
from tocsin.notify.channels.base import Setting
from tocsin.notify.channels.registry import Channels
from tocsin.notify.delivery.read import with_outbox
from tocsin.notify.notifier import Notifier, NotifyOptions
from tocsin.notify.render.facts import StoreFacts
from tocsin.notify.render.templates import Templates
from tocsin.notify.values import CapRule
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.sdk.sending.spool import AT_ONCE
from tocsin.state.interface import Outcome
from tocsin.state.pairing import pair

log = structlog.get_logger(__name__)


_OPEN_PING = """
SELECT RunId FROM Runs WHERE JobKey = $job AND RunType = 'ping' AND Status NOT IN ('Completed', 'Failed', 'Canceled')
ORDER BY LastTime DESC LIMIT 1
"""


class App(Reading):
    """One home, running. ``start``, then ``notifier.run`` and the web server in a loop, then ``stop``."""

    def __init__(self, home: Home, content: Content, *, clock: Clock, url: str = "", adopt: bool = False) -> None:
        """Open and pair the stores. ``url`` is where the server is reached, for links in mails.

        Raises StoreError, PairingError; then nothing is left open.
        """
        self._home, self._content, self._clock = home, content, clock
        settings = content.settings
        self._metrics = Metrics(settings.metrics.run_labels)
        self._log = open_log(home, settings, clock, self._metrics)
        try:
            self._state_store = open_state(home, settings, clock)
            try:
                verdict = pair(self._log, self._state_store, adopt=adopt)
                if not verdict.ok:
                    log.warning("stores_adopted", reason=verdict.reason.value)
                self._wire(url or settings.http.url)
            except BaseException:
                self._state_store.close()
                raise
        except BaseException:
            self._log.close()
            raise

    def _wire(self, url: str) -> None:
        settings, clock, metrics = self._content.settings, self._clock, self._metrics
        self._url = url
        put_tables(self._log, self._content.tables)
        self._links = link_signer(self._state_store)
        self.notifier = Notifier(
            options=replace(_options(settings, url), links=self._links),
            state=self._state_store,
            templates=Templates(self._home.template_dirs(settings.shipped.templates), packaged() / "templates"),
            facts=StoreFacts(self._log),
            channels=Channels(
                mail_channel(settings),
                lambda: self._content.oncall,
                with_outbox(Setting(directory=self._home.path, base_url=url), self._state_store, clock),
            ),
            metrics=metrics,
            clock=clock,
        )
        self._writer = Writer(self._log, metrics, clock, self._committed, max_rows=settings.commit.max_rows)
        self._sources = Sources(
            settings,
            self._log,
            self._writer,
            metrics,
            clock,
            self._state_store,
            self._watermarks_moved,
        )
        self._sources.http.apart = lambda: self._content.apart
        self._evaluator = Evaluator(
            self._log,
            self._state_store,
            metrics,
            clock,
            Consumers(
                source_progress=self._sources.source_progress,
                silences=self._sources.silences,
                expect=self._sources.expect,
            ),
            notified=self.notifier.wake,
        )
        self._audit = Audit(self._state_store, clock)
        self._mirror = Mirror(self._state_store, self._log, metrics, clock, settings.retention.alerts, self._audit)
        self._housekeeping = Housekeeping(
            self._log,
            Measuring(
                self._log,
                self._state_store,
                metrics,
                clock,
                directory=self._home.store_path(settings).parent,
                most=settings.metrics.run_series,
            ),
            clock,
            consumers=lambda: self._sources.names,
            keep=settings.keep(),
            extra=self._sources.measure,
        )
        self._dead_man = self._dead_man_switch()
        self._reloader = Reloader(
            self._home,
            settings,
            metrics,
            clock=clock,
            content=lambda: self._content,
            take=self._take,
            refused=self._refused,
        )
        Reading.__init__(
            self,
            self._log,
            self._state_store,
            clock,
            lambda: self._content,
            lambda: self._evaluator.errors,
            lambda: self._evaluator.next_deadlines,
            self.notifier.wake,
        )
        self._run_views = Views(self._state_store)
        self._folders = Folders(self._home.path, lambda: self._content.settings.runs.workspaces, self._urls)
        self._draining = Draining(self._folders, self._take_waiting, clock)
        self._run_actions = RunActions(
            RunPorts(run=self.run, take=self._take_events, ask=self._ask_to_cancel, clock=clock), self._folders
        )

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every station but the two that live in the event loop."""
        present_channels(self._metrics, self._content.oncall.channels)
        self._evaluator.start(self._content.rules)
        self._writer.start()
        self._mirror.start()
        self._sources.take(self._content.active)
        self._housekeeping.start()
        self._reloader.start()
        set_apart()
        log.info(
            "started",
            version=__version__,
            rules=len(self._content.rules.enabled),
            consumers=sorted(self._sources.names),
        )

    async def notify(self, stop: asyncio.Event) -> None:
        """Notify until ``stop`` is set; meanwhile ping elsewhere that it works, and take what waits in workspaces here."""
        others = [asyncio.create_task(self._draining.run())]
        if self._dead_man is not None:
            others.append(asyncio.create_task(self._dead_man.run(stop)))
        try:
            await self.notifier.run(stop)
        finally:
            self._draining.stop()
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _urls(self) -> list[str]:
        found = running(self._home.data)
        return [self._url, *([found.url] if found else [])]

    async def _take_waiting(self, events: bytes) -> None:
        await self._sources.http.take(events, AT_ONCE)

    def _dead_man_switch(self) -> DeadMan | None:
        settings = self._content.settings.dead_man
        if settings is None:
            return None
        parts = Parts(
            put=lambda batch: self._writer.put(batch, timeout=5),
            head=lambda: self._log.head().seq,
            evaluate=self._evaluator.wake,
            turned=lambda: self._evaluator.turned_at,
            evaluated=lambda: self._log.head().seq - self._evaluator.lag,
            wake=self.notifier.wake,
            notified=lambda: self.notifier.passed_at,
            oldest=self._oldest_waiting,
        )
        return DeadMan(settings.url.get_secret_value(), settings.every, parts, self._clock)

    def _oldest_waiting(self) -> datetime | None:
        oldest = self._state_store.outbox_stats().get("oldest", 0.0)
        return datetime.fromtimestamp(oldest, UTC) if oldest else None

    def refuse_large(self) -> None:
        """It is about to stop: large bodies are not taken any more. Others are, until the server has ended."""
        self._writer.refuse_large()

    @property
    def left(self) -> bool:
        """Whether something goes on after ``stop``; the process is to be ended without waiting for it."""
        return self._evaluator.left

    def stop_intake(self) -> None:
        """Take nothing more; what was taken is committed and evaluated."""
        self._reloader.stop()
        self._sources.stop()
        self._writer.stop()
        self._evaluator.stop()

    def stop(self) -> None:
        """Stop everything and close the stores. Call it after ``notify`` has ended."""
        self.stop_intake()
        self._housekeeping.stop()
        self._mirror.stop()
        self.notifier.close()
        self._folders.close()
        self._state_store.close()
        self._log.close()
        log.info("stopped")

    def _watermarks_moved(self) -> None:
        self._evaluator.watermarks_moved()

    def _committed(self, commit: Commit) -> None:
        if commit.seq is not None:
            self._evaluator.wake()
            self.notifier.news()

    # -- reload --------------------------------------------------------------------------------------------------------

    def _take(self, content: Content) -> None:
        """Bring ``content`` into force. Raises ContentError where it would open what tokens lock; then nothing
        changes.
        """
        if self._content.tokens and not content.tokens:
            raise ConfigurationError([lost(content.tokens, content.settings.http.tokens_file, running=True)])
        self._home.note_tokens(content.tokens)
        put_tables(self._log, content.tables)
        self._content = content
        present_channels(self._metrics, content.oncall.channels)
        self._evaluator.reload(content.rules)
        self._sources.take(content.active)
        set_apart()  # rules that are replaced, where they refer to themselves, go at the next call

    def _refused(self, error: ConfigurationError) -> None:
        """Notify ``admin_email`` that files were refused; the last good ones stay in force."""
        detail = "\n".join(str(p) for p in error.problems[:50])
        now = self._clock.now()
        intent = admin_intent("changed files are refused", detail, now, self._log.head().seq)
        self._state_store.commit(Outcome(intents=(intent,), infos=(ADMIN,)), now)
        self.notifier.wake()

    # -- what web and cli ask ------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> Metrics:
        """The process's metrics."""
        return self._metrics

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self._clock

    @property
    def people(self) -> Sequence[str]:
        """Names of on-call people, by the files in force."""
        return list(self._content.oncall.people)

    def address_of(self, who: str) -> str:
        """The mail address of a person by name; else ``who``."""
        person = self._content.oncall.people.get(who)
        return person.email if person is not None else who

    @property
    def links(self) -> Signer:
        """What signs and reads the links of messages."""
        return self._links

    @property
    def settings(self) -> Settings:
        """Settings in force."""
        return self._content.settings

    @property
    def tokens(self) -> Tokens:
        """Tokens in force."""
        return self._content.tokens

    @property
    def kept(self) -> Path:
        """A folder for small files of the server's own."""
        return self._home.data

    def audit(self, kind: AuditKind, *, by: str, via: str, text: str) -> None:
        """Note in the audit trail that somebody did it now; never blocks."""
        self._audit.note(kind, by=by, via=via, text=text)

    @property
    def rules(self) -> RuleSet:
        """Rules in force."""
        return self._content.rules

    @property
    def run_views(self) -> Views:
        """Lists of runs that people saved."""
        return self._run_views

    @property
    def run_actions(self) -> RunActions:
        """What people do with runs."""
        return self._run_actions

    async def _take_events(self, events: bytes) -> None:
        """Take events that people's acts are. Raises TocsinError where they cannot be stored now."""
        await self._sources.http.take(events, MOST_EVENTS)

    async def _ask_to_cancel(self, found: Mapping[str, Any]) -> str:
        names = dict.fromkeys(event["Consumer"] for event in reversed(found["events"]))  # the latest first
        for name in names:
            consumer = self._sources.consumers.get(name)
            if consumer is not None and consumer.file.cancel is not None:
                from tocsin.app.runs.actions import ask

                return await ask(consumer.file.cancel, found["run"], self._home.path)
        said = f"consumer '{next(iter(names), '')}' does not say how its runs are canceled"
        return f"{said}; no workspace on the server's machine keeps it either"

    def intake_routes(self) -> list[BaseRoute]:
        """Routes below ``/intake/`` and ``/ping/``."""
        http = self._sources.http
        return [*http.routes(), *PingIntake(http, self._open_ping, self._clock).routes()]

    def _open_ping(self, job: str) -> str:
        """The run of a pinged job that is open, the latest; '' for none, also where the store cannot say now."""
        try:
            rows = self._log.select(_OPEN_PING, {"job": job}).to_pylist()
        except StoreError:
            return ""
        return str(rows[0]["RunId"]) if rows else ""

    def health(self) -> Mapping[str, Any]:
        """Facts about a living process."""
        head = self._log.head()
        return {"version": __version__, "commit_seq": head.seq, "ingested_at": _shown(head.ingested_at)}

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether it does its job: intake can be made durable. ``degraded`` in the detail lists what else is wrong:
        whom nobody can reach, and what cannot be read.
        """
        try:
            outbox: Mapping[str, Any] = self._state_store.outbox_stats()
            bad = [f"{address}: {said}" for address, said, _ in self._state_store.bad_addresses()]
            state = "ok"
        except StoreError as e:
            outbox, bad, state = {}, [], str(e)
        store = self._writer.failures or "ok"
        detail: dict[str, Any] = {
            "store": store,
            "state": state,
            "files": self._reloader.broken or "ok",
            "files_in_force": self._reloader.in_force,
            "rules": {
                "loaded": len(self._content.rules.enabled),
                "faulty": len(self._content.rules.faulty),
                "errors": dict(self._evaluator.errors),
            },
            "evaluation": {"lag_commits": self._evaluator.lag},
            "consumers": self._sources.status(),
            "outbox": dict(outbox),
            "channels": self.notifier.failures() or "ok",
            "bad_addresses": bad,
            "degraded": [*self._sources.failures(), *self.notifier.failures(), *self._old(outbox)],
        }
        if self._dead_man is not None:
            last = self._dead_man.last
            detail["dead_man"] = None if last is None else {**asdict(last), "at": _shown(last.at)}
        return store == "ok" and state == "ok", detail

    def _old(self, outbox: Mapping[str, Any]) -> list[str]:
        """That messages have waited for long."""
        oldest = outbox.get("oldest", 0.0)
        since = self._clock.now() if not oldest else datetime.fromtimestamp(oldest, UTC)
        long = self._clock.now() - since > OLDEST
        return [f"messages cannot be sent: one waits since {_shown(since)}"] if long else []

    def consumers(self) -> list[dict[str, Any]]:
        """A row a consumer, those too that run no more and have left dead letters."""
        now, status = self._clock.now(), self._sources.status()
        marks = self._sources.source_progress().watermarks
        known = {name: {**how, "watermark": marks.get(name)} for name, how in status.items()}
        return consumers(self._log, known, now)

    def back_up(self, directory: str) -> Mapping[str, Any]:
        """Copy both stores into ``directory`` while everything goes on. Raises TocsinError."""
        return asdict(back_up(self._log, self._state_store, Path(directory), self._clock))

    def export(self, directory: str, tables: Sequence[str] = ()) -> Mapping[str, int]:
        """Write ``tables``, all where none is named, as Parquet files into ``directory``. Raises TocsinError."""
        return export_parquet(self._log, Path(directory), tables)

    def replay_dead_letters(self, ids: Sequence[int] = (), consumer: str = "") -> Mapping[str, Any]:
        """Send dead letters through again."""
        drafts = self._log.dead_letters(consumer=consumer, ids=list(ids), unreplayed=not ids)
        if ids and (unknown := set(ids) - {d.id for d in drafts}):
            raise TocsinError(f"there is no dead letter {', '.join(map(str, sorted(unknown)))}")
        done = replay(drafts, self._sources.consumers, self._writer)
        self._log.mark_replayed(done.ids, self._clock.now())
        counts = asdict(done)
        return {"replayed": len(counts.pop("ids")), **counts}


def _shown(t: datetime) -> str:
    return t.isoformat().replace("+00:00", "Z")


def _options(settings: Settings, url: str) -> NotifyOptions:
    cap, total = settings.smtp.cap, settings.smtp.global_cap
    return NotifyOptions(
        sender=settings.smtp.sender,
        base_url=url,
        zone=ZoneInfo(settings.timezone),
        default_receiver=tuple(settings.fallback),
        admin_email=tuple(settings.admins),
        allowed_hosts=settings.links.allowed_hosts,
        allows=settings.smtp.allows,
        cap=CapRule(mails=cap.max, window=cap.window) if cap else None,
        global_cap=CapRule(mails=total.max, window=total.window) if cap else None,
        keep_trying=settings.smtp.deadline,
    )
