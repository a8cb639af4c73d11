-- Scheduled verifies and drills, and what verifies have found.

CREATE TABLE verify_policies (
    repository_id    TEXT    NOT NULL PRIMARY KEY REFERENCES repositories (id),
    schedule         TEXT    NOT NULL,
    -- Counts the changes, so that a decision is dropped when the schedule has gone on meanwhile.
    revision         INTEGER NOT NULL CHECK (revision > 0),
    -- Missing when the policy is switched off.
    next_look_at_us  INTEGER,
    -- The job that reads the share begun last. No reference: history may be removed before the policy.
    share_job_id     TEXT
) STRICT;

CREATE INDEX verify_policies_by_next_look ON verify_policies (next_look_at_us, repository_id);
CREATE INDEX verify_policies_by_job ON verify_policies (share_job_id);

CREATE TABLE drill_policies (
    cluster_id       TEXT    NOT NULL PRIMARY KEY REFERENCES clusters (id),
    schedule         TEXT    NOT NULL,
    revision         INTEGER NOT NULL CHECK (revision > 0),
    -- Missing when the policy is switched off or the cluster is removed.
    next_look_at_us  INTEGER
) STRICT;

CREATE INDEX drill_policies_by_next_look ON drill_policies (next_look_at_us, cluster_id);

-- What is damaged in a repository: a file, or one object in a pack.
CREATE TABLE damage (
    repository_id TEXT    NOT NULL REFERENCES repositories (id),
    file_kind     TEXT    NOT NULL CHECK (file_kind IN ('PACK', 'OBJECT')),
    file_id       TEXT    NOT NULL,
    -- Empty for the file as a whole.
    object_id     TEXT    NOT NULL,
    source_key    TEXT,
    reason        TEXT    NOT NULL,
    level         TEXT    NOT NULL CHECK (level IN ('EXISTENCE', 'STRUCTURE', 'CONTENT')),
    job_id        TEXT    NOT NULL,
    found_at_us   INTEGER NOT NULL,
    PRIMARY KEY (repository_id, file_kind, file_id, object_id)
) STRICT;

-- What is known about each backup that was looked at.
CREATE TABLE backup_verifications (
    backup_id    TEXT NOT NULL PRIMARY KEY REFERENCES backups (id),
    verification TEXT NOT NULL
) STRICT;

ALTER TABLE backups ADD COLUMN verification TEXT NOT NULL DEFAULT 'NEVER'
    CHECK (verification IN ('NEVER', 'PARTIAL', 'VERIFIED', 'DAMAGED'));

CREATE INDEX backups_live_by_verification ON backups (verification, created_at_us, id) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_project_verification ON backups (project_id, verification, created_at_us, id)
    WHERE status <> 'DELETED';
CREATE INDEX jobs_drills ON jobs (backup_id, created_at_us, id) WHERE job_type = 'DRILL';

-- What drills could not remove at their targets when they ended.
CREATE TABLE drill_leftovers (
    job_id             TEXT    NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    cluster_id         TEXT    NOT NULL REFERENCES clusters (id),
    attempts           INTEGER NOT NULL CHECK (attempts >= 0),
    -- Missing when it was given up.
    next_attempt_at_us INTEGER,
    last_failure       TEXT    NOT NULL
) STRICT;

CREATE INDEX drill_leftovers_due ON drill_leftovers (next_attempt_at_us, job_id);
