//! Requests to take over backups that milvus-backup made.

use super::Service;
use super::backups::PendingJob;
use super::repositories::unusable;
use crate::error::ServiceError;
use crate::request::AdoptBackupRequest;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, CreationMethod};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::{InvalidInput, NAME_CHARS_MAX, check_name};
use milvault_domain::ids::BackupId;
use milvault_domain::job::JobType;
use milvault_domain::job_request::{AdoptRequest, JobRequest};
use milvault_domain::ports::{BackupWithJob, ForeignBackup, NewBackup, WantedDirectories};
use milvault_domain::storage::StorageConfig;

/// Longest name of a directory, in bytes.
const DIRECTORY_BYTES_MAX: usize = 255;

impl Service {
    /// Lists backups that milvus-backup left in a place, by name, those included that cannot be taken over.
    ///
    /// # Errors
    /// `InvalidInput` for a place that cannot be read; `Unavailable` when it cannot be reached.
    pub async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> Result<Vec<ForeignBackup>, ServiceError> {
        self.admit()?;
        self.deps().stores.list_foreign_backups(storage, wanted).await.map_err(|error| unusable(&error))
    }

    /// Accepts the takeover of a directory of milvus-backup as a backup of the cluster. Both rows are written when
    /// this returns, and the work begins when its turn comes. The backup is as old as the directory.
    ///
    /// # Errors
    /// `InvalidInput` for a directory that does not exist or cannot be taken over; `NotFound` for the cluster; `Busy`,
    /// `Unavailable`.
    pub async fn adopt_backup(&self, request: AdoptBackupRequest) -> Result<BackupWithJob, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_adoption(request).await }).await
    }

    async fn accept_adoption(&self, request: AdoptBackupRequest) -> Result<BackupWithJob, ServiceError> {
        request.name.as_deref().map_or(Ok(()), |name| check_name("name", name))?;
        check_directory(&request.directory)?;
        let cluster = self.cluster(request.cluster_id).await?;
        let place = request.storage.display_url();
        let idempotency =
            self.key_of(&("adoptBackup", &place, &request.directory, request.name.as_deref()))?;
        if let Some(job) = self.repeated(cluster.id, JobType::Adopt, idempotency.as_ref()).await? {
            return self.with_backup(job).await;
        }
        let wanted = WantedDirectories::Named(request.directory.clone());
        let listed = self.list_foreign_backups(&request.storage, &wanted).await?.pop();
        let listed = listed.ok_or_else(|| not_adoptable("names no directory that milvus-backup made"))?;
        if let Some(problem) = &listed.problem {
            return Err(not_adoptable(&format!("cannot be taken over: {problem}")).into());
        }
        let new = NewBackup { idempotency, ..self.adopted(request, &listed, &cluster) };
        self.accept_new_backup(new, &cluster).await
    }

    fn adopted(&self, request: AdoptBackupRequest, listed: &ForeignBackup, cluster: &Cluster) -> NewBackup {
        let made_at = listed.created_at_ms.and_then(DateTime::<Utc>::from_timestamp_millis);
        let backup = Backup {
            id: BackupId::from_uuid(self.deps().ids.new_uuid()),
            project_id: cluster.project_id,
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            repository_id: cluster.repository_id,
            name: request.name.unwrap_or_else(|| name_of(&request.directory)),
            description: format!("Taken over from milvus-backup's directory \"{}\"", request.directory),
            scope: BackupScope::Cluster,
            creation_method: CreationMethod::Manual,
            status: BackupStatus::Creating,
            created_by: request.created_by,
            created_at: made_at.unwrap_or_else(|| self.deps().clock.now()),
            completed_at: None,
            expires_at: None,
            facts: None,
            copied_from: None,
        };
        let description =
            format!("Takeover of \"{}\" as a backup of cluster \"{}\"", request.directory, cluster.name);
        let job = self.pending_job(PendingJob::about(&backup, JobType::Adopt, description));
        let adopt = AdoptRequest { storage: request.storage, directory: request.directory };
        let request = Some(JobRequest::Adopt(adopt));
        NewBackup { backup, job, request, idempotency: None, asked_again: false }
    }
}

/// The name of a directory comes from outside and becomes part of paths.
fn check_directory(directory: &str) -> Result<(), InvalidInput> {
    let fits = (1..=DIRECTORY_BYTES_MAX).contains(&directory.len());
    let is_name = !directory.contains(['/', '\\']) && !directory.chars().any(char::is_control);
    if fits && is_name && directory != "." && directory != ".." {
        return Ok(());
    }
    Err(not_adoptable(&format!("must be the name of one directory, 1 to {DIRECTORY_BYTES_MAX} bytes long")))
}

fn not_adoptable(rule: &str) -> InvalidInput {
    InvalidInput::new("directory", rule)
}

/// The directory's name, shortened where it is no valid name of a backup.
fn name_of(directory: &str) -> String {
    let shortened: String = directory.trim().chars().take(NAME_CHARS_MAX).collect();
    shortened.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_one_name_and_gives_a_valid_name() {
        for directory in
            ["nightly", " padded ", &"x".repeat(255), &format!("{} y{}", "x".repeat(62), "z".repeat(9))]
        {
            check_directory(directory).unwrap();
            check_name("name", &name_of(directory)).unwrap();
        }
        for directory in ["", ".", "..", "a/b", "../a", "a\\b", "a\0b", &"x".repeat(256)] {
            assert_eq!(check_directory(directory).unwrap_err().field, "directory", "{directory:?}");
        }
    }
}
