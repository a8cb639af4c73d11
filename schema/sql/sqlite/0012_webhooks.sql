-- Webhooks, and what is on its way to them.

-- A deleted webhook keeps its row, so that the audit log knows its project, and loses everything else.
CREATE TABLE webhooks (
    id               TEXT    NOT NULL PRIMARY KEY,
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    name             TEXT    NOT NULL,
    events           TEXT    NOT NULL,
    -- Encrypted: the URL, which may carry a token, and the secrets that sign. Nothing of them when it is deleted.
    target_sealed    TEXT    NOT NULL,
    -- Both or none.
    disabled_at_us   INTEGER,
    disabled_reason  TEXT,
    failing_since_us INTEGER,
    dropped_events   INTEGER NOT NULL,
    created_by       TEXT    NOT NULL,
    created_at_us    INTEGER NOT NULL,
    updated_at_us    INTEGER NOT NULL,
    deleted_at_us    INTEGER,
    CHECK ((disabled_at_us IS NULL) = (disabled_reason IS NULL))
) STRICT;

CREATE UNIQUE INDEX webhooks_name ON webhooks (project_id, name) WHERE deleted_at_us IS NULL;
CREATE INDEX webhooks_by_project ON webhooks (project_id, created_at_us, id) WHERE deleted_at_us IS NULL;
CREATE INDEX webhooks_in_use ON webhooks (project_id) WHERE deleted_at_us IS NULL AND disabled_at_us IS NULL;

-- The id derives from the webhook and the cause of the event: a webhook is told of each cause once.
CREATE TABLE webhook_deliveries (
    id                 TEXT    NOT NULL PRIMARY KEY,
    webhook_id         TEXT    NOT NULL REFERENCES webhooks (id),
    event              TEXT    NOT NULL CHECK (event IN
        ('BACKUP_FAILED', 'BACKUP_OVERDUE', 'BACKUP_SIZE_UNUSUAL', 'HOLD_EXPIRING', 'VERIFY_FAILED', 'RESTORE_FAILED',
         'DRILL_FAILED', 'COPY_FAILED', 'PING')),
    payload            TEXT    NOT NULL,
    state              TEXT    NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    -- Attempts since it was last asked for, and the latest of all.
    attempt_count      INTEGER NOT NULL,
    attempts           TEXT    NOT NULL,
    -- When it is tried next; for one that is being tried, when somebody else may try.
    next_attempt_at_us INTEGER,
    -- Counts the claims: the end of an attempt counts only under the latest one.
    claim              INTEGER NOT NULL,
    created_at_us      INTEGER NOT NULL,
    ended_at_us        INTEGER,
    CHECK ((state = 'PENDING') = (next_attempt_at_us IS NOT NULL)),
    CHECK ((state = 'PENDING') = (ended_at_us IS NULL))
) STRICT;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at_us, id) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, created_at_us, id);
CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (webhook_id, state, created_at_us, id);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at_us, id) WHERE ended_at_us IS NOT NULL;

CREATE INDEX backup_holds_ending ON backup_holds (until_us, id) WHERE released_at_us IS NULL AND until_us IS NOT NULL;
