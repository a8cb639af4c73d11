//! Keys that make a repeated request give the job of the first one. A key belongs to a cluster, for
//! ever unless the job was refused.

use crate::database::{Statement, Transaction};
use crate::jobs;
use crate::model::id;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::Job;
use milvault_domain::ports::{Idempotency, PortError, PortErrorKind, PortResult};

/// Longest key, in characters: it is part of an index.
const KEY_CHARS_MAX: usize = 256;

/// What a key was used for before.
pub(crate) enum Earlier {
    /// For the same request, which made this job.
    Same(Box<Job>),
    /// For another request, which made this job.
    Other(JobId),
}

/// What the key of a request was used for before, if it has one and it was. The caller holds the lock on the cluster.
///
/// # Errors
/// `InvalidInput` for a key that is empty or too long.
pub(crate) async fn find(
    transaction: &mut dyn Transaction,
    wanted: &Job,
    idempotency: Option<&Idempotency>,
) -> PortResult<Option<Earlier>> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    check(&idempotency.key)?;
    let found = transaction.query(select(wanted.cluster_id, &idempotency.key)).await?.pop();
    let Some(mut row) = found else { return Ok(None) };
    let job_id: JobId = id(&row.text("job_id")?)?;
    let job = jobs::load(transaction, jobs::select(job_id)).await?.ok_or_else(|| jobs::not_found(job_id))?;
    let same = row.hash("request_hash")? == idempotency.request_hash && job.job_type == wanted.job_type;
    Ok(Some(if same { Earlier::Same(Box::new(job)) } else { Earlier::Other(job_id) }))
}

pub(crate) fn select(cluster_id: ClusterId, key: &str) -> Statement {
    Statement::new("SELECT * FROM idempotency_keys WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND key = ")
        .bind(key)
}

/// Frees the key of a job that was refused.
pub(crate) fn delete(job_id: JobId) -> Statement {
    Statement::new("DELETE FROM idempotency_keys WHERE job_id = ").bind(job_id.to_string())
}

/// Keeps the key of a request, if it has one.
pub(crate) async fn insert(
    transaction: &mut dyn Transaction,
    job: &Job,
    idempotency: Option<&Idempotency>,
) -> PortResult<()> {
    let Some(idempotency) = idempotency else { return Ok(()) };
    let columns = [
        ("cluster_id", job.cluster_id.to_string().into()),
        ("key", idempotency.key.as_str().into()),
        ("request_hash", idempotency.request_hash.as_slice().into()),
        ("job_id", job.id.to_string().into()),
    ];
    transaction.execute(Statement::insert("idempotency_keys", columns)).await?;
    Ok(())
}

pub(crate) fn check(key: &str) -> PortResult<()> {
    let chars = key.chars().count();
    if (1..=KEY_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        format!("idempotencyKey must have 1 to {KEY_CHARS_MAX} characters, got {chars}"),
    ))
}
