-- How often a job was put aside in order, by a server that stopped or lost its lease: its attempts without these are what
-- the limit of attempts is about.

ALTER TABLE jobs ADD COLUMN parks BIGINT NOT NULL DEFAULT 0 CHECK (parks >= 0);

-- What waits was put aside in order by a server that could not count it yet.
UPDATE jobs SET parks = attempt WHERE state = 'PENDING' AND attempt > 0;
