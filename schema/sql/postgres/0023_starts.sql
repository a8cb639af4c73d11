-- Starts that were recorded far ahead of their time by a clock that has gone back since are forgotten, and made again
-- once at their time.

ALTER TABLE schedule_starts DROP CONSTRAINT schedule_starts_outcome_check;
ALTER TABLE schedule_starts ADD CONSTRAINT schedule_starts_outcome_check
    CHECK (outcome IN ('STARTED', 'SKIPPED', 'FORGOTTEN', 'STARTED_AGAIN', 'SKIPPED_AGAIN'));
