//! Copies of backups in other repositories: those that people ask for, and those that policies do.

use super::backups::PendingJob;
use super::{Service, not_found};
use crate::error::ServiceError;
use crate::request::CopyRequest;
use milvault_domain::backup::{Backup, BackupStatus, CopyOrigin, CreationMethod, check_backup_texts};
use milvault_domain::error::{InvalidInput, NAME_CHARS_MAX};
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::JobType;
use milvault_domain::ports::{
    BackupWithJob, DueCopy, Idempotency, InsertCopyOutcome, NewBackup, NewCopy, PortError, PortErrorKind,
};
use milvault_domain::repository::Repository;
use milvault_domain::retention::expiry;
use milvault_domain::schedule::CopyPolicy;
use serde::Serialize;

/// Names that are tried for a copy that was given none.
const NAMES_MAX: u32 = 100;
/// Due copies that are begun by one run. What is left over is begun by the next.
const DUE_COPIES_MAX: u32 = 200;
/// Who asks for the copies of policies.
const SCHEDULE: &str = "schedule";

impl Service {
    /// Accepts a copy of a backup in another repository. Both rows are written when this returns, and the work begins
    /// when its turn comes. The cluster need not be in service.
    ///
    /// # Errors
    /// `InvalidInput`, also for the repository that the backup lies in; `NotFound` for the backup, and for a repository
    /// that is not of its project; `Conflict` when the backup is not available, the name is taken, or the key was used
    /// for another request; `Busy`, `Unavailable`.
    pub async fn request_copy(&self, request: CopyRequest) -> Result<BackupWithJob, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_copy(request).await }).await
    }

    async fn accept_copy(&self, request: CopyRequest) -> Result<BackupWithJob, ServiceError> {
        check_backup_texts(request.name.as_deref(), request.description.as_deref())?;
        let fingerprint = RequestFingerprint {
            copy_of: request.backup_id,
            repository_id: request.repository_id,
            name: request.name.as_deref(),
            description: request.description.as_deref(),
            retention_days: request.retention_days,
        };
        let idempotency = self.key_or(request.idempotency_key.clone(), &fingerprint)?;
        let source = self.deps().catalog.backup(request.backup_id).await?;
        let source = source.ok_or_else(|| not_found("backup", &request.backup_id))?;
        let repository = self.repository_of(source.project_id, request.repository_id).await?;
        if repository.id == source.repository_id {
            let rule =
                format!("must name another repository than \"{}\", where the backup lies", repository.name);
            return Err(InvalidInput::new("repositoryId", rule).into());
        }
        let backup_id = source.id;
        match self.add_copy(&request, source, &repository, idempotency, false).await? {
            Added::Made(pair) => Ok(*pair),
            Added::Refused(InsertCopyOutcome::KeyReused(job_id)) => Err(ServiceError::Conflict {
                message: format!("the idempotency key was used for another request, which made job {job_id}"),
                job_id: Some(job_id),
            }),
            Added::Refused(InsertCopyOutcome::SourceNotAvailable(status)) => {
                let state = match status {
                    BackupStatus::Creating => "is still being made; wait for its end",
                    BackupStatus::Failed => "failed and holds nothing to copy; copy another backup",
                    BackupStatus::Deleted | BackupStatus::Available => "is deleted; copy another backup",
                };
                let message = format!("backup {backup_id} {state}");
                Err(ServiceError::Conflict { message, job_id: None })
            }
            Added::Refused(_) => {
                let name = request.name.unwrap_or_default();
                let message = format!("the cluster has a backup named `{name}` already; choose another name");
                Err(ServiceError::Conflict { message, job_id: None })
            }
        }
    }

    /// Writes a copy with its job, and hands the job over. A copy without a name gets the first one that is free.
    async fn add_copy(
        &self,
        request: &CopyRequest,
        source: Backup,
        repository: &Repository,
        idempotency: Option<Idempotency>,
        is_due: bool,
    ) -> Result<Added, ServiceError> {
        let now = self.deps().clock.now();
        let backup = Backup {
            id: BackupId::from_uuid(self.deps().ids.new_uuid()),
            repository_id: repository.id,
            name: String::new(),
            description: request.description.clone().unwrap_or_else(|| source.description.clone()),
            status: BackupStatus::Creating,
            created_by: request.created_by.clone(),
            created_at: now,
            completed_at: None,
            // Kept for ever unless days are given, however the backup came to be.
            expires_at: expiry(CreationMethod::Manual, request.retention_days, now)?,
            facts: None,
            copied_from: Some(CopyOrigin { backup_id: source.id, repository_id: source.repository_id }),
            ..source.clone()
        };
        let description = format!("Copy of backup \"{}\" to repository \"{}\"", source.name, repository.name);
        let job = self.pending_job(PendingJob::about(&backup, JobType::Copy, description));
        let backup = NewBackup { backup, job, request: None, idempotency, asked_again: false };
        let mut new = NewCopy { backup, is_due };
        for number in 1..=NAMES_MAX {
            new.backup.backup.name = match &request.name {
                Some(name) => name.clone(),
                None => copy_name(&source.name, number),
            };
            match self.deps().catalog.insert_copy(&new).await? {
                InsertCopyOutcome::Created => {
                    let NewBackup { backup, job, .. } = new.backup;
                    let job = if is_due {
                        // The wish of the policy has become this job, so it must not be lost.
                        self.offer(&job).await;
                        job
                    } else {
                        self.hand_over(job).await?
                    };
                    return Ok(Added::Made(Box::new(BackupWithJob { backup, job })));
                }
                InsertCopyOutcome::Duplicate(pair) => return Ok(Added::Made(pair)),
                InsertCopyOutcome::NameTaken if request.name.is_none() => {}
                refused => return Ok(Added::Refused(refused)),
            }
        }
        Err(ServiceError::Conflict {
            message: format!("the cluster has {NAMES_MAX} copies with the usual name; choose a name"),
            job_id: None,
        })
    }

    /// A repository of a project. One of another project is said not to exist.
    async fn repository_of(
        &self,
        project_id: ProjectId,
        repository_id: RepositoryId,
    ) -> Result<Repository, ServiceError> {
        let repository = self.deps().catalog.repository(repository_id).await?;
        repository
            .filter(|repository| repository.project_id == project_id)
            .ok_or_else(|| not_found("repository", &repository_id))
    }

    /// Checks where a policy's copies are to go.
    pub(super) async fn check_copy_policy(
        &self,
        cluster_id: ClusterId,
        copy: CopyPolicy,
    ) -> Result<(), ServiceError> {
        let cluster = self.cluster(cluster_id).await?;
        let repository = self.repository_of(cluster.project_id, copy.repository_id).await?;
        if repository.id == cluster.repository_id {
            let rule =
                format!("must name another repository than \"{}\", where the backups go", repository.name);
            return Err(InvalidInput::new("copy", rule).into());
        }
        Ok(())
    }

    /// Begins the copies that policies ask for. One that cannot be begun holds up no other.
    pub(crate) async fn run_due_copies(&self) {
        let due = match self.deps().catalog.due_copies(DUE_COPIES_MAX).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "cannot look at the due copies; tried again at the next time");
                return;
            }
        };
        for copy in due {
            if let Err(error) = self.begin_due_copy(copy).await {
                tracing::warn!(backup_id = %copy.backup_id, %error, "a due copy is not begun; tried again at the next time");
            }
        }
    }

    async fn begin_due_copy(&self, due: DueCopy) -> Result<(), ServiceError> {
        let catalog = &self.deps().catalog;
        let source = catalog.backup(due.backup_id).await?;
        let repository = catalog.repository(due.repository_id).await?;
        let (Some(source), Some(repository)) = (source, repository) else {
            return self.forget(due, "the backup or the repository is not known any more").await;
        };
        if repository.project_id != source.project_id || repository.id == source.repository_id {
            return self
                .forget(due, "the backup lies in that repository, or the repository is of another project")
                .await;
        }
        let request = CopyRequest {
            backup_id: due.backup_id,
            repository_id: due.repository_id,
            name: None,
            description: None,
            retention_days: Some(due.retention_days),
            idempotency_key: None,
            created_by: SCHEDULE.to_owned(),
        };
        match self.add_copy(&request, source, &repository, None, true).await? {
            Added::Made(pair) => {
                tracing::info!(backup_id = %due.backup_id, job_id = %pair.job.id, "a copy of an automatic backup is due");
                Ok(())
            }
            Added::Refused(InsertCopyOutcome::SourceNotAvailable(_)) => {
                self.forget(due, "the backup is deleted").await
            }
            // Another server began it.
            Added::Refused(InsertCopyOutcome::NotDue) => Ok(()),
            Added::Refused(outcome) => Err(ServiceError::Internal(PortError::new(
                PortErrorKind::Internal,
                format!("a due copy was not accepted: {outcome:?}"),
            ))),
        }
    }

    async fn forget(&self, due: DueCopy, why: &str) -> Result<(), ServiceError> {
        tracing::warn!(backup_id = %due.backup_id, repository_id = %due.repository_id, why, "a due copy cannot be made");
        Ok(self.deps().catalog.forget_due_copy(due.backup_id).await?)
    }
}

/// What became of a copy.
enum Added {
    /// It is there, now or since an earlier request.
    Made(Box<BackupWithJob>),
    /// It was not accepted.
    Refused(InsertCopyOutcome),
}

/// `<backup>-copy`, and from the second on `<backup>-copy-2`; the backup's name is shortened so that the whole is a
/// valid name.
fn copy_name(backup_name: &str, number: u32) -> String {
    let ending = if number == 1 { String::from("-copy") } else { format!("-copy-{number}") };
    let room = NAME_CHARS_MAX - ending.chars().count();
    let name: String = backup_name.chars().take(room).collect();
    format!("{}{ending}", name.trim_end())
}

/// Everything that makes a request this request and not another; who sends it does not.
#[derive(Serialize)]
struct RequestFingerprint<'a> {
    copy_of: BackupId,
    repository_id: RepositoryId,
    name: Option<&'a str>,
    description: Option<&'a str>,
    retention_days: Option<u32>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::error::check_name;

    #[test]
    fn names_of_copies_are_valid_names() {
        assert_eq!(copy_name("nightly", 1), "nightly-copy");
        assert_eq!(copy_name("nightly", 2), "nightly-copy-2");
        for name in ["x".repeat(64), "ü".repeat(64), format!("{} y", "x".repeat(57))] {
            for number in [1, 2, NAMES_MAX] {
                check_name("name", &copy_name(&name, number)).unwrap();
            }
        }
    }
}
