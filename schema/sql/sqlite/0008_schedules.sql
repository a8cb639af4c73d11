-- Automatic backups: one policy per cluster, and the starts that were recorded for it.

CREATE TABLE schedules (
    cluster_id           TEXT    NOT NULL PRIMARY KEY REFERENCES clusters (id),
    policy               TEXT    NOT NULL,
    -- Counts the changes, so that a decision about a schedule is dropped when the schedule has gone on meanwhile.
    revision             INTEGER NOT NULL CHECK (revision > 0),
    -- The start that was recorded last; missing when the policy was just switched on.
    last_run_at_us       INTEGER,
    -- When to look again; missing when the policy is switched off or the cluster is removed.
    next_look_at_us      INTEGER,
    last_started_at_us   INTEGER,
    -- All of these or none. The job is no reference: history may be removed before the schedule.
    last_skipped_at_us   INTEGER,
    last_skipped_reason  TEXT,
    last_skipped_job_id  TEXT,
    CHECK ((last_skipped_at_us IS NULL) = (last_skipped_reason IS NULL)),
    CHECK ((last_skipped_at_us IS NULL) = (last_skipped_job_id IS NULL))
) STRICT;

CREATE INDEX schedules_by_next_look ON schedules (next_look_at_us, cluster_id);

-- The rule "every start of a cluster is recorded once", which nothing can get around.
CREATE TABLE schedule_starts (
    cluster_id         TEXT    NOT NULL REFERENCES clusters (id),
    scheduled_for_us   INTEGER NOT NULL,
    outcome            TEXT    NOT NULL CHECK (outcome IN ('STARTED', 'SKIPPED')),
    -- The job that makes the backup, or the one that was in the way.
    job_id             TEXT    NOT NULL,
    recorded_at_us     INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, scheduled_for_us)
) STRICT;
