-- What a project's available backups take up is summed from this index alone.

CREATE INDEX backups_usage ON backups (project_id, status, logical_bytes, newly_stored_bytes);
