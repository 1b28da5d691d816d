-- Refreshes that people ask for go first, and every refresh says where its time went.

-- Who waits for which tables to refresh them by hand: no worker begins to refresh them meanwhile. A wish counts as a claim
-- does, by expires_at and lease_ms.
CREATE TABLE refresh_wish (
    table_id    UUID NOT NULL REFERENCES dynamic_table (id) ON DELETE CASCADE,
    worker      TEXT NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL,
    lease_ms    BIGINT NOT NULL CHECK (lease_ms BETWEEN 1 AND 86400000),
    PRIMARY KEY (table_id, worker)
);

-- The steps of a refresh in their order: [{"step": "compute", "ms": 12.5}].
ALTER TABLE refresh_history ADD COLUMN steps JSONB;
