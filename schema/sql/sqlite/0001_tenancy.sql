-- Who owns things, and who may come in.

CREATE TABLE organizations (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id              TEXT    NOT NULL PRIMARY KEY,
    organization_id TEXT    NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    created_at_us   INTEGER NOT NULL,
    UNIQUE (organization_id, name)
) STRICT;

CREATE TABLE api_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    organization_id TEXT    NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    secret_hash     BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at_us   INTEGER NOT NULL,
    expires_at_us   INTEGER,
    revoked_at_us   INTEGER
) STRICT;

CREATE TABLE api_key_grants (
    api_key_id TEXT    NOT NULL REFERENCES api_keys (id),
    ordinal    INTEGER NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN
        ('ORGANIZATION_OWNER', 'ORGANIZATION_MEMBER', 'BILLING_ADMIN', 'PROJECT_OWNER', 'PROJECT_READ_WRITE',
         'PROJECT_READ_ONLY', 'CUSTOM')),
    project_id TEXT    REFERENCES projects (id),
    PRIMARY KEY (api_key_id, ordinal)
) STRICT;

-- Which key seals the secrets of this catalog; one row, written when the catalog is made.
CREATE TABLE sealing_key (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    key_id    TEXT    NOT NULL
) STRICT;
