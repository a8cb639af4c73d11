//! Requests for backups and verifies.

use super::clusters::check_registered;
use super::keyed::key_reused;
use super::{Service, not_found, refused};
use crate::error::ServiceError;
use crate::messages::Refusal;
use crate::request::{BackupRequest, VerifyRequest};
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, check_backup_texts};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{BackupId, ClusterId, JobId, ProjectId};
use milvault_domain::job::{Job, JobState, JobType, VerifyLevel};
use milvault_domain::ports::{
    BackupWithJob, Idempotency, InsertOutcome, NewBackup, PortError, PortErrorKind,
};
use milvault_domain::progress::Progress;
use milvault_domain::retention::expiry;
use serde::Serialize;

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
        let fingerprint = RequestFingerprint::of(&request);
        let idempotency = self.key_or(request.idempotency_key.clone(), &fingerprint)?;
        let cluster = self.cluster(request.cluster_id).await?;
        check_registered(&cluster)?;
        let new = self.new_backup(request, &cluster, idempotency)?;
        self.accept_new_backup(new, &cluster).await
    }

    pub(super) fn new_backup(
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
            // Without a name, the catalog gives one.
            name: request.name.unwrap_or_default(),
            description: request.description.unwrap_or_default(),
            creation_method: request.creation_method,
            status: BackupStatus::Creating,
            created_by: request.created_by,
            created_at: now,
            completed_at: None,
            expires_at: expiry(request.creation_method, request.retention_days, now)?,
            facts: None,
            copied_from: None,
            scope: request.scope,
        };
        let description = describe(&backup.scope, &cluster.name);
        let job = self.pending_job(PendingJob::about(&backup, JobType::Backup, description));
        Ok(NewBackup { backup, job, request: None, idempotency, asked_again: self.retry_of.is_some() })
    }

    async fn accept_verify(&self, request: VerifyRequest) -> Result<Job, ServiceError> {
        let idempotency = self.key_of(&("verifyBackup", request.backup_id, request.level))?;
        let backup = self.deps().catalog.backup(request.backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &request.backup_id))?;
        let earlier = self.repeated(backup.cluster_id, JobType::Verify, idempotency.as_ref()).await?;
        if let Some(job) = earlier {
            return Ok(job);
        }
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
        let pending = PendingJob {
            verify_level: Some(request.level),
            created_by: request.created_by,
            ..PendingJob::about(&backup, JobType::Verify, description)
        };
        let job = self.pending_job(pending);
        self.add_job(job, idempotency.as_ref()).await
    }

    /// Writes a backup with its job, and hands the job over.
    pub(super) async fn accept_new_backup(
        &self,
        new: NewBackup,
        cluster: &Cluster,
    ) -> Result<BackupWithJob, ServiceError> {
        match self.deps().catalog.insert_backup(&new).await.map_err(|error| gone_or(error, cluster))? {
            InsertOutcome::Created => {}
            InsertOutcome::Duplicate(pair) => return Ok(*pair),
            InsertOutcome::KeyReused(job_id) => return Err(key_reused(job_id)),
            InsertOutcome::NameTaken(other) => {
                let message = format!(
                    "backup {other} of the cluster is named `{}`; choose another name",
                    new.backup.name
                );
                return Err(ServiceError::Conflict { message, job_id: None });
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
        if !new.backup.name.is_empty() {
            return Ok(BackupWithJob { backup: new.backup, job });
        }
        // The catalog gave it a name.
        let backup = self.deps().catalog.backup(new.backup.id).await?;
        Ok(BackupWithJob { backup: backup.ok_or_else(|| not_found("backup", &new.backup.id))?, job })
    }

    /// The row of a job that waits for its turn.
    pub(super) fn pending_job(&self, pending: PendingJob) -> Job {
        Job {
            id: JobId::from_uuid(self.deps().ids.new_uuid()),
            project_id: pending.project_id,
            cluster_id: pending.cluster_id,
            job_type: pending.job_type,
            state: JobState::Pending,
            phase: None,
            description: pending.description,
            created_by: pending.created_by,
            created_at: self.deps().clock.now(),
            started_at: None,
            ended_at: None,
            failure: None,
            backup_id: Some(pending.backup_id),
            verify_level: pending.verify_level,
            attempt: 0,
            parks: 0,
            progress: Progress::default(),
        }
    }

    /// Tells the cluster's actor of a job whose row is written. If work on the cluster was given up here, the row is ended
    /// and the key of the request is free again.
    pub(super) async fn hand_over(&self, job: Job) -> Result<Job, ServiceError> {
        self.core().live.publish(&job);
        match self.host().submit(&job).await {
            // A shutdown came in between. The job is accepted and durable: the next start takes it up, like all
            // others that wait.
            Ok(()) | Err(Refusal::Draining) => Ok(job),
            Err(refusal) => {
                let error = refused(refusal);
                let now = self.deps().clock.now();
                let reason = error.to_string();
                let Some(ended) = self.deps().catalog.refuse_job(job.id, &reason, now).await? else {
                    // A look for open jobs has found a place for it in between.
                    return Ok(self.core().job(job.id).await?.unwrap_or(job));
                };
                self.core().live.publish(&ended);
                Err(error)
            }
        }
    }
}

/// What tells a new job from others.
pub(super) struct PendingJob {
    pub(super) project_id: ProjectId,
    /// The cluster whose turn it needs.
    pub(super) cluster_id: ClusterId,
    pub(super) job_type: JobType,
    pub(super) backup_id: BackupId,
    pub(super) verify_level: Option<VerifyLevel>,
    pub(super) description: String,
    pub(super) created_by: String,
}

impl PendingJob {
    /// A job about a backup that works on the cluster of that backup, for whoever made it.
    pub(super) fn about(backup: &Backup, job_type: JobType, description: String) -> Self {
        Self {
            project_id: backup.project_id,
            cluster_id: backup.cluster_id,
            job_type,
            backup_id: backup.id,
            verify_level: None,
            description,
            created_by: backup.created_by.clone(),
        }
    }
}

/// The cluster was there a moment ago; when the catalog misses it now, it was removed in between.
fn gone_or(error: PortError, cluster: &Cluster) -> ServiceError {
    if error.kind() == PortErrorKind::NotFound { not_found("cluster", &cluster.id) } else { error.into() }
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

impl<'a> RequestFingerprint<'a> {
    fn of(request: &'a BackupRequest) -> Self {
        Self {
            scope: &request.scope,
            name: request.name.as_deref(),
            description: request.description.as_deref(),
            retention_days: request.retention_days,
        }
    }
}
