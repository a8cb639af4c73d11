-- Policies of automatic backups in repositories: which changes of a policy its cluster's repository knows already.

CREATE TABLE policy_records (
    cluster_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES clusters (id),
    -- Grows with every change, and is the time of the change in microseconds where that is larger: a catalog that was
    -- made anew goes on above what a lost one has counted.
    revision   BIGINT NOT NULL CHECK (revision > 0),
    -- The latest one that the repository has; 0 when it has none.
    written    BIGINT NOT NULL CHECK (written >= 0)
);

CREATE INDEX policy_records_due ON policy_records (cluster_id) WHERE written < revision;

INSERT INTO policy_records (cluster_id, revision, written)
SELECT cluster_id, 1, 0 FROM schedules;

-- Backups of the catalog that somebody asked for belong to no day.
ALTER TABLE catalog_backups ALTER COLUMN day DROP NOT NULL;
