"""The store's tables in this version. `store.py` describes their meaning; `migrations.py` converts earlier versions."""

SCHEMA_VERSION = 5

# `scalars` holds millions of rows. WITHOUT ROWID and integer ids keep a row at about 20 bytes and make a series one
# contiguous range. `keys` maps the integers in scalars.key to names.
SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL,
    device TEXT NOT NULL, message TEXT, created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL,
    heartbeat REAL, pid INTEGER, pid_started REAL, attempt INTEGER NOT NULL DEFAULT 1, stop_requested REAL,
    version INTEGER NOT NULL DEFAULT 1, queued_clock TEXT, name TEXT, note TEXT, tags TEXT, deleted TEXT,
    started_by TEXT
);
CREATE INDEX runs_by_state ON runs (state, device);
CREATE TABLE units (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, stage TEXT NOT NULL, name TEXT NOT NULL, block INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL, loss REAL,
    best_step INTEGER, seconds REAL, message TEXT,
    node TEXT,
    UNIQUE (run, stage, name, block)
);
CREATE INDEX units_by_state ON units (run, state);
CREATE TABLE phases (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, phase TEXT NOT NULL, estimate REAL, done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, began REAL, ended REAL,
    here INTEGER NOT NULL DEFAULT 1, UNIQUE (run, phase)
);
CREATE TABLE keys (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE scalars (
    unit INTEGER NOT NULL, key INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (unit, key, step)
) WITHOUT ROWID;
CREATE TABLE snapshots (
    unit INTEGER NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (unit, kind, step)
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, method TEXT NOT NULL, state TEXT NOT NULL, settings TEXT NOT NULL,
    seconds REAL, peak_bytes INTEGER, message TEXT, UNIQUE (run, method)
);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, method TEXT NOT NULL, task TEXT NOT NULL, split TEXT NOT NULL,
    metric TEXT NOT NULL, value REAL, count INTEGER NOT NULL, UNIQUE (run, method, task, split, metric)
);
CREATE TABLE system (
    run INTEGER NOT NULL, time REAL NOT NULL, key TEXT NOT NULL, value REAL, PRIMARY KEY (run, time, key)
) WITHOUT ROWID;
CREATE TABLE files (
    run INTEGER NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (run, path)
) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, run_id TEXT, detail TEXT
);
"""
