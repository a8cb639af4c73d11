-- Jobs with their history, the reports of verify jobs, and what makes repeated requests recognizable.

CREATE TABLE jobs (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id      TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    cluster_id      TEXT COLLATE "C" NOT NULL REFERENCES clusters (id),
    job_type        TEXT    NOT NULL CHECK (job_type IN
        ('BACKUP', 'VERIFY', 'RESTORE', 'DRILL', 'UNDO', 'COMPARE', 'ADOPT', 'COPY', 'DELETE', 'SWEEP')),
    state           TEXT    NOT NULL CHECK (state IN
        ('PENDING', 'IN_PROGRESS', 'CANCELING', 'SUCCESSFUL', 'FAILED', 'CANCELED')),
    phase           TEXT    CHECK (phase IN
        ('CUT', 'PLAN', 'COPY', 'SEAL', 'VERIFY', 'PREPARE', 'IMPORT', 'FINISH', 'COMPARE', 'CLEANUP')),
    description     TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at_us   BIGINT  NOT NULL,
    started_at_us   BIGINT,
    ended_at_us     BIGINT,
    failure         TEXT,
    backup_id       TEXT COLLATE "C" REFERENCES backups (id),
    -- How the backup comes to be, for BACKUP jobs alone: the rule below needs it in this table, and taking a backup
    -- over from elsewhere is no matter of that rule.
    creation_method TEXT    CHECK (creation_method IN ('MANUAL', 'AUTO')),
    verify_level    TEXT    CHECK (verify_level IN ('EXISTENCE', 'STRUCTURE', 'CONTENT')),
    attempt         BIGINT  NOT NULL,
    progress        TEXT    NOT NULL,
    CHECK (job_type NOT IN ('BACKUP', 'ADOPT', 'COPY') OR backup_id IS NOT NULL),
    CHECK ((job_type = 'BACKUP') = (creation_method IS NOT NULL)),
    CHECK ((state IN ('SUCCESSFUL', 'FAILED', 'CANCELED')) = (ended_at_us IS NOT NULL))
);

-- The rule "one manual backup pending or in progress per cluster", which nothing can get around.
CREATE UNIQUE INDEX jobs_one_open_manual_backup ON jobs (cluster_id)
    WHERE state IN ('PENDING', 'IN_PROGRESS', 'CANCELING') AND creation_method = 'MANUAL';

CREATE INDEX jobs_open_by_cluster ON jobs (cluster_id, created_at_us, id)
    WHERE state IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_by_creation ON jobs (created_at_us, id);
CREATE INDEX jobs_by_project ON jobs (project_id, created_at_us, id);
CREATE INDEX jobs_by_cluster ON jobs (cluster_id, created_at_us, id);
CREATE INDEX jobs_by_backup ON jobs (backup_id, created_at_us, id);
CREATE INDEX jobs_by_state ON jobs (state, created_at_us, id);
CREATE INDEX jobs_by_project_state ON jobs (project_id, state, created_at_us, id);
CREATE INDEX jobs_by_cluster_state ON jobs (cluster_id, state, created_at_us, id);
CREATE INDEX jobs_by_type ON jobs (job_type, created_at_us, id);

CREATE TABLE job_events (
    job_id   TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    -- Counts from 1 within the job. The order of events never rests on the clock.
    sequence BIGINT  NOT NULL,
    at_us    BIGINT  NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN
        ('PENDING', 'IN_PROGRESS', 'CANCELING', 'SUCCESSFUL', 'FAILED', 'CANCELED')),
    phase    TEXT    CHECK (phase IN
        ('CUT', 'PLAN', 'COPY', 'SEAL', 'VERIFY', 'PREPARE', 'IMPORT', 'FINISH', 'COMPARE', 'CLEANUP')),
    reason   TEXT,
    PRIMARY KEY (job_id, sequence)
);

CREATE TABLE verify_reports (
    job_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id),
    report TEXT NOT NULL
);

CREATE TABLE idempotency_keys (
    cluster_id   TEXT COLLATE "C" NOT NULL REFERENCES clusters (id),
    key          TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL CHECK (octet_length(request_hash) = 32),
    job_id       TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (cluster_id, key)
);
