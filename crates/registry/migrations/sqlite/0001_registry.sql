-- The registry, as it begins. SQLite: ids, times (UTC) and JSON are text.
-- Tables hold what the program needs; the views below them are for people.

-- What the user said.
CREATE TABLE dynamic_table (
    id                   TEXT PRIMARY KEY,
    schema_name          TEXT NOT NULL,
    name                 TEXT NOT NULL,
    query                TEXT NOT NULL,
    properties           TEXT NOT NULL,
    default_schema       TEXT NOT NULL,
    fingerprint          TEXT NOT NULL,
    revision             BIGINT NOT NULL,
    scheduling_state     TEXT NOT NULL CHECK (scheduling_state IN ('RUNNING', 'SUSPENDED')),
    suspended_by         TEXT CHECK (suspended_by IN ('USER', 'UPSTREAM', 'FAILURES')),
    suspended_reason     TEXT,
    suspended_since      TEXT,
    incremental          BOOLEAN NOT NULL,
    refresh_mode_reason  TEXT,
    columns              TEXT NOT NULL,
    created_at           TEXT NOT NULL,
    updated_at           TEXT NOT NULL,
    CHECK ((scheduling_state = 'SUSPENDED') = (suspended_by IS NOT NULL)),
    CHECK ((scheduling_state = 'SUSPENDED') = (suspended_since IS NOT NULL))
);

-- Names are equal as DuckDB's are: ASCII letters regardless of case.
CREATE UNIQUE INDEX dynamic_table_name ON dynamic_table (lower(schema_name), lower(name));

-- How far each is. Apart from the definition, since it changes with every refresh.
CREATE TABLE dynamic_table_progress (
    table_id                   TEXT PRIMARY KEY REFERENCES dynamic_table (id) ON DELETE CASCADE,
    data_version               BIGINT,
    data_timestamp             TEXT,
    snapshot                   BIGINT,
    refresh_id                 TEXT,
    fence                      BIGINT NOT NULL,
    target_table_id            BIGINT,
    last_refresh_state         TEXT,
    last_refresh_action        TEXT,
    last_refresh_time          TEXT,
    last_refresh_duration_ms   BIGINT,
    last_error                 TEXT,
    consecutive_failures       BIGINT NOT NULL,
    retry_at                   TEXT,
    rows                       BIGINT,
    bytes                      BIGINT,
    mean_refresh_seconds       REAL
);

-- What each reads, in the order of its query. A table that another one reads cannot go.
CREATE TABLE dynamic_table_source (
    table_id       TEXT NOT NULL REFERENCES dynamic_table (id) ON DELETE CASCADE,
    position       BIGINT NOT NULL,
    schema_name    TEXT NOT NULL,
    name           TEXT NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('TABLE', 'VIEW', 'DYNAMIC_TABLE')),
    lake_table_id  BIGINT,
    upstream_id    TEXT REFERENCES dynamic_table (id),
    columns        TEXT NOT NULL,
    PRIMARY KEY (table_id, position)
);

CREATE INDEX dynamic_table_source_upstream ON dynamic_table_source (upstream_id);

-- Which snapshot of the lake holds which data version of a table.
CREATE TABLE publication (
    table_id        TEXT NOT NULL REFERENCES dynamic_table (id) ON DELETE CASCADE,
    data_version    BIGINT NOT NULL,
    snapshot        BIGINT NOT NULL,
    data_timestamp  TEXT,
    refresh_id      TEXT,
    PRIMARY KEY (table_id, data_version)
);

-- One row per refresh. It outlives the table that was refreshed.
CREATE TABLE refresh_history (
    id                  TEXT PRIMARY KEY,
    table_id            TEXT NOT NULL,
    schema_name         TEXT NOT NULL,
    name                TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (
        state IN ('EXECUTING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'UPSTREAM_FAILED', 'SKIPPED')
    ),
    refresh_trigger     TEXT NOT NULL CHECK (refresh_trigger IN ('SCHEDULED', 'MANUAL', 'CREATION')),
    refresh_action      TEXT CHECK (refresh_action IN ('NO_DATA', 'INCREMENTAL', 'FULL', 'REINITIALIZE')),
    reason              TEXT,
    started_at          TEXT NOT NULL,
    completed_at        TEXT,
    duration_ms         BIGINT,
    data_version        BIGINT,
    data_timestamp      TEXT,
    snapshot            BIGINT,
    rows_inserted       BIGINT,
    rows_deleted        BIGINT,
    rows_read           BIGINT,
    lag_before_seconds  REAL,
    lag_after_seconds   REAL,
    error_code          TEXT,
    error_message       TEXT,
    worker              TEXT,
    choice              TEXT
);

CREATE INDEX refresh_history_table ON refresh_history (table_id, started_at);
CREATE INDEX refresh_history_time ON refresh_history (started_at);
CREATE INDEX refresh_history_executing ON refresh_history (started_at) WHERE state = 'EXECUTING';

-- The operator's view.
CREATE VIEW dynamic_tables AS
SELECT
    t.schema_name,
    t.name,
    t.scheduling_state,
    t.suspended_by,
    t.suspended_reason,
    t.suspended_since,
    t.properties ->> 'target_lag' AS target_lag,
    unixepoch('now') - unixepoch(p.data_timestamp) AS current_lag_seconds,
    p.data_timestamp,
    p.data_version,
    CASE WHEN t.incremental THEN 'INCREMENTAL' ELSE 'FULL' END AS refresh_mode,
    t.refresh_mode_reason,
    p.last_refresh_state AS last_refresh_status,
    p.last_refresh_action,
    p.last_refresh_time,
    p.last_refresh_duration_ms,
    p.last_error,
    p.consecutive_failures,
    p.retry_at,
    p.rows,
    p.bytes,
    t.properties ->> 'scheduler' AS scheduler,
    t.properties ->> 'refresh_mode' AS refresh_mode_wanted,
    t.properties ->> 'comment' AS comment,
    t.query,
    t.id,
    t.revision,
    t.created_at,
    t.updated_at
FROM dynamic_table t
JOIN dynamic_table_progress p ON p.table_id = t.id;

-- Which dynamic table reads which.
CREATE VIEW dependencies AS
SELECT DISTINCT
    d.schema_name AS downstream_schema,
    d.name AS downstream,
    u.schema_name AS upstream_schema,
    u.name AS upstream
FROM dynamic_table_source s
JOIN dynamic_table d ON d.id = s.table_id
JOIN dynamic_table u ON u.id = s.upstream_id;

-- Up to which snapshot the changes of a source are in a dynamic table; none as long as it has no content.
CREATE VIEW source_snapshots AS
SELECT
    t.schema_name,
    t.name,
    s.schema_name AS source_schema,
    s.name AS source,
    s.kind AS source_kind,
    p.data_version AS last_snapshot,
    p.data_timestamp AS last_snapshot_time
FROM dynamic_table_source s
JOIN dynamic_table t ON t.id = s.table_id
JOIN dynamic_table_progress p ON p.table_id = s.table_id
WHERE s.kind <> 'VIEW' AND p.data_version IS NOT NULL;
