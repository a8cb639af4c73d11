-- Sign-in of people by an identity provider.

-- Which account of a provider is which user. Bound once; addresses play no part afterwards.
CREATE TABLE user_accounts (
    issuer      TEXT COLLATE "C" NOT NULL,
    subject     TEXT COLLATE "C" NOT NULL,
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    bound_at_us BIGINT  NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)
);

-- Sign-ins that were begun and have not come back. A row is removed by whoever claims it.
CREATE TABLE sign_in_attempts (
    state_hash    BYTEA   NOT NULL PRIMARY KEY CHECK (octet_length(state_hash) = 32),
    browser_hash  BYTEA   NOT NULL CHECK (octet_length(browser_hash) = 32),
    return_to     TEXT    NOT NULL,
    created_at_us BIGINT  NOT NULL,
    expires_at_us BIGINT  NOT NULL
);

CREATE INDEX sign_in_attempts_by_end ON sign_in_attempts (expires_at_us, state_hash);

CREATE TABLE sessions (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    issuer          TEXT COLLATE "C" NOT NULL,
    token_hash      BYTEA   NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_at_us   BIGINT  NOT NULL,
    last_used_at_us BIGINT  NOT NULL,
    expires_at_us   BIGINT  NOT NULL,
    ended_at_us     BIGINT,
    remote_address  TEXT,
    user_agent      TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id, created_at_us, id);
