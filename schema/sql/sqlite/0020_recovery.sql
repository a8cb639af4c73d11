-- Policies of automatic backups in repositories: which changes of a policy its cluster's repository knows already.

CREATE TABLE policy_records (
    cluster_id TEXT NOT NULL PRIMARY KEY REFERENCES clusters (id),
    -- Grows with every change, and is the time of the change in microseconds where that is larger: a catalog that was
    -- made anew goes on above what a lost one has counted.
    revision   INTEGER NOT NULL CHECK (revision > 0),
    -- The latest one that the repository has; 0 when it has none.
    written    INTEGER NOT NULL CHECK (written >= 0)
) STRICT;

CREATE INDEX policy_records_due ON policy_records (cluster_id) WHERE written < revision;

INSERT INTO policy_records (cluster_id, revision, written)
SELECT cluster_id, 1, 0 FROM schedules;

-- Backups of the catalog that somebody asked for belong to no day.
CREATE TABLE catalog_backups_anew (
    name          TEXT NOT NULL PRIMARY KEY,
    repository_id TEXT NOT NULL REFERENCES repositories (id),
    -- Days since 1970-01-01; missing when somebody asked for it.
    day           INTEGER UNIQUE,
    started_at_us INTEGER NOT NULL,
    ended_at_us   INTEGER,
    -- Its file was there when this was written.
    size_bytes    INTEGER,
    failure       TEXT
) STRICT;

INSERT INTO catalog_backups_anew SELECT name, repository_id, day, started_at_us, ended_at_us, size_bytes, failure
FROM catalog_backups;
DROP TABLE catalog_backups;
ALTER TABLE catalog_backups_anew RENAME TO catalog_backups;
CREATE INDEX catalog_backups_by_start ON catalog_backups (started_at_us, name);
