-- Places where backups live. `storage_sealed` is encrypted: it holds credentials.

CREATE TABLE repositories (
    id             TEXT    NOT NULL PRIMARY KEY,
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    name           TEXT    NOT NULL,
    storage_sealed TEXT    NOT NULL,
    capabilities   TEXT    NOT NULL,
    created_at_us  INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE INDEX repositories_by_creation ON repositories (created_at_us, id);
CREATE INDEX repositories_by_project ON repositories (project_id, created_at_us, id);
