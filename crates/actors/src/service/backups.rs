//! Requests for backups and verifies.

use super::{Service, not_found, refused};
use crate::error::ServiceError;
use crate::messages::Refusal;
use crate::request::{BackupRequest, VerifyRequest};
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, check_backup_texts};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::{InvalidInput, NAME_CHARS_MAX};
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobState, JobType, VerifyLevel};
use milvault_domain::ports::{
    BackupWithJob, Idempotency, InsertOutcome, NewBackup, PortError, PortErrorKind,
};
use milvault_domain::progress::Progress;
use milvault_domain::retention::expiry;
use serde::Serialize;

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

impl Service {
    /// Accepts a backup: both rows are written when this returns, and the work begins when its turn comes. A
    /// repeated request (same idempotency key) gets the pair of the first.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the cluster, `Conflict` with the job's id when a manual backup of the cluster
    /// is pending or in progress or when the key was used for another request, `Busy`, `Unavailable`.
    pub async fn request_backup(&self, request: BackupRequest) -> Result<BackupWithJob, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_backup(request).await }).await
    }

    /// Accepts a check of a backup. The row is written when this returns.
    ///
    /// # Errors
    /// `NotFound` for the backup, `Conflict` when it is not available, `Busy`, `Unavailable`.
    pub async fn request_verify(&self, request: VerifyRequest) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_verify(request).await }).await
    }

    async fn accept_backup(&self, request: BackupRequest) -> Result<BackupWithJob, ServiceError> {
        check_backup_texts(request.name.as_deref(), request.description.as_deref())?;
        let request = BackupRequest { scope: request.scope.normalized()?, ..request };
        let idempotency = idempotency(&request)?;
        let cluster = self.cluster(request.cluster_id).await?;
        let new = self.new_backup(request, &cluster, idempotency)?;
        match self.deps().catalog.insert_backup(&new).await.map_err(|error| gone_or(error, &cluster))? {
            InsertOutcome::Created => {}
            InsertOutcome::Duplicate(pair) => return Ok(*pair),
            InsertOutcome::KeyReused(job_id) => {
                return Err(ServiceError::Conflict {
                    message: format!(
                        "the idempotency key was used for another request, which made job {job_id}"
                    ),
                    job_id: Some(job_id),
                });
            }
            InsertOutcome::Busy(job_id) => {
                return Err(ServiceError::Conflict {
                    message: format!(
                        "job {job_id} is making a backup of this cluster; wait for its end or cancel it"
                    ),
                    job_id: Some(job_id),
                });
            }
        }
        let job = self.hand_over(new.job).await?;
        Ok(BackupWithJob { backup: new.backup, job })
    }

    fn new_backup(
        &self,
        request: BackupRequest,
        cluster: &Cluster,
        idempotency: Option<Idempotency>,
    ) -> Result<NewBackup, InvalidInput> {
        let now = self.deps().clock.now();
        let backup = Backup {
            id: BackupId::from_uuid(self.deps().ids.new_uuid()),
            project_id: cluster.project_id,
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            repository_id: cluster.repository_id,
            name: request.name.unwrap_or_else(|| default_name(&cluster.name, now)),
            description: request.description.unwrap_or_default(),
            creation_method: request.creation_method,
            status: BackupStatus::Creating,
            created_by: request.created_by,
            created_at: now,
            completed_at: None,
            expires_at: expiry(request.creation_method, request.retention_days, now)?,
            facts: None,
            scope: request.scope,
        };
        let job = self.new_job(&backup, describe(&backup.scope, &cluster.name), None, &backup.created_by);
        Ok(NewBackup { backup, job, idempotency })
    }

    async fn accept_verify(&self, request: VerifyRequest) -> Result<Job, ServiceError> {
        let backup = self.deps().catalog.backup(request.backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &request.backup_id))?;
        if backup.status != BackupStatus::Available {
            let state = match backup.status {
                BackupStatus::Creating => "is still being made",
                BackupStatus::Failed => "failed and has nothing to verify",
                BackupStatus::Deleted => "is deleted",
                BackupStatus::Available => "is available",
            };
            let message = format!("backup {} {state}; only available backups can be verified", backup.id);
            return Err(ServiceError::Conflict { message, job_id: None });
        }
        let description = format!("Verify of backup \"{}\"", backup.name);
        let job = self.new_job(&backup, description, Some(request.level), &request.created_by);
        self.deps().catalog.insert_job(&job).await?;
        self.hand_over(job).await
    }

    fn new_job(&self, backup: &Backup, description: String, verify: Option<VerifyLevel>, by: &str) -> Job {
        Job {
            id: JobId::from_uuid(self.deps().ids.new_uuid()),
            project_id: backup.project_id,
            cluster_id: backup.cluster_id,
            job_type: if verify.is_some() { JobType::Verify } else { JobType::Backup },
            state: JobState::Pending,
            phase: None,
            description,
            created_by: by.to_owned(),
            created_at: self.deps().clock.now(),
            started_at: None,
            ended_at: None,
            failure: None,
            backup_id: Some(backup.id),
            verify_level: verify,
            attempt: 0,
            progress: Progress::default(),
        }
    }

    /// Tells the cluster's actor of a job whose row is written. If the actor does not take it, the row is ended.
    async fn hand_over(&self, job: Job) -> Result<Job, ServiceError> {
        self.core().live.publish(&job);
        match self.host().submit(&job).await {
            // A shutdown came in between. The job is accepted and durable: the next start takes it up, like all
            // others that wait.
            Ok(()) | Err(Refusal::Draining) => Ok(job),
            Err(refusal) => {
                let error = refused(refusal);
                let now = self.deps().clock.now();
                let reason = error.to_string();
                let ended =
                    self.deps().catalog.transition_job(job.id, JobState::Failed, Some(&reason), now).await?;
                self.core().live.publish(&ended);
                Err(error)
            }
        }
    }
}

/// The cluster was there a moment ago; when the catalog misses it now, it was removed in between.
fn gone_or(error: PortError, cluster: &Cluster) -> ServiceError {
    if error.kind() == PortErrorKind::NotFound { not_found("cluster", &cluster.id) } else { error.into() }
}

/// `<cluster>-<YYYYMMDD-HHMMSS>` in UTC, the cluster's name shortened so that the whole is a valid name.
fn default_name(cluster_name: &str, now: DateTime<Utc>) -> String {
    let time = now.format("-%Y%m%d-%H%M%S").to_string();
    let room = NAME_CHARS_MAX - time.chars().count();
    let name: String = cluster_name.chars().take(room).collect();
    format!("{}{time}", name.trim_end())
}

fn describe(scope: &BackupScope, cluster_name: &str) -> String {
    let of_what = match scope {
        BackupScope::Cluster => return format!("Backup of cluster \"{cluster_name}\""),
        BackupScope::Databases(names) => counted(names.len(), "database"),
        BackupScope::Collections(names) => counted(names.len(), "collection"),
    };
    format!("Backup of {of_what} of cluster \"{cluster_name}\"")
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Everything that makes a request this request and not another; who sends it does not.
#[derive(Serialize)]
struct RequestFingerprint<'a> {
    scope: &'a BackupScope,
    name: Option<&'a str>,
    description: Option<&'a str>,
    retention_days: Option<u32>,
}

fn idempotency(request: &BackupRequest) -> Result<Option<Idempotency>, ServiceError> {
    let Some(key) = &request.idempotency_key else { return Ok(None) };
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || key.chars().any(char::is_control) {
        let rule = format!("must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes and no control characters");
        return Err(InvalidInput::new("idempotencyKey", rule).into());
    }
    let fingerprint = RequestFingerprint {
        scope: &request.scope,
        name: request.name.as_deref(),
        description: request.description.as_deref(),
        retention_days: request.retention_days,
    };
    let bytes = serde_json::to_vec(&fingerprint).map_err(|error| {
        ServiceError::Internal(PortError::with_source(
            PortErrorKind::Internal,
            "cannot encode the request",
            error,
        ))
    })?;
    Ok(Some(Idempotency { key: key.clone(), request_hash: *blake3::hash(&bytes).as_bytes() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::TimeZone;
    use milvault_domain::error::check_name;

    #[test]
    fn default_names_are_valid_names() {
        let now = Utc.with_ymd_and_hms(2026, 3, 4, 5, 6, 7).unwrap();
        assert_eq!(default_name("prod", now), "prod-20260304-050607");
        for name in ["x".repeat(64), "ü".repeat(64), format!("{} y", "x".repeat(47))] {
            check_name("name", &default_name(&name, now)).unwrap();
        }
    }
}
