-- Registered Milvus clusters. The sealed columns are encrypted: they hold credentials.
-- A removed cluster keeps its row, because its backups and jobs refer to it, and frees its name.

CREATE TABLE clusters (
    id                   TEXT    NOT NULL PRIMARY KEY,
    project_id           TEXT    NOT NULL REFERENCES projects (id),
    name                 TEXT    NOT NULL,
    name_folded          TEXT    NOT NULL,
    endpoint_sealed      TEXT    NOT NULL,
    storage_sealed       TEXT    NOT NULL,
    repository_id        TEXT    NOT NULL REFERENCES repositories (id),
    cu_size              INTEGER NOT NULL CHECK (cu_size > 0),
    max_bytes_per_second INTEGER CHECK (max_bytes_per_second > 0),
    created_at_us        INTEGER NOT NULL,
    updated_at_us        INTEGER NOT NULL,
    removed_at_us        INTEGER
) STRICT;

CREATE UNIQUE INDEX clusters_name ON clusters (project_id, name) WHERE removed_at_us IS NULL;
CREATE INDEX clusters_by_creation ON clusters (created_at_us, id) WHERE removed_at_us IS NULL;
CREATE INDEX clusters_by_project ON clusters (project_id, created_at_us, id) WHERE removed_at_us IS NULL;
