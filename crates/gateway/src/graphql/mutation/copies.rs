//! Copying backups to other repositories.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::backup::Backup;
use crate::graphql::model::job::Job;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::CopyRequest;
use milvault_domain::access::Action;

/// Mutations of copies.
#[derive(Default)]
pub(crate) struct CopyMutation;

/// A copy to be made.
#[derive(InputObject)]
pub(crate) struct CopyBackupInput {
    /// Of which backup; it must be `AVAILABLE`.
    backup_id: ID,
    /// Where it goes: another repository of the same project than the one that the backup lies in.
    repository_id: ID,
    /// Name, 1 to 64 characters, unique among the backups of the cluster; absent for the backup's with `-copy` behind it.
    name: Option<String>,
    /// Description, at most 1,024 characters; absent for the backup's.
    description: Option<String>,
    /// Days to keep the copy, 1 to 30, counted from now; null or absent keeps it for ever.
    retention_days: Option<i32>,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key
    /// gives the same copy and job instead of another.
    idempotency_key: Option<String>,
}

/// A copy that was asked for, with the job that makes it.
#[derive(SimpleObject)]
pub(crate) struct CopyBackupPayload {
    /// The copy: a backup of its own, in status `CREATING` when it is new.
    backup: Backup,
    /// The job that makes it.
    job: Job,
}

impl CopyBackupInput {
    fn check(self, created_by: String) -> Result<CopyRequest, GatewayError> {
        Ok(CopyRequest {
            backup_id: parse_id("backupId", &self.backup_id)?,
            repository_id: parse_id("repositoryId", &self.repository_id)?,
            name: self.name,
            description: self.description,
            retention_days: not_negative("retentionDays", self.retention_days)?,
            idempotency_key: self.idempotency_key,
            created_by,
        })
    }
}

#[Object]
impl CopyMutation {
    /// Copies a backup to another repository. The copy is a backup of its own, with its own retention; it is verified,
    /// held, restored and deleted like any other, and stays when the first one goes. Milvus is not asked, so it works for
    /// a cluster that is down or removed. Until the job ends, the first backup cannot be deleted and does not expire.
    async fn copy_backup(
        &self,
        context: &Context<'_>,
        input: CopyBackupInput,
    ) -> Result<CopyBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let request = input.check(caller.principal.name.clone())?;
        access::backup(context, Action::ManageBackups, request.backup_id).await?;
        let made = backend.service.request_copy(request).await?;
        context.note_target(made.backup.id);
        context.note("jobId", made.job.id);
        Ok(CopyBackupPayload { backup: made.backup.into(), job: Job::now(made.job, backend) })
    }
}
