-- The audit log: who did what to what, when, from where, and how it went. Rows are only added, one behind the other.

CREATE TABLE audit_log (
    -- Counts from 1 without gaps.
    sequence        INTEGER NOT NULL PRIMARY KEY,
    at_us           INTEGER NOT NULL,
    organization_id TEXT    NOT NULL REFERENCES organizations (id),
    -- No reference: the log outlives what it is about.
    project_id      TEXT   ,
    actor_kind      TEXT    NOT NULL CHECK (actor_kind IN ('USER', 'API_KEY', 'SYSTEM', 'ANONYMOUS')),
    actor_id        TEXT   ,
    actor_name      TEXT    NOT NULL,
    api_key_id      TEXT   ,
    action          TEXT    NOT NULL,
    -- Both or none.
    target_kind     TEXT,
    target_id       TEXT   ,
    inputs          TEXT    NOT NULL,
    -- Missing in an intent, which is written before anything is done.
    result          TEXT    CHECK (result IN ('OK', 'REFUSED', 'FAILED')),
    code            TEXT,
    event_count     INTEGER NOT NULL CHECK (event_count > 0),
    remote_address  TEXT,
    request_id      TEXT,
    intent_sequence INTEGER REFERENCES audit_log (sequence),
    previous_hash   BLOB NOT NULL CHECK (length(previous_hash) = 32),
    hash            BLOB NOT NULL CHECK (length(hash) = 32),
    CHECK ((target_kind IS NULL) = (target_id IS NULL)),
    CHECK (intent_sequence IS NULL OR result IS NOT NULL)
) STRICT;

CREATE INDEX audit_log_by_time ON audit_log (organization_id, at_us, sequence);
CREATE INDEX audit_log_by_project ON audit_log (organization_id, project_id, at_us, sequence);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, at_us, sequence);
CREATE INDEX audit_log_by_action ON audit_log (action, at_us, sequence);
CREATE INDEX audit_log_by_target ON audit_log (target_id, at_us, sequence);
CREATE INDEX audit_log_by_result ON audit_log (organization_id, result, at_us, sequence);

CREATE TRIGGER audit_log_is_not_updated BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_log_is_not_deleted BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- REPLACE removes a row without asking the trigger above.
CREATE TRIGGER audit_log_only_grows BEFORE INSERT ON audit_log
WHEN NEW.sequence <> (SELECT COALESCE(MAX(sequence), 0) + 1 FROM audit_log)
BEGIN
    SELECT RAISE(ABORT, 'the audit log only grows at its end');
END;

-- The job center: jobs by who asked for them, and ended jobs by their end.
CREATE INDEX jobs_by_creator ON jobs (created_by, created_at_us, id);
CREATE INDEX jobs_by_end ON jobs (ended_at_us, id) WHERE ended_at_us IS NOT NULL;
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id);
