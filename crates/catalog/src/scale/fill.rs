//! Rows in the shape of a large installation: mostly automatic backups of whole clusters, some manual ones, some failed,
//! some deleted, and many more jobs than backups.

use crate::database::{Database, Statement};
use crate::error::corrupt;
use milvault_domain::ports::PortResult;

/// Rows of one statement. Large enough to be fast, small enough for the time that a request may take.
const BATCH: u64 = 20_000;
/// Entries of the audit log are chained by a trigger of its own: each costs a look at the end of the table.
const AUDIT_BATCH: u64 = 5_000;

/// How many rows.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Backups, of which a quarter are deleted.
    pub backups: u64,
    /// Jobs, each with two entries in its history.
    pub jobs: u64,
    /// Entries of the audit log.
    pub audit_entries: u64,
}

pub(super) async fn fill(database: &dyn Database, shape: Shape) -> PortResult<()> {
    let rows = database.read(Statement::new("SELECT COUNT(*) AS clusters FROM clusters")).await?;
    let mut row = rows.into_iter().next().ok_or_else(|| corrupt("a count has no row"))?;
    let clusters = row.integer("clusters")?;
    let words = Words::of(database);
    if words.is_sqlite {
        // The indexes do not fit into its usual cache, and every row goes into all of them.
        let mut transaction = database.begin().await?;
        transaction.query(Statement::new("PRAGMA cache_size = -262144")).await?;
        transaction.commit().await?;
    }
    for (count, batch, add) in [
        (shape.backups, BATCH, add_backups as Add),
        (shape.jobs, BATCH, add_jobs),
        (shape.jobs, BATCH, add_events),
        (shape.audit_entries, AUDIT_BATCH, add_audit_entries),
    ] {
        let mut first = 0;
        while first < count {
            let end = count.min(first + batch);
            let mut transaction = database.begin().await?;
            let range = Range {
                first: signed(first),
                last: signed(end) - 1,
                clusters,
                backups: signed(shape.backups),
            };
            for statement in add(words, range) {
                transaction.execute(statement).await?;
            }
            transaction.commit().await?;
            first = end;
        }
    }
    // PostgreSQL does so by itself in time; nobody does it for SQLite.
    if words.is_sqlite {
        return Ok(());
    }
    database.read(Statement::new("VACUUM ANALYZE backups")).await?;
    let mut transaction = database.begin().await?;
    transaction.execute(Statement::new("ANALYZE")).await?;
    transaction.commit().await
}

type Add = fn(Words, Range) -> Vec<Statement>;

#[derive(Clone, Copy)]
struct Range {
    first: i64,
    last: i64,
    clusters: i64,
    backups: i64,
}

/// Where the two databases need other words.
#[derive(Clone, Copy)]
struct Words {
    is_sqlite: bool,
}

impl Words {
    fn of(database: &dyn Database) -> Self {
        Self { is_sqlite: database.dialect().position_function == "instr" }
    }

    /// ` FROM` the numbers of the range as `n`, each with a cluster.
    fn numbers(self, statement: Statement, range: Range) -> Statement {
        let statement = if self.is_sqlite {
            statement
                .push(" FROM (WITH RECURSIVE numbers(n) AS (SELECT ")
                .bind(range.first)
                .push(" UNION ALL SELECT n + 1 FROM numbers WHERE n < ")
                .bind(range.last)
                .push(") SELECT n FROM numbers) AS series")
        } else {
            statement
                .push(" FROM generate_series(")
                .bind(range.first)
                .push(", ")
                .bind(range.last)
                .push(") AS series(n)")
        };
        statement
            .push(" JOIN (SELECT id, project_id, repository_id, name, ROW_NUMBER() OVER (ORDER BY id) - 1 AS number FROM clusters) AS clusters ON clusters.number = n % ")
            .bind(range.clusters)
    }

    /// The text of an id whose number is `n`.
    fn id(self, prefix: &'static str, number: &'static str) -> [&'static str; 5] {
        if self.is_sqlite {
            ["'", prefix, "' || printf('%032x', ", number, ")"]
        } else {
            ["'", prefix, "' || lpad(to_hex(", number, "), 32, '0')"]
        }
    }
}

fn push_all<const N: usize>(statement: Statement, texts: [&'static str; N]) -> Statement {
    texts.into_iter().fold(statement, Statement::push)
}

/// Begin of time, and the distance between two backups.
const CREATED: &str = "1700000000000000 + n * 300000000";

fn add_backups(words: Words, range: Range) -> Vec<Statement> {
    let statement = Statement::new(
        "INSERT INTO backups (id, project_id, cluster_id, cluster_name, repository_id, name, name_folded, description, scope, backup_type, creation_method, status, created_by, created_at_us, completed_at_us, expires_at_us, deleted_at_us, cut_at_us, milvus_version, logical_bytes, newly_stored_bytes, object_count, reused_object_count, row_count, collection_count) SELECT ",
    );
    let statement = push_all(statement, words.id("bkp_", "n"));
    let statement = statement
        .push(", project_id, clusters.id, clusters.name, repository_id, 'backup-' || n, 'backup-' || n, '', '\"cluster\"', CASE WHEN n % 50 = 0 THEN 'COLLECTION' WHEN n % 50 = 1 THEN 'DATABASE' ELSE 'CLUSTER' END, CASE WHEN n % 50 < 3 THEN 'MANUAL' ELSE 'AUTO' END, CASE WHEN n % 97 = 5 THEN 'FAILED' WHEN n % 10 < 3 AND n % 50 > 2 THEN 'DELETED' ELSE 'AVAILABLE' END, CASE WHEN n % 50 < 3 THEN 'owner' ELSE 'schedule' END, ")
        .push(CREATED)
        .push(", ")
        .push(CREATED)
        .push(", CASE WHEN n % 50 < 3 THEN NULL ELSE ")
        .push(CREATED)
        .push(" + 604800000000 END, CASE WHEN n % 97 = 5 OR (n % 10 < 3 AND n % 50 > 2) THEN ")
        .push(CREATED)
        .push(" END, ")
        .push(CREATED)
        .push(", 'v2.3.5', 1000000, 1000, 100, 90, 100000, 10");
    vec![words.numbers(statement, range)]
}

/// Every job lies between two backups; ten to a backup, of which most check it.
fn add_jobs(words: Words, range: Range) -> Vec<Statement> {
    let statement = Statement::new(
        "INSERT INTO jobs (id, project_id, cluster_id, job_type, state, phase, description, created_by, created_at_us, started_at_us, ended_at_us, backup_id, creation_method, attempt, progress) SELECT ",
    );
    let statement = push_all(statement, words.id("job_", "n"));
    let statement = statement
        .push(", project_id, clusters.id, CASE WHEN n % 1009 = 7 THEN 'DRILL' WHEN n % 10 = 0 THEN 'BACKUP' WHEN n % 10 < 5 THEN 'DELETE' WHEN n % 10 < 9 THEN 'VERIFY' ELSE 'SWEEP' END, CASE WHEN n % 33331 = 8 AND n % 10 <> 0 THEN 'PENDING' WHEN n % 97 = 5 THEN 'FAILED' WHEN n % 499 = 9 THEN 'CANCELED' ELSE 'SUCCESSFUL' END, NULL, 'job number ' || n, CASE WHEN n % 501 = 3 THEN 'owner' ELSE 'schedule' END, 1700000000000000 + n * 30000000, 1700000000000000 + n * 30000000, CASE WHEN n % 33331 = 8 AND n % 10 <> 0 THEN NULL ELSE 1700000000000001 + n * 30000000 END, CASE WHEN n % 10 = 9 THEN NULL ELSE ");
    // A job's backup is one of its own cluster: the numbers of both leave the same rest.
    let (before, after) =
        if words.is_sqlite { ("printf('%032x', ", ")") } else { ("lpad(to_hex(", "), 32, '0')") };
    let statement = statement
        .push("'bkp_' || ")
        .push(before)
        .push("(n % ")
        .bind(range.clusters)
        .push(" + ")
        .bind(range.clusters)
        .push(" * (n / 10 / ")
        .bind(range.clusters)
        .push(")) % ")
        .bind(range.backups)
        .push(after);
    let statement = statement.push(" END, CASE WHEN n % 1009 <> 7 AND n % 10 = 0 THEN 'AUTO' END, 1, '{\"bytes_total\":0,\"bytes_done\":0,\"bytes_reused\":0,\"objects_total\":0,\"objects_done\":0,\"objects_reused\":0,\"bytes_through_server\":0}'");
    vec![words.numbers(statement, range)]
}

fn add_events(words: Words, range: Range) -> Vec<Statement> {
    let event = |sequence: i64, state: &'static str| {
        let statement = Statement::new("INSERT INTO job_events (job_id, sequence, at_us, state) SELECT ");
        let statement = push_all(statement, words.id("job_", "n")).push(", ").bind(sequence);
        words.numbers(statement.push(", 1700000000000000 + n * 30000000, ").push(state), range)
    };
    vec![event(1, "'PENDING'"), event(2, "'SUCCESSFUL'")]
}

fn add_audit_entries(words: Words, range: Range) -> Vec<Statement> {
    // The bytes of the chain are of no matter here.
    let hash = if words.is_sqlite { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    let statement = Statement::new("INSERT INTO audit_log (sequence, at_us, organization_id, project_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, inputs, result, event_count, previous_hash, hash) SELECT n + 1, 1700000000000000 + n * 30000000, projects.organization_id, CASE WHEN n % 100 = 99 THEN NULL ELSE projects.id END, 'API_KEY', 'key_' || (n % 20), 'key', CASE WHEN n % 50 = 0 THEN 'createBackup' WHEN n % 1000 = 1 THEN 'deleteBackup' ELSE 'updateBackup' END, 'backup', 'bkp_' || (n % 5000), '{}', CASE WHEN n % 500 = 7 THEN 'REFUSED' WHEN n % 2 = 0 THEN 'OK' END, 1, ")
        .push(hash)
        .push(", ")
        .push(hash);
    let statement = words
        .numbers(statement, range)
        .push(" JOIN projects ON projects.id = clusters.project_id ORDER BY n");
    vec![statement]
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
