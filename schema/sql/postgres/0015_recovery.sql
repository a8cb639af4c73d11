-- What makes a lost catalog replaceable: which changes of backups their repositories know already.

CREATE TABLE backup_records (
    backup_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES backups (id),
    -- Counts the changes that a record of the backup has to tell.
    revision  BIGINT NOT NULL CHECK (revision > 0),
    -- The latest one that its repository has; 0 when it has none.
    written   BIGINT NOT NULL CHECK (written >= 0)
);

CREATE INDEX backup_records_due ON backup_records (backup_id) WHERE written < revision;

INSERT INTO backup_records (backup_id, revision, written)
SELECT id, 1, 0 FROM backups WHERE status = 'AVAILABLE';

-- Backups of the catalog itself, in a repository. Of each day there is one row, so of several servers one makes it.
CREATE TABLE catalog_backups (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    repository_id TEXT COLLATE "C" NOT NULL REFERENCES repositories (id),
    -- Days since 1970-01-01.
    day           BIGINT NOT NULL UNIQUE,
    started_at_us BIGINT NOT NULL,
    ended_at_us   BIGINT,
    -- Its file is there exactly when this is.
    size_bytes    BIGINT,
    failure       TEXT
);

CREATE INDEX catalog_backups_by_start ON catalog_backups (started_at_us, name);
