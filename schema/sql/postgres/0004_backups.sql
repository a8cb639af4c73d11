-- Backups, and what the finished ones showed of their cluster.

CREATE TABLE backups (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id          TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    cluster_id          TEXT COLLATE "C" NOT NULL REFERENCES clusters (id),
    cluster_name        TEXT    NOT NULL,
    repository_id       TEXT COLLATE "C" NOT NULL REFERENCES repositories (id),
    name                TEXT    NOT NULL,
    name_folded         TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    scope               TEXT    NOT NULL,
    backup_type         TEXT    NOT NULL CHECK (backup_type IN ('CLUSTER', 'DATABASE', 'COLLECTION')),
    creation_method     TEXT    NOT NULL CHECK (creation_method IN ('MANUAL', 'AUTO')),
    status              TEXT    NOT NULL CHECK (status IN ('CREATING', 'AVAILABLE', 'FAILED', 'DELETED')),
    created_by          TEXT    NOT NULL,
    created_at_us       BIGINT  NOT NULL,
    completed_at_us     BIGINT,
    expires_at_us       BIGINT,
    deleted_at_us       BIGINT,
    -- What the backup consists of: all of these, or none before it is available.
    cut_at_us           BIGINT,
    milvus_version      TEXT,
    logical_bytes       BIGINT,
    newly_stored_bytes  BIGINT,
    object_count        BIGINT,
    reused_object_count BIGINT,
    row_count           BIGINT,
    collection_count    BIGINT,
    CHECK (status <> 'AVAILABLE' OR cut_at_us IS NOT NULL)
);

-- Lists leave DELETED backups out unless asked for them, and in time those are nearly all: hence the partial indexes.
CREATE INDEX backups_live_by_creation ON backups (created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_project ON backups (project_id, created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_cluster ON backups (cluster_id, created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_type ON backups (backup_type, created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_method ON backups (creation_method, created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_by_status ON backups (status, created_at_us, id);
CREATE INDEX backups_by_project_status ON backups (project_id, status, created_at_us, id);
CREATE INDEX backups_by_cluster_status ON backups (cluster_id, status, created_at_us, id);
CREATE INDEX backups_newest ON backups (cluster_id, repository_id, status, created_at_us, id);
CREATE INDEX backups_expiring ON backups (status, expires_at_us, id);

-- Apart from the backups, so that lists of backups never read it.
CREATE TABLE backup_contents (
    backup_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES backups (id),
    cut       TEXT NOT NULL
);
