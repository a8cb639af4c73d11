//! Restoring, and what belongs to it: continuing, undoing, comparing, drills.

use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::Job;
use crate::graphql::model::restore::choice::CompareDepth;
use crate::graphql::model::restore::input::{RestoreBackupInput, RestoreItemInput, selection};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::DrillRequest;
use milvault_domain::access::Action;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::restore::RestoreRequest;

/// Mutations of restores.
#[derive(Default)]
pub(crate) struct RestoreMutation;

/// A restore that ended half-way and is to be continued.
#[derive(InputObject)]
pub(crate) struct ResumeRestoreInput {
    /// The restore; it has failed or was canceled.
    job_id: ID,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
}

/// A restore whose collections are to be removed again.
#[derive(InputObject)]
pub(crate) struct UndoRestoreInput {
    /// The restore; it has ended.
    job_id: ID,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
}

/// A comparison of a restore's collections with their backup.
#[derive(InputObject)]
pub(crate) struct VerifyRestoreInput {
    /// The restore; it has ended.
    job_id: ID,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
    /// How thoroughly.
    #[graphql(default_with = "CompareDepth::Keys")]
    depth: CompareDepth,
}

/// A restore for proof only.
#[derive(InputObject)]
pub(crate) struct DrillBackupInput {
    /// Which backup; it must be `AVAILABLE`.
    backup_id: ID,
    /// The cluster to try it on.
    target_cluster_id: ID,
    /// What of the backup, at most 10,000 entries; absent for everything.
    items: Option<Vec<RestoreItemInput>>,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
    /// How thoroughly to compare.
    #[graphql(default_with = "CompareDepth::Keys")]
    depth: CompareDepth,
}

/// A restore that was asked for.
#[derive(SimpleObject)]
pub(crate) struct RestoreBackupPayload {
    /// The job that does it; its `restore` shows plan and collections.
    job: Job,
}

/// The continuation of a restore.
#[derive(SimpleObject)]
pub(crate) struct ResumeRestorePayload {
    /// The new job that does it.
    job: Job,
}

/// The removal of what a restore made.
#[derive(SimpleObject)]
pub(crate) struct UndoRestorePayload {
    /// The new job that does it.
    job: Job,
}

/// A comparison that was asked for.
#[derive(SimpleObject)]
pub(crate) struct VerifyRestorePayload {
    /// The job that does it; its `compareReport` says what was found.
    job: Job,
}

/// A drill that was asked for.
#[derive(SimpleObject)]
pub(crate) struct DrillBackupPayload {
    /// The job that does it; its `compareReport` says what was found.
    job: Job,
}

#[Object]
impl RestoreMutation {
    /// Gives a backup's rows back to a cluster, exactly as they were at its cut. The job is written when this answers;
    /// the work goes on, watch it with `jobUpdated`. Ask `planRestore` with the same input first to see what would be
    /// done. A job that finds a conflict fails before it has touched anything.
    async fn restore_backup(
        &self,
        context: &Context<'_>,
        input: RestoreBackupInput,
    ) -> Result<RestoreBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let asked = input.check()?;
        permit_restore(context, &asked.request).await?;
        let created_by = caller.principal.name.clone();
        let job = backend.service.request_restore(asked.request, asked.idempotency_key, created_by).await?;
        context.note("jobId", job.id);
        Ok(RestoreBackupPayload { job: Job::now(job, backend) })
    }

    /// Restores what a restore that failed or was canceled left out, as it was asked for then, as a new job. Collections
    /// that are done stay as they are.
    async fn resume_restore(
        &self,
        context: &Context<'_>,
        input: ResumeRestoreInput,
    ) -> Result<ResumeRestorePayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let job_id: JobId = parse_id("jobId", &input.job_id)?;
        permit_restore_of(context, job_id).await?;
        let job = backend
            .service
            .keyed(input.idempotency_key)
            .resume_restore(job_id, caller.principal.name.clone())
            .await?;
        context.note("madeJobId", job.id);
        Ok(ResumeRestorePayload { job: Job::now(job, backend) })
    }

    /// Removes the collections that a restore made, as a new job: only those with the ids that Milvus gave them then.
    /// Collections that gave way and were not dropped yet get their names back.
    async fn undo_restore(
        &self,
        context: &Context<'_>,
        input: UndoRestoreInput,
    ) -> Result<UndoRestorePayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let job_id: JobId = parse_id("jobId", &input.job_id)?;
        // The backup is not needed, and may be gone.
        access::job(context, Action::ManageBackups, job_id).await?;
        let job = backend
            .service
            .keyed(input.idempotency_key)
            .undo_restore(job_id, caller.principal.name.clone())
            .await?;
        context.note("madeJobId", job.id);
        Ok(UndoRestorePayload { job: Job::now(job, backend) })
    }

    /// Compares the collections that a restore made with their backup, as a new job. Rows that were written to them since
    /// then show as differences.
    async fn verify_restore(
        &self,
        context: &Context<'_>,
        input: VerifyRestoreInput,
    ) -> Result<VerifyRestorePayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let job_id: JobId = parse_id("jobId", &input.job_id)?;
        permit_restore_of(context, job_id).await?;
        let created_by = caller.principal.name.clone();
        let job = backend
            .service
            .keyed(input.idempotency_key)
            .request_compare(job_id, input.depth.into(), created_by)
            .await?;
        context.note("madeJobId", job.id);
        Ok(VerifyRestorePayload { job: Job::now(job, backend) })
    }

    /// Proves that a backup can be restored: a job restores it into scratch databases whose names begin with
    /// `milvault_drill_`, compares, and drops everything again.
    async fn drill_backup(
        &self,
        context: &Context<'_>,
        input: DrillBackupInput,
    ) -> Result<DrillBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let request = DrillRequest {
            backup_id: parse_id("backupId", &input.backup_id)?,
            target_cluster_id: parse_id("targetClusterId", &input.target_cluster_id)?,
            selection: selection(input.items),
            depth: input.depth.into(),
            created_by: caller.principal.name.clone(),
        };
        permit_both(context, request.backup_id, request.target_cluster_id).await?;
        let job = backend.service.keyed(input.idempotency_key).request_drill(request).await?;
        context.note("jobId", job.id);
        Ok(DrillBackupPayload { job: Job::now(job, backend) })
    }
}

/// Lets a restore through when the caller may both read the backup out and write to the target.
///
/// # Errors
/// As [`access::backup`] and [`access::cluster`].
pub(crate) async fn permit_restore(
    context: &Context<'_>,
    request: &RestoreRequest,
) -> Result<(), GatewayError> {
    permit_both(context, request.backup_id, request.target_cluster_id).await?;
    let passwords = request.access_control.iter().flat_map(|access| &access.passwords);
    passwords.map(|given| &given.password).try_for_each(|password| context.permit_secret(Some(password)))
}

async fn permit_both(
    context: &Context<'_>,
    backup_id: BackupId,
    target_cluster_id: ClusterId,
) -> Result<(), GatewayError> {
    access::backup(context, Action::ManageBackups, backup_id).await?;
    access::cluster(context, Action::ManageBackups, target_cluster_id).await?;
    Ok(())
}

/// The same for a restore that was made already: its job belongs to the target.
async fn permit_restore_of(context: &Context<'_>, job_id: JobId) -> Result<(), GatewayError> {
    let job = access::job(context, Action::ManageBackups, job_id).await?;
    if let Some(backup_id) = job.backup_id {
        access::backup(context, Action::ManageBackups, backup_id).await?;
    }
    Ok(())
}
