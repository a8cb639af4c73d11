-- What happens to backups after they are made: holds, and the sweep of what is deleted or failed.

-- When nothing of the backup was left in its repository any more.
ALTER TABLE backups ADD COLUMN swept_at_us BIGINT;

CREATE INDEX backups_to_sweep ON backups (cluster_id, deleted_at_us)
    WHERE status IN ('FAILED', 'DELETED') AND swept_at_us IS NULL;
CREATE INDEX backups_unswept ON backups (repository_id, id) WHERE swept_at_us IS NULL;
CREATE INDEX backups_unswept_by_cluster ON backups (cluster_id, repository_id) WHERE swept_at_us IS NULL;
CREATE INDEX backups_live_by_name ON backups (cluster_id, name) WHERE status <> 'DELETED';
CREATE INDEX backups_overdue ON backups (cluster_id, expires_at_us)
    WHERE status = 'AVAILABLE' AND creation_method = 'AUTO';

CREATE TABLE backup_holds (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    backup_id      TEXT COLLATE "C" NOT NULL REFERENCES backups (id),
    cluster_id     TEXT COLLATE "C" NOT NULL REFERENCES clusters (id),
    reason         TEXT NOT NULL,
    -- Missing when the hold binds until it is taken off.
    until_us       BIGINT,
    created_by     TEXT NOT NULL,
    created_at_us  BIGINT NOT NULL,
    -- Both or none.
    released_at_us BIGINT,
    released_by    TEXT,
    CHECK ((released_at_us IS NULL) = (released_by IS NULL))
);

CREATE INDEX backup_holds_by_backup ON backup_holds (backup_id, created_at_us, id);
CREATE INDEX backup_holds_binding ON backup_holds (backup_id, until_us) WHERE released_at_us IS NULL;
CREATE INDEX backup_holds_binding_by_cluster ON backup_holds (cluster_id) WHERE released_at_us IS NULL;
