-- Several workers: who refreshes what, who is there, and whether anything has changed.

-- Which worker refreshes a table at present. A claim counts until expires_at, by the clock of this database; one that
-- lasts longer than twice the lease that was asked for was edited by hand and does not count.
CREATE TABLE refresh_claim (
    table_id      UUID PRIMARY KEY REFERENCES dynamic_table (id) ON DELETE CASCADE,
    claim_id      UUID NOT NULL,
    worker        TEXT NOT NULL,
    claimed_at    TIMESTAMPTZ NOT NULL,
    heartbeat_at  TIMESTAMPTZ NOT NULL,
    expires_at    TIMESTAMPTZ NOT NULL,
    lease_ms      BIGINT NOT NULL CHECK (lease_ms BETWEEN 1 AND 86400000)
);

CREATE INDEX refresh_claim_claim ON refresh_claim (claim_id);

-- The workers that there are, and for a day those that there were.
CREATE TABLE worker (
    id            TEXT PRIMARY KEY,
    host          TEXT NOT NULL,
    process       BIGINT NOT NULL,
    version       TEXT NOT NULL,
    queues        JSONB NOT NULL,
    concurrency   BIGINT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('RUNNING', 'DRAINING')),
    started_at    TIMESTAMPTZ NOT NULL,
    heartbeat_at  TIMESTAMPTZ NOT NULL,
    expires_at    TIMESTAMPTZ NOT NULL,
    lease_ms      BIGINT NOT NULL CHECK (lease_ms BETWEEN 1 AND 86400000)
);

-- The claim under which a refresh runs: it runs no longer than its claim lives.
ALTER TABLE refresh_history ADD COLUMN claim_id UUID;

-- One row: how often definitions, sources or progress have changed, and how often a claim was released.
CREATE TABLE registry_state (
    id        BIGINT PRIMARY KEY CHECK (id = 1),
    changes   BIGINT NOT NULL,
    releases  BIGINT NOT NULL
);

INSERT INTO registry_state (id, changes, releases) VALUES (1, 0, 0);
