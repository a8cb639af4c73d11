//! What jobs were asked to do beyond their own row: sealed, because it may hold passwords and storage keys.

use crate::admission::Asker;
use crate::clusters;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::idempotency::{self, Earlier};
use crate::jobs;
use crate::seal::{Place, Sealer};
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{InsertJobOutcome, NewJob, PortError, PortErrorKind, PortResult};

/// Writes a new job and what it was asked to do, unless the request was made before. What a restore or drill writes
/// to must be in service; the traces of an earlier restore can still be looked for at a removed cluster.
pub(crate) async fn insert_with_job(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    asker: Asker,
    new: &NewJob,
    sealed_request: String,
) -> PortResult<InsertJobOutcome> {
    let job = &new.job;
    check_new(new)?;
    if matches!(job.job_type, JobType::Restore | JobType::Drill) {
        clusters::lock_active(transaction, dialect, job.cluster_id).await?;
    } else {
        clusters::lock_known(transaction, dialect, job.cluster_id).await?;
    }
    match idempotency::find(transaction, job, new.idempotency.as_ref()).await? {
        Some(Earlier::Same(job)) => return Ok(InsertJobOutcome::Duplicate(job)),
        Some(Earlier::Other(job_id)) => return Ok(InsertJobOutcome::KeyReused(job_id)),
        None => {}
    }
    if let Some(restore_job_id) = earlier_restore(&new.request) {
        check_earlier_restore(transaction, job, restore_job_id).await?;
    }
    asker.admit(transaction, job.cluster_id).await?;
    jobs::insert_with_event(transaction, job, None).await?;
    transaction.execute(insert(job.id, sealed_request)).await?;
    idempotency::insert(transaction, job, new.idempotency.as_ref()).await?;
    Ok(InsertJobOutcome::Created)
}

fn check_new(new: &NewJob) -> PortResult<()> {
    if new.job.job_type.makes_backup() || new.job.state != JobState::Pending {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!(
                "job {} must be PENDING, and one that makes a backup is added together with the backup",
                new.job.id
            ),
        ));
    }
    check(&new.job, Some(&new.request))
}

/// Whether a job has the request that its type needs, and both speak of the same cluster and backup.
///
/// # Errors
/// `InvalidInput` when they do not.
pub(crate) fn check(job: &Job, request: Option<&JobRequest>) -> PortResult<()> {
    let fits = match (job.job_type, request) {
        (JobType::Restore, Some(JobRequest::Restore(request)))
        | (JobType::Drill, Some(JobRequest::Drill(request))) => {
            request.target_cluster_id == job.cluster_id && job.backup_id == Some(request.backup_id)
        }
        (JobType::Undo, Some(JobRequest::Undo { .. }))
        | (JobType::Compare, Some(JobRequest::Compare { .. }))
        | (JobType::Adopt, Some(JobRequest::Adopt(_)))
        | (JobType::Backup | JobType::Verify | JobType::Copy, None) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        format!("job {} and its request must be of the same kind, target cluster and backup", job.id),
    ))
}

/// The restore that a request is about, if it is about an earlier one.
fn earlier_restore(request: &JobRequest) -> Option<JobId> {
    match request {
        JobRequest::Undo { restore_job_id } | JobRequest::Compare { restore_job_id, .. } => {
            Some(*restore_job_id)
        }
        JobRequest::Restore(request) | JobRequest::Drill(request) => request.continues,
        JobRequest::Adopt(_) => None,
    }
}

async fn check_earlier_restore(
    transaction: &mut dyn Transaction,
    job: &Job,
    restore_job_id: JobId,
) -> PortResult<()> {
    let earlier = jobs::load(transaction, jobs::select(restore_job_id)).await?;
    let Some(earlier) = earlier
        .filter(|earlier| earlier.job_type == JobType::Restore && earlier.cluster_id == job.cluster_id)
    else {
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("job {restore_job_id} is no restore into cluster {}", job.cluster_id),
        ));
    };
    if earlier.state.is_final() {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::Conflict,
        format!("restore {restore_job_id} has not ended; wait for its end or cancel it"),
    ))
}

/// Encrypts a request.
pub(crate) fn sealed(sealer: &Sealer, job_id: JobId, request: &JobRequest) -> PortResult<String> {
    sealer.seal_json(place(&job_id.to_string()), request)
}

pub(crate) fn insert(job_id: JobId, sealed: String) -> Statement {
    Statement::insert(
        "job_requests",
        [("job_id", job_id.to_string().into()), ("request_sealed", sealed.into())],
    )
}

pub(crate) fn select(job_id: JobId) -> Statement {
    Statement::new("SELECT request_sealed FROM job_requests WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn read(sealer: &Sealer, job_id: JobId, row: &mut Record) -> PortResult<JobRequest> {
    unseal(sealer, job_id, &row.text("request_sealed")?)
}

/// Decrypts a request.
///
/// # Errors
/// `Internal` when that is not possible with this server's key.
pub(crate) fn unseal(sealer: &Sealer, job_id: JobId, text: &str) -> PortResult<JobRequest> {
    sealer.unseal_json(place(&job_id.to_string()), text).map_err(|error| {
        let message = format!("what job {job_id} was asked to do cannot be decrypted: {error}");
        PortError::with_source(PortErrorKind::Internal, message, error)
    })
}

/// Reads the request of a job that must have one, inside a transaction.
pub(crate) async fn load(
    transaction: &mut dyn Transaction,
    sealer: &Sealer,
    job_id: JobId,
) -> PortResult<JobRequest> {
    match transaction.query(select(job_id)).await?.pop() {
        Some(mut row) => read(sealer, job_id, &mut row),
        None => Err(PortError::new(PortErrorKind::NotFound, format!("job {job_id} has no request"))),
    }
}

fn place(job_id: &str) -> Place<'_> {
    Place { table: "job_requests", id: job_id, column: "request_sealed" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_request_that_cannot_be_decrypted_is_an_internal_error() {
        let sealer = Sealer::from_key_bytes([7; 32]);
        let job_id = JobId::from_uuid(Uuid::from_u128(1));
        let request = JobRequest::Undo { restore_job_id: job_id };
        let text = sealed(&sealer, job_id, &request).unwrap();
        assert_eq!(unseal(&sealer, job_id, &text).unwrap(), request);

        let other_key = Sealer::from_key_bytes([8; 32]);
        let other_job = JobId::from_uuid(Uuid::from_u128(2));
        for outcome in [
            unseal(&other_key, job_id, &text),
            unseal(&sealer, other_job, &text),
            unseal(&sealer, job_id, &text[..text.len() - 2]),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::Internal, "{error}");
            assert!(error.to_string().contains("was asked to do"), "{error}");
        }
    }
}
