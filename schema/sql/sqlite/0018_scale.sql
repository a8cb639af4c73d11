-- Lists of very many backups, jobs and entries of the audit log: for each filter an index that gives the rows in the
-- order of the list. The catalog asks for one value of each leading column and merges the walks (`ListQuery`).

-- Backups of every kind, and live ones by creation; the names stand in them to be searched without a look at the rows.
-- Whoever lists names projects. An index by creation alone would only lead a database to walk past the rows of others.
DROP INDEX backups_live_by_creation;
DROP INDEX backups_live_by_project;
DROP INDEX backups_live_by_cluster;
DROP INDEX backups_live_by_type;
DROP INDEX backups_live_by_method;
DROP INDEX backups_by_project_status;
DROP INDEX backups_by_cluster_status;
CREATE INDEX backups_live_by_project ON backups (project_id, created_at_us, id, name_folded) WHERE status <> 'DELETED';
CREATE INDEX backups_live_by_cluster ON backups (cluster_id, created_at_us, id, name_folded) WHERE status <> 'DELETED';
CREATE INDEX backups_by_project_kind
    ON backups (project_id, creation_method, backup_type, status, created_at_us, id, name_folded);
CREATE INDEX backups_by_cluster_kind
    ON backups (cluster_id, creation_method, backup_type, status, created_at_us, id, name_folded);

DROP INDEX jobs_by_creation;
DROP INDEX jobs_by_state;
DROP INDEX jobs_by_type;
DROP INDEX jobs_by_creator;
CREATE INDEX jobs_by_project_type ON jobs (project_id, job_type, created_at_us, id);
CREATE INDEX jobs_by_project_kind ON jobs (project_id, job_type, state, created_at_us, id);
CREATE INDEX jobs_by_project_creator ON jobs (project_id, created_by, created_at_us, id);
CREATE INDEX jobs_by_cluster_type ON jobs (cluster_id, job_type, created_at_us, id);
CREATE INDEX jobs_by_cluster_creator ON jobs (cluster_id, created_by, created_at_us, id);
CREATE INDEX jobs_by_cluster_kind ON jobs (cluster_id, job_type, state, created_at_us, id);
-- What a starting server takes up again.
CREATE INDEX jobs_open ON jobs (created_at_us, id) WHERE state IN ('PENDING', 'IN_PROGRESS', 'CANCELING');

CREATE INDEX audit_log_by_project_actor ON audit_log (project_id, actor_id, at_us, sequence);
CREATE INDEX audit_log_by_project_action ON audit_log (project_id, action, at_us, sequence);
CREATE INDEX audit_log_by_project_result ON audit_log (project_id, result, at_us, sequence);
