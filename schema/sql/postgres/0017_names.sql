-- Names of backups: one living backup of a cluster has a name, and numbers for those that were given none.

-- A failed or deleted backup has no claim to its name.
DROP INDEX backups_live_by_name;
CREATE UNIQUE INDEX backups_living_names ON backups (cluster_id, name) WHERE status IN ('CREATING', 'AVAILABLE');

-- How many default names each cluster has given. A number is given once, whatever becomes of the backup.
CREATE TABLE backup_numbers (
    cluster_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES clusters (id),
    given      BIGINT  NOT NULL CHECK (given > 0)
);
