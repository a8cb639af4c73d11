-- Expiries that a clock has made which was ahead.

-- When it was decided whether such an expiry of the backup is taken back; that happens once.
ALTER TABLE backups ADD COLUMN early_expiry_judged_at_us BIGINT;

CREATE INDEX backups_ended ON backups (status, deleted_at_us, id) WHERE status = 'DELETED' AND swept_at_us IS NULL;
