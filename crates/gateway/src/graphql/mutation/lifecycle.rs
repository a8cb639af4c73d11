//! Changing, holding and deleting backups, and sweeping what they leave.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::backup::Backup;
use crate::graphql::model::job::Job;
use crate::graphql::model::lifecycle::BackupHold;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_actors::BackupPatch;
use milvault_domain::access::Action;
use milvault_domain::ids::HoldId;
use milvault_domain::keep::Hold;

/// Mutations of backups that are made.
#[derive(Default)]
pub(crate) struct LifecycleMutation;

/// Changes of a backup. What is absent stays as it is.
#[derive(InputObject)]
pub(crate) struct UpdateBackupInput {
    /// Which backup; it must not be deleted.
    backup_id: ID,
    /// New name, 1 to 64 characters, unique among the backups of the cluster that are being made or available.
    name: Option<String>,
    /// New description, at most 1,024 characters.
    description: Option<String>,
    /// Days to keep it, 1 to 30, counted from when it was made; null keeps it for ever.
    retention_days: MaybeUndefined<i32>,
}

/// A backup that was changed.
#[derive(SimpleObject)]
pub(crate) struct UpdateBackupPayload {
    /// The backup as it is now. Its manifest keeps what it was made with.
    backup: Backup,
}

/// A hold to be put on a backup.
#[derive(InputObject)]
pub(crate) struct HoldBackupInput {
    /// Which backup; it must be `AVAILABLE` or `CREATING`.
    backup_id: ID,
    /// Why it has to stay, at most 1,024 characters.
    reason: String,
    /// When the hold ends by itself; absent for never.
    until: Option<DateTime<Utc>>,
}

/// A backup that is held.
#[derive(SimpleObject)]
pub(crate) struct HoldBackupPayload {
    /// The hold.
    hold: BackupHold,
}

/// A hold to be taken off.
#[derive(InputObject)]
pub(crate) struct ReleaseHoldInput {
    /// Which hold.
    hold_id: ID,
}

/// A hold that is off.
#[derive(SimpleObject)]
pub(crate) struct ReleaseHoldPayload {
    /// The hold.
    hold: BackupHold,
}

/// A backup to be deleted.
#[derive(InputObject)]
pub(crate) struct DeleteBackupInput {
    /// Which backup.
    backup_id: ID,
}

/// A backup that was deleted.
#[derive(SimpleObject)]
pub(crate) struct DeleteBackupPayload {
    /// The backup, in status `DELETED`.
    backup: Backup,
    /// The job that deletes it or has done so; null when its retention was over before.
    job: Option<Job>,
}

/// A cluster to be swept.
#[derive(InputObject)]
pub(crate) struct SweepClusterInput {
    /// Which cluster.
    cluster_id: ID,
}

/// A sweep that was asked for.
#[derive(SimpleObject)]
pub(crate) struct SweepClusterPayload {
    /// The job that does it; the open one when there was one.
    job: Job,
}

impl UpdateBackupInput {
    fn check(self) -> Result<BackupPatch, GatewayError> {
        let retention_days = match self.retention_days {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(days) => Some(not_negative("retentionDays", Some(days))?),
        };
        Ok(BackupPatch { name: self.name, description: self.description, retention_days })
    }
}

#[Object]
impl LifecycleMutation {
    /// Changes name, description or retention of a backup.
    async fn update_backup(
        &self,
        context: &Context<'_>,
        input: UpdateBackupInput,
    ) -> Result<UpdateBackupPayload, GatewayError> {
        let backend = context.backend()?;
        let backup_id = parse_id("backupId", &input.backup_id)?;
        access::backup(context, Action::ManageBackups, backup_id).await?;
        let backup = backend.service.update_backup(backup_id, input.check()?).await?;
        Ok(UpdateBackupPayload { backup: backup.into() })
    }

    /// Holds a backup: it can neither be deleted nor expire until the hold ends. A backup may have several holds.
    async fn hold_backup(
        &self,
        context: &Context<'_>,
        input: HoldBackupInput,
    ) -> Result<HoldBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let backup_id = parse_id("backupId", &input.backup_id)?;
        access::backup(context, Action::ManageBackups, backup_id).await?;
        let hold = Hold { reason: input.reason, until: input.until };
        let hold = backend.service.hold_backup(backup_id, hold, caller.principal.name.clone()).await?;
        context.note("holdId", hold.id);
        Ok(HoldBackupPayload { hold: BackupHold::at(hold, backend.service.now()) })
    }

    /// Takes a hold off. Doing it again changes nothing.
    async fn release_hold(
        &self,
        context: &Context<'_>,
        input: ReleaseHoldInput,
    ) -> Result<ReleaseHoldPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let hold_id: HoldId = parse_id("holdId", &input.hold_id)?;
        let hold = backend.catalog.hold(hold_id).await?;
        let hold = hold.ok_or_else(|| GatewayError::not_found("hold", hold_id))?;
        let backup = backend.catalog.backup(hold.backup_id).await?;
        // A hold on a backup that the caller may not see is told by the hold's own name.
        let backup = caller.visible(backup).ok_or_else(|| GatewayError::not_found("hold", hold_id))?;
        caller.permit(Action::ManageBackups, Some(backup), hold.backup_id)?;
        context.note("backupId", hold.backup_id);
        let hold = backend.service.release_hold(hold_id, caller.principal.name.clone()).await?;
        Ok(ReleaseHoldPayload { hold: BackupHold::at(hold, backend.service.now()) })
    }

    /// Deletes a backup. It is out of reach when this answers; its files go with a later sweep. A backup that is held, or
    /// that a job which has not ended needs, is refused with `CONFLICT`. Asking again gives the same job.
    async fn delete_backup(
        &self,
        context: &Context<'_>,
        input: DeleteBackupInput,
    ) -> Result<DeleteBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let backup_id = parse_id("backupId", &input.backup_id)?;
        access::backup(context, Action::ManageBackups, backup_id).await?;
        let deleted = backend.service.delete_backup(backup_id, caller.principal.name.clone()).await?;
        if let Some(job) = &deleted.job {
            context.note("jobId", job.id);
        }
        let job = deleted.job.map(|job| Job::now(job, backend));
        Ok(DeleteBackupPayload { backup: deleted.backup.into(), job })
    }

    /// Removes what only deleted and failed backups of a cluster refer to, once their time of grace is over. It runs by
    /// itself when something is due.
    async fn sweep_cluster(
        &self,
        context: &Context<'_>,
        input: SweepClusterInput,
    ) -> Result<SweepClusterPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let cluster_id = parse_id("clusterId", &input.cluster_id)?;
        access::cluster(context, Action::ManageBackups, cluster_id).await?;
        let job = backend.service.request_sweep(cluster_id, caller.principal.name.clone()).await?;
        context.note("jobId", job.id);
        Ok(SweepClusterPayload { job: Job::now(job, backend) })
    }
}
