"""Watches the project directory's files. A changed good set comes into force; a broken one is refused as a whole, with the reason
notified.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tocsin.app.engine.rounds import Rounds
from tocsin.app.project.content import Content, load_content
from tocsin.app.project.oncall import refresh_feeds
from tocsin.app.project.rules import refresh_calendars
from tocsin.clock import Clock
from tocsin.config.project.home import Home
from tocsin.config.project.watch import Watch
from tocsin.config.settings import Settings
from tocsin.errors import ConfigurationError
from tocsin.metrics.registry import Metrics

log = structlog.get_logger(__name__)

FETCH = 600.0
"""Seconds between questions after calendars and feeds that are fetched; fresh copies are not fetched again."""


class Reloader(Rounds):
    """Watches. A change counts once it has stood still from one round to the next."""

    name, every = "reload", 0.5

    def __init__(
        self,
        home: Home,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Clock,
        content: Callable[[], Content],
        take: Callable[[Content], None],
        refused: Callable[[ConfigurationError], None],
    ) -> None:
        """``content`` is what is in force."""
        super().__init__()
        self._home, self._settings, self._metrics, self._clock = home, settings, metrics, clock
        self._content, self._take, self._refused = content, take, refused
        self._fetched = clock.monotonic()
        self._watch = Watch(home, home.tokens_path(settings))
        self.broken: list[str] = []
        """Problems of the set that was refused last; empty while the files in force are those on disk."""
        self.in_force = self._watch.mark
        """Digest of the files in force, as ``config.project.watch.mark_of`` makes it."""

    def start(self) -> None:
        """Start the thread. The files that tocsin started with count as a reload that succeeded."""
        self._succeeded()
        super().start()

    def round(self) -> None:
        """Bring what changed into force, if it is good."""
        changed = self._watch.poll()
        if not changed and not self._other_days():
            return
        if changed.settings:
            log.warning("settings_changed", hint="tocsin.yaml comes into force at the next start")
        try:
            content = load_content(self._home, self._settings)
            self._take(content)
        except ConfigurationError as e:
            self.broken = [str(p) for p in e.problems]
            self._metrics.inc("tocsin_config_reloads_total", outcome="refused")
            self._metrics.set("tocsin_config_last_reload_successful", 0)
            self._metrics.set("tocsin_config_broken_files", len({p.file for p in e.problems}))
            log.error("files_refused", problems=self.broken[:20])
            self._refused(e)
            return
        self.broken, self.in_force = [], self._watch.mark
        self._metrics.inc("tocsin_config_reloads_total", outcome="taken")
        self._succeeded()
        self._metrics.set("tocsin_config_broken_files", 0)
        log.info("files_reloaded", rules=len(content.rules.enabled), consumers=len(content.active))

    def _succeeded(self) -> None:
        self._metrics.set("tocsin_config_last_reload_successful", 1)
        self._metrics.set("tocsin_config_last_reload_success_timestamp_seconds", self._clock.now().timestamp())

    def _other_days(self) -> bool:
        """Whether a calendar that is fetched says something else than before."""
        now = self._clock.monotonic()
        if now - self._fetched < FETCH:
            return False
        self._fetched = now
        files = self._content().oncall_files
        days = refresh_calendars(files, self._home, self._clock)
        return refresh_feeds(files, self._home, self._clock.now()) or days
