-- What jobs were asked to do beyond their own row, and what became of restores and comparisons.

-- `request_sealed` is encrypted: it may hold passwords and storage keys.
CREATE TABLE job_requests (
    job_id         TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id),
    request_sealed TEXT    NOT NULL
);

-- Written once: a restore that is taken up again goes by the plan it began with.
CREATE TABLE restore_plans (
    job_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id),
    plan   TEXT    NOT NULL
);

CREATE TABLE restored_collections (
    job_id   TEXT COLLATE "C" NOT NULL REFERENCES restore_plans (job_id),
    -- Counts from 0, in the order of the plan.
    position BIGINT  NOT NULL CHECK (position >= 0),
    -- How far the collection is; `state` says so too, with everything else about it.
    step     TEXT    NOT NULL CHECK (step IN
        ('WAITING', 'CREATED', 'COMPARED', 'DONE', 'SKIPPED', 'FAILED', 'UNDONE')),
    state    TEXT    NOT NULL,
    PRIMARY KEY (job_id, position)
);

CREATE TABLE compare_reports (
    job_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id),
    report TEXT    NOT NULL
);

-- One row for each restore, drill, undo and comparison whose work was done to its end, well or not. A job that ended
-- otherwise has none.
CREATE TABLE job_completions (
    job_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id),
    warnings TEXT    NOT NULL
);
