"""Opens what the settings of a project directory name: both stores, the mail channel, the keys of signed links.

The keys are kept in the state, so a project directory that is copied keeps its links working.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from tocsin.clock import Clock
from tocsin.config.project.home import Home
from tocsin.config.settings import Settings
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.open import Memory
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.columns import TABLES
from tocsin.model.text.signed import Signer, new_key
from tocsin.notify.channels.base import Channel
from tocsin.notify.channels.local import LocalChannel
from tocsin.notify.channels.smtp import SmtpChannel, SmtpOptions
from tocsin.state.interface import State
from tocsin.state.sqlite import SqliteState


def open_log(home: Home, settings: Settings, clock: Clock, metrics: Metrics | None = None) -> DuckLogStore:
    """The project directory's log store, made if absent. Raises StoreError."""
    path = home.store_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    return DuckLogStore.open(
        path,
        clock=clock,
        memory=Memory(
            limit=f"{settings.store.memory_limit // (1 << 20)}MiB",
            spill_directory=path.parent / "spill",
            spill_limit=f"{settings.store.spill_limit // (1 << 20)}MiB",
        ),
        checkpoint_threshold=settings.store.checkpoint_threshold,
        max_clock_skew=settings.intake.max_clock_skew,
        metrics=metrics,
    )


def open_state(home: Home, settings: Settings, clock: Clock) -> State:
    """The project directory's state, made if absent. Raises StoreError."""
    path = home.state_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteState.open(path, clock=clock)


def put_tables(store: LogStore, tables: Mapping[str, pa.Table]) -> None:
    """Have exactly ``tables`` as reference tables in the store."""
    for name in store.schema():
        if name not in TABLES and name not in tables:
            store.drop_table(name)
    for name, table in tables.items():
        store.set_table(name, table)


_NAME = "link_keys"


def link_signer(state: State) -> Signer:
    """The signer of this project directory; its first key is made when it is first asked for. Raises StoreError."""
    said = state.get(_NAME)
    if said is None:
        said = new_key().hex()
        state.put(_NAME, said)
    return Signer([bytes.fromhex(word) for word in said.split()])


def mail_channel(settings: Settings) -> Channel:
    """How mails leave. Raises OSError where `smtp.ca_file` cannot be read."""
    smtp = settings.smtp
    if smtp.host is None:
        return LocalChannel()
    return SmtpChannel(
        SmtpOptions(
            host=smtp.host,
            port=smtp.port,
            security=smtp.secured,
            username=smtp.username or "",
            password=smtp.password.get_secret_value() if smtp.password else "",
            ca_file=smtp.ca_file or "",
            sender=smtp.sender,
            timeout=smtp.timeout.total_seconds(),
            connections=smtp.connections,
        )
    )
