-- Sources, which bring rows from a connection into the lake, and exports, which take them out.

CREATE TABLE transfer (
    id               TEXT PRIMARY KEY,
    kind             TEXT NOT NULL CHECK (kind IN ('SOURCE', 'EXPORT')),
    -- The table of the lake that a source fills; of an export, its name.
    schema_name      TEXT NOT NULL,
    name             TEXT NOT NULL,
    connection       BIGINT NOT NULL REFERENCES connection (number),
    -- What is read, what is written, and how. No secrets.
    definition       TEXT NOT NULL,
    schedule_seconds BIGINT CHECK (schedule_seconds > 0),
    is_suspended     BOOLEAN NOT NULL,
    suspended_reason TEXT,
    revision         BIGINT NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    -- As of when its rows are, and as of when all of them were last compared.
    fresh_at         TEXT,
    compared_at      TEXT,
    duration_ms      BIGINT,
    failures         BIGINT NOT NULL,
    retry_at         TEXT,
    last_error       TEXT,
    -- Who is at it, and until when that counts.
    worker           TEXT,
    expires_at       TEXT
);

CREATE UNIQUE INDEX transfer_name ON transfer (kind, lower(schema_name), lower(name));

-- How every run went.
CREATE TABLE transfer_run (
    id             TEXT PRIMARY KEY,
    transfer_id    TEXT NOT NULL REFERENCES transfer (id) ON DELETE CASCADE,
    started_at     TEXT NOT NULL,
    completed_at   TEXT,
    state          TEXT NOT NULL CHECK (state IN ('EXECUTING', 'SUCCEEDED', 'FAILED')),
    run_trigger    TEXT NOT NULL CHECK (run_trigger IN ('SCHEDULE', 'MANUAL', 'CREATION')),
    worker         TEXT,
    action         TEXT,
    reason         TEXT,
    rows_read      BIGINT,
    rows_inserted  BIGINT,
    rows_deleted   BIGINT,
    snapshot       BIGINT,
    duration_ms    BIGINT,
    error_code     TEXT,
    error_message  TEXT
);

CREATE INDEX transfer_run_time ON transfer_run (transfer_id, started_at);
