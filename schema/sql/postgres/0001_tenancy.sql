-- Who owns things, and who may come in.

CREATE TABLE organizations (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    created_at_us BIGINT  NOT NULL
);

CREATE TABLE projects (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    created_at_us   BIGINT  NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE api_keys (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    secret_hash     BYTEA   NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    created_at_us   BIGINT  NOT NULL,
    expires_at_us   BIGINT,
    revoked_at_us   BIGINT
);

CREATE TABLE api_key_grants (
    api_key_id TEXT COLLATE "C" NOT NULL REFERENCES api_keys (id),
    ordinal    BIGINT  NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN
        ('ORGANIZATION_OWNER', 'ORGANIZATION_MEMBER', 'BILLING_ADMIN', 'PROJECT_OWNER', 'PROJECT_READ_WRITE',
         'PROJECT_READ_ONLY', 'CUSTOM')),
    project_id TEXT COLLATE "C" REFERENCES projects (id),
    PRIMARY KEY (api_key_id, ordinal)
);

-- Which key seals the secrets of this catalog; one row, written when the catalog is made.
CREATE TABLE sealing_key (
    singleton BIGINT  NOT NULL PRIMARY KEY CHECK (singleton = 1),
    key_id    TEXT COLLATE "C" NOT NULL
);
