-- Starts that were recorded far ahead of their time by a clock that has gone back since are forgotten, and made again
-- once at their time.

CREATE TABLE schedule_starts_anew (
    cluster_id         TEXT    NOT NULL REFERENCES clusters (id),
    scheduled_for_us   INTEGER NOT NULL,
    outcome            TEXT    NOT NULL
                       CHECK (outcome IN ('STARTED', 'SKIPPED', 'FORGOTTEN', 'STARTED_AGAIN', 'SKIPPED_AGAIN')),
    -- The job that makes the backup, or the one that was in the way.
    job_id             TEXT    NOT NULL,
    recorded_at_us     INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, scheduled_for_us)
) STRICT;

INSERT INTO schedule_starts_anew SELECT cluster_id, scheduled_for_us, outcome, job_id, recorded_at_us
FROM schedule_starts;
DROP TABLE schedule_starts;
ALTER TABLE schedule_starts_anew RENAME TO schedule_starts;
