-- Each time that the files of a dynamic table, or of its state table, were rewritten, or that this failed.

CREATE TABLE compaction_history (
    id              TEXT PRIMARY KEY,
    -- The dynamic table, which may be gone.
    table_id        TEXT NOT NULL,
    schema_name     TEXT NOT NULL,
    name            TEXT NOT NULL,
    -- Whether it was the state table beside it.
    is_state        BOOLEAN NOT NULL,
    started_at      TEXT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    files_before    BIGINT NOT NULL,
    -- NULL where it failed.
    files_after     BIGINT,
    -- Rows in files, deleted rows in them, and rows in the lake's catalog, all before.
    rows_before     BIGINT NOT NULL,
    deleted_before  BIGINT NOT NULL,
    inlined_before  BIGINT NOT NULL,
    error_code      TEXT,
    error_message   TEXT,
    worker          TEXT
);

CREATE INDEX compaction_history_started ON compaction_history (started_at);
CREATE INDEX compaction_history_table ON compaction_history (table_id, started_at);
