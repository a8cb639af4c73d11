-- Servers that share this catalog, and which of them works on which cluster's jobs. All times are the database's.

CREATE TABLE servers (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name            TEXT   NOT NULL,
    version         TEXT   NOT NULL,
    started_at_us   BIGINT NOT NULL,
    heartbeat_at_us BIGINT NOT NULL,
    -- From when on the server is taken for dead.
    expires_at_us   BIGINT NOT NULL
);

-- One row for each cluster that ever had a job. It stays when the lease ends, for the generation must never go back.
CREATE TABLE cluster_leases (
    cluster_id    TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES clusters (id),
    -- Missing when the lease was given back. No reference: a lease may outlive the row of its server.
    server_id     TEXT COLLATE "C",
    -- Counts the leases that were granted. What is written under another than the current one is refused.
    generation    BIGINT NOT NULL CHECK (generation > 0),
    expires_at_us BIGINT NOT NULL
);

CREATE INDEX cluster_leases_held ON cluster_leases (cluster_id) WHERE server_id IS NOT NULL;
