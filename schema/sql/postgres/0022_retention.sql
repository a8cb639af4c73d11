-- What the keep rules of a cluster ask about its backups, answered without a look at the rows, which are long.

CREATE INDEX backups_retained ON backups (cluster_id, creation_method, created_at_us, expires_at_us, copied_from, id)
    WHERE status = 'AVAILABLE';
