-- Sources, which bring rows from a connection into the lake, and exports, which take them out.

CREATE TABLE transfer (
    id               UUID PRIMARY KEY,
    kind             TEXT NOT NULL CHECK (kind IN ('SOURCE', 'EXPORT')),
    -- The table of the lake that a source fills; of an export, its name.
    schema_name      TEXT NOT NULL,
    name             TEXT NOT NULL,
    connection       BIGINT NOT NULL REFERENCES connection (number),
    -- What is read, what is written, and how. No secrets.
    definition       JSONB NOT NULL,
    schedule_seconds BIGINT CHECK (schedule_seconds > 0),
    is_suspended     BOOLEAN NOT NULL,
    suspended_reason TEXT,
    revision         BIGINT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    -- As of when its rows are, and as of when all of them were last compared.
    fresh_at         TIMESTAMPTZ,
    compared_at      TIMESTAMPTZ,
    duration_ms      BIGINT,
    failures         BIGINT NOT NULL,
    retry_at         TIMESTAMPTZ,
    last_error       TEXT,
    -- Who is at it, and until when that counts.
    worker           TEXT,
    expires_at       TIMESTAMPTZ
);

CREATE UNIQUE INDEX transfer_name ON transfer (kind, lower(schema_name COLLATE "C"), lower(name COLLATE "C"));

-- How every run went.
CREATE TABLE transfer_run (
    id             UUID PRIMARY KEY,
    transfer_id    UUID NOT NULL REFERENCES transfer (id) ON DELETE CASCADE,
    started_at     TIMESTAMPTZ NOT NULL,
    completed_at   TIMESTAMPTZ,
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
