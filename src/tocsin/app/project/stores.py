"""Opens both stores of a project directory."""

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
