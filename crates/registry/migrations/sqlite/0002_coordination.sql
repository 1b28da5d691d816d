-- Several workers: who refreshes what, who is there, and whether anything has changed.

-- Which worker refreshes a table at present. A claim counts until expires_at, by the clock of this database; one that
-- lasts longer than twice the lease that was asked for was edited by hand and does not count.
CREATE TABLE refresh_claim (
    table_id      TEXT PRIMARY KEY REFERENCES dynamic_table (id) ON DELETE CASCADE,
    claim_id      TEXT NOT NULL,
    worker        TEXT NOT NULL,
    claimed_at    TEXT NOT NULL,
    heartbeat_at  TEXT NOT NULL,
    expires_at    TEXT NOT NULL,
    lease_ms      BIGINT NOT NULL CHECK (lease_ms BETWEEN 1 AND 86400000)
);

CREATE INDEX refresh_claim_claim ON refresh_claim (claim_id);

-- The workers that there are, and for a day those that there were.
CREATE TABLE worker (
    id            TEXT PRIMARY KEY,
    host          TEXT NOT NULL,
    process       BIGINT NOT NULL,
    version       TEXT NOT NULL,
    queues        TEXT NOT NULL,
    concurrency   BIGINT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('RUNNING', 'DRAINING')),
    started_at    TEXT NOT NULL,
    heartbeat_at  TEXT NOT NULL,
    expires_at    TEXT NOT NULL,
    lease_ms      BIGINT NOT NULL CHECK (lease_ms BETWEEN 1 AND 86400000)
);

-- The claim under which a refresh runs: it runs no longer than its claim lives.
ALTER TABLE refresh_history ADD COLUMN claim_id TEXT;

-- One row: how often definitions, sources or progress have changed, and how often a claim was released.
CREATE TABLE registry_state (
    id        BIGINT PRIMARY KEY CHECK (id = 1),
    changes   BIGINT NOT NULL,
    releases  BIGINT NOT NULL
);

INSERT INTO registry_state (id, changes, releases) VALUES (1, 0, 0);

-- What the graph was when: one row per period in which nothing of it changed for a table. A table that was dropped
-- has a last row that lasts no time, with the trigger DROP.
CREATE TABLE graph_history (
    table_id          TEXT NOT NULL,
    period            BIGINT NOT NULL,
    schema_name       TEXT NOT NULL,
    name              TEXT NOT NULL,
    query             TEXT NOT NULL,
    target_lag        TEXT,
    scheduler         TEXT,
    refresh_mode      TEXT NOT NULL CHECK (refresh_mode IN ('INCREMENTAL', 'FULL')),
    queue             TEXT,
    inputs            TEXT NOT NULL,
    scheduling_state  TEXT NOT NULL CHECK (scheduling_state IN ('RUNNING', 'SUSPENDED')),
    suspended_reason  TEXT,
    alter_trigger     TEXT NOT NULL,
    valid_from        TEXT NOT NULL,
    valid_to          TEXT,
    PRIMARY KEY (table_id, period),
    CHECK (valid_to >= valid_from)
);

CREATE INDEX graph_history_time ON graph_history (valid_from);

-- The tables that there are begin here, without a word on how they came to be as they are.
INSERT INTO graph_history
SELECT
    t.id, 1, t.schema_name, t.name, t.query, t.properties ->> 'target_lag', t.properties ->> 'scheduler',
    CASE WHEN t.incremental THEN 'INCREMENTAL' ELSE 'FULL' END, t.properties ->> 'queue',
    (
        SELECT json_group_array(json_object('schema', s.schema_name, 'name', s.name, 'kind', s.kind) ORDER BY s.position)
        FROM dynamic_table_source s WHERE s.table_id = t.id
    ),
    t.scheduling_state, t.suspended_reason, '[]', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'), NULL
FROM dynamic_table t;

-- Whether the content may become another one by the time alone: that of known queries is told when they are registered.
ALTER TABLE dynamic_table ADD COLUMN time_dependent BOOLEAN NOT NULL DEFAULT TRUE;
