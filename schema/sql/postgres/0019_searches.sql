-- What the lists of jobs and of the audit log still looked for row by row: an index for each, as in the step before.

-- The names under which a job is found: those that its cluster and its backup had at the time when it was asked for, as in
-- its description, and every word of each. A trigger writes them, so that a job has them however it comes into the table.
CREATE TABLE job_names (
    id            TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    -- In lower case.
    name          TEXT COLLATE "C" NOT NULL,
    project_id    TEXT COLLATE "C" NOT NULL,
    cluster_id    TEXT COLLATE "C" NOT NULL,
    created_at_us BIGINT  NOT NULL,
    PRIMARY KEY (id, name)
);

-- A word may come twice.
CREATE VIEW names_of_jobs AS
SELECT jobs.id AS id, words.name AS name, jobs.project_id AS project_id, jobs.cluster_id AS cluster_id,
    jobs.created_at_us AS created_at_us
FROM jobs
JOIN clusters ON clusters.id = jobs.cluster_id
LEFT JOIN backups ON backups.id = jobs.backup_id
CROSS JOIN LATERAL unnest(
    ARRAY[clusters.name_folded, backups.name_folded]
    || string_to_array(
        translate(clusters.name_folded || ' ' || COALESCE(backups.name_folded, ''), '_-./:', '     '), ' ')
) AS words (name)
WHERE words.name <> '';

CREATE FUNCTION jobs_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_names (id, name, project_id, cluster_id, created_at_us)
    SELECT id, name, project_id, cluster_id, created_at_us FROM names_of_jobs WHERE id = NEW.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;

CREATE TRIGGER jobs_have_names AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION jobs_name();

INSERT INTO job_names (id, name, project_id, cluster_id, created_at_us)
SELECT id, name, project_id, cluster_id, created_at_us FROM names_of_jobs
ON CONFLICT DO NOTHING;

CREATE INDEX job_names_by_project ON job_names (project_id, name, created_at_us, id);
CREATE INDEX job_names_by_cluster ON job_names (cluster_id, name, created_at_us, id);
-- All jobs of a cluster have its name, so the two columns depend on each other: a planner that does not know this takes what
-- one name gives for few rows, and sorts them instead of walking along the index.
CREATE STATISTICS job_names_of_projects (mcv) ON project_id, name FROM job_names;
CREATE STATISTICS job_names_of_clusters (mcv) ON cluster_id, name FROM job_names;

-- The audit log by actor and action together, and each of them with every result. A missing result is spelled as no text,
-- so that all results can be named: an index with the result serves lists of every result, too.
DROP INDEX audit_log_by_actor;
DROP INDEX audit_log_by_action;
DROP INDEX audit_log_by_project_actor;
DROP INDEX audit_log_by_project_action;
CREATE INDEX audit_log_by_actor_result ON audit_log (actor_id, COALESCE(result, ''), at_us, sequence);
CREATE INDEX audit_log_by_action_result ON audit_log (action, COALESCE(result, ''), at_us, sequence);
CREATE INDEX audit_log_by_deed ON audit_log (actor_id, action, COALESCE(result, ''), at_us, sequence);
CREATE INDEX audit_log_by_project_actor_result
    ON audit_log (project_id, actor_id, COALESCE(result, ''), at_us, sequence);
CREATE INDEX audit_log_by_project_action_result
    ON audit_log (project_id, action, COALESCE(result, ''), at_us, sequence);
CREATE INDEX audit_log_by_project_deed
    ON audit_log (project_id, actor_id, action, COALESCE(result, ''), at_us, sequence);
