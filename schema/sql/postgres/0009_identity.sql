-- Users, custom roles, and what API keys know about them.
-- A personal key has no grants of its own: it carries those of its user. A grant of a custom role refers to it, so that
-- its privileges are those of the moment.

CREATE TABLE custom_roles (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    privileges      TEXT    NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE users (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    name            TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    email_folded    TEXT    NOT NULL,
    disabled_at_us  BIGINT ,
    created_at_us   BIGINT  NOT NULL,
    UNIQUE (organization_id, email_folded)
);

CREATE INDEX users_by_creation ON users (organization_id, created_at_us, id);

CREATE TABLE user_grants (
    user_id        TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    ordinal        BIGINT  NOT NULL,
    role           TEXT    NOT NULL CHECK (role IN
        ('ORGANIZATION_OWNER', 'ORGANIZATION_MEMBER', 'BILLING_ADMIN', 'PROJECT_OWNER', 'PROJECT_READ_WRITE',
         'PROJECT_READ_ONLY', 'CUSTOM')),
    project_id     TEXT COLLATE "C" REFERENCES projects (id),
    custom_role_id TEXT COLLATE "C" REFERENCES custom_roles (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, ordinal),
    CHECK ((role = 'CUSTOM') = (custom_role_id IS NOT NULL))
);

CREATE INDEX user_grants_by_project ON user_grants (project_id, user_id) WHERE project_id IS NOT NULL;
CREATE INDEX user_grants_by_custom_role ON user_grants (custom_role_id) WHERE custom_role_id IS NOT NULL;
CREATE INDEX user_grants_of_owners ON user_grants (user_id) WHERE role = 'ORGANIZATION_OWNER';

ALTER TABLE api_keys ADD COLUMN user_id TEXT COLLATE "C" REFERENCES users (id);
ALTER TABLE api_keys ADD COLUMN last_used_at_us BIGINT ;
ALTER TABLE api_key_grants ADD COLUMN custom_role_id TEXT COLLATE "C" REFERENCES custom_roles (id) ON DELETE CASCADE;

CREATE INDEX api_keys_by_creation ON api_keys (organization_id, created_at_us, id);
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at_us, id) WHERE user_id IS NOT NULL;
CREATE INDEX api_keys_live ON api_keys (organization_id) WHERE revoked_at_us IS NULL;
CREATE INDEX api_key_grants_by_custom_role ON api_key_grants (custom_role_id) WHERE custom_role_id IS NOT NULL;
CREATE INDEX api_key_grants_of_owners ON api_key_grants (api_key_id) WHERE role = 'ORGANIZATION_OWNER';
