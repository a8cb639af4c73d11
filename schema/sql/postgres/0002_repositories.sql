-- Places where backups live. `storage_sealed` is encrypted: it holds credentials.

CREATE TABLE repositories (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id     TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    name           TEXT    NOT NULL,
    storage_sealed TEXT    NOT NULL,
    capabilities   TEXT    NOT NULL,
    created_at_us  BIGINT  NOT NULL,
    UNIQUE (project_id, name)
);

CREATE INDEX repositories_by_creation ON repositories (created_at_us, id);
CREATE INDEX repositories_by_project ON repositories (project_id, created_at_us, id);
