"""Tables of a workspace's file."""

from __future__ import annotations

from tocsin.sdk.sending import spool

SCHEMA = (
    """\
CREATE TABLE runs (
  num INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL UNIQUE,
  experiment TEXT NOT NULL,
  number INTEGER NOT NULL,
  parent_id TEXT NOT NULL,
  root_id TEXT NOT NULL,
  type TEXT NOT NULL,
  display_name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL,
  target TEXT NOT NULL,
  submitted_by TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  sort_us INTEGER NOT NULL,
  start_us INTEGER,
  end_us INTEGER,
  error TEXT,
  definition TEXT,
  snapshot_id TEXT NOT NULL DEFAULT '',
  owner TEXT NOT NULL DEFAULT '',
  script TEXT NOT NULL DEFAULT '',
  heartbeat_us INTEGER NOT NULL,
  slot INTEGER NOT NULL DEFAULT 0,
  events INTEGER NOT NULL DEFAULT 0,
  tags TEXT NOT NULL,
  properties TEXT NOT NULL
);
CREATE INDEX runs_of_experiment ON runs (experiment, sort_us, num);
CREATE INDEX runs_all ON runs (sort_us, num);
CREATE INDEX runs_children ON runs (parent_id, sort_us, num) WHERE parent_id <> '';
CREATE INDEX runs_tree ON runs (root_id);
CREATE INDEX runs_active ON runs (target, num) WHERE status NOT IN ('Completed', 'Failed', 'Canceled');
CREATE TABLE labels (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  run INTEGER NOT NULL,
  PRIMARY KEY (kind, key, value, run)
) WITHOUT ROWID;
CREATE INDEX labels_of_run ON labels (run, kind, key);
CREATE TABLE metrics (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind INTEGER NOT NULL,
  step INTEGER,
  at_us INTEGER NOT NULL,
  value,
  columns TEXT
);
CREATE INDEX metrics_of_run ON metrics (run, name);
CREATE TABLE experiments (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  archived INTEGER NOT NULL DEFAULT 0,
  runs INTEGER NOT NULL DEFAULT 0,
  tags TEXT NOT NULL DEFAULT '{}'
);
"""
    + spool.SCHEMA
)
