-- Copies of backups in other repositories.

-- Where a backup was copied from: both or none. No references: the backup it names may be known in its repository alone.
ALTER TABLE backups ADD COLUMN copied_from TEXT COLLATE "C";
ALTER TABLE backups ADD COLUMN copied_from_repository TEXT COLLATE "C";

-- The backups that open copies need, and the copies of a backup.
CREATE INDEX backups_copies ON backups (copied_from, created_at_us, id) WHERE copied_from IS NOT NULL;

-- Copies that policies ask for and that are not begun. Written in the transaction that makes the backup available, and
-- gone with the one that writes the copy: so each is begun once.
CREATE TABLE due_copies (
    backup_id      TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES backups (id),
    cluster_id     TEXT COLLATE "C" NOT NULL REFERENCES clusters (id),
    repository_id  TEXT COLLATE "C" NOT NULL,
    retention_days BIGINT NOT NULL CHECK (retention_days > 0),
    due_since_us   BIGINT NOT NULL
);

CREATE INDEX due_copies_by_age ON due_copies (due_since_us, backup_id);
