-- Sign-in of people by an identity provider.

-- Which account of a provider is which user. Bound once; addresses play no part afterwards.
CREATE TABLE user_accounts (
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    user_id     TEXT    NOT NULL REFERENCES users (id),
    bound_at_us INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)
) STRICT;

-- Sign-ins that were begun and have not come back. A row is removed by whoever claims it.
CREATE TABLE sign_in_attempts (
    state_hash    BLOB    NOT NULL PRIMARY KEY CHECK (length(state_hash) = 32),
    browser_hash  BLOB    NOT NULL CHECK (length(browser_hash) = 32),
    return_to     TEXT    NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX sign_in_attempts_by_end ON sign_in_attempts (expires_at_us, state_hash);

CREATE TABLE sessions (
    id              TEXT    NOT NULL PRIMARY KEY,
    organization_id TEXT    NOT NULL REFERENCES organizations (id),
    user_id         TEXT    NOT NULL REFERENCES users (id),
    issuer          TEXT    NOT NULL,
    token_hash      BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at_us   INTEGER NOT NULL,
    last_used_at_us INTEGER NOT NULL,
    expires_at_us   INTEGER NOT NULL,
    ended_at_us     INTEGER,
    remote_address  TEXT,
    user_agent      TEXT
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user_id, created_at_us, id);
