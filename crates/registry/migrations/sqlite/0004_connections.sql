-- Connections to data outside of the lake, and pipelines: which source goes where.

CREATE TABLE connection (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    settings    TEXT NOT NULL,
    -- Each sealed, bound to the id and its own name. Never in clear.
    secrets     TEXT NOT NULL,
    revision    BIGINT NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
);

-- Names are equal regardless of case, and - is _: both become the same name in SQL and in the environment.
CREATE UNIQUE INDEX connection_name ON connection (replace(lower(name), '-', '_'));

CREATE TABLE pipeline (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL,
    source      BIGINT NOT NULL REFERENCES connection (number),
    created_at  TEXT NOT NULL
);

CREATE UNIQUE INDEX pipeline_name ON pipeline (replace(lower(name), '-', '_'));

CREATE TABLE pipeline_destination (
    pipeline    BIGINT NOT NULL REFERENCES pipeline (number) ON DELETE CASCADE,
    destination BIGINT NOT NULL REFERENCES connection (number),
    PRIMARY KEY (pipeline, destination)
);

-- What somebody has asked for and a worker carries out.
CREATE TABLE task (
    id            TEXT PRIMARY KEY,
    queue         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    -- What it is about, and whose token asked for it: who asks for it by another subject or name is not shown it.
    subject       TEXT NOT NULL,
    requested_by  TEXT,
    state         TEXT NOT NULL CHECK (state IN ('PENDING', 'STARTED', 'SUCCESS', 'FAILURE', 'REVOKED')),
    payload       TEXT NOT NULL,
    -- What came of it; sealed where there is a key.
    result        TEXT,
    error         TEXT,
    is_cancelled  BOOLEAN NOT NULL,
    attempts      BIGINT NOT NULL,
    -- Who is at it, and until when that counts.
    worker        TEXT,
    expires_at    TEXT,
    created_at    TEXT NOT NULL,
    started_at    TEXT,
    completed_at  TEXT
);

CREATE INDEX task_waiting ON task (queue, created_at) WHERE state = 'PENDING';
CREATE INDEX task_started ON task (expires_at) WHERE state = 'STARTED';
CREATE INDEX task_completed ON task (completed_at) WHERE completed_at IS NOT NULL;
